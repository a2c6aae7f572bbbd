"""A results folder of its own for the tests of one chapter."""

import pytest
import torch


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """What to patch for a whole file of tests, with an empty results folder."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DGM_RESULTS", str(tmp_path_factory.mktemp("results")))
    torch.set_num_threads(1)
    yield patch
    patch.undo()
