"""The next-sentence quiz: which of two sentences really follows, asked of a reader and of critics.

What a share of right answers tells. Y, a fair coin, says in which place the real next sentence
stands; the other sentence is drawn as the next ones are, but without looking at the first sentence
x. C is the choice of a reader or critic who sees x and both options o, and a the probability that
C = Y. In nats,

    log 2 - H(a)  <=  I(Y; C)  <=  I(x; next sentence),      H(a) = -a log a - (1 - a) log(1 - a).

On the left: H(Y | C) = H(Y xor C | C) <= H(Y xor C) = H(a), with equality where an error is as
likely whichever place is chosen. On the right: C is made of (x, o), and o alone does not tell Y, so
I(Y; C) <= I(Y; x, o) = I(Y; x | o) <= I(Y, o; x), and x has to do with (Y, o) only by the sentence
that follows it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .checks import in_range
from .frame import BookWidget
from .packing import check_arrays

MOST_QUESTIONS, MOST_CRITICS = 500, 3


class NextSentenceQuiz(BookWidget):
    """A sentence and two others, one of which follows it in the text; the reader says which.

    ``answers``, the places (0 or 1) that the reader chose, and ``first``, the question that the
    game began with, follow the reader, and may be set; answer i is to question (first + i) modulo
    their number. "Reset" begins anew with questions that were not asked yet, as long as there are
    any. A critic whose scores tie has half of a question right.

    Args:
        questions: One dict each: ``sentence``, ``options`` (two), ``answer`` (0 or 1, the place of
            the one that follows, which a fair coin should have drawn) and ``scores``: for each
            critic, the same in all, its scores of the two options; the larger one is its choice.
        rounds: Questions per game; None asks up to twenty.

    Raises:
        ValueError: For no question or more than 500, one that lacks something, scores that are not
            finite or of other critics, more than three critics, or more rounds than questions.
    """

    questions = traitlets.List(read_only=True).tag(sync=True)
    critics = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    rounds = traitlets.Int(read_only=True).tag(sync=True)
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
        n = len(questions)
        if not 1 <= n <= MOST_QUESTIONS:
            raise ValueError(f"{n} questions: want 1 to {MOST_QUESTIONS}")
        critics = [str(name) for name in questions[0].get("scores", {})]
        if len(critics) > MOST_CRITICS or "you" in critics:
            raise ValueError(f"critics {critics}: want at most {MOST_CRITICS}, none named 'you'")
        rounds = min(20, n) if rounds is None else rounds
        if not 1 <= rounds <= n:
            raise ValueError(f"rounds={rounds}: want 1 to {n}")
        checked = [_checked(i, x, critics) for i, x in enumerate(questions)]
        fixed = {"questions": checked, "critics": critics, "rounds": rounds}
        super().__init__(fixed, title=title, badge=badge)

    @traitlets.validate("answers")
    def _validate_answers(self, proposal) -> list[int]:
        answers = proposal["value"]
        if len(answers) > self.rounds or not set(answers) <= {0, 1}:
            raise ValueError(f"answers={answers}: want at most {self.rounds}, each 0 or 1")
        return answers

    _valid_first = in_range("first", 0, lambda self: len(self.questions) - 1)


def _checked(i: int, question: Mapping, critics: list[str]) -> dict:
    if lacks := sorted({"sentence", "options", "answer", "scores"} - question.keys()):
        raise ValueError(f"question {i} lacks {lacks}")
    sentence, options = str(question["sentence"]), [str(text) for text in question["options"]]
    if len(options) != 2 or not all(text.strip() for text in (sentence, *options)):
        raise ValueError(f"question {i}: want a sentence and two options, none empty")
    if question["answer"] not in (0, 1):
        raise ValueError(f"question {i}: answer is {question['answer']!r}, want 0 or 1")
    if list(question["scores"]) != critics:
        raise ValueError(f"question {i} has scores of {list(question['scores'])}, want {critics}")
    shapes = dict.fromkeys(critics, "2")
    scores = check_arrays(f"scores of question {i}", question["scores"], shapes, None, np.float64)
    rows = {name: [float(f"{v:.6g}") for v in pair] for name, pair in scores.items()}
    answer = int(question["answer"])
    return {"sentence": sentence, "options": options, "answer": answer, "scores": rows}
