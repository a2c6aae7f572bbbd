"""Traits that widgets share with their pages, and which carry their checks."""

from collections.abc import Callable, Collection
from typing import Any

import traitlets

from . import checks

Bound = float | Callable[[Any], float]
Choices = Collection | Callable[[Any], Collection]


def sent(kind: Any = traitlets.List) -> Any:
    """Return a trait that Python sets once, and the page reads."""
    return kind(read_only=True).tag(sync=True)


def setting(trait: Any, check: Callable[[Any, str, Any], Any] | None = None) -> Any:
    """Return a trait that the reader or Python may set, its value checked by `BookWidget`."""
    return trait.tag(sync=True, check=check)


def _within(trait: Any, low: Bound, high: Bound) -> Any:
    def check(widget: Any, name: str, value: float) -> float:
        ends = (bound(widget) if callable(bound) else bound for bound in (low, high))
        return checks.span(name, value, *ends)

    return setting(trait, check)


def number(default: float, low: Bound, high: Bound) -> Any:
    """Return a setting from low to high, numbers or functions of the widget."""
    return _within(traitlets.Float(default), low, high)


def whole(default: int, low: Bound, high: Bound) -> Any:
    """Return a setting of a whole number from low to high."""
    return _within(traitlets.Int(default), low, high)


def choice(choices: Choices, default: Any = "") -> Any:
    """Return a setting that is one of the choices, given or a function of the widget."""

    def check(widget: Any, name: str, value: Any) -> Any:
        return checks.choice(name, value, choices(widget) if callable(choices) else choices)

    return setting(traitlets.Any(default), check)


def text(default: str = "", most: float = float("inf")) -> Any:
    """Return a setting of a text of at most so many characters."""

    def check(widget: Any, name: str, value: str) -> str:
        checks.span(f"the length of {name}", len(value), 0, most)
        return value

    return setting(traitlets.Unicode(default), check)
