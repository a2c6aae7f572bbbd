// The pattern bench: points in a plane, random lines as units, and what both terms of BRE make of the signs.

import "../styles/gan.css";
import { pushButton } from "../controls.js";
import { formOf, pickOf, readoutList, sliderOf } from "../form.js";
import { element, MARKS, rich, shape } from "../frame.js";
import * as bench from "../models/bench.js";
import { inside, UNITS, WORLD } from "../models/bench.js";
import { breTerms } from "../models/gan.js";
import { onArrows, onDrag } from "../pads.js";
import { place, resize, short, words } from "../plot.js";
import { defineWidget } from "../widget.js";

const KEYS = "Digits choose a point, arrow keys move it, with Shift in larger steps.";
const CAPTION =
  "Each line is a unit, on at the side of its ticks. *G* is the share of units on which two points " +
  "agree, minus the share on which they do not.";
const START = { "text-anchor": "start" };

/** The point that arrow keys move. @typedef {{ index: number, choose(k: number): void }} Chosen */

// The plane of points and lines; returns what draws them.
/** @type {(w: Widget, K: number, chosen: Chosen) => (width: number, lines: number[][], d: number) => void} */
function makePlane(w, K, chosen) {
  const svg = shape("svg.dgm-pad", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "plane",
    "aria-label": `Plane with ${K} points. ${KEYS}`,
  });
  w.picture.append(element("figure", svg, element("figcaption", ...rich(CAPTION))));
  let size = 0;
  const px = (/** @type {number} */ x) => +(1 + ((x + WORLD) / (2 * WORLD)) * size).toFixed(1);
  const py = (/** @type {number} */ y) => px(-y);
  const points = () => /** @type {number[][]} */ (w.get("points"));

  function lineOf(/** @type {number[]} */ unit) {
    const [from, to] = bench.endsOf(unit);
    const tick = `l${(7 * unit[0]).toFixed(1)} ${(-7 * unit[1]).toFixed(1)}`;
    const ticks = [0.06, 0.5, 0.94].map((share) => from.map((v, c) => v + share * (to[c] - v)));
    return [
      shape("path.dgm-pb-line", { d: `M${px(from[0])} ${py(from[1])}L${px(to[0])} ${py(to[1])}` }),
      shape("path.dgm-pb-side", { d: ticks.map(([x, y]) => `M${px(x)} ${py(y)}${tick}`).join("") }),
    ];
  }
  function dotOf(/** @type {number} */ k) {
    const [x, y] = points()[k];
    const label = shape("text", { "text-anchor": "middle", dy: 4.5 }, String(k + 1));
    const kind = `g.dgm-pb-dot${k === chosen.index ? ".dgm-pb-chosen" : ""}`;
    return shape(kind, { transform: `translate(${px(x)} ${py(y)})` }, shape("circle", { r: 11 }), label);
  }
  const move = (/** @type {number[]} */ at) =>
    w.change({ points: points().map((p, k) => (k === chosen.index ? at.map(inside) : p)) });

  const dots = () => svg.querySelectorAll(".dgm-pb-dot");
  onDrag(svg, dots, (x, y, first) => {
    const at = [(2 * WORLD * (x - 1)) / size - WORLD, WORLD - (2 * WORLD * (y - 1)) / size];
    if (!first) return move(at);
    const far = points().map((p) => Math.hypot(p[0] - at[0], p[1] - at[1]));
    const least = Math.min(...far);
    if (least > 0.2) return false;
    // Of points in one heap, the chosen one.
    if (far[chosen.index] > least + 1e-9) chosen.choose(far.indexOf(least));
  });
  onArrows(svg, (x, y, large) => {
    const step = large ? 0.2 : 0.05;
    const [left, up] = points()[chosen.index];
    move([left + step * x, up + step * y]);
  });
  svg.addEventListener("keydown", (event) => {
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) : 0;
    if (!digit || digit > K || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    chosen.choose(digit - 1);
  });

  return (width, lines, d) => {
    size = width - 2;
    resize(svg, width, width);
    const order = [...points().keys()].filter((k) => k !== chosen.index);
    svg.replaceChildren(
      shape("rect.dgm-ls-ground", { rx: 3, x: 1, y: 1, width: size, height: size }),
      ...lines.slice(0, d).flatMap(lineOf),
      ...[...order, chosen.index].map(dotOf), // the chosen one lies on top
    );
  };
}

/** @type {(g: number) => string} */
const withoutZero = (g) => g.toFixed(2).replace("-0.00", "0.00").replace("-", "\u2212").replace("0.", ".");

// The table of patterns and their Gram matrix. Nodes are new once a width; a frame changes only what is
// another.
/** @type {(w: Widget, K: number, chosen: Chosen) => (width: number, h: Doubles, terms: BreTerms) => void} */
function makeMatrix(w, K, chosen) {
  const svg = shape("svg", { role: "img" });
  const id = `${w.id}-hatch`;
  const turned = { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
  const body = shape("g");
  svg.append(shape("defs", shape("pattern", turned, shape("path.dgm-pb-hatch", { d: "M0 0V5" }))), body);
  w.side.append(svg);
  const indices = Array.from({ length: K }, (_, k) => k);
  let drawn = 0;
  /** @type {SVGElement[][]} */
  let [names, bits] = [[], []];
  /** @type {{ square: SVGElement, hatch: SVGElement, number: SVGElement, key: string }[]} */
  let pairs = [];

  function build(/** @type {number} */ width) {
    drawn = width;
    const [label, top] = [16, 18];
    const strip = Math.min(9, (0.34 * width) / UNITS);
    const left = label + strip * UNITS + 12;
    const side = Math.min(30, (width - left) / K);
    resize(svg, width, top + K * side + 2);
    names = indices.map((i) => words(5, top + (i + 0.5) * side + 4, String(i + 1), { class: "dgm-pb-row" }));
    bits = indices.flatMap((i) =>
      Array.from({ length: UNITS }, (_, u) => {
        const [x, y] = [label + u * strip + 0.5, top + i * side + 3];
        return shape("rect.dgm-pb-bit", { x, y, width: strip - 1.5, height: side - 6 });
      }),
    );
    const style = `font-size: ${Math.min(10, 0.38 * side)}px`;
    pairs = Array.from({ length: K * K }, (_, o) => {
      const [x, y] = [left + (o % K) * side, top + Math.floor(o / K) * side];
      const box = { x, y, width: side, height: side };
      const number = words(x + side / 2, y + side / 2 + 3.5, "", { class: "dgm-pb-number", style });
      const hatch = shape("rect.dgm-pb-over", { ...box, fill: `url(#${id})` });
      return { square: shape("rect.dgm-pb-cell", box), hatch, number, key: "" };
    });
    body.replaceChildren(
      words(label, 11, "Pattern", START),
      words(left, 11, width < 300 ? "G" : "G, hatched beyond the band", START),
      ...names,
      ...bits,
      ...pairs.map(({ square }) => square),
      ...pairs.flatMap(({ hatch, number }, o) => (o % (K + 1) ? [hatch, number] : [])),
    );
  }

  return (width, h, { G, eta }) => {
    const d = h.length / K;
    if (drawn !== width) build(width);
    for (const [o, node] of bits.entries()) {
      const u = o % UNITS;
      node.classList.toggle("dgm-pb-none", u >= d);
      node.classList.toggle("dgm-pb-on", u < d && h[Math.floor(o / UNITS) * d + u] > 0);
    }
    for (const [k, node] of names.entries()) node.classList.toggle("dgm-strong", k === chosen.index);
    for (const [o, pair] of pairs.entries()) {
      const [size, text] = [Math.abs(G[o]), withoutZero(G[o])];
      const key = `${text} ${size > eta}`;
      if (o % (K + 1) === 0 || pair.key === key) continue;
      pair.key = key;
      pair.square.style.fillOpacity = (0.42 * size).toFixed(2);
      pair.hatch.style.visibility = size > eta ? "" : "hidden";
      pair.number.textContent = text;
    }
    const says = `Sign patterns of ${K} points over ${d} units, and the agreement of each pair`;
    place(svg, { "aria-label": says });
  };
}

// Where the pairs lie beside the band; returns how many are beyond it.
/** @type {(w: Widget, K: number) => (width: number, terms: BreTerms) => number} */
function makeBand(w, K) {
  const svg = shape("svg", { role: "img" });
  w.side.append(svg);
  const [left, bottom, height] = [10, 62, 82];
  return (width, { G, eta }) => {
    const right = width - 10;
    resize(svg, width, height);
    const at = (/** @type {number} */ g) => left + ((g + 1) / 2) * (right - left);
    const edge = Math.min(1, eta);
    const levels = new Uint8Array(41);
    let [within, beyond, over] = ["", "", 0];
    for (let i = 0; i < K; i++) {
      for (let j = 0; j < i; j++) {
        const g = G[i * K + j];
        const bin = Math.round(((g + 1) / 2) * 40);
        const [x, y] = [at(bin / 20 - 1), bottom - 4.5 - Math.min(6 * levels[bin]++, 40)];
        if (Math.abs(g) <= eta) within += MARKS.circle(x, y, 2.5);
        else {
          beyond += MARKS.diamond(x, y, 2.7);
          over++;
        }
      }
    }
    const walls = `M${left} ${bottom}H${right}M${at(-edge)} 16V${bottom}M${at(edge)} 16V${bottom}`;
    svg.replaceChildren(
      shape("rect.dgm-pb-band", { x: at(-edge), y: 16, width: at(edge) - at(-edge), height: bottom - 16 }),
      shape("path.dgm-axis", { d: walls }),
      shape("path.dgm-pb-within", { d: within }),
      shape("path.dgm-pb-beyond", { d: beyond }),
      words(left, 10, `Free of charge up to \u03b7 = c/\u221ad = ${eta.toFixed(2)}`, START),
      ...[-1, 0, 1].map((g) => words(at(g), bottom + 15, short(g))),
    );
    place(svg, { "aria-label": `${over} of ${(K * (K - 1)) / 2} pairs beyond the margin ${eta.toFixed(2)}` });
    return over;
  };
}

/** @type {(w: Widget, K: number) => (h: Doubles, terms: BreTerms) => string} */
function makeReadouts(w, K) {
  const bars = element("div.dgm-bars");
  const terms = { ME: "balance of units", AC: "pairs beyond the band", BRE: "their sum" };
  const meters = Object.entries(terms).map(([name, meaning]) => {
    const [bar, value] = [element("div.dgm-bar.dgm-bar-to"), element("span.dgm-pb-value")];
    const label = element("span", element("i", name), element("small", ` ${meaning}`));
    bars.append(label, element("div.dgm-pb-track", bar), value);
    return { bar, value };
  });
  w.side.append(bars);
  const fill = readoutList(w.side, ["Patterns", "Joint entropy", "One by one"]);
  return (h, { marginalEntropy: me, activationCorrelation: ac }) => {
    for (const [i, v] of [me, ac, me + ac].entries()) {
      meters[i].bar.style.width = `${Math.min(100, 100 * v)}%`;
      meters[i].value.textContent = v.toFixed(3);
    }
    w.root.dataset.terms = `${me} ${ac}`;
    const { distinct, joint, alone } = bench.entropiesOf(h, K);
    const units = ((h.length / K) * Math.LN2).toFixed(3);
    const most = `at most log K = ${Math.log(K).toFixed(3)} and d log 2 = ${units}`;
    const sum = "sum of the units\u2019 own entropies, never less";
    fill(
      `${distinct} of ${K} differ`,
      [`${joint.toFixed(3)} nats`, element("small", most)],
      [`${alone.toFixed(3)} nats`, element("small", sum)],
    );
    const says = `ME ${me.toFixed(3)}, AC ${ac.toFixed(3)}; ${distinct} patterns`;
    return `${says}, joint entropy ${joint.toFixed(2)} nats`;
  };
}

/** @type {(w: Widget, K: number, chosen: Chosen) => () => void} */
function makeControls(w, K, chosen) {
  const form = formOf(w);
  const each = Array.from({ length: K }, (_, k) => k);
  const [zeta, lines] = [w.get("zeta"), () => bench.linesOf(w.get("seed"))];
  const presets = {
    Collapse: () => ({ points: each.map(() => w.get("points")[chosen.index].slice()) }),
    "Two camps": () => ({ points: bench.campsOf(K, lines(), w.get("units"), zeta) }),
    Spread() {
      const turns = each.map((k) => (2 * Math.PI * k) / K + 0.2);
      return { points: turns.map((turn) => [0.9 * Math.cos(turn), 0.9 * Math.sin(turn)]) };
    },
    "Other lines": () => ({ seed: (w.get("seed") + 1) % 10000 }),
    "Lower BRE"() {
      const options = { zeta, margin: w.get("margin") };
      return { points: bench.searched(w.get("points"), lines(), w.get("units"), options) };
    },
  };
  const buttons = Object.entries(presets).map(([text, values]) => pushButton(text, () => w.change(values())));
  const options = each.map((k) => [k, `Point ${k + 1}`]);
  const point = { get: () => chosen.index, set: chosen.choose };
  const units = sliderOf(form, "units", "Units, *d*", { min: 2, max: UNITS, step: 1 });
  const margin = sliderOf(form, "margin", "Margin, *c*", { min: 0, max: 3, step: 0.05 });
  const pick = pickOf(form, "label.dgm-pb-pick", "pick", "Arrow keys move", options, point);
  const reset = form.reset(() => chosen.choose(0));
  w.controls.append(element("div.dgm-pair", units, margin));
  w.controls.append(element("div.dgm-row.dgm-gan-buttons", ...buttons), element("div.dgm-row", pick, reset));
  return form.show;
}

export default defineWidget(
  {
    measure: "dgm:pattern-bench",
    names: ["points", "units", "margin", "seed"],
    hint: "press Two camps and see which term notices; then slide the margin to the paper\u2019s *c* = 3.",
    kind: "dgm-bench",
  },
  (w) => {
    const K = w.get("points").length;
    const chosen = {
      index: 0,
      choose(/** @type {string | number} */ k) {
        chosen.index = Number(k);
        w.ask();
      },
    };
    const drawPlane = makePlane(w, K, chosen);
    const drawMatrix = makeMatrix(w, K, chosen);
    const drawBand = makeBand(w, K);
    const showReadouts = makeReadouts(w, K);
    const showControls = makeControls(w, K, chosen);
    return (width) => {
      const side = Math.floor(w.side.clientWidth); // before anything is written, which would lay out anew
      if (!width || !side) return;
      const [d, margin, lines] = [w.get("units"), w.get("margin"), bench.linesOf(w.get("seed"))];
      drawPlane(width, lines, d);
      const h = bench.activationsOf(w.get("points"), lines, d);
      const terms = breTerms(h, K, { zeta: w.get("zeta"), margin, keep: true });
      drawMatrix(side, h, terms);
      const over = drawBand(side, terms);
      const says = showReadouts(h, terms);
      showControls();
      w.speak(`Point ${chosen.index + 1}. ${says}; ${over} pairs beyond the band.`);
    };
  },
);
