"""Claims: words and outcomes meet by id, templates are filled, the table says what it was given."""

import jinja2
import pytest

from dgm_book.claims import Claim, Outcome, above_zero, judged, render, table, verdict
from dgm_book.statistics import paired_difference

FILE = """\
title: Chapter X
claims:
  second_b:
    claim: B is <small>
    source: Y 2020
    measured: "minus A: {{ gap | difference(1, 'seed') }}; its mean
      {{ gap | mean }}"
  first_a:
    claim: A
    source: Z 2021
    measured: not run
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(FILE, "utf-8")
    return path


def test_words_and_outcomes_meet_by_id_in_the_order_of_the_file(path):
    gap = paired_difference([2.0, 3.0, 4.0], [1.0, 1.0, 1.0])
    outcomes = {"first_a": Outcome(None, scale="exact"), "second_b": Outcome(False, {"gap": gap})}
    b, a = judged(path, "01_x", outcomes, "smoke, 3 seeds")
    assert b == Claim(
        "second_b", "01_x", "Chapter X", "B is <small>", "Y 2020",
        "minus A: +2.0 [-0.5, +4.5] (95 %, 3 seeds); its mean 2.00 ± 0.58",
        "smoke, 3 seeds", "does not hold",
    )  # fmt: skip
    assert (a.id, a.scale, a.verdict) == ("first_a", "exact", "not tested")


def test_gains_hold_where_all_are_above_zero():
    large, small = (paired_difference([2.0, 3.0, 4.0], [x] * 3) for x in (0.0, 2.0))
    expected = Outcome(True, {"gains": {"a": large}, "n": 3}, "exact")
    assert above_zero({"a": large}, "exact", n=3) == expected
    assert not above_zero({"a": large, "b": small}).holds


@pytest.mark.parametrize("ids", [["first_a"], ["first_a", "second_b", "third"]])
def test_every_claim_has_words_and_a_rule(path, ids):
    with pytest.raises(ValueError, match=r"second_b|third"):
        judged(path, "01_x", dict.fromkeys(ids, Outcome(None)))


def test_a_value_that_no_rule_gives_is_an_error(path):
    with pytest.raises(jinja2.UndefinedError, match="gap"):
        judged(path, "01_x", {"first_a": Outcome(None), "second_b": Outcome(True)})
    assert render("a\n  b {{ c }}", {"c": "<d>"}) == "a b <d>"


def test_the_table_escapes_and_carries_ids_and_verdicts(path):
    single = Claim("a", "01_x", "X", "A <b>", "Y 2020", "1.0", "smoke", verdict(True))
    html = table([single, single._replace(verdict=verdict(None))])
    assert html.count('<tr data-claim="a" data-verdict=') == 2
    assert 'data-verdict="not tested"' in html
    assert "A &lt;b&gt; (Y 2020)" in html
    assert "<td>X</td>" not in html
    assert "<td>X</td>" in table([single], with_chapter=True)
    with pytest.raises(ValueError, match="verdict must be"):
        table([single._replace(verdict="perhaps")])
