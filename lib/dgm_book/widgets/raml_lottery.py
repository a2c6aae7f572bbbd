"""The lottery: how chance, the critic and its temperature weigh the successors of a sentence."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .checks import in_range, one_of
from .frame import BookWidget
from .packing import check_arrays

MOST_SENTENCES, MAX_BYTES = 400, 200_000  # of all sets
MOST_SUCCESSORS = 40


class RamlLottery(BookWidget):
    """A sentence of a text, and what phase II makes of each of the K sentences after it.

    The one k + 1 places later is drawn with P(k) = p (1 - p)^k. In a batch with each of them once,
    it weighs w_k = softmax_k [(T_k - T_0) / tau - log P(k)], equation (10) of
    `dgm.papers.mutual_information_lm`.

    ``set`` (a name), ``anchor`` (which of the set's anchors, from 0), ``critic`` (a name; "" for
    none, where T = 0), ``p`` and ``temperature`` follow the reader, and may be set.

    Args:
        sets: One dict per text: ``name``, ``label``, ``texts`` (its sentences in order),
            ``anchors`` (A places in it) and ``scores``: for each critic's name (A, K), the scores T
            of each anchor with the 2 to 40 sentences that follow it. All sets have the same
            critics, at least one.
        p: 0.05 to 0.9.
        temperature: tau, 0.1 to 10.

    Raises:
        ValueError: For a set that lacks something, a name that comes twice, places beyond a text,
            scores that are not finite or do not fit, or a setting out of range.
    """

    title = traitlets.Unicode("A lottery: which sentence does a sentence learn from?").tag(
        sync=True
    )
    sets = traitlets.List(read_only=True).tag(sync=True)
    set = traitlets.Unicode().tag(sync=True)
    anchor = traitlets.Int().tag(sync=True)
    critic = traitlets.Unicode().tag(sync=True)
    p = traitlets.Float(0.3).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)

    def __init__(self, sets: Sequence[Mapping], badge: str = "", **chosen) -> None:
        checked = [_checked(given) for given in sets]
        names = [given["name"] for given in checked]
        if not names or len(dict.fromkeys(names)) < len(names):
            raise ValueError(f"sets: want at least one, each name once, got {names}")
        critics = [list(given["scores"]) for given in checked]
        if any(others != critics[0] for others in critics):
            raise ValueError(f"sets: want the same critics in each, got {critics}")
        texts = [text for given in checked for text in given["texts"]]
        size = sum(len(text.encode()) for text in texts)
        if len(texts) > MOST_SENTENCES or size > MAX_BYTES:
            raise ValueError(
                f"sets: {len(texts)} sentences of {size:,} bytes, want at most {MOST_SENTENCES} of "
                f"{MAX_BYTES:,}"
            )
        chosen = {"set": names[0], "critic": critics[0][0], "badge": badge, **chosen}
        super().__init__({"sets": checked}, **chosen)

    def _chosen(self) -> dict:
        return next(given for given in self.sets if given["name"] == self.set)

    _valid_p = in_range("p", 0.05, 0.9)
    _valid_temperature = in_range("temperature", 0.1, 10.0)
    _valid_set = one_of("set", lambda self: [given["name"] for given in self.sets])
    _valid_anchor = in_range("anchor", 0, lambda self: len(self._chosen()["anchors"]) - 1)
    _valid_critic = one_of("critic", lambda self: ["", *self.sets[0]["scores"]])

    @traitlets.observe("set")
    def _stay_inside(self, change) -> None:
        self.anchor = min(self.anchor, len(self._chosen()["anchors"]) - 1)


def _checked(given: Mapping) -> dict:
    lacks = sorted({"name", "label", "texts", "anchors", "scores"} - given.keys())
    if lacks:
        raise ValueError(f"set {given.get('name')!r} lacks {lacks}")
    owner, texts = f"set {given['name']!r}", [str(text) for text in given["texts"]]
    anchors = [int(anchor) for anchor in given["anchors"]]
    if not anchors or not given["scores"] or "" in given["scores"]:
        raise ValueError(f"{owner}: want at least one anchor, and one critic with a name")
    sizes = {"A": len(anchors)}
    shapes = dict.fromkeys(given["scores"], "A K")
    scores = check_arrays(f"scores of {owner}", given["scores"], shapes, sizes, np.float64)
    if not 2 <= sizes["K"] <= MOST_SUCCESSORS:
        raise ValueError(f"scores of {owner}: want 2 to {MOST_SUCCESSORS} for each anchor")
    if min(anchors) < 0 or max(anchors) + sizes["K"] >= len(texts):
        raise ValueError(
            f"{owner}: anchors {anchors} have {sizes['K']} scores each, but its text has "
            f"{len(texts)} sentences"
        )
    rows = {name: [[float(f"{v:.6g}") for v in row] for row in x] for name, x in scores.items()}
    labels = {"name": str(given["name"]), "label": str(given["label"])}
    return {**labels, "texts": texts, "anchors": anchors, "scores": rows}
