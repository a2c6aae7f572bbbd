"""Small problems run on one thread, large ones on as many as there are, and nobody else notices."""

import pytest
import torch
from chains import bdmc_gap, curve
from torch import nn

from dgm.sampling.threads import flops, suitable_threads

LINEAR = {"latent_dim": 2, "n_chains": 4, "n_leapfrog": 2}


class Watched(nn.Linear):
    """Notes how many threads its calls have."""

    def __init__(self):
        super().__init__(2, 6)
        self.threads = []

    def forward(self, z):
        self.threads.append(torch.get_num_threads())
        return super().forward(z)


@pytest.fixture
def watched():
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Watched().requires_grad_(False)
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "run",
    [
        lambda decoder: curve(decoder, torch.zeros(3, 6), betas=[1.0], **LINEAR),
        lambda decoder: bdmc_gap(decoder, beta=1.0, n_images=2, n_temperatures=2, **LINEAR),
    ],
    ids=["curve", "gap"],
)
def test_a_small_run_has_one_thread(watched, run):
    run(watched)
    assert set(watched.threads[1:]) == {1}  # the first call counts the work
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="latent_dim"):
        curve(watched, torch.zeros(3, 6), betas=[1.0], **{**LINEAR, "latent_dim": 3})
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("n_rows", "expected"), [(1000, 1), (10**9, 2)])
def test_threads_follow_the_work(watched, n_rows, expected):
    with suitable_threads(watched, torch.zeros(1, 2), n_rows):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 2


def test_work_is_that_of_products_and_convolutions():
    codes = torch.zeros(1, 3)
    assert flops(nn.Linear(3, 5), codes) == 2 * 3 * 5
    image = nn.Sequential(nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3))
    assert flops(image, torch.zeros(1, 16)) == 2 * 9 * 2 * 4
    assert flops(lambda z: z @ torch.ones(3, 5), codes) == 2 * 3 * 5
    assert flops(nn.Linear(4, 5), codes) == float("inf")
