"""All results of chapter 2 at one profile, and what they say over seeds."""

import functools
import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from dgm.measure import Interval
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.mutual_information_lm import measure, run
from dgm_book.chapters.mutual_information_lm.recipe import DROPOUTS, RECIPES, Recipe
from dgm_book.results import Result
from dgm_book.statistics import mean_over_seeds

Runs = dict[str, list[Result]]  # variant -> one result per seed


def written(result: Result) -> list[float]:
    """Mutual information of written sentences at each of `DISTANCES`, counted or bounded; nats."""
    samples = result.values["samples"]
    return samples["information"] if "information" in samples else samples["bound"]


METRICS = {
    "nll": lambda r: r.values["final"]["nll"],
    "perplexity": lambda r: r.values["final"]["perplexity"],
    "next sentence": lambda r: 100 * r.values["final"]["retrieval_random"],
    "hard": lambda r: 100 * r.values["final"]["retrieval_hard"],
    "bound": lambda r: r.values["final"]["bound"],
    # Of neighbouring sentences that the model wrote: counted on a chain, else bounded.
    "written": lambda r: written(r)[0],
    "reverse nll": lambda r: r.values["samples"].get("reverse_nll", math.nan),
    "reverse": lambda r: math.exp(r.values["samples"].get("reverse_nll", math.nan)),
    "validation": lambda r: min(row["nll"] for row in r.values["rows"]),
}


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    recipe: Recipe
    texts: dict[str, Runs]
    real: dict[str, list[Result]]

    @property
    def main(self) -> str:
        """The text that the chapter's main table is about."""
        return self.recipe.main

    def values(self, text: str, metric: str, variant: str = "phase I") -> list[float]:
        """A measurement of a variant's runs on a text, one per seed."""
        return [METRICS[metric](result) for result in self.texts[text][variant]]

    def mean(self, text: str, metric: str, variant: str = "phase I") -> Interval:
        """A measurement's mean over seeds."""
        return mean_over_seeds(self.values(text, metric, variant))

    def change(
        self,
        text: str,
        metric: str,
        variant: str = "phase I",
        control: str = "likelihood",
        seeds: Collection[int] | None = None,
    ) -> Interval:
        """What a variant changes in a measurement, paired by seed, of all seeds or of these."""
        runs = {
            name: [r for r in self.texts[text][name] if seeds is None or seed_of(r) in seeds]
            for name in (variant, control)
        }
        frame = statistics.tidy(runs, {metric: METRICS[metric]})
        return statistics.effect(frame, metric, variant, control)

    def by_first_seeds(self, text: str, metric: str, control: str = "likelihood") -> list[Interval]:
        """What phase I changes in the first seeds, and in the others."""
        seeds, n = [seed_of(r) for r in self.texts[text]["likelihood"]], self.recipe.n_first
        parts = seeds[:n], seeds[n:]
        return [self.change(text, metric, "phase I", control, part) for part in parts]

    def control_gains(self, text: str) -> dict[str, Interval]:
        """What phase I changes in the loss beside each control that was run."""
        controls = [c for c in ("shuffled pairs", self.retuned(text)) if c in self.texts[text]]
        return {control: self.change(text, "nll", "phase I", control) for control in controls}

    def padding_changes(self, text: str) -> list[Interval]:
        """What reading the padding changes in bound and loss, where it was run."""
        metrics = ("bound", "nll") if "padding read" in self.texts[text] else ()
        return [self.change(text, x, "padding read", "phase I") for x in metrics]

    def exact(self, text: str = "chain") -> float:
        """The mutual information of neighbouring sentences of a chain, nats."""
        return measure.exact_information(self.recipe.texts[text])[0]

    def is_chain(self, text: str) -> bool:
        """Whether a text is a chain of topics."""
        return self.recipe.texts[text].source is None

    def tested(self) -> list[str]:
        """The texts with several seeds."""
        return [text for text, variants in self.texts.items() if len(variants["likelihood"]) > 1]

    def retuned(self, text: str) -> str | None:
        """The variant with another dropout whose validation loss is the least, if any."""
        tried = {v: self.mean(text, "validation", v) for v in DROPOUTS if v in self.texts[text]}
        return min(tried, key=lambda v: tried[v].mean, default=None)

    def scale(self, variant: str, texts: list[str]) -> str:
        """The profile, and the seeds of a variant on these texts."""
        parts = {text: self.texts[text][variant] for text in texts}
        return f"profile {self.profile.name}" + (f", {results.scale(parts)}" if parts else "")


def chapter(
    profile_name: str = "auto", first_seed: int = 0, recipes: Mapping[str, Recipe] = RECIPES
) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    compute = functools.partial(run.run, recipes=recipes)
    profile, loaded = jobs.load(compute, profile_name, first_seed)
    recipe = recipes[profile.name]
    texts: dict[str, Runs] = {}
    for text, variant, n in recipe.runs:
        result = loaded[run.run_name(text, variant, n + first_seed)]
        texts.setdefault(text, {}).setdefault(variant, []).append(result)
    real: dict[str, list[Result]] = {}
    for text, n in recipe.real:
        real.setdefault(text, []).append(loaded[run.run_name(text, "real", n + first_seed)])
    return Chapter(profile, recipe, texts, real)


def seed_of(result: Result) -> int:
    """The seed of a run."""
    return result.provenance["seed"]
