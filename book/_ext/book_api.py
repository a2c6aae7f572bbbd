"""The reference of the library, one page a group of modules.

On a page that holds the line `<!-- modules NAME ... -->` the line becomes the reference of these
modules and of those below them. `<!-- all modules -->` becomes a table of every public module.
"""

from __future__ import annotations

import ast
import functools
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
# Changes when a result or the library does; dgm_book.build writes it.
STAMP = "book/results.sha256"
GROUP = re.compile(r"<!-- modules ([\w.= ]+) -->")
ALL = "<!-- all modules -->"


@functools.cache
def public_modules() -> dict[str, str]:
    """The documented modules of the library and the workshop, each with its first line."""
    modules = {}
    for package in ("dgm", "dgm_book"):
        library = Path(find_spec(package).origin).parent
        for path in sorted(library.rglob("*.py")):
            parts = path.relative_to(library.parent).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            if parts[1:] and text and not any(part.startswith("_") for part in parts):
                modules[".".join(parts)] = text.split("\n\n")[0].replace("\n", " ")
    return modules


def within(module: str, entry: str) -> bool:
    """Whether a module is one, or lies below it; of `=NAME` only whether it is that one."""
    return module == entry.removeprefix("=") or module.startswith(f"{entry}.")


def group_of(entries: list[str]) -> list[str]:
    """The public modules that a page lists, in the order of its entries."""
    modules = public_modules()
    return [name for entry in entries for name in modules if within(name, entry)]


def list_modules(app: Sphinx, docname: str, source: list[str]) -> None:
    """Puts references or the table of all modules in the place of the lines that ask for them."""
    if ALL in source[0]:
        app.env.note_dependency(STAMP)
        source[0] = source[0].replace(ALL, table(Path(app.srcdir, "book", "api")))
    if group := GROUP.search(source[0]):
        app.env.note_dependency(STAMP)
        parts = [
            f"## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"
            for name in group_of(group[1].split())
        ]
        source[0] = source[0].replace(group[0], "\n".join(parts))


def table(folder: Path) -> str:
    """All public modules by page; warns of one that stands on no page, or on two."""
    counts = dict.fromkeys(public_modules(), 0)
    lines = []
    for path in sorted(folder.glob("*.md")):
        text = path.read_text("utf-8")
        names = group_of(group[1].split()) if (group := GROUP.search(text)) else []
        title, page = text.splitlines()[0].lstrip("# "), f"api/{path.stem}"
        lines += [f"## {title}", "", f"{{doc}}`All of them in full <{page}>`", ""]
        lines += ["| module | what it is for |", "| --- | --- |"]
        for name in names:
            counts[name] += 1
            line = public_modules()[name].replace("|", "\\|")
            lines.append(f"| {{py:mod}}`{name}` | {line} |")
        lines.append("")
    for name, count in counts.items():
        if count != 1:
            logger.warning("module %s stands on %d pages of the reference", name, count)
    return "\n".join(lines)


def docstring_to_rst(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Our docstrings are plain text with code in single backticks: makes that reStructuredText."""
    literal = False
    result = []
    for before, line in zip(["", *lines], lines, strict=False):
        # A module's indented paragraphs are equations: keep their layout.
        if what == "module" and line.startswith("    "):
            if not literal and not before.strip():
                result += [".. code-block:: text", ""]
                literal = True
            if literal:
                result.append(line)
                continue
        if line.strip():
            literal = False
        pieces = re.split(r"(`+[^`]+`+)", line)
        pieces[0::2] = [re.sub(r"([*|\\]|(?<=\w)_(?!\w))", r"\\\1", p) for p in pieces[0::2]]
        pieces[1::2] = [f"``{p.strip('`')}``" for p in pieces[1::2]]
        result.append("".join(pieces))
    lines[:] = result


def skip_fields(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out the fields of named tuples: their class's docstring tells of them."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", list_modules)
    app.connect("autodoc-process-docstring", docstring_to_rst, priority=100)
    app.connect("autodoc-skip-member", skip_fields)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
