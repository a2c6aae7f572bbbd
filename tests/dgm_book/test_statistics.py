"""Statistics over seeds: paired differences, the mean, Student's interval, and what is refused."""

import functools
import math

import pytest
import torch

from dgm_book import statistics
from dgm_book.results import Result
from dgm_book.statistics import effect, format_difference, format_mean, paired_difference, tidy


def test_matches_the_textbook_and_covers_as_often_as_it_says():
    interval = paired_difference([3.0, 5.0, 10.0], [1.0, 2.0, 3.0])  # differences 2, 3, 7
    assert (interval.mean, interval.n) == (4.0, 3)
    assert interval.standard_error == pytest.approx(math.sqrt(7.0 / 3.0))
    reach = 4.302652729911275 * math.sqrt(7.0 / 3.0)  # t(2), 97.5 %
    assert (interval.low, interval.high) == pytest.approx((4 - reach, 4 + reach))
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
    assert statistics.format_interval(three, 1, "") == "2.0 [-0.5, 4.5]"
    assert statistics.format_intervals({"a": three, 2: three}, 0) == "a +2 [-0, +4], 2 +2 [-0, +4]"
    assert statistics.format_differences({"a": three}, 1) == "a +2.0 [-0.5, +4.5] (95 %, 3 pairs)"
    single = paired_difference([2.0], [1.5])  # says nothing of its error
    assert (single.mean, single.standard_error, single.low) == (0.5, math.inf, -math.inf)
    assert format_difference(single, unit="seed") == "+0.50 (one seed)"
    assert format_mean(statistics.mean_over_seeds([1.0, 2.0, 3.0]), 1) == "2.0 ± 0.6"
    assert format_mean(statistics.mean_over_seeds([1.0])) == "1.00"


def test_an_effect_pairs_runs_by_their_seeds():
    def results(**by_seed):
        values = {int(k[1:]): {"rows": [{}, {"kl": v}]} for k, v in by_seed.items()}
        return [Result("a", x, {}, {"seed": n}, True) for n, x in values.items()]

    kl = functools.partial(statistics.read, path="rows/-1/kl")
    runs = {"plain": results(s0=1.0, s1=2.0, s2=5.0), "pooled": results(s2=6.0, s0=4.0, s7=100.0)}
    gap = effect(tidy(runs, kl), "pooled", "plain")  # seeds 0 and 2
    assert (gap.n, gap.mean) == (2, 2.0)
    assert effect(tidy(runs, lambda r: 2 * kl(r)), "pooled", "plain").mean == 4.0
    assert statistics.mean_over_seeds(tidy(runs, kl)["plain"]).mean == pytest.approx(8 / 3)
    with pytest.raises(ValueError, match=r"plain.*more than one run of seed 1"):
        tidy({"plain": results(s1=0.0) * 2}, kl)
    with pytest.raises(ValueError, match="want two rows"):
        effect(tidy({"a": results(s0=1.0), "b": results(s1=1.0)}, kl), "a", "b")
