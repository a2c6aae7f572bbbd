"""Training and measuring the steering model: which sizes, data and labels at which profile."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm.data import text
from dgm.data.text import Corpus, Sentences, Vocabulary
from dgm.measure import bootstrap
from dgm.precision import autocast
from dgm.steering import Rewrite, SteeringModel, better, rewrite_at, steering_objective
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.chapters.controllable_text_vae.judges import CHAPTER, Judges, content, perplexity
from dgm_book.chapters.controllable_text_vae.self_training import anchored_targets

UNKNOWN_SLOTS = 4
AS_TYPED = functools.partial(text.tokenise, keep_numbers=True)


class Settings(NamedTuple):
    """The sizes of one profile."""

    dataset: str
    n_sentences: int  # of the training split, from its start
    vocabulary: int
    embedding: int
    hidden: int
    context: int
    voters: int
    feature_dim: int
    labels: tuple[int, ...]  # how many sentences are labelled, one model each
    steps: tuple[int, ...]  # of each of these models
    batch_size: int
    learning_rate: float
    bf16: bool  # in the matrix products of training, where the device has it


def settings(profile: profiles.Profile) -> Settings:
    """The steering model's sizes at a profile."""
    if profile.name == "smoke":
        return Settings("reviews", 4000, 200, 32, 64, 48, 32, 16, (200,), (220,), 64, 4e-3, False)
    if profile.name == "small":
        return Settings(
            "yelp", 132_322, 4000, 128, 256, 128, 96, 200, (2000, 200), (1400, 900), 256, 2e-3, True
        )
    return Settings(
        "yelp",
        132_322,
        10_000,
        256,
        512,
        256,
        192,
        300,
        (2000, 200),
        (12_000, 12_000),
        512,
        1e-3,
        True,
    )


class Material(NamedTuple):
    """What a profile's models learn from."""

    sentences: Sentences
    vocabulary: Vocabulary
    corpus: Corpus
    features: Tensor  # (N, F)


@functools.lru_cache(maxsize=2)
def material(profile: profiles.Profile) -> Material:
    """The training sentences, their ids for the steering model, and their averaged word vectors."""
    s = settings(profile)
    everything = text.load(s.dataset, "train")
    sentences = Sentences(everything.texts[: s.n_sentences], everything.labels[: s.n_sentences])
    vocabulary = Vocabulary.build(sentences.texts, s.vocabulary, UNKNOWN_SLOTS, mask=True)
    corpus = vocabulary.encode(sentences.texts, 20)
    first = vocabulary.first_word
    vectors = text.word_vectors(corpus.tokens, len(vocabulary), s.feature_dim, first_word=first)
    weights = text.frequency_weights(corpus.tokens, len(vocabulary), first_word=first)
    features = text.sentence_features(corpus.tokens, corpus.lengths, vectors, weights)
    return Material(sentences, vocabulary, corpus, features)


def trained(profile: profiles.Profile, n_labels: int, seed: int) -> SteeringModel:
    """A trained steering model, from its finished or interrupted run in the work folder."""
    s, m = settings(profile), material(profile)
    steps = s.steps[s.labels.index(n_labels)]
    generator = torch.Generator().manual_seed(seed)
    labelled = torch.randperm(len(m.sentences.texts), generator=generator)[:n_labels]
    labels = torch.full((len(m.sentences.texts),), -1)
    labels[labelled] = m.sentences.labels[labelled]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SteeringModel(
            m.vocabulary,
            embedding=s.embedding,
            hidden=s.hidden,
            context=s.context,
            voters=s.voters,
            tokenise=AS_TYPED,
        )
    name = f"steering-{n_labels}-seed{seed}"
    path = results.work_folder() / CHAPTER / profile.name / f"{name}.training.safetensors"
    targets = anchored_targets(m.sentences.texts, m.features, labels).to(profile.device)
    model.to(profile.device)
    words = words_of(m.corpus.tokens, m.vocabulary).to(profile.device)
    picks = text.length_batches(m.corpus.lengths, s.batch_size, seed)

    def batch(i: int) -> tuple[Tensor, Tensor, float]:
        chosen = picks(i)
        width = int(m.corpus.lengths[chosen[0]]) - 2
        chosen = chosen.to(profile.device)
        return words[chosen, :width], targets[chosen], i / steps

    def step(state: TrainingState, batch: tuple[Tensor, Tensor, float]) -> dict[str, Tensor]:
        return _training_step(state, batch, s)

    fit(
        step,
        batch,
        TrainingState(
            model,
            torch.optim.Adam(model.parameters(), lr=s.learning_rate, betas=(0.9, 0.99)),
            torch.Generator(profile.device).manual_seed(seed),
        ),
        steps,
        checkpoint=path,
        description=name,
        progress=False,
    )
    return model.eval().requires_grad_(False)


def words_of(tokens: Tensor, vocabulary: Vocabulary) -> Tensor:
    """(N, L) ids with start and end -> (N, L - 2) words alone, padded."""
    words = tokens[:, 1:-1]
    return words.masked_fill(words == vocabulary.end, vocabulary.pad)


BACK_TRANSLATED_FROM = 0.3  # of training; before, the model's own rewrites are no sentences yet
WARM_UP = 0.03


def _training_step(
    state: TrainingState, batch: tuple[Tensor, Tensor, float], s: Settings
) -> dict[str, Tensor]:
    words, targets, done = batch
    for group in state.optimizer.param_groups:
        group["lr"] = s.learning_rate * min(done / WARM_UP + 0.01, (1 - done) ** 0.7, 1.0)
    with autocast(words.device, s.bf16):
        terms = steering_objective(
            state.model,
            words,
            targets,
            state.generator,
            back_translated=0.5 if done > BACK_TRANSLATED_FROM else 0.0,
        )
    loss = terms.loss()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
    state.optimizer.step()
    return {name: value.detach() for name, value in terms._asdict().items()}


def opposite(labels: Tensor) -> Tensor:
    """(N,) labels -> (N, 3) weights of the vertex of the other sentiment."""
    return nn.functional.one_hot(2 * (1 - labels), 3).float()


def measured(judges: Judges, rewrites: Sequence[str], sentences: Sentences) -> dict[str, Any]:
    """Accuracy, content and fluency of rewrites to the opposite sentiment, each with its interval."""
    right = (judges.classify(rewrites) > 0.5) != sentences.labels.bool()
    kept = content(rewrites, sentences.texts, sentences.references)
    nats, tokens = judges.negative_log_likelihood(rewrites)
    return {
        "accuracy": bootstrap(100.0 * right.double())._asdict(),
        "bleu_source": kept.source._asdict(),
        "bleu_reference": kept.reference._asdict() if kept.reference else None,
        "perplexity": perplexity(nats, tokens)._asdict(),
        "copies": sum(a == b for a, b in zip(rewrites, sentences.texts, strict=True)),
        "n": len(rewrites),
    }


LADDER = (100.0, 3.0, 2.0, 1.4, 1.0, 0.7, 0.4, 0.2)  # the first masks nothing
THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9)


def candidates(model: SteeringModel, sentences: Sentences) -> list[list[Rewrite]]:
    """For each margin of the ladder, all sentences rewritten to the opposite sentiment."""
    weights = opposite(sentences.labels)
    return [rewrite_at(model, sentences.texts, weights, margin) for margin in LADDER]


def first_agreeing(made: list[list[Rewrite]], threshold: float) -> list[Rewrite]:
    """What `rewrite` with the ladder and this threshold would have kept."""
    kept = []
    for options in zip(*made, strict=True):
        enough = (r for r in options if r.agreement >= threshold)
        kept.append(next(enough, None) or functools.reduce(better, options))
    return kept


ACCURACY_WANTED = {2000: 88.0, 200: 82.0}  # on validation, of the point that is chosen there
MATRICES = 2  # tensors with at least so many axes become int8


def frontier(
    model: SteeringModel, judges: Judges, sentences: Sentences
) -> tuple[list[dict[str, Any]], list[list[str]]]:
    """What the judges say at each threshold, and the rewrites there."""
    made = candidates(model, sentences)
    points, texts = [], []
    for threshold in THRESHOLDS:
        kept = first_agreeing(made, threshold)
        texts.append([r.text for r in kept])
        share = sum(r.agreement >= threshold for r in kept) / len(kept)
        points.append(
            {"threshold": threshold, "reached": share, **measured(judges, texts[-1], sentences)}
        )
    return points, texts


def chosen_point(points: list[dict[str, Any]], wanted: float) -> int:
    """The point that keeps most of the source among those accurate enough, else the most accurate one."""
    enough = [i for i, p in enumerate(points) if p["accuracy"]["mean"] >= wanted]
    if enough:
        return max(enough, key=lambda i: points[i]["bleu_source"]["mean"])
    return max(range(len(points)), key=lambda i: points[i]["accuracy"]["mean"])


def some_of_each(sentences: Sentences, n: int) -> Sentences:
    """The first n sentences of each label."""
    rows = [i for y in (0, 1) for i in (sentences.labels == y).nonzero()[:n, 0].tolist()]
    references = sentences.references and [sentences.references[i] for i in rows]
    return Sentences([sentences.texts[i] for i in rows], sentences.labels[rows], references)


def steered(
    model: SteeringModel, judges: Judges, dataset: str, n_labels: int
) -> tuple[dict[str, Any], list[str]]:
    """The frontier on the test sentences, and the point of it that validation sentences chose.

    Returns:
        Plain values, and the rewrites at the chosen point.
    """
    validation = some_of_each(text.load(dataset, "validation"), 500)
    test = text.load(dataset, "test")
    before, _ = frontier(model, judges, validation)
    place = chosen_point(before, ACCURACY_WANTED.get(n_labels, 88.0))
    points, texts = frontier(model, judges, test)
    words = words_of(model.vocabulary.encode(test.texts).tokens, model.vocabulary)
    reading = model.read(words.to(model.vertices.device))
    read_right = (reading.p[:, 2] > reading.p[:, 0]).cpu().long() == test.labels
    corpus = model.vocabulary.encode(test.texts)
    values = {
        "chosen": place,
        "validation": before,
        "test": points,
        "reading_accuracy": bootstrap(100.0 * read_right.double())._asdict(),
        "unknown_words": int(corpus.n_unknown.sum()),
        "words": int((corpus.lengths - 2).sum()),
        "sentences_with_unknown": int((corpus.n_unknown > 0).sum()),
    }
    return values, texts[place]


def page_tensors(model: SteeringModel) -> dict[str, Tensor]:
    """The model as the page holds it: int8 matrices with a scale a row, and float32 vectors.

    What only training needs, the latents' variances, stays behind.
    """
    kept = {}
    for name, value in model.state_dict().items():
        if "logvar" in name:
            continue
        value = value.float().cpu()
        if value.ndim < MATRICES:
            kept[name] = value
            continue
        scale = value.abs().amax(1).clamp(min=1e-12) / 127
        kept[name] = (value / scale[:, None]).round().to(torch.int8)
        kept[f"{name}.scale"] = scale
    return kept


def page_arrays(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `page_tensors` made, widened to float32."""
    return {
        name: value.float() * tensors[f"{name}.scale"][:, None]
        if f"{name}.scale" in tensors
        else value
        for name, value in tensors.items()
        if not name.endswith(".scale")
    }


def from_page(tensors: dict[str, Tensor], words: list[str]) -> SteeringModel:
    """The very model that the page runs, for use from Python."""
    arrays = page_arrays(tensors)
    model = SteeringModel(
        Vocabulary(words, UNKNOWN_SLOTS, mask=True),
        embedding=arrays["embedding.weight"].shape[1],
        hidden=arrays["output.weight"].shape[1] - arrays["vertices"].shape[1],
        context=arrays["near.weight"].shape[0],
        voters=arrays["voters.weight"].shape[0],
        latent_dim=arrays["vertices"].shape[1],
        tokenise=AS_TYPED,
    )
    missing, unexpected = model.load_state_dict(arrays, strict=False)
    if unexpected or not all("logvar" in name for name in missing):
        raise ValueError(f"no page model: {missing} missing, {unexpected} unexpected")
    return model.eval().requires_grad_(False)


def page_model(
    model: SteeringModel, judges: Judges, dataset: str, threshold: float, whole: list[str]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The int8 model, measured as the model it came from, with sentences that tie JavaScript to it.

    Args:
        model: the trained model.
        judges: of its rewrites.
        dataset: whose test sentences are rewritten.
        threshold: of agreement.
        whole: the rewrites of the trained model at that threshold.
    """
    tensors = page_tensors(model)
    small = from_page(tensors, model.vocabulary.words)
    test = text.load(dataset, "test")
    made = first_agreeing(candidates(small, test), threshold)
    texts = [r.text for r in made]
    values = {
        "words": model.vocabulary.words,
        "threshold": threshold,
        "ladder": list(LADDER),
        "int8": measured(judges, texts, test),
        "unchanged_by_int8": sum(a == b for a, b in zip(texts, whole, strict=True)),
        "n": len(texts),
        "bytes": sum(t.numel() * t.element_size() for t in tensors.values()),
    }
    return values, tensors
