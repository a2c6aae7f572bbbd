"""Particle bounds against a Kalman filter, exact proposals, and the algorithm in loops."""

import math
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from checks import close, mean_is, on_devices, refuses, standard_errors
from draws import normal, rng
from torch import Tensor

from dgm.sampling.linear_gaussian import LinearGaussian
from dgm.sampling.particles import particle_bound

RULES = ("never", "ess", "always")
# z_1 ~ N(0, 1), z_t = A z_{t-1} + N(0, Q), x_t = z_t + N(0, R); Q and R are variances.
SYSTEM = LinearGaussian()
A, Q, R, _ = SYSTEM
start, bootstrap = SYSTEM.init, SYSTEM.step
X = (0.5, -0.2, 1.1, 0.7, -0.4)
LOG_P = -6.118648300
# Mean log-likelihood estimates of the specification, with errors: bootstrap proposal, 40 000 runs.
PRINTED = {
    (1, "never"): (-17.83, 0.08),
    (4, "never"): (-8.378, 0.016),
    (4, "ess"): (-7.210, 0.010),
    (4, "always"): (-7.028, 0.009),
    (16, "never"): (-6.649, 0.01),
    (16, "ess"): (-6.300, 0.01),
    (16, "always"): (-6.270, 0.01),
}


class Walk(NamedTuple):
    z: Tensor  # (B * N,)


class Spy(NamedTuple):
    """A state of many shapes whose tensors all hold the number of their row when a step is over."""

    row: Tensor  # (B * N,) int64
    z: Tensor  # (B * N,)
    wide: Tensor  # (B * N, 3)
    deep: Tensor  # (B * N, 2, 2)
    empty: Tensor  # (B * N, 0)


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi * variance))


def repeated(n_sequences, x=X, device="cpu"):
    """The same sequence (B, T, 1) many times, and its lengths."""
    x = torch.tensor(x, dtype=torch.float64, device=device)
    return x.repeat(n_sequences, 1)[..., None], torch.full((n_sequences,), len(x), device=device)


def covariance_of_z(steps):
    variance = [1.0]
    for _ in range(steps - 1):
        variance.append(A * A * variance[-1] + Q)
    return torch.tensor(
        [[A ** abs(i - j) * variance[min(i, j)] for j in range(steps)] for i in range(steps)],
        dtype=torch.float64,
    )


def runs(n_particles, rule, n_sequences=20000, step=bootstrap, device="cpu", seed=0):
    x, lengths = repeated(n_sequences, device=device)
    generator = rng(seed, device)
    return particle_bound(start, step, x, lengths, n_particles, rule, generator)


def mean_and_error(values):
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def table(noise, variance=R, theta=1.0):
    """A bootstrap step that reads its noise (B, T, N) by place: only ancestors are drawn."""

    def step(state, x, t, generator):
        z = theta * noise[:, t].reshape(-1) + (A * state.z if t else 0)
        return Walk(z), log_normal(x[:, 0], z, variance)

    return step


# With this variance of x one particle takes all the weight, so drawn ancestors are certain.
SHARP = 1e-7


def spied(n_sequences, n_particles, steps, rule, seed=0, lengths=None, spread=1.0, theta=None):
    """A run that records ancestors and increments (T, B, N); ancestors[t] came into step t."""
    observed, increments = [], []
    table_of = spread * normal(n_sequences, steps, n_particles, seed=seed + 1)

    def filled(row, z):
        value = row.double()
        wide, deep = value[:, None].expand(-1, 3), value[:, None, None].expand(-1, 2, 2)
        return Spy(row, z, wide.clone(), deep.clone(), value.new_zeros(len(row), 0))

    def init(rows, generator):
        return filled(torch.arange(rows), torch.zeros(rows, dtype=torch.float64))

    def step(state, x, t, generator):
        observed.append(state)
        place = torch.arange(len(state.row))
        log_alpha = table_of[:, t].reshape(-1) + 0.1 * state.z * x[:, 0]
        if theta is not None:
            log_alpha = theta * log_alpha
        increments.append(log_alpha)
        return filled(place, state.z + log_alpha.detach()), log_alpha

    x = normal(n_sequences, steps, 1, seed=seed + 2)
    lengths = torch.full((n_sequences,), steps) if lengths is None else lengths
    result = particle_bound(init, step, x, lengths, n_particles, rule, rng(seed))
    shape = (n_sequences, n_particles)
    return result, observed, torch.stack([a.reshape(shape) for a in increments])


class TestKalman:
    @pytest.mark.parametrize("x", [X, tuple(normal(20, seed=3).tolist())])
    def test_the_filter_is_the_joint_normal_law(self, x):
        x, n = torch.tensor(x, dtype=torch.float64), len(x)
        log_p, means, deviations = SYSTEM.filter(x)
        of_z = covariance_of_z(n)
        of_x = of_z + R * torch.eye(n, dtype=torch.float64)
        dense = torch.distributions.MultivariateNormal(torch.zeros_like(x), of_x).log_prob(x)
        assert abs(log_p - float(dense)) < 1e-8
        assert n > 5 or abs(log_p - LOG_P) < 1e-8
        for t in range(n):
            gain = torch.linalg.solve(of_x[: t + 1, : t + 1], of_z[: t + 1, t])
            variance = of_z[t, t] - gain @ of_z[: t + 1, t]
            assert abs(float(means[t] - gain @ x[: t + 1])) < 1e-9
            assert abs(float(deviations[t] ** 2 - variance)) < 1e-9

    @on_devices
    def test_means_are_the_printed_ones_and_in_order(self, device):
        result = {
            cell: mean_and_error(runs(*cell, device=device).log_likelihood.cpu())
            for cell in PRINTED
        }
        for cell, (mean, error) in result.items():
            printed, printed_error = PRINTED[cell]
            assert abs(mean - printed) < 4 * math.hypot(error, printed_error), cell
            assert mean < LOG_P - 4 * error, cell
        chains = [[(1, "never"), (4, rule), (16, rule)] for rule in RULES]
        chains += [[(n, rule) for rule in RULES] for n in (4, 16)]
        for chain in chains:
            for lower, upper in pairwise(chain):
                (low, low_error), (high, high_error) = result[lower], result[upper]
                assert high - low > 4 * math.hypot(low_error, high_error), (lower, upper)

    @pytest.mark.parametrize("rule", RULES)
    @pytest.mark.parametrize("n_particles", [1, 2, 4, 16])
    def test_the_likelihood_estimate_is_unbiased(self, n_particles, rule):
        result = runs(n_particles, rule, 40000 // max(1, n_particles // 4), seed=1)
        assert mean_is((result.log_likelihood - LOG_P).exp(), 1, 0.05)


class TestProposals:
    @pytest.mark.parametrize("scale", [1.0, 1e5])
    def test_without_resampling_it_is_the_importance_weighted_bound(self, scale):
        before = torch.random.get_rng_state()
        result, _, increments = spied(7, 5, 6, "never", spread=scale)
        total = torch.logsumexp(increments.sum(0), -1) - math.log(5)
        close(result.log_likelihood, total, rtol=1e-12, atol=1e-12)
        assert torch.equal(before, torch.random.get_rng_state())

    @pytest.mark.parametrize("rule", RULES)
    def test_weights_of_the_locally_optimal_proposal_know_only_the_last_state(self, rule):
        """q ~ p(z_t | z_{t-1}) p(x_t | z_t): the first weights are equal, exactly p(x_1)."""
        pairs = []

        def step(state, x, t, generator):
            mean, variance = (A * state.z, Q) if t else (0 * state.z, 1.0)
            narrow = 1 / (1 / variance + 1 / R)
            centre = narrow * (mean / variance + x[:, 0] / R)
            noise = torch.randn(len(mean), generator=generator, dtype=torch.float64)
            z = centre + math.sqrt(narrow) * noise
            log_alpha = log_normal(z, mean, variance) + log_normal(x[:, 0], z, R)
            log_alpha = log_alpha - log_normal(z, centre, narrow)
            pairs.append((log_alpha, log_normal(x[:, 0], mean, variance + R)))
            return Walk(z), log_alpha

        result = runs(4, rule, 2000, step)
        close(*zip(*pairs, strict=True), rtol=0, atol=1e-10)
        close(result.ess[0], torch.full_like(result.ess[0], 4.0))
        assert result.log_likelihood.std() < runs(4, rule, 2000).log_likelihood.std() / 2
        first, lengths = repeated(5, X[:1])
        exact = particle_bound(start, step, first, lengths, 4, rule, rng()).log_likelihood
        close(exact, torch.full_like(exact, SYSTEM.filter(first[0, :, 0])[0]))

    def test_the_smoothing_proposal_has_no_variance_unless_one_resamples(self):
        """q = p(z_t | z_{t-1}, x_1:T), by conditioning the joint Gaussian of all z and x."""
        of_z = covariance_of_z(5)
        joint = torch.cat([of_z, of_z], 1).repeat(2, 1)
        joint[5:, 5:] += R * torch.eye(5, dtype=torch.float64)
        x = torch.tensor(X, dtype=torch.float64)

        def step(state, x_t, t, generator):
            known = ([t - 1] if t else []) + list(range(5, 10))
            weights = torch.linalg.solve(joint[known][:, known], joint[known, t])
            variance = float(joint[t, t] - weights @ joint[known, t])
            centre = (weights[0] * state.z if t else 0 * state.z) + weights[-5:] @ x
            noise = torch.randn(len(centre), generator=generator, dtype=torch.float64)
            z = centre + math.sqrt(variance) * noise
            log_prior = log_normal(z, A * state.z, Q) if t else log_normal(z, 0.0, 1.0)
            log_alpha = log_prior + log_normal(x_t[:, 0], z, R) - log_normal(z, centre, variance)
            return Walk(z), log_alpha

        for n_particles in (1, 4):
            result = runs(n_particles, "never", 200, step).log_likelihood
            close(result, torch.full_like(result, LOG_P), rtol=0, atol=1e-8)
        resampled = runs(4, "always", 4000, step).log_likelihood
        mean, error = mean_and_error(resampled)
        assert resampled.std() > 0.01
        assert mean < LOG_P - 4 * error  # resampling only adds noise here, so it lowers the mean


class TestResampling:
    @pytest.mark.parametrize("rule", RULES)
    def test_the_algorithm_in_loops(self, rule):
        """Bound, ESS and the moments of resampling, from the increments and ancestors of a run."""
        B, N, T = 40, 6, 7
        lengths = 1 + torch.arange(B) % T
        result, observed, increments = spied(B, N, T, rule, lengths=lengths)
        n_resampled = 0
        for b in range(B):
            log_w, total = torch.zeros(N, dtype=torch.float64), 0.0
            resampled = False
            for t in range(T):
                came_from = observed[t].row[b * N : (b + 1) * N] - b * N
                if resampled:
                    assert ((came_from >= 0) & (came_from < N)).all()
                else:
                    assert came_from.tolist() == list(range(N))
                if t >= lengths[b]:
                    resampled = False
                    continue
                log_w = log_w + increments[t, b]
                w = log_w.softmax(0)
                ess = float(1 / w.square().sum())
                assert abs(float(result.ess[t, b]) - ess) < 1e-9
                goal = {"never": False, "always": True, "ess": ess <= N / 2}[rule]
                resampled = goal and t + 1 < lengths[b]
                if resampled:
                    total = total + float(torch.logsumexp(log_w, 0)) - math.log(N)
                    log_w = torch.zeros_like(log_w)
                n_resampled += resampled
            total = total + float(torch.logsumexp(log_w, 0)) - math.log(N)
            assert abs(float(result.log_likelihood[b]) - total) < 1e-10
        most = int((lengths - 1).sum())
        remaining = {"never": n_resampled == 0, "always": n_resampled == most}
        assert remaining.get(rule, 0 < n_resampled < most)

    @pytest.mark.parametrize(("alive", "resamples"), [(3, True), (4, True), (5, False)])
    def test_half_the_particles_are_scarce_enough_to_resample(self, alive, resamples):
        remaining = []

        def step(state, x, t, generator):
            remaining.append(state.z)
            return state, torch.where(state.z < alive, 0.0, -1e3).double()

        x, lengths = repeated(4, X[:2])
        first = Walk(torch.arange(32) % 8)
        particle_bound(lambda *_: first, step, x, lengths, 8, "ess", rng())
        assert bool((remaining[1] < alive).all()) == resamples

    @pytest.mark.parametrize("rule", ["ess", "always"])
    def test_every_tensor_of_the_state_follows_its_ancestor(self, rule):
        _, observed, _ = spied(50, 4, 5, rule, spread=3.0)
        shifted = 0
        for state in observed:
            row = state.row.double()
            assert torch.equal(state.wide, row[:, None].expand(-1, 3))
            assert torch.equal(state.deep, row[:, None, None].expand(-1, 2, 2))
            assert state.empty.shape == (200, 0)
            assert torch.equal(state.row // 4, torch.arange(200) // 4)  # never another sequence's
            shifted += int((state.row != torch.arange(200)).sum())
        assert shifted > 100

    def test_ancestors_are_multinomial(self):
        B, N = 20000, 4
        weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
        remaining = []

        def step(state, x, t, generator):
            remaining.append(state.z)
            return state, weights.log().repeat(B) + 3.0

        first = Walk(torch.arange(B * N) % N)
        x, lengths = repeated(B, X[:2])
        particle_bound(lambda *_: first, step, x, lengths, N, "always", rng())
        counts = torch.nn.functional.one_hot(remaining[1].reshape(B, N), N).sum(1).double()
        centred = counts - N * weights
        pairs = (centred[:, :, None] * centred[:, None]).flatten(1)
        expected = N * (weights.diag() - weights.outer(weights)).flatten()
        for values, mean in ((counts, N * weights), (pairs, expected)):
            assert standard_errors((values - mean).T).abs().max() < 4
        places = (remaining[1].reshape(B, N) == 3).double()  # of which none is favoured
        assert standard_errors((places - weights[3]).T).abs().max() < 4


class TestInvariances:
    def padded(self):
        lengths = torch.tensor([5, 2, 1, 4])
        return normal(4, 5, 1), lengths, normal(4, 5, 6, seed=1)

    @pytest.mark.parametrize("rule", RULES)
    def test_a_sequence_in_a_batch_has_the_bound_it_has_alone(self, rule):
        x, lengths, noise = self.padded()
        together = particle_bound(start, table(noise, SHARP), x, lengths, 6, rule, rng())
        for b, n in enumerate(lengths.tolist()):
            step, part = table(noise[b : b + 1, :n], SHARP), slice(b, b + 1)
            alone = particle_bound(start, step, x[part, :n], lengths[part], 6, rule, rng(b))
            close(alone.log_likelihood[0], together.log_likelihood[b], rtol=1e-12, atol=0)
            close(alone.ess[:, 0], together.ess[:n, b], rtol=1e-12, atol=0)

    @pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
    def test_an_observation_may_have_any_shape(self, shape):
        x, noise = normal(3, 4, *shape), normal(3, 4, 2, seed=1)

        def step(state, x_t, t, generator):
            assert x_t.shape == (6, *shape)
            assert torch.equal(x_t, x[:, t].repeat_interleave(2, 0))  # row b N + n
            return state, noise[:, t].reshape(-1)

        result = particle_bound(start, step, x, torch.tensor([4, 4, 4]), 2, "never", rng())
        expected = torch.logsumexp(noise.sum(1), 1) - math.log(2)
        close(result.log_likelihood, expected)

    @pytest.mark.parametrize("rule", RULES)
    def test_an_impossible_observation_has_no_likelihood_and_spoils_no_other_sequence(self, rule):
        def step(state, x, t, generator):
            _, log_alpha = table(noise)(state, x, t, generator)
            return state, torch.where((x[:, 0] == 99.0), -math.inf, log_alpha)

        x, lengths, noise = self.padded()
        plain = particle_bound(start, step, x, lengths, 6, rule, rng()).log_likelihood
        x[0, 2] = 99.0
        bound = particle_bound(start, step, x, lengths, 6, rule, rng())
        result = bound.log_likelihood
        assert result[0] == -math.inf
        assert torch.equal(result[1:], plain[1:])
        assert (bound.ess[2:, 0] == 1).all()
        assert ((bound.ess >= 1) & (bound.ess <= 6)).all()


class TestGradient:
    @pytest.mark.parametrize("rule", RULES)
    def test_it_flows_through_the_increments_and_not_through_the_ancestors(self, rule):
        """With the run's ancestors held fixed, each part of the bound has softmax gradients."""
        theta = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
        result, observed, increments = spied(9, 4, 5, rule, theta=theta)
        (gradient,) = torch.autograd.grad(result.log_likelihood.sum(), theta)
        slopes = (increments / theta).detach()
        shifted = [
            (s.row.reshape(9, 4) != torch.arange(36).reshape(9, 4)).any(1).tolist()
            for s in observed
        ]
        expected = 0.0
        for b in range(9):
            log_w, slope = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
            for t in range(5):
                log_w, slope = log_w + increments[t, b].detach(), slope + slopes[t, b]
                scarce = float(1 / log_w.softmax(0).square().sum()) <= 2
                if t == 4 or rule == "always" or (rule == "ess" and scarce):
                    expected += float((log_w.softmax(0) * slope).sum())
                    log_w, slope = torch.zeros_like(log_w), torch.zeros_like(slope)
        assert any(map(any, shifted)) == (rule != "never")
        assert abs(float(gradient) - expected) < 1e-9

    @pytest.mark.parametrize("rule", RULES)
    def test_it_flows_through_the_state_of_the_ancestors(self, rule):
        """A derivative by finite differences, where the ancestors are certain."""
        x, lengths, noise = TestInvariances().padded()

        def value(number):
            step = table(noise, SHARP, number)
            return particle_bound(start, step, x, lengths, 6, rule, rng()).log_likelihood.sum()

        theta = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(value(theta), theta)
        small = 1e-7
        slope = float(value(theta + small) - value(theta - small)) / (2 * small)
        assert abs(float(gradient) / slope - 1) < 1e-4


def call(*, init=start, step=bootstrap, lengths=(5, 5, 5), n_particles=2, rule="ess", **more):
    lengths = torch.tensor(lengths)
    return particle_bound(init, step, repeated(3)[0], lengths, n_particles, rule, rng(), **more)


def answers(*shape, rows=6):
    """A step that goes on with so many rows of its state, and increments of a shape."""
    return lambda state, *_: (Walk(state.z[:rows]), torch.zeros(shape, dtype=torch.float64))


def nan_increment(state, x, t, generator):
    return state, torch.where((torch.arange(6) == 3) & (t == 2), math.nan, -1.0).double()


REFUSED = {
    "n_particles": [{"n_particles": n} for n in (0, -1)],
    "length": [{"lengths": v} for v in ([5, 0, 5], [5, 6, 5], [5, 5], [[5, 5, 5]])],
    "never.*ess.*always.*sometimes": {"rule": "sometimes"},
    "(?i)nan|finite": {"step": nan_increment},
    "rows|6": [
        {"init": lambda rows, generator: start(rows - 1, generator)},
        *({"step": step} for step in (answers(5), answers(6, 1), answers(6, rows=3))),
    ],
}
test_what_does_not_fit_is_named = refuses(REFUSED, call)
LENGTHS = torch.tensor([1, 1, 1])
test_observations_without_times_are_named = refuses(
    {"observations": partial(particle_bound, start, bootstrap, normal(3), LENGTHS, 2, "ess", rng())}
)


def test_without_checks_a_nan_increment_is_handed_on():
    result = call(step=nan_increment, rule="never", validate=False)
    assert torch.isnan(result.log_likelihood).any()
