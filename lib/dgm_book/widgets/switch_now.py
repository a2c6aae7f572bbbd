"""Switch now: two models follow a linear system whose dynamics the reader switches."""

from collections.abc import Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from . import switching
from .checks import in_range
from .frame import BookWidget
from .hyper_weights import HyperWeights
from .switching import MOST_STEPS


class SwitchNow(BookWidget):
    """A system x_t = W x_{t-1} + sigma e_t in the page, and how models and exact Bayes follow it.

    The reader switches W and sets sigma while it runs. Shown are both coordinates with each model's
    prediction before it reads them, mean +- 2 deviations over N particles; the KL divergence of
    posterior from prior per step; and the exact posterior over the K matrices, for which W and
    sigma each change with probability `hazard` per step, to any other value alike. Where x has
    grown past `bound`, it starts anew near zero, and the models with it.

    ``steps`` (how many have run), ``schedule`` (rows [t, which, sigma] that ascend: what is in
    force from step t on), ``seed`` and ``speed`` (steps per second) follow the reader and may be
    set; all that is shown is a function of the first three. Nothing moves until the reader asks.

    Args:
        weights: The page's models, shared with its other widgets.
        matrices: (K, 2, 2), the dynamics, 2 <= K <= 12.
        models: The names of the model and its baseline; None takes the first VHRNN and VRNN.
        deviations: The values of sigma, ascending.
        schedule: What the widget opens with; None switches once, at step 30, at the middle sigma.
        steps: That have run when it opens, 1 to 10,000.
        n_particles: N, 1 to 256.
        window: Steps that are shown, 20 to 200.
        hazard: Above 0 and below 1.
        bound: Above 1.
        speed: 1 to 30.
        seed: 0 to 9999.

    Raises:
        ValueError: For models that are missing or do not read points of the plane, or settings that
            are out of range.
    """

    weights = traitlets.Instance(HyperWeights).tag(sync=True, **widget_serialization)
    matrices = traitlets.List(read_only=True).tag(sync=True)
    deviations = traitlets.List(read_only=True).tag(sync=True)
    models = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    options = traitlets.Dict(read_only=True).tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    steps = traitlets.Int(1).tag(sync=True)
    speed = traitlets.Int(1).tag(sync=True)
    schedule = traitlets.List().tag(sync=True)

    def __init__(
        self,
        weights: HyperWeights,
        matrices: np.ndarray,
        badge: str = "",
        *,
        models: Sequence[str] | None = None,
        deviations: Sequence[float] = switching.DEVIATIONS,
        schedule: Sequence | None = None,
        steps: int = 60,
        n_particles: int = 32,
        window: int = 80,
        hazard: float = 0.04,
        bound: float = 60.0,
        speed: int = 8,
        seed: int = 0,
        title: str = "Switch the dynamics, and watch who notices",
    ) -> None:
        w, sigma = switching.check_matrices(matrices), switching.check_deviations(deviations)
        if models is None:
            models = [switching.first_model(weights, kind) for kind in ("vhrnn", "vrnn")]
        if isinstance(models, str) or len(models) != 2 or models[0] == models[1]:
            raise ValueError(f"models={models!r}: want two names, the model and its baseline")
        options = switching.check_ranges(
            n_particles=(n_particles, 1, 256),
            window=(window, 20, 200),
            hazard=(hazard, 1e-6, 1 - 1e-6),
            bound=(bound, 1, 1e6),
        )
        if schedule is None:
            first, second = switching.two_dynamics(w)
            middle = sigma[len(sigma) // 2]
            schedule = [[0, first, middle], [30, second, middle]]
        names = [weights.check_frames(name, 2, "gaussian") for name in models]
        fixed = {"models": names, "matrices": w.tolist(), "deviations": sigma, "options": options}
        state = {"schedule": list(schedule), "seed": seed, "steps": steps, "speed": speed}
        super().__init__(fixed, weights=weights, title=title, badge=badge, **state)

    _valid_seed = in_range("seed", 0, 9999)
    _valid_steps = in_range("steps", 1, MOST_STEPS)
    _valid_speed = in_range("speed", 1, 30)

    @traitlets.validate("schedule")
    def _check_schedule(self, proposal) -> list:
        return switching.check_schedule(proposal["value"], len(self.matrices), self.deviations)
