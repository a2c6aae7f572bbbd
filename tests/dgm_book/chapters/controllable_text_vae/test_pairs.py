"""Pairs for the rewriter: what can be written, markers of unknown words, and fixed items."""

import random

import numpy as np

from dgm.data.text import Vocabulary
from dgm_book.chapters.controllable_text_vae import pairs
from dgm_book.chapters.controllable_text_vae.pairs import GradedReviews, Pair
from dgm_book.chapters.controllable_text_vae.phrases import Phrases
from dgm_book.chapters.controllable_text_vae.readers import SIZE, LinearReader, features

WORDS = Vocabulary(["the", "food", "was", "good", "bad", ".", "a", "visit"], pairs.SLOTS)


PHRASES = Phrases([], [])


def test_unknown_words_are_written_with_their_source_marker():
    pair = Pair("zorba was 40 bad .", "good 40 zorba .", 4)
    assert pairs.can_write(WORDS, pair)
    batch = pairs.encode(WORDS, [pair])
    unknown = "zorba", "40"
    assert WORDS.decode(batch.target[0], unknown) == pair.target
    assert batch.grade.tolist() == [[0, 0, 0, 0, 1]]
    assert not pairs.can_write(WORDS, Pair("the food .", "zorba .", 0))
    assert not pairs.can_write(WORDS, Pair("", "good .", 0))
    assert not pairs.can_write(WORDS, Pair("good " * 31, "good .", 0))


def test_versions_are_read_and_written_in_every_order_with_equal_numbers():
    texts = "the bus took _num_ minutes", "it took only _num_ minutes", "just _num_ minutes !"
    versions = pairs.Versions(texts, (1, 3, 4))
    drawn = [p for seed in range(60) for p in pairs.version_pairs(versions, random.Random(seed))]
    assert len({(p.source.split()[0], p.target.split()[0]) for p in drawn}) == 6
    for pair in drawn:
        numbers = [[w for w in text.split() if w.isdigit()] for text in pair[:2]]
        assert numbers[0] == numbers[1]
        assert pair.grade == {"the": 1, "it": 3, "just": 4}[pair.target.split()[0]]


def test_two_clauses_are_turned_together_or_the_second_alone():
    first = pairs.Versions(("soup bad .", "soup good !", "soup superb ."), (1, 3, 4))
    second = pairs.Versions(("staff rude .", "staff kind ."), (0, 3))
    drawn = {pairs.joined_pair(first, second, random.Random(i)) for i in range(200)}
    whole = {p for p in drawn if "but" not in p.source}
    assert Pair("soup bad and staff rude .", "soup good and staff kind .", 3) in whole
    assert Pair("soup superb , staff kind .", "soup bad , staff rude .", 1) in whole
    mixed = drawn - whole
    assert Pair("soup good but staff rude .", "soup good and staff kind .", 3) in mixed
    assert {p.grade for p in drawn} == {1, 3}
    assert (
        pairs.joined_pair(first, pairs.Versions(("no .", "nay ."), (0, 1)), random.Random(0))
        is None
    )


def test_an_edit_has_words_and_places_that_stay():
    edit = "0:3 hot and 1:2 4:5"
    assert pairs.edited("the soup was cold .", edit) == "the soup was hot and soup ."
    reviews = GradedReviews(["unlike any other ."], [0])
    assert all(len(row.texts) == 2 for row in pairs.versions_by_hand(reviews))


def test_graded_pairs_cover_grades_and_leave_fixed_items_alone():
    item = tuple(f"sentence {g} ." for g in range(5))
    drawn = [p for seed in range(40) for p in pairs.graded_pairs(item, random.Random(seed))]
    assert {(p.source, p.target) for p in drawn} == {(a, b) for a in item for b in item}
    assert all(p.target == item[p.grade] for p in drawn)
    fixed = pairs.graded_pairs(("closed on monday .",) * 5, random.Random(0))
    assert all(p.source == p.target for p in fixed)


def test_reviews_are_turned_and_written_as_they_were():
    weights = np.zeros(SIZE, np.float32)
    weights[features(["terrible bad awful"]).indices] = -9
    weights[features(["great amazing lovely wonderful"]).indices] = 9
    reader = LinearReader(weights, 0.0)
    reviews = GradedReviews(["the bad trip took _num_ days ."], [0])
    drawn = pairs.review_pairs(reviews, [0] * 60, reader, PHRASES, random.Random(0))
    for pair in drawn:
        assert "_num_" not in pair.source + pair.target
        assert pair.target.startswith("the bad trip")
        assert pair.grade == 0
    assert len({pair.source for pair in drawn}) > 10
    neither = GradedReviews(["the trip took _num_ days ."], [0])  # which no rule turns
    drawn = pairs.review_pairs(neither, [0] * 200, reader, PHRASES, random.Random(0))
    assert 0 < len(drawn) < 30
    assert all(pair.source == pair.target for pair in drawn)
    by_hand = Phrases([("the trip took days .", "the great trip took days .")], [])
    drawn = pairs.review_pairs(neither, [0] * 200, reader, by_hand, random.Random(0))
    assert sum(pair.source.startswith("the great trip") for pair in drawn) > 150
