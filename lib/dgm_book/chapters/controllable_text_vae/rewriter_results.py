"""Publishes a trained rewriter: `python -m ...rewriter_results FOLDER`.

The result "rewriter-seed0" has its weights, int8 with a scale per row, its words, its scores on the
test sentences in float32 and int8, and how it was trained. It has a folder of its own until chapter
4 runs it. FOLDER is that of `rewriter`, with the scores of `rewriter_scores`; `--int8` writes the
restored weights, to be scored there too.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from dgm import checkpoint
from dgm.data.text import Vocabulary
from dgm.nets.copying import CopyingTransformer
from dgm_book import profiles, results
from dgm_book.chapters.controllable_text_vae import pairs, rewriter
from dgm_book.chapters.controllable_text_vae.steering import page_tensors
from dgm_book.results import Context, Result

NAME, FOLDER = "rewriter-seed0", "04_rewriter"
DATASETS = ("yelp-shen", "yelp-li", "sentences", "vader-snippets")
SCORES = ("yelp", "yelp, no abstention", "graded", "slider", "stress test, neural")


def weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of float32 from int8 matrices with a scale per row (`page_tensors`)."""
    return {
        name: value.float() * tensors[f"{name}.scale"][:, None] if value.ndim > 1 else value
        for name, value in tensors.items()
        if not name.endswith(".scale")
    }


def restored(result: Result) -> tuple[Vocabulary, CopyingTransformer]:
    """The published rewriter and its words."""
    vocabulary = Vocabulary(result.values["words"], pairs.SLOTS)
    model = CopyingTransformer(len(vocabulary), vocabulary.first_word, dropout=0.0)
    model.load_state_dict(weights(result.tensors))
    return vocabulary, model.eval().requires_grad_(False)


def trained(folder: Path, name: str) -> Any:
    """The `CopyingTransformer` that `rewriter` has left in a folder."""
    words = json.loads((folder / "vocabulary.json").read_text("utf-8"))
    vocabulary = Vocabulary(words, pairs.SLOTS)
    model = CopyingTransformer(len(vocabulary), vocabulary.first_word)
    model.load_state_dict(checkpoint.load(folder / f"{name}.safetensors")["model"])
    return model


def published(folder: Path, name: str = "rewriter") -> Result:
    """The published result, or one from a folder, with its scores."""
    profile = profiles.get("small")
    context = Context(rewriter.__name__, FOLDER, profile, DATASETS)

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        words = json.loads((folder / "vocabulary.json").read_text("utf-8"))
        tensors = page_tensors(trained(folder, name))
        values: dict[str, Any] = {"words": words}
        for kind, file in (("float32", name), ("int8", f"{name}.int8")):
            scores = json.loads((folder / f"{file}.test.json").read_text("utf-8"))
            values[kind] = {key: scores[key] for key in SCORES if key in scores}
            values[kind].get("slider", {}).pop("rewrites", None)
        values["bytes"] = sum(t.numel() * t.element_size() for t in tensors.values())
        return values, tensors

    run = checkpoint.load(folder / f"{name}.run.safetensors")
    training = {"seed": 0, "steps": run["step"], "training_seconds": round(run["seconds"])}
    return results.get(NAME, compute, context, **training)


def main(arguments: Sequence[str] | None = None) -> None:
    """Publishes by the command line's arguments; --int8 writes what int8 leaves, to be scored."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="rewriter")
    parser.add_argument("--int8", action="store_true", help="write NAME.int8.safetensors")
    given = parser.parse_args(arguments)
    if not given.int8:
        result = published(given.folder, given.name)
        print(f"{NAME}: {result.values['bytes']} bytes")
        return
    file = given.folder / f"{given.name}.int8.safetensors"
    checkpoint.save(file, {"model": weights(page_tensors(trained(given.folder, given.name)))})


if __name__ == "__main__":
    main()
