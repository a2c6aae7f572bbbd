"""What chapter 6's pages compute: PyTorch and dgm.sampling, with the pages' own random numbers."""

import copy
import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from page_hashes import ODD, box_muller, mulberry32, murmur_mix
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from dgm.papers.variational_hyper_rnn import VariationalHyperRNN, VariationalRNN
from dgm.sampling.linear_gaussian import LinearGaussian
from dgm.sampling.particles import start_weighing, weigh
from dgm_book.widgets.variational_hyper_rnn import MAX_PARTICLES, MAX_STEPS

SYSTEM, CHOICE, PRIOR, POSTERIOR, RESAMPLING = range(5)  # streams of random numbers


def uniforms(shape, seed, stream, t) -> Tensor:
    """The page's numbers in [0, 1) for one step: of its seed, a stream's number and the step."""
    key = murmur_mix(seed + 1)
    for part in (stream, t):
        key = murmur_mix(key * np.uint64(ODD) + np.uint64(part + 1))
    count = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    values = murmur_mix(key + count * np.uint64(ODD)) / 2**32
    return torch.from_numpy(values.reshape(shape))


def normals(shape, seed, stream, t) -> Tensor:
    """Standard normals of `uniforms`; an odd count drops the last."""
    size = math.prod(shape)
    pairs = uniforms((-(-size // 2), 2), seed, stream, t).numpy()
    return torch.from_numpy(box_muller(pairs).ravel()[:size].reshape(shape))


class Course(NamedTuple):
    """T steps of x_t = W x_{t-1} + sigma e_t."""

    x: Tensor  # (T, 2)
    which: list[int]
    sigma: list[float]
    fresh: list[bool]  # where x started, at first or anew past the bound


def simulate(matrices, schedule, n_steps, seed, bound) -> Course:
    matrices, rows, x = torch.as_tensor(matrices, dtype=torch.float64), [], torch.zeros(2)
    for t in range(n_steps):
        _, which, sigma = [row for row in schedule if row[0] <= t][-1]
        fresh = t == 0 or float(x.abs().max()) > bound
        start = 2 * uniforms((2,), seed, SYSTEM, t) - 1
        step = matrices[which] @ x.double() + sigma * normals((2,), seed, SYSTEM, t)
        x = start if fresh else step
        rows.append((x, which, sigma, fresh))
    x, *others = zip(*rows, strict=True)
    return Course(torch.stack(x), *map(list, others))


def pieces(course) -> list[slice]:
    """From one start of x to the next."""
    starts = [t for t, fresh in enumerate(course.fresh) if fresh]
    return [slice(*ends) for ends in pairwise([*starts, len(course.x)])]


@torch.no_grad()
def hazard_filter(
    x: Tensor, matrices: Tensor, deviations: tuple[float, ...], hazard: float
) -> tuple[Tensor, Tensor]:
    """Exact Bayes of one sequence (T, 2) whose W and sigma each change with a probability per step.

    A change is to any other value alike; all of the first step is as for `oracle`.

    Returns:
        The posterior (T, K) of which W it is, given the steps up to this one, and the log-density
        (T,) of each x given those before it, nats.
    """
    sigma, x = torch.tensor(deviations, dtype=torch.float64), x.double()
    sizes = len(matrices), len(sigma)
    # Of n values: 1 - hazard stays, the rest is shared out.
    by_matrix, by_sigma = (
        sigma.new_full((n, n), hazard / (n - 1)).fill_diagonal_(1 - hazard) for n in sizes
    )
    p = sigma.new_full(sizes, 1 / math.prod(sizes))
    posteriors, per_step = [p.sum(1)], [sigma.new_tensor(-math.log(4))]
    for before, now in pairwise(x):
        squares = (now - matrices.double() @ before).square().sum(1)
        density = -0.5 * squares[:, None] / sigma**2 - (2 * math.pi * sigma**2).log()
        log_p = (by_matrix @ p @ by_sigma).log() + density
        per_step.append(log_p.logsumexp((0, 1)))
        p = (log_p - per_step[-1]).exp()
        posteriors.append(p.sum(1))
    return torch.stack(posteriors), torch.stack(per_step)


def exact_bayes(course, matrices, deviations, hazard) -> tuple[Tensor, Tensor]:
    matrices = torch.as_tensor(matrices, dtype=torch.float64)
    parts = [hazard_filter(course.x[p], matrices, deviations, hazard) for p in pieces(course)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


class Filtered(NamedTuple):
    """What a model does with a sequence; nats."""

    increment: Tensor  # (T,), of the log-likelihood
    mean_kl: Tensor  # (T,), by the weights before the step
    predicted_mean: Tensor  # (T, X), before x is read
    predicted_deviation: Tensor  # (T, X)
    generated: Tensor  # (T, S), all that the hyper networks write, weighted mean


@torch.no_grad()
def filter_sequence(model: VariationalRNN, x, noise, draws, prior_noise=None) -> Filtered:
    """Reads x (T, X) with N particles, noise (T, N, Z) and uniforms (T, N) for resampling."""
    model, x = copy.deepcopy(model).double(), x.double()
    prior_noise = torch.zeros_like(noise) if prior_noise is None else prior_noise
    n = noise.shape[1]
    features, weights = model.features(x)[:, None].expand(-1, n, -1), model.weights()
    on_h, on_z = weights
    state, weighing, rows = model.start(n), start_weighing(x.new_zeros(1, n)), []
    for t in range(len(x)):
        before = weighing.log_weight.softmax(1)[0]
        from_h = on_h.read(state.h)
        prior = model.prior_gaussian(from_h)
        z = prior.mean + prior.standard_deviation * prior_noise[t]
        mean, deviation = model.emit(from_h, on_z.read(z))
        mean = mean if model.emission == "gaussian" else mean.sigmoid()
        predicted = before @ mean
        spread = before @ (deviation**2 + mean**2) - predicted**2 if deviation.numel() else mean[0]
        output = model(state, features[t], noise[t], weights)
        generated = output.scales
        if isinstance(model, VariationalHyperRNN):
            pair = {"both": (output.z, state.h), "latent": (output.z,), "hidden": (state.h,)}
            written = model.rescale(torch.cat(pair[model.hyper_input], 1))
            generated = torch.cat([generated, written], 1)
        kl = kl_divergence(Normal(*output.posterior), Normal(*output.prior)).sum(-1)
        total, log_alpha = weighing.bound(), output.log_alpha[None]
        after = (weighing.log_weight + log_alpha).softmax(1)[0]
        left = torch.tensor([2])  # the page may always go on
        state, weighing = weigh(output.state, log_alpha, weighing, left, draws[t][None], "ess")
        increment = (weighing.bound() - total)[0]
        spread = spread.clamp(min=0).sqrt()
        rows.append((increment, before @ kl, predicted, spread, after @ generated))
    return Filtered(*(torch.stack(column) for column in zip(*rows, strict=True)))


def follow(model: VariationalRNN, course, n_particles, seed) -> Filtered:
    """`filter_sequence` with the page's draws, from a zero state wherever x starts."""
    shape, times, parts = (n_particles, model.z_dim), range(len(course.x)), []
    noise, prior = (
        torch.stack([normals(shape, seed, stream, t) for t in times])
        for stream in (POSTERIOR, PRIOR)
    )
    draws = torch.stack([uniforms(shape[:1], seed, RESAMPLING, t) for t in times])
    for p in pieces(course):
        parts.append(filter_sequence(model, course.x[p], noise[p], draws[p], prior[p]))
    return Filtered(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def frozen(model: VariationalHyperRNN, share, means) -> VariationalHyperRNN:
    """A model whose generated numbers are (1 - share) its own plus share times their means (S,)."""
    model = copy.deepcopy(model).double()
    last = model.rescale[-1]
    sizes = [len(model.heads.bias), len(last.bias)]
    for layer, mean in zip((model.heads, last), means.split(sizes), strict=True):
        layer.weight *= 1 - share
        layer.bias.mul_(1 - share).add_(share * mean)
    return model


class Particles(NamedTuple):
    """Where particles of some runs are, and each one's place in its run a step before."""

    z: Tensor  # (R * N,)
    parent: Tensor  # (R * N,)


class Cloud(NamedTuple):
    """R runs of N particles over T steps of the linear-Gaussian system."""

    z: np.ndarray  # (R, T, N)
    weights: np.ndarray  # (R, T, N)
    parents: np.ndarray  # (R, T, N)
    ess: np.ndarray  # (T, R)
    resampled: np.ndarray  # (T, R) bool
    log_likelihood: np.ndarray  # (R,)


def particle_runs(x, n, criterion, runs) -> Cloud:
    """The page's runs, each known by its number."""
    system, rows, runs = LinearGaussian(), len(runs) * n, np.asarray(runs)
    weighing = start_weighing(torch.zeros(len(runs), n, dtype=torch.float64))
    state, columns = Particles(torch.zeros(rows).double(), torch.arange(rows) % n), []
    place = np.stack([2 * np.arange(n), 2 * np.arange(n) + 1, 2 * MAX_PARTICLES + np.arange(n)])
    for t, value in enumerate(x):
        count = (runs[:, None] * MAX_STEPS + t) * 3 * MAX_PARTICLES + place[:, None] + 1
        radius, turn, chance = mulberry32(count)
        noise = torch.from_numpy(box_muller(np.stack([radius, turn], -1))[..., 0].ravel())
        x_t = torch.full((rows, 1), float(value), dtype=torch.float64)
        walk, log_alpha = system.step(state, x_t, t, None, noise)
        log_alpha = log_alpha.view(len(runs), n)
        share = (weighing.log_weight + log_alpha).softmax(1)
        left = torch.full((len(runs),), len(x) - t)
        parents, state = state.parent, Particles(walk.z, torch.arange(rows) % n)
        uniform = torch.from_numpy(chance)
        state, weighing = weigh(state, log_alpha, weighing, left, uniform, criterion)
        ess = weighing.effective.numpy()
        anew = {"never": ess < 0, "ess": ess <= n / 2, "always": ess > 0}[criterion]
        shape = (len(runs), n)
        row = (walk.z.view(shape), share, parents.view(shape))
        columns.append([*(v.numpy() for v in row), ess, anew & (t < len(x) - 1)])
    z, share, parents, ess, resampled = (np.stack(part) for part in zip(*columns, strict=True))
    swapped = (v.swapaxes(0, 1) for v in (z, share, parents))
    return Cloud(*swapped, ess, resampled, weighing.bound().numpy())


def survivors(parents: np.ndarray) -> np.ndarray:
    """Whether a particle of the last step descends from each (T, N), from the parents (T, N)."""
    alive = np.ones(parents.shape, bool)
    for t in range(len(parents) - 2, -1, -1):
        heirs = parents[t + 1, alive[t + 1]]
        alive[t] = np.isin(np.arange(parents.shape[1]), heirs)
    return alive
