"""Pairs that a rewriter finds for its own further training: `python -m ...mining FOLDER`.

It turns Yelp's training sentences; what passes a hard filter is read, and the person's sentence is
what is to be written (as in LEWIS, Reid and Zhong 2021, and IMaT, Jin et al. 2019). Written to
mined.json, from where the next training of the folder takes it.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

from dgm import checkpoint
from dgm.steering import Candidate, RewritingModel
from dgm_book.chapters.controllable_text_vae import pairs
from dgm_book.chapters.controllable_text_vae.pairs import GradedReviews, Pair
from dgm_book.chapters.controllable_text_vae.rewriter_scores import load_model, ranked

LEAST = {"agreement": 0.5, "left_out": -1.0, "added": -1.0, "repeated": 0.0}  # of a mined pair
PART = 500


def passes(candidate: Candidate) -> bool:
    """The hard filter: surely turned, and next to nothing else left out or added."""
    return not candidate.reason and all(
        getattr(candidate.scores, name) >= least for name, least in LEAST.items()
    )


def mine(
    model: RewritingModel, reviews: GradedReviews, chosen: Sequence[int], seed: int
) -> list[Pair]:
    """Up to two pairs of each chosen sentence, the rewrite as the source."""
    rng, mined = random.Random(seed), []
    for start in range(0, len(chosen), PART):
        part = chosen[start : start + PART]
        rows = [pairs.with_numerals(reviews.texts[i], rng) for i in part]
        grades = [4.0 if reviews.grades[i] < 2 else 0.0 for i in part]
        for i, target, row in zip(part, rows, ranked(model, rows, grades), strict=True):
            good = [c.text for c in row if passes(c)][:2]
            mined += [Pair(text, target, reviews.grades[i]) for text in good]
        print(f"{start + len(part)} sentences, {len(mined)} pairs", flush=True)
    return mined


def main(arguments: Sequence[str] | None = None) -> None:
    """Mines by the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="rewriter")
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    model, _, _, sources = load_model(given.folder, given.name)
    reviews = sources.reviews
    chosen = random.Random(given.seed).sample(range(len(reviews.texts)), given.count)
    mined = mine(model, reviews, chosen, given.seed)
    checkpoint.write_text(given.folder / "mined.json", json.dumps(mined))


if __name__ == "__main__":
    main()
