"""Candidates and their ranking: capitals, numbers, strange texts, and what is not shown."""

import numpy as np
import pytest
import torch

from dgm.data.text import Vocabulary
from dgm.nets.copying import CopyingTransformer, Sizes
from dgm_book.chapters.controllable_text_vae import ranking
from dgm_book.chapters.controllable_text_vae.pairs import SLOTS
from dgm_book.chapters.controllable_text_vae.ranking import Candidate, PairModel, Ranker
from dgm_book.chapters.controllable_text_vae.readers import SIZE, LinearReader

WORDS = Vocabulary(["the", "food", "was", "good", "bad", ".", "a", "visit"], SLOTS)


@pytest.fixture
def ranker():
    torch.manual_seed(0)
    sizes = Sizes(16, 2, 1, 1, 24)
    model = CopyingTransformer(len(WORDS), WORDS.first_word, sizes).eval()
    reader = LinearReader(np.zeros(SIZE, np.float32), 0.0)
    pairs = PairModel.fit(["the food was good .", "the food was bad ."])
    return Ranker(WORDS, model, reader, lambda t: np.full(len(t), 2.0), pairs)


@pytest.mark.parametrize(
    ("source", "rewrite", "wanted"),
    [
        ("At Carlotta's I ate.", "at carlotta 's i ate well .", "At Carlotta's I ate well."),
        ("I didn't like it!", "i loved it !", "I loved it!"),
        ("NEVER again, $40!", "always again , $ 40 !", "Always again, $40!"),
        ("it was ok", "it was great", "it was great"),
        ("WORST PIZZA EVER!", "best pizza ever !", "BEST PIZZA EVER!"),
    ],
)
def test_capitals_and_marks_come_back(source, rewrite, wanted):
    assert ranking.restore(source, rewrite) == wanted


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("The food at Blue Lagoon was bad.", ["blue", "lagoon"]),
        ("A visit I had on Monday.", ["monday"]),
        ("Zorba was good. A visit was bad!", ["zorba"]),
        ("Good's food was bad.", ["good"]),
        ("I was BAD", []),
        ("the food was bad", []),
    ],
)
def test_names_are_words_with_a_capital_that_no_sentence_gave_them(typed, expected):
    assert ranking.names(typed, WORDS) == expected


@pytest.mark.parametrize(
    ("candidate", "kept"),
    [
        ("_num_ good visit at zorba , 40", True),
        ("_num_ good visit , 40", False),
        ("_num_ _num_ good visit at zorba , 40", False),
        ("_num_ good visit at zorba , 50", False),
        ("_num_ <unk> visit at zorba , 40", False),
    ],
)
def test_numbers_and_names_stay(candidate, kept):
    assert ranking.keeps("_num_ bad visit at zorba , 40", candidate, ["zorba"]) == kept


def test_any_text_gets_candidates_that_keep_its_numbers(ranker):
    texts = ["the food was bad .", "\U0001f355 zzz 40", "x", "the " * 50]
    rows = ranker.candidates([t.strip() for t in texts], [4.0, 0.0, 2.5, 4.0])
    assert len(rows) == len(texts)
    assert all("40" in c.text.split() for c in rows[1])
    for row in rows:
        assert [c.score for c in row] == sorted((c.score for c in row), reverse=True)
        assert not any("<unk>" in c.text for c in row)


def test_texts_of_any_kind_are_rewritten_or_left(ranker):
    texts = ["", "The food was bad. A visit!", "\u05e9\u05dc\u05d5\u05dd", "bad " * 200]
    rewrites = ranking.rewrite_texts(ranker, texts, [4.0] * len(texts))
    assert rewrites[0] is None
    assert len(rewrites) == len(texts)


def test_candidates_repeat_and_are_whole_distributions(ranker):
    texts = ["the food was bad ."]
    assert ranker.candidates(texts, [4.0]) == ranker.candidates(texts, [4.0])
    grades = ranking.mixtures([0, 1.25, 4, 9])
    assert grades[1].tolist() == [0, 0.75, 0.25, 0, 0]
    assert (grades.sum(1) == 1).all()


def test_what_is_left_out_added_and_repeated_is_counted(ranker):
    natural, left_out, added, repeated = ranker.changes(
        "the visit was bad .", "the the food was good ."
    )
    assert natural <= 0
    assert (left_out, repeated) == (-1.0, -1.0)
    assert added == 0  # "food" and "good" are frequent here


@pytest.mark.parametrize(
    ("text", "score", "agreement", "value", "shown"),
    [
        ("good", 1.0, 0.9, 3.0, True),
        ("bad", 1.0, 0.9, 3.0, False),
        ("good", 1.0, -0.2, 3.0, False),
        ("good", 1.0, 0.9, 1.0, False),
        ("good", -2.0, 0.9, 3.0, False),
    ],
)
def test_copies_and_what_is_not_turned_are_not_shown(text, score, agreement, value, shown):
    candidate = Candidate(text, score, (0, 0, agreement, 0, 0, 0, 0), value)
    assert (ranking.best("bad", [candidate], 4.0) is not None) == shown
