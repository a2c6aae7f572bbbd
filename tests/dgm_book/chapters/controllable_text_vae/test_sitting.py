"""What of a sitting may be committed."""

import pandas
import torch

from dgm.data import text
from dgm_book import hand_score
from dgm_book.chapters.controllable_text_vae import sitting


def test_sentences_that_are_not_ours_are_left_out_and_rates_stay(tmp_path, monkeypatch):
    test = text.Sentences(["bad tea .", "good tea .", "vile tea ."], torch.tensor([0, 1, 0]))
    monkeypatch.setattr(sitting.text, "load", lambda *_: test)
    rows = [
        ("DualRL", "vile tea .", "make it positive", "theirs alone"),
        ("rewriter", "vile tea .", "make it positive", "fine tea ."),
        ("rewriter, typed", "My tea!", "make it positive", "my great tea !"),
    ]
    hand_score.write_sitting(tmp_path / "whole", rows, 0)
    answers = iter("ynyyyyyyn")
    hand_score.mark(tmp_path / "whole", "first", lambda _: next(answers))
    sitting.published(tmp_path / "whole", tmp_path / "public")
    sheet = pandas.read_csv(tmp_path / "public" / "sheet.tsv", sep="\t")
    assert set(sheet["source"]) == {"yelp test 0:1", "My tea!"}
    assert set(sheet["text"]) == {"(not ours)", "fine tea .", "my great tea !"}
    whole, public = (hand_score.rates(tmp_path / n, "first") for n in ("whole", "public"))
    pandas.testing.assert_frame_equal(whole, public)
