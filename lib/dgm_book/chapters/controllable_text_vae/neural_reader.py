"""Trains the reader of sentiment that ranks rewrites: a transformer on labels, grades and ratings.

It learns from Yelp's labels, the graded sentences, people's ratings, and pairs of sentences that
differ by a negator (`opposites.negation_pair`), all outside the dev and test sets. Nine in ten Yelp
sentences with a negator are negative, so a reader would take any negator for a complaint: those
sentences and the graded ones are drawn once more with as many of either side.
"""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dgm.data import text
from dgm.data.text import Vocabulary
from dgm.nets.copying import Sizes
from dgm.nets.graded_reader import GradedReader
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book.chapters.controllable_text_vae import readers, rewriter
from dgm_book.chapters.controllable_text_vae.opposites import negation_pair
from dgm_book.chapters.controllable_text_vae.pairs import GradedReviews, versions_by_hand

BATCH_SIZE, RATE, WARM_UP, STEEPNESS = 128, 1e-3, 200, 2.0
ROUND = {
    "labelled": 5_000,
    "labelled, negators, negative": 1_500,
    "labelled, negators, positive": 1_500,
    "graded": 4_000,
    "graded, negators, negative": 1_000,
    "graded, negators, positive": 1_000,
    "rated": 1_500,
    "versions": 4_000,
    "negators": 4_000,
    "taught": 8_000,
    "negated": 1_500,
}
LEAST_LETTERS = 20  # of a sentence that is looked for inside others
NEGATORS_FILE = readers.STRESS.with_name("negators.tsv")
NEGATORS = set(readers.NEGATORS.split())
SIZES = Sizes(width=64, heads=4, encoder_layers=2, inner=192)  # 4 MB with the rewriter, as int8
GRADE_WEIGHT = 0.5  # of squared errors beside cross-entropies


class Reader(NamedTuple):
    """A trained reader with its words."""

    vocabulary: Vocabulary
    model: GradedReader

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) float64, from 0 very negative to 4 very positive; 2 for a text without words."""
        corpus = self.vocabulary.encode([t if t.split() else "<unk>" for t in texts])
        values = torch.zeros(len(texts), dtype=torch.float64)
        for chosen in corpus.lengths.argsort().split(256):
            tokens = corpus.tokens[chosen, : int(corpus.lengths[chosen].max())]
            values[chosen] = self.model(tokens).double()
        return values.numpy()


class Example(NamedTuple):
    """A sentence with its label, 0 or 1, or its grade from 0 to 4."""

    text: str
    value: float
    graded: bool


def rounds(
    sources: dict[str, list[Example]], seed: int, counts: dict[str, int], batch_size: int
) -> Any:
    """step -> its examples; rounds of fixed size, each mixed anew by (seed, round)."""
    n_batches = (sum(counts[name] for name in sources) + counts["negated"]) // batch_size

    def draw(rng: random.Random) -> list[Example]:
        drawn = [e for name, rows in sources.items() for e in rng.choices(rows, k=counts[name])]
        for _ in range(counts["negated"] // 2):
            drawn += [Example(t, y, False) for y, t in enumerate(negation_pair(rng))]
        return drawn

    length = lambda example: len(example.text.split())  # noqa: E731
    return rewriter.in_rounds(draw, f"reader {seed}", n_batches, batch_size, length)


def mean_loss(values: Tensor, batch: Sequence[Example]) -> Tensor:
    """The mean, over values (B,), of cross-entropies of labels and squared errors of grades."""
    targets = torch.tensor([float(e.value) for e in batch])
    graded = torch.tensor([e.graded for e in batch])
    odds = STEEPNESS * (values - 2)
    label = functional.binary_cross_entropy_with_logits(
        odds, targets.clamp(max=1), reduction="none"
    )
    return torch.where(graded, GRADE_WEIGHT * (values - targets).square(), label).mean()


def examples(folder: Path | None = None) -> dict[str, list[Example]]:
    """What a reader learns from, by the names of ROUND; nothing of the negation stress test.

    A folder's `taught.json` has sentences with what `pretrained_reader` says of them, 0 to 4.
    """
    reviews = [text.load("yelp", split) for split in ("train", "held_out")]
    rated, (own, grades) = readers.rated(), readers.graded()
    n_rated = len(rated.texts) - len(own)  # the rest are our own again
    texts, labels = [t for part in reviews for t in part.texts], [part.labels for part in reviews]
    unrated = GradedReviews(texts, [2] * len(texts))
    versions = [v for row in versions_by_hand(unrated) for v in zip(*row, strict=True)]
    values = rated.values.tolist()[:n_rated]
    sources = {
        "labelled": make_examples(texts, torch.cat(labels).tolist(), False),
        "graded": make_examples(own, grades.tolist(), True),
        "rated": make_examples(rated.texts[:n_rated], values, True),
        "versions": [Example(t, g, True) for t, g in versions if g != 2],
        "negators": [Example(*row, False) for row in readers.labelled_by_hand(NEGATORS_FILE)],
    }
    file = folder and folder / "taught.json"
    if file and file.exists():
        rows = json.loads(file.read_text("utf-8"))
        sources["taught"] = [Example(t, value, True) for t, value in rows]
    stress = [sentence for sentence, _ in readers.labelled_by_hand(readers.STRESS)]
    sources = {name: without(rows, stress) for name, rows in sources.items()}
    for name, middle in (("labelled", 0.5), ("graded", 2.0)):
        negated = [e for e in sources[name] if NEGATORS & set(e.text.split())]
        sources[f"{name}, negators, negative"] = [e for e in negated if e.value < middle]
        sources[f"{name}, negators, positive"] = [e for e in negated if e.value > middle]
    return sources


def make_examples(texts: Sequence[str], values: Sequence[float], graded: bool) -> list[Example]:
    """Examples of one kind."""
    return [Example(t, value, graded) for t, value in zip(texts, values, strict=True)]


def without(rows: Sequence[Example], known: Sequence[str], parts: bool = False) -> list[Example]:
    """The examples that are no known sentence, by letters and digits.

    With `parts` those that hold a known sentence or are part of it go too, if that is long.
    """
    keys = {_letters(sentence) for sentence in known}
    long = [key for key in keys if len(key) > LEAST_LETTERS]

    def is_known(key: str) -> bool:
        return key in keys or (parts and any(k in key or key in k for k in long))

    return [e for e in rows if not is_known(_letters(e.text))]


def _letters(sentence: str) -> str:
    sentence = re.sub("-[lr]rb-", "", sentence.lower())
    return "".join(c for c in sentence if c.isascii() and c.isalnum())


def train(
    vocabulary: Vocabulary,
    sources: dict[str, list[Example]],
    steps: int,
    file: Path | None,
    seed: int = 0,
    start: dict[str, Tensor] | None = None,
) -> Reader:
    """A reader trained by Adam, or one from its finished or interrupted run in the file.

    With the weights of a trained one to start from, the rate is a third.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = GradedReader(len(vocabulary), SIZES)
    texts = [e.text for rows in sources.values() for e in rows]
    rewriter.start_words(model.embedding, vocabulary, texts, seed, 0.3)
    if start:
        model.load_state_dict(start)
    highest = RATE / 3 if start else RATE
    make = rounds(sources, seed, ROUND, BATCH_SIZE)

    def loss(batch: list[Example], generator: torch.Generator) -> Tensor:
        tokens = vocabulary.encode([e.text for e in batch]).tokens
        with autocast("cpu"):
            values = model(tokens, generator)
        return mean_loss(values, batch)

    step = rewriter.gradient_step(loss, steps, highest, WARM_UP)
    optimizer = torch.optim.Adam(model.parameters(), lr=highest)
    generator = torch.Generator().manual_seed(seed)
    fit(step, make, TrainingState(model.train(), optimizer, generator), steps, checkpoint=file)
    return Reader(vocabulary, model.eval().requires_grad_(False))
