"""Kills builds of a small book at random moments; never may an old output stand under a new key.

`python tests/kill_the_build.py 30`. After each kill the library is edited and the book built: the page
must show the edit, and what is in the cache under the key of now must show it too. Half of the builds
after a kill begin at once, while an orphan, were there one, would still be writing.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_notebook

from dgm import book

BUILD = """
import pathlib, sys
from dgm import book
sys.exit(book.main(["--execute-only"], root=pathlib.Path(sys.argv[1])))
"""
SECONDS = 2.0  # that the notebook takes after it has read the library


def small_book(root: Path) -> None:
    """A book of one notebook that shows a value of its library."""
    for name, text in {
        "requirements.lock": "",
        "pyproject.toml": '[project]\nname = "small"\n',
        "_config.yml": "",
        "_toc.yml": "",
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
        "print(VALUE)",
    ]
    cells = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    (root / "notebooks").mkdir()
    nbformat.write(notebook, root / "notebooks" / "01_small.ipynb")


def start(root: Path) -> subprocess.Popen:
    """A build in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", BUILD, str(root)], stdout=subprocess.DEVNULL)


def shown(path: Path) -> str:
    """What an executed notebook shows at its end."""
    return book.code_cells(nbformat.read(path, as_version=4))[-1].outputs[0].text.strip()


def of_builds(root: Path) -> list[int]:
    """Processes that a build of this root has started and that are alive."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
        text = " ".join(process.info["cmdline"] or [])
        environment = process.info["environ"] or {}
        mine = str(root) in text or environment.get("KILL_THE_BUILD") == str(root)
        if mine and process.pid != os.getpid() and process.info["status"] != "zombie":
            found.append(process.pid)
    return found


def trial(root: Path, number: int, longest: float, at_once: bool) -> tuple[bool, bool]:
    """One kill, edit and build; returns whether the output was right, and whether processes stayed."""
    build = start(root)
    time.sleep(random.uniform(0, longest))
    build.kill()
    build.wait()
    if not at_once:
        time.sleep(2)
    stayed = not at_once and bool(of_builds(root))
    (root / "lib" / "value.py").write_text(f"VALUE = {number}\n")
    status = start(root).wait()
    output, name = root / "_build", "01_small"
    source = book.read_source(root / "notebooks" / f"{name}.ipynb", {"PROFILE": "auto", "SEED": 0})
    cached = book.cached_path(output / "cache", name, book.code_key(source, root), root)
    found = {shown(path) for path in (output / "src" / "notebooks" / f"{name}.ipynb", cached)}
    return status == 0 and found == {str(number)}, stayed


def main(trials: int) -> int:
    """Runs the trials and prints how many went wrong."""
    wrong, stayed = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        os.environ["KILL_THE_BUILD"] = str(root)
        small_book(root)
        began = time.monotonic()
        assert start(root).wait() == 0
        longest = time.monotonic() - began
        for number in range(1, trials + 1):
            right, left = trial(root, number, longest, at_once=number % 2 == 0)
            wrong, stayed = wrong + (not right), stayed + left
            print(f"{number} of {trials}: {wrong} wrong, {stayed} with orphans", flush=True)
        time.sleep(2)
        print(f"a build takes {longest:.1f} s; alive at the end: {len(of_builds(root))}")
    return bool(wrong or stayed)


if __name__ == "__main__":
    random.seed(int(os.environ.get("SEED", 0)))
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 30))
