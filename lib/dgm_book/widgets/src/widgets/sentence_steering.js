// Steer a sentence: a triangle of three ways to say it, and the sentence rewritten as the reader moves.

import { formOf, readoutList, sliderOf } from "../form.js";
import { element, MARKS, shape } from "../frame.js";
import { checkGolden } from "../golden.js";
import { bufferOf, floatsOf } from "../models/nn.js";
import { loadText } from "../models/text_model.js";
import { tokenise } from "../models/tokens.js";
import { onArrows, onDrag } from "../pads.js";
import { place, resize, words } from "../plot.js";
import { hiding, plainText, remarks, rewriteView, saveRewritten, timed, typedInput } from "../text_view.js";
import { defineWidget, layersOf } from "../widget.js";

const OTHERS = "The model knows none of these words, so there is nothing that it could say differently.";
const NOTHING = "Type a sentence, or pick one: there is nothing to rewrite yet.";
const CLOUDS = ["wedge", "triangle", "circle"]; // of the first, the last and no vertex's sentences
const TOP = 24;

// One weight moves to v hundredths, the others keep their proportion.
function withWeight(/** @type {number[]} */ target, /** @type {number} */ k, /** @type {number} */ v) {
  const parts = target.map((weight) => Math.round(100 * weight));
  const [i, j] = [0, 1, 2].filter((other) => other !== k);
  const rest = parts[i] + parts[j];
  parts[i] = rest ? Math.round(((100 - v) * parts[i]) / rest) : Math.round((100 - v) / 2);
  parts[k] = v;
  parts[j] = 100 - v - parts[i];
  return parts.map((part) => part / 100);
}

/** The nearest weights in hundredths that sum to one. @param {number[]} weights */
function onTriangle(weights) {
  const inside = weights.map((weight) => Math.max(0, weight));
  const sum = inside.reduce((x, y) => x + y);
  const whole = inside.map((weight) => Math.round((100 * weight) / sum));
  whole[whole.indexOf(Math.max(...whole))] += 100 - whole[0] - whole[1] - whole[2];
  return whole.map((part) => part / 100);
}

function makeTriangle(/** @type {Widget} */ w, /** @type {string[]} */ names) {
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
  const { ground, crowd, path, from, to, ring, corners } = layersOf(svg, {
    ground: "path.dgm-tri",
    crowd: "g.dgm-crowd",
    path: "path.dgm-way",
    from: "path.dgm-from",
    to: "path.dgm-to",
    ring: "circle.dgm-ring",
    corners: "g",
  });
  place(ring, { r: 10 });
  let [left, side, tall] = [0, 0, 0];
  /** First vertex left, second on top, third right. @type {(p: ArrayLike<number>) => [number, number]} */
  const spot = (p) => [left + side * (p[1] / 2 + p[2]), TOP + tall * (1 - p[1])];
  const aim = (/** @type {number[]} */ weights) => w.change({ target: onTriangle(weights) });
  const aimAt = (/** @type {number} */ x, /** @type {number} */ y) => {
    const up = 1 - (y - TOP) / tall;
    const right = (x - left) / side - up / 2;
    aim([1 - up - right, up, right]);
  };
  onDrag(svg, () => [ring], aimAt);
  onArrows(svg, (x, y, large) => {
    const size = large ? 0.2 : 0.04;
    const step = [-x - y / 2, y, x - y / 2];
    aim(step.map((v, k) => w.get("target")[k] + size * v));
  });

  return {
    svg,
    layout(/** @type {number} */ width) {
      side = Math.min(width - 32, 330);
      tall = (side * Math.sqrt(3)) / 2;
      left = (width - side) / 2;
      const end = TOP + tall;
      resize(svg, width, end + 32);
      place(ground, { d: `M${left} ${end}L${left + side / 2} ${TOP}L${left + side} ${end}Z` });
      const strong = { class: "dgm-strong" };
      corners.replaceChildren(
        words(Math.max(0, left - 28), end + 26, names[0], { ...strong, "text-anchor": "start" }),
        words(left + side / 2, 14, names[1], strong),
        words(Math.min(width, width - left + 28), end + 26, names[2], { ...strong, "text-anchor": "end" }),
      );
      const clouds = CLOUDS.map((mark, label) => {
        const own = [...labels.keys()].filter((n) => labels[n] === label);
        const places = own.map((n) => spot(points.subarray(3 * n, 3 * n + 3)));
        return places.map(([x, y]) => MARKS[mark](+x.toFixed(1), +y.toFixed(1), 2)).join("");
      });
      crowd.replaceChildren(...clouds.filter(Boolean).map((d) => shape("path", { d })));
    },
    /** The ring, and how both sentences are read. @param {(number[] | undefined)[]} readings */
    show([p, q]) {
      if (!side) return;
      const [x, y] = spot(w.get("target"));
      place(ring, { cx: x, cy: y });
      const [a, b] = [p, q].map((reading) => spot(reading ?? [0, 0, 0]));
      place(from, { d: p && q ? MARKS.square(...a, 4.5) : "" });
      place(to, { d: p && q ? MARKS.diamond(...b, 4.5) : "" });
      place(path, { d: p && q ? `M${a.join(" ")}L${b.join(" ")}` : "" });
    },
    key: makeKey(names, labels),
  };
}

function makeKey(/** @type {string[]} */ names, /** @type {Uint8Array} */ labels) {
  const others = [0, 1].filter((label) => labels.includes(label));
  /** @type {[SVGElement, string][]} */
  const legend = [
    [shape("circle.dgm-ring", { cx: 7, cy: 7, r: 5 }), "wanted"],
    [shape("path.dgm-from", { d: MARKS.square(7, 7, 4) }), "as you wrote it"],
    [shape("path.dgm-to", { d: MARKS.diamond(7, 7, 4) }), "rewritten"],
    ...others.map(
      (label) =>
        /** @type {[SVGElement, string]} */ ([
          shape("path.dgm-crowd", { d: MARKS[CLOUDS[label]](7, 7, 3.4) }),
          `others, ${names[2 * label]}`,
        ]),
    ),
  ];
  const signs = legend.map(([part, text]) => {
    return element("span", shape("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, part), text);
  });
  return element("div.dgm-row.dgm-signs", ...signs);
}

/** The bars of how the model reads both sentences. @param {Widget} w @param {string[]} names */
function makeBars(w, names) {
  const bars = element("div.dgm-bars", { role: "group", "aria-label": "How the model reads both sentences" });
  const rows = names.map((name) => {
    const [own, other] = [element("span.dgm-bar.dgm-bar-from"), element("span.dgm-bar.dgm-bar-to")];
    const value = element("span.dgm-odds");
    bars.append(element("span", name), element("span.dgm-tracks", own, other), value);
    return { own, other, value };
  });
  w.side.append(
    element("div", element("p.dgm-caption", "How the model itself reads it, yours \u2192 rewritten"), bars),
  );
  return (/** @type {(number[] | undefined)[]} */ [p, q]) => {
    for (const [k, { own, other, value }] of rows.entries()) {
      own.style.width = p ? `${100 * p[k]}%` : "0";
      other.style.width = q ? `${100 * q[k]}%` : "0";
      value.textContent = p && q ? `${p[k].toFixed(2)} \u2192 ${q[k].toFixed(2)}` : "\u2013";
    }
  };
}

// The sliders, of weights beside and of effort beneath.
/** @type {(w: Widget, form: WidgetForm, names: string[]) => Element} */
function makeSliders(w, form, names) {
  const sliders = names.map((name, k) =>
    sliderOf(
      form,
      name.replaceAll(" ", "-"),
      name,
      { min: 0, max: 100, step: 1 },
      {
        get: () => Math.round(100 * w.get("target")[k]),
        set: (v) => w.change({ target: onTriangle(withWeight(w.get("target"), k, v)) }),
        text: (v) => `${v}\u2009%`,
      },
    ),
  );
  const margins = w.get("margins");
  const range = { min: 1, max: margins.length, step: 1 };
  const effort = sliderOf(form, "effort", "How much may change", range, {
    text: (v) => (margins[v - 1] < 10 ? `margin ${margins[v - 1]}` : "no word hidden"),
    spoken: (v) =>
      margins[v - 1] < 10
        ? `words may go whose vote against it is above ${margins[v - 1]}`
        : "no word is hidden",
  });
  const ends = [element("span", "little"), element("span", "much")];
  w.side.append(element("div", { role: "group", "aria-label": "How it shall sound" }, ...sliders));
  return element("div", effort, element("div.dgm-ends", { "aria-hidden": "true" }, ...ends));
}

export default defineWidget(
  {
    measure: "dgm:steer",
    load: loadText,
    names: ["sentence", "target", "effort"],
    hint: "drag the ring from corner to corner, or type a sentence of your own.",
    kind: "dgm-text",
  },
  (w, text) => {
    checkGolden(w.root, "goldenWrong", text);
    const [names, margins, threshold] = [w.get("names"), w.get("margins"), w.get("threshold")];
    const view = rewriteView(names);
    const note = element("p.dgm-note");
    const form = formOf(w);
    const input = typedInput(form);
    w.picture.append(view.stage, ...input, view.votes, element("p.dgm-note", view.bars), note);
    const pad = makeTriangle(w, names);
    const node = makeSliders(w, form, names);
    w.controls.append(pad.svg, pad.key, node);
    const showBars = makeBars(w, names);
    const readouts = element("div");
    const fill = readoutList(readouts, ["Margin", "Agreement", "Time"]);
    w.side.append(readouts, form.reset());
    /** @type {string | null} */
    let typed = null;
    let source = text.encode([]);

    function steer() {
      const options = { margins: margins.slice(0, w.get("effort")), threshold };
      const [rewrite, time] = timed(() => text.rewrite(source, w.get("target"), options));
      const remark = remarks(source);
      if (rewrite.agreement < threshold) remark.push("This is as near as it came with so much change.");
      view.show(source, rewrite);
      const agreement = `${rewrite.agreement.toFixed(2)}, ${threshold.toFixed(2)} is enough`;
      fill(hiding(rewrite), agreement, `${time} a rewrite`);
      const readings = [source.reading?.p, rewrite.reading?.p];
      const says = remark.join(" ");
      return { tokens: rewrite.tokens, says, spoken: `${plainText(rewrite.tokens)} ${says}`, readings };
    }
    function rest() {
      const says = source.tokens.length ? [OTHERS, ...remarks(source)].join(" ") : NOTHING;
      view.clear(source);
      fill("\u2013", "\u2013", "\u2013");
      return { tokens: source.tokens, says, spoken: says, readings: [] };
    }
    function draw() {
      if (w.get("sentence") !== typed) {
        typed = String(w.get("sentence"));
        source = text.encode(tokenise(typed, true));
      }
      form.show();
      const known = source.tokens.length > source.unknownWords.length;
      const { tokens, says, spoken, readings } = known ? steer() : rest();
      note.textContent = says;
      showBars(readings);
      pad.show(readings);
      saveRewritten(w, tokens);
      w.speak(spoken);
    }
    return { draw, sized: w.controls, layout: pad.layout };
  },
);
