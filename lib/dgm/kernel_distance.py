"""The kernel distance of two sets of features, by sums over pairs of rows.

Binkowski, Sutherland, Arbel, Gretton: Demystifying MMD GANs, ICLR 2018, equation 4 and section 3.1.
float64 on the CPU, without gradient, as in `dgm.feature_distance`.
"""

from collections import namedtuple

import torch
from torch import Tensor

from dgm.measure import checked_rows

KernelDistance = namedtuple("KernelDistance", "value standard_error")


def kernel_distance(x: Tensor, y: Tensor, paired: bool = False) -> KernelDistance:
    """Unbiased squared MMD of x (N, F) and y (M, F) by the kernel (a b / F + 1)^3, with its error.

    y (M, K, F) has K dependent rows per group, as codes of one image: only pairs of different
    groups count. In `paired` sets row i and group i depend, and that pair is left out (N = M). The
    standard error is the jackknife's over rows and groups, conservative where both sets agree. N
    and M are at least 3.
    """
    x, y = x.unsqueeze(1) if x.ndim == 2 else x, y.unsqueeze(1) if y.ndim == 2 else y
    (n, _, _), (m, k, _) = x.shape, y.shape
    x, y = checked_rows("x", x.flatten(0, 1), 3), checked_rows("y", y.flatten(0, 1), 3)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x has {x.shape[1]} features per row, but y has {y.shape[1]}")
    if min(n, m) < 3 or (paired and n != m):
        raise ValueError(f"{n} and {m} rows or groups: want 3 or more, as many of both if paired")
    x, y = x.view(n, -1, x.shape[1]), y.view(m, k, -1)
    (own_x, _), (own_y, _) = _kernel_sums(x, x, True), _kernel_sums(y, y, True)
    rows, columns = _kernel_sums(x, y, paired)

    def value(xx: Tensor, yy: Tensor, xy: Tensor, n: int, m: int) -> Tensor:
        return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2 * xy / (n * m - n * paired)

    xx, yy, xy = own_x.sum(), own_y.sum(), rows.sum()
    if paired:
        left_out = [value(xx - 2 * own_x, yy - 2 * own_y, xy - rows - columns, n - 1, m - 1)]
    else:
        left_out = [value(xx - 2 * own_x, yy, xy - rows, n - 1, m)]
        left_out += [value(xx, yy - 2 * own_y, xy - columns, n, m - 1)]
    variance = sum((len(v) - 1) * v.var(correction=0) for v in left_out)
    return KernelDistance(value(xx, yy, xy, n, m), torch.as_tensor(variance).sqrt())


def _kernel_sums(x: Tensor, y: Tensor, apart: bool) -> tuple[Tensor, Tensor]:
    """Kernel means of groups (N, K, F) and (M, L, F), summed over the others: (N,), (M,).

    If `apart`, pairs of one index are left out.
    """
    (m, length, n_features), row_sums = y.shape, []
    column_sums, right = y.new_zeros(m), y.flatten(0, 1).T / n_features
    size = max(1, 2**22 // (len(right.T) * x.shape[1]))
    for start in range(0, len(x), size):
        part = x[start : start + size]
        kernel = (part.flatten(0, 1) @ right).add_(1).pow_(3)
        kernel = kernel.view(len(part), x.shape[1], m, length).mean((1, 3))
        if apart:
            kernel.diagonal(start).zero_()
        row_sums.append(kernel.sum(1))
        column_sums += kernel.sum(0)
    return torch.cat(row_sums), column_sums
