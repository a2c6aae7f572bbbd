"""What the benches share."""

import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def seconds(run, device="cpu"):
    """What a call takes: one thread's own time where that can be had, for other work comes."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    run()
    return clock() - began


def spread(values):
    """Median, and half the range between the quartiles."""
    quartiles = torch.tensor([0.25, 0.5, 0.75])
    low, middle, high = torch.as_tensor(values).quantile(quartiles).tolist()
    return middle, (high - low) / 2


class Largest(TorchDispatchMode):
    """The most elements that any result has had."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        value = function(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(value) if isinstance(x, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return value
