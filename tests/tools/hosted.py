"""Runs every chapter as on a notebook host: `make test-hosted`.

A fresh environment gets torch in the version of this one and the newest release of everything else:
no lock, no repository, an empty home, no data, and no network but pip's. Notebook and library are
those that the built book offers for download, laid into one folder. Each notebook runs from its
first cell, which installs the library, to its last, shows the published results and computes none.
Downloads a few hundred megabytes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 60  # a chapter, once the library is installed
# Every process of the environment reads this first; only pip may reach the network.
NETWORK = """
import sys
def refuse(event, arguments):
    if event == "socket.getaddrinfo" and arguments[0] not in (None, "localhost", "127.0.0.1"):
        raise ConnectionError(f"a chapter asked for {arguments[0]}")
if not any("pip" in part for part in sys.orig_argv):
    sys.addaudithook(refuse)
"""
RUN = """
import sys
from datetime import datetime
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
code = [cell for cell in notebook.cells if cell.cell_type == "code"]
NotebookClient(notebook, timeout=900).execute()
assert all(cell.execution_count for cell in code), "a cell did not run"
shown = sum("application/vnd.jupyter.widget-view+json" in output.get("data", {})
            for cell in code for output in cell.outputs)
assert shown, "no widget was shown"
times = [cell.metadata.execution["shell.execute_reply"].rstrip("Z") for cell in code]
seconds = (datetime.fromisoformat(times[-1]) - datetime.fromisoformat(times[0])).total_seconds()
print(f"{sys.argv[1]}: {len(code)} cells in {seconds:.0f} s, {shown} widgets shown", flush=True)
assert seconds < float(sys.argv[2]), f"more than {sys.argv[2]} s"
"""


def main() -> None:
    """Builds the environment in a temporary folder and runs the notebooks there."""
    downloads = ROOT / "_build" / "html" / "_downloads"
    notebooks = sorted(downloads.glob("*/*.ipynb"), key=lambda path: path.name)
    (library,) = downloads.glob("*/*.whl")
    assert len(notebooks) == len(list((ROOT / "notebooks").glob("*.ipynb"))), "make book"
    torch = re.sub(r"\+.*", "", metadata.version("torch"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        uploads, home = folder / "uploads", folder / "home"
        for place in (uploads, home):
            place.mkdir()
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        outer = ("PYTHON", "DGM_", "VIRTUAL", "XDG_", "JUPYTER", "IPYTHON")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(outer)}
        environment["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
        environment |= {"HOME": str(home), "OMP_NUM_THREADS": "1"}

        def run(*command: str, **options) -> subprocess.CompletedProcess:
            options = {"check": True, **options}
            return subprocess.run([str(python), *command], env=environment, cwd=uploads, **options)

        run("-m", "pip", "install", "--quiet", f"torch=={torch}")
        run("-m", "pip", "install", "--quiet", "ipykernel", "nbclient", "nbformat")
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (site / "sitecustomize.py").write_text(NETWORK)
        for path in notebooks:
            shutil.copy(path, uploads)
        alone = run("-c", RUN, notebooks[0].name, "0", check=False, capture_output=True, text=True)
        assert "dgm is missing: put dgm-*.whl" in alone.stderr.split("%tb")[-1], alone.stderr
        shutil.copy(library, uploads)
        print(f"{library.name}: {library.stat().st_size / 1e6:.1f} MB", flush=True)
        for path in notebooks:
            run("-c", RUN, path.name, str(SECONDS))
        computed = [*home.rglob("*.safetensors"), *home.rglob("*.lock"), *home.rglob("*.gz")]
        assert not computed, f"a chapter computed or downloaded {computed}"
        script = "import torch, dgm; print(torch.__version__, dgm.__file__)"
        after = run("-c", script, capture_output=True, text=True).stdout.split()
        assert after[0].split("+")[0] == torch, f"torch {torch} was replaced by {after[0]}"
        assert "site-packages" in after[1], f"not the installed copy: {after[1]}"
        run("-m", "pip", "check")
        run("-m", "pip", "list")


if __name__ == "__main__":
    sys.exit(main())
