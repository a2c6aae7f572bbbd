"""Chapter 2: whether a critic of neighbouring sentences makes a language model keep its thread."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data.synthetic import THEMES, topic_chain
from dgm.measure import Interval
from dgm_book import jobs, profiles, results
from dgm_book import statistics as paired
from dgm_book.chapters.mutual_information_lm import training
from dgm_book.chapters.mutual_information_lm.training import (
    ARMS,
    CHAINS,
    CHAPTER,
    DISTANCES,
    name_of,
)
from dgm_book.claims import Claim, verdict
from dgm_book.results import Result
from dgm_book.statistics import is_above_zero as above_zero
from dgm_book.statistics import paired_difference
from dgm_book.verification import check

TITLE = "Mutual information and language models"
ABSTRACT = "Cao and Xu 2020, abstract"
OURS = "asked here"
N_CHAIN = 5  # seeds of a chain at small; smoke has 3
SMOKE_SEEDS = 3
ONE_SEED = ("ptb transformer", "wikitext-2", "shakespeare")
SHORT = ("likelihood", "phase I", "phase II", "shuffled pairs", "more dropout")
MAIN = (*SHORT, "less dropout", "padding read")
DROPOUTS = ("more dropout", "much more dropout", "less dropout")
# Where the first five seeds showed a gain: five more were run after they had been seen.
FRESH = ("short chain", "short slow chain")
# More dropout was worse on both validation texts; what padding changes has the chain's five seeds.
TWO_SEEDS = ("more dropout", "padding read")
PAGE = ("likelihood", "phase I")  # what travels with the page, and is run on every text
REACHED = 0.8  # of the exact mutual information
NAMES = {
    "chain": "topics that stay, 1,500 sentences",
    "wordy chain": "the same with 5 to 9 words a sentence",
    "short chain": "topics that stay, 400 sentences",
    "short cycle": "topics in a cycle, 400 sentences",
    "short slow chain": "topics that stay long, 400 sentences",
    "ptb": "Penn Treebank",
    "ptb transformer": "Penn Treebank, transformer",
    "wikitext-2": "WikiText-2",
    "shakespeare": "Shakespeare",
}
QUADRATURE = 240  # nodes of the Gauss-Hermite rule


def runs(profile: profiles.Profile) -> list[tuple[str, str, int]]:
    """Text, arm and seed of every run at a profile."""
    if profile.name == "smoke":
        return [("chain", arm, n) for n in range(SMOKE_SEEDS) for arm in PAGE]
    main = [
        *(
            ("ptb", arm, n)
            for n in range(profile.n_seeds)
            for arm in MAIN
            if n < 2 or arm not in TWO_SEEDS
        ),
        *(("chain", arm, n) for n in range(N_CHAIN) for arm in MAIN),
    ]
    if profile.name == "paper":
        return main
    others = [text for text in CHAINS if text != "chain"]
    again = range(N_CHAIN, 2 * N_CHAIN)
    return [
        *main,
        *((text, arm, n) for text in others for n in range(N_CHAIN) for arm in SHORT),
        *((text, arm, n) for text in FRESH for n in again for arm in SHORT if arm != "phase II"),
        *(("short chain", "much more dropout", n) for n in range(2 * N_CHAIN)),
        *((text, arm, 0) for text in ONE_SEED for arm in PAGE),
    ]


def real_runs(profile: profiles.Profile) -> list[tuple[str, int]]:
    """Text and seed where written text is compared with real text."""
    if profile.name == "smoke":
        return []
    return list(dict.fromkeys((t, n) for t, _, n in runs(profile) if t in ("ptb", "chain")))


def run(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Iterator[Result]:
    """Every result of one seed; runs whose seeds go further are shared out over the profile's seeds."""
    for dataset, arm, n in runs(profile):
        if n % profile.n_seeds == seed - first_seed:
            yield training.result(profile, dataset, arm, n + first_seed)
    for dataset, n in real_runs(profile):
        if n % profile.n_seeds == seed - first_seed:
            yield training.real_text(profile, dataset, n + first_seed)


Runs = dict[str, list[Result]]  # arm -> one result a seed


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    sets: dict[str, Runs]
    real: dict[str, list[Result]]

    @property
    def main(self) -> str:
        """The text that the chapter's main table is about."""
        return main_set(self.profile)


def main_set(profile: profiles.Profile) -> str:
    """The text that the chapter's main table is about."""
    return "chain" if profile.name == "smoke" else "ptb"


def context(profile: profiles.Profile) -> results.Context:
    """What this chapter's verification shares."""
    return training.context(profile, main_set(profile))


def chapter(profile_name: str = "auto", first_seed: int = 0) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, found = jobs.load(run, profile_name, first_seed)
    sets: dict[str, Runs] = {}
    for dataset, arm, n in runs(profile):
        result = found[name_of(dataset, arm, n + first_seed)]
        sets.setdefault(dataset, {}).setdefault(arm, []).append(result)
    real: dict[str, list[Result]] = {}
    for dataset, n in real_runs(profile):
        real.setdefault(dataset, []).append(found[name_of(dataset, "real", n + first_seed)])
    return Chapter(profile, sets, real)


def evidence(found: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each thing that the page shows: for each of its parts those of all seeds."""
    chain, page = (
        found.sets["chain"],
        {t: [a[arm][0] for arm in PAGE] for t, a in found.sets.items()},
    )
    decay = {t: [r for arm in arms.values() for r in arm] for t, arms in _decays(found).items()}
    phases = {t: arms["phase I"] for t, arms in found.sets.items()} | {
        f"{t}, phase II": arms["phase II"]
        for t, arms in found.sets.items()
        if "phase II" in arms and len(arms["phase II"]) != len(arms["phase I"])
    }
    return {
        "stories": {"curves": [r for arm in PAGE for r in chain[arm]], "stories": page["chain"]},
        "quiz": {"": page[told_text(found)]},
        "lottery": {t: page[t] for t in _passages(found)},
        "chain": dict(chain),
        "decay": decay,
        "main": dict(found.sets[found.main]),
        "everywhere": phases,
        "fresh": {t: found.sets[t]["phase I"] for t in FRESH if t in found.sets},
    }


def badge(found: Chapter, shown: str) -> str:
    """The badge of a key of `evidence`, from the results behind it."""
    return results.badge(evidence(found)[shown], synthetic="chains of topics")


def told_text(found: Chapter) -> str:
    """The text that the quiz and the lottery are about."""
    return "shakespeare" if "shakespeare" in found.sets else "chain"


# What the tables and claims say


def told(found: Interval, digits: int = 3) -> str:
    """A difference over seeds in words."""
    return paired.format_difference(found, digits, unit="seed")


Value = str | Callable[[Result], float]


def value(of: Value) -> Callable[[Result], float]:
    """A measurement: "nll" of the test text, "samples information 0" of written text, or a function."""
    if callable(of):
        return of
    if of.startswith("samples "):
        _, name, *place = of.split()
        return lambda r: (
            r.values["samples"][name][int(place[0])] if place else r.values["samples"][name]
        )
    return lambda r: r.values["final"][of]


def effect(found: Runs, of: Value, arm: str, control: str = "likelihood") -> Interval:
    """What an arm changes, as a paired difference over the seeds that both ran with."""
    base = {r.provenance["seed"]: r for r in found[control]}
    pairs = [(r, base[r.provenance["seed"]]) for r in found[arm] if r.provenance["seed"] in base]
    return paired_difference(*([value(of)(pair[i]) for pair in pairs] for i in (0, 1)))


def spread(found: list[Result], of: Value, digits: int = 3) -> str:
    """A measurement's mean over seeds and its standard error."""
    values = torch.tensor([value(of)(r) for r in found], dtype=torch.float64)
    if len(values) == 1:
        return f"{float(values[0]):.{digits}f}"
    error = float(values.std()) / math.sqrt(len(values))
    return f"{float(values.mean()):.{digits}f} ± {error:.{digits}f}"


def written(dataset: str) -> str:
    """Which measurement of written text tells its mutual information."""
    return "samples information 0" if dataset in CHAINS else "samples bound 0"


def table(found: Chapter, dataset: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table: an arm a row, mean and standard error over seeds."""
    arms = found.sets[dataset]
    columns: dict[str, tuple[Value, int]] = {
        "perplexity": ("perplexity", 1),
        "next sentence": (lambda r: 100 * value("retrieval_random")(r), 1),
        "hard": (lambda r: 100 * value("retrieval_hard")(r), 1),
        "bound": ("bound", 3),
        "written": (written(dataset), 3),
    }
    has_reverse = "reverse_nll" in next(iter(arms.values()))[0].values["samples"]
    if has_reverse:
        columns["reverse"] = (lambda r: math.exp(value("samples reverse_nll")(r)), 1)
    rows = [
        [arm, *(spread(of, *column) for column in columns.values())] for arm, of in arms.items()
    ]
    if dataset in found.real:
        real = found.real[dataset]
        cells = [""] * (len(columns) - 2) + [_real_information(found, dataset)]
        rows.append(
            ["real text", *cells, spread(real, lambda r: math.exp(r.values["reverse_nll"]), 1)]
        )
    return ["training", *columns], rows


def _real_information(found: Chapter, dataset: str) -> str:
    if dataset in CHAINS:
        return f"{exact(dataset):.3f}"
    return spread(found.real[dataset], lambda r: r.values["bound"][0])


def exact(dataset: str) -> float:
    """The mutual information of neighbouring sentences of a chain, nats."""
    switch = CHAINS[dataset].switch
    return float(training.topic_chain_information(len(THEMES), switch))


DIFFERENCES: dict[str, tuple[Value, int]] = {
    "nats a token": ("nll", 4),
    "next sentence, %": (lambda r: 100 * value("retrieval_random")(r), 1),
    "hard, %": (lambda r: 100 * value("retrieval_hard")(r), 1),
    "bound": ("bound", 3),
    "reverse, nats": ("samples reverse_nll", 4),
}


def differences(found: Chapter, dataset: str) -> tuple[list[str], list[list[str]]]:
    """Each arm less likelihood alone, paired by seed, with 95 % intervals: head and rows."""
    arms = found.sets[dataset]
    columns = {**DIFFERENCES, "written": (written(dataset), 3)}
    if "reverse_nll" not in arms["likelihood"][0].values["samples"]:
        del columns["reverse, nats"]
    rows = [
        [arm, *(interval(effect(arms, of, arm), digits) for of, digits in columns.values())]
        for arm in arms
        if arm != "likelihood"
    ]
    return ["minus likelihood", *columns], rows


def interval(found: Interval, digits: int) -> str:
    """A difference and its interval, as short as a table wants it."""
    if found.n == 1:
        return f"{found.mean:+.{digits}f}"
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def everywhere(found: Chapter) -> tuple[list[str], list[list[str]]]:
    """Phase I and II less likelihood alone, and less each control, on every text: head and rows."""
    rows = []
    for dataset, arms in found.sets.items():
        for arm in ("phase I", "phase II"):
            if arm not in arms:
                continue
            cells = [
                interval(effect(arms, "nll", arm, control), 4) if control else "not run"
                for control in (
                    "likelihood",
                    "shuffled pairs" if "shuffled pairs" in arms else "",
                    retuned(arms) or "",
                )
            ]
            others = [interval(effect(arms, of, arm), 3) for of in ("bound", written(dataset))]
            rows.append([f"{NAMES[dataset]}: {arm}", *cells, *others])
    head = ["text and training", "nats a token, minus likelihood", "minus shuffled pairs"]
    return [
        *head,
        "minus retuned dropout",
        "bound, minus likelihood",
        "written, minus likelihood",
    ], rows


def fresh(found: Chapter) -> tuple[list[str], list[list[str]]]:
    """What phase I changes in the first seeds and in those run after they had been seen: head and rows."""
    rows = []
    for text in FRESH:
        arms = found.sets.get(text, {"likelihood": []})
        seeds = [r.provenance["seed"] for r in arms["likelihood"]]
        if len(seeds) <= N_CHAIN:
            continue
        for name, of, digits in (("nats a token", "nll", 4), ("written", written(text), 3)):
            for control in ("likelihood", "shuffled pairs", *DROPOUTS):
                if control not in arms:
                    continue
                cells = [
                    interval(effect(_of(arms, part), of, "phase I", control), digits)
                    for part in (seeds[:N_CHAIN], seeds[N_CHAIN:])
                ]
                rows.append([f"{NAMES[text]}: {name}", control, *cells])
    return ["text and measure", "phase I minus", "first five seeds", "five fresh seeds"], rows


def _of(arms: Runs, seeds: list[int]) -> Runs:
    return {arm: [r for r in of if r.provenance["seed"] in seeds] for arm, of in arms.items()}


def retuned(arms: Runs) -> str | None:
    """The arm with another dropout whose validation loss is the least on average; None if none was run."""
    others = [arm for arm in DROPOUTS if arm in arms]
    if not others:
        return None

    def loss(arm: str) -> float:
        best = [min(row["nll"] for row in r.values["rows"]) for r in arms[arm]]
        return sum(best) / len(best)

    return min(others, key=loss)


def claims(found: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    main, arms = found.main, found.sets[found.main]
    made = [
        _identity(found),
        _features(found),
        _on_every_text(
            found, "The held-out bound rises whatever the text", OURS, lambda _: "bound", "nats"
        ),
        _on_every_text(
            found,
            "The regulariser raises the mutual information of neighbouring sentences that the model writes",
            ABSTRACT,
            written,
            "nats",
        ),
        _on_every_text(
            found,
            "It improves the likelihood of held-out text",
            ABSTRACT,
            lambda _: "nll",
            "nats a token",
            lower=True,
        ),
    ]
    if "phase II" in arms:
        gain, rise = (
            effect(arms, "nll", "phase II", "phase I"),
            effect(arms, written(main), "phase II", "phase I"),
        )
        said = (
            f"{NAMES[main]}, phase II minus phase I: {told(gain, 4)} nats a token; written text "
            f"{told(rise)} nats"
        )
        made.append(
            _claim(
                found,
                "Phase II, rewards from the critic, improves on phase I in likelihood and in the mutual "
                "information of what is written",
                f"{ABSTRACT}; recipe of the released code",
                said,
                _all([_below_zero(gain), above_zero(rise)]),
                {main: arms["phase II"]},
            )
        )
    if "reverse_nll" in arms["likelihood"][0].values["samples"]:
        made.append(
            _on_every_text(
                found,
                "It improves the quality of what is written",
                ABSTRACT,
                lambda _: "samples reverse_nll",
                "nats a token of real text, for a small model that learned from what is written alone",
                lower=True,
            )
        )
    made.append(_controls(found))
    if any("padding read" in of for of in found.sets.values()):
        made.append(_padding(found))
    return made


def _identity(found: Chapter) -> Claim:
    missed = max(abs(row[4] - row[3]) for row in quadrature())
    return _claim(
        found,
        "Next-sentence prediction belongs to the estimation of mutual information: its best classifier makes "
        "the bound of Donsker and Varadhan exact",
        ABSTRACT,
        "correlated Gaussians, seven correlations, by quadrature: bound minus exact value at most "
        f"{missed:.1e}",
        missed < 1e-3,
        None,
    )


def _features(found: Chapter) -> Claim:
    arms = found.sets["chain"]
    share = [value("bound")(r) / exact("chain") for r in arms["phase I"]]
    gain = effect(arms, "bound", "phase I")
    said = (
        f"{NAMES['chain']}, held-out bound: {spread(arms['phase I'], 'bound')} of {exact('chain'):.3f} nats, "
        f"{min(share):.0%} at least; minus a critic on a model that it cannot touch {told(gain)}; asked for: "
        f"{REACHED:.0%} in every seed, and a gain beyond the interval"
    )
    return _claim(
        found,
        "With the critic's gradient the states of a model of topics tell more of what follows: the held-out "
        "bound comes near the exact value",
        OURS,
        said,
        _all([min(share) >= REACHED, above_zero(gain)]),
        {"chain": arms["phase I"]},
    )


def _on_every_text(
    found: Chapter, text: str, source: str, of: Callable[[str], str], unit: str, lower: bool = False
) -> Claim:
    """A claim on what phase I changes; it holds if it does beyond the interval on every text."""
    gains = {d: effect(found.sets[d], of(d), "phase I") for d in _tested(found)}
    return _claim(
        found,
        text,
        source,
        f"phase I minus likelihood alone, {unit}: "
        + "; ".join(f"{NAMES[d]} {told(gain, 4 if lower else 3)}" for d, gain in gains.items())
        + f"; asked for: {'below' if lower else 'above'} 0 beyond the interval on every text",
        _all([(_below_zero if lower else above_zero)(gain) for gain in gains.values()]),
        {d: found.sets[d]["phase I"] for d in gains},
    )


def _controls(found: Chapter) -> Claim:
    parts, held = [], []
    for dataset in _tested(found):
        arms = found.sets[dataset]
        for control in filter(
            None, ("shuffled pairs" if "shuffled pairs" in arms else None, retuned(arms))
        ):
            gain = effect(arms, "nll", "phase I", control)
            parts.append(f"{NAMES[dataset]}, against {control} {told(gain, 4)}")
            held.append(_below_zero(gain))
    return _claim(
        found,
        "What is gained comes from the pairs: neither a critic of torn pairs nor another dropout does as "
        "well",
        OURS,
        f"phase I, nats a token: {'; '.join(parts) or 'controls were not run at this profile'}",
        _all(held) if held else None,
        {d: found.sets[d]["phase I"] for d in _tested(found)} or None,
    )


def _padding(found: Chapter) -> Claim:
    parts, differs = [], []
    read = {text: arms for text, arms in found.sets.items() if "padding read" in arms}
    for text, arms in read.items():
        bound, loss = (effect(arms, of, "padding read", "phase I") for of in ("bound", "nll"))
        parts.append(f"{NAMES[text]}, bound {told(bound)} nats, loss {told(loss, 4)} nats a token")
        if bound.n > 2:
            differs.append(any(x.low > 0 or x.high < 0 for x in (bound, loss)))
    return _claim(
        found,
        "Reading the padding, as the released code does, changes the result",
        OURS,
        f"padding read minus not read: {'; '.join(parts)}; asked for: a difference beyond the "
        "interval on a text with more than two seeds; two are too few to judge",
        any(differs) if differs else None,
        {text: arms["padding read"] for text, arms in read.items()},
    )


def _tested(found: Chapter) -> list[str]:
    """The texts with several seeds."""
    return [d for d, arms in found.sets.items() if len(arms["likelihood"]) > 1]


def _below_zero(found: Interval) -> bool | None:
    return None if found.n == 1 else found.high < 0


def _claim(
    found: Chapter,
    text: str,
    source: str,
    measured: str,
    holds: bool | None,
    runs: dict[str, list[Result]] | None,
) -> Claim:
    """A claim with its verdict; runs are those it rests on, by text, None where it needs none."""
    scale = f"profile {found.profile.name}, {results.scale(runs)}" if runs else "exact"
    return Claim("", CHAPTER, TITLE, text, source, measured, scale, verdict(holds))


def _all(parts: list[bool | None]) -> bool | None:
    return None if any(p is None for p in parts) else all(parts)


def verify(profile: profiles.Profile) -> list[dict[str, Any]]:
    """The measures of the chain's published weights, again, on the same text with other noise."""
    checks = []
    for arm in PAGE:
        published = training.result(profile, "chain", arm, 0)
        found = reread(profile, arm, 0)
        s = training.settings(profile, "chain")
        again = [training.measured(found, "chain", s, seed) for seed in range(1, 7)]
        final = published.values["final"]
        checks += [
            check(f"chain {arm}, {name}", final[name], [x[name] for x in again], 2e-3)
            for name in ("nll", "bound", "retrieval_random")
        ]
        seeds = range(1, 7)
        rows = [training.samples(found, s, seed) for seed in seeds]
        first = [training.topic_information(r, found.material.vocabulary)[0] for r in rows]
        told = published.values["samples"]["information"][0]
        checks.append(check(f"chain {arm}, written", told, first))
    return checks


def reread(profile: profiles.Profile, arm: str, seed: int) -> training.Trained:
    """The chain's model and critic from the weights of a published result."""
    published, s = training.result(profile, "chain", arm, seed), training.settings(profile, "chain")
    m = training.material("chain", s, seed)
    learner = training.Learner(len(m.vocabulary), s, ARMS[arm])
    learner.load_state_dict({k: v.float() for k, v in published.tensors.items()}, strict=False)
    learner.requires_grad_(False)
    return training.Trained(learner.model, learner.critic, m, published.values["rows"])


# What the page shows


def quadrature(
    correlations: tuple[float, ...] = (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99),
) -> list[list[float]]:
    """Correlated Gaussians under the best critic: correlation, L_D, JSD, exact I, and the bound (1).

    By Gauss and Hermite's rule over the difference and the sum of the two, which are independent.
    """
    nodes, weights = (torch.from_numpy(x) for x in _hermite(QUADRATURE))
    grid = torch.cartesian_prod(nodes, nodes)
    share = torch.outer(weights, weights).flatten()
    rows = []
    for rho in correlations:
        exact = -0.5 * math.log1p(-rho * rho)
        x, y = grid[:, 0], rho * grid[:, 0] + math.sqrt(1 - rho * rho) * grid[:, 1]
        joint, product = _best(x, y, rho), _best(grid[:, 0], grid[:, 1], rho)
        softplus = torch.nn.functional.softplus
        loss = float((share * softplus(-joint)).sum() + (share * softplus(product)).sum())
        # E e^T is 1 exactly; its tail is what a product rule gets wrong, so it is taken on the joint's grid.
        bound = float((share * joint).sum())
        rows.append([rho, loss, math.log(2) - loss / 2, exact, bound])
    return rows


def _hermite(n: int):
    import numpy as np

    nodes, weights = np.polynomial.hermite_e.hermegauss(n)
    return nodes, weights / weights.sum()


def _best(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """The logarithm of the density ratio of unit Gaussians with that correlation."""
    quadratic = rho**2 * (x * x + y * y) - 2 * rho * x * y
    return -0.5 * math.log1p(-rho * rho) - quadratic / (2 * (1 - rho * rho))


def page_models(found: Chapter) -> dict[str, dict[str, Any]]:
    """The chain's models that travel with the page, as `dgm_book.widgets.LanguageWeights` takes them."""
    return {
        arm: {
            name.removeprefix("model."): tensor.float().numpy()
            for name, tensor in found.sets["chain"][arm][0].tensors.items()
            if name.startswith("model.")
        }
        for arm in PAGE
    }


def page_words(found: Chapter) -> list[str]:
    """The words that the page's models know, in the order of their ids."""
    return found.sets["chain"]["likelihood"][0].values["vocabulary"]


def page_golden(found: Chapter, rounded: dict[str, dict[str, Any]], n: int = 6) -> dict[str, Any]:
    """Token rows, and the log-probabilities of what follows under the page's rounded weights in PyTorch."""
    seed = found.sets["chain"]["likelihood"][0].provenance["seed"]
    m = training.material("chain", training.settings(found.profile, "chain"), seed)
    rows = [m.streams[2][i : i + 4 + i].tolist() for i in range(n)]
    told = {}
    for arm, arrays in rounded.items():
        model = reread(found.profile, arm, seed).model
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        model.load_state_dict(tensors, strict=False)
        told[arm] = torch.cat([_after(model, row) for row in rows]).numpy()
    return {"tokens": rows, "log_probs": told}


def _after(model: Any, row: list[int]) -> Tensor:
    state = model.start(1)
    if len(row) > 1:
        state = model.read(torch.tensor([row[:-1]]), state).state
    return model.step(torch.tensor(row[-1:]), state)[0]


def page_openings() -> list[str]:
    """Openings to start the storyteller from: one of each of four topics, and one that mixes two."""
    texts, topics = topic_chain(400, 99, words=CHAINS["chain"].words)
    first = [texts[int((topics == k).nonzero()[0])] for k in range(4)]
    a, b = (texts[int((topics == k).nonzero()[1])].split() for k in (4, 5))
    return [*first, " ".join(a[:3] + b[:3])]


def page_themes() -> dict[str, tuple[str, ...]]:
    """The chain's topics and their words."""
    return dict(THEMES)


def page_curves(found: Chapter, dataset: str = "chain") -> dict[str, Any]:
    """Mutual information by distance: exact, and of what each of the page's models writes, with intervals."""
    arms = found.sets[dataset]
    models = {}
    for arm in PAGE:
        values = torch.tensor(
            [r.values["samples"]["information"] for r in arms[arm]], dtype=torch.float64
        )
        each = [paired_difference(row, torch.zeros(len(row))) for row in values.T]
        models[arm] = {name: [getattr(x, name) for x in each] for name in ("mean", "low", "high")}
    return {
        "distances": list(DISTANCES),
        "exact": arms["likelihood"][0].values["final"]["exact_by_distance"],
        "models": models,
        "stay": 1 - CHAINS[dataset].switch,
    }


def page_questions(found: Chapter) -> list[dict[str, Any]]:
    """Questions for the quiz, with the critics' scores: Shakespeare's lines, or the chain's at smoke."""
    both = _both(found, "questions")
    return [
        {**one, "scores": {arm: of[i]["scores"] for arm, of in both.items()}}
        for i, one in enumerate(both["phase I"])
    ]


def _passages(found: Chapter) -> list[str]:
    return [text for text in ("shakespeare", "chain") if text in found.sets]


def page_lottery(found: Chapter) -> list[dict[str, Any]]:
    """Passages for the lottery, with the critics' scores of what follows each anchor."""
    sets = []
    for text in _passages(found):
        both = _both(found, "passages", text)
        for i, one in enumerate(both["phase I"]):
            sets.append(
                {
                    "name": f"{text} {i + 1}",
                    "label": f"{NAMES[text].split(',')[0]}, {('first', 'second')[i]} passage",
                    "texts": one["texts"],
                    "anchors": one["anchors"],
                    "scores": {arm: of[i]["scores"] for arm, of in both.items()},
                }
            )
    return sets


def _both(found: Chapter, what: str, text: str | None = None) -> dict[str, list]:
    """Questions or passages by each of the page's critics."""
    text = text or told_text(found)
    if text == "shakespeare":
        return {arm: found.sets[text][arm][0].values[what] for arm in PAGE}
    seed = found.sets[text]["likelihood"][0].provenance["seed"]
    make = {"questions": training.questions, "passages": training.passages}[what]
    return {arm: make(reread(found.profile, arm, seed)) for arm in PAGE}


def _decays(found: Chapter) -> dict[str, Runs]:
    """The texts whose decay is shown, with the arms that are."""
    shown = {}
    for text in dict.fromkeys((found.main, "chain", "short slow chain")):
        arms = found.sets.get(text, {})
        if len(arms.get("likelihood", ())) > 1:
            lines = ("likelihood", "phase I", "phase II")
            shown[text] = {arm: arms[arm] for arm in lines if arm in arms}
    return shown


def page_decay(found: Chapter) -> list[dict[str, Any]]:
    """Mutual information of written text by distance, a panel a text, for `figures.through_training`.

    Of the text itself it is exact on a chain, and else the same judge's bound on the test text.
    """
    panels = []
    for dataset, arms in _decays(found).items():
        key = "information" if dataset in CHAINS else "bound"
        lines = {
            arm: [(DISTANCES, r.values["samples"][key]) for r in of] for arm, of in arms.items()
        }
        if dataset in CHAINS:
            final = arms["likelihood"][0].values["final"]
            lines["the text itself"] = [(DISTANCES, final["exact_by_distance"])]
        else:
            lines["the text itself"] = [(DISTANCES, r.values["bound"]) for r in found.real[dataset]]
        title = dataset if dataset in CHAINS else NAMES[dataset]
        panels.append({"title": title, "lines": lines, "reference": "the text itself"})
    return panels


def page_ladder(found: Chapter, dataset: str) -> list[dict[str, Any]]:
    """Measurements of every seed, likelihood alone first, as `dgm_book.figures.ladder` takes them."""
    titles = {
        "nll": "test loss (nats a token)",
        "bound": "held-out bound (nats)",
        written(dataset): "written text (nats)",
    }
    arms = found.sets[dataset]
    return [
        {"title": title, "rows": {arm: [value(of)(r) for r in arms[arm]] for arm in arms}}
        for of, title in titles.items()
    ]


def told_page(found: Chapter) -> dict[str, str]:
    """What the prose takes up."""
    s, main = training.settings(found.profile, found.main), found.main
    arms, chain = found.sets[main], found.sets["chain"]
    bounds = [value("bound")(r) for r in chain["phase I"]]
    first = arms["likelihood"][0].values
    told_values = {
        "text": NAMES[main],
        "sentences": f"{s.n_training or 42_068:,} training sentences",
        "tokens": f"{first['training_tokens']:,} tokens",
        "words": f"{first['words']:,} words",
        "steps": f"{s.steps:,} steps",
        "width": f"{s.width}",
        "seeds": results.scale(arms),
        "exact": f"{exact('chain'):.3f} nats",
        "share": f"{sum(bounds) / len(bounds) / exact('chain'):.0%}",
        "gain": told(effect(chain, "bound", "phase I")),
        "verdict": _told_verdict(found),
        "padding_said": "It was not run at this profile.",
        "quiz_text": "the chain's sentences",
        "quiz_said": _told_quiz(found),
        "fresh_said": _told_fresh(found),
        "wordy_said": "At this profile longer sentences were not run.",
        "transformer_said": "The transformer was not run at this profile.",
        "reverse_said": _reverse_text(found),
        "early_said": _early_text(found),
    }
    if "padding read" in chain:
        bound, loss = (effect(chain, of, "padding read", "phase I") for of in ("bound", "nll"))
        told_values["padding_said"] = (
            f"On the chain that changes phase I's held-out bound by {told(bound)} nats and its loss by "
            f"{told(loss, 4)} nats a token."
        )
        if "padding read" in arms and main != "chain":
            loss = effect(arms, "nll", "padding read", "phase I")
            told_values["padding_said"] += (
                f" On {NAMES[main]} the loss changes by {told(loss, 4)}: two seeds are too few to judge."
                if loss.n < 3
                else f" On {NAMES[main]} the loss changes by {told(loss, 4)}."
            )
    if "wordy chain" in found.sets:
        wordy = found.sets["wordy chain"]
        base = spread(wordy["likelihood"], "bound")
        told_values["wordy_said"] = (
            f"With five to nine words a sentence a critic on an untouched model reaches {base} by itself, "
            f"and phase I adds {told(effect(wordy, 'bound', 'phase I'))}: so many words tell the topic."
        )
    if "ptb transformer" in found.sets:
        (one,) = found.sets["ptb transformer"]["phase I"]
        (lstm, *_) = arms["phase I"]
        ranks = [f"{value('retrieval_random')(r):.0%}" for r in (one, lstm)]
        bounds = [f"{value('bound')(r):.2f}" for r in (one, lstm)]
        told_values["transformer_said"] = (
            f"The transformer's critic with phase I ranks the real next sentence above {ranks[0]} of others, "
            f"the LSTM's above {ranks[1]}; their bounds are {bounds[0]} and {bounds[1]} nats (one seed)."
        )
    if "shakespeare" in found.sets:
        told_values["quiz_text"] = "lines of Shakespeare's plays that the models have not seen"
    return told_values


def _told_quiz(found: Chapter) -> str:
    questions = page_questions(found)
    is_right = {
        arm: [q["scores"][arm][q["answer"]] > q["scores"][arm][1 - q["answer"]] for q in questions]
        for arm in PAGE
    }
    right = {arm: sum(of) for arm, of in is_right.items()}
    pairs = list(zip(*is_right.values(), strict=True))
    apart = pairs.count((True, False)), pairs.count((False, True))
    n = len(questions)
    return (
        f"On these {n} questions the critic with its say is right on {right['phase I']}, the other on "
        f"{right['likelihood']}." + " So few cannot tell the two apart." * _alike(*apart)
    )


def _alike(one: int, other: int) -> bool:
    """Whether a fair coin may have shared one + other questions out like this: sign test at 5 %."""
    n = one + other
    tail = sum(math.comb(n, k) for k in range(min(one, other) + 1))
    return 2 * tail > 0.05 * 2**n


def _reverse_text(found: Chapter) -> str:
    """How real text fares by reverse perplexity beside what the likelihood model writes."""
    if not found.real or found.main not in found.real:
        return ""
    real = torch.tensor([r.values["reverse_nll"] for r in found.real[found.main]]).exp().mean()
    base = found.sets[found.main]["likelihood"]
    made = torch.tensor([value("samples reverse_nll")(r) for r in base]).exp().mean()
    return (
        f"The same amount of real text has {real:.0f}, what likelihood alone wrote {made:.0f}"
        + ": so a lower one does not mean that a text is nearer to real ones" * bool(real > made)
        + "."
    )


def _early_text(found: Chapter) -> str:
    """Where the best checkpoint lies before phase II begins, and where it is the very first."""
    early, dead = [], []
    for text, arms in found.sets.items():
        half = training.settings(found.profile, text).steps / 2
        best = {
            arm: [min(r.values["rows"], key=lambda row: row["nll"])["step"] for r in of]
            for arm, of in arms.items()
        }
        if "phase II" in best and max(best["phase II"]) <= half:
            early.append(NAMES[text])
        steps = [step for of in best.values() for step in of]
        first = steps.count(min(row["step"] for row in arms["likelihood"][0].values["rows"]))
        if text in CHAINS and 2 * first > len(steps):
            least = value(written(text))
            mean = sum(map(least, arms["likelihood"])) / len(arms["likelihood"])
            dead.append(
                f"On {NAMES[text]} the best checkpoint is the first in {first} of {len(steps)} runs, and "
                f"what likelihood alone writes there has {mean:.3f} of {exact(text):.3f} nats: no run has "
                "learned this thread, so the text says nothing of the regulariser."
            )
    said = [
        f"On {' and on '.join(early)} the best validation loss comes before phase II switches on, so there "
        "its rows are phase I's of the same seeds."
    ] * bool(early)
    return " ".join([*said, *dead])


def _told_fresh(found: Chapter) -> str:
    parts = []
    for text, name, of in (
        ("short chain", "the loss by {} nats a token", "nll"),
        (
            "short slow chain",
            "the mutual information of what is written by {} nats",
            "samples information 0",
        ),
    ):
        arms = found.sets.get(text, {"likelihood": []})
        seeds = [r.provenance["seed"] for r in arms["likelihood"]]
        if len(seeds) <= N_CHAIN:
            return "At this profile no text has so many seeds."
        first, again = (
            told(effect(_of(arms, part), of, "phase I"))
            for part in (seeds[:N_CHAIN], seeds[N_CHAIN:])
        )
        best = retuned(arms)
        less = told(effect(arms, of, "phase I", best))
        parts.append(
            f"On {NAMES[text]} (the {text}), phase I changes {name.format(first)} in the first "
            f"seeds, and by {again} in the fresh ones. Against {best}, the dropout that validates best, "
            f"over all seeds: {less}."
        )
    return " ".join(parts)


def _told_verdict(found: Chapter) -> str:
    main = found.main
    arms = found.sets[main]
    loss, rise = effect(arms, "nll", "phase I"), effect(arms, written(main), "phase I")
    said = [
        f"On {NAMES[main].split(',')[0]} phase I changes the loss by {told(loss, 4)} nats a token, and the "
        f"mutual information of what is written by {told(rise)} nats."
    ]
    others = [arm for arm in ("shuffled pairs", retuned(arms)) if arm in arms]
    less = {arm: effect(arms, "nll", "phase I", arm) for arm in others}
    for arm, found_less in less.items():
        said.append(f"Against {arm}: {told(found_less, 4)} nats a token.")
    helps = _below_zero(loss) and all(_below_zero(x) for x in less.values())
    said.append(
        "So it gains beyond every control."
        if helps and less
        else "So there is no gain in likelihood that stands clear of its interval and of every control."
    )
    return " ".join(said)
