"""The grammar of reviews: what it says is what its labels say."""

import pytest
import torch

from dgm.data import synthetic
from dgm.data.synthetic import OPPOSITE, content_words, flip, review_grammar, sentiment_of


def test_the_labels_are_those_of_the_words():
    texts, sentiment, topic = review_grammar(500, seed=1)
    assert len(texts) == len(sentiment) == len(topic) == 500
    assert [sentiment_of(text) for text in texts] == sentiment.tolist()
    for text, t in zip(texts, topic.tolist(), strict=True):
        nouns = {k: set(words.split()) for k, words in synthetic._NOUNS.items()}
        found = {k for k in nouns if nouns[k] & set(text.split())}
        assert found == {synthetic.TOPICS[t]}
        assert 1 <= sum(word in OPPOSITE for word in text.split()) <= 3
        assert 5 <= len(text.split()) <= 12
    assert {len(text.split()) for text in texts} >= set(range(5, 12))


def test_sentiment_and_topic_are_balanced_and_independent():
    _, sentiment, topic = review_grammar(9000, seed=0)
    share = torch.stack([sentiment[topic == t].double().mean() for t in range(3)])
    assert ((share - 0.5).abs() < 4 * 0.5 / 2900**0.5).all()
    assert torch.bincount(topic).min() > 3000 - 4 * (9000 * 2 / 9) ** 0.5


def test_flipping_changes_the_sentiment_and_nothing_else():
    texts, sentiment, _ = review_grammar(300, seed=2)
    for text, y in zip(texts, sentiment.tolist(), strict=True):
        other = flip(text)
        assert sentiment_of(other) == 1 - y
        assert content_words(other) == content_words(text) != []
        assert flip(other) == text
        changed = [a for a, b in zip(text.split(), other.split(), strict=True) if a != b]
        assert changed == [word for word in text.split() if word in OPPOSITE]


def test_the_pairs_are_disjoint():
    assert all(OPPOSITE[OPPOSITE[word]] == word != OPPOSITE[word] for word in OPPOSITE)
    assert not set(OPPOSITE) & synthetic._CONTENT
    assert len(synthetic._POSITIVE) * 2 == len(OPPOSITE)


def test_mixed_and_neutral_sentences_are_undecided():
    assert sentiment_of("the soup was great and the bread was awful .") == -1
    assert sentiment_of("the soup was soup .") == -1
    assert sentiment_of("") == -1
    assert sentiment_of("luckily , the great soup was awful .") == 1


def test_same_seed_same_sentences():
    assert review_grammar(50, 3)[0] == review_grammar(50, 3)[0] != review_grammar(50, 4)[0]
    assert review_grammar(3, 0)[0] == FIRST  # a change would make every smoke result another


FIRST = [
    "this restaurant has poor staff and rude cook .",
    "luckily , the sushi was lovely this morning .",
    "my wife liked the coffee and the burger .",
]


@pytest.mark.parametrize("arguments", [(0, 0), (3, -1)])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match="want n >= 1 and seed >= 0"):
        review_grammar(*arguments)
