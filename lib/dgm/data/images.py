"""Images as rows of numbers from 0 to 1: MNIST, Fashion-MNIST, scikit-learn's small digits."""

import gzip
import hashlib
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.data import registry

_SPLITS = {
    "mnist": {"train": slice(0, 50_000), "validation": slice(50_000, 60_000), "test": slice(None)},
    "digits": {"train": slice(0, 1347), "test": slice(1347, None)},
}
_SPLITS["fashion-mnist"] = _SPLITS["mnist"]


class Images(NamedTuple):
    """N images of H x W pixels, in rows."""

    x: Tensor  # (N, H * W) float32, ink between 0 and 1
    y: Tensor  # (N,) int64, the class
    shape: tuple[int, int]  # (H, W)


def load(name: str, split: str = "train") -> Images:
    """Loads a split of an image data set; same call, same images in the same order.

    The sets are "mnist" and "fashion-mnist" (28 x 28; 50,000 to train on, 10,000 for validation,
    the published 10,000 for test) and "digits" (8 x 8, shipped with scikit-learn: 1,347 to train
    on, 450 for test), split into "train", "validation" (not for digits) and "test" after a fixed
    random order. ValueError for an unknown name or split, and errors as `registry.fetch`.
    """
    if name not in _SPLITS:
        raise ValueError(f"no images '{name}'; there are mnist, fashion-mnist and digits")
    if split not in _SPLITS[name]:
        raise ValueError(f"{name} has no split '{split}'; it has {', '.join(_SPLITS[name])}")
    part = "t10k" if split == "test" else "train"
    if name == "digits":
        from sklearn.datasets import load_digits  # here, since it takes a second

        flat, labels = (np.asarray(part, np.uint8) for part in load_digits(return_X_y=True))
        pixels = flat.reshape(-1, 8, 8)
        checksum = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
        (expected,) = registry.checksums("digits").values()
        if checksum != expected:
            raise ValueError(f"scikit-learn's digits have the sha256 {checksum}, want {expected}")
    else:
        pixels = _read_idx(f"{name}/{part}-images-idx3-ubyte.gz", 3)
        labels = _read_idx(f"{name}/{part}-labels-idx1-ubyte.gz", 1)
    order = np.arange(len(pixels))
    if name == "digits" or part == "train":
        order = np.random.RandomState(0).permutation(len(pixels))  # promised never to change
    chosen = order[_SPLITS[name][split]]
    x = torch.from_numpy(pixels[chosen].reshape(len(chosen), -1)).to(torch.float32)
    y = torch.from_numpy(labels[chosen]).to(torch.int64)
    return Images(x.div_(16 if name == "digits" else 255), y, pixels.shape[1:])


def _read_idx(path: str, ndim: int) -> np.ndarray:
    """An idx file of unsigned bytes as an array: four bytes, each axis's length, the values."""
    with gzip.open(registry.fetch(path)) as file:
        data = file.read()
    shape = tuple(np.frombuffer(data, ">u4", ndim, 4).tolist())
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape(shape)
