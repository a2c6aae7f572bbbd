// Particles against the Kalman filter: one run's family tree, and what many runs make of the likelihood.

import "../styles/music.css";
import { decimals, labelledSlider, pushButton, radioRow } from "../controls.js";
import {
  buildFrame,
  element,
  italic,
  MARKS,
  onceAFrame,
  onWidth,
  rich,
  shape,
  throttled,
  ticks,
  withError,
} from "../frame.js";
import { filterRun, kalman, MOST, makeCloud, survivors } from "../models/linear_gaussian.js";

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
const ELBO = { key: "never", name: "one particle", bound: "ELBO", look: "dgm-mu-elbo", mark: MARKS.diamond };

function render({ model, el }) {
  const system = model.get("system");
  const sequences = model.get("sequences");
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "resample never, then every step, and count whose lines are left; then give it more particles.",
  });
  frame.root.classList.add("dgm-mu", "dgm-mu-kalman");
  const names = ["sequence", "particles", "criterion", "seed"];
  const first = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const change = (values) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
    ask();
  };

  // The picture: the tree, on a canvas between what lies under and over it, above the effective sample sizes.

  const tree = element("canvas", { role: "img", "aria-label": "Particles" });
  const pen = tree.getContext("2d");
  const axes = shape("g");
  const path = (name) => shape("path", { class: name });
  const [band, mean, under, seen, bars, half, struck] = [
    "band",
    "mean",
    "under",
    "seen",
    "bars",
    "half",
    "struck",
  ].map((name) => path(`dgm-mu-${name}`));
  const essName = shape("text.dgm-strong.dgm-halo", "effective sample size (dashed: half)");
  const most = shape("text", { "text-anchor": "end" });
  const sheets = [
    [axes, band],
    [mean, under, seen, bars, half, struck, essName, most],
  ].map((nodes) => shape("svg", { "aria-hidden": "true" }, ...nodes));
  const key = element(
    "p.dgm-note",
    "A dot is a particle, its area its weight. Strong lines lead to a particle of the last step, pale ones have died out. Thick line and band: the Kalman mean, two deviations to either side; crosses: observations. A wedge marks a resampling.",
  );
  frame.picture.append(element("div.dgm-mu-stage", sheets[0], tree, sheets[1]), key);

  // Beside it: the means of many runs

  const plot = shape("svg", { role: "img", "aria-label": "Mean estimates, being computed" });
  const plotAxes = shape("g");
  const truth = path("dgm-mu-truth");
  const here = path("dgm-mu-here");
  const single = path("dgm-mu-single");
  const series = RULES.map(({ look, dash }) => ({
    line: shape("path", { class: `dgm-mu-line ${look}`, "stroke-dasharray": dash }),
    marks: path(`dgm-mu-marks ${look}`),
    errors: path(`dgm-mu-errors ${look}`),
  }));
  plot.append(
    plotAxes,
    here,
    truth,
    ...series.flatMap(({ line, errors, marks }) => [line, errors, marks]),
    single,
  );
  const caption = element(
    "p.dgm-caption",
    "Estimates of log ",
    element("i", "p(x)"),
    ", nats below the exact value (square-root scale)",
  );
  const sign = ({ look, mark, dash }) =>
    shape(
      "svg",
      { viewBox: "0 0 26 12", "aria-hidden": "true" },
      ...(dash === undefined
        ? []
        : [shape("path", { class: `dgm-mu-line ${look}`, "stroke-dasharray": dash, d: "M0 6H26" })]),
      shape("path", { class: `dgm-mu-marks ${look}`, d: mark(13, 6, 4) }),
    );
  const row = (look, ...words) => {
    const value = element("td");
    const node = element(
      "tr",
      element("th", { scope: "row" }, ...(look ? [sign(look)] : []), ...words),
      value,
    );
    return { node, value };
  };
  const exactRow = row({ look: "dgm-mu-exact", dash: "", mark: () => "" }, "exact, Kalman");
  const thisRow = row({ look: "dgm-mu-single", mark: MARKS.diamond }, "this run");
  const elboRow = row(ELBO, "ELBO, one particle");
  const ruleRows = RULES.map((rule) => row(rule, `${rule.bound}, ${rule.name}`));
  const heads = ["Log-likelihood", "mean \u00b1 s.e., nats"].map((text) =>
    element("th", { scope: "col" }, text),
  );
  const all = [exactRow, elboRow, ...ruleRows, thisRow].map(({ node }) => node);
  const table = element("table", element("thead", element("tr", ...heads)), element("tbody", ...all));
  const note = element("p.dgm-note");
  frame.side.append(element("div", caption, plot), table, note);

  // Controls

  const count = labelledSlider(
    `${frame.id}-particles`,
    "",
    { min: 1, max: MOST.particles, step: 1 },
    (particles) => change({ particles }),
  );
  count.words.append(...rich("Particles, *N*"));
  const rule = radioRow(
    `${frame.id}-rule`,
    "Resample",
    RULES.map(({ key: value, name }) => [value, name]),
    (criterion) => change({ criterion }),
  );
  rule.node.prepend(element("span", "Resample"));
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    ...sequences.map(({ name, label }) => element("option", { value: name }, label)),
  );
  pick.addEventListener("change", () => change({ sequence: pick.value }));
  const again = pushButton("Draw again", () => change({ seed: (model.get("seed") + 1) % FIRST_RUN }));
  const chosen = element("label.dgm-mu-pick", { for: pick.id }, "Data", pick);
  frame.controls.append(
    count.node,
    rule.node,
    element("div.dgm-row.dgm-mu-buttons", chosen, again, frame.reset),
  );
  frame.reset.addEventListener("click", () => change(first));
  const showSettings = () => {
    count.input.value = model.get("particles");
    count.say(count.input.value);
    rule.show(model.get("criterion"));
    pick.value = model.get("sequence");
  };
  showSettings(); // even where nothing can be drawn yet: out of sight, a notebook gives no width

  // The many runs, a slice at a time while the reader pauses; what they came to is kept.

  const kept = new Map();
  const clouds = new Map();
  const cloudOf = (T, N) => {
    const name = `${T} ${N}`;
    if (!clouds.has(name)) clouds.set(name, makeCloud(T, N));
    return clouds.get(name);
  };
  // At one particle there is nothing to choose from.
  const tally = (N, criterion) => {
    const name = [at.name, N, N === 1 ? "never" : criterion].join();
    if (!kept.has(name)) kept.set(name, { n: 0, mean: 0, squares: 0 });
    return kept.get(name);
  };
  // Of what is shown, what still lacks runs.
  const unfinished = (N) =>
    [1, N, ...SIZES]
      .flatMap((size) =>
        RULES.map(({ key: criterion }) => ({ size, criterion, found: tally(size, criterion) })),
      )
      .filter(({ found }) => found.n < RUNS);

  let [timer, told] = [0, 0];
  function slice() {
    const start = performance.now();
    const left = unfinished(model.get("particles"));
    for (const { size, criterion, found } of left) {
      const cloud = cloudOf(at.x.length, size);
      while (found.n < RUNS && performance.now() - start < SLICE_MS) {
        const off = filterRun(system, at.x, criterion, FIRST_RUN + found.n, cloud) - found.mean;
        found.mean += off / ++found.n;
        found.squares += (off * off * (found.n - 1)) / found.n;
      }
    }
    const done = left.every(({ found }) => found.n === RUNS);
    if (!done) timer = setTimeout(slice);
    if (!done && start - told < 100) return;
    told = start;
    plotted = "";
    ask();
  }

  // Mean and standard error; null before the first run.
  function means(N, criterion) {
    const { n, mean, squares } = tally(N, criterion);
    return n ? { mean, error: Math.sqrt(squares / Math.max(1, n - 1) / n) } : null;
  }

  // Drawing

  let [width, sideWidth] = [0, 0];
  const [LEFT, TOP, TALL, GAP, LOW] = [30, 8, 230, 30, 56];
  const speak = throttled(frame.status, 600);
  const put = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };
  let [laid, made, painted, plotted] = ["", "", "", ""]; // what each part shows
  let [at, current, scale] = [null, null, null];

  function layout() {
    const { x, filtered } = at;
    const T = x.length;
    const spread = (i) => 3 * filtered.deviation[i];
    const low = Math.min(-3.4, ...x.map((v, i) => Math.min(v, filtered.mean[i] - spread(i)) - 0.2));
    const high = Math.max(3.4, ...x.map((v, i) => Math.max(v, filtered.mean[i] + spread(i)) + 0.2));
    const step = (width - LEFT - 14) / T;
    const px = (t) => LEFT + (t + 0.5) * step;
    const py = (v) => TOP + ((high - v) / (high - low)) * TALL;
    const bottom = TOP + TALL + GAP + LOW;
    scale = { px, py, step, bottom };
    axes.replaceChildren();
    for (const v of ticks(low, high, 6)) {
      axes.append(shape("path.dgm-grid", { d: `M${LEFT} ${py(v)}H${width - 8}` }));
      axes.append(
        shape("text", { x: LEFT - 5, y: py(v) + 4, "text-anchor": "end" }, String(v).replace("-", "\u2212")),
      );
    }
    axes.append(shape("path.dgm-axis", { d: `M${LEFT} ${bottom}H${width - 8}` }));
    const every = Math.max(1, Math.ceil(22 / step));
    for (let t = 0; t < T; t += every)
      axes.append(shape("text", { x: px(t), y: bottom + 15, "text-anchor": "middle" }, String(t + 1)));
    axes.append(
      shape(
        "text.dgm-strong",
        { x: LEFT + (width - LEFT) / 2, y: bottom + 31, "text-anchor": "middle" },
        "step",
      ),
    );
    axes.append(shape("text.dgm-strong.dgm-halo", { x: LEFT + 4, y: TOP + 10 }, "state ", italic("z")));
    for (const sheet of sheets) {
      sheet.setAttribute("viewBox", `0 0 ${width} ${bottom + 36}`);
      sheet.setAttribute("height", bottom + 36);
    }
    Object.assign(tree.style, {
      left: `${LEFT}px`,
      top: `${TOP}px`,
      width: `${width - LEFT - 8}px`,
      height: `${TALL}px`,
    });
    essName.setAttribute("x", LEFT + 4);
    essName.setAttribute("y", TOP + TALL + 18);
    most.setAttribute("x", LEFT - 5);
    most.setAttribute("y", bottom - LOW + 5);
    half.setAttribute("d", `M${LEFT} ${bottom - LOW / 2}H${width - 8}`);
    const line = (values) => values.map((v, t) => `${px(t).toFixed(1)} ${py(v).toFixed(1)}`);
    const edge = (way) => filtered.mean.map((m, t) => m + way * 2 * filtered.deviation[t]);
    mean.setAttribute("d", `M${line(filtered.mean).join("L")}`);
    band.setAttribute("d", `M${[...line(edge(1)), ...line(edge(-1)).reverse()].join("L")}Z`);
    const crosses = x.map((v, t) => `M${px(t) - 4} ${py(v) - 4}l8 8m0 -8l-8 8`).join("");
    for (const part of [under, seen]) part.setAttribute("d", crosses);
    layoutPlot();
  }

  // One particle's mean is known, and nothing lies lower: -1/2 [ln 2 pi r + (x^2 + Var z) / r], summed.
  function lowest({ a, q, r, first: p }, x) {
    let sum = 0;
    for (const v of x) {
      sum -= (Math.log(2 * Math.PI * r) + (v * v + p) / r) / 2;
      p = a * a * p + q;
    }
    return sum;
  }

  const root = (v) => Math.sign(v) * Math.sqrt(Math.abs(v));
  const [PLOT_LEFT, PLOT_TOP, PLOT_TALL] = [30, 8, 150];
  let plotScale = null;

  function layoutPlot() {
    const deepest = 1.12 * (at.filtered.logLikelihood - lowest(system, at.x));
    const [low, high] = [-root(deepest), 0.32 * root(deepest)];
    const bottom = PLOT_TOP + PLOT_TALL;
    const px = (N) => PLOT_LEFT + 10 + (Math.log2(N) / 6) * (sideWidth - PLOT_LEFT - 24);
    const py = (gap) =>
      PLOT_TOP + ((high - Math.max(low, Math.min(high, root(gap)))) / (high - low)) * PLOT_TALL;
    plotScale = { px, py };
    plotAxes.replaceChildren();
    let last = -Infinity;
    for (const v of [0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]) {
      const y = py(-v);
      if (v > deepest || y - last < 13) continue;
      last = y;
      if (v) plotAxes.append(shape("path.dgm-grid", { d: `M${PLOT_LEFT} ${y}H${sideWidth - 4}` }));
      plotAxes.append(shape("text", { x: PLOT_LEFT - 5, y: y + 4, "text-anchor": "end" }, String(v)));
    }
    for (const N of SIZES)
      plotAxes.append(shape("text", { x: px(N), y: bottom + 15, "text-anchor": "middle" }, String(N)));
    plotAxes.append(shape("path.dgm-axis", { d: `M${PLOT_LEFT} ${bottom}H${sideWidth - 4}` }));
    plotAxes.append(
      shape(
        "text.dgm-strong",
        { x: PLOT_LEFT + (sideWidth - PLOT_LEFT) / 2, y: bottom + 31, "text-anchor": "middle" },
        "particles",
      ),
    );
    truth.setAttribute("d", `M${PLOT_LEFT} ${py(0)}H${sideWidth - 4}`);
    plot.setAttribute("viewBox", `0 0 ${sideWidth} ${bottom + 36}`);
    plot.setAttribute("height", bottom + 36);
  }

  // In units of CSS pixels; what lies outside the canvas is cut off.
  function paintTree({ cloud, alive }, colour, dense) {
    const { T, N, z, w, parent } = cloud;
    const { px, py } = scale;
    const [wide, tall] = [width - LEFT - 8, TALL].map((v) => Math.round(v * dense));
    if (tree.width !== wide) tree.width = wide;
    if (tree.height !== tall) tree.height = tall;
    pen.setTransform(dense, 0, 0, dense, -LEFT * dense, -TOP * dense);
    pen.clearRect(LEFT, TOP, width, TALL);
    pen.strokeStyle = pen.fillStyle = colour;
    for (const strong of [0, 1]) {
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
    pen.beginPath();
    for (let t = 0, o = 0; t < T; t++) {
      const x = px(t);
      for (let n = 0; n < N; n++, o++) {
        const y = py(z[o]);
        const r = 8 * Math.sqrt(w[o]);
        if (r > 1) {
          pen.moveTo(x + r, y);
          pen.arc(x, y, r, 0, 2 * Math.PI);
        } else pen.rect(x - 0.8, y - 0.8, 1.6, 1.6); // a circle takes much longer
      }
    }
    pen.globalAlpha = 0.6;
    pen.fill();
  }

  function paintBars({ N, ess, resampled }) {
    const { px, step, bottom } = scale;
    const wide = Math.min(26, 0.6 * step);
    const tall = (v) => (v / N) * LOW;
    bars.setAttribute(
      "d",
      Array.from(ess, (v, t) => `M${px(t) - wide / 2} ${bottom}v${-tall(v)}h${wide}V${bottom}Z`).join(""),
    );
    struck.setAttribute(
      "d",
      Array.from(ess, (v, t) => (resampled[t] ? MARKS.wedge(px(t), bottom - tall(v) - 7, 4) : "")).join(""),
    );
    put(most, String(N));
  }

  function paintMeans(N) {
    const { px, py } = plotScale;
    const sizes = [...new Set([N, ...SIZES])].sort((a, b) => a - b);
    RULES.forEach(({ key: criterion, mark }, s) => {
      const found = sizes.map((size) => [size, means(size, criterion)]).filter(([, v]) => v);
      const gap = (v) => py(v - at.filtered.logLikelihood);
      series[s].line.setAttribute(
        "d",
        found.length === sizes.length
          ? `M${found.map(([size, v]) => `${px(size)} ${gap(v.mean)}`).join("L")}`
          : "",
      );
      // The three share N: side by side, so that none hides another.
      const aside = (size) => px(size) + (size > 1 ? 3 * (s - 1) : 0);
      series[s].errors.setAttribute(
        "d",
        found
          .map(([size, { mean: m, error }]) => `M${aside(size)} ${gap(m - error)}V${gap(m + error)}`)
          .join(""),
      );
      series[s].marks.setAttribute(
        "d",
        found.map(([size, { mean: m }]) => mark(aside(size), gap(m), size === N ? 4.5 : 3)).join(""),
      );
    });
    here.setAttribute("d", `M${px(N)} ${PLOT_TOP}v${PLOT_TALL}`);
  }

  let colour = "";
  function draw() {
    if (!width) return;
    const [N, criterion, seed] = ["particles", "criterion", "seed"].map((name) => model.get(name));
    if (at?.name !== model.get("sequence")) {
      at = sequences.find(({ name }) => name === model.get("sequence"));
      at = { ...at, filtered: kalman(system, at.x) };
    }
    const room = [width, sideWidth, at.name].join();
    if (laid !== room) layout();
    laid = room;
    const run = [at.name, N, criterion, seed].join();
    const done = !unfinished(N).length;
    if (made !== run) {
      makeRun(N, criterion, seed);
      clearTimeout(timer);
      if (!done) timer = setTimeout(slice, PAUSE_MS);
    }
    made = run;
    colour ||= getComputedStyle(tree).color;
    const dense = Math.min(2, devicePixelRatio || 1);
    const wanted = [run, room, colour, dense].join();
    if (painted !== wanted) {
      paintTree(current, colour, dense);
      paintBars(current.cloud);
      single.setAttribute(
        "d",
        MARKS.diamond(plotScale.px(N), plotScale.py(current.estimate - at.filtered.logLikelihood), 5),
      );
    }
    painted = wanted;
    if (plotted !== `${N},${room}`) paintMeans(N);
    plotted = `${N},${room}`;
    showMeans(N, criterion, done);
  }
  const ask = onceAFrame("dgm:particle-kalman", draw);

  function makeRun(N, criterion, seed) {
    const cloud = makeCloud(at.x.length, N);
    const estimate = filterRun(system, at.x, criterion, seed, cloud);
    const alive = survivors(cloud);
    const founders = alive.subarray(0, N).reduce((sum, v) => sum + v, 0);
    const times = cloud.resampled.reduce((sum, v) => sum + v, 0);
    current = { cloud, alive, estimate, founders, heaviest: Math.max(...cloud.w.subarray(-N)) };
    showSettings();
    frame.root.dataset.run = estimate;
    tree.setAttribute(
      "aria-label",
      `${N} particles over ${at.x.length} steps, resampled ${times} times; ${founders} of the first step's have descendants at the last. Least effective sample size ${Math.min(...cloud.ess).toFixed(1)}.`,
    );
  }

  function showMeans(N, criterion, done) {
    const exact = at.filtered.logLikelihood;
    const say = (cell, found) => put(cell, found?.error ? withError(found.mean, found.error) : "\u2026");
    put(exactRow.value, decimals(exact, 3));
    put(thisRow.value, decimals(current.estimate, 3));
    const elbo = means(1, "never");
    const found = RULES.map(({ key: name }) => means(N, name));
    say(elboRow.value, elbo);
    RULES.forEach(({ key: name }, s) => {
      say(ruleRows[s].value, found[s]);
      ruleRows[s].node.classList.toggle("dgm-forward", name === criterion);
    });
    const founders =
      N === 1
        ? ""
        : `${current.founders} of the ${N} first particles ${current.founders === 1 ? "has" : "have"} descendants at the end, where one carries ${Math.round(100 * current.heaviest)}\u2009% of the weight. `;
    const above =
      current.estimate > exact ? "This run lies above the exact value: one may, their mean may not. " : "";
    const one = N === 1 ? "With one particle there is nothing to resample: all three are the ELBO. " : "";
    const ready = done ? "" : "The runs are still being made.";
    put(note, `${one}${founders}${above}Means are of ${RUNS} runs each. ${ready}`.trim());
    if (!done) return frame.root.removeAttribute("data-means");
    frame.root.dataset.means = JSON.stringify({
      elbo,
      ...Object.fromEntries(RULES.map(({ key: name }, s) => [name, found[s]])),
    });
    const spoken = RULES.map(({ name, bound }, s) => `${bound} ${name} ${found[s].mean.toFixed(3)}`).join(
      ", ",
    );
    plot.setAttribute(
      "aria-label",
      `Mean estimates with ${N} particles against the exact ${exact.toFixed(3)} nats: ELBO ${elbo.mean.toFixed(2)}, ${spoken}; they rise towards the exact value with the number of particles.`,
    );
    speak(
      `This run: ${current.estimate.toFixed(3)} nats, exact ${exact.toFixed(3)}. ${founders}Means: ELBO ${elbo.mean.toFixed(2)}, ${spoken}.`,
    );
  }

  const recolour = () => {
    colour = "";
    ask();
  };
  const themes = new MutationObserver(recolour);
  for (const node of [document.documentElement, document.body])
    themes.observe(node, {
      attributes: true,
      attributeFilter: ["data-theme", "theme", "class", "data-jp-theme-light"],
    });
  addEventListener("resize", ask); // a zoomed page has other pixels
  for (const name of names) model.on(`change:${name}`, ask);
  el.append(frame.root);
  const measure = () => {
    [width, sideWidth] = [Math.floor(frame.picture.clientWidth), Math.floor(frame.side.clientWidth)];
    ask();
  };
  const stops = [onWidth(frame.picture, measure), onWidth(frame.side, measure)];
  return () => {
    ask.stop();
    clearTimeout(timer);
    for (const stop of stops) stop();
    themes.disconnect();
    removeEventListener("resize", ask);
    for (const name of names) model.off(`change:${name}`, ask);
  };
}

export default { render };
