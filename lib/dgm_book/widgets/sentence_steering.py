"""Steer a sentence: it is rewritten in the page as the reader moves over the simplex."""

from collections.abc import Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from .checks import in_range
from .frame import BookWidget
from .text_weights import TextWeights

MAX_POINTS = 600
MAX_CHARACTERS = 2000
MARGINS = (100.0, 2.0, 1.0, 0.5, 0.2)  # those of `dgm.steering`
NAMES = ("negative", "neither", "positive")


class RewritingWidget(BookWidget):
    """The base of the widgets that rewrite sentences in the page.

    Args:
        weights: The page's steering model, shared with its other widgets.
        examples: Sentences to pick from.
        margins: From large (few words may change) to small (many).
        threshold: Agreement of the model's own reading with the target that is enough, in (0, 1].
        names: What the three vertices are called.
        fixed: Values of further read-only traits.
        traits: Values of the other traits.

    Raises:
        ValueError: For no example or one without words, margins that do not fall, a threshold
            outside (0, 1], or not three names.
    """

    weights = traitlets.Instance(TextWeights).tag(sync=True, **widget_serialization)
    examples = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    margins = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)
    threshold = traitlets.Float(read_only=True).tag(sync=True)
    rewritten = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        weights: TextWeights,
        examples: Sequence[str],
        *,
        margins: Sequence[float] = MARGINS,
        threshold: float = 0.9,
        names: Sequence[str] = NAMES,
        fixed: dict | None = None,
        **traits,
    ) -> None:
        if isinstance(examples, str) or not examples or not all(e.split() for e in examples):
            raise ValueError("examples: want a list of sentences, at least one, none empty")
        if not len(margins) or (np.diff(margins) >= 0).any() or not np.isfinite(margins).all():
            raise ValueError(f"margins {list(margins)} should fall from large to small")
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold}: want more than 0, at most 1")
        if len(names) != 3:
            raise ValueError(f"names {list(names)}: a triangle has three")
        ladder = {"margins": [float(m) for m in margins], "threshold": float(threshold)}
        ladder |= {"examples": list(examples), "names": list(names)}
        super().__init__({**ladder, **(fixed or {})}, weights=weights, **traits)


class SentenceSteering(RewritingWidget):
    """A sentence, a triangle of three ways to say it, and the sentence said that way.

    ``sentence``, ``target`` (three weights that sum to one) and ``effort`` (how many of the margins
    may be tried) follow the reader, and may be set; ``rewritten`` is what the page made of them.

    Args:
        weights: The page's steering model, shared with its other widgets.
        examples: Sentences to pick from; the first is where the reader starts.
        points: Where the model reads other sentences, (N, 3) weights, drawn into the triangle;
            above 600, an even selection.
        point_labels: (N,) whole numbers: 0 for the first vertex, 1 for the last, else no label.
        target: Where the reader starts.
        options: Margins, threshold and names, as of `RewritingWidget`.

    Raises:
        ValueError: For a target that is no point of the simplex, points and labels that do not fit,
            or what `RewritingWidget` refuses.
    """

    points = traitlets.Bytes(read_only=True).tag(sync=True)
    point_labels = traitlets.Bytes(read_only=True).tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
    target = traitlets.List(traitlets.Float(), [0.0, 0.0, 1.0]).tag(sync=True)
    effort = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        weights: TextWeights,
        examples: Sequence[str],
        points=None,
        point_labels=None,
        badge: str = "",
        *,
        target: Sequence[float] = (0.0, 0.0, 1.0),
        title: str = "Steer a sentence",
        **options,
    ) -> None:
        places, labels = _checked_points(points, point_labels)
        super().__init__(
            weights,
            examples,
            fixed={"points": places, "point_labels": labels},
            title=title,
            badge=badge,
            effort=len(options.get("margins", MARGINS)),
            sentence=examples[0] if examples else "",
            target=[float(w) for w in target],
            **options,
        )

    @traitlets.validate("sentence")
    def _short(self, proposal) -> str:
        if len(proposal["value"]) > MAX_CHARACTERS:
            raise ValueError(f"sentence: want at most {MAX_CHARACTERS} characters")
        return proposal["value"]

    @traitlets.validate("target")
    def _on_the_simplex(self, proposal) -> list[float]:
        weights = proposal["value"]
        inside = len(weights) == 3 and np.isfinite(weights).all() and min(weights) >= 0
        if not inside or abs(sum(weights) - 1) > 1e-4:
            raise ValueError(f"target {weights}: want three, none negative, that sum to 1")
        return weights

    _valid_effort = in_range("effort", 1, lambda self: len(self.margins))


def _checked_points(points, labels) -> tuple[bytes, bytes]:
    places = np.zeros((0, 3)) if points is None else np.asarray(points, np.float32)
    if places.ndim != 2 or places.shape[1] != 3 or not np.isfinite(places).all():
        raise ValueError(f"points have shape {places.shape}, should be (N, 3), all finite")
    n = len(places)
    labels = np.full(n, -1) if labels is None else np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"point_labels have shape {labels.shape}, should be ({n},)")
    # An even selection keeps the proportions whatever the order.
    shown = np.unique(np.linspace(0, n - 1, min(n, MAX_POINTS)).astype(int))
    marks = np.where((labels == 0) | (labels == 1), labels, 2)
    return places[shown].astype("<f4").tobytes(), marks[shown].astype(np.uint8).tobytes()
