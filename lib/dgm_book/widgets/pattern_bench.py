"""The pattern bench: points in a plane, lines as units, and the two terms of BRE on their signs."""

import numpy as np
import traitlets

from .checks import in_range
from .frame import BookWidget

MAX_UNITS = 12
WORLD = 1.5  # the plane is [-1.5, 1.5] squared


class PatternBench(BookWidget):
    """Points that the reader drags among random lines, each line a unit that is on at one side.

    ``points``, ``units``, ``margin`` and ``seed`` follow the reader, and may be set.

    Args:
        points: Where the points start, (K, 2) in [-1.5, 1.5], 2 to 9 of them; None takes eight.
        zeta: Softness of the signs, above 0.
        chosen: First values of ``title``, ``units`` (d, how many lines, 2 to 12), ``margin`` (c of
            eta = c / sqrt(d), 0 to 3) and ``seed`` (of the lines, 0 to 9999).

    Raises:
        ValueError: For points of the wrong shape or outside the plane, or a setting out of range.
    """

    points = traitlets.List().tag(sync=True)
    title = traitlets.Unicode("What BRE sees: signs").tag(sync=True)
    units = traitlets.Int(10, min=2, max=MAX_UNITS).tag(sync=True)
    margin = traitlets.Float(1.0).tag(sync=True)
    seed = traitlets.Int(min=0, max=9999).tag(sync=True)
    zeta = traitlets.Float(read_only=True).tag(sync=True)

    def __init__(self, points=None, badge: str = "", *, zeta: float = 1e-3, **chosen) -> None:
        if not 0 < zeta < float("inf"):
            raise ValueError(f"zeta={zeta}: want a finite number above 0")
        if points is None:
            points = np.random.default_rng(3).uniform(-1.2, 1.2, size=(8, 2)).round(2)
        self._count = len(points)
        points = np.asarray(points, float).tolist()
        super().__init__({"zeta": float(zeta)}, points=points, badge=badge, **chosen)

    @traitlets.validate("points")
    def _check_points(self, proposal) -> list[list[float]]:
        points = np.asarray(proposal["value"], float)
        if points.ndim != 2 or points.shape[1] != 2 or not 2 <= len(points) <= 9:
            raise ValueError(f"points have shape {points.shape}, want (K, 2) with K from 2 to 9")
        if not (np.abs(points) <= WORLD).all():
            raise ValueError(f"points should be finite and within [-{WORLD}, {WORLD}]")
        if len(points) != self._count:
            raise ValueError(f"{len(points)} points, the bench was made for {self._count}")
        return points.tolist()

    _valid_margin = in_range("margin", 0, 3)
