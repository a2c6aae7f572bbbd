"""Which data files there are, and how to get one, verified.

`registry.json` beside this file holds the facts; `published.json` has the publishers' archives of
data sets whose own files have no address. A file is looked for in the folder that `DGM_DATA` names,
then in the user's cache (`DGM_CACHE`, or the system's usual place), into which it is downloaded.
"""

import difflib
import functools
import gzip
import hashlib
import json
import os
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import pooch
import requests

from dgm import paths
from dgm.progress import progress_bar

_FACTS = Path(__file__).with_name("registry.json")
# What the bytes behind a url are, in the manifest's words, beside "the decoded file".
_SAME, _MEMBER = "this file", "a tar.gz that holds the decoded file as member"
_PLAIN_MEMBER = "a tar.gz that holds this file as member"


class DataFile(NamedTuple):
    """One file of a data set."""

    path: str  # its place under the data folder; a name in .gz is stored compressed
    bytes: int
    sha256: str
    decoded_bytes: int | None = None  # unpacked; None where it is not compressed
    decoded_sha256: str | None = None
    url: str | None = None  # None where no public address is known
    url_sha256: str | None = None  # of what the url serves
    url_bytes_are: str | None = None  # what it serves: the file, the decoded file, or a tar.gz
    member: str | None = None  # the name inside that tar.gz
    mirrors: tuple[str, ...] = ()  # other addresses that serve the same bytes


class Dataset(NamedTuple):
    """A data set; when it is not `complete`, `missing` names what the published set has more."""

    name: str
    title: str
    licence: str
    complete: bool
    missing: str | None
    counts: dict
    files: tuple[DataFile, ...]


def _files(facts: list[dict]) -> tuple[DataFile, ...]:
    return tuple(DataFile(**{**f, "mirrors": tuple(f.get("mirrors", ()))}) for f in facts)


_LISTED = json.loads(_FACTS.read_text(encoding="utf-8"))
_ARCHIVES = json.loads(_FACTS.with_name("published.json").read_text(encoding="utf-8"))
_ARCHIVE_BYTES = _ARCHIVES["archive_bytes"]
DATASETS = {fact["name"]: Dataset(**{**fact, "files": _files(fact["files"])}) for fact in _LISTED}
PUBLISHED = {name: _files(facts) for name, facts in _ARCHIVES["datasets"].items()}
FILES = {
    file.path: file
    for files in (*(dataset.files for dataset in DATASETS.values()), *PUBLISHED.values())
    for file in files
}

# The digits that scikit-learn ships: 1797 x 64 pixels, then 1797 labels, all uint8.
DIGITS = {"scikit-learn/digits": "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"}


def checksums(name: str) -> dict[str, str]:
    """The sha256 of each file of a data set or "digits"; ValueError for an unknown name."""
    if name == "digits":
        return dict(DIGITS)
    if name not in DATASETS:
        raise ValueError(f"no data set '{name}'; there are digits, {', '.join(DATASETS)}")
    return {file.path: file.sha256 for file in DATASETS[name].files}


def local(path: str) -> Path | None:
    """Where a file lies, in `DGM_DATA` or the cache, not yet verified; None where it does not."""
    own = paths.from_environment("DGM_DATA")
    places = [*([own / path] if own else []), paths.cache() / path]
    return next((place for place in places if place.is_file()), None)


def _needed(name: str) -> list[DataFile]:
    """The files of a data set, or the publisher's where those are not all at hand."""
    files = DATASETS[name].files if name in DATASETS else ()  # the digits are installed
    if name in PUBLISHED and not all(local(file.path) for file in files):
        files = PUBLISHED[name]
    return list(files)


def unavailable(name: str) -> list[str]:
    """The files of a data set that are neither on this machine nor at a public address."""
    return [file.path for file in _needed(name) if not (file.url or local(file.path))]


def download_bytes(name: str) -> int:
    """The size of what `fetch_all` would download."""
    files = [file for file in _needed(name) if file.url and not local(file.path)]
    archives = {file.url: _ARCHIVE_BYTES[file.url] for file in files if file.url in _ARCHIVE_BYTES}
    return sum(archives.values()) + sum(f.bytes for f in files if f.url not in archives)


def fetch_all(name: str) -> None:
    """Finds or downloads, and verifies, every file of a data set; raises as `fetch`."""
    for file in _needed(name):
        fetch(file.path)


def fetch(path: str) -> Path:
    """Finds a data file, or downloads it, and verifies it.

    It is hashed at its first use in a process, and when its time or size has changed; a compressed
    file is also right when it unpacks to the right bytes. ValueError for an unknown name, and for a
    file or download that is not what the registry says (one in `DGM_DATA` is left alone, one in the
    cache removed); FileNotFoundError where it is unavailable; OSError where the cache cannot be
    written.
    """
    if path not in FILES:
        near = difflib.get_close_matches(path, FILES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "dgm.data.registry.FILES has them all"
        raise ValueError(f"the registry has no file '{path}'; {hint}")
    file, own, cached = FILES[path], paths.from_environment("DGM_DATA"), paths.cache() / path
    if place := local(path):
        status = place.stat()
        wrong = _verified(place.resolve(), (status.st_mtime_ns, status.st_size), file)
        if wrong is None:
            return place
        if own and place == own / path:
            raise ValueError(f"{place} {wrong}; replace it or unset DGM_DATA")
        cached.unlink()
        raise ValueError(f"{cached} {wrong}; it was removed: run again to download it anew")
    absent = f"{path} is neither in DGM_DATA ({own or 'not set'}) nor in {paths.cache()}"
    hint = "Set DGM_DATA to a folder that holds it"
    if not file.url:
        raise FileNotFoundError(f"{absent}, and no public address of it is known. {hint}")
    try:
        failures = _download(file, cached)
    except OSError as error:
        reason = error.strerror or error
        wrong = f"could not write {path} to the cache folder {paths.cache()}: {reason}"
        advice = "make room, or set DGM_CACHE to another folder, or DGM_DATA to one that holds it"
        raise OSError(error.errno, f"{wrong}; nothing half written was left: {advice}") from error
    reasons = "\n  ".join(f"{url}: {error}" for url, error in failures)
    if failures and all(isinstance(error, requests.RequestException) for _, error in failures):
        raise FileNotFoundError(f"{absent}, and could not be downloaded:\n  {reasons}\n{hint}")
    if failures:
        wrong = "what was downloaded is not the file; nothing was kept"
        raise ValueError(f"{absent}, and {wrong}:\n  {reasons}\n{hint}")
    return cached


@functools.cache
def _verified(where: Path, _stamp: tuple[int, int], file: DataFile) -> str | None:
    """What is wrong with a file of that time and size, in words; None when it is right."""
    return _wrong(where.read_bytes(), file)


def _wrong(data: bytes, file: DataFile) -> str | None:
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 == file.sha256:
        return None
    if file.decoded_sha256:
        try:
            if hashlib.sha256(gzip.decompress(data)).hexdigest() == file.decoded_sha256:
                return None
        except (EOFError, OSError, zlib.error) as error:
            return f"is damaged: {error} ({len(data)} bytes, want {file.bytes})"
    sizes = f"{len(data)} bytes, want {file.bytes}"
    return f"has the wrong checksum: sha256 {sha256}, want {file.sha256} ({sizes})"


def _download(file: DataFile, target: Path) -> list[tuple[str, Exception]]:
    """Stores the file from the first address that serves it; when none does, says why for each."""
    target.parent.mkdir(parents=True, exist_ok=True)
    failures: list[tuple[str, Exception]] = []
    temporary = tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent)
    bar: Any = progress_bar(total=file.bytes, unit="B", unit_scale=True)
    with temporary as folder, bar:
        downloader: Any = pooch.HTTPDownloader(progressbar=bar, timeout=30)
        for url in filter(None, (file.url, *file.mirrors)):
            try:
                known = file.url_sha256 and f"sha256:{file.url_sha256}"
                served = pooch.retrieve(url, known, "served", folder, downloader=downloader)
                os.replace(_stored(Path(served), file), target)
                for other in FILES.values():  # an archive is downloaded once
                    if file.member and other.url == file.url and not local(other.path):
                        os.replace(_stored(Path(served), other), paths.cache() / other.path)
                return []
            except (requests.RequestException, ValueError) as error:  # ValueError: wrong checksum
                failures.append((url, error))
    return failures


def _stored(served: Path, file: DataFile) -> Path:
    """The file as our name says, made beside what a url served."""
    if file.url_bytes_are == _SAME:
        return served
    if file.member:
        with tarfile.open(served) as archive:
            member: Any = archive.extractfile(file.member)
            decoded = member.read()
    else:
        decoded = served.read_bytes()
    data = decoded if file.url_bytes_are == _PLAIN_MEMBER else gzip.compress(decoded, mtime=0)
    if wrong := _wrong(data, file):
        raise ValueError(f"what it unpacks to {wrong}")
    stored = served.with_name("stored")
    stored.write_bytes(data)
    return stored
