// The dispersion microscope: the same sentences' features under three poolings, at any moment of training.

import "../styles/pooling.css";
import { labelledSlider, radioRow, SHAPES } from "../controls.js";
import {
  buildFrame,
  calm,
  element,
  MARKS,
  niceStep,
  number,
  onceAFrame,
  onWidth,
  readout,
  shape,
  throttled,
} from "../frame.js";
import { bufferOf } from "../models/nn.js";

const COLOURS = [0, 1, 2, 4, 5, 7, 8, 9, 3]; // of dgm-c0 ... dgm-c9, whose grey is kept for "other"
const STATISTICS = { cosine: "mean cosine", relative: "relative dispersion", participation: "participation" };
const FOLLOWED = ["set", "frame", "highlighted"];
const REACH = 14; // px within which a dot is found

function render({ model, el }) {
  const sets = model.get("sets");
  const points = new Int16Array(bufferOf(model.get("points")));
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "drag to the start of training and back, then bring one class forward: in which panels do its sentences lie together?",
  });
  frame.root.classList.add("dgm-pool", "dgm-scope");
  const first = Object.fromEntries(FOLLOWED.map((name) => [name, model.get(name)]));
  const change = (values) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
  };
  const now = () => sets.find((one) => one.name === model.get("set"));
  const isOther = ({ classes }, c) => c === classes.length - 1 && classes[c] === "other";
  const tone = (one, c) => (isOther(one, c) ? "dgm-c6 dgm-other" : `dgm-c${COLOURS[c]}`);
  const markOf = (one, c) => MARKS[SHAPES[isOther(one, c) ? 0 : c % 5]];

  // The picture

  const panels = sets[0].panels.map(({ label }) => {
    const svg = shape("svg", { role: "img", style: "cursor: crosshair" });
    const ground = shape("rect.dgm-field", { x: 0.5, y: 0.5, rx: 4 });
    const crowd = shape("g");
    const rule = shape("path.dgm-rule");
    const length = shape("text.dgm-halo");
    const ring = shape("circle.dgm-found", { r: 6.5 });
    svg.append(ground, crowd, rule, length, ring);
    const list = element("dl");
    const outs = Object.fromEntries(
      Object.entries(STATISTICS).map(([key, term]) => [key, readout(list, term)]),
    );
    frame.picture.append(element("div.dgm-panel", element("p.dgm-caption", label), svg, list));
    return { svg, ground, crowd, rule, length, ring, outs, classes: [], size: 0, at: new Float64Array(0) };
  });
  const sentence = element("p.dgm-sentence");
  frame.picture.append(sentence);

  function layout() {
    for (const panel of panels) {
      const size = Math.floor(panel.svg.clientWidth);
      panel.size = size;
      panel.svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
      panel.svg.setAttribute("height", size);
      for (const side of ["width", "height"]) panel.ground.setAttribute(side, Math.max(0, size - 1));
    }
    rules();
    drawn = "";
    ask();
  }

  // A length in the features' own units, for each panel has its own scale.
  function rules() {
    panels.forEach(({ rule, length, size }, p) => {
      const { half } = now().panels[p];
      const far = niceStep(2 * half, 5);
      const wide = (far / half / 2) * 0.94 * size;
      rule.setAttribute("d", `M8 ${size - 9}v-4m0 2h${wide}m0 -2v4`);
      length.replaceChildren(String(+far.toPrecision(2)));
      length.setAttribute("x", 13 + wide);
      length.setAttribute("y", size - 7);
    });
  }

  // Controls

  const slider = labelledSlider(`${frame.id}-frame`, "Training step", { min: 0, step: 1 }, (index) =>
    change({ frame: index }),
  );
  const words = element("div.dgm-words", { role: "group", "aria-label": "Bring a class forward" });
  const which = labelledSlider(`${frame.id}-which`, "Ring a sentence", { min: 0, step: 1 }, (value) => {
    chosen = value - 1;
    ask();
  });
  const choice = radioRow(
    `${frame.id}-set`,
    "Data",
    sets.map(({ name, label }) => [name, label]),
    (name) => {
      const next = sets.find((one) => one.name === name);
      const highlighted = next.classes.includes(model.get("highlighted")) ? model.get("highlighted") : "";
      // A place within the next set, before the set itself is the next.
      change({ highlighted, frame: Math.min(model.get("frame"), next.steps.length - 1), set: name });
    },
  );
  const sources = sets.length > 1 ? choice.node : element("span", sets[0].label);
  const row = element("div.dgm-row", sources, frame.reset);
  frame.controls.append(
    slider.node,
    words,
    which.node,
    row,
    element(
      "p.dgm-small",
      "Each panel has its own scale, the same for the whole of training. Mean cosine: of all pairs, 1 where all features point one way. Relative dispersion: variance over the squared length of the mean. Participation: along how many directions the variance spreads.",
    ),
  );
  frame.reset.addEventListener("click", () => {
    chosen = -1;
    change(first);
    ask();
  });

  let chosen = -1; // the sentence that keeps its ring
  let hovered = -1;
  let passing = ""; // the class under the pointer or the focus
  let shown = null;
  let position = model.get("frame");
  let drawn = "";

  function changeSet() {
    const one = now();
    if (shown === one) return;
    shown = one;
    [chosen, hovered, passing, position, drawn] = [-1, -1, "", model.get("frame"), ""];
    slider.input.max = one.steps.length - 1;
    which.input.max = one.class_of.length;
    choice.show(one.name);
    panels.forEach((panel) => {
      panel.classes = one.classes.map((_, c) => shape("path", { class: `dgm-dots ${tone(one, c)}` }));
      panel.crowd.replaceChildren(...[...panel.classes].reverse());
      panel.at = new Float64Array(2 * one.class_of.length);
    });
    const buttons = one.classes.map((name, c) => {
      const sign = shape(
        "svg",
        { viewBox: "0 0 12 12", "aria-hidden": "true" },
        shape("path", { class: tone(one, c), d: markOf(one, c)(6, 6, 4) }),
      );
      const button = element("button", { type: "button", value: name }, sign, name);
      button.addEventListener("click", () =>
        change({ highlighted: model.get("highlighted") === name ? "" : name }),
      );
      const pass = (to) => () => {
        passing = to;
        ask();
      };
      for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, pass(name));
      for (const kind of ["pointerleave", "blur"]) button.addEventListener(kind, pass(""));
      return button;
    });
    words.replaceChildren(element("span", { "aria-hidden": "true" }, "Bring forward:"), ...buttons);
    rules();
  }

  // Drawing

  function drawDots(panel, { start }, one) {
    const m = one.class_of.length;
    const low = Math.floor(position);
    const high = Math.min(low + 1, one.steps.length - 1);
    const mix = position - low;
    const [a, b] = [start + 2 * m * low, start + 2 * m * high];
    const scale = (0.47 * panel.size) / 32767;
    const radius = panel.size < 190 ? 1.7 : 2.2;
    const parts = one.classes.map(() => "");
    for (let i = 0; i < m; i++) {
      const x = points[a + 2 * i] + mix * (points[b + 2 * i] - points[a + 2 * i]);
      const y = points[a + 2 * i + 1] + mix * (points[b + 2 * i + 1] - points[a + 2 * i + 1]);
      panel.at[2 * i] = Math.round(10 * (panel.size / 2 + scale * x)) / 10;
      panel.at[2 * i + 1] = Math.round(10 * (panel.size / 2 - scale * y)) / 10;
      const c = one.class_of[i];
      parts[c] += markOf(one, c)(panel.at[2 * i], panel.at[2 * i + 1], radius);
    }
    parts.forEach((d, c) => panel.classes[c].setAttribute("d", d));
  }

  function drawForward(one) {
    const forward = one.classes.indexOf(passing || model.get("highlighted"));
    for (const { classes, crowd } of panels) {
      classes.forEach((path, c) => path.classList.toggle("dgm-aside", forward >= 0 && c !== forward));
      const top = forward >= 0 ? classes[forward] : classes[0];
      if (crowd.lastChild !== top) crowd.append(top);
    }
    for (const button of words.querySelectorAll("button"))
      button.setAttribute("aria-pressed", button.value === model.get("highlighted"));
  }

  function drawRing(one) {
    const i = hovered >= 0 ? hovered : chosen;
    for (const { ring, at } of panels) {
      ring.style.display = i < 0 ? "none" : "";
      if (i < 0) continue;
      ring.setAttribute("cx", at[2 * i]);
      ring.setAttribute("cy", at[2 * i + 1]);
    }
    const text = i < 0 ? null : (one.texts?.[i] ?? `Sentence ${i + 1}`);
    sentence.textContent =
      i < 0
        ? "Point at a dot: the same sentence is ringed in every panel."
        : `${text} (${one.classes[one.class_of[i]]})`;
    which.input.value = chosen + 1;
    which.say(
      chosen < 0 ? "none" : `${chosen + 1} of ${one.class_of.length}`,
      chosen < 0 ? "none" : sentence.textContent,
    );
  }

  const speak = throttled(frame.status, 700);

  function draw() {
    changeSet();
    const one = shown;
    const target = Math.min(model.get("frame"), one.steps.length - 1);
    const gap = target - position;
    position = calm() || Math.abs(gap) < 0.02 ? target : position + 0.34 * gap;
    const key = `${one.name} ${position}`;
    if (drawn !== key) panels.forEach((panel, p) => panel.size && drawDots(panel, one.panels[p], one));
    drawn = key;
    drawForward(one);
    drawRing(one);
    slider.input.value = target;
    slider.say(one.steps[target].toLocaleString("en"), `step ${one.steps[target].toLocaleString("en")}`);
    panels.forEach(({ svg, outs }, p) => {
      for (const name of Object.keys(STATISTICS))
        outs[name].textContent = number(one.panels[p][name][target]);
      svg.setAttribute(
        "aria-label",
        `${one.panels[p].label}: ${one.class_of.length} sentences in the plane, at step ${one.steps[target]}`,
      );
    });
    const told = one.panels.map(
      (panel) =>
        `${panel.label}: mean cosine ${number(panel.cosine[target])}, relative ${number(panel.relative[target])}`,
    );
    const forward = model.get("highlighted") ? ` In front: ${model.get("highlighted")}.` : "";
    speak(
      `Step ${one.steps[target]}. ${told.join(". ")}.${forward}${chosen >= 0 ? ` ${sentence.textContent}` : ""}`,
    );
    return position !== target;
  }
  const ask = onceAFrame("dgm:dispersion-microscope", draw);

  panels.forEach((panel) => {
    const nearest = (event) => {
      const box = panel.svg.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      let [best, far] = [-1, REACH];
      for (let i = 0; i < panel.at.length / 2; i++) {
        const d = Math.hypot(panel.at[2 * i] - x, panel.at[2 * i + 1] - y);
        if (d < far) [best, far] = [i, d];
      }
      return best;
    };
    const hover = (i) => {
      if (hovered === i) return;
      hovered = i;
      ask();
    };
    panel.svg.addEventListener("pointermove", (event) => hover(nearest(event)));
    panel.svg.addEventListener("pointerleave", () => hover(-1));
    panel.svg.addEventListener("click", (event) => {
      chosen = nearest(event);
      ask();
    });
  });
  for (const name of FOLLOWED) model.on(`change:${name}`, ask);
  changeSet();
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, layout);
  return () => {
    ask.stop();
    stopWidth();
    for (const name of FOLLOWED) model.off(`change:${name}`, ask);
  };
}

export default { render };
