"""Schedules of inverse temperature: totals, recorded betas, and the lengths that they equalise."""

import math

import pytest
import torch

from dgm.sampling import schedules

RECORDED = schedules.log_spaced(49, 0.01, 3000.0)[1:]


def gaussian_variance(beta, scale=0.05, dim=10):
    """Var(d) of a code that is Gaussian at every beta: the length is asinh(beta / scale)."""
    return dim / 2 / (scale**2 + beta**2)


@pytest.mark.parametrize("total", [49, 100, 2000])
def test_schedules_pass_through_the_recorded_betas(total):
    knots = schedules.log_spaced(200, 1e-3, 2000.0)[1:]
    adaptive = schedules.equal_length(RECORDED, total, knots, gaussian_variance(knots))
    for betas in (adaptive, schedules.sigmoid_through(RECORDED, total)):
        assert len(betas) == total + 1
        assert betas[0] == 0
        assert (betas.diff() > 0).all()
        assert torch.isin(RECORDED, betas).all()


def test_adaptive_temperatures_are_equally_long():
    knots = schedules.log_spaced(1000, 1e-3, 3000.0)[1:]
    last = RECORDED[-1:]
    betas = schedules.equal_length(last, 3000, knots, gaussian_variance(knots))
    steps = torch.asinh(betas / 0.05).diff()
    assert (steps / steps.mean() - 1).abs().max() < 0.01
    # known at a few betas alone, it keeps the right end: Var(d) falls as 1 / beta^2
    few = schedules.equal_length(last, 3000, knots[:500], gaussian_variance(knots[:500]))
    torch.testing.assert_close(few, betas, rtol=0.01, atol=0)


def test_variance_of_chains_that_mix_at_once_is_that_of_exact_samples():
    # E = |z - 1|^2 under N(0, I) in 3 dimensions: at beta, N(2 beta / p, I / p) with p = 1 + 2 beta
    def at(beta):
        p = 1 + 2 * beta
        return 2 * beta / p, p**-0.5

    def energy_variance(beta):
        mean, sd = at(beta)
        return 3 * (2 * sd**4 + 4 * sd**2 * (mean - 1) ** 2)

    knots = schedules.log_spaced(400, 1e-4, 30.0)[1:]
    generator = torch.Generator().manual_seed(0)
    for betas in (schedules.log_spaced(12, 0.01, 20.0), schedules.sigmoid(9, 20.0)):
        mean, sd = at(betas[:-1])
        noise = torch.randn(40_000, len(betas) - 1, 3, generator=generator, dtype=torch.float64)
        energy = (mean[:, None] + sd[:, None] * noise - 1).square().sum(2)
        log_weight = -(energy * betas.diff()).sum(1)
        off = (log_weight - log_weight.mean()).square()
        found = schedules.log_weight_variance(betas, knots, energy_variance(knots))
        assert abs(float(off.mean()) - found) < 4 * float(off.std()) / 40_000**0.5


def test_equal_length_has_the_least_variance_of_chains_that_mix_at_once():
    knots = schedules.log_spaced(1000, 1e-3, 3000.0)[1:]
    variance = gaussian_variance(knots)
    least = schedules.log_weight_variance(
        schedules.equal_length(RECORDED, 1000, knots, variance), knots, variance
    )
    length = math.sqrt(5) * math.asinh(3000 / 0.05)  # in closed form, for 10 dimensions
    assert least == pytest.approx(length**2 / 1000, rel=0.05)
    for other in (schedules.sigmoid(1000, 3000.0), schedules.log_spaced(1000, 0.01, 3000.0)):
        assert schedules.log_weight_variance(other, knots, variance) > 1.05 * least
    # known up to a beta alone, it falls as 1 / beta^2 from there
    few = schedules.log_weight_variance(
        schedules.sigmoid(1000, 3000.0), knots[:800], variance[:800]
    )
    whole = schedules.log_weight_variance(schedules.sigmoid(1000, 3000.0), knots, variance)
    assert few == pytest.approx(whole, rel=0.01)


def test_sigmoid_with_one_recorded_beta_is_the_plain_one():
    found = schedules.sigmoid_through(RECORDED[-1:], 500)
    torch.testing.assert_close(found, schedules.sigmoid(500, 3000.0), rtol=1e-9, atol=1e-12)
    # recorded betas move its temperatures by less than three steps
    through = schedules.sigmoid_through(RECORDED, 20_000)
    plain = schedules.sigmoid(20_000, 3000.0)
    step = torch.maximum(plain.diff()[1:], plain.diff()[:-1])
    assert ((through - plain)[1:-1].abs() < 3 * step).all()


def test_shares_are_whole_and_follow_the_lengths():
    lengths = torch.tensor([3.0, 1e-9, 5.0, 2.0, 1e-9], dtype=torch.float64)
    assert schedules.allocate_steps(lengths, 12) == [3, 1, 5, 2, 1]
    assert schedules.allocate_steps(lengths, 5) == [1] * 5
    big = schedules.allocate_steps(lengths, 100_000)
    assert sum(big) == 100_000
    assert big == [30_000, 1, 49_999, 19_999, 1] or abs(big[2] - 50_000) <= 2
    with pytest.raises(ValueError, match="at least as many temperatures"):
        schedules.allocate_steps(lengths, 4)
