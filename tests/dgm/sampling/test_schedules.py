"""Schedules of inverse temperature: totals, recorded betas, and the lengths that they equalise."""

import math

import pytest
import torch
from checks import close, refuses, standard_errors
from draws import rng

from dgm.sampling import schedules

RECORDED = schedules.log_spaced(49, 0.01, 3000.0)[1:]


def gaussian_variance(beta, scale=0.05, dim=10):
    """Var(d) of a code that is Gaussian at every beta: the length is asinh(beta / scale)."""
    return dim / 2 / (scale**2 + beta**2)


@pytest.mark.parametrize("total", [49, 100, 2000])
def test_schedules_ascend_from_zero_through_the_recorded_betas(total):
    knots = schedules.log_spaced(200, 1e-3, 2000.0)[1:]
    counts = [total - 48, *[1] * 48]
    for betas in (
        schedules.equal_length(RECORDED, total, knots, gaussian_variance(knots)),
        schedules.sigmoid_through(RECORDED, total),
        schedules.through(RECORDED, counts, 0.3),
    ):
        assert betas.shape == (total + 1,)
        assert betas.dtype == torch.float64
        assert betas[0] == 0
        assert (betas.diff() > 0).all()
        assert torch.isin(RECORDED, betas).all()
    assert torch.equal(betas[-49:], RECORDED)  # each after its own number of steps


def test_sigmoid_is_the_published_schedule():
    """Values that the specification derives from the released code: 60,000 steps to 36,000."""
    recorded = schedules.sigmoid(60_000, 36_000.0)[30::30]
    assert len(recorded) == 2000
    assert int((recorded < 1).sum()) == 47
    values = recorded[[20, 48, 1990]].tolist()
    assert values == pytest.approx([0.3819, 1.0334, 35_999.85], abs=1e-4, rel=1e-6)


def test_variance_of_chains_that_mix_at_once_is_that_of_exact_samples():
    # E = |z - 1|^2 under N(0, I) in 3 dimensions: at beta, N(2 beta / p, I / p) with p = 1 + 2 beta
    def at(beta):
        p = 1 + 2 * beta
        return 2 * beta / p, p**-0.5

    knots = schedules.log_spaced(400, 1e-4, 30.0)[1:]
    mean, sd = at(knots)
    variance = 3 * (2 * sd**4 + 4 * sd**2 * (mean - 1) ** 2)
    generator = rng()
    for betas in (schedules.log_spaced(12, 0.01, 20.0), schedules.sigmoid(9, 20.0)):
        mean, sd = at(betas[:-1])
        noise = torch.randn(40_000, len(betas) - 1, 3, generator=generator, dtype=torch.float64)
        energy = (mean[:, None] + sd[:, None] * noise - 1).square().sum(2)
        log_weight = -(energy * betas.diff()).sum(1)
        squares = (log_weight - log_weight.mean()).square()
        expected = schedules.log_weight_variance(betas, knots, variance)
        assert abs(float(standard_errors(squares - expected))) < 4


def test_equal_length_has_the_least_variance_of_chains_that_mix_at_once():
    knots = schedules.log_spaced(1000, 1e-3, 3000.0)[1:]
    variance = gaussian_variance(knots)

    def total(betas, n=1000):
        return schedules.log_weight_variance(betas, knots[:n], variance[:n])

    least = total(schedules.equal_length(RECORDED, 1000, knots, variance))
    length = math.sqrt(5) * math.asinh(3000 / 0.05)  # in closed form, for 10 dimensions
    assert least == pytest.approx(length**2 / 1000, rel=0.05)
    plain = schedules.sigmoid(1000, 3000.0)
    for betas in (plain, schedules.log_spaced(1000, 0.01, 3000.0)):
        assert total(betas) > 1.05 * least
    # known up to a beta alone, it falls as 1 / beta^2 from there
    assert total(plain, 800) == pytest.approx(total(plain), rel=0.01)


def test_sigmoid_with_one_recorded_beta_is_the_plain_one():
    bent = schedules.sigmoid_through(RECORDED[-1:], 500)
    close(bent, schedules.sigmoid(500, 3000.0), rtol=1e-9, atol=1e-12)
    # recorded betas move its temperatures by less than three steps
    bent, plain = schedules.sigmoid_through(RECORDED, 20_000), schedules.sigmoid(20_000, 3000.0)
    step = torch.maximum(plain.diff()[1:], plain.diff()[:-1])
    assert ((bent - plain)[1:-1].abs() < 3 * step).all()


REFUSED = {
    "one temperature or more": lambda: schedules.sigmoid(0, 1.0),
    "beta_max": lambda: schedules.sigmoid(5, math.inf),
    "beta_min": lambda: schedules.log_spaced(5, 2.0, 1.0),
    "at least as many temperatures": lambda: schedules.sigmoid_through(RECORDED, 48),
}
test_bad_schedules_are_refused = refuses(REFUSED)
