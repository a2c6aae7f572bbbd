"""The rules that judge chapter 2's claims; their words are in claims.yaml."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from dgm_book import statistics
from dgm_book.chapters.mutual_information_lm.chapter import Chapter
from dgm_book.chapters.mutual_information_lm.recipe import CHAPTER, NAMES, REACHED
from dgm_book.claims import Claim, Outcome, judged
from dgm_book.statistics import all_hold, format_difference, is_above_zero, is_below_zero


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
    return judged(Path(__file__).with_name("claims.yaml"), CHAPTER, outcomes)


def bound_is_exact() -> Outcome:
    """Under the best critic the bound misses the exact value by rounding only."""
    largest = max(abs(row[4] - row[3]) for row in quadrature())
    return Outcome(largest < 1e-3, {"largest": largest}, "exact")


def states_tell_more(chapter: Chapter) -> Outcome:
    """On the chain the bound comes near the exact value, and the critic's gradient did it."""
    bounds, gain = chapter.values("chain", "bound"), chapter.change("chain", "bound")
    least = min(bounds) / chapter.exact()
    numbers = {
        "name": NAMES["chain"],
        "bound": statistics.mean_over_seeds(bounds),
        "exact": chapter.exact(),
    }
    numbers |= {"least": least, "gain": gain, "reached": REACHED}
    holds = all_hold([least >= REACHED, is_above_zero(gain)])
    return Outcome(holds, numbers, chapter.scale("phase I", ["chain"]))


def changes_everywhere(chapter: Chapter, metric: str, lower: bool = False) -> Outcome:
    """Phase I changes a measurement beyond the interval on every text with several seeds."""
    texts = [t for t in chapter.tested() if not math.isnan(chapter.values(t, metric)[0])]
    gains = {text: chapter.change(text, metric) for text in texts}
    decimals = 4 if lower else 3
    lines = [f"{NAMES[t]} {format_difference(x, decimals, 'seed')}" for t, x in gains.items()]
    holds = all_hold(map(is_below_zero if lower else is_above_zero, gains.values()))
    return Outcome(holds, {"gains": lines}, chapter.scale("phase I", texts))


def second_phase_improves(chapter: Chapter) -> Outcome:
    """On the main text phase II beats phase I in both."""
    main = chapter.main
    if "phase II" not in chapter.texts[main]:
        return Outcome(None, {"loss": None}, chapter.scale("phase I", [main]))
    loss, rise = (chapter.change(main, x, "phase II", "phase I") for x in ("nll", "written"))
    numbers = {"name": NAMES[main], "loss": loss, "written": rise}
    holds = all_hold([is_below_zero(loss), is_above_zero(rise)])
    return Outcome(holds, numbers, chapter.scale("phase II", [main]))


def pairs_matter(chapter: Chapter) -> Outcome:
    """Phase I beats both controls in likelihood, wherever they were run."""
    gains = {
        f"{NAMES[text]}, against {control}": gain
        for text in chapter.tested()
        for control, gain in chapter.control_gains(text).items()
    }
    lines = [f"{name} {format_difference(gain, 4, 'seed')}" for name, gain in gains.items()]
    holds = all_hold(map(is_below_zero, gains.values()))
    return Outcome(holds, {"gains": lines}, chapter.scale("phase I", chapter.tested()))


def padding_matters(chapter: Chapter) -> Outcome:
    """Reading the padding changes bound or loss on a text with more than two seeds."""
    lines, differs, texts = [], [], []
    for text, variants in chapter.texts.items():
        if "padding read" not in variants:
            continue
        bound, loss = chapter.padding_changes(text)
        changes = format_difference(bound, 3, "seed"), format_difference(loss, 4, "seed")
        lines.append(f"{NAMES[text]}, bound {changes[0]} nats, loss {changes[1]} nats per token")
        texts.append(text)
        if bound.n > 2:
            differs.append(any(x.low > 0 or x.high < 0 for x in (bound, loss)))
    holds = any(differs) if differs else None
    return Outcome(holds, {"changes": lines}, chapter.scale("padding read", texts))


def quadrature(
    correlations: tuple[float, ...] = (0.0, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99), n_nodes: int = 240
) -> list[list[float]]:
    """Correlated Gaussians under the best critic: correlation, L_D, JSD, exact I, the bound (1).

    By Gauss and Hermite's rule over the difference and the sum of the two, which are independent.
    """
    nodes, weights = map(torch.from_numpy, np.polynomial.hermite_e.hermegauss(n_nodes))
    x, z = torch.cartesian_prod(nodes, nodes).T
    share = torch.outer(*[weights / weights.sum()] * 2).flatten()
    rows = []
    for rho in correlations:
        joint = best_critic(x, rho * x + math.sqrt(1 - rho * rho) * z, rho)
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
