"""Bounds on log p(x) from particles that walk along a sequence: ELBO, IWAE and FIVO.

Maddison et al. (2017), "Filtering variational objectives", algorithm 1. One particle gives the ELBO,
many that are never resampled give IWAE, and resampled ones give FIVO. For each, exp of the bound is an
unbiased estimate of p(x), so that the bound lies below log p(x) in expectation. Ancestors carry no
gradient: that leaves a bias in FIVO's gradient and takes away most of its variance.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

RESAMPLE = ("never", "ess", "always")


class ParticleBound(NamedTuple):
    """A bound on the log-likelihood of B sequences.

    Attributes:
        log_likelihood: (B,), nats, one bound a sequence (not divided by its length), with gradient.
        ess: (T, B), effective number of particles before resampling, from 1 to N (1 where none is
            possible), without gradient; behind a sequence's end that of its last step.
    """

    log_likelihood: Tensor
    ess: Tensor


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

    Args:
        init: (B*N, generator) -> a NamedTuple of tensors with B*N rows; row b*N + n is particle n of
            sequence b. Every tensor in it is resampled.
        step: (state, x_t (B*N, ...), t, generator) -> (state, log_alpha (B*N,)), the log of
            p(z_t | past) p(x_t | z_t, past) / q(z_t | x_t, past), nats.
        observations: (B, T, ...); behind a sequence's end the model sees its last step, never weighed.
        lengths: (B,), steps of each sequence, from 1 to T.
        n_particles: N, at least 1.
        resample: "never", "ess" (when the effective number falls to N/2 or below) or "always".
        generator: of all noise.
        validate: whether to look for wrong lengths and for weights that are not numbers, which makes
            a GPU wait.

    Raises:
        ValueError: no particle, an unknown `resample`, lengths outside 1..T, a state or weights with
            another number of rows, or weights that are NaN or +inf.
    """
    check_sequences(observations, lengths, n_particles, resample, validate)
    n_sequences, n_steps = observations.shape[:2]
    rows = n_sequences * n_particles
    # Masking the weights alone would leave 0 * NaN in the gradient of what stands behind an end.
    last = (lengths - 1).clamp(0, n_steps - 1)
    here = torch.arange(n_steps, device=lengths.device) <= last[:, None]
    final = observations[torch.arange(n_sequences, device=lengths.device), last][:, None]
    shape = (*here.shape, *[1] * (observations.ndim - 2))
    observations = torch.where(here.view(shape), observations, final)
    state = init(rows, generator)
    if any(len(tensor) != rows for tensor in state):
        raise ValueError(f"init gave {[len(t) for t in state]} rows, want {rows} in every tensor")
    threshold = log_threshold(resample, n_particles)
    log_weight, total, ess, effective = None, None, [], None
    for t in range(n_steps):
        x_t = observations[:, t].repeat_interleave(n_particles, 0)
        state, log_alpha = step(state, x_t, t, generator)
        if log_alpha.shape != (rows,) or any(len(tensor) != rows for tensor in state):
            raise ValueError(
                f"step gave weights {tuple(log_alpha.shape)} and {[len(t) for t in state]} rows of state, "
                f"want ({rows},) and {rows} in every tensor"
            )
        log_alpha = log_alpha.view(n_sequences, n_particles)
        left = lengths - t  # steps, this one included
        if validate:
            wrong = (log_alpha.isnan() | (log_alpha == math.inf)).any(1) & (left > 0)
            if bool(wrong.any()):
                where = wrong.nonzero()[:, 0].tolist()
                raise ValueError(
                    f"weights at step {t} of sequences {where[:5]} are NaN or infinite"
                )
        if total is None:
            log_weight, total = torch.zeros_like(log_alpha), torch.zeros_like(log_alpha[:, 0])
            effective = torch.full_like(total, float(n_particles))
        uniform = None
        if threshold is not None:
            uniform = torch.rand(
                log_alpha.shape, generator=generator, dtype=log_alpha.dtype, device=log_alpha.device
            )
        moved, log_weight, total, effective = weigh(
            tuple(state), log_alpha, log_weight, total, effective, left, uniform, threshold
        )
        state = type(state)(*moved)
        ess.append(effective)
    total = total + log_weight.logsumexp(1) - math.log(n_particles)
    return ParticleBound(total, torch.stack(ess).detach())


def check_sequences(
    observations: Tensor, lengths: Tensor, n_particles: int, resample: str, validate: bool
) -> None:
    """Raises the ValueErrors of `particle_bound` that need no step; `validate` as there."""
    if n_particles < 1:
        raise ValueError(f"n_particles must be at least 1, got {n_particles}")
    if resample not in RESAMPLE:
        raise ValueError(f"resample must be one of {', '.join(RESAMPLE)}, got {resample!r}")
    if (
        observations.ndim < 2
        or not observations.shape[1]
        or lengths.shape != observations.shape[:1]
    ):
        raise ValueError(
            f"lengths {tuple(lengths.shape)} do not fit observations {tuple(observations.shape)}: "
            "want one for each sequence, and at least one step"
        )
    n_steps = observations.shape[1]
    if validate and not bool(((lengths >= 1) & (lengths <= n_steps)).all()):
        raise ValueError(f"lengths must lie in 1..{n_steps}, got {lengths.tolist()}")


def ancestors_of(log_weight: Tensor, uniform: Tensor) -> Tensor:
    """Multinomial ancestors (B, N) int64 for log-weights (B, N) and uniform draws (B, N)."""
    cumulative = log_weight.detach().softmax(1).cumsum(1)
    found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
    return found.clamp(max=log_weight.shape[1] - 1)


def log_threshold(resample: str, n_particles: int) -> float | None:
    """The log of the effective number at or below which particles are resampled; None for never."""
    if resample == "never" or n_particles == 1:
        return None
    return math.log(n_particles / 2) if resample == "ess" else math.inf


def weigh(
    state: tuple[Tensor, ...],
    log_alpha: Tensor,
    log_weight: Tensor,
    total: Tensor,
    effective: Tensor,
    left: Tensor,
    uniform: Tensor | None,
    threshold: float | None,
) -> tuple[tuple[Tensor, ...], Tensor, Tensor, Tensor]:
    """Takes one step's weights in and, where they have become unequal, resamples the particles.

    Args:
        state: tensors of B*N rows.
        log_alpha: (B, N), of this step.
        log_weight: (B, N), since the last resampling.
        total: (B,), the bound up to it.
        effective: (B,), effective number of particles at the step before.
        left: (B,), steps left, this one included; from 0 downwards nothing changes.
        uniform: (B, N) draws that choose the ancestors; None never resamples.
        threshold: as `log_threshold` gives it.

    Returns:
        The new state, log-weights, total and effective number.
    """
    n_sequences, n = log_alpha.shape
    log_weight = log_weight + torch.where((left > 0)[:, None], log_alpha, 0.0)
    known = log_weight.detach()
    log_ess = 2 * known.logsumexp(1) - (2 * known).logsumexp(1)
    now_effective = log_ess.masked_fill(known.amax(1) == -math.inf, 0.0).exp()
    effective = torch.where(left > 0, now_effective.clamp(1.0, float(n)), effective)
    if uniform is None or threshold is None:
        return state, log_weight, total, effective
    now = (log_ess <= threshold) & (left > 1)
    ancestors = ancestors_of(known, uniform)
    stay = torch.arange(n, device=known.device)
    first = n * torch.arange(n_sequences, device=known.device)[:, None]
    rows = (first + torch.where(now[:, None], ancestors, stay)).flatten()
    total = total + torch.where(now, log_weight.logsumexp(1) - math.log(n), 0.0)
    log_weight = torch.where(now[:, None], 0.0, log_weight)
    return tuple(tensor[rows] for tensor in state), log_weight, total, effective
