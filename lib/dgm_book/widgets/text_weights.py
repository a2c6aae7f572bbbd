"""The steering model small enough to travel inside a page: int8 matrices with one scale a row."""

from collections.abc import Mapping, Sequence

import numpy as np

from .packing import PackedWeights, check_arrays, check_size, check_words, pack

BYTES_PER_MODEL = 1_500_000  # what a page may hold for its text model
STAYS_WIDE = 4096  # a matrix of fewer values is not rounded: the simplex and its readers
MARKERS = 4  # <pad>, <s>, </s> and <mask>; the slots for unknown words come on top
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
GOLDEN = {"sentence", "weights", "margins", "threshold", "rewrite"}


class TextWeights(PackedWeights):
    """A steering model and its words, which all widgets of a page share, stored once.

    Matrices travel as int8 with a float32 scale a row (a row is an output unit, or a word), vectors
    and the small matrices of the simplex as float32. The page widens them once, and rewrites the
    golden sentences when it is idle: ``data-golden-wrong`` counts those that come out differently.

    Args:
        tensors: The model's parameters by name, as its state dict has them, each an array.
        words: The vocabulary's words, without its markers, in the order of their ids.
        unknown_slots: How many markers the vocabulary has for unknown words.
        precision: "int8", or "float32" for tests: four times as large, and nothing is rounded.
        golden: Sentences with what PyTorch makes of them with the weights of `dequantised`: dicts
        of
            ``sentence`` (tokenised), ``weights`` (K,), ``margins``, ``threshold`` and ``rewrite``.
        max_words: Words of a sentence that are read.
        longer: How many more words a rewrite may have.
        limit: Most bytes of an int8 model with its words.

    Raises:
        ValueError: For a tensor that is missing, has the wrong shape or values that are not finite,
            words that do not fit the embedding, a golden sentence that lacks something, an unknown
            precision, or a model above the limit.
    """

    def __init__(
        self,
        tensors: Mapping[str, np.ndarray],
        words: Sequence[str],
        *,
        unknown_slots: int = 4,
        precision: str = "int8",
        golden: Sequence[Mapping] | None = None,
        max_words: int = 30,
        longer: int = 5,
        limit: int = BYTES_PER_MODEL,
    ) -> None:
        if precision not in ("int8", "float32"):
            raise ValueError(f"precision={precision!r}: want 'int8' or 'float32'")
        sizes: dict[str, int] = {}
        arrays = check_arrays("the steering model", tensors, SHAPES, sizes)
        check_words(words, sizes["S"] - MARKERS - unknown_slots)
        packed, wide = bytearray(), precision == "float32"
        described = {
            name: {"scale": None, **pack(packed, array, wide or array.size < STAYS_WIDE)}
            for name, array in arrays.items()
        }
        text = " ".join(words)
        if not wide:
            check_size("the steering model", len(packed) + len(text.encode()), limit)
        header = {
            "tensors": described,
            "words": text,
            "unknown_slots": unknown_slots,
            "max_words": max_words,
            "longer": longer,
            "golden": [_checked_golden(g, sizes["K"]) for g in golden or ()],
        }
        super().__init__(packed, header)

    def dequantised(self) -> dict[str, np.ndarray]:
        """Return the float32 arrays that the page computes with, by name."""
        return {name: self.array(part) for name, part in self.header["tensors"].items()}


def _checked_golden(golden: Mapping, k: int) -> dict:
    if golden.keys() != GOLDEN:
        raise ValueError(f"a golden sentence has {sorted(golden)}, want {sorted(GOLDEN)}")
    weights = [float(w) for w in golden["weights"]]
    if len(weights) != k or not np.isclose(sum(weights), 1):
        raise ValueError(f"golden weights {weights}: want {k} that sum to 1")
    return {**golden, "weights": weights, "margins": [float(m) for m in golden["margins"]]}
