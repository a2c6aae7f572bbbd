import json
import re

import numpy as np
import pytest
from ipywidgets import embed
from traitlets import TraitError

from dgm_book.widgets import GANPlayground, PatternBench


def target(**changes):
    turn = np.arange(8) * np.pi / 4
    made = {
        "name": "eight",
        "label": "8 Gaussians",
        "centres": np.stack([np.cos(turn), np.sin(turn)], 1),
        "sigma": 0.05,
    }
    return made | changes


def playground(**changes):
    targets = [target(), target(name="one", centres=[[0, 0]])]
    return GANPlayground(**{"targets": targets} | changes)


def bench(**changes):
    return PatternBench(**changes)


# What travels


@pytest.mark.parametrize("widget", [GANPlayground, PatternBench])
def test_each_module_stands_alone(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]


def test_both_together_are_small():
    state = embed.dependency_state([playground(), bench()], drop_defaults=False)
    shared = len(GANPlayground._css) + len(PatternBench._css)
    assert len(json.dumps(state, allow_nan=False)) - shared < 110_000


@pytest.mark.parametrize("make", [playground, bench])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 60_000)


# The playground


def test_the_playground_keeps_what_the_page_sets():
    widget = playground()
    assert (widget.target, widget.seed, widget.width, widget.rate) == ("eight", 0, 10, 0.002)
    chosen = {"target": "one", "seed": 7, "weight": 0.5, "margin": 1.5, "decay": False}
    widget.set_state(chosen)
    assert {name: getattr(widget, name) for name in chosen} == chosen
    assert playground(target="one").target == "one"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", "two"),
        ("seed", -1),
        ("width", 33),
        ("width", 1),
        ("weight", 2.5),
        ("weight", np.nan),
        ("margin", -0.1),
        ("margin", np.nan),
        ("rate", 0.0),
        ("rate", np.inf),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    widget = playground()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError)):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    with pytest.raises((ValueError, TraitError)):
        playground(**{name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": []}, "at least one"),
        ({"targets": [target(), target()]}, "each name once"),
        ({"targets": [{"name": "a", "label": "A"}]}, r"'a' lacks \['centres', 'sigma'\]"),
        ({"targets": [target(centres=np.zeros((3, 3)))]}, r"shape \(3, 3\), should be \(M, 2\)"),
        ({"targets": [target(centres=np.zeros((65, 2)))]}, "from 1 to 64"),
        ({"targets": [target(centres=[[np.nan, 0]])]}, "finite"),
        ({"targets": [target(sigma=0)]}, "sigma above 0"),
        ({"steps": 10}, "at least 100"),
        ({"samples": {"withal": np.zeros((3, 2))}}, "want 'without' and 'with'"),
        ({"samples": {"with": np.zeros((3, 3))}}, r"want \(N, 2\)"),
    ],
)
def test_a_bad_playground_is_refused(changes, message):
    with pytest.raises((ValueError, TraitError), match=message):
        playground(**changes)


def test_the_poster_draws_the_fakes_that_it_was_given():
    fakes = np.random.default_rng(0).normal(size=(50, 2))
    left, right = playground(samples={"with": fakes}).poster().axes
    assert "interactive page" in left.get_xlabel()
    assert right.get_xlabel() == ""
    np.testing.assert_array_equal(right.lines[-1].get_xydata(), fakes)


# The bench


def test_the_bench_keeps_what_the_page_sets():
    widget = bench()
    moved = [[0.1 * k, -0.1 * k] for k in range(8)]
    widget.set_state({"points": moved, "units": 3, "margin": 2.0, "seed": 5})
    assert (widget.points, widget.units, widget.margin, widget.seed) == (moved, 3, 2.0, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("points", [[0.0, 0.0]] * 7),
        ("points", [[0.0, 2.0]] * 8),
        ("points", [[np.nan, 0.0]] * 8),
        ("points", [0.0] * 8),
        ("units", 1),
        ("units", 13),
        ("margin", 3.1),
        ("seed", 10_000),
    ],
)
def test_a_bench_out_of_range_is_refused(name, value):
    widget = bench()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError)):
        setattr(widget, name, value)
    assert getattr(widget, name) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points": np.zeros((1, 2))}, "K from 2 to 9"),
        ({"points": np.zeros((3, 3))}, r"should be \(K, 2\)"),
        ({"points": np.full((3, 2), 1.6)}, "within"),
        ({"zeta": 0}, "above 0"),
        ({"units": 20}, "units"),
    ],
)
def test_a_bad_bench_is_refused(changes, message):
    with pytest.raises((ValueError, TraitError), match=message):
        bench(**changes)


def test_units_are_lines_of_unit_normals_and_the_seed_draws_them():
    widget = bench(units=12)
    lines = widget.lines()
    assert lines.shape == (12, 3)
    np.testing.assert_allclose(np.hypot(*lines[:, :2].T), 1)
    assert (np.abs(lines[:, 2]) <= 0.7).all()
    widget.units = 5
    np.testing.assert_array_equal(widget.lines(), lines[:5])
    widget.seed = 1
    assert not np.allclose(widget.lines(), lines[:5])
    at = np.array(widget.points)[2]
    expected = widget.lines()[:, :2] @ at + widget.lines()[:, 2]
    np.testing.assert_allclose(widget.pre_activations()[2], expected)


def test_a_collapsed_bench_costs_the_most():
    me, ac = bench(points=np.full((8, 2), 0.3), margin=1.0, zeta=1e-6).terms()
    assert me == pytest.approx(1, abs=1e-3)
    assert ac == pytest.approx(1 - 1 / np.sqrt(10), abs=1e-3)
