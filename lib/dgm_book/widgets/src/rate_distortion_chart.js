// Curves of rate against distortion, and a dot with its tangent that moves along one of them.

import { axesOf, between, linear, logarithmic, through } from "./charts.js";
import { italic, MARKS, number, rich, shape, ticks } from "./frame.js";
import { last } from "./models/arrays.js";
import { makeLabels, place, resize } from "./plot.js";

const [LEFT, TOP, BELOW] = [46, 10, 42]; // px, of the chart

/**
 * A model's curve at its betas. `codes` says where its codes begin among all, how many images and numbers
 * they have.
 * @typedef {Record<"beta" | "rate" | "distortion" | "log_z", number[]> & Partial<Record<"rate_error" |
 *   "distortion_error" | "log_z_error", number[]>> & { model: string, label: string, family?: string,
 *   latent_dim?: number, codes?: { images: number, latent: number, start: number } }} Curve
 */
/** @typedef {{ label: string, marked: boolean, distortion: number[], rate: number[] }} Reference */
/** What the reader chose. @typedef {{ log: boolean, logRate: boolean, references: boolean }} View */
/** @typedef {{ families: string[], dash(i: number): string, mark(i: number): Mark }} Looks */
/** @typedef {(typeof MARKS)[string]} Mark */

const distance = (/** @type {number[]} */ [x, y], /** @type {number[]} */ [u, v]) => Math.hypot(x - u, y - v);

function logTicks(/** @type {number} */ low, /** @type {number} */ high) {
  const decades = [-3, -2, -1, 0, 1, 2, 3, 4].flatMap((power) => [1, 2, 5].map((f) => f * 10 ** power));
  return decades.filter((d) => d >= low && d <= high);
}

/**
 * The axes of a chart of all curves; a logarithmic rate has room for the references, too.
 * @type {(curves: Curve[], references: Reference[], width: number, view: View) => Box}
 */
export function boxOf(curves, references, width, { log, logRate }) {
  const distortions = curves.flatMap((curve) => curve.distortion);
  const high = logRate ? [...curves, ...references] : curves;
  const [most, farthest] = [
    1.06 * Math.max(...high.flatMap(({ rate }) => rate)),
    1.04 * Math.max(...distortions),
  ];
  const least = log ? 0.85 * Math.min(...distortions) : 0;
  const bottom = TOP + Math.round(Math.min(330, Math.max(215, 0.74 * width)));
  const right = width - 8;
  const px = (log ? logarithmic : linear)([least, farthest], [LEFT, right]);
  const lowest = logRate ? most / 3000 : 0;
  const scale = (logRate ? logarithmic : linear)([lowest, most], [bottom, TOP]);
  const py = (/** @type {number} */ v) => scale(Math.max(v, lowest / 10));
  return { px, py, left: LEFT, top: TOP, right, bottom, log, logRate, least, farthest, lowest, most };
}
/** @typedef {{ px: Scale1D, py: Scale1D, log: boolean, logRate: boolean } & Record<Sizes, number>} Box */
/** @typedef {"left" | "top" | "right" | "bottom" | "least" | "farthest" | "lowest" | "most"} Sizes */

// Two standard errors to one side of the curve, along its normal. An error along the tangent does not leave
// the curve, and the error of R + beta D is that of log Z.
/** @type {(curve: Curve, box: Box, side: number) => number[][]} */
function bandEdge(curve, box, side) {
  const { px, py, bottom, left, right, top, log, logRate, least, farthest, lowest, most } = box;
  return curve.beta.map((beta, k) => {
    const sy = (bottom - top) / (logRate ? Math.log(most / lowest) * curve.rate[k] : most);
    const sx = (right - left) / (log ? Math.log(farthest / least) * curve.distortion[k] : farthest);
    const steep = Math.hypot(sx, beta * sy);
    const apart = Math.hypot(beta * (curve.distortion_error?.[k] ?? 0), curve.rate_error?.[k] ?? 0);
    const out = (side * 2 * (curve.log_z_error?.[k] ?? apart) * sx * sy) / steep;
    const [x, y] = [px(curve.distortion[k]), py(curve.rate[k])];
    return [x + (out * beta * sy) / steep, Math.min(y - (out * sx) / steep, bottom)];
  });
}

// The chart: layout(width, view), choose(i) brings a curve to the front, nearest(x, y) is a point of it, and
// follow(curve, at) moves the dot.
/** @type {(w: Widget, curves: Curve[], references: Reference[], looks: Looks) => Chart} */
export function makeChart(w, curves, references, looks) {
  const { families } = looks;
  const svg = shape("svg", {
    role: "img",
    "aria-label": "Rate against distortion, with the tangent of slope minus beta",
  });
  const labels = makeLabels();
  const [axes, pile, opening] = [shape("g"), shape("g"), shape("rect")];
  const layers = curves.map(({ family, latent_dim: size }, i) => ({
    group: shape("g"),
    name: shape("text.dgm-halo", { "font-size": 11 }, families.length ? `${family} ${size}` : ""),
    dash: looks.dash(i),
    mark: looks.mark(i),
  }));
  const others = references.map((reference) => ({
    reference,
    line: shape("path.dgm-rd-reference", { "stroke-dasharray": reference.marked ? "1 3" : "6 3" }),
    marks: shape("path.dgm-rd-marks"),
    name: shape("text.dgm-halo", { "font-size": 11, "font-style": "italic" }, reference.label),
  }));
  const clip = shape("clipPath", { id: `${w.id}-clip` }, opening);
  const behind = shape("g", ...others.flatMap(({ line, marks }) => [line, marks]));
  const tangent = shape("path.dgm-rd-tangent", { fill: "none" });
  const meet = shape("circle.dgm-rd-meet", { r: 4, cx: LEFT });
  // What the dashes say stands in the corner where no curve comes.
  const [slope, note] = [TOP + 8, TOP + 24].map((y) => shape("text.dgm-halo", { y, "text-anchor": "end" }));
  slope.append("dashes: slope \u2212", italic("\u03b2"));
  const dot = shape("path.dgm-rd-dot");
  svg.append(clip, axes, shape("g", { "clip-path": `url(#${w.id}-clip)` }, behind, pile));
  svg.append(shape("g", ...[...others, ...layers].map(({ name }) => name)), tangent, meet, slope, note, dot);
  w.picture.append(svg);
  /** @type {Box | null} */
  let box = null;
  let layout = "";

  /** @type {(curve: Curve, mark: Mark, dash: string, box: Box) => SVGElement[]} */
  function curveParts(curve, mark, dash, now) {
    const at = curve.rate.map((r, k) => [now.px(curve.distortion[k]), now.py(r)]);
    const gap = families.length ? 22 : 9;
    /** @type {number[][]} */
    const apart = [];
    for (const p of at) if (!apart.length || distance(p, last(apart)) > gap) apart.push(p);
    return [
      shape("path.dgm-rd-band", { d: between(bandEdge(curve, now, 1), bandEdge(curve, now, -1)) }),
      shape("path.dgm-rd-line", { "stroke-dasharray": dash, d: through(at) }),
      shape("path.dgm-rd-marks", { d: apart.map(([x, y]) => mark(x, y, 2.6)).join("") }),
    ];
  }

  // Cut where it leaves the plot; its name stands at the highest point inside, if there is one.
  /** @type {(now: Box, drawn: boolean) => void} */
  function drawReferences({ px, py, right, top, least, farthest, lowest, most }, drawn) {
    behind.style.display = drawn ? "" : "none";
    for (const { reference, line, marks, name } of others) {
      const { distortion, rate, marked } = reference;
      const at = rate.map((r, k) => [px(Math.max(distortion[k], 1e-9)), py(r)]);
      place(line, { d: through(at) });
      place(marks, { d: marked ? at.map(([x, y]) => MARKS.diamond(x, y, 2.4)).join("") : "" });
      const inside = rate.map((r, k) => {
        return r >= lowest && r <= most && distortion[k] >= least && distortion[k] <= farthest;
      });
      const end = at[inside.lastIndexOf(true)];
      name.style.display = drawn && end ? "" : "none";
      if (!drawn || !end) continue;
      const wide = name.getComputedTextLength();
      labels.add(name, Math.min(end[0] + 7, right - wide), Math.max(end[1] + 4, top + 9), wide);
    }
  }

  return {
    svg,
    dot,
    layout(width, view) {
      const asked = JSON.stringify([width, view]);
      if (!width || layout === asked) return;
      layout = asked;
      const { log, logRate } = view;
      const now = boxOf(curves, view.references ? references : [], width, view);
      box = now;
      const { px, py, left, right, top, bottom, least, farthest, lowest, most } = now;
      resize(svg, width, bottom + BELOW);
      place(opening, { x: left, y: top - 4, width: right - left + 8, height: bottom - top + 8 });
      const xs = log ? logTicks(least, farthest) : ticks(0, farthest, right / 75);
      const x = rich("distortion *D*, squared error an image", italic);
      const y = rich("rate *R*, nats an image", italic);
      const ys = logRate ? logTicks(lowest, most) : ticks(0, most, (bottom - top) / 45);
      axes.replaceChildren(...axesOf(now, { xs, ys, x, y, grid: true, gap: 7, below: 36 }));
      for (const [i, { group, mark, dash }] of layers.entries()) {
        group.replaceChildren(...curveParts(curves[i], mark, dash, now));
      }
      // Each curve's name stands at its end, higher where another stands already.
      labels.clear();
      const ends = curves.map((curve, i) => [i, px(last(curve.distortion)) + 8, py(last(curve.rate)) + 4]);
      for (const [i, at, height] of ends.sort((a, b) => b[1] - a[1])) {
        labels.add(layers[i].name, at, height, 1.2 * layers[i].name.getComputedTextLength());
      }
      drawReferences(now, view.references);
    },
    choose(i) {
      for (const [j, { group, name }] of layers.entries()) {
        group.classList.toggle("dgm-chosen", j === i);
        name.classList.toggle("dgm-strong", j === i);
      }
      const groups = layers.map(({ group }) => group);
      pile.append(...groups.filter((_, j) => j !== i), groups[i]);
      place(dot, { d: looks.mark(i)(0, 0, 6.5) });
    },
    nearest({ distortion, rate }, x, y) {
      const away = rate.map((r, k) => distance([x, y], [box?.px(distortion[k]) ?? 0, box?.py(r) ?? 0]));
      return away.indexOf(Math.min(...away));
    },
    follow(curve, at) {
      if (!box) return;
      const { px, py, right, bottom, log, logRate, least, farthest, lowest, most } = box;
      const low = Math.floor(at);
      const high = Math.min(low + 1, curve.beta.length - 1);
      const [d, r, beta] = [curve.distortion, curve.rate, curve.beta].map(
        (values) => values[low] + (at - low) * (values[high] - values[low]),
      );
      place(dot, { transform: `translate(${px(d)} ${Math.min(py(r), bottom)})` });
      // The tangent R = r - beta (D - d), clipped to the plot; a bend where an axis is logarithmic.
      const meets = r + beta * d;
      const start = Math.max(least, beta > 0 ? d - (most - r) / beta : 0);
      const end = beta * (farthest - d) > r - lowest ? d + (r - lowest) / beta : farthest;
      const n = log || logRate ? 32 : 1;
      const along = Array.from({ length: n + 1 }, (_, j) => start + (j / n) * (end - start));
      const path = along.map((D) => [px(D), py(meets - beta * D)]);
      place(tangent, { d: through(path) });
      const inside = meets <= most && meets >= lowest;
      meet.style.display = inside && !log ? "" : "none";
      place(meet, { cy: py(meets) });
      note.replaceChildren(
        ...rich(`${inside ? "\u25cb" : "to"} \u2212log *Z* = ${number(meets, 3)}`, italic),
      );
      note.style.display = log ? "none" : "";
      for (const text of [slope, note]) place(text, { x: right });
    },
  };
}
/**
 * @typedef {{ svg: SVGElement, dot: SVGElement, layout(width: number, view: View): void,
 *   choose(i: number): void, nearest(curve: Curve, x: number, y: number): number,
 *   follow(curve: Curve, at: number): void }} Chart
 */
