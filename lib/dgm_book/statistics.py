"""Statistics over seeds: a tidy column of runs, the paired effect of one variant over another.

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


def read(result: Any, path: str) -> float:
    """A number of a result, by the keys and places that lead to it, such as "rows/-1/seconds"."""
    node = result.values
    for key in path.split("/"):
        node = node[int(key) if isinstance(node, list) else key]
    return float(node)


def tidy(runs: Mapping[str, Iterable[Any]], metric: Callable[[Any], float]) -> pandas.Series:
    """A metric of every run, read by its function; the index is (variant, seed)."""
    rows = [(name, r.provenance["seed"], metric(r)) for name, part in runs.items() for r in part]
    column = pandas.DataFrame(rows, columns=["variant", "seed", "value"])
    column = column.set_index(["variant", "seed"])["value"]
    if column.index.has_duplicates:
        variant, seed = column.index[column.index.duplicated()][0]
        raise ValueError(f"variant {variant!r} has more than one run of seed {seed}")
    return column


def effect(column: pandas.Series, variant: str, control: str) -> Interval:
    """A variant minus a control in a column of `tidy`, paired by the seeds that both have."""
    treated, other = column.loc[variant].align(column.loc[control], join="inner")
    return paired_difference(treated.tolist(), other.tolist())


def mean_over_seeds(values: Sequence[float] | Tensor | pandas.Series) -> Interval:
    """The mean of n independent values, with Student's interval."""
    values = torch.as_tensor(list(values), dtype=torch.float64)
    return paired_difference(values, torch.zeros_like(values))


def paired_difference(
    treated: Sequence[float] | Tensor, control: Sequence[float] | Tensor, level: float = 0.95
) -> Interval:
    """Mean of treated (n,) minus control (n,) over pairs, with Student's interval at a level.

    For one pair the error is infinite. ValueError for no pair, unlike lengths, values not finite.
    """
    a, b = (torch.as_tensor(x, dtype=torch.float64) for x in (treated, control))
    if a.ndim != 1 or a.shape != b.shape or len(a) < 1:
        raise ValueError(f"want two rows of the same length, got {(*a.shape,)} and {(*b.shape,)}")
    difference = a - b
    if not torch.isfinite(difference).all():
        raise ValueError("values must be finite")
    n = len(difference)
    error = float(difference.std()) / math.sqrt(n) if n > 1 else math.inf
    return interval(float(difference.mean()), error, n, level)


def interval(mean: float, error: float, n: int, level: float = 0.95) -> Interval:
    """Student's interval of a mean of n values with its standard error."""
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * error if n > 1 else error
    return Interval(mean, error, mean - reach, mean + reach, n)


def format_number(value: float, decimals: int = 3, sign: str = "") -> str:
    """A number with fixed decimals, or with an exponent where it is huge."""
    return format(value, f"{sign}.{decimals}f" if abs(value) < 1e5 else f"{sign}.1e")


def format_interval(interval: Interval, decimals: int = 2, sign: str = "+") -> str:
    """A mean with its interval, or alone where there is one value; "" as sign leaves out a plus."""
    mean, low, high = (format_number(x, decimals, sign) for x in interval[:1] + interval[2:4])
    return mean if interval.n == 1 else f"{mean} [{low}, {high}]"


def format_difference(interval: Interval, decimals: int = 2, unit: str = "pair") -> str:
    """A difference with its sign and interval; `unit` names what there are n of."""
    count = f"one {unit}" if interval.n == 1 else f"95 %, {interval.n} {unit}s"
    return f"{format_interval(interval, decimals)} ({count})"


def format_intervals(intervals: Mapping[Any, Interval], decimals: int = 2) -> str:
    """Means with their intervals, each behind its name."""
    return ", ".join(f"{k} {format_interval(i, decimals)}" for k, i in intervals.items())


def format_differences(
    intervals: Mapping[Any, Interval], decimals: int = 2, unit: str = "pair"
) -> str:
    """Differences as of `format_difference`, each behind its name."""
    return "; ".join(f"{k} {format_difference(i, decimals, unit)}" for k, i in intervals.items())


def format_mean(interval: Interval, decimals: int = 2) -> str:
    """A mean and its standard error; the value alone where there is one."""
    return " ± ".join(format_number(x, decimals) for x in interval[: min(interval.n, 2)])


def detectable(interval: Interval, level: float = 0.95, power: float = 0.8) -> float:
    """The effect that a test with this standard error sees so often: 2.8 of them for a large n."""
    if interval.n < 2:
        return math.inf
    quantiles = (float(stdtrit(interval.n - 1, p)) for p in ((1 + level) / 2, power))
    return interval.standard_error * sum(quantiles)
