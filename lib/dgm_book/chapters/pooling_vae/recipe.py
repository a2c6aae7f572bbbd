"""Chapter 5: its data sets, their sizes, variants of the model, and the runs of each profile."""

from typing import NamedTuple


class Settings(NamedTuple):
    """The sizes of one data set, by default at `small`, and how its models begin and learn."""

    n_training: int = 20_000
    n_validation: int = 1000
    n_test: int = 2000
    words: tuple[int, int] = (5, 15)  # sentences have from one to the other
    vocabulary: int = 4000
    embedding: int = 64
    hidden: int = 128
    latent_dim: int = 16
    weights: float = 0.1  # parameters begin uniformly between minus and plus this
    embeddings: float = 1.0  # and embeddings between these
    word_dropout: float = 0.5
    dropout: float = 0.0
    steps: int = 4000
    measure_every: int | None = None  # steps; None is an epoch
    rise: float = 0.33  # share of the steps in which an annealed weight rises
    ahead: int = 630  # an encoder may run ahead in the epochs that begin before this step
    most_ahead: int = 30  # steps of the encoder before each of the decoder
    batch_size: int = 32
    learning_rate: float = 1.0  # of SGD
    adam_rate: float = 1e-3
    free_bits: float = 4.0  # nats per sentence
    bf16: bool = True
    n_likelihood: int = 200  # test sentences whose likelihood is estimated
    n_samples: int = 500  # with as many codes each


class Variant(NamedTuple):
    """How one kind of model differs from the plain one, whose settings these defaults are."""

    pooling: str = "last"
    temperature: float | None = None
    schedule: str = "constant"
    beta: float = 1.0
    free_bits: bool = False
    per_dimension: bool = False
    aggressive: bool = False
    scale: float | None = None  # of the features
    layer_norm: bool = False
    forget_bias: float | None = None
    adam: bool = False
    word_dropout: bool = True
    embeddings: float | None = None  # None is that of the settings
    front: bool = False  # whether the shared ending stands in front


class Recipe(NamedTuple):
    """What a profile trains and measures."""

    main: str  # the data set of the main table
    settings: dict[str, Settings]
    runs: list[tuple[str, str, int]]  # data set, variant and seed, the main ones first
    n_timed: int  # batches
    n_frames: int = 400  # sentences whose features are kept through training
    n_watched: int = 100  # sentences whose likelihood is estimated through training
    k_watched: int = 32  # with as many codes each
    n_dispersion: int = 1000
    n_influence: int = 300


FILES = {"endings": (), "yelp": ("yelp-shen", "yelp-li"), "ptb": ("ptb",)}

FIXES = {
    "plain": Variant(),
    "annealing": Variant(schedule="linear"),
    "cyclical": Variant(schedule="cyclical"),
    **{f"beta {beta}": Variant(beta=beta) for beta in (0.2, 0.4, 0.6, 0.8)},
    "free bits": Variant(free_bits=True),
    "free bits each": Variant(free_bits=True, per_dimension=True),
    "aggressive": Variant(aggressive=True),
    "mean": Variant("mean"),
    "max": Variant("max"),
    "absmax": Variant("absmax"),
    "logsumexp": Variant("logsumexp", 0.1),
    "mean annealing": Variant("mean", schedule="linear"),
    "max annealing": Variant("max", schedule="linear"),
}
CONTROLS = {
    "scaled last": Variant(scale=4.0),
    "layer norm": Variant(layer_norm=True),
    "forget bias": Variant(forget_bias=1.0),
    "front": Variant(front=True),
}
# Where the gain comes from: each pooling without what the recipe adds to the base system.
CHANGES = {
    "adam": Variant(adam=True),
    "all words": Variant(word_dropout=False),
    "narrow": Variant(embeddings=0.1),
    "narrow, all words": Variant(embeddings=0.1, word_dropout=False),
    "adam, narrow, all words": Variant(embeddings=0.1, word_dropout=False, adam=True),
}
CROSSED = {
    f"{pooling} {name}": change._replace(pooling=pooling)
    for pooling in ("last", "mean", "max")
    for name, change in CHANGES.items()
}
VARIANTS = {**FIXES, **CONTROLS, **CROSSED}
ENCODERS = {"last": "plain", "mean": "mean", "max": "max"}  # those that travel with the page
TIMED = ("plain", "mean", "max", "absmax", "logsumexp")  # whose steps are timed
MAIN = ("plain", "annealing", "free bits", "aggressive", "mean", "max", "max annealing",
        "scaled last")  # fmt: skip
ENDINGS = ("plain", "annealing", "mean", "max", "scaled last")  # what smoke has time for

_SMALL = Settings()
_ENDINGS = Settings(
    n_training=8000, words=(1, 99), vocabulary=200, embedding=32, hidden=64, latent_dim=8,
    word_dropout=0.7, steps=700, measure_every=70, rise=0.5, ahead=250, adam_rate=3e-3, bf16=False,
)  # fmt: skip
# The base system's sizes for short sentences.
_PAPER = Settings(
    n_training=100_000, n_validation=2000, n_test=10_000, vocabulary=10_000, embedding=128,
    hidden=512, latent_dim=32, weights=0.01, embeddings=0.1, word_dropout=0.0, dropout=0.5,
    steps=100_000, ahead=100_000, most_ahead=99, free_bits=8.0, n_likelihood=1000,
)  # fmt: skip
_REVIEWS = dict.fromkeys(FILES, _SMALL) | {"yelp": _SMALL._replace(words=(5, 10), steps=6000)}
_RUNS = [
    *(("yelp", name, seed) for name in (*MAIN, "mean annealing") for seed in range(3)),
    *(
        ("yelp", f"{pooling} {change}", seed)
        for change in ("all words", "adam")
        for pooling in ENCODERS
        for seed in range(3)
    ),
    *(("ptb", name, seed) for name in MAIN for seed in range(1 if name == "aggressive" else 3)),
    *(("endings", name, seed) for name in ENDINGS for seed in range(5)),
    *(("endings", name, n) for name in VARIANTS if name not in ENDINGS for n in range(3)),
]
_SMOKE = _ENDINGS._replace(n_test=1000, measure_every=140, n_samples=50)
RECIPES = {
    "smoke": Recipe(
        "endings", _REVIEWS | {"endings": _SMOKE}, [("endings", name, 0) for name in ENDINGS], 10
    ),
    "small": Recipe("yelp", _REVIEWS | {"endings": _ENDINGS}, _RUNS, 200),
    "paper": Recipe(
        "yelp",
        dict.fromkeys(FILES, _PAPER)
        | {"yelp": _PAPER._replace(words=(5, 10)), "endings": _ENDINGS},
        _RUNS,
        200,
    ),
}
