// The latent space: a pad over two latent dimensions, decoded where the reader points.

import { labelledSlider } from "../controls.js";
import {
  element,
  imagePainter,
  italic,
  MARKS,
  onDrag,
  openWidget,
  penOf,
  readout,
  rich,
  shape,
  throttled,
  ticks,
} from "../frame.js";
import { bufferOf, decode, floatsOf, loadNetworks } from "../models/nn.js";
import { place, resize, short, words } from "../plot.js";

// Ten classes: a colour and a mark each, so that no class is told by its colour alone.
const CLASS_MARKS = ["circle", "square", "triangle", "diamond", "wedge"];
const NEIGHBOURS = 15;
const [LEFT, TOP] = [40, 6];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

/**
 * Codes in pairs, and the class of each.
 * @typedef {{ means: Float32Array, labels: Uint8Array, classes: string[] }} Codes
 */

/** @type {(c: number) => (x: number, y: number, r: number) => string} */
const markOf = (c) => MARKS[CLASS_MARKS[c % 5]];

/** @type {(places: number[][], gap: number) => void} */
function pushApart(places, gap) {
  for (let round = 0; round < 60; round++) {
    for (const [i, p] of places.entries()) {
      for (const q of places.slice(i + 1)) {
        const [dx, dy] = [q[0] - p[0] || 0.1, q[1] - p[1]];
        const push = (gap - Math.hypot(dx, dy)) / 4 / Math.hypot(dx, dy);
        if (push <= 0) continue;
        p[0] -= push * dx;
        p[1] -= push * dy;
        q[0] += push * dx;
        q[1] += push * dy;
      }
    }
  }
}

// Of the nearest codes the most frequent class.
/** @type {(codes: Codes, z: number[]) => { name: string, share: string }} */
function neighbours({ means, labels, classes }, [a, b]) {
  const far = Array.from(labels, (c, n) => [(means[2 * n] - a) ** 2 + (means[2 * n + 1] - b) ** 2, c]);
  const near = far.sort((p, q) => p[0] - q[0]).slice(0, NEIGHBOURS);
  const votes = new Array(classes.length).fill(0);
  for (const [, c] of near) votes[c]++;
  const best = votes.indexOf(Math.max(...votes));
  return { name: classes[best], share: `${votes[best]} of ${near.length}` };
}

// The plane; layout(width), show(z).
/** @type {(w: Widget, codes: Codes, limit: number, move: (z: number[]) => void) => Plane} */
function makePlane(w, { means, labels, classes }, limit, move) {
  const svg = shape("svg.dgm-pad", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "plane",
    "aria-label": "Plane of codes. Arrow keys move, with Shift in larger steps.",
  });
  const [axes, crowd, rings, names] = [shape("g"), shape("g"), shape("g"), shape("g")];
  const cross = shape("path.dgm-ls-cross");
  const ring = shape("circle.dgm-ls-ring", { r: 8 });
  svg.append(axes, crowd, rings, cross, names, ring);
  w.picture.append(svg);
  let size = 0;
  const px = (/** @type {number} */ v) => LEFT + ((v + limit) / (2 * limit)) * size;
  const py = (/** @type {number} */ v) => TOP + ((limit - v) / (2 * limit)) * size;

  /** @type {(sub: string, attributes: Attributes) => SVGElement} */
  const axisName = (sub, attributes) =>
    words(0, 0, [italic("z"), shape("tspan", { dy: 3, "font-size": "9" }, sub)], {
      class: "dgm-strong",
      ...attributes,
    });

  function drawAxes() {
    const end = TOP + size;
    axes.replaceChildren(shape("rect.dgm-ls-ground", { x: LEFT, y: TOP, width: size, height: size }));
    for (const v of ticks(-limit, limit, 7)) {
      const text = short(v, 3);
      const marks = shape("path.dgm-axis", { d: `M${px(v)} ${end}v4M${LEFT} ${py(v)}h-4` });
      axes.append(
        words(px(v), end + 16, text),
        words(LEFT - 7, py(v) + 4, text, { "text-anchor": "end" }),
        marks,
      );
    }
    axes.append(axisName("1", { x: px(0), y: end + 34 }));
    axes.append(axisName("2", { transform: `translate(11 ${py(0)}) rotate(-90)` }));
    const circle = (/** @type {number} */ r) =>
      shape("circle.dgm-ls-prior", { cx: px(0), cy: py(0), r: (r * size) / (2 * limit) });
    rings.replaceChildren(...[1, 2, 3].map(circle));
  }

  function drawCodes() {
    const places = classes.map((_, c) => {
      const own = [...labels.keys()]
        .filter((n) => labels[n] === c)
        .map((n) => [means[2 * n], means[2 * n + 1]]);
      const d = own.map(([a, b]) => markOf(c)(+px(a).toFixed(1), +py(b).toFixed(1), 2)).join("");
      crowd.append(shape("path", { class: `dgm-ls-class dgm-c${c}`, d }));
      const middle = (/** @type {number} */ k) => own.map((p) => p[k]).sort((a, b) => a - b)[own.length >> 1];
      return [px(middle(0)), py(middle(1))];
    });
    pushApart(places, 19);
    const label = { class: "dgm-halo dgm-strong dgm-ls-name" };
    names.replaceChildren(...places.map(([x, y], c) => words(x, y + 6, classes[c], label)));
  }

  /** @type {(width: number) => void} */
  function layout(width) {
    size = Math.min(width - LEFT - 10, 470);
    resize(svg, width, TOP + size + 40);
    drawAxes();
    crowd.replaceChildren();
    drawCodes();
  }
  /** @type {(at: MouseEvent) => void} */
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    const share = (/** @type {number} */ v, /** @type {number} */ start) =>
      (2 * limit * (v - start)) / size - limit;
    move([share(event.clientX - box.left, LEFT), -share(event.clientY - box.top, TOP)]);
  };
  onDrag(svg, [ring], point);
  svg.addEventListener("keydown", (event) => {
    const way = ARROWS[/** @type {keyof typeof ARROWS} */ (event.key)];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const step = (event.shiftKey ? 0.1 : 0.02) * limit;
    move(w.get("z").map((/** @type {number} */ v, /** @type {number} */ k) => v + step * way[k]));
  });
  /** @type {(z: number[]) => void} */
  const show = ([a, b]) => {
    const [x, y] = [px(a), py(b)];
    place(ring, { cx: x, cy: y });
    place(cross, { d: `M${x} ${TOP}V${TOP + size}M${LEFT} ${y}H${LEFT + size}` });
  };
  return { layout, show };
}
/** @typedef {{ layout(width: number): void, show(z: number[]): void }} Plane */

/** @type {(w: Widget, classes: string[]) => void} */
function addLegend(w, classes) {
  const icon = (/** @type {SVGElement} */ part) =>
    shape("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, part);
  const signs = classes.map((name, c) => {
    const mark = shape("path", { class: `dgm-ls-class dgm-c${c}`, d: markOf(c)(6, 6, 3.6) });
    return element("span", icon(mark), name);
  });
  const prior = shape("circle.dgm-ls-prior", { cx: 6, cy: 6, r: 5 });
  signs.push(element("span", icon(prior), "prior, 1 to 3 s.d."));
  w.controls.append(element("div.dgm-row.dgm-ls-legend", ...signs, w.reset));
}

// The decoded image and what the code is near to.
/** @type {(w: Widget, codes: Codes, network: Network) => (z: number[], shown: string) => string} */
function makeReadouts(w, codes, network) {
  const [height, width] = w.get("image_shape");
  const grow = (/** @type {number} */ side) => side * Math.max(1, Math.round(400 / width));
  const canvas = element("canvas.dgm-ls-image", { role: "img", width: grow(width), height: grow(height) });
  const context = penOf(canvas, true);
  const paint = imagePainter(width, height);
  const caption = element(
    "figcaption",
    ...rich("The decoder\u2019s image *f*\u2009(*z*), made in this page."),
  );
  const list = element("dl");
  const [code, prior, near] = ["Code *z*", "log *p*\u2009(*z*)", "Nearby"].map((term) => readout(list, term));
  w.side.append(element("figure", canvas, caption), list);
  return (z, shown) => {
    paint(context, decode(network.layers, Float32Array.from(z)), 0, 0, canvas.width, canvas.height);
    const { name, share } = neighbours(codes, z);
    code.textContent = `(${shown})`;
    const logPrior = -0.5 * (z[0] ** 2 + z[1] ** 2) - Math.log(2 * Math.PI);
    prior.textContent = `${logPrior.toFixed(2).replace("-", "\u2212")} nats, prior`;
    near.textContent = `${name}, ${share} codes`;
    canvas.setAttribute("aria-label", `Decoded image at z = (${shown})`);
    return `z ${shown}; nearest codes: ${name}, ${share}`;
  };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const network = (await loadNetworks(props.model))[props.model.get("model")];
  const w = openWidget(props, {
    names: ["z"],
    hint: "drag across the plane, or use the arrow keys: one class turns into the next.",
  });
  if (network.error !== null) w.root.dataset.goldenError = network.error.toFixed(6);
  const means = floatsOf(w.get("means"));
  const codes = { means, labels: new Uint8Array(bufferOf(w.get("labels"))), classes: w.get("classes") };
  const limit = Math.max(3, Math.ceil(2 * 1.05 * Math.max(...means.map(Math.abs))) / 2);
  /** @type {(z: number[]) => void} */
  const move = (z) => w.change({ z: z.map((v) => +Math.max(-limit, Math.min(limit, v)).toFixed(3)) });
  const plane = makePlane(w, codes, limit, move);
  const showReadouts = makeReadouts(w, codes, network);
  const sliders = [0, 1].map((k) => {
    const range = { min: -limit, max: limit, step: 0.01 };
    const other = (/** @type {number} */ v) => (k ? [w.get("z")[0], v] : [v, w.get("z")[1]]);
    return labelledSlider(`${w.id}-z${k + 1}`, `*z*_${k + 1}_`, range, (v) => move(other(v)));
  });
  w.controls.append(element("div.dgm-pair", ...sliders.map(({ node }) => node)));
  addLegend(w, codes.classes);
  w.reset.addEventListener("click", () => w.change(w.first));
  const speak = throttled(w.status);

  function draw() {
    /** @type {number[]} */
    const z = w.get("z");
    const shown = z.map((v) => v.toFixed(2).replace("-", "\u2212"));
    plane.show(z);
    for (const [k, slider] of sliders.entries()) slider.show(z[k], shown[k]);
    speak(showReadouts(z, shown.join(", ")));
  }
  return w.start("dgm:latent-space", draw, {
    resized(width) {
      plane.layout(width);
      w.ask();
    },
  });
}

export default { render };
