// The pattern bench: points in a plane, random lines as units, and what the two terms of BRE make of the
// signs.

import "../styles/gan.css";
import { labelledSlider, pushButton, selectOf } from "../controls.js";
import { element, MARKS, onDrag, openWidget, readout, rich, shape, throttled } from "../frame.js";
import {
  activationsOf,
  campsOf,
  endsOf,
  entropiesOf,
  inside,
  linesOf,
  searched,
  UNITS,
  WORLD,
} from "../models/bench.js";
import { breTerms } from "../models/gan.js";
import { place, resize, short, words } from "../plot.js";

const MOVES = "Digits choose a point, arrow keys move it, with Shift in larger steps.";
const SAID =
  "Each line is a unit, on at the side of its ticks. *G* is the share of units on which two points " +
  "agree, minus the share on which they do not.";
/** @type {Record<string, number[]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/** The point that arrow keys move. @typedef {{ get(): number, choose(k: number): void }} Chosen */

/** The plane of points and lines. @type {(w: Widget, K: number, chosen: Chosen) => Plane} */
function makePlane(w, K, chosen) {
  const svg = shape("svg.dgm-pad", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "plane",
    "aria-label": `Plane with ${K} points. ${MOVES}`,
  });
  const ground = shape("rect.dgm-ls-ground", { rx: 3 });
  const units = Array.from({ length: UNITS }, () => ({
    line: shape("path.dgm-pb-line"),
    side: shape("path.dgm-pb-side"),
  }));
  const lines = shape("g", ...units.map(({ line }) => line), ...units.map(({ side }) => side));
  const dots = Array.from({ length: K }, (_, k) => {
    const label = shape("text", { "text-anchor": "middle", dy: 4.5 }, String(k + 1));
    return shape("g.dgm-pb-dot", shape("circle", { r: 11 }), label);
  });
  const crowd = shape("g", ...dots);
  svg.append(ground, lines, crowd);
  w.picture.append(element("figure", svg, element("figcaption", ...rich(SAID))));
  let size = 0;
  const px = (/** @type {number} */ x) => 1 + ((x + WORLD) / (2 * WORLD)) * size;
  const py = (/** @type {number} */ y) => 1 + ((WORLD - y) / (2 * WORLD)) * size;

  function layout() {
    const width = Math.floor(svg.clientWidth);
    if (!width) return;
    size = width - 2;
    resize(svg, width, width);
    place(ground, { x: 1, y: 1, width: size, height: size });
  }

  /** @type {(u: number, unit: number[], used: boolean) => void} */
  function drawLine(u, unit, used) {
    const { line, side } = units[u];
    for (const node of [line, side]) {
      node.toggleAttribute("hidden", !used);
      node.style.display = used ? "" : "none";
    }
    if (!used) return;
    line.dataset.unit = unit.join(" ");
    const [from, to] = endsOf(unit);
    place(line, { d: `M${px(from[0])} ${py(from[1])}L${px(to[0])} ${py(to[1])}` });
    const tick = `l${(7 * unit[0]).toFixed(1)} ${(-7 * unit[1]).toFixed(1)}`;
    const places = [0.06, 0.5, 0.94].map((share) => [0, 1].map((i) => from[i] + share * (to[i] - from[i])));
    place(side, { d: places.map(([x, y]) => `M${px(x).toFixed(1)} ${py(y).toFixed(1)}${tick}`).join("") });
  }

  /** @type {Plane["draw"]} */
  function draw(points, all, d) {
    for (const [u, unit] of all.entries()) drawLine(u, unit, u < d);
    for (const [k, node] of dots.entries()) {
      place(node, { transform: `translate(${px(points[k][0]).toFixed(1)} ${py(points[k][1]).toFixed(1)})` });
      node.classList.toggle("dgm-pb-chosen", k === chosen.get());
    }
    crowd.append(dots[chosen.get()]); // it lies on top
  }

  const move = (/** @type {number[]} */ at) => {
    const points = w.get("points").map((/** @type {number[]} */ p, /** @type {number} */ i) => {
      return i === chosen.get() ? at.map(inside) : p;
    });
    w.change({ points });
  };
  /** @type {(at: MouseEvent) => number[]} */
  const where = (event) => {
    const box = svg.getBoundingClientRect();
    const share = (/** @type {number} */ v) => (2 * WORLD * (v - 1)) / size - WORLD;
    return [share(event.clientX - box.left), -share(event.clientY - box.top)];
  };
  onDrag(svg, dots, (event, first) => {
    const at = where(event);
    if (!first) return move(at);
    const far = w.get("points").map((/** @type {number[]} */ p) => Math.hypot(p[0] - at[0], p[1] - at[1]));
    const least = Math.min(...far);
    if (least > 0.2) return false;
    // Of points in one heap, the chosen one.
    chosen.choose(far[chosen.get()] <= least + 1e-9 ? chosen.get() : far.indexOf(least));
  });
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = ARROWS[event.key];
    const digit = /^[1-9]$/.test(event.key) && Number(event.key) <= K ? Number(event.key) : 0;
    if (!way && !digit) return;
    event.preventDefault();
    if (digit) return chosen.choose(digit - 1);
    const step = event.shiftKey ? 0.2 : 0.05;
    move(
      w
        .get("points")
        [chosen.get()].map((/** @type {number} */ v, /** @type {number} */ c) => v + step * way[c]),
    );
  });
  return { layout, draw };
}
/** @typedef {{ layout(): void, draw(points: number[][], lines: number[][], d: number): void }} Plane */

/** @type {(g: number) => string} */
const shortly = (g) => g.toFixed(2).replace("-0.00", "0.00").replace("-", "\u2212").replace("0.", ".");

// The table of patterns and their Gram matrix. Nodes are new once a width; a frame changes only what is
// another.
/** @type {(w: Widget, K: number, chosen: Chosen) => (h: Doubles, d: number, terms: BreTerms) => void} */
function makeMatrix(w, K, chosen) {
  const svg = shape("svg", { role: "img" });
  const id = `${w.id}-hatch`;
  const turned = { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
  const body = shape("g");
  svg.append(shape("defs", shape("pattern", turned, shape("path.dgm-pb-hatch", { d: "M0 0V5" }))), body);
  w.side.append(svg);
  let drawn = 0;
  /** @type {SVGElement[][]} */
  let [names, bits] = [[], []];
  /** @type {{ square: SVGElement, hatch: SVGElement, number: SVGElement, key: string }[]} */
  let pairs = [];

  /** @type {(width: number) => void} */
  function build(width) {
    drawn = width;
    const [label, top] = [16, 18];
    const strip = Math.min(9, (0.34 * width) / UNITS);
    const left = label + strip * UNITS + 12;
    const side = Math.min(30, (width - left) / K);
    resize(svg, width, top + K * side + 2);
    const rows = Array.from({ length: K }, (_, k) => k);
    const start = { "text-anchor": "start" };
    names = rows.map((i) => words(5, top + (i + 0.5) * side + 4, String(i + 1), { class: "dgm-pb-row" }));
    bits = rows.flatMap((i) =>
      Array.from({ length: UNITS }, (_, u) => {
        const box = {
          x: label + u * strip + 0.5,
          y: top + i * side + 3,
          width: strip - 1.5,
          height: side - 6,
        };
        return shape("rect.dgm-pb-bit", box);
      }),
    );
    const style = `font-size: ${Math.min(10, 0.38 * side)}px`;
    pairs = rows.flatMap((i) =>
      rows.map((j) => {
        const box = { x: left + j * side, y: top + i * side, width: side, height: side };
        const text = words(box.x + side / 2, box.y + side / 2 + 3.5, "", { class: "dgm-pb-number", style });
        const hatch = shape("rect.dgm-pb-over", { ...box, fill: `url(#${id})` });
        return { square: shape("rect.dgm-pb-cell", box), hatch, number: text, key: "" };
      }),
    );
    const apart = pairs.filter((_, o) => o % (K + 1));
    body.replaceChildren(
      words(label, 11, "Pattern", start),
      words(left, 11, width < 300 ? "G" : "G, hatched beyond the band", start),
      ...names,
      ...bits,
      ...pairs.map(({ square }) => square),
      ...apart.flatMap(({ hatch, number }) => [hatch, number]),
    );
  }

  return (h, d, { G, eta }) => {
    const width = Math.floor(svg.clientWidth);
    if (!width) return;
    if (drawn !== width) build(width);
    for (const [o, node] of bits.entries()) {
      const u = o % UNITS;
      const on = u < d && h[Math.floor(o / UNITS) * d + u] > 0;
      const name = `dgm-pb-bit${u >= d ? " dgm-pb-none" : on ? " dgm-pb-on" : ""}`;
      if (node.getAttribute("class") !== name) place(node, { class: name });
    }
    for (const [k, node] of names.entries()) node.classList.toggle("dgm-strong", k === chosen.get());
    for (const [o, pair] of pairs.entries()) {
      if (o % (K + 1) === 0) continue;
      const key = `${shortly(G[o])} ${Math.abs(G[o]) > eta}`;
      if (pair.key === key) continue;
      pair.key = key;
      pair.square.style.fillOpacity = (0.42 * Math.abs(G[o])).toFixed(2);
      pair.hatch.style.display = Math.abs(G[o]) > eta ? "" : "none";
      pair.number.textContent = shortly(G[o]);
    }
    place(svg, {
      "aria-label": `Sign patterns of ${K} points over ${d} units, and the agreement of each pair`,
    });
  };
}

// Where the pairs lie beside the band; returns how many are beyond it.
/** @type {(w: Widget, K: number) => (terms: BreTerms) => number} */
function makeBand(w, K) {
  const svg = shape("svg", { role: "img" });
  w.side.append(svg);
  const [left, bottom, height] = [10, 62, 82];
  return ({ G, eta }) => {
    const width = Math.floor(svg.clientWidth);
    if (!width) return 0;
    const right = width - 10;
    resize(svg, width, height);
    const at = (/** @type {number} */ g) => left + ((g + 1) / 2) * (right - left);
    const edge = Math.min(1, eta);
    const heaps = new Map();
    let [within, beyond, over] = ["", "", 0];
    for (let i = 0; i < K; i++) {
      for (let j = 0; j < i; j++) {
        const g = G[i * K + j];
        const bin = Math.round(((g + 1) / 2) * 40);
        const level = heaps.get(bin) ?? 0;
        heaps.set(bin, level + 1);
        const y = bottom - 4.5 - Math.min(level * 6, 40);
        const x = left + (bin / 40) * (right - left);
        if (Math.abs(g) <= eta) within += MARKS.circle(x, y, 2.5);
        else {
          beyond += MARKS.diamond(x, y, 2.7);
          over++;
        }
      }
    }
    const walls = `M${left} ${bottom}H${right}M${at(-edge)} 16V${bottom}M${at(edge)} 16V${bottom}`;
    const free = `Free of charge up to \u03b7 = c/\u221ad = ${eta.toFixed(2)}`;
    svg.replaceChildren(
      shape("rect.dgm-pb-band", { x: at(-edge), y: 16, width: at(edge) - at(-edge), height: bottom - 16 }),
      shape("path.dgm-axis", { d: walls }),
      shape("path.dgm-pb-within", { d: within }),
      shape("path.dgm-pb-beyond", { d: beyond }),
      words(left, 10, free, { "text-anchor": "start" }),
      ...[-1, 0, 1].map((g) => words(at(g), bottom + 15, short(g))),
    );
    place(svg, { "aria-label": `${over} of ${(K * (K - 1)) / 2} pairs beyond the margin ${eta.toFixed(2)}` });
    return over;
  };
}

/** @type {(w: Widget, K: number) => (h: Doubles, terms: BreTerms) => string} */
function makeReadouts(w, K) {
  const bars = element("div.dgm-bars");
  const names = [
    ["*ME*", "balance of units"],
    ["*AC*", "pairs beyond the band"],
    ["*BRE*", "their sum"],
  ];
  const meters = names.map(([name, meaning]) => {
    const [bar, value] = [element("div.dgm-bar.dgm-bar-to"), element("span.dgm-pb-value")];
    const label = element("span", ...rich(name), element("small", ` ${meaning}`));
    bars.append(label, element("div.dgm-pb-track", bar), value);
    return { bar, value };
  });
  const list = element("dl");
  const [distinct, joint, alone] = ["Patterns", "Joint entropy", "One by one"].map((term) =>
    readout(list, term),
  );
  w.side.append(bars, list);
  return (h, { marginalEntropy: me, activationCorrelation: ac }) => {
    for (const [i, v] of [me, ac, me + ac].entries()) {
      meters[i].bar.style.width = `${Math.min(100, 100 * v)}%`;
      meters[i].value.textContent = v.toFixed(3);
    }
    w.root.dataset.terms = `${me} ${ac}`;
    const entropies = entropiesOf(h, K);
    distinct.textContent = `${entropies.distinct} of ${K} differ`;
    const units = ((h.length / K) * Math.LN2).toFixed(3);
    const most = `at most log K = ${Math.log(K).toFixed(3)} and d log 2 = ${units}`;
    joint.replaceChildren(`${entropies.joint.toFixed(3)} nats`, element("small", most));
    const own = element("small", "sum of the units\u2019 own entropies, never less");
    alone.replaceChildren(`${entropies.alone.toFixed(3)} nats`, own);
    const terms = `ME ${me.toFixed(3)}, AC ${ac.toFixed(3)}; ${entropies.distinct} patterns`;
    return `${terms}, joint entropy ${entropies.joint.toFixed(2)} nats`;
  };
}

/** @type {(w: Widget, K: number, chosen: Chosen) => () => void} */
function makeControls(w, K, chosen) {
  const zeta = w.get("zeta");
  /** @type {(name: string, words: string, range: Attributes) => Slider} */
  const slider = (name, label, range) =>
    labelledSlider(`${w.id}-${name}`, label, range, (v) => w.change({ [name]: v }));
  const units = slider("units", "Units, *d*", { min: 2, max: UNITS, step: 1 });
  const margin = slider("margin", "Margin, *c*", { min: 0, max: 3, step: 0.05 });
  const every = Array.from({ length: K }, (_, k) => k);
  const pick = selectOf(
    `${w.id}-pick`,
    every.map((k) => [k, `Point ${k + 1}`]),
    (k) => chosen.choose(Number(k)),
  );
  const around = every
    .map((k) => (2 * Math.PI * k) / K + 0.2)
    .map((turn) => [0.9 * Math.cos(turn), 0.9 * Math.sin(turn)]);
  const lines = () => linesOf(w.get("seed"));
  /** @type {[string, () => Values][]} */
  const presets = [
    ["Collapse", () => ({ points: every.map(() => w.get("points")[chosen.get()].slice()) })],
    ["Two camps", () => ({ points: campsOf(K, lines(), w.get("units"), zeta) })],
    ["Spread", () => ({ points: around })],
    ["Other lines", () => ({ seed: (w.get("seed") + 1) % 10000 })],
    [
      "Lower BRE",
      () => ({
        points: searched(w.get("points"), lines(), w.get("units"), { zeta, margin: w.get("margin") }),
      }),
    ],
  ];
  const buttons = presets.map(([text, values]) => pushButton(text, () => w.change(values())));
  const picked = element("label.dgm-pb-pick", { for: pick.id }, "Arrow keys move", pick);
  w.controls.append(
    element("div.dgm-pair", units.node, margin.node),
    element("div.dgm-row.dgm-gan-buttons", ...buttons),
    element("div.dgm-row", picked, w.reset),
  );
  w.reset.addEventListener("click", () => {
    chosen.choose(0);
    w.change(w.first);
  });
  return () => {
    units.show(w.get("units"), String(w.get("units")));
    margin.show(w.get("margin"), w.get("margin").toFixed(2));
    pick.value = String(chosen.get());
  };
}

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["points", "units", "margin", "seed"],
    hint: "press Two camps and see which term notices; then slide the margin to the paper\u2019s *c* = 3.",
    kind: "dgm-bench",
  });
  const K = w.get("points").length;
  let point = 0;
  const chosen = {
    get: () => point,
    choose(/** @type {number} */ k) {
      point = k;
      w.ask();
    },
  };
  const plane = makePlane(w, K, chosen);
  const drawMatrix = makeMatrix(w, K, chosen);
  const drawBand = makeBand(w, K);
  const showReadouts = makeReadouts(w, K);
  const showControls = makeControls(w, K, chosen);
  const speak = throttled(w.status, 600);
  function draw() {
    const [points, d, margin] = [w.get("points"), w.get("units"), w.get("margin")];
    const lines = linesOf(w.get("seed"));
    plane.draw(points, lines, d);
    const h = activationsOf(points, lines, d);
    const terms = breTerms(h, K, { zeta: w.get("zeta"), margin, keep: true });
    drawMatrix(h, d, terms);
    const over = drawBand(terms);
    const says = showReadouts(h, terms);
    showControls();
    speak(`Point ${point + 1}. ${says}; ${over} pairs beyond the band.`);
  }
  return w.start("dgm:pattern-bench", draw, {
    resized() {
      plane.layout();
      w.ask();
    },
  });
}

export default { render };
