// Controls bound to a widget's traits, its read-outs and its tables.

import { checkbox, decimals, labelledSlider, radioRow, selectOf, tableOf, tableRow } from "./controls.js";
import { element, readout, rich } from "./frame.js";

/** Changes a node only where it shows something else. @type {(node: Element, text: string) => void} */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Makers of controls: each reads and changes the trait of its name, or does what its binding's `get` and
// `set` do instead. `show` brings all of them up to date; `reset` takes all traits back.
/** @type {(w: Widget) => Form} */
export function formOf(w) {
  /** @type {(() => void)[]} */
  const updates = [];
  const id = (/** @type {string} */ name) => `${w.id}-${name}`;
  /** @type {<V>(name: string, binding: Binding<V>) => Required<Binding<V>>} */
  const bind = (name, { get = () => w.get(name), set = (value) => w.change({ [name]: value }) }) => {
    return { get, set };
  };
  // A choice is text in the page, and a number where its trait is one.
  /** @type {(name: string, binding: Binding<string | number>) => Required<Binding<string | number>>} */
  const bindChoice = (name, binding) => {
    const { get, set } = bind(name, binding);
    return { get, set: (value) => set(typeof get() === "number" ? Number(value) : value) };
  };
  // A number that is being typed stays.
  /** @type {(input: HTMLInputElement | HTMLSelectElement, get: () => unknown) => void} */
  const follow = (input, get) =>
    updates.push(() => {
      if (input.type !== "number" || !input.matches(":focus")) input.value = String(get());
    });
  return {
    show() {
      for (const update of updates) update();
    },
    slider(name, words, range, binding = {}) {
      const { get, set } = bind(name, binding);
      const places = String(range.step).split(".")[1]?.length ?? 0;
      const { text = (v) => decimals(v, places), spoken = text } = binding;
      const slider = labelledSlider(id(name), words, range, set);
      updates.push(() => slider.show(get(), text(get()), spoken(get())));
      return slider.node;
    },
    tick(name, words, binding = {}) {
      const { get, set } = bind(name, binding);
      const { input, node } = checkbox(id(name), words, set);
      updates.push(() => {
        input.checked = get();
      });
      return node;
    },
    radios(name, legend, choices, binding = {}) {
      const { get, set } = bindChoice(name, binding);
      const { node, show } = radioRow(id(name), legend, choices, set);
      if (binding.head) node.prepend(element("span", ...rich(binding.head)));
      updates.push(() => show(String(get())));
      return node;
    },
    pick(kind, name, words, options, binding = {}) {
      const { get, set } = bindChoice(name, binding);
      const input = selectOf(id(name), options, set);
      follow(input, get);
      return element(kind, { for: input.id }, words, input);
    },
    whole(kind, name, words, { min, max }, binding = {}) {
      const { get, set } = bind(name, binding);
      const input = element("input", {
        type: "number",
        id: id(name),
        min,
        max,
        step: 1,
        inputmode: "numeric",
      });
      input.addEventListener("change", () => {
        const value = Math.max(min, Math.min(max, Math.round(Number(input.value))));
        if (input.value !== "") set(value);
        input.value = String(get());
      });
      follow(input, get);
      return element(kind, { for: input.id }, words, input);
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
