// How sentences are shown. Whatever a reader has typed becomes text, never HTML.

import { pickOf, textOf } from "./form.js";
import { element } from "./frame.js";

const CLINGS = /^(?:[.,!?;:%)\]\u201d]|\.\.\.|n't|'(?:s|ve|m|ll|re|d))$/;
const OPENS = /^[([$\u201c]$/;
const printed = (/** @type {string} */ word) => ({ "``": "\u201c", "''": "\u201d" })[word] ?? word;

/** @type {(word: string) => string} */
export const brief = (word) => (word.length > 24 ? `${word.slice(0, 24)}\u2026` : printed(word));

/** The first few of some words, each once. @type {(words: string[]) => string} */
export function quoted(words) {
  const distinct = [...new Set(words)];
  const more = distinct.length > 6 ? ` and ${distinct.length - 6} more` : "";
  const shown = distinct.slice(0, 6).map((word) => `\u201c${brief(word)}\u201d`);
  return `${shown.join(", ")}${more}`;
}

/** Whether a space stands before each word. @type {(tokens: string[]) => boolean[]} */
function spaces(tokens) {
  return tokens.map((word, i) => i > 0 && !CLINGS.test(printed(word)) && !OPENS.test(printed(tokens[i - 1])));
}

export function plainText(/** @type {string[]} */ tokens) {
  const before = spaces(tokens);
  return tokens.map((word, i) => (before[i] ? " " : "") + printed(word)).join("");
}

// Which words of b do not stand in a and which of a not in b, by their longest common subsequence.
export function compared(/** @type {string[]} */ a, /** @type {string[]} */ b) {
  const rows = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length; i--; ) {
    for (let j = b.length; j--; ) {
      rows[i][j] = a[i] === b[j] ? rows[i + 1][j + 1] + 1 : Math.max(rows[i + 1][j], rows[i][j + 1]);
    }
  }
  const [dropped, added] = [a.map(() => true), b.map(() => true)];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) dropped[i++] = added[j++] = false;
    else if (rows[i + 1][j] >= rows[i][j + 1]) i++;
    else j++;
  }
  return { dropped, added };
}

// A sentence with its new words marked; `before` may give a node that stands before a word.
/** @type {(node: Element, tokens: string[], added: boolean[], before?: Before) => void} */
export function showSentence(node, tokens, added, before = () => null) {
  const space = spaces(tokens);
  /** @type {Children} */
  const parts = [];
  tokens.forEach((word, i) => {
    const mark = before(i);
    const joined = added[i] && added[i - 1] && !mark;
    if (i > 0 && (mark || (space[i] && !joined))) parts.push(" ");
    if (mark) parts.push(mark, " ");
    const end = parts.at(-1);
    if (joined && end instanceof Element) end.append((space[i] ? " " : "") + printed(word));
    else parts.push(added[i] ? element("ins", printed(word)) : printed(word));
  });
  const last = before(tokens.length);
  node.replaceChildren(...parts, ...(last ? [" ", last] : []));
}

// A word above a bar: up speaks for the last vertex, down for the first; hidden words boxed.
/** @type {(word: string, vote: number, most: number, masked: boolean, names: string[]) => Element} */
function voteOf(word, vote, most, masked, names) {
  const side = vote < 0 ? names[0] : names[names.length - 1];
  const says = `${side} ${Math.abs(vote).toFixed(1)}${masked ? ", hidden from the writer" : ""}`;
  const style = `--far: ${Math.abs(vote / most).toFixed(3)}`;
  const bar = element("span", { class: vote < 0 ? "dgm-down" : "dgm-up", style });
  const track = element("span.dgm-vote", { role: "img", "aria-label": says }, bar);
  return element(masked ? "span.dgm-word.dgm-hid" : "span.dgm-word", element("span", printed(word)), track);
}

// A sentence said anew, what of the source was left out, and how the source's words vote.
/** @type {(names: string[]) => RewriteView} */
export function rewriteView(names) {
  const [sentence, gone, votes] = [element("p.dgm-said"), element("p.dgm-gone"), element("div.dgm-votes")];
  return {
    stage: element("div.dgm-stage", sentence, gone),
    votes,
    bars: `Bars: up speaks for ${names[2]}, down for ${names[0]}. Dashed: hidden, to be said anew.`,
    show({ tokens: words, reading }, { tokens, masked }, before) {
      const { dropped, added } = compared(words, tokens);
      showSentence(sentence, tokens, added, before);
      sentence.classList.toggle("dgm-long", tokens.length > 18);
      const lost = words.filter((_, s) => dropped[s]).map(printed);
      if (lost.length) gone.textContent = `Left out: ${lost.join(" \u00b7 ")}`;
      else gone.textContent = added.includes(true) ? "Nothing left out." : "Nothing had to change.";
      const [all, k] = [reading?.votes ?? [], names.length];
      const far = words.map((_, s) => all[s * k + k - 1] - all[s * k]);
      const most = Math.max(1, ...far.map(Math.abs));
      votes.replaceChildren(...words.map((word, s) => voteOf(word, far[s], most, masked[s], names)));
    },
  };
}

/** What it returns, and the time that it took. @type {<T>(act: () => T) => [T, string]} */
export function timed(act) {
  const start = performance.now();
  const result = act();
  const ms = performance.now() - start;
  return [result, `${ms.toFixed(ms < 10 ? 1 : 0)} ms`];
}

/** Gives Python what is shown. @type {(w: Widget, tokens: string[]) => void} */
export function saveRewritten(w, tokens) {
  const rewritten = tokens.join(" ");
  w.root.dataset.rewritten = rewritten;
  if (rewritten !== w.get("rewritten")) w.save({ rewritten });
}

export function hiding(/** @type {{ margin: number, masked: boolean[] }} */ { margin, masked }) {
  const hidden = masked.filter(Boolean).length;
  return hidden ? `${margin}, hides ${hidden} of ${masked.length} words` : "hides no word";
}

// What has to be said about a sentence before it is rewritten.
export function remarks(/** @type {Source} */ { unknownWords }) {
  if (!unknownWords.length) return [];
  const copied = new Set(unknownWords).size > 1 ? "them" : "it";
  return [`Unknown to the model, which can only copy ${copied}: ${quoted(unknownWords)}.`];
}

/** Where a sentence is typed or picked. @type {(form: WidgetForm, label?: Label) => HTMLElement[]} */
export function typedInput(form, label = String) {
  const { w } = form;
  /** @type {string[]} */
  const examples = w.get("examples");
  const options = [["", "Pick a sentence"], ...examples.map((example) => [example, label(example)])];
  const pick = pickOf(form, "label.dgm-pick", "pick", element("span.dgm-status", "Examples"), options, {
    get: () => (examples.includes(w.get("sentence")) ? w.get("sentence") : ""),
    set: (sentence) => sentence && w.change({ sentence }),
  });
  const attributes = { maxlength: 2000, rows: 2, placeholder: "Type a sentence" };
  return textOf(form, "sentence", "Your sentence", attributes, pick);
}
/** @typedef {(example: string) => string} Label */
