// How sentences are shown. Whatever a reader has typed becomes text, never HTML.

import { selectOf } from "./controls.js";
import { element } from "./frame.js";

const CLINGS = /^(?:[.,!?;:%)\]\u201d]|\.\.\.|n't|'(?:s|ve|m|ll|re|d))$/;
const OPENS = /^[([$\u201c]$/;
/** @type {(word: string) => string} */
export const printed = (word) => ({ "``": "\u201c", "''": "\u201d" })[word] ?? word;

/** Whether a space stands before each word. @type {(tokens: string[]) => boolean[]} */
function spaces(tokens) {
  return tokens.map((word, i) => i > 0 && !CLINGS.test(printed(word)) && !OPENS.test(printed(tokens[i - 1])));
}

/** @type {(tokens: string[]) => string} */
export function plainText(tokens) {
  const before = spaces(tokens);
  return tokens.map((word, i) => (before[i] ? " " : "") + printed(word)).join("");
}

// Which words of b do not stand in a and which of a not in b, by their longest common subsequence.
/** @type {(a: string[], b: string[]) => { dropped: boolean[], added: boolean[] }} */
export function compared(a, b) {
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

// The source, a bar beneath each word: up speaks for the last vertex, down for the first; hidden words boxed.
/** @type {(node: Element, source: Voted, masked: boolean[], names: string[]) => void} */
export function showVotes(node, { tokens, reading }, masked, names) {
  const k = names.length;
  const all = reading?.votes ?? [];
  const votes = tokens.map((_, s) => all[s * k + k - 1] - all[s * k]);
  const most = Math.max(1, ...votes.map(Math.abs));
  node.replaceChildren(
    ...tokens.map((word, s) => {
      const vote = votes[s];
      const bar = element("span", {
        class: vote < 0 ? "dgm-down" : "dgm-up",
        style: `--far: ${Math.abs(vote / most).toFixed(3)}`,
      });
      const side = vote < 0 ? names[0] : names[k - 1];
      const says = `${side} ${Math.abs(vote).toFixed(1)}${masked[s] ? ", hidden from the writer" : ""}`;
      const track = element("span.dgm-vote", { role: "img", "aria-label": says }, bar);
      return element(
        "span",
        { class: masked[s] ? "dgm-word dgm-hid" : "dgm-word" },
        element("span", printed(word)),
        track,
      );
    }),
  );
}

/** What became of the source's words. @type {(lost: string[], added: boolean[]) => string} */
export function told(lost, added) {
  if (lost.length) return `Left out: ${lost.map(printed).join(" \u00b7 ")}`;
  return added.includes(true) ? "Nothing left out." : "Nothing had to change.";
}

/** @type {(rewrite: { margin: number, masked: boolean[] }) => string} */
export function hiding({ margin, masked }) {
  const hidden = masked.filter(Boolean).length;
  return hidden ? `${margin}, hides ${hidden} of ${masked.length} words` : "hides no word";
}

// What has to be said about a sentence before it is rewritten; empty where there is nothing.
/** @type {(source: Source) => string[]} */
export function remarks(source) {
  const said = [];
  const unknown = [...new Set(source.unknownWords)];
  if (unknown.length) {
    const shown = unknown
      .slice(0, 6)
      .map((word) => `\u201c${word.length > 24 ? `${word.slice(0, 24)}\u2026` : word}\u201d`);
    const many = unknown.length > 1;
    const more = unknown.length > 6 ? ` and ${unknown.length - 6} more` : "";
    said.push(
      `Unknown to the model, which can only copy ${many ? "them" : "it"}: ${shown.join(", ")}${more}.`,
    );
  }
  return said;
}

// Where a reader types a sentence or picks one; `show(sentence)` brings both up to date.
/**
 * @type {(frame: Frame, examples: string[], labels: string[], change: (sentence: string) => void) =>
 *   SentenceInput}
 */
export function typedInput(frame, examples, labels, change) {
  const box = element("textarea", {
    id: `${frame.id}-box`,
    maxlength: 2000,
    rows: 2,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "Type a sentence",
  });
  const options = [["", "Pick a sentence"], ...examples.map((example, i) => [example, labels[i]])];
  const pick = selectOf(`${frame.id}-pick`, options, (example) => example && change(example));
  const label = element("label.dgm-pick", { for: pick.id }, element("span.dgm-status", "Examples"), pick);
  box.addEventListener("input", () => change(box.value));
  box.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  /** @type {(sentence: string) => void} */
  const show = (sentence) => {
    if (box.value !== sentence) box.value = sentence;
    pick.value = examples.includes(sentence) ? sentence : "";
  };
  const heads = element("div.dgm-heads", element("label", { for: box.id }, "Your sentence"), label);
  return { nodes: [heads, box], show };
}
