"""Walks in the plane: each suite follows its law, by counting and within four standard errors."""

import math

import pytest
import torch
from checks import mean_is, refuses, share_is

from dgm.data import synthetic
from dgm.data.dynamics import DEVIATIONS, SUITES, dynamics_matrices, switching_dynamics

LENGTHS = {"test": 1, "noiseless": 1, "switch": 3, "rand": 2, "long": 2, "zero-shot": 1, "add": 1}


def steps(data):
    """What W x_{t-1} leaves of x_t (n, T, 2), NaN where no step was made."""
    weight = data.matrices[data.which]
    before = data.observations.roll(1, 1)
    rest = data.observations - (weight @ before[..., None])[..., 0]
    return rest.masked_fill((data.which < 0)[..., None], math.nan)


@pytest.fixture(scope="module")
def walks():
    return switching_dynamics(4000, seed=3, n_steps=12)


def test_there_are_exactly_two_changes_at_uniform_times(walks):
    changed = walks.deviation[:, 1:] != walks.deviation[:, :-1]
    assert torch.equal(walks.switches[:, 1:], changed)
    assert not walks.switches[:, 0].any()
    assert walks.switches.sum(1).eq(2).all()
    assert share_is(walks.switches[:, 1:], 2 / 11)
    pairs = torch.stack([walks.switches[:, i] & walks.switches[:, 7] for i in (1, 6, 11)], 1)
    assert share_is(pairs, 1 / 55)


def test_sigma_starts_and_goes_on_evenly(walks):
    first, last = walks.deviation[:, 0], walks.deviation[:, -1]
    assert share_is(torch.stack([first == d for d in DEVIATIONS], 1), 1 / 3)
    second = torch.stack([r[s][0] for r, s in zip(walks.deviation, walks.switches, strict=True)])
    for i, d in enumerate(DEVIATIONS):
        after = second[first == d]
        assert not (after == d).any()
        assert share_is(after == DEVIATIONS[i - 1], 1 / 2)
    assert share_is(last == first, 1 / 2)  # away and, one time in two, back


def test_what_the_matrix_leaves_is_white_noise_of_size_sigma(walks):
    noise = (steps(walks) / walks.deviation[..., None])[:, 1:]
    for i, d in enumerate(DEVIATIONS):
        here = noise[walks.deviation[:, 1:] == d]
        for value, mean in ((here, 0.0), (here**2, 1.0), (here[:, 0] * here[:, 1], 0.0)):
            assert mean_is(value, mean), i
    assert mean_is(noise[:, 1:] * noise[:, :-1], 0.0)
    assert mean_is(noise.abs(), (2 / math.pi) ** 0.5)  # normal, not only of variance one
    assert mean_is(noise[:, 0] * walks.observations[:, 0], 0.0)


def test_x_0_is_uniform_and_the_matrices_are_used_evenly(walks):
    x = walks.observations[:, 0]
    assert x.abs().max() <= 1
    assert mean_is(x, 0.0)
    assert mean_is(x**2, 1 / 3)
    assert mean_is(x**4, 1 / 5)
    which = walks.which[:, 1]
    assert (walks.which[:, 1:] == which[:, None]).all()
    assert (walks.which[:, 0] == -1).all()
    assert share_is(torch.nn.functional.one_hot(which, 10), 1 / 10)


def test_the_likelihood_of_the_truth_is_the_known_floor():
    data = switching_dynamics(3000, seed=1, n_steps=30)
    law = torch.distributions.Normal(0.0, data.deviation[:, 1:, None])
    per_step = law.log_prob(steps(data)[:, 1:]).sum(-1).mean(1)
    assert mean_is(per_step, -math.log(2 * math.pi * math.e))  # -2.8379: log sigma is 0 on average


def test_matrices_are_uniform():
    output = dynamics_matrices(3000, seed=1)
    assert output.shape == (3000, 2, 2)
    assert output.dtype == torch.float64
    assert output.abs().max() <= 1
    assert mean_is(output, 0.0)
    assert mean_is(output**2, 1 / 3)
    assert torch.equal(dynamics_matrices(10, 1), output[:10])
    assert not torch.equal(dynamics_matrices(), dynamics_matrices(seed=1))
    radius = torch.linalg.eigvals(output).abs().amax(1)
    assert share_is(radius > 1, 0.2223)  # those that grow are not refused


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_has_its_shapes_and_repeats_itself(suite):
    data = switching_dynamics(7, 5, suite, 11)
    length = 11 * LENGTHS[suite]
    assert data.observations.shape == (7, length, 2)
    assert data.observations.dtype == data.deviation.dtype == data.matrices.dtype == torch.float64
    assert data.lengths.tolist() == [length] * 7
    assert data.which.shape == data.deviation.shape == data.switches.shape == (7, length)
    assert data.which.max() < len(data.matrices)
    repeated, other = switching_dynamics(7, 5, suite, 11), switching_dynamics(7, 6, suite, 11)
    assert all(map(torch.equal, data, repeated))
    assert not torch.equal(data.observations, other.observations)


@pytest.mark.parametrize("suite", ["noiseless", "switch", "long", "zero-shot"])
def test_without_noise_the_matrix_says_it_all(suite):
    data = switching_dynamics(200, 2, suite, 6)
    output = data.which >= 0
    scale = data.observations.norm(dim=-1)[output]
    assert (steps(data).norm(dim=-1)[output] <= 1e-14 * (1 + scale)).all()
    assert (data.deviation == 0).all()
    assert torch.equal(data.matrices, dynamics_matrices()) == (suite != "zero-shot")
    assert len(data.matrices) == 10
    if suite != "switch":
        assert not data.switches.any()
    # Another matrix would be noticed.
    wrong = data._replace(which=torch.where(output, (data.which + 1) % 10, -1))
    assert (steps(wrong)[:, 1].norm(dim=-1) > 1e-6).all()


def test_switch_joins_three_pieces_with_their_own_start_and_matrix():
    data = switching_dynamics(3000, 2, "switch", 5)
    starts = torch.tensor([0, 5, 10])
    first = torch.isin(torch.arange(15), starts)
    assert ((data.which < 0) == first).all()
    assert (data.switches == (first & (torch.arange(15) > 0))).all()
    used = data.which[:, [1, 6, 11]]
    assert torch.equal(data.which[:, [4, 9, 14]], used)
    assert (used[:, 1:] != used[:, :-1]).all()
    assert share_is(torch.nn.functional.one_hot(used, 10).flatten(1), 1 / 10)
    assert share_is(used[:, 2] == used[:, 0], 1 / 9)
    x = data.observations[:, starts]
    assert x.abs().max() <= 1
    assert mean_is(x**2, 1 / 3)
    assert mean_is(x[:, 1:] * x[:, :-1], 0.0)


def test_rand_walks_and_changes_up_to_three_times():
    data = switching_dynamics(4000, 2, "rand", 6)
    assert torch.equal(data.matrices, torch.eye(2, dtype=torch.float64)[None])
    assert (data.which[:, 1:] == 0).all()
    assert torch.equal(data.switches[:, 1:], data.deviation[:, 1:] != data.deviation[:, :-1])
    count = data.switches.sum(1)
    assert count.max() == 3
    assert share_is(torch.nn.functional.one_hot(count, 4), 1 / 4)
    assert share_is(data.switches[:, 1:], 1.5 / 11)
    noise = (steps(data) / data.deviation[..., None])[:, 1:]
    assert mean_is(noise**2, 1.0)


def test_add_goes_straight_on():
    data = switching_dynamics(3000, 2, "add", 9)
    shifted = steps(data)[:, 1:]
    assert torch.allclose(shifted, shifted[:, :1].expand_as(shifted), atol=1e-14)
    for part in (shifted[:, 0], data.observations[:, 0]):
        assert part.min() >= -1e-14
        assert part.max() <= 1 + 1e-14
        assert mean_is(part, 1 / 2)
        assert mean_is(part**2, 1 / 3)
    assert mean_is((shifted[:, 0] - 0.5) * (data.observations[:, 0] - 0.5), 0.0)
    assert not data.switches.any()


def test_suites_of_one_seed_share_x_0_and_the_matrix():
    suites = "test", "noiseless", "long"
    test, noiseless, long = (switching_dynamics(20, 8, suite, 10) for suite in suites)
    assert torch.equal(test.observations[:, 0], noiseless.observations[:, 0])
    assert torch.equal(test.which, noiseless.which)
    assert torch.equal(long.observations[:, :10], noiseless.observations)
    unseen = switching_dynamics(1, 0, "zero-shot").matrices
    seen = torch.stack([dynamics_matrices(10, seed) for seed in range(100)])
    assert (seen[:, :, None] - unseen).abs().amax((3, 4)).min() > 0


def test_given_matrices_are_used_and_left_alone():
    given = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    data = switching_dynamics(5, 0, "noiseless", 9, given)
    assert torch.equal(data.observations[:, 2], -data.observations[:, 0])  # two quarter turns
    data.matrices.zero_()
    assert given.abs().sum() == 2


def test_the_numbers_stay():
    data = switching_dynamics(2, 0)
    assert data.observations.shape == (2, 50, 2)
    # A change would make every published result stale.
    matrix = [0.9401060036131061, 0.4156397287995759, -0.08123411374509826, 0.8414953682439206]
    assert dynamics_matrices()[0].flatten().tolist() == pytest.approx(matrix, abs=1e-12)
    step = [2.918464012265136, -1.2220423795419086]
    assert data.observations[0, 1].tolist() == pytest.approx(step, abs=1e-12)
    assert synthetic.switching_dynamics is switching_dynamics


REFUSED = {
    "n=0, n_steps=50, seed=0: want n >= 1": {"n": 0},
    "n_steps=2, seed=0: want .*n_steps >= 3": {"n_steps": 2},
    "seed=-1": {"seed": -1},
    "no suite 'tests'; there are test, noiseless, switch, rand, long": {"suite": "tests"},
    r"'test' wants finite matrices \(K, 2, 2\), K >= 1": {"matrices": torch.eye(2)},
    r"shape \(0, 2, 2\)": {"matrices": torch.ones(0, 2, 2)},
    r"\(K, 2, 2\), K >= 2": {"matrices": torch.ones(1, 2, 2), "suite": "switch"},
    "finite": {"matrices": torch.full((1, 2, 2), math.nan)},
    **{
        f"'{suite}' has its own matrices": {"matrices": torch.ones(1, 2, 2), "suite": suite}
        for suite in ("rand", "zero-shot", "add")
    },
    "n_steps=50 is too long .* of size 1e\\+09": {"matrices": 1e9 * torch.eye(2)[None]},
}
test_arguments_are_checked = refuses(REFUSED, switching_dynamics, n=3)
test_arguments_of_matrices_are_checked = refuses(
    {"want k >= 1 and seed >= 0": [{"k": 0}, {"seed": -1}]}, dynamics_matrices
)
