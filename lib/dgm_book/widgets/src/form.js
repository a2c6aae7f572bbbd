// Controls bound to a widget's traits, its read-outs and its tables.

import { checkbox, decimals, labelledSlider, radioRow, selectOf, tableOf, tableRow } from "./controls.js";
import { element, readout, rich } from "./frame.js";

/** Changes a node only where it shows something else. @type {(node: Element, text: string) => void} */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// What brings all controls of a widget up to date, and takes all traits back. Each of the makers beneath adds
// a control, which reads and changes the trait of its name, or does what its binding's `get` and `set` do
// instead.
/** @type {(w: Widget) => WidgetForm} */
export function formOf(w) {
  /** @type {WidgetForm["updates"]} */
  const updates = [];
  return {
    w,
    updates,
    show() {
      for (const update of updates) update();
    },
    reset(before = () => {}) {
      w.reset.addEventListener("click", () => {
        before();
        w.change(w.first);
      });
      return w.reset;
    },
  };
}

/** @type {<V>(form: WidgetForm, name: string, binding?: Binding<V>) => Bound<V>} */
const bind = ({ w }, name, binding = {}) => {
  const { get = () => w.get(name), set = (value) => w.change({ [name]: value }) } = binding;
  return { id: `${w.id}-${name}`, get, set };
};
// A choice is text in the page, and a number where its trait is one.
/** @type {typeof bind<string | number>} */
const bindChoice = (form, name, binding) => {
  const { id, get, set } = bind(form, name, binding);
  return { id, get, set: (value) => set(typeof get() === "number" ? Number(value) : value) };
};
// A number that is being typed stays.
/** @type {(form: WidgetForm, input: HTMLInputElement | HTMLSelectElement, get: () => unknown) => void} */
const follow = ({ updates }, input, get) =>
  updates.push(() => {
    if (input.type !== "number" || !input.matches(":focus")) input.value = String(get());
  });

/** @type {SliderOf} */
export function sliderOf(form, name, words, range, binding = {}) {
  const { id, get, set } = bind(form, name, binding);
  const places = String(range.step).split(".")[1]?.length ?? 0;
  const { text = (v) => decimals(v, places), spoken = text } = binding;
  const slider = labelledSlider(id, words, range, set);
  form.updates.push(() => slider.show(get(), text(get()), spoken(get())));
  return slider.node;
}

/** @type {TickOf} */
export function tickOf(form, name, words, binding) {
  const { id, get, set } = bind(form, name, binding);
  const { input, node } = checkbox(id, words, set);
  form.updates.push(() => {
    input.checked = get();
  });
  return node;
}

/** @type {RadiosOf} */
export function radiosOf(form, name, legend, choices, binding) {
  const { id, get, set } = bindChoice(form, name, binding);
  const { node, show } = radioRow(id, legend, choices, set);
  if (binding?.head) node.prepend(element("span", ...rich(binding.head)));
  form.updates.push(() => show(String(get())));
  return node;
}

/** @type {PickOf} */
export function pickOf(form, kind, name, words, options, binding) {
  const { id, get, set } = bindChoice(form, name, binding);
  const input = selectOf(id, options, set);
  follow(form, input, get);
  return element(kind, { for: id }, words, input);
}

/** @type {WholeOf} */
export function wholeOf(form, kind, name, words, { min, max }, binding) {
  const { id, get, set } = bind(form, name, binding);
  const input = element("input", { type: "number", id, min, max, step: 1, inputmode: "numeric" });
  input.addEventListener("change", () => {
    const value = Math.max(min, Math.min(max, Math.round(Number(input.value))));
    if (input.value !== "") set(value);
    input.value = String(get());
  });
  follow(form, input, get);
  return element(kind, { for: id }, words, input);
}

/** @type {TextOf} */
export function textOf(form, name, label, attributes, aside, enter = () => {}) {
  const { id, get, set } = bind(form, name);
  const plain = { spellcheck: "false", autocomplete: "off" };
  const box = element("textarea", { id, ...plain, ...attributes });
  box.addEventListener("input", () => set(box.value));
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    enter();
  });
  form.updates.push(() => {
    box.value = String(get());
  });
  return [element("div.dgm-heads", element("label", { for: id }, label), aside), box];
}

/** A label and its control side by side. @type {(label: HTMLElement) => HTMLElement[]} */
export const apart = (label) => [label, /** @type {HTMLElement} */ (label.lastElementChild)];

/** A list of read-outs; fills their values. @type {(parent: Element, terms: string[]) => Fill} */
export function readoutList(parent, terms) {
  const list = element("dl");
  parent.append(list);
  const nodes = terms.map((term) => readout(list, term));
  return (...values) => {
    for (const [i, value] of values.entries()) {
      if (typeof value === "string") put(nodes[i], value);
      else nodes[i].replaceChildren(...value);
    }
  };
}

/** A table with a cell beneath each head but the first. @type {MakeTable} */
export function tableBy(caption, heads, names) {
  const rows = names.map((name) => {
    const cells = heads.slice(1).map(() => element("td"));
    return { cells, node: tableRow(name, cells) };
  });
  const nodes = rows.map(({ node }) => node);
  return {
    node: tableOf(caption, heads, nodes),
    rows: nodes,
    fill(r, ...texts) {
      for (const [i, text] of texts.entries()) put(rows[r].cells[i], text);
    },
  };
}
