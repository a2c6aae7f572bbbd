// Switch in mid-sentence: the weights jump from one vertex to another after a word that the reader chooses.

import { buildFrame, element, onceAFrame, readout, throttled } from "../frame.js";
import { checkGolden, loadText, tokenise } from "../models/text_model.js";
import { compared, hiding, plainText, remarks, showSentence, showVotes, told } from "../text_view.js";

async function render({ model, el }) {
  const text = await loadText(model);
  const names = model.get("names");
  const examples = model.get("examples");
  const options = { margins: model.get("margins"), threshold: model.get("threshold") };
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: "move the switch through the sentence: one mood is asked for before it, another after.",
  });
  frame.root.classList.add("dgm-text");
  const first = { example: model.get("example"), place: model.get("place"), backward: model.get("backward") };
  checkGolden(text, (wrong) => (frame.root.dataset.goldenWrong = wrong));

  const said = element("p.dgm-said");
  const gone = element("p.dgm-gone");
  const votes = element("div.dgm-votes");
  const note = element("p.dgm-note");
  frame.picture.append(element("div.dgm-stage", said, gone), votes, note);

  const slider = element("input", { type: "range", min: 0, step: 1, id: `${frame.id}-place` });
  const value = element("output", { for: slider.id });
  const label = element("label", { for: slider.id }, element("span", "Switch"), value);
  const pick = element(
    "select",
    { id: `${frame.id}-pick` },
    ...examples.map((example, i) => element("option", { value: i }, plainText(tokenise(example, true)))),
  );
  const radios = [false, true].map((backward) => {
    const radio = element("input", { type: "radio", name: `${frame.id}-way`, value: backward });
    radio.addEventListener("change", () => change({ backward }));
    const ends = backward ? [names[2], names[0]] : [names[0], names[2]];
    return { backward, radio, label: element("label", radio, ends.join(", then ")) };
  });
  frame.controls.append(
    element("div.dgm-slider", label, slider),
    element("div.dgm-row", { role: "radiogroup", "aria-label": "Which way" }, ...radios.map((r) => r.label)),
    element("div.dgm-heads", element("label", { for: pick.id }, "Sentence"), pick),
  );
  const list = element("dl");
  const outs = {
    before: readout(list, "Before"),
    after: readout(list, "After"),
    margin: readout(list, "Margin"),
    time: readout(list, "Time"),
  };
  frame.side.append(
    element("div", element("p.dgm-caption", "How the model reads each part by itself"), list),
    frame.reset,
  );

  slider.addEventListener("input", () => change({ place: Number(slider.value) }));
  pick.addEventListener("change", () => change({ example: Number(pick.value) }));
  frame.reset.addEventListener("click", () => change(first));

  function change(values) {
    for (const [key, v] of Object.entries(values)) model.set(key, v);
    model.save_changes();
    ask();
  }

  let shown = -1;
  let source = null;
  const speak = throttled(frame.status, 600);

  function draw() {
    const example = model.get("example");
    if (shown !== example) {
      shown = example;
      source = text.encode(tokenise(examples[example], true));
    }
    const count = source.tokens.length;
    const place = Math.min(model.get("place"), count);
    const backward = model.get("backward");
    pick.value = example;
    for (const { backward: way, radio } of radios) radio.checked = way === backward;
    slider.max = count;
    slider.value = place;
    const [low, high] = [
      [1, 0, 0],
      [0, 0, 1],
    ];
    const [before, after] = backward ? [high, low] : [low, high];
    const [nameBefore, nameAfter] = backward ? [names[2], names[0]] : [names[0], names[2]];
    const start = performance.now();
    const made = text.rewrite(source, before, { ...options, switchAt: place, weightsAfter: after });
    const ms = performance.now() - start;
    const { dropped, added } = compared(source.tokens, made.tokens);
    const at = Math.min(place, made.tokens.length);
    const pill = (name) => element("span.dgm-switch", `${name} \u25b8`);
    showSentence(said, made.tokens, added, (i) =>
      i === at ? pill(nameAfter) : i === 0 ? pill(nameBefore) : null,
    );
    said.classList.toggle("dgm-long", made.tokens.length > 18);
    gone.textContent = told(
      source.tokens.filter((_, s) => dropped[s]),
      added,
    );
    showVotes(votes, source, made.masked, names);
    note.textContent = [
      `Bars: up speaks for ${names[2]}, down for ${names[0]}. Dashed: hidden, to be said anew.`,
      ...remarks(source),
    ].join(" ");
    value.textContent = place === 0 ? "before the first word" : `after word ${place} of ${count}`;
    slider.setAttribute(
      "aria-valuetext",
      place === 0 ? `all ${nameAfter}` : `${nameBefore} up to word ${place} of ${count}, then ${nameAfter}`,
    );
    outs.before.textContent = heard(made.words.slice(0, at));
    outs.after.textContent = heard(made.words.slice(at));
    outs.margin.textContent = hiding(made);
    outs.time.textContent = `${ms.toFixed(ms < 10 ? 1 : 0)} ms a rewrite`;
    frame.root.dataset.rewritten = made.tokens.join(" ");
    if (frame.root.dataset.rewritten !== model.get("rewritten")) {
      model.set("rewritten", frame.root.dataset.rewritten);
      model.save_changes();
    }
    speak(
      `${nameBefore}: ${plainText(made.tokens.slice(0, at)) || "nothing"}; ${nameAfter}: ${plainText(made.tokens.slice(at)) || "nothing"}`,
    );
    return false;
  }

  function heard(words) {
    if (!words.length) return "no words";
    const { p } = text.read(words);
    const k = p.indexOf(Math.max(...p));
    return `${names[k]}, ${p[k].toFixed(2)}`;
  }

  const ask = onceAFrame("dgm:switch", draw);
  const watched = ["change:example", "change:place", "change:backward"];
  for (const name of watched) model.on(name, ask);
  el.append(frame.root);
  ask();
  return () => {
    ask.stop();
    for (const name of watched) model.off(name, ask);
  };
}

export default { render };
