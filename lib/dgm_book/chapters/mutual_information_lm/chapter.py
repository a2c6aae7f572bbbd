"""All results of chapter 2 at one profile, what they say over seeds, and the rules of its claims.

The claims' words are in claims.yaml.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from dgm.measure import Interval
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.mutual_information_lm import measure, run
from dgm_book.chapters.mutual_information_lm import recipe as plan
from dgm_book.chapters.mutual_information_lm.recipe import DROPOUTS, NAMES, RECIPES, Recipe
from dgm_book.claims import Claim, Outcome, judged
from dgm_book.results import Result
from dgm_book.statistics import (
    all_hold,
    differs_from_zero,
    format_difference,
    is_above_zero,
    is_below_zero,
    mean_over_seeds,
)

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
    texts: dict[str, Runs] = defaultdict(dict)
    real: dict[str, list[Result]] = defaultdict(list)
    for text, variant, n in recipe.runs:
        name = run.run_name(text, variant, n + first_seed)
        texts[text].setdefault(variant, []).append(loaded[name])
    for text, n in recipe.real:
        real[text].append(loaded[run.run_name(text, "real", n + first_seed)])
    return Chapter(profile, recipe, dict(texts), dict(real))


def seed_of(result: Result) -> int:
    """The seed of a run."""
    return result.provenance["seed"]


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    largest = max(abs(row[4] - row[3]) for row in quadrature())
    gains = {
        f"{NAMES[text]}, against {control}": gain
        for text in chapter.tested()
        for control, gain in chapter.control_gains(text).items()
    }
    outcomes = {
        "bound_is_exact": Outcome(largest < 1e-3, {"largest": largest}, "exact"),
        "states_tell_more": _states_tell_more(chapter),
        "bound_rises": _changes_everywhere(chapter, "bound"),
        "written_information_rises": _changes_everywhere(chapter, "written"),
        "likelihood_improves": _changes_everywhere(chapter, "nll", lower=True),
        "second_phase_improves": _second_phase_improves(chapter),
        "quality_improves": _changes_everywhere(chapter, "reverse nll", lower=True),
        "pairs_matter": _all_change(chapter, gains, chapter.tested(), lower=True),
        "padding_matters": _padding_matters(chapter),
    }
    return judged(Path(__file__).with_name("claims.yaml"), plan.CHAPTER, outcomes)


def _states_tell_more(chapter: Chapter) -> Outcome:
    """On the chain the bound comes near the exact value, and the critic's gradient did it."""
    bounds, gain = chapter.values("chain", "bound"), chapter.change("chain", "bound")
    exact, bound = chapter.exact(), mean_over_seeds(bounds)
    least, reached = min(bounds) / exact, plan.REACHED
    numbers = {"name": NAMES["chain"], "bound": bound, "exact": exact, "least": least}
    holds = all_hold([least >= reached, is_above_zero(gain)])
    scale = chapter.scale("phase I", ["chain"])
    return Outcome(holds, numbers | {"gain": gain, "reached": reached}, scale)


def _changes_everywhere(chapter: Chapter, metric: str, lower: bool = False) -> Outcome:
    """Phase I changes a measurement beyond the interval on every text with several seeds."""
    texts = [t for t in chapter.tested() if not math.isnan(chapter.values(t, metric)[0])]
    gains = {NAMES[text]: chapter.change(text, metric) for text in texts}
    return _all_change(chapter, gains, texts, lower)


def _all_change(
    chapter: Chapter, gains: Mapping[str, Interval], texts: list[str], lower: bool
) -> Outcome:
    decimals = 4 if lower else 3
    lines = [f"{name} {format_difference(x, decimals, 'seed')}" for name, x in gains.items()]
    holds = all_hold(map(is_below_zero if lower else is_above_zero, gains.values()))
    return Outcome(holds, {"gains": lines}, chapter.scale("phase I", texts))


def _second_phase_improves(chapter: Chapter) -> Outcome:
    """On the main text phase II beats phase I in both."""
    main = chapter.main
    if "phase II" not in chapter.texts[main]:
        return Outcome(None, {"loss": None}, chapter.scale("phase I", [main]))
    loss, rise = (chapter.change(main, x, "phase II", "phase I") for x in ("nll", "written"))
    numbers = {"name": NAMES[main], "loss": loss, "written": rise}
    holds = all_hold([is_below_zero(loss), is_above_zero(rise)])
    return Outcome(holds, numbers, chapter.scale("phase II", [main]))


def _padding_matters(chapter: Chapter) -> Outcome:
    """Reading the padding changes bound or loss on a text with more than two seeds."""
    changes = {text: chapter.padding_changes(text) for text in chapter.texts}
    changes = {text: pair for text, pair in changes.items() if pair}
    lines = [
        f"{NAMES[text]}, bound {format_difference(bound, 3, 'seed')} nats, loss "
        f"{format_difference(loss, 4, 'seed')} nats per token"
        for text, (bound, loss) in changes.items()
    ]
    differs = [any(map(differs_from_zero, x)) for x in changes.values() if x[0].n > 2]
    holds = any(differs) if differs else None
    return Outcome(holds, {"changes": lines}, chapter.scale("padding read", list(changes)))


def quadrature(
    correlations: tuple[float, ...] = (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99), n_nodes: int = 240
) -> list[list[float]]:
    """Correlated Gaussians under the best critic: correlation, L_D, JSD, exact I, the bound (1).

    By Gauss and Hermite's rule over the difference and the sum of the two, which are independent.
    """
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(n_nodes))
    x, z = torch.cartesian_prod(nodes, nodes).T
    share = torch.outer(*[weights / weights.sum()] * 2).flatten()
    rows = []
    for rho in correlations:
        joint = best_critic(x, rho * x + math.sqrt(1 - rho * rho) * z, rho)
        loss = float(
            (share * softplus(-joint)).sum() + (share * softplus(best_critic(x, z, rho))).sum()
        )
        # E e^T is 1; a product rule gets its tail wrong, so the bound is taken on the joint's grid.
        bound = float((share * joint).sum())
        rows.append([rho, loss, math.log(2) - loss / 2, -0.5 * math.log1p(-rho * rho), bound])
    return rows


def best_critic(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """The logarithm of the density ratio of unit Gaussians with that correlation."""
    quadratic = rho**2 * (x * x + y * y) - 2 * rho * x * y
    return -0.5 * math.log1p(-rho * rho) - quadratic / (2 * (1 - rho * rho))
