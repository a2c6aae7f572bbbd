"""Chapter 3's training loop: one GAN, one recipe, measured on its way, stopped when it has failed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm import checkpoint
from dgm.papers.bre_gan import (
    discriminator_objective,
    feature_matching_objective,
    generator_objective,
)
from dgm.precision import autocast
from dgm.train import History, TrainingState, fit
from dgm_book import profiles, results

CHAPTER = "03_bre_gan"
EXPERIMENT = "dgm_book.chapters.bre_gan.page"
L2 = 1e-4  # of the squared weights, in both losses
HISTORY_EVERY = 50


class GAN(nn.Module):
    """The two networks, and how much noise the generator takes."""

    def __init__(self, generator: nn.Module, discriminator: nn.Module, noise_dim: int) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.noise_dim = noise_dim


class Recipe(NamedTuple):
    """How a GAN is trained."""

    steps: int  # of the generator
    batch_size: int
    learning_rate: float  # falls linearly to 1e-6
    layers: tuple[int, ...]  # regularised rectifiers
    discriminator_steps: int = 1
    weight: float = 0.0  # w
    weight_falls: bool = False  # linearly to 0
    margin: float = 3.0
    penalty: str | None = None
    penalty_weight: float = 1.0
    bf16: bool = False


class Trained(NamedTuple):
    """A GAN after its last good measurement."""

    gan: GAN
    measured: list[dict[str, Any]]  # before training and on its way, each with its step
    stopped: str | None  # why it stopped early


def train(
    gan: GAN,
    real: Callable[[int], Tensor],
    recipe: Recipe,
    profile: profiles.Profile,
    seed: int,
    name: str,
    measure: Callable[[GAN], dict[str, Any]],
    measure_at: list[int],
    labelled: Callable[[int], tuple[Tensor, Tensor]] | None = None,
) -> Trained:
    """Trains a GAN, or goes on with an interrupted run.

    Data and noise depend on the seed and the step alone, so that runs of one seed are pairs, whatever
    their recipes.

    Args:
        gan: freshly initialised, on its device.
        real: i -> the i-th batch of data, on the device.
        recipe: how.
        profile: device and names.
        seed: of noise and interpolation.
        name: of the run, in the work folder.
        measure: what is written down of the GAN.
        measure_at: after which generator steps, ascending.
        labelled: i -> the i-th batch of labelled data; the discriminator then has one logit a class, and
            the generator matches features.
    """
    kept = work_file(profile, f"{name}.measured.json")
    last = work_file(profile, f"{name}.last.safetensors")
    measured = json.loads(kept.read_text()) if kept.exists() else []
    parameters = [*gan.generator.parameters(), *gan.discriminator.parameters()]
    optimizer = torch.optim.Adam(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 2 * L2},
            {"params": [p for p in parameters if p.ndim <= 1]},
        ],
        lr=recipe.learning_rate,
        betas=(0.5, 0.999),
        fused=True,
    )
    generator = torch.Generator(profile.device).manual_seed(seed)
    state = TrainingState(gan, optimizer, generator)

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        return _step(state, i, real, recipe, seed, labelled)

    def keep() -> None:
        checkpoint.save(last, dict(gan.state_dict()))
        checkpoint.write_text(kept, json.dumps(measured))

    if not measured:
        measured.append({"step": 0, **measure(gan)})
        keep()
    stopped = None
    for stop in measure_at[len(measured) - 1 :]:
        try:
            history = fit(
                step,
                lambda i: i,
                state,
                stop,
                checkpoint=work_file(profile, f"{name}.training.safetensors"),
                history_every=HISTORY_EVERY,
                description=name,
                progress=False,
            )
            # Squared distances of features have no natural scale.
            before = measured[-1].get("training_spread", 1.0)
            stopped = failure(history, before, 100.0 if labelled is None else 1e6)
        except FloatingPointError as error:
            stopped = f"not finite: {error}"
        if stopped:
            break
        measured.append({"step": stop, **losses(history), **measure(gan)})
        keep()
    gan.load_state_dict(checkpoint.load(last))
    return Trained(gan, measured, stopped)


def failure(history: History, before: float = 0.0, largest: float = 100.0) -> str | None:
    """Why a run is not worth going on with, from the last window of its history; None where it is.

    Args:
        history: of discriminator and generator losses, and spread: how much fakes vary, data being 1.
        before: spread at the measurement before. A generator often starts on one spot, and may leave it,
            so only a collapse that lasts counts.
        largest: loss that is not taken for divergence.
    """
    recent = {name: float(values[-1]) for name, values in history.terms.items()}
    step = int(history.steps[-1])
    if max(recent["discriminator"], recent["generator"]) > largest:
        return (
            f"the losses diverged before step {step}: discriminator {recent['discriminator']:.3g}, "
            f"generator {recent['generator']:.3g} nats; try a lower learning rate"
        )
    if max(recent["spread"], before) < 0.01:
        return (
            f"the generator collapsed before step {step}: its samples vary {recent['spread']:.2%} as "
            "much as the data; start again with another seed or a lower learning rate"
        )
    return None


def losses(history: History) -> dict[str, float]:
    """The terms of the last window of training."""
    return {f"training_{name}": float(values[-1]) for name, values in history.terms.items()}


def noise(n: int, gan: GAN, seed: int, i: int, device: str) -> Tensor:
    """(n, noise_dim) from N(0, I), by seed and index alone."""
    # On the CPU, so that a run has the same noise on every device.
    generator = torch.Generator().manual_seed(1_000_003 * seed + i)
    return torch.randn(n, gan.noise_dim, generator=generator).to(device)


def _step(
    state: TrainingState,
    i: int,
    real: Callable[[int], Tensor],
    recipe: Recipe,
    seed: int,
    labelled: Callable[[int], tuple[Tensor, Tensor]] | None,
) -> dict[str, Tensor]:
    """Some steps of the discriminator, then one of the generator."""
    gan, optimizer = state.model, state.optimizer
    left = 1 - i / recipe.steps
    for group in optimizer.param_groups:
        group["lr"] = max(recipe.learning_rate * left, 1e-6)
    weight = recipe.weight * (left if recipe.weight_falls else 1.0)
    device = next(gan.parameters()).device
    passes = recipe.discriminator_steps

    def fakes(k: int) -> Tensor:
        index = (passes + 1) * i + k
        return gan.generator(noise(recipe.batch_size, gan, seed, index, str(device)))

    for k in range(passes):
        points = real(passes * i + k)
        with autocast(device, recipe.bf16):
            with torch.no_grad():
                made = fakes(k).float()
            terms = discriminator_objective(
                gan.discriminator,
                points,
                made,
                state.generator,
                weight=weight,
                layers=recipe.layers,
                margin=recipe.margin,
                penalty=recipe.penalty,
                penalty_weight=recipe.penalty_weight,
            )
            value = terms.value
            if labelled is not None:
                x, y = labelled(passes * i + k)
                value = value + nn.functional.cross_entropy(gan.discriminator(x).float(), y)
        _update(optimizer, gan.discriminator, value)
    with autocast(device, recipe.bf16):
        if labelled is None:
            loss = generator_objective(gan.discriminator, fakes(passes))
        else:
            loss = feature_matching_objective(gan.discriminator, points, fakes(passes))
    _update(optimizer, gan.generator, loss)
    return {
        "discriminator": (terms.real + terms.fake).detach(),
        "generator": loss.detach(),
        "marginal_entropy": terms.marginal_entropy.detach(),
        "activation_correlation": terms.activation_correlation.detach(),
        "penalty": terms.penalty.detach(),
        "spread": made.std(0).mean() / points.std(0).mean(),
    }


def _update(optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
    """One step of one network; Adam leaves alone what has no gradient."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters)
    optimizer.zero_grad(set_to_none=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    optimizer.step()


def work_file(profile: profiles.Profile, name: str) -> Path:
    """Where the chapter keeps a file of an unfinished run."""
    return results.work_folder() / CHAPTER / profile.name / name
