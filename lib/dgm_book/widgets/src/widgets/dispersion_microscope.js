// The dispersion microscope: the same sentences' features under three poolings, at any moment of training.

import "../styles/pooling.css";
import { labelledSlider, radioRow, SHAPES } from "../controls.js";
import { eased, element, MARKS, niceStep, number, openWidget, readout, shape, throttled } from "../frame.js";
import { bufferOf } from "../models/nn.js";
import { place, resize } from "../plot.js";

const COLOURS = [0, 1, 2, 4, 5, 7, 8, 9, 3]; // of dgm-c0 ... dgm-c9, whose grey is kept for "other"
const STATISTICS = { cosine: "mean cosine", relative: "relative dispersion", participation: "participation" };
const REACH = 14; // px within which a dot is found
const SCALES =
  "Each panel has its own scale, the same for the whole of training. Mean cosine: of all pairs, 1 where " +
  "all features point one way. Relative dispersion: variance over the squared length of the mean. " +
  "Participation: along how many directions the variance spreads.";

/**
 * @typedef {Record<keyof typeof STATISTICS, number[]> & { label: string, half: number, start: number }}
 *   PanelData
 */
/**
 * Sentences in classes, whose features were measured at some steps.
 * @typedef {{ name: string, label: string, classes: string[], class_of: number[], texts?: string[], steps:
 *   number[], panels: PanelData[] }} SentenceSet
 */
/**
 * What is pointed at or chosen: sentences by number or -1, and a class.
 * @typedef {{ chosen: number, hovered: number, passing: string }} Focus
 */

/** @type {(one: SentenceSet, c: number) => boolean} */
const isOther = ({ classes }, c) => c === classes.length - 1 && classes[c] === "other";
/** @type {(one: SentenceSet, c: number) => string} */
const tone = (one, c) => (isOther(one, c) ? "dgm-c6 dgm-other" : `dgm-c${COLOURS[c]}`);
/** @type {(one: SentenceSet, c: number) => (x: number, y: number, r: number) => string} */
const markOf = (one, c) => MARKS[SHAPES[isOther(one, c) ? 0 : c % 5]];
const names = /** @type {(keyof typeof STATISTICS)[]} */ (Object.keys(STATISTICS));

// One panel of dots. It knows its size and where its dots are.
/** @type {(w: Widget, p: number, points: Int16Array, focus: Focus) => Panel} */
function makePanel(w, p, points, focus) {
  const svg = shape("svg", { role: "img", style: "cursor: crosshair" });
  const ground = shape("rect.dgm-field", { x: 0.5, y: 0.5, rx: 4 });
  const crowd = shape("g");
  const [rule, length] = [shape("path.dgm-rule"), shape("text.dgm-halo")];
  const ring = shape("circle.dgm-found", { r: 6.5 });
  svg.append(ground, crowd, rule, length, ring);
  const list = element("dl");
  const outs = names.map((name) => readout(list, STATISTICS[name]));
  const { label } = w.get("sets")[0].panels[p];
  w.picture.append(element("div.dgm-panel", element("p.dgm-caption", label), svg, list));
  /** @type {SVGPathElement[]} */
  let paths = [];
  let at = new Float64Array(0);
  let size = 0;

  /** @type {Panel["begin"]} */
  function begin(one) {
    paths = one.classes.map((_, c) => shape("path", { class: `dgm-dots ${tone(one, c)}` }));
    crowd.replaceChildren(...[...paths].reverse());
    at = new Float64Array(2 * one.class_of.length);
    drawRule(one);
  }

  // A length in the features' own units, for each panel has its own scale.
  /** @type {(one: SentenceSet) => void} */
  function drawRule(one) {
    const { half } = one.panels[p];
    const far = niceStep(2 * half, 5);
    const wide = (far / half / 2) * 0.94 * size;
    place(rule, { d: `M8 ${size - 9}v-4m0 2h${wide}m0 -2v4` });
    length.replaceChildren(String(+far.toPrecision(2)));
    place(length, { x: 13 + wide, y: size - 7 });
  }

  /** @type {Panel["layout"]} */
  function layout(one) {
    size = Math.floor(svg.clientWidth);
    resize(svg, size, size);
    place(ground, { width: Math.max(0, size - 1), height: Math.max(0, size - 1) });
    drawRule(one);
  }

  /** @type {Panel["drawDots"]} */
  function drawDots(one, position) {
    if (!size) return;
    const m = one.class_of.length;
    const low = Math.floor(position);
    const mix = position - low;
    const { start } = one.panels[p];
    const a = start + 2 * m * low;
    const b = start + 2 * m * Math.min(low + 1, one.steps.length - 1);
    const scale = (0.47 * size) / 32767;
    const parts = one.classes.map(() => "");
    for (let i = 0; i < m; i++) {
      const x = points[a + 2 * i] + mix * (points[b + 2 * i] - points[a + 2 * i]);
      const y = points[a + 2 * i + 1] + mix * (points[b + 2 * i + 1] - points[a + 2 * i + 1]);
      at[2 * i] = Math.round(10 * (size / 2 + scale * x)) / 10;
      at[2 * i + 1] = Math.round(10 * (size / 2 - scale * y)) / 10;
      const c = one.class_of[i];
      parts[c] += markOf(one, c)(at[2 * i], at[2 * i + 1], size < 190 ? 1.7 : 2.2);
    }
    for (const [c, d] of parts.entries()) place(paths[c], { d });
  }

  /** @type {Panel["show"]} */
  function show(one, step, forward, i) {
    for (const [c, path] of paths.entries())
      path.classList.toggle("dgm-aside", forward >= 0 && c !== forward);
    const top = paths[Math.max(0, forward)];
    if (crowd.lastChild !== top) crowd.append(top);
    ring.style.display = i < 0 ? "none" : "";
    if (i >= 0) place(ring, { cx: at[2 * i], cy: at[2 * i + 1] });
    for (const [k, name] of names.entries()) outs[k].textContent = number(one.panels[p][name][step]);
    const sentences = `${one.class_of.length} sentences in the plane`;
    place(svg, { "aria-label": `${one.panels[p].label}: ${sentences}, at step ${one.steps[step]}` });
  }

  /** @type {(event: MouseEvent) => number} */
  function nearest(event) {
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
  return { begin, layout, drawDots, show };
}
/**
 * @typedef {{ begin(one: SentenceSet): void, layout(one: SentenceSet): void,
 *   drawDots(one: SentenceSet, position: number): void,
 *   show(one: SentenceSet, step: number, forward: number, ringed: number): void }} Panel
 */

// Buttons that bring a class forward.
/** @type {(w: Widget, one: SentenceSet, focus: Focus) => HTMLElement[]} */
function classButtons(w, one, focus) {
  return one.classes.map((name, c) => {
    const mark = shape("path", { class: tone(one, c), d: markOf(one, c)(6, 6, 4) });
    const sign = shape("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, mark);
    const button = element("button", { type: "button", value: name }, sign, name);
    const toggle = () => w.change({ highlighted: w.get("highlighted") === name ? "" : name });
    button.addEventListener("click", toggle);
    const pass = (/** @type {string} */ to) => () => {
      focus.passing = to;
      w.ask();
    };
    for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, pass(name));
    for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, pass(""));
    return button;
  });
}

/** @type {(w: Widget, sets: SentenceSet[], focus: Focus) => Controls} */
function makeControls(w, sets, focus) {
  const slider = labelledSlider(`${w.id}-frame`, "Training step", { min: 0, step: 1 }, (v) =>
    w.change({ frame: v }),
  );
  const group = element("div.dgm-words", { role: "group", "aria-label": "Bring a class forward" });
  const which = labelledSlider(`${w.id}-which`, "Ring a sentence", { min: 0, step: 1 }, (value) => {
    focus.chosen = value - 1;
    w.ask();
  });
  const choices = sets.map(({ name, label }) => [name, label]);
  const choice = radioRow(`${w.id}-set`, "Data", choices, (name) => {
    const next = sets.find((one) => one.name === name) ?? sets[0];
    const highlighted = next.classes.includes(w.get("highlighted")) ? w.get("highlighted") : "";
    // A place within the next set, before the set itself is the next.
    w.change({ highlighted, frame: Math.min(w.get("frame"), next.steps.length - 1), set: name });
  });
  const sources = sets.length > 1 ? choice.node : element("span", sets[0].label);
  const row = element("div.dgm-row", sources, w.reset);
  w.controls.append(slider.node, group, which.node, row, element("p.dgm-small", SCALES));
  /** @type {Controls["begin"]} */
  const begin = (one) => {
    slider.input.max = String(one.steps.length - 1);
    which.input.max = String(one.class_of.length);
    choice.show(one.name);
    group.replaceChildren(
      element("span", { "aria-hidden": "true" }, "Bring forward:"),
      ...classButtons(w, one, focus),
    );
  };
  /** @type {Controls["show"]} */
  const show = (one, step, sentence) => {
    const shown = one.steps[step].toLocaleString("en");
    slider.show(step, shown, `step ${shown}`);
    const { chosen } = focus;
    const of = chosen < 0 ? "none" : `${chosen + 1} of ${one.class_of.length}`;
    which.show(chosen + 1, of, chosen < 0 ? "none" : sentence);
    for (const button of group.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.value === w.get("highlighted")));
    }
  };
  return { begin, show };
}
/**
 * @typedef {{ begin(one: SentenceSet): void, show(one: SentenceSet, step: number, sentence: string): void }}
 *   Controls
 */

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  /** @type {SentenceSet[]} */
  const sets = props.model.get("sets");
  const w = openWidget(props, {
    names: ["set", "frame", "highlighted"],
    hint:
      "drag to the start of training and back, then bring one class forward: in which panels do its " +
      "sentences lie together?",
    kind: "dgm-pool dgm-scope",
    forms({ set }) {
      const { steps, classes } = sets.find(({ name }) => name === set) ?? sets[0];
      return {
        frame: { kind: "whole", low: 0, high: steps.length - 1 },
        highlighted: { kind: "choice", choices: ["", ...classes] },
      };
    },
  });
  const points = new Int16Array(bufferOf(w.get("points")));
  const focus = { chosen: -1, hovered: -1, passing: "" };
  const panels = sets[0].panels.map((_, p) => makePanel(w, p, points, focus));
  const sentence = element("p.dgm-sentence");
  w.picture.append(sentence);
  const controls = makeControls(w, sets, focus);
  const speak = throttled(w.status, 700);
  /** @type {SentenceSet | null} */
  let shown = null;
  let [position, drawn] = [Number(w.get("frame")), ""];
  const current = () => sets.find((one) => one.name === w.get("set")) ?? sets[0];

  /** @type {() => SentenceSet} */
  function begin() {
    const one = current();
    if (shown === one) return one;
    shown = one;
    Object.assign(focus, { chosen: -1, hovered: -1, passing: "" });
    [position, drawn] = [w.get("frame"), ""];
    controls.begin(one);
    for (const panel of panels) panel.begin(one);
    return one;
  }

  /** @type {(one: SentenceSet, step: number) => void} */
  function tell(one, step) {
    const told = one.panels.map(({ label, cosine, relative }) => {
      return `${label}: mean cosine ${number(cosine[step])}, relative ${number(relative[step])}`;
    });
    const forward = w.get("highlighted") ? ` In front: ${w.get("highlighted")}.` : "";
    const ringed = focus.chosen >= 0 ? ` ${sentence.textContent}` : "";
    speak(`Step ${one.steps[step]}. ${told.join(". ")}.${forward}${ringed}`);
  }

  function draw() {
    const one = begin();
    const step = Math.min(w.get("frame"), one.steps.length - 1);
    position = eased(position, step);
    const key = `${one.name} ${position}`;
    if (drawn !== key) for (const panel of panels) panel.drawDots(one, position);
    drawn = key;
    const ringed = focus.hovered >= 0 ? focus.hovered : focus.chosen;
    const text = `${one.texts?.[ringed] ?? `Sentence ${ringed + 1}`} (${one.classes[one.class_of[ringed]]})`;
    const nothing = "Point at a dot: the same sentence is ringed in every panel.";
    sentence.textContent = ringed < 0 ? nothing : text;
    const forward = one.classes.indexOf(focus.passing || w.get("highlighted"));
    for (const panel of panels) panel.show(one, step, forward, ringed);
    controls.show(one, step, text);
    tell(one, step);
    return position !== step;
  }
  w.reset.addEventListener("click", () => {
    focus.chosen = -1;
    w.change(w.first);
  });
  begin();
  return w.start("dgm:dispersion-microscope", draw, {
    resized() {
      for (const panel of panels) panel.layout(current());
      drawn = "";
      w.ask();
    },
  });
}

export default { render };
