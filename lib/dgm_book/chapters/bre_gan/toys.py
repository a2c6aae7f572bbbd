"""Chapter 3's points in the plane: the paper's toy GAN on mixtures whose modes are known."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.data.synthetic import Mixture2D, gaussian_mixture_2d
from dgm.papers import bre_gan as paper
from dgm_book import profiles, results
from dgm_book.chapters.bre_gan.recipe import ToyRecipe
from dgm_book.chapters.bre_gan.training import CHAPTER, EXPERIMENT, GAN, noise, train
from dgm_book.results import Result

N_DATA = 40_000
N_SAMPLES = 2500  # per measurement
EXTENT = 1.5  # of the grid on which linear pieces are counted
METHODS = {"none": (0.0, 3.0), "bre": (1.0, 3.0), "bre-tight": (1.0, 1.0)}  # w and margin


class Run(NamedTuple):
    """One toy GAN among those of a profile."""

    target: str
    method: str  # a key of METHODS
    seed: int

    @property
    def name(self) -> str:
        """The result's name."""
        return f"toy-{self.target}-{self.method}-seed{self.seed}"


def runs(recipe: ToyRecipe) -> list[Run]:
    """All toy GANs of a profile, pairs together."""
    pairs = [
        Run(target, method, seed)
        for target, (n, _) in recipe.targets.items()
        for seed in range(n)
        for method in ("none", "bre")
    ]
    return pairs + [Run("eight", "bre-tight", seed) for seed in range(recipe.n_tight)]


def toy(profile: profiles.Profile, recipe: ToyRecipe, run: Run) -> Result:
    """One toy GAN: its measurements over training, and its networks at the end."""
    weight, margin = METHODS[run.method]
    training = recipe.targets[run.target][1]._replace(weight=weight, margin=margin)

    def compute() -> tuple[dict, dict]:
        mixture = gaussian_mixture_2d(run.target, N_DATA, run.seed)
        with torch.random.fork_rng():
            torch.manual_seed(run.seed)
            gan = toy_gan()

        def batches(i: int) -> Tensor:
            generator = torch.Generator().manual_seed(2_000_003 * run.seed + i)
            rows = torch.randint(N_DATA, (training.batch_size,), generator=generator)
            return mixture.points[rows]

        on_cpu = profile._replace(device="cpu")  # far too small for a GPU
        values = train(
            *(gan, batches, training, on_cpu, run.seed, run.name),
            lambda gan: measure(gan, mixture, recipe.grid),
        )
        return values | {"planned": training.planned}, dict(gan.state_dict())

    # They need no data set.
    context = results.Context(EXPERIMENT, CHAPTER, profile, ())
    return results.get(run.name, compute, context, seed=run.seed)


def toy_gan(result: Result | None = None) -> GAN:
    """The paper's toy networks, freshly initialised or with published weights."""
    gan = GAN(paper.toy_generator(), paper.toy_discriminator(), 2)
    if result is not None:
        gan.load_state_dict(result.tensors)
        gan.requires_grad_(False)
    return gan


@torch.no_grad()
def measure(gan: GAN, mixture: Mixture2D, grid: int) -> dict[str, Any]:
    """How a toy GAN covers its target, and how its discriminator cuts the plane."""
    fakes, plane = samples(gan), plane_points(grid)
    coverage = paper.mode_coverage(fakes, mixture.centres, mixture.sigma)
    pieces = {f"pieces_h{i + 1}": paper.regions(gan.discriminator, plane, [i]) for i in (1, 2, 3)}
    spread = float(paper.gradient_spread(gan.discriminator, fakes[:256]))
    shares = {"modes": coverage.covered, "high_quality": coverage.high_quality}
    return shares | pieces | {"gradient_spread": spread}


def plane_points(grid: int) -> Tensor:
    """The points (grid * grid, 2) of a square grid about the origin, rows along x."""
    line = torch.linspace(-EXTENT, EXTENT, grid)
    return torch.cartesian_prod(line, line)


@torch.no_grad()
def samples(gan: GAN, seed: int = 987_654, i: int = 0) -> Tensor:
    """Generated points (N_SAMPLES, 2), by default from the noise on which all toys are measured."""
    return gan.generator(noise(N_SAMPLES, gan, seed, i, "cpu"))
