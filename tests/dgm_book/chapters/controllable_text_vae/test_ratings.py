"""The ranker's weights: what people call good is learnt, never against a part's meaning."""

import numpy as np

from dgm_book.chapters.controllable_text_vae import ratings
from dgm_book.chapters.controllable_text_vae.ratings import Rated


def example():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(400, 6))
    good = parts[:, 2] - parts[:, 3] + rng.normal(size=400) / 2 > 0
    rated = [
        Rated(f"source {i // 8}", 4.0, "text", (5, 4, 4) if g else (5, 3, 4))
        for i, g in enumerate(good)
    ]
    return rated, parts


def test_weights_follow_the_marks_and_are_never_negative():
    rated, parts = example()
    weights, _ = ratings.fit(parts, np.array([row.good for row in rated]))
    assert weights.argmax() == 2
    assert weights.min() >= 0
    assert weights[3] == 0  # the marks go against it
    doubled, _ = ratings.fit(parts * 2, np.array([row.good for row in rated]))
    np.testing.assert_allclose(doubled, weights / 2, rtol=1e-3, atol=1e-6)


def test_agreement_is_measured_on_sources_that_the_fit_did_not_see():
    rated, parts = example()
    result = ratings.compare(rated, parts)
    areas = {k: v["area under the curve of good"] for k, v in result["agreement"].items()}
    assert areas["fitted, unseen sources"] > areas["by eye"] > 0.5
    assert result["sources"] == 50
    assert 0 < result["good"] < 1


def test_the_search_serves_both_criteria():
    rated, parts = example()
    good = np.array([row.good for row in rated])
    rng = np.random.default_rng(1)
    choices = []
    for _ in range(100):
        candidates = rng.normal(size=(6, 6))
        choices.append(ratings.Choice(candidates, candidates[:, 5]))
    weights = ratings.search(parts, good, choices)
    assert weights[2] > ratings.BY_EYE[2]  # what people reward
    assert weights[5] > ratings.BY_EYE[5]  # what is like the targets
    assert weights[3] < ratings.BY_EYE[3]
    assert ratings.shared("the tea was bad", "the tea was good") == 0.75
