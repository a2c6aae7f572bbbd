// The lottery: what chance, the critic and its temperature make of the sentences that follow one sentence.

import "../styles/information.css";
import { labelledSlider } from "../controls.js";
import { buildFrame, element, number, onceAFrame, readout, rich, throttled } from "../frame.js";
import { lottery } from "../models/lottery.js";

const PER_DECADE = 40; // steps of the temperature's slider
const COLUMNS = [
  ["drawn", "drawn, *P*(*k*)"],
  ["gain", "critic, *e*^\u0394*T*/*\u03c4*"],
  ["weight", "weight, *w*_*k*_"],
  ["share", "on average"],
];

// e^x in words, however large or small.
function power(x) {
  if (Math.abs(x) < 6.9) return number(Math.exp(x), 2);
  const [digit, exponent] = (10 ** (((x / Math.LN10) % 1) + 1)).toExponential(0).split("e").map(Number);
  const raised = [...String(Math.trunc(x / Math.LN10) - 1 + exponent)].map((c) =>
    c === "-" ? "\u207b" : "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"[c],
  );
  return `${digit}\u00b710${raised.join("")}`;
}

const percent = (x) => (x > 0 && x < 0.001 ? "< 0.1\u2009%" : `${(100 * x).toFixed(1)}\u2009%`);
const shortened = (text, most = 60) => (text.length > most ? `${text.slice(0, most)}\u2026` : text);

// *a* is italic, and what stands behind ^ is raised.
function formula(text) {
  const [base, raised] = text.split("^");
  return [...rich(base), ...(raised ? [element("sup", ...rich(raised))] : [])];
}

function render({ model, el }) {
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "find a *p* and a *\u03c4* at which a distant sentence wins, and see what it is on average.",
  });
  frame.root.classList.add("dgm-info", "dgm-lot");
  const sets = model.get("sets");
  const names = ["set", "anchor", "critic", "p", "temperature"];
  const first = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const change = (values) => {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
    ask();
  };

  // The picture

  const anchor = element("p.dgm-lot-anchor");
  const heads = COLUMNS.map(([key, words]) =>
    element(
      "th",
      { scope: "col", role: "columnheader", class: `dgm-lot-cell dgm-lot-${key}` },
      ...formula(words),
    ),
  );
  const column = (...parts) => element("th", { scope: "col", role: "columnheader" }, ...parts);
  const body = element("tbody", { role: "rowgroup" });
  // The roles hold where a narrow page lays the rows out as grids.
  const head = element(
    "thead",
    { role: "rowgroup" },
    element("tr", { role: "row" }, column(...rich("*k*")), column("what may follow"), ...heads),
  );
  const caption = element(
    "caption.dgm-status",
    "The sentences after the chosen one: how likely each is drawn, and what it weighs",
  );
  frame.picture.append(anchor, element("table", { role: "table" }, caption, head, body));

  function newRow(text, k) {
    const cells = COLUMNS.map(([key]) => {
      const bar = element("span.dgm-lot-bar");
      const value = element("span");
      const node = element(
        "td",
        { role: "cell", class: `dgm-lot-cell dgm-lot-${key}` },
        element("span.dgm-lot-track", { "aria-hidden": "true" }, bar),
        value,
      );
      return { node, bar, value };
    });
    const sentence = element("span", text);
    const node = element(
      "tr",
      { role: "row" },
      element("td", { role: "cell" }, String(k)),
      element("th", { scope: "row", role: "rowheader" }, sentence),
      ...cells.map((c) => c.node),
    );
    return { node, sentence, cells };
  }

  // Controls

  const p = labelledSlider(`${frame.id}-p`, "", { min: 0.05, max: 0.9, step: 0.01 }, (v) => change({ p: v }));
  p.words.append(...rich("Chance of each step, *p*"));
  const tau = labelledSlider(`${frame.id}-tau`, "", { min: -PER_DECADE, max: PER_DECADE, step: 1 }, (v) =>
    change({ temperature: +(10 ** (v / PER_DECADE)).toPrecision(6) }),
  );
  tau.words.append(...rich("Temperature, *\u03c4*"));
  const picks = element("div.dgm-lot-picks");
  const select = (name, words, choose) => {
    const input = element("select", { id: `${frame.id}-${name}` });
    input.addEventListener("change", () => choose(input.value));
    picks.append(element("label", { for: input.id }, words), input);
    return input;
  };
  const set = sets.length > 1 ? select("set", "Text", (name) => change({ set: name, anchor: 0 })) : null;
  set?.append(...sets.map(({ name, label }) => element("option", { value: name }, label)));
  const which = select("anchor", "Sentence", (v) => change({ anchor: Number(v) }));
  const critic = select("critic", "Critic", (name) => change({ critic: name }));
  critic.append(
    ...Object.keys(sets[0].scores).map((name) => element("option", { value: name }, name)),
    element("option", { value: "" }, "none, T = 0"),
  );
  frame.controls.append(p.node, tau.node, picks, element("div.dgm-row", frame.reset));
  frame.reset.addEventListener("click", () => change(first));

  // Read-outs

  const list = element("dl");
  const effective = readout(list, "Effective sentences");
  const heaviest = readout(list, "Heaviest in a batch");
  const average = readout(list, "Most on average");
  const beyond = readout(list, "Drawn further on");
  const gauge = element("span.dgm-lot-gauge", { "aria-hidden": "true" }, element("span"));
  const cancel = element(
    "p.dgm-note",
    ...formula(
      "A near sentence is drawn more often, by *P*, and weighs less, by 1 / *P*: for one anchor the two cancel in a large batch, and its share on average goes with *e*^*T*/*\u03c4*",
    ),
    ...rich(", whatever *p*."),
  );
  const against = element(
    "p.dgm-note",
    ...rich(
      "\u0394*T* is the score minus that of the sentence that really follows, *k* = 0. Bars of the three shares have one scale.",
    ),
  );
  frame.side.append(list, cancel, against);

  let [listed, shown] = [null, null];
  let rows = [];
  const speak = throttled(frame.status, 600);

  // Rows anew where the sentence is another one.
  function fill(now) {
    if (now === listed && model.get("anchor") === shown) return;
    if (now !== listed)
      which.replaceChildren(
        ...now.anchors.map((place, i) =>
          element("option", { value: i }, `${place + 1}: ${shortened(now.texts[place])}`),
        ),
      );
    [listed, shown] = [now, model.get("anchor")];
    const place = now.anchors[shown];
    const K = Object.values(now.scores)[0][shown].length;
    anchor.replaceChildren(
      element("b", `Sentence ${place + 1} of ${now.texts.length}, and what training may set behind it:`),
      now.texts[place],
    );
    rows = Array.from({ length: K }, (_, k) => newRow(now.texts[place + 1 + k], k));
    body.replaceChildren(...rows.map(({ node }) => node));
  }

  function draw() {
    const now = sets.find(({ name }) => name === model.get("set"));
    if (model.get("anchor") >= now.anchors.length) model.set("anchor", 0);
    fill(now);
    const [share, heat, name] = [model.get("p"), model.get("temperature"), model.get("critic")];
    const scores = name ? now.scores[name][model.get("anchor")] : rows.map(() => 0);
    const made = lottery(scores, share, heat);
    p.input.value = share;
    p.say(share.toFixed(2));
    tau.input.value = Math.round(PER_DECADE * Math.log10(heat));
    tau.say(number(heat, 3));
    if (set) set.value = now.name;
    which.value = model.get("anchor");
    critic.value = name;
    const longest = Math.max(...made.drawn, ...made.weight, ...made.share);
    const best = Math.max(...made.gain);
    const [top, usual] = [made.weight, made.share].map((values) => values.indexOf(Math.max(...values)));
    rows.forEach(({ node, sentence, cells }, k) => {
      const parts = [
        made.drawn[k] / longest,
        Math.exp(made.gain[k] - best),
        made.weight[k] / longest,
        made.share[k] / longest,
      ];
      const texts = [
        percent(made.drawn[k]),
        `\u00d7 ${power(made.gain[k])}`,
        percent(made.weight[k]),
        percent(made.share[k]),
      ];
      cells.forEach(({ bar, value }, c) => {
        bar.style.setProperty("--part", parts[c].toFixed(4));
        if (value.textContent !== texts[c]) value.textContent = texts[c];
      });
      sentence.style.setProperty("--weight", made.weight[k].toFixed(3));
      node.classList.toggle("dgm-lot-most", k === top);
    });
    const K = rows.length;
    effective.replaceChildren(`${made.effective.toFixed(2)} of ${K}`, gauge);
    gauge.firstChild.style.setProperty("--part", (made.effective / K).toFixed(4));
    heaviest.replaceChildren(...rich(`*k* = ${top}, ${percent(made.weight[top])}`));
    average.replaceChildren(...rich(`*k* = ${usual}, ${percent(made.share[usual])}`));
    beyond.textContent = percent(made.beyond);
    frame.root.dataset.weights = JSON.stringify(made.weight);
    frame.root.dataset.shares = JSON.stringify(made.share);
    speak(
      `p ${share.toFixed(2)}, temperature ${number(heat, 3)}. Heaviest in a batch: k = ${top}, ${percent(made.weight[top])}. ${made.effective.toFixed(1)} effective sentences of ${K}.`,
    );
    return false;
  }
  const ask = onceAFrame("dgm:lottery", draw);

  for (const name of names) model.on(`change:${name}`, ask);
  el.append(frame.root);
  ask();
  return () => {
    ask.stop();
    for (const name of names) model.off(`change:${name}`, ask);
  };
}

export default { render };
