"""Files that are whole or absent: atomic writes, and trees of tensors as safetensors."""

import contextlib
import glob
import hashlib
import json
import math
import os
import time
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

ABANDONED = 3600.0  # seconds after which a temporary file's writer is taken to be dead
__all__ = ["check_identity", "digest", "from_bytes", "identity", "load", "save", "to_bytes"]
__all__ += ["write_bytes", "write_text"]

Tree = Any
"""Nested dicts, lists and tuples of tensors, int, float, str, bool and None."""


def save(path: str | os.PathLike, tree: Tree) -> None:
    """Writes a tree of tensors and plain values to one safetensors file, atomically.

    Equal trees give equal bytes. Keys are int or str, values tensors, int, float, str, bool, None
    and dicts, lists and tuples of them, else TypeError with the place. Gradients, devices and
    shared storage are not kept. OSError where it cannot be written; the old file is then unharmed.
    """
    write_bytes(path, to_bytes(tree))


def to_bytes(tree: Tree) -> bytes:
    """The bytes that `save` writes for a tree; raises TypeError as it does."""
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_flatten(tree, "", tensors), allow_nan=False)
    metadata = {"tree": text, "crc32": _checksum(text, tensors)}
    # One key only: safetensors writes several in no fixed order.
    return safetensors.torch.save(tensors, metadata={"dgm": json.dumps(metadata)})


def load(path: str | os.PathLike, device: str | torch.device = "cpu") -> Tree:
    """What `save` wrote, bit for bit, on `device`; ValueError names a damaged file."""
    return from_bytes(Path(path).read_bytes(), path, device)


def from_bytes(data: bytes, path: str | os.PathLike, device: str | torch.device = "cpu") -> Tree:
    """The tree of bytes of `to_bytes`, read from `path`; raises ValueError as `load`."""
    try:
        size = int.from_bytes(data[:8], "little")
        metadata = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["dgm"])
        tensors = safetensors.torch.load(data)
        text, expected = metadata["tree"], metadata["crc32"]
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        reason = f"({len(data)} bytes; {type(error).__name__}: {error}); delete it to start anew"
        wrong = f"{path} is damaged or was not written by dgm.checkpoint.save {reason}"
        raise ValueError(wrong) from error
    if _checksum(text, tensors) != expected:
        raise ValueError(f"{path} is damaged: its checksum is wrong; delete it to start anew")
    return _unflatten(json.loads(text), {name: t.to(device) for name, t in tensors.items()})


def identity(**parts: Any) -> dict[str, Any]:
    """What must be equal for a checkpoint to belong to a run, in JSON, tensors by `digest`."""
    return {name: _plain(value) for name, value in parts.items()}


def check_identity(path: str | os.PathLike, saved: Mapping, expected: Mapping) -> None:
    """ValueError that names the file at `path` and the first part in which it is another run's."""
    for name, value in expected.items():
        if (other := saved.get(name)) != value:
            difference = f"its {name} is {_difference(other, value)}"
            advice = "name another file, or delete it to start anew"
            raise ValueError(f"{path} belongs to another run: {difference}; {advice}")


def digest(value: Any) -> str:
    """A hash of a tensor or array: its type, its shape and its bytes."""
    value = _contiguous(torch.as_tensor(value, device="cpu"))  # whatever the default is
    hashed = hashlib.sha256(f"{value.dtype} {list(value.shape)}".encode())
    hashed.update(_bytes(value))
    return hashed.hexdigest()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)  # nan is not equal to itself
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): _plain(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(child) for child in value]
    if hasattr(value, "__array__"):
        return _plain(value.item()) if value.ndim == 0 else digest(value)
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    return getattr(value, "__qualname__", type(value).__qualname__)


def _difference(saved: Any, expected: Any) -> str:
    """The part in which two trees differ, in words."""
    if isinstance(saved, list) and isinstance(expected, list) and len(saved) == len(expected) == 1:
        return _difference(saved[0], expected[0])
    if isinstance(saved, dict) and isinstance(expected, dict):
        keys = [key for key in [*expected, *saved] if saved.get(key) != expected.get(key)]
        return f"{keys[0]}: {_difference(saved.get(keys[0]), expected.get(keys[0]))}"
    return f"{saved}, here it is {expected}"


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Writes a file atomically: whoever reads `path` finds the old bytes or all of the new ones.

    Makes the folder, leaves no temporary file; OSError, which names the file, where it cannot.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for entry in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            with contextlib.suppress(OSError):  # another writer may have been faster
                if time.time() - entry.stat().st_mtime > ABANDONED:
                    entry.unlink()
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        message = f"could not write {path}: {error.strerror or error}"
        raise OSError(error.errno, f"{message}; nothing half written was left") from error
    with contextlib.suppress(OSError):  # Windows opens no folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _checksum(text: str, tensors: Mapping[str, torch.Tensor]) -> int:
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        t = tensors[name]
        crc = zlib.crc32(f"{name} {t.dtype} {list(t.shape)}".encode(), crc)
        crc = zlib.crc32(_bytes(t), crc)
    return crc


def _contiguous(value: torch.Tensor) -> torch.Tensor:
    """A copy of its own, since safetensors refuses tensors that share memory."""
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _bytes(value: torch.Tensor) -> memoryview:
    return value.view(-1).view(torch.uint8).numpy().data


def _flatten(node: Tree, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The tree as JSON, with each tensor moved to `tensors` and its name left in its place."""
    if node is None or isinstance(node, (bool, int, str)):
        return node
    if isinstance(node, float):
        return node if math.isfinite(node) else {"float": str(node)}
    below = f"{place}/" if place else ""
    if isinstance(node, Mapping):
        for key in node:
            if type(key) not in (int, str):
                raise TypeError(f"a key at '{place}' is {key!r}; only int and str can be saved")
        return {"dict": [[k, _flatten(v, f"{below}{k}", tensors)] for k, v in node.items()]}
    if isinstance(node, (list, tuple)):
        kind = "list" if isinstance(node, list) else "tuple"
        return {kind: [_flatten(v, f"{below}{i}", tensors) for i, v in enumerate(node)]}
    if not isinstance(node, torch.Tensor):
        allowed = "tensors, int, float, str, bool, None and dicts, lists and tuples of these"
        raise TypeError(f"'{place}' is a {type(node).__name__}; only {allowed} can be saved")
    name = place or "tensor"
    while name in tensors or name == "__metadata__":  # 1 and "1" are different keys
        name += "'"
    tensors[name] = _contiguous(node)
    return {"tensor": name}


def _unflatten(node: Any, tensors: Mapping[str, torch.Tensor]) -> Tree:
    if not isinstance(node, dict):
        return node
    ((kind, value),) = node.items()
    if kind == "dict":
        return {key: _unflatten(child, tensors) for key, child in value}
    if kind in ("list", "tuple"):
        return {"list": list, "tuple": tuple}[kind](_unflatten(child, tensors) for child in value)
    return tensors[value] if kind == "tensor" else float(value)
