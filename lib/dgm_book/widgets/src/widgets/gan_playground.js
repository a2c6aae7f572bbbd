// The GAN playground: two small GANs train side by side in the page, one without BRE and one with it.

import "../styles/gan.css";
import { pushButton } from "../controls.js";
import { formOf, pickOf, put, sliderOf, tableBy, tickOf, wholeOf } from "../form.js";
import { element, MARKS, onTheme, openWidget, rich, shape, throttled } from "../frame.js";
import { drawCurves, drawPairs, drawPlane, themeOf } from "../gan_pictures.js";
import { makeTraining, reachOf, targetOf } from "../gan_training.js";

/** @import { Training, View } from "../gan_training.js" */
/** @typedef {ReturnType<typeof makePanel>} Panel */

const RATES = [
  [0.002, "0.002, normal"],
  [0.01, "0.01, high"],
  [0.02, "0.02, very high"],
];
const WIDTHS = [10, 16, 24].map((n) => [n, n]);
const SPEEDS = [1, 5, 20, 100].map((n) => [n, n]);
const LAYERS = [
  [-1, "all four layers"],
  [1, "layer 2, regularised"],
  [2, "layer 3"],
  [3, "layer 4"],
];
const NAMES = ["Without BRE", "With BRE"];
const USUAL = { speed: 20, layer: -1 };
const LEGEND =
  "Bars: AC leaves the grey band alone. Plane: data in grey, a ring about each mode; arrows: where D's " +
  "logit rises; one tone, one pattern. Losses in nats: D solid, G dashed.";
const BALANCE =
  "ME and AC are of layer 2. ME asks for balance, and two camps of fakes with opposite patterns have it, " +
  "however few the patterns.";
const ALONE =
  "No worker could be started here: the page trains on its own thread, in slices of 8 ms, and more slowly. ";
/** @type {Record<string, (panel: GanPanel, target: GanTarget) => string | number>} */
const ROWS = {
  "ME: marginal entropy": (s) => s.marginalEntropy.toFixed(3),
  "AC: activation correlation": (s) => s.activationCorrelation.toFixed(3),
  "Patterns of the fakes": (s) => s.patterns,
  "Patterns in the square": (s) => s.pieces,
  "Spread of gradients": (s) => s.spread.toFixed(2),
  "Modes reached": (s, { centres }) => `${s.modes} / ${centres.length}`,
  "Fakes near a mode": (s) => `${Math.round(100 * s.quality)}\u2009%`,
};

/** One of the two panels; `warn` says what went wrong with it. */
function makePanel(/** @type {number} */ p, /** @type {() => void} */ begin) {
  const mark = shape("path", { d: p ? MARKS.circle(6, 6, 4) : MARKS.triangle(6, 5.5, 4) });
  const sign = shape("svg.dgm-gan-sign", { viewBox: "0 0 12 12", "aria-hidden": "true" }, mark);
  const head = element("p.dgm-caption", sign, element("span", NAMES[p]));
  const unseen = { role: "img", "aria-label": `${NAMES[p]}, being computed` };
  const [plane, curves, pairs] = [0, 1, 2].map(() => element("canvas", unseen));
  const note = element("p.dgm-note");
  const restart = pushButton("Restart", begin);
  const warning = element("div.dgm-gan-say", { hidden: "" }, note, restart);
  const node = element("div.dgm-panel", { role: "group", "aria-label": NAMES[p] }, head);
  node.append(pairs, element("div.dgm-gan-plane", plane, warning), curves);
  node.classList.toggle("dgm-gan-without", !p);
  function warn(/** @type {GanPanel} */ { stopped, collapsed }) {
    const text = stopped || (collapsed ? "All fakes are in one place." : "");
    put(note, text);
    for (const part of [warning, restart]) part.hidden = !text;
    return text ? `${NAMES[p]}: ${text}` : "";
  }
  return { node, plane, curves, pairs, warn };
}

/** @type {(w: Widget, view: View, training: Training) => () => void} */
function makeSettings(w, view, training) {
  const form = formOf(w);
  // Beside the usual choices the widget's own first one.
  /** @type {(name: string, words: string, options: Options, more?: Binding<string | number>) => Node} */
  const pick = (name, words, options, more) => {
    const own = w.first[name];
    const all =
      typeof own !== "number" || options.some(([v]) => v === own) ? options : [...options, [own, own]];
    return pickOf(form, "label.dgm-gan-pick", name, element("span", words), all, more);
  };
  const targets = w.get("targets").map((/** @type {GanTarget} */ { name, label }) => [name, label]);
  /** @type {(name: keyof View) => Binding<string | number>} */
  const shown = (name) => ({
    get: () => view[name],
    set(v) {
      view[name] = Number(v);
      training.pump(name === "layer");
    },
  });
  const weight = sliderOf(form, "weight", "Weight of BRE, *w*", { min: 0, max: 2, step: 0.05 });
  const margin = sliderOf(form, "margin", "Margin, *c*", { min: 0, max: 3, step: 0.05 });
  const picks = [
    pick("target", "Target", targets),
    pick("rate", "Learning rate", RATES),
    pick("width", "Hidden units a layer", WIDTHS),
    pick("layer", "Cells of", LAYERS, shown("layer")),
    pick("speed", "Steps a frame", SPEEDS, shown("speed")),
    wholeOf(form, "label.dgm-gan-pick", "seed", element("span", "Seed of both"), { min: 0, max: 9999 }),
  ];
  const decay = tickOf(form, "decay", "*w* falls to zero over the run");
  w.controls.append(element("div.dgm-pair", weight, margin), element("div.dgm-gan-picks", ...picks));
  w.controls.append(element("div.dgm-row", decay, w.reset));
  w.reset.addEventListener("click", () => {
    training.playing = false;
    Object.assign(view, USUAL);
    w.save(w.first);
    training.begin();
  });
  return form.show;
}

/** @type {(w: Widget, training: Training, ask: () => void) => HTMLElement[]} */
function makeButtons(w, training, ask) {
  const steps = w.get("steps");
  const { begin, pump } = training;
  const go = () => {
    pump();
    ask();
  };
  const toggle = () => {
    if (training.shot && (training.shot.step >= steps || training.over())) begin();
    training.playing = !training.playing;
    go();
  };
  const more = [1, 100].map((n) =>
    pushButton(n > 1 ? `${n} steps` : "1 step", () => {
      training.playing = false;
      training.owed = Math.min(training.owed + n, steps);
      go();
    }),
  );
  return [pushButton("Play", toggle, "dgm-reset dgm-gan-play"), ...more, pushButton("Restart", begin)];
}

// What paints both panels, and says what they show.
/** @type {(w: Widget, view: View, training: Training, panels: Panel[], counter: Element) => Painting} */
function makePainting(w, view, training, panels, counter) {
  const steps = w.get("steps");
  const table = tableBy(
    "",
    ["", "without BRE", "with"],
    Object.keys(ROWS).map((name) => [name]),
  );
  table.node.className = "dgm-gan-table";
  table.node.querySelector("th")?.replaceWith(element("td"));
  const note = element("p.dgm-note");
  w.side.append(table.node, note, element("p.dgm-caption", BALANCE));
  const speak = throttled(w.status, 400);
  let spoken = 0;

  /** @type {Painting["drawPlanes"]} */
  function drawPlanes(shot, colours) {
    const target = targetOf(w);
    const [reach, seams] = [reachOf(target), view.layer >= 0];
    for (const [p, { plane }] of panels.entries()) {
      const panel = shot.panels[p];
      drawPlane(plane, colours, { panel, real: shot.real, target, reach, seams, p });
      const modes = `${panel.modes} of ${target.centres.length} modes reached`;
      const says = `${NAMES[p]}: ${panel.patterns} sign patterns under the fakes, ${modes}`;
      plane.setAttribute("aria-label", says);
    }
  }

  /** @type {Painting["drawCharts"]} */
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
      drawCurves(curves, colours, { losses: training.losses[p], top, steps, step: shot.step, weights, p });
      curves.setAttribute("aria-label", `${NAMES[p]}: losses of the two networks over ${steps} steps`);
      drawPairs(pairs, colours, shot.panels[p].bins, eta, p);
      pairs.setAttribute("aria-label", `${NAMES[p]}: ${free}`);
    }
    for (const [r, value] of Object.values(ROWS).entries()) {
      table.fill(r, ...shot.panels.map((panel) => String(value(panel, targetOf(w)))));
    }
    const warnings = panels.map(({ warn }, p) => warn(shot.panels[p])).join(" ");
    const done = shot.step >= steps ? "The run is over; Play starts it anew." : "";
    put(note, `${training.alone() ? ALONE : ""}${done}`);
    // At most every six seconds while it plays.
    if (training.playing && performance.now() - spoken < 6000) return;
    spoken = performance.now();
    const [a, b] = shot.panels;
    const without = `${a.patterns} patterns under the fakes and ${a.modes} modes`;
    const counts = `${without}; with BRE ${b.patterns} and ${b.modes}`;
    speak(`Step ${shot.step}. Without BRE ${counts}. ${warnings}`);
  }
  return { drawPlanes, drawCharts };
}
/** @typedef {Record<"drawPlanes" | "drawCharts", (shot: GanSnapshot, colours: GanTheme) => void>} Painting */

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["target", "seed", "width", "weight", "margin", "rate", "decay"],
    hint: "press *Play*, then choose another seed.",
    kind: "dgm-gan",
  });
  const view = { ...USUAL };
  let [touched, charted] = [true, 0];
  const ask = () => {
    touched = true;
    w.ask();
  };
  const training = makeTraining(w, view, { ask, soon: w.ask });
  const panels = [0, 1].map((p) => makePanel(p, training.begin));
  const [play, ...buttons] = makeButtons(w, training, ask);
  const counter = element("span.dgm-gan-count");
  const row = element("div.dgm-row.dgm-gan-buttons", play, counter, ...buttons);
  const legend = element("p.dgm-caption", ...rich(LEGEND));
  w.picture.append(row, ...panels.map(({ node }) => node), legend);
  const showSettings = makeSettings(w, view, training);
  const { drawPlanes, drawCharts } = makePainting(w, view, training, panels, counter);
  /** @type {GanTheme | null} */
  let theme = null;

  function draw() {
    if (touched) showSettings();
    put(play, training.playing ? "Pause" : "Play");
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
    training.pump(); // also what was asked for while the worker was busy
  }
  const stopTheme = onTheme(() => {
    theme = null;
    ask();
  });
  const ended = () => {
    training.stop();
    stopTheme();
  };
  const stop = w.start("dgm:gan-playground", draw, { resized: ask, touched: training.changed, ended });
  training.open();
  return stop;
}

export default { render };
