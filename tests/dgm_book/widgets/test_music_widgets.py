import itertools
import json
import math
import re

import numpy as np
import pytest
from ipywidgets import embed
from matplotlib.colors import to_rgb
from scipy.stats import multivariate_normal
from traitlets import TraitError

from dgm_book.widgets import frame
from dgm_book.widgets.chorale import Chorale
from dgm_book.widgets.hyper_weights import HyperWeights
from dgm_book.widgets.particle_kalman import (
    CRITERIA,
    N_RUNS,
    SYSTEM,
    ParticleKalman,
    _filter,
    kalman,
    survivors,
)


def state(x=88, z=3, h=3, seed=0):
    """A VRNN's arrays, of random numbers."""
    dice = np.random.default_rng(seed)
    made = {"input_mean": np.full(x, 0.05)}
    sizes = {"encode_x": (x, z), "encode_z": (z, z), "prior": (h, 2 * z)}
    sizes |= {"posterior": (h + z, 2 * z), "decoder": (z + h, x)}
    for part, (inputs, outputs) in sizes.items():
        for layer, (rows, columns) in {0: (z, inputs), 2: (outputs, z)}.items():
            made[f"{part}.{layer}.weight"] = dice.normal(size=(rows, columns)) * 0.4
            made[f"{part}.{layer}.bias"] = dice.normal(size=rows) * 0.1
    made["decoder.2.bias"] -= 3
    made["cell.weight_input"] = dice.normal(size=(4 * h, 2 * z)) * 0.4
    made["cell.weight_hidden"] = dice.normal(size=(4 * h, h)) * 0.4
    return made | {"cell.bias": np.zeros(4 * h)}


def weights(**changes):
    return HyperWeights(
        {"VRNN": {"kind": "vrnn", "emission": "bernoulli", "state": state(**changes)}}
    )


def race(**changes):
    return ParticleKalman(**changes)


def chorale(**changes):
    return Chorale(weights(), **changes)


# What travels


@pytest.mark.parametrize("widget", [ParticleKalman, Chorale])
def test_each_module_stands_alone(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]


def test_both_together_are_small():
    total = 0
    for widget in (race(), chorale()):
        made = embed.dependency_state([widget], drop_defaults=False)
        total += len(json.dumps(made, allow_nan=False)) - len(widget._css)
    assert total < 130_000


@pytest.mark.parametrize("make", [race, chorale])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 70_000)


# The linear-Gaussian system


def dense(x):
    """log p(x), and the filtered moments, from one joint normal law."""
    a, q, r, p = SYSTEM.values()
    variances = [p]
    for _ in x[1:]:
        variances.append(a**2 * variances[-1] + q)
    n = np.arange(len(x))
    cov = a ** abs(n[:, None] - n) * np.array(variances)[np.minimum(n[:, None], n)]
    seen = cov + r * np.eye(len(x))
    moments = []
    for t in n:
        gain = np.linalg.solve(seen[: t + 1, : t + 1], cov[: t + 1, t])
        moments.append((gain @ x[: t + 1], math.sqrt(cov[t, t] - gain @ cov[: t + 1, t])))
    return multivariate_normal(cov=seen).logpdf(x), *np.array(moments).T


@pytest.mark.parametrize("name", ["five", "twenty"])
def test_the_kalman_filter_is_the_joint_normal_law(name):
    x = race(sequence=name).x
    for found, wanted in zip(kalman(x), dense(x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_the_chapter_s_value():
    assert race().exact == pytest.approx(-6.118648300, abs=5e-10)
    assert race(sequence="twenty").x.shape == (20,)


# Of 40000 runs: the chapter's table.
@pytest.mark.parametrize(
    ("n", "criterion", "wanted"),
    [
        (1, "never", -17.83),
        (4, "never", -8.378),
        (4, "ess", -7.210),
        (4, "always", -7.028),
        (16, "never", -6.649),
        (16, "ess", -6.300),
        (16, "always", -6.270),
    ],
)
def test_the_means_are_those_of_the_table(n, criterion, wanted):
    found = race().estimates(n, criterion)
    error = found.std(ddof=1) / math.sqrt(N_RUNS)
    assert abs(found.mean() - wanted) < 4 * error
    assert error < 0.8


def test_the_bounds_stand_in_their_order_and_the_estimate_is_unbiased():
    widget = race()
    means = {
        (n, rule): widget.estimates(n, rule) for n, rule in itertools.product((4, 16), CRITERIA)
    }
    for n in (4, 16):
        never, ess, always = (means[n, rule].mean() for rule in CRITERIA)
        assert never < ess < always < widget.exact
    assert widget.estimates(1).mean() < means[4, "never"].mean() < means[16, "never"].mean()
    for rule in CRITERIA:
        ratio = np.exp(means[16, rule] - widget.exact)
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(N_RUNS)


def test_one_particle_does_not_depend_on_the_criterion():
    widget = race(sequence="twenty")
    first, *others = (widget.estimates(1, rule) for rule in CRITERIA)
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_run_resamples_when_its_criterion_says_so(criterion):
    widget = race(sequence="twenty", particles=9, criterion=criterion, seed=3)
    cloud = widget.run()
    np.testing.assert_allclose(cloud.weights.sum(2), 1)
    np.testing.assert_allclose(cloud.ess[:, 0], 1 / (cloud.weights[0] ** 2).sum(1))
    assert ((cloud.ess >= 1) & (cloud.ess <= 9)).all()
    asked = {"never": cloud.ess < 0, "ess": cloud.ess <= 4.5, "always": cloud.ess > 0}[criterion]
    asked[-1] = False  # nobody descends from the last
    np.testing.assert_array_equal(cloud.resampled, asked)
    kept = ~cloud.resampled[:-1, 0]
    assert (cloud.parents[0, 1:][kept] == np.arange(9)).all()
    if criterion == "ess":
        assert 0 < kept.sum() < 19


def test_children_are_multinomial():
    runs = np.arange(3000)
    cloud = _filter(race().x[:2], 4, "always", runs)
    counts = (cloud.parents[:, 1, :, None] == np.arange(4)).sum(1)
    w = cloud.weights[:, 0]
    assert counts.sum() == 4 * len(runs)
    bias = (counts - 4 * w).mean(0) / np.sqrt((4 * w * (1 - w)).mean(0) / len(runs))
    assert abs(bias).max() < 4
    spread = ((counts - 4 * w) ** 2).mean() / (4 * w * (1 - w)).mean()
    assert spread == pytest.approx(1, abs=0.05)


def test_survivors_are_the_ancestors_of_the_last():
    parents = race(sequence="twenty", particles=7, criterion="always").run().parents[0]
    wanted = np.zeros(parents.shape, bool)
    for n in range(7):
        for t in range(19, -1, -1):
            wanted[t, n] = True
            n = parents[t, n]
    np.testing.assert_array_equal(survivors(parents), wanted)
    assert wanted[0].sum() < 7


def test_the_race_keeps_what_the_page_sets():
    widget = race()
    assert (widget.sequence, widget.particles, widget.criterion, widget.seed) == (
        "five",
        16,
        "ess",
        0,
    )
    chosen = {"sequence": "twenty", "particles": 64, "criterion": "never", "seed": 9999}
    widget.set_state(chosen)
    assert {name: getattr(widget, name) for name in chosen} == chosen


def one(**changes):
    return {"name": "a", "label": "A", "x": [0.0, 1.0]} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequences": []}, "at least one"),
        ({"sequences": [one(), one()]}, "each name once"),
        ({"sequences": [{"name": "a"}]}, r"'a' lacks \['label', 'x'\]"),
        ({"sequences": [one(x=[1.0])]}, "2 to 40 finite"),
        ({"sequences": [one(x=[0.0] * 41)]}, "2 to 40 finite"),
        ({"sequences": [one(x=[0.0, np.nan])]}, "2 to 40 finite"),
        ({"sequence": "six"}, "want one of"),
        ({"particles": 0}, "particles=0: want 1 to 64"),
        ({"particles": 65}, "want 1 to 64"),
        ({"criterion": "sometimes"}, "want one of"),
        ({"seed": -1}, "want 0 to 9999"),
    ],
)
def test_a_bad_race_is_refused(changes, message):
    with pytest.raises((ValueError, TraitError), match=message):
        race(**changes)


# The chorale


def test_the_chorale_keeps_what_the_page_sets():
    widget = chorale(opening="minor")
    assert widget.opening[2] == [50, 57, 62, 65]
    chosen = {"opening": [[], [60, 64]], "temperature": 0.5, "tempo": 60, "length": 8, "seed": 7}
    widget.set_state(chosen | {"piece": [[60]] * 10})
    assert {name: getattr(widget, name) for name in chosen} == chosen
    assert (widget.model, len(widget.piece)) == ("VRNN", 10)


def opening(frames):
    return [{"name": "a", "label": "A", "frames": frames}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"openings": []}, "one or more"),
        ({"openings": opening([[60]]) * 2}, "each name once"),
        ({"openings": [{"name": "a"}]}, r"'a' lacks \['frames', 'label'\]"),
        ({"openings": opening([])}, "0 frames: want 1 to 16"),
        ({"openings": opening([[60]] * 17)}, "17 frames: want 1 to 16"),
        ({"openings": opening([[60], [20]])}, "frame 1 .* 21 to 108"),
        ({"openings": opening([[60.5]])}, "21 to 108"),
        ({"openings": opening([[np.nan]])}, "21 to 108"),
        ({"openings": opening([60])}, "want a list of MIDI numbers, got 60"),
        ({"opening": "major!"}, "want one of"),
        ({"model": "GRU"}, "want one of"),
        ({"temperature": 0.1}, "want 0.3 to 1.5"),
        ({"temperature": np.nan}, "want 0.3 to 1.5"),
        ({"tempo": 300}, "want 40 to 240"),
        ({"length": 97}, "want 8 to 96"),
        ({"seed": -1}, "want 0 to"),
        ({"piece": [[109]]}, "21 to 108"),
    ],
)
def test_a_bad_chorale_is_refused(changes, message):
    with pytest.raises((ValueError, TraitError), match=message):
        chorale(**changes)


def test_a_model_of_something_else_is_refused():
    with pytest.raises(ValueError, match="'VRNN' has 87 bernoulli outputs: want 88 bernoulli"):
        Chorale(weights(x=87))


def test_openings_are_sorted_and_no_note_is_in_one_twice():
    widget = chorale(openings=opening([[64, 60, 64.0], np.array([72])]))
    assert widget.opening == [[60, 64], [72]]


def test_the_poster_tells_the_opening_from_what_was_written():
    (axes,) = chorale(openings=opening([[60, 64]]), piece=[[60, 64], [61]]).poster().axes
    bars = [(b.get_x(), b.get_y() + 0.45, to_rgb(b.get_facecolor())) for b in axes.patches]
    grey, blue = to_rgb(frame.GREY), to_rgb(frame.BLUE)
    assert bars == [(0, 60, grey), (0, 64, grey), (1, 61, blue)]
