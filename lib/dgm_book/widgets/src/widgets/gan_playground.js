// The GAN playground: two small GANs train side by side in the page, one without BRE and one with it.

import "../styles/gan.css";
import { checkbox, labelledSlider, pushButton, selectOf, tableOf, tableRow } from "../controls.js";
import { element, MARKS, onTheme, openWidget, shape, throttled } from "../frame.js";
import { drawCurves, drawPairs, drawPlane, themeOf } from "../gan_pictures.js";
import { makeTraining, reachOf, targetOf } from "../gan_training.js";

/** @import { Training } from "../gan_training.js" */

const RATES = [
  [0.002, "0.002, normal"],
  [0.02, "0.02, aggressive"],
];
const WIDTHS = [10, 16, 24];
const SPEEDS = [1, 5, 20, 100];
const LAYERS = [
  [-1, "all four layers"],
  [1, "layer 2, regularised"],
  [2, "layer 3"],
  [3, "layer 4"],
];
const SETTINGS = ["target", "seed", "width", "weight", "margin", "rate", "decay"];
const NAMES = ["Without BRE", "With BRE"];
const USUAL = { speed: 20, layer: -1 };
const LEGEND =
  "Grey: data, a ring of three standard deviations about each mode. Arrows: where the logit of D rises " +
  "" +
  "at 40 of the fakes. A sign pattern has one tone; of very many, some share theirs.";
const ALONE =
  "No worker could be started here: the page trains on its own thread, in slices of 8 ms, and more slowly. ";
/** @type {[string, (panel: GanPanel, target: GanTarget) => string | number][]} */
const ROWS = [
  ["Sign patterns under the fakes", (s) => s.patterns],
  ["Patterns in the whole square", (s) => s.pieces],
  ["Spread of gradients, 0: all parallel", (s) => s.spread.toFixed(2)],
  ["Modes reached", (s, { centres }) => `${s.modes} / ${centres.length}`],
  ["Fakes near a mode", (s) => `${Math.round(100 * s.quality)}\u2009%`],
  ["ME, layer 2", (s) => s.marginalEntropy.toFixed(3)],
  ["AC, layer 2", (s) => s.activationCorrelation.toFixed(3)],
];

/** @type {(node: Element, text: string) => void} */
const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

/** One of the two panels. @type {(p: number, begin: () => void) => Panel} */
function makePanel(p, begin) {
  const mark = shape("path", { d: p ? MARKS.circle(6, 6, 4) : MARKS.triangle(6, 5.5, 4) });
  const sign = shape("svg.dgm-gan-sign", { viewBox: "0 0 12 12", "aria-hidden": "true" }, mark);
  const head = element("p.dgm-caption", sign, element("span", NAMES[p]));
  const [plane, curves, pairs] = [0, 1, 2].map(() => element("canvas", { role: "img" }));
  const note = element("p.dgm-note");
  const again = pushButton("Restart", begin);
  const say = element("div.dgm-gan-say", { hidden: "" }, note, again);
  const node = element("div.dgm-panel", { role: "group", "aria-label": NAMES[p] }, head);
  node.append(element("div.dgm-gan-plane", plane, say), curves, pairs);
  node.classList.toggle("dgm-gan-without", !p);
  /** @type {Panel["tell"]} */
  const tell = ({ stopped, collapsed }) => {
    const text = stopped || (collapsed ? "All fakes are on one spot." : "");
    put(note, text);
    for (const part of [say, again]) part.hidden = !text;
    return text ? `${NAMES[p]}: ${text}` : "";
  };
  return { node, plane, curves, pairs, tell };
}
/**
 * @typedef {{ node: Node, plane: HTMLCanvasElement, curves: HTMLCanvasElement, pairs: HTMLCanvasElement,
 *   tell(panel: GanPanel): string }} Panel
 */

/** @type {(w: Widget, view: { speed: number, layer: number }, training: Training) => () => void} */
function makeSettings(w, view, training) {
  const first = w.first;
  /** @type {(name: string, words: string, range: Attributes) => Slider} */
  const slider = (name, words, range) =>
    labelledSlider(`${w.id}-${name}`, words, range, (v) => w.save({ [name]: v }));
  const weight = slider("weight", "Weight of BRE, *w*", { min: 0, max: 2, step: 0.05 });
  const margin = slider("margin", "Margin, *c*", { min: 0, max: 3, step: 0.05 });
  /** @type {(options: (string | number)[][], own: unknown) => (string | number)[][]} */
  const withOwn = (options, own) => {
    return options.some(([v]) => v === own) ? options : [...options, [Number(own), String(own)]];
  };
  const targets = w.get("targets").map((/** @type {GanTarget} */ { name, label }) => [name, label]);
  const widths = WIDTHS.map((n) => [n, String(n)]);
  /** @type {[string, string, (string | number)[][], (v: string) => void][]} */
  const choices = [
    ["target", "Target", targets, (v) => w.save({ target: v })],
    ["rate", "Learning rate", withOwn(RATES, first.rate), (v) => w.save({ rate: Number(v) })],
    ["width", "Hidden units a layer", withOwn(widths, first.width), (v) => w.save({ width: Number(v) })],
    [
      "layer",
      "Cells of",
      LAYERS,
      (v) => {
        view.layer = Number(v);
        training.pump(true);
      },
    ],
    [
      "speed",
      "Steps a frame",
      SPEEDS.map((n) => [n, String(n)]),
      (v) => {
        view.speed = Number(v);
      },
    ],
  ];
  const picks = choices.map(([name, label, options, act]) => {
    const input = selectOf(`${w.id}-${name}`, options, act);
    return { input, node: element("label.dgm-gan-pick", { for: input.id }, element("span", label), input) };
  });
  const range = { type: "number", min: 0, max: 9999, step: 1, inputmode: "numeric" };
  const seed = element("input", { ...range, id: `${w.id}-seed` });
  seed.addEventListener("change", () => {
    w.save({ seed: Math.max(0, Math.min(9999, Math.round(Number(seed.value) || 0))) });
  });
  const both = element("label.dgm-gan-pick", { for: seed.id }, element("span", "Seed of both"), seed);
  const decay = checkbox(`${w.id}-decay`, "*w* falls to zero over the run", (on) => w.save({ decay: on }));
  w.controls.append(
    element("div.dgm-pair", weight.node, margin.node),
    element("div.dgm-gan-picks", ...picks.map(({ node }) => node), both),
    element("div.dgm-row", decay.node, w.reset),
  );
  return () => {
    weight.show(w.get("weight"), w.get("weight").toFixed(2));
    margin.show(w.get("margin"), w.get("margin").toFixed(2));
    const values = [w.get("target"), w.get("rate"), w.get("width"), view.layer, view.speed];
    for (const [i, { input }] of picks.entries()) input.value = String(values[i]);
    if (document.activeElement !== seed) seed.value = w.get("seed");
    decay.input.checked = w.get("decay");
  };
}

/** @type {(w: Widget) => { note: Element, show(shot: GanSnapshot): void }} */
function makeReadouts(w) {
  const rows = ROWS.map(([name, value]) => {
    const cells = [element("td"), element("td")];
    return { value, cells, node: tableRow([name], cells) };
  });
  const table = tableOf(
    "",
    ["", "without", "with"],
    rows.map(({ node }) => node),
  );
  table.className = "dgm-gan-table";
  table.querySelector("th")?.replaceWith(element("td"));
  const note = element("p.dgm-note");
  w.side.append(table, note, element("p.dgm-caption", LEGEND));
  /** @type {(shot: GanSnapshot) => void} */
  const show = ({ panels }) => {
    for (const { value, cells } of rows) {
      for (const [p, cell] of cells.entries()) cell.textContent = String(value(panels[p], targetOf(w)));
    }
  };
  return { note, show };
}

/** @type {(w: Widget, training: Training, ask: () => void) => { play: HTMLElement, nodes: Node[] }} */
function makeButtons(w, training, ask) {
  const steps = w.get("steps");
  const { begin, pump } = training;
  const play = pushButton(
    "Play",
    () => {
      if (training.shot && (training.shot.step >= steps || training.over())) begin();
      training.playing = !training.playing;
      pump();
      ask();
    },
    "dgm-reset dgm-gan-play",
  );
  const more = [1, 100].map((n) =>
    pushButton(n > 1 ? `${n} steps` : "1 step", () => {
      training.playing = false;
      training.owed = Math.min(training.owed + n, steps);
      pump();
      ask();
    }),
  );
  return { play, nodes: [play, ...more, pushButton("Restart", begin)] };
}

// Paints both panels, and tells what they show.
/**
 * @type {(w: Widget, view: { layer: number }, training: Training, panels: Panel[], counter: Element) =>
 *   Painting}
 */
function makePainting(w, view, training, panels, counter) {
  const steps = w.get("steps");
  const readouts = makeReadouts(w);
  const calmly = throttled(w.status, 400);
  let spoken = 0;

  /** @type {(shot: GanSnapshot, colours: GanTheme) => void} */
  function drawPlanes({ panels: seen, real }, colours) {
    const target = targetOf(w);
    for (const [p, { plane }] of panels.entries()) {
      const panel = seen[p];
      drawPlane(plane, colours, { panel, real, target, reach: reachOf(target), seams: view.layer >= 0, p });
      const modes = `${panel.modes} of ${target.centres.length} modes reached`;
      plane.setAttribute(
        "aria-label",
        `${NAMES[p]}: ${panel.patterns} sign patterns under the fakes, ${modes}`,
      );
    }
  }

  /** @type {(shot: GanSnapshot, colours: GanTheme) => void} */
  function drawCharts(shot, colours) {
    put(counter, `step ${shot.step.toLocaleString("en")} / ${steps.toLocaleString("en")}`);
    w.root.dataset.step = String(shot.step);
    const means = training.losses.flatMap(({ d, g, n }) =>
      [...n.entries()].flatMap(([b, count]) => (count ? [d[b] / count, g[b] / count] : [])),
    );
    const top = Math.min(6, Math.ceil(Math.max(2, ...means)));
    const weights = [w.get("weight"), w.get("decay") ? 0 : w.get("weight")];
    const eta = Math.min(1, w.get("margin") / Math.sqrt(w.get("width")));
    const free = `how far the patterns of two fakes agree; free of charge up to ${eta.toFixed(2)}`;
    for (const [p, { curves, pairs }] of panels.entries()) {
      drawCurves(curves, colours, { losses: training.losses[p], top, steps, weights, p });
      curves.setAttribute("aria-label", `${NAMES[p]}: losses of the two networks over ${steps} steps`);
      drawPairs(pairs, colours, shot.panels[p].bins, eta, p);
      pairs.setAttribute("aria-label", `${NAMES[p]}: ${free}`);
    }
    readouts.show(shot);
    const troubles = panels.map(({ tell }, p) => tell(shot.panels[p]));
    const done = shot.step >= steps ? "The run is over; Play starts it anew." : "";
    put(readouts.note, `${training.alone() ? ALONE : ""}${done}`);
    // At most every six seconds while it plays.
    if (training.playing && performance.now() - spoken < 6000) return;
    spoken = performance.now();
    const [a, b] = shot.panels;
    const without = `${a.patterns} patterns under the fakes and ${a.modes} modes`;
    const counts = `${without}; with BRE ${b.patterns} and ${b.modes}`;
    calmly(`Step ${shot.step}. Without BRE ${counts}. ${troubles.join(" ")}`);
  }
  return { drawPlanes, drawCharts };
}
/** @typedef {Record<"drawPlanes" | "drawCharts", (shot: GanSnapshot, colours: GanTheme) => void>} Painting */

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: SETTINGS,
    hint:
      "press Play and compare how the two discriminators cut the plane; then the aggressive learning " +
      "rate, with another seed.",
    kind: "dgm-gan",
  });
  const view = { ...USUAL };
  let [touched, charted] = [true, 0];
  const ask = () => {
    touched = true;
    w.ask();
  };
  const training = makeTraining(w, view, { ask, soon: w.ask });
  const { begin, pump } = training;
  const panels = [0, 1].map((p) => makePanel(p, begin));
  const { play, nodes } = makeButtons(w, training, ask);
  const counter = element("span.dgm-gan-count");
  const buttons = element("div.dgm-row.dgm-gan-buttons", ...nodes, counter);
  w.picture.append(buttons, ...panels.map(({ node }) => node));
  const showSettings = makeSettings(w, view, training);
  const { drawPlanes, drawCharts } = makePainting(w, view, training, panels, counter);
  w.reset.addEventListener("click", () => {
    training.playing = false;
    Object.assign(view, USUAL);
    w.save(w.first);
    begin();
  });
  /** @type {GanTheme | null} */
  let theme = null;

  function draw() {
    if (touched) showSettings();
    play.textContent = training.playing ? "Pause" : "Play";
    const { shot } = training;
    if (!shot || !panels[0].plane.clientWidth) return;
    theme ??= themeOf(w.root);
    drawPlanes(shot, theme);
    // Numbers and charts change a few times a second only: quicker than that nobody reads.
    const now = performance.now();
    if (touched || !training.playing || now - charted > 250) {
      charted = now;
      drawCharts(shot, theme);
    }
    touched = false;
    pump(); // also what was asked for while the worker was busy
  }
  const stopTheme = onTheme(() => {
    theme = null;
    ask();
  });
  const stop = w.start("dgm:gan-playground", draw, {
    resized: ask,
    touched: training.changed,
    ended() {
      training.stop();
      stopTheme();
    },
  });
  training.open();
  return stop;
}

export default { render };
