"""Widgets that rewrite sentences: steering, the switch in mid-sentence, and the cliff."""

from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
import traitlets

from . import checks
from .frame import BookWidget
from .packing import digits, evenly, shared
from .rewriter_weights import RewriterWeights
from .settings import choice, items, number, parts, sent, setting, switch, text, whole, within
from .text_weights import TextWeights

MARGINS = (100.0, 2.0, 1.0, 0.5, 0.2)  # those of `dgm.simplex_steering`
NAMES = ("negative", "neither", "positive")
MAX_LETTERS = 2000  # of a text that is typed
MAX_LOCKED, LONGEST_LOCKED = 200, 100
MAX_EXAMPLES = 20
RANKED = 5  # rewrites to choose from


def _target(widget: Any, name: str, weights: Sequence[float]) -> list[float]:
    values = checks.array(name, weights, "3")
    if values.min() < 0 or abs(values.sum() - 1) > 1e-4:
        raise ValueError(f"{name} {weights}: want three, none negative, that sum to 1")
    return values.tolist()


def _locked(widget: Any, name: str, words: list[str]) -> list[str]:
    checks.span(f"the number of {name}", len(words), 0, MAX_LOCKED)
    if wrong := [word for word in words if not 1 <= len(word) <= LONGEST_LOCKED]:
        raise ValueError(f"{name} {wrong[:1]}: want words of 1 to {LONGEST_LOCKED} characters")
    return words


class SentenceSteering(BookWidget):
    """A reader's sentence, and what trained rewriters make of it: an attribute a tab.

    An attribute has ``name``, ``label``, ``weights`` (a `RewriterWeights` of K vertices: stops of a
    slider, or the three corners of a triangle) and ``examples``: mappings of ``text``, of what it
    ``shows``, and of the ``position`` or ``target`` to go to. The first one's weights come with the
    widget, the others' when their tab is opened.

    ``position`` runs from 0 to 1 along the slider, ``target`` has the weights of the triangle's
    corners, ``locked`` are words that stay, ``alternative`` says which of the ranked rewrites is
    shown, and ``rewritten`` is that.
    """

    _bundle, _link = "sentence_steering", "steering"
    title = text("Steer a sentence")
    weights = shared(RewriterWeights)
    others = sent(traitlets.List).tag(**ipywidgets.widget_serialization)
    attributes = sent()
    attribute = choice(lambda self: [each["name"] for each in self.attributes])
    sentence = text(most=MAX_LETTERS)
    position = number(1.0, 0, 1)
    target = setting(
        traitlets.List(traitlets.Float(), [0.0, 0.0, 1.0]),
        _target,
        items(within("number", 0, 1), 3, 3, total=1),
    )
    locked = setting(
        traitlets.List(traitlets.Unicode()),
        _locked,
        items(within("text", 1, LONGEST_LOCKED), 0, MAX_LOCKED),
    )
    alternative = whole(0, 0, RANKED - 1)
    rewritten = text()

    def __init__(self, attributes: Sequence[Mapping], badge: str = "", **options) -> None:
        described = checks.items("attributes", attributes, "weights examples", _attribute)
        weights, *others = (each["weights"] for each in attributes)
        place = dict(described[0]["examples"][0])
        start = {"attribute": described[0]["name"], "sentence": place.pop("text"), "badge": badge}
        start |= {name: value for name, value in place.items() if name != "shows"}
        fixed = {"attributes": described, "others": others}
        super().__init__(fixed, weights=weights, **start | options)


def _attribute(owner: str, weights: RewriterWeights, examples: Sequence[Mapping]) -> dict[str, Any]:
    checks.span(f"examples of {owner}", len(examples), 1, MAX_EXAMPLES)
    for example in examples:
        checks.keys(f"an example of {owner}", example, ("text", "shows"))
        checks.span(f"the length of an example of {owner}", len(example["text"]), 1, MAX_LETTERS)
        checks.span(f"position of an example of {owner}", example.get("position", 0.0), 0, 1)
        _target(None, f"target of an example of {owner}", example.get("target", [1.0, 0.0, 0.0]))
    return {
        "vertices": list(weights.header["vertices"]),
        "megabytes": len(weights.data) / 1e6,
        "examples": [dict(example) for example in examples],
    }


class AttributeSwitch(BookWidget):
    """A sentence rewritten towards one vertex up to a word, and towards another behind it.

    `margins` fall from large (few words may change) to small; `threshold` in (0, 1] is how far the
    model's own reading has to agree with the target.
    """

    _bundle, _link = "attribute_switch", "midway"
    title = text("Change your mind in mid-sentence")
    weights = shared(TextWeights)
    examples = sent()
    names = sent()
    margins = sent()
    threshold = sent(traitlets.Float)
    rewritten = text()
    example = whole(0, 0, lambda self: len(self.examples) - 1)
    place = whole(0, 0, float("inf"))
    backward = switch()

    def __init__(
        self,
        weights: TextWeights,
        examples: Sequence[str],
        badge: str = "",
        margins: Sequence[float] = MARGINS,
        threshold: float = 0.9,
        **options,
    ) -> None:
        steps = checks.array("margins", margins, "M")
        if (np.diff(steps) >= 0).any():
            raise ValueError(f"margins {list(margins)} should fall from large to small")
        fixed = {
            "margins": steps.tolist(),
            "threshold": checks.positive("threshold", float(threshold), 1),
            "examples": checks.texts("examples", examples),
            "names": list(NAMES),
        }
        start = {"place": len(examples[0].split()) // 2, "badge": badge}
        super().__init__(fixed, weights=weights, **start | options)


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
