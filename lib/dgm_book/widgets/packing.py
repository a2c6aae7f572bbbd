"""What the models of a page share: int8 matrices with one scale a row, one after the other, and words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def round_rows(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix (R, C) as int8, and the scale (R,) of each row, float32."""
    largest = np.abs(array).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype("<f4")
    return np.clip(np.rint(array / scale[:, None]), -127, 127).astype(np.int8), scale


def widen(whole: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return what `round_rows` has left of a matrix, float32."""
    return whole * scale[:, None]


def append(packed: bytearray, values: np.ndarray) -> int:
    """Append an array at a multiple of four bytes, and return where it lies."""
    packed.extend(b"\0" * (-len(packed) % 4))
    packed.extend(values.tobytes())
    return len(packed) - values.nbytes


def pack(packed: bytearray, array: np.ndarray) -> dict:
    """Append a vector as float32, or a matrix rounded; return its shape, start and scale."""
    shape = list(array.shape)
    if array.ndim == 1:
        return {"shape": shape, "start": append(packed, array.astype("<f4"))}
    whole, scale = round_rows(array)
    return {"shape": shape, "start": append(packed, whole), "scale": append(packed, scale)}


def check_words(words: Sequence[str], wanted: int) -> None:
    """Raise ValueError where words do not fit an embedding with that many rows beside the markers."""
    if len(words) != wanted:
        raise ValueError(
            f"{len(words)} words, but the embedding has rows for {wanted} beside the markers"
        )
    wrong = [word for word in words if word.split() != [word]]
    if wrong or len(set(words)) < len(words):
        raise ValueError(f"a word is empty, holds white space ({wrong[:3]}) or comes twice")


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e^-x) without overflow."""
    return 0.5 + 0.5 * np.tanh(x / 2)
