"""Minibatches as a pure function of the step, so that an interrupted run resumes exactly."""

import functools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


class _Batches:
    """Step i (from 0 on) -> (B,) int64 places; epoch e has the random numbers of (seed, e)."""

    def __init__(
        self, epoch: Callable[[np.random.Generator], list[Tensor]], steps_per_epoch: int, seed: int
    ) -> None:
        if seed < 0:
            raise ValueError(f"seed={seed}: want 0 or more")
        self.steps_per_epoch = steps_per_epoch
        two = functools.lru_cache(maxsize=2)
        self._epoch = two(lambda e: epoch(np.random.default_rng((seed, e))))

    def __call__(self, step: int) -> Tensor:
        if step < 0:
            raise ValueError(f"step {step}: steps are counted from 0")
        e, k = divmod(step, self.steps_per_epoch)
        return self._epoch(e)[k].clone()


def minibatches(n: int, batch_size: int, seed: int) -> _Batches:
    """Goes through n items in a new random order each epoch; drops an incomplete last batch."""
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size={batch_size} of n={n} items: want 1 <= batch_size <= n")

    def epoch(random: np.random.Generator) -> list[Tensor]:
        return list(torch.from_numpy(random.permutation(n)).split(batch_size))

    return _Batches(epoch, n // batch_size, seed)


def length_batches(lengths: Tensor, batch_size: int, seed: int) -> _Batches:
    """Batches of at most batch_size sentences of equal length, mixed anew in each epoch."""
    if lengths.ndim != 1 or not len(lengths) or batch_size < 1:
        shape = tuple(lengths.shape)
        raise ValueError(f"lengths {shape}, batch_size={batch_size}: want (N,), N >= 1, and >= 1")
    values = lengths.cpu().numpy()
    counts = np.unique(values, return_counts=True)[1].tolist()

    def epoch(random: np.random.Generator) -> list[Tensor]:
        items = random.permutation(len(values))
        items = torch.from_numpy(items[np.argsort(values[items], kind="stable")])
        batches = [b for part in items.split(counts) for b in part.split(batch_size)]
        return [batches[k] for k in random.permutation(len(batches))]

    return _Batches(epoch, sum(-(-count // batch_size) for count in counts), seed)
