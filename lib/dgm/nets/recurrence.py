"""Recurrent cells behind products that the caller has formed, and maybe scaled row by row."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class State(NamedTuple):
    """What R rows carry from step to step; a tensor that a model does not use is (R, 0)."""

    h: Tensor  # (R, H)
    c: Tensor  # (R, H)
    hyper_h: Tensor  # (R, K)
    hyper_c: Tensor  # (R, K)


class Recurrence(nn.Module):
    """Weights of an LSTM (rows i, f, g, o) with one bias or none, and what follows its products."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.empty(4 * n_out, n_in))
        self.weight_hidden = nn.Parameter(torch.empty(4 * n_out, n_out))
        nn.init.xavier_uniform_(self.weight_input)
        nn.init.xavier_uniform_(self.weight_hidden)
        self.bias = nn.Parameter(torch.zeros(4 * n_out)) if bias else None
        if self.bias is not None:
            with torch.no_grad():
                self.bias[n_out : 2 * n_out] = 1  # of the forget gate

    def add_bias(self, product: Tensor) -> Tensor:
        """A product (R, 4H) with the own bias, where there is one."""
        return product if self.bias is None else product + self.bias

    def forward(self, y: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The new h and c from both products, (R, 4H) each, biases in the first."""
        i, f, g, o = (y + u).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


def hyper_step(
    hyper: Recurrence,
    heads: nn.Linear,
    cell: Recurrence,
    read: Tensor,
    y: Tensor,
    u: Tensor,
    state: State,
) -> tuple[State, Tensor]:
    """a = d_i * y + d_h * u + b, with (d_i, d_h, b) = heads(hyper_h) after a hyper LSTM's step.

    Source: Ha, Dai and Le (2017), HyperNetworks, arXiv:1609.09106, with one bias vector.

    Args:
        hyper: the hyper LSTM.
        heads: what follows it.
        cell: whose gates are scaled.
        read: (R, 4K), the hyper LSTM's product with its input and its bias.
        y: (R, 4H), the cell's product with its input, without bias.
        u: (R, 4H), its product with h.
        state: of both cells.

    Returns:
        The new state, and (d_i, d_h, b) side by side, (R, 12H).
    """
    on_hyper = functional.linear(state.hyper_h, hyper.weight_hidden)
    hyper_h, hyper_c = hyper(read, on_hyper, state.hyper_c)
    scales = heads(hyper_h)
    on_input, on_hidden, bias = scales.chunk(3, -1)
    h, c = cell(on_input * y + bias, on_hidden * u, state.c)
    return State(h, c, hyper_h, hyper_c), scales


def initialise_heads(heads: nn.Linear) -> None:
    """Starts with scales near 1 and biases near 0, but for the forget gate's, which are near 1."""
    scales = torch.ones(3, 4, heads.out_features // 12)
    scales[2] = torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None]
    with torch.no_grad():
        heads.weight.uniform_(-1e-2, 1e-2)
        heads.bias.copy_(scales.flatten())
