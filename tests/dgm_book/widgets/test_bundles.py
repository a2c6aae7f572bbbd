"""The committed bundles are those of the sources, whose models compute what PyTorch does."""

import hashlib
import os
import re
import subprocess

import golden_vectors
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


def test_the_bundles_can_be_built_anew(node, pytestconfig, tmp_path):
    if not (pytestconfig.rootpath / "node_modules" / "esbuild").is_dir():
        pytest.skip("no esbuild: run `make widgets`")
    subprocess.run([node, FOLDER / "bundle.mjs", tmp_path], check=True, timeout=60)
    expected = {path.name: path.read_bytes() for path in DIST.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == expected


def test_the_page_s_models_compute_what_pytorch_does(node, pytestconfig, tmp_path):
    vectors = golden_vectors.write(tmp_path / "golden.json")
    tests = sorted((pytestconfig.rootpath / "tests" / "widgets").glob("*.test.js"))
    options = {"env": os.environ | {"GOLDEN": str(vectors)}, "capture_output": True, "text": True}
    result = subprocess.run([node, "--test", *tests], **options)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_lock_names_no_registry(pytestconfig):
    lock = (pytestconfig.rootpath / "package-lock.json").read_text("utf-8")
    assert not re.search(r'"resolved"|https?://(?!github\.com|opencollective\.com)', lock)
    assert '"integrity": "sha512-' in lock


def functions_that_render(text):
    """How many lines each has, between its first and its last."""
    named = re.findall(r"function render\(.*\n((?:.*\n)*?)}\n", text)
    given = re.findall(r"^  \(w(?:, .+)?\) => {\n((?:.*\n)*?)  },\n\);\n", text, re.MULTILINE)
    return [len(body.splitlines()) for body in named + given]


def test_sources_can_be_read():
    """All lines have not come down to the plan's budget: what has been reached may only fall."""
    reached, planned = 12_500, 7_500
    sources = [p for p in (FOLDER / "src").rglob("*") if p.suffix in (".js", ".ts")]
    texts = {path: path.read_text("utf-8") for path in sources}
    lines = {path: text.splitlines() for path, text in texts.items()}
    assert max(len(line) for text in lines.values() for line in text) <= 110
    assert {path: len(text) for path, text in lines.items() if len(text) > 400} == {}
    renders = [n for text in texts.values() for n in functions_that_render(text)]
    assert len(renders) == 21
    assert max(renders) <= 80
    scripts = [text for path, text in lines.items() if path.suffix == ".js"]
    assert planned < sum(map(len, scripts)) <= reached
