// The weather of the weights: what a VHRNN generates along one sequence, and what is lost when it is frozen.

import "../styles/hyper_rnn.css";
import { decimals, labelledSlider, pushButton } from "../controls.js";
import {
  buildFrame,
  element,
  italic,
  MARKS,
  number,
  onceAFrame,
  onWidth,
  shape,
  throttled,
  ticks,
} from "../frame.js";
import { showGoldenError } from "../golden.js";
import { loadHyper } from "../models/hyper_rnn.js";
import { follower, inForce, spanFor, switchingSystem } from "../models/switching.js";
import { bandPath, linePath, meanOf, timePanel } from "../panels.js";

const FREEZES = 20; // steps of the slider
const BUDGET_MS = 4; // of a frame, after which no further step is computed
const BLOCKS = ["Scales on the input", "Scales on the hidden state", "Biases"];
const GATES = ["i", "f", "g", "o"];
const [ABOVE, BELOW] = [
  [0, 158, 115],
  [204, 121, 167],
]; // the row's mean

async function render({ model, el }) {
  const { nets, goldenError } = await loadHyper(model);
  const name = model.get("network");
  const net = nets[name];
  const [matrices, schedule] = [model.get("matrices"), model.get("schedule")];
  const { n_particles: N, steps: T, bound } = model.get("options");
  const H12 = 12 * net.sizes.h;
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "pull *Freeze* to the right: the weather calms. Watch what that costs, and where along the sequence.",
  });
  frame.root.classList.add("dgm-hyper", "dgm-weather");
  const first = { freeze: model.get("freeze"), seed: model.get("seed") };
  showGoldenError(frame.root, [name], goldenError);

  // One run along the sequence for each freeze, kept; the unfrozen first, since its means are what it freezes
  // to.

  const { filter, read } = follower(net, N);
  let [runs, seedOf, course, means, under, fulls] = [[], null, null, null, null, null];

  function begin(seed) {
    const system = switchingSystem(matrices, bound, seed);
    course = Array.from({ length: T }, (_, t) => {
      const { which, sigma, changed } = inForce(schedule, t);
      system.step(t, which, sigma);
      return { x: system.x.slice(), which, sigma, changed, fresh: system.fresh };
    });
    [runs, seedOf, means, under] = [[], seed, new Float64Array(net.scales), null];
  }

  const emptyRun = (place) => ({
    place,
    t: 0,
    mean: [],
    deviation: [],
    increment: [],
    kl: [],
    scales: new Float64Array(T * H12),
  });

  // One step of the run under way; true when it was the last.
  function stepOnce() {
    const { place, t } = under;
    const { x, fresh } = course[t];
    filter.freeze(place / FREEZES, means);
    read(seedOf, t, x, fresh);
    under.mean.push(filter.mean.slice());
    under.deviation.push(filter.deviation.slice());
    under.increment.push(filter.increment);
    under.kl.push(filter.meanKL);
    for (let n = 0; n < N; n++) {
      const weight = filter.weights[n];
      for (let i = 0; i < H12; i++) under.scales[t * H12 + i] += weight * filter.scales[n * net.scales + i];
      if (!place)
        for (let i = 0; i < net.scales; i++) means[i] += (weight * filter.scales[n * net.scales + i]) / T;
    }
    under.t += 1;
    return under.t === T;
  }

  // Whether there is more to compute, after a few ms of it: the unfrozen, then the reader's, then all others.
  function compute(wanted) {
    const start = performance.now();
    while (performance.now() - start < BUDGET_MS) {
      const next = !runs[0]
        ? 0
        : !runs[wanted]
          ? wanted
          : Array.from({ length: FREEZES + 1 }, (_, i) => i).find((i) => !runs[i]);
      if (next === undefined) return false;
      if (under?.place !== next && (next === 0 || next === wanted || !under)) under = emptyRun(next);
      if (stepOnce()) {
        runs[under.place] = finish(under);
        if (next === 0) fulls = BLOCKS.map((_, b) => fullColour(b));
        under = null;
      }
    }
    return true;
  }

  // Two in a hundred numbers of a block lie beyond, where nothing is frozen.
  function fullColour(b) {
    const sizes = [];
    const rowsOf = H12 / 3;
    for (let t = 0; t < T; t++)
      for (let i = b * rowsOf; i < (b + 1) * rowsOf; i++)
        sizes.push(Math.abs(runs[0].scales[t * H12 + i] - means[i]));
    sizes.sort((p, q) => p - q);
    return Math.max(1e-9, sizes[Math.floor(0.98 * sizes.length)]);
  }

  function finish(run) {
    const inside = course.reduce(
      (sum, { x }, t) =>
        sum + [0, 1].filter((d) => Math.abs(x[d] - run.mean[t][d]) <= 2 * run.deviation[t][d]).length,
      0,
    );
    return { ...run, nats: meanOf(run.increment), meanKL: meanOf(run.kl), inside: inside / (2 * T) };
  }

  // The picture

  const svg = shape("svg", { role: "img", "aria-label": "The sequence" });
  const panels = ["x1", "x2", "cost"].map((part) => timePanel(`${frame.id}-${part}`, ""));
  panels
    .slice(0, 2)
    .forEach(({ name: label }, d) =>
      label.append(
        italic("x"),
        shape("tspan", { "baseline-shift": "sub", "font-size": "9" }, String(d + 1)),
        d ? "" : ", expected \u00b1 2 deviations",
      ),
    );
  panels[2].name.append("Surprise, \u2212log density in nats");
  const traces = panels.map(({ inside }) => {
    const parts = {
      band: shape("path.dgm-reach-ours"),
      free: shape("path.dgm-line-of.dgm-free", { "stroke-dasharray": "2 2" }),
      line: shape("path.dgm-line-of.dgm-ours"),
      data: shape("path.dgm-data-line"),
      dots: shape("path.dgm-data-dots"),
    };
    inside.append(...Object.values(parts));
    return parts;
  });
  const marks = shape("path.dgm-mark-switch");
  const labels = shape("g");
  const axis = shape("g");
  const heats = BLOCKS.map(() => {
    const sheet = Object.assign(element("canvas.dgm-colours", { "aria-hidden": "true" }), {
      width: T,
      height: H12 / 3,
    });
    const pen = sheet.getContext("2d");
    return {
      sheet,
      pen,
      image: pen.createImageData(T, H12 / 3),
      title: shape("text.dgm-strong.dgm-halo"),
      box: shape("path.dgm-heat-box"),
    };
  });
  svg.append(
    ...panels.map(({ node }) => node),
    axis,
    ...heats.map(({ box }) => box),
    marks,
    labels,
    ...heats.map(({ title }) => title),
  );
  const colour = (rgb, text) =>
    element(
      "span",
      shape(
        "svg",
        { viewBox: "0 0 34 14", "aria-hidden": "true" },
        shape("rect", { x: 8, y: 1, width: 18, height: 12, fill: `rgb(${rgb})` }),
      ),
      text,
    );
  const line = (kind, dash, text) =>
    element(
      "span",
      shape(
        "svg",
        { viewBox: "0 0 34 14", "aria-hidden": "true" },
        shape("path", { class: `dgm-line-of ${kind}`, "stroke-dasharray": dash, d: "M1 7H33" }),
      ),
      text,
    );
  const legend = element(
    "p.dgm-row.dgm-legend",
    line("dgm-ours", "", "frozen as chosen"),
    line("dgm-free", "2 2", "not frozen"),
    colour(ABOVE, "above its mean"),
    colour(BELOW, "below its mean"),
    element(
      "span",
      shape(
        "svg",
        { viewBox: "0 0 34 14", "aria-hidden": "true" },
        shape("path.dgm-mark-switch", { d: "M17 1V13" }),
      ),
      "a change of W or \u03c3",
    ),
  );
  const note = element(
    "p.dgm-note",
    "A row is one number that the model generates at each step, four groups of rows the gates: input, forget, candidate, output. Each is shown minus its mean over this sequence, in full colour from the number in the title on.",
  );
  frame.picture.append(element("div.dgm-layers", ...heats.map(({ sheet }) => sheet), svg), legend, note);

  // Controls and read-outs

  const change = (values) => {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    ask();
  };
  const slider = labelledSlider(`${frame.id}-freeze`, "Freeze", { min: 0, max: 1, step: 1 / FREEZES }, (v) =>
    change({ freeze: Math.round(v * FREEZES) / FREEZES }),
  );
  const ends = element(
    "p.dgm-ends",
    { "aria-hidden": "true" },
    element("span", "weights change (VHRNN)"),
    element("span", "constant (as in a VRNN)"),
  );
  const again = pushButton("Another sequence", () => change({ seed: (model.get("seed") + 1) % 10000 }));
  frame.controls.append(
    element("div", slider.node, ends),
    element("div.dgm-row.dgm-buttons", again, frame.reset),
  );
  frame.reset.addEventListener("click", () => change(first));
  const rows = ["this freeze", "not frozen", "all constant"].map((text) => {
    const tds = [0, 1, 2].map(() => element("td"));
    return { tds, node: element("tr", element("th", { scope: "row" }, text), ...tds) };
  });
  const head = ["model", "nats a step", "KL", "in \u00b12"].map((text) =>
    element("th", { scope: "col" }, text),
  );
  const caption = element(
    "caption",
    "Means over the sequence: log density, KL, and the share of points within two deviations of the prediction",
  );
  const chart = shape("svg", { role: "img", "aria-label": "Nats a step by freeze, being computed" });
  const under0 = element("p.dgm-caption", "Nats a step, by freeze: higher is better");
  frame.side.append(
    element(
      "table",
      caption,
      element("thead", element("tr", ...head)),
      element("tbody", ...rows.map(({ node }) => node)),
    ),
    element("div", under0, chart),
  );
  const speak = throttled(frame.status, 600);

  function readOut(wanted) {
    [wanted, 0, FREEZES].forEach((place, r) => {
      const run = runs[place];
      const told = run
        ? [decimals(run.nats, 3), decimals(run.meanKL), `${(100 * run.inside).toFixed(0)}\u2009%`]
        : ["\u2026", "\u2026", "\u2026"];
      told.forEach((text, i) => (rows[r].tds[i].textContent = text));
    });
  }

  // Drawing

  let [width, painted, curve] = [0, "", ""];
  const [LEFT, RIGHT, GAP] = [32, 6, 26];

  function paint(wanted) {
    const [run, free] = [runs[wanted], runs[0]];
    const what = `${width} ${seedOf} ${wanted}`;
    if (!width || !run || painted === what) return;
    painted = what;
    const wide = (width - LEFT - RIGHT) / T;
    const px = (i) => (LEFT + (i + 0.5) * wide).toFixed(1);
    const gap = (i) => course[i].fresh;
    const reach = spanFor(
      1.2 * course.reduce((most, { x }) => Math.max(most, Math.abs(x[0]), Math.abs(x[1])), 0.8),
    );
    const costs = [...free.increment].map((v) => -v).sort((a, b) => a - b);
    const high = spanFor(1.5 * Math.max(1, costs[Math.floor(0.97 * T)]));
    let top = 32;
    panels.forEach((panel, p) => {
      panel.lay({
        left: LEFT,
        top,
        width: width - LEFT - RIGHT,
        height: 74,
        low: p < 2 ? -reach : Math.min(0, Math.floor(costs[0])),
        high: p < 2 ? reach : high,
      });
      const { band, free: dashed, line: solid, data, dots } = traces[p];
      if (p < 2) {
        const of = (key) => run[key].map((v) => v[p]);
        const values = course.map(({ x }) => x[p]);
        band.setAttribute("d", bandPath(of("mean"), of("deviation"), px, panel.py, gap));
        solid.setAttribute("d", linePath(of("mean"), px, panel.py, gap));
        data.setAttribute("d", linePath(values, px, panel.py, gap));
        dots.setAttribute("d", values.map((v, i) => MARKS.circle(+px(i), +panel.py(v), 1.6)).join(""));
      } else {
        solid.setAttribute(
          "d",
          linePath(
            run.increment.map((v) => -v),
            px,
            panel.py,
          ),
        );
        dashed.setAttribute(
          "d",
          linePath(
            free.increment.map((v) => -v),
            px,
            panel.py,
          ),
        );
      }
      top += 74 + GAP;
    });
    axis.replaceChildren();
    const rowsOf = H12 / 3;
    const tall = Math.max(44, Math.min(72, 4 * rowsOf));
    heats.forEach((heat, b) => {
      Object.assign(heat.sheet.style, {
        left: `${LEFT}px`,
        top: `${top}px`,
        width: `${width - LEFT - RIGHT}px`,
        height: `${tall}px`,
      });
      const full = fulls[b];
      heat.title.textContent = `${BLOCKS[b]}, up to \u00b1${number(full, 2)}`;
      heat.title.setAttribute("x", LEFT + 3);
      heat.title.setAttribute("y", top - 6);
      for (let r = 0; r < rowsOf; r++) {
        const i = b * rowsOf + r;
        for (let t = 0; t < T; t++) {
          const v = (run.scales[t * H12 + i] - means[i]) / full;
          const at = 4 * (r * T + t);
          const rgb = v > 0 ? ABOVE : BELOW;
          for (let c = 0; c < 3; c++) heat.image.data[at + c] = rgb[c];
          heat.image.data[at + 3] = 255 * Math.min(1, Math.abs(v));
        }
      }
      heat.pen.putImageData(heat.image, 0, 0);
      let d = "";
      GATES.forEach((gate, g) => {
        d += `M${LEFT} ${(top + (tall * g) / 4).toFixed(1)}h${width - LEFT - RIGHT}`;
        axis.append(
          shape(
            "text",
            { x: LEFT - 6, y: (top + (tall * (g + 0.5)) / 4 + 4).toFixed(1), "text-anchor": "end" },
            gate,
          ),
        );
      });
      heat.box.setAttribute("d", `${d}M${LEFT} ${top + tall}h${width - LEFT - RIGHT}`);
      top += tall + GAP;
    });
    const bottom = top - GAP;
    for (const v of ticks(0, T - 1, width / 60))
      axis.append(
        shape("path.dgm-axis", { d: `M${px(v)} ${bottom}v4` }),
        shape("text", { x: px(v), y: bottom + 16, "text-anchor": "middle" }, String(v)),
      );
    axis.append(
      shape(
        "text.dgm-strong",
        { x: LEFT + (width - LEFT - RIGHT) / 2, y: bottom + 31, "text-anchor": "middle" },
        "step",
      ),
    );
    labels.replaceChildren();
    let d = "";
    course.forEach(({ changed, fresh, which, sigma }, t) => {
      if (!t || !(changed || fresh)) return;
      const x = LEFT + t * wide;
      d += `M${x.toFixed(1)} 13V${bottom}`;
      const before = course[t - 1];
      const text = fresh
        ? "anew"
        : before.which === which
          ? `\u03c3 = ${sigma}`
          : `W ${before.which + 1}\u2192${which + 1}`;
      labels.append(
        shape(
          "text.dgm-strong.dgm-halo",
          { x: x.toFixed(1), y: 10, "text-anchor": x > width - 40 ? "end" : "middle" },
          text,
        ),
      );
    });
    marks.setAttribute("d", d);
    svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 36}`);
    svg.setAttribute("height", bottom + 36);
  }

  function paintCurve(wanted) {
    const known = runs.map((run, i) => (run ? i : -1)).filter((i) => i >= 0);
    const wide = Math.floor(chart.parentNode.clientWidth);
    const what = `${wide} ${seedOf} ${known.length} ${wanted}`;
    if (!wide || !known.length || what === curve) return;
    curve = what;
    const [left, top, tall] = [38, 10, 110];
    const values = known.map((i) => runs[i].nats);
    let [low, high] = [Math.min(...values), Math.max(...values)];
    const room = Math.max(0.05, 0.1 * (high - low));
    [low, high] = [low - room, high + room];
    const px = (i) => (left + (i / FREEZES) * (wide - left - 10)).toFixed(1);
    const py = (v) => (top + ((high - v) / (high - low)) * tall).toFixed(1);
    chart.setAttribute("viewBox", `0 0 ${wide} ${top + tall + 36}`);
    chart.setAttribute("height", top + tall + 36);
    chart.replaceChildren();
    for (const v of ticks(low, high, 3))
      chart.append(
        shape("path.dgm-grid", { d: `M${left} ${py(v)}H${wide - 10}` }),
        shape(
          "text",
          { x: left - 4, y: +py(v) + 4, "text-anchor": "end" },
          String(+v.toPrecision(4)).replace("-", "\u2212"),
        ),
      );
    for (const i of [0, 5, 10, 15, 20])
      chart.append(
        shape("path.dgm-axis", { d: `M${px(i)} ${top + tall}v4` }),
        shape("text", { x: px(i), y: top + tall + 17, "text-anchor": "middle" }, String(i / FREEZES)),
      );
    chart.append(
      shape("path.dgm-axis", { d: `M${left} ${top + tall}H${wide - 10}` }),
      shape(
        "text.dgm-strong",
        { x: (left + wide) / 2, y: top + tall + 33, "text-anchor": "middle" },
        "freeze",
      ),
    );
    chart.append(
      shape("path.dgm-line-of.dgm-ours", {
        d: known.map((i, n) => `${n ? "L" : "M"}${px(i)} ${py(runs[i].nats)}`).join(""),
      }),
    );
    if (runs[wanted])
      chart.append(shape("path.dgm-to", { d: MARKS.circle(+px(wanted), +py(runs[wanted].nats), 5) }));
    chart.setAttribute(
      "aria-label",
      `Nats a step by freeze: ${known
        .filter((i) => i % 5 === 0)
        .map((i) => `${decimals(runs[i].nats)} at ${i / FREEZES}`)
        .join(", ")}`,
    );
  }

  function draw() {
    const seed = model.get("seed");
    const wanted = Math.round(model.get("freeze") * FREEZES);
    if (seed !== seedOf) begin(seed);
    const busy = compute(wanted);
    slider.input.value = wanted / FREEZES;
    slider.say(
      (wanted / FREEZES).toFixed(2),
      `${(wanted / FREEZES).toFixed(2)}${runs[wanted] ? `, ${decimals(runs[wanted].nats)} nats a step` : ""}`,
    );
    readOut(wanted);
    paint(wanted);
    paintCurve(wanted);
    const run = runs[wanted];
    if (run && run !== frame.told) {
      frame.told = run;
      const words = `Frozen by ${(wanted / FREEZES).toFixed(2)}: ${decimals(run.nats)} nats a step, not frozen ${decimals(runs[0].nats)}.`;
      svg.setAttribute(
        "aria-label",
        `A sequence of ${T} steps, the model's predictions and surprise, and the ${H12} numbers that it generates for its cell at each step. ${words}`,
      );
      speak(words);
      frame.root.dataset.state = JSON.stringify({
        freeze: wanted / FREEZES,
        seed,
        nats: run.nats,
        kl: run.meanKL,
        mean: run.mean.map((v) => [...v]),
        deviation: run.deviation.map((v) => [...v]),
        increment: run.increment,
      });
    }
    if (!busy) frame.root.dataset.curve = JSON.stringify(runs.map(({ nats }) => nats));
    else delete frame.root.dataset.curve;
    return busy;
  }
  const ask = onceAFrame("dgm:weather", draw);

  const watched = ["change:freeze", "change:seed"];
  for (const event of watched) model.on(event, ask);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, (w) => {
    width = w;
    ask();
  });
  return () => {
    ask.stop();
    stopWidth();
    for (const event of watched) model.off(event, ask);
  };
}

export default { render };
