"""Exact Bayes about a linear system whose noise changes: the truth that no model may beat.

Where x is all that there is to see, the law of x_t = W x_{t-1} + sigma_t e_t, with W one of a few
matrices and sigma_t one of a few deviations, is a sum over few pasts.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Oracle(NamedTuple):
    """Exact Bayes about x_t = W x_{t-1} + sigma_t e_t; nats."""

    log_likelihood: Tensor  # (B,)
    per_step: Tensor  # (B, T), of each x_t given those before it
    posterior: Tensor  # (B, T, K), of which W it is, given the steps up to this one


@torch.no_grad()
def oracle(
    x: Tensor, matrices: Tensor, deviations: tuple[float, ...] = (0.25, 1.0, 4.0), switches: int = 2
) -> Oracle:
    """What the law alone, without W and sigma_t, says of sequences (B, T, 2).

    x_0 is uniform on [-1, 1]^2, W one of K matrices (K, 2, 2) for the whole sequence, and sigma
    changes to one of the others at exactly `switches` steps out of 1..T-1, all sets of steps alike.
    The sum over pasts runs forward over how many changes there were and which sigma it is now.

    Raises:
        ValueError: shapes that do not fit, or fewer steps than switches.
    """
    if x.ndim != 3 or x.shape[-1] != 2 or matrices.ndim != 3 or matrices.shape[1:] != (2, 2):
        raise ValueError(
            f"want x (B, T, 2) and matrices (K, 2, 2), got {tuple(x.shape)} and "
            f"{tuple(matrices.shape)}"
        )
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
    return Oracle(total[:, -1].cpu(), per_step.cpu(), torch.stack(posteriors, 1).cpu())


def oracle_log_likelihood(
    x: Tensor, matrices: Tensor, deviations: tuple[float, ...] = (0.25, 1.0, 4.0), switches: int = 2
) -> Tensor:
    """`oracle`'s log-likelihood (B,) alone, float64."""
    return oracle(x, matrices, deviations, switches).log_likelihood


@torch.no_grad()
def hazard_filter(
    x: Tensor, matrices: Tensor, deviations: tuple[float, ...], hazard: float
) -> tuple[Tensor, Tensor]:
    """Exact Bayes of one sequence (T, 2) whose W and sigma each change with a probability per step.

    A change is to any other value alike; all of the first step is as for `oracle`.

    Returns:
        The posterior (T, K) of which W it is, given the steps up to this one, and the log-density
        (T,) of each x given those before it, nats.
    """
    sigma = torch.tensor(deviations, dtype=torch.float64)
    n_matrices, n_sigmas = len(matrices), len(sigma)

    def changes(n: int) -> Tensor:
        if n < 2:
            return torch.ones(1, 1, dtype=torch.float64)
        change = torch.full((n, n), hazard / (n - 1), dtype=torch.float64)
        return change.fill_diagonal_(1 - hazard)

    log_p = sigma.new_full((n_matrices, n_sigmas), -math.log(n_matrices * n_sigmas))
    posteriors, per_step = [log_p.exp().sum(1)], [-math.log(4)]
    for before, now in zip(x[:-1].double(), x[1:].double(), strict=True):
        p = changes(n_matrices) @ log_p.exp() @ changes(n_sigmas)
        squares = (now - matrices.double() @ before).square().sum(1)
        density = -0.5 * squares[:, None] / sigma**2 - (2 * math.pi * sigma**2).log()
        log_p = p.log() + density
        per_step.append(float(log_p.logsumexp((0, 1))))
        log_p = log_p - per_step[-1]
        posteriors.append(log_p.exp().sum(1))
    return torch.stack(posteriors), torch.tensor(per_step, dtype=torch.float64)
