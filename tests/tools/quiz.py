"""What a share of right answers in the next-sentence quiz says: its interval, and nats."""

import math

import numpy as np


def wilson(right: float, n: int) -> np.ndarray:
    """The ends of Wilson's 95 % interval of a share a, for right of n answers, n at least 1.

    The two p where (a - p)^2 = z^2 p (1 - p) / n.
    """
    c, a = 1.959964**2 / n, right / n
    return np.sort(np.roots([1 + c, -2 * a - c, a * a]))


def information_at_least(share: float) -> float:
    """log 2 - H(share), nats: what right answers at this rate tell at least."""
    return math.log(2) + sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
