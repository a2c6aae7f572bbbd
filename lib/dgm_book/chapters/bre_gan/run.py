"""Chapter 3's runs: GANs with and without BRE, in pairs that share seed, data and noise.

Those of images are scored by the features of our own small classifier: no score here is an
Inception score or an FID, and numbers compare within this chapter alone. Those of points in the
plane are the paper's toy GAN, on mixtures whose modes are known.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dgm import feature_distance
from dgm.data import cifar, images, minibatches
from dgm.data.synthetic import Mixture2D, gaussian_mixture_2d
from dgm.nets.conv import dcgan_discriminator, dcgan_generator, generate
from dgm.papers import bre_gan as paper
from dgm.precision import autocast
from dgm.train import TrainingState, fit
from dgm_book import results
from dgm_book.chapters.bre_gan.recipe import RECIPES, ImageRecipe, Recipe, ToyRecipe, Training
from dgm_book.profiles import Profile
from dgm_book.results import Result
from dgm_book.verification import check

CHAPTER = "03_bre_gan"
L2 = 1e-4  # of the squared weights, in both losses
Batches = Callable[[int], Any]
Recipes = Mapping[str, Recipe]
METHODS = ("none", "bre")
# Images
N_TILES = 48  # generated images that are stored
N_MONITORED = 256  # points on which the discriminator's codes are measured
# Points in the plane
N_DATA = 40_000
N_SAMPLES = 2500  # per measurement
EXTENT = 1.5  # of the grid on which linear pieces are counted
TOYS = {"none": (0.0, 3.0), "bre": (1.0, 3.0), "bre-tight": (1.0, 1.0)}  # w and margin by method


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
    profile: Profile,
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
    parameters = [*gan.generator.parameters(), *gan.discriminator.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 2 * L2},
        {"params": [p for p in parameters if p.ndim <= 1]},
    ]
    optimizer = torch.optim.Adam(groups, training.learning_rate, betas=(0.5, 0.999), fused=True)
    state = TrainingState(gan, optimizer, generator)
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
    """ArithmeticError where losses of the last window exceed `largest`, or fakes collapsed."""
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


def work_file(profile: Profile, name: str) -> Path:
    """Where the chapter keeps a file of an unfinished run."""
    return results.work_folder() / CHAPTER / profile.name / name


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


def run(
    profile: Profile, seed: int, first_seed: int = 0, recipes: Recipes = RECIPES
) -> Iterator[Result]:
    """Every result of one of a profile's seeds; runs of more seeds are divided among these."""
    recipe, offset = recipes[profile.name], seed - first_seed
    if not offset:
        for dataset in recipe.images:
            yield judge(profile, recipe, dataset)
    for gan in image_runs(recipe, first_seed):
        if gan.seed == seed:
            yield dcgan(profile, recipe, gan)
    for method in METHODS:
        yield semi_supervised(profile, recipe, method, seed)
    for gan in toy_runs(recipe.toys, first_seed):
        if (gan.seed - first_seed) % profile.n_seeds == offset:
            yield toy(profile, recipe.toys, gan)


def context(profile: Profile, *datasets: str) -> results.Context:
    """What results on some data sets share; by default on the first, as the verification does."""
    return results.Context(__name__, CHAPTER, profile, datasets or (RECIPES[profile.name].dataset,))


@functools.lru_cache(maxsize=4)
def pictures(dataset: str, split: str) -> cifar.ColourImages:
    """A split of MNIST, the digits or CIFAR-10, its x (N, C, S, S) float32 from -1 to 1."""
    if dataset == "cifar10":
        colour = cifar.load(split)
        return colour._replace(x=colour.x.float() / 127.5 - 1)
    grey = images.load(dataset, split)
    return cifar.ColourImages(grey.x.view(-1, 1, *grey.shape) * 2 - 1, grey.y)


class Classifier(nn.Module):
    """A small convolutional network; its last hidden layer makes the features of all scores."""

    scale: Tensor  # of the features: their mean standard deviation

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(channels, 32, 5, 2, 2), nn.ReLU(), nn.BatchNorm2d(32)),
            *(nn.Conv2d(32, 64, 5, 2, 2), nn.ReLU(), nn.BatchNorm2d(64)),
            *(nn.Flatten(), nn.Linear(64 * ((side + 3) // 4) ** 2, 64), nn.ReLU()),
        )
        self.head = nn.Linear(64, 10)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, S, S) -> logits (B, 10)."""
        return self.head(self.features(x))

    @torch.no_grad()
    def read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scaled features (N, 64) and class probabilities (N, 10) of images, on the CPU."""
        features = torch.cat([self.features(x.to(self.scale.device)) for x in x.split(1000)])
        return (features / self.scale).cpu(), torch.softmax(self.head(features), 1).cpu()


def judge(profile: Profile, recipe: Recipe, dataset: str) -> Result:
    """A data set's classifier, how good it is, and what real images score."""

    def compute() -> tuple[dict, dict]:
        model = _trained_classifier(profile, recipe.images[dataset], dataset)
        test = pictures(dataset, "test")
        features, probabilities = model.read(test.x)
        right = (probabilities.argmax(1) == test.y).double()
        # Other real images, as many as are generated: the floor is that of the sample's size.
        other = pictures(dataset, "train").x[: recipe.images[dataset].n_samples]
        real = scores(features, *model.read(other), whole=True)
        values = {"accuracy": float(right.mean()), "n": len(right), "real": real}
        return values, dict(model.state_dict())

    return results.get(f"{dataset}-classifier", compute, context(profile, dataset))


def classifier(profile: Profile, recipe: Recipe, dataset: str) -> Classifier:
    """The classifier of `judge`."""
    model = Classifier(*pictures(dataset, "test").x.shape[1:3])
    model.load_state_dict(judge(profile, recipe, dataset).tensors)
    return model.eval().requires_grad_(False).to(profile.device)


def _trained_classifier(profile: Profile, recipe: ImageRecipe, dataset: str) -> Classifier:
    data, steps = pictures(dataset, "train"), recipe.classifier_steps
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Classifier(*data.x.shape[1:3]).to(profile.device)
    picks = minibatches(len(data.x), 128, 0)

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        x, y = (part[picks(i)].to(profile.device) for part in data)
        for group in state.optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - i / steps)
        with autocast(x.device, recipe.regimes["normal"].bf16):
            loss = cross_entropy(model(x), y)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach().float()}

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    state = TrainingState(model, optimizer, torch.Generator().manual_seed(0))
    file = work_file(profile, f"{dataset}-classifier.training.safetensors")
    fit(step, lambda i: i, state, steps, checkpoint=file, progress=False)
    model.eval().requires_grad_(False)
    model.scale.copy_(model.read(data.x[:5000])[0].std(0).mean())
    return model


def scores(real: Tensor, fake: Tensor, probabilities: Tensor, whole: bool) -> dict[str, float]:
    """Of generated features (M, F) and probabilities (M, 10), against real features (N, F)."""
    values = {
        "frechet": feature_distance.frechet_distance(real, fake),
        "class_score": feature_distance.inception_style_score(probabilities),
    }
    if whole:
        values["recall"] = feature_distance.precision_recall(real[: len(fake)], fake).recall
    return {name: float(value) for name, value in values.items()}


class ImageRun(NamedTuple):
    """One DCGAN among those of a profile."""

    dataset: str
    regime: str
    norm: str  # "batch", "spectral", or "r1" without any
    method: str  # one of METHODS
    seed: int
    width: int = 1

    @property
    def name(self) -> str:
        """The result's name."""
        wide = f"-width{self.width}" * (self.width > 1)
        return f"{self.dataset}-{self.regime}-{self.norm}{wide}-{self.method}-seed{self.seed}"


def image_runs(recipe: Recipe, first_seed: int) -> list[ImageRun]:
    """All DCGANs of a profile, pairs together."""
    first, *others = recipe.images
    regimes, seeds = recipe.images[first].regimes, range(first_seed, first_seed + recipe.n_pairs)
    pairs = [(first, regime, "batch", seed, 1) for seed in seeds for regime in regimes]
    pairs += [(first, "normal", norm, first_seed, 1) for norm in ("spectral", "r1")]
    pairs += [(first, "normal", "batch", s, width) for width in recipe.widths for s in seeds]
    pairs += [(second, "normal", "batch", first_seed, 1) for second in others]
    return [ImageRun(*pair[:3], method, *pair[3:]) for pair in pairs for method in METHODS]


def networks(
    profile: Profile, recipe: ImageRecipe, dataset: str, seed: int, width: int = 1, **options: Any
) -> GAN:
    """Freshly initialised networks, the same for every method of a seed."""
    _, channels, side, _ = pictures(dataset, "test").x.shape
    options |= recipe.discriminator
    options["channels"] = [width * c for c in recipe.discriminator["channels"]]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator = dcgan_generator(recipe.noise_dim, image=(channels, side), **recipe.generator)
        discriminator = dcgan_discriminator(image=(channels, side), **options)
    gan = GAN(generator, discriminator, recipe.noise_dim)
    gan.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]: no stub has it
    return gan.to(profile.device)


def dcgan(profile: Profile, recipe: Recipe, run: ImageRun) -> Result:
    """One DCGAN: its scores over training and its images at the end."""
    own, dataset, seed = recipe.images[run.dataset], run.dataset, run.seed

    def compute() -> tuple[dict, dict]:
        norm, penalty = ("none", "r1") if run.norm == "r1" else (run.norm, None)
        gan = networks(profile, own, dataset, seed, run.width, norm=norm)
        training = own.regimes[run.regime]
        training = training._replace(weight=float(run.method == "bre"), penalty=penalty)
        model = classifier(profile, recipe, dataset)
        test = pictures(dataset, "test").x
        shared = {"model": model, "real": model.read(test)[0], "layers": training.layers}
        points = test[:N_MONITORED].to(profile.device)
        measured = functools.partial(measure, n=own.n_samples, points=points, **shared)
        batches = _batches(dataset, training.batch_size, seed, profile.device)
        values = train(gan, batches, training, profile, seed, run.name, measured)
        values |= {"final": measured(gan, whole=True), "planned": training.planned}
        tiles = (_samples(gan, N_TILES) + 1) * 127.5
        tensors = {"tiles": tiles.round().clamp(0, 255).to(torch.uint8)}
        if run == ImageRun(recipe.dataset, "normal", "batch", run.method, 0, run.width):
            tensors |= {k: v.contiguous() for k, v in gan.generator.state_dict().items()}
        return values, tensors

    return results.get(run.name, compute, context(profile, dataset), seed=seed)


def _samples(gan: GAN, n: int) -> Tensor:
    """The first n images, from the same noise for all."""
    device = str(next(gan.parameters()).device)
    return generate(gan.generator, noise(n, gan, 987_654, 0, device))


@torch.no_grad()
def measure(
    gan: GAN, model: Classifier, real: Tensor, points: Tensor, n: int, layers: tuple, whole=False
) -> dict[str, Any]:
    """Scores of n images by `model`, against real features, and how alike codes of points are."""
    judge, samples = gan.discriminator, _samples(gan, n)
    values: dict[str, Any] = scores(real, *model.read(samples), whole)
    fake = samples[: len(points)].to(points.device)
    points = points[: len(fake)]
    between = paper.interpolate(points, fake, torch.Generator(points.device).manual_seed(0))
    was_training = judge.training
    judge.eval()
    for name, x in {"real": points, "fake": fake, "between": between}.items():
        hard = paper.bre_penalty(judge, x, layers, 1e-9, 0.0)
        values[f"pair_{name}"] = float(hard.activation_correlation)
    values["gradient_spread"] = float(paper.gradient_spread(judge, fake))
    judge.train(was_training)
    return values


def _batches(dataset: str, size: int, seed: int, device: str) -> Callable[[int], Tensor]:
    x = pictures(dataset, "train").x
    picks = minibatches(len(x), size, seed)
    return lambda i: x[picks(i)].to(device, memory_format=torch.channels_last)


def semi_supervised(profile: Profile, recipe: Recipe, method: str, seed: int) -> Result:
    """A discriminator that also classifies, with few labels: its test error over training."""
    dataset, training = recipe.dataset, recipe.labelled
    name = f"{dataset}-semi-{method}-seed{seed}"
    training = training._replace(weight={"none": 0.0, "bre": 0.01}[method])

    def compute() -> tuple[dict, dict]:
        data, test = pictures(dataset, "train"), pictures(dataset, "test")
        gan = networks(profile, recipe.images[dataset], dataset, seed, norm="none", outputs=10)
        order = torch.randperm(len(data.y), generator=torch.Generator().manual_seed(seed))
        per_class = [order[data.y[order] == c][: recipe.n_labelled // 10] for c in range(10)]
        x, y = (part[torch.cat(per_class)].to(profile.device) for part in data)
        picks = minibatches(len(x), min(training.batch_size, len(x)), seed)

        @torch.no_grad()
        def error(gan: GAN) -> dict[str, Any]:
            parts = [part.to(profile.device) for part in test.x.split(1000)]
            guesses = torch.cat([gan.discriminator(part).argmax(1).cpu() for part in parts])
            return {"error": float((guesses != test.y).double().mean()), "n": len(test.y)}

        batches = _batches(dataset, training.batch_size, seed, profile.device)
        return train(
            *(gan, batches, training, profile, seed, name, error),
            labelled=lambda i: (x[picks(i)], y[picks(i)]),
        ), {}

    return results.get(name, compute, context(profile, dataset), seed=seed)


class ToyRun(NamedTuple):
    """One toy GAN among those of a profile."""

    target: str
    method: str  # a key of TOYS
    seed: int

    @property
    def name(self) -> str:
        """The result's name."""
        return f"toy-{self.target}-{self.method}-seed{self.seed}"


def toy_runs(recipe: ToyRecipe, first_seed: int) -> list[ToyRun]:
    """All toy GANs of a profile, pairs together."""
    sizes = {target: n for target, (n, _) in recipe.targets.items()}
    pairs = [(target, m, seed) for target, n in sizes.items() for seed in range(n) for m in METHODS]
    pairs += [("eight", "bre-tight", seed) for seed in range(recipe.n_tight)]
    return [ToyRun(target, method, first_seed + seed) for target, method, seed in pairs]


def toy(profile: Profile, recipe: ToyRecipe, run: ToyRun) -> Result:
    """One toy GAN: its measurements over training, and its networks at the end."""
    weight, margin = TOYS[run.method]
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
            lambda gan: measure_toy(gan, mixture, recipe.grid),
        )
        return values | {"planned": training.planned}, dict(gan.state_dict())

    no_data = context(profile)._replace(datasets=())
    return results.get(run.name, compute, no_data, seed=run.seed)


def toy_gan(result: Result | None = None) -> GAN:
    """The paper's toy networks, freshly initialised or with published weights."""
    gan = GAN(paper.toy_generator(), paper.toy_discriminator(), 2)
    if result is not None:
        gan.load_state_dict(result.tensors)
        gan.requires_grad_(False)
    return gan


@torch.no_grad()
def measure_toy(gan: GAN, mixture: Mixture2D, grid: int) -> dict[str, Any]:
    """How a toy GAN covers its target, and how its discriminator cuts the plane."""
    fakes, plane = toy_samples(gan), plane_points(grid)
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
def toy_samples(gan: GAN, seed: int = 987_654, i: int = 0) -> Tensor:
    """Generated points (N_SAMPLES, 2), by default from the noise on which all toys are measured."""
    return gan.generator(noise(N_SAMPLES, gan, seed, i, "cpu"))


def verify(profile: Profile, recipes: Recipes = RECIPES) -> list[dict[str, Any]]:
    """Measure published generators with other noise; and linear pieces, which have none."""
    recipe, checks = recipes[profile.name], []
    dataset, mixture = recipe.dataset, gaussian_mixture_2d("eight", 1)
    own, model = recipe.images[dataset], classifier(profile, recipe, dataset)
    real, _ = model.read(pictures(dataset, "test").x)
    for method in METHODS:
        published = toy(profile, recipe.toys, ToyRun("eight", method, 0))
        gan, last = toy_gan(published), published.values["measured"][-1]
        points = [toy_samples(gan, seed, 1) for seed in range(8)]
        covered = [paper.mode_coverage(x, mixture.centres, mixture.sigma) for x in points]
        shares = [coverage.high_quality for coverage in covered]
        checks.append(check(f"toy {method}, high quality", last["high_quality"], shares))
        pieces = measure_toy(gan, mixture, recipe.toys.grid)["pieces_h2"]
        checks.append(check(f"toy {method}, pieces in h2", last["pieces_h2"], [pieces]))
        published = dcgan(profile, recipe, ImageRun(dataset, "normal", "batch", method, 0))
        network = networks(profile, own, dataset, 0).generator.requires_grad_(False)
        network.load_state_dict({k: v for k, v in published.tensors.items() if k != "tiles"})
        distances = []
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            z = torch.randn(own.n_samples, own.noise_dim, generator=generator)
            reading = model.read(generate(network, z.to(profile.device)))
            distances.append(scores(real, *reading, whole=False)["frechet"])
        name, final = f"{dataset} {method}, Frechet distance", published.values["final"]
        checks.append(check(name, final["frechet"], distances))
    return checks
