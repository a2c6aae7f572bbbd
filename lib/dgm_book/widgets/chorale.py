"""The chorale: a trained model writes on from an opening, and the reader hears and sees it."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from .checks import one_of
from .frame import BookWidget, check_range
from .hyper_weights import HyperWeights

LOWEST, KEYS = 21, 88  # the piano's first key as a MIDI number, and how many there are
MAX_OPENING = 16  # frames
RANGES = {"temperature": (0.3, 1.5), "tempo": (40, 240), "length": (8, 96), "seed": (0, 2**20 - 1)}
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


class Chorale(BookWidget):
    """A model of piano rolls writes on from an opening; the page shows the roll and plays it.

    The opening is read by 16 particles, one of which goes on writing, frame by frame, with its own
    random numbers. ``opening`` (frames of MIDI numbers), ``model``, ``temperature``, ``tempo``,
    ``length`` and ``seed`` follow the reader, and may be set; all but the tempo make the piece what
    it is. ``piece`` is what the page wrote, its opening in front. Sound is made in the page, and
    starts when Play is pressed.

    Args:
        weights: The page's models, shared with its other widgets, each of 88 Bernoulli keys.
        openings: Each with ``name``, ``label`` and ``frames``, 1 to 16 lists of MIDI numbers 21 to
            108; None takes `OPENINGS`.
        model: Which of them writes; None takes the last.
        opening: Name of the opening to start from; None takes the first.
        temperature: 0.3 to 1.5, multiplies the deviations of z and divides the keys' logits.
        tempo: Frames a minute, 40 to 240.
        length: Frames to be written, 8 to 96.
        seed: Of the piece, 0 to 2^20 - 1.

    Raises:
        ValueError: For a model that does not write 88 keys, openings that are none, lack a key,
            share a name, are too long or hold other numbers, and settings out of range.
    """

    weights = traitlets.Instance(HyperWeights).tag(sync=True, **widget_serialization)
    openings = traitlets.List(read_only=True).tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    opening = traitlets.List().tag(sync=True)
    title = traitlets.Unicode("Listen: the model writes a chorale").tag(sync=True)
    temperature = traitlets.Float(1.0).tag(sync=True)
    tempo = traitlets.Int(110).tag(sync=True)
    length = traitlets.Int(48).tag(sync=True)
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
        **chosen,
    ) -> None:
        for name in weights.names:
            weights.check_frames(name, KEYS, "bernoulli")
        checked = [_checked(entry) for entry in (OPENINGS if openings is None else openings)]
        frames = {entry["name"]: entry["frames"] for entry in checked}
        if not checked or len(frames) < len(checked):
            names = [entry["name"] for entry in checked]
            raise ValueError(f"openings {names}: want one or more, each name once")
        opening = checked[0]["name"] if opening is None else opening
        if opening not in frames:
            raise ValueError(f"opening={opening!r}: want one of {list(frames)}")
        chosen |= {"model": weights.names[-1] if model is None else model, "badge": badge}
        fixed = {"openings": checked}
        super().__init__(fixed, weights=weights, opening=frames[opening], **chosen)

    @traitlets.validate(*RANGES)
    def _check_range(self, proposal) -> float:
        return check_range(proposal, *RANGES[proposal["trait"].name])

    _valid_model = one_of("model", lambda self: self.weights.names)

    @traitlets.validate("opening", "piece")
    def _frames(self, proposal) -> list[list[int]]:
        name = proposal["trait"].name
        most = MAX_OPENING if name == "opening" else MAX_OPENING + RANGES["length"][1]
        return _checked_frames(name, proposal["value"], int(name == "opening"), most)


def _checked(opening: Mapping) -> dict:
    if missing := sorted({"name", "label", "frames"} - set(opening)):
        raise ValueError(f"opening {opening.get('name')!r} lacks {missing}")
    frames = _checked_frames(f"opening {opening['name']!r}", opening["frames"], 1, MAX_OPENING)
    return {"name": str(opening["name"]), "label": str(opening["label"]), "frames": frames}


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
