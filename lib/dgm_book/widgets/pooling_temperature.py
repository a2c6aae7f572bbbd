"""The temperature slider: log-sum-exp pooling on its way from the mean to the maximum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame
from .influence_ruler import PARTS, STYLE, check_sentence
from .pooling_weights import KINDS, PoolingWeights, check_examples

# Between the slider's ends, which are the mean (infinite) and the maximum (zero) themselves.
TEMPERATURES = np.geomspace(10, 0.001, 99)


class TemperatureSlider(anywidget.AnyWidget):
    """How much each word counts in tau log mean exp(h / tau), and how far apart sentences come to lie.

    tau is that of `dgm.nets.pooling.pool`: an infinite one gives the mean, zero the maximum. A word's
    weight is the mean over units j of d s_j / d h_tj; the dispersion is that of the examples' features.
    ``sentence``, ``kind`` (whose states are pooled) and ``position`` (0 is the mean, 100 the maximum)
    follow the reader, and may be set.

    Args:
        weights: The page's encoders, shared with its other widgets.
        examples: Sentences, words apart by spaces: to pick from, and whose dispersion is shown; the first is
            where the reader starts.
        badge: Which profile, data and seed the encoders come from.
        kind: The encoder to start with; None takes the first.
        position: Where the slider starts.
        title: What stands above the widget.

    Raises:
        ValueError: For less than two examples, an empty one, or more than 100, an encoder that the
            weights do not have, or a position that is not from 0 to 100.
    """

    _esm = frame.module(*PARTS, "pooling_temperature.js")
    _css = STYLE

    weights = traitlets.Instance(PoolingWeights).tag(sync=True, **widget_serialization)
    examples = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    temperatures = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
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
        kept = check_examples(examples)
        if len(kept) < 2:
            raise ValueError("examples: want at least two, one sentence has no dispersion")
        self._kinds = weights.kinds
        start = {"kind": kind or weights.kinds[0], "position": position, "sentence": kept[0]}
        super().__init__(weights=weights, title=title, badge=badge, **start)
        self.set_trait("examples", kept)
        self.set_trait("temperatures", [float(f"{t:.4g}") for t in TEMPERATURES])

    @property
    def temperature(self) -> float:
        """tau where the slider stands: infinite at the mean, 0 at the maximum."""
        return [math.inf, *self.temperatures, 0.0][self.position]

    @traitlets.validate("sentence")
    def _short(self, proposal) -> str:
        return check_sentence(proposal["value"])

    @traitlets.validate("kind")
    def _known(self, proposal) -> str:
        if proposal["value"] not in self._kinds:
            raise ValueError(f"kind={proposal['value']!r}: the weights have {self._kinds}")
        return proposal["value"]

    @traitlets.validate("position")
    def _on_the_slider(self, proposal) -> int:
        if not 0 <= proposal["value"] <= 100:
            raise ValueError(f"position={proposal['value']}: want 0 (mean) to 100 (maximum)")
        return proposal["value"]

    def poster(self) -> Figure:
        """Draw the words' weights here and at both ends, for pages that cannot run the widget."""
        tokens = self.weights.encode(self.sentence)
        words = ["start", *self.sentence.lower().split()[: len(tokens) - 2], "end"]
        h = self.weights.states(self.kind, tokens)
        shown = {"mean": math.inf, f"τ = {self.temperature:.3g}": self.temperature, "maximum": 0.0}
        figure = Figure(figsize=(7.2, 0.9 + 0.24 * len(words)), layout="constrained")
        for axes, (name, temperature) in zip(
            figure.subplots(1, 3, sharex=True, sharey=True), shown.items(), strict=True
        ):
            axes.barh(range(len(words)), shares(h, temperature), color=frame.BLUE, height=0.6)
            axes.axvline(1 / len(words), color=frame.GREY, lw=0.8, ls="--")
            axes.set_title(name, fontsize=10)
            axes.set_yticks(range(len(words)), words)
            axes.spines[["top", "right"]].set_visible(False)
        axes.invert_yaxis()
        figure.supxlabel(f"weight of each word, encoder: {KINDS[self.kind]}", fontsize=9)
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"TemperatureSlider(kind={self.kind!r}, temperature={self.temperature:.3g})"


def shares(h: np.ndarray, temperature: float) -> np.ndarray:
    """Return how much each of the states (T, H) counts, (T,), summing to one.

    Args:
        h: States.
        temperature: tau of tau log mean exp(h / tau); infinite for the mean, 0 for the maximum.
    """
    if temperature == 0:
        return np.bincount(h.argmax(0), minlength=len(h)) / h.shape[1]
    odds = np.exp((h - h.max(0)) / temperature)
    return (odds / odds.sum(0)).mean(1)
