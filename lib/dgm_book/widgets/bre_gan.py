"""Widgets of GANs in the plane: the playground, which trains in the page, and the pattern bench."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from . import checks
from .frame import BookWidget
from .settings import choice, items, number, sent, setting, switch, text, whole, within

MAX_MODES = 64
MAX_WIDTH = 32  # the page keeps a layer's signs in one 32-bit word


class GANPlayground(BookWidget):
    """Two GANs with the same first weights, noise and data, which the reader trains in the page.

    A target has ``name``, ``label``, ``centres`` (M, 2) within (-1, 1), at most 64, and ``sigma``.
    Settings: ``target``, ``width`` of a layer, ``weight`` w and ``margin`` c of BRE; with ``decay``
    w falls linearly to 0.
    """

    _bundle, _link = "gan_playground", "gan"
    title = text("Two GANs, one with BRE")
    targets = sent()
    steps = traitlets.Int(10_000, read_only=True).tag(sync=True)
    target = choice(lambda self: [target["name"] for target in self.targets])
    seed = whole(0, 0, 9999)
    width = whole(10, 2, MAX_WIDTH)
    weight = number(1.0, 0, 2)
    margin = number(3.0, 0, 3)
    rate = setting(
        traitlets.Float(0.002), lambda _, *x: checks.positive(*x), within("number", 1e-6, 1)
    )
    decay = switch(True)

    def __init__(self, targets: Sequence[Mapping], badge: str = "", **chosen) -> None:
        checked = checks.items("targets", targets, "centres sigma", _described)
        start = {"target": checked[0]["name"], "badge": badge}
        super().__init__({"targets": checked}, **start | chosen)


def _described(owner: str, centres, sigma) -> dict:
    given = {"centres": centres, "sigma": sigma}
    arrays = checks.arrays(owner, given, {"centres": "M 2", "sigma": ()}, dtype=float)
    checks.span(f"the number of centres of {owner}", len(arrays["centres"]), 1, MAX_MODES)
    sigma = checks.positive(f"sigma of {owner}", float(arrays["sigma"]))
    return {"centres": arrays["centres"].round(5).tolist(), "sigma": sigma}


WORLD = 1.5  # the plane is [-1.5, 1.5] squared
POINTS = 8


def _points(widget: Any, name: str, points: Any) -> list[list[float]]:
    array = checks.array(name, points, f"{POINTS} 2")
    checks.span(f"the largest of {name}", np.abs(array).max(), 0, WORLD)
    return array.tolist()


class PatternBench(BookWidget):
    """Points that the reader drags among random lines, each line a unit that is on at one side.

    ``points`` (8, 2) lie in [-1.5, 1.5]; ``units`` is d; ``margin`` is c of eta = c / sqrt(d).
    """

    _bundle, _link = "pattern_bench", "bench"
    title = text("What BRE sees: signs")
    points = setting(
        traitlets.List(),
        _points,
        items(items(within("number", -WORLD, WORLD), 2, 2), POINTS, POINTS),
    )
    units = whole(10, 2, 12)
    margin = number(1.0, 0, 3)
    seed = whole(0, 0, 9999)
    zeta = traitlets.Float(1e-3, read_only=True).tag(sync=True)

    def __init__(self, badge: str = "", **chosen) -> None:
        points = np.random.default_rng(3).uniform(-1.2, 1.2, size=(POINTS, 2)).round(2)
        super().__init__(**{"points": points.tolist(), "badge": badge, **chosen})
