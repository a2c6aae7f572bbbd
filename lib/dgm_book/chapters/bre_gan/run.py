"""Chapter 3's runs: GANs with and without BRE, in pairs that share seed, data and noise."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from dgm.data.synthetic import gaussian_mixture_2d
from dgm.nets.conv import generate
from dgm.papers.bre_gan import mode_coverage
from dgm_book import profiles, results
from dgm_book.chapters.bre_gan import images, toys
from dgm_book.chapters.bre_gan.recipe import RECIPES, Recipe
from dgm_book.results import Result
from dgm_book.verification import check

METHODS = images.METHODS
Recipes = Mapping[str, Recipe]


def context(profile: profiles.Profile) -> results.Context:
    """What this chapter's verification shares."""
    return images.context(profile, RECIPES[profile.name].dataset)


def run(
    profile: profiles.Profile, seed: int, first_seed: int = 0, recipes: Recipes = RECIPES
) -> Iterator[Result]:
    """Every result of one seed; runs with more seeds are divided among the profile's seeds.

    Args:
        profile: where, and at which recipe.
        seed: of the results.
        first_seed: of the profile's seeds.
        recipes: by profile.
    """
    recipe, offset = recipes[profile.name], seed - first_seed
    if not offset:
        for dataset in recipe.images:
            yield images.judge(profile, recipe, dataset)
    for dcgan in images.runs(recipe):
        if dcgan.seed == offset:
            yield images.dcgan(profile, recipe, dcgan._replace(seed=seed))
    for method in METHODS:
        yield images.semi_supervised(profile, recipe, method, seed)
    for toy in toys.runs(recipe.toys):
        if toy.seed % profile.n_seeds == offset:
            yield toys.toy(profile, recipe.toys, toy._replace(seed=toy.seed + first_seed))


def verify(profile: profiles.Profile, recipes: Recipes = RECIPES) -> list[dict[str, Any]]:
    """Measure published generators with other noise; and linear pieces, which have none."""
    recipe, checks = recipes[profile.name], []
    for method in METHODS:
        published = toys.toy(profile, recipe.toys, toys.Run("eight", method, 0))
        last = published.values["measured"][-1]
        gan, mixture = toys.toy_gan(published), gaussian_mixture_2d("eight", 1)
        shares = [
            mode_coverage(toys.samples(gan, seed, 1), mixture.centres, mixture.sigma).high_quality
            for seed in range(8)
        ]
        checks.append(check(f"toy {method}, high quality", last["high_quality"], shares))
        pieces = toys.measure(gan, mixture, recipe.toys.grid)["pieces_h2"]
        checks.append(check(f"toy {method}, pieces in h2", last["pieces_h2"], [pieces]))
    dataset, own = recipe.dataset, recipe.images[recipe.dataset]
    model = images.classifier(profile, recipe, dataset)
    real, _ = model.read(images.pictures(dataset, "test").x)
    for method in METHODS:
        dcgan = images.Run(dataset, "normal", "batch", method, 0)
        published = images.dcgan(profile, recipe, dcgan)
        network = images.networks(profile, own, dataset, 0).generator.requires_grad_(False)
        network.load_state_dict({k: v for k, v in published.tensors.items() if k != "tiles"})
        distances = []
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(own.n_samples, own.noise_dim, generator=generator)
            reading = model.read(generate(network, noise.to(profile.device)))
            distances.append(images.scores(real, *reading, whole=False)["frechet"])
        name, final = f"{dataset} {method}, Frechet distance", published.values["final"]
        checks.append(check(name, final["frechet"], distances))
    return checks
