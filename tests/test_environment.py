"""The ways to install the book agree with each other."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LOCK = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE
    )
}
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = CONFIG["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [
    Requirement(text)
    for text in [*PROJECT["dependencies"], *EXTRAS["chapters"], *EXTRAS["book"], *EXTRAS["test"]]
    if not text.startswith("dgm[")
]


def test_lock_holds_exact_versions_only():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) == len(LOCK) > 50
    assert (LOCK["torch"], LOCK["jupyter-book"]) == ("2.13.0", "1.0.4.post1")
    assert not any("+" in version for version in LOCK.values()), "a local build is nobody else's"


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_lock_satisfies_lower_bounds(requirement):
    assert Version(LOCK[canonicalize_name(requirement.name)]) in requirement.specifier
    operators = sorted(bound.operator for bound in requirement.specifier)
    # jupyter-book 2 is another engine under the same name.
    assert operators == (["<", ">="] if requirement.name == "jupyter-book" else [">="])


def test_build_system_is_in_the_lock():
    for requirement in map(Requirement, CONFIG["build-system"]["requires"]):
        assert Version(LOCK[canonicalize_name(requirement.name)]) in requirement.specifier


def test_the_wheel_has_every_package_and_the_published_results():
    tools, library = CONFIG["tool"]["setuptools"], ROOT / "lib"
    packages = {".".join(p.parent.relative_to(library).parts) for p in library.rglob("*.py")}
    assert sorted(tools["packages"]) == sorted({*packages, "dgm_book.corpus", "dgm_book.published"})
    patterns = tools["package-data"]["dgm_book.published"]
    assert tools["package-dir"]["dgm_book.published"] == "book/results"
    results = ROOT / "book" / "results"
    packed = {path for pattern in patterns for path in results.glob(pattern)}
    assert packed == {p for p in results.glob("*/*/*") if p.parent.name != "smoke"}


def test_conda_environment_installs_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    python = next(entry for entry in conda if entry.startswith("python="))
    assert Version(python.partition("=")[2]) >= Version("3.11"), "the lock needs Python 3.11"
    assert sorted(re.split("[=<>]", entry)[0] for entry in conda) == ["pip", "python"]
    index, *installed = pip
    assert installed == ["-r requirements.lock", "-e ."]
    # Else Binder gets the CUDA build of torch, several GB.
    assert index == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert "2.13.0+cpu" in Requirement(f"torch=={LOCK['torch']}").specifier


@pytest.mark.skipif(sys.prefix == sys.base_prefix, reason="not a virtual environment")
def test_make_installs_where_pip_is_set_up_for_the_users_own_folder(tmp_path):
    (tmp_path / "pip.conf").write_text("[global]\nuser = true\n")
    command = f"{sys.executable} -m pip install --quiet --dry-run --no-index --no-deps pytest"
    (tmp_path / "probe.mk").write_text(f"probe:\n\t{command}\n")
    environment = {**os.environ, "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}
    environment.pop("PIP_USER", None)

    def make(*files):
        options = [part for file in files for part in ("-f", str(file))]
        return subprocess.run(
            ["make", *options, "probe"], cwd=ROOT, env=environment, capture_output=True, text=True
        )

    assert "--user" in make(tmp_path / "probe.mk").stderr
    done = make("Makefile", tmp_path / "probe.mk")
    assert done.returncode == 0, done.stderr


def test_versions_agree():
    import dgm

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert dgm.__version__ == PROJECT["version"] == citation["version"]
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"
    assert PROJECT["requires-python"] == ">=3.10"


LEAN = """
import sys, time
start = time.process_time()
import torch
torch_seconds = time.process_time() - start
import dgm, dgm.evaluate, dgm.papers.rate_distortion
seconds = time.process_time() - start - torch_seconds
import pkgutil, importlib
for module in pkgutil.walk_packages(dgm.__path__, "dgm."):
    importlib.import_module(module.name)
heavy = {"matplotlib", "ipywidgets", "anywidget", "pandas", "sklearn", "dgm_book"}
print(seconds, *heavy & set(sys.modules))
"""


def test_the_library_needs_no_figures_and_no_widgets():
    """Nor does the evaluator take more than torch and 0.3 s of processor time."""
    runs = [
        subprocess.run([sys.executable, "-c", LEAN], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    seconds, *heavy = min((run.stdout.split() for run in runs), key=lambda words: float(words[0]))
    assert not heavy
    assert float(seconds) < 0.3
    names = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    assert not names & {"matplotlib", "ipywidgets", "anywidget"}
