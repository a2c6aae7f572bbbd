"""Which data files there are, and how to get one, verified.

`registry.json` beside this file holds the facts: path, size, sha256, url, mirrors, licence, counts.
It is written by `python -m dgm.data.registry MANIFEST.json` and not edited by hand.

A file is looked for in the folder that `DGM_DATA` names, then in the user's cache (`DGM_CACHE`, or
the system's usual place), and is then downloaded into the cache.
"""

import argparse
import difflib
import gzip
import hashlib
import json
import os
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import pooch
import requests

from dgm import paths
from dgm.checkpoint import write_text
from dgm.progress import progress_bar

__all__ = [
    *("DATASETS", "FILES", "PUBLISHED", "DataFile", "Dataset", "checksums", "download_bytes"),
    *("fetch", "fetch_all", "local", "unavailable"),
]

_FACTS = Path(__file__).with_name("registry.json")
# What the bytes behind a url are, in the manifest's words.
_SAME, _DECODED = "this file", "the decoded file"
_MEMBER = "a tar.gz that holds the decoded file as member"
_PLAIN_MEMBER = "a tar.gz that holds this file as member"


class DataFile(NamedTuple):
    """One file of a data set.

    Attributes:
        path: Its place under the data folder; a name in .gz is stored compressed.
        bytes: Its size.
        sha256: Its hash.
        decoded_bytes: Its size when unpacked; None when it is not compressed.
        decoded_sha256: The hash of what it unpacks to; None when it is not compressed.
        url: Where it can be had; None when no public address is known.
        url_sha256: The hash of what the url serves; None when it is not known.
        url_bytes_are: What the url serves: "this file", "the decoded file" or "a tar.gz that holds
            the decoded file as member", or this file.
        member: The name inside that tar.gz; None otherwise.
        mirrors: Other addresses that serve the same bytes as the url.
    """

    path: str
    bytes: int
    sha256: str
    decoded_bytes: int | None = None
    decoded_sha256: str | None = None
    url: str | None = None
    url_sha256: str | None = None
    url_bytes_are: str | None = None
    member: str | None = None
    mirrors: tuple[str, ...] = ()


class Dataset(NamedTuple):
    """A data set; when it is not `complete`, `missing` names what the published set has more."""

    name: str
    title: str
    licence: str
    complete: bool
    missing: str | None
    counts: dict
    files: tuple[DataFile, ...]


def _read_facts() -> dict[str, Dataset]:
    facts = json.loads(_FACTS.read_text(encoding="utf-8")) if _FACTS.exists() else []
    datasets = {}
    for fact in facts:
        files = (DataFile(**{**f, "mirrors": tuple(f["mirrors"])}) for f in fact["files"])
        datasets[fact["name"]] = Dataset(**{**fact, "files": tuple(files)})
    return datasets


DATASETS = _read_facts()
FILES = {file.path: file for dataset in DATASETS.values() for file in dataset.files}

# Of data sets whose files have no address: the same content as the publisher's archive has it. The
# archive's own sha256 is not known here; those of its members are, and they agree with its md5 sums.
_CIFAR = "cifar-10-batches-bin"
_CIFAR_BATCHES = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
PUBLISHED = {
    "cifar10": tuple(
        DataFile(
            path=f"{_CIFAR}/{name}.bin",
            bytes=30_730_000,
            sha256=sha256,
            url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
            url_bytes_are=_PLAIN_MEMBER,
            member=f"{_CIFAR}/{name}.bin",
        )
        for name, sha256 in _CIFAR_BATCHES.items()
    )
}
_ARCHIVE_BYTES = {"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz": 170_052_171}
FILES |= {file.path: file for files in PUBLISHED.values() for file in files}

# The digits that scikit-learn ships: 1797 x 64 pixels, then 1797 labels, all uint8.
DIGITS = {"scikit-learn/digits": "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"}

_verified: set[tuple[str, int, int, str]] = set()


def checksums(name: str) -> dict[str, str]:
    """The sha256 of each file of a data set, for provenance and cache keys; nothing is read.

    Args:
        name: A name in `DATASETS`, or "digits".

    Raises:
        ValueError: For an unknown name.
    """
    if name == "digits":
        return dict(DIGITS)
    if name not in DATASETS:
        raise ValueError(f"no data set '{name}'; there are digits, {', '.join(DATASETS)}")
    return {file.path: file.sha256 for file in DATASETS[name].files}


def local(path: str) -> Path | None:
    """Where a file lies, in `DGM_DATA` or in the cache, not yet verified; None where it does not."""
    own = paths.from_environment("DGM_DATA")
    places = [*([own / path] if own else []), paths.cache() / path]
    return next((place for place in places if place.is_file()), None)


def needed(name: str) -> list[DataFile]:
    """The files of a data set, or the publisher's where those are not all at hand."""
    files = DATASETS[name].files if name in DATASETS else ()  # the digits are installed
    if name in PUBLISHED and not all(local(file.path) for file in files):
        files = PUBLISHED[name]
    return list(files)


def unavailable(name: str) -> list[str]:
    """The files of a data set that are neither on this machine nor at a public address."""
    return [file.path for file in needed(name) if not (file.url or local(file.path))]


def download_bytes(name: str) -> int:
    """The size of what `fetch_all` would download."""
    files = [file for file in needed(name) if file.url and not local(file.path)]
    archives = {file.url: _ARCHIVE_BYTES[file.url] for file in files if file.url in _ARCHIVE_BYTES}
    return sum(archives.values()) + sum(f.bytes for f in files if f.url not in archives)


def fetch_all(name: str) -> None:
    """Finds or downloads, and verifies, every file of a data set; raises as `fetch`."""
    for file in needed(name):
        fetch(file.path)


def fetch(path: str, progress: bool = True) -> Path:
    """Finds a data file, or downloads it, and verifies it.

    It is hashed at its first use in a process, and again when its time or size has changed. A
    compressed file is also right when it unpacks to the right bytes.

    Args:
        path: The file as the registry names it, such as "mnist/train-images-idx3-ubyte.gz".
        progress: Whether to show a bar while downloading.

    Returns:
        Where the file is.

    Raises:
        ValueError: For a name that the registry does not have, for a file that is not what the
            registry says (one in `DGM_DATA` is left alone, one in the cache is removed), and when
            something else was downloaded.
        FileNotFoundError: When it is nowhere and cannot be downloaded.
        OSError: When the cache cannot be written; nothing half written is left.
    """
    if path not in FILES:
        near = difflib.get_close_matches(path, FILES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "dgm.data.registry.FILES has them all"
        raise ValueError(f"the registry has no file '{path}'; {hint}")
    file = FILES[path]
    own = paths.from_environment("DGM_DATA")
    if own and (own / path).is_file():
        wrong = _verify(own / path, file)
        if wrong:
            raise ValueError(
                f"{own / path} (found through DGM_DATA) {wrong}; replace it or unset DGM_DATA"
            )
        return own / path
    cached = paths.cache() / path
    if cached.is_file():
        wrong = _verify(cached, file)
        if wrong:
            cached.unlink()
            raise ValueError(f"{cached} {wrong}; it was removed: run again to download it anew")
        return cached
    looked = f"{path} is neither in DGM_DATA ({own or 'not set'}) nor in {paths.cache()}"
    hint = "Set DGM_DATA to a folder that holds it"
    if not file.url:
        raise FileNotFoundError(f"{looked}, and no public address of it is known. {hint}")
    try:
        failures = _download(file, cached, progress)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} to the cache folder {paths.cache()}: {error.strerror or error}; "
            "nothing half written was left. Make room there, or set DGM_CACHE to a folder that can "
            "be written, or DGM_DATA to a folder that holds the file",
        ) from error
    if failures:
        reasons = "\n  ".join(f"{url}: {error}" for url, error in failures)
        if all(isinstance(error, requests.RequestException) for _, error in failures):
            raise FileNotFoundError(f"{looked}, and could not be downloaded:\n  {reasons}\n{hint}")
        raise ValueError(
            f"{looked}, and what was downloaded is not the file; nothing was kept:\n  {reasons}\n"
            f"{hint}"
        )
    return cached


def _verify(where: Path, file: DataFile) -> str | None:
    """What is wrong with a file, in words; None when it is right."""
    status = where.stat()
    key = (str(where.resolve()), status.st_mtime_ns, status.st_size, file.sha256)
    if key in _verified:
        return None
    wrong = _wrong(where.read_bytes(), file)
    if wrong is None:
        _verified.add(key)
    return wrong


def _wrong(data: bytes, file: DataFile) -> str | None:
    found = hashlib.sha256(data).hexdigest()
    if found == file.sha256:
        return None
    if file.decoded_sha256:
        try:
            if hashlib.sha256(gzip.decompress(data)).hexdigest() == file.decoded_sha256:
                return None
        except EOFError:
            return f"is truncated: its gzip data end early ({len(data)} bytes, want {file.bytes})"
        except (OSError, zlib.error) as error:
            return f"is damaged: {error} ({len(data)} bytes, want {file.bytes})"
    return (
        f"has the wrong checksum: sha256 {found} ({len(data)} bytes), want {file.sha256} "
        f"({file.bytes} bytes)"
    )


def _download(file: DataFile, target: Path, progress: bool) -> list[tuple[str, Exception]]:
    """Stores the file from the first address that serves it; when none does, says why for each."""
    target.parent.mkdir(parents=True, exist_ok=True)
    failures: list[tuple[str, Exception]] = []
    bar = progress_bar(total=file.bytes, unit="B", unit_scale=True) if progress else False
    downloader = pooch.HTTPDownloader(progressbar=bar, timeout=30)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
        for url in (file.url, *file.mirrors):
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
            decoded = archive.extractfile(file.member).read()
    else:
        decoded = served.read_bytes()
    data = decoded if file.url_bytes_are == _PLAIN_MEMBER else gzip.compress(decoded, mtime=0)
    wrong = _wrong(data, file)
    if wrong:
        raise ValueError(f"what it unpacks to {wrong}")
    stored = served.with_name("stored")
    stored.write_bytes(data)
    return stored


def _facts(manifest: dict) -> list[dict]:
    """The registry's facts, out of a manifest that says more."""
    facts = []
    for dataset in manifest["datasets"]:
        files = []
        for f in dataset["files"]:
            source = {**f, "member": f["source"].get("member"), "mirrors": f.get("mirrors", [])}
            files.append({key: source.get(key) for key in DataFile._fields})
        facts.append({key: dataset.get(key) for key in Dataset._fields} | {"files": files})
    return facts


def main(arguments: list[str] | None = None) -> None:
    """Rewrites registry.json from a manifest."""
    parser = argparse.ArgumentParser(prog="python -m dgm.data.registry", description=main.__doc__)
    parser.add_argument("manifest", type=paths.expanded, help="the MANIFEST.json beside the data")
    parser.add_argument("--output", type=paths.expanded, default=_FACTS)
    given = parser.parse_args(arguments)
    facts = _facts(json.loads(given.manifest.read_text(encoding="utf-8")))
    write_text(given.output, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    print(f"{given.output}: {len(facts)} data sets, {sum(len(d['files']) for d in facts)} files")


if __name__ == "__main__":
    main()
