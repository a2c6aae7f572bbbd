"""Distances between two sets of features, such as a classifier's, of real and generated images.

What such a score says depends on the features: scores on different features, or on different
numbers of rows, cannot be compared. All are float64 on the CPU, without gradient. They raise
ValueError for sets that are not (rows, F) and finite, have too few rows, or differ in F.

References:
    Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter, NeurIPS 2017, eq. 6 (Frechet distance).
    Bińkowski, Sutherland, Arbel, Gretton, ICLR 2018, section 4 (kernel distance).
    Kynkäänniemi, Karras, Laine, Lehtinen, Aila, NeurIPS 2019, eqs. 1 and 2 (precision and recall).
    Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, NeurIPS 2016, section 4 (Inception score).
"""

import math
from collections import namedtuple

import torch
from torch import Tensor

from dgm.measure import checked_rows

_KernelDistance = namedtuple("_KernelDistance", "value standard_error")
_PrecisionRecall = namedtuple("_PrecisionRecall", "precision recall")


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """Squared Frechet distance of Gaussians with the moments of x (N, F) and of y (M, F).

    |mean_x - mean_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)), where the trace of the square root is
    the sum of the singular values of R_x R_y^T for triangular R with R^T R = C. That needs no root
    of a matrix, and stays exact when a covariance has no full rank. Biased upwards for few rows.
    """
    x, y = _sets(x, y, 2)
    offset = x.mean(0) - y.mean(0)
    root_x, root_y = (
        torch.linalg.qr(rows - rows.mean(0), mode="r").R / math.sqrt(len(rows) - 1)
        for rows in (x, y)
    )
    cross = torch.linalg.svdvals(root_x @ root_y.T).sum()
    spread = root_x.square().sum() + root_y.square().sum() - 2 * cross
    return offset.square().sum() + spread.clamp(min=0)


def kernel_distance(x: Tensor, y: Tensor, *, n_blocks: int = 10, seed: int = 0) -> _KernelDistance:
    """Squared maximum mean discrepancy for the kernel (a.b / F + 1)^3, and its standard error.

    Without bias: below zero by chance where the sets are alike.

    Both sets, x (N, F) and y (M, F), are put in random order and cut into `n_blocks` >= 2 blocks of
    min(N, M) // n_blocks >= 2 rows that share none, so that the blocks' values are independent and
    their spread gives the standard error of their mean.
    """
    if n_blocks < 2:
        raise ValueError(f"n_blocks={n_blocks}: a standard error needs at least 2")
    x, y = _sets(x, y, 2 * n_blocks)
    size = min(len(x), len(y)) // n_blocks
    generator = torch.Generator().manual_seed(seed)
    a, b = (
        rows[torch.randperm(len(rows), generator=generator)[: n_blocks * size]].view(
            n_blocks, size, -1
        )
        for rows in (x, y)
    )
    values = _kernel(a, b).mean((1, 2)) * -2
    for block in (a, b):
        gram = _kernel(block, block)
        off_diagonal = gram.sum((1, 2)) - gram.diagonal(dim1=1, dim2=2).sum(1)
        values = values + off_diagonal / (size * (size - 1))
    return _KernelDistance(values.mean(), values.std() / math.sqrt(n_blocks))


def precision_recall(x: Tensor, y: Tensor, k: int = 3) -> _PrecisionRecall:
    """Precision: share of y within reach of x; recall: share of x within reach of y.

    A row is within reach of a set when it lies in the ball around one of its rows that just holds
    that row's k-th nearest neighbour in the set. x (N, F) are features of real data, y (M, F) of
    generated data, N and M above k >= 1.
    """
    if k < 1:
        raise ValueError(f"k={k}: want 1 or more")
    x, y = _sets(x, y, k + 1)
    x, y = x - x.mean(0), y - x.mean(0)  # near the origin, where squared distances round least
    return _PrecisionRecall(_within_reach(y, x, k), _within_reach(x, y, k))


def inception_style_score(probabilities: Tensor) -> Tensor:
    """exp of the mean KL divergence between p(class | row), (N, C), and its mean over rows: 1 to C.

    An Inception score only when the classifier is the Inception network. Rows sum to one within
    1e-3.
    """
    p = checked_rows("probabilities", probabilities, 1)
    if (p < 0).any() or ((p.sum(1) - 1).abs() > 1e-3).any():
        raise ValueError("probabilities must not be negative and sum to one in each row")
    p = p / p.sum(1, keepdim=True)
    marginal = p.mean(0)
    return (torch.xlogy(p, p).sum(1).mean() - torch.xlogy(marginal, marginal).sum()).exp()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.mT / a.shape[-1] + 1) ** 3


def _within_reach(rows: Tensor, centres: Tensor, k: int) -> Tensor:
    def squared(part: Tensor) -> Tensor:
        """Squared distances, (rows of the part, centres)."""
        lengths = part.square().sum(1)[:, None] + centres.square().sum(1)
        return torch.addmm(lengths, part, centres.T, alpha=-2)

    # Rounding must not put a row outside a ball whose radius is its own distance.
    slack = 1e-12 * torch.cat([rows, centres]).square().sum(1).max()
    # The k-th neighbour is the (k + 1)-th smallest distance, since a row is at 0 from itself.
    near = [squared(part).topk(k + 1, largest=False).values for part in centres.split(256)]
    reach = torch.cat(near)[:, k] + slack
    inside = [(squared(part) <= reach).any(1) for part in rows.split(256)]
    return torch.cat(inside).double().mean()


def _sets(x: Tensor, y: Tensor, at_least: int) -> tuple[Tensor, Tensor]:
    x, y = checked_rows("x", x, at_least), checked_rows("y", y, at_least)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has {x.shape[1]} features per row, but y has {y.shape[1]}")
    return x, y
