"""Particles against the Kalman filter: a linear-Gaussian system whose likelihood is known exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

SYSTEM = {"a": 0.9, "q": 0.5, "r": 0.3, "first": 1.0}  # q, r and first are variances
FIVE = (0.5, -0.2, 1.1, 0.7, -0.4)
CRITERIA = {"never": "never", "ess": "ESS at half", "always": "every step"}
MAX_PARTICLES, MAX_STEPS = 64, 40
N_RUNS = 400  # behind each mean
_FIRST_RUN = 10_000  # of them, after all that a seed may show
LOOKS = {"never": (frame.ORANGE, "s--"), "ess": (frame.BLUE, "o-"), "always": ("#009E73", "^:")}


class Cloud(NamedTuple):
    """R runs of N particles over T steps: states, weights that sum to one, parents, ESS, and the estimates.

    ``z``, ``weights`` and ``parents`` are (R, T, N), ``ess`` (T, R), before resampling, ``resampled`` (T, R)
    bool, and ``log_likelihood`` (R,) in nats.
    """

    z: np.ndarray
    weights: np.ndarray
    parents: np.ndarray
    ess: np.ndarray
    resampled: np.ndarray
    log_likelihood: np.ndarray


class ParticleKalman(anywidget.AnyWidget):
    """One run of particles with its family tree, beside the Kalman filter, and what many runs say of p(x).

    The system is z_1 ~ N(0, 1), z_t = 0.9 z_{t-1} + N(0, 0.5), x_t = z_t + N(0, 0.3), with variances in the
    brackets. Particles move as the prior does; ancestors are multinomial. With the criterion "never" the
    estimate is that of importance sampling (IWAE; at one particle the ELBO), else a particle filter's (FIVO).

    ``sequence``, ``particles``, ``criterion`` and ``seed`` follow the reader, and may be set. The page draws
    the same numbers as `run` and `estimates`.

    Args:
        sequences: Each with ``name``, ``label`` and ``x``, 2 to 40 finite observations; None takes the five
            of the chapter and 20 drawn from the system.
        badge: What stands beside the title.
        sequence: The name that is shown first; None takes the first.
        particles: N, 1 to 64.
        criterion: When to resample: "never", "ess" (effective sample size at most N / 2) or "always".
        seed: Of the run that is drawn, 0 to 9999.
        title: What stands above the widget.

    Raises:
        ValueError: For sequences that are none, lack a key or share a name, for observations of another
            number or not finite, and for a setting out of range.
    """

    _esm = frame.module("pooling.js", "linear_gaussian.js", "particle_kalman.js")
    _css = frame.style() + (frame.FOLDER / "music.css").read_text("utf-8")

    system = traitlets.Dict(SYSTEM, read_only=True).tag(sync=True)
    sequences = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    sequence = traitlets.Unicode().tag(sync=True)
    particles = traitlets.Int().tag(sync=True)
    criterion = traitlets.Unicode().tag(sync=True)
    seed = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        sequences: Sequence[Mapping] | None = None,
        badge: str = "",
        *,
        sequence: str | None = None,
        particles: int = 16,
        criterion: str = "ess",
        seed: int = 0,
        title: str = "Whose children survive? Particles against the exact filter",
    ) -> None:
        made = default_sequences() if sequences is None else [_checked(s) for s in sequences]
        names = [one["name"] for one in made]
        if not made or len(set(names)) < len(names):
            raise ValueError(f"sequences named {names}: want at least one, each name once")
        self._x = {one["name"]: np.array(one["x"]) for one in made}
        chosen = {"particles": particles, "criterion": criterion, "seed": seed}
        start = names[0] if sequence is None else sequence
        super().__init__(title=title, badge=badge, sequence=start, **chosen)
        self.set_trait("sequences", made)

    @traitlets.validate("sequence", "criterion")
    def _known(self, proposal) -> str:
        name, value = proposal["trait"].name, proposal["value"]
        choices = list(self._x if name == "sequence" else CRITERIA)
        if value not in choices:
            raise ValueError(f"{name}={value!r}: want one of {choices}")
        return value

    @traitlets.validate("particles", "seed")
    def _in_range(self, proposal) -> int:
        name, value = proposal["trait"].name, proposal["value"]
        low, high = {"particles": (1, MAX_PARTICLES), "seed": (0, _FIRST_RUN - 1)}[name]
        if not low <= value <= high:
            raise ValueError(f"{name}={value}: want {low} to {high}")
        return value

    @property
    def x(self) -> np.ndarray:
        """The observations of the sequence that is shown, (T,)."""
        return self._x[self.sequence]

    @property
    def exact(self) -> float:
        """The log-likelihood of the sequence that is shown, nats, by the Kalman filter."""
        return kalman(self.x)[0]

    def run(self) -> Cloud:
        """Return the run that is drawn, R = 1."""
        return _filter(self.x, self.particles, self.criterion, np.array([self.seed]))

    def estimates(self, n_particles: int | None = None, criterion: str | None = None) -> np.ndarray:
        """Return what each of 400 runs makes of the log-likelihood, (400,) nats; None takes what is set."""
        n, rule = n_particles or self.particles, criterion or self.criterion
        return _filter(self.x, n, rule, _FIRST_RUN + np.arange(N_RUNS)).log_likelihood

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(7.6, 3.6), layout="constrained")
        tree, bounds = figure.subplots(1, 2, width_ratios=[1.4, 1])
        exact, mean, deviation = kalman(self.x)
        cloud = self.run()
        steps = np.arange(1, len(self.x) + 1)
        tree.fill_between(
            steps, mean - 2 * deviation, mean + 2 * deviation, color="black", alpha=0.1
        )
        alive = survivors(cloud.parents[0])
        for t in range(1, len(steps)):
            parents = cloud.parents[0, t]
            ends = np.stack([cloud.z[0, t - 1, parents], cloud.z[0, t]])
            for strong in (False, True):
                shown = ends[:, alive[t] == strong]
                look = {"alpha": 0.85 if strong else 0.2, "linewidth": 1.0}
                tree.plot(steps[t - 1 : t + 1], shown, color=frame.BLUE, **look)
        tree.plot(steps, mean, "k-", linewidth=1.6)
        tree.plot(steps, self.x, "x", color=frame.GREY)
        tree.set(xlabel="step", ylabel="state z")
        bounds.axhline(exact, color="black", linewidth=1.2)
        for name, (color, style) in LOOKS.items():
            found = self.estimates(criterion=name)
            error = found.std(ddof=1) / math.sqrt(N_RUNS)
            bounds.errorbar(CRITERIA[name], found.mean(), error, fmt=style[0], color=color)
        bounds.set(
            xlabel="resampled", ylabel="nats", title=f"log p(x) = {exact:.3f}, N = {self.particles}"
        )
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        chosen = f"particles={self.particles}, criterion={self.criterion!r}, seed={self.seed}"
        return f"ParticleKalman(sequence={self.sequence!r}, {chosen})"


def default_sequences() -> list[dict]:
    """Return the five observations of the chapter, and 20 that the system itself made with seed 0."""
    dice = np.random.default_rng(0)
    z, x = dice.normal(), []
    for _ in range(20):
        x.append(float(round(z + math.sqrt(SYSTEM["r"]) * dice.normal(), 4)))
        z = SYSTEM["a"] * z + math.sqrt(SYSTEM["q"]) * dice.normal()
    five = {"name": "five", "label": "five observations", "x": list(FIVE)}
    return [five, {"name": "twenty", "label": "20 observations, drawn", "x": x}]


def kalman(x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return log p(x) in nats, and the filtered mean and deviation of each state, (T,)."""
    a, q, r, p = SYSTEM.values()
    m, log_likelihood = 0.0, 0.0
    moments = []
    for seen in x:
        s = p + r
        log_likelihood -= (math.log(2 * math.pi * s) + (seen - m) ** 2 / s) / 2
        m, p = m + p / s * (seen - m), p * r / s
        moments.append((m, math.sqrt(p)))
        m, p = a * m, a**2 * p + q
    return float(log_likelihood), *np.array(moments).T


def survivors(parents: np.ndarray) -> np.ndarray:
    """Return whether one of the last step descends from each particle, (T, N), from the parents (T, N)."""
    alive = np.ones(parents.shape, bool)
    for t in range(len(parents) - 2, -1, -1):
        alive[t] = np.isin(np.arange(parents.shape[1]), parents[t + 1, alive[t + 1]])
    return alive


def _filter(x: np.ndarray, n: int, criterion: str, runs: np.ndarray) -> Cloud:
    """Run N particles over x (T,) for each of the runs (R,), each known by its number."""
    a, q, r, first = SYSTEM.values()
    z, log_w = np.zeros((2, len(runs), n))
    estimate, anew = np.zeros(len(runs)), np.zeros(len(runs), bool)
    parents = np.tile(np.arange(n), (len(runs), 1))
    kept = []
    for t, seen in enumerate(x):
        radius, turn, chance = _uniforms(runs, t, n)
        noise = np.sqrt(-2 * np.log(1 - radius)) * np.cos(2 * np.pi * turn)
        z = a * np.take_along_axis(z, parents, 1) + math.sqrt(q if t else first) * noise
        log_w = np.where(anew[:, None], 0, log_w)
        log_w = log_w - (math.log(2 * math.pi * r) + (seen - z) ** 2 / r) / 2
        top = log_w.max(1, keepdims=True)
        w = np.exp(log_w - top)
        total = w.sum(1, keepdims=True)
        w = w / total
        ess = 1 / (w**2).sum(1)
        last = t == len(x) - 1
        anew = {"never": ess < 0, "ess": ess <= n / 2, "always": ess > 0}[criterion] & (not last)
        kept.append((z, w, parents, ess, anew))
        estimate += np.where(anew | last, (top + np.log(total / n))[:, 0], 0)
        drawn = (w.cumsum(1)[:, None, :-1] <= chance[:, :, None]).sum(2)
        parents = np.where(anew[:, None], drawn, np.arange(n))
    z, w, parents, ess, resampled = (np.stack(part) for part in zip(*kept, strict=True))
    return Cloud(*(v.swapaxes(0, 1) for v in (z, w, parents)), ess, resampled, estimate)


def _uniforms(runs: np.ndarray, step: int, n: int) -> np.ndarray:
    """The page's own draws, (3, R, N): two for each particle's noise, one for its ancestor (Mulberry32)."""
    place = np.stack([2 * np.arange(n), 2 * np.arange(n) + 1, 2 * MAX_PARTICLES + np.arange(n)])
    count = (runs[:, None] * MAX_STEPS + step) * 3 * MAX_PARTICLES + place[:, None] + 1
    state = (count.astype(np.uint64) * np.uint64(0x6D2B79F5)).astype(np.uint32)
    t = (state ^ (state >> 15)) * (state | 1)
    t ^= t + (t ^ (t >> 7)) * (t | 61)
    return (t ^ (t >> 14)) / 2**32


def _checked(given: Mapping) -> dict:
    if lacks := sorted({"name", "label", "x"} - set(given)):
        raise ValueError(f"sequence {given.get('name')!r} lacks {lacks}")
    x = np.asarray(given["x"], float)
    if x.ndim != 1 or not 2 <= len(x) <= MAX_STEPS or not np.isfinite(x).all():
        raise ValueError(f"x of {given['name']!r}: want 2 to {MAX_STEPS} finite numbers, got {x}")
    return {"name": str(given["name"]), "label": str(given["label"]), "x": x.tolist()}
