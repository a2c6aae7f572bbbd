// The pooling race: likelihood, KL and information of many runs, against the training that each has had.

import "../styles/pooling.css";
import { axesOf, linear, through } from "../charts.js";
import { makePlayer } from "../clock.js";
import { DASHES, decimals, labelledSlider, SHAPES } from "../controls.js";
import { formOf, pickOf, put, radiosOf, tableBy } from "../form.js";
import { element, MARKS, shape, ticks } from "../frame.js";
import { last } from "../models/arrays.js";
import { onDrag } from "../pads.js";
import { place, resize, short, sign } from "../plot.js";
import { defineWidget, layersOf } from "../widget.js";

/** @typedef {[x: number, value: number]} Place */

/** @type {{ key: PoolingMeasures, name: string, short: string }[]} */
const METRICS = [
  { key: "log_likelihood", name: "log-likelihood", short: "log-lik." },
  { key: "kl", name: "KL", short: "KL" },
  { key: "information", name: "mutual information", short: "inform." },
];
const GROUPS = { plain: "Plain", fix: "Known remedies", pooling: "Pooling", control: "Controls" };
const [LEFT, TOP, TALL] = [34, 6, 150]; // px, of a chart
const BOTTOM = TOP + TALL;
const REACHED = 1 + 1e-9; // of a moment, against rounding

/** The runs, how each is drawn, and which are shown. @param {Widget} w */
function runsOf(w) {
  /** @type {PoolingRun[]} */
  const runs = w.get("runs");
  /** Within a group, lines differ by dash and mark. @param {PoolingRun} run */
  const look = (run) => {
    const i = runs.filter(({ group }) => group === run.group).indexOf(run);
    return { dash: DASHES[i % 5], mark: MARKS[SHAPES[(i + Math.floor(i / 5)) % 5]] };
  };
  const steps = () => w.get("axis") === "steps";
  const column = (/** @type {PoolingRun} */ run) => (steps() ? run.step : run.seconds);
  const visible = () => runs.filter((run) => w.get("shown").includes(run.name));
  const limit = () => Math.max(0, ...(visible().length ? visible() : runs).flatMap(column)) || 1;
  const line = (/** @type {PoolingRun} */ run, /** @type {string} */ d) =>
    shape("path.dgm-line", { "stroke-dasharray": look(run).dash, d });
  const head = (/** @type {PoolingRun} */ run, x = 0, y = 0) =>
    shape("path.dgm-head", { d: look(run).mark(x, y, 4) });
  return {
    runs,
    line,
    head,
    steps,
    column,
    visible,
    limit,
    /** @param {PoolingRun} run */
    signOf: (run) => sign(`dgm-${run.group}`, line(run, "M1 7H33"), head(run, 17, 7)),
    when: (/** @type {number} */ x) =>
      steps() ? `step ${Math.round(x).toLocaleString("en")}` : `${decimals(x, limit() < 1000 ? 1 : 0)} s`,
    /** With these ticked, and the one in front with them. @param {string} name @param {boolean} on */
    chosen: (name, on) =>
      runs.map((run) => run.name).filter((other) => (other === name ? on : w.get("shown").includes(other))),
  };
}
/** @typedef {ReturnType<typeof runsOf>} Runs */

// Where a line stands at x: between two measurements, and at its end after the last.
/** @type {(points: Place[], x: number) => Place | null} */
function standing(points, x) {
  const after = points.findIndex(([at]) => at > x);
  if (after === 0 || !points.length) return null;
  if (after < 0) return last(points);
  const [[x0, v0], [x1, v1]] = [points[after - 1], points[after]];
  return [x, v0 + ((x - x0) / (x1 - x0)) * (v1 - v0)];
}

/** The values on a chart's axis. @type {(key: string, lines: Place[][]) => number[]} */
function boundsOf(key, lines) {
  const values = lines.flat().map(([, v]) => v);
  if (!values.length) return [0, 1];
  const top = Math.max(...values);
  if (key !== "log_likelihood") return [Math.min(0, ...values), 1.06 * top || 1];
  // A likelihood climbs steeply at first: what matters is where the runs end.
  const least = Math.min(...lines.flatMap((points) => points.slice(-1).map(([, v]) => v)));
  const room = Math.max(top - least, 0.02 * Math.abs(top), 1e-6);
  return [Math.max(Math.min(...values) - 0.1 * room, least - 1.5 * room), top + 0.15 * room];
}

/** One metric's chart. @type {(w: Widget, all: Runs, m: number, scrub: (time: number) => void) => Chart} */
function makeChart(w, all, m, scrub) {
  const { key, name } = METRICS[m];
  const svg = shape("svg.dgm-drag", { role: "img" });
  const ids = [`${w.id}-plot${m}`, `${w.id}-past${m}`];
  const clips = ids.map((id) => shape("clipPath", { id }, shape("rect")));
  svg.append(...clips);
  const { axes, ahead, done, now, heads } = layersOf(svg, {
    axes: "g",
    ahead: "g.dgm-ahead",
    done: "g.dgm-done",
    now: "path.dgm-now",
    heads: "g",
  });
  for (const [i, layer] of [ahead, done].entries()) place(layer, { "clip-path": `url(#${ids[i]})` });
  w.picture.append(element("div.dgm-panel", element("p.dgm-caption", name), svg));
  /** @type {{ run: PoolingRun, points: Place[], parts: SVGElement[], mark: SVGElement }[]} */
  let lines = [];
  let [right, px, py] = [0, linear([0, 1], [0, 1]), linear([0, 1], [0, 1])];
  const scrubTo = (/** @type {number} */ x) =>
    scrub(+Math.max(0, Math.min(1, (x - LEFT) / (right - LEFT))).toFixed(3));
  onDrag(svg, () => [], scrubTo);

  const pointsOf = (/** @type {PoolingRun} */ run) =>
    all.column(run).flatMap((x, i) => {
      const v = run[key][i];
      return v === null ? [] : [/** @type {Place} */ ([x, v])];
    });

  /** @type {Chart["layout"]} */
  function layout(forward) {
    const width = Math.floor(svg.clientWidth);
    if (!width) return;
    right = width - 8;
    const places = all.visible().map(pointsOf);
    const [limit, ends] = [all.limit(), boundsOf(key, places)];
    [px, py] = [linear([0, limit], [LEFT, right]), linear(ends, [BOTTOM, TOP])];
    resize(svg, width, BOTTOM + 36);
    const says = `${name}, nats a sentence, against training ${w.get("axis")}`;
    place(svg, { "aria-label": `${says}: ${places.length} runs, as in the table` });
    const box = { px, py, left: LEFT, top: TOP, right, bottom: BOTTOM };
    const [xs, ys] = [ticks(0, limit, (right - LEFT) / 40), ticks(ends[0], ends[1], TALL / 36)];
    const x = all.steps() ? "steps" : "training time, s";
    const texts = {
      xText: (/** @type {number} */ v) => (v || 0).toLocaleString("en"),
      yText: (/** @type {number} */ v) => short(v, 5),
    };
    axes.replaceChildren(...axesOf(box, { xs, ys, x, ...texts }));
    for (const { children } of clips)
      place(children[0], { x: LEFT, y: TOP - 3, width: right - LEFT + 3, height: TALL + 6 });
    lines = all.visible().map((run, i) => {
      const d = through(places[i].map(([at, v]) => [px(at).toFixed(1), py(v).toFixed(1)]));
      const mark = all.head(run);
      const parts = [all.line(run, d), all.line(run, d), mark].map((node) => {
        const g = shape(`g.dgm-${run.group}`, node);
        g.classList.toggle("dgm-aside", forward !== "" && run.name !== forward);
        g.classList.toggle("dgm-forward", run.name === forward);
        return g;
      });
      return { run, points: places[i], parts, mark };
    });
    // What is in front comes last.
    const order = [...lines].sort((a, b) => Number(a.run.name === forward) - Number(b.run.name === forward));
    for (const [i, layer] of [ahead, done, heads].entries())
      layer.replaceChildren(...order.map(({ parts }) => parts[i]));
  }

  /** @type {Chart["draw"]} */
  function draw(x) {
    if (!right) return;
    place(clips[1].children[0], { width: Math.max(0, px(x) - LEFT) });
    place(now, { d: `M${px(x)} ${TOP}v${TALL}` });
    for (const { points, mark } of lines) {
      const at = standing(points, x);
      mark.style.display = at && py(at[1]) <= BOTTOM + 0.5 ? "" : "none";
      if (at) place(mark, { transform: `translate(${px(at[0]).toFixed(1)} ${py(at[1]).toFixed(1)})` });
    }
  }
  return { layout, draw };
}
/** @typedef {{ layout(forward: string): void, draw(x: number): void }} Chart */

/** The table of the runs, best first, and more about one. */
/** @param {Widget} w @param {Runs} all @param {(name: string) => void} bring */
function makeTable(w, all, bring) {
  const more = element("p.dgm-small");
  const smalls = all.runs.map(() => element("small"));
  const names = all.runs.map((run, r) => [all.signOf(run), run.label, smalls[r]]);
  const table = tableBy(" ", ["Run", ...METRICS.map((metric) => metric.short)], names);
  const [body, caption] = [table.node.tBodies[0], table.node.createCaption()];
  for (const [r, { name }] of all.runs.entries()) {
    table.rows[r].addEventListener("click", () => bring(w.get("highlighted") === name ? "" : name));
  }
  w.side.append(table.node, more);

  // The last measurement not after x; null before the first.
  /** @type {(run: PoolingRun, key: PoolingMeasures, x: number) => number | null} */
  function known(run, key, x) {
    const places = all.column(run);
    for (let i = places.length - 1; i >= 0; i--) {
      if (places[i] <= x * REACHED && run[key][i] !== null) return run[key][i];
    }
    return null;
  }
  function about(/** @type {number} */ x) {
    const run = all.visible().find(({ name }) => name === w.get("highlighted"));
    if (!run) return "";
    const [error, units] = [known(run, "reconstruction", x), known(run, "active_units", x)];
    const parts = [];
    if (error !== null) parts.push(`reconstruction ${decimals(error)} nats`);
    if (units !== null) parts.push(`${decimals(units, Number.isInteger(units) ? 0 : 1)} active units`);
    return parts.length ? `${run.label}: ${parts.join(", ")}.` : "";
  }
  /** Returns the runs' values, best first. @param {number} x */
  return (x) => {
    const lines = all.visible().map((run) => ({ run, values: METRICS.map(({ key }) => known(run, key, x)) }));
    lines.sort((a, b) => (b.values[0] ?? -Infinity) - (a.values[0] ?? -Infinity) || 0);
    const order = lines.map(({ run, values }) => {
      const r = all.runs.indexOf(run);
      const end = last(all.column(run));
      // In words only where they are new: a frame has no time to spell thirty numbers.
      const over = end <= x * REACHED ? `${end} ${w.get("axis")}` : "";
      if (smalls[r].dataset.over !== over) smalls[r].textContent = over && `ended at ${all.when(end)}`;
      smalls[r].dataset.over = over;
      table.rows[r].classList.toggle("dgm-forward", run.name === w.get("highlighted"));
      table.fill(r, ...values.map((v) => (v === null ? "\u2013" : decimals(v))));
      return table.rows[r];
    });
    const same = order.length === body.children.length && order.every((node, i) => body.children[i] === node);
    if (!same) body.replaceChildren(...order);
    const says = `Nats a sentence, as last measured by ${all.when(x)}; best likelihood first.`;
    put(caption, lines.length ? says : "No run is ticked: tick one or more.");
    put(more, about(x));
    return lines;
  };
}

/** Which runs are shown. @param {Widget} w @param {Runs} all */
function makeChoice(w, { runs, signOf, chosen }) {
  /** @type {HTMLInputElement[]} */
  const boxes = [];
  const fields = Object.entries(GROUPS).map(([group, legend]) => {
    const own = runs.filter((run) => run.group === group);
    const labels = own.map((run) => {
      const box = element("input", { type: "checkbox", value: run.name });
      box.addEventListener("change", () => {
        const gone = !box.checked && w.get("highlighted") === run.name;
        w.change({ shown: chosen(run.name, box.checked), ...(gone ? { highlighted: "" } : {}) });
      });
      boxes.push(box);
      return element("label", box, signOf(run), element("span", run.label));
    });
    return labels.length
      ? [element("fieldset", element("legend", legend), element("div.dgm-runs", ...labels))]
      : [];
  });
  const show = () => {
    for (const box of boxes) box.checked = w.get("shown").includes(box.value);
  };
  return { node: element("div.dgm-choice", ...fields.flat()), show };
}

export default defineWidget(
  {
    measure: "dgm:pooling-race",
    names: ["time", "highlighted", "shown", "axis"],
    hint: "find a run whose KL is high and whose likelihood is no better.",
    kind: "dgm-pool dgm-race",
    pause: 700,
  },
  (w) => {
    const all = runsOf(w);
    const player = makePlayer(w);
    const form = formOf(w);
    const scrub = (/** @type {number} */ time) => {
      player.stop();
      w.change({ time });
    };
    const bring = (/** @type {string} */ name) => {
      const hidden = name && !w.get("shown").includes(name);
      w.change({ highlighted: name, ...(hidden ? { shown: all.chosen(name, true) } : {}) });
    };
    const forward = () => (w.get("shown").includes(w.get("highlighted")) ? w.get("highlighted") : "");
    const charts = METRICS.map((_, m) => makeChart(w, all, m, scrub));
    const showTable = makeTable(w, all, bring);
    const slider = labelledSlider(`${w.id}-time`, "", { min: 0, max: 1, step: 0.005 }, scrub);
    const axis = radiosOf(
      form,
      "axis",
      "Against",
      ["seconds", "steps"].map((name) => [name, name]),
    );
    axis.prepend(player.button);
    const options = [["", "none"], ...all.runs.map((run) => [run.name, run.label])];
    const binding = { get: forward, set: (/** @type {string | number} */ name) => bring(String(name)) };
    const front = pickOf(form, "label.dgm-forward-pick", "highlighted", "Bring forward", options, binding);
    w.controls.append(slider.node, axis, element("div.dgm-row", front, form.reset(player.stop)));
    const choice = makeChoice(w, all);
    w.side.after(choice.node);
    let laid = "";

    // Which lines there are, and which stands in front.
    function layout() {
      const key = JSON.stringify([
        w.get("shown"),
        w.get("axis"),
        w.get("highlighted"),
        w.picture.clientWidth,
      ]);
      if (key === laid) return;
      laid = key;
      form.show();
      choice.show();
      for (const chart of charts) chart.layout(forward());
    }

    return () => {
      const playing = player.step();
      layout();
      const x = w.get("time") * all.limit();
      for (const chart of charts) chart.draw(x);
      slider.words.textContent = all.steps() ? "Training steps" : "Training time, without measuring";
      slider.show(w.get("time"), all.when(x));
      const lines = showTable(x);
      const best = lines[0]?.values[0] != null ? [lines[0]] : [];
      const front = lines.filter(({ run }) => run.name === w.get("highlighted"));
      const spoken = [...best, ...front].map(({ run, values }) => {
        const texts = values.map((v, i) => `${METRICS[i].name} ${v === null ? "unknown" : decimals(v)}`);
        return `${run.label}: ${texts.join(", ")}`;
      });
      if (!playing) w.speak(`By ${all.when(x)}. ${[...new Set(spoken)].join(". ")}`);
      return playing;
    };
  },
);
