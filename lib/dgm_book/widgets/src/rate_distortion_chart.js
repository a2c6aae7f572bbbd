// Curves of rate against distortion, and a dot with its tangent that moves along one.

import { italic, number, rich, shape, ticks } from "./frame.js";
import { last } from "./models/arrays.js";
import { axisName, bottomAxis, leftAxis, place, resize, uprightName } from "./plot.js";

export const [LEFT, TOP] = [46, 10]; // px, of the chart

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
export const distance = ([x, y], [u, v]) => Math.hypot(x - u, y - v);
/** @type {(low: number, high: number) => number[]} */
function logTicks(low, high) {
  const decades = [-3, -2, -1, 0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5].map((f) => f * 10 ** power));
  return decades.filter((d) => d >= low && d <= high);
}

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
export function makeCurves(w, curves, looks, labels) {
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
export function makePoint(svg, scale, labels) {
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
