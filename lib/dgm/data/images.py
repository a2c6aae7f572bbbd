"""Images as rows of numbers from 0 to 1: MNIST, Fashion-MNIST, scikit-learn's small digits."""

import gzip
import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.data import registry

__all__ = ["Images", "load"]

_IDX = {"mnist", "fashion-mnist"}
_SPLITS = {"train": slice(0, 50_000), "validation": slice(50_000, 60_000)}
_DIGITS_TRAIN = 1347


class Images(NamedTuple):
    """N images of H x W pixels, in rows.

    Attributes:
        x: (N, H * W) float32, ink between 0 and 1.
        y: (N,) int64, the class.
        shape: (H, W).
    """

    x: Tensor
    y: Tensor
    shape: tuple[int, int]


def load(name: str, split: str = "train") -> Images:
    """Loads a split of an image data set; same call, same images in the same order.

    Args:
        name: "mnist" or "fashion-mnist" (28 x 28; 50,000 to train on, 10,000 for validation, the
            published 10,000 for test), or "digits" (8 x 8, shipped with scikit-learn: 1,347 to
            train on, 450 for test). What is split here is put in a fixed random order first.
        split: "train", "validation" (not for digits) or "test".

    Raises:
        ValueError: For an unknown name or split, and for a file that is not what it should be.
        FileNotFoundError: When the files are neither on this machine nor to be had.
    """
    splits = ("train", "test") if name == "digits" else ("train", "validation", "test")
    if name != "digits" and name not in _IDX:
        raise ValueError(f"no images '{name}'; there are mnist, fashion-mnist and digits")
    if split not in splits:
        raise ValueError(f"{name} has no split '{split}'; it has {', '.join(splits)}")
    if name == "digits":
        pixels, labels, largest = *_digits(split), 16
    else:
        pixels, labels, largest = *_mnist(name, split), 255
    x = torch.from_numpy(pixels.reshape(len(pixels), -1)).to(torch.float32).div_(largest)
    return Images(x, torch.from_numpy(labels).to(torch.int64), pixels.shape[1:])


def _mnist(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    part = "t10k" if split == "test" else "train"
    pixels = _read_idx(f"{name}/{part}-images-idx3-ubyte.gz", 3)
    labels = _read_idx(f"{name}/{part}-labels-idx1-ubyte.gz", 1)
    if len(pixels) != len(labels):
        raise ValueError(f"{name}: {len(pixels)} {part} images, but {len(labels)} labels")
    if split == "test":
        return pixels.copy(), labels.copy()
    chosen = _order(len(pixels))[_SPLITS[split]]
    return pixels[chosen], labels[chosen]


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # here, since it takes a second

    shipped = load_digits()
    pixels, labels = shipped.images.astype(np.uint8), shipped.target.astype(np.uint8)
    found = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    (expected,) = registry.checksums("digits").values()
    if found != expected:
        raise ValueError(f"scikit-learn's digits have the sha256 {found}, want {expected}")
    order = _order(len(pixels))
    chosen = order[:_DIGITS_TRAIN] if split == "train" else order[_DIGITS_TRAIN:]
    return pixels[chosen], labels[chosen]


def _order(n: int) -> np.ndarray:
    # RandomState's numbers are promised never to change.
    return np.random.RandomState(0).permutation(n)


def _read_idx(path: str, ndim: int) -> np.ndarray:
    with gzip.open(registry.fetch(path)) as file:
        return _parse_idx(file.read(), ndim, path)


def _parse_idx(data: bytes, ndim: int, path: str) -> np.ndarray:
    """An idx file of unsigned bytes as an array of `ndim` axes.

    The format: two zero bytes, the type (8 for unsigned byte), the number of axes, each axis's
    length as a big-endian 32-bit integer, then the bytes.

    Raises:
        ValueError: When the header or the length is not that, naming the file.
    """
    start, magic = 4 + 4 * ndim, bytes((0, 0, 8, ndim))
    if len(data) < start or data[:4] != magic:
        raise ValueError(
            f"{path} starts with the bytes {data[:4].hex(' ') or 'none'}; an idx file of unsigned "
            f"bytes with {ndim} axes starts with {magic.hex(' ')} and {ndim} lengths"
        )
    shape = tuple(np.frombuffer(data, ">u4", ndim, 4).tolist())
    if len(data) - start != np.prod(shape, dtype=np.int64):
        raise ValueError(f"{path} holds {len(data) - start} values; its header says {shape}")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
