// The lottery: what chance, the critic and its temperature make of the sentences that follow one sentence.

import "../styles/information.css";
import { labelledSlider, selectOf } from "../controls.js";
import { element, number, openWidget, readout, rich, throttled } from "../frame.js";
import { lottery } from "../models/lottery.js";

const PER_DECADE = 40; // steps of the temperature's slider
const COLUMNS = [
  ["drawn", "drawn, *P*(*k*)"],
  ["gain", "critic, *e*^\u0394*T*/*\u03c4*"],
  ["weight", "weight, *w*_*k*_"],
  ["share", "on average"],
];
const CANCEL =
  "A near sentence is drawn more often, by *P*, and weighs less, by 1 / *P*: for one anchor the two " +
  "cancel in a large batch, and its share on average goes with *e*^*T*/*\u03c4*";
const AGAINST =
  "\u0394*T* is the score minus that of the sentence that really follows, *k* = 0. Bars of the three " +
  "shares have one scale.";

/**
 * @typedef {{ name: string, label: string, texts: string[], anchors: number[], scores: Record<string,
 *   number[][]> }} TextSet
 */
/** @typedef {{ node: Element, sentence: HTMLElement, cells: { bar: HTMLElement, value: Element }[] }} Row */

/** e^x in words, however large or small. @type {(x: number) => string} */
function power(x) {
  if (Math.abs(x) < 6.9) return number(Math.exp(x), 2);
  const [digit, exponent] = (10 ** (((x / Math.LN10) % 1) + 1)).toExponential(0).split("e").map(Number);
  const digits = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";
  const raised = [...String(Math.trunc(x / Math.LN10) - 1 + exponent)];
  return `${digit}\u00b710${raised.map((c) => (c === "-" ? "\u207b" : digits[Number(c)])).join("")}`;
}

/** @type {(x: number) => string} */
const percent = (x) => (x > 0 && x < 0.001 ? "< 0.1\u2009%" : `${(100 * x).toFixed(1)}\u2009%`);
/** @type {(text: string, most?: number) => string} */
const shortened = (text, most = 60) => (text.length > most ? `${text.slice(0, most)}\u2026` : text);

/** *a* is italic, and what stands behind ^ is raised. @type {(text: string) => Children} */
function formula(text) {
  const [base, raised] = text.split("^");
  return [...rich(base), ...(raised ? [element("sup", ...rich(raised))] : [])];
}

/** @type {(text: string, k: number) => Row} */
function newRow(text, k) {
  const cells = COLUMNS.map(([key]) => {
    const [bar, value] = [element("span.dgm-lot-bar"), element("span")];
    const track = element("span.dgm-lot-track", { "aria-hidden": "true" }, bar);
    const node = element("td", { role: "cell", class: `dgm-lot-cell dgm-lot-${key}` }, track, value);
    return { node, bar, value };
  });
  const sentence = element("span", text);
  const head = element("th", { scope: "row", role: "rowheader" }, sentence);
  const place = element("td", { role: "cell" }, String(k));
  return { node: element("tr", { role: "row" }, place, head, ...cells.map((c) => c.node)), sentence, cells };
}

/** @type {(w: Widget) => { anchor: Element, body: Element }} */
function makeTable(w) {
  const anchor = element("p.dgm-lot-anchor");
  const column = (/** @type {Children} */ parts, kind = "") =>
    element("th", { scope: "col", role: "columnheader", class: kind }, ...parts);
  const heads = COLUMNS.map(([key, words]) => column(formula(words), `dgm-lot-cell dgm-lot-${key}`));
  const body = element("tbody", { role: "rowgroup" });
  // The roles hold where a narrow page lays the rows out as grids.
  const row = element("tr", { role: "row" }, column(rich("*k*")), column(["what may follow"]), ...heads);
  const says = "The sentences after the chosen one: how likely each is drawn, and what it weighs";
  const head = element("thead", { role: "rowgroup" }, row);
  const table = element("table", { role: "table" }, element("caption.dgm-status", says), head, body);
  w.picture.append(anchor, table);
  return { anchor, body };
}

/** @type {(w: Widget, sets: TextSet[]) => { list(now: TextSet): void, show(now: TextSet): void }} */
function makeControls(w, sets) {
  const [percentages, decades] = [
    { min: 0.05, max: 0.9, step: 0.01 },
    { min: -PER_DECADE, max: PER_DECADE, step: 1 },
  ];
  const p = labelledSlider(`${w.id}-p`, "Chance of each step, *p*", percentages, (v) => w.change({ p: v }));
  const tau = labelledSlider(`${w.id}-tau`, "Temperature, *\u03c4*", decades, (v) =>
    w.change({ temperature: +(10 ** (v / PER_DECADE)).toPrecision(6) }),
  );
  const picks = element("div.dgm-lot-picks");
  /**
   * @type {(name: string, words: string, options: string[][], choose: (v: string) => void) =>
   *   HTMLSelectElement}
   */
  const select = (name, words, options, choose) => {
    const input = selectOf(`${w.id}-${name}`, options, choose);
    if (options.length !== 1) picks.append(element("label", { for: input.id }, words), input);
    return input;
  };
  const names = sets.map(({ name, label }) => [name, label]);
  const set = select("set", "Text", names, (name) => w.change({ set: name, anchor: 0 }));
  const which = select("anchor", "Sentence", [], (v) => w.change({ anchor: Number(v) }));
  const critics = [...Object.keys(sets[0].scores).map((name) => [name, name]), ["", "none, T = 0"]];
  const critic = select("critic", "Critic", critics, (name) => w.change({ critic: name }));
  w.controls.append(p.node, tau.node, picks, element("div.dgm-row", w.reset));
  w.reset.addEventListener("click", () => w.change(w.first));

  /** @type {(now: TextSet) => void} */
  const list = ({ anchors, texts }) => {
    const options = anchors.map((place, i) => {
      return element("option", { value: i }, `${place + 1}: ${shortened(texts[place])}`);
    });
    which.replaceChildren(...options);
  };
  /** @type {(now: TextSet) => void} */
  const show = ({ name }) => {
    p.show(w.get("p"), w.get("p").toFixed(2));
    const heat = w.get("temperature");
    tau.show(Math.round(PER_DECADE * Math.log10(heat)), number(heat, 3));
    [set.value, which.value, critic.value] = [name, w.get("anchor"), w.get("critic")];
  };
  return { list, show };
}

/** @type {(w: Widget) => (result: Lottery, K: number, top: number, usual: number) => void} */
function makeReadouts(w) {
  const list = element("dl");
  const terms = ["Effective sentences", "Heaviest in a batch", "Most on average", "Drawn further on"];
  const [effective, heaviest, average, beyond] = terms.map((term) => readout(list, term));
  const bar = element("span");
  const gauge = element("span.dgm-lot-gauge", { "aria-hidden": "true" }, bar);
  const cancel = element("p.dgm-note", ...formula(CANCEL), ...rich(", whatever *p*."));
  w.side.append(list, cancel, element("p.dgm-note", ...rich(AGAINST)));
  return (result, K, top, usual) => {
    effective.replaceChildren(`${result.effective.toFixed(2)} of ${K}`, gauge);
    bar.style.setProperty("--part", (result.effective / K).toFixed(4));
    heaviest.replaceChildren(...rich(`*k* = ${top}, ${percent(result.weight[top])}`));
    average.replaceChildren(...rich(`*k* = ${usual}, ${percent(result.share[usual])}`));
    beyond.textContent = percent(result.beyond);
  };
}

/** @type {(rows: Row[], result: Lottery, top: number) => void} */
function showRows(rows, { drawn, gain, weight, share }, top) {
  const longest = Math.max(...drawn, ...weight, ...share);
  const best = Math.max(...gain);
  for (const [k, { node, sentence, cells }] of rows.entries()) {
    const parts = [drawn[k] / longest, Math.exp(gain[k] - best), weight[k] / longest, share[k] / longest];
    const texts = [percent(drawn[k]), `\u00d7 ${power(gain[k])}`, percent(weight[k]), percent(share[k])];
    for (const [c, { bar, value }] of cells.entries()) {
      bar.style.setProperty("--part", parts[c].toFixed(4));
      if (value.textContent !== texts[c]) value.textContent = texts[c];
    }
    sentence.style.setProperty("--weight", weight[k].toFixed(3));
    node.classList.toggle("dgm-lot-most", k === top);
  }
}

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["set", "anchor", "critic", "p", "temperature"],
    hint: "find a *p* and a *\u03c4* at which a distant sentence wins, and see what it is on average.",
    kind: "dgm-info dgm-lot",
  });
  /** @type {TextSet[]} */
  const sets = w.get("sets");
  const { anchor, body } = makeTable(w);
  const controls = makeControls(w, sets);
  const showReadouts = makeReadouts(w);
  const speak = throttled(w.status, 600);
  /** @type {TextSet | null} */
  let listed = null;
  let shown = -1;
  /** @type {Row[]} */
  let rows = [];

  /** Rows anew where the sentence is another one. @type {(now: TextSet) => void} */
  function fill(now) {
    if (now === listed && w.get("anchor") === shown) return;
    if (now !== listed) controls.list(now);
    [listed, shown] = [now, w.get("anchor")];
    const place = now.anchors[shown];
    const K = Object.values(now.scores)[0][shown].length;
    const says = `Sentence ${place + 1} of ${now.texts.length}, and what training may set behind it:`;
    anchor.replaceChildren(element("b", says), now.texts[place]);
    rows = Array.from({ length: K }, (_, k) => newRow(now.texts[place + 1 + k], k));
    body.replaceChildren(...rows.map(({ node }) => node));
  }

  function draw() {
    const now = sets.find(({ name }) => name === w.get("set")) ?? sets[0];
    if (w.get("anchor") >= now.anchors.length) props.model.set("anchor", 0);
    fill(now);
    const [p, heat, critic] = [w.get("p"), w.get("temperature"), w.get("critic")];
    const result = lottery(critic ? now.scores[critic][shown] : rows.map(() => 0), p, heat);
    controls.show(now);
    const [top, usual] = [result.weight, result.share].map((values) => values.indexOf(Math.max(...values)));
    showRows(rows, result, top);
    showReadouts(result, rows.length, top, usual);
    w.root.dataset.weights = JSON.stringify(result.weight);
    w.root.dataset.shares = JSON.stringify(result.share);
    const heaviest = `Heaviest in a batch: k = ${top}, ${percent(result.weight[top])}.`;
    const effective = `${result.effective.toFixed(1)} effective sentences of ${rows.length}.`;
    speak(`p ${p.toFixed(2)}, temperature ${number(heat, 3)}. ${heaviest} ${effective}`);
  }
  const stop = w.start("dgm:lottery", draw);
  w.ask();
  return stop;
}

export default { render };
