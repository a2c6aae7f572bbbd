"""The storyteller: two language models write on from one opening, with the same random numbers."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame
from .language_weights import LanguageWeights

MAX_CHARACTERS = 200  # of an opening
LOWEST, HIGHEST = 0.2, 2.0  # temperature
STYLE = frame.style() + (frame.FOLDER / "language.css").read_text("utf-8")
# Of a topic, on paper; the names stand beside them.
TOPICS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8B5A2B", "#B8A800")


class Storyteller(anywidget.AnyWidget):
    """Two models of a page write on from an opening, sentence by sentence, each with its topic.

    A story is a function of ``opening``, ``temperature`` and ``seed``, which follow the reader and may be
    set; "Write on" takes the next seed. The page writes what `LanguageWeights.write` does: a word is
    drawn with a number that belongs to its place, the same for all models. ``written`` is what the page
    made: for each model its lines, the first of which starts with the opening.

    Args:
        weights: The page's models, shared with its other widgets; one or two are shown, the first as the
            baseline.
        themes: For each topic its words; a sentence is about the topic most of its theme words are of.
        openings: Starts to pick from, words apart by spaces; the start of a text can always be picked.
        curves: ``distances`` (D,), ``exact`` (D,): mutual information of two sentences of the data, nats;
            ``models``: for each of the weights' models ``mean``, ``low`` and ``high`` (D,), that of what
            it writes at temperature 1; ``stay``: how often neighbours of the data share their topic.
        badge: Which profile, data and seeds the models and curves come from.
        opening: Where the reader starts; None takes the first of the openings.
        temperature: 0.2 to 2, of the slider.
        n_sentences: Of a story, 2 to 40.
        title: What stands above the widget.

    Raises:
        ValueError: For more than two models or eight themes, a word of two themes, no opening or one that
            is too long, curves that do not fit the models or each other, or options out of range.
    """

    _esm = frame.module("lstm.js", "pooling.js", "language_model.js", "storyteller.js")
    _css = STYLE

    weights = traitlets.Instance(LanguageWeights).tag(sync=True, **widget_serialization)
    themes = traitlets.List(read_only=True).tag(sync=True)
    openings = traitlets.List(traitlets.Unicode(), read_only=True).tag(sync=True)
    curves = traitlets.Dict(read_only=True).tag(sync=True)
    n_sentences = traitlets.Int(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    opening = traitlets.Unicode().tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    written = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        weights: LanguageWeights,
        themes: Mapping[str, Sequence[str]],
        openings: Sequence[str],
        curves: Mapping,
        badge: str = "",
        *,
        opening: str | None = None,
        temperature: float = 1.0,
        n_sentences: int = 12,
        title: str = "Does the story stay with its topic?",
    ) -> None:
        if len(weights.names) > 2:
            raise ValueError(f"{len(weights.names)} models: want one or two side by side")
        if not 2 <= n_sentences <= 40:
            raise ValueError(f"n_sentences={n_sentences}: want 2 to 40")
        if isinstance(openings, str) or not openings or not all(o.split() for o in openings):
            raise ValueError("openings: want a list of texts, at least one, none empty")
        kept = [_short(text) for text in openings]
        made = _checked_themes(themes)
        self._topic = {word: k for k, (_, words) in enumerate(made) for word in words}
        checked = _checked_curves(curves, weights.names)
        start = {"opening": kept[0] if opening is None else opening, "temperature": temperature}
        super().__init__(weights=weights, title=title, badge=badge, **start)
        given = {"themes": made, "openings": kept, "curves": checked, "n_sentences": n_sentences}
        for name, value in given.items():
            self.set_trait(name, value)

    @traitlets.validate("opening")
    def _short_opening(self, proposal) -> str:
        return _short(proposal["value"])

    @traitlets.validate("temperature")
    def _within(self, proposal) -> float:
        if not LOWEST <= proposal["value"] <= HIGHEST:
            raise ValueError(f"temperature={proposal['value']}: want {LOWEST} to {HIGHEST}")
        return proposal["value"]

    @traitlets.validate("seed")
    def _seed_within(self, proposal) -> int:
        if not 0 <= proposal["value"] < 2**20:
            raise ValueError(f"seed={proposal['value']}: want 0 to 2^20 - 1")
        return proposal["value"]

    def topic(self, sentence: str) -> int:
        """Return the topic of most of a sentence's theme words, counted from 0; -1 for none, or a tie."""
        counts = [0] * len(self.themes)
        for word in sentence.split():
            if word in self._topic:
                counts[self._topic[word]] += 1
        most = max(counts)
        return counts.index(most) if most and counts.count(most) == 1 else -1

    def story(self) -> dict[str, list[str]]:
        """Return the lines that each model writes now; the first starts with the opening."""
        words = words_of(self.opening)
        told = {}
        for name in self.weights.names:
            found = self.weights.write(
                name, self.weights.encode(words), self.n_sentences, self.seed, self.temperature
            )
            lines = [[self.weights.tokens[token] for token in ids] for ids in found]
            lines[0] = words + lines[0]
            told[name] = [" ".join(line) for line in lines]
        return told

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        told = self.story()
        figure = Figure(figsize=(7.6, 5.4), layout="constrained")
        above, below = figure.subfigures(2, 1, height_ratios=[0.2 + 0.17 * self.n_sentences, 2])
        panels = above.subplots(1, len(told), squeeze=False)[0]
        for axes, (name, lines) in zip(panels, told.items(), strict=True):
            axes.set_axis_off()
            axes.set_ylim(self.n_sentences, -1)
            axes.text(0, -0.4, name, weight="bold", fontsize=9, in_layout=False)
            for i, line in enumerate(lines):
                topic = self.topic(line)
                about = self.themes[topic][0] if topic >= 0 else "no topic"
                color = TOPICS[topic] if topic >= 0 else frame.GREY
                looks = {"fontsize": 7, "in_layout": False, "parse_math": False}
                axes.text(0, i + 0.7, about, color=color, weight="bold", **looks)
                axes.text(0.18, i + 0.7, line if len(line) < 44 else f"{line[:42]}…", **looks)
        axes = below.subplots()
        distances = self.curves["distances"]
        axes.plot(distances, self.curves["exact"], "ko-", markersize=4, label="the data, exact")
        looks = zip(told, ("s--", "^-"), (frame.ORANGE, frame.BLUE), strict=False)
        for i, (name, line, color) in enumerate(looks):
            curve = self.curves["models"][name]
            axes.fill_between(distances, curve["low"], curve["high"], color=color, alpha=0.2)
            # The dashes above, so that they show on a line that they lie on.
            style = {"color": color, "markersize": 4, "zorder": 3 - i}
            axes.plot(distances, curve["mean"], line, label=name, **style)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("distance, sentences")
        axes.set_ylabel("mutual information, nats", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize="small")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        told = f"opening={self.opening!r}, temperature={self.temperature}, seed={self.seed}"
        return f"Storyteller({told})"


def words_of(text: str) -> list[str]:
    """Return what a reader types as words: lower case, without punctuation."""
    text = text.lower()
    marks = "".join({c for c in text if unicodedata.category(c)[0] == "M"})  # \w holds none
    letter = rf"(?:[^\W_]|[{marks}])" if marks else r"[^\W_]"
    return re.findall(rf"{letter}+(?:['\u2019-]{letter}+)*", text)


def _short(opening: str) -> str:
    if len(opening) > MAX_CHARACTERS:
        raise ValueError(f"opening: want at most {MAX_CHARACTERS} characters, got {len(opening)}")
    return opening


def _checked_themes(themes: Mapping[str, Sequence[str]]) -> list[list]:
    made = [[str(name), list(words)] for name, words in themes.items()]
    if not 1 <= len(made) <= len(TOPICS):
        raise ValueError(f"{len(made)} themes: want 1 to {len(TOPICS)}")
    words = [word for _, mine in made for word in mine]
    if len(set(words)) < len(words) or not all(mine for _, mine in made):
        raise ValueError("themes: want at least one word each, and no word twice")
    return made


def _checked_curves(curves: Mapping, names: list[str]) -> dict:
    if lacks := sorted({"distances", "exact", "models", "stay"} - set(curves)):
        raise ValueError(f"curves lack {lacks}")
    if set(curves["models"]) != set(names):
        raise ValueError(f"curves of {list(curves['models'])}: want those of the models {names}")
    distances = np.asarray(curves["distances"], float)
    if distances.ndim != 1 or len(distances) < 2 or (np.diff([0, *distances]) <= 0).any():
        raise ValueError(f"distances {distances}: want at least two that ascend from above 0")

    def values(label: str, given) -> list[float]:
        array = np.asarray(given, float)
        if array.shape != distances.shape or not np.isfinite(array).all():
            raise ValueError(f"{label}: want {len(distances)} finite values, got {given}")
        return [float(f"{v:.6g}") for v in array]

    models = {}
    for name in names:
        given = curves["models"][name]
        if lacks := sorted({"mean", "low", "high"} - set(given)):
            raise ValueError(f"the curve of {name!r} lacks {lacks}")
        models[name] = {k: values(f"{k} of {name!r}", given[k]) for k in ("mean", "low", "high")}
        if not (np.less_equal(models[name]["low"], models[name]["high"])).all():
            raise ValueError(f"the curve of {name!r}: low should not lie above high")
    stay = float(curves["stay"])
    if math.isnan(stay) or not 0 <= stay <= 1:
        raise ValueError(f"stay={stay}: want a share from 0 to 1")
    exact = values("exact", curves["exact"])
    return {"distances": distances.tolist(), "exact": exact, "models": models, "stay": stay}
