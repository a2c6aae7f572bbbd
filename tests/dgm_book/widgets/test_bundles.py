"""The committed bundles are those of the sources."""

import hashlib
import re
import shutil
import subprocess

import pytest

from dgm_book.widgets.frame import FOLDER

DIST, CHECKSUMS = FOLDER / "dist", FOLDER / "dist" / "checksums"


def checksum(data):
    return hashlib.sha256(data).hexdigest()


def test_the_bundles_are_those_of_the_sources(pytestconfig):
    """As bundle.mjs counts; where it fails, run `make widgets`."""
    sources = [p for p in (FOLDER / "src").rglob("*") if p.suffix in (".js", ".css")]
    sources += [FOLDER / "bundle.mjs", pytestconfig.rootpath / "package-lock.json"]
    sums = sorted(checksum(path.read_bytes()) for path in sources)
    files = sorted(p for p in DIST.iterdir() if p != CHECKSUMS)
    lines = [f"{checksum(''.join(sums).encode())}  sources"]
    lines += [f"{checksum(path.read_bytes())}  {path.name}" for path in files]
    assert CHECKSUMS.read_text("utf-8").splitlines() == lines


def test_the_bundles_can_be_built_anew(pytestconfig, tmp_path):
    root, node = pytestconfig.rootpath, shutil.which("node")
    if node is None or not (root / "node_modules" / "esbuild").is_dir():
        pytest.skip("no Node, or no `make widgets` so far")
    subprocess.run([node, FOLDER / "bundle.mjs", tmp_path], check=True, timeout=60)
    expected = {path.name: path.read_bytes() for path in DIST.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected


def test_the_lock_names_no_registry(pytestconfig):
    lock = (pytestconfig.rootpath / "package-lock.json").read_text("utf-8")
    assert not re.search(r'"resolved"|https?://(?!github\.com|opencollective\.com)', lock)
    assert '"integrity": "sha512-' in lock
