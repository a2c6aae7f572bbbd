// The weather of the weights: what a VHRNN generates along one sequence, and what is lost when it is frozen.

import "../styles/hyper_rnn.css";
import { decimals, labelledSlider, pushButton, tableOf, tableRow } from "../controls.js";
import { element, MARKS, number, openWidget, penOf, shape, throttled, ticks } from "../frame.js";
import { showGoldenError } from "../golden.js";
import { loadHyper } from "../models/hyper_weights.js";
import { spanFor } from "../models/switching.js";
import { FREEZES, makeWeather } from "../models/weather.js";
import { bandPath, linePath, statePanels } from "../panels.js";
import { axisName, bottomAxis, leftAxis, place, resize, short, sign, words } from "../plot.js";

const BUDGET_MS = 4; // of a frame, after which no further step is computed
const BLOCKS = ["Scales on the input", "Scales on the hidden state", "Biases"];
const GATES = ["i", "f", "g", "o"];
const [ABOVE, BELOW] = [
  [0, 158, 115],
  [204, 121, 167],
]; // the row's mean
const [LEFT, RIGHT, GAP, TOP, TALL] = [32, 6, 26, 32, 74]; // px, of the picture
const NOTE =
  "A row is one number that the model generates at each step, four groups of rows the gates: input, " +
  "forget, candidate, output. Each is shown minus its mean over this sequence, in full colour from the " +
  "number in the title on.";

/** @type {() => Node} */
function makeLegend() {
  const entry = (/** @type {SVGElement} */ part, /** @type {string} */ text) =>
    element("span", sign("", part), text);
  const line = (/** @type {string} */ kind, /** @type {string} */ dash) =>
    shape("path", { class: `dgm-line-of ${kind}`, "stroke-dasharray": dash, d: "M1 7H33" });
  const box = (/** @type {number[]} */ rgb) =>
    shape("rect", { x: 8, y: 1, width: 18, height: 12, fill: `rgb(${rgb})` });
  return element(
    "p.dgm-row.dgm-legend",
    entry(line("dgm-ours", ""), "frozen as chosen"),
    entry(line("dgm-free", "2 2"), "not frozen"),
    entry(box(ABOVE), "above its mean"),
    entry(box(BELOW), "below its mean"),
    entry(shape("path.dgm-mark-switch", { d: "M17 1V13" }), "a change of W or \u03c3"),
  );
}

// One block of the generated numbers as colours.
/** @type {(weather: Weather, b: number) => Heat} */
function makeHeat(weather, b) {
  const [T, rows] = [weather.course.length, weather.rows / 3];
  const sheet = element("canvas.dgm-colours", { "aria-hidden": "true", width: T, height: rows });
  const pen = penOf(sheet);
  const image = pen.createImageData(T, rows);
  const title = shape("text.dgm-strong.dgm-halo");
  const box = shape("path.dgm-heat-box");
  /** @type {(run: WeatherRun) => void} */
  function fill({ scales }) {
    for (let r = 0; r < rows; r++) {
      const i = b * rows + r;
      for (let t = 0; t < T; t++) {
        const v = (scales[t * weather.rows + i] - weather.means[i]) / weather.fulls[b];
        const at = 4 * (r * T + t);
        const rgb = v > 0 ? ABOVE : BELOW;
        for (let c = 0; c < 3; c++) image.data[at + c] = rgb[c];
        image.data[at + 3] = 255 * Math.min(1, Math.abs(v));
      }
    }
    pen.putImageData(image, 0, 0);
  }
  /** @type {Heat["paint"]} */
  const paint = (run, top, wide, tall) => {
    const style = { left: `${LEFT}px`, top: `${top}px`, width: `${wide}px`, height: `${tall}px` };
    Object.assign(sheet.style, style);
    title.textContent = `${BLOCKS[b]}, up to \u00b1${number(weather.fulls[b], 2)}`;
    place(title, { x: LEFT + 3, y: top - 6 });
    fill(run);
    const lines = GATES.map((_, g) => `M${LEFT} ${(top + (tall * g) / 4).toFixed(1)}h${wide}`);
    place(box, { d: `${lines.join("")}M${LEFT} ${top + tall}h${wide}` });
    return GATES.map((gate, g) =>
      words(LEFT - 6, +(top + (tall * (g + 0.5)) / 4 + 4).toFixed(1), gate, { "text-anchor": "end" }),
    );
  };
  return { sheet, title, box, paint };
}
/**
 * @typedef {{ sheet: Node, title: Node, box: Node,
 *   paint(run: WeatherRun, top: number, wide: number, tall: number): Node[] }} Heat
 */

/**
 * @type {(w: Widget, weather: Weather) => { svg: SVGElement, paint(run: WeatherRun, width: number): void }}
 */
function makePicture(w, weather) {
  const svg = shape("svg", { role: "img", "aria-label": "The sequence" });
  const panels = statePanels(w.id, "Surprise, \u2212log density in nats");
  const traces = panels.map(({ inside }) => {
    const parts = {
      band: shape("path.dgm-reach-ours"),
      free: shape("path.dgm-line-of.dgm-free", { "stroke-dasharray": "2 2" }),
      line: shape("path.dgm-line-of.dgm-ours"),
      data: shape("path.dgm-data-line"),
      dots: shape("path.dgm-data-dots"),
    };
    inside.append(...Object.values(parts));
    return parts;
  });
  const [marks, labels, axis] = [shape("path.dgm-mark-switch"), shape("g"), shape("g")];
  const heats = BLOCKS.map((_, b) => makeHeat(weather, b));
  const [boxes, titles] = [heats.map(({ box }) => box), heats.map(({ title }) => title)];
  svg.append(...panels.map(({ node }) => node), axis, ...boxes, marks, labels, ...titles);
  const layers = element("div.dgm-layers", ...heats.map(({ sheet }) => sheet), svg);
  w.picture.append(layers, makeLegend(), element("p.dgm-note", NOTE));

  /** @type {(run: WeatherRun, px: ToPixels, lay: PanelPlace) => void} */
  function paintStates(run, px, lay) {
    const { course } = weather;
    const gap = (/** @type {number} */ i) => course[i].fresh;
    const most = course.reduce((top, { x }) => Math.max(top, Math.abs(x[0]), Math.abs(x[1])), 0.8);
    const reach = spanFor(1.2 * most);
    for (const p of [0, 1]) {
      const { lay: layPanel, py } = panels[p];
      layPanel({ ...lay, top: lay.top + p * (TALL + GAP), low: -reach, high: reach });
      const [mean, deviation] = [run.mean, run.deviation].map((rows) => rows.map((v) => v[p]));
      const values = course.map(({ x }) => x[p]);
      place(traces[p].band, { d: bandPath(mean, deviation, px, py, gap) });
      place(traces[p].line, { d: linePath(mean, px, py, gap) });
      place(traces[p].data, { d: linePath(values, px, py, gap) });
      place(traces[p].dots, { d: values.map((v, i) => MARKS.circle(+px(i), +py(v), 1.6)).join("") });
    }
  }

  /** @type {(run: WeatherRun, px: ToPixels, lay: PanelPlace) => void} */
  function paintCosts(run, px, lay) {
    const free = weather.runs[0].increment.map((v) => -v);
    const costs = [...free].sort((a, b) => a - b);
    const high = spanFor(1.5 * Math.max(1, costs[Math.floor(0.97 * costs.length)]));
    const { lay: layPanel, py } = panels[2];
    layPanel({ ...lay, top: lay.top + 2 * (TALL + GAP), low: Math.min(0, Math.floor(costs[0])), high });
    place(traces[2].line, {
      d: linePath(
        run.increment.map((v) => -v),
        px,
        py,
      ),
    });
    place(traces[2].free, { d: linePath(free, px, py) });
  }

  /** @type {(width: number, bottom: number) => void} */
  function markChanges(width, bottom) {
    const wide = (width - LEFT - RIGHT) / weather.course.length;
    labels.replaceChildren();
    let d = "";
    for (const [t, { changed, fresh, which, sigma }] of weather.course.entries()) {
      if (!t || !(changed || fresh)) continue;
      const x = +(LEFT + t * wide).toFixed(1);
      d += `M${x} 13V${bottom}`;
      const before = weather.course[t - 1].which;
      const change = before === which ? `\u03c3 = ${sigma}` : `W ${before + 1}\u2192${which + 1}`;
      const anchor = x > width - 40 ? "end" : "middle";
      labels.append(
        words(x, 10, fresh ? "anew" : change, { class: "dgm-strong dgm-halo", "text-anchor": anchor }),
      );
    }
    place(marks, { d });
  }

  /** @type {(run: WeatherRun, width: number) => void} */
  function paint(run, width) {
    const T = weather.course.length;
    const wide = width - LEFT - RIGHT;
    const px = (/** @type {number} */ i) => (LEFT + ((i + 0.5) * wide) / T).toFixed(1);
    const lay = { left: LEFT, top: TOP, width: wide, height: TALL, low: 0, high: 1 };
    paintStates(run, px, lay);
    paintCosts(run, px, lay);
    const tall = Math.max(44, Math.min(72, (4 * weather.rows) / 3));
    const start = TOP + 3 * (TALL + GAP);
    const gates = heats.flatMap((heat, b) => heat.paint(run, start + b * (tall + GAP), wide, tall));
    const bottom = start + 3 * (tall + GAP) - GAP;
    const steps = bottomAxis(ticks(0, T - 1, width / 60), { px, y: bottom });
    axis.replaceChildren(...gates, ...steps, axisName(LEFT + wide / 2, bottom + 31, "step"));
    markChanges(width, bottom);
    resize(svg, width, bottom + 36);
  }
  return { svg, paint };
}

/** Nats a step by freeze. @type {(w: Widget, weather: Weather) => (chosen: number) => void} */
function makeCurve(w, weather) {
  const svg = shape("svg", { role: "img", "aria-label": "Nats a step by freeze, being computed" });
  const node = element("div", element("p.dgm-caption", "Nats a step, by freeze: higher is better"), svg);
  w.side.append(node);
  const [left, top, tall] = [38, 10, 110];
  const bottom = top + tall;
  let drawn = "";
  return (chosen) => {
    const points = [...weather.runs.entries()].filter(([, run]) => run).map(([i, { nats }]) => ({ i, nats }));
    const wide = Math.floor(node.clientWidth);
    const look = `${wide} ${weather.seed} ${points.length} ${chosen}`;
    if (!wide || !points.length || look === drawn) return;
    drawn = look;
    const values = points.map(({ nats }) => nats);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    const room = Math.max(0.05, 0.1 * (most - least));
    const [low, high] = [least - room, most + room];
    const px = (/** @type {number} */ i) => (left + (i / FREEZES) * (wide - left - 10)).toFixed(1);
    const py = (/** @type {number} */ v) => (top + ((high - v) / (high - low)) * tall).toFixed(1);
    const at = points.map(({ i, nats }) => `${px(i)} ${py(nats)}`);
    const own = points
      .filter(({ i }) => i === chosen)
      .map(({ i, nats }) => MARKS.circle(+px(i), +py(nats), 5));
    resize(svg, wide, bottom + 36);
    svg.replaceChildren(
      ...leftAxis(ticks(low, high, 3), { py, left, right: wide - 10, text: (v) => short(v, 4), gap: 4 }),
      ...bottomAxis([0, 5, 10, 15, 20], { px, y: bottom + 1, text: (i) => String(i / FREEZES) }),
      shape("path.dgm-axis", { d: `M${left} ${bottom}H${wide - 10}` }),
      axisName((left + wide) / 2, bottom + 33, "freeze"),
      shape("path.dgm-line-of.dgm-ours", { d: `M${at.join("L")}` }),
      ...own.map((d) => shape("path.dgm-to", { d })),
    );
    const fifths = points
      .filter(({ i }) => i % 5 === 0)
      .map(({ i, nats }) => `${decimals(nats)} at ${i / FREEZES}`);
    place(svg, { "aria-label": `Nats a step by freeze: ${fifths.join(", ")}` });
  };
}

/** @type {(w: Widget) => (shown: (WeatherRun | undefined)[]) => void} */
function makeTable(w) {
  const rows = ["this freeze", "not frozen", "all constant"].map((text) => {
    const cells = [0, 1, 2].map(() => element("td"));
    return { cells, node: tableRow([text], cells) };
  });
  const says =
    "Means over the sequence: log density, KL, and the share of points within two deviations of the " +
    "prediction";
  const heads = ["model", "nats a step", "KL", "in \u00b12"];
  w.side.append(
    tableOf(
      says,
      heads,
      rows.map(({ node }) => node),
    ),
  );
  return (shown) => {
    for (const [r, run] of shown.entries()) {
      const share = run && `${(100 * run.inside).toFixed(0)}\u2009%`;
      const texts = run ? [decimals(run.nats, 3), decimals(run.meanKL), share] : [];
      for (const [i, cell] of rows[r].cells.entries()) cell.textContent = texts[i] ?? "\u2026";
    }
  };
}

/** @type {(w: Widget) => (chosen: number, run: WeatherRun | undefined) => void} */
function makeControls(w) {
  const range = { min: 0, max: 1, step: 1 / FREEZES };
  const slider = labelledSlider(`${w.id}-freeze`, "Freeze", range, (v) =>
    w.change({ freeze: Math.round(v * FREEZES) / FREEZES }),
  );
  const both = [element("span", "weights change (VHRNN)"), element("span", "constant (as in a VRNN)")];
  const again = pushButton("Another sequence", () => w.change({ seed: (w.get("seed") + 1) % 10000 }));
  const ends = element("p.dgm-ends", { "aria-hidden": "true" }, ...both);
  w.controls.append(element("div", slider.node, ends), element("div.dgm-row.dgm-buttons", again, w.reset));
  w.reset.addEventListener("click", () => w.change(w.first));
  return (chosen, run) => {
    const text = (chosen / FREEZES).toFixed(2);
    slider.show(chosen / FREEZES, text, `${text}${run ? `, ${decimals(run.nats)} nats a step` : ""}`);
  };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const { nets, goldenError } = await loadHyper(props.model);
  const w = openWidget(props, {
    names: ["freeze", "seed"],
    hint:
      "pull *Freeze* to the right: the weather calms. Watch what that costs, and where along the " +
      "sequence.",
    kind: "dgm-hyper dgm-weather",
  });
  const name = w.get("network");
  showGoldenError(w.root, [name], goldenError);
  const given = { matrices: w.get("matrices"), schedule: w.get("schedule"), ...w.get("options") };
  const weather = makeWeather(nets[name], given);
  weather.begin(w.get("seed"));
  const { svg, paint } = makePicture(w, weather);
  const showControls = makeControls(w);
  const showTable = makeTable(w);
  const paintCurve = makeCurve(w, weather);
  const speak = throttled(w.status, 600);
  let [width, painted] = [0, ""];
  /** @type {WeatherRun | null} */
  let told = null;

  /** @type {(run: WeatherRun, chosen: number) => void} */
  function tell(run, chosen) {
    if (run === told) return;
    told = run;
    const free = decimals(weather.runs[0].nats);
    const says =
      `Frozen by ${(chosen / FREEZES).toFixed(2)}: ${decimals(run.nats)} nats a step, not frozen ` +
      `${free}.`;
    const shows =
      `A sequence of ${weather.course.length} steps, the model's predictions and surprise, and the ` +
      `${weather.rows} numbers that it generates for its cell at each step.`;
    place(svg, { "aria-label": `${shows} ${says}` });
    speak(says);
    const [mean, deviation] = [run.mean, run.deviation].map((rows) => rows.map((v) => [...v]));
    const { nats, meanKL: kl, increment } = run;
    const state = { freeze: chosen / FREEZES, seed: weather.seed, nats, kl, mean, deviation, increment };
    w.root.dataset.state = JSON.stringify(state);
  }

  function draw() {
    const chosen = Math.round(w.get("freeze") * FREEZES);
    if (w.get("seed") !== weather.seed) weather.begin(w.get("seed"));
    const busy = weather.compute(chosen, BUDGET_MS);
    const run = weather.runs[chosen];
    showControls(chosen, run);
    showTable([run, weather.runs[0], weather.runs[FREEZES]]);
    const look = `${width} ${weather.seed} ${chosen}`;
    if (width && run && painted !== look) {
      painted = look;
      paint(run, width);
    }
    paintCurve(chosen);
    if (run) tell(run, chosen);
    if (busy) delete w.root.dataset.curve;
    else w.root.dataset.curve = JSON.stringify(weather.runs.map(({ nats }) => nats));
    return busy;
  }
  return w.start("dgm:weather", draw, {
    resized(wide) {
      width = wide;
      w.ask();
    },
  });
}

export default { render };
