// The GAN playground: two small GANs train side by side in the page, one without BRE and one with it.

import "../styles/gan.css";
import { buildFrame, element, MARKS, onceAFrame, onWidth, rich, shape, throttled, ticks } from "../frame.js";
import { ganHost } from "../models/gan_trainer.js";
import { startHost } from "../worker.js";
import script from "../workers/gan.js?script";

const RATES = [
  [0.002, "0.002, normal"],
  [0.02, "0.02, aggressive"],
];
const WIDTHS = [10, 16, 24];
const SPEEDS = [1, 5, 20, 100];
const LAYERS = [
  [-1, "all four layers"],
  [1, "layer 2, regularised"],
  [2, "layer 3"],
  [3, "layer 4"],
];
const SETTINGS = ["target", "seed", "width", "weight", "margin", "rate", "decay"];
const BATCH = 128;
const SHOWN = 400;
const ARROWS = 40;
const BINS = 250; // of the loss curves

async function render({ model, el }) {
  const targets = model.get("targets");
  const steps = model.get("steps");
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint:
      "press Play and compare how the two discriminators cut the plane; then the aggressive learning " +
      "rate, with another seed.",
  });
  frame.root.classList.add("dgm-gan");
  const first = Object.fromEntries(SETTINGS.map((name) => [name, model.get(name)]));
  const [usualSpeed, usualLayer] = [20, -1];
  let [shot, busy, playing, inView, speed, layer, host] = [
    null,
    false,
    false,
    true,
    usualSpeed,
    usualLayer,
    null,
  ];
  let [generation, asked, owed, restart] = [0, 0, 0, true];
  let [losses, measured] = [[], 0];
  const target = () => targets.find((t) => t.name === model.get("target"));
  const limit = () => 1.3 * Math.max(...target().centres.flat().map(Math.abs), 0.5) + 3 * target().sigma;

  // The two panels

  const panels = [0, 1].map((p) => {
    const sign = (d, name = "dgm-gan-sign") =>
      shape("svg", { class: name, viewBox: "0 0 12 12", "aria-hidden": "true" }, shape("path", { d }));
    const words = element("span", p ? "With BRE" : "Without BRE");
    const head = element("p.dgm-caption", sign(p ? MARKS.circle(6, 6, 4) : MARKS.triangle(6, 5.5, 4)), words);
    const canvas = () => element("canvas", { role: "img" });
    const [plane, curves, pairs] = [canvas(), canvas(), canvas()];
    const note = element("p.dgm-note");
    const again = element("button.dgm-reset", { type: "button", hidden: "" }, "Restart");
    again.addEventListener("click", begin);
    const say = element("div.dgm-gan-say", { hidden: "" }, note, again);
    const node = element(
      "div",
      {
        class: p ? "dgm-panel" : "dgm-panel dgm-gan-without",
        role: "group",
        "aria-label": p ? "With BRE" : "Without BRE",
      },
      head,
      element("div.dgm-gan-plane", plane, say),
      curves,
      pairs,
    );
    return { node, words, plane, curves, pairs, say, note, again };
  });
  const buttons = element("div.dgm-row.dgm-gan-buttons");
  frame.picture.append(buttons, ...panels.map((p) => p.node));

  // The controls

  const button = (text, act) => {
    const node = element("button.dgm-reset", { type: "button" }, text);
    node.addEventListener("click", act);
    return node;
  };
  const play = button("Play", () => {
    if (shot && (shot.step >= steps || over())) begin();
    playing = !playing;
    pump();
    ask();
  });
  play.classList.add("dgm-gan-play");
  const [one, many] = [1, 100].map((n) =>
    button(n > 1 ? `${n} steps` : "1 step", () => {
      playing = false;
      owed = Math.min(owed + n, steps);
      pump();
      ask();
    }),
  );
  frame.reset.addEventListener("click", () => {
    playing = false;
    [speed, layer] = [usualSpeed, usualLayer];
    change(first);
    begin();
  });
  const counter = element("span.dgm-gan-count");
  buttons.append(play, one, many, button("Restart", begin), counter);

  const sliders = [
    ["weight", "Weight of BRE, *w*", 2, 0.05],
    ["margin", "Margin, *c*", 3, 0.05],
  ].map(([name, words, max, step]) => {
    const input = element("input", { type: "range", min: 0, max, step, id: `${frame.id}-${name}` });
    const value = element("output", { for: input.id });
    input.addEventListener("input", () => change({ [name]: Number(input.value) }));
    return {
      name,
      input,
      value,
      node: element(
        "div.dgm-slider",
        element("label", { for: input.id }, element("span", ...rich(words)), value),
        input,
      ),
    };
  });
  frame.controls.append(element("div.dgm-pair", ...sliders.map((s) => s.node)));

  const select = (name, words, options, act) => {
    const input = element(
      "select",
      { id: `${frame.id}-${name}` },
      ...options.map(([value, text]) => element("option", { value }, text)),
    );
    input.addEventListener("change", () => act(input.value));
    return {
      name,
      input,
      node: element("label.dgm-gan-pick", { for: input.id }, element("span", words), input),
    };
  };
  const withOwn = (options, own) =>
    options.some(([v]) => v === own) ? options : [...options, [own, String(own)]];
  const picks = [
    select(
      "target",
      "Target",
      targets.map((t) => [t.name, t.label]),
      (v) => change({ target: v }),
    ),
    select("rate", "Learning rate", withOwn(RATES, first.rate), (v) => change({ rate: Number(v) })),
    select(
      "width",
      "Hidden units a layer",
      withOwn(
        WIDTHS.map((w) => [w, String(w)]),
        first.width,
      ),
      (v) => change({ width: Number(v) }),
    ),
    select("layer", "Cells of", LAYERS, (v) => {
      layer = Number(v);
      pump(true);
    }),
    select(
      "speed",
      "Steps a frame",
      SPEEDS.map((s) => [s, String(s)]),
      (v) => (speed = Number(v)),
    ),
  ];
  const seed = element("input", {
    type: "number",
    min: 0,
    max: 9999,
    step: 1,
    id: `${frame.id}-seed`,
    inputmode: "numeric",
  });
  seed.addEventListener("change", () =>
    change({ seed: Math.max(0, Math.min(9999, Math.round(Number(seed.value) || 0))) }),
  );
  const decay = element("input", { type: "checkbox", id: `${frame.id}-decay` });
  decay.addEventListener("change", () => change({ decay: decay.checked }));
  frame.controls.append(
    element(
      "div.dgm-gan-picks",
      ...picks.map((s) => s.node),
      element("label.dgm-gan-pick", { for: seed.id }, element("span", "Seed of both"), seed),
    ),
    element(
      "div.dgm-row",
      element("label", { for: decay.id }, decay, element("span", ...rich("*w* falls to zero over the run"))),
      frame.reset,
    ),
  );

  // The read-outs

  const ROWS = [
    ["Sign patterns under the fakes", (s) => s.patterns],
    ["Patterns in the whole square", (s) => s.pieces],
    ["Spread of gradients, 0: all parallel", (s) => s.spread.toFixed(2)],
    ["Modes reached", (s) => `${s.modes} / ${target().centres.length}`],
    ["Fakes near a mode", (s) => `${Math.round(100 * s.quality)}\u2009%`],
    ["ME, layer 2", (s) => s.marginalEntropy.toFixed(3)],
    ["AC, layer 2", (s) => s.activationCorrelation.toFixed(3)],
  ];
  const rows = ROWS.map(([words, value]) => ({
    value,
    row: element("tr", element("th", { scope: "row" }, words), element("td"), element("td")),
  }));
  const header = element(
    "tr",
    element("td"),
    element("th", { scope: "col" }, "without"),
    element("th", { scope: "col" }, "with"),
  );
  const noteBelow = element("p.dgm-note");
  frame.side.append(
    element("table.dgm-gan-table", element("thead", header), element("tbody", ...rows.map((r) => r.row))),
    noteBelow,
  );
  const legend =
    "Grey: data, a ring of three standard deviations about each mode. Arrows: where the logit of D " +
    "rises at 40 of the fakes. A sign pattern has one tone; of very many, some share theirs.";
  frame.side.append(element("p.dgm-caption", legend));

  // Training

  function over() {
    return shot.panels.every((p) => p.stopped);
  }

  function change(values) {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  }

  // Another target, seed or width begins a new run; whatever else is chosen holds from the next step on.
  const run = () => [model.get("target"), model.get("seed"), model.get("width")].join();
  let [begun, judged] = ["", null];
  function changed() {
    if (run() !== begun) return begin();
    ask();
    if (!playing && model.get("margin") !== judged) pump(true);
  }

  function begin() {
    begun = run();
    generation++;
    restart = true;
    owed = 0;
    losses = [0, 1].map(() => ({
      d: new Float64Array(BINS),
      g: new Float64Array(BINS),
      n: new Uint16Array(BINS),
    }));
    pump(true);
  }

  let look = false;
  // Sends the next job as soon as the last one is answered; `again` asks for a picture without a step.
  function pump(again = false) {
    look ||= again;
    if (busy || !host) return;
    const moving = playing && inView && !document.hidden;
    if (!restart && !owed && !moving && !look) return;
    const { centres, sigma } = target();
    const settings = {
      w: model.get("weight"),
      margin: model.get("margin"),
      rate: model.get("rate"),
      decay: model.get("decay"),
    };
    const count = owed || (moving ? speed : 0);
    const sizes = {
      seed: model.get("seed"),
      width: model.get("width"),
      batch: BATCH,
      steps,
      limit: limit(),
      shown: SHOWN,
      arrows: ARROWS,
    };
    busy = true;
    asked = generation;
    judged = settings.margin;
    host.send({
      begin: restart ? { centres, sigma, ...sizes } : null,
      count: restart ? 0 : count,
      settings,
      layer,
    });
    if (!restart) owed = 0;
    restart = look = false;
  }

  function receive(answer) {
    busy = false;
    if (asked === generation) {
      shot = answer;
      answer.panels.forEach(({ trace }, p) => {
        const { d, g, n } = losses[p];
        for (let i = 0; i < trace.length; i += 3) {
          const bin = Math.min(BINS - 1, Math.floor((BINS * (trace[i] - 1)) / steps));
          d[bin] += trace[i + 1];
          g[bin] += trace[i + 2];
          n[bin]++;
        }
      });
      if (steps - shot.step <= 0 || over()) playing = false;
      measured += answer.times.length;
      if (measured > 20000) {
        performance.clearMeasures("dgm-step:gan");
        measured = 0;
      }
      for (const duration of answer.times)
        performance.measure("dgm-step:gan", { start: performance.now() - duration, duration });
      if (!playing) ask();
      else drawSoon();
    } else pump(true);
  }

  // Drawing

  let theme = null;
  function colours() {
    const style = getComputedStyle(frame.root);
    const pen = document.createElement("canvas").getContext("2d");
    const named = (name) => {
      pen.fillStyle = style.getPropertyValue(name).trim();
      return pen.fillStyle;
    };
    const ink = named("--dgm-ink");
    const dark = parseInt(ink.slice(1, 3), 16) > 128;
    const tones = Array.from({ length: 96 }, (_, i) => {
      const [hue, deep] = [(i * 137.5) % 360, (i * 61) % 96];
      return dark ? `hsl(${hue} 26% ${13 + deep / 8}%)` : `hsl(${hue} 42% ${87 + deep / 11}%)`;
    });
    return {
      ink,
      dark,
      tones,
      soft: named("--dgm-soft"),
      edge: named("--dgm-edge"),
      paper: named("--dgm-paper"),
      font: style.fontFamily,
      model: [dark ? "#f0b429" : "#c77700", named("--dgm-model")],
      data: dark ? "#9a9a9a" : "#6f6f6f",
    };
  }

  // A pen whose units are CSS pixels.
  function penOf(canvas, height) {
    const width = Math.floor(canvas.clientWidth);
    const dense = Math.min(2, devicePixelRatio || 1);
    const tall = height ?? width;
    if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(tall * dense)) {
      canvas.width = Math.round(width * dense);
      canvas.height = Math.round(tall * dense);
      canvas.style.aspectRatio = `${width} / ${tall}`;
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, width, tall);
    pen.lineJoin = "round";
    pen.font = `11px ${theme.font}`;
    return { pen, width };
  }

  function drawPlane(p) {
    const { plane } = panels[p];
    const { pen, width } = penOf(plane);
    const seen = shot.panels[p];
    const reach = limit();
    const at = (v) => ((v + reach) / (2 * reach)) * width;
    const up = (v) => ((reach - v) / (2 * reach)) * width;
    const groups = new Map();
    for (let i = 0, c = 0; i < seen.lengths.length; i++) {
      const tone = seen.paint[i] % theme.tones.length;
      if (!groups.has(tone)) groups.set(tone, new Path2D());
      const path = groups.get(tone);
      const end = c + seen.lengths[i];
      path.moveTo(at(seen.corners[c]), up(seen.corners[c + 1]));
      for (c += 2; c < end; c += 2) path.lineTo(at(seen.corners[c]), up(seen.corners[c + 1]));
      path.closePath();
    }
    pen.fillStyle = theme.tones[0];
    pen.fillRect(0, 0, width, width);
    pen.lineWidth = 0.7;
    for (const [tone, path] of groups) {
      pen.fillStyle = pen.strokeStyle = theme.tones[tone];
      pen.fill(path);
      // One pattern of a single layer may have many cells; their seams are no borders.
      if (layer >= 0) pen.stroke(path);
    }
    pen.fillStyle = theme.data;
    for (let k = 0; k < shot.real.length; k += 2)
      pen.fillRect(at(shot.real[k]) - 0.9, up(shot.real[k + 1]) - 0.9, 1.8, 1.8);
    pen.strokeStyle = theme.data;
    pen.lineWidth = 1;
    const { centres, sigma } = target();
    pen.beginPath();
    for (const [x, y] of centres) {
      pen.moveTo(at(x + 3 * sigma), up(y));
      pen.arc(at(x), up(y), at(3 * sigma) - at(0), 0, 2 * Math.PI);
    }
    pen.stroke();
    const marks = new Path2D();
    for (let k = 0; k < seen.fakes.length; k += 2) {
      const [x, y] = [at(seen.fakes[k]), up(seen.fakes[k + 1])];
      if (p) {
        marks.moveTo(x + 2.3, y);
        marks.arc(x, y, 2.3, 0, 7);
      } else {
        marks.moveTo(x, y - 2.9);
        marks.lineTo(x + 2.7, y + 2);
        marks.lineTo(x - 2.7, y + 2);
        marks.closePath();
      }
    }
    pen.fillStyle = theme.model[p];
    pen.fill(marks);
    drawArrows(pen, seen, at, up);
    const words = `${panels[p].words.textContent}: ${seen.patterns} sign patterns under the fakes, ${seen.modes} of ${centres.length} modes reached`;
    plane.setAttribute("aria-label", words);
  }

  // Length by the root of the slope, so that the flat parts show too.
  function drawArrows(pen, { arrows, fakes }, at, up) {
    let steepest = 0;
    for (let k = 0; k < arrows.length; k += 2)
      steepest = Math.max(steepest, Math.hypot(arrows[k], arrows[k + 1]));
    if (!steepest) return;
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1.1;
    pen.beginPath();
    for (let k = 0; k < arrows.length; k += 2) {
      const size = Math.hypot(arrows[k], arrows[k + 1]);
      if (!size) continue;
      const [dx, dy] = [arrows[k] / size, -arrows[k + 1] / size];
      const long = 7 + 17 * Math.sqrt(size / steepest);
      const [x, y] = [at(fakes[k]), up(fakes[k + 1])];
      const [tipX, tipY] = [x + long * dx, y + long * dy];
      pen.moveTo(x, y);
      pen.lineTo(tipX, tipY);
      pen.moveTo(tipX - 4.5 * dx - 2.5 * dy, tipY - 4.5 * dy + 2.5 * dx);
      pen.lineTo(tipX, tipY);
      pen.lineTo(tipX - 4.5 * dx + 2.5 * dy, tipY - 4.5 * dy - 2.5 * dx);
    }
    pen.stroke();
  }

  function drawCurves(p, top) {
    const height = 128;
    const { pen, width } = penOf(panels[p].curves, height);
    const plot = { left: 24, right: width - 16, top: 18, bottom: height - 20 };
    const px = (share) => plot.left + share * (plot.right - plot.left);
    const py = (v) => plot.bottom - (Math.min(v, top) / top) * (plot.bottom - plot.top);
    pen.fillStyle = theme.soft;
    pen.textAlign = "right";
    pen.lineWidth = 1;
    pen.strokeStyle = theme.edge;
    for (const v of ticks(0, top, 3)) {
      pen.beginPath();
      pen.moveTo(plot.left, py(v));
      pen.lineTo(plot.right, py(v));
      pen.stroke();
      pen.fillText(String(v), plot.left - 5, py(v) + 4);
    }
    pen.textAlign = "left";
    pen.fillText(`Loss in nats: D solid, G dashed${p ? "; w dotted" : ""}`, plot.left, 11);
    pen.textAlign = "center";
    for (const share of [0, 0.5, 1])
      pen.fillText((share * steps).toLocaleString("en"), Math.min(px(share), width - 20), height - 5);
    const { d, g, n } = losses[p];
    const line = (values, dash) => {
      pen.setLineDash(dash);
      pen.beginPath();
      let drawn = false;
      for (let b = 0; b < BINS; b++) {
        if (!n[b]) continue;
        const [x, y] = [px((b + 0.5) / BINS), py(values[b] / n[b])];
        if (drawn) pen.lineTo(x, y);
        else pen.moveTo(x, y);
        drawn = true;
      }
      pen.stroke();
    };
    pen.strokeStyle = theme.model[p];
    pen.lineWidth = 1.6;
    line(d, []);
    line(g, [5, 3]);
    if (p) {
      pen.strokeStyle = theme.ink;
      pen.setLineDash([1.5, 3]);
      pen.beginPath();
      pen.moveTo(px(0), py(model.get("weight")));
      pen.lineTo(px(1), py(model.get("decay") ? 0 : model.get("weight")));
      pen.stroke();
    }
    pen.setLineDash([]);
    panels[p].curves.setAttribute(
      "aria-label",
      `${panels[p].words.textContent}: losses of the two networks over ${steps} steps`,
    );
  }

  function drawPairs(p) {
    const height = 78;
    const { pen, width } = penOf(panels[p].pairs, height);
    const [left, right, bottom] = [24, width - 16, height - 18];
    const px = (g) => left + ((g + 1) / 2) * (right - left);
    const eta = Math.min(1, model.get("margin") / Math.sqrt(model.get("width")));
    pen.fillStyle = theme.edge;
    pen.globalAlpha = 0.45;
    pen.fillRect(px(-eta), 18, px(eta) - px(-eta), bottom - 18);
    pen.globalAlpha = 1;
    const { bins } = shot.panels[p];
    const most = Math.max(...bins, 1);
    pen.fillStyle = theme.model[p];
    bins.forEach((count, b) => {
      const tall = Math.sqrt(count / most) * (bottom - 24);
      const x = px(b / 20 - 1);
      pen.fillRect(Math.max(left, x - 2), bottom - tall, 4, tall);
    });
    pen.strokeStyle = theme.soft;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(left, bottom);
    pen.lineTo(right, bottom);
    for (const edge of [-eta, eta]) {
      pen.moveTo(px(edge), 18);
      pen.lineTo(px(edge), bottom);
    }
    pen.stroke();
    pen.fillStyle = theme.soft;
    pen.textAlign = "left";
    pen.fillText("Pairs of fakes: agreement G in layer 2", left, 11);
    pen.textAlign = "center";
    for (const g of [-1, 0, 1]) pen.fillText(String(g).replace("-", "\u2212"), px(g), height - 4);
    panels[p].pairs.setAttribute(
      "aria-label",
      `${panels[p].words.textContent}: how far the patterns of two fakes agree; free of charge up to ${eta.toFixed(2)}`,
    );
  }

  function showNotes() {
    shot.panels.forEach(({ stopped, collapsed }, p) => {
      const { say, note, again } = panels[p];
      const words = stopped || (collapsed ? "All fakes are on one spot." : "");
      if (note.textContent !== words) note.textContent = words;
      say.hidden = !words;
      again.hidden = !words;
    });
    const alone = host.alone
      ? "No worker could be started here: the page trains on its own thread, in slices of 8 ms, and more " +
        "slowly. "
      : "";
    const done = shot.step >= steps ? "The run is over; Play starts it anew." : "";
    if (noteBelow.textContent !== alone + done) noteBelow.textContent = alone + done;
  }

  const calmly = throttled(frame.status, 400);
  let spoken = 0;
  // At most every six seconds while it plays.
  function speak() {
    if (playing && performance.now() - spoken < 6000) return;
    spoken = performance.now();
    const [a, b] = shot.panels;
    const troubles = panels
      .map(({ note, words }) => (note.textContent ? `${words.textContent}: ${note.textContent}` : ""))
      .join(" ");
    calmly(
      `Step ${shot.step}. Without BRE ${a.patterns} patterns under the fakes and ${a.modes} modes; with ` +
        `BRE ${b.patterns} and ${b.modes}. ${troubles}`,
    );
  }

  function showControls() {
    for (const { name, input, value } of sliders) {
      input.value = model.get(name);
      value.textContent = model.get(name).toFixed(2);
    }
    for (const { name, input } of picks.slice(0, 3)) input.value = model.get(name);
    picks.slice(3).forEach(({ input }, i) => (input.value = [layer, speed][i]));
    if (document.activeElement !== seed) seed.value = model.get("seed");
    decay.checked = model.get("decay");
    play.textContent = playing ? "Pause" : "Play";
  }

  // Numbers and charts change a few times a second only: quicker than that nobody reads.
  let [charted, touched] = [0, true];
  function draw() {
    if (touched) showControls();
    if (!shot || !panels[0].plane.clientWidth) return false;
    theme ??= colours();
    for (const p of [0, 1]) drawPlane(p);
    const now = performance.now();
    if (touched || !playing || now - charted > 250) {
      charted = now;
      drawCharts();
    }
    touched = false;
    pump(); // also what was asked for while the worker was busy
    return false;
  }

  function drawCharts() {
    counter.textContent = `step ${shot.step.toLocaleString("en")} / ${steps.toLocaleString("en")}`;
    frame.root.dataset.step = shot.step;
    let top = 2;
    for (const { d, g, n } of losses)
      for (const [b, count] of n.entries()) if (count) top = Math.max(top, d[b] / count, g[b] / count);
    top = Math.min(6, Math.ceil(top));
    for (const p of [0, 1]) {
      drawCurves(p, top);
      drawPairs(p);
    }
    for (const { value, row } of rows)
      shot.panels.forEach((s, p) => (row.children[p + 1].textContent = value(s)));
    showNotes();
    speak();
  }

  const drawSoon = onceAFrame("dgm:gan-playground", draw);
  const ask = () => {
    touched = true;
    drawSoon();
  };
  const recolour = () => {
    theme = null;
    ask();
  };
  const themes = new MutationObserver(recolour);
  for (const node of [document.documentElement, document.body])
    themes.observe(node, {
      attributes: true,
      attributeFilter: ["data-theme", "theme", "class", "data-jp-theme-light"],
    });
  const views = new IntersectionObserver((entries) => {
    inView = entries.at(-1).isIntersecting;
    pump();
  });
  const shown = () => pump();
  document.addEventListener("visibilitychange", shown);
  for (const name of SETTINGS) model.on(`change:${name}`, changed);
  el.append(frame.root);
  views.observe(frame.root);
  const stopWidth = onWidth(frame.picture, ask);

  const lost = (own) => {
    host = own;
    busy = false;
    const rest = owed;
    begin();
    owed = rest;
  };
  host = startHost(script, ganHost(), receive, lost);
  begin();
  return () => {
    drawSoon.stop();
    stopWidth();
    host.stop();
    themes.disconnect();
    views.disconnect();
    document.removeEventListener("visibilitychange", shown);
    for (const name of SETTINGS) model.off(`change:${name}`, changed);
  };
}

export default { render };
