"""Chapter 3's page: its results by setting, its claims, and the numbers in its prose."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from dgm.data.synthetic import MIXTURES, gaussian_mixture_2d
from dgm.measure import Interval
from dgm.papers.bre_gan import activation_patterns
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.bre_gan import run as runs
from dgm_book.chapters.bre_gan.recipe import RECIPES, Recipe
from dgm_book.chapters.bre_gan.run import CHAPTER, EXTENT, METHODS, Recipes  # noqa: F401
from dgm_book.claims import Claim, Outcome, judged, render
from dgm_book.results import Result
from dgm_book.statistics import paired_difference

FOLDER = Path(__file__).parent
TRANSIENT = 5000  # steps, in the paper's table 1
EARLY, LATE = 0.2, 0.5  # of training: before is the start, after is convergence
LABELS = {"none": "no BRE", "bre": "BRE"}
Pairs = dict[str, list[Result]]  # method -> one result per seed
Setting = tuple[str, str, str, int]  # dataset, regime, norm, width


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    recipe: Recipe
    judges: dict[str, Result]  # dataset -> its classifier
    dcgans: dict[Setting, Pairs]
    semi: Pairs
    toys: dict[str, Pairs]  # by target

    @property
    def dataset(self) -> str:
        """Of all images but one pair's."""
        return self.recipe.dataset


def chapter(profile_name: str = "auto", first_seed: int = 0, recipes: Recipes = RECIPES) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, by_name = jobs.load(runs.run, profile_name, first_seed, recipes=recipes)
    recipe = recipes[profile.name]
    images, points = runs.image_runs(recipe, first_seed), runs.toy_runs(recipe.toys, first_seed)
    dcgans = (((*r[:3], r.width), r.method, by_name[r.name]) for r in images)
    plane = ((r.target, r.method, by_name[r.name]) for r in points)
    judges = {dataset: by_name[f"{dataset}-classifier"] for dataset in recipe.images}
    semi = {m: [r for n, r in by_name.items() if f"-semi-{m}-" in n] for m in METHODS}
    return Chapter(profile, recipe, judges, jobs.grouped(dcgans), semi, jobs.grouped(plane))


def evidence(chapter: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each figure and table of the page, by its parts."""

    def pairs(group: Pairs, seeds: int | None = None) -> list[Result]:
        return [run for method in METHODS for run in group[method][:seeds]]

    own, targets = (chapter.dataset, "batch", 1), chapter.toys
    settings = chapter.dcgans.items()
    usual = {k[0]: pairs(p, 1) for k, p in settings if k[1:] == ("normal", "batch", 1)}
    return {
        "plane": {"eight": pairs(targets["eight"], 1)},
        "pairs": {"eight": pairs(targets["eight"])},
        "targets": {target: pairs(p) for target, p in targets.items()},
        "training": {k[1]: pairs(p) for k, p in settings if (k[0], *k[2:]) == own},
        "images": {setting(k): pairs(p) for k, p in settings},
        "tiles": usual,
        "labels": {"semi": pairs(chapter.semi)},
    }


def badge(chapter: Chapter, shown: str) -> str:
    """The badge of a figure or table, a key of `evidence`, from the results that it shows."""
    return results.badge(evidence(chapter)[shown], unit="pair", synthetic="points in the plane")


def setting(key: Setting) -> str:
    """How DCGANs were trained, in words."""
    return ", ".join(key[:3]) + f", width {key[3]}" * (key[3] > 1)


def final(result: Result) -> dict[str, Any]:
    """The last good measurement; of images, the one with all scores."""
    return result.values.get("final") or result.values["measured"][-1]


def over_training(result: Result, name: str) -> tuple[Tensor, Tensor]:
    """Steps (M,) and values (M,) of a measurement; those of training begin after step 0."""
    rows = [row for row in result.values["measured"] if name in row]
    steps, values = ([row[key] for row in rows] for key in ("step", name))
    return torch.tensor(steps), torch.tensor(values, dtype=torch.float64)


def value(result: Result, metric: str) -> float:
    """A metric such as "modes", at the end; or "early modes", "late modes", its mean over training.

    A run that stopped keeps its last value to the end, so that stopping early is no advantage.
    """
    when, _, name = metric.rpartition(" ")
    if not when:
        return (100 if name == "error" else 1) * final(result)[name]
    steps, values = over_training(result, name)
    planned = result.values["planned"]
    at = torch.arange(1, planned["n"] + 1) * planned["every"]
    filled = torch.stack([values[steps <= t][-1] for t in at])
    share = at / at[-1]
    early = share <= max(EARLY, float(share[0]))
    return float(filled[early if when == "early" else share > LATE].mean())


def change(pairs: Pairs, metric: str, variant: str = "bre", control: str = "none") -> Interval:
    """What BRE changes in a metric of `value`: a paired difference over seeds."""
    compared = {name: pairs[name] for name in (variant, control)}
    column = statistics.tidy(compared, functools.partial(value, metric=metric))
    return statistics.effect(column, variant, control)


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    names, eight = _names(chapter), chapter.toys["eight"]
    normal, growth, late, modes = names["normal"], names["growth"], "late class_score", "late modes"
    better = [late, "late frechet"]

    def outcome(pairs: Pairs, tests: Mapping[str, Interval], levels: dict) -> Outcome:
        n = results.scale({"": pairs["bre"]}, unit="pair") if pairs else "no pairs"
        return Outcome(tests, names, f"profile {chapter.profile.name}, {n}", levels)

    def beside(groups: dict[str, Pairs], metric: str, level: str) -> Outcome | None:
        levels = {k: _levels(pairs, level, f"{k}, ") for k, pairs in groups.items()}
        tests = {k: change(pairs, metric) for k, pairs in groups.items()}
        return outcome(next(iter(groups.values())), tests, levels) if groups else None

    changes = {
        "pieces": (eight, ["pieces_h2", "pieces_h3", "pieces_h4"], modes),
        "steadier_in_the_plane": (eight, [modes, "late high_quality"], modes),
        "codes_less_alike": (normal, ["pair_fake", "pair_between", "pair_real"], late),
        "slower_at_first": (normal, ["early class_score"], late),
        "normal_rate": (normal, better, late),
        "aggressive_rate": (names["aggressive"], better, late),
        "cifar": (names["colour"], ["class_score", "frechet"], late),
        "few_labels": (chapter.semi, ["error"], "error"),
    }
    outcomes = {
        id_: outcome(p, {m: change(p, m) for m in metrics if p}, {"each": _levels(p, level)})
        for id_, (p, metrics, level) in changes.items()
    } | {
        "more_modes_of_other_targets": beside(names["targets"], modes, modes),
        "beside_other_methods": beside(names["others"], "frechet", late),
        "idle_pair_term": outcome(eight, {"all": names["idle"]}, {}),
        "gain_by_width": outcome(
            *((normal, {"all": growth}) if growth else ({}, {})), {"each": _levels(normal, late)}
        ),
    }
    steps = float(names["sizes"].regimes["normal"].steps)
    levels = {"each": {"steps": steps}}
    outcomes["normal_rate"] = outcomes["normal_rate"]._replace(levels=levels)
    return judged(FOLDER / "claims.yaml", CHAPTER, outcomes)


def _levels(pairs: Pairs, metric: str, prefix: str = "") -> dict[str, float]:
    """The mean of a metric over seeds, without BRE and with it."""
    methods = [method for method in METHODS if method in pairs]
    sums = {m: sum(value(r, metric) for r in pairs[m]) for m in methods}
    return {prefix + LABELS[m]: sums[m] / len(pairs[m]) for m in methods}


def texts(chapter: Chapter, section: str) -> dict[str, str]:
    """The numbers in the prose of a section: "plane", "images" or "labels"."""
    templates = yaml.safe_load((FOLDER / "texts.yaml").read_text("utf-8"))[section]
    return {name: render(template, _names(chapter)) for name, template in templates.items()}


def _names(chapter: Chapter) -> dict[str, Any]:
    """What the templates of claims and texts name."""
    first, dcgans, score = chapter.dataset, chapter.dcgans, "late class_score"
    aggressive = dcgans[(first, "aggressive", "batch", 1)]
    widths = {k[3]: p for k, p in sorted(dcgans.items()) if k[:3] == (first, "normal", "batch")}
    gains = {
        w: [value(a, score) - value(b, score) for a, b in zip(p["bre"], p["none"], strict=True)]
        for w, p in widths.items()
    }
    errors = [over_training(run, "error")[1][1:] for m in METHODS for run in chapter.semi[m]]
    return {
        "chapter": chapter,
        "sizes": chapter.recipe.images[first],
        "change": change,
        "pair_term": pair_term,
        "idle": statistics.mean_over_seeds(
            [pair_term({"bre": [run]}) for run in chapter.toys["eight"]["bre"]]
        ),
        "targets": {t: pairs for t, pairs in chapter.toys.items() if t != "eight"},
        "class_scores": class_scores,
        "early": EARLY,
        "transient": TRANSIENT,
        "normal": widths[1],
        "aggressive": aggressive,
        "others": {norm: dcgans[(first, "normal", norm, 1)] for norm in ("spectral", "r1")},
        "colour": dcgans.get(("cifar10", "normal", "batch", 1), {}),
        "widths": widths,
        "growth": paired_difference(gains[max(gains)], gains[1]) if len(gains) > 1 else None,
        "judge": chapter.judges[first].values,
        "stopped": {m: sum(bool(r.values["stopped"]) for r in aggressive[m]) for m in METHODS},
        "least_error": float(torch.stack([values.min() for values in errors]).mean()),
        "last_error": float(torch.stack([values[-1] for values in errors]).mean()),
    }


def class_scores(pairs: Pairs) -> str:
    """The final class scores of the first seed, without and with BRE."""
    return " and ".join(f"{final(pairs[m][0])['class_score']:.2f}" for m in METHODS)


def pair_term(pairs: Pairs, method: str = "bre") -> float:
    """The pair term's mean over seeds and training, summed over its two sets of points."""
    name = "training_activation_correlation"
    return float(torch.cat([over_training(run, name)[1] for run in pairs[method]]).mean())


def page_targets() -> list[dict[str, Any]]:
    """The mixtures of the playground."""
    labels = dict.fromkeys(MIXTURES) | {"eight": "eight modes"}
    mixtures = {name: gaussian_mixture_2d(name, 1) for name in MIXTURES}
    return [
        {"name": k, "label": labels[k] or k, "centres": m.centres, "sigma": m.sigma}
        for k, m in mixtures.items()
    ]


def toy_plane(result: Result, layer: int = 1, grid: int = 200) -> dict[str, Tensor]:
    """A toy's samples, and its patterns in one layer as numbers (grid, grid), rows along x."""
    gan = runs.toy_gan(result)
    patterns = activation_patterns(gan.discriminator, runs.plane_points(grid), [layer])
    _, numbers = patterns.unique(dim=0, return_inverse=True)
    return {"patterns": numbers.view(grid, grid), "samples": runs.toy_samples(gan)[:400]}


def columns(pairs: Pairs, name: str) -> dict[str, list[float]]:
    """A final measurement of every seed, without and with BRE."""
    return {LABELS[m]: [final(run)[name] for run in pairs[m]] for m in METHODS}
