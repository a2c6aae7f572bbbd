"""Counts what the plan of the house gives a budget to.

python tests/tools/code_size.py [ROOT]    prints every count

Lines are all lines of a file. A function's body is counted without its docstring. Public names are
functions, classes, and the methods and properties of public classes, that begin with no underscore. A name
is bound by an assignment, a parameter, a loop, a comprehension, a `with`, an `except`, an import's `as`, a
definition or an assigned attribute; every binding counts once. It is vague if it is one of `VAGUE`, or if a
part of it between underscores is.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VAGUE = frozenset(
    """
    told said found made kept held wanted felt of how way again race one few many both told_page live seen
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
        for node in ast.parse(path.read_text("utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            names.append(f"{where} {node.name}")
            members = node.body if isinstance(node, ast.ClassDef) else []
            for member in members:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    names.append(f"{where} {node.name}.{member.name}")
    return names


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that is bound, and its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno


def is_vague(name: str) -> bool:
    return name in VAGUE or any(part in VAGUE for part in name.lower().split("_"))


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
