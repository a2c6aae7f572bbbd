"""Results folders for the tests of one chapter, and what its notebook shows."""

import ast
import json
import os
from pathlib import Path

import pytest
import torch

SMOKE_RESULTS = os.environ.get("DGM_RESULTS")


@pytest.fixture(scope="session")
def smoke_results():
    """Where `make test` has just trained the chapters at smoke size; None where tests train."""
    return SMOKE_RESULTS


@pytest.fixture
def results_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DGM_RESULTS", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """What to patch for a whole file of tests, with an empty results folder."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DGM_RESULTS", str(tmp_path_factory.mktemp("results")))
    torch.set_num_threads(1)
    yield patch
    patch.undo()


NOTEBOOKS = Path(__file__).parents[3] / "notebooks"


@pytest.fixture(scope="session")
def badges_of():
    """Return ``badges_of(chapter) -> names``: what the badges of its notebook are asked for.

    Each figure and table of the notebook must be displayed with a badge of its own.
    """

    def read(chapter):
        cells = json.loads((NOTEBOOKS / f"{chapter}.ipynb").read_text("utf-8"))["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
        for call in calls:
            if ast.unparse(call.func) == "display":
                text = ast.unparse(call)  # the badge last, perhaps in a fold
                assert text.rstrip(")").rpartition(", ")[2].startswith("badge("), text
        asked = [c.args[-1] for c in calls if ast.unparse(c.func).split(".")[-1] == "badge"]
        return {a.value for a in asked if isinstance(a, ast.Constant)}

    return read
