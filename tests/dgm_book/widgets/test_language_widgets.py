"""The page's language models, the storyteller and the quiz: what travels, and what is refused."""

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ipywidgets import embed
from quiz import count_right, information_at_least, wilson
from traitlets import TraitError

from dgm.data.synthetic import THEMES
from dgm.data.text import Vocabulary
from dgm.nets.language_models import AWDLSTM, plain_lstm
from dgm_book.widgets import (
    BoundRace,
    LanguageWeights,
    NextSentenceQuiz,
    RamlLottery,
    Storyteller,
)
from dgm_book.widgets.hashing import ODD, murmur_mix
from dgm_book.widgets.language_weights import MOST_WORDS, TENSORS, rounded
from dgm_book.widgets.storyteller import words_of

KNOWN_WORDS = Path(__file__).parents[2] / "dgm" / "data" / "words.json"
WORDS = [word for words in THEMES.values() for word in words[:3]] + ["the", "of"]
V, E = 4 + len(WORDS), 16
ROWS = [[2], [2, 4, 9, 3], [7, 7, 2, 12, 29]]
NAMES = ("likelihood", "phase I")
OPENINGS = ["the sea boat", "the oven"]


def arrays(seed=0, model=None):
    torch.manual_seed(seed)
    state = (model or plain_lstm(V, E)).state_dict()
    return {name: torch.randn(value.shape).numpy() / 2 for name, value in state.items()}


def models():
    return {name: arrays(i) for i, name in enumerate(NAMES)}


def golden():
    dice = np.random.default_rng(0)
    log_probs = {name: dice.normal(size=(3, V)).astype("<f4") for name in NAMES}
    return {"tokens": ROWS, "log_probs": log_probs}


def weights(**changes):
    return LanguageWeights(**{"models": models(), "words": WORDS} | changes)


def curves(**changes):
    line = {"mean": [1.3, 1.0], "low": [1.2, 0.9], "high": [1.4, 1.1]}
    base = {"distances": [1, 2], "exact": [1.56, 1.2], "stay": 0.9}
    return base | {"models": dict.fromkeys(NAMES, line)} | changes


def teller(**changes):
    given = {"weights": weights(), "themes": THEMES, "openings": OPENINGS, "curves": curves()}
    return Storyteller(**given | changes)


def question(i=0, answer=None, **changes):
    answer = i % 2 if answer is None else answer
    base = {"sentence": f"sentence {i}", "options": [f"one {i}", f"two {i}"], "answer": answer}
    return base | {"scores": {"a": [1.0, 0.0], "b": [0.5, 0.5]}} | changes


def quiz(questions=None, **options):
    questions = [question(i) for i in range(5)] if questions is None else questions
    return NextSentenceQuiz(questions, **options)


# The weights


def test_no_value_moves_by_more_than_half_a_step_of_its_row():
    for name, given in models().items():
        page = rounded(models())[name]
        assert page.keys() == given.keys() == set(TENSORS.values())
        for key, values in page.items():
            wide = given[key]
            if wide.ndim == 1:
                np.testing.assert_array_equal(values, wide)
                continue
            step = np.abs(wide).max(axis=1, keepdims=True) / 127
            assert (np.abs(values - wide) <= 0.5001 * step).all()
            assert (values != wide).any()


def test_what_travels_is_what_was_rounded():
    packed = weights(golden=golden())
    assert packed.names == list(NAMES)
    for model, expected in zip(packed.header["models"], rounded(models()).values(), strict=True):
        for key, description in model["tensors"].items():
            np.testing.assert_array_equal(packed.array(description), expected[TENSORS[key]])
    assert packed.header["golden"]["tokens"] == ROWS
    for name, start in packed.header["golden"]["log_probs"].items():
        table = packed.array({"shape": (3, V), "start": start})
        np.testing.assert_array_equal(table, golden()["log_probs"][name])
    assert packed.header["words"].split() == Vocabulary(WORDS).words


def test_the_book_s_models_fit_a_page_and_wider_ones_do_not():
    dice = np.random.default_rng(0)

    def wide(size, width):
        shapes = [(size, width), *[(4 * width, width)] * 2, *[(4 * width,)] * 2, (size,)]
        pairs = zip(TENSORS.values(), shapes, strict=True)
        model = {name: dice.normal(size=shape) for name, shape in pairs}
        return dict.fromkeys(NAMES, model), [f"w{i}" for i in range(size - 4)]

    assert len(LanguageWeights(*wide(264, 64)).data) < 120_000
    with pytest.raises(ValueError, match="a page holds at most 1500000"):
        LanguageWeights(*wide(6000, 120))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_ih", np.zeros((4 * E, E + 1)), r"weight_ih_l0 has shape \(64, 17\), .*4E, E"),
        ("bias_hh", np.zeros(E), r"shape \(16,\), should be \(4E\)"),
        ("bias", np.zeros(V + 1), rf"head.bias has shape \({V + 1},\), should be \(V\)"),
        ("bias", np.full(V, np.inf), "values that are not finite"),
        ("embedding", np.zeros(V), r"should be \(V, E\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name, value, message):
    given = models()
    given["phase I"][TENSORS[name]] = value
    with pytest.raises(ValueError, match=message):
        weights(models=given)


def deep(**options):
    return arrays(model=AWDLSTM(V, E, E, E, **options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {}}, "want at least one"),
        ({"models": {"a": {}}}, "model 'a' lacks"),
        ({"models": {"a": deep(layers=2, experts=0)}}, "lstms.1.*want one LSTM layer"),
        ({"models": {"a": deep(layers=1, experts=2)}}, "head.latent.*a plain softmax"),
        ({"models": {"a": arrays(), "b": arrays(model=plain_lstm(V + 1, E))}}, f"V = {V}"),
        ({"words": WORDS[:-1]}, "25 words, but the embedding has rows for 26"),
        ({"words": [*WORDS[:-1], "the"]}, "comes twice"),
        ({"golden": golden() | {"log_probs": {}}}, "golden log_probs lacks"),
        ({"golden": golden() | {"tokens": ROWS[:2]}}, rf"shape \(3, {V}\), should be \(2, {V}\)"),
        ({"golden": golden() | {"tokens": [[], *ROWS[1:]]}}, "at least one"),
        ({"golden": golden() | {"tokens": [[V], *ROWS[1:]]}}, f"below {V}"),
        ({"limit": 100}, "a page holds at most 100"),
    ],
)
def test_weights_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        weights(**changes)


@pytest.mark.parametrize("widget", [BoundRace, NextSentenceQuiz, RamlLottery, Storyteller])
def test_each_module_stands_alone_and_is_small(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]
    assert len(widget._esm.encode()) < 32_000


def test_a_widget_s_state_is_json():
    for widget in (teller(), quiz()):
        json.dumps(embed.dependency_state([widget], drop_defaults=False), allow_nan=False)


# The storyteller


def test_what_is_typed_becomes_words():
    typed = " The judge\u2019s sea-boat, (was) OLD... "
    assert words_of(typed) == ["the", "judge\u2019s", "sea-boat", "was", "old"]
    assert words_of(" <b>!? _ ") == ["b"]
    for words in json.loads(KNOWN_WORDS.read_text("utf-8")):
        assert words_of(words["typed"]) == words["words"].split()


def test_the_numbers_that_draw_a_page_s_words_are_even_and_their_own():
    places = itertools.product((0, 1, 2, 77, 2**20 - 1), range(40), range(MOST_WORDS))
    counters = np.array([(seed * 64 + i) * 64 + n + 1 for seed, i, n in places])
    numbers = murmur_mix(counters * ODD % 2**32) / 2**32
    assert len(set(numbers)) == len(numbers)
    expected = len(numbers) / 20
    counts = np.histogram(numbers, 20, (0, 1))[0]
    assert ((counts - expected) ** 2 / expected).sum() < 19 + 4 * math.sqrt(2 * 19)  # chi-square
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 4 / math.sqrt(len(numbers))


def test_the_storyteller_has_what_the_page_sets():
    widget = teller(temperature=0.5)
    assert (widget.opening, widget.temperature, widget.seed) == (OPENINGS[0], 0.5, 0)
    chosen = {"opening": "the", "temperature": 1.5, "seed": 3, "written": {"phase I": ["the sea"]}}
    widget.set_state(chosen)
    assert {name: getattr(widget, name) for name in chosen} == chosen


@pytest.mark.parametrize(
    ("name", "value"),
    [("opening", "a" * 201), ("temperature", 0.1), ("temperature", np.nan), ("seed", -1)],
)
def test_a_story_out_of_range_is_refused(name, value):
    widget = teller()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError), match=name):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"openings": []}, "at least one"),
        ({"openings": "the sea"}, "a list of texts"),
        ({"openings": ["the", " "]}, "none empty"),
        ({"openings": ["a" * 201]}, "at most 200 characters, got 201"),
        ({"opening": "a" * 201}, "at most 200"),
        ({"n_sentences": 1}, "want 2 to 40"),
        ({"themes": {}}, "want 1 to 8"),
        ({"themes": {"a": ["sea"], "b": ["sea"]}}, "no word twice"),
        ({"themes": {"a": []}}, "at least one word each"),
        ({"weights": weights(models=dict.fromkeys("abc", arrays()))}, "one or two"),
        ({"curves": {"exact": [1, 2]}}, r"curves lack \['distances', 'models', 'stay'\]"),
        ({"curves": curves(models={})}, "want those of the models"),
        (
            {"curves": curves(models={key: {"mean": [1, 2]} for key in NAMES})},
            r"lacks \['low', 'high'\]",
        ),
        ({"curves": curves(distances=[2, 1])}, "ascending"),
        ({"curves": curves(distances=[0, 1])}, "above 0"),
        ({"curves": curves(exact=[1, np.nan])}, "exact holds values that are not finite"),
        ({"curves": curves(stay=1.1)}, "a share from 0 to 1"),
    ],
)
def test_a_bad_storyteller_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        teller(**changes)


# The quiz


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (3, 10), (7.5, 20), (500, 500)])
def test_wilson_s_ends_are_where_the_share_lies_as_far_as_it_may(right, n):
    for end in wilson(right, n):
        assert 0 <= end <= 1
        assert (right / n - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, abs=1e-12)
    low, high = wilson(right, n)
    assert low <= right / n <= high
    assert low < high


def test_what_a_share_tells_at_its_ends():
    assert information_at_least(0.5) == pytest.approx(0)
    assert information_at_least(0) == information_at_least(1) == pytest.approx(math.log(2))
    assert information_at_least(0.9) == pytest.approx(information_at_least(0.1))
    # Of a fair bit, switched one time in ten.
    assert information_at_least(0.9) == pytest.approx(0.3680642)


def mutual_information(table):
    product = table.sum(1, keepdims=True) * table.sum(0, keepdims=True)
    inside = table > 0
    return (table[inside] * np.log(table[inside] / product[inside])).sum()


@pytest.mark.parametrize("k", [2, 3, 8])
@pytest.mark.parametrize("switch", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("chooser", ["best", "noisy", "one-sided", "perverse", "deaf"])
def test_a_share_tells_no_more_than_there_is(k, switch, chooser):
    """Over all first sentences, next and other topics, places and choices, exactly."""
    stay = np.full((k, k), switch / (k - 1))
    np.fill_diagonal(stay, 1 - switch)
    table = np.zeros((2, 2))
    for x, real, other, y in itertools.product(range(k), range(k), range(k), range(2)):
        p = stay[x, real] / k / k / 2
        options = (real, other) if y == 0 else (other, real)
        second = 0.5 + 0.5 * np.sign(stay[x, options[1]] - stay[x, options[0]])  # P(C = 1)
        second = {
            "best": second,
            "noisy": 0.2 + 0.6 * second,
            "one-sided": 0.9 * second,
            "perverse": 1 - second,
            "deaf": 0.3,
        }[chooser]
        table[y] += p * np.array([1 - second, second])
    least, information = information_at_least(np.trace(table)), mutual_information(table)
    assert table.sum() == pytest.approx(1)
    assert least <= information + 1e-12
    assert information <= mutual_information(stay / k) + 1e-12
    assert information <= math.log(2)
    if chooser == "one-sided":
        assert least < information
    else:  # errors do not depend on the choice, or there is nothing to tell
        assert least == pytest.approx(information, abs=1e-12) or chooser == "deaf"
    if chooser == "best" and k == 8 and switch == 0.1:
        assert least > 0.2


def test_the_tally_gives_half_for_a_tie_and_follows_the_first_question():
    widget = quiz([question(i, answer) for i, answer in enumerate((0, 1, 1))])
    assert count_right(widget) == {"you": 0, "a": 0, "b": 0}
    widget.answers = [0, 1, 0]
    assert count_right(widget) == {"you": 2, "a": 1, "b": 1.5}
    widget.answers, widget.first = [1, 1], 2
    assert count_right(widget) == {"you": 1, "a": 1, "b": 1}


def test_the_quiz_has_what_the_page_sets():
    widget = quiz()
    assert (widget.rounds, widget.critics, widget.answers, widget.first) == (5, ["a", "b"], [], 0)
    widget.set_state({"answers": [1, 0], "first": 3})
    assert (widget.answers, widget.first) == ([1, 0], 3)
    assert quiz([question(i) for i in range(30)]).rounds == 20
    assert quiz(rounds=2).rounds == 2


@pytest.mark.parametrize(
    ("name", "value"), [("answers", [2]), ("answers", [0] * 6), ("first", 5), ("first", -1)]
)
def test_a_quiz_out_of_range_is_refused(name, value):
    widget = quiz()
    with pytest.raises((ValueError, TraitError), match=name):
        setattr(widget, name, value)
    assert widget.answers == []
    assert widget.first == 0


@pytest.mark.parametrize(
    ("questions", "options", "message"),
    [
        ([], {}, "0 questions: want 1 to 500"),
        ([question()] * 501, {}, "501 questions"),
        ([question()], {"rounds": 2}, "want 1 to 1"),
        ([{"sentence": "a", "scores": {}}], {}, r"question 0 lacks \['answer', 'options'\]"),
        ([question(options=["a"])], {}, "two options"),
        ([question(options=["a", " "])], {}, "none empty"),
        ([question(), question(answer=2)], {}, "question 1: answer is 2, want 0 or 1"),
        ([question(), question(scores={"a": [1, 2]})], {}, r"scores of \['a'\], want \['a', 'b'\]"),
        ([question(scores={"a": [1, np.nan]})], {}, "not finite"),
        ([question(scores={"a": [1, 2, 3]})], {}, r"should be \(2\)"),
        ([question(scores={key: [1, 2] for key in "abcd"})], {}, "at most 3"),
        ([question(scores={"you": [1, 2]})], {}, "none named 'you'"),
    ],
)
def test_a_bad_quiz_is_refused(questions, options, message):
    with pytest.raises(ValueError, match=message):
        quiz(questions, **options)
