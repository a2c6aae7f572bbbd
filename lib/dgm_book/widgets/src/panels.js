// Panels over time: a coordinate of a system, what models predict, marks of changes, and heat maps.

import { linear, through } from "./charts.js";
import { element, MARKS, penOf, shape, ticks } from "./frame.js";
import { spanFor } from "./models/switching.js";
import { axisName, bottomAxis, leftAxis, short, words } from "./plot.js";

export const [LEFT, RIGHT, GAP, TOP] = [32, 6, 21, 32]; // px, of the whole picture

// A panel of an SVG for values from `low` to `high`; nothing of what `draw` returns is drawn outside.
/** @type {(id: string, title: string, box: PanelBox, draw: (py: Fixed) => SVGElement[]) => SVGElement} */
export function panelOf(id, title, { top, width, height, low, high }, draw) {
  const scale = linear([low, high], [top + height, top]);
  /** @type {Fixed} */
  const py = (v) => scale(v).toFixed(1);
  const text = (/** @type {number} */ v) => short(v, 4);
  const values = ticks(low, high, Math.round(height / 20));
  return shape(
    "g",
    shape("clipPath", { id }, shape("rect", { x: LEFT, y: top, width, height })),
    ...leftAxis(values, { py, left: LEFT, right: LEFT + width, gap: 4, text }),
    shape("g", { "clip-path": `url(#${id})` }, ...draw(py)),
    shape("text.dgm-strong.dgm-halo", { x: LEFT + 3, y: top - 5 }, title),
  );
}

// Path data through values that `gap` may break, such as a system that starts anew.
/** @type {(values: Series, px: ToPixels, py: ToPixels, gap?: Gap) => string} */
export function linePath(values, px, py, gap = () => false) {
  let d = "";
  for (let i = 0; i < values.length; i++) d += `${i && !gap(i) ? "L" : "M"}${px(i)} ${py(values[i])}`;
  return d;
}

/** Two deviations to both sides. @type {(mean: number[], deviation: number[], side: number) => number[]} */
const edge = (mean, deviation, side) => mean.map((v, i) => v + 2 * side * deviation[i]);

/** @type {(mean: number[], deviation: number[], px: ToPixels, py: ToPixels, gap: Gap) => string} */
function bandPath(mean, deviation, px, py, gap) {
  const starts = mean.flatMap((_, i) => (i && !gap(i) ? [] : [i]));
  const [upper, lower] = [1, -1].map((side) => edge(mean, deviation, side).map((v, i) => [px(i), py(v)]));
  const parts = starts.map((from, k) => {
    const to = starts[k + 1] ?? mean.length;
    return `${through([...upper.slice(from, to), ...lower.slice(from, to).reverse()])}Z`;
  });
  return parts.join("");
}

/** A line of a model. @type {(kind: string, dash: string, d: string) => SVGElement} */
export const lineOf = (kind, dash, d) => shape(`path.dgm-line-of.${kind}`, { "stroke-dasharray": dash, d });

// The first of two coordinates: the band and mean of the first model, the edges of a second's band, the data.
/** @type {(id: string, box: PanelBox, px: Fixed, steps: CourseStep[], m: Prediction[]) => SVGElement} */
export function coordinatePanel(id, box, px, steps, [model, other]) {
  const gap = (/** @type {number} */ i) => steps[i].fresh;
  const first = (/** @type {Doubles[]} */ rows) => rows.map(([v]) => v);
  const [mean, deviation, data] = [model.mean, model.deviation, steps.map(({ x }) => x)].map(first);
  const sides = [1, -1];
  const edges = other ? sides.map((side) => edge(first(other.mean), first(other.deviation), side)) : [];
  const reach = [...sides.map((side) => edge(mean, deviation, side)), ...edges].flat();
  const [most, far] = [data, reach].map((v) => v.reduce((top, x) => Math.max(top, Math.abs(x)), 0.8));
  const high = spanFor(1.05 * Math.min(Math.max(most, far), 4 * most));
  const title = "First coordinate, expected \u00b1 2 deviations";
  return panelOf(`${id}-x`, title, { ...box, low: -high, high }, (py) => {
    const beside = edges.map((values) => linePath(values, px, py, gap)).join("");
    const dots = data.map((v, i) => MARKS.circle(+px(i), +py(v), other ? 1.7 : 1.6));
    return [
      shape("path.dgm-reach-ours", { d: bandPath(mean, deviation, px, py, gap) }),
      ...(other ? [lineOf("dgm-base", "5 3", beside)] : []),
      lineOf("dgm-ours", "", linePath(mean, px, py, gap)),
      shape("path.dgm-data-line", { d: linePath(data, px, py, gap) }),
      shape("path.dgm-data-dots", { d: dots.join("") }),
    ];
  });
}

// Upright lines where something changes, through each of `spans`: `says` gives their kind and label.
/** @type {(steps: CourseStep[], place: ChangePlace, says: SayChange) => SVGElement[]} */
export function changeMarks(steps, { wide, width, spans }, says) {
  return steps.flatMap((step, i) => {
    const mark = says(step, steps[i - 1]);
    if (!mark) return [];
    const x = +(LEFT + i * wide).toFixed(1);
    const label = { class: "dgm-strong dgm-halo", "text-anchor": x > width - 35 ? "end" : "middle" };
    const d = spans.map(([top, tall]) => `M${x} ${top}v${tall}`).join("");
    return [shape(`path.${mark[0]}`, { d }), words(x, 10, mark[1], label)];
  });
}

/** What changed, in words. @type {(now: Law, before?: Law) => string} */
export function changeOf({ which, sigma }, before) {
  const matrix = before?.which === which ? "" : `matrix ${which + 1}`;
  const noise = before?.sigma === sigma ? "" : `noise ${sigma}`;
  return [matrix, noise].filter(Boolean).join(" and ");
}

// The axis of the steps beneath a picture.
/** @type {(values: number[], px: ToPixels, width: number, y: number) => SVGElement[]} */
export const stepAxis = (values, px, width, y) => [
  shape("path.dgm-axis", { d: `M${LEFT} ${y}H${LEFT + width}` }),
  ...bottomAxis(values, { px, y, text: String }),
  axisName(LEFT + width / 2, y + 31, "step"),
];

// A canvas of so many columns and rows behind a picture, and what colours its pixels: `colour` gives the last
// number or numbers of each, of red, green, blue and opacity.
/** @type {(kind: string, columns: number, rows: number) => HeatSheet} */
export function heatSheet(kind, columns, rows) {
  const node = element("canvas", { class: kind, "aria-hidden": "true", width: columns, height: rows });
  const pen = penOf(node);
  const image = pen.createImageData(columns, rows);
  return {
    node,
    paint(top, width, height, colour) {
      const style = { left: LEFT, top, width, height };
      for (const [name, v] of Object.entries(style)) node.style.setProperty(name, `${v}px`);
      for (let row = 0, at = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++, at += 4) image.data.set(colour(row, column), at);
      }
      pen.putImageData(image, 0, 0);
    },
  };
}

export const meanOf = (/** @type {number[]} */ values) =>
  values.reduce((sum, v) => sum + v, 0) / values.length;
