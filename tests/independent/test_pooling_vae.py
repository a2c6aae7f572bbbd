"""Chapter 5: how much published encoders say of test sentences, and how dispersed features are.

The LSTM, its pooling and the measures are NumPy's own; Yelp's words are those published.
"""

import collections

import numpy as np
import pytest
from scipy.special import expit, logsumexp

CHAPTER, KINDS = "05_pooling_vae", ("plain", "mean", "max")


def within(texts, least, most, n):
    return [text for text in texts if least <= len(text.split()) <= most][:n]


@pytest.fixture(scope="module")
def ptb(lines):
    training = within(lines("ptb/ptb.train.txt.gz"), 5, 15, 20_000)
    counts = collections.Counter(word for text in training for word in text.split())
    del counts["<unk>"]
    words = sorted(counts, key=lambda word: (-counts[word], word))[:3996]
    return words, within(lines("ptb/ptb.test.txt.gz"), 5, 15, 2000)


@pytest.fixture(scope="module")
def yelp(lines, published):
    known = {
        text.replace(" ", "")
        for part in ("test", "dev")
        for y in (0, 1)
        for text in lines(f"yelp-li/sentiment.{part}.{y}.gz")
    }
    parts = [f"yelp-shen/sentiment.{part}.{y}.gz" for part in ("dev", "test") for y in (0, 1)]
    texts = [text for part in parts for text in lines(part) if text.replace(" ", "") not in known]
    # The order that the book has put them in; the first 40,000 are held out.
    order = np.random.RandomState(0).permutation(len(texts))[:40_000]
    words = published(CHAPTER, "yelp-vocabulary").values["words"]
    return words, within((texts[i] for i in order), 5, 10, 2000)


def features(t, kind, words, texts):
    """Pooled states (N, H) of sentences between <s> and </s>."""
    ids = {word: 4 + i for i, word in enumerate(words)}
    rows = [[1, *(ids.get(word, 3) for word in text.split()), 2] for text in texts]
    lengths = np.array([len(row) for row in rows])
    name = "encoder.states."
    size = t[f"{name}lstm.weight_hh_l0"].shape[1]
    h = c = np.zeros((len(rows), size))
    total, best, last = h.copy(), h - np.inf, h.copy()
    for place in range(lengths.max()):
        x = t[f"{name}embedding.weight"][[row[place] if place < len(row) else 0 for row in rows]]
        gates = x @ t[f"{name}lstm.weight_ih_l0"].T + h @ t[f"{name}lstm.weight_hh_l0"].T
        gates = gates + t[f"{name}lstm.bias_ih_l0"] + t[f"{name}lstm.bias_hh_l0"]
        i, f, g, o = np.split(gates, 4, -1)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        inside = (place < lengths)[:, None]
        total, last = total + inside * h, np.where(inside, h, last)
        best = np.where(inside, np.maximum(best, h), best)
    return {"plain": last, "max": best, "mean": total / lengths[:, None]}[kind]


def relative_variance(features):
    """Trace of the covariance over the squared length of the mean."""
    return features.var(0, ddof=1).sum() / (features.mean(0) ** 2).sum()


@pytest.mark.parametrize("dataset", ["yelp", "ptb"])
@pytest.mark.parametrize("kind", KINDS)
def test_information_and_dispersion(dataset, kind, request, published, agree):
    words, texts = request.getfixturevalue(dataset)
    run = published(CHAPTER, f"{dataset}-{kind}-seed0")
    final, name = run.values["final"], f"{dataset}, {kind}"
    s = features(run.tensors, kind, words, texts)
    mu, log_variance = np.split(s @ run.tensors["head.weight"].T, 2, -1)

    kl = 0.5 * (mu**2 + np.exp(log_variance) - 1 - log_variance).sum(1)
    # The sentences are the same: all that differs are weights rounded to 16 bits, 5e-4 at most.
    agree(f"{name}, KL, nats", final["kl"], kl.mean(), 5e-4 * final["kl"] + 1e-5)
    known, value = final["features"]["relative"], relative_variance(s[:1000])
    agree(f"{name}, relative dispersion", known, value, 5e-4 * known)

    rng, mass = np.random.default_rng(5), np.empty((4, len(mu)))
    for row in mass:
        z = mu + np.exp(log_variance / 2) * rng.standard_normal(mu.shape)
        # log q(z | x_n) of every pair, from squares: (N, N, D) would not fit.
        precision = np.exp(-log_variance)
        squares = z**2 @ precision.T - 2 * z @ (mu * precision).T + (mu**2 * precision).sum(1)
        log_q = -0.5 * (squares + log_variance.sum(1))
        row[:] = np.diagonal(log_q) - logsumexp(log_q, axis=1) + np.log(len(mu))
    # Of the published value, one draw of the codes.
    error = (mass.var(0, ddof=1).mean() * (1 + 1 / len(mass)) / len(mu)) ** 0.5
    agree(f"{name}, information, nats", final["information"], mass.mean(), error)
