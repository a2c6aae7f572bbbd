"""What all widgets share in Python: their JavaScript and style put together, and their poster."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

FOLDER = Path(__file__).parent


class BookWidget(anywidget.AnyWidget):
    """The base of the book's widgets: the code of their page, a title, a badge and a poster.

    The code of a widget's page is the bundle in ``dist/`` with the name of the widget's own module,
    built from ``src/`` by ``make widgets``. Where the widget cannot run, as in a PDF, its poster
    stands: ``posters/<class>.png``, a picture of it in the built book, taken by ``make posters``.

    Args:
        fixed: Values of the read-only traits, which are set before all others are checked.
        traits: Values of the other traits, among them ``title``, which stands above the widget, and
            ``badge``: which profile, data and seeds what it shows comes from.

    Raises:
        TypeError: For a trait that the widget does not have.
    """

    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)

    def __init_subclass__(cls, **kwargs) -> None:
        bundle = FOLDER / "dist" / cls.__module__.rpartition(".")[2]
        # An instance's own class, which traitlets makes, has its code already.
        if "_esm" not in vars(cls) and (code := bundle.with_suffix(".js")).exists():
            sheets = (FOLDER / "dist" / "frame.css", bundle.with_suffix(".css"))
            cls._esm = code.read_text("utf-8")
            cls._css = "".join(sheet.read_text("utf-8") for sheet in sheets if sheet.exists())
        super().__init_subclass__(**kwargs)

    def __init__(self, fixed: Mapping[str, Any] | None = None, **traits) -> None:
        if unknown := traits.keys() - self.class_traits().keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, value in (fixed or {}).items():
            self.set_trait(name, value)
        super().__init__(**traits)

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture = FOLDER / "posters" / f"{type(self).__name__}.png"
        if picture.exists():
            data["image/png"] = base64.b64encode(picture.read_bytes()).decode()
        return data, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title!r})"


def check_range(proposal, low: float, high: float) -> Any:
    """Return what a validator was asked about; ValueError where it lies outside low ... high."""
    if not low <= proposal["value"] <= high:
        name = proposal["trait"].name
        raise ValueError(f"{name}={proposal['value']}: should lie in {low} ... {high}")
    return proposal["value"]


def check_choice(proposal, choices: Collection) -> Any:
    """Return what a validator was asked about; ValueError where it is none of the choices."""
    if proposal["value"] not in choices:
        name = proposal["trait"].name
        raise ValueError(f"{name}={proposal['value']!r}: there are {list(choices)}")
    return proposal["value"]
