// Switch now: two models and exact Bayes follow a linear system whose matrix the reader switches.

import "../styles/hyper_rnn.css";
import { makeClock } from "../clock.js";
import { decimals, pushButton } from "../controls.js";
import { formOf, put, radiosOf, readoutList, sliderOf, tableBy, wholeOf } from "../form.js";
import { element, MARKS, rich, shape, ticks } from "../frame.js";
import { showGoldenError } from "../golden.js";
import { last } from "../models/arrays.js";
import { fillUniforms } from "../models/draws.js";
import { loadHyper } from "../models/hyper_weights.js";
import { makeCourse } from "../models/switch_course.js";
import { inForce, STREAM, spanFor } from "../models/switching.js";
import * as panels from "../panels.js";
import { GAP, LEFT, lineOf, meanOf, RIGHT, TOP } from "../panels.js";
import { place, resize, sign, words } from "../plot.js";
import { defineWidget } from "../widget.js";

const AFTER = 25; // steps that run after a change, where nothing played
const AROUND = 5; // steps before and after a change whose KL is averaged
const BUDGET_MS = 4; // of a frame, after which no further step is computed
const LOOKS = [
  { kind: "dgm-ours", dash: "" },
  { kind: "dgm-base", dash: "5 3" },
];
const [TALL, LOW] = [54, 54]; // px, of the point's panel and of each model's KL
const KL_TOP = 6; // nats, so that the same KL looks the same in every state, unless one is above it

/** KL before and after the last change, nats a step, and where that change stands. */
/** @typedef {ReturnType<typeof meansOf>} Means */
/** @typedef {ReturnType<typeof makeClock>} Clock */

const signOf = (/** @type {number} */ m) => sign("", lineOf(LOOKS[m].kind, LOOKS[m].dash, "M1 7H33"));
const shown = (/** @type {number | null} */ v, places = 2) => (v === null ? "\u2013" : decimals(v, places));

function meansOf(/** @type {SwitchStep[]} */ history, /** @type {number} */ models) {
  const at = history.findLastIndex(({ changed, fresh, t }) => changed || (fresh && t > 0));
  const each = Array.from({ length: models }, (_, m) => m);
  const ranges = [
    [Math.max(0, at - AROUND), at],
    [at, Math.min(history.length, at + AROUND)],
  ];
  const around = each.map((m) =>
    ranges.map(([from, to]) =>
      at < 0 || to <= from ? null : meanOf(history.slice(from, to).map(({ models: all }) => all[m].kl)),
    ),
  );
  const nats = each.map((m) => meanOf(history.map((step) => step.models[m].increment)));
  return { around, nats: [...nats, meanOf(history.map(({ exact }) => exact))], place: at };
}

function makeLegend(/** @type {string[]} */ names) {
  const data = [
    shape("path.dgm-data-line", { d: "M1 7H33" }),
    shape("path.dgm-data-dots", { d: MARKS.circle(17, 7, 2.2) }),
  ];
  return element(
    "p.dgm-row.dgm-legend",
    ...names.map((name, m) => element("span", signOf(m), name)),
    element("span", sign("", ...data), "the point"),
    element("span", sign("", shape("path.dgm-mark-switch", { d: "M17 1V13" })), "a change"),
    element("span", sign("", shape("path.dgm-truth", { d: "M3 3h28v8h-28Z" })), "the true matrix"),
  );
}

/** @type {(w: Widget, names: string[], span: number, K: number) => Picture} */
function makePicture(w, names, span, K) {
  const svg = shape("svg", { role: "img", "aria-label": "The system" });
  const belief = panels.heatSheet("dgm-heat", span, K);
  const row = Math.max(7, Math.round(70 / K)); // of what exact Bayes believes, px
  const klTops = names.map((_, m) => TOP + TALL + GAP + m * (LOW + GAP));
  const heatTop = TOP + TALL + GAP + names.length * (LOW + GAP);
  const bottom = heatTop + row * K;
  const spans = [[TOP, TALL], ...klTops.map((top) => [top, LOW]), [heatTop, row * K]];
  const note = element("p.dgm-note");
  const stage = element("div.dgm-layers", belief.node, svg);
  w.picture.append(stage, makeLegend(names), note);

  /** Boxes about the true dynamics. @type {(history: SwitchStep[], wide: number) => string} */
  function boxesOf(history, wide) {
    const starts = history.flatMap(({ which }, i) => (history[i - 1]?.which === which ? [] : [i]));
    const boxes = starts.map((start, k) => {
      const length = (((starts[k + 1] ?? history.length) - start) * wide).toFixed(1);
      const corner = `M${(LEFT + start * wide).toFixed(1)} ${heatTop + history[start].which * row}`;
      return `${corner}h${length}v${row}h-${length}Z`;
    });
    return boxes.join("");
  }

  /** @type {SayChange} */
  function sayChange(step, before) {
    if (!step.changed) return step.fresh && before ? ["dgm-mark-fresh", ""] : null;
    return ["dgm-mark-switch", before ? panels.changeOf(step, before) : ""];
  }

  /** @type {Picture["paint"]} */
  function paint(history, all) {
    if (!all || !history.length) return;
    const width = all - LEFT - RIGHT;
    const wide = width / span;
    const from = history[0].t;
    /** @type {Fixed} */
    const px = (i) => (LEFT + (i + 0.5) * wide).toFixed(1);
    const lines = names.map((_, m) => history.map(({ models }) => models[m]));
    const models = lines.map((line) => ({
      mean: line.map(({ mean }) => mean),
      deviation: line.map(({ deviation }) => deviation),
    }));
    const box = { top: TOP, width, height: TALL, low: 0, high: 1 };
    const kls = lines.map((line) => line.map(({ kl }) => kl));
    const high = Math.max(KL_TOP, spanFor(1.05 * Math.max(...kls.flat())));
    const steps = ticks(from, from + span, all / 60).filter((v) => v < from + span);
    const title = `Exact Bayes: belief in each of ${K} matrices`;
    belief.paint(heatTop, width, row * K, (k, i) => {
      return [255, 255, 255, history[i] ? 255 * history[i].posterior[k] : 0]; // light pages invert it
    });
    svg.replaceChildren(
      ...panels.changeMarks(history, { wide, width: all, spans }, sayChange),
      panels.coordinatePanel(w.id, box, px, history, models),
      ...names.map((name, m) => {
        const low = { ...box, top: klTops[m], height: LOW, high };
        return panels.panelOf(`${w.id}-kl${m}`, `KL of ${name}, nats`, low, (py) => [
          lineOf(LOOKS[m].kind, LOOKS[m].dash, panels.linePath(kls[m], px, py)),
        ]);
      }),
      ...panels.stepAxis(steps, (v) => px(v - from), width, bottom),
      ...[0, K - 1].map((k) =>
        words(LEFT - 4, heatTop + (k + 0.5) * row + 4, String(k + 1), { "text-anchor": "end" }),
      ),
      shape("path.dgm-truth", { d: boxesOf(history, wide) }),
      shape("text.dgm-strong.dgm-halo", { x: LEFT + 3, y: heatTop - 5 }, title),
    );
    resize(svg, all, bottom + 36);
  }
  return { svg, note, paint };
}
/** @typedef {{ svg: Element, note: Element, paint(history: SwitchStep[], width: number): void }} Picture */

/** @type {(w: Widget, clock: Clock, K: number, forget: () => void) => () => void} */
function makeControls(w, clock, K, forget) {
  const form = formOf(w);
  const now = () => inForce(w.get("schedule"), w.get("steps"));
  // From the next step on another W or sigma.
  const change = (/** @type {number} */ which, /** @type {number} */ sigma) => {
    const t = w.get("steps");
    const past = w.get("schedule").filter((/** @type {number[]} */ [at]) => at < t);
    const end = past.at(-1);
    w.change({ schedule: end && end[1] === which && end[2] === sigma ? past : [...past, [t, which, sigma]] });
    clock.run(AFTER);
  };
  const turn = () => {
    const [u] = fillUniforms(new Float64Array(1), w.get("seed"), STREAM.choice, w.get("steps"));
    change((now().which + 1 + Math.floor(u * (K - 1))) % K, now().sigma);
  };
  const go = pushButton("Switch the matrix now", turn, "dgm-reset dgm-go");
  const play = pushButton("Play", clock.toggle);
  const single = pushButton("One step", () => {
    clock.halt();
    clock.run(1);
  });
  const deviations = w.get("deviations").map((/** @type {number} */ v) => [String(v), String(v)]);
  const noise = radiosOf(form, "sigma", "Noise, sigma", deviations, {
    head: "Noise *\u03c3*",
    get: () => now().sigma,
    set: (v) => change(now().which, Number(v)),
  });
  const speed = sliderOf(form, "speed", "Steps a second", { min: 1, max: 30, step: 1 });
  // The same changes at the same steps, by other chances.
  const again = (/** @type {number} */ seed) => {
    clock.halt();
    w.change({ seed });
  };
  const seed = wholeOf(form, "label", "seed", "Seed", { min: 0, max: 9999 }, { set: again });
  const reset = form.reset(() => {
    clock.halt();
    forget();
  });
  const buttons = element("div.dgm-row.dgm-buttons", go, play, single);
  w.controls.append(buttons, noise, speed, element("div.dgm-row", seed, reset));
  return () => {
    put(play, clock.running() ? "Pause" : "Play");
    form.show();
  };
}

/** @type {(w: Widget, names: string[], matrices: Matrix[]) => (steps: SwitchStep[], means: Means) => void} */
function makeReadouts(w, names, matrices) {
  const fill = readoutList(w.side, ["Step", "Now", "Bayes"]);
  const heads = ["model", "KL before", "KL after", "nats a step"];
  const table = tableBy(" ", heads, [...names.map((name, m) => [signOf(m), name]), ["exact Bayes"]]);
  const caption = table.node.createCaption();
  w.side.append(table.node);
  return (history, { around, nats, place: at }) => {
    for (const [m, v] of nats.entries()) {
      table.fill(m, ...(around[m]?.map((kl) => shown(kl)) ?? ["", ""]), shown(v));
    }
    const before = `KL: means of the ${AROUND} steps before and after the change at step ${history[at]?.t}`;
    const all = `Means over the ${history.length} steps shown`;
    put(caption, at < 0 ? all : `${before}; nats a step: of the ${history.length} steps shown`);
    const { t, which, sigma, posterior } = last(history);
    const [[a, b], [c, d]] = matrices[which].map((row) => row.map((v) => decimals(v)));
    const matrix = element("small", ...rich(`*W* = [${a}, ${b}; ${c}, ${d}]`));
    const best = posterior.indexOf(Math.max(...posterior));
    const guess = `matrix ${best + 1}, ${(100 * posterior[best]).toFixed(0)}\u2009%`;
    const now = [...rich(`matrix ${which + 1}, *\u03c3* = ${sigma}`), matrix];
    fill(String(t), now, `${best === which ? "right: " : ""}${guess}`);
  };
}

// Such as "matrix 1 and noise 1, from step 20 matrix 2".
function inWordsOf(/** @type {Schedule} */ schedule) {
  const rows = schedule.map(([t, which, sigma]) => ({ t, which, sigma }));
  const each = rows.map((row, i) => `${i ? `from step ${row.t} ` : ""}${panels.changeOf(row, rows[i - 1])}`);
  return each.join(", ");
}

/** What a page's tests read. @type {(history: SwitchStep[], models: number) => Values} */
function stateOf(history, models) {
  const each = Array.from({ length: models }, (_, m) => history.map((step) => step.models[m]));
  return {
    x: history.map(({ x }) => [...x]),
    kl: each.map((line) => line.map(({ kl }) => kl)),
    mean: each.map((line) => line.map(({ mean }) => [...mean])),
    deviation: each.map((line) => line.map(({ deviation }) => [...deviation])),
    posterior: history.map(({ posterior }) => [...posterior]),
  };
}

export default defineWidget(
  {
    measure: "dgm:switch",
    names: ["seed", "steps", "schedule", "speed"],
    hint: "set the noise to 0.25, then to 4; then *Switch the matrix now*. Who notices?",
    kind: "dgm-hyper dgm-switch-now",
    load: loadHyper,
    inWords: { schedule: inWordsOf },
  },
  (w, { nets, goldenError }) => {
    /** @type {[string[], Matrix[]]} */
    const [names, matrices] = [w.get("models"), w.get("matrices")];
    const options = { matrices, deviations: w.get("deviations"), ...w.get("options") };
    showGoldenError(w.root, names, goldenError);
    const models = names.map((name) => nets[name]);
    const course = makeCourse(models, options);
    const { svg, note, paint } = makePicture(w, names, options.window, matrices.length);
    const clock = makeClock(w);
    const showControls = makeControls(w, clock, matrices.length, course.forget);
    const showReadouts = makeReadouts(w, names, matrices);

    function report(/** @type {Means} */ { around, nats, place: at }) {
      const { history } = course;
      const { t, which, sigma } = last(history);
      const changes = names.map(
        (name, m) => `for ${name} from ${around[m].map((v) => shown(v)).join(" to ")}`,
      );
      const ends = at < 0 ? "" : ` At the change at step ${history[at].t} KL went ${changes.join(", ")}.`;
      const says = `Step ${t}, matrix ${which + 1}, sigma ${sigma}.${ends} ${note.textContent}`;
      const shows = "steps of the system, each model's prediction, KL a step, and exact Bayes.";
      place(svg, { "aria-label": `The last ${history.length} ${shows} ${says}` });
      w.speak(says);
      const settings = { steps: course.done, seed: w.get("seed"), schedule: w.get("schedule") };
      w.root.dataset.state = JSON.stringify({ ...settings, ...stateOf(history, names.length), nats });
    }

    function draw(/** @type {number} */ width) {
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
      put(note, fresh ? `${grown}: ${why}` : "");
      paint(history, width);
      if (!running && !busy) report(means);
      return running || busy;
    }
    return { draw, ended: clock.halt };
  },
);
