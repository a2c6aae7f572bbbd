"""Chapter 2's runs: training, its results, and their verification."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dgm.nets.language_models import AWDLSTM, TransformerLM, perplexity, plain_lstm, split_rows
from dgm.papers import mutual_information_lm as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.chapters.mutual_information_lm import measure as measures
from dgm_book.chapters.mutual_information_lm.measure import Splits, Trained, load_splits
from dgm_book.chapters.mutual_information_lm.recipe import (
    CHAPTER,
    PAGE,
    RECIPES,
    VARIANTS,
    Recipe,
    Settings,
    Variant,
)
from dgm_book.results import Result
from dgm_book.verification import check

FILES = {"shakespeare": "tiny-shakespeare"}  # data sets with another name in the registry


class Learner(nn.Module):
    """A model, its critic, and what it has just read, so that a run resumes exactly."""

    def __init__(self, n_words: int, settings: Settings, variant: Variant) -> None:
        super().__init__()
        rate = settings.dropout + variant.dropout * settings.dropout_step
        if settings.base == "transformer":
            self.model = TransformerLM(n_words, settings.width, context=settings.window, rate=rate)
        elif settings.base == "lstm":
            self.model = plain_lstm(n_words, settings.width, rate)
        else:
            self.model = AWDLSTM(n_words, *paper.BASES[settings.base])
        self.critic = paper.SegmentCritic(self.model.feature_width, settings.critic_hidden)
        self.averaged = AveragedModel(self.model) if settings.released else None
        # A transformer starts each window afresh in training.
        start = self.model.start(settings.rows) if isinstance(self.model, AWDLSTM) else ()
        self.n_layers = len(start)
        for i, layer in enumerate(start):
            for name, value in zip("hc", layer, strict=True):
                self.register_buffer(f"{name}{i}", value.detach().clone())

    @property
    def state(self) -> tuple[tuple[Tensor, ...], ...] | None:
        """The state after the last window."""
        layers = range(self.n_layers)
        return tuple((getattr(self, f"h{i}"), getattr(self, f"c{i}")) for i in layers) or None

    def store(self, state: Any) -> None:
        """Stores the state after a window."""
        for i in range(self.n_layers):
            for name, value in zip("hc", state[i], strict=True):
                setattr(self, f"{name}{i}", value.float())

    def averages(self, rows: Sequence[Mapping[str, float]], patience: int) -> bool:
        """Whether, after these measurements, the weights' average is what counts, as released.

        The non-monotone trigger of Merity et al. 2018: a validation loss was above the best of all
        but the `patience` before it.
        """
        losses = [row["nll"] for row in rows]
        places = range(patience + 1, len(losses)) if self.averaged else ()
        return any(losses[i] > min(losses[: i - patience]) for i in places)

    def measured(self, rows: Sequence[Mapping[str, float]], patience: int) -> paper.LanguageModel:
        """The model, or its average."""
        averages = self.averaged and self.averages(rows, patience)
        return self.averaged.module if averages else self.model  # pyright: ignore


class JointOptimizer:
    """The model's optimiser and the critic's, as one."""

    def __init__(self, *optimizers: torch.optim.Optimizer) -> None:
        self.optimizers = optimizers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of both."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def zero_grad(self) -> None:
        """Forgets the gradients of both."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        """Updates both."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states, laid out as one optimiser's."""
        states = [optimizer.state_dict() for optimizer in self.optimizers]
        groups = [group for state in states for group in state["param_groups"]]
        return {"state": [state["state"] for state in states], "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up both states."""
        for i, optimizer in enumerate(self.optimizers):
            group = state["param_groups"][i]
            optimizer.load_state_dict({"state": state["state"][i], "param_groups": [group]})


def make_optimizer(learner: Learner, settings: Settings) -> Any:
    """Adam with two rates, or as released: SGD for the model, and Adam for the critic."""
    model, critic = learner.model.parameters(), learner.critic.parameters()
    rates = settings.learning_rate, settings.critic_rate
    if settings.released:
        return JointOptimizer(
            torch.optim.SGD(model, lr=rates[0], weight_decay=1.2e-6),
            torch.optim.Adam(critic, lr=rates[1], weight_decay=1e-6),
        )
    return torch.optim.Adam([{"params": model, "lr": rates[0]}, {"params": critic, "lr": rates[1]}])


def window_length(generator: torch.Generator, base: int) -> int:
    """The length of the next window: about base, one time in twenty about half of it, 5 to base + 40.

    Windows that end at ever other places show every token with ever other pasts (Merity et al. 2018).
    """
    is_half = float(torch.rand((), generator=generator)) >= 0.95
    length = base / (1 + is_half) + 5 * float(torch.randn((), generator=generator))
    return min(max(round(length), 5), base + 40)


def make_windows(stream: Tensor, settings: Settings, seed: int) -> list[tuple[int, int]]:
    """Where each step's window starts, and its length; the text is read again and again."""
    end = (len(stream) - 1) // settings.rows  # tokens of a row that have a next one
    generator = torch.Generator().manual_seed(seed)
    start, windows = 0, []
    for _ in range(settings.steps):
        length = settings.window
        if settings.released:
            length = window_length(generator, length)
        windows.append((start, min(length, end - start)))
        start = 0 if start + length >= end else start + length
    return windows


def train(
    profile: profiles.Profile, text: str, settings: Settings, variant_name: str, seed: int
) -> Trained:
    """Trains a model, or goes on with an interrupted run; its best weights, by validation.

    The seed is that of a chain's text, the weights and the noise: variants of one seed are pairs.

    Raises:
        FloatingPointError: a loss that is not finite, as that of a critic that diverges.
    """
    variant, splits = VARIANTS[variant_name], load_splits(settings, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = Learner(len(splits.vocabulary), settings, variant).to(profile.device)
    generator = torch.Generator(profile.device).manual_seed(seed)
    stream, name = splits.streams[1].to(profile.device), run_name(text, variant_name, seed)

    def measure(state: TrainingState) -> dict[str, float]:
        model = learner.measured(state.measurements, settings.patience)
        return {"nll": perplexity(model, stream, window=200, rows=4).nll}

    history = fit(
        make_step(learner, variant, settings, splits, seed),
        lambda i: i,
        TrainingState(learner, make_optimizer(learner, settings), generator),
        settings.steps,
        checkpoint=results.work_folder() / CHAPTER / profile.name / f"{name}.training.safetensors",
        description=name,
        checkpoint_seconds=60,
        progress=False,
        measure=measure,
        measure_every=settings.measure_every,
        keep_best="nll",
    )
    rows = list(history.measurements)
    best = min(range(len(rows)), key=lambda i: rows[i]["nll"])
    model = learner.requires_grad_(False).measured(rows[:best], settings.patience)
    return Trained(model, learner.critic, splits, rows)


def make_step(
    learner: Learner, variant: Variant, settings: Settings, splits: Splits, seed: int
) -> Callable[[TrainingState, int], dict[str, Tensor]]:
    """The step of `fit`; its batches are their numbers."""
    device, released = learner.model.embedding.weight.device, settings.released
    windows = make_windows(splits.streams[0], settings, seed)
    table = split_rows(splits.streams[0], settings.rows).to(device)
    segments = paper.Segments(*(x.to(device) for x in splits.segments[0]))
    if variant.shuffled:
        order = torch.randperm(len(segments.lengths), generator=torch.Generator().manual_seed(0))
        segments = paper.Segments(*(x[order.to(device)] for x in segments))

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        start, length = windows[i]
        fraction = 1 - (1 - settings.last_rate) * i / settings.steps
        for group, rate, released_fraction in zip(
            state.optimizer.param_groups,
            (settings.learning_rate, settings.critic_rate),
            (length / settings.window, 1.0),
            strict=True,
        ):
            group["lr"] = rate * (released_fraction if released else fraction)
        with autocast(device, settings.bf16):
            likelihood = paper.likelihood_objective(
                learner.model,
                table[:, start : start + length + 1],
                learner.state if start else None,
                state.generator,
                activation=2.0 * released,
                slowness=1.0 * released,
            )
            terms = paper.bootstrap_objective(
                learner.model,
                learner.critic,
                segments,
                paper.draw_pairs(len(segments.lengths), settings.n_anchors, state.generator),
                state.generator,
                critic_weight=settings.critic_weight,
                augmented_weight=settings.augmented_weight
                * (variant.second_phase and 2 * i >= settings.steps),
                detach=variant.detach,
                leak=variant.leak,
            )
        state.optimizer.zero_grad()
        (likelihood.value + terms.value).backward()
        for module in (learner.model, learner.critic):
            nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        state.optimizer.step()
        learner.store(likelihood.state)
        if learner.averaged and learner.averages(state.measurements, settings.patience):
            learner.averaged.update_parameters(learner.model)
        reported = {"nll": likelihood.nll, **terms._asdict()}
        del reported["value"]
        return {name: term.detach().float() for name, term in reported.items()}

    return step


def reverse_nll(
    stream: Tensor, splits: Splits, settings: Settings, seed: int, device: str
) -> float:
    """Nats per token of the test text under a small model that learned from a stream (N,) alone.

    What the stream's author never writes, its reader cannot expect.
    """
    settings = settings._replace(steps=settings.reverse_steps, released=False)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = plain_lstm(len(splits.vocabulary), settings.width, min(settings.dropout, 0.3))
        model = model.to(device)
    table = split_rows(stream, settings.rows).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    generator = torch.Generator(device).manual_seed(seed)
    state = None
    for i, (start, length) in enumerate(make_windows(stream, settings, seed)):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - 0.9 * i / settings.steps)
        window = table[:, start : start + length + 1]
        with autocast(device, settings.bf16):
            terms = paper.likelihood_objective(
                model, window, state if start else None, generator, activation=0.0, slowness=0.0
            )
        state = tuple(tuple(x.float() for x in pair) for pair in terms.state)
        optimizer.zero_grad()
        terms.value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
    return perplexity(model, splits.streams[2].to(device), window=200, rows=16).nll


# Results


def run_name(text: str, variant: str, seed: int) -> str:
    """The name of a run."""
    return f"{text.replace(' ', '-')}-{variant.replace(' ', '-')}-seed{seed}"


def run(
    profile: profiles.Profile,
    seed: int,
    first_seed: int = 0,
    recipes: Mapping[str, Recipe] = RECIPES,
) -> Iterator[Result]:
    """Every result of one seed; runs whose seeds go further are shared out over the profile's."""
    recipe = recipes[profile.name]
    for text, variant, n in recipe.runs:
        if n % profile.n_seeds == seed - first_seed:
            yield result(profile, recipe, text, variant, n + first_seed)
    for text, n in recipe.real:
        if n % profile.n_seeds == seed - first_seed:
            yield real_text(profile, recipe, text, n + first_seed)


def context(profile: profiles.Profile, settings: Settings | None = None) -> results.Context:
    """What the results of one text share; the main text's where none is given."""
    recipe = RECIPES[profile.name]
    source = (settings or recipe.texts[recipe.main]).source
    files = (FILES.get(source, source),) if source else ()
    return results.Context(__name__, CHAPTER, profile, files)


def result(profile: profiles.Profile, recipe: Recipe, text: str, variant: str, seed: int) -> Result:
    """One run: training, measures on the test text, and measures of what the model writes.

    Of the chain the first seeds' weights are stored, of Shakespeare what the quiz and lottery show.
    """
    settings = recipe.texts[text]

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        trained = train(profile, text, settings, variant, seed)
        splits, leak = trained.splits, VARIANTS[variant].leak
        values: dict[str, Any] = {
            "rows": trained.rows,
            "final": measures.measure(trained, settings, seed, leak),
            "samples": measure_samples(profile, recipe, text, trained, seed),
            "words": len(splits.vocabulary),
            "training_tokens": len(splits.streams[0]),
        }
        if leak:
            values["padding left out"] = measures.measure(trained, settings, seed)
        tensors = {}
        if text == "chain" and variant in PAGE and seed < 3:
            values["vocabulary"] = splits.vocabulary.words
            for part in ("model", "critic"):
                state = getattr(trained, part).state_dict()
                tensors |= {f"{part}.{name}": value.half() for name, value in state.items()}
        if text == "shakespeare":
            values["questions"] = measures.make_questions(trained, seed)
            values["passages"] = measures.make_passages(trained)
        return values, tensors

    name = run_name(text, variant, seed)
    return results.get(name, compute, context(profile, settings), seed=seed)


def measure_samples(
    profile: profiles.Profile, recipe: Recipe, text: str, trained: Trained, seed: int
) -> dict[str, Any]:
    """What the model writes, measured: topics counted, or a bound by the likelihood's critic."""
    settings, vocabulary = recipe.texts[text], trained.splits.vocabulary
    texts = measures.write_texts(trained, settings, seed)
    values: dict[str, Any] = {"n_sentences": sum(len(sentences) for sentences in texts)}
    if settings.source:
        judge = train(profile, text, settings, "likelihood", seed)
        values["bound"] = measures.bound_by_distance(judge, texts, settings, seed)
    else:
        values["information"] = measures.topic_information(texts, vocabulary)
    if settings.reverse_steps:
        sentences = [ids for sentences in texts for ids in sentences]
        stream = measures.join_sentences(sentences, vocabulary.end)
        values["tokens"] = len(stream)
        values["reverse_nll"] = reverse_nll(stream, trained.splits, settings, seed, profile.device)
    return values


def real_text(profile: profiles.Profile, recipe: Recipe, text: str, seed: int) -> Result:
    """The measures of written text, taken of real text instead.

    The bound is of the test text; what a small model learns from is as much training text as the
    models wrote.
    """
    settings = recipe.texts[text]

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        written = result(profile, recipe, text, "likelihood", seed).values["samples"]["tokens"]
        splits = load_splits(settings, seed)
        stream = splits.streams[0][:written]
        values: dict[str, Any] = {
            "reverse_nll": reverse_nll(stream, splits, settings, seed, profile.device)
        }
        if settings.source:
            judge = train(profile, text, settings, "likelihood", seed)
            end = splits.vocabulary.end
            sentences = list(measures.split_sentences(splits.streams[2].tolist(), end))
            values["bound"] = measures.bound_by_distance(judge, [sentences], settings, seed)
        return values, {}

    name = run_name(text, "real", seed)
    return results.get(name, compute, context(profile, settings), seed=seed)


def reread(
    profile: profiles.Profile, recipe: Recipe, variant: str, seed: int
) -> tuple[Result, Trained]:
    """A published result of the chain, with the model and critic of its weights."""
    settings = recipe.texts["chain"]
    published = result(profile, recipe, "chain", variant, seed)
    splits = load_splits(settings, seed)
    learner = Learner(len(splits.vocabulary), settings, VARIANTS[variant])
    weights = {name: value.float() for name, value in published.tensors.items()}
    learner.load_state_dict(weights, strict=False)
    learner.requires_grad_(False)
    return published, Trained(learner.model, learner.critic, splits, published.values["rows"])


def verify(
    profile: profiles.Profile, recipes: Mapping[str, Recipe] = RECIPES
) -> list[dict[str, Any]]:
    """The measures of the chain's published weights, again, on the same text with other noise."""
    recipe, seeds, checks = recipes[profile.name], range(1, 7), []
    settings = recipe.texts["chain"]
    for variant in PAGE:
        published, trained = reread(profile, recipe, variant, 0)
        final = published.values["final"]
        repeated = [measures.measure(trained, settings, seed) for seed in seeds]
        checks += [
            check(f"chain {variant}, {name}", final[name], [x[name] for x in repeated], 2e-3)
            for name in ("nll", "bound", "retrieval_random")
        ]
        texts = [measures.write_texts(trained, settings, seed) for seed in seeds]
        first = [measures.topic_information(x, trained.splits.vocabulary)[0] for x in texts]
        information = published.values["samples"]["information"][0]
        checks.append(check(f"chain {variant}, written", information, first))
    return checks
