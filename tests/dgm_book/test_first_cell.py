"""The first cell of each notebook: where a hosted machine gets the library from."""

import importlib.util
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL = nbformat.read(NOTEBOOKS[0], as_version=4).cells[0].source
ADDRESS = "https://example.org/me/book"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Runs the cell in an empty folder where dgm is missing; gives what pip was asked for."""
    monkeypatch.delenv("DGM_SOURCE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    asked = []

    def cell(repository="", source=None, status=0):
        def run(command, **_):
            asked.append(command[-1])
            return SimpleNamespace(returncode=status)

        monkeypatch.setattr(subprocess, "run", run)
        if source:
            monkeypatch.setenv("DGM_SOURCE", source)
        exec(CELL.replace('REPOSITORY = ""', f'REPOSITORY = "{repository}"'), {})
        return asked

    return cell


def test_all_notebooks_open_with_the_same_short_cell():
    cells = [nbformat.read(path, as_version=4).cells[0].source for path in NOTEBOOKS]
    assert set(cells) == {CELL}
    assert len(CELL.splitlines()) <= 18


def test_where_the_library_is_there_nothing_is_installed(installed, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert installed(ADDRESS, "somewhere") == []


def test_a_source_that_is_named_comes_before_a_wheel_and_a_wheel_before_the_address(
    installed, tmp_path
):
    assert installed(ADDRESS) == [f"dgm[chapters] @ git+{ADDRESS}"]
    (tmp_path / "dgm-0.1.0-py3-none-any.whl").touch()
    (tmp_path / "dgm-0.1.0-py3-none-any (1).whl").touch()  # a name that pip refuses
    assert Path(installed(ADDRESS)[-1]).name == "dgm-0.1.0-py3-none-any.whl[chapters]"
    assert installed(ADDRESS, str(tmp_path))[-1] == f"{tmp_path}[chapters]"


def test_of_two_wheels_the_newest_is_taken(installed, tmp_path):
    for age, version in enumerate(("0.10.0", "0.9.0")):
        path = tmp_path / f"dgm-{version}-py3-none-any.whl"
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    assert "0.10.0" in installed()[0]


def test_without_any_or_without_success_one_sentence_says_so(installed):
    with pytest.raises(SystemExit, match=r"dgm-\*\.whl.* beside the notebook"):
        installed()
    with pytest.raises(SystemExit, match="pip could not install /my/source"):
        installed(source="/my/source", status=1)
