"""Gaussian posteriors and bounds of variational autoencoders; nats; other shapes: ValueError.

    log p(x) >= E_q[log p(x | z)] - beta KL(q(z | x) || p(z))        at beta = 1        (1)
    log p(x) >= E log (1/K) sum_k p(x, z_k) / q(z_k | x)                                (2)

References: Kingma and Welling, 2014 (1); Burda, Grosse, Salakhutdinov, 2016 (2).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """float16 and bfloat16 widened, as their squares and sums overflow or round; others as is."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class ELBO(NamedTuple):
    """The evidence lower bound and its terms, each (B,), nats."""

    value: Tensor
    log_likelihood: Tensor
    kl: Tensor


def gaussian_kl(mu: Tensor, logvar: Tensor, *, validate: bool = True) -> Tensor:
    """KL(N(mu, diag exp logvar) || N(0, I)), (B,) nats, at least float32, with gradient.

    ValueError for shapes that differ or are not (B, D), or, where `validate`, values not finite.
    """
    if mu.ndim != 2 or mu.shape != logvar.shape:
        shapes = f"{tuple(mu.shape)} and {tuple(logvar.shape)}"
        raise ValueError(f"mu and logvar must both be (B, D), got {shapes}")
    if validate and not (torch.isfinite(mu).all() and torch.isfinite(logvar).all()):
        raise ValueError("mu and logvar must be finite, but hold a NaN or infinity")
    mu, logvar = at_least_float32(mu), at_least_float32(logvar)
    return 0.5 * (mu.square() + logvar.expm1() - logvar).sum(-1)


def reparameterise(mu: Tensor, logvar: Tensor, generator: torch.Generator) -> Tensor:
    """A sample of N(mu, diag exp logvar) with gradient, in the shape of mu."""
    noise = torch.randn(mu.shape, generator=generator, dtype=mu.dtype, device=mu.device)
    return mu + torch.exp(0.5 * logvar) * noise


def gaussian_log_likelihood(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """log N(x; mean, exp(log_variance) I), scalar log_variance, x (B, P): (B,), float32 or more."""
    x, mean, log_variance = map(at_least_float32, (x, mean, log_variance))
    squared = (x - mean).square().sum(-1)
    constant = x.shape[-1] * (math.log(2.0 * math.pi) + log_variance)
    return -0.5 * (squared * torch.exp(-log_variance) + constant)


def elbo(log_likelihood: Tensor, mu: Tensor, logvar: Tensor, beta: float = 1.0) -> ELBO:
    """Equation (1) for each example, with gradient; log p(x | z) (B,), mu and logvar (B, D)."""
    kl = gaussian_kl(mu, logvar, validate=False)
    if log_likelihood.shape != kl.shape:
        raise ValueError(f"log_likelihood must be {(*kl.shape,)}, got {(*log_likelihood.shape,)}")
    return ELBO(log_likelihood - beta * kl, log_likelihood, kl)


def importance_bound(log_w: Tensor) -> Tensor:
    """Equation (2), (B,) nats, with gradient, from log p(x, z_k) - log q(z_k | x), (K, B)."""
    if log_w.ndim != 2 or len(log_w) == 0:
        raise ValueError(f"log_w must be (K, B) with K at least 1, got {tuple(log_w.shape)}")
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))
