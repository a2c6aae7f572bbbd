"""Minibatches as a pure function of the step, so that an interrupted run resumes exactly."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["minibatches"]


def minibatches(n: int, batch_size: int, seed: int) -> Callable[[int], Tensor]:
    """Goes through n items in a new random order each epoch; drops an incomplete last batch.

    Returns:
        A pure function: step i (from 0 on) -> (batch_size,) int64 indices below n. Epoch e uses the
        permutation seeded by (seed, e).

    Raises:
        ValueError: not even one batch fits, the seed is negative, or (later) the step is.
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size={batch_size} of n={n} items: want 1 <= batch_size <= n")
    if seed < 0:
        raise ValueError(f"seed={seed}: want 0 or more")

    @functools.lru_cache(maxsize=2)
    def batches(epoch: int) -> tuple[Tensor, ...]:
        order = np.random.default_rng((seed, epoch)).permutation(n)
        return torch.from_numpy(order).split(batch_size)

    def batch(i: int) -> Tensor:
        if i < 0:
            raise ValueError(f"step {i}: steps are counted from 0")
        epoch, k = divmod(i, n // batch_size)
        return batches(epoch)[k].clone()

    return batch
