// The next-sentence quiz: which of two sentences follows; the reader beside critics, and what the shares
// tell.

import "../styles/language.css";
import { decimals, pushButton, tableOf, tableRow } from "../controls.js";
import { element, MARKS, openWidget, rich, shape, throttled } from "../frame.js";
import { informationAtLeast, wilson } from "../models/shares.js";
import { axisName, bottomAxis, place, resize, sign } from "../plot.js";

/** @typedef {[kind: string, mark: (x: number, y: number, r: number) => string]} Look */
/**
 * @typedef {{ sentence: string, options: string[], answer: number, scores: Record<string, number[]> }}
 *   Question
 */
/**
 * What stands at the moment: the question, if any, the places chosen so far, and whether its truth is shown.
 */
/** @typedef {{ question: Question | null, index: number, answers: number[], revealed: boolean }} State */

/** @type {Look[]} */
const LOOKS = [
  ["dgm-exact", MARKS.circle],
  ["dgm-first", MARKS.square],
  ["dgm-second", MARKS.triangle],
  ["dgm-third", MARKS.diamond],
];
const WHY =
  "A share *a* of right answers to questions whose places a fair coin has drawn tells at least log 2 " +
  "\u2212 H(*a*) nats about which of the two follows; two neighbours share at least as much. Here *a* " +
  "is the end of the interval nearest to one half: 0 means that it may be guessing. No choice of two " +
  "can tell more than log 2 = 0.69, however much there is.";
const ROW = 20; // px, of the chart

/** @type {(n: number) => HTMLElement[]} */
const cells = (n) => Array.from({ length: n }, () => element("td"));

/** @type {(name: string, look: Look, cells: Node[]) => HTMLElement} */
function playerRow(name, [kind, mark], own) {
  const parts = [shape("path.dgm-reach", { d: "M3 7H31" }), shape("path.dgm-dot", { d: mark(17, 7, 4.5) })];
  return tableRow([sign(kind, ...parts), name], own);
}

/** @type {(w: Widget, answer: (place: number) => void) => Game} */
function makeGame(w, answer) {
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

  /** @type {(state: State) => void} */
  function show({ question, index, answers, revealed }) {
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
  }
  return { show, over, focus: () => (over.hidden ? sentence : over).focus() };
}
/** @typedef {{ show(state: State): void, over: HTMLElement, focus(): void }} Game */

// The critics' scores of the two options.
/** @type {(critics: string[]) => { node: HTMLElement, show(state: State): void }} */
function makeScores(critics) {
  const rows = critics.map((name) => ({ name, own: cells(2) }));
  const caption =
    "The critics\u2019 scores, shown once you have answered; the larger one is a critic\u2019s choice";
  const nodes = rows.map(({ name, own }, k) => playerRow(name, LOOKS[k + 1], own));
  const node = tableOf(caption, ["Critic", "1", "2"], nodes);
  /** @type {(state: State) => void} */
  const show = ({ question, revealed }) => {
    node.hidden = !question || !critics.length;
    for (const { name, own } of question ? rows : []) {
      const scores = question?.scores[name] ?? [];
      for (const [at, cell] of own.entries()) {
        cell.textContent = revealed ? decimals(scores[at]) : "?";
        cell.className = revealed && scores[at] > scores[1 - at] ? "dgm-took" : "";
      }
    }
  };
  return { node, show };
}

/** The shares of right answers with their intervals. @type {(players: string[]) => Chart} */
function makeChart(players) {
  const svg = shape("svg", { role: "img" });
  /** @type {(right: number[], n: number) => void} */
  function draw(right, n) {
    const width = svg.clientWidth;
    if (!width) return;
    const left = 10;
    const bottom = 6 + ROW * players.length;
    const px = (/** @type {number} */ share) => (left + share * (width - 2 * left)).toFixed(1);
    resize(svg, width, bottom + 36);
    const says = "Shares of right answers with their intervals, as in the table, after";
    place(svg, { "aria-label": `${says} ${n} questions` });
    svg.replaceChildren(
      shape("path.dgm-half", { d: `M${px(0.5)} 0V${bottom}` }),
      shape("path.dgm-axis", { d: `M${left} ${bottom}h${width - 2 * left}` }),
      ...bottomAxis([0, 0.25, 0.5, 0.75, 1], { px, y: bottom }),
      axisName(width / 2, bottom + 32, "share right; the dashed line is guessing"),
    );
    for (const [p, count] of n ? right.entries() : []) {
      const y = 6 + ROW * (p + 0.5);
      const [low, high] = wilson(count, n);
      const [kind, mark] = LOOKS[p];
      const reach = shape("path.dgm-reach", { d: `M${px(low)} ${y}H${px(high)}` });
      svg.append(
        shape("g", { class: kind }, reach, shape("path.dgm-dot", { d: mark(+px(count / n), y, 4.5) })),
      );
    }
  }
  return { svg, draw };
}
/** @typedef {{ svg: SVGElement, draw(right: number[], n: number): void }} Chart */

/** @type {(w: Widget, players: string[]) => { chart: Chart, show(right: number[], n: number): void }} */
function makeTally(w, players) {
  const chart = makeChart(players);
  const rows = players.map((name) => ({ name, own: cells(3) }));
  const heads = ["Who", "right", "95\u2009% interval", "tells at least, nats"];
  const nodes = rows.map(({ name, own }, p) => playerRow(name, LOOKS[p], own));
  const table = tableOf("The questions answered so far", heads, nodes);
  w.side.append(chart.svg, table, element("p.dgm-note", ...rich(WHY)));
  /** @type {(right: number[], n: number) => void} */
  const show = (right, n) => {
    for (const [p, { own }] of rows.entries()) {
      const [low, high] = n ? wilson(right[p], n) : [0, 1];
      const nearest = Math.min(Math.max(0.5, low), high);
      own[0].textContent = `${right[p]} of ${n}`;
      own[1].textContent = n ? `${decimals(low)}\u2013${decimals(high)}` : "\u2013";
      own[2].textContent = n ? decimals(informationAtLeast(nearest)) : "\u2013";
    }
    chart.draw(right, n);
  };
  return { chart, show };
}

// How many of the answered questions each player has right, the reader first; a tie of scores is half of one.
/** @type {(asked: Question[], answers: number[], critics: string[]) => number[]} */
function countRight(asked, answers, critics) {
  const mine = answers.filter((at, i) => at === asked[i].answer).length;
  const credit = (/** @type {string} */ name) =>
    asked.reduce((sum, { answer, scores: { [name]: own } }) => {
      return sum + 0.5 + 0.5 * Math.sign(own[answer] - own[1 - answer]);
    }, 0);
  return [mine, ...critics.map(credit)];
}

/** @type {(props: RenderProps) => () => void} */
function render(props) {
  /** @type {[Question[], string[], number]} */
  const [questions, critics, rounds] = [
    props.model.get("questions"),
    props.model.get("critics"),
    props.model.get("rounds"),
  ];
  const w = openWidget(props, {
    names: ["answers", "first"],
    hint: `answer all ${rounds}, and see who tells better what belongs together: you or the critics.`,
    kind: "dgm-lang dgm-quiz",
  });
  const question = (/** @type {number} */ i) => questions[(w.get("first") + i) % questions.length];
  const game = makeGame(w, answer);
  const scores = makeScores(critics);
  const next = pushButton("Next question", () => move({}, game.focus), "dgm-reset dgm-go");
  w.controls.append(element("div.dgm-row", next, w.reset), scores.node);
  const tally = makeTally(w, ["you", ...critics]);
  const speak = throttled(w.status, 300);
  // Whether the last answer's truth is shown, and the next question is not asked yet.
  let revealed = false;

  /** @type {(values: Values, focus: () => void, truth?: boolean) => void} */
  function move(values, focus, truth = false) {
    revealed = truth;
    w.save(values);
    draw();
    focus();
  }
  /** @type {(at: number) => void} */
  function answer(at) {
    const before = w.get("answers");
    if (!revealed && before.length < rounds) move({ answers: [...before, at] }, () => next.focus(), true);
  }
  // Anew, with questions that were not asked yet.
  w.reset.addEventListener("click", () => {
    const first = (w.get("first") + w.get("answers").length) % questions.length;
    move({ first, answers: [] }, game.focus);
  });
  w.root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !["1", "2"].includes(event.key)) return;
    event.preventDefault();
    answer(Number(event.key) - 1);
  });

  function draw() {
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
    const right = countRight(
      answers.map((_, i) => question(i)),
      answers,
      critics,
    );
    if (!state.question) {
      const all = critics.map((name, k) => `, ${name} ${right[k + 1]}`).join("");
      const few = questions.length >= 2 * rounds ? "" : ", as far as there are any";
      game.over.textContent =
        `All ${rounds} answered: you have ${right[0]} right${all}. Reset asks new ` + `ones${few}.`;
      speak(game.over.textContent);
    } else if (revealed) {
      const verdict = answers[index] === state.question.answer ? "Right" : "Wrong";
      speak(`${verdict}. ${right[0]} of ${n} right.`);
    }
    tally.show(right, n);
    w.root.dataset.moved = JSON.stringify({ first: w.get("first"), answers, right });
  }
  const stop = w.start("dgm:quiz", draw, { sized: tally.chart.svg });
  w.ask();
  return stop;
}

export default { render };
