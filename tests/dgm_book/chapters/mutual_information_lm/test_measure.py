"""Chapter 2's measures: information of labels, ranks, bounds by distance, what the page shows."""

import math

import pytest
import torch
from draws import rng

from dgm.data.synthetic import topic_chain, topic_chain_information
from dgm.nets.language_models import plain_lstm
from dgm.papers.mutual_information_lm import SegmentCritic
from dgm_book.chapters.mutual_information_lm import measure as measures
from dgm_book.chapters.mutual_information_lm.recipe import DISTANCES, Chain, Settings

TINY = Settings(n_training=60, n_validation=20, n_test=30, width=6, n_samples=3, sample_tokens=400)


@pytest.fixture(scope="module")
def trained():
    splits = measures.load_splits(TINY, 1)
    torch.manual_seed(0)
    model = plain_lstm(len(splits.vocabulary), TINY.width).requires_grad_(False)
    critic = SegmentCritic(model.feature_width, 5).requires_grad_(False)
    return measures.Trained(model, critic, splits, [])


class TestPairs:
    def test_distractors_are_even_and_never_the_anchor_or_what_follows(self):
        m, n = 7, 30_000
        anchor = torch.arange(m - 1)
        others = measures.distractors(anchor, m, n, rng())
        for i, row in enumerate(others):
            share = torch.bincount(row, minlength=m).double() / n
            expected = torch.full((m,), 1 / (m - 2)).double()
            expected[i : i + 2] = 0
            assert ((share - expected).abs() <= 4 * (expected / n).sqrt()).all()

    def test_hard_ones_are_near(self):
        others = measures.distractors(torch.tensor([0, 10, 18]), 20, 3000, rng(), near=2)
        assert [set(row.tolist()) for row in others] == [{2, 3}, {8, 9, 12, 13}, {16, 17}]

    def test_scores_are_the_critic_s(self, trained):
        features = measures.read_features(trained.model, trained.splits.segments[2])
        first, second = torch.tensor([0, 3, 7]), torch.tensor([[1, 5], [4, 0], [8, 2]])
        table = measures.pair_scores(trained.critic, features, first, second)
        assert table.dtype == torch.float64
        expected = trained.critic(features[first][:, None], features[second]).double()
        torch.testing.assert_close(table, expected, rtol=0, atol=1e-6)
        column = measures.pair_scores(trained.critic, features, first, second[:, 0])
        torch.testing.assert_close(column, table[:, 0], rtol=0, atol=1e-6)

    def test_ties_count_by_halves(self):
        others = torch.tensor([[1.0, 2.0, 3.0]] * 3 + [[5.0, 5.0, 5.0]])
        following = torch.tensor([4.0, 2.5, 3.0, 5.0])
        pairs = zip(following[:, None], others[:, None], strict=True)
        shares = [measures.share_outscored(*pair) for pair in pairs]
        assert shares == pytest.approx([1, 2 / 3, 5 / 6, 1 / 2])
        assert measures.share_outscored(following, others) == pytest.approx(sum(shares) / 4)


class TestLabels:
    def test_exact_on_a_chain_at_a_distance_within_what_its_length_allows(self):
        n, k = 200_000, 4
        labels = topic_chain(n, 3, n_topics=k, switch=0.2).topics
        for distance, exact in zip(
            (1, 2, 5, 30), topic_chain_information(k, 0.2, [1, 2, 5, 30]), strict=True
        ):
            value = measures.label_information(labels[:-distance], labels[distance:], k)
            assert value == pytest.approx(float(exact), abs=4 * 1.2 / math.sqrt(n))
        assert abs(value) < 4 * 9 / (2 * n)

    def test_the_bias_is_taken_off(self):
        n, k = 200, 6
        pairs = torch.randint(k, (400, 2, n), generator=rng())
        values = torch.tensor([measures.label_information(*pair, k) for pair in pairs])
        assert abs(float(values.mean())) < 4 * float(values.std()) / 20 + 0.003

    def test_what_is_computed_from_labels_says_no_more(self):
        counts = 1000 * (torch.ones(4, 4) + 26 * torch.eye(4)).long()  # exactly the chain's law
        pairs = torch.cartesian_prod(*[torch.arange(4)] * 2).T
        first, second = pairs.repeat_interleave(counts.flatten(), 1)
        whole = measures.label_information(first, second, 4)
        assert whole == pytest.approx(float(topic_chain_information(4, 0.1)), abs=1e-4)
        assert 0.01 < measures.label_information(first // 2, second % 3, 4) < whole
        labels = torch.tensor([0, 0, 1, 1])  # log 2, and 1 / (2 n) for a cell fewer than expected
        information = measures.label_information(labels, 1 - labels, 2)
        assert information == pytest.approx(math.log(2) + 1 / 8)

    def test_topics_of_a_real_chain_have_the_information_they_should(self):
        settings = TINY._replace(n_training=1500, n_test=20_000)
        splits = measures.load_splits(settings, 0)
        end = splits.vocabulary.end
        sentences = list(measures.split_sentences(splits.streams[2].tolist(), end))
        halves = [sentences[:10_000], sentences[10_000:]]
        values = measures.topic_information(halves, splits.vocabulary)
        assert values == pytest.approx(measures.exact_information(settings), abs=0.05)
        with pytest.raises(ValueError, match="want more than 8"):
            measures.topic_information([sentences[:8]], splits.vocabulary)

    def test_several_texts_are_not_glued_together(self):
        """Two texts of one topic each: glued, neighbours would differ once."""
        vocabulary = measures.load_splits(TINY, 0).vocabulary
        sea, court = (
            [next(vocabulary.id(w) for w in words if w in vocabulary.words)]
            for words in (measures.THEMES["sea"], measures.THEMES["court"])
        )
        values = measures.topic_information([[sea] * 9, [court] * 9], vocabulary)
        lengths = [2 * (9 - k) for k in DISTANCES]
        assert values == pytest.approx([math.log(2) + 1 / (2 * n) for n in lengths])


def test_measures_are_finite_and_beside_the_truth(trained):
    values, exact = measures.measure(trained), measures.exact_information(TINY)
    assert len(exact) == len(DISTANCES)
    assert exact[0] == pytest.approx(1.55977, abs=1e-5)
    assert all(math.isfinite(x) for x in values.values())
    assert 0 <= values["retrieval_hard"] <= 1
    assert measures.exact_information(TINY._replace(chain=Chain(switch=0.02)))[0] > exact[0]


def test_a_bound_by_distance_is_of_pairs_in_one_text(trained):
    """Texts of one topic each, so that all pairs inside belong together, near or far."""
    sentence = trained.splits.segments[2].tokens[0, :3].tolist()
    texts = [[sentence] * 12 for _ in range(3)]
    bounds = measures.bound_by_distance(trained, texts, TINY, 0)
    assert bounds == pytest.approx([0.0] * 5, abs=1e-6)
    with pytest.raises(ValueError, match="8 apart"):
        measures.bound_by_distance(trained, [row[:8] for row in texts], TINY, 0)


def test_written_sentences_are_whole_and_have_words(trained):
    assert list(measures.split_sentences([5, 6, 2, 2, 7, 2, 8], 2)) == [[5, 6], [7]]
    assert measures.join_sentences([[5, 6], [], [7]], 2).tolist() == [2, 5, 6, 2, 2, 7, 2]
    texts = measures.write_texts(trained, TINY, 0)
    assert len(texts) == TINY.n_samples
    assert all(ids and 2 not in ids for row in texts for ids in row)


def test_questions_and_passages(trained):
    questions = measures.make_questions(trained, 0, n=6)
    texts = trained.splits.test
    for question in questions:
        sentence, options = question["sentence"], question["options"]
        assert texts[texts.index(sentence) + 1] == options[question["answer"]]
        assert len(set(options)) == 2
        assert all(len(x.split()) >= 3 for x in (sentence, *options))
    assert {question["answer"] for question in questions} == {0, 1}
    (passage,) = measures.make_passages(trained, (3,))
    assert passage["texts"] == texts[3:19]
    features = measures.read_features(trained.model, trained.splits.segments[2])
    score = measures.pair_scores(trained.critic, features, torch.tensor([4]), torch.tensor([7]))
    assert passage["scores"][1][2] == pytest.approx(float(score))
