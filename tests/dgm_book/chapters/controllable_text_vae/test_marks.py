"""What chapter 4 shows of the marks by hand, against counts of the committed files."""

import csv
import re

import pytest

from dgm_book import hand_score
from dgm_book.chapters.controllable_text_vae import marks


def rows(name, sitting=marks.SENTIMENT):
    path = hand_score.corpus() / "hand_scores" / sitting / f"{name}.tsv"
    return list(csv.DictReader(path.open(encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE))


def good(system, side="", scorer="first"):
    marked = {r["item"]: "0" not in list(r.values())[1:] for r in rows(f"marks.{scorer}")}
    own = [r for r in rows("key") if r["system"] == system and r["asked"].endswith(side)]
    return sum(marked.get(r["item"], False) for r in own) / len(own)


def test_numbers_and_bars_are_counts_of_the_marks():
    numbers, (figure, plain) = marks.numbers(), (marks.forest().html, marks.forest().plain)
    for name, system in (("yelp", marks.OURS), ("rewriter", marks.SHOWN), ("person", "person")):
        assert numbers[name]["good"] == pytest.approx(good(system))
    for side in ("negative", "positive"):
        assert numbers[side]["good"] == pytest.approx(good(marks.OURS, side))
    assert numbers["best"] == max(map(good, marks.RIVALS))
    assert numbers["events"]["n"] + numbers["others"]["n"] == numbers["typed"]["n"] == 60
    for system, label in marks.SYSTEMS.items():
        first, second = (100 * good(system, scorer=scorer) for scorer in marks.SCORERS)
        assert f"{label}: {first:.0f} and {second:.0f} % (" in plain
        assert f'cx="{first:.1f}%"' in figure or f'<rect x="{first:.1f}%"' in figure
    assert numbers["later"]["n"] == 80
    assert figure.count("<circle") == 5  # the page's own models


def test_the_list_has_every_rewrite_of_ours_and_no_sentence_of_others():
    html = marks.rewrites().html
    lines = re.findall(r"<li>(.*?)</li>", html)
    n = {end: sum(f"→ {end}:" in line for line in lines) for end in ("negative", "positive")}
    assert n == {"negative": 140, "positive": 140}
    assert sum(bool(re.search(r"→ (?:romantic|humorous):", line)) for line in lines) == 200
    assert "(not ours)" not in html
    assert "yelp test" not in html
    sizes = zip((100, 60, 80), marks.ENDS, strict=True)
    n_good = sum(round(n * good(f"{marks.OURS}{end}")) for n, end in sizes)
    assert sum("(good" in line for line in lines[:240]) == n_good
    shown = {f"{marks.SHOWN}{end}" for end in marks.ENDS}
    keys = (r for s in (marks.SENTIMENT, marks.MORE) for r in rows("key", s))
    declined = sum(row["system"] in shown and not row["item"] for row in keys)
    assert sum("declined" in line for line in lines) == declined
