"""Chapter 4's page: the results that it shows, its claims, and its sentences with numbers."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from dgm import published as published_results
from dgm import steering
from dgm.papers.controllable_text_vae import LossWeights
from dgm.simplex_steering import SteeringModel
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.controllable_text_vae import marks, rewriter_results
from dgm_book.chapters.controllable_text_vae import recipe as plan
from dgm_book.chapters.controllable_text_vae.codes import WALK
from dgm_book.chapters.controllable_text_vae.recipe import MANIPULATIONS, Recipe
from dgm_book.chapters.controllable_text_vae.rewriter_results import narrow_tensors, plain_values
from dgm_book.chapters.controllable_text_vae.run import run
from dgm_book.chapters.controllable_text_vae.steering import from_page
from dgm_book.chapters.controllable_text_vae.training import CHAPTER, own_sentences, setup
from dgm_book.claims import Claim, Outcome, judged, render
from dgm_book.results import Result

_HERE = Path(__file__).parent
_YAML = yaml.safe_load((_HERE / "texts.yaml").read_text("utf-8"))
_TEXTS = _YAML["texts"]


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    recipe: Recipe
    scale: str
    judges: Result  # of the main data set
    controls: dict[str, Result]  # by data set
    steering: dict[int, list[Result]]  # by number of labels, one result per seed
    simplex: list[Result]
    released: Result
    ordinary: list[Result]
    others: dict[str, dict[str, Result]]  # data set -> "simplex", "ordinary"
    page: Result
    walk: Result

    @property
    def labels(self) -> int:
        """Labels of the model in the page."""
        return self.recipe.steering.labels[0]


def chapter(
    profile_name: str = "auto", first_seed: int = 0, recipe: Recipe | None = None
) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, by_name = jobs.load(run, profile_name, first_seed, recipe=recipe)
    recipe = setup(profile, recipe).recipe
    n_seeds, main, others = profile.n_seeds, recipe.dataset, recipe.other_datasets

    def seeds(name: str, n: int = 1) -> list[Result]:
        return [by_name[f"{name}-seed{i}"] for i in range(first_seed, first_seed + n)]

    n = by_name["controls"].values["source copy"]["n"]
    return Chapter(
        profile,
        recipe,
        f"{n} test sentences, {n_seeds} seed{'s' * (n_seeds > 1)}",
        by_name[f"judges-{main}-seed0"],
        {main: by_name["controls"], **{name: by_name[f"{name}-controls"] for name in others}},
        {k: seeds(f"steering-{k}", n_seeds) for k in recipe.steering.labels},
        seeds("simplex", n_seeds),
        seeds("released")[0],
        seeds("ordinary", n_seeds),
        {x: {k: seeds(f"{x}-{k}")[0] for k in ("simplex", "ordinary")} for x in others},
        seeds("page")[0],
        seeds("walk")[0],
    )


def evidence(chapter: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each figure, table and widget, by its parts."""
    codes = {"simplex": chapter.simplex, "ordinary VAE": chapter.ordinary}
    first = {name: part[:1] for name, part in codes.items()}
    lines = {f"steering, {n} labels": part for n, part in chapter.steering.items()}
    return {
        "switch": {"steering": [chapter.page]},
        "cliff": {"walk": [chapter.walk], **first},
        "histograms": first,
        "mapper": codes,
        "frontier": {**lines, **codes},
        "other data": {
            f"{data}, {kind}": [result]
            for data, kinds in chapter.others.items()
            for kind, result in kinds.items()
        },
    }


def badge(chapter: Chapter, key: str) -> str:
    """The badge of a key of `evidence`, with its size by texts.yaml."""
    return results.badge(evidence(chapter)[key], render(_YAML["sizes"][key], numbers(chapter)))


def over_seeds(runs: Sequence[Result], path: str) -> Tensor:
    """One number of each seed's values, (S,), by a path of `statistics.read`."""
    return torch.tensor([statistics.read(run, path) for run in runs], dtype=torch.float64)


def format_seeds(values: Tensor, decimals: int = 1) -> str:
    """Values of some seeds in words: all of them, since three are too few for an interval."""
    return " / ".join(f"{v:.{decimals}f}" for v in values.tolist())


def chosen(result: Result) -> dict[str, Any]:
    """A steering result's measurements on the test set, at the point that validation chose."""
    return result.values["test"][result.values["chosen"]]


def numbers(chapter: Chapter) -> dict[str, Any]:
    """What the templates of claims and prose name; tensors have one value per seed."""
    simplex, ordinary = chapter.simplex, chapter.ordinary
    accuracy = {k: over_seeds(ordinary, f"manipulations/{k}/accuracy/mean") for k in MANIPULATIONS}
    best = max(accuracy, key=lambda name: float(accuracy[name].mean()))
    values: dict[str, Any] = {
        "c": chapter,
        "seeds": format_seeds,
        "steps": chapter.recipe.codes.steps,
        "ours": chapter.recipe.codes.weights,
        "standard": LossWeights(),
        "least_bleu": plan.LEAST_BLEU,
        "released": chapter.released.values,
        "page": chapter.page.values,
        "judges": chapter.judges.values["test"],
        "swap": chapter.controls[chapter.recipe.dataset].values["word swap"],
        "n_seeds": len(simplex),
        "n_validation": simplex[0].tensors["labels"].numel(),
        "collisions": sum(r.values["vertices"]["collision"] for r in simplex),
        "best": best,
        "best_accuracy": accuracy[best],
        "best_bleu": over_seeds(ordinary, f"manipulations/{best}/bleu_source/mean"),
        # Sentences that turn from negative to positive between the two ends of a walk.
        "turned": {
            kind: int(((read[:, 0] < 0.5) & (read[:, -1] > 0.5)).sum())
            for kind in ("ordinary", "simplex")
            for read in [chapter.walk.tensors[f"{kind}.reading"]]
        },
        "mapper": [("ordinary VAE", _pieces(ordinary)), ("simplex", _pieces(simplex))],
    }
    for name, (kind, path) in _YAML["numbers"].items():
        values[name] = over_seeds(ordinary if kind == "ordinary" else simplex, path)
    # A code that the decoder hardly reads has no islands and no water.
    least = torch.cat([values["own_ordinary"], values["own_simplex"]]).min()
    values["reads"] = bool(least >= plan.LEAST_BLEU)
    return values | {k: render(_TEXTS[k], values) for k in ("unread", "kl_weights")}


def _pieces(runs: Sequence[Result]) -> list[tuple[str, Tensor]]:
    """Pieces of Mapper graphs at the coarsest and the finest slices, means over seeds."""
    slices = list(runs[0].values["mapper"])
    ends = slices[0], slices[-1]
    return [(r, over_seeds(runs, f"mapper/{r}/n_components").mean()) for r in ends]


def prose_values(chapter: Chapter) -> dict[str, str]:
    """Sentences and numbers of the page that the results decide."""
    values = numbers(chapter) | {"hand": marks.numbers(), "percent": lambda x: f"{100 * x:.0f}"}
    return {name: render(template, values) for name, template in _TEXTS.items()}


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    v, mean = numbers(chapter), statistics.mean_over_seeds
    swap = {k: v["swap"][k]["mean"] for k in ("accuracy", "bleu_reference")}
    share = v["page"]["unchanged_by_int8"] / (n := v["page"]["n"])
    unchanged = statistics.interval(share, math.sqrt(share * (1 - share) / n), n)
    released = over_seeds([chapter.released], "dispersion/spread")
    better = {"accuracy": v["accuracy"] - v["best_accuracy"], "BLEU": v["bleu"] - v["best_bleu"]}
    competitive = {"accuracy": v["accuracy"] - swap["accuracy"]}
    competitive["BLEU"] = v["reference"] - swap["bleu_reference"]
    measured = {
        "a_factor_leaves_the_codes": {"extremum": v["extremum"]},
        "a_vertex_stays_near": {
            "vertex": v["vertex"],
            "minus_extremum": v["vertex"] - v["extremum"],
        },
        "vertices_mean_sentiment": {"purity": v["purity"]},
        "released_weights_fill_the_simplex": {"spread": released},
        "better_than_unsupervised": better,
        "competitive_with_supervised": competitive,
        "topics_switch_in_mid_sentence": {},
    }
    own = {"ordinary": float(v["own_ordinary"].mean()), "simplex": float(v["own_simplex"].mean())}
    levels = dict.fromkeys(measured, own) | {
        "vertices_mean_sentiment": {
            f"{chapter.recipe.dataset}, simplex": float(v["purity"].mean())
        },
        "released_weights_fill_the_simplex": {
            "as released": v["released"]["reconstruction"]["bleu_source"]["mean"]
        },
    }
    outcomes = {
        id_: Outcome({k: mean(x) for k, x in tests.items()}, v, "", {"each": levels[id_]})
        for id_, tests in measured.items()
    }
    outcomes["page_model_is_the_measured"] = Outcome({"all": unchanged}, v)
    outcomes |= {f"steered_with_{n}_labels": _steering_outcome(chapter, n) for n in plan.TARGETS}
    scale = f"profile {chapter.profile.name}, {chapter.recipe.dataset}, {chapter.scale}"
    return judged(_HERE / "claims.yaml", CHAPTER, outcomes, scale)


def _steering_outcome(chapter: Chapter, n_labels: int) -> Outcome:
    """Each measure at the points that validation chose, over seeds; its worst seed in words."""
    values: dict[str, Any] = {"n_labels": n_labels, "n_seeds": len(chapter.simplex), "worst": None}
    if n_labels not in chapter.steering:
        return Outcome({}, values)
    points = [chosen(r) for r in chapter.steering[n_labels]]
    measures = ("accuracy", "bleu_source", "bleu_reference", "perplexity")
    sources = chapter.controls[chapter.recipe.dataset].values["source copy"]["perplexity"]["mean"]
    by_seed = {k: [p[k]["mean"] for p in points] for k in measures}
    by_seed["perplexity"] = [x / sources for x in by_seed["perplexity"]]
    worst = {k: (max if k == "perplexity" else min)(x) for k, x in by_seed.items()}
    goals = dict(zip(measures, plan.TARGETS[n_labels], strict=False))
    tests = {k: statistics.mean_over_seeds(by_seed[k]) for k in goals}
    level = {f"{n_labels} labels": sum(by_seed["accuracy"]) / len(points)}
    return Outcome(tests, values | {"worst": worst}, "", {"each": level})


def page_steering(chapter: Chapter) -> tuple[SteeringModel, dict[str, Any], list[dict]]:
    """The model that the page runs, its arrays, and golden rewrites by PyTorch."""
    page = chapter.page
    model = from_page(page.tensors, page.values["words"])
    options = {"margins": page.values["ladder"], "threshold": page.values["threshold"]}
    golden = []
    for i, sentence in enumerate(own_sentences(chapter.recipe.dataset)):
        weights = [0.0, 0.0, 1.0] if i % 2 else [1.0, 0.0, 0.0]
        rewrite = model.rewrite(sentence, weights, **options)
        golden.append({"sentence": sentence, "weights": weights, "rewrite": rewrite, **options})
    arrays = {k: v.numpy() for k, v in model.state_dict().items() if "logvar" not in k}
    return model, arrays, golden


class PageRewriting(NamedTuple):
    """The published rewriters, as the page's widget takes them, and what they rest on."""

    attributes: list[dict[str, Any]]  # name, label, examples, and what `RewriterWeights` takes
    badge: str


def page_rewriting(names: Sequence[str] = steering.MODELS) -> PageRewriting:
    """The attributes whose rewriters are published, with PyTorch's rewrites of their examples."""
    texts = yaml.safe_load((_HERE / "rewriting.yaml").read_text("utf-8"))
    attributes, evidence = [], {}
    for name in names:
        if not (published := _published_rewriter(name)):
            continue
        model: Any = published[0]
        evidence[texts[name]["label"]] = [published[1]]
        golden = []
        for example in texts[name]["examples"]:
            ends = torch.eye(len(model.vertices))
            weights = example.get("target") or ends[-example["position"]].tolist()
            rewrites = [r.text for r in steering.candidates(model, example["text"], weights)]
            golden.append({"text": example["text"], "weights": weights, "rewrites": rewrites})
        if isinstance(model, steering.CaptionModel):
            tensors, values = {}, {"bank": model.bank.parts, "vertices": model.vertices}
        else:
            tensors = {k: v.numpy() for k, v in narrow_tensors(model).items()}
            values = plain_values(model)
        weights = {"values": values, "tensors": tensors, "golden": golden}
        attributes.append({"name": name, **texts[name], "weights": weights})
    return PageRewriting(attributes, results.badge(evidence, unit="model"))


def _published_rewriter(name: str) -> tuple[Any, Result] | None:
    """The model and where it comes from."""
    for folder in filter(Path.exists, published_results.folders(rewriter_results.FOLDER)):
        records = json.loads((folder / results.RECORDS).read_text("utf-8"))
        if record := records.get(f"{name}-seed0"):
            return steering.load(name), Result(name, {}, {}, record["provenance"], True)
    return None


def page_walks(chapter: Chapter) -> list[dict[str, Any]]:
    """The two walks with their densities, for the widget that shows them."""
    walk, share = chapter.walk, (WALK - WALK[0]) / (WALK[-1] - WALK[0])
    vae_axis = "sentiment dimension, in standard deviations from its mean"
    simplex_axis = "weight of the positive vertex, the rest on the negative one"
    names = {"log_mean": "log_of_mean", "mean_log": "mean_of_logs"}

    def densities(result: Result, place: str) -> dict[str, Any]:
        return {key: result.tensors[f"{place}.{name}"].numpy() for key, name in names.items()}

    return [
        {
            "label": label,
            "axis": axis,
            "steps": steps.tolist(),
            "sentences": walk.values[kind],
            **densities(walk, kind),
            "original": densities(runs[0], "original"),
            "reading": walk.tensors[f"{kind}.reading"].numpy(),
            "baseline": kind == "ordinary",
        }
        for kind, runs, label, axis, steps in (
            ("ordinary", chapter.ordinary, "ordinary VAE", vae_axis, WALK),
            ("simplex", chapter.simplex, "simplex", simplex_axis, share),
        )
    ]
