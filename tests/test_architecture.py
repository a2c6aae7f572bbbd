"""The house keeps its plan: imports run downward, notebooks are short and carry no outputs."""

import ast
import re
import subprocess
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# A unit imports from its own floor or below, and units of one floor have no cycle.
FLOORS = [
    {
        "dgm.paths",
        "dgm.published",
        "dgm.progress",
        "dgm.checkpoint",
        "dgm.precision",
        "dgm.vae",
        "dgm.measure",
    },
    {"dgm.sampling", "dgm.nets", "dgm.data", "dgm.train", "dgm.feature_distance"}
    | {"dgm.kernel_distance", "dgm.coding"},
    {"dgm.papers", "dgm.clauses", "dgm.steering", "dgm.simplex_steering"},
    {"dgm.evaluate", "dgm.slider"},
    {"dgm_book.profiles", "dgm_book.code_hash", "dgm_book.statistics", "dgm_book.claims"}
    | {"dgm_book.hand_score", "dgm_book.forest"},
    {"dgm_book.results", "dgm_book.verification", "dgm_book.figures", "dgm_book.widgets"},
    {"dgm_book.jobs"},
    {"dgm_book.chapters"},
    {"dgm_book.build", "dgm_book.queue"},
    {"dgm_book.__main__"},
]
# Beyond the floors: the papers hold the science, the pictures take arrays.
PICTURES = {"dgm.papers", "dgm.steering", "dgm.nets", "dgm.vae", "dgm.data", "dgm_book.results"}
FORBIDDEN = {
    "dgm.papers": {"dgm.data"},
    "dgm_book.figures": PICTURES,
    "dgm_book.widgets": PICTURES | {"dgm_book.figures"},
    "dgm_book.build": {unit for floor in FLOORS for unit in floor},
}


def unit(module: str) -> str:
    """The package and the first name below it."""
    return ".".join(module.split(".")[:2])


def imports(path: Path) -> set[str]:
    """The modules of dgm that a file imports, at its head or later."""
    result = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from dgm import vae` imports a module, `from dgm.vae import elbo` a name of one.
            package = path.relative_to(LIBRARY).parts[: -node.level] if node.level else ()
            module = ".".join([*package, *filter(None, [node.module])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        result |= {name for name in names if name.split(".")[0] in ("dgm", "dgm_book")}
    return result


MODULES = {
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts): path
    for path in sorted(LIBRARY.rglob("*.py"))
    if path.parent.parent != LIBRARY or path.name != "__init__.py"
}


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward(module):
    floor = {name: height for height, names in enumerate(FLOORS) for name in names}
    here = unit(module)
    assert here in floor, f"{here} has no floor: give it one in the plan"
    for target in imports(MODULES[module]):
        there = unit(target)
        if there == here or there == there.split(".")[0] or there.endswith(".__name__"):
            continue
        assert floor[there] <= floor[here], f"{module} imports {target}, which stands above it"
        assert there not in FORBIDDEN.get(here, set()), f"{module} must not import {target}"


def test_units_import_each_other_in_one_direction():
    arrows = {(unit(m), unit(t)) for m, path in MODULES.items() for t in imports(path)}
    assert arrows, "found no import at all"
    two = {pair for pair in arrows if pair[0] != pair[1] and pair[::-1] in arrows}
    assert not two


def test_papers_and_chapters_do_not_import_their_like():
    places = {"dgm.papers": 0, "dgm_book.chapters": 0}
    for module, path in MODULES.items():
        for target in imports(path):
            here, there = (name.split(".") for name in (module, target))
            folder = ".".join(there[:2])
            if folder in places and here[:2] == there[:2] and len(here) > 2 < len(there):
                places[folder] += 1
                assert here[2] == there[2], f"{module} imports {target}"
    assert places["dgm_book.chapters"] > 0, "found no import at all"


def test_chapters_have_one_name():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        name = re.fullmatch(r"\d\d_(\w+)", path.stem).group(1)
        assert (LIBRARY / "dgm" / "papers" / f"{name}.py").is_file()
        assert (LIBRARY / "dgm_book" / "chapters" / name).is_dir()


def test_each_chapter_is_checked_by_code_that_shares_nothing_with_the_library():
    files = sorted((ROOT / "tests" / "independent").glob("*.py"))
    assert {p.stem.removeprefix("test_") for p in files} == {p.stem[3:] for p in NOTEBOOKS} | {
        "conftest"
    }
    assert {path.name: names for path in files if (names := imports(path))} == {}
    assert "--ignore tests/independent" in (ROOT / "Makefile").read_text()


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def python(source: str) -> ast.Module:
    """A cell's syntax tree, without IPython's own lines."""
    lines = ["" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()]
    return ast.parse("\n".join(lines))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_carries_no_outputs(self, path):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        assert "widgets" not in notebook.metadata
        assert "papermill" not in notebook.metadata
        for cell in code_cells(path):
            assert cell.outputs == []
            assert cell.execution_count is None

    def test_has_three_exercises_whose_solutions_check_themselves(self, path):
        solutions = [c for c in code_cells(path) if "solution" in c.metadata.get("tags", ())]
        assert len(solutions) == 3
        for cell in solutions:
            assert "hide-cell" in cell.metadata.tags
            assert any(isinstance(node, ast.Assert) for node in ast.walk(python(cell.source)))

    def test_is_short(self, path):
        cells = [c for c in code_cells(path) if "solution" not in c.metadata.get("tags", ())]
        assert 5 <= len(cells) <= 14
        for cell in cells:
            for node in ast.walk(python(cell.source)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    assert node.end_lineno - node.lineno < 8, f"{node.name} belongs in lib"

    def test_opens_with_install_and_parameters(self, path):
        install, parameters = code_cells(path)[:2]
        assert {"remove-cell", "install"} <= set(install.metadata.tags)
        assert "parameters" in parameters.metadata.tags
        assigned = {node.targets[0].id: node.value.value for node in python(parameters.source).body}
        assert assigned == {"PROFILE": "auto", "SEED": 0}

    def test_install_cell_knows_the_repository(self, path):
        from dgm_book import build as book

        (address,) = re.findall(r'^REPOSITORY = "(.*?)"', code_cells(path)[0].source, re.MULTILINE)
        assert address == book.repository(ROOT), "run `make repository`"

    def test_marks_outputs_that_must_match(self, path):
        marked = [c for c in code_cells(path) if "# NBVAL_CHECK_OUTPUT" in c.source]
        assert len(marked) >= 3


def project_files() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs a git checkout")
    paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_package_registry():
    # In pieces, so that this file does not name them either.
    hosts = ["py" + "pi.org", "python" + "hosted.org", "registry." + "npmjs", "deb." + "debian.org"]
    pattern = re.compile("|".join(map(re.escape, hosts)), re.IGNORECASE)
    files = project_files()
    assert len(files) > 20
    for path in files:
        text = path.read_bytes().decode("utf-8", "ignore")
        assert not pattern.search(text), path


def test_nothing_tracked_is_large():
    # The plan allows a text model of the page 4 MB of weights; chapter 5's 190 runs are one file.
    for path in project_files():
        most = 4_000_000 if path.suffix == ".safetensors" else 2_300_000
        assert path.stat().st_size < most, path
