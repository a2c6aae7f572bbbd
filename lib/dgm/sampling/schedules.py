"""Schedules of inverse temperature: how the annealing walks from beta = 0 to where it ends.

A schedule is a float64 tensor of T + 1 ascending betas that starts at 0.

References:
    Grosse, Maddison, Salakhutdinov, Annealing between distributions, NeurIPS 2013.
    Huang et al., ICML 2020 (the sigmoid schedule, radius 10).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def sigmoid(n_temperatures: int, beta_max: float, radius: float = 10.0) -> Tensor:
    """The paper's schedule: a sigmoid on [-radius, radius], rescaled to [0, beta_max]; (T + 1,)."""
    _check(n_temperatures, beta_max)
    curve = torch.linspace(
        -radius, radius, n_temperatures + 1, dtype=torch.float64, device="cpu"
    ).sigmoid()
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
        math.log(beta_min), math.log(beta_max), n_temperatures, dtype=torch.float64, device="cpu"
    )
    betas = torch.cat([torch.zeros(1, dtype=torch.float64, device="cpu"), exponents.exp()])
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
    warped = torch.asinh(recorded.double().cpu() / scale)
    return _pieces(recorded, counts, warped, lambda w: scale * torch.sinh(w))


def sigmoid_through(recorded: Tensor, total: int, radius: float = 10.0) -> Tensor:
    """The paper's sigmoid schedule to recorded[-1], made to pass exactly through the recorded betas.

    Each stretch between two recorded betas gets the share of the steps that the plain sigmoid gives it.

    Args:
        recorded: (R,) ascending betas above 0.
        total: number of steps, at least R.
        radius: of the sigmoid.

    Returns:
        (total + 1,) betas.
    """
    recorded = recorded.double().cpu()
    _check(total, float(recorded[-1]))
    first, last = torch.tensor([-radius, radius], dtype=torch.float64, device="cpu").sigmoid()
    warped = torch.logit(first + recorded / recorded[-1] * (last - first)) + radius

    def unwarp(position: Tensor) -> Tensor:
        return recorded[-1] * ((position - radius).sigmoid() - first) / (last - first)

    return _pieces(recorded, share(_lengths(warped), total), warped, unwarp)


def equal_length(recorded: Tensor, total: int, beta: Tensor, variance: Tensor) -> Tensor:
    """A schedule of equal thermodynamic length sqrt(Var E) d beta through the recorded betas.

    Var(log w) is about the sum of Var(E) (d beta)^2, which is least for equal steps of that length. It
    is summed by trapezia in log beta between the K betas at which the variance is known; the variance
    is taken as constant below the first and falls as 1 / beta^2 above the last.

    Args:
        recorded: (R,) ascending betas above 0.
        total: number of steps, at least R.
        beta: (K,) ascending betas above 0 of a pilot run, K at least 2.
        variance: (K,) Var(E) there, its mean over problems.

    Returns:
        (total + 1,) betas.
    """
    recorded, beta = recorded.double().cpu(), beta.double().cpu()
    _check(total, float(recorded[-1]))
    speed = variance.double().cpu().clamp(min=1e-30).sqrt() * beta  # d length / d log beta
    log_beta = beta.log()
    steps = torch.diff(log_beta) * (speed[1:] + speed[:-1]) / 2
    length = speed[0] + torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    def to_length(where: Tensor) -> Tensor:
        inside = _interpolate(where.log(), log_beta, length)
        beyond = length[-1] + speed[-1] * (where / beta[-1]).log()
        below = speed[0] * where / beta[0]
        return torch.where(where < beta[0], below, torch.where(where > beta[-1], beyond, inside))

    def to_beta(where: Tensor) -> Tensor:
        inside = _interpolate(where, length, log_beta).exp()
        beyond = beta[-1] * ((where - length[-1]) / speed[-1]).exp()
        below = beta[0] * where / speed[0]
        return torch.where(
            where < length[0], below, torch.where(where > length[-1], beyond, inside)
        )

    warped = to_length(recorded)
    return _pieces(recorded, share(_lengths(warped), total), warped, to_beta)


def log_weight_variance(betas: Tensor, beta: Tensor, variance: Tensor) -> float:
    """Var(log w) along a schedule of chains that mix at once: the sum of Var(E) (d beta)^2, nats^2.

    Each step weighs by the energy of an exact sample of the temperature before it, independent of the
    others. Real chains have more, since they remember.

    Args:
        betas: (T + 1,) a schedule.
        beta: (K,) ascending betas above 0, K at least 2.
        variance: (K,) Var(E) there, continued as in `equal_length`.
    """
    beta, left = beta.double().cpu(), betas[:-1].double().cpu()
    where = left.clamp(min=float(beta[0])).log()
    logs = _interpolate(
        where.clamp(max=float(beta[-1].log())), beta.log(), variance.double().cpu().log()
    )
    beyond = (where - beta[-1].log()).clamp(min=0)
    return float(((logs - 2 * beyond).exp() * betas.double().cpu().diff().square()).sum())


def share(lengths: Tensor, total: int) -> list[int]:
    """Divide `total` steps over R stretches in proportion to their lengths, at least one each.

    Raises:
        ValueError: fewer steps than stretches.
    """
    if total < len(lengths):
        raise ValueError(
            f"{len(lengths)} recorded betas need at least as many temperatures, got {total}"
        )
    ideal = total * lengths / lengths.sum()
    counts = ideal.floor().clamp(min=1)
    while (missing := total - int(counts.sum())) != 0:
        lacking = ideal - counts
        if missing < 0:
            lacking[counts == 1] = math.inf
        order = lacking.argsort(descending=missing > 0)[: abs(missing)]
        order = order[lacking[order].isfinite()]
        counts[order] += math.copysign(1, missing)
    return [int(count) for count in counts]


def default_counts(recorded: Tensor, scale: float, latent_dim: int) -> list[int]:
    """Steps before each recorded beta that hold the variance of a log-weight near 1/4 nat^2.

    Near a Gaussian posterior Var(log w) is about D L^2 / (2 T) with L the length of the path in
    asinh(beta / scale), so T = 2 D L^2; at least 8 dimensions are assumed, since a decoder is not linear.
    """
    warped = torch.asinh(recorded.double().cpu() / scale)
    density = 2.0 * max(latent_dim, 8) * float(warped[-1])
    return [max(1, math.ceil(density * float(length))) for length in _lengths(warped)]


def _lengths(warped: Tensor) -> Tensor:
    """Of the stretches that end at the recorded betas, (R,)."""
    return torch.diff(warped, prepend=warped.new_zeros(1))


def _pieces(
    recorded: Tensor, counts: Sequence[int], warped: Tensor, unwarp: Callable[[Tensor], Tensor]
) -> Tensor:
    """Equal steps in a warped coordinate that is 0 at beta = 0, stretch by stretch."""
    edges = torch.cat([warped.new_zeros(1), warped]).tolist()
    pieces = [warped.new_zeros(1)]
    for i, count in enumerate(counts):
        piece = unwarp(
            torch.linspace(edges[i], edges[i + 1], count + 1, dtype=torch.float64, device="cpu")
        )
        piece[-1] = recorded[i]
        pieces.append(piece[1:])
    return torch.cat(pieces)


def _interpolate(where: Tensor, x: Tensor, y: Tensor) -> Tensor:
    right = torch.searchsorted(x, where).clamp(1, len(x) - 1)
    t = (where - x[right - 1]) / (x[right] - x[right - 1])
    return y[right - 1] + t * (y[right] - y[right - 1])


def _check(n_temperatures: int, beta_max: float) -> None:
    if n_temperatures < 1:
        raise ValueError(f"a schedule needs at least one temperature, got {n_temperatures}")
    if not (math.isfinite(beta_max) and beta_max > 0):
        raise ValueError(f"beta_max must be positive and finite, got {beta_max}")
