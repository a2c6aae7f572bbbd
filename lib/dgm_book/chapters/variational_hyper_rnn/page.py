"""Chapter 6's page: whether weights that change with the weather follow a system better."""

import itertools
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from dgm.data import music
from dgm.data.dynamics import SUITES
from dgm.measure import Interval
from dgm.papers import variational_hyper_rnn as paper
from dgm_book import results, statistics
from dgm_book.chapters.variational_hyper_rnn import recipe as plan
from dgm_book.chapters.variational_hyper_rnn import run as experiment
from dgm_book.chapters.variational_hyper_rnn.readings import (
    METRICS,
    SUMMARIES,
    Chapter,
    Models,
    by_sequence,
    difference,
    heard,
    kl_change,
    over_sizes,
    pairs_by_size,
    read,
)
from dgm_book.chapters.variational_hyper_rnn.readings import chapter as chapter
from dgm_book.claims import Claim, Outcome, judged, render
from dgm_book.results import Result
from dgm_book.statistics import format_mean, format_number, mean_over_seeds

FOLDER = Path(__file__).parent
TEXTS = yaml.safe_load((FOLDER / "texts.yaml").read_text("utf-8"))
MIXTURE, NO_MEMORY, EXACT = "mixture without memory", "no memory", "exact Bayes"
BEFORE, AFTER = range(-10, 0), range(10, 20)  # steps from a switch
format_interval = partial(statistics.format_interval, decimals=3)
format_difference = partial(statistics.format_difference, decimals=3, unit="seed")
VARIANT, CONTROL = plan.PAIR["switching"]
LONGEST, LINEAR = plan.SYSTEMS[-1], plan.LONGEST[-1]
LONG, STUCK = "jsb-long", -7.8  # nats per frame, below which some runs stay
Table = tuple[list[str], list[list[str]]]  # head and rows


def format_spread(runs: list[Result], metric: str, decimals: int = 3) -> str:
    """A metric's mean over seeds and its standard error."""
    return format_mean(mean_over_seeds([read(result, metric) for result in runs]), decimals)


def _seeds(n: int) -> str:
    return f"{n} seed{'s' * (n > 1)}"


def _trainable(models: Models, *names: str) -> list[int]:
    """The number of parameters that learn, of each model."""
    return [models[name][0].values["final"]["live"] for name in names]


def table(chapter: Chapter, dataset: str) -> Table:
    """A model per row, mean and standard error over seeds; nats per step."""
    rows, published = [], TEXTS["published"]
    for model, runs in evidence(chapter)[dataset].items():
        final = runs[0].values["final"]
        count = f"{final['as_published']:,}" if "as_published" in final else "not in the paper"
        cells = [format_spread(runs, metric) for metric in METRICS]
        value = f"{published[model]:.2f}" if model in published else "not given"
        rows.append([model, count, f"{final['live']:,}", *cells, str(len(runs)), value])
    if dataset.startswith("switching"):
        levels = {MIXTURE: chapter.memoryless(dataset), EXACT: float(chapter.exact.mean())}
        for name, level in levels.items():
            rows.append([name, "none", "none", *2 * [f"{level:.3f}"], "none", "not given"])
    return ["model", "published count", "live", *chapter.particles, "seeds", "in the paper"], rows


def suites(chapter: Chapter) -> Table:
    """A model per row, a test suite per column; nats per step, the median's mean over seeds."""
    rows = []
    for model, runs in evidence(chapter)["suites"].items():
        cells = [format_spread(runs, f"{suite} median", 2) for suite in SUITES[1:]]
        rows.append([model, *cells, str(len(runs))])
    levels = chapter.lines["suites"]
    rows.append([MIXTURE, *(f"{levels[name]:.2f}" for name in SUITES[1:]), "none"])
    exact = dict.fromkeys(SUITES[1:], "unbounded") | {"rand": f"{chapter.lines['rand']:.2f}"}
    rows.append([EXACT, *exact.values(), "none"])
    return ["model", *SUITES[1:], "seeds"], rows


def identification(chapter: Chapter) -> Table:
    """How often the matrix is named from a model's state, by step, by the better of two probes."""
    lines, rows = chapter.lines, []
    for model in (VARIANT, CONTROL):
        named = torch.tensor([_named(probe["accuracy"]) for probe in chapter.probes(model)])
        cells = [format_mean(mean_over_seeds(column)) for column in named.double().T]
        rows.append([f"z, h and scales of {model}", *cells, str(len(named))])
    others = {"the last two points": _named(lines["accuracy"]), EXACT: lines["accuracy"][EXACT]}
    for name, values in others.items():
        rows.append([name, *(f"{value:.2f}" for value in values), "none"])
    return ["read from", *(f"step {step}" for step in lines["steps"]), "seeds"], rows


def _named(accuracy: Mapping[str, list[float]]) -> list[float]:
    """By step, of the forest and the logistic probe the one that is better at the last step."""
    return max((accuracy[name] for name in ("forest", "logistic")), key=lambda row: row[-1])


def suite_differences(chapter: Chapter, control: str) -> Table:
    """VHRNN minus another model, a suite per row, a summary per column."""
    gap = partial(difference, chapter.models, VARIANT, control)
    rows = [[n, *(format_interval(gap(f"{n} {s}")) for s in SUMMARIES)] for n in SUITES[1:]]
    return ["suite", *SUMMARIES], rows


def sizes(chapter: Chapter) -> Table:
    """VHRNN minus VRNN on the chorales, by latent size and by live weights."""
    models, rows = chapter.sets["jsb"], []
    for pair in (pairs_by_size(matched)[n] for n in plan.MATCHED for matched in (False, True)):
        ours, theirs = _trainable(models, *pair)
        gaps = (format_interval(difference(models, *pair, metric)) for metric in METRICS)
        rows.append([" minus ".join(pair), f"{ours / theirs - 1:+.1%}", *gaps])
    return ["pair", "live weights", *chapter.evaluations], rows


def ablation(chapter: Chapter) -> Table:
    """What the hyper networks read, first seed; nats per step."""
    rows = []
    for (dataset, size), models in plan.ABLATIONS.items():
        cells = [f"{read(chapter.sets[dataset][model][0], 'fivo'):.3f}" for model in models]
        published = TEXTS["published_ablations"][f"{dataset} {size}"]
        rows.append([f"{plan.NAMES[dataset]}, z of {size}", *cells, published])
    return ["set and size", "latent", "hidden", "both", "in the paper"], rows


def others(chapter: Chapter) -> Table:
    """The models of the other sets, a model without memory, and differences over seeds."""
    rows = []
    for dataset in filter(chapter.sets.__contains__, plan.OTHERS):
        models, pair = chapter.sets[dataset], plan.PAIR[dataset]
        cells = [
            format_spread(models[name], "fivo") if name in models else "not run"
            for name in (*pair, plan.LINEAR)
        ]
        counts = " / ".join(f"{n:,}" for n in _trainable(models, *pair))
        line = chapter.memoryless(dataset)
        cells.append(format_number(line) if line else "in the claims")
        gaps = [format_interval(difference(models, pair[0], pair[1], metric)) for metric in METRICS]
        seeds = str(len(models[pair[0]]))
        rows.append([plan.NAMES[dataset], counts, *cells, *gaps, seeds])
    gap_heads = [f"VHRNN minus VRNN, {label}" for label in chapter.evaluations]
    heads = ["set", "live weights", *plan.KINDS, "VRNN, linear path", "no memory"]
    return [*heads, *gap_heads, "seeds"], rows


def real_tables(chapter: Chapter) -> list[tuple[list[str], list[list[str]], str, str]]:
    """Tables of the real sequences with their captions and badges; none at smoke."""
    tables = {"sizes": sizes, "ablation": ablation, "others": others}
    return [
        (*f(chapter), TEXTS["captions"][key], badge(chapter, key))
        for key, f in tables.items()
        if "jsb" in chapter.sets
    ]


def evidence(chapter: Chapter) -> dict[str, Models]:
    """The results behind each picture, by its key: a set's name, or as below."""
    sets, models, pair = chapter.sets, chapter.models, plan.PAIR

    def across(names: Iterable[tuple[str, str]], seeds: int | None = None) -> Models:
        return {f"{name} of {dataset}": sets[dataset][name][:seeds] for dataset, name in names}

    parts: dict[str, Models] = {
        k: {name: runs for name, runs in ms.items() if name not in plan.SINGLE}
        for k, ms in sets.items()
    }
    for dataset in (chapter.system, chapter.music):
        parts[f"widget {dataset}"] = {name: sets[dataset][name][:1] for name in pair[dataset]}
    parts["course"] = across((d, n) for d, names in _courses(chapter).items() for n in names)
    parts["around"] = {name: models[name] for name in pair["switching"]}
    parts["probes"] = parts["around"]
    parts["suites"] = {n: x for n, x in parts[chapter.system].items() if n != "HyperLSTM"}
    for control in baselines(chapter):
        parts[f"suites {control}"] = {name: models[name] for name in (VARIANT, control)}
    if "jsb" in sets:
        parts["sizes"] = {name: sets["jsb"][name] for name in plan.TABLE_TWO}
        parts["ablation"] = across(((d, n) for (d, _), ms in plan.ABLATIONS.items() for n in ms), 1)
        parts["others"] = across((d, n) for d in plan.OTHERS if d in sets for n in sets[d])
    return parts


def badge(chapter: Chapter, key: str) -> str:
    """What stands beside the picture of a key of `evidence`."""
    parts = evidence(chapter)[key]
    n = next(iter(parts.values()))[0].values["final"]["n_sequences"]
    size = TEXTS["sizes"].get(key, f"switching system, {n} sequences per suite")
    if key in chapter.sets:
        size = f"{plan.NAMES[key]}, {n} test sequences"
    elif key.startswith("widget "):
        size = plan.NAMES[key.removeprefix("widget ")]
    return results.badge(parts, size)


def baselines(chapter: Chapter) -> list[str]:
    """The VRNNs beside which VHRNN stands on the switching system."""
    return [name for name in plan.MAIN[1:] if name in chapter.models]


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    is_long, is_real = chapter.system != "switching", "jsb" in chapter.sets
    table = ablation(chapter)[1] if is_long else []  # one seed each
    ablations = {name.replace(", z of", " z of"): cells[:3] for name, *cells in table}
    single = f"profile {chapter.profile.name}, 1 seed"
    scale = f"profile {chapter.profile.name}, {_seeds(chapter.profile.n_seeds)}"
    after_longest = partial(bound_rule, dataset=LONGEST)  # of 750 epochs
    after_long = partial(bound_rule, dataset=LONG, control=plan.PAIR[LONG][1])  # on chorales
    rules = {
        "switching": partial(bound_rule, dataset=chapter.system),
        "switching_short": is_long and partial(bound_rule, dataset="switching"),
        "switching_longest": LONGEST in chapter.sets and partial(after_longest, control=CONTROL),
        "linear_path": LONGEST in chapter.sets and partial(after_longest, control=LINEAR),
        "extrapolation": extrapolation_rule,
        "exact_bayes": exact_bayes_rule,
        "around_switches": around_switches_rule,
        "identification": identification_rule,
        "deviations": deviations_rule,
        "latent_variable": "HyperLSTM" in chapter.models and latent_variable_rule,
        "ablation": is_long and (lambda chapter: Outcome({}, {"rows": ablations}, single)),
        "same_size": is_real and partial(sizes_rule, matched=False),
        "same_weights": is_real and partial(sizes_rule, matched=True),
        "same_size_long": LONG in chapter.sets and partial(after_long, control="VRNN 28"),
        "same_weights_long": LONG in chapter.sets and after_long,
        "counts": is_real and counts_rule,
    }
    for name in plan.OTHERS:
        rule = partial(other_rule, dataset=name)
        if name not in chapter.sets:  # none of its runs was done
            rule = is_real and (lambda chapter: Outcome({}, {"gap": ""}, scale))
        rules[name.replace("-", "_")] = rule
    outcomes = {key: rule(chapter) if rule else None for key, rule in rules.items()}
    return judged(FOLDER / "claims.yaml", experiment.CHAPTER, outcomes, scale)


def _levels(chapter: Chapter, dataset: str, models: Iterable[str]) -> dict[str, dict[str, float]]:
    """By how much models, as trained, are above one without memory, or their bounds if none is."""
    line = chapter.memoryless(dataset)
    return {"each": {name: _mean(chapter.sets[dataset][name]) - line for name in models}}


def bound_rule(chapter: Chapter, dataset: str, control: str | None = None) -> Outcome:
    """Against one VRNN or each, with either number of particles."""
    models, variant = chapter.sets[dataset], plan.PAIR[dataset][0]
    controls = [control] if control else [m for m in plan.MAIN[1:] if m in models]
    gains = {
        f"minus {control}, {label}": difference(models, variant, control, metric)
        for control in controls
        for label, metric in chapter.evaluations.items()
    }
    least = min(min(r.values["final"]["by_sequence"]) for m in controls for r in models[m])
    values = {"gains": gains, "epochs": chapter.recipe.training[dataset].epochs, "least": least}
    scale = f"profile {chapter.profile.name}, {_seeds(len(models[variant]))}"
    return Outcome(gains, values, scale, _levels(chapter, dataset, [variant, *controls]))


def _suite_gaps(chapter: Chapter, control: str) -> dict[str, Interval]:
    gap = partial(difference, chapter.models, VARIANT, control)
    return {suite: gap(f"{suite} median") for suite in SUITES[1:]}


def extrapolation_rule(chapter: Chapter) -> Outcome:
    """On all suites against each VRNN."""
    gaps = {control: _suite_gaps(chapter, control) for control in baselines(chapter)}
    tests = {f"{control}, {suite}": x for control, row in gaps.items() for suite, x in row.items()}
    values = {"seeds": _seeds(len(chapter.models[VARIANT])), "gaps": gaps}
    return Outcome(tests, values, "", _levels(chapter, chapter.system, [VARIANT, *gaps]))


def exact_bayes_rule(chapter: Chapter) -> Outcome:
    """Each model's best run minus exact Bayes."""
    exact, best = chapter.exact, {}
    for model, runs in chapter.models.items():
        gaps = [torch.tensor(r.values["final"]["by_sequence_many"]).double() - exact for r in runs]
        best[model] = mean_over_seeds(max(gaps, key=lambda gap: float(gap.mean())))
    nearest = max(best, key=lambda name: best[name].mean)
    values = {"exact": float(exact.mean()), "n": len(exact), "nearest": nearest}
    values |= {"below": -best[nearest].mean, "particles": chapter.particles[1]}
    scale = f"profile {chapter.profile.name}, {len(exact)} test sequences"
    return Outcome(best, values, scale)


def sizes_rule(chapter: Chapter, matched: bool) -> Outcome:
    """Over sizes and seeds, with either number of particles; not tested with too few seeds."""
    models, pairs = chapter.sets["jsb"], pairs_by_size(matched)
    gains = {k: over_sizes(models, matched, m) for k, m in chapter.evaluations.items()}
    by_size = {size: difference(models, *pair) for size, pair in pairs.items()}
    n = len(models["VHRNN 24"])
    scale = f"profile {chapter.profile.name}, three sizes, {_seeds(n)}"
    tests = {k: gain._replace(n=min(n, gain.n)) for k, gain in gains.items()}
    values = {"gains": gains, "by_size": by_size, "n_seeds": _seeds(n)}
    arms = [name for pair in pairs.values() for name in pair]
    return Outcome(tests, values, scale, _levels(chapter, "jsb", arms))


def counts_rule(chapter: Chapter) -> Outcome:
    """By how much live counts differ."""
    pairs = {n: _trainable(chapter.sets["jsb"], *p) for n, p in pairs_by_size(False).items()}
    more = {str(n): ours / theirs - 1 for n, (ours, theirs) in pairs.items()}
    tests = {n: statistics.interval(m, 0.0, 1) for n, m in more.items()}
    return Outcome(tests, {"more": ", ".join(f"{m:.1%}" for m in more.values())}, "exact")


def other_rule(chapter: Chapter, dataset: str) -> Outcome:
    """Over seeds."""
    models, pair = chapter.sets[dataset], plan.PAIR[dataset]
    gap = difference(models, *pair)
    values = {
        "pair": pair,
        "counts": " and ".join(f"{n:,}" for n in _trainable(models, *pair)),
        "gap": format_difference(gap),
        "n": gap.n,
        "linear": "",
    }
    if plan.LINEAR in models:
        values["linear"] = format_difference(difference(models, pair[0], plan.LINEAR))
    scale = f"profile {chapter.profile.name}, {_seeds(gap.n)}"
    return Outcome({"all": gap}, values, scale, _levels(chapter, dataset, pair))


def around_switches_rule(chapter: Chapter) -> Outcome:
    """VHRNN's KL rises and decays by more than VRNN's, at both kinds of switch."""
    around, bases = evidence(chapter)["around"], {"rise": BEFORE, "decay": AFTER}
    rises, decays = (_kl_changes(chapter, base) for base in bases.values())
    gaps = {}
    for suite, kind in itertools.product(("test", "switch"), bases):
        column = statistics.tidy(around, partial(kl_change, suite=suite, base=bases[kind]))
        gaps[f"{suite} {kind}"] = statistics.effect(column, VARIANT, CONTROL)
    values = {"rises": rises, "decays": decays, "gaps": gaps}
    return Outcome(gaps, values, "", _levels(chapter, chapter.system, (VARIANT, CONTROL)))


def identification_rule(chapter: Chapter) -> Outcome:
    """The probe of VHRNN's state, at the last step, minus that of the last two points."""
    last = {
        model: [_named(probe["accuracy"])[-1] for probe in chapter.probes(model)]
        for model in (VARIANT, CONTROL)
    }
    points = _named(chapter.lines["accuracy"])[-1]
    gap = mean_over_seeds([value - points for value in last[VARIANT]])
    values = {"probe_gap": gap, "points": points, "n": chapter.lines["n"]}
    values |= {"last": {model: mean_over_seeds(v) for model, v in last.items()}}
    values |= {"exact": chapter.lines["accuracy"][EXACT][-1]}
    levels = {"each": {VARIANT: values["last"][VARIANT].mean, "the last two points": points}}
    return Outcome({"all": gap}, values, "", levels)


def _kl_changes(chapter: Chapter, base: Iterable[int]) -> dict[tuple[str, str], Interval]:
    """`kl_change` over seeds, by suite and model."""
    return {
        (suite, model): mean_over_seeds([kl_change(result, suite, base) for result in runs])
        for suite in ("test", "switch")
        for model, runs in evidence(chapter)["around"].items()
    }


def deviations_rule(chapter: Chapter) -> Outcome:
    """VHRNN's mean correlation."""
    intervals = {}
    for model, runs in evidence(chapter)["around"].items():
        correlations = [result.values["switches"]["follows_noise"] for result in runs]
        intervals[model] = mean_over_seeds([sum(v) / len(v) for v in correlations])
    ours = intervals[VARIANT]
    levels = {"each": {VARIANT: ours.mean}}
    return Outcome({"all": ours}, {"correlations": intervals}, "", levels)


def latent_variable_rule(chapter: Chapter) -> Outcome:
    """VHRNN minus the HyperLSTM, with many particles."""
    models, pair = chapter.models, (VARIANT, "HyperLSTM")
    gap = difference(models, *pair, "fivo_many")
    by_seed = {
        name: " / ".join(f"{read(result, 'fivo_many'):.2f}" for result in models[name])
        for name in (*pair, CONTROL)
    }
    counts = " and ".join(f"{n:,}" for n in _trainable(models, *pair))
    values = {"latent_gap": format_difference(gap), "by_seed": by_seed, "counts": counts}
    values |= {"particles": chapter.particles[1]}
    return Outcome({"all": gap}, values, "", _levels(chapter, chapter.system, pair))


def prose_values(chapter: Chapter) -> dict[str, str]:
    """The page's words that depend on results, by the names under which the notebook has them."""
    models, is_real = chapter.models, "jsb" in chapter.sets
    values: dict[str, Any] = {
        "is_real": is_real,
        "variant": VARIANT,
        "control": CONTROL,
        "n_seeds": len(models[VARIANT]),
        "n_training": models[VARIANT][0].values["n_training"],
        "n_steps": chapter.recipe.training[chapter.system].n_steps,
        "listen": [_mean(chapter.sets[chapter.music][n]) for n in plan.PAIR[chapter.music]],
        "has_hyper_lstm": "HyperLSTM" in models,
    }
    values |= _switching_values(chapter) | _longest_values(chapter) | heard(chapter)
    if values["has_hyper_lstm"]:
        values |= latent_variable_rule(chapter).values
    if is_real:
        values |= _real_values(chapter)
    return {key: render(text, values) for key, text in TEXTS["prose"].items()}


def _mean(runs: list[Result]) -> float:
    return sum(read(result, "fivo") for result in runs) / len(runs)


def _switching_values(chapter: Chapter) -> dict[str, Any]:
    unseen = experiment.suite("zero-shot", chapter.recipe).matrices
    radii = [torch.linalg.eigvals(w).abs().amax(1) for w in (experiment.matrices(), unseen)]
    models, truth = chapter.models, mean_over_seeds(chapter.exact)
    ours, theirs = _mean(models[VARIANT]), _mean(models[CONTROL])
    by_seed = [by_sequence(models, (VARIANT, CONTROL), n) for n in range(len(models[VARIANT]))]
    sides = {"above 0": [], "below 0": [], "not distinguishable from 0": []}
    for name, gap in _suite_gaps(chapter, CONTROL).items():
        side = 0 if gap.low > 0 else 1 if gap.high < 0 else 2
        list(sides.values())[side].append(name)
    values = {
        "growing": [(int((radius > 1).sum()), len(radius)) for radius in radii],
        "fastest": float(radii[0].max()) - 1,
        "truth": truth,
        "gap": format_difference(difference(models, VARIANT, CONTROL)),
        "closed": (ours - theirs) / (truth.mean - theirs),
        "medians": " / ".join(f"{float(gap.quantile(0.5)):+.2f}" for gap in by_seed),
        "sides": sides,
        "memoryless": chapter.memoryless(chapter.system),
        "below": [
            n for n, runs in models.items() if _mean(runs) < chapter.memoryless(chapter.system)
        ],
    }
    panel, *_ = page_by_step(chapter)
    courses = {k: np.mean([y for _, y in rows], 0) for k, rows in panel["lines"].items()}
    values["courses"] = {k: (y[4], y[-1]) for k, y in courses.items()}
    return {**values, **identification_rule(chapter).values}


def _longest_values(chapter: Chapter) -> dict[str, Any]:
    models = chapter.sets.get(LONGEST, {})
    bounds = {n: mean_over_seeds([read(run, "fivo_many") for run in models[n]]) for n in models}
    least = {n: min(min(r.values["final"]["by_sequence"]) for r in models[n]) for n in models}
    n, epochs = len(models.get(VARIANT, [])), chapter.recipe.training[LONGEST].epochs
    values = {"longest": bounds, "longest_n": n, "longest_seeds": _seeds(n), "least": least}
    return values | {"longest_epochs": epochs, "linear_model": LINEAR}


def _real_values(chapter: Chapter) -> dict[str, Any]:
    sets, pair = chapter.sets, plan.PAIR
    rows = sets["jsb"][pair["jsb"][0]][0].values["rows"]
    rates = sets.get("exchange-rates", {})
    fresh = {name: runs[5:] for name, runs in rates.items() if runs[5:]}
    gaps = {
        plan.NAMES[name]: difference(models, *pair[name])
        for name, models in sets.items()
        if chapter.memoryless(name) and not name.startswith("switching")
    }
    apart = gaps | ({"the chorales": difference(sets[LONG], *pair[LONG])} if LONG in sets else {})
    return {
        "same_size": format_difference(over_sizes(sets["jsb"], False), unit="pair"),
        "same_weights": format_difference(over_sizes(sets["jsb"], True), unit="pair"),
        "fresh": difference(fresh, *pair["exchange-rates"]) if fresh else None,
        "linear": {
            plan.NAMES[name]: difference(models, pair[name][0], plan.LINEAR)
            for name, models in sets.items()
            if plan.LINEAR in models
        },
        "chorale_model": pair["jsb"][0],
        "longer": _longer_values(chapter) if LONG in sets else None,
        "epochs": [row["epoch"] for row in rows[-2:]],
        "gained": rows[-1]["validation"] - rows[-2]["validation"],
        "not_run": [plan.NAMES[name] for name in plan.OTHERS if name not in sets],
        "sets": gaps,
        "clear": [name for name, gap in apart.items() if gap.n > 2 and gap.low * gap.high > 0],
    }


def _longer_values(chapter: Chapter) -> dict[str, Any]:
    models, (variant, *_) = chapter.sets[LONG], plan.PAIR[LONG]
    values = {"epochs": chapter.recipe.training[LONG].epochs, "variant": variant}
    values["bounds"] = {
        name: mean_over_seeds([read(run, "fivo") for run in runs]) for name, runs in models.items()
    }
    gaps = {name: difference(models, variant, name) for name in models if name != variant}
    rows = [run.values["rows"] for runs in models.values() for run in runs]
    best = [max(each, key=lambda row: row["validation"])["epoch"] for each in rows]
    stuck = {name: sum(read(run, "fivo") < STUCK for run in runs) for name, runs in models.items()}
    n, planned = len(models[variant]), chapter.profile.n_seeds
    values |= {"stuck": stuck, "level": STUCK, "seeds": _seeds(n), "planned": planned}
    values |= {"more": n - planned, "n_training": models[variant][0].values["n_training"]}
    return values | {"gaps": gaps, "best": (min(best), max(best))}


def page_models(chapter: Chapter, dataset: str) -> dict[str, dict[str, Any]]:
    """The two models of a set that travel with the page, as `widgets.HyperWeights` takes them."""
    models = {}
    for name, model in zip(plan.KINDS, plan.PAIR[dataset], strict=True):
        tensors = chapter.sets[dataset][model][0].tensors
        models[name] = {
            "kind": plan.MODELS[dataset][model].kind,
            "emission": chapter.recipe.training[dataset].emission,
            "state": {key: value.float().numpy() for key, value in tensors.items()},
            "hyper_input": plan.MODELS[dataset][model].hyper_input,
            "sigma_min": chapter.recipe.training[dataset].sigma_min,
        }
    return models


def page_golden(
    chapter: Chapter, dataset: str, rounded: Mapping[str, Mapping], n_particles: int = 3
) -> dict[str, dict[str, Any]]:
    """A sequence and noise, and what PyTorch computes of them with the page's rounded weights."""
    generator, golden = torch.Generator().manual_seed(0), {}
    x = music.synthetic_tunes(1, 9)[0][:20].double()
    if dataset.startswith("switching"):
        x = experiment.suite("test", chapter.recipe).observations[0, :20]
    for name, model in zip(plan.KINDS, plan.PAIR[dataset], strict=True):
        net = experiment.reread(chapter.sets[dataset][model][0], dataset, model, chapter.recipe)
        net.load_state_dict({key: torch.from_numpy(a) for key, a in rounded[name].items()})
        shape = (len(x), n_particles, net.z_dim)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        trace = paper.trace(net.double(), x, noise)._asdict()
        trace = {key: trace[key] for key in trace if not key.startswith("prior")}
        golden[name] = {k: v.numpy() for k, v in {"x": x, "noise": noise, **trace}.items()}
    return golden


def page_around(chapter: Chapter) -> list[dict[str, Any]]:
    """KL per step about a switch, a panel per kind of switch, for `figures.through_training`."""
    titles = {"test": "noise changes", "switch": "W changes, x anew"}
    panels = []
    for suite, title in titles.items():
        lines = {}
        for name in (CONTROL, VARIANT):
            switches = [result.values["switches"] for result in chapter.models[name]]
            lines[name] = [(values["offsets"], values[suite]["kl"]) for values in switches]
        panels.append({"title": title, "lines": lines, "narrow": True})
    return panels


def page_by_step(chapter: Chapter) -> list[dict[str, Any]]:
    """Log-density of each point, median, from the start and about a change of sigma."""
    offsets, panels = list(range(*chapter.recipe.around)), []
    for key, title in {"start": "from the start", "switch": "about new noise"}.items():
        sources = {m: [p["by_step"] for p in chapter.probes(m)] for m in (CONTROL, VARIANT)}
        sources |= {name: [chapter.lines[name]] for name in (NO_MEMORY, EXACT)}
        at = offsets if key == "switch" else range(1, len(chapter.lines[EXACT][key]))
        lines = {
            name: [(list(at), rows[key][-len(at) :]) for rows in each]
            for name, each in sources.items()
        }
        panels.append({"title": title, "lines": lines, "narrow": True})
    return panels


def _courses(chapter: Chapter) -> Mapping[str, tuple[str, ...]]:
    """Whose training is drawn, by set."""
    longest = {LONGEST: plan.LONGEST[::-1]} if LONGEST in chapter.sets else {}
    return {chapter.system: (CONTROL, VARIANT), **longest}


def page_course(chapter: Chapter) -> list[dict[str, Any]]:
    """Validation through training on the switching system, for `figures.through_training`."""
    panels = []
    for dataset, names in _courses(chapter).items():
        lines = {
            name: [
                ([row["epoch"] for row in rows], [row["validation"] for row in rows])
                for rows in (result.values["rows"] for result in chapter.sets[dataset][name])
            ]
            for name in names
        }
        ends = lines[VARIANT][0][0]
        for name, level in zip((NO_MEMORY, EXACT), chapter.lines["validation"], strict=True):
            lines[name] = [([ends[0], ends[-1]], 2 * [level])]
        epochs = chapter.recipe.training[dataset].epochs
        panels.append({"title": f"{epochs} epochs", "lines": lines, "narrow": True})
    return panels
