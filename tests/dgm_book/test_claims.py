"""Claims: the rule that judges them, what each has to state, and the plot that shows it."""

import itertools
import json
import math
import re
from collections import Counter
from pathlib import Path

import jinja2
import pytest
import yaml
from pybtex.database import parse_file

from dgm_book import claims
from dgm_book.chapters import CHAPTERS, all_claims
from dgm_book.claims import FIELDS, LEAST, SIDES, Outcome, combined, judged, render, table, verdict
from dgm_book.statistics import detectable, interval, paired_difference

FILE = """\
title: Chapter X
head: [first_a, second_b]
short:
  Is B, 1 of 2?: {second_b: b is small}
  A: {first_a: a is A}
claims:
  second_b: &b
    claim: B is <small>
    who: paper
    source: Y 2020
    kind: difference
    asked: {each: {above: 1, unit: nats, why: w}, loss: {below: -0.5, unit: nats, why: v}}
    baseline: {name: unigram, below: {a: 5, b: 6}, unit: nats}
    rests_on: seed
    measured: "minus A: {{ gap | difference(1, 'seed') }}; its mean
      {{ gap | mean }}"
  first_a:
    claim: A
    who: this book
    source: Z 2021
    kind: identity
    asked: {each: {within: 1, unit: nats, why: w}}
    baseline: {none: nothing learns}
    rests_on: seed
    measured: not run
"""
GAP = paired_difference([3.0, 4.0, 5.0], [1.0, 1.0, 1.0])  # 3 +- 2.48
SURE, NONE = interval(3.0, 0.1, 5), {"gap": GAP}
LEVELS = {"each": {"a": 4.0, "b": 5.5}}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(FILE, "utf-8")
    return path


def judge(path, *outcomes):
    return judged(path, "01_x", dict(zip(("second_b", "first_a"), outcomes, strict=True)), "smoke")


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "within", "beyond"),
    [
        (0.3, 0.5, "holds", "does not hold", "does not hold", "holds"),
        (0.1, 0.5, "undecided", "undecided", "undecided", "undecided"),
        (-0.1, 0.1, "does not hold", "holds", "holds", "does not hold"),
        (-0.1, 0.5, "undecided", "undecided", "undecided", "undecided"),
        (-0.5, -0.3, "does not hold", "holds", "does not hold", "holds"),
        (-0.5, 0.5, "undecided", "undecided", "undecided", "undecided"),
        (math.nan, math.nan, *4 * ["not tested"]),
    ],
)
def test_the_whole_interval_lies_on_one_side_of_the_smallest_effect(
    low, high, above, below, within, beyond
):
    measured = interval(0.0, 0.0, LEAST)._replace(low=low, high=high)
    expected = dict(zip(SIDES, (above, below, within, beyond), strict=True))
    assert {side: verdict(measured, side, 0.2) for side in SIDES} == expected
    for side in SIDES:  # two values decide nothing general, and an identity needs but one
        assert verdict(measured._replace(n=LEAST - 1), side, 0.2) == "not tested"
        assert verdict(measured._replace(n=1), side, 0.2, least=1) == expected[side]


def test_an_interval_with_zero_refutes_only_with_the_smallest_effect_outside():
    wide, narrow = interval(0.0, 0.1, 3), interval(0.0, 0.01, 30)
    assert [verdict(x, "above", 0.2) for x in (wide, narrow)] == ["undecided", "does not hold"]
    assert verdict(wide, "above", -0.2) == "undecided"  # non-inferiority by a margin
    assert verdict(narrow, "above", -0.2) == "holds"


def test_the_weakest_part_decides_and_what_was_not_tested_is_left_out():
    order = ("does not hold", "undecided", "holds", "not tested")
    for a, b in itertools.combinations_with_replacement(order, 2):
        assert combined([b, a]) == a
    assert combined([]) == "not tested"


def test_power_is_that_of_a_t_test():
    assert detectable(interval(0.0, 1.0, 100_000)) == pytest.approx(2.8, abs=0.002)
    assert detectable(interval(5.0, 2.0, 3)) == pytest.approx(2 * (4.30265 + 1.06066), rel=1e-5)
    assert detectable(interval(5.0, math.inf, 1)) == math.inf


def test_words_and_outcomes_meet_by_id_in_the_order_of_the_file(path):
    outcome = Outcome({"gap": SURE, "a loss": GAP}, NONE, "", LEVELS)
    b, a = judge(path, outcome, Outcome({}, scale="exact"))
    assert (b.id, b.chapter, b.title, b.claim) == ("second_b", "01_x", "Chapter X", "B is <small>")
    assert b.measured == "minus A: +3.0 [+0.5, +5.5] (95 %, 3 seeds); its mean 3.00 ± 0.58"
    assert (b.scale, b.verdict, b.tests) == (
        *("smoke", "does not hold"),
        {"each": [SURE], "loss": [GAP]},
    )
    assert (a.id, a.scale, a.verdict) == ("first_a", "exact", "not tested")
    assert judge(path, outcome, Outcome({"x": interval(0.5, 0.0, 1)}))[1].verdict == "holds"


@pytest.mark.parametrize(
    ("levels", "expected"),
    [({"a": 4.0, "b": 5.5, "other": 9.0}, "holds"), ({"a": 4.0, "b": 6.0}, "not tested"),
     ({"a": math.nan, "b": 5.5}, "not tested")],
)  # fmt: skip
def test_nothing_is_judged_where_an_arm_does_not_beat_the_named_baseline(path, levels, expected):
    (claim, _) = judge(path, Outcome({"gap": SURE}, NONE, "", {"gap": levels}), Outcome())
    assert claim.verdict == expected
    html, failed = text(table([claim])), expected == "not tested"
    assert ("(not passed)" in html, "seen nothing" in html) == (failed, failed)
    assert failed == ("Baseline not passed: " in html)
    assert failed == ("<line" not in table([claim]).split("<ul>")[1])
    with pytest.raises(ValueError, match="no level"):
        judge(path, Outcome({"gap": SURE}, NONE), Outcome())


@pytest.mark.parametrize("ids", [["first_a"], ["first_a", "second_b", "third"]])
def test_every_claim_has_words_and_an_outcome(path, ids):
    with pytest.raises(ValueError, match=r"second_b|third"):
        judged(path, "01_x", dict.fromkeys(ids, Outcome()))
    path.write_text(FILE.replace("  A: {first_a: a is A}\n", ""))
    with pytest.raises(ValueError, match=r"short words: \['first_a'\]"):
        judge(path, Outcome({}, NONE), Outcome())
    path.write_text(FILE.replace("    rests_on: seed\n", "", 1))
    with pytest.raises(ValueError, match="second_b has"):
        judge(path, Outcome({}, NONE), Outcome())


def test_a_value_that_no_outcome_gives_is_an_error(path):
    with pytest.raises(jinja2.UndefinedError, match="gap"):
        judge(path, Outcome(), Outcome())
    assert render("a\n  b {{ c }}", {"c": "<d>"}) == "a b <d>"


def text(html):
    """What a page says, without its drawings."""
    return " ".join(re.sub("<.*?>", " ", re.sub("<svg.*?</svg>", "", html)).split())


def test_the_plot_escapes_and_says_what_was_asked_and_could_have_been_seen(path):
    b, a = judge(path, Outcome({"gap": SURE, "loss": GAP}, NONE, "", LEVELS), Outcome())
    html = text(table([b, a]))
    assert '<li data-claim="second_b" data-verdict="does not hold">' in table([b, a])
    assert "1 does not hold 1 not tested" in html.replace("&nbsp;", " ")
    assert (
        "does not hold paper Is B, 1 of 2? B is small Weakest of 2: loss: 3 [0.516, 5.48]," in html
    )
    assert "3 seeds; asked: below -0.5 nats" in html
    assert "B is &lt;small&gt; (paper: Y 2020)" in html
    assert (
        "Asked Difference; above 1 nats (w); loss: below -0.5 nats (v) Could have seen 0.37" in html
    )
    assert "(5 seeds); loss: 3.1 (3 seeds) Baseline unigram; asked for: below (nats): a 4" in html
    assert "a 4 of 5, b 5.5 of 6" in html
    assert "not tested this book A A is A not run" in html
    assert "none, since nothing learns" in html
    assert "Chapter X" not in html
    assert 'href="#is-b-1-of-2"' in table([b])
    together = table([b], with_chapter=True)
    assert 'href="../notebooks/01_x.html#is-b-1-of-2"' in together
    assert "1. Chapter X" in text(together)
    scores = text(claims.scores([b, a, a]))
    assert "1. Chapter X 0 1 0 2 Claimed by the paper 0 1 0 0" in scores
    assert "Claimed by this book 0 0 0 2 All 0 1 0 2" in scores
    with pytest.raises(ValueError, match="verdict must be"):
        table([b._replace(verdict="perhaps")])


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_row_states_its_smallest_effect_its_baseline_and_who_makes_it(chapter):
    path = Path(claims.__file__).parent / "chapters" / chapter / "claims.yaml"
    for id_, text in yaml.safe_load(path.read_text("utf-8"))["claims"].items():
        assert text.keys() == FIELDS, id_
        assert text["who"] in claims.MAKERS, id_
        assert text["kind"] in claims.KINDS, id_
        assert text["asked"] or text["kind"] == "not run", id_
        for ask in text["asked"].values():
            (side,) = ask.keys() & set(SIDES)
            assert ask.keys() - {"from"} == {side, "unit", "why"}, id_
            assert math.isfinite(ask[side]), id_
            assert ask[side] != ask.get("from", 0), id_
        keys = text["baseline"].keys()
        assert keys in ({"none"}, {"name", "above", "unit"}, {"name", "below", "unit"}), id_
        if text["kind"] in ("difference", "non-inferiority") and "none" in keys:
            assert len(text["baseline"]["none"]) > 10, id_


def test_each_published_verdict_has_tests_with_power_or_was_not_tested(monkeypatch):
    monkeypatch.delenv("DGM_RESULTS", raising=False)
    rows = all_claims()
    assert len(rows) > 70
    shown = Counter(claim.chapter for claim in rows if claim.in_head)
    assert shown == dict.fromkeys(CHAPTERS.values(), 2)
    for claim in rows:
        tests = [test for part in claim.tests.values() for test in part]
        if claim.verdict != "not tested":
            assert any(math.isfinite(detectable(t)) for t in tests) or claim.kind == "identity"
            assert claim.levels or "none" in claim.baseline, claim.id
        judged_rows = [row.verdict for _, row in claims.rows(claim)]
        assert combined(judged_rows) == claim.verdict, "the plot's rows decide the claim"
        assert f'<ul><li data-claim="{claim.id}" data-verdict="{claim.verdict}">' in table([claim])


def test_a_head_s_lines_follow_the_verdicts(path):
    b, a = judge(path, Outcome({"gap": SURE, "loss": GAP}, NONE, "", LEVELS), Outcome())
    for word, counts in {
        "holds": "1 holds, 0 do not, 0 are undecided, 0 were not tested",
        "does not hold": "0 hold, 1 does not, 0 are undecided, 0 were not tested",
        "undecided": "0 hold, 0 do not, 1 is undecided, 0 were not tested",
        "not tested": "0 hold, 0 do not, 0 are undecided, 1 was not tested",
    }.items():
        lines = claims.head([b._replace(verdict=word), a])
        assert lines == {
            "head_counts": f"Of the paper's own claims {counts}",
            "head_first": f"{word.capitalize()}: b is small",
            "head_second": "Not tested: a is A",
        }
    assert "not run" in claims.head([b])["head_second"]
    with pytest.raises(ValueError, match="longer"):
        claims.head([b, a, a])


ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("chapter", "name"), CHAPTERS.items())
def test_a_chapter_s_head_is_its_paper_s_entry_and_shows_two_claims(chapter, name):
    path = Path(claims.__file__).parent / "chapters" / chapter / "claims.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    assert len(set(content["head"]) & content["claims"].keys()) == len(content["head"]) == 2
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    (place,) = (i for i, cell in enumerate(cells) if cell["id"] == "head")
    headings = re.findall(
        r"^#+ (.*)$", "\n".join("".join(c["source"]) for c in cells), re.MULTILINE
    )
    assert content["short"].keys() <= set(headings), "claims link to sections"
    before, text = "".join(cells[place - 1]["source"]), "".join(cells[place]["source"])
    assert "\nwidgets." in before, "right below the opening widget"
    (entry,) = (
        entry
        for entry in parse_file(str(ROOT / "book" / "references.bib")).entries.values()
        if f"(https://arxiv.org/abs/{entry.fields.get('eprint')})" in text
    )
    people = [
        " ".join(p.first_names + p.middle_names + p.last_names) for p in entry.persons["author"]
    ]
    authors = f"{', '.join(people[:-1])} and {people[-1]}"
    title = entry.fields["title"].replace("{", "").replace("}", "")
    assert f"[{title}](" in text
    assert f"). {authors}, " in text
    assert f" {entry.fields['year']}.\n" in text
    assert all(f"{{glue:text}}`{line}`" in text for line in claims.head([]))
