"""A blind hand score of rewrites: who wrote what is hidden and shuffled until the marks are in.

A sitting is a folder of tables: `sheet.tsv` with what a scorer sees, `key.tsv` with who wrote it,
and `marks.NAME.tsv` of each scorer. Of each rewrite three questions are asked; all three yes: good.

python -m dgm_book score FOLDER --scorer NAME    asks what is not marked yet; q ends, and it goes on
python -m dgm_book score FOLDER                  prints rates with intervals, and agreement
"""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from dgm import checkpoint

LIBRARY = Path(__file__).resolve().parents[1]
QUESTIONS = {
    "grammatical": "Could a person have written it, complete and grammatical?",
    "attribute": "Does it say what was asked, wholly, with nothing half-turned?",
    "kept": "Is all else kept?",
}


def write_sitting(
    folder: Path, rewrites: Iterable[tuple[str, str, str, str]], seed: int
) -> pandas.DataFrame:
    """Writes the sheet and the key of (system, source, what was asked, text); returns the sheet.

    Equal texts for one source are shown once and count for all that wrote them. An empty text is an
    abstention: it is not shown, and counts as not good. ValueError where a system has two texts for
    one source, or the folder a sitting already.
    """
    if (folder / "sheet.tsv").exists():
        raise ValueError(f"{folder} holds a sitting; give a new folder")
    key = pandas.DataFrame(rewrites, columns=["system", "source", "asked", "text"])
    twice = key[key.duplicated(["system", "source", "asked"])]
    if len(twice):
        raise ValueError(f"{twice.iloc[0].system} has two texts for {twice.iloc[0].source!r}")
    key["text"] = key["text"].str.split().str.join(" ")
    shown = key.loc[key["text"] != "", ["source", "asked", "text"]].drop_duplicates()
    sheet = shown.sample(frac=1, random_state=np.random.default_rng(seed))
    sheet.insert(0, "item", range(len(sheet)))
    key = key.merge(sheet, "left").astype({"item": "Int64"})
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "key.tsv", key[["system", "item", "source", "asked"]])
    _write(folder / "sheet.tsv", sheet)
    return sheet


def mark(folder: Path, scorer: str, ask: Callable[[str], str] = input) -> int:
    """Asks for the marks of what this scorer has not marked; returns how many items are left.

    Each item is written when its three answers, y or n, are in; q ends.
    """
    sheet, marks = _read(folder / "sheet.tsv"), _marks(folder, scorer)
    for row in sheet[~sheet["item"].isin(marks.index)].itertuples():
        print(f"\n{len(marks)} of {len(sheet)}\nsource: {row.source}\n{row.asked}: {row.text}")
        answers = []
        for question in QUESTIONS.values():
            while (answer := ask(f"{question} y/n/q ").strip().lower()) not in ("y", "n", "q"):
                print("y, n or q")
            if answer == "q":
                return len(sheet) - len(marks)
            answers.append(int(answer == "y"))
        marks.loc[row.item] = answers
        _write(folder / f"marks.{scorer}.tsv", marks.reset_index())
    return len(sheet) - len(marks)


def rates(folder: Path, scorer: str) -> pandas.DataFrame:
    """A row a system with what `rate` gives, the best first; ValueError where a mark is missing."""
    rows = {system: rate(own) for system, own in marked(folder, scorer).groupby("system")}
    return pandas.DataFrame.from_dict(rows, "index").sort_values("good", ascending=False)


def rate(own: pandas.DataFrame) -> dict[str, float]:
    """Of rows of `marked`: n, the share shown, of those the share of each question, "good" of all.

    "low" and "high" bound "good" by Wilson's 95 % interval; "good if shown" leaves out abstentions.
    """
    shown, good = own[own["item"].notna()], int(own["good"].sum())
    interval = binomtest(good, len(own)).proportion_ci(method="wilson")
    share = {"n": len(own), "shown": len(shown) / len(own), **shown[list(QUESTIONS)].mean()}
    share |= {"good": good / len(own), "low": interval.low, "high": interval.high}
    return share | {"good if shown": good / len(shown) if len(shown) else float("nan")}


def marked(folder: Path, scorer: str) -> pandas.DataFrame:
    """The key with each text, its marks, and "good"; an abstention has no item and is not good.

    ValueError where a mark is missing.
    """
    key, marks = _read(folder / "key.tsv"), _marks(folder, scorer)
    missing = set(key["item"].dropna()) - set(marks.index)
    if missing:
        raise ValueError(f"{scorer} has not marked {len(missing)} items")
    texts = _read(folder / "sheet.tsv").set_index("item")["text"]
    rows = key.merge(marks.join(texts), "left", left_on="item", right_index=True)
    return rows.assign(good=rows[list(QUESTIONS)].eq(1).all(axis=1))


def agreement(folder: Path, scorer: str, other: str) -> dict[str, float]:
    """Cohen's kappa of two scorers for each question and "good", over items that both marked."""
    first, second = _marks(folder, scorer), _marks(folder, other)
    shared = first.index.intersection(second.index)
    pairs = {name: (first.loc[shared, name], second.loc[shared, name]) for name in QUESTIONS}
    pairs["good"] = (first.loc[shared].all(axis=1), second.loc[shared].all(axis=1))
    return {name: float(cohen_kappa_score(*pair)) for name, pair in pairs.items()}


def main(folder: Path, scorer: str | None) -> int:
    """Asks a scorer, or prints what all have marked."""
    if scorer:
        print(f"{mark(folder, scorer)} left")
        return 0
    scorers = sorted(path.name.split(".")[1] for path in folder.glob("marks.*.tsv"))
    for name in scorers:
        print(f"\n{name}\n{rates(folder, name).to_string(float_format='{:.3f}'.format)}")
    for i, name in enumerate(scorers):
        for other in scorers[:i]:
            kappa = {k: round(v, 2) for k, v in agreement(folder, name, other).items()}
            print(f"\nkappa of {other} and {name}: {kappa}")
    return 0


def _marks(folder: Path, scorer: str) -> pandas.DataFrame:
    """A scorer's marks by item, 0 or 1; ValueError where a line is not such."""
    path = folder / f"marks.{scorer}.tsv"
    if not path.exists():
        return pandas.DataFrame(columns=list(QUESTIONS), index=pandas.Index([], name="item"))
    marks = _read(path).set_index("item")
    if list(marks) != list(QUESTIONS) or not marks.isin([0, 1]).all(axis=None):
        raise ValueError(f"{path}: should hold item, {', '.join(QUESTIONS)}, each mark 0 or 1")
    strangers = set(marks.index) - set(_read(folder / "sheet.tsv")["item"])
    if strangers or marks.index.has_duplicates:
        raise ValueError(f"{path}: items {sorted(strangers)} are not on the sheet, or one is twice")
    return marks


@functools.cache
def corpus() -> Path:
    """Where the book's own sentences and the marks lie: in a checkout, or in the wheel."""
    places = LIBRARY.parent / "book" / "corpus", LIBRARY / "dgm_book" / "corpus"
    return next(filter(Path.is_dir, places))


def _read(path: Path) -> pandas.DataFrame:
    return pandas.read_csv(
        path, sep="\t", keep_default_na=False, na_values={"item": [""]}, quoting=3
    )


def _write(path: Path, table: pandas.DataFrame) -> None:
    checkpoint.write_text(path, table.to_csv(sep="\t", index=False, quoting=3))
