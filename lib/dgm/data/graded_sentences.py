"""Sentences written by hand for this book, each in five grades from very negative to very positive.

Not from a published data set: `book/corpus/README.md` says how they were written. CC BY 4.0.
"""

import csv
import hashlib
import os
from pathlib import Path
from typing import NamedTuple

GRADES = ("very_negative", "negative", "neutral", "positive", "very_positive")
COLUMNS = ("domain", "kinds", *GRADES)
SPLITS = ("train", "dev", "test")
_HELD_OUT = 0.048  # share of the items in dev, and in test
_FILE = Path(__file__).resolve().parents[3] / "book" / "corpus" / "graded_sentences.tsv"


class GradedItem(NamedTuple):
    """One sentence in five grades; those of a fixed item are equal, since it has no sentiment."""

    domain: str
    kinds: tuple[str, ...]
    sentences: tuple[str, ...]  # by rising grade, as GRADES

    @property
    def fixed(self) -> bool:
        """Whether it cannot be said more or less favourably, such as a question for the time."""
        return "fixed" in self.kinds

    @property
    def split(self) -> str:
        """The item's split: a hash of its sentences, so that items can be added to the file."""
        digest = hashlib.sha256("\t".join(self.sentences).encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        return "dev" if share < _HELD_OUT else "test" if share < 2 * _HELD_OUT else "train"


def load(split: str = "train", path: str | os.PathLike | None = None) -> list[GradedItem]:
    """The items of a split ("train", "dev", "test"), in the order of the file.

    Args:
        split: one of SPLITS.
        path: a file of the same form; None takes the repository's.

    Raises:
        ValueError: an unknown split, or a line that is no item; names the line.
        FileNotFoundError: there is no such file.
    """
    if split not in SPLITS:
        raise ValueError(f"no split '{split}'; there are {', '.join(SPLITS)}")
    return [item for item in read(_FILE if path is None else path) if item.split == split]


def read(path: str | os.PathLike) -> list[GradedItem]:
    """All items of a file; raises as `load`."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise ValueError(f"{path}: the first line must name the columns {', '.join(COLUMNS)}")
    return [_item(row, f"{path}, line {i}") for i, row in enumerate(rows[1:], 2)]


def _item(row: list[str], place: str) -> GradedItem:
    if len(row) != len(COLUMNS) or not all(field and field == field.strip() for field in row):
        raise ValueError(f"{place}: want {len(COLUMNS)} fields, none empty or with outer spaces")
    item = GradedItem(row[0], tuple(row[1].split(",")), tuple(row[2:]))
    distinct = len({sentence.lower() for sentence in item.sentences})
    if distinct != (1 if item.fixed else len(GRADES)):
        expected = "equal sentences" if item.fixed else "five distinct sentences"
        raise ValueError(f"{place}: want {expected}, got {distinct} distinct")
    return item
