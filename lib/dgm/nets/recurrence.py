"""The gates of an LSTM or a GRU behind products that someone else has formed, and maybe scaled."""

import torch
from torch import Tensor, nn

CELLS = {"lstm": 4, "gru": 3}  # gates


class Recurrence(nn.Module):
    """The weights of an LSTM (rows i, f, g, o) or a GRU (rows r, u, n), and what follows its products."""

    def __init__(self, n_in: int, n_out: int, gates: int, bias: bool = True) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.empty(gates * n_out, n_in))
        self.weight_hidden = nn.Parameter(torch.empty(gates * n_out, n_out))
        nn.init.xavier_uniform_(self.weight_input)
        nn.init.xavier_uniform_(self.weight_hidden)
        self.bias = nn.Parameter(torch.zeros(gates * n_out)) if bias else None
        if bias and gates == CELLS["lstm"]:
            with torch.no_grad():
                self.bias[n_out : 2 * n_out] = 1  # of the forget gate
        self.gates = gates

    def forward(self, y: Tensor, u: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The new h and c from both products, (R, gates H) each, biases in the first."""
        if self.gates == CELLS["lstm"]:
            i, f, g, o = (y + u).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        y_gates, y_new = y.tensor_split([2 * h.shape[-1]], -1)
        u_gates, u_new = u.tensor_split([2 * h.shape[-1]], -1)
        reset, keep = (y_gates + u_gates).sigmoid().chunk(2, -1)
        new = (y_new + reset * u_new).tanh()
        return keep * h + (1 - keep) * new, c


def first_scales(cell: str, h_dim: int) -> Tensor:
    """(3GH,): all scales 1 and all biases 0, but for the forget gate's, which is 1."""
    scales = torch.ones(3, CELLS[cell], h_dim)
    scales[2] = 0
    if cell == "lstm":
        scales[2, 1] = 1
    return scales.flatten()
