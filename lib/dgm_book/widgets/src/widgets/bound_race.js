// The bound race: batches of correlated Gaussian pairs, and what each bound makes of them with the best
// critic.

import "../styles/information.css";
import { linear } from "../charts.js";
import { decimals, pushButton } from "../controls.js";
import { formOf, sliderOf, tableBy } from "../form.js";
import { element, MARKS, shape, ticks } from "../frame.js";
import { last } from "../models/arrays.js";
import { boundsOf, criticScores, exactInformation, MOST, normalsOf } from "../models/bounds.js";
import { meanWithError } from "../models/shares.js";
import { axisName, bottomAxis, place, resize, short, words } from "../plot.js";
import { defineWidget } from "../widget.js";

const BATCHES = 24;
const SIZES = [2, 4, 8, 16, 32, 64, 128, 256];
const BUDGET_MS = 2; // of one frame, after which no further batch is begun
const BOUNDS = [
  { name: "Donsker\u2013Varadhan", ceiling: () => Infinity },
  { name: "NWJ", ceiling: () => Infinity },
  { name: "InfoNCE", ceiling: Math.log, text: (/** @type {number} */ n) => `log ${n}` },
  { name: "Classifier", ceiling: () => Math.LN2, text: () => "log 2" },
];
const TOPS = [1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
const [HEAD, PITCH, BAND] = [34, 54, 30];
const BOTTOM = HEAD + BOUNDS.length * PITCH - 8;
const NAMED = { class: "dgm-strong dgm-halo" };
const TOO_HIGH =
  "Donsker\u2013Varadhan comes out too high on average: the logarithm of one batch's mean is too low. It " +
  "is a bound for large samples.";
const TOO_FEW =
  "NWJ is right on average, but what brings its mean down are rare pairs, and these 24 batches hold too " +
  "few of them.";

/**
 * What was estimated so far: the setting, its exact value, each batch's four estimates, and their means.
 * @typedef {{ at: Setting, exact: number, batches: number[][], means: MeanError[] }} Estimates
 */

/** @typedef {{ shut?: Element, front: (Element | undefined)[] }} Row */
/** @typedef {(all: Estimates, r: number, width: number, ends: number[], px: Scale1D) => Row} MakeRow */

/** As many decimals as the error allows, at most three. @param {MeanError} value @param {number} n */
function inWords({ mean, error }, n) {
  if (n < 2) return decimals(mean, 2);
  const places = Math.min(3, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${decimals(mean, places)} \u00b1 ${decimals(error, places)}`;
}

/** What has to be said of these means, the most striking first. @param {Estimates} estimates */
function verdict({ at: { n }, exact, means }) {
  const [aboveDV, aboveNWJ] = means.map(({ mean, error }) => mean - exact > 3 * error && mean - exact > 0.02);
  const ceiling =
    `The exact value is past InfoNCE's ceiling: with ${n} pairs a batch no critic, however good, can show ` +
    "it.";
  const remarks = [exact > Math.log(n) && ceiling, aboveDV && TOO_HIGH, aboveNWJ && TOO_FEW].filter(Boolean);
  if (remarks.length) return remarks.join(" ");
  if (!(exact > 0)) return "Nothing is shared: all four say so.";
  return "All four have the best critic there is: what is left is each bound's own slack and scatter.";
}

/** A bound's dots, its mean and its ceiling between two ends. @type {MakeRow} */
function rowOf({ at, batches, means }, r, width, [low, high], px) {
  const { name, ceiling, text } = BOUNDS[r];
  const top = HEAD + r * PITCH;
  const middle = top + 10 + BAND / 2;
  let [dots, out, above, below] = ["", "", 0, 0];
  for (const [b, values] of batches.entries()) {
    const v = values[r];
    const y = middle + (BAND - 8) * (((b * 0.618034) % 1) - 0.5);
    if (v > high) above += 1;
    else if (v < low) below += 1;
    if (v >= low && v <= high) dots += MARKS.circle(px(v), y, 3);
    else out += v > high ? `M${width - 2} ${y}l-6 -3.5v7Z` : `M1 ${y}l6 -3.5v7Z`;
  }
  const beyond = [below && `${below} further left`, above && `${above} further right`].filter(Boolean);
  const { mean } = means[r];
  const bar = `M${px(mean)} ${middle - BAND / 2 - 1}v${BAND + 2}`;
  const end = px(ceiling(at.n));
  const [x, anchor] = end > width - 90 ? [end + 3, "end"] : [end - 2, "start"];
  const half = BAND / 2;
  return {
    shut: text && shape("path.dgm-info-shut", { d: `M${end} ${middle - half}H${width - 6}v${BAND}H${end}Z` }),
    front: [
      words(0, top + 4, name, { ...NAMED, "text-anchor": "start" }),
      words(width - 4, top + 4, beyond.join(", "), { "text-anchor": "end" }),
      text && shape("path.dgm-info-edge", { d: `M${end} ${middle - half - 3}v${BAND + 6}` }),
      text && words(x, top + 4, `ceiling ${text(at.n)}`, { class: "dgm-halo", "text-anchor": anchor }),
      shape("path.dgm-info-dots", { d: dots }),
      shape("path.dgm-info-out", { d: out }),
      shape("path.dgm-info-mean", { d: mean < low || mean > high ? "" : bar }),
    ],
  };
}

function chartOf(/** @type {Estimates} */ estimates, /** @type {number} */ width) {
  const { at, exact } = estimates;
  // In steps, so that the axis stands still while little changes.
  const least = Math.max(1.05 * Math.log(at.n), 1.6 * exact);
  const top = TOPS.find((value) => value >= least) ?? last(TOPS);
  const ends = [-top / 4, top];
  const px = linear(ends, [4, width - 6]);
  const x = px(exact);
  const rows = BOUNDS.map((_, r) => rowOf(estimates, r, width, ends, px));
  return [
    ...bottomAxis(ticks(ends[0], top, width / 62), {
      px,
      y: BOTTOM + 1,
      grid: BOTTOM - HEAD + 9,
      text: (v) => short(v, 5),
    }),
    shape("path.dgm-axis", { d: `M4 ${BOTTOM}H${width - 6}` }),
    axisName(width / 2, BOTTOM + 34, "mutual information, nats"),
    ...rows.map(({ shut }) => shut),
    shape("path.dgm-info-exact", { d: `M${x} ${HEAD - 12}V${BOTTOM}` }),
    ...rows.flatMap(({ front }) => front),
    words(Math.min(width - 40, Math.max(40, x)), HEAD - 18, `exact ${exact.toFixed(3)}`, NAMED),
  ].filter((part) => part !== undefined);
}

/** The work, spread over frames; a new setting drops what was under way. @param {Widget} w */
function makeEstimator(w) {
  let key = "";
  /** @type {number[][]} */
  let batches = [];
  let drawn = { seed: -1, normals: /** @type {Float64Array[]} */ ([]) };
  const scores = new Float64Array(MOST.pairs ** 2);
  return () => {
    const at = { rho: w.get("correlation"), d: w.get("dimension"), n: w.get("batch") };
    const seed = w.get("seed");
    const now = [at.rho, at.d, at.n, seed].join();
    if (now !== key) [key, batches] = [now, []];
    if (drawn.seed !== seed) drawn = { seed, normals: [] };
    const start = performance.now();
    while (batches.length < BATCHES && (!batches.length || performance.now() - start < BUDGET_MS)) {
      const b = batches.length;
      drawn.normals[b] ??= normalsOf(BATCHES * seed + b);
      criticScores(drawn.normals[b], at, scores);
      batches.push(boundsOf(scores, at.n));
    }
    const means = BOUNDS.map((_, r) => meanWithError(batches.map((values) => values[r])));
    return { at, exact: exactInformation(at), batches, means };
  };
}

export default defineWidget(
  {
    measure: "dgm:bounds",
    names: ["correlation", "dimension", "batch", "seed"],
    hint: "raise *d* until InfoNCE hits its ceiling, then raise *N*.",
    kind: "dgm-info dgm-bounds",
  },
  (w) => {
    const svg = shape("svg", { role: "img" });
    const [caption, note] = [element("p.dgm-note"), element("p.dgm-note")];
    w.picture.append(svg, caption);
    const names = ["Exact value", ...BOUNDS.map(({ name }) => name)];
    const table = tableBy(
      "",
      ["Nats", "mean \u00b1 s.e.", "ceiling"],
      names.map((name) => [name]),
    );
    w.side.append(table.node, note);
    const form = formOf(w);
    const redraw = pushButton("Draw again", () => w.change({ seed: (w.get("seed") + 1) % 10000 }));
    const sizes = { min: 0, max: SIZES.length - 1, step: 1 };
    w.controls.append(
      sliderOf(form, "correlation", "Correlation, *\u03c1*", { min: 0, max: 0.99, step: 0.01 }),
      sliderOf(form, "dimension", "Dimensions, *d*", { min: 1, max: MOST.dimensions, step: 1 }),
      sliderOf(form, "batch", "Pairs in a batch, *N*", sizes, {
        get: () => SIZES.indexOf(w.get("batch")),
        set: (v) => w.change({ batch: SIZES[v] }),
        text: () => String(w.get("batch")),
      }),
      element("div.dgm-row.dgm-info-buttons", redraw, form.reset()),
    );
    const estimate = makeEstimator(w);

    return (width) => {
      const estimates = estimate();
      const { at, exact, batches, means } = estimates;
      form.show();
      if (width) svg.replaceChildren(...chartOf(estimates, width));
      resize(svg, width, BOTTOM + 40);
      table.fill(0, exact.toFixed(3), "none");
      for (const [r, { ceiling }] of BOUNDS.entries()) {
        const limit = ceiling(at.n);
        table.fill(r + 1, inWords(means[r], batches.length), limit < Infinity ? limit.toFixed(3) : "none");
      }
      const whole = batches.length === BATCHES;
      const count = whole ? BATCHES : `the first ${batches.length} of ${BATCHES}`;
      caption.textContent =
        `A dot is one batch's estimate, a bar the mean of ${count}; no estimate can come to lie in a ` +
        "shaded part. The classifier's is the Jensen\u2013Shannon divergence, a bound too.";
      if (!whole) return true;
      note.textContent = verdict(estimates);
      w.root.dataset.estimates = JSON.stringify(batches);
      const spoken = BOUNDS.map(({ name }, r) => `${name} ${means[r].mean.toFixed(2)}`).join(", ");
      const says = `Estimates of ${BATCHES} batches for each of four bounds against the exact value`;
      place(svg, { "aria-label": `${says} ${exact.toFixed(2)} nats; means: ${spoken}` });
      w.speak(`Exact value ${exact.toFixed(2)} nats. Means: ${spoken}. ${note.textContent}`);
      return false;
    };
  },
);
