"""The bound race: four estimates of one mutual information whose exact value is known."""

from __future__ import annotations

import traitlets

from .frame import BookWidget, check_choice, check_range


class BoundRace(BookWidget):
    """Batches of correlated Gaussian pairs, and what each bound makes of them with the best critic.

    A pair is x and y in d dimensions, all of unit variance, each dimension of y with its own of x at
    the correlation rho, all else independent, so that I = -(d / 2) log(1 - rho^2). The critic is the
    log density ratio, plus 1 for NWJ. Every one of 24 batches of N pairs gives one estimate: in it,
    the N pairs are the joint law, and the N (N - 1) pairs of an x with another's y are the product.
    The classifier's estimate is the Jensen-Shannon divergence log 2 - L_D / 2, which is never above
    I and never above log 2.

    ``correlation``, ``dimension``, ``batch`` and ``seed`` follow the reader, and may be set.

    Args:
        badge: What stands beside the title.
        correlation: rho, 0 to 0.99.
        dimension: d, 1 to 20.
        batch: N, a power of two from 2 to 256.
        seed: Of the draws, 0 to 9999.
        title: What stands above the widget.

    Raises:
        ValueError: For a setting out of range.
    """

    _parts = ("pooling.js", "bound_race.js", "information.css")

    correlation = traitlets.Float().tag(sync=True)
    dimension = traitlets.Int().tag(sync=True)
    batch = traitlets.Int().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        badge: str = "",
        *,
        correlation: float = 0.9,
        dimension: int = 1,
        batch: int = 64,
        seed: int = 0,
        title: str = "A race of bounds on one mutual information",
    ) -> None:
        chosen = {"correlation": float(correlation), "dimension": dimension, "batch": batch}
        super().__init__(title=title, badge=badge, seed=seed, **chosen)

    @traitlets.validate("correlation")
    def _validate_correlation(self, proposal) -> float:
        return check_range(proposal, 0, 0.99)

    @traitlets.validate("dimension")
    def _validate_dimension(self, proposal) -> int:
        return check_range(proposal, 1, 20)

    @traitlets.validate("batch")
    def _validate_batch(self, proposal) -> int:
        return check_choice(proposal, [2**k for k in range(1, 9)])

    @traitlets.validate("seed")
    def _validate_seed(self, proposal) -> int:
        return check_range(proposal, 0, 9999)
