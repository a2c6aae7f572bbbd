"""Counts what the plan of the house gives a budget to.

python tests/tools/code_size.py [ROOT]    prints every count

Lines are all lines of a file. A function's body is counted without its docstring. Public names are
functions, classes, and the methods and properties of public classes, that begin with no underscore.
Every binding of a name counts: an assignment, a parameter, a loop, a `with`, an `except`, an
import's `as`, a definition or an assigned attribute. A name is vague if a part of it is in `VAGUE`.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VAGUE = frozenset(
    """
    told said found made kept held wanted felt of how way again race one few many both live seen
    moved arm material
    """.split()  # noqa: SIM905
)


class Function(NamedTuple):
    """A function and the length of its body."""

    path: Path
    name: str
    lines: int


def files(folder: Path) -> list[Path]:
    """The Python files of a folder, without those that a build copied."""
    return sorted(p for p in folder.rglob("*.py") if "__pycache__" not in p.parts)


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def total_lines(folder: Path) -> int:
    return sum(lines(path) for path in files(folder))


def functions(folder: Path) -> list[Function]:
    """All functions of a folder, the longest body first."""
    bodies = []
    for path in files(folder):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[ast.get_docstring(node) is not None :]
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                bodies.append(Function(path, node.name, length))
    return sorted(bodies, key=lambda function: -function.lines)


def public_names(folder: Path) -> list[str]:
    """Such as "dgm/vae.py elbo" and "dgm/train.py History.last"."""
    names = []
    for path in files(folder):
        where = path.relative_to(folder.parent)
        for node in _public(ast.parse(path.read_text("utf-8")), ast.FunctionDef | ast.ClassDef):
            names.append(f"{where} {node.name}")
            if isinstance(node, ast.ClassDef):
                members = _public(node, ast.FunctionDef)
                names += [f"{where} {node.name}.{member.name}" for member in members]
    return names


def _public(tree: ast.AST, kinds) -> list:
    return [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that is bound, and its line."""
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        elif isinstance(node, ast.ExceptHandler | ast.alias):
            name = node.name if isinstance(node, ast.ExceptHandler) else node.asname
        if name:
            yield name, node.lineno


def is_vague(name: str) -> bool:
    return not VAGUE.isdisjoint(name.lower().split("_"))


def vague_names(folder: Path) -> tuple[list[str], int]:
    """Where each vague name is bound, and how many names are bound in all."""
    places, count = [], 0
    for path in files(folder):
        for name, line in bound_names(ast.parse(path.read_text("utf-8"))):
            count += 1
            if is_vague(name):
                places.append(f"{path.relative_to(folder.parent)}:{line} {name}")
    return places, count


def main(root: Path) -> None:
    for folder in ("lib/dgm", "lib/dgm_book", "tests"):
        print(f"{folder}: {len(files(root / folder))} files, {total_lines(root / folder)} lines")
    for folder in ("lib/dgm/papers", "lib"):
        longest = sorted(files(root / folder), key=lines)[-8:]
        print(f"longest of {folder}:", *(f"{p.stem} {lines(p)}" for p in reversed(longest)))
    long = [f for f in functions(root / "lib") if f.lines > 40]
    print(
        f"{len(long)} bodies above 40 lines:", *(f"{f.path.stem}.{f.name} {f.lines}" for f in long)
    )
    for package in ("dgm", "dgm_book"):
        print(f"public names of {package}: {len(public_names(root / 'lib' / package))}")
    vague, count = vague_names(root / "lib")
    print(f"vague names of lib: {len(vague)} of {count}, {len(vague) / count:.2%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
