"""A hash of a module's code and of what it imports, equal on every Python and machine.

Comments, docstrings, blank lines, spaces within lines and line breaks in brackets do not count.
The source is read by its own small lexer, because `ast` and `tokenize` differ between versions.
"""

import ast
import functools
import hashlib
import json
import re
import tokenize
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]
PACKAGES = ("dgm", "dgm_book")
TOKEN = re.compile(
    r"""
    (?P<comment> \#[^\n]* )
  | (?P<string> (?i:[rbuf]{0,2}) (?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                                   | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ) )
  | (?P<newline> \n[ \t\f]* )
  | (?P<space> [ \t\f]+ | \\\n )
  | (?P<code> \w+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)

TEXT = re.compile("(?i:[rbu]*)[\"']")  # a string literal that is never evaluated further


@functools.cache
def code_hash(module: str, library: Path = LIBRARY) -> str:
    """Hash, 16 hexadecimal digits, of a module such as "dgm.vae" and of all that it imports."""
    hashes: dict[str, str] = {}
    _collect(module, library, hashes)
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()[:16]


def significant(source: str) -> list[list[str]]:
    """The tokens of each logical line, its indentation first, without comments and docstrings."""
    lines, depth = [["\n"]], 0
    for match in TOKEN.finditer(source):
        kind, token = match.lastgroup, match.group()
        if kind == "newline":
            if depth == 0:
                lines.append([token])
        elif kind not in ("comment", "space"):
            if kind == "code":
                depth += (token in "([{") - (token in ")]}")
            lines[-1].append(token)
    return [line for line in lines if not all(map(TEXT.match, line[1:]))]


def _collect(module: str, library: Path, hashes: dict[str, str]) -> None:
    relative = library.joinpath(*module.split("."))
    candidates = (relative.with_suffix(".py"), relative / "__init__.py")
    path = next((p for p in candidates if p.is_file()), None) if module not in PACKAGES else None
    if path is None or module in hashes:
        return
    with tokenize.open(path) as file:  # any encoding, any line ending
        source = file.read()
    hashes[module] = hashlib.sha256(json.dumps(significant(source)).encode()).hexdigest()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in PACKAGES:
                _collect(name, library, hashes)
