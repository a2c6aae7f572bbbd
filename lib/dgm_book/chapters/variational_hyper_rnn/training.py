"""Chapter 6's models: which sizes, on which sequences, training, measures."""

import copy
import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm import checkpoint
from dgm.data import music, series
from dgm.data.batches import minibatches
from dgm.data.dynamics import SUITES, dynamics_matrices, switching_dynamics
from dgm.papers import variational_hyper_rnn as paper
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.results import Result

CHAPTER = "06_variational_hyper_rnn"
EXPERIMENT = "dgm_book.chapters.variational_hyper_rnn.training"
MATRICES_SEED = 6  # two of its ten systems grow, the fastest by 1.13 a step
SIZES = (800, 100, 100)  # sequences of the switching system
SUITE_SEED = 100
REPEATS = 5  # evaluations with the training's number of particles
AROUND = (-10, 20)  # steps about a switch
FILES = {
    "jsb": "poly_music",
    "piano-midi": "poly_music",
    "stocks": "djia30",
    "exchange-rates": "exchange_rate",
    "gas-sensors": "ht-sensor",
}


class Model(NamedTuple):
    """What is trained: widths as the paper's tables give them."""

    kind: str  # "vrnn", "vhrnn" or "hyperlstm"
    z: int
    h: int
    hyper: int = 0  # hidden units of omega; of a HyperLSTM, its components
    hyper_input: str = "both"


SWITCHING = {
    "VRNN 8": Model("vrnn", 8, 8),
    "VRNN 6": Model("vrnn", 6, 6),
    "VRNN 6 matched": Model("vrnn", 6, 8),
    "VHRNN 4": Model("vhrnn", 4, 4, 12),
    "VHRNN 4 latent": Model("vhrnn", 4, 4, 12, "latent"),
    "VHRNN 4 hidden": Model("vhrnn", 4, 4, 12, "hidden"),
    "HyperLSTM": Model("hyperlstm", 8, 5, 4),
}
JSB = {
    "VRNN 24": Model("vrnn", 24, 24),
    "VRNN 28": Model("vrnn", 28, 28),
    "VRNN 32": Model("vrnn", 32, 32),
    "VRNN 27 matched": Model("vrnn", 27, 27),
    "VRNN 31 matched": Model("vrnn", 31, 31),
    "VRNN 35 matched": Model("vrnn", 35, 35),
    "VHRNN 24": Model("vhrnn", 24, 12, 16),
    "VHRNN 28": Model("vhrnn", 28, 14, 18),
    "VHRNN 32": Model("vhrnn", 32, 16, 20),
    "VHRNN 14": Model("vhrnn", 14, 14, 64),
    "VHRNN 14 latent": Model("vhrnn", 14, 14, 64, "latent"),
    "VHRNN 14 hidden": Model("vhrnn", 14, 14, 64, "hidden"),
    "VHRNN 32 wide": Model("vhrnn", 32, 32, 64),
    "VHRNN 32 wide latent": Model("vhrnn", 32, 32, 64, "latent"),
    "VHRNN 32 wide hidden": Model("vhrnn", 32, 32, 64, "hidden"),
}
ROLLS = {"VRNN 31 matched": JSB["VRNN 31 matched"], "VHRNN 28": JSB["VHRNN 28"]}
SERIES = {"VRNN 28": Model("vrnn", 28, 28), "VHRNN 16": Model("vhrnn", 16, 16, 64)}
MODELS = {
    "switching": SWITCHING,
    "switching-long": SWITCHING,
    "jsb": JSB,
    "piano-midi": ROLLS,
    "tunes": ROLLS,
} | dict.fromkeys(series.NAMES, SERIES)


class Settings(NamedTuple):
    """How the models of one set of sequences learn at one profile."""

    layers: int
    n_steps: int  # of the switching system
    window: int | None  # training sequences are cut to this many steps
    batch: int
    epochs: int
    learning_rate: float
    last_rate: float  # the rate's share that is left at the last step
    measure_every: int  # epochs
    n_particles: int = 4
    many: int = 128  # particles of the second evaluation
    clip: float = 1.0
    sigma_min: float = 1e-3
    compiled: bool = True


def settings(profile: profiles.Profile, dataset: str) -> Settings:
    """The sizes of a set of sequences at a profile.

    Raises:
        ValueError: an unknown set.
    """
    known = {
        "switching": Settings(2, 50, None, 16, 25, 5e-3, 0.1, 5),
        "switching-long": Settings(2, 50, None, 16, 75, 5e-3, 0.1, 5),
        "jsb": Settings(1, 0, None, 4, 25, 5e-3, 0.1, 5),
        "tunes": Settings(1, 0, None, 8, 25, 5e-3, 0.1, 5),
        "piano-midi": Settings(1, 0, 100, 16, 25, 3e-3, 0.1, 5),
        "stocks": Settings(1, 0, None, 8, 100, 3e-3, 0.1, 20, sigma_min=0.01),
        "exchange-rates": Settings(1, 0, None, 8, 50, 3e-3, 0.1, 10, sigma_min=0.01),
        "gas-sensors": Settings(1, 0, None, 8, 100, 3e-3, 0.1, 20, sigma_min=0.01),
    }
    if dataset not in known:
        raise ValueError(f"no sequences {dataset!r}: there are {', '.join(known)}")
    found = known[dataset]
    if profile.name == "smoke":
        return found._replace(n_steps=30, epochs=2, measure_every=1, many=16, compiled=False)
    if profile.name == "paper":
        return found._replace(
            batch=4, epochs=40 * found.epochs, measure_every=10 * found.measure_every,
            learning_rate=2e-4, last_rate=1.0,
        )  # fmt: skip
    return found


class Part(NamedTuple):
    """Sequences of one split."""

    x: Tensor  # (B, T, X) float32, zeros behind the ends and where nothing was read
    lengths: Tensor  # (B,)
    seen: Tensor | None  # (B, T, X); None where all was read


class Material(NamedTuple):
    """What a model learns from, is chosen on, and is measured on."""

    train: Part
    validation: Part
    test: Part
    mean: Tensor  # (X,), of the training frames


@lru_cache(maxsize=2)
def material(dataset: str, s: Settings) -> Material:
    """The sequences of a set; the training ones cut to windows."""
    if dataset in ("switching", "switching-long"):
        x = switching_dynamics(sum(SIZES), 0, "test", s.n_steps, matrices()).observations
        cut = [list(part) for part in x.split(SIZES)]
    elif dataset == "tunes":  # the stand-in for music that is not ours to give away
        cut = [music.synthetic_tunes(n, seed) for seed, n in enumerate((96, 24, 24))]
    else:
        load = music.load if dataset in music.NAMES else series.load
        cut = [load(dataset, split) for split in ("train", "validation", "test")]
    train = [piece for x in cut[0] for piece in x.split(s.window or len(x))]
    parts = [_part(rows) for rows in (train, *cut[1:])]
    real = [piece.float() for piece in train]
    frames = torch.cat(real)
    return Material(*parts, frames.nanmean(0))


def _part(rows: list[Tensor]) -> Part:
    x, lengths = series.padded([row.float() for row in rows])
    missing = x.isnan()
    if not missing.any():
        return Part(x, lengths, None)
    return Part(x.nan_to_num(), lengths, ~missing)


def matrices() -> Tensor:
    """The ten systems (10, 2, 2) of the switching set."""
    return dynamics_matrices(10, MATRICES_SEED)


def build(dataset: str, how: Model, s: Settings, x_dim: int) -> nn.Module:
    """A model with fresh weights from torch's global generator."""
    emission = "bernoulli" if x_dim == 88 else "gaussian"
    if how.kind == "hyperlstm":
        return paper.DeterministicHyperRNN(
            x_dim, how.h, how.h, emission, s.layers, how.z, how.hyper, s.sigma_min
        )
    if how.kind == "vrnn":
        return paper.VariationalRNN(x_dim, how.z, how.h, emission, s.layers, sigma_min=s.sigma_min)
    return paper.VariationalHyperRNN(
        x_dim, how.z, how.h, how.hyper, emission, s.layers, hyper_input=how.hyper_input,
        sigma_min=s.sigma_min,
    )  # fmt: skip


# Training


class Trained(NamedTuple):
    """A model at its best on the validation sequences."""

    model: nn.Module
    material: Material
    rows: list[dict[str, float]]  # validation on the way


def name_of(dataset: str, model: str, seed: int) -> str:
    """The name of a run."""
    return f"{dataset}-{model.replace(' ', '-')}-seed{seed}"


def can_compile(device: str) -> bool:
    """Whether there is what torch.compile needs: on a CPU, a C++ compiler."""
    return device.startswith("cuda") or any(shutil.which(name) for name in ("g++", "clang++"))


def trained(dataset: str, model: str, profile: profiles.Profile, seed: int) -> Trained:
    """Trains a model, or goes on with an interrupted run.

    Args:
        dataset: one of `MODELS`.
        model: one of its models.
        profile: sizes and device.
        seed: of the weights, the order and the noise; the sequences are always the same.

    Raises:
        FloatingPointError: a bound that is not finite.
    """
    s = settings(profile, dataset)
    m = material(dataset, s)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build(dataset, MODELS[dataset][model], s, m.train.x.shape[-1])
    net.calibrate(m.mean)
    net.to(profile.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=s.learning_rate)
    generator = torch.Generator(profile.device).manual_seed(seed)
    state = TrainingState(net, optimizer, generator)
    name = name_of(dataset, model, seed)
    folder = results.work_folder() / CHAPTER / profile.name
    kept, best = folder / f"{name}.measured.json", folder / f"{name}.best.safetensors"
    rows = json.loads(kept.read_text()) if kept.exists() else []
    epoch = len(m.train.x) // s.batch
    step = _stepper(m, s, s.epochs * epoch, profile.device)
    batches = minibatches(len(m.train.x), s.batch, seed)
    stops = [*range(s.measure_every, s.epochs, s.measure_every), s.epochs]
    for stop in stops[len(rows) :]:
        fit(
            step,
            lambda i: (i, batches(i)),
            state,
            stop * epoch,
            checkpoint=folder / f"{name}.training.safetensors",
            description=name,
            checkpoint_seconds=60,
            history_every=20,
            progress=False,
        )
        found = per_step(likelihoods(net, m.validation, s.n_particles, seed), m.validation)
        if all(found > row["validation"] for row in rows):
            checkpoint.save(best, dict(net.state_dict()))
        rows.append({"epoch": stop, "validation": found})
        checkpoint.write_text(kept, json.dumps(rows))
    net.load_state_dict(checkpoint.load(best))
    return Trained(net.requires_grad_(False), m, rows)


def _stepper(m: Material, s: Settings, steps: int, device: str) -> Callable:
    x, lengths = m.train.x.to(device), m.train.lengths.to(device)
    seen = None if m.train.seen is None else m.train.seen.to(device)
    compiled = s.compiled and can_compile(device)
    if compiled:
        torch.compiler.reset()  # what earlier models were compiled to would count as versions of this one

    def step(state: TrainingState, batch: tuple[int, Tensor]) -> dict[str, Tensor]:
        i, rows = batch
        for group in state.optimizer.param_groups:
            group["lr"] = s.learning_rate * (1 - (1 - s.last_rate) * i / steps)
        of = lengths[rows]
        longest = int(m.train.lengths[rows].max())
        part = None if seen is None else seen[rows, :longest]
        if isinstance(state.model, paper.DeterministicHyperRNN):
            found = state.model(x[rows, :longest], of, part)
        else:
            found = paper.bound(
                state.model, x[rows, :longest], of, s.n_particles, "ess", state.generator, part,
                validate=False, compiled=compiled,
            ).log_likelihood  # fmt: skip
        loss = -(found / of).mean()
        state.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), s.clip)
        state.optimizer.step()
        return {"loss": loss.detach()}

    return step


# Measures


def likelihoods(
    net: nn.Module, part: Part, n_particles: int, seed: int, resample: str = "ess"
) -> Tensor:
    """Bound (B,) of each sequence, nats; of a model without z, the log-likelihood itself."""
    device = net.input_mean.device
    x, lengths, seen = (None if v is None else v.to(device) for v in part)
    if isinstance(net, paper.DeterministicHyperRNN):
        with torch.no_grad():
            return net(x, lengths, seen).double().cpu()
    generator = torch.Generator(device).manual_seed(seed)
    return paper.evaluate(net, x, lengths, n_particles, resample, generator, seen)


def per_step(values: Tensor, part: Part) -> float:
    """Bounds (B,) as nats a step: the sum over all sequences by the sum of their lengths."""
    return float(values.sum() / part.lengths.sum())


def measured(found: Trained, s: Settings, seed: int) -> dict[str, Any]:
    """What is asked of a model on the test sequences; nats."""
    test = found.material.test
    several = [likelihoods(found.model, test, s.n_particles, seed + i) for i in range(REPEATS)]
    many = likelihoods(found.model, test, s.many, seed)
    told = {
        "fivo": [per_step(values, test) for values in several],
        "fivo_many": per_step(many, test),
        "by_sequence": _short(torch.stack(several).mean(0) / test.lengths),
        "by_sequence_many": _short(many / test.lengths),
        "n_sequences": len(test.x),
        "n_steps": int(test.lengths.sum()),
        "live": paper.parameter_count(found.model),
    }
    if not isinstance(found.model, paper.DeterministicHyperRNN):
        told["elbo"] = per_step(likelihoods(found.model, test, 1, seed), test)
        iwae = likelihoods(found.model, test, s.n_particles, seed, "never")
        told["iwae"] = per_step(iwae, test)
        told["as_published"] = paper.parameter_count(found.model, as_published=True)
    return told


def _short(values: Tensor) -> list[float]:
    return [float(f"{v:.6g}") for v in values.tolist()]


def suites(found: Trained, s: Settings, seed: int) -> dict[str, dict[str, list[float]]]:
    """Bounds a step of each sequence of each test suite of the switching system."""
    told = {}
    for suite in SUITES[1:]:
        part = suite_part(suite, s)
        told[suite] = {
            "few": _short(likelihoods(found.model, part, s.n_particles, seed) / part.lengths),
            "many": _short(likelihoods(found.model, part, s.many, seed) / part.lengths),
        }
    return told


def suite(name: str, s: Settings):
    """A test suite: 100 sequences."""
    own = None if name in ("rand", "zero-shot", "add") else matrices()
    return switching_dynamics(SIZES[2], SUITE_SEED, name, s.n_steps, own)


def suite_part(name: str, s: Settings) -> Part:
    """A test suite as the evaluators take it."""
    found = suite(name, s)
    return Part(found.observations, found.lengths, None)


def around_switches(found: Trained, s: Settings, seed: int, draws: int = 8) -> dict[str, Any]:
    """KL a step about a switch, its mean over sequences; nats. And how deviations follow the noise.

    About changes of sigma in the test law, of W in the suite "switch" (where also x starts anew), and in
    the suite "rand" the correlation of the logs of the emission's deviation and of sigma, a sequence.
    """
    double = copy.deepcopy(found.model).double().cpu()
    generator = torch.Generator().manual_seed(seed)

    def follow(of):
        x = of.observations.repeat(draws, 1, 1).transpose(0, 1)
        noise = torch.randn(len(x), x.shape[1], double.z_dim, generator=generator, dtype=x.dtype)
        return paper.trace(double, x, noise)

    told: dict[str, Any] = {"offsets": list(range(*AROUND))}
    for name in ("test", "switch"):
        of = suite(name, s)
        kl = follow(of).kl.unflatten(1, (draws, -1)).median(1).values.T  # (B, T)
        sequence, time = of.switches.nonzero(as_tuple=True)
        means, errors = [], []
        for offset in told["offsets"]:
            at = time + offset
            inside = (at >= 1) & (at < kl.shape[1])
            values = kl[sequence[inside], at[inside]]
            means.append(float(values.mean()))
            errors.append(float(values.std() / len(values) ** 0.5))
        told[name] = {"kl": means, "standard_error": errors, "n": len(time)}
    of = suite("rand", s)
    deviation = follow(of).deviation_x.log().mean(-1).unflatten(1, (draws, -1)).mean(1)
    pairs = torch.stack([deviation.T[:, 1:], of.deviation[:, 1:].log()], 1)
    several = [torch.corrcoef(pair)[0, 1] for pair in pairs if pair[1].std() > 0]
    told["follows_noise"] = _short(torch.stack(several))
    return told


# Results


def context(profile: profiles.Profile, dataset: str) -> results.Context:
    """What the results of one set share."""
    files = (FILES[dataset],) if dataset in FILES else ()
    return results.Context(EXPERIMENT, CHAPTER, profile, files)


def keeps_weights(dataset: str, model: str, seed: int) -> bool:
    """Whether a run's weights are published: those of the page, and those that can be verified."""
    return dataset.startswith("switching") or (
        dataset in ("jsb", "tunes") and model in ROLLS and seed == 0
    )


def result(profile: profiles.Profile, dataset: str, model: str, seed: int) -> Result:
    """One run: training, and measures on the test sequences."""
    s = settings(profile, dataset)

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        found = trained(dataset, model, profile, seed)
        values = {
            "rows": found.rows,
            "final": measured(found, s, seed),
            "model": MODELS[dataset][model]._asdict(),
            "n_training": len(found.material.train.x),
        }
        if dataset.startswith("switching") and MODELS[dataset][model].kind != "hyperlstm":
            values["suites"] = suites(found, s, seed)
            values["switches"] = around_switches(found, s, seed)
        weights = found.model.state_dict() if keeps_weights(dataset, model, seed) else {}
        return values, {key: value.cpu() for key, value in weights.items()}

    return results.get(name_of(dataset, model, seed), compute, context(profile, dataset), seed=seed)


def truth(profile: profiles.Profile) -> Result:
    """What exact Bayes says of the sequences on which the models of the switching system are measured."""
    s = settings(profile, "switching")

    def compute() -> tuple[dict[str, Any], dict[str, Tensor]]:
        test = material("switching", s).test
        of = paper.oracle(test.x, matrices())
        rand = suite("rand", s)
        several = torch.stack(
            [
                paper.oracle_log_likelihood(rand.observations, rand.matrices, switches=n)
                for n in range(4)
            ]
        )
        values = {
            "test": _short(of.log_likelihood / test.lengths),
            "rand": _short((several.logsumexp(0) - torch.tensor(4.0).log()) / rand.lengths),
        }
        return values, {}

    return results.get("switching-oracle", compute, context(profile, "switching"), seed=0)
