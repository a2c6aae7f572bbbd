"""Distances between two sets of features, such as a classifier's, of real and generated images.

Scores on different features, or numbers of rows, cannot be compared. float64 on the CPU, without
gradient. ValueError for sets that are not (rows, F) and finite, have too few rows, or differ in F.
Sources: Heusel et al., NeurIPS 2017, eq. 6; Kynkäänniemi et al., NeurIPS 2019, eqs. 1 and 2;
Salimans et al., NeurIPS 2016, section 4.
"""

import math
from collections import namedtuple

import torch
from torch import Tensor

from dgm.measure import checked_rows

_PrecisionRecall = namedtuple("_PrecisionRecall", "precision recall")


def frechet_distance(x: Tensor, y: Tensor) -> Tensor:
    """Squared Frechet distance of Gaussians with the moments of x (N, F) and of y (M, F).

    The trace of (C_x C_y)^(1/2) is the sum of the singular values of R_x R_y^T for triangular R
    with R^T R = C, exact at any rank. Biased upwards for few rows.
    """
    x, y = _sets(x, y, 2)
    offset = x.mean(0) - y.mean(0)
    centred = ((rows - rows.mean(0), math.sqrt(len(rows) - 1)) for rows in (x, y))
    root_x, root_y = (torch.linalg.qr(rows, mode="r").R / root for rows, root in centred)
    cross = torch.linalg.svdvals(root_x @ root_y.T).sum()
    spread = root_x.square().sum() + root_y.square().sum() - 2 * cross
    return offset.square().sum() + spread.clamp(min=0)


def precision_recall(x: Tensor, y: Tensor, k: int = 3) -> _PrecisionRecall:
    """Precision: share of y within reach of x; recall: share of x within reach of y.

    In reach of a set is what lies in the ball around one of its rows out to that row's k-th nearest
    neighbour. x (N, F) are features of real data, y (M, F) of generated data, N and M above k >= 1.
    """
    if k < 1:
        raise ValueError(f"k={k}: want 1 or more")
    x, y = _sets(x, y, k + 1)
    x, y = x - x.mean(0), y - x.mean(0)  # near the origin, where squared distances round least
    return _PrecisionRecall(_within_reach(y, x, k), _within_reach(x, y, k))


def inception_style_score(probabilities: Tensor) -> Tensor:
    """exp of the mean KL of rows p(class | row) (N, C), else ValueError, to their mean."""
    p = checked_rows("probabilities", probabilities, 1)
    if (p < 0).any() or ((p.sum(1) - 1).abs() > 1e-3).any():
        raise ValueError("probabilities must not be negative and sum to one in each row")
    p = p / p.sum(1, keepdim=True)
    marginal = p.mean(0)
    return (torch.xlogy(p, p).sum(1).mean() - torch.xlogy(marginal, marginal).sum()).exp()


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
