"""Linear systems with Gaussian noise of known likelihood: the truth that no model may beat."""

import math
from collections import namedtuple
from typing import Any, NamedTuple

import torch
from torch import Tensor

_Walk = namedtuple("_Walk", "z")  # (R,), of particles; that before the first step is not used


class LinearGaussian(NamedTuple):
    """z_1 ~ N(0, first), z_t = a z_{t-1} + N(0, q), x_t = z_t + N(0, r), with these variances."""

    a: float = 0.9
    q: float = 0.5
    r: float = 0.3
    first: float = 1.0

    def filter(self, x: Tensor) -> tuple[float, Tensor, Tensor]:
        """log p(x (T,)) in nats, and mean and deviation of each z, (T,), by Kalman's filter."""
        mean, variance, log_p, moments = 0.0, self.first, 0.0, []
        for value in x.tolist():
            total = variance + self.r
            log_p -= 0.5 * (math.log(2 * math.pi * total) + (value - mean) ** 2 / total)
            gain = variance / total
            mean, variance = mean + gain * (value - mean), (1 - gain) * variance
            moments.append((mean, math.sqrt(variance)))
            mean, variance = self.a * mean, self.a**2 * variance + self.q
        means, deviations = torch.tensor(moments, dtype=torch.float64).T
        return log_p, means, deviations

    def init(self, rows: int, generator: torch.Generator | None) -> _Walk:
        """The state before the first step."""
        return _Walk(torch.zeros(rows, dtype=torch.float64, device=generator and generator.device))

    def step(
        self, state: Any, x_t: Tensor, t: int, generator: torch.Generator | None, noise: Any = None
    ) -> tuple[_Walk, Tensor]:
        """Moves particles to step t by noise (R,), None draws it; and log p(x_t (R, 1) | z_t)."""
        if noise is None:
            options = {"dtype": state.z.dtype, "device": state.z.device}
            noise = torch.randn(state.z.shape, generator=generator, **options)
        z = self.a * state.z + math.sqrt(self.q) * noise if t else math.sqrt(self.first) * noise
        log_alpha = -0.5 * ((x_t[:, 0] - z) ** 2 / self.r + math.log(2 * math.pi * self.r))
        return _Walk(z), log_alpha


class _Oracle(NamedTuple):
    """Exact Bayes about x_t = W x_{t-1} + sigma_t e_t; nats."""

    log_likelihood: Tensor  # (B,)
    per_step: Tensor  # (B, T), of each x_t given those before it
    posterior: Tensor  # (B, T, K), of which W it is, given the steps up to this one


@torch.no_grad()
def oracle(
    x: Tensor, matrices: Tensor, deviations: tuple[float, ...] = (0.25, 1.0, 4.0), switches: int = 2
) -> _Oracle:
    """What the law x_t = W x_{t-1} + sigma_t e_t alone says of sequences (B, T, 2), float64, CPU.

    x_0 is uniform on [-1, 1]^2, W one of K matrices (K, 2, 2) for the whole sequence, and sigma
    changes to one of the others at exactly `switches` steps out of 1..T-1, all sets of steps alike.
    ValueError for shapes that do not fit, or fewer steps than switches.
    """
    if x.ndim != 3 or x.shape[-1] != 2 or matrices.ndim != 3 or matrices.shape[1:] != (2, 2):
        shapes = f"{tuple(x.shape)} and {tuple(matrices.shape)}"
        raise ValueError(f"want x (B, T, 2) and matrices (K, 2, 2), got {shapes}")
    n, n_steps = x.shape[:2]
    if not 0 <= switches < n_steps:
        raise ValueError(f"{switches} switches do not fit in {n_steps} steps")
    x, matrices = x.double(), matrices.to(x.device, torch.float64)
    sigma = torch.tensor(deviations, dtype=torch.float64, device=x.device)
    k, s = len(matrices), len(sigma)
    used = torch.arange(switches + 1, device=x.device)
    # log p(x up to now, W, changes so far, sigma)
    joint = x.new_full((n, k, switches + 1, s), -math.inf)
    joint[:, :, 0] = -math.log(4 * k * s)
    totals, posteriors = [], []
    elsewhere = (~torch.eye(s, dtype=torch.bool, device=x.device)).double().log()
    for t in range(n_steps):
        if t:
            change = (switches - used).double().clamp(max=n_steps - t) / (n_steps - t)
            stay = joint + (1 - change).log()[:, None]
            leave = joint + change.log()[:, None] - math.log(max(s - 1, 1))
            leave = (leave[..., :, None] + elsewhere).logsumexp(-2)
            arrive = torch.full_like(joint, -math.inf)
            arrive[:, :, 1:] = leave[:, :, :-1]
            step = x[:, t, None] - torch.einsum("kij,bj->bki", matrices, x[:, t - 1])
            squares = (step**2).sum(-1)[..., None] / sigma**2
            density = -0.5 * squares - 2 * sigma.log() - math.log(2 * math.pi)
            joint = torch.logaddexp(stay, arrive) + density[:, :, None]
        by_matrix = joint.flatten(2).logsumexp(-1)
        totals.append(by_matrix.logsumexp(-1))
        posteriors.append(by_matrix.softmax(-1))
    total = torch.stack(totals, 1)
    per_step = torch.cat([total[:, :1], total.diff(dim=1)], 1)
    return _Oracle(total[:, -1].cpu(), per_step.cpu(), torch.stack(posteriors, 1).cpu())


def oracle_log_likelihood(x: Tensor, matrices: Tensor, *rest: Any, **options: Any) -> Tensor:
    """`oracle`'s log-likelihood (B,) alone, nats."""
    return oracle(x, matrices, *rest, **options).log_likelihood
