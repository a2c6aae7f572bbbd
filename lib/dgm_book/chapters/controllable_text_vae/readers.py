"""Readers of sentiment that know what a negator does: a classifier, and a reader of intensity.

Both are linear in hashed features of a sentence: its words, pairs and triples, and each word and
pair once more with a mark where a negator stands before it in the same clause. They learn from all
labels: every Yelp sentence that is in no dev or test set, and the training part of the graded
sentences; intensity from people's ratings too.
"""

import gzip
import itertools
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from dgm.data import graded_sentences, registry, text
from dgm_book.chapters.controllable_text_vae.opposites import FOLDER, table

STRESS = FOLDER / "negation_stress.tsv"
SIZE = 2**20  # places of the hashed features
NEGATORS = (
    "not n't never no nobody nothing none nor neither without hardly barely rarely scarcely seldom "
    "cannot nowhere lack lacks lacked lacking fails failed"
)
CLAUSE_ENDS = ". , ; : ! ? ( ) -- but because although though"
STANFORD = "sentences/stsa.fine.train.gz"  # SST-5 (Socher et al. 2013), grades from 0 to 4
RATINGS = ("movie", "amazon")  # of Hutto and Gilbert's snippets, from -4 to 4


class Examples(NamedTuple):
    """Sentences in the form of the data, their values, and how much each counts."""

    texts: list[str]
    values: np.ndarray  # (N,)
    weights: np.ndarray  # (N,)


class LinearReader(NamedTuple):
    """A linear function of a sentence's features."""

    weights: np.ndarray  # (SIZE,) float32
    bias: float

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) float64: a classifier's log-odds of positive, or an intensity from 0 to 4."""
        return features(texts) @ self.weights.astype(np.float64) + self.bias

    def word_weight(self, word: str) -> float:
        """What a word alone adds to the value, before the sentence's length divides it."""
        return float(self.weights[zlib.crc32(word.encode()) % SIZE])


def _named(words: Sequence[str]) -> Iterable[str]:
    marked, left = [], 0
    negators, ends = set(NEGATORS.split()), set(CLAUSE_ENDS.split())
    for word in words:
        if word in ends:
            left = 0
        marked.append(f"~{word}" if left else "")
        left = 6 if word in negators else max(left - 1, 0)
    padded = ["<s>", *words, "</s>"]
    yield from words
    yield from (f"{a} {b}" for a, b in itertools.pairwise(padded))
    yield from (f"{a} {b} {c}" for a, b, c in zip(padded, padded[1:], padded[2:], strict=False))
    yield from filter(None, marked)
    yield from (f"{a} {b}" for a, b in itertools.pairwise(marked) if a and b)


def features(texts: Sequence[str]) -> sparse.csr_array:
    """(N, SIZE) of sentences whose words are apart by spaces; rows have length 1, or are empty."""
    rows = [
        np.unique([zlib.crc32(name.encode()) % SIZE for name in _named(t.split())]) for t in texts
    ]
    sizes = np.array([len(row) for row in rows], dtype=np.int64)
    values = np.repeat(1 / np.sqrt(np.maximum(sizes, 1)), sizes)
    places = np.concatenate(rows).astype(np.int32) if rows else np.zeros(0, np.int32)
    return sparse.csr_array((values, places, np.append(0, sizes.cumsum())), (len(texts), SIZE))


def graded(split: str = "train") -> tuple[list[str], np.ndarray]:
    """The sentences of the graded items that are not fixed, and their grades (N,) from 0 to 4."""
    items = [item for item in graded_sentences.load(split) if not item.fixed]
    texts = [text.tokenise(s, keep_numbers=True) for item in items for s in item.sentences]
    return texts, np.tile(np.arange(5.0), len(items))


def labelled() -> Examples:
    """All Yelp sentences outside dev and test, and the graded ones without the neutral grade."""
    parts = [text.load("yelp", split) for split in ("train", "held_out")]
    texts = [t for part in parts for t in part.texts]
    labels = np.concatenate([part.labels.numpy() for part in parts])
    own, grades = graded()
    chosen = np.flatnonzero(grades != 2)
    return Examples(
        texts + [own[i] for i in chosen],
        np.append(labels, grades[chosen] > 2),
        np.append(np.ones(len(texts)), np.full(len(chosen), 2.0)),
    )


def rated() -> Examples:
    """Sentences with a rating, from 0 very negative to 4: SST-5, snippets, and last our own."""
    with gzip.open(registry.fetch(STANFORD), "rt", encoding="utf-8") as file:
        rows = [line.split(maxsplit=1) for line in file if line.strip()]
    texts, values = [" ".join(row[1].lower().split()) for row in rows], [int(r[0]) for r in rows]
    for name in RATINGS:
        path = registry.fetch(f"vader-snippets/{name}ReviewSnippets_GroundTruth.txt.gz")
        with gzip.open(path, "rt", encoding="latin-1") as file:
            rows = [line.rstrip("\n").split("\t") for line in file]
        texts += [text.tokenise(row[2], keep_numbers=True) for row in rows]
        values += [2 + float(row[1]) / 2 for row in rows]
    own, grades = graded()
    return Examples(texts + own, np.append(values, grades), np.ones(len(texts) + len(own)))


def fit_classifier(examples: Examples, strength: float = 30.0) -> LinearReader:
    """Logistic regression; `strength` is the inverse of its penalty."""
    model: Any = LogisticRegression(C=strength, max_iter=60, tol=1e-3)
    model.fit(features(examples.texts), examples.values, examples.weights)
    return LinearReader(model.coef_[0].astype(np.float32), float(model.intercept_[0]))


def fit_intensity(examples: Examples, penalty: float = 1.0) -> LinearReader:
    """Ridge regression."""
    model: Any = Ridge(alpha=penalty, solver="sparse_cg", tol=1e-4)
    model.fit(features(examples.texts), examples.values, examples.weights)
    return LinearReader(model.coef_.astype(np.float32), float(model.intercept_))


def labelled_by_hand(path: Path) -> list[tuple[str, int]]:
    """The sentences of a file of the corpus, in the form of the data, and their labels, 0 or 1."""
    rows = table(path.name, path.parent)
    return [(text.tokenise(r["sentence"], keep_numbers=True), int(r["label"])) for r in rows]


def stress_test(reader: Any, threshold: float = 0.0) -> tuple[float, list[str]]:
    """Accuracy on the sentences with negators, and those that are read wrongly."""
    rows = labelled_by_hand(STRESS)
    values = reader([sentence for sentence, _ in rows])
    wrong = [s for (s, y), v in zip(rows, values, strict=True) if (v > threshold) != (y == 1)]
    return 1 - len(wrong) / len(rows), wrong
