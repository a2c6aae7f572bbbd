// Where a reader types a sentence, and how its words are shown.

import "./styles/pooling_model.css";
import { element } from "./frame.js";
import { plainText, printed } from "./text_view.js";

// Where a reader types a sentence or picks one; `show(sentence)` brings both up to date.
/** @type {(frame: Frame, examples: string[], change: (sentence: string) => void) => SentenceInput} */
export function sentenceInput(frame, examples, change) {
  const box = element("textarea", {
    id: `${frame.id}-box`,
    maxlength: 2000,
    rows: 2,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "Type a sentence",
  });
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    element("option", { value: "" }, "Pick a sentence"),
  );
  for (const example of examples)
    pick.append(element("option", { value: example }, plainText(example.split(" "))));
  const heads = element(
    "div.dgm-heads",
    element("label", { for: box.id }, "Your sentence"),
    element("label.dgm-pick", { for: pick.id }, element("span.dgm-status", "Examples"), pick),
  );
  box.addEventListener("input", () => change(box.value));
  box.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  pick.addEventListener("change", () => pick.value && change(pick.value));
  /** @type {(sentence: string) => void} */
  const show = (sentence) => {
    if (box.value !== sentence) box.value = sentence;
    pick.value = examples.includes(sentence) ? sentence : "";
  };
  return { nodes: [heads, box], show };
}

/** @type {(word: string) => string} */
export const brief = (word) => (word.length > 24 ? `${word.slice(0, 24)}\u2026` : printed(word));

// What has to be said about a sentence; empty where there is nothing.
/** @type {(encoded: Encoded, encoders: Encoders) => string[]} */
export function readingNotes({ words, unknown, left }, { most, size }) {
  const notes = [];
  if (left)
    notes.push(`Only the first ${most} words are read; ${left} more ${left > 1 ? "are" : "is"} left out.`);
  const strange = [...new Set(words.filter((_, i) => unknown[i]))];
  if (strange.length) {
    const shown = strange.slice(0, 6).map((word) => `\u201c${brief(word)}\u201d`);
    const more = strange.length > 6 ? ` and ${strange.length - 6} more` : "";
    notes.push(
      `Not among the ${size.toLocaleString("en")} words of the encoders, so read as an unknown word: ${shown.join(", ")}${more}.`,
    );
  }
  return notes;
}

// A word as the head of its row; the reader's text is only ever text.
/** @type {(word: string, unknown: boolean) => HTMLElement} */
export function wordHead(word, unknown) {
  const shown = element("span", unknown ? { class: "dgm-enc-strange" } : {}, brief(word));
  return element("th", { scope: "row" }, shown, ...(unknown ? [element("span.dgm-status", "unknown")] : []));
}

/** A cell with a bar and its number; set(length in [0, 1], text). @type {(kind: string) => BarCell} */
export function barCell(kind) {
  const bar = element("span.dgm-enc-bar");
  const value = element("span.dgm-enc-value");
  const node = element(
    "td",
    { class: kind },
    element("span.dgm-enc-track", { "aria-hidden": "true" }, bar),
    value,
  );
  /** @type {(length: number, text: string) => void} */
  const set = (length, text) => {
    bar.style.width = `${(100 * Math.min(1, length)).toFixed(2)}%`;
    value.textContent = text;
  };
  return { node, set };
}
