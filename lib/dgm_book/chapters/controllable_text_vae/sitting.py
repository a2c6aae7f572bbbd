"""A blind sitting of the rewriter (`dgm_book.hand_score`): `python -m ...sitting FOLDER SITTING`.

On the first test sentences of either side: the rewriter with and without its abstentions, the
published steering model, a person, and published systems; on both sets of typed sentences, which
no training saw: the rewriter and the steering model, all in the form of the data, so that capitals
give nobody away. FOLDER holds `rewriter.test.json` of `rewriter_scores`.

`published` gives what may be committed of it: sentences and outputs that are not ours are left out.
"""

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas

from dgm.data import registry, text
from dgm.simplex_steering import first_agreeing
from dgm.steering import steer
from dgm_book import hand_score, profiles
from dgm_book.chapters.controllable_text_vae import run, steering, training
from dgm_book.chapters.controllable_text_vae.opposites import table
from dgm_book.chapters.controllable_text_vae.rewriter_scores import TYPED

SYSTEMS = {
    "person": "Human0.{}.tsf",
    "Delete-Retrieve": "DeleteRetrieve_Li.{}.tsf",
    "DualRL": "DualRL.{}.tsf",
    "Style Transformer": "StyleTransformer_multi.{}.txt",
    "NAST": "NAST_latentseq_learnable.{}.txt",
}
NEW, NEW_ALWAYS, BEFORE = "rewriter", "rewriter, no abstention", "steering model"
OTHER = "another rewriter"  # without abstentions, where FOLDER has `other.test.json`
OWN = (NEW, NEW_ALWAYS, OTHER, BEFORE)
ASKED = ("make it negative", "make it positive")

Row = tuple[str, str, str, str]  # system, source, what was asked, text


def outputs(name: str, label: int, sources: Sequence[str]) -> list[str]:
    """What a published system wrote for test sentences of a label, in their order."""
    path = registry.fetch(f"yelp-li-systems/{name.format(f'{label}-{1 - label}')}.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [line.rstrip("\n") for line in file]
    if path.name.endswith(".txt.gz"):
        return [" ".join(line.split()) for line in lines[: len(sources)]]
    fields = [line.split("\t") for line in lines]
    written = {" ".join(row[0].split()): " ".join(row[1].split()) for row in fields}
    return [written[source] for source in sources]


def rows(folder: Path, count: int) -> Iterator[Row]:
    """All rewrites of the first `count` test sentences of either side, and of the typed ones."""
    new, further = (_outputs(folder / f"{name}.test.json") for name in ("rewriter", "other"))
    rewrites = {source: (shown or "", always or "") for source, shown, always in new["yelp"]}
    other = {s: text.tokenise(y or "", keep_numbers=True) for part in further.values()
             for s, _, y in part}  # fmt: skip
    setup = training.setup(profiles.get("small"))
    page = run.page_model(setup, 0)
    model = steering.from_page(page.tensors, page.values["words"])
    test = text.load("yelp", "test")
    for label in (0, 1):
        own = training.first_per_label(test, count)
        sources = [t for t, y in zip(own.texts, own.labels.tolist(), strict=True) if y == label]
        part = own._replace(texts=sources, labels=own.labels[own.labels == label])
        tried = steering.candidates(model, part, page.values["ladder"])
        before = [r.text for r in first_agreeing(tried, page.values["threshold"])]
        written = {name: outputs(file, label, sources) for name, file in SYSTEMS.items()}
        written |= {BEFORE: before, NEW: [rewrites[s][0] for s in sources]}
        written |= {NEW_ALWAYS: [rewrites[s][1] for s in sources]}
        written |= {OTHER: [other[s] for s in sources]} if other else {}
        for name, texts in written.items():
            for source, rewrite in zip(sources, texts, strict=True):
                yield name, source, ASKED[1 - label], text.tokenise(rewrite) if rewrite else ""
    typed = {row["sentence"]: row for row in table(TYPED)}
    for source, shown, always in new["typed"]:
        positive = typed[source]["towards"] == "positive"
        before = steer(model, source, [0.0, 0.0, 1.0] if positive else [1.0, 0.0, 0.0])
        written = {NEW: shown, NEW_ALWAYS: always, BEFORE: before}
        for name, rewrite in (written | ({OTHER: other[source]} if other else {})).items():
            plain = text.tokenise(rewrite or "", keep_numbers=True)
            yield f"{name}, {typed[source]['set']}", source, ASKED[positive], plain


def _outputs(file: Path) -> dict[str, list[tuple[str, str | None, str | None]]]:
    """Sources, shown rewrites and best ones of `rewriter_scores`, by kind; none without a file."""
    scores = json.loads(file.read_text("utf-8")) if file.exists() else {"outputs": {}}
    return {kind: scores["outputs"].get(kind, []) for kind in ("yelp", "typed")}


def published(sitting: Path, folder: Path) -> None:
    """Copies a sitting without the sentences and outputs that are not ours, and with all marks.

    A source becomes its place among the test sentences of its label, such as "yelp test 0:12".
    """
    key, sheet = (pandas.read_csv(sitting / f"{n}.tsv", sep="\t", quoting=3) for n in FILES)
    test = text.load("yelp", "test")
    places, counts = {}, [0, 0]
    for source, label in zip(test.texts, test.labels.tolist(), strict=True):
        places[source] = f"yelp test {label}:{counts[label]}"
        counts[label] += 1
    ours = set(key["item"][key["system"].str.split(", typed").str[0].isin(OWN)])
    sheet.loc[~sheet["item"].isin(ours), "text"] = "(not ours)"
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("key", key), ("sheet", sheet)):
        frame["source"] = frame["source"].replace(places)
        whole = frame.astype({"item": "Int64"})
        whole.to_csv(folder / f"{name}.tsv", sep="\t", index=False, quoting=3)
    for path in sitting.glob("marks.*.tsv"):
        (folder / path.name).write_bytes(path.read_bytes())


FILES = ("key", "sheet")


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes a sitting by the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("sitting", type=Path)
    parser.add_argument("--count", type=int, default=50, help="test sentences of either side")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    sheet = hand_score.write_sitting(given.sitting, rows(given.folder, given.count), given.seed)
    print(f"{len(sheet)} items to mark")


if __name__ == "__main__":
    main()
