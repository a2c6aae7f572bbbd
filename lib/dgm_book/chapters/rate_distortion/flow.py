"""A few-step flow-matching decoder on small digits: its training, its curve and both bounds."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dgm.data import minibatches
from dgm.nets.flow_matching import FlowDecoder
from dgm.papers import rate_distortion as paper
from dgm.train import TrainingState, fit
from dgm_book.chapters.rate_distortion import models
from dgm_book.chapters.rate_distortion.models import Computed, Job, pictures

N_TILES = 24


def small_digits(job: Job, split: str) -> Tensor:
    """Digits (N, P) of half the height and width: means of four pixels; those of smoke whole."""
    data = pictures(job.dataset, split)
    height, width = data.shape
    if height <= 14:
        return data.x
    halved = functional.avg_pool2d(data.x.view(-1, 1, height, width), 2)
    return halved.flatten(1)


def train(job: Job) -> FlowDecoder:
    """The decoder after the recipe's steps; a finished or interrupted run goes on."""
    sizes, x = job.recipe.flow, small_digits(job, "train")
    mean = x.mean(0)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        network = FlowDecoder(mean, (x - mean).std(), sizes.hidden, sizes.n_steps)
    x, network = x.to(job.profile.device), network.to(job.profile.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    picks = minibatches(len(x), min(256, len(x)), job.seed)

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        for group in state.optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - i / sizes.training_steps)
        loss = network.loss(x[picks(i).to(x.device)], state.generator).mean()
        models.descend(state, loss)
        return {"loss": loss.detach()}

    generator = torch.Generator(job.profile.device).manual_seed(job.seed)
    state = TrainingState(network, optimizer, generator)
    options: dict[str, Any] = {"checkpoint": job.checkpoint("flow"), "progress": False}
    fit(step, lambda i: i, state, sizes.training_steps, **options)
    return network.eval().requires_grad_(False)


def gaussian_curve(x: Tensor, images: Tensor, betas: Tensor) -> paper.RateDistortionCurve:
    """The exact curve of the decoder that draws N(mean, covariance) of x: the trivial baseline."""
    mean = x.double().mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(x.double().T))
    weight = vectors * values.clamp(min=0).sqrt()
    return paper.linear_gaussian_curve(weight, mean, images, betas)


def flow_curve(job: Job) -> Computed:
    """The curve of test digits, the Gaussian's of equal moments, samples, and both bounds."""
    sizes, network = job.recipe.flow, train(job)
    annealing, device = sizes.annealing, job.profile.device
    images = small_digits(job, "test")[: annealing.n_images].to(device)
    latent_dim = images.shape[1]
    shared: dict[str, Any] = {"n_chains": annealing.n_chains, "n_leapfrog": annealing.n_leapfrog}
    shared |= {"latent_dim": latent_dim, "progress": False, "seed": job.seed, "device": device}
    measured = paper.rate_distortion_curve(
        network, images, betas=annealing.betas, checkpoint=job.checkpoint("flow-curve"),
        temperatures_per_beta=annealing.temperatures_per_beta, **shared,
    )  # fmt: skip
    n_temperatures = annealing.temperatures_per_beta * len(annealing.betas)
    gaps = []
    for beta in sizes.gap_betas:
        options = {"beta": beta, "n_images": sizes.gap_images, "n_temperatures": n_temperatures}
        bounds = paper.bdmc_gap(network, **options, **shared)
        gaps.append({"beta": beta, "gap": bounds.gap, "standard_error": bounds.standard_error})
    gaussian = gaussian_curve(small_digits(job, "train"), images, annealing.betas)
    codes = torch.randn(N_TILES, latent_dim, generator=torch.Generator().manual_seed(0))
    tiles = (network(codes.to(device)) * 255).round().clamp(0, 255).to(torch.uint8)
    values = {"gaps": gaps, "n_images": len(images), "gap_images": sizes.gap_images}
    values |= {"n_steps": sizes.n_steps, "latent_dim": latent_dim}
    fields = {key: getattr(measured, key) for key in ("beta", "rate", "distortion", "log_z")}
    fields |= {"ess": measured.ess, "acceptance": measured.acceptance, "tiles": tiles}
    return values, fields | {
        f"gaussian.{key}": getattr(gaussian, key) for key in ("rate", "distortion")
    }
