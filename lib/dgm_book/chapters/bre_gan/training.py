"""Chapter 3's training: a GAN that is measured on its way and stopped when it has failed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dgm.papers import bre_gan as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.chapters.bre_gan.recipe import Training

CHAPTER = "03_bre_gan"
L2 = 1e-4  # of the squared weights, in both losses
Batches = Callable[[int], Any]


class GAN(nn.Module):
    """The two networks, and how much noise the generator takes."""

    def __init__(self, generator: nn.Module, discriminator: nn.Sequential, noise_dim: int) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.noise_dim = noise_dim


def train(
    gan: GAN,
    batches: Batches,
    training: Training,
    profile: profiles.Profile,
    seed: int,
    name: str,
    measure: Callable[[GAN], dict[str, Any]],
    labelled: Batches | None = None,
) -> dict[str, Any]:
    """Trains a GAN, or goes on with an interrupted run; leaves it as at its last good measurement.

    Data and noise depend on the seed and the step alone: runs of one seed are pairs. With
    `labelled` batches there is one logit per class, and the generator matches features.
    """
    every, n = training.planned.values()
    # Squared distances of features have no natural scale.
    largest = 100.0 if labelled is None else 1e6

    def measured(state: TrainingState) -> dict[str, Any]:
        if state.terms:
            check_progress(state, largest)
        terms = {f"training_{term}": value for term, value in state.terms.items()}
        return {**terms, **measure(gan)}

    generator = torch.Generator(profile.device).manual_seed(seed)
    state = TrainingState(gan, _optimizer(gan, training.learning_rate), generator)
    step = _alternate(gan, batches, labelled, training, seed)
    options: dict[str, Any] = {"checkpoint": work_file(profile, f"{name}.training.safetensors")}
    options |= {"measure_every": range(0, every * n + 1, every), "history_every": 50}
    options |= {"keep_best": "step", "best": "highest", "progress": False}
    stopped = None
    try:
        fit(step, lambda i: i, state, every * n, measure=measured, **options)
    except FloatingPointError as error:
        stopped = f"not finite: {error}"
    except ArithmeticError as error:
        stopped = str(error)
    return {"measured": state.measurements, "stopped": stopped}


def check_progress(state: TrainingState, largest: float = 100.0) -> None:
    """Raises ArithmeticError where losses of the last window exceed `largest`, or fakes collapsed.

    A generator may leave the spot on which it starts: a collapse counts from the second look on.
    """
    terms, before = state.terms, state.measurements[-1].get("training_spread", 1.0)
    losses = {name: terms[name] for name in ("discriminator", "generator")}
    if max(losses.values()) > largest:
        raise ArithmeticError(f"the losses diverged before step {state.steps}: {losses} nats")
    if max(terms["spread"], before) < 0.01:
        raise ArithmeticError(
            f"the generator collapsed before step {state.steps}: its samples vary "
            f"{terms['spread']:.2%} as much as the data"
        )


def noise(n: int, gan: GAN, seed: int, i: int, device: str) -> Tensor:
    """(n, noise_dim) from N(0, I), by seed and index alone."""
    # On the CPU, so that a run has the same noise on every device.
    generator = torch.Generator().manual_seed(1_000_003 * seed + i)
    return torch.randn(n, gan.noise_dim, generator=generator).to(device)


def work_file(profile: profiles.Profile, name: str) -> Path:
    """Where the chapter keeps a file of an unfinished run."""
    return results.work_folder() / CHAPTER / profile.name / name


def _optimizer(gan: GAN, learning_rate: float) -> torch.optim.Optimizer:
    parameters = [*gan.generator.parameters(), *gan.discriminator.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 2 * L2},
        {"params": [p for p in parameters if p.ndim <= 1]},
    ]
    return torch.optim.Adam(groups, learning_rate, betas=(0.5, 0.999), fused=True)


def _alternate(
    gan: GAN, batches: Batches, labelled: Batches | None, training: Training, seed: int
) -> Callable[[TrainingState, int], dict[str, Tensor]]:
    """Some steps of the discriminator, then one of the generator."""
    device, passes = next(gan.parameters()).device, training.discriminator_steps
    options = {name: getattr(training, name) for name in ("layers", "margin", "penalty")}

    def fakes(index: int) -> Tensor:
        return gan.generator(noise(training.batch_size, gan, seed, index, str(device)))

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        left = 1 - i / training.steps
        weight = training.weight * (left if training.weight_falls else 1.0)
        for group in state.optimizer.param_groups:
            group["lr"] = max(training.learning_rate * left, 1e-6)
        for k in range(passes):
            real = batches(passes * i + k)
            with autocast(device, training.bf16):
                with torch.no_grad():
                    fake = fakes((passes + 1) * i + k).float()
                terms = paper.discriminator_objective(
                    gan.discriminator, real, fake, state.generator, weight=weight, **options
                )
                value = terms.value
                if labelled is not None:
                    x, y = labelled(passes * i + k)
                    value = value + cross_entropy(gan.discriminator(x).float(), y)
            _update(state.optimizer, gan.discriminator, value)
        with autocast(device, training.bf16):
            fresh = fakes((passes + 1) * i + passes)
            if labelled is None:
                loss = paper.generator_objective(gan.discriminator, fresh)
            else:
                loss = paper.feature_matching_objective(gan.discriminator, real, fresh)
        _update(state.optimizer, gan.generator, loss)
        return {
            "discriminator": (terms.real + terms.fake).detach(),
            "generator": loss.detach(),
            **{name: getattr(terms, name).detach() for name in terms._fields[3:]},
            "spread": fake.std(0).mean() / real.std(0).mean(),
        }

    return step


def _update(optimizer: torch.optim.Optimizer, network: nn.Module, loss: Tensor) -> None:
    """One step of one network; Adam leaves alone what has no gradient."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer.zero_grad(set_to_none=True)
    # Not `grad`: what it returns may be laid out unlike its parameter, and fused Adam pairs the two
    # by their place in memory.
    loss.backward(inputs=parameters)
    optimizer.step()
