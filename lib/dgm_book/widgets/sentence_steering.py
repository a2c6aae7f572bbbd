"""Steer a sentence: it is rewritten in the page as the reader moves over the simplex."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame
from .text_weights import TextWeights

MAX_POINTS = 600
MAX_CHARACTERS = 2000
MARGINS = (100.0, 2.0, 1.0, 0.5, 0.2)  # those of `dgm.steering`
NAMES = ("negative", "neither", "positive")


class SentenceSteering(anywidget.AnyWidget):
    """A sentence, a triangle of three ways to say it, and the sentence said that way.

    ``sentence``, ``target`` (three weights that sum to one) and ``effort`` (how many of the margins
    may be tried) follow the reader, and may be set; ``rewritten`` is what the page made of them.

    Args:
        weights: The page's steering model, shared with its other widgets.
        examples: Sentences to pick from; the first is where the reader starts.
        points: Where the model reads other sentences, (N, 3) weights, drawn into the triangle; above
            600, an even selection.
        point_labels: (N,) whole numbers: 0 for the first vertex, 1 for the last, anything else for no
            label.
        badge: Which profile, data and seed the model comes from.
        margins: From large (few words may change) to small (many); the reader's slider cuts the
            list short.
        threshold: Agreement of the model's own reading with the target that is enough, in (0, 1].
        names: What the three vertices are called.
        target: Where the reader starts.
        title: What stands above the widget.

    Raises:
        ValueError: For no example, margins that do not fall, a threshold outside (0, 1], a target
            that is no point of the simplex, or points and labels that do not fit.
    """

    _esm = frame.module("lstm.js", "text_model.js", "text_view.js", "sentence_steering.js")
    _css = frame.style()

    weights = traitlets.Instance(TextWeights).tag(sync=True, **widget_serialization)
    examples = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    margins = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)
    threshold = traitlets.Float(read_only=True).tag(sync=True)
    points = traitlets.Bytes(read_only=True).tag(sync=True)
    point_labels = traitlets.Bytes(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
    target = traitlets.List(traitlets.Float(), [0.0, 0.0, 1.0]).tag(sync=True)
    effort = traitlets.Int().tag(sync=True)
    rewritten = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        weights: TextWeights,
        examples: Sequence[str],
        points=None,
        point_labels=None,
        badge: str = "",
        *,
        margins: Sequence[float] = MARGINS,
        threshold: float = 0.9,
        names: Sequence[str] = NAMES,
        target: tuple[float, float, float] = (0.0, 0.0, 1.0),
        title: str = "Steer a sentence",
    ) -> None:
        check_ladder(examples, margins, threshold)
        if len(names) != 3:
            raise ValueError(f"names {list(names)}: a triangle has three")
        places, labels = _checked_points(points, point_labels)
        self._n_margins = len(margins)
        start = {"sentence": examples[0], "target": [float(w) for w in target]}
        super().__init__(weights=weights, title=title, badge=badge, effort=len(margins), **start)
        self.set_trait("examples", list(examples))
        self.set_trait("names", list(names))
        self.set_trait("margins", [float(m) for m in margins])
        self.set_trait("threshold", float(threshold))
        self.set_trait("points", places.astype("<f4").tobytes())
        self.set_trait("point_labels", labels.tobytes())

    @traitlets.validate("sentence")
    def _short(self, proposal) -> str:
        if len(proposal["value"]) > MAX_CHARACTERS:
            raise ValueError(f"sentence: want at most {MAX_CHARACTERS} characters")
        return proposal["value"]

    @traitlets.validate("target")
    def _on_the_simplex(self, proposal) -> list[float]:
        check_target(proposal["value"])
        return proposal["value"]

    @traitlets.validate("effort")
    def _one_of_the_margins(self, proposal) -> int:
        if not 1 <= proposal["value"] <= self._n_margins:
            raise ValueError(f"effort={proposal['value']}: want 1 ... {self._n_margins}")
        return proposal["value"]

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
        made = self.rewritten or self.weights.golden_rewrite(self.sentence, self.target)
        draw_sentences(left, self.sentence, made)
        corners = np.array([[0, 0], [0.5, np.sqrt(0.75)], [1, 0]])
        right.fill(*corners.T, fill=False, color=frame.GREY)
        places = np.frombuffer(self.points, "<f4").reshape(-1, 3) @ corners
        labels = np.frombuffer(self.point_labels, np.uint8)
        for label, mark in enumerate("v^o"):
            right.plot(*places[labels == label].T, mark, color=frame.GREY, markersize=2, alpha=0.6)
        right.plot(
            *(self.target @ corners), "o", color=frame.BLUE, markersize=11, fillstyle="none", mew=2
        )
        for name, (x, y), side in zip(self.names, corners, ("top", "bottom", "top"), strict=True):
            right.text(x, y + (0.05 if side == "bottom" else -0.05), name, ha="center", va=side)
        right.set(aspect="equal", xlim=(-0.2, 1.2), ylim=(-0.2, 1.05))
        right.axis("off")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"SentenceSteering(sentence={self.sentence!r}, target={self.target})"


def check_ladder(examples: Sequence[str], margins: Sequence[float], threshold: float) -> None:
    """Check what every widget that rewrites needs.

    Args:
        examples: Sentences.
        margins: From large to small.
        threshold: Agreement that is enough.

    Raises:
        ValueError: For no sentence, one without words, margins that do not fall or a threshold
            outside (0, 1].
    """
    if isinstance(examples, str) or not examples or not all(e.split() for e in examples):
        raise ValueError("examples: want a list of sentences, at least one, none empty")
    if not len(margins) or (np.diff(margins) >= 0).any() or not np.isfinite(margins).all():
        raise ValueError(f"margins {list(margins)} should fall from large to small")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold}: want more than 0, at most 1")


def check_target(weights: Sequence[float]) -> None:
    """Raise a ValueError unless the weights are a point of the simplex."""
    inside = len(weights) == 3 and np.isfinite(weights).all() and min(weights) >= 0
    if not inside or abs(sum(weights) - 1) > 1e-4:
        raise ValueError(f"weights {list(weights)}: want three, none negative, that sum to 1")


def draw_sentences(axes, sentence: str, rewritten: str | None) -> None:
    """Write a sentence and, large and blue beneath it, what became of it."""
    axes.axis("off")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    made = rewritten or "(the rewritten sentence: in the interactive page)"
    options = {"fontsize": 17 if rewritten else 11, "color": frame.BLUE, "va": "center"}
    axes.text(0, 0.62, textwrap.fill(made[:200], 30), **options)
    written = textwrap.fill(f"from: {sentence[:200]}", 50)
    axes.text(0, 0.22, written, color="#555555", va="center")


def _checked_points(points, labels) -> tuple[np.ndarray, np.ndarray]:
    places = np.zeros((0, 3)) if points is None else np.asarray(points, np.float32)
    if places.ndim != 2 or places.shape[1] != 3 or not np.isfinite(places).all():
        raise ValueError(f"points have shape {places.shape}, should be (N, 3), all finite")
    labels = np.full(len(places), -1) if labels is None else np.asarray(labels)
    if labels.shape != places.shape[:1]:
        raise ValueError(f"point_labels have shape {labels.shape}, should be ({len(places)},)")
    n = len(places)
    # An even selection keeps the proportions whatever the order.
    kept = np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(int))
    marks = np.where((labels == 0) | (labels == 1), labels, 2)
    return places[kept], marks[kept].astype(np.uint8)
