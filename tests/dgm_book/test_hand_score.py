"""The hand score: blind, resumable, and its rates against counts by hand."""

import pandas
import pytest

from dgm_book import hand_score

REWRITES = [
    ("ours", "the soup was cold .", "positive", "the soup was hot ."),
    ("ours", "i hate it .", "positive", "i love it ."),
    ("ours", "no way .", "positive", ""),
    ("theirs", "the soup was cold .", "positive", "the soup  was great ."),
    ("theirs", "i hate it .", "positive", "i love it ."),
    ("theirs", "no way .", "positive", "way ."),
]


def sitting(folder):
    return hand_score.write_sitting(folder, REWRITES, seed=0)


def answering(marks):
    answers = iter("".join(marks))
    return lambda question: next(answers)


def test_a_scorer_sees_no_system_and_equal_texts_once(tmp_path):
    sheet = sitting(tmp_path / "s")
    assert list(sheet) == ["item", "source", "asked", "text"]
    assert sorted(sheet["text"]) == sorted({" ".join(row[3].split()) for row in REWRITES} - {""})


def test_marks_are_stored_one_by_one_and_rates_are_counted(tmp_path):
    sheet = sitting(tmp_path)
    good = {"the soup was hot .": "yyy", "i love it .": "yyy", "the soup was great .": "yyn"}
    marks = [good.get(text, "nyn") for text in sheet["text"]]
    assert hand_score.mark(tmp_path, "ann", answering([*marks[:2], "y", "q"])) == 2
    assert hand_score.mark(tmp_path, "ann", answering(["?", *marks[2:]])) == 0
    table = hand_score.rates(tmp_path, "ann")
    assert table.loc["ours", "good"] == pytest.approx(2 / 3)
    assert table.loc["ours", "good if shown"] == 1
    assert table.loc["ours", "shown"] == pytest.approx(2 / 3)
    assert table.loc["theirs", "good"] == pytest.approx(1 / 3)
    assert table.loc["theirs", "grammatical"] == pytest.approx(2 / 3)
    # Wilson's interval for 1 of 3, from its closed form.
    assert table.loc["theirs", ["low", "high"]].tolist() == pytest.approx(
        [0.0615, 0.7923], abs=1e-4
    )


def test_agreement_is_that_of_a_table_by_hand(tmp_path):
    sitting(tmp_path)
    hand_score.mark(tmp_path, "ann", answering(["yyy", "yyn", "nnn", "nyy"]))
    hand_score.mark(tmp_path, "ben", answering(["yyy", "nyn", "nny", "nyy"]))
    kappa = hand_score.agreement(tmp_path, "ann", "ben")
    assert kappa["grammatical"] == pytest.approx(0.5)  # 3 of 4 agree, 2 of 4 by chance
    assert kappa["good"] == 1


def test_a_wrong_sitting_or_mark_is_refused(tmp_path):
    sitting(tmp_path)
    with pytest.raises(ValueError, match="holds a sitting"):
        sitting(tmp_path)
    with pytest.raises(ValueError, match="two texts"):
        hand_score.write_sitting(tmp_path / "new", [*REWRITES, REWRITES[0]], seed=0)
    with pytest.raises(ValueError, match="has not marked 4 items"):
        hand_score.rates(tmp_path, "ann")
    marks = pandas.DataFrame({"item": [9], "grammatical": 1, "attribute": 1, "kept": 1})
    marks.to_csv(tmp_path / "marks.ann.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match="not on the sheet"):
        hand_score.rates(tmp_path, "ann")
    marks.assign(item=0, kept=2).to_csv(tmp_path / "marks.ann.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match="each mark 0 or 1"):
        hand_score.rates(tmp_path, "ann")
