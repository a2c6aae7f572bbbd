"""The same widgets under a live kernel in JupyterLab set their Python values."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from small_widgets import EXAMPLES

ROOT = Path(__file__).parents[2]
SOURCES = [str(ROOT / "lib"), str(ROOT / "tests" / "tools")]
# Beneath each widget stands what Python knows of it.
FIRST = """
from ipywidgets import Label
from small_widgets import MAKERS

def shown(name, trait, options):
    widget, label = MAKERS[name](**options), Label()
    def write(change=None):
        label.value = f"{trait} is {getattr(widget, trait)!r}"
    widget.observe(write, trait)
    write()
    display(widget, label)
"""
PAD = {"temperatures": (8,), "seed": 20}


def press(label, key="ArrowRight"):
    return lambda widget: widget.get_by_label(label).first.press(key)


def click(name):
    return lambda widget: widget.get_by_role("button", name=name).click()


def fill(label, text):
    def act(widget):
        widget.get_by_label(label).fill(text)
        widget.get_by_label(label).press("Tab")  # JupyterLab keeps Enter to itself

    return act


WIDGETS = [  # the widget, options, a trait and what it is, what a reader does, and what it is then
    ("DamageLab", {}, "blur", 0, press("Blur"), 1),
    ("DrawADigit", PAD, "seed", 20, click("New seed"), 21),
    ("GANPlayground", {"width": 4}, "seed", 0, fill("Seed of both", "7"), 7),
    ("SentenceSteering", {}, "sentence", EXAMPLES[0], fill("Your sentence", "no ."), "no ."),
    ("Storyteller", {}, "seed", 0, click("Write on"), 1),
    ("SwitchNow", {}, "steps", 60, click("Switch the dynamics now"), 85),
]


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory):
    """A JupyterLab of this environment on a free port, with every folder of its own."""
    pytest.importorskip("jupyterlab")
    tmp_path = tmp_path_factory.mktemp("lab")
    cells = [f"shown({n!r}, {trait!r}, {options!r})" for n, options, trait, *_ in WIDGETS]
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in (FIRST, *cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    work = tmp_path / "work"
    work.mkdir()
    nbformat.write(notebook, work / "live.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    names += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "MPLCONFIGDIR")
    env = os.environ | {name: str(tmp_path / name.lower()) for name in names}
    env["PYTHONPATH"] = os.pathsep.join([*SOURCES, env.get("PYTHONPATH", "")])
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={work}", "--IdentityProvider.token=", "--expose-app-in-browser"),
    ]
    log, url = tmp_path / "server.log", f"http://127.0.0.1:{port}"
    with log.open("w") as out:
        options = {"env": env, "cwd": work, "stdout": out, "stderr": out}
        server = subprocess.Popen(command, start_new_session=True, **options)
    try:
        _wait_for(f"{url}/api", server, log)
        yield f"{url}/lab/tree/live.ipynb"
    finally:
        # The group, so that no kernel outlives its server.
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait_for(url, server, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text()[-2000:]
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=5).close()
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def lab(jupyterlab, browser):
    """The notebook's page, all cells run: one kernel serves all tests."""
    # So tall that JupyterLab, which leaves out cells that are out of sight, shows all.
    context = browser.new_context(viewport={"width": 1280, "height": 8000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(jupyterlab, wait_until="commit")
    page.locator(".jp-Notebook").wait_for()
    # A cell run before its kernel is there makes JupyterLab ask for one.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    # Not awaited here: evaluate() has no time limit, the locators below have.
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    # All of them, since JupyterLab takes the focus to itself until the last cell has run.
    for _, _, trait, before, *_ in WIDGETS:
        page.get_by_text(f"{trait} is {before!r}", exact=True).first.wait_for()
    yield page
    context.close()


@pytest.mark.parametrize("place", range(len(WIDGETS)), ids=[name for name, *_ in WIDGETS])
def test_python_hears_what_the_reader_does(lab, place):
    _, _, trait, _, act, after = WIDGETS[place]
    act(lab.locator(".dgm").nth(place))
    lab.get_by_text(f"{trait} is {after!r}", exact=True).wait_for()
