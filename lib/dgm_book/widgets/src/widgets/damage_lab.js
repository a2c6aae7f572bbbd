// The damage lab: the mixture prior's curve is put together from its two ends, image by image.

import { axesOf, linear, logarithmic, through } from "../charts.js";
import { formOf, readoutList, sliderOf } from "../form.js";
import * as frame from "../frame.js";
import { element, italic, MARKS, number, rich, shape, ticks } from "../frame.js";
import { mixed, rateAt } from "../models/damage.js";
import { floatsOf } from "../models/nn.js";
import { resize, short, sign } from "../plot.js";
import { defineWidget } from "../widget.js";

/** @type {Record<string, Attributes>} */
const LOOKS = {
  sound: { class: "dgm-rd-line", "stroke-dasharray": "7 4" },
  damaged: { class: "dgm-rd-line" },
  cap: { class: "dgm-rd-line dgm-off", "stroke-dasharray": "2 4", style: "stroke-width:2;opacity:1" },
};
const NAMES = {
  sound: "undamaged",
  damaged: "damaged",
  cap: "cap: \u03b1 = 0, but \u2212log(1 \u2212 \u03b1) nats higher",
};
const TERMS = ["narrow_log_z", "narrow_distortion", "wide_log_z", "wide_distortion"];
const LOWEST = 0.1; // rate on the axis, nats
const [LEFT, TOP] = [46, 10]; // px, of the chart

/**
 * The curves as the page has them.
 * @typedef {{ data: Terms, blurs: number[], sound: Mixed[], likely: number }} Lab
 */

// How much log-likelihood one curve has less than another: its mean over the images, and its error.
/** @type {(lab: Lab, curve: Mixed, other: Mixed) => [number, number]} */
function lost({ likely }, curve, other) {
  const values = Array.from(curve.each[likely], (v, n) => other.each[likely][n] - v);
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const error = n > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1) / n) : 0;
  return [mean, error];
}

/** @type {(w: Widget) => Lab} */
function readLab(w) {
  const [beta, blurs] = [w.get("beta"), w.get("blurs")];
  const [narrowZ, narrowD, wideZ, wideD] = TERMS.map((key) => floatsOf(w.get(key)));
  const data = { beta, images: narrowZ.length / beta.length / blurs.length, narrowZ, narrowD, wideZ, wideD };
  const sound = [...blurs.keys()].map((blur) => mixed(data, blur, 0));
  return { data, blurs, sound, likely: w.get("likelihood_index") };
}

// The three lines; the cap is drawn last: its dots show on a curve that lies on it.
/** @type {(w: Widget, lab: Lab) => (width: number, now: Mixed, alpha: number, blur: number) => void} */
function makePicture(w, { data, blurs, sound }) {
  const says = "Rate, on a logarithmic axis, against distortion: sound, damaged, and the cap";
  const svg = shape("svg", { role: "img", "aria-label": says });
  const chosen = (/** @type {string} */ name) => ({ class: name === "damaged" ? "dgm-chosen" : "" });
  const signs = Object.entries(NAMES).map(([name, text]) => {
    const icon = sign("", shape("path", { ...LOOKS[name], d: "M1 7H33" }));
    icon.setAttribute("style", "width:34px;height:14px;flex:none");
    return element("span", chosen(name), icon, text);
  });
  w.picture.append(svg, element("div.dgm-signs.dgm-row", ...signs));
  const high = 1.2 * Math.max(...sound.flatMap((curve) => curve.rate), 5);
  const widest = blurs.flatMap((_, blur) => mixed(data, blur, 0.99).distortion);
  const usual = Math.max(...sound.flatMap((curve) => curve.distortion));
  const farthest = 1.04 * Math.min(2 * usual, Math.max(usual, ...widest));
  const decades = Array.from({ length: 12 }, (_, k) => LOWEST * 10 ** k).filter((r) => r <= high);
  return (width, now, alpha, blur) => {
    if (!width) return;
    const tall = Math.round(Math.min(320, Math.max(210, 0.66 * width)));
    const [right, bottom] = [width - 8, TOP + tall];
    const px = linear([0, farthest], [LEFT, right]);
    const scale = logarithmic([LOWEST, high], [bottom, TOP]);
    /** @type {Scale1D} */
    const py = (r) => scale(Math.max(r, 1e-9));
    const { distortion, rate } = sound[blur];
    const cap = rate.map((r) => r - Math.log1p(-alpha));
    /** @type {Record<string, number[][]>} */
    const curves = {
      sound: sound[0].rate.map((r, k) => [px(sound[0].distortion[k]), py(r)]),
      damaged: now.rate.map((r, k) => [px(now.distortion[k]), py(r)]),
      cap: [[right, py(cap[0])], ...cap.map((r, k) => [px(distortion[k]), py(r)])],
    };
    const marks = curves.damaged.map(([x, y]) => MARKS.circle(x, y, 2.6));
    const lines = Object.entries(curves).map(([name, at]) =>
      shape("g", chosen(name), shape("path", { ...LOOKS[name], d: through(at) })),
    );
    lines[1].append(shape("path.dgm-rd-marks", { d: marks.join("") }));
    const box = { px, py, left: LEFT, top: TOP, right, bottom };
    const names = {
      x: rich("distortion *D*, squared error an image", italic),
      y: rich("rate *R*, nats an image", italic),
    };
    const values = { xs: ticks(0, farthest, width / 75), ys: decades, yText: short3 };
    const opening = shape("rect", { x: LEFT, y: TOP, width: right - LEFT + 8, height: tall });
    resize(svg, width, bottom + 42);
    svg.replaceChildren(
      shape("clipPath", { id: `${w.id}-clip` }, opening),
      ...axesOf(box, { ...names, ...values, grid: true, gap: 7, below: 36 }),
      shape("g", { "clip-path": `url(#${w.id}-clip)` }, ...lines),
    );
  };
}
const short3 = (/** @type {number} */ v) => short(v, 3);

/** What the damage costs; returns what shows it, and says it. @type {(w: Widget, lab: Lab) => Readouts} */
function makeReadouts(w, lab) {
  const { data, blurs, sound, likely } = lab;
  const { beta, images } = data;
  const fill = readoutList(w.side, ["Cap", "More rate, low end", "More rate, high end", "Least *D*"]);
  const bars = element("div.dgm-bars");
  const costs = ["bad prior", "blur"].map((name) => {
    const [bar, value] = [element("div.dgm-bar.dgm-bar-to"), element("span.dgm-odds")];
    bars.append(element("span", name), element("div.dgm-tracks", bar), value);
    return { bar, value };
  });
  const heading = element("p", ...rich(`Log-likelihood lost, at *\u03b2* = ${number(beta[likely])}`));
  const note =
    `Means over ${images} images, \u00b1 one standard error. More rate: than *\u03b1* = 0 needs at the ` +
    "same *D* and blur, where that is about one nat and where it is most.";
  const small = element("p.dgm-small", { style: "margin-top:0" }, ...rich(note));
  w.side.append(element("div", heading, bars), small);
  const widest = Math.max(-Math.log(0.01), ...sound.map((curve) => lost(lab, curve, sound[0])[0]));
  const nats = (/** @type {number} */ x) => `${x.toFixed(2)} nats`.replace("-", "\u2212");

  return (now, alpha, blur) => {
    const base = sound[blur];
    const more = (/** @type {number} */ k) => rateAt(now, beta, base.distortion[k]) - base.rate[k];
    const off = base.rate.map((r) => Math.abs(Math.log(Math.max(r, 1e-9))));
    const [low, high] = [off.indexOf(Math.min(...off)), beta.length - 1];
    const cap = nats(-Math.log1p(-alpha));
    const values = [cap, nats(more(low)), nats(more(high)), number(now.distortion[high])];
    const rates = [low, high].map((k) => `where R is ${number(base.rate[k])} nats`);
    const notes = ["\u2212log(1 \u2212 \u03b1)", ...rates, `undamaged: ${number(sound[0].distortion[high])}`];
    fill(...values.map((value, i) => [value, element("small", notes[i])]));
    for (const [i, [mean, error]] of [lost(lab, now, base), lost(lab, base, sound[0])].entries()) {
      costs[i].bar.style.width = `${(100 * Math.max(0, mean)) / widest}%`;
      costs[i].value.textContent = error < 0.005 ? nats(mean) : `${frame.withError(mean, error)} nats`;
    }
    const says = `cap ${cap}, more rate at the low end ${values[1]}`;
    return `alpha ${alpha.toFixed(2)}, blur ${blurs[blur]} pixels: ${says}`;
  };
}
/** @typedef {(now: Mixed, alpha: number, blur: number) => string} Readouts */

export default defineWidget(
  {
    measure: "dgm:damage",
    names: ["alpha", "blur"],
    kind: "dgm-damage",
    hint:
      "*\u03b1* to 0.99, so that 99 codes of 100 are junk: the curve rises by at most 4.6 nats, " +
      "wherever you look. Then blur.",
    pause: 300,
  },
  (w) => {
    const lab = readLab(w);
    const paint = makePicture(w, lab);
    const form = formOf(w);
    const alpha = sliderOf(form, "alpha", "bad-prior weight *\u03b1*", { min: 0, max: 0.99, step: 0.01 });
    const range = { min: 0, max: lab.blurs.length - 1, step: 1 };
    const blur = sliderOf(form, "blur", "blur, standard deviation in pixels", range, {
      text: (v) => String(lab.blurs[v]),
      spoken: (v) => `${lab.blurs[v]} pixels`,
    });
    w.controls.append(alpha, blur, element("div.dgm-row", form.reset()));
    const showReadouts = makeReadouts(w, lab);
    return (width) => {
      const [alpha, blur] = [w.get("alpha"), w.get("blur")];
      const now = mixed(lab.data, blur, alpha);
      form.show();
      paint(width, now, alpha, blur);
      w.speak(showReadouts(now, alpha, blur));
      w.root.dataset.moved = `${alpha} ${blur}`;
    };
  },
);
