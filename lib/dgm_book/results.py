"""Published results: loaded where they exist, else computed and kept with their provenance.

Of a chapter at a profile, `results.json` holds the plain values of each, where they came from, and
a hash of all; `results.safetensors` the tensors of small results; a large one has a file of its
own. The JSON is written last, so a result is whole or absent; one process at a time computes it. A
result is *current* while the code that its experiment runs is the code that made it, or has been
verified to give the same numbers; otherwise its badge says "earlier code".
"""

import contextlib
import copy
import functools
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from dgm import checkpoint, paths
from dgm.data import registry
from dgm_book import profiles
from dgm_book.code_hash import LIBRARY, code_hash

RECORDS = "results.json"
TENSORS = "results.safetensors"
VERIFIED = "verified.json"
LARGE = 16_384  # bytes of a result's tensors from which on they are a file of their own
NEEDED = ("tensors_sha256", "code", "data", "device", "profile")  # of a result's provenance
CLOCK_SECONDS = 5.0  # between two notes of the time spent on a result: what a kill can lose
# While this holds a list, `get` only notes there what is not at hand.
_absent: ContextVar[list | None] = ContextVar("absent", default=None)


class Result(NamedTuple):
    """A result and where it came from."""

    name: str
    values: dict[str, Any]
    tensors: dict[str, Tensor]
    provenance: dict[str, Any]
    current: bool


class Context(NamedTuple):
    """What results of one experiment share: the code they depend on and where they run."""

    experiment: str  # module name, its imports are hashed with it
    chapter: str  # folder, such as "01_rate_distortion"
    profile: profiles.Profile
    datasets: tuple[str, ...]


def folders() -> list[Path]:
    """$DGM_RESULTS, a checkout's, or the package's and the cache's; the last takes new results."""
    if given := paths.from_environment("DGM_RESULTS"):
        return [given]
    checkout = LIBRARY.parent
    if (checkout / "book" / "results").is_dir() and (checkout / "pyproject.toml").is_file():
        return [checkout / "book" / "results"]
    return [LIBRARY / "dgm_book" / "published", paths.cache() / "results"]


def folder() -> Path:
    """Where new results are written."""
    return folders()[-1]


def work_folder() -> Path:
    """Where interrupted runs and weights that are not published are kept: beside the data cache."""
    if given := paths.from_environment("DGM_RESULTS"):
        return given / ".work"
    return paths.cache() / "work"


def get(
    name: str, compute: Callable[[], tuple[dict, dict]], context: Context, **settings: Any
) -> Result:
    """Load the result `name` of the context's chapter and profile, or compute it and keep it.

    `compute` returns plain values (for JSON) and tensors; `settings` is what else to remember in
    the provenance, such as the seed. ValueError where published files are damaged or do not fit.
    """
    if f"{name}.json" == RECORDS:
        raise ValueError(f"a result cannot be named {name!r}, as the file of all results is")
    place = _place(name, context)
    if (absent := _absent.get()) is not None:
        absent += [(name, context)] if place is None else []
        return Result(name, {}, {}, {}, False)
    if place is None:
        work = work_folder() / context.chapter / context.profile.name
        with _locked(work / f"{name}.lock"):
            if _place(name, context) is None:
                # Asked first, since the code may be edited while it runs.
                provenance = _provenance(context) | settings
                with _clock(work / f"{name}.seconds") as seconds:
                    values, tensors = compute()
                    provenance["wall_seconds"] = round(seconds(), 1)
                with _locked((work / RECORDS).with_suffix(".lock")):
                    _keep(name, values, tensors, provenance, _places(context)[-1])
    return _load(_place(name, context) or _places(context)[-1], name, context)


def missing(everything: Iterable[Result]) -> list[tuple[str, Context]]:
    """Names and contexts of results (each made by `get`) that would be computed; computes none."""
    mark = _absent.set(absent := [])
    try:
        list(everything)
        return absent
    finally:
        _absent.reset(mark)


def mark_verified(context: Context, checks: list[dict[str, Any]]) -> None:
    """Remember that the present code gives the published numbers of this chapter and profile."""
    path = _places(context)[-1] / VERIFIED
    record = {**_provenance(context), "checks": checks}
    checkpoint.write_text(path, json.dumps(record, indent=1) + "\n")


Parts = Mapping[str, Sequence[Result]]  # the results behind each part of a figure, by its label
Size = str | Callable[[Result], str]  # what was measured on, "50 test images", of all or of each


def badge(parts: Parts, size: Size = "", *, unit: str = "seed", synthetic: str = "") -> str:
    """One line on what a figure rests on: profile, data, size, seeds, device, code.

    `unit` is what a seed is called, `synthetic` what stands for the data set where there is none.
    """
    every = [result for part in parts.values() for result in part]
    data = list(dict.fromkeys(name for r in every for name in r.provenance["data"]))
    if not all(r.provenance["data"] for r in every):
        data.append(synthetic)
    devices = " and ".join(sorted({r.provenance["device"] for r in every}))
    profile = every[0].provenance["profile"]
    words = [f"profile {profile}", ", ".join(filter(None, data)), scale(parts, size, unit), devices]
    words += [] if all(r.current for r in every) else ["earlier code"]
    return " · ".join(filter(None, words))


def scale(parts: Parts, size: Size = "", unit: str = "seed") -> str:
    """Sizes and seeds of most parts, in words, then of the others by name; arguments of `badge`."""
    groups: dict[tuple[str, str], list[str]] = {}
    for label, part in parts.items():
        n = len({r.provenance["seed"] for r in part})
        counted = size if isinstance(size, str) else size(part[0])
        groups.setdefault((counted, f"{n} {unit}{'s' * (n > 1)}"), []).append(label)
    (usual, _), *others = sorted(groups.items(), key=lambda group: -len(group[1]))
    rest = [
        f"{' and '.join(labels)}: " + ", ".join(w for w in words if w and w not in usual)
        for words, labels in others
    ]
    return ", ".join(filter(None, usual)) + f" ({'; '.join(rest)})" * bool(rest)


def _places(context: Context) -> list[Path]:
    """Where the results of a chapter at a profile may lie; the last takes new ones."""
    return [place / context.chapter / context.profile.name for place in folders()]


def _place(name: str, context: Context) -> Path | None:
    """Where a result is; None where it is absent."""
    return next((place for place in _places(context) if name in _read(place / RECORDS)), None)


def _locked(path: Path) -> contextlib.AbstractContextManager:
    """Waits until no other process works on the same result, then keeps others out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0.5)
    except Timeout:
        print(f"{path.stem}: waiting for another process", file=sys.stderr)
        return lock.acquire()


@contextlib.contextmanager
def _clock(path: Path) -> Iterator[Callable[[], float]]:
    """Gives a function of the seconds spent so far; a file of them outlives a kill."""
    earlier, began, stop = 0.0, time.monotonic(), threading.Event()
    with contextlib.suppress(OSError, ValueError):
        earlier = float(path.read_text("utf-8"))

    def seconds() -> float:
        return earlier + time.monotonic() - began

    def tick() -> None:
        last = False
        while not last:
            last = stop.wait(CLOCK_SECONDS)
            with contextlib.suppress(OSError):  # a full disk must not end the computation
                checkpoint.write_text(path, str(seconds()))

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield seconds
    finally:
        stop.set()
        thread.join()


def _keep(name: str, values: dict, tensors: dict, provenance: dict, place: Path) -> None:
    data = checkpoint.to_bytes({key: value.detach().cpu() for key, value in tensors.items()})
    provenance["tensors_sha256"] = hashlib.sha256(data).hexdigest()
    text = json.dumps({"values": values, "provenance": provenance}, allow_nan=False)
    record = json.loads(text)
    record["sha256"] = _hash(record)
    own = place / f"{name}.safetensors"
    if len(data) > LARGE:
        checkpoint.write_bytes(own, data)
    else:
        own.unlink(missing_ok=True)
        small = _read(place / TENSORS)
        if tensors or name in small:
            small = {**small, name: checkpoint.from_bytes(data, own)}
            checkpoint.save(place / TENSORS, {key: small[key] for key in sorted(small)})
    records = {**_read(place / RECORDS), name: record}
    # A line per result, so that a difference shows which results changed.
    lines = (f"{json.dumps(key)}: {json.dumps(records[key])}" for key in sorted(records))
    checkpoint.write_text(place / RECORDS, "{\n" + ",\n".join(lines) + "\n}\n")


def _hash(content: dict) -> str:
    """Hash of a result's values and provenance, and so of its tensors."""
    return _digest([content["values"], content["provenance"]])


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _load(place: Path, name: str, context: Context) -> Result:
    record = _read(place / RECORDS)[name]
    with _naming(place / RECORDS):
        values, provenance = copy.deepcopy((dict(record["values"]), dict(record["provenance"])))
        expected, code, data, *_ = (provenance[key] for key in NEEDED)
        # Earlier results have a hash of their tensors only.
        if record.get("sha256", _hash(record)) != _hash(record):
            raise ValueError(f"{name!r} was altered after it was written")
    own = place / f"{name}.safetensors"
    path = own if own.exists() else place / TENSORS
    tensors = own.read_bytes() if path == own else checkpoint.to_bytes(_read(path).get(name, {}))
    if hashlib.sha256(tensors).hexdigest() != expected:
        raise ValueError(
            f"the tensors of {name!r} are missing, or those in {path} are not those that {RECORDS} "
            f"describes: restore all, or remove {name!r} from {RECORDS} to compute it again"
        )
    codes = {code}
    for verified in (place / VERIFIED for place in _places(context)):
        with _naming(verified):
            codes |= {content["code"] for content in [_read(verified)] if content}
    current = code_hash(context.experiment) in codes and data == _data(context)
    return Result(name, values, checkpoint.from_bytes(tensors, path), provenance, current)


def _read(path: Path) -> dict[str, Any]:
    """What a JSON or safetensors file holds, not to be changed; nothing where there is none."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return {}
    return _content(path, (state.st_ino, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=32)
def _content(path: Path, state: tuple[int, ...]) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        return checkpoint.load(path)

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    with _naming(path):
        return dict(json.loads(path.read_text("utf-8"), parse_constant=refuse))


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns what goes wrong while a JSON file is read into a ValueError that says what to do."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        cure = "restore it, or remove what is damaged to compute or to verify it again"
        raise ValueError(f"{path} is damaged ({what}): {cure}") from error


def _provenance(context: Context) -> dict[str, Any]:
    return {
        "profile": context.profile.name,
        "device": profiles.describe(context.profile.device),
        "torch": torch.__version__,
        "code": code_hash(context.experiment),
        "commit": _commit(),
        "data": _data(context),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
    }


def _data(context: Context) -> dict[str, str]:
    """One checksum a data set, over those of its files."""
    return {name: _digest(registry.checksums(name))[:16] for name in context.datasets}


@functools.cache
def _commit() -> str:
    """The checkout's commit, "+" behind it when the library has changes that are not committed."""

    def git(*command: str) -> str:
        options = {"cwd": LIBRARY, "capture_output": True, "text": True, "check": True}
        return subprocess.run(["git", *command], **options).stdout.strip()

    try:
        # An installed package may lie inside a repository that is not its own.
        git("ls-files", "--error-unmatch", "dgm_book/results.py")
        changed = git("status", "--porcelain", "--", str(LIBRARY))
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(changed)
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"
