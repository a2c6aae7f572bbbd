"""The weather of the weights: what a VHRNN's hypernetworks generate, and what is lost when it is frozen."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame, switching
from .hyper_weights import HyperWeights, Trace
from .switch_now import STYLE

FREEZES = 20  # steps of the slider
BLOCKS = ("scales on the input", "scales on the hidden state", "biases")


class ScaleWeather(anywidget.AnyWidget):
    """All that a VHRNN generates for its recurrent cell along one sequence, as a heat map over time.

    The sequence is the switching system's, x_t = W x_{t-1} + sigma e_t, with its changes marked. A row is
    one generated number, mean over the weighted particles less the row's own mean over time. Freezing by a
    share f replaces each generated number g, the decoder's too, by (1 - f) g + f m, with m its mean over
    this sequence, so that at f = 1 the model's weights are as constant as a VRNN's. Nothing is trained
    anew. Shown beside are the predictions, the log-density of each step, and its mean for each f.

    ``freeze`` and ``seed`` follow the reader and may be set.

    Args:
        weights: The page's models, shared with its other widgets.
        matrices: (K, 2, 2), the dynamics, 2 <= K <= 12.
        badge: Which profile, data and seeds the model comes from.
        model: Name of the VHRNN; None takes the first.
        deviations: The values of sigma, ascending.
        schedule: Rows [t, which, sigma] that ascend; None changes W at a third of the steps, and sigma
            at two thirds.
        steps: Of the sequence, 20 to 200.
        n_particles: N, 1 to 128.
        bound: Above 1; where x has grown past it, the sequence starts anew.
        freeze: 0 to 1, in twentieths.
        seed: 0 to 9999.
        title: What stands above the widget.

    Raises:
        ValueError: For a model that generates nothing or does not read points of the plane, or settings
            that are out of range.
    """

    _esm = frame.module("pooling.js", "hyper_rnn.js", "switching.js", "scale_weather.js")
    _css = STYLE

    weights = traitlets.Instance(HyperWeights).tag(sync=True, **widget_serialization)
    matrices = traitlets.List(read_only=True).tag(sync=True)
    network = traitlets.Unicode(read_only=True).tag(sync=True)
    schedule = traitlets.List(read_only=True).tag(sync=True)
    options = traitlets.Dict(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    freeze = traitlets.Float(0.0).tag(sync=True)
    seed = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        weights: HyperWeights,
        matrices: np.ndarray,
        badge: str = "",
        *,
        model: str | None = None,
        deviations: Sequence[float] = (0.25, 1.0, 4.0),
        schedule: Sequence | None = None,
        steps: int = 90,
        n_particles: int = 16,
        bound: float = 60.0,
        freeze: float = 0.0,
        seed: int = 0,
        title: str = "The weather of the weights",
    ) -> None:
        self._matrices = switching.check_matrices(matrices)
        found = [name for name in weights.names if weights.describe(name)["kind"] == "vhrnn"]
        if not found or model not in (None, *found):
            raise ValueError(f"model={model!r}: want a vhrnn, of which the weights hold {found}")
        ranges = {
            "steps": (steps, 20, 200),
            "n_particles": (n_particles, 1, 128),
            "bound": (bound, 1, 1e6),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise ValueError(f"{name}={value}: want {low:g} to {high:g}")
        sigma = switching.check_deviations(deviations)
        if schedule is None:
            one, other = switching.two_dynamics(self._matrices)
            middle = sigma[len(sigma) // 2]
            schedule = [[0, one, middle], [steps // 3, other, middle]]
            schedule.append([2 * steps // 3, other, sigma[0]])
        super().__init__(weights=weights, title=title, badge=badge)
        self.set_trait("network", switching.check_model(weights, model or found[0]))
        self.set_trait("matrices", self._matrices.tolist())
        rows = switching.check_schedule(schedule, len(self._matrices), sigma)
        self.set_trait("schedule", rows)
        self.set_trait("options", {name: value for name, (value, *_) in ranges.items()})
        self.freeze, self.seed = freeze, seed

    @traitlets.validate("freeze", "seed")
    def _in_range(self, proposal) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        if name == "seed" and not 0 <= value <= 9999:
            raise ValueError(f"seed={value}: want 0 to 9999")
        if name == "freeze" and not (0 <= value <= 1 and abs(value * FREEZES % 1 - 0.5) > 0.499):
            raise ValueError(f"freeze={value}: want a multiple of 0.05 from 0 to 1")
        return value

    def course(self) -> switching.Course:
        """The sequence."""
        told = self.options
        return switching.simulate(
            self._matrices, self.schedule, told["steps"], self.seed, told["bound"]
        )

    def replay(self, freeze: float | None = None) -> Trace:
        """Return what the page's model makes of the sequence, frozen by a share; None takes the reader's."""
        freeze = self.freeze if freeze is None else freeze
        course, n = self.course(), self.options["n_particles"]
        free = switching.follow(self.weights, self.network, course, n, self.seed)
        if not freeze:
            return free
        means = (free.weights[..., None] * free.made).sum(1).mean(0)
        frozen = {"freeze": freeze, "means": means}
        return switching.follow(self.weights, self.network, course, n, self.seed, **frozen)

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        course, trace, free = self.course(), self.replay(), self.replay(0)
        figure = Figure(figsize=(7.2, 6.2), layout="constrained")
        panels = figure.subplots(5, 1, sharex=True, height_ratios=[1.2, 1.2, 1, 1, 1])
        times = np.arange(len(course.x))
        mean, reach = trace.predicted_mean[:, 0], 2 * trace.predicted_deviation[:, 0]
        panels[0].fill_between(times, mean - reach, mean + reach, color=frame.BLUE, alpha=0.25)
        panels[0].plot(times, course.x[:, 0], ".-", color=frame.GREY, linewidth=0.6)
        most = 1.3 * np.abs(course.x[:, 0]).max()
        panels[0].set(ylim=(-most, most), ylabel="$x_1$")
        panels[1].plot(times, -free.increment, ":", color=frame.GREY)
        panels[1].plot(times, -trace.increment, color=frame.BLUE)
        nats = trace.increment.mean()
        panels[1].set_ylabel("surprise, nats")
        panels[1].set_title(
            f"frozen by {self.freeze:.2f}: {nats:.2f} nats a step", fontsize="small"
        )
        shown = _means(trace)
        centre = _means(free).mean(0)
        for axes, name, part, at in zip(
            panels[2:], BLOCKS, np.split(shown - centre, 3, 1), np.split(_means(free) - centre, 3, 1),
            strict=True,
        ):  # fmt: skip
            full = max(1e-9, float(np.quantile(np.abs(at), 0.98)))
            axes.imshow(part.T, aspect="auto", cmap="PRGn", vmin=-full, vmax=full)
            quarter = part.shape[1] / 4
            axes.set_yticks([quarter * (g + 0.5) - 0.5 for g in range(4)], "ifgo")
            axes.set_title(f"{name}, full colour at ±{full:.2g}", fontsize="small")
        panels[-1].set_xlabel("step")
        for t, *_ in self.schedule[1:]:
            for axes in panels:
                axes.axvline(t - 0.5, color="#D55E00", linestyle="--", linewidth=1)
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"ScaleWeather({self.network}, freeze={self.freeze}, seed={self.seed})"


def _means(trace: Trace) -> np.ndarray:
    """Return what is generated for the cell (T, 12 H), mean over the weighted particles."""
    return (trace.weights[..., None] * trace.scales).sum(1)
