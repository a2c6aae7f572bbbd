// Walk off the cliff: two latent spaces, a walk through each, and where the codes on the way lie among those
// of real sentences.

import {
  buildFrame,
  element,
  MARKS,
  number,
  onceAFrame,
  onWidth,
  shape,
  throttled,
  ticks,
} from "../frame.js";
import { compared, plainText, showSentence } from "../text_view.js";

const MEASURES = { log_mean: "log of the mean density", mean_log: "mean of the log densities" };

async function render({ model, el }) {
  const sources = model.get("sources");
  const models = model.get("models");
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "move both sliders to their ends, and watch where the mark goes.",
  });
  frame.root.classList.add("dgm-cliff");
  const first = { source: model.get("source"), measure: model.get("measure"), places: model.get("places") };

  const pick = element(
    "select",
    { id: `${frame.id}-source` },
    ...sources.map((text, i) => element("option", { value: i }, plainText(text))),
  );
  const radios = Object.entries(MEASURES).map(([name, words]) => {
    const radio = element("input", { type: "radio", name: `${frame.id}-measure`, value: name });
    radio.addEventListener("change", () => change({ measure: name }));
    return { name, radio, label: element("label", radio, words) };
  });
  const panels = models.map((m, i) => panel(m, i));
  frame.picture.append(...panels.map((p) => p.node));
  frame.controls.append(
    element("div.dgm-heads", element("label", { for: pick.id }, "The sentence it starts from"), pick),
    element(
      "div.dgm-row",
      { role: "radiogroup", "aria-label": "Density" },
      ...radios.map((r) => r.label),
      frame.reset,
    ),
  );
  pick.addEventListener("change", () => change({ source: Number(pick.value) }));
  frame.reset.addEventListener("click", () => change(first));

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    ask();
  }

  function panel(m, i) {
    const said = element("p.dgm-said");
    const svg = shape("svg", { role: "img" });
    const hills = shape("g");
    const trail = shape("path.dgm-trail");
    const stem = shape("path.dgm-stem");
    const mark = shape("path.dgm-to");
    const note = shape("text.dgm-strong.dgm-halo");
    svg.append(hills, trail, stem, mark, note);
    const input = element("input", {
      type: "range",
      min: 0,
      max: m.steps.length - 1,
      step: 1,
      id: `${frame.id}-step-${i}`,
    });
    const value = element("output", { for: input.id });
    const label = element("label", { for: input.id }, element("span", m.axis), value);
    input.addEventListener("input", () =>
      change({ places: model.get("places").map((k, j) => (j === i ? Number(input.value) : k)) }),
    );
    const out = element("p.dgm-note");
    const node = element(
      "div",
      { class: m.baseline ? "dgm-panel dgm-baseline" : "dgm-panel" },
      element("p.dgm-caption", m.label),
      element("div.dgm-stage", said),
      element("div.dgm-slider", label, input),
      svg,
      out,
    );
    return { node, said, svg, hills, trail, stem, mark, note, input, value, out, drawn: "" };
  }

  const plot = { left: 6, top: 16, height: 104 };

  // The axis holds the codes of real sentences and the whole walk; the walk's far end may be very far.
  function scale(m, measure, source, width) {
    const all = [...m.original[measure], ...m[measure][source]];
    const [low, high] = [Math.min(...all), Math.max(...all)];
    const spare = 0.04 * (high - low || 1);
    const [start, span] = [low - spare, high - low + 2 * spare || 1];
    return { start, span, px: (v) => plot.left + ((v - start) / span) * (width - 2 * plot.left) };
  }

  function drawHills(p, m, measure, { start, span, px }) {
    const values = m.original[measure];
    const bins = 44;
    const counts = new Array(bins).fill(0);
    for (const v of values) counts[Math.min(bins - 1, Math.floor((bins * (v - start)) / span))]++;
    const top = Math.max(...counts);
    const bottom = plot.top + plot.height;
    let d = `M${px(start)} ${bottom}`;
    counts.forEach((count, b) => {
      const y = bottom - (count / top) * (plot.height - 26);
      d += `L${px(start + (b * span) / bins).toFixed(1)} ${y.toFixed(1)}H${px(start + ((b + 1) * span) / bins).toFixed(1)}`;
    });
    p.hills.replaceChildren(
      shape("path.dgm-hill", { d: `${d}V${bottom}Z` }),
      shape("path.dgm-axis", { d: `M${px(start)} ${bottom}H${px(start + span)}` }),
    );
    for (const v of ticks(start, start + span, 5)) {
      p.hills.append(
        shape("path.dgm-axis", { d: `M${px(v)} ${bottom}v4` }),
        shape(
          "text",
          { x: px(v), y: bottom + 17, "text-anchor": "middle" },
          String(+v.toPrecision(6)).replace("-", "\u2212"),
        ),
      );
    }
    p.hills.append(
      shape(
        "text.dgm-strong",
        { x: px(start + span / 2), y: bottom + 34, "text-anchor": "middle" },
        "\u2212log density in nats, rarer to the right",
      ),
    );
  }

  const speak = throttled(frame.status, 600);

  function draw() {
    const [source, measure, places] = [model.get("source"), model.get("measure"), model.get("places")];
    pick.value = source;
    for (const { name, radio } of radios) radio.checked = name === measure;
    const spoken = models.map((m, i) => {
      const p = panels[i];
      const k = places[i];
      const tokens = m.sentences[source][k];
      showSentence(p.said, tokens, compared(sources[source], tokens).added);
      p.input.value = k;
      p.value.textContent = m.tick[k];
      const density = m[measure][source][k];
      const beyond = m.original[measure].filter((v) => v < density).length / m.original[measure].length;
      const share = beyond === 1 ? "every" : `${Math.floor(100 * beyond)}\u2009% of the`;
      const where =
        beyond === 1
          ? "Farther out than every code of a real sentence"
          : `Farther out than ${share} codes of real sentences`;
      const reading = m.reading
        ? `; read as positive with probability ${m.reading[source][k].toFixed(2)}`
        : "";
      p.out.textContent = `${where}${reading}.`;
      p.input.setAttribute("aria-valuetext", `${m.tick[k]}: ${plainText(tokens)}`);
      p.svg.setAttribute(
        "aria-label",
        `${m.label}: codes of real sentences as a histogram, this code at ${number(density)} nats`,
      );
      const width = Math.floor(p.svg.clientWidth);
      if (width > 0) drawMark(p, m, measure, source, k, density, width, beyond === 1);
      return `${m.label}, ${m.tick[k]}: ${plainText(tokens)} ${where}.`;
    });
    speak(spoken.join(" "));
    return false;
  }

  function drawMark(p, m, measure, source, k, density, width, off) {
    const axis = scale(m, measure, source, width);
    const key = `${measure} ${source} ${width}`;
    if (p.drawn !== key) {
      p.drawn = key;
      p.svg.setAttribute("viewBox", `0 0 ${width} ${plot.top + plot.height + 40}`);
      p.svg.setAttribute("height", plot.top + plot.height + 40);
      drawHills(p, m, measure, axis);
    }
    const x = axis.px(density);
    const bottom = plot.top + plot.height;
    // The way walked so far.
    const walked = m[measure][source].slice(Math.min(k, m.origin), Math.max(k, m.origin) + 1);
    p.trail.setAttribute("d", walked.map((v) => MARKS.circle(axis.px(v), bottom - 8, 2)).join(""));
    p.stem.setAttribute("d", `M${x} ${plot.top + 10}V${bottom}`);
    p.mark.setAttribute("d", MARKS.diamond(x, plot.top + 10, 6));
    p.stem.classList.toggle("dgm-off", off);
    p.mark.classList.toggle("dgm-off", off);
    p.note.textContent = density.toFixed(1).replace("-", "\u2212");
    const right = x > width - 70;
    p.note.setAttribute("x", right ? x - 11 : x + 11);
    p.note.setAttribute("text-anchor", right ? "end" : "start");
    p.note.setAttribute("y", plot.top + 14);
  }

  const ask = onceAFrame("dgm:cliff", draw);
  const watched = ["change:source", "change:measure", "change:places"];
  for (const name of watched) model.on(name, ask);
  el.append(frame.root);
  const stopWidth = onWidth(frame.picture, ask);
  ask();
  return () => {
    ask.stop();
    stopWidth();
    for (const name of watched) model.off(name, ask);
  };
}

export default { render };
