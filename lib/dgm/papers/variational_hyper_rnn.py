"""Variational hyper RNN: a latent variable writes the weights of the network that carries it.

R. Deng, Y. Cao, B. Chang, L. Sigal, G. Mori, M. A. Brubaker (2020), "Variational Hyper RNN for Sequence
Modeling", arXiv:2002.10501. In its notation, with h before step t written h, and * one of i, f, g, o:

    (1) prior       z ~ N(mu_p, sigma_p^2),  (mu_p, sigma_p) = phi_prior(h)
    (2) emission    x ~ p(x | phi_dec(z, h)), each of phi_dec's layers l computing
                    s_l * (W_l v) + c_l + b_l,  (s, b) = omega(z, h)
    (3) recurrence  a_* = d_i* * (W_* y) + d_h* * (U_* h) + b_*,  y = [enc(x); enc(z)]
                    (d_i, d_h, b) = an affine map of k,  (k, .) = LSTM([z; h], (k, .))
    (4) posterior   z ~ N(mu_p + mu_q, sigma_q^2),  (mu_q, sigma_q) = phi_enc(x, h)
    (5) objective   FIVO, in dgm.sampling.particles

The VRNN is the same with s = d_i = d_h = 1, b = 0 and a constant bias. (3)'s products are scaled rows,
diag(d) W y, and no matrix is ever made for one sequence.
"""

import copy
import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from dgm.nets.mlp import mlp
from dgm.nets.recurrence import CELLS, Recurrence, first_scales
from dgm.sampling.particles import (
    ParticleBound,
    check_sequences,
    log_threshold,
    particle_bound,
    weigh,
)
from dgm.sampling.switching import Oracle, oracle, oracle_log_likelihood

__all__ = [
    "DeterministicHyperRNN",
    "Oracle",
    "State",
    "Trace",
    "VariationalHyperRNN",
    "VariationalRNN",
    "bound",
    "evaluate",
    "generate",
    "oracle",
    "oracle_log_likelihood",
    "parameter_count",
    "trace",
]

EMISSIONS = ("gaussian", "bernoulli")
HYPER_INPUTS = ("both", "latent", "hidden")


class State(NamedTuple):
    """What R particles carry from step to step; a tensor that a model has no use for is (R, 0)."""

    h: Tensor  # (R, H)
    c: Tensor  # (R, H)
    hyper_h: Tensor  # (R, K)
    hyper_c: Tensor  # (R, K)


class Gaussian(NamedTuple):
    """Independent normal variables."""

    mean: Tensor
    deviation: Tensor


class Weights(NamedTuple):
    """All first layers that read h, and all that read z, as one matrix each: (outputs, inputs)."""

    on_h: Tensor
    on_z: Tensor


class Moved(NamedTuple):
    """One step of R particles."""

    state: State
    log_alpha: Tensor  # (R,), nats
    z: Tensor  # (R, D)
    prior: Gaussian
    posterior: Gaussian
    emission: tuple[Tensor, Tensor]  # mean and deviation, or logits and an empty tensor; (R, X)
    scales: Tensor  # (R, 3GH): d_i, d_h, b; (R, 0) for a VRNN


class VariationalRNN(nn.Module):
    """VRNN: recurrent weights that never change, and a latent variable at each step.

    Args:
        x_dim: X, numbers in a frame.
        z_dim: D, latent numbers, and the width of all perceptrons.
        h_dim: H, of the recurrent state.
        emission: "gaussian" (independent) or "bernoulli".
        layers: hidden layers of each perceptron.
        cell: "lstm" or "gru"; either has one bias vector.
        sigma_min: smallest deviation of every normal variable.

    Raises:
        ValueError: an unknown emission or cell, or a size below 1.
    """

    has_own_bias = True  # of the cell

    def __init__(
        self,
        x_dim: int,
        z_dim: int,
        h_dim: int,
        emission: str,
        layers: int = 1,
        cell: str = "lstm",
        sigma_min: float = 1e-3,
    ) -> None:
        super().__init__()
        _check(emission, cell, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim, layers=layers)
        self.x_dim, self.z_dim, self.h_dim, self.k_dim = x_dim, z_dim, h_dim, 0
        self.emission, self.kind, self.gates = emission, cell, CELLS[cell]
        self.sigma_min = sigma_min
        hidden = [z_dim] * layers
        self.encode_x = mlp([x_dim, *hidden, z_dim], "relu")
        self.encode_z = mlp([z_dim, *hidden, z_dim], "relu")
        self.prior = mlp([h_dim, *hidden, 2 * z_dim], "relu")
        self.posterior = mlp([h_dim + z_dim, *hidden, 2 * z_dim], "relu")
        outputs = 2 * x_dim if emission == "gaussian" else x_dim
        self.decoder = mlp([z_dim + h_dim, *hidden, outputs], "relu")
        self.cell = Recurrence(2 * z_dim, h_dim, self.gates, bias=self.has_own_bias)
        self.register_buffer("input_mean", torch.zeros(x_dim))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def calibrate(self, mean: Tensor) -> None:
        """Takes the mean (X,) of the training frames off the input, and starts Bernoulli frames from it."""
        _take_mean(self, mean)
        if self.emission == "bernoulli":
            with torch.no_grad():
                self.decoder[-1].bias.copy_(mean.clamp(1e-4, 1 - 1e-4).logit())

    def start(self, rows: int) -> State:
        """The state before the first step: zeros."""
        c_dim = self.h_dim if self.kind == "lstm" else 0
        zeros = [
            self.input_mean.new_zeros(rows, n) for n in (self.h_dim, c_dim, self.k_dim, self.k_dim)
        ]
        return State(*zeros)

    # What does not hang on a particle is computed once for a sequence

    def features(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Frames (..., X) and all that follows from them alone, side by side: (..., F).

        `seen` (..., X) is True where a number was read; what was not is taken as the mean at the input
        and left out of the likelihood.
        """
        if seen is None:
            seen = torch.ones_like(x, dtype=torch.bool)
        x = torch.where(seen, x, self.input_mean)
        encoded = self.encode_x(x - self.input_mean)
        first = self.posterior[0]
        to_posterior = functional.linear(encoded, first.weight[:, self.h_dim :], first.bias)
        to_cell = functional.linear(
            encoded, self.cell.weight_input[:, : self.z_dim], self.cell.bias
        )
        return torch.cat([x, seen.to(x.dtype), to_posterior, to_cell], -1)

    def weights(self) -> Weights:
        """The first layers, stacked."""
        blocks = [self._blocks_on_h(), self._blocks_on_z()]
        return Weights(*(torch.cat(list(block.values())) for block in blocks))

    def _blocks_on_h(self) -> dict[str, Tensor]:
        return {
            "prior": self.prior[0].weight,
            "posterior": self.posterior[0].weight[:, : self.h_dim],
            "decoder": self.decoder[0].weight[:, self.z_dim :],
            "cell": self.cell.weight_hidden,
        }

    def _blocks_on_z(self) -> dict[str, Tensor]:
        return {
            "encode": self.encode_z[0].weight,
            "decoder": self.decoder[0].weight[:, : self.z_dim],
        }

    def _split(self, stacked: Tensor, blocks: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = stacked.split([len(weight) for weight in blocks.values()], -1)
        return dict(zip(blocks, parts, strict=True))

    # One step

    def forward(self, state: State, features: Tensor, noise: Tensor, weights: Weights) -> Moved:
        """Draws z from the posterior with the noise (R, D), weighs it, and moves on."""
        width = len(self.posterior[0].weight)
        sizes = [self.x_dim, self.x_dim, width, self.gates * self.h_dim]
        x, seen, to_posterior, to_cell = features.split(sizes, -1)
        from_h = self.read_h(state.h, weights)
        prior = self.prior_of(from_h)
        raw = self.posterior[1:](from_h["posterior"] + to_posterior)
        residual, posterior_deviation = self._gaussian(raw)
        posterior = Gaussian(prior.mean + residual, posterior_deviation)
        z = posterior.mean + posterior.deviation * noise
        from_z = self.read_z(z, weights)
        emission = self.emit(from_h, from_z)
        log_ratio = _log_normal(z, *prior) + 0.5 * noise**2 + posterior.deviation.log()
        log_alpha = log_ratio.sum(-1) + (seen * self.log_emission(x, emission)).sum(-1)
        moved, scales = self.recur(state, from_h, from_z, to_cell)
        return Moved(moved, log_alpha, z, prior, posterior, emission, scales)

    def read_h(self, h: Tensor, weights: Weights) -> dict[str, Tensor]:
        """What every first layer makes of h."""
        return self._split(functional.linear(h, weights.on_h), self._blocks_on_h())

    def read_z(self, z: Tensor, weights: Weights) -> dict[str, Tensor]:
        """What every first layer makes of z."""
        return self._split(functional.linear(z, weights.on_z), self._blocks_on_z())

    def prior_of(self, from_h: dict[str, Tensor]) -> Gaussian:
        """Equation (1)."""
        return self._gaussian(self.prior[1:](from_h["prior"] + self.prior[0].bias))

    def _gaussian(self, raw: Tensor) -> Gaussian:
        mean, deviation = raw.chunk(2, -1)
        # + 0.5 starts deviations near one.
        return Gaussian(mean, functional.softplus(deviation + 0.5).clamp(min=self.sigma_min))

    def emit(self, from_h: dict[str, Tensor], from_z: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Equation (2): mean and deviation of a frame, or its logits and an empty tensor."""
        hidden = from_h["decoder"] + from_z["decoder"] + self.decoder[0].bias
        return self._frame(self.decoder[1:](hidden))

    def _frame(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        return self._gaussian(raw) if self.emission == "gaussian" else (raw, raw[..., :0])

    def log_emission(self, x: Tensor, emission: tuple[Tensor, Tensor]) -> Tensor:
        """Log-density or log-probability of each number of a frame, nats."""
        if self.emission == "gaussian":
            return _log_normal(x, *emission) - 0.5 * math.log(2 * math.pi)
        return x * emission[0] - functional.softplus(emission[0])

    def draw(
        self,
        emission: tuple[Tensor, Tensor],
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """A frame (R, X) from what `emit` gave."""
        first, second = emission
        if self.emission == "gaussian":
            return first + temperature * second * _noise(first, self.x_dim, generator)
        return torch.bernoulli((first / temperature).sigmoid(), generator=generator)

    def recur(
        self, state: State, from_h: dict[str, Tensor], from_z: dict[str, Tensor], to_cell: Tensor
    ) -> tuple[State, Tensor]:
        """Equation (3) with constant weights."""
        y = to_cell + self._encoded_z(from_z)
        h, c = self.cell(y, from_h["cell"], state.h, state.c)
        return State(h, c, state.hyper_h, state.hyper_c), y[..., :0]

    def _encoded_z(self, from_z: dict[str, Tensor]) -> Tensor:
        encoded = self.encode_z[1:](from_z["encode"] + self.encode_z[0].bias)
        return functional.linear(encoded, self.cell.weight_input[:, self.z_dim :])


class VariationalHyperRNN(VariationalRNN):
    """VHRNN: z and h write scales and biases of the recurrent cell and of the decoder at every step.

    Args:
        x_dim, z_dim, h_dim, emission, layers, cell, sigma_min: as for `VariationalRNN`.
        hyper_hidden: width of omega, the perceptron that writes the decoder's scales and biases.
        hyper_input: what the two hyper networks read: "both", "latent" (z) or "hidden" (h).
        hyper_dim: K, of the hyper LSTM; None takes h_dim, as in the paper.

    Raises:
        ValueError: an unknown emission, cell or hyper input, or a size below 1.
    """

    has_own_bias = False

    def __init__(
        self,
        x_dim: int,
        z_dim: int,
        h_dim: int,
        hyper_hidden: int,
        emission: str,
        layers: int = 1,
        cell: str = "lstm",
        hyper_input: str = "both",
        hyper_dim: int | None = None,
        sigma_min: float = 1e-3,
    ) -> None:
        if hyper_input not in HYPER_INPUTS:
            raise ValueError(
                f"hyper_input must be one of {', '.join(HYPER_INPUTS)}, got {hyper_input!r}"
            )
        super().__init__(x_dim, z_dim, h_dim, emission, layers, cell, sigma_min)
        self.k_dim = h_dim if hyper_dim is None else hyper_dim
        _check(emission, cell, hyper_hidden=hyper_hidden, hyper_dim=self.k_dim)
        self.reads_z = z_dim if hyper_input != "hidden" else 0
        self.reads_h = h_dim if hyper_input != "latent" else 0
        self.hyper = Recurrence(self.reads_z + self.reads_h, self.k_dim, 4)
        self.heads = nn.Linear(self.k_dim, 3 * self.gates * h_dim)
        outputs = 2 * sum(len(layer.weight) for layer in self.decoder[::2])
        self.rescale = mlp([self.reads_z + self.reads_h, hyper_hidden, outputs], "relu")
        with torch.no_grad():
            self.heads.weight.uniform_(-1e-2, 1e-2)
            self.heads.bias.copy_(first_scales(cell, h_dim))
            nn.init.xavier_uniform_(self.rescale[0].weight)
            self.rescale[0].bias.zero_()
            self.rescale[-1].weight.uniform_(-1e-2, 1e-2)
            self.rescale[-1].bias.copy_((torch.arange(outputs) < outputs // 2).float())

    def _blocks_on_h(self) -> dict[str, Tensor]:
        own = {
            "hyper": self.hyper.weight_input[:, self.reads_z :],
            "rescale": self.rescale[0].weight[:, self.reads_z :],
        }
        return super()._blocks_on_h() | (own if self.reads_h else {})

    def _blocks_on_z(self) -> dict[str, Tensor]:
        own = {
            "hyper": self.hyper.weight_input[:, : self.reads_z],
            "rescale": self.rescale[0].weight[:, : self.reads_z],
        }
        return super()._blocks_on_z() | (own if self.reads_z else {})

    def emit(self, from_h: dict[str, Tensor], from_z: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Equation (2)."""
        hidden = from_h.get("rescale", 0) + from_z.get("rescale", 0) + self.rescale[0].bias
        scales, biases = self.rescale[1:](hidden).chunk(2, -1)
        layers = list(self.decoder[::2])
        sizes = [len(layer.weight) for layer in layers]
        product = from_h["decoder"] + from_z["decoder"]
        for i, (layer, scale, bias) in enumerate(
            zip(layers, scales.split(sizes, -1), biases.split(sizes, -1), strict=True)
        ):
            if i:
                product = functional.linear(product.relu(), layer.weight)
            product = scale * product + layer.bias + bias
        return self._frame(product)

    def recur(
        self, state: State, from_h: dict[str, Tensor], from_z: dict[str, Tensor], to_cell: Tensor
    ) -> tuple[State, Tensor]:
        """Equation (3)."""
        read = from_h.get("hyper", 0) + from_z.get("hyper", 0) + self.hyper.bias
        again = functional.linear(state.hyper_h, self.hyper.weight_hidden)
        hyper_h, hyper_c = self.hyper(read, again, state.hyper_h, state.hyper_c)
        scales = self.heads(hyper_h)
        on_input, on_hidden, bias = scales.chunk(3, -1)
        y = on_input * (to_cell + self._encoded_z(from_z)) + bias
        h, c = self.cell(y, on_hidden * from_h["cell"], state.h, state.c)
        return State(h, c, hyper_h, hyper_c), scales


def _take_mean(model: nn.Module, mean: Tensor) -> None:
    if mean.shape != (model.x_dim,):
        raise ValueError(f"mean must be ({model.x_dim},), got {tuple(mean.shape)}")
    model.input_mean.copy_(mean)


def _log_normal(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Log-density of each number, but for the constant -log(2 pi) / 2."""
    return -0.5 * ((x - mean) / deviation) ** 2 - deviation.log()


def _check(emission: str, cell: str, **sizes: int) -> None:
    if emission not in EMISSIONS:
        raise ValueError(f"emission must be one of {', '.join(EMISSIONS)}, got {emission!r}")
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    small = {name: size for name, size in sizes.items() if size < 1}
    if small:
        raise ValueError(f"sizes must be at least 1, got {small}")


# What is done with a model


def bound(
    model: VariationalRNN,
    x: Tensor,
    lengths: Tensor,
    n_particles: int,
    resample: str = "ess",
    generator: torch.Generator | None = None,
    seen: Tensor | None = None,
    *,
    validate: bool = True,
    compiled: bool = False,
) -> ParticleBound:
    """Equation (5): FIVO of B sequences; ELBO for one particle, IWAE where none is resampled.

    Args:
        model: a `VariationalRNN` or `VariationalHyperRNN`.
        x: (B, T, X) frames, 0 or 1 for Bernoulli ones.
        lengths: (B,), from 1 to T; what stands behind a sequence's end changes nothing.
        n_particles: N.
        resample: "never", "ess" or "always".
        generator: of all noise, on the model's device.
        seen: (B, T, X), True where a number was read; None where all were.
        validate: whether frames and weights are looked at, which makes a GPU wait.
        compiled: whether a step is compiled first; pays off in training.

    Returns:
        The bound (B,) in nats, with gradient, in the model's precision, and the effective number of
        particles (T, B).

    Raises:
        ValueError: shapes that do not fit, frames that are NaN where they are said to be seen, or not
            in [0, 1] for a Bernoulli model, and what `particle_bound` raises.
    """
    seen = _checked(model, x, lengths, seen, validate)
    features = model.features(x, seen)
    weights = model.weights()
    if compiled:
        check_sequences(features, lengths, n_particles, resample, validate)
        return _compiled_bound(
            model, features, weights, lengths, n_particles, resample, generator, validate
        )

    def step(state, features, t, generator):
        noise = _noise(features, model.z_dim, generator)
        moved = model(state, features, noise, weights)
        return moved.state, moved.log_alpha

    return particle_bound(
        lambda rows, _: model.start(rows), step, features, lengths, n_particles, resample,
        generator, validate=validate,
    )  # fmt: skip


def _noise(like: Tensor, width: int, generator: torch.Generator | None) -> Tensor:
    return torch.randn(len(like), width, generator=generator, dtype=like.dtype, device=like.device)


AT_ONCE = 2  # steps that are compiled as one


def _compiled_bound(model, features, weights, lengths, n_particles, resample, generator, validate):
    """`particle_bound` with the same draws in the same order, some steps a call."""
    n, n_steps = features.shape[:2]
    kind = {"dtype": features.dtype, "device": features.device}
    threshold = log_threshold(resample, n_particles)
    noise, uniform = [], []
    for _ in range(n_steps):
        noise.append(_noise(features.new_empty(n * n_particles, 0), model.z_dim, generator))
        if threshold is not None:
            uniform.append(torch.rand(n, n_particles, generator=generator, **kind))
    behind = -n_steps % AT_ONCE
    features = functional.pad(features, (0, 0, 0, behind))
    noise = functional.pad(torch.stack(noise), (0, 0, 0, 0, 0, behind))
    if uniform:
        uniform = functional.pad(torch.stack(uniform), (0, 0, 0, 0, 0, behind))
    state, log_weight = tuple(model.start(n * n_particles)), torch.zeros(n, n_particles, **kind)
    total, effective = torch.zeros(n, **kind), torch.full((n,), float(n_particles), **kind)
    run, ess = _compiled_steps(), []
    for t in range(0, n_steps, AT_ONCE):
        here = slice(t, t + AT_ONCE)
        draws = uniform[here] if threshold is not None else None
        state, log_weight, total, several = run(
            model, weights, state, features[:, here].contiguous(), noise[here], draws, lengths - t,
            log_weight, total, effective, threshold,
        )  # fmt: skip
        effective = several[-1]
        ess.append(several)
    total = total + log_weight.logsumexp(1) - math.log(n_particles)
    if validate and bool(total.isnan().any()):
        raise ValueError(f"weights of sequences {total.isnan().nonzero()[:5, 0].tolist()} are NaN")
    return ParticleBound(total, torch.cat(ess)[:n_steps])


def _some_steps(
    model, weights, state, features, noise, uniform, left, log_weight, total, effective, threshold
):
    ess, (n, n_particles) = [], log_weight.shape
    for i in range(features.shape[1]):
        x = features[:, i].repeat_interleave(n_particles, 0)
        moved = model(State(*state), x, noise[i], weights)
        state, log_weight, total, effective = weigh(
            tuple(moved.state), moved.log_alpha.view(n, n_particles), log_weight, total, effective,
            left - i, None if uniform is None else uniform[i], threshold,
        )  # fmt: skip
        ess.append(effective)
    return state, log_weight, total, torch.stack(ess)


@cache
def _compiled_steps():
    return torch.compile(_some_steps, dynamic=False)


def _checked(
    model: nn.Module, x: Tensor, lengths: Tensor, seen: Tensor | None, validate: bool
) -> Tensor:
    """What was seen and does not stand behind a sequence's end, where even NaN changes nothing."""
    if x.ndim != 3 or x.shape[-1] != model.x_dim:
        raise ValueError(f"x must be (B, T, {model.x_dim}), got {tuple(x.shape)}")
    if lengths.shape != x.shape[:1]:
        raise ValueError(f"lengths must be ({len(x)},), got {tuple(lengths.shape)}")
    if seen is not None and (seen.shape != x.shape or seen.dtype != torch.bool):
        raise ValueError(
            f"seen must be bool of shape {tuple(x.shape)}, got {seen.dtype} {tuple(seen.shape)}"
        )
    inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
    inside = inside[..., None].expand(x.shape)
    seen = inside if seen is None else inside & seen
    if not validate:
        return seen
    wrong = ~x.isfinite() & seen
    if bool(wrong.any()):
        row, step = wrong.any(-1).nonzero()[0].tolist()
        raise ValueError(
            f"sequence {row} is NaN or infinite at step {step}: pass seen=~isnan(x) to leave missing "
            "values out"
        )
    if model.emission == "bernoulli" and bool((((x < 0) | (x > 1)) & seen).any()):
        raise ValueError("frames of a Bernoulli model must lie in [0, 1]")
    return seen


class Trace(NamedTuple):
    """What N particles that are never resampled do along one sequence; nats."""

    z: Tensor  # (T, N, D)
    log_alpha: Tensor  # (T, N)
    kl: Tensor  # (T, N), of the posterior from the prior
    prior_mean: Tensor  # (T, N, D)
    prior_deviation: Tensor  # (T, N, D)
    mean_x: Tensor  # (T, N, X), or probabilities
    deviation_x: Tensor  # (T, N, X), or (T, N, 0)
    scales: Tensor  # (T, N, 3GH), or (T, N, 0)
    h: Tensor  # (T, N, H)


@torch.no_grad()
def trace(model: VariationalRNN, x: Tensor, noise: Tensor) -> Trace:
    """Follows one sequence (T, X), or N sequences (T, N, X), with given noise (T, N, D).

    Raises:
        ValueError: shapes that do not fit, or frames that are NaN.
    """
    if x.ndim == 2:
        x = x[:, None]
    if noise.ndim != 3 or (len(noise), noise.shape[-1]) != (len(x), model.z_dim):
        raise ValueError(
            f"noise must be ({len(x)}, N, {model.z_dim}) for x {tuple(x.shape)}, got {tuple(noise.shape)}"
        )
    n = noise.shape[1]
    if x.shape[1:-1] not in ((1,), (n,)):
        raise ValueError(f"x must be (T, X) or (T, {n}, X), got {tuple(x.shape)}")
    whole = torch.full((x.shape[1],), len(x), device=x.device)
    _checked(model, x.transpose(0, 1), whole, None, True)
    features, weights = model.features(x).expand(-1, n, -1), model.weights()
    state, rows = model.start(n), []
    for at, now in zip(features, noise, strict=True):
        moved = model(state, at, now, weights)
        state = moved.state
        first, second = moved.emission
        if model.emission == "bernoulli":
            first = first.sigmoid()
        kl = kl_divergence(Normal(*moved.posterior), Normal(*moved.prior)).sum(-1)
        rows.append(
            (moved.z, moved.log_alpha, kl, *moved.prior, first, second, moved.scales, state.h)
        )
    return Trace(*(torch.stack(column) for column in zip(*rows, strict=True)))


@torch.no_grad()
def evaluate(
    model: VariationalRNN,
    x: Tensor,
    lengths: Tensor,
    n_particles: int,
    resample: str = "ess",
    generator: torch.Generator | None = None,
    seen: Tensor | None = None,
    *,
    max_rows: int = 8192,
) -> Tensor:
    """`bound` (B,) of as many sequences at a time as fit in `max_rows` particles, float64 on the CPU.

    All in float64, since sequences that explode have densities far out. Memory grows with `max_rows`
    and the longest sequence, not with B.

    Raises:
        ValueError: as `bound` does.
    """
    double = copy.deepcopy(model).double()
    order = lengths.argsort()
    found = torch.zeros(len(x), dtype=torch.float64)
    for chosen in order.split(max(1, max_rows // n_particles)):
        longest = int(lengths[chosen].max())
        part = None if seen is None else seen[chosen, :longest]
        of = bound(
            double, x[chosen, :longest].double(), lengths[chosen], n_particles, resample, generator,
            part,
        )  # fmt: skip
        found[chosen.cpu()] = of.log_likelihood.cpu()
    return found


@torch.no_grad()
def generate(
    model: VariationalRNN,
    n_steps: int,
    n: int,
    generator: torch.Generator | None = None,
    opening: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Writes n sequences (n, n_steps, X) that start with an opening (T0, X).

    The temperature multiplies the deviations of z and of Gaussian frames and divides Bernoulli logits.

    Raises:
        ValueError: an opening of another width or no shorter than n_steps, a temperature not above 0,
            or fewer than one step or sequence.
    """
    if n < 1 or n_steps < 1 or not temperature > 0:
        raise ValueError(
            f"n={n}, n_steps={n_steps}, temperature={temperature}: want 1, 1 and more than 0"
        )
    if opening is None:
        opening = model.input_mean.new_zeros(0, model.x_dim)
    if opening.ndim != 2 or opening.shape[1] != model.x_dim or len(opening) >= n_steps:
        raise ValueError(
            f"the opening must be (T0, {model.x_dim}) with T0 below {n_steps}, "
            f"got {tuple(opening.shape)}"
        )
    weights, state, frames = model.weights(), model.start(n), []
    for t in range(n_steps):
        noise = _noise(state.h, model.z_dim, generator)
        if t < len(opening):
            x = opening[t].to(state.h).expand(n, -1)
            state = model(state, model.features(x), noise, weights).state
        else:
            from_h = model.read_h(state.h, weights)
            prior = model.prior_of(from_h)
            from_z = model.read_z(prior.mean + temperature * prior.deviation * noise, weights)
            x = model.draw(model.emit(from_h, from_z), generator, temperature)
            to_cell = model.features(x)[:, -model.gates * model.h_dim :]
            state, _ = model.recur(state, from_h, from_z, to_cell)
        frames.append(x)
    return torch.stack(frames, 1)


def parameter_count(model: nn.Module, as_published: bool = False) -> int:
    """Parameters that learn; as published adds a reverse LSTM that is counted there and never used."""
    live = sum(parameter.numel() for parameter in model.parameters())
    if not as_published:
        return live
    if not isinstance(model, VariationalRNN):
        raise ValueError(f"the paper has no count of a {type(model).__name__}")
    return live + model.gates * model.h_dim * (model.z_dim + model.h_dim + 1)


# The same hyper network without a latent variable


class DeterministicHyperRNN(nn.Module):
    """HyperLSTM (Ha et al. 2016) with a mixture at its output: what is left of VHRNN without z.

    A frame, as (1) to (4) have it, is one of M components given h, each with independent numbers.

    Args:
        x_dim: X.
        h_dim: H.
        hyper_dim: K, of the hyper LSTM, which reads the encoded frame and h.
        emission: "gaussian" or "bernoulli".
        layers: hidden layers of the encoder and the decoder.
        width: of both; None takes h_dim.
        components: M.
        sigma_min: smallest deviation.

    Raises:
        ValueError: an unknown emission, or a size below 1.
    """

    def __init__(
        self,
        x_dim: int,
        h_dim: int,
        hyper_dim: int,
        emission: str,
        layers: int = 1,
        width: int | None = None,
        components: int = 4,
        sigma_min: float = 1e-3,
    ) -> None:
        super().__init__()
        width = h_dim if width is None else width
        sizes = {"x_dim": x_dim, "h_dim": h_dim, "hyper_dim": hyper_dim, "layers": layers}
        _check(emission, "lstm", **sizes, width=width, components=components)
        self.x_dim, self.h_dim, self.k_dim, self.width = x_dim, h_dim, hyper_dim, width
        self.emission, self.components, self.sigma_min = emission, components, sigma_min
        hidden = [width] * layers
        numbers = 2 * x_dim if emission == "gaussian" else x_dim
        self.encode_x = mlp([x_dim, *hidden, width], "relu")
        self.decoder = mlp([h_dim, *hidden, components * (1 + numbers)], "relu")
        self.cell = Recurrence(width, h_dim, CELLS["lstm"], bias=False)
        self.hyper = Recurrence(width + h_dim, hyper_dim, CELLS["lstm"])
        self.heads = nn.Linear(hyper_dim, 12 * h_dim)
        self.register_buffer("input_mean", torch.zeros(x_dim))
        with torch.no_grad():
            self.heads.weight.uniform_(-1e-2, 1e-2)
            self.heads.bias.copy_(first_scales("lstm", h_dim))

    def calibrate(self, mean: Tensor) -> None:
        """Takes the mean (X,) of the training frames off the input, and starts Bernoulli frames from it."""
        _take_mean(self, mean)
        if self.emission == "bernoulli":
            with torch.no_grad():
                frames = self.decoder[-1].bias[self.components :].view(self.components, -1)
                frames.add_(mean.to(frames).clamp(1e-4, 1 - 1e-4).logit())

    def forward(self, x: Tensor, lengths: Tensor, seen: Tensor | None = None) -> Tensor:
        """Log-likelihood (B,) of sequences (B, T, X), nats; `seen` as for `bound`."""
        seen = _checked(self, x, lengths, seen, True)
        if not bool(((lengths >= 1) & (lengths <= x.shape[1])).all()):
            raise ValueError(f"lengths must lie in 1..{x.shape[1]}, got {lengths.tolist()}")
        x = torch.where(seen, x, self.input_mean)
        encoded = self.encode_x(x - self.input_mean)
        h, c, k, k_c = (x.new_zeros(len(x), n) for n in 2 * [self.h_dim] + 2 * [self.k_dim])
        states = []
        for t in range(x.shape[1]):
            states.append(h)
            read = functional.linear(
                torch.cat([encoded[:, t], h], -1), self.hyper.weight_input, self.hyper.bias
            )
            k, k_c = self.hyper(read, functional.linear(k, self.hyper.weight_hidden), k, k_c)
            on_input, on_hidden, bias = self.heads(k).chunk(3, -1)
            y = on_input * functional.linear(encoded[:, t], self.cell.weight_input) + bias
            h, c = self.cell(y, on_hidden * functional.linear(h, self.cell.weight_hidden), h, c)
        log_p = self._log_mixture(x, seen, self.decoder(torch.stack(states, 1)))
        left = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        return torch.where(left, log_p, 0.0).sum(1)

    def _log_mixture(self, x: Tensor, seen: Tensor, raw: Tensor) -> Tensor:
        shares, numbers = raw.tensor_split([self.components], -1)
        numbers = numbers.unflatten(-1, (self.components, -1))
        x, seen = x[..., None, :], seen[..., None, :]
        if self.emission == "gaussian":
            mean, deviation = numbers.chunk(2, -1)
            deviation = functional.softplus(deviation + 0.5).clamp(min=self.sigma_min)
            each = _log_normal(x, mean, deviation) - 0.5 * math.log(2 * math.pi)
        else:
            each = x * numbers - functional.softplus(numbers)
        return (shares.log_softmax(-1) + (seen * each).sum(-1)).logsumexp(-1)
