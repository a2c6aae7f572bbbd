"""The influence ruler: how far each word moves a sentence's code, under each way of pooling."""

from collections.abc import Sequence

import traitlets

from .pooling_weights import PoolingWeights, SentenceWidget


class InfluenceRuler(SentenceWidget):
    """A sentence, and for each of its words how far the code moves when the word is left out.

    The code is the posterior mean, its distances in standard deviations of the prior; the page
    computes what `dgm.papers.pooling_vae.influence` does. ``sentence`` and ``own_scale`` follow the
    reader, and may be set; ``influences`` is the page's result, by kind of pooling.

    Args:
        weights: The page's encoders, shared with its other widgets.
        examples: Sentences to pick from; the reader starts at the first.
        own_scale: Whether each encoder's longest bar is as long as the others'.

    Raises:
        ValueError: For no example, an empty one, or more than 100.
    """

    own_scale = traitlets.Bool().tag(sync=True)
    influences = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        weights: PoolingWeights,
        examples: Sequence[str],
        badge: str = "",
        *,
        own_scale: bool = False,
        title: str = "Which words move the code?",
    ) -> None:
        options = {"title": title, "badge": badge, "own_scale": own_scale}
        super().__init__(weights, examples, **options)
