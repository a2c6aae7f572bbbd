"""Flow matching: a velocity that carries noise to data, and a decoder of a few of its steps.

Lipman, Chen, Ben-Hamu, Nickel, Le: Flow Matching for Generative Modeling, ICLR 2023, with the
optimal-transport path of equation 22 at sigma_min = 0:

    x_t = (1 - t) z + t x,    z ~ N(0, I),    t uniform on [0, 1]                       (1)
    loss = |v(x_t, t) - (x - z)|^2                                                      (2)
    z_{k+1} = z_k + v(z_k, k / K) / K,    k = 0, ..., K - 1                             (3)
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

N_WAVES = 4  # of the time, as cosines and sines


class FlowDecoder(nn.Module):
    """Codes (C, D) -> images (C, P) by K Euler steps, equation (3); codes have the data's size.

    Data are images (B, P) from which `mean` (P,) is taken and which are divided by `scale`.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, hidden: tuple[int, ...], n_steps: int) -> None:
        super().__init__()
        if n_steps < 1:
            raise ValueError(f"n_steps={n_steps}: want 1 or more")
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.n_steps = n_steps
        sizes = len(mean) + 2 * N_WAVES, *hidden
        layers = [part for n in pairwise(sizes) for part in (nn.Linear(*n), nn.SiLU())]
        self.network = nn.Sequential(*layers, nn.Linear(sizes[-1], len(mean)))

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """v (B, D) at points (B, D) and times (B, 1)."""
        angle = t * (math.pi / 2 * torch.arange(1, N_WAVES + 1, dtype=x.dtype, device=x.device))
        return self.network(torch.cat([x, angle.cos(), angle.sin()], 1))

    def forward(self, z: Tensor) -> Tensor:
        """Images (C, P) of codes (C, D)."""
        for k in range(self.n_steps):
            t = torch.full_like(z[:, :1], k / self.n_steps)
            z = z + self.velocity(z, t) / self.n_steps
        return self.mean + z * self.scale

    def loss(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Equation (2) of images (B, P), each (B,), with gradient."""
        x = (images - self.mean) / self.scale
        like = {"generator": generator, "dtype": x.dtype, "device": x.device}
        z, t = torch.randn(x.shape, **like), torch.rand(len(x), 1, **like)
        return (self.velocity((1 - t) * z + t * x, t) - (x - z)).square().sum(1)
