"""Chapter 2's recipe: texts, variants of training, sizes and seeds at each profile, as data."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

CHAPTER = "02_mutual_information_lm"
DISTANCES = (1, 2, 3, 5, 8)  # sentences; at which samples are measured
PAGE = ("likelihood", "phase I")  # what travels with the page, and is run on every text
DROPOUTS = ("more dropout", "much more dropout", "less dropout")
REACHED = 0.8  # of the exact mutual information
NAMES = {
    "chain": "topics that stay, 1,500 sentences",
    "wordy chain": "the same with 5 to 9 words a sentence",
    "short chain": "topics that stay, 400 sentences",
    "short cycle": "topics in a cycle, 400 sentences",
    "short slow chain": "topics that stay long, 400 sentences",
    "ptb": "Penn Treebank",
    "ptb transformer": "Penn Treebank, transformer",
    "wikitext-2": "WikiText-2",
    "shakespeare": "Shakespeare",
}


class Variant(NamedTuple):
    """How training differs from maximum likelihood, whose critic does not reach the model."""

    detach: bool = True
    second_phase: bool = False  # phase II in the second half of training
    shuffled: bool = False  # whether the critic's pairs are torn apart
    dropout: int = 0  # steps of `Settings.dropout_step`
    leak: bool = False  # whether padding is read, as in the released code


VARIANTS = {
    "likelihood": Variant(),
    "phase I": Variant(detach=False),
    "phase II": Variant(detach=False, second_phase=True),
    "shuffled pairs": Variant(detach=False, shuffled=True),
    "more dropout": Variant(dropout=1),
    "much more dropout": Variant(dropout=2),
    "less dropout": Variant(dropout=-1),
    "padding read": Variant(detach=False, leak=True),
}


class Chain(NamedTuple):
    """How a text of topics moves on."""

    switch: float = 0.1  # how often its topic changes against the rule
    order: str = "stay"
    words: tuple[int, int] = (2, 4)  # of a sentence, at least and at most


class Settings(NamedTuple):
    """One text, its sizes, and how its models learn; the defaults are those of the chain."""

    source: str | None = None  # a data set; None where the text is a chain
    chain: Chain = Chain()
    n_training: int | None = 1500  # sentences, the first ones; None takes all
    n_validation: int | None = 300
    n_test: int | None = 5000
    vocabulary: int = 1000  # at most, markers counted
    base: str = "lstm"  # "lstm", "transformer", or a key of the paper's `BASES`
    width: int = 64
    dropout: float = 0.5
    dropout_step: float = 0.1  # by how much the variants with another dropout differ
    rows: int = 32  # texts side by side
    window: int = 16
    longest: int = 10  # tokens of a sentence that the critic reads
    n_anchors: int = 32
    critic_hidden: int = 64
    critic_weight: float = 0.5  # lambda_1
    augmented_weight: float = 1.0  # lambda_2, of phase II
    learning_rate: float = 1e-2
    critic_rate: float = 3e-3
    last_rate: float = 1.0  # the rates' share that is left at the last step
    clip: float = 1.0  # length of the model's gradient, and of the critic's
    steps: int = 500
    measure_every: int = 50
    n_samples: int = 64  # texts
    sample_tokens: int = 300  # of each
    reverse_steps: int = 300  # of the model that learns from samples
    bf16: bool = False
    released: bool = False  # SGD, then averaging; windows of many lengths; penalties on states
    patience: int = 10  # validations without gain before averaging begins, where released


class Recipe(NamedTuple):
    """What one profile runs."""

    main: str  # the text that the chapter's main table is about
    texts: dict[str, Settings]
    runs: list[tuple[str, str, int]]  # text, variant and seed
    real: list[tuple[str, int]]  # text and seed where written text is compared with real text
    fresh: Mapping[
        str, str
    ] = {}  # texts with more seeds, run after the first ones showed a gain in a metric
    n_first: int = 5  # seeds of those


def _runs(text: str, variants: tuple[str, ...], seeds: Iterable[int]) -> list[tuple[str, str, int]]:
    return [(text, variant, seed) for seed in seeds for variant in variants]


CHAIN = Settings()
SHORT = CHAIN._replace(n_training=400)
PTB = Settings(
    "ptb", n_training=14_000, n_validation=1000, n_test=None, vocabulary=10_002, width=128,
    dropout=0.3, dropout_step=0.15, rows=20, window=35, longest=40, n_anchors=20,
    critic_hidden=100, critic_weight=0.1, critic_rate=2e-3, last_rate=0.1, steps=2000,
    measure_every=400, n_samples=100, sample_tokens=700, reverse_steps=400, bf16=True,
)  # fmt: skip
RELEASED = PTB._replace(
    n_training=None, n_validation=None, base="ptb", width=960, dropout=0.0, dropout_step=0.0,
    rows=12, window=70, n_anchors=12, critic_hidden=300, learning_rate=20.0, critic_rate=2e-4,
    last_rate=1.0, clip=0.25, steps=55_000, measure_every=1_100, sample_tokens=2000,
    reverse_steps=4000, bf16=False, released=True,
)  # fmt: skip
TEXTS = {
    "ptb": PTB,
    "chain": CHAIN,
    "wordy chain": CHAIN._replace(chain=Chain(words=(5, 9))),
    "short chain": SHORT,
    "short cycle": SHORT._replace(chain=Chain(order="cycle")),
    "short slow chain": SHORT._replace(chain=Chain(switch=0.02)),
    "ptb transformer": PTB._replace(base="transformer", learning_rate=2e-3, dropout=0.15),
    "wikitext-2": PTB._replace(
        source="wikitext-2", n_training=3000, n_validation=600, n_test=1200, vocabulary=12_000,
        critic_weight=0.02, augmented_weight=0.05, steps=1500, measure_every=500,
        sample_tokens=1500,
    ),
    "shakespeare": PTB._replace(
        source="shakespeare", n_training=None, vocabulary=6000, critic_weight=0.5, steps=3000,
        measure_every=500, reverse_steps=0,
    ),
}  # fmt: skip

BRIEF = ("likelihood", "phase I", "phase II", "shuffled pairs", "more dropout")
FULL = (*BRIEF, "less dropout", "padding read")
# More dropout was worse on both validation texts; what padding changes has the chain's five seeds.
THIRD_SEED = ("likelihood", "phase I", "phase II", "shuffled pairs", "less dropout")
ONE_SEED = ("ptb transformer", "wikitext-2", "shakespeare")
CHAINS = ("wordy chain", "short chain", "short cycle", "short slow chain")
# Where the first five seeds showed a gain: five more were run after they had been seen.
FRESH = {"short chain": "nll", "short slow chain": "written"}
FRESH_VARIANTS = ("likelihood", "phase I", "shuffled pairs", "more dropout")
MAIN_RUNS = [
    *_runs("ptb", FULL, range(2)),
    *_runs("ptb", THIRD_SEED, range(2, 3)),
    *_runs("ptb", ("likelihood", "phase I"), range(3, 10)),
    *_runs("chain", FULL, range(5)),
]
OTHER_RUNS = [
    *(run for text in CHAINS for run in _runs(text, BRIEF, range(5))),
    *(run for text in FRESH for run in _runs(text, FRESH_VARIANTS, range(5, 10))),
    *_runs("short chain", ("much more dropout",), range(10)),
    *(run for text in ONE_SEED for run in _runs(text, PAGE, range(1))),
]
REAL = [*(("ptb", seed) for seed in range(3)), *(("chain", seed) for seed in range(5))]

RECIPES = {
    "smoke": Recipe(
        "chain",
        {"chain": CHAIN._replace(n_test=2000, steps=400, reverse_steps=0)},
        _runs("chain", PAGE, range(3)),
        [],
    ),
    "small": Recipe("ptb", TEXTS, MAIN_RUNS + OTHER_RUNS, REAL, FRESH),
    "paper": Recipe("ptb", {"ptb": RELEASED, "chain": CHAIN}, MAIN_RUNS, REAL),
}
