"""The dispersion microscope: features in the plane while encoders with three poolings train."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .checks import in_range, one_of
from .frame import BookWidget
from .packing import check_arrays, check_ascending, check_size

KINDS = {"last": "Last state", "mean": "Mean", "max": "Max"}
MAX_MOMENTS = 16  # of a set; two sets of 400 sentences then suit a page
STATISTICS = ("cosine", "relative", "participation")
MAX_BYTES = 280_000  # of all sets' points, as base64, and texts


class DispersionMicroscope(BookWidget):
    """Three panels of the same sentences' features, one per pooling, with a scrubber over training.

    ``set`` (a name), ``frame`` (which of the recorded moments) and ``highlighted`` (a class, or "")
    follow the reader, and may be set.

    Args:
        sets: One dict per data set: ``name``; ``label``; ``classes``, up to nine, then perhaps
            "other"; ``class_of`` (M,), the class of each sentence; ``texts``, None or M strings,
            None where one may not be shown; and ``frames``, for each of `KINDS` a dict with
            ``steps`` (E,), the same for all, ``points`` (E, M, 2), and `STATISTICS` (E,). Above 16
            moments, an even selection is shown. Each panel has one scale for all moments.
        set: Name of the first set; None takes the first.
        frame: Where the scrubber starts; None is the last moment.
        highlighted: The class in front; "" for none.

    Raises:
        ValueError: For a set that lacks something, arrays that do not fit, a name that comes twice,
            or more than a page should carry.
    """

    sets = traitlets.List(read_only=True).tag(sync=True)
    points = traitlets.Bytes(read_only=True).tag(sync=True)
    set = traitlets.Unicode().tag(sync=True)
    frame = traitlets.Int().tag(sync=True)
    highlighted = traitlets.Unicode().tag(sync=True)

    def __init__(
        self,
        sets: Sequence[Mapping],
        badge: str = "",
        *,
        title: str = "A dispersion microscope: features of the same sentences",
        set: str | None = None,
        frame: int | None = None,
        highlighted: str = "",
    ) -> None:
        described, packed = [], bytearray()
        for data in sets:
            checked, points = _checked(data)
            for panel, values in zip(checked["panels"], points, strict=True):
                panel["start"] = len(packed) // 2
                packed += values.astype("<i2").tobytes()
            described.append(checked)
        self._sets = {data["name"]: data for data in described}
        if not described or len(self._sets) < len(described):
            names = [data["name"] for data in described]
            raise ValueError(f"sets: want at least one, each name once, got {names}")
        words = "".join(text or "" for data in described for text in data["texts"] or [])
        check_size("the points and texts", 4 * len(packed) // 3 + len(words.encode()), MAX_BYTES)
        name = described[0]["name"] if set is None else set
        fixed = {"sets": described, "points": bytes(packed)}
        super().__init__(fixed, title=title, badge=badge, set=name)
        self.frame = len(self._sets[name]["steps"]) - 1 if frame is None else frame
        self.highlighted = highlighted

    _valid_set = one_of("set", lambda self: self._sets)
    _valid_frame = in_range("frame", 0, lambda self: len(self._sets[self.set]["steps"]) - 1)
    _valid_highlighted = one_of("highlighted", lambda self: ("", *self._sets[self.set]["classes"]))

    @traitlets.observe("set")
    def _stay_inside(self, change) -> None:
        now = self._sets[self.set]
        self.frame = min(self.frame, len(now["steps"]) - 1)
        if self.highlighted not in now["classes"]:
            self.highlighted = ""


def _checked(data: Mapping) -> tuple[dict, list[np.ndarray]]:
    """A set as the page reads it, and its panels' points."""
    if lacking := sorted({"name", "label", "classes", "class_of", "frames"} - data.keys()):
        raise ValueError(f"set {data.get('name')!r} lacks {lacking}")
    name, classes = str(data["name"]), [str(word) for word in data["classes"]]
    most = 10 if classes and classes[-1] == "other" else 9
    if not 1 <= len(classes) <= most or len({*classes}) < len(classes) or "" in classes:
        want = "want 1 to 9 names, each once, then 'other' if need be"
        raise ValueError(f"classes of {name!r}: {want}: {classes}")
    class_of = np.asarray(data["class_of"])
    m = len(class_of) if class_of.ndim == 1 else 0
    if m == 0 or not np.issubdtype(class_of.dtype, np.integer):
        raise ValueError(f"class_of of {name!r} should be (M,) whole numbers, one per sentence")
    if class_of.min() < 0 or class_of.max() >= len(classes):
        raise ValueError(f"class_of of {name!r} should lie in 0 ... {len(classes) - 1}")
    texts = data.get("texts")
    if texts is not None and len(texts) != m:
        raise ValueError(f"texts of {name!r}: want None or {m}, one per sentence, got {len(texts)}")
    if data["frames"].keys() != KINDS.keys():
        raise ValueError(f"frames of {name!r}: want {list(KINDS)}, got {list(data['frames'])}")
    steps = [int(step) for step in data["frames"]["last"]["steps"]]
    check_ascending(f"steps of set {name!r}", steps, 1)
    moments = np.linspace(0, len(steps) - 1, min(len(steps), MAX_MOMENTS)).round().astype(int)
    shapes = {"steps": "E", "points": f"E {m} 2", **dict.fromkeys(STATISTICS, "E")}
    panels, points = [], []
    for kind in KINDS:
        owner = f"{kind!r} of set {name!r}"
        arrays = check_arrays(owner, data["frames"][kind], shapes, {"E": len(steps)}, float)
        if arrays.pop("steps").tolist() != steps:
            raise ValueError(f"steps of {owner} should be those of 'last': {steps}")
        panel, values = _panel(**{key: array[moments] for key, array in arrays.items()})
        panels.append({"kind": kind, "label": KINDS[kind], **panel})
        points.append(values)
    checked = {"name": name, "label": str(data["label"]), "classes": classes}
    checked["texts"] = texts and [None if text is None else str(text) for text in texts]
    checked |= {"class_of": class_of.tolist(), "steps": [steps[i] for i in moments]}
    return checked | {"panels": panels}, points


def _panel(points: np.ndarray, **statistics: np.ndarray) -> tuple[dict, np.ndarray]:
    """A panel's statistics and scale, and its points (E, M, 2) in 16 bits."""
    low, high = points.min((0, 1)), points.max((0, 1))
    centre, half = (low + high) / 2, float((high - low).max() / 2) or 1.0
    panel = {key: [float(f"{v:.4g}") for v in values] for key, values in statistics.items()}
    panel |= {"centre": centre.tolist(), "half": half}
    return panel, np.round((points - centre) / half * 32767).astype(np.int16)
