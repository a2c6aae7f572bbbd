"""Chapter 2: whether a critic of neighbouring sentences makes a language model keep its thread."""

import functools
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from torch import Tensor

from dgm.data.synthetic import topic_chain
from dgm.measure import Interval
from dgm_book import jobs, profiles, results, statistics
from dgm_book.chapters.mutual_information_lm import measure as measures
from dgm_book.chapters.mutual_information_lm import run as runs
from dgm_book.chapters.mutual_information_lm.recipe import (
    CHAPTER,
    DISTANCES,
    DROPOUTS,
    NAMES,
    PAGE,
    REACHED,
    RECIPES,
    Recipe,
)
from dgm_book.chapters.mutual_information_lm.run import context, run, verify
from dgm_book.claims import Claim, Outcome, judged, render
from dgm_book.results import Result
from dgm_book.statistics import (
    all_hold,
    format_difference,
    format_mean,
    is_above_zero,
    mean_over_seeds,
)
from dgm_book.widgets.language_weights import rounded

__all__ = ["badge", "chapter", "claims", "context", "evidence", "run", "verify"]

FOLDER = Path(__file__).parent
Runs = dict[str, list[Result]]  # variant -> one result per seed
Table = tuple[list[str], list[list[str]]]  # head and rows


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    recipe: Recipe
    texts: dict[str, Runs]
    real: dict[str, list[Result]]

    @property
    def main(self) -> str:
        """The text that the chapter's main table is about."""
        return self.recipe.main


def chapter(
    profile_name: str = "auto", first_seed: int = 0, recipes: Mapping[str, Recipe] = RECIPES
) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    compute = functools.partial(run, recipes=recipes)
    profile, found = jobs.load(compute, profile_name, first_seed)
    recipe = recipes[profile.name]
    texts: dict[str, Runs] = {}
    for text, variant, n in recipe.runs:
        result = found[runs.run_name(text, variant, n + first_seed)]
        texts.setdefault(text, {}).setdefault(variant, []).append(result)
    real: dict[str, list[Result]] = {}
    for text, n in recipe.real:
        real.setdefault(text, []).append(found[runs.run_name(text, "real", n + first_seed)])
    return Chapter(profile, recipe, texts, real)


def evidence(chapter: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each thing that the page shows: for each part those of all seeds."""
    texts, chain = chapter.texts, chapter.texts["chain"]
    first = {text: [variants[v][0] for v in PAGE] for text, variants in texts.items()}
    phases = {text: variants["phase I"] for text, variants in texts.items()}
    for text, variants in texts.items():
        if len(variants.get("phase II", phases[text])) != len(phases[text]):
            phases[f"{text}, phase II"] = variants["phase II"]
    return {
        "stories": {"curves": [r for v in PAGE for r in chain[v]], "stories": first["chain"]},
        "quiz": {"": first[quiz_text(chapter)]},
        "lottery": {text: first[text] for text in lottery_texts(chapter)},
        "chain": chain,
        "decay": {t: [r for v in d.values() for r in v] for t, d in decays(chapter).items()},
        "main": texts[chapter.main],
        "everywhere": phases,
        "fresh": {t: texts[t]["phase I"] for t in chapter.recipe.fresh if t in texts},
    }


def badge(chapter: Chapter, key: str) -> str:
    """The badge of a key of `evidence`, from the results behind it."""
    return results.badge(evidence(chapter)[key], synthetic="chains of topics")


# Measurements over seeds

METRICS = {
    "nll": lambda r: r.values["final"]["nll"],
    "perplexity": lambda r: r.values["final"]["perplexity"],
    "next sentence": lambda r: 100 * r.values["final"]["retrieval_random"],
    "hard": lambda r: 100 * r.values["final"]["retrieval_hard"],
    "bound": lambda r: r.values["final"]["bound"],
    # Of neighbouring sentences that the model wrote: counted on a chain, else bounded.
    "written": lambda r: written(r)[0],
    "reverse nll": lambda r: r.values["samples"].get("reverse_nll", math.nan),
    "reverse": lambda r: math.exp(r.values["samples"].get("reverse_nll", math.nan)),
    "validation": lambda r: min(row["nll"] for row in r.values["rows"]),
}


Columns = dict[str, tuple[str, int]]  # head -> metric, decimals
COLUMNS: Columns = {
    "perplexity": ("perplexity", 1),
    "next sentence": ("next sentence", 1),
    "hard": ("hard", 1),
    "bound": ("bound", 3),
    "written": ("written", 3),
    "reverse": ("reverse", 1),
}
DIFFERENCES: Columns = {
    "nats per token": ("nll", 4),
    "next sentence, %": ("next sentence", 1),
    "hard, %": ("hard", 1),
    "bound": ("bound", 3),
    "reverse, nats": ("reverse nll", 4),
    "written": ("written", 3),
}


def written(result: Result) -> list[float]:
    """Mutual information of written sentences at each of `DISTANCES`, counted or bounded; nats."""
    samples = result.values["samples"]
    return samples["information"] if "information" in samples else samples["bound"]


def values(chapter: Chapter, text: str, metric: str, variant: str = "phase I") -> list[float]:
    """A measurement of a variant's runs on a text, one per seed."""
    return [METRICS[metric](result) for result in chapter.texts[text][variant]]


def change(
    chapter: Chapter,
    text: str,
    metric: str,
    variant: str = "phase I",
    control: str = "likelihood",
    seeds: Collection[int] | None = None,
) -> Interval:
    """What a variant changes in a measurement, paired by seed, of all seeds or of these."""
    runs = {
        name: [r for r in chapter.texts[text][name] if seeds is None or seed_of(r) in seeds]
        for name in (variant, control)
    }
    frame = statistics.tidy(runs, {metric: METRICS[metric]})
    return statistics.effect(frame, metric, variant, control)


def cell(interval: Interval, decimals: int) -> str:
    """A difference and its interval, without their number."""
    return format_difference(interval, decimals).split(" (")[0]


def exact(chapter: Chapter, text: str = "chain") -> float:
    """The mutual information of neighbouring sentences of a chain, nats."""
    return measures.exact_information(chapter.recipe.texts[text])[0]


def is_chain(chapter: Chapter, text: str) -> bool:
    """Whether a text is a chain of topics."""
    return chapter.recipe.texts[text].source is None


def retuned(chapter: Chapter, text: str) -> str | None:
    """The variant with another dropout whose validation loss is the least on average, if any."""
    tried = [variant for variant in DROPOUTS if variant in chapter.texts[text]]
    losses = {v: mean_over_seeds(values(chapter, text, "validation", v)).mean for v in tried}
    return min(tried, key=lambda variant: losses[variant], default=None)


# Tables


def table(chapter: Chapter, text: str) -> Table:
    """A variant per row, mean and standard error over seeds."""
    columns = _measured(chapter, text, COLUMNS)

    def write(variant: str, metric: str, decimals: int) -> str:
        return format_mean(mean_over_seeds(values(chapter, text, metric, variant)), decimals)

    rows = [[v, *(write(v, *x) for x in columns.values())] for v in chapter.texts[text]]
    if real := chapter.real.get(text):
        reverse = mean_over_seeds([math.exp(r.values["reverse_nll"]) for r in real])
        if is_chain(chapter, text):
            information = f"{exact(chapter, text):.3f}"
        else:
            information = format_mean(mean_over_seeds([r.values["bound"][0] for r in real]), 3)
        blank = [""] * (len(columns) - 2)
        rows.append(["real text", *blank, information, format_mean(reverse, 1)])
    return ["training", *columns], rows


def differences(chapter: Chapter, text: str) -> Table:
    """Each variant minus likelihood alone, paired by seed, with 95 % intervals."""
    columns = _measured(chapter, text, DIFFERENCES)
    rows = [
        [v, *(cell(change(chapter, text, metric, v), n) for metric, n in columns.values())]
        for v in chapter.texts[text]
        if v != "likelihood"
    ]
    return ["minus likelihood", *columns], rows


def _measured(chapter: Chapter, text: str, columns: Columns) -> Columns:
    first = chapter.texts[text]["likelihood"][0]
    return {head: x for head, x in columns.items() if not math.isnan(METRICS[x[0]](first))}


def everywhere(chapter: Chapter) -> Table:
    """Phase I and II minus likelihood alone, and minus each control, on every text."""
    rows = []
    for text, variants in chapter.texts.items():
        controls = ("likelihood", "shuffled pairs", retuned(chapter, text))
        for variant in ("phase I", "phase II"):
            if variant not in variants:
                continue
            cells = [
                cell(change(chapter, text, "nll", variant, control), 4)
                if control in variants
                else "not run"
                for control in controls
            ]
            cells += [cell(change(chapter, text, x, variant), 3) for x in ("bound", "written")]
            rows.append([f"{NAMES[text]}: {variant}", *cells])
    head = ["text and training", "nats per token, minus likelihood", "minus shuffled pairs"]
    head += ["minus retuned dropout", "bound, minus likelihood", "written, minus likelihood"]
    return head, rows


def fresh(chapter: Chapter) -> Table:
    """What phase I changes in the first seeds, and in those run after they had been seen."""
    rows = []
    for text in chapter.recipe.fresh:
        for name, metric, decimals in (("nats per token", "nll", 4), ("written", "written", 3)):
            for control in ("likelihood", "shuffled pairs", *DROPOUTS):
                if control in chapter.texts[text]:
                    parts = by_first_seeds(chapter, text, metric, control)
                    cells = [cell(part, decimals) for part in parts]
                    rows.append([f"{NAMES[text]}: {name}", control, *cells])
    return ["text and measure", "phase I minus", "first five seeds", "five fresh seeds"], rows


def by_first_seeds(
    chapter: Chapter, text: str, metric: str, control: str = "likelihood"
) -> list[Interval]:
    """What phase I changes in the first seeds, and in the others."""
    seeds = [seed_of(r) for r in chapter.texts[text]["likelihood"]]
    parts = seeds[: chapter.recipe.n_first], seeds[chapter.recipe.n_first :]
    return [change(chapter, text, metric, "phase I", control, part) for part in parts]


def seed_of(result: Result) -> int:
    """The seed of a run."""
    return result.provenance["seed"]


# Claims


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    outcomes = {
        "bound_is_exact": bound_is_exact(),
        "states_tell_more": states_tell_more(chapter),
        "bound_rises": changes_everywhere(chapter, "bound"),
        "written_information_rises": changes_everywhere(chapter, "written"),
        "likelihood_improves": changes_everywhere(chapter, "nll", lower=True),
        "second_phase_improves": second_phase_improves(chapter),
        "quality_improves": changes_everywhere(chapter, "reverse nll", lower=True),
        "pairs_matter": pairs_matter(chapter),
        "padding_matters": padding_matters(chapter),
    }
    return judged(FOLDER / "claims.yaml", CHAPTER, outcomes)


def bound_is_exact() -> Outcome:
    """Under the best critic the bound misses the exact value by rounding only."""
    largest = max(abs(row[4] - row[3]) for row in quadrature())
    return Outcome(largest < 1e-3, {"largest": largest}, "exact")


def states_tell_more(chapter: Chapter) -> Outcome:
    """On the chain the bound comes near the exact value, and the critic's gradient did it."""
    bounds, gain = values(chapter, "chain", "bound"), change(chapter, "chain", "bound")
    least = min(bounds) / exact(chapter)
    numbers = {"name": NAMES["chain"], "bound": mean_over_seeds(bounds), "exact": exact(chapter)}
    numbers |= {"least": least, "gain": gain, "reached": REACHED}
    holds = all_hold([least >= REACHED, is_above_zero(gain)])
    return Outcome(holds, numbers, scale(chapter, "phase I", ["chain"]))


def changes_everywhere(chapter: Chapter, metric: str, lower: bool = False) -> Outcome:
    """Phase I changes a measurement beyond the interval on every text with several seeds."""
    texts = [t for t in tested(chapter) if not math.isnan(values(chapter, t, metric)[0])]
    gains = {text: change(chapter, text, metric) for text in texts}
    decimals = 4 if lower else 3
    lines = [f"{NAMES[t]} {format_difference(x, decimals, 'seed')}" for t, x in gains.items()]
    holds = all_hold(map(is_below_zero if lower else is_above_zero, gains.values()))
    return Outcome(holds, {"gains": lines}, scale(chapter, "phase I", texts))


def second_phase_improves(chapter: Chapter) -> Outcome:
    """On the main text phase II beats phase I in both."""
    main = chapter.main
    if "phase II" not in chapter.texts[main]:
        return Outcome(None, {"loss": None}, scale(chapter, "phase I", [main]))
    loss, rise = (change(chapter, main, x, "phase II", "phase I") for x in ("nll", "written"))
    numbers = {"name": NAMES[main], "loss": loss, "written": rise}
    holds = all_hold([is_below_zero(loss), is_above_zero(rise)])
    return Outcome(holds, numbers, scale(chapter, "phase II", [main]))


def pairs_matter(chapter: Chapter) -> Outcome:
    """Phase I beats both controls in likelihood, wherever they were run."""
    gains = {
        f"{NAMES[text]}, against {control}": gain
        for text in tested(chapter)
        for control, gain in control_gains(chapter, text).items()
    }
    lines = [f"{name} {format_difference(gain, 4, 'seed')}" for name, gain in gains.items()]
    holds = all_hold(map(is_below_zero, gains.values()))
    return Outcome(holds, {"gains": lines}, scale(chapter, "phase I", tested(chapter)))


def control_gains(chapter: Chapter, text: str) -> dict[str, Interval]:
    """What phase I changes in the loss beside each control that was run."""
    controls = [x for x in ("shuffled pairs", retuned(chapter, text)) if x in chapter.texts[text]]
    return {control: change(chapter, text, "nll", "phase I", control) for control in controls}


def padding_matters(chapter: Chapter) -> Outcome:
    """Reading the padding changes bound or loss on a text with more than two seeds."""
    lines, differs, texts = [], [], []
    for text, variants in chapter.texts.items():
        if "padding read" not in variants:
            continue
        bound, loss = padding_changes(chapter, text)
        changes = format_difference(bound, 3, "seed"), format_difference(loss, 4, "seed")
        lines.append(f"{NAMES[text]}, bound {changes[0]} nats, loss {changes[1]} nats per token")
        texts.append(text)
        if bound.n > 2:
            differs.append(any(x.low > 0 or x.high < 0 for x in (bound, loss)))
    holds = any(differs) if differs else None
    return Outcome(holds, {"changes": lines}, scale(chapter, "padding read", texts))


def padding_changes(chapter: Chapter, text: str) -> list[Interval]:
    """What reading the padding changes in bound and loss."""
    return [change(chapter, text, x, "padding read", "phase I") for x in ("bound", "nll")]


def scale(chapter: Chapter, variant: str, texts: list[str]) -> str:
    """The profile, and the seeds of a variant on these texts."""
    parts = {text: chapter.texts[text][variant] for text in texts}
    return f"profile {chapter.profile.name}" + (f", {results.scale(parts)}" if parts else "")


def tested(chapter: Chapter) -> list[str]:
    """The texts with several seeds."""
    return [text for text, x in chapter.texts.items() if len(x["likelihood"]) > 1]


def is_below_zero(interval: Interval) -> bool | None:
    """Whether a difference is below 0 beyond its interval; None for one pair."""
    return None if interval.n == 1 else interval.high < 0


# What the page shows


def quadrature(
    correlations: tuple[float, ...] = (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99), n_nodes: int = 240
) -> list[list[float]]:
    """Correlated Gaussians under the best critic: correlation, L_D, JSD, exact I, and the bound (1).

    By Gauss and Hermite's rule over the difference and the sum of the two, which are independent.
    """
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(n_nodes))
    x, z = torch.cartesian_prod(nodes, nodes).T
    share = torch.outer(*[weights / weights.sum()] * 2).flatten()
    rows = []
    for rho in correlations:
        joint = best_critic(x, rho * x + math.sqrt(1 - rho * rho) * z, rho)
        softplus = torch.nn.functional.softplus
        loss = float(
            (share * softplus(-joint)).sum() + (share * softplus(best_critic(x, z, rho))).sum()
        )
        # E e^T is 1; a product rule gets its tail wrong, so the bound is taken on the joint's grid.
        bound = float((share * joint).sum())
        rows.append([rho, loss, math.log(2) - loss / 2, -0.5 * math.log1p(-rho * rho), bound])
    return rows


def best_critic(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """The logarithm of the density ratio of unit Gaussians with that correlation."""
    quadratic = rho**2 * (x * x + y * y) - 2 * rho * x * y
    return -0.5 * math.log1p(-rho * rho) - quadratic / (2 * (1 - rho * rho))


def page_weights(chapter: Chapter, n: int = 6) -> dict[str, Any]:
    """The models that travel with the page, as `dgm_book.widgets.LanguageWeights` takes them.

    Golden log-probabilities are PyTorch's, under the page's rounded weights, after n rows of tokens.
    """
    models, log_probs, rows = {}, {}, []
    for variant in PAGE:
        trained = read_chain(chapter, variant)
        models[variant] = {k: v.numpy() for k, v in trained.model.state_dict().items()}
        stream = trained.splits.streams[2]
        rows = [stream[i : i + 4 + i] for i in range(n)]
        arrays = rounded({variant: models[variant]})[variant]
        trained.model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
        after = [trained.model.read(row[None]).output[:, -1] for row in rows]
        head, embedding = trained.model.head, trained.model.embedding.weight
        log_probs[variant] = head.log_probs(embedding, torch.cat(after)).numpy()
    words = chapter.texts["chain"]["likelihood"][0].values["vocabulary"]
    golden = {"tokens": [row.tolist() for row in rows], "log_probs": log_probs}
    return {"models": models, "words": words, "golden": golden}


def read_chain(chapter: Chapter, variant: str) -> measures.Trained:
    """The chain's model and critic that travel with the page."""
    seed = seed_of(chapter.texts["chain"][variant][0])
    settings = chapter.recipe.texts["chain"]
    return runs.reread(runs.Job(chapter.profile, "chain", settings, variant, seed))


def page_openings(words: tuple[int, int] = (2, 4)) -> list[str]:
    """Openings to start the storyteller from: one of each of four topics, and one that mixes two."""
    texts, topics = topic_chain(400, 99, words=words)
    places = [(topics == k).nonzero().flatten().tolist() for k in range(6)]
    first = [texts[place[0]] for place in places[:4]]
    a, b = (texts[place[1]].split() for place in places[4:])
    return [*first, " ".join(a[:3] + b[:3])]


def page_curves(chapter: Chapter) -> dict[str, Any]:
    """Mutual information by distance: exact, and of what the page's models write."""
    variants = chapter.texts["chain"]
    models = {}
    for variant in PAGE:
        columns = zip(*(written(r) for r in variants[variant]), strict=True)
        each = [mean_over_seeds(column) for column in columns]
        models[variant] = {x: [getattr(i, x) for i in each] for x in ("mean", "low", "high")}
    return {
        "distances": list(DISTANCES),
        "exact": variants["likelihood"][0].values["final"]["exact_by_distance"],
        "models": models,
        "stay": 1 - chapter.recipe.texts["chain"].chain.switch,
    }


def quiz_text(chapter: Chapter) -> str:
    """The text that the quiz is about."""
    return "shakespeare" if "shakespeare" in chapter.texts else "chain"


def page_questions(chapter: Chapter) -> list[dict[str, Any]]:
    """Questions for the quiz, with the critics' scores: Shakespeare's lines, else the chain's."""
    if quiz_text(chapter) == "chain":
        lists = {v: measures.make_questions(read_chain(chapter, v), 0) for v in PAGE}
    else:
        lists = {v: chapter.texts["shakespeare"][v][0].values["questions"] for v in PAGE}
    return _with_all_scores(lists)


def _with_all_scores(lists: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Questions or passages with the scores of each of the page's critics."""
    return [
        {**item, "scores": {v: items[i]["scores"] for v, items in lists.items()}}
        for i, item in enumerate(lists["phase I"])
    ]


def lottery_texts(chapter: Chapter) -> list[str]:
    """The texts that the lottery is about."""
    return [text for text in ("shakespeare", "chain") if text in chapter.texts]


def page_lottery(chapter: Chapter) -> list[dict[str, Any]]:
    """Passages for the lottery, with the critics' scores of what follows each anchor."""
    sets = []
    for text in lottery_texts(chapter):
        if text == "chain":
            lists = {v: measures.make_passages(read_chain(chapter, v)) for v in PAGE}
        else:
            lists = {v: chapter.texts[text][v][0].values["passages"] for v in PAGE}
        name = NAMES[text].split(",")[0]
        for i, passage in enumerate(_with_all_scores(lists)):
            label = f"{name}, {('first', 'second')[i]} passage"
            sets.append({"name": f"{text} {i + 1}", "label": label, **passage})
    return sets


def decays(chapter: Chapter) -> dict[str, Runs]:
    """The texts whose decay is shown, with their variants."""
    texts = dict.fromkeys((chapter.main, "chain", "short slow chain"))
    lines = ("likelihood", "phase I", "phase II")
    return {
        text: {v: chapter.texts[text][v] for v in lines if v in chapter.texts[text]}
        for text in texts
        if text in tested(chapter)
    }


def page_decay(chapter: Chapter) -> list[dict[str, Any]]:
    """Mutual information of written text by distance, for `figures.through_training`.

    Of the text itself it is exact on a chain, and else the same judge's bound on the test text.
    """
    panels = []
    for text, variants in decays(chapter).items():
        lines = {v: [(DISTANCES, written(r)) for r in results] for v, results in variants.items()}
        if is_chain(chapter, text):
            exact = variants["likelihood"][0].values["final"]["exact_by_distance"]
            lines["the text itself"] = [(DISTANCES, exact)]
        else:
            lines["the text itself"] = [(DISTANCES, r.values["bound"]) for r in chapter.real[text]]
        title = text if is_chain(chapter, text) else NAMES[text]
        panels.append({"title": title, "lines": lines, "reference": "the text itself"})
    return panels


def page_ladder(chapter: Chapter, text: str) -> list[dict[str, Any]]:
    """Measurements of every seed, likelihood alone first, for `figures.ladder`."""
    titles = {
        "nll": "test loss (nats per token)",
        "bound": "held-out bound (nats)",
        "written": "written text (nats)",
    }
    return [
        {"title": title, "rows": {v: values(chapter, text, x, v) for v in chapter.texts[text]}}
        for x, title in titles.items()
    ]


# Prose


def prose_values(chapter: Chapter) -> dict[str, str]:
    """What the prose takes up: the templates of texts.yaml, filled in."""
    main, texts = chapter.main, chapter.texts
    first = texts[main]["likelihood"][0].values
    loss, controls = change(chapter, main, "nll"), control_gains(chapter, main)
    bound = mean_over_seeds(values(chapter, "chain", "bound")).mean
    numbers: dict[str, Any] = {
        "name": NAMES[main],
        "settings": chapter.recipe.texts[main],
        "n_tokens": first["training_tokens"],
        "n_words": first["words"],
        "seeds": results.scale(texts[main]),
        "exact": exact(chapter),
        "share": bound / exact(chapter),
        "gain": change(chapter, "chain", "bound"),
        "loss": loss,
        "rise": change(chapter, main, "written"),
        "controls": controls,
        "gains_beyond_all": bool(controls) and all(map(is_below_zero, [loss, *controls.values()])),
        "has_shakespeare": "shakespeare" in texts,
        "fresh": fresh_values(chapter),
        "early": early_texts(chapter),
        "unlearned": unlearned_texts(chapter),
    }
    numbers |= quiz_values(chapter) | other_values(chapter)
    templates = yaml.safe_load((FOLDER / "texts.yaml").read_text("utf-8"))
    return {key: render(template, numbers) for key, template in templates.items()}


def other_values(chapter: Chapter) -> dict[str, Any]:
    """Numbers of runs that not every profile has; None where they were not run."""
    main, texts = chapter.main, chapter.texts
    numbers: dict[str, Any] = dict.fromkeys(("wordy", "ranks", "reverse"))
    padding = {t: padding_changes(chapter, t) for t in texts if "padding read" in texts[t]}
    numbers["padding"] = padding.pop("chain", None)
    numbers["main_padding"] = padding[main][1] if main in padding else None
    if "wordy chain" in texts:
        base = mean_over_seeds(values(chapter, "wordy chain", "bound", "likelihood"))
        numbers["wordy"] = base, change(chapter, "wordy chain", "bound")
    if "ptb transformer" in texts:
        for name, metric in (("ranks", "next sentence"), ("bounds", "bound")):
            numbers[name] = [values(chapter, t, metric)[0] for t in ("ptb transformer", main)]
    if real := chapter.real.get(main):
        real_reverse = [math.exp(r.values["reverse_nll"]) for r in real]
        written_reverse = values(chapter, main, "reverse", "likelihood")
        numbers["reverse"] = [mean_over_seeds(x).mean for x in (real_reverse, written_reverse)]
    return numbers


def quiz_values(chapter: Chapter) -> dict[str, Any]:
    """How the two critics fare on the quiz, and whether so few questions tell them apart."""
    questions = page_questions(chapter)
    is_right = {
        v: [q["scores"][v][q["answer"]] > q["scores"][v][1 - q["answer"]] for q in questions]
        for v in PAGE
    }
    pairs = list(zip(*is_right.values(), strict=True))
    alike = is_alike(pairs.count((True, False)), pairs.count((False, True)))
    right = {v: sum(answers) for v, answers in is_right.items()}
    return {"n_questions": len(questions), "right": right, "alike": alike}


def is_alike(a: int, b: int) -> bool:
    """Whether a fair coin may have shared a + b questions out like this: sign test at 5 %."""
    tail = sum(math.comb(a + b, k) for k in range(min(a, b) + 1))
    return 2 * tail > 0.05 * 2 ** (a + b)


def best_steps(chapter: Chapter, text: str) -> dict[str, list[int]]:
    """The step of the best checkpoint of each run."""
    return {
        variant: [min(r.values["rows"], key=lambda row: row["nll"])["step"] for r in results]
        for variant, results in chapter.texts[text].items()
    }


def early_texts(chapter: Chapter) -> list[str]:
    """Names of the texts where the best checkpoint lies before phase II begins."""
    best = {text: best_steps(chapter, text).get("phase II") for text in chapter.texts}
    half = {text: settings.steps / 2 for text, settings in chapter.recipe.texts.items()}
    return [NAMES[text] for text, steps in best.items() if steps and max(steps) <= half[text]]


def unlearned_texts(chapter: Chapter) -> list[dict[str, Any]]:
    """The chains on which most runs are at their best at the very first checkpoint."""
    rows = []
    for text in filter(functools.partial(is_chain, chapter), chapter.texts):
        steps = [step for best in best_steps(chapter, text).values() for step in best]
        n_first = steps.count(chapter.recipe.texts[text].measure_every)
        if 2 * n_first > len(steps):
            mean = mean_over_seeds(values(chapter, text, "written", "likelihood")).mean
            row = {"name": NAMES[text], "n_first": n_first, "n": len(steps), "written": mean}
            rows.append(row | {"exact": exact(chapter, text)})
    return rows


def fresh_values(chapter: Chapter) -> list[dict[str, Any]]:
    """What phase I changes in first and fresh seeds, and beside the best dropout over all seeds."""
    rows = []
    for text, metric in chapter.recipe.fresh.items():
        first, fresh = by_first_seeds(chapter, text, metric)
        control = retuned(chapter, text) or "likelihood"
        row = {"text": text, "name": NAMES[text], "metric": metric, "first": first, "fresh": fresh}
        overall = change(chapter, text, metric, "phase I", control)
        rows.append(row | {"control": control, "all": overall})
    return rows
