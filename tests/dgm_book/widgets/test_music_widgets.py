"""Particles beside the exact filter, and the chorale."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hyper_rnn_pages import particle_runs, survivors
from ipywidgets import embed
from traitlets import TraitError

from dgm.papers.variational_hyper_rnn import VariationalRNN
from dgm.sampling.linear_gaussian import LinearGaussian
from dgm_book.widgets.chorale import Chorale
from dgm_book.widgets.hyper_weights import HyperWeights
from dgm_book.widgets.particle_kalman import (
    CRITERIA,
    FIRST_RUN,
    FIVE,
    N_RUNS,
    SYSTEM,
    ParticleKalman,
)

RUNS = FIRST_RUN + np.arange(N_RUNS)
EXACT = LinearGaussian().filter(torch.tensor(FIVE, dtype=torch.float64))[0]


def weights(x=88):
    state = {
        key: value.numpy()
        for key, value in VariationalRNN(x, 3, 3, "bernoulli").state_dict().items()
    }
    return HyperWeights({"VRNN": {"kind": "vrnn", "emission": "bernoulli", "state": state}})


def chorale(**changes):
    return Chorale(weights(), **changes)


def test_both_together_are_small():
    total = 0
    for widget in (ParticleKalman(), chorale()):
        state = embed.dependency_state([widget], drop_defaults=False)
        total += len(json.dumps(state, allow_nan=False)) - len(widget._css)
    assert total < 130_000


class TestParticles:
    def test_the_system_is_the_library_s(self):
        assert LinearGaussian(**SYSTEM) == LinearGaussian()
        (five, twenty) = ParticleKalman().sequences
        assert tuple(five["x"]) == FIVE
        assert len(twenty["x"]) == 20

    # Of 40000 runs: the chapter's table.
    @pytest.mark.parametrize(
        ("n", "criterion", "expected"),
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
    def test_the_means_of_the_page_s_runs_are_those_of_the_table(self, n, criterion, expected):
        values = particle_runs(FIVE, n, criterion, RUNS).log_likelihood
        error = values.std(ddof=1) / math.sqrt(N_RUNS)
        assert abs(values.mean() - expected) < 4 * error
        assert error < 0.8

    def test_the_bounds_stand_in_their_order_and_the_estimate_is_unbiased(self):
        values = {
            (n, rule): particle_runs(FIVE, n, rule, RUNS).log_likelihood
            for n, rule in itertools.product((4, 16), CRITERIA)
        }
        for n in (4, 16):
            never, ess, always = (values[n, rule].mean() for rule in CRITERIA)
            assert never < ess < always < EXACT
        for rule in CRITERIA:
            ratio = np.exp(values[16, rule] - EXACT)
            assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(N_RUNS)

    def test_children_are_multinomial(self):
        runs = np.arange(3000)
        cloud = particle_runs(FIVE[:2], 4, "always", runs)
        counts = (cloud.parents[:, 1, :, None] == np.arange(4)).sum(1)
        w = cloud.weights[:, 0]
        bias = (counts - 4 * w).mean(0) / np.sqrt((4 * w * (1 - w)).mean(0) / len(runs))
        assert abs(bias).max() < 4
        spread = ((counts - 4 * w) ** 2).mean() / (4 * w * (1 - w)).mean()
        assert spread == pytest.approx(1, abs=0.05)

    def test_survivors_are_the_ancestors_of_the_last(self):
        x = ParticleKalman().sequences[1]["x"]
        parents = particle_runs(x, 7, "always", [0]).parents[0]
        expected = np.zeros(parents.shape, bool)
        for n in range(7):
            for t in range(19, -1, -1):
                expected[t, n] = True
                n = parents[t, n]
        np.testing.assert_array_equal(survivors(parents), expected)
        assert expected[0].sum() < 7

    def test_it_takes_what_the_page_sets(self):
        widget = ParticleKalman()
        state = {"sequence": "twenty", "particles": 64, "criterion": "never", "seed": 9999}
        widget.set_state(state)
        assert {name: getattr(widget, name) for name in state} == state

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"sequences": []}, "at least one"),
            ({"sequences": [{"name": "a", "label": "A", "x": [0, 1]}] * 2}, "each name once"),
            ({"sequences": [{"name": "a"}]}, r"'a' lacks \['label', 'x'\]"),
            ({"sequences": [{"name": "a", "label": "A", "x": [1.0]}]}, "2 to 40 finite"),
            ({"sequences": [{"name": "a", "label": "A", "x": [0.0] * 41}]}, "2 to 40 finite"),
            ({"sequences": [{"name": "a", "label": "A", "x": [0, np.nan]}]}, "2 to 40 finite"),
            ({"sequence": "six"}, "sequence='six'"),
            ({"particles": 0}, "particles=0"),
            ({"particles": 65}, "particles=65"),
            ({"criterion": "sometimes"}, "criterion='sometimes'"),
            ({"seed": -1}, "seed=-1"),
        ],
    )
    def test_wrong_settings_are_refused(self, changes, message):
        with pytest.raises((ValueError, TraitError), match=message):
            ParticleKalman(**changes)


class TestChorale:
    def test_it_takes_what_the_page_sets(self):
        widget = chorale(opening="minor")
        assert widget.opening[2] == [50, 57, 62, 65]
        state = {"opening": [[], [60, 64]], "temperature": 0.5, "tempo": 60, "length": 8, "seed": 7}
        widget.set_state(state | {"piece": [[60]] * 10})
        assert {name: getattr(widget, name) for name in state} == state
        assert (widget.model, len(widget.piece)) == ("VRNN", 10)

    @pytest.mark.parametrize(
        ("frames", "message"),
        [
            ([], "0 frames: want 1 to 16"),
            ([[60]] * 17, "17 frames: want 1 to 16"),
            ([[60], [20]], "frame 1 .* 21 to 108"),
            ([[60.5]], "21 to 108"),
            ([[np.nan]], "21 to 108"),
            ([60], "want a list of MIDI numbers, got 60"),
        ],
    )
    def test_wrong_openings_are_refused(self, frames, message):
        with pytest.raises(ValueError, match=message):
            chorale(openings=[{"name": "a", "label": "A", "frames": frames}])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"openings": []}, "one or more"),
            ({"openings": [{"name": "a", "label": "A", "frames": [[60]]}] * 2}, "each name once"),
            ({"openings": [{"name": "a"}]}, r"'a' lacks \['frames', 'label'\]"),
            ({"opening": "major!"}, "want one of"),
            ({"model": "GRU"}, "model='GRU'"),
            ({"temperature": 0.1}, "temperature=0.1"),
            ({"temperature": np.nan}, "temperature=nan"),
            ({"tempo": 300}, "tempo=300"),
            ({"length": 97}, "length=97"),
            ({"seed": -1}, "seed=-1"),
        ],
    )
    def test_wrong_settings_are_refused(self, changes, message):
        with pytest.raises((ValueError, TraitError), match=message):
            chorale(**changes)

    def test_a_model_of_something_else_is_refused(self):
        with pytest.raises(ValueError, match="has 87 bernoulli outputs: want 88 bernoulli"):
            Chorale(weights(87))

    def test_openings_are_sorted_and_no_note_is_in_one_twice(self):
        frames = [[64, 60, 64.0], np.array([72])]
        widget = chorale(openings=[{"name": "a", "label": "A", "frames": frames}])
        assert widget.opening == [[60, 64], [72]]
