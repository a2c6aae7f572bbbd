"""Huang, Makhzani, Cao, Grosse: Evaluating Lossy Compression Rates of Deep Generative Models.

ICML 2020. A decoder f with a prior p(z) is a lossy code. For an image x, a distortion d and a price
beta (nats per unit of distortion) the best stochastic code, its cost and its normaliser are

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

Equation (1) is `dgm.sampling.hmc.potential`, (5) `dgm.sampling.annealing.reweighted`, (7)
`dgm.sampling.bidirectional.bdmc_gap`; the others are below. Rates are nats per image, distortions
summed squared errors per image, unless another is given.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dgm.measure import effective_sample_size
from dgm.nets.mlp import mlp
from dgm.progress import progress_bar
from dgm.sampling import pilot, schedules
from dgm.sampling.annealing import AnnealingState, annealed_run, log_mean_weight
from dgm.sampling.bidirectional import bdmc_gap  # noqa: F401 (equation 7)
from dgm.sampling.curves import RateDistortionCurve
from dgm.sampling.decoder_checks import check_betas, check_images, check_rows, count, counts, decode
from dgm.sampling.decoder_target import N_TRIED, DecoderTarget, Distortion, prepared
from dgm.sampling.hmc import draw, make_generators
from dgm.sampling.perception import Perception, n_draws, perception_curve
from dgm.sampling.pilot import SamplerOptions
from dgm.sampling.resume import ProgressFile
from dgm.sampling.schedules import StepSizes
from dgm.vae import ELBO, elbo, gaussian_log_likelihood, reparameterise


class ImageVAE(nn.Module):
    """The paper's VAE: tanh perceptrons, sigmoid means and one learned pixel log-variance."""

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


def log_normaliser(log_prior: Tensor, energy: Tensor, beta: float) -> Tensor:
    """Equation (2): log Z (N,), from G codes' log-probabilities (G,) and distortions (N, G)."""
    return torch.logsumexp(log_prior - beta * energy, 1)


def expected_distortion(log_prior: Tensor, energy: Tensor, beta: float) -> Tensor:
    """Equation (3): D (N,), from G codes' log-probabilities (G,) and distortions (N, G)."""
    return ((log_prior - beta * energy).softmax(1) * energy).sum(1)


def code_rate(log_z: Tensor, distortion: Tensor, beta: float | Tensor) -> Tensor:
    """Equation (4): R, nats."""
    return -log_z - beta * distortion


def log_likelihood(log_z: Tensor, beta: float, n_pixels: int) -> Tensor:
    """Equation (8): log density of images of P pixels under Gaussian noise, from log Z at beta."""
    return log_z + n_pixels / 2 * math.log(beta / math.pi)


def estimate(log_weight: Tensor, energy: Tensor, beta: float) -> tuple[Tensor, ...]:
    """Equation (6) from log-weights and distortions (M, N) of M chains per image, (N,) each."""
    weight = log_weight.softmax(0)
    distortion = (weight * energy).sum(0)
    log_z = log_mean_weight(log_weight.flatten(), log_weight.shape[1])
    rate = code_rate(log_z, distortion, beta)
    ess = effective_sample_size(log_weight).to(weight.device)
    return rate, distortion, log_z, ess, log_weight.var(0)


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
    checkpoint: str | Path | None = None,
    progress: bool = True,
    options: SamplerOptions = SamplerOptions(),  # noqa: B008 (immutable)
    perception: Perception | int | None = None,
) -> RateDistortionCurve:
    """The whole rate-distortion curve of a decoder from one annealing run, equations (5) and (6).

    - decoder: codes (C, D) -> images (C, ...), each a fixed function of its code alone: a module,
      which is put into eval mode and left as it was, TorchScript, or a function. Of a distribution
      the mean counts, of a tuple, dict or object its only tensor.
    - x: (N, ...) real values, shaped as the decoder's images or flat; latent_dim is D.
    - betas: (R,) ascending recorded inverse temperatures above 0, nats per unit of distortion.
    - n_chains per image, with n_leapfrog steps per transition.
    - temperatures_per_beta: annealing steps from the previous recorded beta (the first from 0), one
      number or R of them; None keeps the variance of a log-weight near 1/4.
    - prior: None for N(0, I), else anything with sample((n,)) -> (n, D) and log_prob(z) -> (n,); on
      a box, a half-line per axis or a simplex it must be of torch.distributions.
    - distortion: "squared_error", or a function of images and reconstructions (C, P) -> (C,).
    - step_sizes: None adapts them in a pilot run, freezes them and runs anew with other random
      numbers; a float, a tensor (N,) or (R, N), or an earlier curve's step_sizes is used.
    - seed: of all random numbers; N seeds give each image its own, whichever others there are.
    - device, precision: None and "auto" are the decoder's; "float32" or "float64" converts a copy.
    - checkpoint: a file that an interrupted run is resumed from, bit for bit on a CPU.
    - perception: Perception(images, features, draws) adds the distances of the decoder's images to
      real ones at each beta, and their codes, `curve.draws`; a number adds so many codes alone.

    ValueError for what does not fit together or is not finite, and for a decoder, prior or
    distortion that is random, mixes rows, has no gradient, or lives on another device.
    """
    betas, seed, images = check_betas(betas), counts(seed, "seed", None), check_images(x)
    n_chains, latent_dim = count(n_chains, "n_chains"), count(latent_dim, "latent_dim")
    n_leapfrog, n_images = count(n_leapfrog, "n_leapfrog"), len(images)
    pilot.check_options(options, n_chains, step_sizes)
    rows, draws_per_image = n_chains * n_images, n_draws(perception)
    with prepared(decoder, device, precision, latent_dim, rows) as (network, like):
        x, forces = images.flatten(1).to(**like), options.force_precision
        target = DecoderTarget(network, x, latent_dim, n_chains, prior, distortion, forces)
        kernel = target.kernel(n_leapfrog, options.jitter, options.compile)
        generator, pilot_generator = make_generators(seed, n_images, like["device"])
        state, scale = target.first_chains(generator, images.shape[1:])
        scale = float(options.scale or scale)
        steps = schedules.steps_per_beta(temperatures_per_beta, betas, scale, latent_dim)
        table = pilot.given_step_sizes(step_sizes, betas, n_images, target.shape[1])
        uniform = draw(torch.rand, (n_images,), generator, **{**like, "dtype": torch.float64})
        forces = target.force_precision
        chosen = options._replace(force_precision=forces, compile=False, scale=scale)
        settings = {"betas": betas, "steps": steps, "seed": seed, "n_leapfrog": n_leapfrog}
        settings |= {"step_sizes": table, "options": chosen, "draws": draws_per_image or None}
        file = ProgressFile(checkpoint, target, settings, generator)
        records: list[list[Tensor]] = []
        bar_options = {"unit": "step", "disable": not progress, "leave": False}
        with progress_bar(total=sum(steps), **bar_options) as bar:
            if resumed := file.load():
                state, table, records = resumed
            elif table is None:
                tuned = target, betas, steps, scale, kernel, pilot_generator
                table = pilot.pilot_run(*tuned, bar, mass=options.mass)
            ladder = schedules.temperatures(options.schedule, betas, steps, scale, table)
            first = int((ladder <= state.beta).sum())
            bar.update(first - 1)
            schedule = table.along(ladder[first:], like["device"])
            run = annealed_run(target, schedule, kernel, generator, state)
            for beta in betas[len(records) :].tolist():
                before, n_steps = state.acceptance_sum, 0
                while state.beta < beta:
                    state, n_steps = next(run), n_steps + 1
                    bar.update()
                acceptance = (state.acceptance_sum - before).view(n_chains, -1).mean(0) / n_steps
                log_weight = state.log_weight.view(n_chains, -1)
                energy, (code,) = (
                    state.chain.energy.view(n_chains, -1),
                    drawn(target, state, uniform),
                )
                row = [*estimate(log_weight, energy, beta), code, acceptance]
                if draws_per_image:
                    row.append(drawn(target, state, uniform, draws_per_image).transpose(0, 1))
                records.append(row)
                file.save(state, table, records)
        columns = [torch.stack(c).to("cpu", torch.float64) for c in zip(*records, strict=True)]
        rate, error, log_z, ess, variance, codes, acceptance, *draws = columns
        distances = None
        if isinstance(perception, Perception):
            distances = perception_curve(network, draws[0], x, perception)
    file.remove()
    estimates = betas, rate, error, log_z, ess, acceptance
    own = draws[0] if draws else None
    return RateDistortionCurve(*estimates, codes, table, variance, own, distances)


def drawn(target: DecoderTarget, state: AnnealingState, uniform: Tensor, n: int = 1) -> Tensor:
    """n codes (n, N, D) of each image among its chains by their weights, systematically.

    uniform (N,) is where each image's n equidistant points begin.
    """
    n_images = len(uniform)
    total = state.log_weight.view(-1, n_images).softmax(0).cumsum(0)
    points = (uniform + torch.arange(n, device=total.device)[:, None]) / n
    chosen = (total < points[:, None]).sum(1).clamp(max=len(total) - 1)
    chains = chosen * n_images + torch.arange(n_images, device=total.device)
    codes = target.codes(state.chain.position[chains.flatten()]).detach()
    return codes.view(n, n_images, -1)


def linear_gaussian_curve(
    weight: Tensor, bias: Tensor, x: Tensor, betas: Sequence[float] | Tensor
) -> RateDistortionCurve:
    """The exact curve of the decoder f(z) = W z + b with prior N(0, I) and squared error.

    With W = U diag(s) V^T, c = U^T (x - b) and a = 2 beta s^2 the posterior is Gaussian along U,
    and equations (2) to (4) are sums. weight (M, D), bias (M,), x (N, M) and betas (R,), ascending.
    """
    betas = check_betas(betas)
    weight, bias, x = (t.detach().to("cpu", torch.float64) for t in (weight, bias, x))
    if weight.ndim != 2 or bias.shape != weight.shape[:1] or x.shape[1:] != bias.shape:
        shapes = [tuple(t.shape) for t in (weight, bias, x)]
        raise ValueError(f"weight (M, D), bias (M,) and x (N, M) do not fit: {shapes}")
    u, s, _ = torch.linalg.svd(weight, full_matrices=False)
    residual = x - bias
    c = residual @ u  # (N, K)
    outside = (residual.square().sum(1) - c.square().sum(1)).clamp(min=0)
    beta = betas[:, None, None]
    a = 2 * beta * s.square()  # (R, 1, K)
    distortion = outside + (c.square() / (1 + a).square() + s.square() / (1 + a)).sum(-1)
    mean_squared = (2 * beta * s * c).square() / (1 + a).square()
    rate = 0.5 * (torch.log1p(a) + 1 / (1 + a) - 1 + mean_squared).sum(-1)
    squares = outside + (c.square() / (1 + a)).sum(-1)
    log_z = -0.5 * torch.log1p(a).sum(-1) - betas[:, None] * squares
    nan = rate * math.nan
    return RateDistortionCurve(betas, rate, distortion, log_z, nan, nan)


def quadrature_curve(
    decoder: Callable[[Tensor], Any],
    x: Tensor | np.ndarray,
    *,
    latent_dim: int,
    betas: Sequence[float] | Tensor,
    n_points: int = 601,
) -> RateDistortionCurve:
    """The curve of any decoder with one or two latent dimensions, by a sum over a grid of codes.

    The prior is N(0, I); the grid has n_points from -6 to 6 in each dimension: double to check.
    decoder, x, betas as in `rate_distortion_curve`; ValueError for latent_dim above 2.
    """
    latent_dim, n_points = count(latent_dim, "latent_dim"), count(n_points, "n_points")
    if latent_dim not in (1, 2):
        raise ValueError(f"a grid of codes needs latent_dim 1 or 2, got {latent_dim}")
    betas, images = check_betas(betas), check_images(x)
    with prepared(decoder) as (decoder, like), torch.no_grad():
        x = images.flatten(1).to(**like)
        axis = torch.linspace(-6.0, 6.0, n_points, dtype=torch.float64, device="cpu")
        grid = torch.cartesian_prod(*[axis] * latent_dim).view(-1, latent_dim)
        log_prior = -0.5 * grid.square().sum(1)
        log_prior = log_prior - torch.logsumexp(log_prior, 0)
        codes = grid[:: len(grid) // N_TRIED + 1].to(**like)
        decode(decoder, codes, images.shape)
        check_rows("the decoder", decoder, codes)
        parts = []
        for codes in grid.split(8192):
            output = decoder(codes.to(**like)).flatten(1)
            parts.append(torch.stack([(output - image).square().sum(1) for image in x]).cpu())
        energy = torch.cat(parts, 1).double()  # (N, G)
        points = [(log_prior, energy, beta) for beta in betas.tolist()]
        log_z = torch.stack([log_normaliser(*point) for point in points])
        distortion = torch.stack([expected_distortion(*point) for point in points])
        rate = code_rate(log_z, distortion, betas[:, None])
        nan = rate * math.nan
        return RateDistortionCurve(betas, rate, distortion, log_z, nan, nan)
