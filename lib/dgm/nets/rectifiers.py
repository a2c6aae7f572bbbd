"""What the rectifiers of a network read."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_RECTIFIERS = {functional.relu, torch.relu, Tensor.relu, functional.leaky_relu, functional.prelu}
_IN_PLACE = {functional.relu_, torch.relu_, Tensor.relu_, functional.leaky_relu_}
Network = TypeVar("Network", bound=nn.Module)


def pre_activations(
    network: nn.Module, points: Tensor, layers: Sequence[int] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The network's output for points (K, ...), and what its rectifiers read, call by call.

    Each call of nn.ReLU, nn.LeakyReLU, nn.PReLU or the functions relu, leaky_relu and prelu is a
    layer. A compiled network runs uncompiled. `layers` are the calls to return, counted from 0;
    None takes all. Returns the output, and one (K, ...) tensor per layer, all with gradient.
    ValueError for fewer rectifiers than asked for, one that works in place or on another number of
    rows, and a part that is TorchScript or compiled alone.
    """
    if layers is not None and not len(layers):
        return network(points), []
    if any(isinstance(part, torch.jit.ScriptModule) for part in network.modules()):
        raise ValueError("TorchScript hides its rectifiers: pass the network as it was before")
    with _Recorder() as recorder:
        output = uncompiled(network)(points)
    inputs, n = recorder.inputs, len(recorder.inputs)
    if not n:
        raise ValueError("no rectifier was called: want ReLU, LeakyReLU, PReLU or the functions")
    layers = range(n) if layers is None else layers
    if any(not 0 <= i < n for i in layers):
        raise ValueError(f"layers must be from 0 to {n - 1}, calls of rectifiers, got {[*layers]}")
    shapes = [tuple(inputs[i].shape) for i in layers]
    if any(shape[:1] != (len(points),) for shape in shapes):
        raise ValueError(f"want a row for each of {len(points)} points, got {shapes}")
    return output, [inputs[i] for i in layers]


def uncompiled(network: Network) -> Network:
    """The network behind torch.compile, with its weights; ValueError for a compiled part."""
    network = getattr(network, "_orig_mod", network)
    for name, part in network.named_modules():
        if hasattr(part, "_orig_mod") or part._compiled_call_impl is not None:
            advice = "hidden: pass it uncompiled, or torch.compile(network) as a whole"
            raise ValueError(f"{name or 'the network'} is compiled, its rectifiers {advice}")
    return network


class _Recorder(TorchFunctionMode):
    """Records what each call of a rectifier reads; the modules call the functions."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _RECTIFIERS or func in _IN_PLACE:
            if func in _IN_PLACE or kwargs.get("inplace", False):
                raise ValueError("rectifiers must not work in place: build them with inplace=False")
            self.inputs.append(args[0] if args else kwargs["input"])
        return func(*args, **kwargs)
