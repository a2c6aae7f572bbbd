// A typed text and its rewrites: names, what stays, capitals, spaces and spans; as in dgm.steering.

import { last } from "./arrays.js";
import { inBoth } from "./differences.js";
import { tokenise } from "./tokens.js";

const ENDS = [".", "!", "?"];
const BEFORE_A_SENTENCE = [...ENDS, "``", "''", "(", ":"];

export const counted = (/** @type {string[]} */ words) => {
  /** @type {Map<string, number>} */
  const counts = new Map();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
};
const plainWords = (/** @type {string} */ typed) => tokenise(typed, true);
const capitalised = (/** @type {string} */ word) => {
  const [first = "", ...rest] = word;
  return first.toUpperCase() + rest.join("");
};

/** A text's words in the form of the data, and where they stand. @type {(source: string) => TypedWord[]} */
function piecesOf(source) {
  const forms = new Map();
  const places = [];
  let line = "";
  let at = 0;
  for (const sign of source) {
    if (!forms.has(sign)) forms.set(sign, plainWords(sign).join("").normalize("NFKD"));
    const form = forms.get(sign);
    for (let i = 0; i < form.length; i++) places.push([at, at + sign.length]);
    line += form;
    at += sign.length;
  }
  /** @type {TypedWord[]} */
  const pieces = [];
  let start = 0;
  for (const word of plainWords(source)) {
    const signs = word.replace("``", "''").normalize("NFKD");
    const first = line.indexOf(signs, start);
    if (first < 0) continue;
    start = first + signs.length;
    const begin = Math.max(places[first][0], pieces.length ? last(pieces).end : 0);
    pieces.push({ word, first: begin, end: places[start - 1][1] });
  }
  return pieces;
}

/** A typed text's names. @type {(typed: string, known: (w: string) => boolean) => string[]} */
export function namesIn(typed, known) {
  const pieces = piecesOf(typed);
  const words = pieces.map(({ word }) => word);
  const capital = pieces.map(({ first, end }) => {
    const [begins = "", ...rest] = typed.slice(first, end);
    const word = rest.join("");
    return /\p{Uppercase}/u.test(begins) && word === word.toLowerCase() && begins + word !== "I";
  });
  const first = words.map((_, i) => i === 0 || BEFORE_A_SENTENCE.includes(words[i - 1]));
  return words.filter((word, i) => {
    const follows = words[i + 1] === "'s" || (capital[i + 1] && !first[i + 1]);
    return capital[i] && (!first[i] || !known(word) || follows);
  });
}

/** Whether a rewrite has its source's numbers and the locked words, and no marker. */
/** @type {(source: string[], words: string[], locked: string[]) => boolean} */
export function stays(source, words, locked) {
  const [old, now] = [counted(source), counted(words)];
  const numbers = [...old.keys(), ...now.keys()].filter((w) => w === "_num_" || /\p{Nd}/u.test(w));
  return (
    numbers.every((word) => old.get(word) === now.get(word)) &&
    locked.every((word) => (old.get(word) ?? 0) <= (now.get(word) ?? 0)) &&
    !words.some((word) => word.includes("<unk>"))
  );
}

/** @type {(source: string, pieces: TypedWord[], words: string[], both: [number, number][]) => string[]} */
function restore(source, pieces, words, both) {
  if (source === source.toUpperCase() && source !== source.toLowerCase())
    return words.map((word) => word.toUpperCase());
  const shown = [...words];
  for (const [a, b] of both) shown[b] = source.slice(pieces[a].first, pieces[a].end);
  if (source === source.toLowerCase()) return shown;
  let start = true;
  return shown.map((word, i) => {
    const plain = word === "i" ? "I" : word;
    const result = start ? capitalised(plain) : plain;
    start = ENDS.includes(words[i]) || (start && ["``", "("].includes(words[i]));
    return result;
  });
}

/** @type {(...of: JoinedParts) => { text: string, places: Span[] }} */
function joined(words, shown, gaps) {
  let [text, glue] = ["", true];
  /** @type {Span[]} */
  const places = [];
  for (const [i, word] of words.entries()) {
    const tight = /^(?:[.,!?;:)%']|n't$)/i.test(word);
    text += gaps.get(i) ?? (glue || tight || !shown[i] ? "" : " ");
    const plain = shown[i].replaceAll("``", '"').replaceAll("''", '"');
    places.push([text.length, text.length + plain.length]);
    text += plain;
    glue = ["(", "$", "``"].includes(word);
  }
  return { text, places };
}

/** Words as they are typed, with spans of what differs. @type {(...of: AsTypedParts) => TypedText} */
export function asTyped(source, words) {
  const pieces = piecesOf(source);
  const plain = pieces.map(({ word }) => word);
  const both = inBoth(plain, words);
  /** @type {Map<number, string>} */
  const gaps = new Map();
  for (const [i, [c, d]] of both.entries()) {
    const [a, b] = both[i - 1] ?? [-2, -2];
    if (c === a + 1 && d === b + 1) gaps.set(d, source.slice(pieces[a].end, pieces[c].first));
  }
  const { text, places } = joined(words, restore(source, pieces, words, both), gaps);
  /** @type {Span[][]} */
  const [removed, changed] = [[], []];
  let [a, b] = [0, 0];
  for (const [c, d] of [...both, [pieces.length, words.length]]) {
    if (c > a && pieces[c - 1].end > pieces[a].first) removed.push([pieces[a].first, pieces[c - 1].end]);
    if (d > b) changed.push([places[b][0], places[d - 1][1]]);
    [a, b] = [c + 1, d + 1];
  }
  return { text, changed, removed };
}
