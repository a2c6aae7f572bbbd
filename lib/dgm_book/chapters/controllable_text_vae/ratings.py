"""Weights of the ranker from people's ratings: `python -m ...ratings FOLDER`.

3,195 rewrites of Yelp test sentences by eight systems have ratings from 1 to 5 of grammaticality,
sentiment and topic (Li et al. 2018). Good is 4 or more of all three. A logistic regression with
weights that cannot be negative says how likely that is from the parts of a candidate's score. Ten
folds over sources say what the fit is worth, beside weights chosen by eye. The first sentences of
either side, which are scored by hand, are in no fit.
"""

import argparse
import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from dgm import checkpoint
from dgm.data import registry, text
from dgm_book.chapters.controllable_text_vae.ranking import Weights

FILE = "yelp-li-ratings/ratings.tsv.gz"
SCORED_BY_HAND = 50  # first test sentences of either side
QUESTIONS = ("grammaticality", "sentiment", "topic")
FOLDS, PENALTY = 10, 1e-3
BY_EYE = (1.0, 0.15, 1.0, 0.5, 0.8, 0.35, 1.0)


class Rated(NamedTuple):
    """A rewrite with people's marks."""

    source: str
    grade: float  # that was asked for, 0 or 4
    text: str
    marks: tuple[int, ...]  # from 1 to 5, in the order of QUESTIONS

    @property
    def good(self) -> bool:
        """Whether all three marks are 4 or 5."""
        return min(self.marks) >= 4


def load() -> list[Rated]:
    """Rated rewrites of all sources but those that are scored by hand.

    FileNotFoundError where the file, which has no public address, is not in `DGM_DATA`.
    """
    path = registry.local(FILE)
    if path is None:
        raise FileNotFoundError(f"{FILE} has no public address: put it into the folder DGM_DATA")
    test = text.load("yelp", "test")
    sides = ([t for t, y in zip(test.texts, test.labels, strict=True) if y == k] for k in (0, 1))
    hidden = {t for side in sides for t in side[:SCORED_BY_HAND]}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [
        Rated(
            row["source"],
            4.0 * (row["target"] == "positive"),
            row["output"],
            tuple(int(row[name]) for name in QUESTIONS),
        )
        for row in rows
        if row["source"] not in hidden and row["output"].split()
    ]


def fit(parts: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (P,), 0 or more, and bias of log-odds of good (N,) by the parts (N, P) of scores."""
    scale = parts.std(0) + 1e-9
    x, sign = parts / scale, np.where(good, 1.0, -1.0)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = sign * (x @ w[:-1] + w[-1])
        slope = -sign / (1 + np.exp(odds)) / len(x)
        gradient = np.append(x.T @ slope + 2 * PENALTY * w[:-1], slope.sum())
        return np.logaddexp(0, -odds).mean() + PENALTY * (w[:-1] ** 2).sum(), gradient

    bounds: Any = [(0, None)] * x.shape[1] + [(None, None)]
    best = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", bounds=bounds)
    return best.x[:-1] / scale, float(best.x[-1])


def compare(rated: Sequence[Rated], parts: np.ndarray, seed: int = 0) -> dict[str, Any]:
    """The fit to all, and how well scores of unseen sources agree with people."""
    good = np.array([row.good for row in rated])
    mean = np.array([np.mean(row.marks) for row in rated])
    sources = sorted({row.source for row in rated})
    drawn = np.random.default_rng(seed).integers(FOLDS, size=len(sources))
    fold = dict(zip(sources, drawn, strict=True))
    folds = np.array([fold[row.source] for row in rated])
    unseen = np.zeros(len(rated))
    for k in range(FOLDS):
        weights, bias = fit(parts[folds != k], good[folds != k])
        unseen[folds == k] = parts[folds == k] @ weights + bias
    weights, bias = fit(parts, good)
    scores = {"fitted, unseen sources": unseen, "by eye": parts @ np.array(BY_EYE)}
    scores |= {f"{name} alone": parts[:, i] for i, name in enumerate(Weights._fields)}
    return {
        "n": len(rated),
        "sources": len(sources),
        "good": float(good.mean()),
        "weights": dict(zip(Weights._fields, weights.tolist(), strict=True)),
        "bias": bias,
        "agreement": {
            name: {
                "area under the curve of good": float(roc_auc_score(good, score)),
                "Spearman with the mean mark": float(spearmanr(score, mean)[0]),
            }
            for name, score in scores.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Fits by the command line's arguments; writes NAME.ranker.json."""
    from dgm_book.chapters.controllable_text_vae.rewriter_scores import load_ranker

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="rewriter")
    given = parser.parse_args(arguments)
    ranker, _, _ = load_ranker(given.folder, given.name)
    rated = load()
    scored = ranker.score([(row.source, row.grade, row.text) for row in rated])
    result = compare(rated, np.array([candidate.parts for candidate in scored]))
    text_of = json.dumps(result, indent=1)
    checkpoint.write_text(given.folder / f"{given.name}.ranker.json", text_of)
    print(text_of)


if __name__ == "__main__":
    main()
