// The damage lab: the mixture prior's curve is put together from its two ends, image by image.

import { labelledSlider } from "../controls.js";
import {
  element,
  italic,
  MARKS,
  number,
  openWidget,
  readout,
  rich,
  shape,
  throttled,
  ticks,
  withError,
} from "../frame.js";
import { mixed, rateAt } from "../models/damage.js";
import { floatsOf } from "../models/nn.js";
import { axisName, bottomAxis, leftAxis, place, resize, short, sign, uprightName } from "../plot.js";

// The cap is drawn last: its dots show on a curve that lies on it.
const LINES = [
  { name: "sound", words: "undamaged", class: "dgm-rd-line", dash: "7 4", style: "" },
  { name: "damaged", words: "damaged", class: "dgm-rd-line", dash: "", style: "", chosen: true },
  {
    name: "cap",
    words: "cap: \u03b1 = 0, but \u2212log(1 \u2212 \u03b1) nats higher",
    class: "dgm-rd-line dgm-off",
    dash: "2 4",
    style: "stroke-width:2;opacity:1",
  },
];
const TERMS = ["narrow_log_z", "narrow_distortion", "wide_log_z", "wide_distortion"];
const LOWEST = 0.1; // rate on the axis, nats
const LEFT = 46;
const TOP = 10;

/**
 * The curves as the page has them.
 * @typedef {{ data: Terms, blurs: number[], sound: Mixed[], likely: number }} Lab
 */

/** @type {(values: number[]) => [number, number]} */
function meanWithError(values) {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  const error = n > 1 ? Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / (n - 1) / n) : 0;
  return [mean, error];
}

// How much log-likelihood one curve has less than another.
/** @type {(lab: Lab, curve: Mixed, other: Mixed) => [number, number]} */
const lost = ({ likely }, curve, other) =>
  meanWithError(Array.from(curve.each[likely], (v, n) => other.each[likely][n] - v));

/** @type {(w: Widget) => Lab} */
function readLab(w) {
  const [beta, blurs] = [w.get("beta"), w.get("blurs")];
  const [narrowZ, narrowD, wideZ, wideD] = TERMS.map((key) => floatsOf(w.get(key)));
  const data = { beta, images: narrowZ.length / beta.length / blurs.length, narrowZ, narrowD, wideZ, wideD };
  const sound = blurs.map((/** @type {number} */ _, /** @type {number} */ blur) => mixed(data, blur, 0));
  return { data, blurs, sound, likely: w.get("likelihood_index") };
}

/** The three lines; layout(width), draw(damaged). @type {(w: Widget, lab: Lab) => Picture} */
function makePicture(w, { data, blurs, sound }) {
  const says = "Rate, on a logarithmic axis, against distortion: sound, damaged, and the cap";
  const svg = shape("svg", { role: "img", "aria-label": says });
  const [axes, opening, marks] = [shape("g"), shape("rect"), shape("path.dgm-rd-marks")];
  const clip = shape("clipPath", { id: `${w.id}-clip` }, opening);
  const clipped = shape("g", { "clip-path": `url(#${w.id}-clip)` });
  const signs = LINES.map((line) => {
    const look = { class: line.class, "stroke-dasharray": line.dash, style: line.style };
    const path = shape("path", look);
    clipped.append(shape("g", { class: line.chosen ? "dgm-chosen" : "" }, path));
    if (line.chosen) path.after(marks);
    const icon = sign("", shape("path", { ...look, d: "M1 7H33" }));
    icon.setAttribute("style", "width:34px;height:14px;flex:none");
    const node = element("span", { class: line.chosen ? "dgm-chosen" : "" }, icon, line.words);
    return { name: line.name, path, node };
  });
  svg.append(clip, axes, clipped);
  w.picture.append(svg, element("div.dgm-signs.dgm-row", ...signs.map(({ node }) => node)));
  const high = 1.2 * Math.max(...sound.flatMap((curve) => curve.rate), 5);
  const widest = blurs.flatMap((_, blur) => mixed(data, blur, 0.99).distortion);
  const usual = Math.max(...sound.flatMap((curve) => curve.distortion));
  const right = 1.04 * Math.min(2 * usual, Math.max(usual, ...widest));
  let [wide, tall] = [0, 0];
  const px = (/** @type {number} */ d) => LEFT + (d / right) * wide;
  const py = (/** @type {number} */ r) =>
    TOP + tall - (Math.log(Math.max(r, 1e-9) / LOWEST) / Math.log(high / LOWEST)) * tall;

  /** @type {(width: number) => void} */
  function layout(width) {
    wide = width - LEFT - 8;
    tall = Math.round(Math.min(320, Math.max(210, 0.66 * width)));
    const bottom = TOP + tall;
    resize(svg, width, bottom + 42);
    place(opening, { x: LEFT, y: TOP, width: wide + 8, height: tall });
    const decades = [];
    for (let r = LOWEST; r <= high; r *= 10) decades.push(r);
    const text = (/** @type {number} */ r) => short(r, 3);
    axes.replaceChildren(
      ...bottomAxis(ticks(0, right, width / 75), { px, y: bottom, grid: tall }),
      ...leftAxis(decades, { py, left: LEFT, right: LEFT + wide, text, gap: 7 }),
      shape("path.dgm-axis", { d: `M${LEFT} ${TOP}V${bottom}H${LEFT + wide}` }),
      axisName(LEFT + wide / 2, bottom + 36, rich("distortion *D*, squared error an image", italic)),
      uprightName(11, TOP + tall / 2, rich("rate *R*, nats an image", italic)),
    );
  }

  /** @type {(now: Mixed, alpha: number, blur: number) => void} */
  function draw(now, alpha, blur) {
    if (!(wide > 0)) return;
    const { distortion, rate } = sound[blur];
    const cap = { distortion, rate: rate.map((r) => r - Math.log1p(-alpha)) };
    /** @type {Record<string, { distortion: number[], rate: number[] }>} */
    const curves = { sound: sound[0], cap, damaged: now };
    for (const { name, path } of signs) {
      const curve = curves[name];
      const at = curve.rate.map((r, k) => `${px(curve.distortion[k])} ${py(r)}`);
      if (name === "cap") at.unshift(`${px(right)} ${py(curve.rate[0])}`);
      place(path, { d: `M${at.join("L")}` });
    }
    place(marks, { d: now.rate.map((r, k) => MARKS.circle(px(now.distortion[k]), py(r), 2.6)).join("") });
  }
  return { layout, draw };
}
/** @typedef {{ layout(width: number): void, draw(now: Mixed, alpha: number, blur: number): void }} Picture */

/** @type {(w: Widget, blurs: number[]) => (alpha: number, blur: number) => void} */
function makeControls(w, blurs) {
  /** @type {(key: string, words: string, range: Attributes) => Slider} */
  const slider = (key, words, range) =>
    labelledSlider(`${w.id}-${key}`, words, range, (v) => w.change({ [key]: v }));
  const weight = slider("alpha", "bad-prior weight *\u03b1*", { min: 0, max: 0.99, step: 0.01 });
  const range = { min: 0, max: blurs.length - 1, step: 1 };
  const pixels = slider("blur", "blur, standard deviation in pixels", range);
  w.controls.append(weight.node, pixels.node, element("div.dgm-row", w.reset));
  w.reset.addEventListener("click", () => w.change(w.first));
  return (alpha, blur) => {
    weight.show(alpha, alpha.toFixed(2));
    pixels.show(blur, String(blurs[blur]), `${blurs[blur]} pixels`);
  };
}

/** What the damage costs; returns what shows it, and says it. @type {(w: Widget, lab: Lab) => Readouts} */
function makeReadouts(w, lab) {
  const { data, blurs, sound, likely } = lab;
  const { beta, images } = data;
  const list = element("dl");
  const terms = ["Cap", "More rate, low end", "More rate, high end", "Least *D*"];
  const [cap, early, late, floor] = terms.map((term) => readout(list, term));
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
  w.side.append(list, element("div", heading, bars), small);
  const widest = Math.max(-Math.log(0.01), ...sound.map((curve) => lost(lab, curve, sound[0])[0]));
  const nats = (/** @type {number} */ x) => `${x.toFixed(2)} nats`.replace("-", "\u2212");

  return (now, alpha, blur) => {
    const base = sound[blur];
    const more = (/** @type {number} */ k) => rateAt(now, beta, base.distortion[k]) - base.rate[k];
    const off = base.rate.map((r) => Math.abs(Math.log(Math.max(r, 1e-9))));
    const [low, high] = [off.indexOf(Math.min(...off)), beta.length - 1];
    const small = (/** @type {string} */ text) => element("small", text);
    cap.replaceChildren(nats(-Math.log1p(-alpha)), small("\u2212log(1 \u2212 \u03b1)"));
    early.replaceChildren(nats(more(low)), small(`where R is ${number(base.rate[low])} nats`));
    late.replaceChildren(nats(more(high)), small(`where R is ${number(base.rate[high])} nats`));
    const least = number(sound[0].distortion[high]);
    floor.replaceChildren(number(now.distortion[high]), small(`undamaged: ${least}`));
    for (const [i, [mean, error]] of [lost(lab, now, base), lost(lab, base, sound[0])].entries()) {
      costs[i].bar.style.width = `${(100 * Math.max(0, mean)) / widest}%`;
      costs[i].value.textContent = error < 0.005 ? nats(mean) : `${withError(mean, error)} nats`;
    }
    const rates = `cap ${nats(-Math.log1p(-alpha))}, more rate at the low end ${nats(more(low))}`;
    return `alpha ${alpha.toFixed(2)}, blur ${blurs[blur]} pixels: ${rates}`;
  };
}
/** @typedef {(now: Mixed, alpha: number, blur: number) => string} Readouts */

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["alpha", "blur"],
    hint:
      "*\u03b1* to 0.99, so that 99 codes of 100 are junk: the curve rises by at most 4.6 nats, " +
      "wherever you look. Then blur.",
  });
  const lab = readLab(w);
  const picture = makePicture(w, lab);
  const showControls = makeControls(w, lab.blurs);
  const showReadouts = makeReadouts(w, lab);
  const speak = throttled(w.status);
  function draw() {
    const [alpha, blur] = [w.get("alpha"), w.get("blur")];
    const now = mixed(lab.data, blur, alpha);
    showControls(alpha, blur);
    picture.draw(now, alpha, blur);
    speak(showReadouts(now, alpha, blur));
    w.root.dataset.moved = `${alpha} ${blur}`;
  }
  const stop = w.start("dgm:damage", draw, {
    resized(width) {
      picture.layout(width);
      w.ask();
    },
  });
  w.ask();
  return stop;
}

export default { render };
