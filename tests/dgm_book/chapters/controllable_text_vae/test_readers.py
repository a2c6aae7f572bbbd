"""The linear reader sees negators, and the stress test is what it says."""

import csv

import numpy as np

from dgm_book.chapters.controllable_text_vae import readers
from dgm_book.chapters.controllable_text_vae.readers import Examples

THINGS = ["soup", "bread", "room", "film", "course", "train", "phone", "book"]
NEGATED = ["the {} was not good .", "the {} was never any good .", "it was bad , the {} ."]
PLAIN = ["the {} was good .", "the {} was not bad .", "it was good , the {} ."]


def examples(things):
    texts = [frame.format(t) for t in things for frame in NEGATED + PLAIN]
    return Examples(texts, np.tile([0, 0, 0, 1, 1, 1], len(things)), np.ones(len(texts)))


def test_a_negator_turns_what_is_read_for_things_never_seen():
    reader = readers.fit_classifier(examples(THINGS[:5]))
    new = examples(THINGS[5:])
    assert ((reader(new.texts) > 0) == new.values).all()
    weights = [reader.word_weight(word) for word in ("the", "soup", "was", "bad", ".")]
    assert min(weights) == weights[3]


def test_intensity_is_graded():
    texts = ["awful .", "poor .", "a room .", "nice .", "superb ."] * 4
    reader = readers.fit_intensity(Examples(texts, np.arange(20.0) % 5, np.ones(20)), 0.01)
    assert (np.diff(reader(texts[:5])) > 0.5).all()


def test_an_empty_text_is_read_as_the_bias():
    reader = readers.fit_classifier(examples(THINGS[:2]))
    assert reader([""])[0] == reader.bias
    assert len(reader([])) == 0


def test_the_stress_test_is_balanced_and_counts_what_is_wrong():
    with readers.STRESS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len({row["sentence"] for row in rows}) == len(rows) == 200
    assert sum(row["label"] == "1" for row in rows) == 100
    accuracy, wrong = readers.stress_test(lambda texts: np.ones(len(texts)))
    assert accuracy == 0.5
    assert len(wrong) == 100
