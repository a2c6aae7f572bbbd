"""From a few labelled sentences to a guess for each: where on the simplex it is held to be."""

import numpy as np
import torch
from torch import Tensor

ROUNDS = 2
TRUSTED = 0.7  # share of the sentences that the next round learns from
LABEL_WEIGHT = 5.0


def anchored_targets(texts: list[str], features: Tensor, labels: Tensor) -> Tensor:
    """Targets on the simplex (negative, neither, positive), from the labels of a few sentences.

    A logistic regression on the features of the labelled sentences guesses the others. Its surest guesses,
    as many of each class as the labels lead one to expect, then teach two more: one on the features, one on
    words and pairs of words; their sum guesses anew, twice. A guess with probability q of positive becomes
    |2q - 1| on its vertex, the rest on "neither"; a labelled sentence stands on its own vertex.

    Args:
        texts: N sentences.
        features: (N, F), zero where a sentence has no known word.
        labels: (N,) 0 negative, 1 positive, -1 not given.

    Returns:
        (N, 3) float32.

    Raises:
        ValueError: fewer than two labels of a class.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # here, since it takes a second
    from sklearn.linear_model import LogisticRegression

    y = labels.numpy()
    given = np.flatnonzero(y >= 0)
    if min((y == 0).sum(), (y == 1).sum()) < 2:
        raise ValueError("labels: want at least two of each class, 0 and 1; -1 says not given")
    dense = torch.nn.functional.normalize(features, dim=1).numpy()
    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", min_df=3, binary=True)
    sparse = counter.fit_transform(texts)
    share = y[given].mean()
    first = LogisticRegression(C=3.0, max_iter=500, class_weight="balanced")
    score = first.fit(dense[given], y[given]).decision_function(dense)
    for _ in range(ROUNDS):
        order = np.argsort(score, kind="stable")
        n_low = int(len(order) * TRUSTED * (1 - share))
        n_high = int(len(order) * TRUSTED * share)
        low, high = order[:n_low], order[len(order) - n_high :]
        rows = np.concatenate([low, high, given])
        taught = np.concatenate([np.zeros(n_low), np.ones(n_high), y[given]])
        weight = np.concatenate([np.ones(n_low + n_high), np.full(len(given), LABEL_WEIGHT)])
        weight *= np.where(taught == 1, 0.5 / share, 0.5 / (1 - share))
        score = np.zeros(len(order))
        for x, strength in ((sparse, 0.05), (dense, 1.0)):
            judge = LogisticRegression(C=strength, max_iter=200)
            found = judge.fit(x[rows], taught, sample_weight=weight).decision_function(x)
            score += found / found.std()
    scale = LogisticRegression().fit(score[given, None], y[given])
    q = 1 / (1 + np.exp(-scale.coef_[0, 0] * score))
    q[given] = y[given]
    sure = np.abs(2 * q - 1)
    targets = np.stack([sure * (q < 0.5), 1 - sure, sure * (q >= 0.5)], 1)
    return torch.from_numpy(targets).float()
