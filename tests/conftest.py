"""One thread a process, and GPU tests that are skipped, and counted as skipped, without a GPU."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
# For the processes that tests start.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what is marked `gpu` where no CUDA device answers."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def extension(pytestconfig):
    """Return the book's Sphinx extension, which is no package."""
    path = pytestconfig.rootpath / "book" / "_ext" / "book_pages.py"
    spec = importlib.util.spec_from_file_location("book_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def node():
    """Return a path of Node; without one the test is skipped, or fails where CI=true."""
    # Where there is none, `.ci/node` puts one beside Python.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if (program := shutil.which("node", path=path)) is None and os.environ.get("CI") == "true":
        pytest.fail("no Node: run `make node`")
    return program or pytest.skip("no Node: run `make node`")
