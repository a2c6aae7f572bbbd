// The next-sentence quiz: which of two sentences follows; the reader beside critics, and what the shares
// tell.

import "../styles/language.css";
import { decimals, pushButton } from "../controls.js";
import { buildFrame, element, MARKS, onceAFrame, onWidth, rich, shape, throttled } from "../frame.js";
import { informationAtLeast, wilson } from "../models/shares.js";

const LOOKS = [
  ["dgm-exact", MARKS.circle],
  ["dgm-first", MARKS.square],
  ["dgm-second", MARKS.triangle],
  ["dgm-third", MARKS.diamond],
];
const SAID = { true: "\u2713 this one follows", false: "this one does not follow" };

function render({ model, el }) {
  const [questions, critics, rounds] = ["questions", "critics", "rounds"].map((name) => model.get(name));
  const frame = buildFrame({
    title: model.get("title"),
    badge: model.get("badge"),
    hint: `answer all ${rounds}, and see who tells better what belongs together: you or the critics.`,
  });
  frame.root.classList.add("dgm-lang", "dgm-quiz");
  const answers = () => model.get("answers");
  const question = (i) => questions[(model.get("first") + i) % questions.length];
  // Whether the last answer's truth is shown, and the next question is not asked yet.
  let revealed = false;

  // The question

  const which = element("p.dgm-caption");
  const sentence = element("p.dgm-first-said", { tabindex: -1 });
  const options = [0, 1].map((place) => {
    const [text, verdict] = [element("span"), element("small")];
    const node = pushButton("", () => answer(place), "dgm-option");
    node.append(element("b", { "aria-hidden": "true" }, String(place + 1)), text, verdict);
    return { node, text, verdict };
  });
  const asked = element("p.dgm-caption", "Which one comes next? Press 1 or 2.");
  const game = element("div", asked, element("div.dgm-options", ...options.map(({ node }) => node)));
  const over = element("p.dgm-first-said", { tabindex: -1 });
  frame.picture.append(which, sentence, game, over);

  const head = (text) => element("th", { scope: "col" }, text);
  const sign = ([kind, mark]) =>
    shape(
      "svg",
      { viewBox: "0 0 34 14", class: kind, "aria-hidden": "true" },
      shape("path.dgm-reach", { d: "M3 7H31" }),
      shape("path.dgm-dot", { d: mark(17, 7, 4.5) }),
    );
  const makeTable = (caption, columns, rows) =>
    element(
      "table",
      element("caption", caption),
      element("thead", element("tr", ...columns.map(head))),
      element("tbody", ...rows),
    );
  const makeRow = (name, look, cells) =>
    element("tr", element("th", { scope: "row" }, sign(look), name), ...cells);
  const cells = (n) => Array.from({ length: n }, () => element("td"));
  const scores = critics.map((name, k) => ({ name, of: cells(2), rank: k + 1 }));
  const scoreTable = makeTable(
    "The critics\u2019 scores, shown once you have answered; the larger one is a critic\u2019s choice",
    ["Critic", "1", "2"],
    scores.map(({ name, of, rank }) => makeRow(name, LOOKS[rank], of)),
  );
  scoreTable.hidden = !critics.length;
  const next = pushButton("Next question", ask, "dgm-reset dgm-go");
  frame.controls.append(element("div.dgm-row", next, frame.reset), scoreTable);

  // The read-outs

  const players = ["you", ...critics];
  const tallies = players.map((name, p) => ({ name, look: LOOKS[p], cells: cells(3) }));
  const table = makeTable(
    "The questions answered so far",
    ["Who", "right", "95\u2009% interval", "tells at least, nats"],
    tallies.map(({ name, look, cells }) => makeRow(name, look, cells)),
  );
  const svg = shape("svg", { role: "img" });
  const why = element(
    "p.dgm-note",
    ...rich(
      "A share *a* of right answers to questions whose places a fair coin has drawn tells at least log 2 \u2212 H(*a*) nats about which of the two follows; two neighbours share at least as much. Here *a* is the end of the interval nearest to one half: 0 means that it may be guessing. No choice of two can tell more than log 2 = 0.69, however much there is.",
    ),
  );
  frame.side.append(svg, table, why);

  // How many of the answered questions each player has right; a tie of scores is half of one.
  function counted() {
    const made = answers().map((place, i) => ({ place, ...question(i) }));
    const credit = ([own, other]) => 0.5 + 0.5 * Math.sign(own - other);
    const total = (right) => made.reduce((sum, one) => sum + right(one), 0);
    const ofCritic = (name) =>
      total(({ answer: truth, scores: all }) => credit([all[name][truth], all[name][1 - truth]]));
    return [total(({ place, answer: truth }) => Number(place === truth)), ...critics.map(ofCritic)];
  }

  const speak = throttled(frame.status, 300);

  function answer(place) {
    if (revealed || answers().length >= rounds) return;
    revealed = true;
    model.set("answers", [...answers(), place]);
    model.save_changes();
    draw();
    next.focus();
  }

  function ask() {
    revealed = false;
    draw();
    (over.hidden ? sentence : over).focus();
  }

  // Begins anew, with questions that were not asked yet.
  function begin() {
    revealed = false;
    model.set("first", (model.get("first") + answers().length) % questions.length);
    model.set("answers", []);
    model.save_changes();
    draw();
    sentence.focus();
  }

  function draw() {
    const made = answers();
    const n = made.length;
    revealed &&= n > 0;
    const finished = n >= rounds && !revealed;
    const i = revealed ? n - 1 : n;
    const now = finished ? null : question(i);
    for (const node of [which, sentence, game]) node.hidden = finished;
    scoreTable.hidden = finished || !critics.length;
    over.hidden = !finished;
    next.hidden = !revealed;
    next.textContent = n < rounds ? "Next question" : "To the result";
    const right = counted();
    if (now) {
      which.textContent = `Question ${i + 1} of ${rounds}`;
      sentence.textContent = now.sentence;
      options.forEach(({ node, text, verdict }, place) => {
        text.textContent = now.options[place];
        const truth = place === now.answer;
        const mine = revealed && place === made[i];
        verdict.textContent = revealed ? `${SAID[truth]}${mine ? " \u00b7 your choice" : ""}` : "";
        node.classList.toggle("dgm-true", revealed && truth);
        node.classList.toggle("dgm-wrong", mine && !truth);
        if (revealed) node.setAttribute("aria-disabled", "true");
        else node.removeAttribute("aria-disabled");
      });
      for (const { name, of } of scores) {
        of.forEach((cell, place) => {
          const mine = now.scores[name];
          cell.textContent = revealed ? decimals(mine[place]) : "?";
          cell.className = revealed && mine[place] > mine[1 - place] ? "dgm-took" : "";
        });
      }
      if (revealed) speak(`${made[i] === now.answer ? "Right" : "Wrong"}. ${right[0]} of ${n} right.`);
    } else {
      over.textContent = `All ${rounds} answered: you have ${right[0]} right${critics.map((name, k) => `, ${name} ${right[k + 1]}`).join("")}. Reset asks new ones${questions.length >= 2 * rounds ? "" : ", as far as there are any"}.`;
      speak(over.textContent);
    }
    fill(right, n);
    frame.root.dataset.moved = JSON.stringify({ first: model.get("first"), answers: made, right });
  }

  const ends = (count, n) => (n ? wilson(count, n) : [0, 1]);

  function fill(right, n) {
    tallies.forEach(({ cells: [count, interval, tells] }, p) => {
      const [low, high] = ends(right[p], n);
      const nearest = Math.min(Math.max(0.5, low), high);
      count.textContent = `${right[p]} of ${n}`;
      interval.textContent = n ? `${decimals(low)}\u2013${decimals(high)}` : "\u2013";
      tells.textContent = n ? decimals(informationAtLeast(nearest)) : "\u2013";
    });
    drawShares(right, n, svg.clientWidth);
  }

  function drawShares(right, n, width) {
    if (!width) return;
    const [left, row] = [10, 20];
    const w = width - 2 * left;
    const bottom = 6 + row * players.length;
    const px = (share) => (left + share * w).toFixed(1);
    svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 36}`);
    svg.setAttribute("height", bottom + 36);
    svg.setAttribute(
      "aria-label",
      `Shares of right answers with their intervals, as in the table, after ${n} questions`,
    );
    svg.replaceChildren(
      shape("path.dgm-half", { d: `M${px(0.5)} 0V${bottom}` }),
      shape("path.dgm-axis", { d: `M${left} ${bottom}h${w}` }),
    );
    for (const share of [0, 0.25, 0.5, 0.75, 1]) {
      svg.append(
        shape("path.dgm-axis", { d: `M${px(share)} ${bottom}v4` }),
        shape("text", { x: px(share), y: bottom + 16, "text-anchor": "middle" }, String(share)),
      );
    }
    svg.append(
      shape(
        "text.dgm-strong",
        { x: width / 2, y: bottom + 32, "text-anchor": "middle" },
        "share right; the dashed line is guessing",
      ),
    );
    if (!n) return;
    tallies.forEach(({ look: [kind, mark] }, p) => {
      const y = 6 + row * (p + 0.5);
      const [low, high] = wilson(right[p], n);
      svg.append(
        shape(
          "g",
          { class: kind },
          shape("path.dgm-reach", { d: `M${px(low)} ${y}H${px(high)}` }),
          shape("path.dgm-dot", { d: mark(+px(right[p] / n), y, 4.5) }),
        ),
      );
    });
  }

  frame.root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !["1", "2"].includes(event.key)) return;
    event.preventDefault();
    answer(Number(event.key) - 1);
  });
  frame.reset.addEventListener("click", begin);
  const follow = onceAFrame("dgm:quiz", draw);
  const watched = ["change:answers", "change:first"];
  for (const name of watched) model.on(name, follow);
  el.append(frame.root);
  const stopWidth = onWidth(svg, () => follow());
  follow();
  return () => {
    follow.stop();
    stopWidth();
    for (const name of watched) model.off(name, follow);
  };
}

export default { render };
