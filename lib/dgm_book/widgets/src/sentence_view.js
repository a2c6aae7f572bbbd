// Where a reader types a sentence, and how its words are shown.

import "./styles/pooling_model.css";
import { element } from "./frame.js";
import { plainText, printed, typedInput } from "./text_view.js";

/** @type {(frame: Frame, examples: string[], change: (sentence: string) => void) => SentenceInput} */
export function sentenceInput(frame, examples, change) {
  return typedInput(
    frame,
    examples,
    examples.map((example) => plainText(example.split(" "))),
    change,
  );
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
      `Not among the ${size.toLocaleString("en")} words of the encoders, so read as an unknown word: ` +
        `${shown.join(", ")}${more}.`,
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
