"""Chapter 3's recipes: networks, data, seeds and sizes at each profile.

At `paper` the images have the paper's own setting, its DCGAN at width factor 4 on CIFAR-10. Of the
toys it names neither steps, batch nor noise.
"""

from typing import Any, NamedTuple


class Training(NamedTuple):
    """How one GAN is trained."""

    steps: int  # of the generator
    batch_size: int
    learning_rate: float  # falls linearly to 1e-6
    n_measurements: int = 10
    layers: tuple[int, ...] = (1,)  # regularised rectifiers
    discriminator_steps: int = 1
    weight: float = 0.0  # w
    weight_falls: bool = False  # linearly to 0
    margin: float = 3.0
    penalty: str | None = None
    bf16: bool = False

    @property
    def planned(self) -> dict[str, int]:
        """After how many steps it is measured, and how often."""
        return {"every": self.steps // self.n_measurements, "n": self.n_measurements}


class ImageRecipe(NamedTuple):
    """The networks and their training on one set of images."""

    noise_dim: int
    generator: dict[str, Any]  # options of `dcgan_generator`
    discriminator: dict[str, Any]  # and of `dcgan_discriminator`
    regimes: dict[str, Training]
    n_samples: int  # per measurement
    classifier_steps: int


class ToyRecipe(NamedTuple):
    """What runs in the plane."""

    targets: dict[str, tuple[int, Training]]  # name -> pairs of seeds
    n_tight: int  # seeds of the first target with the tighter margin as well
    grid: int


class Recipe(NamedTuple):
    """What runs at one profile; all but one pair on the first data set."""

    images: dict[str, ImageRecipe]
    n_pairs: int  # seeds with both regimes
    labelled: Training  # with few labels
    n_labelled: int
    toys: ToyRecipe
    widths: tuple[int, ...] = ()  # factors of the discriminator's width, beyond 1

    @property
    def dataset(self) -> str:
        """The first data set."""
        return next(iter(self.images))


def regimes(normal: Training, steps: int, learning_rate: float) -> dict[str, Training]:
    """The normal regime, and the aggressive one with its own steps and rate."""
    aggressive = {"steps": steps, "learning_rate": learning_rate, "discriminator_steps": 3}
    return {"normal": normal, "aggressive": normal._replace(**aggressive)}


SMOKE = Training(40, 32, 1e-3, 4)
DIGITS = ImageRecipe(
    16,
    {"channels": (16,), "kernel": 4, "last_stride": 2},
    {"channels": (8, 16, 16), "kernel": 3, "first_stride": 1},
    regimes(SMOKE, 20, 4e-3),
    *(200, 100),
)
SMALL = Training(2500, 64, 2e-4, layers=(1, 2), bf16=True)
SMALL_TOY = Training(6000, 256, 2e-3, weight_falls=True)
MNIST = ImageRecipe(
    64,
    {"channels": (64, 32), "kernel": 4, "last_stride": 2},
    {"channels": (16, 32, 64, 128), "kernel": 5, "first_stride": 2},
    regimes(SMALL, 800, 2e-3),
    *(5000, 1500),
)
SMALL_CIFAR = MNIST._replace(
    generator=MNIST.generator | {"channels": (128, 64, 32)},
    regimes={"normal": SMALL._replace(steps=600, n_measurements=5)},
)
PAPER = SMALL._replace(steps=90_000, n_measurements=45)
PAPER_TOY = SMALL_TOY._replace(steps=20_000, n_measurements=40)
CIFAR = ImageRecipe(
    100,
    {"channels": (512, 256, 128, 64), "kernel": 5, "last_stride": 1},
    {"channels": (64, 128, 256, 512), "kernel": 5, "first_stride": 1},
    regimes(PAPER, 10_000, 2e-3),
    *(10_000, 20_000),
)
OTHERS = ("ring", "grid", "spiral")

RECIPES = {
    "smoke": Recipe(
        *({"digits": DIGITS}, 1, SMOKE._replace(learning_rate=3 * 1e-3), 50),
        ToyRecipe({"eight": (2, Training(300, 64, 2e-3, 4, weight_falls=True))}, 0, 60),
    ),
    "small": Recipe(
        {"mnist": MNIST, "cifar10": SMALL_CIFAR},
        *(3, SMALL._replace(steps=600, learning_rate=3 * 2e-4), 100),
        ToyRecipe(
            {"eight": (10, SMALL_TOY)} | dict.fromkeys(OTHERS, (3, SMALL_TOY._replace(steps=3000))),
            *(3, 150),
        ),
    ),
    "paper": Recipe(
        *({"cifar10": CIFAR}, 3, PAPER._replace(steps=20_000, learning_rate=3 * 2e-4), 4000),
        ToyRecipe({"eight": (30, PAPER_TOY)} | dict.fromkeys(OTHERS, (10, PAPER_TOY)), 10, 400),
        widths=(2, 4),
    ),
}
