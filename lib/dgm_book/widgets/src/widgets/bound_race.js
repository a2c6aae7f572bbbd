// The bound race: batches of correlated Gaussian pairs, and what each bound makes of them with the best
// critic.

import "../styles/information.css";
import { decimals, labelledSlider, pushButton, tableOf, tableRow } from "../controls.js";
import { element, MARKS, openWidget, shape, throttled, ticks } from "../frame.js";
import { last } from "../models/arrays.js";
import { boundsOf, criticScores, exactInformation, MOST, normalsOf } from "../models/bounds.js";
import { axisName, bottomAxis, place, resize, short } from "../plot.js";

const BATCHES = 24;
const SIZES = [2, 4, 8, 16, 32, 64, 128, 256];
const BUDGET_MS = 2; // of one frame, after which no further batch is begun
/** @type {{ key: string, name: string, ceiling: (n: number) => number, text?: (n: number) => string }[]} */
const BOUNDS = [
  { key: "donsker_varadhan", name: "Donsker\u2013Varadhan", ceiling: () => Infinity },
  { key: "nwj", name: "NWJ", ceiling: () => Infinity },
  { key: "info_nce", name: "InfoNCE", ceiling: (n) => Math.log(n), text: (n) => `log ${n}` },
  { key: "jensen_shannon", name: "Classifier", ceiling: () => Math.LN2, text: () => "log 2" },
];
const TOPS = [1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
const [HEAD, PITCH, BAND] = [34, 54, 30];
const BOTTOM = HEAD + BOUNDS.length * PITCH - 8;

/** @typedef {{ mean: number, error: number }} Mean */
/** What was estimated so far: the setting, its exact value, each batch's four estimates, and their means. */
/** @typedef {{ at: Setting, exact: number, found: number[][], means: Mean[] }} Race */

/** Mean and standard error. @type {(values: number[]) => Mean} */
function meanOf(values) {
  const n = values.length;
  const mean = values.reduce((sum, v) => sum + v, 0) / n;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / Math.max(1, n - 1);
  return { mean, error: Math.sqrt(variance / n) };
}

/** As many decimals as the error allows, at most four. @type {(value: Mean) => string} */
function inWords({ mean, error }) {
  const places = Math.min(4, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${decimals(mean, places)} \u00b1 ${decimals(error, places)}`;
}

/** What has to be said of these means, the most striking first. @type {(race: Race) => string} */
function verdict({ at: { n }, exact, means }) {
  const above = (/** @type {Mean} */ { mean, error }) => mean - exact > 3 * error && mean - exact > 0.02;
  const [donskerVaradhan, nwj] = means;
  const remarks = [
    exact > Math.log(n) &&
      `The exact value is past InfoNCE's ceiling: with ${n} pairs a batch no critic, however good, can ` +
        `show it.`,
    above(donskerVaradhan) &&
      "Donsker\u2013Varadhan comes out too high on average: the logarithm of one batch's mean is too " +
        "low. It is a bound for large samples.",
    above(nwj) &&
      "NWJ is right on average, but what brings its mean down are rare pairs, and these 24 batches hold " +
        "too few of them.",
  ].filter(Boolean);
  if (remarks.length) return remarks.join(" ");
  if (!(exact > 0)) return "Nothing is shared: all four say so.";
  return "All four have the best critic there is: what is left is each bound's own slack and scatter.";
}

function makeRow() {
  return {
    label: shape("text.dgm-strong.dgm-halo", { x: 0 }),
    beyond: shape("text", { "text-anchor": "end" }),
    shut: shape("path.dgm-info-shut"),
    edge: shape("path.dgm-info-edge"),
    limit: shape("text.dgm-halo"),
    dots: shape("path.dgm-info-dots"),
    out: shape("path.dgm-info-out"),
    mean: shape("path.dgm-info-mean"),
  };
}

/** @type {(w: Widget) => Picture} */
function makePicture(w) {
  const svg = shape("svg", { role: "img" });
  const grid = shape("g");
  const rows = BOUNDS.map(makeRow);
  for (const [r, { label }] of rows.entries()) label.textContent = BOUNDS[r].name;
  const truth = shape("path.dgm-info-exact");
  const truthName = shape("text.dgm-strong.dgm-halo", { "text-anchor": "middle" });
  const front = rows.flatMap(({ shut, ...rest }) => Object.values(rest));
  svg.append(grid, ...rows.map(({ shut }) => shut), truth, ...front, truthName);
  w.picture.append(svg);
  let [width, low, high] = [0, 0, 0];
  const px = (/** @type {number} */ v) => 4 + ((v - low) / (high - low)) * (width - 10);

  /** In steps, so that the axis stands still while little changes. @type {(top: number) => void} */
  function layout(top) {
    [low, high] = [-top / 4, top];
    const text = (/** @type {number} */ v) => short(v, 5);
    const line = shape("path.dgm-axis", { d: `M4 ${BOTTOM}H${width - 6}` });
    const axis = bottomAxis(ticks(low, high, width / 62), {
      px,
      y: BOTTOM + 1,
      grid: BOTTOM - HEAD + 9,
      text,
    });
    grid.replaceChildren(...axis, line, axisName(width / 2, BOTTOM + 34, "mutual information, nats"));
    resize(svg, width, BOTTOM + 40);
  }

  /** @type {(race: Race, r: number) => void} */
  function paintRow({ at, found, means }, r) {
    const row = rows[r];
    const top = HEAD + r * PITCH;
    const middle = top + 10 + BAND / 2;
    let [dots, out, above, below] = ["", "", 0, 0];
    for (const [b, values] of found.entries()) {
      const v = values[r];
      const y = middle + (BAND - 8) * (((b * 0.618034) % 1) - 0.5);
      if (v > high) above += 1;
      else if (v < low) below += 1;
      if (v >= low && v <= high) dots += MARKS.circle(px(v), y, 3);
      else out += v > high ? `M${width - 2} ${y}l-6 -3.5v7Z` : `M1 ${y}l6 -3.5v7Z`;
    }
    place(row.label, { y: top + 4 });
    place(row.dots, { d: dots });
    place(row.out, { d: out });
    const beyond = [below && `${below} further left`, above && `${above} further right`];
    row.beyond.textContent = beyond.filter(Boolean).join(", ");
    place(row.beyond, { x: width - 4, y: top + 4 });
    const { mean } = means[r];
    place(row.mean, {
      d: mean < low || mean > high ? "" : `M${px(mean)} ${middle - BAND / 2 - 1}v${BAND + 2}`,
    });
    const { ceiling, text } = BOUNDS[r];
    if (!text) return;
    const end = px(ceiling(at.n));
    place(row.shut, { d: `M${end} ${middle - BAND / 2}H${width - 6}v${BAND}H${end}Z` });
    place(row.edge, { d: `M${end} ${middle - BAND / 2 - 3}v${BAND + 6}` });
    row.limit.textContent = `ceiling ${text(at.n)}`;
    const right = end > width - 90;
    place(row.limit, { "text-anchor": right ? "end" : "start", x: right ? end + 3 : end - 2, y: top + 4 });
  }

  /** @type {(race: Race) => void} */
  function paint(race) {
    if (!width) return;
    const { at, exact } = race;
    const least = Math.max(1.05 * Math.log(at.n), 1.6 * exact);
    const top = TOPS.find((value) => value >= least) ?? last(TOPS);
    if (high !== top) layout(top);
    const x = px(exact);
    place(truth, { d: `M${x} ${HEAD - 12}V${BOTTOM}` });
    truthName.textContent = `exact ${exact.toFixed(3)}`;
    place(truthName, { x: Math.min(width - 40, Math.max(40, x)), y: HEAD - 18 });
    for (const r of rows.keys()) paintRow(race, r);
  }
  /** @type {(w: number) => void} */
  const resized = (wide) => {
    [width, high] = [wide, 0];
  };
  return { svg, paint, resized };
}
/** @typedef {{ svg: Element, paint(race: Race): void, resized(width: number): void }} Picture */

/** @type {(w: Widget) => (at: Setting) => void} */
function makeControls(w) {
  /** @type {(name: string, words: string, range: Attributes, read?: (v: number) => number) => Slider} */
  const slider = (name, words, range, read = (v) => v) =>
    labelledSlider(`${w.id}-${name}`, words, range, (v) => w.change({ [name]: read(v) }));
  const rho = slider("correlation", "Correlation, *\u03c1*", { min: 0, max: 0.99, step: 0.01 });
  const d = slider("dimension", "Dimensions, *d*", { min: 1, max: MOST.dimensions, step: 1 });
  const sizes = { min: 0, max: SIZES.length - 1, step: 1 };
  const n = slider("batch", "Pairs in a batch, *N*", sizes, (v) => SIZES[v]);
  const again = pushButton("Draw again", () => w.change({ seed: (w.get("seed") + 1) % 10000 }));
  w.controls.append(rho.node, d.node, n.node, element("div.dgm-row.dgm-info-buttons", again, w.reset));
  w.reset.addEventListener("click", () => w.change(w.first));
  return (at) => {
    rho.show(at.rho, at.rho.toFixed(2));
    d.show(at.d, String(at.d));
    n.show(SIZES.indexOf(at.n), String(at.n));
  };
}

/** @type {(w: Widget) => { show(race: Race): void, note: Element }} */
function makeReadouts(w) {
  const lines = ["Exact value", ...BOUNDS.map(({ name }) => name)].map((name) => {
    const cells = [element("td"), element("td")];
    return { cells, node: tableRow([name], cells) };
  });
  const note = element("p.dgm-note");
  const heads = ["Nats", "mean \u00b1 s.e.", "ceiling"];
  const rows = lines.map(({ node }) => node);
  w.side.append(tableOf("", heads, rows), note);
  /** @type {(race: Race) => void} */
  const show = ({ at, exact, means }) => {
    const limits = [Infinity, ...BOUNDS.map(({ ceiling }) => ceiling(at.n))];
    for (const [r, { cells }] of lines.entries()) {
      cells[0].textContent = r ? inWords(means[r - 1]) : exact.toFixed(3);
      cells[1].textContent = limits[r] < Infinity ? limits[r].toFixed(3) : "none";
    }
  };
  return { show, note };
}

// The work, spread over frames; a new setting drops what was under way.
/** @type {(w: Widget) => () => Race} */
function makeRace(w) {
  let key = "";
  /** @type {number[][]} */
  let found = [];
  let drawn = { seed: -1, batches: /** @type {Float64Array[]} */ ([]) };
  const scores = new Float64Array(MOST.pairs ** 2);
  return () => {
    const at = { rho: w.get("correlation"), d: w.get("dimension"), n: w.get("batch") };
    const seed = w.get("seed");
    const now = [at.rho, at.d, at.n, seed].join();
    if (now !== key) [key, found] = [now, []];
    if (drawn.seed !== seed) drawn = { seed, batches: [] };
    const start = performance.now();
    while (found.length < BATCHES && (!found.length || performance.now() - start < BUDGET_MS)) {
      const b = found.length;
      drawn.batches[b] ??= normalsOf(BATCHES * seed + b);
      criticScores(drawn.batches[b], at, scores);
      found.push(boundsOf(scores, at.n));
    }
    const means = BOUNDS.map((_, r) => meanOf(found.map((values) => values[r])));
    return { at, exact: exactInformation(at), found, means };
  };
}

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["correlation", "dimension", "batch", "seed"],
    hint: "raise *d* until InfoNCE hits its ceiling, then raise *N*.",
    kind: "dgm-info dgm-bounds",
  });
  const picture = makePicture(w);
  const caption = element("p.dgm-note");
  w.picture.append(caption);
  const readouts = makeReadouts(w);
  const showControls = makeControls(w);
  const run = makeRace(w);
  const speak = throttled(w.status, 600);

  function draw() {
    const race = run();
    const { at, exact, found, means } = race;
    showControls(at);
    picture.paint(race);
    readouts.show(race);
    const whole = found.length === BATCHES;
    const of = whole ? BATCHES : `the first ${found.length} of ${BATCHES}`;
    caption.textContent =
      `A dot is one batch's estimate, a bar the mean of ${of}; no estimate can come to lie in a shaded ` +
      `part. The ` +
      "classifier's is the Jensen\u2013Shannon divergence, a bound too.";
    if (!whole) return true;
    readouts.note.textContent = verdict(race);
    w.root.dataset.estimates = JSON.stringify(found);
    const spoken = BOUNDS.map(({ name }, r) => `${name} ${means[r].mean.toFixed(2)}`).join(", ");
    const says = `Estimates of ${BATCHES} batches for each of four bounds against the exact value`;
    picture.svg.setAttribute("aria-label", `${says} ${exact.toFixed(2)} nats; means: ${spoken}`);
    speak(`Exact value ${exact.toFixed(2)} nats. Means: ${spoken}. ${readouts.note.textContent}`);
    return false;
  }
  return w.start("dgm:bounds", draw, {
    resized(width) {
      picture.resized(width);
      w.ask();
    },
  });
}

export default { render };
