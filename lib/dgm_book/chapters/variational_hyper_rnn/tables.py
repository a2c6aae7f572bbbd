"""Chapter 6's results: loading, differences over seeds, tables, badges."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from dgm.data.dynamics import SUITES
from dgm.measure import Interval
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.variational_hyper_rnn import recipe as plan
from dgm_book.chapters.variational_hyper_rnn import run as experiment
from dgm_book.results import Result
from dgm_book.statistics import mean_over_seeds, paired_difference

TRIM = 0.1  # of the sequences, left out at either end of a trimmed mean
SUMMARIES = ("median", "trimmed mean", "mean")
VARIANT, CONTROL = plan.PAIR["switching"]

Models = Mapping[str, list[Result]]  # one result per seed
Metric = Callable[[Result], float]
Table = tuple[list[str], list[list[str]]]  # head and rows


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    recipe: plan.Recipe
    sets: dict[str, dict[str, list[Result]]]  # set -> model -> one result per seed
    truth: Result

    @property
    def system(self) -> str:
        """The switching system's models that trained longest."""
        return experiment.longest_system(self.recipe)

    @property
    def music(self) -> str:
        """The set of piano rolls that the page's music model has learned from."""
        return "jsb" if "jsb" in self.sets else "tunes"

    @property
    def training(self) -> plan.Training:
        """How the longest trained models of the switching system learned."""
        return self.recipe.training[self.system]


def chapter(
    profile_name: str = "auto", first_seed: int = 0, recipes: experiment.Recipes = plan.RECIPES
) -> Chapter:
    """Loads or computes the chapter; "auto" takes the largest profile that is published."""
    profile, by_name = jobs.load(partial(experiment.run, recipes=recipes), profile_name, first_seed)
    recipe, sets = recipes[profile.name], {}
    for dataset, model, n in experiment.runs(profile, recipe):
        result = by_name[experiment.run_name(dataset, model, n + first_seed)]
        sets.setdefault(dataset, {}).setdefault(model, []).append(result)
    return Chapter(profile, recipe, sets, by_name["switching-oracle"])


# Measurements


def fivo_train_particles(result: Result) -> float:
    """FIVO with the training's particles, nats per step; exact where there is no z."""
    fivo = result.values["final"]["fivo"]
    return sum(fivo) / len(fivo)


def fivo_many_particles(result: Result) -> float:
    """FIVO with many particles, nats per step."""
    return result.values["final"]["fivo_many"]


def metrics(chapter: Chapter) -> dict[str, Metric]:
    """Both bounds, by the words that a table has for them."""
    particles = f"{chapter.training.n_many_particles} particles"
    return {"as trained": fivo_train_particles, particles: fivo_many_particles}


def on_suite(name: str, summary: str = "median") -> Metric:
    """A summary over one suite's sequences, nats per step."""
    return lambda result: summarise(result.values["suites"][name]["few"], summary)


def summarise(values: Sequence[float], summary: str) -> float:
    """The mean, median or trimmed mean of values; ValueError for another summary."""
    if summary not in SUMMARIES:
        raise ValueError(f"no summary {summary!r}: there are {', '.join(SUMMARIES)}")
    ordered = torch.tensor(values, dtype=torch.float64).sort().values
    if summary == "median":
        return float(ordered.quantile(0.5))
    trimmed = int(TRIM * len(ordered)) if summary == "trimmed mean" else 0
    return float(ordered[trimmed : len(ordered) - trimmed].mean())


def trainable(models: Models, *names: str) -> list[int]:
    """The number of parameters that learn, of each model."""
    return [models[name][0].values["final"]["live"] for name in names]


def difference(
    models: Models, variant: str, control: str, metric: Metric = fivo_train_particles
) -> Interval:
    """By how much one model's metric is above another's, paired by seed."""
    frame = statistics.tidy({name: models[name] for name in (variant, control)}, {"": metric})
    return statistics.effect(frame, "", variant, control)


def by_sequence(models: Models, pair: Sequence[str], seed: int = 0) -> torch.Tensor:
    """The difference of two models' bounds on each test sequence, (B,) nats per step."""
    values = [models[name][seed].values["final"]["by_sequence"] for name in pair]
    return torch.tensor(values[0]).double() - torch.tensor(values[1]).double()


def control_name(size: int, matched: bool) -> str:
    """The VRNN of a VHRNN's latent size, or that with as many live weights."""
    return f"VRNN {plan.MATCHED[size]} matched" if matched else f"VRNN {size}"


def over_sizes(models: Models, matched: bool, metric: Metric = fivo_train_particles) -> Interval:
    """VHRNN minus VRNN on the chorales, paired by size and seed over all sizes."""
    variants, controls = [], []
    for size in plan.MATCHED:
        pair = {n: models[n] for n in (f"VHRNN {size}", control_name(size, matched))}
        values = statistics.tidy(pair, {"": metric})[""].unstack("variant").dropna()
        variants += values[f"VHRNN {size}"].tolist()
        controls += values[control_name(size, matched)].tolist()
    return paired_difference(variants, controls)


def format_number(value: float, decimals: int = 3) -> str:
    """A number with fixed decimals, or with an exponent where it is huge."""
    return f"{value:.{decimals}f}" if abs(value) < 1e4 else f"{value:.1e}"


def format_spread(runs: list[Result], metric: Metric, decimals: int = 3) -> str:
    """A measurement's mean over seeds and its standard error."""
    interval = mean_over_seeds([metric(result) for result in runs])
    mean = format_number(interval.mean, decimals)
    error = format_number(interval.standard_error, decimals)
    return mean if interval.n == 1 else f"{mean} ± {error}"


def format_interval(interval: Interval) -> str:
    """A difference and its interval, as short as a table needs it."""
    numbers = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{v:+.3f}" if abs(v) < 1e4 else f"{v:+.1e}" for v in numbers)
    return mean if interval.n == 1 else f"{mean} [{low}, {high}]"


def format_difference(interval: Interval, unit: str = "seed") -> str:
    """A difference with what there are n of."""
    if interval.n == 1:
        return statistics.format_difference(interval, 3, unit)
    return f"{format_interval(interval)} (95 %, {interval.n} {unit}s)"


# Tables


def table(chapter: Chapter, dataset: str) -> Table:
    """A model per row, mean and standard error over seeds; nats per step."""
    rows, published = [], texts()["published"]
    for model, runs in chapter.sets[dataset].items():
        final = runs[0].values["final"]
        count = f"{final['as_published']:,}" if "as_published" in final else "not in the paper"
        cells = [format_spread(runs, metric) for metric in metrics(chapter).values()]
        value = f"{published[model]:.2f}" if model in published else "not given"
        rows.append([model, count, f"{final['live']:,}", *cells, str(len(runs)), value])
    if dataset.startswith("switching"):
        exact = chapter.truth.values["test"]
        mean = f"{sum(exact) / len(exact):.3f}"
        rows.append(["exact Bayes", "none", "none", mean, mean, "none", "not given"])
    training = chapter.recipe.training[dataset]
    particles = [f"{n} particles" for n in (training.n_particles, training.n_many_particles)]
    return ["model", "published count", "live", *particles, "seeds", "in the paper"], rows


def suites(chapter: Chapter, summary: str = "median") -> Table:
    """A model per row, a test suite per column; nats per step, mean over seeds."""
    rows = []
    for model, runs in evidence(chapter)["suites"].items():
        cells = [format_spread(runs, on_suite(name, summary), 2) for name in SUITES[1:]]
        rows.append([model, *cells, str(len(runs))])
    return ["model", *SUITES[1:], "seeds"], rows


def suite_differences(chapter: Chapter, control: str) -> Table:
    """VHRNN minus another model, a suite per row, a summary per column."""
    models, rows = chapter.sets[chapter.system], []
    for name in SUITES[1:]:
        gaps = (difference(models, VARIANT, control, on_suite(name, s)) for s in SUMMARIES)
        rows.append([name, *map(format_interval, gaps)])
    return ["suite", *SUMMARIES], rows


def sizes(chapter: Chapter) -> Table:
    """VHRNN minus VRNN on the chorales, by latent size and by live weights."""
    models, rows = chapter.sets["jsb"], []
    for size in plan.MATCHED:
        for control in (control_name(size, False), control_name(size, True)):
            variant = f"VHRNN {size}"
            ours, theirs = trainable(models, variant, control)
            gaps = (difference(models, variant, control, m) for m in metrics(chapter).values())
            more = f"{ours / theirs - 1:+.1%}"
            rows.append([f"{variant} minus {control}", more, *map(format_interval, gaps)])
    return ["pair", "live weights", *metrics(chapter)], rows


def ablation(chapter: Chapter) -> Table:
    """What the hyper networks read, first seed; nats per step."""
    rows, published = [], texts()["published_ablations"]
    for (dataset, size), models in plan.ABLATIONS.items():
        values = [fivo_train_particles(chapter.sets[dataset][model][0]) for model in models]
        name, cells = f"{plan.NAMES[dataset]}, z of {size}", [f"{v:.3f}" for v in values]
        rows.append([name, *cells, published[f"{dataset} {size}"]])
    return ["set and size", "latent", "hidden", "both", "in the paper"], rows


def others(chapter: Chapter) -> Table:
    """VHRNN and VRNN on the other sets, and their difference over test sequences."""
    rows, training = [], chapter.recipe.training["jsb"]
    for dataset in plan.OTHERS:
        models, pair = chapter.sets[dataset], plan.PAIR[dataset]
        cases = [(models[name][0], metric) for name in pair for metric in metrics(chapter).values()]
        cells = [format_number(metric(result)) for result, metric in cases]
        counts = " / ".join(f"{n:,}" for n in trainable(models, *pair))
        gap = by_sequence(models, pair)
        interval = format_interval(mean_over_seeds(gap))
        median = format_number(float(gap.quantile(0.5)))
        rows.append([plan.NAMES[dataset], counts, *cells, interval, median])
    particles = (training.n_particles, training.n_many_particles)
    heads = [f"{name}, {n} particles" for name in ("VHRNN", "VRNN") for n in particles]
    gap_heads = ["VHRNN minus VRNN, per test sequence", "its median"]
    return ["set", "live weights", *heads, *gap_heads], rows


def real_tables(chapter: Chapter) -> list[tuple[list[str], list[list[str]], str, str]]:
    """Tables of the real sequences with their captions and badges; none at smoke."""
    if "jsb" not in chapter.sets:
        return []
    tables = {"sizes": sizes, "ablation": ablation, "others": others}
    captions = texts()["captions"]
    return [(*f(chapter), captions[key], badge(chapter, key)) for key, f in tables.items()]


# Badges


def evidence(chapter: Chapter) -> dict[str, Models]:
    """The results behind each picture, by its key: a set's name, or as below."""
    sets, models, pair = chapter.sets, chapter.sets[chapter.system], plan.PAIR
    parts: dict[str, Models] = dict(sets)
    for dataset in (chapter.system, chapter.music):
        parts[f"widget {dataset}"] = {name: sets[dataset][name][:1] for name in pair[dataset]}
    names = [(dataset, n) for dataset in ("switching", chapter.system) for n in pair[dataset]]
    parts["course"] = {f"{name} of {dataset}": sets[dataset][name] for dataset, name in names}
    parts["around"] = {name: models[name] for name in pair["switching"]}
    parts["suites"] = {name: runs for name, runs in models.items() if name != "HyperLSTM"}
    for control in baselines(chapter):
        parts[f"suites {control}"] = {name: models[name] for name in (VARIANT, control)}
    if "jsb" in sets:
        parts["sizes"] = {name: sets["jsb"][name] for name in plan.TABLE_TWO}
        names = [(dataset, n) for (dataset, _), models in plan.ABLATIONS.items() for n in models]
        parts["ablation"] = {name: sets[dataset][name][:1] for dataset, name in names}
        names = [(dataset, n) for dataset in plan.OTHERS for n in pair[dataset]]
        parts["others"] = {f"{name} of {dataset}": sets[dataset][name] for dataset, name in names}
    return parts


def badge(chapter: Chapter, key: str) -> str:
    """What stands beside the picture of a key of `evidence`."""
    parts = evidence(chapter)[key]
    n = next(iter(parts.values()))[0].values["final"]["n_sequences"]
    if key in chapter.sets:
        size = f"{plan.NAMES[key]}, {n} test sequences"
    elif key.startswith("widget "):
        size = plan.NAMES[key.removeprefix("widget ")]
    else:
        size = texts()["sizes"].get(key, f"switching system, {n} sequences per suite")
    return results.badge(parts, size)


def baselines(chapter: Chapter) -> list[str]:
    """The VRNNs beside which VHRNN stands on the switching system."""
    return [name for name in plan.MAIN[1:] if name in chapter.sets[chapter.system]]


@cache
def texts() -> dict[str, Any]:
    """What texts.yaml holds."""
    return yaml.safe_load(Path(__file__).with_name("texts.yaml").read_text("utf-8"))
