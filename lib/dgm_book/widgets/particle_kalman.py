"""Particles against the Kalman filter: a linear-Gaussian system whose likelihood is known."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from .checks import in_range, one_of
from .frame import BookWidget

SYSTEM = {"a": 0.9, "q": 0.5, "r": 0.3, "first": 1.0}  # q, r and first are variances
FIVE = (0.5, -0.2, 1.1, 0.7, -0.4)
CRITERIA = {"never": "never", "ess": "ESS at half", "always": "every step"}
MAX_PARTICLES, MAX_STEPS = 64, 40
N_RUNS = 400  # behind each mean
FIRST_RUN = 10_000  # of them, after all that a seed may show


class ParticleKalman(BookWidget):
    """A run of particles with its family tree, beside the Kalman filter, and many runs' p(x).

    The system is z_1 ~ N(0, 1), z_t = 0.9 z_{t-1} + N(0, 0.5), x_t = z_t + N(0, 0.3), with
    variances in the brackets. Particles move as the prior does; ancestors are multinomial. With the
    criterion "never" the estimate is that of importance sampling (IWAE; at one particle the ELBO),
    else a particle filter's (FIVO).

    ``sequence``, ``particles``, ``criterion`` and ``seed`` follow the reader, and may be set.

    Args:
        sequences: Each with ``name``, ``label`` and ``x``, 2 to 40 finite observations; None takes
            the five of the chapter and 20 drawn from the system.
        sequence: The name that is shown first; else the first.
        particles: N, 1 to 64.
        criterion: When to resample: "never", "ess" (effective sample size at most N / 2) or
        "always".
        seed: Of the run that is drawn, 0 to 9999.

    Raises:
        ValueError: For sequences that are none, lack a key or share a name, for observations of
            another number or not finite, and for a setting out of range.
    """

    system = traitlets.Dict(SYSTEM, read_only=True).tag(sync=True)
    sequences = traitlets.List(read_only=True).tag(sync=True)
    sequence = traitlets.Unicode().tag(sync=True)
    title = traitlets.Unicode("Whose children survive? Particles against the exact filter").tag(
        sync=True
    )
    particles = traitlets.Int(16).tag(sync=True)
    criterion = traitlets.Unicode("ess").tag(sync=True)
    seed = traitlets.Int().tag(sync=True)

    def __init__(
        self, sequences: Sequence[Mapping] | None = None, badge: str = "", **chosen
    ) -> None:
        given = default_sequences() if sequences is None else sequences
        checked = [_checked(sequence) for sequence in given]
        names = [sequence["name"] for sequence in checked]
        if not checked or len(set(names)) < len(names):
            raise ValueError(f"sequences named {names}: want at least one, each name once")
        chosen = {"sequence": names[0], "badge": badge, **chosen}
        super().__init__({"sequences": checked}, **chosen)

    _valid_sequence = one_of("sequence", lambda self: [x["name"] for x in self.sequences])
    _valid_criterion = one_of("criterion", CRITERIA)
    _valid_particles = in_range("particles", 1, MAX_PARTICLES)
    _valid_seed = in_range("seed", 0, FIRST_RUN - 1)


def default_sequences() -> list[dict]:
    """The five observations of the chapter, and 20 drawn from the system itself with seed 0."""
    dice = np.random.default_rng(0)
    z, x = dice.normal(), []
    for _ in range(20):
        x.append(float(round(z + math.sqrt(SYSTEM["r"]) * dice.normal(), 4)))
        z = SYSTEM["a"] * z + math.sqrt(SYSTEM["q"]) * dice.normal()
    five = {"name": "five", "label": "five observations", "x": list(FIVE)}
    return [five, {"name": "twenty", "label": "20 observations, drawn", "x": x}]


def _checked(sequence: Mapping) -> dict:
    if missing := sorted({"name", "label", "x"} - set(sequence)):
        raise ValueError(f"sequence {sequence.get('name')!r} lacks {missing}")
    x = np.asarray(sequence["x"], float)
    if x.ndim != 1 or not 2 <= len(x) <= MAX_STEPS or not np.isfinite(x).all():
        raise ValueError(
            f"x of {sequence['name']!r}: want 2 to {MAX_STEPS} finite numbers, got {x}"
        )
    return {"name": str(sequence["name"]), "label": str(sequence["label"]), "x": x.tolist()}
