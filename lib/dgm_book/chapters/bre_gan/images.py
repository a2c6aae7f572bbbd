"""Chapter 3's images: the classifier whose features score them, DCGANs, and the semi-supervised game.

No score here is an Inception score or an FID: the features are those of our own small classifier, so
numbers compare within this chapter alone.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.data import cifar, images, minibatches
from dgm.feature_distance import (
    frechet_distance,
    inception_style_score,
    kernel_distance,
    precision_recall,
)
from dgm.nets.conv import dcgan_discriminator, dcgan_generator, generate, inner_layers
from dgm.papers import bre_gan as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book import profiles, results
from dgm_book.chapters.bre_gan.training import (
    CHAPTER,
    EXPERIMENT,
    GAN,
    Recipe,
    noise,
    train,
    work_file,
)
from dgm_book.results import Result

N_TILES = 48  # generated images that are kept
N_MONITORED = 256  # points on which the discriminator's codes are looked at


class Size(NamedTuple):
    """The networks and the budget for one data set at one profile."""

    noise_dim: int
    generator: tuple[int, ...]  # channels
    discriminator: tuple[int, ...]
    kernels: tuple[int, int]  # of the generator and the discriminator
    first_stride: int
    last_stride: int
    steps: dict[str, int]  # of the generator, by regime
    n_measurements: int
    n_samples: int  # in a measurement
    classifier_steps: int
    semi_steps: int


class Settings(NamedTuple):
    """What runs at one profile."""

    dataset: str
    second: str | None  # one pair of runs on a second data set
    sizes: dict[str, Size]
    widths: tuple[int, ...]  # factors of the discriminator's width, beyond 1
    n_pairs: int  # seeds with both regimes
    learning_rates: dict[str, float]
    discriminator_steps: dict[str, int]
    batch_size: int
    n_labelled: int
    bf16: bool


RATES = {"normal": 2e-4, "aggressive": 2e-3}
PASSES = {"normal": 1, "aggressive": 3}


def settings(profile: profiles.Profile) -> Settings:
    """The sizes; the paper's own are its DCGAN at width factor 4 on CIFAR-10."""
    if profile.name == "smoke":
        steps = {"normal": 40, "aggressive": 20}
        digits = Size(16, (16,), (8, 16, 16), (4, 3), 1, 2, steps, 4, 200, 100, 40)
        rates = {"normal": 1e-3, "aggressive": 4e-3}
        return Settings("digits", None, {"digits": digits}, (), 1, rates, PASSES, 32, 50, False)
    if profile.name == "small":
        steps = {"normal": 2500, "aggressive": 800}
        mnist = Size(64, (64, 32), (16, 32, 64, 128), (4, 5), 2, 2, steps, 10, 5000, 1500, 600)
        colour = Size(
            64, (128, 64, 32), (16, 32, 64, 128), (4, 5), 2, 2, {"normal": 600}, 5, 5000, 1500, 0
        )
        sizes = {"mnist": mnist, "cifar10": colour}
        return Settings("mnist", "cifar10", sizes, (), 3, RATES, PASSES, 64, 100, True)
    steps = {"normal": 90_000, "aggressive": 10_000}
    wide, whole = (512, 256, 128, 64), (64, 128, 256, 512)
    colour = Size(100, wide, whole, (5, 5), 1, 1, steps, 45, 10_000, 20_000, 20_000)
    return Settings("cifar10", None, {"cifar10": colour}, (2, 4), 3, RATES, PASSES, 64, 4000, True)


def context(profile: profiles.Profile, dataset: str) -> results.Context:
    """What results on one data set share."""
    return results.Context(EXPERIMENT, CHAPTER, profile, (dataset,))


class Pictures(NamedTuple):
    """A split as a discriminator sees it."""

    x: Tensor  # (N, C, S, S) from -1 to 1
    y: Tensor  # (N,)


@functools.lru_cache(maxsize=4)
def pictures(dataset: str, split: str) -> Pictures:
    """A split of MNIST, the digits or CIFAR-10, from -1 to 1."""
    if dataset == "cifar10":
        found = cifar.load(split)
        return Pictures(found.x.float() / 127.5 - 1, found.y)
    found = images.load(dataset, split)
    return Pictures(found.x.view(-1, 1, *found.shape) * 2 - 1, found.y)


class Classifier(nn.Module):
    """A small convolutional network; its last hidden layer makes the features of all scores.

    Args:
        image: channels and side.
        features: F.
    """

    def __init__(self, image: tuple[int, int], features: int = 64) -> None:
        super().__init__()
        side = (image[1] + 3) // 4
        self.features = nn.Sequential(
            nn.Conv2d(image[0], 32, 5, 2, 2),
            nn.ReLU(),
            nn.BatchNorm2d(32),
            nn.Conv2d(32, 64, 5, 2, 2),
            nn.ReLU(),
            nn.BatchNorm2d(64),
            nn.Flatten(),
            nn.Linear(64 * side * side, features),
            nn.ReLU(),
        )
        self.head = nn.Linear(features, 10)
        self.register_buffer("scale", torch.ones(()))  # of the features, see `classifier`

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, S, S) -> logits (B, 10)."""
        return self.head(self.features(x))


@functools.lru_cache(maxsize=2)
def classifier(profile: profiles.Profile, dataset: str) -> Classifier:
    """The trained classifier of a data set, seed 0; `scale` is its features' mean deviation."""
    s, data = settings(profile), pictures(dataset, "train")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier((data.x.shape[1], data.x.shape[2])).to(profile.device)
    picks = minibatches(len(data.x), 128, 0)
    steps = s.sizes[dataset].classifier_steps

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        chosen = picks(i)
        x, y = (part[chosen].to(profile.device) for part in data)
        for group in state.optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - i / steps)
        with autocast(x.device, s.bf16):
            loss = functional.cross_entropy(state.model(x), y)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach().float()}

    fit(
        step,
        lambda i: i,
        TrainingState(
            model, torch.optim.Adam(model.parameters(), lr=2e-3), torch.Generator().manual_seed(0)
        ),
        steps,
        checkpoint=work_file(profile, f"{dataset}-classifier.training.safetensors"),
        description=f"{dataset} classifier",
        progress=False,
    )
    model.eval().requires_grad_(False)
    seen, _ = read(model, data.x[:5000])
    model.scale.copy_(seen.std(0).mean())
    return model


def judge(profile: profiles.Profile, dataset: str) -> Result:
    """How good the classifier is, and what real images score."""

    def compute() -> tuple[dict, dict]:
        test = pictures(dataset, "test")
        n = settings(profile).sizes[dataset].n_samples
        seen, said = read(classifier(profile, dataset), test.x)
        right = (said.argmax(1) == test.y).double()
        # Other real images, as many as are generated, so that the floor is that of the sample's size.
        other, other_said = read(classifier(profile, dataset), pictures(dataset, "train").x[:n])
        values = {
            "accuracy": float(right.mean()),
            "n": len(right),
            "real": scores(seen, other, other_said, whole=True),
        }
        return values, dict(classifier(profile, dataset).state_dict())

    return results.get(f"{dataset}-classifier", compute, context(profile, dataset))


@torch.no_grad()
def read(model: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled features (N, F) and class probabilities (N, 10) of images, on the CPU."""
    device = next(model.parameters()).device
    parts = [model.features(part.to(device)) for part in x.split(1000)]
    features = torch.cat(parts)
    return (features / model.scale).cpu(), torch.softmax(model.head(features), 1).cpu()


def scores(real: Tensor, fake: Tensor, said: Tensor, whole: bool) -> dict[str, float]:
    """Scores of generated features (M, F) and probabilities (M, 10) against real features (N, F)."""
    found = {
        "frechet": float(frechet_distance(real, fake)),
        "class_score": float(inception_style_score(said)),
    }
    if whole:
        kernel = kernel_distance(real, fake)
        close = precision_recall(real[: len(fake)], fake)
        found |= {
            "kernel": float(kernel.value),
            "kernel_error": float(kernel.standard_error),
            "precision": float(close.precision),
            "recall": float(close.recall),
        }
    return found


def networks(
    profile: profiles.Profile, dataset: str, seed: int, norm: str, width: int = 1, outputs: int = 1
) -> GAN:
    """Freshly initialised networks; the same for every recipe of a seed."""
    size = settings(profile).sizes[dataset]
    x = pictures(dataset, "test").x
    image = (x.shape[1], x.shape[2])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = dcgan_generator(
            size.noise_dim,
            size.generator,
            image,
            kernel=size.kernels[0],
            last_stride=size.last_stride,
        )
        discriminator = dcgan_discriminator(
            [width * c for c in size.discriminator],
            image,
            kernel=size.kernels[1],
            first_stride=size.first_stride,
            norm={"r1": "none"}.get(norm, norm),
            outputs=outputs,
        )
    gan = GAN(generator, discriminator, size.noise_dim).to(profile.device)
    return gan.to(memory_format=torch.channels_last)


class Run(NamedTuple):
    """One DCGAN among those of a profile."""

    dataset: str
    regime: str
    norm: str  # "batch", "spectral", or "r1" without any
    method: str  # "none" or "bre"
    seed: int
    width: int = 1

    @property
    def name(self) -> str:
        """The result's name."""
        wide = f"-width{self.width}" * (self.width > 1)
        return f"{self.dataset}-{self.regime}-{self.norm}{wide}-{self.method}-seed{self.seed}"


def runs(profile: profiles.Profile) -> list[Run]:
    """All DCGANs of a profile, pairs together."""
    s, found = settings(profile), []
    for seed in range(s.n_pairs):
        for regime in s.sizes[s.dataset].steps:
            found += [Run(s.dataset, regime, "batch", m, seed) for m in ("none", "bre")]
    for norm in ("spectral", "r1"):
        found += [Run(s.dataset, "normal", norm, m, 0) for m in ("none", "bre")]
    for width in s.widths:
        found += [
            Run(s.dataset, "normal", "batch", m, seed, width)
            for seed in range(s.n_pairs)
            for m in ("none", "bre")
        ]
    if s.second:
        found += [Run(s.second, "normal", "batch", m, 0) for m in ("none", "bre")]
    return found


def dcgan(profile: profiles.Profile, run: Run) -> Result:
    """One DCGAN: its scores over training and its images at the end."""
    s = settings(profile)
    size = s.sizes[run.dataset]

    def compute() -> tuple[dict, dict]:
        gan = networks(profile, run.dataset, run.seed, run.norm, run.width)
        layers = tuple(inner_layers(len(size.discriminator)))
        recipe = Recipe(
            size.steps[run.regime],
            s.batch_size,
            s.learning_rates[run.regime],
            layers,
            discriminator_steps=s.discriminator_steps[run.regime],
            weight=float(run.method == "bre"),
            penalty="r1" if run.norm == "r1" else None,
            penalty_weight=1.0,
            bf16=s.bf16,
        )
        measured_with = _Measure(profile, run.dataset, layers)
        every = recipe.steps // size.n_measurements
        found = train(
            gan,
            _batches(run.dataset, s.batch_size, run.seed, profile.device),
            recipe,
            profile,
            run.seed,
            run.name,
            measured_with,
            list(range(every, recipe.steps + 1, every)),
        )
        values = {
            "measured": found.measured,
            "stopped": found.stopped,
            "final": measured_with(found.gan, whole=True),
            "planned": {"every": every, "n": size.n_measurements},
        }
        tiles = _made(found.gan, N_TILES, profile.device)
        tensors = {"tiles": ((tiles + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)}
        if run.seed == 0 and run[1:3] == ("normal", "batch") and run.dataset == s.dataset:
            tensors |= {k: v.contiguous() for k, v in found.gan.generator.state_dict().items()}
        return values, tensors

    return results.get(run.name, compute, context(profile, run.dataset), seed=run.seed)


class _Measure:
    """Scores of a generator and the codes of its discriminator."""

    def __init__(self, profile: profiles.Profile, dataset: str, layers: tuple[int, ...]) -> None:
        self.model = classifier(profile, dataset)
        test = pictures(dataset, "test").x
        self.n = settings(profile).sizes[dataset].n_samples
        self.real, _ = read(self.model, test)
        self.points = test[:N_MONITORED].to(profile.device)
        self.layers, self.device = layers, profile.device

    def __call__(self, gan: GAN, whole: bool = False) -> dict[str, Any]:
        made = _made(gan, self.n, self.device)
        features, said = read(self.model, made)
        fake = made[: len(self.points)].to(self.device)
        points = self.points[: len(fake)]
        between = paper.interpolate(points, fake, torch.Generator(self.device).manual_seed(0))
        was_training = gan.discriminator.training
        gan.discriminator.eval()
        found: dict[str, Any] = scores(self.real, features, said, whole)
        for name, x in {"real": points, "fake": fake, "between": between}.items():
            with torch.no_grad():
                hard = paper.bre_penalty(gan.discriminator, x, self.layers, 1e-9, 0.0)
                _, inputs = paper.pre_activations(gan.discriminator, x, self.layers)
            found[f"me_{name}"] = float(hard.marginal_entropy)
            found[f"pair_{name}"] = float(hard.activation_correlation)
            codes = torch.cat([paper.softsign_code(h.flatten(1)) for h in inputs], 1)
            found[f"saturated_{name}"] = float((codes.abs() >= 0.9).float().mean())
        found["gradient_spread"] = float(paper.gradient_spread(gan.discriminator, fake))
        gan.discriminator.train(was_training)
        return found


def _made(gan: GAN, n: int, device: str) -> Tensor:
    return generate(gan.generator, noise(n, gan, 987_654, 0, device))


def _batches(dataset: str, size: int, seed: int, device: str) -> Callable[[int], Tensor]:
    x = pictures(dataset, "train").x
    picks = minibatches(len(x), size, seed)
    return lambda i: x[picks(i)].to(device, memory_format=torch.channels_last)


def semi_name(dataset: str, method: str, seed: int) -> str:
    """The name of a semi-supervised result."""
    return f"{dataset}-semi-{method}-seed{seed}"


def semi_supervised(profile: profiles.Profile, method: str, seed: int) -> Result:
    """A discriminator that also classifies, with few labels: its error on the test set over training."""
    s = settings(profile)
    size = s.sizes[s.dataset]
    weight = {"none": 0.0, "bre": 0.01}[method]

    def compute() -> tuple[dict, dict]:
        data, test = pictures(s.dataset, "train"), pictures(s.dataset, "test")
        gan = networks(profile, s.dataset, seed, "none", outputs=10)
        chosen = _few(data.y, s.n_labelled, seed)
        x, y = data.x[chosen].to(profile.device), data.y[chosen].to(profile.device)
        size_of_batch = min(s.batch_size, len(x))
        picks = minibatches(len(x), size_of_batch, seed)

        def error(gan: GAN) -> dict[str, Any]:
            with torch.no_grad():
                parts = test.x.split(1000)
                said = torch.cat(
                    [gan.discriminator(p.to(profile.device)).argmax(1).cpu() for p in parts]
                )
            return {"error": float((said != test.y).double().mean()), "n": len(test.y)}

        every = size.semi_steps // size.n_measurements
        found = train(
            gan,
            _batches(s.dataset, s.batch_size, seed, profile.device),
            Recipe(
                size.semi_steps,
                s.batch_size,
                3 * s.learning_rates["normal"],
                tuple(inner_layers(len(size.discriminator))),
                weight=weight,
                bf16=s.bf16,
            ),
            profile,
            seed,
            semi_name(s.dataset, method, seed),
            error,
            list(range(every, size.semi_steps + 1, every)),
            labelled=lambda i: (x[picks(i)], y[picks(i)]),
        )
        return {"measured": found.measured, "stopped": found.stopped}, {}

    name = semi_name(s.dataset, method, seed)
    return results.get(name, compute, context(profile, s.dataset), seed=seed)


def _few(labels: Tensor, n: int, seed: int) -> Tensor:
    """Indices of n examples, as many of each of ten classes."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[labels[order] == c][: n // 10] for c in range(10)])
