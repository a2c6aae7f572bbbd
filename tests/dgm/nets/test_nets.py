"""Perceptrons and their layers as arrays."""

import torch
from checks import close, refuses
from torch import nn

from dgm.nets.mlp import mlp, mlp_layers

FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}


def test_layers_compute_what_the_network_computes():
    network = mlp([3, 5, 4, 2], activation="relu", output="sigmoid").double()
    h = x = torch.randn(6, 3)
    layers = mlp_layers(network)
    for weight, bias, activation in layers:
        h = FUNCTIONS.get(activation, lambda v: v)(h @ weight.T + bias)
    close(h, network.float()(x))
    assert [layer.activation for layer in layers] == ["relu", "relu", "sigmoid"]
    assert not any(layer.weight.requires_grad for layer in layers)


REFUSED = {
    "Dropout": lambda: mlp_layers(nn.Sequential(nn.Linear(2, 2), nn.Dropout())),
    "an input and an output": lambda: mlp([3]),
}
test_what_is_no_perceptron_is_refused = refuses(REFUSED)
