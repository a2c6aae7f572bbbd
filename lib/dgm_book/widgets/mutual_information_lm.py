"""Widgets of mutual information and text: bounds, lottery, storyteller and quiz."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from . import checks
from .frame import BookWidget
from .packing import check_size, digits, shared
from .settings import choice, items, number, sent, setting, text, whole, within
from .text_weights import LanguageWeights


class BoundRace(BookWidget):
    """Batches of correlated Gaussian pairs, and what each bound makes of them with the best critic.

    x and y have d dimensions of unit variance, correlated by rho: I = -(d / 2) log(1 - rho^2). The
    critic is the log density ratio, plus 1 for NWJ; each of 24 batches of N pairs gives an
    estimate.
    """

    _bundle, _link = "bound_race", "bounds"
    title = text("A race of bounds on one mutual information")
    correlation = number(0.9, 0, 0.99)
    dimension = whole(1, 1, 20)
    batch = choice([2**k for k in range(1, 9)], 64)
    seed = whole(0, 0, 9999)

    def __init__(self, badge: str = "", **chosen) -> None:
        super().__init__(badge=badge, **chosen)


MAX_SENTENCES, MAX_BYTES = 400, 200_000  # of all sets
MAX_SUCCESSORS = 40


class RamlLottery(BookWidget):
    """A sentence of a text, and what phase II makes of each of the K sentences after it.

    The one k + 1 places later is drawn with P(k) = p (1 - p)^k, and weighs w_k = softmax_k [(T_k -
    T_0) / tau - log P(k)], equation (10) of `dgm.papers.mutual_information_lm`. A set has ``name``,
    ``label``, ``texts``, ``anchors`` (A places) and ``scores``: for each critic (A, K), of each
    anchor with the K sentences that follow it.
    """

    _bundle, _link = "raml_lottery", "lottery"
    title = text("A lottery: which sentence does a sentence learn from?")
    sets = sent()
    set = choice(lambda self: [given["name"] for given in self.sets])
    anchor = whole(0, 0, lambda self: self._last_anchor)
    critic = choice(lambda self: ["", *self.sets[0]["scores"]])
    p = number(0.3, 0.05, 0.9)
    temperature = number(1.0, 0.1, 10)

    def __init__(self, sets: Sequence[Mapping], badge: str = "", **chosen) -> None:
        checked = checks.items("sets", sets, "texts anchors scores", _text)
        critics = [list(given["scores"]) for given in checked]
        if any(others != critics[0] for others in critics):
            raise ValueError(f"sets: want the same critics in each, got {critics}")
        texts = [line for given in checked for line in given["texts"]]
        checks.span("sentences of all sets", len(texts), 1, MAX_SENTENCES)
        check_size("the text of all sets", sum(len(line.encode()) for line in texts), MAX_BYTES)
        first = {"set": checked[0]["name"], "critic": critics[0][0], "badge": badge}
        super().__init__({"sets": checked}, **first | chosen)

    @property
    def _last_anchor(self) -> float:
        return next((len(x["anchors"]) - 1 for x in self.sets if x["name"] == self.set), np.inf)

    @traitlets.observe("set")
    def _stay_inside(self, change) -> None:
        self.anchor = int(min(self.anchor, self._last_anchor))


def _text(owner: str, texts, anchors, scores) -> dict:
    texts, anchors = [str(line) for line in texts], [int(anchor) for anchor in anchors]
    if not anchors or not scores or "" in scores:
        raise ValueError(f"{owner}: want at least one anchor, and one critic with a name")
    sizes, shapes = {"A": len(anchors)}, dict.fromkeys(scores, "A K")
    arrays = checks.arrays(f"scores of {owner}", scores, shapes, sizes, float)
    checks.span(f"scores for each anchor of {owner}", sizes["K"], 2, MAX_SUCCESSORS)
    for anchor in anchors:
        checks.span(f"anchor of {owner}", anchor, 0, len(texts) - 1 - sizes["K"])
    scores = {name: digits(array, 6) for name, array in arrays.items()}
    return {"texts": texts, "anchors": anchors, "scores": scores}


MAX_CHARACTERS, MAX_THEMES = 200, 8  # of an opening, and of the data


class Storyteller(BookWidget):
    """Two models of a page write on from an opening, sentence by sentence, each with its topic.

    Words are drawn with the same numbers for all models, the first of which is the baseline.
    `themes` are the words of each topic. `curves` has ``distances`` (D,), ``exact`` (D,) in nats,
    ``models``: for each ``mean``, ``low`` and ``high`` (D,), and ``stay``, how often neighbours of
    the data share their topic. ``written`` is what the page made.
    """

    _bundle, _link = "storyteller", "stories"
    title = text("Does the story stay with its topic?")
    weights = shared(LanguageWeights)
    themes = sent()
    openings = sent()
    curves = sent(traitlets.Dict)
    n_sentences = sent(traitlets.Int)
    opening = text(most=MAX_CHARACTERS)
    temperature = number(1.0, 0.2, 2)
    seed = whole(0, 0, 2**20 - 1)
    written = setting(traitlets.Dict())

    def __init__(
        self, weights: LanguageWeights, themes, openings, curves: Mapping, badge="", **chosen
    ) -> None:
        n_sentences = chosen.pop("n_sentences", 12)
        checks.span("the number of models side by side", len(weights.names), 1, 2)
        longest = max(map(len, openings), default=0)
        checks.span("characters of an opening", longest, 0, MAX_CHARACTERS)
        fixed = {
            "themes": [[str(name), list(words)] for name, words in themes.items()],
            "openings": checks.texts("openings", openings),
            "curves": _curves(curves, weights.names),
            "n_sentences": checks.span("n_sentences", n_sentences, 2, 40),
        }
        checks.span("the number of themes", len(themes), 1, MAX_THEMES)
        checks.distinct("words of the themes", [w for words in themes.values() for w in words])
        if not all(themes.values()):
            raise ValueError("themes: want at least one word each")
        chosen = {"opening": openings[0], "badge": badge, **chosen}
        super().__init__(fixed, weights=weights, **chosen)


def _curves(curves: Mapping, names: list[str]) -> dict:
    checks.keys("curves", curves, ("distances", "exact", "models", "stay"))
    if set(curves["models"]) != set(names):
        raise ValueError(f"curves of {list(curves['models'])}: want those of the models {names}")
    distances = checks.ascending("distances", curves["distances"], above=True)
    sizes, models = {"D": len(distances)}, {}
    bands: dict[str, str] = dict.fromkeys(("mean", "low", "high"), "D")
    for name in names:
        line = checks.arrays(f"curve of {name!r}", curves["models"][name], bands, sizes, float)
        if (line["low"] > line["high"]).any():
            raise ValueError(f"the curve of {name!r}: low should not lie above high")
        models[name] = {key: digits(row, 6) for key, row in line.items()}
    exact = checks.arrays("curves", curves, {"exact": "D"}, sizes, float)["exact"]
    stay = checks.span("stay", float(curves["stay"]), 0, 1)
    known = {"distances": distances.tolist(), "exact": digits(exact, 6), "models": models}
    return known | {"stay": stay}


MAX_QUESTIONS, MAX_CRITICS = 500, 3


def _answers(widget: Any, name: str, answers: list[int]) -> list[int]:
    checks.span(f"the number of {name}", len(answers), 0, widget.rounds)
    return [checks.choice(name, answer, (0, 1)) for answer in answers]


class NextSentenceQuiz(BookWidget):
    """A sentence and two others, one of which follows it in the text; the reader says which.

    A question has ``sentence``, ``options`` (two), ``answer`` (the place, 0 or 1, of the one that
    follows, drawn by a fair coin) and ``scores`` of both by each critic. A share a of right answers
    tells, in nats, where Y is the place, C the choice, and o both options:

        log 2 - H(a) <= I(Y; C) <= I(x; next sentence),   H(a) = -a log a - (1 - a) log(1 - a),

    since H(Y | C) <= H(Y xor C) = H(a), and I(Y; C) <= I(Y; x | o) <= I(Y, o; x).
    """

    _bundle, _link = "sentence_quiz", "quiz"
    title = text("Which sentence comes next?")
    questions = sent()
    critics = sent()
    rounds = sent(traitlets.Int)
    first = whole(0, 0, lambda self: len(self.questions) - 1)
    answers = setting(
        traitlets.List(traitlets.Int()),
        _answers,
        lambda self: items(within("whole", 0, 1), 0, self.rounds),
    )

    def __init__(
        self, questions: Sequence[Mapping], badge="", *, rounds: int | None = None, **chosen
    ) -> None:
        n = checks.span("the number of questions", len(questions), 1, MAX_QUESTIONS)
        critics = [str(name) for name in questions[0].get("scores", {})]
        if len(critics) > MAX_CRITICS or "you" in critics:
            raise ValueError(f"critics {critics}: want at most {MAX_CRITICS}, none named 'you'")
        rounds = checks.span("rounds", min(20, n) if rounds is None else rounds, 1, n)
        checked = [_question(f"question {i}", x, critics) for i, x in enumerate(questions)]
        fixed = {"questions": checked, "critics": critics, "rounds": rounds}
        super().__init__(fixed, badge=badge, **chosen)


def _question(owner: str, question: Mapping, critics: list[str]) -> dict:
    checks.keys(owner, question, ("sentence", "options", "answer", "scores"))
    sentence, options = str(question["sentence"]), [str(line) for line in question["options"]]
    checks.texts(f"{owner}: sentence and options", [sentence, *options], most=3)
    checks.span(f"{owner}: number of options", len(options), 2, 2)
    answer = int(checks.choice(f"{owner}: answer", question["answer"], (0, 1)))
    if list(question["scores"]) != critics:
        raise ValueError(f"{owner} has scores of {list(question['scores'])}, want {critics}")
    shapes = dict.fromkeys(critics, "2")
    scores = checks.arrays(f"scores of {owner}", question["scores"], shapes, dtype=float)
    scores = {name: digits(pair, 6) for name, pair in scores.items()}
    return {"sentence": sentence, "options": options, "answer": answer, "scores": scores}
