"""Chapter 5's models are trained and measured: a result per data set, variant and seed."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.data import synthetic, text
from dgm.data.batches import length_batches
from dgm.data.text import Corpus, Vocabulary
from dgm.measure import active_units, aggregate_mutual_information
from dgm.nets.text_vae import TextVAE, TextVAETerms, aggressive_encoder_steps
from dgm.papers import pooling_vae as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm.vae import gaussian_kl
from dgm_book import results
from dgm_book.chapters.pooling_vae import recipe as plan
from dgm_book.chapters.pooling_vae.recipe import ENCODERS, RECIPES, VARIANTS, Recipe, Settings
from dgm_book.profiles import Profile
from dgm_book.results import Result
from dgm_book.verification import check

CHAPTER = "05_pooling_vae"
CLIP = 5.0  # length of the gradient


def run(
    profile: Profile, seed: int, first_seed: int = 0, recipes: Mapping[str, Recipe] = RECIPES
) -> Iterator[Result]:
    """Every result of one seed; runs whose seeds go further are shared out over the profile's."""
    recipe = recipes[profile.name]
    for dataset, name, n in recipe.runs:
        if n % profile.n_seeds == seed - first_seed:
            yield result(recipe, profile, dataset, name, n + first_seed)
    if seed == first_seed:
        yield timing(recipe, profile)
        yield vocabulary(recipe, profile)


def context(profile: Profile, dataset: str | None = None) -> results.Context:
    """What results on a data set share; by default the main one, as the verification does."""
    name = dataset or RECIPES[profile.name].main
    return results.Context(__name__, CHAPTER, profile, plan.FILES[name])


def result_name(dataset: str, name: str, seed: int) -> str:
    """The name of a run's result."""
    return f"{dataset}-{name.replace(',', '').replace(' ', '-')}-seed{seed}"


class Splits(NamedTuple):
    """What all models of a data set learn from and are measured on."""

    vocabulary: Vocabulary
    training: Corpus
    validation: Corpus
    test: Corpus
    labels: Tensor  # (N,) of the validation sentences


@lru_cache(maxsize=4)
def load_splits(dataset: str, s: Settings, front: bool = False) -> Splits:
    """A data set's sentences as ids; "endings" is made by `synthetic.shared_endings`."""
    sizes, parts = (s.n_training, s.n_validation, s.n_test), []
    if dataset == "endings":
        texts, labels, *_ = synthetic.shared_endings(sum(sizes), 0, front=front)
        for bound in itertools.pairwise(itertools.accumulate(sizes, initial=0)):
            parts.append((texts[slice(*bound)], labels[slice(*bound)]))
    elif front:
        raise ValueError(f"front moves the ending of the generated sentences: {dataset} has none")
    else:
        names = ("train", "validation", "held_out" if dataset == "yelp" else "test")
        for split, n in zip(names, sizes, strict=True):
            texts, labels, *_ = text.load(dataset, split)
            lengths = enumerate(len(words.split()) for words in texts)
            chosen = [i for i, length in lengths if s.words[0] <= length <= s.words[1]][:n]
            parts.append(([texts[i] for i in chosen], labels[chosen]))
    words = Vocabulary.build(parts[0][0], s.vocabulary)
    training, validation, test = (words.encode(texts) for texts, _ in parts)
    return Splits(words, training, validation, test, parts[1][1])


def build_model(variant: plan.Variant, s: Settings, n_words: int, seed: int) -> TextVAE:
    """A model before its training."""
    options = {"layers": 1, "bidirectional": False, "dropout": s.dropout}
    options |= {"pooling": variant.pooling, "temperature": variant.temperature}
    model = TextVAE(n_words, s.embedding, s.hidden, s.latent_dim, **options)
    width = s.embeddings if variant.embeddings is None else variant.embeddings
    generator = torch.Generator().manual_seed(seed)
    paper.initialise_(model, generator, weights=s.weights, embeddings=width)
    encoder = model.posterior.encoder
    if variant.forget_bias is not None:
        for name, bias in encoder.states.lstm.named_parameters():
            if name.startswith("bias_"):
                forget_gate = bias.detach()[s.hidden : 2 * s.hidden]
                forget_gate.fill_(variant.forget_bias if name.startswith("bias_ih") else 0.0)

    def control(module: nn.Module, inputs: object, features: Tensor) -> Tensor:
        if variant.layer_norm:
            features = functional.layer_norm(features, features.shape[-1:])
        return features if variant.scale is None else variant.scale * features

    encoder.register_forward_hook(control)  # pyright: ignore[reportArgumentType]  # torch's stub
    return model


def build_optimizer(
    variant: plan.Variant, s: Settings, parameters: Iterable[nn.Parameter], factor: float = 1.0
) -> torch.optim.Optimizer:
    """The variant's optimiser, with its learning rate times the factor."""
    if variant.adam:
        return torch.optim.Adam(parameters, lr=factor * s.adam_rate)
    return torch.optim.SGD(parameters, lr=factor * s.learning_rate)


class Trained(NamedTuple):
    """A trained model, what it learned from, and what was measured on its way."""

    model: TextVAE
    splits: Splits
    rows: list[dict[str, Any]]  # before training and on its way, each with its step
    frames: Tensor  # (E, M, H) features of the first validation sentences, at each row


def train(recipe: Recipe, profile: Profile, dataset: str, name: str, seed: int) -> Trained:
    """Trains one of `VARIANTS`, or goes on with a run; it ends with its last weights."""
    variant, s = VARIANTS[name], recipe.settings[dataset]
    splits = load_splits(dataset, s, variant.front)
    model = build_model(variant, s, len(splits.vocabulary), seed).to(profile.device)
    generator = torch.Generator(profile.device).manual_seed(seed)
    state = TrainingState(model, build_optimizer(variant, s, model.parameters()), generator)
    step, epoch = make_step(model, variant, s, splits, seed, profile.device)

    def measure(state: TrainingState) -> dict[str, Any]:
        row = {"seconds": state.seconds if state.steps else 0.0}
        row |= watch(recipe, model, splits.validation, seed)
        return row | {"frames": encode(model, splits.validation, recipe.n_frames)[2]}

    file = f"{result_name(dataset, name, seed)}.training.safetensors"
    options: dict[str, Any] = {"checkpoint": results.work_folder() / CHAPTER / profile.name / file}
    options |= {"measure_every": [*range(0, s.steps, s.measure_every or epoch), s.steps]}
    history = fit(step, lambda i: i, state, s.steps, measure=measure, progress=False, **options)
    model.eval().requires_grad_(False)
    frames = torch.stack([row["frames"] for row in history.measurements])
    rows = [{k: row[k] for k in row if k != "frames"} for row in history.measurements]
    return Trained(model, splits, rows, frames)


def halvings(rows: list[dict[str, Any]]) -> float:
    """The learning rate's factor after these rows, as in the base system (He et al. 2019)."""
    factor, best, waited = 1.0, float("inf"), 0
    for epoch, row in enumerate(rows):
        loss = row["reconstruction"] + row["kl"]
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if epoch >= 15 and waited >= 2:
            factor, waited = factor / 2, 0
    return factor


def still_ahead(rows: list[dict[str, Any]], s: Settings) -> bool:
    """Whether an encoder runs ahead: not too late, and information has never fallen in training."""
    information = [row["information"] for row in rows[1:]]
    rising = all(b >= a for a, b in itertools.pairwise(information))
    return rising and rows[-1]["step"] < s.ahead


def make_step(
    model: TextVAE, variant: plan.Variant, s: Settings, splits: Splits, seed: int, device: str
) -> tuple[Callable[[TrainingState, int], dict[str, Tensor]], int]:
    """The step of `fit`, whose batches are their numbers; and the steps of an epoch."""
    picks = length_batches(splits.training.lengths, s.batch_size, seed)
    tokens = splits.training.tokens.to(device)
    rise = max(1, round(s.rise * s.steps) if variant.schedule == "linear" else s.steps // 4)
    options = {
        "free_bits": s.free_bits if variant.free_bits else None,
        "per_dimension": variant.per_dimension,
        "word_dropout_rate": s.word_dropout if variant.word_dropout else 0.0,
    }

    def terms(generator: torch.Generator, batch: int, i: int) -> TextVAETerms:
        """What the variant minimises at step i, for a batch of sentences of one length."""
        chosen = picks(batch)
        sentences = tokens[chosen.to(device), : int(splits.training.lengths[chosen[0]])]
        beta = paper.kl_weight(i + 1, variant.schedule, variant.beta, rise)
        with autocast(sentences.device, s.bf16):
            return paper.pooling_objective(model, sentences, None, generator, beta=beta, **options)

    def run_ahead(generator: torch.Generator, i: int, factor: float) -> None:
        epoch = i - i % picks.steps_per_epoch

        def loss(j: int) -> Tensor:
            n = picks.steps_per_epoch
            drawn = torch.randint(n, (), generator=generator, device=device) if j else i - epoch
            return terms(generator, epoch + int(drawn), i).value.mean()

        optimizer = build_optimizer(variant, s, model.posterior.parameters(), factor)
        aggressive_encoder_steps(loss, optimizer, most=s.most_ahead, max_norm=CLIP)

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        factor = halvings(state.measurements)
        for group in state.optimizer.param_groups:
            group["lr"] = factor * state.optimizer.defaults["lr"]
        ahead = variant.aggressive and still_ahead(state.measurements, s)
        if ahead:
            run_ahead(state.generator, i, factor)
        values = terms(state.generator, i, i)
        state.optimizer.zero_grad(set_to_none=True)
        values.value.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        if ahead:
            model.posterior.zero_grad(set_to_none=True)
        state.optimizer.step()
        return {name: value.detach().mean() for name, value in values._asdict().items()}

    return step, picks.steps_per_epoch


@torch.no_grad()
def encode(
    model: TextVAE, corpus: Corpus, first: int | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the first N sentences means and log-variances (N, D), and the features (N, H) behind."""
    device = next(model.parameters()).device
    batches, parts = (x[:first].split(512) for x in (corpus.tokens, corpus.lengths)), []
    for x, n in zip(*batches, strict=True):
        features = model.posterior.encoder(x.to(device), n.to(device))
        parts.append((*model.posterior.head(features).chunk(2, dim=-1), features))
    mu, logvar, features = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return mu, logvar, features


@torch.no_grad()
def watch(recipe: Recipe, model: TextVAE, corpus: Corpus, seed: int) -> dict[str, Any]:
    """All measures on sentences whose words the decoder sees; nats per sentence."""
    device = next(model.parameters()).device
    tokens, lengths = corpus.tokens.to(device), corpus.lengths.to(device)
    mu, logvar, features = encode(model, corpus)
    generator = torch.Generator(device).manual_seed(seed)
    nll, count = paper.reconstruction_by_position(model, tokens, lengths, generator)
    first = slice(recipe.n_watched)
    likelihood = paper.marginal_likelihood(
        model, tokens[first], lengths[first], generator, n_samples=recipe.k_watched
    )
    spread = paper.dispersion(features[: recipe.n_dispersion])._asdict()
    return {
        "reconstruction": float((nll * count).sum() / len(tokens)),
        "by_position": nll.tolist(),
        "kl": float(gaussian_kl(mu.double(), logvar.double()).mean()),
        "information": float(aggregate_mutual_information(mu, logvar, seed=seed)),
        "active_units": float(active_units(mu)),
        "log_likelihood": float(likelihood.log_likelihood.mean()),
        "features": {name: float(value) for name, value in spread.items()},
    }


def measure_final(
    recipe: Recipe, model: TextVAE, corpus: Corpus, s: Settings, seed: int
) -> dict[str, Any]:
    """`watch` on the test sentences, with the likelihood of some, by more codes, and influence."""
    device = next(model.parameters()).device
    values = watch(recipe, model, corpus, seed)
    tokens, lengths = (x[: s.n_likelihood].to(device) for x in (corpus.tokens, corpus.lengths))
    generator = torch.Generator(device).manual_seed(seed)
    for name, rate, k in (("", 0.0, s.n_samples), ("hidden_", s.word_dropout, s.n_samples // 5)):
        bound = paper.marginal_likelihood(
            model, tokens, lengths, generator, n_samples=max(1, k), word_dropout_rate=rate
        )
        values[f"{name}log_likelihood"] = float(bound.log_likelihood.mean())
    return values | {"influence": influence_from_the_end(model, corpus, recipe.n_influence)}


def influence_from_the_end(
    model: TextVAE, corpus: Corpus, n: int, positions: int = 8
) -> list[float]:
    """Each word's share of a sentence's influence on its features, from the last word back."""
    length = int(corpus.lengths.mode().values)
    chosen = (corpus.lengths == length).nonzero().flatten()[:n]
    tokens = corpus.tokens[chosen, :length].to(next(model.parameters()).device)
    distance = paper.influence(model, tokens)[:, 1:-1].flip(1)
    share = distance / distance.sum(1, keepdim=True).clamp(min=1e-12)
    return share.mean(0)[:positions].tolist()


def result(recipe: Recipe, profile: Profile, dataset: str, name: str, seed: int) -> Result:
    """A trained and measured model: rows over training, "final", and its encoder."""

    def compute() -> tuple[dict, dict]:
        s, tensors = recipe.settings[dataset], {}
        model, splits, rows, frames = train(recipe, profile, dataset, name, seed)
        final = measure_final(recipe, model, splits.test, s, seed)
        if seed == 0 and name in ENCODERS.values():
            tensors = model.posterior.state_dict() | {"frames": flatten_frames(frames)}
        values = {"dataset": dataset, "kind": name, "rows": rows, "final": final}
        half = {key: value.half().contiguous() for key, value in tensors.items()}
        return values | {"n_test": len(splits.test.tokens)}, half

    shared = context(profile, dataset)
    return results.get(result_name(dataset, name, seed), compute, shared, seed=seed, kind=name)


def timing(recipe: Recipe, profile: Profile) -> Result:
    """Seconds of a training step under each kind of pooling, a list each, on the same batches."""
    device, s = profile.device, recipe.settings[recipe.main]

    def clock() -> float:
        if not device.startswith("cuda"):
            return time.process_time()
        torch.cuda.synchronize(device)
        return time.perf_counter()

    def compute() -> tuple[dict, dict]:
        splits = load_splits(recipe.main, s)
        steppers, seconds = {}, {name: [] for name in plan.TIMED}
        for name in plan.TIMED:
            model = build_model(VARIANTS[name], s, len(splits.vocabulary), 0).to(device)
            optimizer = build_optimizer(VARIANTS[name], s, model.parameters())
            state = TrainingState(model, optimizer, torch.Generator(device).manual_seed(0))
            steppers[name] = state, make_step(model, VARIANTS[name], s, splits, 0, device)[0]
        for i in range(3 + recipe.n_timed):
            shift = i % len(plan.TIMED)
            for name in plan.TIMED[shift:] + plan.TIMED[:shift]:
                state, step = steppers[name]
                times = [clock()]
                for _ in range(3):
                    step(state, i)
                    times.append(clock())
                seconds[name].append(min(b - a for a, b in itertools.pairwise(times)))
        return {name: values[3:] for name, values in seconds.items()}, {}  # after a warm-up

    return results.get(f"{recipe.main}-timing", compute, context(profile, recipe.main))


def vocabulary(recipe: Recipe, profile: Profile) -> Result:
    """The words of the main data set, and the last words of the sentences in `frames`."""

    def compute() -> tuple[dict, dict]:
        splits = load_splits(recipe.main, recipe.settings[recipe.main])
        pairs = zip(splits.validation.tokens, splits.validation.lengths, strict=True)
        first = itertools.islice(pairs, recipe.n_frames)
        last = [splits.vocabulary.tokens[int(x[n - 2])] for x, n in first]
        return {"words": splits.vocabulary.words, "last_words": last}, {}

    return results.get(f"{recipe.main}-vocabulary", compute, context(profile, recipe.main))


def flatten_frames(frames: Tensor) -> Tensor:
    """Features (E, M, H) about their means, on the first two principal directions of the last."""
    centred = frames.double() - frames.double().mean(1, keepdim=True)
    _, _, directions = torch.linalg.svd(centred[-1], full_matrices=False)
    return (centred @ directions[:2].T).float()


def load_encoder(result: Result, recipe: Recipe) -> tuple[TextVAE, Splits]:
    """A model with a published encoder and an untrained decoder, and what it learned from."""
    dataset, variant = result.values["dataset"], VARIANTS[result.values["kind"]]
    s = recipe.settings[dataset]
    splits = load_splits(dataset, s, variant.front)
    model = build_model(variant, s, len(splits.vocabulary), 0)
    weights = {name: result.tensors[name].float() for name in model.posterior.state_dict()}
    model.posterior.load_state_dict(weights)
    return model.eval().requires_grad_(False), splits


def verify(profile: Profile, recipes: Mapping[str, Recipe] = RECIPES) -> list[dict[str, Any]]:
    """KL and information of published encoders; KL has no noise but that of half precision."""
    recipe, checks = recipes[profile.name], []
    for dataset in dict.fromkeys(["endings", recipe.main]):
        for name in ENCODERS.values():
            published = result(recipe, profile, dataset, name, 0)
            model, splits = load_encoder(published, recipe)
            mu, logvar, _ = encode(model, splits.test)
            kl = float(gaussian_kl(mu.double(), logvar.double()).mean())
            values = [float(aggregate_mutual_information(mu, logvar, seed=i)) for i in range(1, 9)]
            final = published.values["final"]
            checks += [
                check(f"{dataset} {name}, KL", final["kl"], [kl], 0.01 * final["kl"] + 1e-3),
                check(f"{dataset} {name}, information", final["information"], values, 1e-3),
            ]
    return checks
