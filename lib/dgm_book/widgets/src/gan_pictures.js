// What the GAN playground paints: the plane cut into cells, the losses, and how far fakes agree in pairs.

import { linear } from "./charts.js";
import { penOf, ticks } from "./frame.js";

export const BINS = 250; // of the loss curves
const TONES = 96; // of the cells

/** The page's colours, for canvases. @type {(root: Element) => GanTheme} */
export function themeOf(root) {
  const style = getComputedStyle(root);
  const pen = penOf(document.createElement("canvas"));
  const named = (/** @type {string} */ name) => {
    pen.fillStyle = style.getPropertyValue(name).trim();
    return String(pen.fillStyle);
  };
  const ink = named("--dgm-ink");
  const dark = parseInt(ink.slice(1, 3), 16) > 128;
  const tones = Array.from({ length: TONES }, (_, i) => {
    const [hue, deep] = [(i * 137.5) % 360, (i * 61) % 96];
    return dark ? `hsl(${hue} 26% ${13 + deep / 8}%)` : `hsl(${hue} 42% ${87 + deep / 11}%)`;
  });
  return {
    ink,
    tones,
    soft: named("--dgm-soft"),
    edge: named("--dgm-edge"),
    font: style.fontFamily,
    model: [dark ? "#f0b429" : "#c77700", named("--dgm-model")],
    data: dark ? "#9a9a9a" : "#6f6f6f",
  };
}

// A pen whose units are CSS pixels, and the width in these.
/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, height?: number) => Sheet} */
function sheetOf(canvas, theme, height) {
  const width = Math.floor(canvas.clientWidth);
  const dense = Math.min(2, devicePixelRatio || 1);
  const tall = height ?? width;
  const [across, down] = [width, tall].map((v) => Math.round(v * dense));
  if (canvas.width !== across || canvas.height !== down) {
    Object.assign(canvas, { width: across, height: down });
    canvas.style.aspectRatio = `${width} / ${tall}`;
  }
  const pen = penOf(canvas);
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, width, tall);
  pen.lineJoin = "round";
  pen.font = `11px ${theme.font}`;
  return [pen, width];
}

/** @typedef {[CanvasRenderingContext2D, number]} Sheet */

/** A path through each list x0, y0, x1, y1, ... @type {(...lines: number[][]) => Path2D} */
function linesThrough(...lines) {
  const path = new Path2D();
  for (const [x, y, ...rest] of lines) {
    path.moveTo(x, y);
    for (let k = 0; k < rest.length; k += 2) path.lineTo(rest[k], rest[k + 1]);
  }
  return path;
}

// One path for all cells of a tone.
/** @type {(panel: GanPanel, at: Scale1D, up: Scale1D) => Map<number, Path2D>} */
function cellPaths({ lengths, paint, corners }, at, up) {
  /** @type {Map<number, Path2D>} */
  const paths = new Map();
  for (let i = 0, c = 0; i < lengths.length; i++) {
    const tone = paint[i] % TONES;
    const path = paths.get(tone) ?? new Path2D();
    paths.set(tone, path);
    const end = c + lengths[i];
    path.moveTo(at(corners[c]), up(corners[c + 1]));
    for (c += 2; c < end; c += 2) path.lineTo(at(corners[c]), up(corners[c + 1]));
    path.closePath();
  }
  return paths;
}

// Triangles without BRE, dots with it.
/** @type {(fakes: Float32Array, withBre: boolean, size: number, at: Scale1D, up: Scale1D) => Path2D} */
function fakeMarks(fakes, withBre, size, at, up) {
  const marks = new Path2D();
  for (let k = 0; k < fakes.length; k += 2) {
    const [x, y] = [at(fakes[k]), up(fakes[k + 1])];
    marks.moveTo(x + size * (withBre ? 2.3 : 0), y - size * (withBre ? 0 : 2.9));
    if (withBre) marks.arc(x, y, 2.3 * size, 0, 7);
    else for (const side of [2.7, -2.7]) marks.lineTo(x + size * side, y + 2 * size);
  }
  return marks;
}

// Length by the root of the slope, so that the flat parts show too.
/** @type {(panel: GanPanel, size: number, at: Scale1D, up: Scale1D) => number[][]} */
function arrowLines({ arrows, fakes }, size, at, up) {
  const places = Array.from({ length: arrows.length / 2 }, (_, k) => 2 * k);
  const sizes = places.map((k) => Math.hypot(arrows[k], arrows[k + 1]));
  const steepest = Math.max(0, ...sizes);
  return places.flatMap((k, i) => {
    if (!sizes[i]) return [];
    const [dx, dy] = [arrows[k] / sizes[i], -arrows[k + 1] / sizes[i]];
    const long = size * (7 + 17 * Math.sqrt(sizes[i] / steepest));
    const [x, y] = [at(fakes[k]), up(fakes[k + 1])];
    const [tipX, tipY] = [x + long * dx, y + long * dy];
    const [back, side] = [4.5 * size, 2.5 * size];
    const [backX, backY] = [tipX - back * dx, tipY - back * dy];
    const head = [backX - side * dy, backY + side * dx, tipX, tipY, backX + side * dy, backY - side * dx];
    return [[x, y, tipX, tipY], head];
  });
}

/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, view: PlaneView) => void} */
export function drawPlane(canvas, theme, { panel, real, target, reach, seams, p }) {
  const [pen, width] = sheetOf(canvas, theme);
  const at = linear([-reach, reach], [0, width]);
  const up = linear([reach, -reach], [0, width]);
  const size = Math.min(1, width / 250);
  pen.fillStyle = theme.tones[0];
  pen.fillRect(0, 0, width, width);
  pen.lineWidth = 0.7;
  for (const [tone, path] of cellPaths(panel, at, up)) {
    pen.fillStyle = pen.strokeStyle = theme.tones[tone];
    pen.fill(path);
    // One pattern of a single layer may have many cells; their seams are no borders.
    if (seams) pen.stroke(path);
  }
  pen.fillStyle = pen.strokeStyle = theme.data;
  for (let k = 0; k < real.length; k += 2) pen.fillRect(at(real[k]) - 0.9, up(real[k + 1]) - 0.9, 1.8, 1.8);
  pen.lineWidth = 1;
  const rings = new Path2D();
  for (const [x, y] of target.centres) {
    rings.moveTo(at(x + 3 * target.sigma), up(y));
    rings.arc(at(x), up(y), at(3 * target.sigma) - at(0), 0, 2 * Math.PI);
  }
  pen.stroke(rings);
  pen.fillStyle = theme.model[p];
  pen.fill(fakeMarks(panel.fakes, p > 0, size, at, up));
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1.1 * size;
  pen.stroke(linesThrough(...arrowLines(panel, size, at, up)));
}

/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, view: CurvesView) => void} */
export function drawCurves(canvas, theme, { losses: { d, g, n }, top, steps, step, weights, p }) {
  const height = 128;
  const [pen, width] = sheetOf(canvas, theme, height);
  const [left, right] = [24, width - 16];
  const shown = Math.min(1, (1000 * Math.max(1, Math.ceil(step / 1000))) / steps);
  const px = linear([0, shown], [left, right]);
  const scale = linear([0, top], [height - 20, 18]);
  /** @type {Scale1D} */
  const py = (v) => scale(Math.min(v, top));
  pen.fillStyle = theme.soft;
  pen.textAlign = "right";
  pen.lineWidth = 1;
  pen.strokeStyle = theme.edge;
  for (const v of ticks(0, top, 3)) {
    pen.stroke(linesThrough([left, py(v), right, py(v)]));
    pen.fillText(String(v), left - 5, py(v) + 4);
  }
  pen.textAlign = "left";
  pen.fillText(p ? "Losses; dotted: w" : "Losses", 0, 11);
  pen.textAlign = "center";
  for (const share of [0, shown / 2, shown]) {
    pen.fillText((share * steps).toLocaleString("en"), Math.min(px(share), width - 20), height - 5);
  }
  const line = (/** @type {Doubles} */ values) =>
    linesThrough([...values].flatMap((v, b) => (n[b] ? [px((b + 0.5) / BINS), py(v / n[b])] : [])));
  pen.strokeStyle = theme.model[p];
  pen.lineWidth = 1.6;
  pen.stroke(line(d));
  pen.setLineDash([5, 3]);
  pen.stroke(line(g));
  pen.setLineDash([1.5, 3]);
  pen.strokeStyle = theme.ink;
  if (p) pen.stroke(linesThrough([px(0), py(weights[0]), px(shown), py(linear([0, 1], weights)(shown))]));
  pen.setLineDash([]);
}

/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, bins: Uint32Array, eta: number, p: number) => void} */
export function drawPairs(canvas, theme, bins, eta, p) {
  const height = 78;
  const [pen, width] = sheetOf(canvas, theme, height);
  const [left, right, bottom] = [0, width, height - 18];
  const px = linear([-1.15, 1.15], [left, right]);
  pen.fillStyle = theme.edge;
  pen.globalAlpha = 0.45;
  pen.fillRect(px(-eta), 18, px(eta) - px(-eta), bottom - 18);
  pen.globalAlpha = 1;
  const most = Math.max(...bins, 1);
  pen.fillStyle = theme.model[p];
  for (const [b, count] of bins.entries()) {
    const tall = Math.sqrt(count / most) * (bottom - 24);
    pen.fillRect(px(b / 20 - 1) - 2, bottom - tall, 4, tall);
  }
  pen.strokeStyle = pen.fillStyle = theme.soft;
  pen.lineWidth = 1;
  const edges = [-eta, eta].map((edge) => [px(edge), 18, px(edge), bottom]);
  pen.stroke(linesThrough([left, bottom, right, bottom], ...edges));
  pen.textAlign = "left";
  pen.fillText("Agreement of fakes in pairs", left, 11);
  pen.fillText("\u22121, opposite", left, height - 4);
  pen.textAlign = "right";
  pen.fillText("1, equal", right, height - 4);
}
