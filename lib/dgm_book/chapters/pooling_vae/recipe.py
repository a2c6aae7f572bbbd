"""Chapter 5: its data sets, their sizes, variants of the model, and the runs of each profile."""

from typing import NamedTuple


class Settings(NamedTuple):
    """The sizes of one data set at one profile, and how its models begin and learn."""

    n_training: int
    n_validation: int
    n_test: int
    words: tuple[int, int]  # sentences have from one to the other
    vocabulary: int
    embedding: int
    hidden: int
    latent_dim: int
    weights: float  # parameters begin uniformly between minus and plus this
    embeddings: float  # and embeddings between these
    word_dropout: float
    dropout: float
    steps: int
    measure_every: int | None  # steps; None is an epoch
    rise: float  # share of the steps in which an annealed weight rises
    ahead: int  # an encoder may run ahead in the epochs that begin before this step
    most_ahead: int  # steps of the encoder before each of the decoder
    batch_size: int
    learning_rate: float  # of SGD
    adam_rate: float
    free_bits: float  # nats per sentence
    bf16: bool
    n_likelihood: int  # test sentences whose likelihood is estimated
    n_samples: int  # with as many codes each


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

_ENDINGS = Settings(
    n_training=8000, n_validation=1000, n_test=2000, words=(1, 99), vocabulary=200, embedding=32,
    hidden=64, latent_dim=8, weights=0.1, embeddings=1.0, word_dropout=0.7, dropout=0.0, steps=700,
    measure_every=70, rise=0.5, ahead=250, most_ahead=30, batch_size=32, learning_rate=1.0,
    adam_rate=3e-3, free_bits=4.0, bf16=False, n_likelihood=200, n_samples=500,
)  # fmt: skip
_SMALL = Settings(
    n_training=20_000, n_validation=1000, n_test=2000, words=(5, 15), vocabulary=4000, embedding=64,
    hidden=128, latent_dim=16, weights=0.1, embeddings=1.0, word_dropout=0.5, dropout=0.0,
    steps=4000, measure_every=None, rise=0.33, ahead=630, most_ahead=30, batch_size=32,
    learning_rate=1.0, adam_rate=1e-3, free_bits=4.0, bf16=True, n_likelihood=200, n_samples=500,
)  # fmt: skip
# The base system's sizes for short sentences.
_PAPER = Settings(
    n_training=100_000, n_validation=2000, n_test=10_000, words=(5, 15), vocabulary=10_000,
    embedding=128, hidden=512, latent_dim=32, weights=0.01, embeddings=0.1, word_dropout=0.0,
    dropout=0.5, steps=100_000, measure_every=None, rise=0.33, ahead=100_000, most_ahead=99,
    batch_size=32, learning_rate=1.0, adam_rate=1e-3, free_bits=8.0, bf16=True, n_likelihood=1000,
    n_samples=500,
)  # fmt: skip
_REVIEWS = dict.fromkeys(FILES, _SMALL) | {"yelp": _SMALL._replace(words=(5, 10), steps=6000)}
_RUNS = [
    *(("yelp", name, seed) for name in (*MAIN, "mean annealing") for seed in range(3)),
    *(("ptb", name, 0) for name in MAIN),
    *(("endings", name, seed) for name in ENDINGS for seed in range(5)),
    *(("endings", name, n) for name in VARIANTS if name not in ENDINGS for n in range(3)),
    *(("yelp", name, 0) for name in ("last adam", "max adam", "last all words", "max all words")),
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
