// Panels over time, and the lines and bands in them.

import { italic, shape, ticks } from "./frame.js";
import { leftAxis, place, short } from "./plot.js";

// A panel of an SVG between `top` and `top + height`, for values up to `high`; nothing is drawn outside.
/** @type {(id: string, title: string) => TimePanel} */
export function timePanel(id, title) {
  const box = shape("rect");
  const grid = shape("g");
  const inside = shape("g", { "clip-path": `url(#${id})` });
  const name = shape("text.dgm-strong.dgm-halo", title);
  const node = shape("g", shape("clipPath", { id }, box), grid, inside, name);
  let scaled = "";
  /** @type {(v: number) => string} */
  let py = String;

  /** @type {(place: PanelPlace) => void} */
  function lay({ left, top, width, height, low, high, parts = 4 }) {
    py = (v) => (top + ((high - v) / (high - low)) * height).toFixed(1);
    const now = [left, top, width, height, low, high].join();
    if (now === scaled) return;
    scaled = now;
    place(box, { x: left, y: top, width, height });
    place(name, { x: left + 3, y: top - 5 });
    grid.replaceChildren(
      ...leftAxis(ticks(low, high, parts), {
        py,
        left,
        right: left + width,
        gap: 4,
        text: (v) => short(v, 4),
      }),
    );
  }

  return { node, inside, name, lay, py: (v) => py(v) };
}

/** Panels of both coordinates and of what is named. @type {(id: string, third: string) => TimePanel[]} */
export function statePanels(id, third) {
  const panels = ["x1", "x2", "third"].map((part) => timePanel(`${id}-${part}`, ""));
  for (const [d, { name }] of panels.slice(0, 2).entries()) {
    const sub = shape("tspan", { "baseline-shift": "sub", "font-size": "9" }, String(d + 1));
    name.append(italic("x"), sub, d ? "" : ", expected \u00b1 2 deviations");
  }
  panels[2].name.append(third);
  return panels;
}

// Lines and bands through points that `gap` may break, as path data.
/** @type {(values: Series, px: ToPixels, py: ToPixels, gap?: Gap) => string} */
export function linePath(values, px, py, gap = () => false) {
  let d = "";
  for (let i = 0; i < values.length; i++) d += `${i && !gap(i) ? "L" : "M"}${px(i)} ${py(values[i])}`;
  return d;
}

/** @type {(means: Series, deviations: Series, px: ToPixels, py: ToPixels, gap?: Gap) => string} */
export function bandPath(means, deviations, px, py, gap = () => false) {
  let [d, start] = ["", 0];
  for (let end = 1; end <= means.length; end++) {
    if (end < means.length && !gap(end)) continue;
    /** @type {(i: number, sign: number) => string} */
    const at = (i, sign) => `${px(i)} ${py(means[i] + 2 * sign * deviations[i])}`;
    for (let i = start; i < end; i++) d += `${i > start ? "L" : "M"}${at(i, 1)}`;
    for (let i = end - 1; i >= start; i--) d += `L${at(i, -1)}`;
    d += "Z";
    start = end;
  }
  return d;
}

/** @type {(values: number[]) => number} */
export const meanOf = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
