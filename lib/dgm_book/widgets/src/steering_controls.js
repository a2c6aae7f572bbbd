// How a sentence shall be said: a place on a slider along a row of stops, or in a triangle of three.

import { sliderOf } from "./form.js";
import { element, shape } from "./frame.js";
import { onArrows, onDrag } from "./pads.js";
import { place, resize, words } from "./plot.js";
import { layersOf } from "./widget.js";

const STEP = 0.25; // of the slider, whose ends are 0 and 1: a stop each
const TOP = 20;

/** The stop nearest to a place from 0 to 1, of n. @type {(at: number, n: number) => number} */
const stopAt = (at, n) => Math.round(at * (n - 1));

/** The nearest weights in hundredths that sum to one. @param {number[]} weights */
function onTriangle(weights) {
  const inside = weights.map((weight) => Math.max(0, weight));
  const sum = inside.reduce((x, y) => x + y);
  const whole = inside.map((weight) => Math.round((100 * weight) / sum));
  whole[whole.indexOf(Math.max(...whole))] += 100 - whole[0] - whole[1] - whole[2];
  return whole.map((part) => part / 100);
}

/** @type {(weights: number[], names: string[]) => string} */
const mixInWords = (weights, names) =>
  names
    .map((name, k) => `${Math.round(100 * weights[k])}\u2009% ${name}`)
    .filter((_, k) => weights[k] > 0.004)
    .join(", ");

/** @type {(change: (values: Values) => void, form: WidgetForm) => Dial} */
export function stopsDial(change, form) {
  let stops = ["", ""];
  const names = element("div.dgm-stops", { "aria-hidden": "true" });
  const range = { min: 0, max: 1, step: STEP };
  const slider = sliderOf(form, "position", "How it shall sound", range, {
    set: (position) => change({ position }),
    text: (at) => stops[stopAt(at, stops.length)],
  });
  return {
    node: element("div", slider, names),
    name(given) {
      stops = given;
      slider.style.setProperty("--stops", String(given.length));
      names.replaceChildren(...stops.map((stop) => element("span", stop)));
    },
    weights: () => stops.map((_, k) => Number(k === stopAt(form.w.get("position"), stops.length))),
    says: () => stops[stopAt(form.w.get("position"), stops.length)],
    show() {},
    layout() {},
  };
}

/** @type {(change: (values: Values) => void, form: WidgetForm) => Dial} */
export function triangleDial(change, { w }) {
  let corners = ["", "", ""];
  const svg = shape("svg.dgm-pad", { tabindex: 0, role: "application", "aria-roledescription": "triangle" });
  const selectors = { ground: "path.dgm-tri", ring: "circle.dgm-ring", names: "g" };
  const { ground, ring, names } = layersOf(svg, selectors);
  const mix = element("p.dgm-caption");
  place(ring, { r: 10 });
  let [left, side, tall, width] = [0, 0, 0, 0];
  const aim = (/** @type {number[]} */ weights) => change({ target: onTriangle(weights) });
  onDrag(
    svg,
    () => [ring],
    (x, y) => {
      const up = 1 - (y - TOP) / tall;
      const right = (x - left) / side - up / 2;
      aim([1 - up - right, up, right]);
    },
  );
  onArrows(svg, (x, y, large) => {
    const size = large ? 0.2 : 0.04;
    const step = [-x - y / 2, y, x - y / 2];
    aim(step.map((v, k) => w.get("target")[k] + size * v));
  });
  function layout(/** @type {number} */ wide) {
    width = wide;
    side = Math.min(width - 32, 176);
    tall = (side * Math.sqrt(3)) / 2;
    left = (width - side) / 2;
    const end = TOP + tall;
    resize(svg, width, end + 28);
    place(ground, { d: `M${left} ${end}L${left + side / 2} ${TOP}L${left + side} ${end}Z` });
    const strong = { class: "dgm-strong" };
    names.replaceChildren(
      words(left, end + 24, corners[0], strong),
      words(left + side / 2, 12, corners[1], strong),
      words(left + side, end + 24, corners[2], strong),
    );
  }
  return {
    node: element("div", svg, mix),
    name(given) {
      corners = given;
      if (width) layout(width);
    },
    weights: () => w.get("target"),
    says: () => mixInWords(w.get("target"), corners),
    show() {
      const weights = w.get("target");
      mix.textContent = mixInWords(weights, corners);
      const ends = `between ${corners[0]} and ${corners[2]}, up and down to ${corners[1]}`;
      const help = `Left and right arrows move ${ends}`;
      place(svg, {
        "aria-label": `How it shall sound: ${mix.textContent}. ${help}; with Shift in larger steps.`,
      });
      if (side)
        place(ring, {
          cx: left + side * (weights[1] / 2 + weights[2]),
          cy: TOP + tall * (1 - weights[1]),
        });
    },
    layout,
  };
}
/**
 * Names its stops or corners; tells weights of them, also in words; shows where it stands.
 * @typedef {{ node: HTMLElement, name(given: string[]): void, weights(): number[], says(): string,
 *   show(): void, layout(width: number): void }} Dial
 */
