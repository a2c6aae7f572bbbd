"""How models travel in a page: arrays that were checked, one after the other in one byte string."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
import traitlets


class PackedWeights(ipywidgets.Widget):
    """The models that a page's widgets share, stored once: their bytes, and where each array lies.

    Args:
        packed: What `pack` has filled.
        header: What the page's JavaScript reads; descriptions by `pack` stand in it.
    """

    data = traitlets.Bytes(read_only=True).tag(sync=True)
    header = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(self, packed: bytes | bytearray, header: dict) -> None:
        super().__init__()
        self.set_trait("data", bytes(packed))
        self.set_trait("header", header)

    def array(self, description: Mapping) -> np.ndarray:
        """Return the float32 array that the page computes with, from what `pack` returned."""
        return unpack(self.data, description)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bytes={len(self.data)})"


def round_rows(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix (R, C) as int8, and the scale (R,) of each row, float32."""
    largest = np.abs(array).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype("<f4")
    return np.clip(np.rint(array / scale[:, None]), -127, 127).astype(np.int8), scale


def widen(whole: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return what `round_rows` has left of a matrix, float32."""
    return whole * scale[:, None]


def append(packed: bytearray, values: np.ndarray) -> int:
    """Append an array (int8, else float32) at a multiple of four bytes; return where it lies."""
    packed.extend(b"\0" * (-len(packed) % 4))
    start = len(packed)
    packed.extend(values.astype(np.int8 if values.dtype == np.int8 else "<f4").tobytes())
    return start


def pack(packed: bytearray, array: np.ndarray, wide: bool = False) -> dict:
    """Append an array and describe it.

    Args:
        packed: The bytes so far.
        array: Any array; a matrix is rounded to int8 with one scale a row, all else is float32.
        wide: Leave a matrix float32, too.

    Returns:
        ``shape``, ``start``, and ``scale`` (where the scales lie) for a matrix that was rounded.
    """
    shape = list(array.shape)
    if wide or array.ndim != 2:
        return {"shape": shape, "start": append(packed, array)}
    whole, scale = round_rows(array)
    return {"shape": shape, "start": append(packed, whole), "scale": append(packed, scale)}


def unpack(data: bytes | bytearray, description: Mapping) -> np.ndarray:
    """Return the float32 array that `pack` has described; a scale of None counts as absent."""
    shape, scale = description["shape"], description.get("scale")
    kind = "<f4" if scale is None else np.int8
    count = int(np.prod(shape, dtype=int))
    array = np.frombuffer(data, kind, count, description["start"]).reshape(shape)
    return array if scale is None else widen(array, np.frombuffer(data, "<f4", shape[0], scale))


def rounded(array: np.ndarray, wide: bool = False) -> np.ndarray:
    """Return the float32 array that a page has of one that `pack` took."""
    packed = bytearray()
    return unpack(packed, pack(packed, array, wide))


def check_size(owner: str, size: int, limit: int) -> None:
    """Raise ValueError where a model (or all of a page) takes more bytes than a page may hold."""
    if size > limit:
        raise ValueError(
            f"{owner} takes {size} bytes, a page holds at most {limit}: "
            "use narrower layers, fewer words or fewer models"
        )


def check_arrays(
    owner: str,
    arrays: Mapping,
    shapes: Mapping[str, str | Sequence],
    sizes: dict[str, int] | None = None,
    dtype: type = np.float32,
) -> dict[str, np.ndarray]:
    """Check arrays against a table of shapes.

    Args:
        owner: What the arrays belong to, for messages.
        arrays: By name; names that the table lacks are left out.
        shapes: For each name its dimensions, apart by spaces or in a tuple: whole numbers,
            letters, and sums such as ``4H`` or ``E+D``. A letter's first use sets it, above 0.
        sizes: What letters stand for; those that the arrays set are added.
        dtype: Of the arrays that are returned.

    Returns:
        The arrays, in the order of the table.

    Raises:
        ValueError: For an array that is missing, has another shape, or values that are not finite.
    """
    sizes, checked = {} if sizes is None else sizes, {}
    if missing := [name for name in shapes if name not in arrays]:
        raise ValueError(f"{owner} lacks {missing}")
    for name, shape in shapes.items():
        array = np.asarray(arrays[name], dtype)
        dimensions = shape.split() if isinstance(shape, str) else [str(part) for part in shape]
        letters = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
        fits = zip(dimensions, array.shape, strict=False)
        if len(dimensions) != array.ndim or not all(_fits(*pair, sizes) for pair in fits):
            expected = f"({', '.join(dimensions)}){letters and f' with {letters}'}"
            raise ValueError(f"{owner}: {name} has shape {array.shape}, should be {expected}")
        if not np.isfinite(array).all():
            raise ValueError(f"{owner}: {name} holds values that are not finite")
        checked[name] = array
    return checked


def _fits(dimension: str, size: int, sizes: dict[str, int]) -> bool:
    """Return whether a size is that of an expression such as 4H or E+D, and set its new letter."""
    rest, new = size, ("", 1)
    for term in dimension.split("+"):
        letter = term.lstrip("0123456789")
        factor = int(term.removesuffix(letter) or 1)
        if letter and letter not in sizes:
            new = letter, factor
        else:
            rest -= factor * sizes.get(letter, 1)
    letter, factor = new
    if not letter:
        return rest == 0
    sizes[letter] = rest // factor
    return rest > 0 and rest % factor == 0


def check_ascending(name: str, values, least: int = 2) -> np.ndarray:
    """Return values as float64; ValueError for fewer, or if they do not ascend from 0 or above."""
    array = np.asarray(values, float)
    ascends = array.ndim == 1 and len(array) >= least and (np.diff(array) > 0).all()
    if not ascends or array[0] < 0 or not np.isfinite(array).all():
        raise ValueError(f"{name}={values}: should be {least} or more, ascending, none negative")
    return array


def check_words(words: Sequence[str], expected: int) -> None:
    """Raise ValueError where words do not fit an embedding of that many rows beside the markers."""
    if len(words) != expected:
        raise ValueError(
            f"{len(words)} words, but the embedding has rows for {expected} beside the markers"
        )
    wrong = [word for word in words if word.split() != [word]]
    if wrong or len(set(words)) < len(words):
        raise ValueError(f"a word is empty, holds white space ({wrong[:3]}) or comes twice")


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + e^-x) without overflow."""
    return 0.5 + 0.5 * np.tanh(x / 2)
