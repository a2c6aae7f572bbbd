"""VRNN (Chung et al. 2015, arXiv:1506.02216) and a HyperLSTM, which has no latent variables.

Equations' numbers are those of `dgm.papers.variational_hyper_rnn`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.nets.mlp import affine_layers, mlp

EMISSIONS = {"gaussian": 2, "bernoulli": 1, "student_t": 3}  # numbers of the decoder per number
Blocks = Mapping[str, Tensor]


class State(NamedTuple):
    """What R rows carry from step to step; a tensor that a model does not use is (R, 0)."""

    h: Tensor  # (R, H)
    c: Tensor  # (R, H)
    hyper_h: Tensor  # (R, K)
    hyper_c: Tensor  # (R, K)
    frame: Tensor  # (R, X), the last one minus the input's mean, of a linear path


class Recurrence(nn.Module):
    """An LSTM's weights (rows i, f, g, o) with one bias or None, and what follows its products."""

    bias: Tensor

    def __init__(self, n_in: int, n_out: int, bias: bool = True) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.empty(4 * n_out, n_in))
        self.weight_hidden = nn.Parameter(torch.empty(4 * n_out, n_out))
        nn.init.xavier_uniform_(self.weight_input)
        nn.init.xavier_uniform_(self.weight_hidden)
        forget = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(n_out)
        self.register_parameter("bias", nn.Parameter(forget) if bias else None)

    def forward(self, y: Tensor, u: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The new h and c from both products, (R, 4H) each, biases in the first."""
        i, f, g, o = (y + u).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


def hyper_step(
    model: Any, read: Tensor, y: Tensor, u: Tensor, state: State
) -> tuple[State, Tensor]:
    """a = d_i * y + d_h * u + b, with (d_i, d_h, b) = heads(hyper_h) after a hyper LSTM's step.

    `read` (R, 4K) is the hyper LSTM's product with its input and its bias; y and u (R, 4H) are the
    cell's with its input and with h. Also returns (d_i, d_h, b), (R, 12H). Source: Ha, Dai and Le
    (2017), HyperNetworks, arXiv:1609.09106, with one bias vector.
    """
    on_hyper = functional.linear(state.hyper_h, model.hyper.weight_hidden)
    hyper_h, hyper_c = model.hyper(read, on_hyper, state.hyper_c)
    scales = model.heads(hyper_h)
    on_input, on_hidden, bias = scales.chunk(3, -1)
    h, c = model.cell(on_input * y + bias, on_hidden * u, state.c)
    return State(h, c, hyper_h, hyper_c, state.frame), scales


def initialise_heads(heads: nn.Linear) -> None:
    """Starts with scales near 1 and biases near 0, but for the forget gate's, which are near 1."""
    scales = torch.ones(3, 4, heads.out_features // 12)
    scales[2] = torch.tensor([0.0, 1.0, 0.0, 0.0])[:, None]
    with torch.no_grad():
        heads.weight.uniform_(-1e-2, 1e-2)
        heads.bias.copy_(scales.flatten())


class _Gaussian(NamedTuple):
    """Independent normal variables."""

    mean: Tensor
    standard_deviation: Tensor


def _log_normal(x: Tensor, mean: Tensor, standard_deviation: Tensor) -> Tensor:
    """Log-density of each number, but for the constant -log(2 pi) / 2."""
    return -0.5 * ((x - mean) / standard_deviation) ** 2 - standard_deviation.log()


def student_t_log_density(x: Tensor, centre: Tensor, scale: Tensor, freedom: Tensor) -> Tensor:
    """Log-density of Student's t with this centre, scale and degrees of freedom, nats."""
    constant = ((freedom + 1) / 2).lgamma() - (freedom / 2).lgamma() - scale.log()
    tails = (freedom + 1) / 2 * (((x - centre) / scale) ** 2 / freedom).log1p()
    return constant - 0.5 * (math.pi * freedom).log() - tails


class _FrameModel(nn.Module):
    """A model of frames (X,), of one of `EMISSIONS`, read as differences from a mean."""

    input_mean: Tensor
    decoder: nn.Sequential
    components = 0  # shares among the decoder's outputs
    linear_path: nn.Parameter | None

    def __init__(self, x_dim: int, h_dim: int, k_dim: int, emission: str, sigma_min: float) -> None:
        super().__init__()
        if emission not in EMISSIONS:
            raise ValueError(f"emission must be one of {', '.join(EMISSIONS)}, got {emission!r}")
        self.x_dim, self.h_dim, self.k_dim = x_dim, h_dim, k_dim
        self.emission, self.sigma_min = emission, sigma_min
        self.frame_outputs = EMISSIONS[emission] * x_dim
        self.register_parameter("linear_path", None)
        self._check_sizes(x_dim=x_dim, h_dim=h_dim)
        self.register_buffer("input_mean", torch.zeros(x_dim))

    def _check_sizes(self, **sizes: int) -> None:
        if small := {name: size for name, size in sizes.items() if size < 1}:
            raise ValueError(f"sizes must be at least 1, got {small}")

    def start(self, rows: int) -> State:
        """The state before the first step: zeros."""
        from_frame = 0 if self.linear_path is None else self.x_dim
        sizes = (self.h_dim, self.h_dim, self.k_dim, self.k_dim, from_frame)
        return State(*(self.input_mean.new_zeros(rows, size) for size in sizes))

    @torch.no_grad()
    def calibrate(self, mean: Tensor) -> None:
        """Takes the frames' mean (X,) off the input; Bernoulli frames start from it."""
        if mean.shape != (self.x_dim,):
            raise ValueError(f"mean must be ({self.x_dim},), got {tuple(mean.shape)}")
        self.input_mean.copy_(mean)
        if self.emission == "bernoulli":
            logits = self.input_mean.clamp(1e-4, 1 - 1e-4).logit()
            bias = affine_layers(self.decoder)[-1].bias
            bias[self.components :].view(-1, self.x_dim).add_(logits)

    def observed(
        self, x: Tensor, lengths: Tensor, observed_mask: Tensor | None, validate: bool = True
    ) -> Tensor:
        """What was read before its sequence's end, (B, T, X) bool; ValueError for wrong input."""
        if x.ndim != 3 or x.shape[-1] != self.x_dim:
            raise ValueError(f"x must be (B, T, {self.x_dim}), got {tuple(x.shape)}")
        if lengths.shape != x.shape[:1]:
            raise ValueError(f"lengths must be ({len(x)},), got {tuple(lengths.shape)}")
        mask = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        mask = mask[..., None].expand(x.shape)
        if observed_mask is not None:
            if observed_mask.shape != x.shape or observed_mask.dtype != torch.bool:
                got = f"{observed_mask.dtype} {tuple(observed_mask.shape)}"
                raise ValueError(f"observed_mask must be bool of {tuple(x.shape)}, got {got}")
            mask = mask & observed_mask
        if not validate:
            return mask
        if not bool(((lengths >= 1) & (lengths <= x.shape[1])).all()):
            raise ValueError(f"lengths must lie in 1..{x.shape[1]}, got {lengths.tolist()}")
        wrong = ~x.isfinite() & mask
        if bool(wrong.any()):
            row, step = wrong.any(-1).nonzero()[0].tolist()
            place = f"sequence {row} is NaN or infinite at step {step}"
            raise ValueError(f"{place}: pass observed_mask=~isnan(x) to leave missing values out")
        if self.emission == "bernoulli" and bool((((x < 0) | (x > 1)) & mask).any()):
            raise ValueError("frames of a Bernoulli model must lie in [0, 1]")
        return mask

    def _gaussian(self, raw: Tensor) -> _Gaussian:
        """A network's output as means and standard deviations, which start near one."""
        mean, width = raw.chunk(2, -1)
        return _Gaussian(mean, functional.softplus(width + 0.5).clamp(min=self.sigma_min))

    def _to_frame(self, raw: Tensor) -> tuple[Tensor, ...]:
        """Mean and deviation; centre, scale and degrees of freedom; or logits and nothing."""
        if self.emission == "student_t":
            raw, freedom = raw.tensor_split([2 * self.x_dim], -1)
            return *self._gaussian(raw), functional.softplus(freedom + 4).clamp(min=0.1)
        return self._gaussian(raw) if self.emission == "gaussian" else (raw, raw[..., :0])

    def _log_frame(self, x: Tensor, first: Tensor, second: Tensor, *freedom: Tensor) -> Tensor:
        """Log-density or log-probability of each number, for what `_to_frame` gives."""
        if self.emission == "student_t":
            return student_t_log_density(x, first, second, *freedom)
        if self.emission == "gaussian":
            return _log_normal(x, first, second) - 0.5 * math.log(2 * math.pi)
        return x * first - functional.softplus(first)


class _Stack(NamedTuple):
    """First layers that read the same, as one matrix (outputs, inputs), and the width of each."""

    weight: Tensor
    widths: dict[str, int]

    def read(self, values: Tensor) -> Blocks:
        """What every layer computes from values (R, inputs), by its name."""
        parts = functional.linear(values, self.weight).split(list(self.widths.values()), -1)
        return dict(zip(self.widths, parts, strict=True))


class _StepOutput(NamedTuple):
    """One step of R particles."""

    state: State
    log_alpha: Tensor  # (R,), nats
    z: Tensor  # (R, D)
    prior: _Gaussian
    posterior: _Gaussian
    emission: tuple[Tensor, ...]  # as `emit` gives it
    scales: Tensor  # (R, 12H): d_i, d_h, b; (R, 0) for a VRNN


def _after_first(network: nn.Sequential, values: Tensor) -> Tensor:
    """What an `mlp` computes where its first affine layer gave the values."""
    for module in list(network)[1:]:
        values = module(values)
    return values


class VariationalRNN(_FrameModel):
    """VRNN: recurrent weights that never change, and a latent variable at each step.

    z_dim is also the width of all perceptrons, `layers` their depth; sigma_min is the least
    standard deviation or scale. With `linear` the emission's centre gets a learned matrix, 0 at
    first, times the last frame. ValueError for an emission not of `EMISSIONS`, or a size below 1.
    """

    has_own_bias = True  # of the cell

    def __init__(
        self,
        x_dim: int,
        z_dim: int,
        h_dim: int,
        emission: str,
        layers: int = 1,
        sigma_min: float = 1e-3,
        linear: bool = False,
    ) -> None:
        super().__init__(x_dim, h_dim, 0, emission, sigma_min)
        self._check_sizes(z_dim=z_dim, layers=layers)
        self.z_dim = z_dim
        if linear:
            self.linear_path = nn.Parameter(torch.zeros(x_dim, x_dim))
        hidden = [z_dim] * layers
        self.encode_x = mlp([x_dim, *hidden, z_dim], "relu")
        self.encode_z = mlp([z_dim, *hidden, z_dim], "relu")
        self.prior = mlp([h_dim, *hidden, 2 * z_dim], "relu")
        self.posterior = mlp([h_dim + z_dim, *hidden, 2 * z_dim], "relu")
        self.decoder = mlp([z_dim + h_dim, *hidden, self.frame_outputs], "relu")
        self.cell = Recurrence(2 * z_dim, h_dim, bias=self.has_own_bias)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def features(self, x: Tensor, observed_mask: Tensor | None = None) -> Tensor:
        """Frames (..., X) and what follows from them alone, (..., F); unread ones are the mean."""
        mask = torch.ones_like(x, dtype=torch.bool) if observed_mask is None else observed_mask
        x = torch.where(mask, x, self.input_mean)
        encoded = self.encode_x(x - self.input_mean)
        first, on_x = affine_layers(self.posterior)[0], self.cell.weight_input[:, : self.z_dim]
        to_posterior = functional.linear(encoded, first.weight[:, self.h_dim :], first.bias)
        to_cell = functional.linear(encoded, on_x, self.cell.bias)
        return torch.cat([x, mask.to(x.dtype), to_posterior, to_cell], -1)

    def weights(self) -> tuple[_Stack, _Stack]:
        """All first layers that read h, and all that read z."""
        on_h, on_z = self._blocks_on_h(), self._blocks_on_z()
        widths = [{name: len(w) for name, w in blocks.items()} for blocks in (on_h, on_z)]
        stacks = [torch.cat([*blocks.values()]) for blocks in (on_h, on_z)]
        return _Stack(stacks[0], widths[0]), _Stack(stacks[1], widths[1])

    def _blocks_on_h(self) -> dict[str, Tensor]:
        return {
            "prior": affine_layers(self.prior)[0].weight,
            "posterior": affine_layers(self.posterior)[0].weight[:, : self.h_dim],
            "decoder": affine_layers(self.decoder)[0].weight[:, self.z_dim :],
            "cell": self.cell.weight_hidden,
        }

    def _blocks_on_z(self) -> dict[str, Tensor]:
        decoder = affine_layers(self.decoder)[0].weight[:, : self.z_dim]
        return {"encode": affine_layers(self.encode_z)[0].weight, "decoder": decoder}

    def forward(
        self, state: State, features: Tensor, noise: Tensor, weights: tuple[_Stack, _Stack]
    ) -> _StepOutput:
        """Draws z from the posterior with the noise (R, D), weighs it, and steps on."""
        width = affine_layers(self.posterior)[0].out_features
        sizes = [self.x_dim, self.x_dim, width, 4 * self.h_dim]
        x, mask, to_posterior, to_cell = features.split(sizes, -1)
        from_h = weights[0].read(state.h)
        prior = self.prior_gaussian(from_h)
        posterior = self.posterior_gaussian(from_h, to_posterior, prior)
        z = posterior.mean + posterior.standard_deviation * noise
        from_z = weights[1].read(z)
        emission = self.emit(from_h, from_z)
        if self.linear_path is not None:
            on_frame = functional.linear(state.frame, self.linear_path)
            emission = (emission[0] + on_frame, *emission[1:])
            state = State(*state[:-1], x - self.input_mean)
        log_ratio = _log_normal(z, *prior) + 0.5 * noise**2 + posterior.standard_deviation.log()
        log_alpha = log_ratio.sum(-1) + (mask * self._log_frame(x, *emission)).sum(-1)
        state, scales = self.recur(state, from_h, from_z, to_cell)
        return _StepOutput(state, log_alpha, z, prior, posterior, emission, scales)

    def prior_gaussian(self, from_h: Blocks) -> _Gaussian:
        """Equation (1)."""
        product = from_h["prior"] + affine_layers(self.prior)[0].bias
        return self._gaussian(_after_first(self.prior, product))

    def posterior_gaussian(
        self, from_h: Blocks, to_posterior: Tensor, prior: _Gaussian
    ) -> _Gaussian:
        """Equation (4)."""
        raw = _after_first(self.posterior, from_h["posterior"] + to_posterior)
        residual, standard_deviation = self._gaussian(raw)
        return _Gaussian(prior.mean + residual, standard_deviation)

    def emit(self, from_h: Blocks, from_z: Blocks) -> tuple[Tensor, ...]:
        """Equation (2), as `_to_frame`."""
        product = from_h["decoder"] + from_z["decoder"] + affine_layers(self.decoder)[0].bias
        return self._to_frame(_after_first(self.decoder, product))

    def recur(
        self, state: State, from_h: Blocks, from_z: Blocks, to_cell: Tensor
    ) -> tuple[State, Tensor]:
        """Equation (3) with constant weights."""
        y = to_cell + self._encoded_z(from_z)
        h, c = self.cell(y, from_h["cell"], state.c)
        return State(h, c, state.hyper_h, state.hyper_c, state.frame), y[..., :0]

    def _encoded_z(self, from_z: Blocks) -> Tensor:
        product = from_z["encode"] + affine_layers(self.encode_z)[0].bias
        encoded = _after_first(self.encode_z, product)
        return functional.linear(encoded, self.cell.weight_input[:, self.z_dim :])


class DeterministicHyperRNN(_FrameModel):
    """HyperLSTM (see `hyper_step`) with a mixture at its output: VHRNN without z."""

    def __init__(
        self,
        x_dim: int,
        h_dim: int,
        emission: str,
        layers: int,
        width: int,
        components: int,
        sigma_min: float = 1e-3,
    ) -> None:
        super().__init__(x_dim, h_dim, h_dim, emission, sigma_min)
        self._check_sizes(layers=layers, width=width, components=components)
        self.components, hidden = components, [width] * layers
        self.encode_x = mlp([x_dim, *hidden, width], "relu")
        self.decoder = mlp([h_dim, *hidden, components * (1 + self.frame_outputs)], "relu")
        self.cell = Recurrence(width, h_dim, bias=False)
        self.hyper = Recurrence(width + h_dim, h_dim)
        self.heads = nn.Linear(h_dim, 12 * h_dim)
        initialise_heads(self.heads)

    def forward(self, x: Tensor, lengths: Tensor, observed_mask: Tensor | None = None) -> Tensor:
        """Log-likelihood (B,) of sequences (B, T, X), nats; ValueError as `observed`."""
        mask = self.observed(x, lengths, observed_mask)
        x = torch.where(mask, x, self.input_mean)
        encoded = self.encode_x(x - self.input_mean)
        state, states = self.start(len(x)), []
        for t in range(x.shape[1]):
            states.append(state.h)
            inputs = torch.cat([encoded[:, t], state.h], -1)
            read = functional.linear(inputs, self.hyper.weight_input, self.hyper.bias)
            y = functional.linear(encoded[:, t], self.cell.weight_input)
            u = functional.linear(state.h, self.cell.weight_hidden)
            state, _ = hyper_step(self, read, y, u, state)
        shares, numbers = self.decoder(torch.stack(states, 1)).tensor_split([self.components], -1)
        parts = self._to_frame(numbers.unflatten(-1, (self.components, -1)))
        each = (mask[..., None, :] * self._log_frame(x[..., None, :], *parts)).sum(-1)
        log_p = (shares.log_softmax(-1) + each).logsumexp(-1)
        inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        return torch.where(inside, log_p, 0.0).sum(1)
