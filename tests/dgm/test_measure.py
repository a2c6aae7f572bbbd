"""Measures against values that can be worked out."""

import math
from functools import partial

import pytest
import torch
from checks import close, on_devices, refuses, share_is
from draws import normal, rng

from dgm.measure import (
    active_units,
    aggregate_mutual_information,
    bootstrap,
    effective_sample_size,
    mapper_graph,
)


def test_active_units_at_the_threshold():
    scale = torch.tensor([0.0, 0.0999, 0.1001, 2.0], dtype=torch.float64)
    pattern = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(500)
    mu = pattern[:, None] * scale + 7.0
    unbiased = 1000 / 999
    assert active_units(mu * math.sqrt(1 / unbiased)) == 2
    assert active_units(mu, threshold=1.0) == 1
    assert active_units(mu).dtype == torch.float64


@pytest.mark.parametrize(("distance", "exact"), [(100.0, math.log(32)), (0.0, 0.0)])
def test_mutual_information_of_separate_and_of_equal_posteriors(distance, exact):
    mu = distance * torch.arange(32.0)[:, None]
    value = aggregate_mutual_information(mu, torch.zeros(32, 1), n_samples=5)
    assert float(value) == pytest.approx(exact, abs=1e-9)


def test_mutual_information_of_a_gaussian_channel():
    """mu ~ N(0, a), z | mu ~ N(mu, 1): I = log(1 + a) / 2, minus what a finite set cannot show."""
    mu = 2.0 * normal(2000, 1, seed=77)
    value = aggregate_mutual_information(mu, torch.zeros(2000, 1))
    values = [aggregate_mutual_information(mu, torch.zeros(2000, 1), seed=s) for s in range(1, 6)]
    spread = torch.stack(values).std()
    sample_variance = float(mu.var())
    exact = 0.5 * math.log(1 + sample_variance)
    assert abs(float(value) - exact) < 4 * float(spread) + 4 * math.sqrt(0.5 / 2000)


def test_mutual_information_does_not_depend_on_the_chunk():
    mu = normal(100, 2)
    whole = aggregate_mutual_information(mu, torch.zeros(100, 2), chunk=100)
    parts = aggregate_mutual_information(mu, torch.zeros(100, 2), chunk=7)
    close(whole, parts)


def test_effective_sample_size():
    assert float(effective_sample_size(torch.zeros(8))) == pytest.approx(8)
    assert float(effective_sample_size(torch.tensor([0.0, -1e4, -1e4]))) == pytest.approx(1)
    assert float(effective_sample_size(torch.full((8,), -math.inf))) == 1
    two = torch.tensor([[0.0, 0.0], [0.0, math.log(3)]])
    close(effective_sample_size(two), torch.tensor([2.0, 16 / 10], dtype=torch.float64))
    assert float(effective_sample_size(torch.tensor([900.0, 900.0]))) == pytest.approx(2)


def test_bootstrap_interval_covers_the_mean():
    hits = 0
    for seed in range(100):
        values = normal(60, seed=seed) + 3.0
        interval = bootstrap(values, n_resamples=400, seed=seed)
        hits += interval.low < 3.0 < interval.high
        assert interval.standard_error == pytest.approx(float(values.std()) / math.sqrt(60))
        assert interval.low < interval.mean < interval.high
    assert share_is(hits, 0.95, 100)


ONES = torch.ones(3, 2)
REFUSED = {
    "at least 2": partial(active_units, ONES[:1]),
    "finite": [
        partial(active_units, ONES * math.nan),
        partial(bootstrap, torch.tensor([1.0, math.inf])),
    ],
    r"is \(": partial(aggregate_mutual_information, ONES, ONES[:, :1]),
    "two": partial(bootstrap, torch.tensor([1.0])),
}
test_bad_arguments_are_refused = refuses(REFUSED)


class TestMapper:
    def test_two_directions_are_two_components(self):
        points = 0.02 * normal(400, 3)
        points[:200, 0] += 1
        points[200:, 1] += 1
        graph = mapper_graph(points * (1 + normal(400, 1, seed=1).abs()), 6)
        assert graph.n_components == 2
        assert graph.n_nodes > 2
        assert graph.n_edges >= graph.n_nodes - 2

    def test_filled_patch_is_one_component(self):
        # Differences of sorted uniform numbers are even on the simplex.
        u = torch.rand(2000, 2, generator=rng()).sort(1).values
        p = torch.stack([u[:, 0], u[:, 1] - u[:, 0], 1 - u[:, 1]], 1)
        assert mapper_graph(p * torch.tensor([1.0, 2.0, 3.0]), 5).n_components == 1

    @on_devices
    def test_points_may_come_from_a_network(self, device):
        points = normal(100, 2).abs()
        graph = mapper_graph(points)
        assert graph.n_nodes > 0
        assert mapper_graph(torch.eye(6), 3) == (0, 0, 0)
        assert mapper_graph(points.to(device).requires_grad_()) == graph
