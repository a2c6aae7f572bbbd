"""Widgets of recurrent networks and particles."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets

from . import checks
from .frame import BookWidget
from .hyper_weights import HyperWeights
from .packing import shared
from .settings import choice, items, number, parts, sent, setting, text, whole, within

LONGEST = 10_000
DEVIATIONS = (0.25, 1.0, 4.0)
FREEZES = 20  # steps of the slider


def _matrices(matrices) -> np.ndarray:
    w = checks.array("matrices", matrices, "K 2 2")
    checks.span("the number of matrices", len(w), 2, 12)
    return w


def _schedule(widget: Any, name: str, rows: Sequence) -> list[list]:
    rows = [[int(t), int(which), float(sigma)] for t, which, sigma in rows]
    times = checks.ascending("times of the schedule", [row[0] for row in rows], least=1)
    checks.span("the first time of the schedule", times[0], 0, 0)
    checks.span("the last time of the schedule", times[-1], 0, LONGEST)
    for _, which, sigma in rows:
        checks.span("a matrix of the schedule", which, 0, len(widget.matrices) - 1)
        checks.choice("sigma of the schedule", sigma, DEVIATIONS)
    return rows


def _first_schedule(w: np.ndarray, change: int) -> list[list]:
    """One change of W at the middle sigma, if possible between systems that do not grow."""
    radius = np.abs(np.linalg.eigvals(w)).max(1)
    first, second = sorted(range(len(w)), key=lambda k: (radius[k] >= 1, k))[:2]
    return [[0, first, DEVIATIONS[1]], [change, second, DEVIATIONS[1]]]


def _freeze(widget: Any, name: str, value: float) -> float:
    if not (0 <= value <= 1 and abs(value * FREEZES % 1 - 0.5) > 0.499):
        raise ValueError(f"{name}={value}: want a multiple of 0.05 from 0 to 1")
    return value


class SwitchNow(BookWidget):
    """A system x_t = W x_{t-1} + sigma e_t in the page, and how models and exact Bayes follow it.

    The reader switches W and sets sigma. Shown are each model's prediction, mean +- 2 deviations
    over particles; its KL per step; and the exact posterior over the K matrices (K, 2, 2), which
    change with probability `hazard` per step. Rows [t, which, sigma] of ``schedule`` are in force
    from t on.
    """

    _bundle, _link = "switch_now", "switch"
    title = text("Switch the matrix, and watch who notices")
    weights = shared(HyperWeights)
    matrices = sent()
    deviations = sent()
    models = sent()
    options = sent(traitlets.Dict)
    seed = whole(0, 0, 9999)
    steps = whole(60, 1, LONGEST)
    speed = whole(8, 1, 30)
    schedule = setting(
        traitlets.List(),
        _schedule,
        lambda self: items(
            parts(
                within("whole", 0, LONGEST),
                within("whole", 0, len(self.matrices) - 1),
                {"kind": "choice", "choices": list(DEVIATIONS)},
            ),
            *(1, LONGEST),
            rising=True,
        ),
    )

    def __init__(
        self, weights: HyperWeights, matrices, badge="", schedule: Sequence | None = None, **chosen
    ) -> None:
        w = _matrices(matrices)
        models = [weights.first(kind) for kind in ("vhrnn", "vrnn")]  # the model and its baseline
        fixed = {
            "models": [weights.check_frames(name, 2, "gaussian") for name in models],
            "matrices": w.tolist(),
            "deviations": list(DEVIATIONS),
            "options": {"n_particles": 32, "window": 60, "hazard": 0.04, "bound": 60.0},
        }
        schedule = _first_schedule(w, 30) if schedule is None else list(schedule)
        super().__init__(fixed, weights=weights, badge=badge, schedule=schedule, **chosen)


class ScaleWeather(BookWidget):
    """All that a VHRNN generates for its cell along one sequence, as a heat map over time.

    A row is one generated number over time, minus its mean m. Freezing by f replaces each generated
    number g by (1 - f) g + f m: at f = 1 the weights are as constant as a VRNN's.
    """

    _bundle, _link = "scale_weather", "weather"
    title = text("The weather of the weights")
    weights = shared(HyperWeights)
    matrices = sent()
    network = sent(traitlets.Unicode)
    schedule = sent()
    options = sent(traitlets.Dict)
    freeze = setting(traitlets.Float(0.0), _freeze, within("number", 0, 1, step=1 / FREEZES))
    seed = whole(0, 0, 9999)

    def __init__(
        self, weights: HyperWeights, matrices: np.ndarray, badge: str = "", **chosen
    ) -> None:
        w, steps = _matrices(matrices), 90
        (first, second) = _first_schedule(w, steps // 3)
        fixed = {
            "network": weights.check_frames(weights.first("vhrnn"), 2, "gaussian"),
            "matrices": w.tolist(),
            "schedule": [first, second, [2 * steps // 3, second[1], DEVIATIONS[0]]],
            "options": {"steps": steps, "n_particles": 16, "bound": 60.0},
        }
        super().__init__(fixed, weights=weights, badge=badge, **chosen)


SYSTEM = {"a": 0.9, "q": 0.5, "r": 0.3, "first": 1.0}  # q, r and first are variances
FIVE = (0.5, -0.2, 1.1, 0.7, -0.4)
CRITERIA = {"never": "never", "ess": "ESS at half", "always": "every step"}
MAX_PARTICLES, MAX_STEPS = 64, 40
N_RUNS = 400  # behind each mean
FIRST_RUN = 10_000  # of them, after all that a seed may show


class ParticleKalman(BookWidget):
    """A run of particles with its family tree, beside the Kalman filter, and many runs' p(x).

    z_1 ~ N(0, 1), z_t = 0.9 z_{t-1} + N(0, 0.5), x_t = z_t + N(0, 0.3), with variances.
    ``criterion`` says when to resample; "never" is importance sampling (IWAE), else a particle
    filter (FIVO).
    """

    _bundle, _link = "particle_kalman", "particles"
    title = text("Whose children survive? Particles against the exact filter")
    system = traitlets.Dict(SYSTEM, read_only=True).tag(sync=True)
    sequences = sent()
    sequence = choice(lambda self: [x["name"] for x in self.sequences])
    particles = whole(16, 1, MAX_PARTICLES)
    criterion = choice(CRITERIA, "ess")
    seed = whole(0, 0, FIRST_RUN - 1)

    def __init__(self, badge: str = "", **chosen) -> None:
        start = {"sequence": "five", "badge": badge}
        super().__init__({"sequences": default_sequences()}, **start | chosen)


def default_sequences() -> list[dict]:
    """The five observations of the chapter, and 20 drawn from the system itself with seed 0."""
    dice = np.random.default_rng(0)
    z, x = dice.normal(), []
    for _ in range(20):
        x.append(float(round(z + math.sqrt(SYSTEM["r"]) * dice.normal(), 4)))
        z = SYSTEM["a"] * z + math.sqrt(SYSTEM["q"]) * dice.normal()
    five = {"name": "five", "label": "five observations", "x": list(FIVE)}
    return [five, {"name": "twenty", "label": "20 observations, drawn", "x": x}]


LOWEST, KEYS = 21, 88  # the piano's first key as a MIDI number, and how many there are
MAX_OPENING, MAX_LENGTH, MAX_PIECE = 16, 96, 112  # frames
# Made for this book, four voices as MIDI numbers; none is from a data set.
_CADENCE = [[45, 57, 60, 64], [50, 57, 62, 65], [52, 56, 59, 64], [45, 57, 60, 64]]
_TWICE = [chord for chord in _CADENCE for _ in range(2)]
_SCALE = [[pitch] for pitch in (60, 62, 64, 65, 67, 69, 71, 72)]
# The chords of the first four bars of Bach's prelude in C, BWV 846.
_PRELUDE = [
    [60, 64, 67, 72, 76],
    [60, 62, 69, 74, 77],
    [59, 62, 67, 74, 77],
    [60, 64, 67, 72, 76],
]
OPENINGS = (
    {"name": "major", "label": "C major, held", "frames": [[48, 55, 64, 72]] * 4},
    {"name": "minor", "label": "A minor cadence", "frames": _TWICE},
    {"name": "bach", "label": "Bach, first prelude", "frames": _PRELUDE},
    {"name": "scale", "label": "rising scale", "frames": _SCALE},
    {"name": "silence", "label": "silence", "frames": [[]] * 4},
)


def _frames(name: str, given: Sequence, least: int, most: int) -> list[list[int]]:
    checks.span(f"frames of {name}", len(given), least, most)
    for t, pitches in enumerate(given):
        if np.ndim(pitches) != 1:
            raise ValueError(f"frame {t} of {name}: want a list of MIDI numbers, got {pitches!r}")
        if not all(pitch in range(LOWEST, LOWEST + KEYS) for pitch in pitches):
            raise ValueError(f"frame {t} of {name}: want MIDI numbers 21 to 108, got {pitches}")
    return [sorted({int(pitch) for pitch in pitches}) for pitches in given]


class Chorale(BookWidget):
    """A model of piano rolls writes on from an opening; the page shows the roll and plays it.

    16 particles read the opening, frames of MIDI numbers from 21 to 108; one writes on.
    ``temperature`` multiplies z's deviations and divides the keys' logits; ``tempo`` is in frames a
    minute; ``piece`` is what the page wrote, its opening in front.
    """

    _bundle, _link = "chorale", "chorale"
    title = text("Listen: the model writes a chorale")
    weights = shared(HyperWeights)
    openings = sent()
    model = choice(lambda self: self.weights.names)
    opening = setting(
        traitlets.List(),
        lambda _, *x: _frames(x[0], x[1], 1, MAX_OPENING),
        items(items(within("whole", LOWEST, LOWEST + KEYS - 1), 0, KEYS), 1, MAX_OPENING),
    )
    temperature = number(1.0, 0.3, 1.5)
    tempo = whole(110, 40, 240)
    length = whole(48, 8, MAX_LENGTH)
    seed = whole(0, 0, 2**20 - 1)
    piece = setting(traitlets.List(), lambda _, *x: _frames(x[0], x[1], 0, MAX_PIECE))

    def __init__(self, weights: HyperWeights, badge: str = "", **chosen) -> None:
        for name in weights.names:
            weights.check_frames(name, KEYS, "bernoulli")
        start = {"model": weights.names[-1], "opening": OPENINGS[0]["frames"], "badge": badge}
        super().__init__({"openings": list(OPENINGS)}, weights=weights, **start | chosen)
