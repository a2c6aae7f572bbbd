"""Walk off the cliff: what a walk through a latent space says, and how far out it leads."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .checks import in_range, one_of
from .frame import BookWidget
from .packing import check_arrays

MEASURES = ("log_mean", "mean_log")
MAX_CODES = 500  # of real sentences, in a histogram
_NEEDED = ("label", "axis", "steps", "sentences", "original", *MEASURES)


class LatentCliff(BookWidget):
    """Walks through latent spaces, each step with its sentence and its place among real codes.

    All is computed beforehand: the page runs no model. Densities are negative logarithms in nats,
    by two measures: ``log_mean``, minus the log of the mean over posteriors, and ``mean_log``,
    minus the mean of their logs. ``source``, ``places`` (a step's number for each model) and
    ``measure`` follow the reader, and may be set.

    Args:
        sources: Sentences that the walks start from, words apart by white space.
        models: One dict a model, two at best: ``label``; ``axis``, what the steps count; ``steps``
            (S,) ascending; ``sentences``, for each source S of them; ``log_mean`` and ``mean_log``
            (n_sources, S), of the codes on the way; ``original``, the same two for N codes of real
            sentences, (N,) each; and if known ``reading`` (n_sources, S), how positive each
            sentence reads, ``origin``, the number of the step from which the trail starts (else the
            one nearest to 0), and ``baseline``, True for one drawn in the baseline's colour.
        measure: "log_mean" or "mean_log".

    Raises:
        ValueError: For no source, a model that lacks something, arrays of the wrong shape or values
            that are not finite, or a place or measure that does not exist.
    """

    sources = traitlets.List(read_only=True).tag(sync=True)
    models = traitlets.List(read_only=True).tag(sync=True)
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
        super().__init__(
            {"sources": [text.split() for text in sources], "models": described},
            title=title,
            badge=badge,
            measure=measure,
            places=[model["origin"] for model in described],
        )

    _valid_source = in_range("source", 0, lambda self: len(self.sources) - 1)
    _valid_measure = one_of("measure", MEASURES)

    @traitlets.validate("places")
    def _known_places(self, proposal) -> list[int]:
        places, steps = proposal["value"], [len(model["steps"]) for model in self.models]
        inside = [0 <= k < n for k, n in zip(places, steps, strict=False)]
        if len(places) != len(steps) or not all(inside):
            raise ValueError(f"places {places}: want one step each of {steps}")
        return places


def _described(model: Mapping, n_sources: int) -> dict:
    lacking = [key for key in _NEEDED if key not in model]
    if lacking:
        raise ValueError(f"a model lacks {lacking}")
    label, steps = model["label"], np.asarray(model["steps"], float)
    if steps.ndim != 1 or len(steps) < 2 or (np.diff(steps) <= 0).any():
        raise ValueError(f"steps of {label!r} should be two or more ascending values")
    sentences = [[text.split() for text in row] for row in model["sentences"]]
    if [len(row) for row in sentences] != [len(steps)] * n_sources:
        raise ValueError(f"sentences of {label!r} should be {n_sources} lists of {len(steps)}")
    tables = {key: model[key] for key in (*MEASURES, "reading") if model.get(key) is not None}
    shapes = dict.fromkeys(tables, (n_sources, len(steps)))
    tables = check_arrays(repr(label), tables, shapes, dtype=float)
    shapes = {"log_mean": "N", "mean_log": "M"}
    original = check_arrays(f"original of {label!r}", model["original"], shapes, dtype=float)
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
        "original": {key: _short(_thinned(np.sort(values))) for key, values in original.items()},
        **{key: _short(values) for key, values in tables.items()},
    }


def _thinned(values: np.ndarray) -> np.ndarray:
    n = len(values)
    return values[np.unique(np.linspace(0, n - 1, min(n, MAX_CODES)).astype(int))]


def _short(values: np.ndarray) -> list:
    """Numbers with six digits."""
    return np.vectorize(lambda x: float(f"{x:.6g}"), otypes=[float])(values).tolist()
