"""Chapter 6's results as its page reads them: one value of each run, differences over seeds."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import trim_mean
from torch import Tensor

from dgm.measure import Interval
from dgm_book import jobs, profiles, statistics
from dgm_book.chapters.variational_hyper_rnn import recipe as plan
from dgm_book.chapters.variational_hyper_rnn import run as experiment
from dgm_book.results import Result
from dgm_book.statistics import mean_over_seeds

SUMMARIES = {"median": np.median, "trimmed mean": lambda v: trim_mean(v, 0.1), "mean": np.mean}
METRICS = ("fivo", "fivo_many")  # bounds with the training's particles, and with many

Models = Mapping[str, list[Result]]  # one result per seed


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    recipe: plan.Recipe
    sets: dict[str, dict[str, list[Result]]]  # set -> model -> one result per seed
    truth: Result
    named: Mapping[str, Result]  # every result

    @property
    def system(self) -> str:
        """The set of the switching system's models that tables, probes and figures are about."""
        return experiment.main_system(self.recipe)

    @property
    def models(self) -> Models:
        """Their results."""
        return self.sets[self.system]

    @property
    def music(self) -> str:
        """The set of piano rolls that the page's music model has learned from."""
        return experiment.main_music(self.recipe)

    @property
    def particles(self) -> tuple[str, str]:
        """Of the two metrics, in words."""
        training = self.recipe.training[self.system]
        return f"{training.n_particles} particles", f"{training.n_many_particles} particles"

    @property
    def evaluations(self) -> dict[str, str]:
        """The two metrics, by what claims call them."""
        return dict(zip(("as trained", self.particles[1]), METRICS, strict=True))

    @property
    def exact(self) -> Tensor:
        """Exact Bayes of the switching system's test sequences (B,), nats per step."""
        return torch.tensor(self.truth.values["test"], dtype=torch.float64)

    @property
    def lines(self) -> dict[str, Any]:
        """What stands beside the switching system's models."""
        return self.named["switching-lines"].values

    def memoryless(self, dataset: str) -> float:
        """What a model without memory has on a set's test sequences, nats per step; or 0."""
        if dataset.startswith("switching"):
            return float(np.mean(self.lines["by_sequence"]))
        name = f"{dataset}-walk"
        return self.named[name].values["per_step"] if name in self.named else 0.0

    def probes(self, model: str) -> list[dict[str, Any]]:
        """What probes of the switching system's model gave, by seed."""
        return [self.named[f"{run.name}-probe"].values for run in self.models[model]]


def chapter(
    profile_name: str = "auto", first_seed: int = 0, recipes: experiment.Recipes = plan.RECIPES
) -> Chapter:
    """Loads or computes the chapter; "auto" takes the largest profile that is published."""
    profile, by_name = jobs.load(experiment.run, profile_name, first_seed, recipes=recipes)
    recipe = recipes[profile.name]
    rows = experiment.runs(profile, recipe)
    named = ((d, m, by_name[experiment.run_name(d, m, n + first_seed)]) for d, m, n in rows)
    return Chapter(profile, recipe, jobs.grouped(named), by_name["switching-oracle"], by_name)


def read(result: Result, metric: str) -> float:
    """One of `METRICS`, or a suite's summary such as "rand median"; nats per step."""
    if metric in METRICS:
        values = result.values["final"][metric]
        return sum(values) / len(values) if metric == "fivo" else values
    suite, _, summary = metric.partition(" ")
    return float(SUMMARIES[summary](result.values["suites"][suite]["few"]))


def column(models: Models, names: Iterable[str], metric: str) -> Any:
    """A metric of some models, by model and seed: a column of `statistics.tidy`."""
    return statistics.tidy({name: models[name] for name in names}, partial(read, metric=metric))


def difference(models: Models, variant: str, control: str, metric: str = "fivo") -> Interval:
    """By how much one model's metric is above another's, paired by seed."""
    return statistics.effect(column(models, (variant, control), metric), variant, control)


def by_sequence(models: Models, pair: Iterable[str], seed: int = 0) -> Tensor:
    """The difference of two models' bounds on each test sequence, (B,) nats per step."""
    ours, theirs = (models[name][seed].values["final"]["by_sequence"] for name in pair)
    return torch.tensor(ours).double() - torch.tensor(theirs).double()


def pairs_by_size(matched: bool) -> dict[int, tuple[str, str]]:
    """Table 2's VHRNN, and the VRNN of its latent size or that with as many live weights."""
    controls = {n: f"VRNN {w} matched" if matched else f"VRNN {n}" for n, w in plan.MATCHED.items()}
    return {n: (f"VHRNN {n}", control) for n, control in controls.items()}


def over_sizes(models: Models, matched: bool, metric: str = "fivo") -> Interval:
    """VHRNN minus VRNN on the chorales, paired by size and seed over all sizes."""
    gaps = []
    for variant, control in pairs_by_size(matched).values():
        rows = column(models, (variant, control), metric).unstack("variant").dropna()
        gaps += (rows[variant] - rows[control]).tolist()
    return mean_over_seeds(gaps)


def kl_change(result: Result, suite: str, base: Iterable[int]) -> float:
    """Mean KL of the five steps from a switch on minus that of the base's steps; nats."""
    switches = result.values["switches"]
    kl = dict(zip(switches["offsets"], switches[suite]["kl"], strict=True))
    others = [kl[i] for i in base]
    return sum(kl[i] for i in range(5)) / 5 - sum(others) / len(others)


def heard(chapter: Chapter) -> dict[str, Any]:
    """How the pieces sound, in words, by who wrote them."""
    sound = chapter.named[f"{chapter.music}-sound"].values
    names = {"pieces": "Bach", "keys": "keys"}
    names |= dict(zip(plan.PAIR[chapter.music], plan.KINDS, strict=True))
    words = {}
    for key, name in names.items():
        row = sound["measures"][key]
        shown = {m: row[m] for m in ("notes", "triads", "moves")}
        words[name] = {m: f"{mean:.2f} ± {error:.2f}" for m, (mean, error) in shown.items()}
        low, high = (round(row[m][0]) for m in ("lowest", "highest"))
        words[name]["range"] = f"{pitch_name(low)} to {pitch_name(high)}"
    moves = {names[key]: row["moves"][0] for key, row in sound["measures"].items()}
    return {"heard": words, "n_pieces": sound["n"], "leaps": moves["VHRNN"] / moves["Bach"]}


def pitch_name(note: int) -> str:
    """Of a MIDI note, such as C4 for 60."""
    names = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"]
    return f"{names[note % 12]}{note // 12 - 1}"
