"""Language models small enough to travel inside a page: int8 matrices with one scale a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
import traitlets

from .packing import check_words, pack, round_rows, sigmoid, widen
from .pooling_weights import BYTES_PER_PAGE, END, MARKERS, UNKNOWN

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


def rounded(models: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Return what the page computes with: matrices rounded to int8 and widened again.

    Args:
        models: As `LanguageWeights` takes them.

    Returns:
        For each model the float32 arrays under the names of the state dict, all that there are, which
        ``load_state_dict`` reads once they are tensors.

    Raises:
        ValueError: As `LanguageWeights`.
    """
    return {
        name: {
            TENSORS[key]: widen(*round_rows(array)) if array.ndim == 2 else array
            for key, array in arrays.items()
        }
        for name, arrays in _checked(models).items()
    }


class LanguageWeights(ipywidgets.Widget):
    """Language models that differ in how they were trained, and their words, stored once a page.

    A model is an LSTM of one layer whose embedding is also the softmax's weight, as `plain_lstm` makes
    it. The page widens it once and, when idle, compares with the golden log-probabilities:
    ``data-golden-error`` is how far it is off at most.

    Args:
        models: For each name the arrays of a state dict: embedding (V, E), LSTM (4E, E), (4E, E), (4E,)
            and (4E,), and the softmax's bias (V,).
        words: The vocabulary's words, without its four markers, in the order of their ids.
        golden: ``tokens``, G rows of ids, and ``log_probs``: for each model (G, V), what PyTorch says,
            with the weights of `rounded`, of the word after the whole row.
        limit: Most bytes of the models with their words.

    Raises:
        ValueError: For no model, a tensor that is missing, has the wrong shape or values that are not
            finite, more layers or a mixture of softmaxes, words that do not fit the embedding, golden
            rows that do not fit, or models above the limit.
    """

    data = traitlets.Bytes(read_only=True).tag(sync=True)
    header = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        models: Mapping[str, Mapping[str, np.ndarray]],
        words: Sequence[str],
        *,
        golden: Mapping | None = None,
        limit: int = BYTES_PER_PAGE,
    ) -> None:
        checked = _checked(models)
        size = len(next(iter(checked.values()))["embedding"])
        check_words(words, size - MARKERS)
        packed = bytearray()
        described = [
            {"name": name, "tensors": {key: pack(packed, a) for key, a in arrays.items()}}
            for name, arrays in checked.items()
        ]
        text = " ".join(words)
        n_bytes = len(packed) + len(text.encode())
        if n_bytes > limit:
            raise ValueError(
                f"the models take {n_bytes} bytes with their words, a page holds at most {limit}: "
                "use fewer words, narrower layers or fewer models"
            )
        rows, log_probs = _checked_golden(golden, list(checked), size)
        told = {name: pack(packed, array.ravel())["start"] for name, array in log_probs.items()}
        super().__init__()
        self._arrays = {
            name: dict(zip(TENSORS, arrays.values(), strict=True))
            for name, arrays in rounded(models).items()
        }
        self._ids = {word: MARKERS + i for i, word in enumerate(words)}
        self.tokens = ["<pad>", "<s>", "</s>", "<unk>", *words]
        self.set_trait("data", bytes(packed))
        header = {"models": described, "words": text, "most": MOST_WORDS}
        self.set_trait("header", header | {"golden": {"tokens": rows, "log_probs": told}})

    @property
    def names(self) -> list[str]:
        """The models' names, in their order."""
        return list(self._arrays)

    def encode(self, words: Sequence[str]) -> list[int]:
        """Return the ids of an opening: the end of a sentence, after which a text starts, and the words."""
        return [END, *(self._ids.get(word, UNKNOWN) for word in words)]

    def start(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a model's state (h, c), (E,) each, before the first token."""
        return (np.zeros(self._arrays[name]["embedding"].shape[1]),) * 2

    def step(self, name: str, token: int, state: tuple) -> tuple[np.ndarray, tuple]:
        """Read one token: the log-probabilities (V,) of the next one, and the state after it."""
        t, (h, c) = self._arrays[name], state
        gates = t["weight_ih"] @ t["embedding"][token] + t["bias_ih"]
        enter, keep, new, tell = np.split(gates + t["weight_hh"] @ h + t["bias_hh"], 4)
        c = sigmoid(keep) * c + sigmoid(enter) * np.tanh(new)
        h = sigmoid(tell) * np.tanh(c)
        logits = t["embedding"] @ h + t["bias"]
        logits -= logits.max()
        return logits - np.log(np.exp(logits).sum()), (h, c)

    def write(
        self, name: str, opening: Sequence[int], n: int, seed: int, temperature: float = 1.0
    ) -> list[list[int]]:
        """Write on as the page does, with the numbers of `uniform`.

        Args:
            name: Of the model.
            opening: Ids, at least one.
            n: Sentences, the first of which goes on where the opening stops.
            seed: From 0 on.
            temperature: Above 0; the log-probabilities are divided by it.

        Returns:
            n lists of ids, without the ends. One that does not end by itself stops after `MOST_WORDS`.
        """
        state = self.start(name)
        for token in opening:
            log_probs, state = self.step(name, token, state)
        story = []
        for i in range(n):
            sentence: list[int] = []
            while len(sentence) < MOST_WORDS:
                heights = np.cumsum(np.exp((log_probs - log_probs.max()) / temperature))
                point = uniform(seed, i, len(sentence)) * heights[-1]
                token = int(np.searchsorted(heights, point, side="right"))
                log_probs, state = self.step(name, token, state)
                if token == END:
                    break
                sentence.append(token)
            story.append(sentence)
        return story

    def __repr__(self) -> str:
        names = ", ".join(self.names)
        return f"LanguageWeights({names}; words={len(self._ids)}, bytes={len(self.data)})"


def uniform(seed: int, sentence: int, word: int) -> float:
    """Return the number in [0, 1) that draws a word; all models draw the same place with the same one.

    A bijective mix of 32 bits (Appleby's MurmurHash3 finaliser) of a number that no other place has, for
    seeds below 2^20 and up to 64 sentences of up to 64 words.
    """
    low = 2**32 - 1
    x = (((seed * 64 + sentence) * 64 + word + 1) * 0x9E3779B1) & low
    x = ((x ^ x >> 16) * 0x85EBCA6B) & low
    x = ((x ^ x >> 13) * 0xC2B2AE35) & low
    return (x ^ x >> 16) / 2**32


def _checked(models: Mapping) -> dict[str, dict[str, np.ndarray]]:
    if not models:
        raise ValueError("models: want at least one, by name")
    found = {name: _checked_model(name, state) for name, state in models.items()}
    sizes = {name: len(arrays["embedding"]) for name, arrays in found.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the models know different numbers of words: {sizes}")
    return found


def _checked_model(name: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    known = set(TENSORS.values())
    if missing := sorted(known - state.keys()):
        raise ValueError(f"model {name!r} lacks {missing}")
    if more := sorted(state.keys() - known):
        raise ValueError(f"model {name!r} has {more[0]}: want one LSTM layer and a plain softmax")
    arrays = {key: np.asarray(state[full], np.float32) for key, full in TENSORS.items()}
    shape = arrays["embedding"].shape
    if len(shape) != 2 or not arrays["embedding"].size:
        raise ValueError(f"model {name!r}: {TENSORS['embedding']} has shape {shape}, want (V, E)")
    size, width = shape
    wanted = {"embedding": shape, "bias": (size,)}
    wanted |= dict.fromkeys(("weight_ih", "weight_hh"), (4 * width, width))
    wanted |= dict.fromkeys(("bias_ih", "bias_hh"), (4 * width,))
    for key, array in arrays.items():
        if array.shape != wanted[key]:
            raise ValueError(
                f"model {name!r}: {TENSORS[key]} has shape {array.shape}, want {wanted[key]}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"model {name!r}: {TENSORS[key]} holds values that are not finite")
    return arrays


def _checked_golden(
    golden: Mapping | None, names: list[str], size: int
) -> tuple[list[list[int]], dict[str, np.ndarray]]:
    if golden is None:
        return [], {}
    if golden.keys() != {"tokens", "log_probs"} or golden["log_probs"].keys() != set(names):
        raise ValueError(f"golden: want tokens, and log_probs for each of {names}")
    rows = [[int(token) for token in row] for row in golden["tokens"]]
    for row in rows:
        if not row or min(row) < 0 or max(row) >= size:
            raise ValueError(f"golden tokens {row}: want ids, at least one, below {size}")
    found = {name: np.asarray(golden["log_probs"][name], np.float32) for name in names}
    for name, array in found.items():
        if array.shape != (len(rows), size) or not np.isfinite(array).all():
            raise ValueError(
                f"golden log_probs of {name!r} have shape {array.shape}, want {(len(rows), size)}, finite"
            )
    return rows, found
