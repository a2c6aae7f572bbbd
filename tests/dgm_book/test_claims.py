"""The claims table says what it was given, and nothing that it was not."""

import pytest

from dgm_book.claims import Claim, judge, table


def claim(**changes):
    fields = {
        "chapter": "01_x", "title": "X", "claim": "A <b>", "source": "Y 2020",
        "measured": "1.0 ± 0.1", "scale": "smoke", "verdict": "holds",
    }  # fmt: skip
    return Claim(**{**fields, **changes})


def test_table_has_a_row_a_claim_with_its_verdict():
    html = table([claim(), claim(verdict="not tested")])
    assert html.count("<tr data-verdict=") == 2
    assert 'data-verdict="not tested"' in html
    assert "A &lt;b&gt; (Y 2020)" in html
    assert "X" not in table([claim(claim="a", source="b")]).replace("scope", "")
    assert "<td>X</td>" in table([claim()], with_chapter=True)


def test_verdicts():
    assert [judge(v) for v in (True, False, None)] == ["holds", "does not hold", "not tested"]
    with pytest.raises(ValueError, match="verdict must be"):
        table([claim(verdict="perhaps")])
