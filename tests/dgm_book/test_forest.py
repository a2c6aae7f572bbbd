"""Forest plots: where intervals lie, by arithmetic and by the rule that judges them."""

import itertools
import math
import re

import pytest

from dgm_book.claims import FAILS, HOLDS, NOT_TESTED, SIDES, UNDECIDED, VERDICTS, verdict
from dgm_book.forest import MOST, REACH, mark, place, plot, row, shown
from dgm_book.statistics import interval


def measured(mean, reach, n=3):
    return interval(mean, 0.0, n)._replace(low=mean - reach, high=mean + reach)


@pytest.mark.parametrize(
    ("side", "at", "origin", "expected"),
    [
        ("above", 0.5, 0, (2, 1, 3)),
        ("above", -0.5, 0, (2, 1, 3)),  # a margin, which the claim may fall short by
        ("below", 0.5, 0, (-2, -3, -1)),
        ("below", -0.5, 0, (-2, -3, -1)),
        ("within", 0.5, 0, (2, 1, 3)),
        ("above", 0.9, 1, (0, -5, 5)),
        ("below", 1.25, 1, (0, -2, 2)),
    ],
)
def test_a_row_is_in_smallest_effects_towards_the_claim(side, at, origin, expected):
    drawn = row(measured(1.0, 0.5), side, at, HOLDS, origin)
    assert drawn[:3] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("side", "at"), [*itertools.product(SIDES, [0.5]), ("above", -0.5), ("below", -0.5)]
)
def test_an_interval_lies_in_a_zone_exactly_where_the_claim_holds(side, at):
    for mean in (-2.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 2.0):
        for reach in (0.0625, 0.375, 1.125):
            x = measured(mean, reach)
            judged, each = verdict(x, side, at), row(x, side, at, "")
            outside = all(each.high < low or each.low > high for low, high in each.zones)
            expected = HOLDS if each.slack > 0 else FAILS if outside else UNDECIDED
            assert judged == expected, (mean, reach)


def test_places_are_shares_of_the_width_and_ends_hold_what_is_beyond():
    values = (-math.inf, -REACH, -1.0, 0.0, 1.0, REACH, 1e6)
    assert [place(x) for x in values] == pytest.approx([0, 0, 100 / 3, 50, 200 / 3, 100, 100])
    with pytest.raises(ValueError, match="no smallest effect"):
        row(measured(1.0, 0.5), "above", 1, HOLDS, origin=1)


def test_an_interval_is_drawn_to_scale_with_arrows_where_it_goes_on():
    svg = plot([row(measured(0.0, 1.5), "above", 1, UNDECIDED)])
    assert '<line x1="25.00%" x2="75.00%"' in svg
    assert '<svg x="50.00%"' in svg
    assert svg.count("<path") == 0
    assert plot([row(measured(0.0, 4.0), "above", 1, UNDECIDED)]).count("<path") == 2
    one = plot([row(interval(0.5, math.inf, 1), "above", 1, NOT_TESTED)])
    assert 'currentColor" stroke-width="2"' not in one, "one value has no interval"
    assert '<svg x="58.33%"' in one
    assert "nan" not in plot([row(measured(math.nan, 1.0), "above", 1, NOT_TESTED)])


def test_a_plot_shows_the_tested_rows_of_least_slack_in_their_order():
    rows = [row(measured(x, 0.1), "above", 1, HOLDS) for x in (9, 2, 8, 3, 7, 4, 6, 5.0)]
    rows.append(row(interval(0.0, math.inf, 1), "above", 1, NOT_TESTED))
    assert [x.mean for x in shown(rows)] == [2, 3, 4, 6, 5]
    assert len(shown(rows)) == MOST


def test_verdicts_differ_by_shape_without_their_colours():
    shapes = {re.sub(r'(fill|stroke)="[^"]*"', "", mark(verdict)) for verdict in VERDICTS}
    assert len(shapes) == len(VERDICTS)
