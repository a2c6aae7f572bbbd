"""Chapter 5's page: what its widgets, figures, tables, prose and claims take from the results."""

import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch import Tensor

from dgm.data import synthetic
from dgm.data.text import Vocabulary
from dgm.measure import Interval, bootstrap
from dgm.nets.text_vae import TextVAE
from dgm.papers import pooling_vae as paper
from dgm.vae import importance_bound
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.pooling_vae import recipe as plan
from dgm_book.chapters.pooling_vae import run as runs
from dgm_book.chapters.pooling_vae.recipe import CHANGES, ENCODERS, RECIPES, VARIANTS
from dgm_book.claims import Claim, Outcome, judged, render
from dgm_book.results import Result
from dgm_book.statistics import format_difference, format_mean
from dgm_book.widgets.packing import rounded

FOLDER = Path(__file__).parent
TEXTS = yaml.safe_load((FOLDER / "texts.yaml").read_text("utf-8"))
LABELS, NAMES, EXAMPLES, SIZES = (TEXTS.pop(k) for k in ("labels", "names", "examples", "sizes"))
COLLAPSED = 0.1  # nats of KL
INFORMED = 0.5  # nats of mutual information
N_CLASSES = 6
LADDER = (
    "plain", "annealing", "cyclical", "beta 0.4", "free bits", "aggressive", "scaled last", "mean",
    "max", "absmax", "logsumexp", "mean annealing", "max annealing",
)  # fmt: skip
FIRST_SHOWN = ("plain", "annealing", "free bits", "mean", "max", "max annealing")  # shown at first
COLUMNS = {
    "log-lik.": "log_likelihood", "hidden": "hidden_log_likelihood", "rec.": "reconstruction",
    "KL": "kl", "inform.": "information", "units": "active_units", "time": "rows/-1/seconds",
}  # fmt: skip


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    recipe: plan.Recipe
    sets: dict[str, dict[str, list[Result]]]  # data set -> variant -> a result per seed
    timing: Result
    vocabulary: Result

    @property
    def main(self) -> dict[str, list[Result]]:
        """The runs of the main table."""
        return self.sets[self.recipe.main]

    def values(self, metric: str, dataset: str = "") -> Any:
        """A `statistics.tidy` column: a number of every run of a data set, the main one if none.

        Metrics are paths into "final" ("kl", "features/relative") or into all ("rows/-1/seconds");
        seconds are relative to those of the plain model with the same seed.
        """
        runs = self.sets[dataset or self.recipe.main]
        path = metric if metric.startswith("rows/") else f"final/{metric}"
        column: Any = statistics.tidy(runs, functools.partial(statistics.read, path=path))
        if metric.endswith("seconds"):
            column = column / column["plain"].reindex(column.index, level="seed")
        return column

    def average(self, variant: str, metric: str, dataset: str = "") -> Interval:
        """A metric's mean over seeds."""
        return statistics.mean_over_seeds(self.values(metric, dataset)[variant])

    def gain(
        self, variant: str, metric: str, control: str = "plain", dataset: str = ""
    ) -> Interval:
        """What a variant changes, paired by seeds."""
        return statistics.effect(self.values(metric, dataset), variant, control)


def chapter(
    profile_name: str = "auto", first_seed: int = 0, recipes: Mapping[str, plan.Recipe] = RECIPES
) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, loaded = jobs.load(runs.run, profile_name, first_seed, recipes=recipes)
    recipe = recipes[profile.name]
    rows = ((d, v, loaded[runs.result_name(d, v, n + first_seed)]) for d, v, n in recipe.runs)
    others = (loaded[f"{recipe.main}-{name}"] for name in ("timing", "vocabulary"))
    return Chapter(profile, recipe, jobs.grouped(rows), *others)


def label(variant: str) -> str:
    """A variant as the page names it."""
    words = variant.replace("all words", "no word dropout").replace("adam", "Adam")
    return LABELS.get(variant, words)


def table(chapter: Chapter, dataset: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: a row per variant of the ladder, mean and error over seeds."""
    rows = []
    for variant in filter(chapter.sets[dataset].__contains__, LADDER):
        means = {
            name: chapter.average(variant, metric, dataset) for name, metric in COLUMNS.items()
        }
        cells = [format_mean(mean, 1 if name == "units" else 2) for name, mean in means.items()]
        rows.append([label(variant), *cells])
    return ["model", *COLUMNS], rows


def shares(chapter: Chapter, dataset: str) -> list[tuple[str, str]]:
    """How much of what max pooling gains over the plain model each control gains, per cent."""
    controls = ("scaled last", "layer norm", "forget bias", "front", "last adam")
    present = [control for control in controls if control in chapter.sets[dataset]]
    means = {k: statistics.mean_over_seeds(_shares(chapter, dataset, k)) for k in present}
    return [(label(k), format_difference(mean, 0, "seed")) for k, mean in means.items()]


def _shares(chapter: Chapter, dataset: str, control: str) -> Any:
    information = chapter.values("information", dataset)
    gains = information - information["plain"].reindex(information.index, level="seed")
    return (100 * gains[control] / gains["max"]).dropna()


def crossing(chapter: Chapter, dataset: str) -> tuple[list[str], list[list[str]]]:
    """Mutual information of last, mean and max, with parts of the recipe taken away."""
    rows = []
    for change in ("", *CHANGES):
        names = [f"{k} {change}" if change else plain for k, plain in ENCODERS.items()]
        present = [name in chapter.sets[dataset] for name in names]
        cells = [
            format_mean(chapter.average(name, "information", dataset)) if there else "not run"
            for name, there in zip(names, present, strict=True)
        ]
        if any(present):
            rows.append([label(change) or "the recipe", *cells])
    return ["training", "last state", "mean", "max"], rows


def evidence(chapter: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each figure, table and widget, by what they are called there."""
    main = chapter.recipe.main

    def parts(dataset: str, names: Any, prefix: str = "", seeds: int | None = None) -> dict:
        variants = chapter.sets[dataset]
        return {prefix + label(v): variants[v][:seeds] for v in names if v in variants}

    encoders, gained = ENCODERS.values(), ("plain", "mean", "max", "max annealing")
    first_encoders = parts(main, encoders, seeds=1)
    return {
        "encoders": first_encoders,
        "influence": first_encoders,
        "microscope": parts("endings", encoders, "generated, ", 1) | first_encoders,
        "dispersion": parts(main, encoders),
        "race": parts(main, chapter.main, seeds=1),
        "positions": parts("endings", gained, "generated, ") | parts(main, gained),
        **{dataset: parts(dataset, LADDER) for dataset in chapter.sets},
        **{f"{dataset} crossed": parts(dataset, VARIANTS) for dataset in chapter.sets},
    }


def badge(chapter: Chapter, key: str) -> str:
    """What a figure, table or widget rests on, by its key in `evidence`."""

    def size(result: Result) -> str:
        tested = "{:,} test sentences".format(result.values["n_test"])
        return render(SIZES.get(key, tested), {"recipe": chapter.recipe})

    return results.badge(evidence(chapter)[key], size, synthetic="generated sentences")


def _names(chapter: Chapter) -> dict[str, Any]:
    """What the templates of claims and prose name; those of prose may name those before them."""
    recipe, sets, main = chapter.recipe, chapter.sets, chapter.main
    steps = [row["step"] for row in main["plain"][0].values["rows"]]
    gains = {"the whole recipe": chapter.gain("max", "information", dataset="endings")}
    names = {
        "recipe": recipe,
        "s": recipe.settings[recipe.main],
        "n": len(main["plain"]),
        "sets": sets,
        "runs": main,
        "names": NAMES,
        "label": label,
        "average": chapter.average,
        "gain": chapter.gain,
        "looks": {i: steps[i] for i in (0, 1, len(steps) - 1)},
        "kl": {k: main[v][0].values["final"]["kl"] for k, v in ENCODERS.items()},
        "gains": gains | _recipe_gains(chapter),
        "hidden_shares": dict.fromkeys(f"{recipe.settings[k].word_dropout:.0%}" for k in sets),
        "collapsed_below": COLLAPSED,
        "informed": INFORMED,
    }
    for name, template in TEXTS.items():
        names[name] = render(template, names)
    return names


def prose_values(chapter: Chapter) -> dict[str, str]:
    """What the prose takes up, by its name in `texts.yaml`."""
    names = _names(chapter)
    return {name: names[name] for name in TEXTS}


def bound_from_the_prior(model: paper.LinearGaussianVAE, x: Tensor, n_samples: int) -> float:
    """The bound on log p(x (1, P)) with codes from the prior, a mean over many draws."""
    repeats = 200_000 // n_samples
    shape = (n_samples, repeats, model.weight.shape[1])
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return float(importance_bound(model.log_likelihood(x.expand(repeats, -1), z)).mean())


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    names, sets, main, pooled = _names(chapter), chapter.sets, chapter.recipe.main, ("max", "mean")
    plain = [(k, p, "plain") for k in sets for p in pooled]
    on_main = [triple for triple in plain if triple[0] == main]
    fixes = [(main, "max", k) for k in ("annealing", "free bits", "aggressive")]
    changes = [("endings", f"max {c}", f"last {c}") for c in CHANGES]
    effects = {
        "last_state_collapses": ("kl", [(k, "plain", "") for k in sets]),
        "last_state_collapses_with_adam": ("information", [(k, "last adam", "") for k in sets]),
        "features_more_dispersed": ("rows/1/features/relative", on_main),
        "features_more_dispersed_after_training": ("features/relative", on_main),
        "likelihood_above_plain": ("log_likelihood", [x for x in plain if x[0] in (main, "ptb")]),
        "likelihood_with_words_hidden": ("hidden_log_likelihood", on_main),
        "likelihood_comparable": ("log_likelihood", fixes),
        "whatever_the_training": ("information", changes),
    }
    for p in pooled:
        shown = [(k, f"{p} all words", "last all words") for k in sets]
        effects[f"{p}_prevents_collapse"] = "information", shown
        hidden = "information", [triple for triple in plain if triple[1] == p]
        effects[f"{p}_prevents_collapse_with_hidden_words"] = hidden
    share = statistics.mean_over_seeds(_shares(chapter, main, "scaled last") / 100)
    level = {"each": _level(chapter, main, "scaled last", "max")}
    outcomes = {id_: _effects(chapter, *effect) for id_, effect in effects.items()} | {
        "costs_nothing": _cost(chapter),
        "gain_is_content": Outcome({"share": share}, {"share": share}, "", level),
    }
    for id_, outcome in outcomes.items():
        values = {**names, "pooling": id_.partition("_")[0], **outcome.values}
        outcomes[id_] = outcome._replace(values=values)
    scale = f"profile {chapter.profile.name}, {names['seeds']}"
    return judged(FOLDER / "claims.yaml", runs.CHAPTER, outcomes, scale)


def _level(chapter: Chapter, dataset: str, *variants: str) -> dict[str, float]:
    """The log-likelihood of the worst variant, which word frequencies have to stay below."""
    means = [chapter.average(v, "log_likelihood", dataset).mean for v in variants if v]
    return {NAMES[dataset]: min(means)}


def _effects(chapter: Chapter, metric: str, triples: Iterable[tuple[str, str, str]]) -> Outcome:
    """A metric of variants, minus that of controls if any, where both were run."""
    tests, levels = {}, {}
    for dataset, variant, control in triples:
        if {variant, control or variant} <= chapter.sets.get(dataset, {}).keys():
            name = f"{NAMES[dataset]}, {label(variant)}"
            if control:
                name += f" minus {label(control)}"
                tests[name] = chapter.gain(variant, metric, control, dataset)
            else:
                tests[name] = chapter.average(variant, metric, dataset)
            levels[name] = _level(chapter, dataset, variant, control)
    return Outcome(tests, {"gains": tests}, "", levels)


def _cost(chapter: Chapter) -> Outcome:
    """How much longer a step takes than the plain model's, over batches (bootstrap)."""
    seconds = {k: torch.tensor(v).double() for k, v in chapter.timing.values.items()}
    ratios = {k: bootstrap(seconds[k] / seconds["plain"]) for k in ("mean", "max")}
    words = "; ".join(f"{k} {r.mean:.3f} [{r.low:.3f}, {r.high:.3f}]" for k, r in ratios.items())
    values = {"batches": ratios["max"].n, "ratios": words}
    if "aggressive" in chapter.main:
        ratios["aggressive"] = chapter.average("aggressive", "rows/-1/seconds")
    return Outcome(ratios, values)


def _recipe_gains(chapter: Chapter) -> dict[str, Interval]:
    return {
        label(change): chapter.gain(f"max {change}", "information", f"last {change}", "endings")
        for change in CHANGES
        if f"max {change}" in chapter.sets["endings"]
    }


def page_training(chapter: Chapter) -> list[dict[str, Any]]:
    """Training of every variant on the main data set, first seed each."""
    rows = []
    for variant, (first, *_) in chapter.main.items():
        group = "fix" if VARIANTS[variant].pooling == "last" else "pooling"
        group = group if variant in plan.FIXES else "control"
        row = {"name": variant, "label": label(variant), "measured": first.values["rows"]}
        rows.append(row | {"group": "plain" if variant == "plain" else group})
    return rows


def page_microscope(chapter: Chapter) -> list[dict[str, Any]]:
    """Features in 2-D through training: the generated sentences, and the main set without texts."""
    recipe = chapter.recipe
    splits = runs.load_splits("endings", recipe.settings["endings"])
    texts = [splits.vocabulary.decode(x) for x in splits.validation.tokens[: recipe.n_frames]]
    topics = [f"topic {int(topic)}" for topic in splits.labels[: recipe.n_frames]]
    sets = [_frames(chapter, "endings", "generated, by topic", topics) | {"texts": texts}]
    if recipe.main != "endings":
        last = chapter.vocabulary.values["last_words"]
        sets.append(_frames(chapter, recipe.main, "reviews, by last word", last))
    return sets


def _frames(chapter: Chapter, dataset: str, title: str, classes: list[str]) -> dict[str, Any]:
    common = [c for c, _ in Counter(classes).most_common(N_CLASSES)]
    places = [common.index(c) if c in common else len(common) for c in classes]
    frames = {}
    for shown, variant in ENCODERS.items():
        first = chapter.sets[dataset][variant][0]
        rows = first.values["rows"]
        frames[shown] = {
            "steps": [row["step"] for row in rows],
            "points": first.tensors["frames"].float(),
            **{k: [row["features"][k] for row in rows] for k in rows[0]["features"]},
        }
    described = {"name": dataset, "label": title, "classes": [*common, "other"]}
    return described | {"class_of": places, "texts": None, "frames": frames}


def page_encoders(chapter: Chapter) -> dict[str, dict[str, Any]]:
    """The encoders that travel with the page, as `dgm_book.widgets.PoolingWeights` takes them."""
    return {
        shown: {
            f"posterior.{name}": tensor.float().numpy()
            for name, tensor in chapter.main[variant][0].tensors.items()
            if name.startswith(("encoder.", "head."))
        }
        for shown, variant in ENCODERS.items()
    }


def page_models(chapter: Chapter) -> dict[str, TextVAE]:
    """PyTorch's models with the page's encoders, rounded as they are there."""
    s = chapter.recipe.settings[chapter.recipe.main]
    n_words, models = len(Vocabulary(chapter.vocabulary.values["words"])), {}
    for shown, arrays in page_encoders(chapter).items():
        models[shown] = runs.build_model(VARIANTS[ENCODERS[shown]], s, n_words, 0)
        tensors = {name: torch.tensor(rounded(array)) for name, array in arrays.items()}
        models[shown].load_state_dict(tensors, strict=False)
    return models


def page_golden(chapter: Chapter) -> dict[str, Any]:
    """Examples as ids, and what PyTorch makes of them with the page's rounded weights."""
    corpus = Vocabulary(chapter.vocabulary.values["words"]).encode(page_examples(chapter)[:8])
    models = page_models(chapter).items()
    means = {shown: runs.encode(model, corpus)[0].numpy() for shown, model in models}
    return {"tokens": corpus.tokens.numpy(), "means": means}


def page_examples(chapter: Chapter) -> list[str]:
    """Sentences to start from: our own words for reviews, generated ones where it reads those."""
    if chapter.recipe.main == "endings":
        return synthetic.shared_endings(40)[0]
    return EXAMPLES + synthetic.review_grammar(36)[0]


def influence_at_start(positions: int = 8) -> dict[str, list[float]]:
    """Each word's share of influence from the last one back, before training, by pooling."""
    s = RECIPES["smoke"].settings["endings"]._replace(weights=0.01, embeddings=0.1)
    splits = runs.load_splits("endings", s._replace(n_training=200, n_validation=100, n_test=300))
    shares = {}
    for shown, variant in ENCODERS.items():
        model = runs.build_model(VARIANTS[variant], s, len(splits.vocabulary), 0)
        shares[shown] = runs.influence_from_the_end(model, splits.test, 300, positions)
    return shares


def page_ladder(chapter: Chapter, dataset: str = "endings") -> list[dict[str, Any]]:
    """Three metrics of every seed, the plain model first, as `figures.ladder` takes them."""
    titles = {"kl": "KL", "information": "mutual information", "log_likelihood": "log-likelihood"}
    chosen = [variant for variant in LADDER if variant in chapter.sets[dataset]]
    columns = {f"{title} (nats)": chapter.values(name, dataset) for name, title in titles.items()}
    return [
        {"title": title, "rows": {label(v): column[v].tolist() for v in chosen}}
        for title, column in columns.items()
    ]


def page_influence(chapter: Chapter) -> list[dict[str, Any]]:
    """Whose features which words change, at a narrow start and after training."""
    firsts = {shown: chapter.main[variant][0] for shown, variant in ENCODERS.items()}
    trained = {shown: first.values["final"]["influence"] for shown, first in firsts.items()}
    axes = {"x": "words from the end", "y": "share of influence", "log": "y"}
    titles = {"before training, generated sentences": influence_at_start()}
    titles[f"after training, {NAMES[chapter.recipe.main]}"] = trained
    return [{"title": title, "lines": lines, **axes} for title, lines in titles.items()]


def page_positions(chapter: Chapter) -> list[dict[str, Any]]:
    """How much better than the plain model's a pooled code's decoder predicts each word."""
    panels = []
    for dataset in dict.fromkeys(["endings", chapter.recipe.main]):
        nats = {
            name: torch.tensor([r.values["final"]["by_position"] for r in results]).mean(0)
            for name, results in chapter.sets[dataset].items()
            if name in ("plain", "mean", "max", "max annealing")
        }
        plain = nats.pop("plain")
        lines = {name: (plain - row).tolist() for name, row in nats.items()}
        panels.append({"title": NAMES[dataset], "x": "word", "y": "nats gained", "lines": lines})
    return panels


def page_dispersion(chapter: Chapter) -> list[dict[str, Any]]:
    """Dispersion of features through training, as `dgm_book.figures.through_training` takes it."""
    panels = []
    for name, title in {"relative": "variance over squared mean", "cosine": "mean cosine"}.items():
        lines = {
            shown: [
                ([row["step"] for row in rows], [row["features"][name] for row in rows])
                for rows in (result.values["rows"] for result in chapter.main[variant])
            ]
            for shown, variant in ENCODERS.items()
        }
        panels.append({"title": title, "lines": lines})
    return panels
