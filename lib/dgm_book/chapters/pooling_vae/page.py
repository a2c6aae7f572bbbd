"""Chapter 5: which summaries of an encoder's states, and which other fixes, keep a text VAE from collapse."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data import synthetic
from dgm.data.text import Vocabulary
from dgm.measure import Interval, aggregate_mutual_information, bootstrap
from dgm.papers import pooling_vae as paper
from dgm.vae import gaussian_kl, importance_bound
from dgm_book import jobs, profiles, results
from dgm_book import statistics as paired
from dgm_book.chapters.pooling_vae import training
from dgm_book.chapters.pooling_vae.training import CHAPTER, CROSSED, KINDS, name_of
from dgm_book.claims import Claim, verdict
from dgm_book.results import Result
from dgm_book.statistics import is_above_zero as above_zero
from dgm_book.statistics import paired_difference
from dgm_book.verification import check

TITLE = "Posterior collapse and pooling"
V1 = "Long et al. 2019, first version, abstract"
V2 = "Long et al. 2019, abstract"
MAIN = (
    "plain",
    "annealing",
    "free bits",
    "aggressive",
    "mean",
    "max",
    "max annealing",
    "scaled last",
)
ENDINGS = ("plain", "annealing", "mean", "max", "scaled last")  # what smoke has time for
COLLAPSED, ALIVE = 0.1, 1.0  # nats of KL
ENCODERS = {"last": "plain", "mean": "mean", "max": "max"}
N_CLASSES = 6
LADDER = (
    "plain", "annealing", "cyclical", "beta 0.4", "free bits", "aggressive", "scaled last", "mean", "max",
    "absmax", "logsumexp", "mean annealing", "max annealing",
)  # fmt: skip
RACE = ("plain", "annealing", "free bits", "mean", "max", "max annealing")  # shown at first
OTHER_SETS = {
    "ptb": "Penn Treebank, 5 to 15 words a sentence, one seed; nats a sentence.",
    "endings": "Generated sentences that all end alike.",
}
CROSSED_SETS = {"endings": "Generated sentences.", "yelp": "Short Yelp."}
CROSSED_ON_YELP = ("last adam", "max adam", "last all words", "max all words")
COST = 1.05  # how much longer a step may take
COMPARABLE = 0.1  # nats a sentence
INFORMED = 0.5  # nats of mutual information
CHANGES = [name.removeprefix("max ") for name in CROSSED if name.startswith("max ")]
LABELS = {
    "plain": "last state (plain)",
    "mean": "mean pooling",
    "max": "max pooling",
    "annealing": "last, annealing",
    "aggressive": "last, aggressive",
    "free bits": "last, free bits",
    "mean annealing": "mean, annealing",
    "max annealing": "max, annealing",
    "scaled last": "last, scaled by 4",
    "absmax": "absolute max pooling",
    "logsumexp": "log-sum-exp pooling",
}


def runs(profile: profiles.Profile) -> list[tuple[str, str, int]]:
    """Data set, kind and seed of every run at a profile, the main ones first."""
    if profile.name == "smoke":
        return [("endings", kind, 0) for kind in ENDINGS]
    seeds = range(profile.n_seeds)
    everything = [kind for kind in KINDS if kind not in ENDINGS]
    return [
        *(("yelp", kind, seed) for kind in (*MAIN, "mean annealing") for seed in seeds),
        *(("ptb", kind, 0) for kind in MAIN),
        *(("endings", kind, seed) for kind in ENDINGS for seed in range(5)),
        *(("endings", kind, seed) for kind in everything for seed in seeds),
        *(("yelp", kind, 0) for kind in CROSSED_ON_YELP),
    ]


def context(profile: profiles.Profile) -> results.Context:
    """What this chapter's verification shares."""
    return training.context(profile, main_set(profile))


def main_set(profile: profiles.Profile) -> str:
    """The data set that the chapter's main table is about."""
    return "endings" if profile.name == "smoke" else "yelp"


def run(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Iterator[Result]:
    """Every result of one seed; runs whose seeds go further are shared out over the profile's seeds."""
    for dataset, kind, n in runs(profile):
        if n % profile.n_seeds == seed - first_seed:
            yield training.result(profile, dataset, kind, n + first_seed)
    if seed == first_seed:
        yield training.timing(profile, main_set(profile))
        yield training.vocabulary(profile, main_set(profile))


Runs = dict[str, list[Result]]  # kind -> one result a seed


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    dataset: str  # of the main table
    scale: str
    sets: dict[str, Runs]
    timing: Result
    vocabulary: Result

    @property
    def hidden(self) -> float:
        """The share of words that the decoder does not see in training."""
        return training.settings(self.profile, self.dataset).word_dropout

    @property
    def main(self) -> Runs:
        """The runs of the main table."""
        return self.sets[self.dataset]


def chapter(profile_name: str = "auto", first_seed: int = 0) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, found = jobs.load(run, profile_name, first_seed)
    sets: dict[str, Runs] = {}
    for dataset, kind, n in runs(profile):
        result = found[name_of(dataset, kind, n + first_seed)]
        sets.setdefault(dataset, {}).setdefault(kind, []).append(result)
    main = main_set(profile)
    n = len(sets[main]["plain"])
    scale = f"{n} seed{'s' * (n > 1)}"
    return Chapter(
        profile,
        main,
        scale,
        sets,
        found[f"{main}-timing"],
        found[f"{main}-vocabulary"],
    )


# What the tables and claims say


def told(found: Interval, digits: int = 2) -> str:
    """A difference over seeds in words."""
    return paired.format_difference(found, digits, unit="seed")


def value(of: str | Callable[[Result], float]) -> Callable[[Result], float]:
    """A measurement on the test sentences, by its name ("features relative" for one of a group)."""
    if callable(of):
        return of
    group, _, name = of.partition(" ")
    return lambda r: r.values["final"][group][name] if name else r.values["final"][group]


def effect(
    found: Runs, of: str | Callable[[Result], float], kind: str, control: str = "plain"
) -> Interval:
    """What a kind of model changes, as a paired difference over seeds."""
    pairs = list(zip(found[kind], found[control], strict=False))
    return paired_difference(*([value(of)(pair[i]) for pair in pairs] for i in (0, 1)))


def spread(found: list[Result], of: str | Callable[[Result], float], digits: int = 2) -> str:
    """A measurement's mean over seeds and its standard error."""
    values = torch.tensor([value(of)(r) for r in found], dtype=torch.float64)
    if len(values) == 1:
        return f"{float(values[0]):.{digits}f}"
    error = float(values.std()) / math.sqrt(len(values))
    return f"{float(values.mean()):.{digits}f} ± {error:.{digits}f}"


def seconds(result: Result) -> float:
    """Training time, without measuring: of the processor on a CPU."""
    return result.values["rows"][-1]["seconds"]


def time_ratio(found: Runs, kind: str) -> Callable[[Result], float]:
    """Training time over that of the plain model with the same seed."""
    plain = {r.provenance["seed"]: seconds(r) for r in found["plain"]}
    return lambda r: seconds(r) / plain[r.provenance["seed"]]


COLUMNS = {
    "log-lik.": ("log_likelihood", 2),
    "hidden": ("hidden_log_likelihood", 2),
    "rec.": ("reconstruction", 2),
    "KL": ("kl", 2),
    "inform.": ("information", 2),
    "units": ("active_units", 1),
}


def table(found: Runs, kinds: tuple[str, ...] | None = None) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: a kind a row, mean and standard error over seeds."""
    rows = []
    for kind in kinds or tuple(found):
        if kind in found:
            cells = [spread(found[kind], *column) for column in COLUMNS.values()]
            ratio = spread(found[kind], time_ratio(found, kind))
            rows.append([label(kind), *cells, ratio])
    return ["model", *COLUMNS, "time"], rows


def label(kind: str) -> str:
    """A kind of model as the page names it."""
    return LABELS.get(kind, kind.replace("all words", "no word dropout").replace("adam", "Adam"))


def shares(found: Runs, of: str = "information") -> list[tuple[str, str]]:
    """Of what max pooling gains over the plain model, how much each control gains by itself, per cent."""
    gain = [value(of)(a) - value(of)(b) for a, b in zip(found["max"], found["plain"], strict=False)]
    rows = []
    for kind in ("scaled last", "layer norm", "forget bias", "front", "last adam"):
        if kind not in found:
            continue
        own = [
            100 * (value(of)(a) - value(of)(b)) / g
            for a, b, g in zip(found[kind], found["plain"], gain, strict=False)
        ]
        rows.append((label(kind), told(paired_difference(own, [0.0] * len(own)), 0)))
    return rows


def crossing(found: Runs, of: str = "information") -> tuple[list[str], list[list[str]]]:
    """A measurement of last, mean and max, with parts of the recipe taken away: head and rows."""
    rows = [["the recipe", *(spread(found[kind], of) for kind in ENCODERS.values())]]
    for change in CHANGES:
        kinds = [f"{kind} {change}" for kind in ENCODERS]
        if any(kind in found for kind in kinds):
            cells = [spread(found[kind], of) if kind in found else "not run" for kind in kinds]
            rows.append([label(change), *cells])
    return ["training", "last state", "mean", "max"], rows


def step_ratio(timing: Result, kind: str) -> Interval:
    """The time of a training step over that of the plain model, over batches (bootstrap)."""
    mine, plain = (torch.tensor(timing.values[k], dtype=torch.float64) for k in (kind, "plain"))
    return bootstrap(mine / plain)


def collapsed_text(found: Chapter) -> str:
    """Which of the page's encoders have collapsed, in words."""
    kl = {shown: value("kl")(found.main[kind][0]) for shown, kind in ENCODERS.items()}
    quiet, heard = (
        [f"{k} ({v:.3f} nats)" for k, v in kl.items() if (v < COLLAPSED) == below]
        for below in (True, False)
    )
    parts = []
    if quiet:
        parts.append(
            f"the code says almost nothing, a KL below {COLLAPSED}, with {' and '.join(quiet)}"
        )
    if heard:
        parts.append(f"the code is in use with {' and '.join(heard)}")
    return f"The page has the first seed's models: {'; '.join(parts)}."


def likelihoods_text(found: Chapter) -> str:
    """Why the race's likelihoods are not those of the table, in words."""
    s, main = training.settings(found.profile, found.dataset), found.main
    lines = {k: [r.values["rows"][-1]["log_likelihood"] for r in of] for k, of in main.items()}
    said = (
        "The lines do not end at the values of the table: the plain model ends at "
        f"{lines['plain'][0]:.1f} nats, and the table has {spread(main['plain'], 'log_likelihood', 1)}. "
        f"The lines are of {training.N_WATCHED} validation sentences with {training.K_WATCHED} codes each, "
        f"the table of {s.n_likelihood} test sentences with {s.n_samples}; other sentences have other "
        "likelihoods."
    )
    if "aggressive" in main:
        in_table = told(effect(main, "log_likelihood", "aggressive"))
        ahead = [a - b for a, b in zip(lines["aggressive"], lines["plain"], strict=True)]
        by_seed = " / ".join(f"{v:+.2f}" for v in ahead)
        said += (
            f" The order may differ, too. At the end of the race aggressive training minus the plain model "
            f"is {by_seed} nats, by seed; in the table, {in_table}. "
            "Few codes make a bound loose where a code says much, and take nothing from a model whose code "
            "says nothing: trust the table."
        )
    return said


def dispersion_text(found: Chapter) -> str:
    """How much more dispersed pooled features are than last states, early and late, in words."""
    steps = [row["step"] for row in found.main["plain"][0].values["rows"]]
    parts = []
    for i in dict.fromkeys((0, 1, len(steps) - 1)):
        more = {
            k: effect(found.main, lambda r, i=i: r.values["rows"][i]["features"]["relative"], k)
            for k in ("mean", "max")
        }
        parts.append(
            f"at step {steps[i]:,} " + ", ".join(f"{k} {told(v)}" for k, v in more.items())
        )
    return "; ".join(parts)


def elsewhere_text(found: Chapter) -> str:
    """Where last states do not collapse, in words; empty where that was not run."""
    parts = []
    if "ptb" in found.sets:
        kl = {k: spread(found.sets["ptb"][k], "kl") for k in ("plain", "max")}
        parts.append(
            f"on Penn Treebank the last state keeps a KL of {kl['plain']} nats and max pooling {kl['max']}"
        )
    for name, runs in found.sets.items():
        if "last adam" in runs and "max adam" in runs:
            last, most = (spread(runs[f"{k} adam"], "information") for k in ("last", "max"))
            parts.append(
                f"with Adam on {_NAMES[name]} the last state has a mutual information of {last} nats and "
                f"max pooling {most}"
            )
    return "; ".join(parts) + " (a number without an error is of one seed)" if parts else ""


def sentences_tested(runs: Runs) -> str:
    """How many test sentences, and whether they are generated."""
    first = runs["plain"][0]
    kind = "" if first.provenance["data"] else "generated "
    return f"{first.values['n_test']:,} {kind}test sentences"


def told_setting(found: Chapter) -> str:
    """What the main table is about, in words."""
    s = training.settings(found.profile, found.dataset)
    n = found.main["plain"][0].values["n_test"]
    name = _name(found)
    return (
        f"{name[0].upper()}{name[1:]}: {s.n_training:,} training sentences, {s.steps:,} steps of "
        f"{s.batch_size}, {n:,} test sentences, {found.scale}."
    )


def told_race(found: Chapter) -> dict[str, str]:
    """What the prose on the race takes up."""
    s = training.settings(found.profile, found.dataset)
    free = found.sets["endings"].get("free bits")
    bought = "what they buy at larger sizes: here they were not run"
    if free:
        kl, information = (spread(free, of) for of in ("kl", "information"))
        bought = f"a KL of {kl} nats and a mutual information of {information}"
    return {
        "free_bits": bought,
        "n_likelihood": f"{s.n_likelihood}",
        "n_samples": f"{s.n_samples}",
        "watched": f"{training.N_WATCHED} sentences with {training.K_WATCHED} codes each",
        "race_ends": likelihoods_text(found),
        "dispersed": dispersion_text(found),
        "collapsed": collapsed_text(found),
        "hidden_words": hidden_text(found, "max"),
        "hidden": f"{s.word_dropout:.0%}",
        "clean": told(effect(found.main, "log_likelihood", "max")),
        "hidden_gain": told(effect(found.main, "hidden_log_likelihood", "max")),
    }


def told_crossing(found: Chapter) -> dict[str, str]:
    """Where max pooling gains over the last state, and where it does not, in words."""
    made = found.sets["endings"]
    gains = {"the whole recipe": effect(made, "information", "max", "plain").mean}
    for change in CHANGES:
        if f"max {change}" in made:
            gains[label(change)] = effect(
                made, "information", f"max {change}", f"last {change}"
            ).mean
    large, small = (
        [f"{name} ({gain:+.2f})" for name, gain in gains.items() if (gain > INFORMED) == wanted]
        for wanted in (True, False)
    )
    said = f"On the generated sentences max pooling gains more than {INFORMED} nats with {'; '.join(large)}."
    if small:
        said += f" It gains less with {'; '.join(small)}."
    if elsewhere := elsewhere_text(found):
        said += f" Nor does a last state always collapse: {elsewhere}."
    return {"crossing_said": said}


def bound_from_the_prior(model: paper.LinearGaussianVAE, x: Tensor, n_samples: int) -> float:
    """The importance-weighted bound on log p(x (1, P)) with codes from the prior, a mean over many draws."""
    random = torch.Generator().manual_seed(0)
    repeats = 200_000 // n_samples
    shape = (n_samples, repeats, model.weight.shape[1])
    z = torch.randn(shape, generator=random, dtype=torch.float64)
    return float(importance_bound(model.log_likelihood(x.expand(repeats, -1), z)).mean())


def claims(found: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    main, made = found.main, found.sets["endings"]
    low = [value("kl")(r) < COLLAPSED for r in made["plain"]]
    kl = f"KL {spread(main['plain'], 'kl', 3)} nats"
    elsewhere = elsewhere_text(found)
    claims = [
        _claim(
            found,
            "Read from its last state, a sequence VAE with an autoregressive decoder collapses",
            V1,
            f"{_name(found)}: {kl}; generated sentences: below {COLLAPSED} nat in {sum(low)} of {len(low)} "
            "seeds"
            + (f"; not so elsewhere, which is not judged: {elsewhere}" if elsewhere else ""),
            all(value("kl")(r) < COLLAPSED for r in main["plain"]) and sum(low) >= 0.8 * len(low),
        )
    ]
    for kind in ("max", "mean"):
        alive = [value("kl")(r) > ALIVE for r in made[kind]]
        gain = effect(main, "information", kind)
        claims.append(
            _claim(
                found,
                f"{label(kind).capitalize()} prevents collapse; objective, decoder and schedule stay as "
                "they are",
                V1,
                f"{_name(found)}: mutual information {spread(main[kind], 'information')} nats, against the "
                f"last state {told(gain)}; generated sentences: KL above {ALIVE:.0f} nat in {sum(alive)} "
                f"of {len(alive)} seeds; {hidden_text(found, kind)}",
                _all([above_zero(gain), sum(alive) >= 0.8 * len(alive)]),
            )
        )
    dispersed = {k: effect(main, "features relative", k) for k in ("mean", "max")}
    claims.append(
        _claim(
            found,
            "Pooled features are more dispersed than last states",
            V2,
            f"{_name(found)}, test sentences after training, variance over squared mean, minus that of last "
            "states: "
            + "; ".join(f"{k} {told(v)}" for k, v in dispersed.items())
            + f"; not judged, validation sentences through training: {dispersion_text(found)}",
            _all([above_zero(v) for v in dispersed.values()]),
        )
    )
    better = {k: effect(main, "log_likelihood", k) for k in ("max", "mean")}
    hidden = {k: effect(main, "hidden_log_likelihood", k) for k in ("max", "mean")}
    claims += [
        _claim(
            found,
            "Pooling raises the likelihood of data clearly above the usual sequence VAE's",
            V1,
            f"{_name(found)}, nats a sentence, minus the plain model's: "
            + "; ".join(f"{k} {told(v)}" for k, v in better.items())
            + _elsewhere(found, "log_likelihood"),
            above_zero(better["max"]),
        ),
        _claim(
            found,
            "It does where the decoder sees as few words as in training",
            "asked here",
            f"{_name(found)}, likelihood with {found.hidden:.0%} of the decoder's words hidden: "
            + "; ".join(f"{k} {told(v)}" for k, v in hidden.items()),
            _all([above_zero(v) for v in hidden.values()]),
        ),
        _rivals(found),
        _cost(found),
        _scaling(found),
        _recipe(found),
    ]
    return claims


def hidden_text(found: Chapter, kind: str) -> str:
    """What the recipe hides from the decoder, and what remains without that, in words."""
    shares = [training.settings(found.profile, name).word_dropout for name in found.sets]
    hidden = " or ".join(f"{share:.0%}" for share in dict.fromkeys(shares))
    said = f"in training {hidden} of the words are hidden from every decoder, the plain model's too"
    without = {
        _NAMES[name]: spread(runs[f"{kind} all words"], "information")
        for name, runs in found.sets.items()
        if f"{kind} all words" in runs
    }
    if without:
        said += f"; with none hidden {label(kind)} has a mutual information of " + ", ".join(
            f"{v} ({k})" for k, v in without.items()
        )
    return said


def _elsewhere(found: Chapter, of: str) -> str:
    if "ptb" not in found.sets or found.dataset == "ptb":
        return ""
    other = found.sets["ptb"]
    return f"; Penn Treebank: max {told(effect(other, of, 'max'))}, mean {told(effect(other, of, 'mean'))}"


def _rivals(found: Chapter) -> Claim:
    main = found.main
    rivals = [k for k in ("annealing", "free bits", "aggressive") if k in main]
    less = {k: effect(main, "log_likelihood", "max", k) for k in rivals}
    both = {
        k: effect(main, "log_likelihood", "max annealing", k)
        for k in rivals
        if "max annealing" in main
    }
    return _claim(
        found,
        "Its likelihood is comparable with that of other fixes, or better",
        V2,
        f"{_name(found)}, max minus "
        + "; ".join(f"{k} {told(v)}" for k, v in less.items())
        + "".join(f"; max with annealing minus {k} {told(v)}" for k, v in both.items())
        + f"; asked for: max is not below any by more than its interval and by {COMPARABLE} nat",
        _all([None if v.n == 1 else v.high >= 0 or v.mean > -COMPARABLE for v in less.values()]),
    )


def _cost(found: Chapter) -> Claim:
    ratios = {k: step_ratio(found.timing, k) for k in ("mean", "max")}
    said = "; ".join(f"{k} {r.mean:.3f} [{r.low:.3f}, {r.high:.3f}]" for k, r in ratios.items())
    slow = ""
    if "aggressive" in found.main:
        ahead = spread(found.main["aggressive"], time_ratio(found.main, "aggressive"))
        slow = f"; aggressive training, whole run: {ahead} times"
    return _claim(
        found,
        "Pooling costs next to nothing, and much less than aggressive training",
        V1,
        f"time of a training step over the plain model's, {ratios['max'].n} batches: {said}{slow}; asked "
        f"for: at most {COST}",
        all(r.high <= COST for r in ratios.values()),
    )


def _scaling(found: Chapter) -> Claim:
    made = found.main
    own = effect(made, "information", "scaled last")
    gain = effect(made, "information", "max")
    return _claim(
        found,
        "The gain is one of content: last states made larger do not bring it",
        "asked here",
        f"{_name(found)}, mutual information over the plain model: last state times 4 {told(own)}, max "
        f"pooling {told(gain)}; asked for: less than half",
        None if own.n == 1 else own.mean < gain.mean / 2,
    )


def _recipe(found: Chapter) -> Claim:
    made = found.sets["endings"]
    gains = {
        change: effect(made, "information", f"max {change}", f"last {change}")
        for change in CHANGES
        if f"max {change}" in made
    }
    said = "; ".join(f"{label(k)} {told(v)}" for k, v in gains.items())
    return _claim(
        found,
        "Pooling prevents collapse whatever the training",
        "asked here",
        f"generated sentences, mutual information of max minus last: {said or 'not run at this profile'}; "
        f"asked for: above {INFORMED} nat in each",
        _all([None if v.n == 1 else v.low > 0 and v.mean > INFORMED for v in gains.values()])
        if gains
        else None,
    )


def _name(found: Chapter) -> str:
    return _NAMES[found.dataset]


_NAMES = {"endings": "generated sentences", "yelp": "short Yelp", "ptb": "Penn Treebank"}


def _claim(found: Chapter, text: str, source: str, measured: str, holds: bool | None) -> Claim:
    scale = f"profile {found.profile.name}, {found.scale}"
    return Claim("", CHAPTER, TITLE, text, source, measured, scale, verdict(holds))


def _all(parts: list[bool | None]) -> bool | None:
    return None if any(p is None for p in parts) else all(parts)


def verify(profile: profiles.Profile) -> list[dict[str, Any]]:
    """KL and mutual information of published encoders, again; KL has no noise but that of half precision."""
    checks = []
    for dataset in dict.fromkeys(["endings", main_set(profile)]):
        for kind in ENCODERS.values():
            published = training.result(profile, dataset, kind, 0)
            model, m = training.reread(published)
            mu, logvar, _ = training.posterior(model, m.test)
            kl = float(gaussian_kl(mu.double(), logvar.double()).mean())
            again = [float(aggregate_mutual_information(mu, logvar, seed=i)) for i in range(1, 9)]
            final = published.values["final"]
            checks += [
                check(f"{dataset} {kind}, KL", final["kl"], [kl], 0.01 * final["kl"] + 1e-3),
                check(f"{dataset} {kind}, information", final["information"], again, 1e-3),
            ]
    return checks


# What the page shows


def first_seed(found: Chapter, *kinds: str, dataset: str | None = None) -> list[list[Result]]:
    """The first seed's results of some kinds, as `dgm_book.results.own_badge` takes them."""
    return [found.sets[dataset or found.dataset][kind][:1] for kind in kinds]


def page_race(found: Chapter, dataset: str | None = None) -> list[dict[str, Any]]:
    """Training of every kind of model on a data set, first seed each."""
    names = (
        "seconds",
        "step",
        "log_likelihood",
        "kl",
        "information",
        "reconstruction",
        "active_units",
    )
    rows = []
    for kind, of in found.sets[dataset or found.dataset].items():
        measured = [{name: row[name] for name in names} for row in of[0].values["rows"]]
        rows.append(
            {"name": kind, "label": label(kind), "group": group(kind), "measured": measured}
        )
    return rows


def group(kind: str) -> str:
    """Where a kind of model belongs."""
    if kind == "plain":
        return "plain"
    if kind not in training.FIXES:
        return "control"
    return "fix" if KINDS[kind].pooling == "last" else "pooling"


def page_microscope(found: Chapter) -> list[dict[str, Any]]:
    """Features in 2-D through training: the generated sentences, and the main set without texts."""
    made = training.material("endings", training.settings(found.profile, "endings"))
    few = slice(training.N_FRAMES)
    texts = [made.vocabulary.decode(x) for x in made.validation.tokens[few]]
    topics = [f"topic {int(topic)}" for topic in made.labels[few]]
    sets = [_frames(found.sets["endings"], "endings", "generated, by topic", topics, texts)]
    if found.dataset != "endings":
        last = found.vocabulary.values["last_words"]
        sets.append(_frames(found.main, found.dataset, "reviews, by last word", last, None))
    return sets


def _frames(
    runs: Runs, name: str, label: str, classes: list[str], texts: list[str] | None
) -> dict[str, Any]:
    common = [c for c, _ in Counter(classes).most_common(N_CLASSES)]
    frames = {}
    for shown, kind in ENCODERS.items():
        result = runs[kind][0]
        rows = result.values["rows"]
        frames[shown] = {
            "steps": [row["step"] for row in rows],
            "points": result.tensors["frames"].float(),
            **{
                name: [row["features"][name] for row in rows]
                for name in ("cosine", "relative", "participation")
            },
        }
    return {
        "name": name,
        "label": label,
        "classes": [*common, "other"],
        "class_of": [common.index(c) if c in common else len(common) for c in classes],
        "texts": texts,
        "frames": frames,
    }


def page_encoders(found: Chapter) -> dict[str, dict[str, Any]]:
    """The encoders that travel with the page, as `dgm_book.widgets.PoolingWeights` takes them."""
    return {
        shown: {
            f"posterior.{name}": tensor.float().numpy()
            for name, tensor in found.main[kind][0].tensors.items()
            if name.startswith(("encoder.", "head."))
        }
        for shown, kind in ENCODERS.items()
    }


def page_golden(found: Chapter, rounded: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Examples as ids, and what PyTorch makes of them with the page's rounded weights."""
    words = Vocabulary(found.vocabulary.values["words"])
    corpus = words.encode(page_examples(found)[:8])
    s = training.settings(found.profile, found.dataset)
    means = {}
    for shown, kind in ENCODERS.items():
        model = training.built(KINDS[kind], s, len(words), 0)
        arrays = {name: torch.from_numpy(array) for name, array in rounded[shown].items()}
        model.load_state_dict(arrays, strict=False)
        means[shown] = training.posterior(model, corpus)[0].numpy()
    return {"tokens": corpus.tokens.numpy(), "means": means}


def page_examples(found: Chapter) -> list[str]:
    """Sentences to start from: our own words for reviews, generated ones where the model reads those."""
    if found.dataset == "endings":
        return generated(40)
    own = [
        "the soup was cold and the waiter was rude .",
        "we loved the friendly staff and the cheap tacos !",
        "i will never come back to this place again .",
        "great coffee , but the room is too small .",
    ]
    return own + synthetic.review_grammar(36, 0)[0]


def generated(n: int, front: bool = False) -> list[str]:
    """The first of the sentences that all end alike."""
    return synthetic.shared_endings(n, 0, front=front)[0]


def influence_at_start(places: int = 8) -> dict[str, list[float]]:
    """The share of influence of each word from the last one back, before training, under a narrow start.

    With the base system's weights, from -0.01 to 0.01, on the generated sentences.
    """
    s = training.settings(profiles.get("smoke"), "endings")._replace(weights=0.01, embeddings=0.1)
    m = training.material("endings", s._replace(n_training=200, n_validation=100, n_test=300))
    return {
        shown: training.influence_from_the_end(
            training.built(KINDS[kind], s, len(m.vocabulary), 0), m.test, places
        )
        for shown, kind in ENCODERS.items()
    }


def page_ladder(runs: Runs, kinds: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    """Three measurements of every seed, the plain model first, as `dgm_book.figures.ladder` takes them."""
    titles = {"kl": "KL", "information": "mutual information", "log_likelihood": "log-likelihood"}
    chosen = [kind for kind in kinds or tuple(runs) if kind in runs]
    return [
        {
            "title": f"{title} (nats)",
            "rows": {label(kind): [value(name)(r) for r in runs[kind]] for kind in chosen},
        }
        for name, title in titles.items()
    ]


def page_influence(found: Chapter) -> list[dict[str, Any]]:
    """Whose features which words move, at a narrow start and after training."""
    trained = {
        shown: found.main[kind][0].values["final"]["influence"] for shown, kind in ENCODERS.items()
    }
    axes = {"x": "words from the end", "y": "share of influence", "log": True}
    return [
        {"title": "before training, generated sentences", "lines": influence_at_start(), **axes},
        {"title": f"after training, {_name(found)}", "lines": trained, **axes},
    ]


def page_positions(found: Chapter) -> list[dict[str, Any]]:
    """How much less the decoder misses each word by, with a pooled code, than the plain model does."""
    panels = []
    for dataset in dict.fromkeys(["endings", found.dataset]):
        runs = found.sets[dataset]
        plain = _by_position(runs["plain"])
        lines = {
            kind: (plain - _by_position(runs[kind])).tolist()
            for kind in ("mean", "max", "max annealing")
            if kind in runs
        }
        name = {"endings": "generated sentences", "yelp": "short Yelp"}[dataset]
        panels.append({"title": name, "x": "word", "y": "nats gained", "lines": lines})
    return panels


def told_positions(found: Chapter) -> dict[str, str]:
    """How much of what max pooling's decoder gains over the plain one is gained at the first word."""
    plain, pooled = found.main["plain"], found.main["max"]
    first = float(_by_position(plain)[0] - _by_position(pooled)[0])
    missed = [sum(value("reconstruction")(r) for r in of) / len(of) for of in (plain, pooled)]
    return {
        "first_word": f"{first:.2f} nats",
        "all_words": f"{missed[0] - missed[1]:.2f} nats",
        "on": _name(found),
    }


def _by_position(found: list[Result]) -> torch.Tensor:
    return torch.tensor([r.values["final"]["by_position"] for r in found]).mean(0)


def page_dispersion(found: Chapter) -> list[dict[str, Any]]:
    """Dispersion of features through training, as `dgm_book.figures.through_training` takes it."""
    return [
        {
            "title": title,
            "lines": {
                shown: [_over_training(r, name) for r in found.main[kind]]
                for shown, kind in ENCODERS.items()
            },
        }
        for name, title in (
            ("relative", "variance over squared mean"),
            ("cosine", "mean cosine"),
        )
    ]


def _over_training(result: Result, name: str) -> tuple[list[int], list[float]]:
    rows = result.values["rows"]
    return [row["step"] for row in rows], [row["features"][name] for row in rows]
