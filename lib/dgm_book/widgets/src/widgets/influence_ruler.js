// The influence ruler: for each word, how far the code moves without it, under each way of pooling.

import { buildFrame, element, onceAFrame, readout, throttled } from "../frame.js";
import { checkPooling, loadPooling } from "../models/pooling_model.js";
import { tokenise } from "../models/text_model.js";
import { barCell, brief, readingNotes, sentenceInput, wordHead } from "../sentence_view.js";

const NOTHING = "Type a sentence, or pick one: there is no word to leave out yet.";
const TINY = 1e-6; // below this a code does not move but by rounding

async function render({ model, el }) {
  const shared = await loadPooling(model);
  const { encoders } = shared;
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "tick *Each encoder on its own scale*, then move the word before the full stop to the front: its bar shrinks under the last state, and mostly grows under the maximum.",
  });
  frame.root.classList.add("dgm-text", "dgm-enc");
  const first = { sentence: model.get("sentence"), own_scale: model.get("own_scale") };
  checkPooling(shared, (error) => (frame.root.dataset.goldenError = error));

  const input = sentenceInput(frame, model.get("examples"), (sentence) => change({ sentence }));
  const rows = element("tbody");
  const heads = encoders.map(({ kind, label }) =>
    element(
      "th",
      { scope: "col", class: `dgm-enc-${kind}` },
      element("span.dgm-enc-sign", { "aria-hidden": "true" }),
      label,
    ),
  );
  const caption = element(
    "caption.dgm-status",
    "How far the code moves without each word, in standard deviations of the prior",
  );
  const table = element(
    "table.dgm-enc-ruler",
    caption,
    element("thead", element("tr", element("th", { scope: "col" }, "without"), ...heads)),
    rows,
  );
  const note = element("p.dgm-note");
  frame.picture.append(...input.nodes, note, table);

  const own = element("input", { type: "checkbox", id: `${frame.id}-own` });
  frame.controls.append(
    element(
      "p.dgm-note",
      "A bar is how far the code (the mean of ",
      element("i", "q"),
      ") moves when the word is left out, in standard deviations of the prior.",
    ),
    element("label", { for: own.id }, own, "Each encoder on its own scale"),
    frame.reset,
  );
  const list = element("dl");
  const outs = encoders.map(({ label }) => readout(list, label));
  const time = readout(list, "Time");
  frame.side.append(element("div", element("p.dgm-caption", "The word that moves the code most"), list));

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    ask();
  }

  let typed = null;
  let source = null;
  let found = [];
  let cells = [];
  const speak = throttled(frame.status, 600);

  function draw() {
    const sentence = model.get("sentence");
    own.checked = model.get("own_scale");
    if (sentence !== typed) {
      typed = sentence;
      input.show(sentence);
      source = shared.encode(tokenise(sentence));
      const start = performance.now();
      found = encoders.map((encoder) => encoder.influence(source.tokens));
      const ms = performance.now() - start;
      time.textContent = source.words.length
        ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms for ${source.words.length * encoders.length} codes`
        : "\u2013";
      fill();
      tell();
    }
    const most = Math.max(TINY, ...found.flat());
    encoders.forEach((_, e) => {
      const scale = model.get("own_scale") ? Math.max(TINY, ...found[e]) : most;
      cells.forEach((row, w) => row[e].set(found[e][w] / scale, text(found[e][w])));
    });
    return false;
  }

  // Small codes need a third decimal to be told apart.
  const text = (x) => x.toFixed(Math.max(...found.flat()) < 0.1 ? 3 : 2);

  function fill() {
    cells = source.words.map(() => encoders.map(({ kind }) => barCell(`dgm-enc-${kind}`)));
    rows.replaceChildren(
      ...source.words.map((word, w) =>
        element("tr", wordHead(word, source.unknown[w]), ...cells[w].map(({ node }) => node)),
      ),
    );
    table.hidden = !source.words.length;
  }

  function tell() {
    const { words } = source;
    const notes = words.length ? readingNotes(source, shared) : [NOTHING];
    note.textContent = notes.join(" ");
    const told = encoders.map(({ label }, e) => {
      const moved = found[e];
      const sum = moved.reduce((a, b) => a + b, 0);
      if (!(sum > TINY)) return outs[e].replaceChildren("\u2013");
      const w = moved.indexOf(Math.max(...moved));
      const share = moved.slice(-3).reduce((a, b) => a + b, 0) / sum;
      const word = `\u201c${brief(words[w])}\u201d, ${text(moved[w])}`;
      const late =
        words.length > 3
          ? `the last three hold ${(100 * share).toFixed(0)}\u2009%; even: ${(300 / words.length).toFixed(0)}\u2009%`
          : "";
      outs[e].replaceChildren(word, element("small", late));
      return `${label}: ${word}`;
    });
    speak(
      [...notes, words.length ? `Moves the code most: ${told.filter(Boolean).join("; ")}.` : ""].join(" "),
    );
    frame.root.dataset.moved = JSON.stringify(found);
    model.set("influences", Object.fromEntries(encoders.map(({ kind }, e) => [kind, found[e]])));
    model.save_changes();
  }

  const ask = onceAFrame("dgm:ruler", draw);
  own.addEventListener("change", () => change({ own_scale: own.checked }));
  frame.reset.addEventListener("click", () => change(first));
  const watched = ["change:sentence", "change:own_scale"];
  for (const name of watched) model.on(name, ask);
  el.append(frame.root);
  ask();
  return () => {
    ask.stop();
    for (const name of watched) model.off(name, ask);
  };
}

export default { render };
