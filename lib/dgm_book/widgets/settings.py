"""Traits that widgets share with their pages, and which carry their checks."""

from collections.abc import Callable, Collection
from typing import Any

import traitlets

from . import checks

Bound = float | Callable[[Any], float]
Choices = Collection | Callable[[Any], Collection]
# What a setting may be, for the page, which reads settings from its address: see src/address.js.
Form = dict[str, Any] | Callable[[Any], dict[str, Any]]


def sent(kind: Any = traitlets.List) -> Any:
    """Return a trait that Python sets once, and the page reads."""
    return kind(read_only=True).tag(sync=True)


def setting(
    trait: Any,
    check: Callable[[Any, str, Any], Any] | None = None,
    form: Form | None = None,
) -> Any:
    """Return a trait that the reader or Python may set, its value checked by `BookWidget`.

    Without a `form` it never stands in a page's address.
    """
    return trait.tag(sync=True, check=check, form=form)


def within(kind: str, low: float, high: float, **more: Any) -> dict[str, Any]:
    """Return the form of a number, kind "number" or "whole"; an end that is infinite is open."""
    least, most = (None if abs(end) == float("inf") else end for end in (low, high))
    return {"kind": kind, "low": least, "high": most, **more}


def items(each: dict[str, Any], least: int, most: int, **more: Any) -> dict[str, Any]:
    """Return the form of a list of so many of the same; more: total, multiple, rising."""
    return {"kind": "list", "each": each, "least": least, "most": most, **more}


def parts(*forms: dict[str, Any]) -> dict[str, Any]:
    """Return the form of a list whose places have each their own."""
    return {"kind": "row", "parts": list(forms)}


def _within(kind: str, trait: Any, low: Bound, high: Bound) -> Any:
    def ends(widget: Any) -> tuple[float, ...]:
        return tuple(bound(widget) if callable(bound) else bound for bound in (low, high))

    def check(widget: Any, name: str, value: float) -> float:
        return checks.span(name, value, *ends(widget))

    return setting(trait, check, lambda widget: within(kind, *ends(widget)))


def number(default: float, low: Bound, high: Bound) -> Any:
    """Return a setting from low to high, numbers or functions of the widget."""
    return _within("number", traitlets.Float(default), low, high)


def whole(default: int, low: Bound, high: Bound) -> Any:
    """Return a setting of a whole number from low to high."""
    return _within("whole", traitlets.Int(default), low, high)


def switch(default: bool = False) -> Any:
    """Return a setting that is on or off."""
    return setting(traitlets.Bool(default), form={"kind": "switch"})


def choice(choices: Choices, default: Any = "") -> Any:
    """Return a setting that is one of the choices, given or a function of the widget."""

    def possible(widget: Any) -> Collection:
        return choices(widget) if callable(choices) else choices

    def check(widget: Any, name: str, value: Any) -> Any:
        return checks.choice(name, value, possible(widget))

    def form(widget: Any) -> dict[str, Any]:
        return {"kind": "choice", "choices": list(possible(widget))}

    return setting(traitlets.Any(default), check, form)


def text(default: str = "", most: float = float("inf")) -> Any:
    """Return a setting of a text of at most so many characters."""

    def check(widget: Any, name: str, value: str) -> str:
        checks.span(f"the length of {name}", len(value), 0, most)
        return value

    form = None if most == float("inf") else within("text", 0, most)
    return setting(traitlets.Unicode(default), check, form)
