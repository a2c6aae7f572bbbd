// What the GAN playground paints: the plane cut into cells, the losses, and how far fakes agree in pairs.

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

// A pen whose units are CSS pixels.
/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, height?: number) => Sheet} */
function sheetOf(canvas, theme, height) {
  const width = Math.floor(canvas.clientWidth);
  const dense = Math.min(2, devicePixelRatio || 1);
  const tall = height ?? width;
  if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(tall * dense)) {
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(tall * dense);
    canvas.style.aspectRatio = `${width} / ${tall}`;
  }
  const pen = penOf(canvas);
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, width, tall);
  pen.lineJoin = "round";
  pen.font = `11px ${theme.font}`;
  return { pen, width };
}
/** @typedef {{ pen: CanvasRenderingContext2D, width: number }} Sheet */

/** @type {(pen: CanvasRenderingContext2D, ...lines: number[][]) => void} */
function strokeLines(pen, ...lines) {
  pen.beginPath();
  for (const [x, y, ...rest] of lines) {
    pen.moveTo(x, y);
    for (let k = 0; k < rest.length; k += 2) pen.lineTo(rest[k], rest[k + 1]);
  }
  pen.stroke();
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
/** @type {(fakes: Float32Array, withBre: boolean, at: Scale1D, up: Scale1D) => Path2D} */
function fakeMarks(fakes, withBre, at, up) {
  const marks = new Path2D();
  for (let k = 0; k < fakes.length; k += 2) {
    const [x, y] = [at(fakes[k]), up(fakes[k + 1])];
    if (withBre) {
      marks.moveTo(x + 2.3, y);
      marks.arc(x, y, 2.3, 0, 7);
      continue;
    }
    marks.moveTo(x, y - 2.9);
    marks.lineTo(x + 2.7, y + 2);
    marks.lineTo(x - 2.7, y + 2);
    marks.closePath();
  }
  return marks;
}

// Length by the root of the slope, so that the flat parts show too.
/** @type {(panel: GanPanel, at: Scale1D, up: Scale1D) => number[][]} */
function arrowLines({ arrows, fakes }, at, up) {
  const sizes = Array.from({ length: arrows.length / 2 }, (_, k) =>
    Math.hypot(arrows[2 * k], arrows[2 * k + 1]),
  );
  const steepest = Math.max(0, ...sizes);
  return sizes.flatMap((size, k) => {
    if (!size) return [];
    const [dx, dy] = [arrows[2 * k] / size, -arrows[2 * k + 1] / size];
    const long = 7 + 17 * Math.sqrt(size / steepest);
    const [x, y] = [at(fakes[2 * k]), up(fakes[2 * k + 1])];
    const [tipX, tipY] = [x + long * dx, y + long * dy];
    const [backX, backY] = [tipX - 4.5 * dx, tipY - 4.5 * dy];
    const head = [backX - 2.5 * dy, backY + 2.5 * dx, tipX, tipY, backX + 2.5 * dy, backY - 2.5 * dx];
    return [[x, y, tipX, tipY], head];
  });
}

/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, view: PlaneView) => void} */
export function drawPlane(canvas, theme, { panel, real, target, reach, seams, p }) {
  const { pen, width } = sheetOf(canvas, theme);
  /** @type {Scale1D} */
  const at = (v) => ((v + reach) / (2 * reach)) * width;
  /** @type {Scale1D} */
  const up = (v) => ((reach - v) / (2 * reach)) * width;
  pen.fillStyle = theme.tones[0];
  pen.fillRect(0, 0, width, width);
  pen.lineWidth = 0.7;
  for (const [tone, path] of cellPaths(panel, at, up)) {
    pen.fillStyle = theme.tones[tone];
    pen.strokeStyle = theme.tones[tone];
    pen.fill(path);
    // One pattern of a single layer may have many cells; their seams are no borders.
    if (seams) pen.stroke(path);
  }
  pen.fillStyle = theme.data;
  for (let k = 0; k < real.length; k += 2) pen.fillRect(at(real[k]) - 0.9, up(real[k + 1]) - 0.9, 1.8, 1.8);
  pen.strokeStyle = theme.data;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const [x, y] of target.centres) {
    pen.moveTo(at(x + 3 * target.sigma), up(y));
    pen.arc(at(x), up(y), at(3 * target.sigma) - at(0), 0, 2 * Math.PI);
  }
  pen.stroke();
  pen.fillStyle = theme.model[p];
  pen.fill(fakeMarks(panel.fakes, p > 0, at, up));
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1.1;
  strokeLines(pen, ...arrowLines(panel, at, up));
}

/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, view: CurvesView) => void} */
export function drawCurves(canvas, theme, { losses: { d, g, n }, top, steps, weights, p }) {
  const height = 128;
  const { pen, width } = sheetOf(canvas, theme, height);
  const plot = { left: 24, right: width - 16, top: 18, bottom: height - 20 };
  /** @type {Scale1D} */
  const px = (share) => plot.left + share * (plot.right - plot.left);
  /** @type {Scale1D} */
  const py = (v) => plot.bottom - (Math.min(v, top) / top) * (plot.bottom - plot.top);
  pen.fillStyle = theme.soft;
  pen.textAlign = "right";
  pen.lineWidth = 1;
  pen.strokeStyle = theme.edge;
  for (const v of ticks(0, top, 3)) {
    strokeLines(pen, [plot.left, py(v), plot.right, py(v)]);
    pen.fillText(String(v), plot.left - 5, py(v) + 4);
  }
  pen.textAlign = "left";
  pen.fillText(`Loss in nats: D solid, G dashed${p ? "; w dotted" : ""}`, plot.left, 11);
  pen.textAlign = "center";
  for (const share of [0, 0.5, 1]) {
    pen.fillText((share * steps).toLocaleString("en"), Math.min(px(share), width - 20), height - 5);
  }
  /** @type {(values: Doubles) => number[]} */
  const line = (values) => [...values].flatMap((v, b) => (n[b] ? [px((b + 0.5) / BINS), py(v / n[b])] : []));
  pen.strokeStyle = theme.model[p];
  pen.lineWidth = 1.6;
  strokeLines(pen, line(d));
  pen.setLineDash([5, 3]);
  strokeLines(pen, line(g));
  pen.setLineDash([1.5, 3]);
  pen.strokeStyle = theme.ink;
  if (p) strokeLines(pen, [px(0), py(weights[0]), px(1), py(weights[1])]);
  pen.setLineDash([]);
}

/** @type {(canvas: HTMLCanvasElement, theme: GanTheme, bins: Uint32Array, eta: number, p: number) => void} */
export function drawPairs(canvas, theme, bins, eta, p) {
  const height = 78;
  const { pen, width } = sheetOf(canvas, theme, height);
  const [left, right, bottom] = [24, width - 16, height - 18];
  /** @type {Scale1D} */
  const px = (g) => left + ((g + 1) / 2) * (right - left);
  pen.fillStyle = theme.edge;
  pen.globalAlpha = 0.45;
  pen.fillRect(px(-eta), 18, px(eta) - px(-eta), bottom - 18);
  pen.globalAlpha = 1;
  const most = Math.max(...bins, 1);
  pen.fillStyle = theme.model[p];
  for (const [b, count] of bins.entries()) {
    const tall = Math.sqrt(count / most) * (bottom - 24);
    pen.fillRect(Math.max(left, px(b / 20 - 1) - 2), bottom - tall, 4, tall);
  }
  pen.strokeStyle = theme.soft;
  pen.lineWidth = 1;
  const edges = [-eta, eta].map((edge) => [px(edge), 18, px(edge), bottom]);
  strokeLines(pen, [left, bottom, right, bottom], ...edges);
  pen.fillStyle = theme.soft;
  pen.textAlign = "left";
  pen.fillText("Pairs of fakes: agreement G in layer 2", left, 11);
  pen.textAlign = "center";
  for (const g of [-1, 0, 1]) pen.fillText(String(g).replace("-", "\u2212"), px(g), height - 4);
}
