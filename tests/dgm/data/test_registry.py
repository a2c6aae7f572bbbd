"""The registry's facts, and what a reader is told whose file, network or disk is not as hoped."""

import errno
import gzip
import hashlib
import http.server
import io
import json
import os
import random
import re
import socket
import subprocess
import sys
import tarfile
import threading
from functools import partial
from pathlib import Path

import pooch
import pytest
from checks import refuses

from dgm.data import cifar, images, music, registry, series, text
from dgm.data.registry import DATASETS, FILES, DataFile, checksums, fetch

PATH = "toy/numbers.txt.gz"
TEXT = b"".join(b"%d\n" % (k * k) for k in range(3000))
GOOD = gzip.compress(TEXT, mtime=0)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def in_tar(data):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("folder/numbers.txt")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


SERVED = {"this file": GOOD, "the decoded file": TEXT, registry._MEMBER: in_tar(TEXT)}


def entry(url=None, mirrors=(), serves="this file"):
    return DataFile(
        path=PATH,
        bytes=len(GOOD),
        sha256=sha(GOOD),
        decoded_bytes=len(TEXT),
        decoded_sha256=sha(TEXT),
        url=url,
        url_sha256=sha(SERVED[serves]) if url else None,
        url_bytes_are=serves if url else None,
        member="folder/numbers.txt" if serves == registry._MEMBER else None,
        mirrors=tuple(mirrors),
    )


@pytest.fixture
def own(tmp_path, monkeypatch):
    """DGM_DATA and DGM_CACHE in empty folders, and nothing verified yet."""
    places = {"DGM_DATA": str(tmp_path / "own"), "DGM_CACHE": str(tmp_path / "cache")}
    for name, value in {**places, **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")}.items():
        monkeypatch.setenv(name, value)
    registry._verified.cache_clear()
    monkeypatch.setitem(FILES, PATH, entry())
    return tmp_path / "own" / PATH


@pytest.fixture
def cached(own, tmp_path):
    return tmp_path / "cache" / PATH


@pytest.fixture
def server():
    """A server on localhost: `.pages[path]` are its bytes, `.cut` ends each answer half-way."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            http_server.asked.append(self.path)
            data = http_server.pages.get(self.path)
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if http_server.cut else data)

        def log_message(self, *_):
            pass

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http_server.pages, http_server.asked, http_server.cut = {}, [], False
    http_server.url = f"http://127.0.0.1:{http_server.server_port}"
    thread = threading.Thread(target=http_server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield http_server
    http_server.shutdown()
    http_server.server_close()
    thread.join()


@pytest.fixture
def nowhere():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}/numbers.txt.gz"


def put(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def cache_is_empty(tmp_path):

    def check():
        assert not [path for path in (tmp_path / "cache").rglob("*") if not path.is_dir()]

    return check


# The facts


def test_the_facts_agree_with_each_other():
    assert len({f.sha256 for f in FILES.values()}) == len(FILES)
    for name, dataset in DATASETS.items():
        assert dataset.name == name
        assert dataset.licence
        assert dataset.counts
        assert dataset.complete or dataset.missing
        for f in dataset.files:
            assert f.path.split("/")[0] == name
            assert f.path.endswith(".gz") == (f.decoded_sha256 is not None)
            hashes = filter(None, (f.sha256, f.decoded_sha256, f.url_sha256))
            assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)
            assert (f.url is None) == (f.url_sha256 is None) == (f.url_bytes_are is None)
            assert (f.url or "https://").startswith("https://")
            assert (f.member is not None) == (f.url_bytes_are or "").startswith("a tar.gz")
            expected = {"this file": f.sha256, "the decoded file": f.decoded_sha256}
            assert f.url_sha256 == expected.get(f.url_bytes_are, f.url_sha256)


def test_checksums_name_every_file():
    assert checksums("mnist") == {f.path: f.sha256 for f in DATASETS["mnist"].files}
    assert len(checksums("digits")) == 1


def test_the_committed_facts_are_those_of_the_manifest():
    manifest = Path(os.environ.get("DGM_DATA", "absent")) / "MANIFEST.json"
    if not manifest.exists():
        pytest.skip("no MANIFEST.json in DGM_DATA")
    sets = {fact["name"]: fact for fact in json.loads(manifest.read_text("utf-8"))["datasets"]}
    for name, dataset in DATASETS.items():
        facts = [{**file, "member": file["source"].get("member")} for file in sets[name]["files"]]
        files = [DataFile(**{k: fact.get(k) for k in DataFile._fields}) for fact in facts]
        known = {file.path: file._replace(mirrors=tuple(file.mirrors or ())) for file in files}
        assert dataset.files == tuple(known[file.path] for file in dataset.files)


REFUSED = {
    "cifar10 has no split 'validation'; it has train, test": partial(cifar.load, "validation"),
    "no images 'mnits'; there are mnist, fashion-mnist and digits": partial(images.load, "mnits"),
    "mnist has no split 'valid'; it has train, validation": partial(images.load, "mnist", "valid"),
    "digits has no split .*; it has train, test": partial(images.load, "digits", "validation"),
    "no music 'bach'; there are jsb, nottingham, piano-midi, musedata": partial(music.load, "bach"),
    "jsb has no split 'valid'; it has train, validation, test": partial(music.load, "jsb", "valid"),
    "no series 'shares'; there are stocks, exchange-rates, gas-": partial(series.load, "shares"),
    "stocks has no split 'valid'; it has train, valid": partial(series.load, "stocks", "valid"),
    "no sentences 'yelpp'; there are yelp, amazon, ptb": partial(text.load, "yelpp"),
    "yelp has no split 'dev'; it has .*, test, held_out": partial(text.load, "yelp", "dev"),
    "ptb has no split .*; it has train, validation, test$": partial(text.load, "ptb", "held_out"),
    "no data set 'mnits'; there are digits, mnist, ": partial(checksums, "mnits"),
    "no file 'mnist/train-images.gz'; did you mean 'mnist/train": partial(
        fetch, "mnist/train-images.gz"
    ),
    "no file 'zzz'; .*has them all": partial(fetch, "zzz"),
}
test_names_and_splits_are_checked = refuses(REFUSED)


# Where a file is found


@pytest.mark.parametrize("home", ["", "~"])
def test_own_folder_comes_before_the_cache(own, cached, tmp_path, monkeypatch, home):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DGM_DATA", f"{home or tmp_path}/own")
    monkeypatch.setenv("DGM_CACHE", f"{home or tmp_path}/cache")
    put(own, GOOD)
    put(cached, GOOD)
    assert fetch(PATH) == own
    own.unlink()
    assert fetch(PATH) == cached


def test_without_settings_the_cache_is_the_usual_one(own, monkeypatch):
    monkeypatch.delenv("DGM_CACHE")
    assert registry.paths.cache() == Path(pooch.os_cache("dgm"))


def test_a_file_compressed_anew_is_right(own):
    put(own, gzip.compress(TEXT, compresslevel=1))
    assert own.read_bytes() != GOOD
    assert fetch(PATH) == own


def test_a_file_is_hashed_once_and_again_when_it_changes(own, monkeypatch):
    put(own, GOOD)
    fetch(PATH)
    real, calls = registry._wrong, []
    monkeypatch.setattr(registry, "_wrong", lambda *a: calls.append(1) or real(*a))
    fetch(PATH)
    assert calls == []
    put(own, GOOD[:-9] + bytes(9))
    with pytest.raises(ValueError, match="numbers"):
        fetch(PATH)
    assert calls == [1]


# Files that are wrong

WRONG = [
    (GOOD[: len(GOOD) // 2], "is damaged: Compressed file ended"),
    (b"", r"has the wrong checksum: .*\(0 bytes, want"),
    (b"not gzip at all", "is damaged: Not a gzipped file"),
    (GOOD[:200] + bytes(20) + GOOD[220:], "is damaged: "),
    (gzip.compress(b"other numbers", mtime=0), "has the wrong checksum: sha256 .* want "),
]


@pytest.mark.parametrize(
    ("place", "cure"),
    [("own", "replace it or unset DGM_DATA"), ("cached", "it was removed: run again")],
)
@pytest.mark.parametrize(("data", "message"), WRONG, ids=range(5))
def test_a_wrong_file_is_named_and_the_reader_s_own_left_alone(
    own, cached, place, cure, data, message
):
    path = own if place == "own" else cached
    put(path, data)
    with pytest.raises(ValueError, match=f"{message}.*{cure}") as caught:
        fetch(PATH)
    assert str(path) in str(caught.value)
    assert path.exists() == (place == "own")
    assert not path.exists() or path.read_bytes() == data


# Downloads


@pytest.fixture
def offer(server, monkeypatch):
    """Has the registry give the toy file these addresses; the server's page "/x" where none."""

    def register(*urls, serves="this file", data=GOOD):
        server.pages["/x"] = data
        urls = urls or (f"{server.url}/x",)
        monkeypatch.setitem(FILES, PATH, entry(urls[0], urls[1:], serves))

    return register


@pytest.mark.parametrize("serves", SERVED)
def test_a_download_is_stored_under_our_name(cached, server, offer, serves, capfd):
    offer(serves=serves, data=SERVED[serves])
    assert fetch(PATH) == cached
    assert "100%" in capfd.readouterr().err
    assert gzip.decompress(cached.read_bytes()) == TEXT
    assert list(cached.parent.rglob("*")) == [cached]
    assert fetch(PATH) == cached
    assert server.asked == ["/x"]


def test_a_mirror_serves_when_the_first_address_fails(cached, server, offer, nowhere):
    server.pages["/bad"] = GOOD[:-1] + b"x"
    offer(nowhere, *(f"{server.url}/{name}" for name in ("absent", "bad", "x")))
    assert fetch(PATH) == cached
    assert cached.read_bytes() == GOOD


@pytest.mark.parametrize(
    "data", [GOOD[:-1] + b"x", GOOD[:100], b"<html>please log in</html>", b""], ids=range(4)
)
def test_a_corrupted_download_is_named_and_not_kept(cached, server, offer, data, cache_is_empty):
    offer(data=data)
    with pytest.raises(ValueError, match="is not the file; nothing was kept") as caught:
        fetch(PATH)
    for part in (PATH, f"{server.url}/x", sha(data), sha(GOOD), "Set DGM_DATA"):
        assert part in str(caught.value)
    cache_is_empty()
    server.pages["/x"] = GOOD
    assert fetch(PATH) == cached


def test_offline_the_file_the_address_and_the_setting_are_named(
    own, monkeypatch, nowhere, tmp_path, offer, server, cache_is_empty
):
    with pytest.raises(FileNotFoundError, match=rf"{PATH} .*no public address.*Set DGM_DATA"):
        fetch(PATH)
    offer(nowhere, nowhere + ".mirror")
    with pytest.raises(FileNotFoundError, match="could not be downloaded") as caught:
        fetch(PATH)
    folders = str(tmp_path / "own"), str(tmp_path / "cache")
    for part in (PATH, f"{nowhere}:", f"{nowhere}.mirror:", "Set DGM_DATA", *folders):
        assert part in str(caught.value)
    offer()
    server.cut = True  # half-way
    with pytest.raises(OSError, match="could not be downloaded"):
        fetch(PATH)
    cache_is_empty()
    offer(nowhere)
    monkeypatch.delenv("DGM_DATA")
    with pytest.raises(FileNotFoundError, match=r"DGM_DATA \(not set\)"):
        fetch(PATH)


# Caches that cannot be written


def test_a_cache_that_is_read_only_is_named(own, offer, monkeypatch, cache_is_empty):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    offer()
    monkeypatch.setattr(registry.tempfile, "mkdtemp", refuse)
    message = f"could not write {PATH} to the cache folder .*Read-only file .*DGM_CACHE"
    with pytest.raises(OSError, match=message) as caught:
        fetch(PATH)
    assert caught.value.errno == errno.EROFS
    cache_is_empty()


LIMITED = """
import json, resource, sys
from dgm.data import registry
entry, limit = json.loads(sys.argv[1])
registry.FILES[entry["path"]] = registry.DataFile(**entry)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
try:
    registry.fetch(entry["path"])
except OSError as error:
    print(error.errno, error.strerror)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the kernel has no limit on a file's size")
@pytest.mark.parametrize(("serves", "limit"), [("this file", 1000), ("the decoded file", 5005)])
def test_a_write_that_the_kernel_refuses_is_named_and_leaves_nothing(
    own, offer, server, monkeypatch, cache_is_empty, serves, limit
):
    """Half-way in the download, or in the compressed file behind it, which is a little larger."""
    data = random.Random(0).randbytes(5000)
    stored = gzip.compress(data, mtime=0)
    offer(data={"this file": stored, "the decoded file": data}[serves])
    entry = DataFile(
        path=PATH, bytes=len(stored), sha256=sha(stored), decoded_sha256=sha(data),
        url=f"{server.url}/x", url_sha256=sha(server.pages["/x"]), url_bytes_are=serves,
    )  # fmt: skip
    command = [sys.executable, "-c", LIMITED, json.dumps([entry._asdict(), limit])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output.startswith(f"{errno.EFBIG} could not write {PATH} to the cache folder")
    assert "nothing half written was left" in output
    cache_is_empty()
    monkeypatch.setitem(FILES, PATH, entry)
    assert fetch(PATH).read_bytes() == stored
