// Steer a sentence: a triangle of three ways to say it, and the sentence rewritten as the reader moves.

import { buildFrame, element, MARKS, onceAFrame, onWidth, readout, shape, throttled } from "../frame.js";
import { bufferOf, floatsOf } from "../models/nn.js";
import { checkGolden, loadText, tokenise } from "../models/text_model.js";
import { compared, hiding, plainText, remarks, showSentence, showVotes, told } from "../text_view.js";

const OTHERS = "The model knows none of these words, so there is nothing that it could say differently.";

async function render({ model, el }) {
  const text = await loadText(model);
  const names = model.get("names");
  const margins = model.get("margins");
  const threshold = model.get("threshold");
  const points = floatsOf(model.get("points"));
  const labels = new Uint8Array(bufferOf(model.get("point_labels")));
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "drag the ring from corner to corner, or type a sentence of your own.",
  });
  frame.root.classList.add("dgm-text");
  const first = { sentence: model.get("sentence"), target: model.get("target"), effort: model.get("effort") };
  checkGolden(text, (wrong) => (frame.root.dataset.goldenWrong = wrong));

  // The picture is the sentence.
  const said = element("p.dgm-said");
  const gone = element("p.dgm-gone");
  const box = element("textarea", {
    id: `${frame.id}-box`,
    maxlength: 2000,
    rows: 2,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "Type a sentence",
  });
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    element("option", { value: "" }, "Pick a sentence"),
  );
  for (const example of model.get("examples")) pick.append(element("option", { value: example }, example));
  const votes = element("div.dgm-votes");
  const explained = element(
    "p.dgm-note",
    `Bars: up speaks for ${names[2]}, down for ${names[0]}. Dashed: hidden, to be said anew.`,
  );
  const note = element("p.dgm-note");
  const heads = element(
    "div.dgm-heads",
    element("label", { for: box.id }, "Your sentence"),
    element("label.dgm-pick", { for: pick.id }, element("span.dgm-status", "Examples"), pick),
  );
  frame.picture.append(element("div.dgm-stage", said, gone), heads, box, votes, explained, note);

  // The triangle: first vertex left, second on top, third right.
  const svg = shape("svg.dgm-pad", {
    tabindex: 0,
    role: "application",
    "aria-roledescription": "triangle",
    "aria-label": `How it shall sound: ${names.join(", ")}. Left and right arrows move between ${names[0]} and ${names[2]}, up and down to and from ${names[1]}; with Shift in larger steps.`,
  });
  const ground = shape("path.dgm-tri");
  const crowd = shape("g.dgm-crowd");
  const corners = shape("g");
  const way = shape("path.dgm-way");
  const from = shape("path.dgm-from");
  const to = shape("path.dgm-to");
  const ring = shape("circle.dgm-ring", { r: 10 });
  svg.append(ground, crowd, way, from, to, ring, corners);
  const plot = { left: 0, top: 24, side: 0, height: 0 };
  const spot = (p) => [plot.left + plot.side * (p[1] / 2 + p[2]), plot.top + plot.height * (1 - p[1])];

  function layout(w) {
    plot.side = Math.min(w - 32, 330);
    plot.height = (plot.side * Math.sqrt(3)) / 2;
    plot.left = (w - plot.side) / 2;
    const end = plot.top + plot.height;
    svg.setAttribute("viewBox", `0 0 ${w} ${end + 32}`);
    svg.setAttribute("height", end + 32);
    const at = [
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ].map(spot);
    ground.setAttribute("d", `M${at.map((p) => p.join(" ")).join("L")}Z`);
    const anchors = [
      [Math.max(0, plot.left - 28), end + 26, "start"],
      [at[1][0], 14, "middle"],
      [Math.min(w, w - plot.left + 28), end + 26, "end"],
    ];
    corners.replaceChildren(
      ...anchors.map(([x, y, anchor], k) =>
        shape("text.dgm-strong", { x, y, "text-anchor": anchor }, names[k]),
      ),
    );
    crowd.replaceChildren();
    ["wedge", "triangle", "circle"].forEach((mark, label) => {
      let d = "";
      for (let n = 0; n < labels.length; n++) {
        if (labels[n] !== label) continue;
        const [x, y] = spot(points.subarray(3 * n, 3 * n + 3));
        d += MARKS[mark](+x.toFixed(1), +y.toFixed(1), 2);
      }
      if (d) crowd.append(shape("path", { d }));
    });
    ask();
  }

  const sliders = names.map((name, k) => slider(name, 0, 100, (v) => aim(shared(k, v))));
  const legend = [
    [shape("circle.dgm-ring", { cx: 7, cy: 7, r: 5 }), "wanted"],
    [shape("path.dgm-from", { d: MARKS.square(7, 7, 4) }), "as you wrote it"],
    [shape("path.dgm-to", { d: MARKS.diamond(7, 7, 4) }), "rewritten"],
  ];
  [
    ["wedge", `others, ${names[0]}`],
    ["triangle", `others, ${names[2]}`],
  ].forEach(([mark, words], label) => {
    if (labels.includes(label)) legend.push([shape("path.dgm-crowd", { d: MARKS[mark](7, 7, 3.4) }), words]);
  });
  const key = element("div.dgm-row.dgm-signs");
  for (const [sign, words] of legend)
    key.append(element("span", shape("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" }, sign), words));

  const effort = slider("How much may change", 1, margins.length, (v) => change({ effort: v }));
  const ends = element(
    "div.dgm-ends",
    { "aria-hidden": "true" },
    element("span", "little"),
    element("span", "much"),
  );
  frame.controls.append(svg, key, element("div", effort.node, ends));

  const bars = element("div.dgm-bars", { role: "group", "aria-label": "How the model reads both sentences" });
  const rows = names.map((name) => {
    const mine = element("span.dgm-bar.dgm-bar-from");
    const made = element("span.dgm-bar.dgm-bar-to");
    const value = element("span.dgm-odds");
    bars.append(element("span", name), element("span.dgm-tracks", mine, made), value);
    return { mine, made, value };
  });
  const list = element("dl");
  const outs = {
    margin: readout(list, "Margin"),
    agreement: readout(list, "Agreement"),
    time: readout(list, "Time"),
  };
  frame.side.append(
    element("div", { role: "group", "aria-label": "How it shall sound" }, ...sliders.map((s) => s.node)),
    element("div", element("p.dgm-caption", "How the model itself reads it, yours \u2192 rewritten"), bars),
    element("div", list),
    frame.reset,
  );

  function slider(name, min, max, move) {
    const input = element("input", {
      type: "range",
      min,
      max,
      step: 1,
      id: `${frame.id}-${name.replaceAll(" ", "-")}`,
    });
    const value = element("output", { for: input.id });
    const node = element(
      "div.dgm-slider",
      element("label", { for: input.id }, element("span", name), value),
      input,
    );
    input.addEventListener("input", () => move(Number(input.value)));
    return { node, input, value };
  }

  // One weight moves, the others keep their proportion; all in hundredths, so that they sum to one.
  function shared(k, v) {
    const target = model.get("target").map((w) => Math.round(100 * w));
    const others = [0, 1, 2].filter((i) => i !== k);
    const [a, b] = others.map((i) => target[i]);
    const part = a + b ? Math.round(((100 - v) * a) / (a + b)) : Math.round((100 - v) / 2);
    target[k] = v;
    target[others[0]] = part;
    target[others[1]] = 100 - v - part;
    return target.map((w) => w / 100);
  }

  function aim(weights) {
    const inside = weights.map((w) => Math.max(0, w));
    const sum = inside.reduce((x, y) => x + y);
    const whole = inside.map((w) => Math.round((100 * w) / sum));
    const largest = whole.indexOf(Math.max(...whole));
    whole[largest] += 100 - whole[0] - whole[1] - whole[2];
    change({ target: whole.map((w) => w / 100) });
  }

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    ask();
  }

  let typed = null;
  let source = null;
  const speak = throttled(frame.status, 600);

  function draw() {
    const sentence = model.get("sentence");
    const target = model.get("target");
    if (sentence !== typed) {
      typed = sentence;
      if (box.value !== sentence) box.value = sentence;
      pick.value = model.get("examples").includes(sentence) ? sentence : "";
      source = text.encode(tokenise(sentence, true));
    }
    sliders.forEach(({ input, value }, k) => {
      input.value = Math.round(100 * target[k]);
      value.textContent = `${input.value}\u2009%`;
    });
    effort.input.value = model.get("effort");
    const smallest = margins[model.get("effort") - 1];
    effort.value.textContent = smallest < 10 ? `margin ${smallest}` : "no word hidden";
    effort.input.setAttribute(
      "aria-valuetext",
      smallest < 10 ? `words may go whose vote against it is above ${smallest}` : "no word is hidden",
    );
    if (plot.side) {
      const [x, y] = spot(target);
      ring.setAttribute("cx", x);
      ring.setAttribute("cy", y);
    }
    const known = source.tokens.length > source.unknownWords.length;
    if (known) show(target, margins.slice(0, model.get("effort")));
    else showNothing();
    return false;
  }

  function show(target, ladder) {
    const start = performance.now();
    const made = text.rewrite(source, target, { margins: ladder, threshold });
    const ms = performance.now() - start;
    const { dropped, added } = compared(source.tokens, made.tokens);
    showSentence(said, made.tokens, added);
    said.classList.remove("dgm-empty");
    said.classList.toggle("dgm-long", made.tokens.length > 18);
    gone.textContent = told(
      source.tokens.filter((_, s) => dropped[s]),
      added,
    );
    showVotes(votes, source, made.masked, names);
    rows.forEach(({ mine, made: bar, value }, k) => {
      mine.style.width = `${100 * source.reading.p[k]}%`;
      bar.style.width = `${100 * made.reading.p[k]}%`;
      value.textContent = `${source.reading.p[k].toFixed(2)} \u2192 ${made.reading.p[k].toFixed(2)}`;
    });
    outs.margin.textContent = hiding(made);
    outs.agreement.textContent = `${made.agreement.toFixed(2)}, ${threshold.toFixed(2)} is enough`;
    outs.time.textContent = `${ms.toFixed(ms < 10 ? 1 : 0)} ms a rewrite`;
    if (plot.side) {
      const [a, b] = [spot(source.reading.p), spot(made.reading.p)];
      from.setAttribute("d", MARKS.square(...a, 4.5));
      to.setAttribute("d", MARKS.diamond(...b, 4.5));
      way.setAttribute("d", `M${a.join(" ")}L${b.join(" ")}`);
    }
    const remarked = remarks(source);
    if (made.agreement < threshold) remarked.push("This is as near as it came with so much change.");
    note.textContent = remarked.join(" ");
    report(made.tokens.join(" "), `${plainText(made.tokens)} ${remarked.join(" ")}`);
  }

  function showNothing() {
    const words = source.tokens.length
      ? [OTHERS, ...remarks(source)].join(" ")
      : "Type a sentence, or pick one: there is nothing to rewrite yet.";
    said.textContent = plainText(source.tokens) || "\u2026";
    said.classList.add("dgm-empty");
    gone.textContent = "";
    note.textContent = words;
    votes.replaceChildren();
    for (const { mine, made, value } of rows) {
      mine.style.width = made.style.width = "0";
      value.textContent = "\u2013";
    }
    for (const out of Object.values(outs)) out.textContent = "\u2013";
    for (const mark of [from, to, way]) mark.removeAttribute("d");
    report(source.tokens.join(" "), words);
  }

  function report(rewritten, spoken) {
    frame.root.dataset.rewritten = rewritten;
    if (rewritten !== model.get("rewritten")) {
      model.set("rewritten", rewritten);
      model.save_changes();
    }
    speak(spoken);
  }

  const ask = onceAFrame("dgm:steer", draw);
  box.addEventListener("input", () => change({ sentence: box.value }));
  box.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  pick.addEventListener("change", () => pick.value && change({ sentence: pick.value }));
  frame.reset.addEventListener("click", () => change(first));
  const point = (event) => {
    if (event.type === "pointerdown") svg.setPointerCapture(event.pointerId);
    else if (!event.buttons) return;
    const bounds = svg.getBoundingClientRect();
    const up = 1 - (event.clientY - bounds.top - plot.top) / plot.height;
    const right = (event.clientX - bounds.left - plot.left) / plot.side - up / 2;
    aim([1 - up - right, up, right]);
  };
  svg.addEventListener("pointerdown", point);
  svg.addEventListener("pointermove", point);
  svg.addEventListener("keydown", (event) => {
    const step = {
      ArrowLeft: [1, 0, -1],
      ArrowRight: [-1, 0, 1],
      ArrowUp: [-0.5, 1, -0.5],
      ArrowDown: [0.5, -1, 0.5],
    }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const size = event.shiftKey ? 0.2 : 0.04;
    aim(model.get("target").map((w, k) => w + size * step[k]));
  });
  const watched = ["change:sentence", "change:target", "change:effort"];
  for (const name of watched) model.on(name, ask);
  el.append(frame.root);
  const stopWidth = onWidth(frame.controls, layout);
  return () => {
    ask.stop();
    stopWidth();
    for (const name of watched) model.off(name, ask);
  };
}

export default { render };
