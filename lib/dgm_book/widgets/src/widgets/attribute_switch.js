// Switch in mid-sentence: the weights jump from one vertex to another after a word that the reader chooses.

import { labelledSlider } from "../controls.js";
import { apart, formOf, pickOf, radiosOf, readoutList } from "../form.js";
import { element } from "../frame.js";
import { checkGolden } from "../golden.js";
import { loadText } from "../models/text_model.js";
import { tokenise } from "../models/tokens.js";
import { hiding, plainText, remarks, rewriteView, saveRewritten, timed } from "../text_view.js";
import { defineWidget } from "../widget.js";

const [LOW, HIGH] = [
  [1, 0, 0],
  [0, 0, 1],
];

export default defineWidget(
  {
    measure: "dgm:switch",
    load: loadText,
    names: ["example", "place", "backward"],
    hint: "move the switch through the sentence: one mood is asked for before it, another after.",
    kind: "dgm-text",
  },
  (w, text) => {
    checkGolden(w.root, "goldenWrong", text);
    const [names, examples] = [w.get("names"), w.get("examples")];
    const view = rewriteView(names);
    const note = element("p.dgm-note");
    w.picture.append(view.stage, view.votes, note);
    const form = formOf(w);
    const slider = labelledSlider(`${w.id}-place`, "Switch", { min: 0, step: 1 }, (place) =>
      w.change({ place }),
    );
    const sentences = examples.map((/** @type {string} */ s, /** @type {number} */ i) => {
      return [i, plainText(tokenise(s, true))];
    });
    const ends = { false: [names[0], names[2]], true: [names[2], names[0]] };
    const choices = Object.entries(ends).map(([backward, moods]) => [backward, moods.join(", then ")]);
    const set = (/** @type {unknown} */ v) => w.change({ backward: v === "true" });
    const pick = pickOf(form, "label", "example", "Sentence", sentences);
    w.controls.append(
      slider.node,
      radiosOf(form, "backward", "Which way", choices, { set }),
      element("div.dgm-heads", ...apart(pick)),
    );
    const parts = element("div", element("p.dgm-caption", "How the model reads each part by itself"));
    const fill = readoutList(parts, ["Before", "After", "Margin", "Time"]);
    w.side.append(parts, form.reset());

    /** How the model reads some words. @param {number[]} words */
    function moodOf(words) {
      if (!words.length) return "no words";
      const { p } = text.read(words);
      const k = p.indexOf(Math.max(...p));
      return `${names[k]}, ${p[k].toFixed(2)}`;
    }
    /** @param {number} place @param {number} count @param {string[]} moods */
    function showPlace(place, count, [before, after]) {
      slider.input.max = String(count);
      const shown = place === 0 ? "before the first word" : `after word ${place} of ${count}`;
      const spoken = `${before} up to word ${place} of ${count}, then ${after}`;
      slider.show(place, shown, place === 0 ? `all ${after}` : spoken);
    }
    const pill = (/** @type {string} */ name) => element("span.dgm-switch", `${name} \u25b8`);

    let shown = -1;
    let source = text.encode([]);
    return () => {
      if (shown !== w.get("example")) source = text.encode(tokenise(examples[w.get("example")], true));
      shown = w.get("example");
      const place = Math.min(w.get("place"), source.tokens.length);
      const moods = w.get("backward") ? ends.true : ends.false;
      form.show();
      showPlace(place, source.tokens.length, moods);
      const [weights, weightsAfter] = w.get("backward") ? [HIGH, LOW] : [LOW, HIGH];
      const [margins, threshold] = [w.get("margins"), w.get("threshold")];
      const options = { margins, threshold, switchAt: place, weightsAfter };
      const [rewrite, time] = timed(() => text.rewrite(source, weights, options));
      const { tokens, words } = rewrite;
      const at = Math.min(place, tokens.length);
      view.show(source, rewrite, (i) => (i === at ? pill(moods[1]) : i === 0 ? pill(moods[0]) : null));
      note.textContent = [view.bars, ...remarks(source)].join(" ");
      fill(moodOf(words.slice(0, at)), moodOf(words.slice(at)), hiding(rewrite), `${time} a rewrite`);
      saveRewritten(w, tokens);
      const halves = [tokens.slice(0, at), tokens.slice(at)];
      w.speak(halves.map((half, i) => `${moods[i]}: ${plainText(half) || "nothing"}`).join("; "));
    };
  },
);
