// Steer a sentence: a triangle of three ways to say it, and the sentence rewritten as the reader moves.

import { labelledSlider } from "../controls.js";
import { element, MARKS, onDrag, openWidget, readout, shape, throttled } from "../frame.js";
import { bufferOf, floatsOf } from "../models/nn.js";
import { checkGolden, loadText } from "../models/text_model.js";
import { tokenise } from "../models/tokens.js";
import { place, resize, words } from "../plot.js";
import {
  compared,
  hiding,
  plainText,
  remarks,
  showSentence,
  showVotes,
  told,
  typedInput,
} from "../text_view.js";

const OTHERS = "The model knows none of these words, so there is nothing that it could say differently.";
const NOTHING = "Type a sentence, or pick one: there is nothing to rewrite yet.";
const VERTICES = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
];
const ARROWS = {
  ArrowLeft: [1, 0, -1],
  ArrowRight: [-1, 0, 1],
  ArrowUp: [-0.5, 1, -0.5],
  ArrowDown: [0.5, -1, 0.5],
};
const TOP = 24;

/**
 * A sentence and its rewrite, with how the model reads both.
 * @typedef {{ source: Source, rewrite: Rewrite }} Steered
 */

// One weight moves, the others keep their proportion; all in hundredths.
/** @type {(target: number[], k: number, v: number) => number[]} */
function moved(target, k, v) {
  const parts = target.map((weight) => Math.round(100 * weight));
  const [i, j] = [0, 1, 2].filter((other) => other !== k);
  const both = parts[i] + parts[j];
  parts[i] = both ? Math.round(((100 - v) * parts[i]) / both) : Math.round((100 - v) / 2);
  parts[k] = v;
  parts[j] = 100 - v - parts[i];
  return parts.map((part) => part / 100);
}

/** The nearest weights in hundredths that sum to one. @type {(weights: number[]) => number[]} */
function onTriangle(weights) {
  const inside = weights.map((weight) => Math.max(0, weight));
  const sum = inside.reduce((x, y) => x + y);
  const whole = inside.map((weight) => Math.round((100 * weight) / sum));
  whole[whole.indexOf(Math.max(...whole))] += 100 - whole[0] - whole[1] - whole[2];
  return whole.map((part) => part / 100);
}

/** @type {(w: Widget, names: string[]) => Pad} */
function makeTriangle(w, names) {
  const points = floatsOf(w.get("points"));
  const labels = new Uint8Array(bufferOf(w.get("point_labels")));
  const svg = shape("svg.dgm-pad", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "triangle",
    "aria-label":
      `How it shall sound: ${names.join(", ")}. Left and right arrows move between ${names[0]} and ` +
      `${names[2]}, up and down to and from ${names[1]}; with Shift in larger steps.`,
  });
  const ground = shape("path.dgm-tri");
  const [crowd, corners] = [shape("g.dgm-crowd"), shape("g")];
  const [way, from, to] = ["way", "from", "to"].map((name) => shape("path", { class: `dgm-${name}` }));
  const ring = shape("circle.dgm-ring", { r: 10 });
  svg.append(ground, crowd, way, from, to, ring, corners);
  let [left, side, tall] = [0, 0, 0];
  // First vertex left, second on top, third right.
  /** @type {(p: ArrayLike<number>) => [number, number]} */
  const spot = (p) => [left + side * (p[1] / 2 + p[2]), TOP + tall * (1 - p[1])];

  /** @type {(width: number) => void} */
  function layout(width) {
    side = Math.min(width - 32, 330);
    tall = (side * Math.sqrt(3)) / 2;
    left = (width - side) / 2;
    const end = TOP + tall;
    resize(svg, width, end + 32);
    const at = VERTICES.map(spot);
    place(ground, { d: `M${at.map((p) => p.join(" ")).join("L")}Z` });
    /** @type {[number, number, string][]} */
    const anchors = [
      [Math.max(0, left - 28), end + 26, "start"],
      [at[1][0], 14, "middle"],
      [Math.min(width, width - left + 28), end + 26, "end"],
    ];
    const corner = (/** @type {[number, number, string]} */ [x, y, anchor], /** @type {number} */ k) =>
      words(x, y, names[k], { class: "dgm-strong", "text-anchor": anchor });
    corners.replaceChildren(...anchors.map(corner));
    const clouds = ["wedge", "triangle", "circle"].map((mark, label) => {
      const own = [...labels.keys()].filter((n) => labels[n] === label);
      const places = own.map((n) => spot(points.subarray(3 * n, 3 * n + 3)));
      return shape("path", {
        d: places.map(([x, y]) => MARKS[mark](+x.toFixed(1), +y.toFixed(1), 2)).join(""),
      });
    });
    crowd.replaceChildren(...clouds.filter((cloud) => cloud.getAttribute("d")));
  }

  const aim = (/** @type {number[]} */ weights) => w.change({ target: onTriangle(weights) });
  /** @type {(at: MouseEvent) => void} */
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    const up = 1 - (event.clientY - box.top - TOP) / tall;
    const right = (event.clientX - box.left - left) / side - up / 2;
    aim([1 - up - right, up, right]);
  };
  onDrag(svg, [ring], point);
  svg.addEventListener("keydown", (event) => {
    const step = ARROWS[/** @type {keyof typeof ARROWS} */ (event.key)];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const size = event.shiftKey ? 0.2 : 0.04;
    aim(w.get("target").map((/** @type {number} */ v, /** @type {number} */ k) => v + size * step[k]));
  });

  /** @type {Pad["show"]} */
  function show(target, steered) {
    if (!side) return;
    const [x, y] = spot(target);
    place(ring, { cx: x, cy: y });
    if (!steered?.source.reading || !steered.rewrite.reading) {
      for (const mark of [from, to, way]) mark.removeAttribute("d");
      return;
    }
    const [a, b] = [spot(steered.source.reading.p), spot(steered.rewrite.reading.p)];
    place(from, { d: MARKS.square(...a, 4.5) });
    place(to, { d: MARKS.diamond(...b, 4.5) });
    place(way, { d: `M${a.join(" ")}L${b.join(" ")}` });
  }
  return { svg, key: makeKey(names, labels), layout, show };
}
/**
 * @typedef {{ svg: SVGElement, key: Node, layout(width: number): void, show(target: number[], steered:
 *   Steered | null): void }} Pad
 */

/** @type {(names: string[], labels: Uint8Array) => Node} */
function makeKey(names, labels) {
  /** @type {[SVGElement, string][]} */
  const legend = [
    [shape("circle.dgm-ring", { cx: 7, cy: 7, r: 5 }), "wanted"],
    [shape("path.dgm-from", { d: MARKS.square(7, 7, 4) }), "as you wrote it"],
    [shape("path.dgm-to", { d: MARKS.diamond(7, 7, 4) }), "rewritten"],
  ];
  for (const [label, mark] of ["wedge", "triangle"].entries()) {
    const others = `others, ${names[2 * label]}`;
    if (labels.includes(label)) legend.push([shape("path.dgm-crowd", { d: MARKS[mark](7, 7, 3.4) }), others]);
  }
  const signs = legend.map(([part, text]) => {
    return element("span", shape("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, part), text);
  });
  return element("div.dgm-row.dgm-signs", ...signs);
}

/** The sentence itself, and what is said of it. @type {(w: Widget, names: string[]) => View} */
function makePicture(w, names) {
  const [said, gone] = [element("p.dgm-said"), element("p.dgm-gone")];
  const input = typedInput(w, w.get("examples"), w.get("examples"), (sentence) => w.change({ sentence }));
  const votes = element("div.dgm-votes");
  const bars = `Bars: up speaks for ${names[2]}, down for ${names[0]}. Dashed: hidden, to be said anew.`;
  const note = element("p.dgm-note");
  w.picture.append(
    element("div.dgm-stage", said, gone),
    ...input.nodes,
    votes,
    element("p.dgm-note", bars),
    note,
  );
  /** @type {View["show"]} */
  const show = ({ source, rewrite }, remark) => {
    const { dropped, added } = compared(source.tokens, rewrite.tokens);
    showSentence(said, rewrite.tokens, added);
    said.classList.remove("dgm-empty");
    said.classList.toggle("dgm-long", rewrite.tokens.length > 18);
    const lost = source.tokens.filter((_, s) => dropped[s]);
    gone.textContent = told(lost, added);
    showVotes(votes, source, rewrite.masked, names);
    note.textContent = remark;
  };
  /** @type {View["clear"]} */
  const clear = (source, remark) => {
    said.textContent = plainText(source.tokens) || "\u2026";
    said.classList.add("dgm-empty");
    gone.textContent = "";
    note.textContent = remark;
    votes.replaceChildren();
  };
  return { input, show, clear };
}
/**
 * @typedef {{ input: SentenceInput, show(steered: Steered, remark: string): void,
 *   clear(source: Source, remark: string): void }} View
 */

/**
 * @type {(w: Widget, names: string[], threshold: number) => (steered: Steered | null, ms: number) => void}
 */
function makeReadouts(w, names, threshold) {
  const bars = element("div.dgm-bars", { role: "group", "aria-label": "How the model reads both sentences" });
  const rows = names.map((name) => {
    const [mine, other] = [element("span.dgm-bar.dgm-bar-from"), element("span.dgm-bar.dgm-bar-to")];
    const value = element("span.dgm-odds");
    bars.append(element("span", name), element("span.dgm-tracks", mine, other), value);
    return { mine, other, value };
  });
  const list = element("dl");
  const [margin, agreement, time] = ["Margin", "Agreement", "Time"].map((term) => readout(list, term));
  const caption = element("p.dgm-caption", "How the model itself reads it, yours \u2192 rewritten");
  w.side.append(element("div", caption, bars), element("div", list), w.reset);
  return (steered, ms) => {
    const [p, q] = [steered?.source.reading?.p, steered?.rewrite.reading?.p];
    for (const [k, { mine, other, value }] of rows.entries()) {
      mine.style.width = p ? `${100 * p[k]}%` : "0";
      other.style.width = q ? `${100 * q[k]}%` : "0";
      value.textContent = p && q ? `${p[k].toFixed(2)} \u2192 ${q[k].toFixed(2)}` : "\u2013";
    }
    margin.textContent = steered ? hiding(steered.rewrite) : "\u2013";
    const agree = steered?.rewrite.agreement.toFixed(2);
    agreement.textContent = steered ? `${agree}, ${threshold.toFixed(2)} is enough` : "\u2013";
    time.textContent = steered ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms a rewrite` : "\u2013";
  };
}

/** @type {(w: Widget, names: string[], margins: number[]) => { node: Node, show(): void }} */
function makeSliders(w, names, margins) {
  const id = (/** @type {string} */ name) => `${w.id}-${name.replaceAll(" ", "-")}`;
  const sliders = names.map((name, k) => {
    const move = (/** @type {number} */ v) => w.change({ target: onTriangle(moved(w.get("target"), k, v)) });
    return labelledSlider(id(name), name, { min: 0, max: 100, step: 1 }, move);
  });
  const range = { min: 1, max: margins.length, step: 1 };
  const effort = labelledSlider(`${w.id}-effort`, "How much may change", range, (v) =>
    w.change({ effort: v }),
  );
  const ends = element(
    "div.dgm-ends",
    { "aria-hidden": "true" },
    element("span", "little"),
    element("span", "much"),
  );
  w.side.append(
    element("div", { role: "group", "aria-label": "How it shall sound" }, ...sliders.map(({ node }) => node)),
  );
  const show = () => {
    for (const [k, slider] of sliders.entries()) {
      const part = Math.round(100 * w.get("target")[k]);
      slider.show(part, `${part}\u2009%`);
    }
    const least = margins[w.get("effort") - 1];
    const some = `words may go whose vote against it is above ${least}`;
    effort.show(
      w.get("effort"),
      least < 10 ? `margin ${least}` : "no word hidden",
      least < 10 ? some : "no word is hidden",
    );
  };
  return { node: element("div", effort.node, ends), show };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const text = await loadText(props.model);
  const w = openWidget(props, {
    names: ["sentence", "target", "effort"],
    hint: "drag the ring from corner to corner, or type a sentence of your own.",
    kind: "dgm-text",
  });
  /** @type {[string[], number[], number]} */
  const [names, margins, threshold] = [w.get("names"), w.get("margins"), w.get("threshold")];
  checkGolden(text, (wrong) => {
    w.root.dataset.goldenWrong = String(wrong);
  });
  const picture = makePicture(w, names);
  const pad = makeTriangle(w, names);
  const sliders = makeSliders(w, names, margins);
  w.controls.append(pad.svg, pad.key, sliders.node);
  const showReadouts = makeReadouts(w, names, threshold);
  w.reset.addEventListener("click", () => w.change(w.first));
  const speak = throttled(w.status, 600);
  /** @type {string | null} */
  let typed = null;
  let source = text.encode([]);

  function steer() {
    const start = performance.now();
    const ladder = margins.slice(0, w.get("effort"));
    const rewrite = text.rewrite(source, w.get("target"), { margins: ladder, threshold });
    const ms = performance.now() - start;
    const remark = [...remarks(source)];
    if (rewrite.agreement < threshold) remark.push("This is as near as it came with so much change.");
    const steered = { source, rewrite };
    picture.show(steered, remark.join(" "));
    showReadouts(steered, ms);
    pad.show(w.get("target"), steered);
    return [rewrite.tokens.join(" "), `${plainText(rewrite.tokens)} ${remark.join(" ")}`];
  }
  function rest() {
    const says = source.tokens.length ? [OTHERS, ...remarks(source)].join(" ") : NOTHING;
    picture.clear(source, says);
    showReadouts(null, 0);
    pad.show(w.get("target"), null);
    return [source.tokens.join(" "), says];
  }

  function draw() {
    if (w.get("sentence") !== typed) {
      typed = String(w.get("sentence"));
      picture.input.show(typed);
      source = text.encode(tokenise(typed, true));
    }
    sliders.show();
    const known = source.tokens.length > source.unknownWords.length;
    const [rewritten, spoken] = known ? steer() : rest();
    w.root.dataset.rewritten = rewritten;
    if (rewritten !== w.get("rewritten")) w.save({ rewritten });
    speak(spoken);
  }
  return w.start("dgm:steer", draw, {
    sized: w.controls,
    resized(width) {
      pad.layout(width);
      w.ask();
    },
  });
}

export default { render };
