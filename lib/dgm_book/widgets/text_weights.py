"""Text models small enough to travel inside a page: int8 matrices with one scale a row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from . import checks
from .packing import PackedWeights, append, check_size, pack

MAX_BYTES = 1_500_000  # what a page may hold for its text models with their words
MOST_WORDS = 30  # of a sentence that is read or written
MARKERS = 4  # <pad>, <s>, </s> and <unk> or <mask>
START, END = 1, 2
KINDS = ("last", "mean", "max", "absmax")  # as in `dgm.nets.pooling`
UNKNOWN_SLOTS = 4  # markers for unknown words, on top of the others
LONGER = 5  # more words that a rewrite may have
STAYS_WIDE = 4096  # a matrix of fewer values is not rounded: the simplex and its readers
# What the page needs of a state dict, and its shapes: S ids, embedding E, O voters, latents N, K
# vertices, context C, hidden H, reach R.
SHAPES = {
    "embedding.weight": "S E",
    "voters.weight": "O E",
    "voters.bias": "O",
    "query.weight": "N O",
    "weights.weight": "K N",
    "weights.bias": "K",
    "vertices": "K N",
    "near.weight": "C 5E",
    "near.bias": "C",
    "far.weight": "C 5C",
    "far.bias": "C",
    "shift.weight": "E C",
    "shift.bias": "E",
    "initial.weight": "H N+E",
    "initial.bias": "H",
    "lstm.weight_ih_l0": "4H E+N",
    "lstm.weight_hh_l0": "4H H",
    "lstm.bias_ih_l0": "4H",
    "lstm.bias_hh_l0": "4H",
    "attention_query.weight": "C H",
    "attention_key.weight": "C E",
    "by_distance": "2R+1",
    "by_match": "",
    "output.weight": "E H+N",
    "output.bias": "E",
    "word_bias": "S",
}
GOLDEN = ("sentence", "weights", "margins", "threshold", "rewrite")

Models = Mapping[str, Mapping[str, np.ndarray]]


class WordWeights(PackedWeights):
    """LSTMs that share a vocabulary, and golden vectors of rows of its ids."""

    _tensors: ClassVar[dict[str, tuple[str, str]]]  # name in a state dict and shape, V being ids
    _others: ClassVar[tuple[str, str]]  # where no others may be in a state dict, and what that says
    _model: ClassVar[str] = "model"
    _name: ClassVar[str] = "name"
    _golden: ClassVar[tuple[str, str]]  # a row's vector and its width, a letter of the shapes
    _most: ClassVar[str]  # the name of the most words that the page takes

    def __init__(self, models: Models, words: Sequence[str], golden: Mapping | None = None) -> None:
        checks.distinct(f"{self._model}s", list(models))
        (what, width), shapes = self._golden, dict(self._tensors.values())
        packed, described, sizes, widths = bytearray(), [], {}, {}
        for name, state in models.items():
            owner, sizes = f"{self._model} {name!r}", {"V": sizes["V"]} if sizes else {}
            if more := [n for n in state if n.startswith(self._others[0]) and n not in shapes]:
                raise ValueError(f"{owner} has {more[0]}: want {self._others[1]}")
            arrays = checks.arrays(owner, state, shapes, sizes)
            tensors = {key: arrays[full] for key, (full, _) in self._tensors.items()}
            described.append({self._name: name, "tensors": pack(packed, tensors)})
            widths[name] = sizes[width]
        text = joined_words(words, sizes["V"] - MARKERS)
        check_size(
            f"the {self._model}s with the words", len(packed) + len(text.encode()), MAX_BYTES
        )
        header = {f"{self._model}s": described, "words": text}
        rows, vectors = [], {}
        if golden is not None:
            checks.keys("golden", golden, ("tokens", what))
            rows = [self._checked_row(map(int, row), sizes["V"]) for row in golden["tokens"]]
            shapes = {name: (len(rows), width) for name, width in widths.items()}
            vectors = checks.arrays(f"golden {what}", golden[what], shapes)
        places = {name: append(packed, array) for name, array in vectors.items()}
        header |= {self._most: MOST_WORDS, "golden": {"tokens": rows, what: places}}
        super().__init__(packed, header, models)

    def _checked_row(self, row: Iterable[int], ids: int) -> list[int]:
        row = list(row)
        if not row or min(row) < 0 or max(row) >= ids:
            raise ValueError(f"golden tokens {row}: want ids, at least one, below {ids}")
        return row


class LanguageWeights(WordWeights):
    """Language models that differ in how they were trained, and their words, stored once per page.

    A model is the state dict of `dgm.nets.language_models.plain_lstm`; `words` lack the four
    markers; `golden` has ``tokens``, G rows of ids, and ``log_probs``: for each model (G, V), what
    PyTorch says, with the weights of `packing.rounded`, of the word after the whole row.
    """

    _tensors: ClassVar = {
        "embedding": ("embedding.weight", "V E"),
        "weight_ih": ("lstms.0.weight_ih_l0", "4E E"),
        "weight_hh": ("lstms.0.weight_hh_l0", "4E E"),
        "bias_ih": ("lstms.0.bias_ih_l0", "4E"),
        "bias_hh": ("lstms.0.bias_hh_l0", "4E"),
        "bias": ("head.bias", "V"),
    }
    _others = ("", "one LSTM layer and a plain softmax")
    _golden, _most = ("log_probs", "V"), "most"


class PoolingWeights(WordWeights):
    """Encoders that differ in how they pool, and their words, stored once for a page's widgets.

    An encoder is that of a `dgm.nets.text_vae.TextVAE`, by its kind of pooling; `words` lack the
    four markers; `golden` has ``tokens`` (G, T), ids from <s> to </s>, then zeros, and ``means``:
    for each kind (G, D), what PyTorch makes of them with weights that were `packing.rounded`.
    """

    _tensors: ClassVar = {
        "embedding": ("posterior.encoder.states.embedding.weight", "V E"),
        "weight_ih": ("posterior.encoder.states.lstm.weight_ih_l0", "4H E"),
        "weight_hh": ("posterior.encoder.states.lstm.weight_hh_l0", "4H H"),
        "bias_ih": ("posterior.encoder.states.lstm.bias_ih_l0", "4H"),
        "bias_hh": ("posterior.encoder.states.lstm.bias_hh_l0", "4H"),
        "linear": ("posterior.head.weight", "2D H"),
    }
    _others = ("posterior.encoder", "one layer, forwards only")
    _model, _name, _golden, _most = "encoder", "kind", ("means", "D"), "max_words"

    def __init__(self, encoders: Models, words: Sequence[str], golden: Mapping | None = None):
        for kind in encoders:
            checks.choice("kind of an encoder", kind, KINDS)
        super().__init__(encoders, words, golden)

    def _checked_row(self, row: Iterable[int], ids: int) -> list[int]:
        row = super()._checked_row(filter(None, row), ids)
        if len(row) < 2 or (row[0], row[-1]) != (START, END):
            raise ValueError(f"golden tokens {row}: want {START}, ids, {END}")
        return row


class TextWeights(PackedWeights):
    """A steering model and its words, which all widgets of a page share, stored once.

    `tensors` are its state dict, `words` lack the markers; `golden` are sentences (tokenised) with
    weights (K,), margins, threshold, and PyTorch's rewrite with the weights as the page has them.
    """

    def __init__(
        self, tensors: Mapping, words: Sequence[str], golden: Sequence[Mapping] = ()
    ) -> None:
        sizes, packed = {}, bytearray()
        arrays = checks.arrays("the steering model", tensors, SHAPES, sizes)
        text = joined_words(words, sizes["S"] - MARKERS - UNKNOWN_SLOTS)
        described = {
            name: {"scale": None, **pack(packed, array, array.size < STAYS_WIDE)}
            for name, array in arrays.items()
        }
        size = len(packed) + len(text.encode())
        check_size("the steering model with the words", size, MAX_BYTES)
        header = {"tensors": described, "words": text, "unknown_slots": UNKNOWN_SLOTS}
        header |= {"max_words": MOST_WORDS, "longer": LONGER, "golden": []}
        for given in golden:
            checks.keys("a golden sentence", given, GOLDEN)
            weights, margins = ([float(x) for x in given[key]] for key in ("weights", "margins"))
            if len(weights) != sizes["K"] or not np.isclose(sum(weights), 1):
                raise ValueError(f"golden weights {weights}: want {sizes['K']} that sum to 1")
            header["golden"].append({**given, "weights": weights, "margins": margins})
        super().__init__(packed, header)


def joined_words(words: Sequence[str], expected: int) -> str:
    """Return words in one text; ValueError unless they fit an embedding of so many more rows."""
    if len(words) != expected:
        raise ValueError(
            f"{len(words)} words, but the embedding has rows for {expected} beside the markers"
        )
    wrong = [word for word in words if word.split() != [word]]
    if wrong or len(set(words)) < len(words):
        raise ValueError(f"a word is empty, holds white space ({wrong[:3]}) or comes twice")
    return " ".join(words)
