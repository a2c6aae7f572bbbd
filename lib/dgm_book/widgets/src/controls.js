// What the pooling widgets share: a labelled slider, buttons, and signs that tell lines and dots apart.

import { element, MARKS, rich } from "./frame.js";

export const SHAPES = Object.keys(MARKS);
export const DASHES = ["", "7 3.5", "2 3", "9 3 2 3", "4.5 2"];

/** @type {(v: number, places?: number) => string} */
export const decimals = (v, places = 2) =>
  v
    .toFixed(places)
    .replace("-", "\u2212")
    .replace(/^\u2212(0\.?0*)$/, "$1");

// The node, its input, and say(shown, spoken), which tells where it stands.
/** @type {(id: string, words: string, range: Attributes, moved: (value: number) => void) => Slider} */
export function labelledSlider(id, words, range, moved) {
  const input = element("input", { type: "range", id, ...range });
  const value = element("output", { for: id });
  input.addEventListener("input", () => moved(Number(input.value)));
  const name = element("span", ...rich(words));
  const label = element("label", { for: id }, name, value);
  /** @type {Slider["say"]} */
  const say = (shown, spoken = shown) => {
    value.textContent = shown;
    input.setAttribute("aria-valuetext", spoken);
  };
  /** @type {Slider["show"]} */
  const show = (position, shown, spoken) => {
    input.value = String(position);
    say(shown, spoken);
  };
  return { input, say, show, words: name, node: element("div.dgm-slider", label, input) };
}

/**
 * @type {(id: string, options: (string | number)[][], choose: (value: string) => void) => HTMLSelectElement}
 */
export function selectOf(id, options, choose) {
  const choices = options.map(([value, label]) => element("option", { value }, String(label)));
  const input = element("select", { id }, ...choices);
  input.addEventListener("change", () => choose(input.value));
  return input;
}

/** @type {(id: string, words: string, choose: (on: boolean) => void) => Checkbox} */
export function checkbox(id, words, choose) {
  const input = element("input", { type: "checkbox", id });
  input.addEventListener("change", () => choose(input.checked));
  return { input, node: element("label", { for: id }, input, element("span", ...rich(words))) };
}

/** @type {(caption: string, heads: string[], rows: Node[]) => HTMLTableElement} */
export function tableOf(caption, heads, rows) {
  const head = element("tr", ...heads.map((text) => element("th", { scope: "col" }, text)));
  const parts = [element("thead", head), element("tbody", ...rows)];
  return element("table", ...(caption ? [element("caption", caption)] : []), ...parts);
}

/** @type {(name: Children, cells: Node[]) => HTMLElement} */
export const tableRow = (name, cells) => element("tr", element("th", { scope: "row" }, ...name), ...cells);

/** @type {(text: string, press: (event: Event) => void, name?: string) => HTMLButtonElement} */
export function pushButton(text, press, name = "dgm-reset") {
  const node = element("button", { type: "button", class: name }, text);
  node.addEventListener("click", press);
  return node;
}

/** @type {(name: string, legend: string, choices: string[][], choose: (value: string) => void) => Radios} */
export function radioRow(name, legend, choices, choose) {
  const radios = choices.map(([value, label]) => {
    const radio = element("input", { type: "radio", name, value });
    radio.addEventListener("change", () => choose(value));
    return { radio, value, label: element("label", radio, label) };
  });
  const node = element(
    "div.dgm-row",
    { role: "radiogroup", "aria-label": legend },
    ...radios.map((r) => r.label),
  );
  /** @type {(value: string) => void} */
  const show = (value) => {
    for (const r of radios) r.radio.checked = r.value === value;
  };
  return { node, show };
}
