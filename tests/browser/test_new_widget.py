"""CONTRIBUTING's recipe of a new widget, built and opened as it stands there."""

import re
import shutil
import subprocess

import pytest

from dgm_book import widgets
from dgm_book.widgets import frame


@pytest.fixture
def recipe(pytestconfig):
    """The blocks of code: the module of the page, the class, the test."""
    text = (pytestconfig.rootpath / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition("## A new widget in 60 lines")[2].partition("\n## ")[0]
    script, cls, test = re.findall(r"^```\w+\n(.*?)^```", section, re.S | re.M)
    return script, cls, test


@pytest.fixture
def sources(tmp_path, pytestconfig):
    """A copy of the widgets' sources, where Node finds what bundles and checks them."""
    root = pytestconfig.rootpath
    if not (root / "node_modules" / "esbuild").is_dir():
        pytest.skip("no esbuild: run `make widgets`")
    for name in ("package-lock.json", "tsconfig.json"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(root / "node_modules")
    folder = tmp_path / "lib" / "dgm_book" / "widgets"
    shutil.copytree(frame.FOLDER / "src", folder / "src")
    shutil.copy(frame.FOLDER / "bundle.mjs", folder)
    return folder


def test_the_recipe_makes_a_widget(node, recipe, sources, opened, monkeypatch):
    script, cls, test = recipe
    assert sum(len(block.splitlines()) for block in recipe) <= 60
    (sources / "src" / "widgets" / "coin.js").write_text(script, "utf-8")
    compiler = sources.parents[2] / "node_modules" / "typescript" / "bin" / "tsc"
    for command in ([sources / "bundle.mjs"], [compiler, "-p", sources.parents[2]]):
        subprocess.run([node, *command], check=True, timeout=120)
    monkeypatch.setattr(frame, "FOLDER", sources)
    module = {"__name__": "dgm_book.widgets.coin", "__package__": "dgm_book.widgets"}
    exec(cls, module)
    monkeypatch.setattr(widgets, "Coin", module["Coin"], raising=False)
    written = {}
    exec(test, written)
    (check,) = (value for name, value in written.items() if name.startswith("test_"))
    check(opened)
