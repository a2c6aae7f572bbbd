// The influence ruler: for each word, how far the code moves without it, under each way of pooling.

import { formOf, readoutList, tickOf } from "../form.js";
import { element, rich } from "../frame.js";
import { checkGolden } from "../golden.js";
import { loadPooling } from "../models/pooling_model.js";
import { tokenise } from "../models/tokens.js";
import { barCell, readingNotes, wordHead } from "../sentence_view.js";
import { brief, plainText, timed, typedInput } from "../text_view.js";
import { defineWidget } from "../widget.js";

const NOTHING = "Type a sentence, or pick one: there is no word to leave out yet.";
const TINY = 1e-6; // below this a code does not move but by rounding
const CAPTION = "How far the code moves without each word, in standard deviations of the prior";
const MEANING =
  "A bar is how far the code (the mean of *q*) moves when the word is left out, in standard deviations of " +
  "the prior.";

/** How far the code moves without each word, under each encoder. @typedef {number[][]} Influences */

/** The word that moves a code most, and how much the last do. */
/** @type {(words: string[], own: number[]) => string[] | null} */
function mostOf(words, own) {
  const sum = own.reduce((a, b) => a + b, 0);
  if (!(sum > TINY)) return null;
  const n = own.indexOf(Math.max(...own));
  const share = (100 * own.slice(-3).reduce((a, b) => a + b, 0)) / sum;
  const even = (300 / words.length).toFixed(0);
  const late = `the three at the end: ${share.toFixed(0)}\u202f% of all; if all were alike, ${even}\u202f%`;
  return [`\u201c${brief(words[n])}\u201d, ${own[n].toFixed(3)}`, words.length > 3 ? late : ""];
}

function makeTable(/** @type {Widget} */ w, /** @type {SentenceEncoder[]} */ encoders) {
  const heads = encoders.map(({ kind, label }) => {
    const sign = element("span.dgm-enc-sign", { "aria-hidden": "true" });
    return element(`th.dgm-enc-${kind}`, { scope: "col" }, sign, label);
  });
  const head = element("thead", element("tr", element("th", { scope: "col" }, "left out"), ...heads));
  const rows = element("tbody");
  const table = element("table.dgm-enc-ruler", element("caption.dgm-status", CAPTION), head, rows);
  w.picture.append(table);
  /** @type {BarCell[][]} */
  let cells = [];
  return {
    fill(/** @type {Encoded} */ { words, unknown }) {
      cells = words.map(() => encoders.map(({ kind }) => barCell(`dgm-enc-${kind}`)));
      const nodes = words.map((word, n) => {
        return element("tr", wordHead(word, unknown[n]), ...cells[n].map(({ node }) => node));
      });
      rows.replaceChildren(...nodes);
      table.hidden = !words.length;
    },
    draw(/** @type {Influences} */ influences) {
      const most = Math.max(TINY, ...influences.flat());
      for (const [e, own] of influences.entries()) {
        const scale = w.get("own_scale") ? Math.max(TINY, ...own) : most;
        for (const [n, row] of cells.entries()) row[e].set(own[n] / scale, own[n].toFixed(3));
      }
    },
  };
}

export default defineWidget(
  {
    measure: "dgm:ruler",
    load: loadPooling,
    names: ["sentence", "own_scale"],
    hint: "on its own scale, move the last word to the front: its bar shrinks under the last state.",
    kind: "dgm-text dgm-enc",
  },
  (w, shared) => {
    checkGolden(w.root, "goldenError", shared);
    const { encoders } = shared;
    const form = formOf(w);
    const note = element("p.dgm-note");
    w.picture.append(...typedInput(form, (example) => plainText(example.split(" "))), note);
    const table = makeTable(w, encoders);
    const own = tickOf(form, "own_scale", "Each encoder on its own scale");
    w.controls.append(element("p.dgm-note", ...rich(MEANING)), own, form.reset());
    const most = element("div", element("p.dgm-caption", "The word that moves the code most"));
    const fill = readoutList(most, [...encoders.map(({ label }) => label), "Time"]);
    w.side.append(most);
    /** @type {string | null} */
    let typed = null;
    /** @type {Influences} */
    let influences = [];

    function measure(/** @type {string} */ sentence) {
      const source = shared.encode(tokenise(sentence));
      const { words, tokens } = source;
      const [values, time] = timed(() => encoders.map((encoder) => encoder.influence(tokens)));
      influences = values;
      const strongest = values.map((value) => mostOf(words, value));
      fill(
        ...strongest.map((texts) => (texts ? [texts[0], element("small", texts[1])] : "\u2013")),
        words.length ? `${time} for ${words.length * encoders.length} codes` : "\u2013",
      );
      table.fill(source);
      const notes = words.length ? readingNotes(source, shared) : [NOTHING];
      note.textContent = notes.join(" ");
      const spoken = strongest.flatMap((texts, e) => (texts ? `${encoders[e].label}: ${texts[0]}` : []));
      w.speak([...notes, words.length ? `Moves the code most: ${spoken.join("; ")}.` : ""].join(" "));
      w.root.dataset.moved = JSON.stringify(values);
      w.save({ influences: Object.fromEntries(encoders.map(({ kind }, e) => [kind, values[e]])) });
    }

    return () => {
      form.show();
      if (w.get("sentence") !== typed) measure(w.get("sentence"));
      typed = w.get("sentence");
      table.draw(influences);
    };
  },
);
