"""Huang, Makhzani, Cao, Grosse: Evaluating Lossy Compression Rates of Deep Generative Models, ICML 2020.

A decoder f with a prior p(z) is a lossy code. For an image x, a distortion d and a price beta
(nats per unit of distortion) the best stochastic code, its cost and its normaliser are

    q_beta(z | x) = p(z) exp(-beta d(x, f(z))) / Z_beta(x)                              (1)
    Z_beta(x)     = E_{p(z)} exp(-beta d(x, f(z)))                                      (2)
    D(beta)       = E_{q_beta} d(x, f(z))                                               (3)
    R(beta)       = KL(q_beta || p) = -log Z_beta - beta D(beta)                        (4)

and dR/dD = -beta: one point of the rate-distortion curve for each beta. Annealed importance
sampling from the prior passes through every beta on its way, so one run gives the whole curve:

    log w_j = log w_{j-1} - (beta_j - beta_{j-1}) d(x, f(z_{j-1}))                      (5)
    log Z = log mean w,    D = sum softmax(log w) d,    R = -log Z - beta D             (6)

In expectation the point (D, R) of equation (6) lies on or above the true curve. On data simulated
from the model, annealing in reverse from the code that made the image bounds log Z from above, and
the gap of the two bounds (BDMC) limits the error:

    E log Z_forward  <=  log Z  <=  E log Z_reverse                                     (7)

At beta = 1 / (2 sigma^2) the same run gives the likelihood under Gaussian pixel noise,

    log p_sigma(x) = log Z_beta(x) + (P / 2) log(beta / pi).                            (8)

Rates are nats an image, distortions are summed squared errors an image, unless another is given.
"""

import base64
import io
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dgm import checkpoint as checkpoints
from dgm.nets.mlp import mlp
from dgm.progress import progress_bar
from dgm.sampling import schedules
from dgm.sampling.annealing import AnnealingState, anneal, log_mean_weight, start
from dgm.sampling.bidirectional import BDMC, bdmc_gap
from dgm.sampling.decoder_checks import check_rows, check_shapes, count, decode
from dgm.sampling.decoder_target import (
    N_TRIED,
    DecoderTarget,
    Distortion,
    check_betas,
    check_images,
    energy_scale,
    prepared,
)
from dgm.sampling.hmc import JITTER, draw, streams, whole_seeds
from dgm.sampling.pilot import (
    StepSizes,
    check_settings,
    choose_schedule,
    given_step_sizes,
    pilot_counts,
    pilot_run,
)
from dgm.sampling.resume import fingerprint, resume, save_progress
from dgm.sampling.threads import suitable_threads
from dgm.vae import ELBO, elbo, gaussian_log_likelihood, reparameterise

__all__ = [
    "BDMC",
    "ImageVAE",
    "LegendreCurve",
    "MeanCurve",
    "RateDistortionCurve",
    "StepSizes",
    "bdmc_gap",
    "linear_gaussian_curve",
    "quadrature_curve",
    "rate_distortion_curve",
    "vae_objective",
]

CHECKPOINT_SECONDS = 20.0
MOST_ROWS = (
    1024  # of the step-size table at once, so that memory does not grow with the temperatures
)


class ImageVAE(nn.Module):
    """The paper's VAE: tanh perceptrons, sigmoid means and one learned scalar pixel log-variance."""

    def __init__(
        self, n_pixels: int, latent_dim: int, hidden: Sequence[int] = (1024, 1024, 1024)
    ) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = mlp([n_pixels, *hidden, 2 * latent_dim])
        self.decoder = mlp([latent_dim, *reversed(hidden), n_pixels], output="sigmoid")
        self.log_variance = nn.Parameter(torch.tensor(math.log(0.03)))

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, D) of q(z | x) for images (B, P)."""
        mu, logvar = self.encoder(x).chunk(2, dim=-1)
        return mu, logvar


def vae_objective(model: ImageVAE, x: Tensor, generator: torch.Generator) -> ELBO:
    """Single-sample evidence lower bound of images (B, P), with gradient; each term (B,), nats."""
    mu, logvar = model.posterior(x)
    mean = model.decoder(reparameterise(mu, logvar, generator))
    return elbo(gaussian_log_likelihood(x, mean, model.log_variance), mu, logvar)


class MeanCurve(NamedTuple):
    """A curve averaged over images, each (R,), with standard errors over images."""

    beta: Tensor
    rate: Tensor
    rate_error: Tensor
    distortion: Tensor
    distortion_error: Tensor
    log_z: Tensor
    log_z_error: Tensor


class LegendreCurve(NamedTuple):
    """R(D) = max_beta [mean(-log Z_beta) - beta D]: convex and non-increasing by construction."""

    distortion: Tensor
    rate: Tensor


class RateDistortionCurve(NamedTuple):
    """The rate-distortion points of N images at R inverse temperatures; CPU float64, nats.

    `ess` and `acceptance` are NaN where no sampler ran; `codes` holds one draw of the code an image and beta;
    `log_weight_variance` is that of the chains' log-weights, which tells how far the annealing is from slow.
    """

    beta: Tensor  # (R,)
    rate: Tensor  # (R, N)
    distortion: Tensor  # (R, N)
    log_z: Tensor  # (R, N)
    ess: Tensor  # (R, N) effective sample size of the chains
    acceptance: Tensor  # (R, N) mean acceptance since the previous recorded beta
    codes: Tensor | None = None  # (R, N, D)
    step_sizes: StepSizes | None = None
    log_weight_variance: Tensor | None = None  # (R, N)

    def mean(self) -> MeanCurve:
        """Average over images, with standard errors (NaN for one image)."""
        n = self.rate.shape[1]
        terms = []
        for values in (self.rate, self.distortion, self.log_z):
            error = (
                values.std(1) / math.sqrt(n) if n > 1 else torch.full_like(values[:, 0], math.nan)
            )
            terms += [values.mean(1), error]
        return MeanCurve(self.beta, *terms)

    def legendre(self, distortion: Tensor | None = None) -> LegendreCurve:
        """The curve from log Z alone, which is much less noisy than the plain rate.

        Args:
            distortion: where to evaluate it, (G,); None: at the mean distortions of the curve.
        """
        where = self.distortion.mean(1) if distortion is None else distortion.double().cpu()
        lines = -self.log_z.mean(1)[:, None] - self.beta[:, None] * where
        return LegendreCurve(where, lines.amax(0))

    def __repr__(self) -> str:
        ends = (self.beta, self.rate.mean(1), self.distortion.mean(1))
        beta, rate, distortion = (f"{float(v[0]):.4g} to {float(v[-1]):.4g}" for v in ends)
        return (
            f"RateDistortionCurve of {self.rate.shape[1]} images at {len(self.beta)} betas, "
            f"{beta}: rate {rate} nats an image, distortion {distortion}"
        )

    def plot(self, axes: Any = None, label: str | None = None) -> Any:
        """Rate against distortion, mean over images, with a band of two standard errors.

        Args:
            axes: Matplotlib axes to draw into, so that several curves share them; None makes a figure.
            label: name of the curve in the legend.

        Returns:
            The matplotlib Figure.
        """
        import matplotlib.figure
        import matplotlib.style

        with matplotlib.style.context(Path(__file__).parents[2] / "dgm_book" / "dgm.mplstyle"):
            if axes is None:
                figure = matplotlib.figure.Figure(figsize=(5.6, 3.9), facecolor="white", dpi=110)
                axes = figure.subplots()
                axes.set_prop_cycle(
                    color=["#0072B2", "#E69F00", "#009E73", "#CC79A7"],
                    linestyle=["-", "--", "-.", (0, (6, 1))],
                    marker=["o", "s", "^", "D"],
                )
            mean, legendre = self.mean(), self.legendre()
            band, name = 2 * mean.rate_error.nan_to_num(), f"mean of {self.rate.shape[1]} images"
            (line,) = axes.plot(mean.distortion, mean.rate, label=label or name)
            low, high = mean.rate - band, mean.rate + band
            axes.fill_between(mean.distortion, low, high, alpha=0.2, color=line.get_color(), lw=0)
            told = "Legendre estimate, from log Z alone" if label is None else None
            style = {"color": "black", "linestyle": ":", "marker": "", "linewidth": 1.2}
            axes.plot(*legendre, label=told, **style)
            axes.set_xlabel("distortion D (an image, in units of d)")
            axes.set_ylabel("rate R (nats an image)")
            axes.legend()
        return axes.figure

    def _repr_html_(self) -> str:
        """The plot, where a notebook shows the curve."""
        stream = io.BytesIO()
        self.plot().savefig(stream, format="png", dpi=150)
        picture = base64.b64encode(stream.getvalue()).decode()
        return f'<img alt="{self!r}" width="616" src="data:image/png;base64,{picture}">'

    def save(self, path: str | Path) -> None:
        """Write the curve to one safetensors file, whole or not at all; ~ is the home folder."""
        steps = None if self.step_sizes is None else self.step_sizes._asdict()
        checkpoints.save(Path(path).expanduser(), {**self._asdict(), "step_sizes": steps})

    @classmethod
    def load(cls, path: str | Path) -> "RateDistortionCurve":
        """Read a curve that `save` wrote."""
        fields = checkpoints.load(Path(path).expanduser())
        if fields["step_sizes"] is not None:
            fields["step_sizes"] = StepSizes(**fields["step_sizes"])
        return cls(**fields)


def rate_distortion_curve(
    decoder: Callable[[Tensor], Any],
    x: Tensor | np.ndarray,
    *,
    latent_dim: int,
    betas: Sequence[float] | Tensor,
    n_chains: int = 40,
    n_leapfrog: int = 20,
    temperatures_per_beta: int | Sequence[int] | None = None,
    prior: Any = None,
    distortion: str | Distortion = "squared_error",
    step_sizes: float | Tensor | StepSizes | None = None,
    seed: int | Sequence[int] = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    force_precision: str = "same",
    schedule: str = "default",
    mass: str = "unit",
    jitter: float = JITTER,
    compile: bool = False,
    scale: float | None = None,
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> RateDistortionCurve:
    """The whole rate-distortion curve of a decoder from one annealing run, equations (5) and (6).

    Args:
        decoder: maps codes (C, D) to images (C, ...), each a fixed function of its code alone: a module,
            which is put into eval mode and left as it was, TorchScript, or a function such as `vae.decode`.
            Of a distribution the mean counts, of a tuple, dict or object its only tensor.
        x: N images (N, ...) of any real values, with as many numbers an image as the decoder returns, and
            its axes in the decoder's order.
        latent_dim: D.
        betas: (R,) ascending recorded inverse temperatures above 0, nats per unit of distortion.
        n_chains: chains an image.
        n_leapfrog: leapfrog steps a transition.
        temperatures_per_beta: annealing steps from the previous recorded beta (the first from 0), one
            number or R of them; None keeps the variance of a log-weight near 1/4.
        prior: None for N(0, I), else anything with sample((n,)) -> (n, D) and log_prob(z (n, D)) -> (n,).
            One of torch.distributions on a box, a half-line an axis or a simplex is sampled in free
            coordinates, by torch.distributions.biject_to of its support.
        distortion: "squared_error", or a function of images (C, P) and reconstructions (C, P) -> (C,).
        step_sizes: None adapts them in a pilot run, freezes them and runs anew with other random
            numbers; a float, a tensor (N,) or (R, N), or an earlier curve's step_sizes is used as given.
        seed: of the run; the same seed on the same device gives the same numbers. N seeds give each image
            its own random numbers, whichever other images are in the call.
        device: None: where the decoder is.
        precision: "auto" keeps the decoder's own, "float32" or "float64" converts a copy. Energies
            and log-weights are float64 in any case, codes at least float32, and TF32 and the caller's
            autocast are kept out.
        force_precision: of the leapfrog's forces: "same" as the decoder's, "bfloat16" from a copy of it,
            or "tf32" on a CUDA device. Acceptance and weights keep `precision`, so the chains stay exact.
        schedule: "default" (equal steps in asinh(beta / scale)), "adaptive" (equal thermodynamic length,
            measured by the pilot run) or "sigmoid" (the paper's). All pass through the recorded betas
            and have the same number of temperatures.
        mass: "unit", or "diagonal": a step size an axis and image, from the spread of the pilot's chains.
        jitter: each step size is multiplied by a random number between 1 - jitter and 1 + jitter, which
            keeps trajectories from coming back to where they began, and so quiets the weights at no cost; 0
            leaves them as they are.
        compile: compile whole transitions with torch.compile, which takes a minute or so at the start and
            needs a C++ compiler; on a CUDA device they are captured in a CUDA graph as well.
        scale: the beta at which the data begin to matter; None estimates it from codes of the prior for
            all images of the call.
        progress: show a bar with the time left.
        checkpoint: a file that an interrupted run is resumed from, bit for bit on a CPU; ~ is the home
            folder.

    Returns:
        The curve of each image, its codes in the decoder's own space.

    Raises:
        ValueError: an argument, the images or the decoder's output do not fit together, or are not finite;
            the decoder, the prior or the distortion is random, mixes rows, has no gradient, or lives on
            another device.
    """
    recorded, seed = check_betas(betas), whole_seeds(seed)
    n_chains, latent_dim = count(n_chains, "n_chains"), count(latent_dim, "latent_dim")
    n_leapfrog = count(n_leapfrog, "n_leapfrog")
    check_settings(schedule, mass, jitter, n_chains, step_sizes, scale)
    checkpoint = None if checkpoint is None else Path(checkpoint).expanduser()
    images = check_images(x)
    with (
        prepared(decoder, device, precision) as (decoder, options),
        suitable_threads(decoder, latent_dim, n_chains * len(images), **options),
    ):
        x = images.flatten(1).to(**options)
        problem = DecoderTarget(
            decoder, x, latent_dim, n_chains, prior, distortion, force_precision
        )
        move = problem.move(jitter, compile)
        run, tuning = (streams(seed, len(x), options["device"], part) for part in (0, 1))
        position = problem.sample_prior(run)
        problem.check(position, images.shape[1:])
        state = start(problem.target, position)
        scale = energy_scale(state.chain.energy, len(x)) if scale is None else float(scale)
        counts = _counts(temperatures_per_beta, recorded, scale, latent_dim)
        pilot = step_sizes is None
        n_pilot = sum(pilot_counts(counts)) if pilot else 0
        bar = progress_bar(
            total=n_pilot + sum(counts), unit="step", disable=not progress, leave=False
        )
        pick = draw(partial(_uniform, device=options["device"]), len(x), run)
        records: list[list[Tensor]] = []
        table = None if pilot else given_step_sizes(step_sizes, recorded, len(x), problem.shape[1])
        if checkpoint is not None:
            settings = (
                counts,
                scale,
                seed,
                n_leapfrog,
                force_precision,
                schedule,
                mass,
                float(jitter),
            )
            given = [] if pilot else [t for t in table if t is not None]
            identity = fingerprint(settings, [recorded, *given], problem)
        if checkpoint is not None and checkpoint.exists():
            state, table, records = resume(checkpoint, identity, run, options["device"])
        elif pilot:
            table = pilot_run(
                problem, recorded, counts, scale, n_leapfrog, tuning, move, bar,
                diagonal_mass=mass == "diagonal",
            )  # fmt: skip
        temperatures = choose_schedule(schedule, recorded, counts, scale, table)
        stops = [0, *torch.searchsorted(temperatures, recorded).tolist()]
        frozen, ladder = table.to(options["device"]), temperatures.to(options["device"])
        bar.update(bar.total - sum(counts) + stops[len(records)] - bar.n)
        saved = time.monotonic()
        for r in range(len(records), len(recorded)):
            before = state.acceptance_sum
            for first in range(stops[r], stops[r + 1], MOST_ROWS):
                last = min(first + MOST_ROWS, stops[r + 1])
                steps = frozen.at(ladder[first + 1 : last + 1])
                block = temperatures[first : last + 1]
                state = anneal(problem.target, state, block, steps, n_leapfrog, run, move)
                bar.update(last - first)
            n_steps = stops[r + 1] - stops[r]
            acceptance = (state.acceptance_sum - before).view(n_chains, -1).mean(0) / n_steps
            *terms, position = _estimate(state, float(recorded[r]), pick, len(x))
            records.append([*terms, problem.codes(position).detach(), acceptance])
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                save_progress(checkpoint, identity, state, table, records, run)
                saved = time.monotonic()
        bar.close()
        columns = [torch.stack(c).to("cpu", torch.float64) for c in zip(*records, strict=True)]
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    rate, distortions, log_z, ess, variance, codes, acceptance = columns
    return RateDistortionCurve(
        recorded, rate, distortions, log_z, ess, acceptance, codes, table, variance
    )


def linear_gaussian_curve(
    weight: Tensor, bias: Tensor, x: Tensor, betas: Sequence[float] | Tensor
) -> RateDistortionCurve:
    """The exact curve of the decoder f(z) = W z + b with prior N(0, I) and squared error.

    With W = U diag(s) V^T, c = U^T (x - b) and a = 2 beta s^2 the posterior is Gaussian in the
    directions of U, and every quantity of equations (2) to (4) is a sum over them.

    Args:
        weight: (M, D).
        bias: (M,).
        x: (N, M).
        betas: (R,) ascending.
    """
    recorded = check_betas(betas)
    weight, bias, x = (t.detach().to("cpu", torch.float64) for t in (weight, bias, x))
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or x.shape[1:] != bias.shape:
        raise ValueError(
            "weight (M, D), bias (M,) and x (N, M) do not fit: "
            f"{tuple(weight.shape)}, {tuple(bias.shape)}, {tuple(x.shape)}"
        )
    u, s, _ = torch.linalg.svd(weight, full_matrices=False)
    residual = x - bias
    c = residual @ u  # (N, K)
    outside = (residual.square().sum(1) - c.square().sum(1)).clamp(min=0)
    beta = recorded[:, None, None]
    a = 2 * beta * s.square()  # (R, 1, K)
    distortion = outside + (c.square() / (1 + a).square() + s.square() / (1 + a)).sum(-1)
    mean_squared = (2 * beta * s * c).square() / (1 + a).square()
    rate = 0.5 * (torch.log1p(a) + 1 / (1 + a) - 1 + mean_squared).sum(-1)
    log_z = -0.5 * torch.log1p(a).sum(-1) - recorded[:, None] * (
        outside + (c.square() / (1 + a)).sum(-1)
    )
    unknown = torch.full_like(rate, math.nan)
    return RateDistortionCurve(recorded, rate, distortion, log_z, unknown, unknown)


def quadrature_curve(
    decoder: Callable[[Tensor], Any],
    x: Tensor | np.ndarray,
    *,
    latent_dim: int,
    betas: Sequence[float] | Tensor,
    half_width: float = 6.0,
    n_points: int = 601,
) -> RateDistortionCurve:
    """The curve of any decoder with one or two latent dimensions, by a sum over a grid of codes.

    Exact while the posterior is wide against the grid's spacing: check by doubling n_points.

    Args:
        decoder: as in `rate_distortion_curve`.
        x: (N, ...) images.
        betas: (R,) ascending.
        latent_dim: 1 or 2, with prior N(0, I).
        half_width: the grid covers [-half_width, half_width] in each dimension.
        n_points: a dimension.

    Raises:
        ValueError: what `rate_distortion_curve` refuses, or more than two dimensions.
    """
    latent_dim, n_points = count(latent_dim, "latent_dim"), count(n_points, "n_points")
    if latent_dim not in (1, 2):
        raise ValueError(f"a grid of codes needs latent_dim 1 or 2, got {latent_dim}")
    recorded = check_betas(betas)
    with prepared(decoder, None, "auto") as (decoder, options), torch.no_grad():
        images = check_images(x)
        x = images.flatten(1).to(**options)
        axis = torch.linspace(-half_width, half_width, n_points, dtype=torch.float64, device="cpu")
        grid = torch.cartesian_prod(*[axis] * latent_dim).view(-1, latent_dim)
        log_prior = -0.5 * grid.square().sum(1)
        log_prior = log_prior - torch.logsumexp(log_prior, 0)
        codes = grid[:: len(grid) // N_TRIED + 1].to(**options)
        check_shapes(images.shape, len(codes), decode(decoder, codes))
        check_rows("the decoder", decoder, codes)
        parts = []
        for codes in grid.split(8192):
            output = decoder(codes.to(**options)).flatten(1)
            parts.append(torch.stack([(output - image).square().sum(1) for image in x]).cpu())
            energy = torch.cat(parts, 1).double()  # (N, G)
        log_z, distortion = [], []
        for beta in recorded.tolist():
            log_q = log_prior - beta * energy
            log_z.append(torch.logsumexp(log_q, 1))
            distortion.append((log_q.softmax(1) * energy).sum(1))
        log_z, distortion = torch.stack(log_z), torch.stack(distortion)
        rate = -log_z - recorded[:, None] * distortion
    unknown = torch.full_like(rate, math.nan)
    return RateDistortionCurve(recorded, rate, distortion, log_z, unknown, unknown)


def _counts(
    given: int | Sequence[int] | None, recorded: Tensor, scale: float, latent_dim: int
) -> list[int]:
    if given is None:
        return schedules.default_counts(recorded, scale, latent_dim)
    name = "temperatures_per_beta"
    if not (hasattr(given, "__len__") and getattr(given, "ndim", 1)):
        return [count(given, name)] * len(recorded)
    if len(given) != len(recorded):
        raise ValueError(f"{name} must be one number, or {len(recorded)} of them, got {given}")
    return [count(value, name) for value in given]


def _uniform(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(n, generator=generator, dtype=torch.float64, device=device)


def _estimate(state: AnnealingState, beta: float, pick: Tensor, n_images: int) -> list[Tensor]:
    """Equation (6) for each image: rate, distortion, log Z, ESS, variance of the log-weights, one code."""
    log_weight = state.log_weight.view(-1, n_images)
    energy = state.chain.energy.view(-1, n_images)
    weight = log_weight.softmax(0)
    distortion = (weight * energy).sum(0)
    log_z = log_mean_weight(state.log_weight, n_images)
    ess = 1 / weight.square().sum(0)
    chosen = (weight.cumsum(0) < pick).sum(0).clamp(max=len(weight) - 1)
    codes = state.chain.position.view(*weight.shape, -1)
    code = codes[chosen, torch.arange(n_images, device=chosen.device)]
    rate = -log_z - beta * distortion
    return [rate, distortion, log_z, ess, log_weight.var(0), code]
