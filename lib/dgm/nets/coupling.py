"""A small normalizing flow of affine couplings (Dinh, Sohl-Dickstein, Bengio, ICLR 2017).

A layer leaves one half of a code as it is, and moves and scales the other by functions of it,

    u_b = (z_b - t(z_a)) exp(-s(z_a)),    log |det du/dz| = -sum s(z_a),                    (1)

so that log p(z) = log N(u; 0, I) + log |det du/dz|, and a sample is that map undone.
"""

import math

import torch
from torch import Tensor, nn

from dgm.nets.mlp import mlp

MOST = 2.0  # of a scale's logarithm, so that no layer's inverse runs away


class CouplingFlow(nn.Module):
    """A density of codes (N, D), D >= 2, to train by `log_prob`; it serves as a sampler's prior."""

    centre: Tensor
    spread: Tensor

    def __init__(self, latent_dim: int, layers: int = 6, hidden: int = 64) -> None:
        super().__init__()
        if latent_dim < 2 or layers < 1:
            raise ValueError(f"want latent_dim >= 2 and layers >= 1, got {latent_dim}, {layers}")
        self.latent_dim, half = latent_dim, latent_dim // 2
        sizes = [(half, latent_dim - half), (latent_dim - half, half)]
        pairs = (sizes[i % 2] for i in range(layers))
        self.layers = nn.ModuleList(mlp([a, hidden, hidden, 2 * b]) for a, b in pairs)
        self.register_buffer("centre", torch.zeros(latent_dim))
        self.register_buffer("spread", torch.ones(latent_dim))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Standard normal coordinates u (N, D) of codes, and log |det du/dz| (N,)."""
        u = (z - self.centre) / self.spread
        log_det = -self.spread.log().sum().expand(len(z))
        for i, layer in enumerate(self.layers):
            a, b = self._halves(u, i)
            shift, log_scale = self._affine(layer, a)
            u = self._joined(a, (b - shift) * torch.exp(-log_scale), i)
            log_det = log_det - log_scale.sum(1)
        return u, log_det

    def inverse(self, u: Tensor) -> Tensor:
        """The codes (N, D) of standard normal coordinates."""
        for i, layer in reversed(list(enumerate(self.layers))):
            a, b = self._halves(u, i)
            shift, log_scale = self._affine(layer, a)
            u = self._joined(a, b * torch.exp(log_scale) + shift, i)
        return u * self.spread + self.centre

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) (N,), nats."""
        u, log_det = self(z)
        return log_det - 0.5 * (u.square().sum(1) + self.latent_dim * math.log(2 * math.pi))

    def sample(self, shape: tuple[int, ...]) -> Tensor:
        """Codes (n, D) from torch's global generator, for shape (n,)."""
        with torch.no_grad():
            return self.inverse(torch.randn(*shape, self.latent_dim).to(self.centre))

    def _halves(self, u: Tensor, i: int) -> tuple[Tensor, Tensor]:
        half = self.latent_dim // 2
        a, b = u[:, :half], u[:, half:]
        return (b, a) if i % 2 else (a, b)

    def _joined(self, a: Tensor, b: Tensor, i: int) -> Tensor:
        return torch.cat([b, a] if i % 2 else [a, b], 1)

    def _affine(self, layer: nn.Module, a: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = layer(a).chunk(2, 1)
        return shift, MOST * torch.tanh(log_scale / MOST)
