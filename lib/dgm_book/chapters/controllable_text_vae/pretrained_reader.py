"""Trains a reader of sentiment that knows words from far more text: all-MiniLM-L6-v2, trained on.

It learns from what `neural_reader` learns from, and from reviews of products; no sentence of a dev
or test set, nor of the negation stress test. Its words' vectors stay as they are, so that words
that the training lacks stay beside those that it has.

    python -m dgm_book.chapters.controllable_text_vae.pretrained_reader FOLDER

trains it, or goes on, and writes `judge.safetensors` and how it reads other sentences. With
`--label IN OUT` it then writes a value from 0 to 4 for each line of a file, or goes on with that.
"""

import argparse
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Generator, Tensor, nn

from dgm import checkpoint
from dgm.data import registry, text
from dgm.measure import bootstrap
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book.chapters.controllable_text_vae import minilm, neural_reader, readers
from dgm_book.chapters.controllable_text_vae.minilm import Encoder, WordPieces
from dgm_book.chapters.controllable_text_vae.neural_reader import Example, make_examples
from dgm_book.chapters.controllable_text_vae.rewriter import gradient_step

STEPS, BATCH_SIZE, RATE, WARM_UP, MEASURE_EVERY = 1_400, 64, 1e-4, 100, 350
MAX_PIECES = 40  # of a sentence, its ends included
ROUND = {
    "labelled": 3_000,
    "labelled, negators, negative": 1_200,
    "labelled, negators, positive": 1_200,
    "graded": 4_000,
    "graded, negators, negative": 1_000,
    "graded, negators, positive": 1_000,
    "rated": 3_500,
    "products": 700,
    "versions": 3_000,
    "negators": 1_500,
    "negated": 400,
}
PARTS = ("rated", "products")  # whose texts may hold sentences of SST-2
NAME, CHUNK = "judge.safetensors", 20_000


class PretrainedReader(nn.Module):
    """value = 2 + w . embedding + b: about 0 is very negative, 4 very positive."""

    def __init__(self, pieces: WordPieces, encoder: Encoder) -> None:
        super().__init__()
        self.pieces, self.encoder = pieces, encoder
        self.output = nn.Linear(minilm.WIDTH, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, texts: Sequence[str], generator: Generator | None = None) -> Tensor:
        """Values (B,), float32, of texts of the data's form, those that are long cut."""
        rows = [torch.tensor(self.pieces(as_typed(t), MAX_PIECES)) for t in texts]
        tokens = nn.utils.rnn.pad_sequence(rows, True, self.pieces.pad)
        lengths = torch.tensor([len(row) for row in rows])
        present = torch.arange(tokens.shape[1]) < lengths[:, None]
        return 2 + self.output(self.encoder(tokens, present, generator))[:, 0].float()


class Reader(NamedTuple):
    """A trained reader."""

    model: PretrainedReader

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(N,) float64, from 0 very negative to 4 very positive; equal texts are read once."""
        distinct = sorted(set(texts), key=lambda t: (len(self.model.pieces(t)), t))
        values = {}
        for start in range(0, len(distinct), BATCH_SIZE):
            batch = distinct[start : start + BATCH_SIZE]
            with autocast("cpu"):
                values |= zip(batch, self.model(batch).tolist(), strict=True)
        return np.array([values[t] for t in texts])


def as_typed(sentence: str) -> str:
    """A sentence of the data's form as somebody types it, which the encoder knows better."""
    sentence = re.sub(r" (n't|'(?:s|ve|m|ll|re|d))\b", r"\1", sentence)
    sentence = re.sub(r"``|''", '"', sentence).replace("-lrb-", "(").replace("-rrb-", ")")
    return sentence.replace("_num_", "5")


def labelled_lines(name: str) -> list[Example]:
    """The sentences of a file of `sentences/`, with label 0 or 1; errors as `registry.fetch`."""
    with gzip.open(registry.fetch(f"sentences/{name}.gz"), "rt", encoding="latin-1") as file:
        rows = [line.lower().split() for line in file]
    return [Example(" ".join(words), int(y), False) for y, *words in rows if words]


def examples() -> dict[str, list[Example]]:
    """What it learns from, by the names of ROUND, but for "negated"; errors as `registry.fetch`."""
    sources = neural_reader.examples() | {"products": labelled_lines("custrev.all")}
    # A snippet of a film review may be several sentences of SST-2, whose test is a test here too.
    films = [e.text for part in ("dev", "test") for e in labelled_lines(f"stsa.binary.{part}")]
    rest = {k: neural_reader.without(sources[k], films, parts=True) for k in PARTS}
    return sources | rest


def held_out() -> dict[str, list[Example]]:
    """Dev sentences with a label; a training is judged by them while it goes on."""
    graded = zip(*readers.graded("dev"), strict=True)
    return {
        "yelp": reviews("validation")[::4],
        "graded": [Example(t, int(g > 2), False) for t, g in graded if g != 2],
    }


def reviews(split: str) -> list[Example]:
    """Yelp's sentences with their labels."""
    sentences = text.load("yelp", split)
    return make_examples(sentences.texts, sentences.labels.tolist(), False)


def correct(reader: Any, rows: Sequence[Example]) -> Tensor:
    """(N,) float64, 1 where the value is on its label's side of 2."""
    values = torch.tensor(reader([e.text for e in rows]))
    return ((values > 2) == torch.tensor([e.value == 1 for e in rows])).double()


def train(
    model: PretrainedReader,
    sources: dict[str, list[Example]],
    dev: dict[str, list[Example]],
    steps: int,
    file: Path | None,
    seed: int = 0,
) -> Reader:
    """A reader trained by AdamW, or one from its finished or interrupted run in the file.

    Of the weights after each MEASURE_EVERY steps it has those that read the dev sentences best.
    """
    model.requires_grad_(True)
    model.encoder.words.requires_grad_(False)
    model.encoder.places.requires_grad_(False)
    weights = [p for p in model.parameters() if p.requires_grad]

    def loss(batch: list[Example], generator: Generator) -> Tensor:
        with autocast("cpu"):
            values = model([e.text for e in batch], generator)
        return neural_reader.mean_loss(values, batch)

    def measure(state: TrainingState) -> dict[str, float]:
        parts = {k: float(correct(Reader(model.eval()), rows).mean()) for k, rows in dev.items()}
        model.train()
        return {**parts, "mean": sum(parts.values()) / len(parts)}

    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.01, fused=True)
    state = TrainingState(model.train(), optimizer, torch.Generator().manual_seed(seed))
    batches = neural_reader.rounds(sources, seed, ROUND, BATCH_SIZE)
    chosen: dict[str, Any] = {"keep_best": "mean", "best": "highest"}
    chosen |= {"measure": measure, "measure_every": MEASURE_EVERY}
    step = gradient_step(loss, steps, RATE, WARM_UP)
    fit(step, batches, state, steps, checkpoint=file, checkpoint_seconds=120, **chosen)
    return Reader(model.eval().requires_grad_(False))


def save(path: Path, model: PretrainedReader) -> None:
    """Writes a reader with its pieces, in bfloat16."""
    weights = {name: tensor.bfloat16() for name, tensor in model.state_dict().items()}
    checkpoint.save(path, {"pieces": list(model.pieces.ids), "model": weights})


def load(path: Path) -> Reader:
    """A reader that `save` wrote, which wants no package; errors as `checkpoint.load`."""
    saved = checkpoint.load(path)
    pieces = WordPieces(saved["pieces"])
    with torch.random.fork_rng(devices=[]):
        model = PretrainedReader(pieces, Encoder(len(pieces.ids)))
    model.load_state_dict(saved["model"])  # becomes float32
    return Reader(model.eval().requires_grad_(False))


def scores(reader: Reader) -> dict[str, Any]:
    """Share of labels that are read, with its error, of sentences that no training had.

    "graded dev" chose when to stop; the others chose nothing.
    """
    stress = readers.labelled_by_hand(readers.STRESS)
    rows = {
        "negation stress": [Example(t, y, False) for t, y in stress],
        "yelp test": reviews("test"),
        "graded dev": held_out()["graded"],
        "SST-2 test": labelled_lines("stsa.binary.test"),
    }
    return {name: bootstrap(correct(reader, part))._asdict() for name, part in rows.items()}


def label(reader: Any, source: Path, target: Path) -> None:
    """Writes the value of each line of a file, in the form of the data, or goes on with it."""
    with source.open(encoding="utf-8", newline="\n") as file:
        texts = [line.rstrip("\n") for line in file]
    values = target.read_text("utf-8").split() if target.exists() else []
    while len(values) < len(texts):
        values += [f"{v:.3f}" for v in reader(texts[len(values) : len(values) + CHUNK])]
        checkpoint.write_text(target, "\n".join(values) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, scores and labels by the command line's arguments; nothing is done twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--label", nargs=2, type=Path, metavar=("IN", "OUT"))
    given = parser.parse_args(arguments)
    path, scored = given.folder / NAME, given.folder / "judge.scores.json"
    if not path.exists():
        given.folder.mkdir(parents=True, exist_ok=True)
        model, run = PretrainedReader(*minilm.pretrained()), given.folder / "judge.run.safetensors"
        save(path, train(model, examples(), held_out(), STEPS, run).model)
    if not scored.exists():
        checkpoint.write_text(scored, json.dumps(scores(load(path)), indent=1))
    print(scored.read_text("utf-8"))
    if given.label:
        label(load(path), *given.label)


if __name__ == "__main__":
    main()
