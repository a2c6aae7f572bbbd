"""The pilot run: it tunes what the annealing needs, which is then frozen for the run that counts.

Step sizes follow the acceptance of each image's chains; a diagonal mass, where one is wanted, follows
the spread of the chains over the axes; the variance of the energy says where temperatures are needed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from dgm.sampling import schedules
from dgm.sampling.annealing import AnnealingState, Move, adapt_step_sizes, start
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.hmc import HMCState, Randomness, Transition

PILOT_FRACTION = 0.25  # of the temperatures, enough to tune step sizes that change slowly with beta
MOST_KNOTS = 512  # of the step-size table, so that it does not grow with the number of temperatures
FEWEST_CHAINS_FOR_MASS = 4
SCHEDULES = ("default", "adaptive", "sigmoid")
MASSES = ("unit", "diagonal")
MASS_MEMORY = 0.8  # weight of the past in the running spread of the axes


class StepSizes(NamedTuple):
    """Frozen leapfrog step sizes an image, at K inverse temperatures."""

    beta: Tensor  # (K,) ascending
    step_size: Tensor  # (K, N)
    axis_scale: Tensor | None = None  # (K, N, D) of the step sizes of the axes; None: all are equal
    energy_variance: Tensor | None = None  # (K,) Var_beta(d), its mean over images

    def at(self, betas: Tensor) -> Tensor:
        """Step sizes (T, N) or (T, N, D) at betas (T,): log-linear in log beta, constant beyond the ends."""
        step = self.step_size
        if self.axis_scale is not None:
            step = step[..., None] * self.axis_scale
        if len(self.beta) == 1:
            return step.expand(len(betas), *step.shape[1:])
        knots, where = self.beta.log(), betas.log()
        right = torch.searchsorted(knots, where).clamp(1, len(knots) - 1)
        span = (knots[right] - knots[right - 1]).clamp(min=1e-12)
        t = ((where - knots[right - 1]) / span).clamp(0, 1).view(-1, *[1] * (step.ndim - 1))
        log_step = step.log()
        return torch.exp((1 - t) * log_step[right - 1] + t * log_step[right])

    def to(self, device: str | torch.device) -> "StepSizes":
        """The same table on a device."""
        return StepSizes(*(None if t is None else t.to(device) for t in self))


def pilot_counts(counts: Sequence[int]) -> list[int]:
    """Temperatures of the pilot run before each recorded beta."""
    return [max(1, math.ceil(PILOT_FRACTION * count)) for count in counts]


def pilot_run(
    problem: DecoderTarget,
    recorded: Tensor,
    counts: Sequence[int],
    scale: float,
    n_leapfrog: int,
    generator: Randomness,
    move: Move,
    bar: tqdm,
    *,
    diagonal_mass: bool = False,
) -> StepSizes:
    """Anneal with other random numbers at a quarter of the temperatures, and tune.

    Args:
        problem: the decoder, images and prior.
        recorded: (R,) betas that are passed through.
        counts: R numbers of temperatures of the run that counts.
        scale: beta at which the data matter.
        n_leapfrog: leapfrog steps a transition.
        generator: of its own random numbers.
        move: the transition.
        bar: is updated by one a temperature.
        diagonal_mass: also tune a step size an axis.
    """
    n_images, dim = len(problem.x), problem.shape[1]
    state = start(problem.target, problem.sample_prior(generator))
    betas = schedules.through(recorded, pilot_counts(counts), scale)
    stride = math.ceil((len(betas) - 1) / MOST_KNOTS)
    step_size = torch.full((n_images,), 0.1, dtype=torch.float64, device=problem.x.device)
    axis_scale = step_size.new_ones(n_images, dim)

    def scaled(
        target: object, chain: HMCState, beta: float, step: Tensor, *rest: object
    ) -> Transition:
        rows = axis_scale.repeat(problem.shape[0] // n_images, 1)
        return move(target, chain, beta, step[:, None] * rows, *rest)

    used = scaled if diagonal_mass else move
    # at a beta close to 0 the step sizes find their place before the annealing starts
    settle = [0.0] + [float(betas[1])] * 20
    state, table = adapt_step_sizes(
        problem.target, state, settle, step_size, n_leapfrog, generator, move=used
    )
    step_size, knots, rows, scales, variances = table[-1], [], [], [], []
    for first in range(0, len(betas) - 1, stride):
        block = betas[first : first + stride + 1]
        state, table = adapt_step_sizes(
            problem.target, state, block, step_size, n_leapfrog, generator, move=used
        )
        step_size = table[-1]
        knots.append(block[-1])
        rows.append(table.log().mean(0).exp())
        scales.append(axis_scale)
        variances.append(_weighted_variance(state, n_images))
        if diagonal_mass:
            spread = state.chain.position.double().view(-1, n_images, dim).std(0).log()
            relative = spread - spread.mean(1, keepdim=True)
            axis_scale = torch.exp(MASS_MEMORY * axis_scale.log() + (1 - MASS_MEMORY) * relative)
        bar.update(len(block) - 1)
    return StepSizes(
        torch.stack(knots),
        torch.stack(rows).cpu(),
        torch.stack(scales).cpu() if diagonal_mass else None,
        _smooth(*torch.stack(variances, 1).cpu()),
    )


def _weighted_variance(state: AnnealingState, n_images: int) -> Tensor:
    """Var_beta(d), its mean over images, as the two parts of a fraction, (2,).

    Weighted, because chains that lag behind or sit in a mode that hardly counts have large distortions;
    a fraction of sums over images, because the few chains of one image tell little.
    """
    weight = state.log_weight.view(-1, n_images).softmax(0)
    energy = state.chain.energy.view(-1, n_images)
    spread = (weight * (energy - (weight * energy).sum(0)).square()).sum()
    return torch.stack([spread, (1 - weight.square().sum(0)).sum()])


def _smooth(spread: Tensor, freedom: Tensor) -> Tensor:
    """The fraction of the two (K,), each averaged over its neighbours in log space."""
    width = len(spread) // 40
    logs = (spread / freedom.clamp(min=1e-6)).clamp(min=1e-30).log()
    padded = torch.cat([logs[:1].expand(width), logs, logs[-1:].expand(width)])
    return padded.unfold(0, 2 * width + 1, 1).mean(1).exp()


def given_step_sizes(
    given: float | Tensor | StepSizes, recorded: Tensor, n_images: int, latent_dim: int
) -> StepSizes:
    """A table from a number, a tensor (N,) or (R, N), or an earlier table.

    Raises:
        ValueError: they are not positive or do not fit.
    """
    if isinstance(given, StepSizes):
        table = StepSizes(*(None if t is None else t.double().cpu() for t in given))
    else:
        values = torch.as_tensor(given, dtype=torch.float64, device="cpu").detach()
        if values.ndim == 0:
            values = values.expand(n_images)
        table = (
            StepSizes(recorded, values)
            if values.ndim > 1
            else StepSizes(recorded[:1], values[None])
        )
    shape = (len(table.beta), n_images)
    if table.step_size.shape != shape or not bool((table.step_size > 0).all()):
        raise ValueError(
            f"step_sizes must be positive: a number, ({n_images},) or {shape}, "
            f"got shape {tuple(table.step_size.shape)}"
        )
    if table.axis_scale is not None and table.axis_scale.shape != (*shape, latent_dim):
        raise ValueError(
            f"step_sizes.axis_scale must be {(*shape, latent_dim)}, got "
            f"{tuple(table.axis_scale.shape)}"
        )
    return table


def choose_schedule(
    name: str, recorded: Tensor, counts: Sequence[int], scale: float, table: StepSizes
) -> Tensor:
    """The temperatures (T + 1,) of the run that counts, T the sum of `counts` for each name."""
    if name == "sigmoid":
        return schedules.sigmoid_through(recorded, sum(counts))
    if name == "adaptive":
        return schedules.equal_length(recorded, sum(counts), table.beta, table.energy_variance)
    return schedules.through(recorded, counts, scale)


def check_settings(
    schedule: str,
    mass: str,
    jitter: float,
    n_chains: int,
    step_sizes: float | Tensor | StepSizes | None,
    scale: float | None,
) -> None:
    """Refuse settings of the pilot run and of what follows it that make no sense.

    Raises:
        ValueError: what is wrong, and what would be right.
    """
    for name, value, known in (("schedule", schedule, SCHEDULES), ("mass", mass, MASSES)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter must lie in [0, 1), got {jitter}")
    if mass == "diagonal" and n_chains < FEWEST_CHAINS_FOR_MASS:
        raise ValueError(
            f'mass="diagonal" needs at least {FEWEST_CHAINS_FOR_MASS} chains an image to see their '
            f"spread, got n_chains={n_chains}"
        )
    measured = isinstance(step_sizes, StepSizes) and step_sizes.energy_variance is not None
    if schedule == "adaptive" and (n_chains < 2 or not (step_sizes is None or measured)):
        raise ValueError(
            'schedule="adaptive" needs a pilot run of at least two chains an image: step_sizes=None, or '
            "the step_sizes of an earlier curve"
        )
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive and finite, got {scale}")
