"""Distances between two sets of features, such as a classifier's features of real and of generated images.

What such a score says depends on the features: scores on different features, or on different numbers of
rows, cannot be compared. All are computed and returned in float64 on the CPU, without gradient.

References:
    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, NeurIPS 2017, eq. 6 (Frechet distance).
    Bińkowski, Sutherland, Arbel, Gretton, ICLR 2018, section 4 (kernel distance).
    Kynkäänniemi, Karras, Laine, Lehtinen, Aila, NeurIPS 2019, eqs. 1 and 2 (precision and recall).
    Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, NeurIPS 2016, section 4 (Inception score).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "KernelDistance",
    "PrecisionRecall",
    "frechet_distance",
    "inception_style_score",
    "kernel_distance",
    "precision_recall",
]


class KernelDistance(NamedTuple):
    """A mean over blocks, below zero by chance where the sets are alike, and its standard error."""

    value: Tensor
    standard_error: Tensor


class PrecisionRecall(NamedTuple):
    """Shares from 0 to 1."""

    precision: Tensor
    recall: Tensor


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """Squared Frechet distance of the Gaussians with the two sets' means and covariances.

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), where the trace of the square root is the
    sum of the singular values of R_x R_y^T for triangular R with R^T R = C. That needs no square root
    of a matrix, and stays exact when a covariance has no full rank. Biased upwards for few rows.

    Args:
        x: (N, F) features, N at least 2.
        y: (M, F) features, M at least 2.

    Raises:
        ValueError: for a set that is not (rows, F) and finite, has one row, or differs in F.
    """
    x, y = _sets(x, y, 2)
    offset = x.mean(0) - y.mean(0)
    root_x, root_y = _root(x), _root(y)
    shared = torch.linalg.svdvals(root_x @ root_y.T).sum()
    spread = root_x.square().sum() + root_y.square().sum() - 2 * shared
    return offset.square().sum() + spread.clamp(min=0)


def kernel_distance(x: Tensor, y: Tensor, *, n_blocks: int = 10, seed: int = 0) -> KernelDistance:
    """Squared maximum mean discrepancy for the kernel (a.b / F + 1)^3, without bias.

    Both sets are put in random order and cut into blocks that share no row, so that the blocks'
    values are independent and their spread gives the standard error of their mean.

    Args:
        x: (N, F) features.
        y: (M, F) features.
        n_blocks: at least 2; each takes min(N, M) // n_blocks rows of either set, at least 2.
        seed: of the order.

    Raises:
        ValueError: for sets that are not (rows, F) and finite, differ in F, or are too small.
    """
    if n_blocks < 2:
        raise ValueError(f"n_blocks={n_blocks}: a standard error needs at least 2")
    x, y = _sets(x, y, 2 * n_blocks)
    size = min(len(x), len(y)) // n_blocks
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for rows in (x, y):
        chosen = torch.randperm(len(rows), generator=generator)[: n_blocks * size]
        blocks.append(rows[chosen].view(n_blocks, size, -1))
    a, b = blocks
    pairs = size * (size - 1)
    values = _kernel(a, b).mean((1, 2)) * -2
    for own in (a, b):
        gram = _kernel(own, own)
        off_diagonal = gram.sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).sum(1)
        values = values + off_diagonal / pairs
    return KernelDistance(values.mean(), values.std() / math.sqrt(n_blocks))


def precision_recall(x: Tensor, y: Tensor, k: int = 3) -> PrecisionRecall:
    """Precision: share of y within reach of x; recall: share of x within reach of y.

    A row is within reach of a set when it lies in the ball around one of its rows that just
    holds that row's k-th nearest neighbour in the set.

    Args:
        x: (N, F) features of real data, N above k.
        y: (M, F) features of generated data, M above k.
        k: number of the neighbour, at least 1.

    Raises:
        ValueError: for k below 1, and for sets that are not (rows, F) and finite, differ in F, or
            have not more than k rows.
    """
    if k < 1:
        raise ValueError(f"k={k}: want 1 or more")
    x, y = _sets(x, y, k + 1)
    x, y = x - x.mean(0), y - x.mean(0)  # near the origin, where squared distances round least
    return PrecisionRecall(_reached(y, x, k), _reached(x, y, k))


def inception_style_score(probabilities: Tensor) -> Tensor:
    """exp of the mean KL divergence between p(class | row) and its mean over rows: from 1 to C.

    An Inception score only when the classifier is the Inception network.

    Args:
        probabilities: (N, C) a classifier's probabilities; rows sum to one within 1e-3.

    Raises:
        ValueError: for what is not (N, C) and finite, or no probabilities.
    """
    p = _rows("probabilities", probabilities, 1)
    if (p < 0).any() or ((p.sum(1) - 1).abs() > 1e-3).any():
        raise ValueError("probabilities must not be negative and sum to one in each row")
    p = p / p.sum(1, keepdim=True)
    marginal = p.mean(0)
    return (torch.xlogy(p, p).sum(1).mean() - torch.xlogy(marginal, marginal).sum()).exp()


def _root(rows: Tensor) -> Tensor:
    """R, triangular, with R^T R the covariance (divided by N - 1)."""
    centred = rows - rows.mean(0)
    return torch.linalg.qr(centred, mode="r").R / math.sqrt(len(rows) - 1)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.mT / a.shape[-1] + 1) ** 3


def _reached(rows: Tensor, centres: Tensor, k: int) -> Tensor:
    # Rounding must not put a row outside a ball whose radius is its own distance.
    slack = 1e-12 * torch.cat([rows, centres]).square().sum(1).max()
    # The k-th neighbour is the (k + 1)-th smallest distance, since a row is at 0 from itself.
    near = [_squared(part, centres).topk(k + 1, largest=False).values for part in _parts(centres)]
    reach = torch.cat(near)[:, k] + slack
    inside = [(_squared(part, centres) <= reach).any(1) for part in _parts(rows)]
    return torch.cat(inside).double().mean()


def _parts(rows: Tensor) -> tuple[Tensor, ...]:
    return rows.split(256)  # compared with all rows of the other set at a time


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances, (rows of a, rows of b)."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    return torch.addmm(lengths, a, b.T, alpha=-2)


def _sets(x: Tensor, y: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    x, y = _rows("x", x, at_least), _rows("y", y, at_least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has {x.shape[1]} features a row, but y has {y.shape[1]}")
    return x, y


def _rows(name: str, value: Tensor, at_least: int) -> Tensor:
    value = value.detach().to("cpu", torch.float64)
    if value.ndim != 2 or value.shape[1] < 1 or not torch.isfinite(value).all():
        raise ValueError(f"{name} must be (rows, F) and finite, got shape {tuple(value.shape)}")
    if len(value) < at_least:
        raise ValueError(f"{name} has {len(value)} rows; this needs at least {at_least}")
    return value
