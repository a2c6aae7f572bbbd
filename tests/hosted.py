"""Runs every chapter as a hosted notebook would: `make test-hosted`.

A fresh environment gets torch in the version of this one and the newest release of everything else:
no lock, no conda. The first notebook's own first cell then installs the library from the checkout, and
each whole notebook runs at smoke size through nbclient, with an empty folder for results. Downloads a
few hundred megabytes.
"""

import os
import re
import shutil
import subprocess
import tempfile
import venv
from importlib import metadata
from pathlib import Path

import nbformat

from dgm import book

ROOT = Path(__file__).resolve().parents[1]
RUN = """
import json, sys, time
import nbformat
from nbclient import NotebookClient

path, folder = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
start = time.monotonic()
NotebookClient(notebook, timeout=900, resources={"metadata": {"path": folder}}).execute()
code = [cell for cell in notebook.cells if cell.cell_type == "code"]
assert all(cell.execution_count for cell in code), "a cell did not run"
shown = sum("application/vnd.jupyter.widget-view+json" in output.get("data", {})
            for cell in code for output in cell.outputs)
assert shown, "no widget was shown"
print(f"{path}: {len(code)} cells in {time.monotonic() - start:.0f} s, {shown} widgets shown")
"""


def main() -> None:
    """Builds the environment in a temporary folder and runs the notebooks there."""
    torch = re.sub(r"\+.*", "", metadata.version("torch"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        # A copy, since pip builds a local folder in place and leaves its work there.
        source = folder / "source"
        shutil.copytree(ROOT / "lib", source / "lib")
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        outer = ("PYTHON", "DGM_", "VIRTUAL")
        environment = {
            **{name: v for name, v in os.environ.items() if not name.startswith(outer)},
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "DGM_INSTALL": "1",
            "DGM_SOURCE": str(source),
            "DGM_RESULTS": str(folder / "results"),
            "OMP_NUM_THREADS": "1",
        }

        def run(*command: str) -> None:
            subprocess.run([str(python), *command], env=environment, cwd=folder, check=True)

        run("-m", "pip", "install", "--quiet", f"torch=={torch}")
        run("-m", "pip", "install", "--quiet", "ipykernel", "nbclient", "nbformat")
        run("-c", "import importlib.util as u; assert u.find_spec('dgm') is None, 'already there'")
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            notebook = book.read_source(path, {"PROFILE": "smoke", "SEED": 0})
            nbformat.write(notebook, folder / path.name)
            run("-c", RUN, path.name, str(folder))
        after = subprocess.run(
            [str(python), "-c", "import torch, dgm; print(torch.__version__, dgm.__file__)"],
            env=environment,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        assert after[0].split("+")[0] == torch, f"torch {torch} was replaced by {after[0]}"
        assert "site-packages" in after[1], f"not the installed copy: {after[1]}"
        run("-m", "pip", "check")
        run("-m", "pip", "list")


if __name__ == "__main__":
    main()
