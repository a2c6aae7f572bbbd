"""Switch now: two models follow a linear system whose dynamics the reader switches."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame, switching
from .hyper_weights import HyperWeights
from .switching import MOST_STEPS

BEFORE = 60  # steps that have run when the widget opens
STYLE = frame.style() + (frame.FOLDER / "hyper_rnn.css").read_text("utf-8")
FASTEST = 30  # steps a second


class SwitchNow(anywidget.AnyWidget):
    """A system x_t = W x_{t-1} + sigma e_t in the page, and what a VHRNN, a VRNN and exact Bayes make of it.

    The reader switches W and sets sigma while it runs. Shown are both coordinates with each model's
    prediction before it sees them, mean +- 2 deviations over N particles; the KL divergence of posterior
    from prior a step; and the exact posterior over the K matrices, for which W and sigma each change
    with probability `hazard` a step, to any other value alike. Where x has grown past `bound`, it
    starts anew near zero, and the models with it.

    ``steps`` (how many have run), ``schedule`` (rows [t, which, sigma] that ascend: what is in force from
    step t on), ``seed`` and ``speed`` (steps a second) follow the reader and may be set; all that is
    shown is a function of the first three. Nothing moves until the reader asks for it.

    Args:
        weights: The page's models, shared with its other widgets.
        matrices: (K, 2, 2), the dynamics, 2 <= K <= 12.
        badge: Which profile, data and seeds the models come from.
        models: The names of the model and its baseline; None takes the first VHRNN and the first VRNN.
        deviations: The values of sigma, ascending.
        schedule: What the widget opens with; None switches once, at step 30, at the middle sigma.
        steps: That have run when it opens, 1 to 10,000.
        n_particles: N, 1 to 256.
        window: Steps that are shown, 20 to 200.
        hazard: Above 0 and below 1.
        bound: Above 1.
        speed: 1 to 30.
        seed: 0 to 9999.
        title: What stands above the widget.

    Raises:
        ValueError: For models that are missing or do not read points of the plane, or settings that are
            out of range.
    """

    _esm = frame.module("pooling.js", "hyper_rnn.js", "switching.js", "switch_now.js")
    _css = STYLE

    weights = traitlets.Instance(HyperWeights).tag(sync=True, **widget_serialization)
    matrices = traitlets.List(read_only=True).tag(sync=True)
    deviations = traitlets.List(read_only=True).tag(sync=True)
    models = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    options = traitlets.Dict(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
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
        deviations: Sequence[float] = (0.25, 1.0, 4.0),
        schedule: Sequence | None = None,
        steps: int = BEFORE,
        n_particles: int = 32,
        window: int = 80,
        hazard: float = 0.04,
        bound: float = 60.0,
        speed: int = 8,
        seed: int = 0,
        title: str = "Switch the dynamics, and watch who notices",
    ) -> None:
        self._matrices = switching.check_matrices(matrices)
        ranges = {
            "n_particles": (n_particles, 1, 256),
            "window": (window, 20, 200),
            "hazard": (hazard, 1e-6, 1 - 1e-6),
            "bound": (bound, 1, 1e6),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise ValueError(f"{name}={value}: want {low:g} to {high:g}")
        super().__init__(weights=weights, title=title, badge=badge)
        self.set_trait("models", _pair(weights, models))
        self.set_trait("matrices", self._matrices.tolist())
        self.set_trait("deviations", switching.check_deviations(deviations))
        self.set_trait("options", {name: value for name, (value, *_) in ranges.items()})
        if schedule is None:
            one, other = switching.two_dynamics(self._matrices)
            sigma = self.deviations[len(self.deviations) // 2]
            schedule = [[0, one, sigma], [30, other, sigma]]
        self.schedule, self.seed = [list(row) for row in schedule], seed
        self.steps, self.speed = steps, speed

    @traitlets.validate("seed", "steps", "speed")
    def _in_range(self, proposal) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {"seed": (0, 9999), "steps": (1, MOST_STEPS), "speed": (1, FASTEST)}[name]
        if not low <= value <= high:
            raise ValueError(f"{name}={value}: want {low} to {high}")
        return value

    @traitlets.validate("schedule")
    def _fits(self, proposal) -> list:
        if not self.deviations:
            return proposal["value"]
        return switching.check_schedule(proposal["value"], len(self.matrices), self.deviations)

    def replay(self) -> dict:
        """Compute what the page has computed so far.

        Returns:
            ``course``, ``posterior`` (T, K) and ``exact`` (T,), the log-density of each x under exact
            Bayes, and ``traces``, one `Trace` for each model, for the T steps from the start.
        """
        told = self.options
        course = switching.simulate(
            self._matrices, self.schedule, self.steps, self.seed, told["bound"]
        )
        posterior, exact = switching.exact_bayes(
            course, self._matrices, self.deviations, told["hazard"]
        )
        traces = {
            name: switching.follow(self.weights, name, course, told["n_particles"], self.seed)
            for name in self.models
        }
        return {"course": course, "posterior": posterior, "exact": exact, "traces": traces}

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        told = self.replay()
        course, window = told["course"], self.options["window"]
        shown = slice(max(0, self.steps - window), None)
        times = np.arange(self.steps)[shown]
        figure = Figure(figsize=(7.2, 6.2), layout="constrained")
        panels = figure.subplots(4, 1, sharex=True)
        looks = list(zip(self.models, ("-", "--"), (frame.BLUE, frame.ORANGE), strict=True))
        for d, axes in enumerate(panels[:2]):
            for name, line, color in looks:
                mean = told["traces"][name].predicted_mean[shown, d]
                reach = 2 * told["traces"][name].predicted_deviation[shown, d]
                if color == frame.BLUE:
                    axes.fill_between(times, mean - reach, mean + reach, color=color, alpha=0.25)
                else:
                    axes.plot(times, mean - reach, line, times, mean + reach, line, color=color)
            axes.plot(times, course.x[shown, d], ".-", color=frame.GREY, linewidth=0.6)
            most = 1.25 * max(0.8, np.abs(course.x[shown]).max())
            axes.set(ylim=(-most, most), ylabel=f"$x_{d + 1}$")
        for name, line, color in looks:
            panels[2].plot(
                times, told["traces"][name].mean_kl[shown], line, color=color, label=name
            )
        panels[2].set_ylabel("KL, nats")
        panels[2].legend(fontsize="small", loc="upper left")
        extent = (times[0] - 0.5, times[-1] + 0.5, len(self.matrices) + 0.5, 0.5)
        picture = told["posterior"][shown].T
        panels[3].imshow(picture, aspect="auto", cmap="Greys", vmin=0, vmax=1, extent=extent)
        panels[3].step(times, course.which[shown] + 1, ":", where="mid", color="#D55E00")
        panels[3].set_yticks([1, len(self.matrices)])
        panels[3].set(xlabel="step", ylabel="which W\n(exact Bayes)")
        for t, *_ in self.schedule[1:]:
            if t >= times[0]:
                for axes in panels:
                    axes.axvline(t - 0.5, color="#D55E00", linestyle="--", linewidth=1)
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"SwitchNow({', '.join(self.models)}; steps={self.steps}, seed={self.seed})"


def _pair(weights: HyperWeights, models: Sequence[str] | None) -> list[str]:
    if models is None:
        kinds = {kind: n for n in reversed(weights.names) for kind in [weights.describe(n)["kind"]]}
        if len(kinds) < 2:
            raise ValueError(
                f"the weights hold {sorted(kinds)} only: want a vhrnn and a vrnn, or name two"
            )
        models = [kinds["vhrnn"], kinds["vrnn"]]
    if isinstance(models, str) or len(models) != 2 or models[0] == models[1]:
        raise ValueError(f"models={models!r}: want two names, the model and its baseline")
    return [switching.check_model(weights, name) for name in models]
