"""The same widget under a live kernel in JupyterLab sets its Python value."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
CELL = """
import numpy as np
from dgm.widgets import PageWeights, RateDistortionExplorer
r = np.random.default_rng(0)
weights = PageWeights({"toy": [(r.normal(size=(64, 2)), np.zeros(64), "sigmoid")]})
beta = np.geomspace(0.1, 10, 9)
curve = dict(model="toy", label="toy", beta=beta, rate=np.log1p(beta), distortion=9 / (1 + beta),
             log_z=-beta, codes=r.normal(size=(9, 4, 2)))
explorer = RateDistortionExplorer(weights, [curve], (8, 8), beta_index=4)
explorer
"""


@pytest.fixture
def jupyterlab(tmp_path):
    """A JupyterLab of this environment on a free port, with every folder of its own."""
    pytest.importorskip("jupyterlab")
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(CELL),
            nbformat.v4.new_code_cell("print('index is', explorer.beta_index)"),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    work = tmp_path / "work"
    work.mkdir()
    nbformat.write(notebook, work / "live.ipynb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    folders += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR", "MPLCONFIGDIR")
    env = os.environ | {name: str(tmp_path / name.lower()) for name in folders}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT / "lib"), env.get("PYTHONPATH", "")])
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--ServerApp.root_dir={work}", "--IdentityProvider.token=", "--expose-app-in-browser"),
    ]
    log = tmp_path / "server.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command, env=env, cwd=work, stdout=out, stderr=out, start_new_session=True
        )
    url = f"http://127.0.0.1:{port}"
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
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()[-2000:]}")


def test_moving_the_slider_sets_the_python_value(jupyterlab, visit):
    page = visit(jupyterlab).page
    page.set_default_timeout(25_000)

    def command(name):
        # Not awaited here: evaluate() has no time limit, the locators below have.
        page.evaluate("name => void window.jupyterapp.commands.execute(name)", name)

    page.locator(".jp-Notebook").wait_for()
    # A cell run before its kernel is there makes JupyterLab ask for one.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    command("notebook:run-all-cells")
    page.get_by_text("index is 4", exact=True).wait_for()
    slider = page.locator(".dgm input[type=range]")
    slider.wait_for()
    shown = page.locator(".dgm output").inner_text()
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    page.wait_for_function(
        "shown => document.querySelector('.dgm output').textContent !== shown", arg=shown
    )
    # The slider's focus made its cell the active one: run the next again.
    command("notebook:move-cursor-down")
    command("notebook:run-cell")
    page.get_by_text("index is 6", exact=True).wait_for()
    assert re.fullmatch(r"[\d.]+", page.locator(".dgm output").inner_text())
