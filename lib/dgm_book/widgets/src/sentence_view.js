// How the words of a typed sentence are shown under encoders.

import "./styles/pooling_model.css";
import { element } from "./frame.js";
import { brief, quoted } from "./text_view.js";

// What has to be said about a sentence; empty where there is nothing.
/** @type {(encoded: Encoded, encoders: Encoders) => string[]} */
export function readingNotes({ words, unknown, left }, { most, size }) {
  const notes = [];
  if (left)
    notes.push(`Only the first ${most} words are read; ${left} more ${left > 1 ? "are" : "is"} left out.`);
  const strange = words.filter((_, i) => unknown[i]);
  const vocabulary = `Not among the ${size.toLocaleString("en")} words of the encoders`;
  if (strange.length) notes.push(`${vocabulary}, so read as an unknown word: ${quoted(strange)}.`);
  return notes;
}

// A word as the head of its row; the reader's text is only ever text.
export function wordHead(/** @type {string} */ word, /** @type {boolean} */ unknown) {
  const shown = element(unknown ? "span.dgm-enc-strange" : "span", brief(word));
  return element("th", { scope: "row" }, shown, ...(unknown ? [element("span.dgm-status", "unknown")] : []));
}

/** A cell with a bar and its number; set(length in [0, 1], text). @type {(kind: string) => BarCell} */
export function barCell(kind) {
  const [bar, value] = [element("span.dgm-enc-bar"), element("span.dgm-enc-value")];
  const track = element("span.dgm-enc-track", { "aria-hidden": "true" }, bar);
  return {
    node: element("td", { class: kind }, track, value),
    set(length, text) {
      bar.style.width = `${(100 * Math.min(1, length)).toFixed(2)}%`;
      value.textContent = text;
    },
  };
}
