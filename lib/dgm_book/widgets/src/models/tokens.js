// What a reader types, as words and sentences in the form of the data.

import { last } from "./arrays.js";

// What a reader types, in the form of the data; the same as dgm.data.text.tokenise.
const LETTER = "[\\p{L}\\p{M}\\p{N}_]";
/** @type {Record<string, string>} */
const PLAIN = {
  "\u2019": "'",
  "\u2018": "'",
  "\u201c": '"',
  "\u201d": '"',
  "\u2013": "-",
  "\u2014": " -- ",
  "\u2026": "...",
};
const TOKENS = {
  plain: /[\u2018\u2019\u201c\u201d\u2013\u2014\u2026]/g,
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what Python counts as space.
  space: /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/g,
  unseen: /[\p{C}]|\ufe0e|\ufe0f/gu,
  halves: new RegExp(`(?<!${LETTER})(?:(can)(not)|(gon|wan)(na))(?!${LETTER})`, "gu"),
  ending: new RegExp(`(?<=[a-z])(n't|'(?:s|ve|m|ll|re|d))(?!${LETTER})`, "gu"),
  number: /^\p{Nd}+(?:[.,]\p{Nd}+)*$/u,
  pieces: new RegExp(
    [
      "_num_|``|''|\\.\\.+|--+",
      `n't(?!${LETTER})|'(?:s|ve|m|ll|re|d)(?!${LETTER})`,
      "(?:dr|mr|mrs|ms|st)\\.(?= )",
      `w/(?!${LETTER})|[abc]\\+(?!${LETTER})`,
      `\\p{Nd}+(?:[.,]\\p{Nd}+)+(?!${LETTER})`,
      `${LETTER}+(?:[-'./:]${LETTER}+)*`,
      "[^\\p{L}\\p{M}\\p{N}_ ]",
    ].join("|"),
    "gu",
  ),
};

/** @type {(text: string, keepNumbers?: boolean) => string[]} */
export function tokenise(text, keepNumbers = false) {
  const normal = text
    .normalize("NFKC")
    .replace(TOKENS.plain, (c) => PLAIN[c])
    .toLowerCase()
    .replace(TOKENS.space, " ")
    .replace(TOKENS.unseen, "")
    .replace(/(?<![^ (])"(?=[^ ])/gu, " `` ")
    .replaceAll('"', " '' ")
    .replace(/(?<!`)`(?!`)/g, "'")
    .replace(TOKENS.halves, (_, can, not, gon, na) => `${can ?? gon} ${not ?? na}`)
    .replace(TOKENS.ending, " $1");
  return (normal.match(TOKENS.pieces) ?? []).map((piece) =>
    !keepNumbers && TOKENS.number.test(piece)
      ? "_num_"
      : piece.startsWith("..")
        ? "..."
        : piece.startsWith("--")
          ? "--"
          : piece,
  );
}

// Words cut behind each sentence, and where one is longer than the model reads; the same as
// dgm.nets.sentences.split_sentences.
export function splitSentences(/** @type {string[]} */ words, /** @type {number} */ most) {
  /** @type {string[][]} */
  const sentences = [[]];
  let ended = false;
  for (const word of words) {
    if (ended && ![".", "!", "?", ")", "''", "'"].includes(word)) {
      sentences.push([]);
      ended = false;
    }
    last(sentences).push(word);
    ended ||= [".", "!", "?"].includes(word);
  }
  return sentences.flatMap((sentence) => {
    /** @type {string[][]} */
    const pieces = [];
    while (sentence.length > most) {
      const pause = sentence.slice(0, most).findLastIndex((word) => [",", ";", ":", "--"].includes(word));
      pieces.push(sentence.slice(0, pause + 1 || most));
      sentence = sentence.slice(pause + 1 || most);
    }
    return [...pieces, sentence];
  });
}
