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
from small_widgets import ACTS

ROOT = Path(__file__).parents[2]
SOURCES = [str(ROOT / "lib"), str(ROOT / "tests" / "tools")]
# Beneath each widget stands whether Python has what a reader who acts brings about.
FIRST = """
from ipywidgets import Label
from small_widgets import ACTS, MAKERS

def shown(name):
    widget, label = MAKERS[name](), Label()
    def write(change=None):
        chosen = all(getattr(widget, key) == value for key, value in ACTS[name][1].items())
        label.value = f"{name}: {'as chosen' if chosen else 'as it began'}"
    widget.observe(write)
    write()
    display(widget, label)
"""
NAMES = [name for name, (_, chosen) in ACTS.items() if chosen]


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory):
    """A JupyterLab of this environment on a free port, with every folder of its own."""
    pytest.importorskip("jupyterlab")
    tmp_path = tmp_path_factory.mktemp("lab")
    cells = [f"shown({name!r})" for name in NAMES]
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
    context = browser.new_context(viewport={"width": 1280, "height": 24_000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(jupyterlab, wait_until="commit")
    page.locator(".jp-Notebook").wait_for()
    # A cell run before its kernel is there makes JupyterLab ask for one.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    # Not awaited here: evaluate() has no time limit, the locators below have.
    page.evaluate("() => void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    # All of them, since JupyterLab takes the focus to itself until the last cell has run.
    for name in NAMES:
        page.get_by_text(f"{name}: as it began", exact=True).wait_for()
    yield page
    context.close()


@pytest.mark.parametrize("name", NAMES)
def test_python_hears_what_the_reader_does(lab, name):
    widget = lab.locator(".dgm").nth(NAMES.index(name))
    for control, key in ACTS[name][0]:
        role, _, label = control.partition(":")
        exact = role not in ("slider", "button")
        node = widget.get_by_role(role, name=label or None, exact=exact).first
        # JupyterLab keeps Enter to itself.
        node.click() if role == "button" else node.press(key)
    lab.get_by_text(f"{name}: as chosen", exact=True).wait_for()
