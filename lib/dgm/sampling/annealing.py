"""Annealed importance sampling, forward from the prior and in reverse from an exact sample.

Going up from beta_{j-1} to beta_j, before the transition at beta_j,

    log w  <-  log w - (beta_j - beta_{j-1}) E(z),                                      (1)

so that the mean of w at any stop is an unbiased estimate of Z(beta_j) / Z(0). Going down from an
exact sample of pi_beta the sign turns, and the mean of w estimates Z(0) / Z(beta): its negative log
is an upper bound of log Z in expectation, as the forward log-mean is a lower one. Rows are
chain * N + problem. Neal, 2001; Grosse, Ghahramani, Adams, 2015.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.sampling.decoder_checks import own_context
from dgm.sampling.hmc import HMCState, Randomness, Target, Transition, transition

# kernel(target, state, beta, step_size, generator=generator) leaves pi_beta invariant
Kernel = Callable[..., Transition]


class AnnealingState(NamedTuple):
    """C chains at an inverse temperature, their log-weights, and how often they accepted."""

    chain: HMCState
    log_weight: Tensor  # (C,) float64, nats
    acceptance_sum: Tensor  # (C,) float64, of the acceptance probabilities so far
    acceptance: Tensor  # (C,) float64, of the last transition
    beta: float


def start(target: Target, position: Tensor, beta: float = 0.0) -> AnnealingState:
    """Chains at the given positions (C, D), samples at beta, with log-weight 0."""
    with own_context(position.device):
        zero = position.new_zeros(position.shape[0], dtype=torch.float64)
        return AnnealingState(target(position), zero, zero, zero, beta)


def annealed_run(
    target: Target,
    schedule: Iterable[tuple[float, Tensor]],
    kernel: Kernel,
    generator: Randomness,
    state: AnnealingState | None = None,
) -> Iterator[AnnealingState]:
    """Carry chains along a schedule, and yield their state at each of its temperatures.

    Left at any beta, it can be continued from that state with the same generator, bit for bit. The
    schedule has pairs of a beta, which may descend from an exact sample's, and frozen step sizes,
    (N,) or (N, D); N generators have a problem each; None starts at beta 0 by
    `target.sample_prior`.
    """
    state = start(target, target.sample_prior(generator)) if state is None else state
    for beta, step_size in schedule:
        state = annealing_step(target, state, beta, step_size, kernel, generator)
        yield state


def annealing_step(
    target: Target,
    state: AnnealingState,
    beta: float,
    step_size: Tensor,
    kernel: Kernel,
    generator: Randomness,
) -> AnnealingState:
    """Weigh the C chains for beta, then move them by one transition; step_size (N,) or (N, D)."""
    log_weight = reweighted(state, beta)
    rows = step_size.repeat(len(log_weight) // len(step_size), *[1] * (step_size.ndim - 1))
    chain, _, acceptance = kernel(target, state.chain, beta, rows, generator=generator)
    return AnnealingState(chain, log_weight, state.acceptance_sum + acceptance, acceptance, beta)


def reweighted(state: AnnealingState, beta: float) -> Tensor:
    """The log-weights (C,) for another beta, equation (1)."""
    return state.log_weight - (beta - state.beta) * state.chain.energy


def log_mean_weight(log_weight: Tensor, n_problems: int) -> Tensor:
    """Log of the mean weight over the chains of each problem, (N,) float64, nats."""
    grouped = log_weight.view(-1, n_problems)
    return torch.logsumexp(grouped, 0) - math.log(len(grouped))


def anneal(
    target: Target,
    state: AnnealingState,
    betas: Sequence[float] | Tensor,
    step_sizes: Tensor,
    n_leapfrog: int,
    generator: Randomness,
    kernel: Kernel = transition,
    *,
    reverse: bool = False,
) -> AnnealingState:
    """Carry chains from betas[0] up to betas[-1] of betas (T + 1,), or in `reverse` down to it.

    step_sizes are (T, N) or (T, N, D), for betas[1:], and C is a multiple of N; else ValueError.
    """
    values = torch.as_tensor(betas, dtype=torch.float64, device="cpu").tolist()
    if len(values) < 2 or values != sorted(values):
        raise ValueError("betas must ascend and hold a start and at least one temperature")
    (n_chains, dim), n_steps = state.chain.position.shape, len(values) - 1
    fits = step_sizes.ndim == 2 or (step_sizes.ndim == 3 and step_sizes.shape[2] == dim)
    if not fits or len(step_sizes) != n_steps or n_chains % step_sizes.shape[1]:
        want = f"(T={n_steps}, N) or (T, N, D={dim}) with N a divisor of the {n_chains} chains"
        raise ValueError(f"step_sizes must be {want}, got {tuple(step_sizes.shape)}")
    if reverse:  # with the step sizes of the betas below the last
        values, step_sizes = values[::-1], torch.cat([step_sizes[:1], step_sizes[:-1]]).flip(0)
    schedule = zip(values[1:], step_sizes, strict=True)
    kernel, first = partial(kernel, n_leapfrog=n_leapfrog), state._replace(beta=values[0])
    return deque(annealed_run(target, schedule, kernel, generator, first), maxlen=1).pop()


def reverse_anneal(*arguments: Any, **options: Any) -> AnnealingState:
    """`anneal` from exact samples of betas[-1] down to betas[0]: an upper bound, negated."""
    return anneal(*arguments, **options, reverse=True)
