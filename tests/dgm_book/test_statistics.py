"""Paired differences: the mean, Student's interval, and what is refused."""

import math

import pytest
import torch

from dgm_book.statistics import above_zero, paired_difference, told


def test_matches_the_textbook():
    found = paired_difference([3.0, 5.0, 10.0], [1.0, 2.0, 3.0])  # differences 2, 3, 7
    assert found.mean == 4.0
    assert found.standard_error == pytest.approx(math.sqrt(7.0 / 3.0))
    reach = 4.302652729911275 * math.sqrt(7.0 / 3.0)  # t(2), 97.5 %
    assert (found.low, found.high) == pytest.approx((4 - reach, 4 + reach))
    assert found.n == 3


def test_what_a_pair_shares_drops_out():
    shared = 100 * torch.randn(10, generator=torch.Generator().manual_seed(0))
    found = paired_difference(shared + 1.0, shared)
    assert found.mean == pytest.approx(1.0, abs=1e-4)
    assert found.standard_error < 1e-4


def test_covers_as_often_as_it_says():
    draws = torch.randn(4000, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    intervals = [paired_difference(d[:, 0] + 0.5, d[:, 1]) for d in draws]
    covered = sum(i.low <= 0.5 <= i.high for i in intervals) / len(intervals)
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / len(intervals))


def test_one_pair_says_nothing_of_its_error():
    found = paired_difference([2.0], [1.5])
    assert found.mean == 0.5
    assert math.isinf(found.standard_error)
    assert found.low == -math.inf


@pytest.mark.parametrize(
    ("treated", "control"), [([], []), ([1.0, 2.0], [1.0]), ([1.0, float("nan")], [1.0, 2.0])]
)
def test_refuses_what_is_no_pair(treated, control):
    with pytest.raises(ValueError, match=r"want two rows|finite"):
        paired_difference(treated, control)


def test_a_difference_in_words():
    three = paired_difference([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])
    assert told(three, 1) == "+2.0 [-0.5, +4.5] (95 %, 3 pairs)"
    assert told(paired_difference([2.0], [1.5]), of="seed") == "+0.50 (one seed)"


def test_above_zero_asks_for_the_whole_interval():
    assert above_zero(paired_difference([2.0, 2.1, 2.2], [1.0, 1.0, 1.0])) is True
    assert above_zero(paired_difference([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])) is False
    assert above_zero(paired_difference([2.0], [1.0])) is None
