"""Chapter 4's two text VAEs: training, rewriting, and how far a manipulation is from real codes."""

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dgm.data import text
from dgm.data.text import Corpus, Sentences
from dgm.measure import bootstrap, mapper_graph
from dgm.nets.text_vae import TextVAE
from dgm.papers import controllable_text_vae as paper
from dgm.papers.controllable_text_vae import ControllableTextVAE
from dgm.papers.pooling_vae import pooling_objective
from dgm.precision import autocast
from dgm_book.chapters.controllable_text_vae import judges as judging
from dgm_book.chapters.controllable_text_vae import training as shared
from dgm_book.chapters.controllable_text_vae.recipe import MANIPULATIONS, CodeRecipe
from dgm_book.chapters.controllable_text_vae.training import Computed, Setup, TrainingText

N_POSTERIORS = 20_000  # training sentences whose posteriors make the density
FORBIDDEN = (0, 1, 3)  # padding, start, unknown: a rewrite has words only
STRUCTURED, RESIDUAL = 16, 64  # dimensions of the paper's two codes; the ordinary VAE has their sum
WALK = torch.linspace(-4, 4, 17)  # standard deviations, and ends of the simplex edge


@functools.lru_cache(maxsize=2)
def training_text(recipe: CodeRecipe, dataset: str) -> TrainingText:
    """The first sentences of a training split; features lie along their principal axes."""
    sizes = recipe.n_sentences, recipe.vocabulary, recipe.word_dim
    source = shared.training_text(dataset, *sizes)
    features = source.features(source.corpus)
    centre = features.mean(0)
    covariance = torch.cov((features - centre).double().T)
    axes = torch.linalg.eigh(covariance)[1].flip(1)[:, : recipe.feature_dim].float()
    # One scale for all, so that the first axes stay the longest.
    axes = axes / ((features - centre) @ axes).std(0).mean()
    return source._replace(features=lambda corpus: (source.features(corpus) - centre) @ axes)


class Trained(NamedTuple):
    """A trained model of either kind, with what its codes are compared with."""

    model: Any  # a ControllableTextVAE or a TextVAE
    text: TrainingText
    training: tuple[Tensor, Tensor]  # means and log-variances (N, D) of the training posteriors

    def encode(self, texts: list[str]) -> Tensor:
        """Posterior means (N, D)."""
        return posterior(self.model, self.text, self.text.vocabulary.encode(texts))[0]

    def vertices(self, sentences: Sentences) -> tuple[paper.Vertices, Tensor]:
        """The vertices by name, and barycentric weights (N, K), from labelled sentences."""
        features = self.text.features(self.text.vocabulary.encode(sentences.texts))
        with torch.no_grad():
            p = self.model.simplex(features.to(self.model.simplex.vertices)).p.cpu()
        return paper.identify_vertices(p, sentences.labels), p

    def best_dimension(self, sentences: Sentences) -> paper.BestDimension:
        """The ordinary VAE's, from labelled sentences."""
        return paper.best_sentiment_dimension(self.encode(sentences.texts), sentences.labels)

    def decode(self, codes: Tensor, texts: list[str]) -> list[str]:
        """Codes (N, D) as sentences, by beam search, with the unknown words of N texts put back."""
        decoder, vocabulary = self.model.decoder, self.text.vocabulary
        codes = codes.to(next(decoder.parameters()).device, torch.float32)
        rows = paper.decode(decoder, codes, forbidden=FORBIDDEN).tokens
        unknown = vocabulary.encode(texts).unknown
        return [vocabulary.decode(row, words) for row, words in zip(rows, unknown, strict=True)]


def trained_codes(kind: str, setup: Setup, dataset: str, seed: int) -> Trained:
    """A trained "simplex", "released" (with those weights of its losses) or "ordinary" model."""
    recipe, device = setup.recipe.codes, setup.profile.device
    source = training_text(recipe, dataset)
    features = source.features(source.corpus).to(device)
    names = ("embedding", "hidden", "layers", "dropout")
    sizes: dict[str, Any] = {name: getattr(recipe, name) for name in names}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "ordinary":
            model = TextVAE(len(source.vocabulary), latent_dim=STRUCTURED + RESIDUAL, **sizes)
        else:
            model = ControllableTextVAE(
                len(source.vocabulary), features.shape[1], alpha=recipe.weights.alpha, **sizes
            )

    # A second data set is far smaller, and of the released weights only the simplex is looked at.
    full = dataset == setup.recipe.dataset and kind != "released"
    plan = shared.Plan(
        f"{dataset}-{kind}-seed{seed}.training",
        recipe.steps if full else recipe.steps // 4,
        recipe.batch_size,
        recipe.learning_rate,
        lambda done: min(done / 0.02 + 0.01, (1 - done) ** 0.5),
        seed,
    )
    tokens = source.corpus.tokens.to(device)
    loss = functools.partial(_loss, model, recipe, features, kind == "released")
    shared.train(model, plan, tokens, source.corpus.lengths, loss, setup.profile)
    return Trained(model, source, posterior(model, source, source.corpus, N_POSTERIORS))


def _loss(
    model: ControllableTextVAE | TextVAE,
    recipe: CodeRecipe,
    features: Tensor,
    released: bool,
    tokens: Tensor,
    chosen: Tensor,
    generator: torch.Generator,
    _done: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    window = paper.crop(tokens, generator)
    with autocast(window.device, recipe.bf16):
        if isinstance(model, TextVAE):
            terms = pooling_objective(model, window, None, generator, beta=recipe.beta)
        else:
            shape, n = (len(chosen), 10), len(features)
            others = torch.randint(n, shape, generator=generator, device=window.device)
            terms = paper.controllable_objective(
                model,
                window,
                features[chosen],
                generator,
                negatives=features[others],
                weights=paper.LossWeights() if released else recipe.weights,
            )
        return terms.value.mean(), {k: v.detach().mean() for k, v in terms._asdict().items()}


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
    """How far a manipulation shifts a negative log density (N,), in nats and deviations."""
    spread = torch.sqrt((before.var() + after.var()) / 2)
    low, high = torch.cat([before, after]).aminmax()
    edges = torch.linspace(float(low), float(high), 51)
    histograms = [torch.histogram(x.float(), edges)[0] / len(x) for x in (before, after)]
    return {
        "shift": bootstrap(after - before)._asdict(),
        "in_standard_deviations": float((after.mean() - before.mean()) / spread),
        "overlap": float(torch.minimum(*histograms).sum()),
    }


def measure_codes(
    trained: Trained, judges: judging.Judges, test: Sentences, codes: dict[str, Tensor]
) -> Computed:
    """Measures of both models, by manipulation, for the test sentences' codes (N, D); densities."""
    original = trained.encode(test.texts)
    before = densities(original, trained.training)
    after = {name: densities(z, trained.training) for name, z in codes.items()}

    def measure(z: Tensor) -> dict[str, Any]:
        return judging.measure_rewrites(judges, trained.decode(z, test.texts), test)

    values = {
        "metrics": {name: measure(z) for name, z in codes.items()},
        "reconstruction": measure(original),
        "shift": {name: {k: shift(before[k], v[k]) for k in before} for name, v in after.items()},
    }
    named = {"original": before, **after}
    return values, {f"{name}.{k}": v.float() for name, d in named.items() for k, v in d.items()}


def mapper_values(trained: Trained, recipe: CodeRecipe, seed: int) -> dict[str, dict[str, int]]:
    """Mapper graphs of ten samples of the codes of random sentences, by the number of slices."""
    mu, logvar = (x[:, :STRUCTURED] for x in trained.training)
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(mu), generator=generator)[: recipe.mapper_sentences]
    noise = torch.randn((10, len(chosen), mu.shape[1]), generator=generator)
    points = (mu[chosen] + torch.exp(0.5 * logvar[chosen]) * noise).flatten(0, 1)
    return {str(r): mapper_graph(points, r)._asdict() for r in recipe.mapper_resolutions}


def code_values(setup: Setup, dataset: str, kind: str, seed: int) -> Computed:
    """A model of a kind of `trained_codes`: all that is measured of it, its Mapper graphs too."""
    trained = trained_codes(kind, setup, dataset, seed)
    measure = ordinary_values if kind == "ordinary" else simplex_values
    values, tensors = measure(trained, judging.trained_judges(setup, dataset), dataset)
    return values | {"mapper": mapper_values(trained, setup.recipe.codes, seed)}, tensors


def simplex_values(trained: Trained, judges: judging.Judges, dataset: str) -> Computed:
    """The paper's model: its simplex, its rewrites, and how far a vertex is from training codes."""
    validation, test = (text.load(dataset, split) for split in ("validation", "test"))
    vertices, p = trained.vertices(validation)
    target = torch.tensor([vertices.positive, vertices.negative])[test.labels]
    residual = trained.encode(test.texts)[:, STRUCTURED:].to(trained.model.simplex.vertices)
    codes = trained.model.code(functional.one_hot(target, p.shape[1]).float(), residual).cpu()
    values, tensors = measure_codes(trained, judges, test, {"vertex": codes})
    values |= {
        "vertices": vertices._replace(counts=vertices.counts.tolist())._asdict(),
        "dispersion": {"spread": paper.simplex_dispersion(p).spread.tolist()},
        "vertex": values.pop("metrics")["vertex"],
        "shift": values["shift"]["vertex"],
    }
    return values, {"p": p.float(), "labels": validation.labels, **tensors}


def ordinary_values(trained: Trained, judges: judging.Judges, dataset: str) -> Computed:
    """The ordinary VAE: its best sentiment dimension manipulated, with the same measurements."""
    test = text.load(dataset, "test")
    best = trained.best_dimension(text.load(dataset, "validation"))
    original, mu = trained.encode(test.texts), trained.training[0]
    codes = {
        name: paper.manipulate(original, best, mu, 1 - test.labels, amount)
        for name, amount in MANIPULATIONS.items()
    }
    values, tensors = measure_codes(trained, judges, test, codes)
    return values | {"manipulations": values.pop("metrics")}, tensors


def walk_values(setup: Setup, dataset: str, seed: int) -> Computed:
    """Straight walks from sentences of ours: along the ordinary VAE's dimension, and an edge."""
    sources, judges = shared.own_sentences(dataset), judging.trained_judges(setup, dataset)
    values: dict[str, Any] = {"sources": sources}
    tensors, n = {}, len(sources)
    for kind in ("ordinary", "simplex"):
        trained = trained_codes(kind, setup, dataset, seed)
        path = _path(trained, trained.encode(sources), dataset)
        texts = trained.decode(path.flatten(0, 1), sources * len(path))
        values[kind] = [texts[i::n] for i in range(n)]
        columns = {"reading": judges.classify(texts)}
        columns |= densities(path.flatten(0, 1), trained.training)
        tensors |= {f"{kind}.{k}": v.view(-1, n).T.contiguous() for k, v in columns.items()}
    return values, tensors


def _path(trained: Trained, codes: Tensor, dataset: str) -> Tensor:
    """Codes (S, N, D) along the walk, from the negative to the positive end."""
    model, validation = trained.model, text.load(dataset, "validation")
    if isinstance(model, ControllableTextVAE):
        vertices, p = trained.vertices(validation)
        share = (WALK - WALK[0]) / (WALK[-1] - WALK[0])
        weights = torch.zeros(len(WALK), p.shape[1])
        weights[:, vertices.negative], weights[:, vertices.positive] = 1 - share, share
        residual = codes[:, STRUCTURED:].to(model.simplex.vertices)
        return torch.stack([model.code(w, residual).cpu() for w in weights])
    best = trained.best_dimension(validation)
    column = trained.training[0][:, best.index]
    path = codes.repeat(len(WALK), 1, 1)
    path[:, :, best.index] = (column.mean() + best.sign * WALK * column.std())[:, None]
    return path
