"""Chapter 4's page: the results that it shows, its claims, and its sentences with numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from dgm.measure import Interval
from dgm.papers.controllable_text_vae import LossWeights
from dgm.steering import SteeringModel
from dgm_book import jobs, profiles, results
from dgm_book.chapters.controllable_text_vae.codes import WALK
from dgm_book.chapters.controllable_text_vae.recipe import (
    LEAST_BLEU,
    MANIPULATIONS,
    TARGETS,
    Recipe,
)
from dgm_book.chapters.controllable_text_vae.run import context, own_sentences, run, verify
from dgm_book.chapters.controllable_text_vae.steering import from_page, page_arrays
from dgm_book.chapters.controllable_text_vae.training import CHAPTER, setup
from dgm_book.claims import Claim, Outcome, judged, render
from dgm_book.results import Result

__all__ = ["chapter", "claims", "context", "run", "verify"]

_HERE = Path(__file__).parent
_TEXTS = yaml.safe_load((_HERE / "texts.yaml").read_text("utf-8"))


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

    @property
    def main_controls(self) -> dict[str, Any]:
        """What needs no model, on the main data set."""
        return self.controls[self.recipe.dataset].values


def chapter(
    profile_name: str = "auto", first_seed: int = 0, recipe: Recipe | None = None
) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""

    def run_recipe(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Any:
        return run(profile, seed, first_seed, recipe)

    profile, by_name = jobs.load(run_recipe, profile_name, first_seed)
    recipe = setup(profile, recipe).recipe
    seeds = range(first_seed, first_seed + profile.n_seeds)
    prefixes = {recipe.dataset: "", **{name: f"{name}-" for name in recipe.other_datasets}}
    controls = {name: by_name[f"{prefix}controls"] for name, prefix in prefixes.items()}
    n, n_seeds = controls[recipe.dataset].values["source copy"]["n"], len(seeds)
    return Chapter(
        profile,
        recipe,
        f"{n} test sentences, {n_seeds} seed{'s' * (n_seeds > 1)}",
        by_name[f"judges-{recipe.dataset}-seed0"],
        controls,
        {k: [by_name[f"steering-{k}-seed{i}"] for i in seeds] for k in recipe.steering.labels},
        [by_name[f"simplex-seed{i}"] for i in seeds],
        by_name[f"released-seed{first_seed}"],
        [by_name[f"ordinary-seed{i}"] for i in seeds],
        {
            name: {k: by_name[f"{name}-{k}-seed{first_seed}"] for k in ("simplex", "ordinary")}
            for name in recipe.other_datasets
        },
        by_name[f"page-seed{first_seed}"],
        by_name[f"walk-seed{first_seed}"],
    )


def evidence(chapter: Chapter) -> dict[str, tuple[dict[str, Sequence[Result]], str]]:
    """The results behind each figure, table and widget, by its parts, and what they were measured on."""
    steered = {"steering": [chapter.page]}
    codes = {"simplex": chapter.simplex, "ordinary VAE": chapter.ordinary}
    first = {name: part[:1] for name, part in codes.items()}
    n_labels, sources = f"a model of {chapter.labels:,} labels", chapter.walk.values["sources"]
    points = (
        f"{min(len(chapter.steering[chapter.labels][0].tensors['p']), 600)} validation sentences"
    )
    test = f"{chapter.main_controls['source copy']['n']} test sentences"
    lines = {f"steering, {n} labels": part for n, part in chapter.steering.items()}
    rewrites = {"steering": chapter.steering[chapter.labels][:1]}
    n_rewrites = len(rewrites["steering"][0].values["rewrites"])
    others = {f"{d}, {k}": [r] for d, kinds in chapter.others.items() for k, r in kinds.items()}
    mapper = f"{chapter.recipe.codes.mapper_sentences} sentences, 10 codes each"
    hills = f"{len(sources)} sentences of our own, hills of 500 test sentences"
    return {
        "steering": (steered, f"{n_labels}, {points} around it"),
        "switch": (steered, n_labels),
        "cliff": ({"walk": [chapter.walk], **first}, hills),
        "simplex": (
            {"ours": chapter.simplex, "released weights": [chapter.released]},
            f"{len(chapter.simplex[0].tensors['labels'])} validation sentences",
        ),
        "histograms": (first, test),
        "densities": (codes, test),
        "mapper": (codes, mapper),
        "frontier": ({**lines, **codes}, test),
        "rewrites": (rewrites, f"{n_rewrites} test sentences"),
        "other data": (others, test),
    }


def badge(chapter: Chapter, key: str) -> str:
    """The badge of a key of `evidence`."""
    return results.badge(*evidence(chapter)[key])


def over_seeds(runs: Sequence[Result], *path: str) -> Tensor:
    """One number of each seed's values, (S,), reached by keys."""
    values = []
    for result in runs:
        node: Any = result.values
        for key in path:
            node = node[key]
        values.append(float(node))
    return torch.tensor(values, dtype=torch.float64)


def format_seeds(values: Tensor, decimals: int = 1) -> str:
    """Values of some seeds in words: all of them, since three are too few for an interval."""
    return " / ".join(f"{v:.{decimals}f}" for v in values.tolist())


def chosen(result: Result) -> dict[str, Any]:
    """A steering result's measurements on the test set, at the point that validation chose."""
    return result.values["test"][result.values["chosen"]]


def training_steps(chapter: Chapter) -> dict[str, int]:
    """How long the paper's model was trained, by the weights of its losses."""
    steps = chapter.recipe.codes.steps
    return {"own": steps, "released": steps // 4}


def _kl_weights(chapter: Chapter) -> str:
    named = {"ours": chapter.recipe.codes.weights, "released": LossWeights()}
    return render(_TEXTS["kl_weights"], named)


def _own_bleu(chapter: Chapter) -> dict[str, Tensor]:
    """BLEU of test sentences that the two models merely encode and decode, (S,) each."""
    kinds = {"ordinary": chapter.ordinary, "simplex": chapter.simplex}
    return {k: over_seeds(r, "reconstruction", "bleu_source", "mean") for k, r in kinds.items()}


def _all_seeds(condition: Tensor, reads: bool = True) -> bool | None:
    """Whether a condition holds for every seed; not tested where a code is hardly read."""
    return bool(condition.all()) if reads else None


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    own = _own_bleu(chapter)
    # A code that the decoder hardly reads has no islands and no water.
    reads = min(float(v.min()) for v in own.values()) >= LEAST_BLEU
    formatted = {k: format_seeds(v) for k, v in own.items()}
    unread = "" if reads else render(_TEXTS["unread"], formatted)
    page = chapter.page.values
    outcomes = {
        **_shift_outcomes(chapter, reads, unread),
        "vertices_mean_sentiment": _vertices_outcome(chapter),
        "released_weights_fill_the_simplex": _released_outcome(chapter),
        **_control_outcomes(chapter, reads, unread),
        "topics_switch_in_mid_sentence": Outcome(None),
        **{f"steered_with_{n}_labels": _steering_outcome(chapter, n) for n in TARGETS},
        "page_model_is_the_measured": Outcome(
            page["unchanged_by_int8"] >= 0.95 * page["n"],
            {
                "megabytes": f"{page['bytes'] / 1e6:.2f}",
                "unchanged": page["unchanged_by_int8"],
                "n": page["n"],
                "accuracy": f"{page['int8']['accuracy']['mean']:.1f}",
                "bleu": f"{page['int8']['bleu_source']['mean']:.1f}",
            },
        ),
    }
    scale = f"profile {chapter.profile.name}, {chapter.recipe.dataset}, {chapter.scale}"
    return judged(_HERE / "claims.yaml", CHAPTER, outcomes, scale)


def _shift_outcomes(chapter: Chapter, reads: bool, unread: str) -> dict[str, Outcome]:
    deviations = ("log_of_mean", "in_standard_deviations")
    two, extremum = (
        over_seeds(chapter.ordinary, "shift", name, *deviations) for name in ("2 s.d.", "extremum")
    )
    vertex = over_seeds(chapter.simplex, "shift", *deviations)
    nats = over_seeds(chapter.simplex, "shift", "log_of_mean", "shift", "mean")
    return {
        "a_factor_leaves_the_codes": Outcome(
            _all_seeds(extremum > 1, reads),
            {
                "two": format_seeds(two, 2),
                "extremum": format_seeds(extremum, 2),
                "unread": unread,
            },
        ),
        "a_vertex_stays_near": Outcome(
            _all_seeds((vertex < extremum) & (vertex < 1), reads),
            {"vertex": format_seeds(vertex, 2), "nats": format_seeds(nats), "unread": unread},
        ),
    }


def _vertices_outcome(chapter: Chapter) -> Outcome:
    purity = over_seeds(chapter.simplex, "vertices", "purity")
    chance = over_seeds(chapter.simplex, "vertices", "chance")
    n = chapter.simplex[0].tensors["labels"].numel()
    error = torch.sqrt(chance * (1 - chance) / n)
    values = {
        "n": n,
        "purity": format_seeds(purity, 3),
        "chance": f"{float(chance[0]):.3f}",
        "collisions": sum(r.values["vertices"]["collision"] for r in chapter.simplex),
        "n_seeds": len(purity),
    }
    return Outcome(_all_seeds(purity > chance + 4 * error), values)


def _released_outcome(chapter: Chapter) -> Outcome:
    released, steps = chapter.released.values, training_steps(chapter)
    spread = released["dispersion"]["spread"]
    values = {
        "spread": f"{spread:.3f}",
        "released_steps": steps["released"],
        "steps": steps["own"],
        "bleu": f"{released['reconstruction']['bleu_source']['mean']:.1f}",
        "nats": f"{released['shift']['log_of_mean']['shift']['mean']:.0f}",
        "ours": format_seeds(over_seeds(chapter.simplex, "dispersion", "spread"), 2),
        "kl_weights": _kl_weights(chapter),
    }
    return Outcome(spread >= 0.1, values)


def _control_outcomes(chapter: Chapter, reads: bool, unread: str) -> dict[str, Outcome]:
    accuracy, bleu, reference = (
        over_seeds(chapter.simplex, "vertex", k, "mean")
        for k in ("accuracy", "bleu_source", "bleu_reference")
    )
    ordinary = {
        name: [
            over_seeds(chapter.ordinary, "manipulations", name, k, "mean")
            for k in ("accuracy", "bleu_source")
        ]
        for name in MANIPULATIONS
    }
    best = max(ordinary, key=lambda name: float(ordinary[name][0].mean()))
    best_accuracy, best_bleu = ordinary[best]
    swap = chapter.main_controls["word swap"]
    swap_bleu, swap_accuracy = (swap[k]["mean"] for k in ("bleu_reference", "accuracy"))
    return {
        "better_than_unsupervised": Outcome(
            _all_seeds((accuracy > best_accuracy) & (bleu >= best_bleu), reads),
            {
                "accuracy": format_seeds(accuracy),
                "bleu": format_seeds(bleu),
                "best": best,
                "best_accuracy": format_seeds(best_accuracy),
                "best_bleu": format_seeds(best_bleu),
                "unread": unread,
            },
        ),
        "competitive_with_supervised": Outcome(
            _all_seeds((reference >= swap_bleu) & (accuracy >= swap_accuracy), reads),
            {
                "bleu": format_seeds(reference),
                "swap_bleu": f"{swap_bleu:.1f}",
                "swap_accuracy": f"{swap_accuracy:.1f}",
                "unread": unread,
            },
        ),
    }


def _steering_outcome(chapter: Chapter, n_labels: int) -> Outcome:
    """The worst seed in each measure, at the chosen points."""
    if n_labels not in chapter.steering:
        return Outcome(None, {"n_labels": n_labels, "n_seeds": 0})
    points = [chosen(r) for r in chapter.steering[n_labels]]
    accuracy, bleu, reference = (
        min(p[k]["mean"] for p in points) for k in ("accuracy", "bleu_source", "bleu_reference")
    )
    sources = chapter.main_controls["source copy"]["perplexity"]["mean"]
    ratio = max(p["perplexity"]["mean"] for p in points) / sources
    goal = dict(
        zip(("accuracy", "bleu", "reference", "perplexity"), TARGETS[n_labels], strict=True)
    )
    holds = accuracy >= goal["accuracy"] and bleu >= goal["bleu"]
    if goal["reference"] is not None:
        holds = holds and reference >= goal["reference"] and ratio <= goal["perplexity"]
    values = {
        "n_labels": n_labels,
        "n_seeds": len(points),
        "accuracy": f"{accuracy:.1f}",
        "bleu": f"{bleu:.1f}",
        "reference": f"{reference:.1f}",
        "perplexity": f"{ratio:.2f}",
        "goal": render(_TEXTS["goal"], {k: v and f"{v:g}" for k, v in goal.items()}),
    }
    return Outcome(holds, values)


def prose_values(chapter: Chapter) -> dict[str, str]:
    """Sentences and numbers of the page that the results decide."""
    kinds = {"simplex": chapter.simplex, "ordinary": chapter.ordinary}
    turned = {}
    for kind in kinds:
        read = chapter.walk.tensors[f"{kind}.reading"]
        turned[kind] = int(((read[:, 0] < 0.5) & (read[:, -1] > 0.5)).sum())
    unmoved = {
        k: format_seeds(over_seeds(r, "reconstruction", "accuracy", "mean"))
        for k, r in kinds.items()
    }
    models = [("ordinary VAE", _pieces(chapter.ordinary)), ("simplex", _pieces(chapter.simplex))]
    own, steps = _own_bleu(chapter), training_steps(chapter)
    steered = chapter.steering[chapter.labels][0].values
    judges = {k: Interval(**v) for k, v in chapter.judges.values["test"].items() if k != "unknown"}
    judges["accuracy"] = Interval(*(100 * v for v in judges["accuracy"][:4]), judges["accuracy"].n)
    deviations = {
        f"{place}_{measure}": format_seeds(
            over_seeds(runs, "shift", *path, kind, "in_standard_deviations"), 2
        )
        for place, runs, path in (
            ("corner", chapter.simplex, ()),
            ("extremum", chapter.ordinary, ("extremum",)),
        )
        for measure, kind in (("true", "log_of_mean"), ("published", "mean_of_logs"))
    }
    moved = format_seeds(over_seeds(chapter.simplex, "vertex", "bleu_source", "mean"))
    return {
        **deviations,
        "threshold": f"{chapter.page.values['threshold']:g}",
        "least_kept": f"{LEAST_BLEU:g}",
        "kl_weights": _kl_weights(chapter),
        "steps": str(steps["own"]),
        "released_steps": str(steps["released"]),
        "released_purity": f"{chapter.released.values['vertices']['purity']:.3f}",
        "walk_ends": render(
            _TEXTS["walk_ends"], {"n": len(chapter.walk.values["sources"]), **turned}
        ),
        "turned_unmoved": render(_TEXTS["turned_unmoved"], unmoved),
        "mapper_pieces": render(_TEXTS["mapper_pieces"], {"models": models}),
        "n_rewrites": str(len(steered["rewrites"]) // 2),
        "own_ordinary": format_seeds(own["ordinary"]),
        "own_simplex": format_seeds(own["simplex"]),
        "moved_simplex": moved,
        "n_labels": str(chapter.labels),
        "few_labels": str(chapter.recipe.steering.labels[-1]),
        "held_out": "forty thousand" if chapter.recipe.dataset == "yelp" else "two thousand",
        "judge": render(_TEXTS["judge"], judges),
        "fluency": render(_TEXTS["fluency"], judges),
        "unknown": f"{steered['unknown_words']} of {steered['words']}",
    }


def _pieces(runs: Sequence[Result]) -> list[dict[str, str]]:
    """Mapper graphs at the coarsest and the finest slices, means over seeds."""
    slices = list(runs[0].values["mapper"])
    return [
        {"slices": r}
        | {
            key: f"{float(over_seeds(runs, 'mapper', r, key).mean()):.1f}"
            for key in ("n_components", "n_nodes")
        }
        for r in (slices[0], slices[-1])
    ]


def steering_model(profile_name: str = "auto") -> SteeringModel:
    """The published steering model, the very one that runs in the page, for `steer`."""
    page = chapter(profile_name).page
    return from_page(page.tensors, page.values["words"])


def page_steering(chapter: Chapter) -> tuple[SteeringModel, dict[str, Any], list[dict]]:
    """The model that the page runs, its arrays, and golden rewrites that tie the page to PyTorch."""
    page = chapter.page
    model = from_page(page.tensors, page.values["words"])
    options = {"margins": page.values["ladder"], "threshold": page.values["threshold"]}
    golden = []
    for i, sentence in enumerate(own_sentences(chapter.recipe.dataset)):
        weights = [0.0, 0.0, 1.0] if i % 2 else [1.0, 0.0, 0.0]
        rewrite = model.rewrite(sentence, weights, **options)
        golden.append({"sentence": sentence, "weights": weights, "rewrite": rewrite, **options})
    return model, {k: v.numpy() for k, v in page_arrays(page.tensors).items()}, golden


def page_walks(chapter: Chapter) -> list[dict[str, Any]]:
    """The two walks with their densities, for the widget that shows them."""
    walk, steps = chapter.walk, WALK.tolist()
    share = [(s - steps[0]) / (steps[-1] - steps[0]) for s in steps]
    vae_axis = "sentiment dimension, in standard deviations from its mean"
    simplex_axis = "weight of the positive vertex, the rest on the negative one"
    models = []
    for kind, runs, label, axis, places in (
        ("ordinary", chapter.ordinary, "ordinary VAE", vae_axis, steps),
        ("simplex", chapter.simplex, "simplex", simplex_axis, share),
    ):
        real = runs[0].tensors
        models.append(
            {
                "label": label,
                "axis": axis,
                "steps": places,
                "sentences": walk.values[kind],
                "log_mean": walk.tensors[f"{kind}.log_of_mean"].numpy(),
                "mean_log": walk.tensors[f"{kind}.mean_of_logs"].numpy(),
                "original": {
                    "log_mean": real["original.log_of_mean"].numpy(),
                    "mean_log": real["original.mean_of_logs"].numpy(),
                },
                "reading": walk.tensors[f"{kind}.reading"].numpy(),
                "baseline": kind == "ordinary",
            }
        )
    return models
