// How a rewrite came about: which words were opened, which candidates came, why one won.

import { element } from "./frame.js";
import { inBoth } from "./models/differences.js";
import { shareBar } from "./rewrite_view.js";
import { plainText } from "./text_view.js";

const REACH = 3; // of a score that fills half a track
/** @type {[keyof RewriteScores, string][]} */
const PARTS = [
  ["likelihood", "likely, per word"],
  ["contrast", "likely here, not at the far end"],
  ["agreement", "a reader agrees"],
  ["leftOut", "your words left out"],
  ["added", "words added"],
  ["repeated", "words said twice"],
];
/** @type {Record<string, string>} */
const WHY = {
  "it does not say what was asked": "does not say it",
  "no rewrite was good enough": "not good enough",
};
const signed = (/** @type {number} */ v) => `${v < 0 ? "\u2212" : "+"}${Math.abs(v).toFixed(2)}`;
const heading = (/** @type {string} */ text) => element("p.dgm-step", text);

/** Words, those marked that others lack. @type {(mark: string, words: string[], others: string[]) => Node} */
function compared(mark, words, others) {
  const same = new Set(inBoth(words, others).map(([i]) => i));
  const parts = words.map((word, i) => element(same.has(i) ? "span" : mark, plainText([word])));
  return element("p.dgm-line", { dir: "auto" }, ...parts.flatMap((part) => [part, " "]));
}

/** @type {(candidates: RankedCandidate[]) => Node} */
function ranking(candidates) {
  const best = Math.max(...candidates.map(({ scores }) => scores.total));
  const rows = candidates.map(({ words, scores, reason }) => {
    const said = element(reason ? "s" : "span", { dir: "auto" }, plainText(words));
    const bar = shareBar(Math.exp(scores.total - best), reason ? "dgm-bar-from" : "dgm-bar-to");
    const aside = element("span.dgm-odds", reason ? (WHY[reason] ?? reason) : signed(scores.total));
    return element("li", said, bar, aside);
  });
  return element("ol.dgm-ranks", ...rows);
}

/** @type {(first: RankedCandidate, second: RankedCandidate | undefined, weights: number[]) => Node} */
function duel(first, second, weights) {
  const share = (/** @type {RankedCandidate | undefined} */ c, /** @type {number} */ i) =>
    c ? weights[i] * c.scores[PARTS[i][0]] : 0;
  const rows = PARTS.map(([, name], i) => ({ name, a: share(first, i), b: share(second, i) }));
  rows.push({ name: "in all", a: first.scores.total, b: second?.scores.total ?? 0 });
  const body = rows.map(({ name, a, b }) => {
    const far = Math.max(-1, Math.min(1, (a - b) / REACH));
    const bar = element(`span.dgm-bar.${far < 0 ? "dgm-bar-from" : "dgm-bar-to"}`);
    Object.assign(bar.style, {
      width: `${50 * Math.abs(far)}%`,
      marginLeft: `${50 + 50 * Math.min(0, far)}%`,
    });
    const track = element("td", element("span.dgm-share.dgm-duel", { "aria-hidden": "true" }, bar));
    const numbers = [a, ...(second ? [b] : [])].map((v) => element("td", signed(v)));
    return element("tr", element("th", { scope: "row" }, name), ...numbers, track);
  });
  const names = second ? ["part of the score", "first", "second", ""] : ["part of the score", "", ""];
  const head = element(
    "tr",
    ...names.map((name) => (name ? element("th", { scope: "col" }, name) : element("td"))),
  );
  return element("table.dgm-parts", element("thead", head), element("tbody", ...body));
}

/** A fold-out that shows a sentence of an answer once it is open. @type {MakeMechanism} */
export function mechanismOf(opens) {
  const box = element("div.dgm-how-body");
  const node = element("details.dgm-how", element("summary", "How this rewrite came about"), box);
  node.addEventListener("toggle", opens);
  let at = 0;
  const pick = element("select", { "aria-label": "Which sentence" });
  pick.addEventListener("change", () => {
    at = Number(pick.value);
    opens();
  });
  return {
    node,
    show(sentences, weights) {
      if (!node.open) return;
      if (!sentences?.length) return box.replaceChildren(heading("There is no rewrite yet."));
      at = Math.min(at, sentences.length - 1);
      const options = sentences.map(({ words }, i) =>
        element("option", { value: i }, `${i + 1}. ${plainText(words).slice(0, 60)}`),
      );
      pick.replaceChildren(...options);
      pick.value = String(at);
      const { words, candidates } = sentences[at];
      const [first, second] = candidates;
      const parts = sentences.length > 1 ? [pick] : [];
      if (!first)
        return box.replaceChildren(...parts, heading("For this sentence the beam has written nothing else."));
      box.replaceChildren(
        ...parts,
        heading("1. The words that were opened, and what the best candidate puts there"),
        compared("del.dgm-struck", words, first.words),
        compared("ins", first.words, words),
        heading(`2. ${candidates.length} candidates with your numbers, names and locked words; best first`),
        ranking(candidates),
        heading(
          second ? "3. Why the first comes before the second: to the right speaks for it" : "3. Its score",
        ),
        duel(first, second, weights),
      );
    },
  };
}
/**
 * @typedef {{ node: HTMLElement, show(sentences: RankedSentence[] | undefined, weights: number[]): void }}
 *   Mechanism
 */
/** @typedef {(opens: () => void) => Mechanism} MakeMechanism */
