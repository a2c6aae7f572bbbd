"""The judges learn the grammar; BLEU and perplexity are what their formulas say."""

import math
import os

import pytest
import torch

from dgm.data import text
from dgm.data.synthetic import OPPOSITE, content_words, flip, sentiment_of
from dgm_book import profiles
from dgm_book.chapters.controllable_text_vae import judges as text_judges
from dgm_book.chapters.controllable_text_vae.judges import (
    content,
    judges,
    perplexity,
    quality,
    word_swap,
)

SMOKE = profiles.get("smoke")
# Where `make test` has just trained them; without it they are trained here.
SMOKE_RESULTS = os.environ.get("DGM_RESULTS")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Judges of the grammar, trained once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGM_RESULTS", SMOKE_RESULTS or str(tmp_path_factory.mktemp("results")))
        yield judges(SMOKE, "reviews")


def test_the_classifier_learns_the_grammar(trained):
    test = text.load("reviews", "test")
    said = trained.classify(test.texts)
    assert said.dtype == torch.float64
    assert ((said > 0.5) == test.labels.bool()).double().mean() > 0.97
    flipped = trained.classify(test.references)
    assert ((flipped > 0.5) == test.labels.bool()).double().mean() < 0.03


def test_the_language_model_prefers_sentences_to_shuffled_ones(trained):
    texts = text.load("reviews", "test").texts
    shuffled = [" ".join(reversed(t.split())) for t in texts]
    nats, tokens = trained.negative_log_likelihood(texts)
    assert tokens.tolist() == [len(t.split()) + 1 for t in texts]
    assert perplexity(nats, tokens).mean < 9
    assert (trained.negative_log_likelihood(shuffled)[0] > nats).all()


def test_each_sentence_is_judged_by_itself_in_its_place(trained):
    texts = [*text.load("reviews", "test").texts[:300], "x", ""]
    said, (nats, tokens) = trained.classify(texts), trained.negative_log_likelihood(texts)
    for i in (0, 17, 299, 300):
        assert trained.classify(texts[i : i + 1])[0] == pytest.approx(said[i].item(), abs=1e-6)
        alone = trained.negative_log_likelihood(texts[i : i + 1])[0][0]
        assert alone == pytest.approx(nats[i].item(), rel=1e-5)
    # An unknown word, and a text without words, count as one <unk>.
    assert said[300] == said[301]
    assert tokens[300:].tolist() == [2, 2]


def test_the_probabilities_of_a_language_add_up(trained):
    short = trained.language_model.nll(
        torch.tensor([[1, k, 2] for k in range(len(trained.vocabulary))])
    )
    ends = trained.language_model.nll(torch.tensor([[1, 2]]))
    assert torch.exp(-short).sum() + torch.exp(-ends).sum() < 1 + 1e-5


def test_training_is_kept_and_the_same_again(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
    few = text_judges.settings(SMOKE)._replace(classifier_steps=6, language_steps=6)
    monkeypatch.setattr(text_judges, "settings", lambda _: few)
    first, texts = judges(SMOKE, "reviews"), ["the soup was great ."]
    kept = sorted(p.name for p in (tmp_path / ".work").rglob("*.safetensors"))
    assert kept == [
        f"judge-reviews-seed0.{what}.safetensors" for what in ("classifier", "language")
    ]
    monkeypatch.setattr(torch.optim.Adam, "step", None)  # nothing is trained a second time
    again = judges(SMOKE, "reviews")
    assert torch.equal(first.classify(texts), again.classify(texts))
    assert torch.equal(*(j.negative_log_likelihood(texts)[0] for j in (first, again)))
    assert not torch.equal(first.classify(texts), trained.classify(texts))
    found = quality(SMOKE, "reviews")
    assert set(found.values) == {"validation", "test"}
    assert found.values["test"]["accuracy"]["n"] == 500
    assert found.provenance["seed"] == 0


# BLEU and perplexity


def test_bleu_of_a_sentence_with_itself_is_one_hundred():
    texts = text.load("reviews", "test").texts
    score = content(texts, texts, texts, n_resamples=20)
    assert score.source == score.reference
    assert score.source[:4] == (
        pytest.approx(100.0),
        pytest.approx(0.0),
        *[pytest.approx(100.0)] * 2,
    )


def test_bleu_by_hand():
    # 8 words, 6 pairs, ... of two sentences; brevity: 9 words against 10.
    rewrites = ["a b c d e", "a b x d"]
    sources = ["a b c d e", "a b c d e"]
    found = content(rewrites, sources, n_resamples=10)
    precisions = (8 / 9) * (5 / 7) * (3 / 5) * (2 / 3)
    assert found.source.mean == pytest.approx(100 * precisions**0.25 * math.exp(1 - 10 / 9))
    assert found.reference is None


def test_bleu_is_not_smoothed_and_takes_words_as_they_stand():
    assert content(["a b c"], ["a b c"], n_resamples=2).source.mean == 0.0
    assert content(["it 's _num_ , ok"], ["it's _num_, ok"], n_resamples=2).source.mean == 0.0
    assert content([""], ["a b c d"], n_resamples=2).source.mean == 0.0


def test_the_interval_is_that_of_the_sentences():
    texts = text.load("reviews", "test").texts
    half = [t if i % 2 else flip(t) for i, t in enumerate(texts)]
    found = content(half, texts, n_resamples=300).source
    assert found.low < found.mean < found.high
    assert found.low == pytest.approx(found.mean - 2 * found.standard_error, abs=0.5)
    quarter = content(half[:125], texts[:125], n_resamples=300).source
    assert 1.5 < quarter.standard_error / found.standard_error < 2.7
    assert content(half, texts, n_resamples=50) == content(half, texts, n_resamples=50)


@pytest.mark.parametrize("arguments", [(["a"], ["a", "b"]), ([], [])])
def test_bleu_checks_its_arguments(arguments):
    with pytest.raises(ValueError, match="want as many of both"):
        content(*arguments)


def test_perplexity_weighs_tokens_not_sentences():
    nats, tokens = torch.tensor([2.0, 9.0], dtype=torch.float64), torch.tensor([1, 9])
    assert perplexity(nats, tokens, n_resamples=10).mean == pytest.approx(math.exp(1.1))


# The control


def test_word_swap_turns_the_grammar_round():
    swap = word_swap(text.load("reviews", "train"), vocabulary_size=300, dim=20)
    assert set(swap.table[1]) == {word for word in OPPOSITE if sentiment_of(word) == 0}
    assert {sentiment_of(word) for word in swap.table[1].values()} == {1}
    test = text.load("reviews", "test")
    changed = swap(test.texts, 1 - test.labels)
    assert [sentiment_of(t) for t in changed] == (1 - test.labels).tolist()
    assert [content_words(t) for t in changed] == [content_words(t) for t in test.texts]
    assert swap(test.texts, test.labels) == test.texts


def test_word_swap_without_words_that_speak_changes_nothing():
    same = text.Sentences(["a b c d e f g"] * 20, torch.arange(20) % 2)
    assert word_swap(same, vocabulary_size=11, dim=2)(["a b"], [1]) == ["a b"]
