"""The rules that judge chapter 1's claims; their words are in claims.yaml, by the rules' names."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.measure import Interval, bootstrap
from dgm_book.chapters.rate_distortion import chapter as summaries
from dgm_book.chapters.rate_distortion import recipe as recipes
from dgm_book.chapters.rate_distortion.chapter import Chapter
from dgm_book.chapters.rate_distortion.models import CHAPTER
from dgm_book.chapters.rate_distortion.recipe import MODELS, label
from dgm_book.claims import Claim, Outcome, judged
from dgm_book.results import Result
from dgm_book.statistics import all_hold, is_above_zero, paired_difference


def claims(chapter: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    own = f"profile {chapter.profile.name}, {chapter.recipe.digits.dataset}, "
    seeds = len(chapter.seeds)
    usual = f"{chapter.recipe.annealing.n_images} test images, {seeds} seed{'s' * (seeds > 1)}"
    outcomes = {}
    for rule in RULES:
        outcome = rule(chapter)
        words = outcome.scale or usual
        whole = words if words.startswith("profile") else own + words
        outcomes[rule.__name__[1:]] = outcome._replace(scale=whole)
    return judged(Path(__file__).with_name("claims.yaml"), CHAPTER, outcomes)


class Miss(NamedTuple):
    """By how much the annealing misses the exact value at one beta: mean over images, its error."""

    mean: float
    error: float
    model: str
    beta: float


def _misses(chapter: Chapter, term: str) -> list[Miss]:
    misses = []
    for model in recipes.QUADRATURE:
        exact = chapter.first("truth", model).tensors
        n_betas = len(exact["beta"])
        over = summaries.mean_and_error(
            chapter.first("curve", model).tensors[term][:n_betas] - exact[term]
        )
        rows = zip(*(column.tolist() for column in (*over, exact["beta"])), strict=True)
        misses += [Miss(mean, error, label(model), beta) for mean, error, beta in rows]
    return misses


def _numbers(values: Iterable[float], form: str) -> str:
    return ", ".join(form % value for value in values)


def _interval(interval: Interval, form: str = "%+.2f") -> str:
    mean, low, high = (form % v for v in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def _a_single_run_gives_the_curve(chapter: Chapter) -> Outcome:
    misses = _misses(chapter, "log_z")
    by_error = max(misses, key=lambda m: abs(m.mean) / m.error)
    worst = dict.fromkeys([by_error, max(misses, key=lambda m: abs(m.mean))])
    holds = all(abs(m.mean) <= 4 * m.error for m in misses)
    values = {"n": len(misses), "worst": list(worst)}
    return Outcome(holds, values, chapter.scale("truth", "vae2"))


def _points_lie_above_the_curve(chapter: Chapter) -> Outcome:
    misses = _misses(chapter, "rate")
    by_error = min(misses, key=lambda m: m.mean / m.error)
    lowest = dict.fromkeys([by_error, min(misses, key=lambda m: m.mean)])
    holds = all(m.mean >= -4 * m.error for m in misses)
    return Outcome(holds, {"lowest": list(lowest)}, chapter.scale("truth", "vae2"))


def _gaps_are_small(chapter: Chapter) -> Outcome:
    gaps = {model: [r.values for r in runs] for model, runs in chapter.gaps.items()}
    hundred = max(gaps.pop("vae100"), key=lambda v: v["gap"])
    pairs = [(label(model), v) for model, values in gaps.items() for v in values]
    name, widest = max(pairs, key=lambda pair: pair[1]["gap"])
    values = {"n": len(pairs), "name": name, "widest": widest, "hundred": hundred}
    holds = widest["gap"] + 2 * widest["standard_error"] < 1.0
    return Outcome(holds, values, f"{widest['n_images']} images of each model, 1 seed")


def _the_curve_costs_a_likelihood(chapter: Chapter) -> Outcome:
    seconds = chapter.first("cost").values
    ratios = [a / b for a, b in zip(seconds["curve"], seconds["likelihood"], strict=True)]
    best = min(seconds["curve"]) / min(seconds["likelihood"])
    values = {"best": best, "n": len(ratios), "low": min(ratios), "high": max(ratios)}
    return Outcome(best <= 1.1, values, "1 seed")


def _annealing_seeds_agree(chapter: Chapter) -> Outcome:
    endings = [f"again{k}" for k in recipes.ANNEALING_SEEDS]
    log_z = torch.stack([chapter.first(ending).tensors["log_z"] for ending in endings])
    spread, (_, over_images) = log_z.mean(2).std(0), summaries.mean_and_error(log_z[0])
    share = float((spread / over_images).max())
    values = {"n": len(endings), "spread": float(spread.max()), "share": share}
    return Outcome(share < 1, values, chapter.scale(endings[0], "vae10"))


def _variances(result: Result, schedule: str, r: int) -> Tensor:
    return result.tensors[f"{schedule}.log_weight_variance"][:, r]  # (seeds, N)


def _ratio(result: Result, schedule: str = "adaptive", r: int = -1) -> Interval:
    """A schedule's variance of log w over sigmoid's: geometric mean over images and seeds."""
    ours, sigmoid = (_variances(result, s, r).flatten().log() for s in (schedule, "sigmoid"))
    logs = paired_difference(ours, sigmoid)
    return logs._replace(**{end: math.exp(getattr(logs, end)) for end in ("mean", "low", "high")})


def _schedules(chapter: Chapter, suffix: str = "", r: int = -1) -> tuple[bool | None, str]:
    """Whether the adaptive schedule halves the variance at every budget, and the ratios."""
    parts, sizes = [], chapter.recipe.comparison
    results = {budget: chapter.first(f"schedules{budget}{suffix}") for budget in sizes.budgets}
    for budget, result in results.items():
        adaptive, sigmoid = (_variances(result, s, r).mean(1) for s in ("adaptive", "sigmoid"))
        by_seed = _numbers((adaptive / sigmoid).tolist(), "%.2g")
        parts.append(
            f"{_interval(_ratio(result, r=r), '%.2f')} at {budget} temperatures (of the means over "
            f"images, by seed: {by_seed})"
        )
    holds = all(_ratio(result, r=r).high <= 0.5 for result in results.values())
    return holds if len(sizes.seeds) > 1 else None, "; ".join(parts)


def _schedule_outcome(
    chapter: Chapter, values: dict[str, Any], end: int, suffix: str = "", r: int = -1
) -> Outcome:
    holds, ratios = _schedules(chapter, suffix, r)
    limit, sizes = summaries.limit_ratios(chapter)[end], chapter.recipe.comparison
    limits = float(limit.mean()), float(limit.min()), float(limit.max())
    scale = f"{sizes.n_images} test images, {len(sizes.seeds)} annealings"
    return Outcome(holds, {"ratios": ratios, "limit": limits, **values}, scale)


def _schedules_where_distortion_is_ten(chapter: Chapter) -> Outcome:
    curve = chapter.first("curve").tensors
    compared = chapter.first(f"schedules{chapter.recipe.comparison.budgets[0]}").tensors
    n_images = compared["sigmoid.log_weight_variance"].shape[2]
    nearest = (curve["distortion"][:, :n_images].mean(1) - 10.0).abs().argmin()
    r = int((compared["beta"] / curve["beta"][nearest]).log().abs().argmin())
    values = {"beta": float(compared["beta"][r]), "top": float(curve["beta"][-1])}
    return _schedule_outcome(chapter, values, -1, r=r)


def _schedules_to_the_paper_s_beta(chapter: Chapter) -> Outcome:
    return _schedule_outcome(chapter, {"top": recipes.PAPER_BETA}, -1, "-far")


def _schedules_to_this_chapter_s_beta(chapter: Chapter) -> Outcome:
    fewest, *_, most = chapter.recipe.comparison.budgets * 2
    tried = {s: _ratio(chapter.first(f"schedules{fewest}-{s}")) for s in recipes.SAMPLERS}
    values = {name: _interval(ratio, "%.2f") for name, ratio in tried.items()} | {
        "top": float(chapter.first("curve").tensors["beta"][-1]),
        "fresh": _schedules(chapter, "-fresh")[1],
        "leapfrogs": recipes.PAPER_LEAPFROG,
        "budget": fewest,
        "pairs": tried["steady"].n,
        "default": _interval(_ratio(chapter.first(f"schedules{most}"), "default"), "%.2f"),
    }
    return _schedule_outcome(chapter, values, 1)


def _small_codes_meet_a_floor(chapter: Chapter) -> Outcome:
    floors = {
        f: summaries.distortion_difference(chapter, f"{f}2", f"{f}10") for f in ("vae", "gan")
    }
    return Outcome(
        is_above_zero(floors["vae"]),
        floors | _ends(chapter),
        chapter.scale("curve", "vae2", "vae10", "gan2", "gan10"),
    )


def _ends(chapter: Chapter, model: str = "vae2") -> dict[str, str]:
    bottom, *_, top = chapter.first("curve", model).tensors["beta"].tolist()
    return {"bottom": f"{bottom:g}", "top": f"{top:g}"}


def _slopes_count_dimensions(chapter: Chapter) -> Outcome:
    slopes = {
        m: summaries.high_slopes(chapter.runs[m, "curve"])
        for m in ("vae2", "gan2", "vae10", "gan10")
    }
    means = {model: bootstrap(values.mean(0)) for model, values in slopes.items()}
    holds = all(abs(v.mean / MODELS[m].latent_dim - 1) < 0.1 for m, v in means.items())
    listed = ", ".join(f"{label(m)} {_interval(v, '%.2f')}" for m, v in means.items())
    medians = _numbers((float(v.flatten().median()) for v in slopes.values()), "%.2f")
    return Outcome(holds, {"slopes": listed, "medians": medians}, chapter.scale("curve", *slopes))


def _the_better_code_depends_on_the_rate(chapter: Chapter) -> Outcome:
    log_z = {
        m: torch.stack([r.tensors["log_z"] for r in chapter.runs[m, "curve"]]).mean(0)
        for m in ("vae2", "vae10")
    }
    difference = log_z["vae10"] - log_z["vae2"]  # (R, N)
    bottom = float(chapter.first("curve", "vae2").tensors["beta"][0])
    start, end = bootstrap(-difference[0] / bottom), bootstrap(difference[-1])
    values = {"start": _interval(start), "end": _interval(end, "%+.0f"), **_ends(chapter)}
    return Outcome(start.low > 0 and end.low > 0, values)


def _differs(interval: Interval) -> bool | None:
    return None if interval.n == 1 else interval.low > 0 or interval.high < 0


def _families_differ(chapter: Chapter) -> Outcome:
    pairs = {m: summaries.distortion_difference(chapter, m, "vae10") for m in ("gan10", "aae10")}
    return Outcome(all_hold(map(_differs, pairs.values())), pairs | _ends(chapter))


def _deep_beats_shallow(chapter: Chapter) -> Outcome:
    depth = summaries.distortion_difference(chapter, "gan10-shallow", "gan10")
    return Outcome(is_above_zero(depth), {"depth": depth, **_ends(chapter)})


def _families_differ_under_a_deep_distortion(chapter: Chapter) -> Outcome:
    gan = summaries.distortion_difference(chapter, "gan10", "vae10", "features")
    return Outcome(_differs(gan), {"gan10": gan}, chapter.scale("features", "vae10"))


def _encoders_lie_above_the_curve(chapter: Chapter) -> Outcome:
    parts, outcomes = [], []
    for model in recipes.ENCODED:
        encoder, annealed = (chapter.first(e, model).tensors for e in ("encoder", "annealed"))
        bound = encoder["rate"] + encoder["beta"][:, None] * encoder["distortion"]
        mean, error = summaries.mean_and_error(bound + annealed["log_z"])
        least, its_error = float(mean.min()), float(error[mean.argmin()])
        most = float(mean.max())
        parts.append(f"{label(model)} {least:+.2f} ± {its_error:.2f} nats, most {most:+.0f}")
        outcomes.append(bool((mean >= -4 * error).all()))
    return Outcome(all(outcomes), {"listed": ", ".join(parts)}, chapter.scale("annealed", "vae10"))


def _colour_generators_differ(chapter: Chapter) -> Outcome:
    apart = summaries.distortion_difference(chapter, *recipes.COLOUR)
    scale = chapter.scale("curve", recipes.COLOUR[0])
    whole = f"profile {chapter.profile.name}, cifar10, {scale}"
    return Outcome(_differs(apart), {"colour": apart, **_ends(chapter, recipes.COLOUR[0])}, whole)


def _junk_costs_at_most_the_cap(chapter: Chapter) -> Outcome:
    narrow, wide = (chapter.first(f"blur0-{prior}").tensors for prior in ("narrow", "wide"))
    other = chapter.first(f"again{recipes.ANNEALING_SEEDS[0]}").tensors["log_z"]
    parts, outcomes, direct = [], [], []
    for alpha in recipes.ALPHAS:
        mean, error = summaries.mean_and_error(
            other - summaries.mixture(narrow, wide, alpha)["log_z"]
        )
        cap, r = -math.log1p(-alpha), int(mean.argmax())
        rise = f"{float(mean[r]):.2f} ± {float(error[r]):.2f}"
        parts.append(f"{rise} of {cap:.3f} at alpha {alpha:g}")
        outcomes.append(bool((mean <= cap + 4 * error).all()))
        whole = chapter.first(f"mixture{alpha:g}").tensors["log_z"]
        direct.append(float((other - whole).mean(1).max()))
    values = {"listed": "; ".join(parts), "direct": _numbers(direct, "%.1f")}
    values["chains"] = str(chapter.recipe.annealing.n_chains)
    return Outcome(all(outcomes), values, chapter.scale("blur0-narrow", "vae10"))


def _blur_raises_the_floor(chapter: Chapter) -> Outcome:
    parts, outcomes = [], []
    sharp = chapter.first("blur0-narrow").tensors["distortion"]
    for blur in recipes.BLURS[1:]:
        more = chapter.first(f"blur{blur:g}-narrow").tensors["distortion"] - sharp
        floor, start = bootstrap(more[-1]), bootstrap(more[0])
        parts.append(
            f"deviation {blur:g}: {_interval(floor)} at the high end, {_interval(start)} at the low"
        )
        outcomes.append(floor.low > 0 and abs(start.mean) < floor.mean)
    return Outcome(
        all(outcomes), {"listed": "; ".join(parts)}, chapter.scale("blur0-narrow", "vae10")
    )


def _at_thirty(chapter: Chapter, model: str, ending: str = "unseen") -> Tensor:
    """-log Z at the recorded beta nearest to 30, (seeds, N)."""
    rows = []
    for result in chapter.runs[model, ending]:
        r = int((result.tensors["beta"].log() - math.log(30)).abs().argmin())
        rows.append(-result.tensors["log_z"][r])
    return torch.stack(rows)


def _memorisation_shows(chapter: Chapter) -> Outcome:
    limited, whole = (
        (_at_thirty(chapter, m) - _at_thirty(chapter, m, "seen")).mean(1)
        for m in ("vae10-few", "vae10")
    )
    memory = paired_difference(limited, whole)
    return Outcome(is_above_zero(memory), {"memory": memory}, chapter.scale("unseen", "vae10-few"))


def _dropped_modes_show(chapter: Chapter) -> Outcome:
    more = _at_thirty(chapter, "vae10-dropped") - _at_thirty(chapter, "vae10")
    masks = [r.values["dropped"] for r in chapter.runs["vae10-dropped", "unseen"]]
    losses = [
        float(row[mask].mean() - row[~mask].mean())
        for row, mask in zip(more, torch.tensor(masks), strict=True)
    ]
    loss = paired_difference(losses, [0.0] * len(losses))
    return Outcome(is_above_zero(loss), {"loss": loss}, chapter.scale("unseen", "vae10-dropped"))


def _underfitting_shows(chapter: Chapter) -> Outcome:
    early, trained = (_at_thirty(chapter, m).mean(1) for m in ("vae10-short", "vae10"))
    short = paired_difference(early, trained)
    return Outcome(is_above_zero(short), {"short": short}, chapter.scale("unseen", "vae10-short"))


RULES = (
    _a_single_run_gives_the_curve,
    _points_lie_above_the_curve,
    _gaps_are_small,
    _the_curve_costs_a_likelihood,
    _annealing_seeds_agree,
    _schedules_where_distortion_is_ten,
    _schedules_to_the_paper_s_beta,
    _schedules_to_this_chapter_s_beta,
    _small_codes_meet_a_floor,
    _slopes_count_dimensions,
    _the_better_code_depends_on_the_rate,
    _families_differ,
    _deep_beats_shallow,
    _families_differ_under_a_deep_distortion,
    _encoders_lie_above_the_curve,
    _colour_generators_differ,
    _junk_costs_at_most_the_cap,
    _blur_raises_the_floor,
    _memorisation_shows,
    _dropped_modes_show,
    _underfitting_shows,
)
