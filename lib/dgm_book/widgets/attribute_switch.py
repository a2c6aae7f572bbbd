"""Switch in mid-sentence: what is wanted jumps from one vertex to another behind a chosen word."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame
from .sentence_steering import MARGINS, NAMES, check_ladder, draw_sentences
from .text_weights import TextWeights


class AttributeSwitch(anywidget.AnyWidget):
    """A sentence that is rewritten towards one vertex up to a word, and towards another behind it.

    ``example`` (a sentence's number), ``place`` (words before the switch; more than there are counts
    as all) and ``backward`` (from the last vertex to the first) follow the reader, and may be set;
    ``rewritten`` is what the page made of them.

    Args:
        weights: The page's steering model, shared with its other widgets.
        examples: Sentences to pick from.
        badge: Which profile, data and seed the model comes from.
        margins: From large (few words may change) to small (many).
        threshold: Agreement of the model's own reading with the last weights that is enough, in (0, 1].
        names: What the three vertices are called.
        place: Where the switch starts; None is the middle of the first sentence.
        title: What stands above the widget.

    Raises:
        ValueError: For no example, margins that do not fall, a threshold outside (0, 1], not three
            names, an example that does not exist, or a negative place.
    """

    _esm = frame.module("lstm.js", "text_model.js", "text_view.js", "attribute_switch.js")
    _css = frame.style()

    weights = traitlets.Instance(TextWeights).tag(sync=True, **widget_serialization)
    examples = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    names = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    margins = traitlets.List(traitlets.Float(), read_only=True).tag(sync=True)
    threshold = traitlets.Float(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    example = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int().tag(sync=True)
    backward = traitlets.Bool(False).tag(sync=True)
    rewritten = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        weights: TextWeights,
        examples: Sequence[str],
        badge: str = "",
        *,
        margins: Sequence[float] = MARGINS,
        threshold: float = 0.9,
        names: Sequence[str] = NAMES,
        place: int | None = None,
        title: str = "Change your mind in mid-sentence",
    ) -> None:
        check_ladder(examples, margins, threshold)
        if len(names) != 3:
            raise ValueError(f"names {list(names)}: a triangle has three")
        self._n_examples = len(examples)
        middle = len(examples[0].split()) // 2 if place is None else place
        super().__init__(weights=weights, title=title, badge=badge, place=middle)
        self.set_trait("examples", list(examples))
        self.set_trait("names", list(names))
        self.set_trait("margins", [float(m) for m in margins])
        self.set_trait("threshold", float(threshold))

    @traitlets.validate("example")
    def _known_example(self, proposal) -> int:
        if not 0 <= proposal["value"] < self._n_examples:
            raise ValueError(f"example={proposal['value']}: want 0 ... {self._n_examples - 1}")
        return proposal["value"]

    @traitlets.validate("place")
    def _not_negative(self, proposal) -> int:
        if proposal["value"] < 0:
            raise ValueError(f"place={proposal['value']}: want 0 or more words")
        return proposal["value"]

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(7.2, 2.0), layout="constrained")
        draw_sentences(figure.subplots(), self.examples[self.example], self.rewritten)
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"AttributeSwitch(example={self.example}, place={self.place})"
