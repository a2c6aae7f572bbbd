// Walk off the cliff: two latent spaces, a walk through each, and where the codes on the way lie among those
// of real sentences.

import { linear } from "../charts.js";
import { labelledSlider } from "../controls.js";
import { apart, formOf, pickOf, radiosOf } from "../form.js";
import { element, MARKS, number, shape, ticks } from "../frame.js";
import { axisName, bottomAxis, resize, words } from "../plot.js";
import { compared, plainText, showSentence } from "../text_view.js";
import { defineWidget } from "../widget.js";

const MEASURES = { log_mean: "log of the mean density", mean_log: "mean of the log densities" };
const [LEFT, TOP, TALL, BINS] = [6, 16, 104, 44];
const BOTTOM = TOP + TALL;

/** A histogram of codes up to px(high). @param {number[]} codes @param {number[]} ends @param {Scale1D} px */
function hillsOf(codes, [low, high], px) {
  const counts = new Array(BINS).fill(0);
  for (const v of codes) counts[Math.min(BINS - 1, Math.floor((BINS * (v - low)) / (high - low)))]++;
  const top = Math.max(...counts);
  let d = `M${px(low)} ${BOTTOM}`;
  for (const [b, count] of counts.entries()) {
    const y = BOTTOM - (count / top) * (TALL - 26);
    const [from, to] = [b, b + 1].map((k) => px(low + (k * (high - low)) / BINS).toFixed(1));
    d += `L${from} ${y.toFixed(1)}H${to}`;
  }
  return [
    shape("path.dgm-hill", { d: `${d}V${BOTTOM}Z` }),
    shape("path.dgm-axis", { d: `M${px(low)} ${BOTTOM}H${px(high)}` }),
    ...bottomAxis(ticks(low, high, 5), { px, y: BOTTOM + 1 }),
    axisName(px((low + high) / 2), BOTTOM + 34, "\u2212log density in nats, rarer to the right"),
  ];
}

// Real sentences' codes, those of the walk as far as it went, and where it is.
/** @type {(real: number[], codes: number[], k: number, origin: number, width: number) => SVGElement[]} */
function chartOf(real, codes, k, origin, width) {
  // The axis holds the codes of real sentences and the whole walk; the walk's far end may be very far.
  const all = [...real, ...codes];
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const spare = 0.04 * (most - least || 1);
  const ends = [least - spare, most + spare];
  const px = linear(ends, [LEFT, width - LEFT]);
  const off = Math.max(...real) < codes[k] ? ".dgm-off" : "";
  const x = px(codes[k]);
  const walked = codes.slice(Math.min(k, origin), Math.max(k, origin) + 1);
  const [at, anchor] = x > width - 70 ? [x - 11, "end"] : [x + 11, "start"];
  const look = { class: "dgm-strong dgm-halo", "text-anchor": anchor };
  return [
    ...hillsOf(real, ends, px),
    shape("path.dgm-trail", { d: walked.map((v) => MARKS.circle(px(v), BOTTOM - 8, 2)).join("") }),
    shape(`path.dgm-stem${off}`, { d: `M${x} ${TOP + 10}V${BOTTOM}` }),
    shape(`path.dgm-to${off}`, { d: MARKS.diamond(x, TOP + 10, 6) }),
    words(at, TOP + 14, codes[k].toFixed(1).replace("-", "\u2212"), look),
  ];
}

/** A walk's sentence, slider and chart. @param {Widget} w @param {Walk} walk @param {number} i */
function makePanel(w, walk, i) {
  const [sentence, note, svg] = [element("p.dgm-said"), element("p.dgm-note"), shape("svg", { role: "img" })];
  const range = { min: 0, max: walk.steps.length - 1, step: 1 };
  const slider = labelledSlider(`${w.id}-step-${i}`, "", range, (v) => {
    w.change({ places: Object.assign([...w.get("places")], { [i]: v }) });
  });
  slider.words.append(walk.axis);
  const parts = [element("p.dgm-caption", walk.label), element("div.dgm-stage", sentence), slider.node];
  w.picture.append(
    element(walk.baseline ? "div.dgm-panel.dgm-baseline" : "div.dgm-panel", ...parts, svg, note),
  );

  /** Returns what is to be said. @type {CliffPanel["show"]} */
  function show(width, measure, source, k) {
    const tokens = walk.sentences[source][k];
    const [text, tick] = [plainText(tokens), walk.tick[k]];
    showSentence(sentence, tokens, compared(w.get("sources")[source], tokens).added);
    slider.show(k, tick, `${tick}: ${text}`);
    const [real, codes] = [walk.original[measure], walk[measure][source]];
    const share = real.filter((v) => v < codes[k]).length / real.length;
    const those =
      share === 1 ? "every code of a real sentence" : `${Math.floor(100 * share)}\u2009% of the codes`;
    const where = `Farther out than ${those}${share === 1 ? "" : " of real sentences"}`;
    const reading = walk.reading?.[source][k].toFixed(2);
    note.textContent = `${where}${reading ? `; read as positive with probability ${reading}` : ""}.`;
    const says = `${walk.label}: codes of real sentences as a histogram`;
    svg.setAttribute("aria-label", `${says}, this code at ${number(codes[k])} nats`);
    if (width > 0) {
      resize(svg, width, BOTTOM + 40);
      svg.replaceChildren(...chartOf(real, codes, k, walk.origin, width));
    }
    return `${walk.label}, ${tick}: ${text} ${where}.`;
  }
  return { svg, show };
}
/** @typedef {{ svg: Element, show(...of: [number, DensityMeasure, number, number]): string }} CliffPanel */

export default defineWidget(
  {
    measure: "dgm:cliff",
    names: ["source", "measure", "places"],
    hint: "move both sliders to their ends, and watch where the mark goes.",
    kind: "dgm-cliff",
  },
  (w) => {
    const panels = /** @type {Walk[]} */ (w.get("models")).map((walk, i) => makePanel(w, walk, i));
    const sources = w.get("sources").map((/** @type {string[]} */ tokens, /** @type {number} */ i) => {
      return [i, plainText(tokens)];
    });
    const form = formOf(w);
    const pick = pickOf(form, "label", "source", "The sentence it starts from", sources);
    const measures = radiosOf(form, "measure", "Density", Object.entries(MEASURES));
    measures.append(form.reset());
    w.controls.append(element("div.dgm-heads", ...apart(pick)), measures);
    return () => {
      const widths = panels.map(({ svg }) => Math.floor(svg.clientWidth)); // before anything is written
      const [source, measure, places] = [w.get("source"), w.get("measure"), w.get("places")];
      form.show();
      const spoken = panels.map(({ show }, i) => show(widths[i], measure, source, places[i]));
      w.speak(spoken.join(" "));
    };
  },
);
