"""Chapter 4's two text VAEs: training, rewriting, and how far a manipulation leads from real codes."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm.data import text
from dgm.data.text import Corpus, Sentences, Vocabulary
from dgm.measure import aggregate_mutual_information, bootstrap, mapper_graph
from dgm.nets.text_vae import TextVAE, text_vae_objective
from dgm.papers import controllable_text_vae as paper
from dgm.papers.controllable_text_vae import ControllableTextVAE
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.chapters.controllable_text_vae.judges import (
    CHAPTER,
    EXPERIMENT,
    FILES,
    Judges,
    judges,
)
from dgm_book.chapters.controllable_text_vae.steering import measured
from dgm_book.results import Result

MANIPULATIONS = {"1 s.d.": 1.0, "2 s.d.": 2.0, "extremum": "extremum"}
N_PUBLISHED = 50  # rewrites of each label that are published, the first ones of the test set
N_POSTERIORS = 20_000  # training sentences whose posteriors make the density
FORBIDDEN = (0, 1, 3)  # padding, start, unknown: a rewrite has words only


class Settings(NamedTuple):
    """The sizes of one profile, for the paper's model and the ordinary VAE."""

    dataset: str
    n_sentences: int  # of the training split, from its start
    vocabulary: int
    embedding: int
    hidden: int
    layers: int  # of the encoders
    word_dim: int  # of word vectors
    feature_dim: int  # their first principal components, over sentences
    steps: int
    batch_size: int
    learning_rate: float
    dropout: float  # of the decoder; less than the paper's half where training ends early
    weights: paper.LossWeights  # with which the simplex separates
    beta: float  # of the ordinary VAE
    bf16: bool
    mapper_sentences: int
    mapper_resolutions: tuple[int, ...]


def settings(profile: profiles.Profile) -> Settings:
    """The chapter's sizes at a profile; the paper's own are in its released code."""
    # As released, the KL's pull to the centroid is stronger than all that pushes away from it.
    weights = paper.LossWeights(residual=0.03, structured=0.002)
    if profile.name == "smoke":
        return Settings(
            "reviews",
            4000,
            200,
            32,
            64,
            1,
            24,
            4,
            120,
            128,
            6e-3,
            0.5,
            weights,
            0.03,
            False,
            100,
            (5, 10),
        )
    if profile.name == "small":
        return Settings(
            "yelp", 50_000, 4000, 128, 512, 1, 200, 8, 3000, 64, 3e-3, 0.2, weights, 0.03, True, 500,
            (5, 10, 20, 40),
        )  # fmt: skip
    return Settings(
        "yelp", 132_322, 9500, 256, 1024, 2, 300, 8, 50_000, 256, 1e-3, 0.5, weights, 0.03, True, 10_000,
        (5, 10, 20, 40, 80),
    )  # fmt: skip


def context(profile: profiles.Profile) -> results.Context:
    """What this chapter's results share."""
    return results.Context(EXPERIMENT, CHAPTER, profile, FILES[settings(profile).dataset])


class Material(NamedTuple):
    """What the two models learn from, and how other sentences are brought into the same form."""

    sentences: Sentences
    vocabulary: Vocabulary
    corpus: Corpus
    vectors: Tensor  # (V, W)
    word_weights: Tensor  # (V,)
    centre: Tensor  # (W,)
    axes: Tensor  # (W, F)

    def features(self, corpus: Corpus) -> Tensor:
        """(N, F) averaged word vectors of whole sentences, along their principal axes."""
        averages = text.sentence_features(
            corpus.tokens, corpus.lengths, self.vectors, self.word_weights
        )
        return (averages - self.centre) @ self.axes


@functools.lru_cache(maxsize=2)
def material(
    dataset: str, n_sentences: int, vocabulary: int, word_dim: int, feature_dim: int
) -> Material:
    """The first sentences of a training split, their vocabulary, ids and word vectors."""
    found = text.load(dataset, "train")
    sentences = Sentences(found.texts[:n_sentences], found.labels[:n_sentences])
    words = Vocabulary.build(sentences.texts, vocabulary)
    corpus = words.encode(sentences.texts)
    vectors = text.word_vectors(corpus.tokens, len(words), word_dim)
    weights = text.frequency_weights(corpus.tokens, len(words))
    averages = text.sentence_features(corpus.tokens, corpus.lengths, vectors, weights)
    centre = averages.mean(0)
    covariance = torch.cov((averages - centre).double().T)
    axes = torch.linalg.eigh(covariance)[1].flip(1)[:, :feature_dim].float()
    # One scale for all, so that the first axes stay the longest.
    axes = axes / ((averages - centre) @ axes).std(0).mean()
    return Material(sentences, words, corpus, vectors, weights, centre, axes)


class Trained(NamedTuple):
    """A trained model of either kind, with what its codes are compared with."""

    model: nn.Module
    material: Material
    training: tuple[Tensor, Tensor]  # means and log-variances (N, D) of the training posteriors


def _material_of(profile: profiles.Profile, dataset: str) -> Material:
    s = settings(profile)
    return material(dataset, s.n_sentences, s.vocabulary, s.word_dim, s.feature_dim)


def trained(kind: str, profile: profiles.Profile, dataset: str, seed: int) -> Trained:
    """A trained model, from its finished or interrupted run in the work folder.

    Args:
        kind: "simplex", the paper's model; "released", the same with the released weights of its losses; or
            "ordinary", the VAE with one Gaussian block of as many dimensions. All see random windows of
            ten positions in training, the first ten afterwards.
        profile: sizes and device.
        dataset: such as "yelp".
        seed: of weights, order and noise.
    """
    s, m = settings(profile), _material_of(profile, dataset)
    features = m.features(m.corpus).to(profile.device)
    tokens = m.corpus.tokens.to(profile.device)
    weights = paper.LossWeights() if kind == "released" else s.weights
    sizes = {
        "embedding": s.embedding,
        "hidden": s.hidden,
        "layers": s.layers,
        "dropout": s.dropout,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "ordinary":
            model = TextVAE(len(m.vocabulary), latent_dim=80, **sizes)
        else:
            model = ControllableTextVAE(
                len(m.vocabulary), features.shape[1], alpha=s.weights.alpha, **sizes
            )
    model.to(profile.device)
    picks = text.length_batches(m.corpus.lengths, s.batch_size, seed)
    # A second data set is far smaller, and of the released weights only the simplex is looked at.
    steps = s.steps if dataset == s.dataset and kind != "released" else s.steps // 4

    def batch(i: int) -> tuple[Tensor, Tensor, float]:
        chosen = picks(i)
        width = int(m.corpus.lengths[chosen[0]])
        chosen = chosen.to(profile.device)
        return tokens[chosen, :width], chosen, i / steps

    def step(state: TrainingState, batch: tuple[Tensor, Tensor, float]) -> dict[str, Tensor]:
        sentences, chosen, done = batch
        for group in state.optimizer.param_groups:
            group["lr"] = s.learning_rate * min(done / 0.02 + 0.01, (1 - done) ** 0.5)
        generator = state.generator
        window = paper.crop(sentences, generator)
        with autocast(window.device, s.bf16):
            if kind == "ordinary":
                terms = text_vae_objective(state.model, window, None, s.beta, generator)
                loss = terms.value.mean()
            else:
                others = torch.randint(
                    len(features), (len(chosen), 10), generator=generator, device=window.device
                )
                terms = paper.controllable_objective(
                    state.model,
                    window,
                    features[chosen],
                    generator,
                    negatives=features[others],
                    weights=weights,
                )
                loss = terms.value
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), 5.0)
        state.optimizer.step()
        return {name: value.detach().mean() for name, value in terms._asdict().items()}

    name = f"{dataset}-{kind}-seed{seed}"
    fit(
        step,
        batch,
        TrainingState(
            model,
            torch.optim.Adam(model.parameters(), lr=s.learning_rate),
            torch.Generator(profile.device).manual_seed(seed),
        ),
        steps,
        checkpoint=results.work_folder() / CHAPTER / profile.name / f"{name}.training.safetensors",
        description=name,
        progress=False,
    )
    model.eval().requires_grad_(False)
    return Trained(model, m, posterior(model, m, m.corpus, N_POSTERIORS))


@torch.no_grad()
def posterior(
    model: nn.Module, m: Material, corpus: Corpus, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Means and log-variances (N, D) of the codes of the first `most` sentences, from ten positions each."""
    device = next(model.parameters()).device
    features = m.features(corpus)
    parts = []
    for chosen in torch.arange(len(corpus.tokens))[:most].split(512):
        window = corpus.tokens[chosen, : paper.WINDOW].to(device)
        lengths = corpus.lengths[chosen].clamp(max=paper.WINDOW).to(device)
        if isinstance(model, ControllableTextVAE):
            found = model.posterior(window, lengths, features[chosen].to(device))
        else:
            found = model.posterior(window, lengths)
        parts.append(found)
    mu, logvar = (torch.cat(x).cpu() for x in zip(*parts, strict=True))
    return mu, logvar


def densities(codes: Tensor, training: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Both negative log densities of codes (N, D) against the training posteriors, each (N,) nats."""
    return {
        "log_of_mean": -paper.aggregate_log_density(codes, *training),
        "mean_of_logs": -paper.mean_log_density(codes, *training),
    }


def shift(original: Tensor, moved: Tensor) -> dict[str, Any]:
    """How far a manipulation moves codes in a negative log density, in nats and in standard deviations."""
    spread = torch.sqrt((original.var() + moved.var()) / 2)
    low = torch.minimum(original.min(), moved.min())
    edges = torch.linspace(float(low), float(torch.maximum(original.max(), moved.max())), 51)
    one, other = (torch.histogram(x.float(), edges)[0] / len(x) for x in (original, moved))
    return {
        "shift": bootstrap(moved - original)._asdict(),
        "in_standard_deviations": float((moved.mean() - original.mean()) / spread),
        "overlap": float(torch.minimum(one, other).sum()),
        "original_deviation": float(original.std()),
    }


def simplex(
    profile: profiles.Profile, seed: int, dataset: str | None = None, kind: str = "simplex"
) -> Result:
    """The paper's model: its simplex, its rewrites, and how far a vertex lies from the training codes."""
    dataset = dataset or settings(profile).dataset

    def compute() -> tuple[dict, dict]:
        found = trained(kind, profile, dataset, seed)
        model, m, judge = found.model, found.material, judges(profile, dataset)
        validation, test = (_encoded(m, dataset, split) for split in ("validation", "test"))
        p = weights_of(model, m, validation.corpus)
        vertices = paper.identify_vertices(p, validation.sentences.labels)
        target = torch.tensor([vertices.positive, vertices.negative])[test.sentences.labels]
        weights = nn.functional.one_hot(target, len(model.simplex.vertices)).float()
        original, _ = posterior(model, m, test.corpus)
        residual = original[:, model.simplex.vertices.shape[1] :]
        moved = model.code(weights, residual.to(model.simplex.vertices)).cpu()
        rewrites, metrics = _rewritten(found, judge, moved, test)
        _, kept = _rewritten(found, judge, original, test)
        before, after = (densities(z, found.training) for z in (original, moved))
        dispersion = paper.simplex_dispersion(p)
        values = {
            "vertices": vertices._replace(counts=vertices.counts.tolist())._asdict(),
            "dispersion": {
                "spread": float(dispersion.spread),
                "entropy": float(dispersion.entropy),
                "occupancy": dispersion.occupancy.tolist(),
            },
            "vertex": metrics,
            "reconstruction": kept,
            "shift": {k: shift(before[k], after[k]) for k in before},
            **_common(found, model.simplex.vertices.shape[1], profile, seed),
            "rewrites": first_of_each(rewrites, test.sentences.labels),
        }
        tensors = {"p": p.float(), "labels": validation.sentences.labels}
        return values, tensors | _densities(before, {"vertex": after})

    name = f"{prefix(profile, dataset)}{kind}-seed{seed}"
    return results.get(name, compute, context_of(profile, dataset), seed=seed)


def ordinary(profile: profiles.Profile, seed: int, dataset: str | None = None) -> Result:
    """The ordinary VAE: its best sentiment dimension, moved three ways, with the same measurements."""
    dataset = dataset or settings(profile).dataset

    def compute() -> tuple[dict, dict]:
        found = trained("ordinary", profile, dataset, seed)
        m, judge = found.material, judges(profile, dataset)
        validation, test = (_encoded(m, dataset, split) for split in ("validation", "test"))
        mu, _ = posterior(found.model, m, validation.corpus)
        best = paper.best_sentiment_dimension(mu, validation.sentences.labels)
        original, _ = posterior(found.model, m, test.corpus)
        before, after, metrics, rewrites = densities(original, found.training), {}, {}, {}
        for name, amount in MANIPULATIONS.items():
            moved = paper.manipulate(
                original, best, found.training[0], 1 - test.sentences.labels, amount
            )
            texts, metrics[name] = _rewritten(found, judge, moved, test)
            after[name] = densities(moved, found.training)
            rewrites[name] = first_of_each(texts, test.sentences.labels)
        _, kept = _rewritten(found, judge, original, test)
        values = {
            "best_dimension": best._asdict(),
            "manipulations": metrics,
            "reconstruction": kept,
            "shift": {
                name: {k: shift(before[k], moved[k]) for k in before}
                for name, moved in after.items()
            },
            **_common(found, 16, profile, seed),
            "rewrites": rewrites,
        }
        return values, _densities(before, after)

    name = f"{prefix(profile, dataset)}ordinary-seed{seed}"
    return results.get(name, compute, context_of(profile, dataset), seed=seed)


class Encoded(NamedTuple):
    """Sentences of a split and their ids."""

    sentences: Sentences
    corpus: Corpus


def _encoded(m: Material, dataset: str, split: str) -> Encoded:
    sentences = text.load(dataset, split)
    return Encoded(sentences, m.vocabulary.encode(sentences.texts))


def weights_of(model: ControllableTextVAE, m: Material, corpus: Corpus) -> Tensor:
    """Where on the simplex sentences stand, (N, K) on the CPU."""
    with torch.no_grad():
        return model.simplex(m.features(corpus).to(model.simplex.vertices)).p.cpu()


def _rewritten(
    found: Trained, judge: Judges, codes: Tensor, test: Encoded
) -> tuple[list[str], dict[str, Any]]:
    """Codes as sentences by beam search, and what the judges say of them."""
    device = next(found.model.parameters()).device
    made = paper.decode(found.model.decoder, codes.to(device, torch.float32), forbidden=FORBIDDEN)
    texts = [
        found.material.vocabulary.decode(tokens, unknown)
        for tokens, unknown in zip(made.tokens, test.corpus.unknown, strict=True)
    ]
    return texts, measured(judge, texts, test.sentences)


def _common(found: Trained, n_first: int, profile: profiles.Profile, seed: int) -> dict[str, Any]:
    """What is measured of both models alike."""
    s = settings(profile)
    mu, logvar = found.training
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(mu), generator=generator)[: s.mapper_sentences]
    first_mu, first_logvar = mu[chosen, :n_first], logvar[chosen, :n_first]
    noise = torch.randn((10, *first_mu.shape), generator=generator)
    points = (first_mu + torch.exp(0.5 * first_logvar) * noise).flatten(0, 1)
    information = aggregate_mutual_information(mu[:2000], logvar[:2000], chunk=64)
    return {
        "mapper": {str(r): mapper_graph(points, r)._asdict() for r in s.mapper_resolutions},
        "mutual_information": float(information),
        "n_sentences": len(mu),
    }


def _densities(before: dict[str, Tensor], after: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    tensors = {f"original.{k}": v.float() for k, v in before.items()}
    for name, moved in after.items():
        tensors |= {f"{name}.{k}": v.float() for k, v in moved.items()}
    return tensors


def first_of_each(texts: list[str], labels: Tensor) -> list[str]:
    """The first rewrites of each label: a fixed list that nobody selected."""
    return [texts[i] for y in (0, 1) for i in (labels == y).nonzero()[:N_PUBLISHED, 0].tolist()]


def prefix(profile: profiles.Profile, dataset: str) -> str:
    """What stands before the names of results on a second data set."""
    return "" if dataset == settings(profile).dataset else f"{dataset}-"


def context_of(profile: profiles.Profile, dataset: str) -> results.Context:
    """The context of results on a data set of its own."""
    return context(profile)._replace(datasets=FILES[dataset])


WALK = torch.linspace(-4, 4, 17)  # standard deviations, and ends of the simplex edge


def walk(profile: profiles.Profile, seed: int) -> Result:
    """Two straight walks from the same sentences: along the ordinary VAE's dimension, and a simplex edge.

    The sentences are ours, not the data set's.
    """
    dataset = settings(profile).dataset

    def compute() -> tuple[dict, dict]:
        judge, values, tensors = judges(profile, dataset), {}, {}
        for kind in ("ordinary", "simplex"):
            found = trained(kind, profile, dataset, seed)
            m = found.material
            corpus = m.vocabulary.encode(own_sentences(dataset))
            validation = _encoded(m, dataset, "validation")
            codes, _ = posterior(found.model, m, corpus)
            path = _walk(found, codes, validation)  # (S, sources, D)
            made = paper.decode(
                found.model.decoder, path.flatten(0, 1).to(profile.device), forbidden=FORBIDDEN
            )
            texts = [
                m.vocabulary.decode(row, corpus.unknown[i % len(codes)])
                for i, row in enumerate(made.tokens)
            ]
            shape = path.shape[:2]
            values[kind] = [texts[i :: shape[1]] for i in range(shape[1])]
            tensors[f"{kind}.reading"] = judge.classify(texts).view(shape).T.contiguous()
            for name, value in densities(path.flatten(0, 1), found.training).items():
                tensors[f"{kind}.{name}"] = value.view(shape).T.contiguous()
        return values | {"sources": own_sentences(dataset)}, tensors

    return results.get(f"walk-seed{seed}", compute, context(profile), seed=seed)


def _walk(found: Trained, codes: Tensor, validation: Encoded) -> Tensor:
    """Codes (S, N, D) along the walk, from the negative to the positive end."""
    model, m = found.model, found.material
    labels = validation.sentences.labels
    if isinstance(model, ControllableTextVAE):
        vertices = paper.identify_vertices(weights_of(model, m, validation.corpus), labels)
        share = (WALK - WALK[0]) / (WALK[-1] - WALK[0])
        weights = torch.zeros(len(WALK), len(model.simplex.vertices))
        weights[:, vertices.negative], weights[:, vertices.positive] = 1 - share, share
        residual = codes[:, model.simplex.vertices.shape[1] :].to(model.simplex.vertices)
        return torch.stack([model.code(w, residual).cpu() for w in weights])
    mu, _ = posterior(model, m, validation.corpus)
    best = paper.best_sentiment_dimension(mu, labels)
    column = found.training[0][:, best.index]
    path = codes.repeat(len(WALK), 1, 1)
    path[:, :, best.index] = (column.mean() + best.sign * WALK * column.std())[:, None]
    return path


def own_sentences(dataset: str) -> list[str]:
    """Sentences of our own for the page, in the form of the data set."""
    if dataset == "reviews":
        return text.load(dataset, "test").texts[:6]
    return [text.tokenise(sentence) for sentence in OWN]


OWN = (
    "the food was great and the staff was friendly .",
    "we waited an hour and the pizza was still cold .",
    "i love this place and i will be back !",
    "the service was terrible and the manager was rude .",
    "the room was clean and quiet .",
    "worst haircut i have ever had .",
    "the coffee is always fresh and the prices are fair .",
    "they never answer the phone .",
)
