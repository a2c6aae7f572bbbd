// The latent space: a pad over two latent dimensions, decoded where the reader points.

import {
  buildFrame,
  element,
  imagePainter,
  italic,
  MARKS,
  onceAFrame,
  onWidth,
  readout,
  rich,
  shape,
  throttled,
  ticks,
} from "../frame.js";
import { bufferOf, decode, floatsOf, loadNetworks } from "../models/nn.js";

// Ten classes: a colour and a mark each, so that no class is told by its colour alone.
const CLASS_MARKS = ["circle", "square", "triangle", "diamond", "wedge"];

async function render({ model, el }) {
  const [height, width] = model.get("image_shape");
  const means = floatsOf(model.get("means"));
  const labels = new Uint8Array(bufferOf(model.get("labels")));
  const classes = model.get("classes");
  const network = (await loadNetworks(model))[model.get("model")];
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "drag across the plane, or use the arrow keys: one class turns into the next.",
  });
  if (network.error !== null) frame.root.dataset.goldenError = network.error.toFixed(6);
  const first = model.get("z");
  const limit = Math.max(3, Math.ceil(2 * 1.05 * Math.max(...means.map(Math.abs))) / 2);

  const svg = shape("svg.dgm-pad", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "plane",
    "aria-label": "Plane of codes. Arrow keys move, with Shift in larger steps.",
  });
  const axes = shape("g");
  const crowd = shape("g");
  const rings = shape("g");
  const names = shape("g");
  const cross = shape("path.dgm-ls-cross");
  const ring = shape("circle.dgm-ls-ring", { r: 8 });
  svg.append(axes, crowd, rings, cross, names, ring);
  frame.picture.append(svg);
  const plot = { left: 40, top: 6, size: 0 };
  const px = (v) => plot.left + ((v + limit) / (2 * limit)) * plot.size;
  const py = (v) => plot.top + ((limit - v) / (2 * limit)) * plot.size;

  function layout(w) {
    plot.size = Math.min(w - plot.left - 10, 470);
    const end = plot.top + plot.size;
    svg.setAttribute("viewBox", `0 0 ${w} ${end + 40}`);
    svg.setAttribute("height", end + 40);
    axes.replaceChildren(
      shape("rect.dgm-ls-ground", { x: plot.left, y: plot.top, width: plot.size, height: plot.size }),
    );
    for (const v of ticks(-limit, limit, 7)) {
      axes.append(shape("text", { x: px(v), y: end + 16, "text-anchor": "middle" }, number0(v)));
      axes.append(shape("text", { x: plot.left - 7, y: py(v) + 4, "text-anchor": "end" }, number0(v)));
      axes.append(shape("path.dgm-axis", { d: `M${px(v)} ${end}v4M${plot.left} ${py(v)}h-4` }));
    }
    rings.replaceChildren();
    for (const radius of [1, 2, 3]) {
      rings.append(
        shape("circle.dgm-ls-prior", { cx: px(0), cy: py(0), r: (radius * plot.size) / (2 * limit) }),
      );
    }
    const label = (attributes, sub) =>
      axes.append(
        shape(
          "text.dgm-strong",
          { "text-anchor": "middle", ...attributes },
          italic("z"),
          shape("tspan", { dy: 3, "font-size": "9" }, sub),
        ),
      );
    label({ x: px(0), y: end + 34 }, "1");
    label({ transform: `translate(11 ${py(0)}) rotate(-90)` }, "2");
    crowd.replaceChildren();
    names.replaceChildren();
    const places = [];
    classes.forEach((_name, c) => {
      const mine = [];
      for (let n = 0; n < labels.length; n++)
        if (labels[n] === c) mine.push([means[2 * n], means[2 * n + 1]]);
      const mark = MARKS[CLASS_MARKS[c % 5]];
      const d = mine.map(([a, b]) => mark(+px(a).toFixed(1), +py(b).toFixed(1), 2)).join("");
      crowd.append(shape("path", { class: `dgm-ls-class dgm-c${c}`, d }));
      const middle = (k) => mine.map((p) => p[k]).sort((a, b) => a - b)[mine.length >> 1];
      places.push([px(middle(0)), py(middle(1))]);
    });
    pushApart(places, 19);
    places.forEach(([x, y], c) =>
      names.append(
        shape("text.dgm-halo.dgm-strong.dgm-ls-name", { x, y: y + 6, "text-anchor": "middle" }, classes[c]),
      ),
    );
    ask();
  }

  function pushApart(places, gap) {
    for (let round = 0; round < 60; round++) {
      places.forEach((p, i) => {
        for (const q of places.slice(i + 1)) {
          const [dx, dy] = [q[0] - p[0] || 0.1, q[1] - p[1]];
          const short = (gap - Math.hypot(dx, dy)) / 4 / Math.hypot(dx, dy);
          if (short <= 0) continue;
          p[0] -= short * dx;
          p[1] -= short * dy;
          q[0] += short * dx;
          q[1] += short * dy;
        }
      });
    }
  }

  const canvas = element("canvas.dgm-ls-image", {
    role: "img",
    width: width * Math.max(1, Math.round(400 / width)),
    height: height * Math.max(1, Math.round(400 / width)),
  });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const paint = imagePainter(width, height);
  const caption = element(
    "figcaption",
    ...rich("The decoder\u2019s image *f*\u2009(*z*), made in this page."),
  );
  const list = element("dl");
  const outs = {
    z: readout(list, "Code *z*"),
    prior: readout(list, "log *p*\u2009(*z*)"),
    near: readout(list, "Nearby"),
  };
  frame.side.append(element("figure", canvas, caption), list);

  const pair = element("div.dgm-pair");
  frame.controls.append(pair);
  const sliders = ["1", "2"].map((sub, k) => {
    const input = element("input", {
      type: "range",
      min: -limit,
      max: limit,
      step: 0.01,
      id: `${frame.id}-z${sub}`,
    });
    const value = element("output", { for: input.id });
    const words = element(
      "label",
      { for: input.id },
      element("span", element("i", "z"), element("sub", sub)),
      value,
    );
    input.addEventListener("input", () =>
      move(k ? [model.get("z")[0], Number(input.value)] : [Number(input.value), model.get("z")[1]]),
    );
    pair.append(element("div.dgm-slider", words, input));
    return { input, value };
  });
  const legend = classes.map((name, c) => {
    const sign = shape(
      "svg",
      { viewBox: "0 0 12 12", "aria-hidden": "true" },
      shape("path", { class: `dgm-ls-class dgm-c${c}`, d: MARKS[CLASS_MARKS[c % 5]](6, 6, 3.6) }),
    );
    return element("span", sign, name);
  });
  const sign = shape(
    "svg",
    { viewBox: "0 0 12 12", "aria-hidden": "true" },
    shape("circle.dgm-ls-prior", { cx: 6, cy: 6, r: 5 }),
  );
  legend.push(element("span", sign, "prior, 1 to 3 s.d."));
  frame.controls.append(element("div.dgm-row.dgm-ls-legend", ...legend, frame.reset));
  frame.reset.addEventListener("click", () => move(first));

  function number0(v) {
    return String(+v.toPrecision(3)).replace("-", "\u2212");
  }

  function move(z) {
    model.set(
      "z",
      z.map((v) => +Math.max(-limit, Math.min(limit, v)).toFixed(3)),
    );
    model.save_changes();
    ask();
  }

  const NEIGHBOURS = 15;
  function neighbours([a, b]) {
    const far = Array.from(labels, (c, n) => [(means[2 * n] - a) ** 2 + (means[2 * n + 1] - b) ** 2, c]);
    far.sort((p, q) => p[0] - q[0]);
    const votes = new Array(classes.length).fill(0);
    const near = far.slice(0, NEIGHBOURS);
    for (const [, c] of near) votes[c]++;
    const best = votes.indexOf(Math.max(...votes));
    return { name: classes[best], share: `${votes[best]} of ${near.length}` };
  }

  const speak = throttled(frame.status);

  function draw() {
    const z = model.get("z");
    paint(context, decode(network.layers, z), 0, 0, canvas.width, canvas.height);
    const [x, y] = [px(z[0]), py(z[1])];
    ring.setAttribute("cx", x);
    ring.setAttribute("cy", y);
    cross.setAttribute(
      "d",
      `M${x} ${plot.top}V${plot.top + plot.size}M${plot.left} ${y}H${plot.left + plot.size}`,
    );
    const near = neighbours(z);
    const shown = z.map((v) => v.toFixed(2).replace("-", "\u2212"));
    outs.z.textContent = `(${shown.join(", ")})`;
    outs.prior.textContent = `${(-0.5 * (z[0] ** 2 + z[1] ** 2) - Math.log(2 * Math.PI)).toFixed(2).replace("-", "\u2212")} nats, prior`;
    outs.near.textContent = `${near.name}, ${near.share} codes`;
    sliders.forEach(({ input, value }, k) => {
      input.value = z[k];
      value.textContent = shown[k];
    });
    canvas.setAttribute("aria-label", `Decoded image at z = (${shown.join(", ")})`);
    speak(`z ${shown.join(", ")}; nearest codes: ${near.name}, ${near.share}`);
    return false;
  }

  const ask = onceAFrame("dgm:latent-space", draw);
  const point = (event) => {
    if (event.type === "pointerdown") svg.setPointerCapture(event.pointerId);
    else if (!event.buttons) return;
    const box = svg.getBoundingClientRect();
    const share = (v, start) => (2 * limit * (v - start)) / plot.size - limit;
    move([share(event.clientX - box.left, plot.left), -share(event.clientY - box.top, plot.top)]);
  };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const step = (event.shiftKey ? 0.1 : 0.02) * limit;
    move(model.get("z").map((v, k) => v + step * way[k]));
  });
  model.on("change:z", ask);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, layout);
  return () => {
    ask.stop();
    stopWidth();
    model.off("change:z", ask);
  };
}

export default { render };
