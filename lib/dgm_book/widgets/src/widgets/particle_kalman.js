// Particles against the Kalman filter: one run's family tree, and what many runs make of the likelihood.

import "../styles/music.css";
import { decimals, labelledSlider, pushButton, radioRow, selectOf, tableOf, tableRow } from "../controls.js";
import { element, MARKS, onTheme, onWidth, openWidget, rich, shape, throttled, withError } from "../frame.js";
import { filterRun, kalman, MOST, makeCloud, survivors } from "../models/linear_gaussian.js";
import { FIRST_RUN, makeRuns, RUNS, SIZES } from "../models/many_runs.js";
import { makeTree, put } from "../particle_tree.js";
import { axisName, place, resize, words } from "../plot.js";

/** @import { Runs } from "../models/many_runs.js" */

const PAUSE_MS = 150; // after which they begin
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
const CRITERIA = RULES.map(({ key }) => key);
const [PLOT_LEFT, PLOT_TOP, PLOT_TALL] = [30, 8, 150];
const PLOT_BOTTOM = PLOT_TOP + PLOT_TALL;
const GAPS = [0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]; // nats, on the axis

/** @type {(v: number) => number} */
const root = (v) => Math.sign(v) * Math.sqrt(Math.abs(v));

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
 * @typedef {{ svg: SVGElement, layout(data: ParticleData, width: number): void, show(N: number, estimate:
 *   number): void, paint(N: number, means: (N: number, criterion: string) => MeanError | null): void }}
 *   Plot
 */

/**
 * @type {(w: Widget) => (criterion: string, exact: number, estimate: number, elbo: MeanError | null, found:
 *   (MeanError | null)[]) => void}
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
  /** @type {(cell: Element, mean: MeanError | null) => void} */
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

/** @type {(system: System, data: ParticleData, N: number, criterion: string, seed: number) => ParticleRun} */
function makeRun(system, { x }, N, criterion, seed) {
  const cloud = makeCloud(x.length, N);
  const estimate = filterRun(system, x, criterion, seed, cloud);
  const alive = survivors(cloud);
  const founders = alive.subarray(0, N).reduce((sum, v) => sum + v, 0);
  return { cloud, alive, estimate, founders, heaviest: Math.max(...cloud.w.subarray(-N)) };
}

/** @type {(current: ParticleRun) => string} */
function describe({ cloud: { N, ess, resampled }, founders }) {
  const times = resampled.reduce((sum, v) => sum + v, 0);
  const least = Math.min(...ess).toFixed(1);
  const ends = `${founders} of the first step's have descendants at the last`;
  return (
    `${N} particles over ${ess.length} steps, resampled ${times} times; ${ends}. Least effective sample ` +
    `size ${least}.`
  );
}

// The table of means, and what is said of them.
/** @type {(w: Widget, runs: Runs, plot: Element) => ShowMeans} */
function makeMeans(w, runs, plot) {
  const showTable = makeTable(w);
  const note = element("p.dgm-note");
  w.side.append(note);
  const speak = throttled(w.status, 600);
  return (now, N, criterion, run) => {
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
    place(plot, {
      "aria-label": `${says}; they rise towards the exact value with the number of particles.`,
    });
    speak(
      `This run: ${run.estimate.toFixed(3)} nats, exact ${exact.toFixed(3)}. ${founders}Means: ${means}.`,
    );
  };
}
/** @typedef {(now: ParticleData, N: number, criterion: string, run: ParticleRun) => void} ShowMeans */

/** The sequence that is shown. @type {(w: Widget, system: System) => () => ParticleData} */
function makeChoice(w, system) {
  /** @type {ParticleData[]} */
  const all = w
    .get("sequences")
    .map((/** @type {ParticleData} */ one) => ({ ...one, filtered: kalman(system, one.x) }));
  return () => all.find(({ name }) => name === w.get("sequence")) ?? all[0];
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
  const chosen = makeChoice(w, system);
  const runs = makeRuns(system, CRITERIA);
  const showMeans = makeMeans(w, runs, plot.svg);
  const showControls = makeControls(w);
  showControls(); // even where nothing can be drawn yet: out of sight, a notebook gives no width
  /** @type {ParticleRun | null} */
  let current = null;
  let [timer, shownAt, colour] = [0, 0, ""];
  let [laid, drawn, painted, plotted] = ["", "", "", ""]; // what each part shows

  // The many runs, a slice at a time while the reader pauses.
  function slice() {
    const start = performance.now();
    const done = runs.slice(chosen(), w.get("particles"));
    if (!done) timer = setTimeout(slice);
    if (!done && start - shownAt < 100) return;
    shownAt = start;
    plotted = "";
    w.ask();
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
