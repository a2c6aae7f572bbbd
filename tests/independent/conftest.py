"""Published numbers, data and the comparison for checks that import nothing of lib/."""

import gzip
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from safetensors.numpy import load_file

RESULTS = Path(__file__).resolve().parents[2] / "book" / "results"
ROWS = pytest.StashKey[list[str]]()


class Published(NamedTuple):
    """A result's plain values and its tensors, float64."""

    values: dict
    tensors: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def published():
    """Give a function that reads a result of a chapter at `small`."""

    def read(chapter, name):
        folder = RESULTS / chapter / "small"
        values = json.loads((folder / "results.json").read_text("utf-8"))[name]["values"]
        own, shared = folder / f"{name}.safetensors", folder / "results.safetensors"
        prefix, path = ("", own) if own.exists() else (f"{name}/", shared)
        tensors = load_file(path) if path.exists() else {}
        double = {k: v.astype(np.float64) for k, v in tensors.items() if k.startswith(prefix)}
        return Published(values, {k.removeprefix(prefix): v for k, v in double.items()})

    return read


@pytest.fixture(scope="session")
def data():
    """Give a function that finds a file of data, or skips."""

    def find(path):
        folder = os.environ.get("DGM_DATA") or pytest.skip("no data: DGM_DATA is not set")
        file = Path(folder) / path
        return file if file.exists() else pytest.skip(f"no data: DGM_DATA has no {path}")

    return find


@pytest.fixture(scope="session")
def lines(data):
    """Give a function that reads a packed text: its lines with a word, spaces and case evened."""

    def read(path):
        text = gzip.decompress(data(path).read_bytes()).decode("utf-8").lower()
        return [" ".join(line.split()) for line in text.split("\n") if line.split()]

    return read


@pytest.fixture
def agree(request):
    """Give the comparison: states both numbers, and fails beyond four standard errors."""
    rows = request.config.stash.setdefault(ROWS, [])

    def compare(what, published, independent, error):
        assert np.isfinite([published, independent]).all()
        assert 0 < error < np.inf, what
        miss = (independent - published) / error
        rows.append(
            f"{what}: published {published:.5g}, independent {independent:.5g}, "
            f"error {error:.2g}, {miss:+.2f} errors apart"
        )
        assert abs(miss) <= 4, rows[-1]

    return compare


def pytest_terminal_summary(terminalreporter, config):
    """Print every figure."""
    for row in config.stash.get(ROWS, []):
        terminalreporter.write_line(row)
