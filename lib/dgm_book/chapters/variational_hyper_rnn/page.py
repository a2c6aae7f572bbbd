"""Chapter 6's page: whether weights that change with the weather follow a system better."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dgm.data import music
from dgm.data.dynamics import SUITES
from dgm.measure import Interval
from dgm.papers import variational_hyper_rnn as paper
from dgm_book import claims as claim_texts
from dgm_book.chapters.variational_hyper_rnn import recipe as plan
from dgm_book.chapters.variational_hyper_rnn import run as experiment
from dgm_book.chapters.variational_hyper_rnn import tables
from dgm_book.chapters.variational_hyper_rnn.run import context, run, verify
from dgm_book.chapters.variational_hyper_rnn.tables import CONTROL, VARIANT, badge, chapter
from dgm_book.claims import Claim, Outcome
from dgm_book.results import Result
from dgm_book.statistics import all_hold, is_above_zero, mean_over_seeds

__all__ = ["badge", "chapter", "claims", "context", "prose_values", "run", "verify"]

BEFORE, AFTER = range(-10, 0), range(10, 20)  # steps from a switch
CHANGES = {"test": "sigma changes", "switch": "W changes and x starts anew"}  # by suite


def kl_change(result: Result, suite: str, base: Iterable[int]) -> float:
    """Mean KL of the five steps from a switch on minus that of the base's steps; nats."""
    switches = result.values["switches"]
    kl = dict(zip(switches["offsets"], switches[suite]["kl"], strict=True))
    others = [kl[i] for i in base]
    return sum(kl[i] for i in range(5)) / 5 - sum(others) / len(others)


def _listed(intervals: Mapping[str, Interval], unit: str = "seed") -> str:
    return "; ".join(f"{key} {tables.format_difference(i, unit)}" for key, i in intervals.items())


def _seeds(n: int) -> str:
    return f"{n} seed{'s' * (n > 1)}"


# Claims: each rule returns an outcome, whose words stand in claims.yaml


def claims(chapter: tables.Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    models, is_real = chapter.sets[chapter.system], "jsb" in chapter.sets
    is_long, rules = chapter.system != "switching", {}
    rules["switching"] = partial(switching_rule, dataset=chapter.system)
    rules["switching_short"] = partial(switching_rule, dataset="switching") if is_long else None
    rules |= {"extrapolation": extrapolation_rule, "exact_bayes": exact_bayes_rule}
    rules |= {"around_switches": around_switches_rule, "deviations": deviations_rule}
    rules["latent_variable"] = latent_variable_rule if "HyperLSTM" in models else None
    rules["ablation"] = ablation_rule if is_long else None
    real = {"same_size": partial(sizes_rule, matched=False), "counts": counts_rule}
    real["same_weights"] = partial(sizes_rule, matched=True)
    real |= {n.replace("-", "_"): partial(other_rule, dataset=n) for n in plan.OTHERS}
    rules |= real if is_real else dict.fromkeys(real)
    outcomes = {key: rule and rule(chapter) for key, rule in rules.items()}
    scale = f"profile {chapter.profile.name}, {_seeds(chapter.profile.n_seeds)}"
    return claim_texts.judged(
        Path(__file__).with_name("claims.yaml"), experiment.CHAPTER, outcomes, scale
    )


def switching_rule(chapter: tables.Chapter, dataset: str) -> Outcome:
    """Above 0 beyond the interval against each VRNN, with either number of particles."""
    models = chapter.sets[dataset]
    gaps = {
        f"minus {control}, {label}": tables.difference(models, VARIANT, control, metric)
        for control in plan.MAIN[1:]
        if control in models
        for label, metric in tables.metrics(chapter).items()
    }
    values = {"epochs": chapter.recipe.training[dataset].epochs, "gaps": _listed(gaps)}
    return Outcome(all_hold(map(is_above_zero, gaps.values())), values)


def extrapolation_rule(chapter: tables.Chapter) -> Outcome:
    """Above 0 beyond the interval on all suites against each VRNN."""
    models, texts, parts = chapter.sets[chapter.system], [], []
    for control in tables.baselines(chapter):
        gaps = {
            n: tables.difference(models, VARIANT, control, tables.on_suite(n)) for n in SUITES[1:]
        }
        text = ", ".join(f"{name} {tables.format_interval(gap)}" for name, gap in gaps.items())
        texts.append(f"minus {control}: {text}")
        parts += map(is_above_zero, gaps.values())
    return Outcome(all_hold(parts), {"seeds": _seeds(len(models[VARIANT])), "gaps": texts})


def exact_bayes_rule(chapter: tables.Chapter) -> Outcome:
    """No run's mean is above exact Bayes by more than four standard errors."""
    exact = torch.tensor(chapter.truth.values["test"], dtype=torch.float64)
    best, parts = {}, []
    for model, runs in chapter.sets[chapter.system].items():
        gaps = [torch.tensor(r.values["final"]["by_sequence_many"]).double() - exact for r in runs]
        gap = mean_over_seeds(max(gaps, key=lambda gap: float(gap.mean())))
        best[model] = gap.mean
        parts.append(gap.mean <= 4 * gap.standard_error)
    nearest = max(best, key=lambda name: best[name])
    values = {"exact": float(exact.mean()), "n": len(exact), "nearest": nearest}
    values |= {"below": -best[nearest], "particles": chapter.training.n_many_particles}
    scale = f"profile {chapter.profile.name}, {len(exact)} test sequences"
    return Outcome(all(parts), values, scale)


def sizes_rule(chapter: tables.Chapter, matched: bool) -> Outcome:
    """Above 0 beyond the interval over sizes and seeds, with either number of particles."""
    models = chapter.sets["jsb"]
    metrics, name = tables.metrics(chapter), tables.control_name
    gaps = {label: tables.over_sizes(models, matched, m) for label, m in metrics.items()}
    pairs = {n: (f"VHRNN {n}", name(n, matched)) for n in plan.MATCHED}
    by_size = {n: tables.difference(models, *pair) for n, pair in pairs.items()}
    text = ", ".join(f"{n} {tables.format_interval(gap)}" for n, gap in by_size.items())
    n_seeds = len(models["VHRNN 24"])
    holds = all_hold(map(is_above_zero, gaps.values())) if n_seeds > 2 else None
    scale = f"profile {chapter.profile.name}, three sizes, {_seeds(n_seeds)}"
    return Outcome(holds, {"gaps": _listed(gaps, "pair"), "by_size": text}, scale)


def counts_rule(chapter: tables.Chapter) -> Outcome:
    """Live counts differ by less than 5 %."""
    pairs = [tables.trainable(chapter.sets["jsb"], f"VHRNN {n}", f"VRNN {n}") for n in plan.MATCHED]
    more = [ours / theirs - 1 for ours, theirs in pairs]
    text = ", ".join(f"{m:.1%}" for m in more)
    return Outcome(max(abs(m) for m in more) < 0.05, {"more": text}, "exact")


def other_rule(chapter: tables.Chapter, dataset: str) -> Outcome:
    """Above 0 beyond the interval over seeds; not tested with fewer than three."""
    models, pair = chapter.sets[dataset], plan.PAIR[dataset]
    gap = tables.difference(models, *pair)
    sequences = mean_over_seeds(tables.by_sequence(models, pair))
    counts = " and ".join(f"{n:,}" for n in tables.trainable(models, *pair))
    values = {"pair": pair, "counts": counts, "gap": tables.format_difference(gap)}
    values["sequences"] = tables.format_difference(sequences, "sequence")
    scale = f"profile {chapter.profile.name}, {_seeds(gap.n)}"
    return Outcome(is_above_zero(gap) if gap.n > 2 else None, values, scale)


def ablation_rule(chapter: tables.Chapter) -> Outcome:
    """Not tested: one seed each."""
    rows = {
        f"{plan.NAMES[dataset]} z of {size}": [
            f"{tables.fivo_train_particles(chapter.sets[dataset][model][0]):.3f}"
            for model in models
        ]
        for (dataset, size), models in plan.ABLATIONS.items()
    }
    return Outcome(None, {"rows": rows}, f"profile {chapter.profile.name}, 1 seed")


def around_switches_rule(chapter: tables.Chapter) -> Outcome:
    """VHRNN's KL rises and decays beyond the interval at both kinds of switch."""
    models, texts, parts = chapter.sets[chapter.system], [], []
    for suite, change in CHANGES.items():
        for model in plan.PAIR["switching"]:
            changes = [
                mean_over_seeds([kl_change(result, suite, base) for result in models[model]])
                for base in (BEFORE, AFTER)
            ]
            rise, decay = map(tables.format_interval, changes)
            texts.append(f"{change}, {model}: rise {rise}, decay {decay}")
            parts += map(is_above_zero, changes) if model == VARIANT else []
    return Outcome(all_hold(parts), {"changes": texts})


def deviations_rule(chapter: tables.Chapter) -> Outcome:
    """VHRNN's mean correlation is above 0 beyond the interval."""
    intervals = {}
    for model, runs in tables.evidence(chapter)["around"].items():
        correlations = [result.values["switches"]["follows_noise"] for result in runs]
        intervals[model] = mean_over_seeds([sum(v) / len(v) for v in correlations])
    return Outcome(is_above_zero(intervals[VARIANT]), {"correlations": _listed(intervals)})


def latent_variable_rule(chapter: tables.Chapter) -> Outcome:
    """VHRNN is above the HyperLSTM beyond the interval, with many particles."""
    models = chapter.sets[chapter.system]
    by_seed = {
        name: " / ".join(f"{tables.fivo_many_particles(result):.2f}" for result in models[name])
        for name in (VARIANT, "HyperLSTM", CONTROL)
    }
    gap = tables.difference(models, VARIANT, "HyperLSTM", tables.fivo_many_particles)
    values = {"latent_gap": tables.format_difference(gap), "by_seed": by_seed}
    values["counts"] = " and ".join(
        f"{n:,}" for n in tables.trainable(models, VARIANT, "HyperLSTM")
    )
    return Outcome(is_above_zero(gap), values | {"particles": chapter.training.n_many_particles})


# The page's words that depend on results, from texts.yaml


def prose_values(chapter: tables.Chapter) -> dict[str, str]:
    """The page's words that depend on results, by the names under which the notebook has them."""
    models = chapter.sets[chapter.system]
    values: dict[str, Any] = {
        "is_real": "jsb" in chapter.sets,
        "variant": VARIANT,
        "n_seeds": len(models[VARIANT]),
        "n_training": models[VARIANT][0].values["n_training"],
        "n_steps": chapter.training.n_steps,
        "listen": [_mean(chapter.sets[chapter.music][n]) for n in plan.PAIR[chapter.music]],
        "has_hyper_lstm": "HyperLSTM" in models,
    }
    values |= _growth_values(chapter) | _switching_values(chapter) | _suite_values(chapter)
    if values["has_hyper_lstm"]:
        values |= latent_variable_rule(chapter).values
    if values["is_real"]:
        values |= _real_values(chapter)
    texts = tables.texts()["prose"]
    return {key: claim_texts.render(text, values) for key, text in texts.items()}


def _mean(runs: list[Result]) -> float:
    return sum(map(tables.fivo_train_particles, runs)) / len(runs)


def _growth_values(chapter: tables.Chapter) -> dict[str, Any]:
    unseen = experiment.suite("zero-shot", chapter.recipe).matrices
    radii = [torch.linalg.eigvals(w).abs().amax(1) for w in (experiment.matrices(), unseen)]
    growing = [(int((radius > 1).sum()), len(radius)) for radius in radii]
    return {"growing": growing, "fastest": float(radii[0].max()) - 1}


def _switching_values(chapter: tables.Chapter) -> dict[str, Any]:
    models = chapter.sets[chapter.system]
    exact = torch.tensor(chapter.truth.values["test"], dtype=torch.float64)
    truth, ours, theirs = mean_over_seeds(exact), _mean(models[VARIANT]), _mean(models[CONTROL])
    seeds = range(len(models[VARIANT]))
    medians = [
        tables.by_sequence(models, plan.PAIR["switching"], seed).quantile(0.5) for seed in seeds
    ]
    return {
        "truth": truth,
        "gap": tables.format_difference(tables.difference(models, VARIANT, CONTROL)),
        "closed": (ours - theirs) / (truth.mean - theirs),
        "medians": " / ".join(f"{float(median):+.2f}" for median in medians),
        "single": " and ".join(name for name in plan.SINGLE if name in models),
        "first_seed": tables.fivo_train_particles(models[VARIANT][0]),
    }


def _suite_values(chapter: tables.Chapter) -> dict[str, Any]:
    models, rises = chapter.sets[chapter.system], {}
    gaps = {n: tables.difference(models, VARIANT, CONTROL, tables.on_suite(n)) for n in SUITES[1:]}
    above = [name for name, gap in gaps.items() if gap.low > 0]
    below = [name for name, gap in gaps.items() if gap.high < 0]
    rest = [name for name in gaps if name not in above + below]
    sides = {"above 0": above, "below 0": below, "not distinguishable from 0": rest}
    for suite, change in (CHANGES | {"switch": "the matrix changes and x starts anew"}).items():
        for model in plan.PAIR["switching"]:
            values = [kl_change(result, suite, BEFORE) for result in models[model]]
            rises[f"where {change}, {model}"] = mean_over_seeds(values)
    return {"sides": sides, "rises": _listed(rises)}


def _real_values(chapter: tables.Chapter) -> dict[str, Any]:
    sets, pair = chapter.sets, plan.PAIR
    rows = sets["jsb"][pair["jsb"][0]][0].values["rows"]
    gap = tables.by_sequence(sets["stocks"], pair["stocks"])
    sensors = sets["gas-sensors"][pair["gas-sensors"][0]][0].values["rows"]
    return {
        "same_size": tables.format_difference(tables.over_sizes(sets["jsb"], False), "pair"),
        "same_weights": tables.format_difference(tables.over_sizes(sets["jsb"], True), "pair"),
        "chorale_model": pair["jsb"][0],
        "epochs": [row["epoch"] for row in rows[-2:]],
        "gained": rows[-1]["validation"] - rows[-2]["validation"],
        "companies": len(gap),
        "stock_mean": tables.format_number(float(gap.mean()), 0),
        "stock_median": tables.format_number(float(gap.quantile(0.5)), 1),
        "worst": min(row["validation"] for row in sensors),
        "sigma_min": chapter.recipe.training["exchange-rates"].sigma_min,
    }


# Pictures and models


def page_models(chapter: tables.Chapter, dataset: str) -> dict[str, dict[str, Any]]:
    """The two models of a set that travel with the page, as `widgets.HyperWeights` takes them."""
    models = {}
    for name, model in zip(("VHRNN", "VRNN"), plan.PAIR[dataset], strict=True):
        tensors = chapter.sets[dataset][model][0].tensors
        models[name] = {
            "kind": plan.MODELS[dataset][model].kind,
            "emission": experiment.emission(len(tensors["input_mean"])),
            "state": {key: value.float().numpy() for key, value in tensors.items()},
            "hyper_input": plan.MODELS[dataset][model].hyper_input,
            "sigma_min": chapter.recipe.training[dataset].sigma_min,
        }
    return models


def page_golden(
    chapter: tables.Chapter, dataset: str, rounded: Mapping[str, Mapping], n_particles: int = 3
) -> dict[str, dict[str, Any]]:
    """A sequence and noise, and what PyTorch computes of them with the page's rounded weights."""
    generator, golden = torch.Generator().manual_seed(0), {}
    x = music.synthetic_tunes(1, 9)[0][:20].double()
    if dataset.startswith("switching"):
        x = experiment.suite("test", chapter.recipe).observations[0, :20]
    for name, model in zip(("VHRNN", "VRNN"), plan.PAIR[dataset], strict=True):
        net = experiment.reread(chapter.sets[dataset][model][0], dataset, model, chapter.recipe)
        net.load_state_dict({key: torch.from_numpy(a) for key, a in rounded[name].items()})
        shape = (len(x), n_particles, net.z_dim)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        trace = paper.trace(net.double(), x, noise)._asdict()
        trace = {key: trace[key] for key in trace if not key.startswith("prior")}
        golden[name] = {k: v.numpy() for k, v in {"x": x, "noise": noise, **trace}.items()}
    return golden


def page_around(chapter: tables.Chapter) -> list[dict[str, Any]]:
    """KL per step about a switch, a panel per kind of switch, for `figures.through_training`."""

    def line(result: Result, suite: str) -> tuple[list, list]:
        switches = result.values["switches"]
        return switches["offsets"], switches[suite]["kl"]

    titles = {"test": "sigma changes (test)", "switch": "W changes, x starts anew (SWITCH)"}
    models = chapter.sets[chapter.system]
    return [_panel(title, models, partial(line, suite=suite)) for suite, title in titles.items()]


def page_course(chapter: tables.Chapter) -> list[dict[str, Any]]:
    """Validation through training on the switching system, for `figures.through_training`."""

    def line(result: Result) -> tuple[list, list]:
        rows = result.values["rows"]
        return [row["epoch"] for row in rows], [row["validation"] for row in rows]

    datasets = dict.fromkeys(("switching", chapter.system))
    titles = {name: f"{chapter.recipe.training[name].epochs} epochs" for name in datasets}
    return [_panel(title, chapter.sets[name], line) for name, title in titles.items()]


def _panel(title: str, models: tables.Models, line: Callable[[Result], tuple]) -> dict[str, Any]:
    lines = {name: [line(result) for result in models[name]] for name in (CONTROL, VARIANT)}
    return {"title": title, "lines": lines}


def page_sizes(chapter: tables.Chapter) -> list[dict[str, Any]]:
    """Chorale models' bounds by published and by live count, for `figures.through_training`."""
    panels: list[dict[str, Any]] = []
    if "jsb" not in chapter.sets:
        return panels
    for title, key in (("as published", "as_published"), ("alive", "live")):
        lines: dict[str, list] = {"VRNN": [], "VHRNN": []}
        for model, runs in tables.evidence(chapter)["sizes"].items():
            lines[model.split()[0]].append((runs[0].values["final"][key], _mean(runs)))
        sorted_lines = {
            kind: [tuple(map(list, zip(*sorted(points), strict=True)))]
            for kind, points in lines.items()
        }
        panels.append({"title": title, "lines": sorted_lines})
    return panels


def page_systems() -> Any:
    """The ten matrices (10, 2, 2) of the switching system, as an array."""
    return experiment.matrices().numpy()
