// The latent space: a pad over two latent dimensions, decoded where the reader points.

import { linear } from "../charts.js";
import { formOf, readoutList, sliderOf } from "../form.js";
import * as frame from "../frame.js";
import { element, italic, MARKS, rich, shape } from "../frame.js";
import { bufferOf, decode, floatsOf, loadNetworks } from "../models/nn.js";
import { onArrows, onDrag } from "../pads.js";
import { place, resize, short, words } from "../plot.js";
import { defineWidget } from "../widget.js";

// Ten classes: a colour and a mark each, so that no class stands out by its colour alone.
const CLASS_MARKS = ["circle", "square", "triangle", "diamond", "wedge"];
const NEIGHBOURS = 15;
const [LEFT, TOP] = [40, 6];

/**
 * Codes in pairs, and the class of each.
 * @typedef {{ means: Float32Array, labels: Uint8Array, classes: string[] }} Codes
 */

const markOf = (/** @type {number} */ c) => MARKS[CLASS_MARKS[c % 5]];

function pushApart(/** @type {number[][]} */ places, /** @type {number} */ gap) {
  for (let round = 0; round < 60; round++) {
    for (const [i, p] of places.entries()) {
      for (const q of places.slice(i + 1)) {
        const apart = [q[0] - p[0] || 0.1, q[1] - p[1]];
        const push = (gap - Math.hypot(...apart)) / 4 / Math.hypot(...apart);
        for (const k of push > 0 ? [0, 1] : []) {
          p[k] -= push * apart[k];
          q[k] += push * apart[k];
        }
      }
    }
  }
}

// Of the nearest codes the most frequent class, and how frequent it is.
function neighbours(/** @type {Codes} */ { means, labels, classes }, /** @type {number[]} */ [a, b]) {
  const far = Array.from(labels, (c, n) => [(means[2 * n] - a) ** 2 + (means[2 * n + 1] - b) ** 2, c]);
  const near = far.sort((p, q) => p[0] - q[0]).slice(0, NEIGHBOURS);
  const votes = classes.map((_, c) => near.filter((code) => code[1] === c).length);
  const best = votes.indexOf(Math.max(...votes));
  return `${classes[best]}, ${votes[best]} of ${near.length}`;
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
  const [ground, names, cross] = [shape("g"), shape("g"), shape("path.dgm-ls-cross")];
  const ring = shape("circle.dgm-ls-ring", { r: 8 });
  svg.append(ground, cross, names, ring);
  w.picture.append(svg);
  let size = 0;
  /** @type {Scale1D[]} */
  let [px, py] = [Number, Number];
  const points = classes.map((_, c) =>
    [...labels.keys()].filter((n) => labels[n] === c).map((n) => [means[2 * n], means[2 * n + 1]]),
  );
  const median = (/** @type {number[]} */ values) => values.sort((a, b) => a - b)[values.length >> 1];

  const axisName = (/** @type {string} */ sub, /** @type {Attributes} */ at) =>
    words(0, 0, [italic("z"), shape("tspan", { dy: 3, "font-size": "9" }, sub)], {
      class: "dgm-strong",
      ...at,
    });

  /** @type {Plane["layout"]} */
  function layout(width) {
    size = Math.min(width - LEFT - 10, 470);
    const end = TOP + size;
    [px, py] = [linear([-limit, limit], [LEFT, LEFT + size]), linear([-limit, limit], [end, TOP])];
    resize(svg, width, end + 40);
    const axes = frame
      .ticks(-limit, limit, 7)
      .flatMap((v) => [
        words(px(v), end + 16, short(v, 3)),
        words(LEFT - 7, py(v) + 4, short(v, 3), { "text-anchor": "end" }),
        shape("path.dgm-axis", { d: `M${px(v)} ${end}v4M${LEFT} ${py(v)}h-4` }),
      ]);
    const crowd = points.map((own, c) => {
      const d = own.map(([a, b]) => markOf(c)(+px(a).toFixed(1), +py(b).toFixed(1), 2)).join("");
      return shape("path", { class: `dgm-ls-class dgm-c${c}`, d });
    });
    const centre = { cx: px(0), cy: py(0) };
    ground.replaceChildren(
      shape("rect.dgm-ls-ground", { x: LEFT, y: TOP, width: size, height: size }),
      ...axes,
      axisName("1", { x: px(0), y: end + 34 }),
      axisName("2", { transform: `translate(11 ${py(0)}) rotate(-90)` }),
      ...crowd,
      ...[1, 2, 3].map((r) => shape("circle.dgm-ls-prior", { ...centre, r: px(r) - px(0) })),
    );
    const places = points.map((own) => [px(median(own.map(([a]) => a))), py(median(own.map(([, b]) => b)))]);
    pushApart(places, 19);
    const label = { class: "dgm-halo dgm-strong dgm-ls-name" };
    names.replaceChildren(...places.map(([x, y], c) => words(x, y + 6, classes[c], label)));
  }
  onDrag(
    svg,
    () => [ring],
    (x, y) => move([(2 * limit * (x - LEFT)) / size - limit, limit - (2 * limit * (y - TOP)) / size]),
  );
  onArrows(svg, (x, y, large) => {
    const step = (large ? 0.1 : 0.02) * limit;
    move([w.get("z")[0] + step * x, w.get("z")[1] + step * y]);
  });
  return {
    layout,
    show([a, b]) {
      const [x, y] = [px(a), py(b)];
      place(ring, { cx: x, cy: y });
      place(cross, { d: `M${x} ${TOP}V${TOP + size}M${LEFT} ${y}H${LEFT + size}` });
    },
  };
}
/** @typedef {{ layout(width: number): void, show(z: number[]): void }} Plane */

function makeLegend(/** @type {string[]} */ classes) {
  const marks = classes.map((_, c) =>
    shape("path", { class: `dgm-ls-class dgm-c${c}`, d: markOf(c)(6, 6, 3.6) }),
  );
  const prior = shape("circle.dgm-ls-prior", { cx: 6, cy: 6, r: 5 });
  const texts = [...classes, "prior, 1 to 3 s.d."];
  return [...marks, prior].map((part, i) => {
    return element("span", shape("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, part), texts[i]);
  });
}

// The decoded image and what the code is near to.
/** @type {(w: Widget, codes: Codes, network: Network) => (z: number[], shown: string) => string} */
function makeReadouts(w, codes, network) {
  const [height, width] = w.get("image_shape");
  const [tall, wide] = [height, width].map((side) => side * Math.max(1, Math.round(400 / width)));
  const canvas = element("canvas.dgm-ls-image", { role: "img", width: wide, height: tall });
  const context = frame.penOf(canvas, true);
  const paint = frame.imagePainter(width, height);
  const caption = rich("The decoder\u2019s image *f*\u2009(*z*), made in this page.");
  w.side.append(element("figure", canvas, element("figcaption", ...caption)));
  const fill = readoutList(w.side, ["Code *z*", "log *p*\u2009(*z*)", "Nearby"]);
  return (z, shown) => {
    paint(context, decode(network.layers, Float32Array.from(z)), 0, 0, wide, tall);
    const near = neighbours(codes, z);
    const logPrior = -0.5 * (z[0] ** 2 + z[1] ** 2) - Math.log(2 * Math.PI);
    fill(`(${shown})`, `${logPrior.toFixed(2).replace("-", "\u2212")} nats, prior`, `${near} codes`);
    canvas.setAttribute("aria-label", `Decoded image at z = (${shown})`);
    return `z ${shown}; nearest codes: ${near}`;
  };
}

export default defineWidget(
  {
    measure: "dgm:latent-space",
    names: ["z"],
    kind: "dgm-plane",
    hint: "drag across the plane, or use the arrow keys: one class turns into the next.",
    pause: 300,
    load: loadNetworks,
  },
  (w, networks) => {
    const network = networks[w.get("model")];
    if (network.error !== null) w.root.dataset.goldenError = network.error.toFixed(6);
    const means = floatsOf(w.get("means"));
    const codes = { means, labels: new Uint8Array(bufferOf(w.get("labels"))), classes: w.get("classes") };
    const limit = Math.max(3, Math.ceil(2 * 1.05 * Math.max(...means.map(Math.abs))) / 2);
    const move = (/** @type {number[]} */ z) =>
      w.change({ z: z.map((v) => +Math.max(-limit, Math.min(limit, v)).toFixed(3)) });
    const { layout, show } = makePlane(w, codes, limit, move);
    const showReadouts = makeReadouts(w, codes, network);
    const form = formOf(w);
    const range = { min: -limit, max: limit, step: 0.01 };
    const sliders = [0, 1].map((k) => {
      const set = (/** @type {number} */ v) => move(w.get("z").with(k, v));
      return sliderOf(form, `z${k + 1}`, `*z*_${k + 1}_`, range, { get: () => w.get("z")[k], set });
    });
    w.controls.append(element("div.dgm-pair", ...sliders));
    w.controls.append(element("div.dgm-row.dgm-ls-legend", ...makeLegend(codes.classes), form.reset()));
    function draw() {
      /** @type {number[]} */
      const z = w.get("z");
      show(z);
      form.show();
      w.speak(showReadouts(z, z.map((v) => v.toFixed(2).replace("-", "\u2212")).join(", ")));
    }
    return { draw, layout };
  },
);
