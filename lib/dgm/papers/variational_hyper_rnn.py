"""Variational hyper RNN: a latent variable writes the weights of the network that carries it.

R. Deng, Y. Cao, B. Chang, L. Sigal, G. Mori, M. A. Brubaker (2020), "Variational Hyper RNN for
Sequence Modeling", arXiv:2002.10501. In its notation, with h before step t written h, and * one of
i, f, g, o:

    (1) prior       z ~ N(mu_p, sigma_p^2),  (mu_p, sigma_p) = phi_prior(h)
    (2) emission    x ~ p(x | phi_dec(z, h)), each of phi_dec's layers l computing
                    s_l * (W_l v) + c_l + b_l,  (s, b) = omega(z, h)
    (3) recurrence  a_* = d_i* * (W_* y) + d_h* * (U_* h) + b_*,  y = [enc(x); enc(z)]
                    (d_i, d_h, b) = an affine map of k,  (k, .) = LSTM([z; h], (k, .))
    (4) posterior   z ~ N(mu_p + mu_q, sigma_q^2),  (mu_q, sigma_q) = phi_enc(x, h)
    (5) objective   FIVO, in dgm.sampling.particles

They are `prior_gaussian`, `emit`, `recur`, `posterior_gaussian` and `bound`. The VRNN is the same
with s = d_i = d_h = 1, b = 0 and a constant bias. (3)'s products are scaled rows, diag(d) W y: no
matrix is made for one sequence. What reads h, z or x alone is one product each.
Other shapes and settings than those named are a ValueError.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from dgm.nets.mlp import affine_layers, mlp
from dgm.nets.variational_rnn import Blocks, Recurrence, State, hyper_step, initialise_heads
from dgm.nets.variational_rnn import DeterministicHyperRNN as DeterministicHyperRNN
from dgm.nets.variational_rnn import VariationalRNN as VariationalRNN
from dgm.sampling.linear_gaussian import oracle as oracle
from dgm.sampling.linear_gaussian import oracle_log_likelihood as oracle_log_likelihood
from dgm.sampling.particles import ParticleBound, normal, particle_bound, particle_bound_compiled

HYPER_INPUTS = ("both", "latent", "hidden")


class VariationalHyperRNN(VariationalRNN):
    """VHRNN: z and h write scales and biases of the recurrent cell and the decoder at each step.

    hyper_hidden is the width of omega; hyper_input is what both hyper networks read, "both",
    "latent" (z) or "hidden" (h). Other arguments and errors as for `VariationalRNN`.
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
        hyper_input: str = "both",
        sigma_min: float = 1e-3,
    ) -> None:
        if hyper_input not in HYPER_INPUTS:
            raise ValueError(f"hyper_input must be one of {HYPER_INPUTS}, got {hyper_input!r}")
        super().__init__(x_dim, z_dim, h_dim, emission, layers, sigma_min)
        self.hyper_input, self.k_dim = hyper_input, h_dim
        self._check_sizes(hyper_hidden=hyper_hidden)
        self.hyper_z = z_dim if hyper_input != "hidden" else 0
        inputs = self.hyper_z + (h_dim if hyper_input != "latent" else 0)
        self.hyper = Recurrence(inputs, h_dim)
        self.heads = nn.Linear(h_dim, 12 * h_dim)
        outputs = 2 * sum(layer.out_features for layer in affine_layers(self.decoder))
        self.rescale = mlp([inputs, hyper_hidden, outputs], "relu")
        initialise_heads(self.heads)
        first, last = affine_layers(self.rescale)
        with torch.no_grad():
            nn.init.xavier_uniform_(first.weight)
            first.bias.zero_()
            last.weight.uniform_(-1e-2, 1e-2)
            last.bias.copy_((torch.arange(outputs) < outputs // 2).float())

    def _blocks_on_h(self) -> dict[str, Tensor]:
        return super()._blocks_on_h() | self._hyper_columns(slice(self.hyper_z, None), "latent")

    def _blocks_on_z(self) -> dict[str, Tensor]:
        return super()._blocks_on_z() | self._hyper_columns(slice(self.hyper_z), "hidden")

    def _hyper_columns(self, columns: slice, unless: str) -> dict[str, Tensor]:
        if self.hyper_input == unless:
            return {}
        rescale = affine_layers(self.rescale)[0].weight[:, columns]
        return {"hyper": self.hyper.weight_input[:, columns], "rescale": rescale}

    def emit(self, from_h: Blocks, from_z: Blocks) -> tuple[Tensor, ...]:
        """Equation (2)."""
        first, second = affine_layers(self.rescale)
        hidden = from_h.get("rescale", 0) + from_z.get("rescale", 0) + first.bias
        scales, biases = second(hidden.relu()).chunk(2, -1)
        layers = affine_layers(self.decoder)
        sizes = [layer.out_features for layer in layers]
        product = from_h["decoder"] + from_z["decoder"]
        parts = zip(layers, scales.split(sizes, -1), biases.split(sizes, -1), strict=True)
        for i, (layer, scale, bias) in enumerate(parts):
            if i:
                product = functional.linear(product.relu(), layer.weight)
            product = scale * product + layer.bias + bias
        return self._to_frame(product)

    def recur(
        self, state: State, from_h: Blocks, from_z: Blocks, to_cell: Tensor
    ) -> tuple[State, Tensor]:
        """Equation (3), which `dgm.nets.variational_rnn.hyper_step` writes out."""
        read = from_h.get("hyper", 0) + from_z.get("hyper", 0) + self.hyper.bias
        y = to_cell + self._encoded_z(from_z)
        return hyper_step(self, read, y, from_h["cell"], state)


def bound(
    model: VariationalRNN,
    x: Tensor,
    lengths: Tensor,
    n_particles: int,
    resample: str = "ess",
    generator: torch.Generator | None = None,
    observed_mask: Tensor | None = None,
    *,
    validate: bool = True,
    compiled: bool = False,
) -> ParticleBound:
    """Equation (5): FIVO of B sequences; ELBO for one particle, IWAE where none is resampled.

    Frames x are (B, T, X), 0 or 1 for Bernoulli ones; what stands behind a sequence's end changes
    nothing. resample is "never", "ess" or "always"; observed_mask (B, T, X) is True where a number
    was read. `validate` checks frames and weights, which makes a GPU wait; `compiled` compiles a
    step first. In nats, with gradient; ValueError as `model.observed` and `particle_bound` raise
    it.
    """
    mask = model.observed(x, lengths, observed_mask, validate)
    features, weights = model.features(x, mask), model.weights()
    settings = (features, lengths, n_particles, resample, generator)
    if compiled:
        start, context = model.start(len(x) * n_particles), (model, weights)
        return particle_bound_compiled(
            _step, context, start, model.z_dim, *settings, validate=validate
        )

    def step(state, features, t, generator):
        return _step(model, weights, state, features, normal(features, model.z_dim, generator))

    return particle_bound(lambda rows, _: model.start(rows), step, *settings, validate=validate)


def _step(model, weights, state, features, noise) -> tuple[State, Tensor]:
    output = model(state, features, noise, weights)
    return output.state, output.log_alpha


class Trace(NamedTuple):
    """What N particles that are never resampled do along one sequence; nats."""

    z: Tensor  # (T, N, D)
    log_alpha: Tensor  # (T, N)
    kl: Tensor  # (T, N), of the posterior from the prior
    prior_mean: Tensor  # (T, N, D)
    prior_deviation: Tensor  # (T, N, D)
    mean_x: Tensor  # (T, N, X), or probabilities
    deviation_x: Tensor  # (T, N, X), or scales, or (T, N, 0)
    scales: Tensor  # (T, N, 12H), or (T, N, 0)
    h: Tensor  # (T, N, H)


@torch.no_grad()
def trace(model: VariationalRNN, x: Tensor, noise: Tensor) -> Trace:
    """Follows a sequence (T, X), or N of them (T, N, X), with given noise (T, N, D)."""
    x = x[:, None] if x.ndim == 2 else x
    if noise.ndim != 3 or (len(noise), noise.shape[-1]) != (len(x), model.z_dim):
        expected = f"({len(x)}, N, {model.z_dim}) for x {tuple(x.shape)}"
        raise ValueError(f"noise must be {expected}, got {tuple(noise.shape)}")
    n = noise.shape[1]
    if x.shape[1:-1] not in ((1,), (n,)):
        raise ValueError(f"x must be (T, X) or (T, {n}, X), got {tuple(x.shape)}")
    model.observed(x.transpose(0, 1), torch.full((x.shape[1],), len(x), device=x.device), None)
    features, weights = model.features(x).expand(-1, n, -1), model.weights()
    state, rows = model.start(n), []
    for features_t, noise_t in zip(features, noise, strict=True):
        state, log_alpha, z, prior, posterior, (first, second, *_), scales = model(
            state, features_t, noise_t, weights
        )
        if model.emission == "bernoulli":
            first = first.sigmoid()
        kl = kl_divergence(Normal(*posterior), Normal(*prior)).sum(-1)
        rows.append((z, log_alpha, kl, *prior, first, second, scales, state.h))
    return Trace(*(torch.stack(column) for column in zip(*rows, strict=True)))


@torch.no_grad()
def evaluate(
    model: VariationalRNN,
    x: Tensor,
    lengths: Tensor,
    n_particles: int,
    resample: str = "ess",
    generator: torch.Generator | None = None,
    observed_mask: Tensor | None = None,
    *,
    max_rows: int = 8192,
) -> Tensor:
    """`bound` (B,), float64, CPU, `max_rows` particles at a time: densities may be far out."""
    double = copy.deepcopy(model).double()
    values = torch.zeros(len(x), dtype=torch.float64)
    for rows in lengths.argsort().split(max(1, max_rows // n_particles)):
        longest = int(lengths[rows].max())
        mask = None if observed_mask is None else observed_mask[rows, :longest]
        frames = x[rows, :longest].double()
        result = bound(double, frames, lengths[rows], n_particles, resample, generator, mask)
        values[rows.cpu()] = result.log_likelihood.cpu()
    return values


def parameter_count(model: nn.Module, as_published: bool = False) -> int:
    """Parameters that learn; as published adds a reverse LSTM, counted there and never used."""
    trainable = sum(parameter.numel() for parameter in model.parameters())
    if not as_published:
        return trainable
    if not isinstance(model, VariationalRNN):
        raise ValueError(f"the paper has no count of a {type(model).__name__}")
    return trainable + 4 * model.h_dim * (model.z_dim + model.h_dim + 1)
