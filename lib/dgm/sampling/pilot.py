"""The pilot run tunes what the annealing needs; it is then frozen for the run that counts."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from dgm.sampling import schedules
from dgm.sampling.annealing import Kernel, annealing_step, start
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

    # Of forces alone: "same" as the decoder's, "bfloat16" from a copy of it, "tf32" on a CUDA
    # device; "auto" is bfloat16 where the device computes in it and the work is large (on a CPU
    # with AVX-512 BF16 or AMX, for plain perceptrons), else the same: never by timing.
    force_precision: str = "auto"
    # Equal steps in asinh(beta / scale), "adaptive" ones in thermodynamic length, or the "sigmoid".
    schedule: str = "default"
    mass: str = "unit"  # or "diagonal": a step size per axis, from the spread of the pilot's chains
    jitter: float = 0.4  # of step sizes, by random factors from 1 - jitter to 1 + jitter
    # Transitions by torch.compile, a minute at the start; needs a compiler. A plain perceptron on a
    # CPU has its own derivative instead, at once.
    compile: bool = False
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
        pilot = "a pilot run of at least two chains per image: step_sizes=None, or a curve's own"
        raise ValueError(f'schedule="adaptive" needs {pilot}')
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
    """Anneal through betas (R,) at a quarter of the temperatures `steps` (R,), and tune."""
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
        # Var_beta(d) over images as a fraction's parts, weighted since chains lag behind.
        weight = state.log_weight.view(-1, n_images).softmax(0)
        energy = state.chain.energy.view(-1, n_images)
        deviation = (weight * (energy - (weight * energy).sum(0)).square()).sum()
        variances.append(torch.stack([deviation, (1 - weight.square().sum(0)).sum()]))
        if axis_scale is not None:
            scales.append(axis_scale)
            spread = state.chain.position.double().view(-1, n_images, dim).std(0).log()
            relative = spread - spread.mean(1, keepdim=True)
            axis_scale = torch.exp(MASS_MEMORY * axis_scale.log() + (1 - MASS_MEMORY) * relative)
        bar.update(len(block))
    # Averaged over neighbours in log space.
    total, freedom = torch.stack(variances, 1).cpu()
    width, logs = len(rows) // 40, (total / freedom.clamp(min=1e-6)).clamp(min=1e-30).log()
    padded = torch.cat([logs[:1].expand(width), logs, logs[-1:].expand(width)])
    variance = padded.unfold(0, 2 * width + 1, 1).mean(1).exp()
    knots, scale_table = ladder[1:].split(stride), torch.stack(scales).cpu() if scales else None
    beta = torch.stack([knot[-1] for knot in knots])
    return StepSizes(beta, torch.stack(rows).cpu(), scale_table, variance)


def given_step_sizes(
    given: float | Tensor | StepSizes | None, betas: Tensor, n_images: int, latent_dim: int
) -> StepSizes | None:
    """A table of sizes above 0, (N,), (R, N), else ValueError, or an earlier one; None of None."""
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
        want, got = f"a number, ({n_images},) or {shape}", tuple(table.step_size.shape)
        raise ValueError(f"step_sizes must be positive: {want}, got shape {got}")
    if scale is not None and scale.shape != (shape := (*shape, latent_dim)):
        raise ValueError(f"step_sizes.axis_scale must be {shape}, got {tuple(scale.shape)}")
    return table
