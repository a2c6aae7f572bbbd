"""Chapter 1's results as its page uses them, what they say, and the rules that judge its claims.

The claims' words are in claims.yaml, by the same names.
"""

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.measure import Interval, bootstrap
from dgm.sampling.curves import MeanCurve
from dgm_book import jobs, results, statistics
from dgm_book.chapters.rate_distortion import recipe as recipes
from dgm_book.chapters.rate_distortion.models import CHAPTER, Job
from dgm_book.chapters.rate_distortion.recipe import MODELS, RECIPES, Recipe, gap_betas, label
from dgm_book.chapters.rate_distortion.rivals import length_bound
from dgm_book.chapters.rate_distortion.run import compared, run
from dgm_book.claims import Claim, Outcome, judged
from dgm_book.profiles import Profile
from dgm_book.results import Result
from dgm_book.statistics import paired_difference

TERMS = ("rate", "distortion", "log_z")
FLOORS = {"vae": ("vae2", "vae10"), "gan": ("gan2", "gan10")}
FAMILIES = {"gan10": ("gan10", "vae10"), "aae10": ("aae10", "vae10")}


class Chapter(NamedTuple):
    """All results of the chapter at one profile."""

    profile: Profile
    recipe: Recipe
    seeds: list[int]
    runs: dict[tuple[str, str], list[Result]]  # one per seed, by model and the name's ending

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a digit."""
        height, width = self.runs["vae2", "training"][0].values["shape"]
        return height, width

    def first(self, ending: str, model: str = "vae10") -> Result:
        """The first seed's result of an experiment."""
        return self.runs[model, ending][0]

    def compared(self, ending: str) -> dict[str, list[Result]]:
        """The results of the compared models."""
        return {m: self.runs[m, ending] for m in compared(self.profile, self.recipe)}

    @property
    def gaps(self) -> dict[str, list[Result]]:
        """Both bounds of log Z of some models, one result per beta."""
        return {
            model: [self.first(f"bdmc-{beta:g}", model) for beta in gap_betas(model, self.recipe)]
            for model in recipes.GAPS
        }

    def scale(self, words: str, *models: str) -> str:
        """Profile, data and size, in words; with models, that of their results of an ending."""
        if models:
            words = results.scale({label(m): self.runs[m, words] for m in models}, size)
        dataset = self.job(models[0] if models else "vae10").dataset
        return f"profile {self.profile.name}, {dataset}, {words}"

    def job(self, model: str, seed: int | None = None) -> Job:
        """What loads a model's decoder; the first seed's, unless it is given."""
        return Job(model, self.seeds[0] if seed is None else seed, self.profile, self.recipe)


def chapter(profile_name: str = "auto", first_seed: int = 0) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile, loaded = jobs.load(run, profile_name, first_seed)
    return assemble(profile, loaded, first_seed)


def assemble(profile: Profile, loaded: Mapping[str, Result], first_seed: int = 0) -> Chapter:
    """The chapter of a profile's results by name."""
    runs = defaultdict(list)
    for name, result in loaded.items():
        runs[tuple(re.split(r"-seed\d+-", name))].append(result)
    seeds = list(range(first_seed, first_seed + profile.n_seeds))
    return Chapter(profile, RECIPES[profile.name], seeds, dict(runs))


def size(result: Result) -> str:
    """What a result was measured on, in words; "" where nothing was."""
    values, tensors = result.values, result.tensors
    if "headers" in values:
        return f"{values['n_images']} test images"
    if "gap" in values:
        return f"{values['n_images']} images of the model's own"
    if "sigmoid.log_weight_variance" in tensors:
        seeds, _, n = tensors["sigmoid.log_weight_variance"].shape
        return f"{n} test images, {seeds} annealings"
    if "rate" in tensors:
        kind = "training" if result.name.endswith("-seen") else "test"
        return f"{tensors['rate'].shape[1]} {kind} images"
    return f"{values['elbo']['n']:,} test images" if "elbo" in values else ""


def stacked(runs: list[Result], term: str) -> Tensor:
    """A term of some curves, (seeds, R, N)."""
    return torch.stack([r.tensors[term] for r in runs])


def summary(runs: list[Result]) -> MeanCurve:
    """Mean over images and seeds, with the standard error over images joined to that over seeds."""
    columns = []
    for term in TERMS:
        values = stacked(runs, term)
        over_images = values.mean(0).var(1) / values.shape[2]
        over_seeds = values.mean(2).var(0) / len(values) if len(values) > 1 else 0.0
        columns += [values.mean((0, 2)), torch.sqrt(over_images + over_seeds)]
    return MeanCurve(runs[0].tensors["beta"], *columns)


def high_slopes(runs: list[Result]) -> Tensor:
    """Twice the nats that the rate gains per e-fold of beta, (seeds, N); D for a smooth decoder."""
    beta, rate = runs[0].tensors["beta"], stacked(runs, "rate")
    start = int((beta < 0.1 * beta[-1]).sum())
    return 2 * (rate[:, -1] - rate[:, start]) / math.log(float(beta[-1] / beta[start]))


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over images of values (R, N), and its standard error, both (R,)."""
    return values.mean(1), values.std(1) / math.sqrt(values.shape[1])


def missed(chapter: Chapter, model: str, term: str) -> tuple[Tensor, Tensor, Tensor]:
    """Betas, and what the annealing of a model in two dimensions missed, with errors, each (R,)."""
    exact, curve = (chapter.first(ending, model).tensors for ending in ("truth", "curve"))
    return exact["beta"], *mean_and_error(curve[term][: len(exact["beta"])] - exact[term])


def mixture(
    narrow: Mapping[str, Tensor], wide: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    """The curve under (1 - alpha) p + alpha q from those under p and q, for each image."""
    weights = torch.tensor([1 - alpha, alpha], dtype=torch.float64).log()[:, None, None]
    parts = weights + torch.stack([narrow["log_z"], wide["log_z"]])
    log_z, share = parts.logsumexp(0), parts.softmax(0)
    distortion = (share * torch.stack([narrow["distortion"], wide["distortion"]])).sum(0)
    rate = -log_z - narrow["beta"][:, None] * distortion
    return {"beta": narrow["beta"], "rate": rate, "distortion": distortion, "log_z": log_z}


def limit_ratios(chapter: Chapter) -> Tensor:
    """Adaptive over sigmoid, variance of log w where chains mix at once (largest betas, seeds)."""
    tensors = chapter.first("schedule-limits").tensors
    return (tensors["adaptive.log_weight_variance"] / tensors["sigmoid.log_weight_variance"]).T


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    seeds = len(chapter.seeds)
    usual = f"{chapter.recipe.annealing.n_images} test images, {seeds} seed{'s' * (seeds > 1)}"
    distortions = partial(_distortions, chapter)
    outcomes = {
        "a_single_run_gives_the_curve": _against_quadrature(chapter, "log_z", abs),
        "points_lie_above_the_curve": _against_quadrature(chapter, "rate", operator.neg),
        "gaps_are_small": _gaps(chapter, "vae2", "vae10", "gan10", "aae10"),
        "gaps_are_small_with_100_dimensions": _gaps(chapter, "vae100"),
        "the_curve_costs_a_likelihood": _cost(chapter),
        "annealing_seeds_agree": _annealing_seeds(chapter),
        "schedules_where_distortion_is_ten": _halved_at_ten(chapter),
        "schedules_to_the_paper_s_beta": _halved(chapter, recipes.PAPER_BETA, suffix="-far"),
        "schedules_to_this_chapter_s_beta": _halved_here(chapter),
        "small_codes_meet_a_floor": distortions(FLOORS),
        "slopes_count_dimensions": _slopes(chapter),
        "the_better_code_depends_on_the_rate": _better_code(chapter),
        "families_differ": distortions(FAMILIES),
        "deep_beats_shallow": distortions({"depth": ("gan10-shallow", "gan10")}),
        "families_differ_under_a_deep_distortion": distortions(
            {"gan10": FAMILIES["gan10"]}, ending="features"
        ),
        "encoders_lie_above_the_curve": _encoders(chapter),
        "colour_generators_differ": distortions({"colour": recipes.COLOUR}),
        "junk_costs_at_most_the_cap": _junk(chapter),
        "blur_raises_the_floor": _blur(chapter),
        **_damages(chapter),
        "a_decoder_beats_linear_codes": _linear_codes(chapter),
        "a_better_prior_costs_no_more": _best_prior(chapter),
        "a_flow_lowers_the_rate": _flow(chapter),
        "files_are_as_long_as_theory_says": _lengths(chapter),
        "files_bring_what_was_promised": _promises(chapter),
    }
    path = Path(__file__).with_name("claims.yaml")
    return judged(path, CHAPTER, outcomes, chapter.scale(usual))


def _numbers(values: Iterable[float], form: str) -> str:
    return ", ".join(form % value for value in values)


def _levels(chapter: Chapter, *models: str) -> dict[str, float]:
    """D at the largest beta, which as many principal components have to be above."""
    return {
        f"{chapter.job(m).dataset}, {label(m)}": float(
            stacked(chapter.runs[m, "curve"], "distortion")[:, -1].mean()
        )
        for m in models
    }


def _against_quadrature(chapter: Chapter, term: str, miss: Callable[[float], float]) -> Outcome:
    """What the mean misses of the exact value at each beta; the worst by error and the worst."""
    rows, tests = [], {}
    for model in recipes.QUADRATURE:
        n = chapter.first("curve", model).tensors[term].shape[1]
        columns = (column.tolist() for column in missed(chapter, model, term))
        for beta, mean, error in zip(*columns, strict=True):
            rows.append((mean, error, label(model), beta))
            tests[f"{label(model)}, beta {beta:g}"] = statistics.interval(mean, error, n)
    worst = [max(rows, key=lambda row: miss(row[0]) / row[1]), max(rows, key=lambda r: miss(r[0]))]
    values = {"n": len(rows), "worst": list(dict.fromkeys(worst))}
    return Outcome(tests, values, chapter.scale("truth", "vae2"))


def _gaps(chapter: Chapter, *models: str) -> Outcome:
    pairs = [(label(m), r.values) for m in models for r in chapter.gaps[m]]
    keys = ("gap", "standard_error", "n_images")
    tests = {
        f"{name}, {v['beta']:g}": statistics.interval(*(v[k] for k in keys)) for name, v in pairs
    }
    name, widest = max(pairs, key=lambda pair: pair[1]["gap"])
    values = {"n": len(pairs), "name": name, "widest": widest}
    scale = chapter.scale(f"{widest['n_images']} images of each model, 1 seed")
    return Outcome(tests, values, scale)


def _cost(chapter: Chapter) -> Outcome:
    seconds = chapter.first("cost").values
    ratios = [a / b for a, b in zip(seconds["curve"], seconds["likelihood"], strict=True)]
    ratio = statistics.mean_over_seeds(ratios)
    best = min(seconds["curve"]) / min(seconds["likelihood"])
    values = {"best": best, "n": len(ratios), "low": min(ratios), "high": max(ratios)}
    return Outcome({"all": ratio}, {"ratio": ratio, **values}, chapter.scale("1 seed"))


def _annealing_seeds(chapter: Chapter) -> Outcome:
    endings = [f"again{k}" for k in recipes.ANNEALING_SEEDS]
    log_z = torch.stack([chapter.first(ending).tensors["log_z"] for ending in endings])
    means, (_, over_images) = log_z.mean(2), mean_and_error(log_z[0])
    farthest = ((means - means.mean(0)).abs() / over_images).amax(1)
    share, spread = statistics.mean_over_seeds(farthest), float(means.std(0).max())
    values = {"n": len(endings), "spread": spread, "share": share}
    return Outcome({"all": share}, values, chapter.scale(endings[0], "vae10"))


def _logarithms(result: Result, schedule: str = "adaptive", r: int = -1) -> Interval:
    """A schedule's variance of log w over sigmoid's: mean of logarithms over images and seeds."""
    ours, sigmoid = (
        result.tensors[f"{s}.log_weight_variance"][:, r].flatten().log()
        for s in (schedule, "sigmoid")
    )
    return paired_difference(ours, sigmoid)


def _ratio(result: Result, schedule: str = "adaptive", r: int = -1) -> Interval:
    """The same as a geometric mean."""
    logs = _logarithms(result, schedule, r)
    return logs._replace(**{end: math.exp(getattr(logs, end)) for end in ("mean", "low", "high")})


def _schedules(chapter: Chapter, suffix: str = "", r: int = -1) -> tuple[dict[str, Interval], str]:
    """The adaptive schedule's variance over sigmoid's at every budget: its logarithm, and words."""
    parts, tests = [], {}
    for budget in chapter.recipe.comparison.budgets:
        result = chapter.first(f"schedules{budget}{suffix}")
        adaptive, sigmoid = (
            result.tensors[f"{s}.log_weight_variance"][:, r].mean(1)
            for s in ("adaptive", "sigmoid")
        )
        by_seed, ratio = _numbers((adaptive / sigmoid).tolist(), "%.2g"), _ratio(result, r=r)
        tests[str(budget)] = _logarithms(result, r=r)
        parts.append(
            f"{statistics.format_interval(ratio, 2, '')} at {budget} temperatures "
            f"(of the means over images, by seed: {by_seed})"
        )
    return tests, "; ".join(parts)


def _halved(
    chapter: Chapter, top: float, end: int = -1, suffix: str = "", r: int = -1, **values: Any
) -> Outcome:
    """What the adaptive schedule leaves of the variance on the way to a largest beta."""
    tests, ratios = _schedules(chapter, suffix, r)
    limit, sizes = limit_ratios(chapter)[end], chapter.recipe.comparison
    values |= {"limit": (float(limit.mean()), float(limit.min()), float(limit.max())), "top": top}
    scale = chapter.scale(f"{sizes.n_images} test images, {len(sizes.seeds)} annealings")
    values = {"ratios": ratios, **values}
    return Outcome(tests, values, scale, {"each": _levels(chapter, "vae10")})


def _halved_at_ten(chapter: Chapter) -> Outcome:
    curve = chapter.first("curve").tensors
    tried = chapter.first(f"schedules{chapter.recipe.comparison.budgets[0]}").tensors
    n_images = tried["sigmoid.log_weight_variance"].shape[2]
    nearest = (curve["distortion"][:, :n_images].mean(1) - 10.0).abs().argmin()
    r = int((tried["beta"] / curve["beta"][nearest]).log().abs().argmin())
    return _halved(chapter, float(curve["beta"][-1]), r=r, beta=float(tried["beta"][r]))


def _halved_here(chapter: Chapter) -> Outcome:
    fewest, *_, most = chapter.recipe.comparison.budgets * 2
    ratios = {s: _ratio(chapter.first(f"schedules{fewest}-{s}")) for s in recipes.SAMPLERS}
    top = float(chapter.first("curve").tensors["beta"][-1])
    values: dict[str, Any] = {"budget": fewest, "leapfrogs": recipes.PAPER_LEAPFROG, **ratios}
    values |= {"pairs": ratios["steady"].n, "fresh": _schedules(chapter, "-fresh")[1]}
    values |= {"default": _ratio(chapter.first(f"schedules{most}"), "default")}
    return _halved(chapter, top, 1, **values)


def _ends(chapter: Chapter, model: str) -> dict[str, str]:
    bottom, *_, top = chapter.first("curve", model).tensors["beta"].tolist()
    return {"bottom": f"{bottom:g}", "top": f"{top:g}"}


def _distortions(
    chapter: Chapter, pairs: dict[str, tuple[str, str]], ending: str = "curve"
) -> Outcome:
    """Differences of distortion at the largest beta."""
    models, changes = [model for pair in pairs.values() for model in pair], {}
    for name, pair in pairs.items():
        runs = zip(*(chapter.runs[model, ending] for model in pair), strict=False)
        means = [[float(r.tensors["distortion"][-1].mean()) for r in seed] for seed in runs]
        treated, control = zip(*means, strict=True)
        changes[name] = paired_difference(treated, control)
    levels = {name: _levels(chapter, *pair) for name, pair in pairs.items()}
    values = changes | _ends(chapter, models[0])
    return Outcome(changes, values, chapter.scale(ending, *models), levels)


def _slopes(chapter: Chapter) -> Outcome:
    slopes = {m: high_slopes(chapter.runs[m, "curve"]) for m in ("vae2", "gan2", "vae10", "gan10")}
    means = {model: bootstrap(values.mean(0)) for model, values in slopes.items()}
    shares = {m: bootstrap(x.mean(0) / MODELS[m].latent_dim - 1) for m, x in slopes.items()}
    medians = _numbers((float(v.flatten().median()) for v in slopes.values()), "%.2f")
    values = {"slopes": {label(m): v for m, v in means.items()}, "medians": medians}
    levels = {m: _levels(chapter, m) for m in slopes}
    return Outcome(shares, values, chapter.scale("curve", *slopes), levels)


def _better_code(chapter: Chapter) -> Outcome:
    small, large = (stacked(chapter.runs[m, "curve"], "log_z").mean(0) for m in ("vae2", "vae10"))
    difference = large - small  # (R, N)
    bottom = float(chapter.first("curve", "vae2").tensors["beta"][0])
    start, end = bootstrap(-difference[0] / bottom), bootstrap(difference[-1])
    values = {"start": start, "end": end, **_ends(chapter, "vae2")}
    levels = {"each": _levels(chapter, "vae2", "vae10")}
    return Outcome({"start": start, "end": end}, values, levels=levels)


def _encoders(chapter: Chapter) -> Outcome:
    rows, tests = [], {}
    for model in recipes.ENCODED:
        encoder, annealed = (chapter.first(e, model).tensors for e in ("encoder", "annealed"))
        bound = encoder["rate"] + encoder["beta"][:, None] * encoder["distortion"]
        above = bound + annealed["log_z"]
        mean, error = mean_and_error(above)
        least, most = mean.argmin(), float(mean.max())
        rows.append((label(model), float(mean[least]), float(error[least]), most))
        tests[model] = statistics.mean_over_seeds(above[least])
    return Outcome(tests, {"rows": rows}, chapter.scale("annealed", "vae10"))


def _junk(chapter: Chapter) -> Outcome:
    narrow, wide = (chapter.first(f"blur0-{prior}").tensors for prior in ("narrow", "wide"))
    other = chapter.first(f"again{recipes.ANNEALING_SEEDS[0]}").tensors["log_z"]
    rows, tests, direct = [], {}, []
    for alpha in recipes.ALPHAS:
        rise = other - mixture(narrow, wide, alpha)["log_z"]
        mean, error = mean_and_error(rise)
        cap, r = -math.log1p(-alpha), int(mean.argmax())
        rows.append((float(mean[r]), float(error[r]), cap, alpha))
        tests[f"{alpha:g}"] = statistics.mean_over_seeds(rise[r] - cap)
        whole = chapter.first(f"mixture{alpha:g}").tensors["log_z"]
        direct.append(float((other - whole).mean(1).max()))
    values = {"rows": rows, "direct": _numbers(direct, "%.1f")}
    values["chains"] = chapter.recipe.annealing.n_chains
    return Outcome(tests, values, chapter.scale("blur0-narrow", "vae10"))


def _blur(chapter: Chapter) -> Outcome:
    rows, sharp = [], chapter.first("blur0-narrow").tensors["distortion"]
    for blur in recipes.BLURS[1:]:
        more = chapter.first(f"blur{blur:g}-narrow").tensors["distortion"] - sharp
        least = more[-1] - more[0] * more[0].mean().sign()  # the floor's gain beyond the low end
        rows.append((blur, bootstrap(more[-1]), bootstrap(more[0]), bootstrap(least)))
    tests = {f"{blur:g}": beyond for blur, *_, beyond in rows}
    levels, scale = {"each": _levels(chapter, "vae10")}, chapter.scale("blur0-narrow", "vae10")
    return Outcome(tests, {"rows": rows}, scale, levels)


def _damages(chapter: Chapter) -> dict[str, Outcome]:
    """What damage costs, -log Z at the recorded beta nearest to 30, by claim."""

    def costs(damage: str, ending: str = "unseen") -> Tensor:  # (seeds, N)
        runs = chapter.runs[f"vae10{damage}", ending]
        r = int((runs[0].tensors["beta"].log() - math.log(30)).abs().argmin())
        return -stacked(runs, "log_z")[:, r]

    limited, whole = ((costs(x) - costs(x, "seen")).mean(1) for x in ("-few", ""))
    masks = torch.tensor([r.values["dropped"] for r in chapter.runs["vae10-dropped", "unseen"]])
    rows = zip(costs("-dropped") - costs(""), masks, strict=True)
    early, trained = (costs(x).mean(1) for x in ("-short", ""))
    gains = {
        ("memorisation_shows", "vae10-few"): paired_difference(limited, whole),
        ("dropped_modes_show", "vae10-dropped"): statistics.mean_over_seeds(
            [float(row[mask].mean() - row[~mask].mean()) for row, mask in rows]
        ),
        ("underfitting_shows", "vae10-short"): paired_difference(early, trained),
    }
    levels = {"each": _levels(chapter, "vae10")}
    return {
        id_: Outcome({"all": gain}, {"gain": gain}, chapter.scale("unseen", model), levels)
        for (id_, model), gain in gains.items()
    }


def _linear_codes(chapter: Chapter) -> Outcome:
    """What a Gaussian code costs beyond VAE10 where VAE10's distortion is nearest to 10."""
    linear, runs = chapter.first("references"), chapter.runs["vae10", "curve"]
    rate, distortion = (stacked(runs, term).mean(0) for term in ("rate", "distortion"))
    r = int((distortion.mean(1) - 10.0).abs().argmin())
    at, t = float(distortion[r].mean()), linear.tensors
    tangents = t["rate"] + t["beta"] * t["distortion"]
    b = int((tangents - t["beta"] * at).argmax())
    gaussian = tangents[b] - t["beta"][b] * distortion[r]  # its mean: R of the Gaussian there
    more = statistics.mean_over_seeds(gaussian - rate[r])
    points, n = [], linear.values["n_images"]
    for name, header in linear.values["headers"].items():
        error = t[f"{name}.distortion"].mean(1)
        near = int((error / at).log().abs().argmin())
        nats = [8 * math.log(2) * x / n for x in (int(t[f"{name}.bytes"][near]), header)]
        points.append((name, nats[0], float(error[near]), nats[1]))
    values = {"at": at, "own": float(rate[r].mean()), "gaussian": float(gaussian.mean())}
    scale = chapter.scale("curve", "vae10")
    return Outcome({"all": more}, values | {"more": more, "points": points, "n": n}, scale)


def _best_prior(chapter: Chapter) -> Outcome:
    result = chapter.first("best-prior", "vae2")
    tensors, fitted = result.tensors, result.values["fitted"]
    beta = [f"{b:.3g}" for b in tensors["beta"].tolist()]
    saved = tensors["log_z"].double() - tensors["own.log_z"].double()
    tests = {b: statistics.mean_over_seeds(row) for b, row in zip(beta, saved, strict=True)}
    ends = [(b, tests[b]) for b in (min(tests, key=lambda b: tests[b].mean), beta[-1])]
    rates = [float(tensors[f"{x}rate"][-1].mean()) for x in ("own.", "")]
    values = {"n": len(beta), "ends": ends, "rates": rates, "fitted": fitted}
    return Outcome(tests, values, chapter.scale("best-prior", "vae2"))


def _flow(chapter: Chapter) -> Outcome:
    flow, own = chapter.first("flow"), chapter.first("unseen").tensors
    beta, tests, rows = flow.tensors["beta"], {}, []
    for price in (1.0, 10.0, float(beta[0])):
        r = int((beta / price).log().abs().argmin())
        saved = statistics.mean_over_seeds(flow.tensors["log_z"][r] - own["log_z"][r])
        rates = (float(t["rate"][r].mean()) for t in (own, flow.tensors))
        rows.append((f"{float(beta[r]):.3g}", saved, *rates))
        tests[rows[-1][0]] = saved
    lowest = rows[-1]
    tests.pop(lowest[0])
    values = {"rows": rows[:-1], "lowest": lowest, "learned": flow.values["encoder_beta"]}
    return Outcome(tests, values, chapter.scale("flow", "vae10"))


def sent(chapter: Chapter) -> list[tuple[str, Result]]:
    """The files of each decoder at each price, by name."""
    return [
        (f"{label(m)} at {beta:g}", chapter.first(f"sent{beta:g}", m))
        for m, prices in recipes.SENT.items()
        for beta in prices
    ]


def _lengths(chapter: Chapter) -> Outcome:
    rows, tests = [], {}
    for name, result in sent(chapter):
        bits = 8 * result.tensors["bytes"].double().mean(0)
        bound = length_bound(float(result.tensors["rate"].mean()))
        tests[name] = statistics.mean_over_seeds(bits / bound - 1)
        alike = result.values["decoded_alike"]
        rows.append((name, float(bits.mean()), bound, alike, len(bits)))
    return Outcome(tests, {"rows": rows}, _scale_of_files(chapter))


def _promises(chapter: Chapter) -> Outcome:
    rows, tests = [], {}
    for name, result in sent(chapter):
        t = result.tensors
        promised, missed = float(t["expected"].mean()), t["distortion"] - t["expected"]
        tests[name] = statistics.mean_over_seeds(missed.mean(1) / promised)
        rows.append((name, statistics.mean_over_seeds(missed.mean(1)), promised))
    scarce = sum(result.values["scarce"] for _, result in sent(chapter))
    files = sum(result.tensors["bytes"].numel() for _, result in sent(chapter))
    values = {"rows": rows, "scarce": scarce, "files": files}
    return Outcome(tests, values, _scale_of_files(chapter))


def _scale_of_files(chapter: Chapter) -> str:
    seeds, n = sent(chapter)[0][1].tensors["rate"].shape
    return chapter.scale(f"{n} test images, {seeds} seeds of the candidates")
