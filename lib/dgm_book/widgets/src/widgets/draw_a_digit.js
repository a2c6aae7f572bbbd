// Draw a digit: the reader's drawing becomes an image, and the page anneals chains through its decoder on it.

import "../styles/draw_a_digit.css";
import { axesOf, linear, through } from "../charts.js";
import { pushButton } from "../controls.js";
import { makeFile } from "../drawing_file.js";
import { gapInWords, makeJob, same } from "../drawing_job.js";
import { makePad } from "../drawing_pad.js";
import { formOf, pickOf, put, readoutList, tableBy } from "../form.js";
import * as frame from "../frame.js";
import { element, italic, MARKS, number, rich, shape, throttled, ticks } from "../frame.js";
import { last } from "../models/arrays.js";
import { inked } from "../models/drawing.js";
import { decode, loadNetworks } from "../models/nn.js";
import { place, resize } from "../plot.js";

/** @import { Job, Result } from "../drawing_job.js" */

const TILES = 9;
const [LEFT, TOP, BOTTOM] = [42, 10, 220]; // px, of the chart
const HINT =
  "draw a seven, then give it a stroke that no seven has. What does the model leave out, and " +
  "what does that cost?";
const LEGEND =
  "Dots: *R* and *D* at each *\u03b2* of one annealing. Line: the curve that its log *Z* alone draws. " +
  "Pictures: a code of that *\u03b2*, decoded.";
const LATER = "Last comes an image of the model\u2019s own, whose log Z is bounded from both sides.";
const UNKNOWN = "\u2013";

// The next of 10, 12.5, 15, 20, 25, 30, 40, 50, 60, 80 times a power of ten, so that the axes rest.
function above(/** @type {number} */ v) {
  const power = 10 ** Math.floor(Math.log10(v));
  return ([1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8].find((f) => f * power >= v) ?? 10) * power;
}

/** Rate against distortion of the drawing. @type {(w: Widget, pixels: number) => Chart} */
function makeChart(w, pixels) {
  const says = "Rate against distortion of the drawing";
  const svg = shape("svg", { role: "img", "aria-label": `${says}: nothing yet` });
  const node = element("div", svg);
  let [farthest, most] = [0, 25];
  const x = () => rich("distortion *D*, squared error", italic);
  const y = () => rich("rate *R*, nats", italic);

  // R(D) = max over beta of -log Z - beta D: its corners lie where the lines of two betas meet.
  function envelope(/** @type {AnnealingPoint[]} */ points) {
    const lines = [{ beta: 0, logZ: 0 }, ...points];
    const end = last(lines);
    const meets = points.map(({ beta, logZ }, k) => (lines[k].logZ - logZ) / (beta - lines[k].beta));
    const corners = [farthest, ...meets, (-end.logZ - 1.2 * most) / end.beta].sort((a, b) => b - a);
    return corners.map((d) => [d, Math.max(...lines.map(({ beta, logZ }) => -logZ - beta * d))]);
  }

  /** @type {Chart["draw"]} */
  function draw(points, running) {
    const width = Math.floor(node.clientWidth);
    if (!width) return;
    const end = points.at(-1);
    farthest = end
      ? above(1.02 * Math.max(...points.map(({ distortion }) => distortion)))
      : farthest || (100 * pixels) / 784;
    most = end ? above(Math.max(10, ...points.map(({ rate }) => 1.05 * rate))) : most;
    const right = width - 10;
    const [px, py] = [linear([0, farthest], [LEFT, right]), linear([0, most], [BOTTOM, TOP])];
    const [xs, ys] = [ticks(0, farthest, (right - LEFT) / 70), ticks(0, most, (BOTTOM - TOP) / 45)];
    const at = points.map(({ distortion, rate }) => [px(distortion), py(rate)]);
    const parts = {
      line: through(end ? envelope(points).map(([d, r]) => [px(d).toFixed(1), py(r).toFixed(1)]) : []),
      dots: at.map((p) => MARKS.circle(p[0], p[1], 3.2)).join(""),
      last: end ? MARKS.circle(px(end.distortion), py(end.rate), 5.5) : "",
    };
    const opening = { x: LEFT, y: TOP - 5, width: right - LEFT + 8, height: BOTTOM - TOP + 10 };
    const middle = { x: (LEFT + right) / 2, y: (TOP + BOTTOM) / 2, "text-anchor": "middle" };
    const empty = shape("text.dgm-strong", middle, "Press Anneal, or draw.");
    const box = { px, py, left: LEFT, top: TOP, right, bottom: BOTTOM };
    resize(svg, width, BOTTOM + 42);
    svg.replaceChildren(
      shape("clipPath", { id: `${w.id}-clip` }, shape("rect", opening)),
      ...axesOf(box, { xs, ys, x: x(), y: y(), grid: true, gap: 7, below: 36 }),
      shape(
        "g",
        { "clip-path": `url(#${w.id}-clip)` },
        ...Object.entries(parts).map(([name, d]) => shape("path", { class: `dgm-draw-${name}`, d })),
      ),
      ...(end || running ? [] : [empty]),
    );
    const where = end && `the last at distortion ${number(end.distortion)} and rate ${number(end.rate)} nats`;
    place(svg, { "aria-label": `${says}: ${end ? `${points.length} points, ${where}` : "nothing yet"}` });
  }
  return { node, draw };
}
/** @typedef {{ node: Element, draw(points: AnnealingPoint[], running: boolean): void }} Chart */

// A small picture with its caption; it remembers what it shows.
/** @type {(paint: Painter, size: number[], caption: Children) => Tile} */
function makeTile(paint, [height, width], caption) {
  const zoom = Math.max(1, Math.round(112 / width));
  const canvas = element("canvas", { role: "img", width: width * zoom, height: height * zoom });
  const context = frame.penOf(canvas, true);
  /** @type {unknown} */
  let shown;
  /** @type {Tile["show"]} */
  const show = (what, label, values) => {
    if (shown === what) return;
    shown = what;
    canvas.setAttribute("aria-label", label);
    if (what === null) context.clearRect(0, 0, canvas.width, canvas.height);
    else paint(context, values(), 0, 0, canvas.width, canvas.height);
  };
  const box = element("div.dgm-draw-tile", canvas);
  return { show, node: element("figure", box, element("figcaption", ...caption)) };
}
/**
 * @typedef {{ node: Node, show(what: unknown, label: string, values: () => ArrayLike<number>): void }} Tile
 */

// What the page sees, and reconstructions from the lowest beta to the highest; and apart an image of the
// model's own.
/** @type {(w: Widget, network: Network) => Tiles} */
function makeTiles(w, network) {
  const [height, width] = w.get("image_shape");
  /** @type {number[]} */
  const betas = w.get("betas");
  const paint = frame.imagePainter(width, height);
  const tile = (/** @type {Children} */ caption) => makeTile(paint, [height, width], caption);
  const [drawing, own] = [tile(["the image"]), tile([])];
  const count = Math.min(TILES, betas.length);
  const film = Array.from({ length: count }, (_, i) => {
    const index = Math.round((i * (betas.length - 1)) / (count - 1));
    const beta = number(betas[index], 1);
    return { ...tile(rich(`*\u03b2* = ${beta}`)), index, label: `Reconstruction at beta ${beta}` };
  });
  return {
    node: element("div.dgm-draw-strip", drawing.node, ...film.map(({ node }) => node)),
    own: own.node,
    draw(strokes, { points, own: image }) {
      for (const { index, label, show } of film) {
        const point = points[index] ?? null;
        const code = () => decode(network.layers, Float32Array.from(point.code));
        show(point, `${label}${point ? "" : ": not yet"}`, code);
      }
      own.show(image, `An image that the model has made${image ? "" : ": not yet"}`, () => image ?? []);
      const label = "The drawing as the model sees it";
      drawing.show(strokes.length ? strokes : null, label, () => inked(strokes, height, width));
    },
  };
}
/** @typedef {{ node: Node, own: Node, draw(strokes: number[][], result: Result): void }} Tiles */

/** @type {(w: Widget) => (result: Result) => void} */
function makeReadouts(w) {
  /** @type {number[]} */
  const betas = w.get("betas");
  const fill = readoutList(w.side, ["Price *\u03b2*", "Rate *R*", "Distortion *D*", "Chains"]);
  const names = ["your drawing", "the model\u2019s image"].map((name) => [name]);
  const table = tableBy("", ["", "lower bound", "upper bound"], names);
  const head = rich(`log *Z* at *\u03b2* = ${number(last(betas), 3)}, nats`);
  table.node.querySelector("th")?.append(...head);
  w.side.append(table.node);
  const nats = (/** @type {number} */ v) => v.toFixed(1).replace("-", "\u2212");
  return ({ points, check }) => {
    const point = points.at(-1);
    if (!point) fill(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN);
    else {
      const count = `${point.ess.toFixed(1)} of ${w.get("chains")} count`;
      const moves = `${count}, ${Math.round(100 * point.acceptance)} % of moves taken`;
      const { beta, rate, distortion } = point;
      fill(`${number(beta)} nats per unit`, `${number(rate)} nats`, number(distortion), moves);
    }
    const whole = point && points.length === betas.length;
    table.fill(0, whole ? nats(point.logZ) : UNKNOWN, whole ? "not known" : UNKNOWN);
    table.fill(1, check ? nats(check.lower) : UNKNOWN, check ? nats(check.upper) : UNKNOWN);
  };
}

/** @type {(w: Widget, own: Node, file: Node, job: Job, noted: () => void) => () => void} */
function makeControls(w, own, file, job, noted) {
  const form = formOf(w);
  /** @type {<A extends unknown[]>(act: (...given: A) => void) => (...given: A) => void} */
  const noting =
    (act) =>
    (...given) => {
      act(...given);
      noted();
    };
  /** @type {(text: string, act: () => void, name?: string) => HTMLButtonElement} */
  const button = (text, act, name) => pushButton(text, noting(act), name);
  const toggle = () => (job.running() ? job.halt("Stopped.") : job.begin());
  const go = button("Anneal", toggle, "dgm-reset dgm-draw-go");
  const another = button("New seed", () => {
    w.save({ seed: (w.get("seed") + 1) % 10000 });
    job.begin();
  });
  const clear = button("Clear", () => w.save({ drawing: [] }));
  const reset = noting(() => {
    const { drawing, seed, temperatures } = w.first;
    w.save({ drawing, seed, temperatures });
    job.forget();
  });
  w.reset.addEventListener("click", reset);
  /** @type {Record<string, number[][]>} */
  const presets = w.get("presets");
  const names = Object.keys(presets);
  const known = new Map(names.map((name) => [JSON.stringify(presets[name]), name]));
  /** @type {(name: string, words: string, options: Options, more: Binding<string | number>) => Node} */
  const pick = (name, words, options, more) =>
    pickOf(form, "label.dgm-draw-pick", name, element("span", words), options, more);
  const drawings = [["", "your own"], ...names.map((name) => [name, name])];
  const preset = pick("preset", "Drawing", drawings, {
    get: () => known.get(JSON.stringify(w.get("drawing"))) ?? "",
    set: noting((name) => {
      w.save({ drawing: presets[name] ?? [] });
      if (name) job.begin();
    }),
  });
  const choices = w.get("choices").map((/** @type {number} */ n) => [n, n]);
  const temperatures = pick("work", "Temperatures", choices, {
    get: () => w.get("temperatures"),
    set: noting((n) => {
      w.save({ temperatures: n });
      job.begin();
    }),
  });
  const bar = element("progress", { max: 1, value: 0, "aria-label": "How much of the annealing is done" });
  const [note, verdict] = [element("p.dgm-note"), element("p.dgm-caption")];
  w.controls.append(
    element("div.dgm-row", go, another, clear, w.reset),
    element("div", bar, note),
    element("div.dgm-pair", preset, temperatures),
    element("div.dgm-draw-check", own, verdict),
    file,
  );
  return () => {
    const { check, seconds } = job.result;
    const gap = check && gapInWords(check);
    const image = `An image of the model\u2019s own, ${seconds.toFixed(1)} s in all`;
    const says = `${image}: upper minus lower bound is ${gap}.`;
    const why = "The upper bound starts from the code that made the image; your drawing has none.";
    put(verdict, check ? `${says} ${why}` : LATER);
    put(note, job.note);
    put(go, job.running() ? "Stop" : "Anneal");
    bar.value = job.progress;
    form.show();
  };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const network = (await loadNetworks(props.model))[props.model.get("model")];
  const w = frame.openWidget(props, {
    names: ["drawing", "curve", "seed", "temperatures"],
    hint: HINT,
    kind: "dgm-draw",
  });
  if (network.error !== null) w.root.dataset.goldenError = network.error.toFixed(6);
  const [height, width] = w.get("image_shape");
  const job = makeJob(w, network, throttled(w.status));
  /** @type {number[][]} */
  let strokes = w.get("drawing");
  let [acts, wet] = [0, true];
  // The reader has done something.
  function noted() {
    acts += 1;
    w.root.dataset.moved = String(acts);
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
  const file = makeFile(w, network, job, noted);
  const showControls = makeControls(w, tiles.own, file.node, job, noted);
  const showReadouts = makeReadouts(w);

  function draw() {
    if (wet) pad.draw();
    wet = false;
    tiles.draw(strokes, job.result);
    chart.draw(job.result.points, job.running());
    showReadouts(job.result);
    showControls();
    file.show();
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
  const ended = () => {
    job.halt();
    file.stop();
  };
  w.root.dataset.run = "idle";
  w.root.dataset.moved = "0";
  job.adopt();
  const stop = w.start("dgm:draw-a-digit", draw, { sized: chart.node, touched, ended });
  w.ask();
  return stop;
}

export default { render };
