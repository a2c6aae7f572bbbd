"""The dispersion microscope: sentences' features in the plane while encoders with three poolings train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame as parts

KINDS = ("last", "mean", "max")
MAX_MOMENTS = 16  # of a set; two sets of 400 sentences then suit a page
STATISTICS = ("cosine", "relative", "participation")
MAX_BYTES = 280_000  # of all sets' points, as base64, and texts
# By class, as the page has them; the last is for "other".
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9",
    "#B8A800", "#000000", "#8B5A2B", "#D55E00", "#7f7f7f",
)  # fmt: skip
_LABELS = {"last": "Last state", "mean": "Mean", "max": "Max"}


class DispersionMicroscope(anywidget.AnyWidget):
    """Three panels of the same sentences' features, one a pooling, with a scrubber over training.

    ``set`` (a name), ``frame`` (which of the recorded moments) and ``highlighted`` (a class, or "")
    follow the reader, and may be set.

    Args:
        sets: One dict a data set: ``name``; ``label``; ``classes``, up to nine, such as last words,
            after which "other" may come; ``class_of`` (M,), the class of each sentence; ``texts``, None or M
            strings, None where one may not be shown; and ``frames``, which holds for each of "last",
            "mean" and "max" a dict with ``steps`` (E,), ascending and the same for all three,
            ``points`` (E, M, 2), and the dispersion's ``cosine``, ``relative`` and ``participation``
            (E,). Above 16 moments, an even selection is shown, with the first and the last. Points are
            kept in 16 bits, each panel at one scale for the whole of training.
        badge: Which profile, data and seeds the features come from.
        title: What stands above the widget.
        set: Name of the first set; None takes the first.
        frame: Where the scrubber starts; None is the last moment.
        highlighted: The class in front; "" for none.

    Raises:
        ValueError: For a set that lacks something, arrays that do not fit together or are not finite,
            a name that comes twice, or more than a page should carry.
    """

    _esm = parts.module("pooling.js", "dispersion_microscope.js")
    _css = parts.style() + (parts.FOLDER / "pooling.css").read_text("utf-8")

    sets = traitlets.List(read_only=True).tag(sync=True)
    points = traitlets.Bytes(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
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
        for one in sets:
            made, points = _checked(one)
            for panel, kind in zip(made["panels"], points, strict=True):
                panel["start"] = len(packed) // 2
                packed += kind.astype("<i2").tobytes()
            described.append(made)
        self._sets = {one["name"]: one for one in described}
        if not described or len(self._sets) < len(described):
            names = [one["name"] for one in described]
            raise ValueError(f"sets: want at least one, each name once, got {names}")
        words = [text for one in described for text in one["texts"] or [] if text]
        size = 4 * len(packed) // 3 + sum(len(text.encode()) for text in words)
        if size > MAX_BYTES:
            raise ValueError(
                f"points and texts have {size:,} bytes, at most {MAX_BYTES:,} suit a page: "
                "give fewer sentences or sets"
            )
        name = described[0]["name"] if set is None else set
        super().__init__(title=title, badge=badge, set=name)
        self.set_trait("sets", described)
        self.set_trait("points", bytes(packed))
        self.frame = len(self._sets[name]["steps"]) - 1 if frame is None else frame
        self.highlighted = highlighted

    @traitlets.validate("set")
    def _known_set(self, proposal) -> str:
        if proposal["value"] not in self._sets:
            raise ValueError(f"no set {proposal['value']!r}: there are {list(self._sets)}")
        return proposal["value"]

    @traitlets.validate("frame")
    def _known_frame(self, proposal) -> int:
        last = len(self._sets[self.set]["steps"]) - 1
        if not 0 <= proposal["value"] <= last:
            raise ValueError(f"frame {proposal['value']} should lie in 0 ... {last}")
        return proposal["value"]

    @traitlets.validate("highlighted")
    def _known_class(self, proposal) -> str:
        classes = self._sets[self.set]["classes"]
        if proposal["value"] not in ("", *classes):
            raise ValueError(f"no class {proposal['value']!r}: there are {classes}")
        return proposal["value"]

    @traitlets.observe("set")
    def _stay_inside(self, change) -> None:
        now = self._sets[self.set]
        self.frame = min(self.frame, len(now["steps"]) - 1)
        if self.highlighted not in now["classes"]:
            self.highlighted = ""

    def at(self, kind: str, frame: int | None = None) -> np.ndarray:
        """Return the points (M, 2) of one panel as the page has them, at ``frame`` or where it stands."""
        now = self._sets[self.set]
        panel = now["panels"][KINDS.index(kind)]
        m, e = len(now["class_of"]), self.frame if frame is None else frame
        start = panel["start"] + 2 * m * e
        small = np.frombuffer(self.points, "<i2")[start : start + 2 * m].reshape(m, 2)
        return small / 32767 * panel["half"] + panel["centre"]

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        now = self._sets[self.set]
        labels = np.array(now["class_of"])
        figure = Figure(figsize=(7.6, 3.2), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(KINDS)), now["panels"], strict=True):
            points = self.at(panel["kind"])
            for number, name in enumerate(now["classes"]):
                other = name == "other" and number == len(now["classes"]) - 1
                aside = self.highlighted not in ("", name)
                axes.plot(
                    *points[labels == number].T,
                    "os^Dv"[0 if other else number % 5],
                    color=COLOURS[9 if other else number],
                    alpha=0.15 if aside else 0.5 if other else 0.9,
                    markersize=2.5,
                    label=name,
                )
            reach, middle = 1.04 * panel["half"], panel["centre"]
            axes.set(xlim=(middle[0] - reach, middle[0] + reach), aspect="equal")
            axes.set(ylim=(middle[1] - reach, middle[1] + reach), xticks=[], yticks=[])
            axes.set_title(_LABELS[panel["kind"]], fontsize="medium")
            told = [f"{name} {panel[name][self.frame]:.3g}" for name in STATISTICS]
            axes.set_xlabel("\n".join(told), fontsize="small")
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=10, fontsize="small")
        figure.suptitle(f"{now['label']}, step {now['steps'][self.frame]:,}", fontsize="medium")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return parts.with_poster(super()._repr_mimebundle_(**kwargs), parts.png(self.poster()))

    def __repr__(self) -> str:
        return (
            f"DispersionMicroscope(sets={list(self._sets)}, set={self.set!r}, frame={self.frame})"
        )


def _checked(one: Mapping) -> tuple[dict, list[np.ndarray]]:
    lacks = sorted({"name", "label", "classes", "class_of", "frames"} - {*one})
    if lacks:
        raise ValueError(f"set {one.get('name')!r} lacks {lacks}")
    name, classes = str(one["name"]), [str(word) for word in one["classes"]]
    most = 10 if classes and classes[-1] == "other" else 9
    if not 1 <= len(classes) <= most or len({*classes}) < len(classes) or "" in classes:
        raise ValueError(
            f"classes of {name!r}: want 1 to 9 names, each once, then 'other' if need be: {classes}"
        )
    class_of = np.asarray(one["class_of"])
    m = len(class_of) if class_of.ndim == 1 else 0
    if m == 0 or not np.issubdtype(class_of.dtype, np.integer):
        raise ValueError(f"class_of of {name!r} should be (M,) whole numbers, one a sentence")
    if class_of.min() < 0 or class_of.max() >= len(classes):
        raise ValueError(f"class_of of {name!r} should lie in 0 ... {len(classes) - 1}")
    texts = one.get("texts")
    if texts is not None and len(texts) != m:
        raise ValueError(f"texts of {name!r}: want None or {m}, one a sentence, got {len(texts)}")
    if {*one["frames"]} != {*KINDS}:
        raise ValueError(f"frames of {name!r}: want {list(KINDS)}, got {list(one['frames'])}")
    steps = [int(step) for step in one["frames"]["last"]["steps"]]
    kept = np.linspace(0, len(steps) - 1, min(len(steps), MAX_MOMENTS)).round().astype(int)
    panels, points = zip(
        *(_panel(name, kind, one["frames"][kind], steps, m, kept) for kind in KINDS), strict=True
    )
    told = None if texts is None else [None if text is None else str(text) for text in texts]
    made = {"name": name, "label": str(one["label"]), "classes": classes, "texts": told}
    made |= {
        "class_of": class_of.tolist(),
        "steps": [steps[i] for i in kept],
        "panels": list(panels),
    }
    return made, list(points)


def _panel(
    name: str, kind: str, moments: Mapping, steps: list[int], m: int, kept: np.ndarray
) -> tuple[dict, np.ndarray]:
    lacks = sorted({"steps", "points", *STATISTICS} - {*moments})
    if lacks:
        raise ValueError(f"{kind!r} of set {name!r} lacks {lacks}")
    if (
        [int(step) for step in moments["steps"]] != steps
        or (np.diff(steps) <= 0).any()
        or not steps
    ):
        raise ValueError(
            f"steps of {kind!r} of set {name!r} should ascend and be those of 'last': {steps}"
        )
    points = np.asarray(moments["points"], float)
    if points.shape != (len(steps), m, 2) or not np.isfinite(points).all():
        raise ValueError(
            f"points of {kind!r} of set {name!r} have shape {points.shape}, "
            f"should be ({len(steps)}, {m}, 2), and finite"
        )
    panel = {"kind": kind, "label": _LABELS[kind]}
    for key in STATISTICS:
        values = np.asarray(moments[key], float)
        if values.shape != (len(steps),) or not np.isfinite(values).all():
            raise ValueError(
                f"{key} of {kind!r} of set {name!r} should be {len(steps)} finite values, one a step"
            )
        panel[key] = [float(f"{v:.4g}") for v in values[kept]]
    points = points[kept]
    low, high = points.min((0, 1)), points.max((0, 1))
    centre, half = (low + high) / 2, float((high - low).max() / 2) or 1.0
    panel |= {"centre": centre.tolist(), "half": half}
    return panel, np.round((points - centre) / half * 32767).astype(np.int16)
