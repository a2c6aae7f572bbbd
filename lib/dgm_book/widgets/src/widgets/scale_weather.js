// The weather of the weights: what a VHRNN generates along one sequence, and what is lost when it is frozen.

import "../styles/hyper_rnn.css";
import { axesOf, linear, through } from "../charts.js";
import { decimals, pushButton } from "../controls.js";
import { formOf, sliderOf, tableBy } from "../form.js";
import { element, MARKS, number, shape, ticks } from "../frame.js";
import { showGoldenError } from "../golden.js";
import { loadHyper } from "../models/hyper_weights.js";
import { spanFor } from "../models/switching.js";
import { FREEZES, makeWeather } from "../models/weather.js";
import * as panels from "../panels.js";
import { GAP, LEFT, lineOf, RIGHT, TOP } from "../panels.js";
import { place, resize, short, sign, words } from "../plot.js";
import { defineWidget } from "../widget.js";

const BUDGET_MS = 4; // of a frame, after which no further step is computed
const BLOCKS = ["Scales on the input", "Scales on the hidden state", "Biases"];
const GATES = ["i", "f", "g", "o"];
const [ABOVE, BELOW] = [
  [0, 158, 115],
  [204, 121, 167],
]; // the row's mean
const TALL = 60; // px, of a panel
const NOTE =
  "A row is one generated number minus its mean over the sequence, in full colour from the number in the " +
  "title on; four groups of rows are the gates: input, forget, candidate, output.";

function makeLegend() {
  const box = (/** @type {number[]} */ rgb) =>
    shape("rect", { x: 8, y: 1, width: 18, height: 12, fill: `rgb(${rgb})` });
  const signs = {
    "frozen as chosen": lineOf("dgm-ours", "", "M1 7H33"),
    "not frozen": lineOf("dgm-free", "2 2", "M1 7H33"),
    "above its mean": box(ABOVE),
    "below its mean": box(BELOW),
    "a change": shape("path.dgm-mark-switch", { d: "M17 1V13" }),
  };
  const entries = Object.entries(signs).map(([text, part]) => element("span", sign("", part), text));
  return element("p.dgm-row.dgm-legend", ...entries);
}

/** @type {(w: Widget, weather: Weather) => { svg: Element, paint(run: WeatherRun, width: number): void }} */
function makePicture(w, weather) {
  const svg = shape("svg", { role: "img", "aria-label": "The sequence" });
  const [T, rows] = [weather.course.length, weather.rows / 3];
  const sheets = BLOCKS.map(() => panels.heatSheet("dgm-colours", T, rows));
  const layers = element("div.dgm-layers", ...sheets.map(({ node }) => node), svg);
  w.picture.append(layers, makeLegend(), element("p.dgm-note", NOTE));

  // One block of the generated numbers as colours, with its gates.
  /** @type {(run: WeatherRun, b: number, top: number, width: number, tall: number) => SVGElement[]} */
  function paintBlock({ scales }, b, top, width, tall) {
    sheets[b].paint(top, width, tall, (r, t) => {
      const i = b * rows + r;
      const v = (scales[t * weather.rows + i] - weather.means[i]) / weather.fulls[b];
      return [...(v > 0 ? ABOVE : BELOW), 255 * Math.min(1, Math.abs(v))];
    });
    const edges = [...GATES.keys(), 4].map((g) => `M${LEFT} ${(top + (tall * g) / 4).toFixed(1)}h${width}`);
    const title = `${BLOCKS[b]}, up to \u00b1${number(weather.fulls[b], 2)}`;
    return [
      shape("path.dgm-heat-box", { d: edges.join("") }),
      shape("text.dgm-strong.dgm-halo", { x: LEFT + 3, y: top - 6 }, title),
      ...GATES.map((gate, g) =>
        words(LEFT - 6, +(top + (tall * (g + 0.5)) / 4 + 4).toFixed(1), gate, { "text-anchor": "end" }),
      ),
    ];
  }

  // What each step cost, with and without freezing.
  /** @type {(run: WeatherRun, box: PanelBox, px: Fixed) => SVGElement} */
  function costPanel(run, box, px) {
    const [free, own] = [weather.runs[0], run].map(({ increment }) => increment.map((v) => -v));
    const costs = [...free].sort((a, b) => a - b);
    const high = spanFor(1.5 * Math.max(1, costs[Math.floor(0.97 * costs.length)]));
    const range = { ...box, top: box.top + TALL + GAP, low: Math.min(0, Math.floor(costs[0])), high };
    return panels.panelOf(`${w.id}-cost`, "Surprise, \u2212log density in nats", range, (py) => [
      lineOf("dgm-free", "2 2", panels.linePath(free, px, py)),
      lineOf("dgm-ours", "", panels.linePath(own, px, py)),
    ]);
  }

  /** @type {SayChange} */
  function sayChange(step, before) {
    if (!before || !(step.changed || step.fresh)) return null;
    return ["dgm-mark-switch", step.fresh ? "anew" : panels.changeOf(step, before)];
  }

  function paint(/** @type {WeatherRun} */ run, /** @type {number} */ all) {
    const width = all - LEFT - RIGHT;
    /** @type {Fixed} */
    const px = (i) => (LEFT + ((i + 0.5) * width) / T).toFixed(1);
    const box = { top: TOP, width, height: TALL, low: 0, high: 1 };
    const tall = Math.max(44, Math.min(72, 4 * rows));
    const tops = BLOCKS.map((_, b) => TOP + 2 * (TALL + GAP) + b * (tall + GAP));
    const bottom = tops[2] + tall;
    const spans = [[TOP, TALL], [TOP + TALL + GAP, TALL], ...tops.map((top) => [top, tall])];
    svg.replaceChildren(
      panels.coordinatePanel(w.id, box, px, weather.course, [run]),
      costPanel(run, box, px),
      ...BLOCKS.flatMap((_, b) => paintBlock(run, b, tops[b], width, tall)),
      ...panels.stepAxis(ticks(0, T - 1, all / 60), px, width, bottom),
      ...panels.changeMarks(weather.course, { wide: width / T, width: all, spans }, sayChange),
    );
    resize(svg, all, bottom + 36);
  }
  return { svg, paint };
}

/** Nats a step by freeze. @type {(w: Widget, weather: Weather) => (chosen: number, width: number) => void} */
function makeCurve(w, weather) {
  const svg = shape("svg", { role: "img", "aria-label": "Nats a step by freeze, being computed" });
  const node = element("div", element("p.dgm-caption", "Nats a step, by freeze: higher is better"), svg);
  w.side.append(node);
  const [left, top, bottom] = [38, 10, 120];
  let drawn = "";
  return (chosen, width) => {
    const points = [...weather.runs.entries()].filter(([, run]) => run).map(([i, { nats }]) => ({ i, nats }));
    const look = `${width} ${weather.seed} ${points.length} ${chosen}`;
    if (!width || !points.length || look === drawn) return;
    drawn = look;
    const values = points.map(({ nats }) => nats);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const room = Math.max(0.05, 0.1 * (most - least));
    const [low, high] = [least - room, most + room];
    const px = linear([0, FREEZES], [left, width - 10]);
    const py = linear([low, high], [bottom, top]);
    const own = points.filter(({ i }) => i === chosen);
    resize(svg, width, bottom + 36);
    svg.replaceChildren(
      ...axesOf(
        { px, py, left, top: bottom, right: width - 10, bottom },
        {
          xs: [0, 5, 10, 15, 20],
          xText: (i) => String(i / FREEZES),
          ys: ticks(low, high, 3),
          yText: (v) => short(v, 4),
          x: "freeze",
          gap: 4,
        },
      ),
      lineOf("dgm-ours", "", through(points.map(({ i, nats }) => [px(i), py(nats)]))),
      ...own.map(({ i, nats }) => shape("path.dgm-to", { d: MARKS.circle(px(i), py(nats), 5) })),
    );
    const fifths = points.filter(({ i }) => i % 5 === 0);
    const says = fifths.map(({ i, nats }) => `${decimals(nats)} at ${i / FREEZES}`).join(", ");
    place(svg, { "aria-label": `Nats a step by freeze: ${says}` });
  };
}

// Controls, and the table of the reader's run, of none frozen and of all constant; returns what fills them.
/** @type {(w: Widget, weather: Weather) => (chosen: number) => void} */
function makeControls(w, weather) {
  const form = formOf(w);
  const spoken = (/** @type {number} */ v) => {
    const run = weather.runs[Math.round(v * FREEZES)];
    return `${v.toFixed(2)}${run ? `, ${decimals(run.nats)} nats a step` : ""}`;
  };
  const set = (/** @type {number} */ v) => w.change({ freeze: Math.round(v * FREEZES) / FREEZES });
  const slider = sliderOf(form, "freeze", "Freeze", { min: 0, max: 1, step: 1 / FREEZES }, { set, spoken });
  const texts = ["weights change (VHRNN)", "constant (as in a VRNN)"].map((text) => element("span", text));
  const another = pushButton("Another sequence", () => w.change({ seed: (w.get("seed") + 1) % 10000 }));
  const ends = element("p.dgm-ends", { "aria-hidden": "true" }, ...texts);
  w.controls.append(element("div", slider, ends), element("div.dgm-row.dgm-buttons", another, form.reset()));
  const says =
    "Means over the sequence: log density, KL, and the share of points within two deviations of the " +
    "prediction";
  const heads = ["model", "nats a step", "KL", "in \u00b12"];
  const table = tableBy(says, heads, [["this freeze"], ["not frozen"], ["all constant"]]);
  w.side.append(table.node);
  return (chosen) => {
    form.show();
    for (const [r, place] of [chosen, 0, FREEZES].entries()) {
      const run = weather.runs[place];
      const share = `${(100 * run?.inside).toFixed(0)}\u2009%`;
      table.fill(
        r,
        ...(run ? [decimals(run.nats, 3), decimals(run.meanKL), share] : Array(3).fill("\u2026")),
      );
    }
  };
}

export default defineWidget(
  {
    measure: "dgm:weather",
    names: ["freeze", "seed"],
    hint:
      "pull *Freeze* to the right: the weather calms. Watch what that costs, and where along the " +
      "sequence.",
    kind: "dgm-hyper dgm-weather",
    load: loadHyper,
  },
  (w, { nets, goldenError }) => {
    const name = w.get("network");
    showGoldenError(w.root, [name], goldenError);
    const given = { matrices: w.get("matrices"), schedule: w.get("schedule"), ...w.get("options") };
    const weather = makeWeather(nets[name], given);
    weather.begin(w.get("seed"));
    const { svg, paint } = makePicture(w, weather);
    const showControls = makeControls(w, weather);
    const paintCurve = makeCurve(w, weather);
    let painted = "";
    /** @type {WeatherRun | null} */
    let reported = null;

    function report(/** @type {WeatherRun} */ run, /** @type {number} */ freeze) {
      if (run === reported) return;
      reported = run;
      const free = decimals(weather.runs[0].nats);
      const says = `Frozen by ${freeze.toFixed(2)}: ${decimals(run.nats)} nats a step, not frozen ${free}.`;
      const shows =
        `A sequence of ${weather.course.length} steps, the model's predictions and surprise, and the ` +
        `${weather.rows} numbers that it generates for its cell at each step.`;
      place(svg, { "aria-label": `${shows} ${says}` });
      w.speak(says);
      const [mean, deviation] = [run.mean, run.deviation].map((rows) => rows.map((v) => [...v]));
      const { nats, meanKL: kl, increment } = run;
      const state = { freeze, seed: weather.seed, nats, kl, mean, deviation, increment };
      w.root.dataset.state = JSON.stringify(state);
    }

    return (width) => {
      const side = Math.floor(w.side.clientWidth); // before anything is written, which would lay out anew
      const chosen = Math.round(w.get("freeze") * FREEZES);
      if (w.get("seed") !== weather.seed) weather.begin(w.get("seed"));
      const busy = weather.compute(chosen, BUDGET_MS);
      const run = weather.runs[chosen];
      showControls(chosen);
      const look = `${width} ${weather.seed} ${chosen}`;
      if (width && run && painted !== look) {
        painted = look;
        paint(run, width);
      }
      paintCurve(chosen, side);
      if (run) report(run, chosen / FREEZES);
      if (busy) delete w.root.dataset.curve;
      else w.root.dataset.curve = JSON.stringify(weather.runs.map(({ nats }) => nats));
      return busy;
    };
  },
);
