"""The judges learn the grammar; BLEU and perplexity are what their formulas say."""

import math

import pytest
import torch
from review_words import content_words, sentiment_of

from dgm.data import text
from dgm.data.synthetic import OPPOSITE, flip
from dgm_book import profiles
from dgm_book.chapters.controllable_text_vae import judges as judging
from dgm_book.chapters.controllable_text_vae.recipe import RECIPES
from dgm_book.chapters.controllable_text_vae.training import setup

SMOKE = setup(profiles.get("smoke"))


@pytest.fixture(scope="module")
def judges(work, smoke_results):
    """Judges of the grammar, trained once."""
    if smoke_results:
        work.setenv("DGM_RESULTS", smoke_results)
    return judging.trained_judges(SMOKE, "reviews")


@pytest.fixture(scope="module")
def test():
    return text.load("reviews", "test")


def test_the_judges_learn_the_grammar_and_prefer_sentences_to_shuffled_ones(judges, test):
    positive, flipped = (judges.classify(t) > 0.5 for t in (test.texts, test.references))
    assert (positive == test.labels.bool()).double().mean() > 0.97
    assert (flipped == test.labels.bool()).double().mean() < 0.03
    shuffled = [" ".join(reversed(t.split())) for t in test.texts]
    nats, tokens = judges.negative_log_likelihood(test.texts)
    assert tokens.tolist() == [len(t.split()) + 1 for t in test.texts]
    assert judging.perplexity(nats, tokens, 2).mean < 9
    assert (judges.negative_log_likelihood(shuffled)[0] > nats).all()


def test_each_sentence_is_judged_by_itself_in_its_place(judges, test):
    texts = [*test.texts[:300], "x", ""]
    positive, (nats, tokens) = judges.classify(texts), judges.negative_log_likelihood(texts)
    for i in (0, 17, 299, 300):
        assert judges.classify(texts[i : i + 1])[0] == pytest.approx(positive[i].item(), abs=1e-6)
        alone = judges.negative_log_likelihood(texts[i : i + 1])[0][0]
        assert alone == pytest.approx(nats[i].item(), rel=1e-5)
    # An unknown word, and a text without words, count as one <unk>.
    assert positive[300] == positive[301]
    assert tokens[300:].tolist() == [2, 2]
    # The probabilities of a language add up to one at most.
    rows = torch.tensor([[1, k, 2] for k in range(len(judges.vocabulary))])
    short = judges.language_model.nll(rows)
    ends = judges.language_model.nll(torch.tensor([[1, 2]]))
    assert torch.exp(-short).sum() + torch.exp(-ends).sum() < 1 + 1e-5


def test_bleu_by_hand_and_of_a_sentence_with_itself(test):
    score = judging.bleu(test.texts, test.texts, 20)
    assert list(score[:4]) == pytest.approx([100.0, 0.0, 100.0, 100.0])
    # 8 words, 6 pairs, ... of two sentences; brevity: 9 words against 10.
    score = judging.bleu(["a b c d e", "a b x d"], ["a b c d e", "a b c d e"], 10)
    precisions = (8 / 9) * (5 / 7) * (3 / 5) * (2 / 3)
    assert score.mean == pytest.approx(100 * precisions**0.25 * math.exp(1 - 10 / 9))


def test_bleu_is_not_smoothed_and_takes_words_as_they_stand():
    pairs = {"a b c": "a b c", "it 's _num_ , ok": "it's _num_, ok", "": "a b c d e"}
    for rewrite, target in pairs.items():
        assert judging.bleu([rewrite], [target], 2).mean == 0.0


def test_the_interval_is_that_of_the_sentences(test):
    half = [t if i % 2 else flip(t) for i, t in enumerate(test.texts)]
    score = judging.bleu(half, test.texts, 300)
    assert score.low < score.mean < score.high
    assert score.low == pytest.approx(score.mean - 2 * score.standard_error, abs=0.5)
    quarter = judging.bleu(half[:125], test.texts[:125], 300)
    assert 1.5 < quarter.standard_error / score.standard_error < 2.7
    assert judging.bleu(half, test.texts, 50) == judging.bleu(half, test.texts, 50)


@pytest.mark.parametrize("arguments", [(["a"], ["a", "b"]), ([], [])])
def test_bleu_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match="want as many of each"):
        judging.bleu(*arguments)


def test_rewrites_are_measured_against_the_opposite():
    class Judges:
        recipe = RECIPES["smoke"].judges._replace(bleu_resamples=9, perplexity_resamples=9)

        def classify(self, texts):
            return torch.tensor([0.9, 0.1, 0.9])

        def negative_log_likelihood(self, texts):
            return torch.tensor([2.0, 9.0, 0.0]).double(), torch.tensor([1, 9, 0])

    sentences = text.Sentences(["a b c d e"] * 3, torch.tensor([0, 1, 1]), ["a b c d f"] * 3)
    measured = judging.measure_rewrites(Judges(), ["a b c d e"] * 3, sentences)
    assert measured["accuracy"]["mean"] == pytest.approx(200 / 3)
    assert measured["bleu_source"]["mean"] == pytest.approx(100)
    assert measured["bleu_reference"]["mean"] < 90
    assert measured["perplexity"]["mean"] == pytest.approx(math.exp(1.1))  # per token
    assert measured["copies"] == 3


def test_word_swap_turns_the_grammar_round(test):
    table = judging.swap_table(text.load("reviews", "train"), vocabulary_size=300, dim=20)
    assert set(table[1]) == {word for word in OPPOSITE if sentiment_of(word) == 0}
    assert {sentiment_of(word) for word in table[1].values()} == {1}
    changed = judging.swap_words(table, test.texts, 1 - test.labels)
    assert [sentiment_of(t) for t in changed] == (1 - test.labels).tolist()
    assert [content_words(t) for t in changed] == [content_words(t) for t in test.texts]
    assert judging.swap_words(table, test.texts, test.labels) == test.texts
    # Without words that speak for a class nothing changes.
    same = text.Sentences(["a b c d e f g"] * 20, torch.arange(20) % 2)
    assert judging.swap_table(same, vocabulary_size=11, dim=2) == ({}, {})
