"""Walks in the plane whose law is known: one matrix per sequence, and noise that changes its size.

    x_t = W x_{t-1} + sigma_t eps_t,  eps_t ~ N(0, I)                                          (6)

Source: Deng et al., arXiv:2002.10501, section 5.1; the law of W and the lengths are chosen here.
"""

from typing import NamedTuple

import torch
from torch import Tensor

DEVIATIONS = (0.25, 1.0, 4.0)  # the values of sigma_t
SUITES = ("test", "noiseless", "switch", "rand", "long", "zero-shot", "add")


class Dynamics(NamedTuple):
    """n sequences of T points each, and what they were drawn from; floats are float64."""

    observations: Tensor  # (n, T, 2), the first is x_0
    lengths: Tensor  # (n,) int64, all T
    matrices: Tensor  # (K, 2, 2)
    which: Tensor  # (n, T) int64, the place in `matrices` of each step's; -1 for an x_0
    deviation: Tensor  # (n, T), sigma_t; its first is where sigma starts and acts on no step
    switches: Tensor  # (n, T) bool, where sigma or W differs from the step before


def dynamics_matrices(k: int = 10, seed: int = 0) -> Tensor:
    """Draws k matrices W, (k, 2, 2) float64, entries from U(-1, 1); sequences may grow."""
    if k < 1 or seed < 0:
        raise ValueError(f"k={k}, seed={seed}: want k >= 1 and seed >= 0")
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(k, 2, 2, dtype=torch.float64, generator=generator) - 1


def switching_dynamics(
    n: int, seed: int = 0, suite: str = "test", n_steps: int = 50, matrices: Tensor | None = None
) -> Dynamics:
    """Draws n sequences of the plane of T = n_steps points each; same arguments, same numbers.

    With one seed the suites share x_0 and W: another than the training set's is for the suites

    - "test", the training set's law: x_0 ~ U[-1, 1]^2; W one of the K, evenly; sigma is one of
      `DEVIATIONS`, evenly, and changes at two different times among 1 to T - 1, evenly, to another.
    - "noiseless": sigma is 0. "long": noiseless, T = 2 n_steps.
    - "switch": three noiseless pieces, T = 3 n_steps, each with its own x_0 and another W.
    - "rand": W is the identity, T = 2 n_steps; sigma changes 0, 1, 2 or 3 times, evenly.
    - "zero-shot": noiseless, with ten matrices that no small seed gives.
    - "add": x_t = x_{t-1} + b, b and x_0 ~ U[0, 1]^2, W the identity.

    The matrices are (K, 2, 2); None is `dynamics_matrices()`, or the own of "rand", "zero-shot" and
    "add". ValueError for what is out of range, not asked for, or grows beyond what float64 holds.
    """
    if n < 1 or n_steps < 3 or seed < 0:
        raise ValueError(f"{n=}, {n_steps=}, {seed=}: want n >= 1, n_steps >= 3 and seed >= 0")
    matrices = _matrices(suite, matrices)
    generator = torch.Generator().manual_seed(seed)
    pieces = 3 if suite == "switch" else 1
    steps = 2 * n_steps if suite in ("rand", "long") else n_steps
    starts, chosen = [], []
    for _ in range(pieces):
        start = torch.rand(n, 2, dtype=torch.float64, generator=generator)
        starts.append(start if suite == "add" else 2 * start - 1)
        first, k = (chosen[-1], 1) if chosen else (0, 0)
        jump = torch.randint(k, len(matrices), (n,), generator=generator)
        chosen.append((first + jump) % len(matrices))

    length = pieces * steps
    deviation, switches, added = _noise(n, length, suite, generator)
    observations = torch.empty(n, length, 2, dtype=torch.float64)
    which = torch.full((n, length), -1)
    for piece in range(pieces):
        first = piece * steps
        observations[:, first] = x = starts[piece]
        switches[:, first] = piece > 0
        which[:, first + 1 : first + steps] = chosen[piece][:, None]
        weight = matrices[chosen[piece]]
        for t in range(first + 1, first + steps):
            observations[:, t] = x = (weight @ x[..., None])[..., 0] + added[:, t]
    if not observations.isfinite().all():
        radius = torch.linalg.eigvals(matrices).abs().max().item()
        problem = f"{n_steps=} is too long for float64 with an eigenvalue of size {radius:.3g}"
        raise ValueError(f"{problem}: want fewer steps or smaller matrices")
    lengths = torch.full((n,), length)
    return Dynamics(observations, lengths, matrices, which, deviation, switches)


def _noise(
    n: int, length: int, suite: str, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sigma (n, T), where it changes (n, T), and what is added to each step (n, T, 2)."""
    options = {"dtype": torch.float64, "generator": generator}
    deviation = torch.zeros(n, length, dtype=torch.float64)
    switches = torch.zeros(n, length, dtype=torch.bool)
    added = torch.zeros(n, length, 2, dtype=torch.float64)
    if suite in ("test", "rand"):
        # The place of each time in a random order: those below the count are where sigma changes.
        order, count = torch.rand(n, length - 1, **options).argsort(1), torch.full((n, 1), 2)
        if suite == "rand":
            count = torch.randint(4, (n, 1), generator=generator)
        switches[:, 1:] = order.argsort(1) < count
        jump = torch.randint(1, len(DEVIATIONS), (n, length), generator=generator) * switches
        jump[:, 0] = torch.randint(len(DEVIATIONS), (n,), generator=generator)
        values = torch.tensor(DEVIATIONS, dtype=torch.float64)
        deviation = values[jump.cumsum(1) % len(DEVIATIONS)]
        added = deviation[..., None] * torch.randn(n, length, 2, **options)
    if suite == "add":
        added += torch.rand(n, 1, 2, **options)
    return deviation, switches, added


def _matrices(suite: str, given: Tensor | None) -> Tensor:
    if suite not in SUITES:
        raise ValueError(f"no suite '{suite}'; there are {', '.join(SUITES)}")
    identity = torch.eye(2, dtype=torch.float64)[None]
    own = {"rand": identity, "add": identity, "zero-shot": dynamics_matrices(seed=10_000)}
    if given is None:
        return own.get(suite, dynamics_matrices())
    if suite in own:
        raise ValueError(f"suite '{suite}' has its own matrices: pass none ('noiseless' takes any)")
    least, given = 2 if suite == "switch" else 1, torch.as_tensor(given)
    if given.shape[1:] != (2, 2) or len(given) < least or not given.isfinite().all():
        expected = f"finite matrices (K, 2, 2), K >= {least}"
        raise ValueError(f"suite '{suite}' wants {expected}, got shape {tuple(given.shape)}")
    return given.detach().to("cpu", torch.float64, copy=True)
