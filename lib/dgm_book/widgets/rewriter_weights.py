"""A rewriter small enough to travel beside a page: int8 matrices with one scale a row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import checks
from .packing import PackedWeights, append, check_size
from .text_weights import joined_words

MAX_BYTES = 4_000_000  # with its words
MARKERS = 11  # <pad>, <s>, </s> and 8 for unknown words
VALUES = ("words", "vertices", "sizes", "reader", "score_weights", "least_score")
GOLDEN = ("text", "weights", "rewrites")


class RewriterWeights(PackedWeights):
    """A published model of `dgm.steering`, as `dgm.steering.from_published` takes it.

    `golden` are texts with weights (K,) and PyTorch's rewrites, best first.
    """

    def __init__(
        self, values: Mapping[str, Any], tensors: Mapping, golden: Sequence[Mapping] = ()
    ) -> None:
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
        for row in golden:
            checks.keys("a golden text", row, GOLDEN)
        least = float(values["least_score"])
        header = {name: values[name] for name in VALUES}
        header |= {"words": words, "least_score": least if np.isfinite(least) else None}
        super().__init__(packed, header | {"tensors": described, "golden": [*map(dict, golden)]})
