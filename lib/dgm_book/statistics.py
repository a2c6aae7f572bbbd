"""Statistics over seeds: a tidy data frame of runs, the paired effect of one variant over another.

Both runs of a pair share their seed.

Reference: Student, The probable error of a mean, Biometrika 1908.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas
import torch
from scipy.special import stdtrit
from torch import Tensor

from dgm.measure import Interval

__all__ = [
    "all_hold",
    "effect",
    "format_difference",
    "format_mean",
    "is_above_zero",
    "is_below_zero",
    "mean_over_seeds",
    "paired_difference",
    "tidy",
]


def tidy(
    runs: Mapping[str, Iterable[Any]], metrics: Mapping[str, Callable[[Any], float]]
) -> pandas.DataFrame:
    """A row a run, a column a metric; the index is (variant, seed).

    Args:
        runs: for each variant its results, one a seed, with the seed in their provenance.
        metrics: for each column what reads it from a result; NaN where a run has no such value.

    Raises:
        ValueError: a variant has two runs of one seed.
    """
    rows = {
        (variant, result.provenance["seed"], i): {name: f(result) for name, f in metrics.items()}
        for variant, results in runs.items()
        for i, result in enumerate(results)
    }
    index = pandas.MultiIndex.from_tuples(
        [(variant, seed) for variant, seed, _ in rows], names=["variant", "seed"]
    )
    if index.has_duplicates:
        twice = index[index.duplicated()][0]
        raise ValueError(f"variant {twice[0]!r} has more than one run of seed {twice[1]}")
    return pandas.DataFrame(list(rows.values()), index=index, columns=list(metrics))


def effect(frame: pandas.DataFrame, metric: str, variant: str, control: str) -> Interval:
    """What a variant changes: variant minus control, paired by the seeds that both have.

    Args:
        frame: as `tidy` makes it.
        metric: a column.
        variant: of the index.
        control: of the index.

    Raises:
        ValueError: the two share no seed, or a value is not finite.
    """
    column = frame[metric]
    treated, other = column.loc[variant].align(column.loc[control], join="inner")
    return paired_difference(treated.tolist(), other.tolist())


def mean_over_seeds(values: Sequence[float] | Tensor | pandas.Series) -> Interval:
    """The mean of n independent values, with Student's interval."""
    values = torch.as_tensor(list(values), dtype=torch.float64)
    return paired_difference(values, torch.zeros_like(values))


def paired_difference(
    treated: Sequence[float] | Tensor, control: Sequence[float] | Tensor, level: float = 0.95
) -> Interval:
    """Mean of treated minus control over n pairs, with Student's interval.

    Args:
        treated: (n,) values, n at least 1.
        control: (n,) values of the same pairs.
        level: of the interval.

    Returns:
        The mean and its interval; for one pair the error is infinite.

    Raises:
        ValueError: no value, rows of different lengths, or values that are not finite.
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


def format_difference(interval: Interval, decimals: int = 2, unit: str = "pair") -> str:
    """A difference with its sign and interval; `unit` names what there are n of."""
    if interval.n == 1:
        return f"{interval.mean:+.{decimals}f} (one {unit})"
    mean, low, high = (f"{x:+.{decimals}f}" for x in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}] (95 %, {interval.n} {unit}s)"


def format_mean(interval: Interval, decimals: int = 2) -> str:
    """A mean and its standard error; the value alone where there is one."""
    if interval.n == 1:
        return f"{interval.mean:.{decimals}f}"
    return f"{interval.mean:.{decimals}f} ± {interval.standard_error:.{decimals}f}"


def is_above_zero(interval: Interval) -> bool | None:
    """Whether a difference is above 0 beyond its interval; None for one pair."""
    return None if interval.n == 1 else interval.low > 0


def is_below_zero(interval: Interval) -> bool | None:
    """Whether a difference is below 0 beyond its interval; None for one pair."""
    return None if interval.n == 1 else interval.high < 0


def all_hold(parts: Iterable[bool | None]) -> bool | None:
    """Whether all parts of a claim hold; None where one was not tested, or where there is none."""
    outcomes = list(parts)
    return None if not outcomes or None in outcomes else all(outcomes)
