"""What all widgets share in Python: their JavaScript and style put together, and their poster."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure

FOLDER = Path(__file__).parent
BLUE, ORANGE, GREY = "#0072B2", "#E69F00", "#7f7f7f"  # our model, baseline, data


def module(*names: str) -> str:
    """Return one ES module that stands alone: nn.js, frame.js and the widget's own parts."""
    return "".join((FOLDER / part).read_text("utf-8") for part in ("nn.js", "frame.js", *names))


def style() -> str:
    """Return the style sheet of the shared frame."""
    return (FOLDER / "frame.css").read_text("utf-8")


def png(figure: Figure) -> bytes:
    """Return a small picture of ``figure``, the same bytes each time."""
    buffer = io.BytesIO()
    options = {"dpi": 80, "facecolor": "white", "bbox_inches": "tight", "pad_inches": 0.05}
    figure.savefig(buffer, format="png", metadata={"Software": None}, **options)
    return buffer.getvalue()


def with_poster(bundle, poster: bytes):
    """Add a poster to a mimebundle, for PDF and wherever the widget itself cannot run."""
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    return {**data, "image/png": base64.b64encode(poster).decode()}, metadata
