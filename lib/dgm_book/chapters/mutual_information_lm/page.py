"""Chapter 2: whether a critic of neighbouring sentences makes a language model keep its thread."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import bdtr
from torch import Tensor
from torch.nn.functional import softplus

from dgm.data.synthetic import THEMES, topic_chain
from dgm.measure import Interval
from dgm_book import jobs, results, statistics
from dgm_book.chapters.mutual_information_lm import measure as measures
from dgm_book.chapters.mutual_information_lm import recipe as plan
from dgm_book.chapters.mutual_information_lm.recipe import DISTANCES, DROPOUTS, NAMES, PAGE
from dgm_book.chapters.mutual_information_lm.run import Job, reread, run, run_name
from dgm_book.claims import Claim, Outcome, fill, judged
from dgm_book.profiles import Profile
from dgm_book.results import Result
from dgm_book.statistics import format_interval, format_mean, mean_over_seeds
from dgm_book.widgets.packing import rounded

FOLDER = Path(__file__).parent
Table = tuple[list[str], list[list[str]]]  # head and rows
COLUMNS = ("perplexity", "next sentence", "hard", "bound", "written", "reverse")
DIFFERENCES = {  # head -> metric
    "nats per token": "nll",
    "next sentence, %": "next sentence",
    "hard, %": "hard",
    "bound": "bound",
    "reverse, nats": "reverse nll",
    "written": "written",
}
DECIMALS = {"nll": 4, "reverse nll": 4, "bound": 3, "written": 3}  # of others one
Runs = dict[str, list[Result]]  # variant -> one result per seed


def written(result: Result) -> list[float]:
    """Mutual information of written sentences at each of `DISTANCES`, counted or bounded; nats."""
    samples = result.values["samples"]
    return samples["information"] if "information" in samples else samples["bound"]


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


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: Profile
    recipe: plan.Recipe
    texts: dict[str, Runs]
    real: dict[str, list[Result]]

    @property
    def main(self) -> str:
        """The text that the chapter's main table is about."""
        return self.recipe.main

    def values(self, text: str, metric: str, variant: str = "phase I") -> list[float]:
        """A measurement of a variant's runs on a text, one per seed."""
        return [METRICS[metric](result) for result in self.texts[text][variant]]

    def mean(self, text: str, metric: str, variant: str = "phase I") -> Interval:
        """A measurement's mean over seeds."""
        return mean_over_seeds(self.values(text, metric, variant))

    def change(
        self, text: str, metric: str, variant: str = "phase I", control: str = "likelihood"
    ) -> Interval:
        """What a variant changes in a measurement, paired by seed."""
        runs = {name: self.texts[text][name] for name in (variant, control)}
        return statistics.effect(statistics.tidy(runs, METRICS[metric]), variant, control)

    def changed(
        self, text: str, metrics: Iterable[str], variant: str, control: str | None = "likelihood"
    ) -> list[str]:
        """What a variant changes in measurements, in words; "not run" without its control."""
        if control is None or control not in self.texts[text]:
            return ["not run" for _ in metrics]
        changes = {metric: self.change(text, metric, variant, control) for metric in metrics}
        return [format_interval(x, DECIMALS.get(metric, 1)) for metric, x in changes.items()]

    def by_first_seeds(self, text: str, metric: str, control: str = "likelihood") -> list[Interval]:
        """What phase I changes in the first seeds, and in the others."""
        n, runs = self.recipe.n_first, self.texts[text]
        parts = [{v: runs[v][x] for v in runs} for x in (slice(n), slice(n, None))]
        chapters = [self._replace(texts={text: part}) for part in parts]
        return [x.change(text, metric, "phase I", control) for x in chapters]

    def control_gains(self, text: str) -> dict[str, Interval]:
        """What phase I changes in the loss beside each control that was run."""
        controls = [c for c in ("shuffled pairs", self.retuned(text)) if c in self.texts[text]]
        return {control: self.change(text, "nll", "phase I", control) for control in controls}

    def padding_changes(self, text: str) -> list[Interval]:
        """What reading the padding changes in bound and loss, where it was run."""
        metrics = ("bound", "nll") if "padding read" in self.texts[text] else ()
        return [self.change(text, x, "padding read", "phase I") for x in metrics]

    def exact(self, text: str = "chain") -> float:
        """The mutual information of neighbouring sentences of a chain, nats."""
        return measures.exact_information(self.recipe.texts[text])[0]

    def real_reverse(self, text: str) -> Interval | None:
        """The reverse perplexity of real text instead of written text, where it was measured."""
        values = [math.exp(r.values["reverse_nll"]) for r in self.real.get(text, ())]
        return mean_over_seeds(values) if values else None

    def is_chain(self, text: str) -> bool:
        """Whether a text is a chain of topics."""
        return self.recipe.texts[text].source is None

    def tested(self) -> list[str]:
        """The texts with several seeds."""
        return [text for text, variants in self.texts.items() if len(variants["likelihood"]) > 1]

    def retuned(self, text: str) -> str | None:
        """The variant with another dropout whose validation loss is the least, if any."""
        tried = {v: self.mean(text, "validation", v) for v in DROPOUTS if v in self.texts[text]}
        return min(tried, key=lambda v: tried[v].mean, default=None)

    def scale(self, variant: str, texts: list[str]) -> str:
        """The profile, and the seeds of a variant on these texts."""
        parts = {text: self.texts[text][variant] for text in texts}
        return f"profile {self.profile.name}" + (f", {results.scale(parts)}" if parts else "")


def chapter(
    profile_name: str = "auto",
    first_seed: int = 0,
    recipes: Mapping[str, plan.Recipe] = plan.RECIPES,
) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, loaded = jobs.load(run, profile_name, first_seed, recipes=recipes)
    recipe = recipes[profile.name]
    rows = [*recipe.runs, *((text, "real", n) for text, n in recipe.real)]
    named = ((t, v, loaded[run_name(t, v, n + first_seed)]) for t, v, n in rows)
    texts = jobs.grouped(named)
    real = {text: runs.pop("real") for text, runs in texts.items() if "real" in runs}
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
        "quiz": {"": first[quiz_texts(chapter)[0]]},
        "lottery": {text: first[text] for text in quiz_texts(chapter)},
        "chain": chain,
        "decay": {t: [r for v in d.values() for r in v] for t, d in decays(chapter).items()},
        "main": texts[chapter.main],
        "everywhere": phases,
        "fresh": {t: texts[t]["phase I"] for t in chapter.recipe.fresh if t in texts},
    }


def badge(chapter: Chapter, key: str) -> str:
    """The badge of a key of `evidence`, from the results behind it."""
    return results.badge(evidence(chapter)[key], synthetic="chains of topics")


def table(chapter: Chapter, text: str) -> Table:
    """A variant per row, mean and standard error over seeds."""
    columns = _measured(chapter, text, COLUMNS)
    rows = []
    for variant in chapter.texts[text]:
        means = {metric: chapter.mean(text, metric, variant) for metric in columns}
        cells = (format_mean(mean, DECIMALS.get(name, 1)) for name, mean in means.items())
        rows.append([variant, *cells])
    if reverse := chapter.real_reverse(text):
        if chapter.is_chain(text):
            information = f"{chapter.exact(text):.3f}"
        else:
            bounds = [r.values["bound"][0] for r in chapter.real[text]]
            information = format_mean(mean_over_seeds(bounds), 3)
        blank = [""] * (len(columns) - 2)
        rows.append(["real text", *blank, information, format_mean(reverse, 1)])
    return ["training", *columns], rows


def differences(chapter: Chapter, text: str) -> Table:
    """Each variant minus likelihood alone, paired by seed, with 95 % intervals."""
    metrics = _measured(chapter, text, DIFFERENCES.values())
    heads = [head for head, metric in DIFFERENCES.items() if metric in metrics]
    variants = [v for v in chapter.texts[text] if v != "likelihood"]
    return ["minus likelihood", *heads], [[v, *chapter.changed(text, metrics, v)] for v in variants]


def _measured(chapter: Chapter, text: str, metrics: Iterable[str]) -> list[str]:
    first = chapter.texts[text]["likelihood"][0]
    return [metric for metric in metrics if not math.isnan(METRICS[metric](first))]


def everywhere(chapter: Chapter) -> Table:
    """Phase I and II minus likelihood alone, and minus each control, on every text."""
    rows = []
    for text, variants in chapter.texts.items():
        controls = ("likelihood", "shuffled pairs", chapter.retuned(text))
        for variant in filter(variants.__contains__, ("phase I", "phase II")):
            cells = [chapter.changed(text, ["nll"], variant, control)[0] for control in controls]
            cells += chapter.changed(text, ["bound", "written"], variant)
            rows.append([f"{NAMES[text]}: {variant}", *cells])
    head = ["text and training", "nats per token, minus likelihood", "minus shuffled pairs"]
    head += ["minus retuned dropout", "bound, minus likelihood", "written, minus likelihood"]
    return head, rows


def fresh(chapter: Chapter) -> Table:
    """What phase I changes in the first seeds, and in those run after they had been seen."""
    rows = []
    for text in chapter.recipe.fresh:
        for name, metric in {"nats per token": "nll", "written": "written"}.items():
            for control in ("likelihood", "shuffled pairs", *DROPOUTS):
                if control in chapter.texts[text]:
                    parts = chapter.by_first_seeds(text, metric, control)
                    cells = [format_interval(part, DECIMALS[metric]) for part in parts]
                    rows.append([f"{NAMES[text]}: {name}", control, *cells])
    return ["text and measure", "phase I minus", "first five seeds", "five fresh seeds"], rows


def page_weights(chapter: Chapter, n: int = 6) -> dict[str, Any]:
    """The models that travel with the page, as `dgm_book.widgets.LanguageWeights` takes them."""
    models, log_probs, rows = {}, {}, []
    for variant in PAGE:
        trained = read_chain(chapter, variant)
        models[variant] = {k: v.numpy() for k, v in trained.model.state_dict().items()}
        stream = trained.splits.streams[2]
        rows = [stream[i : i + 4 + i] for i in range(n)]
        arrays = rounded(models[variant])
        trained.model.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
        after = [trained.model.read(row[None]).output[:, -1] for row in rows]
        head, embedding = trained.model.head, trained.model.embedding.weight
        log_probs[variant] = head.log_probs(embedding, torch.cat(after)).numpy()
    words = chapter.texts["chain"]["likelihood"][0].values["vocabulary"]
    golden = {"tokens": [row.tolist() for row in rows], "log_probs": log_probs}
    return {"models": models, "words": words, "golden": golden}


def read_chain(chapter: Chapter, variant: str) -> measures.Trained:
    """The chain's model and critic that travel with the page."""
    seed = chapter.texts["chain"][variant][0].provenance["seed"]
    settings = chapter.recipe.texts["chain"]
    return reread(Job(chapter.profile, "chain", settings, variant, seed))


def page_openings() -> list[str]:
    """Openings of the storyteller: one of each of four topics, and one that mixes two."""
    texts, topics = topic_chain(400, 99, words=(2, 4))
    places = [(topics == k).nonzero().flatten().tolist() for k in range(6)]
    a, b = (texts[place[1]].split() for place in places[4:])
    return [*(texts[place[0]] for place in places[:4]), " ".join(a[:3] + b[:3])]


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
        "exact": measures.exact_information(chapter.recipe.texts["chain"]),
        "models": models,
        "stay": 1 - chapter.recipe.texts["chain"].chain.switch,
    }


def quiz_texts(chapter: Chapter) -> list[str]:
    """The texts that the lottery is about; the quiz is about the first."""
    return [text for text in ("shakespeare", "chain") if text in chapter.texts]


def page_questions(chapter: Chapter) -> list[dict[str, Any]]:
    """Questions for the quiz, with the critics' scores: Shakespeare's lines, else the chain's."""
    return _with_all_scores(chapter, quiz_texts(chapter)[0], "questions")


def _with_all_scores(chapter: Chapter, text: str, name: str) -> list[dict[str, Any]]:
    """Questions or passages of a text, with the scores of each of the page's critics."""
    if text == "chain":
        make = {"questions": measures.make_questions, "passages": measures.make_passages}[name]
        lists = {variant: make(read_chain(chapter, variant)) for variant in PAGE}
    else:
        lists = {variant: chapter.texts[text][variant][0].values[name] for variant in PAGE}
    return [
        {**item, "scores": {v: items[i]["scores"] for v, items in lists.items()}}
        for i, item in enumerate(lists["phase I"])
    ]


def page_lottery(chapter: Chapter) -> list[dict[str, Any]]:
    """Passages for the lottery, with the critics' scores of what follows each anchor."""
    sets = []
    for text in quiz_texts(chapter):
        for i, passage in enumerate(_with_all_scores(chapter, text, "passages")):
            label = f"{NAMES[text].split(',')[0]}, {('first', 'second')[i]} passage"
            sets.append({"name": f"{text} {i + 1}", "label": label, **passage})
    return sets


def decays(chapter: Chapter) -> dict[str, Runs]:
    """The texts whose decay is shown, with their variants."""
    texts = dict.fromkeys((chapter.main, "chain", "short slow chain"))
    lines = ("likelihood", "phase I", "phase II")
    return {
        text: {v: chapter.texts[text][v] for v in lines if v in chapter.texts[text]}
        for text in texts
        if text in chapter.tested()
    }


def page_decay(chapter: Chapter) -> list[dict[str, Any]]:
    """Mutual information of written text by distance, for `figures.through_training`."""
    panels = []
    for text, variants in decays(chapter).items():
        title, curves = text, {v: [written(r) for r in runs] for v, runs in variants.items()}
        if chapter.is_chain(text):
            curves["the text itself"] = [measures.exact_information(chapter.recipe.texts[text])]
        else:
            title = NAMES[text]
            curves["the text itself"] = [r.values["bound"] for r in chapter.real[text]]
        lines = {k: [(DISTANCES, row) for row in rows] for k, rows in curves.items()}
        panels.append({"title": title, "lines": lines, "reference": "the text itself"})
    return panels


def page_ladder(chapter: Chapter, text: str) -> list[dict[str, Any]]:
    """Measurements of every seed, likelihood alone first, for `figures.ladder`."""
    titles = {"nll": "test loss (nats per token)", "bound": "held-out bound (nats)"}
    titles["written"] = "written text (nats)"
    return [
        {"title": title, "rows": {v: chapter.values(text, x, v) for v in chapter.texts[text]}}
        for x, title in titles.items()
    ]


def prose_values(chapter: Chapter) -> dict[str, str]:
    """What the prose takes up: the templates of texts.yaml, filled in."""
    numbers: dict[str, Any] = {
        "c": chapter,
        "names": NAMES,
        "n_topics": len(THEMES),
        "settings": chapter.recipe.texts[chapter.main],
        "first": chapter.texts[chapter.main]["likelihood"][0].values,
        "seeds": results.scale(chapter.texts[chapter.main]),
        "real_reverse": chapter.real_reverse(chapter.main),
    }
    gains = [chapter.change(chapter.main, "nll"), *chapter.control_gains(chapter.main).values()]
    numbers["gains_beyond_all"] = len(gains) > 1 and all(x.high < 0 for x in gains)
    numbers |= quiz_values(chapter) | checkpoint_values(chapter)
    return fill(FOLDER / "texts.yaml", numbers)


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
    return 2 * float(bdtr(min(a, b), a + b, 0.5)) > 0.05


def checkpoint_values(chapter: Chapter) -> dict[str, Any]:
    """Where the best checkpoint lies early."""
    early, unlearned = [], {}
    for text, variants in chapter.texts.items():
        settings = chapter.recipe.texts[text]
        best = {
            variant: [min(r.values["rows"], key=lambda row: row["nll"])["step"] for r in runs]
            for variant, runs in variants.items()
        }
        if 0 < max(best.get("phase II", [0])) <= settings.steps / 2:
            early.append(NAMES[text])
        steps = [step for x in best.values() for step in x]
        n_first = steps.count(settings.measure_every)
        if chapter.is_chain(text) and 2 * n_first > len(steps):
            unlearned[text] = n_first, len(steps)
    return {"early": early, "unlearned": unlearned}


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    main, tested = [chapter.main], chapter.tested()
    topics = [text for text in tested if text != chapter.main]
    gains = {
        f"{NAMES[text]}, against {control}": gain
        for text in tested
        for control, gain in chapter.control_gains(text).items()
    }
    largest = max(abs(row[4] - row[3]) for row in quadrature())
    exact = {"all": statistics.interval(largest, 0.0, 1)}
    changes = {
        "written_information_rises": "written",
        "likelihood_improves": "nll",
        "quality_improves": "reverse nll",
    }
    outcomes = {
        "bound_is_exact": Outcome(exact, {"largest": largest}, "exact"),
        "states_tell_more": _states_tell_more(chapter),
        "bound_rises": _changes(chapter, "bound", tested),
        **{id_: _changes(chapter, metric, main) for id_, metric in changes.items()},
        **{f"{id_}_on_topics": _changes(chapter, x, topics) for id_, x in changes.items()},
        "second_phase_improves": _second_phase_improves(chapter),
        "pairs_matter": _outcome(chapter, tested, gains, gains=gains),
        "padding_matters": _padding_matters(chapter),
    }
    return judged(FOLDER / "claims.yaml", plan.CHAPTER, outcomes)


def _outcome(
    chapter: Chapter,
    texts: list[str],
    tests: Mapping[str, Interval],
    variant: str = "phase I",
    **values: Any,
) -> Outcome:
    """Tests by the text that their names begin with; a text's level is its worst training's."""
    arms = {variant, "likelihood", "phase I"}
    levels = {
        NAMES[text]: max(chapter.mean(text, "nll", v).mean for v in arms & {*chapter.texts[text]})
        for text in texts
    }
    by_test = {test: {k: v for k, v in levels.items() if test.startswith(k)} for test in tests}
    return Outcome(tests, values, chapter.scale(variant, texts), by_test)


def _states_tell_more(chapter: Chapter) -> Outcome:
    """On the chain the bound comes near the exact value, and the critic's gradient did it."""
    bounds, exact, name = chapter.values("chain", "bound"), chapter.exact(), NAMES["chain"]
    share, gain = mean_over_seeds([x / exact for x in bounds]), chapter.change("chain", "bound")
    values = {"name": name, "bound": mean_over_seeds(bounds), "exact": exact, "share": share}
    tests = {f"{name}: share": share, f"{name}: gain": gain}
    return _outcome(chapter, ["chain"], tests, gain=gain, **values)


def _changes(chapter: Chapter, metric: str, texts: list[str]) -> Outcome | None:
    """What phase I changes in a measurement on some texts."""
    texts = [t for t in texts if not math.isnan(chapter.values(t, metric)[0])]
    gains = {NAMES[text]: chapter.change(text, metric) for text in texts}
    return _outcome(chapter, texts, gains, gains=gains) if texts else None


def _second_phase_improves(chapter: Chapter) -> Outcome:
    """On the main text phase II beats phase I in both."""
    main, name = chapter.main, NAMES[chapter.main]
    if "phase II" not in chapter.texts[main]:
        return Outcome({}, {"loss": None}, chapter.scale("phase I", [main]))
    loss, rise = (chapter.change(main, x, "phase II", "phase I") for x in ("nll", "written"))
    tests = {f"{name}: loss": loss, f"{name}: written": rise}
    return _outcome(chapter, [main], tests, "phase II", name=name, loss=loss, written=rise)


def _padding_matters(chapter: Chapter) -> Outcome:
    changes = {NAMES[text]: chapter.padding_changes(text) for text in chapter.texts}
    changes = {name: pair for name, pair in changes.items() if pair}
    kinds = ("bound", "loss")
    tests = {f"{n}: {k}": x for n, p in changes.items() for k, x in zip(kinds, p, strict=True)}
    texts = [text for text in chapter.texts if NAMES[text] in changes]
    return _outcome(chapter, texts, tests, "padding read", changes=changes)


def quadrature() -> list[list[float]]:
    """Correlated Gaussians under the best critic: correlation, L_D, JSD, exact I, the bound (1).

    By Gauss and Hermite's rule over the difference and the sum of the two, which are independent.
    """
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(240))
    x, z = torch.cartesian_prod(nodes, nodes).T
    share = torch.outer(*[weights / weights.sum()] * 2).flatten()
    rows = []
    for rho in (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99):
        joint = best_critic(x, rho * x + math.sqrt(1 - rho * rho) * z, rho)
        product = softplus(best_critic(x, z, rho))
        loss = float((share * softplus(-joint)).sum() + (share * product).sum())
        # E e^T is 1; a product rule gets its tail wrong, so the bound is taken on the joint's grid.
        bound = float((share * joint).sum())
        rows.append([rho, loss, math.log(2) - loss / 2, -0.5 * math.log1p(-rho * rho), bound])
    return rows


def best_critic(x: Tensor, y: Tensor, rho: float) -> Tensor:
    """The logarithm of the density ratio of unit Gaussians with that correlation."""
    quadratic = rho**2 * (x * x + y * y) - 2 * rho * x * y
    return -0.5 * math.log1p(-rho * rho) - quadratic / (2 * (1 - rho * rho))
