"""The book's engine, on a tiny book in a temporary folder."""

import contextlib
import copy
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from pybtex.database import parse_string

from dgm_book import build as book

ROOT = Path(__file__).resolve().parents[2]
WIDGET = """
import anywidget, traitlets
class Dial(anywidget.AnyWidget):
    _esm = "export default {render({el}) {el.textContent = '</script><b>'}}"
    value = traitlets.Int(3).tag(sync=True)
Dial()
"""
PARAMETERS = {"PROFILE": "smoke", "SEED": 7}
BASE = "https://example.org/book/"
BUILD = """
import sys, pathlib
from dgm_book import build
sys.exit(build.main(sys.argv[2:], root=pathlib.Path(sys.argv[1])))
"""


def notebook_of(*code: str) -> nbformat.NotebookNode:
    """A notebook with a text, parameters and the given code cells."""
    parameters = new_code_cell('PROFILE = "auto"  # the size\nSEED = 0')
    parameters.metadata.tags = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [new_markdown_cell("# Tiny"), parameters, *map(new_code_cell, code)]
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def write(root: Path, notebook: nbformat.NotebookNode, name: str = "01_tiny") -> Path:
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("DGM_RESULTS", raising=False)
    book.installed.cache_clear()
    root = tmp_path / "root"
    files = {LIBRARY: "STEPS = 20\n", "requirements.lock": "numpy==2.0\n", "_toc.yml": ""}
    files |= {"pyproject.toml": '[project]\nname = "tiny"\n', "_config.yml": "", "book/a.md": ""}
    for name, text in files.items():
        put(root, name)
        (root / name).write_text(text)
    write(root, notebook_of("print(SEED)", "print(PROFILE)"))
    return root


@pytest.fixture
def runs(monkeypatch):
    """Replaces the slow part; counts its calls."""
    calls = []

    def execute(notebook, name, _):
        calls.append(name)
        executed = nbformat.from_dict(json.loads(json.dumps(notebook)))
        for count, cell in enumerate(book.code_cells(executed), start=1):
            cell.execution_count = count
            cell.outputs = [new_output("stream", text=f"run {len(calls)}")]
        return executed

    monkeypatch.setattr(book, "execute", execute)
    return calls


def prepare(root: Path, **changes) -> tuple[nbformat.NotebookNode, bool]:
    (path,) = book.chapters(root)
    return book.prepare(path, book.Build(root, root / "_build", PARAMETERS | changes))


def edit(root: Path, change) -> None:
    (path,) = book.chapters(root)
    notebook = nbformat.read(path, as_version=4)
    change(notebook.cells)
    nbformat.write(notebook, path)


def test_prose_edit_executes_nothing_and_shows(root, runs):
    first, second = prepare(root), prepare(root)
    assert (first[1], second[1], len(runs)) == (True, False, 1)
    assert first[0] == second[0]
    edit(root, lambda cells: cells.__setitem__(0, new_markdown_cell("# Rewritten")))
    edit(root, lambda cells: cells.append(new_markdown_cell("An end.")))
    notebook, ran = prepare(root)
    assert not ran
    assert [notebook.cells[i].source for i in (0, -1)] == ["# Rewritten", "An end."]
    assert notebook.cells[2].outputs[0].text == "run 1"


def put(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")


def install(_root: Path) -> None:
    book.installed.cache_clear()
    package = SimpleNamespace(name="fonts", version="2.0")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "distributions", lambda: [package])
        book.installed()


RESULT = "book/results/01_tiny/small/curve.json"
LIBRARY = "lib/dgm/sampling/hmc.py"
CHANGES = {
    "code": lambda root: edit(root, lambda cells: cells[2].update(source="print(SEED + 1)")),
    "tags": lambda root: edit(root, lambda cells: cells[2].metadata.update(tags=["hide-input"])),
    "versions": install,
}
NAMES = [LIBRARY, "lib/dgm/nn.js", "lib/dgm/claims.yaml", "requirements.lock", RESULT]
CHANGES |= {name: functools.partial(put, name=name) for name in NAMES}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_outputs_executes_again(root, runs, change):
    prepare(root)
    put(root, "book/results/02_other/curve.json")  # not that of another chapter
    assert not prepare(root)[1]
    CHANGES[change](root)
    assert prepare(root)[1]
    assert not prepare(root)[1]
    assert prepare(root, SEED=8)[1]


def during(monkeypatch, change):
    """Makes something happen while a chapter runs, once."""
    fake = book.execute

    def execute(*args, **kwargs):
        monkeypatch.setattr(book, "execute", fake)
        change()
        return fake(*args, **kwargs)

    monkeypatch.setattr(book, "execute", execute)


def test_outputs_are_not_kept_when_results_come_in_during_the_run(root, monkeypatch, runs):
    during(monkeypatch, lambda: put(root, RESULT))
    assert [prepare(root)[1] for _ in range(3)] == [True, True, False]


def test_outputs_are_refused_when_the_library_is_edited_during_the_run(root, monkeypatch, runs):
    during(monkeypatch, lambda: put(root, LIBRARY))
    with pytest.raises(book.ChapterError, match="edited while it ran"):
        prepare(root)
    assert prepare(root)[0].cells[2].outputs[0].text == "run 2"


def test_two_builds_do_not_overlap(root, monkeypatch, runs, capsys):
    inside, release = threading.Event(), threading.Event()
    during(monkeypatch, lambda: (inside.set(), release.wait(10)))
    arguments = ["--execute-only", "--output", str(root / "_build")]
    with ThreadPoolExecutor(2) as pool:
        builds = [pool.submit(book.main, arguments, root=root)]
        inside.wait(10)
        builds.append(pool.submit(book.main, arguments, root=root))
        time.sleep(0.8)
        assert "waiting for another build" in capsys.readouterr().out
        assert len(runs) == 0
        release.set()
        assert [build.result() for build in builds] == [0, 0]
    assert len(runs) == 1, "the second takes what the first has kept"


def test_the_cache_keeps_a_number_of_entries_and_a_damaged_one_is_executed_again(root, runs):
    cache = root / "_build" / "cache"
    for step in range(7):
        edit(root, lambda cells, step=step: cells[2].update(source=f"print({step})"))
        prepare(root)
    assert len(list(cache.iterdir())) == book.CACHE_DEPTH
    assert not prepare(root)[1]
    for entry in cache.iterdir():
        entry.write_text('{"cells": [')
    assert prepare(root)[1]


def test_source_gets_parameters_and_the_outputs_of_the_same_code(root):
    (path,) = book.chapters(root)
    notebook = book.read_source(path, PARAMETERS)
    code = [cell.source for cell in book.code_cells(notebook)]
    assert code == ["PROFILE = 'smoke'\nSEED = 7", "print(SEED)", "print(PROFILE)"]
    executed = copy.deepcopy(notebook)
    executed.cells[2].execution_count = 9
    assert book.code_cells(book.merge(notebook, executed))[1].execution_count == 9
    with pytest.raises(ValueError, match="other code cells"):
        book.merge(notebook_of("2"), executed)
    edit(root, lambda cells: cells.pop(1))
    with pytest.raises(ValueError, match="0 cells are tagged 'parameters'"):
        book.read_source(path, PARAMETERS)


def test_a_page_hides_what_readers_need_not_see_and_has_posters():
    notebook = notebook_of("# NBVAL_CHECK_OUTPUT\n1 + 1", "show()")
    cell = notebook.cells[-1]
    data = {"image/png": "aGVsbG8=", "text/plain": 'Plane("a")'}
    data[book.WIDGET_VIEW] = {"model_id": "1"}
    cell.outputs = [new_output("display_data", data)]
    posters = book.for_page(notebook, "01_tiny")
    assert posters == {Path("book/_static/posters/01_tiny-0.png"): b"hello"}
    assert notebook.cells[1].metadata.tags == ["parameters", "remove-cell"]
    assert notebook.cells[2].source == "1 + 1"
    html = cell.outputs[1].data["text/html"]
    assert '<noscript><img src="../_static/posters/01_tiny-0.png"' in html
    assert 'alt="Plane(&quot;a&quot;)"' in html


def test_stage_touches_only_what_differs(root):
    target = root / "_build" / "src"
    notebooks = {"01_tiny.ipynb": notebook_of("1")}
    book.stage(root, target, notebooks)
    stale = target / "book" / "gone.md"
    stale.write_text("")
    for path in target.rglob("*"):
        os.utime(path, (1, 1))
    (root / "book" / "new.md").write_text("# New")
    book.stage(root, target, notebooks)
    touched = [p for p in target.rglob("*") if p.is_file() and p.stat().st_mtime > 1]
    assert touched == [target / "book" / "new.md"]
    assert not stale.exists()
    assert (target / "lib" / "dgm" / "sampling" / "hmc.py").is_file()


def test_pages_of_an_interrupted_build_are_not_used(root, monkeypatch):
    page, present = root / "_build" / "html" / "page.html", []

    def build_sphinx(*_, **__):
        present.append(page.is_file())
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("half")
        return outcome()

    for name in ("jupyter_book", "jupyter_book.sphinx"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(build_sphinx=build_sphinx))
    errors = {lambda: sys.exit(143): SystemExit, lambda: 1: RuntimeError}
    good = lambda: 0  # noqa: E731
    for outcome in (good, good, *errors, good, good):
        raises = pytest.raises(errors[outcome]) if outcome in errors else contextlib.nullcontext()
        with raises:
            book.build(root, root / "_build")
    assert present == [False, True, True, False, False, True]


def execute(root: Path, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return book.execute(notebook, "01_tiny", book.Build(root, root, {}, timeout=120))


def test_execute_runs_alone_with_one_thread_in_the_folder(root, capsys):
    cell = "import os, dgm; print(os.environ['OMP_NUM_THREADS'], os.path.basename(os.getcwd()))"
    cell += "; print(os.environ['PYTHONHASHSEED'], dgm.__file__)"
    executed = execute(root, notebook_of(cell))
    library = ROOT / "lib" / "dgm" / "__init__.py"
    assert book.code_cells(executed)[-1].outputs[0].text == f"1 notebooks\n0 {library}\n"
    assert "01_tiny: 2 of 2 cells" in capsys.readouterr().out


def test_a_kernel_whose_port_was_taken_starts_anew(root, monkeypatch, capsys):
    launch, codes = book.launch, []

    def first_fails(module, *arguments, **options):
        codes.append(module)
        if len(codes) > 1:
            return launch(module, *arguments, **options)
        command = [sys.executable, "-c", "print('ZMQError: Address already in use')"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=options["stdout"])

    monkeypatch.setattr(book, "launch", first_fails)
    executed = execute(root, notebook_of("print(6 * 7)"))
    assert book.code_cells(executed)[-1].outputs[0].text == "42\n"
    assert len(codes) == 2
    assert "starting anew" in capsys.readouterr().out


def test_a_failing_cell_is_named(root):
    with pytest.raises(book.ChapterError, match="01_tiny: cell 3: ZeroDivisionError"):
        execute(root, notebook_of("1", "1 / 0", "2"))
    with pytest.raises(book.ChapterError, match="01_tiny: cell 2 did not run to its end"):
        execute(root, notebook_of("import os; os.kill(os.getpid(), 9)"))


def sleeper(pids: Path) -> str:
    """A cell that writes down the process ids of papermill, its kernel and a child, and sleeps."""
    return f"""
import os, subprocess, pathlib, time
child = subprocess.Popen(["sleep", "600"], start_new_session=True)
part = pathlib.Path({str(pids)!r} + ".part")
part.write_text(f"{{os.getppid()}} {{os.getpid()}} {{child.pid}}")
part.rename({str(pids)!r})
time.sleep(600)
"""


def alive(pids: Path) -> list[int]:
    existing = filter(psutil.pid_exists, map(int, pids.read_text().split()))
    return [pid for pid in existing if psutil.Process(pid).status() != "zombie"]


def becomes(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def test_nothing_outlives_a_killed_build(root):
    pids = root / "pids"
    edit(root, lambda cells: cells[2].update(source=sleeper(pids)))
    build = subprocess.Popen([sys.executable, "-c", BUILD, str(root), "--execute-only"])
    assert becomes(pids.exists, 60)
    build.kill()
    build.wait()
    assert becomes(lambda: not alive(pids), 5)


def test_timeout_kills_the_kernel_and_its_children(root, monkeypatch):
    pids = root / "pids"
    # The clock jumps once the cell runs: no matter how long a kernel takes to start.
    monotonic = lambda: time.monotonic() + 1000 * pids.exists()  # noqa: E731
    monkeypatch.setattr(book, "time", SimpleNamespace(sleep=time.sleep, monotonic=monotonic))
    with pytest.raises(book.ChapterError, match="still running after 120 s, killed"):
        execute(root, notebook_of(sleeper(pids)))
    assert alive(pids) == []


def test_a_failed_chapter_fails_the_book(root, monkeypatch, capsys):
    def execute(*_, **__):
        raise book.ChapterError("01_tiny: cell 2: ValueError")

    monkeypatch.setattr(book, "execute", execute)
    assert book.main(["--output", str(root / "_build")], root=root) == 1
    assert "01_tiny: cell 2: ValueError" in capsys.readouterr().err
    assert not (root / "_build" / "html").exists()


def test_repository_is_written_into_first_cells(root):
    address = 'urls.Repository = "https://example.org/me/book.git"'
    (root / "pyproject.toml").write_text(f'[project]\nname = "tiny"\n{address}\n')
    edit(root, lambda cells: cells.insert(1, new_code_cell('import os\nREPOSITORY = ""  # here')))
    edit(root, lambda cells: cells.pop(0))
    (path,) = book.chapters(root)
    assert book.main(["--write-repository"], root=root) == 0
    source = nbformat.read(path, as_version=4).cells[0].source
    assert source == 'import os\nREPOSITORY = "https://example.org/me/book"  # here'
    assert book.write_repository(root) == []


def test_a_script_s_words_are_not_looked_for_in_weights(extension):
    def script(**attributes):
        return SimpleNamespace(filename="a.js", attributes=attributes)

    assert "thebe" in extension.script_text(script(body="let x = Thebe;"))
    assert "thebe" not in extension.script_text(script(type=extension.STATE, body="QTHEBEx"))
    assert extension.script_text("_static/Thebe.js") == "_static/thebe.js "


def test_widget_directive_takes_what_the_widget_refers_to(extension):
    state = {
        "a": {"state": {"_anywidget_id": "dgm_book.widgets.pad.Pad", "weights": "IPY_MODEL_b"}},
        "b": {"state": {"layout": "IPY_MODEL_c", "text": "</script>"}},
        "c": {"state": {}},
        "d": {"state": {"_anywidget_id": "dgm_book.widgets.other.Other"}},
    }
    notebook = notebook_of("1")
    notebook.metadata.widgets = {extension.STATE: {"version_major": 2, "state": state}}
    data = {"image/png": "AAAA\n", "text/plain": 'Pad of "codes"'}
    data[extension.VIEW] = {"model_id": "a"}
    notebook.cells[-1].outputs = [new_output("display_data", data=data)]
    html = extension.widget_html(notebook, "Pad")
    assert sorted(extension.widget_closure(state, "a")) == ["a", "b", "c"]
    assert "Other" not in html
    assert html.count("</script>") == 2, "data must not end its script"
    assert 'alt="Pad of &quot;codes&quot;"' in html
    with pytest.raises(ValueError, match="no widget 'Slider' is shown"):
        extension.widget_html(notebook, "Slider")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A tiny book with the project's own configuration, built with and without an address."""
    root = tmp_path_factory.mktemp("pages")
    (root / "lib" / "dgm").mkdir(parents=True)
    (root / "lib" / "dgm" / "__init__.py").write_text("RESULT = 42\n")
    (root / "book").mkdir()
    for name in ("_ext", "_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    for name in ("_config.yml", "requirements.lock", "book/references.bib"):
        shutil.copy(ROOT / name, root / name)
    toc = "format: jb-book\nroot: book/intro\nchapters:\n- file: notebooks/01_tiny\n"
    (root / "_toc.yml").write_text(toc)
    intro = (
        "# Hello\n\nA *dial* turns. Turn it now.\n\n```{dgm-widget} notebooks/01_tiny Dial\n```\n"
    )
    intro += "".join(f"\n```{{{name}}}\n```\n" for name in ("dgm-gallery", "dgm-pdf"))
    (root / "book" / "intro.md").write_text(intro)
    chapter = {"page": "notebooks/01_tiny", "paper": "huang2020evaluating", "question": "Why?"}
    chapter |= {"action": "Turn it", "address": "dial=value:2"}
    (root / "book" / "chapters.yaml").write_text(json.dumps([chapter]))
    tiny = notebook_of(WIDGET)
    tiny.cells[0].source = "# Tiny\n\n$$x^2$$"
    write(root, tiny)

    def build(address: str) -> str:
        urls = f'urls.Repository = "{address}"\n' if address else ""
        project = f'[project]\nname = "tiny"\nversion = "1"\n{urls}'
        packages = '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'
        (root / "pyproject.toml").write_text(project + packages)
        config = (ROOT / "_config.yml").read_text()
        base = config.replace('baseurl: ""', f'baseurl: "{BASE if address else ""}"')
        (root / "_config.yml").write_text(base)
        environment = {k: v for k, v in os.environ.items() if k != "DGM_RESULTS"}
        options = {"capture_output": True, "text": True, "env": environment}
        done = subprocess.run([sys.executable, "-c", BUILD, str(root)], **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return SimpleNamespace(root=root, html=root / "_build" / "html", build=build, log=build(""))


def test_pages_that_did_not_change_are_not_written_again(pages):
    assert "1 of 1 chapters executed" in pages.log
    page = pages.html / "notebooks" / "01_tiny.html"
    before = page.stat().st_mtime_ns
    assert "0 of 1 chapters executed" in pages.build("")
    assert page.stat().st_mtime_ns == before
    assert 'url=book/intro.html"' in (pages.html / "index.html").read_text()


def test_a_page_loads_what_it_needs_and_no_more(pages):
    """That no page asks the network for anything is a browser's test."""
    names = ("book/intro.html", "notebooks/01_tiny.html")
    intro, chapter = ((pages.html / name).read_text() for name in names)
    for html in (intro, chapter):
        assert not [word for word in ("thebe.js", "unpkg.com") if word in html]
        assert "widgets.js" in html
        assert book.WIDGET_VIEW in html
    assert "mathjax/startup.js" in chapter
    assert "startup.js" not in intro
    mathjax = pages.html / "_static" / "mathjax"
    assert (mathjax / "output" / "chtml.js").is_file()
    assert not (mathjax / "tex-svg.js").exists()


def test_a_chapter_offers_its_notebook_and_the_library(pages):
    html = (pages.html / "notebooks" / "01_tiny.html").read_text()
    links = re.findall(r'href="(\.\./_downloads/\w+/(01_tiny\.ipynb|tiny-1[^"]*\.whl))"', html)
    paths = {name: pages.html / "notebooks" / href for href, name in links}
    notebook = nbformat.read(paths["01_tiny.ipynb"], as_version=4)
    assert not any(cell.outputs for cell in book.code_cells(notebook))
    assert 'PROFILE = "auto"' in book.code_cells(notebook)[0].source
    source = pages.html / "_sources" / "notebooks" / "01_tiny.ipynb"
    assert source.read_bytes() == paths["01_tiny.ipynb"].read_bytes()
    with zipfile.ZipFile(paths["tiny-1-py3-none-any.whl"]) as archive:
        assert archive.read("dgm/__init__.py") == b"RESULT = 42\n"


def test_the_wheel_follows_its_content_and_leaves_nothing_in_the_sources(
    pages, tmp_path, monkeypatch
):
    root = tmp_path / "root"
    shutil.copytree(pages.root, root, ignore=shutil.ignore_patterns("_build"))
    before = set(root.rglob("*"))
    first, second = (book.wheel(root, tmp_path / name) for name in ("a", "b"))
    assert set(root.rglob("*")) == before
    assert first.read_bytes() == second.read_bytes()
    stamp = first.stat().st_mtime_ns
    assert book.wheel(root, tmp_path / "a").stat().st_mtime_ns == stamp
    (root / "lib" / "dgm" / "__init__.py").write_text("RESULT = 43\n")
    assert book.wheel(root, tmp_path / "a") != first
    assert not first.exists()
    monkeypatch.setattr(book, "sys", SimpleNamespace(executable=shutil.which("false")))
    with pytest.raises(RuntimeError, match="wheel was not built"):
        book.wheel(root, tmp_path / "c")


def tags(html: str) -> dict[str, str]:
    """What a page says of itself to those who show links to it."""
    pairs = re.findall(r'<meta (?:name|property)="([^"]+)" content="([^"]*)"', html)
    assert html.count('name="description"') == 1
    return {name: unescape(text) for name, text in pairs}


def test_a_page_describes_and_cites_itself_and_leads_on(pages):
    intro, chapter = (
        (pages.html / name).read_text() for name in ("book/intro.html", "notebooks/01_tiny.html")
    )
    of = tags(intro)
    assert of["description"] == of["og:description"] == "A dial turns. Turn it now."
    assert tags(chapter)["og:title"] == "Tiny"
    assert (pages.html / "book" / of["og:image"]).is_file()
    assert "og:url" not in of
    assert not (pages.html / "sitemap.xml").exists()
    assert tags((pages.html / "genindex.html").read_text())["description"].startswith("Six")
    assert 'href="../notebooks/01_tiny.html#dial=value:2"' in intro
    block = re.search(r'<details class="dgm-cite">.*?<pre[^>]*>(.*?)</pre>', chapter, re.S)
    entries = parse_string(unescape(block[1]), "bibtex").entries
    assert list(entries) == ["dgm-tiny", "huang2020evaluating"]
    assert entries["dgm-tiny"].fields["title"] == "{Tiny}"
    assert re.search(r"</h1>\s*<p class=\"dgm-time\">1 min to read", chapter)
    assert "dgm-next" not in chapter, "there is no next one"


def test_the_printed_book_is_offered_while_it_is_newer_than_the_pages(pages):
    intro, printed = pages.html / "book/intro.html", pages.html / "deep-generative-models.pdf"
    assert printed.name not in intro.read_text()
    printed.write_bytes(b"%PDF" * 500_000)
    pages.build("")
    assert f'href="../{printed.name}" download' in intro.read_text()
    assert "(2.0 MB)" in intro.read_text()
    os.utime(printed, (1, 1))
    pages.build("")
    assert not printed.exists()
    assert printed.name not in intro.read_text()


def test_launch_buttons_appear_with_the_address(pages):
    page = pages.html / "notebooks" / "01_tiny.html"
    html = page.read_text()
    assert not [word for word in ("colab", "mybinder") if word in html]
    assert "_sources/notebooks/01_tiny.ipynb" in html
    pages.build("https://github.com/someone/book")
    html = page.read_text()
    path = "notebooks/01_tiny.ipynb"
    assert f"colab.research.google.com/github/someone/book/blob/main/{path}" in html
    assert f"mybinder.org/v2/gh/someone/book/main?urlpath=lab/tree/{path}" in html
    own = f"{BASE}notebooks/01_tiny.html"
    assert tags(html)["og:url"] == own
    assert tags(html)["og:image"] == f"{BASE}_static/social-card.png"
    assert html.count(f'<link rel="canonical" href="{own}"') == 1
    assert f"<loc>{own}</loc>" in (pages.html / "sitemap.xml").read_text()


def test_a_warning_fails_the_build_twice(pages):
    intro = pages.root / "book" / "intro.md"
    text = intro.read_text()
    intro.write_text(text + "\n{doc}`nowhere`\n")
    try:
        for _ in range(2):
            with pytest.raises(AssertionError, match="nowhere"):
                pages.build("")
    finally:
        intro.write_text(text)
