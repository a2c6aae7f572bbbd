"""The same widgets under a live kernel in JupyterLab set their Python values."""

import os
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
# Beneath each widget stands what Python knows of it.
FIRST = """
import numpy as np
import torch
from ipywidgets import Label
from dgm.data.text import Vocabulary
from dgm.steering import SteeringModel
from dgm_book.widgets import *

def shown(widget, name):
    label = Label()
    def write(change=None):
        label.value = f"{name} is {getattr(widget, name)!r}"
    widget.observe(write, name)
    write()
    display(widget, label)
"""
WIDGETS = {
    "RateDistortionExplorer": """
r = np.random.default_rng(0)
weights = PageWeights({"toy": [(r.normal(size=(64, 2)), np.zeros(64), "sigmoid")]})
beta = np.geomspace(0.1, 10, 9)
curve = dict(model="toy", label="toy", beta=beta, rate=np.log1p(beta), distortion=9 / (1 + beta),
             log_z=-beta, codes=r.normal(size=(9, 4, 2)))
shown(RateDistortionExplorer(weights, [curve], (8, 8), beta_index=4), "beta_index")
""",
    "DamageLab": """
names = ("narrow_log_z", "narrow_distortion", "wide_log_z", "wide_distortion")
falling = np.broadcast_to(9 / (1 + beta)[:, None], (2, 9, 3))
terms = {name: -falling[:, ::-1] if "log" in name else falling for name in names}
shown(DamageLab({"beta": beta, "blurs": (0, 1), "likelihood_beta": 1.0} | terms), "blur")
""",
    "DrawADigit": """
layer = (r.normal(size=(784, 2)) / 9, np.zeros(784), "sigmoid")
small = PageWeights({"small": [layer]})
shown(DrawADigit(small, "small", (28, 28), betas=[1.0, 10.0], temperatures=(8,), seed=20), "seed")
""",
    "GANPlayground": """
spots = dict(name="spots", label="Two spots", centres=[[-0.5, 0], [0.5, 0]], sigma=0.1)
shown(GANPlayground([spots], width=4), "seed")
""",
    "SentenceSteering": """
torch.manual_seed(0)
words = "the food was good bad .".split()
model = SteeringModel(Vocabulary(words, 4, mask=True), embedding=8, hidden=8, context=8, voters=8)
state = {name: value.numpy() for name, value in model.state_dict().items()}
shown(SentenceSteering(TextWeights(state, words), ["the food was good ."]), "sentence")
""",
    "InfluenceRuler": """
from dgm.nets.text_vae import TextVAE
vae = TextVAE(4 + len(words), 8, 8, 2, layers=1, bidirectional=False)
arrays = {name: value.numpy() for name, value in vae.state_dict().items()}
shown(InfluenceRuler(PoolingWeights({"max": arrays}, words), ["bad food ."]), "sentence")
""",
    "BoundRace": """
shown(BoundRace(), "dimension")
""",
    "Storyteller": """
from dgm.nets.language_models import plain_lstm
arrays = {name: value.numpy() for name, value in plain_lstm(4 + len(words), 8).state_dict().items()}
curves = dict(distances=[1, 2], exact=[1.0, 0.5], stay=0.9,
              models={"toy": dict(mean=[0.5, 0.2], low=[0.4, 0.1], high=[0.6, 0.3])})
tales = LanguageWeights({"toy": arrays}, words)
shown(Storyteller(tales, {"food": ["food"], "taste": ["good"]}, ["the food"], curves), "seed")
""",
    "ParticleKalman": """
shown(ParticleKalman(), "particles")
""",
    "SwitchNow": """
from dgm.data.dynamics import dynamics_matrices
from dgm.papers.variational_hyper_rnn import VariationalHyperRNN, VariationalRNN
hyper = VariationalHyperRNN(2, 3, 3, 4, "gaussian")
pair = {"vhrnn": hyper, "vrnn": VariationalRNN(2, 3, 3, "gaussian")}
pair = {
    kind: dict(kind=kind, emission="gaussian",
               state={name: value.numpy() for name, value in net.state_dict().items()})
    for kind, net in pair.items()
}
shown(SwitchNow(HyperWeights(pair), dynamics_matrices(seed=6).numpy()), "steps")
""",
}


@pytest.fixture(scope="module")
def jupyterlab(tmp_path_factory):
    """A JupyterLab of this environment on a free port, with every folder of its own."""
    pytest.importorskip("jupyterlab")
    tmp_path = tmp_path_factory.mktemp("lab")
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in (FIRST, *WIDGETS.values())],
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
    for before in (
        *("beta_index is 4", "sentence is 'the food was good .'", "sentence is 'bad food .'"),
        *("blur is 0", "seed is 20", "seed is 0", "dimension is 1", "particles is 16"),
        "steps is 60",
    ):
        page.get_by_text(before, exact=True).first.wait_for()
    yield page
    context.close()


def press(*labels, key="ArrowRight"):
    """An act: presses a key on the slider of each label, or on the first where it is None."""

    def act(widget):
        for label in labels:
            slider = widget.get_by_label(label) if label else widget.locator("input[type=range]")
            slider.first.press(key)

    return act


def click(name):
    return lambda widget: widget.get_by_role("button", name=name).click()


def fill(label, text):
    def act(widget):
        widget.get_by_label(label).fill(text)
        widget.get_by_label(label).press("Tab")  # JupyterLab keeps Enter to itself

    return act


@pytest.mark.parametrize(
    ("name", "act", "after"),
    [
        ("RateDistortionExplorer", press(None, None), "beta_index is 6"),
        ("DamageLab", press("Blur"), "blur is 1"),
        ("DrawADigit", click("New seed"), "seed is 21"),
        ("GANPlayground", fill("Seed of both", "7"), "seed is 7"),
        (
            "SentenceSteering",
            fill("Your sentence", "the food was bad ."),
            "sentence is 'the food was bad .'",
        ),
        ("InfluenceRuler", fill("Your sentence", "good food !"), "sentence is 'good food !'"),
        ("BoundRace", press("Dimension"), "dimension is 2"),
        ("Storyteller", click("Write on"), "seed is 1"),
        ("ParticleKalman", press(None), "particles is 17"),
        ("SwitchNow", click("Switch the dynamics now"), "steps is 85"),
    ],
)
def test_python_hears_what_the_reader_does(lab, name, act, after):
    act(lab.locator(".dgm").nth(list(WIDGETS).index(name)))
    lab.get_by_text(after, exact=True).wait_for()
