"""Chapter 1's models: their data, their training, and the decoders that all curves are drawn of.

Every digit model has the same generator at one latent size: what differs is how it learned. Three
more VAEs are damaged on purpose: one saw few images, one never saw two of the classes, one stopped
early.
"""

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dgm.data import cifar, images, minibatches
from dgm.measure import active_units, bootstrap
from dgm.nets.conv import dcgan_discriminator, dcgan_generator
from dgm.nets.mlp import mlp
from dgm.papers.bre_gan import discriminator_objective, generator_objective
from dgm.papers.rate_distortion import ImageVAE, vae_objective
from dgm.train import TrainingState, fit
from dgm_book import results
from dgm_book.chapters.rate_distortion import recipe as recipes
from dgm_book.chapters.rate_distortion.recipe import MODELS, RECIPES, Model, Recipe
from dgm_book.profiles import Profile
from dgm_book.results import Result

CHAPTER = "01_rate_distortion"
EXPERIMENT = "dgm_book.chapters.rate_distortion.run"
Computed = tuple[dict, dict]  # plain values and tensors


class Job(NamedTuple):
    """A model and seed, and where and how large everything is computed."""

    name: str
    seed: int
    profile: Profile
    recipe: Recipe

    @property
    def model(self) -> Model:
        """What the name stands for."""
        return MODELS[self.name]

    @property
    def dataset(self) -> str:
        """What the model learns from, as `pictures` takes it."""
        return self.recipe.colour.dataset if self.model.colour else self.recipe.digits.dataset

    def get(self, ending: str, compute: Callable[[], Computed]) -> Result:
        """A result of this model and seed, loaded or computed."""
        own = context(self.profile, self.name, self.recipe)
        return results.get(f"{self.name}-seed{self.seed}-{ending}", compute, own, seed=self.seed)

    def checkpoint(self, ending: str) -> Path:
        """A file that is kept, but not published."""
        folder = results.work_folder() / CHAPTER / self.profile.name
        return folder / f"{self.name}-seed{self.seed}.{ending}.safetensors"


def context(profile: Profile, name: str = "vae10", recipe: Recipe | None = None) -> results.Context:
    """What the results of a model share."""
    data = Job(name, 0, profile, recipe or RECIPES[profile.name]).dataset
    return results.Context(EXPERIMENT, CHAPTER, profile, ("digits" if data == "colour" else data,))


@functools.lru_cache(maxsize=4)
def pictures(dataset: str, split: str) -> images.Images:
    """A split as rows of pixels: digits from 0 to 1, CIFAR-10 and its stand-in from -1 to 1."""
    if dataset == "cifar10":
        data = cifar.load(split)
        x, shape = data.x.flatten(1).float() / 127.5 - 1, data.x.shape[1:]
        return images.Images(x, data.y, shape)  # pyright: ignore[reportArgumentType]
    if dataset == "colour":  # for smoke: digits in three equal colours, each pixel four times
        grey = images.load("digits", split)
        large = grey.x.view(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
        x, shape = large.expand(-1, 3, -1, -1).flatten(1) * 2 - 1, (3, 32, 32)
        return images.Images(x, grey.y, shape)  # pyright: ignore[reportArgumentType]
    return images.load(dataset, split)


def training_images(job: Job) -> Tensor:
    """The images (N, P) that a model learns from."""
    data = pictures(job.dataset, "train")
    if job.model.damage == "dropped":
        return data.x[~torch.isin(data.y, torch.tensor(recipes.DROPPED))]
    return data.x[: recipes.N_LIMITED] if job.model.damage == "few" else data.x


def measure_model(job: Job) -> Computed:
    """Samples, for some the decoder (seed 0), of a VAE its test ELBO and posterior means."""
    network, test, device = train(job), pictures(job.dataset, "test"), job.profile.device
    generator = torch.Generator(device).manual_seed(job.seed)
    values: dict = {"shape": list(test.shape)}
    tensors = {}
    if isinstance(network, ImageVAE):
        x = test.x.to(device, job.profile.dtype)
        with torch.no_grad():
            bound = vae_objective(network, x, generator)
            mu, _ = network.posterior(x)
        values |= {
            "elbo": bootstrap(bound.value)._asdict(),
            "kl": bootstrap(bound.kl)._asdict(),
            "pixel_variance": float(network.log_variance.detach().exp()),
            "active_units": int(active_units(mu)),
        }
        if job.model.latent_dim == 2:
            tensors = {"means": mu[: recipes.N_MEANS], "labels": test.y[: recipes.N_MEANS]}
    shape = (recipes.N_TILES, job.model.latent_dim)
    codes = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        tiles = network.decoder(codes).flatten(1)
    tiles = (tiles + 1) / 2 if job.model.colour else tiles
    tensors["tiles"] = (tiles * 255).round().clamp(0, 255).to(torch.uint8)
    if job.seed == 0 and job.name in recipes.DECODERS:
        tensors |= {f"decoder.{k}": v for k, v in network.decoder.state_dict().items()}
    return values, tensors


def decoder(job: Job) -> nn.Sequential:
    """The trained decoder: published (seed 0), kept in the work folder, or trained now."""
    result = job.get("training", functools.partial(measure_model, job))
    state = {k.removeprefix("decoder."): v for k, v in result.tensors.items() if "decoder." in k}
    if not state:
        return train(job).decoder.eval().requires_grad_(False)
    network = build(job, result.values["shape"]).decoder
    network.load_state_dict(state)
    return network.to(job.profile.device, job.profile.dtype).eval().requires_grad_(False)


def build(job: Job, shape: Sequence[int]) -> Any:
    """An untrained model of images of a shape, initialised from torch's global generator."""
    model, digits, colour = job.model, job.recipe.digits, job.recipe.colour
    latent_dim, n_pixels = model.latent_dim, math.prod(shape)
    hidden = (64,) if model.narrow else digits.hidden[:1] if model.shallow else digits.hidden
    decoder = functools.partial(mlp, [latent_dim, *hidden, n_pixels], output="sigmoid")
    if model.family == "VAE":
        return ImageVAE(n_pixels, latent_dim, hidden)
    if model.colour:
        image, norm = (shape[0], shape[1]), "none" if model.colour == "gp" else "batch"
        options = {"kernel": 4, "last_stride": 2}
        parts = {"decoder": dcgan_generator(latent_dim, colour.channels, image, **options)}
        options = {"first_stride": 2, "norm": norm}
        parts["discriminator"] = dcgan_discriminator(colour.discriminator, image, **options)
    elif model.family == "GAN":
        parts = {"decoder": decoder(), "discriminator": mlp([n_pixels, *digits.hidden, 1], "relu")}
    else:
        parts = {"decoder": decoder("relu"), "discriminator": mlp([latent_dim, *hidden, 1], "relu")}
        parts["encoder"] = mlp([n_pixels, *hidden, latent_dim], "relu")
    return nn.ModuleDict(parts)


def train(job: Job) -> Any:
    """A trained model, from its finished or interrupted run in the work folder."""
    model, sizes, device = job.model, job.recipe.digits, job.profile.device
    x = training_images(job).to(device, job.profile.dtype)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        network = build(job, pictures(job.dataset, "test").shape).to(device, job.profile.dtype)
    is_gan = model.family == "GAN"
    steps = {"": sizes.gan_steps if is_gan else sizes.steps, "short": sizes.short_steps}.get(
        model.damage, sizes.damaged_steps
    )
    rate, momenta = (2e-4, (0.5, 0.999)) if is_gan else (sizes.learning_rate, (0.9, 0.999))
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=momenta)
    picks = minibatches(len(x), min(64 if is_gan else sizes.batch_size, len(x)), job.seed)
    step = {"VAE": _vae_step, "GAN": _gan_step, "AAE": _aae_step}[model.family]
    state = TrainingState(network, optimizer, torch.Generator(device).manual_seed(job.seed))
    step, file = functools.partial(step, network, job), job.checkpoint("training")
    steps = job.recipe.colour.steps if model.colour else steps
    fit(step, lambda i: x[picks(i).to(x.device)], state, steps, checkpoint=file, progress=False)
    return network.eval()


def _vae_step(network: ImageVAE, job: Job, state: TrainingState, x: Tensor) -> dict[str, Tensor]:
    bound = vae_objective(network, x, state.generator)
    loss = -bound.value.mean()
    descend(state, loss)
    return {"loss": loss.detach(), "kl": bound.kl.detach().mean()}


def _gan_step(network: Any, job: Job, state: TrainingState, x: Tensor) -> dict[str, Tensor]:
    """Non-saturating losses, with a gradient penalty unless the name says "vanilla"."""
    side = int((x.shape[1] // 3) ** 0.5)
    image = (3, side, side) if job.model.colour else x.shape[1:]
    options = {"generator": state.generator, "dtype": x.dtype, "device": x.device}
    codes = torch.randn(len(x), job.model.latent_dim, **options)
    with torch.no_grad():
        fake = network.decoder(codes)
    parts = network.discriminator, x.view(-1, *image), fake, state.generator
    penalty = None if job.model.colour == "vanilla" else "gradient"
    critic = discriminator_objective(*parts, weight=0.0, penalty=penalty, penalty_weight=10.0)
    descend(state, critic.value)
    fooled = generator_objective(network.discriminator, network.decoder(codes))
    descend(state, fooled, network.decoder)
    return {"discriminator": critic.value.detach(), "generator": fooled.detach()}


def _aae_step(network: Any, job: Job, state: TrainingState, x: Tensor) -> dict[str, Tensor]:
    """Squared error of a deterministic code, whose distribution a critic pushes to the prior."""
    code = network.encoder(x)
    error = (network.decoder(code) - x).square().sum(1).mean()
    fooled = softplus(-network.discriminator(code)).mean()
    descend(state, error + recipes.AAE_WEIGHT * fooled, network.encoder, network.decoder)
    prior = torch.randn(code.shape, generator=state.generator, dtype=x.dtype, device=x.device)
    real, fake = network.discriminator(prior), network.discriminator(code.detach())
    critic = softplus(-real).mean() + softplus(fake).mean()
    descend(state, critic, network.discriminator)
    return {"error": error.detach(), "fooled": fooled.detach(), "critic": critic.detach()}


def descend(state: TrainingState, loss: Tensor, *modules: nn.Module) -> None:
    """One step of the modules' parameters; without any, of all that the loss has a gradient for."""
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward(inputs=[p for module in modules for p in module.parameters()] or None)
    state.optimizer.step()
