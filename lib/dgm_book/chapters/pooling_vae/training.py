"""Chapter 5's models: what they learn from, how each differs from the plain one, training, measures."""

import itertools
import json
import time
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from dgm import checkpoint
from dgm.data import synthetic, text
from dgm.data.text import Corpus, Sentences, Vocabulary
from dgm.measure import active_units, aggregate_mutual_information
from dgm.nets.text_vae import TextVAE, TextVAETerms, aggressive_encoder_steps
from dgm.papers import pooling_vae as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm.vae import gaussian_kl
from dgm_book import profiles, results
from dgm_book.results import Result

CHAPTER = "05_pooling_vae"
EXPERIMENT = "dgm_book.chapters.pooling_vae.training"
FILES = {
    "endings": (),
    "yelp": ("yelp-shen", "yelp-li"),
    "ptb": ("ptb",),
    "captions": ("flickr-captions",),
    **dict.fromkeys(("mr", "subj", "cr", "sst2"), ("sentences",)),
}
CLIP = 5.0  # length of the gradient
N_FRAMES = 400  # sentences whose features are kept through training
N_WATCHED = (
    100  # sentences whose likelihood is estimated through training, with K_WATCHED codes each
)
K_WATCHED = 32
N_DISPERSION = 1000
N_INFLUENCE = 300


class Settings(NamedTuple):
    """The sizes of one data set at one profile, and how its models begin and learn."""

    n_training: int
    n_validation: int
    n_test: int
    words: tuple[int, int]  # sentences have from one to the other
    vocabulary: int
    embedding: int
    hidden: int
    latent_dim: int
    weights: float  # parameters begin evenly between minus and plus this
    embeddings: float  # and embeddings between these
    word_dropout: float
    dropout: float
    steps: int
    measure_every: int | None  # steps; None is an epoch
    rise: float  # share of the steps in which an annealed weight rises
    ahead: int  # an encoder may run ahead in the epochs that begin before this step
    most_ahead: int  # steps of the encoder before each of the decoder
    batch_size: int
    learning_rate: float  # of SGD
    adam_rate: float
    free_bits: float  # nats a sentence
    bf16: bool
    n_likelihood: int  # test sentences whose likelihood is estimated
    n_samples: int  # with as many codes each


def settings(profile: profiles.Profile, dataset: str) -> Settings:
    """A data set's sizes at a profile; those of `paper` are the base system's for short sentences.

    Raises:
        ValueError: an unknown data set.
    """
    if dataset not in FILES:
        raise ValueError(f"no data set {dataset!r}; there are {', '.join(FILES)}")
    if dataset == "endings":
        small = profile.name != "smoke"
        return Settings(
            n_training=8000, n_validation=1000, n_test=2000 if small else 1000, words=(1, 99),
            vocabulary=200, embedding=32, hidden=64, latent_dim=8, weights=0.1, embeddings=1.0,
            word_dropout=0.7, dropout=0.0, steps=700, measure_every=70 if small else 140, rise=0.5,
            ahead=250, most_ahead=30, batch_size=32, learning_rate=1.0, adam_rate=3e-3, free_bits=4.0,
            bf16=False, n_likelihood=200, n_samples=500 if small else 50,
        )  # fmt: skip
    short = (5, 10) if dataset == "yelp" else (5, 15)
    if profile.name == "paper":
        return Settings(
            n_training=100_000, n_validation=2000, n_test=10_000, words=short, vocabulary=10_000,
            embedding=128, hidden=512, latent_dim=32, weights=0.01, embeddings=0.1, word_dropout=0.0,
            dropout=0.5, steps=100_000, measure_every=None, rise=0.33, ahead=100_000, most_ahead=99,
            batch_size=32, learning_rate=1.0, adam_rate=1e-3, free_bits=8.0, bf16=True,
            n_likelihood=1000, n_samples=500,
        )  # fmt: skip
    return Settings(
        n_training=20_000, n_validation=1000, n_test=2000, words=short, vocabulary=4000,
        embedding=64, hidden=128, latent_dim=16, weights=0.1, embeddings=1.0, word_dropout=0.5,
        dropout=0.0, steps=6000 if dataset == "yelp" else 4000, measure_every=None, rise=0.33,
        ahead=630, most_ahead=30, batch_size=32, learning_rate=1.0, adam_rate=1e-3, free_bits=4.0, bf16=True,
        n_likelihood=200, n_samples=500,
    )  # fmt: skip


class Fix(NamedTuple):
    """How one kind of model differs from the plain one, whose settings these defaults are."""

    pooling: str = "last"
    temperature: float | None = None
    schedule: str = "constant"
    beta: float = 1.0
    free_bits: bool = False
    per_dimension: bool = False
    aggressive: bool = False
    scale: float | None = None  # of the features
    layer_norm: bool = False
    forget_bias: float | None = None
    adam: bool = False
    word_dropout: bool = True
    embeddings: float | None = None  # None is that of the settings
    front: bool = False  # whether the shared ending stands in front


FIXES = {
    "plain": Fix(),
    "annealing": Fix(schedule="linear"),
    "cyclical": Fix(schedule="cyclical"),
    **{f"beta {beta}": Fix(beta=beta) for beta in (0.2, 0.4, 0.6, 0.8)},
    "free bits": Fix(free_bits=True),
    "free bits each": Fix(free_bits=True, per_dimension=True),
    "aggressive": Fix(aggressive=True),
    "mean": Fix("mean"),
    "max": Fix("max"),
    "absmax": Fix("absmax"),
    "logsumexp": Fix("logsumexp", 0.1),
    "mean annealing": Fix("mean", schedule="linear"),
    "max annealing": Fix("max", schedule="linear"),
}
CONTROLS = {
    "scaled last": Fix(scale=4.0),
    "layer norm": Fix(layer_norm=True),
    "forget bias": Fix(forget_bias=1.0),
    "front": Fix(front=True),
}
# Where the gain comes from: pooling, each with what the recipe adds to the base system taken away again.
CROSSED = {
    f"{kind} {name}": change._replace(pooling=kind)
    for kind in ("last", "mean", "max")
    for name, change in {
        "adam": Fix(adam=True),
        "all words": Fix(word_dropout=False),
        "narrow": Fix(embeddings=0.1),
        "narrow, all words": Fix(embeddings=0.1, word_dropout=False),
        "adam, narrow, all words": Fix(embeddings=0.1, word_dropout=False, adam=True),
    }.items()
}
POOLED = ("plain", "mean", "max", "absmax", "logsumexp")  # whose steps are timed
KINDS = {**FIXES, **CONTROLS, **CROSSED}


class Material(NamedTuple):
    """What all models of a data set learn from and are measured on."""

    vocabulary: Vocabulary
    training: Corpus
    validation: Corpus
    test: Corpus
    labels: Tensor  # (N,) of the validation sentences


@lru_cache(maxsize=4)
def material(dataset: str, s: Settings, front: bool = False) -> Material:
    """A data set's sentences as ids; "endings" is made by `synthetic.shared_endings`."""
    sizes = (s.n_training, s.n_validation, s.n_test)
    if dataset == "endings":
        whole = Sentences(*synthetic.shared_endings(sum(sizes), 0, front=front))
        parts, start = [], 0
        for n in sizes:
            parts.append(_picked(whole, range(start, start + n)))
            start += n
    else:
        last = "held_out" if dataset == "yelp" else "test"
        parts = [
            _short(text.load(dataset, split), s.words, n)
            for split, n in zip(("train", "validation", last), sizes, strict=True)
        ]
    words = Vocabulary.build(parts[0].texts, s.vocabulary)
    corpora = [words.encode(part.texts) for part in parts]
    return Material(words, *corpora, parts[1].labels)


def _picked(sentences: Sentences, places: range | list[int]) -> Sentences:
    return Sentences([sentences.texts[i] for i in places], sentences.labels[list(places)])


def _short(sentences: Sentences, words: tuple[int, int], n: int) -> Sentences:
    least, most = words
    places = [i for i, s in enumerate(sentences.texts) if least <= len(s.split()) <= most]
    return _picked(sentences, places[:n])


def built(fix: Fix, s: Settings, n_words: int, seed: int) -> TextVAE:
    """A model before its training."""
    model = TextVAE(
        n_words,
        s.embedding,
        s.hidden,
        s.latent_dim,
        dropout=s.dropout,
        layers=1,
        bidirectional=False,
        pooling=fix.pooling,
        temperature=fix.temperature,
    )
    width = s.embeddings if fix.embeddings is None else fix.embeddings
    generator = torch.Generator().manual_seed(seed)
    paper.initialise_(model, generator, weights=s.weights, embeddings=width)
    encoder = model.posterior.encoder
    if fix.forget_bias is not None:
        for name, parameter in encoder.states.lstm.named_parameters():
            if name.startswith("bias_"):
                gate = parameter.detach()[s.hidden : 2 * s.hidden]
                gate.fill_(fix.forget_bias if name.startswith("bias_ih") else 0.0)
    if fix.scale is not None:
        encoder.register_forward_hook(lambda module, x, features: fix.scale * features)
    if fix.layer_norm:
        encoder.register_forward_hook(lambda module, x, f: functional.layer_norm(f, f.shape[-1:]))
    return model


class Trained(NamedTuple):
    """A trained model, what it learned from, and what was measured on its way."""

    model: TextVAE
    material: Material
    rows: list[dict[str, Any]]  # before training and on its way, each with its step
    frames: Tensor  # (E, M, H) features of the first validation sentences, at each row


def trained(dataset: str, kind: str, profile: profiles.Profile, seed: int) -> Trained:
    """Trains a model, or goes on with an interrupted run.

    It ends with its last weights. Seconds are processor time on a CPU, so that what else runs on the
    machine does not count, and wall time on a GPU; measuring is not in them.

    Args:
        dataset: one of `FILES`.
        kind: one of `KINDS`.
        profile: sizes and device.
        seed: of weights, order and noise.
    """
    fix, s = KINDS[kind], settings(profile, dataset)
    if fix.front and dataset != "endings":
        raise ValueError(
            f"{kind!r} moves the ending of the generated sentences: {dataset} has none"
        )
    m = material(dataset, s, fix.front)
    model = built(fix, s, len(m.vocabulary), seed).to(profile.device)
    make = torch.optim.Adam if fix.adam else torch.optim.SGD
    rate = s.adam_rate if fix.adam else s.learning_rate
    generator = torch.Generator(profile.device).manual_seed(seed)
    state = TrainingState(model, make(model.parameters(), lr=rate), generator)
    picks = text.length_batches(m.training.lengths, s.batch_size, seed)
    every = s.measure_every or picks.steps_per_epoch
    name = name_of(dataset, kind, seed)
    folder = results.work_folder() / CHAPTER / profile.name
    kept, seen = folder / f"{name}.measured.json", folder / f"{name}.frames.safetensors"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    # A run that was killed between the two files has a frame without its row.
    frames = list(checkpoint.load(seen)["frames"])[: len(rows)] if rows else []

    def look(**row: float) -> None:
        rows.append({**row, **watched(model, m.validation, seed)})
        few = m.validation
        few = few._replace(tokens=few.tokens[:N_FRAMES], lengths=few.lengths[:N_FRAMES])
        frames.append(posterior(model, few)[2])
        checkpoint.save(seen, {"frames": torch.stack(frames)})
        checkpoint.write_text(kept, json.dumps(rows))

    if not rows:
        look(step=0, seconds=0.0)
    stops = [*range(every, s.steps, every), s.steps]
    for stop in stops[len(rows) - 1 :]:
        for group in state.optimizer.param_groups:
            group["lr"] = rate * halvings(rows)
        ahead = fix.aggressive and still_ahead(rows) and rows[-1]["step"] < s.ahead
        began = _clock(profile.device)
        history = fit(
            _stepper(fix, s, m, picks, make, ahead, profile.device),
            lambda i: i,
            state,
            stop,
            checkpoint=folder / f"{name}.training.safetensors",
            description=name,
            progress=False,
        )
        seconds = rows[-1]["seconds"] + _clock(profile.device) - began
        look(step=stop, seconds=seconds, training_value=float(history.terms["value"][-1]))
    # A finished run comes back without training.
    saved = checkpoint.load(folder / f"{name}.training.safetensors")
    model.load_state_dict(saved["model"])
    model.eval().requires_grad_(False)
    return Trained(model, m, rows, torch.stack(frames))


def halvings(rows: list[dict[str, Any]]) -> float:
    """The learning rate's factor after these rows, as in the base system.

    From the fifteenth epoch on it is halved when validation has not improved for two; He et al. 2019 also
    go back to their best weights then.
    """
    factor, best, waited = 1.0, float("inf"), 0
    for epoch, row in enumerate(rows):
        loss = row["reconstruction"] + row["kl"]
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if epoch >= 15 and waited >= 2:
            factor, waited = factor / 2, 0
    return factor


def still_ahead(rows: list[dict[str, Any]]) -> bool:
    """Whether mutual information has never fallen from one row to the next; the first is before training."""
    found = [row["information"] for row in rows[1:]]
    return all(b >= a for a, b in itertools.pairwise(found))


def _clock(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def _stepper(fix: Fix, s: Settings, m: Material, picks, make, ahead: bool, device: str):
    """The step of `fit`; its batches are their numbers."""
    tokens = m.training.tokens.to(device)
    rise = max(1, round(s.rise * s.steps)) if fix.schedule == "linear" else max(1, s.steps // 4)

    def batch(i: int) -> Tensor:
        chosen = picks(i)
        return tokens[chosen.to(device), : int(m.training.lengths[chosen[0]])]

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        model, generator = state.model, state.generator
        beta = paper.kl_weight(i + 1, fix.schedule, beta=fix.beta, steps=rise)

        def terms(sentences: Tensor) -> TextVAETerms:
            with autocast(sentences.device, s.bf16):
                return paper.pooling_objective(
                    model,
                    sentences,
                    None,
                    generator,
                    beta=beta,
                    free_bits=s.free_bits if fix.free_bits else None,
                    per_dimension=fix.per_dimension,
                    word_dropout_rate=s.word_dropout if fix.word_dropout else 0.0,
                )

        sentences = batch(i)
        if ahead:
            epoch = i - i % picks.steps_per_epoch

            def loss(j: int) -> Tensor:
                if j == 0:
                    return terms(sentences).value.mean()
                k = torch.randint(picks.steps_per_epoch, (), generator=generator, device=device)
                return terms(batch(epoch + int(k))).value.mean()

            own = make(model.posterior.parameters(), lr=state.optimizer.param_groups[0]["lr"])
            aggressive_encoder_steps(loss, own, most=s.most_ahead, max_norm=CLIP)
        found = terms(sentences)
        state.optimizer.zero_grad(set_to_none=True)
        found.value.mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        if ahead:
            model.posterior.zero_grad(set_to_none=True)
        state.optimizer.step()
        return {name: value.detach().mean() for name, value in found._asdict().items()}

    return step


# Measures


@torch.no_grad()
def posterior(model: TextVAE, corpus: Corpus) -> tuple[Tensor, Tensor, Tensor]:
    """Means and log-variances (N, D) of the codes of sentences, and the features (N, H) they come from."""
    device = next(model.parameters()).device
    parts = []
    for x, n in zip(corpus.tokens.split(512), corpus.lengths.split(512), strict=True):
        x, n = x.to(device), n.to(device)
        features = model.posterior.encoder(x, n)
        mu, logvar = model.posterior.head(features).chunk(2, dim=-1)
        parts.append((mu, logvar, features))
    mu, logvar, features = (torch.cat(part).cpu() for part in zip(*parts, strict=True))
    return mu, logvar, features


@torch.no_grad()
def watched(model: TextVAE, corpus: Corpus, seed: int = 0) -> dict[str, Any]:
    """All measures of a model on sentences whose words the decoder sees; nats a sentence."""
    device = next(model.parameters()).device
    tokens, lengths = corpus.tokens.to(device), corpus.lengths.to(device)
    mu, logvar, features = posterior(model, corpus)
    generator = torch.Generator(device).manual_seed(seed)
    nll, count = paper.reconstruction_by_position(model, tokens, lengths, generator)
    few = slice(N_WATCHED)
    likelihood = paper.marginal_likelihood(
        model, tokens[few], lengths[few], generator, n_samples=K_WATCHED
    )
    return {
        "reconstruction": float((nll * count).sum() / len(tokens)),
        "by_position": nll.tolist(),
        "kl": float(gaussian_kl(mu.double(), logvar.double()).mean()),
        "information": float(aggregate_mutual_information(mu, logvar, seed=seed)),
        "batch_information": float(paper.minibatch_mutual_information(mu, logvar, seed=seed)),
        "active_units": float(active_units(mu)),
        "log_likelihood": float(likelihood.log_likelihood.mean()),
        "features": _plain(paper.dispersion(features[:N_DISPERSION])),
        "means": _plain(paper.dispersion(mu[:N_DISPERSION])),
    }


def _plain(found: paper.Dispersion) -> dict[str, float]:
    return {name: float(value) for name, value in found._asdict().items()}


@torch.no_grad()
def at_the_end(
    model: TextVAE, corpus: Corpus, s: Settings, seed: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """`watched` on the test sentences, with the likelihood of some of them, one by one, and influence.

    "hidden_log_likelihood" is that of all words where the decoder sees some of those before, as in training.
    """
    device = next(model.parameters()).device
    found = watched(model, corpus, seed)
    few = slice(s.n_likelihood)
    tokens, lengths = corpus.tokens[few].to(device), corpus.lengths[few].to(device)
    generator = torch.Generator(device).manual_seed(seed)
    tensors = {}
    for name, rate, k in (("", 0.0, s.n_samples), ("hidden_", s.word_dropout, s.n_samples // 5)):
        bound = paper.marginal_likelihood(
            model, tokens, lengths, generator, n_samples=max(1, k), word_dropout_rate=rate
        )
        tensors[f"{name}log_likelihood"] = bound.log_likelihood.float()
        found[f"{name}log_likelihood"] = float(bound.log_likelihood.mean())
        if not name:
            found["effective_samples"] = float(bound.effective_samples.mean())
    found["words"] = float((lengths - 1).float().mean())
    found["influence"] = influence_from_the_end(model, corpus)
    return found, tensors


def influence_from_the_end(model: TextVAE, corpus: Corpus, places: int = 8) -> list[float]:
    """The share of a sentence's influence on its features that each word has, from the last one back.

    Of sentences of the commonest length only, so that all places mean the same.
    """
    device = next(model.parameters()).device
    length = int(corpus.lengths.mode().values)
    chosen = (corpus.lengths == length).nonzero().flatten()[:N_INFLUENCE]
    tokens = corpus.tokens[chosen, :length].to(device)
    moved = paper.influence(model, tokens, space="features")[:, 1:-1].flip(1)
    share = moved / moved.sum(1, keepdim=True).clamp(min=1e-12)
    return share.mean(0)[:places].tolist()


def name_of(dataset: str, kind: str, seed: int) -> str:
    """The name of a run's result."""
    return f"{dataset}-{kind.replace(',', '').replace(' ', '-')}-seed{seed}"


def context(profile: profiles.Profile, dataset: str) -> results.Context:
    """What the results on one data set share."""
    return results.Context(EXPERIMENT, CHAPTER, profile, FILES[dataset])


def result(profile: profiles.Profile, dataset: str, kind: str, seed: int) -> Result:
    """A trained and measured model: rows over training, "final" on test sentences, and its encoder.

    Tensors: "frames" (E, M, 2), features on their first two principal directions at the end of training;
    log-likelihoods of test sentences; and of a seed's last, mean and max the encoder, in half precision.
    """

    def compute() -> tuple[dict, dict]:
        s = settings(profile, dataset)
        found = trained(dataset, kind, profile, seed)
        final, tensors = at_the_end(found.model, found.material.test, s, seed)
        if seed == 0 and kind in ("plain", "mean", "max"):
            tensors["frames"] = flat(found.frames).half()
            for name, value in found.model.posterior.state_dict().items():
                tensors[name] = value.half().contiguous()
        values = {
            "dataset": dataset,
            "kind": kind,
            "rows": found.rows,
            "final": final,
            "n_test": len(found.material.test.tokens),
            "settings": s._asdict(),
        }
        return values, tensors

    return results.get(
        name_of(dataset, kind, seed), compute, context(profile, dataset), seed=seed, kind=kind
    )


def timing(profile: profiles.Profile, dataset: str) -> Result:
    """Seconds of a training step under each kind of pooling, turn and turn about on the same batches.

    Of each batch the least of three steps is kept, since what else runs on the machine only delays.
    Values: for each kind a list, a batch each, after three that warm up.
    """

    def compute() -> tuple[dict, dict]:
        s = settings(profile, dataset)
        m = material(dataset, s)
        picks = text.length_batches(m.training.lengths, s.batch_size, 0)
        kinds, steppers = [*POOLED], {}
        for kind in kinds:
            fix = KINDS[kind]
            model = built(fix, s, len(m.vocabulary), 0).to(profile.device)
            optimizer = torch.optim.SGD(model.parameters(), lr=s.learning_rate)
            state = TrainingState(model, optimizer, torch.Generator(profile.device).manual_seed(0))
            make = torch.optim.SGD
            steppers[kind] = state, _stepper(fix, s, m, picks, make, False, profile.device)
        taken: dict[str, list[float]] = {kind: [] for kind in kinds}
        for i in range(3 + (200 if profile.name != "smoke" else 10)):
            for kind in kinds[i % len(kinds) :] + kinds[: i % len(kinds)]:
                state, step = steppers[kind]
                found = []
                for _ in range(3):
                    began = _clock(profile.device)
                    step(state, i)
                    found.append(_clock(profile.device) - began)
                taken[kind].append(min(found))
        return {kind: values[3:] for kind, values in taken.items()}, {}

    return results.get(f"{dataset}-timing", compute, context(profile, dataset))


def vocabulary(profile: profiles.Profile, dataset: str) -> Result:
    """The words of a data set, and the last word of each of the sentences whose features are kept."""

    def compute() -> tuple[dict, dict]:
        m = material(dataset, settings(profile, dataset))
        sentences = zip(
            m.validation.tokens[:N_FRAMES], m.validation.lengths[:N_FRAMES], strict=True
        )
        last = [m.vocabulary.tokens[int(x[n - 2])] for x, n in sentences]
        return {"words": m.vocabulary.words, "last_words": last}, {}

    return results.get(f"{dataset}-vocabulary", compute, context(profile, dataset))


def flat(frames: Tensor) -> Tensor:
    """Features (E, M, H) on the first two principal directions of the last frame, each about its mean."""
    around = frames.double() - frames.double().mean(1, keepdim=True)
    _, _, directions = torch.linalg.svd(around[-1], full_matrices=False)
    return (around @ directions[:2].T).float()


def reread(found: Result) -> tuple[TextVAE, Material]:
    """A model whose encoder is the published one, and what it learned from; the decoder is untrained."""
    profile = profiles.get(found.provenance["profile"], "cpu")
    dataset, kind = found.values["dataset"], found.values["kind"]
    s = settings(profile, dataset)
    m = material(dataset, s, KINDS[kind].front)
    model = built(KINDS[kind], s, len(m.vocabulary), 0)
    own = model.posterior.state_dict()
    model.posterior.load_state_dict({name: found.tensors[name].float() for name in own})
    return model.eval().requires_grad_(False), m
