"""Chapter 1's models: VAEs, GANs and adversarial autoencoders on digits, DCGANs on CIFAR-10.

Every digit model has the same generator at one latent size: what differs is how it learned. Three more
VAEs are damaged on purpose: one saw few images, one never saw two of the classes, one stopped early.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dgm.data import cifar, images, minibatches
from dgm.measure import active_units, bootstrap
from dgm.nets.conv import dcgan_discriminator, dcgan_generator, inner_layers
from dgm.nets.mlp import mlp
from dgm.papers.bre_gan import discriminator_objective, generator_objective
from dgm.papers.rate_distortion import ImageVAE, vae_objective
from dgm.sampling import schedules
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.results import Result

CHAPTER = "01_rate_distortion"
EXPERIMENT = "dgm_book.chapters.rate_distortion.curves"
N_PUBLISHED_MEANS = 1500  # posterior means under the latent space
N_TILES = 24  # samples that are kept
PUBLISHED = ("vae2", "vae10", "vae100", "gan2", "gan10", "aae10", "vae5-narrow")  # decoders
DROPPED = (4, 9)  # classes that one of the damaged models never saw
FEW = 500  # training images of another


class Model(NamedTuple):
    """What a name stands for."""

    family: str  # "VAE", "GAN", "AAE"
    latent_dim: int
    shallow: bool = False
    damage: str | None = None  # "few", "dropped" or "short"
    colour: str | None = None  # a DCGAN's recipe: "vanilla", "gp", "sn" or "bre"
    narrow: bool = False  # for the page's drawing


def _all() -> dict[str, Model]:
    found = {f"vae{d}": Model("VAE", d) for d in (2, 10, 100)}
    for d in (2, 5, 10, 100):
        found[f"gan{d}"] = Model("GAN", d)
        found[f"gan{d}-shallow"] = Model("GAN", d, shallow=True)
    found |= {f"aae{d}": Model("AAE", d) for d in (2, 10, 100)}
    found |= {f"vae10-{d}": Model("VAE", 10, damage=d) for d in ("few", "dropped", "short")}
    found["vae5-narrow"] = Model("VAE", 5, narrow=True)
    for recipe in ("gp", "vanilla", "sn", "bre"):
        found |= {f"dcgan{d}-{recipe}": Model("GAN", d, colour=recipe) for d in (10, 100)}
    return found


MODELS = _all()


class Settings(NamedTuple):
    """The sizes of one profile."""

    dataset: str
    hidden: tuple[int, ...]
    steps: int
    batch_size: int
    learning_rate: float
    betas: Tensor  # recorded
    temperatures_per_beta: int
    n_images: int
    n_chains: int
    n_leapfrog: int
    bdmc_betas: tuple[float, ...]
    bdmc_images: int
    quadrature_points: int
    discriminator: tuple[int, ...]
    gan_steps: int
    damaged_steps: int  # of the models that see too little
    short_steps: int  # of the one that stopped early
    quick: tuple[int, int, int]  # betas, temperatures a beta and images of the further experiments
    colour: "Colour"


class Colour(NamedTuple):
    """The DCGANs of one profile, and how their curves are drawn."""

    channels: tuple[int, ...]
    discriminator: tuple[int, ...]
    steps: int
    betas: Tensor
    temperatures_per_beta: int
    n_images: int
    n_chains: int


def settings(profile: profiles.Profile) -> Settings:
    """The chapter's sizes at a profile; the paper's own are in section 3 of its appendix and its code."""
    if profile.name == "smoke":
        betas = schedules.log_spaced(17, 0.02, 200.0)[1:]
        colour = Colour((16, 8), (8, 8, 8, 8), 3, schedules.log_spaced(4, 0.01, 1.0)[1:], 3, 3, 2)
        return Settings(
            "digits", (64,), 700, 64, 2e-3, betas, 8, 12, 8, 6, (0.35, 1.1, 200.0), 8, 201,
            (64,), 300, 400, 60, (6, 6, 6), colour,
        )  # fmt: skip
    if profile.name == "small":
        betas = schedules.log_spaced(49, 0.01, 3000.0)[1:]
        colour = Colour(
            (128, 64, 32), (16, 32, 64, 128), 2500, schedules.log_spaced(17, 1e-3, 30.0)[1:],
            16, 16, 8,
        )  # fmt: skip
        return Settings(
            "mnist", (256, 256), 10_000, 100, 1e-3, betas, 41, 50, 16, 10,
            (0.38, 1.0, 3000.0), 16, 601, (256, 256), 10_000, 3000, 300, (25, 20, 25), colour,
        )  # fmt: skip
    betas = schedules.sigmoid(60_000, 36_000.0)[30::30]
    colour = Colour(
        (1024, 512, 256, 128), (64, 128, 256, 512), 40_000, schedules.sigmoid(60_000, 3333.0)[30::30],
        30, 50, 40,
    )  # fmt: skip
    return Settings(
        "mnist", (1024, 1024, 1024), 500_000, 100, 1e-4, betas, 30, 50, 40, 20,
        (0.3819, 1.0334, 35_999.85), 50, 1201, (1024, 1024, 1024), 200_000, 100_000, 2000,
        (200, 60, 50), colour,
    )  # fmt: skip


def context(profile: profiles.Profile, name: str = "") -> results.Context:
    """What this chapter's results share; a model's name tells its data set."""
    colour = name in MODELS and MODELS[name].colour and profile.name != "smoke"
    return results.Context(
        EXPERIMENT, CHAPTER, profile, ("cifar10" if colour else settings(profile).dataset,)
    )


def work(profile: profiles.Profile, name: str) -> Path:
    """A file that is kept, but not published."""
    return results.work_folder() / CHAPTER / profile.name / name


@functools.lru_cache(maxsize=4)
def pictures(dataset: str, split: str) -> images.Images:
    """A split as rows of pixels: digits from 0 to 1, CIFAR-10 and its stand-in from -1 to 1."""
    if dataset == "cifar10":
        found = cifar.load(split)
        return images.Images(found.x.flatten(1).float() / 127.5 - 1, found.y, found.x.shape[1:])
    if dataset == "colour":  # for smoke: digits in three equal colours, each pixel four times
        grey = images.load("digits", split)
        large = grey.x.view(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
        return images.Images(large.expand(-1, 3, -1, -1).flatten(1) * 2 - 1, grey.y, (3, 32, 32))
    return images.load(dataset, split)


def dataset(profile: profiles.Profile, name: str) -> str:
    """What a model learns from."""
    if MODELS[name].colour:
        return "colour" if profile.name == "smoke" else "cifar10"
    return settings(profile).dataset


def training_images(profile: profiles.Profile, name: str) -> Tensor:
    """The images (N, P) that a model learns from."""
    data, damage = pictures(dataset(profile, name), "train"), MODELS[name].damage
    if damage == "dropped":
        return data.x[~torch.isin(data.y, torch.tensor(DROPPED))]
    return data.x[:FEW] if damage == "few" else data.x


def trained(name: str, profile: profiles.Profile, seed: int) -> Result:
    """A trained model: samples, for some its decoder (seed 0), of a VAE its test ELBO and posterior means."""

    def compute() -> tuple[dict, dict]:
        network = network_of(name, profile, seed)
        test = pictures(dataset(profile, name), "test")
        generator = torch.Generator(profile.device).manual_seed(seed)
        values: dict = {"shape": list(test.shape)}
        tensors = {}
        if isinstance(network, ImageVAE):
            x = test.x.to(profile.device, profile.dtype)
            with torch.no_grad():
                bound = vae_objective(network, x, generator)
                mu, _ = network.posterior(x)
            values |= {
                "elbo": bootstrap(bound.value)._asdict(),
                "log_likelihood": bootstrap(bound.log_likelihood)._asdict(),
                "kl": bootstrap(bound.kl)._asdict(),
                "pixel_variance": float(network.log_variance.detach().exp()),
                "active_units": int(active_units(mu)),
            }
            if MODELS[name].latent_dim == 2:
                tensors = {"means": mu[:N_PUBLISHED_MEANS], "labels": test.y[:N_PUBLISHED_MEANS]}
        shape = (N_TILES, MODELS[name].latent_dim)
        codes = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(profile.device)
        with torch.no_grad():
            tiles = network.decoder(codes).flatten(1)
        if MODELS[name].colour:
            tiles = (tiles + 1) / 2
        tensors["tiles"] = (tiles * 255).round().clamp(0, 255).to(torch.uint8)
        if seed == 0 and name in PUBLISHED:
            tensors |= {f"decoder.{k}": v for k, v in network.decoder.state_dict().items()}
        return values, tensors

    return results.get(f"{name}-seed{seed}-training", compute, context(profile, name), seed=seed)


def decoder(name: str, profile: profiles.Profile, seed: int) -> nn.Sequential:
    """The trained decoder: published (seed 0), kept in the work folder, or trained now."""
    found = trained(name, profile, seed)
    state = {k.removeprefix("decoder."): v for k, v in found.tensors.items() if "decoder." in k}
    if not state:
        return network_of(name, profile, seed).decoder.eval().requires_grad_(False)
    network = build(name, profile, found.values["shape"]).decoder
    network.load_state_dict(state)
    return network.to(profile.device, profile.dtype).eval().requires_grad_(False)


class Adversaries(nn.Module):
    """A decoder with its discriminator, and an encoder if it has one."""

    def __init__(
        self, decoder: nn.Module, discriminator: nn.Module, encoder: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.decoder, self.discriminator, self.encoder = decoder, discriminator, encoder


def build(name: str, profile: profiles.Profile, shape: Sequence[int]) -> ImageVAE | Adversaries:
    """An untrained model of images of a shape, initialised from torch's global generator."""
    s, model = settings(profile), MODELS[name]
    n_pixels = math.prod(shape)
    if model.colour:
        size, image = s.colour, (shape[0], shape[1])
        norm = {"vanilla": "batch", "bre": "batch", "sn": "spectral", "gp": "none"}[model.colour]
        return Adversaries(
            dcgan_generator(model.latent_dim, size.channels, image, kernel=4, last_stride=2),
            dcgan_discriminator(size.discriminator, image, first_stride=2, norm=norm),
        )
    hidden = (64,) if model.narrow else s.hidden[:1] if model.shallow else s.hidden
    if model.family == "VAE":
        return ImageVAE(n_pixels, model.latent_dim, hidden)
    if model.family == "GAN":
        return Adversaries(
            mlp([model.latent_dim, *hidden, n_pixels], output="sigmoid"),
            mlp([n_pixels, *s.discriminator, 1], "relu"),
        )
    return Adversaries(
        mlp([model.latent_dim, *hidden, n_pixels], "relu", output="sigmoid"),
        mlp([model.latent_dim, *hidden, 1], "relu"),
        mlp([n_pixels, *hidden, model.latent_dim], "relu"),
    )


def network_of(name: str, profile: profiles.Profile, seed: int) -> ImageVAE | Adversaries:
    """A trained model, from its finished or interrupted run in the work folder."""
    s, model = settings(profile), MODELS[name]
    x = training_images(profile, name).to(profile.device, profile.dtype)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        shape = pictures(dataset(profile, name), "test").shape
        network = build(name, profile, shape).to(profile.device, profile.dtype)
    step, steps, rate, momenta = {
        "VAE": (_vae_step, s.steps, s.learning_rate, (0.9, 0.999)),
        "GAN": (_gan_step(name, s, x.shape), s.gan_steps, 2e-4, (0.5, 0.999)),
        "AAE": (_aae_step, s.steps, s.learning_rate, (0.9, 0.999)),
    }[model.family]
    fewer = {"few": s.damaged_steps, "dropped": s.damaged_steps, "short": s.short_steps}
    steps = s.colour.steps if model.colour else fewer.get(model.damage, steps)
    batch_size = min(64 if model.family == "GAN" else s.batch_size, len(x))
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=momenta)
    state = TrainingState(network, optimizer, torch.Generator(profile.device).manual_seed(seed))
    picks = minibatches(len(x), batch_size, seed)
    fit(
        step,
        lambda i: x[picks(i).to(x.device)],
        state,
        steps,
        checkpoint=work(profile, f"{name}-seed{seed}.training.safetensors"),
        description=f"{name} seed {seed}",
        progress=False,
    )
    return network.eval()


def _vae_step(state: TrainingState, x: Tensor) -> dict[str, Tensor]:
    bound = vae_objective(state.model, x, state.generator)
    loss = -bound.value.mean()
    _descend(state, loss)
    return {"loss": loss.detach(), "kl": bound.kl.detach().mean()}


def _gan_step(name: str, s: Settings, shape: torch.Size) -> Callable:
    """Non-saturating losses; a gradient penalty for digits, a DCGAN's own recipe for colours."""
    model = MODELS[name]
    side = int((shape[1] // 3) ** 0.5)
    image = (3, side, side) if model.colour else shape[1:]
    penalty = "gradient" if model.colour in (None, "gp") else None
    layers = tuple(inner_layers(len(s.colour.discriminator))) if model.colour == "bre" else None

    def step(state: TrainingState, x: Tensor) -> dict[str, Tensor]:
        network, generator = state.model, state.generator
        options = {"generator": generator, "dtype": x.dtype, "device": x.device}
        codes = torch.randn(len(x), model.latent_dim, **options)
        with torch.no_grad():
            fake = network.decoder(codes)
        told = discriminator_objective(
            network.discriminator,
            x.view(-1, *image),
            fake,
            generator,
            weight=float(model.colour == "bre"),
            layers=layers,
            penalty=penalty,
            penalty_weight=10.0,
        )
        _descend(state, told.value)
        fooled = generator_objective(network.discriminator, network.decoder(codes))
        _descend(state, fooled, of=network.decoder)
        return {"discriminator": told.value.detach(), "generator": fooled.detach()}

    return step


def _aae_step(state: TrainingState, x: Tensor) -> dict[str, Tensor]:
    """Squared error of a deterministic code, whose distribution a critic pushes to the prior."""
    network = state.model
    code = network.encoder(x)
    error = (network.decoder(code) - x).square().sum(1).mean()
    fooled = softplus(-network.discriminator(code)).mean()
    _descend(state, error + AAE_WEIGHT * fooled, of=(network.encoder, network.decoder))
    prior = torch.randn(code.shape, generator=state.generator, dtype=x.dtype, device=x.device)
    real, fake = network.discriminator(prior), network.discriminator(code.detach())
    critic = softplus(-real).mean() + softplus(fake).mean()
    _descend(state, critic, of=network.discriminator)
    return {"error": error.detach(), "fooled": fooled.detach(), "critic": critic.detach()}


AAE_WEIGHT = 10.0  # of fooling the critic against the squared error of an image, which is about 10


def _descend(state: TrainingState, loss: Tensor, of: nn.Module | tuple | None = None) -> None:
    """One step of those parameters; None takes all that the loss has a gradient for."""
    state.optimizer.zero_grad(set_to_none=True)
    if of is None:
        loss.backward()
    else:
        modules = of if isinstance(of, tuple) else (of,)
        inputs = [p for module in modules for p in module.parameters()]
        loss.backward(inputs=inputs)
    state.optimizer.step()
