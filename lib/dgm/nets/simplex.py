"""A Gaussian block whose mean is confined to a learned simplex, and the two losses that fill it.

Equations (1), (4) and (5) of `dgm.papers.controllable_text_vae`; noise takes samples off it.
"""

from collections import namedtuple

import torch
from torch import Tensor, nn

from dgm.vae import at_least_float32

_SimplexCode = namedtuple("_SimplexCode", "p query mu logvar")


def simplex_mean(p: Tensor, vertices: Tensor, *, validate: bool = True) -> Tensor:
    """The points (B, D) with weights p (B, K) of vertices (K, D): mu of (1), with gradient."""
    if p.ndim != 2 or vertices.ndim != 2 or p.shape[1] != len(vertices):
        shapes = f"{tuple(p.shape)} and {tuple(vertices.shape)}"
        raise ValueError(f"want p (B, K) and vertices (K, D), got {shapes}")
    if validate:
        slack = max(1e-6, 8 * torch.finfo(p.dtype).eps)
        sums = p.detach().double().sum(1)
        if not ((p >= -slack).all() and ((sums - 1).abs() <= slack * p.shape[1]).all()):
            raise ValueError("each row of p must be 0 or more and sum to 1")
    # Sums of products, not matrix products: autocast and TF32 would make those narrower.
    return (p[:, :, None] * vertices).sum(1)


def orthogonality_loss(vertices: Tensor, alpha: float) -> Tensor:
    """Equation (5) for vertices (K, D), a scalar with gradient: the norm itself, not its square."""
    if vertices.ndim != 2:
        raise ValueError(f"vertices must be (K, D), got {tuple(vertices.shape)}")
    if not alpha > 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    wide = at_least_float32(vertices)
    gram = (wide[:, None, :] * wide).sum(-1)
    target = alpha * torch.eye(len(vertices), dtype=gram.dtype, device=gram.device)
    norm = torch.linalg.vector_norm(gram - target)  # PyTorch gives it the gradient 0 at 0
    return norm.to(vertices.dtype)


def structured_reconstruction_loss(query: Tensor, mean: Tensor, negatives: Tensor) -> Tensor:
    """Equation (4), a scalar, of query and mean (B, D) and negatives (B, M, D), M others' means."""
    fits = query.ndim == 2 and mean.shape == query.shape and negatives.ndim == 3
    if not fits or negatives.shape[::2] != query.shape or not negatives.numel():
        shapes = [tuple(x.shape) for x in (query, mean, negatives)]
        raise ValueError(f"want query, mean (B, D) and negatives (B, M >= 1, D), got {shapes}")
    r = _unit(query)
    own = (_unit(mean) * r).sum(-1)
    other = (_unit(negatives) * r[:, None]).sum(-1)
    return torch.relu(1 - own[:, None] + other).mean().to(query.dtype)


class SimplexBlock(nn.Module):
    """Equation (1) for 2 <= K <= N vertices of squared length alpha; None: near 0, as published."""

    def __init__(
        self, feature_dim: int, latent_dim: int, n_vertices: int, alpha: float | None = None
    ) -> None:
        super().__init__()
        if not 2 <= n_vertices <= latent_dim:
            raise ValueError(f"n_vertices={n_vertices}: want 2 ... latent_dim={latent_dim}")
        self.head = nn.Linear(feature_dim, 2 * latent_dim)
        self.weights = nn.Linear(latent_dim, n_vertices)
        self.vertices = nn.Parameter(torch.empty(n_vertices, latent_dim))
        if alpha is None:
            nn.init.uniform_(self.vertices, -0.01, 0.01)
        else:
            nn.init.orthogonal_(self.vertices, alpha**0.5)

    def forward(self, features: Tensor) -> _SimplexCode:
        """Features (B, F) -> barycentric weights p (B, K), r, mu and log-variance, (B, N) each."""
        with torch.autocast(features.device.type, enabled=False):
            code = self.head(features.to(self.head.weight.dtype))
            query, logvar = code.chunk(2, dim=-1)
            p = torch.softmax(self.weights(query), -1)
        return _SimplexCode(p, query, simplex_mean(p, self.vertices, validate=False), logvar)


def _unit(x: Tensor) -> Tensor:
    x = at_least_float32(x)  # the length of a vector of float16 may be beyond float16
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / norm.masked_fill(norm == 0, 1)
