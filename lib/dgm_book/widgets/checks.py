"""Validators of a widget's traits, a line each."""

from collections.abc import Callable, Collection
from typing import Any

import traitlets

from .frame import check_choice, check_range

Bound = float | Callable[[Any], float]


def in_range(name: str, low: Bound, high: Bound) -> Any:
    """Return a validator: ValueError outside low ... high, numbers or functions of the widget."""

    def check(widget: Any, proposal: Any) -> float:
        return check_range(proposal, *(x(widget) if callable(x) else x for x in (low, high)))

    return traitlets.validate(name)(check)


def one_of(name: str, choices: Collection | Callable[[Any], Collection]) -> Any:
    """Return a validator: ValueError for none of the choices, or of a function of the widget."""

    def check(widget: Any, proposal: Any) -> Any:
        return check_choice(proposal, choices(widget) if callable(choices) else choices)

    return traitlets.validate(name)(check)
