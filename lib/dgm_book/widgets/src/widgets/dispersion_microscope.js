// The dispersion microscope: the same sentences' features under three poolings, at any moment of training.

import "../styles/pooling.css";
import { labelledSlider, SHAPES } from "../controls.js";
import { formOf, radiosOf, readoutList } from "../form.js";
import { calm, element, MARKS, niceStep, number, shape } from "../frame.js";
import { bufferOf } from "../models/nn.js";
import { place, resize, words } from "../plot.js";
import { defineWidget } from "../widget.js";

const COLOURS = [0, 1, 2, 4, 5, 7, 8, 9, 3]; // of dgm-c0 ... dgm-c9, whose grey is kept for "other"
const STATISTICS = { cosine: "mean cosine", relative: "relative dispersion", participation: "participation" };
const REACH = 14; // px within which a dot is found
const SCALES =
  "Each panel has its own scale, the same for the whole of training. Mean cosine: of all pairs, 1 where " +
  "all features point one way. Relative dispersion: variance over the squared length of the mean. " +
  "Participation: along how many directions the variance spreads.";

/**
 * What is pointed at or chosen: sentences by number or -1, and a class.
 * @typedef {{ chosen: number, hovered: number, passing: string }} Focus
 */

/** @type {(set: SentenceSet, c: number) => boolean} */
const isOther = ({ classes }, c) => c === classes.length - 1 && classes[c] === "other";
/** @type {(set: SentenceSet, c: number) => string} */
const tone = (set, c) => (isOther(set, c) ? "dgm-c6 dgm-other" : `dgm-c${COLOURS[c]}`);
/** @type {(set: SentenceSet, c: number) => (x: number, y: number, r: number) => string} */
const markOf = (set, c) => MARKS[SHAPES[isOther(set, c) ? 0 : c % 5]];
const names = /** @type {(keyof typeof STATISTICS)[]} */ (Object.keys(STATISTICS));

// A length in the features' own units, for each panel has its own scale.
function ruleOf(/** @type {number} */ half, /** @type {number} */ size) {
  const length = niceStep(2 * half, 5);
  const wide = (length / half / 2) * 0.94 * size;
  const look = { class: "dgm-halo", "text-anchor": "start" };
  return [
    shape("path.dgm-rule", { d: `M8 ${size - 9}v-4m0 2h${wide}m0 -2v4` }),
    words(13 + wide, size - 7, String(+length.toPrecision(2)), look),
  ];
}

/** One panel of dots. @type {(w: Widget, p: number, points: Int16Array, focus: Focus) => Panel} */
function makePanel(w, p, points, focus) {
  const svg = shape("svg", { role: "img", style: "cursor: crosshair" });
  const panel = element("div.dgm-panel", element("p.dgm-caption", w.get("sets")[0].panels[p].label), svg);
  w.picture.append(panel);
  const fill = readoutList(panel, Object.values(STATISTICS));
  /** Where the dots are, px. */
  let at = new Float64Array(0);
  /** @type {SVGElement[]} */
  let crowd = [];
  let drawn = "";

  function nearest(/** @type {MouseEvent} */ event) {
    const box = svg.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [best, far] = [-1, REACH];
    for (let i = 0; i < at.length / 2; i++) {
      const d = Math.hypot(at[2 * i] - x, at[2 * i + 1] - y);
      if (d < far) [best, far] = [i, d];
    }
    return best;
  }
  const hover = (/** @type {number} */ i) => {
    if (focus.hovered === i) return;
    focus.hovered = i;
    w.ask();
  };
  svg.addEventListener("pointermove", (event) => hover(nearest(event)));
  svg.addEventListener("pointerleave", () => hover(-1));
  svg.addEventListener("click", (event) => {
    focus.chosen = nearest(event);
    w.ask();
  });

  /** @type {(set: SentenceSet, position: number, size: number) => void} */
  function placeDots(set, position, size) {
    const m = set.class_of.length;
    const low = Math.floor(position);
    const mix = position - low;
    const { start } = set.panels[p];
    const [a, b] = [low, Math.min(low + 1, set.steps.length - 1)].map((step) => start + 2 * m * step);
    const scale = (0.47 * size) / 32767;
    at = new Float64Array(2 * m);
    const parts = set.classes.map(() => "");
    for (let i = 0; i < m; i++) {
      const x = points[a + 2 * i] + mix * (points[b + 2 * i] - points[a + 2 * i]);
      const y = points[a + 2 * i + 1] + mix * (points[b + 2 * i + 1] - points[a + 2 * i + 1]);
      at[2 * i] = Math.round(10 * (size / 2 + scale * x)) / 10;
      at[2 * i + 1] = Math.round(10 * (size / 2 - scale * y)) / 10;
      const c = set.class_of[i];
      parts[c] += markOf(set, c)(at[2 * i], at[2 * i + 1], size < 190 ? 1.7 : 2.2);
    }
    crowd = parts.map((d, c) => shape("path", { class: `dgm-dots ${tone(set, c)}`, d }));
  }

  /** @type {Panel["draw"]} */
  function draw(set, size, step, position, forward, ringed) {
    const { label, half, ...measures } = set.panels[p];
    const key = [set.name, position, size].join();
    if (size && key !== drawn) placeDots(set, position, size);
    drawn = key;
    for (const [c, path] of crowd.entries())
      path.classList.toggle("dgm-aside", forward >= 0 && c !== forward);
    // The first class lies on top, unless another is brought forward.
    const front = crowd[Math.max(0, forward)];
    const [cx, cy] = at.subarray(2 * ringed, 2 * ringed + 2);
    if (size) {
      resize(svg, size, size);
      svg.replaceChildren(
        shape("rect.dgm-field", { x: 0.5, y: 0.5, rx: 4, width: size - 1, height: size - 1 }),
        shape("g", ...crowd.filter((path) => path !== front).reverse(), front),
        ...ruleOf(half, size),
        shape("circle.dgm-found", { r: 6.5, ...(ringed < 0 ? { style: "display: none" } : { cx, cy }) }),
      );
    }
    fill(...names.map((name) => number(measures[name][step])));
    const sentences = `${set.class_of.length} sentences in the plane`;
    place(svg, { "aria-label": `${label}: ${sentences}, at step ${set.steps[step]}` });
  }
  return { svg, draw };
}
/** @typedef {(set: SentenceSet, ...settings: [number, number, number, number, number]) => void} DrawPanel */
/** @typedef {{ svg: Element, draw: DrawPanel }} Panel */

/** Buttons that bring a class forward. @param {Widget} w @param {SentenceSet} set @param {Focus} focus */
function classButtons(w, set, focus) {
  return set.classes.map((name, c) => {
    const mark = shape("path", { class: tone(set, c), d: markOf(set, c)(6, 6, 4) });
    const sign = shape("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, mark);
    const button = element("button", { type: "button", value: name }, sign, name);
    button.addEventListener("click", () => {
      w.change({ highlighted: w.get("highlighted") === name ? "" : name });
    });
    const passing = { pointerenter: name, focus: name, pointerleave: "", blur: "" };
    for (const [kind, to] of Object.entries(passing)) {
      button.addEventListener(kind, () => {
        focus.passing = to;
        w.ask();
      });
    }
    return button;
  });
}

/** @param {Widget} w @param {SentenceSet[]} sets @param {Focus} focus */
function makeControls(w, sets, focus) {
  const form = formOf(w);
  const slider = labelledSlider(`${w.id}-frame`, "Training step", { min: 0, step: 1 }, (frame) =>
    w.change({ frame }),
  );
  const group = element("div.dgm-words", { role: "group", "aria-label": "Bring a class forward" });
  const which = labelledSlider(`${w.id}-which`, "Ring a sentence", { min: 0, step: 1 }, (value) => {
    focus.chosen = value - 1;
    w.ask();
  });
  const choices = sets.map(({ name, label }) => [name, label]);
  const choice = radiosOf(form, "set", "Data", choices, {
    set(name) {
      const { classes, steps } = sets.find((set) => set.name === name) ?? sets[0];
      const highlighted = classes.includes(w.get("highlighted")) ? w.get("highlighted") : "";
      // A place within the next set, before the set itself is the next.
      w.change({ highlighted, frame: Math.min(w.get("frame"), steps.length - 1), set: name });
    },
  });
  const forget = () => {
    focus.chosen = -1;
  };
  const sources = sets.length > 1 ? choice : element("span", sets[0].label);
  const row = element("div.dgm-row", sources, form.reset(forget));
  w.controls.append(slider.node, group, which.node, row, element("p.dgm-small", SCALES));
  return {
    begin(/** @type {SentenceSet} */ set) {
      slider.input.max = String(set.steps.length - 1);
      which.input.max = String(set.class_of.length);
      form.show();
      const label = element("span", { "aria-hidden": "true" }, "Bring forward:");
      group.replaceChildren(label, ...classButtons(w, set, focus));
    },
    show(/** @type {SentenceSet} */ set, /** @type {number} */ step, /** @type {string} */ sentence) {
      const shown = set.steps[step].toLocaleString("en");
      slider.show(step, shown, `step ${shown}`);
      const { chosen } = focus;
      const place = chosen < 0 ? "none" : `${chosen + 1} of ${set.class_of.length}`;
      which.show(chosen + 1, place, chosen < 0 ? "none" : sentence);
      for (const button of group.querySelectorAll("button")) {
        button.setAttribute("aria-pressed", String(button.value === w.get("highlighted")));
      }
    },
  };
}

export default defineWidget(
  {
    measure: "dgm:dispersion-microscope",
    names: ["set", "frame", "highlighted"],
    hint:
      "drag to the start of training and back, then bring one class forward: in which panels do its " +
      "sentences lie together?",
    kind: "dgm-pool dgm-scope",
    pause: 700,
  },
  (w) => {
    /** @type {SentenceSet[]} */
    const sets = w.get("sets");
    const points = new Int16Array(bufferOf(w.get("points")));
    const focus = { chosen: -1, hovered: -1, passing: "" };
    const panels = sets[0].panels.map((_, p) => makePanel(w, p, points, focus));
    const sentence = element("p.dgm-sentence");
    w.picture.append(sentence);
    const controls = makeControls(w, sets, focus);
    /** @type {SentenceSet | null} */
    let shown = null;
    let position = 0;
    let sizes = panels.map(() => 0);

    // The set that is shown, anew where it is another.
    function current() {
      const set = sets.find(({ name }) => name === w.get("set")) ?? sets[0];
      if (shown === set) return set;
      shown = set;
      Object.assign(focus, { chosen: -1, hovered: -1, passing: "" });
      position = w.get("frame");
      controls.begin(set);
      return set;
    }
    function tell(/** @type {SentenceSet} */ { panels: measured, steps }, /** @type {number} */ step) {
      const texts = measured.map(({ label, cosine, relative }) => {
        return `${label}: mean cosine ${number(cosine[step])}, relative ${number(relative[step])}`;
      });
      const forward = w.get("highlighted") ? ` In front: ${w.get("highlighted")}.` : "";
      const ringed = focus.chosen >= 0 ? ` ${sentence.textContent}` : "";
      w.speak(`Step ${steps[step]}. ${texts.join(". ")}.${forward}${ringed}`);
    }
    current();
    function draw() {
      const set = current();
      const step = Math.min(w.get("frame"), set.steps.length - 1);
      const gap = step - position;
      position = calm() || Math.abs(gap) < 0.02 ? step : position + 0.34 * gap;
      const ringed = focus.hovered >= 0 ? focus.hovered : focus.chosen;
      const name = set.texts?.[ringed] ?? `Sentence ${ringed + 1}`;
      const text = `${name} (${set.classes[set.class_of[ringed]]})`;
      const nothing = "Point at a dot: the same sentence is ringed in every panel.";
      sentence.textContent = ringed < 0 ? nothing : text;
      const forward = set.classes.indexOf(focus.passing || w.get("highlighted"));
      for (const [p, panel] of panels.entries()) panel.draw(set, sizes[p], step, position, forward, ringed);
      controls.show(set, step, text);
      tell(set, step);
      return position !== step;
    }
    const layout = () => {
      sizes = panels.map(({ svg }) => Math.floor(svg.clientWidth));
    };
    return { draw, layout };
  },
);
