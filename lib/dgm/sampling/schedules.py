"""Schedules of inverse temperature: how the annealing walks from beta = 0 to where it ends.

A schedule is a float64 tensor of T + 1 ascending betas that starts at 0.

References:
    Grosse, Maddison, Salakhutdinov, Annealing between distributions, NeurIPS 2013.
    Huang et al., ICML 2020 (the sigmoid schedule, radius 10).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def sigmoid(n_temperatures: int, beta_max: float, radius: float = 10.0) -> Tensor:
    """The paper's schedule: a sigmoid on [-radius, radius], rescaled to [0, beta_max]; (T + 1,)."""
    _check(n_temperatures, beta_max)
    curve = torch.linspace(-radius, radius, n_temperatures + 1, dtype=torch.float64).sigmoid()
    betas = beta_max * (curve - curve[0]) / (curve[-1] - curve[0])
    betas[-1] = beta_max
    return betas


def log_spaced(n_temperatures: int, beta_min: float, beta_max: float) -> Tensor:
    """0, then T betas equally spaced in log beta from beta_min to beta_max; (T + 1,).

    Where the posterior is close to a Gaussian, Var(E) falls as 1 / beta^2, and equal steps in
    log beta are equal steps in thermodynamic length.
    """
    _check(n_temperatures, beta_max)
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"beta_min must lie in (0, beta_max={beta_max}], got {beta_min}")
    exponents = torch.linspace(
        math.log(beta_min), math.log(beta_max), n_temperatures, dtype=torch.float64
    )
    betas = torch.cat([torch.zeros(1, dtype=torch.float64), exponents.exp()])
    betas[-1] = beta_max
    return betas


def through(recorded: Tensor, counts: Sequence[int], scale: float) -> Tensor:
    """A schedule from 0 that passes exactly through the recorded betas.

    Between two recorded betas the steps are equal in asinh(beta / scale): linear while
    beta is far below `scale`, logarithmic far above it.

    Args:
        recorded: (R,) ascending betas above 0.
        counts: R numbers of steps, from the previous recorded beta (the first from 0).
        scale: beta at which the prior's energies start to matter, about 1 / sd of the energy.

    Returns:
        (sum(counts) + 1,) betas.
    """
    recorded = recorded.double().cpu()
    warped = torch.cat([recorded.new_zeros(1), torch.asinh(recorded / scale)])
    pieces = [recorded.new_zeros(1)]
    for i, count in enumerate(counts):
        piece = scale * torch.sinh(
            torch.linspace(float(warped[i]), float(warped[i + 1]), count + 1, dtype=torch.float64)
        )
        piece[-1] = recorded[i]
        pieces.append(piece[1:])
    return torch.cat(pieces)


def default_counts(recorded: Tensor, scale: float, latent_dim: int) -> list[int]:
    """Steps before each recorded beta that hold the variance of a log-weight near 1/4 nat^2.

    Near a Gaussian posterior Var(log w) is about D L^2 / (2 T) with L the length of the path in
    asinh(beta / scale), so T = 2 D L^2; at least 8 dimensions are assumed, since a decoder is not linear.
    """
    warped = torch.asinh(recorded.double().cpu() / scale)
    lengths = torch.diff(warped, prepend=warped.new_zeros(1))
    density = 2.0 * max(latent_dim, 8) * float(warped[-1])
    return [max(1, math.ceil(density * float(length))) for length in lengths]


def _check(n_temperatures: int, beta_max: float) -> None:
    if n_temperatures < 1:
        raise ValueError(f"a schedule needs at least one temperature, got {n_temperatures}")
    if not (math.isfinite(beta_max) and beta_max > 0):
        raise ValueError(f"beta_max must be positive and finite, got {beta_max}")
