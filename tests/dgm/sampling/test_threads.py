"""Small problems run on one thread, large ones on as many as there are, and nobody else notices."""

import pytest
import torch
from torch import nn

from dgm.papers.rate_distortion import bdmc_gap, rate_distortion_curve
from dgm.sampling import threads
from dgm_book import profiles

QUICK = {"n_chains": 4, "n_leapfrog": 2, "progress": False, "latent_dim": 2}


class Watched(nn.Linear):
    """Notes how many threads its calls have."""

    def __init__(self):
        super().__init__(2, 6)
        self.seen = []

    def forward(self, z):
        self.seen.append(torch.get_num_threads())
        return super().forward(z)


@pytest.fixture
def watched():
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Watched().requires_grad_(False)
    torch.set_num_threads(before)


def curve(decoder, x, **options):
    return rate_distortion_curve(
        decoder, x, betas=[1.0], temperatures_per_beta=2, **{**QUICK, **options}
    )


def gap(decoder, _):
    return bdmc_gap(decoder, beta=1.0, n_images=2, n_temperatures=2, **QUICK)


@pytest.mark.parametrize("run", [curve, gap])
@pytest.mark.parametrize(("limit", "expected"), [(1e9, 1), (1.0, 2)])
def test_threads_follow_the_work(watched, monkeypatch, run, limit, expected):
    monkeypatch.setattr(threads, "WORTH_SHARING", limit)
    run(watched, torch.zeros(3, 6))
    assert set(watched.seen[1:]) == {expected}  # the first call counts the work
    assert torch.get_num_threads() == 2


def test_threads_change_no_bit(watched, monkeypatch):
    x = torch.randn(3, 6)
    one = curve(watched, x)
    monkeypatch.setattr(threads, "WORTH_SHARING", 1.0)
    assert torch.equal(curve(watched, x).rate, one.rate)


def test_work_is_that_of_products_and_convolutions():
    def flops(decoder, latent_dim):
        return threads.flops(decoder, torch.zeros(1, latent_dim))

    assert flops(nn.Linear(3, 5), 3) == 2 * 3 * 5
    image = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3))
    assert flops(image, 16) == 2 * 9 * 2 * 4
    assert flops(lambda z: z @ torch.ones(3, 5), 3) == 2 * 3 * 5
    assert flops(nn.Linear(3, 5), 4) == float("inf")


def test_all_is_put_back_after_an_error(watched):
    with pytest.raises(ValueError, match="latent_dim"):
        curve(watched, torch.zeros(3, 6), latent_dim=3)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", profiles.NAMES)
def test_chapters_take_one_thread_on_a_cpu(name):
    assert profiles.get(name, "cpu").threads == 1
