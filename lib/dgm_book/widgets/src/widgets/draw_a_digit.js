// Draw a digit: the reader's drawing becomes an image, and the page anneals chains through its decoder on it.

import "../styles/draw_a_digit.css";
import {
  buildFrame,
  calm,
  element,
  imagePainter,
  italic,
  MARKS,
  number,
  onceAFrame,
  onWidth,
  readout,
  rich,
  shape,
  throttled,
  ticks,
  withError,
} from "../frame.js";
import { work as annealing } from "../models/annealing.js";
import { inked, PEN } from "../models/drawing.js";
import { decode, loadNetworks } from "../models/nn.js";
import { startHost } from "../worker.js";
import script from "../workers/annealing.js?script";

const SIDE = 336; // of the pad, in its own pixels
const TILES = 9;
const PAUSE = 600; // ms after the pen is lifted, before the annealing starts

// The error is what the scatter of the chains gives.
function gapInWords({ lower, upper, error }) {
  const gap = upper - lower;
  return (
    `${withError(gap, error)} nats (one standard ` +
    `error)${Math.abs(gap) < 2 * error ? ", not to be " + "told from 0" : ""}`
  );
}

async function render({ model, el }) {
  const [height, width] = model.get("image_shape");
  const betas = model.get("betas");
  const presets = model.get("presets");
  const network = (await loadNetworks(model))[model.get("model")];
  // Copies, since a view would take all the models of the page along to the worker.
  const layers = network.layers.map(({ rows, columns, activation, weight, bias }) => ({
    rows,
    columns,
    activation,
    weight: weight.slice(),
    bias: bias.slice(),
  }));
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint:
      "draw a seven, then give it a stroke that no seven has. What does the model leave out, and what " +
      "does that cost?",
  });
  frame.root.classList.add("dgm-draw");
  if (network.error !== null) frame.root.dataset.goldenError = network.error.toFixed(6);
  const first = Object.fromEntries(
    ["drawing", "seed", "temperatures"].map((name) => [name, model.get(name)]),
  );
  const lastBeta = betas.at(-1);
  let [strokes, open, pen, keyed] = [first.drawing, null, [0.5, 0.5], false];
  let [points, check, own, seconds, progress, stop, timer, note] = [[], null, null, null, 0, null, 0, ""];
  let [moved, wet] = [0, true];

  // The pad

  const pad = element("canvas", {
    role: "application",
    "aria-roledescription": "drawing pad",
    tabindex: 0,
    width: SIDE,
    height: SIDE,
    "aria-label":
      "Drawing pad. Arrow keys move the pen, with Shift in larger steps; Space puts it down and lifts " +
      "it; Backspace takes the last stroke away; Enter starts.",
  });
  const paper = pad.getContext("2d", { willReadFrequently: true });
  const keys = element("figcaption", "Draw with mouse or finger. Keys: arrows, Space for the pen.");
  const chart = shape("svg", {
    role: "img",
    "aria-label": "Rate against distortion of the drawing: nothing yet",
  });
  const holder = element("div", chart);
  frame.picture.append(
    element("div.dgm-draw-top", element("figure", element("div.dgm-draw-box", pad), keys), holder),
  );

  // Beneath: what the page sees, and reconstructions from the lowest beta to the highest.

  const paint = imagePainter(width, height);
  const zoom = Math.max(1, Math.round(112 / width));
  const tile = (label) => {
    const canvas = element("canvas", {
      role: "img",
      "aria-label": label,
      width: width * zoom,
      height: height * zoom,
    });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const caption = element("figcaption");
    const show = (values) =>
      values
        ? paint(context, values, 0, 0, canvas.width, canvas.height)
        : context.clearRect(0, 0, canvas.width, canvas.height);
    return {
      canvas,
      caption,
      show,
      node: element("figure", element("div.dgm-draw-tile", canvas), caption),
      holds: null,
    };
  };
  const seen = tile("The drawing as the model sees it");
  seen.caption.append("the image");
  const count = Math.min(TILES, betas.length);
  const film = Array.from({ length: count }, (_, i) => {
    const index = Math.round((i * (betas.length - 1)) / (count - 1));
    const made = tile(`Reconstruction at beta ${number(betas[index], 1)}: not yet`);
    made.caption.append(...rich(`*\u03b2* = ${number(betas[index], 1)}`));
    return { ...made, index };
  });
  frame.picture.append(element("div.dgm-draw-strip", seen.node, ...film.map((t) => t.node)));
  const legend =
    "Dots: *R* and *D* at each *\u03b2* of one annealing. Line: the curve that its log *Z* alone draws. " +
    "Pictures: a code of that *\u03b2*, decoded.";
  frame.picture.append(element("p.dgm-caption.dgm-draw-legend", ...rich(legend)));

  // Controls

  const button = (text, act) => {
    const node = element("button.dgm-reset", { type: "button" }, text);
    node.addEventListener("click", () => {
      act();
      noted();
    });
    return node;
  };
  const go = button("Anneal", () => (stop ? halt("Stopped.") : begin()));
  go.classList.add("dgm-draw-go");
  const another = button("New seed", () => {
    change({ seed: (model.get("seed") + 1) % 10000 });
    begin();
  });
  const clear = button("Clear", () => change({ drawing: [] }));
  frame.reset.addEventListener("click", () => {
    change(first);
    forget();
    noted();
  });
  const select = (name, words, options, act) => {
    const input = element(
      "select",
      { id: `${frame.id}-${name}` },
      ...options.map(([value, text]) => element("option", { value }, text)),
    );
    input.addEventListener("change", () => {
      act(input.value);
      noted();
    });
    return {
      input,
      node: element("label.dgm-draw-pick", { for: input.id }, element("span", words), input),
    };
  };
  const preset = select(
    "preset",
    "Drawing",
    [["", "your own"], ...Object.keys(presets).map((name) => [name, name])],
    (name) => {
      change({ drawing: presets[name] ?? [] });
      if (name) begin();
    },
  );
  const work = select(
    "work",
    "Temperatures",
    model.get("choices").map((n) => [n, `${n}`]),
    (n) => {
      change({ temperatures: Number(n) });
      begin();
    },
  );
  const ownTile = tile("An image that the model has made: not yet");
  const verdict = element("p.dgm-caption");
  const bar = element("progress", { max: 1, value: 0, "aria-label": "How much of the annealing is done" });
  const words = element("p.dgm-note");
  frame.controls.append(
    element("div.dgm-row", go, another, clear, frame.reset),
    element("div", bar, words),
    element("div.dgm-pair", preset.node, work.node),
    element("div.dgm-draw-check", ownTile.node, verdict),
  );

  // Read-outs

  const list = element("dl");
  const outs = {
    beta: readout(list, "Price *\u03b2*"),
    rate: readout(list, "Rate *R*"),
    distortion: readout(list, "Distortion *D*"),
    ess: readout(list, "Chains"),
  };
  const cell = () => element("td", "\u2013");
  const cells = { lower: cell(), upper: cell(), ownLower: cell(), ownUpper: cell() };
  const row = (name, ...values) => element("tr", element("th", { scope: "row" }, name), ...values);
  const heads = [
    element("th", { scope: "col" }, ...rich(`log *Z* at *\u03b2* = ${number(lastBeta, 3)}, nats`)),
    element("th", { scope: "col" }, "lower bound"),
    element("th", { scope: "col" }, "upper bound"),
  ];
  const table = element(
    "table",
    element("thead", element("tr", ...heads)),
    element(
      "tbody",
      row("your drawing", cells.lower, cells.upper),
      row("the model\u2019s image", cells.ownLower, cells.ownUpper),
    ),
  );
  frame.side.append(list, table);

  // Drawing

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  const near = (v) => Math.round(1000 * Math.min(1, Math.max(0, v))) / 1000;

  function change(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  }

  // The reader has done something.
  function noted() {
    frame.root.dataset.moved = ++moved;
    wet = true;
    ask();
  }

  function penDown(x, y) {
    forget();
    open = [near(x), near(y)];
    noted();
  }

  function penTo(x, y) {
    if (!open || open.length + strokes.flat().length > 7900) return;
    const [px, py] = open.slice(-2);
    if (Math.hypot(x - px, y - py) < 0.004) return;
    open.push(near(x), near(y));
    noted();
  }

  function penUp() {
    if (!open) return;
    const drawn = [...strokes, open];
    open = null;
    change({ drawing: drawn });
    timer = setTimeout(begin, PAUSE);
    noted();
  }

  let finger = null;
  const place = ({ clientX, clientY }) => {
    const box = pad.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
  };
  pad.addEventListener("pointerdown", (event) => {
    if (event.button || finger !== null) return;
    finger = event.pointerId;
    keyed = false;
    pad.setPointerCapture(finger);
    penUp();
    penDown(...place(event));
  });
  pad.addEventListener("pointermove", (event) => {
    if (event.pointerId !== finger) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const step of passed.length ? passed : [event]) penTo(...place(step));
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    pad.addEventListener(name, (event) => {
      if (event.pointerId !== finger) return;
      finger = null;
      penUp();
    });
  }
  pad.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || finger !== null) return;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const known = way || [" ", "Enter", "Backspace"].includes(event.key);
    if (!known) return;
    event.preventDefault();
    keyed = true;
    if (way) {
      pen = pen.map((v, k) => near(v + (event.shiftKey ? 0.12 : 0.04) * way[k]));
      penTo(...pen);
    } else if (event.key === " ") {
      if (open) penUp();
      else penDown(...pen);
    } else if (event.key === "Enter") {
      penUp();
      begin();
    } else {
      open = null;
      change({ drawing: strokes.slice(0, -1) });
    }
    tellPen(
      `Pen ${open ? "down" : "up"}, ${Math.round(100 * pen[0])} % from the left, ${Math.round(100 * pen[1])} % from the top`,
    );
    noted();
  });
  pad.addEventListener("blur", penUp);

  function drawPad() {
    if (!wet) return;
    wet = false;
    paper.fillStyle = "#000";
    paper.fillRect(0, 0, SIDE, SIDE);
    paper.lineCap = paper.lineJoin = "round";
    paper.lineWidth = 2 * PEN * SIDE;
    paper.strokeStyle = "#fff";
    for (const stroke of open ? [...strokes, open] : strokes) {
      paper.beginPath();
      paper.moveTo(SIDE * stroke[0], SIDE * stroke[1]);
      for (let k = 0; k < stroke.length; k += 2) paper.lineTo(SIDE * stroke[k], SIDE * stroke[k + 1]);
      paper.stroke();
    }
    if (!keyed) return;
    // The pen is seen on ink and on paper alike.
    for (const [colour, radius, line] of [
      ["#000", 15, 6],
      ["#fff", 15, 2.5],
    ]) {
      paper.strokeStyle = colour;
      paper.lineWidth = line;
      paper.beginPath();
      paper.arc(SIDE * pen[0], SIDE * pen[1], open ? radius : radius - 6, 0, 7);
      paper.stroke();
    }
  }

  // Annealing

  function halt(because = "") {
    clearTimeout(timer);
    stop?.();
    stop = null;
    progress = 0;
    note = because;
    frame.root.dataset.run = because ? "stopped" : "idle";
    if (because) speak(because);
    ask();
  }

  // Away with what belongs to another drawing.
  function forget() {
    halt();
    [points, check, own, seconds] = [[], null, null, null];
    delete frame.root.dataset.result;
    if (Object.keys(model.get("curve")).length) change({ curve: {} });
  }

  function begin() {
    forget();
    if (!strokes.length) {
      note = "There is nothing drawn yet.";
      speak(note);
      return;
    }
    const x = inked(strokes, height, width);
    change({ pixels: new DataView(Uint8Array.from(x, (v) => Math.round(255 * v)).buffer) });
    frame.root.dataset.run = "running";
    note = "Tuning the step sizes.";
    speak("Annealing.");
    anneal({
      layers,
      x,
      betas,
      seed: model.get("seed"),
      temperatures: model.get("temperatures"),
      chains: model.get("chains"),
      leapfrogs: model.get("leapfrogs"),
    });
    ask();
  }

  function anneal(request) {
    let host = startHost(script, annealing, receive, (own) => {
      host = own;
      host.send(request);
    });
    host.send(request);
    stop = () => host.stop();
  }

  function receive(told) {
    if (told.progress !== undefined) progress = told.progress;
    else if (told.index !== undefined) points[told.index] = told;
    else finish(told);
    if (stop && points.length)
      note =
        points.length < betas.length
          ? `Annealing: \u03b2 = ${number(points.at(-1).beta, 2)}.`
          : "The same once more on an image that the model has made, upwards and downwards.";
    if (!stop || !calm() || points.length === betas.length) ask();
  }

  function finish(told) {
    stop = null;
    ({ check, seconds, picture: own } = told);
    const column = (name) => points.map((point) => point[name]);
    const curve = {
      beta: column("beta"),
      rate: column("rate"),
      distortion: column("distortion"),
      log_z: column("logZ"),
      ess: column("ess"),
      acceptance: column("acceptance"),
      codes: column("code"),
      seed: model.get("seed"),
      temperatures: model.get("temperatures"),
      seconds,
      check,
    };
    note = `Done in ${seconds.toFixed(1)} s: ${model.get("temperatures")} temperatures, ${model.get("chains")} chains.`;
    progress = 1;
    frame.root.dataset.run = "done";
    frame.root.dataset.result = JSON.stringify(curve);
    change({ curve });
    const { rate, distortion, logZ } = points.at(-1);
    speak(
      `${note} Rate ${number(rate)} nats, distortion ${number(distortion)}, log Z at least ${number(logZ, 5)}. On the model\u2019s own image upper minus lower bound is ${gapInWords(check)}.`,
    );
  }

  // A curve from Python, or from another view of this widget.
  function adopt() {
    const curve = model.get("curve");
    if (
      stop ||
      same(
        curve.log_z ?? [],
        points.map((point) => point.logZ),
      )
    )
      return;
    points = (curve.log_z ?? []).map((logZ, k) => ({
      index: k,
      beta: curve.beta[k],
      logZ,
      rate: curve.rate[k],
      distortion: curve.distortion[k],
      ess: curve.ess[k],
      acceptance: curve.acceptance[k],
      code: curve.codes[k],
    }));
    [check, own, seconds] = [curve.check ?? null, null, curve.seconds ?? null];
    ask();
  }

  // The chart

  const axes = shape("g");
  const opening = shape("rect");
  const line = shape("path.dgm-draw-line");
  const dots = shape("path.dgm-draw-dots");
  const latest = shape("path.dgm-draw-last");
  const empty = shape("text.dgm-strong", { "text-anchor": "middle" }, "Press Anneal, or draw.");
  chart.append(
    shape("clipPath", { id: `${frame.id}-clip` }, opening),
    axes,
    shape("g", { "clip-path": `url(#${frame.id}-clip)` }, line, dots, latest),
    empty,
  );
  const plot = { left: 42, top: 10, w: 0, h: 250, right: 0, most: 0 };
  const px = (d) => plot.left + (d / plot.right) * plot.w;
  const py = (r) => plot.top + plot.h - (r / plot.most) * plot.h;
  const attributes = (node, values) =>
    Object.entries(values).forEach(([name, value]) => node.setAttribute(name, value));

  function layout(w) {
    plot.w = w - plot.left - 10;
    plot.right = 0;
    ask();
  }

  function rule(right, most) {
    if (right === plot.right && most === plot.most) return;
    Object.assign(plot, { right, most });
    const bottom = plot.top + plot.h;
    attributes(chart, { viewBox: `0 0 ${plot.left + plot.w + 10} ${bottom + 42}`, height: bottom + 42 });
    attributes(opening, { x: plot.left, y: plot.top - 5, width: plot.w + 8, height: plot.h + 10 });
    attributes(empty, { x: plot.left + plot.w / 2, y: plot.top + plot.h / 2 });
    axes.replaceChildren();
    for (const d of ticks(0, right, plot.w / 70)) {
      axes.append(
        shape("path.dgm-grid", { d: `M${px(d)} ${plot.top}V${bottom}` }),
        shape("text", { x: px(d), y: bottom + 16, "text-anchor": "middle" }, String(+d.toPrecision(6))),
      );
    }
    for (const r of ticks(0, most, plot.h / 45)) {
      axes.append(
        shape("path.dgm-grid", { d: `M${plot.left} ${py(r)}H${plot.left + plot.w}` }),
        shape("text", { x: plot.left - 7, y: py(r) + 4, "text-anchor": "end" }, String(+r.toPrecision(6))),
      );
    }
    axes.append(shape("path.dgm-axis", { d: `M${plot.left} ${plot.top}V${bottom}H${plot.left + plot.w}` }));
    const label = (text, place) =>
      axes.append(shape("text.dgm-strong", { "text-anchor": "middle", ...place }, ...rich(text, italic)));
    label("distortion *D*, squared error", { x: plot.left + plot.w / 2, y: bottom + 36 });
    label("rate *R*, nats", { transform: `translate(11 ${plot.top + plot.h / 2}) rotate(-90)` });
  }

  // The next of 10, 12.5, 15, 20, 25, 30, 40, 50, 60, 80 times a power of ten, so that the axes rest.
  function above(v) {
    const power = 10 ** Math.floor(Math.log10(v));
    return [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((f) => f * power >= v) * power;
  }

  function drawChart() {
    const done = points.length;
    const furthest = (name) => Math.max(...points.map((point) => point[name]));
    rule(
      done ? above(1.02 * furthest("distortion")) : plot.right || (100 * width * height) / 784,
      done ? above(Math.max(1.05 * furthest("rate"), 10)) : plot.most || 25,
    );
    empty.style.display = done || stop ? "none" : "";
    const at = points.map(({ distortion, rate }) => [px(distortion), py(rate)]);
    dots.setAttribute("d", at.map(([x, y]) => MARKS.circle(x, y, 3.2)).join(""));
    latest.setAttribute("d", done ? MARKS.circle(...at.at(-1), 5.5) : "");
    // R(D) = max over beta of -log Z - beta D: its corners lie where the lines of two betas meet.
    const lines = [{ beta: 0, logZ: 0 }, ...points];
    const last = lines.at(-1);
    const meets = lines.slice(1).map(({ beta, logZ }, k) => (lines[k].logZ - logZ) / (beta - lines[k].beta));
    const corners = [plot.right, ...meets, (-last.logZ - 1.2 * plot.most) / last.beta].sort(
      (one, two) => two - one,
    );
    const path = corners.map(
      (d) =>
        `${px(d).toFixed(1)} ${py(Math.max(...lines.map(({ beta, logZ }) => -logZ - beta * d))).toFixed(1)}`,
    );
    line.setAttribute("d", done ? `M${path.join("L")}` : "");
    const told = done
      ? `${done} points, the last at distortion ${number(points.at(-1).distortion)} and rate ${number(points.at(-1).rate)} nats`
      : "nothing yet";
    chart.setAttribute("aria-label", `Rate against distortion of the drawing: ${told}`);
  }

  // Everything that is to be seen

  const show = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  function drawTiles() {
    if (seen.holds !== strokes) {
      seen.holds = strokes;
      seen.show(strokes.length ? inked(strokes, height, width) : null);
      preset.input.value = Object.keys(presets).find((name) => same(presets[name], strokes)) ?? "";
    }
    for (const t of film) {
      const point = points[t.index] ?? null;
      if (t.holds === point) continue;
      t.holds = point;
      t.show(point && decode(network.layers, point.code));
      t.canvas.setAttribute(
        "aria-label",
        `Reconstruction at beta ${number(betas[t.index], 1)}${point ? "" : ": not yet"}`,
      );
    }
    if (ownTile.holds !== own) {
      ownTile.holds = own;
      ownTile.show(own);
      ownTile.canvas.setAttribute("aria-label", `An image that the model has made${own ? "" : ": not yet"}`);
    }
  }

  function drawWords() {
    const point = points.at(-1);
    show(outs.beta, point ? `${number(point.beta)} nats per unit` : "\u2013");
    show(outs.rate, point ? `${number(point.rate)} nats` : "\u2013");
    show(outs.distortion, point ? number(point.distortion) : "\u2013");
    show(
      outs.ess,
      point
        ? `${point.ess.toFixed(1)} of ${model.get("chains")} count, ${Math.round(100 * point.acceptance)} % of moves taken`
        : "\u2013",
    );
    const nats = (v) => v.toFixed(1).replace("-", "\u2212");
    const whole = points.length === betas.length;
    show(cells.lower, whole ? nats(point.logZ) : "\u2013");
    show(cells.upper, whole ? "not known" : "\u2013");
    show(cells.ownLower, check ? nats(check.lower) : "\u2013");
    show(cells.ownUpper, check ? nats(check.upper) : "\u2013");
    show(
      verdict,
      check
        ? `An image of the model\u2019s own, ${seconds.toFixed(1)} s in all: upper minus lower bound is ${gapInWords(check)}. The upper bound starts from the code that made the image; your drawing has none.`
        : "Last comes an image of the model\u2019s own, whose log Z is bounded from both sides.",
    );
    show(words, note);
    show(go, stop ? "Stop" : "Anneal");
    bar.value = progress;
    work.input.value = model.get("temperatures");
  }

  const speak = throttled(frame.status);
  const tellPen = throttled(frame.status, 500);

  function draw() {
    drawPad();
    drawTiles();
    if (plot.w > 0) drawChart();
    drawWords();
    return false;
  }

  const ask = onceAFrame("dgm:draw-a-digit", draw);
  const redrawn = () => {
    if (same(strokes, model.get("drawing"))) return;
    strokes = model.get("drawing");
    wet = true;
    forget();
  };
  model.on("change:drawing", redrawn);
  model.on("change:curve", adopt);
  for (const name of ["seed", "temperatures"]) model.on(`change:${name}`, ask);
  frame.root.dataset.run = "idle";
  frame.root.dataset.moved = moved;
  adopt();
  ask();
  el.append(frame.root);
  const stopWidth = onWidth(holder, layout);
  return () => {
    halt();
    ask.stop();
    stopWidth();
    model.off("change:drawing", redrawn);
    model.off("change:curve", adopt);
    for (const name of ["seed", "temperatures"]) model.off(`change:${name}`, ask);
  };
}

export default { render };
