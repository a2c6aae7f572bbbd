"""Language models small enough to travel inside a page: int8 matrices with one scale per row."""

from collections.abc import Mapping, Sequence

import numpy as np

from .packing import PackedWeights, append, check_arrays, check_size, check_words, pack
from .packing import rounded as rounded_array
from .pooling_weights import BYTES_PER_PAGE, MARKERS

MOST_WORDS = 30  # of a sentence that does not end by itself
# Names in the page, and in the state dict of a `dgm.nets.language_models.plain_lstm`.
TENSORS = {
    "embedding": "embedding.weight",
    "weight_ih": "lstms.0.weight_ih_l0",
    "weight_hh": "lstms.0.weight_hh_l0",
    "bias_ih": "lstms.0.bias_ih_l0",
    "bias_hh": "lstms.0.bias_hh_l0",
    "bias": "head.bias",
}
SHAPES = dict(zip(TENSORS.values(), ("V E", "4E E", "4E E", "4E", "4E", "V"), strict=True))
Models = Mapping[str, Mapping[str, np.ndarray]]


def rounded(models: Models) -> dict[str, dict[str, np.ndarray]]:
    """Return what the page computes with, as float32 arrays under the names of the state dicts.

    Args:
        models: As `LanguageWeights` takes them.
    """
    return {
        name: {key: rounded_array(array) for key, array in arrays.items()}
        for name, arrays in _check_models(models, {}).items()
    }


class LanguageWeights(PackedWeights):
    """Language models that differ in how they were trained, and their words, stored once per page.

    A model is an LSTM of one layer whose embedding is also the softmax's weight, as `plain_lstm`
    makes it. The page widens it once and, when idle, compares with the golden log-probabilities:
    ``data-golden-error`` is the largest difference.

    Args:
        models: For each name the arrays of a state dict: embedding (V, E), LSTM (4E, E), (4E, E),
            (4E,) and (4E,), and the softmax's bias (V,).
        words: The vocabulary's words, without its four markers, in the order of their ids.
        golden: ``tokens``, G rows of ids, and ``log_probs``: for each model (G, V), what PyTorch
            says, with the weights of `rounded`, of the word after the whole row.
        limit: Most bytes of the models with their words.

    Raises:
        ValueError: For no model, a tensor that is missing, has the wrong shape or values that are
            not finite, more layers or a mixture of softmaxes, words that do not fit the embedding,
            golden rows that do not fit, or models above the limit.
    """

    def __init__(
        self,
        models: Models,
        words: Sequence[str],
        *,
        golden: Mapping | None = None,
        limit: int = BYTES_PER_PAGE,
    ) -> None:
        sizes: dict[str, int] = {}
        checked, packed = _check_models(models, sizes), bytearray()
        check_words(words, sizes["V"] - MARKERS)
        described = [
            {
                "name": name,
                "tensors": {key: pack(packed, arrays[full]) for key, full in TENSORS.items()},
            }
            for name, arrays in checked.items()
        ]
        text = " ".join(words)
        check_size("the models with their words", len(packed) + len(text.encode()), limit)
        header = {"models": described, "words": text, "most": MOST_WORDS}
        header["golden"] = _pack_golden(packed, golden, list(checked), sizes["V"])
        super().__init__(packed, header)

    @property
    def names(self) -> list[str]:
        """The models' names, in their order."""
        return [model["name"] for model in self.header["models"]]


def _check_models(models: Models, sizes: dict[str, int]) -> dict[str, dict[str, np.ndarray]]:
    if not models:
        raise ValueError("models: want at least one, by name")
    for name, state in models.items():
        if more := sorted(state.keys() - SHAPES.keys()):
            raise ValueError(
                f"model {name!r} has {more[0]}: want one LSTM layer and a plain softmax"
            )
    return {
        name: check_arrays(f"model {name!r}", state, SHAPES, sizes)
        for name, state in models.items()
    }


def _pack_golden(packed: bytearray, golden: Mapping | None, names: list[str], size: int) -> dict:
    if golden is None:
        return {"tokens": [], "log_probs": {}}
    rows = [[int(token) for token in row] for row in golden["tokens"]]
    if not all(row and min(row) >= 0 and max(row) < size for row in rows):
        raise ValueError(f"golden tokens {rows}: want rows of ids, at least one, below {size}")
    shapes = dict.fromkeys(names, (len(rows), size))
    log_probs = check_arrays("golden log_probs", golden["log_probs"], shapes)
    return {"tokens": rows, "log_probs": {name: append(packed, x) for name, x in log_probs.items()}}
