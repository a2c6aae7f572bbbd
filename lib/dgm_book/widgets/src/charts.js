// What charts are made of: scales, axes, lines and bands.

import { shape } from "./frame.js";
import { axisName, bottomAxis, leftAxis, uprightName } from "./plot.js";

/** Takes [a, b] to [from, to]. @type {(domain: number[], range: number[]) => Scale1D} */
export const linear =
  ([a, b], [from, to]) =>
  (v) =>
    from + ((v - a) / (b - a)) * (to - from);

/** The same of logarithms. @type {(domain: number[], range: number[]) => Scale1D} */
export function logarithmic(domain, range) {
  const scale = linear(domain.map(Math.log), range);
  return (v) => scale(Math.log(v));
}

/** Path data through points; empty where there are none. @type {(points: ToPoint[]) => string} */
export const through = (points) => (points.length ? `M${points.map(([x, y]) => `${x} ${y}`).join("L")}` : "");

/** Path data of the band between two edges. @type {(upper: ToPoint[], lower: ToPoint[]) => string} */
export const between = (upper, lower) => `${through([...upper, ...[...lower].reverse()])}Z`;

/** Both axes with their ticks and names. @type {(box: ChartBox, axes: ChartAxes) => SVGElement[]} */
export function axesOf(
  { px, py, left, top, right, bottom },
  { xs, ys, x, y, grid, gap, below, xText, yText },
) {
  const middle = (left + right) / 2;
  return [
    ...bottomAxis(xs, { px, y: bottom, grid: grid ? bottom - top : 0, text: xText }),
    ...leftAxis(ys, { py, left, right, gap, text: yText }),
    shape("path.dgm-axis", { d: `M${left} ${top}V${bottom}H${right}` }),
    axisName(middle, bottom + (below ?? 32), x),
    ...(y ? [uprightName(11, (top + bottom) / 2, y)] : []),
  ];
}
