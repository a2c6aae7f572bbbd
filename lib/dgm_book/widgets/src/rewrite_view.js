// How a rewrite is shown: its new words marked, the source's to be locked, others to choose from.

import { element } from "./frame.js";

const WORD = /[\p{L}\p{M}\p{N}_]+(?:[-'\u2019./:][\p{L}\p{M}\p{N}_]+)*/gu;
const LONGEST = 100; // characters of a word that can be locked

/** A text whose spans are marked. @type {(text: string, spans: Span[]) => Children} */
export function marked(text, spans) {
  let end = 0;
  const parts = spans.flatMap(([first, last]) => {
    const before = text.slice(end, first);
    end = last;
    const part = text.slice(first, last);
    return [before, /[^\p{P}\s]/u.test(part) ? element("ins", part) : part]; // a comma alone is no new word
  });
  return [...parts, text.slice(end)].filter((part) => part !== "");
}

/** The words of a text as they may be locked. @type {(text: string) => Set<string>} */
export const lockable = (text) => new Set((text.match(WORD) ?? []).map((word) => word.toLowerCase()));

// The source's words, each a button that locks it or frees it; arrows go from one to the next.
/** @type {(toggle: (word: string) => void) => SourceWords} */
export function sourceWords(toggle) {
  const label = "Your words: press one to lock it, so that it stays";
  const node = element("div.dgm-own", { role: "toolbar", "aria-label": label, dir: "auto" });
  let shown = "";
  /** @type {{ node: HTMLElement, first: number, end: number, word: string }[]} */
  let parts = [];
  const buttons = () => parts.filter(({ word }) => word).map((part) => part.node);
  node.addEventListener("keydown", (event) => {
    const all = buttons();
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = all[Math.max(0, Math.min(all.length - 1, to))];
    for (const button of all) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  });
  function build(/** @type {string} */ text) {
    shown = text;
    parts = [];
    let end = 0;
    const add = (/** @type {HTMLElement} */ part, /** @type {number} */ first, word = "") => {
      end = first + (part.textContent ?? "").length;
      parts.push({ node: part, first, end, word });
    };
    for (const { 0: typed, index } of text.matchAll(WORD)) {
      if (typed.length > LONGEST) continue;
      if (index > end) add(element("span", text.slice(end, index)), end);
      const button = element("button.dgm-lock", { type: "button" }, typed);
      button.tabIndex = buttons().length ? -1 : 0;
      const word = typed.toLowerCase();
      button.addEventListener("click", () => toggle(word));
      add(button, index, word);
    }
    if (end < text.length) add(element("span", text.slice(end)), end);
    // No line breaks between a word and the mark behind it.
    for (const part of parts)
      part.node.classList.toggle("dgm-tight", /^[^\s\w]/.test(part.node.textContent ?? ""));
    node.replaceChildren(...parts.map((part) => part.node));
  }
  return {
    node,
    show(text, removed, locked) {
      if (text !== shown) build(text);
      for (const part of parts) {
        const gone = removed.some(([first, end]) => first < part.end && part.first < end);
        part.node.classList.toggle("dgm-struck", gone && /\S/.test(part.node.textContent ?? ""));
        if (!part.word) continue;
        part.node.setAttribute("aria-pressed", String(locked.includes(part.word)));
        if (gone) part.node.setAttribute("aria-label", `${part.node.textContent}, left out`);
        else part.node.removeAttribute("aria-label");
      }
    },
  };
}
/**
 * `removed` are spans of the text.
 * @typedef {{ node: HTMLElement, show(text: string, removed: Span[], locked: string[]): void }} SourceWords
 */

/** A bar of a share of its track; bars are borders, which forced colours and print keep. */
export const shareBar = (/** @type {number} */ share, kind = "dgm-bar-to") => {
  const bar = element(`span.dgm-bar.${kind}`);
  bar.style.width = `${(100 * share).toFixed(1)}%`;
  return element("span.dgm-share", { "aria-hidden": "true" }, bar);
};

// Rewrites to choose from, best first, with a bar of each score relative to the best's.
/** @type {(id: string, choose: (k: number) => void) => Choices} */
export function choicesOf(id, choose) {
  const list = element("div.dgm-others", { role: "radiogroup", "aria-label": "Ranked rewrites" });
  /** @type {TextRewrite[]} */
  let shown = [];
  /** @type {HTMLInputElement[]} */
  let radios = [];
  function build(/** @type {TextRewrite[]} */ rewrites) {
    shown = rewrites;
    radios = rewrites.map((_, k) => {
      const radio = element("input", { type: "radio", name: id, value: k });
      radio.addEventListener("change", () => choose(k));
      return radio;
    });
    const best = Math.max(...rewrites.map(({ scores }) => scores.total));
    const rows = rewrites.map(({ text, changed, scores }, k) => {
      const said = element("span.dgm-other", { dir: "auto" }, ...marked(text, changed));
      return element("label", radios[k], said, shareBar(Math.exp(scores.total - best)));
    });
    list.replaceChildren(...(rows.length > 1 ? rows : [])); // one alone stands above
  }
  return {
    node: list,
    show(rewrites, chosen) {
      if (rewrites.length !== shown.length || rewrites.some((rewrite, k) => rewrite !== shown[k]))
        build(rewrites);
      for (const [k, radio] of radios.entries()) radio.checked = k === chosen;
    },
  };
}
/** @typedef {{ node: HTMLElement, show(rewrites: TextRewrite[], chosen: number): void }} Choices */
