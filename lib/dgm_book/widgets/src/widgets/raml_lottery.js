// The lottery: what chance, the critic and its temperature make of the sentences that follow one sentence.

import "../styles/information.css";
import { apart, formOf, pickOf, put, readoutList, sliderOf } from "../form.js";
import { element, number, rich } from "../frame.js";
import { lottery } from "../models/lottery.js";
import { defineWidget } from "../widget.js";

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
const CAPTION = "The sentences after the chosen one: how likely each is drawn, and what it weighs";

/** e^x in words, however large or small. @param {number} x */
function power(x) {
  if (Math.abs(x) < 6.9) return number(Math.exp(x), 2);
  const [digit, exponent] = (10 ** (((x / Math.LN10) % 1) + 1)).toExponential(0).split("e").map(Number);
  const digits = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079";
  const raised = [...String(Math.trunc(x / Math.LN10) - 1 + exponent)];
  return `${digit}\u00b710${raised.map((c) => (c === "-" ? "\u207b" : digits[Number(c)])).join("")}`;
}

/** @param {number} x */
const percent = (x) => (x > 0 && x < 0.001 ? "< 0.1\u2009%" : `${(100 * x).toFixed(1)}\u2009%`);

/** *a* is italic, and what stands behind ^ is raised. @param {string} text */
function formula(text) {
  const [base, raised] = text.split("^");
  return [...rich(base), ...(raised ? [element("sup", ...rich(raised))] : [])];
}

function newRow(/** @type {string} */ text, /** @type {number} */ k) {
  const cells = COLUMNS.map(([key]) => {
    const [bar, value] = [element("span.dgm-lot-bar"), element("span")];
    const track = element("span.dgm-lot-track", { "aria-hidden": "true" }, bar);
    return { bar, value, node: element(`td.dgm-lot-cell.dgm-lot-${key}`, { role: "cell" }, track, value) };
  });
  const sentence = element("span", text);
  const heads = [
    element("td", { role: "cell" }, String(k)),
    element("th", { scope: "row", role: "rowheader" }, sentence),
  ];
  return {
    node: element("tr", { role: "row" }, ...heads, ...cells.map(({ node }) => node)),
    /** @param {number[]} parts @param {string[]} texts @param {number} weight @param {boolean} most */
    show(parts, texts, weight, most) {
      for (const [c, { bar, value }] of cells.entries()) {
        bar.style.setProperty("--part", parts[c].toFixed(4));
        put(value, texts[c]);
      }
      sentence.style.setProperty("--weight", weight.toFixed(3));
      this.node.classList.toggle("dgm-lot-most", most);
    },
  };
}

/** The table, whose rows change with the sentence before them. @param {Widget} w */
function makeTable(w) {
  const anchor = element("p.dgm-lot-anchor");
  const kinds = ["", "", ...COLUMNS.map(([key]) => `.dgm-lot-cell.dgm-lot-${key}`)];
  const names = [rich("*k*"), ["what may follow"], ...COLUMNS.map(([, words]) => formula(words))];
  const columns = names.map((parts, c) =>
    element(`th${kinds[c]}`, { scope: "col", role: "columnheader" }, ...parts),
  );
  // The roles hold where a narrow page lays the rows out as grids.
  const head = element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...columns));
  const body = element("tbody", { role: "rowgroup" });
  const caption = element("caption.dgm-status", CAPTION);
  w.picture.append(anchor, element("table", { role: "table" }, caption, head, body));
  let rows = [newRow("", 0)];
  return {
    fill(/** @type {TextSet} */ { texts }, /** @type {number} */ place, /** @type {number} */ count) {
      const says = `Sentence ${place + 1} of ${texts.length}, and what training may set behind it:`;
      anchor.replaceChildren(element("b", says), texts[place]);
      rows = Array.from({ length: count }, (_, k) => newRow(texts[place + 1 + k], k));
      body.replaceChildren(...rows.map(({ node }) => node));
    },
    show(/** @type {Lottery} */ { drawn, gain, weight, share }, /** @type {number} */ top) {
      const longest = Math.max(...drawn, ...weight, ...share);
      const best = Math.max(...gain);
      for (const [k, row] of rows.entries()) {
        const parts = [drawn[k] / longest, Math.exp(gain[k] - best), weight[k] / longest, share[k] / longest];
        const texts = [percent(drawn[k]), `\u00d7 ${power(gain[k])}`, percent(weight[k]), percent(share[k])];
        row.show(parts, texts, weight[k], k === top);
      }
    },
  };
}

function makeControls(/** @type {Widget} */ w, /** @type {TextSet[]} */ sets) {
  const form = formOf(w);
  const names = sets.map(({ name, label }) => [name, label]);
  const critics = [...Object.keys(sets[0].scores).map((name) => [name, name]), ["", "none, T = 0"]];
  const [set, anchor, critic] = [
    pickOf(form, "label", "set", "Text", names, { set: (v) => w.change({ set: v, anchor: 0 }) }),
    pickOf(form, "label", "anchor", "Sentence", []),
    pickOf(form, "label", "critic", "Critic", critics),
  ].map(apart);
  const decades = { min: -PER_DECADE, max: PER_DECADE, step: 1 };
  w.controls.append(
    sliderOf(form, "p", "Chance of each step, *p*", { min: 0.05, max: 0.9, step: 0.01 }),
    sliderOf(form, "temperature", "Temperature, *\u03c4*", decades, {
      get: () => Math.round(PER_DECADE * Math.log10(w.get("temperature"))),
      set: (v) => w.change({ temperature: +(10 ** (v / PER_DECADE)).toPrecision(6) }),
      text: () => number(w.get("temperature"), 3),
    }),
    element("div.dgm-lot-picks", ...(sets.length > 1 ? set : []), ...anchor, ...critic),
    element("div.dgm-row", form.reset()),
  );
  const list = (/** @type {TextSet} */ { anchors, texts }) => {
    const options = anchors.map((place, value) => {
      const shown = texts[place].length > 60 ? `${texts[place].slice(0, 60)}\u2026` : texts[place];
      return element("option", { value }, `${place + 1}: ${shown}`);
    });
    anchor[1].replaceChildren(...options);
  };
  return { list, show: form.show };
}

export default defineWidget(
  {
    measure: "dgm:lottery",
    names: ["set", "anchor", "critic", "p", "temperature"],
    hint: "find a *p* and a *\u03c4* at which a distant sentence wins, and see what it is on average.",
    kind: "dgm-info dgm-lot",
  },
  (w) => {
    /** @type {TextSet[]} */
    const sets = w.get("sets");
    const table = makeTable(w);
    const controls = makeControls(w, sets);
    const terms = ["Effective sentences", "Heaviest in a batch", "Most on average", "Drawn further on"];
    const fill = readoutList(w.side, terms);
    const bar = element("span");
    const gauge = element("span.dgm-lot-gauge", { "aria-hidden": "true" }, bar);
    const cancel = element("p.dgm-note", ...formula(CANCEL), ...rich(", whatever *p*."));
    w.side.append(cancel, element("p.dgm-note", ...rich(AGAINST)));
    /** @type {{ set?: TextSet, anchor?: number }} */
    const shown = {};

    return () => {
      const set = sets.find(({ name }) => name === w.get("set")) ?? sets[0];
      if (w.get("anchor") >= set.anchors.length) w.set("anchor", 0);
      const [anchor, p, heat, critic] = ["anchor", "p", "temperature", "critic"].map((name) => w.get(name));
      const scores = Object.values(set.scores)[0][anchor];
      if (set !== shown.set) controls.list(set);
      if (set !== shown.set || anchor !== shown.anchor) table.fill(set, set.anchors[anchor], scores.length);
      Object.assign(shown, { set, anchor });
      const result = lottery(critic ? set.scores[critic][anchor] : scores.map(() => 0), p, heat);
      const { effective, weight, share } = result;
      controls.show();
      const [top, usual] = [weight, share].map((values) => values.indexOf(Math.max(...values)));
      table.show(result, top);
      fill(
        [`${effective.toFixed(2)} of ${scores.length}`, gauge],
        rich(`*k* = ${top}, ${percent(weight[top])}`),
        rich(`*k* = ${usual}, ${percent(share[usual])}`),
        percent(result.beyond),
      );
      bar.style.setProperty("--part", (effective / scores.length).toFixed(4));
      w.root.dataset.weights = JSON.stringify(weight);
      w.root.dataset.shares = JSON.stringify(share);
      const heaviest = `Heaviest in a batch: k = ${top}, ${percent(weight[top])}.`;
      const spread = `${effective.toFixed(1)} effective sentences of ${scores.length}.`;
      w.speak(`p ${p.toFixed(2)}, temperature ${number(heat, 3)}. ${heaviest} ${spread}`);
    };
  },
);
