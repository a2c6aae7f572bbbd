"""Distances between sets of features, against closed forms and sets whose overlap is known."""

import math
from functools import partial

import pytest
import torch
from checks import close, refuses
from draws import normal, rng

from dgm.feature_distance import frechet_distance, inception_style_score, precision_recall


def with_moments(n, mean, covariance, seed=0):
    """Rows whose sample mean and covariance (over n - 1) are exactly those."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    own = torch.linalg.cholesky(x.T @ x / (n - 1))
    white = torch.linalg.solve_triangular(own, x.T, upper=False)
    return (torch.linalg.cholesky(covariance) @ white).T + mean


def square_root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ (values.clamp(min=0).sqrt()[:, None] * vectors.T)


def random_covariance(f, seed):
    a = normal(f, f, seed=seed)
    return a @ a.T + 0.1 * torch.eye(f, dtype=torch.float64)


def test_frechet_distance_of_gaussians_is_the_closed_form():
    f = 5
    mean_x, mean_y = normal(f, 1, seed=1)[:, 0], normal(f, 1, seed=2)[:, 0]
    c_x, c_y = random_covariance(f, 3), random_covariance(f, 4)
    x, y = with_moments(50, mean_x, c_x, 5), with_moments(70, mean_y, c_y, 6)
    half = square_root(c_x)
    cross = square_root(half @ c_y @ half).trace()
    exact = (mean_x - mean_y).square().sum() + c_x.trace() + c_y.trace() - 2 * cross
    for value in (frechet_distance(x, y), frechet_distance(y, x)):
        close(value, exact, rtol=1e-9, atol=1e-9)
    # Of single numbers: differences of means and of standard deviations.
    x = with_moments(30, torch.tensor([1.0]).double(), torch.tensor([[4.0]]).double())
    y = with_moments(40, torch.tensor([-2.0]).double(), torch.tensor([[0.25]]).double(), 1)
    assert float(frechet_distance(x, y)) == pytest.approx(3.0**2 + 1.5**2, rel=1e-9)


@pytest.mark.parametrize("n", [200, 4])  # 4: no full rank
def test_equal_sets_are_at_zero_and_a_shift_is_its_square(n):
    x = normal(n, 8)
    same = x[torch.randperm(n, generator=rng())]
    assert 0 <= float(frechet_distance(x, same)) < 1e-10
    assert float(frechet_distance(x, x + 0.5)) == pytest.approx(8 * 0.25, rel=1e-9)
    constant = torch.full((n, 8), 3.0)
    assert float(frechet_distance(constant, constant)) == 0.0


def test_scores_are_without_gradient_in_double_precision_and_leave_the_input():
    x, y = normal(40, 3).float().requires_grad_(), normal(40, 3, seed=1).float()
    before = x.detach().clone()
    values = [frechet_distance(x, y), *precision_recall(x, y)]
    for value in [*values, inception_style_score(x.softmax(1))]:
        assert value.dtype == torch.float64
        assert not value.requires_grad
        assert value.shape == ()
    assert torch.equal(x, before)


def grid(start, stop):
    return torch.arange(start, stop, dtype=torch.float64)[:, None]


def test_a_generator_of_part_of_the_data_misses_the_rest_and_another_makes_too_much():
    wide = torch.cat([grid(0, 20), grid(100, 130)])
    assert precision_recall(wide, grid(0, 20) + 0.25) == (1.0, 20 / 50)
    fake = torch.cat([grid(0, 20) + 0.25, grid(500, 520)])
    assert precision_recall(grid(0, 20), fake) == (0.5, 1.0)
    repeated = normal(3, 6).repeat(100, 1)  # each ball has radius 0
    assert precision_recall(repeated, repeated.flip(0)) == (1.0, 1.0)
    assert precision_recall(repeated, repeated + 100) == (0.0, 0.0)


def test_the_ball_reaches_the_k_th_neighbour_itself():
    real = torch.tensor([[0.0], [1.0], [3.0], [6.0]])
    # Radii by k = 1: 1, 1, 2, 3; by k = 2: 3, 2, 3, 5. Reach upwards: 9 and 11.
    fake = torch.tensor([[9.0], [9.01], [11.0], [11.01], [-1.0], [-1.01], [-3.0], [-3.01]])
    assert float(precision_recall(real, fake, k=1).precision) == 2 / 8
    assert float(precision_recall(real, fake, k=2).precision) == 6 / 8


def test_many_parts_and_rows_on_the_edge_of_a_ball():
    x, y = normal(700, 3), 0.7 * normal(600, 3, seed=1) + 0.3
    result, exchanged = precision_recall(x, y, 2), precision_recall(y, x, 2)
    assert result == exchanged[::-1]
    gaps, own = torch.cdist(y, x), torch.cdist(x, x).sort(1).values[:, 2]
    assert float(result.precision) == (gaps <= own).any(1).double().mean()
    # Rounding does not put a row outside a ball that it touches.
    real = normal(200, 20)
    gaps = torch.cdist(real, real).fill_diagonal_(math.inf)
    opposite = 2 * real - real[gaps.argmin(1)]  # as far as the nearest neighbour
    assert precision_recall(real, opposite, k=1).precision == 1.0


def test_score_is_the_exponential_of_the_mutual_information():
    sure = torch.eye(10)[torch.arange(40) % 4]
    assert float(inception_style_score(sure)) == pytest.approx(4.0)  # classes
    assert float(inception_style_score(torch.full((7, 10), 0.1))) == pytest.approx(1.0)
    assert float(inception_style_score(torch.eye(10)[[3] * 5])) == pytest.approx(1.0)
    p = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    marginal = p.mean(0)
    information = (p * (p / marginal).log()).sum(1).mean()
    assert float(inception_style_score(p)) == pytest.approx(float(information.exp()), rel=1e-6)


ROWS = normal(30, 3)
BAD = ROWS[:, 0], ROWS[None], ROWS[:, :0], ROWS * math.nan
SCORES = frechet_distance, precision_recall
REFUSED = {
    r"x must be \(rows, F\) and finite, got shape": [
        partial(score, bad, ROWS) for score in SCORES for bad in BAD
    ],
    r"y must be \(rows, F\) and finite": [
        partial(score, ROWS, bad) for score in SCORES for bad in BAD
    ],
    "x has 3 features per row, but y has 2": [partial(s, ROWS, ROWS[:, :2]) for s in SCORES],
    "y has 1 rows; this needs at least": [partial(s, ROWS, ROWS[:1]) for s in SCORES],
    "k=0: want 1 or more": partial(precision_recall, ROWS, ROWS, k=0),
    "y has 3 rows; this needs at least 4": partial(precision_recall, ROWS, ROWS[:3]),
    "must not be negative": partial(inception_style_score, ROWS),
    "sum to one": partial(inception_style_score, ROWS.softmax(1) / 2),
    r"must be \(rows, F\)": partial(inception_style_score, ROWS[0]),
}
test_sets_are_checked = refuses(REFUSED)
