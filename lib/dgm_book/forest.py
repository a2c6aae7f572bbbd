"""A forest plot's rows as SVG: intervals in units of the smallest effect that matters.

To the right lies what a claim says. A row needs no style sheet, and its places are shares of its
width, so that it fits any page. Marks differ by shape; the ink is that of the text around them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from dgm.measure import Interval

REACH = 3.0  # smallest effects from the middle to an end of the plot
MOST = 5  # intervals in a row
HEIGHT, MARGIN = 13, 3  # pixels: of an interval, and of the row around them
INK, GREY = "currentColor", "#7f7f7f"
COLOURS = {"holds": "#009E73", "does not hold": "#D55E00"}
SHAPES = {
    "holds": '<circle r="4.5" fill="{0}"/>',
    "does not hold": '<path d="M-4-4 4 4M4-4-4 4" stroke="{0}" stroke-width="2.6"/>',
    "undecided": '<circle r="4" fill="none" stroke="{0}" stroke-width="2"/>',
    "not tested": '<path d="M-3.5-3.5h7v7h-7z" fill="none" stroke="{0}" stroke-dasharray="2 1.5"/>',
}


class Row(NamedTuple):
    """One interval of a claim, in smallest effects that matter; to the right is as claimed."""

    mean: float
    low: float
    high: float
    zones: tuple[tuple[float, float], ...]  # the claim holds where one has the whole interval
    verdict: str
    interval: Interval  # as measured

    @property
    def slack(self) -> float:
        """How far the whole interval lies inside a zone; negative where a part lies outside."""
        return max(min(self.low - low, high - self.high) for low, high in self.zones)


def row(interval: Interval, side: str, at: float, verdict: str, origin: float = 0.0) -> Row:
    """An interval against a limit on a side ("above", "below", "within" or "beyond").

    `origin` is the value without an effect; ValueError where the limit is the same.
    """
    if at == origin:
        raise ValueError(f"a limit of {at:g} leaves no smallest effect from {origin:g}")
    sign = -1 if side == "below" else 1
    scaled = [sign * (x - origin) / abs(at - origin) for x in interval[:1] + interval[2:4]]
    mean, low, high = scaled[0], min(scaled[1:]), max(scaled[1:])
    limit = math.copysign(1.0, sign * (at - origin))
    zones = {"within": ((-1.0, 1.0),), "beyond": ((-math.inf, -1.0), (1.0, math.inf))}
    return Row(mean, low, high, zones.get(side, ((limit, math.inf),)), verdict, interval)


def shown(rows: Sequence[Row]) -> list[Row]:
    """The rows that a plot has room for, in their order: those tested with the least slack."""
    order = sorted(rows, key=lambda row: (row.verdict == "not tested", row.slack))
    return [row for row in rows if row in order[:MOST]]


def place(value: float) -> float:
    """Where a value in smallest effects lies, in percent of the width; ends hold what is beyond."""
    return 50 + 50 * max(-1.0, min(1.0, value / REACH))


def mark(verdict: str) -> str:
    """A verdict's shape, as an SVG of its own for the text."""
    return (
        '<svg class="dgm-mark" aria-hidden="true" width="12" height="12" viewBox="-6 -6 12 12" '
        f'style="width:12px;height:12px">{_shape(verdict)}</svg>'
    )


def plot(rows: Sequence[Row]) -> str:
    """The intervals of one claim, one above the other, on the ground that they share."""
    height = HEIGHT * len(rows) + 2 * MARGIN
    parts = [
        f'<svg class="dgm-forest" aria-hidden="true" width="100%" height="{height}" '
        f'style="display:block;height:{height}px;overflow:visible">',
        f'<rect x="{place(-1):.2f}%" width="{place(1) - place(-1):.2f}%" height="{height}" '
        f'fill="{GREY}" fill-opacity=".28"/>',
        _line(50, 50, 0, height, f'stroke="{GREY}" stroke-dasharray="2 2"'),
    ]
    for i, each in enumerate(rows):
        top = MARGIN + HEIGHT * i
        parts += [_zone(zone, top) for zone in each.zones]
        parts.append(_interval(each, top + HEIGHT / 2))
    return "".join(parts) + "</svg>"


def _shape(verdict: str) -> str:
    return SHAPES[verdict].format(COLOURS.get(verdict, INK))


def _line(x1: float, x2: float, y1: float, y2: float, look: str) -> str:
    return f'<line x1="{x1:.2f}%" x2="{x2:.2f}%" y1="{y1:g}" y2="{y2:g}" {look}/>'


def _at(x: float, y: float, drawing: str) -> str:
    """A drawing around a place of its own."""
    return f'<svg x="{x:.2f}%" y="{y:g}" width="1" height="1" overflow="visible">{drawing}</svg>'


def _zone(zone: tuple[float, float], top: float) -> str:
    """Where the claim holds: a tint, and a line at each limit."""
    low, high = map(place, zone)
    colour = COLOURS["holds"]
    tint = f'<rect x="{low:.2f}%" width="{high - low:.2f}%" y="{top:g}" height="{HEIGHT}" '
    look = f'stroke="{colour}" stroke-width="1.5"'
    limits = [place(x) for x in zone if math.isfinite(x)]
    lines = "".join(_line(x, x, top, top + HEIGHT, look) for x in limits)
    return f'{tint}fill="{colour}" fill-opacity=".25"/>{lines}'


def _interval(each: Row, y: float) -> str:
    """A line from end to end, an arrow where it goes on, and the mark of the mean."""
    if not math.isfinite(each.mean):
        return ""
    parts = []
    if math.isfinite(each.low + each.high):
        dash = ' stroke-dasharray="3 2"' if each.verdict == "not tested" else ""
        look = f'stroke="{INK}" stroke-width="2"{dash}'
        parts.append(_line(place(each.low), place(each.high), y, y, look))
        for beyond, end, tip in ((each.low < -REACH, 0, 6), (each.high > REACH, 100, -6)):
            arrow = f'<path d="M0 0l{tip}-4.5v9z" fill="{INK}"/>'
            parts += [_at(end, y, arrow)] * beyond
    inset = 0 if abs(each.mean) <= REACH else math.copysign(13, -each.mean)
    shape = f'<g transform="translate({inset:g})">{_shape(each.verdict)}</g>' if inset else ""
    parts.append(_at(place(each.mean), y, shape or _shape(each.verdict)))
    return "".join(parts)
