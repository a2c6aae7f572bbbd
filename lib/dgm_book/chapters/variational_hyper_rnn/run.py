"""Chapter 6 without its page: sequences, training, measures on test sequences, verification."""

import copy
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from scipy import stats
from torch import Tensor, nn

from dgm.data import music, series
from dgm.data.batches import minibatches
from dgm.data.dynamics import SUITES, Dynamics, dynamics_matrices, switching_dynamics
from dgm.papers import variational_hyper_rnn as paper
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.chapters.variational_hyper_rnn import listening, probes
from dgm_book.chapters.variational_hyper_rnn import recipe as plan
from dgm_book.chapters.variational_hyper_rnn.recipe import Recipe, Training
from dgm_book.results import Result
from dgm_book.verification import check

CHAPTER = "06_variational_hyper_rnn"
EXPERIMENT = "dgm_book.chapters.variational_hyper_rnn.run"
MATRICES_SEED = 6  # two of its ten systems grow, the fastest by 1.13 per step
SUITE_SEED = 100
PROBE_SEEDS = (301, 302)  # of the sequences that probes are fitted to and asked about
PROBE_PARTICLES = 16
PEGGED = 4  # the exchange rate that for years did not move
REPEATS = 5  # evaluations with the training's number of particles

Net = paper.VariationalRNN | paper.DeterministicHyperRNN
Recipes = Mapping[str, Recipe]
Values = tuple[dict[str, Any], dict[str, Tensor]]


class Sequences(NamedTuple):
    """Sequences of one split."""

    x: Tensor  # (B, T, X) float32, zeros behind the ends and where nothing was read
    lengths: Tensor  # (B,)
    observed_mask: Tensor | None  # (B, T, X); None where all was read
    scaling: Tensor | float = 0.0  # (B,), nats: log-densities of x plus this are of the set's units


class Splits(NamedTuple):
    """What a model learns from, is chosen on, and is measured on."""

    train: Sequences
    validation: Sequences
    test: Sequences
    mean: Tensor  # (X,), of the training frames


def matrices() -> Tensor:
    """The ten systems (10, 2, 2) of the switching set."""
    return dynamics_matrices(10, MATRICES_SEED)


def suite(name: str, recipe: Recipe) -> Dynamics:
    """A test suite of the switching system: as many sequences as its test set has."""
    own = None if name in ("rand", "zero-shot", "add") else matrices()
    n_steps = recipe.training["switching"].n_steps
    return switching_dynamics(recipe.sequences[2], SUITE_SEED, name, n_steps, own)


@lru_cache(maxsize=2)
def splits(dataset: str, training: Training, sequences: tuple[int, int, int]) -> Splits:
    """The sequences of a set; the training ones cut to windows."""
    name = dataset.removesuffix("-long")
    if dataset in plan.SYSTEMS:
        x = switching_dynamics(sum(sequences), 0, "test", training.n_steps, matrices()).observations
        parts = [list(part) for part in x.split(sequences)]
    elif dataset == "tunes":  # the stand-in for music that is not ours to give away
        parts = [music.synthetic_tunes(n, seed) for seed, n in enumerate((96, 24, 24))]
    else:
        load = music.load if name in music.NAMES else series.load
        parts = [load(name, split) for split in ("train", "validation", "test")]
    scale = None
    if training.emission == "student_t":
        parts = [[_increments(dataset, series) for series in part] for part in parts]
        frames = torch.cat(parts[0])
        scale = (frames - frames.nanmean(0)).square().nanmean(0).sqrt()
        parts = [[series / scale for series in part] for part in parts]
    parts[0] = [piece for x in parts[0] for piece in x.split(training.window or len(x))]
    frames = torch.cat([piece.float() for piece in parts[0]])
    train, validation, test = (_padded(rows, scale) for rows in parts)
    return Splits(train, validation, test, frames.nanmean(0))


def _increments(dataset: str, series: Tensor) -> Tensor:
    """Changes from step to step, (T, X), whose log-density is that of the values after the first.

    Exchange rates are changes already. Their fifth was pegged: where it rests, no density is.
    """
    if dataset != "exchange-rates":
        return series.diff(dim=0)
    return series[:, torch.arange(series.shape[1]) != PEGGED]


def _padded(rows: list[Tensor], scale: Tensor | None = None) -> Sequences:
    x = nn.utils.rnn.pad_sequence([row.float() for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    missing = x.isnan()
    scaling = 0.0
    if scale is not None:  # dividing by it multiplies each density by it
        scaling = -torch.stack([(~row.isnan() * scale.log()).double().sum() for row in rows])
    return Sequences(x.nan_to_num(), lengths, ~missing if missing.any() else None, scaling)


def build(model: plan.Model, training: Training, x_dim: int) -> Net:
    """A model with fresh weights from torch's global generator."""
    kind, layers, least = training.emission, training.layers, training.sigma_min
    if model.kind == "hyperlstm":
        sizes = (layers, model.z, model.hyper)
        return paper.DeterministicHyperRNN(x_dim, model.h, kind, *sizes, least)
    if model.kind == "vrnn":
        return paper.VariationalRNN(x_dim, model.z, model.h, kind, layers, least, model.linear)
    sizes = (x_dim, model.z, model.h, model.hyper, kind, layers)
    return paper.VariationalHyperRNN(*sizes, hyper_input=model.hyper_input, sigma_min=least)


def trained(
    dataset: str, model: str, profile: profiles.Profile, seed: int, recipe: Recipe
) -> tuple[Net, list[dict[str, float]]]:
    """Trains one of a set's models, or goes on with an interrupted run."""
    training = recipe.training[dataset]
    data = splits(dataset, training, recipe.sequences)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = build(plan.MODELS[dataset][model], training, data.train.x.shape[-1])
    net.calibrate(data.mean)
    net.to(profile.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=training.learning_rate)
    state = TrainingState(net, optimizer, torch.Generator(profile.device).manual_seed(seed))
    epoch = len(data.train.x) // training.batch
    steps = training.epochs * epoch

    def measure(state: TrainingState) -> dict[str, float]:
        values = likelihoods(net, data.validation, training.n_particles, seed)
        return {"validation": per_step(values, data.validation)}

    name = f"{run_name(dataset, model, seed)}.training.safetensors"
    options: dict[str, Any] = {"checkpoint": results.work_folder() / CHAPTER / profile.name / name}
    options |= {"checkpoint_seconds": 60, "history_every": 20, "progress": False}
    options |= {"measure_every": training.measure_every * epoch, "keep_best": "validation"}
    batches = minibatches(len(data.train.x), training.batch, seed)
    step = _stepper(data.train, training, steps, profile.device)
    history = fit(step, batches, state, steps, measure=measure, best="highest", **options)
    rows = [
        {"epoch": row["step"] // epoch, "validation": row["validation"]}
        for row in history.measurements
    ]
    return net.requires_grad_(False), rows


def run_name(dataset: str, model: str, seed: int) -> str:
    """The name of a run."""
    return f"{dataset}-{model.replace(' ', '-')}-seed{seed}"


def can_compile(device: str) -> bool:
    """Whether there is what torch.compile needs: on a CPU, a C++ compiler."""
    return device.startswith("cuda") or any(shutil.which(name) for name in ("g++", "clang++"))


def _stepper(train: Sequences, training: Training, steps: int, device: str) -> Callable:
    x, lengths, mask, _ = _to_device(train, device)
    options = {"validate": False, "compiled": training.compiled and can_compile(device)}
    if options["compiled"]:
        torch.compiler.reset()  # else earlier models' code would count as versions of this one's

    def step(state: TrainingState, rows: Tensor) -> dict[str, Tensor]:
        rate = 1 - (1 - training.last_rate) * state.steps / steps
        for group in state.optimizer.param_groups:
            group["lr"] = training.learning_rate * rate
        longest = int(train.lengths[rows].max())
        part = None if mask is None else mask[rows, :longest]
        if isinstance(state.model, paper.VariationalRNN):
            particles = (training.n_particles, "ess", state.generator)
            values = paper.bound(
                state.model, x[rows, :longest], lengths[rows], *particles, part, **options
            ).log_likelihood
        else:
            values = state.model(x[rows, :longest], lengths[rows], part)
        loss = -(values / lengths[rows]).mean()
        state.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), training.clip)
        state.optimizer.step()
        return {"loss": loss.detach()}

    return step


def _to_device(sequences: Sequences, device: str | torch.device) -> Sequences:
    x, lengths, mask, scaling = sequences
    mask = None if mask is None else mask.to(device)
    return Sequences(x.to(device), lengths.to(device), mask, scaling)


def likelihoods(
    net: Net, sequences: Sequences, n_particles: int, seed: int, resample: str = "ess"
) -> Tensor:
    """Bound (B,) of each sequence, nats; of a model without z, the log-likelihood itself."""
    device = net.input_mean.device
    x, lengths, mask, scaling = _to_device(sequences, device)
    if isinstance(net, paper.VariationalRNN):
        generator = torch.Generator(device).manual_seed(seed)
        return paper.evaluate(net, x, lengths, n_particles, resample, generator, mask) + scaling
    with torch.no_grad():
        return net(x, lengths, mask).double().cpu() + scaling


def per_step(values: Tensor, sequences: Sequences) -> float:
    """Bounds (B,) as nats per step: the sum over all sequences by the sum of their lengths."""
    return float(values.sum() / sequences.lengths.sum())


def final_measures(net: Net, test: Sequences, training: Training, seed: int) -> dict[str, Any]:
    """What is measured of a model on the test sequences; nats."""
    repeats = [likelihoods(net, test, training.n_particles, seed + i) for i in range(REPEATS)]
    values = likelihoods(net, test, training.n_many_particles, seed)
    measures = {
        "fivo": [per_step(repeat, test) for repeat in repeats],
        "fivo_many": per_step(values, test),
        "by_sequence": _short(torch.stack(repeats).mean(0) / test.lengths),
        "by_sequence_many": _short(values / test.lengths),
        "n_sequences": len(test.x),
        "live": paper.parameter_count(net),
    }
    if isinstance(net, paper.VariationalRNN):
        measures["as_published"] = paper.parameter_count(net, as_published=True)
    return measures


def _short(values: Tensor) -> list[float]:
    return [float(f"{v:.6g}") for v in values.tolist()]


def around_switches(net: paper.VariationalRNN, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Mean KL per step about a switch, nats, and how the deviations follow the noise."""
    double, draws = copy.deepcopy(net).double().cpu(), recipe.draws
    generator = torch.Generator().manual_seed(seed)

    def trace(data: Dynamics) -> paper.Trace:
        x = data.observations.repeat(draws, 1, 1).transpose(0, 1)
        noise = torch.randn(len(x), x.shape[1], double.z_dim, generator=generator, dtype=x.dtype)
        return paper.trace(double, x, noise)

    offsets = list(range(*recipe.around))
    measures: dict[str, Any] = {"offsets": offsets}
    for name in ("test", "switch"):
        data = suite(name, recipe)
        kl = trace(data).kl.unflatten(1, (draws, -1)).median(1).values.T  # (B, T)
        sequence, time = data.switches.nonzero(as_tuple=True)
        places = {i: (time + i >= 1) & (time + i < kl.shape[1]) for i in offsets}
        values = [kl[sequence[inside], (time + i)[inside]] for i, inside in places.items()]
        measures[name] = {"kl": [float(value.mean()) for value in values]}
    data = suite("rand", recipe)
    deviation = trace(data).deviation_x.log().mean(-1).unflatten(1, (draws, -1)).mean(1)
    pairs = torch.stack([deviation.T[:, 1:], data.deviation[:, 1:].log()], 1)
    correlations = [torch.corrcoef(pair)[0, 1] for pair in pairs if pair[1].std() > 0]
    return measures | {"follows_noise": _short(torch.stack(correlations))}


def context(profile: profiles.Profile, dataset: str = "switching") -> results.Context:
    """What the results of one set share."""
    files = (plan.FILES[dataset],) if dataset in plan.FILES else ()
    return results.Context(EXPERIMENT, CHAPTER, profile, files)


def result(
    profile: profiles.Profile, dataset: str, model: str, seed: int, recipe: Recipe
) -> Result:
    """One run: training, and measures on the test sequences."""

    def compute() -> Values:
        training = recipe.training[dataset]
        data = splits(dataset, training, recipe.sequences)
        net, rows = trained(dataset, model, profile, seed, recipe)
        final = final_measures(net, data.test, training, seed)
        values = {"rows": rows, "final": final, "n_training": len(data.train.x)}
        if dataset.startswith("switching") and isinstance(net, paper.VariationalRNN):
            suites = {name: suite(name, recipe) for name in SUITES[1:]}
            parts = {k: Sequences(x.observations, x.lengths, None) for k, x in suites.items()}
            values["suites"] = {  # bounds per step of each sequence
                k: {"few": _short(likelihoods(net, x, training.n_particles, seed) / x.lengths)}
                for k, x in parts.items()
            }
            values["switches"] = around_switches(net, recipe, seed)
        # Weights that the page shows, or that are verified.
        rolls = dataset in ("jsb", "tunes") and model in plan.ROLLS and seed == 0
        weights = net.state_dict() if rolls or dataset in plan.SYSTEMS[:2] else {}
        return values, {key: value.cpu() for key, value in weights.items()}

    name = run_name(dataset, model, seed)
    return results.get(name, compute, context(profile, dataset), seed=seed)


def truth(profile: profiles.Profile, recipe: Recipe) -> Result:
    """Exact Bayes of the sequences on which the switching system's models are measured."""

    def compute() -> Values:
        test = splits("switching", recipe.training["switching"], recipe.sequences).test
        exact = paper.oracle_log_likelihood(test.x, matrices())
        return {"test": _short(exact / test.lengths)}, {}

    return results.get("switching-oracle", compute, context(profile), seed=0)


def lines(profile: profiles.Profile, recipe: Recipe) -> Result:
    """What stands beside the switching system's models: a mixture without memory, exact Bayes."""

    def compute() -> Values:
        train = splits("switching", recipe.training["switching"], recipe.sequences).train
        mixture = probes.fit_mixture(train.x.double(), 10, 100, seed=0)
        fitted, asked = _probe_data(recipe)
        exact = paper.oracle(asked.observations, asked.matrices)
        named = exact.posterior.argmax(-1) == asked.which
        steps = _probe_steps(recipe)
        points = [probes.last_two(data.observations) for data in (fitted, asked)]
        accuracy = probes.accuracies((points[0], fitted), (points[1], asked), steps)
        accuracy["exact Bayes"] = _short(named[:, steps].double().mean(0))
        by_step = {"exact Bayes": exact.per_step, "no memory": mixture.per_step(asked.observations)}
        values = {"steps": steps, "accuracy": accuracy, "n": len(asked.lengths)}
        values |= _lines_by_set(mixture, recipe)
        return values | {k: _medians(v, asked, recipe) for k, v in by_step.items()}, {}

    return results.get("switching-lines", compute, context(profile), seed=0)


def _lines_by_set(mixture: probes.Mixture, recipe: Recipe) -> dict[str, Any]:
    """Without memory, of test sequences and suites; both lines of the validation sequences."""
    parts = splits("switching", recipe.training["switching"], recipe.sequences)
    suites = {name: suite(name, recipe).observations for name in SUITES[1:]}
    counts = range(4)  # of changes of sigma in RAND
    rand = [
        paper.oracle_log_likelihood(suites["rand"], torch.eye(2)[None], switches=k) for k in counts
    ]
    exact = torch.stack(rand).logsumexp(0) - math.log(len(counts))
    validation = parts.validation.x.double()
    of_validation = [mixture.per_step(validation), paper.oracle(validation, matrices()).per_step]
    return {
        "by_sequence": _short(mixture.per_step(parts.test.x.double()).mean(1)),
        "suites": {k: float(mixture.per_step(x).mean(1).median()) for k, x in suites.items()},
        "rand": float((exact / suites["rand"].shape[1]).median()),
        "validation": _short(torch.stack([v.mean() for v in of_validation])),
    }


def probe(profile: profiles.Profile, model: str, seed: int, recipe: Recipe) -> Result:
    """What a trained model's state says of the matrix, and its likelihood by step."""
    dataset = main_system(recipe)

    def compute() -> Values:
        net = reread(result(profile, dataset, model, seed, recipe), dataset, model, recipe)
        data = _probe_data(recipe)
        parts = [(probes.features(net, x.observations, seed + i), x) for i, x in enumerate(data)]
        values = {"accuracy": probes.accuracies(parts[0], parts[1], _probe_steps(recipe))}
        asked = data[1]
        by_step = probes.step_likelihoods(net, asked.observations, PROBE_PARTICLES, seed)
        return values | {"by_step": _medians(by_step, asked, recipe)}, {}

    name = f"{run_name(dataset, model, seed)}-probe"
    return results.get(name, compute, context(profile, dataset), seed=seed)


def _probe_data(recipe: Recipe) -> list[Dynamics]:
    """Fresh sequences of the training set's law, as many as those and four times the test's."""
    sizes, n_steps = recipe.sequences, recipe.training["switching"].n_steps
    pairs = zip((sizes[0], 4 * sizes[2]), PROBE_SEEDS, strict=True)
    return [switching_dynamics(n, seed, "test", n_steps, matrices()) for n, seed in pairs]


def _probe_steps(recipe: Recipe) -> list[int]:
    last = recipe.training["switching"].n_steps - 1
    return [2, last // 5 + 1, 3 * last // 5 + 1, last]


def _medians(by_step: Tensor, data: Dynamics, recipe: Recipe) -> dict[str, list[float]]:
    """Of log-densities (B, T), nats: over sequences by step, and over switches by step from one."""
    sequence, time = data.switches.nonzero(as_tuple=True)
    about = []
    for offset in range(*recipe.around):
        inside = (time + offset >= 1) & (time + offset < by_step.shape[1])
        about.append(by_step[sequence[inside], (time + offset)[inside]].median())
    medians = {"start": by_step.median(0).values, "switch": torch.stack(about)}
    return {name: _short(values) for name, values in medians.items()}


def sound(profile: profiles.Profile, dataset: str, recipe: Recipe) -> Result:
    """What a set's first models write after the openings of its test pieces, beside these.

    Keys by themselves sound as often as in training.
    """

    def compute() -> Values:
        data = splits(dataset, recipe.training[dataset], recipe.sequences)
        test, generator = data.test, torch.Generator().manual_seed(0)
        pieces = [x[:n] for x, n in zip(test.x, test.lengths.tolist(), strict=True)]
        rolls = {"pieces": [piece[len(listening.opening_of(piece)) :] for piece in pieces]}
        shares = [data.mean.expand(len(piece), -1) for piece in rolls["pieces"]]
        rolls["keys"] = [torch.bernoulli(share, generator=generator) for share in shares]
        for model in plan.PAIR[dataset]:
            net = reread(result(profile, dataset, model, 0, recipe), dataset, model, recipe)
            rolls[model] = listening.written(net, pieces, generator)
        measures = {name: listening.summary(each) for name, each in rolls.items()}
        return {"n": len(pieces), "measures": measures}, {}

    return results.get(f"{dataset}-sound", compute, context(profile, dataset), seed=0)


def walk(profile: profiles.Profile, dataset: str, recipe: Recipe) -> Result:
    """A set without memory, as a published result."""
    compute = lambda: (walk_values(dataset, recipe), {})  # noqa: E731
    return results.get(f"{dataset}-walk", compute, context(profile, dataset), seed=0)


def walk_values(dataset: str, recipe: Recipe) -> dict[str, Any]:
    """Each number's increments as Student's t, fitted to the training set; nats per step."""
    train, _, test, _ = splits(dataset, recipe.training[dataset], recipe.sequences)
    values, freedom = torch.zeros(test.x.shape[:2], dtype=torch.float64), []
    for i in range(test.x.shape[-1]):
        known, asked = (_inside(part)[..., i] for part in (train, test))
        law = stats.t.fit(train.x[..., i][known].double().numpy())
        x = test.x[..., i][asked].double().numpy()
        values[asked] += torch.from_numpy(stats.t.logpdf(x, *law))
        freedom.append(law[0])
    totals = values.sum(1) + test.scaling
    by_sequence = _short(totals / test.lengths)
    freedom = _short(torch.tensor(freedom))
    return {"per_step": per_step(totals, test), "by_sequence": by_sequence, "freedom": freedom}


def _inside(sequences: Sequences) -> Tensor:
    """What was read of sequences (B, T, X), bool."""
    inside = torch.arange(sequences.x.shape[1]) < sequences.lengths[:, None]
    mask = sequences.observed_mask
    return inside[..., None].expand(sequences.x.shape) if mask is None else inside[..., None] & mask


def runs(profile: profiles.Profile, recipe: Recipe) -> list[tuple[str, str, int]]:
    """Set, model and number of the seed of every run at a profile."""
    return [
        (dataset, model, n)
        for (dataset, model), n_seeds in recipe.seeds.items()
        for n in range(profile.n_seeds if n_seeds is None else n_seeds)
    ]


def walks(recipe: Recipe) -> list[str]:
    """The sets whose increments are predicted."""
    sets = dict.fromkeys(name for name, _ in recipe.seeds)
    return [name for name in sets if recipe.training[name].emission == "student_t"]


def main_system(recipe: Recipe) -> str:
    """The set of the switching system's models that tables, probes and figures are about."""
    return "switching-long" if ("switching-long", plan.MAIN[0]) in recipe.seeds else "switching"


def main_music(recipe: Recipe) -> str:
    """The set of piano rolls whose first models the page plays."""
    return "jsb" if any(name == "jsb" for name, _ in recipe.seeds) else "tunes"


def run(
    profile: profiles.Profile, seed: int, first_seed: int = 0, recipes: Recipes = plan.RECIPES
) -> Iterator[Result]:
    """Every result of one seed."""
    recipe = recipes[profile.name]
    if seed == first_seed:
        yield truth(profile, recipe)
        yield lines(profile, recipe)
        yield from (walk(profile, dataset, recipe) for dataset in walks(recipe))
        yield sound(profile, main_music(recipe), recipe)
    for dataset, model, n in runs(profile, recipe):
        if n % profile.n_seeds == seed - first_seed:  # a set may have more seeds than the profile
            yield result(profile, dataset, model, first_seed + n, recipe)
            if dataset == main_system(recipe) and model in plan.PAIR[dataset]:
                yield probe(profile, model, first_seed + n, recipe)


def reread(published: Result, dataset: str, model: str, recipe: Recipe) -> paper.VariationalRNN:
    """The model of a published result, from its weights."""
    x_dim = len(published.tensors["input_mean"])
    net = build(plan.MODELS[dataset][model], recipe.training[dataset], x_dim)
    assert isinstance(net, paper.VariationalRNN)
    net.load_state_dict(published.tensors)
    return net.requires_grad_(False)


def verify(profile: profiles.Profile, recipes: Recipes = plan.RECIPES) -> list[dict[str, Any]]:
    """Recomputes the switching system's bounds from published weights, and the oracle."""
    recipe, rows = recipes[profile.name], []
    dataset = main_system(recipe)
    training = recipe.training[dataset]
    test = splits(dataset, training, recipe.sequences).test
    for model in plan.PAIR[dataset]:
        published = result(profile, dataset, model, 0, recipe)
        net, final = reread(published, dataset, model, recipe), published.values["final"]
        values = {training.n_particles: final["fivo"][0]}
        values |= {training.n_many_particles: final["fivo_many"]}
        for n, value in values.items():
            bounds = [likelihoods(net, test, n, seed) for seed in range(100, 112)]
            recomputed = [per_step(bound, test) for bound in bounds]
            rows.append(check(f"{dataset} {model}, {n} particles", value, recomputed))
    exact = truth(profile, recipe).values["test"]
    recomputed = paper.oracle_log_likelihood(test.x, matrices()) / test.lengths
    mean = [float(recomputed.mean())]
    rows.append(check("switching, exact Bayes", sum(exact) / len(exact), mean, 1e-4))
    data = _probe_data(recipe)[1]
    return [*rows, _checked_probe(profile, recipe, data), *_checked_walks(profile, recipe)]


def _checked_probe(profile: profiles.Profile, recipe: Recipe, data: Dynamics) -> dict[str, Any]:
    """The last step's median log-density of the first VHRNN, with other noise."""
    dataset = main_system(recipe)
    model = plan.PAIR[dataset][0]
    net = reread(result(profile, dataset, model, 0, recipe), dataset, model, recipe)
    values = [
        probes.step_likelihoods(net, data.observations, PROBE_PARTICLES, seed)[:, -1].median()
        for seed in range(100, 104)
    ]
    published = probe(profile, model, 0, recipe).values["by_step"]["start"][-1]
    return check(f"{dataset} {model}, last step", published, [float(v) for v in values], 1e-4)


def _checked_walks(profile: profiles.Profile, recipe: Recipe) -> list[dict[str, Any]]:
    known = {name: walk(profile, name, recipe).values["per_step"] for name in walks(recipe)}
    return [
        check(f"{name}, without memory", value, [walk_values(name, recipe)["per_step"]], 1e-6)
        for name, value in known.items()
    ]
