"""VRNN: a recurrent network with a latent variable at each step.

J. Chung et al. (2015), "A recurrent latent variable model for sequential data", arXiv:1506.02216,
with the residual posterior of Deng et al. (2020), whose equations' numbers stand at the methods.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.nets.frames import (
    FrameModel,
    Gaussian,
    check_sizes,
    gaussian,
    log_emission,
    log_normal,
    start_logits,
)
from dgm.nets.mlp import affine_layers, after_first, mlp
from dgm.nets.recurrence import Recurrence, State

Blocks = Mapping[str, Tensor]


class Weights(NamedTuple):
    """All first layers that read h, and all that read z, as one matrix each: (outputs, inputs)."""

    on_h: Tensor
    on_z: Tensor


class StepOutput(NamedTuple):
    """One step of R particles."""

    state: State
    log_alpha: Tensor  # (R,), nats
    z: Tensor  # (R, D)
    prior: Gaussian
    posterior: Gaussian
    emission: tuple[Tensor, Tensor]  # as `emit` gives it
    scales: Tensor  # (R, 12H): d_i, d_h, b; (R, 0) for a VRNN


class VariationalRNN(FrameModel):
    """VRNN: recurrent weights that never change, and a latent variable at each step.

    Args:
        x_dim: X, numbers in a frame.
        z_dim: D, latent numbers, and the width of all perceptrons.
        h_dim: H, of the recurrent state.
        emission: "gaussian" (independent) or "bernoulli".
        layers: hidden layers of each perceptron.
        sigma_min: smallest standard deviation of every normal variable.

    Raises:
        ValueError: an unknown emission, or a size below 1.
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
    ) -> None:
        super().__init__(x_dim, emission, sigma_min)
        check_sizes(emission, x_dim=x_dim, z_dim=z_dim, h_dim=h_dim, layers=layers)
        self.z_dim, self.h_dim, self.k_dim = z_dim, h_dim, 0
        hidden = [z_dim] * layers
        self.encode_x = mlp([x_dim, *hidden, z_dim], "relu")
        self.encode_z = mlp([z_dim, *hidden, z_dim], "relu")
        self.prior = mlp([h_dim, *hidden, 2 * z_dim], "relu")
        self.posterior = mlp([h_dim + z_dim, *hidden, 2 * z_dim], "relu")
        outputs = 2 * x_dim if emission == "gaussian" else x_dim
        self.decoder = mlp([z_dim + h_dim, *hidden, outputs], "relu")
        self.cell = Recurrence(2 * z_dim, h_dim, bias=self.has_own_bias)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def calibrate(self, mean: Tensor) -> None:
        """Takes the training frames' mean (X,) off the input, starts Bernoulli frames from it."""
        self.set_input_mean(mean)
        if self.emission == "bernoulli":
            with torch.no_grad():
                affine_layers(self.decoder)[-1].bias.copy_(start_logits(mean))

    def start(self, rows: int) -> State:
        """The state before the first step: zeros."""
        sizes = (self.h_dim, self.h_dim, self.k_dim, self.k_dim)
        return State(*(self.input_mean.new_zeros(rows, size) for size in sizes))

    def features(self, x: Tensor, observed_mask: Tensor | None = None) -> Tensor:
        """Frames (..., X) and all that follows from them alone, side by side: (..., F).

        What `observed_mask` (..., X) has as False is taken as the mean at the input and left out of
        the likelihood.
        """
        mask = torch.ones_like(x, dtype=torch.bool) if observed_mask is None else observed_mask
        x = torch.where(mask, x, self.input_mean)
        encoded = self.encode_x(x - self.input_mean)
        first, on_x = affine_layers(self.posterior)[0], self.cell.weight_input[:, : self.z_dim]
        to_posterior = functional.linear(encoded, first.weight[:, self.h_dim :], first.bias)
        to_cell = functional.linear(encoded, on_x, self.cell.bias)
        return torch.cat([x, mask.to(x.dtype), to_posterior, to_cell], -1)

    def weights(self) -> Weights:
        """The first layers, stacked."""
        return Weights(
            *(torch.cat(list(b.values())) for b in (self._blocks_on_h(), self._blocks_on_z()))
        )

    def read_h(self, h: Tensor, weights: Weights) -> Blocks:
        """What every first layer computes from h."""
        return _products(h, weights.on_h, self._blocks_on_h())

    def read_z(self, z: Tensor, weights: Weights) -> Blocks:
        """What every first layer computes from z."""
        return _products(z, weights.on_z, self._blocks_on_z())

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
        self, state: State, features: Tensor, noise: Tensor, weights: Weights
    ) -> StepOutput:
        """Draws z from the posterior with the noise (R, D), weighs it, and steps on."""
        width = affine_layers(self.posterior)[0].out_features
        sizes = [self.x_dim, self.x_dim, width, 4 * self.h_dim]
        x, mask, to_posterior, to_cell = features.split(sizes, -1)
        from_h = self.read_h(state.h, weights)
        prior = self.prior_gaussian(from_h)
        posterior = self.posterior_gaussian(from_h, to_posterior, prior)
        z = posterior.mean + posterior.standard_deviation * noise
        from_z = self.read_z(z, weights)
        emission = self.emit(from_h, from_z)
        log_ratio = log_normal(z, *prior) + 0.5 * noise**2 + posterior.standard_deviation.log()
        log_x = mask * log_emission(x, *emission, self.emission)
        log_alpha = log_ratio.sum(-1) + log_x.sum(-1)
        state, scales = self.recur(state, from_h, from_z, to_cell)
        return StepOutput(state, log_alpha, z, prior, posterior, emission, scales)

    def prior_gaussian(self, from_h: Blocks) -> Gaussian:
        """Equation (1)."""
        product = from_h["prior"] + affine_layers(self.prior)[0].bias
        return gaussian(after_first(self.prior, product), self.sigma_min)

    def posterior_gaussian(self, from_h: Blocks, to_posterior: Tensor, prior: Gaussian) -> Gaussian:
        """Equation (4)."""
        raw = after_first(self.posterior, from_h["posterior"] + to_posterior)
        residual, standard_deviation = gaussian(raw, self.sigma_min)
        return Gaussian(prior.mean + residual, standard_deviation)

    def emit(self, from_h: Blocks, from_z: Blocks) -> tuple[Tensor, Tensor]:
        """Equation (2): a frame's mean and standard deviation, or its logits and nothing."""
        product = from_h["decoder"] + from_z["decoder"] + affine_layers(self.decoder)[0].bias
        return self._to_frame(after_first(self.decoder, product))

    def _to_frame(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        is_gaussian = self.emission == "gaussian"
        return gaussian(raw, self.sigma_min) if is_gaussian else (raw, raw[..., :0])

    def recur(
        self, state: State, from_h: Blocks, from_z: Blocks, to_cell: Tensor
    ) -> tuple[State, Tensor]:
        """Equation (3) with constant weights."""
        y = to_cell + self._encoded_z(from_z)
        h, c = self.cell(y, from_h["cell"], state.c)
        return State(h, c, state.hyper_h, state.hyper_c), y[..., :0]

    def _encoded_z(self, from_z: Blocks) -> Tensor:
        product = from_z["encode"] + affine_layers(self.encode_z)[0].bias
        encoded = after_first(self.encode_z, product)
        return functional.linear(encoded, self.cell.weight_input[:, self.z_dim :])


def _products(values: Tensor, stacked: Tensor, blocks: Blocks) -> dict[str, Tensor]:
    """What each of the stacked matrices makes of the values, by its name."""
    parts = functional.linear(values, stacked).split([len(w) for w in blocks.values()], -1)
    return dict(zip(blocks, parts, strict=True))
