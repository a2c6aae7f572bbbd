// Walk off the cliff: two latent spaces, a walk through each, and where the codes on the way lie among those
// of real sentences.

import { labelledSlider, radioRow, selectOf } from "../controls.js";
import { element, MARKS, number, openWidget, shape, throttled, ticks } from "../frame.js";
import { axisName, bottomAxis, place, resize } from "../plot.js";
import { compared, plainText, showSentence } from "../text_view.js";

const MEASURES = { log_mean: "log of the mean density", mean_log: "mean of the log densities" };
const [LEFT, TOP, TALL, BINS] = [6, 16, 104, 44];
const BOTTOM = TOP + TALL;

/** @typedef {keyof typeof MEASURES} Measure */
/**
 * A walk through one latent space: for each source and step a sentence and, by each measure, minus its log
 * density.
 * @typedef {{ label: string, axis: string, steps: number[], tick: string[], origin: number, baseline?:
 *   boolean, sentences: string[][][], reading?: number[][], original: Record<Measure, number[]> } &
 *   Record<Measure, number[][]>} Walk
 */
/** @typedef {{ start: number, span: number, px: (v: number) => number }} Scale */

// The axis holds the codes of real sentences and the whole walk; the walk's far end may be very far.
/** @type {(walk: Walk, measure: Measure, source: number, width: number) => Scale} */
function scaleOf(walk, measure, source, width) {
  const all = [...walk.original[measure], ...walk[measure][source]];
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const spare = 0.04 * (high - low || 1);
  const [start, span] = [low - spare, high - low + 2 * spare || 1];
  return { start, span, px: (v) => LEFT + ((v - start) / span) * (width - 2 * LEFT) };
}

/** @type {(values: number[], scale: Scale) => SVGElement[]} */
function hillsOf(values, { start, span, px }) {
  const counts = new Array(BINS).fill(0);
  for (const v of values) counts[Math.min(BINS - 1, Math.floor((BINS * (v - start)) / span))]++;
  const top = Math.max(...counts);
  let d = `M${px(start)} ${BOTTOM}`;
  for (const [b, count] of counts.entries()) {
    const y = BOTTOM - (count / top) * (TALL - 26);
    const [from, to] = [b, b + 1].map((k) => px(start + (k * span) / BINS).toFixed(1));
    d += `L${from} ${y.toFixed(1)}H${to}`;
  }
  return [
    shape("path.dgm-hill", { d: `${d}V${BOTTOM}Z` }),
    shape("path.dgm-axis", { d: `M${px(start)} ${BOTTOM}H${px(start + span)}` }),
    ...bottomAxis(ticks(start, start + span, 5), { px, y: BOTTOM + 1 }),
    axisName(px(start + span / 2), BOTTOM + 34, "\u2212log density in nats, rarer to the right"),
  ];
}

/** The histogram with the walk and its mark. @type {(walk: Walk) => Chart} */
function makeChart(walk) {
  const svg = shape("svg", { role: "img" });
  const hills = shape("g");
  const [trail, stem, mark] = [shape("path.dgm-trail"), shape("path.dgm-stem"), shape("path.dgm-to")];
  const note = shape("text.dgm-strong.dgm-halo");
  svg.append(hills, trail, stem, mark, note);
  let drawn = "";
  return {
    svg,
    draw(measure, source, k, off) {
      const density = walk[measure][source][k];
      const says = `${walk.label}: codes of real sentences as a histogram`;
      place(svg, { "aria-label": `${says}, this code at ${number(density)} nats` });
      const width = Math.floor(svg.clientWidth);
      if (!(width > 0)) return;
      const scale = scaleOf(walk, measure, source, width);
      const key = `${measure} ${source} ${width}`;
      if (drawn !== key) {
        drawn = key;
        resize(svg, width, BOTTOM + 40);
        hills.replaceChildren(...hillsOf(walk.original[measure], scale));
      }
      const x = scale.px(density);
      // The way walked so far.
      const walked = walk[measure][source].slice(Math.min(k, walk.origin), Math.max(k, walk.origin) + 1);
      place(trail, { d: walked.map((v) => MARKS.circle(scale.px(v), BOTTOM - 8, 2)).join("") });
      place(stem, { d: `M${x} ${TOP + 10}V${BOTTOM}` });
      place(mark, { d: MARKS.diamond(x, TOP + 10, 6) });
      for (const node of [stem, mark]) node.classList.toggle("dgm-off", off);
      note.textContent = density.toFixed(1).replace("-", "\u2212");
      const right = x > width - 70;
      place(note, { x: right ? x - 11 : x + 11, y: TOP + 14, "text-anchor": right ? "end" : "start" });
    },
  };
}
/**
 * @typedef {{ svg: SVGElement, draw(measure: Measure, source: number, k: number, off: boolean): void }} Chart
 */

// A walk's sentence, slider and chart; show(measure, source, step) returns what is to be said.
/** @type {(w: Widget, walk: Walk, i: number) => (measure: Measure, source: number, k: number) => string} */
function makePanel(w, walk, i) {
  const said = element("p.dgm-said");
  const out = element("p.dgm-note");
  const chart = makeChart(walk);
  const range = { min: 0, max: walk.steps.length - 1, step: 1 };
  const slider = labelledSlider(`${w.id}-step-${i}`, "", range, (v) =>
    w.change({
      places: w.get("places").map((/** @type {number} */ k, /** @type {number} */ j) => (j === i ? v : k)),
    }),
  );
  slider.words.append(walk.axis);
  const node = element("div.dgm-panel", element("p.dgm-caption", walk.label), element("div.dgm-stage", said));
  node.append(slider.node, chart.svg, out);
  node.classList.toggle("dgm-baseline", Boolean(walk.baseline));
  w.picture.append(node);
  const sources = w.get("sources");

  return (measure, source, k) => {
    const tokens = walk.sentences[source][k];
    showSentence(said, tokens, compared(sources[source], tokens).added);
    slider.show(k, walk.tick[k], `${walk.tick[k]}: ${plainText(tokens)}`);
    const density = walk[measure][source][k];
    const all = walk.original[measure];
    const beyond = all.filter((v) => v < density).length / all.length;
    const off = beyond === 1;
    const share = `${Math.floor(100 * beyond)}\u2009% of the codes of real sentences`;
    const where = `Farther out than ${off ? "every code of a real sentence" : share}`;
    const reading = walk.reading?.[source][k];
    const read = reading === undefined ? "" : `; read as positive with probability ${reading.toFixed(2)}`;
    out.textContent = `${where}${read}.`;
    chart.draw(measure, source, k, off);
    return `${walk.label}, ${walk.tick[k]}: ${plainText(tokens)} ${where}.`;
  };
}

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  const w = openWidget(props, {
    names: ["source", "measure", "places"],
    hint: "move both sliders to their ends, and watch where the mark goes.",
    kind: "dgm-cliff",
  });
  /** @type {Walk[]} */
  const walks = w.get("models");
  const panels = walks.map((walk, i) => makePanel(w, walk, i));
  const sources = w
    .get("sources")
    .map((/** @type {string[]} */ tokens, /** @type {number} */ i) => [i, plainText(tokens)]);
  const pick = selectOf(`${w.id}-source`, sources, (v) => w.change({ source: Number(v) }));
  const choices = Object.entries(MEASURES);
  const measures = radioRow(`${w.id}-measure`, "Density", choices, (measure) => w.change({ measure }));
  measures.node.append(w.reset);
  const label = element("label", { for: pick.id }, "The sentence it starts from");
  w.controls.append(element("div.dgm-heads", label, pick), measures.node);
  w.reset.addEventListener("click", () => w.change(w.first));
  const speak = throttled(w.status, 600);

  function draw() {
    const [source, measure, places] = [w.get("source"), w.get("measure"), w.get("places")];
    pick.value = source;
    measures.show(measure);
    speak(panels.map((show, i) => show(measure, source, places[i])).join(" "));
  }
  const stop = w.start("dgm:cliff", draw);
  w.ask();
  return stop;
}

export default { render };
