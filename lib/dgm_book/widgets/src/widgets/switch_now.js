// Switch now: two models and exact Bayes follow a linear system whose dynamics the reader switches.

import "../styles/hyper_rnn.css";
import { makeClock } from "../clock.js";
import { decimals, labelledSlider, pushButton, radioRow, tableOf, tableRow } from "../controls.js";
import { element, MARKS, openWidget, penOf, readout, rich, shape, throttled, ticks } from "../frame.js";
import { showGoldenError } from "../golden.js";
import { last } from "../models/arrays.js";
import { fillUniforms } from "../models/draws.js";
import { loadHyper } from "../models/hyper_weights.js";
import { makeCourse } from "../models/switch_course.js";
import { inForce, STREAM, spanFor } from "../models/switching.js";
import { bandPath, linePath, meanOf, statePanels } from "../panels.js";
import { axisName, bottomAxis, place, resize, sign, words } from "../plot.js";

/** @import { Clock } from "../clock.js" */

const AFTER = 25; // steps that run after a change, where nothing played
const AROUND = 5; // steps before and after a change whose KL is told
const HEAT = 140; // grey of certainty, before light pages invert it
const BUDGET_MS = 4; // of a frame, after which no further step is computed
const LOOKS = [
  { kind: "dgm-ours", dash: "" },
  { kind: "dgm-base", dash: "5 3" },
];
const [LEFT, RIGHT, GAP, TOP, TALL] = [32, 6, 26, 32, 92]; // px, of the picture
const HEAT_TOP = TOP + 3 * (TALL + GAP);
const MEANING =
  "KL tells how much a model had to correct itself once it saw a step. Exact Bayes knows the law of the " +
  "system, and which of its dynamics there are; filled is certain, boxes are the truth.";

/** KL before and after the last change, nats a step, and where that change stands. */
/** @typedef {{ around: (number | null)[][], nats: number[], place: number }} Means */

/** @type {(look: { kind: string, dash: string }) => SVGElement} */
const signOf = ({ kind, dash }) =>
  sign("", shape("path", { class: `dgm-line-of ${kind}`, "stroke-dasharray": dash, d: "M1 7H33" }));
/** @type {(v: number | null, places?: number) => string} */
const shown = (v, places = 2) => (v === null ? "\u2013" : decimals(v, places));

/** @type {(history: SwitchStep[], models: number) => Means} */
function meansOf(history, models) {
  const at = history.findLastIndex(({ changed, fresh, t }) => changed || (fresh && t > 0));
  const each = Array.from({ length: models }, (_, m) => m);
  /** @type {(m: number, from: number, to: number) => number | null} */
  const mean = (m, from, to) => {
    return at < 0 || to <= from ? null : meanOf(history.slice(from, to).map(({ said }) => said[m].kl));
  };
  const around = each.map((m) => [
    mean(m, Math.max(0, at - AROUND), at),
    mean(m, at, Math.min(history.length, at + AROUND)),
  ]);
  const nats = each.map((m) => meanOf(history.map(({ said }) => said[m].increment)));
  return { around, nats: [...nats, meanOf(history.map(({ exact }) => exact))], place: at };
}

/** @type {(names: string[]) => Node} */
function makeLegend(names) {
  const data = [
    shape("path.dgm-data-line", { d: "M1 7H33" }),
    shape("path.dgm-data-dots", { d: MARKS.circle(17, 7, 2.2) }),
  ];
  return element(
    "p.dgm-row.dgm-legend",
    ...names.map((name, m) => element("span", signOf(LOOKS[m]), name)),
    element("span", sign("", ...data), "the system"),
    element("span", sign("", shape("path.dgm-mark-switch", { d: "M17 1V13" })), "a change"),
  );
}

// What exact Bayes believes, as a picture of K rows.
/** @type {(span: number, K: number) => Belief} */
function makeBelief(span, K) {
  const sheet = element("canvas.dgm-heat", { "aria-hidden": "true", width: span, height: K });
  const pen = penOf(sheet);
  const image = pen.createImageData(span, K);
  const row = Math.max(7, Math.round(80 / K));
  const title = shape("text.dgm-strong.dgm-halo", `Exact Bayes: which of ${K} dynamics`);
  const truth = shape("path.dgm-truth");
  /** @type {Belief["paint"]} */
  function paint(history, wide) {
    place(title, { x: LEFT + 3, y: HEAT_TOP - 6 });
    const style = {
      left: `${LEFT}px`,
      top: `${HEAT_TOP}px`,
      width: `${wide * span}px`,
      height: `${row * K}px`,
    };
    Object.assign(sheet.style, style);
    image.data.fill(HEAT);
    for (let i = 0; i < span; i++) {
      for (let k = 0; k < K; k++) {
        image.data[4 * (k * span + i) + 3] = history[i] ? 255 * history[i].posterior[k] : 0;
      }
    }
    pen.putImageData(image, 0, 0);
    let [boxes, start] = ["", 0];
    for (const [i, { which }] of history.entries()) {
      if (history[i + 1]?.which === which) continue;
      const length = ((i + 1 - start) * wide).toFixed(1);
      boxes += `M${(LEFT + start * wide).toFixed(1)} ${HEAT_TOP + which * row}h${length}v${row}h-${length}Z`;
      start = i + 1;
    }
    place(truth, { d: boxes });
    return [0, K - 1].map((k) => {
      return words(LEFT - 4, HEAT_TOP + (k + 0.5) * row + 4, String(k + 1), { "text-anchor": "end" });
    });
  }
  return { sheet, title, truth, bottom: HEAT_TOP + row * K, paint };
}
/**
 * @typedef {{ sheet: Node, title: Node, truth: Node, bottom: number,
 *   paint(history: SwitchStep[], wide: number): Node[] }} Belief
 */

/** @type {(w: Widget, names: string[], span: number, K: number) => Picture} */
function makePicture(w, names, span, K) {
  const svg = shape("svg", { role: "img", "aria-label": "The system" });
  const panels = statePanels(w.id, "KL of a step, nats");
  const traces = panels.map(({ inside }) => {
    const band = shape("path.dgm-reach-ours");
    const lines = LOOKS.map(({ kind, dash }) =>
      shape("path", { class: `dgm-line-of ${kind}`, "stroke-dasharray": dash }),
    );
    const [data, dots] = [shape("path.dgm-data-line"), shape("path.dgm-data-dots")];
    inside.append(band, lines[1], lines[0], data, dots);
    return { band, lines, data, dots };
  });
  const [marks, restarts] = [shape("path.dgm-mark-switch"), shape("path.dgm-mark-fresh")];
  const [labels, axis] = [shape("g"), shape("g")];
  const belief = makeBelief(span, K);
  svg.append(marks, restarts, ...panels.map(({ node }) => node), axis, labels, belief.truth, belief.title);
  const note = element("p.dgm-note");
  const stage = element("div.dgm-layers", belief.sheet, svg);
  w.picture.append(stage, makeLegend(names), element("p.dgm-caption", MEANING), note);

  /** @type {(history: SwitchStep[], px: ToPixels, lay: PanelPlace) => void} */
  function paintStates(history, px, lay) {
    const gap = (/** @type {number} */ i) => history[i].fresh;
    const most = history.reduce((top, { x }) => Math.max(top, Math.abs(x[0]), Math.abs(x[1])), 0.8);
    const reach = spanFor(1.2 * most);
    for (const p of [0, 1]) {
      const { lay: layPanel, py } = panels[p];
      layPanel({ ...lay, top: lay.top + p * (TALL + GAP), low: -reach, high: reach });
      const { band, lines, data, dots } = traces[p];
      const [own, other] = [0, 1].map((m) => ({
        mean: history.map(({ said }) => said[m].mean[p]),
        deviation: history.map(({ said }) => said[m].deviation[p]),
      }));
      place(band, { d: bandPath(own.mean, own.deviation, px, py, gap) });
      place(lines[0], { d: linePath(own.mean, px, py, gap) });
      const edges = [1, -1].map((side) => other.mean.map((v, i) => v + side * 2 * other.deviation[i]));
      place(lines[1], { d: edges.map((edge) => linePath(edge, px, py, gap)).join("") });
      const values = history.map(({ x }) => x[p]);
      place(data, { d: linePath(values, px, py, gap) });
      place(dots, { d: values.map((v, i) => MARKS.circle(+px(i), +py(v), 1.7)).join("") });
    }
    const kls = LOOKS.map((_, m) => history.map(({ said }) => said[m].kl));
    const high = spanFor(1.05 * Math.max(0, ...kls.flat()));
    panels[2].lay({ ...lay, top: lay.top + 2 * (TALL + GAP), low: 0, high });
    for (const [m, line] of traces[2].lines.entries()) place(line, { d: linePath(kls[m], px, panels[2].py) });
  }

  /** @type {(history: SwitchStep[], width: number, wide: number) => void} */
  function markChanges(history, width, wide) {
    let [switches, anew] = ["", ""];
    labels.replaceChildren();
    for (const [i, { which, changed, fresh, sigma }] of history.entries()) {
      const x = +(LEFT + i * wide).toFixed(1);
      const line = `M${x} 13V${belief.bottom}`;
      if (changed) switches += line;
      else if (i && fresh) anew += line;
      if (!changed || !i) continue;
      const before = history[i - 1].which;
      const text = before === which ? `\u03c3 ${sigma}` : `${before + 1}\u2192${which + 1}`;
      const anchor = x > width - 30 ? "end" : "middle";
      labels.append(words(x, 10, text, { class: "dgm-strong dgm-halo", "text-anchor": anchor }));
    }
    place(marks, { d: switches });
    place(restarts, { d: anew });
  }

  /** @type {Picture["paint"]} */
  function paint(history, width) {
    if (!width || !history.length) return;
    const wide = (width - LEFT - RIGHT) / span;
    const from = history[0].t;
    const px = (/** @type {number} */ i) => (LEFT + (i + 0.5) * wide).toFixed(1);
    const lay = { left: LEFT, top: TOP, width: width - LEFT - RIGHT, height: TALL, low: 0, high: 1 };
    paintStates(history, px, lay);
    const rows = belief.paint(history, wide);
    markChanges(history, width, wide);
    const steps = ticks(from, from + span, width / 60).filter((v) => v < from + span);
    axis.replaceChildren(
      ...rows,
      shape("path.dgm-axis", { d: `M${LEFT} ${belief.bottom}H${width - RIGHT}` }),
      ...bottomAxis(steps, { px: (v) => px(v - from), y: belief.bottom, text: String }),
      axisName(LEFT + (width - LEFT - RIGHT) / 2, belief.bottom + 31, "step"),
    );
    resize(svg, width, belief.bottom + 36);
  }
  return { svg, note, paint };
}
/**
 * @typedef {{ svg: SVGElement, note: Element, paint(history: SwitchStep[], width: number): void }} Picture
 */

/** @type {(w: Widget, clock: Clock, K: number, forget: () => void) => () => void} */
function makeControls(w, clock, K, forget) {
  const now = () => inForce(w.get("schedule"), w.get("steps"));
  // From the next step on another W or sigma.
  const put = (/** @type {number} */ which, /** @type {number} */ sigma) => {
    const t = w.get("steps");
    const past = w.get("schedule").filter((/** @type {number[]} */ [at]) => at < t);
    const end = past.at(-1);
    w.change({ schedule: end && end[1] === which && end[2] === sigma ? past : [...past, [t, which, sigma]] });
    clock.run(AFTER);
  };
  const turn = () => {
    const [u] = fillUniforms(new Float64Array(1), w.get("seed"), STREAM.choice, w.get("steps"));
    put((now().which + 1 + Math.floor(u * (K - 1))) % K, now().sigma);
  };
  const go = pushButton("Switch the dynamics now", turn, "dgm-reset dgm-go");
  const play = pushButton("Play", clock.toggle);
  const one = pushButton("One step", () => {
    clock.halt();
    clock.run(1);
  });
  const sigmas = w.get("deviations").map((/** @type {number} */ v) => [String(v), String(v)]);
  const noise = radioRow(`${w.id}-sigma`, "Noise, sigma", sigmas, (v) => put(now().which, Number(v)));
  noise.node.prepend(element("span", ...rich("Noise *\u03c3*")));
  const rates = { min: 1, max: 30, step: 1 };
  const speed = labelledSlider(`${w.id}-speed`, "Steps a second", rates, (v) => w.change({ speed: v }));
  const seed = element("input", { type: "number", min: 0, max: 9999, step: 1, id: `${w.id}-seed` });
  seed.addEventListener("change", () => {
    const v = Math.round(Number(seed.value));
    clock.halt();
    if (seed.value !== "" && v >= 0 && v <= 9999) w.change({ ...w.first, speed: w.get("speed"), seed: v });
    else seed.value = w.get("seed");
  });
  const row = element("div.dgm-row", element("label", { for: seed.id }, "Seed", seed), w.reset);
  w.controls.append(element("div.dgm-row.dgm-buttons", go, play, one), noise.node, speed.node, row);
  w.reset.addEventListener("click", () => {
    clock.halt();
    forget();
    w.change(w.first);
  });
  return () => {
    play.textContent = clock.running() ? "Pause" : "Play";
    speed.show(w.get("speed"), String(w.get("speed")));
    if (document.activeElement !== seed || !clock.running()) seed.value = w.get("seed");
    noise.show(String(now().sigma));
  };
}

/**
 * @type {(w: Widget, names: string[], matrices: Matrix[]) => (history: SwitchStep[], means: Means) => void}
 */
function makeReadouts(w, names, matrices) {
  const list = element("dl");
  const [step, law, belief] = ["Step", "Now", "Bayes"].map((term) => readout(list, term));
  const rows = [...names, "exact Bayes"].map((name, m) => {
    const cells = [0, 1, 2].map(() => element("td"));
    return { cells, node: tableRow([...(LOOKS[m] ? [signOf(LOOKS[m])] : []), name], cells) };
  });
  const heads = ["model", "KL before", "KL after", "nats a step"];
  const table = tableOf(
    " ",
    heads,
    rows.map(({ node }) => node),
  );
  const caption = table.createCaption();
  w.side.append(list, table);
  return (history, { around, nats, place: at }) => {
    for (const [m, { cells }] of rows.entries()) {
      cells[0].textContent = around[m] ? shown(around[m][0]) : "";
      cells[1].textContent = around[m] ? shown(around[m][1]) : "";
      cells[2].textContent = shown(nats[m]);
    }
    const before = `KL: means of the ${AROUND} steps before and after the change at step ${history[at]?.t}`;
    const all = `Means over the ${history.length} steps shown`;
    caption.textContent = at < 0 ? all : `${before}; nats a step: of the ${history.length} steps shown`;
    const { t, which, sigma, posterior } = last(history);
    step.textContent = String(t);
    const [[a, b], [c, d]] = matrices[which].map((row) => row.map((v) => decimals(v)));
    const matrix = element("small", ...rich(`*W* = [${a}, ${b}; ${c}, ${d}]`));
    law.replaceChildren(...rich(`dynamics ${which + 1}, *\u03c3* = ${sigma}`), matrix);
    const best = posterior.indexOf(Math.max(...posterior));
    const share = (100 * posterior[best]).toFixed(0);
    belief.textContent = `${best === which ? "right: " : ""}dynamics ${best + 1}, ${share}\u2009%`;
  };
}

/** What a page's tests read. @type {(history: SwitchStep[], models: number) => Values} */
function stateOf(history, models) {
  const each = Array.from({ length: models }, (_, m) => m);
  return {
    x: history.map(({ x }) => [...x]),
    kl: each.map((m) => history.map(({ said }) => said[m].kl)),
    mean: each.map((m) => history.map(({ said }) => [...said[m].mean])),
    deviation: each.map((m) => history.map(({ said }) => [...said[m].deviation])),
    posterior: history.map(({ posterior }) => [...posterior]),
  };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const { nets, goldenError } = await loadHyper(props.model);
  const w = openWidget(props, {
    names: ["seed", "steps", "schedule", "speed"],
    hint:
      "set the noise to 0.25, then to 4: both KLs jump, and are down again a few steps later. Then " +
      "press *Switch the dynamics now*: exact Bayes turns to another matrix, and no KL jumps like that.",
    kind: "dgm-hyper dgm-switch-now",
  });
  /** @type {[string[], Matrix[]]} */
  const [names, matrices] = [w.get("models"), w.get("matrices")];
  const options = { matrices, deviations: w.get("deviations"), ...w.get("options") };
  showGoldenError(w.root, names, goldenError);
  const course = makeCourse(
    names.map((name) => nets[name]),
    options,
  );
  const { svg, note, paint } = makePicture(w, names, options.window, matrices.length);
  const clock = makeClock(w);
  const showControls = makeControls(w, clock, matrices.length, course.forget);
  const showReadouts = makeReadouts(w, names, matrices);
  const speak = throttled(w.status, 600);
  let width = 0;

  /** @type {(means: Means) => void} */
  function tell({ around, nats, place: at }) {
    const { history } = course;
    const { t, which, sigma } = last(history);
    const went = names.map((name, m) => `for ${name} from ${shown(around[m][0])} to ${shown(around[m][1])}`);
    const ends = at < 0 ? "" : ` At the change at step ${history[at].t} KL went ${went.join(", ")}.`;
    const says = `Step ${t}, dynamics ${which + 1}, sigma ${sigma}.${ends} ${note.textContent}`;
    const shows =
      `The last ${history.length} steps of the system, each model's prediction, KL a step, and exact ` +
      "Bayes.";
    place(svg, { "aria-label": `${shows} ${says}` });
    speak(says);
    const settings = { steps: course.done, seed: w.get("seed"), schedule: w.get("schedule") };
    w.root.dataset.state = JSON.stringify({ ...settings, ...stateOf(history, names.length), nats });
  }

  function draw() {
    clock.tick(performance.now());
    const busy = course.advance(w.get("seed"), w.get("steps"), w.get("schedule"), BUDGET_MS);
    const running = clock.running();
    showControls();
    const { history } = course;
    const means = meansOf(history, names.length);
    showReadouts(history, means);
    const fresh = history.findLast((step) => step.fresh && step.t > 0);
    const grown = `At step ${fresh?.t} a coordinate had passed ${options.bound}`;
    const why = "such dynamics grow without end, so the system and the models started anew.";
    note.textContent = fresh ? `${grown}: ${why}` : "";
    paint(history, width);
    if (!running && !busy) tell(means);
    return running || busy;
  }
  return w.start("dgm:switch", draw, {
    resized(wide) {
      width = wide;
      w.ask();
    },
    ended: clock.halt,
  });
}

export default { render };
