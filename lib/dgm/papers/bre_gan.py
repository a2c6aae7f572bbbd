"""Improving GAN Training via Binarized Representation Entropy (BRE) Regularization.

Cao, Ding, Lui, Huang, ICLR 2018, https://openreview.net/forum?id=BkLhaGZRW. A rectifier's input h_i
(d units, for the i-th of K points of a batch) has a sign pattern; patterns should be spread evenly
over the points that the generator makes, and over those between them and the data. With a smooth
stand-in for the signs,

    a_i = h_i / (|h_i| + eps),   eps = zeta mean |h|, held constant                       (1)
    ME  = (1/d) || (1/K) sum_i a_i ||^2                    each unit on half of the time  (2)
    AC  = mean over i != j of max(0, |a_i . a_j| / d - eta),   eta = margin / sqrt(d)     (3)
    BRE = ME + AC                                                                         (4)

Each of ME and AC is a mean over the chosen layers. With real points x, fakes G(z), points between
x_hat = alpha x + (1 - alpha) G(z), and logits D, the two networks minimise

    L_D = -E log s(D(x)) - E log s(-D(G(z))) + w [BRE(G(z)) + BRE(x_hat)] + penalty       (5)
    L_G = -E log s(D(G(z))),   s the logistic function                                    (6)

where the penalty is that of Gulrajani et al. 2017, E (||grad D(x_hat)|| - 1)^2, or R1 of Mescheder
et al. 2018, 1/2 E ||grad D(x)||^2. The released code has x_hat = x + alpha (x - G(z)): beyond the
data. With labels (Salimans et al. 2016), D has one logit per class and stands for a real-or-fake
logit by

    D(x) = logsumexp_k l_k(x)                                                             (7)
    L_G = || E f(x) - E f(G(z)) ||^2,   f the last features of D                          (8)

The weight of the parameters' squares, 1e-4 in both losses, is left to the optimiser.
Other shapes and settings than those named are a ValueError.
"""

import math
from collections import namedtuple
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus
from torch.nn.utils.parametrize import type_before_parametrizations

from dgm.nets.mlp import mlp
from dgm.nets.rectifiers import pre_activations, uncompiled
from dgm.vae import at_least_float32

ROW_BY_ROW = {nn.Sequential, nn.Linear, nn.Conv2d, nn.ReLU, nn.LeakyReLU, nn.Flatten}


class BRETerms(NamedTuple):
    """Equations (2) and (3), scalars from 0 to 1."""

    marginal_entropy: Tensor
    activation_correlation: Tensor

    @property
    def total(self) -> Tensor:
        """Equation (4)."""
        return self.marginal_entropy + self.activation_correlation


def softsign_code(h: Tensor, zeta: float = 1e-3) -> Tensor:
    """Equation (1): h's signs, softened where h is near 0; shaped as h, at least float32."""
    if not zeta > 0:
        raise ValueError(f"zeta must be above 0, got {zeta}")
    h = at_least_float32(h)
    magnitude = h.abs()
    eps = zeta * magnitude.detach().mean()
    return h / (magnitude + eps.clamp_min(torch.finfo(h.dtype).tiny))


def bre_terms(
    h: Tensor, zeta: float = 1e-3, margin: float = 3.0, *, validate: bool = True
) -> BRETerms:
    """Equations (2) and (3) of one layer, with gradient.

    h (K, ...) are inputs of a rectifier for K >= 2 points; the rest is flattened to d units.
    ValueError for fewer points, no unit, a margin below 0, or, where `validate` (which waits for
    the device), values that are not finite.
    """
    if h.ndim < 2 or len(h) < 2 or h[0].numel() == 0:
        raise ValueError(f"h must be (K, ...) with K >= 2 and at least one unit, got {(*h.shape,)}")
    if margin < 0:
        raise ValueError(f"margin must be 0 or more, got {margin}")
    if validate and not torch.isfinite(h).all():
        raise ValueError("h has values that are not finite")
    with torch.autocast(h.device.type, enabled=False):
        # The order of units does not matter, and channels last is flat that way without a copy.
        last = h.ndim == 4 and h.is_contiguous(memory_format=torch.channels_last)
        code = softsign_code((h.movedim(1, -1) if last else h).flatten(1), zeta)
        k, d = code.shape
        marginal = code.mean(0).square().mean()
        gram = (code @ code.T) / d
        excess = torch.relu(gram.abs() - margin / math.sqrt(d))
        correlation = 2 * excess.triu(1).sum() / (k * (k - 1))
    return BRETerms(marginal, correlation)


def bre_penalty(
    discriminator: nn.Module,
    points: Tensor,
    layers: Sequence[int] | None = None,
    zeta: float = 1e-3,
    margin: float = 3.0,
) -> BRETerms:
    """Equations (2) and (3) on points (K, ...), each the mean of the layers; None takes all."""
    _, inputs = pre_activations(discriminator, points, layers)
    return _layer_mean(inputs, zeta, margin, validate=True)


def interpolate(real: Tensor, fake: Tensor, generator: torch.Generator) -> Tensor:
    """The paper's x_hat between pairs of real and fake points (K, ...), each alpha ~ U(0, 1)."""
    if real.shape != fake.shape:
        raise ValueError(f"real is {tuple(real.shape)} but fake is {tuple(fake.shape)}")
    shape = (len(real),) + (1,) * (real.ndim - 1)
    alpha = torch.rand(shape, generator=generator, device=real.device, dtype=real.dtype)
    return alpha * real + (1 - alpha) * fake


# Equation (5) and its unweighted parts, scalars; those of BRE are sums over the two sets.
DiscriminatorTerms = namedtuple(
    "DiscriminatorTerms", "value real fake marginal_entropy activation_correlation penalty"
)


def discriminator_objective(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator,
    *,
    weight: float = 1.0,
    layers: Sequence[int] | None = None,
    margin: float = 3.0,
    penalty: str | None = None,
    penalty_weight: float = 1.0,
) -> DiscriminatorTerms:
    """Equation (5), with gradient and without waiting for the device.

    The discriminator makes of points (K, ...) logits (K,) or (K, 1), or (K, classes), see equation
    (7). No gradient goes back to what made the fakes (K, ...). `weight` is w; at 0 the terms are 0.
    `layers` are the rectifiers that are regularised; None takes all. The generator draws alpha.
    `penalty` is None, "gradient" or "r1", which no layer that mixes rows may meet.
    """
    if penalty not in (None, "gradient", "r1"):
        raise ValueError(f"penalty must be None, 'gradient' or 'r1', got {penalty!r}")
    sets = [real, fake.detach()]
    if weight or penalty == "gradient":
        sets.append(interpolate(real, sets[1], generator))
    # One pass of all sets, if every part is known not to mix rows.
    given, regularised = sets if weight else sets[:2], layers if weight else []
    parts = getattr(discriminator, "_orig_mod", discriminator).named_modules()
    plain = [m for name, m in parts if "parametrizations" not in name.split(".")]
    if {type_before_parametrizations(module) for module in plain} <= ROW_BY_ROW:
        output, inputs = pre_activations(discriminator, torch.cat(given), regularised)
        split = [h.split([len(x) for x in given]) for h in (output, *inputs)]
        passes = [(logits, list(h)) for logits, *h in zip(*split, strict=True)]
    else:
        passes = [pre_activations(discriminator, x, regularised) for x in given]
    on_real, on_fake = (real_or_fake_logit(output) for output, _ in passes[:2])
    marginal = correlation = extra = on_real.new_zeros(())
    if weight:
        parts = [_layer_mean(h, 1e-3, margin, validate=False) for _, h in passes[1:]]
        marginal, correlation = map(torch.add, *parts)
    if penalty:
        points = sets[2] if penalty == "gradient" else real
        slopes = _input_gradients(discriminator, points, create_graph=True)
        if penalty == "gradient":
            extra = (slopes.norm(dim=1) - 1).square().mean()
        else:
            extra = 0.5 * slopes.square().sum(1).mean()
    loss_real, loss_fake = softplus(-on_real).mean(), softplus(on_fake).mean()
    value = loss_real + loss_fake + weight * (marginal + correlation) + penalty_weight * extra
    return DiscriminatorTerms(value, loss_real, loss_fake, marginal, correlation, extra)


def generator_objective(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """Equation (6) on fakes (K, ...), a scalar with gradient."""
    return softplus(-real_or_fake_logit(discriminator(fake))).mean()


def real_or_fake_logit(output: Tensor) -> Tensor:
    """Equation (7): logits (K,), at least float32, of outputs (K,), (K, 1) or (K, classes)."""
    output = at_least_float32(output)
    if output.ndim == 1:
        return output
    return output.squeeze(1) if output.shape[1] == 1 else torch.logsumexp(output, 1)


def feature_matching_objective(discriminator: nn.Sequential, real: Tensor, fake: Tensor) -> Tensor:
    """Equation (8) on real and fake points (K, ...), a scalar; f is what the last layer reads."""
    features = uncompiled(discriminator)[:-1]
    with torch.no_grad():
        real_mean = at_least_float32(features(real)).mean(0)
    # Before torch 2.11 autocast would hand on the weights that it has cast without a gradient.
    torch.clear_autocast_cache()
    return (real_mean - at_least_float32(features(fake)).mean(0)).square().sum()


@torch.no_grad()
def activation_patterns(
    discriminator: nn.Module, points: Tensor, layers: Sequence[int] | None = None
) -> Tensor:
    """Which units are on (h > 0) at points (K, ...): (K, units of all layers) bool on the CPU."""
    _, inputs = pre_activations(discriminator, points, layers)
    return torch.cat([h.flatten(1) > 0 for h in inputs], 1).cpu()


def regions(discriminator: nn.Module, grid: Tensor, layers: Sequence[int] | None = None) -> int:
    """How many activation patterns a grid (N, ...) meets; a coarse one misses small pieces."""
    return len(activation_patterns(discriminator, grid, layers).unique(dim=0))


def pattern_entropy(patterns: Tensor) -> Tensor:
    """Entropy in nats of the joint distribution of patterns (N, d) bool, rows with equal shares."""
    if patterns.ndim != 2 or patterns.numel() == 0 or patterns.dtype != torch.bool:
        raise ValueError(f"patterns must be (N, d) bool, got {patterns.dtype} {(*patterns.shape,)}")
    _, counts = patterns.unique(dim=0, return_counts=True)
    return torch.special.entr(counts.double() / len(patterns)).sum().cpu()


def gradient_spread(discriminator: nn.Module, points: Tensor) -> Tensor:
    """One minus the mean cosine of logit gradients at two points of (K, ...): 0 where parallel."""
    if len(points) < 2:
        raise ValueError("gradient_spread needs at least two points")
    gradients = _input_gradients(discriminator, points, create_graph=False)
    directions = normalize(gradients.double(), dim=1, eps=torch.finfo(torch.float64).tiny)
    k = len(points)
    pairs = directions.sum(0).square().sum() - directions.square().sum()
    return (1 - pairs / (k * (k - 1))).cpu()


class ModeCoverage(NamedTuple):
    """Which modes of a mixture with equal, round components the samples reach."""

    covered: int  # modes that are the nearest of at least one high-quality sample
    high_quality: float  # share of samples within three standard deviations of a centre
    counts: Tensor  # (M,) high-quality samples of each mode


def mode_coverage(samples: Tensor, centres: Tensor, sigma: float) -> ModeCoverage:
    """Modes reached by samples (N, D), for centres (M, D) with standard deviation sigma."""
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        shapes = f"{tuple(samples.shape)}, {tuple(centres.shape)}"
        raise ValueError(f"want samples (N, D) and centres (M, D), got {shapes}")
    distance, nearest = torch.cdist(samples.double(), centres.double()).min(1)
    good = distance <= 3 * sigma
    counts = torch.bincount(nearest[good], minlength=len(centres))
    return ModeCoverage(int((counts > 0).sum()), float(good.double().mean()), counts)


def toy_generator(noise_dim: int = 2, hidden: int = 10) -> nn.Sequential:
    """The paper's generator of points in the plane: three ReLU layers, and tanh at the end."""
    return mlp([noise_dim, hidden, hidden, hidden, 2], "relu", "tanh")


def toy_discriminator(hidden: int = 10) -> nn.Sequential:
    """The paper's discriminator of points: four leaky layers and a logit. BRE uses rectifier 1."""
    layers: list[nn.Module] = []
    for before in (2, hidden, hidden, hidden):
        layers += [nn.Linear(before, hidden), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Linear(hidden, 1))


def _layer_mean(inputs: list[Tensor], zeta: float, margin: float, validate: bool) -> BRETerms:
    if not inputs:
        raise ValueError("no layer was chosen")
    terms = [bre_terms(h, zeta, margin, validate=validate) for h in inputs]
    return BRETerms(*(torch.stack(column).mean() for column in zip(*terms, strict=True)))


def _input_gradients(discriminator: nn.Module, points: Tensor, create_graph: bool) -> Tensor:
    """Gradients (K, d) of the logit at points (K, ...), each by its own point."""
    points = points.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = real_or_fake_logit(discriminator(points))
        (gradients,) = torch.autograd.grad(logits.sum(), points, create_graph=create_graph)
    return at_least_float32(gradients).flatten(1)
