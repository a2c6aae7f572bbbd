"""The weather of the weights: what a VHRNN's hypernetworks generate, and what freezing it costs."""

from collections.abc import Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from . import switching
from .checks import in_range
from .frame import BookWidget
from .hyper_weights import HyperWeights

FREEZES = 20  # steps of the slider


class ScaleWeather(BookWidget):
    """All that a VHRNN generates for its cell along one sequence, as a heat map over time.

    The sequence is the switching system's, x_t = W x_{t-1} + sigma e_t, with its changes marked. A
    row is one generated number, mean over the weighted particles minus the row's own mean over
    time. Freezing by a share f replaces each generated number g, the decoder's too, by
    (1 - f) g + f m, with m its mean over this sequence, so that at f = 1 the model's weights are as
    constant as a VRNN's. Nothing is trained anew. Shown beside are the predictions, the log-density
    of each step, and its mean for each f.

    ``freeze`` and ``seed`` follow the reader and may be set.

    Args:
        weights: The page's models, shared with its other widgets.
        matrices: (K, 2, 2), the dynamics, 2 <= K <= 12.
        model: Name of the VHRNN; None takes the first.
        deviations: The values of sigma, ascending.
        schedule: Rows [t, which, sigma] that ascend; None changes W at a third of the steps, and
            sigma at two thirds.
        steps: Of the sequence, 20 to 200.
        n_particles: N, 1 to 128.
        bound: Above 1; where x has grown past it, the sequence starts anew.
        freeze: 0 to 1, in twentieths.
        seed: 0 to 9999.

    Raises:
        ValueError: For a model that generates nothing or does not read points of the plane, or
            settings that are out of range.
    """

    weights = traitlets.Instance(HyperWeights).tag(sync=True, **widget_serialization)
    matrices = traitlets.List(read_only=True).tag(sync=True)
    network = traitlets.Unicode(read_only=True).tag(sync=True)
    schedule = traitlets.List(read_only=True).tag(sync=True)
    options = traitlets.Dict(read_only=True).tag(sync=True)
    freeze = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        weights: HyperWeights,
        matrices: np.ndarray,
        badge: str = "",
        *,
        model: str | None = None,
        deviations: Sequence[float] = switching.DEVIATIONS,
        schedule: Sequence | None = None,
        steps: int = 90,
        n_particles: int = 16,
        bound: float = 60.0,
        freeze: float = 0.0,
        seed: int = 0,
        title: str = "The weather of the weights",
    ) -> None:
        w, sigma = switching.check_matrices(matrices), switching.check_deviations(deviations)
        network = switching.first_model(weights, "vhrnn") if model is None else model
        if weights.describe(network)["kind"] != "vhrnn":
            raise ValueError(f"model={model!r}: want a vhrnn")
        options = switching.check_ranges(
            steps=(steps, 20, 200), n_particles=(n_particles, 1, 128), bound=(bound, 1, 1e6)
        )
        if schedule is None:
            first, second = switching.two_dynamics(w)
            middle = sigma[len(sigma) // 2]
            schedule = [[0, first, middle], [steps // 3, second, middle]]
            schedule.append([2 * steps // 3, second, sigma[0]])
        fixed = {
            "network": weights.check_frames(network, 2, "gaussian"),
            "matrices": w.tolist(),
            "schedule": switching.check_schedule(schedule, len(w), sigma),
            "options": options,
        }
        state = {"freeze": freeze, "seed": seed}
        super().__init__(fixed, weights=weights, title=title, badge=badge, **state)

    _valid_seed = in_range("seed", 0, 9999)

    @traitlets.validate("freeze")
    def _check_freeze(self, proposal) -> float:
        value = proposal["value"]
        if not (0 <= value <= 1 and abs(value * FREEZES % 1 - 0.5) > 0.499):
            raise ValueError(f"freeze={value}: want a multiple of 0.05 from 0 to 1")
        return value
