// The dispersion microscope: the same sentences' features under three poolings, at any moment of training.

import "../styles/pooling.css";
import { labelledSlider, SHAPES } from "../controls.js";
import { formOf, radiosOf, readoutList } from "../form.js";
import { eased, element, MARKS, niceStep, number, shape } from "../frame.js";
import { bufferOf } from "../models/nn.js";
import { place, resize } from "../plot.js";
import { defineWidget, layersOf } from "../widget.js";

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

// One panel of dots. It knows its size and where its dots are.
/** @param {Widget} w @param {number} p @param {Int16Array} points @param {Focus} focus */
function makePanel(w, p, points, focus) {
  const svg = shape("svg", { role: "img", style: "cursor: crosshair" });
  const { ground, crowd, rule, length, ring } = layersOf(svg, {
    ground: "rect.dgm-field",
    crowd: "g",
    rule: "path.dgm-rule",
    length: "text.dgm-halo",
    ring: "circle.dgm-found",
  });
  place(ground, { x: 0.5, y: 0.5, rx: 4 });
  place(ring, { r: 6.5 });
  const panel = element("div.dgm-panel", element("p.dgm-caption", w.get("sets")[0].panels[p].label), svg);
  w.picture.append(panel);
  const fill = readoutList(panel, Object.values(STATISTICS));
  /** @type {SVGElement[]} */
  let paths = [];
  let at = new Float64Array(0);
  let size = 0;

  // A length in the features' own units, for each panel has its own scale.
  function drawRule(/** @type {SentenceSet} */ { panels }) {
    const { half } = panels[p];
    const far = niceStep(2 * half, 5);
    const wide = (far / half / 2) * 0.94 * size;
    place(rule, { d: `M8 ${size - 9}v-4m0 2h${wide}m0 -2v4` });
    length.replaceChildren(String(+far.toPrecision(2)));
    place(length, { x: 13 + wide, y: size - 7 });
  }
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

  return {
    begin(/** @type {SentenceSet} */ set) {
      paths = set.classes.map((_, c) => shape("path", { class: `dgm-dots ${tone(set, c)}` }));
      crowd.replaceChildren(...[...paths].reverse());
      at = new Float64Array(2 * set.class_of.length);
      drawRule(set);
    },
    layout(/** @type {SentenceSet} */ set) {
      size = Math.floor(svg.clientWidth);
      resize(svg, size, size);
      place(ground, { width: Math.max(0, size - 1), height: Math.max(0, size - 1) });
      drawRule(set);
    },
    drawDots(/** @type {SentenceSet} */ set, /** @type {number} */ position) {
      if (!size) return;
      const m = set.class_of.length;
      const low = Math.floor(position);
      const mix = position - low;
      const { start } = set.panels[p];
      const [a, b] = [low, Math.min(low + 1, set.steps.length - 1)].map((step) => start + 2 * m * step);
      const scale = (0.47 * size) / 32767;
      const parts = set.classes.map(() => "");
      for (let i = 0; i < m; i++) {
        const x = points[a + 2 * i] + mix * (points[b + 2 * i] - points[a + 2 * i]);
        const y = points[a + 2 * i + 1] + mix * (points[b + 2 * i + 1] - points[a + 2 * i + 1]);
        at[2 * i] = Math.round(10 * (size / 2 + scale * x)) / 10;
        at[2 * i + 1] = Math.round(10 * (size / 2 - scale * y)) / 10;
        const c = set.class_of[i];
        parts[c] += markOf(set, c)(at[2 * i], at[2 * i + 1], size < 190 ? 1.7 : 2.2);
      }
      for (const [c, d] of parts.entries()) place(paths[c], { d });
    },
    /** @type {(set: SentenceSet, step: number, forward: number, ringed: number) => void} */
    show(set, step, forward, i) {
      for (const [c, path] of paths.entries())
        path.classList.toggle("dgm-aside", forward >= 0 && c !== forward);
      const top = paths[Math.max(0, forward)];
      if (crowd.lastChild !== top) crowd.append(top);
      ring.style.display = i < 0 ? "none" : "";
      if (i >= 0) place(ring, { cx: at[2 * i], cy: at[2 * i + 1] });
      fill(...names.map((name) => number(set.panels[p][name][step])));
      const sentences = `${set.class_of.length} sentences in the plane`;
      place(svg, { "aria-label": `${set.panels[p].label}: ${sentences}, at step ${set.steps[step]}` });
    },
  };
}

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
      const words = element("span", { "aria-hidden": "true" }, "Bring forward:");
      group.replaceChildren(words, ...classButtons(w, set, focus));
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
  (model) => ({
    measure: "dgm:dispersion-microscope",
    names: ["set", "frame", "highlighted"],
    hint:
      "drag to the start of training and back, then bring one class forward: in which panels do its " +
      "sentences lie together?",
    kind: "dgm-pool dgm-scope",
    pause: 700,
    forms({ set }) {
      /** @type {SentenceSet[]} */
      const sets = model.get("sets");
      const { steps, classes } = sets.find(({ name }) => name === set) ?? sets[0];
      return {
        frame: { kind: "whole", low: 0, high: steps.length - 1 },
        highlighted: { kind: "choice", choices: ["", ...classes] },
      };
    },
  }),
  (w) => {
    /** @type {SentenceSet[]} */
    const sets = w.get("sets");
    const points = new Int16Array(bufferOf(w.get("points")));
    const focus = { chosen: -1, hovered: -1, passing: "" };
    const panels = sets[0].panels.map((_, p) => makePanel(w, p, points, focus));
    const sentence = element("p.dgm-sentence");
    w.picture.append(sentence);
    const controls = makeControls(w, sets, focus);
    const current = () => sets.find(({ name }) => name === w.get("set")) ?? sets[0];
    /** @type {SentenceSet | null} */
    let shown = null;
    let [position, drawn] = [0, ""];

    function begin() {
      const set = current();
      if (shown === set) return set;
      shown = set;
      Object.assign(focus, { chosen: -1, hovered: -1, passing: "" });
      [position, drawn] = [w.get("frame"), ""];
      controls.begin(set);
      for (const panel of panels) panel.begin(set);
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
    function draw() {
      const set = begin();
      const step = Math.min(w.get("frame"), set.steps.length - 1);
      position = eased(position, step);
      const key = `${set.name} ${position}`;
      if (drawn !== key) for (const panel of panels) panel.drawDots(set, position);
      drawn = key;
      const ringed = focus.hovered >= 0 ? focus.hovered : focus.chosen;
      const name = set.texts?.[ringed] ?? `Sentence ${ringed + 1}`;
      const text = `${name} (${set.classes[set.class_of[ringed]]})`;
      const nothing = "Point at a dot: the same sentence is ringed in every panel.";
      sentence.textContent = ringed < 0 ? nothing : text;
      const forward = set.classes.indexOf(focus.passing || w.get("highlighted"));
      for (const panel of panels) panel.show(set, step, forward, ringed);
      controls.show(set, step, text);
      tell(set, step);
      return position !== step;
    }
    function layout() {
      for (const panel of panels) panel.layout(current());
      drawn = "";
    }
    begin();
    return { draw, layout };
  },
);
