"""How models travel in a page: arrays that were checked, one after the other in one byte string."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import ipywidgets
import numpy as np
import traitlets

BYTES_PER_MODEL = 300_000  # what a page may hold for one image or series model


class PackedWeights(ipywidgets.Widget):
    """Models that a page's widgets share: what `pack` has filled, its descriptions, and names."""

    data = traitlets.Bytes(read_only=True).tag(sync=True)
    header = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(self, packed: bytes | bytearray, header: dict, names: Iterable[str] = ()) -> None:
        super().__init__()
        self.names = list(names)
        self.set_trait("data", bytes(packed))
        self.set_trait("header", header)

    def arrays(self, described: Mapping) -> Any:
        """Return the float32 arrays that the page computes with, from what `pack` returned."""
        return unpack(self.data, described)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bytes={len(self.data)})"


def shared(kind: type[PackedWeights]) -> Any:
    """Return a trait of the page's weights, shared by its widgets."""
    return traitlets.Instance(kind).tag(sync=True, **ipywidgets.widget_serialization)


def round_rows(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix (R, C) as int8, and the scale (R,) of each row, float32."""
    largest = np.abs(array).max(axis=1)
    scale = np.where(largest > 0, largest / 127, 1).astype("<f4")
    return np.clip(np.rint(array / scale[:, None]), -127, 127).astype(np.int8), scale


def append(packed: bytearray, values: np.ndarray) -> int:
    """Append an array (int8, else float32) at a multiple of four bytes; return where it lies."""
    packed.extend(b"\0" * (-len(packed) % 4))
    start = len(packed)
    packed.extend(values.astype(np.int8 if values.dtype == np.int8 else "<f4").tobytes())
    return start


def pack(packed: bytearray, arrays: Any, wide: bool = False) -> dict:
    """Append an array, a matrix rounded unless `wide`; return shape, start, perhaps scale.

    Of a mapping, which may hold others, each of its arrays: the same names, with descriptions.
    """
    if isinstance(arrays, Mapping):
        return {name: pack(packed, part, wide) for name, part in arrays.items()}
    shape = list(arrays.shape)
    if wide or arrays.ndim != 2:
        return {"shape": shape, "start": append(packed, arrays)}
    whole, scale = round_rows(arrays)
    return {"shape": shape, "start": append(packed, whole), "scale": append(packed, scale)}


def unpack(data: bytes | bytearray, described: Mapping) -> Any:
    """Return the float32 arrays that `pack` has described; a scale of None counts as absent."""
    if "start" not in described:
        return {name: unpack(data, part) for name, part in described.items()}
    shape, scale = described["shape"], described.get("scale")
    kind = "<f4" if scale is None else np.int8
    count = int(np.prod(shape, dtype=int))
    array = np.frombuffer(data, kind, count, described["start"]).reshape(shape)
    return array if scale is None else array * np.frombuffer(data, "<f4", shape[0], scale)[:, None]


def rounded(arrays: Any, wide: bool = False) -> Any:
    """Return the float32 arrays that a page has of those that `pack` took."""
    packed = bytearray()
    return unpack(packed, pack(packed, arrays, wide))


def check_size(owner: str, size: int, limit: int) -> None:
    """Raise ValueError where a model (or all of a page) takes more bytes than a page may hold."""
    if size > limit:
        raise ValueError(
            f"{owner} takes {size} bytes, a page holds at most {limit}: "
            "use narrower layers, fewer words or fewer models"
        )


def digits(values: Any, n: int) -> Any:
    """Return numbers with n digits, as lists."""
    return np.vectorize(lambda x: float(f"{x:.{n}g}"), otypes=[float])(values).tolist()


def evenly(n: int, most: int) -> np.ndarray:
    """Return which of n to keep where at most so many may be: it has their proportions."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int))
