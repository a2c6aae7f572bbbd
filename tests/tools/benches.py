"""What the benches share."""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def seconds(run, device="cpu"):
    """What a call takes: one thread's own time where that can be had, for other work comes."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    began = clock()
    run()
    return clock() - began


def turns(runs, rounds, device="cpu"):
    """Seconds (rounds, runs) of runs that take turns, so that a slow moment slows all of them."""
    return torch.tensor([[seconds(run, device) for run in runs] for _ in range(rounds)])


def gates(a, c):
    """One step of an LSTM from its definition: a (..., 4 H), in PyTorch's order, and the cell."""
    i, f, g, o = a.chunk(4, -1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def spread(values):
    """Median, and half the range between the quartiles."""
    quartiles = torch.tensor([0.25, 0.5, 0.75])
    low, middle, high = torch.as_tensor(values).quantile(quartiles).tolist()
    return middle, (high - low) / 2


class Watch(TorchDispatchMode):
    """Notes which operations run, and the types and numbers of elements of their results."""

    def __init__(self):
        super().__init__()
        self.operations, self.computed, self.sizes = set(), set(), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        value = function(*args, **(kwargs or {}))
        results = [x for x in tree_leaves(value) if isinstance(x, torch.Tensor)]
        self.operations.add(function.overloadpacket.__name__)
        self.computed |= {x.dtype for x in results}
        self.sizes += [x.numel() for x in results]
        return value


def peak(file, *arguments):
    """Bytes that a process of its own, which runs this file, prints that it needs at most."""
    run = [sys.executable, file, *map(str, arguments)]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    return int(subprocess.run(run, check=True, capture_output=True, env=environment).stdout)


def resident_peak():
    """Bytes, on Linux; what `getrusage` tells also counts the process that started this one."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])
