"""What all widgets share in Python: their JavaScript and style put together, and their poster."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import traitlets

FOLDER = Path(__file__).parent


class BookWidget(anywidget.AnyWidget):
    """The base of the book's widgets: the code of their page, a title, a badge and a poster.

    The code of a widget's page is in ``dist/``, under the name that its class gives to its bundle,
    built from ``src/`` by ``make widgets``. Where the widget cannot run, as in a PDF, its poster
    stands: ``posters/<class>.png``, a picture of it in the built book, taken by ``make posters``.

    What its reader changes stands in the page's address under the name ``_link``, such as
    ``#explorer=beta:50``; ``address`` tells the page that name, and what each setting may be.

    Args:
        fixed: Values of the read-only traits, which are set before all others are checked.
        traits: Values of the other traits, which follow the reader and may be set, but for
            ``title``, which stands above the widget, and ``badge``: which profile, data and seeds
            what it shows comes from.

    Raises:
        TypeError: For a trait that the widget does not have.
        ValueError: For what a widget's own arguments should not be, or a setting out of range.
    """

    _bundle: ClassVar[str]
    _link: ClassVar[str] = ""
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    address = traitlets.Dict(read_only=True).tag(sync=True)

    def __init_subclass__(cls, **kwargs) -> None:
        if "_bundle" in vars(cls):
            bundle = FOLDER / "dist" / cls._bundle
            sheets = (FOLDER / "dist" / "frame.css", bundle.with_suffix(".css"))
            cls._esm = bundle.with_suffix(".js").read_text("utf-8")
            cls._css = "".join(sheet.read_text("utf-8") for sheet in sheets if sheet.exists())
        for name, trait in list(vars(cls).items()):
            if isinstance(trait, traitlets.TraitType) and trait.metadata.get("check"):
                setattr(cls, f"_valid_{name}", traitlets.validate(name)(_check))
        super().__init_subclass__(**kwargs)

    def __init__(self, fixed: Mapping[str, Any] | None = None, **traits) -> None:
        if unknown := traits.keys() - self.class_traits().keys():
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        for name, value in (fixed or {}).items():
            self.set_trait(name, value)
        super().__init__(**traits)
        forms = {name: trait.metadata.get("form") for name, trait in self.traits().items()}
        forms = {name: f(self) if callable(f) else f for name, f in forms.items() if f}
        self.set_trait("address", {"name": self._link, "forms": forms})

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        picture = FOLDER / "posters" / f"{type(self).__name__}.png"
        if picture.exists():
            data["image/png"] = base64.b64encode(picture.read_bytes()).decode()
        return data, metadata

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title!r})"


def _check(widget: BookWidget, proposal) -> Any:
    trait = proposal["trait"]
    return trait.metadata["check"](widget, trait.name, proposal["value"])
