"""The switching linear system as the page runs it, exact Bayes about it, and models that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .hyper_weights import HyperWeights, Trace, normals, uniforms

SYSTEM, CHOICE, PRIOR, POSTERIOR, RESAMPLING = range(5)  # streams of random numbers
MOST_STEPS = 10_000


class Course(NamedTuple):
    """T steps of x_t = W x_{t-1} + sigma e_t."""

    x: np.ndarray  # (T, 2)
    which: np.ndarray  # (T,), of the matrices
    sigma: np.ndarray  # (T,)
    fresh: np.ndarray  # (T,) bool: where x started, at first or anew past the bound


def simulate(
    matrices: np.ndarray, schedule: Sequence, n_steps: int, seed: int, bound: float
) -> Course:
    """Run the system.

    Args:
        matrices: (K, 2, 2).
        schedule: Rows ``[t, which, sigma]`` that ascend from t = 0: what is in force from t on.
        n_steps: T.
        seed: Of x_0, uniform on [-1, 1]^2, and of the noise.
        bound: Of both coordinates of x; a step after one past it, x starts anew.

    Returns:
        The course.
    """
    rows, times, x = [], [row[0] for row in schedule], np.zeros(2)
    for t in range(n_steps):
        _, which, sigma = schedule[int(np.searchsorted(times, t, side="right")) - 1]
        fresh = t == 0 or np.abs(x).max() > bound
        if fresh:
            x = 2 * uniforms((2,), seed, SYSTEM, t) - 1
        else:
            x = matrices[which] @ x + sigma * normals((2,), seed, SYSTEM, t)
        rows.append((x, which, sigma, fresh))
    return Course(*(np.array(column) for column in zip(*rows, strict=True)))


def exact_bayes(
    course: Course, matrices: np.ndarray, deviations: Sequence[float], hazard: float
) -> tuple[np.ndarray, np.ndarray]:
    """Filter W and sigma where each changes with one probability a step, to any other value alike.

    Args:
        course: Of which only x and where it starts are used.
        matrices: (K, 2, 2).
        deviations: The J values of sigma.
        hazard: The probability of a change.

    Returns:
        The posterior (T, K) of which W it is, given x up to each step, and the log-density (T,) of each
        x given those before it, nats.
    """
    sigma = np.asarray(deviations, float)
    k, j = len(matrices), len(sigma)
    posterior, increments = np.empty((len(course.x), k)), np.empty(len(course.x))
    for t, (x, fresh) in enumerate(zip(course.x, course.fresh, strict=True)):
        if fresh:
            log_p = np.full((k, j), -np.log(k * j))
            increments[t] = -np.log(4)
        else:
            p = _stir(_stir(np.exp(log_p), hazard, 0), hazard, 1)
            squares = ((x - matrices @ course.x[t - 1]) ** 2).sum(1)
            density = -0.5 * squares[:, None] / sigma**2 - np.log(2 * np.pi * sigma**2)
            log_p = np.log(p) + density
            increments[t] = np.logaddexp.reduce(log_p, axis=None)
            log_p -= increments[t]
        posterior[t] = np.exp(log_p).sum(1)
    return posterior, increments


def _stir(p: np.ndarray, hazard: float, axis: int) -> np.ndarray:
    n = p.shape[axis]
    if n < 2:
        return p
    moved = hazard / (n - 1)
    return (1 - hazard - moved) * p + moved * p.sum(axis, keepdims=True)


def follow(
    weights: HyperWeights, name: str, course: Course, n_particles: int, seed: int, **options
) -> Trace:
    """Let a model predict and read a course as the page does, from a zero state wherever x starts.

    Args:
        weights: The page's models.
        name: Of the model.
        course: Of which only x and where it starts are used.
        n_particles: N.
        seed: Of the model's draws.
        options: ``freeze`` and ``means`` of `HyperWeights.trace`.

    Returns:
        The trace of all steps.
    """
    shape = (n_particles, weights.describe(name)["z"])
    starts = [*np.flatnonzero(course.fresh), len(course.x)]
    traces = []
    for start, end in pairwise(starts):
        times = range(start, end)
        noise = np.stack([normals(shape, seed, POSTERIOR, t) for t in times])
        prior = np.stack([normals(shape, seed, PRIOR, t) for t in times])
        draws = np.stack([uniforms(shape[:1], seed, RESAMPLING, t) for t in times])
        x = course.x[start:end]
        traces.append(weights.trace(name, x, noise, prior_noise=prior, draws=draws, **options))
    return Trace(*(np.concatenate(column) for column in zip(*traces, strict=True)))


def check_matrices(matrices, least: int = 2, most: int = 12) -> np.ndarray:
    """Return matrices as float64 (K, 2, 2), or raise ValueError."""
    found = np.asarray(matrices, float)
    if found.ndim != 3 or found.shape[1:] != (2, 2) or not least <= len(found) <= most:
        raise ValueError(
            f"matrices have shape {found.shape}, want (K, 2, 2) with K from {least} to {most}"
        )
    if not np.isfinite(found).all():
        raise ValueError("matrices must be finite; some entry is NaN or infinite")
    return found


def check_deviations(deviations: Sequence[float]) -> list[float]:
    """Return the values of sigma as a list, or raise ValueError."""
    found = [float(v) for v in deviations]
    if not found or sorted(set(found)) != found or min(found) <= 0 or not max(found) < 100:
        raise ValueError(f"deviations {found}: want values above 0 and below 100 that ascend")
    return found


def check_schedule(schedule: Sequence, n_matrices: int, deviations: Sequence[float]) -> list[list]:
    """Return rows [t, which, sigma] as a list, or raise ValueError."""
    rows = [[int(t), int(which), float(sigma)] for t, which, sigma in schedule]
    times = [row[0] for row in rows]
    if not rows or times[0] != 0 or sorted(set(times)) != times or times[-1] > MOST_STEPS:
        raise ValueError(f"schedule: want times that ascend from 0, got {times}")
    for _, which, sigma in rows:
        if not 0 <= which < n_matrices or sigma not in deviations:
            raise ValueError(
                f"schedule: which={which}, sigma={sigma}; want a place below {n_matrices} and one of "
                f"{', '.join(map(str, deviations))}"
            )
    return rows


def check_model(weights: HyperWeights, name: str) -> str:
    """Return a model's name if it reads points of the plane with Gaussian noise, or raise ValueError."""
    told = weights.describe(name)
    if told["x"] != 2 or told["emission"] != "gaussian":
        raise ValueError(
            f"model {name!r} reads {told['x']} numbers, {told['emission']}: want 2, gaussian"
        )
    return name


def two_dynamics(matrices: np.ndarray) -> tuple[int, int]:
    """Return two places of matrices, the first that make no sequence grow, as far as there are any."""
    radius = np.abs(np.linalg.eigvals(matrices)).max(1)
    one, other = sorted(range(len(matrices)), key=lambda k: (radius[k] >= 1, k))[:2]
    return one, other
