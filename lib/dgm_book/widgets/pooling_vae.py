"""Widgets of pooled sentence encoders: the race, the microscope, the ruler and the slider."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from . import checks
from .frame import BookWidget
from .packing import check_size, digits, shared
from .settings import choice, items, number, sent, setting, switch, text, whole
from .text_weights import PoolingWeights

GROUPS = ("plain", "fix", "pooling", "control")  # the plain model, a known remedy, ...
MEASURES = ("log_likelihood", "kl", "information", "reconstruction", "active_units")
SHOWN = ("plain", "annealing", "free bits", "aggressive", "mean", "max")


class PoolingRace(BookWidget):
    """Three charts of how runs fare while they train, with a scrubber over the training.

    A run has ``name``, ``label``, ``group`` (of `GROUPS`) and ``measured``, rows with ``seconds``
    and ``step``, ascending, and those of `MEASURES` that are known.
    """

    _bundle, _link = "pooling_race", "training"
    title = text("A race: likelihood, KL and information while models train")
    runs = sent()
    time = number(1.0, 0, 1)
    highlighted = choice(lambda self: ("", *self._names))
    shown = setting(
        traitlets.List(),
        lambda self, name, shown: checks.distinct(name, shown, self._names),
        lambda self: items({"kind": "choice", "choices": self._names}, 0, len(self._names)),
    )
    axis = choice(("seconds", "steps"), "seconds")

    def __init__(self, runs: Sequence[Mapping], badge: str = "", **chosen) -> None:
        checked = checks.items("runs", runs, "group measured", _run)
        self._names = names = [run["name"] for run in checked]
        shown = [name for name in names if name in SHOWN] or names[:6]
        super().__init__({"runs": checked}, **{"badge": badge, "shown": shown, **chosen})


def _run(owner: str, group: str, measured: Sequence[Mapping]) -> dict:
    """A run as the page reads it: a list per measure, rounded to seven digits."""
    columns = {"group": checks.choice(f"group of {owner}", group, GROUPS)}
    for row in measured:
        checks.keys(f"a row of {owner}", row, ("seconds", "step"))
    for key in ("seconds", "step"):
        values = [row[key] for row in measured]
        columns[key] = digits(checks.ascending(f"{key} of {owner}", values, 1), 6)
    for key in MEASURES:
        values = np.array([np.nan if (v := row.get(key)) is None else v for row in measured], float)
        if np.isinf(values).any():
            raise ValueError(f"{key} of {owner} is infinite in row {np.isinf(values).argmax()}")
        columns[key] = [None if np.isnan(v) else v for v in digits(values, 7)]
    return columns


KINDS = {"last": "Last state", "mean": "Mean", "max": "Max"}
MAX_MOMENTS = 16  # of a set; two sets of 400 sentences then suit a page
STATISTICS = ("cosine", "relative", "participation")
MAX_BYTES = 280_000  # of all sets' points, as base64, and texts


class DispersionMicroscope(BookWidget):
    """Three panels of the same sentences' features, one per pooling, with a scrubber over training.

    A set has ``name``, ``label``, ``classes`` (up to nine, then perhaps "other"), ``class_of``
    (M,), ``texts`` (M, or None), and ``frames``: for each of `KINDS` ``steps`` (E,), the same for
    all, ``points`` (E, M, 2) and `STATISTICS` (E,). Above 16 moments, an even selection is shown.
    """

    _bundle, _link = "dispersion_microscope", "microscope"
    title = text("A dispersion microscope: features of the same sentences")
    sets = sent()
    points = sent(traitlets.Bytes)
    set = choice(lambda self: self._sets)
    frame = whole(0, 0, lambda self: len(self._sets[self.set]["steps"]) - 1)
    highlighted = choice(lambda self: ("", *self._sets[self.set]["classes"]))

    def __init__(self, sets: Sequence[Mapping], badge: str = "", **chosen) -> None:
        packed, needed = bytearray(), "classes texts class_of frames"
        described = checks.items("sets", sets, needed, functools.partial(_set, packed))
        self._sets = {data["name"]: data for data in described}
        words = "".join(line or "" for data in described for line in data["texts"] or [])
        check_size("the points and texts", 4 * len(packed) // 3 + len(words.encode()), MAX_BYTES)
        chosen = {"set": described[0]["name"], "badge": badge, **chosen}
        checks.choice("set", chosen["set"], self._sets)
        chosen.setdefault("frame", len(self._sets[chosen["set"]]["steps"]) - 1)
        super().__init__({"sets": described, "points": bytes(packed)}, **chosen)

    @traitlets.observe("set")
    def _stay_inside(self, change) -> None:
        now = self._sets[self.set]
        self.frame = min(self.frame, len(now["steps"]) - 1)
        if self.highlighted not in now["classes"]:
            self.highlighted = ""


def _set(packed: bytearray, owner: str, classes, texts, class_of, frames) -> dict[str, Any]:
    """A set as the page reads it; its panels' points are appended in 16 bits."""
    classes, class_of = [str(word) for word in classes], np.asarray(class_of)
    most = 10 if classes and classes[-1] == "other" else 9
    if not 1 <= len(classes) <= most or len({*classes}) < len(classes) or "" in classes:
        want = "want 1 to 9 names, each once, then 'other' if need be"
        raise ValueError(f"classes of {owner}: {want}: {classes}")
    m = len(class_of) if class_of.ndim == 1 else 0
    if m == 0 or not np.issubdtype(class_of.dtype, np.integer):
        raise ValueError(f"class_of of {owner} should be (M,) whole numbers, one per sentence")
    if class_of.min() < 0 or class_of.max() >= len(classes):
        raise ValueError(f"class_of of {owner} should lie in 0 ... {len(classes) - 1}")
    if texts is not None and len(texts) != m:
        raise ValueError(f"texts of {owner}: want None or {m}, one per sentence, got {len(texts)}")
    if frames.keys() != KINDS.keys():
        raise ValueError(f"frames of {owner}: want {list(KINDS)}, got {list(frames)}")
    steps = [int(step) for step in frames["last"]["steps"]]
    checks.ascending(f"steps of {owner}", steps, 1)
    moments = np.linspace(0, len(steps) - 1, min(len(steps), MAX_MOMENTS)).round().astype(int)
    shapes = {"steps": "E", "points": f"E {m} 2", **dict.fromkeys(STATISTICS, "E")}
    panels = []
    for kind, label in KINDS.items():
        part = f"{kind!r} of {owner}"
        arrays = checks.arrays(part, frames[kind], shapes, {"E": len(steps)}, float)
        if arrays["steps"].tolist() != steps:
            raise ValueError(f"steps of {part} should be those of 'last': {steps}")
        points = arrays["points"][moments]
        low, high = points.min((0, 1)), points.max((0, 1))
        centre, half = (low + high) / 2, float((high - low).max() / 2) or 1.0
        panel = {key: digits(arrays[key][moments], 4) for key in STATISTICS}
        panel |= {"centre": centre.tolist(), "half": half, "start": len(packed) // 2}
        panels.append({"kind": kind, "label": label, **panel})
        packed += np.round((points - centre) / half * 32767).astype("<i2").tobytes()
    texts = texts and [None if line is None else str(line) for line in texts]
    shown = {"classes": classes, "texts": texts, "class_of": class_of.tolist()}
    return shown | {"steps": [steps[i] for i in moments], "panels": panels}


class SentenceWidget(BookWidget):
    """The base of widgets that read a sentence, typed or one of at most 100 examples."""

    weights = shared(PoolingWeights)
    examples = sent()
    sentence = text(most=2000)

    def __init__(
        self, weights: PoolingWeights, examples: Sequence[str], badge="", fixed=None, **chosen
    ) -> None:
        fixed = {"examples": checks.texts("examples", examples, most=100)} | (fixed or {})
        chosen = {"sentence": examples[0], "badge": badge, **chosen}
        super().__init__(fixed, weights=weights, **chosen)


class InfluenceRuler(SentenceWidget):
    """A sentence, and for each of its words how far the code moves when the word is left out."""

    _bundle, _link = "influence_ruler", "ruler"
    title = text("Which words move the code?")
    own_scale = switch()
    influences = setting(traitlets.Dict())


# Between the slider's ends, which are the mean (infinite) and the maximum (zero) themselves.
TEMPERATURES = np.geomspace(10, 0.001, 99)


class TemperatureSlider(SentenceWidget):
    """How much each word counts in tau log mean exp(h / tau), and how far apart sentences lie.

    A word's weight is the mean over units j of d s_j / d h_tj; ``position`` 100 is the maximum.
    """

    _bundle, _link = "pooling_temperature", "pooling"
    title = text("From mean to maximum")
    temperatures = sent()
    kind = choice(lambda self: self.weights.names)
    position = whole(60, 0, 100)

    def __init__(
        self, weights: PoolingWeights, examples: Sequence[str], badge: str = "", **chosen
    ) -> None:
        # One sentence has no dispersion.
        checks.span("the number of examples", len(examples), 2, float("inf"))
        fixed = {"temperatures": digits(TEMPERATURES, 4)}
        super().__init__(weights, examples, badge, fixed, **{"kind": weights.names[0], **chosen})
