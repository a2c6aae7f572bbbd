// The damage lab: the mixture prior's curve is put together from its two ends, image by image.

import {
  buildFrame,
  element,
  italic,
  MARKS,
  number,
  onceAFrame,
  onWidth,
  readout,
  rich,
  shape,
  throttled,
  ticks,
  withError,
} from "../frame.js";
import { mixed, rateAt } from "../models/damage.js";
import { floatsOf } from "../models/nn.js";

// The cap is drawn last: its dots show on a curve that lies on it.
const LINES = [
  { name: "sound", words: "undamaged", class: "dgm-rd-line", dash: "7 4" },
  { name: "damaged", words: "damaged", class: "dgm-rd-line", dash: "", chosen: true },
  {
    name: "cap",
    words: "cap: \u03b1 = 0, but \u2212log(1 \u2212 \u03b1) nats higher",
    class: "dgm-rd-line dgm-off",
    dash: "2 4",
    style: "stroke-width:2;opacity:1",
  },
];

function meanWithError(values) {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const error = n > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1) / n) : 0;
  return [mean, error];
}

function render({ model, el }) {
  const [beta, blurs] = [model.get("beta"), model.get("blurs")];
  const [narrowZ, narrowD, wideZ, wideD] = [
    "narrow_log_z",
    "narrow_distortion",
    "wide_log_z",
    "wide_distortion",
  ].map((key) => floatsOf(model.get(key)));
  const images = narrowZ.length / beta.length / blurs.length;
  const data = { beta, images, narrowZ, narrowD, wideZ, wideD };
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "*\u03b1* to 0.99, so that 99 codes of 100 are junk: the curve rises by at most 4.6 nats, wherever you look. Then blur.",
  });
  const likely = model.get("likelihood_index");
  const first = { alpha: model.get("alpha"), blur: model.get("blur") };
  const sound = blurs.map((_, blur) => mixed(data, blur, 0));

  // The picture.
  const svg = shape("svg", {
    role: "img",
    "aria-label": "Rate, on a logarithmic axis, against distortion: sound, damaged, and the cap",
  });
  frame.picture.append(svg);
  const plot = { left: 46, top: 10, w: 0, h: 0 };
  const low = 0.1;
  const top = 1.2 * Math.max(...sound.flatMap((curve) => curve.rate), 5);
  const wide = blurs.flatMap((_, blur) => mixed(data, blur, 0.99).distortion);
  const usual = Math.max(...sound.flatMap((curve) => curve.distortion));
  const right = 1.04 * Math.min(2 * usual, Math.max(usual, ...wide));
  const px = (d) => plot.left + (d / right) * plot.w;
  const py = (r) => plot.top + plot.h - (Math.log(Math.max(r, 1e-9) / low) / Math.log(top / low)) * plot.h;
  const axes = shape("g");
  const opening = shape("rect");
  const clip = shape("clipPath", { id: `${frame.id}-clip` }, opening);
  const paths = {};
  const clipped = shape("g", { "clip-path": `url(#${frame.id}-clip)` });
  for (const line of LINES) {
    paths[line.name] = shape("path", {
      class: line.class,
      "stroke-dasharray": line.dash,
      style: line.style ?? "",
    });
    clipped.append(shape("g", line.chosen ? { class: "dgm-chosen" } : {}, paths[line.name]));
  }
  const marks = shape("path.dgm-rd-marks");
  paths.damaged.after(marks);
  svg.append(clip, axes, clipped);
  const signs = LINES.map((line) => {
    const sign = shape("svg", {
      viewBox: "0 0 34 14",
      "aria-hidden": "true",
      style: "width:34px;height:14px;flex:none",
    });
    sign.append(
      shape("path", {
        class: line.class,
        d: "M1 7H33",
        "stroke-dasharray": line.dash,
        style: line.style ?? "",
      }),
    );
    return element("span", line.chosen ? { class: "dgm-chosen" } : {}, sign, line.words);
  });
  frame.picture.append(element("div.dgm-signs.dgm-row", ...signs));

  function layout(w) {
    plot.w = w - plot.left - 8;
    plot.h = Math.round(Math.min(320, Math.max(210, 0.66 * w)));
    svg.setAttribute("viewBox", `0 0 ${w} ${plot.top + plot.h + 42}`);
    svg.setAttribute("height", plot.top + plot.h + 42);
    axes.replaceChildren();
    const bottom = plot.top + plot.h;
    const inner = { x: plot.left, y: plot.top, width: plot.w + 8, height: plot.h };
    for (const [key, v] of Object.entries(inner)) opening.setAttribute(key, v);
    const text = (words, attributes) => axes.append(shape("text", attributes, words));
    for (const d of ticks(0, right, w / 75)) {
      axes.append(shape("path.dgm-grid", { d: `M${px(d)} ${plot.top}V${bottom}` }));
      text(String(+d.toPrecision(6)), { x: px(d), y: bottom + 16, "text-anchor": "middle" });
    }
    for (let r = low; r <= top; r *= 10) {
      axes.append(shape("path.dgm-grid", { d: `M${plot.left} ${py(r)}H${plot.left + plot.w}` }));
      text(String(+r.toPrecision(3)), { x: plot.left - 7, y: py(r) + 4, "text-anchor": "end" });
    }
    axes.append(shape("path.dgm-axis", { d: `M${plot.left} ${plot.top}V${bottom}H${plot.left + plot.w}` }));
    const label = (words, attributes) =>
      axes.append(
        shape("text.dgm-strong", { "text-anchor": "middle", ...attributes }, ...rich(words, italic)),
      );
    label("distortion *D*, squared error an image", { x: plot.left + plot.w / 2, y: bottom + 36 });
    label("rate *R*, nats an image", { transform: `translate(11 ${plot.top + plot.h / 2}) rotate(-90)` });
    ask();
  }

  // Beneath it: the two sliders.
  const sliders = {};
  function addSlider(key, words, options) {
    const slider = element("input", { type: "range", id: `${frame.id}-${key}`, ...options });
    const value = element("output", { for: slider.id });
    const label = element("label", { for: slider.id }, element("span", ...rich(words)), value);
    slider.addEventListener("input", () => change({ [key]: Number(slider.value) }));
    sliders[key] = { slider, value };
    return element("div.dgm-slider", label, slider);
  }
  frame.controls.append(
    addSlider("alpha", "bad-prior weight *\u03b1*", { min: 0, max: 0.99, step: 0.01 }),
    addSlider("blur", "blur, standard deviation in pixels", { min: 0, max: blurs.length - 1, step: 1 }),
    element("div.dgm-row", frame.reset),
  );
  frame.reset.addEventListener("click", () => change(first));

  // Beside it: what the damage costs.
  const list = element("dl");
  const outs = {
    cap: readout(list, "Cap"),
    early: readout(list, "More rate, low end"),
    late: readout(list, "More rate, high end"),
    floor: readout(list, "Least *D*"),
  };
  const bars = element("div.dgm-bars");
  const costs = ["bad prior", "blur"].map((name) => {
    const bar = element("div.dgm-bar.dgm-bar-to");
    const value = element("span.dgm-odds");
    bars.append(element("span", name), element("div.dgm-tracks", bar), value);
    return { bar, value };
  });
  const heading = element("p", ...rich(`Log-likelihood lost, at *\u03b2* = ${number(beta[likely])}`));
  const note = `Means over ${images} images, \u00b1 one standard error. More rate: than *\u03b1* = 0 needs at the same *D* and blur, where that is about one nat and where it is most.`;
  frame.side.append(
    list,
    element("div", heading, bars),
    element("p.dgm-small", { style: "margin-top:0" }, ...rich(note)),
  );
  const least = blurs.map((_, blur) => lost(sound[blur], sound[0])[0]);
  const widest = Math.max(-Math.log(0.01), ...least);

  function lost(curve, before) {
    return meanWithError(Array.from(curve.each[likely], (v, n) => before.each[likely][n] - v));
  }

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    settle();
  }

  const speak = throttled(frame.status);

  function settle() {
    const [alpha, blur] = [model.get("alpha"), model.get("blur")];
    const cap = -Math.log1p(-alpha);
    const base = sound[blur];
    const now = mixed(data, blur, alpha);
    const more = (k) => rateAt(now, beta, base.distortion[k]) - base.rate[k];
    const off = base.rate.map((r) => Math.abs(Math.log(Math.max(r, 1e-9))));
    const early = off.indexOf(Math.min(...off));
    const last = beta.length - 1;
    const nats = (x) => `${x.toFixed(2)} nats`.replace("-", "\u2212");
    const of = (k) => element("small", `where R is ${number(base.rate[k])} nats`);
    sliders.alpha.slider.value = alpha;
    sliders.alpha.value.textContent = alpha.toFixed(2);
    sliders.blur.slider.value = blur;
    sliders.blur.value.textContent = String(blurs[blur]);
    sliders.blur.slider.setAttribute("aria-valuetext", `${blurs[blur]} pixels`);
    outs.cap.replaceChildren(nats(cap), element("small", "\u2212log(1 \u2212 \u03b1)"));
    outs.early.replaceChildren(nats(more(early)), of(early));
    outs.late.replaceChildren(nats(more(last)), of(last));
    outs.floor.replaceChildren(
      number(now.distortion[last]),
      element("small", `undamaged: ${number(sound[0].distortion[last])}`),
    );
    for (const [i, [mean, error]] of [lost(now, base), lost(base, sound[0])].entries()) {
      costs[i].bar.style.width = `${(100 * Math.max(0, mean)) / widest}%`;
      costs[i].value.textContent = error < 0.005 ? nats(mean) : `${withError(mean, error)} nats`;
    }
    frame.root.dataset.moved = `${alpha} ${blur}`;
    speak(
      `alpha ${alpha.toFixed(2)}, blur ${blurs[blur]} pixels: cap ${nats(cap)}, more rate at the low end ${nats(more(early))}`,
    );
    ask();
  }

  function draw() {
    if (!(plot.w > 0)) return false;
    const [alpha, blur] = [model.get("alpha"), model.get("blur")];
    const now = mixed(data, blur, alpha);
    const shown = {
      sound: sound[0],
      cap: { distortion: sound[blur].distortion, rate: sound[blur].rate.map((r) => r - Math.log1p(-alpha)) },
      damaged: now,
    };
    for (const [name, { distortion, rate }] of Object.entries(shown)) {
      const at = rate.map((r, k) => `${px(distortion[k])} ${py(r)}`);
      if (name === "cap") at.unshift(`${px(right)} ${py(rate[0])}`);
      paths[name].setAttribute("d", `M${at.join("L")}`);
    }
    marks.setAttribute("d", now.rate.map((r, k) => MARKS.circle(px(now.distortion[k]), py(r), 2.6)).join(""));
    return false;
  }

  const ask = onceAFrame("dgm:damage", draw);
  model.on("change:alpha", settle);
  model.on("change:blur", settle);
  settle();
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, layout);
  return () => {
    ask.stop();
    stopWidth();
    model.off("change:alpha", settle);
    model.off("change:blur", settle);
  };
}

export default { render };
