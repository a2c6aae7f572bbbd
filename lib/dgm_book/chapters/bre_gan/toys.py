"""Chapter 3's points in the plane: the paper's toy GAN on mixtures whose modes are known."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data.synthetic import Mixture2D, gaussian_mixture_2d
from dgm.papers import bre_gan as paper
from dgm_book import profiles, results
from dgm_book.chapters.bre_gan.training import CHAPTER, EXPERIMENT, GAN, Recipe, noise, train
from dgm_book.results import Result

N_DATA = 40_000
N_SAMPLES = 2500  # in a measurement
EXTENT = 1.5  # of the grid on which linear pieces are counted
METHODS = {"none": (0.0, 3.0), "bre": (1.0, 3.0), "bre-tight": (1.0, 1.0)}  # w and margin
LABELS = {"none": "no BRE", "bre": "BRE", "bre-tight": "BRE, margin 1"}


class Settings(NamedTuple):
    """The sizes of one profile."""

    targets: dict[str, tuple[int, int]]  # name -> pairs of seeds, steps
    tight: int  # seeds of the first target with the tighter margin as well
    batch_size: int
    n_measurements: int
    grid: int


def settings(profile: profiles.Profile) -> Settings:
    """The toy's sizes; the paper names neither steps, batch nor noise."""
    if profile.name == "smoke":
        return Settings({"eight": (2, 300)}, 0, 64, 4, 60)
    if profile.name == "small":
        others = dict.fromkeys(("ring", "grid", "spiral"), (3, 3000))
        return Settings({"eight": (10, 6000)} | others, 3, 256, 10, 150)
    others = dict.fromkeys(("ring", "grid", "spiral"), (10, 20000))
    return Settings({"eight": (30, 20_000)} | others, 10, 256, 40, 400)


def context(profile: profiles.Profile) -> results.Context:
    """What these results share; they need no data set."""
    return results.Context(EXPERIMENT, CHAPTER, profile, ())


def runs(profile: profiles.Profile) -> list[tuple[str, str, int]]:
    """Target, method and seed of each run of a profile."""
    s = settings(profile)
    pairs = [
        (target, method, seed)
        for target, (n, _) in s.targets.items()
        for seed in range(n)
        for method in ("none", "bre")
    ]
    return pairs + [("eight", "bre-tight", seed) for seed in range(s.tight)]


def name_of(target: str, method: str, seed: int) -> str:
    """The result's name."""
    return f"toy-{target}-{method}-seed{seed}"


def toy(profile: profiles.Profile, target: str, method: str, seed: int) -> Result:
    """One toy GAN: its measurements over training, and its points and pieces at the end."""
    s = settings(profile)
    _, steps = s.targets[target]

    def compute() -> tuple[dict, dict]:
        mixture = gaussian_mixture_2d(target, N_DATA, seed)
        weight, margin = METHODS[method]
        recipe = Recipe(
            steps, s.batch_size, 2e-3, (1,), weight=weight, weight_falls=True, margin=margin
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            gan = GAN(paper.toy_generator(), paper.toy_discriminator(), 2)
        every = steps // s.n_measurements
        found = train(
            gan,
            lambda i: _rows(mixture, s.batch_size, seed, i),
            recipe,
            profile._replace(device="cpu"),  # far too small for a GPU
            seed,
            name_of(target, method, seed),
            lambda gan: measure(gan, mixture, s.grid),
            list(range(every, steps + 1, every)),
        )
        values = {"measured": found.measured, "stopped": found.stopped}
        values["planned"] = {"every": every, "n": s.n_measurements}
        return values, dict(found.gan.state_dict())

    return results.get(name_of(target, method, seed), compute, context(profile), seed=seed)


@torch.no_grad()
def measure(gan: GAN, mixture: Mixture2D, grid: int) -> dict[str, Any]:
    """How a toy GAN covers its target, and how its discriminator cuts the plane."""
    made = samples(gan)
    coverage = paper.mode_coverage(made, mixture.centres, mixture.sigma)
    line = torch.linspace(-EXTENT, EXTENT, grid)
    plane = torch.cartesian_prod(line, line)
    fakes = made[:256]
    pieces = {
        f"pieces_{name}": paper.regions(gan.discriminator, plane, layers)
        for name, layers in {"h2": [1], "h3": [2], "h4": [3]}.items()
    }
    at_fakes = {
        f"patterns_at_fakes_{name}": paper.regions(gan.discriminator, made, layers)
        for name, layers in {"h2": [1], "h3": [2], "h4": [3], "all": None}.items()
    }
    hard = paper.bre_penalty(gan.discriminator, fakes, [1], 1e-9, 0.0)
    return {
        "modes": coverage.covered,
        "high_quality": coverage.high_quality,
        **pieces,
        **at_fakes,
        "gradient_spread": float(paper.gradient_spread(gan.discriminator, fakes)),
        "me_fakes": float(hard.marginal_entropy),
        "pair_fakes": float(hard.activation_correlation),
    }


def samples(gan: GAN) -> Tensor:
    """The points (N_SAMPLES, 2) on which a toy is measured, the same noise for all."""
    with torch.no_grad():
        return gan.generator(noise(N_SAMPLES, gan, 987_654, 0, "cpu"))


def _rows(mixture: Mixture2D, n: int, seed: int, i: int) -> Tensor:
    generator = torch.Generator().manual_seed(2_000_003 * seed + i)
    return mixture.points[torch.randint(len(mixture.points), (n,), generator=generator)]
