"""Publishes a trained rewriter: `python -m ...rewriter_results {sentiment,captions,...} FOLDER`.

The result "NAME-seed0" has its weights, int8 with a scale per row, its words, its scores on the
test sentences in float32 and int8, and how it was trained; `dgm.steering.load` reads it. It has a
folder of its own until chapter 4 runs it. FOLDER is that of the training, with its scores.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm import checkpoint, steering
from dgm.steering import RewritingModel
from dgm_book import profiles, results
from dgm_book.chapters.controllable_text_vae import rewriter, styles
from dgm_book.chapters.controllable_text_vae.steering import page_tensors
from dgm_book.results import Context, Result

FOLDER = "04_rewriter"
DATASETS = {
    "sentiment": ("yelp-shen", "yelp-li", "sentences", "vader-snippets"),
    "captions": ("flickr-captions", "style-captions"),
    "shakespeare": ("shakespeare-modern",),
}
LONG_VECTORS = ("content", "rewriter.bias")  # one number a word
KINDS = {"float32": "", "int8": ".int8"}  # endings of the names of scores


def plain_values(model: RewritingModel) -> dict[str, Any]:
    """What `dgm.steering.from_published` reads beside the tensors."""
    return {
        "words": model.vocabulary.words,
        "vertices": list(model.vertices),
        "sizes": model.rewriter.sizes._asdict(),
        "reader": model.reader and model.reader.sizes._asdict(),
        "score_weights": list(model.score_weights),
        "least_nats": model.least_nats,
    }


def narrow_tensors(model: RewritingModel) -> dict[str, Tensor]:
    """The model as the page has it: int8 matrices with a scale per row, long vectors as one row."""
    tensors = page_tensors(model)
    for name in LONG_VECTORS:
        row = tensors[name][None].float()
        scale = row.abs().amax(1).clamp(min=1e-12) / 127
        tensors |= {name: (row / scale).round().to(torch.int8), f"{name}.scale": scale}
    return tensors


def narrowed(model: RewritingModel) -> RewritingModel:
    """The model that the page runs: the weights after int8."""
    return steering.from_published(plain_values(model), narrow_tensors(model))


def publish(name: str, model: RewritingModel, folder: Path, split: str = "test") -> Result:
    """The result of a model that was trained and scored in a folder."""
    module = rewriter if name == "sentiment" else styles
    context = Context(module.__name__, FOLDER, profiles.get("small"), DATASETS[name])

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        values, tensors = plain_values(model), narrow_tensors(model)
        for kind, ending in KINDS.items():
            file = folder / f"rewriter{ending}.{split}.json"
            values[kind] = json.loads(file.read_text("utf-8"))
            values[kind].pop("outputs", None)
            values[kind].get("slider", {}).pop("rewrites", None)
        values["bytes"] = sum(t.numel() * t.element_size() for t in tensors.values())
        return values, tensors

    run = checkpoint.load(folder / "rewriter.run.safetensors")
    training = {"seed": 0, "steps": run["step"], "training_seconds": round(run["seconds"])}
    return results.get(f"{name}-seed0", compute, context, **training)


def main(arguments: Sequence[str] | None = None) -> None:
    """Publishes by the command line's arguments."""
    from dgm_book.chapters.controllable_text_vae import rewriter_scores, style_scores

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(DATASETS))
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(arguments)
    if given.name == "sentiment":
        model, *_ = rewriter_scores.load_model(given.folder)
    else:
        model = style_scores.load_model(given.name, given.folder)
    result = publish(given.name, model, given.folder)
    print(f"{result.name}: {result.values['bytes']} bytes")


if __name__ == "__main__":
    main()
