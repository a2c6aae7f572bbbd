"""The next-sentence quiz: which of two sentences really follows, asked of a reader and of critics.

What a share of right answers tells. Y, a fair coin, says in which place the real next sentence stands; the
other sentence is drawn as the next ones are, but without looking at the first sentence x. C is the choice
of a reader or critic who sees x and both options o, and a the probability that C = Y. Then, in nats,

    log 2 - H(a)  <=  I(Y; C)  <=  I(x; next sentence),      H(a) = -a log a - (1 - a) log(1 - a).

On the left: H(Y | C) = H(Y xor C | C) <= H(Y xor C) = H(a), with equality where an error is as likely
whichever place is chosen. On the right: C is made of (x, o), and o alone does not tell Y, so I(Y; C) <=
I(Y; x, o) = I(Y; x | o) <= I(Y, o; x), and x has to do with (Y, o) only by the sentence that follows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import anywidget
import traitlets
from matplotlib.figure import Figure

from . import frame

STYLE = frame.style() + (frame.FOLDER / "language.css").read_text("utf-8")
MOST_QUESTIONS = 500
_LOOKS = ((frame.ORANGE, "s"), (frame.BLUE, "^"), (frame.GREY, "D"))


class NextSentenceQuiz(anywidget.AnyWidget):
    """A sentence and two others, one of which follows it in the text; the reader says which.

    ``answers``, the places (0 or 1) that the reader chose, and ``first``, the question that the game
    began with, follow the reader, and may be set; answer i is that to question (first + i) modulo their
    number. "Reset" begins anew with questions that were not asked yet, as long as there are any.

    Args:
        questions: One dict each: ``sentence``, ``options`` (two), ``answer`` (0 or 1, the place of the one
            that follows, which a fair coin should have drawn) and ``scores``: for each critic, the same in
            all, its scores of the two options; the larger one is its choice.
        badge: Which profile, data and seed the questions and critics come from.
        rounds: Questions a game; None asks up to twenty.
        title: What stands above the widget.

    Raises:
        ValueError: For no question or more than 500, one that lacks something, scores that are not finite
            or of other critics, more than three critics, or more rounds than questions.
    """

    _esm = frame.module("pooling.js", "sentence_quiz.js")
    _css = STYLE

    questions = traitlets.List(read_only=True).tag(sync=True)
    critics = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    rounds = traitlets.Int(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    first = traitlets.Int(0).tag(sync=True)
    answers = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        questions: Sequence[Mapping],
        badge: str = "",
        *,
        rounds: int | None = None,
        title: str = "Which sentence comes next?",
    ) -> None:
        if not 1 <= len(questions) <= MOST_QUESTIONS:
            raise ValueError(f"{len(questions)} questions: want 1 to {MOST_QUESTIONS}")
        critics = [str(name) for name in questions[0].get("scores", {})]
        if len(critics) > len(_LOOKS) or "you" in critics:
            raise ValueError(f"critics {critics}: want at most {len(_LOOKS)}, none named 'you'")
        made = [_checked(i, question, critics) for i, question in enumerate(questions)]
        rounds = min(20, len(made)) if rounds is None else rounds
        if not 1 <= rounds <= len(made):
            raise ValueError(f"rounds={rounds}: want 1 to {len(made)}, the number of questions")
        self._rounds, self._number = rounds, len(made)
        super().__init__(title=title, badge=badge)
        for name, value in {"questions": made, "critics": critics, "rounds": rounds}.items():
            self.set_trait(name, value)

    @traitlets.validate("answers")
    def _known_places(self, proposal) -> list[int]:
        answers = proposal["value"]
        if len(answers) > self._rounds or not set(answers) <= {0, 1}:
            raise ValueError(f"answers={answers}: want at most {self._rounds}, each 0 or 1")
        return answers

    @traitlets.validate("first")
    def _known_question(self, proposal) -> int:
        if not 0 <= proposal["value"] < self._number:
            raise ValueError(f"first={proposal['value']}: want 0 to {self._number - 1}")
        return proposal["value"]

    def right(self) -> dict[str, float]:
        """Return how many of the answered questions the reader ("you") and each critic have right.

        A critic whose scores tie has half of a question right.
        """
        asked = [self.questions[(self.first + i) % self._number] for i in range(len(self.answers))]
        pairs = zip(asked, self.answers, strict=True)
        found = {"you": float(sum(place == q["answer"] for q, place in pairs))}
        return found | {name: sum(_credit(q, name) for q in asked) for name in self.critics}

    def poster(self) -> Figure:
        """Draw a question, and how the critics fare on all of them, for pages that cannot run the widget."""
        question = self.questions[self.first]
        figure = Figure(figsize=(7.2, 1.9 + 0.35 * len(self.critics)), layout="constrained")
        axes = figure.subplots()
        told = [question["sentence"], *(f"{i + 1}  {o}" for i, o in enumerate(question["options"]))]
        short = [text if len(text) < 88 else f"{text[:86]}…" for text in told]
        axes.set_title("\n".join(short), loc="left", fontsize=9, parse_math=False)
        n = self._number
        for i, name in enumerate(self.critics):
            right = sum(_credit(q, name) for q in self.questions)
            low, high = wilson(right, n)
            color, mark = _LOOKS[i]
            axes.plot([low, high], [i, i], color=color, linewidth=3)
            axes.plot([right / n], [i], color=color, marker=mark, markersize=8)
        axes.axvline(0.5, color="black", linestyle="--", linewidth=1)
        axes.set_yticks(range(len(self.critics)), self.critics)
        axes.set_ylim(len(self.critics) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xlabel(f"share of {n} questions that a critic has right, 95 % interval")
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        told = f"questions={self._number}, rounds={self.rounds}, critics={self.critics}"
        return f"NextSentenceQuiz({told})"


def wilson(right: float, n: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a share, for right of n answers, n at least 1."""
    if n < 1 or not 0 <= right <= n:
        raise ValueError(
            f"{right} of {n}: want at least one answer, and no more right than there are"
        )
    z2, a = 1.959964**2, right / n
    middle = (a + z2 / (2 * n)) / (1 + z2 / n)
    reach = math.sqrt(z2 * (a * (1 - a) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def information_at_least(share: float) -> float:
    """Return log 2 - H(share), nats: what right answers at this rate tell at least; see above."""
    if not 0 <= share <= 1:
        raise ValueError(f"share={share}: want 0 to 1")
    return math.log(2) + sum(p * math.log(p) for p in (share, 1 - share) if p > 0)


def _credit(question: Mapping, critic: str) -> float:
    scores, answer = question["scores"][critic], question["answer"]
    return 0.5 + 0.5 * (
        (scores[answer] > scores[1 - answer]) - (scores[answer] < scores[1 - answer])
    )


def _checked(i: int, question: Mapping, critics: list[str]) -> dict:
    if lacks := sorted({"sentence", "options", "answer", "scores"} - set(question)):
        raise ValueError(f"question {i} lacks {lacks}")
    sentence, options = str(question["sentence"]), [str(text) for text in question["options"]]
    if len(options) != 2 or not all(text.strip() for text in (sentence, *options)):
        raise ValueError(f"question {i}: want a sentence and two options, none empty")
    if question["answer"] not in (0, 1):
        raise ValueError(f"question {i}: answer is {question['answer']!r}, want 0 or 1")
    if list(question["scores"]) != critics:
        raise ValueError(f"question {i} has scores of {list(question['scores'])}, want {critics}")
    scores = {}
    for name, given in question["scores"].items():
        values = [float(score) for score in given]
        if len(values) != 2 or not all(map(math.isfinite, values)):
            raise ValueError(
                f"question {i}: scores of {name!r} are {given}, want two finite numbers"
            )
        scores[name] = [float(f"{value:.6g}") for value in values]
    return {
        "sentence": sentence,
        "options": options,
        "answer": int(question["answer"]),
        "scores": scores,
    }
