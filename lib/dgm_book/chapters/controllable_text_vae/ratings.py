"""Weights of the ranker: `python -m ...ratings FOLDER`.

3,195 rewrites of Yelp test sentences by eight systems have ratings from 1 to 5 of grammaticality,
sentiment and topic (Li et al. 2018). Good is 4 or more of all three. The first sentences of either
side, which are scored by hand, are left out. Two uses:

- `compare`: how well a score agrees with people, beside a logistic regression of good on the
  score's parts, with ten folds over sources. Other systems' failures are not those of our own
  candidates, so its weights are no choice for these: it finds fluency worthless.
- `search`: 300 weights drawn around those chosen by eye. Each is judged by the area under the curve
  of good among rated rewrites that share half of their words with the source, and by how like
  (chrF++) the candidates that it picks for graded dev items are to what was written for the grade.
  Of the ten best by the sum of both, standardised, the geometric mean is taken.
"""

import argparse
import csv
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sacrebleu
import torch
from scipy.optimize import minimize
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from dgm import checkpoint, steering
from dgm.data import registry, text
from dgm.steering import Scores
from dgm_book.chapters.controllable_text_vae import pairs, rewriter_scores

FILE = "yelp-li-ratings/ratings.tsv.gz"
SCORED_BY_HAND = 50  # first test sentences of either side
QUESTIONS = ("grammaticality", "sentiment", "topic")
FOLDS, PENALTY = 10, 1e-3
DRAWS, SPREAD, BEST, SUM = 300, 0.5, 10, 5.0  # of `search`; the weights' sum
BY_EYE = (1.0, 0.15, 1.0, 0.8, 0.35, 1.0)
PARTS = Scores._fields[:-1]


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
    scores |= {f"{name} alone": parts[:, i] for i, name in enumerate(PARTS)}
    return {
        "n": len(rated),
        "sources": len(sources),
        "good": float(good.mean()),
        "weights": dict(zip(PARTS, weights.tolist(), strict=True)),
        "bias": bias,
        "agreement": {
            name: {
                "area under the curve of good": float(roc_auc_score(good, score)),
                "Spearman with the mean mark": _spearman(score, mean),
            }
            for name, score in scores.items()
        },
    }


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    result: Any = spearmanr(a, b)
    return float(result.statistic)


class Choice(NamedTuple):
    """The candidates of one source: their parts (C, P), and how like the target each is (C,)."""

    parts: np.ndarray
    likeness: np.ndarray


def search(
    parts: np.ndarray, good: np.ndarray, choices: Sequence[Choice], seed: int = 0
) -> np.ndarray:
    """Weights (P,) by the two criteria; parts (N, P) and good (N,) are of rated rewrites."""
    rng = np.random.default_rng(seed)
    eye = np.array(BY_EYE)
    drawn = [eye] + [eye * np.exp(SPREAD * rng.normal(size=len(eye))) for _ in range(DRAWS)]
    areas = np.array([roc_auc_score(good, parts @ w) for w in drawn])
    likeness = np.array(
        [np.mean([c.likeness[(c.parts @ w).argmax()] for c in choices]) for w in drawn]
    )
    total = sum((x - x.mean()) / (x.std() + 1e-9) for x in (areas, likeness))
    logs = [np.log(SUM * drawn[i] / drawn[i].sum()) for i in np.argsort(-total)[:BEST]]
    return np.exp(np.mean(logs, 0))


def shared(source: str, rewrite: str) -> float:
    """The share of words that two sentences have in common, from 0 to 1."""
    a, b = Counter(source.split()), Counter(rewrite.split())
    return 2 * (a & b).total() / (a.total() + b.total())


def graded_choices(model: Any) -> list[Choice]:
    """Candidates for the graded dev items, all turned to the far extreme."""
    items = [item for item in pairs.graded_items("dev") if len(set(item)) == 5]
    rows = [(item[g], item[4:2:-1] if g < 2 else item[:2]) for item in items for g in (0, 1, 3, 4)]
    grades = [4.0 * (g < 2) for _ in items for g in (0, 1, 3, 4)]
    measure, choices = sacrebleu.CHRF(word_order=2), []
    ranked = rewriter_scores.ranked(model, [source for source, _ in rows], grades)
    for (_, targets), changed in zip(rows, ranked, strict=True):
        likeness = [
            max(measure.sentence_score(c.text, [t]).score for t in targets) for c in changed
        ]
        if changed:
            choices.append(Choice(np.array([c.scores[:-1] for c in changed]), np.array(likeness)))
    return choices


def main(arguments: Sequence[str] | None = None) -> None:
    """Fits by the command line's arguments; writes NAME.ranker.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="rewriter")
    given = parser.parse_args(arguments)
    model, *_ = rewriter_scores.load_model(given.folder, given.name)
    rated = load()
    weights = torch.stack([rewriter_scores.vertex(row.grade) for row in rated])
    texts = [row.source for row in rated], weights, [row.text for row in rated]
    parts = np.array([candidate.scores[:-1] for candidate in steering.score(model, *texts)])
    result = compare(rated, parts)
    near = np.array([shared(r.source, r.text) >= 0.5 and r.source != r.text for r in rated])
    good = np.array([row.good for row in rated])
    chosen = search(parts[near], good[near], graded_choices(model))
    result["chosen weights"] = dict(zip(PARTS, chosen.tolist(), strict=True))
    text_of = json.dumps(result, indent=1)
    checkpoint.write_text(given.folder / f"{given.name}.ranker.json", text_of)
    print(text_of)


if __name__ == "__main__":
    main()
