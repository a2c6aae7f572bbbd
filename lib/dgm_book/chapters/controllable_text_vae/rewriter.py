"""Trains the rewriter of the page: `python -m dgm_book.chapters.controllable_text_vae.rewriter`.

Runs headless and resumes; the folder then holds the vocabulary, both readers and the weights.
"""

import argparse
import functools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from dgm import checkpoint
from dgm.data import text
from dgm.data.text import Vocabulary
from dgm.nets.copying import PAGE, CopyingTransformer, Sizes
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book.chapters.controllable_text_vae import pairs, readers
from dgm_book.chapters.controllable_text_vae.pairs import GradedReviews, Pair, Versions
from dgm_book.chapters.controllable_text_vae.phrases import Phrases
from dgm_book.chapters.controllable_text_vae.readers import LinearReader

# What a round draws: negative and positive reviews (fewer of the former can be turned), graded
# items, pairs with a negator; then versions by hand.
ROUND_REVIEWS, ROUND_ITEMS, ROUND_NEGATED = (4_800, 3_200), 700, 400
ROUND_VERSIONS, ROUND_OPPOSITES = 2_200, 1_000  # the latter once more of pairs all by hand
ROUND_JOINED, ROUND_MINED = 1_500, 3_000
ROUND_BATCHES, BATCH_SIZE = 100, 128  # what is left of that, filled up or cut
CHECKPOINT_SECONDS = 60
RIVALS = 1200  # words that the softmax of a step is estimated from, beside its own
NEW_WEIGHT = 2.0  # of a word that the source does not have, beside one that it has
WARM_UP, RATE, DROPOUT = 200, 2e-3, 0.0
OWN_WEIGHT = 5  # how often words of graded items and versions by hand count for the vocabulary

Draw = Callable[[random.Random], list[Pair]]


class Sources(NamedTuple):
    """What pairs are drawn of."""

    reviews: GradedReviews
    items: Sequence[tuple[str, ...]]
    versions: Sequence[Versions]
    mined: Sequence[Pair]
    classifier: LinearReader
    phrases: Phrases


class Rewriter(NamedTuple):
    """A trained model with what it needs."""

    vocabulary: Vocabulary
    model: CopyingTransformer
    classifier: LinearReader
    intensity: LinearReader


def draw_sentiment(sources: Sources) -> Draw:
    """What one round learns from."""
    by_hand, opposites = sources.versions, pairs.opposite_versions()
    sides = [[i for i, g in enumerate(sources.reviews.grades) if (g > 2) == y] for y in (0, 1)]

    def draw(rng: random.Random) -> list[Pair]:
        sizes = [min(n, len(rows)) for n, rows in zip(ROUND_REVIEWS, sides, strict=True)]
        chosen = [i for n, rows in zip(sizes, sides, strict=True) for i in rng.sample(rows, n)]
        items = rng.choices(sources.items, k=ROUND_ITEMS)
        rows = rng.choices(by_hand, k=ROUND_VERSIONS if by_hand else 0)
        rows += rng.choices(opposites, k=ROUND_OPPOSITES)
        couples = zip(
            *(rng.sample(rows, min(ROUND_JOINED, len(rows))) for _ in range(2)), strict=True
        )
        return [
            *pairs.review_pairs(sources.reviews, chosen, sources.classifier, sources.phrases, rng),
            *rng.sample(sources.mined, min(len(sources.mined), ROUND_MINED)),
            *pairs.negated_pairs(ROUND_NEGATED, rng),
            *(pair for item in items for pair in pairs.graded_pairs(item, rng)),
            *(pair for row in rows for pair in pairs.version_pairs(row, rng)),
            *(pair for a, b in couples if (pair := pairs.joined_pair(a, b, rng))),
        ]

    return draw


def rounds(draw: Draw, vocabulary: Vocabulary, seed: int) -> Any:
    """step -> the pairs of its batch: of those drawn that can be written, some twice if need be."""
    size = ROUND_BATCHES * BATCH_SIZE

    def filled(rng: random.Random) -> list[Pair]:
        drawn = [pair for pair in draw(rng) if pairs.can_write(vocabulary, pair)]
        return drawn + rng.choices(drawn, k=max(0, size - len(drawn)))

    length = lambda pair: len(pair.target.split())  # noqa: E731
    return in_rounds(filled, str(seed), ROUND_BATCHES, BATCH_SIZE, length)


def in_rounds(
    draw: Callable[[random.Random], list],
    name: str,
    n_batches: int,
    batch_size: int,
    length: Callable[[Any], int],
) -> Any:
    """step -> its batch, of about one length: rounds of fixed size, each drawn by (name, round)."""

    @functools.lru_cache(1)
    def batches(number: int) -> list[list]:
        rng = random.Random(f"{name} {number}")
        drawn = draw(rng)
        rng.shuffle(drawn)
        drawn = sorted(drawn[: n_batches * batch_size], key=length)
        parts = [drawn[i : i + batch_size] for i in range(0, len(drawn), batch_size)]
        rng.shuffle(parts)
        return parts

    return lambda step: batches(step // n_batches)[step % n_batches]


def gradient_step(
    mean_loss: Callable[[Any, Generator], Tensor], steps: int, rate: float, warm_up: int
) -> Callable[[TrainingState, Any], dict[str, Tensor]]:
    """A step of `dgm.train.fit`: the rate rises in `warm_up` steps, then falls in a line to zero.

    Gradients longer than 1 are cut to that.
    """

    def step(state: TrainingState, batch: Any) -> dict[str, Tensor]:
        rise, fall = (state.steps + 1) / warm_up, (steps - state.steps) / steps
        (group,) = state.optimizer.param_groups
        group["lr"] = rate * min(1.0, rise) * fall
        loss = mean_loss(batch, state.generator)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(group["params"], 1.0)
        state.optimizer.step()
        return {"loss": loss.detach()}

    return step


def start_words(
    embedding: nn.Embedding, vocabulary: Vocabulary, texts: Sequence[str], seed: int, size: float
) -> None:
    """Gives known words vectors by the company they keep in texts; `size` is their deviation."""
    tokens, first = vocabulary.encode(texts).tokens, vocabulary.first_word
    width = embedding.embedding_dim
    vectors = text.word_vectors(tokens, len(vocabulary), width, seed, first_word=first)[first:]
    with torch.no_grad():
        embedding.weight[first:] = size * vectors / vectors.std()


def build_model(
    vocabulary: Vocabulary,
    texts: Sequence[str],
    seed: int,
    sizes: Sizes = PAGE,
    trained: Path | None = None,
) -> CopyingTransformer:
    """A model with the weights of a file, or a new one whose words begin as of `start_words`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CopyingTransformer(len(vocabulary), vocabulary.first_word, sizes, DROPOUT)
    if trained:
        model.load_state_dict(checkpoint.load(trained)["model"])
    else:
        start_words(model.embedding, vocabulary, texts, seed, 0.07)
    return model


def train(
    model: CopyingTransformer,
    vocabulary: Vocabulary,
    draw: Draw,
    steps: int,
    file: Path,
    seed: int,
    rate: float = RATE,
    parts: tuple[str, ...] = ("",),
) -> None:
    """Trains in place by Adam, with the rates of `gradient_step`.

    Only the parameters learn whose names begin with one of `parts`.
    """
    make, n_grades = rounds(draw, vocabulary, seed), model.sizes.grades

    def mean_loss(batch: pairs.Batch, generator: Generator) -> Tensor:
        with autocast("cpu"):
            log_p = model.log_likelihood(*batch, generator, RIVALS)
        following = batch.target[:, 1:]
        new = (following[..., None] != batch.source[:, None]).all(-1)
        weights = (following != 0) * (1 + (NEW_WEIGHT - 1) * new)
        return -(weights * log_p).sum() / weights.sum()

    learning = [p for name, p in model.named_parameters() if name.startswith(parts)]
    model.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(learning, lr=rate, betas=(0.9, 0.98))
    generator = Generator().manual_seed(seed)
    fit(
        gradient_step(mean_loss, steps, rate, WARM_UP),
        lambda i: pairs.encode(vocabulary, make(i), n_grades),
        TrainingState(model.train(), optimizer, generator),
        steps,
        checkpoint=file,
        checkpoint_seconds=CHECKPOINT_SECONDS,
    )
    model.eval()


def prepared(folder: Path, seed: int, trained: Path | None = None) -> tuple[Rewriter, Sources]:
    """The readers, the vocabulary, the model, new or with trained weights, and its sources.

    What takes long is written into the folder, and read from there the next time.
    """
    file, items = folder / "readers.safetensors", pairs.graded_items()
    if not file.exists():
        fitted = readers.fit_classifier(readers.labelled()), readers.fit_intensity(readers.rated())
        tree = {
            "weights": [torch.from_numpy(reader.weights) for reader in fitted],
            "bias": [reader.bias for reader in fitted],
            "grades": torch.tensor(pairs.graded_reviews(fitted[1]).grades),
        }
        checkpoint.save(file, tree)
    saved = checkpoint.load(file)
    classifier, intensity = (
        LinearReader(w.numpy(), b) for w, b in zip(saved["weights"], saved["bias"], strict=True)
    )
    reviews = GradedReviews(pairs.review_texts().texts, saved["grades"].tolist())
    versions = pairs.versions_by_hand(reviews)
    own = [*items, *(row.texts for row in versions)]
    counted = [*reviews.texts, *[s for item in own for s in set(item)] * OWN_WEIGHT]
    vocabulary = load_vocabulary(folder, counted)
    texts = [*reviews.texts, *(s for item in own for s in item)]
    model = build_model(vocabulary, texts, seed, trained=trained)
    mined_file = folder / "mined.json"
    mined = json.loads(mined_file.read_text("utf-8")) if mined_file.exists() else []
    phrases = pairs.changed_phrases(versions, reviews.texts)
    sources = Sources(reviews, items, versions, [Pair(*row) for row in mined], classifier, phrases)
    return Rewriter(vocabulary, model.eval(), classifier, intensity), sources


def load_vocabulary(folder: Path, texts: Sequence[str]) -> Vocabulary:
    """The most frequent words of texts, no number; those of the folder's file, where it has one."""
    file = folder / "vocabulary.json"
    if not file.exists():
        checkpoint.write_text(file, json.dumps(pairs.vocabulary(texts).words))
    return Vocabulary(json.loads(file.read_text("utf-8")), pairs.SLOTS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains by the command line's arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--name", default="rewriter")
    parser.add_argument("--parts", nargs="+", default=[""], help="of the model, that learn")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    run = given.folder / f"{given.name}.run.safetensors"
    start = run if run.exists() else given.start
    rewriter, sources = prepared(given.folder, given.seed, start)
    draw, parts = draw_sentiment(sources), tuple(given.parts)
    options = {"rate": given.rate, "parts": parts}
    train(rewriter.model, rewriter.vocabulary, draw, given.steps, run, given.seed, **options)
    weights = {"model": rewriter.model.state_dict()}
    checkpoint.save(given.folder / f"{given.name}.safetensors", weights)


if __name__ == "__main__":
    main()
