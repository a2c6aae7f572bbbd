// From mean to maximum: how much each word counts, and how far apart the sentences come to lie.

import { labelledSlider, radioRow } from "../controls.js";
import { element, number, openWidget, rich, shape, throttled } from "../frame.js";
import { checkPooling, dispersionOf, idly, loadPooling, softPool } from "../models/pooling_model.js";
import { tokenise } from "../models/tokens.js";
import { place, resize } from "../plot.js";
import { barCell, brief, readingNotes, sentenceInput, wordHead } from "../sentence_view.js";

/** @type {[keyof Dispersion, string, (x: number) => string][]} */
const STATISTICS = [
  ["cosine", "cosine between sentences", (x) => x.toFixed(3)],
  ["relative", "variance relative to the mean", (x) => number(x, 3)],
  ["participation", "directions in use", (x) => x.toFixed(1)],
];
const STEP = 4; // slider positions between the points of a curve
const ABSENT = "Type a sentence, or pick one: there is no word to weigh yet.";
const [LEFT, TOP, TALL, PITCH] = [38, 30, 56, 104]; // px, of the charts

/** @typedef {Dispersion & { position: number }} Point */
/**
 * @typedef {{ encoder: SentenceEncoder, states: Float32Array[], curve: Point[], ready: boolean, features:
 *   Float64Array }} Survey
 */
/**
 * A sentence under one encoder.
 * @typedef {{ source: Encoded, states: Float32Array, pooled: Float64Array, share: Float64Array }} Weighed
 */

/** @type {(survey: Survey, tau: number) => Dispersion} */
function dispersionAt({ encoder: { H }, states, features }, tau) {
  for (const [m, h] of states.entries()) softPool(h, H, tau, features.subarray(m * H, (m + 1) * H));
  return dispersionOf(features, H);
}

// For each encoder the states of the examples and the curves, made when the page is idle.
/** @type {(shared: Encoders, examples: string[], temperatures: number[], ready: () => void) => Surveys} */
function makeSurveys(shared, examples, temperatures, ready) {
  /** @type {Map<SentenceEncoder, Survey>} */
  const surveys = new Map();
  let stop = () => {};

  /** @type {(survey: Survey) => Generator<void, void>} */
  function* work(survey) {
    const { encoder, states, curve } = survey;
    for (let m = states.length; m < examples.length; m++) {
      states.push(encoder.states(shared.encode(tokenise(examples[m])).tokens));
      yield;
    }
    for (let position = STEP * curve.length; position < temperatures.length; position += STEP) {
      curve.push({ position, ...dispersionAt(survey, temperatures[position]) });
      yield;
    }
  }

  // The survey of an encoder, which goes on if it is not ready.
  /** @type {(encoder: SentenceEncoder) => Survey} */
  function start(encoder) {
    stop();
    const features = new Float64Array(examples.length * encoder.H);
    const survey = surveys.get(encoder) ?? { encoder, states: [], curve: [], ready: false, features };
    surveys.set(encoder, survey);
    if (!survey.ready) {
      stop = idly(work(survey), () => {
        survey.ready = true;
        ready();
      });
    }
    return survey;
  }
  return { start, stop: () => stop() };
}
/** @typedef {{ start(encoder: SentenceEncoder): Survey, stop(): void }} Surveys */

function makePanel() {
  return {
    base: shape("path.dgm-axis"),
    rule: shape("path.dgm-enc-rule"),
    line: shape("path.dgm-stem"),
    dot: shape("circle.dgm-rd-dot", { r: 5 }),
    low: shape("text", { "text-anchor": "end" }),
    high: shape("text", { "text-anchor": "end" }),
    title: shape("text.dgm-strong", { x: 0 }),
    value: shape("text.dgm-strong.dgm-enc-now", { "text-anchor": "end" }),
  };
}

/** Three curves over the slider's positions. @type {(w: Widget, count: number, last: number) => Charts} */
function makeCharts(w, count, last) {
  const svg = shape("svg", { role: "img", "data-waiting": "" });
  const panels = STATISTICS.map(makePanel);
  const ends = ["mean", "maximum"].map((name, i) =>
    shape("text", { "text-anchor": i ? "end" : "start" }, name),
  );
  svg.append(...panels.flatMap((panel) => Object.values(panel)), ...ends);
  for (const [p, { title }] of panels.entries()) title.textContent = STATISTICS[p][1];
  const node = element("div", element("p.dgm-caption", `How far apart the ${count} examples lie`), svg);
  w.side.append(node, w.reset);
  let right = 0;
  /** The survey whose curves are drawn. @type {Survey | null} */
  let drawn = null;
  /** @type {((y: number) => number)[]} */
  let up = [];
  const across = (/** @type {number} */ position) => LEFT + ((right - LEFT) * position) / last;

  /** @type {(width: number) => void} */
  function layout(width) {
    right = width - 8;
    const height = TOP + STATISTICS.length * PITCH - 26;
    resize(svg, width, height);
    for (const [p, panel] of panels.entries()) {
      const top = TOP + p * PITCH;
      const end = top + TALL;
      place(panel.title, { y: top - 14 });
      place(panel.value, { x: right, y: top - 14 });
      place(panel.base, { d: `M${LEFT - 6} ${top}V${end + 6}H${right}` });
      place(panel.high, { x: LEFT - 10, y: top + 4 });
      place(panel.low, { x: LEFT - 10, y: end + 4 });
    }
    for (const [i, text] of ends.entries()) place(text, { x: i ? right : LEFT - 6, y: height - 2 });
    drawn = null;
  }

  /** @type {(survey: Survey) => void} */
  function drawCurves(survey) {
    drawn = survey;
    up = STATISTICS.map(([key, , text], p) => {
      const values = survey.curve.map((point) => point[key]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const y = (/** @type {number} */ v) =>
        TOP + p * PITCH + TALL * (1 - (v - low) / Math.max(1e-12, high - low));
      const at = survey.curve.map(
        (point) => `${across(point.position).toFixed(1)} ${y(point[key]).toFixed(1)}`,
      );
      place(panels[p].line, { d: `M${at.join("L")}` });
      panels[p].low.textContent = text(low);
      panels[p].high.textContent = text(high);
      return y;
    });
  }

  /** @type {(survey: Survey, now: Dispersion | null, position: number) => string[]} */
  function show(survey, now, position) {
    svg.toggleAttribute("data-waiting", !now);
    if (now && right && drawn !== survey) drawCurves(survey);
    for (const [p, [key, , text]] of STATISTICS.entries()) {
      const { value, dot, rule } = panels[p];
      value.textContent = now ? text(now[key]) : "\u2026";
      if (!now || !up[p]) continue;
      place(dot, { cx: across(position), cy: up[p](now[key]) });
      place(rule, { d: `M${across(position)} ${TOP + p * PITCH}v${TALL}` });
    }
    return now && up.length ? STATISTICS.map(([key, name, text]) => `${name} ${text(now[key])}.`) : [];
  }
  return { svg, node, layout, show, clear: () => (drawn = null) };
}
/**
 * @typedef {{ svg: SVGElement, node: Element, layout(width: number): void, clear(): void,
 *   show(survey: Survey, now: Dispersion | null, position: number): string[] }} Charts
 */

/** The words with their bars. @type {(w: Widget, shared: Encoders, temperatures: number[]) => Words} */
function makeWords(w, shared, temperatures) {
  const input = sentenceInput(w, w.get("examples"), (sentence) => w.change({ sentence }));
  const rows = element("tbody");
  const caption = element("caption.dgm-status", "How much each word counts in the pooled features");
  const table = element("table.dgm-enc-weights", caption, rows);
  const note = element("p.dgm-note");
  const meaning =
    "Bars: how much a word counts in *s* = *\u03c4* log mean exp(*h* / *\u03c4*), averaged over units. " +
    "Dashed: all words alike.";
  w.picture.append(...input.nodes, note, table, element("p.dgm-note", ...rich(meaning)));
  /** @type {BarCell[]} */
  let cells = [];
  let longest = 1;

  /** @type {(sentence: string, encoder: SentenceEncoder) => Weighed} */
  function read(sentence, encoder) {
    input.show(sentence);
    const source = shared.encode(tokenise(sentence));
    const { words, unknown, tokens } = source;
    note.textContent = words.length ? readingNotes(source, shared).join(" ") : ABSENT;
    table.hidden = !words.length;
    const pooled = new Float64Array(encoder.H);
    const share = new Float64Array(tokens.length);
    const states = encoder.states(tokens);
    // One scale for the whole of the slider.
    longest = 0;
    for (const tau of temperatures.filter((_, i) => i % 10 === 0)) {
      softPool(states, encoder.H, tau, pooled, share);
      longest = Math.max(longest, ...share);
    }
    cells = tokens.map(() => barCell("dgm-enc-max"));
    const marker = (/** @type {string} */ text) => element("th.dgm-enc-marker", { scope: "row" }, text);
    const heads = [marker("start"), ...words.map((word, i) => wordHead(word, unknown[i])), marker("end")];
    rows.replaceChildren(...heads.map((head, t) => element("tr", head, cells[t].node)));
    table.style.setProperty("--even", `${100 / share.length / longest}%`);
    return { source, states, pooled, share };
  }
  /** @type {(share: Float64Array) => void} */
  function show(share) {
    for (const [t, { set }] of cells.entries())
      set(share[t] / longest, `${(100 * share[t]).toFixed(1)}\u2009%`);
    w.root.dataset.shares = Array.from(share, (x) => x.toFixed(6)).join(" ");
  }
  return { note, read, show };
}
/**
 * @typedef {{ note: Element, read(sentence: string, encoder: SentenceEncoder): Weighed,
 *   show(share: Float64Array): void }} Words
 */

/**
 * @type {(w: Widget, encoders: SentenceEncoder[], temperatures: number[]) => (position: number) => string}
 */
function makeControls(w, encoders, temperatures) {
  const last = temperatures.length - 1;
  const range = { min: 0, max: last, step: 1 };
  const slider = labelledSlider(`${w.id}-tau`, "Temperature *\u03c4*", range, (v) =>
    w.change({ position: v }),
  );
  const both = [element("span", "mean, hot"), element("span", "maximum, cold")];
  const choices = encoders.map(({ kind, label }) => [kind, label]);
  const kinds = radioRow(`${w.id}-kind`, "", choices, (kind) => w.change({ kind }));
  const legend = element("legend.dgm-enc-legend", "States of the encoder trained with");
  const field = element("fieldset.dgm-row", legend, ...kinds.node.childNodes);
  w.controls.append(
    element("div", slider.node, element("div.dgm-ends", { "aria-hidden": "true" }, ...both)),
    field,
  );
  return (position) => {
    kinds.show(w.get("kind"));
    const ends = position === 0 ? "\u221e, the mean" : "0, the maximum";
    const says = position > 0 && position < last ? number(temperatures[position], 2) : ends;
    slider.show(position, says);
    return says;
  };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const shared = await loadPooling(props.model);
  const w = openWidget(props, {
    names: ["sentence", "kind", "position"],
    hint: "move the slider from end to end, and see which words are left.",
    kind: "dgm-enc dgm-enc-tau",
  });
  checkPooling(shared, (error) => {
    w.root.dataset.goldenError = String(error);
  });
  const examples = w.get("examples");
  const temperatures = [Infinity, ...w.get("temperatures"), 0];
  const words = makeWords(w, shared, temperatures);
  const showControls = makeControls(w, shared.encoders, temperatures);
  const charts = makeCharts(w, examples.length, temperatures.length - 1);
  const surveys = makeSurveys(shared, examples, temperatures, () => {
    charts.clear();
    w.ask();
  });
  w.reset.addEventListener("click", () => w.change(w.first));
  const speak = throttled(w.status, 600);
  /** @type {Survey | null} */
  let survey = null;
  /** @type {Weighed | null} */
  let weighed = null;
  let typed = "";

  /** @type {() => { survey: Survey, weighed: Weighed }} */
  function current() {
    const encoder = shared.encoders.find(({ kind }) => kind === w.get("kind")) ?? shared.encoders[0];
    const other = survey?.encoder !== encoder;
    if (!survey || other) survey = surveys.start(encoder);
    if (!weighed || other || typed !== w.get("sentence")) {
      typed = w.get("sentence");
      weighed = words.read(typed, encoder);
    }
    return { survey, weighed };
  }

  function draw() {
    const now = current();
    const { source, states, pooled, share } = now.weighed;
    const position = w.get("position");
    const says = showControls(position);
    softPool(states, now.survey.encoder.H, temperatures[position], pooled, share);
    words.show(share);
    const dispersion = now.survey.ready ? dispersionAt(now.survey, temperatures[position]) : null;
    const spoken = [`Temperature ${says}.`, ...charts.show(now.survey, dispersion, position)];
    if (dispersion) w.root.dataset.dispersion = STATISTICS.map(([key]) => dispersion[key]).join(" ");
    if (source.words.length) {
      const t = share.indexOf(Math.max(...share));
      const word = brief(["start", ...source.words, "end"][t]);
      spoken.push(`Counts most: \u201c${word}\u201d, ${(100 * share[t]).toFixed(0)} percent.`);
    }
    spoken.push(words.note.textContent ?? "");
    place(charts.svg, { "aria-label": `Three curves over the temperature. ${spoken.slice(0, 4).join(" ")}` });
    speak(spoken.join(" "));
  }
  const stop = w.start("dgm:temperature", draw, {
    sized: charts.node,
    resized(width) {
      charts.layout(width);
      w.ask();
    },
    ended: surveys.stop,
  });
  w.ask();
  return stop;
}

export default { render };
