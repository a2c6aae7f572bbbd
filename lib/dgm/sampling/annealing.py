"""Annealed importance sampling, forward from the prior and in reverse from an exact sample.

Going up from beta_{j-1} to beta_j, before the transition at beta_j,

    log w  <-  log w - (beta_j - beta_{j-1}) E(z),                                      (1)

so that the mean of w at any stop is an unbiased estimate of Z(beta_j) / Z(0). Going down from an
exact sample of pi_beta the sign turns, and the mean of w estimates Z(0) / Z(beta): its negative log
is an upper bound of log Z in expectation, as the forward log-mean is a lower one.

Chains of several problems (images) run side by side, chain-major: row = chain * N + problem.

References:
    Neal, Annealed importance sampling, 2001.
    Grosse, Ghahramani, Adams, Sandwiching the marginal likelihood (BDMC), 2015.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from dgm.sampling.decoder_checks import own_context
from dgm.sampling.hmc import HMCState, Randomness, Target, Transition, transition

Move = Callable[..., Transition]  # called as `transition` is
STEP_SIZE_RANGE = (1e-6, 0.5)


class AnnealingState(NamedTuple):
    """C chains, their log-weights and the sum of their acceptance probabilities so far."""

    chain: HMCState
    log_weight: Tensor  # (C,) float64, nats
    acceptance_sum: Tensor  # (C,) float64


def start(target: Target, position: Tensor) -> AnnealingState:
    """Chains at the given positions (C, D) with log-weight 0."""
    with own_context(position.device):
        zero = position.new_zeros(position.shape[0], dtype=torch.float64)
        return AnnealingState(target(position), zero, zero)


def anneal(
    target: Target,
    state: AnnealingState,
    betas: Sequence[float] | Tensor,
    step_sizes: Tensor,
    n_leapfrog: int,
    generator: Randomness,
    move: Move = transition,
) -> AnnealingState:
    """Carry chains from betas[0] up to betas[-1] by equation (1).

    A long run may be cut at any beta and carried on from the returned state and the same generator:
    the numbers do not change.

    Args:
        target: evaluates positions.
        state: chains at betas[0].
        betas: (T + 1,) ascending.
        step_sizes: (T, N), frozen: a step size each temperature and problem, C a multiple of N; or
            (T, N, D), a step size each axis.
        n_leapfrog: leapfrog steps a transition.
        generator: on the device of the state; or N of them, each for its own problem.
        move: the transition, or one like it with cheaper forces.

    Returns:
        The chains after the transition at betas[-1].
    """
    betas = _ascending(betas)
    _check_step_sizes(step_sizes, len(betas) - 1, state)
    for j in range(1, len(betas)):
        state, _ = _step(
            target, state, betas[j - 1], betas[j], step_sizes[j - 1], n_leapfrog, generator, move
        )
    return state


def reverse_anneal(
    target: Target,
    state: AnnealingState,
    betas: Sequence[float] | Tensor,
    step_sizes: Tensor,
    n_leapfrog: int,
    generator: Randomness,
    move: Move = transition,
) -> AnnealingState:
    """Carry chains that start at exact samples of betas[-1] down to betas[0].

    Takes the same betas and step sizes as `anneal`, and walks them backwards. The log-mean of the
    returned weights, negated, is a stochastic upper bound of log Z(betas[-1]) - log Z(betas[0]).
    """
    betas = _ascending(betas)
    _check_step_sizes(step_sizes, len(betas) - 1, state)
    for j in range(len(betas) - 2, -1, -1):
        step_size = step_sizes[max(j - 1, 0)]
        state, _ = _step(
            target, state, betas[j + 1], betas[j], step_size, n_leapfrog, generator, move
        )
    return state


def adapt_step_sizes(
    target: Target,
    state: AnnealingState,
    betas: Sequence[float] | Tensor,
    step_size: Tensor,
    n_leapfrog: int,
    generator: Randomness,
    target_acceptance: float = 0.65,
    gain: float = 0.5,
    move: Move = transition,
) -> tuple[AnnealingState, Tensor]:
    """A pilot run that tunes a step size a problem while it anneals.

    Its chains depend on their own history, so their weights are not to be reported: freeze the
    table and run anew with another seed.

    Args:
        target: evaluates positions.
        state: chains at betas[0].
        betas: (T + 1,) ascending.
        step_size: (N,) to begin with.
        n_leapfrog: leapfrog steps a transition.
        generator: on the device of the state; or N of them, each for its own problem.
        target_acceptance: mean acceptance to aim at.
        gain: change of log step size for a unit of missed acceptance.
        move: as in `anneal`.

    Returns:
        The state, and the table of step sizes (T, N), one row a temperature.
    """
    betas = _ascending(betas)
    table = []
    for j in range(1, len(betas)):
        state, moved = _step(
            target, state, betas[j - 1], betas[j], step_size, n_leapfrog, generator, move
        )
        missed = moved.acceptance.view(-1, len(step_size)).mean(0) - target_acceptance
        step_size = (step_size * torch.exp(gain * missed)).clamp(*STEP_SIZE_RANGE)
        table.append(step_size)
    return state, torch.stack(table)


def log_mean_weight(log_weight: Tensor, n_problems: int) -> Tensor:
    """Log of the mean weight over the chains of each problem, (N,) float64, nats."""
    grouped = log_weight.view(-1, n_problems)
    return torch.logsumexp(grouped, 0) - math.log(len(grouped))


def _step(
    target: Target,
    state: AnnealingState,
    previous: float,
    beta: float,
    step_size: Tensor,
    n_leapfrog: int,
    generator: Randomness,
    move: Move,
) -> tuple[AnnealingState, Transition]:
    log_weight = state.log_weight - (beta - previous) * state.chain.energy
    rows = step_size.repeat(len(log_weight) // len(step_size), *[1] * (step_size.ndim - 1))
    moved = move(target, state.chain, beta, rows, n_leapfrog, generator)
    acceptance_sum = state.acceptance_sum + moved.acceptance
    return AnnealingState(moved.state, log_weight, acceptance_sum), moved


def _ascending(betas: Sequence[float] | Tensor) -> list[float]:
    values = betas.tolist() if isinstance(betas, Tensor) else [float(b) for b in betas]
    if len(values) < 2 or any(b > c for b, c in pairwise(values)):
        raise ValueError("betas must ascend and hold a start and at least one temperature")
    return values


def _check_step_sizes(step_sizes: Tensor, n_steps: int, state: AnnealingState) -> None:
    n_chains, dim = state.chain.position.shape
    fits = step_sizes.ndim == 2 or (step_sizes.ndim == 3 and step_sizes.shape[2] == dim)
    if not fits or len(step_sizes) != n_steps or n_chains % step_sizes.shape[1]:
        raise ValueError(
            f"step_sizes must be (T={n_steps}, N) or (T, N, D={dim}) with N a divisor of the "
            f"{n_chains} chains, got {tuple(step_sizes.shape)}"
        )
