"""Widgets that rewrite sentences: steering, the switch in mid-sentence, and the cliff."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from . import checks
from .frame import BookWidget
from .packing import digits, evenly, shared
from .settings import choice, items, parts, sent, setting, switch, text, whole, within
from .text_weights import TextWeights

MAX_POINTS = 600
MARGINS = (100.0, 2.0, 1.0, 0.5, 0.2)  # those of `dgm.simplex_steering`
NAMES = ("negative", "neither", "positive")


def _target(widget: Any, name: str, weights: Sequence[float]) -> list[float]:
    values = checks.array(name, weights, "3")
    if values.min() < 0 or abs(values.sum() - 1) > 1e-4:
        raise ValueError(f"{name} {weights}: want three, none negative, that sum to 1")
    return values.tolist()


class RewritingWidget(BookWidget):
    """The base of the widgets that rewrite sentences in the page.

    `margins` fall from large (few words may change) to small; `threshold` in (0, 1] is how far the
    model's own reading has to agree with the target.
    """

    weights = shared(TextWeights)
    examples = sent()
    names = sent()
    margins = sent()
    threshold = sent(traitlets.Float)
    rewritten = text()

    def __init__(
        self, weights: TextWeights, examples: Sequence[str], fixed: Mapping = {}, **traits
    ) -> None:
        margins, threshold = traits.pop("margins", MARGINS), traits.pop("threshold", 0.9)
        steps = checks.array("margins", margins, "M")
        if (np.diff(steps) >= 0).any():
            raise ValueError(f"margins {list(margins)} should fall from large to small")
        ladder = {
            "margins": steps.tolist(),
            "threshold": checks.positive("threshold", float(threshold), 1),
            "examples": checks.texts("examples", examples),
            "names": list(NAMES),
        }
        super().__init__({**ladder, **fixed}, weights=weights, **traits)


class SentenceSteering(RewritingWidget):
    """A sentence, a triangle of three ways to say it, and the sentence said that way.

    ``target`` is three weights that sum to one, ``effort`` how many of the margins may be tried;
    `points` (N, 3) are readings of other sentences, with labels 0, 1 or another, (N,).
    """

    _bundle, _link = "sentence_steering", "steering"
    title = text("Steer a sentence")
    points = sent(traitlets.Bytes)
    point_labels = sent(traitlets.Bytes)
    sentence = text(most=2000)
    target = setting(
        traitlets.List(traitlets.Float(), [0.0, 0.0, 1.0]),
        _target,
        items(within("number", 0, 1), 3, 3, total=1),
    )
    effort = whole(0, 1, lambda self: len(self.margins))

    def __init__(
        self, weights: TextWeights, examples, points=None, point_labels=None, badge="", **options
    ) -> None:
        places = np.zeros((0, 3)) if points is None else checks.array("points", points, "N 3")
        n = len(places)
        labels = np.full(n, -1) if point_labels is None else np.asarray(point_labels)
        if labels.shape != (n,):
            raise ValueError(f"point_labels have shape {labels.shape}, should be ({n},)")
        marks, shown = np.where((labels == 0) | (labels == 1), labels, 2), evenly(n, MAX_POINTS)
        fixed = {
            "points": places[shown].astype("<f4").tobytes(),
            "point_labels": marks[shown].astype(np.uint8).tobytes(),
        }
        start = {"effort": len(options.get("margins", MARGINS)), "badge": badge}
        start["sentence"] = examples[0] if examples else ""
        super().__init__(weights, examples, fixed, **start | options)


class AttributeSwitch(RewritingWidget):
    """A sentence rewritten towards one vertex up to a word, and towards another behind it."""

    _bundle, _link = "attribute_switch", "midway"
    title = text("Change your mind in mid-sentence")
    example = whole(0, 0, lambda self: len(self.examples) - 1)
    place = whole(0, 0, float("inf"))
    backward = switch()

    def __init__(self, weights: TextWeights, examples: Sequence[str], badge="", **options) -> None:
        place = len(examples[0].split()) // 2 if examples else 0
        super().__init__(weights, examples, **{"place": place, "badge": badge, **options})


MEASURES = ("log_mean", "mean_log")
MAX_CODES = 500  # of real sentences, in a histogram


def _places(widget: Any, name: str, places: list[int]) -> list[int]:
    steps = [len(model["steps"]) for model in widget.models]
    inside = [0 <= k < n for k, n in zip(places, steps, strict=False)]
    if len(places) != len(steps) or not all(inside):
        raise ValueError(f"{name} {places}: want one step each of {steps}")
    return places


class LatentCliff(BookWidget):
    """Walks through latent spaces, each step with its sentence and its place among real codes.

    All is computed beforehand. A model has ``label``, ``axis``, ``steps`` (S,) ascending,
    ``sentences``, S for each source; negative log densities in nats ``log_mean`` and ``mean_log``
    (n_sources, S), the same two in ``original``, (N,); perhaps ``reading`` (n_sources, S),
    ``origin``, the step that the trail starts from, and ``baseline``.
    """

    _bundle, _link = "latent_cliff", "cliff"
    title = text("Walk off the cliff")
    sources = sent()
    models = sent()
    source = whole(0, 0, lambda self: len(self.sources) - 1)
    measure = choice(MEASURES, "log_mean")
    places = setting(
        traitlets.List(traitlets.Int()),
        _places,
        lambda self: parts(*(within("whole", 0, len(m["steps"]) - 1) for m in self.models)),
    )

    def __init__(
        self, sources: Sequence[str], models: Sequence[Mapping], badge: str = "", **chosen
    ) -> None:
        words = [line.split() for line in checks.texts("sources", sources)]
        described = [_described(model, len(sources)) for model in models]
        if not described:
            raise ValueError("models: want at least one")
        chosen = {"places": [model["origin"] for model in described], "badge": badge, **chosen}
        super().__init__({"sources": words, "models": described}, **chosen)


def _described(model: Mapping, n_sources: int) -> dict:
    needed = ("label", "axis", "steps", "sentences", "original", *MEASURES)
    checks.keys(f"model {model.get('label')!r}", model, needed)
    label = model["label"]
    steps = checks.ascending(f"steps of {label!r}", model["steps"], low=-np.inf)
    sentences = [[line.split() for line in row] for row in model["sentences"]]
    if [len(row) for row in sentences] != [len(steps)] * n_sources:
        raise ValueError(f"sentences of {label!r} should be {n_sources} lists of {len(steps)}")
    tables = {key: model[key] for key in (*MEASURES, "reading") if model.get(key) is not None}
    shapes = dict.fromkeys(tables, (n_sources, len(steps)))
    tables = checks.arrays(repr(label), tables, shapes, dtype=float)
    shapes = {"log_mean": "N", "mean_log": "M"}
    codes = checks.arrays(f"original of {label!r}", model["original"], shapes, dtype=float)
    origin = int(model.get("origin", np.abs(steps).argmin()))
    return {
        "label": label,
        "axis": model["axis"],
        "steps": steps.tolist(),
        "tick": [f"{step:.3g}".replace("-", "−") for step in steps],
        "origin": checks.span(f"origin of {label!r}", origin, 0, len(steps) - 1),
        "baseline": bool(model.get("baseline", False)),
        "sentences": sentences,
        "original": {
            key: digits(np.sort(values)[evenly(len(values), MAX_CODES)], 6)
            for key, values in codes.items()
        },
        **{key: digits(values, 6) for key, values in tables.items()},
    }
