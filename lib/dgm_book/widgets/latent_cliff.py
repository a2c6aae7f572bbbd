"""Walk off the cliff: what a walk through a latent space says, and how far from real codes it leads."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

MEASURES = ("log_mean", "mean_log")
MAX_CODES = 500  # of real sentences, in a histogram
_NEEDED = ("label", "axis", "steps", "sentences", "original", *MEASURES)


class LatentCliff(anywidget.AnyWidget):
    """Walks through latent spaces, each step with its sentence and its place among real codes.

    All is computed beforehand: the page runs no model. Densities are negative logarithms in nats, by
    two measures: ``log_mean``, minus the log of the mean over posteriors, and ``mean_log``, minus
    the mean of their logs. ``source``, ``places`` (a step's number for each model) and ``measure``
    follow the reader, and may be set.

    Args:
        sources: Sentences that the walks start from, words apart by white space.
        models: One dict a model, two at best: ``label``; ``axis``, what the steps count; ``steps``
            (S,) ascending; ``sentences``, for each source S of them; ``log_mean`` and ``mean_log``
            (n_sources, S), of the codes on the way; ``original``, the same two for N codes of real
            sentences, (N,) each; and if known ``reading`` (n_sources, S), how positive each sentence
            reads, ``origin``, the number of the step from which the trail starts (else the one nearest
            to 0), and ``baseline``, True for one drawn in the baseline's colour.
        badge: Which profile, data and seed the models come from.
        title: What stands above the widget.
        measure: "log_mean" or "mean_log".

    Raises:
        ValueError: For no source, a model that lacks something, arrays of the wrong shape or values
            that are not finite, or a place or measure that does not exist.
    """

    _esm = frame.module("text_view.js", "latent_cliff.js")
    _css = frame.style()

    sources = traitlets.List(read_only=True).tag(sync=True)
    models = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    source = traitlets.Int(0).tag(sync=True)
    measure = traitlets.Unicode("log_mean").tag(sync=True)
    places = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(
        self,
        sources: Sequence[str],
        models: Sequence[Mapping],
        badge: str = "",
        title: str = "Walk off the cliff",
        measure: str = "log_mean",
    ) -> None:
        if isinstance(sources, str) or not sources or not models:
            raise ValueError("sources and models: want a list of each, at least one")
        described = [_described(model, len(sources)) for model in models]
        self._steps = [len(model["steps"]) for model in described]
        self._n_sources = len(sources)
        start = [model["origin"] for model in described]
        super().__init__(title=title, badge=badge, measure=measure, places=start)
        self.set_trait("sources", [text.split() for text in sources])
        self.set_trait("models", described)

    @traitlets.validate("source")
    def _known_source(self, proposal) -> int:
        if not 0 <= proposal["value"] < self._n_sources:
            raise ValueError(f"source={proposal['value']}: want 0 ... {self._n_sources - 1}")
        return proposal["value"]

    @traitlets.validate("measure")
    def _known_measure(self, proposal) -> str:
        if proposal["value"] not in MEASURES:
            raise ValueError(f"measure={proposal['value']!r}: want one of {MEASURES}")
        return proposal["value"]

    @traitlets.validate("places")
    def _known_places(self, proposal) -> list[int]:
        places = proposal["value"]
        inside = [0 <= k < n for k, n in zip(places, self._steps, strict=False)]
        if len(places) != len(self._steps) or not all(inside):
            raise ValueError(f"places {places}: want one step each of {self._steps}")
        return places

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(7.2, 3.0), layout="constrained")
        axes = figure.subplots(1, len(self.models), squeeze=False)[0]
        for ax, model, k in zip(axes, self.models, self.places, strict=True):
            ax.hist(model["original"][self.measure], 40, color=frame.GREY, alpha=0.6)
            colour = frame.ORANGE if model["baseline"] else frame.BLUE
            ax.axvline(model[self.measure][self.source][k], color=colour, linewidth=2)
            said = textwrap.fill(" ".join(model["sentences"][self.source][k])[:150], 36)
            ax.set_title(f"{model['label']}\n{said}", fontsize="medium")
            ax.set(xlabel="negative log density, nats", yticks=[])
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        labels = [model["label"] for model in self.models]
        return f"LatentCliff(sources={len(self.sources)}, models={labels})"


def _described(model: Mapping, n_sources: int) -> dict:
    missing = [key for key in _NEEDED if key not in model]
    if missing:
        raise ValueError(f"a model lacks {missing}")
    label, steps = model["label"], np.asarray(model["steps"], float)
    if steps.ndim != 1 or len(steps) < 2 or (np.diff(steps) <= 0).any():
        raise ValueError(f"steps of {label!r} should be two or more ascending values")
    shape = n_sources, len(steps)
    sentences = [[said.split() for said in row] for row in model["sentences"]]
    if [len(row) for row in sentences] != [len(steps)] * n_sources:
        raise ValueError(f"sentences of {label!r} should be {n_sources} lists of {len(steps)}")
    told = {key: _numbers(model[key], f"{key} of {label!r}", shape) for key in MEASURES}
    if model.get("reading") is not None:
        told["reading"] = _numbers(model["reading"], f"reading of {label!r}", shape)
    original = {}
    for key in MEASURES:
        values = np.sort(np.asarray(model["original"][key], float))
        kept = np.unique(np.linspace(0, len(values) - 1, min(len(values), MAX_CODES)).astype(int))
        original[key] = _numbers(values[kept], f"original {key} of {label!r}", (len(kept),))
        if not original[key]:
            raise ValueError(f"original {key} of {label!r} is empty")
    origin = int(model.get("origin", np.abs(steps).argmin()))
    if not 0 <= origin < len(steps):
        raise ValueError(f"origin {origin} of {label!r}: want 0 ... {len(steps) - 1}")
    return {
        "label": label,
        "axis": model["axis"],
        "steps": steps.tolist(),
        "tick": [f"{step:.3g}".replace("-", "−") for step in steps],
        "origin": origin,
        "baseline": bool(model.get("baseline", False)),
        "sentences": sentences,
        "original": original,
        **told,
    }


def _numbers(values, name: str, shape: tuple) -> list:
    array = np.asarray(values, float)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} should be finite, of shape {shape}, got shape {array.shape}")
    return np.vectorize(lambda x: float(f"{x:.6g}"), otypes=[float])(array).tolist()
