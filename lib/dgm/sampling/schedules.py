"""Schedules of inverse temperature, (T + 1,) float64 betas from 0, and of step sizes along them."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.sampling.decoder_checks import counts

SCHEDULES = ("default", "adaptive", "sigmoid")
RADIUS = 10.0  # of the sigmoid
MOST_ROWS = 1024  # of step sizes at once, so that memory does not grow with the temperatures
linspace = partial(torch.linspace, dtype=torch.float64, device="cpu")


class StepSizes(NamedTuple):
    """Frozen leapfrog step sizes per image, at K inverse temperatures."""

    beta: Tensor  # (K,) ascending
    step_size: Tensor  # (K, N)
    axis_scale: Tensor | None = None  # (K, N, D) of the step sizes of the axes; None: all are equal
    energy_variance: Tensor | None = None  # (K,) Var_beta(d), its mean over images

    def at(self, betas: Tensor) -> Tensor:
        """Step sizes (T, N) or (T, N, D) at betas (T,): log-linear in log beta, constant beyond."""
        scale = self.axis_scale
        step = self.step_size if scale is None else self.step_size[..., None] * scale
        if len(self.beta) == 1:
            return step.expand(len(betas), *step.shape[1:])
        knots, where = self.beta.log(), betas.log()
        right = torch.searchsorted(knots, where).clamp(1, len(knots) - 1)
        span = (knots[right] - knots[right - 1]).clamp(min=1e-12)
        t = ((where - knots[right - 1]) / span).clamp(0, 1).view(-1, *[1] * (step.ndim - 1))
        log_step = step.log()
        return torch.exp((1 - t) * log_step[right - 1] + t * log_step[right])

    def along(self, betas: Tensor, device: torch.device) -> Iterator[tuple[float, Tensor]]:
        """Pairs of a beta (T,) and its step sizes on the device, for `annealed_run`."""
        table = self.to(device)
        for block in betas.split(MOST_ROWS):
            yield from zip(block.tolist(), table.at(block.to(device)), strict=True)

    def to(self, *where: Any) -> "StepSizes":
        """The same table on a device, in a dtype."""
        fields = {name: t.to(*where) for name, t in self._asdict().items() if t is not None}
        return StepSizes(**fields)


def temperatures(
    schedule: str, betas: Tensor, steps: Sequence[int], scale: float, table: StepSizes
) -> Tensor:
    """The schedule (T + 1,) of a name through recorded betas (R,), T the sum of the steps (R,)."""
    if schedule == "sigmoid":
        return sigmoid_through(betas, sum(steps))
    if schedule == "adaptive" and table.energy_variance is not None:
        return equal_length(betas, sum(steps), table.beta, table.energy_variance)
    return through(betas, steps, scale)


def sigmoid(n_temperatures: int, beta_max: float) -> Tensor:
    """The paper's schedule: a sigmoid on [-10, 10], rescaled to [0, beta_max]; (T + 1,)."""
    _check(n_temperatures, beta_max)
    curve = linspace(-RADIUS, RADIUS, n_temperatures + 1).sigmoid()
    betas = beta_max * (curve - curve[0]) / (curve[-1] - curve[0])
    betas[-1] = beta_max
    return betas


def log_spaced(n_temperatures: int, beta_min: float, beta_max: float) -> Tensor:
    """0, then T betas equally spaced in log beta from beta_min to beta_max; (T + 1,)."""
    _check(n_temperatures, beta_max)
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"beta_min must lie in (0, beta_max={beta_max}], got {beta_min}")
    betas = linspace(math.log(beta_min), math.log(beta_max), n_temperatures).exp()
    betas[-1] = beta_max
    return torch.cat([betas.new_zeros(1), betas])


def through(recorded: Tensor, steps: Sequence[int], scale: float) -> Tensor:
    """Equal steps in asinh(beta / scale) between recorded betas (R,), `steps` to each; (T + 1,)."""
    warped = torch.asinh(recorded.double().cpu() / scale)
    return _pieces(recorded, steps, warped, lambda w: scale * torch.sinh(w))


def sigmoid_through(recorded: Tensor, total: int) -> Tensor:
    """The sigmoid schedule, bent to pass through the recorded betas (R,); (total + 1,)."""
    recorded = recorded.double().cpu()
    first, last = linspace(-RADIUS, RADIUS, 2).sigmoid()
    warped = torch.logit(first + recorded / recorded[-1] * (last - first)) + RADIUS

    def unwarp(position: Tensor) -> Tensor:
        return recorded[-1] * ((position - RADIUS).sigmoid() - first) / (last - first)

    return _pieces(recorded, total, warped, unwarp)


def equal_length(recorded: Tensor, total: int, beta: Tensor, variance: Tensor) -> Tensor:
    """Steps of equal thermodynamic length sqrt(Var E) d beta through recorded betas; (total + 1,).

    Summed by trapezia in log beta between the K >= 2 betas (K,) at which the variance (K,) is
    known; below them that is taken as constant, above them it falls as 1 / beta^2.
    """
    recorded, beta = recorded.double().cpu(), beta.double().cpu()
    speed = variance.double().cpu().clamp(min=1e-30).sqrt() * beta  # d length / d log beta
    log_beta = beta.log()
    steps = torch.diff(log_beta) * (speed[1:] + speed[:-1]) / 2
    length = speed[0] + torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    def unwarp(where: Tensor) -> Tensor:
        inside = _interpolate(where, length, log_beta).exp()
        beyond = beta[-1] * ((where - length[-1]) / speed[-1]).exp()
        inside = torch.where(where > length[-1], beyond, inside)
        return torch.where(where < length[0], beta[0] * where / speed[0], inside)

    warped = _interpolate(recorded.log(), log_beta, length)
    beyond = length[-1] + speed[-1] * (recorded / beta[-1]).log()
    warped = torch.where(recorded > beta[-1], beyond, warped)
    warped = torch.where(recorded < beta[0], speed[0] * recorded / beta[0], warped)
    return _pieces(recorded, total, warped, unwarp)


def log_weight_variance(betas: Tensor, beta: Tensor, variance: Tensor) -> float:
    """Var(log w) of chains that mix at once: the sum of Var(E) (d beta)^2 over betas (T + 1,)."""
    betas, beta, variance = (t.double().cpu() for t in (betas, beta, variance))
    log_beta, where = beta.log(), betas[:-1].clamp(min=float(beta[0])).log()
    logs = _interpolate(where.clamp(max=float(log_beta[-1])), log_beta, variance.log())
    beyond = (where - log_beta[-1]).clamp(min=0)
    return float(((logs - 2 * beyond).exp() * betas.diff().square()).sum())


def steps_per_beta(
    given: int | Sequence[int] | None, betas: Tensor, scale: float, latent_dim: int
) -> list[int]:
    """Steps before each recorded beta (R,): a number or R; None keeps Var(log w) near 1/4."""
    if given is None:
        warped = torch.asinh(betas / scale)
        density = 2.0 * max(latent_dim, 8) * float(warped[-1])
        lengths = warped.diff(prepend=warped.new_zeros(1))
        return [max(1, math.ceil(density * float(length))) for length in lengths]
    steps = counts(given, "temperatures_per_beta")
    steps = [steps] * len(betas) if isinstance(steps, int) else steps
    if len(steps) != len(betas):
        want = f"one number, or {len(betas)} of them"
        raise ValueError(f"temperatures_per_beta must be {want}, got {given}")
    return steps


def _pieces(
    recorded: Tensor, steps: int | Sequence[int], warped: Tensor, unwarp: Callable[[Tensor], Tensor]
) -> Tensor:
    """Equal steps in a warped coordinate that is 0 at beta = 0; a total is divided by lengths."""
    if isinstance(steps, int):
        lengths, total = warped.diff(prepend=warped.new_zeros(1)), steps
        if total < len(lengths):
            needed = f"{len(lengths)} recorded betas need at least as many temperatures"
            raise ValueError(f"{needed}, got {total}")
        ideal = total * lengths / lengths.sum()
        allocated = ideal.floor().clamp(min=1)
        while (missing := total - int(allocated.sum())) != 0:
            lacking = ideal - allocated
            if missing < 0:
                lacking[allocated == 1] = math.inf
            order = lacking.argsort(descending=missing > 0)[: abs(missing)]
            order = order[lacking[order].isfinite()]
            allocated[order] += math.copysign(1, missing)
        steps = [int(n) for n in allocated]
    pieces, edges = [warped.new_zeros(1)], [0.0, *warped.tolist()]
    for i, n_steps in enumerate(steps):
        piece = unwarp(linspace(edges[i], edges[i + 1], n_steps + 1))
        piece[-1] = recorded[i]
        pieces.append(piece[1:])
    return torch.cat(pieces)


def _interpolate(where: Tensor, x: Tensor, y: Tensor) -> Tensor:
    right = torch.searchsorted(x, where).clamp(1, len(x) - 1)
    t = (where - x[right - 1]) / (x[right] - x[right - 1])
    return y[right - 1] + t * (y[right] - y[right - 1])


def _check(n_temperatures: int, beta_max: float) -> None:
    if n_temperatures < 1 or not 0 < beta_max < math.inf:
        got = f"got {n_temperatures} and {beta_max}"
        raise ValueError(f"want one temperature or more, a positive, finite beta_max, {got}")
