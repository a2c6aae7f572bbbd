"""Trains the rewriters of styles: `python -m ...styles {captions,shakespeare} FOLDER`.

Captions are plain, romantic or humorous; English is modern or Shakespeare's. Both learn from
versions of a sentence that say all but the style alike: those that were written by hand for the
book, and, for Shakespeare, the aligned lines of his plays. Plain captions and lines are copied too.
"""

import argparse
import gzip
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dgm import checkpoint
from dgm.data import registry, text
from dgm.nets.copying import Sizes
from dgm.steering import RewritingModel
from dgm_book.chapters.controllable_text_vae import pairs, rewriter
from dgm_book.chapters.controllable_text_vae.opposites import table
from dgm_book.chapters.controllable_text_vae.pairs import Pair, Versions

VERTICES = {
    "captions": ("plain", "romantic", "humorous"),
    "shakespeare": ("modern", "Shakespeare's"),
}
ROUND_OWN, ROUND_ALIGNED, ROUND_COPIED = 4_000, 8_000, 2_500


class Style(NamedTuple):
    """What a rewriter of styles learns from."""

    own: list[Versions]  # by hand
    aligned: list[Versions]
    copied: list[str]  # sentences of vertex 0 that stay as they are


def by_hand(name: str) -> list[Versions]:
    """The versions of `book/corpus/NAME.tsv`, one column a vertex."""
    grades = tuple(range(len(VERTICES[name])))
    return [Versions(tuple(map(plain, row.values())), grades) for row in table(f"{name}.tsv")]


def captions() -> Style:
    """Captions by hand, and plain ones that no test caption is."""
    test = set(lines("style-captions/sentiment.test.0.gz"))
    sentences = {c for i in range(1, 6) for c in lines(f"flickr-captions/train.{i}.en.gz")}
    return Style(by_hand("captions"), [], sorted(sentences - test))


def shakespeare(split: str = "train") -> Style:
    """Lines of the plays beside modern ones, and pairs by hand."""
    sides = [lines(f"shakespeare-modern/{split}.{s}.nltktok.gz") for s in ("modern", "original")]
    rows = [Versions(row, (0, 1)) for row in zip(*sides, strict=True) if all(row)]
    return Style(by_hand("shakespeare"), rows, [])


def draw(style: Style) -> rewriter.Draw:
    """What one round learns from."""

    def pairs_of(rng: random.Random) -> list[Pair]:
        own = rng.choices(style.own, k=ROUND_OWN)
        aligned = rng.sample(style.aligned, min(ROUND_ALIGNED, len(style.aligned)))
        copied = rng.sample(style.copied, min(ROUND_COPIED, len(style.copied)))
        rows = [(versions, 3) for versions in own] + [(versions, 1) for versions in aligned]
        return [
            *(pair for versions, n in rows for pair in pairs.version_pairs(versions, rng, n)),
            *(Pair(sentence, sentence, 0) for sentence in copied),
        ]

    return pairs_of


def prepared(
    name: str, folder: Path, seed: int, trained: Path | None = None
) -> tuple[RewritingModel, Style]:
    """A model with its words, new or with trained weights, and what it learns from."""
    style = {"captions": captions, "shakespeare": shakespeare}[name]()
    own = [t for versions in style.own for t in versions.texts]
    texts = [*style.copied, *(t for versions in style.aligned for t in versions.texts), *own]
    vocabulary = rewriter.load_vocabulary(folder, [*texts, *own * (rewriter.OWN_WEIGHT - 1)])
    net = rewriter.build_model(vocabulary, texts, seed, Sizes(grades=len(VERTICES[name])), trained)
    return RewritingModel(vocabulary, VERTICES[name], net), style


def lines(path: str) -> list[str]:
    """The first column of a file of the data, in the form that a rewriter reads."""
    encoding = "latin-1" if path.startswith("style-captions") else "utf-8"
    with gzip.open(registry.fetch(path), "rt", encoding=encoding) as file:
        return [plain(line.split("\t")[0]) for line in file]


def plain(sentence: str) -> str:
    """A sentence in the form that a rewriter reads."""
    return text.tokenise(sentence, keep_numbers=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains by the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(VERTICES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    run = given.folder / "rewriter.run.safetensors"
    trained = run if run.exists() else None
    model, style = prepared(given.name, given.folder, given.seed, trained)
    rewriter.train(model.rewriter, model.vocabulary, draw(style), given.steps, run, given.seed)
    weights = {"model": model.rewriter.state_dict()}
    checkpoint.save(given.folder / "rewriter.safetensors", weights)


if __name__ == "__main__":
    main()
