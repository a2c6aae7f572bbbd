"""Steering: what stays, what spans cover, what is shown first, and when nothing is."""

import math
import re

import pytest
import torch
from checks import close, refuses
from small_rewriters import VOCABULARY, WORDS, random_model

from dgm import checkpoint, published, steering
from dgm.data.text import Vocabulary, tokenise
from dgm.nets.copying import END
from dgm.steering import RewritingModel, candidates

UP, DOWN, MIDDLE = (0, 0, 0, 0, 1), (1, 0, 0, 0, 0), (0, 0, 1, 0, 0)


@pytest.fixture
def model():
    return random_model()


@pytest.fixture
def writes(monkeypatch):
    """Has the beam write these sentences, the first as the most probable."""

    def write(*written):
        def beams(model, sentences, weights):
            return [{line: -float(i + 1) for i, line in enumerate(written)} for _ in sentences]

        monkeypatch.setattr(steering, "_write", beams)
        monkeypatch.setattr(steering, "likelihood", lambda m, s, w, y: torch.full((len(y),), -9.0))

    return write


def texts(rewrites):
    return [rewrite.text for rewrite in rewrites]


def test_numbers_names_and_locked_words_stay(model, writes):
    typed = "We paid Maria 5.50 for bad food."
    lines = ["we paid maria 5.50 for {} food .", "we paid 5.50 for good food ."]
    lines += ["we paid maria 5 for good food .", "we paid maria 5.50 50 for good food ."]
    lines += ["we paid maria 5.50 for good service .", "we paid maria 5.50 for good <unk> ."]
    writes(*(line.format("great") for line in lines))
    assert texts(candidates(model, typed, UP)) == [
        "We paid Maria 5.50 for great food.",
        "We paid Maria 5.50 for good service.",
    ]
    assert len(candidates(model, typed, UP, locked=["Food"])) == 1
    (stays,) = candidates(model, typed, UP, locked=["BAD", "food"])
    assert stays == (typed, (), (), steering.Scores(0, 0, 0, 0, 0, 0), "no rewrite was good enough")
    writes("we do love it", "we do n't hate it")
    assert texts(candidates(model, "we don't love it", UP, locked=["don’t"])) == [
        "we don't hate it"
    ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("The food was bad. The staff was rude.", []),
        ("The Food was bad", ["the", "food"]),
        ("The food in Rome was bad. I met Anna Smith", ["rome", "anna", "smith"]),
        ("Zork was bad. Service's slow", ["zork", "service"]),
        ("“Great” food (Good place). I AM", []),
        ("the food", []),
    ],
)
def test_names_are_capitals_within_a_sentence_or_unknown(typed, expected):
    assert steering.names(typed, VOCABULARY) == expected


SPANS = [
    ("The food was bad.", "the food was great .", "The food was great.", ["great"], ["bad"]),
    ("THE FOOD WAS BAD!", "the food was good !", "THE FOOD WAS GOOD!", ["GOOD"], ["BAD"]),
    ("It  wasn’t  good,\nwas it?", "it was good , was it ?", "It  was good,\nwas it?", [], ["n’t"]),
    ("bad 🍕👨‍👩‍👧 food", "good 🍕 👨 👩 👧 food", "good 🍕👨‍👩‍👧 food", ["good"], ["bad"]),
    ("“Bad” e\u0301clair…", "`` good '' éclair ...", "“Good” e\u0301clair…", ["Good"], ["Bad"]),
    ("½ was bad", "1 ⁄ 2 was good", "½ was good", ["good"], ["bad"]),
    ("עברית was bad", "עברית was good", "עברית was good", ["good"], ["bad"]),
    (
        "bad food. ﬁne",
        "food . i do n't ( ﬁne )",
        "food. i don't (ﬁne)",
        ["i don't (", ")"],
        ["bad"],
    ),
    ("It is bad, i said", "it is good , i said !", "It is good, I said!", ["good", "!"], ["bad"]),
]


@pytest.mark.parametrize(("typed", "line", "text", "changed", "removed"), SPANS)
def test_spans_cover_what_differs_and_the_rest_is_as_typed(typed, line, text, changed, removed):
    scores = steering.Scores(0, 0, 0, 0, 0, 0)
    rewrite = steering.as_typed(typed, tokenise(line, keep_numbers=True).split(), scores, "")
    assert rewrite.text == text
    assert [rewrite.text[a:b] for a, b in rewrite.changed] == changed
    assert [typed[a:b] for a, b in rewrite.removed] == removed


def cut(text, spans):
    inside = {i for a, b in spans for i in range(a, b)}
    return re.sub(r"\s", "", "".join(c for i, c in enumerate(text) if i not in inside)).lower()


@pytest.mark.parametrize(
    "typed",
    [
        "The food was bad.",
        "The food was bad. " * 10,
        "it was bad and the food was slow, " * 50,
        "bad food 🍕👨‍👩‍👧\n\nעברית — “so bad”\x00\u202e the place’s ½",
        "1. bad ((food)) -- ... !!! '",
    ],
)
def test_texts_of_all_kinds_differ_only_where_spans_say(model, typed):
    rewrites = candidates(model, typed, UP)
    assert rewrites
    for rewrite in rewrites:
        assert cut(rewrite.text, rewrite.changed) == cut(typed, rewrite.removed)
        assert all(0 <= a < b <= len(rewrite.text) for a, b in rewrite.changed)
        assert rewrite.text != typed or not rewrite.changed


def test_sentences_of_a_text_are_rewritten_each(model, writes):
    writes("the food was great .")
    text = " ".join(["The food was bad."] * 3)
    (rewrite,) = candidates(model, text, UP)
    assert rewrite.text == text.replace("bad", "great")
    assert len(rewrite.changed) == len(rewrite.removed) == 3


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("qwe 12 !", "there is no word that the model knows"),
        ("\u200d", "there is no word"),
        ("the food was bad", "it does not say what was asked"),
    ],
)
def test_an_abstention_says_why_and_shows_the_source(model, writes, monkeypatch, typed, reason):
    writes("the food was rude")
    monkeypatch.setattr(steering, "likelihood", lambda m, s, w, y: torch.zeros(len(y)))
    first, *rest = candidates(model, typed, UP)
    assert (first.text, first.changed, first.reason) == (typed, (), reason)
    assert all(other.reason == reason for other in rest)
    assert steering.steer(model, typed, UP) == typed


def test_a_score_below_the_least_is_not_good_enough(writes):
    model = random_model(least_nats=100.0)
    writes("the food was great")
    first, second = candidates(model, "the food was bad", UP)
    assert first.reason == second.reason == "no rewrite was good enough"
    assert second.text == "the food was great"


def test_the_best_comes_first_and_what_may_be_shown_before_the_rest(writes):
    model = random_model(reader=True)
    writes("the service was great", "the food was good", "it was awful")
    model.reader.forward = lambda ids: torch.tensor([4.0, 4.0, 0.0])[: len(ids)]
    best, second, wrong = candidates(model, "the food was bad", UP)
    assert texts([best, second, wrong]) == [
        "the food was good",
        "the service was great",
        "it was awful",
    ]
    assert best.scores.total > second.scores.total
    assert (best.reason, second.reason) == ("", "")
    assert wrong.reason == "it does not say what was asked"
    close(best.scores.agreement, math.tanh(2.0))
    assert len(candidates(model, "the food was bad", UP, count=2)) == 2


def test_equation_1_by_hand(writes):
    model = random_model(reader=True, score_weights=(1.0, 2.0, 3.0, 5.0, 7.0, 11.0))
    model.content[VOCABULARY.id("was")] = False
    model.reader.forward = lambda ids: torch.tensor([3.0])
    writes("staff is is great")
    (scored,) = steering.score(
        model, ["the food was bad"], torch.tensor([UP]), ["staff is is great"], torch.tensor([-4.0])
    )
    parts = (-4 / 5, 5.0, math.tanh(1.0), -3.0, -4.0, -2.0)
    close(scored.scores[:-1], parts)
    close(scored.scores.total, sum(a * b for a, b in zip(parts, model.score_weights, strict=True)))
    (scored,) = steering.score(
        model, ["the food was bad"], torch.tensor([MIDDLE]), ["it"], torch.tensor([-20.0])
    )
    assert scored.scores[:3] == (-10.0, -6.0, -1.0)


def test_many_at_once_are_as_each_alone(model, monkeypatch):
    monkeypatch.setattr(steering, "LONGER", 1)  # so that many do not end in time
    model.rewriter.bias.data[END] = 0.5
    lines = [
        "the food was bad .",
        "it is not very slow , but the staff was rude and awful !",
        "bad",
    ]
    weights = torch.tensor([UP, DOWN, MIDDLE]).double()
    together = steering.rank(model, lines, weights)
    assert any(together)
    for i, line in enumerate(lines):
        (alone,) = steering.rank(model, [line], weights[i : i + 1])
        assert [c.text for c in alone] == [c.text for c in together[i]]
        close([c.scores for c in alone], [c.scores for c in together[i]], atol=1e-3, rtol=0)
    typed = steering.rewrite_texts(model, ["It was bad.", "\u200d"], weights[:2], count=3)
    assert texts(typed[0]) == texts(candidates(model, "It was bad.", UP, count=3))


def test_what_is_published_is_what_was_saved(model):
    values = {"words": WORDS, "vertices": list("01234"), "reader": None, "least_nats": -1.0}
    values |= {"sizes": model.rewriter.sizes._asdict(), "score_weights": [1.0] * 6}
    tensors = {}
    for name, value in model.state_dict().items():
        tensors[name] = value
        if value.ndim > 1:
            scale = value.abs().amax(1) / 127
            tensors |= {
                name: (value / scale[:, None]).round().to(torch.int8),
                f"{name}.scale": scale,
            }
    restored = steering.from_published(values, tensors)
    assert (restored.least_nats, restored.vertices) == (-1.0, tuple("01234"))
    for (name, a), b in zip(
        model.state_dict().items(), restored.state_dict().values(), strict=True
    ):
        close(a, b, atol=0.51 * float(a.abs().max()) / 127 if a.ndim > 1 else 0, rtol=0, msg=name)


def test_models_that_are_not_published_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(published, "folders", lambda name: [tmp_path])
    monkeypatch.setattr(checkpoint, "load", None)
    with pytest.raises(FileNotFoundError, match="'captions' is not published"):
        steering.load("captions")


def ask(sentence="bad food", weights=UP, **options):
    return candidates(random_model(), sentence, weights, **options)


test_what_is_no_text_or_no_weights_is_refused = refuses(
    {
        "at least one word": [{"sentence": s} for s in ("", " \n", None, 3)],
        "want 5 weights": [{"weights": w} for w in ((1, 0), 1.0, torch.ones(1, 5))],
        "0 or more, finite": [{"weights": (x, 0, 0, 0, 0)} for x in (0, -1, math.nan, math.inf)],
        "count=0": {"count": 0},
    },
    ask,
)


test_what_makes_no_model_is_refused = refuses(
    {
        "no model 'x'.*sentiment, captions, shakespeare": lambda: steering.load("x"),
        "2 vertices": lambda: RewritingModel(VOCABULARY, "ab", random_model().rewriter),
        "has 1 slots": lambda: RewritingModel(Vocabulary(WORDS), "01234", random_model().rewriter),
    }
)
