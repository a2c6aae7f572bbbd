"""Data files of a test's own, known to the registry."""

import hashlib
import os
from pathlib import Path

import pytest

from dgm.data import registry


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Return ``put(path, data)``, which lays bytes into DGM_DATA and into the registry."""
    monkeypatch.setenv("DGM_DATA", str(tmp_path))

    def put(path, data):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        entry = registry.DataFile(path, len(data), hashlib.sha256(data).hexdigest())
        monkeypatch.setitem(registry.FILES, path, entry)
        return target

    return put


@pytest.fixture
def need():
    """Return ``need(*names)``, which skips a test whose data sets are not on this machine."""

    def need(*names):
        for name in names:
            own = Path(os.environ.get("DGM_DATA", "absent"))
            if not all((own / path).exists() for path in registry.checksums(name)):
                pytest.skip(f"no {name} in DGM_DATA")

    return need
