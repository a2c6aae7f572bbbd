"""The chorale: a trained model writes on from an opening, and the reader hears and sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame
from .hyper_weights import HyperWeights

LOWEST, KEYS = 21, 88  # the piano's first key as a MIDI number, and how many there are
MAX_OPENING = 16  # frames
RANGES = {
    "temperature": (0.3, 1.5),
    "tempo": (40, 240),
    "length": (8, 96),
    "seed": (0, 2**20 - 1),
}
# Made for this book, four voices as MIDI numbers; none is from a data set.
_CADENCE = [[45, 57, 60, 64], [50, 57, 62, 65], [52, 56, 59, 64], [45, 57, 60, 64]]
OPENINGS = (
    {"name": "major", "label": "C major, held", "frames": [[48, 55, 64, 72]] * 4},
    {
        "name": "minor",
        "label": "A minor cadence",
        "frames": [chord for chord in _CADENCE for _ in range(2)],
    },
    {
        "name": "scale",
        "label": "rising scale",
        "frames": [[pitch] for pitch in (60, 62, 64, 65, 67, 69, 71, 72)],
    },
    {"name": "silence", "label": "silence", "frames": [[]] * 4},
)


class Chorale(anywidget.AnyWidget):
    """A model of piano rolls writes on from an opening; the page shows the roll and plays it.

    The opening is read by 16 particles, one of which goes on writing, frame by frame, with its own random
    numbers. ``opening`` (frames of MIDI numbers), ``model``, ``temperature``, ``tempo``, ``length`` and
    ``seed`` follow the reader, and may be set; all but the tempo make the piece what it is. ``piece`` is
    what the page wrote, its opening in front. Sound is made in the page, and starts when Play is pressed.

    Args:
        weights: The page's models, shared with its other widgets, each of 88 Bernoulli keys.
        openings: Each with ``name``, ``label`` and ``frames``, 1 to 16 lists of MIDI numbers 21 to 108;
            None takes `OPENINGS`.
        badge: Which profile, data and seeds the models come from.
        model: Which of them writes; None takes the last.
        opening: Name of the opening to start from; None takes the first.
        temperature: 0.3 to 1.5, multiplies the deviations of z and divides the keys' logits.
        tempo: Frames a minute, 40 to 240.
        length: Frames to be written, 8 to 96.
        seed: Of the piece, 0 to 2^20 - 1.
        piece: Frames for the poster, such as the trained model writes in Python; None shows the opening.
        title: What stands above the widget.

    Raises:
        ValueError: For a model that does not write 88 keys, openings that are none, lack a key, share a
            name, are too long or hold other numbers, and settings out of range.
    """

    _esm = frame.module("pooling.js", "hyper_rnn.js", "sound.js", "chorale.js")
    _css = frame.style() + (frame.FOLDER / "music.css").read_text("utf-8")

    weights = traitlets.Instance(HyperWeights).tag(sync=True, **widget_serialization)
    openings = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    opening = traitlets.List().tag(sync=True)
    temperature = traitlets.Float().tag(sync=True)
    tempo = traitlets.Int().tag(sync=True)
    length = traitlets.Int().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)
    piece = traitlets.List().tag(sync=True)

    def __init__(
        self,
        weights: HyperWeights,
        openings: Sequence[Mapping] | None = None,
        badge: str = "",
        *,
        model: str | None = None,
        opening: str | None = None,
        temperature: float = 1.0,
        tempo: int = 110,
        length: int = 48,
        seed: int = 0,
        piece: Sequence[Sequence[int]] | None = None,
        title: str = "Listen: the model writes a chorale",
    ) -> None:
        for name in weights.names:
            told = weights.describe(name)
            if (told["x"], told["emission"]) != (KEYS, "bernoulli"):
                raise ValueError(
                    f"model {name!r} has {told['x']} {told['emission']} outputs: want 88 bernoulli"
                )
        made = [_checked(one) for one in (OPENINGS if openings is None else openings)]
        frames = {one["name"]: one["frames"] for one in made}
        if not made or len(frames) < len(made):
            raise ValueError(
                f"openings {[o['name'] for o in made]}: want one or more, each name once"
            )
        opening = made[0]["name"] if opening is None else opening
        if opening not in frames:
            raise ValueError(f"opening={opening!r}: want one of {list(frames)}")
        start = {"temperature": float(temperature), "tempo": tempo, "length": length, "seed": seed}
        start |= {"model": weights.names[-1] if model is None else model, "piece": piece or []}
        super().__init__(
            weights=weights, title=title, badge=badge, opening=frames[opening], **start
        )
        self.set_trait("openings", made)

    @traitlets.validate(*RANGES)
    def _in_range(self, proposal) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = RANGES[name]
        if not low <= value <= high:
            raise ValueError(f"{name}={value}: want {low} to {high}")
        return value

    @traitlets.validate("model")
    def _known_model(self, proposal) -> str:
        if proposal["value"] not in self.weights.names:
            raise ValueError(f"model={proposal['value']!r}: want one of {self.weights.names}")
        return proposal["value"]

    @traitlets.validate("opening", "piece")
    def _frames(self, proposal) -> list[list[int]]:
        name = proposal["trait"].name
        most = MAX_OPENING if name == "opening" else MAX_OPENING + RANGES["length"][1]
        return _checked_frames(name, proposal["value"], int(name == "opening"), most)

    def poster(self) -> Figure:
        """Draw the roll of the piece, or of the opening where nothing is written yet."""
        figure = Figure(figsize=(7.6, 3.0), layout="constrained")
        axes = figure.subplots()
        frames = self.piece or self.opening
        for t, pitches in enumerate(frames):
            color = frame.GREY if t < len(self.opening) else frame.BLUE
            axes.bar(
                [t] * len(pitches), 0.9, 1, np.subtract(pitches, 0.45), align="edge", color=color
            )
        axes.axvline(len(self.opening), color="black", linewidth=0.8)
        axes.set_yticks([36, 48, 60, 72, 84], ["C2", "C3", "C4", "C5", "C6"])
        pitches = [36, 84, *(pitch for one in frames for pitch in one)]
        axes.set(xlim=(0, max(len(frames), 16)), ylim=(min(pitches) - 1, max(pitches) + 1))
        axes.set_xlabel("frame; grey: the opening, blue: what the model wrote")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        told = f"temperature={self.temperature}, length={self.length}, seed={self.seed}"
        return f"Chorale(model={self.model!r}, {told})"


def _checked(given: Mapping) -> dict:
    if lacks := sorted({"name", "label", "frames"} - set(given)):
        raise ValueError(f"opening {given.get('name')!r} lacks {lacks}")
    frames = _checked_frames(f"opening {given['name']!r}", given["frames"], 1, MAX_OPENING)
    return {"name": str(given["name"]), "label": str(given["label"]), "frames": frames}


def _checked_frames(name: str, given: Sequence, least: int, most: int) -> list[list[int]]:
    if not least <= len(given) <= most:
        raise ValueError(f"{name} has {len(given)} frames: want {least} to {most}")
    frames = []
    for t, pitches in enumerate(given):
        if np.ndim(pitches) != 1:
            raise ValueError(f"frame {t} of {name}: want a list of MIDI numbers, got {pitches!r}")
        if not all(pitch in range(LOWEST, LOWEST + KEYS) for pitch in pitches):
            raise ValueError(f"frame {t} of {name}: want MIDI numbers 21 to 108, got {pitches}")
        frames.append(sorted({int(pitch) for pitch in pitches}))
    return frames
