"""Statistics over seeds: paired differences, the mean, Student's interval, and what is refused."""

import math

import pytest
import torch

from dgm_book.results import Result
from dgm_book.statistics import (
    all_hold,
    effect,
    format_difference,
    format_mean,
    is_above_zero,
    mean_over_seeds,
    paired_difference,
    tidy,
)


def test_matches_the_textbook():
    interval = paired_difference([3.0, 5.0, 10.0], [1.0, 2.0, 3.0])  # differences 2, 3, 7
    assert interval.mean == 4.0
    assert interval.standard_error == pytest.approx(math.sqrt(7.0 / 3.0))
    reach = 4.302652729911275 * math.sqrt(7.0 / 3.0)  # t(2), 97.5 %
    assert (interval.low, interval.high) == pytest.approx((4 - reach, 4 + reach))
    assert interval.n == 3


def test_covers_as_often_as_it_says():
    draws = torch.randn(4000, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    intervals = [paired_difference(d[:, 0] + 0.5, d[:, 1]) for d in draws]
    covered = sum(i.low <= 0.5 <= i.high for i in intervals) / len(intervals)
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / len(intervals))


@pytest.mark.parametrize(
    ("treated", "control"), [([], []), ([1.0, 2.0], [1.0]), ([1.0, float("nan")], [1.0, 2.0])]
)
def test_refuses_what_is_no_pair(treated, control):
    with pytest.raises(ValueError, match=r"want two rows|finite"):
        paired_difference(treated, control)


def test_intervals_in_words():
    three = paired_difference([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])
    assert format_difference(three, 1) == "+2.0 [-0.5, +4.5] (95 %, 3 pairs)"
    single = paired_difference([2.0], [1.5])  # says nothing of its error
    assert (single.mean, single.standard_error, single.low) == (0.5, math.inf, -math.inf)
    assert format_difference(single, unit="seed") == "+0.50 (one seed)"
    assert format_mean(mean_over_seeds([1.0, 2.0, 3.0]), 1) == "2.0 ± 0.6"
    assert format_mean(mean_over_seeds([1.0])) == "1.00"


def test_is_above_zero_asks_for_the_whole_interval():
    assert is_above_zero(paired_difference([2.0, 2.1, 2.2], [1.0, 1.0, 1.0])) is True
    assert is_above_zero(paired_difference([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])) is False
    assert is_above_zero(paired_difference([2.0], [1.0])) is None


def result(seed: int, kl: float) -> Result:
    return Result(f"seed{seed}", {"kl": kl}, {}, {"seed": seed}, True)


def test_an_effect_pairs_runs_by_their_seeds():
    runs = {
        "plain": [result(seed, kl) for seed, kl in [(0, 1.0), (1, 2.0), (2, 5.0)]],
        "pooled": [result(seed, kl) for seed, kl in [(2, 6.0), (0, 4.0), (7, 100.0)]],
    }
    frame = tidy(runs, {"kl": lambda r: r.values["kl"], "double": lambda r: 2 * r.values["kl"]})
    assert list(frame.columns) == ["kl", "double"]
    gap = effect(frame, "kl", "pooled", "plain")  # seeds 0 and 2
    assert (gap.n, gap.mean) == (2, 2.0)
    assert effect(frame, "double", "pooled", "plain").mean == 4.0
    assert mean_over_seeds(frame.loc["plain", "kl"]).mean == pytest.approx(8 / 3)
    with pytest.raises(ValueError, match=r"plain.*more than one run of seed 1"):
        tidy({"plain": [result(1, 0.0)] * 2}, {"kl": lambda r: r.values["kl"]})
    frame = tidy({"a": [result(0, 1.0)], "b": [result(1, 1.0)]}, {"kl": lambda r: r.values["kl"]})
    with pytest.raises(ValueError, match="want two rows"):
        effect(frame, "kl", "a", "b")


@pytest.mark.parametrize(
    ("parts", "holds"),
    [
        ([True, True], True),
        ([True, False], False),
        ([True, None], None),
        ([False, None], None),
        ([], None),
    ],
)
def test_all_parts_must_hold(parts, holds):
    assert all_hold(parts) is holds
