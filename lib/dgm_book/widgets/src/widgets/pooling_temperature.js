// From mean to maximum: how much each word counts, and how far apart the sentences come to lie.

import { linear, through } from "../charts.js";
import { formOf, radiosOf, sliderOf } from "../form.js";
import { element, number, rich, shape } from "../frame.js";
import { checkGolden } from "../golden.js";
import { idly } from "../models/idle.js";
import { dispersionOf, loadPooling, softPool } from "../models/pooling_model.js";
import { tokenise } from "../models/tokens.js";
import { place, resize, words } from "../plot.js";
import { barCell, readingNotes, wordHead } from "../sentence_view.js";
import { brief, plainText, typedInput } from "../text_view.js";
import { defineWidget } from "../widget.js";

/** @type {[keyof Dispersion, string, (x: number) => string][]} */
const STATISTICS = [
  ["cosine", "cosine between sentences", (x) => x.toFixed(3)],
  ["relative", "variance relative to the mean", (x) => number(x, 3)],
  ["participation", "directions in use", (x) => x.toFixed(1)],
];
const STEP = 4; // slider positions between the points of a curve
const ABSENT = "Type a sentence, or pick one: there is no word to weigh yet.";
const MEANING =
  "Bars: how much a word counts in *s* = *\u03c4* log mean exp(*h* / *\u03c4*), averaged over units. " +
  "Dashed: all words alike.";
const [LEFT, TOP, TALL, PITCH] = [38, 30, 56, 104]; // px, of the charts
const END = { "text-anchor": "end" };

/** @typedef {(v: number) => string} Tick */
/** @typedef {(Dispersion & { position: number })[]} Curve */
/** @typedef {{ states: Float32Array[], curve: Curve, ready: boolean }} Survey */
/** @typedef {{ curve: Curve, now: Dispersion, position: number }} Charted */

// For each encoder the states of the examples and the curves, made when the page is idle.
/** @param {Widget} w @param {Encoders} shared @param {number[]} temperatures */
function makeSurveys(w, shared, temperatures) {
  const examples = w.get("examples");
  /** @type {Map<SentenceEncoder, Survey>} */
  const surveys = new Map();
  let stop = () => {};

  /** @param {SentenceEncoder} encoder @param {Survey} survey @param {number} position */
  function dispersionAt({ H }, { states }, position) {
    const features = new Float64Array(states.length * H);
    for (const [m, h] of states.entries()) {
      softPool(h, H, temperatures[position], features.subarray(m * H, (m + 1) * H));
    }
    return dispersionOf(features, H);
  }
  /** @type {(encoder: SentenceEncoder, survey: Survey) => Generator<void, void>} */
  function* work(encoder, survey) {
    const { states, curve } = survey;
    for (let m = states.length; m < examples.length; m++) {
      states.push(encoder.states(shared.encode(tokenise(examples[m])).tokens));
      yield;
    }
    for (let position = STEP * curve.length; position < temperatures.length; position += STEP) {
      curve.push({ position, ...dispersionAt(encoder, survey, position) });
      yield;
    }
  }
  return {
    /** What is charted of an encoder, or null while its survey goes on. */
    /** @type {(encoder: SentenceEncoder, position: number, other: boolean) => Charted | null} */
    at(encoder, position, other) {
      const survey = surveys.get(encoder) ?? { states: [], curve: [], ready: false };
      surveys.set(encoder, survey);
      if (other) stop();
      if (other && !survey.ready) {
        stop = idly(work(encoder, survey), () => {
          survey.ready = true;
          w.ask();
        });
      }
      if (!survey.ready) return null;
      return { curve: survey.curve, now: dispersionAt(encoder, survey, position), position };
    },
    stop: () => stop(),
  };
}

/** A statistic's curve over the slider's `last` positions. */
/** @type {(p: number, charted: Charted | null, ready: boolean, last: number, right: number) => Element[]} */
function panelOf(p, charted, ready, last, right) {
  const [key, name, text] = STATISTICS[p];
  const top = TOP + p * PITCH;
  const end = top + TALL;
  const value = charted && ready ? text(charted.now[key]) : "\u2026";
  const empty = [
    shape("path.dgm-axis", { d: `M${LEFT - 6} ${top}V${end + 6}H${right}` }),
    words(0, top - 14, name, { class: "dgm-strong", "text-anchor": "start" }),
    words(right, top - 14, value, { class: "dgm-strong dgm-enc-now", ...END }),
  ];
  if (!charted) return empty;
  const { curve, now, position } = charted;
  const values = curve.map((point) => point[key]);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const px = linear([0, last], [LEFT, right]);
  const py = linear([low, Math.max(high, low + 1e-12)], [end, top]);
  return [
    ...empty,
    shape("path.dgm-enc-rule", { d: `M${px(position)} ${top}v${TALL}` }),
    shape("path.dgm-stem", { d: through(curve.map((point) => [px(point.position), py(point[key])])) }),
    shape("circle.dgm-rd-dot", { r: 5, cx: px(position), cy: py(now[key]) }),
    words(LEFT - 10, end + 4, text(low), END),
    words(LEFT - 10, top + 4, text(high), END),
  ];
}

/** The words with their bars. @param {Widget} w @param {Encoders} shared @param {number[]} temperatures */
function makeWords(w, shared, temperatures) {
  const form = formOf(w);
  const input = typedInput(form, (example) => plainText(example.split(" ")));
  const rows = element("tbody");
  const caption = element("caption.dgm-status", "How much each word counts in the pooled features");
  const table = element("table.dgm-enc-weights", caption, rows);
  const note = element("p.dgm-note");
  w.picture.append(...input, note, table, element("p.dgm-note", ...rich(MEANING)));
  /** @type {BarCell[]} */
  let cells = [];
  let source = shared.encode([]);
  let [states, pooled, share] = [new Float32Array(0), new Float64Array(0), new Float64Array(0)];
  let longest = 0;
  return {
    note,
    read(/** @type {SentenceEncoder} */ encoder) {
      form.show();
      source = shared.encode(tokenise(w.get("sentence")));
      const { words: typed, unknown, tokens } = source;
      note.textContent = typed.length ? readingNotes(source, shared).join(" ") : ABSENT;
      table.hidden = !typed.length;
      states = new Float32Array(encoder.states(tokens));
      [pooled, share] = [new Float64Array(encoder.H), new Float64Array(tokens.length)];
      // One scale for the whole of the slider.
      longest = 0;
      for (let i = 0; i < temperatures.length; i += 10) {
        softPool(states, encoder.H, temperatures[i], pooled, share);
        longest = Math.max(longest, ...share);
      }
      cells = tokens.map(() => barCell("dgm-enc-max"));
      const marker = (/** @type {string} */ text) => element("th.dgm-enc-marker", { scope: "row" }, text);
      const heads = [marker("start"), ...typed.map((word, i) => wordHead(word, unknown[i])), marker("end")];
      rows.replaceChildren(...heads.map((head, t) => element("tr", head, cells[t].node)));
      table.style.setProperty("--even", `${100 / share.length / longest}%`);
    },
    /** Returns what is to be said. @param {SentenceEncoder} encoder @param {number} tau */
    show({ H }, tau) {
      softPool(states, H, tau, pooled, share);
      for (const [t, { set }] of cells.entries())
        set(share[t] / longest, `${(100 * share[t]).toFixed(1)}\u2009%`);
      w.root.dataset.shares = Array.from(share, (x) => x.toFixed(6)).join(" ");
      if (!source.words.length) return [];
      const t = share.indexOf(Math.max(...share));
      const word = brief(["start", ...source.words, "end"][t]);
      return [`Counts most: \u201c${word}\u201d, ${(100 * share[t]).toFixed(0)} percent.`];
    },
  };
}

/** @param {Widget} w @param {SentenceEncoder[]} encoders @param {number} last @param {Tick} inWords */
function makeControls(w, encoders, last, inWords) {
  const form = formOf(w);
  const range = { min: 0, max: last, step: 1 };
  const slider = sliderOf(form, "position", "Temperature *\u03c4*", range, { text: inWords });
  const ends = element("div.dgm-ends", { "aria-hidden": "true" });
  ends.append(element("span", "mean, hot"), element("span", "maximum, cold"));
  const kinds = radiosOf(
    form,
    "kind",
    "",
    encoders.map(({ kind, label }) => [kind, label]),
  );
  const legend = element("legend.dgm-enc-legend", "States of the encoder trained with");
  w.controls.append(element("div", slider, ends), element("fieldset.dgm-row", legend, ...kinds.childNodes));
  return form;
}

export default defineWidget(
  {
    measure: "dgm:temperature",
    load: loadPooling,
    names: ["sentence", "kind", "position"],
    hint: "move the slider from end to end, and see which words are left.",
    kind: "dgm-enc dgm-enc-tau",
  },
  (w, shared) => {
    checkGolden(w.root, "goldenError", shared);
    const examples = w.get("examples");
    const temperatures = [Infinity, ...w.get("temperatures"), 0];
    const last = temperatures.length - 1;
    const list = makeWords(w, shared, temperatures);
    const inWords = (/** @type {number} */ position) => {
      const ends = position === 0 ? "\u221e, the mean" : "0, the maximum";
      return position > 0 && position < last ? number(temperatures[position], 2) : ends;
    };
    const form = makeControls(w, shared.encoders, last, inWords);
    const svg = shape("svg", { role: "img" });
    const node = element(
      "div",
      element("p.dgm-caption", `How far apart the ${examples.length} examples lie`),
      svg,
    );
    w.side.append(node, form.reset());
    const surveys = makeSurveys(w, shared, temperatures);
    /** @type {SentenceEncoder | null} */
    let shown = null;
    /** What is drawn; the last that was ready while another survey goes on. @type {Charted | null} */
    let charted = null;
    let typed = "";

    function draw(/** @type {number} */ width) {
      const encoder = shared.encoders.find(({ kind }) => kind === w.get("kind")) ?? shared.encoders[0];
      const position = w.get("position");
      const current = surveys.at(encoder, position, shown !== encoder);
      if (shown !== encoder || typed !== w.get("sentence")) list.read(encoder);
      [shown, typed, charted] = [encoder, w.get("sentence"), current ?? charted];
      form.show();
      const counts = list.show(encoder, temperatures[position]);
      const height = TOP + STATISTICS.length * PITCH - 26;
      const panels = STATISTICS.flatMap((_, p) => panelOf(p, charted, current !== null, last, width - 8));
      const start = words(LEFT - 6, height - 2, "mean", { "text-anchor": "start" });
      svg.toggleAttribute("data-waiting", !current);
      resize(svg, width, height);
      if (width) svg.replaceChildren(...panels, start, words(width - 8, height - 2, "maximum", END));
      const spoken = [`Temperature ${inWords(position)}.`];
      if (current) {
        spoken.push(...STATISTICS.map(([key, name, text]) => `${name} ${text(current.now[key])}.`));
        w.root.dataset.dispersion = STATISTICS.map(([key]) => current.now[key]).join(" ");
      }
      spoken.push(...counts, list.note.textContent ?? "");
      place(svg, { "aria-label": `Three curves over the temperature. ${spoken.slice(0, 4).join(" ")}` });
      w.speak(spoken.join(" "));
    }
    return { draw, sized: node, ended: surveys.stop };
  },
);
