"""The pattern bench: points in a plane, lines as units, and the two terms of BRE on their signs."""

from __future__ import annotations

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

MAX_UNITS = 12
WORLD = 1.5  # the plane is [-1.5, 1.5] squared


class PatternBench(anywidget.AnyWidget):
    """Points that the reader drags among random lines, each line a unit that is on at one side.

    ``points``, ``units``, ``margin`` and ``seed`` follow the reader, and may be set;
    ``pre_activations()`` is what the units say of the points at this moment.

    Args:
        points: Where the points start, (K, 2) in [-1.5, 1.5], 2 to 9 of them; None takes eight.
        badge: What stands beside the title.
        title: What stands above the widget.
        units: d, how many lines, 2 to 12.
        margin: c of eta = c / sqrt(d), 0 to 3.
        seed: Of the lines, 0 to 9999.
        zeta: Softness of the signs, above 0.

    Raises:
        ValueError: For points of the wrong shape or outside the plane, or a setting out of range.
    """

    _esm = frame.module("gan.js", "pattern_bench.js")
    _css = frame.style() + (frame.FOLDER / "gan.css").read_text("utf-8")

    points = traitlets.List().tag(sync=True)
    units = traitlets.Int(8, min=2, max=MAX_UNITS).tag(sync=True)
    margin = traitlets.Float(min=0, max=3).tag(sync=True)
    seed = traitlets.Int(min=0, max=9999).tag(sync=True)
    zeta = traitlets.Float(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        points=None,
        badge: str = "",
        *,
        title: str = "What BRE sees: signs",
        units: int = 10,
        margin: float = 1.0,
        seed: int = 0,
        zeta: float = 1e-3,
    ) -> None:
        if not (np.isfinite(zeta) and zeta > 0):
            raise ValueError(f"zeta={zeta}: want a finite number above 0")
        if points is None:
            points = np.random.default_rng(3).uniform(-1.2, 1.2, size=(8, 2)).round(2)
        self._count = len(points)
        super().__init__(
            points=[[float(v) for v in row] for row in _checked(points)],
            badge=badge,
            title=title,
            units=units,
            margin=float(margin),
            seed=seed,
        )
        self.set_trait("zeta", float(zeta))

    @traitlets.validate("points")
    def _in_the_plane(self, proposal) -> list[list[float]]:
        points = _checked(proposal["value"])
        if len(points) != self._count:
            raise ValueError(f"{len(points)} points, the bench was made for {self._count}")
        return points.tolist()

    def lines(self) -> np.ndarray:
        """Return the units as rows (cos t, sin t, b), (d, 3): on where x cos t + y sin t + b > 0."""
        uniform = _mulberry32(self.seed)
        drawn = [(2 * np.pi * next(uniform), 1.4 * next(uniform) - 0.7) for _ in range(self.units)]
        turn, offset = np.array(drawn).T
        return np.stack([np.cos(turn), np.sin(turn), offset], 1)

    def pre_activations(self) -> np.ndarray:
        """Return what each unit says of each point, (K, d)."""
        lines = self.lines()
        return np.asarray(self.points) @ lines[:, :2].T + lines[:, 2]

    def terms(self) -> tuple[float, float]:
        """Return ME and AC of the pre-activations, pairs averaged over i != j."""
        gram, codes = self._gram()
        excess = np.maximum(np.abs(gram) - self.margin / np.sqrt(self.units), 0)
        np.fill_diagonal(excess, 0)
        k = len(codes)
        return float((codes.mean(0) ** 2).mean()), float(excess.sum() / (k * (k - 1)))

    def _gram(self) -> tuple[np.ndarray, np.ndarray]:
        h = self.pre_activations()
        codes = h / (np.abs(h) + self.zeta * np.abs(h).mean())
        return codes @ codes.T / h.shape[1], codes

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(6.8, 3.3), layout="constrained")
        plane, heat = figure.subplots(1, 2)
        for a, b, c in self.lines():
            # The direction of the line, from the point of it that is nearest the origin.
            ends = np.array([[-a * c - 3 * b, -b * c + 3 * a], [-a * c + 3 * b, -b * c - 3 * a]])
            plane.plot(*ends.T, color=frame.GREY, linewidth=0.8)
        plane.plot(*np.array(self.points).T, "o", color=frame.BLUE, markersize=12)
        for number, (x, y) in enumerate(self.points, 1):
            plane.text(x, y, str(number), color="white", ha="center", va="center", fontsize=8)
        plane.set(xlim=(-WORLD, WORLD), ylim=(-WORLD, WORLD), aspect="equal", xticks=[], yticks=[])
        gram, _ = self._gram()
        heat.imshow(np.abs(gram), cmap="Greys", vmin=0, vmax=2)
        numbers = np.arange(len(gram))
        for i in numbers:
            for j in numbers[numbers != i]:
                heat.text(j, i, f"{gram[i, j]:.1f}", ha="center", va="center", fontsize=7)
        heat.set(xticks=numbers, yticks=numbers)
        heat.set(xticklabels=numbers + 1, yticklabels=numbers + 1)
        marginal, correlation = self.terms()
        heat.set_title(f"G; ME = {marginal:.3f}, AC = {correlation:.3f}", fontsize="medium")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"PatternBench(points={self._count}, units={self.units}, seed={self.seed})"


def _checked(points) -> np.ndarray:
    points = np.asarray(points, float)
    if points.ndim != 2 or points.shape[1] != 2 or not 2 <= len(points) <= 9:
        raise ValueError(f"points have shape {points.shape}, should be (K, 2) with K from 2 to 9")
    if not (np.abs(points) <= WORLD).all():
        raise ValueError(f"points should be finite and within [-{WORLD}, {WORLD}]")
    return points


def _mulberry32(seed: int):
    """Yield the page's uniform numbers."""
    state, word = seed, 0xFFFFFFFF
    while True:
        state = (state + 0x6D2B79F5) & word
        t = (state ^ (state >> 15)) * (state | 1) & word
        t ^= (t + ((t ^ (t >> 7)) * (t | 61) & word)) & word
        yield ((t ^ (t >> 14)) & word) / 2**32
