// Particles against the Kalman filter: one run's family tree, and what many runs make of the likelihood.

import "../styles/music.css";
import { linear, through } from "../charts.js";
import { decimals, pushButton } from "../controls.js";
import { formOf, pickOf, put, radiosOf, sliderOf, tableBy } from "../form.js";
import { element, MARKS, onTheme, onWidth, rich, shape, withError } from "../frame.js";
import { filterRun, kalman, MOST, makeCloud, survivors } from "../models/linear_gaussian.js";
import { FIRST_RUN, makeRuns, RUNS, SIZES } from "../models/many_runs.js";
import { makeTree } from "../particle_tree.js";
import { axisName, place, resize, words } from "../plot.js";
import { defineWidget } from "../widget.js";

/** @import { Runs } from "../models/many_runs.js" */

const PAUSE_MS = 150; // after which they begin
const RULES = [
  { key: "never", name: "never", bound: "IWAE", dash: "6 3", mark: MARKS.square },
  { key: "ess", name: "ESS at half", bound: "FIVO", dash: "", mark: MARKS.circle },
  { key: "always", name: "every step", bound: "FIVO", dash: "2 3", mark: MARKS.triangle },
];
const CRITERIA = RULES.map(({ key }) => key);
const CHOICES = RULES.map(({ key, name }) => [key, name]);
const [LEFT, TOP, TALL] = [30, 8, 150]; // px, of the plot
const BOTTOM = TOP + TALL;
const GAPS = [0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]; // nats, on the axis

const root = (/** @type {number} */ v) => Math.sign(v) * Math.sqrt(Math.abs(v));

// One particle's mean is known, and nothing lies lower: -1/2 [ln 2 pi r + (x^2 + Var z) / r], summed.
function lowest(/** @type {System} */ { a, q, r, first }, /** @type {number[]} */ x) {
  let [sum, p] = [0, first];
  for (const v of x) {
    sum -= (Math.log(2 * Math.PI * r) + (v * v + p) / r) / 2;
    p = a * a * p + q;
  }
  return sum;
}

// The means of many runs against the number of particles.
/** @type {(w: Widget, system: System, runs: Runs) => Plot} */
function makePlot(w, system, runs) {
  const svg = shape("svg", { role: "img", "aria-label": "Mean estimates, being computed" });
  const caption = rich("Estimates of log *p(x)*, nats below the exact value (square-root scale)");
  w.side.append(element("div", element("p.dgm-caption", ...caption), svg));
  const [axes, series, single] = [shape("g"), shape("g"), shape("path.dgm-mu-single")];
  svg.append(axes, series, single);
  /** @type {Scale1D[]} */
  let [px, py] = [Number, Number];

  /** @type {Plot["layout"]} */
  function layout({ x, filtered: { logLikelihood: exact } }, width) {
    const deepest = 1.12 * (exact - lowest(system, x));
    const [low, high] = [-root(deepest), 0.32 * root(deepest)];
    const across = linear([0, 6], [LEFT + 10, width - 14]);
    const upwards = linear([low, high], [BOTTOM, TOP]);
    const place = (/** @type {number} */ v) => upwards(Math.max(low, Math.min(high, root(v - exact))));
    [px, py] = [(N) => across(Math.log2(N)), place];
    const lines = [];
    let before = -Infinity;
    for (const v of GAPS) {
      const y = py(exact - v);
      if (v > deepest || y - before < 13) continue;
      before = y;
      if (v) lines.push(shape("path.dgm-grid", { d: `M${LEFT} ${y}H${width - 4}` }));
      lines.push(words(LEFT - 5, y + 4, String(v), { "text-anchor": "end" }));
    }
    axes.replaceChildren(
      ...lines,
      ...SIZES.map((N) => words(px(N), BOTTOM + 15, String(N))),
      shape("path.dgm-axis", { d: `M${LEFT} ${BOTTOM}H${width - 4}` }),
      axisName(LEFT + (width - LEFT) / 2, BOTTOM + 31, "particles"),
      shape("path.dgm-mu-truth", { d: `M${LEFT} ${py(exact)}H${width - 4}` }),
    );
    resize(svg, width, BOTTOM + 36);
  }

  /** @type {Plot["paint"]} */
  function paint(data, N) {
    const sizes = [...new Set([N, ...SIZES])].sort((a, b) => a - b);
    const parts = RULES.flatMap(({ key, dash, mark }, s) => {
      const results = sizes.flatMap((size) => {
        const value = runs.means(data, size, key);
        // The three share N: side by side, so that none hides another.
        return value ? [{ ...value, size, x: px(size) + (size > 1 ? 3 * (s - 1) : 0) }] : [];
      });
      const whole = results.length === sizes.length;
      const line = whole ? results.map(({ size, mean }) => [px(size), py(mean)]) : [];
      const errors = results.map(({ x, mean: m, error }) => `M${x} ${py(m - error)}V${py(m + error)}`);
      const marks = results.map(({ size, x, mean }) => mark(x, py(mean), size === N ? 4.5 : 3));
      return [
        shape(`path.dgm-mu-line.dgm-mu-${key}`, { "stroke-dasharray": dash, d: through(line) }),
        shape(`path.dgm-mu-errors.dgm-mu-${key}`, { d: errors.join("") }),
        shape(`path.dgm-mu-marks.dgm-mu-${key}`, { d: marks.join("") }),
      ];
    });
    series.replaceChildren(shape("path.dgm-mu-here", { d: `M${px(N)} ${TOP}v${TALL}` }), ...parts);
  }
  const show = (/** @type {number} */ N, /** @type {number} */ estimate) =>
    place(single, { d: MARKS.diamond(px(N), py(estimate), 5) });
  return { svg, layout, paint, show };
}
/**
 * @typedef {{ svg: Element, layout(data: ParticleData, width: number): void, paint(data: ParticleData, N:
 *   number): void, show(N: number, estimate: number): void }} Plot
 */

/** Their order: exact, ELBO, the rules, this run. */
function makeTable(/** @type {Widget} */ w) {
  const row = (/** @type {string} */ key, /** @type {string} */ name, mark = "", dash = "none") => {
    const line = shape(`path.dgm-mu-line.dgm-mu-${key}`, { "stroke-dasharray": dash, d: "M0 6H26" });
    const dot = shape(`path.dgm-mu-marks.dgm-mu-${key}`, { d: mark });
    const parts = dash === "none" ? [dot] : [line, dot];
    return [shape("svg", { viewBox: "0 0 26 12", "aria-hidden": "true" }, ...parts), name];
  };
  const diamond = MARKS.diamond(13, 6, 4);
  const table = tableBy(
    "",
    ["Log-likelihood", "mean \u00b1 s.e., nats"],
    [
      row("exact", "exact, Kalman", "", ""),
      row("elbo", "ELBO, one particle", diamond),
      ...RULES.map(({ key, bound, name, mark, dash }) => row(key, `${bound}, ${name}`, mark(13, 6, 4), dash)),
      row("single", "this run", diamond),
    ],
  );
  w.side.append(table.node);
  return table;
}

/** @type {(system: System, data: ParticleData, N: number, criterion: string, seed: number) => ParticleRun} */
function makeRun(system, { x }, N, criterion, seed) {
  const cloud = makeCloud(x.length, N);
  const estimate = filterRun(system, x, criterion, seed, cloud);
  const alive = survivors(cloud);
  const founders = alive.subarray(0, N).reduce((sum, v) => sum + v, 0);
  return { cloud, alive, estimate, founders, heaviest: Math.max(...cloud.w.subarray(-N)) };
}

function describe(/** @type {ParticleRun} */ { cloud: { N, ess, resampled }, founders }) {
  const times = resampled.reduce((sum, v) => sum + v, 0);
  const course = `${N} particles over ${ess.length} steps, resampled ${times} times`;
  const ends = `${founders} of the first step's have descendants at the last`;
  return `${course}; ${ends}. Least effective sample size ${Math.min(...ess).toFixed(1)}.`;
}

// The table of means, and what is to be said about them.
/** @type {(w: SpeakingWidget, runs: Runs, plot: Element) => ShowMeans} */
function makeMeans(w, runs, plot) {
  const table = makeTable(w);
  const note = element("p.dgm-note");
  w.side.append(note);
  return (now, N, criterion, run) => {
    const { logLikelihood: exact } = now.filtered;
    const elbo = runs.means(now, 1, "never");
    const means = RULES.map(({ key }) => runs.means(now, N, key));
    const texts = [elbo, ...means].map((v) => (v?.error ? withError(v.mean, v.error) : "\u2026"));
    for (const [r, text] of [decimals(exact, 3), ...texts, decimals(run.estimate, 3)].entries()) {
      table.fill(r, text);
      table.rows[r].classList.toggle("dgm-forward", RULES[r - 2]?.key === criterion);
    }
    const done = runs.done(now, N);
    const heaviest = Math.round(100 * run.heaviest);
    const have = run.founders === 1 ? "has" : "have";
    const ends = `descendants at the end, where one carries ${heaviest}\u2009% of the weight. `;
    const founders = N === 1 ? "" : `${run.founders} of the ${N} first particles ${have} ${ends}`;
    const above =
      run.estimate > exact ? "This run lies above the exact value: one may, their mean may not. " : "";
    const alone = N === 1 ? "With one particle there is nothing to resample: all three are the ELBO. " : "";
    const ready = done ? "" : "The runs are still being made.";
    put(note, `${alone}${founders}${above}Means are of ${RUNS} runs each. ${ready}`.trim());
    if (!done || !elbo) return w.root.removeAttribute("data-means");
    const byRule = Object.fromEntries(RULES.map(({ key }, s) => [key, means[s]]));
    w.root.dataset.means = JSON.stringify({ elbo, ...byRule });
    const each = RULES.map(({ name, bound }, s) => `${bound} ${name} ${means[s]?.mean.toFixed(3)}`);
    const list = `ELBO ${elbo.mean.toFixed(2)}, ${each.join(", ")}`;
    const says = `Mean estimates with ${N} particles against the exact ${exact.toFixed(3)} nats: ${list}`;
    const rise = "they rise towards the exact value with the number of particles.";
    place(plot, { "aria-label": `${says}; ${rise}` });
    const estimate = `This run: ${run.estimate.toFixed(3)} nats, exact ${exact.toFixed(3)}`;
    w.speak(`${estimate}. ${founders}Means: ${list}.`);
  };
}
/** @typedef {(now: ParticleData, N: number, criterion: string, run: ParticleRun) => void} ShowMeans */

/** @type {(system: System, sequences: Omit<ParticleData, "filtered">[]) => ParticleData[]} */
const filteredBy = (system, sequences) =>
  sequences.map((data) => ({ ...data, filtered: kalman(system, data.x) }));

export default defineWidget(
  {
    measure: "dgm:particle-kalman",
    names: ["sequence", "particles", "criterion", "seed"],
    hint: "resample never, then every step, and count whose lines are left; then give it more particles.",
    kind: "dgm-mu dgm-mu-kalman",
  },
  (w) => {
    const system = w.get("system");
    const runs = makeRuns(system, CRITERIA);
    const tree = makeTree(w);
    const plot = makePlot(w, system, runs);
    const sequences = filteredBy(system, w.get("sequences"));
    const chosen = () => sequences.find(({ name }) => name === w.get("sequence")) ?? sequences[0];
    const showMeans = makeMeans(w, runs, plot.svg);
    const form = formOf(w);
    const options = sequences.map(({ name, label }) => [name, label]);
    const pick = pickOf(form, "label.dgm-mu-pick", "sequence", "Data", options);
    const another = pushButton("Draw again", () => w.change({ seed: (w.get("seed") + 1) % FIRST_RUN }));
    w.controls.append(
      sliderOf(form, "particles", "Particles, *N*", { min: 1, max: MOST.particles, step: 1 }),
      radiosOf(form, "criterion", "Resample", CHOICES, { head: "Resample" }),
      element("div.dgm-row.dgm-mu-buttons", pick, another, form.reset()),
    );
    form.show(); // even where nothing can be drawn yet: out of sight, a notebook gives no width
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
      [shownAt, plotted] = [start, ""];
      w.ask();
    }

    function draw(/** @type {number} */ width) {
      const side = Math.floor(w.side.clientWidth);
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
        form.show();
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
      if (plotted !== `${N},${room}`) plot.paint(now, N);
      plotted = `${N},${room}`;
      showMeans(now, N, criterion, current);
    }

    const stopTheme = onTheme(() => {
      colour = "";
      w.ask();
    });
    const stopSide = onWidth(w.side, w.ask);
    addEventListener("resize", w.ask); // a zoomed page has other pixels
    function ended() {
      clearTimeout(timer);
      stopTheme();
      stopSide();
      removeEventListener("resize", w.ask);
    }
    return { draw, ended };
  },
);
