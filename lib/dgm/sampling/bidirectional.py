"""Bidirectional Monte Carlo: how far an annealing run is from the truth, on images from the model.

Forward annealing bounds log Z from below in expectation; annealing in reverse, from the code that made
the image, bounds it from above:

    E log Z_forward  <=  log Z  <=  E log Z_reverse                                     (1)

References:
    Grosse, Ghahramani, Adams, Sandwiching the marginal likelihood (BDMC), 2015.
    Huang, Makhzani, Cao, Grosse, Evaluating Lossy Compression Rates, ICML 2020.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dgm.progress import progress_bar
from dgm.sampling import schedules
from dgm.sampling.annealing import anneal, log_mean_weight, reverse_anneal, start
from dgm.sampling.decoder_target import DecoderTarget, check_betas, decode, energy_scale, prepared
from dgm.sampling.hmc import JITTER, streams
from dgm.sampling.pilot import check_settings, pilot_counts, pilot_run


class BDMC(NamedTuple):
    """Bounds of log Z on data simulated from the model, equation (1), nats."""

    lower: Tensor  # (N,)
    upper: Tensor  # (N,)
    gap: float  # mean of upper - lower
    standard_error: float  # of the gap, over images
    log_z: Tensor | None = None  # (N,) exact, where a closed form was given


def bdmc_gap(
    decoder: nn.Module,
    *,
    latent_dim: int,
    beta: float,
    n_images: int = 16,
    n_chains: int = 16,
    n_temperatures: int = 1000,
    seed: int = 0,
    n_leapfrog: int = 10,
    exact: Callable[[Tensor], Tensor] | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    force_precision: str = "same",
    mass: str = "unit",
    jitter: float = JITTER,
    compile: bool = False,
    progress: bool = True,
) -> BDMC:
    """How far the annealing is from the truth at one beta, by bidirectional Monte Carlo.

    Codes z* ~ N(0, I) give images f(z*) + N(0, I / (2 beta)), for which z* is an exact sample of
    q_beta. The gap limits the excess of the rate in expectation, on data like these.

    Args:
        decoder: maps codes (C, D) to images (C, ...).
        latent_dim: D.
        beta: inverse temperature.
        n_images: simulated images.
        n_chains: chains an image, each way.
        n_temperatures: annealing steps each way.
        seed: of images and chains.
        n_leapfrog: leapfrog steps a transition.
        exact: images (N, P) -> log Z (N,), kept beside the bounds where it is known.
        device: None: where the decoder is.
        precision: as in `rate_distortion_curve`.
        force_precision: as in `rate_distortion_curve`.
        mass: as in `rate_distortion_curve`.
        jitter: as in `rate_distortion_curve`.
        compile: as in `rate_distortion_curve`.
        progress: show a bar.

    Returns:
        Lower and upper bounds an image, their mean gap and its standard error over images.
    """
    recorded = check_betas([beta])
    if n_images < 2:
        raise ValueError(f"a standard error needs at least two images, got n_images={n_images}")
    if n_temperatures < 1:
        raise ValueError(f"n_temperatures must be at least 1, got {n_temperatures}")
    check_settings(n_leapfrog, "default", mass, jitter, n_chains, None, None)
    with prepared(decoder, device, precision) as (decoder, options):
        run, tuning = (streams(seed, n_images, options["device"], part) for part in (0, 1))
        true_code = torch.randn(n_images, latent_dim, generator=run, **options)
        mean = decode(decoder, true_code).flatten(1)
        x = mean + torch.randn(mean.shape, generator=run, **options) / math.sqrt(2 * beta)
        problem = DecoderTarget(decoder, x, latent_dim, n_chains, force_precision=force_precision)
        move = problem.move(jitter, compile)
        position = problem.sample_prior(run)
        problem.check(position, simulated=True)
        forward = start(problem.target, position)
        scale = energy_scale(forward.chain.energy, n_images)
        counts = [n_temperatures]
        total = sum(pilot_counts(counts)) + 2 * n_temperatures
        with progress_bar(total=total, unit="step", disable=not progress, leave=False) as bar:
            table = pilot_run(
                problem, recorded, counts, scale, n_leapfrog, tuning, move, bar,
                diagonal_mass=mass == "diagonal",
            )  # fmt: skip
            schedule = schedules.through(recorded, counts, scale)
            steps = table.at(schedule[1:]).to(options["device"])
            forward = anneal(problem.target, forward, schedule, steps, n_leapfrog, run, move)
            bar.update(n_temperatures)
            backward = start(problem.target, true_code.repeat(n_chains, 1))
            backward = reverse_anneal(
                problem.target, backward, schedule, steps, n_leapfrog, run, move
            )
            bar.update(n_temperatures)
    lower = log_mean_weight(forward.log_weight, n_images).cpu()
    upper = -log_mean_weight(backward.log_weight, n_images).cpu()
    gap = upper - lower
    log_z = None if exact is None else exact(x).to("cpu", torch.float64)
    return BDMC(lower, upper, float(gap.mean()), float(gap.std()) / math.sqrt(n_images), log_z)
