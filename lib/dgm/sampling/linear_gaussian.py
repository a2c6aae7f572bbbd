"""A linear system with Gaussian noise, whose likelihood Kalman's filter gives exactly.

    z_1 ~ N(0, first),  z_t = a z_{t-1} + N(0, q),  x_t = z_t + N(0, r),  variances in brackets.

Source: Kalman (1960), A new approach to linear filtering and prediction problems.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Walk(NamedTuple):
    """Particles of the system; the place before the first step is not used."""

    z: Tensor  # (R,)


class LinearGaussian(NamedTuple):
    """The system; `init` and `step` are `particle_bound`'s, with the prior as the proposal."""

    a: float = 0.9
    q: float = 0.5
    r: float = 0.3
    first: float = 1.0

    def filter(self, x: Tensor) -> tuple[float, Tensor, Tensor]:
        """log p(x (T,)) in nats, and the filtered mean and standard deviation of each z, (T,)."""
        mean, variance, log_p, moments = 0.0, self.first, 0.0, []
        for value in x.tolist():
            total = variance + self.r
            log_p -= 0.5 * (math.log(2 * math.pi * total) + (value - mean) ** 2 / total)
            gain = variance / total
            mean, variance = mean + gain * (value - mean), (1 - gain) * variance
            moments.append((mean, math.sqrt(variance)))
            mean, variance = self.a * mean, self.a**2 * variance + self.q
        means, deviations = torch.tensor(moments, dtype=torch.float64).T
        return log_p, means, deviations

    def init(self, rows: int, generator: torch.Generator | None) -> Walk:
        """The state before the first step."""
        return Walk(torch.zeros(rows, dtype=torch.float64, device=generator and generator.device))

    def step(
        self, state: Walk, x_t: Tensor, t: int, generator: torch.Generator | None
    ) -> tuple[Walk, Tensor]:
        """Moves particles to step t, and gives log p(x_t (R, 1) | z_t)."""
        noise = torch.randn(
            state.z.shape, generator=generator, dtype=state.z.dtype, device=state.z.device
        )
        return self.move(state, x_t, t, noise)

    def move(self, state: Walk, x_t: Tensor, t: int, noise: Tensor) -> tuple[Walk, Tensor]:
        """`step` with the given standard normal noise (R,)."""
        z = self.a * state.z + math.sqrt(self.q) * noise if t else math.sqrt(self.first) * noise
        log_alpha = -0.5 * ((x_t[:, 0] - z) ** 2 / self.r + math.log(2 * math.pi * self.r))
        return Walk(z), log_alpha
