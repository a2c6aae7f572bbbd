"""Files are whole or absent, and trees come back bit for bit."""

import errno
import itertools
import json
import multiprocessing
import os
import signal
from typing import NamedTuple

import numpy as np
import pytest
import safetensors.torch
import torch
from checks import refuses
from draws import rng

from dgm import checkpoint


def equal(a, b):
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        bits = (x.reshape(-1).view(torch.uint8) for x in (a, b))
        return (a.dtype, a.shape) == (b.dtype, b.shape) and torch.equal(*bits)
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return repr(a) == repr(b)


BASE = torch.arange(12.0).reshape(3, 4)
TIED = {"a": BASE, "tied": BASE, "turned": BASE.T, "row": BASE[1], "wide": BASE[:, :1].expand(3, 9)}
TREE = {
    "weights": {"0.weight": torch.randn(3, 4, generator=rng())},
    "kinds": [
        torch.tensor([1.5, float("nan"), -0.0], dtype=torch.float64),
        torch.tensor(7),
        torch.tensor([True, False]),
        torch.zeros(0, 5),
        torch.full((2,), 0.1, dtype=torch.bfloat16),
        torch.arange(5, dtype=torch.uint8),
    ],
    "betas": (0.9, 0.999),
    1: {"1": None, 1: 2**70},
    "1": {"text": 'é "quoted" \n', "on": True, "off": False, "none": [], "empty": {}, "no": ()},
    "floats": [0.1, -0.0, float("inf"), float("-inf"), float("nan"), 5e-324],
    "clash/a": torch.zeros(1),
    "clash": {"a": torch.ones(1)},
    "__metadata__": torch.ones(2),
}


@pytest.mark.parametrize("tree", [TREE, TIED, torch.ones(2), 3.5, None, [], {"a": ()}])
def test_a_tree_comes_back_bit_for_bit_and_has_always_the_same_bytes(tmp_path, tree):
    path = tmp_path / "new" / "folder" / "tree.safetensors"
    checkpoint.save(path, tree)
    assert equal(checkpoint.load(path), tree)
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == checkpoint.to_bytes(tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"model": {"x": object()}}, "'model/x' is a object"),
        ({"a": [1, {2.5: 0}]}, "a key at 'a/1' is 2.5"),
        ({True: 0}, "key at '' is True"),
        ({"a": {1, 2}}, "'a' is a set"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, tree, message):
    with pytest.raises(TypeError, match=message):
        checkpoint.save(tmp_path / "t", tree)
    assert os.listdir(tmp_path) == []


def test_every_kind_of_damage_is_found(tmp_path):
    path = tmp_path / "t.safetensors"
    checkpoint.save(path, {"a": torch.arange(50.0), "b": [1.5, "text"]})
    good = path.read_bytes()
    damaged = [b"", b"no checkpoint", good[:-1], good[: len(good) // 2], good[:7], good + b"x"]
    damaged += [good[:k] + bytes([good[k] ^ 1]) + good[k + 1 :] for k in range(len(good))]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"t\.safetensors is damaged"):
            checkpoint.load(path)
    safetensors.torch.save_file({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"not written by dgm\.checkpoint\.save"):
        checkpoint.load(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        checkpoint.load(tmp_path / "absent")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "x"
    checkpoint.write_text(path, "old")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"could not write .*/x: No space left on device") as caught:
        checkpoint.write_text(path, "new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x"]
    with pytest.raises(OSError, match=r"could not write .*x/y"):  # a file in place of a folder
        checkpoint.write_text(path / "y", "new")


def write_and_die(path, when):
    """In a child: is killed for good (SIGKILL) just before or after a step of the write."""
    name, after = when
    real = getattr(os, name)

    def dying(*args):
        if after:
            real(*args)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, name, dying)
    checkpoint.save(path, {"new": torch.ones(1000)})


@pytest.mark.parametrize("when", [*itertools.product(("fsync", "replace"), (False, True))])
def test_a_write_killed_at_any_stage_leaves_a_whole_file(tmp_path, when):
    survivor = "new" if when == ("replace", True) else "old"
    path = tmp_path / "x"
    checkpoint.save(path, {"old": torch.zeros(3)})
    context = multiprocessing.get_context("forkserver")
    child = context.Process(target=write_and_die, args=(path, when))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert list(checkpoint.load(path)) == [survivor]
    assert len(os.listdir(tmp_path)) == (2 if survivor == "old" else 1)
    for left in tmp_path.glob(".x.*"):
        os.utime(left, (0, 0))
    checkpoint.save(path, {"next": torch.zeros(3)})
    assert os.listdir(tmp_path) == ["x"]  # what the dead writer left long ago is gone
    assert list(checkpoint.load(path)) == ["next"]


def test_writers_do_not_harm_each_other(tmp_path, monkeypatch):
    """The second writes while the first has its temporary file."""
    path, real = tmp_path / "x", os.replace

    def meanwhile(*args):
        monkeypatch.setattr(os, "replace", real)
        checkpoint.write_text(path, "the other writer")
        assert len(os.listdir(tmp_path)) == 2
        real(*args)

    monkeypatch.setattr(os, "replace", meanwhile)
    checkpoint.write_text(path, "the first writer ü")
    assert path.read_text("utf-8") == "the first writer ü"
    assert os.listdir(tmp_path) == ["x"]


class Options(NamedTuple):
    rate: float
    kind: str


def identity(**changes):
    parts = {
        "data": torch.arange(6.0),
        "options": Options(0.1, "lstm"),
        "optimizer": torch.optim.Adam,
        "dtype": torch.float32,
        "shape": (2, 3),
        "limit": float("nan"),
        "rate": torch.tensor(0.5),
    }
    return checkpoint.identity(**parts | changes)


def test_an_identity_is_the_same_for_the_same_run_and_after_saving(tmp_path):
    checkpoint.check_identity("run", identity(), identity(data=np.arange(6, dtype=np.float32)))
    digests = map(checkpoint.digest, (torch.tensor(2.0).expand(1), torch.full((1,), 2.0)))
    assert len(set(digests)) == 1
    checkpoint.save(tmp_path / "c", identity())
    checkpoint.check_identity("run", checkpoint.load(tmp_path / "c"), identity())
    assert json.loads(json.dumps(identity())) == identity()


DIFFERENT = {
    "its data is": {"data": torch.arange(6.0).flip(0)},
    "its options is rate: 0.1, here it is 0.2": {"options": Options(0.2, "lstm")},
    "its optimizer is Adam, here it is SGD": {"optimizer": torch.optim.SGD},
    "its dtype is torch.float32, here it is torch.float64": {"dtype": torch.float64},
    r"its shape is \[2, 3\], here it is \[2, 3, 1\]": {"shape": (2, 3, 1)},
    "its rate is 0.5, here it is 0.25": {"rate": torch.tensor(0.25)},
    "its more is None, here it is 1": {"more": 1},
}
test_an_identity_names_what_differs = refuses(
    {f"the/file belongs to another run: {text}": change for text, change in DIFFERENT.items()},
    lambda **change: checkpoint.check_identity("the/file", identity(), identity(**change)),
)
