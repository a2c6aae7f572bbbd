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

import contextlib
import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from dgm import checkpoint as checkpoints
from dgm.nets.mlp import mlp
from dgm.sampling import schedules
from dgm.sampling.annealing import (
    AnnealingState,
    adapt_step_sizes,
    anneal,
    log_mean_weight,
    reverse_anneal,
    start,
)
from dgm.sampling.hmc import HMCState, density_energy, standard_normal_energy
from dgm.vae import ELBO, elbo, gaussian_log_likelihood, reparameterise

Distortion = Callable[[Tensor, Tensor], Tensor]
PILOT_FRACTION = 0.25  # of the temperatures, enough to tune step sizes that change slowly with beta
CHECKPOINT_SECONDS = 20.0
MOST_KNOTS = 512  # of the step-size table, so that it does not grow with the number of temperatures


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


class StepSizes(NamedTuple):
    """Frozen leapfrog step sizes an image, at K inverse temperatures."""

    beta: Tensor  # (K,) ascending
    step_size: Tensor  # (K, N)

    def at(self, betas: Tensor) -> Tensor:
        """Step sizes (T, N) at betas (T,), log-linear in log beta, constant beyond the ends."""
        if len(self.beta) == 1:
            return self.step_size.expand(len(betas), -1)
        knots, where = self.beta.log(), betas.log()
        right = torch.searchsorted(knots, where).clamp(1, len(knots) - 1)
        span = (knots[right] - knots[right - 1]).clamp(min=1e-12)
        t = ((where - knots[right - 1]) / span).clamp(0, 1)[:, None]
        log_step = self.step_size.log()
        return torch.exp((1 - t) * log_step[right - 1] + t * log_step[right])


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

    `ess` and `acceptance` are NaN where no sampler ran; `codes` holds one draw of the code an image and beta.
    """

    beta: Tensor  # (R,)
    rate: Tensor  # (R, N)
    distortion: Tensor  # (R, N)
    log_z: Tensor  # (R, N)
    ess: Tensor  # (R, N) effective sample size of the chains
    acceptance: Tensor  # (R, N) mean acceptance since the previous recorded beta
    codes: Tensor | None = None  # (R, N, D)
    step_sizes: StepSizes | None = None

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

    def save(self, path: str | Path) -> None:
        """Write the curve to one safetensors file, whole or not at all."""
        steps = None if self.step_sizes is None else self.step_sizes._asdict()
        checkpoints.save(path, {**self._asdict(), "step_sizes": steps})

    @classmethod
    def load(cls, path: str | Path) -> "RateDistortionCurve":
        """Read a curve that `save` wrote."""
        fields = checkpoints.load(path)
        if fields["step_sizes"] is not None:
            fields["step_sizes"] = StepSizes(**fields["step_sizes"])
        return cls(**fields)


def rate_distortion_curve(
    decoder: nn.Module,
    x: Tensor,
    *,
    latent_dim: int,
    betas: Sequence[float] | Tensor,
    n_chains: int = 40,
    n_leapfrog: int = 20,
    temperatures_per_beta: int | Sequence[int] | None = None,
    prior: Any = None,
    distortion: str | Distortion = "squared_error",
    step_sizes: float | Tensor | StepSizes | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    precision: str = "auto",
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> RateDistortionCurve:
    """The whole rate-distortion curve of a decoder from one annealing run, equations (5) and (6).

    Args:
        decoder: maps codes (C, D) to images (C, ...); put into eval mode and left as it was.
        x: N images (N, ...) of any real values, with as many numbers an image as the decoder returns.
        latent_dim: D.
        betas: (R,) ascending recorded inverse temperatures above 0, nats per unit of distortion.
        n_chains: chains an image.
        n_leapfrog: leapfrog steps a transition.
        temperatures_per_beta: annealing steps from the previous recorded beta (the first from 0), one
            number or R of them; None keeps the variance of a log-weight near 1/4.
        prior: None for N(0, I), else anything with sample((n,)) -> (n, D) and log_prob(z (n, D)) -> (n,).
        distortion: "squared_error", or a function of images (C, P) and reconstructions (C, P) -> (C,).
        step_sizes: None adapts them in a pilot run, freezes them and runs anew with other random
            numbers; a float, a tensor (N,) or (R, N), or an earlier curve's step_sizes is used as given.
        seed: of the run; the same seed on the same device gives the same numbers.
        device: None: where the decoder is.
        precision: "auto" keeps the decoder's own, "float32" or "float64" converts a copy. Energies
            and log-weights are float64 in any case, and TF32 is kept out.
        progress: show a bar with the time left.
        checkpoint: a file that an interrupted run is resumed from, bit for bit on a CPU.

    Returns:
        The curve of each image.

    Raises:
        ValueError: an argument, the images or the decoder's output do not fit together, or are not finite.
    """
    recorded = _check_betas(betas)
    with _prepared(decoder, device, precision) as (decoder, options):
        x = _check_images(x).to(**options)
        problem = _Problem(decoder, x, latent_dim, n_chains, prior, distortion)
        run = torch.Generator(options["device"]).manual_seed(2 * seed)
        position = problem.sample_prior(run)
        problem.check(position)
        state = start(problem.target, position)
        scale = _energy_scale(state.chain.energy, len(x))
        counts = _counts(temperatures_per_beta, recorded, scale, latent_dim)
        pilot = step_sizes is None
        n_pilot = sum(_pilot_counts(counts)) if pilot else 0
        bar = tqdm(total=n_pilot + sum(counts), unit="step", disable=not progress, leave=False)
        pick = torch.rand(len(x), generator=run, dtype=torch.float64, device=options["device"])
        records: list[list[Tensor]] = []
        identity = _fingerprint(recorded, counts, problem, seed, n_leapfrog)
        if checkpoint is not None and Path(checkpoint).exists():
            state, table, records = _resume(checkpoint, identity, run, options["device"])
        elif pilot:
            table = _pilot(problem, recorded, counts, scale, n_leapfrog, 2 * seed + 1, bar)
        else:
            table = _given_step_sizes(step_sizes, recorded, len(x))
        schedule = schedules.through(recorded, counts, scale)
        offset = sum(counts[: len(records)])
        bar.update(bar.total - sum(counts) + offset - bar.n)
        saved = time.monotonic()
        for r in range(len(records), len(recorded)):
            block = schedule[offset : offset + counts[r] + 1]
            steps = table.at(block[1:]).to(options["device"])
            before = state.acceptance_sum
            state = anneal(problem.target, state, block, steps, n_leapfrog, run)
            acceptance = (state.acceptance_sum - before).view(n_chains, -1).mean(0) / counts[r]
            records.append([*_estimate(state, float(recorded[r]), pick, len(x)), acceptance])
            offset += counts[r]
            bar.update(counts[r])
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                _save_progress(checkpoint, identity, state, table, records, run)
                saved = time.monotonic()
        bar.close()
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)
    columns = [torch.stack(c).to("cpu", torch.float64) for c in zip(*records, strict=True)]
    rate, distortions, log_z, ess, codes, acceptance = columns
    return RateDistortionCurve(recorded, rate, distortions, log_z, ess, acceptance, codes, table)


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
    recorded = _check_betas(betas)
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
    decoder: nn.Module,
    x: Tensor,
    *,
    latent_dim: int,
    betas: Sequence[float] | Tensor,
    half_width: float = 6.0,
    n_points: int = 601,
) -> RateDistortionCurve:
    """The curve of any decoder with one or two latent dimensions, by a sum over a grid of codes.

    Exact while the posterior is wide against the grid's spacing: check by doubling n_points.

    Args:
        decoder: maps codes (C, D) to images (C, ...).
        x: (N, P) images.
        betas: (R,) ascending.
        latent_dim: 1 or 2, with prior N(0, I).
        half_width: the grid covers [-half_width, half_width] in each dimension.
        n_points: a dimension.
    """
    if latent_dim not in (1, 2):
        raise ValueError(f"a grid of codes needs latent_dim 1 or 2, got {latent_dim}")
    recorded = _check_betas(betas)
    with _prepared(decoder, None, "auto") as (decoder, options), torch.no_grad():
        x = _check_images(x).to(**options)
        axis = torch.linspace(-half_width, half_width, n_points, dtype=torch.float64)
        grid = torch.cartesian_prod(*[axis] * latent_dim).view(-1, latent_dim)
        log_prior = -0.5 * grid.square().sum(1)
        log_prior = log_prior - torch.logsumexp(log_prior, 0)
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


class BDMC(NamedTuple):
    """Bounds of log Z on data simulated from the model, equation (7), nats."""

    lower: Tensor  # (N,)
    upper: Tensor  # (N,)
    gap: float  # mean of upper - lower
    standard_error: float  # of the gap, over images
    log_z: Tensor | None = None  # (N,) exact, where a closed form was given


def bdmc_gap(
    decoder: nn.Module,
    *,
    latent_dim: int,
    beta: float,
    n_images: int = 16,
    n_chains: int = 16,
    n_temperatures: int = 1000,
    seed: int = 0,
    n_leapfrog: int = 10,
    exact: Callable[[Tensor], Tensor] | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    progress: bool = True,
) -> BDMC:
    """How far the annealing is from the truth at one beta, by bidirectional Monte Carlo.

    Codes z* ~ N(0, I) give images f(z*) + N(0, I / (2 beta)), for which z* is an exact sample of
    q_beta. The gap limits the excess of the rate in expectation, on data like these.

    Args:
        decoder: maps codes (C, D) to images (C, ...).
        latent_dim: D.
        beta: inverse temperature.
        n_images: simulated images.
        n_chains: chains an image, each way.
        n_temperatures: annealing steps each way.
        seed: of images and chains.
        n_leapfrog: leapfrog steps a transition.
        exact: images (N, P) -> log Z (N,), kept beside the bounds where it is known.
        device: None: where the decoder is.
        precision: as in `rate_distortion_curve`.
        progress: show a bar.

    Returns:
        Lower and upper bounds an image, their mean gap and its standard error over images.
    """
    recorded = _check_betas([beta])
    if n_images < 2:
        raise ValueError(f"a standard error needs at least two images, got n_images={n_images}")
    with _prepared(decoder, device, precision) as (decoder, options):
        run = torch.Generator(options["device"]).manual_seed(2 * seed)
        true_code = torch.randn(n_images, latent_dim, generator=run, **options)
        with torch.no_grad():
            mean = decoder(true_code).flatten(1)
        x = mean + torch.randn(mean.shape, generator=run, **options) / math.sqrt(2 * beta)
        problem = _Problem(decoder, x, latent_dim, n_chains, None, "squared_error")
        position = problem.sample_prior(run)
        problem.check(position)
        forward = start(problem.target, position)
        scale = _energy_scale(forward.chain.energy, n_images)
        counts = [n_temperatures]
        total = sum(_pilot_counts(counts)) + 2 * n_temperatures
        with tqdm(total=total, unit="step", disable=not progress, leave=False) as bar:
            table = _pilot(problem, recorded, counts, scale, n_leapfrog, 2 * seed + 1, bar)
            schedule = schedules.through(recorded, counts, scale)
            steps = table.at(schedule[1:]).to(options["device"])
            forward = anneal(problem.target, forward, schedule, steps, n_leapfrog, run)
            bar.update(n_temperatures)
            backward = start(problem.target, true_code.repeat(n_chains, 1))
            backward = reverse_anneal(problem.target, backward, schedule, steps, n_leapfrog, run)
            bar.update(n_temperatures)
    lower = log_mean_weight(forward.log_weight, n_images).cpu()
    upper = -log_mean_weight(backward.log_weight, n_images).cpu()
    gap = upper - lower
    log_z = None if exact is None else exact(x).to("cpu", torch.float64)
    return BDMC(lower, upper, float(gap.mean()), float(gap.std()) / math.sqrt(n_images), log_z)


class _Problem:
    """N images, a decoder and a prior, as a target for chain-major chains (row = chain * N + image)."""

    def __init__(
        self,
        decoder: nn.Module,
        x: Tensor,
        latent_dim: int,
        n_chains: int,
        prior: Any,
        distortion: str | Distortion,
    ) -> None:
        if n_chains < 1 or latent_dim < 1:
            raise ValueError(
                f"n_chains and latent_dim must be at least 1, got {n_chains} and {latent_dim}"
            )
        if not (distortion == "squared_error" or callable(distortion)):
            raise ValueError(
                f'distortion must be "squared_error" or a function, got {distortion!r}'
            )
        self.decoder, self.x, self.prior, self.distortion = decoder, x, prior, distortion
        self.shape = (n_chains * len(x), latent_dim)
        self.prior_energy = (
            standard_normal_energy if prior is None else density_energy(prior.log_prob)
        )

    def sample_prior(self, generator: torch.Generator) -> Tensor:
        options = {"dtype": self.x.dtype, "device": self.x.device}
        if self.prior is None:
            return torch.randn(self.shape, generator=generator, **options)
        # torch.distributions draw from the global generator: seed a fork of it
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            position = self.prior.sample(self.shape[:1]).to(**options)
        if position.shape != self.shape:
            raise ValueError(
                f"prior.sample(({self.shape[0]},)) must be {self.shape}, got {tuple(position.shape)}"
            )
        return position

    def check(self, position: Tensor) -> None:
        """Try two codes before any long work starts."""
        codes, n_values = position[:2], self.x.shape[1]
        with torch.no_grad():
            try:
                output = self.decoder(codes)
            except RuntimeError as error:
                raise ValueError(
                    f"the decoder failed on codes of shape {tuple(codes.shape)}: does latent_dim="
                    f"{codes.shape[1]} fit it? It said: {error}"
                ) from error
        if len(output) != len(codes) or output.flatten(1).shape[1] != n_values:
            raise ValueError(
                f"the decoder returned {tuple(output.shape)} for {len(codes)} codes, but the images "
                f"have {n_values} values each: it should return ({len(codes)}, {n_values}) or the "
                "same number of values in an image's shape"
            )
        if not torch.isfinite(output).all():
            raise ValueError("the decoder returned NaN or infinity for codes drawn from the prior")
        if self.prior is not None:
            log_prob = self.prior.log_prob(codes)
            if log_prob.shape != codes.shape[:1]:
                raise ValueError(
                    f"prior.log_prob must return one number a code, {tuple(codes.shape[:1])}, got "
                    f"{tuple(log_prob.shape)}; wrap it in torch.distributions.Independent(prior, 1)"
                )

    def target(self, position: Tensor) -> HMCState:
        prior, prior_gradient = self.prior_energy(position)
        energy, gradient = self._energy(position)
        return HMCState(position, prior, energy, prior_gradient, gradient)

    def _energy(self, position: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            leaf = position.detach().requires_grad_(True)
            output = self.decoder(leaf)
            if callable(self.distortion):
                images = self.x.repeat(len(leaf) // len(self.x), 1)
                energy = self.distortion(images, output.flatten(1))
                (gradient,) = torch.autograd.grad(energy.sum(), leaf)
                return energy.detach().double(), gradient
            residual = output.detach().reshape(-1, *self.x.shape) - self.x
            (gradient,) = torch.autograd.grad(output, leaf, (2 * residual).view_as(output))
        return residual.square_().sum(-1, dtype=torch.float64).flatten(), gradient


@contextlib.contextmanager
def _prepared(
    decoder: nn.Module, device: str | torch.device | None, precision: str
) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """The decoder in eval mode on its device and in its precision, and as it was afterwards."""
    names = {"auto": None, "float32": torch.float32, "float64": torch.float64}
    if precision not in names:
        raise ValueError(f"precision must be one of {', '.join(names)}, got {precision!r}")
    parameter = next(decoder.parameters(), None)
    own_device = torch.device("cpu") if parameter is None else parameter.device
    own_dtype = torch.float32 if parameter is None else parameter.dtype
    wanted_device = own_device if device is None else torch.device(device)
    wanted_dtype = own_dtype if precision == "auto" else names[precision]
    if (wanted_device, wanted_dtype) != (own_device, own_dtype):
        decoder = copy.deepcopy(decoder).to(wanted_device, wanted_dtype)
    modes = [(module, module.training) for module in decoder.modules()]
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        yield decoder.eval(), {"device": wanted_device, "dtype": wanted_dtype}
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        for module, training in modes:
            module.training = training


def _check_betas(betas: Sequence[float] | Tensor) -> Tensor:
    recorded = torch.as_tensor(betas, dtype=torch.float64).detach().cpu()
    good = recorded.ndim == 1 and len(recorded) > 0 and bool(torch.isfinite(recorded).all())
    if not good or recorded[0] <= 0 or not bool((recorded.diff() > 0).all()):
        raise ValueError(f"betas must be finite, above 0 and ascending, got {recorded.tolist()}")
    return recorded


def _check_images(x: Tensor) -> Tensor:
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"x must be a batch of images (N, ...), got shape {tuple(x.shape)}")
    x = x.detach().flatten(1)
    bad = (~torch.isfinite(x)).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"x holds NaN or infinity in images {bad[:5]}: clean or drop them")
    return x


def _energy_scale(energy: Tensor, n_images: int) -> float:
    """1 / sd of the distortion under the prior: the beta at which the data begin to matter."""
    spread = energy.view(-1, n_images)
    sd = spread.std(0).mean() if len(spread) > 1 else spread.mean()
    return 1.0 / max(float(sd), 1e-12)


def _counts(
    given: int | Sequence[int] | None, recorded: Tensor, scale: float, latent_dim: int
) -> list[int]:
    if given is None:
        return schedules.default_counts(recorded, scale, latent_dim)
    counts = [given] * len(recorded) if isinstance(given, int) else [int(c) for c in given]
    if len(counts) != len(recorded) or min(counts) < 1:
        raise ValueError(
            f"temperatures_per_beta must be a number of at least 1, or {len(recorded)} of them, "
            f"got {given}"
        )
    return counts


def _pilot_counts(counts: Sequence[int]) -> list[int]:
    return [max(1, math.ceil(PILOT_FRACTION * count)) for count in counts]


def _pilot(
    problem: _Problem,
    recorded: Tensor,
    counts: Sequence[int],
    scale: float,
    n_leapfrog: int,
    seed: int,
    bar: tqdm,
) -> StepSizes:
    generator = torch.Generator(problem.x.device).manual_seed(seed)
    state = start(problem.target, problem.sample_prior(generator))
    betas = schedules.through(recorded, _pilot_counts(counts), scale)
    stride = math.ceil((len(betas) - 1) / MOST_KNOTS)
    step_size = torch.full((len(problem.x),), 0.1, dtype=torch.float64, device=problem.x.device)
    # at a beta close to 0 the step sizes find their place before the annealing starts
    settle = [0.0] + [float(betas[1])] * 20
    state, table = adapt_step_sizes(problem.target, state, settle, step_size, n_leapfrog, generator)
    step_size, knots, rows = table[-1], [], []
    for first in range(0, len(betas) - 1, stride):
        block = betas[first : first + stride + 1]
        state, table = adapt_step_sizes(
            problem.target, state, block, step_size, n_leapfrog, generator
        )
        step_size = table[-1]
        knots.append(block[-1])
        rows.append(table.log().mean(0).exp())
        bar.update(len(block) - 1)
    return StepSizes(torch.stack(knots), torch.stack(rows).cpu())


def _given_step_sizes(
    given: float | Tensor | StepSizes, recorded: Tensor, n_images: int
) -> StepSizes:
    if isinstance(given, StepSizes):
        table = StepSizes(given.beta.double().cpu(), given.step_size.double().cpu())
    else:
        values = torch.as_tensor(given, dtype=torch.float64).detach().cpu()
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
    return table


def _estimate(state: AnnealingState, beta: float, pick: Tensor, n_images: int) -> list[Tensor]:
    """Equation (6) for each image: rate, distortion, log Z, effective sample size, one code."""
    log_weight = state.log_weight.view(-1, n_images)
    energy = state.chain.energy.view(-1, n_images)
    weight = log_weight.softmax(0)
    distortion = (weight * energy).sum(0)
    log_z = log_mean_weight(state.log_weight, n_images)
    ess = 1 / weight.square().sum(0)
    chosen = (weight.cumsum(0) < pick).sum(0).clamp(max=len(weight) - 1)
    codes = state.chain.position.view(*weight.shape, -1)
    code = codes[chosen, torch.arange(n_images, device=chosen.device)]
    return [-log_z - beta * distortion, distortion, log_z, ess, code]


def _fingerprint(
    recorded: Tensor, counts: Sequence[int], problem: _Problem, seed: int, n_leapfrog: int
) -> str:
    """What a run depends on, so that an interrupted one is not resumed as another."""
    digest = hashlib.sha256(repr((counts, problem.shape, seed, n_leapfrog)).encode())
    tensors = [recorded, problem.x, *problem.decoder.state_dict().values()]
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _save_progress(
    path: str | Path,
    identity: str,
    state: AnnealingState,
    table: StepSizes,
    records: list[list[Tensor]],
    run: torch.Generator,
) -> None:
    checkpoints.save(
        path,
        {
            "identity": identity,
            "chain": state.chain._asdict(),
            "log_weight": state.log_weight,
            "acceptance_sum": state.acceptance_sum,
            "step_sizes": table._asdict(),
            "records": records,
            "generator": run.get_state(),
        },
    )


def _resume(
    path: str | Path, identity: str, run: torch.Generator, device: torch.device
) -> tuple[AnnealingState, StepSizes, list[list[Tensor]]]:
    saved = checkpoints.load(path, device=device)
    if saved["identity"] != identity:
        raise ValueError(
            f"{path} holds an interrupted run with other settings, images, weights or seed: "
            "give another file name, or remove it to begin anew"
        )
    run.set_state(saved["generator"].cpu())
    state = AnnealingState(HMCState(**saved["chain"]), saved["log_weight"], saved["acceptance_sum"])
    table = StepSizes(*(t.cpu() for t in saved["step_sizes"].values()))
    return state, table, saved["records"]
