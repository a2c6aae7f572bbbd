"""Chapter 1 as data: which models there are, and the sizes of every experiment at each profile."""

from typing import Any, NamedTuple

from torch import Tensor

from dgm.sampling.schedules import log_spaced, sigmoid


class Model(NamedTuple):
    """What a name stands for."""

    family: str  # "VAE", "GAN", "AAE"
    latent_dim: int
    shallow: bool = False
    damage: str = ""  # "few", "dropped" or "short"
    colour: str = ""  # a DCGAN's recipe: "gp", or "vanilla"
    narrow: bool = False  # for the page's drawing
    halved: bool = False  # of digits of half the height and width


MODELS = {
    **{f"vae{d}": Model("VAE", d) for d in (2, 10, 100)},
    **{f"gan{d}": Model("GAN", d) for d in (2, 5, 10, 100)},
    **{f"gan{d}-shallow": Model("GAN", d, shallow=True) for d in (2, 5, 10, 100)},
    **{f"aae{d}": Model("AAE", d) for d in (2, 10, 100)},
    **{f"vae10-{d}": Model("VAE", 10, damage=d) for d in ("few", "dropped", "short")},
    **{f"dcgan10-{x}": Model("GAN", 10, colour=x) for x in ("gp", "vanilla")},
    "vae5-narrow": Model("VAE", 5, narrow=True),
    "flow": Model("flow", 196, halved=True),
}
COLOUR = ("dcgan10-gp", "dcgan10-vanilla")  # on CIFAR-10
SEVERAL = ("vae2", "vae10", "gan10", "gan10-shallow", "aae10", *COLOUR)  # have all seeds
SINGLE = ("vae100", "gan2")  # have one seed
DRAWING = "vae5-narrow"
DECODERS = ("vae2", "vae10", "vae100", "gan2", "gan10", "aae10", DRAWING)  # published, of seed 0
CODES = ("vae2", "vae10", "gan10")  # samples of their codes are published
FINE = ("vae2", "vae10", "aae10")  # have twice the temperatures
QUADRATURE = ("vae2", "gan2")
GAPS = ("vae2", "vae10", "vae100", "gan10", "aae10")
ENCODED = ("vae10", "gan10")  # have an encoder for each beta
DEEP = ("vae10", "gan10")  # measured under the deep distortion
PERCEIVED = ("vae2", "vae10", "gan10", "aae10")  # compared with real images, of seed 0
N_MEANS, N_TILES, N_CODES = 1500, 24, 8  # published posterior means, samples, images with codes
N_LIMITED, DROPPED = 500, (4, 9)  # training images of a damaged model, classes hidden from another
ALPHAS, WIDE = (0.5, 0.9, 0.99), 10.0  # weights of the bad prior, its standard deviation
BLURS = (0.0, 0.5, 1.0, 2.0)  # standard deviations in pixels
PILOT_SEED, ANNEALING_SEEDS = 6, range(11, 17)
AAE_WEIGHT = 10.0  # of fooling the critic against the squared error of an image, which is about 10
PAPER_BETA = 36_000.0
SCHEDULES = ("sigmoid", "default", "adaptive")
PAPER_LEAPFROG = 20  # steps of the paper's own trajectories
REFERRED = ("vae10", COLOUR[0])  # whose data linear codes and codecs are tried on
N_COMPONENTS = (2, 10, 100)  # of the linear codes
PRIOR_BETA = 10.0  # price of the encodings that a flow learns
SENT = {"vae2": (0.25, 0.7), "vae10": (0.25,)}  # prices at which digits become files
SAMPLERS = {"steady": {"jitter": 0.0}, "diagonal": {"mass": "diagonal"}, "long": {}}


class Digits(NamedTuple):
    """How the digit models are trained; `damaged` are the steps of those that see too little."""

    dataset: str
    hidden: tuple[int, ...]
    batch_size: int
    learning_rate: float
    steps: int
    gan_steps: int
    damaged_steps: int
    short_steps: int


class Annealing(NamedTuple):
    """How curves are drawn."""

    betas: Tensor  # recorded
    temperatures_per_beta: int
    n_images: int
    n_chains: int
    n_leapfrog: int


class Comparison(NamedTuple):
    """How schedules of equal cost are compared."""

    n_images: int
    n_chains: int
    budgets: tuple[int, ...]  # temperatures
    seeds: range
    fresh: range  # other seeds, on which the sampler that helped is judged


class Colour(NamedTuple):
    """How the DCGANs are trained and their curves drawn."""

    dataset: str
    channels: tuple[int, ...]
    discriminator: tuple[int, ...]
    steps: int
    annealing: Annealing


class Perception(NamedTuple):
    """How far samples and reconstructions are from real images, in a classifier's features."""

    annealing: Annealing
    n_real: int  # test images after the coded ones, and samples of each prior
    feature_steps: int
    draws: int = 8


class Flow(NamedTuple):
    """How the few-step flow is trained, on digits of half the size, and its curve drawn."""

    hidden: tuple[int, ...]
    n_steps: int  # of Euler, from noise to image
    training_steps: int
    annealing: Annealing
    gap_betas: tuple[float, ...]
    gap_images: int


class Encoder(NamedTuple):
    """How encoders are trained, one beta after the other."""

    betas: Tensor
    steps: int
    n_samples: int


class Grid(NamedTuple):
    """How the best prior is computed: codes per axis, images it is fitted to, others to stop by."""

    n_points: int
    fitted: int
    others: int


class Sending(NamedTuple):
    """How digits are sent as files."""

    n_images: int
    n_candidates: int
    n_seeds: int


class Recipe(NamedTuple):
    """The sizes of one profile."""

    digits: Digits
    annealing: Annealing
    coarse: Annealing  # of the further experiments
    deep: Annealing  # under the deep distortion
    comparison: Comparison
    encoder: Encoder
    colour: Colour
    perception: Perception
    flow: Flow
    gap_betas: tuple[float, ...]
    gap_images: int
    quadrature_points: int
    feature_steps: int = 1000
    flow_steps: int = 3000
    covariance_images: int = 6000
    grid: Grid = Grid(161, 1500, 500)
    sending: Sending = Sending(100, 2**16, 6)
    low_precision_forces: bool = True
    several: tuple[str, ...] = SEVERAL
    single: tuple[str, ...] = SINGLE


def _annealings(main: Annealing, n_betas: int, *sizes: int) -> dict[str, Any]:
    """The main curves' sizes, then those of the others, each with temperatures and images."""
    betas = log_spaced(n_betas, float(main.betas[0]), float(main.betas[-1]))[1:]
    coarse = Annealing._make([betas, *sizes[:2], *main[3:]])
    return {"annealing": main, "coarse": coarse, "deep": coarse._make([betas, *sizes[2:], main[4]])}


_SMOKE = Annealing(log_spaced(17, 0.02, 200.0)[1:], 8, 12, 8, 6)
_SMALL = Annealing(log_spaced(49, 0.01, 3000.0)[1:], 41, 50, 16, 10)
# Section 3 of the paper's appendix, and its released code.
_PAPER = Annealing(sigmoid(60_000, PAPER_BETA)[30::30], 30, 50, 40, 20)
_COLOUR = {
    "smoke": Annealing(log_spaced(4, 0.01, 1.0)[1:], 3, 3, 2, 6),
    "small": Annealing(log_spaced(17, 1e-3, 30.0)[1:], 16, 16, 8, 10),
    "paper": Annealing(sigmoid(60_000, 3333.0)[30::30], 30, 50, 40, 20),
}
RECIPES = {
    "smoke": Recipe(
        Digits("digits", (64,), 64, 2e-3, 700, 300, damaged_steps=400, short_steps=60),
        **_annealings(_SMOKE, 6, 6, 6, 4, 3, 4),
        comparison=Comparison(4, 8, (50,), range(1), range(1, 2)),
        encoder=Encoder(log_spaced(7, 0.1, 30.0)[1:], 60, 16),
        colour=Colour("colour", (16, 8), (8, 8, 8, 8), 3, _COLOUR["smoke"]),
        perception=Perception(Annealing(log_spaced(5, 0.02, 20.0)[1:], 4, 8, 4, 4), 100, 60, 4),
        flow=Flow((32,), 3, 60, Annealing(log_spaced(4, 0.1, 10.0)[1:], 4, 4, 4, 4), (1.0,), 4),
        gap_betas=(0.35, 1.1, 200.0),
        gap_images=8,
        quadrature_points=201,
        feature_steps=100,
        flow_steps=60,
        covariance_images=300,
        grid=Grid(41, 60, 30),
        sending=Sending(12, 2**12, 3),
        low_precision_forces=False,
    ),
    "small": Recipe(
        Digits("mnist", (256, 256), 100, 1e-3, 10_000, 10_000, damaged_steps=3000, short_steps=300),
        **_annealings(_SMALL, 25, 20, 25, 10, 8, 8),
        comparison=Comparison(16, 16, (500, 1000), range(6), range(6, 10)),
        encoder=Encoder(log_spaced(7, 0.1, 100.0)[1:], 1000, 100),
        colour=Colour("cifar10", (128, 64, 32), (16, 32, 64, 128), 2500, _COLOUR["small"]),
        perception=Perception(
            Annealing(log_spaced(13, 0.01, 30.0)[1:], 10, 40, 8, 8), 5000, feature_steps=400
        ),
        flow=Flow(
            (256, 256),
            n_steps=4,
            training_steps=10_000,
            annealing=Annealing(log_spaced(12, 0.1, 100.0)[1:], 30, 8, 4, 8),
            gap_betas=(1.0, 10.0, 100.0),
            gap_images=8,
        ),
        gap_betas=(0.38, 1.0, 3000.0),
        gap_images=16,
        quadrature_points=601,
    ),
    "paper": Recipe(
        Digits("mnist", 3 * (1024,), 100, 1e-4, 500_000, 200_000, 100_000, short_steps=2000),
        **_annealings(_PAPER, 200, 60, 50, 60, 50, 40),
        comparison=Comparison(50, 40, (3000, 6000), range(6), range(6, 12)),
        encoder=Encoder(log_spaced(7, 0.1, 100.0)[1:], 25_000, 100),
        colour=Colour(
            "cifar10", (1024, 512, 256, 128), (64, 128, 256, 512), 40_000, _COLOUR["paper"]
        ),
        perception=Perception(
            Annealing(log_spaced(25, 0.01, 100.0)[1:], 40, 200, 16, 20), 5000, feature_steps=4000
        ),
        flow=Flow(
            (1024, 1024, 1024),
            n_steps=8,
            training_steps=200_000,
            annealing=Annealing(log_spaced(24, 0.1, 1000.0)[1:], 100, 50, 40, 20),
            gap_betas=(1.0, 10.0, 100.0, 1000.0),
            gap_images=50,
        ),
        gap_betas=(0.3819, 1.0334, 35_999.85),
        gap_images=50,
        quadrature_points=1201,
        several=tuple(name for name, m in MODELS.items() if not (m.damage or m.narrow or m.halved)),
        single=(),
    ),
}


def label(name: str) -> str:
    """A model in words."""
    model = MODELS[name]
    damage = {"few": "of few images", "dropped": "without 4 and 9", "short": "stopped early"}
    colour = f"(CIFAR-10, {model.colour})" * bool(model.colour)
    parts = (colour, "shallow" * model.shallow, damage.get(model.damage, ""))
    return " ".join(filter(None, (model.family, str(model.latent_dim), *parts)))


def main_annealing(name: str, recipe: Recipe) -> Annealing:
    """How a model's own curve is drawn."""
    if MODELS[name].colour:
        return recipe.colour.annealing
    whole = recipe.annealing.temperatures_per_beta
    temperatures = whole if name in FINE else max(1, whole // 2)
    return recipe.annealing._replace(temperatures_per_beta=temperatures)


def gap_betas(name: str, recipe: Recipe) -> tuple[float, ...]:
    """Where a model's two bounds are measured; with 100 dimensions at the largest beta alone."""
    return recipe.gap_betas[-1:] if name == "vae100" else recipe.gap_betas
