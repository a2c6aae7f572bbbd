"""Bidirectional Monte Carlo: how far an annealing run is from the truth, on images from the model.

Forward annealing bounds log Z from below in expectation; annealing in reverse, from the code that
made the image, bounds it from above (Grosse, Ghahramani, Adams, 2015):

    E log Z_forward  <=  log Z  <=  E log Z_reverse                                     (1)
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.progress import progress_bar
from dgm.sampling import schedules
from dgm.sampling.annealing import anneal, log_mean_weight, reverse_anneal, start
from dgm.sampling.decoder_checks import check_betas, count, decode
from dgm.sampling.decoder_target import DecoderTarget, Distortion, prepared
from dgm.sampling.hmc import draw, make_generators
from dgm.sampling.pilot import SamplerOptions, check_options, pilot_run
from dgm.sampling.priors import CodeSpace

Simulator = Callable[[Tensor, float, Any], Tensor]  # the last a torch.Generator


class BDMC(NamedTuple):
    """Bounds of log Z on data simulated from the model, equation (1), nats."""

    lower: Tensor  # (N,)
    upper: Tensor  # (N,)
    gap: float  # mean of upper - lower
    standard_error: float  # of the gap, over images


def bdmc_gap(
    decoder: Callable[[Tensor], Any],
    *,
    latent_dim: int,
    beta: float,
    n_images: int = 16,
    n_chains: int = 16,
    n_temperatures: int = 1000,
    seed: int = 0,
    n_leapfrog: int = 10,
    prior: Any = None,
    distortion: str | Distortion = "squared_error",
    simulate: Simulator | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    progress: bool = True,
    options: SamplerOptions = SamplerOptions(),  # noqa: B008 (immutable)
) -> BDMC:
    """How far the annealing is from the truth at one beta, by bidirectional Monte Carlo.

    Codes z* of the prior give images f(z*) + N(0, I / (2 beta)), for which z* is an exact sample of
    q_beta. The gap limits the excess of the rate in expectation, on data like these.

    Arguments are those of `rate_distortion_curve`; n_images (N) are simulated, and n_chains per
    image take n_temperatures steps each way. With another distortion d goes simulate(means (N, P),
    beta, generator) -> images (N, P) with the density exp(-beta d(x, mean)) / C, the same C for
    every mean. ValueError for what `rate_distortion_curve` refuses, under two images, or a missing
    `simulate`.
    """
    betas, steps = check_betas([beta]), [count(n_temperatures, "n_temperatures")]
    n_images, n_leapfrog = count(n_images, "n_images", 2), count(n_leapfrog, "n_leapfrog")
    n_chains, latent_dim = count(n_chains, "n_chains"), count(latent_dim, "latent_dim")
    check_options(options, n_chains)
    if distortion != "squared_error" and simulate is None:
        want = "draws images with a density proportional to exp(-beta d(x, mean))"
        only = "bdmc_gap knows the noise of the squared error only: with another distortion d"
        raise ValueError(f"{only} give simulate=, which {want}")
    rows = n_chains * n_images
    with prepared(decoder, device, precision, latent_dim, rows) as (decoder, like):
        generator, pilot_generator = make_generators(count(seed, "seed", None), 1, like["device"])
        space = CodeSpace(prior, latent_dim, **like)
        true_position = space.sample(n_images, generator)
        mean = decode(decoder, space.codes(true_position)).flatten(1)
        if simulate is None:  # the noise of which the squared error is the energy
            noise = draw(torch.randn, mean.shape, generator, **{**like, "dtype": mean.dtype})
            x = mean + noise / math.sqrt(2 * float(beta))
        else:
            x = simulate(mean, float(beta), generator).to(mean)
        if x.shape != mean.shape:
            raise ValueError(f"simulate must return {tuple(mean.shape)}, got {tuple(x.shape)}")
        forces = options.force_precision
        target = DecoderTarget(decoder, x, latent_dim, n_chains, prior, distortion, forces)
        kernel = target.kernel(n_leapfrog, options.jitter, options.compile)
        state, scale = target.first_chains(generator, simulated=True)
        scale = options.scale or scale
        bar_options = {"unit": "step", "disable": not progress, "leave": False}
        with progress_bar(total=2 * n_temperatures, **bar_options) as bar:
            tuned = target, betas, steps, scale, kernel, pilot_generator
            table = pilot_run(*tuned, bar, mass=options.mass)
            ladder = schedules.temperatures(options.schedule, betas, steps, scale, table)
            shared = ladder, table.at(ladder[1:]).to(like["device"]), n_leapfrog, generator, kernel
            forward = anneal(target, state, *shared)
            bar.update(n_temperatures)
            state = start(target, true_position.repeat(n_chains, 1))  # exact samples
            backward = reverse_anneal(target, state, *shared)
            bar.update(n_temperatures)
        lower = log_mean_weight(forward.log_weight, n_images).cpu()
        upper = -log_mean_weight(backward.log_weight, n_images).cpu()
        gap = upper - lower
    return BDMC(lower, upper, float(gap.mean()), float(gap.std()) / math.sqrt(n_images))
