"""Chapter 4: rewrites by another judge, TF-IDF with logistic regression, and by BLEU's own formula.

The book's judge is a convolutional network that learned from 40,000 of these sentences.
"""

import collections
import re

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

CHAPTER, SEEDS, N_SHOWN = "04_controllable_text_vae", range(3), 50


def separate(text):
    """Words and marks apart, as in the sources: people wrote their rewrites without that."""
    text = re.sub(r"(?<=\w)(n't|'(?:s|ve|m|ll|re|d))(?!\w)", r" \1", text.replace("\u2019", "'"))
    return " ".join(re.findall(r"n't|'\w+|\.\.+|\w+(?:[-'./]\w+)*|[^\w\s]", text))


@pytest.fixture(scope="module")
def test_set(lines):
    """Return sentences and people's rewrites by label, 500 each."""
    sources = [lines(f"yelp-li/sentiment.test.{y}.gz") for y in (0, 1)]
    rewrites = []
    for y, part in enumerate(sources):
        # A tab stands between a sentence and its rewrite; `lines` has made it a space.
        pairs = sorted(lines(f"yelp-li/reference.{y}.gz"))
        table = {s: next(row for row in pairs if row.startswith(f"{s} ")) for s in part}
        rewrites.append([separate(table[s].removeprefix(s)) for s in part])
    return sources, rewrites


@pytest.fixture(scope="module")
def judge(lines, test_set):
    """Return a classifier of sentences that has seen none of the test."""
    known = {s.replace(" ", "") for part in test_set[0] for s in part}
    pairs = [
        (text, y)
        for part in ("dev", "test")
        for y in (0, 1)
        for text in lines(f"yelp-shen/sentiment.{part}.{y}.gz")
        if text.replace(" ", "") not in known
    ]
    chosen = np.random.default_rng(1).permutation(len(pairs))[:60_000]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, token_pattern=r"\S+", sublinear_tf=True),
        LogisticRegression(C=10.0, class_weight="balanced", max_iter=500),
    )
    return model.fit(*zip(*(pairs[i] for i in chosen), strict=True))


def ngrams(words, n):
    return collections.Counter(zip(*(words[i:] for i in range(n)), strict=False))


def bleu(texts, targets):
    """Corpus BLEU-4 with one reference a sentence, 0 to 100."""
    matches, totals, lengths = np.zeros(4), np.zeros(4), np.zeros(2)
    for text, target in zip(texts, targets, strict=True):
        a, b = text.split(), target.split()
        lengths += len(a), len(b)
        for n in range(4):
            own = ngrams(a, n + 1)
            matches[n] += (own & ngrams(b, n + 1)).total()
            totals[n] += own.total()
    brevity = min(0.0, 1 - lengths[1] / lengths[0])
    return 100 * np.exp(brevity + np.log(matches / totals).mean())


def spread(measure, n, rng, n_draws=200):
    """Standard deviation of a measure of sentences that are drawn anew."""
    return np.std([measure(rng.integers(n, size=n)) for _ in range(n_draws)])


def pick(texts, chosen):
    return [texts[i] for i in chosen]


def test_people(published, test_set, judge, agree):
    sources, rewrites = ([*a, *b] for a, b in test_set)
    labels = np.arange(1000) // 500
    known = published(CHAPTER, "controls").values
    # Both judges read the same sentences; unlike ones would add both errors.
    for name, texts in (("source copy", sources), ("people", rewrites)):
        right = judge.predict(texts) != labels
        row = known[name]["accuracy"]
        error = np.hypot(row["standard_error"], 100 * right.std() / 1000**0.5)
        agree(f"accuracy, {name}, %", row["mean"], 100 * right.mean(), error)
    row = known["people"]["bleu_source"]
    agree(
        "BLEU of people with sources", row["mean"], bleu(rewrites, sources), row["standard_error"]
    )


def test_steered_sentences(published, test_set, judge, agree):
    sources = [s for part in test_set[0] for s in part[:N_SHOWN]]
    labels, n, rng = np.arange(2 * N_SHOWN) // N_SHOWN, 2 * N_SHOWN, np.random.default_rng(2)
    runs = [published(CHAPTER, f"steering-2000-seed{seed}").values for seed in SEEDS]
    points = [run["test"][run["chosen"]] for run in runs]
    known = {
        measure: [np.mean([point[measure][part] for point in points]) for part in parts]
        for measure in ("accuracy", "bleu_source")
        for parts in [("mean", "standard_error")]
    }
    right = np.mean([judge.predict(run["rewrites"]) != labels for run in runs], axis=0)
    mean, error = known["accuracy"]
    error = np.hypot(error, 100 * right.std(ddof=1) / n**0.5)
    agree("accuracy, steered with 2,000 labels, %", mean, 100 * right.mean(), error)

    def mean_bleu(chosen):
        return np.mean([bleu(pick(run["rewrites"], chosen), pick(sources, chosen)) for run in runs])

    mean, error = known["bleu_source"]
    error = np.hypot(error, spread(mean_bleu, n, rng))
    agree("BLEU with sources, steered with 2,000 labels", mean, mean_bleu(range(n)), error)
