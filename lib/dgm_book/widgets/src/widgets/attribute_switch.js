// Switch in mid-sentence: the weights jump from one vertex to another after a word that the reader chooses.

import { labelledSlider, radioRow, selectOf } from "../controls.js";
import { element, openWidget, readout, throttled } from "../frame.js";
import { checkGolden, loadText } from "../models/text_model.js";
import { tokenise } from "../models/tokens.js";
import { compared, hiding, plainText, remarks, showSentence, showVotes, told } from "../text_view.js";

const [LOW, HIGH] = [
  [1, 0, 0],
  [0, 0, 1],
];

// The sentence with its switch, what was left out, and the votes.
/** @type {(w: Widget, names: string[]) => Picture} */
function makePicture(w, names) {
  const said = element("p.dgm-said");
  const gone = element("p.dgm-gone");
  const votes = element("div.dgm-votes");
  const note = element("p.dgm-note");
  w.picture.append(element("div.dgm-stage", said, gone), votes, note);
  const pill = (/** @type {string} */ name) => element("span.dgm-switch", `${name} \u25b8`);
  return (source, { tokens, masked }, place, [before, after]) => {
    const { dropped, added } = compared(source.tokens, tokens);
    const at = Math.min(place, tokens.length);
    showSentence(said, tokens, added, (i) => (i === at ? pill(after) : i === 0 ? pill(before) : null));
    said.classList.toggle("dgm-long", tokens.length > 18);
    const lost = source.tokens.filter((_, s) => dropped[s]);
    gone.textContent = told(lost, added);
    showVotes(votes, source, masked, names);
    const bars = `Bars: up speaks for ${names[2]}, down for ${names[0]}. Dashed: hidden, to be said anew.`;
    note.textContent = [bars, ...remarks(source)].join(" ");
  };
}
/** @typedef {(source: Source, rewrite: Rewrite, place: number, names: string[]) => void} Picture */

/** @type {(w: Widget, names: string[], examples: string[]) => (source: Source, place: number) => string[]} */
function makeControls(w, names, examples) {
  const slider = labelledSlider(`${w.id}-place`, "Switch", { min: 0, step: 1 }, (place) =>
    w.change({ place }),
  );
  const sentences = examples.map((example, i) => [i, plainText(tokenise(example, true))]);
  const pick = selectOf(`${w.id}-pick`, sentences, (v) => w.change({ example: Number(v) }));
  const ends = { false: [names[0], names[2]], true: [names[2], names[0]] };
  const choices = Object.entries(ends).map(([backward, both]) => [backward, both.join(", then ")]);
  const ways = radioRow(`${w.id}-way`, "Which way", choices, (v) => w.change({ backward: v === "true" }));
  const heads = element("div.dgm-heads", element("label", { for: pick.id }, "Sentence"), pick);
  w.controls.append(slider.node, ways.node, heads);
  w.reset.addEventListener("click", () => w.change(w.first));
  return ({ tokens: { length } }, place) => {
    const [before, after] = w.get("backward") ? ends.true : ends.false;
    pick.value = w.get("example");
    ways.show(String(w.get("backward")));
    slider.input.max = String(length);
    const where = place === 0 ? "before the first word" : `after word ${place} of ${length}`;
    const spoken = `${before} up to word ${place} of ${length}, then ${after}`;
    slider.show(place, where, place === 0 ? `all ${after}` : spoken);
    return [before, after];
  };
}

/** @type {(props: RenderProps) => Promise<() => void>} */
async function render(props) {
  const text = await loadText(props.model);
  const w = openWidget(props, {
    names: ["example", "place", "backward"],
    hint: "move the switch through the sentence: one mood is asked for before it, another after.",
    kind: "dgm-text",
  });
  const [names, examples] = [w.get("names"), w.get("examples")];
  const options = { margins: w.get("margins"), threshold: w.get("threshold") };
  checkGolden(text, (wrong) => {
    w.root.dataset.goldenWrong = String(wrong);
  });
  const showPicture = makePicture(w, names);
  const showControls = makeControls(w, names, examples);
  const list = element("dl");
  const [first, second, margin, time] = ["Before", "After", "Margin", "Time"].map((term) =>
    readout(list, term),
  );
  w.side.append(
    element("div", element("p.dgm-caption", "How the model reads each part by itself"), list),
    w.reset,
  );
  const speak = throttled(w.status, 600);

  /** @type {(words: number[]) => string} */
  function heard(words) {
    if (!words.length) return "no words";
    const { p } = text.read(words);
    const k = p.indexOf(Math.max(...p));
    return `${names[k]}, ${p[k].toFixed(2)}`;
  }

  let shown = -1;
  let source = text.encode([]);
  function draw() {
    if (shown !== w.get("example")) {
      shown = w.get("example");
      source = text.encode(tokenise(examples[shown], true));
    }
    const place = Math.min(w.get("place"), source.tokens.length);
    const both = showControls(source, place);
    const [before, after] = w.get("backward") ? [HIGH, LOW] : [LOW, HIGH];
    const start = performance.now();
    const rewrite = text.rewrite(source, before, { ...options, switchAt: place, weightsAfter: after });
    const ms = performance.now() - start;
    showPicture(source, rewrite, place, both);
    const at = Math.min(place, rewrite.tokens.length);
    first.textContent = heard(rewrite.words.slice(0, at));
    second.textContent = heard(rewrite.words.slice(at));
    margin.textContent = hiding(rewrite);
    time.textContent = `${ms.toFixed(ms < 10 ? 1 : 0)} ms a rewrite`;
    const rewritten = rewrite.tokens.join(" ");
    w.root.dataset.rewritten = rewritten;
    if (rewritten !== w.get("rewritten")) w.save({ rewritten });
    const halves = [rewrite.tokens.slice(0, at), rewrite.tokens.slice(at)];
    speak(halves.map((half, i) => `${both[i]}: ${plainText(half) || "nothing"}`).join("; "));
  }
  const stop = w.start("dgm:switch", draw);
  w.ask();
  return stop;
}

export default { render };
