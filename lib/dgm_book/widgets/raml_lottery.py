"""The lottery: how chance, the critic and its temperature weigh the sentences that follow one sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

MOST_SENTENCES = 400  # of all sets
MOST_SUCCESSORS = 40
MAX_BYTES = 200_000  # of all sentences
RANGES = {"p": (0.05, 0.9), "temperature": (0.1, 10.0)}


class RamlLottery(anywidget.AnyWidget):
    """A sentence of a text, and what phase II makes of each of the K sentences after it.

    The one k + 1 places later is drawn with P(k) = p (1 - p)^k. In a batch with each of them once, it weighs
    w_k = softmax_k [(T_k - T_0) / tau - log P(k)], equation (10) of `dgm.papers.mutual_information_lm`.

    ``set`` (a name), ``anchor`` (which of the set's anchors, from 0), ``critic`` (a name; "" for none, where
    T = 0), ``p`` and ``temperature`` follow the reader, and may be set.

    Args:
        sets: One dict a text: ``name``, ``label``, ``texts`` (its sentences in order), ``anchors`` (places in
            it) and ``scores``: for each critic's name one row an anchor, the scores T of the anchor with each
            of the 2 to 40 sentences that follow it. All sets have the same critics, at least one.
        badge: Which profile, data and seed the critics come from.
        p: 0.05 to 0.9.
        temperature: tau, 0.1 to 10.
        title: What stands above the widget.

    Raises:
        ValueError: For a set that lacks something, a name that comes twice, places beyond a text, scores that
            are not finite or do not fit, or a setting out of range.
    """

    _esm = frame.module("pooling.js", "raml_lottery.js")
    _css = frame.style() + (frame.FOLDER / "information.css").read_text("utf-8")

    sets = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    set = traitlets.Unicode().tag(sync=True)
    anchor = traitlets.Int().tag(sync=True)
    critic = traitlets.Unicode().tag(sync=True)
    p = traitlets.Float(0.3).tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)

    def __init__(
        self,
        sets: Sequence[Mapping],
        badge: str = "",
        *,
        p: float = 0.3,
        temperature: float = 1.0,
        title: str = "A lottery: which sentence does a sentence learn from?",
    ) -> None:
        made = [_checked(one) for one in sets]
        self._sets = {one["name"]: one for one in made}
        if not made or len(self._sets) < len(made):
            names = [one["name"] for one in made]
            raise ValueError(f"sets: want at least one, each name once, got {names}")
        critics = [list(one["scores"]) for one in made]
        if any(names != critics[0] for names in critics):
            raise ValueError(f"sets: want the same critics in each, got {critics}")
        texts = [text for one in made for text in one["texts"]]
        size = sum(len(text.encode()) for text in texts)
        if len(texts) > MOST_SENTENCES or size > MAX_BYTES:
            raise ValueError(
                f"sets: {len(texts)} sentences of {size:,} bytes, want at most {MOST_SENTENCES} of "
                f"{MAX_BYTES:,}"
            )
        self._critics = critics[0]
        chosen = {"p": float(p), "temperature": float(temperature), "critic": critics[0][0]}
        super().__init__(title=title, badge=badge, set=made[0]["name"], **chosen)
        self.set_trait("sets", made)

    @traitlets.validate("p", "temperature")
    def _in_range(self, proposal) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = RANGES[name]
        if not low <= value <= high:
            raise ValueError(f"{name}={value}: want {low} to {high}")
        return value

    @traitlets.validate("set")
    def _known_set(self, proposal) -> str:
        if proposal["value"] not in self._sets:
            raise ValueError(f"no set {proposal['value']!r}: there are {list(self._sets)}")
        return proposal["value"]

    @traitlets.validate("anchor")
    def _known_anchor(self, proposal) -> int:
        last = len(self._sets[self.set]["anchors"]) - 1
        if not 0 <= proposal["value"] <= last:
            raise ValueError(f"anchor {proposal['value']} should lie in 0 ... {last}")
        return proposal["value"]

    @traitlets.validate("critic")
    def _known_critic(self, proposal) -> str:
        if proposal["value"] not in ("", *self._critics):
            raise ValueError(f"no critic {proposal['value']!r}: there are {self._critics}")
        return proposal["value"]

    @traitlets.observe("set")
    def _stay_inside(self, change) -> None:
        self.anchor = min(self.anchor, len(self._sets[self.set]["anchors"]) - 1)

    def scores(self) -> np.ndarray:
        """The critic's scores of the anchor with what follows it, (K,)."""
        row = next(iter(self._sets[self.set]["scores"].values()))[self.anchor]
        if not self.critic:
            return np.zeros(len(row))
        return np.array(self._sets[self.set]["scores"][self.critic][self.anchor])

    def log_distance_prob(self) -> np.ndarray:
        """log P(k), (K,) nats."""
        return math.log(self.p) + np.arange(len(self.scores())) * math.log1p(-self.p)

    def weights(self) -> np.ndarray:
        """What each sentence weighs in a batch that holds each once, (K,) summing to one."""
        scores = self.scores()
        bracket = (scores - scores[0]) / self.temperature - self.log_distance_prob()
        weights = np.exp(bracket - bracket.max())
        return weights / weights.sum()

    def shares(self) -> np.ndarray:
        """What each is of the training when it is drawn with P and weighed with w, (K,) summing to one."""
        shares = np.exp(self.log_distance_prob()) * self.weights()
        return shares / shares.sum()

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        now = self._sets[self.set]
        place, weights = now["anchors"][self.anchor], self.weights()
        texts = [_brief(text) for text in now["texts"][place + 1 : place + 1 + len(weights)]]
        figure = Figure(figsize=(7.6, 1.1 + 0.2 * len(weights)), layout="constrained")
        drawn, weighed, average = figure.subplots(1, 3, sharex=True, sharey=True)
        rows = range(len(weights))
        drawn.barh(rows, np.exp(self.log_distance_prob()), color=frame.GREY)
        weighed.barh(rows, weights, color=frame.BLUE)
        average.barh(rows, self.shares(), color=frame.BLUE, hatch="//", edgecolor="white")
        for axes, name in zip(
            (drawn, weighed, average), ("drawn, P(k)", "weight w", "on average"), strict=True
        ):
            axes.set_title(name, fontsize="medium")
            axes.spines[["top", "right"]].set_visible(False)
        drawn.set_yticks(rows, texts, fontsize="small")
        drawn.invert_yaxis()
        figure.suptitle(f"after: {_brief(now['texts'][place], 70)}", fontsize="medium")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        chosen = f"set={self.set!r}, anchor={self.anchor}, critic={self.critic!r}"
        return f"RamlLottery({chosen}, p={self.p:.2f}, temperature={self.temperature:.2g})"


def _brief(text: str, most: int = 34) -> str:
    # Matplotlib reads dollar signs as mathematics.
    return (text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}").replace(
        "$", r"\$"
    )


def _checked(one: Mapping) -> dict:
    lacks = sorted({"name", "label", "texts", "anchors", "scores"} - set(one))
    if lacks:
        raise ValueError(f"set {one.get('name')!r} lacks {lacks}")
    name = str(one["name"])
    texts, anchors = [str(text) for text in one["texts"]], [int(a) for a in one["anchors"]]
    if not anchors or not one["scores"] or "" in one["scores"]:
        raise ValueError(f"set {name!r}: want at least one anchor, and one critic with a name")
    rows = {str(c): [_row(row, name, c) for row in rows] for c, rows in one["scores"].items()}
    counts = [len(row) for row in next(iter(rows.values()))]
    for critic, made in rows.items():
        if len(made) != len(anchors) or [len(row) for row in made] != counts:
            raise ValueError(
                f"scores of {critic!r} in set {name!r}: want a row for each of {len(anchors)} anchors, as "
                f"long for every critic, got {[len(row) for row in made]}"
            )
    for anchor, count in zip(anchors, counts, strict=True):
        if anchor < 0 or anchor + count >= len(texts):
            raise ValueError(
                f"anchor {anchor} of set {name!r} has {count} scores, but its text has {len(texts)} sentences"
            )
    return {
        "name": name,
        "label": str(one["label"]),
        "texts": texts,
        "anchors": anchors,
        "scores": rows,
    }


def _row(row, name: str, critic: str) -> list[float]:
    values = np.asarray(row, float)
    fits = values.ndim == 1 and 2 <= len(values) <= MOST_SUCCESSORS
    if not fits or not np.isfinite(values).all():
        raise ValueError(
            f"scores of {critic!r} in set {name!r}: want 2 to {MOST_SUCCESSORS} finite values for each "
            f"anchor, got shape {values.shape}"
        )
    return [float(f"{v:.6g}") for v in values]
