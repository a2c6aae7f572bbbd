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
from dgm_book.chapters.controllable_text_vae import pairs
from dgm_book.chapters.controllable_text_vae.pairs import GradedReviews, Pair
from dgm_book.chapters.controllable_text_vae.ranking import Candidate, Ranker, acceptable
from dgm_book.chapters.controllable_text_vae.rewriter_scores import load_ranker

AGREEMENT, NATURAL, LEFT_OUT, ADDED = 0.5, -6.0, -1.0, -1.0  # the least that a mined pair has
PART = 500


def passes(source: str, candidate: Candidate, grade: float) -> bool:
    """The hard filter: surely turned, natural, and next to nothing else left out or added."""
    agreement, natural, left_out, added, repeated = candidate.parts[2:]
    good = agreement > AGREEMENT and natural > NATURAL and left_out >= LEFT_OUT
    return good and added >= ADDED and repeated == 0 and acceptable(source, candidate, grade)


def mine(ranker: Ranker, reviews: GradedReviews, chosen: Sequence[int], seed: int) -> list[Pair]:
    """Up to two pairs of each chosen sentence, the rewrite as the source."""
    rng, mined = random.Random(seed), []
    for start in range(0, len(chosen), PART):
        part = chosen[start : start + PART]
        rows = [pairs.with_numerals(reviews.texts[i], rng) for i in part]
        grades = [4.0 if reviews.grades[i] < 2 else 0.0 for i in part]
        ranked = ranker.candidates(rows, grades, seed)
        for i, target, grade, candidates in zip(part, rows, grades, ranked, strict=True):
            good = [c.text for c in candidates if passes(target, c, grade)][:2]
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
    ranker, _, sources = load_ranker(given.folder, given.name)
    reviews = sources.reviews
    chosen = random.Random(given.seed).sample(range(len(reviews.texts)), given.count)
    mined = mine(ranker, reviews, chosen, given.seed)
    checkpoint.write_text(given.folder / "mined.json", json.dumps(mined))


if __name__ == "__main__":
    main()
