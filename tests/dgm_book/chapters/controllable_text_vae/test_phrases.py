"""Phrases that people changed turn other sentences."""

import random

from dgm_book.chapters.controllable_text_vae.phrases import Phrases

PAIRS = [
    ("we waited an hour for cold soup .", "we were served at once with hot soup ."),
    ("the lamp is not bright .", "the lamp is bright ."),
    ("he is rude to us .", "he is kind to us ."),
]
TABLE = Phrases(PAIRS, ["is is to to us us the the . ."] * 3)


def test_a_phrase_is_changed_beside_the_same_word_in_either_direction() -> None:
    rng = random.Random(0)
    assert TABLE.turn("she is rude to me", 1, rng) == "she is kind to me"
    assert TABLE.turn("she is kind to me", 0, rng) == "she is rude to me"
    assert TABLE.turn("a rude awakening", 1, rng) == "a rude awakening"  # no neighbour fits


def test_a_word_left_out_takes_the_word_before_along() -> None:
    assert TABLE.turn("it is not bright here", 1, random.Random(0)) == "it is bright here"


def test_phrases_of_frequent_words_need_both_neighbours() -> None:
    table = Phrases([("take us to the zoo", "take the to us zoo")], ["us the to"])
    assert table.turn("take us to the sea", 1, random.Random(0)) == "take us to the sea"
    assert Phrases([], []).turn("", 1, random.Random(0)) == ""
