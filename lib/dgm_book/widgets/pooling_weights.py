"""Sentence encoders small enough to travel inside a page: int8 matrices with one scale a row."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from .frame import BookWidget
from .packing import PackedWeights, append, check_arrays, check_size, check_words, pack

BYTES_PER_PAGE = 1_500_000  # what a page may hold for its text models
MARKERS = 4  # <pad>, <s>, </s> and <unk>
START, END, UNKNOWN = 1, 2, 3
MAX_CHARACTERS = 2000  # of a sentence that a reader types
KINDS = ("last", "mean", "max", "absmax")  # as in `dgm.nets.pooling`
# Names in the page, and in the state dict of a `dgm.nets.text_vae.TextVAE`, with their shapes.
TENSORS = {
    "embedding": ("posterior.encoder.states.embedding.weight", "V E"),
    "weight_ih": ("posterior.encoder.states.lstm.weight_ih_l0", "4H E"),
    "weight_hh": ("posterior.encoder.states.lstm.weight_hh_l0", "4H H"),
    "bias_ih": ("posterior.encoder.states.lstm.bias_ih_l0", "4H"),
    "bias_hh": ("posterior.encoder.states.lstm.bias_hh_l0", "4H"),
    "linear": ("posterior.head.weight", "2D H"),
}


class PoolingWeights(PackedWeights):
    """Encoders that differ in how they pool, and their words, stored once for a page's widgets.

    An encoder is an LSTM of one layer, forwards, its states pooled, and a linear layer.
    When idle the page compares with the golden means: ``data-golden-error`` is its largest error.

    Args:
        encoders: For each kind of pooling the arrays of a `TextVAE`'s state dict, by name; those of
            `TENSORS` are taken.
        words: The vocabulary's words, without its four markers, in the order of their ids.
        golden: ``tokens`` (G, T), ids from <s> to </s> and then zeros, and ``means``: for each kind
            (G, D), what PyTorch makes of them with weights that were `packing.rounded`.
        max_words: Words of a sentence that are read.
        limit: Most bytes of the encoders with their words.

    Raises:
        ValueError: For no encoder, an unknown kind, more layers or directions, tensors, words or
            golden means that do not fit, or encoders above the limit.
    """

    def __init__(
        self,
        encoders: Mapping[str, Mapping[str, np.ndarray]],
        words: Sequence[str],
        *,
        golden: Mapping | None = None,
        max_words: int = 30,
        limit: int = BYTES_PER_PAGE,
    ) -> None:
        if not encoders or not encoders.keys() <= set(KINDS):
            raise ValueError(f"encoders {list(encoders)}: want at least one of {list(KINDS)}")
        packed, described, sizes = bytearray(), [], []
        for kind, state in encoders.items():
            owner, names = f"encoder {kind!r}", dict(TENSORS.values())
            more = [n for n in state if n.startswith("posterior.encoder") and n not in names]
            if more:
                raise ValueError(f"{owner} has {more[0]}: want one layer, forwards only")
            sizes.append({"V": sizes[0]["V"]} if sizes else {})
            arrays = check_arrays(owner, state, names, sizes[-1])
            tensors = {name: pack(packed, arrays[full]) for name, (full, _) in TENSORS.items()}
            described.append({"kind": kind, "tensors": tensors})
        check_words(words, sizes[0]["V"] - MARKERS)
        text = " ".join(words)
        check_size("the page's encoders", len(packed) + len(text.encode()), limit)
        header = {"encoders": described, "words": text, "max_words": max_words}
        dimensions = {kind: s["D"] for kind, s in zip(encoders, sizes, strict=True)}
        tokens, means = _checked_golden(golden, dimensions, sizes[0]["V"])
        starts = {kind: append(packed, array) for kind, array in means.items()}
        super().__init__(packed, header | {"golden": {"tokens": tokens, "means": starts}})

    @property
    def kinds(self) -> list[str]:
        """The encoders' kinds of pooling, in their order."""
        return [encoder["kind"] for encoder in self.header["encoders"]]


class SentenceWidget(BookWidget):
    """The base of widgets that read a sentence, typed or chosen, with the page's encoders."""

    weights = traitlets.Instance(PoolingWeights).tag(sync=True, **widget_serialization)
    examples = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)

    def __init__(self, weights: PoolingWeights, examples: Sequence[str], fixed=None, **traits):
        if isinstance(examples, str) or not all(example.split() for example in examples):
            raise ValueError("examples: want a list of sentences, none empty")
        if not 1 <= len(examples) <= 100:
            raise ValueError(f"{len(examples)} examples: want at least one, at most 100")
        fixed = {"examples": list(examples)} | (fixed or {})
        super().__init__(fixed, weights=weights, sentence=examples[0], **traits)

    @traitlets.validate("sentence")
    def _check_sentence(self, proposal) -> str:
        if len(proposal["value"]) > MAX_CHARACTERS:
            raise ValueError(f"sentence: want at most {MAX_CHARACTERS} characters")
        return proposal["value"]


def _checked_golden(
    golden: Mapping | None, dimensions: Mapping[str, int], n_words: int
) -> tuple[list[list[int]], dict[str, np.ndarray]]:
    if golden is None:
        return [], {}
    if golden.keys() != {"tokens", "means"} or golden["means"].keys() != dimensions.keys():
        raise ValueError(f"golden: want tokens, and means for each of {list(dimensions)}")
    rows = [[int(t) for t in row if t] for row in golden["tokens"]]
    for row in rows:
        if row[:1] != [START] or row[-1:] != [END] or len(row) < 2 or max(row) >= n_words:
            raise ValueError(f"golden tokens {row}: want {START}, ids below {n_words}, {END}")
    shapes = {kind: (len(rows), d) for kind, d in dimensions.items()}
    return rows, check_arrays("golden means", golden["means"], shapes)
