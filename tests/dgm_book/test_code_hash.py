"""The hash of code: equal on every Python and machine, changed by what changes a program only."""

import io
import os
import shutil
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from dgm_book import code_hash as hashing

SOURCE = '''\
"""About µ."""

import dgm.other  # why
from dgm.nested import leaf, other_name


class Model:
    """Some words."""

    rate = 0x1F + 1_000.5e-3  # a remark
    """An attribute's words."""

    def show(self, x, *, width=3):
        r"""More \\ words."""
        if x and not (
            width < 4  # within brackets
        ):
            x = x[..., :-1] @ self.rate; y = "a" \\
                "#no remark" 'it\\'s'
        return f"{x!r:>{width}} µ {{}} # {'in'}" + """two

   lines""" + rb"\\d".decode()
'''
GOLDEN = "ec223619946f01a4"


@pytest.fixture
def library(tmp_path):
    (tmp_path / "dgm" / "nested").mkdir(parents=True)
    files = {"main": SOURCE, "other": "A = 1", "nested/__init__": "", "far": "B = 2"}
    files["nested/leaf"] = "import dgm.far"
    for name, text in files.items():
        (tmp_path / "dgm" / f"{name}.py").write_bytes(text.encode())
    return tmp_path


def hash_of(library: Path, source: str | bytes = SOURCE) -> str:
    data = source if isinstance(source, bytes) else source.encode()
    (library / "dgm" / "main.py").write_bytes(data)
    hashing.code_hash.cache_clear()
    return hashing.code_hash("dgm.main", library)


def pythons() -> list[str]:
    """This Python, and the others that are at hand."""
    names = [shutil.which(f"python3.{minor}") for minor in range(10, 16)]
    names = [*filter(None, names), *os.environ.get("DGM_TEST_PYTHONS", "").split()]
    starts = [n for n in names if not subprocess.run([n, "-c", ""], capture_output=True).returncode]
    return [sys.executable, *starts]


def test_golden_value_on_every_python(library):
    program = "import sys; sys.path.insert(0, sys.argv[1]); import code_hash, pathlib; "
    program += "print(code_hash.code_hash('dgm.main', pathlib.Path(sys.argv[2])))"
    for python in pythons():
        # A bare interpreter: no site-packages, whatever the locale and the folder.
        folders = [str(hashing.LIBRARY / "dgm_book"), str(library)]
        command = [python, "-I", "-S", "-c", program, *folders]
        environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.strip() == GOLDEN, python


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a remark", ""),
        ("  # within brackets", "\n# a whole line\n"),
        ("Some words.", "Other words.\n\n    And more."),
        ("An attribute's words.", ""),
        ('    """An attribute\'s words."""\n\n', ""),
        ("\n\nclass", "\n\n\n\n  # apart\nclass"),
        ("0x1F + 1_000", "0x1F  +1_000"),
        ("x, *, width=3", "\n        x,\n    *, width = 3"),
        ("rate; y", "rate ;y"),
        ("\n", "\r\n"),
    ],
)
def test_what_a_program_does_not_read_does_not_count(library, old, new):
    assert old in SOURCE
    changed = SOURCE.replace(old, new)
    assert hash_of(library, changed) == GOLDEN
    assert hash_of(library, b"\xef\xbb\xbf" + changed.encode()) == GOLDEN
    latin = b"# -*- coding: latin-1 -*-\n" + changed.encode("latin-1")
    assert hash_of(library, latin) == GOLDEN


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1_000.5e-3", "1_000.5e-4"),
        ("#no remark", "#a remark"),
        ("two\n\n", "two\n"),
        ("{{}} # ", "{{}} "),
        ("µ {{", "u {{"),
        ("\\d", "\\s"),
        ("'in'", "'on'"),
        ("x and not", "x or not"),
        ("        return", "            return"),
        ("; y", "\n            y"),
        ("leaf, ", ""),
    ],
)
def test_what_a_program_reads_counts(library, old, new):
    assert old in SOURCE
    assert hash_of(library, SOURCE.replace(old, new)) != GOLDEN


@pytest.mark.parametrize("name", ["other", "nested/leaf", "nested/__init__", "far", "unused"])
def test_what_it_imports_counts_and_nothing_else(library, name):
    (library / "dgm" / f"{name}.py").write_text("C = 3\n")
    assert (hash_of(library) == GOLDEN) == (name == "unused")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tokenize takes f-strings apart")
def test_the_lexer_reads_the_library_as_tokenize_does():
    passed = tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT
    for path in hashing.LIBRARY.rglob("*.py"):
        source, lines, line = path.read_text("utf-8"), [], []
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NEWLINE:
                lines.append(line)
                line = []
            elif token.type not in passed:
                line.append(token)
        expected = [
            "".join(token.string for token in line)
            for line in lines
            if any(t.type != tokenize.STRING or "f" in t.string[:2] for t in line)
        ]
        assert ["".join(x[1:]) for x in hashing.significant(source)] == expected, path
