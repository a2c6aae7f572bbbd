"""A results folder of its own for the tests of one chapter, and what its notebook shows."""

import ast
import json
from pathlib import Path

import pytest
import torch


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
                last = call.args[-1]
                assert isinstance(last, ast.Call), ast.unparse(call)
                assert ast.unparse(last.func) == "badge", ast.unparse(call)
        asked = [c.args[-1] for c in calls if ast.unparse(c.func).split(".")[-1] == "badge"]
        return {a.value for a in asked if isinstance(a, ast.Constant)}

    return read
