"""Kills builds of a small book at random moments; never may an old output stand under a new key.

`python tests/kill_the_build.py 30`. After each kill the library is edited and the book built at once,
while an orphan, were there one, would still be writing: the page must show the edit, and so must what is
in the cache under the present key. Nothing of the killed build may be alive two seconds later.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dgm_book import build as book

BUILD = """
import pathlib, sys
from dgm_book import build as book
root = pathlib.Path(sys.argv[1])
sys.exit(book.main(["--output", str(root / "_build")], root=root))
"""
ROOT = Path(__file__).resolve().parents[2]
SECONDS = 4.0  # that the notebook takes after it has read the library


def small_book(root: Path) -> None:
    """A book of one notebook that shows a value of its library, with the project's configuration."""
    for name in ("_ext", "_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    for name in ("_config.yml", "requirements.lock", "book/references.bib"):
        shutil.copy(ROOT / name, root / name)
    packages = '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'
    for name, text in {
        "pyproject.toml": f'[project]\nname = "small"\nversion = "1"\n{packages}',
        "_toc.yml": "format: jb-book\nroot: book/intro\nchapters:\n- file: notebooks/01_small\n",
        "lib/value.py": "VALUE = 0\n",
        "book/intro.md": "# Hello\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    parameters = new_code_cell('PROFILE = "auto"\nSEED = 0', metadata={"tags": ["parameters"]})
    cells = [
        parameters,
        f"import sys, time\nsys.path.insert(0, {str(root / 'lib')!r})\nfrom value import VALUE",
        f"time.sleep({SECONDS})",
        'print(f"the value is {VALUE}")',
    ]
    cells = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    cells.insert(0, new_markdown_cell("# Small"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    (root / "notebooks").mkdir()
    nbformat.write(notebook, root / "notebooks" / "01_small.ipynb")


def start(root: Path, mark: str) -> subprocess.Popen:
    """A build in a process of its own; what it starts inherits the mark."""
    command = [sys.executable, "-c", BUILD, str(root)]
    environment = {**os.environ, "KILL_THE_BUILD": mark}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)


def shown(path: Path) -> set[str]:
    """The values that an executed notebook or its page shows."""
    return set(re.findall(r"the value is (-?\d+)", path.read_text("utf-8")))


def alive(mark: str) -> list[str]:
    """The commands of the processes that carry the mark."""
    processes = psutil.process_iter(["environ", "status", "cmdline"])
    mine = [p.info for p in processes if (p.info["environ"] or {}).get("KILL_THE_BUILD") == mark]
    return [" ".join(info["cmdline"])[:100] for info in mine if info["status"] != "zombie"]


def main(trials: int) -> int:
    """Runs the trials and prints how many went wrong."""
    n_running = n_wrong = n_orphans = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        output, name, mark = root / "_build", "01_small", f"{root} killed"
        small_book(root)
        began = time.monotonic()
        assert start(root, "whole").wait() == 0
        longest = time.monotonic() - began
        for number in range(1, trials + 1):
            (root / "lib" / "value.py").write_text(f"VALUE = {-number}\n")
            build = start(root, mark)
            time.sleep(random.uniform(0, longest))
            n_running += len(alive(mark)) > 1  # papermill, and perhaps its kernel
            build.kill()
            build.wait()
            (root / "lib" / "value.py").write_text(f"VALUE = {number}\n")
            began = time.monotonic()
            build = start(root, "whole")
            time.sleep(2)
            orphans = alive(mark)
            n_orphans += bool(orphans)
            status = build.wait()
            longest = time.monotonic() - began
            parameters = {"PROFILE": "auto", "SEED": 0}
            source = book.read_source(root / "notebooks" / f"{name}.ipynb", parameters)
            key = book.code_key(source, root)
            cached = book.cached_path(output / "cache", name, key, root)
            page = output / "html" / "notebooks" / f"{name}.html"
            right = status == 0 and shown(page) == shown(cached) == {str(number)}
            n_wrong += not right
            print(
                f"{number} kills, {n_running} while the notebook ran: {n_wrong} wrong outputs, "
                f"{n_orphans} orphans; the last whole build took {longest:.0f} s",
                *orphans,
                flush=True,
            )
    return bool(n_wrong or n_orphans)


if __name__ == "__main__":
    random.seed(int(os.environ.get("SEED", 0)))
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
