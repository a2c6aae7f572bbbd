"""Sentences turned by rule, and pairs that differ by a negator."""

import random

import pytest

from dgm_book.chapters.controllable_text_vae.opposites import negation_pair, tables, turn


def turned(text, target):
    return {turn(text, target, random.Random(seed)) for seed in range(40)}


def test_words_are_replaced_by_their_opposites_or_negated():
    positive = turned("the staff was rude .", 1)
    assert len(positive) > 3
    assert positive <= {f"the staff was {word} ." for word in tables()[1]["rude"]}
    negative = turned("the staff was friendly .", 0)
    negated = {"the staff was not friendly .", "the staff was n't friendly ."}
    assert negated < negative
    assert negative - negated <= {f"the staff was {word} ." for word in tables()[0]["friendly"]}


@pytest.mark.parametrize(
    ("text", "target", "forbidden", "wanted"),
    [
        ("i will definitely be back .", 0, "definitely", "be"),
        ("i would not recommend it .", 1, "not", "recommend"),
        ("they did n't like us", 1, "n't", "like"),
        ("the soup is not good .", 1, "not", "good"),
    ],
)
def test_phrases_are_turned(text, target, forbidden, wanted):
    for result in turned(text, target):
        assert forbidden not in result.split()
        assert wanted in result.split()


def test_what_has_no_sentiment_stays_and_draws_repeat():
    assert turn("we came at noon .", 0, random.Random(0)) == "we came at noon ."
    text = "great food , great staff , awful parking ."
    assert turn(text, 0, random.Random(5)) == turn(text, 0, random.Random(5))


def test_no_word_is_its_own_opposite():
    assert not [word for table in tables() for word, others in table.items() if word in others]


def test_negation_pairs_differ_and_are_filled():
    drawn = [negation_pair(random.Random(seed)) for seed in range(300)]
    for negative, positive in drawn:
        assert negative != positive
        assert "{" not in negative + positive
    assert len({sentence for pair in drawn for sentence in pair}) > 400
