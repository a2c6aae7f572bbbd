"""Cao, Ding, Lui, Huang: Improving GAN Training via Binarized Representation Entropy (BRE) Regularization.

ICLR 2018, https://openreview.net/forum?id=BkLhaGZRW. A rectifier's input h_i (d units, for the i-th of K
points of a batch) has a sign pattern; patterns should be spread evenly over the points that the generator
makes, and over those between them and the data. With a smooth stand-in for the signs,

    a_i = h_i / (|h_i| + eps),   eps = zeta mean |h|, held constant                       (1)
    ME  = (1/d) || (1/K) sum_i a_i ||^2                    each unit on half of the time  (2)
    AC  = mean over i != j of max(0, |a_i . a_j| / d - eta),   eta = margin / sqrt(d)     (3)
    BRE = ME + AC                                                                         (4)

Each of ME and AC is a mean over the chosen layers. With real points x, fakes G(z), points between
x_hat = alpha x + (1 - alpha) G(z), and logits D, the two networks minimise

    L_D = -E log s(D(x)) - E log s(-D(G(z))) + w [BRE(G(z)) + BRE(x_hat)] + penalty      (5)
    L_G = -E log s(D(G(z))),   s the logistic function                                    (6)

where the penalty is that of Gulrajani et al. 2017, E (||grad D(x_hat)|| - 1)^2, or R1 of Mescheder et
al. 2018, 1/2 E ||grad D(x)||^2. The released code has x_hat = x + alpha (x - G(z)): beyond the data.
With labels (Salimans et al. 2016), D has one logit a class and stands for a real-or-fake logit by

    D(x) = logsumexp_k l_k(x)                                                             (7)
    L_G = || E f(x) - E f(G(z)) ||^2,   f the last features of D                          (8)

The weight of the parameters' squares, 1e-4 in both losses, is left to the optimiser.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import softplus
from torch.nn.utils.parametrize import type_before_parametrizations
from torch.overrides import TorchFunctionMode

from dgm.vae import at_least_float32

__all__ = [
    "BRETerms",
    "DiscriminatorTerms",
    "ModeCoverage",
    "activation_patterns",
    "bre_penalty",
    "bre_terms",
    "discriminator_objective",
    "feature_matching_objective",
    "generator_objective",
    "gradient_penalty",
    "gradient_spread",
    "interpolate",
    "mode_coverage",
    "pattern_entropy",
    "pre_activations",
    "r1_penalty",
    "regions",
    "softsign_code",
    "toy_discriminator",
    "toy_generator",
]


class BRETerms(NamedTuple):
    """Equations (2) and (3), scalars from 0 to 1."""

    marginal_entropy: Tensor
    activation_correlation: Tensor

    @property
    def total(self) -> Tensor:
        """Equation (4)."""
        return self.marginal_entropy + self.activation_correlation


def softsign_code(h: Tensor, zeta: float = 1e-3) -> Tensor:
    """Equation (1): h's signs, softened where h is near 0.

    Args:
        h: any shape; the mean is over all of it.
        zeta: softness. At 1e-3 and Gaussian h, 99.4 % of codes are beyond 0.9.

    Returns:
        As h, between -1 and 1, at least float32; 0 where all of h is 0.
    """
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

    Args:
        h: (K, ...) inputs of a rectifier for K points, at least two; the rest is flattened to d units.
        zeta: softness of the signs.
        margin: c of eta = c / sqrt(d); correlations below eta cost nothing.
        validate: look for values that are not finite, which waits for the device.

    Raises:
        ValueError: fewer than two points or two axes, no unit, or values that are not finite.
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


def pre_activations(
    discriminator: nn.Module, points: Tensor, layers: Sequence[int] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The network's output for points (K, ...), and what its rectifiers read, in the order of the calls.

    Each call of nn.ReLU, nn.LeakyReLU, nn.PReLU or the functions relu, leaky_relu and prelu is a layer; a
    module that is called twice is two, and other activations are none. A compiled network runs uncompiled.

    Args:
        discriminator: any module that rectifies rows apart, not in place.
        points: its input.
        layers: which calls, counted from 0; None takes all, an empty list none.

    Returns:
        The output, and one (K, ...) tensor a layer, all with gradient.

    Raises:
        ValueError: no rectifier was called, fewer than `layers` asks for, one that works in place or on
            another number of rows, or a part of the network is TorchScript or compiled by itself.
    """
    if layers is not None and not len(layers):
        return discriminator(points), []
    if any(isinstance(part, torch.jit.ScriptModule) for part in discriminator.modules()):
        raise ValueError("TorchScript hides its rectifiers: pass the network as it was before")
    with _Rectifiers() as calls:
        output = _uncompiled(discriminator)(points)
    if not calls.inputs:
        raise ValueError(
            "no rectifier was called: the network needs nn.ReLU, nn.LeakyReLU, nn.PReLU or their functions"
        )
    layers = range(len(calls.inputs)) if layers is None else layers
    if any(not 0 <= i < len(calls.inputs) for i in layers):
        raise ValueError(
            f"layers must be from 0 to {len(calls.inputs) - 1}, the calls of rectifiers, got {[*layers]}"
        )
    chosen = [calls.inputs[i] for i in layers]
    if any(h.ndim == 0 or len(h) != len(points) for h in chosen):
        raise ValueError(
            f"want a row for each of {len(points)} points at each rectifier, got "
            f"{[tuple(h.shape) for h in chosen]}"
        )
    return output, chosen


def bre_penalty(
    discriminator: nn.Module,
    points: Tensor,
    layers: Sequence[int] | None = None,
    zeta: float = 1e-3,
    margin: float = 3.0,
    *,
    validate: bool = True,
) -> BRETerms:
    """Equations (2) and (3) on points (K, ...), each the mean of the layers."""
    _, inputs = pre_activations(discriminator, points, layers)
    return _mean_of_layers(inputs, zeta, margin, validate)


def interpolate(
    real: Tensor, fake: Tensor, generator: torch.Generator, mode: str = "between"
) -> Tensor:
    """One point a pair on the line through real and fake points (K, ...), with its own alpha ~ U(0, 1).

    Args:
        real: the data.
        fake: as many generated points.
        generator: of alpha.
        mode: "between" is the paper's x_hat; "beyond" goes from the data away from the fake, as the
            released code does.
    """
    if real.shape != fake.shape:
        raise ValueError(f"real is {tuple(real.shape)} but fake is {tuple(fake.shape)}")
    if mode not in ("between", "beyond"):
        raise ValueError(f"mode must be 'between' or 'beyond', got {mode!r}")
    shape = (len(real),) + (1,) * (real.ndim - 1)
    alpha = torch.rand(shape, generator=generator, device=real.device, dtype=real.dtype)
    if mode == "beyond":
        return real + alpha * (real - fake)
    return alpha * real + (1 - alpha) * fake


class DiscriminatorTerms(NamedTuple):
    """Equation (5) and its parts before weighting, scalars; the two of BRE are sums over the two sets."""

    value: Tensor
    real: Tensor
    fake: Tensor
    marginal_entropy: Tensor
    activation_correlation: Tensor
    penalty: Tensor


def discriminator_objective(
    discriminator: nn.Module,
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator,
    *,
    weight: float = 1.0,
    layers: Sequence[int] | None = None,
    zeta: float = 1e-3,
    margin: float = 3.0,
    mode: str = "between",
    penalty: str | None = None,
    penalty_weight: float = 1.0,
) -> DiscriminatorTerms:
    """Equation (5), with gradient and without waiting for the device.

    A plain stack of layers that treat each row by itself sees the three sets in one pass; any other
    network, which may mix rows as batch normalisation does, sees them one after the other.

    Args:
        discriminator: points (K, ...) -> logits (K,) or (K, 1), or (K, classes), see equation (7).
        real: (K, ...).
        fake: (K, ...); no gradient goes back to what made them.
        generator: of alpha.
        weight: w; at 0 the third pass is left out, and the terms are 0.
        layers: rectifiers that are regularised, counted from 0; None takes all.
        zeta: softness of the signs.
        margin: c of eta.
        mode: of `interpolate`.
        penalty: None, "gradient" or "r1".
        penalty_weight: its weight.
    """
    fake = fake.detach()
    sets = [real, fake]
    if weight or penalty == "gradient":
        between = interpolate(real, fake, generator, mode)
    if weight:
        sets.append(between)
    outputs, inputs = _passes(discriminator, sets, layers if weight else [])
    on_real, on_fake = (_real_or_fake(o) for o in outputs[:2])
    zero = on_real.new_zeros(())
    marginal, correlation, extra = zero, zero, zero
    if weight:
        parts = [_mean_of_layers(h, zeta, margin, validate=False) for h in inputs[1:]]
        marginal = sum(p.marginal_entropy for p in parts)
        correlation = sum(p.activation_correlation for p in parts)
    if penalty == "gradient":
        extra = gradient_penalty(discriminator, between)
    elif penalty == "r1":
        extra = r1_penalty(discriminator, real)
    elif penalty is not None:
        raise ValueError(f"penalty must be None, 'gradient' or 'r1', got {penalty!r}")
    loss_real, loss_fake = softplus(-on_real).mean(), softplus(on_fake).mean()
    value = loss_real + loss_fake + weight * (marginal + correlation) + penalty_weight * extra
    return DiscriminatorTerms(value, loss_real, loss_fake, marginal, correlation, extra)


def generator_objective(discriminator: nn.Module, fake: Tensor) -> Tensor:
    """Equation (6) on fakes (K, ...), a scalar with gradient."""
    return softplus(-_real_or_fake(discriminator(fake))).mean()


def feature_matching_objective(discriminator: nn.Sequential, real: Tensor, fake: Tensor) -> Tensor:
    """Equation (8) on real and fake points (K, ...), a scalar; f is what the last layer reads."""
    features = _uncompiled(discriminator)[:-1]
    with torch.no_grad():
        wanted = at_least_float32(features(real)).mean(0)
    # Before torch 2.11 autocast would hand on the weights that it has cast without a gradient.
    torch.clear_autocast_cache()
    return (wanted - at_least_float32(features(fake)).mean(0)).square().sum()


def gradient_penalty(discriminator: nn.Module, points: Tensor) -> Tensor:
    """E (||grad D|| - 1)^2 on points (K, ...), a scalar with gradient; D must not mix rows."""
    norms = _input_gradients(discriminator, points, create_graph=True).norm(dim=1)
    return (norms - 1).square().mean()


def r1_penalty(discriminator: nn.Module, points: Tensor) -> Tensor:
    """1/2 E ||grad D||^2 on points (K, ...), a scalar with gradient; D must not mix rows."""
    gradients = _input_gradients(discriminator, points, create_graph=True)
    return 0.5 * gradients.square().sum(1).mean()


@torch.no_grad()
def activation_patterns(
    discriminator: nn.Module, points: Tensor, layers: Sequence[int] | None = None
) -> Tensor:
    """Which units are on (h > 0) for points (K, ...): (K, units) bool on the CPU, the layers in a row."""
    _, inputs = pre_activations(discriminator, points, layers)
    return torch.cat([h.flatten(1) > 0 for h in inputs], 1).cpu()


def regions(discriminator: nn.Module, grid: Tensor, layers: Sequence[int] | None = None) -> int:
    """How many distinct activation patterns the points of a grid (N, ...) have.

    On a fine grid this counts the linear pieces of the network; a coarse grid misses small ones.
    """
    return len(activation_patterns(discriminator, grid, layers).unique(dim=0))


def pattern_entropy(patterns: Tensor) -> Tensor:
    """Entropy in nats of the joint distribution of patterns (N, d) bool, each row one equal share."""
    if patterns.ndim != 2 or patterns.numel() == 0 or patterns.dtype != torch.bool:
        raise ValueError(f"patterns must be (N, d) bool, got {patterns.dtype} {(*patterns.shape,)}")
    _, counts = patterns.unique(dim=0, return_counts=True)
    return torch.special.entr(counts.double() / len(patterns)).sum().cpu()


def gradient_spread(discriminator: nn.Module, points: Tensor) -> Tensor:
    """One less the mean cosine of the logit's gradients at two different points of (K, ...), K >= 2.

    0 where all gradients point the same way, 1 where their directions are even; a point without a
    gradient has no direction and counts as perpendicular to all.
    """
    if len(points) < 2:
        raise ValueError("gradient_spread needs at least two points")
    gradients = _input_gradients(discriminator, points, create_graph=False).double()
    norms = gradients.norm(dim=1, keepdim=True)
    directions = torch.where(norms > 0, gradients / norms, torch.zeros_like(gradients))
    k = len(points)
    pairs = directions.sum(0).square().sum() - directions.square().sum()
    return (1 - pairs / (k * (k - 1))).cpu()


class ModeCoverage(NamedTuple):
    """How samples fall on a mixture with equal, round components."""

    covered: int  # modes that are the nearest of at least one high-quality sample
    high_quality: float  # share of samples within three standard deviations of a centre
    counts: Tensor  # (M,) high-quality samples of each mode


def mode_coverage(samples: Tensor, centres: Tensor, sigma: float) -> ModeCoverage:
    """Which modes samples (N, 2) reach, for centres (M, 2) with standard deviation sigma."""
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1]:
        raise ValueError(
            f"want samples (N, D) and centres (M, D), got {tuple(samples.shape)}, {tuple(centres.shape)}"
        )
    distance, nearest = torch.cdist(samples.double(), centres.double()).min(1)
    good = distance <= 3 * sigma
    counts = torch.bincount(nearest[good], minlength=len(centres))
    return ModeCoverage(int((counts > 0).sum()), float(good.double().mean()), counts)


def toy_generator(noise_dim: int = 2, hidden: int = 10) -> nn.Sequential:
    """The paper's generator of points in the plane: three ReLU layers, and tanh at the end."""
    widths = [noise_dim, hidden, hidden, hidden]
    modules = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*modules, nn.Linear(hidden, 2), nn.Tanh())


def toy_discriminator(hidden: int = 10, inputs: int = 2) -> nn.Sequential:
    """The paper's discriminator of points: four leaky layers and a logit. BRE goes on rectifier 1."""
    widths = [inputs, hidden, hidden, hidden, hidden]
    modules = [
        m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.LeakyReLU(0.2))
    ]
    return nn.Sequential(*modules, nn.Linear(hidden, 1))


RECTIFIERS = {functional.relu, torch.relu, Tensor.relu, functional.leaky_relu, functional.prelu}
IN_PLACE = {functional.relu_, torch.relu_, Tensor.relu_, functional.leaky_relu_}
ROW_BY_ROW = {nn.Sequential, nn.Linear, nn.Conv2d, nn.ReLU, nn.LeakyReLU, nn.Flatten}


class _Rectifiers(TorchFunctionMode):
    """Records what each call of a rectifier reads; the modules call the functions."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[Tensor] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in RECTIFIERS or func in IN_PLACE:
            if func in IN_PLACE or kwargs.get("inplace", False):
                raise ValueError("rectifiers must not work in place: build them with inplace=False")
            self.inputs.append(args[0] if args else kwargs["input"])
        return func(*args, **kwargs)


def _uncompiled(network: nn.Module) -> nn.Module:
    """The network behind torch.compile, which shares its weights."""
    network = getattr(network, "_orig_mod", network)
    for name, part in network.named_modules():
        if hasattr(part, "_orig_mod") or part._compiled_call_impl is not None:
            raise ValueError(
                f"{name or 'the network'} is compiled, which hides its rectifiers: pass it uncompiled, or "
                "torch.compile(network) as a whole"
            )
    return network


def _mixes_rows(network: nn.Module) -> bool:
    """Whether a row's output may depend on the other rows: yes unless every part is known not to."""
    return any(
        type_before_parametrizations(module) not in ROW_BY_ROW
        for name, module in network.named_modules()
        if "parametrizations" not in name.split(".")
    )


def _passes(
    discriminator: nn.Module, sets: list[Tensor], layers: Sequence[int] | None
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Outputs and rectifier inputs for each set."""
    if _mixes_rows(getattr(discriminator, "_orig_mod", discriminator)):
        results = [pre_activations(discriminator, x, layers) for x in sets]
        return [output for output, _ in results], [inputs for _, inputs in results]
    output, inputs = pre_activations(discriminator, torch.cat(sets), layers)
    sizes = [len(x) for x in sets]
    split = [h.split(sizes) for h in inputs]
    return list(output.split(sizes)), [[h[i] for h in split] for i in range(len(sets))]


def _real_or_fake(output: Tensor) -> Tensor:
    """Logits (K,), at least float32; equation (7) where there are several a point."""
    output = at_least_float32(output)
    if output.ndim == 1:
        return output
    return output.squeeze(1) if output.shape[1] == 1 else torch.logsumexp(output, 1)


def _mean_of_layers(inputs: list[Tensor], zeta: float, margin: float, validate: bool) -> BRETerms:
    if not inputs:
        raise ValueError("no layer was chosen")
    found = [bre_terms(h, zeta, margin, validate=validate) for h in inputs]
    return BRETerms(*(torch.stack(column).mean() for column in zip(*found, strict=True)))


def _input_gradients(discriminator: nn.Module, points: Tensor, create_graph: bool) -> Tensor:
    """Gradients (K, d) of the logit at points (K, ...), each by its own point."""
    points = points.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = _real_or_fake(discriminator(points))
        (gradients,) = torch.autograd.grad(logits.sum(), points, create_graph=create_graph)
    return at_least_float32(gradients).flatten(1)
