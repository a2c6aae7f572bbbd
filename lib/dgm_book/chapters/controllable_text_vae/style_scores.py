"""Scores a rewriter of styles: `python -m ...style_scores {captions,shakespeare} FOLDER`.

A classifier of styles (logistic regression on words and pairs) learns from the training parts; test
sources go to each other vertex. It has never seen the rewriter, nor ranks its candidates.
"""

import argparse
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from dgm import checkpoint, steering
from dgm.data import registry
from dgm.steering import RewritingModel
from dgm_book.chapters.controllable_text_vae import judges, rewriter_results, styles
from dgm_book.chapters.controllable_text_vae.rewriter_scores import choose

MOST_COPIES = 12_000  # plain captions that the classifier learns from


def load_model(name: str, folder: Path) -> RewritingModel:
    """A trained model with the least log-likelihood that was chosen for it."""
    model, _ = styles.prepared(name, folder, 0, folder / "rewriter.safetensors")
    least = folder / "rewriter.least_nats.json"
    if least.exists():
        model.least_nats = json.loads(least.read_text("utf-8"))
    return model.eval().requires_grad_(False)


def classifier(name: str) -> Any:
    """A fitted pipeline: texts -> vertex."""
    if name == "captions":
        plain = styles.captions().copied[:: max(1, len(styles.captions().copied) // MOST_COPIES)]
        style = [styles.lines(f"style-captions/sentiment.train.{k}.gz") for k in (1, 0)]
        sides = [plain, *style]
    else:
        rows = styles.shakespeare().aligned
        sides = [[row.texts[k] for row in rows] for k in (0, 1)]
    texts = [t for side in sides for t in side]
    labels = np.repeat(np.arange(len(sides)), [len(side) for side in sides])
    features = TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=2)
    model = make_pipeline(features, LogisticRegression(C=10.0, class_weight="balanced"))
    return model.fit(texts, labels)


def sources(name: str, split: str) -> tuple[list[str], dict[int, list[str]]]:
    """Test sentences of vertex 0, and people's versions by vertex."""
    if name == "shakespeare":
        rows = styles.shakespeare("test" if split == "test" else "valid").aligned
        return [row.texts[0] for row in rows], {1: [row.texts[1] for row in rows]}
    if split == "validation":
        own = styles.captions().own[::10]
        return [v.texts[0] for v in own], {k: [v.texts[k] for v in own] for k in (1, 2)}
    texts = styles.lines("style-captions/sentiment.test.0.gz")
    return texts, {k: _references(texts, k) for k in (1, 2)}


def _references(texts: Sequence[str], vertex: int) -> list[str]:
    """People's romantic (1) or humorous (2) versions of the test captions."""
    path = registry.fetch(f"style-captions/reference.{vertex - 1}.gz")
    with gzip.open(path, "rt", encoding="latin-1") as file:
        rows = [[styles.plain(field) for field in line.split("\t")[:2]] for line in file]
    by_source = dict(rows)
    return [by_source[sentence] for sentence in texts]


def _added(source: str, rewrite: str) -> str:
    old = set(source.split())
    return " ".join(word for word in rewrite.split() if word not in old)


def scored(model: RewritingModel, name: str, split: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores by vertex, and all rewrites."""
    judge, (texts, references) = classifier(name), sources(name, split)
    scores, outputs = {}, {}
    for vertex, targets in references.items():
        weights = torch.zeros(len(texts), len(model.vertices))
        weights[:, vertex] = 1
        rows = steering.rank(model, texts, weights)
        shown, best = choose(rows), choose(rows, always=True)
        written = [b or t for b, t in zip(best, texts, strict=True)]
        added = [_added(t, b) for t, b in zip(texts, written, strict=True)]
        scores[model.vertices[vertex]] = {
            "n": len(texts),
            "abstained": sum(s is None for s in shown),
            "accuracy": float((judge.predict(written) == vertex).mean()),
            "accuracy of people": float((judge.predict(targets) == vertex).mean()),
            "bleu_source": judges.bleu(written, texts)._asdict(),
            "bleu_reference": judges.bleu(written, targets)._asdict(),
            "distinct additions": len(set(added)),
            "most added": Counter(added).most_common(8),
        }
        outputs[model.vertices[vertex]] = list(zip(texts, shown, best, targets, strict=True))
    return scores, outputs


def main(arguments: Sequence[str] | None = None) -> None:
    """Scores by the command line's arguments; validation chooses the least log-likelihood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(styles.VERTICES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", default="validation", choices=["validation", "test"])
    parser.add_argument("--int8", action="store_true", help="with the weights of the page")
    given = parser.parse_args(arguments)
    model, ending = load_model(given.name, given.folder), ".int8" if given.int8 else ""
    if given.int8:
        model = rewriter_results.narrowed(model)
    scores, outputs = scored(model, given.name, given.split)
    file = given.folder / f"rewriter{ending}.{given.split}.json"
    checkpoint.write_text(file, json.dumps(scores | {"outputs": outputs}, indent=1))
    print(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
