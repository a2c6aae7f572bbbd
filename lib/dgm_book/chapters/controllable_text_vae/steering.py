"""Training and measuring the steering model, and the small model that the page runs."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dgm.data import text
from dgm.data.text import Sentences, Vocabulary
from dgm.precision import autocast
from dgm.simplex_steering import (
    Rewrite,
    SteeringModel,
    first_agreeing,
    rewrite_at,
    steering_objective,
    strip_ends,
)
from dgm_book.chapters.controllable_text_vae import judges as judging
from dgm_book.chapters.controllable_text_vae import training
from dgm_book.chapters.controllable_text_vae.recipe import ACCURACY_GOALS, SteeringRecipe
from dgm_book.chapters.controllable_text_vae.training import Computed, Setup
from dgm_book.results import Result

UNKNOWN_SLOTS = 4
AS_TYPED = functools.partial(text.tokenise, keep_numbers=True)
BACK_TRANSLATED_FROM = 0.3  # of training; before, the model's own rewrites are no sentences yet
WARM_UP = 0.03
ROUNDS, TRUSTED, LABEL_WEIGHT = 2, 0.7, 5.0  # of `anchored_targets`


@functools.lru_cache(maxsize=2)
def training_text(recipe: SteeringRecipe, dataset: str) -> training.TrainingText:
    """The training sentences, their first twenty words as ids."""
    sizes = recipe.n_sentences, recipe.vocabulary, recipe.feature_dim, 20
    return training.training_text(dataset, *sizes, unknown_slots=UNKNOWN_SLOTS, mask=True)


def anchored_targets(texts: list[str], features: Tensor, labels: Tensor) -> Tensor:
    """Targets (N, 3) on the simplex (negative, neither, positive), from labels of some sentences.

    A logistic regression on the labelled sentences' features (N, F) guesses the others; twice, its
    surest guesses teach two more, on the features and on words and pairs of words. Probability q of
    positive becomes |2q - 1| on its vertex, the rest on "neither". Labels: 0, 1, or -1, not given.
    """
    from sklearn.feature_extraction.text import CountVectorizer  # here, since it takes a second
    from sklearn.linear_model import LogisticRegression

    y = labels.numpy()
    given = np.flatnonzero(y >= 0)
    if min((y == 0).sum(), (y == 1).sum()) < 2:
        raise ValueError("labels: want at least two of each class, 0 and 1; -1 says not given")
    dense = nn.functional.normalize(features, dim=1).numpy()
    counter = CountVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", min_df=3, binary=True)
    sparse = counter.fit_transform(texts)
    share = y[given].mean()
    first = LogisticRegression(C=3.0, max_iter=500, class_weight="balanced")
    score = first.fit(dense[given], y[given]).decision_function(dense)
    for _ in range(ROUNDS):
        order = np.argsort(score, kind="stable")
        n_low, n_high = (int(len(order) * TRUSTED * part) for part in (1 - share, share))
        rows = np.concatenate([order[:n_low], order[len(order) - n_high :], given])
        classes = np.concatenate([np.zeros(n_low), np.ones(n_high), y[given]])
        weight = np.concatenate([np.ones(n_low + n_high), np.full(len(given), LABEL_WEIGHT)])
        weight *= np.where(classes == 1, 0.5 / share, 0.5 / (1 - share))
        score = np.zeros(len(order))
        for x, strength in ((sparse, 0.05), (dense, 1.0)):
            regression = LogisticRegression(C=strength, max_iter=200)
            guess = regression.fit(x[rows], classes, sample_weight=weight).decision_function(x)
            score += guess / guess.std()
    scale = LogisticRegression().fit(score[given, None], y[given])
    q = 1 / (1 + np.exp(-scale.coef_[0, 0] * score))
    q[given] = y[given]
    sure = np.abs(2 * q - 1)
    targets = np.stack([sure * (q < 0.5), 1 - sure, sure * (q >= 0.5)], 1)
    return torch.from_numpy(targets).float()


def trained_steering(setup: Setup, n_labels: int, seed: int) -> SteeringModel:
    """A trained steering model, from its finished or interrupted run in the work folder."""
    recipe, device = setup.recipe.steering, setup.profile.device
    source = training_text(recipe, setup.recipe.dataset)
    n = len(source.sentences.texts)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:n_labels]
    labels = torch.full((n,), -1)
    labels[chosen] = source.sentences.labels[chosen]
    sizes = {k: getattr(recipe, k) for k in ("embedding", "hidden", "context", "voters")}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SteeringModel(source.vocabulary, **sizes, tokenise=AS_TYPED)
    features = source.features(source.corpus)
    targets = anchored_targets(source.sentences.texts, features, labels).to(device)

    def loss(words: Tensor, places: Tensor, generator: torch.Generator, done: float) -> Any:
        share = 0.5 if done > BACK_TRANSLATED_FROM else 0.0
        with autocast(words.device, recipe.bf16):
            terms = steering_objective(
                model, words, targets[places], generator, back_translated=share
            )
        return terms.loss(), terms._asdict()

    plan = training.Plan(
        f"steering-{n_labels}-seed{seed}.training",
        recipe.steps[recipe.labels.index(n_labels)],
        recipe.batch_size,
        recipe.learning_rate,
        lambda done: min(done / WARM_UP + 0.01, (1 - done) ** 0.7, 1.0),
        seed,
        (0.9, 0.99),
    )
    words = strip_ends(source.corpus.tokens, source.vocabulary).to(device)
    training.train(model, plan, words, source.corpus.lengths - 2, loss, setup.profile)
    return model


def opposite(labels: Tensor) -> Tensor:
    """(N,) labels -> (N, 3) weights of the vertex of the other sentiment."""
    return nn.functional.one_hot(2 * (1 - labels), 3).float()


def candidates(
    model: SteeringModel, sentences: Sentences, margins: Sequence[float]
) -> list[list[Rewrite]]:
    """For each margin, all sentences rewritten to the opposite sentiment."""
    weights = opposite(sentences.labels)
    return [rewrite_at(model, sentences.texts, weights, margin) for margin in margins]


def frontier(
    model: SteeringModel, judges: judging.Judges, sentences: Sentences, recipe: SteeringRecipe
) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """What the judges say at each threshold, and the rewrites there."""
    rewrites = candidates(model, sentences, recipe.margins)
    points, texts = [], []
    for threshold in recipe.thresholds:
        texts.append([r.text for r in first_agreeing(rewrites, threshold)])
        metrics = judging.measure_rewrites(judges, texts[-1], sentences)
        points.append({"threshold": threshold, **metrics})
    return points, texts


def chosen_point(points: list[dict[str, Any]], goal: float) -> int:
    """The point that keeps most of the source among the accurate ones, else the most accurate."""
    enough = [i for i, p in enumerate(points) if p["accuracy"]["mean"] >= goal]
    if enough:
        return max(enough, key=lambda i: points[i]["bleu_source"]["mean"])
    return max(range(len(points)), key=lambda i: points[i]["accuracy"]["mean"])


def steered(setup: Setup, n_labels: int, seed: int) -> Result:
    """A steering model that learned from so many labels, measured."""
    settings = {"seed": seed, "n_labels": n_labels}
    name = f"steering-{n_labels}-seed{seed}"
    return setup.get(name, steering_values, setup.recipe.dataset, n_labels, seed, **settings)


def steering_values(setup: Setup, dataset: str, n_labels: int, seed: int) -> Computed:
    """The frontier on test sentences, the point of it that validation chose, and rewrites there."""
    model, judges = trained_steering(setup, n_labels, seed), judging.trained_judges(setup, dataset)
    recipe = setup.recipe.steering
    validation = training.first_per_label(text.load(dataset, "validation"), 500)
    test = text.load(dataset, "test")
    before, _ = frontier(model, judges, validation, recipe)
    point = chosen_point(before, ACCURACY_GOALS.get(n_labels, 88.0))
    points, texts = frontier(model, judges, test, recipe)
    corpus = model.vocabulary.encode(test.texts)
    values = {
        "chosen": point,
        "test": points,
        "unknown_words": int(corpus.n_unknown.sum()),
        "words": int((corpus.lengths - 2).sum()),
        "rewrites": training.first_per_label(test._replace(texts=texts[point]), 50).texts,
    }
    read = model.vocabulary.encode(validation.texts, 30).tokens
    words = strip_ends(read, model.vocabulary).to(model.vertices.device)
    return values, {"p": model.read(words).p, "labels": validation.labels}


def page_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The model as the page has it: int8 matrices with a scale per row, float32 vectors."""
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.float().cpu()
        if "logvar" in name:
            continue
        if value.ndim > 1:
            scale = value.abs().amax(1).clamp(min=1e-12) / 127
            value = (value / scale[:, None]).round().to(torch.int8)
            tensors[f"{name}.scale"] = scale
        tensors[name] = value
    return tensors


def from_page(tensors: dict[str, Tensor], words: list[str]) -> SteeringModel:
    """The very model that the page runs, from `page_tensors`, for use from Python."""
    arrays = {
        name: value.float() * tensors[f"{name}.scale"][:, None] if value.ndim > 1 else value
        for name, value in tensors.items()
        if not name.endswith(".scale")
    }
    latent_dim = arrays["vertices"].shape[1]
    model = SteeringModel(
        Vocabulary(words, UNKNOWN_SLOTS, mask=True),
        embedding=arrays["embedding.weight"].shape[1],
        hidden=arrays["output.weight"].shape[1] - latent_dim,
        context=len(arrays["near.weight"]),
        voters=len(arrays["voters.weight"]),
        latent_dim=latent_dim,
        tokenise=AS_TYPED,
    )
    missing, unexpected = model.load_state_dict(arrays, strict=False)
    if unexpected or not all("logvar" in name for name in missing):
        raise ValueError(f"no page model: {missing} missing, {unexpected} unexpected")
    return model.eval().requires_grad_(False)


def page_values(setup: Setup, dataset: str, seed: int) -> Computed:
    """The int8 model at its chosen threshold, measured as the model that it came from."""
    margins, n_labels = setup.recipe.steering.margins, setup.recipe.steering.labels[0]
    chosen = steered(setup, n_labels, seed).values
    threshold = chosen["test"][chosen["chosen"]]["threshold"]
    model = trained_steering(setup, n_labels, seed)
    tensors, test = page_tensors(model), text.load(dataset, "test")
    wide, narrow = (
        [r.text for r in first_agreeing(candidates(m, test, margins), threshold)]
        for m in (model, from_page(tensors, model.vocabulary.words))
    )
    values = {
        "words": model.vocabulary.words,
        "threshold": threshold,
        "ladder": list(margins),
        "int8": judging.measure_rewrites(judging.trained_judges(setup, dataset), narrow, test),
        "unchanged_by_int8": sum(a == b for a, b in zip(wide, narrow, strict=True)),
        "n": len(narrow),
        "bytes": sum(t.numel() * t.element_size() for t in tensors.values()),
    }
    return values, tensors
