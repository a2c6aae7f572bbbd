// The rate-distortion explorer: a slider over beta moves a dot along the curve, and samples morph.

import { checkbox, labelledSlider, SHAPES } from "../controls.js";
import {
  calm,
  element,
  imagePainter,
  italic,
  MARKS,
  number,
  openWidget,
  penOf,
  readout,
  rich,
  shape,
  throttled,
  ticks,
  withError,
} from "../frame.js";
import { last } from "../models/arrays.js";
import { decode, floatsOf, loadNetworks } from "../models/nn.js";
import { axisName, bottomAxis, leftAxis, makeLabels, place, resize, sign, uprightName } from "../plot.js";

const [LEFT, TOP] = [46, 10]; // px, of the chart

/**
 * A model's curve at its betas. `codes` says where its codes begin among all, how many images and numbers
 * they have.
 * @typedef {Record<"beta" | "rate" | "distortion" | "log_z", number[]> & Partial<Record<"rate_error" |
 *   "distortion_error" | "log_z_error", number[]>> & { model: string, label: string, family?: string,
 *   latent_dim?: number, codes?: { images: number, latent: number, start: number } }} Curve
 */
/**
 * How each curve is told from the others.
 * @typedef {{ families: string[], sizes: number[], dash(i: number): string, mark(i: number): Mark }} Looks
 */
/** @typedef {(x: number, y: number, r: number) => string} Mark */

/** @type {(p: number[], q: number[]) => number} */
const distance = ([x, y], [u, v]) => Math.hypot(x - u, y - v);
/** @type {(low: number, high: number) => number[]} */
function logTicks(low, high) {
  const decades = [-3, -2, -1, 0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5].map((f) => f * 10 ** power));
  return decades.filter((d) => d >= low && d <= high);
}

// A family has its dash and a latent size its mark; without families each curve has its own of both.
/** @type {(curves: Curve[]) => Looks} */
function looksOf(curves) {
  const families = [...new Set(curves.flatMap(({ family }) => family || []))];
  const sizes = [...new Set(curves.flatMap(({ latent_dim: size }) => size || []))].sort((a, b) => a - b);
  const place = (/** @type {number} */ i, /** @type {number} */ own) => (families.length ? own : i);
  return {
    families,
    sizes,
    dash: (i) => DASHES_OF[place(i, families.indexOf(curves[i].family ?? "")) % DASHES_OF.length],
    mark: (i) => MARKS[SHAPES[place(i, sizes.indexOf(curves[i].latent_dim ?? 0)) % SHAPES.length]],
  };
}
const DASHES_OF = ["", "7 4", "2 3.5", "9 3 2 3", "4 2"];

// The axes of a chart: px and py turn D and R into pixels.
/** @type {(curves: Curve[]) => Frame2D} */
function makeScale(curves) {
  const top = 1.06 * Math.max(...curves.flatMap((curve) => curve.rate));
  const right = 1.04 * Math.max(...curves.flatMap((curve) => curve.distortion));
  const left = 0.85 * Math.min(...curves.flatMap((curve) => curve.distortion));
  const me = {
    top,
    right,
    left,
    w: 0,
    h: 0,
    log: false,
    px: (/** @type {number} */ d) =>
      LEFT + (me.log ? Math.log(d / left) / Math.log(right / left) : d / right) * me.w,
    py: (/** @type {number} */ r) => TOP + me.h - (r / top) * me.h,
  };
  return me;
}
/**
 * @typedef {Record<"top" | "right" | "left" | "w" | "h", number> & { log: boolean, px(d: number): number,
 *   py(r: number): number }} Frame2D
 */

// Two standard errors to one side of the curve, along its normal. An error along the tangent does not leave
// the curve, and the error of R + beta D is that of log Z.
/** @type {(curve: Curve, scale: Frame2D, side: number) => string[]} */
function bandEdge(curve, { px, py, top, right, left, w, h, log }, side) {
  const sy = h / top;
  return curve.beta.map((beta, k) => {
    const sx = w / (log ? Math.log(right / left) * curve.distortion[k] : right);
    const steep = Math.hypot(sx, beta * sy);
    const apart = Math.hypot(beta * (curve.distortion_error?.[k] ?? 0), curve.rate_error?.[k] ?? 0);
    const out = (side * 2 * (curve.log_z_error?.[k] ?? apart) * sx * sy) / steep;
    const [x, y] = [px(curve.distortion[k]), py(curve.rate[k])];
    return `${x + (out * beta * sy) / steep} ${Math.min(y - (out * sx) / steep, TOP + h)}`;
  });
}

// The curves, with what does not move.
/** @type {(w: Widget, curves: Curve[], looks: Looks, labels: Labels) => Curves} */
function makeCurves(w, curves, looks, labels) {
  const scale = makeScale(curves);
  const { px, py, top, right, left } = scale;
  const { families } = looks;
  const says = "Rate against distortion, with the tangent of slope minus beta";
  const svg = shape("svg", { role: "img", "aria-label": says });
  const [axes, pile, opening] = [shape("g"), shape("g"), shape("rect")];
  const layers = curves.map(({ family, latent_dim: size }, i) => {
    const band = shape("path.dgm-rd-band");
    const line = shape("path.dgm-rd-line", { "stroke-dasharray": looks.dash(i) });
    const marks = shape("path.dgm-rd-marks");
    const name = shape("text.dgm-halo", { "font-size": 11 }, families.length ? `${family} ${size}` : "");
    return { band, line, marks, name, group: shape("g", band, line, marks) };
  });
  const clip = shape("clipPath", { id: `${w.id}-clip` }, opening);
  const clipped = shape("g", { "clip-path": `url(#${w.id}-clip)` }, pile);
  svg.append(clip, axes, clipped, shape("g", ...layers.map(({ name }) => name)));
  w.picture.append(svg);

  function drawAxes() {
    const [wide, bottom] = [scale.w, TOP + scale.h];
    place(opening, { x: LEFT, y: TOP - 4, width: wide + 8, height: scale.h + 8 });
    const values = scale.log ? logTicks(left, right) : ticks(0, right, (wide + LEFT + 8) / 75);
    axes.replaceChildren(
      ...bottomAxis(values, { px, y: bottom, grid: scale.h }),
      ...leftAxis(ticks(0, top, scale.h / 45), { py, left: LEFT, right: LEFT + wide, gap: 7 }),
      shape("path.dgm-axis", { d: `M${LEFT} ${TOP}V${bottom}H${LEFT + wide}` }),
      axisName(LEFT + wide / 2, bottom + 36, rich("distortion *D*, squared error an image", italic)),
      uprightName(11, TOP + scale.h / 2, rich("rate *R*, nats an image", italic)),
    );
  }

  /** @type {(curve: Curve, i: number) => void} */
  function drawCurve(curve, i) {
    const at = curve.rate.map((r, k) => [px(curve.distortion[k]), py(r)]);
    place(layers[i].line, { d: `M${at.map((p) => p.join(" ")).join("L")}` });
    const edges = [...bandEdge(curve, scale, 1), ...bandEdge(curve, scale, -1).reverse()];
    place(layers[i].band, { d: `M${edges.join("L")}Z` });
    /** @type {number[][]} */
    const apart = [];
    const gap = families.length ? 22 : 9;
    for (const p of at) if (!apart.length || distance(p, last(apart)) > gap) apart.push(p);
    place(layers[i].marks, { d: apart.map(([x, y]) => looks.mark(i)(x, y, 2.6)).join("") });
  }

  /** @type {Curves["layout"]} */
  function layout(width, log) {
    Object.assign(scale, {
      log,
      w: width - LEFT - 8,
      h: Math.round(Math.min(330, Math.max(215, 0.74 * width))),
    });
    resize(svg, width, TOP + scale.h + 42);
    drawAxes();
    for (const [i, curve] of curves.entries()) drawCurve(curve, i);
    // Each curve's name stands at its end, lower where another stands already.
    labels.clear();
    const ends = curves.map((curve, i) => ({
      i,
      x: px(last(curve.distortion)) + 8,
      y: py(last(curve.rate)) + 4,
    }));
    for (const { i, x, y } of ends.sort((a, b) => a.y - b.y)) {
      labels.add(layers[i].name, x, y, layers[i].name.getComputedTextLength());
    }
  }
  /** @type {Curves["choose"]} */
  function choose(i) {
    for (const [j, { group, name }] of layers.entries()) {
      group.classList.toggle("dgm-chosen", j === i);
      name.classList.toggle("dgm-strong", j === i);
    }
    const groups = layers.map(({ group }) => group);
    pile.append(...groups.filter((_, j) => j !== i), groups[i]);
  }
  return { svg, scale, layout, choose };
}
/**
 * @typedef {{ svg: SVGElement, scale: Frame2D, layout(width: number, log: boolean): void, choose(i:
 *   number): void }} Curves
 */

// The dot that moves along a curve, with its tangent.
/**
 * @type {(svg: SVGElement, scale: Frame2D, labels: Labels) => { dot: SVGElement, draw(curve: Curve, at:
 *   number): void }}
 */
function makePoint(svg, scale, labels) {
  const tangent = shape("path.dgm-rd-tangent", { fill: "none" });
  const meet = shape("circle.dgm-rd-meet", { r: 4 });
  const note = shape("text.dgm-strong.dgm-halo");
  const slope = shape("text.dgm-halo", { "text-anchor": "start" }, "slope \u2212", italic("\u03b2"));
  const dot = shape("path.dgm-rd-dot");
  svg.append(tangent, meet, slope, note, dot);
  const { px, py, top, right, left } = scale;

  /** @type {(curve: Curve, at: number) => void} */
  function draw(curve, at) {
    const low = Math.floor(at);
    const high = Math.min(low + 1, curve.beta.length - 1);
    const between = (/** @type {number[]} */ values) =>
      values[low] + (at - low) * (values[high] - values[low]);
    const [d, r, beta] = [between(curve.distortion), between(curve.rate), between(curve.beta)];
    place(dot, { transform: `translate(${px(d)} ${py(r)})` });
    // The tangent R = r - beta (D - d), clipped to the plot; a bend where D is logarithmic.
    const meets = r + beta * d;
    const start = Math.max(scale.log ? left : 0, beta > 0 ? d - (top - r) / beta : 0);
    const end = beta * (right - d) > r ? d + r / beta : right;
    const n = scale.log ? 32 : 1;
    const along = Array.from({ length: n + 1 }, (_, j) => start + (j / n) * (end - start));
    const path = along.map((D) => [px(D), py(meets - beta * D)]);
    place(tangent, { d: `M${path.map((p) => p.join(" ")).join("L")}` });
    const inside = meets <= top;
    meet.style.display = inside && !scale.log ? "" : "none";
    place(meet, { cx: LEFT, cy: py(meets) });
    const text = inside ? "\u2212log *Z* = " : "to \u2212log *Z* = ";
    note.replaceChildren(...rich(`${text}${number(meets, 3)}${inside ? "" : " \u2191"}`, italic));
    note.style.display = scale.log ? "none" : "";
    const [[x1, y1], [x2, y2]] = [path[0], last(path)];
    const [edge, bottom] = [LEFT + scale.w, TOP + scale.h];
    labels.beside(note, Math.min(x1 + 10, edge - 130), Math.max(y1 + (inside ? -8 : 14), TOP + 12), 130, 1);
    const middle = [(px(d) + x2) / 2 + 8, (py(r) + y2) / 2 - 6];
    labels.beside(slope, Math.min(middle[0], edge - 52), Math.min(middle[1], bottom - 8), 52, -1);
  }
  return { dot, draw };
}

// The samples, each above its reference.
/** @type {(w: Widget, networks: Record<string, Network>) => Samples} */
function makeSamples(w, networks) {
  const codes = floatsOf(w.get("codes"));
  const references = w.get("references").byteLength ? floatsOf(w.get("references")) : null;
  const [height, width] = w.get("image_shape");
  const canvas = element("canvas", { role: "img", "aria-label": "Decoded images" });
  const context = penOf(canvas, true);
  const paint = imagePainter(width, height);
  const caption = element("figcaption");
  w.side.append(element("figure", canvas, caption));
  const grow = Math.max(1, Math.round(128 / width));
  const tile = { w: width * grow, h: height * grow, gap: Math.round(0.09 * width * grow) };
  const small = { w: Math.round(tile.w / 2), h: Math.round(tile.h / 2), gap: Math.round(tile.gap / 4) };
  // Whole pixels only, so that no tile bleeds into the next.
  const step = { x: tile.w + tile.gap, y: tile.h + small.gap + small.h + tile.gap };
  let columns = 1;
  const corner = (/** @type {number} */ n) => [(n % columns) * step.x, Math.floor(n / columns) * step.y];

  /** @type {(curve: Curve, position: number, image: number) => Float32Array} */
  function decoded({ codes: at, beta, model }, position, image) {
    const { images, latent, start } = at ?? { images: 0, latent: 0, start: 0 };
    const low = Math.floor(position);
    const high = Math.min(low + 1, beta.length - 1);
    const z = new Float32Array(latent);
    for (let k = 0; k < latent; k++) {
      const a = codes[start + (low * images + image) * latent + k];
      const b = codes[start + (high * images + image) * latent + k];
      z[k] = a + (position - low) * (b - a);
    }
    return decode(networks[model].layers, z);
  }

  /** @type {Samples["arrange"]} */
  function arrange(curve) {
    canvas.style.display = curve.codes ? "" : "none";
    if (!curve.codes) {
      const says = `This page carries the curve of ${curve.label}, not its decoder`;
      caption.replaceChildren(`${says}: there are no samples to show.`);
      return;
    }
    const { images } = curve.codes;
    columns = [4, 5, 3, 6].find((c) => images % c === 0) ?? Math.min(4, images);
    canvas.width = columns * step.x - tile.gap;
    canvas.height = Math.ceil(images / columns) * step.y - tile.gap;
    for (let n = 0; n < images; n++) {
      const own = references?.subarray(n * width * height, (n + 1) * width * height);
      const [x, y] = corner(n);
      const left = x + Math.round((tile.w - small.w) / 2);
      const image = own ?? decoded(curve, curve.beta.length - 1, n);
      paint(context, image, left, y + tile.h + small.gap, small.w, small.h);
    }
    const below = references ? "the images *x* themselves" : "the same codes at the largest *\u03b2*";
    const large = "Large: samples *f*\u2009(*z*), *z* ~ *q*_*\u03b2*_\u2009(*z*\u2009|\u2009*x*)";
    caption.replaceChildren(...rich(`${large}. Small: ${below}.`));
  }
  /** @type {Samples["draw"]} */
  function draw(curve, position) {
    for (let n = 0; n < (curve.codes?.images ?? 0); n++) {
      const [x, y] = corner(n);
      paint(context, decoded(curve, position, n), x, y, tile.w, tile.h);
    }
  }
  return { canvas, arrange, draw };
}
/**
 * @typedef {{ canvas: Element, arrange(curve: Curve): void, draw(curve: Curve, position: number): void }}
 *   Samples
 */

/**
 * @typedef {{ value: string, words: string, dash: string | null, mark: Mark | null, act: () => void }} Choice
 */
// Radios with the looks of what they choose.
/** @type {(w: Widget, name: string, key: string, choices: Choice[]) => Row} */
function signedRadios(w, name, key, choices) {
  const all = choices.map(({ value, words, dash, mark, act }) => {
    const radio = element("input", { type: "radio", name: `${w.id}-${key}`, value });
    radio.addEventListener("change", act);
    const parts = [];
    if (dash !== null) parts.push(shape("path.dgm-rd-line", { d: "M1 7H33", "stroke-dasharray": dash }));
    if (mark) parts.push(shape("path.dgm-rd-marks", { d: mark(17, 7, 4) }));
    const icon = sign("", ...parts);
    return { radio, icon, label: element("label", radio, icon, words) };
  });
  const row = element(
    "div.dgm-row",
    { role: "radiogroup", "aria-label": name },
    ...all.map(({ label }) => label),
  );
  /** @type {Row["show"]} */
  const show = (value, possible = () => true) => {
    for (const { radio, icon } of all) {
      radio.checked = radio.value === value;
      radio.disabled = !possible(radio.value);
      icon.classList.toggle("dgm-chosen", radio.checked);
    }
  };
  return { row, show };
}
/** @typedef {{ row: HTMLElement, show(value: string, possible?: (value: string) => boolean): void }} Row */

/** @type {(betas: number[]) => HTMLElement[]} */
function decadeMarks(betas) {
  return [-6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6].flatMap((power) => {
    const k = betas.findIndex((b) => b >= 10 ** power * (1 - 1e-9));
    if (k < 0 || (k === 0 && betas[0] > 10 ** power * (1 + 1e-6))) return [];
    const low = Math.max(betas[Math.max(0, k - 1)], 1e-12);
    const between =
      k > 0 && betas[k - 1] > 0 ? Math.log(10 ** power / low) / Math.log(betas[k] / low) - 1 : 0;
    const mark = element("span", String(10 ** power).replace("0.000001", "1e\u22126"));
    mark.style.left = `${(100 * (k + between)) / (betas.length - 1)}%`;
    return [mark];
  });
}

/**
 * @type {(w: Widget, curves: Curve[], looks: Looks, choose: (i: number) => void, chosen: () => number) =>
 *   Controls}
 */
function makeControls(w, curves, { families, sizes, dash, mark }, choose, chosen) {
  // The family's curve whose latent size is nearest.
  const seek = (/** @type {string | undefined} */ family, size = 1) => {
    const off = curves.map((one) =>
      one.family === family ? Math.abs(Math.log((one.latent_dim ?? 1) / size)) : Infinity,
    );
    choose(off.indexOf(Math.min(...off)));
  };
  const models = curves.map((curve, i) => {
    return { value: curve.model, words: curve.label, dash: dash(i), mark: mark(i), act: () => choose(i) };
  });
  const byModel = signedRadios(w, "Model", "model", families.length ? [] : models);
  const kinds = families.map((family, j) => {
    const act = () => seek(family, curves[chosen()].latent_dim);
    return { value: family, words: family, dash: DASHES_OF[j % DASHES_OF.length], mark: null, act };
  });
  const byFamily = signedRadios(w, "Family", "family", kinds);
  const widths = sizes.map((size, j) => {
    const act = () => seek(curves[chosen()].family, size);
    return {
      value: String(size),
      words: String(size),
      dash: null,
      mark: MARKS[SHAPES[j % SHAPES.length]],
      act,
    };
  });
  const bySize = signedRadios(w, "Latent dimensions", "size", widths);
  byFamily.row.prepend(element("span", "Family"));
  bySize.row.prepend(element("span", "Latent size"));
  const log = checkbox(`${w.id}-log`, "logarithmic *D* axis", (on) => w.change({ log_distortion: on }));
  const range = { min: 0, step: 1 };
  const name = "*\u03b2*, nats per unit of squared error";
  const slider = labelledSlider(`${w.id}-beta`, name, range, (v) => w.change({ beta_index: v }));
  const decades = element("div.dgm-ticks", { "aria-hidden": "true" });
  slider.node.append(decades);
  const rows = families.length ? [byFamily.row, bySize.row] : [byModel.row];
  w.controls.append(slider.node, ...rows, element("div.dgm-row", log.node, w.reset));
  w.reset.addEventListener("click", () => w.change(w.first));
  /** @type {Controls["begin"]} */
  const begin = ({ model, family = "", latent_dim: size, beta }) => {
    byModel.show(model);
    byFamily.show(family);
    const possible = (/** @type {string} */ value) =>
      curves.some((one) => one.family === family && one.latent_dim === Number(value));
    bySize.show(String(size), possible);
    slider.input.max = String(beta.length - 1);
    decades.replaceChildren(...decadeMarks(beta));
  };
  /** @type {Controls["show"]} */
  const show = (k, shown, spoken) => {
    slider.show(k, shown, spoken);
    log.input.checked = w.get("log_distortion");
  };
  return { begin, show };
}
/** @typedef {{ begin(curve: Curve): void, show(k: number, shown: string, spoken: string): void }} Controls */

/** @type {(w: Widget, curves: Curve[]) => (curve: Curve, k: number) => void} */
function makeReadouts(w, curves) {
  const list = element("dl");
  const terms = ["Rate *R*", "Distortion *D*", "PSNR", "log *Z*"];
  const [rateOut, distortionOut, psnr, logZ] = terms.map((term) => readout(list, term));
  w.side.append(list);
  const known = curves.some((curve) => curve.rate_error || curve.log_z_error);
  if (known) w.side.append(element("p.dgm-small", "\u00b1 one standard error; bands: two."));
  const [height, width] = w.get("image_shape");
  const pixels = width * height;
  return (curve, k) => {
    const [rate, distortion, error] = [curve.rate[k], curve.distortion[k], curve.rate_error?.[k] ?? 0];
    const bits = (/** @type {number} */ per) => withError(rate / Math.LN2 / per, error / Math.LN2 / per);
    const small = [element("small", `${bits(1)} bits`), element("small", `${bits(pixels)} bits/pixel`)];
    rateOut.replaceChildren(`${withError(rate, error)} nats`, ...small);
    distortionOut.textContent = withError(distortion, curve.distortion_error?.[k] ?? 0);
    psnr.textContent = `${(-10 * Math.log10(distortion / pixels)).toFixed(1)} dB`.replace("-", "\u2212");
    logZ.textContent = `${withError(curve.log_z[k], curve.log_z_error?.[k] ?? 0)} nats`;
  };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const networks = await loadNetworks(props.model);
  /** @type {Curve[]} */
  const curves = props.model.get("curves");
  const other = curves[0].family ? " Then choose another family or latent size at the same \u03b2." : "";
  const w = openWidget(props, {
    names: ["model", "beta_index", "log_distortion"],
    hint: `drag \u03b2 to the right: prior samples turn into reconstructions, at the price of rate.${other}`,
  });
  const errors = curves.flatMap(({ model }) => networks[model]?.error ?? []);
  if (errors.length) w.root.dataset.goldenError = Math.max(...errors).toFixed(6);
  const chosen = () => curves.findIndex((curve) => curve.model === w.get("model"));
  /** Stays at the same beta as nearly as the other curve allows. @type {(i: number) => void} */
  const choose = (i) => {
    const beta = curves[chosen()].beta[w.get("beta_index")];
    const far = curves[i].beta.map((b) => Math.abs(Math.log((b + 1e-9) / (beta + 1e-9))));
    w.change({ model: curves[i].model, beta_index: far.indexOf(Math.min(...far)) });
  };
  const looks = looksOf(curves);
  const labels = makeLabels();
  const chart = makeCurves(w, curves, looks, labels);
  const { svg, scale } = chart;
  const point = makePoint(svg, scale, labels);
  const samples = makeSamples(w, networks);
  const controls = makeControls(w, curves, looks, choose, chosen);
  const showReadouts = makeReadouts(w, curves);
  const speak = throttled(w.status);
  let [shown, position] = [-1, Number(w.get("beta_index"))];

  /** @type {() => [Curve, number]} */
  function begin() {
    const i = chosen();
    const curve = curves[i];
    const k = Math.min(w.get("beta_index"), curve.beta.length - 1);
    if (shown === i) return [curve, k];
    [shown, position] = [i, k];
    samples.arrange(curve);
    controls.begin(curve);
    chart.choose(i);
    place(point.dot, { d: looks.mark(i)(0, 0, 6.5) });
    return [curve, k];
  }

  function draw() {
    const [curve, k] = begin();
    if (scale.w > 0 && scale.log !== w.get("log_distortion")) {
      chart.layout(scale.w + LEFT + 8, w.get("log_distortion"));
    }
    const beta = number(curve.beta[k]);
    const rate = number(curve.rate[k]);
    const says = `beta ${beta}, rate ${rate} nats, distortion ${number(curve.distortion[k])}`;
    controls.show(k, beta, says);
    showReadouts(curve, k);
    const images = `${curve.codes?.images} decoded images, ${curve.label}, beta ${beta}`;
    if (curve.codes) samples.canvas.setAttribute("aria-label", images);
    speak(`${curve.label}: ${says}, log Z ${number(curve.log_z[k])} nats`);
    const gap = k - position;
    position = calm() || Math.abs(gap) < 0.02 ? k : position + 0.34 * gap;
    if (curve.codes) samples.draw(curve, position);
    if (scale.w > 0) point.draw(curve, position);
    return position !== k;
  }

  // The dot can be dragged along its curve, too.
  /** @type {(event: PointerEvent) => void} */
  const pick = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const box = svg.getBoundingClientRect();
    const { distortion, rate } = curves[chosen()];
    const at = [event.clientX - box.left, event.clientY - box.top];
    const away = rate.map((r, k) => distance(at, [scale.px(distortion[k]), scale.py(r)]));
    w.change({ beta_index: away.indexOf(Math.min(...away)) });
  };
  svg.addEventListener("pointerdown", pick);
  svg.addEventListener("pointermove", pick);
  const stop = w.start("dgm:rate-distortion", draw, {
    resized(width) {
      chart.layout(width, w.get("log_distortion"));
      w.ask();
    },
  });
  w.ask();
  return stop;
}

export default { render };
