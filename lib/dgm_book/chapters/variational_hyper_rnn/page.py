"""Chapter 6: whether weights that change with the weather follow a system better than fixed ones."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data import music
from dgm.data.dynamics import SUITES
from dgm.measure import Interval
from dgm.papers import variational_hyper_rnn as paper
from dgm_book import jobs, profiles, results
from dgm_book import statistics as paired
from dgm_book.chapters.variational_hyper_rnn import training
from dgm_book.chapters.variational_hyper_rnn.training import CHAPTER, MODELS, name_of
from dgm_book.claims import Claim, verdict
from dgm_book.results import Result
from dgm_book.statistics import is_above_zero as above_zero
from dgm_book.statistics import paired_difference
from dgm_book.verification import check

TITLE = "Variational hyper RNN"
SOURCE = "Deng et al. 2020"
OURS = "asked here"
MAIN = ("VHRNN 4", "VRNN 8", "VRNN 6", "VRNN 6 matched")
LONGEST = ("VHRNN 4", "VRNN 8", "VRNN 6 matched", "HyperLSTM")  # trained for three times the epochs
ONE_SEED = ("VHRNN 4 latent", "VHRNN 4 hidden")
SIZES = (24, 28, 32)  # of the latent variable, in table 2
MATCHED = {24: 27, 28: 31, 32: 35}  # widths of VRNN with at least as many live weights
PAIR = {  # by what a set's two models are compared
    "switching": ("VHRNN 4", "VRNN 6 matched"),
    "switching-long": ("VHRNN 4", "VRNN 6 matched"),
    "jsb": ("VHRNN 28", "VRNN 31 matched"),
    "tunes": ("VHRNN 28", "VRNN 31 matched"),
    "piano-midi": ("VHRNN 28", "VRNN 31 matched"),
    "stocks": ("VHRNN 16", "VRNN 28"),
    "exchange-rates": ("VHRNN 16", "VRNN 28"),
    "gas-sensors": ("VHRNN 16", "VRNN 28"),
}
ABLATIONS = {
    ("switching-long", "4"): ("VHRNN 4 latent", "VHRNN 4 hidden", "VHRNN 4"),
    ("jsb", "14"): ("VHRNN 14 latent", "VHRNN 14 hidden", "VHRNN 14"),
    ("jsb", "32"): ("VHRNN 32 wide latent", "VHRNN 32 wide hidden", "VHRNN 32 wide"),
}
PUBLISHED_ABLATIONS = {  # table 3
    ("switching-long", "4"): (-5.01, -4.79, -4.68),
    ("jsb", "14"): (-6.68, -6.71, -6.76),
    ("jsb", "32"): (-6.76, -7.03, -6.82),
}
NAMES = {
    "switching": "switching system",
    "switching-long": "switching system, three times the epochs",
    "jsb": "JSB Chorales",
    "tunes": "tunes made by rule",
    "piano-midi": "Piano-midi",
    "stocks": "stocks",
    "exchange-rates": "exchange rates",
    "gas-sensors": "gas sensors",
}
OTHERS = ("piano-midi", "stocks", "exchange-rates", "gas-sensors")
TRIM = 0.1  # of the sequences, left out at either end of a trimmed mean
PUBLISHED = {  # nats a step, tables 1 and 2
    "VRNN 8": -5.43,
    "VRNN 6": -5.80,
    "VHRNN 4": -4.68,
    "VRNN 24": -7.04,
    "VRNN 28": -6.99,
    "VRNN 32": -6.91,
    "VHRNN 24": -6.92,
    "VHRNN 28": -6.73,
    "VHRNN 32": -6.70,
}


def runs(profile: profiles.Profile) -> list[tuple[str, str, int]]:
    """Set, model and seed of every run at a profile."""
    if profile.name == "smoke":
        return [
            (dataset, model, 0) for dataset in ("switching", "tunes") for model in PAIR[dataset]
        ]
    seeds = range(profile.n_seeds)
    read = [
        model for (dataset, _), models in ABLATIONS.items() if dataset == "jsb" for model in models
    ]
    return [
        *(("switching", model, n) for model in MAIN for n in seeds),
        *(("switching-long", model, n) for model in LONGEST for n in seeds),
        *(("switching-long", model, 0) for model in ONE_SEED),
        *(("jsb", model, 0) for model in (*table_two(), *read)),
        *((dataset, model, 0) for dataset in OTHERS for model in PAIR[dataset]),
    ]


def table_two() -> list[str]:
    """The models of the paper's table 2, and the VRNNs with as many live weights."""
    return [
        *(f"VHRNN {size}" for size in SIZES),
        *(f"VRNN {size}" for size in SIZES),
        *(f"VRNN {width} matched" for width in MATCHED.values()),
    ]


def run(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Iterator[Result]:
    """Every result of one seed."""
    if seed == first_seed:
        yield training.truth(profile)
    for dataset, model, n in runs(profile):
        if n == seed - first_seed:
            yield training.result(profile, dataset, model, seed)


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    scale: str
    sets: dict[str, dict[str, list[Result]]]  # set -> model -> one result a seed
    truth: Result

    @property
    def system(self) -> str:
        """The switching system's models that trained longest."""
        return "switching-long" if "switching-long" in self.sets else "switching"

    @property
    def music(self) -> str:
        """The set of piano rolls that the page's music model has learned from."""
        return "jsb" if "jsb" in self.sets else "tunes"


def context(profile: profiles.Profile) -> results.Context:
    """What this chapter's verification shares."""
    return training.context(profile, "switching")


def chapter(profile_name: str = "auto", first_seed: int = 0) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, found = jobs.load(run, profile_name, first_seed)
    sets: dict[str, dict[str, list[Result]]] = {}
    for dataset, model, n in runs(profile):
        result = found[name_of(dataset, model, n + first_seed)]
        sets.setdefault(dataset, {}).setdefault(model, []).append(result)
    n = profile.n_seeds
    scale = f"{n} seed{'s' * (n > 1)}"
    return Chapter(profile, scale, sets, found["switching-oracle"])


def badge(found: Chapter, dataset: str) -> str:
    """What stands beside a picture of one set."""
    of = found.sets[dataset].values()
    n = next(iter(of))[0].values["final"]["n_sequences"]
    return results.own_badge(*of, n=f"{NAMES[dataset]}, {n} test sequences")


def widget_badge(found: Chapter, dataset: str) -> str:
    """What stands beside a widget: it holds the first seed's pair of models."""
    pair = [found.sets[dataset][model][:1] for model in PAIR[dataset]]
    return results.own_badge(*pair, n=NAMES[dataset])


# Measurements over seeds

Value = Callable[[Result], float]


def few(result: Result) -> float:
    """FIVO with the training's particles, nats a step; exact where there is no latent variable."""
    fivo = result.values["final"]["fivo"]
    return sum(fivo) / len(fivo)


def many(result: Result) -> float:
    """FIVO with many particles, nats a step."""
    return result.values["final"]["fivo_many"]


def on_suite(name: str, how: str = "median", particles: str = "few") -> Value:
    """A summary over one suite's sequences, nats a step."""
    return lambda result: summary(result.values["suites"][name][particles], how)


def summary(values: list[float], how: str) -> float:
    """The mean, median or trimmed mean of values.

    Raises:
        ValueError: another summary.
    """
    of = torch.tensor(values, dtype=torch.float64).sort().values
    if how == "mean":
        return float(of.mean())
    if how == "median":
        return float(of.quantile(0.5))
    if how == "trimmed mean":
        out = int(TRIM * len(of))
        return float(of[out : len(of) - out].mean())
    raise ValueError(f"no summary {how!r}: there are mean, median and trimmed mean")


def effect(
    models: dict[str, list[Result]], one: str, other: str, of: Value = few
) -> Interval | None:
    """By how much one model's bound is above another's, paired by seed; None where one was not run."""
    if one not in models or other not in models:
        return None
    base = {r.provenance["seed"]: r for r in models[other]}
    pairs = [(r, base[r.provenance["seed"]]) for r in models[one] if r.provenance["seed"] in base]
    return paired_difference(*([of(pair[i]) for pair in pairs] for i in (0, 1)))


def by_sequence(models: dict[str, list[Result]], one: str, other: str) -> Interval:
    """The same of the first seed alone, paired by test sequence: it tells of these two models, no more."""
    a, b = (models[name][0].values["final"]["by_sequence"] for name in (one, other))
    return paired_difference(a, b)


def spread(found: list[Result], of: Value, digits: int = 3) -> str:
    """A measurement's mean over seeds and its standard error."""
    values = torch.tensor([of(r) for r in found], dtype=torch.float64)
    mean = number(float(values.mean()), digits)
    if len(values) == 1:
        return mean
    return f"{mean} ± {number(float(values.std()) / math.sqrt(len(values)), digits)}"


def number(value: float, digits: int = 3) -> str:
    """A number with so many digits behind the point, or with an exponent where it is huge."""
    return f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.1e}"


def interval(found: Interval | None, digits: int = 3) -> str:
    """A difference and its interval, as short as a table wants it."""
    if found is None:
        return "not run"
    mean, low, high = (
        f"{v:+.{digits}f}" if abs(v) < 1e4 else f"{v:+.1e}"
        for v in (found.mean, found.low, found.high)
    )
    return mean if found.n == 1 else f"{mean} [{low}, {high}]"


def told(found: Interval, digits: int = 3, unit: str = "seed") -> str:
    """A difference in words."""
    if found.n > 1 and max(abs(found.low), abs(found.high)) >= 1e4:
        return f"{interval(found, digits)} (95 %, {found.n} {unit}s)"
    return paired.format_difference(found, digits, unit=unit)


def seeds_of(several: list[Result]) -> str:
    """How many seeds, in words."""
    return f"{len(several)} seed{'s' * (len(several) > 1)}"


def most(found: Chapter) -> int:
    """The particles of the second evaluation."""
    return training.settings(found.profile, "switching").many


# Tables


def counts(result: Result) -> list[str]:
    """Parameters as the paper counts them, and those that are alive."""
    final = result.values["final"]
    published = final.get("as_published")
    return [f"{published:,}" if published else "not in the paper", f"{final['live']:,}"]


def table(found: Chapter, dataset: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: a model a row, mean and standard error over seeds; nats a step."""
    rows = []
    for model, of in found.sets[dataset].items():
        paper_says = f"{PUBLISHED[model]:.2f}" if model in PUBLISHED else ""
        cells = [spread(of, value) for value in (few, many)]
        rows.append([model, *counts(of[0]), *cells, str(len(of)), paper_says or "not given"])
    if dataset.startswith("switching"):
        exact = found.truth.values["test"]
        rows.append(
            [
                "exact Bayes",
                "none",
                "none",
                *2 * [f"{sum(exact) / len(exact):.3f}"],
                "none",
                "not given",
            ]
        )
    s = training.settings(found.profile, dataset)
    head = ["model", "published count", "live", f"{s.n_particles} particles", f"{s.many} particles"]
    return [*head, "seeds", "in the paper"], rows


def suites(found: Chapter, how: str = "median") -> tuple[list[str], list[list[str]]]:
    """Head and rows: a model a row, a test suite a column; nats a step, mean over seeds."""
    rows = []
    for model, of in found.sets[found.system].items():
        if "suites" in of[0].values:
            cells = [spread(of, on_suite(name, how), 2) for name in SUITES[1:]]
            rows.append([model, *cells, str(len(of))])
    return ["model", *SUITES[1:], "seeds"], rows


def suite_differences(found: Chapter, other: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows: VHRNN less another model, a suite a row, a summary a column."""
    models = found.sets[found.system]
    hows = ("median", "trimmed mean", "mean")
    rows = [
        [name, *(interval(effect(models, MAIN[0], other, on_suite(name, how))) for how in hows)]
        for name in SUITES[1:]
    ]
    return ["suite", *hows], rows


def sizes(found: Chapter) -> tuple[list[str], list[list[str]]]:
    """Head and rows: VHRNN less VRNN on the chorales, by latent size and by live weights."""
    models = found.sets["jsb"]
    rows = []
    for size in SIZES:
        for other in (f"VRNN {size}", f"VRNN {MATCHED[size]} matched"):
            one = f"VHRNN {size}"
            more = models[one][0].values["final"]["live"] / models[other][0].values["final"]["live"]
            cells = [interval(effect(models, one, other, of)) for of in (few, many)]
            rows.append([f"{one} minus {other}", f"{more - 1:+.1%}", *cells])
    return ["pair", "live weights", "as trained", f"{most(found)} particles"], rows


def ablation(found: Chapter) -> tuple[list[str], list[list[str]]]:
    """Head and rows: what the hyper networks read, first seed; nats a step."""
    rows = []
    for key, models in ABLATIONS.items():
        dataset, size = key
        said = " / ".join(f"{value:.2f}" for value in PUBLISHED_ABLATIONS[key])
        cells = [f"{few(found.sets[dataset][model][0]):.3f}" for model in models]
        rows.append([f"{NAMES[dataset]}, z of {size}", *cells, said])
    return ["set and size", "latent", "hidden", "both", "in the paper"], rows


def others(found: Chapter) -> tuple[list[str], list[list[str]]]:
    """Head and rows: VHRNN and VRNN on the other sets, and their difference over test sequences."""
    rows = []
    for dataset in OTHERS:
        models, (one, other) = found.sets[dataset], PAIR[dataset]
        cells = [f"{number(of(models[name][0]))}" for name in (one, other) for of in (few, many)]
        live = " / ".join(f"{models[n][0].values['final']['live']:,}" for n in (one, other))
        a, b = (models[name][0].values["final"]["by_sequence"] for name in (one, other))
        difference = torch.tensor(a) - torch.tensor(b)
        rows.append(
            [NAMES[dataset], live, *cells, interval(by_sequence(models, one, other)),
             number(float(difference.quantile(0.5)))]
        )  # fmt: skip
    n_few = training.settings(found.profile, "jsb").n_particles
    heads = [f"{name}, {n} particles" for name in ("VHRNN", "VRNN") for n in (n_few, most(found))]
    return ["set", "live weights", *heads, "VHRNN minus VRNN, a test sequence", "its median"], rows


# Claims


def claims(found: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    table_one = "On the switching system VHRNN has the better bound, with as many parameters as VRNN or fewer"
    made = [
        _switching(found, found.system, table_one, f"{SOURCE}, table 1"),
        _extrapolation(found),
        _below_truth(found),
    ]
    if found.system != "switching":
        made.append(_switching(found, "switching", "It has so after a third of the epochs", OURS))
    if "jsb" in found.sets:
        made += [_table_two(found, False), _table_two(found, True), _counts(found)]
        made += [_other(found, name) for name in ("piano-midi", "stocks", "gas-sensors")]
        made += [_other(found, "exchange-rates", OURS)]
    if "VHRNN 4 latent" in found.sets[found.system]:
        made.append(_ablation(found))
    made += [_around(found), _deviations(found)]
    if "HyperLSTM" in found.sets[found.system]:
        made.append(_latent(found))
    return made


def _switching(found: Chapter, dataset: str, text: str, source: str) -> Claim:
    models = found.sets[dataset]
    gaps = {
        (other, n): effect(models, MAIN[0], other, of)
        for other in MAIN[1:]
        if other in models
        for n, of in (("as trained", few), (f"{most(found)} particles", many))
    }
    said = "; ".join(f"minus {other}, {n} {told(gap)}" for (other, n), gap in gaps.items())
    epochs = training.settings(found.profile, dataset).epochs
    return _claim(
        found,
        text,
        source,
        f"VHRNN 4, test sequences, {epochs} epochs, nats a step: {said}",
        _all([above_zero(gap) for gap in gaps.values()]),
    )


def _extrapolation(found: Chapter) -> Claim:
    models = found.sets[found.system]
    parts, held = [], []
    for other in MAIN[1:]:
        if other not in models:
            continue
        gaps = {name: effect(models, MAIN[0], other, on_suite(name)) for name in SUITES[1:]}
        parts.append(
            f"minus {other}: " + ", ".join(f"{name} {interval(gap)}" for name, gap in gaps.items())
        )
        held += [above_zero(gap) for gap in gaps.values()]
    n = len(models[MAIN[0]])
    return _claim(
        found,
        "VHRNN follows systems better that training never showed: without noise, switched, longer, with "
        "other matrices",
        f"{SOURCE}, table 1",
        f"medians over sequences, nats a step, {n} seed{'s' * (n > 1)}: {'; '.join(parts)}; asked for: "
        "above 0 beyond the interval on all six suites, against each VRNN",
        _all(held),
    )


def _below_truth(found: Chapter) -> Claim:
    exact = torch.tensor(found.truth.values["test"], dtype=torch.float64)
    best, passed = {}, []
    for model, of in found.sets[found.system].items():
        values = [torch.tensor(r.values["final"]["by_sequence_many"]).double() - exact for r in of]
        worst = max(values, key=lambda v: float(v.mean()))
        error = float(worst.std()) / math.sqrt(len(worst))
        best[model] = float(worst.mean())
        passed.append(float(worst.mean()) <= 4 * error)
    nearest = max(best, key=lambda name: best[name])
    return _claim(
        found,
        "No model beats exact Bayes",
        OURS,
        f"exact: {float(exact.mean()):.3f} nats a step on the same {len(exact)} sequences; the nearest, "
        f"{nearest}, stays {-best[nearest]:.3f} below with {most(found)} particles",
        all(passed),
        scale=f"profile {found.profile.name}, {len(exact)} test sequences",
    )


def pooled(models: dict[str, list[Result]], matched: bool, of: Value = few) -> Interval:
    """VHRNN less VRNN on the chorales, paired by size and seed over all sizes."""
    both = []
    for size in SIZES:
        other = f"VRNN {MATCHED[size]} matched" if matched else f"VRNN {size}"
        base = {r.provenance["seed"]: of(r) for r in models[other]}
        both += [
            (of(r), base[r.provenance["seed"]])
            for r in models[f"VHRNN {size}"]
            if r.provenance["seed"] in base
        ]
    return paired_difference(*zip(*both, strict=True))


def _table_two(found: Chapter, matched: bool) -> Claim:
    models = found.sets["jsb"]
    gaps = {
        what: pooled(models, matched, of)
        for what, of in (("as trained", few), (f"{most(found)} particles", many))
    }
    each = ", ".join(
        f"{size} {interval(effect(models, f'VHRNN {size}', other))}"
        for size in SIZES
        for other in [f"VRNN {MATCHED[size]} matched" if matched else f"VRNN {size}"]
    )
    said = "; ".join(f"{what} {told(gap, unit='pair')}" for what, gap in gaps.items())
    text = (
        "On JSB Chorales VHRNN has the better bound also with no more live weights"
        if matched
        else "On JSB Chorales VHRNN has the better bound at the same latent size and published count"
    )
    return _claim(
        found,
        text,
        OURS if matched else f"{SOURCE}, table 2",
        f"VHRNN minus VRNN, nats a frame, paired by size and seed: {said}; by size: {each}",
        _all([above_zero(gap) for gap in gaps.values()]) if len(models["VHRNN 24"]) > 2 else None,
        scale=f"profile {found.profile.name}, three sizes, {seeds_of(models['VHRNN 24'])}",
    )


def _counts(found: Chapter) -> Claim:
    models = found.sets["jsb"]
    more = []
    for size in SIZES:
        one, other = (
            models[f"{kind} {size}"][0].values["final"]["live"] for kind in ("VHRNN", "VRNN")
        )
        more.append(one / other - 1)
    return _claim(
        found,
        "Table 2 compares models with as many parameters",
        f"{SOURCE}, table 2",
        "the published counts are met exactly only with a reverse LSTM that nothing uses; without it VHRNN "
        "has " + ", ".join(f"{m:.1%}" for m in more) + " more weights that learn",
        max(abs(m) for m in more) < 0.05,
        scale="exact",
    )


def _other(found: Chapter, dataset: str, source: str = f"{SOURCE}, figure 5") -> Claim:
    models, (one, other) = found.sets[dataset], PAIR[dataset]
    gap = effect(models, one, other)
    over = by_sequence(models, one, other)
    live = [f"{models[name][0].values['final']['live']:,}" for name in (one, other)]
    text = {
        "piano-midi": "On Piano-midi VHRNN has the better bound",
        "stocks": "On stocks through the crisis of 2008 VHRNN has the better bound",
        "gas-sensors": "On gas sensors VHRNN is on a par with VRNN",
        "exchange-rates": "On exchange rates VHRNN has the better bound",
    }[dataset]
    return _claim(
        found,
        text,
        source,
        f"{one} minus {other} ({' and '.join(live)} live weights): {told(gap)} nats a step; a test sequence "
        f"{told(over, unit='sequence')}; one seed tells of two trained models, not of two methods",
        above_zero(gap) if gap.n > 2 else None,
        scale=f"profile {found.profile.name}, {gap.n} seed{'s' * (gap.n > 1)}",
    )


def _ablation(found: Chapter) -> Claim:
    parts = []
    for (dataset, size), models in ABLATIONS.items():
        said = ", ".join(
            f"{what} {few(found.sets[dataset][model][0]):.3f}"
            for what, model in zip(("latent", "hidden", "both"), models, strict=True)
        )
        parts.append(f"{NAMES[dataset]} z of {size}: {said}")
    return _claim(
        found,
        "On music the hyper networks do best on z alone, on the switching system on z and h",
        f"{SOURCE}, table 3",
        f"nats a step: {'; '.join(parts)}; one seed each",
        None,
        scale=f"profile {found.profile.name}, 1 seed",
    )


def kl_rise(result: Result, suite: str) -> float:
    """By how much the KL divergence of the five steps from a switch on is above the ten before; nats."""
    at = result.values["switches"]
    kl = dict(zip(at["offsets"], at[suite]["kl"], strict=True))
    return sum(kl[i] for i in range(5)) / 5 - sum(kl[i] for i in range(-10, 0)) / 10


def kl_decay(result: Result, suite: str) -> float:
    """By how much it falls from those five steps to the steps 10 to 19 after a switch; nats."""
    at = result.values["switches"]
    kl = dict(zip(at["offsets"], at[suite]["kl"], strict=True))
    return sum(kl[i] for i in range(5)) / 5 - sum(kl[i] for i in range(10, 20)) / 10


def _around(found: Chapter) -> Claim:
    models = found.sets[found.system]
    one, other = PAIR["switching"]
    parts, held = [], []
    for suite, what in (("test", "sigma changes"), ("switch", "W changes and x starts anew")):
        for model in (one, other):
            rise, decay = (
                paired_difference([of(r, suite) for r in models[model]], [0.0] * len(models[model]))
                for of in (kl_rise, kl_decay)
            )
            parts.append(f"{what}, {model}: rise {interval(rise)}, decay {interval(decay)}")
            if model == one:
                held += [above_zero(rise), above_zero(decay)]
    return _claim(
        found,
        "The KL divergence of VHRNN's posterior from its prior rises when the system switches and "
        "decays as "
        "it is identified again",
        f"{SOURCE}, figures 2 and 3",
        f"nats a step: {'; '.join(parts)}; asked for: both above 0 beyond the interval for VHRNN. A "
        "rise and a fall do not show by themselves that a system was identified: compare VRNN, whose "
        "weights are fixed",
        _all(held),
    )


def _deviations(found: Chapter) -> Claim:
    models = found.sets[found.system]
    told_of, held = [], []
    for model in PAIR["switching"]:
        means = [
            sum(v) / len(v) for v in (r.values["switches"]["follows_noise"] for r in models[model])
        ]
        over = paired_difference(means, [0.0] * len(means))
        told_of.append(f"{model} {told(over)}")
        held.append(above_zero(over))
    return _claim(
        found,
        "VHRNN's predicted deviation follows the noise of the suite RAND",
        f"{SOURCE}, figure 4",
        f"correlation of the logs, mean over sequences: {'; '.join(told_of)}; asked for: VHRNN's above 0, "
        "however weak, and not that it is above VRNN's",
        held[0],
    )


def _plateau(found: Chapter) -> str:
    models = found.sets[found.system]
    by_seed = "; ".join(
        f"{name} {' / '.join(f'{many(r):.2f}' for r in models[name])}"
        for name in (MAIN[0], "HyperLSTM", PAIR["switching"][1])
    )
    return (
        f"by seed: {by_seed}. Runs differ in whether they have left the level at which the VRNNs stay, and "
        "so this compares how soon a run leaves it, too"
    )


def _latent(found: Chapter) -> Claim:
    models = found.sets[found.system]
    gap = effect(models, MAIN[0], "HyperLSTM", many)
    live = [f"{models[name][0].values['final']['live']:,}" for name in (MAIN[0], "HyperLSTM")]
    return _claim(
        found,
        "The latent variable is worth its place: VHRNN is better than a hyper LSTM without one",
        OURS,
        f"VHRNN 4 with {most(found)} particles minus HyperLSTM with a mixture at its output "
        f"({' and '.join(live)} live weights), test sequences: {told(gap)} nats a step; {_plateau(found)}",
        above_zero(gap),
    )


def _claim(
    found: Chapter, text: str, source: str, measured: str, holds: bool | None, scale: str = ""
) -> Claim:
    scale = scale or f"profile {found.profile.name}, {found.scale}"
    return Claim("", CHAPTER, TITLE, text, source, measured, scale, verdict(holds))


def _all(parts: list[bool | None]) -> bool | None:
    return None if not parts or any(p is None for p in parts) else all(parts)


def verify(profile: profiles.Profile) -> list[dict[str, Any]]:
    """Bounds of the switching system's published weights, again, with other noise; and the oracle."""
    checks = []
    dataset = "switching" if profile.name == "smoke" else "switching-long"
    s = training.settings(profile, dataset)
    test = training.material(dataset, s).test
    for model in PAIR[dataset]:
        published = training.result(profile, dataset, model, 0)
        net = reread(published, dataset, model, s)
        for n, value in (
            (s.n_particles, published.values["final"]["fivo"][0]),
            (s.many, many(published)),
        ):
            again = [
                training.per_step(training.likelihoods(net, test, n, seed), test)
                for seed in range(100, 112)
            ]
            checks.append(check(f"{dataset} {model}, {n} particles", value, again))
    exact = training.truth(profile).values["test"]
    again = paper.oracle_log_likelihood(test.x, training.matrices()) / test.lengths
    checks.append(
        check("switching, exact Bayes", sum(exact) / len(exact), [float(again.mean())], 1e-4)
    )
    return checks


def reread(published: Result, dataset: str, model: str, s: training.Settings) -> torch.nn.Module:
    """The model of a published result, from its weights."""
    x_dim = len(published.tensors["input_mean"])
    net = training.build(dataset, MODELS[dataset][model], s, x_dim)
    net.load_state_dict(published.tensors)
    return net.requires_grad_(False)


# What the page shows


def page_models(found: Chapter, dataset: str) -> dict[str, dict[str, Any]]:
    """The two models of a set that travel with the page, as `dgm_book.widgets.HyperWeights` takes them."""
    told_of = {}
    for name, model in zip(("VHRNN", "VRNN"), PAIR[dataset], strict=True):
        result = found.sets[dataset][model][0]
        how, s = MODELS[dataset][model], training.settings(found.profile, dataset)
        told_of[name] = {
            "kind": how.kind,
            "emission": "bernoulli" if len(result.tensors["input_mean"]) == 88 else "gaussian",
            "state": {key: value.float().numpy() for key, value in result.tensors.items()},
            "hyper_input": how.hyper_input,
            "sigma_min": s.sigma_min,
        }
    return told_of


def page_golden(
    found: Chapter, dataset: str, rounded: dict[str, dict[str, Any]], n_particles: int = 3
) -> dict[str, dict[str, Any]]:
    """A made sequence and noise, and what PyTorch makes of them with the page's rounded weights."""
    s = training.settings(found.profile, dataset)
    generator = torch.Generator().manual_seed(0)
    if dataset.startswith("switching"):
        x = training.suite("test", s).observations[0, :20]
    else:
        x = music.synthetic_tunes(1, 9)[0][:20].double()
    golden = {}
    for name, model in zip(("VHRNN", "VRNN"), PAIR[dataset], strict=True):
        net = reread(found.sets[dataset][model][0], dataset, model, s)
        net.load_state_dict({key: torch.from_numpy(a) for key, a in rounded[name].items()})
        noise = torch.randn(
            len(x), n_particles, net.z_dim, generator=generator, dtype=torch.float64
        )
        of = paper.trace(net.double(), x, noise)._asdict()
        kept = ("z", "log_alpha", "kl", "mean_x", "deviation_x", "scales", "h")
        golden[name] = {"x": x.numpy(), "noise": noise.numpy()}
        golden[name] |= {key: of[key].numpy() for key in kept}
    return golden


def page_around(found: Chapter) -> list[dict[str, Any]]:
    """KL a step about a switch, a panel a kind of switch, for `figures.through_training`."""
    models = found.sets[found.system]
    panels = []
    for suite, title in (
        ("test", "sigma changes (test)"),
        ("switch", "W changes, x starts anew (SWITCH)"),
    ):
        lines = {}
        for model in reversed(PAIR["switching"]):
            lines[model] = [
                (r.values["switches"]["offsets"], r.values["switches"][suite]["kl"])
                for r in models[model]
            ]
        panels.append({"title": title, "lines": lines})
    return panels


def page_course(found: Chapter) -> list[dict[str, Any]]:
    """Validation through training on the switching system, for `figures.through_training`."""
    panels = []
    for dataset in dict.fromkeys(("switching", found.system)):
        lines = {}
        for model in reversed(PAIR["switching"]):
            rows = [r.values["rows"] for r in found.sets[dataset][model]]
            lines[model] = [
                ([row["epoch"] for row in of], [row["validation"] for row in of]) for of in rows
            ]
        epochs = training.settings(found.profile, dataset).epochs
        panels.append({"title": f"{epochs} epochs", "lines": lines})
    return panels


def page_sizes(found: Chapter) -> list[dict[str, Any]]:
    """Chorale models' bounds by published and by live count, for `figures.through_training`; or nothing."""
    models = found.sets.get("jsb", {})
    panels = []
    for title, of in (("as published", "as_published"), ("alive", "live")):
        lines = {}
        for kind in ("VRNN", "VHRNN"):
            rows = sorted(
                (several[0].values["final"][of], sum(few(r) for r in several) / len(several))
                for model, several in models.items()
                if model in table_two() and model.startswith(kind + " ")
            )
            lines[kind] = [([row[0] for row in rows], [row[1] for row in rows])]
        panels.append({"title": title, "lines": lines})
    return panels if models else []


def page_piece(found: Chapter, n_steps: int = 48, seed: int = 0) -> list[list[int]]:
    """What the music model writes in PyTorch, as lists of MIDI numbers: the poster's piece."""
    dataset = found.music
    s = training.settings(found.profile, dataset)
    model = PAIR[dataset][0]
    net = reread(found.sets[dataset][model][0], dataset, model, s)
    generator = torch.Generator().manual_seed(seed)
    roll: Tensor = paper.generate(net, n_steps, 1, generator)[0]
    return [(frame.nonzero()[:, 0] + 21).tolist() for frame in roll]


def page_systems() -> Any:
    """The ten matrices (10, 2, 2) of the switching system, as an array."""
    return training.matrices().numpy()


def baselines(found: Chapter) -> list[str]:
    """The VRNNs beside which VHRNN stands on the switching system."""
    return [name for name in MAIN[1:] if name in found.sets[found.system]]


class Walk(NamedTuple):
    """Particles of the linear-Gaussian system; the place before the first step is not used."""

    z: Tensor  # (R,)


def linear_gaussian() -> tuple[Tensor, float, tuple[Callable, Callable]]:
    """Five observations (5, 1) of a linear-Gaussian system, log p(x), and `init` and `step` of its prior.

    z_1 ~ N(0, 1), z_t = 0.9 z_{t-1} + N(0, 0.5), x_t = z_t + N(0, 0.3), variances in brackets.
    """
    a, q, r = 0.9, 0.5, 0.3
    x = torch.tensor([[0.5], [-0.2], [1.1], [0.7], [-0.4]], dtype=torch.float64)
    mean, variance, exact = 0.0, 1.0, 0.0
    for value in x[:, 0].tolist():
        total = variance + r
        exact -= 0.5 * (math.log(2 * math.pi * total) + (value - mean) ** 2 / total)
        gain = variance / total
        mean, variance = a * (mean + gain * (value - mean)), a * a * (1 - gain) * variance + q

    def init(rows: int, generator: torch.Generator | None) -> Walk:
        return Walk(torch.zeros(rows, dtype=torch.float64))

    def step(state: Walk, x_t: Tensor, t: int, generator: torch.Generator | None):
        noise = torch.randn(len(state.z), generator=generator, dtype=torch.float64)
        z = a * state.z + math.sqrt(q) * noise if t else noise
        log_alpha = -0.5 * ((x_t[:, 0] - z) ** 2 / r + math.log(2 * math.pi * r))
        return Walk(z), log_alpha

    return x, exact, (init, step)


def real_tables(found: Chapter) -> list[tuple[list[str], list[list[str]], str, str]]:
    """Tables of the real sequences with their captions and badges; none at smoke."""
    if "jsb" not in found.sets:
        return []
    pairs = "VHRNN minus VRNN, one seed each, and so no interval; nats a frame."
    read = "What the hyper networks read, nats a step, one seed each."
    rest = (
        "Other sequences, nats a step, one seed: the difference over test sequences, with a 95 % "
        "interval, tells "
        "of these two trained models."
    )
    paired_models = [m for m in table_two() if m in found.sets["jsb"]]
    shown = (
        [found.sets["jsb"][model] for model in paired_models],
        [found.sets[name][m][:1] for (name, _), models in ABLATIONS.items() for m in models],
        [found.sets[name][model] for name in OTHERS for model in PAIR[name]],
    )
    tables = (sizes(found), pairs), (ablation(found), read), (others(found), rest)
    sets = "JSB Chorales", "switching system and JSB Chorales", ""
    return [
        (*table, caption, results.own_badge(*of, n=n))
        for (table, caption), of, n in zip(tables, shown, sets, strict=True)
    ]


# What the page says


def told_page(found: Chapter) -> dict[str, str]:
    """The page's words that hang on results."""
    return {
        "switching_said": _switching_said(found),
        "suites_said": _suites_said(found),
        "around_said": _around_said(found),
        "music_text": _music_text(found),
        "listen_said": _listen_said(found),
        "music_said": _music_said(found),
        "others_said": _others_said(found),
        "sequences_said": _sequences_said(found),
        "growth_said": _growth_said(found),
    }


def _switching_said(found: Chapter) -> str:
    models, exact = found.sets[found.system], found.truth.values["test"]
    truth = sum(exact) / len(exact)
    one, other = PAIR["switching"]
    best = [sum(few(r) for r in models[name]) / len(models[name]) for name in (one, other)]
    gap = effect(models, one, other)
    closed = (best[0] - best[1]) / (truth - best[1])
    error = float(torch.tensor(exact, dtype=torch.float64).std()) / math.sqrt(len(exact))
    said = (
        f"Exact Bayes has {truth:.3f} ± {error:.3f} nats a step on the table's {len(exact)} test sequences; "
        "the value further up is of other sequences from the same systems, and ± is over sequences. "
        f"{one} minus the VRNN with as many live weights is {told(gap)}"
    )
    said += (
        f". So it closes {closed:.0%} of the way from that VRNN to the truth, and both stay far from it."
        if closed > 0
        else ": it comes no nearer to the truth."
    )
    medians = " / ".join(f"{v:+.2f}" for v in median_gaps(found))
    said += f" That is by means; by the median over test sequences the difference is {medians}, by seed."
    single = [name for name in ONE_SEED if name in models]
    if single and len(models[one]) > 1:
        said += (
            f" {' and '.join(single)} have one seed, and no error; beside them stands {one}'s first seed, "
            f"{few(models[one][0]):.3f}, not its mean."
        )
    if "HyperLSTM" in models:
        plain = effect(models, one, "HyperLSTM", many)
        said += (
            " The HyperLSTM generates its weights from what it has seen, with no latent variable, "
            "and a mixture "
            f"of four at its output. VHRNN with {most(found)} particles minus HyperLSTM: {told(plain)} "
            f"nats a step; {_plateau(found)}."
        )
    return said


def median_gaps(found: Chapter) -> list[float]:
    """By seed, the median over test sequences of VHRNN's bound less that of the VRNN, nats a step."""
    models = found.sets[found.system]
    pairs = zip(*(models[name] for name in PAIR["switching"]), strict=True)
    sequences = (
        [torch.tensor(r.values["final"]["by_sequence"], dtype=torch.float64) for r in pair]
        for pair in pairs
    )
    return [float((one - other).quantile(0.5)) for one, other in sequences]


def _suites_said(found: Chapter) -> str:
    models = found.sets[found.system]
    one, other = PAIR["switching"]
    gaps = {name: effect(models, one, other, on_suite(name)) for name in SUITES[1:]}
    if len(models[one]) < 2:
        return (
            "With one seed the differences have no interval, and tell of two trained models alone."
        )
    above = [name for name, gap in gaps.items() if gap.low > 0]
    below = [name for name, gap in gaps.items() if gap.high < 0]
    rest = [name for name in gaps if name not in above + below]
    parts = [
        f"{word} on {', '.join(names)}"
        for word, names in (
            ("above 0", above),
            ("below 0", below),
            ("not to be told from 0", rest),
        )
        if names
    ]
    return (
        f"By the median, VHRNN minus the VRNN with as many live weights is {'; '.join(parts)}. "
        "In the paper it is above 0 on all six, by far."
    )


def _around_said(found: Chapter) -> str:
    models = found.sets[found.system]
    parts = []
    changes = (("test", "sigma changes"), ("switch", "the matrix changes and x starts anew"))
    for suite, what in changes:
        for model in PAIR["switching"]:
            values = [kl_rise(r, suite) for r in models[model]]
            parts.append((what, model, paired_difference(values, [0.0] * len(values))))
    said = "; ".join(f"where {what}, {model} {told(rise)}" for what, model, rise in parts)
    return (
        "The KL of the first five steps from a switch on, minus that of the ten before, nats a step: "
        f"{said}."
    )


def _music_text(found: Chapter) -> str:
    if found.music == "jsb":
        return "229 chorales by Bach (the set itself is not part of this book)"
    return "tunes made by rule, as a stand-in for Bach's chorales"


def _listen_said(found: Chapter) -> str:
    models = found.sets[found.music]
    one, other = PAIR[found.music]
    values = [sum(few(r) for r in models[name]) / len(models[name]) for name in (one, other)]
    return (
        f"On pieces that it has not seen, VHRNN has {values[0]:.2f} nats a frame and VRNN "
        f"{values[1]:.2f}. A "
        "temperature below one makes both surer of themselves."
    )


def _music_said(found: Chapter) -> str:
    if "jsb" not in found.sets:
        return "The real sets were not run at this profile."
    models = found.sets["jsb"]
    said = [
        f"{what} {told(pooled(models, matched), unit='pair')}"
        for matched, what in (
            (False, "at the same latent size"),
            (True, "with as many live weights"),
        )
    ]
    rows = models[PAIR["jsb"][0]][0].values["rows"]
    more = rows[-1]["validation"] - rows[-2]["validation"]
    return (
        f"On the chorales VHRNN minus VRNN, over the three sizes, is {said[0]} nats a frame; {said[1]}. "
        f"Training ended at epoch {rows[-1]['epoch']}, and was not at its end: {PAIR['jsb'][0]} gained "
        f"{more:.2f} nats a frame in validation from epoch {rows[-2]['epoch']} on."
    )


def _others_said(found: Chapter) -> str:
    if "stocks" not in found.sets:
        return ""
    companies = found.sets["stocks"]["VRNN 28"][0].values["final"]["n_sequences"]
    least = training.settings(found.profile, "exchange-rates").sigma_min
    return (
        "The other four sets have one seed each, so their rows describe two trained models and decide "
        f"nothing. {_unlearned(found)} The stocks are {companies} companies, since the paper's set is not "
        "public; the models "
        "learn from the first half of 2008 and are tested on the crash. The sensors come as means of a "
        "minute. In the exchange rates one currency was pegged: on days on which it does not move, a "
        f"Gaussian's likelihood hangs on its least deviation, {least:g} for both models."
    )


def _unlearned(found: Chapter) -> str:
    """Why the stocks and the sensors say nothing of either model."""
    models, (one, other) = found.sets["stocks"], PAIR["stocks"]
    a, b = (torch.tensor(models[name][0].values["final"]["by_sequence"]) for name in (one, other))
    rows = found.sets["gas-sensors"][PAIR["gas-sensors"][0]][0].values["rows"]
    worst = min(row["validation"] for row in rows)
    return (
        f"On the stocks the two models' difference is {number(float((a - b).mean()), 0)} nats a step by the "
        f"mean and {number(float((a - b).quantile(0.5)), 1)} by the median: a few companies, which neither "
        f"model expects, decide it. On the sensors the validation, by which the weights are chosen, fell "
        f"to {worst:,.0f} nats a step in training. Neither set was learned, and neither row says which "
        "model is the better."
    )


def _sequences_said(found: Chapter) -> str:
    n = found.sets[found.system][MAIN[0]][0].values["n_training"]
    return f"{n} sequences of {training.settings(found.profile, found.system).n_steps} steps"


def _growth_said(found: Chapter) -> str:
    known, unseen = (
        torch.linalg.eigvals(w).abs().amax(1)
        for w in (
            training.matrices(),
            training.suite("zero-shot", training.settings(found.profile, found.system)).matrices,
        )
    )
    return (
        f"{int((known > 1).sum())} of the {len(known)} systems grow, the fastest by "
        f"{float(known.max()) - 1:.0%} a step, and so do {int((unseen > 1).sum())} of the "
        f"{len(unseen)} unseen "
        "ones"
    )
