"""The kernel distance of Gaussians in closed form, and of groups by a sum over pairs."""

import math
from functools import partial

import pytest
import torch
from checks import close, refuses
from draws import normal

from dgm.kernel_distance import kernel_distance


def squared_mmd_of_shifted_normals(f, squared_shift):
    """Between N(0, I) and N(mu, I) in f dimensions, from the moments of a b."""
    m = squared_shift
    within = 1 + 3 * m / f + 3 * (f + 2 * m + m**2) / f**2
    within += (m**3 + 6 * m**2 + 3 * m * f + 6 * m) / f**3
    return within + 1 + 3 / f - 2 * (1 + 3 * (f + m) / f**2)


@pytest.mark.parametrize(("f", "shift"), [(1, 0.0), (5, 0.0), (1, 0.7), (5, -0.4)])
def test_kernel_distance_of_gaussians_is_the_closed_form(f, shift):
    exact = squared_mmd_of_shifted_normals(f, f * shift**2)
    scores = []
    for seed in range(40):
        x, y = normal(60, f, seed=2 * seed), normal(80, f, seed=2 * seed + 1) + shift
        value, error = kernel_distance(x, y)
        scores.append((float(value) - exact) / float(error))
        if shift == 0:
            assert abs(scores[-1]) < 4
    assert abs(sum(scores)) < 4 * len(scores) ** 0.5  # the error is not too small
    spread = math.sqrt(sum(z * z for z in scores) / len(scores))
    assert 0.3 < spread < (1.0 if shift == 0 else 1.7)


@pytest.mark.parametrize("paired", [True, False])
def test_kernel_distance_of_groups_is_the_sum_over_pairs_of_different_ones(paired):
    x, y = normal(6, 3), normal(6, 4, 3, seed=1)

    def naive(x, y):
        def mean(a, b, apart):
            pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (apart and i == j)]
            return sum(((a[i] @ b[j].T / 3 + 1) ** 3).mean() for i, j in pairs) / len(pairs)

        return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, paired)

    value, error = kernel_distance(x, y, paired)
    close(value, naive(x[:, None], y))
    left = [[j for j in range(6) if j != i] for i in range(6)]
    if paired:
        parts = [torch.stack([naive(x[i][:, None], y[i]) for i in left])]
    else:
        parts = [torch.stack([naive(x[i][:, None], y) for i in left])]
        parts += [torch.stack([naive(x[:, None], y[i]) for i in left])]
    close(error.square(), sum(5 / 6 * (p - p.mean()).square().sum() for p in parts))


ROWS = normal(30, 3)
REFUSED = {
    r"x must be \(rows, F\) and finite": partial(kernel_distance, ROWS * math.nan, ROWS),
    "x has 3 features per row, but y has 2": partial(kernel_distance, ROWS, ROWS[:, :2]),
    "3 or more, as": [
        partial(kernel_distance, ROWS, ROWS[:20], paired=True),
        partial(kernel_distance, ROWS, ROWS[:4].view(2, 2, 3)),
    ],
}
test_sets_are_checked = refuses(REFUSED)
