"""Image data sets: splits, scales and labels."""

import gzip

import numpy as np
import pytest
import torch

from dgm.data import registry
from dgm.data.images import load


def idx(array):
    header = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@pytest.fixture
def tiny(put):
    """MNIST's counts with 1 x 3 pixels that tell an image's number and label."""

    def put_idx(name, data):
        put(f"mnist/{name}-ubyte.gz", gzip.compress(data, compresslevel=1))

    for part, n in (("train", 60_000), ("t10k", 10_000)):
        number = np.arange(n)
        label = (number % 10).astype(np.uint8)
        pixels = np.stack([number // 256, number % 256, label], 1).astype(np.uint8)
        put_idx(f"{part}-images-idx3", idx(pixels[:, None]))
        put_idx(f"{part}-labels-idx1", idx(label))


def numbers(data):
    return (data.x[:, 0] * 255 * 256 + data.x[:, 1] * 255).round().long()


def test_the_splits_are_disjoint_shuffled_and_complete(tiny):
    train, validation, test = (load("mnist", split) for split in ("train", "validation", "test"))
    assert [len(s.x) for s in (train, validation, test)] == [50_000, 10_000, 10_000]
    together = torch.cat([numbers(train), numbers(validation)])
    assert torch.equal(together.sort().values, torch.arange(60_000))
    assert not torch.equal(numbers(train).sort().values, torch.arange(50_000))
    assert torch.equal(numbers(test), torch.arange(10_000))
    # A change would make every published result stale.
    assert together[:3].tolist() == [3048, 19563, 58303]
    for split in (train, validation, test):
        assert (split.x.dtype, split.y.dtype) == (torch.float32, torch.int64)
        assert (split.x.shape[1:], split.shape) == ((3,), (1, 3))
        assert torch.equal(split.y, (split.x[:, 2] * 255).round().long())  # labels go with images
        assert torch.equal(split.y, numbers(split) % 10)
        assert split.x.max() == 1.0 or split is test
        assert split.x.min() == 0.0
    # What a caller does to a split changes no other load.
    test.x.zero_()
    test.y.zero_()
    assert load("mnist", "test").y.sum() == 45_000


def test_digits_need_no_file_and_no_network(monkeypatch):
    monkeypatch.setattr(registry, "fetch", None)
    train, test = load("digits", "train"), load("digits", "test")
    assert train.x.shape == (1347, 64)
    assert test.x.shape == (450, 64)
    assert train.shape == (8, 8)
    assert (train.x.min(), train.x.max()) == (0.0, 1.0)
    assert (train.x * 16 == (train.x * 16).round()).all()
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert torch.bincount(torch.cat([train.y, test.y])).tolist() == counts
    assert torch.bincount(test.y).min() >= 30
    assert torch.equal(load("digits", "test").x, test.x)
    assert test.y[:5].tolist() == [0, 7, 7, 4, 7]
    # Digits of another release are noticed.
    monkeypatch.setattr(registry, "DIGITS", {"scikit-learn/digits": "0" * 64})
    with pytest.raises(ValueError, match=r"digits have the sha256 87ff.*, want 0000"):
        load("digits")


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_images(name, need):
    need(name)
    mean = {"mnist": 0.1307, "fashion-mnist": 0.2860}[name]
    train, validation = load(name, "train"), load(name, "validation")
    assert train.shape == (28, 28)
    pair = (train.x.mean() * 5 + validation.x.mean()) / 6
    assert pair.item() == pytest.approx(mean, abs=1e-4)
    assert torch.bincount(load(name, "test").y).sum() == 10_000
