"""Switch in mid-sentence: the target jumps from one vertex to another behind a chosen word."""

from collections.abc import Sequence

import traitlets

from .checks import in_range
from .sentence_steering import RewritingWidget
from .text_weights import TextWeights


class AttributeSwitch(RewritingWidget):
    """A sentence that is rewritten towards one vertex up to a word, and towards another behind it.

    ``example`` (a sentence's number), ``place`` (words before the switch; more than there are
    counts as all) and ``backward`` (from the last vertex to the first) follow the reader, and may
    be set; ``rewritten`` is what the page made of them.

    Args:
        weights: The page's steering model, shared with its other widgets.
        examples: Sentences to pick from.
        place: Where the switch starts; None is the middle of the first sentence.
        options: Margins, threshold and names, as of `RewritingWidget`.

    Raises:
        ValueError: For an example that does not exist, a negative place, or what `RewritingWidget`
            refuses.
    """

    example = traitlets.Int(0).tag(sync=True)
    place = traitlets.Int().tag(sync=True)
    backward = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        weights: TextWeights,
        examples: Sequence[str],
        badge: str = "",
        *,
        place: int | None = None,
        title: str = "Change your mind in mid-sentence",
        **options,
    ) -> None:
        if place is None:
            place = len(examples[0].split()) // 2 if examples else 0
        super().__init__(weights, examples, title=title, badge=badge, place=place, **options)

    _valid_example = in_range("example", 0, lambda self: len(self.examples) - 1)
    _valid_place = in_range("place", 0, float("inf"))
