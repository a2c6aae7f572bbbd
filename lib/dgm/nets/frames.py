"""Sequences of frames: their distribution, what is observed of them, and a HyperLSTM of them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.nets.mlp import affine_layers, mlp
from dgm.nets.recurrence import Recurrence, State, hyper_step, initialise_heads

EMISSIONS = ("gaussian", "bernoulli")


class Gaussian(NamedTuple):
    """Independent normal variables."""

    mean: Tensor
    standard_deviation: Tensor


def gaussian(raw: Tensor, sigma_min: float) -> Gaussian:
    """A network's output as means and standard deviations, which start near one."""
    mean, width = raw.chunk(2, -1)
    return Gaussian(mean, functional.softplus(width + 0.5).clamp(min=sigma_min))


def log_normal(x: Tensor, mean: Tensor, standard_deviation: Tensor) -> Tensor:
    """Log-density of each number, but for the constant -log(2 pi) / 2."""
    return -0.5 * ((x - mean) / standard_deviation) ** 2 - standard_deviation.log()


def log_emission(x: Tensor, first: Tensor, second: Tensor, emission: str) -> Tensor:
    """Log-density or log-probability of each number, for what `VariationalRNN.emit` gives."""
    if emission == "gaussian":
        return log_normal(x, first, second) - 0.5 * math.log(2 * math.pi)
    return x * first - functional.softplus(first)


def start_logits(mean: Tensor) -> Tensor:
    """The logits of Bernoulli frames that start from the training frames' mean."""
    return mean.clamp(1e-4, 1 - 1e-4).logit()


def check_sizes(emission: str, **sizes: int) -> None:
    """Raises ValueError for an unknown emission or a size below 1."""
    if emission not in EMISSIONS:
        raise ValueError(f"emission must be one of {', '.join(EMISSIONS)}, got {emission!r}")
    if small := {name: size for name, size in sizes.items() if size < 1}:
        raise ValueError(f"sizes must be at least 1, got {small}")


class FrameModel(nn.Module):
    """A model of frames (X,), "gaussian" or "bernoulli", read as differences from a mean."""

    input_mean: Tensor

    def __init__(self, x_dim: int, emission: str, sigma_min: float) -> None:
        super().__init__()
        self.x_dim, self.emission, self.sigma_min = x_dim, emission, sigma_min
        self.register_buffer("input_mean", torch.zeros(x_dim))

    def set_input_mean(self, mean: Tensor) -> None:
        """Takes the mean (X,) of the training frames off the input.

        Raises:
            ValueError: another shape.
        """
        if mean.shape != (self.x_dim,):
            raise ValueError(f"mean must be ({self.x_dim},), got {tuple(mean.shape)}")
        self.input_mean.copy_(mean)

    def observed(
        self, x: Tensor, lengths: Tensor, observed_mask: Tensor | None, validate: bool = True
    ) -> Tensor:
        """What was read and stands before its sequence's end, (B, T, X) bool.

        Raises:
            ValueError: shapes that do not fit, or, where `validate`, observed numbers that are not
                finite, or not in [0, 1] for a Bernoulli model.
        """
        if x.ndim != 3 or x.shape[-1] != self.x_dim:
            raise ValueError(f"x must be (B, T, {self.x_dim}), got {tuple(x.shape)}")
        if lengths.shape != x.shape[:1]:
            raise ValueError(f"lengths must be ({len(x)},), got {tuple(lengths.shape)}")
        mask = observed_mask
        if mask is not None and (mask.shape != x.shape or mask.dtype != torch.bool):
            raise ValueError(
                f"observed_mask must be bool of shape {tuple(x.shape)}, got {mask.dtype} "
                f"{tuple(mask.shape)}"
            )
        inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        inside = inside[..., None].expand(x.shape)
        mask = inside if mask is None else inside & mask
        if validate:
            wrong = ~x.isfinite() & mask
            if bool(wrong.any()):
                row, step = wrong.any(-1).nonzero()[0].tolist()
                raise ValueError(
                    f"sequence {row} is NaN or infinite at step {step}: pass "
                    "observed_mask=~isnan(x) to leave missing values out"
                )
            if self.emission == "bernoulli" and bool((((x < 0) | (x > 1)) & mask).any()):
                raise ValueError("frames of a Bernoulli model must lie in [0, 1]")
        return mask


class DeterministicHyperRNN(FrameModel):
    """HyperLSTM (see `hyper_step`) with a mixture at its output: what is left of VHRNN without z.

    A frame is one of M components given h, each with independent numbers.

    Args:
        x_dim: X.
        h_dim: H.
        hyper_dim: K, of the hyper LSTM, which reads the encoded frame and h.
        emission: "gaussian" or "bernoulli".
        layers: hidden layers of the encoder and the decoder.
        width: of both; None takes h_dim.
        components: M.
        sigma_min: smallest standard deviation.

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
        super().__init__(x_dim, emission, sigma_min)
        width = h_dim if width is None else width
        sizes = {"x_dim": x_dim, "h_dim": h_dim, "hyper_dim": hyper_dim, "layers": layers}
        check_sizes(emission, **sizes, width=width, components=components)
        self.h_dim, self.k_dim, self.components = h_dim, hyper_dim, components
        hidden = [width] * layers
        numbers = 2 * x_dim if emission == "gaussian" else x_dim
        self.encode_x = mlp([x_dim, *hidden, width], "relu")
        self.decoder = mlp([h_dim, *hidden, components * (1 + numbers)], "relu")
        self.cell = Recurrence(width, h_dim, bias=False)
        self.hyper = Recurrence(width + h_dim, hyper_dim)
        self.heads = nn.Linear(hyper_dim, 12 * h_dim)
        initialise_heads(self.heads)

    def calibrate(self, mean: Tensor) -> None:
        """Takes the training frames' mean (X,) off the input, starts Bernoulli frames from it."""
        self.set_input_mean(mean)
        if self.emission == "bernoulli":
            with torch.no_grad():
                bias = affine_layers(self.decoder)[-1].bias
                frames = bias[self.components :].view(self.components, -1)
                frames.add_(start_logits(mean.to(frames)))

    def forward(self, x: Tensor, lengths: Tensor, observed_mask: Tensor | None = None) -> Tensor:
        """Log-likelihood (B,) of sequences (B, T, X), nats.

        Raises:
            ValueError: as `observed`, and for lengths (B,) outside 1..T.
        """
        mask = self.observed(x, lengths, observed_mask)
        if not bool(((lengths >= 1) & (lengths <= x.shape[1])).all()):
            raise ValueError(f"lengths must lie in 1..{x.shape[1]}, got {lengths.tolist()}")
        x = torch.where(mask, x, self.input_mean)
        encoded = self.encode_x(x - self.input_mean)
        sizes = 2 * [self.h_dim] + 2 * [self.k_dim]
        state, states = State(*(x.new_zeros(len(x), size) for size in sizes)), []
        for t in range(x.shape[1]):
            states.append(state.h)
            inputs = torch.cat([encoded[:, t], state.h], -1)
            read = functional.linear(inputs, self.hyper.weight_input, self.hyper.bias)
            y = functional.linear(encoded[:, t], self.cell.weight_input)
            u = functional.linear(state.h, self.cell.weight_hidden)
            state, _ = hyper_step(self.hyper, self.heads, self.cell, read, y, u, state)
        log_p = self._log_mixture(x, mask, self.decoder(torch.stack(states, 1)))
        inside = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        return torch.where(inside, log_p, 0.0).sum(1)

    def _log_mixture(self, x: Tensor, mask: Tensor, raw: Tensor) -> Tensor:
        shares, numbers = raw.tensor_split([self.components], -1)
        numbers = numbers.unflatten(-1, (self.components, -1))
        parts = (numbers, numbers)
        if self.emission == "gaussian":
            parts = gaussian(numbers, self.sigma_min)
        each = log_emission(x[..., None, :], *parts, self.emission)
        return (shares.log_softmax(-1) + (mask[..., None, :] * each).sum(-1)).logsumexp(-1)
