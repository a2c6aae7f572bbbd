"""Multilayer perceptrons, and their layers as plain arrays."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class Layer(NamedTuple):
    """An affine layer and what follows it."""

    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)
    activation: str  # "tanh", "relu", "sigmoid" or "linear"


def mlp(sizes: Sequence[int], activation: str = "tanh", output: str = "linear") -> nn.Sequential:
    """A perceptron with layers sizes[0] -> ... -> sizes[-1], PyTorch's default initialisation."""
    if len(sizes) < 2:
        raise ValueError(f"sizes needs an input and an output, got {list(sizes)}")
    modules: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        modules.append(nn.Linear(n_in, n_out))
        name = activation if i + 2 < len(sizes) else output
        if name != "linear":
            modules.append(ACTIVATIONS[name]())
    return nn.Sequential(*modules)


def affine_layers(network: nn.Sequential) -> list[nn.Linear]:
    """The affine layers of an `mlp`, themselves."""
    return [module for module in network if isinstance(module, nn.Linear)]


def mlp_layers(network: nn.Sequential) -> list[Layer]:
    """The layers of an `mlp` as detached CPU float32 tensors; ValueError for any other module."""
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    layers: list[Layer] = []
    for module in network:
        if isinstance(module, nn.Linear):
            weight, bias = (p.detach().to("cpu", torch.float32) for p in module.parameters())
            layers.append(Layer(weight, bias, "linear"))
        elif type(module) in names and layers:
            layers[-1] = layers[-1]._replace(activation=names[type(module)])
        else:
            raise ValueError(f"not a plain perceptron: it holds a {type(module).__name__}")
    return layers
