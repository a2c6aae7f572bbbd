import base64
import json
import re

import numpy as np
import pytest
from ipywidgets import embed
from traitlets import TraitError

from dgm.steering import MARGINS
from dgm_book.widgets import AttributeSwitch, LatentCliff, SentenceSteering, TextWeights

WORDS = ["the", "pizza", "was", "great", "awful", "."]
EXAMPLES = ["the pizza was great .", "the pizza was awful ."]
E, H, C, V, N = 32, 48, 24, 16, 16


def tensors(words=6, seed=0, **changes):
    """Return random arrays under the names of a steering model's parameters."""
    size = 8 + words
    shapes = {
        "embedding.weight": (size, E),
        "voters.weight": (V, E),
        "voters.bias": (V,),
        "query.weight": (N, V),
        "weights.weight": (3, N),
        "weights.bias": (3,),
        "vertices": (3, N),
        "simplex_logvar": (N,),
        "near.weight": (C, 5 * E),
        "near.bias": (C,),
        "far.weight": (C, 5 * C),
        "far.bias": (C,),
        "shift.weight": (E, C),
        "shift.bias": (E,),
        "logvar.weight": (E, C),
        "initial.weight": (H, N + E),
        "initial.bias": (H,),
        "lstm.weight_ih_l0": (4 * H, E + N),
        "lstm.weight_hh_l0": (4 * H, H),
        "lstm.bias_ih_l0": (4 * H,),
        "lstm.bias_hh_l0": (4 * H,),
        "attention_query.weight": (C, H),
        "attention_key.weight": (C, E),
        "by_distance": (17,),
        "by_match": (),
        "output.weight": (E, H + N),
        "output.bias": (E,),
        "word_bias": (size,),
    }
    dice = np.random.default_rng(seed)
    return {name: dice.normal(size=shape) for name, shape in shapes.items()} | changes


GOLDEN = {
    "sentence": "the pizza was great .",
    "weights": [0.0, 0.0, 1.0],
    "margins": [0.5],
    "threshold": 0.9,
    "rewrite": "the pizza was awful .",
}


def text_weights(**changes):
    return TextWeights(**{"tensors": tensors(), "words": WORDS, "golden": [GOLDEN]} | changes)


def steering(**changes):
    points = np.random.default_rng(1).dirichlet([1, 1, 1], 30)
    options = {"points": points, "point_labels": np.arange(30) % 2} | changes
    return SentenceSteering(**{"weights": text_weights(), "examples": EXAMPLES} | options)


def switch(**changes):
    return AttributeSwitch(**{"weights": text_weights(), "examples": EXAMPLES} | changes)


def walk(**changes):
    return {
        "label": "VAE",
        "axis": "standard deviations",
        "steps": [-1, 0, 2],
        "sentences": [["a b", "c", "d"], ["e", "f", "g"]],
        "log_mean": [[3, 1, 4], [2, 1, 5]],
        "mean_log": [[30, 10, 40], [20, 10, 50]],
        "original": {"log_mean": np.arange(2000.0), "mean_log": [1, 2]},
    } | changes


def cliff(**changes):
    return LatentCliff(**{"sources": EXAMPLES, "models": [walk(), walk(label="Simplex")]} | changes)


# The weights


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_no_value_is_off_by_more_than_half_a_step_of_its_row(precision):
    given = tensors()
    given["lstm.weight_hh_l0"][3] = 0
    arrays = text_weights(tensors=given, precision=precision).dequantised()
    assert arrays.keys() == given.keys() - {"simplex_logvar", "logvar.weight"}
    rounded = 0
    for name, values in arrays.items():
        assert values.dtype == np.float32
        wide = given[name].astype(np.float32)
        if precision == "int8" and given[name].ndim == 2 and given[name].size >= 4096:
            step = np.abs(wide).max(axis=1, keepdims=True) / 127
            assert (np.abs(values - wide) <= 0.5001 * step).all()
            rounded += 1
        else:
            np.testing.assert_array_equal(values, wide)
    assert (rounded >= 2) == (precision == "int8")


def test_the_model_of_the_book_fits_its_limit_and_a_wider_one_does_not():
    words = [f"w{i}" for i in range(3992)]
    big = tensors(3992)
    with pytest.raises(ValueError, match="a page holds at most 100000"):
        TextWeights(big, words, limit=100_000)
    assert len(TextWeights(big, words).data) < 1_500_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": np.zeros((3, 5))}, "vertices has shape"),
        ({"near.weight": np.zeros((C, 4 * E))}, r"near.weight has shape \(24, 128\)"),
        ({"far.bias": np.zeros(3)}, r"far.bias has shape \(3,\)"),
        ({"by_distance": np.zeros(16)}, "by_distance has shape"),
        ({"word_bias": np.full(14, np.nan)}, "word_bias holds values that are not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        text_weights(tensors=tensors(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tensors": {}}, "lacks"),
        ({"words": WORDS[:-1]}, "5 words, but the embedding has rows for 6"),
        ({"words": [*WORDS[:-1], "the"]}, "comes twice"),
        ({"unknown_slots": 3}, "rows for 7"),
        ({"precision": "int4"}, "int4"),
        ({"golden": [{"sentence": "a"}]}, "a golden sentence has"),
        ({"golden": [GOLDEN | {"weights": [1.0, 1.0, 0.0]}]}, "that sum to 1"),
    ],
)
def test_weights_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        text_weights(**changes)


# What travels


@pytest.mark.parametrize("widget", [SentenceSteering, AttributeSwitch, LatentCliff])
def test_each_module_stands_alone_and_is_small(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]
    assert len(widget._esm.encode()) < 48_000


def test_two_widgets_share_one_copy_of_the_weights():
    weights = text_weights()
    widgets = [steering(weights=weights), switch(weights=weights)]
    state = embed.dependency_state(widgets, drop_defaults=False)
    reference = f"IPY_MODEL_{weights.model_id}"
    assert [state[w.model_id]["state"]["weights"] for w in widgets] == [reference] * 2
    text = json.dumps(state, allow_nan=False)
    assert text.count(base64.b64encode(weights.data).decode()) == 1


@pytest.mark.parametrize("make", [steering, switch, cliff])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 25_001)


@pytest.mark.parametrize("make", [steering, switch])
def test_the_margins_are_the_model_s_own(make):
    assert tuple(make().margins) == MARGINS


# What a reader, or Python, may set


@pytest.mark.parametrize(
    ("make", "start", "changes"),
    [
        (
            steering,
            {"sentence": EXAMPLES[0], "target": [0, 0, 1], "effort": 5},
            {"sentence": "hello", "target": [0.25, 0.5, 0.25], "effort": 2},
        ),
        (
            switch,
            {"example": 0, "place": 2, "backward": False},
            {"example": 1, "place": 5, "backward": True},
        ),
        (
            cliff,
            {"source": 0, "places": [1, 1], "measure": "log_mean"},
            {"source": 1, "places": [0, 2], "measure": "mean_log"},
        ),
    ],
)
def test_a_widget_keeps_what_the_page_sets(make, start, changes):
    widget = make()
    assert {name: getattr(widget, name) for name in start} == start
    widget.set_state(changes)
    assert {name: getattr(widget, name) for name in changes} == changes


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (steering, "target", [0.5, 0.5, 0.5]),
        (steering, "target", [-0.5, 0.5, 1]),
        (steering, "target", [1.0, 0.0]),
        (steering, "target", [np.nan, 0, 1]),
        (steering, "effort", 0),
        (steering, "effort", 6),
        (steering, "sentence", "a" * 2001),
        (switch, "example", 2),
        (switch, "place", -1),
        (cliff, "source", 2),
        (cliff, "measure", "mean"),
        (cliff, "places", [0]),
        (cliff, "places", [0, 3]),
    ],
)
def test_values_out_of_range_are_refused(make, name, value):
    widget = make()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError), match=name):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"examples": []}, "at least one"),
        ({"examples": "the pizza"}, "list of sentences"),
        ({"examples": ["  "]}, "none empty"),
        ({"margins": (0.1, 0.5)}, "fall from large"),
        ({"margins": ()}, "fall from large"),
        ({"threshold": 0.0}, "threshold"),
        ({"names": ("a", "b")}, "three"),
        ({"target": (0.5, 0.2, 0.2)}, "sum to 1"),
        ({"points": np.zeros((4, 2)), "point_labels": None}, r"\(N, 3\)"),
        ({"points": np.full((30, 3), np.nan)}, "finite"),
        ({"point_labels": np.zeros(4)}, r"should be \(30,\)"),
    ],
)
def test_a_bad_steering_widget_is_refused(changes, message):
    with pytest.raises((ValueError, TraitError), match=message):
        steering(**changes)


def test_points_are_thinned_evenly_and_labels_become_marks():
    points = np.tile([[0.2, 0.3, 0.5]], (5000, 1))
    widget = steering(points=points, point_labels=np.arange(5000) // 2500)
    labels = np.frombuffer(widget.point_labels, np.uint8)
    assert len(labels) == 600 == len(widget.points) // 12
    assert labels.mean() == pytest.approx(0.5, abs=0.01)
    assert set(steering(point_labels=np.full(30, -1)).point_labels) == {2}
    assert steering(points=None, point_labels=None).points == b""


def test_the_cliff_starts_where_asked_and_thins_the_codes_evenly():
    assert cliff(models=[walk(origin=2)]).places == [2]
    codes = cliff().models[0]["original"]["log_mean"]
    assert len(codes) == 500
    assert (codes[0], codes[-1]) == (0, 1999)
    assert np.mean(codes) == pytest.approx(999.5, abs=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": [0, 0, 1]}, "ascending"),
        ({"sentences": [["a", "b", "c"]]}, "2 lists of 3"),
        ({"log_mean": np.zeros((2, 2))}, "'VAE': log_mean has shape"),
        ({"mean_log": np.full((2, 3), np.inf)}, "'VAE': mean_log holds"),
        ({"reading": np.zeros(3)}, "'VAE': reading has shape"),
        ({"original": {"log_mean": [], "mean_log": [1]}}, "original of 'VAE': log_mean"),
        ({"origin": 3}, "origin 3"),
    ],
)
def test_a_bad_walk_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        cliff(models=[walk(**changes)])


def test_a_walk_that_lacks_something_says_what():
    lacking = walk()
    del lacking["axis"]
    with pytest.raises(ValueError, match=r"lacks \['axis'\]"):
        cliff(models=[lacking])
