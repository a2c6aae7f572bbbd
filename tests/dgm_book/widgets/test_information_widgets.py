"""The bound race and the lottery: what travels, and what is refused."""

import json

import numpy as np
import pytest
from ipywidgets import embed
from traitlets import TraitError

from dgm_book.widgets import BoundRace, RamlLottery

DICE = np.random.default_rng(0)
SCORES = {name: DICE.normal(0, 2, (2, 7)) for name in ("phase I", "likelihood")}


def text(name="chain", **changes):
    base = {"name": name, "label": name.title(), "anchors": [0, 4], "scores": SCORES}
    return base | {"texts": [f"sentence {i} of {name}" for i in range(14)]} | changes


def lottery(sets=None, **changes):
    return RamlLottery([text(), text("play")] if sets is None else sets, **changes)


def test_together_they_are_small():
    rows = {name: DICE.normal(size=(6, 12)) for name in SCORES}
    large = [
        text(name, texts=["x" * 60] * 40, anchors=range(6), scores=rows) for name in ("a", "b")
    ]
    state = embed.dependency_state([BoundRace(), lottery(large)], drop_defaults=False)
    shared = len(BoundRace._css) + len(RamlLottery._css)
    assert len(json.dumps(state, allow_nan=False)) - shared < 70_000


def test_scores_travel_as_they_are():
    for given, critic in ((x, c) for x in lottery().sets for c in SCORES):
        np.testing.assert_allclose(given["scores"][critic], SCORES[critic], rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "start", "chosen"),
    [
        (
            BoundRace,
            {"correlation": 0.9, "dimension": 1, "batch": 64, "seed": 0},
            {"correlation": 0.25, "dimension": 7, "batch": 2, "seed": 9999},
        ),
        (
            lottery,
            {"set": "chain", "anchor": 0, "critic": "phase I", "p": 0.3, "temperature": 1.0},
            {"anchor": 1, "critic": "", "p": 0.9, "temperature": 0.25},
        ),
    ],
)
def test_a_widget_has_what_the_page_sets(make, start, chosen):
    widget = make()
    assert {name: getattr(widget, name) for name in start} == start
    widget.set_state(chosen)
    assert {name: getattr(widget, name) for name in chosen} == chosen


def test_an_anchor_stays_inside_a_shorter_set():
    short = text("play", anchors=[5], scores={name: rows[:1] for name, rows in SCORES.items()})
    widget = lottery([text(), short])
    widget.anchor = 1
    widget.set = "play"
    assert widget.anchor == 0


@pytest.mark.parametrize(
    ("make", "name", "values"),
    [
        (BoundRace, "correlation", [-0.1, 1.0, np.nan]),
        (BoundRace, "dimension", [0, 21]),
        (BoundRace, "batch", [1, 48, 512]),
        (BoundRace, "seed", [-1, 10_000]),
        (lottery, "set", ["none"]),
        (lottery, "anchor", [-1, 2]),
        (lottery, "critic", ["none"]),
        (lottery, "p", [0.01, 1.0, np.nan]),
        (lottery, "temperature", [0.0, np.inf]),
    ],
)
def test_a_setting_out_of_range_is_refused(make, name, values):
    widget = make()
    before = getattr(widget, name)
    for value in values:
        with pytest.raises((ValueError, TraitError), match=name):
            setattr(widget, name, value)
        assert getattr(widget, name) == before
        if name in ("correlation", "dimension", "batch", "p", "temperature"):
            with pytest.raises((ValueError, TraitError), match=name):
                make(**{name: value})


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one"),
        ([text(), text()], "each name once"),
        ([{"name": "a"}], r"'a' lacks \['anchors', 'label', 'scores', 'texts'\]"),
        ([text(anchors=[], scores={"c": []})], "at least one anchor"),
        ([text(scores={})], "one critic with a name"),
        ([text(scores={"": [[0, 1]] * 2})], "one critic with a name"),
        ([text(scores={"c": [[0, 1]]})], r"shape \(1, 2\), should be \(A, K\) with A = 2"),
        ([text(scores={"c": [[0, 1]] * 2, "d": [[0, 1, 2]] * 2})], "d has shape"),
        ([text(scores={"c": [[0], [0]]})], "want 2 to 40"),
        ([text(scores={"c": [[0, np.nan]] * 2})], "not finite"),
        ([text(anchors=[0, 7])], "have 7 scores each, but its text has 14"),
        ([text(anchors=[-1, 0])], "anchors .-1"),
        ([text(), text("b", scores={"c": [[0, 1]] * 2})], "the same critics"),
        ([text(texts=["x" * 20_000] * 14)], "at most 400 of 200,000"),
    ],
)
def test_a_bad_set_is_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        lottery(sets)
