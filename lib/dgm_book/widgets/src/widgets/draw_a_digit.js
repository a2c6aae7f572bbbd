// Draw a digit: the reader's drawing becomes an image, and the page anneals chains through its decoder on it.

import "../styles/draw_a_digit.css";
import { pushButton, selectOf, tableOf, tableRow } from "../controls.js";
import { gapInWords, makeJob, same } from "../drawing_job.js";
import { makePad } from "../drawing_pad.js";
import {
  element,
  imagePainter,
  italic,
  MARKS,
  number,
  openWidget,
  penOf,
  readout,
  rich,
  shape,
  throttled,
  ticks,
} from "../frame.js";
import { last } from "../models/arrays.js";
import { inked } from "../models/drawing.js";
import { decode, loadNetworks } from "../models/nn.js";
import { axisName, bottomAxis, leftAxis, place, resize, uprightName } from "../plot.js";

/** @import { Result } from "../drawing_job.js" */

const TILES = 9;
const [LEFT, TOP, TALL] = [42, 10, 250]; // px, of the chart
const BOTTOM = TOP + TALL;
const HINT =
  "draw a seven, then give it a stroke that no seven has. What does the model leave out, and " +
  "what does that cost?";
const LEGEND =
  "Dots: *R* and *D* at each *\u03b2* of one annealing. Line: the curve that its log *Z* alone draws. " +
  "Pictures: a code of that *\u03b2*, decoded.";
const LATER = "Last comes an image of the model\u2019s own, whose log Z is bounded from both sides.";
/** @type {(node: Element, text: string) => void} */
const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

// The next of 10, 12.5, 15, 20, 25, 30, 40, 50, 60, 80 times a power of ten, so that the axes rest.
/** @type {(v: number) => number} */
function above(v) {
  const power = 10 ** Math.floor(Math.log10(v));
  return ([1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((f) => f * power >= v) ?? 10) * power;
}

/** Rate against distortion of the drawing. @type {(w: Widget, pixels: number) => Chart} */
function makeChart(w, pixels) {
  const svg = shape("svg", {
    role: "img",
    "aria-label": "Rate against distortion of the drawing: nothing yet",
  });
  const [axes, opening] = [shape("g"), shape("rect")];
  const [line, dots, latest] = ["line", "dots", "last"].map((name) =>
    shape("path", { class: `dgm-draw-${name}` }),
  );
  const empty = shape("text.dgm-strong", { "text-anchor": "middle" }, "Press Anneal, or draw.");
  const clip = shape("clipPath", { id: `${w.id}-clip` }, opening);
  svg.append(clip, axes, shape("g", { "clip-path": `url(#${w.id}-clip)` }, line, dots, latest), empty);
  let [wide, right, most] = [0, 0, 25];
  const px = (/** @type {number} */ d) => LEFT + (d / right) * wide;
  const py = (/** @type {number} */ r) => BOTTOM - (r / most) * TALL;

  /** @type {(farthest: number, highest: number) => void} */
  function rule(farthest, highest) {
    if (farthest === right && highest === most) return;
    [right, most] = [farthest, highest];
    resize(svg, LEFT + wide + 10, BOTTOM + 42);
    place(opening, { x: LEFT, y: TOP - 5, width: wide + 8, height: TALL + 10 });
    place(empty, { x: LEFT + wide / 2, y: TOP + TALL / 2 });
    axes.replaceChildren(
      ...bottomAxis(ticks(0, right, wide / 70), { px, y: BOTTOM, grid: TALL }),
      ...leftAxis(ticks(0, most, TALL / 45), { py, left: LEFT, right: LEFT + wide, gap: 7 }),
      shape("path.dgm-axis", { d: `M${LEFT} ${TOP}V${BOTTOM}H${LEFT + wide}` }),
      axisName(LEFT + wide / 2, BOTTOM + 36, rich("distortion *D*, squared error", italic)),
      uprightName(11, TOP + TALL / 2, rich("rate *R*, nats", italic)),
    );
  }

  // R(D) = max over beta of -log Z - beta D: its corners lie where the lines of two betas meet.
  /** @type {(points: AnnealingPoint[]) => string} */
  function envelope(points) {
    const lines = [{ beta: 0, logZ: 0 }, ...points];
    const end = last(lines);
    const meets = points.map(({ beta, logZ }, k) => (lines[k].logZ - logZ) / (beta - lines[k].beta));
    const corners = [right, ...meets, (-end.logZ - 1.2 * most) / end.beta].sort((one, two) => two - one);
    const highest = (/** @type {number} */ d) => Math.max(...lines.map(({ beta, logZ }) => -logZ - beta * d));
    return `M${corners.map((d) => `${px(d).toFixed(1)} ${py(highest(d)).toFixed(1)}`).join("L")}`;
  }

  /** @type {Chart["draw"]} */
  function draw(points, running) {
    if (!(wide > 0)) return;
    const end = points.at(-1);
    const farthest = Math.max(...points.map(({ distortion }) => distortion));
    const highest = Math.max(10, ...points.map(({ rate }) => 1.05 * rate));
    if (end) rule(above(1.02 * farthest), above(highest));
    else rule(right || (100 * pixels) / 784, most);
    empty.style.display = end || running ? "none" : "";
    const at = points.map(({ distortion, rate }) => [px(distortion), py(rate)]);
    place(dots, { d: at.map(([x, y]) => MARKS.circle(x, y, 3.2)).join("") });
    place(latest, { d: end ? MARKS.circle(px(end.distortion), py(end.rate), 5.5) : "" });
    place(line, { d: end ? envelope(points) : "" });
    const [d, r] = [end?.distortion ?? 0, end?.rate ?? 0].map((v) => number(v));
    const where = `the last at distortion ${d} and rate ${r} nats`;
    const says = end ? `${points.length} points, ${where}` : "nothing yet";
    place(svg, { "aria-label": `Rate against distortion of the drawing: ${says}` });
  }
  /** @type {(width: number) => void} */
  const layout = (width) => {
    [wide, right] = [width - LEFT - 10, 0];
  };
  return { node: element("div", svg), layout, draw };
}
/**
 * @typedef {{ node: Element, layout(width: number): void, draw(points: AnnealingPoint[], running: boolean):
 *   void }} Chart
 */

// A small picture with its caption; it remembers what it shows.
/** @type {(paint: Painter, w: number, h: number) => Tile} */
function makeTile(paint, width, height) {
  const zoom = Math.max(1, Math.round(112 / width));
  const canvas = element("canvas", { role: "img", width: width * zoom, height: height * zoom });
  const context = penOf(canvas, true);
  const caption = element("figcaption");
  /** @type {unknown} */
  let shown;
  /** @type {Tile["show"]} */
  const show = (what, label, values) => {
    if (shown === what) return false;
    shown = what;
    canvas.setAttribute("aria-label", label);
    if (what === null) context.clearRect(0, 0, canvas.width, canvas.height);
    else paint(context, values(), 0, 0, canvas.width, canvas.height);
    return true;
  };
  return { caption, show, node: element("figure", element("div.dgm-draw-tile", canvas), caption) };
}
/**
 * @typedef {{ caption: HTMLElement, node: Node,
 *   show(what: unknown, label: string, values: () => ArrayLike<number>): boolean }} Tile
 */

// What the page sees, and reconstructions from the lowest beta to the highest; and apart an image of the
// model's own.
/**
 * @type {(w: Widget, network: Network) => { node: Node, own: Node, draw(strokes: number[][], result: Result):
 *   boolean }}
 */
function makeTiles(w, network) {
  const [height, width] = w.get("image_shape");
  /** @type {number[]} */
  const betas = w.get("betas");
  const paint = imagePainter(width, height);
  const tile = () => makeTile(paint, width, height);
  const [seen, own] = [tile(), tile()];
  seen.caption.append("the image");
  const count = Math.min(TILES, betas.length);
  const film = Array.from({ length: count }, (_, i) => {
    const index = Math.round((i * (betas.length - 1)) / (count - 1));
    const beta = number(betas[index], 1);
    const one = tile();
    one.caption.append(...rich(`*\u03b2* = ${beta}`));
    return { ...one, index, label: `Reconstruction at beta ${beta}` };
  });
  const node = element("div.dgm-draw-strip", seen.node, ...film.map((one) => one.node));
  /** @type {(strokes: number[][], result: Result) => boolean} */
  function draw(strokes, { points, own: image }) {
    for (const { index, label, show } of film) {
      const point = points[index] ?? null;
      const code = () => decode(network.layers, Float32Array.from(point.code));
      show(point, `${label}${point ? "" : ": not yet"}`, code);
    }
    own.show(image, `An image that the model has made${image ? "" : ": not yet"}`, () => image ?? []);
    const label = "The drawing as the model sees it";
    const what = strokes.length ? strokes : null;
    return seen.show(what, label, () => inked(strokes, height, width));
  }
  return { node, own: own.node, draw };
}

/** @type {(w: Widget) => (result: Result) => void} */
function makeReadouts(w) {
  const betas = w.get("betas");
  const list = element("dl");
  const terms = ["Price *\u03b2*", "Rate *R*", "Distortion *D*", "Chains"];
  const [beta, rate, distortion, chains] = terms.map((term) => readout(list, term));
  const [lower, upper, ownLower, ownUpper] = [0, 1, 2, 3].map(() => element("td"));
  const rows = [
    tableRow(["your drawing"], [lower, upper]),
    tableRow(["the model\u2019s image"], [ownLower, ownUpper]),
  ];
  const table = tableOf("", ["", "lower bound", "upper bound"], rows);
  const head = rich(`log *Z* at *\u03b2* = ${number(/** @type {number} */ (last(betas)), 3)}, nats`);
  table.querySelector("th")?.append(...head);
  w.side.append(list, table);
  const nats = (/** @type {number} */ v) => v.toFixed(1).replace("-", "\u2212");
  return ({ points, check }) => {
    const point = points.at(-1);
    put(beta, point ? `${number(point.beta)} nats per unit` : "\u2013");
    put(rate, point ? `${number(point.rate)} nats` : "\u2013");
    put(distortion, point ? number(point.distortion) : "\u2013");
    const count = `${point?.ess.toFixed(1)} of ${w.get("chains")} count`;
    put(chains, point ? `${count}, ${Math.round(100 * point.acceptance)} % of moves taken` : "\u2013");
    const whole = point && points.length === betas.length;
    put(lower, whole ? nats(point.logZ) : "\u2013");
    put(upper, whole ? "not known" : "\u2013");
    put(ownLower, check ? nats(check.lower) : "\u2013");
    put(ownUpper, check ? nats(check.upper) : "\u2013");
  };
}

/** @type {(w: Widget, own: Node, acts: ControlActs) => Controls} */
function makeControls(w, own, { noted, toggle, begin, reset }) {
  /** @type {(text: string, act: () => void, name?: string) => HTMLButtonElement} */
  const button = (text, act, name = "dgm-reset") =>
    pushButton(
      text,
      () => {
        act();
        noted();
      },
      name,
    );
  const go = button("Anneal", toggle, "dgm-reset dgm-draw-go");
  const another = button("New seed", () => {
    w.save({ seed: (w.get("seed") + 1) % 10000 });
    begin();
  });
  const clear = button("Clear", () => w.save({ drawing: [] }));
  w.reset.addEventListener("click", () => {
    reset();
    noted();
  });
  /**
   * @type {(name: string, words: string, options: (string | number)[][], act: (v: string) => void) => {
   *   input: HTMLSelectElement, node: Node }}
   */
  const pick = (name, words, options, act) => {
    const input = selectOf(`${w.id}-${name}`, options, (value) => {
      act(value);
      noted();
    });
    return { input, node: element("label.dgm-draw-pick", { for: input.id }, element("span", words), input) };
  };
  /** @type {Record<string, number[][]>} */
  const presets = w.get("presets");
  const names = Object.keys(presets).map((name) => [name, name]);
  const preset = pick("preset", "Drawing", [["", "your own"], ...names], (name) => {
    w.save({ drawing: presets[name] ?? [] });
    if (name) begin();
  });
  const choices = w.get("choices").map((/** @type {number} */ n) => [n, `${n}`]);
  const temperatures = pick("work", "Temperatures", choices, (n) => {
    w.save({ temperatures: Number(n) });
    begin();
  });
  const bar = element("progress", { max: 1, value: 0, "aria-label": "How much of the annealing is done" });
  const [note, verdict] = [element("p.dgm-note"), element("p.dgm-caption")];
  w.controls.append(
    element("div.dgm-row", go, another, clear, w.reset),
    element("div", bar, note),
    element("div.dgm-pair", preset.node, temperatures.node),
    element("div.dgm-draw-check", own, verdict),
  );
  return {
    choose(strokes) {
      preset.input.value = Object.keys(presets).find((name) => same(presets[name], strokes)) ?? "";
    },
    show({ check, seconds }, running, text, progress) {
      const gap = check && gapInWords(check);
      const own = `An image of the model\u2019s own, ${seconds.toFixed(1)} s in all`;
      const says = `${own}: upper minus lower bound is ${gap}.`;
      const why = "The upper bound starts from the code that made the image; your drawing has none.";
      put(verdict, check ? `${says} ${why}` : LATER);
      put(note, text);
      put(go, running ? "Stop" : "Anneal");
      bar.value = progress;
      temperatures.input.value = w.get("temperatures");
    },
  };
}
/** @typedef {{ noted(): void, toggle(): void, begin(): void, reset(): void }} ControlActs */
/**
 * @typedef {{ choose(strokes: number[][]): void,
 *   show(result: Result, running: boolean, text: string, progress: number): void }} Controls
 */

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const network = (await loadNetworks(props.model))[props.model.get("model")];
  const w = openWidget(props, {
    names: ["drawing", "curve", "seed", "temperatures"],
    hint: HINT,
    kind: "dgm-draw",
  });
  if (network.error !== null) w.root.dataset.goldenError = network.error.toFixed(6);
  const [height, width] = w.get("image_shape");
  const job = makeJob(w, network, throttled(w.status));
  /** @type {number[][]} */
  let strokes = w.get("drawing");
  let [moved, wet] = [0, true];
  // The reader has done something.
  function noted() {
    moved += 1;
    w.root.dataset.moved = String(moved);
    wet = true;
    w.ask();
  }
  const pad = makePad({
    strokes: () => strokes,
    began: job.forget,
    drawn(drawing) {
      w.save({ drawing });
      job.soon();
    },
    undo: () => w.save({ drawing: strokes.slice(0, -1) }),
    enter: job.begin,
    noted,
    say: throttled(w.status, 500),
  });
  const chart = makeChart(w, width * height);
  const tiles = makeTiles(w, network);
  const keys = element("figcaption", "Draw with mouse or finger. Keys: arrows, Space for the pen.");
  const figure = element("figure", element("div.dgm-draw-box", pad.node), keys);
  const legend = element("p.dgm-caption.dgm-draw-legend", ...rich(LEGEND));
  w.picture.append(element("div.dgm-draw-top", figure, chart.node), tiles.node, legend);
  const controls = makeControls(w, tiles.own, {
    noted,
    toggle: () => (job.running() ? job.halt("Stopped.") : job.begin()),
    begin: job.begin,
    reset() {
      w.save({ drawing: w.first.drawing, seed: w.first.seed, temperatures: w.first.temperatures });
      job.forget();
    },
  });
  const showReadouts = makeReadouts(w);

  function draw() {
    if (wet) pad.draw();
    wet = false;
    if (tiles.draw(strokes, job.result)) controls.choose(strokes);
    chart.draw(job.result.points, job.running());
    showReadouts(job.result);
    controls.show(job.result, job.running(), job.note, job.progress);
  }
  // A change of the drawing ends what belongs to the last one; a curve may come from Python.
  function touched() {
    if (!same(strokes, w.get("drawing"))) {
      strokes = w.get("drawing");
      wet = true;
      job.forget();
    }
    job.adopt();
    w.ask();
  }
  w.root.dataset.run = "idle";
  w.root.dataset.moved = "0";
  job.adopt();
  const stop = w.start("dgm:draw-a-digit", draw, {
    sized: chart.node,
    resized(wide) {
      chart.layout(wide);
      w.ask();
    },
    touched,
    ended: job.halt,
  });
  w.ask();
  return stop;
}

export default { render };
