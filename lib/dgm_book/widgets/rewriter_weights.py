"""A rewriter small enough to travel beside a page: int8 matrices with one scale a row."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import checks
from .packing import PackedWeights, append, check_size
from .text_weights import joined_words

MAX_BYTES = 4_000_000  # with its words
MARKERS = 11  # <pad>, <s>, </s> and 8 for unknown words
VALUES = ("words", "vertices", "sizes", "reader", "score_weights", "least_nats")
GOLDEN = ("text", "weights", "rewrites")


class RewriterWeights(PackedWeights):
    """A published model of `dgm.steering`, as `dgm.steering.from_published` takes it.

    Or of a `dgm.steering.CaptionModel`: values with its bank, no tensors.

    `golden` are texts with weights (K,) and PyTorch's rewrites, best first.
    """

    def __init__(
        self, values: Mapping[str, Any], tensors: Mapping, golden: Sequence[Mapping] = ()
    ) -> None:
        for row in golden:
            checks.keys("a golden text", row, GOLDEN)
        if "bank" in values:
            return self._pack_bank(values, [*map(dict, golden)])
        checks.keys("the rewriter", values, VALUES)
        arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
        checks.keys("the rewriter", arrays, ("content", "rewriter.embedding.weight"))
        words = joined_words(values["words"], len(arrays["rewriter.embedding.weight"]) - MARKERS)
        packed, described = bytearray(), {}
        for name, array in arrays.items():
            if name.endswith(".scale"):
                continue
            described[name] = {"shape": list(array.shape), "start": append(packed, array)}
            if array.ndim > 1:
                if array.dtype != np.int8 or f"{name}.scale" not in arrays:
                    raise ValueError(f"{name} is {array.dtype}: want int8 and {name}.scale")
                described[name]["scale"] = append(packed, arrays[f"{name}.scale"])
        check_size("the rewriter with its words", len(packed) + len(words.encode()), MAX_BYTES)
        least = float(values["least_nats"])
        header = {name: values[name] for name in (*VALUES, "least_agreement") if name in values}
        header |= {"words": words, "least_nats": least if np.isfinite(least) else None}
        super().__init__(packed, header | {"tensors": described, "golden": [*map(dict, golden)]})

    def _pack_bank(self, values: Mapping[str, Any], golden: list[dict]) -> None:
        bank = values["bank"]
        packed = json.dumps(bank, separators=(",", ":")).encode()
        check_size("the bank of clauses", len(packed), MAX_BYTES)
        words = {word for row in (*bank["rows"], *bank["any"]) for word in row[0].split()}
        header = {"vertices": list(values["vertices"]), "words": " ".join(sorted(words))}
        header |= {"score_weights": [0, 0, 1, 0, 0, 0], "bank": True, "golden": golden}
        super().__init__(packed, header)
