// The frame that all widgets share: title, picture, controls beneath, read-outs beside.

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function shape(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// "*q*_*\u03b2*_" is q in italics with beta below it; the text is never read as HTML.
export function rich(text, make = (t) => element("i", {}, t)) {
  const italics = (part) => part.split("*").map((word, i) => (i % 2 ? make(word) : word));
  return text.split("_").flatMap((part, i) => (i % 2 ? element("sub", {}, ...italics(part)) : italics(part)));
}

export const italic = (text) => shape("tspan", { class: "dgm-i" }, text);

export function number(x, digits = 3) {
  const options = { maximumSignificantDigits: digits, minimumSignificantDigits: digits, useGrouping: x >= 1e4 };
  return (Object.is(x, -0) ? 0 : x).toLocaleString("en", options).replace("-", "\u2212");
}

// As many decimals as the error allows.
export function withError(x, error) {
  if (!(error > 0)) return number(x, 4);
  const places = Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${x.toFixed(places)} \u00b1 ${error.toFixed(places)}`.replace("-", "\u2212");
}

let frameCount = 0;

export function buildFrame({ title, badge, hint }) {
  const id = `dgm-${Date.now().toString(36)}-${frameCount++}`;
  const reset = element("button", { type: "button", class: "dgm-reset" }, "Reset");
  const picture = element("div", { class: "dgm-picture" });
  const side = element("div", { class: "dgm-side" });
  const controls = element("div", { class: "dgm-controls" });
  const status = element("p", { class: "dgm-status", role: "status", "aria-live": "polite" });
  const head = element("div", { class: "dgm-head" }, element("p", { class: "dgm-title", id }, title));
  if (badge) head.append(element("span", { class: "dgm-badge" }, badge));
  const tip = element("p", { class: "dgm-hint" }, element("b", {}, "Try: "), ...rich(hint));
  const body = element("div", { class: "dgm-body" }, picture, controls, side);
  const root = element("section", { class: "dgm", "aria-labelledby": id }, head, tip, body, status);
  // JupyterLab's shortcuts would take the arrow keys before the focused input sees them.
  root.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
  return { root, picture, side, controls, reset, status, id };
}

// One row of read-outs; returns the node whose text is the value.
export function readout(list, term) {
  const value = element("dd");
  list.append(element("div", {}, element("dt", {}, ...rich(term)), value));
  return value;
}

// However many events arrive, one drawing a frame; draw() returns true while it still moves.
export function onceAFrame(name, draw) {
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

// Speaks only when the reader pauses.
export function throttled(node, wait = 300) {
  let timer = 0;
  return (text) => {
    clearTimeout(timer);
    timer = setTimeout(() => (node.textContent = text), wait);
  };
}

// Calls draw(width) now and whenever the width changes; returns what stops it.
export function onWidth(node, draw) {
  let last = 0;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(node.clientWidth);
    if (width > 0 && width !== last) draw((last = width));
  });
  observer.observe(node);
  return () => observer.disconnect();
}

// A small canvas of one image; its painter draws values in [0, 1] as grey, scaled, onto another canvas. Light
// pages invert that one by CSS. Few pixels stay crisp squares, more are smoothed as they grow.
export function imagePainter(width, height) {
  const sheet = Object.assign(document.createElement("canvas"), { width, height });
  const pen = sheet.getContext("2d", { willReadFrequently: true });
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

export function niceStep(span, parts) {
  const rough = span / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((f) => f * power >= rough);
}

export function ticks(low, high, parts) {
  const step = niceStep(high - low, parts);
  const values = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) values.push(i * step);
  return values;
}

export const MARKS = {
  circle: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`,
  square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}Z`,
  triangle: (x, y, r) => `M${x} ${y - 1.2 * r}l${1.15 * r} ${2 * r}h${-2.3 * r}Z`,
  diamond: (x, y, r) => `M${x} ${y - 1.3 * r}l${1.3 * r} ${1.3 * r}l${-1.3 * r} ${1.3 * r}l${-1.3 * r} ${-1.3 * r}Z`,
  wedge: (x, y, r) => `M${x} ${y + 1.2 * r}l${1.15 * r} ${-2 * r}h${-2.3 * r}Z`,
};

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
