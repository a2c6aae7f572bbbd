"""Chapter 4's two text VAEs: training, rewriting, and how far a manipulation is from real codes."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dgm.data import text
from dgm.data.text import Corpus, Sentences, Vocabulary
from dgm.measure import aggregate_mutual_information, bootstrap, mapper_graph
from dgm.nets.text_vae import TextVAE, text_vae_objective
from dgm.papers import controllable_text_vae as paper
from dgm.papers.controllable_text_vae import ControllableTextVAE
from dgm.precision import autocast
from dgm_book.chapters.controllable_text_vae.judges import Judges, measure_rewrites
from dgm_book.chapters.controllable_text_vae.recipe import MANIPULATIONS, CodeRecipe
from dgm_book.chapters.controllable_text_vae.training import (
    Plan,
    Setup,
    WordAverages,
    first_of_each,
    train,
    word_averages,
)

N_PUBLISHED = 50  # rewrites of each label that are published, the first ones of the test set
N_POSTERIORS = 20_000  # training sentences whose posteriors make the density
FORBIDDEN = (0, 1, 3)  # padding, start, unknown: a rewrite has words only
STRUCTURED, RESIDUAL = 16, 64  # dimensions of the paper's two codes; the ordinary VAE has their sum
WALK = torch.linspace(-4, 4, 17)  # standard deviations, and ends of the simplex edge


class TrainingText(NamedTuple):
    """What the two models learn from, and how other sentences are brought into the same form."""

    vocabulary: Vocabulary
    corpus: Corpus
    averages: WordAverages
    centre: Tensor  # (W,)
    axes: Tensor  # (W, F)

    def features(self, corpus: Corpus) -> Tensor:
        """(N, F) averaged word vectors of whole sentences, along their principal axes."""
        return (self.averages(corpus) - self.centre) @ self.axes


@functools.lru_cache(maxsize=2)
def training_text(recipe: CodeRecipe, dataset: str) -> TrainingText:
    """The first sentences of a training split, their vocabulary, ids and word vectors."""
    texts = text.load(dataset, "train").texts[: recipe.n_sentences]
    vocabulary = Vocabulary.build(texts, recipe.vocabulary)
    corpus = vocabulary.encode(texts)
    averages = word_averages(vocabulary, corpus, recipe.word_dim)
    features = averages(corpus)
    centre = features.mean(0)
    covariance = torch.cov((features - centre).double().T)
    axes = torch.linalg.eigh(covariance)[1].flip(1)[:, : recipe.feature_dim].float()
    # One scale for all, so that the first axes stay the longest.
    axes = axes / ((features - centre) @ axes).std(0).mean()
    return TrainingText(vocabulary, corpus, averages, centre, axes)


class Trained(NamedTuple):
    """A trained model of either kind, with what its codes are compared with."""

    model: Any  # a ControllableTextVAE or a TextVAE
    text: TrainingText
    training: tuple[Tensor, Tensor]  # means and log-variances (N, D) of the training posteriors

    def encode(self, corpus: Corpus) -> Tensor:
        """Posterior means (N, D)."""
        return posterior(self.model, self.text, corpus)[0]

    def vertices(self, validation: "Encoded") -> tuple[paper.Vertices, Tensor]:
        """The vertices by name, and barycentric weights (N, K) of validation sentences."""
        simplex = self.model.simplex
        with torch.no_grad():
            p = simplex(self.text.features(validation.corpus).to(simplex.vertices)).p.cpu()
        return paper.identify_vertices(p, validation.sentences.labels), p


class Encoded(NamedTuple):
    """Sentences of a split and their ids."""

    sentences: Sentences
    corpus: Corpus


def encoded(trained: Trained, dataset: str, split: str) -> Encoded:
    """A split in the form that a model reads."""
    sentences = text.load(dataset, split)
    return Encoded(sentences, trained.text.vocabulary.encode(sentences.texts))


def trained_codes(kind: str, setup: Setup, dataset: str, seed: int) -> Trained:
    """A trained model, from its finished or interrupted run in the work folder.

    Args:
        kind: "simplex", the paper's model; "released", the same with the released weights of its
            losses; or "ordinary", the VAE with one Gaussian block of as many dimensions. All see
            random windows of ten positions in training, the first ten afterwards.
        setup: sizes and device.
        dataset: such as "yelp".
        seed: of weights, order and noise.
    """
    recipe, device = setup.recipe.codes, setup.profile.device
    source = training_text(recipe, dataset)
    features = source.features(source.corpus).to(device)
    weights = paper.LossWeights() if kind == "released" else recipe.weights
    sizes: dict[str, Any] = {
        k: getattr(recipe, k) for k in ("embedding", "hidden", "layers", "dropout")
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "ordinary":
            model = TextVAE(len(source.vocabulary), latent_dim=STRUCTURED + RESIDUAL, **sizes)
        else:
            model = ControllableTextVAE(
                len(source.vocabulary), features.shape[1], alpha=recipe.weights.alpha, **sizes
            )

    def loss(tokens: Tensor, chosen: Tensor, generator: torch.Generator, done: float) -> Any:
        window = paper.crop(tokens, generator)
        with autocast(window.device, recipe.bf16):
            if isinstance(model, TextVAE):
                terms = text_vae_objective(model, window, None, recipe.beta, generator)
            else:
                others = torch.randint(
                    len(features), (len(chosen), 10), generator=generator, device=window.device
                )
                terms = paper.controllable_objective(
                    model,
                    window,
                    features[chosen],
                    generator,
                    negatives=features[others],
                    weights=weights,
                )
            return terms.value.mean(), {k: v.detach().mean() for k, v in terms._asdict().items()}

    # A second data set is far smaller, and of the released weights only the simplex is looked at.
    full = dataset == setup.recipe.dataset and kind != "released"
    plan = Plan(
        f"{dataset}-{kind}-seed{seed}.training",
        recipe.steps if full else recipe.steps // 4,
        recipe.batch_size,
        recipe.learning_rate,
        lambda done: min(done / 0.02 + 0.01, (1 - done) ** 0.5),
        seed,
    )
    tokens = source.corpus.tokens.to(device)
    train(model, plan, tokens, source.corpus.lengths, loss, setup.profile)
    return Trained(model, source, posterior(model, source, source.corpus, N_POSTERIORS))


@torch.no_grad()
def posterior(
    model: Any, source: TrainingText, corpus: Corpus, n: int | None = None
) -> tuple[Tensor, Tensor]:
    """Means and log-variances (N, D) of the first n sentences' codes, from ten positions each."""
    device = next(model.parameters()).device
    features = source.features(corpus)
    parts = []
    for chosen in torch.arange(len(corpus.tokens))[:n].split(512):
        window = corpus.tokens[chosen, : paper.WINDOW].to(device)
        lengths = corpus.lengths[chosen].clamp(max=paper.WINDOW).to(device)
        if isinstance(model, ControllableTextVAE):
            parts.append(model.posterior(window, lengths, features[chosen].to(device)))
        else:
            parts.append(model.posterior(window, lengths))
    mu, logvar = (torch.cat(x).cpu() for x in zip(*parts, strict=True))
    return mu, logvar


def densities(codes: Tensor, training: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Both negative log densities of codes (N, D) against the training posteriors, (N,) nats."""
    return {
        "log_of_mean": -paper.aggregate_log_density(codes, *training),
        "mean_of_logs": -paper.mean_log_density(codes, *training),
    }


def shift(before: Tensor, after: Tensor) -> dict[str, Any]:
    """How far a manipulation shifts a negative log density (N,), in nats and standard deviations."""
    spread = torch.sqrt((before.var() + after.var()) / 2)
    low, high = torch.cat([before, after]).aminmax()
    edges = torch.linspace(float(low), float(high), 51)
    one, other = (torch.histogram(x.float(), edges)[0] / len(x) for x in (before, after))
    return {
        "shift": bootstrap(after - before)._asdict(),
        "in_standard_deviations": float((after.mean() - before.mean()) / spread),
        "overlap": float(torch.minimum(one, other).sum()),
        "original_deviation": float(before.std()),
    }


def decoded(trained: Trained, codes: Tensor, unknown: list[list[str]]) -> list[str]:
    """Codes (N, D) as sentences, by beam search, with unknown words put back."""
    decoder = trained.model.decoder
    device = next(decoder.parameters()).device
    rows = paper.decode(decoder, codes.to(device, torch.float32), forbidden=FORBIDDEN).tokens
    vocabulary = trained.text.vocabulary
    return [vocabulary.decode(row, words) for row, words in zip(rows, unknown, strict=True)]


def measure_codes(
    trained: Trained,
    judges: Judges,
    test: Encoded,
    codes: dict[str, Tensor],
    setup: Setup,
    seed: int,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is measured of both models alike.

    Args:
        trained: the model.
        judges: of the rewrites.
        test: N test sentences.
        codes: their manipulated codes (N, D), by the manipulation's name.
        setup: sizes of the Mapper graphs.
        seed: of their sample.

    Returns:
        Values and densities; "rewrites", "metrics" and "shift" by the manipulation's name.
    """

    def rewritten(codes: Tensor) -> tuple[list[str], dict[str, Any]]:
        texts = decoded(trained, codes, test.corpus.unknown)
        published = first_of_each(test.sentences._replace(texts=texts), N_PUBLISHED).texts
        return published, measure_rewrites(judges, texts, test.sentences)

    original = trained.encode(test.corpus)
    before = densities(original, trained.training)
    after = {name: densities(z, trained.training) for name, z in codes.items()}
    rewrites = {name: rewritten(z) for name, z in codes.items()}
    (mu, logvar), recipe = trained.training, setup.recipe.codes
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(mu), generator=generator)[: recipe.mapper_sentences]
    mean, deviation = mu[chosen, :STRUCTURED], torch.exp(0.5 * logvar[chosen, :STRUCTURED])
    noise = torch.randn((10, *mean.shape), generator=generator)
    points = (mean + deviation * noise).flatten(0, 1)
    values = {
        "rewrites": {name: texts for name, (texts, _) in rewrites.items()},
        "metrics": {name: metrics for name, (_, metrics) in rewrites.items()},
        "reconstruction": rewritten(original)[1],
        "shift": {name: {k: shift(before[k], v[k]) for k in before} for name, v in after.items()},
        "mapper": {str(r): mapper_graph(points, r)._asdict() for r in recipe.mapper_resolutions},
        "mutual_information": float(
            aggregate_mutual_information(mu[:2000], logvar[:2000], chunk=64)
        ),
        "n_sentences": len(mu),
    }
    named = {"original": before, **after}
    return values, {f"{name}.{k}": v.float() for name, d in named.items() for k, v in d.items()}


def simplex_values(
    trained: Trained, judges: Judges, dataset: str, setup: Setup, seed: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The paper's model: its simplex, its rewrites, and how far a vertex is from training codes."""
    validation, test = (encoded(trained, dataset, split) for split in ("validation", "test"))
    vertices, p = trained.vertices(validation)
    target = torch.tensor([vertices.positive, vertices.negative])[test.sentences.labels]
    residual = trained.encode(test.corpus)[:, STRUCTURED:].to(trained.model.simplex.vertices)
    codes = trained.model.code(functional.one_hot(target, p.shape[1]).float(), residual).cpu()
    values, tensors = measure_codes(trained, judges, test, {"vertex": codes}, setup, seed)
    dispersion = paper.simplex_dispersion(p)
    values |= {
        "vertices": vertices._replace(counts=vertices.counts.tolist())._asdict(),
        "dispersion": {k: v.tolist() for k, v in dispersion._asdict().items()},
        "vertex": values.pop("metrics")["vertex"],
        "shift": values["shift"]["vertex"],
        "rewrites": values["rewrites"]["vertex"],
    }
    return values, {"p": p.float(), "labels": validation.sentences.labels, **tensors}


def ordinary_values(
    trained: Trained, judges: Judges, dataset: str, setup: Setup, seed: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The ordinary VAE: its best sentiment dimension manipulated, with the same measurements."""
    validation, test = (encoded(trained, dataset, split) for split in ("validation", "test"))
    best = paper.best_sentiment_dimension(
        trained.encode(validation.corpus), validation.sentences.labels
    )
    original, target = trained.encode(test.corpus), 1 - test.sentences.labels
    codes = {
        name: paper.manipulate(original, best, trained.training[0], target, amount)
        for name, amount in MANIPULATIONS.items()
    }
    values, tensors = measure_codes(trained, judges, test, codes, setup, seed)
    values |= {"best_dimension": best._asdict(), "manipulations": values.pop("metrics")}
    return values, tensors


def walk_values(
    kind: str, trained: Trained, judges: Judges, dataset: str, sources: list[str]
) -> tuple[list[list[str]], dict[str, Tensor]]:
    """A straight walk from sentences: along the ordinary VAE's dimension, or a simplex edge.

    Returns:
        For each sentence its rewrites along the walk; how positive they read, and both densities of
        their codes, each (sentences, steps), with `kind` before their names.
    """
    corpus = trained.text.vocabulary.encode(sources)
    path = _path(trained, trained.encode(corpus), encoded(trained, dataset, "validation"))
    texts = decoded(trained, path.flatten(0, 1), corpus.unknown * len(path))
    n = len(sources)
    columns = {"reading": judges.classify(texts)}
    columns |= densities(path.flatten(0, 1), trained.training)
    tensors = {f"{kind}.{k}": v.view(-1, n).T.contiguous() for k, v in columns.items()}
    return [texts[i::n] for i in range(n)], tensors


def _path(trained: Trained, codes: Tensor, validation: Encoded) -> Tensor:
    """Codes (S, N, D) along the walk, from the negative to the positive end."""
    model = trained.model
    if isinstance(model, ControllableTextVAE):
        vertices, p = trained.vertices(validation)
        share = (WALK - WALK[0]) / (WALK[-1] - WALK[0])
        weights = torch.zeros(len(WALK), p.shape[1])
        weights[:, vertices.negative], weights[:, vertices.positive] = 1 - share, share
        residual = codes[:, STRUCTURED:].to(model.simplex.vertices)
        return torch.stack([model.code(w, residual).cpu() for w in weights])
    labels = validation.sentences.labels
    best = paper.best_sentiment_dimension(trained.encode(validation.corpus), labels)
    column = trained.training[0][:, best.index]
    path = codes.repeat(len(WALK), 1, 1)
    path[:, :, best.index] = (column.mean() + best.sign * WALK * column.std())[:, None]
    return path
