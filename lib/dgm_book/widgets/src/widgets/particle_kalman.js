// Particles against the Kalman filter: one run's family tree, and what many runs make of the likelihood.

import "../styles/music.css";
import { decimals, labelledSlider, pushButton, radioRow, selectOf, tableOf, tableRow } from "../controls.js";
import {
  element,
  italic,
  MARKS,
  onTheme,
  onWidth,
  openWidget,
  penOf,
  rich,
  shape,
  throttled,
  ticks,
  withError,
} from "../frame.js";
import { filterRun, kalman, MOST, makeCloud, survivors } from "../models/linear_gaussian.js";
import { axisName, leftAxis, place, resize, words } from "../plot.js";

const RUNS = 400; // behind each mean
const FIRST_RUN = 10000; // of them, after all that a seed may show
const PAUSE_MS = 150; // after which they begin
const SLICE_MS = 4; // of them at a time, between frames
const SIZES = [1, 2, 4, 8, 16, 32, 64];
const RULES = [
  { key: "never", name: "never", bound: "IWAE", look: "dgm-mu-never", dash: "6 3", mark: MARKS.square },
  { key: "ess", name: "ESS at half", bound: "FIVO", look: "dgm-mu-ess", dash: "", mark: MARKS.circle },
  {
    key: "always",
    name: "every step",
    bound: "FIVO",
    look: "dgm-mu-always",
    dash: "2 3",
    mark: MARKS.triangle,
  },
];
const [LEFT, TOP, TALL, GAP, LOW] = [30, 8, 230, 30, 56]; // px, of the picture
const BOTTOM = TOP + TALL + GAP + LOW;
const [PLOT_LEFT, PLOT_TOP, PLOT_TALL] = [30, 8, 150];
const PLOT_BOTTOM = PLOT_TOP + PLOT_TALL;
const GAPS = [0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]; // nats, on the axis
const KEY =
  "A dot is a particle, its area its weight. Strong lines lead to a particle of the last step, pale " +
  "ones have died out. Thick line and band: the Kalman mean, two deviations to either side; crosses: " +
  "observations. A wedge marks a resampling.";

/**
 * A sequence with what the exact filter says of it.
 * @typedef {{ name: string, x: number[], filtered: ReturnType<typeof kalman> }} Data
 */
/** One run: what it estimates, and how many of its first particles have descendants at the end. */
/**
 * @typedef {{ cloud: Cloud, alive: Uint8Array, estimate: number, founders: number, heaviest: number }}
 *   Current
 */
/** @typedef {{ mean: number, error: number }} Mean */
/** @typedef {{ n: number, mean: number, squares: number }} Tally */

/** @type {(v: number) => number} */
const root = (v) => Math.sign(v) * Math.sqrt(Math.abs(v));
/** @type {(node: Element, text: string) => void} */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// One particle's mean is known, and nothing lies lower: -1/2 [ln 2 pi r + (x^2 + Var z) / r], summed.
/** @type {(system: System, x: number[]) => number} */
function lowest({ a, q, r, first }, x) {
  let [sum, p] = [0, first];
  for (const v of x) {
    sum -= (Math.log(2 * Math.PI * r) + (v * v + p) / r) / 2;
    p = a * a * p + q;
  }
  return sum;
}

// The many runs, which are kept.
/** @type {(system: System) => Runs} */
function makeRuns(system) {
  /** @type {Map<string, Tally>} */
  const tallies = new Map();
  /** @type {Map<string, Cloud>} */
  const clouds = new Map();
  // At one particle there is nothing to choose from.
  /** @type {(data: Data, N: number, criterion: string) => Tally} */
  const tallyOf = ({ name }, N, criterion) => {
    const key = [name, N, N === 1 ? "never" : criterion].join();
    const tally = tallies.get(key) ?? { n: 0, mean: 0, squares: 0 };
    tallies.set(key, tally);
    return tally;
  };
  /** @type {(T: number, N: number) => Cloud} */
  const cloudOf = (T, N) => {
    const cloud = clouds.get(`${T} ${N}`) ?? makeCloud(T, N);
    clouds.set(`${T} ${N}`, cloud);
    return cloud;
  };
  // Of what is shown, what still lacks runs.
  /** @type {(data: Data, N: number) => { N: number, criterion: string, tally: Tally }[]} */
  const unfinished = (data, N) =>
    [1, N, ...SIZES]
      .flatMap((size) =>
        RULES.map(({ key }) => ({ N: size, criterion: key, tally: tallyOf(data, size, key) })),
      )
      .filter(({ tally }) => tally.n < RUNS);
  return {
    done: (data, N) => !unfinished(data, N).length,
    slice(data, N) {
      const start = performance.now();
      const left = unfinished(data, N);
      for (const { N: size, criterion, tally } of left) {
        const cloud = cloudOf(data.x.length, size);
        while (tally.n < RUNS && performance.now() - start < SLICE_MS) {
          const off = filterRun(system, data.x, criterion, FIRST_RUN + tally.n, cloud) - tally.mean;
          tally.n += 1;
          tally.mean += off / tally.n;
          tally.squares += (off * off * (tally.n - 1)) / tally.n;
        }
      }
      return left.every(({ tally }) => tally.n === RUNS);
    },
    means(data, N, criterion) {
      const { n, mean, squares } = tallyOf(data, N, criterion);
      return n ? { mean, error: Math.sqrt(squares / Math.max(1, n - 1) / n) } : null;
    },
  };
}
/**
 * @typedef {{ done(data: Data, N: number): boolean, slice(data: Data, N: number): boolean,
 *   means(data: Data, N: number, criterion: string): Mean | null }} Runs
 */

// The family tree, on a canvas between what lies under and over it, above the effective sample sizes.
/** @type {(w: Widget) => Tree} */
function makeTree(w) {
  const canvas = element("canvas", { role: "img", "aria-label": "Particles" });
  const pen = penOf(canvas);
  const axes = shape("g");
  const parts = ["band", "mean", "under", "seen", "bars", "half", "struck"];
  const [band, mean, under, seen, bars, half, struck] = parts.map((name) =>
    shape("path", { class: `dgm-mu-${name}` }),
  );
  const essName = shape("text.dgm-strong.dgm-halo", "effective sample size (dashed: half)");
  const most = shape("text", { "text-anchor": "end" });
  const sheets = [
    shape("svg", { "aria-hidden": "true" }, axes, band),
    shape("svg", { "aria-hidden": "true" }, mean, under, seen, bars, half, struck, essName, most),
  ];
  w.picture.append(element("div.dgm-mu-stage", sheets[0], canvas, sheets[1]), element("p.dgm-note", KEY));
  let [width, step, low, high] = [0, 1, 0, 1];
  const px = (/** @type {number} */ t) => LEFT + (t + 0.5) * step;
  const py = (/** @type {number} */ v) => TOP + ((high - v) / (high - low)) * TALL;

  /** @type {(T: number) => void} */
  function layAxes(T) {
    const every = Math.max(1, Math.ceil(22 / step));
    const steps = Array.from({ length: T }, (_, t) => t).filter((t) => t % every === 0);
    axes.replaceChildren(
      ...leftAxis(ticks(low, high, 6), { py, left: LEFT, right: width - 8 }),
      shape("path.dgm-axis", { d: `M${LEFT} ${BOTTOM}H${width - 8}` }),
      ...steps.map((t) => words(px(t), BOTTOM + 15, String(t + 1))),
      axisName(LEFT + (width - LEFT) / 2, BOTTOM + 31, "step"),
      shape("text.dgm-strong.dgm-halo", { x: LEFT + 4, y: TOP + 10 }, "state ", italic("z")),
    );
    for (const sheet of sheets) resize(sheet, width, BOTTOM + 36);
    const box = { left: LEFT, top: TOP, width: width - LEFT - 8, height: TALL };
    for (const [name, v] of Object.entries(box)) canvas.style.setProperty(name, `${v}px`);
    place(essName, { x: LEFT + 4, y: TOP + TALL + 18 });
    place(most, { x: LEFT - 5, y: BOTTOM - LOW + 5 });
    place(half, { d: `M${LEFT} ${BOTTOM - LOW / 2}H${width - 8}` });
  }

  /** @type {Tree["layout"]} */
  function layout({ x, filtered }, wide) {
    width = wide;
    step = (width - LEFT - 14) / x.length;
    const spread = filtered.deviation.map((v) => 3 * v + 0.2);
    low = Math.min(-3.4, ...x.map((v, i) => Math.min(v - 0.2, filtered.mean[i] - spread[i])));
    high = Math.max(3.4, ...x.map((v, i) => Math.max(v + 0.2, filtered.mean[i] + spread[i])));
    layAxes(x.length);
    const line = (/** @type {number[]} */ values) =>
      values.map((v, t) => `${px(t).toFixed(1)} ${py(v).toFixed(1)}`);
    const edge = (/** @type {number} */ way) =>
      filtered.mean.map((m, t) => m + way * 2 * filtered.deviation[t]);
    place(mean, { d: `M${line(filtered.mean).join("L")}` });
    place(band, { d: `M${[...line(edge(1)), ...line(edge(-1)).reverse()].join("L")}Z` });
    const crosses = x.map((v, t) => `M${px(t) - 4} ${py(v) - 4}l8 8m0 -8l-8 8`).join("");
    for (const part of [under, seen]) place(part, { d: crosses });
  }

  /** @type {(current: Current, strong: number) => void} */
  function strokeLines({ cloud: { T, N, z, parent }, alive }, strong) {
    pen.beginPath();
    for (let t = 1, o = N; t < T; t++) {
      const [from, to] = [px(t - 1), px(t)];
      for (let n = 0; n < N; n++, o++) {
        if (alive[o] !== strong) continue;
        pen.moveTo(from, py(z[(t - 1) * N + parent[o]]));
        pen.lineTo(to, py(z[o]));
      }
    }
    pen.globalAlpha = strong ? 0.9 : 0.3;
    pen.lineWidth = strong ? 1.5 : 0.8;
    pen.stroke();
  }

  // In units of CSS pixels; what lies outside the canvas is cut off.
  /** @type {(current: Current, colour: string, dense: number) => void} */
  function paintTree(current, colour, dense) {
    const { T, N, z, w: weights } = current.cloud;
    const [wide, tall] = [width - LEFT - 8, TALL].map((v) => Math.round(v * dense));
    if (canvas.width !== wide) canvas.width = wide;
    if (canvas.height !== tall) canvas.height = tall;
    pen.setTransform(dense, 0, 0, dense, -LEFT * dense, -TOP * dense);
    pen.clearRect(LEFT, TOP, width, TALL);
    pen.strokeStyle = colour;
    pen.fillStyle = colour;
    for (const strong of [0, 1]) strokeLines(current, strong);
    pen.beginPath();
    for (let t = 0, o = 0; t < T; t++) {
      const x = px(t);
      for (let n = 0; n < N; n++, o++) {
        const y = py(z[o]);
        const r = 8 * Math.sqrt(weights[o]);
        if (r > 1) {
          pen.moveTo(x + r, y);
          pen.arc(x, y, r, 0, 2 * Math.PI);
        } else pen.rect(x - 0.8, y - 0.8, 1.6, 1.6); // a circle takes much longer
      }
    }
    pen.globalAlpha = 0.6;
    pen.fill();
  }

  /** @type {(cloud: Cloud) => void} */
  function paintBars({ N, ess, resampled }) {
    const wide = Math.min(26, 0.6 * step);
    const tall = (/** @type {number} */ v) => (v / N) * LOW;
    const columns = Array.from(
      ess,
      (v, t) => `M${px(t) - wide / 2} ${BOTTOM}v${-tall(v)}h${wide}V${BOTTOM}Z`,
    );
    const wedges = Array.from(ess, (v, t) =>
      resampled[t] ? MARKS.wedge(px(t), BOTTOM - tall(v) - 7, 4) : "",
    );
    place(bars, { d: columns.join("") });
    place(struck, { d: wedges.join("") });
    put(most, String(N));
  }
  /** @type {Tree["paint"]} */
  const paint = (current, colour, dense) => {
    paintTree(current, colour, dense);
    paintBars(current.cloud);
  };
  return { canvas, layout, paint };
}
/**
 * @typedef {{ canvas: HTMLCanvasElement, layout(data: Data, width: number): void,
 *   paint(current: Current, colour: string, dense: number): void }} Tree
 */

// The means of many runs against the number of particles.
/** @type {(w: Widget, system: System) => Plot} */
function makePlot(w, system) {
  const svg = shape("svg", { role: "img", "aria-label": "Mean estimates, being computed" });
  const axes = shape("g");
  const [truth, here, single] = ["truth", "here", "single"].map((name) =>
    shape("path", { class: `dgm-mu-${name}` }),
  );
  const series = RULES.map(({ look, dash }) => ({
    line: shape("path", { class: `dgm-mu-line ${look}`, "stroke-dasharray": dash }),
    errors: shape("path", { class: `dgm-mu-errors ${look}` }),
    marks: shape("path", { class: `dgm-mu-marks ${look}` }),
  }));
  svg.append(axes, here, truth, ...series.flatMap((one) => Object.values(one)), single);
  const caption = rich("Estimates of log *p(x)*, nats below the exact value (square-root scale)");
  w.side.append(element("div", element("p.dgm-caption", ...caption), svg));
  let [wide, low, high, exact] = [0, -1, 1, 0];
  const px = (/** @type {number} */ N) => PLOT_LEFT + 10 + (Math.log2(N) / 6) * (wide - PLOT_LEFT - 24);
  const py = (/** @type {number} */ v) =>
    PLOT_TOP + ((high - Math.max(low, Math.min(high, root(v - exact)))) / (high - low)) * PLOT_TALL;

  /** @type {Plot["layout"]} */
  function layout({ x, filtered }, width) {
    [wide, exact] = [width, filtered.logLikelihood];
    const deepest = 1.12 * (exact - lowest(system, x));
    [low, high] = [-root(deepest), 0.32 * root(deepest)];
    axes.replaceChildren();
    let before = -Infinity;
    for (const v of GAPS) {
      const y = py(exact - v);
      if (v > deepest || y - before < 13) continue;
      before = y;
      if (v) axes.append(shape("path.dgm-grid", { d: `M${PLOT_LEFT} ${y}H${wide - 4}` }));
      axes.append(words(PLOT_LEFT - 5, y + 4, String(v), { "text-anchor": "end" }));
    }
    axes.append(
      ...SIZES.map((N) => words(px(N), PLOT_BOTTOM + 15, String(N))),
      shape("path.dgm-axis", { d: `M${PLOT_LEFT} ${PLOT_BOTTOM}H${wide - 4}` }),
      axisName(PLOT_LEFT + (wide - PLOT_LEFT) / 2, PLOT_BOTTOM + 31, "particles"),
    );
    place(truth, { d: `M${PLOT_LEFT} ${py(exact)}H${wide - 4}` });
    resize(svg, wide, PLOT_BOTTOM + 36);
  }

  /** @type {Plot["paint"]} */
  function paint(N, means) {
    const sizes = [...new Set([N, ...SIZES])].sort((a, b) => a - b);
    for (const [s, { key, mark }] of RULES.entries()) {
      const found = sizes.flatMap((size) => {
        const value = means(size, key);
        return value ? [{ size, ...value }] : [];
      });
      const whole = found.length === sizes.length;
      const line = found.map(({ size, mean }) => `${px(size)} ${py(mean)}`).join("L");
      place(series[s].line, { d: whole ? `M${line}` : "" });
      // The three share N: side by side, so that none hides another.
      const aside = (/** @type {number} */ size) => px(size) + (size > 1 ? 3 * (s - 1) : 0);
      const errors = found.map(
        ({ size, mean: m, error }) => `M${aside(size)} ${py(m - error)}V${py(m + error)}`,
      );
      const marks = found.map(({ size, mean }) => mark(aside(size), py(mean), size === N ? 4.5 : 3));
      place(series[s].errors, { d: errors.join("") });
      place(series[s].marks, { d: marks.join("") });
    }
    place(here, { d: `M${px(N)} ${PLOT_TOP}v${PLOT_TALL}` });
  }
  /** @type {Plot["show"]} */
  const show = (N, estimate) => place(single, { d: MARKS.diamond(px(N), py(estimate), 5) });
  return { svg, layout, paint, show };
}
/**
 * @typedef {{ svg: SVGElement, layout(data: Data, width: number): void, show(N: number, estimate: number):
 *   void, paint(N: number, means: (N: number, criterion: string) => Mean | null): void }} Plot
 */

/**
 * @type {(w: Widget) => (criterion: string, exact: number, estimate: number, elbo: Mean | null, found: (Mean
 *   | null)[]) => void}
 */
function makeTable(w) {
  /**
   * @type {(look: string, mark: ((x: number, y: number, r: number) => string) | null, dash: string | null,
   *   ...name: string[]) => { node: HTMLElement, value: Element }}
   */
  const row = (look, mark, dash, name) => {
    const line = shape("path", {
      class: `dgm-mu-line ${look}`,
      "stroke-dasharray": dash ?? "",
      d: "M0 6H26",
    });
    const dot = shape("path", { class: `dgm-mu-marks ${look}`, d: mark?.(13, 6, 4) ?? "" });
    const parts = dash === null ? [dot] : [line, dot];
    const icon = shape("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }, ...parts);
    const value = element("td");
    return { node: tableRow([icon, name], [value]), value };
  };
  const exactRow = row("dgm-mu-exact", null, "", "exact, Kalman");
  const elboRow = row("dgm-mu-elbo", MARKS.diamond, null, "ELBO, one particle");
  const ruleRows = RULES.map(({ look, mark, dash, bound, name }) =>
    row(look, mark, dash, `${bound}, ${name}`),
  );
  const thisRow = row("dgm-mu-single", MARKS.diamond, null, "this run");
  const nodes = [exactRow, elboRow, ...ruleRows, thisRow].map(({ node }) => node);
  w.side.append(tableOf("", ["Log-likelihood", "mean \u00b1 s.e., nats"], nodes));
  /** @type {(cell: Element, mean: Mean | null) => void} */
  const say = (cell, mean) => put(cell, mean?.error ? withError(mean.mean, mean.error) : "\u2026");
  return (criterion, exact, estimate, elbo, found) => {
    put(exactRow.value, decimals(exact, 3));
    put(thisRow.value, decimals(estimate, 3));
    say(elboRow.value, elbo);
    for (const [s, { value, node }] of ruleRows.entries()) {
      say(value, found[s]);
      node.classList.toggle("dgm-forward", RULES[s].key === criterion);
    }
  };
}

/** @type {(w: Widget) => () => void} */
function makeControls(w) {
  const range = { min: 1, max: MOST.particles, step: 1 };
  const count = labelledSlider(`${w.id}-particles`, "Particles, *N*", range, (v) =>
    w.change({ particles: v }),
  );
  const rules = RULES.map(({ key, name }) => [key, name]);
  const rule = radioRow(`${w.id}-rule`, "Resample", rules, (criterion) => w.change({ criterion }));
  rule.node.prepend(element("span", "Resample"));
  const sequences = w
    .get("sequences")
    .map((/** @type {{ name: string, label: string }} */ s) => [s.name, s.label]);
  const pick = selectOf(`${w.id}-pick`, sequences, (sequence) => w.change({ sequence }));
  const again = pushButton("Draw again", () => w.change({ seed: (w.get("seed") + 1) % FIRST_RUN }));
  const chosen = element("label.dgm-mu-pick", { for: pick.id }, "Data", pick);
  w.controls.append(count.node, rule.node, element("div.dgm-row.dgm-mu-buttons", chosen, again, w.reset));
  w.reset.addEventListener("click", () => w.change(w.first));
  return () => {
    count.show(w.get("particles"), String(w.get("particles")));
    rule.show(w.get("criterion"));
    pick.value = w.get("sequence");
  };
}

/** @type {(system: System, data: Data, N: number, criterion: string, seed: number) => Current} */
function makeRun(system, { x }, N, criterion, seed) {
  const cloud = makeCloud(x.length, N);
  const estimate = filterRun(system, x, criterion, seed, cloud);
  const alive = survivors(cloud);
  const founders = alive.subarray(0, N).reduce((sum, v) => sum + v, 0);
  return { cloud, alive, estimate, founders, heaviest: Math.max(...cloud.w.subarray(-N)) };
}

/** @type {(current: Current) => string} */
function describe({ cloud: { N, ess, resampled }, founders }) {
  const times = resampled.reduce((sum, v) => sum + v, 0);
  const least = Math.min(...ess).toFixed(1);
  const ends = `${founders} of the first step's have descendants at the last`;
  return (
    `${N} particles over ${ess.length} steps, resampled ${times} times; ${ends}. Least effective sample ` +
    `size ${least}.`
  );
}

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["sequence", "particles", "criterion", "seed"],
    hint: "resample never, then every step, and count whose lines are left; then give it more particles.",
    kind: "dgm-mu dgm-mu-kalman",
  });
  const system = w.get("system");
  const tree = makeTree(w);
  const plot = makePlot(w, system);
  const showTable = makeTable(w);
  const note = element("p.dgm-note");
  w.side.append(note);
  const showControls = makeControls(w);
  showControls(); // even where nothing can be drawn yet: out of sight, a notebook gives no width
  const runs = makeRuns(system);
  const speak = throttled(w.status, 600);
  /** @type {Data | null} */
  let data = null;
  /** @type {Current | null} */
  let current = null;
  let [timer, shownAt, colour] = [0, 0, ""];
  let [laid, drawn, painted, plotted] = ["", "", "", ""]; // what each part shows

  // The many runs, a slice at a time while the reader pauses.
  function slice() {
    if (!data) return;
    const start = performance.now();
    const done = runs.slice(data, w.get("particles"));
    if (!done) timer = setTimeout(slice);
    if (!done && start - shownAt < 100) return;
    shownAt = start;
    plotted = "";
    w.ask();
  }

  /** @type {(now: Data, N: number, criterion: string, run: Current) => void} */
  function showMeans(now, N, criterion, run) {
    const { logLikelihood: exact } = now.filtered;
    const elbo = runs.means(now, 1, "never");
    const found = RULES.map(({ key }) => runs.means(now, N, key));
    showTable(criterion, exact, run.estimate, elbo, found);
    const done = runs.done(now, N);
    const heaviest = Math.round(100 * run.heaviest);
    const have = run.founders === 1 ? "has" : "have";
    const ends = `descendants at the end, where one carries ${heaviest}\u2009% of the weight. `;
    const founders = N === 1 ? "" : `${run.founders} of the ${N} first particles ${have} ${ends}`;
    const above =
      run.estimate > exact ? "This run lies above the exact value: one may, their mean may not. " : "";
    const one = N === 1 ? "With one particle there is nothing to resample: all three are the ELBO. " : "";
    const ready = done ? "" : "The runs are still being made.";
    put(note, `${one}${founders}${above}Means are of ${RUNS} runs each. ${ready}`.trim());
    if (!done || !elbo) return w.root.removeAttribute("data-means");
    const byRule = Object.fromEntries(RULES.map(({ key }, s) => [key, found[s]]));
    w.root.dataset.means = JSON.stringify({ elbo, ...byRule });
    const each = RULES.map(({ name, bound }, s) => `${bound} ${name} ${found[s]?.mean.toFixed(3)}`).join(
      ", ",
    );
    const means = `ELBO ${elbo.mean.toFixed(2)}, ${each}`;
    const says = `Mean estimates with ${N} particles against the exact ${exact.toFixed(3)} nats: ${means}`;
    place(plot.svg, {
      "aria-label": `${says}; they rise towards the exact value with the number of particles.`,
    });
    speak(
      `This run: ${run.estimate.toFixed(3)} nats, exact ${exact.toFixed(3)}. ${founders}Means: ${means}.`,
    );
  }

  /** @type {() => Data} */
  function chosen() {
    if (data?.name !== w.get("sequence")) {
      const all = /** @type {Data[]} */ (w.get("sequences"));
      const one = all.find(({ name }) => name === w.get("sequence")) ?? all[0];
      data = { ...one, filtered: kalman(system, one.x) };
    }
    return /** @type {Data} */ (data);
  }

  function draw() {
    const [width, side] = [w.picture, w.side].map((node) => Math.floor(node.clientWidth));
    if (!width || !side) return;
    const [N, criterion, seed] = ["particles", "criterion", "seed"].map((name) => w.get(name));
    const now = chosen();
    const room = [width, side, now.name].join();
    if (laid !== room) {
      laid = room;
      tree.layout(now, width);
      plot.layout(now, side);
    }
    const key = [now.name, N, criterion, seed].join();
    if (drawn !== key || !current) {
      drawn = key;
      current = makeRun(system, now, N, criterion, seed);
      showControls();
      w.root.dataset.run = String(current.estimate);
      tree.canvas.setAttribute("aria-label", describe(current));
      clearTimeout(timer);
      if (!runs.done(now, N)) timer = setTimeout(slice, PAUSE_MS);
    }
    colour ||= getComputedStyle(tree.canvas).color;
    const dense = Math.min(2, devicePixelRatio || 1);
    const look = [key, room, colour, dense].join();
    if (painted !== look) {
      painted = look;
      tree.paint(current, colour, dense);
      plot.show(N, current.estimate);
    }
    if (plotted !== `${N},${room}`) plot.paint(N, (size, rule) => runs.means(now, size, rule));
    plotted = `${N},${room}`;
    showMeans(now, N, criterion, current);
  }

  const stops = [
    onWidth(w.side, w.ask),
    onTheme(() => {
      colour = "";
      w.ask();
    }),
  ];
  addEventListener("resize", w.ask); // a zoomed page has other pixels
  return w.start("dgm:particle-kalman", draw, {
    ended() {
      clearTimeout(timer);
      for (const stop of stops) stop();
      removeEventListener("resize", w.ask);
    },
  });
}

export default { render };
