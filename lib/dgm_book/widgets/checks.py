"""What widgets check alike of what a notebook passes in."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def span(name: str, value: Any, low: float, high: float) -> Any:
    """Return a value; ValueError where it lies outside low ... high."""
    if not low <= value <= high:
        up = "" if low == high else " or more" if high == np.inf else f" to {high}"
        raise ValueError(f"{name}={value}: want {low}{up}")
    return value


def positive(name: str, value: float, most: float = np.inf) -> float:
    """Return a finite number; ValueError unless it is above 0, and at most so large."""
    if not 0 < value <= most or value == np.inf:
        end = "" if most == np.inf else f", at most {most}"
        raise ValueError(f"{name}={value}: want a finite number above 0{end}")
    return value


def choice(name: str, value: Any, choices: Collection) -> Any:
    """Return a value; ValueError where it is none of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r}: want one of {list(choices)}")
    return value


def texts(name: str, texts: Sequence[str], most: int = 1000) -> list[str]:
    """Return texts as a list; ValueError for none, more than most, an empty one, or a string."""
    if isinstance(texts, str) or not 1 <= len(texts) <= most or not all(t.split() for t in texts):
        raise ValueError(f"{name}: want a list of texts, at least one, at most {most}, none empty")
    return list(texts)


def keys(owner: str, item: Mapping, needed: Iterable[str]) -> None:
    """Raise ValueError where an item lacks some of its keys."""
    if missing := sorted({*needed} - item.keys()):
        raise ValueError(f"{owner} lacks {missing}")


def distinct(what: str, names: Sequence, known: Collection | None = None) -> list:
    """Return names; ValueError for none or one twice, or, where there are known ones, others."""
    repeats = len(set(names)) < len(names)
    if repeats or (not names if known is None else not set(names) <= set(known)):
        among = "at least one" if known is None else f"of {list(known)}"
        raise ValueError(f"{what}: want {among}, each name once, got {list(names)}")
    return list(names)


def items(
    what: str, items: Iterable[Mapping], needed: str, check: Callable[..., dict]
) -> list[dict]:
    """Check items that have a ``name`` each, no two the same, a ``label``, and more.

    `needed` are their other keys, apart by spaces; `check` takes an owner, for messages, and their
    values, and returns what the page reads beside name and label.
    """
    checked = []
    for item in items:
        owner = f"{what.removesuffix('s')} {item.get('name')!r}"
        keys(owner, item, ("name", "label", *needed.split()))
        labels = {key: str(item[key]) for key in ("name", "label")}
        checked.append(labels | check(owner, *(item[key] for key in needed.split())))
    distinct(what, [item["name"] for item in checked])
    return checked


def arrays(
    owner: str,
    arrays: Mapping,
    shapes: Mapping[str, str | Sequence],
    sizes: dict[str, int] | None = None,
    dtype: type = np.float32,
) -> dict[str, np.ndarray]:
    """Check arrays against a table of shapes.

    A shape has whole numbers, letters, and sums such as ``4H`` or ``E+D``, apart by spaces or in a
    tuple; a letter's first use sets it in `sizes`. ValueError for an array that is missing, has
    another shape, or values that are not finite; names that the table lacks are left out.
    """
    sizes, checked = {} if sizes is None else sizes, {}
    keys(owner, arrays, shapes)
    for name, shape in shapes.items():
        array = np.asarray(arrays[name], dtype)
        dimensions = shape.split() if isinstance(shape, str) else [str(part) for part in shape]
        letters = ", ".join(f"{letter} = {size}" for letter, size in sizes.items())
        fits = zip(dimensions, array.shape, strict=False)
        if len(dimensions) != array.ndim or not all(_fits(*pair, sizes) for pair in fits):
            expected = f"({', '.join(dimensions)}){letters and f' with {letters}'}"
            raise ValueError(f"{owner}: {name} has shape {array.shape}, should be {expected}")
        if not np.isfinite(array).all():
            raise ValueError(f"{owner}: {name} holds values that are not finite")
        checked[name] = array
    return checked


def array(name: str, array: Any, shape: str | Sequence, dtype: type = float) -> np.ndarray:
    """Return one array as `arrays` does."""
    return arrays("the widget", {name: array}, {name: shape}, dtype=dtype)[name]


def _fits(dimension: str, size: int, sizes: dict[str, int]) -> bool:
    """Return whether a size is that of an expression such as 4H or E+D, and set its new letter."""
    rest, new = size, ("", 1)
    for term in dimension.split("+"):
        letter = term.lstrip("0123456789")
        factor = int(term.removesuffix(letter) or 1)
        if letter and letter not in sizes:
            new = letter, factor
        else:
            rest -= factor * sizes.get(letter, 1)
    letter, factor = new
    if not letter:
        return rest == 0
    sizes[letter] = rest // factor
    return rest > 0 and rest % factor == 0


def ascending(
    name: str, values: Any, least: int = 2, low: float = 0, above: bool = False
) -> np.ndarray:
    """Return finite values as float64; ValueError for fewer, or unless they ascend from low on."""
    array = np.asarray(values, float)
    ascends = array.ndim == 1 and len(array) >= least and (np.diff(array) > 0).all()
    if not ascends or not np.isfinite(array).all() or array[0] < low or (above and array[0] == low):
        start = "above" if above else "from"
        raise ValueError(f"{name}={values}: want {least} or more, ascending {start} {low:g} on")
    return array
