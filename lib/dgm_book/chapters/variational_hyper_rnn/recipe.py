"""Chapter 6's recipe: which models learn from which sequences, how, and with how many seeds."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Model(NamedTuple):
    """What is trained: widths as the paper's tables give them."""

    kind: str  # "vrnn", "vhrnn" or "hyperlstm"
    z: int
    h: int
    hyper: int = 0  # hidden units of omega; of a HyperLSTM, its components
    hyper_input: str = "both"
    linear: bool = False  # the emission's centre gets a matrix times the last frame


class Training(NamedTuple):
    """How the models of one set of sequences learn, and how they are measured."""

    layers: int
    n_steps: int  # of the switching system
    window: int | None  # training sequences are cut to this many steps
    batch: int
    epochs: int
    learning_rate: float
    measure_every: int  # epochs
    last_rate: float = 0.1  # the rate's share that is left at the last step
    n_particles: int = 4
    n_many_particles: int = 128  # of the second evaluation
    clip: float = 1.0
    sigma_min: float = 1e-3
    compiled: bool = True
    emission: str = "gaussian"


class Recipe(NamedTuple):
    """All of the chapter at one profile."""

    training: Mapping[str, Training]  # by set of sequences
    seeds: Mapping[tuple[str, str], int | None]  # of a set and a model; None: all of the profile's
    sequences: tuple[int, int, int] = (800, 100, 100)  # of the switching system, by split
    around: tuple[int, int] = (-10, 20)  # steps about a switch
    draws: int = 8  # of z, in measures about a switch


SWITCHING = {
    "VRNN 8": Model("vrnn", 8, 8),
    "VRNN 6": Model("vrnn", 6, 6),
    "VRNN 6 matched": Model("vrnn", 6, 8),
    "VRNN 6 linear": Model("vrnn", 6, 8, linear=True),
    "VHRNN 4": Model("vhrnn", 4, 4, 12),
    "VHRNN 4 latent": Model("vhrnn", 4, 4, 12, "latent"),
    "VHRNN 4 hidden": Model("vhrnn", 4, 4, 12, "hidden"),
    "HyperLSTM": Model("hyperlstm", 8, 5, 4),
}
JSB = {
    "VRNN 24": Model("vrnn", 24, 24),
    "VRNN 28": Model("vrnn", 28, 28),
    "VRNN 32": Model("vrnn", 32, 32),
    "VRNN 27 matched": Model("vrnn", 27, 27),
    "VRNN 31 matched": Model("vrnn", 31, 31),
    "VRNN 35 matched": Model("vrnn", 35, 35),
    "VHRNN 24": Model("vhrnn", 24, 12, 16),
    "VHRNN 28": Model("vhrnn", 28, 14, 18),
    "VHRNN 32": Model("vhrnn", 32, 16, 20),
    "VHRNN 14": Model("vhrnn", 14, 14, 64),
    "VHRNN 14 latent": Model("vhrnn", 14, 14, 64, "latent"),
    "VHRNN 14 hidden": Model("vhrnn", 14, 14, 64, "hidden"),
    "VHRNN 32 wide": Model("vhrnn", 32, 32, 64),
    "VHRNN 32 wide latent": Model("vhrnn", 32, 32, 64, "latent"),
    "VHRNN 32 wide hidden": Model("vhrnn", 32, 32, 64, "hidden"),
}
ROLLS = {"VRNN 31 matched": JSB["VRNN 31 matched"], "VHRNN 28": JSB["VHRNN 28"]}
LONG_ROLLS = {**ROLLS, "VRNN 28": JSB["VRNN 28"]}  # 200 epochs each
SERIES = {
    "VHRNN 16": Model("vhrnn", 16, 16, 64),
    "VRNN 28": Model("vrnn", 28, 28),
    "VRNN 28 linear": Model("vrnn", 28, 28, linear=True),
}
MODELS = {
    "switching": SWITCHING,
    "switching-long": SWITCHING,
    "switching-longest": SWITCHING,
    "jsb": JSB,
    "jsb-long": LONG_ROLLS,
    "piano-midi": ROLLS,
    "tunes": ROLLS,
    "stocks": SERIES,
    "exchange-rates": SERIES,
    "gas-sensors": SERIES,
}
FILES = {  # a set's name in the registry
    "jsb": "poly_music",
    "jsb-long": "poly_music",
    "piano-midi": "poly_music",
    "stocks": "djia30",
    "exchange-rates": "exchange_rate",
    "gas-sensors": "ht-sensor",
}

NAMES = {
    "switching": "switching system",
    "switching-long": "switching system, three times the epochs",
    "switching-longest": "switching system, 750 epochs",
    "jsb": "JSB Chorales",
    "jsb-long": "JSB Chorales, eight times the epochs",
    "tunes": "tunes made by rule",
    "piano-midi": "Piano-midi",
    "stocks": "stocks",
    "exchange-rates": "exchange rates",
    "gas-sensors": "gas sensors",
}
KINDS = ("VHRNN", "VRNN")
MAIN = ("VHRNN 4", "VRNN 8", "VRNN 6", "VRNN 6 matched")
SYSTEMS = ("switching", "switching-long", "switching-longest")
LONG = ("VHRNN 4", "VRNN 8", "VRNN 6 matched", "HyperLSTM")  # trained for thrice the epochs
LONGEST = ("VHRNN 4", "VRNN 6 matched", "VRNN 6 linear")  # trained for 750 epochs
LINEAR = "VRNN 28 linear"
SINGLE = ("VHRNN 4 latent", "VHRNN 4 hidden")  # with one seed
MATCHED = {24: 27, 28: 31, 32: 35}  # z of table 2's VHRNN, and of a VRNN with its live weights
TABLE_TWO = (
    *(f"{kind} {size}" for kind in ("VHRNN", "VRNN") for size in MATCHED),
    *(f"VRNN {width} matched" for width in MATCHED.values()),
)
PAIR = {  # by what a set's two models are compared: VHRNN and VRNN
    **dict.fromkeys(SYSTEMS, ("VHRNN 4", "VRNN 6 matched")),
    **dict.fromkeys(("jsb", "jsb-long", "tunes", "piano-midi"), ("VHRNN 28", "VRNN 31 matched")),
    **dict.fromkeys(("stocks", "exchange-rates", "gas-sensors"), ("VHRNN 16", "VRNN 28")),
}
OTHERS = ("piano-midi", "stocks", "exchange-rates", "gas-sensors")
ABLATIONS = {  # set and z; by what the hyper networks read: latent, hidden, both
    ("switching-long", "4"): ("VHRNN 4 latent", "VHRNN 4 hidden", "VHRNN 4"),
    ("jsb", "14"): ("VHRNN 14 latent", "VHRNN 14 hidden", "VHRNN 14"),
    ("jsb", "32"): ("VHRNN 32 wide latent", "VHRNN 32 wide hidden", "VHRNN 32 wide"),
}

_HEAVY: dict[str, Any] = {"emission": "student_t", "compiled": False}
_SMALL = {
    "switching": Training(2, 50, None, 16, 25, 5e-3, 5),
    "switching-long": Training(2, 50, None, 16, 75, 5e-3, 5),
    "switching-longest": Training(2, 50, None, 16, 750, 5e-3, 25),
    "jsb": Training(1, 0, None, 4, 25, 5e-3, 5, emission="bernoulli"),
    "jsb-long": Training(1, 0, None, 4, 200, 5e-3, 10, emission="bernoulli"),
    "tunes": Training(1, 0, None, 8, 25, 5e-3, 5, emission="bernoulli"),
    "piano-midi": Training(1, 0, 100, 16, 25, 3e-3, 5, emission="bernoulli"),
    "stocks": Training(1, 0, 31, 16, 15, 1e-2, 5, **_HEAVY),
    "exchange-rates": Training(1, 0, 25, 16, 10, 1e-2, 5, **_HEAVY),
    "gas-sensors": Training(1, 0, 25, 16, 15, 1e-2, 5, **_HEAVY),
}
_SMOKE = {
    name: training._replace(
        n_steps=30, epochs=2, measure_every=1, n_many_particles=16, compiled=False
    )
    for name, training in _SMALL.items()
}
_PAPER = {
    name: training._replace(
        batch=4,
        epochs=40 * training.epochs,
        measure_every=10 * training.measure_every,
        learning_rate=2e-4,
        last_rate=1.0,
    )
    for name, training in _SMALL.items()
}
_SMOKE_SEEDS = {(name, model): 1 for name in ("switching", "tunes") for model in PAIR[name]}
_SEEDS: dict[tuple[str, str], int | None] = {
    **{("switching", model): None for model in MAIN},
    **{("switching-long", model): None for model in LONG},
    **{("switching-long", model): 1 for model in SINGLE},
    **{("switching-longest", model): None for model in LONGEST},
    **{("jsb", model): 1 for model in TABLE_TWO},
    **{(name, m): 1 for (name, _), models in ABLATIONS.items() if name == "jsb" for m in models},
    **{("jsb-long", model): 5 for model in LONG_ROLLS},
    **{("piano-midi", model): 1 for model in ROLLS},
    **{("stocks", model): 5 for model in SERIES},
    **{("exchange-rates", model): 20 for model in SERIES},  # 15 once five had decided nothing
}
_ALL_SEEDS = {k: n for k, n in _SEEDS.items() if k[0] not in (SYSTEMS[-1], "jsb-long")} | {
    ("switching-long", "VRNN 6 linear"): None,
    **{(name, model): 5 for name in OTHERS[1:] for model in SERIES},
}
RECIPES = {
    "smoke": Recipe(_SMOKE, _SMOKE_SEEDS),
    "small": Recipe(_SMALL, _SEEDS),
    "paper": Recipe(_PAPER, _ALL_SEEDS),
}
