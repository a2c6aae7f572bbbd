"""Sentence encoders small enough to travel inside a page: int8 matrices with one scale a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
import traitlets

from .packing import check_words, pack, round_rows, sigmoid, widen

BYTES_PER_PAGE = 1_500_000  # what a page may hold for its text models
MARKERS = 4  # <pad>, <s>, </s> and <unk>
START, END, UNKNOWN = 1, 2, 3
# What each encoder is called, and what a reader sees; as in `dgm.nets.pooling`.
KINDS = {"last": "last state", "mean": "mean", "max": "maximum", "absmax": "signed maximum"}
# Names in the page, and in the state dict of a `dgm.nets.text_vae.TextVAE`.
TENSORS = {
    "embedding": "posterior.encoder.states.embedding.weight",
    "weight_ih": "posterior.encoder.states.lstm.weight_ih_l0",
    "weight_hh": "posterior.encoder.states.lstm.weight_hh_l0",
    "bias_ih": "posterior.encoder.states.lstm.bias_ih_l0",
    "bias_hh": "posterior.encoder.states.lstm.bias_hh_l0",
    "linear": "posterior.head.weight",
}


def rounded(encoders: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, dict[str, np.ndarray]]:
    """Return what the page computes with: matrices rounded to int8 and widened again.

    Args:
        encoders: As `PoolingWeights` takes them.

    Returns:
        For each encoder the float32 arrays under the names of the state dict, which
        ``load_state_dict(..., strict=False)`` reads once they are tensors.

    Raises:
        ValueError: As `PoolingWeights`.
    """
    found = {}
    for kind, arrays in _checked(encoders).items():
        found[kind] = {
            TENSORS[name]: widen(*round_rows(array)) if array.ndim == 2 else array
            for name, array in arrays.items()
        }
    return found


class PoolingWeights(ipywidgets.Widget):
    """Encoders that differ in how they pool, and their words, which a page's widgets share, stored once.

    An encoder is an LSTM of one layer, forwards, over <s>, the words and </s>, its states pooled, and a
    linear layer without bias to the mean and log-variance of the code. The page widens it once and,
    when idle, compares with the golden means: ``data-golden-error`` is how far it is off at most.

    Args:
        encoders: For each kind of pooling ("last", "mean", "max", "absmax") the arrays of a `TextVAE`'s
            state dict, by name; those of `TENSORS` are taken, the decoder's are left out. Embedding
            (V, E), LSTM (4H, E), (4H, H), (4H,) and (4H,), linear layer (2D, H).
        words: The vocabulary's words, without its four markers, in the order of their ids.
        golden: ``tokens`` (G, T), ids from <s> to </s> and then zeros, and ``means``: for each kind (G, D),
            what PyTorch makes of them with the weights of `rounded`.
        max_words: Words of a sentence that are read.
        limit: Most bytes of the encoders with their words.

    Raises:
        ValueError: For no encoder, an unknown kind, a tensor that is missing, has the wrong shape or
            values that are not finite, more layers or directions, words that do not fit the embedding,
            golden means that do not fit, or encoders above the limit.
    """

    data = traitlets.Bytes(read_only=True).tag(sync=True)
    header = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        encoders: Mapping[str, Mapping[str, np.ndarray]],
        words: Sequence[str],
        *,
        golden: Mapping | None = None,
        max_words: int = 30,
        limit: int = BYTES_PER_PAGE,
    ) -> None:
        checked = _checked(encoders)
        n_words = len(next(iter(checked.values()))["embedding"])
        check_words(words, n_words - MARKERS)
        packed = bytearray()
        described = [
            {"kind": kind, "tensors": {n: pack(packed, a) for n, a in arrays.items()}}
            for kind, arrays in checked.items()
        ]
        text = " ".join(words)
        size = len(packed) + len(text.encode())
        if size > limit:
            raise ValueError(
                f"the encoders take {size} bytes with their words, a page holds at most {limit}: "
                "use fewer words, narrower layers or fewer encoders"
            )
        tokens, means = _checked_golden(golden, checked)
        told = {kind: pack(packed, array.ravel())["start"] for kind, array in means.items()}
        super().__init__()
        self._arrays = {
            kind: dict(zip(TENSORS, arrays.values(), strict=True))
            for kind, arrays in rounded(encoders).items()
        }
        self._ids = {word: MARKERS + i for i, word in enumerate(words)}
        self._max_words = max_words
        self.set_trait("data", bytes(packed))
        self.set_trait(
            "header",
            {
                "encoders": described,
                "words": text,
                "max_words": max_words,
                "golden": {"tokens": tokens, "means": told},
            },
        )

    @property
    def kinds(self) -> list[str]:
        """The encoders' kinds of pooling, in their order."""
        return list(self._arrays)

    def encode(self, sentence: str) -> list[int]:
        """Return the ids of a sentence whose words stand apart, from <s> to </s>."""
        words = sentence.lower().split()[: self._max_words]
        return [START, *(self._ids.get(word, UNKNOWN) for word in words), END]

    def states(self, kind: str, tokens: Sequence[int]) -> np.ndarray:
        """Return an encoder's states (T, H) over the ids of one sentence."""
        t = self._arrays[kind]
        made = np.zeros((len(tokens), t["weight_hh"].shape[1]))
        h = c = made[0]
        for i, x in enumerate(t["embedding"][list(tokens)]):
            gates = t["weight_ih"] @ x + t["bias_ih"] + t["weight_hh"] @ h + t["bias_hh"]
            enter, keep, new, tell = np.split(gates.astype(float), 4)
            c = sigmoid(keep) * c + sigmoid(enter) * np.tanh(new)
            made[i] = h = sigmoid(tell) * np.tanh(c)
        return made

    def mean(self, kind: str, tokens: Sequence[int]) -> np.ndarray:
        """Return the posterior mean (D,) of one sentence."""
        h = self.states(kind, tokens)
        if kind == "absmax":
            s = np.take_along_axis(h, np.abs(h).argmax(0)[None], 0)[0]
        else:
            s = {"last": h[-1], "mean": h.mean(0), "max": h.max(0)}[kind]
        linear = self._arrays[kind]["linear"]
        return linear[: len(linear) // 2] @ s

    def influence(self, kind: str, tokens: Sequence[int]) -> np.ndarray:
        """Return how far each word moves the posterior mean when it is left out, (T - 2,)."""
        whole = self.mean(kind, tokens)
        rest = ([*tokens[:i], *tokens[i + 1 :]] for i in range(1, len(tokens) - 1))
        return np.array([np.linalg.norm(self.mean(kind, some) - whole) for some in rest])

    def __repr__(self) -> str:
        kinds = ", ".join(self.kinds)
        return f"PoolingWeights({kinds}; words={len(self._ids)}, bytes={len(self.data)})"


def check_examples(examples: Sequence[str], most: int = 100) -> list[str]:
    """Return the examples as a list.

    Raises:
        ValueError: For no example, one without words, or more than ``most``.
    """
    if isinstance(examples, str) or not examples or not all(e.split() for e in examples):
        raise ValueError("examples: want a list of sentences, at least one, none empty")
    if len(examples) > most:
        raise ValueError(f"{len(examples)} examples: want at most {most}")
    return list(examples)


def _checked(encoders: Mapping) -> dict[str, dict[str, np.ndarray]]:
    wrong = [kind for kind in encoders if kind not in KINDS]
    if wrong or not encoders:
        raise ValueError(f"encoders {list(encoders)}: want at least one of {list(KINDS)}")
    found = {kind: _checked_encoder(kind, state) for kind, state in encoders.items()}
    sizes = {kind: len(arrays["embedding"]) for kind, arrays in found.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"the encoders know different numbers of words: {sizes}")
    return found


def _checked_encoder(kind: str, state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = sorted(set(TENSORS.values()) - state.keys())
    if missing:
        raise ValueError(f"encoder {kind!r} lacks {missing}")
    more = [n for n in state if ".states.lstm." in n and n not in TENSORS.values()]
    if more:
        raise ValueError(f"encoder {kind!r} has {more[0]}: want one layer, forwards only")
    arrays = {name: np.asarray(state[full], np.float32) for name, full in TENSORS.items()}
    for name, array in arrays.items():
        if array.ndim != (1 if name.startswith("bias") else 2) or not array.size:
            raise ValueError(f"encoder {kind!r}: {TENSORS[name]} has shape {array.shape}")
    hidden, embedding = arrays["weight_hh"].shape[1], arrays["embedding"].shape[1]
    wanted = {
        "weight_ih": (4 * hidden, embedding),
        "weight_hh": (4 * hidden, hidden),
        "bias_ih": (4 * hidden,),
        "bias_hh": (4 * hidden,),
        "linear": (2 * (len(arrays["linear"]) // 2), hidden),
    }
    for name, array in arrays.items():
        if array.shape != wanted.get(name, array.shape):
            raise ValueError(
                f"encoder {kind!r}: {TENSORS[name]} has shape {array.shape}, want {wanted[name]}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"encoder {kind!r}: {TENSORS[name]} holds values that are not finite")
    return arrays


def _checked_golden(
    golden: Mapping | None, encoders: Mapping[str, Mapping[str, np.ndarray]]
) -> tuple[list[list[int]], dict[str, np.ndarray]]:
    if golden is None:
        return [], {}
    if golden.keys() != {"tokens", "means"} or golden["means"].keys() != encoders.keys():
        raise ValueError(f"golden: want tokens, and means for each of {list(encoders)}")
    rows = [[int(t) for t in row if t] for row in golden["tokens"]]
    size = len(next(iter(encoders.values()))["embedding"])
    for row in rows:
        if row[:1] != [START] or row[-1:] != [END] or len(row) < 2 or max(row) >= size:
            raise ValueError(f"golden tokens {row}: want {START}, ids below {size}, {END}")
    means = {kind: np.asarray(golden["means"][kind], np.float32) for kind in encoders}
    for kind, array in means.items():
        wanted = (len(rows), len(encoders[kind]["linear"]) // 2)
        if array.shape != wanted or not np.isfinite(array).all():
            raise ValueError(f"golden means of {kind!r} have shape {array.shape}, want {wanted}")
    return rows, means
