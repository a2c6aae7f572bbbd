// The pooling race: likelihood, KL and information of many runs, against the training that each has had.

import "../styles/pooling.css";
import { DASHES, decimals, labelledSlider, pushButton, radioRow, SHAPES } from "../controls.js";
import { buildFrame, calm, element, MARKS, onceAFrame, onWidth, shape, throttled, ticks } from "../frame.js";

const METRICS = [
  { key: "log_likelihood", name: "log-likelihood", short: "log-lik." },
  { key: "kl", name: "KL", short: "KL" },
  { key: "information", name: "mutual information", short: "inform." },
];
const GROUPS = { plain: "Plain", fix: "Known remedies", pooling: "Pooling", control: "Controls" };
const FOLLOWED = ["time", "highlighted", "shown", "axis"];
const PLAY_MS = 9000; // from the first to the last moment

function render({ model, el }) {
  const runs = model.get("runs");
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "find a run whose KL is high and whose likelihood is no better.",
  });
  frame.root.classList.add("dgm-pool", "dgm-race");
  const first = Object.fromEntries(FOLLOWED.map((name) => [name, model.get(name)]));
  const change = (values) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
  };
  const column = () => (model.get("axis") === "steps" ? "step" : "seconds");
  const visible = () => runs.filter((run) => model.get("shown").includes(run.name));
  const when = (x) =>
    column() === "step"
      ? `step ${Math.round(x).toLocaleString("en")}`
      : `${decimals(x, limit < 1000 ? 1 : 0)} s`;

  // Within a group, lines differ by dash and mark.
  const looks = new Map();
  for (const group of Object.keys(GROUPS)) {
    runs
      .filter((run) => run.group === group)
      .forEach((run, i) => {
        looks.set(run.name, { dash: DASHES[i % 5], mark: MARKS[SHAPES[(i + Math.floor(i / 5)) % 5]] });
      });
  }
  const line = (run, d) => shape("path.dgm-line", { "stroke-dasharray": looks.get(run.name).dash, d });
  const head = (run, x = 0, y = 0) => shape("path.dgm-head", { d: looks.get(run.name).mark(x, y, 4) });
  const sign = (run) =>
    shape(
      "svg",
      { viewBox: "0 0 34 14", class: `dgm-${run.group}`, "aria-hidden": "true" },
      line(run, "M1 7H33"),
      head(run, 17, 7),
    );

  // The picture

  const charts = METRICS.map(({ name }, m) => {
    const svg = shape("svg.dgm-drag", { role: "img" });
    const ids = ["plot", "past"].map((part) => `${frame.id}-${part}${m}`);
    const [plot, past] = ids.map((id) => shape("clipPath", { id }, shape("rect")));
    const within = (id, dim) => shape("g", { class: dim, "clip-path": `url(#${id})` });
    const layers = {
      axes: shape("g"),
      ahead: within(ids[0], "dgm-ahead"),
      done: within(ids[1], "dgm-done"),
      heads: shape("g"),
    };
    const now = shape("path.dgm-now");
    svg.append(plot, past, layers.axes, layers.ahead, layers.done, now, layers.heads);
    frame.picture.append(element("div.dgm-panel", element("p.dgm-caption", name), svg));
    return { svg, plot: plot.firstChild, past: past.firstChild, ...layers, now, nodes: new Map(), box: null };
  });
  let limit = 1;

  // Each metric's rows that were measured, as [x, value] pairs.
  const measured = (run, key) => run[column()].map((x, i) => [x, run[key][i]]).filter(([, v]) => v !== null);

  function bounds(key, lines) {
    const values = lines.flatMap(({ points }) => points.map(([, v]) => v));
    if (!values.length) return [0, 1];
    const top = Math.max(...values);
    if (key !== "log_likelihood") return [Math.min(0, ...values), 1.06 * top || 1];
    // A likelihood climbs steeply at first: what matters is where the runs end.
    const last = Math.min(...lines.flatMap(({ points }) => points.slice(-1).map(([, v]) => v)));
    const room = Math.max(top - last, 0.02 * Math.abs(top), 1e-6);
    return [Math.max(Math.min(...values) - 0.1 * room, last - 1.5 * room), top + 0.15 * room];
  }

  function layout() {
    const shown = visible();
    limit = Math.max(0, ...(shown.length ? shown : runs).flatMap((run) => run[column()])) || 1;
    charts.forEach((chart, m) => layoutChart(chart, METRICS[m], shown));
    ask();
  }

  function layoutChart(chart, { key, name }, shown) {
    const { svg } = chart;
    const w = Math.floor(svg.clientWidth);
    if (!w) return;
    const h = 150;
    const [left, top] = [34, 6];
    const box = { left, top, w: w - left - 8, h };
    chart.box = box;
    const lines = shown.map((run) => ({ run, points: measured(run, key) }));
    const [low, high] = bounds(key, lines);
    chart.px = (x) => left + (x / limit) * box.w;
    chart.py = (v) => top + h - ((v - low) / (high - low)) * h;
    svg.setAttribute("viewBox", `0 0 ${w} ${top + h + 36}`);
    svg.setAttribute("height", top + h + 36);
    svg.setAttribute(
      "aria-label",
      `${name}, nats a sentence, against training ${model.get("axis")}: ${shown.length} runs, as in the table`,
    );
    const bottom = top + h;
    chart.axes.replaceChildren();
    for (const v of ticks(low, high, h / 36)) {
      chart.axes.append(shape("path.dgm-grid", { d: `M${left} ${chart.py(v)}h${box.w}` }));
      chart.axes.append(
        shape(
          "text",
          { x: left - 5, y: chart.py(v) + 4, "text-anchor": "end" },
          String(+v.toPrecision(5) || 0).replace("-", "\u2212"),
        ),
      );
    }
    for (const x of ticks(0, limit, box.w / 40)) {
      chart.axes.append(shape("path.dgm-axis", { d: `M${chart.px(x)} ${bottom}v4` }));
      chart.axes.append(
        shape(
          "text",
          { x: chart.px(x), y: bottom + 16, "text-anchor": "middle" },
          (x || 0).toLocaleString("en"),
        ),
      );
    }
    chart.axes.append(shape("path.dgm-axis", { d: `M${left} ${top}V${bottom}h${box.w}` }));
    chart.axes.append(
      shape(
        "text.dgm-strong",
        { x: left + box.w / 2, y: bottom + 32, "text-anchor": "middle" },
        column() === "step" ? "steps" : "training time, s",
      ),
    );
    const area = { x: left, y: top - 3, width: box.w + 3, height: h + 6 };
    for (const [attribute, v] of Object.entries(area))
      for (const clip of [chart.plot, chart.past]) clip.setAttribute(attribute, v);
    for (const layer of [chart.ahead, chart.done, chart.heads]) layer.replaceChildren();
    chart.nodes.clear();
    for (const { run, points } of lines) {
      const d = points.length
        ? `M${points.map(([x, v]) => `${chart.px(x).toFixed(1)} ${chart.py(v).toFixed(1)}`).join("L")}`
        : "";
      const parts = [line(run, d), line(run, d), head(run)].map((node) =>
        shape("g", { class: `dgm-${run.group}` }, node),
      );
      chart.ahead.append(parts[0]);
      chart.done.append(parts[1]);
      chart.heads.append(parts[2]);
      chart.nodes.set(run.name, { points, parts, mark: parts[2].firstChild });
    }
  }

  // Where a line stands at x: on the straight line between two measurements, and at its end after the last.
  function standing(points, x) {
    const after = points.findIndex(([at]) => at > x);
    if (after === 0 || !points.length) return null;
    if (after < 0) return points.at(-1);
    const [[x0, v0], [x1, v1]] = [points[after - 1], points[after]];
    return [x, v0 + ((x - x0) / (x1 - x0)) * (v1 - v0)];
  }

  function drawChart(chart, x) {
    if (!chart.box) return;
    const { left, top, w, h } = chart.box;
    chart.past.setAttribute("width", Math.max(0, (x / limit) * w));
    chart.now.setAttribute("d", `M${left + (x / limit) * w} ${top}v${h}`);
    for (const { points, mark } of chart.nodes.values()) {
      const at = standing(points, x);
      const y = at && chart.py(at[1]);
      mark.style.display = at && y <= top + h + 0.5 ? "" : "none";
      if (at) mark.setAttribute("transform", `translate(${chart.px(at[0]).toFixed(1)} ${y.toFixed(1)})`);
    }
  }

  // Read-outs

  const caption = element("caption");
  const heads = ["Run", ...METRICS.map(({ short }) => short)].map((text) =>
    element("th", { scope: "col" }, text),
  );
  const rows = new Map(
    runs.map((run) => {
      const small = element("small");
      const cells = METRICS.map(() => element("td"));
      const node = element("tr", element("th", { scope: "row" }, sign(run), run.label, small), ...cells);
      node.addEventListener("click", () => bring(model.get("highlighted") === run.name ? "" : run.name));
      return [run.name, { node, small, cells }];
    }),
  );
  const body = element("tbody");
  const more = element("p.dgm-small");
  const table = element("table", caption, element("thead", element("tr", ...heads)), body);
  frame.side.append(table, more);

  // The last measurement not after x, of one metric; null before the first.
  function known(run, key, x) {
    const [places, values] = [run[column()], run[key]];
    for (let i = places.length - 1; i >= 0; i--)
      if (places[i] <= x * (1 + 1e-9) && values[i] !== null) return values[i];
    return null;
  }

  function write(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function drawTable(x) {
    const lines = visible().map((run) => ({ run, values: METRICS.map(({ key }) => known(run, key, x)) }));
    lines.sort((a, b) => (b.values[0] ?? -Infinity) - (a.values[0] ?? -Infinity) || 0);
    const order = lines.map(({ run }) => rows.get(run.name).node);
    if (order.length !== body.children.length || order.some((node, i) => body.children[i] !== node))
      body.replaceChildren(...order);
    for (const { run, values } of lines) {
      const { node, small, cells } = rows.get(run.name);
      node.classList.toggle("dgm-forward", run.name === model.get("highlighted"));
      const end = run[column()].at(-1);
      // In words only where they are new: a frame has no time to spell thirty numbers.
      const over = end <= x * (1 + 1e-9) ? `${end} ${column()}` : "";
      if (small.dataset.over !== over) small.textContent = over && `ended at ${when(end)}`;
      small.dataset.over = over;
      values.forEach((v, i) => write(cells[i], v === null ? "\u2013" : decimals(v)));
    }
    caption.textContent = lines.length
      ? `Nats a sentence, as last measured by ${when(x)}; best likelihood first.`
      : "No run is ticked: tick one or more.";
    return lines;
  }

  function drawMore(x) {
    const run = visible().find(({ name }) => name === model.get("highlighted"));
    const found = run && ["reconstruction", "active_units"].map((key) => known(run, key, x));
    const parts = [];
    if (found && found[0] !== null) parts.push(`reconstruction ${decimals(found[0])} nats`);
    if (found && found[1] !== null)
      parts.push(`${decimals(found[1], Number.isInteger(found[1]) ? 0 : 1)} active units`);
    more.textContent = parts.length ? `${run.label}: ${parts.join(", ")}.` : "";
  }

  // Controls

  const slider = labelledSlider(`${frame.id}-time`, "", { min: 0, max: 1, step: 0.005 }, (time) => {
    stop();
    change({ time });
  });
  const play = pushButton("Play", () => (playing ? stop() : start()), "dgm-reset dgm-play");
  play.hidden = calm();
  const axis = radioRow(
    `${frame.id}-axis`,
    "Against",
    [
      ["seconds", "seconds"],
      ["steps", "steps"],
    ],
    (name) => change({ axis: name }),
  );
  axis.node.prepend(play);
  const ticked = new Map();
  const fields = Object.entries(GROUPS).map(([group, legend]) => {
    const mine = runs.filter((run) => run.group === group);
    const labels = mine.map((run) => {
      const box = element("input", { type: "checkbox", value: run.name });
      box.addEventListener("change", () => tick(run.name, box.checked));
      ticked.set(run.name, box);
      return element("label", box, sign(run), element("span", run.label));
    });
    return mine.length
      ? [element("fieldset", element("legend", legend), element("div.dgm-runs", ...labels))]
      : [];
  });
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    element("option", { value: "" }, "none"),
    ...runs.map((run) => element("option", { value: run.name }, run.label)),
  );
  pick.addEventListener("change", () => bring(pick.value));
  const forward = element("label.dgm-forward-pick", { for: pick.id }, "Bring forward", pick);
  frame.controls.append(slider.node, axis.node, element("div.dgm-row", forward, frame.reset));
  frame.side.parentNode.append(element("div.dgm-choice", ...fields.flat()));
  frame.reset.addEventListener("click", () => {
    stop();
    change(first);
  });

  function tick(name, on) {
    const shown = runs
      .map((run) => run.name)
      .filter((one) => (one === name ? on : model.get("shown").includes(one)));
    change(on || model.get("highlighted") !== name ? { shown } : { shown, highlighted: "" });
  }

  function bring(name) {
    const hidden = name && !model.get("shown").includes(name);
    change(
      hidden
        ? {
            shown: runs
              .map((run) => run.name)
              .filter((one) => one === name || model.get("shown").includes(one)),
            highlighted: name,
          }
        : { highlighted: name },
    );
  }

  let playing = false;
  let last = 0;
  function start() {
    if (model.get("time") >= 1) model.set("time", 0);
    [playing, last] = [true, performance.now()];
    play.textContent = "Pause";
    ask();
  }
  function stop() {
    if (!playing) return;
    playing = false;
    play.textContent = "Play";
    model.save_changes();
  }

  const speak = throttled(frame.status, 700);

  function draw() {
    if (playing) {
      const now = performance.now();
      const next = Math.min(1, model.get("time") + Math.min(60, now - last) / PLAY_MS);
      last = now;
      model.set("time", next);
      if (next === 1) stop();
    }
    const x = model.get("time") * limit;
    for (const chart of charts) drawChart(chart, x);
    slider.input.value = model.get("time");
    slider.words.textContent = column() === "step" ? "Training steps" : "Training time, without measuring";
    slider.say(when(x));
    const lines = drawTable(x);
    drawMore(x);
    const told = (name) => lines.filter(({ run }) => run.name === name);
    const best = lines[0]?.values[0] != null ? [lines[0]] : [];
    const said = [...best, ...told(model.get("highlighted"))].map(
      ({ run, values }) =>
        `${run.label}: ${values.map((v, i) => `${METRICS[i].name} ${v === null ? "unknown" : decimals(v)}`).join(", ")}`,
    );
    if (!playing) speak(`By ${when(x)}. ${[...new Set(said)].join(". ")}`);
    return playing;
  }
  const ask = onceAFrame("dgm:pooling-race", draw);

  // Which lines there are, and which stands in front.
  function show() {
    const forward = model.get("highlighted");
    for (const [name, box] of ticked) box.checked = model.get("shown").includes(name);
    axis.show(model.get("axis"));
    layout();
    const some = model.get("shown").includes(forward);
    pick.value = some ? forward : "";
    for (const { nodes } of charts) {
      for (const [name, { parts }] of nodes) {
        for (const part of parts) {
          part.classList.toggle("dgm-aside", some && name !== forward);
          part.classList.toggle("dgm-forward", name === forward);
          if (name === forward) part.parentNode.append(part);
        }
      }
    }
  }

  for (const chart of charts) {
    const scrub = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      stop();
      const x = (event.clientX - chart.svg.getBoundingClientRect().left - chart.box.left) / chart.box.w;
      change({ time: +Math.max(0, Math.min(1, x)).toFixed(3) });
    };
    chart.svg.addEventListener("pointerdown", scrub);
    chart.svg.addEventListener("pointermove", scrub);
  }
  model.on("change:time", ask);
  for (const name of ["highlighted", "shown", "axis"]) model.on(`change:${name}`, show);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, show);
  return () => {
    ask.stop();
    stopWidth();
    model.off("change:time", ask);
    for (const name of ["highlighted", "shown", "axis"]) model.off(`change:${name}`, show);
  };
}

export default { render };
