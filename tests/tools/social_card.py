"""Draws the picture that goes with a link to a page: `python tests/tools/social_card.py`.

The book's sign, a curve of rate and distortion with its tangent and dot, and its title.
"""

import io
from pathlib import Path

import numpy as np
import yaml
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "book/_static/social-card.png"
BYTES = 60_000
INK, PAPER, MODEL, BASELINE, MUTED = "#f2f4f7", "#14181f", "#56B4E9", "#E69F00", "#9aa4b2"
CURVES = ((0.45, 0.35), (0.62, 0.55), (0.85, 0.35), (1.15, 1.0))  # scale, opacity


def draw() -> Figure:
    """A card of 1200 by 630 pixels."""
    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor=PAPER)
    axes = figure.add_axes((0.5, 0.08, 0.46, 0.84))
    axes.set(xlim=(0, 10), ylim=(0, 10))
    axes.axis("off")
    axes.plot([0.3, 0.3, 9.8], [9.8, 0.3, 0.3], color=MUTED, lw=2)
    x = np.geomspace(0.15, 9.5, 300)
    for scale, opacity in CURVES:
        axes.plot(x + 0.3, 0.3 + 4 * scale / x**0.8, color=MODEL, alpha=opacity, lw=4)
    scale, at = CURVES[-1][0], 2.1
    y, slope = 4 * scale / at**0.8, -0.8 * 4 * scale / at**1.8
    line = np.array([at - 1.7, at + 1.7])
    axes.plot(line + 0.3, 0.3 + y + slope * (line - at), ":", color=INK, lw=2.5)
    axes.plot(at + 0.3, 0.3 + y, "o", ms=26, color=BASELINE, mec=PAPER, mew=3)
    title = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))["title"]
    head, tail = title.split(", ", 1)
    figure.text(0.06, 0.88, head.replace(" ", "\n"), size=50, color=INK, weight="bold", va="top")
    figure.text(0.06, 0.34, tail, size=27, color=BASELINE, va="top")
    text = "Move a slider: a trained model\nanswers in the page."
    figure.text(0.06, 0.22, text, size=19, color=MUTED, va="top", linespacing=1.4)
    return figure


def main() -> None:
    """Writes the card as a PNG of 64 colours."""
    stream = io.BytesIO()
    draw().savefig(stream, format="png", facecolor=PAPER)
    image = Image.open(stream).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    image.save(TARGET, "PNG", optimize=True)
    size = TARGET.stat().st_size
    print(f"{TARGET.name}: {image.size[0]} x {image.size[1]}, {size} bytes")
    if size > BYTES:
        raise SystemExit(f"a card takes at most {BYTES} bytes")


if __name__ == "__main__":
    main()
