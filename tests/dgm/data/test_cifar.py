"""CIFAR-10: images with their labels, from sheets and from the publisher's archive."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image

from dgm.data import registry
from dgm.data.cifar import ColourImages, load


def sheet(first, n):
    """Images that tell their number (red), row (green) and column (blue)."""
    parts = np.meshgrid(np.arange(first, first + n), np.arange(32), np.arange(32), indexing="ij")
    return np.stack(parts, -1).astype(np.uint8).reshape(n, 1024, 3)


@pytest.fixture
def tiny(put):
    def put_content(name, content):
        data = io.BytesIO(json.dumps(content).encode() if name.endswith(".json") else b"")
        if name.endswith(".png"):
            Image.fromarray(content).save(data, "png")
        put(f"cifar10/{name}", data.getvalue())

    put_content("data_batch_1.png", sheet(0, 3))
    put_content("data_batch_2.png", sheet(3, 4))
    put_content("test_batch.png", sheet(100, 2))
    put_content("train_lables.json", [0, 1, 2, 3, 4, 5, 6, 9, 9, 9])  # of absent batches too
    put_content("test_lables.json", [8, 7])


def test_images_go_with_their_labels_in_the_published_order(tiny):
    train, test = load(), load("test")
    assert (train.x.shape, test.x.shape) == ((7, 3, 32, 32), (2, 3, 32, 32))
    assert (train.x.dtype, train.y.dtype) == (torch.uint8, torch.int64)
    assert train.y.tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert test.y.tolist() == [8, 7]
    assert torch.equal(train.x[:, 0, 5, 6], torch.arange(7))  # red: the image's number
    assert torch.equal(test.x[1, 1], torch.arange(32)[:, None].expand(32, 32))  # green: the row
    assert torch.equal(test.x[1, 2], torch.arange(32).expand(32, 32))  # blue: the column
    assert train.x.is_contiguous()
    test.x.zero_()
    assert load("test").x.max() == 101


@pytest.fixture
def archive(tiny, tmp_path, monkeypatch):
    """The same images as the publisher's archive has them, at an address, and no sheets."""
    expected = {split: load(split) for split in ("train", "test")}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for entry, images in zip(
            registry.PUBLISHED["cifar10"],
            [*(half(expected["train"], i) for i in (0, 1)), expected["test"]],
            strict=True,
        ):
            data = torch.cat([images.y[:, None].to(torch.uint8), images.x.flatten(1)], 1)
            data = data.numpy().tobytes()
            tar.addfile(member(entry.member, data), io.BytesIO(data))
            new = entry._replace(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            monkeypatch.setitem(registry.FILES, entry.path, new)
    monkeypatch.setenv("DGM_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("DGM_CACHE", str(tmp_path / "cache"))
    served = []

    def download(self, url, output, _):
        served.append(url)
        Path(output).write_bytes(content.getvalue())

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", download)
    return expected, served, content


def half(images, i):
    return ColourImages(*(part[slice(0, 3) if i == 0 else slice(3, None)] for part in images))


def member(name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info


def test_without_sheets_the_publishers_archive_is_downloaded_once(archive):
    expected, served, content = archive
    assert registry.unavailable("cifar10") == []
    assert registry.download_bytes("cifar10") > 150e6  # the whole archive, not what is kept of it
    good = content.getvalue()
    content.seek(content.truncate(0))
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for entry in registry.PUBLISHED["cifar10"]:
            tar.addfile(member(entry.member, bytes(3073)), io.BytesIO(bytes(3073)))
    with pytest.raises(ValueError, match="is not the file; nothing was kept"):
        load("test")  # another archive, by the checksums of its batches
    content.seek(content.truncate(0))
    content.write(good)
    served.clear()
    for split, images in expected.items():
        for ours, theirs in zip(load(split), images, strict=True):
            assert torch.equal(ours, theirs)
            assert ours.dtype == theirs.dtype
    assert served == [registry.PUBLISHED["cifar10"][0].url]
    assert registry.download_bytes("cifar10") == 0


OFFICIAL = {  # md5 of the published binary batches: label byte, then red, green and blue planes
    "train": ["5dd7e06a14cb22eb9f671a540d1b7c25", "5ea93a67294ea407fff1d09f752e9692"],
    "test": ["803d5f7f4d78ea53de84dbe85f74fb6d"],
}


@pytest.mark.parametrize("split", OFFICIAL)
def test_the_real_images_are_the_published_ones(split, need):
    need("cifar10")
    data = load(split)
    assert torch.bincount(data.y).min() > 900
    records = torch.cat([data.y[:, None].to(torch.uint8), data.x.flatten(1)], 1)
    batches = [part.numpy().tobytes() for part in records.split(10_000)]
    assert [hashlib.md5(batch).hexdigest() for batch in batches] == OFFICIAL[split]
    ours = [hashlib.sha256(batch).hexdigest() for batch in batches]
    entries = [f for f in registry.PUBLISHED["cifar10"] if ("test" in f.path) == (split == "test")]
    assert ours == [entry.sha256 for entry in entries]
