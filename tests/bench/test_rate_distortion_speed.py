"""How fast the evaluator and the training are: `make bench`.

`extra_info` holds the figure of merit: chain-leapfrogs a second (one chain, one gradient), or training
steps a second.
"""

import pytest
import torch

from dgm.papers.rate_distortion import ImageVAE, _Problem, vae_objective
from dgm.sampling.annealing import anneal, start

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
# 50 images with 16 chains each, as the small profile has
N_IMAGES, N_CHAINS, N_LEAPFROG = 50, 16, 10


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "hidden", [(64,), (256, 256), (1024,) * 3], ids=["64x1", "256x2", "1024x3"]
)
def test_chain_leapfrogs_per_second(benchmark, hidden, device):
    torch.manual_seed(0)
    decoder = ImageVAE(784, 10, hidden).decoder.to(device).requires_grad_(False).eval()
    generator = torch.Generator(device).manual_seed(0)
    x = torch.rand(N_IMAGES, 784, generator=generator, device=device)
    problem = _Problem(decoder, x, 10, N_CHAINS, None, "squared_error")
    state = start(problem.target, problem.sample_prior(generator))
    steps = torch.full((1, 1), 0.01, device=device)

    def run():
        end = anneal(problem.target, state, [1.0, 1.05], steps, N_LEAPFROG, generator)
        return float(end.log_weight.sum())  # waits for the device

    assert benchmark.pedantic(run, rounds=5, warmup_rounds=1) == pytest.approx(run(), rel=0.5)
    if benchmark.stats:
        work = N_IMAGES * N_CHAINS * N_LEAPFROG
        benchmark.extra_info["chain_leapfrogs_per_second"] = work / benchmark.stats.stats.median


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("hidden", [(256, 256), (1024,) * 3], ids=["256x2", "1024x3"])
def test_training_steps_per_second(benchmark, hidden, device):
    torch.manual_seed(0)
    model = ImageVAE(784, 10, hidden).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator(device).manual_seed(0)
    x = torch.rand(100, 784, generator=generator, device=device)
    first = float(vae_objective(model, x, generator).value.mean().detach())

    def run():
        for _ in range(10):
            loss = -vae_objective(model, x, generator).value.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return -float(loss.detach())

    assert benchmark.pedantic(run, rounds=5, warmup_rounds=1) > first
    if benchmark.stats:
        benchmark.extra_info["training_steps_per_second"] = 10 / benchmark.stats.stats.median
