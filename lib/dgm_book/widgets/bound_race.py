"""The bound race: four estimates of one mutual information whose exact value is known."""

import traitlets

from .checks import in_range, one_of
from .frame import BookWidget


class BoundRace(BookWidget):
    """Batches of correlated Gaussian pairs, and what each bound makes of them with the best critic.

    A pair is x and y in d dimensions, all of unit variance, each dimension of y with its own of x
    at the correlation rho, all else independent, so that I = -(d / 2) log(1 - rho^2). The critic
    is the log density ratio, plus 1 for NWJ. Every one of 24 batches of N pairs gives one estimate:
    in it, the N pairs are the joint law, and the N (N - 1) pairs of an x with another's y are the
    product.
    The classifier's estimate is the Jensen-Shannon divergence log 2 - L_D / 2, which is never above
    I and never above log 2.

    ``correlation``, ``dimension``, ``batch`` and ``seed`` follow the reader, and may be set.

    Args:
        correlation: rho, 0 to 0.99.
        dimension: d, 1 to 20.
        batch: N, a power of two from 2 to 256.
        seed: Of the draws, 0 to 9999.

    Raises:
        ValueError: For a setting out of range.
    """

    title = traitlets.Unicode("A race of bounds on one mutual information").tag(sync=True)
    correlation = traitlets.Float(0.9).tag(sync=True)
    dimension = traitlets.Int(1).tag(sync=True)
    batch = traitlets.Int(64).tag(sync=True)
    seed = traitlets.Int().tag(sync=True)

    def __init__(self, badge: str = "", **chosen) -> None:
        super().__init__(badge=badge, **chosen)

    _valid_correlation = in_range("correlation", 0, 0.99)
    _valid_dimension = in_range("dimension", 1, 20)
    _valid_batch = one_of("batch", [2**k for k in range(1, 9)])
    _valid_seed = in_range("seed", 0, 9999)
