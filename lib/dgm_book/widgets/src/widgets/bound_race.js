// The bound race: batches of correlated Gaussian pairs, and what each bound makes of them with the best
// critic.

import "../styles/information.css";
import { decimals, labelledSlider, pushButton } from "../controls.js";
import { buildFrame, element, MARKS, onceAFrame, onWidth, rich, shape, throttled, ticks } from "../frame.js";
import { boundsOf, criticScores, exactInformation, MOST, normalsOf } from "../models/bounds.js";

const BATCHES = 24;
const SIZES = [2, 4, 8, 16, 32, 64, 128, 256];
const BUDGET_MS = 2; // of one frame, after which no further batch is begun
const BOUNDS = [
  { key: "donsker_varadhan", name: "Donsker\u2013Varadhan", ceiling: () => Infinity },
  { key: "nwj", name: "NWJ", ceiling: () => Infinity },
  { key: "info_nce", name: "InfoNCE", ceiling: (n) => Math.log(n), text: (n) => `log ${n}` },
  { key: "jensen_shannon", name: "Classifier", ceiling: () => Math.LN2, text: () => "log 2" },
];
const TOPS = [1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

// Mean and standard error.
function meanOf(values) {
  const n = values.length;
  const mean = values.reduce((sum, v) => sum + v, 0) / n;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / Math.max(1, n - 1);
  return { mean, error: Math.sqrt(variance / n) };
}

// As many decimals as the error allows, at most four.
function inWords({ mean, error }) {
  const places = Math.min(4, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return `${decimals(mean, places)} \u00b1 ${decimals(error, places)}`;
}

function render({ model, el }) {
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "raise *d* until InfoNCE hits its ceiling, then raise *N*.",
  });
  frame.root.classList.add("dgm-info", "dgm-bounds");
  const names = ["correlation", "dimension", "batch", "seed"];
  const first = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const change = (values) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
    ask();
  };

  // The picture

  const svg = shape("svg", { role: "img" });
  const grid = shape("g");
  const rows = BOUNDS.map(({ name }) => {
    const parts = {
      label: shape("text.dgm-strong.dgm-halo", { x: 0 }, name),
      beyond: shape("text", { "text-anchor": "end" }),
      shut: shape("path.dgm-info-shut"),
      edge: shape("path.dgm-info-edge"),
      limit: shape("text.dgm-halo"),
      dots: shape("path.dgm-info-dots"),
      out: shape("path.dgm-info-out"),
      mean: shape("path.dgm-info-mean"),
    };
    return parts;
  });
  const truth = shape("path.dgm-info-exact");
  const truthName = shape("text.dgm-strong.dgm-halo", { "text-anchor": "middle" });
  svg.append(
    grid,
    ...rows.flatMap(({ shut }) => [shut]),
    truth,
    ...rows.flatMap(({ shut, ...rest }) => Object.values(rest)),
    truthName,
  );
  const caption = element("p.dgm-note");
  frame.picture.append(svg, caption);

  // Read-outs

  const line = (name) => {
    const cells = [element("td"), element("td")];
    return { cells, node: element("tr", element("th", { scope: "row" }, name), ...cells) };
  };
  const exactLine = line("Exact value");
  const lines = BOUNDS.map(({ name }) => line(name));
  const heads = ["Nats", "mean \u00b1 s.e.", "ceiling"].map((text) => element("th", { scope: "col" }, text));
  const table = element(
    "table",
    element("thead", element("tr", ...heads)),
    element("tbody", exactLine.node, ...lines.map(({ node }) => node)),
  );
  const note = element("p.dgm-note");
  frame.side.append(table, note);

  // Controls

  const slider = (name, words, range, read) => {
    const made = labelledSlider(`${frame.id}-${name}`, "", range, (v) => change({ [name]: read(v) }));
    made.words.append(...rich(words));
    return made;
  };
  const rho = slider("correlation", "Correlation, *\u03c1*", { min: 0, max: 0.99, step: 0.01 }, (v) => v);
  const d = slider("dimension", "Dimensions, *d*", { min: 1, max: MOST.dimensions, step: 1 }, (v) => v);
  const n = slider(
    "batch",
    "Pairs in a batch, *N*",
    { min: 0, max: SIZES.length - 1, step: 1 },
    (v) => SIZES[v],
  );
  const again = pushButton("Draw again", () => change({ seed: (model.get("seed") + 1) % 10000 }));
  frame.controls.append(
    rho.node,
    d.node,
    n.node,
    element("div.dgm-row.dgm-info-buttons", again, frame.reset),
  );
  frame.reset.addEventListener("click", () => change(first));

  // The work, spread over frames; a new setting drops what was under way.

  let done = "";
  let found = [];
  let drawn = { seed: null, batches: [] };
  const scores = new Float64Array(MOST.pairs ** 2);
  const speak = throttled(frame.status, 600);

  function estimate(at, seed) {
    if (drawn.seed !== seed) drawn = { seed, batches: [] };
    const b = found.length;
    drawn.batches[b] ??= normalsOf(BATCHES * seed + b);
    criticScores(drawn.batches[b], at, scores);
    return boundsOf(scores, at.n);
  }

  function draw() {
    const at = { rho: model.get("correlation"), d: model.get("dimension"), n: model.get("batch") };
    const seed = model.get("seed");
    const wanted = [at.rho, at.d, at.n, seed].join();
    if (wanted !== done) [done, found] = [wanted, []];
    const start = performance.now();
    while (found.length < BATCHES && (!found.length || performance.now() - start < BUDGET_MS))
      found.push(estimate(at, seed));
    for (const [control, place, shown] of [
      [rho, at.rho, at.rho.toFixed(2)],
      [d, at.d, String(at.d)],
      [n, SIZES.indexOf(at.n), String(at.n)],
    ]) {
      control.input.value = place;
      control.say(shown);
    }
    const exact = exactInformation(at);
    const told = BOUNDS.map((_, r) => meanOf(found.map((values) => values[r])));
    paint(at, exact, told);
    const whole = found.length === BATCHES;
    const of = whole ? BATCHES : `the first ${found.length} of ${BATCHES}`;
    caption.textContent = `A dot is one batch's estimate, a bar the mean of ${of}; no estimate can come to lie in a shaded part. The classifier's is the Jensen\u2013Shannon divergence, a bound too.`;
    exactLine.cells[0].textContent = exact.toFixed(3);
    exactLine.cells[1].textContent = "none";
    lines.forEach(({ cells }, r) => {
      const limit = BOUNDS[r].ceiling(at.n);
      cells[0].textContent = inWords(told[r]);
      cells[1].textContent = limit < Infinity ? limit.toFixed(3) : "none";
    });
    if (whole) {
      note.textContent = verdict(at, exact, told);
      frame.root.dataset.estimates = JSON.stringify(found);
      const spoken = BOUNDS.map(({ name }, r) => `${name} ${told[r].mean.toFixed(2)}`).join(", ");
      svg.setAttribute(
        "aria-label",
        `Estimates of ${BATCHES} batches for each of four bounds against the exact value ${exact.toFixed(2)} nats; means: ${spoken}`,
      );
      speak(`Exact value ${exact.toFixed(2)} nats. Means: ${spoken}. ${note.textContent}`);
    }
    return !whole;
  }
  const ask = onceAFrame("dgm:bounds", draw);

  // What has to be said of these means, the most striking first.
  function verdict({ n: size }, exact, told) {
    const above = (r) => told[r].mean - exact > 3 * told[r].error && told[r].mean - exact > 0.02;
    const said = [];
    if (exact > Math.log(size))
      said.push(
        `The exact value is past InfoNCE's ceiling: with ${size} pairs a batch no critic, however good, can show it.`,
      );
    if (above(0))
      said.push(
        "Donsker\u2013Varadhan comes out too high on average: the logarithm of one batch's mean is too low. It is a bound for large samples.",
      );
    if (above(1))
      said.push(
        "NWJ is right on average, but what brings its mean down are rare pairs, and these 24 batches hold too few of them.",
      );
    if (!said.length)
      said.push(
        exact > 0
          ? "All four have the best critic there is: what is left is each bound's own slack and scatter."
          : "Nothing is shared: all four say so.",
      );
    return said.join(" ");
  }

  // Drawing

  let width = 0;
  let scale = null;
  const [HEAD, PITCH, BAND] = [34, 54, 30];
  const bottom = HEAD + BOUNDS.length * PITCH - 8;
  const jitter = (b) => ((b * 0.618034) % 1) - 0.5;

  function layout(low, high) {
    scale = { high, px: (v) => 4 + ((v - low) / (high - low)) * (width - 10), low };
    grid.replaceChildren();
    for (const v of ticks(low, high, width / 62)) {
      grid.append(shape("path.dgm-grid", { d: `M${scale.px(v)} ${HEAD - 8}V${bottom}` }));
      grid.append(
        shape(
          "text",
          { x: scale.px(v), y: bottom + 17, "text-anchor": "middle" },
          String(+v.toPrecision(5)).replace("-", "\u2212"),
        ),
      );
    }
    grid.append(shape("path.dgm-axis", { d: `M4 ${bottom}H${width - 6}` }));
    grid.append(
      shape(
        "text.dgm-strong",
        { x: width / 2, y: bottom + 34, "text-anchor": "middle" },
        "mutual information, nats",
      ),
    );
    svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 40}`);
    svg.setAttribute("height", bottom + 40);
  }

  function paint(at, exact, told) {
    if (!width) return;
    // In steps, so that the axis stands still while little changes.
    const high = TOPS.find((top) => top >= Math.max(1.05 * Math.log(at.n), 1.6 * exact)) ?? TOPS.at(-1);
    if (scale?.high !== high) layout(-high / 4, high);
    const { px, low } = scale;
    const x = px(exact);
    truth.setAttribute("d", `M${x} ${HEAD - 12}V${bottom}`);
    truthName.textContent = `exact ${exact.toFixed(3)}`;
    truthName.setAttribute("x", Math.min(width - 40, Math.max(40, x)));
    truthName.setAttribute("y", HEAD - 18);
    rows.forEach((row, r) => {
      const top = HEAD + r * PITCH;
      const middle = top + 10 + BAND / 2;
      let [dots, out, above, below] = ["", "", 0, 0];
      found.forEach((values, b) => {
        const v = values[r];
        const y = middle + (BAND - 8) * jitter(b);
        if (v > high) above += 1;
        else if (v < low) below += 1;
        if (v >= low && v <= high) dots += MARKS.circle(px(v), y, 3);
        else out += v > high ? `M${width - 2} ${y}l-6 -3.5v7Z` : `M1 ${y}l6 -3.5v7Z`;
      });
      row.label.setAttribute("y", top + 4);
      row.dots.setAttribute("d", dots);
      row.out.setAttribute("d", out);
      row.beyond.textContent = [below && `${below} further left`, above && `${above} further right`]
        .filter(Boolean)
        .join(", ");
      row.beyond.setAttribute("x", width - 4);
      row.beyond.setAttribute("y", top + 4);
      const { mean } = told[r];
      row.mean.setAttribute(
        "d",
        mean < low || mean > high ? "" : `M${px(mean)} ${middle - BAND / 2 - 1}v${BAND + 2}`,
      );
      const limit = BOUNDS[r].ceiling(at.n);
      if (limit === Infinity) return;
      const end = px(limit);
      row.shut.setAttribute("d", `M${end} ${middle - BAND / 2}H${width - 6}v${BAND}H${end}Z`);
      row.edge.setAttribute("d", `M${end} ${middle - BAND / 2 - 3}v${BAND + 6}`);
      row.limit.textContent = `ceiling ${BOUNDS[r].text(at.n)}`;
      const right = end > width - 90;
      row.limit.setAttribute("text-anchor", right ? "end" : "start");
      row.limit.setAttribute("x", right ? end + 3 : end - 2);
      row.limit.setAttribute("y", top + 4);
    });
  }

  for (const name of names) model.on(`change:${name}`, ask);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, (w) => {
    [width, scale] = [w, null];
    ask();
  });
  return () => {
    ask.stop();
    stopWidth();
    for (const name of names) model.off(`change:${name}`, ask);
  };
}

export default { render };
