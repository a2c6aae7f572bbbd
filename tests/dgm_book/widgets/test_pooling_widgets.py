"""Chapter 5's widgets: what they keep, refuse and send to the page."""

import base64
import json
import math
import re

import numpy as np
import pytest
import torch
from ipywidgets import embed
from traitlets import TraitError

from dgm.nets.text_vae import TextVAE
from dgm_book.widgets import (
    DispersionMicroscope,
    InfluenceRuler,
    PoolingRace,
    PoolingWeights,
    TemperatureSlider,
)
from dgm_book.widgets.packing import rounded
from dgm_book.widgets.pooling_weights import KINDS, TENSORS

WORDS = ["the", "pizza", "was", "great", "awful", "."]
EXAMPLES = ["the pizza was great .", "the pizza was awful .", "great zorp pizza"]
E, H, D, V = 16, 32, 4, 4 + len(WORDS)
ROWS = [[1, 4, 5, 6, 7, 9, 2], [1, 3, 8, 2, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0]]
FULL = {name: full for name, (full, _) in TENSORS.items()}


def row(step, seconds=None, **measures):
    return {"seconds": step / 50 if seconds is None else seconds, "step": step} | measures


def run(name="max", group="pooling", **changes):
    rows = [row(s, kl=0.01 * s, log_likelihood=-40 + 0.01 * s) for s in (0, 100, 200)]
    return {"name": name, "label": f"{name}!", "group": group, "measured": rows} | changes


def race(runs=None, **changes):
    return PoolingRace([run(), run("plain", "plain")] if runs is None else runs, **changes)


def moments(seed=0, steps=(0, 10, 100), m=12, **changes):
    dice = np.random.default_rng(seed)
    values = {"steps": list(steps), "points": dice.normal(size=(len(steps), m, 2))}
    values |= {name: dice.uniform(size=len(steps)) for name in ("cosine", "relative")}
    return values | {"participation": 1 + 9 * dice.uniform(size=len(steps))} | changes


def sentences(name="yelp", steps=(0, 10, 100), m=12, **changes):
    kinds = {kind: moments(i, steps, m) for i, kind in enumerate(("last", "mean", "max"))}
    data = {"name": name, "label": name.title(), "classes": [".", "!", "other"]}
    data |= {"class_of": np.arange(m) % 3, "texts": [f"sentence {i}" for i in range(m)]}
    return data | {"frames": kinds} | changes


def frames(**changes):
    return sentences()["frames"] | changes


def scope(sets=None, **changes):
    return DispersionMicroscope([sentences()] if sets is None else sets, **changes)


def arrays(kind, seed=0, **options):
    torch.manual_seed(seed)
    options = {"layers": 1, "bidirectional": False, "pooling": kind} | options
    return {n: value.numpy() for n, value in TextVAE(V, E, H, D, **options).state_dict().items()}


def encoders():
    return {kind: arrays(kind, seed) for seed, kind in enumerate(KINDS)}


def golden():
    dice = np.random.default_rng(0)
    return {"tokens": ROWS, "means": {kind: dice.normal(size=(3, D)) for kind in KINDS}}


def pooling_weights(**changes):
    return PoolingWeights(**{"encoders": encoders(), "words": WORDS} | changes)


def ruler(**changes):
    return InfluenceRuler(**{"weights": pooling_weights(), "examples": EXAMPLES} | changes)


def slider(**changes):
    return TemperatureSlider(**{"weights": pooling_weights(), "examples": EXAMPLES} | changes)


MAKERS = {PoolingRace: race, DispersionMicroscope: scope, InfluenceRuler: ruler,
          TemperatureSlider: slider}  # fmt: skip


# All of them


@pytest.mark.parametrize("widget", MAKERS)
def test_each_module_stands_alone_and_is_small(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]
    assert len(widget._esm.encode()) < 55_000


@pytest.mark.parametrize("make", MAKERS.values())
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 25_001)


@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        (race, {"time": 1.0, "highlighted": "", "shown": ["max", "plain"], "axis": "seconds"},
         {"time": 0.25, "highlighted": "max", "shown": [], "axis": "steps"}),
        (lambda: scope([sentences(), sentences("other", (0, 5), classes=["a", "b", "c"])]),
         {"set": "yelp", "frame": 2, "highlighted": ""},
         {"set": "other", "frame": 1, "highlighted": "a"}),
        (ruler, {"sentence": EXAMPLES[0], "own_scale": False, "moved": {}},
         {"sentence": "hello", "own_scale": True, "moved": {"max": [0.5]}}),
        (slider, {"sentence": EXAMPLES[0], "kind": "last", "position": 60},
         {"sentence": "hello", "kind": "mean", "position": 3}),
    ],
)  # fmt: skip
def test_what_the_page_sets_arrives_in_python(make, before, after):
    widget = make()
    assert {name: getattr(widget, name) for name in before} == before
    widget.set_state(after)
    assert {name: getattr(widget, name) for name in after} == after


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (race, "time", -0.1),
        (race, "time", 1.1),
        (race, "time", np.nan),
        (race, "highlighted", "none"),
        (race, "shown", ["none"]),
        (race, "shown", ["max", "max"]),
        (race, "axis", "hours"),
        (scope, "set", "none"),
        (scope, "frame", -1),
        (scope, "frame", 3),
        (scope, "highlighted", "none"),
        (slider, "kind", "median"),
        (slider, "position", -1),
        (slider, "position", 101),
        (slider, "sentence", "a" * 2001),
        (ruler, "sentence", "a" * 2001),
    ],
)
def test_values_out_of_range_are_refused(make, name, value):
    widget = make()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError)):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    if name != "sentence":
        with pytest.raises((ValueError, TraitError)):
            make(**{name: value})


def size(widget):
    state = embed.dependency_state([widget], drop_defaults=False)
    return len(json.dumps(state, allow_nan=False)) - len(widget._esm) - len(widget._css)


def test_thirty_runs_and_the_largest_sets_are_small():
    measures = ("kl", "information", "reconstruction", "log_likelihood", "active_units")
    dice = np.random.default_rng(0)
    rows = [row(s, **dict(zip(measures, dice.normal(size=5), strict=True))) for s in range(30)]
    runs = [run(str(i), measured=rows) for i in range(30)]
    assert size(race(runs)) < 150_000
    large = [sentences(name, range(20), 400, texts=["x" * 40] * 400) for name in ("a", "b")]
    assert 220_000 < size(scope(large)) < 300_000


# The race


def test_the_usual_runs_are_shown_first_or_else_the_first_six():
    names = ["beta 0.2", "max", "plain", "absmax"]
    assert race([run(name) for name in names]).shown == ["max", "plain"]
    assert race([run(str(i)) for i in range(8)]).shown == list("012345")
    assert race([run(name) for name in names], shown=["absmax"]).shown == ["absmax"]


def test_what_was_not_measured_is_none():
    rows = [row(0, kl=float("nan")), row(5, seconds=0.1234567, kl=1.23456789), row(7, kl=None)]
    columns = race([run(measured=rows)]).runs[0]
    assert columns["kl"] == [None, 1.234568, None]
    assert columns["step"] == [0, 5, 7]
    assert columns["seconds"] == [0, 0.123457, 0.14]
    assert columns["information"] == [None] * 3


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "at least one"),
        ([run(), run()], "each name once"),
        ([{"name": "a", "label": "A"}], r"'a' lacks \['group', 'measured'\]"),
        ([run(group="cure")], "group in .*, got 'cure'"),
        ([run("")], "want a name"),
        ([run(measured=[])], "seconds of run 'max'=.*1 or more"),
        ([run(measured=[{"step": 1}])], "needs 'seconds' and 'step'"),
        ([run(measured=[row(2), row(1)])], "seconds of run 'max'.*ascending"),
        ([run(measured=[row(1, 0), row(1, 1)])], "step of run 'max'.*ascending"),
        ([run(measured=[row(1, np.nan)])], "ascending"),
        ([run(measured=[row(1), row(2, kl=np.inf)])], "kl of run 'max' is infinite in row 1"),
    ],
)
def test_a_bad_run_is_refused(runs, message):
    with pytest.raises(ValueError, match=message):
        race(runs)


# The microscope


def points_in_the_page(widget, number, kind, e):
    """The points (M, 2) of one panel, as the page widens them."""
    data = widget.sets[number]
    panel = data["panels"][("last", "mean", "max").index(kind)]
    m = len(data["class_of"])
    start = panel["start"] + 2 * m * e
    small = np.frombuffer(widget.points, "<i2")[start : start + 2 * m].reshape(m, 2)
    return small / 32767 * panel["half"] + panel["centre"]


def test_another_set_takes_the_reader_to_a_place_that_it_has():
    widget = scope([sentences(), sentences("short", (0, 5), classes=["a", "!", "c"])])
    widget.highlighted = "!"
    widget.set = "short"
    assert (widget.frame, widget.highlighted) == (1, "!")
    widget.highlighted = "a"
    widget.set = "yelp"
    assert (widget.frame, widget.highlighted) == (1, "")


def test_points_come_back_within_half_a_step_of_sixteen_bits():
    given = frames()
    given["max"]["points"] = 1e-6 + 1e-3 * given["max"]["points"]
    widget = scope([sentences("first"), sentences(frames=given)], set="yelp")
    for panel, (kind, values) in zip(widget.sets[1]["panels"], given.items(), strict=True):
        spans = np.ptp(values["points"], axis=(0, 1))
        assert panel["half"] == pytest.approx(spans.max() / 2)  # one scale for all of training
        for e in range(3):
            far = np.abs(points_in_the_page(widget, 1, kind, e) - values["points"][e])
            assert far.max() <= 0.501 * panel["half"] / 32767


def test_a_long_training_is_thinned_to_sixteen_moments_with_its_ends():
    data = sentences(steps=range(0, 82, 2))
    widget = scope([data])
    steps = widget.sets[0]["steps"]
    assert (len(steps), steps[0], steps[-1], widget.frame) == (16, 0, 80, 15)
    for kind, values in data["frames"].items():
        for e, step in enumerate(steps):
            near = points_in_the_page(widget, 0, kind, e)
            np.testing.assert_allclose(near, values["points"][step // 2], atol=1e-3)


def test_points_that_all_agree_are_no_division_by_zero():
    widget = scope([sentences(frames=frames(last=moments(points=np.ones((3, 12, 2)))))])
    np.testing.assert_array_equal(points_in_the_page(widget, 0, "last", 2), np.ones((12, 2)))


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one"),
        ([sentences(), sentences()], "each name once"),
        ([{"name": "a"}], r"'a' lacks \['class_of', 'classes', 'frames', 'label'\]"),
        ([sentences(classes=list("abcdefghij"))], "1 to 9 names"),
        ([sentences(classes=["a", "a", "other"])], "each once"),
        ([sentences(class_of=np.zeros((3, 2), int))], r"\(M,\) whole numbers"),
        ([sentences(class_of=np.zeros(12))], r"\(M,\) whole numbers"),
        ([sentences(class_of=np.arange(12))], r"in 0 ... 2"),
        ([sentences(texts=["a"])], "None or 12"),
        ([sentences(frames={"last": moments()})], r"want \['last', 'mean', 'max'\]"),
        ([sentences(frames=frames(max={"steps": [0]}))], "'max' of set 'yelp' lacks"),
        ([sentences(frames=frames(max=moments(steps=(0, 1, 2))))], "those of 'last'"),
        ([sentences(steps=(0, 0, 1))], "ascending"),
        ([sentences(frames=frames(mean=moments(m=5)))], r"should be \(E, 12, 2\)"),
        ([sentences(frames=frames(mean=moments(points=np.full((3, 12, 2), np.nan))))], "finite"),
        ([sentences(frames=frames(mean=moments(cosine=[0, np.inf, 1])))], "cosine holds"),
        ([sentences(m=4000, steps=range(20))], "at most 280000"),
    ],
)
def test_a_bad_set_is_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        scope(sets)


@pytest.mark.parametrize("texts", [None, ["open"] + [None] * 11])
def test_sentences_that_may_not_be_shown_do_not_travel(texts):
    widget = scope([sentences(texts=texts)])
    assert widget.sets[0]["texts"] == texts
    assert "sentence" not in json.dumps(widget.sets)


# The weights


def test_what_travels_is_what_packing_rounds():
    weights, given = pooling_weights(), encoders()
    assert weights.kinds == list(KINDS)
    for encoder in weights.header["encoders"]:
        for name, description in encoder["tensors"].items():
            expected = rounded(given[encoder["kind"]][FULL[name]])
            np.testing.assert_array_equal(weights.array(description), expected)


def test_the_golden_means_travel_unpadded():
    expected = golden()
    weights = pooling_weights(golden=expected)
    assert weights.header["golden"]["tokens"] == [ROWS[0], ROWS[1][:4], ROWS[2][:2]]
    for kind, start in weights.header["golden"]["means"].items():
        means = weights.array({"shape": (3, D), "start": start})
        np.testing.assert_allclose(means, expected["means"][kind], rtol=1e-6)


def test_three_encoders_of_the_book_fit_a_page_and_wider_ones_do_not():
    words = [f"w{i}" for i in range(3996)]

    def wide(hidden):
        shapes = [(4000, 64), (4 * hidden, 64), (4 * hidden, hidden), (4 * hidden,)]
        shapes += [shapes[-1], (32, hidden)]
        state = {name: np.ones(shape) for name, shape in zip(FULL.values(), shapes, strict=True)}
        return dict.fromkeys(("last", "mean", "max"), state)

    assert len(PoolingWeights(wide(128), words).data) < 1_200_000
    with pytest.raises(ValueError, match="a page holds at most 1500000"):
        PoolingWeights(wide(256), words)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_hh", np.zeros((4 * H, H + 1)), r"'max': .*weight_hh_l0 has shape \(128, 33\)"),
        ("weight_ih", np.zeros((4 * H, E + 1)), r"weight_ih_l0 has shape \(128, 17\)"),
        ("bias_ih", np.zeros(H), r"bias_ih_l0 has shape \(32,\)"),
        ("linear", np.zeros((2 * D + 1, H)), r"head.weight has shape \(9, 32\)"),
        ("linear", np.zeros(H), r"head.weight has shape \(32,\)"),
        ("embedding", np.full((V, E), np.nan), "values that are not finite"),
        ("embedding", np.zeros((V + 1, E)), r"embedding.weight has shape \(11, 16\).*V = 10"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(name, value, message):
    given = encoders()
    given["max"][FULL[name]] = value
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
        ({"golden": golden() | {"tokens": ROWS[:2]}}, r"shape \(3, 4\), should be \(2, 4\)"),
        ({"golden": golden() | {"tokens": [[1, 4], *ROWS[1:]]}}, r"golden tokens \[1, 4\]"),
        ({"golden": golden() | {"tokens": [[1, 10, 2], *ROWS[1:]]}}, "ids below 10"),
        ({"limit": 1000}, "a page holds at most 1000"),
    ],
)
def test_weights_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        pooling_weights(**changes)


def test_two_widgets_share_one_copy_of_the_weights():
    weights = pooling_weights()
    widgets = [ruler(weights=weights), slider(weights=weights)]
    state = embed.dependency_state(widgets, drop_defaults=False)
    reference = f"IPY_MODEL_{weights.model_id}"
    assert [state[w.model_id]["state"]["weights"] for w in widgets] == [reference] * 2
    text = json.dumps(state, allow_nan=False)
    assert text.count(base64.b64encode(weights.data).decode()) == 1


# The ruler and the slider


@pytest.mark.parametrize("make", [ruler, slider])
@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least"),
        ("the pizza", "list of sentences"),
        (["  ", "a"], "none empty"),
        (["the pizza"] * 101, "at most 100"),
    ],
)
def test_bad_examples_are_refused(make, examples, message):
    with pytest.raises(ValueError, match=message):
        make(examples=examples)


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


def test_one_sentence_has_no_dispersion():
    with pytest.raises(ValueError, match="at least two"):
        slider(examples=EXAMPLES[:1])
