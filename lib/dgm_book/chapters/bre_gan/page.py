"""Chapter 3's page: its results by setting, its claims, and the numbers in its prose."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from dgm.data.synthetic import MIXTURES, gaussian_mixture_2d
from dgm.measure import Interval
from dgm.papers.bre_gan import activation_patterns
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.bre_gan import images, toys
from dgm_book.chapters.bre_gan.recipe import RECIPES, Recipe
from dgm_book.chapters.bre_gan.run import METHODS, Recipes, context, run, verify  # noqa: F401
from dgm_book.chapters.bre_gan.training import CHAPTER
from dgm_book.claims import Claim, Outcome, judged, render
from dgm_book.results import Result
from dgm_book.statistics import all_hold, is_above_zero, paired_difference

FOLDER = Path(__file__).parent
TRANSIENT = 5000  # steps, in the paper's table 1
EARLY, LATE = 0.2, 0.5  # of training: before is the start, after is convergence
BATCH = ("normal", "batch")
LABELS = {"none": "no BRE", "bre": "BRE"}
EXTENT = toys.EXTENT
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

    def batch(self, regime: str) -> Pairs:
        """The DCGANs with batch normalisation."""
        return self.dcgans[(self.dataset, regime, "batch", 1)]


def chapter(profile_name: str = "auto", first_seed: int = 0, recipes: Recipes = RECIPES) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    everything = functools.partial(run, recipes=recipes)
    profile, by_name = jobs.load(everything, profile_name, first_seed)
    recipe = recipes[profile.name]
    dcgans: dict[Setting, Pairs] = {}
    for r in images.runs(recipe):
        pairs = dcgans.setdefault((*r[:3], r.width), {})
        pairs.setdefault(r.method, []).append(by_name[r._replace(seed=r.seed + first_seed).name])
    plane: dict[str, Pairs] = {}
    for r in toys.runs(recipe.toys):
        pairs = plane.setdefault(r.target, {})
        pairs.setdefault(r.method, []).append(by_name[r._replace(seed=r.seed + first_seed).name])
    judges = {dataset: by_name[f"{dataset}-classifier"] for dataset in recipe.images}
    semi = {m: [r for n, r in by_name.items() if f"-semi-{m}-" in n] for m in METHODS}
    return Chapter(profile, recipe, judges, dcgans, semi, plane)


def evidence(chapter: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each figure and table of the page, by its parts."""
    toys = {target: p["none"] + p["bre"] for target, p in chapter.toys.items()}
    trained = {key: p["none"] + p["bre"] for key, p in chapter.dcgans.items()}
    batch = (chapter.dataset, "batch", 1)
    return {
        "plane": {"eight": [chapter.toys["eight"][m][0] for m in METHODS]},
        "pairs": {"eight": toys["eight"]},
        "targets": toys,
        "training": {k[1]: runs for k, runs in trained.items() if (k[0], *k[2:]) == batch},
        "images": {setting(key): runs for key, runs in trained.items()},
        "tiles": {
            key[0]: [p[m][0] for m in METHODS]
            for key, p in chapter.dcgans.items()
            if key[1:] == ("normal", "batch", 1)
        },
        "labels": {"semi": chapter.semi["none"] + chapter.semi["bre"]},
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
    """Steps (M,) and values (M,) of a measurement; those of training begin after the first steps."""
    rows = [row for row in result.values["measured"] if name in row]
    steps, values = ([row[key] for row in rows] for key in ("step", name))
    return torch.tensor(steps), torch.tensor(values, dtype=torch.float64)


def value(result: Result, metric: str) -> float:
    """A metric such as "modes", at the end; or "early modes", "late modes", its mean over training.

    Early is the start of training and late its second half. A run that stopped keeps its last value
    to the end, so that stopping early is no advantage.
    """
    when, _, name = metric.rpartition(" ")
    if not when:
        return final(result)[name]
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
    frame = statistics.tidy(compared, {metric: functools.partial(value, metric=metric)})
    return statistics.effect(frame, metric, variant, control)


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    outcomes = _plane_outcomes(chapter) | _image_outcomes(chapter) | _other_outcomes(chapter)
    return judged(FOLDER / "claims.yaml", CHAPTER, outcomes)


def _outcome(chapter: Chapter, pairs: Pairs, holds: bool | None, **values: Any) -> Outcome:
    n = results.scale({"": pairs["bre"]}, unit="pair") if pairs else "no pairs"
    values["dataset"] = chapter.dataset
    return Outcome(holds, values, f"profile {chapter.profile.name}, {n}")


def _is_below_zero(interval: Interval) -> bool | None:
    return None if interval.n == 1 else interval.high < 0


def _plane_outcomes(chapter: Chapter) -> dict[str, Outcome]:
    eight = chapter.toys["eight"]
    outcome = functools.partial(_outcome, chapter, eight)
    pieces = {name: change(eight, name) for name in ("pieces_h2", "pieces_h3", "pieces_h4")}
    late = {name: change(eight, f"late {name}") for name in ("modes", "high_quality")}
    term, most = pair_term(eight), 0.05
    return {
        "pieces": outcome(all_hold(map(is_above_zero, pieces.values())), **pieces),
        "steadier_in_the_plane": outcome(all_hold(map(is_above_zero, late.values())), **late),
        "idle_pair_term": outcome(round(term, 4) < most, pair_term=term, most=most),
    }


def _image_outcomes(chapter: Chapter) -> dict[str, Outcome]:
    normal, aggressive = chapter.batch("normal"), chapter.batch("aggressive")
    alike = {name: change(normal, name) for name in ("pair_fake", "pair_between", "pair_real")}
    early = change(normal, "early class_score")
    outcomes = {
        "codes_less_alike": _outcome(
            chapter, normal, all_hold(map(_is_below_zero, alike.values())), **alike
        ),
        "slower_at_first": _outcome(
            chapter, normal, _is_below_zero(early), score=early, early=EARLY
        ),
    }
    for regime, pairs in (("normal", normal), ("aggressive", aggressive)):
        score, distance = change(pairs, "late class_score"), change(pairs, "late frechet")
        stopped = {m: sum(r.values["stopped"] is not None for r in pairs[m]) for m in METHODS}
        outcomes[f"{regime}_rate"] = _outcome(
            chapter,
            pairs,
            all_hold([is_above_zero(score), _is_below_zero(distance)]),
            score=score,
            distance=distance,
            steps=chapter.recipe.images[chapter.dataset].regimes[regime].steps,
            transient=TRANSIENT,
            stopped=stopped,
            n=len(pairs["bre"]),
        )
    return outcomes


def _other_outcomes(chapter: Chapter) -> dict[str, Outcome]:
    first, outcome = chapter.dataset, functools.partial(_outcome, chapter)
    widths = {k[3]: p for k, p in sorted(chapter.dcgans.items()) if k[:3] == (first, *BATCH)}
    gains = {width: change(pairs, "late class_score") for width, pairs in widths.items()}
    growth, widest = None, max(widths)
    if widest > 1:
        growth = paired_difference(_gains(widths[widest]), _gains(widths[1]))
    others = {norm: chapter.dcgans[(first, "normal", norm, 1)] for norm in ("spectral", "r1")}
    colour = chapter.dcgans.get(("cifar10", *BATCH, 1), {})
    errors = statistics.tidy(chapter.semi, {"points": lambda run: 100 * final(run)["error"]})
    error = statistics.effect(errors, "points", "bre", "none")
    return {
        "gain_by_width": outcome(
            widths[1] if growth else {},
            growth and is_above_zero(growth),
            gains=gains,
            widest=widest,
            growth=growth,
        ),
        "beside_other_methods": outcome(
            others["r1"],
            None,
            distances={norm: change(pairs, "frechet") for norm, pairs in others.items()},
            scores={norm: class_scores(pairs) for norm, pairs in others.items()},
            real=chapter.judges[first].values["real"]["class_score"],
        ),
        "cifar": outcome(
            colour,
            None,
            score=change(colour, "class_score") if colour else None,
            distance=change(colour, "frechet") if colour else None,
            steps=chapter.recipe.images["cifar10"].regimes["normal"].steps if colour else None,
        ),
        "few_labels": outcome(
            chapter.semi, _is_below_zero(error), error=error, labels=chapter.recipe.n_labelled
        ),
    }


def _gains(pairs: Pairs) -> list[float]:
    """What BRE adds to the late class score, pair by pair."""
    late = [[value(run, "late class_score") for run in pairs[m]] for m in ("bre", "none")]
    return [a - b for a, b in zip(*late, strict=True)]


def class_scores(pairs: Pairs) -> str:
    """The final class scores of the first seed, without and with BRE."""
    return " and ".join(f"{final(pairs[m][0])['class_score']:.2f}" for m in METHODS)


def pair_term(pairs: Pairs, method: str = "bre") -> float:
    """The pair term's mean over seeds and training, summed over its two sets of points."""
    name = "training_activation_correlation"
    return float(torch.cat([over_training(run, name)[1] for run in pairs[method]]).mean())


def texts(chapter: Chapter, section: str) -> dict[str, str]:
    """The numbers in the prose of a section: "plane", "images" or "labels"."""
    of_section = {"plane": _plane_values, "images": _image_values, "labels": _label_values}
    values = of_section[section](chapter)
    templates = yaml.safe_load((FOLDER / "texts.yaml").read_text("utf-8"))[section]
    return {name: render(template, values) for name, template in templates.items()}


def _plane_values(chapter: Chapter) -> dict[str, Any]:
    eight, ring = chapter.toys["eight"], chapter.toys.get("ring")
    tight = "bre-tight" in eight
    return {
        "pair_term": pair_term(eight),
        "tight_pair_term": pair_term(eight, "bre-tight") if tight else None,
        "tight_modes": change(eight, "modes", "bre-tight", "bre") if tight else None,
        "ring_modes": change(ring, "modes") if ring else None,
    }


def _image_values(chapter: Chapter) -> dict[str, Any]:
    normal, aggressive = chapter.batch("normal"), chapter.batch("aggressive")
    own = chapter.recipe.images[chapter.dataset]
    steps = {regime: training.steps for regime, training in own.regimes.items()}
    return {
        "dataset": chapter.dataset,
        "channels": own.discriminator["channels"],
        "steps": steps,
        **chapter.judges[chapter.dataset].values,
        "pair_fake": change(normal, "pair_fake"),
        "pair_real": change(normal, "pair_real"),
        "late_normal": change(normal, "late frechet"),
        "late_aggressive": change(aggressive, "late frechet"),
        "early": change(normal, "early class_score"),
        "r1_scores": class_scores(chapter.dcgans[(chapter.dataset, "normal", "r1", 1)]),
        "longest": max(steps.values()),
        "transient": TRANSIENT,
    }


def _label_values(chapter: Chapter) -> dict[str, Any]:
    """Errors are means over both methods and all seeds."""
    errors = [over_training(run, "error")[1][1:] for m in METHODS for run in chapter.semi[m]]
    return {
        "labels": chapter.recipe.n_labelled,
        "least": float(torch.stack([run.min() for run in errors]).mean()),
        "last": float(torch.stack([run[-1] for run in errors]).mean()),
    }


def page_targets() -> list[dict[str, Any]]:
    """The mixtures of the playground."""
    mixtures = {name: gaussian_mixture_2d(name, 1) for name in MIXTURES}
    return [
        {
            "name": name,
            "label": "eight spots" if name == "eight" else name,
            "centres": mixture.centres,
            "sigma": mixture.sigma,
        }
        for name, mixture in mixtures.items()
    ]


def plane_of(result: Result, layer: int = 1, grid: int = 200) -> dict[str, Tensor]:
    """A toy's samples, and its patterns in one layer as numbers (grid, grid), rows along x."""
    gan = toys.toy_gan(result)
    line = torch.linspace(-EXTENT, EXTENT, grid)
    points = torch.cartesian_prod(line, line)
    patterns = activation_patterns(gan.discriminator, points, [layer])
    _, numbers = patterns.unique(dim=0, return_inverse=True)
    return {"patterns": numbers.view(grid, grid), "samples": toys.samples(gan)[:400]}


def columns(pairs: Pairs, name: str) -> dict[str, list[float]]:
    """A final measurement of every seed, without and with BRE."""
    return {LABELS[m]: [final(run)[name] for run in pairs[m]] for m in METHODS}
