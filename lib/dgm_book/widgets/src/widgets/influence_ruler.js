// The influence ruler: for each word, how far the code moves without it, under each way of pooling.

import { checkbox } from "../controls.js";
import { element, openWidget, readout, rich, throttled } from "../frame.js";
import { checkPooling, loadPooling } from "../models/pooling_model.js";
import { tokenise } from "../models/tokens.js";
import { barCell, brief, readingNotes, sentenceInput, wordHead } from "../sentence_view.js";

const NOTHING = "Type a sentence, or pick one: there is no word to leave out yet.";
const TINY = 1e-6; // below this a code does not move but by rounding

/** How far the code moves without each word, under each encoder. @typedef {number[][]} Found */

// Small codes need a third decimal to be told apart.
/** @type {(x: number, found: Found) => string} */
const inWords = (x, found) => x.toFixed(Math.max(...found.flat()) < 0.1 ? 3 : 2);

/**
 * @type {(w: Widget, encoders: SentenceEncoder[]) => { fill(source: Encoded): void, draw(found: Found): void
 *   }}
 */
function makeTable(w, encoders) {
  const rows = element("tbody");
  const heads = encoders.map(({ kind, label }) => {
    const sign = element("span.dgm-enc-sign", { "aria-hidden": "true" });
    return element("th", { scope: "col", class: `dgm-enc-${kind}` }, sign, label);
  });
  const says = "How far the code moves without each word, in standard deviations of the prior";
  const head = element("tr", element("th", { scope: "col" }, "without"), ...heads);
  const table = element(
    "table.dgm-enc-ruler",
    element("caption.dgm-status", says),
    element("thead", head),
    rows,
  );
  w.picture.append(table);
  /** @type {BarCell[][]} */
  let cells = [];

  /** @type {(source: Encoded) => void} */
  function fill({ words, unknown }) {
    cells = words.map(() => encoders.map(({ kind }) => barCell(`dgm-enc-${kind}`)));
    const row = (/** @type {string} */ word, /** @type {number} */ n) =>
      element("tr", wordHead(word, unknown[n]), ...cells[n].map(({ node }) => node));
    rows.replaceChildren(...words.map(row));
    table.hidden = !words.length;
  }

  /** @type {(found: Found) => void} */
  function draw(found) {
    const most = Math.max(TINY, ...found.flat());
    for (const [e, moved] of found.entries()) {
      const scale = w.get("own_scale") ? Math.max(TINY, ...moved) : most;
      for (const [n, row] of cells.entries()) row[e].set(moved[n] / scale, inWords(moved[n], found));
    }
  }
  return { fill, draw };
}

/**
 * @type {(w: Widget, encoders: SentenceEncoder[]) => { time: Element, tell(words: string[], found: Found):
 *   string }}
 */
function makeReadouts(w, encoders) {
  const list = element("dl");
  const outs = encoders.map(({ label }) => readout(list, label));
  const time = readout(list, "Time");
  w.side.append(element("div", element("p.dgm-caption", "The word that moves the code most"), list));

  /** @type {(words: string[], moved: number[], found: Found) => string[]} */
  function most(words, moved, found) {
    const sum = moved.reduce((a, b) => a + b, 0);
    if (!(sum > TINY)) return [];
    const n = moved.indexOf(Math.max(...moved));
    const share = (100 * moved.slice(-3).reduce((a, b) => a + b, 0)) / sum;
    const even = (300 / words.length).toFixed(0);
    const late = `the last three hold ${share.toFixed(0)}\u2009%; even: ${even}\u2009%`;
    return [`\u201c${brief(words[n])}\u201d, ${inWords(moved[n], found)}`, words.length > 3 ? late : ""];
  }

  /** @type {(words: string[], found: Found) => string} */
  function tell(words, found) {
    const spoken = encoders.map(({ label }, e) => {
      const [word, late] = most(words, found[e], found);
      outs[e].replaceChildren(...(word ? [word, element("small", late)] : ["\u2013"]));
      return word ? `${label}: ${word}` : "";
    });
    return words.length ? `Moves the code most: ${spoken.filter(Boolean).join("; ")}.` : "";
  }
  return { time, tell };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const shared = await loadPooling(props.model);
  const { encoders } = shared;
  const w = openWidget(props, {
    names: ["sentence", "own_scale"],
    hint:
      "tick *Each encoder on its own scale*, then move the word before the full stop to the front: its " +
      "bar shrinks under the last state, and mostly grows under the maximum.",
    kind: "dgm-text dgm-enc",
  });
  checkPooling(shared, (error) => {
    w.root.dataset.goldenError = String(error);
  });
  const input = sentenceInput(w, w.get("examples"), (sentence) => w.change({ sentence }));
  const note = element("p.dgm-note");
  w.picture.append(...input.nodes, note);
  const table = makeTable(w, encoders);
  const own = checkbox(`${w.id}-own`, "Each encoder on its own scale", (on) => w.change({ own_scale: on }));
  const says =
    "A bar is how far the code (the mean of *q*) moves when the word is left out, in standard " +
    "deviations of the prior.";
  w.controls.append(element("p.dgm-note", ...rich(says)), own.node, w.reset);
  w.reset.addEventListener("click", () => w.change(w.first));
  const readouts = makeReadouts(w, encoders);
  const speak = throttled(w.status, 600);

  /** @type {string | null} */
  let typed = null;
  /** @type {Found} */
  let found = [];

  /** @type {(sentence: string) => void} */
  function measure(sentence) {
    typed = sentence;
    input.show(sentence);
    const source = shared.encode(tokenise(sentence));
    const { words } = source;
    const start = performance.now();
    found = encoders.map((encoder) => encoder.influence(source.tokens));
    const ms = performance.now() - start;
    const codes = `${ms.toFixed(ms < 10 ? 1 : 0)} ms for ${words.length * encoders.length} codes`;
    readouts.time.textContent = words.length ? codes : "\u2013";
    table.fill(source);
    const notes = words.length ? readingNotes(source, shared) : [NOTHING];
    note.textContent = notes.join(" ");
    speak([...notes, readouts.tell(words, found)].join(" "));
    w.root.dataset.moved = JSON.stringify(found);
    w.save({ influences: Object.fromEntries(encoders.map(({ kind }, e) => [kind, found[e]])) });
  }

  function draw() {
    own.input.checked = w.get("own_scale");
    if (w.get("sentence") !== typed) measure(w.get("sentence"));
    table.draw(found);
  }
  const stop = w.start("dgm:ruler", draw);
  w.ask();
  return stop;
}

export default { render };
