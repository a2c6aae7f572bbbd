"""The pilot run: it tunes what the annealing needs, which is then frozen for the run that counts.

Step sizes follow the acceptance of each image's chains; a diagonal mass, where one is asked for,
follows the spread of the chains over the axes; the variance of the energy says where temperatures
are needed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from dgm.sampling import schedules
from dgm.sampling.annealing import AnnealingState, Kernel, annealing_step, start
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.hmc import Randomness
from dgm.sampling.schedules import SCHEDULES, StepSizes

PILOT_FRACTION = 0.25  # of the temperatures
MOST_KNOTS = 512  # of the step-size table, so that it does not grow with the temperatures
FEWEST_CHAINS_FOR_MASS = 4
MASSES = ("unit", "diagonal")
MASS_MEMORY = 0.8  # weight of the past in the running spread of the axes
STEP_SIZE_RANGE = (1e-6, 0.5)
TARGET_ACCEPTANCE = 0.65
GAIN = 0.5  # change of log step size per unit of missed acceptance


class SamplerOptions(NamedTuple):
    """How the chains move, which changes their time and scatter, never what they estimate."""

    # Of the leapfrog's forces, never of acceptance and weights: "same" as the decoder's, "bfloat16"
    # from a copy of it, "tf32" on a CUDA device; "auto" is bfloat16 on a CUDA device that has it,
    # where the decoder's work is large, else the same.
    force_precision: str = "auto"
    # "default": equal steps in asinh(beta / scale). "adaptive": equal thermodynamic length, as the
    # pilot run measured it. "sigmoid": the paper's. All with the same number of temperatures.
    schedule: str = "default"
    mass: str = "unit"  # or "diagonal": a step size per axis, from the spread of the pilot's chains
    # Of step sizes, by random factors from 1 - jitter to 1 + jitter: none turns in circles.
    jitter: float = 0.4
    compile: bool = False  # transitions by torch.compile, a minute at the start; needs a compiler
    scale: float | None = None  # beta at which the data begin to matter; None estimates it


def check_options(
    options: SamplerOptions, n_chains: int, step_sizes: float | Tensor | StepSizes | None = None
) -> None:
    """Refuses options that make no sense: a ValueError says what would be right."""
    if not isinstance(options, SamplerOptions):
        raise ValueError(f"options must be SamplerOptions(...), got {type(options).__name__}")
    for name, allowed in (("schedule", SCHEDULES), ("mass", MASSES)):
        if (value := getattr(options, name)) not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    if not 0 <= options.jitter < 1:
        raise ValueError(f"jitter must lie in [0, 1), got {options.jitter}")
    if options.mass == "diagonal" and n_chains < FEWEST_CHAINS_FOR_MASS:
        least = f"at least {FEWEST_CHAINS_FOR_MASS} chains per image to see their spread"
        raise ValueError(f'mass="diagonal" needs {least}, got n_chains={n_chains}')
    measured = isinstance(step_sizes, StepSizes) and step_sizes.energy_variance is not None
    if options.schedule == "adaptive" and (n_chains < 2 or not (step_sizes is None or measured)):
        raise ValueError(
            'schedule="adaptive" needs a pilot run of at least two chains per image: '
            "step_sizes=None, or the step_sizes of an earlier curve"
        )
    if (scale := options.scale) is not None and not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, got {scale}")


def pilot_run(
    target: DecoderTarget,
    betas: Tensor,
    steps: Sequence[int],
    scale: float,
    kernel: Kernel,
    generator: Randomness,
    bar: tqdm,
    *,
    mass: str,
) -> StepSizes:
    """Anneal through betas (R,) at a quarter of the temperatures `steps` (R,), and tune.

    With mass="diagonal" also a step size per axis. These chains depend on their own history, so
    their weights do not count: the run has another generator, and the frozen table.
    """
    n_images, dim = len(target.x), target.shape[1]
    state = start(target, target.sample_prior(generator))
    fewer = [max(1, math.ceil(PILOT_FRACTION * n)) for n in steps]
    ladder = schedules.through(betas, fewer, scale)
    bar.total = (bar.total or 0) + len(ladder) - 1
    stride = math.ceil((len(ladder) - 1) / MOST_KNOTS)
    step_size = torch.full((n_images,), 0.1, dtype=torch.float64, device=target.x.device)
    axis_scale = step_size.new_ones(n_images, dim) if mass == "diagonal" else None
    # at a beta close to 0 the step sizes find their place before the annealing starts
    blocks = [ladder[1].repeat(20), *ladder[1:].split(stride)]
    rows, scales, variances = [], [], []
    for i, block in enumerate(blocks):
        table = []
        for beta in block.tolist():
            size = step_size if axis_scale is None else step_size[:, None] * axis_scale
            state = annealing_step(target, state, beta, size, kernel, generator)
            missed = state.acceptance.view(-1, n_images).mean(0) - TARGET_ACCEPTANCE
            step_size = (step_size * torch.exp(GAIN * missed)).clamp(*STEP_SIZE_RANGE)
            table.append(step_size)
        if i == 0:
            state = state._replace(beta=0.0)
            continue
        rows.append(torch.stack(table).log().mean(0).exp())
        variances.append(_weighted_variance(state, n_images))
        if axis_scale is not None:
            scales.append(axis_scale)
            spread = state.chain.position.double().view(-1, n_images, dim).std(0).log()
            relative = spread - spread.mean(1, keepdim=True)
            axis_scale = torch.exp(MASS_MEMORY * axis_scale.log() + (1 - MASS_MEMORY) * relative)
        bar.update(len(block))
    return StepSizes(
        torch.stack([block[-1] for block in blocks[1:]]),
        torch.stack(rows).cpu(),
        torch.stack(scales).cpu() if scales else None,
        _smooth(*torch.stack(variances, 1).cpu()),
    )


def _weighted_variance(state: AnnealingState, n_images: int) -> Tensor:
    """Var_beta(d), its mean over images, as the two parts of a fraction, (2,).

    Weighted, because chains that lag behind have large distortions; a fraction of sums over
    images, because the chains of one image say little.
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
    given: float | Tensor | StepSizes | None, betas: Tensor, n_images: int, latent_dim: int
) -> StepSizes | None:
    """A table from a number, a tensor (N,) or (R, N), or an earlier table; None of None."""
    if given is None:
        return None
    if isinstance(given, StepSizes):
        table = given.to("cpu", torch.float64)
    else:
        values = torch.as_tensor(given, dtype=torch.float64, device="cpu").detach()
        values = torch.atleast_2d(values.expand(n_images) if values.ndim == 0 else values)
        table = StepSizes(betas[:1] if len(values) == 1 else betas, values)
    shape, scale = (len(table.beta), n_images), table.axis_scale
    if table.step_size.shape != shape or not bool((table.step_size > 0).all()):
        raise ValueError(
            f"step_sizes must be positive: a number, ({n_images},) or {shape}, "
            f"got shape {tuple(table.step_size.shape)}"
        )
    if scale is not None and scale.shape != (*shape, latent_dim):
        wrong = f"must be {(*shape, latent_dim)}, got {tuple(scale.shape)}"
        raise ValueError(f"step_sizes.axis_scale {wrong}")
    return table
