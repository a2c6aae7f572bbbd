// The pooling race: likelihood, KL and information of many runs, against the training that each has had.

import "../styles/pooling.css";
import { makePlayer } from "../clock.js";
import {
  DASHES,
  decimals,
  labelledSlider,
  radioRow,
  SHAPES,
  selectOf,
  tableOf,
  tableRow,
} from "../controls.js";
import { element, MARKS, onDrag, openWidget, shape, throttled, ticks } from "../frame.js";
import { last } from "../models/arrays.js";
import { axisName, bottomAxis, leftAxis, place, resize, short, sign } from "../plot.js";

/** @typedef {(number | null)[]} Column */
/**
 * @typedef {{ name: string, label: string, group: string, step: number[], seconds: number[] } &
 *   Record<string, Column>} Run
 */
/** @typedef {[x: number, value: number]} Place */
/** @typedef {{ dash: string, mark: (x: number, y: number, r: number) => string }} Look */

const METRICS = [
  { key: "log_likelihood", name: "log-likelihood", short: "log-lik." },
  { key: "kl", name: "KL", short: "KL" },
  { key: "information", name: "mutual information", short: "inform." },
];
/** @type {Record<string, string>} */
const GROUPS = { plain: "Plain", fix: "Known remedies", pooling: "Pooling", control: "Controls" };
const [LEFT, TOP, TALL] = [34, 6, 150]; // px, of a chart
const BOTTOM = TOP + TALL;
const REACHED = 1 + 1e-9; // of a moment, against rounding

/** What the widget shows: its runs by name, and how each is drawn. @type {(w: Widget) => Race} */
function makeRace(w) {
  /** @type {Run[]} */
  const runs = w.get("runs");
  /** @type {Map<string, Look>} */
  const looks = new Map();
  // Within a group, lines differ by dash and mark.
  for (const group of Object.keys(GROUPS)) {
    for (const [i, { name }] of runs.filter((run) => run.group === group).entries()) {
      looks.set(name, { dash: DASHES[i % 5], mark: MARKS[SHAPES[(i + Math.floor(i / 5)) % 5]] });
    }
  }
  const look = (/** @type {Run} */ run) => looks.get(run.name) ?? { dash: "", mark: MARKS.circle };
  /** @type {Race["line"]} */
  const line = (run, d) => shape("path.dgm-line", { "stroke-dasharray": look(run).dash, d });
  /** @type {Race["head"]} */
  const head = (run, x = 0, y = 0) => shape("path.dgm-head", { d: look(run).mark(x, y, 4) });
  const steps = () => w.get("axis") === "steps";
  const column = (/** @type {Run} */ run) => (steps() ? run.step : run.seconds);
  const visible = () => runs.filter((run) => w.get("shown").includes(run.name));
  const limit = () => Math.max(0, ...(visible().length ? visible() : runs).flatMap(column)) || 1;
  const when = (/** @type {number} */ x) => {
    return steps()
      ? `step ${Math.round(x).toLocaleString("en")}`
      : `${decimals(x, limit() < 1000 ? 1 : 0)} s`;
  };
  return { runs, line, head, steps, column, visible, limit, when };
}
/**
 * @typedef {{ runs: Run[], line(run: Run, d: string): SVGElement, head(run: Run, x?: number, y?: number):
 *   SVGElement, steps(): boolean, column(run: Run): number[], visible(): Run[], limit(): number, when(x:
 *   number): string }} Race
 */

/** @type {(race: Race, run: Run) => SVGElement} */
const signOf = ({ line, head }, run) => sign(`dgm-${run.group}`, line(run, "M1 7H33"), head(run, 17, 7));

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

/** One metric's chart. @type {(w: Widget, race: Race, m: number, scrub: (time: number) => void) => Chart} */
function makeChart(w, race, m, scrub) {
  const { key, name } = METRICS[m];
  const svg = shape("svg.dgm-drag", { role: "img" });
  const [whole, before] = [shape("rect"), shape("rect")];
  const ids = [`${w.id}-plot${m}`, `${w.id}-past${m}`];
  const clips = [whole, before].map((rect, i) => shape("clipPath", { id: ids[i] }, rect));
  const [axes, heads] = [shape("g"), shape("g")];
  const ahead = shape("g.dgm-ahead", { "clip-path": `url(#${ids[0]})` });
  const done = shape("g.dgm-done", { "clip-path": `url(#${ids[1]})` });
  const now = shape("path.dgm-now");
  svg.append(...clips, axes, ahead, done, now, heads);
  w.picture.append(element("div.dgm-panel", element("p.dgm-caption", name), svg));
  /** @type {Map<string, { points: Place[], parts: SVGElement[], mark: SVGElement }>} */
  const nodes = new Map();
  let [wide, limit, low, high] = [0, 1, 0, 1];
  const px = (/** @type {number} */ x) => LEFT + (x / limit) * wide;
  const py = (/** @type {number} */ v) => TOP + TALL - ((v - low) / (high - low)) * TALL;

  function drawAxes() {
    const text = (/** @type {number} */ x) => (x || 0).toLocaleString("en");
    axes.replaceChildren(
      ...leftAxis(ticks(low, high, TALL / 36), {
        py,
        left: LEFT,
        right: LEFT + wide,
        text: (v) => short(v, 5),
      }),
      ...bottomAxis(ticks(0, limit, wide / 40), { px, y: BOTTOM, text }),
      shape("path.dgm-axis", { d: `M${LEFT} ${TOP}V${BOTTOM}h${wide}` }),
      axisName(LEFT + wide / 2, BOTTOM + 32, race.steps() ? "steps" : "training time, s"),
    );
    for (const clip of [whole, before])
      place(clip, { x: LEFT, y: TOP - 3, width: wide + 3, height: TALL + 6 });
  }

  /** @type {(run: Run, points: Place[]) => void} */
  function addRun(run, points) {
    const at = points.map(([x, v]) => `${px(x).toFixed(1)} ${py(v).toFixed(1)}`);
    const d = at.length ? `M${at.join("L")}` : "";
    const mark = race.head(run);
    const parts = [race.line(run, d), race.line(run, d), mark].map((node) => {
      return shape("g", { class: `dgm-${run.group}` }, node);
    });
    for (const [i, layer] of [ahead, done, heads].entries()) layer.append(parts[i]);
    nodes.set(run.name, { points, parts, mark });
  }

  function layout() {
    const width = Math.floor(svg.clientWidth);
    if (!width) return;
    const shown = race.visible();
    const lines = shown.map((run) => {
      return race.column(run).flatMap((x, i) => {
        const v = run[key][i];
        return v === null ? [] : [/** @type {Place} */ ([x, v])];
      });
    });
    wide = width - LEFT - 8;
    limit = race.limit();
    [low, high] = boundsOf(key, lines);
    resize(svg, width, BOTTOM + 36);
    const says = `${name}, nats a sentence, against training ${w.get("axis")}`;
    place(svg, { "aria-label": `${says}: ${shown.length} runs, as in the table` });
    drawAxes();
    for (const layer of [ahead, done, heads]) layer.replaceChildren();
    nodes.clear();
    for (const [i, run] of shown.entries()) addRun(run, lines[i]);
  }

  /** @type {(x: number) => void} */
  function draw(x) {
    if (!wide) return;
    place(before, { width: Math.max(0, (x / limit) * wide) });
    place(now, { d: `M${px(x)} ${TOP}v${TALL}` });
    for (const { points, mark } of nodes.values()) {
      const at = standing(points, x);
      mark.style.display = at && py(at[1]) <= BOTTOM + 0.5 ? "" : "none";
      if (at) place(mark, { transform: `translate(${px(at[0]).toFixed(1)} ${py(at[1]).toFixed(1)})` });
    }
  }

  /** @type {(forward: string) => void} */
  function bring(forward) {
    for (const [other, { parts }] of nodes) {
      for (const part of parts) {
        part.classList.toggle("dgm-aside", forward !== "" && other !== forward);
        part.classList.toggle("dgm-forward", other === forward);
        if (other === forward) part.parentNode?.append(part);
      }
    }
  }
  onDrag(svg, [], (event) => {
    const x = (event.clientX - svg.getBoundingClientRect().left - LEFT) / wide;
    scrub(+Math.max(0, Math.min(1, x)).toFixed(3));
  });
  return { layout, draw, bring };
}
/** @typedef {{ layout(): void, draw(x: number): void, bring(forward: string): void }} Chart */

// The last measurement not after x, of one metric; null before the first.
/** @type {(race: Race, run: Run, key: string, x: number) => number | null} */
function known(race, run, key, x) {
  const places = race.column(run);
  for (let i = places.length - 1; i >= 0; i--) {
    if (places[i] <= x * REACHED && run[key][i] !== null) return run[key][i];
  }
  return null;
}

/** @typedef {{ run: Run, values: (number | null)[] }} Line */
// The table of the runs, best first, and more about one.
/** @type {(w: Widget, race: Race, bring: (name: string) => void) => (x: number) => Line[]} */
function makeTable(w, race, bring) {
  const more = element("p.dgm-small");
  const rows = new Map(
    race.runs.map((run) => {
      const small = element("small");
      const cells = METRICS.map(() => element("td"));
      const node = tableRow([signOf(race, run), run.label, small], cells);
      node.addEventListener("click", () => bring(w.get("highlighted") === run.name ? "" : run.name));
      return [run.name, { node, small, cells }];
    }),
  );
  const table = tableOf(" ", ["Run", ...METRICS.map((metric) => metric.short)], []);
  const [body, caption] = [table.tBodies[0], table.createCaption()];
  w.side.append(table, more);

  /** @type {(line: Line, x: number) => Node | undefined} */
  function showRow({ run, values }, x) {
    const row = rows.get(run.name);
    if (!row) return undefined;
    row.node.classList.toggle("dgm-forward", run.name === w.get("highlighted"));
    const end = last(race.column(run));
    // In words only where they are new: a frame has no time to spell thirty numbers.
    const over = end <= x * REACHED ? `${end} ${w.get("axis")}` : "";
    if (row.small.dataset.over !== over) row.small.textContent = over && `ended at ${race.when(end)}`;
    row.small.dataset.over = over;
    for (const [i, v] of values.entries()) {
      const text = v === null ? "\u2013" : decimals(v);
      if (row.cells[i].textContent !== text) row.cells[i].textContent = text;
    }
    return row.node;
  }

  /** @type {(x: number) => string} */
  function about(x) {
    const run = race.visible().find(({ name }) => name === w.get("highlighted"));
    if (!run) return "";
    const [error, units] = ["reconstruction", "active_units"].map((key) => known(race, run, key, x));
    const parts = [];
    if (error !== null) parts.push(`reconstruction ${decimals(error)} nats`);
    if (units !== null) parts.push(`${decimals(units, Number.isInteger(units) ? 0 : 1)} active units`);
    return parts.length ? `${run.label}: ${parts.join(", ")}.` : "";
  }

  return (x) => {
    const lines = race
      .visible()
      .map((run) => ({ run, values: METRICS.map(({ key }) => known(race, run, key, x)) }));
    lines.sort((a, b) => (b.values[0] ?? -Infinity) - (a.values[0] ?? -Infinity) || 0);
    const order = lines.flatMap((one) => showRow(one, x) ?? []);
    const same = order.length === body.children.length && order.every((node, i) => body.children[i] === node);
    if (!same) body.replaceChildren(...order);
    const says = `Nats a sentence, as last measured by ${race.when(x)}; best likelihood first.`;
    caption.textContent = lines.length ? says : "No run is ticked: tick one or more.";
    more.textContent = about(x);
    return lines;
  };
}

/**
 * Which runs are shown, and which stands in front; shows both.
 * @type {(w: Widget, race: Race, bring: (name: string) => void) => { node: Node, forward: Node, show():
 *   string }}
 */
function makeChoice(w, race, bring) {
  const { runs } = race;
  /** @type {(name: string, on: boolean) => void} */
  const tick = (name, on) => {
    const shown = runs
      .map((run) => run.name)
      .filter((one) => (one === name ? on : w.get("shown").includes(one)));
    w.change(on || w.get("highlighted") !== name ? { shown } : { shown, highlighted: "" });
  };
  /** @type {HTMLInputElement[]} */
  const boxes = [];
  const fields = Object.entries(GROUPS).map(([group, legend]) => {
    const labels = runs
      .filter((run) => run.group === group)
      .map((run) => {
        const box = element("input", { type: "checkbox", value: run.name });
        box.addEventListener("change", () => tick(run.name, box.checked));
        boxes.push(box);
        return element("label", box, signOf(race, run), element("span", run.label));
      });
    return element("fieldset", element("legend", legend), element("div.dgm-runs", ...labels));
  });
  const filled = fields.filter((field) => field.querySelector("label"));
  const options = [["", "none"], ...runs.map((run) => [run.name, run.label])];
  const pick = selectOf(`${w.id}-pick`, options, bring);
  const forward = element("label.dgm-forward-pick", { for: pick.id }, "Bring forward", pick);
  const show = () => {
    const shown = w.get("shown");
    for (const box of boxes) box.checked = shown.includes(box.value);
    pick.value = shown.includes(w.get("highlighted")) ? w.get("highlighted") : "";
    return pick.value;
  };
  return { node: element("div.dgm-choice", ...filled), forward, show };
}

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["time", "highlighted", "shown", "axis"],
    hint: "find a run whose KL is high and whose likelihood is no better.",
    kind: "dgm-pool dgm-race",
  });
  const race = makeRace(w);
  const player = makePlayer(w);
  const scrub = (/** @type {number} */ time) => {
    player.stop();
    w.change({ time });
  };
  const bring = (/** @type {string} */ highlighted) => {
    const shown = race.runs
      .map(({ name }) => name)
      .filter((name) => name === highlighted || w.get("shown").includes(name));
    w.change(highlighted && !w.get("shown").includes(highlighted) ? { shown, highlighted } : { highlighted });
  };
  const charts = METRICS.map((_, m) => makeChart(w, race, m, scrub));
  const showTable = makeTable(w, race, bring);
  const slider = labelledSlider(`${w.id}-time`, "", { min: 0, max: 1, step: 0.005 }, scrub);
  const axes = ["seconds", "steps"].map((name) => [name, name]);
  const axis = radioRow(`${w.id}-axis`, "Against", axes, (name) => w.change({ axis: name }));
  axis.node.prepend(player.button);
  const choice = makeChoice(w, race, bring);
  w.controls.append(slider.node, axis.node, element("div.dgm-row", choice.forward, w.reset));
  w.side.after(choice.node);
  w.reset.addEventListener("click", () => {
    player.stop();
    w.change(w.first);
  });
  const speak = throttled(w.status, 700);
  let laid = "";

  // Which lines there are, and which stands in front.
  function layout() {
    const key = JSON.stringify([w.get("shown"), w.get("axis"), w.get("highlighted"), w.picture.clientWidth]);
    if (key === laid) return;
    laid = key;
    axis.show(w.get("axis"));
    const forward = choice.show();
    for (const chart of charts) {
      chart.layout();
      chart.bring(forward);
    }
  }

  function draw() {
    const playing = player.step();
    layout();
    const x = w.get("time") * race.limit();
    for (const chart of charts) chart.draw(x);
    slider.words.textContent = race.steps() ? "Training steps" : "Training time, without measuring";
    slider.show(w.get("time"), race.when(x));
    const lines = showTable(x);
    const best = lines[0]?.values[0] != null ? [lines[0]] : [];
    const said = [...best, ...lines.filter(({ run }) => run.name === w.get("highlighted"))].map(
      ({ run, values }) => {
        const texts = values.map((v, i) => `${METRICS[i].name} ${v === null ? "unknown" : decimals(v)}`);
        return `${run.label}: ${texts.join(", ")}`;
      },
    );
    if (!playing) speak(`By ${race.when(x)}. ${[...new Set(said)].join(". ")}`);
    return playing;
  }
  return w.start("dgm:pooling-race", draw);
}

export default { render };
