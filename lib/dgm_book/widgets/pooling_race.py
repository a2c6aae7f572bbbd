"""The pooling race: likelihood, KL and mutual information of many runs against training time."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .checks import in_range, one_of
from .frame import BookWidget
from .packing import check_ascending

GROUPS = ("plain", "fix", "pooling", "control")  # the plain model, a known remedy, ...
MEASURES = ("log_likelihood", "kl", "information", "reconstruction", "active_units")
SHOWN = ("plain", "annealing", "free bits", "aggressive", "mean", "max")


class PoolingRace(BookWidget):
    """Three charts of how runs fare while they train, with a scrubber over the training.

    ``time`` (0 to 1, a share of the longest shown run), ``highlighted`` (a run's name, or ""),
    ``shown`` (names) and ``axis`` ("seconds" or "steps") follow the reader, and may be set.

    Args:
        runs: One dict per run: ``name``, ``label``, ``group`` (of `GROUPS`) and ``measured``, its
            rows over training, each with ``seconds`` and ``step``, both ascending, and, where they
            are neither None nor NaN, `MEASURES`.
        shown: Names of the runs to begin with; None takes those of `SHOWN`, else the first six.
        highlighted: Name of the run in front; "" for none.
        time: Where the scrubber starts.
        axis: What the charts are drawn against.

    Raises:
        ValueError: For a run or a choice that does not fit, or values that are infinite.
    """

    runs = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode("A race: likelihood, KL and information while models train").tag(
        sync=True
    )
    time = traitlets.Float(1.0).tag(sync=True)
    highlighted = traitlets.Unicode().tag(sync=True)
    shown = traitlets.List(traitlets.Unicode()).tag(sync=True)
    axis = traitlets.Enum(("seconds", "steps"), "seconds").tag(sync=True)

    def __init__(
        self,
        runs: Sequence[Mapping],
        badge: str = "",
        *,
        shown: Sequence[str] | None = None,
        **chosen,
    ) -> None:
        checked = [_checked(run) for run in runs]
        self._names = names = [run["name"] for run in checked]
        if not checked or len(set(names)) < len(names):
            raise ValueError(f"runs: want at least one, each name once, got {names}")
        if shown is None:
            shown = [name for name in names if name in SHOWN] or names[:6]
        super().__init__({"runs": checked}, badge=badge, shown=list(shown), **chosen)

    @traitlets.validate("shown")
    def _check_shown(self, proposal) -> list[str]:
        names = proposal["value"]
        if not set(names) <= set(self._names) or len(set(names)) < len(names):
            raise ValueError(f"shown={names}: want names, each once, from {self._names}")
        return names

    _valid_highlighted = one_of("highlighted", lambda self: ("", *self._names))
    _valid_time = in_range("time", 0, 1)


def _checked(run: Mapping) -> dict:
    """A run as the page reads it: a list per measure, rounded to seven digits."""
    if lacking := sorted({"name", "label", "group", "measured"} - set(run)):
        raise ValueError(f"run {run.get('name')!r} lacks {lacking}")
    name, group, rows = str(run["name"]), run["group"], list(run["measured"])
    if not name or group not in GROUPS:
        raise ValueError(f"run {name!r}: want a name, and a group in {list(GROUPS)}, got {group!r}")
    if any("seconds" not in row or "step" not in row for row in rows):
        raise ValueError(f"run {name!r}: each row needs 'seconds' and 'step'")
    columns = {}
    for key in ("seconds", "step"):
        values = check_ascending(f"{key} of run {name!r}", [row[key] for row in rows], 1)
        columns[key] = [float(f"{v:.6g}") for v in values]
    for key in MEASURES:
        values = np.array([np.nan if row.get(key) is None else row[key] for row in rows], float)
        if np.isinf(values).any():
            raise ValueError(
                f"{key} of run {name!r} is infinite in row {np.isinf(values).argmax()}"
            )
        columns[key] = [None if np.isnan(v) else float(f"{v:.7g}") for v in values]
    return {"name": name, "label": str(run["label"]), "group": group, **columns}
