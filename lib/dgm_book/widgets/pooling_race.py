"""The pooling race: likelihood, KL and mutual information of many runs, against their training time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

# What a run is: the plain model, a known remedy, pooling, or a control. Its colour, on paper.
GROUPS = {"plain": "#C77700", "fix": "#00855F", "pooling": frame.BLUE, "control": "#B0578A"}
MEASURES = ("log_likelihood", "kl", "information", "reconstruction", "active_units")
SHOWN = ("plain", "annealing", "free bits", "aggressive", "mean", "max")
_AXES = {"seconds": "seconds", "steps": "step"}
_TITLES = {"log_likelihood": "log-likelihood", "kl": "KL", "information": "mutual information"}


class PoolingRace(anywidget.AnyWidget):
    """Three charts of how runs fare while they train, with a scrubber over the training.

    ``time`` (0 to 1, a share of the longest shown run), ``highlighted`` (a run's name, or ""),
    ``shown`` (names) and ``axis`` ("seconds" or "steps") follow the reader, and may be set.

    Args:
        runs: One dict a run: ``name``, ``label``, ``group`` (one of plain, fix, pooling, control) and
            ``measured``, its rows over training, each a dict with ``seconds`` (of training alone) and
            ``step``, both ascending, and, where measured, ``log_likelihood``, ``kl``, ``information``,
            ``reconstruction`` in nats a sentence and ``active_units``; what is None, NaN or missing
            was not measured then.
        badge: Which profile, data and seeds the runs come from.
        title: What stands above the widget.
        shown: Names of the runs to begin with; None takes those of `SHOWN` that there are, else the
            first six.
        highlighted: Name of the run in front; "" for none.
        time: Where the scrubber starts.
        axis: What the charts are drawn against.

    Raises:
        ValueError: For a run that lacks something, a name that comes twice, an unknown group or name,
            rows that do not ascend, or values that are infinite.
    """

    _esm = frame.module("pooling.js", "pooling_race.js")
    _css = frame.style() + (frame.FOLDER / "pooling.css").read_text("utf-8")

    runs = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    time = traitlets.Float(1.0).tag(sync=True)
    highlighted = traitlets.Unicode().tag(sync=True)
    shown = traitlets.List(traitlets.Unicode()).tag(sync=True)
    axis = traitlets.Enum(tuple(_AXES), "seconds").tag(sync=True)

    def __init__(
        self,
        runs: Sequence[Mapping],
        badge: str = "",
        *,
        title: str = "A race: likelihood, KL and information while models train",
        shown: Sequence[str] | None = None,
        highlighted: str = "",
        time: float = 1.0,
        axis: str = "seconds",
    ) -> None:
        made = [_checked(run) for run in runs]
        self._names = [run["name"] for run in made]
        if not made or len(set(self._names)) < len(made):
            raise ValueError(f"runs: want at least one, each name once, got {self._names}")
        if shown is None:
            usual = [name for name in self._names if name in SHOWN]
            shown = usual or self._names[:6]
        chosen = {"shown": list(shown), "highlighted": highlighted, "time": time, "axis": axis}
        super().__init__(title=title, badge=badge, **chosen)
        self.set_trait("runs", made)

    @traitlets.validate("shown")
    def _known_runs(self, proposal) -> list[str]:
        names = proposal["value"]
        if not set(names) <= set(self._names) or len(set(names)) < len(names):
            raise ValueError(f"shown={names}: want names, each once, from {self._names}")
        return names

    @traitlets.validate("highlighted")
    def _known_run(self, proposal) -> str:
        if proposal["value"] not in ("", *self._names):
            raise ValueError(f"no run {proposal['value']!r}: there are {self._names}")
        return proposal["value"]

    @traitlets.validate("time")
    def _within(self, proposal) -> float:
        if not 0 <= proposal["value"] <= 1:
            raise ValueError(f"time={proposal['value']}: want a share from 0 to 1")
        return proposal["value"]

    def poster(self) -> Figure:
        """Draw the shown runs up to their ends, for pages that cannot run the widget."""
        figure = Figure(figsize=(7.6, 3.4), layout="constrained")
        for axes, key in zip(figure.subplots(1, 3), _TITLES, strict=True):
            ends, best = [], []
            for i, run in enumerate(run for run in self.runs if run["name"] in self.shown):
                x, y = (np.array(run[name], float) for name in (_AXES[self.axis], key))
                known = np.isfinite(y)
                dash, mark = ("-", "--", ":", "-.")[i % 4], "os^Dv"[i % 5]
                style = {"color": GROUPS[run["group"]], "linestyle": dash, "marker": mark}
                front = run["name"] == self.highlighted
                style |= {"markersize": 3, "linewidth": 2.4 if front else 1.2}
                axes.plot(x[known], y[known], label=run["label"], **style)
                ends.extend(y[known][-1:])
                best.extend(y[known])
            if key == "log_likelihood" and ends:
                # A likelihood climbs steeply at first: what matters is where the runs end.
                room = max(max(best) - min(ends), 0.02 * abs(max(best)), 1e-6)
                axes.set_ylim(min(ends) - 1.5 * room, max(best) + 0.15 * room)
            axes.set_title(f"{_TITLES[key]}, nats a sentence", fontsize="small")
            axes.set_xlabel("training time, s" if self.axis == "seconds" else "steps")
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"PoolingRace(runs={self._names}, shown={self.shown}, axis={self.axis!r})"


def _checked(run: Mapping) -> dict:
    lacks = sorted({"name", "label", "group", "measured"} - set(run))
    if lacks:
        raise ValueError(f"run {run.get('name')!r} lacks {lacks}")
    name, group, rows = str(run["name"]), run["group"], list(run["measured"])
    if not name or group not in GROUPS:
        raise ValueError(f"run {name!r}: want a name, and a group in {list(GROUPS)}, got {group!r}")
    if not rows:
        raise ValueError(f"run {name!r} has no measured rows: want at least one")
    if any("seconds" not in row or "step" not in row for row in rows):
        raise ValueError(f"run {name!r}: each row needs 'seconds' and 'step'")
    columns = {}
    for key in _AXES.values():
        values = np.array([row[key] for row in rows], float)
        if not np.isfinite(values).all() or values[0] < 0 or (np.diff(values) <= 0).any():
            raise ValueError(f"{key} of run {name!r} should ascend from 0 or more: {values}")
        columns[key] = [float(f"{v:.6g}") for v in values]
    for key in MEASURES:
        values = [row.get(key) for row in rows]
        numbers = np.array([np.nan if v is None else v for v in values], float)
        if np.isinf(numbers).any():
            raise ValueError(
                f"{key} of run {name!r} is infinite in row {np.isinf(numbers).argmax()}"
            )
        columns[key] = [None if np.isnan(v) else float(f"{v:.7g}") for v in numbers]
    return {"name": name, "label": str(run["label"]), "group": group, **columns}
