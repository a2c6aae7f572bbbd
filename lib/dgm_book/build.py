"""Stages the book, executes its chapters and builds the pages: `python -m dgm_book build`.

Each notebook is executed by papermill in a process of its own, with one thread, and the executed
copy is stored under a key made of all that could change its outputs; Markdown comes from the
source. One build at a time uses an output folder. Needs the extra `book` and Python 3.11 or later.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from html import escape
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import nbformat
from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parents[2]
# Sets and threads in a fixed order, and the library that the key describes.
ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "lib"), os.environ.get("PYTHONPATH")])),
}
# A module that ends, with all that it started, when its standard input is closed, as it is when its
# parent dies. Kernels live in process groups of their own.
LAUNCHER = """
import os, runpy, sys, threading

def watch():
    while os.read(0, 1024):  # not sys.stdin, whose lock would stop the interpreter's end
        pass
    try:
        import psutil
        children = psutil.Process().children(recursive=True)
        for child in children:
            child.kill()
        psutil.wait_procs(children, timeout=5)
    finally:
        os._exit(1)

threading.Thread(target=watch, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
LIBRARY_SUFFIXES = {".py", ".js", ".css", ".json", ".mplstyle", ".yaml"}
MARKS = ("book/corpus/hand_scores", "book/corpus/typed_sentences.tsv")  # that the pages show
CACHE_DEPTH = 4
WHEEL = ["pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
WHEEL += ["--wheel-dir", "wheels", "."]
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
say = functools.partial(print, flush=True)  # at once, also through a pipe


class ChapterError(RuntimeError):
    """A chapter did not run to its end; the message says where and why."""


class Build(NamedTuple):
    """What the chapters of one build share."""

    root: Path
    output: Path
    parameters: Mapping[str, Any]  # of the notebooks, by name
    timeout: float = 900  # seconds that a chapter may take
    stop: threading.Event = threading.Event()


def repository(root: Path) -> str:
    """The repository's address from pyproject.toml, or an empty string while it is unset."""
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return project.get("urls", {}).get("Repository", "").rstrip("/").removesuffix(".git")


def write_repository(root: Path) -> list[Path]:
    """Puts the repository's address into each notebook's first cell; returns those it changed."""
    line = f'REPOSITORY = "{repository(root)}"'
    changed = []
    for path in chapters(root):
        notebook = nbformat.read(path, as_version=4)
        first = notebook.cells[0]
        before = first.source
        first.source = re.sub(r'^REPOSITORY = ".*?"', line, before, flags=re.MULTILINE)
        if first.source != before:
            path.write_text(nbformat.writes(notebook) + "\n", "utf-8")
            changed.append(path)
    return changed


def chapters(root: Path) -> list[Path]:
    """The committed notebooks, in the order of their numbers."""
    return sorted((root / "notebooks").glob("[0-9]*.ipynb"))


def read_source(path: Path, parameters: Mapping[str, Any]) -> nbformat.NotebookNode:
    """Reads a committed notebook and sets its parameters, in its one cell tagged `parameters`."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path}: {len(cells)} cells are tagged 'parameters', want one")
    cells[0].source = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    return notebook


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def digest(parts: Iterable[str | bytes]) -> str:
    """A hash of the parts, each with its length, so that no two lists of parts run together."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode() + data)
    return total.hexdigest()


def tree_digest(tree: Path, suffixes: set[str] | None = None) -> str:
    """A hash of a file, or of the names and contents of the files in a folder; may be absent."""
    files = sorted(p for p in (tree, *tree.rglob("*")) if p.is_file())
    files = [p for p in files if "__pycache__" not in p.parts]
    files = [p for p in files if suffixes is None or p.suffix in suffixes]
    return digest(x for p in files for x in (p.relative_to(tree).as_posix(), p.read_bytes()))


def code_key(notebook: nbformat.NotebookNode, root: Path) -> str:
    """A hash of what decides a chapter's outputs, its parameters included, but for its results."""
    cells = [json.dumps([c.source, c.metadata.get("tags", [])]) for c in code_cells(notebook)]
    library, lock = tree_digest(root / "lib", LIBRARY_SUFFIXES), root / "requirements.lock"
    # PROFILE = "auto" looks for a GPU; asking torch would cost two seconds.
    machine = platform.python_version(), *installed(), str(shutil.which("nvidia-smi") is not None)
    return digest([*cells, library, lock.read_bytes(), *machine])


@functools.cache
def installed() -> list[str]:
    """Names and versions of the packages at hand, which may differ from the lock file's."""
    return sorted(f"{package.name} {package.version}" for package in metadata.distributions())


def results_folder(root: Path) -> Path:
    """Where the chapters' results lie; `dgm_book.results` says the same, but imports torch."""
    return Path(os.environ.get("DGM_RESULTS") or root / "book" / "results").expanduser()


def problem(notebook: nbformat.NotebookNode) -> str | None:
    """What is wrong with an executed notebook: None when every code cell ended without an error."""
    for number, cell in enumerate(code_cells(notebook), start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                trace = "\n".join(output.get("traceback", []))
                return f"cell {number}: {output.ename}: {output.evalue}\n{trace}"
        # A kernel that dies leaves a count but no reply.
        replied = "shell.execute_reply" in cell.metadata.get("execution", {})
        if cell.source.strip() and not (replied and cell.execution_count):
            return f"cell {number} did not run to its end"
    return None


def try_read(path: Path) -> nbformat.NotebookNode | None:
    """Reads a notebook that another process may be writing; None while it cannot be read."""
    with contextlib.suppress(OSError, ValueError):
        return nbformat.read(path, as_version=4)
    return None


def launch(module: str, *arguments: str, **options: Any) -> subprocess.Popen:
    """Runs `python -m module`, which ends, with its children, when this process does."""
    command = [sys.executable, "-c", LAUNCHER, module, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.STDOUT, **options)


def execute(
    notebook: nbformat.NotebookNode, name: str, build: Build, tries: int = 3
) -> nbformat.NotebookNode:
    """Executes a notebook with papermill, in a process and a folder of its own.

    The run is judged by the notebook that it left, since papermill may hang after the last cell.
    The kernel starts at most `tries` times, since it dies when another process takes its port
    first.
    """
    work, cwd = build.output / "run", build.output / "src" / "notebooks"
    for folder in (work, cwd):
        folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=work))
    source, target, log = (folder / f"{name}{end}" for end in (".in.ipynb", ".out.ipynb", ".log"))
    nbformat.write(notebook, source)
    arguments = ["papermill", str(source), str(target), "--cwd", str(cwd), "--kernel", "python3"]
    arguments += ["--no-progress-bar", "--log-level", "ERROR"]
    options: dict[str, Any] = {"env": {**os.environ, **ENVIRONMENT}, "start_new_session": True}
    with log.open("wb") as stream, launch(*arguments, stdout=stream, **options) as process:
        reason = _watch(process, target, name, build)
    executed, text = try_read(target), log.read_text("utf-8", "replace")
    failure = problem(executed) if executed else "papermill left no notebook"
    if failure and not reason and tries > 1 and "Address already in use" in text:
        say(f"{name}: another process took the kernel's port, starting anew")
        return execute(notebook, name, build, tries - 1)
    if reason or failure or executed is None:
        tail = "\n".join(text.splitlines()[-15:])
        raise ChapterError(f"{name}: {reason or failure}\n{tail}".rstrip())
    return executed


def _watch(process: subprocess.Popen, target: Path, name: str, build: Build) -> str | None:
    """Waits for the end of a run, and reports its cells; returns why it has to be killed."""
    start, stamp, end = time.monotonic(), None, float("inf")
    while process.poll() is None:
        time.sleep(0.2)
        elapsed = time.monotonic() - start
        if build.stop.is_set():
            return "stopped"
        if elapsed > build.timeout:
            return f"still running after {build.timeout:.0f} s, killed"
        latest = target.stat().st_mtime_ns if target.exists() else None
        if latest not in (None, stamp) and (partial := try_read(target)):
            stamp, cells = latest, code_cells(partial)
            done = sum(cell.execution_count is not None for cell in cells)
            say(f"{name}: {done} of {len(cells)} cells, {elapsed:.0f} s")
            if partial.metadata.get("papermill", {}).get("end_time"):
                end = min(end, elapsed)
        if elapsed > end + 5:
            break
    return None


def merge(source: nbformat.NotebookNode, executed: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Puts an executed notebook's outputs and widgets into its source, of the same code cells."""
    cells, ran = code_cells(source), code_cells(executed)
    if [c.source for c in ran] != [c.source for c in cells]:
        raise ValueError("the executed notebook has other code cells than its source")
    for cell, done in zip(cells, ran, strict=True):
        cell.outputs, cell.execution_count = done.outputs, done.execution_count
    source.metadata.pop("widgets", None)
    source.metadata |= {k: v for k, v in executed.metadata.items() if k == "widgets"}
    return source


def prepare(path: Path, build: Build) -> tuple[nbformat.NotebookNode, bool]:
    """One chapter, cached or executed: with its outputs, and whether it had to be executed."""
    name, cache = path.stem, build.output / "cache"
    source = read_source(path, build.parameters)
    code = code_key(source, build.root)

    def cached() -> Path:
        """Where the executed chapter lies, given its results as they are now."""
        trees = sorted(results_folder(build.root).glob(f"{name[:3]}*"))  # with those beside it
        key = digest(map(tree_digest, [*trees, *(build.root / part for part in MARKS)]))
        return cache / f"{name}-{digest([code, key])[:20]}.ipynb"

    place, start = cached(), time.monotonic()
    if (executed := try_read(place)) is not None:
        return merge(source, executed), False
    say(f"{name}: executing {len(code_cells(source))} cells")
    executed = execute(source, name, build)
    say(f"{name}: done in {time.monotonic() - start:.0f} s")
    if code_key(source, build.root) != code:
        raise ChapterError(f"{name}: the library was edited while it ran; build again")
    # Where results came in meanwhile, which of them it shows cannot be known.
    if cached() == place:
        write_if_changed(place, nbformat.writes(executed).encode())
        others = (p for p in cache.glob(f"{name}-*.ipynb") if p != place)
        for old in sorted(others, key=lambda p: p.stat().st_mtime)[: -(CACHE_DEPTH - 1)]:
            old.unlink()
    return merge(source, executed), True


def write_if_changed(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, and leaves one alone that already holds the data."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    partial.write_bytes(data)
    partial.replace(path)


def stage(
    root: Path,
    target: Path,
    notebooks: Mapping[str, nbformat.NotebookNode],
    files: Mapping[Path, bytes] = MappingProxyType({}),
) -> None:
    """Lays out what the pages are built from, and touches only what differs."""
    published = root / "book" / "results"
    sources = [root / "_config.yml", root / "_toc.yml", *(root / "lib").rglob("*.py")]
    sources += [p for p in (root / "book").rglob("*") if published not in p.parents]
    sources = [p for p in sources if p.is_file() and "__pycache__" not in p.parts]
    contents = {path.relative_to(root): path.read_bytes() for path in sources} | dict(files)
    for name, notebook in notebooks.items():
        contents[Path("notebooks", name)] = (nbformat.writes(notebook) + "\n").encode()
    # Pages that show results depend on this file, and so are read again when a result changes.
    results = [tree_digest(results_folder(root) / Path(name).stem) for name in notebooks]
    stamp = digest([*results, tree_digest(root / "lib", LIBRARY_SUFFIXES)])
    contents[Path("book", "results.sha256")] = stamp.encode()
    for path, data in contents.items():
        write_if_changed(target / path, data)
    for path in target.rglob("*"):
        if path.is_file() and path.relative_to(target) not in contents:
            path.unlink()


def for_page(notebook: nbformat.NotebookNode, name: str) -> dict[Path, bytes]:
    """Makes an executed chapter fit for a page, in place; returns the pictures of its widgets."""
    posters = {}
    for cell in code_cells(notebook):
        cell.source = cell.source.removeprefix("# NBVAL_CHECK_OUTPUT\n")
        if "parameters" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-cell")
        outputs, cell.outputs = cell.outputs, []
        for output in outputs:
            cell.outputs.append(output)
            data = output.get("data", {})
            if WIDGET_VIEW in data and "image/png" in data:
                path = f"posters/{name}-{len(posters)}.png"
                posters[Path("book/_static", path)] = base64.b64decode(data["image/png"])
                alt = escape(data.get("text/plain", ""))
                html = f'<noscript><img src="../_static/{path}" alt="{alt}"></noscript>'
                cell.outputs.append(nbformat.v4.new_output("display_data", {"text/html": html}))
    return posters


def wheel(root: Path, output: Path) -> Path:
    """The library and its published results, as pip installs them, built when they changed."""
    names = ("lib", *MARKS, "book/results", "pyproject.toml", "README.md", "LICENSE")
    sources = [root / name for name in names if (root / name).exists()]
    folder = output / "wheels" / digest(map(tree_digest, sources))[:20]
    if not list(folder.glob("*.whl")):
        shutil.rmtree(folder.parent, ignore_errors=True)
        # A copy, since the build leaves its work beside its sources.
        with tempfile.TemporaryDirectory() as copy:
            for source in sources:
                target = Path(copy, source.relative_to(root))
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            environment = {**os.environ, "SOURCE_DATE_EPOCH": "315532800"}  # always the same bytes
            options = {"cwd": copy, "env": environment, "capture_output": True, "text": True}
            done = subprocess.run([sys.executable, "-m", *WHEEL], **options)
            if done.returncode:
                raise RuntimeError(f"the library's wheel was not built:\n{done.stderr}")
            for path in Path(copy, "wheels").iterdir():
                write_if_changed(folder / path.name, path.read_bytes())
    return next(folder.glob("*.whl"))


def add_downloads(notebook: nbformat.NotebookNode, path: Path, library: Path) -> dict[Path, bytes]:
    """Ends a chapter's page with the way to run it elsewhere; returns the files offered there."""
    files = {Path("downloads", p.name): p.read_bytes() for p in (path, library)}
    megabytes = round(library.stat().st_size / 1e6)
    text = (
        f"**Run it yourself.** Put {{download}}`this notebook <../downloads/{path.name}>` and "
        f"{{download}}`the library with all results <../downloads/{library.name}>` "
        f"({megabytes} MB) into one folder, or upload both to a notebook host, and run the cells. "
        "Nothing is trained: they show the published results."
    )
    notebook.cells.append(nbformat.v4.new_markdown_cell(text, id="downloads"))
    return files


def build(root: Path, output: Path) -> None:
    """Builds the pages from the staged copies; a warning is an error, raised as RuntimeError."""
    from jupyter_book.sphinx import build_sphinx

    source, html, doctrees = output / "src", output / "html", output / ".doctrees"
    overrides: dict[str, Any] = {"latex_individualpages": False, "nitpicky": True}
    overrides["external_toc_path"], options = str(source / "_toc.yml"), {}
    if url := repository(root):
        hosts = {"colab_url": "https://colab.research.google.com"}
        hosts["binderhub_url"] = "https://mybinder.org"
        overrides["html_theme_options"] = {"repository_url": url, "launch_buttons": hosts}
    # Sphinx notices changed pages and options; what it cannot notice is its own machinery.
    trees = [tree_digest(root / "book" / name) for name in ("_ext", "_static", "_templates")]
    machinery = digest([*trees, (root / "requirements.lock").read_bytes()])
    mark = output / "machinery.sha256"
    if not mark.is_file() or mark.read_text() != machinery:
        for folder in (doctrees, html):
            shutil.rmtree(folder, ignore_errors=True)
    # A page that was half written, or read with a warning, would pass in silence the next time.
    mark.unlink(missing_ok=True)
    options |= {"noconfig": True, "path_config": str(source / "_config.yml")}
    options |= {"doctreedir": str(doctrees), "confoverrides": overrides}
    options |= {"warningiserror": True, "keep_going": True, "quiet": True}
    status = build_sphinx(str(source), str(html), **options)
    if status:
        raise RuntimeError("the book was not built: see the warnings above")
    write_if_changed(mark, machinery.encode())


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m dgm_book build", description="Executes the chapters and builds the pages."
    )
    add = parser.add_argument
    add("--profile", default="auto", choices=["auto", "smoke", "small", "paper"])
    add("--seed", type=int, default=0)
    add("--timeout", type=float, default=900, help="seconds a chapter may take")
    add("--jobs", type=int, default=2, help="chapters executed side by side")
    add("--output", type=lambda text: Path(text).expanduser(), default=root / "_build")
    add("--execute-only", action="store_true", help="build no pages")
    add("--write-repository", action="store_true", help="only write the address into the notebooks")
    options = parser.parse_args(arguments)
    if options.write_repository:
        for path in write_repository(root):
            say(f"{path.name}: repository's address written")
        return 0
    if options.jobs < 1:
        parser.error("--jobs must be at least 1")
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / ".lock")
    try:
        guard = lock.acquire(timeout=0.5)
    except Timeout:
        say(f"waiting for another build in {output}")
        guard = lock.acquire()
    with guard:
        shutil.rmtree(output / "run", ignore_errors=True)  # of earlier builds
        try:
            make(root, output, options)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


def make(root: Path, output: Path, options: argparse.Namespace) -> None:
    """Executes, stages and builds; raises RuntimeError where a chapter or the pages failed."""
    start = time.monotonic()
    parameters = {"PROFILE": options.profile, "SEED": options.seed}
    files: dict[Path, bytes] = {}
    shared = Build(root, output, parameters, options.timeout, threading.Event())
    notebooks, executed = execute_all(shared, options.jobs)
    if not options.execute_only:
        library = wheel(root, output)
        for path in chapters(root):
            notebook = notebooks[path.name]
            files |= for_page(notebook, path.stem) | add_downloads(notebook, path, library)
    stage(root, output / "src", notebooks, files)
    say(f"{executed} of {len(notebooks)} chapters executed, {len(notebooks) - executed} unchanged")
    if not options.execute_only:
        build(root, output)
        say(f"built {output / 'html' / 'index.html'} in {time.monotonic() - start:.1f} s")


def execute_all(shared: Build, jobs: int) -> tuple[dict[str, nbformat.NotebookNode], int]:
    """The chapters by file name, and how many were executed; raises ChapterError at the end."""
    notebooks, executed, failures = {}, 0, []
    with ThreadPoolExecutor(jobs) as pool:
        runs = {path: pool.submit(prepare, path, shared) for path in chapters(shared.root)}
        try:
            for path, run in runs.items():
                try:
                    notebooks[path.name], ran = run.result()
                    executed += ran
                except (ChapterError, ValueError) as error:
                    failures.append(str(error))
        except BaseException:
            shared.stop.set()
            raise
    if failures:
        raise ChapterError("\n\n".join(failures))
    return notebooks, executed
