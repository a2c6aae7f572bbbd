"""The bound race: four estimates of one mutual information whose exact value is known."""

from __future__ import annotations

import math

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

BATCHES = 24
MAX_BATCH, MAX_DIMENSION = 256, 20
BOUNDS = {
    "donsker_varadhan": "Donsker\N{EN DASH}Varadhan",
    "nwj": "NWJ",
    "info_nce": "InfoNCE",
    "jensen_shannon": "Classifier",
}
_LOG_2 = math.log(2)


class BoundRace(anywidget.AnyWidget):
    """Batches of correlated Gaussian pairs, and what each bound makes of them with the best critic there is.

    A pair is x and y in d dimensions, all of unit variance, each dimension of y with its own of x at the
    correlation rho, all else independent, so that I = -(d / 2) log(1 - rho^2). The critic is the log density
    ratio, plus 1 for NWJ. Every one of 24 batches of N pairs gives one estimate: in it, the N pairs are the
    joint law, and the N (N - 1) pairs of an x with another's y are the product. The classifier's estimate is
    the Jensen-Shannon divergence log 2 - L_D / 2, which is never above I and never above log 2.

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

    _esm = frame.module("pooling.js", "bound_race.js")
    _css = frame.style() + (frame.FOLDER / "information.css").read_text("utf-8")

    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
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

    @traitlets.validate("correlation", "dimension", "batch", "seed")
    def _in_range(self, proposal) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {
            "correlation": (0, 0.99),
            "dimension": (1, MAX_DIMENSION),
            "batch": (2, MAX_BATCH),
            "seed": (0, 9999),
        }[name]
        if not low <= value <= high:
            raise ValueError(f"{name}={value}: want {low} to {high}")
        if name == "batch" and value & (value - 1):
            raise ValueError(f"batch={value}: want a power of two from {low} to {high}")
        return value

    @property
    def exact(self) -> float:
        """The mutual information, nats."""
        return -self.dimension / 2 * math.log1p(-(self.correlation**2)) + 0.0

    @property
    def ceilings(self) -> dict[str, float]:
        """What an estimate cannot pass, nats; inf where there is no ceiling."""
        limits = {"info_nce": math.log(self.batch), "jensen_shannon": _LOG_2}
        return {name: limits.get(name, math.inf) for name in BOUNDS}

    def scores(self, number: int) -> np.ndarray:
        """The critic's scores of one batch, (N, N): row i is x_i with every y, its own on the diagonal."""
        rho, n, d = self.correlation, self.batch, self.dimension
        x, noise = _normals(BATCHES * self.seed + number)[:, :n, :d]
        y = rho * x + math.sqrt(1 - rho**2) * noise
        squares = (x**2).sum(1)[:, None] + (y**2).sum(1)
        return self.exact - (rho**2 * squares - 2 * rho * x @ y.T) / (2 - 2 * rho**2)

    def estimates(self) -> dict[str, np.ndarray]:
        """What each bound says of each batch, (24,) nats."""
        found = [_bounds(self.scores(number)) for number in range(BATCHES)]
        return dict(zip(BOUNDS, np.array(found).T, strict=True))

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        axes = figure.subplots()
        high = max(1.05 * math.log(self.batch), 1.6 * self.exact)
        low = -0.25 * high
        lift = np.linspace(-0.25, 0.25, BATCHES)
        ceilings = self.ceilings
        for row, (name, found) in enumerate(self.estimates().items()):
            shown = found.clip(low, high)
            axes.plot(shown, row + lift, "o", color=frame.BLUE, markersize=4, alpha=0.6)
            mean = {"color": frame.BLUE, "markersize": 26, "markeredgewidth": 3}
            axes.plot(found.mean().clip(low, high), row, "|", **mean)
            if ceilings[name] < math.inf:
                axes.plot([ceilings[name]] * 2, [row - 0.4, row + 0.4], color="#D55E00")
        axes.axvline(self.exact, color="black", linewidth=1)
        axes.set_yticks(range(len(BOUNDS)), BOUNDS.values())
        axes.invert_yaxis()
        axes.set(xlim=(low, high), xlabel=f"nats; exact value {self.exact:.3f}")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        chosen = f"correlation={self.correlation:.2f}, dimension={self.dimension}"
        return f"BoundRace({chosen}, batch={self.batch}, seed={self.seed})"


def _bounds(scores: np.ndarray) -> tuple[float, ...]:
    """One batch's estimates in the order of `BOUNDS`, nats, from the critic's scores (N, N)."""
    n = len(scores)
    joint, product = np.diag(scores), scores[~np.eye(n, dtype=bool)]
    log_mean = np.logaddexp.reduce(product) - math.log(len(product))
    loss = np.logaddexp(0, -joint).mean() + np.logaddexp(0, product).mean()
    own = joint - np.logaddexp.reduce(scores, axis=1)
    return (
        joint.mean() - log_mean,
        joint.mean() + 1 - np.exp(log_mean),
        math.log(n) + own.mean(),
        _LOG_2 - loss / 2,
    )


def _normals(number: int) -> np.ndarray:
    """The page's own draws for one batch, (2, 256, 20): Mulberry32, counted on, then Box and Muller."""
    size = 2 * MAX_BATCH * MAX_DIMENSION
    counter = np.arange(size, dtype=np.uint64) + np.uint64(number * size + 1)
    state = (counter * np.uint64(0x6D2B79F5)).astype(np.uint32)
    t = (state ^ (state >> 15)) * (state | 1)
    t ^= t + (t ^ (t >> 7)) * (t | 61)
    uniform = ((t ^ (t >> 14)) / 2**32).reshape(-1, 2)
    radius, angle = np.sqrt(-2 * np.log(1 - uniform[:, 0])), 2 * np.pi * uniform[:, 1]
    pairs = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return pairs.reshape(2, MAX_BATCH, MAX_DIMENSION)
