"""Chapter 2's runs: training, its results, and their verification."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dgm.nets.language_models import AWDLSTM, TransformerLM, perplexity, plain_lstm, split_rows
from dgm.papers import mutual_information_lm as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.chapters.mutual_information_lm import measure as measures
from dgm_book.chapters.mutual_information_lm import recipe as plan
from dgm_book.chapters.mutual_information_lm.measure import Splits, Trained, load_splits
from dgm_book.chapters.mutual_information_lm.recipe import RECIPES, VARIANTS, Recipe, Settings
from dgm_book.results import Result
from dgm_book.verification import check

NO_PENALTIES = {"activation": 0.0, "slowness": 0.0}
Recipes = Mapping[str, Recipe]
FILES = {"shakespeare": "tiny-shakespeare"}  # data sets with another name in the registry


class Job(NamedTuple):
    """One run: a variant of training on a text."""

    profile: profiles.Profile
    text: str
    settings: Settings
    variant: str
    seed: int  # of a chain's text, the weights and the noise: variants of one seed are pairs

    @property
    def name(self) -> str:
        """The name of its result."""
        return run_name(self.text, self.variant, self.seed)

    @property
    def splits(self) -> Splits:
        """Its text."""
        return load_splits(self.settings, 0 if self.settings.source else self.seed)

    def get(self, compute: Callable[[], tuple[dict, dict]]) -> Result:
        """Its published result, else computed."""
        return results.get(self.name, compute, context(self.profile, self.settings), seed=self.seed)


class Learner(nn.Module):
    """A model, its critic, and what it has just read, so that a run resumes exactly."""

    def __init__(self, n_words: int, settings: Settings, variant: plan.Variant) -> None:
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
            self.register_buffer(f"layer{i}", torch.stack(layer).detach())

    @property
    def state(self) -> tuple[tuple[Tensor, ...], ...] | None:
        """The state after the last window."""
        return tuple(getattr(self, f"layer{i}").unbind() for i in range(self.n_layers)) or None

    def store(self, state: Any) -> None:
        """Stores the state after a window."""
        for i in range(self.n_layers):
            setattr(self, f"layer{i}", torch.stack(state[i]).float())

    def averages(self, rows: Sequence[Mapping[str, float]], patience: int) -> bool:
        """Whether the weights' average counts by now: the trigger of Merity et al. 2018."""
        losses = [row["nll"] for row in rows]
        places = range(patience + 1, len(losses)) if self.averaged else ()
        return any(losses[i] > min(losses[: i - patience]) for i in places)

    def measured(self, rows: Sequence[Mapping[str, float]], patience: int) -> paper.LanguageModel:
        """The model, or its average."""
        averages = self.averages(rows, patience)
        return self.averaged.module if averages else self.model  # pyright: ignore


@torch.no_grad()
def descend(model: nn.Module, rate: float) -> None:
    """A step of the released SGD, which has no state; Adam leaves alone what has no gradient."""
    for p in model.parameters():
        if p.grad is not None:
            p.add_(p.grad.add(p, alpha=1.2e-6), alpha=-rate)
            p.grad = None


def set_rates(optimizer: torch.optim.Optimizer, settings: Settings, i: int, length: int) -> None:
    """The rates fall evenly; as released the model's follows the window's length."""
    fractions = [1 - (1 - settings.last_rate) * i / settings.steps] * 2
    if settings.released:
        fractions = [length / settings.window, 1.0]
    rates = settings.learning_rate, settings.critic_rate
    for group, rate, fraction in zip(optimizer.param_groups, rates, fractions, strict=True):
        group["lr"] = rate * fraction


def window_length(generator: torch.Generator, base: int) -> int:
    """The next window's length (Merity et al. 2018): about base, or half of it in one of twenty."""
    is_half = float(torch.rand((), generator=generator)) >= 0.95
    length = base / (1 + is_half) + 5 * float(torch.randn((), generator=generator))
    return min(max(round(length), 5), base + 40)


def make_windows(stream: Tensor, settings: Settings, seed: int) -> list[tuple[int, int]]:
    """Where each step's window starts, and its length; the text is read again and again."""
    end = (len(stream) - 1) // settings.rows  # tokens of a row that have a next one
    generator = torch.Generator().manual_seed(seed)
    start, length, windows = 0, settings.window, []
    for _ in range(settings.steps):
        if settings.released:
            length = window_length(generator, settings.window)
        windows.append((start, min(length, end - start)))
        start = 0 if start + length >= end else start + length
    return windows


def train(job: Job) -> Trained:
    """Trains a model, or goes on with a run; the weights are the best by validation."""
    settings, device, splits = job.settings, job.profile.device, job.splits
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        learner = Learner(len(splits.vocabulary), settings, VARIANTS[job.variant]).to(device)
    generator, stream = torch.Generator(device).manual_seed(job.seed), splits.streams[1].to(device)

    def measure(state: TrainingState) -> dict[str, float]:
        model = learner.measured(state.measurements, settings.patience)
        return {"nll": perplexity(model, stream, window=200, rows=4).nll}

    parts = {learner.model: settings.learning_rate, learner.critic: settings.critic_rate}
    groups = [{"params": [*part.parameters()], "lr": rate} for part, rate in parts.items()]
    # As released, the critic's weights alone are Adam's, and decay.
    optimizer = torch.optim.Adam(groups, weight_decay=1e-6 if settings.released else 0)
    state = TrainingState(learner, optimizer, generator)
    file = f"{job.name}.training.safetensors"
    options: dict[str, Any] = {"checkpoint_seconds": 60, "progress": False, "keep_best": "nll"}
    options["checkpoint"] = results.work_folder() / plan.CHAPTER / job.profile.name / file
    options |= {"measure": measure, "measure_every": settings.measure_every}
    history = fit(make_step(job, learner), lambda i: i, state, settings.steps, **options)
    rows = list(history.measurements)
    best = min(range(len(rows)), key=lambda i: rows[i]["nll"])
    model = learner.requires_grad_(False).measured(rows[:best], settings.patience)
    return Trained(model, learner.critic, splits, rows)


def make_step(job: Job, learner: Learner) -> Callable[[TrainingState, int], dict[str, Tensor]]:
    """The step of `fit`; its batches are their numbers."""
    settings, variant, splits = job.settings, VARIANTS[job.variant], job.splits
    device = job.profile.device
    windows = make_windows(splits.streams[0], settings, job.seed)
    table = split_rows(splits.streams[0], settings.rows).to(device)
    segments = paper.Segments(*(x.to(device) for x in splits.segments[0]))
    if variant.shuffled:
        order = torch.randperm(len(segments.lengths), generator=torch.Generator().manual_seed(0))
        segments = paper.Segments(*(x[order.to(device)] for x in segments))
    penalties = {"activation": 2.0, "slowness": 1.0} if settings.released else NO_PENALTIES
    flags = {"detach": variant.detach, "leak": variant.leak}

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        start, length = windows[i]
        set_rates(state.optimizer, settings, i, length)
        window, before = table[:, start : start + length + 1], learner.state if start else None
        weights = {"critic_weight": settings.critic_weight}
        if variant.second_phase and 2 * i >= settings.steps:
            weights["augmented_weight"] = settings.augmented_weight
        with autocast(device, settings.bf16):
            likelihood = paper.likelihood_objective(
                learner.model, window, before, state.generator, **penalties
            )
            draw = paper.draw_pairs(len(segments.lengths), settings.n_anchors, state.generator)
            terms = paper.bootstrap_objective(
                learner.model, learner.critic, segments, draw, state.generator, **weights, **flags
            )
        state.optimizer.zero_grad()
        (likelihood.value + terms.value).backward()
        for module in (learner.model, learner.critic):
            nn.utils.clip_grad_norm_(module.parameters(), settings.clip)
        if settings.released:
            descend(learner.model, state.optimizer.param_groups[0]["lr"])
        state.optimizer.step()
        learner.store(likelihood.state)
        if learner.averaged and learner.averages(state.measurements, settings.patience):
            learner.averaged.update_parameters(learner.model)
        reported = {"nll": likelihood.nll, **terms._asdict()}
        del reported["value"]
        return {name: term.detach().float() for name, term in reported.items()}

    return step


def reverse_nll(job: Job, stream: Tensor) -> float:
    """Nats per token of the test text under a small model that learned from a stream (N,) alone."""
    settings = job.settings._replace(steps=job.settings.reverse_steps, released=False)
    device, splits, dropout = job.profile.device, job.splits, min(settings.dropout, 0.3)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        model = plain_lstm(len(splits.vocabulary), settings.width, dropout).to(device)
    table = split_rows(stream, settings.rows).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    generator, state = torch.Generator(device).manual_seed(job.seed), None
    for i, (start, length) in enumerate(make_windows(stream, settings, job.seed)):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - 0.9 * i / settings.steps)
        window = table[:, start : start + length + 1]
        with autocast(device, settings.bf16):
            terms = paper.likelihood_objective(
                model, window, state if start else None, generator, **NO_PENALTIES
            )
        state = tuple(tuple(x.float() for x in pair) for pair in terms.state)
        optimizer.zero_grad()
        terms.value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
    return perplexity(model, splits.streams[2].to(device), window=200, rows=16).nll


def run_name(text: str, variant: str, seed: int) -> str:
    """The name of a run."""
    return f"{text} {variant} seed{seed}".replace(" ", "-")


def run(
    profile: profiles.Profile, seed: int, first_seed: int = 0, recipes: Recipes = RECIPES
) -> Iterator[Result]:
    """Every result of one seed; runs whose seeds go further are shared out over the profile's."""
    recipe = recipes[profile.name]
    for text, variant, n in (*recipe.runs, *((text, "real", n) for text, n in recipe.real)):
        if n % profile.n_seeds == seed - first_seed:
            job = Job(profile, text, recipe.texts[text], variant, n + first_seed)
            yield real_text(job) if variant == "real" else result(job)


def context(profile: profiles.Profile, settings: Settings | None = None) -> results.Context:
    """What the results of one text share; the main text's where none is given."""
    recipe = RECIPES[profile.name]
    source = (settings or recipe.texts[recipe.main]).source
    files = (FILES.get(source, source),) if source else ()
    return results.Context(__name__, plan.CHAPTER, profile, files)


def result(job: Job) -> Result:
    """One run: training, measures on the test text, and of what it writes; weights for the page."""

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        trained, tensors = train(job), {}
        values: dict[str, Any] = {
            "rows": trained.rows,
            "final": measures.measure(trained, job.seed, VARIANTS[job.variant].leak),
            "samples": measure_samples(job, trained),
            "words": len(trained.splits.vocabulary),
            "training_tokens": len(trained.splits.streams[0]),
        }
        if job.text == "chain" and job.variant in plan.PAGE and job.seed < 3:
            values["vocabulary"] = trained.splits.vocabulary.words
            for part in ("model", "critic"):
                state = getattr(trained, part).state_dict()
                tensors |= {f"{part}.{name}": value.half() for name, value in state.items()}
        if job.text == "shakespeare":
            values["questions"] = measures.make_questions(trained, job.seed)
            values["passages"] = measures.make_passages(trained)
        return values, tensors

    return job.get(compute)


def measure_samples(job: Job, trained: Trained) -> dict[str, Any]:
    """What the model writes, measured: topics counted, or a bound by the likelihood's critic."""
    vocabulary = trained.splits.vocabulary
    texts = measures.write_texts(trained, job.settings, job.seed)
    values: dict[str, Any] = {}
    if job.settings.source:
        judge = train(job._replace(variant="likelihood"))
        values["bound"] = measures.bound_by_distance(judge, texts, job.settings, job.seed)
    else:
        values["information"] = measures.topic_information(texts, vocabulary)
    if job.settings.reverse_steps:
        sentences = itertools.chain.from_iterable(texts)
        stream = measures.join_sentences(sentences, vocabulary.end)
        values |= {"tokens": len(stream), "reverse_nll": reverse_nll(job, stream)}
    return values


def real_text(job: Job) -> Result:
    """The measures of written text, taken of real text instead."""

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        base, splits = job._replace(variant="likelihood"), job.splits
        written = result(base).values["samples"]["tokens"]
        values: dict[str, Any] = {"reverse_nll": reverse_nll(job, splits.streams[0][:written])}
        if job.settings.source:
            ids, end = splits.streams[2].tolist(), splits.vocabulary.end
            texts = [list(measures.split_sentences(ids, end))]
            judged = train(base), texts, job.settings, job.seed
            values["bound"] = measures.bound_by_distance(*judged)
        return values, {}

    return job.get(compute)


def reread(job: Job) -> Trained:
    """The model and critic of a published result's weights."""
    published = result(job)
    learner = Learner(len(job.splits.vocabulary), job.settings, VARIANTS[job.variant])
    weights = {name: value.float() for name, value in published.tensors.items()}
    learner.load_state_dict(weights, strict=False)
    learner.requires_grad_(False)
    return Trained(learner.model, learner.critic, job.splits, published.values["rows"])


def verify(profile: profiles.Profile, recipes: Recipes = RECIPES) -> list[dict]:
    """The measures of the chain's published weights, again, on the same text with other noise."""
    settings, seeds, checks = recipes[profile.name].texts["chain"], range(1, 7), []
    for variant in plan.PAGE:
        job = Job(profile, "chain", settings, variant, 0)
        published, trained = result(job).values, reread(job)
        repeated = [measures.measure(trained, seed) for seed in seeds]
        for name in ("nll", "bound", "retrieval_random"):
            values = [x[name] for x in repeated]
            checks.append(check(f"chain {variant}, {name}", published["final"][name], values, 2e-3))
        texts = [measures.write_texts(trained, settings, seed) for seed in seeds]
        first = [measures.topic_information(x, trained.splits.vocabulary)[0] for x in texts]
        information = published["samples"]["information"][0]
        checks.append(check(f"chain {variant}, written", information, first))
    return checks
