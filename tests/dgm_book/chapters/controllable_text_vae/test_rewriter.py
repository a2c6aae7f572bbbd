"""Training the rewriter and the neural reader in small: they learn, repeat and resume."""

import numpy as np
import pytest
import torch

from dgm.data.text import Vocabulary
from dgm.nets.copying import CopyingTransformer, Sizes
from dgm_book.chapters.controllable_text_vae import neural_reader, pairs, rewriter
from dgm_book.chapters.controllable_text_vae.neural_reader import Example
from dgm_book.chapters.controllable_text_vae.pairs import GradedReviews, Pair, Versions
from dgm_book.chapters.controllable_text_vae.phrases import Phrases
from dgm_book.chapters.controllable_text_vae.readers import SIZE, LinearReader
from dgm_book.chapters.controllable_text_vae.rewriter import Sources

THINGS = ["soup", "room", "film", "bus", "book", "tea"]
RATED = ("awful", "bad", "good", "great")
REVIEWS = GradedReviews(
    [f"the {thing} was {word} ." for thing in THINGS for word in RATED], [0, 1, 3, 4] * len(THINGS)
)
GRADES = ("vile", "poor", "here", "nice", "superb")
ITEMS = [tuple(f"the {thing} is {word} ." for word in GRADES) for thing in THINGS]
VERSIONS = [Versions(("the bus was late .", "the bus was early ."), (1, 3))]
TEXTS = [*REVIEWS.texts, *VERSIONS[0].texts, *(s for item in ITEMS for s in item)]
WORDS = Vocabulary.build(TEXTS, 200, pairs.SLOTS)
READER = LinearReader(np.zeros(SIZE, np.float32), 0.0)


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(rewriter, "ROUND_REVIEWS", (12, 12))
    monkeypatch.setattr(rewriter, "ROUND_BATCHES", 6)
    monkeypatch.setattr(rewriter, "ROUND_ITEMS", 12)
    monkeypatch.setattr(rewriter, "ROUND_NEGATED", 4)
    monkeypatch.setattr(rewriter, "ROUND_VERSIONS", 8)
    monkeypatch.setattr(rewriter, "BATCH_SIZE", 16)
    monkeypatch.setattr(rewriter, "WARM_UP", 5)


def new_model():
    torch.manual_seed(0)
    return CopyingTransformer(len(WORDS), WORDS.first_word, Sizes(16, 2, 1, 1, 24), dropout=0.0)


def draw(versions, mined):
    return rewriter.draw_sentiment(
        Sources(REVIEWS, ITEMS, versions, mined, READER, Phrases([], []))
    )


def test_rounds_have_one_size_and_hold_mined_pairs(small):
    mined = [Pair("the mined tea .", "the great tea .", 4)] * 3
    make = rewriter.rounds(draw(VERSIONS, mined), WORDS, 0)
    drawn = [make(step) for step in range(20)]
    assert {len(batch) for batch in drawn} == {16}
    assert make(3) == drawn[3]
    expected = {mined[0], Pair("the bus was late .", "the bus was early .", 3)}
    assert expected <= {pair for batch in drawn for pair in batch}
    assert drawn[0] != make(10)


def test_training_learns_and_goes_on_where_it_was(tmp_path, small):
    sources = draw([], [])
    whole, parts = new_model(), new_model()
    rewriter.train(whole, WORDS, sources, 30, tmp_path / "whole", 0)
    with torch.no_grad():
        batch = pairs.encode(WORDS, [Pair("the tea is vile .", "the tea is superb .", 4)])
        before, after = (m.log_likelihood(*batch).sum() for m in (new_model(), whole))
    assert after > before + 1
    with pytest.raises(KeyboardInterrupt):
        stopped(parts, sources, tmp_path / "parts")
    rewriter.train(parts, WORDS, sources, 30, tmp_path / "parts", 0)
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)


def test_only_the_named_parts_learn(tmp_path, small):
    model, parts = new_model(), ("decoder.", "gate")
    rewriter.train(model, WORDS, draw([], []), 6, tmp_path / "run", 0, parts=parts)
    rows = zip(model.named_parameters(), new_model().parameters(), strict=True)
    learnt = {name for (name, new), old in rows if not torch.equal(new, old)}
    assert learnt
    assert all(name.startswith(parts) for name in learnt)


def stopped(model, sources, file):
    """Trains until its 12th batch is read."""
    real, count = pairs.encode, [0]

    def encode(*given):
        count[0] += 1
        if count[0] == 12:
            raise KeyboardInterrupt
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "encode", encode)
        patch.setattr(rewriter, "CHECKPOINT_SECONDS", 0)
        rewriter.train(model, WORDS, sources, 30, file, 0)


def test_the_neural_reader_reads_grades_and_negators():
    sources = {
        "labelled": [Example(t, int(g > 2), False) for t, g in zip(*REVIEWS, strict=True)],
        "graded": [Example(s, float(g), True) for item in ITEMS for g, s in enumerate(item)],
    }
    larger = Vocabulary.build([*TEXTS, " ".join(f"w{i}" for i in range(150))], 500, pairs.SLOTS)
    sources["rated"] = [Example(larger.decode(range(30, 180)), 2.0, True)]
    rounds = {"labelled": 200, "graded": 200, "rated": 0, "negated": 112}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural_reader, "ROUND", rounds)
        patch.setattr(neural_reader, "WARM_UP", 5)
        reader = neural_reader.train(larger, sources, 60, None)
    values = reader(list(ITEMS[0]))
    assert values[4] > values[2] > values[0]
    assert reader([""]).shape == (1,)
