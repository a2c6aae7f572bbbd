// The pattern bench: points in a plane, random lines as units, and what the two terms of BRE make of the
// signs.

import "../styles/gan.css";
import {
  buildFrame,
  element,
  MARKS,
  onceAFrame,
  onWidth,
  readout,
  rich,
  shape,
  throttled,
} from "../frame.js";
import * as gan from "../models/gan.js";

const WORLD = 1.5; // the plane is [-WORLD, WORLD]^2
const UNITS = 12;

// Lines x cos t + y sin t = b as [cos t, sin t, -b]; pattern_bench.py draws the same.
function drawLines(dice) {
  return Array.from({ length: UNITS }, () => {
    const turn = 2 * Math.PI * dice.uniform();
    return [Math.cos(turn), Math.sin(turn), 1.4 * dice.uniform() - 0.7];
  });
}

async function render({ model, el }) {
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "press Two camps and see which term notices; then slide the margin to the paper\u2019s *c* = 3.",
  });
  frame.root.classList.add("dgm-bench");
  const NAMES = ["points", "units", "margin", "seed"];
  const first = Object.fromEntries(NAMES.map((name) => [name, model.get(name)]));
  const K = first.points.length;
  const zeta = model.get("zeta");
  let chosen = 0;

  // The plane

  const svg = shape("svg.dgm-pad", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "plane",
    "aria-label": `Plane with ${K} points. Digits choose a point, arrow keys move it, with Shift in larger steps.`,
  });
  const ground = shape("rect.dgm-ls-ground", { rx: 3 });
  const lines = shape("g");
  const dots = shape("g");
  svg.append(ground, lines, dots);
  const lineNodes = Array.from({ length: UNITS }, () => shape("path.dgm-pb-line"));
  const sideNodes = Array.from({ length: UNITS }, () => shape("path.dgm-pb-side"));
  lines.append(...lineNodes, ...sideNodes);
  const dotNodes = first.points.map((_, k) => {
    const words = shape("text", { "text-anchor": "middle", dy: 4.5 }, String(k + 1));
    const node = shape("g.dgm-pb-dot", shape("circle", { r: 11 }), words);
    dots.append(node);
    return node;
  });
  const said = element(
    "figcaption",
    ...rich(
      "Each line is a unit, on at the side of its ticks. *G* is the share of units on which two points agree, minus the share on which they do not.",
    ),
  );
  frame.picture.append(element("figure", svg, said));
  const plot = { left: 1, top: 1, size: 0 };
  const px = (x) => plot.left + ((x + WORLD) / (2 * WORLD)) * plot.size;
  const py = (y) => plot.top + ((WORLD - y) / (2 * WORLD)) * plot.size;

  // The table of patterns and their Gram matrix

  const matrix = shape("svg", { role: "img" });
  const hatch = `${frame.id}-hatch`;
  const pattern = shape(
    "pattern",
    { id: hatch, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    shape("path.dgm-pb-hatch", { d: "M0 0V5" }),
  );
  const matrixBody = shape("g");
  matrix.append(shape("defs", pattern), matrixBody);
  const band = shape("svg", { role: "img" });
  const bars = element("div.dgm-bars");
  const meters = [
    ["*ME*", "balance of units"],
    ["*AC*", "pairs beyond the band"],
    ["*BRE*", "their sum"],
  ].map(([name, words]) => {
    const bar = element("div.dgm-bar.dgm-bar-to");
    const value = element("span.dgm-pb-value");
    bars.append(
      element("span", ...rich(name), element("small", ` ${words}`)),
      element("div.dgm-pb-track", bar),
      value,
    );
    return { bar, value };
  });
  const list = element("dl");
  const outs = {
    distinct: readout(list, "Patterns"),
    joint: readout(list, "Joint entropy"),
    alone: readout(list, "One by one"),
  };
  frame.side.append(matrix, band, bars, list);

  // The controls

  const sliders = [
    ["units", "Units, *d*", 2, UNITS, 1],
    ["margin", "Margin, *c*", 0, 3, 0.05],
  ].map(([name, words, min, max, step]) => {
    const input = element("input", { type: "range", min, max, step, id: `${frame.id}-${name}` });
    const value = element("output", { for: input.id });
    input.addEventListener("input", () => change({ [name]: Number(input.value) }));
    return {
      name,
      input,
      value,
      node: element(
        "div.dgm-slider",
        element("label", { for: input.id }, element("span", ...rich(words)), value),
        input,
      ),
    };
  });
  frame.controls.append(element("div.dgm-pair", ...sliders.map((s) => s.node)));
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    ...first.points.map((_, k) => element("option", { value: k }, `Point ${k + 1}`)),
  );
  pick.addEventListener("change", () => choose(Number(pick.value)));
  const button = (text, act) => {
    const node = element("button.dgm-reset", { type: "button" }, text);
    node.addEventListener("click", act);
    return node;
  };
  const around = (radius) =>
    first.points.map((_, k) => [
      radius * Math.cos((2 * Math.PI * k) / K + 0.2),
      radius * Math.sin((2 * Math.PI * k) / K + 0.2),
    ]);
  // Two heaps on opposite sides of the middle, in the direction in which the most lines part them.
  function camps() {
    const [units, d] = [allLines(), model.get("units")];
    const tried = Array.from({ length: 36 }, (_, t) => {
      const [x, y] = [Math.cos((Math.PI * t) / 36), Math.sin((Math.PI * t) / 36)];
      const points = first.points.map((_, k) =>
        [x, y].map((v, c) => inside((k % 2 ? -1.2 : 1.2) * v + (c ? 0.07 : -0.07) * (k >> 1))),
      );
      return { points, balance: gan.breTerms(activations(points, units, d), K, { zeta }).marginalEntropy };
    });
    return tried.reduce((best, one) => (one.balance < best.balance ? one : best)).points;
  }
  const heap = () => first.points.map(() => model.get("points")[chosen].slice());
  const presets = [
    ["Collapse", () => ({ points: heap() })],
    ["Two camps", () => ({ points: camps() })],
    ["Spread", () => ({ points: around(0.9) })],
    ["Other lines", () => ({ seed: (model.get("seed") + 1) % 10000 })],
  ];
  frame.controls.append(
    element(
      "div.dgm-row.dgm-gan-buttons",
      ...presets.map(([text, made]) => button(text, () => change(made()))),
      button("Lower BRE", search),
    ),
    element(
      "div.dgm-row",
      element("label.dgm-pb-pick", { for: pick.id }, "Arrow keys move", pick),
      frame.reset,
    ),
  );
  frame.reset.addEventListener("click", () => {
    chosen = 0;
    change(first);
  });

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    ask();
  }

  function choose(k) {
    chosen = k;
    ask();
  }

  const inside = (v) => +Math.max(-WORLD, Math.min(WORLD, v)).toFixed(4);
  const place = (k, at) =>
    change({ points: model.get("points").map((p, i) => (i === k ? at.map(inside) : p)) });

  // The arithmetic

  function activations(points, lines, d) {
    const h = new Float64Array(points.length * d);
    points.forEach(([x, y], k) => {
      for (let u = 0; u < d; u++) h[k * d + u] = lines[u][0] * x + lines[u][1] * y + lines[u][2];
    });
    return h;
  }

  const allLines = () => drawLines(gan.makeDice(model.get("seed")));

  // Two hundred random moves of one point each; a move stays where it lowers BRE.
  function search() {
    const dice = gan.makeDice(
      Math.round(
        1e6 *
          Math.abs(
            model
              .get("points")
              .flat()
              .reduce((a, b) => 3 * a + b),
          ),
      ),
    );
    const [units, margin, d] = [allLines(), model.get("margin"), model.get("units")];
    const cost = (points) => {
      const t = gan.breTerms(activations(points, units, d), K, { zeta, margin });
      return t.marginalEntropy + t.activationCorrelation;
    };
    let points = model.get("points");
    let best = cost(points);
    for (let i = 0; i < 200; i++) {
      const k = Math.floor(K * dice.uniform());
      const tried = points.map((p, j) =>
        j === k ? [0, 1].map(() => inside(WORLD * (1.9 * dice.uniform() - 0.95))) : p,
      );
      const now = cost(tried);
      if (now < best) [points, best] = [tried, now];
    }
    change({ points });
  }

  const entropy = (shares) => shares.reduce((sum, p) => (p > 0 ? sum - p * Math.log(p) : sum), 0);

  function entropies(h, d) {
    const counts = new Map();
    const on = new Float64Array(d);
    for (let k = 0; k < K; k++) {
      let word = "";
      for (let u = 0; u < d; u++) {
        const bit = h[k * d + u] > 0;
        word += bit ? "1" : "0";
        if (bit) on[u] += 1 / K;
      }
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    const joint = entropy([...counts.values()].map((n) => n / K));
    const alone = [...on].reduce((sum, p) => sum + entropy([p, 1 - p]), 0);
    return { distinct: counts.size, joint, alone };
  }

  // Drawing

  function layout() {
    const width = Math.floor(svg.clientWidth);
    if (!width) return;
    plot.size = width - 2;
    svg.setAttribute("viewBox", `0 0 ${width} ${width}`);
    svg.setAttribute("height", width);
    for (const [key, v] of Object.entries({ x: plot.left, y: plot.top, width: plot.size, height: plot.size }))
      ground.setAttribute(key, v);
    ask();
  }

  function drawLine(u, [a, b, c], used) {
    const [line, side] = [lineNodes[u], sideNodes[u]];
    for (const node of [line, side]) node.toggleAttribute("hidden", !used);
    line.style.display = side.style.display = used ? "" : "none";
    if (!used) return;
    line.dataset.unit = [a, b, c].join(" ");
    // Both ends where the line leaves the square.
    const ends = [];
    for (const edge of [-WORLD, WORLD]) {
      if (Math.abs(b) > 1e-9) ends.push([edge, -(a * edge + c) / b]);
      if (Math.abs(a) > 1e-9) ends.push([-(b * edge + c) / a, edge]);
    }
    const kept = ends
      .filter((p) => p.every((v) => Math.abs(v) <= WORLD + 1e-9))
      .sort((p, q) => -b * (p[0] - q[0]) + a * (p[1] - q[1]));
    const [from, to] = [kept[0], kept.at(-1)];
    line.setAttribute("d", `M${px(from[0])} ${py(from[1])}L${px(to[0])} ${py(to[1])}`);
    let d = "";
    for (const share of [0.06, 0.5, 0.94]) {
      const [x, y] = [0, 1].map((i) => from[i] + share * (to[i] - from[i]));
      d += `M${px(x).toFixed(1)} ${py(y).toFixed(1)}l${(7 * a).toFixed(1)} ${(-7 * b).toFixed(1)}`;
    }
    side.setAttribute("d", d);
  }

  const shortly = (g) => g.toFixed(2).replace("-0.00", "0.00").replace("-", "\u2212").replace("0.", ".");

  // Nodes are made once a width; a frame changes only what is another than before.
  let made = null;
  function buildMatrix(width) {
    const label = 16;
    const strip = Math.min(9, (0.34 * width) / UNITS);
    const left = label + strip * UNITS + 12;
    const side = Math.min(30, (width - left) / K);
    const top = 18;
    matrix.setAttribute("viewBox", `0 0 ${width} ${top + K * side + 2}`);
    matrix.setAttribute("height", top + K * side + 2);
    matrixBody.replaceChildren(
      shape("text", { x: label, y: 11 }, "Pattern"),
      shape("text", { x: left, y: 11 }, width < 300 ? "G" : "G, hatched beyond the band"),
    );
    made = { width, names: [], bits: [], squares: [], numbers: [], hatches: [], last: [] };
    const put = (into, node) => {
      into.push(node);
      matrixBody.append(node);
    };
    for (let i = 0; i < K; i++) {
      const y = top + i * side;
      put(
        made.names,
        shape("text.dgm-pb-row", { x: 5, y: y + side / 2 + 4, "text-anchor": "middle" }, String(i + 1)),
      );
      for (let u = 0; u < UNITS; u++)
        put(
          made.bits,
          shape("rect.dgm-pb-bit", {
            x: label + u * strip + 0.5,
            y: y + 3,
            width: strip - 1.5,
            height: side - 6,
          }),
        );
      for (let j = 0; j < K; j++) {
        const box = { x: left + j * side, y, width: side, height: side };
        put(made.squares, shape("rect.dgm-pb-cell", { ...box }));
        if (i === j) continue;
        put(made.hatches, shape("rect.dgm-pb-over", { ...box, fill: `url(#${hatch})` }));
        put(
          made.numbers,
          shape("text.dgm-pb-number", {
            x: box.x + side / 2,
            y: y + side / 2 + 3.5,
            "text-anchor": "middle",
            style: `font-size: ${Math.min(10, 0.38 * side)}px`,
          }),
        );
      }
    }
  }

  function drawMatrix(h, d, { G, eta }) {
    const width = Math.floor(matrix.clientWidth);
    if (!width) return;
    if (made?.width !== width) buildMatrix(width);
    made.bits.forEach((node, o) => {
      const u = o % UNITS;
      const name =
        u >= d
          ? "dgm-pb-bit dgm-pb-none"
          : h[Math.floor(o / UNITS) * d + u] > 0
            ? "dgm-pb-bit dgm-pb-on"
            : "dgm-pb-bit";
      if (node.getAttribute("class") !== name) node.setAttribute("class", name);
    });
    made.names.forEach((node, k) => node.classList.toggle("dgm-strong", k === chosen));
    for (let i = 0, o = 0; i < K; i++) {
      for (let j = 0; j < K; j++) {
        if (i === j) continue;
        const g = G[i * K + j];
        const words = shortly(g);
        const key = `${words} ${Math.abs(g) > eta}`;
        if (made.last[o] !== key) {
          made.last[o] = key;
          made.squares[i * K + j].style.fillOpacity = (0.42 * Math.abs(g)).toFixed(2);
          made.hatches[o].style.display = Math.abs(g) > eta ? "" : "none";
          made.numbers[o].textContent = words;
        }
        o++;
      }
    }
    matrix.setAttribute(
      "aria-label",
      `Sign patterns of ${K} points over ${d} units, and the agreement of each pair`,
    );
  }

  function drawBand({ G, eta }) {
    const width = Math.floor(band.clientWidth);
    if (!width) return 0;
    const [left, right, bottom, height] = [10, width - 10, 62, 82];
    band.setAttribute("viewBox", `0 0 ${width} ${height}`);
    band.setAttribute("height", height);
    const at = (g) => left + ((g + 1) / 2) * (right - left);
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
        if (Math.abs(g) > eta) {
          beyond += MARKS.diamond(x, y, 2.7);
          over++;
        } else within += MARKS.circle(x, y, 2.5);
      }
    }
    band.replaceChildren(
      shape("rect.dgm-pb-band", { x: at(-edge), y: 16, width: at(edge) - at(-edge), height: bottom - 16 }),
      shape("path.dgm-axis", {
        d: `M${left} ${bottom}H${right}M${at(-edge)} 16V${bottom}M${at(edge)} 16V${bottom}`,
      }),
      shape("path.dgm-pb-within", { d: within }),
      shape("path.dgm-pb-beyond", { d: beyond }),
      shape("text", { x: left, y: 10 }, `Free of charge up to \u03b7 = c/\u221ad = ${eta.toFixed(2)}`),
      ...[-1, 0, 1].map((g) =>
        shape(
          "text",
          { x: at(g), y: bottom + 15, "text-anchor": "middle" },
          String(g).replace("-", "\u2212"),
        ),
      ),
    );
    band.setAttribute(
      "aria-label",
      `${over} of ${(K * (K - 1)) / 2} pairs beyond the margin ${eta.toFixed(2)}`,
    );
    return over;
  }

  const speak = throttled(frame.status, 600);

  function draw() {
    const [points, d, margin] = [model.get("points"), model.get("units"), model.get("margin")];
    const units = allLines();
    units.forEach((line, u) => drawLine(u, line, u < d));
    dotNodes.forEach((node, k) => {
      node.setAttribute(
        "transform",
        `translate(${px(points[k][0]).toFixed(1)} ${py(points[k][1]).toFixed(1)})`,
      );
      node.classList.toggle("dgm-pb-chosen", k === chosen);
    });
    // The chosen point lies on top.
    dots.append(dotNodes[chosen]);
    const h = activations(points, units, d);
    const terms = gan.breTerms(h, K, { zeta, margin, keep: true });
    drawMatrix(h, d, terms);
    const over = drawBand(terms);
    const { marginalEntropy: me, activationCorrelation: ac } = terms;
    [me, ac, me + ac].forEach((v, i) => {
      meters[i].bar.style.width = `${Math.min(100, 100 * v)}%`;
      meters[i].value.textContent = v.toFixed(3);
    });
    frame.root.dataset.terms = `${me} ${ac}`;
    const { distinct, joint, alone } = entropies(h, d);
    outs.distinct.replaceChildren(`${distinct} of ${K} differ`);
    outs.joint.replaceChildren(
      `${joint.toFixed(3)} nats`,
      element(
        "small",
        `at most log K = ${Math.log(K).toFixed(3)} and d log 2 = ${(d * Math.LN2).toFixed(3)}`,
      ),
    );
    outs.alone.replaceChildren(
      `${alone.toFixed(3)} nats`,
      element("small", "sum of the units\u2019 own entropies, never less"),
    );
    for (const { name, input, value } of sliders) {
      input.value = model.get(name);
      value.textContent = name === "units" ? String(d) : margin.toFixed(2);
    }
    pick.value = chosen;
    speak(
      `Point ${chosen + 1}. ME ${me.toFixed(3)}, AC ${ac.toFixed(3)}; ${distinct} patterns, ${over} pairs beyond the band, joint entropy ${joint.toFixed(2)} nats.`,
    );
    return false;
  }

  const ask = onceAFrame("dgm:pattern-bench", draw);
  const where = (event) => {
    const box = svg.getBoundingClientRect();
    const share = (v, start) => (2 * WORLD * (v - start)) / plot.size - WORLD;
    return [share(event.clientX - box.left, plot.left), -share(event.clientY - box.top, plot.top)];
  };
  let held = false;
  svg.addEventListener("pointerdown", (event) => {
    const at = where(event);
    const far = model.get("points").map((p) => Math.hypot(p[0] - at[0], p[1] - at[1]));
    // Of points in one heap, the chosen one.
    const nearest = far[chosen] <= Math.min(...far) + 1e-9 ? chosen : far.indexOf(Math.min(...far));
    if (far[nearest] > 0.2) return;
    svg.setPointerCapture(event.pointerId);
    held = true;
    choose(nearest);
  });
  svg.addEventListener("pointermove", (event) => {
    if (held && event.buttons) place(chosen, where(event));
  });
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => (held = false));
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const digit = /^[1-9]$/.test(event.key) && Number(event.key) <= K ? Number(event.key) : 0;
    if (!way && !digit) return;
    event.preventDefault();
    if (digit) return choose(digit - 1);
    const step = event.shiftKey ? 0.2 : 0.05;
    place(
      chosen,
      model.get("points")[chosen].map((v, c) => v + step * way[c]),
    );
  });
  for (const name of NAMES) model.on(`change:${name}`, ask);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, layout);
  return () => {
    ask.stop();
    stopWidth();
    for (const name of NAMES) model.off(`change:${name}`, ask);
  };
}

export default { render };
