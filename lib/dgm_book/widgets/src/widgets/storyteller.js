// The storyteller: language models write on from one opening with the same random numbers, beside how fast
// sentences forget each other.

import "../styles/language.css";
import { decimals, labelledSlider, pushButton, tableOf, tableRow } from "../controls.js";
import { element, MARKS, openWidget, shape, throttled, ticks } from "../frame.js";
import { last } from "../models/arrays.js";
import { checkLanguage, loadLanguage, MARKERS, wordsOf } from "../models/language_model.js";
import { axisName, bottomAxis, leftAxis, place, resize, sign } from "../plot.js";

/** @typedef {{ kind: string, dash: string, mark: (x: number, y: number, r: number) => string }} Look */
/** @typedef {Record<"mean" | "low" | "high", number[]>} Curve */
/** @typedef {{ distances: number[], exact: number[], stay: number, models: Record<string, Curve> }} Curves */
/** A story under way. @typedef {{ next: Story, topics: number[], texts: string[] }} Tale */
/** @typedef {ReturnType<Languages["encode"]>} Opening */
/** @typedef {[name: string, words: string[]]} Theme */

const FOLLOWED = ["opening", "temperature", "seed"];
/** @type {Look[]} */
const LOOKS = [
  { kind: "dgm-first", dash: "6 3", mark: MARKS.square },
  { kind: "dgm-second", dash: "", mark: MARKS.triangle },
];
const DATA = { kind: "dgm-exact", dash: "", mark: MARKS.circle };
const BUDGET = 4; // ms of writing a frame
const [LEFT, TOP, TALL] = [34, 8, 150]; // px, of the chart
const BOTTOM = TOP + TALL;

/** @type {(look: Look) => SVGElement} */
function signOf({ kind, dash, mark }) {
  const line = shape("path.dgm-trace", { "stroke-dasharray": dash, d: "M1 7H33" });
  return sign(kind, line, shape("path.dgm-dot", { d: mark(17, 7, 4) }));
}

/** @type {(share: number) => string} */
const percent = (share) => `${(100 * share).toFixed(0)}\u2009%`;

// The topic of most of a line's theme words; -1 for none, or for a tie.
/** @type {(themes: Theme[]) => (words: string[]) => number} */
function topicFinder(themes) {
  const topicOf = new Map(themes.flatMap(([, words], k) => words.map((word) => [word, k])));
  return (words) => {
    const counts = themes.map(() => 0);
    for (const word of words) {
      const k = topicOf.get(word);
      if (k !== undefined) counts[k] += 1;
    }
    const most = Math.max(...counts);
    const best = counts.indexOf(most);
    return most && counts.lastIndexOf(most) === best ? best : -1;
  };
}

// Where the opening is typed or picked; show(source) brings it up to date, and returns what is to be said.
/** @type {(w: Widget, openings: string[]) => (source: Opening) => string} */
function makeOpening(w, openings) {
  const box = element("textarea", {
    id: `${w.id}-box`,
    maxlength: 200,
    rows: 1,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "The start of a text",
  });
  const own = element("option", { value: "own", disabled: "" }, "your own words");
  const pick = element(
    "select",
    { id: `${w.id}-pick` },
    own,
    element("option", { value: "" }, "the start of a text"),
  );
  pick.append(...openings.map((text) => element("option", { value: ` ${text}` }, text)));
  const picked = element("label.dgm-pick", { for: pick.id }, element("span.dgm-status", "Openings"), pick);
  const heads = element("div.dgm-heads", element("label", { for: box.id }, "Opening"), picked);
  const seed = () => w.change({ seed: (w.get("seed") + 1) % 2 ** 20 });
  const write = pushButton("Write on", seed, "dgm-reset dgm-go");
  box.addEventListener("input", () => w.change({ opening: box.value }));
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    write.click();
  });
  pick.addEventListener("change", () => w.change({ opening: pick.value.slice(1) }));
  const note = element("p.dgm-note");
  w.picture.append(heads, element("div.dgm-ask", box, write), note);
  return ({ words, unknown }) => {
    if (box.value !== w.get("opening")) box.value = w.get("opening");
    pick.selectedIndex = 1 + ["", ...openings].indexOf(box.value);
    const strange = [...new Set(words.filter((_, i) => unknown[i]))].map((word) => `\u201c${word}\u201d`);
    const more = strange.length > 6 ? ` and ${strange.length - 6} more` : "";
    const list = `${strange.slice(0, 6).join(", ")}${more}`;
    note.textContent = strange.length ? `Unknown to the models, so read as <unk>: ${list}.` : "";
    return note.textContent;
  };
}

// A column for each model; write(m, line, ...) puts a sentence there.
/** @type {(w: Widget, names: string[], lines: number, themes: Theme[]) => WriteLine} */
function makeStories(w, names, lines, themes) {
  const columns = names.map((name, m) => {
    const rows = Array.from({ length: lines }, () => {
      const [topic, text] = [element("span.dgm-topic"), element("span.dgm-line")];
      return { topic, text, node: element("li", topic, text) };
    });
    const id = `${w.id}-tale${m}`;
    const list = element("ol.dgm-said.dgm-tale", { "aria-labelledby": id }, ...rows.map(({ node }) => node));
    return { rows, node: element("div", element("p.dgm-who", { id }, signOf(LOOKS[m]), name), list) };
  });
  w.picture.append(element("div.dgm-tales", ...columns.map(({ node }) => node)));
  return (m, line, about, nodes) => {
    const { topic, text } = columns[m].rows[line];
    topic.className = `dgm-topic dgm-topic-${about < 0 ? "none" : about}`;
    topic.textContent = about < 0 ? "no topic" : themes[about][0];
    text.replaceChildren(...nodes.flatMap((part, i) => (i ? [" ", part] : [part])));
  };
}
/** @typedef {(m: number, line: number, about: number, nodes: Children) => void} WriteLine */

// How many neighbours share a topic, of this story and of all so far.
/** @type {(w: Widget, names: string[], curves: Curves) => Tally} */
function makeTally(w, names, curves) {
  const rows = names.map((name, m) => ({ name, now: element("td"), far: element("td"), look: LOOKS[m] }));
  const exact = element("td", { colspan: 2 }, `${percent(curves.stay)}, exact`);
  const nodes = rows.map(({ look, name, now, far }) => tableRow([signOf(look), name], [now, far]));
  nodes.push(tableRow([signOf(DATA), "the data"], [exact]));
  const says =
    "Both draw with the same random numbers. A line is about the topic that most of its words are of; " +
    "one that has none, or two alike, shares none with its neighbour.";
  const table = tableOf("Neighbours that share a topic", ["Text", "this story", "so far"], nodes);
  const seeds = new Set();
  let [of, same, pairs] = ["", names.map(() => 0), 0];
  const count = (/** @type {number[]} */ topics) =>
    topics.filter((k, i) => i && k >= 0 && k === topics[i - 1]).length;
  return {
    nodes: [table, element("p.dgm-note", says)],
    clear() {
      of = "";
    },
    add(tales) {
      const now = JSON.stringify([w.get("opening"), w.get("temperature")]);
      if (of !== now) {
        [of, same, pairs] = [now, names.map(() => 0), 0];
        seeds.clear();
      }
      const counts = tales.map(({ topics }) => count(topics));
      const most = tales[0].topics.length - 1;
      if (!seeds.has(w.get("seed"))) {
        seeds.add(w.get("seed"));
        pairs += most;
        same = same.map((n, m) => n + counts[m]);
      }
      for (const [m, { now: cell, far }] of rows.entries()) {
        cell.textContent = `${counts[m]} of ${most}`;
        far.replaceChildren(percent(same[m] / pairs), element("small", `of ${pairs}`));
      }
      return names.map((name, m) => `${name}, ${counts[m]} of ${most}`).join("; ");
    },
  };
}
/** @typedef {{ nodes: Node[], clear(): void, add(tales: Tale[]): string }} Tally */

// Mutual information by distance; returns what draws it.
/** @type {(w: Widget, names: string[], curves: Curves) => Chart} */
function makeChart(w, names, { distances, exact, models }) {
  const svg = shape("svg", { role: "img" });
  const says =
    "Mutual information of two sentences, nats, by how far apart they are; the models\u2019 as they " +
    "write at temperature 1, with its interval";
  const node = element("div", element("p.dgm-caption", says), svg);
  w.side.append(node);
  const all = names.map((name) => models[name]);
  const far = last(distances);
  const high = 1.05 * Math.max(0.1, ...exact, ...all.flatMap((one) => [...one.high, ...one.mean]));
  const low = Math.min(0, ...all.flatMap((one) => one.low));
  const py = (/** @type {number} */ v) => (TOP + (1 - (v - low) / (high - low)) * TALL).toFixed(1);
  /** @type {[string, number[]][]} */
  const lines = [
    ["the data", exact],
    ...all.map(({ mean }, m) => /** @type {[string, number[]]} */ ([names[m], mean])),
  ];
  const spoken = lines.map(
    ([name, values]) => `${name}: ${values.map((v, i) => `${decimals(v)} at ${distances[i]}`).join(", ")}`,
  );
  place(svg, { "aria-label": `Mutual information by distance, nats. ${spoken.join(". ")}.` });

  /** @type {(width: number) => void} */
  function draw(width) {
    const wide = width - LEFT - 10;
    const px = (/** @type {number} */ x) => (LEFT + (x / far) * wide).toFixed(1);
    const path = (/** @type {number[]} */ values) => values.map((v, i) => `${px(distances[i])} ${py(v)}`);
    /** @type {(look: Look, values: number[]) => SVGElement} */
    const line = ({ kind, dash, mark }, values) => {
      const dots = values.map((v, i) => mark(+px(distances[i]), +py(v), 3.4)).join("");
      const trace = shape("path.dgm-trace", { "stroke-dasharray": dash, d: `M${path(values).join("L")}` });
      return shape("g", { class: kind }, trace, shape("path.dgm-dot", { d: dots }));
    };
    resize(svg, width, BOTTOM + 36);
    svg.replaceChildren(
      ...leftAxis(ticks(low, high, 4), { py, left: LEFT, right: LEFT + wide, text: (v) => decimals(v, 1) }),
      ...bottomAxis(ticks(0, far, Math.min(far, wide / 36)), { px, y: BOTTOM }),
      shape("path.dgm-axis", { d: `M${LEFT} ${TOP}V${BOTTOM}h${wide}` }),
      axisName(LEFT + wide / 2, BOTTOM + 32, "sentences apart"),
      ...all.map((one, m) => {
        const d = `M${path(one.high).join("L")}L${path(one.low).reverse().join("L")}Z`;
        return shape("path", { class: `dgm-range ${LOOKS[m].kind}`, d });
      }),
      // The dashes last, so that they show on a line that they lie on.
      line(DATA, exact),
      ...all.map(({ mean }, m) => line(LOOKS[m], mean)).reverse(),
    );
  }
  return { node, draw };
}
/** @typedef {{ node: Element, draw(width: number): void }} Chart */

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const shared = await loadLanguage(props.model);
  const w = openWidget(props, {
    names: FOLLOWED,
    hint: "write on a few times, and watch where each story changes its topic; then raise the temperature.",
    kind: "dgm-text dgm-lang",
  });
  checkLanguage(shared, (error) => {
    w.root.dataset.goldenError = String(error);
  });
  /** @type {Theme[]} */
  const themes = w.get("themes");
  const [lines, names] = [w.get("n_sentences"), shared.models.map(({ name }) => name)];
  const topic = topicFinder(themes);
  const showOpening = makeOpening(w, w.get("openings"));
  const write = makeStories(w, names, lines, themes);
  const slider = labelledSlider(`${w.id}-heat`, "Temperature", { min: 0.2, max: 2, step: 0.05 }, (v) =>
    w.change({ temperature: v }),
  );
  const tally = makeTally(w, names, w.get("curves"));
  w.controls.append(slider.node, ...tally.nodes, element("div.dgm-row", w.reset));
  const chart = makeChart(w, names, w.get("curves"));
  const speak = throttled(w.status, 700);
  let [key, done, remark] = ["", 0, ""];
  let source = shared.encode([]);
  /** @type {Tale[]} */
  let tales = [];

  function begin() {
    source = shared.encode(wordsOf(w.get("opening")));
    const [seed, heat] = [w.get("seed"), w.get("temperature")];
    tales = shared.models.map((one) => ({ next: one.story(source.ids, seed, heat), topics: [], texts: [] }));
    done = 0;
    remark = showOpening(source);
    slider.show(heat, heat.toFixed(2));
  }

  /** @type {(tale: Tale, m: number) => void} */
  function writeLine(tale, m) {
    const { ids, ended } = tale.next();
    const given = done ? [] : source.words;
    const words = ids.map((id) => shared.tokens[id]);
    const about = topic([...given, ...words]);
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
    if (now !== key) {
      key = now;
      begin();
    }
    const start = performance.now();
    while (done < lines && performance.now() - start < BUDGET) {
      for (const [m, tale] of tales.entries()) writeLine(tale, m);
      done += 1;
      if (done < lines) continue;
      speak(`${remark} Neighbours that share a topic: ${tally.add(tales)}.`);
      w.save({ written: Object.fromEntries(names.map((name, m) => [name, tales[m].texts])) });
    }
    return done < lines;
  }
  w.reset.addEventListener("click", () => {
    tally.clear();
    key = "";
    w.change(w.first);
  });
  const stop = w.start("dgm:story", draw, { sized: chart.node, resized: chart.draw });
  w.ask();
  return stop;
}

export default { render };
