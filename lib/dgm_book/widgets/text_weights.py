"""The steering model small enough to travel inside a page: int8 matrices with one scale a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
import traitlets

from .packing import append, check_words, pack

BYTES_PER_MODEL = 1_500_000  # what a page may hold for its text model
STAYS_WIDE = 4096  # a tensor of fewer values is not rounded: the simplex and its readers
MARKERS = 4  # <pad>, <s>, </s> and <mask>; the slots for unknown words come on top
# What the page needs, with its number of dimensions; all else of a state dict is left out.
TENSORS = {
    "embedding.weight": 2,
    "voters.weight": 2,
    "voters.bias": 1,
    "query.weight": 2,
    "weights.weight": 2,
    "weights.bias": 1,
    "vertices": 2,
    "near.weight": 2,
    "near.bias": 1,
    "far.weight": 2,
    "far.bias": 1,
    "shift.weight": 2,
    "shift.bias": 1,
    "initial.weight": 2,
    "initial.bias": 1,
    "lstm.weight_ih_l0": 2,
    "lstm.weight_hh_l0": 2,
    "lstm.bias_ih_l0": 1,
    "lstm.bias_hh_l0": 1,
    "attention_query.weight": 2,
    "attention_key.weight": 2,
    "by_distance": 1,
    "by_match": 0,
    "output.weight": 2,
    "output.bias": 1,
    "word_bias": 1,
}
_GOLDEN = {"sentence", "weights", "margins", "threshold", "rewrite"}


class TextWeights(ipywidgets.Widget):
    """A steering model and its words, which all widgets of a page share, stored once.

    Matrices travel as int8 with a float32 scale a row (a row is an output unit, or a word), vectors
    and the small matrices of the simplex as float32. The page widens them once, and rewrites the
    golden sentences when it is idle: ``data-golden-wrong`` counts those that come out differently.

    Args:
        tensors: The model's parameters by name, as its state dict has them, each an array.
        words: The vocabulary's words, without its markers, in the order of their ids.
        unknown_slots: How many markers the vocabulary has for unknown words.
        precision: "int8", or "float32" for tests: four times as large, and nothing is rounded.
        golden: Sentences with what PyTorch makes of them with the weights of `dequantised`: dicts of
            ``sentence`` (tokenised), ``weights`` (K,), ``margins``, ``threshold`` and ``rewrite``.
        max_words: Words of a sentence that are read.
        longer: How many more words a rewrite may have.
        limit: Most bytes of an int8 model with its words.

    Raises:
        ValueError: For a tensor that is missing, has the wrong shape or values that are not finite,
            words that do not fit the embedding, a golden sentence that lacks something, an unknown
            precision, or a model above the limit.
    """

    data = traitlets.Bytes(read_only=True).tag(sync=True)
    header = traitlets.Dict(read_only=True).tag(sync=True)

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
        arrays = _checked(tensors)
        check_words(words, len(arrays["embedding.weight"]) - MARKERS - unknown_slots)
        packed = bytearray()
        described = {
            name: _pack(packed, array, precision == "int8") for name, array in arrays.items()
        }
        text = " ".join(words)
        size = len(packed) + len(text.encode())
        if precision == "int8" and size > limit:
            raise ValueError(
                f"the model takes {size} bytes with its words, a page holds at most {limit}: "
                "use fewer words or narrower layers"
            )
        super().__init__()
        self.set_trait("data", bytes(packed))
        self.set_trait(
            "header",
            {
                "tensors": described,
                "words": text,
                "unknown_slots": unknown_slots,
                "max_words": max_words,
                "longer": longer,
                "golden": [_checked_golden(g, len(arrays["vertices"])) for g in golden or ()],
            },
        )

    def dequantised(self) -> dict[str, np.ndarray]:
        """Return the float32 arrays that the page computes with, by name."""
        arrays = {}
        for name, t in self.header["tensors"].items():
            kind = "<f4" if t["scale"] is None else np.int8
            count = int(np.prod(t["shape"], dtype=int))
            array = np.frombuffer(self.data, kind, count, t["start"]).reshape(t["shape"])
            if t["scale"] is not None:
                array = array * np.frombuffer(self.data, "<f4", len(array), t["scale"])[:, None]
            arrays[name] = array.astype(np.float32)
        return arrays

    def golden_rewrite(self, sentence: str, weights: Sequence[float]) -> str | None:
        """Return what PyTorch makes of a golden sentence, spaces aside; None for any other."""
        for golden in self.header["golden"]:
            same = "".join(golden["sentence"].split()) == "".join(sentence.lower().split())
            if same and np.allclose(golden["weights"], weights, atol=1e-3):
                return golden["rewrite"]
        return None

    def __repr__(self) -> str:
        words = len(self.header["words"].split())
        return f"TextWeights(words={words}, bytes={len(self.data)})"


def _pack(packed: bytearray, array: np.ndarray, rounded: bool) -> dict:
    """Append one tensor, each part at a multiple of four bytes, and say where it lies."""
    shape = list(array.shape)
    if not rounded or array.ndim < 2 or array.size < STAYS_WIDE:
        return {"shape": shape, "start": append(packed, array.astype("<f4")), "scale": None}
    return pack(packed, array)


def _checked(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = sorted(TENSORS.keys() - tensors.keys())
    if missing:
        raise ValueError(f"tensors lacks {missing}")
    arrays = {name: np.asarray(tensors[name], np.float32) for name in TENSORS}
    size, embedding = arrays["embedding.weight"].shape
    hidden, context = arrays["lstm.weight_hh_l0"].shape[1], len(arrays["near.weight"])
    k, latent = arrays["vertices"].shape
    voters = len(arrays["voters.weight"])
    reach = len(arrays["by_distance"]) // 2
    wanted = {
        "voters.weight": (voters, embedding),
        "query.weight": (latent, voters),
        "weights.weight": (k, latent),
        "weights.bias": (k,),
        "near.weight": (context, 5 * embedding),
        "far.weight": (context, 5 * context),
        "shift.weight": (embedding, context),
        "initial.weight": (hidden, latent + embedding),
        "lstm.weight_ih_l0": (4 * hidden, embedding + latent),
        "lstm.weight_hh_l0": (4 * hidden, hidden),
        "lstm.bias_ih_l0": (4 * hidden,),
        "lstm.bias_hh_l0": (4 * hidden,),
        "attention_query.weight": (context, hidden),
        "attention_key.weight": (context, embedding),
        "by_distance": (2 * reach + 1,),
        "output.weight": (embedding, hidden + latent),
        "word_bias": (size,),
    }
    for name, array in arrays.items():
        if name.endswith(".bias"):
            wanted[name] = arrays[name.replace("bias", "weight")].shape[:1]
        if array.ndim != TENSORS[name] or array.shape != wanted.get(name, array.shape):
            raise ValueError(f"{name} has shape {array.shape}, want {wanted.get(name)}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds values that are not finite")
    return arrays


def _checked_golden(golden: Mapping, k: int) -> dict:
    if golden.keys() != _GOLDEN:
        raise ValueError(f"a golden sentence has {sorted(golden)}, want {sorted(_GOLDEN)}")
    weights = [float(w) for w in golden["weights"]]
    if len(weights) != k or not np.isclose(sum(weights), 1):
        raise ValueError(f"golden weights {weights}: want {k} that sum to 1")
    margins = [float(m) for m in golden["margins"]]
    return {**golden, "weights": weights, "margins": margins}
