// The storyteller: language models write on from one opening with the same random numbers, beside how fast
// sentences forget each other.

import "../styles/language.css";
import { decimals, labelledSlider, pushButton } from "../controls.js";
import { buildFrame, element, MARKS, onceAFrame, onWidth, shape, throttled, ticks } from "../frame.js";
import { checkLanguage, loadLanguage, MARKERS, wordsOf } from "../models/language_model.js";

const FOLLOWED = ["opening", "temperature", "seed"];
const LOOKS = ["dgm-first", "dgm-second"].map((kind, i) => ({
  kind,
  dash: ["6 3", ""][i],
  mark: [MARKS.square, MARKS.triangle][i],
}));
const DATA = { kind: "dgm-exact", dash: "", mark: MARKS.circle };
const BUDGET = 4; // ms of writing a frame

async function render({ model, el }) {
  const shared = await loadLanguage(model);
  const { models } = shared;
  const [themes, openings, curves, lines] = ["themes", "openings", "curves", "n_sentences"].map((name) =>
    model.get(name),
  );
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "write on a few times, and watch where each story changes its topic; then raise the temperature.",
  });
  frame.root.classList.add("dgm-text", "dgm-lang");
  const first = Object.fromEntries(FOLLOWED.map((name) => [name, model.get(name)]));
  checkLanguage(shared, (error) => (frame.root.dataset.goldenError = error));

  function change(values) {
    for (const [name, v] of Object.entries(values)) model.set(name, v);
    model.save_changes();
    ask();
  }

  // The opening

  const box = element("textarea", {
    id: `${frame.id}-box`,
    maxlength: 200,
    rows: 1,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "The start of a text",
  });
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    element("option", { value: "own", disabled: "" }, "your own words"),
    element("option", { value: "" }, "the start of a text"),
  );
  openings.forEach((text) => pick.append(element("option", { value: ` ${text}` }, text)));
  const heads = element(
    "div.dgm-heads",
    element("label", { for: box.id }, "Opening"),
    element("label.dgm-pick", { for: pick.id }, element("span.dgm-status", "Openings"), pick),
  );
  const write = pushButton(
    "Write on",
    () => change({ seed: (model.get("seed") + 1) % 2 ** 20 }),
    "dgm-reset dgm-go",
  );
  box.addEventListener("input", () => change({ opening: box.value }));
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    write.click();
  });
  pick.addEventListener("change", () => change({ opening: pick.value.slice(1) }));
  const note = element("p.dgm-note");

  // The stories

  const sign = ({ kind, dash, mark }) =>
    shape(
      "svg",
      { viewBox: "0 0 34 14", class: kind, "aria-hidden": "true" },
      shape("path.dgm-trace", { "stroke-dasharray": dash, d: "M1 7H33" }),
      shape("path.dgm-dot", { d: mark(17, 7, 4) }),
    );
  const columns = models.map(({ name }, m) => {
    const rows = Array.from({ length: lines }, () => {
      const [topic, text] = [element("span.dgm-topic"), element("span.dgm-line")];
      return { topic, text, node: element("li", topic, text) };
    });
    const id = `${frame.id}-tale${m}`;
    const list = element("ol.dgm-said.dgm-tale", { "aria-labelledby": id }, ...rows.map(({ node }) => node));
    return {
      rows,
      node: element("div", element("p.dgm-who", { id }, sign(LOOKS[m]), name), list),
    };
  });
  frame.picture.append(
    heads,
    element("div.dgm-ask", box, write),
    note,
    element("div.dgm-tales", ...columns.map(({ node }) => node)),
  );

  // Controls and read-outs

  const slider = labelledSlider(
    `${frame.id}-heat`,
    "Temperature",
    { min: 0.2, max: 2, step: 0.05 },
    (temperature) => change({ temperature }),
  );
  const cell = () => element("td");
  const table = models.map(({ name }, m) => ({ name, now: cell(), far: cell(), look: LOOKS[m] }));
  const head = (text) => element("th", { scope: "col" }, text);
  const row = (look, name, ...cells) =>
    element("tr", element("th", { scope: "row" }, sign(look), name), ...cells);
  const percent = (share) => `${(100 * share).toFixed(0)}\u2009%`;
  const exact = element("td", { colspan: 2 }, `${percent(curves.stay)}, exact`);
  const body = element(
    "tbody",
    ...table.map(({ look, name, now, far }) => row(look, name, now, far)),
    row(DATA, "the data", exact),
  );
  const caption = element("caption", "Neighbours that share a topic");
  const svg = shape("svg", { role: "img" });
  const under = element(
    "p.dgm-caption",
    "Mutual information of two sentences, nats, by how far apart they are; the models\u2019 as they write at temperature 1, with its interval",
  );
  const said = element(
    "p.dgm-note",
    "Both draw with the same random numbers. A line is about the topic that most of its words are of; one that has none, or two alike, shares none with its neighbour.",
  );
  const heading = element("thead", element("tr", head("Text"), head("this story"), head("so far")));
  frame.controls.append(
    slider.node,
    element("table", caption, heading, body),
    said,
    element("div.dgm-row", frame.reset),
  );
  frame.side.append(element("div", under, svg));

  // Writing

  const topicOf = new Map(themes.flatMap(([, words], k) => words.map((word) => [word, k])));

  // The topic of most of a line's theme words; -1 for none, or for a tie.
  function topic(words) {
    const counts = themes.map(() => 0);
    for (const word of words) if (topicOf.has(word)) counts[topicOf.get(word)] += 1;
    const most = Math.max(...counts);
    const best = counts.indexOf(most);
    return most && counts.lastIndexOf(most) === best ? best : -1;
  }

  let key = null;
  let done = 0;
  let source = null;
  let tales = [];
  const tally = { of: null, seeds: new Set(), same: [], pairs: 0 };
  const speak = throttled(frame.status, 700);

  function begin() {
    source = shared.encode(wordsOf(model.get("opening")));
    const [seed, temperature] = [model.get("seed"), model.get("temperature")];
    tales = models.map((one) => ({ next: one.story(source.ids, seed, temperature), topics: [], texts: [] }));
    done = 0;
    if (box.value !== model.get("opening")) box.value = model.get("opening");
    const place = ["", ...openings].indexOf(box.value);
    pick.selectedIndex = 1 + place;
    slider.input.value = temperature;
    slider.say(temperature.toFixed(2));
    const strange = [...new Set(source.words.filter((_, i) => source.unknown[i]))].map(
      (word) => `\u201c${word}\u201d`,
    );
    note.textContent = strange.length
      ? `Unknown to the models, so read as <unk>: ${strange.slice(0, 6).join(", ")}${strange.length > 6 ? ` and ${strange.length - 6} more` : ""}.`
      : "";
  }

  function writeLine(m) {
    const [tale, { topic: label, text }] = [tales[m], columns[m].rows[done]];
    const { ids, ended } = tale.next();
    const told = done ? [] : source.words;
    const made = ids.map((id) => shared.tokens[id]);
    const about = topic([...told, ...made]);
    tale.topics.push(about);
    tale.texts.push([...told, ...made].join(" "));
    label.className = `dgm-topic dgm-topic-${about < 0 ? "none" : about}`;
    label.textContent = about < 0 ? "no topic" : themes[about][0];
    const parts = told.map((word, i) =>
      element("span", { class: source.unknown[i] ? "dgm-told dgm-strange" : "dgm-told" }, word),
    );
    const marked = made.map((word, i) => (ids[i] < MARKERS.length ? element("span.dgm-marker", word) : word));
    if (!ended) marked.push("\u2026");
    text.replaceChildren(...[...parts, ...marked].flatMap((part, i) => (i ? [" ", part] : [part])));
  }

  function finish() {
    const [seed, of] = [model.get("seed"), JSON.stringify([model.get("opening"), model.get("temperature")])];
    if (tally.of !== of) Object.assign(tally, { of, seeds: new Set(), same: models.map(() => 0), pairs: 0 });
    const same = tales.map(
      ({ topics }) => topics.filter((k, i) => i && k >= 0 && k === topics[i - 1]).length,
    );
    if (!tally.seeds.has(seed)) {
      tally.seeds.add(seed);
      tally.pairs += lines - 1;
      same.forEach((n, m) => (tally.same[m] += n));
    }
    table.forEach(({ now, far }, m) => {
      now.textContent = `${same[m]} of ${lines - 1}`;
      far.replaceChildren(percent(tally.same[m] / tally.pairs), element("small", `of ${tally.pairs}`));
    });
    speak(
      `${note.textContent} Neighbours that share a topic: ${table.map(({ name }, m) => `${name}, ${same[m]} of ${lines - 1}`).join("; ")}.`,
    );
    model.set("written", Object.fromEntries(models.map(({ name }, m) => [name, tales[m].texts])));
    model.save_changes();
  }

  function draw() {
    const wanted = JSON.stringify(FOLLOWED.map((name) => model.get(name)));
    if (wanted !== key) {
      key = wanted;
      begin();
    }
    const start = performance.now();
    while (done < lines && performance.now() - start < BUDGET) {
      tales.forEach((_, m) => writeLine(m));
      if (++done === lines) finish();
    }
    return done < lines;
  }
  const ask = onceAFrame("dgm:story", draw);

  // The chart

  function drawCurves(width) {
    const { distances, exact } = curves;
    const all = models.map(({ name }) => curves.models[name]);
    const [left, top, h] = [34, 8, 150];
    const [w, bottom] = [width - left - 10, top + h];
    const far = distances.at(-1);
    const high = 1.05 * Math.max(0.1, ...exact, ...all.flatMap((one) => [...one.high, ...one.mean]));
    const low = Math.min(0, ...all.flatMap((one) => one.low));
    const at = (x, v) =>
      `${(left + (x / far) * w).toFixed(1)} ${(top + (1 - (v - low) / (high - low)) * h).toFixed(1)}`;
    const path = (values) => values.map((v, i) => at(distances[i], v)).join("L");
    svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 36}`);
    svg.setAttribute("height", bottom + 36);
    const said = [["the data", exact], ...all.map(({ mean }, m) => [models[m].name, mean])];
    svg.setAttribute(
      "aria-label",
      `Mutual information by distance, nats. ${said.map(([name, values]) => `${name}: ${values.map((v, i) => `${decimals(v)} at ${distances[i]}`).join(", ")}`).join(". ")}.`,
    );
    svg.replaceChildren();
    for (const v of ticks(low, high, 4)) {
      const y = at(0, v).split(" ")[1];
      svg.append(
        shape("path.dgm-grid", { d: `M${left} ${y}h${w}` }),
        shape("text", { x: left - 5, y: +y + 4, "text-anchor": "end" }, decimals(v, 1)),
      );
    }
    for (const x of ticks(0, far, Math.min(far, w / 36))) {
      const [px] = at(x, 0).split(" ");
      svg.append(
        shape("path.dgm-axis", { d: `M${px} ${bottom}v4` }),
        shape("text", { x: px, y: bottom + 16, "text-anchor": "middle" }, String(x)),
      );
    }
    svg.append(
      shape("path.dgm-axis", { d: `M${left} ${top}V${bottom}h${w}` }),
      shape(
        "text.dgm-strong",
        { x: left + w / 2, y: bottom + 32, "text-anchor": "middle" },
        "sentences apart",
      ),
    );
    all.forEach((one, m) => {
      const back = one.low
        .map((v, i) => at(distances[i], v))
        .reverse()
        .join("L");
      svg.append(shape("path", { class: `dgm-range ${LOOKS[m].kind}`, d: `M${path(one.high)}L${back}Z` }));
    });
    // The dashes last, so that they show on a line that they lie on.
    [[DATA, exact], ...all.map(({ mean }, m) => [LOOKS[m], mean]).reverse()].forEach(
      ([{ kind, dash, mark }, values]) => {
        const dots = values.map((v, i) => mark(...at(distances[i], v).split(" ").map(Number), 3.4)).join("");
        svg.append(
          shape(
            "g",
            { class: kind },
            shape("path.dgm-trace", { "stroke-dasharray": dash, d: `M${path(values)}` }),
            shape("path.dgm-dot", { d: dots }),
          ),
        );
      },
    );
  }

  frame.reset.addEventListener("click", () => {
    tally.of = null;
    key = null;
    change(first);
  });
  for (const name of FOLLOWED) model.on(`change:${name}`, ask);
  el.append(frame.root);
  const stopWidth = onWidth(svg.parentNode, drawCurves);
  ask();
  return () => {
    ask.stop();
    stopWidth();
    for (const name of FOLLOWED) model.off(`change:${name}`, ask);
  };
}

export default { render };
