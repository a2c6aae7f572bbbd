"""Chapter 2's models: what they read, who learns from the critic, training, measures."""

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dgm import checkpoint
from dgm.data import text
from dgm.data.synthetic import THEMES, theme_of, topic_chain, topic_chain_information
from dgm.data.text import Vocabulary
from dgm.nets.language_models import AWDLSTM, TransformerLM, no_gain, plain_lstm, window_length
from dgm.papers import mutual_information_lm as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.results import Result

CHAPTER = "02_mutual_information_lm"
EXPERIMENT = "dgm_book.chapters.mutual_information_lm.training"
FILES = {"ptb": "ptb", "wikitext-2": "wikitext-2", "shakespeare": "tiny-shakespeare"}
SWITCH = 0.1  # how often a chain's topic changes against the rule, unless said otherwise
DISTANCES = (1, 2, 3, 5, 8)  # sentences; at which samples are measured
N_OTHERS = 20  # sentences that each one is set beside in the bound
NEAR = 10  # sentences; what counts as near in hard retrieval
N_SLOW = 10  # validations without gain before averaging begins
N_PAGE = 40  # questions of the quiz


class Chain(NamedTuple):
    """How a text of topics moves on."""

    switch: float = SWITCH
    order: str = "stay"
    words: tuple[int, int] = (2, 4)  # of a sentence, at least and at most


CHAINS = {
    "chain": Chain(),
    "wordy chain": Chain(words=(5, 9)),
    "short chain": Chain(),
    "short cycle": Chain(order="cycle"),
    "short slow chain": Chain(switch=0.02),
}


class Settings(NamedTuple):
    """The sizes of one text at one profile, and how its models learn."""

    n_training: int | None  # sentences, the first ones; None takes all
    n_validation: int | None
    n_test: int | None
    vocabulary: int  # at most, markers counted
    base: str  # "lstm", "transformer", or a key of `paper.BASES`
    width: int
    dropout: float
    dropout_step: float  # by how much the arms with another dropout differ
    rows: int  # texts side by side
    window: int
    longest: int  # tokens of a sentence that the critic reads
    n_anchors: int
    critic_hidden: int
    critic_weight: float  # lambda_1
    augmented_weight: float  # lambda_2, of phase II
    learning_rate: float
    critic_rate: float
    last_rate: float  # the rates' share that is left at the last step
    clip: float  # length of the model's gradient, and of the critic's
    steps: int
    measure_every: int
    n_samples: int  # texts
    sample_tokens: int  # of each
    reverse_steps: int  # of the model that learns from samples
    bf16: bool = False
    released: bool = False  # SGD, then averaging; windows of many lengths; two penalties on states


def settings(profile: profiles.Profile, dataset: str) -> Settings:
    """The sizes of a text at a profile.

    Raises:
        ValueError: an unknown text.
    """
    if dataset in CHAINS:
        n = 400 if dataset.startswith("short") else 1500
        smoke = profile.name == "smoke"
        return Settings(
            n, 300, 2000 if smoke else 5000, 1000, "lstm", 64, 0.5, 0.1, 32, 16, 10, 32, 64, 0.5, 1.0,
            1e-2, 3e-3, 1.0, 1.0, 400 if smoke else 500, 50, 64, 300, 0 if smoke else 300,
        )  # fmt: skip
    if dataset == "ptb" and profile.name == "paper":
        return Settings(
            None, None, None, 10_002, "ptb", 960, 0.0, 0.0, 12, 70, 40, 12, 300, 0.1, 1.0,
            20.0, 2e-4, 1.0, 0.25, 55_000, 1_100, 100, 2000, 4000, released=True,
        )  # fmt: skip
    common = Settings(
        14_000, 1000, None, 10_002, "lstm", 128, 0.3, 0.15, 20, 35, 40, 20, 100, 0.1, 1.0,
        1e-2, 2e-3, 0.1, 1.0, 2000, 400, 100, 700, 400, bf16=True,
    )  # fmt: skip
    few = {
        "ptb": common,
        "ptb transformer": common._replace(base="transformer", learning_rate=2e-3, dropout=0.15),
        "wikitext-2": common._replace(
            n_training=3000, n_validation=600, n_test=1200, vocabulary=12_000, critic_weight=0.02,
            augmented_weight=0.05, steps=1500, measure_every=500, sample_tokens=1500,
        ),
        "shakespeare": common._replace(
            n_training=None, vocabulary=6000, critic_weight=0.5, steps=3000, measure_every=500,
            reverse_steps=0,
        ),
    }  # fmt: skip
    if dataset not in few:
        raise ValueError(f"no text {dataset!r}: there are {', '.join([*CHAINS, *few])}")
    return few[dataset]


class Arm(NamedTuple):
    """How one arm differs from maximum likelihood, whose critic learns from a model that it cannot touch."""

    detach: bool = True
    second_phase: bool = False  # phase II in the second half of training
    shuffled: bool = False  # whether the critic's pairs are torn apart
    dropout: int = 0  # steps of `Settings.dropout_step`
    leak: bool = False  # whether padding is read, as in the released code


ARMS = {
    "likelihood": Arm(),
    "phase I": Arm(detach=False),
    "phase II": Arm(detach=False, second_phase=True),
    "shuffled pairs": Arm(detach=False, shuffled=True),
    "more dropout": Arm(dropout=1),
    "much more dropout": Arm(dropout=2),
    "less dropout": Arm(dropout=-1),
    "padding read": Arm(detach=False, leak=True),
}


class Material(NamedTuple):
    """One text in three parts, as a stream and as sentences."""

    vocabulary: Vocabulary
    streams: tuple[Tensor, Tensor, Tensor]
    segments: tuple[paper.Segments, paper.Segments, paper.Segments]
    test: list[str]  # the last part's sentences, those without a word left out


@lru_cache(maxsize=2)
def material(dataset: str, s: Settings, seed: int = 0) -> Material:
    """What a model learns from, is chosen on, and is measured on; the seed is that of a chain alone."""
    sizes = (s.n_training, s.n_validation, s.n_test)
    if dataset in CHAINS:
        parts = _split(topic_chain(sum(sizes), seed, **CHAINS[dataset]._asdict()).texts, sizes)
    else:
        splits = ("train", "validation", "test")
        texts = [text.load(dataset.split()[0], split).texts for split in splits]
        parts = [lines[:n] for lines, n in zip(texts, sizes, strict=True)]
    vocabulary = Vocabulary.build(parts[0], s.vocabulary)
    ids = [[[vocabulary.id(w) for w in line.split()] for line in part] for part in parts]
    end, unknown = vocabulary.end, vocabulary.unknown
    return Material(
        vocabulary,
        tuple(paper.stream_of(part, end) for part in ids),
        tuple(paper.segments_of(part, end, unknown, s.longest) for part in ids),
        [line for line in parts[2] if line.split()],
    )


def _split(lines: list[str], sizes: Sequence[int]) -> list[list[str]]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [lines[start : start + n] for start, n in zip(starts, sizes, strict=True)]


def opening_of(written: str, vocabulary: Vocabulary) -> tuple[Tensor, list[str]]:
    """What `paper.write_on` wants for a typed opening (1, T), and the words that are not known.

    An empty opening is the start of a text: the marker that ends a sentence stands before every one.
    """
    words = written.split()
    ids = [vocabulary.end, *(vocabulary.id(word) for word in words)]
    unknown = [w for w, i in zip(words, ids[1:], strict=True) if i == vocabulary.unknown]
    return torch.tensor([ids]), unknown


# Training


class Learner(nn.Module):
    """A model, its critic, and what it has just read, so that a run resumes exactly."""

    def __init__(self, n_words: int, s: Settings, arm: Arm) -> None:
        super().__init__()
        rate = s.dropout + arm.dropout * s.dropout_step
        if s.base == "transformer":
            self.model = TransformerLM(n_words, s.width, context=s.window, rate=rate)
        elif s.base == "lstm":
            self.model = plain_lstm(n_words, s.width, rate)
        else:
            self.model = AWDLSTM(n_words, *paper.BASES[s.base])
        self.critic = paper.SegmentCritic(self.model.feature_width, s.critic_hidden)
        self.averaged = AveragedModel(self.model) if s.released else None
        self.names = []
        if isinstance(self.model, AWDLSTM):
            self.names = [(f"h{i}", f"c{i}") for i in range(len(self.model.lstms))]
            for pair, state in zip(self.names, self.model.start(s.rows), strict=True):
                for name, value in zip(pair, state, strict=True):
                    self.register_buffer(name, value.detach().clone())

    def carried(self) -> tuple[tuple[Tensor, Tensor], ...] | None:
        """The state after the last window; a transformer starts each window afresh in training."""
        return tuple((getattr(self, h), getattr(self, c)) for h, c in self.names) or None

    def carry(self, state: Any) -> None:
        """Keeps the state after a window."""
        for names, values in zip(self.names, state, strict=False):
            for name, value in zip(names, values, strict=True):
                setattr(self, name, value)


class Two:
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
        """Moves both."""
        for optimizer in self.optimizers:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states, laid out as one optimiser's."""
        both = [optimizer.state_dict() for optimizer in self.optimizers]
        groups = [group for state in both for group in state["param_groups"]]
        return {"state": [state["state"] for state in both], "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up both states."""
        for i, optimizer in enumerate(self.optimizers):
            group = state["param_groups"][i]
            optimizer.load_state_dict({"state": state["state"][i], "param_groups": [group]})


class Trained(NamedTuple):
    """A trained model with its critic, at its best on the validation text."""

    model: AWDLSTM | TransformerLM
    critic: paper.SegmentCritic
    material: Material
    rows: list[dict[str, Any]]  # on its way, each with its step


def name_of(dataset: str, arm: str, seed: int) -> str:
    """The name of a run."""
    return f"{dataset.replace(' ', '-')}-{arm.replace(' ', '-')}-seed{seed}"


def trained(dataset: str, arm: str, profile: profiles.Profile, seed: int) -> Trained:
    """Trains a model, or goes on with an interrupted run.

    Args:
        dataset: a text that `settings` knows.
        arm: one of `ARMS`.
        profile: sizes and device.
        seed: of a chain's text, the weights and the noise: arms of one seed are pairs.

    Raises:
        FloatingPointError: a loss that is not finite, as that of a critic that diverges.
    """
    how, s = ARMS[arm], settings(profile, dataset)
    m = material(dataset, s, seed if dataset in CHAINS else 0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        learner = Learner(len(m.vocabulary), s, how).to(profile.device)
    generator = torch.Generator(profile.device).manual_seed(seed)
    state = TrainingState(learner, _optimizer(learner, s), generator)
    name = name_of(dataset, arm, seed)
    folder = results.work_folder() / CHAPTER / profile.name
    kept, best = folder / f"{name}.measured.json", folder / f"{name}.best.safetensors"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    windows = list(_windows(m.streams[0], s, seed))
    stops = [*range(s.measure_every, s.steps, s.measure_every), s.steps]
    for stop in stops[len(rows) :]:
        # Once validation stands still, the weights' average is what counts, as in the released recipe.
        losses = [row["nll"] for row in rows]
        slow = s.released and any(
            no_gain(losses[:n], N_SLOW) for n in range(N_SLOW + 2, 1 + len(losses))
        )
        fit(
            _stepper(how, s, m, windows, slow, profile.device),
            lambda i: i,
            state,
            stop,
            checkpoint=folder / f"{name}.training.safetensors",
            description=name,
            checkpoint_seconds=60,
            progress=False,
        )
        model = learner.averaged.module if slow else learner.model
        nll = paper.perplexity(model, m.streams[1].to(profile.device), window=200, rows=4).nll
        if all(nll < row["nll"] for row in rows):
            weights = {f"model.{k}": v for k, v in model.state_dict().items()}
            critic = {f"critic.{k}": v for k, v in learner.critic.state_dict().items()}
            checkpoint.save(best, weights | critic)
        rows.append({"step": stop, "nll": nll})
        checkpoint.write_text(kept, json.dumps(rows))
    learner.load_state_dict(checkpoint.load(best), strict=False)
    learner.requires_grad_(False)
    return Trained(learner.model, learner.critic, m, rows)


def _optimizer(learner: Learner, s: Settings) -> Any:
    model, critic = learner.model.parameters(), learner.critic.parameters()
    if s.released:
        return Two(
            torch.optim.SGD(model, lr=s.learning_rate, weight_decay=1.2e-6),
            torch.optim.Adam(critic, lr=s.critic_rate, weight_decay=1e-6),
        )
    groups = [{"params": model, "lr": s.learning_rate}, {"params": critic, "lr": s.critic_rate}]
    return torch.optim.Adam(groups)


def _windows(stream: Tensor, s: Settings, seed: int) -> Iterator[tuple[int, int]]:
    """Where each step's window starts, and its length; the text is read again and again."""
    end = (len(stream) - 1) // s.rows  # tokens of a row that have a next one
    generator = torch.Generator().manual_seed(seed)
    at = 0
    for _ in range(s.steps):
        length = window_length(generator, s.window) if s.released else s.window
        yield at, min(length, end - at)
        at = 0 if at + length >= end else at + length


def _stepper(how: Arm, s: Settings, m: Material, windows, average: bool, device: str):
    """The step of `fit`; its batches are their numbers."""
    table = paper.rows_of(m.streams[0], s.rows).to(device)
    segments = paper.Segments(*(x.to(device) for x in m.segments[0]))
    if how.shuffled:
        order = torch.randperm(len(segments.lengths), generator=torch.Generator().manual_seed(0))
        segments = paper.Segments(*(x[order.to(device)] for x in segments))
    penalties = {"activation": 2.0, "slowness": 1.0} if s.released else {}

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        learner, (at, length) = state.model, windows[i]
        fraction = length / s.window if s.released else 1 - (1 - s.last_rate) * i / s.steps
        rates = (s.learning_rate, s.critic_rate)
        for rate, group in zip(rates, state.optimizer.param_groups, strict=True):
            group["lr"] = rate * (1.0 if s.released and rate is rates[1] else fraction)
        second = how.second_phase and 2 * i >= s.steps
        with autocast(table.device, s.bf16):
            likelihood = paper.likelihood_objective(
                learner.model,
                table[:, at : at + length + 1],
                learner.carried() if at else None,
                state.generator,
                **{"activation": 0.0, "slowness": 0.0, **penalties},
            )
            terms = paper.bootstrap_objective(
                learner.model,
                learner.critic,
                segments,
                paper.draw_pairs(len(segments.lengths), s.n_anchors, state.generator),
                state.generator,
                critic_weight=s.critic_weight,
                augmented_weight=s.augmented_weight * second,
                detach=how.detach,
                leak=how.leak,
            )
        state.optimizer.zero_grad()
        (likelihood.value + terms.value).backward()
        for module in (learner.model, learner.critic):
            nn.utils.clip_grad_norm_(module.parameters(), s.clip)
        state.optimizer.step()
        learner.carry(
            tuple(tuple(x.float() for x in pair) for pair in likelihood.state[: len(learner.names)])
        )
        if average:
            learner.averaged.update_parameters(learner.model)
        shown = {
            "nll": likelihood.nll,
            "critic": terms.critic,
            "accuracy": terms.accuracy,
            "augmented": terms.augmented,
            "effective": terms.effective,
        }
        return {key: value.detach().float() for key, value in shown.items()}

    return step


# Measures


def measured(
    found: Trained, dataset: str, s: Settings, seed: int = 0, leak: bool = False
) -> dict[str, Any]:
    """What is asked of a model and its critic on the test text; nats.

    `bound` is that of Donsker and Varadhan on all pairs of neighbours of the test text.
    """
    m, device = found.material, found.model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    features = _sentence_features(found, leak)
    n = len(features)
    anchor = torch.arange(n - 1, device=device)
    others = paper.distractors(anchor, n, N_OTHERS, generator)
    hard = paper.distractors(anchor, n, N_OTHERS, generator, near=NEAR)
    following, random, near = (
        paper.critic_scores(found.critic, features, anchor, second)
        for second in (anchor + 1, others, hard)
    )
    quality = paper.perplexity(found.model, m.streams[2].to(device), window=200, rows=16)
    told = {
        "bound": float(paper.donsker_varadhan(following, random.flatten())),
        "critic_loss": float(paper.jensen_shannon_loss(following, random.flatten())),
        "nll": quality.nll,
        "perplexity": quality.perplexity,
        "tokens": quality.tokens,
        "retrieval_random": float(paper.retrieval(following, random).above.mean()),
        "retrieval_hard": float(paper.retrieval(following, near).above.mean()),
        "n_sentences": n,
    }
    if dataset in CHAINS:
        switch = CHAINS[dataset].switch
        exact = topic_chain_information(len(THEMES), switch, DISTANCES)
        told |= {"exact": float(exact[0]), "exact_by_distance": exact.tolist()}
    return told


def _sentence_features(found: Trained, leak: bool = False) -> Tensor:
    """Features (M, D) of the test text's sentences, on the model's device."""
    device = found.model.embedding.weight.device
    segments = paper.Segments(*(x.to(device) for x in found.material.segments[2]))
    return paper.segment_features(found.model, segments, leak=leak)


def samples(found: Trained, s: Settings, seed: int) -> list[list[list[int]]]:
    """The whole sentences with a word, as ids, of each written text."""
    device = found.model.embedding.weight.device
    generator = torch.Generator(device).manual_seed(seed)
    end = found.material.vocabulary.end
    opening = torch.full((s.n_samples, 1), end, device=device)
    written = paper.write_on(found.model, opening, s.sample_tokens, generator)
    return [list(sentences(row.tolist(), end)) for row in written]


def sentences(ids: list[int], end: int) -> Iterator[list[int]]:
    """The whole sentences of a written text, those without a word left out."""
    start = 0
    for place, token in enumerate(ids):
        if token == end:
            if place > start:
                yield ids[start:place]
            start = place + 1


def topic_information(
    rows: list[list[list[int]]], vocabulary: Vocabulary, distances: Sequence[int] = DISTANCES
) -> list[float]:
    """Mutual information of the topics of sentences some places apart in written texts; nats.

    Raises:
        ValueError: a text with too few sentences.
    """
    topics = [[theme_of(vocabulary.decode(ids)) for ids in row] for row in rows]
    fewest = min(len(row) for row in topics)
    if fewest <= max(distances):
        raise ValueError(f"a text of {fewest} sentences: want more than {max(distances)}")
    labels = torch.tensor([row[:fewest] for row in topics])
    labels = labels.where(labels >= 0, len(THEMES))
    return paper.information_by_distance(labels, distances, len(THEMES) + 1).tolist()


def bound_by_distance(
    judge: Trained,
    rows: list[list[list[int]]],
    s: Settings,
    seed: int = 0,
    distances: Sequence[int] = DISTANCES,
) -> list[float]:
    """Donsker and Varadhan's bound by a given critic on sentences some places apart in texts; nats.

    The critic learned from neighbours: farther apart it bounds from below all the more loosely.

    Raises:
        ValueError: texts without a pair of sentences so far apart.
    """
    vocabulary = judge.material.vocabulary
    table = paper.segments_of(
        [ids for row in rows for ids in row], vocabulary.end, vocabulary.unknown, s.longest
    )
    device = judge.model.embedding.weight.device
    features = paper.segment_features(judge.model, paper.Segments(*(x.to(device) for x in table)))
    text_of = torch.tensor([i for i, row in enumerate(rows) for _ in row], device=device)
    generator = torch.Generator(device).manual_seed(seed)
    n = len(text_of)
    first = torch.arange(n - 1, device=device)
    others = paper.distractors(first, n, N_OTHERS, generator)
    product = paper.critic_scores(judge.critic, features, first, others).flatten()
    found = []
    for k in distances:
        inside = torch.nonzero(text_of[:-k] == text_of[k:])[:, 0]
        if not len(inside):
            raise ValueError(f"no text has two sentences {k} apart")
        joint = paper.critic_scores(judge.critic, features, inside, inside + k)
        found.append(float(paper.donsker_varadhan(joint, product)))
    return found


def reverse_perplexity(
    stream: Tensor, m: Material, s: Settings, seed: int, device: str = "cpu"
) -> float:
    """Nats a token of the test text under a small model that has learned from a stream (N,) alone.

    What the stream's author never writes, its reader cannot expect.
    """
    plain = s._replace(
        base="lstm", dropout=min(s.dropout, 0.3), steps=s.reverse_steps, learning_rate=3e-3,
        last_rate=0.1, released=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = plain_lstm(len(m.vocabulary), plain.width, plain.dropout).to(device)
    table = paper.rows_of(stream, s.rows).to(device)
    optimizer = torch.optim.Adam(model.parameters())
    generator = torch.Generator(device).manual_seed(seed)
    state = None
    for i, (at, length) in enumerate(_windows(stream, plain, seed)):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - 0.9 * i / plain.steps)
        with autocast(table.device, s.bf16):
            terms = paper.likelihood_objective(
                model, table[:, at : at + length + 1], state if at else None, generator,
                activation=0.0, slowness=0.0,
            )  # fmt: skip
        state = tuple(tuple(x.float() for x in pair) for pair in terms.state)
        optimizer.zero_grad()
        terms.value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), s.clip)
        optimizer.step()
    return paper.perplexity(model, m.streams[2].to(device), window=200, rows=16).nll


# Results


def context(profile: profiles.Profile, dataset: str) -> results.Context:
    """What the results of one text share."""
    file = FILES.get(dataset.split()[0])
    return results.Context(EXPERIMENT, CHAPTER, profile, (file,) if file else ())


def result(profile: profiles.Profile, dataset: str, arm: str, seed: int) -> Result:
    """One run: training, measures on the test text, and measures of what the model writes.

    Of the chain, and of the text that the quiz is about, the first seed's weights are kept.
    """
    s = settings(profile, dataset)

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        found = trained(dataset, arm, profile, seed)
        values = {
            "rows": found.rows,
            "final": measured(found, dataset, s, seed, ARMS[arm].leak),
            "samples": _written(found, profile, dataset, seed),
            "words": len(found.material.vocabulary),
            "training_tokens": len(found.material.streams[0]),
        }
        if ARMS[arm].leak:
            values["padding left out"] = measured(found, dataset, s, seed)
        tensors = {}
        if dataset == "chain" and arm in ("likelihood", "phase I") and seed < 3:
            values["vocabulary"] = found.material.vocabulary.words
            parts = {"model": found.model, "critic": found.critic}
            for part, module in parts.items():
                tensors |= {f"{part}.{k}": v.half() for k, v in module.state_dict().items()}
        if dataset == "shakespeare":
            values["questions"] = questions(found, seed)
            values["passages"] = passages(found)
        return values, tensors

    return results.get(name_of(dataset, arm, seed), compute, context(profile, dataset), seed=seed)


def _written(found: Trained, profile: profiles.Profile, dataset: str, seed: int) -> dict[str, Any]:
    s, m = settings(profile, dataset), found.material
    rows = samples(found, s, seed)
    told: dict[str, Any] = {"n_sentences": sum(len(row) for row in rows)}
    if dataset in CHAINS:
        told["information"] = topic_information(rows, m.vocabulary)
    else:
        judge = trained(dataset, "likelihood", profile, seed)
        told["bound"] = bound_by_distance(judge, rows, s, seed)
    if s.reverse_steps:
        stream = paper.stream_of([ids for row in rows for ids in row], m.vocabulary.end)
        told["tokens"] = len(stream)
        told["reverse_nll"] = reverse_perplexity(stream, m, s, seed, profile.device)
    return told


def real_text(profile: profiles.Profile, dataset: str, seed: int) -> Result:
    """The measures of written text, taken of real text instead: of the test text, and, for what a model
    that learns from it expects of the test text, of as much training text as the models wrote.
    """
    s = settings(profile, dataset)

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        written = result(profile, dataset, "likelihood", seed).values["samples"]["tokens"]
        m = material(dataset, s, seed if dataset in CHAINS else 0)
        values = {
            "reverse_nll": reverse_perplexity(m.streams[0][:written], m, s, seed, profile.device)
        }
        if dataset not in CHAINS:
            judge = trained(dataset, "likelihood", profile, seed)
            rows = [list(sentences(m.streams[2].tolist(), m.vocabulary.end))]
            values["bound"] = bound_by_distance(judge, rows, s, seed)
        return values, {}

    return results.get(
        name_of(dataset, "real", seed), compute, context(profile, dataset), seed=seed
    )


def questions(found: Trained, seed: int = 0, n: int = N_PAGE) -> list[dict[str, Any]]:
    """Test sentences no shorter than most, what follows each or does not, and the critic's scores."""
    m = found.material
    lengths = m.segments[2].lengths
    generator = torch.Generator().manual_seed(seed)
    long = lengths >= lengths.median()
    places = torch.nonzero(long[:-1] & long[1:])[:, 0]
    chosen = places[torch.randperm(len(places), generator=generator)[:n]]
    others = paper.distractors(chosen, len(lengths), 40, generator)
    other = torch.stack([row[long[row]][0] for row in others])
    features = _sentence_features(found)
    scores = paper.critic_scores(
        found.critic, features, chosen, torch.stack([chosen + 1, other], 1)
    )
    sides = torch.randint(2, (len(chosen),), generator=generator).tolist()
    told = []
    for i, side in enumerate(sides):
        options = [m.test[int(chosen[i]) + 1], m.test[int(other[i])]]
        both = scores[i].tolist()
        told.append(
            {
                "sentence": m.test[int(chosen[i])],
                "options": options[::-1] if side else options,
                "answer": side,
                "scores": both[::-1] if side else both,
            }
        )
    return told


def passages(found: Trained, starts: Sequence[int] = (0, 200), n: int = 16, k: int = 12) -> list:
    """Stretches of the test text, and the critic's scores of the first sentences with the k behind each."""
    m = found.material
    features = _sentence_features(found)
    told = []
    for start in (min(start, len(m.test) - n) for start in starts):
        anchors = list(range(n - k))
        first = torch.tensor([start + a for a in anchors])
        second = first[:, None] + 1 + torch.arange(k)
        scores = paper.critic_scores(found.critic, features, first, second)
        told.append(
            {"texts": m.test[start : start + n], "anchors": anchors, "scores": scores.tolist()}
        )
    return told
