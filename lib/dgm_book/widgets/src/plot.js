// What plots are made of: sizes, places, axes, legends.

import { shape } from "./frame.js";

/** @type {(node: Element, attributes: Attributes) => void} */
export function place(node, attributes) {
  for (const [key, v] of Object.entries(attributes)) node.setAttribute(key, String(v));
}

// Gives an SVG its size in its own pixels.
/** @type {(svg: SVGElement, width: number, height: number) => void} */
export const resize = (svg, width, height) => place(svg, { viewBox: `0 0 ${width} ${height}`, height });

/** With a true minus, and no digits that rounding made. @type {(v: number, digits?: number) => string} */
export const short = (v, digits = 6) => String(+v.toPrecision(digits)).replace("-", "\u2212");

/** @type {(x: number, y: number, words: Children | string, more?: Attributes) => SVGElement} */
export function words(x, y, words, more = {}) {
  const children = typeof words === "string" ? [words] : words;
  return shape("text", { x, y, "text-anchor": "middle", ...more }, ...children);
}

// A line of text in the middle of an axis.
/** @type {(x: number, y: number, name: Children | string) => SVGElement} */
export const axisName = (x, y, name) => words(x, y, name, { class: "dgm-strong" });

/** The same, upright. @type {(x: number, y: number, name: Children | string) => SVGElement} */
export const uprightName = (x, y, name) =>
  words(0, 0, name, { class: "dgm-strong", transform: `translate(${x} ${y}) rotate(-90)` });

// Ticks beneath a line at y, each with its value.
/** @type {(values: number[], options: BottomAxis) => SVGElement[]} */
export function bottomAxis(values, { px, y, text = short, grid = 0 }) {
  return values.flatMap((v) => [
    grid
      ? shape("path.dgm-grid", { d: `M${px(v)} ${y - grid}V${y}` })
      : shape("path.dgm-axis", { d: `M${px(v)} ${y}v4` }),
    words(+px(v), y + 16, text(v)),
  ]);
}

// Lines from left to right, each with its value.
/** @type {(values: number[], options: LeftAxis) => SVGElement[]} */
export function leftAxis(values, { py, left, right, text = short, gap = 5 }) {
  return values.flatMap((v) => [
    shape("path.dgm-grid", { d: `M${left} ${py(v)}H${right}` }),
    words(left - gap, +py(v) + 4, text(v), { "text-anchor": "end" }),
  ]);
}

// A small picture of a line with a mark, for legends.
/** @type {(kind: string, ...parts: SVGElement[]) => SVGElement} */
export function sign(kind, ...parts) {
  return shape("svg", { viewBox: "0 0 34 14", class: kind, "aria-hidden": "true" }, ...parts);
}

// Texts that do not cover each other: `add` puts one higher where another stands already, at the top lower.
/** @type {() => Labels} */
export function makeLabels() {
  /** @type {[x: number, y: number, wide: number][]} */
  let taken = [];
  return {
    clear() {
      taken = [];
    },
    add(node, x, from, wide) {
      const step = from < 40 ? 2 : -2;
      let y = from;
      while (taken.some((t) => t[0] < x + wide && x < t[0] + t[2] && Math.abs(t[1] - y) < 13)) y += step;
      if (wide) taken.push([x, y, wide]);
      place(node, { x, y });
    },
  };
}
