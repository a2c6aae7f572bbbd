// The next-sentence quiz: which of two sentences follows; the reader beside critics, and what the shares
// tell.

import "../styles/language.css";
import { linear } from "../charts.js";
import { decimals, pushButton } from "../controls.js";
import { tableBy } from "../form.js";
import { element, MARKS, rich, shape } from "../frame.js";
import { informationAtLeast, wilson } from "../models/shares.js";
import { axisName, bottomAxis, place, resize, sign } from "../plot.js";
import { defineWidget } from "../widget.js";

// What stands at the moment: the question, if any, the places chosen so far, and whether its truth is shown.
/** @typedef {{ question: Question | null, index: number, answers: number[], revealed: boolean }} State */

/** @type {[kind: string, mark: (x: number, y: number, r: number) => string][]} */
const LOOKS = [
  ["dgm-exact", MARKS.circle],
  ["dgm-first", MARKS.square],
  ["dgm-second", MARKS.triangle],
  ["dgm-third", MARKS.diamond],
];
const SCORES =
  "The critics\u2019 scores, shown once you have answered; the larger one is a critic\u2019s choice";
const WHY =
  "A share *a* of right answers to questions whose places a fair coin has drawn tells at least log 2 " +
  "\u2212 H(*a*) nats about which of the two follows; two neighbours share at least as much. Here *a* " +
  "is the end of the interval nearest to one half: 0 means that it may be guessing. No choice of two " +
  "can tell more than log 2 = 0.69, however much there is.";
const ROW = 20; // px, of the chart

/** A player's interval and share as marks. */
/** @type {(p: number, ends: number[], x: number, y: number) => SVGElement[]} */
function marksOf(p, [low, high], x, y) {
  const dot = shape("path.dgm-dot", { d: LOOKS[p][1](x, y, 4.5) });
  return [shape("path.dgm-reach", { d: `M${low} ${y}H${high}` }), dot];
}

/** A player's name behind its marks. @param {string} name @param {number} p */
const signed = (name, p) => [sign(LOOKS[p][0], ...marksOf(p, [3, 31], 17, 7)), name];

function makeGame(/** @type {Widget} */ w, /** @type {(place: number) => void} */ answer) {
  const which = element("p.dgm-caption");
  const sentence = element("p.dgm-first-said", { tabindex: -1 });
  const over = element("p.dgm-first-said", { tabindex: -1 });
  const options = [0, 1].map((at) => {
    const [text, verdict] = [element("span"), element("small")];
    const node = pushButton("", () => answer(at), "dgm-option");
    node.append(element("b", { "aria-hidden": "true" }, String(at + 1)), text, verdict);
    return { node, text, verdict };
  });
  const asked = element("p.dgm-caption", "Which one comes next? Press 1 or 2.");
  const game = element("div", asked, element("div.dgm-options", ...options.map(({ node }) => node)));
  w.picture.append(which, sentence, game, over);
  return {
    over,
    focus: () => (over.hidden ? sentence : over).focus(),
    show(/** @type {State} */ { question, index, answers, revealed }) {
      for (const node of [which, sentence, game]) node.hidden = !question;
      over.hidden = Boolean(question);
      if (!question) return;
      which.textContent = `Question ${index + 1} of ${w.get("rounds")}`;
      sentence.textContent = question.sentence;
      for (const [at, { node, text, verdict }] of options.entries()) {
        text.textContent = question.options[at];
        const truth = at === question.answer;
        const mine = revealed && at === answers[index];
        const says = truth ? "\u2713 this one follows" : "this one does not follow";
        verdict.textContent = revealed ? `${says}${mine ? " \u00b7 your choice" : ""}` : "";
        node.classList.toggle("dgm-true", revealed && truth);
        node.classList.toggle("dgm-wrong", mine && !truth);
        if (revealed) node.setAttribute("aria-disabled", "true");
        else node.removeAttribute("aria-disabled");
      }
    },
  };
}

/** The critics' scores of the two options. @param {string[]} critics */
function makeScores(critics) {
  const table = tableBy(
    SCORES,
    ["Critic", "1", "2"],
    critics.map((name, k) => signed(name, k + 1)),
  );
  return {
    node: table.node,
    show(/** @type {State} */ { question, revealed }) {
      table.node.hidden = !question || !critics.length;
      if (!question) return;
      for (const [k, name] of critics.entries()) {
        const scores = question.scores[name];
        table.fill(k, ...scores.map((score) => (revealed ? decimals(score) : "?")));
        for (const [at, score] of scores.entries()) {
          table.rows[k].children[1 + at].className = revealed && score > scores[1 - at] ? "dgm-took" : "";
        }
      }
    },
  };
}

/** The shares of right answers with their intervals. */
function chartOf(/** @type {number[]} */ right, /** @type {number} */ n, /** @type {number} */ width) {
  const bottom = 6 + ROW * right.length;
  const px = linear([0, 1], [10, width - 10]);
  return [
    shape("path.dgm-half", { d: `M${px(0.5)} 0V${bottom}` }),
    shape("path.dgm-axis", { d: `M10 ${bottom}h${width - 20}` }),
    ...bottomAxis([0, 0.25, 0.5, 0.75, 1], { px, y: bottom }),
    axisName(width / 2, bottom + 32, "share right; the dashed line is guessing"),
    ...(n ? right : []).map((count, p) => {
      const marks = marksOf(p, wilson(count, n).map(px), px(count / n), 6 + ROW * (p + 0.5));
      return shape("g", { class: LOOKS[p][0] }, ...marks);
    }),
  ];
}

function makeTally(/** @type {Widget} */ w, /** @type {string[]} */ players) {
  const svg = shape("svg", { role: "img" });
  const heads = ["Who", "right", "95\u2009% interval", "tells at least, nats"];
  const table = tableBy("The questions answered so far", heads, players.map(signed));
  const why = element("details", element("summary", "What a share tells"), element("p", ...rich(WHY)));
  w.side.append(svg, table.node, why);
  const show = (/** @type {number[]} */ right, /** @type {number} */ n, /** @type {number} */ width) => {
    for (const [p, count] of right.entries()) {
      const [low, high] = n ? wilson(count, n) : [0, 1];
      const nearest = Math.min(Math.max(0.5, low), high);
      const texts = [`${decimals(low)}\u2013${decimals(high)}`, decimals(informationAtLeast(nearest))];
      table.fill(p, `${count} of ${n}`, ...(n ? texts : ["\u2013", "\u2013"]));
    }
    const says = "Shares of right answers with their intervals, as in the table, after";
    resize(svg, width, 42 + ROW * players.length);
    place(svg, { "aria-label": `${says} ${n} questions` });
    if (width) svg.replaceChildren(...chartOf(right, n, width));
  };
  return { svg, show };
}

// How many of the answered questions each player has right, the reader first; a tie of scores is half of one.
/** @type {(asked: Question[], answers: number[], critics: string[]) => number[]} */
function countRight(asked, answers, critics) {
  const credit = (/** @type {string} */ name) =>
    asked.reduce((sum, { answer, scores: { [name]: own } }) => {
      return sum + 0.5 + 0.5 * Math.sign(own[answer] - own[1 - answer]);
    }, 0);
  return [answers.filter((at, i) => at === asked[i].answer).length, ...critics.map(credit)];
}

export default defineWidget(
  (model) => ({
    measure: "dgm:quiz",
    names: ["answers", "first"],
    hint:
      `answer all ${model.get("rounds")}, and see who tells better what belongs together: you or the ` +
      "critics.",
    kind: "dgm-lang dgm-quiz",
    pause: 300,
  }),
  (w) => {
    /** @type {[Question[], string[], number]} */
    const [questions, critics, rounds] = [w.get("questions"), w.get("critics"), w.get("rounds")];
    const question = (/** @type {number} */ i) => questions[(w.get("first") + i) % questions.length];
    const game = makeGame(w, answer);
    const scores = makeScores(critics);
    const next = pushButton("Next question", () => go({}, game.focus), "dgm-reset dgm-go");
    w.controls.append(element("div.dgm-row", next, w.reset), scores.node);
    const tally = makeTally(w, ["you", ...critics]);
    // Whether the last answer's truth is shown, and the next question is not asked yet.
    let revealed = false;
    let width = 0;

    /** @type {(values: Values, focus: () => void, truth?: boolean) => void} */
    function go(values, focus, truth = false) {
      revealed = truth;
      w.save(values);
      draw(width);
      focus();
    }
    function answer(/** @type {number} */ at) {
      const before = w.get("answers");
      if (!revealed && before.length < rounds) go({ answers: [...before, at] }, () => next.focus(), true);
    }
    // Anew, with questions that were not asked yet.
    w.reset.addEventListener("click", () => {
      const first = (w.get("first") + w.get("answers").length) % questions.length;
      go({ first, answers: [] }, game.focus);
    });
    w.root.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !["1", "2"].includes(event.key)) return;
      event.preventDefault();
      answer(Number(event.key) - 1);
    });

    function draw(/** @type {number} */ wide) {
      width = wide;
      /** @type {number[]} */
      const answers = w.get("answers");
      const n = answers.length;
      revealed &&= n > 0;
      const index = revealed ? n - 1 : n;
      const state = { question: n < rounds || revealed ? question(index) : null, index, answers, revealed };
      game.show(state);
      scores.show(state);
      next.hidden = !revealed;
      next.textContent = n < rounds ? "Next question" : "To the result";
      const asked = answers.map((_, i) => question(i));
      const right = countRight(asked, answers, critics);
      if (!state.question) {
        const all = critics.map((name, k) => `, ${name} ${right[k + 1]}`).join("");
        const scarce = questions.length >= 2 * rounds ? "" : ", as far as there are any";
        game.over.textContent =
          `All ${rounds} answered: you have ${right[0]} right${all}. ` + `Reset asks new ones${scarce}.`;
        w.speak(game.over.textContent);
      } else if (revealed) {
        const verdict = answers[index] === state.question.answer ? "Right" : "Wrong";
        w.speak(`${verdict}. ${right[0]} of ${n} right.`);
      }
      tally.show(right, n, width);
      w.root.dataset.moved = JSON.stringify({ first: w.get("first"), answers, right });
    }
    return { draw, sized: tally.svg };
  },
);
