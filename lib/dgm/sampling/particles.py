"""Bounds on log p(x) from particles that walk along a sequence: ELBO, IWAE and FIVO.

Maddison et al. (2017), "Filtering variational objectives", algorithm 1. One particle gives the
ELBO, many that are never resampled give IWAE, and resampled ones give FIVO, whose ancestors carry
no gradient. For each, exp of the bound is an unbiased estimate of p(x).
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

RESAMPLE = ("never", "ess", "always")
STEPS_PER_CALL = 2  # that are compiled together


class ParticleBound(NamedTuple):
    """A bound on log p of B sequences, nats, with gradient, and the effective particles."""

    log_likelihood: Tensor  # (B,)
    ess: Tensor  # (T, B)


class _Weighing(NamedTuple):
    """What is carried from step to step beside the state."""

    log_weight: Tensor  # (B, N), since the last resampling
    total: Tensor  # (B,), the bound up to it
    effective: Tensor  # (B,), effective number of particles at the last step

    def bound(self) -> Tensor:
        """The bound (B,) after the steps so far, nats."""
        return self.total + self.log_weight.logsumexp(1) - math.log(self.log_weight.shape[1])


def particle_bound(
    init: Callable[[int, torch.Generator | None], Any],
    step: Callable[[Any, Tensor, int, torch.Generator | None], tuple[Any, Tensor]],
    observations: Tensor,
    lengths: Tensor,
    n_particles: int,
    resample: str = "ess",
    generator: torch.Generator | None = None,
    *,
    validate: bool = True,
) -> ParticleBound:
    """Walks N particles along each of B sequences and weighs them.

    init takes B*N and the generator and returns a NamedTuple of tensors with B*N rows, all of them
    resampled; row b*N + n is particle n of sequence b. step takes (state, x_t (B*N, ...), t,
    generator) and returns the next state and log_alpha (B*N,), the log of p(z_t | past) p(x_t |
    z_t, past) / q(z_t | x_t, past), nats. Of the observations (B, T, ...), behind a sequence's end
    (lengths (B,), 1 to T) its last step is shown, never weighed. resample is "never", "ess" (when
    the effective number falls to N/2 or below) or "always". `validate` checks lengths and weights,
    which makes a GPU wait. ValueError for arguments, a state or weights of other sizes, or weights
    that are NaN or +inf.
    """
    _check(observations, lengths, n_particles, resample, validate)
    n_sequences, n_steps = observations.shape[:2]
    rows = n_sequences * n_particles
    # Masking the weights alone would leave 0 * NaN in the gradient of what stands behind an end.
    place, last = torch.arange(n_steps, device=lengths.device), (lengths - 1).clamp(0, n_steps - 1)
    sequences = torch.arange(n_sequences, device=lengths.device)[:, None]
    observations = observations[sequences, torch.minimum(place, last[:, None])]
    state, weighing, ess = init(rows, generator), None, []
    _check_rows("init", rows, *state)
    for t in range(n_steps):
        x_t = observations[:, t].repeat_interleave(n_particles, 0)
        state, log_alpha = step(state, x_t, t, generator)
        _check_rows("step", rows, *state, log_alpha)
        if log_alpha.ndim != 1:
            raise ValueError(f"step gave weights {tuple(log_alpha.shape)}, want ({rows},)")
        log_alpha = log_alpha.view(n_sequences, n_particles)
        steps_left = lengths - t  # this one included
        if validate:
            wrong = (log_alpha.isnan() | (log_alpha == math.inf)).any(1) & (steps_left > 0)
            if bool(wrong.any()):
                which = wrong.nonzero()[:5, 0].tolist()
                raise ValueError(f"weights at step {t} of sequences {which} are NaN or infinite")
        weighing = weighing or start_weighing(log_alpha)
        uniform = _uniform(log_alpha, resample, generator)
        state, weighing = weigh(state, log_alpha, weighing, steps_left, uniform, resample)
        ess.append(weighing.effective)
    assert weighing is not None  # there is at least one step
    return ParticleBound(weighing.bound(), torch.stack(ess).detach())


def particle_bound_compiled(
    step: Callable[..., tuple[Any, Tensor]],
    context: tuple,
    state: Any,
    noise_width: int,
    observations: Tensor,
    lengths: Tensor,
    n_particles: int,
    resample: str = "ess",
    generator: torch.Generator | None = None,
    *,
    validate: bool = True,
) -> ParticleBound:
    """`particle_bound` with compiled steps, and the same draws in the same order.

    step: *context, state, x_t (B*N, F), noise (B*N, noise_width) -> state, log_alpha (B*N,).
    """
    _check(observations, lengths, n_particles, resample, validate)
    n_steps = observations.shape[1]
    like, parts = observations.new_zeros(len(observations), n_particles), []
    for _ in range(n_steps):
        noise = normal(like.view(-1, 1), noise_width, generator)
        parts.append((noise, _uniform(like, resample, generator)))
    padding = -n_steps % STEPS_PER_CALL
    observations = functional.pad(observations, (0, 0, 0, padding))
    noise, uniform = (
        None if draws[0] is None else functional.pad(torch.stack(draws), (0, 0, 0, 0, 0, padding))
        for draws in zip(*parts, strict=True)
    )
    assert noise is not None
    weighing, ess, run = start_weighing(like), [], _compiled_steps()
    for t in range(0, n_steps, STEPS_PER_CALL):
        steps = slice(t, t + STEPS_PER_CALL)
        x, draws = observations[:, steps].contiguous(), None if uniform is None else uniform[steps]
        state, weighing, effective = run(
            step, context, state, x, noise[steps], draws, lengths - t, weighing, resample
        )
        ess.append(effective)
    total = weighing.bound()
    if validate and bool(total.isnan().any()):
        raise ValueError(f"weights of sequences {total.isnan().nonzero()[:5, 0].tolist()} are NaN")
    return ParticleBound(total, torch.cat(ess)[:n_steps])


def _several_steps(step, context, state, x, noise, uniform, steps_left, weighing, resample):
    ess, n_particles = [], weighing.log_weight.shape[1]
    for i in range(x.shape[1]):
        x_t = x[:, i].repeat_interleave(n_particles, 0)
        state, log_alpha = step(*context, state, x_t, noise[i])
        draws = None if uniform is None else uniform[i]
        log_alpha = log_alpha.view(-1, n_particles)
        state, weighing = weigh(state, log_alpha, weighing, steps_left - i, draws, resample)
        ess.append(weighing.effective)
    return state, weighing, torch.stack(ess)


@cache
def _compiled_steps() -> Callable:
    return torch.compile(_several_steps, dynamic=False)


def normal(like: Tensor, width: int, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers (R, width) for the R rows of a tensor, of its type."""
    return torch.randn(len(like), width, generator=generator, dtype=like.dtype, device=like.device)


def _uniform(like: Tensor, resample: str, generator: torch.Generator | None) -> Tensor | None:
    """What chooses the ancestors of (B, N) particles; None where there is nothing to choose."""
    if resample == "never" or like.shape[1] == 1:
        return None
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _check(
    observations: Tensor, lengths: Tensor, n_particles: int, resample: str, validate: bool
) -> None:
    if n_particles < 1:
        raise ValueError(f"n_particles must be at least 1, got {n_particles}")
    if resample not in RESAMPLE:
        raise ValueError(f"resample must be one of {', '.join(RESAMPLE)}, got {resample!r}")
    shape = tuple(observations.shape)
    if len(shape) < 2 or not shape[1] or lengths.shape != shape[:1]:
        problem = f"lengths {tuple(lengths.shape)} do not fit observations {shape}"
        raise ValueError(f"{problem}: want one for each sequence, and at least one step")
    if validate and not bool(((lengths >= 1) & (lengths <= shape[1])).all()):
        raise ValueError(f"lengths must lie in 1..{shape[1]}, got {lengths.tolist()}")


def _check_rows(what: str, rows: int, *tensors: Tensor) -> None:
    if any(len(tensor) != rows for tensor in tensors):
        raise ValueError(f"{what} gave {[len(t) for t in tensors]} rows, want {rows} in all")


def start_weighing(like: Tensor) -> _Weighing:
    """Before the first step, for (B, N) particles."""
    zeros = torch.zeros_like(like)
    return _Weighing(zeros, zeros[:, 0], torch.full_like(zeros[:, 0], float(like.shape[1])))


def weigh(
    state: Any,
    log_alpha: Tensor,
    weighing: _Weighing,
    steps_left: Tensor,
    uniform: Tensor | None,
    resample: str,
) -> tuple[Any, _Weighing]:
    """Takes one step's weights (B, N) in; resamples the state by `uniform` (B, N) where unequal."""
    log_weight, total, effective = weighing
    n_sequences, n = log_alpha.shape
    log_weight = log_weight + torch.where((steps_left > 0)[:, None], log_alpha, 0.0)
    known = log_weight.detach()
    log_ess = 2 * known.logsumexp(1) - (2 * known).logsumexp(1)
    ess = log_ess.masked_fill(known.amax(1) == -math.inf, 0.0).exp().clamp(1.0, float(n))
    effective = torch.where(steps_left > 0, ess, effective)
    if uniform is None or resample == "never" or n == 1:
        return state, _Weighing(log_weight, total, effective)
    threshold = math.log(n / 2) if resample == "ess" else math.inf
    resampled = (log_ess <= threshold) & (steps_left > 1)
    cumulative = known.softmax(1).cumsum(1)
    ancestors = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    ancestors = ancestors.clamp(max=n - 1)
    own = torch.arange(n, device=known.device)
    first = n * torch.arange(n_sequences, device=known.device)[:, None]
    rows = (first + torch.where(resampled[:, None], ancestors, own)).flatten()
    total = total + torch.where(resampled, log_weight.logsumexp(1) - math.log(n), 0.0)
    log_weight = torch.where(resampled[:, None], 0.0, log_weight)
    state = type(state)(*(tensor[rows] for tensor in state))
    return state, _Weighing(log_weight, total, effective)
