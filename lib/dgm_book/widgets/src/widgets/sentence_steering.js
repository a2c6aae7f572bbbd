// Steer a sentence: a tab per attribute, a slider or a triangle, and the sentence as a model rewrites it.

import { formOf, radiosOf, textOf } from "../form.js";
import { element } from "../frame.js";
import { mechanismOf } from "../mechanism_view.js";
import { referenced } from "../models/nn.js";
import { tokenise } from "../models/tokens.js";
import { choicesOf, lockable, marked, sourceWords } from "../rewrite_view.js";
import { RANKED, startRewriting } from "../rewriting_job.js";
import { stopsDial, triangleDial } from "../steering_controls.js";
import "../styles/steering.css";
import { quoted } from "../text_view.js";
import { defineWidget } from "../widget.js";

const PATIENCE = 250; // ms without a key before what is typed is rewritten
const NOTHING = "Type a sentence, or pick an example: there is nothing to rewrite yet.";
const WAITING = "Rewrites are still being made \u2026";
const RANKING = "Ranked rewrites; a bar is how good each is, beside the best";
/** What the model's reasons mean. @type {Record<string, string>} */
const REASONS = {
  "it does not say what was asked": "whatever I write still does not say what is asked for",
  "no rewrite was good enough": "nothing that I can write reads well and keeps the rest",
  "there is no word that the model knows": "I know none of these words",
  "there is no word": "there is no word in it",
};
const why = (/** @type {string} */ reason) => REASONS[reason] ?? reason;

/** @typedef {{ text: string, shows: string, position?: number, target?: number[] }} SteeringExample */
/**
 * @typedef {{ name: string, label: string, vertices: string[], megabytes: number,
 *   examples: SteeringExample[] }} Attribute
 */
/** @typedef {import("../rewriting_job.js").Rewriting} Rewriting */
/** @typedef {import("../rewriting_job.js").RewriteAnswer} RewriteAnswer */
/** @typedef {import("../rewriting_job.js").RewriteRequest} RewriteRequest */
/** @typedef {(job: Rewriting, request: RewriteRequest) => RewriteAnswer | undefined} PatientAsk */
/**
 * An attribute's model, once its tab has been opened.
 * @typedef {{ job?: Rewriting, says: string, vocabulary: Set<string>, scoreWeights: number[] }} Opened
 */
/** @typedef {(k: number) => Promise<PackedRewriter>} Load */

/** Models come when their tabs are opened. @type {(model: WidgetModel) => Promise<Load>} */
const loaderOf = async (model) => async (k) => {
  const weights = await referenced(model, [model.get("weights"), ...model.get("others")][k]);
  return { header: weights.get("header"), data: weights.get("data") };
};

/**
 * What has to be said beside a rewrite.
 * @type {(text: string, vocabulary: Set<string>, sentences?: RankedSentence[]) => string[]}
 */
function remarks(text, vocabulary, sentences = []) {
  const strange = tokenise(text, true).filter(
    (word) => !vocabulary.has(word) && /[^\p{P}\p{N}\p{S}]|\p{So}/u.test(word),
  );
  const notes = strange.length
    ? [`Not among the words that I know, so left as they are: ${quoted(strange)}.`]
    : [];
  const stay = sentences.flatMap(({ candidates }, i) => (candidates.some((c) => !c.reason) ? [] : [i + 1]));
  if (stay.length && stay.length < sentences.length)
    notes.push(`I could not change ${stay.length > 1 ? "sentences" : "sentence"} ${stay.join(", ")}.`);
  return notes;
}

/** Examples, which set the sentence and where to. */
/** @type {(w: Widget) => { node: HTMLElement, show(a: Attribute): void }} */
function chips(w) {
  const node = element("div.dgm-chips", { role: "group", "aria-label": "Examples" });
  return {
    node,
    show({ examples }) {
      const buttons = examples.map(({ text: sentence, shows, ...place }) => {
        const button = element("button.dgm-chip", { type: "button", title: sentence }, shows);
        button.addEventListener("click", () => w.change({ sentence, locked: [], alternative: 0, ...place }));
        return button;
      });
      node.replaceChildren(element("span.dgm-caption", "Examples"), ...buttons);
    },
  };
}

/** Opens the models of attributes, and ends them. */
/** @type {(w: Widget, load: Load) => { open(k: number, megabytes: number): Opened, stop(): void }} */
function openerOf(w, load) {
  /** @type {Opened[]} */
  const all = [];
  async function bring(/** @type {Opened} */ entry, /** @type {number} */ k) {
    try {
      const packed = await load(k);
      const { words, score_weights: scoreWeights } = packed.header;
      const checked = (/** @type {number} */ wrong) => {
        if (k === 0) w.root.dataset.goldenWrong = String(wrong);
      };
      const job = startRewriting(packed, w.ask, checked);
      Object.assign(entry, { says: "", job, scoreWeights, vocabulary: new Set(words.split(" ")) });
    } catch (error) {
      entry.says = `This model could not be loaded: ${error instanceof Error ? error.message : error}.`;
    }
    w.ask();
  }
  return {
    open(k, megabytes) {
      if (!all[k]) {
        const says = `Loading the model, ${megabytes.toFixed(1)} MB \u2026`;
        all[k] = { says, vocabulary: new Set(), scoreWeights: [] };
        bring(all[k], k);
      }
      return all[k];
    },
    stop() {
      for (const entry of all) entry?.job?.stop();
    },
  };
}

/** Asks once the reader pauses in typing. @type {(w: Widget, box: HTMLElement) => PatientAsk} */
function patientAsk(w, box) {
  let [typedAt, timer] = [-PATIENCE, 0];
  box.addEventListener("input", () => {
    typedAt = performance.now();
    w.set("alternative", 0);
  });
  return (job, request) => {
    clearTimeout(timer);
    const wait = typedAt + PATIENCE - performance.now();
    if (wait <= 0) return job.ask(request);
    timer = setTimeout(w.ask, wait);
    return job.known(request);
  };
}

/** A tab begins with its first example, but a reader's own sentence stays. */
/** @type {(w: Widget, attributes: Attribute[], name: string) => Values} */
function startOf(w, attributes, name) {
  const own = !attributes.some(({ examples }) => examples.some(({ text }) => text === w.get("sentence")));
  const next = attributes.find((a) => a.name === name) ?? attributes[0];
  const { text, shows: _, ...place } = next.examples[0];
  return { attribute: name, locked: [], ...place, ...(own ? {} : { sentence: text }) };
}

/** Where the rewrite stands, or why there is none. */
function makeStage() {
  const said = element("p.dgm-said", { dir: "auto" });
  const verdict = element("p.dgm-note.dgm-verdict");
  const node = element("div.dgm-stage", said, verdict);
  return {
    node,
    /** @type {(view: View) => void} */
    show({ text, changed, says, waiting }) {
      node.setAttribute("aria-busy", String(waiting));
      if (waiting && !changed && said.textContent) return; // what stood there stays until there is more
      said.replaceChildren(...marked(text, changed ?? []));
      said.classList.toggle("dgm-long", text.length > 90);
      said.classList.toggle("dgm-empty", !changed);
      verdict.textContent = says;
    },
  };
}

/**
 * What is shown of an answer; `changed` only of a rewrite.
 * @typedef {{ text: string, changed?: Span[], removed: Span[], says: string, waiting: boolean,
 *   good: TextRewrite[], chosen: number }} View
 */
/** @type {(text: string, says: string, answer: RewriteAnswer | undefined, alternative: number) => View} */
function viewOf(text, says, { first, rewrites, whole } = {}, alternative) {
  const good = (rewrites ?? (first ? [first] : [])).filter(({ reason }) => !reason);
  const chosen = Math.min(alternative, good.length - 1);
  const rest = { good, chosen, waiting: !says && !whole };
  if (good.length) return { ...good[chosen], says: "", ...rest };
  const refusal = rewrites ? `I cannot change this one: ${why(rewrites[0].reason)}.` : "";
  return { text, removed: [], says: says || refusal, ...rest };
}

export default defineWidget(
  {
    measure: "dgm:steer",
    load: loaderOf,
    names: ["attribute", "sentence", "position", "target", "locked", "alternative"],
    hint: "press a word of yours to lock it.",
    kind: "dgm-steer",
  },
  (w, load) => {
    const attributes = /** @type {Attribute[]} */ (w.get("attributes"));
    const form = formOf(w);
    const steer = (/** @type {Values} */ values) => w.change({ alternative: 0, ...values });
    const labels = attributes.map(({ name, label }) => [name, label]);
    const tabs = radiosOf(form, "attribute", "What to steer", labels, {
      set: (name) => steer(startOf(w, attributes, String(name))),
    });
    tabs.classList.add("dgm-tabs");
    tabs.hidden = attributes.length < 2;
    const dials = [stopsDial(steer, form), triangleDial(steer, form)];
    const examples = chips(w);
    const limits = { maxlength: 2000, rows: 2, dir: "auto", placeholder: "Type a sentence" };
    const box = textOf(form, "sentence", "Your sentence", limits, element("span"));
    const own = sourceWords((word) => {
      /** @type {string[]} */
      const locked = w.get("locked");
      steer({ locked: locked.includes(word) ? locked.filter((other) => other !== word) : [...locked, word] });
    });
    const choices = choicesOf(`${w.id}-alternative`, (alternative) => w.change({ alternative }));
    const [stage, how, note] = [makeStage(), mechanismOf(w.ask), element("p.dgm-note")];
    const head = element("p.dgm-caption");
    const caption =
      "Your words: what is struck through was left out. Press one to lock it, so that it stays.";
    const body = /** @type {HTMLElement} */ (w.picture.parentElement);
    body.prepend(tabs);
    w.picture.append(...box, stage.node);
    w.controls.append(...dials.map(({ node }) => node));
    const mine = element("div", element("p.dgm-caption", caption), own.node);
    w.side.append(mine, note, element("div", head, choices.node));
    body.append(element("div.dgm-more", examples.node, form.reset()), how.node);

    const { open, stop } = openerOf(w, load);
    const ask = patientAsk(w, box[1]);
    let [tab, dial] = [-1, dials[0]];
    function turn(/** @type {number} */ k) {
      tab = k;
      dial = dials[attributes[k].vertices.length === 3 ? 1 : 0];
      for (const each of dials) {
        each.node.hidden = each !== dial;
        each.name(attributes[k].vertices);
      }
      examples.show(attributes[k]);
    }
    function draw() {
      const k = attributes.findIndex(({ name }) => name === w.get("attribute"));
      if (k !== tab) turn(k);
      form.show();
      dial.show();
      const text = String(w.get("sentence"));
      const { job, says, vocabulary, scoreWeights } = open(k, attributes[k].megabytes);
      const words = lockable(text);
      const locked = w.get("locked").filter((/** @type {string} */ word) => words.has(word));
      const empty = !tokenise(text, true).length;
      const along = dial === dials[0];
      const request = { text, weights: dial.weights(), locked, count: RANKED, along };
      const answer = job && !empty ? ask(job, request) : undefined;
      const view = viewOf(text, empty ? NOTHING : says, answer, w.get("alternative"));
      stage.show(view);
      own.show(text, view.removed, locked);
      choices.show(view.good, view.chosen);
      head.textContent = view.waiting && !answer?.rewrites ? WAITING : view.good.length > 1 ? RANKING : "";
      how.show(answer?.sentences, scoreWeights);
      note.textContent = remarks(text, vocabulary, answer?.sentences).join(" ");
      if (view.waiting) return;
      w.root.dataset.rewritten = view.text;
      if (view.text !== w.get("rewritten")) w.save({ rewritten: view.text });
      w.speak([view.changed ? `${dial.says()}: ${view.text}` : view.says, note.textContent].join(" "));
    }
    const layout = (/** @type {number} */ width) => {
      for (const { layout } of dials) layout(width);
    };
    return { draw, sized: w.controls, layout, ended: stop };
  },
);
