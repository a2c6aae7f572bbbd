"""The two widgets of chapter 3: what travels to the page and back, and what is refused."""

import json
import re

import numpy as np
import pytest
from ipywidgets import embed
from traitlets import TraitError

from dgm_book.widgets import GANPlayground, PatternBench

REFUSED = (ValueError, TraitError, TypeError)


def target(**changes):
    turn = np.arange(8) * np.pi / 4
    centres = np.stack([np.cos(turn), np.sin(turn)], 1)
    return {"name": "eight", "label": "8 Gaussians", "centres": centres, "sigma": 0.05} | changes


def playground(**changes):
    targets = [target(), target(name="single", centres=[[0, 0]])]
    return GANPlayground(**{"targets": targets} | changes)


WIDGETS = pytest.mark.parametrize("make", [playground, PatternBench])


@pytest.mark.parametrize("widget", [GANPlayground, PatternBench])
def test_each_module_stands_alone(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]


def test_both_together_are_small():
    state = embed.dependency_state([playground(), PatternBench()], drop_defaults=False)
    styles = len(GANPlayground._css) + len(PatternBench._css)
    assert len(json.dumps(state, allow_nan=False)) - styles < 110_000


@WIDGETS
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 25_001)


@pytest.mark.parametrize(
    ("make", "first", "chosen"),
    [
        (
            playground,
            {"target": "eight", "seed": 0, "width": 10, "rate": 0.002, "decay": True},
            {"target": "single", "seed": 7, "weight": 0.5, "margin": 1.5, "decay": False},
        ),
        (
            PatternBench,
            {"units": 10, "margin": 1.0, "seed": 0, "zeta": 1e-3},
            {"points": [[0.1 * k, -0.1 * k] for k in range(8)], "units": 3, "margin": 2.0},
        ),
    ],
)
def test_what_the_page_sets_arrives_and_can_be_chosen(make, first, chosen):
    widget = make()
    assert {name: getattr(widget, name) for name in first} == first
    widget.set_state(chosen)
    for same in (widget, make(**chosen)):
        assert {name: getattr(same, name) for name in chosen} == chosen


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (playground, "target", "two"),
        (playground, "seed", -1),
        (playground, "width", 33),
        (playground, "width", 1),
        (playground, "weight", 2.5),
        (playground, "weight", np.nan),
        (playground, "margin", -0.1),
        (playground, "margin", np.nan),
        (playground, "rate", 0.0),
        (playground, "rate", np.inf),
        (PatternBench, "points", [[0.0, 2.0]] * 8),
        (PatternBench, "points", [[np.nan, 0.0]] * 8),
        (PatternBench, "points", [0.0] * 8),
        (PatternBench, "units", 1),
        (PatternBench, "units", 13),
        (PatternBench, "margin", 3.1),
        (PatternBench, "seed", 10_000),
    ],
)
def test_values_out_of_range_are_refused(make, name, value):
    widget = make()
    before = getattr(widget, name)
    with pytest.raises(REFUSED):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    with pytest.raises(REFUSED):
        make(**{name: value})


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (playground, {"targets": []}, "at least one"),
        (playground, {"targets": [target(), target()]}, "each name once"),
        (
            playground,
            {"targets": [{"name": "a", "label": "A"}]},
            r"'a' lacks \['centres', 'sigma'\]",
        ),
        (
            playground,
            {"targets": [target(centres=np.zeros((3, 3)))]},
            r"\(3, 3\), should be \(M, 2\)",
        ),
        (playground, {"targets": [target(centres=np.zeros((65, 2)))]}, "1 to 64"),
        (playground, {"targets": [target(centres=np.zeros((0, 2)))]}, "should be"),
        (playground, {"targets": [target(centres=[[np.nan, 0]])]}, "finite"),
        (playground, {"targets": [target(sigma=0)]}, "sigma above 0"),
        (playground, {"targets": [target(sigma=np.inf)]}, "finite"),
        (playground, {"steps": 10}, "at least 100"),
        (playground, {"speed": 1}, "no speed"),
        (PatternBench, {"points": np.zeros((1, 2))}, "K from 2 to 9"),
        (PatternBench, {"points": np.zeros((3, 3))}, r"want \(K, 2\)"),
        (PatternBench, {"points": np.full((3, 2), 1.6)}, "within"),
        (PatternBench, {"zeta": 0}, "above 0"),
        (PatternBench, {"lines": 3}, "no lines"),
    ],
)
def test_what_is_wrong_is_named(make, changes, message):
    with pytest.raises(REFUSED, match=message):
        make(**changes)


def test_a_bench_keeps_its_number_of_points():
    widget = PatternBench()
    with pytest.raises(REFUSED, match="7 points, the bench was made for 8"):
        widget.points = [[0.0, 0.0]] * 7
