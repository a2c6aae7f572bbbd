"""Chapter 1's results as its page and its claims use them, and what they say."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from dgm.measure import Interval
from dgm.sampling.curves import MeanCurve
from dgm_book import jobs, results
from dgm_book.chapters.rate_distortion.models import Job
from dgm_book.chapters.rate_distortion.recipe import GAPS, RECIPES, Recipe, gap_betas, label
from dgm_book.chapters.rate_distortion.run import compared, run
from dgm_book.profiles import Profile
from dgm_book.results import Result
from dgm_book.statistics import paired_difference


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
            for model in GAPS
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
    for term in ("rate", "distortion", "log_z"):
        values = stacked(runs, term)
        over_images = values.mean(0).var(1) / values.shape[2]
        over_seeds = values.mean(2).var(0) / len(values) if len(values) > 1 else 0.0
        columns += [values.mean((0, 2)), torch.sqrt(over_images + over_seeds)]
    return MeanCurve(runs[0].tensors["beta"], *columns)


def high_slopes(runs: list[Result]) -> Tensor:
    """Twice the nats that the rate gains per e-fold of beta, (seeds, N); D for a smooth decoder.

    Near a Gaussian posterior R = (D / 2) log beta + constant. Read between the largest recorded
    beta and the first that is a tenth of it or more.
    """
    beta, rate = runs[0].tensors["beta"], stacked(runs, "rate")
    start = int((beta < 0.1 * beta[-1]).sum())
    return 2 * (rate[:, -1] - rate[:, start]) / math.log(float(beta[-1] / beta[start]))


def distortion_difference(
    chapter: Chapter, model: str, control: str, ending: str = "curve"
) -> Interval:
    """One model's distortion minus another's at the largest beta, over the seeds of both."""
    pairs = zip(chapter.runs[model, ending], chapter.runs[control, ending], strict=False)
    means = [[r.tensors["distortion"][-1].mean() for r in pair] for pair in pairs]
    treated, control_means = torch.tensor(means, dtype=torch.float64).T
    return paired_difference(treated, control_means)


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
    """The curve under (1 - alpha) p + alpha q from those under p and q, for each image.

    Z is the mixture of both normalisers, and D that of both distortions, weighted by what each
    brings.
    """
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
