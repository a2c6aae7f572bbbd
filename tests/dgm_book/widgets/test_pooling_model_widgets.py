import base64
import json
import math
import re

import numpy as np
import pytest
import torch
from ipywidgets import embed
from traitlets import TraitError

from dgm.nets.pooling import pool
from dgm.nets.text_vae import TextVAE
from dgm.papers import pooling_vae as paper
from dgm_book.widgets import InfluenceRuler, PoolingWeights, TemperatureSlider
from dgm_book.widgets.pooling_temperature import shares
from dgm_book.widgets.pooling_weights import TENSORS, rounded

WORDS = ["the", "pizza", "was", "great", "awful", "."]
EXAMPLES = ["the pizza was great .", "the pizza was awful .", "great zorp pizza"]
KINDS = ("last", "mean", "max", "absmax")
E, H, D, V = 16, 32, 4, 4 + len(WORDS)
ROWS = [[1, 4, 5, 6, 7, 9, 2], [1, 3, 8, 2, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0]]
TOKENS, LENGTHS = torch.tensor(ROWS), torch.tensor([7, 4, 2])


def model(kind, seed=0, **options):
    """Return a model whose codes differ: its weights are wide."""
    options = {"layers": 1, "bidirectional": False, "pooling": kind} | options
    made = TextVAE(V, E, H, D, **options)
    paper.initialise_(made, torch.Generator().manual_seed(seed), weights=0.3, embeddings=1.0)
    return made.eval().requires_grad_(False)


def arrays(kind, **options):
    return {name: value.numpy() for name, value in model(kind, **options).state_dict().items()}


def encoders(kinds=KINDS):
    return {kind: arrays(kind, seed=i) for i, kind in enumerate(kinds)}


def loaded(kind):
    """Return the model with the weights that the page has."""
    made = model(kind)
    found = rounded(encoders())[kind]
    made.load_state_dict({n: torch.from_numpy(a) for n, a in found.items()}, strict=False)
    return made


def golden(kinds=KINDS):
    means = {kind: loaded(kind).posterior(TOKENS, LENGTHS)[0].numpy() for kind in kinds}
    return {"tokens": TOKENS, "means": means}


def pooling_weights(**changes):
    return PoolingWeights(**{"encoders": encoders(), "words": WORDS} | changes)


def ruler(**changes):
    return InfluenceRuler(**{"weights": pooling_weights(), "examples": EXAMPLES} | changes)


def slider(**changes):
    return TemperatureSlider(**{"weights": pooling_weights(), "examples": EXAMPLES} | changes)


# The weights


def test_no_value_moves_by_more_than_half_a_step_of_its_row():
    given = encoders()
    for kind, kept in rounded(given).items():
        assert kept.keys() == set(TENSORS.values())
        for name, values in kept.items():
            assert values.dtype == np.float32
            wide = given[kind][name]
            if wide.ndim == 1:
                np.testing.assert_array_equal(values, wide)
                continue
            step = np.abs(wide).max(axis=1, keepdims=True) / 127
            assert (np.abs(values - wide) <= 0.5001 * step).all()
            assert (values != wide).any()


def test_what_travels_is_what_was_rounded():
    weights = pooling_weights()
    wanted = rounded(encoders())
    assert [e["kind"] for e in weights.header["encoders"]] == list(KINDS)
    for encoder in weights.header["encoders"]:
        for name, t in encoder["tensors"].items():
            kind = np.int8 if "scale" in t else "<f4"
            array = np.frombuffer(weights.data, kind, math.prod(t["shape"]), t["start"])
            assert t["start"] % 4 == 0
            if "scale" in t:
                scale = np.frombuffer(weights.data, "<f4", t["shape"][0], t["scale"])
                array = array.reshape(t["shape"]) * scale[:, None]
            np.testing.assert_array_equal(array, wanted[encoder["kind"]][TENSORS[name]])


def test_a_row_of_zeros_stays_zero():
    given = encoders(("max",))
    given["max"][TENSORS["embedding"]] = np.eye(V, E, 1, np.float32)
    kept = rounded(given)["max"][TENSORS["embedding"]]
    np.testing.assert_array_equal(kept, np.eye(V, E, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_python_s_encoder_is_pytorch_s(kind):
    weights = pooling_weights()
    reference = loaded(kind)
    mean = reference.posterior(TOKENS, LENGTHS)[0]
    states = reference.posterior.encoder.states(TOKENS, LENGTHS)
    moved = paper.influence(reference, TOKENS, LENGTHS)
    assert moved.max() > 0.01
    for i, n in enumerate(LENGTHS):
        row = ROWS[i][:n]
        np.testing.assert_allclose(weights.states(kind, row), states[i, :n], atol=1e-6)
        np.testing.assert_allclose(weights.mean(kind, row), mean[i], atol=1e-6)
        np.testing.assert_allclose(weights.influence(kind, row), moved[i, 1 : n - 1], atol=1e-6)


def test_unknown_words_and_what_is_too_long():
    weights = pooling_weights(max_words=3)
    assert weights.encode("The zorp pizza was great") == [1, 4, 3, 5, 2]
    assert weights.encode("") == [1, 2]


def test_the_golden_means_travel_unpadded():
    told = golden()
    weights = pooling_weights(golden=told)
    assert weights.header["golden"]["tokens"] == [ROWS[0], ROWS[1][:4], ROWS[2][:2]]
    for kind, start in weights.header["golden"]["means"].items():
        found = np.frombuffer(weights.data, "<f4", 3 * D, start).reshape(3, D)
        np.testing.assert_array_equal(found, told["means"][kind])


def test_three_encoders_of_the_book_fit_a_page_and_wider_ones_do_not():
    dice = np.random.default_rng(0)
    words = [f"w{i}" for i in range(3996)]

    def wide(hidden):
        shapes = [(4000, 64), (4 * hidden, 64), (4 * hidden, hidden), (4 * hidden,)]
        shapes += [shapes[-1], (32, hidden)]
        one = {n: dice.normal(size=s) for n, s in zip(TENSORS.values(), shapes, strict=True)}
        return dict.fromkeys(("last", "mean", "max"), one)

    assert len(PoolingWeights(wide(128), words).data) < 1_200_000
    with pytest.raises(ValueError, match="a page holds at most 1500000"):
        PoolingWeights(wide(256), words)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_hh", np.zeros((4 * H, H + 1)), r"weight_ih_l0 has shape .*, want \(132, 16\)"),
        ("weight_ih", np.zeros((4 * H, E + 1)), r"shape \(128, 17\), want \(128, 16\)"),
        ("bias_ih", np.zeros(H), r"shape \(32,\), want \(128,\)"),
        ("linear", np.zeros((2 * D + 1, H)), r"shape \(9, 32\), want \(8, 32\)"),
        ("linear", np.zeros(H), r"head.weight has shape \(32,\)"),
        ("embedding", np.full((V, E), np.nan), "values that are not finite"),
        ("embedding", np.zeros((V + 1, E)), "different numbers of words: .*'last': 11"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name, value, message):
    given = encoders()
    given["last"][TENSORS[name]] = value
    with pytest.raises(ValueError, match=message):
        pooling_weights(encoders=given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoders": {}}, "want at least one of"),
        ({"encoders": {"median": arrays("max")}}, "median"),
        ({"encoders": {"max": {}}}, "encoder 'max' lacks"),
        ({"encoders": {"max": arrays("max", layers=2)}}, "one layer, forwards only"),
        ({"encoders": {"max": arrays("max", bidirectional=True)}}, "one layer, forwards only"),
        ({"words": WORDS[:-1]}, "5 words, but the embedding has rows for 6"),
        ({"words": [*WORDS[:-1], "the"]}, "comes twice"),
        ({"words": [*WORDS[:-1], "a b"]}, "white space"),
        ({"golden": {"tokens": ROWS}}, "want tokens, and means for each"),
        ({"golden": {"tokens": ROWS, "means": {}}}, "want tokens, and means for each"),
        ({"golden": golden() | {"tokens": ROWS[:2]}}, r"shape \(3, 4\), want \(2, 4\)"),
        ({"golden": golden() | {"tokens": [[1, 4], *ROWS[1:]]}}, r"golden tokens \[1, 4\]"),
        ({"golden": golden() | {"tokens": [[1, 10, 2], *ROWS[1:]]}}, "ids below 10"),
        ({"limit": 1000}, "a page holds at most 1000"),
    ],
)
def test_weights_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        pooling_weights(**changes)


# What travels


@pytest.mark.parametrize("widget", [InfluenceRuler, TemperatureSlider])
def test_each_module_stands_alone_and_is_small(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]
    assert len(widget._esm.encode()) < 55_000


def test_two_widgets_share_one_copy_of_the_weights():
    weights = pooling_weights()
    widgets = [ruler(weights=weights), slider(weights=weights)]
    state = embed.dependency_state(widgets, drop_defaults=False)
    reference = f"IPY_MODEL_{weights.model_id}"
    assert [state[w.model_id]["state"]["weights"] for w in widgets] == [reference] * 2
    told = json.dumps(state, allow_nan=False)
    assert told.count(base64.b64encode(weights.data).decode()) == 1


@pytest.mark.parametrize("make", [ruler, slider])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 40_000)


def test_the_ruler_s_poster_has_the_words_and_their_bars():
    weights = pooling_weights()
    figure = ruler(weights=weights).poster()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == EXAMPLES[0].split()
    for axes, kind in zip(figure.axes, KINDS, strict=True):
        bars = [bar.get_width() for bar in axes.patches]
        np.testing.assert_allclose(bars, weights.influence(kind, weights.encode(EXAMPLES[0])))


@pytest.mark.parametrize("sentence", ["", "zorp", "the pizza " * 200])
def test_a_poster_is_drawn_whatever_was_typed(sentence):
    for widget in (ruler(), slider()):
        widget.set_state({"sentence": sentence})
        widget.poster()


# The ruler


def test_the_ruler_keeps_what_the_page_sets():
    widget = ruler(own_scale=True)
    assert (widget.sentence, widget.own_scale, widget.moved) == (EXAMPLES[0], True, {})
    widget.set_state({"sentence": "hello", "own_scale": False, "moved": {"max": [0.5]}})
    assert (widget.sentence, widget.own_scale, widget.moved) == ("hello", False, {"max": [0.5]})


@pytest.mark.parametrize("make", [ruler, slider])
@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least one"),
        ("the pizza", "list of sentences"),
        (["  ", "a"], "none empty"),
        (["the pizza"] * 101, "at most 100"),
    ],
)
def test_bad_examples_are_refused(make, examples, message):
    with pytest.raises(ValueError, match=message):
        make(examples=examples)


# The slider


@pytest.mark.parametrize("temperature", [math.inf, 3.0, 0.1, 0.01, 0.0])
def test_a_word_s_weight_is_the_gradient_of_pooling(temperature):
    h = torch.randn(1, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h.requires_grad_()
    if math.isinf(temperature):
        pooled = pool(h, None, "mean")
    elif temperature == 0:
        pooled = pool(h, None, "max")
    else:
        pooled = pool(h, None, "logsumexp", temperature=temperature)
    pooled.mean().backward()
    found = shares(h[0].detach().numpy(), temperature)
    np.testing.assert_allclose(found, h.grad[0].sum(1), atol=1e-12)
    assert found.sum() == pytest.approx(1)


def test_the_slider_s_ends_are_mean_and_maximum():
    widget = slider(position=0, kind="max")
    assert widget.temperature == math.inf
    falling = []
    for position in range(1, 100):
        widget.position = position
        falling.append(widget.temperature)
    assert falling == sorted(falling, reverse=True)
    assert (falling[0], falling[-1]) == (10, 0.001)
    widget.position = 100
    assert widget.temperature == 0


def test_the_slider_keeps_what_the_page_sets():
    widget = slider()
    assert (widget.sentence, widget.kind, widget.position) == (EXAMPLES[0], "last", 60)
    widget.set_state({"sentence": "hello", "kind": "mean", "position": 3})
    assert (widget.sentence, widget.kind, widget.position) == ("hello", "mean", 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("kind", "median"), ("position", -1), ("position", 101), ("sentence", "a" * 2001)],
)
def test_values_out_of_range_are_refused(name, value):
    widget = slider()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError), match=name):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    with pytest.raises((ValueError, TraitError), match="median"):
        slider(kind="median")


def test_one_sentence_has_no_dispersion():
    with pytest.raises(ValueError, match="at least two"):
        slider(examples=EXAMPLES[:1])
