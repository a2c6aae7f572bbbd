// The frame that all widgets share: title, picture, controls beneath, read-outs beside.

import { element, rich } from "./elements.js";
import { followAddress } from "./link.js";

export * from "./elements.js";

/** @type {(x: number, digits?: number) => string} */
export function number(x, digits = 3) {
  const options = {
    maximumSignificantDigits: digits,
    minimumSignificantDigits: digits,
    useGrouping: x >= 1e4,
  };
  return (Object.is(x, -0) ? 0 : x).toLocaleString("en", options).replace("-", "\u2212");
}

/** As many decimals as the error allows. @type {(x: number, error: number) => string} */
export function withError(x, error) {
  if (!(error > 0)) return number(x, 4);
  const places = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${x.toFixed(places)} \u00b1 ${error.toFixed(places)}`.replace("-", "\u2212");
}

let frameCount = 0;

/** @type {(options: { title: string, badge?: string, hint: string }) => Frame} */
function buildFrame({ title, badge, hint }) {
  const id = `dgm-${Date.now().toString(36)}-${frameCount++}`;
  const reset = element("button.dgm-reset", { type: "button" }, "Reset");
  const picture = element("div.dgm-picture");
  const side = element("div.dgm-side");
  const controls = element("div.dgm-controls");
  const status = element("p.dgm-status", { role: "status", "aria-live": "polite" });
  const head = element("div.dgm-head", element("p.dgm-title", { id }, title));
  if (badge) head.append(element("span.dgm-badge", badge));
  const tip = element("p.dgm-hint", element("b", "Try: "), ...rich(hint));
  const body = element("div.dgm-body", picture, controls, side);
  const foot = element("div.dgm-foot");
  const root = element("section.dgm", { "aria-labelledby": id }, head, tip, body, foot, status);
  // JupyterLab's shortcuts would take the arrow keys before the focused input sees them.
  root.addEventListener("focusin", ({ target }) => {
    if (target instanceof Element) target.setAttribute("data-lm-suppress-shortcuts", "true");
  });
  return { root, picture, side, controls, foot, reset, status, id };
}

// The frame of a widget, with what its model holds. `names` are the traits that a reader may change, and that
// the page's address may set: `change` sets some of them, `first` holds how they began; `forms` is for traits
// that may be other values later than at first. `start(measure, draw)` draws now and whenever one changes, or
// the width; it returns what ends all that.
/** @type {(props: RenderProps, options: WidgetOptions) => Widget} */
export function openWidget({ model, el }, { names, hint, kind = "", forms, inWords }) {
  const frame = buildFrame({ title: model.get("title"), badge: model.get("badge"), hint });
  frame.root.className = `dgm ${kind}`.trim();
  /** @type {Ask | null} */
  let drawing = null;
  const ask = () => drawing?.();
  /** @type {Widget["save"]} */
  const save = (values) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
  };
  /** @type {Widget["change"]} */
  const change = (values) => {
    save(values);
    ask();
  };
  /** @type {Widget["start"]} */
  function start(
    measure,
    draw,
    { sized = frame.picture, resized = ask, touched = ask, ended = () => {} } = {},
  ) {
    drawing = onceAFrame(measure, draw);
    for (const name of names) model.on(`change:${name}`, touched);
    el.append(frame.root);
    link.show();
    const stopWidth = onWidth(sized, resized);
    return () => {
      drawing?.stop();
      stopWidth();
      link.stop();
      ended();
      for (const name of names) model.off(`change:${name}`, touched);
    };
  }
  const get = model.get.bind(model);
  const set = model.set.bind(model);
  const state = () => Object.fromEntries(names.map((name) => [name, get(name)]));
  const first = state();
  const link = followAddress(frame, { ...get("address"), state, first, save, also: forms, inWords });
  return { ...frame, get, set, first, save, change, ask, start };
}

// One row of read-outs; returns the node whose text is the value.
/** @type {(list: Element, term: string) => HTMLElement} */
export function readout(list, term) {
  const value = element("dd");
  list.append(element("div", element("dt", ...rich(term)), value));
  return value;
}

// However many events arrive, one drawing a frame; draw() returns true while it still moves.
/** @type {(name: string, draw: () => unknown) => Ask} */
function onceAFrame(name, draw) {
  let waiting = 0;
  let drawn = 0;
  const run = () => {
    waiting = 0;
    const start = performance.now();
    const moving = draw();
    if (++drawn % 2000 === 0) performance.clearMeasures(name);
    performance.measure(name, { start, end: performance.now() });
    if (moving) ask();
  };
  const ask = () => (waiting ||= requestAnimationFrame(run));
  ask.stop = () => cancelAnimationFrame(waiting);
  return ask;
}

/** @type {WeakMap<Element, number>} */
const timers = new WeakMap();

/** Speaks what came last, after a pause. @type {(node: Element, wait?: number) => (text: string) => void} */
export function throttled(node, wait = 300) {
  return (text) => {
    clearTimeout(timers.get(node));
    const speak = () => (node.textContent = text);
    timers.set(node, setTimeout(speak, wait));
  };
}

// Calls draw(width) now and whenever the width changes; returns what stops it.
/** @type {(node: Element, draw: (width: number) => void) => () => void} */
export function onWidth(node, draw) {
  let before = 0;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(node.clientWidth);
    if (width <= 0 || width === before) return;
    before = width;
    draw(width);
  });
  observer.observe(node);
  return () => observer.disconnect();
}

// Calls when a page turns light or dark; returns what stops it.
/** @type {(changed: () => void) => () => void} */
export function onTheme(changed) {
  const themes = new MutationObserver(changed);
  const attributeFilter = ["data-theme", "theme", "class", "data-jp-theme-light"];
  for (const node of [document.documentElement, document.body]) themes.observe(node, { attributeFilter });
  return () => themes.disconnect();
}

/** @type {(canvas: HTMLCanvasElement, often?: boolean) => CanvasRenderingContext2D} */
export function penOf(canvas, often = false) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: often }));
}

// A small canvas of one image; its painter draws values in [0, 1] as grey, scaled, onto another canvas. Light
// pages invert that one by CSS. Few pixels stay crisp squares, more are smoothed as they grow.
/** @type {(width: number, height: number) => Painter} */
export function imagePainter(width, height) {
  const sheet = Object.assign(document.createElement("canvas"), { width, height });
  const pen = penOf(sheet, true);
  const image = pen.createImageData(width, height);
  image.data.fill(255);
  return (context, values, x, y, w, h) => {
    for (let i = 0; i < values.length; i++) {
      image.data[4 * i] = image.data[4 * i + 1] = image.data[4 * i + 2] = 255 * values[i];
    }
    pen.putImageData(image, 0, 0);
    context.imageSmoothingEnabled = width > 16;
    context.imageSmoothingQuality = "high";
    context.clearRect(x, y, w, h);
    context.drawImage(sheet, x, y, w, h);
  };
}

/** @type {(span: number, parts: number) => number} */
export function niceStep(span, parts) {
  const rough = span / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * ([1, 2, 5].find((f) => f * power >= rough) ?? 10);
}

/** @type {(low: number, high: number, parts: number) => number[]} */
export function ticks(low, high, parts) {
  const step = niceStep(high - low, parts);
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) values.push(i * step);
  return values;
}

/** @type {Record<string, (x: number, y: number, r: number) => string>} */
export const MARKS = {
  circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  triangle: (x, y, r) => `M${x} ${y - 1.2 * r}l${1.15 * r} ${2 * r}h${-2.3 * r}Z`,
  diamond: (x, y, r) =>
    `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}Z`,
  wedge: (x, y, r) => `M${x} ${y + 1.2 * r}l${1.15 * r} ${-2 * r}h${-2.3 * r}Z`,
};

/** Where it is a frame later; at once if nothing shall move. @type {(at: number, to: number) => number} */
export const eased = (at, to) => (calm() || Math.abs(to - at) < 0.02 ? to : at + 0.34 * (to - at));

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
