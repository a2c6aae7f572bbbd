"""Scores a trained rewriter: `python -m ...rewriter_scores FOLDER`; writes rewrites and scores.

Yelp's 1,000 test sentences to the opposite, those of the graded items' test part to the opposite
grade, and all of them along the slider. The neural reader ranks candidates, so its own accuracy is
too good; the linear reader ranks them too. Chapter 4's judges (`judges.py`) do not.
"""

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dgm import checkpoint
from dgm.data import text
from dgm.data.text import Sentences, Vocabulary
from dgm_book.chapters.controllable_text_vae import judges, neural_reader, pairs
from dgm_book.chapters.controllable_text_vae.ranking import (
    Candidate,
    PairModel,
    Ranker,
    acceptable,
    best,
    rewrite_texts,
)
from dgm_book.chapters.controllable_text_vae.readers import STRESS, stress_test
from dgm_book.chapters.controllable_text_vae.rewriter import Rewriter, Sources, prepared

READER_STEPS = 2000
TYPED = STRESS.with_name("typed_sentences.tsv")


def load_ranker(folder: Path, name: str = "rewriter") -> tuple[Ranker, Rewriter, Sources]:
    """The ranker of a trained rewriter in a folder; its neural reader is trained where absent."""
    rewriter, sources = prepared(folder, 0, folder / f"{name}.safetensors")
    rewriter.model.requires_grad_(False)
    reader = trained_reader(rewriter.vocabulary, folder)
    own = [s for item in sources.items for s in item]
    natural = PairModel.fit([*sources.reviews.texts, *own])
    ranker = Ranker(rewriter.vocabulary, rewriter.model, rewriter.classifier, reader, natural)
    return ranker, rewriter, sources


def trained_reader(vocabulary: Vocabulary, folder: Path) -> neural_reader.Reader:
    """The neural reader of a folder, trained where it is absent."""
    file = folder / "reader.run.safetensors"
    return neural_reader.train(vocabulary, neural_reader.examples(), READER_STEPS, file)


def rewritten(
    ranker: Ranker, texts: Sequence[str], grades: Sequence[float], always: bool = False
) -> list[str | None]:
    """The best acceptable rewrite of each, or None; `always`: the best, acceptable or not."""
    return choose(texts, ranker.candidates(texts, grades), grades, always)


def choose(
    texts: Sequence[str],
    rows: Sequence[Sequence[Candidate]],
    grades: Sequence[float],
    always: bool = False,
) -> list[str | None]:
    """Of ranked candidates the best acceptable one, or None, or the best."""
    chosen = [best(t, row, g, always) for t, row, g in zip(texts, rows, grades, strict=True)]
    return [c.text if c else None for c in chosen]


def quantile_of_scores(
    texts: Sequence[str],
    rows: Sequence[Sequence[Candidate]],
    grades: Sequence[float],
    coverage: float = 0.8,
) -> float:
    """The LEAST_SCORE at which this share of the texts is shown a rewrite."""
    scores = []
    for source, row, grade in zip(texts, rows, grades, strict=True):
        turned = [c.score for c in row if acceptable(source, c, grade, -np.inf)]
        scores.append(max(turned, default=-np.inf))
    return float(np.quantile(scores, 1 - coverage, method="lower"))


def automatic(
    ranker: Ranker, sentences: Sentences, rewrites: Sequence[str | None]
) -> dict[str, Any]:
    """Scores of rewrites to the opposite label; an abstention counts as a copy."""
    shown = [r or t for r, t in zip(rewrites, sentences.texts, strict=True)]
    goals = 1 - sentences.labels.numpy()
    new = [set(r.split()) - set(t.split()) for r, t in zip(shown, sentences.texts, strict=True)]
    inserted = Counter(w for words in new for w in words if w.isalpha() and len(w) > 3)
    references = sentences.references
    return {
        "n": len(shown),
        "abstained": sum(r is None for r in rewrites),
        "accuracy, linear reader": float(((ranker.classifier(shown) > 0) == goals).mean()),
        "accuracy, neural reader": float(((ranker.reader(shown) > 2) == goals).mean()),
        "bleu_source": judges.bleu(shown, sentences.texts)._asdict(),
        "bleu_reference": references and judges.bleu(shown, references)._asdict(),
        "most inserted": inserted.most_common(8),
    }


def along_slider(ranker: Ranker, intensity: Any, texts: Sequence[str]) -> dict[str, Any]:
    """How intensity goes along the five stops: shares of steps and of sentences that never fall."""
    stops = [rewritten(ranker, texts, [float(g)] * len(texts)) for g in range(5)]
    shown = [[r or t for r, t in zip(stop, texts, strict=True)] for stop in stops]
    values = np.stack([intensity(stop) for stop in shown])
    changed = np.array([len(set(row)) > 1 for row in zip(*shown, strict=True)])
    steps = np.diff(values, axis=0)[:, changed]
    return {
        "n": len(texts),
        "changed": int(changed.sum()),
        "mean intensity": values.mean(1).tolist(),
        "steps that do not fall": float((steps >= -1e-6).mean()),
        "sentences that never fall": float((steps >= -1e-6).all(0).mean()),
        "ends rise": float((values[4] > values[0])[changed].mean()),
        "rewrites": [list(row) for row in zip(*stops, strict=True)],
    }


def graded_test(split: str) -> tuple[list[str], list[float], list[str]]:
    """Sources of graded items outside the neutral grade, the opposite grades, and their targets."""
    items = [item for item in pairs.graded_items(split) if len(set(item)) == 5]
    rows = [(item[g], 4.0 - g, item[4 - g]) for item in items for g in (0, 1, 3, 4)]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores by the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="rewriter")
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    parser.add_argument("--most", type=int, default=1000, help="Yelp sentences")
    parser.add_argument("--slider", type=int, default=100, help="sentences along the slider")
    given = parser.parse_args(arguments)
    ranker, rewriter, _ = load_ranker(given.folder, given.name)
    sentences = text.load("yelp", given.split)
    half = given.most // 2
    rows = [i for y in (0, 1) for i in np.flatnonzero(sentences.labels.numpy() == y)[:half]]
    references = sentences.references and [sentences.references[i] for i in rows]
    sentences = Sentences([sentences.texts[i] for i in rows], sentences.labels[rows], references)
    opposite = [4.0 - 4 * y for y in sentences.labels.tolist()]
    candidates = ranker.candidates(sentences.texts, opposite)
    yelp = choose(sentences.texts, candidates, opposite)
    whole = choose(sentences.texts, candidates, opposite, always=True)
    own = graded_test("test" if given.split == "test" else "dev")
    sources, goals, targets = own[0][: given.most], own[1][: given.most], own[2][: given.most]
    graded = rewritten(ranker, sources, goals)
    with TYPED.open(encoding="utf-8", newline="") as file:
        typed = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    typed_texts = [row["sentence"] for row in typed]
    towards = [4.0 * (row["towards"] == "positive") for row in typed]
    typed_rewrites = [rewrite_texts(ranker, typed_texts, towards, a) for a in (False, True)]
    outputs = {
        "yelp": list(zip(sentences.texts, yelp, whole, strict=True)),
        "graded": list(zip(sources, goals, graded, strict=True)),
        "typed": [
            [row["sentence"], *(rewrites[i] for rewrites in typed_rewrites)]
            for i, row in enumerate(typed)
        ],
    }
    file = given.folder / f"{given.name}.{given.split}.json"
    checkpoint.write_text(file, json.dumps(outputs, indent=1))
    labels = torch.tensor([int(g < 2) for g in goals])
    slider_texts = sentences.texts[:: max(1, len(rows) // given.slider)]
    scores = {
        "stress test, linear": stress_test(ranker.classifier)[0],
        "stress test, neural": stress_test(ranker.reader, 2.0)[0],
        "least score at 80 %": quantile_of_scores(sentences.texts, candidates, opposite),
        "yelp": automatic(ranker, sentences, yelp),
        "yelp, no abstention": automatic(ranker, sentences, whole),
        "graded": automatic(ranker, Sentences(sources, labels, targets), graded),
        "slider": along_slider(ranker, rewriter.intensity, slider_texts),
    }
    checkpoint.write_text(file, json.dumps(scores | {"outputs": outputs}, indent=1))
    print(json.dumps({k: v for k, v in scores.items() if k != "slider"}, indent=1))
    print({k: v for k, v in scores["slider"].items() if k != "rewrites"})


if __name__ == "__main__":
    main()
