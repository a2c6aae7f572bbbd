// The storyteller: language models write on from one opening with the same random numbers, beside how fast
// sentences forget each other.

import "../styles/language.css";
import { axesOf, between, linear, through } from "../charts.js";
import { decimals, pushButton, tableRow } from "../controls.js";
import { formOf, pickOf, sliderOf, tableBy, textOf } from "../form.js";
import { element, MARKS, shape, ticks } from "../frame.js";
import { checkGolden } from "../golden.js";
import { last } from "../models/arrays.js";
import { loadLanguage, MARKERS, wordsOf } from "../models/language_model.js";
import { resize, sign } from "../plot.js";
import { quoted } from "../text_view.js";
import { defineWidget } from "../widget.js";

/** A story under way. @typedef {{ next: Story, topics: number[], texts: string[] }} Tale */

const FOLLOWED = ["opening", "temperature", "seed"];
const LOOKS = [
  { kind: "dgm-first", dash: "6 3", mark: MARKS.square, r: 5.5 }, // around the other's mark
  { kind: "dgm-second", dash: "", mark: MARKS.triangle, r: 3.4 },
];
const DATA = { kind: "dgm-exact", dash: "", mark: MARKS.circle, r: 3.4 };
const BUDGET = 4; // ms of writing a frame
const [LEFT, TOP, BOTTOM] = [34, 8, 158]; // px, of the chart
const CHART =
  "Measured beforehand at temperature 1, wherever the slider is: mutual information of two sentences, in " +
  "nats, by how far apart they are, with 95\u2009% intervals";
const TALLY =
  "Both draw with the same random numbers. A line is about the topic of most of its words; a line without " +
  "one, or with two alike, shares none.";

function signOf(/** @type {typeof DATA} */ { kind, dash, mark }) {
  const line = shape("path.dgm-trace", { "stroke-dasharray": dash, d: "M1 7H33" });
  return sign(kind, line, shape("path.dgm-dot", { d: mark(17, 7, 4) }));
}

const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(0)}\u2009%`;

/** The topic of most of a line's theme words; -1 for none, or for a tie. @param {Theme[]} themes */
function topicFinder(themes) {
  const topicOf = new Map(themes.flatMap(([, words], k) => words.map((word) => [word, k])));
  return (/** @type {string[]} */ words) => {
    const counts = themes.map((_, k) => words.filter((word) => topicOf.get(word) === k).length);
    const most = Math.max(...counts);
    const best = counts.indexOf(most);
    return most && counts.lastIndexOf(most) === best ? best : -1;
  };
}

/** Where the opening is typed or picked. @type {(w: Widget, form: WidgetForm) => ShowOpening} */
function makeOpening(w, form) {
  const options = ["", ...w.get("openings")].map((text) => [` ${text}`, text || "the start of a text"]);
  const words = element("span.dgm-status", "Openings");
  // The box says what is picked; the list only offers.
  const pick = pickOf(form, "label.dgm-pick", "pick", words, [["own", "pick one"], ...options], {
    get: () => "own",
    set: (text) => w.change({ opening: String(text).slice(1) }),
  });
  const seed = () => w.change({ seed: (w.get("seed") + 1) % 2 ** 20 });
  const write = pushButton("Write on", seed, "dgm-reset dgm-go");
  const attributes = { maxlength: 200, rows: 1, placeholder: "The start of a text" };
  const [heads, box] = textOf(form, "opening", "Opening", attributes, pick, () => write.click());
  const note = element("p.dgm-note");
  w.picture.append(heads, element("div.dgm-ask", box, write), note);
  return ({ words: typed, unknown }) => {
    const strange = typed.filter((_, i) => unknown[i]);
    note.textContent = strange.length ? `Unknown to the models, so read as <unk>: ${quoted(strange)}.` : "";
    return note.textContent;
  };
}
/** Notes what is unknown; returns what is to be said. */
/** @typedef {(source: ReturnType<Languages["encode"]>) => string} ShowOpening */

/** A column for each model. @param {Widget} w @param {string[]} names @param {Theme[]} themes */
function makeStories(w, names, themes) {
  const columns = names.map((name, m) => {
    const rows = Array.from({ length: w.get("n_sentences") }, () => {
      return element("li", element("span.dgm-topic"), element("span.dgm-line"));
    });
    const id = `${w.id}-tale${m}`;
    const list = element("ol.dgm-said.dgm-tale", { "aria-labelledby": id }, ...rows);
    return { rows, node: element("div", element("p.dgm-who", { id }, signOf(LOOKS[m]), name), list) };
  });
  w.side.after(element("div.dgm-tales", ...columns.map(({ node }) => node)));
  /** @type {(m: number, line: number, about: number, nodes: Children) => void} */
  return (m, line, about, nodes) => {
    const [topic, text] = columns[m].rows[line].children;
    topic.className = `dgm-topic dgm-topic-${about < 0 ? "none" : about}`;
    topic.textContent = about < 0 ? "no topic" : themes[about][0];
    text.replaceChildren(...nodes.flatMap((part, i) => (i ? [" ", part] : [part])));
  };
}

// How many neighbours share a topic, of this story and of all so far.
function makeTally(/** @type {Widget} */ w, /** @type {string[]} */ names) {
  const heads = ["Text", "this story", "so far"];
  const signed = names.map((name, m) => [signOf(LOOKS[m]), name]);
  const table = tableBy("Neighbours that share a topic", heads, signed);
  const exact = element("td", { colspan: 2 }, `${percent(w.get("curves").stay)}, exact`);
  table.node.tBodies[0].append(tableRow([signOf(DATA), "the data"], [exact]));
  /** Of which opening and temperature. */
  let [setting, pairs, same] = ["", 0, names.map(() => 0)];
  const seeds = new Set();
  return {
    nodes: [table.node, element("p.dgm-note", TALLY)],
    clear() {
      setting = "";
    },
    add(/** @type {Tale[]} */ tales) {
      const now = JSON.stringify([w.get("opening"), w.get("temperature")]);
      if (setting !== now) {
        [setting, pairs, same] = [now, 0, names.map(() => 0)];
        seeds.clear();
      }
      const counts = tales.map(({ topics }) => {
        return topics.filter((k, i) => i && k >= 0 && k === topics[i - 1]).length;
      });
      const most = tales[0].topics.length - 1;
      if (!seeds.has(w.get("seed"))) {
        pairs += most;
        same = same.map((n, m) => n + counts[m]);
      }
      seeds.add(w.get("seed"));
      for (const [m, count] of counts.entries()) {
        table.fill(m, `${count} of ${most}`);
        const total = [percent(same[m] / pairs), element("small", `of ${pairs}`)];
        table.rows[m].children[2].replaceChildren(...total);
      }
      return names.map((name, m) => `${name}, ${counts[m]} of ${most}`).join("; ");
    },
  };
}

/** Mutual information by distance. @param {string[]} names @param {InformationCurves} curves */
function makeChart(names, { distances, exact, models }) {
  const all = names.map((name) => models[name]);
  const high = 1.05 * Math.max(0.1, ...exact, ...all.flatMap((curve) => [...curve.high, ...curve.mean]));
  const low = Math.min(0, ...all.flatMap((curve) => curve.low));
  const spoken = [exact, ...all.map(({ mean }) => mean)].map((values, i) => {
    const at = values.map((v, j) => `${decimals(v)} at ${distances[j]}`);
    return `${["the data", ...names][i]}: ${at.join(", ")}`;
  });
  const says = `Mutual information by distance, nats. ${spoken.join(". ")}.`;
  const svg = shape("svg", { role: "img", "aria-label": says });

  function draw(/** @type {number} */ width) {
    const [right, far] = [width - 10, last(distances)];
    const [px, py] = [linear([0, far], [LEFT, right]), linear([low, high], [BOTTOM, TOP])];
    const points = (/** @type {number[]} */ values) => values.map((v, i) => [px(distances[i]), py(v)]);
    const line = (/** @type {typeof DATA} */ { kind, dash, mark, r }, /** @type {number[]} */ values) => {
      const dots = points(values).map(([x, y]) => mark(x, y, r));
      const trace = shape("path.dgm-trace", { "stroke-dasharray": dash, d: through(points(values)) });
      return shape("g", { class: kind }, trace, shape("path.dgm-dot", { d: dots.join("") }));
    };
    const [xs, ys] = [ticks(0, far, Math.min(far, (right - LEFT) / 36)), ticks(low, high, 4)];
    const named = { x: "sentences apart", yText: (/** @type {number} */ v) => decimals(v, 1) };
    resize(svg, width, BOTTOM + 36);
    svg.replaceChildren(
      ...axesOf({ px, py, left: LEFT, top: TOP, right, bottom: BOTTOM }, { xs, ys, ...named }),
      ...all.map((curve, m) => {
        const d = between(points(curve.high), points(curve.low));
        return shape("path", { class: `dgm-range ${LOOKS[m].kind}`, d });
      }),
      // The dashes and hollow marks last, so that what they lie on shows.
      line(DATA, exact),
      ...all.map(({ mean }, m) => line(LOOKS[m], mean)).reverse(),
    );
  }
  return { node: element("div", element("p.dgm-caption", CHART), svg), draw };
}

export default defineWidget(
  {
    measure: "dgm:story",
    load: loadLanguage,
    names: FOLLOWED,
    hint: "write on a few times, and watch where each story changes its topic; then raise the temperature.",
    kind: "dgm-text dgm-lang dgm-stories",
    pause: 700,
  },
  (w, shared) => {
    checkGolden(w.root, "goldenError", shared);
    const names = shared.models.map(({ name }) => name);
    const topicOf = topicFinder(w.get("themes"));
    const form = formOf(w);
    const showOpening = makeOpening(w, form);
    const write = makeStories(w, names, w.get("themes"));
    const tally = makeTally(w, names);
    const heat = sliderOf(form, "temperature", "Temperature", { min: 0.2, max: 2, step: 0.05 });
    let [key, done, remark] = ["", 0, ""];
    const forget = () => {
      tally.clear();
      key = "";
    };
    w.controls.append(heat, ...tally.nodes, element("div.dgm-row", form.reset(forget)));
    const chart = makeChart(names, w.get("curves"));
    w.side.append(chart.node);
    let source = shared.encode([]);
    /** @type {Tale[]} */
    let tales = [];

    function begin() {
      source = shared.encode(wordsOf(w.get("opening")));
      const [seed, temperature] = [w.get("seed"), w.get("temperature")];
      tales = shared.models.map((model) => {
        return { next: model.story(source.ids, seed, temperature), topics: [], texts: [] };
      });
      done = 0;
      remark = showOpening(source);
      form.show();
    }
    function writeLine(/** @type {Tale} */ tale, /** @type {number} */ m) {
      const { ids, ended } = tale.next();
      const given = done ? [] : source.words;
      const words = ids.map((id) => shared.tokens[id]);
      const about = topicOf([...given, ...words]);
      tale.topics.push(about);
      tale.texts.push([...given, ...words].join(" "));
      const typed = given.map((word, i) =>
        element(source.unknown[i] ? "span.dgm-told.dgm-strange" : "span.dgm-told", word),
      );
      const own = words.map((word, i) => (ids[i] < MARKERS.length ? element("span.dgm-marker", word) : word));
      write(m, done, about, [...typed, ...own, ...(ended ? [] : ["\u2026"])]);
    }
    function draw() {
      const now = JSON.stringify(FOLLOWED.map((name) => w.get(name)));
      if (now !== key) begin();
      key = now;
      const [start, lines] = [performance.now(), w.get("n_sentences")];
      while (done < lines && performance.now() - start < BUDGET) {
        tales.forEach(writeLine);
        done += 1;
        if (done < lines) continue;
        w.speak(`${remark} Neighbours that share a topic: ${tally.add(tales)}.`);
        w.save({ written: Object.fromEntries(names.map((name, m) => [name, tales[m].texts])) });
      }
      return done < lines;
    }
    return { draw, sized: chart.node, layout: chart.draw };
  },
);
