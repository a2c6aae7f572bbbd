"""The influence ruler: how far each word moves a sentence's code, under each way of pooling."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame
from .pooling_weights import KINDS, PoolingWeights, check_examples

MAX_CHARACTERS = 2000
PARTS = ("lstm.js", "text_model.js", "text_view.js", "pooling_model.js")
STYLE = frame.style() + (frame.FOLDER / "pooling_model.css").read_text("utf-8")


class InfluenceRuler(anywidget.AnyWidget):
    """A sentence, and for each of its words how far the code moves when the word is left out.

    The code is the posterior mean, its distances in standard deviations of the prior; the page computes
    what `dgm.papers.pooling_vae.influence` does. ``sentence`` and ``own_scale`` follow the reader, and may
    be set; ``moved`` is what the page made of them: for each kind of pooling one number a word.

    Args:
        weights: The page's encoders, shared with its other widgets.
        examples: Sentences to pick from, words apart by spaces; the first is where the reader starts.
        badge: Which profile, data and seed the encoders come from.
        own_scale: Whether each encoder's longest bar is as long as the others'.
        title: What stands above the widget.

    Raises:
        ValueError: For no example, an empty one, or more than 100.
    """

    _esm = frame.module(*PARTS, "influence_ruler.js")
    _css = STYLE

    weights = traitlets.Instance(PoolingWeights).tag(sync=True, **widget_serialization)
    examples = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    sentence = traitlets.Unicode().tag(sync=True)
    own_scale = traitlets.Bool().tag(sync=True)
    moved = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        weights: PoolingWeights,
        examples: Sequence[str],
        badge: str = "",
        *,
        own_scale: bool = False,
        title: str = "Which words move the code?",
    ) -> None:
        kept = check_examples(examples)
        options = {"sentence": kept[0], "own_scale": own_scale}
        super().__init__(weights=weights, title=title, badge=badge, **options)
        self.set_trait("examples", kept)

    @traitlets.validate("sentence")
    def _short(self, proposal) -> str:
        return check_sentence(proposal["value"])

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        tokens = self.weights.encode(self.sentence)
        words = self.sentence.lower().split()[: len(tokens) - 2]
        kinds = self.weights.kinds
        found = {kind: self.weights.influence(kind, tokens) for kind in kinds}
        figure = Figure(figsize=(7.2, 0.9 + 0.24 * max(4, len(words))), layout="constrained")
        panels = figure.subplots(
            1, len(kinds), squeeze=False, sharey=True, sharex=not self.own_scale
        )
        for axes, (kind, moved) in zip(panels[0], found.items(), strict=True):
            places = range(len(words))
            color = frame.ORANGE if kind == "last" else frame.BLUE
            axes.barh(places, moved, color=color, height=0.6)
            axes.set_title(KINDS[kind], fontsize=10)
            axes.set_yticks(places, words)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0][0].invert_yaxis()
        figure.supxlabel("the code moves by, prior standard deviations", fontsize=9)
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"InfluenceRuler(sentence={self.sentence!r}, own_scale={self.own_scale})"


def check_sentence(sentence: str) -> str:
    """Return the sentence; raise a ValueError where it is longer than a reader may type."""
    if len(sentence) > MAX_CHARACTERS:
        raise ValueError(f"sentence: want at most {MAX_CHARACTERS} characters")
    return sentence
