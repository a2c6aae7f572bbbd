"""The temperature slider: log-sum-exp pooling on its way from the mean to the maximum."""

import math
from collections.abc import Sequence

import numpy as np
import traitlets

from .checks import in_range, one_of
from .pooling_weights import PoolingWeights, SentenceWidget

# Between the slider's ends, which are the mean (infinite) and the maximum (zero) themselves.
TEMPERATURES = np.geomspace(10, 0.001, 99)


class TemperatureSlider(SentenceWidget):
    """How much each word counts in tau log mean exp(h / tau), and how far apart sentences lie.

    tau is that of `dgm.nets.pooling.pool`: an infinite one gives the mean, zero the maximum. A
    word's weight is the mean over units j of d s_j / d h_tj; the dispersion is of the examples'
    features. ``sentence``, ``kind`` (whose states are pooled) and ``position`` (0 is the mean, 100
    the maximum) follow the reader, and may be set.

    Args:
        weights: The page's encoders, shared with its other widgets.
        examples: Sentences to pick from, whose dispersion is shown; the reader starts at the first.
        kind: The encoder to start with; None takes the first.
        position: Where the slider starts.

    Raises:
        ValueError: For fewer than two examples, an empty one, over 100, or values out of range.
    """

    temperatures = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)
    kind = traitlets.Unicode().tag(sync=True)
    position = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        weights: PoolingWeights,
        examples: Sequence[str],
        badge: str = "",
        *,
        kind: str | None = None,
        position: int = 60,
        title: str = "From mean to maximum",
    ) -> None:
        if len(examples) < 2:
            raise ValueError("examples: want at least two, one sentence has no dispersion")
        fixed = {"temperatures": [float(f"{t:.4g}") for t in TEMPERATURES]}
        start = {"kind": kind or weights.kinds[0], "position": position}
        super().__init__(weights, examples, fixed, title=title, badge=badge, **start)

    @property
    def temperature(self) -> float:
        """tau where the slider stands: infinite at the mean, 0 at the maximum."""
        return [math.inf, *self.temperatures, 0.0][self.position]

    _valid_kind = one_of("kind", lambda self: self.weights.kinds)
    _valid_position = in_range("position", 0, 100)
