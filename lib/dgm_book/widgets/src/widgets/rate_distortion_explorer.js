// The rate-distortion explorer: a slider over beta moves a dot along the curve, and samples morph.

import {
  buildFrame,
  calm,
  element,
  imagePainter,
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
import { decode, floatsOf, loadNetworks } from "../models/nn.js";

const DASHES = ["", "7 4", "2 3.5", "9 3 2 3", "4 2"];
const SHAPES = Object.keys(MARKS);
const distance = ([x, y], [u, v]) => Math.hypot(x - u, y - v);

async function render({ model, el }) {
  const curves = model.get("curves");
  const codes = floatsOf(model.get("codes"));
  const references = model.get("references").byteLength ? floatsOf(model.get("references")) : null;
  const [height, width] = model.get("image_shape");
  const networks = await loadNetworks(model);
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint:
      "drag \u03b2 to the right: prior samples turn into reconstructions, at the price of rate." +
      (curves[0].family ? " Then choose another family or latent size at the same \u03b2." : ""),
  });
  const KEYS = ["model", "beta_index", "log_distortion"];
  const first = Object.fromEntries(KEYS.map((key) => [key, model.get(key)]));
  const chosen = () => curves.findIndex((curve) => curve.model === model.get("model"));
  const errors = curves
    .map((curve) => networks[curve.model]?.error ?? null)
    .filter((error) => error !== null);
  if (errors.length) frame.root.dataset.goldenError = Math.max(...errors).toFixed(6);

  // The picture: curves by hand in SVG.
  const svg = shape("svg", {
    role: "img",
    "aria-label": "Rate against distortion, with the tangent of slope minus beta",
  });
  frame.picture.append(svg);
  const top = 1.06 * Math.max(...curves.flatMap((curve) => curve.rate));
  const right = 1.04 * Math.max(...curves.flatMap((curve) => curve.distortion));
  const left = 0.85 * Math.min(...curves.flatMap((curve) => curve.distortion));
  const plot = { left: 46, top: 10, w: 0, h: 0, log: false };
  const px = (d) => plot.left + (plot.log ? Math.log(d / left) / Math.log(right / left) : d / right) * plot.w;
  const py = (r) => plot.top + plot.h - (r / top) * plot.h;
  // A family has its dash and a latent size its mark; without families each curve has its own of both.
  const families = [...new Set(curves.map((curve) => curve.family))].filter(Boolean);
  const sizes = [...new Set(curves.map((curve) => curve.latent_dim))].filter(Boolean).sort((a, b) => a - b);
  const dashOf = (i) => DASHES[(families.length ? families.indexOf(curves[i].family) : i) % DASHES.length];
  const markOf = (i) =>
    MARKS[SHAPES[(families.length ? sizes.indexOf(curves[i].latent_dim) : i) % SHAPES.length]];
  const layers = curves.map((curve, i) => ({
    band: shape("path.dgm-rd-band"),
    line: shape("path.dgm-rd-line", { "stroke-dasharray": dashOf(i) }),
    marks: shape("path.dgm-rd-marks"),
    name: shape(
      "text.dgm-halo",
      { "font-size": 11 },
      families.length ? `${curve.family} ${curve.latent_dim}` : "",
    ),
  }));
  const axes = shape("g");
  const groups = layers.map(({ band, line, marks }) => shape("g", band, line, marks));
  const tangent = shape("path.dgm-rd-tangent", { fill: "none" });
  const meet = shape("circle.dgm-rd-meet", { r: 4 });
  const note = shape("text.dgm-strong.dgm-halo");
  const slope = shape("text.dgm-halo", { "text-anchor": "start" });
  slope.append("slope \u2212", italic("\u03b2"));
  const dot = shape("path.dgm-rd-dot");
  const pile = shape("g");
  const opening = shape("rect");
  const clip = shape("clipPath", { id: `${frame.id}-clip` }, opening);
  const clipped = shape("g", { "clip-path": `url(#${frame.id}-clip)` }, pile);
  let taken = []; // left, baseline and width of each curve's name
  const names = shape("g", ...layers.map(({ name }) => name));
  svg.append(clip, axes, clipped, names, tangent, meet, slope, note, dot);

  function layout(w) {
    plot.log = model.get("log_distortion");
    plot.w = w - plot.left - 8;
    plot.h = Math.round(Math.min(330, Math.max(215, 0.74 * w)));
    svg.setAttribute("viewBox", `0 0 ${w} ${plot.top + plot.h + 42}`);
    svg.setAttribute("height", plot.top + plot.h + 42);
    axes.replaceChildren();
    const bottom = plot.top + plot.h;
    const inner = { x: plot.left, y: plot.top - 4, width: plot.w + 8, height: plot.h + 8 };
    for (const [key, v] of Object.entries(inner)) opening.setAttribute(key, v);
    for (const d of plot.log ? logTicks(left, right) : ticks(0, right, w / 75)) {
      axes.append(shape("path.dgm-grid", { d: `M${px(d)} ${plot.top}V${bottom}` }));
      axes.append(
        shape("text", { x: px(d), y: bottom + 16, "text-anchor": "middle" }, String(+d.toPrecision(6))),
      );
    }
    for (const r of ticks(0, top, plot.h / 45)) {
      axes.append(shape("path.dgm-grid", { d: `M${plot.left} ${py(r)}H${plot.left + plot.w}` }));
      axes.append(
        shape("text", { x: plot.left - 7, y: py(r) + 4, "text-anchor": "end" }, String(+r.toPrecision(6))),
      );
    }
    axes.append(shape("path.dgm-axis", { d: `M${plot.left} ${plot.top}V${bottom}H${plot.left + plot.w}` }));
    const label = (text, attributes) =>
      axes.append(
        shape("text.dgm-strong", { "text-anchor": "middle", ...attributes }, ...rich(text, italic)),
      );
    label("distortion *D*, squared error an image", { x: plot.left + plot.w / 2, y: bottom + 36 });
    label("rate *R*, nats an image", { transform: `translate(11 ${plot.top + plot.h / 2}) rotate(-90)` });
    curves.forEach((curve, i) => {
      const at = curve.rate.map((r, k) => [px(curve.distortion[k]), py(r)]);
      const edge = (side) => bandEdge(curve, side).map((p) => p.join(" "));
      layers[i].line.setAttribute("d", `M${at.map((p) => p.join(" ")).join("L")}`);
      layers[i].band.setAttribute("d", `M${[...edge(1), ...edge(-1).reverse()].join("L")}Z`);
      const apart = [];
      for (const p of at)
        if (!apart.length || distance(p, apart.at(-1)) > (families.length ? 22 : 9)) apart.push(p);
      layers[i].marks.setAttribute("d", apart.map(([x, y]) => markOf(i)(x, y, 2.6)).join(""));
    });
    // Each curve's name stands at its end, lower where another stands already.
    taken = [];
    const ends = curves.map((curve, i) => [
      px(curve.distortion.at(-1)) + 8,
      py(curve.rate.at(-1)) + 4,
      layers[i].name,
    ]);
    for (let [x, y, name] of ends.sort((a, b) => a[1] - b[1])) {
      const wide = name.getComputedTextLength();
      while (inTheWay(x, y, wide)) y += 2;
      if (wide) taken.push([x, y, wide]);
      name.setAttribute("x", x);
      name.setAttribute("y", y);
    }
    ask();
  }

  // The name of a curve that a text from (x, y) of that width would cover.
  function inTheWay(x, y, wide, apart = 12) {
    return taken.find((name) => name[0] < x + wide && x < name[0] + name[2] && Math.abs(name[1] - y) < apart);
  }

  function logTicks(low, high) {
    const decades = [-3, -2, -1, 0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5].map((f) => f * 10 ** power));
    return decades.filter((d) => d >= low && d <= high);
  }

  // Two standard errors to one side of the curve, along its normal. An error along the tangent does not
  // leave the curve, and the error of R + beta D is that of log Z.
  function bandEdge(curve, side) {
    const sy = plot.h / top;
    return curve.beta.map((beta, k) => {
      const sx = plot.w / (plot.log ? Math.log(right / left) * curve.distortion[k] : right);
      const steep = Math.hypot(sx, beta * sy);
      const apart = Math.hypot(beta * (curve.distortion_error?.[k] ?? 0), curve.rate_error?.[k] ?? 0);
      const out = (side * 2 * (curve.log_z_error?.[k] ?? apart) * sx * sy) / steep;
      const [x, y] = [px(curve.distortion[k]), py(curve.rate[k])];
      return [x + (out * beta * sy) / steep, Math.min(y - (out * sx) / steep, plot.top + plot.h)];
    });
  }

  // Beside it: the samples, each above its reference.
  const canvas = element("canvas", { role: "img", "aria-label": "Decoded images" });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const paint = imagePainter(width, height);
  const caption = element("figcaption");
  const figure = element("figure", canvas, caption);
  frame.side.append(figure);
  const scale = Math.max(1, Math.round(128 / width));
  const tile = { w: width * scale, h: height * scale, gap: Math.round(0.09 * width * scale) };
  let grid = null;

  function codeAt(curve, position, image) {
    const { images, latent, start } = curve.codes;
    const low = Math.floor(position);
    const high = Math.min(low + 1, curve.beta.length - 1);
    const mix = position - low;
    const z = new Float32Array(latent);
    for (let k = 0; k < latent; k++) {
      const a = codes[start + (low * images + image) * latent + k];
      const b = codes[start + (high * images + image) * latent + k];
      z[k] = a + mix * (b - a);
    }
    return z;
  }

  function arrange(curve) {
    canvas.style.display = curve.codes ? "" : "none";
    if (!curve.codes) {
      caption.replaceChildren(
        `This page carries the curve of ${curve.label}, not its decoder: there are no samples to show.`,
      );
      return;
    }
    const { images } = curve.codes;
    const columns = [4, 5, 3, 6].find((c) => images % c === 0) ?? Math.min(4, images);
    const rows = Math.ceil(images / columns);
    const small = { w: Math.round(tile.w / 2), h: Math.round(tile.h / 2), gap: Math.round(tile.gap / 4) };
    // Whole pixels only, so that no tile bleeds into the next.
    const step = { x: tile.w + tile.gap, y: tile.h + small.gap + small.h + tile.gap };
    grid = { columns, images, step };
    canvas.width = columns * step.x - tile.gap;
    canvas.height = rows * step.y - tile.gap;
    const { layers: network } = networks[curve.model];
    for (let n = 0; n < images; n++) {
      const size = width * height;
      const image = references
        ? references.subarray(n * size, (n + 1) * size)
        : decode(network, codeAt(curve, curve.beta.length - 1, n));
      const [x, y] = corner(n);
      const left = x + Math.round((tile.w - small.w) / 2);
      paint(context, image, left, y + tile.h + small.gap, small.w, small.h);
    }
    const below = references ? "the images *x* themselves" : "the same codes at the largest *\u03b2*";
    caption.replaceChildren(
      ...rich(
        `Large: samples *f*\u2009(*z*), *z* ~ *q*_*\u03b2*_\u2009(*z*\u2009|\u2009*x*). Small: ${below}.`,
      ),
    );
  }

  function corner(n) {
    return [(n % grid.columns) * grid.step.x, Math.floor(n / grid.columns) * grid.step.y];
  }

  function drawSamples(curve, position) {
    const { layers: network } = networks[curve.model];
    for (let n = 0; n < grid.images; n++) {
      const [x, y] = corner(n);
      paint(context, decode(network, codeAt(curve, position, n)), x, y, tile.w, tile.h);
    }
  }

  // Beneath it: which model, and the slider.
  const radioRow = (name, key, choices) => {
    const all = choices.map(({ value, words, dash, mark, act }) => {
      const radio = element("input", { type: "radio", name: `${frame.id}-${key}`, value });
      radio.addEventListener("change", act);
      const sign = shape("svg", { viewBox: "0 0 34 14", "aria-hidden": "true" });
      if (dash !== null) sign.append(shape("path.dgm-rd-line", { d: "M1 7H33", "stroke-dasharray": dash }));
      if (mark) sign.append(shape("path.dgm-rd-marks", { d: mark(17, 7, 4) }));
      return { value, radio, sign, label: element("label", radio, sign, words) };
    });
    return {
      all,
      row: element("div.dgm-row", { role: "radiogroup", "aria-label": name }, ...all.map((r) => r.label)),
    };
  };
  const byModel = radioRow(
    "Model",
    "model",
    families.length
      ? []
      : curves.map((curve, i) => ({
          value: curve.model,
          words: curve.label,
          dash: dashOf(i),
          mark: markOf(i),
          act: () => choose(i),
        })),
  );
  const byFamily = radioRow(
    "Family",
    "family",
    families.map((family) => ({
      value: family,
      words: family,
      dash: DASHES[families.indexOf(family) % DASHES.length],
      mark: null,
      act: () => seek(family, curves[chosen()].latent_dim),
    })),
  );
  const bySize = radioRow(
    "Latent dimensions",
    "size",
    sizes.map((size, j) => ({
      value: size,
      words: String(size),
      dash: null,
      mark: MARKS[SHAPES[j % SHAPES.length]],
      act: () => seek(curves[chosen()].family, size),
    })),
  );
  const logBox = element("input", { type: "checkbox" });
  logBox.addEventListener("change", () => change({ log_distortion: logBox.checked }));
  const last = element(
    "div.dgm-row",
    element("label", logBox, element("span", ...rich("logarithmic *D* axis"))),
    frame.reset,
  );
  const slider = element("input", { type: "range", min: 0, step: 1, id: `${frame.id}-beta` });
  const value = element("output", { for: slider.id });
  const decades = element("div.dgm-ticks", { "aria-hidden": "true" });
  const words = element(
    "label",
    { for: slider.id },
    element("span", ...rich("*\u03b2*, nats per unit of squared error")),
    value,
  );
  const rows = families.length
    ? [
        ["Family", byFamily.row],
        ["Latent size", bySize.row],
      ].map(([head, row]) => {
        row.prepend(element("span", head));
        return row;
      })
    : [byModel.row];
  frame.controls.append(element("div.dgm-slider", words, slider, decades), ...rows, last);
  slider.addEventListener("input", () => change({ beta_index: Number(slider.value) }));
  frame.reset.addEventListener("click", () => change(first));

  const list = element("dl");
  const outs = {
    rate: readout(list, "Rate *R*"),
    distortion: readout(list, "Distortion *D*"),
    psnr: readout(list, "PSNR"),
    logZ: readout(list, "log *Z*"),
  };
  frame.side.append(list);
  const known = curves.some((curve) => curve.rate_error || curve.log_z_error);
  if (known) frame.side.append(element("p.dgm-small", "\u00b1 one standard error; bands: two."));

  // The family's curve whose latent size is nearest.
  function seek(family, size) {
    const off = curves.map((curve) =>
      curve.family === family ? Math.abs(Math.log(curve.latent_dim / size)) : Infinity,
    );
    choose(off.indexOf(Math.min(...off)));
  }

  function choose(i) {
    // Stay at the same beta as nearly as the other curve allows.
    const beta = curves[chosen()].beta[model.get("beta_index")];
    const far = curves[i].beta.map((b) => Math.abs(Math.log((b + 1e-9) / (beta + 1e-9))));
    change({ model: curves[i].model, beta_index: far.indexOf(Math.min(...far)) });
  }

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    settle();
  }

  const speak = throttled(frame.status);
  let shown = -1;
  let position = model.get("beta_index");

  function settle() {
    const i = chosen();
    const curve = curves[i];
    const k = Math.min(model.get("beta_index"), curve.beta.length - 1);
    if (shown !== i) {
      shown = i;
      position = k;
      arrange(curve);
      for (const [value, { all }] of [
        [curve.model, byModel],
        [curve.family, byFamily],
        [String(curve.latent_dim), bySize],
      ]) {
        for (const { radio, sign } of all) {
          radio.checked = radio.value === value;
          sign.classList.toggle("dgm-chosen", radio.checked);
        }
      }
      for (const { radio } of bySize.all) {
        radio.disabled = !curves.some(
          (one) => one.family === curve.family && one.latent_dim === Number(radio.value),
        );
      }
      groups.forEach((group, j) => {
        group.classList.toggle("dgm-chosen", j === i);
        layers[j].name.classList.toggle("dgm-strong", j === i);
      });
      pile.append(...groups.filter((_, j) => j !== i), groups[i]);
      dot.setAttribute("d", markOf(i)(0, 0, 6.5));
      slider.max = curve.beta.length - 1;
      showDecades(curve.beta);
    }
    slider.value = k;
    logBox.checked = model.get("log_distortion");
    if (plot.w > 0 && plot.log !== logBox.checked) layout(plot.w + plot.left + 8);
    const [beta, rate, distortion, logZ] = [
      curve.beta[k],
      curve.rate[k],
      curve.distortion[k],
      curve.log_z[k],
    ];
    const pixels = width * height;
    const rateError = curve.rate_error?.[k];
    value.textContent = number(beta);
    outs.rate.replaceChildren(
      `${withError(rate, rateError)} nats`,
      element("small", `${withError(rate / Math.LN2, rateError / Math.LN2)} bits`),
      element("small", `${withError(rate / Math.LN2 / pixels, rateError / Math.LN2 / pixels)} bits/pixel`),
    );
    outs.distortion.textContent = withError(distortion, curve.distortion_error?.[k]);
    outs.psnr.textContent = `${(-10 * Math.log10(distortion / pixels)).toFixed(1)} dB`.replace("-", "\u2212");
    outs.logZ.textContent = `${withError(logZ, curve.log_z_error?.[k])} nats`;
    const sentence = `beta ${number(beta)}, rate ${number(rate)} nats, distortion ${number(distortion)}`;
    slider.setAttribute("aria-valuetext", sentence);
    if (curve.codes)
      canvas.setAttribute(
        "aria-label",
        `${grid.images} decoded images, ${curve.label}, beta ${number(beta)}`,
      );
    speak(`${curve.label}: ${sentence}, log Z ${number(logZ)} nats`);
    ask();
  }

  function showDecades(betas) {
    decades.replaceChildren();
    const last = betas.length - 1;
    for (let power = -6; power <= 6; power++) {
      const k = betas.findIndex((b) => b >= 10 ** power * (1 - 1e-9));
      if (k < 0 || (k === 0 && betas[0] > 10 ** power * (1 + 1e-6))) continue;
      const low = Math.max(betas[Math.max(0, k - 1)], 1e-12);
      const between =
        k > 0 && betas[k - 1] > 0 ? Math.log(10 ** power / low) / Math.log(betas[k] / low) - 1 : 0;
      const mark = element("span", String(10 ** power).replace("0.000001", "1e\u22126"));
      mark.style.left = `${(100 * (k + between)) / last}%`;
      decades.append(mark);
    }
  }

  function draw() {
    const curve = curves[shown];
    const target = Math.min(model.get("beta_index"), curve.beta.length - 1);
    const gap = target - position;
    position = calm() || Math.abs(gap) < 0.02 ? target : position + 0.34 * gap;
    if (curve.codes) drawSamples(curve, position);
    if (plot.w > 0) drawPoint(curve, position);
    return position !== target;
  }

  function drawPoint(curve, at) {
    const low = Math.floor(at);
    const high = Math.min(low + 1, curve.beta.length - 1);
    const between = (values) => values[low] + (at - low) * (values[high] - values[low]);
    const [d, r, beta] = [between(curve.distortion), between(curve.rate), between(curve.beta)];
    dot.setAttribute("transform", `translate(${px(d)} ${py(r)})`);
    // The tangent R = r - beta (D - d), clipped to the plot; a bend where D is logarithmic.
    const meets = r + beta * d;
    const startD = Math.max(plot.log ? left : 0, beta > 0 ? d - (top - r) / beta : 0);
    const endD = beta * (right - d) > r ? d + r / beta : right;
    const along = Array.from(
      { length: plot.log ? 33 : 2 },
      (_, j, n = plot.log ? 32 : 1) => startD + (j / n) * (endD - startD),
    );
    const path = along.map((D) => [px(D), py(meets - beta * D)]);
    tangent.setAttribute("d", `M${path.map((p) => p.join(" ")).join("L")}`);
    const inside = meets <= top;
    meet.style.display = inside && !plot.log ? "" : "none";
    meet.setAttribute("cy", py(meets));
    meet.setAttribute("cx", plot.left);
    const text = inside ? "\u2212log *Z* = " : "to \u2212log *Z* = ";
    note.replaceChildren(...rich(`${text}${number(meets, 3)}${inside ? "" : " \u2191"}`, italic));
    const [x1, y1] = path[0];
    const [x2, y2] = path.at(-1);
    note.style.display = plot.log ? "none" : "";
    put(
      note,
      Math.min(x1 + 10, plot.left + plot.w - 130),
      Math.max(y1 + (inside ? -8 : 14), plot.top + 12),
      130,
      1,
    );
    put(
      slope,
      Math.min((px(d) + x2) / 2 + 8, plot.left + plot.w - 52),
      Math.min((py(r) + y2) / 2 - 6, plot.top + plot.h - 8),
      52,
      -1,
    );
  }

  // A text beside the names of the curves: lower (1) or higher (-1) where one stands.
  function put(text, x, y, wide, towards) {
    for (let name = inTheWay(x, y, wide, 15); name; name = inTheWay(x, y, wide, 15))
      y = name[1] + 16 * towards;
    text.setAttribute("x", x);
    text.setAttribute("y", y);
  }

  const ask = onceAFrame("dgm:rate-distortion", draw);
  // The dot can be dragged along its curve, too.
  const pick = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = svg.getBoundingClientRect();
    const { distortion, rate } = curves[chosen()];
    const at = [event.clientX - box.left, event.clientY - box.top];
    const away = rate.map((r, k) => distance(at, [px(distortion[k]), py(r)]));
    change({ beta_index: away.indexOf(Math.min(...away)) });
  };
  svg.addEventListener("pointerdown", pick);
  svg.addEventListener("pointermove", pick);
  for (const key of KEYS) model.on(`change:${key}`, settle);
  settle();
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, layout);
  return () => {
    ask.stop();
    stopWidth();
    for (const key of KEYS) model.off(`change:${key}`, settle);
  };
}

export default { render };
