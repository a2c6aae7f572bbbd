"""The effect of a method as a paired difference: both runs of a pair share their seed.

Reference: Student, The probable error of a mean, Biometrika 1908.
"""

import math
from collections.abc import Sequence

import torch
from scipy.special import stdtrit
from torch import Tensor

from dgm.measure import Interval

__all__ = ["above_zero", "paired_difference", "told"]


def paired_difference(
    treated: Sequence[float] | Tensor, control: Sequence[float] | Tensor, level: float = 0.95
) -> Interval:
    """Mean of treated less control over n pairs, with Student's interval.

    Args:
        treated: (n,) values, n at least 1.
        control: (n,) values of the same pairs.
        level: of the interval.

    Returns:
        The mean and its interval; for one pair the error is infinite, as one pair says nothing of it.
    """
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (treated, control))
    if a.ndim != 1 or a.shape != b.shape or len(a) < 1:
        raise ValueError(f"want two rows of the same length, got {(*a.shape,)} and {(*b.shape,)}")
    difference = a - b
    if not torch.isfinite(difference).all():
        raise ValueError("values must be finite")
    n, mean = len(difference), float(difference.mean())
    if n == 1:
        return Interval(mean, math.inf, -math.inf, math.inf, 1)
    error = float(difference.std()) / math.sqrt(n)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(mean, error, mean - reach, mean + reach, n)


def told(found: Interval, digits: int = 2, of: str = "pair") -> str:
    """A paired difference in words; `of` names what there are n of."""
    if found.n == 1:
        return f"{found.mean:+.{digits}f} (one {of})"
    mean, low, high = (f"{x:+.{digits}f}" for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}] (95 %, {found.n} {of}s)"


def above_zero(found: Interval) -> bool | None:
    """Whether a difference is above 0 beyond its interval; None for one pair."""
    return None if found.n == 1 else found.low > 0
