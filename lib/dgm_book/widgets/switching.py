"""What the widgets of the switching system x_t = W x_{t-1} + sigma e_t check alike."""

from collections.abc import Mapping, Sequence

import numpy as np

MOST_STEPS = 10_000
DEVIATIONS = (0.25, 1.0, 4.0)


def check_ranges(**settings: tuple[float, float, float]) -> dict[str, float]:
    """Return settings given as (value, low, high) by name, or raise ValueError."""
    for name, (value, low, high) in settings.items():
        if not low <= value <= high:
            raise ValueError(f"{name}={value}: want {low:g} to {high:g}")
    return {name: value for name, (value, _, _) in settings.items()}


def check_matrices(matrices, least: int = 2, most: int = 12) -> np.ndarray:
    """Return matrices as float64 (K, 2, 2), or raise ValueError."""
    array = np.asarray(matrices, float)
    if array.ndim != 3 or array.shape[1:] != (2, 2) or not least <= len(array) <= most:
        raise ValueError(
            f"matrices have shape {array.shape}, want (K, 2, 2) with K from {least} to {most}"
        )
    if not np.isfinite(array).all():
        raise ValueError("matrices must be finite; some entry is NaN or infinite")
    return array


def check_deviations(deviations: Sequence[float]) -> list[float]:
    """Return the values of sigma as a list, or raise ValueError."""
    values = [float(v) for v in deviations]
    if not values or sorted(set(values)) != values or min(values) <= 0 or not max(values) < 100:
        raise ValueError(f"deviations {values}: want values above 0 and below 100 that ascend")
    return values


def check_schedule(schedule: Sequence, n_matrices: int, deviations: Sequence[float]) -> list[list]:
    """Return rows [t, which, sigma] as a list, or raise ValueError."""
    rows = [[int(t), int(which), float(sigma)] for t, which, sigma in schedule]
    times = [row[0] for row in rows]
    if not rows or times[0] != 0 or sorted(set(times)) != times or times[-1] > MOST_STEPS:
        raise ValueError(f"schedule: want times that ascend from 0, got {times}")
    for _, which, sigma in rows:
        if not 0 <= which < n_matrices or sigma not in deviations:
            raise ValueError(
                f"schedule: which={which}, sigma={sigma}; want a place below {n_matrices} and one "
                f"of {', '.join(map(str, deviations))}"
            )
    return rows


def first_model(weights, kind: str) -> str:
    """Return the name of the first model of a kind, or raise ValueError."""
    kinds: Mapping[str, str] = {name: weights.describe(name)["kind"] for name in weights.names}
    for name, other in kinds.items():
        if other == kind:
            return name
    raise ValueError(f"want a {kind}, but the weights hold {kinds}")


def two_dynamics(matrices: np.ndarray) -> tuple[int, int]:
    """Return two places of matrices, the first whose systems do not grow, if there are any."""
    radius = np.abs(np.linalg.eigvals(matrices)).max(1)
    first, second = sorted(range(len(matrices)), key=lambda k: (radius[k] >= 1, k))[:2]
    return first, second
