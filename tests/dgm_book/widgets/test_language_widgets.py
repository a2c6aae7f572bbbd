import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ipywidgets import embed
from traitlets import TraitError

from dgm.data.synthetic import THEMES, theme_of, topic_chain
from dgm.data.text import Vocabulary
from dgm.nets.language_models import AWDLSTM, plain_lstm
from dgm_book.widgets import LanguageWeights, NextSentenceQuiz, Storyteller, language_weights
from dgm_book.widgets.language_weights import MOST_WORDS, TENSORS, rounded, uniform
from dgm_book.widgets.sentence_quiz import information_at_least, wilson
from dgm_book.widgets.storyteller import words_of

KNOWN_WORDS = Path(__file__).parent / "data" / "words.json"
WORDS = [word for words in THEMES.values() for word in words[:3]] + ["the", "of"]
V, E = 4 + len(WORDS), 16
ROWS = [[2], [2, 4, 9, 3], [7, 7, 2, 12, 29]]
NAMES = ("likelihood", "phase I")
OPENINGS = ["the sea boat", "the oven"]


def model(seed=0, made=None):
    """Return a model whose weights are wide, and that ends a sentence now and then."""
    made = made or plain_lstm(V, E)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(0, 0.5, generator=generator)
        made.head.bias[2] += 2
    return made.eval().requires_grad_(False)


def arrays(**options):
    return {name: value.numpy() for name, value in model(**options).state_dict().items()}


def models():
    return {name: arrays(seed=i) for i, name in enumerate(NAMES)}


def loaded(name):
    """Return the model with the weights that the page has."""
    made = plain_lstm(V, E).eval()
    made.load_state_dict({n: torch.from_numpy(a) for n, a in rounded(models())[name].items()})
    return made


@torch.no_grad()
def after(made, row):
    state = made.start(1)
    for token in row:
        log_probs, state = made.step(torch.tensor([token]), state)
    return log_probs[0].numpy()


def golden():
    told = {name: np.stack([after(loaded(name), row) for row in ROWS]) for name in NAMES}
    return {"tokens": ROWS, "log_probs": told}


def weights(**changes):
    return LanguageWeights(**{"models": models(), "words": WORDS} | changes)


def curves(**changes):
    line = {"mean": [1.3, 1.0], "low": [1.2, 0.9], "high": [1.4, 1.1]}
    made = {"distances": [1, 2], "exact": [1.56, 1.2], "stay": 0.9}
    return made | {"models": dict.fromkeys(NAMES, line)} | changes


def teller(**changes):
    given = {"weights": weights(), "themes": THEMES, "openings": OPENINGS, "curves": curves()}
    return Storyteller(**given | changes)


def question(i=0, answer=None, **changes):
    answer = i % 2 if answer is None else answer
    made = {"sentence": f"sentence {i}", "options": [f"one {i}", f"two {i}"], "answer": answer}
    return made | {"scores": {"a": [1.0, 0.0], "b": [0.5, 0.5]}} | changes


def quiz(questions=None, **options):
    return NextSentenceQuiz(
        [question(i) for i in range(5)] if questions is None else questions, **options
    )


# The weights


def test_no_value_moves_by_more_than_half_a_step_of_its_row():
    for name, given in models().items():
        kept = rounded(models())[name]
        assert kept.keys() == given.keys() == set(TENSORS.values())
        for key, values in kept.items():
            wide = given[key]
            if wide.ndim == 1:
                np.testing.assert_array_equal(values, wide)
                continue
            step = np.abs(wide).max(axis=1, keepdims=True) / 127
            assert (np.abs(values - wide) <= 0.5001 * step).all()
            assert (values != wide).any()


def test_what_travels_is_what_was_rounded():
    made = weights(golden=golden())
    for described, (name, wanted) in zip(
        made.header["models"], rounded(models()).items(), strict=True
    ):
        assert described["name"] == name
        for key, t in described["tensors"].items():
            kind = np.int8 if "scale" in t else "<f4"
            array = np.frombuffer(made.data, kind, math.prod(t["shape"]), t["start"])
            if "scale" in t:
                scale = np.frombuffer(made.data, "<f4", t["shape"][0], t["scale"])
                array = array.reshape(t["shape"]) * scale[:, None]
            np.testing.assert_array_equal(array, wanted[TENSORS[key]])
    assert made.header["golden"]["tokens"] == ROWS
    for name, start in made.header["golden"]["log_probs"].items():
        found = np.frombuffer(made.data, "<f4", 3 * V, start).reshape(3, V)
        np.testing.assert_array_equal(found, golden()["log_probs"][name])


def test_the_markers_are_the_vocabulary_s():
    vocabulary = Vocabulary(WORDS)
    made = weights()
    assert made.tokens == vocabulary.tokens
    assert made.encode(["the", "zorp"]) == [
        vocabulary.end,
        vocabulary.id("the"),
        vocabulary.unknown,
    ]
    assert made.encode([]) == [vocabulary.end]


@pytest.mark.parametrize("name", NAMES)
def test_python_s_model_is_pytorch_s(name):
    made = weights()
    for row, wanted in zip(ROWS, golden()["log_probs"][name], strict=True):
        state = made.start(name)
        for token in row:
            log_probs, state = made.step(name, token, state)
        np.testing.assert_allclose(log_probs, wanted, atol=2e-6)
        assert np.ptp(wanted) > 2


def test_a_place_s_number_is_its_own_and_even():
    places = list(itertools.product((0, 1, 2, 77, 2**20 - 1), range(40), range(MOST_WORDS)))
    found = np.array([uniform(*place) for place in places])
    assert len(set(found)) == len(places)
    assert found.min() >= 0
    assert found.max() < 1
    counts = np.histogram(found, 20, (0, 1))[0]
    assert ((counts - 300) ** 2 / 300).sum() < 43.8  # the 99.9th percentile of chi-square(19)
    assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 3 / math.sqrt(len(places))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_words_are_drawn_by_their_shares(temperature, monkeypatch):
    monkeypatch.setattr(language_weights, "MOST_WORDS", 1)
    made, n = weights(), 1000
    opening = [2, 4, 9]
    shares = torch.softmax(
        torch.from_numpy(after(loaded("phase I"), opening)) / temperature, 0
    ).numpy()
    counts = np.zeros(V)
    for seed in range(n):
        first = made.write("phase I", opening, 1, seed, temperature)[0]
        counts[first[0] if first else 2] += 1
    often = n * shares > 5
    away = ((counts - n * shares) ** 2 / (n * shares))[often].sum()
    assert away < often.sum() + 4 * math.sqrt(2 * often.sum())


def test_a_cold_story_is_the_likeliest_and_a_long_sentence_is_cut():
    made, reference = weights(), loaded("likelihood")
    row = [2]
    for sentence in made.write("likelihood", [2], 3, 5, 1e-4):
        for token in sentence:
            assert token == after(reference, row).argmax()
            row.append(token)
        if len(sentence) < MOST_WORDS:
            assert after(reference, row).argmax() == 2
            row.append(2)
    endless = models()
    endless["likelihood"]["head.bias"][2] = -1e4
    assert [len(s) for s in weights(models=endless).write("likelihood", [2], 3, 0)] == [30] * 3


def test_the_book_s_models_fit_a_page_and_wider_ones_do_not():
    dice = np.random.default_rng(0)

    def wide(size, width):
        shapes = [(size, width), *[(4 * width, width)] * 2, *[(4 * width,)] * 2, (size,)]
        one = {n: dice.normal(size=s) for n, s in zip(TENSORS.values(), shapes, strict=True)}
        return dict.fromkeys(NAMES, one), [f"w{i}" for i in range(size - 4)]

    assert len(LanguageWeights(*wide(264, 64)).data) < 120_000
    with pytest.raises(ValueError, match="a page holds at most 1500000"):
        LanguageWeights(*wide(6000, 120))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "weight_ih",
            np.zeros((4 * E, E + 1)),
            r"weight_ih_l0 has shape \(64, 17\), want \(64, 16\)",
        ),
        ("weight_hh", np.zeros((4 * E + 4, E)), r"shape \(68, 16\), want \(64, 16\)"),
        ("bias_hh", np.zeros(E), r"shape \(16,\), want \(64,\)"),
        ("bias", np.zeros(V + 1), rf"head.bias has shape \({V + 1},\), want \({V},\)"),
        ("bias", np.full(V, np.inf), "values that are not finite"),
        ("embedding", np.zeros(V), r"want \(V, E\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name, value, message):
    given = models()
    given["phase I"][TENSORS[name]] = value
    with pytest.raises(ValueError, match=message):
        weights(models=given)


def deep(**options):
    return arrays(made=AWDLSTM(V, E, E, E, **options))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {}}, "want at least one"),
        ({"models": {"a": {}}}, "model 'a' lacks"),
        ({"models": {"a": deep(layers=2, experts=0)}}, "lstms.1.*want one LSTM layer"),
        ({"models": {"a": deep(layers=1, experts=2)}}, "head.latent.*a plain softmax"),
        ({"models": {"a": arrays(), "b": arrays(made=plain_lstm(V + 1, E))}}, "numbers of words"),
        ({"words": WORDS[:-1]}, "25 words, but the embedding has rows for 26"),
        ({"words": [*WORDS[:-1], "the"]}, "comes twice"),
        ({"golden": {"tokens": ROWS}}, "log_probs for each of"),
        ({"golden": golden() | {"tokens": ROWS[:2]}}, rf"shape \(3, {V}\), want \(2, {V}\)"),
        ({"golden": golden() | {"tokens": [[], *ROWS[1:]]}}, "at least one"),
        ({"golden": golden() | {"tokens": [[V], *ROWS[1:]]}}, f"below {V}"),
        ({"limit": 100}, "a page holds at most 100"),
    ],
)
def test_weights_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        weights(**changes)


# What travels


@pytest.mark.parametrize(("widget", "most"), [(Storyteller, 32_000), (NextSentenceQuiz, 24_000)])
def test_each_module_stands_alone_and_is_small(widget, most):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]
    assert len(widget._esm.encode()) < most


@pytest.mark.parametrize("make", [teller, quiz])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 80_000)


def test_a_widget_s_state_is_json():
    for widget in (teller(), quiz()):
        json.dumps(embed.dependency_state([widget], drop_defaults=False), allow_nan=False)


# The storyteller


def test_a_sentence_s_topic_is_that_of_theme_of():
    widget = teller()
    texts = topic_chain(300, 3, switch=0.5).texts
    mixed = [f"{a} {b}" for a, b in itertools.pairwise(texts)]
    found = [widget.topic(text) for text in [*texts, *mixed, "", "zorp the", "sea oven"]]
    assert found == [theme_of(text) for text in [*texts, *mixed, "", "zorp the", "sea oven"]]
    assert {-1, *range(8)} == set(found)


def test_a_story_starts_with_its_opening_and_all_models_hear_the_same_numbers():
    widget = teller(opening="The ZORP sea, of")
    told = widget.story()
    assert list(told) == list(NAMES)
    assert all(
        len(lines) == 12 and lines[0].startswith("the zorp sea of") for lines in told.values()
    )
    same = teller(weights=weights(models=dict.fromkeys(NAMES, arrays()))).story()
    assert same["phase I"] == same["likelihood"] != told["likelihood"]
    widget.seed = 1
    assert widget.story() != told


def test_an_empty_opening_is_the_start_of_a_text():
    widget = teller(opening="")
    ids = weights().write("phase I", [Vocabulary.end], 12, 0)
    wanted = [" ".join(Vocabulary(WORDS).tokens[t] for t in sentence) for sentence in ids]
    assert widget.story()["phase I"] == wanted


def test_what_is_typed_becomes_words():
    assert words_of(" The judge\u2019s sea-boat, (was) OLD... ") == [
        "the",
        "judge\u2019s",
        "sea-boat",
        "was",
        "old",
    ]
    assert words_of(" <b>!? _ ") == ["b"]
    for words in json.loads(KNOWN_WORDS.read_text("utf-8")):
        assert words_of(words["typed"]) == words["words"].split()


def test_the_storyteller_keeps_what_the_page_sets():
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
            r"lacks \['high', 'low'\]",
        ),
        ({"curves": curves(distances=[2, 1])}, "ascend from above 0"),
        ({"curves": curves(exact=[1, np.nan])}, "exact: want 2 finite values"),
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


@pytest.mark.parametrize(("right", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_no_interval_without_answers(right, n):
    with pytest.raises(ValueError, match="at least one answer"):
        wilson(right, n)


def test_what_a_share_tells_at_its_ends():
    assert information_at_least(0.5) == pytest.approx(0)
    assert information_at_least(0) == information_at_least(1) == pytest.approx(math.log(2))
    assert information_at_least(0.9) == pytest.approx(information_at_least(0.1))
    assert information_at_least(0.9) == pytest.approx(
        0.3680642
    )  # of a fair bit, switched one time in ten
    with pytest.raises(ValueError, match="want 0 to 1"):
        information_at_least(1.1)


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
    told = np.zeros((2, 2))
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
        told[y] += p * np.array([1 - second, second])
    least, found = information_at_least(np.trace(told)), mutual_information(told)
    assert told.sum() == pytest.approx(1)
    assert least <= found + 1e-12
    assert found <= mutual_information(stay / k) + 1e-12
    assert found <= math.log(2)
    if chooser == "one-sided":
        assert least < found
    else:  # errors do not depend on the choice, or there is nothing to tell
        assert least == pytest.approx(found, abs=1e-12) or chooser == "deaf"
    if chooser == "best" and k == 8 and switch == 0.1:
        assert least > 0.2


def test_the_tally_gives_half_for_a_tie_and_follows_the_first_question():
    widget = quiz([question(i, answer) for i, answer in enumerate((0, 1, 1))])
    assert widget.right() == {"you": 0, "a": 0, "b": 0}
    widget.answers = [0, 1, 0]
    assert widget.right() == {"you": 2, "a": 1, "b": 1.5}
    widget.answers, widget.first = [1, 1], 2
    assert widget.right() == {"you": 1, "a": 1, "b": 1}


def test_the_quiz_keeps_what_the_page_sets():
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
        ([question(scores={"a": [1, np.nan]})], {}, "two finite numbers"),
        ([question(scores={"a": [1, 2, 3]})], {}, "two finite numbers"),
        ([question(scores={key: [1, 2] for key in "abcd"})], {}, "at most 3"),
        ([question(scores={"you": [1, 2]})], {}, "none named 'you'"),
    ],
)
def test_a_bad_quiz_is_refused(questions, options, message):
    with pytest.raises(ValueError, match=message):
        quiz(questions, **options)
