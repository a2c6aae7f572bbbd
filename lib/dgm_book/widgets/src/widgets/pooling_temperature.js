// From mean to maximum: how much each word counts, and how far apart the sentences come to lie.

import { buildFrame, element, number, onceAFrame, onWidth, rich, shape, throttled } from "../frame.js";
import { checkPooling, dispersionOf, idly, loadPooling, softPool } from "../models/pooling_model.js";
import { tokenise } from "../models/text_model.js";
import { barCell, brief, readingNotes, sentenceInput, wordHead } from "../sentence_view.js";

const STATISTICS = [
  ["cosine", "cosine between sentences", (x) => x.toFixed(3)],
  ["relative", "variance relative to the mean", (x) => number(x, 3)],
  ["participation", "directions in use", (x) => x.toFixed(1)],
];
const STEP = 4; // slider positions between the points of a curve
const ABSENT = "Type a sentence, or pick one: there is no word to weigh yet.";

async function render({ model, el }) {
  const shared = await loadPooling(model);
  const { encoders } = shared;
  const examples = model.get("examples");
  const temperatures = [Infinity, ...model.get("temperatures"), 0];
  const last = temperatures.length - 1;
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "move the slider from end to end, and see which words are left.",
  });
  frame.root.classList.add("dgm-enc", "dgm-enc-tau");
  const first = { sentence: model.get("sentence"), kind: model.get("kind"), position: model.get("position") };
  checkPooling(shared, (error) => (frame.root.dataset.goldenError = error));

  const input = sentenceInput(frame, examples, (sentence) => change({ sentence }));
  const rows = element("tbody");
  const caption = element("caption.dgm-status", "How much each word counts in the pooled features");
  const table = element("table.dgm-enc-weights", caption, rows);
  const note = element("p.dgm-note");
  const meaning = element(
    "p.dgm-note",
    "Bars: how much a word counts in ",
    ...rich("*s* = *\u03c4* log mean exp(*h* / *\u03c4*)"),
    ", averaged over units. Dashed: all words alike.",
  );
  frame.picture.append(...input.nodes, note, table, meaning);

  const slider = element("input", { type: "range", min: 0, max: last, step: 1, id: `${frame.id}-tau` });
  const value = element("output", { for: slider.id });
  const choice = element(
    "fieldset.dgm-row",
    element("legend.dgm-enc-legend", "States of the encoder trained with"),
  );
  const radios = encoders.map(({ kind, label }) => {
    const radio = element("input", { type: "radio", name: `${frame.id}-kind`, value: kind });
    choice.append(element("label", radio, label));
    radio.addEventListener("change", () => change({ kind }));
    return radio;
  });
  frame.controls.append(
    element(
      "div",
      element(
        "div.dgm-slider",
        element("label", { for: slider.id }, element("span", ...rich("Temperature *\u03c4*")), value),
        slider,
      ),
      element(
        "div.dgm-ends",
        { "aria-hidden": "true" },
        element("span", "mean, hot"),
        element("span", "maximum, cold"),
      ),
    ),
    choice,
  );

  const charts = shape("svg", { role: "img", "data-waiting": "" });
  const panels = STATISTICS.map(([, name]) => {
    const panel = {
      title: shape("text.dgm-strong", { x: 0 }, name),
      value: shape("text.dgm-strong.dgm-enc-now", { "text-anchor": "end" }),
      base: shape("path.dgm-axis"),
      line: shape("path.dgm-stem"),
      rule: shape("path.dgm-enc-rule"),
      dot: shape("circle.dgm-rd-dot", { r: 5 }),
      low: shape("text", { "text-anchor": "end" }),
      high: shape("text", { "text-anchor": "end" }),
    };
    charts.append(
      panel.base,
      panel.rule,
      panel.line,
      panel.dot,
      panel.low,
      panel.high,
      panel.title,
      panel.value,
    );
    return panel;
  });
  const ends = ["mean", "maximum"].map((name, i) =>
    shape("text", { "text-anchor": i ? "end" : "start" }, name),
  );
  charts.append(...ends);
  const crowd = element("p.dgm-caption", `How far apart the ${examples.length} examples lie`);
  const drawing = element("div", crowd, charts);
  frame.side.append(drawing, frame.reset);
  const plot = { left: 38, right: 0, top: 30, height: 56, pitch: 104 };
  const across = (position) => plot.left + ((plot.right - plot.left) * position) / last;

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    ask();
  }

  // For each encoder the states of the examples and the curves, made when the page is idle.
  const surveys = new Map();
  let stopSurvey = () => {};

  function surveyOf(encoder) {
    if (surveys.has(encoder)) return surveys.get(encoder);
    const survey = {
      states: [],
      curve: [],
      ready: false,
      features: new Float64Array(examples.length * encoder.H),
    };
    surveys.set(encoder, survey);
    return survey;
  }

  function startSurvey(encoder) {
    stopSurvey();
    const survey = surveyOf(encoder);
    if (survey.ready) return;
    stopSurvey = idly(work(encoder, survey), () => {
      survey.ready = true;
      shownCurve = null;
      ask();
    });
  }

  function* work(encoder, survey) {
    for (let m = survey.states.length; m < examples.length; m++) {
      survey.states.push(encoder.states(shared.encode(tokenise(examples[m])).tokens));
      yield;
    }
    for (let position = STEP * survey.curve.length; position <= last; position += STEP) {
      survey.curve.push({ position, ...dispersionAt(encoder, survey, temperatures[position]) });
      yield;
    }
  }

  function dispersionAt({ H }, { states, features }, tau) {
    states.forEach((h, m) => softPool(h, H, tau, features.subarray(m * H, (m + 1) * H)));
    return dispersionOf(features, H);
  }

  let typed = null;
  let source = null;
  let encoder = null;
  let states = null;
  let share = null;
  let longest = 1;
  let cells = [];
  let shownCurve = null;
  let pooled = null;
  const speak = throttled(frame.status, 600);

  function draw() {
    const sentence = model.get("sentence");
    const chosen = encoders.find(({ kind }) => kind === model.get("kind"));
    const position = model.get("position");
    const tau = temperatures[position];
    if (sentence !== typed || chosen !== encoder) {
      const anew = sentence !== typed;
      if (chosen !== encoder) startSurvey(chosen);
      [typed, encoder] = [sentence, chosen];
      read(anew);
    }
    for (const radio of radios) radio.checked = radio.value === encoder.kind;
    slider.value = position;
    const told = position === 0 ? "\u221e, the mean" : position === last ? "0, the maximum" : number(tau, 2);
    value.textContent = told;
    slider.setAttribute("aria-valuetext", told);
    weigh(tau);
    survey(position, tau, told);
    return false;
  }

  function read(anew) {
    input.show(typed);
    if (anew) source = shared.encode(tokenise(typed));
    const empty = !source.words.length;
    note.textContent = empty ? ABSENT : readingNotes(source, shared).join(" ");
    table.hidden = empty;
    states = encoder.states(source.tokens);
    pooled = new Float64Array(encoder.H);
    share = new Float64Array(source.tokens.length);
    // One scale for the whole of the slider.
    longest = 0;
    for (const tau of temperatures.filter((_, i) => i % 10 === 0)) {
      softPool(states, encoder.H, tau, pooled, share);
      longest = Math.max(longest, ...share);
    }
    cells = source.tokens.map(() => barCell("dgm-enc-max"));
    const marker = (text) => element("th.dgm-enc-marker", { scope: "row" }, text);
    const heads = [
      marker("start"),
      ...source.words.map((word, w) => wordHead(word, source.unknown[w])),
      marker("end"),
    ];
    rows.replaceChildren(...heads.map((head, t) => element("tr", head, cells[t].node)));
    table.style.setProperty("--even", `${100 / share.length / longest}%`);
  }

  function weigh(tau) {
    softPool(states, encoder.H, tau, pooled, share);
    cells.forEach(({ set }, t) => set(share[t] / longest, `${(100 * share[t]).toFixed(1)}\u2009%`));
    frame.root.dataset.shares = Array.from(share, (x) => x.toFixed(6)).join(" ");
  }

  function survey(position, tau, told) {
    const { ready, curve } = surveyOf(encoder);
    charts.toggleAttribute("data-waiting", !ready);
    const now = ready ? dispersionAt(encoder, surveyOf(encoder), tau) : null;
    if (ready && plot.right && shownCurve !== encoder) drawCurves(curve);
    const spoken = [`Temperature ${told}.`];
    STATISTICS.forEach(([key, name, text], p) => {
      const { value: out, dot, rule, up } = panels[p];
      out.textContent = now ? text(now[key]) : "\u2026";
      if (!now || !up) return;
      spoken.push(`${name} ${text(now[key])}.`);
      dot.setAttribute("cx", across(position));
      dot.setAttribute("cy", up(now[key]));
      const top = plot.top + p * plot.pitch;
      rule.setAttribute("d", `M${across(position)} ${top}V${top + plot.height}`);
    });
    if (now) frame.root.dataset.dispersion = STATISTICS.map(([key]) => now[key]).join(" ");
    if (source.words.length) {
      const t = share.indexOf(Math.max(...share));
      const word = ["start", ...source.words, "end"][t];
      spoken.push(`Counts most: \u201c${brief(word)}\u201d, ${(100 * share[t]).toFixed(0)} percent.`);
    }
    spoken.push(note.textContent);
    charts.setAttribute("aria-label", `Three curves over the temperature. ${spoken.slice(0, 4).join(" ")}`);
    speak(spoken.join(" "));
  }

  function drawCurves(curve) {
    shownCurve = encoder;
    STATISTICS.forEach(([key, , text], p) => {
      const panel = panels[p];
      const values = curve.map((point) => point[key]);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const top = plot.top + p * plot.pitch;
      panel.up = (y) => top + plot.height * (1 - (y - low) / Math.max(1e-12, high - low));
      panel.line.setAttribute(
        "d",
        `M${curve.map((point) => `${across(point.position).toFixed(1)} ${panel.up(point[key]).toFixed(1)}`).join("L")}`,
      );
      panel.low.textContent = text(low);
      panel.high.textContent = text(high);
    });
  }

  function layout(w) {
    plot.right = w - 8;
    const height = plot.top + STATISTICS.length * plot.pitch - 26;
    charts.setAttribute("viewBox", `0 0 ${w} ${height}`);
    charts.setAttribute("height", height);
    panels.forEach((panel, p) => {
      const top = plot.top + p * plot.pitch;
      const end = top + plot.height;
      panel.title.setAttribute("y", top - 14);
      panel.value.setAttribute("x", plot.right);
      panel.value.setAttribute("y", top - 14);
      panel.base.setAttribute("d", `M${plot.left - 6} ${top}V${end + 6}H${plot.right}`);
      for (const [label, y] of [
        [panel.high, top + 4],
        [panel.low, end + 4],
      ]) {
        label.setAttribute("x", plot.left - 10);
        label.setAttribute("y", y);
      }
    });
    ends.forEach((text, i) => {
      text.setAttribute("x", i ? plot.right : plot.left - 6);
      text.setAttribute("y", height - 2);
    });
    shownCurve = null;
    ask();
  }

  const ask = onceAFrame("dgm:temperature", draw);
  slider.addEventListener("input", () => change({ position: Number(slider.value) }));
  frame.reset.addEventListener("click", () => change(first));
  const watched = ["change:sentence", "change:kind", "change:position"];
  for (const name of watched) model.on(name, ask);
  el.append(frame.root);
  ask();
  const stopWidth = onWidth(drawing, layout);
  return () => {
    ask.stop();
    stopSurvey();
    stopWidth();
    for (const name of watched) model.off(name, ask);
  };
}

export default { render };
