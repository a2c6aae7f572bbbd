"""Draw a digit: the page anneals chains through its own decoder on what the reader has drawn."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from .checks import one_of
from .frame import FOLDER, BookWidget
from .packing import check_ascending
from .weights import PageWeights

MAX_NUMBERS = 8000  # coordinates of a drawing
BETAS = tuple(np.geomspace(0.01, 100, 25))


class DrawADigit(BookWidget):
    """A pad on which the reader draws; the page computes the rate-distortion curve of the drawing.

    The drawing becomes an image as MNIST's are made: scaled into a box of 20 / 28 of the side and
    centred by its mass. Chains of Hamiltonian Monte Carlo then anneal from the prior to the largest
    beta through the decoder, in a worker of the page, by the equations of
    `dgm.papers.rate_distortion`: step sizes are tuned in a pilot and frozen, and log Z is a lower
    bound. Last comes an image that the model itself makes, for which an upper bound is known too.

    ``drawing``, ``pixels``, ``seed``, ``temperatures`` and ``curve`` follow the reader; all but
    ``pixels`` and ``curve`` may be set. ``curve`` is empty until a run is over, then has ``beta``,
    ``rate``, ``distortion``, ``log_z``, ``ess``, ``acceptance`` (R numbers each, nats), ``codes``
    (R, D), ``seed``, ``temperatures``, ``seconds``, and ``check``: ``beta``, ``lower`` and
    ``upper`` of log Z for the model's own image, and the standard ``error`` of their difference.

    Args:
        weights: The page's decoders, shared with its other widgets.
        model: Name of a decoder, one of a few thousand products: about 64 hidden units.
        image_shape: Height and width of an image in pixels.
        presets: Drawings to choose from: for each name its strokes, each ``x0, y0, x1, y1, ...``
            from 0 to 1, x to the right and y down. None takes the ten digits and a star.
        preset: The first drawing; None takes the first preset.
        betas: Recorded inverse temperatures, ascending and above 0, nats per unit of squared error.
        temperatures: Annealing steps to choose from; the last is where the widget starts.
        chains: Chains that run at once.
        leapfrogs: Leapfrog steps per transition.
        seed: Of the first run, 0 to 9999.

    Raises:
        ValueError: For a decoder that does not fit the image, strokes that are not pairs of numbers
            from 0 to 1, or settings out of range.
    """

    weights = traitlets.Instance(PageWeights).tag(sync=True, **widget_serialization)
    model = traitlets.Unicode(read_only=True).tag(sync=True)
    image_shape = traitlets.List(read_only=True).tag(sync=True)
    presets = traitlets.Dict(read_only=True).tag(sync=True)
    betas = traitlets.List(read_only=True).tag(sync=True)
    choices = traitlets.List(read_only=True).tag(sync=True)
    chains = traitlets.Int(read_only=True).tag(sync=True)
    leapfrogs = traitlets.Int(read_only=True).tag(sync=True)
    drawing = traitlets.List().tag(sync=True)
    # A kernel is sent a view of a buffer.
    pixels = traitlets.Bytes().tag(sync=True, from_json=lambda value, _: bytes(value))
    seed = traitlets.Int(min=0, max=9999).tag(sync=True)
    temperatures = traitlets.Int().tag(sync=True)
    curve = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        weights: PageWeights,
        model: str,
        image_shape: tuple[int, int],
        presets: Mapping[str, Sequence[Sequence[float]]] | None = None,
        badge: str = "",
        *,
        title: str = "Draw a digit",
        preset: str | None = None,
        betas: Sequence[float] = BETAS,
        temperatures: Sequence[int] = (30, 75, 150, 300),
        chains: int = 16,
        leapfrogs: int = 5,
        seed: int = 0,
    ) -> None:
        weights.check_images(model, image_shape)
        drawings = {
            str(name): _check_strokes(name, strokes)
            for name, strokes in (hand_drawn() if presets is None else presets).items()
        }
        first = next(iter(drawings), None) if preset is None else preset
        if first not in drawings:
            raise ValueError(f"no preset {first!r}: there are {list(drawings)}")
        recorded = check_ascending("betas", betas)
        if recorded[0] == 0:
            raise ValueError(f"betas should be above 0, got {betas}")
        choices = [int(count) for count in temperatures]
        if not choices or min(choices) < 1 or chains < 2 or leapfrogs < 1:
            raise ValueError(
                f"temperatures={choices}, chains={chains}, leapfrogs={leapfrogs}: "
                "should be at least 1, 2 and 1"
            )
        super().__init__(
            {
                "model": model,
                "image_shape": [int(side) for side in image_shape],
                "presets": drawings,
                "betas": [float(f"{beta:.7g}") for beta in recorded],
                "choices": choices,
                "chains": int(chains),
                "leapfrogs": int(leapfrogs),
            },
            weights=weights,
            title=title,
            badge=badge,
            seed=seed,
            drawing=drawings[first],
            temperatures=choices[-1],
        )

    def image(self) -> np.ndarray | None:
        """Return the page's image (H, W) of the drawing, in [0, 1]; None before there is one."""
        if not self.pixels:
            return None
        return np.frombuffer(self.pixels, np.uint8).reshape(self.image_shape) / 255

    @traitlets.validate("drawing")
    def _check_drawing(self, proposal) -> list:
        return _check_strokes("drawing", proposal["value"])

    _valid_temperatures = one_of("temperatures", lambda self: self.choices)


def hand_drawn() -> dict[str, list[list[float]]]:
    """Strokes of ten digits, and of a star, which is none."""
    return json.loads((FOLDER / "drawings.json").read_text("utf-8"))


def _check_strokes(name: str, strokes) -> list[list[float]]:
    rounded = [[round(float(value), 3) for value in stroke] for stroke in strokes]
    for stroke in rounded:
        if len(stroke) < 2 or len(stroke) % 2 or not all(0 <= value <= 1 for value in stroke):
            raise ValueError(
                f"a stroke of {name!r} should be x0, y0, x1, y1, ... from 0 to 1, got {stroke[:6]}"
            )
    if sum(map(len, rounded)) > MAX_NUMBERS:
        raise ValueError(f"{name!r} has more than {MAX_NUMBERS} coordinates")
    return rounded
