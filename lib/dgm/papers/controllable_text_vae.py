"""Xu, Cheung, Cao: On Variational Learning of Controllable Representations for Text, ICML 2020.

A sentence x has two codes: z1, whose posterior mean is confined to a learned simplex with K
vertices e_k, and a free residual z2. From a feature h of the whole sentence and a window of x,

    q(z1 | h) = N(E' p, diag sigma1^2),  p = softmax(W r + b),  [r, log sigma1^2] = A h + a   (1)
    q(z2 | x) = N(mu2, diag sigma2^2)                                                         (2)
    L_rec  = - sum_t log p(x_t | x_<t, z1, z2)                                                (3)
    L_SREC = mean of max(0, 1 - cos(mu1_i, r_i) + cos(mu1_j, r_i)) over negatives j           (4)
    L_REG  = || E E' - alpha I ||_F                                                           (5)
    L = L_rec + beta_u KL(q(z2) || N(0, I)) + beta_s KL(q(z1) || N(0, I))
        + lambda_S L_SREC + lambda_R L_REG                                                    (6)

They are `SimplexBlock`, `SentencePosterior`, `LSTMDecoder.nll`, `structured_reconstruction_loss`,
`orthogonality_loss` and `controllable_objective`. The KL of (6) pulls z1 to the simplex's centroid,
(4) pushes it to the vertices. To rewrite x, `decode` the `code` of another z1 with the mean of z2.
How far a code z is from n training posteriors, `aggregate_log_density` and `mean_log_density` say:

    log q(z)         = log (1/n) sum_i N(z; mu_i, diag sigma_i^2)                             (7)
    mean log density = (1/n) sum_i log N(z; mu_i, diag sigma_i^2)  <=  log q(z)               (8)

of which the published histograms show (8). All in nats. Token ids: <pad> 0, <s> 1, </s> 2.
Other shapes and settings than those named are a ValueError.
"""

import math
from collections import namedtuple
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm.nets.lstm import LSTMDecoder
from dgm.nets.simplex import (
    SimplexBlock,
    orthogonality_loss,
    simplex_mean,
    structured_reconstruction_loss,
)
from dgm.nets.text_vae import SentencePosterior
from dgm.sampling.beam import beam_search
from dgm.steering import steer as steer  # handed on: the models of both files may be steered
from dgm.vae import gaussian_kl, reparameterise

WINDOW = 10  # positions that the residual reads and the decoder writes in training


class ControllableTextVAE(nn.Module):
    """Equations (1) to (3), for V words and features h of width F = feature_dim.

    Both LSTMs have width H = `hidden`; z1 has structured_dim, z2 residual_dim dimensions.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_dim: int,
        *,
        embedding: int = 256,
        hidden: int = 1024,
        structured_dim: int = 16,
        residual_dim: int = 64,
        n_vertices: int = 3,
        decoder_embedding: int = 128,
        layers: int = 2,
        dropout: float = 0.5,
        alpha: float | None = None,
    ) -> None:
        super().__init__()
        self.simplex = SimplexBlock(feature_dim, structured_dim, n_vertices, alpha)
        sizes, width = (embedding, hidden, residual_dim), structured_dim + residual_dim
        self.residual = SentencePosterior(vocabulary_size, *sizes, layers=layers)
        self.decoder = LSTMDecoder(vocabulary_size, decoder_embedding, hidden, width, dropout)

    def posterior(
        self, tokens: Tensor, lengths: Tensor | None, features: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, D) of [z1, z2] for windows (B, T) and features (B, F)."""
        code = self.simplex(features)
        mu, logvar = self.residual(tokens, lengths)
        return torch.cat([code.mu, mu], 1), torch.cat([code.logvar, logvar], 1)

    def code(self, weights: Tensor, residual: Tensor) -> Tensor:
        """[z1, z2] (B, D): z1 at weights (B, K) or (K,) of the simplex, z2 the residual (B, D2)."""
        weights = weights.to(residual).expand(len(residual), -1)
        return torch.cat([simplex_mean(weights, self.simplex.vertices), residual], 1)


class LossWeights(NamedTuple):
    """The weights of equation (6), as released."""

    residual: float = 0.35  # beta_u
    structured: float = 0.2  # beta_s
    reconstruction: float = 1.0  # lambda_S
    orthogonality: float = 1.0  # lambda_R
    alpha: float = 100.0


# Equation (6) and its parts before weighting, scalars: batch means, nats per sentence.
_ControllableTerms = namedtuple(
    "_ControllableTerms",
    "value reconstruction kl_residual kl_structured structured_reconstruction orthogonality",
)


def crop(tokens: Tensor, generator: torch.Generator) -> Tensor:
    """A random window (B, min(L, WINDOW)) of each row of tokens (B, L) without padding."""
    b, length = tokens.shape
    width = min(length, WINDOW)
    n_starts = length - width + 1
    start = torch.randint(n_starts, (b, 1), generator=generator, device=generator.device)
    return tokens.gather(1, start.to(tokens.device) + torch.arange(width, device=tokens.device))


def controllable_objective(
    model: ControllableTextVAE,
    window: Tensor,
    features: Tensor,
    generator: torch.Generator,
    *,
    negatives: Tensor,
    weights: LossWeights = LossWeights(),  # noqa: B008
) -> _ControllableTerms:
    """Equation (6), with gradient and without waiting for the device.

    The residual reads and the decoder writes the window (B, T) of tokens; features (B, F) are those
    of whole sentences, negatives (B, M, F) of M others. The generator draws codes, then dropout.
    """
    code = model.simplex(features)
    others = model.simplex(negatives.flatten(0, 1)).mu.unflatten(0, negatives.shape[:2])
    mu, logvar = model.residual(window)
    z = reparameterise(torch.cat([code.mu, mu], 1), torch.cat([code.logvar, logvar], 1), generator)
    reconstruction = model.decoder.nll(window, None, z, generator).mean()
    kl_residual = gaussian_kl(mu, logvar, validate=False).mean()
    kl_structured = gaussian_kl(code.mu, code.logvar, validate=False).mean()
    hinge = structured_reconstruction_loss(code.query, code.mu, others)
    frobenius = orthogonality_loss(model.simplex.vertices, weights.alpha)
    value = reconstruction + weights.residual * kl_residual + weights.structured * kl_structured
    value = value + weights.reconstruction * hinge + weights.orthogonality * frobenius
    return _ControllableTerms(value, reconstruction, kl_residual, kl_structured, hinge, frobenius)


_Rewrites = namedtuple("_Rewrites", "tokens log_prob")


@torch.no_grad()
def decode(
    decoder: LSTMDecoder, z: Tensor, *, max_steps: int = 20, batch_size: int = 256, **options: Any
) -> _Rewrites:
    """Best hypotheses for codes z (N, D) by beam search: tokens (N, T), nats (N,), on the CPU."""
    parts = []
    for codes in z.split(batch_size):
        state, n = decoder.start(codes), len(codes)
        beams = beam_search(decoder.step, state, n, max_steps=max_steps, **options)
        padding = max_steps - beams.tokens.shape[-1]
        tokens = nn.functional.pad(beams.tokens[:, 0], (0, padding))
        parts.append((tokens, beams.log_prob[:, 0].double()))
    return _Rewrites(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))


class Vertices(NamedTuple):
    """Which vertex speaks for which label, from labelled sentences."""

    negative: int
    positive: int
    purity: float  # share of sentences that have the majority label of their nearest vertex
    chance: float  # the purity of a simplex that knows nothing: the share of the commoner label
    collision: bool  # both labels have the same vertex with the largest mean weight
    counts: Tensor  # (K, 2) sentences nearest to each vertex, by label


def identify_vertices(p: Tensor, labels: Tensor, minimum: int = 100) -> Vertices:
    """The vertices whose mean weight rises, and falls, most from negative to positive sentences.

    The published rule takes each label's vertex of largest mean weight: `collision` says whether
    these agree. ValueError for p not (N, K) with N >= minimum, or labels not (N,) with both 0 and
    1.
    """
    p, labels = p.detach().to("cpu", torch.float64), labels.to("cpu", torch.int64)
    if p.ndim != 2 or len(p) != len(labels) or len(p) < minimum:
        shapes = f"got {tuple(p.shape)} and {len(labels)}"
        raise ValueError(f"want p (N, K) and N labels, N at least {minimum}, {shapes}")
    if set(labels.tolist()) != {0, 1}:
        raise ValueError(f"labels must be 0 and 1, both there, got {labels.unique().tolist()}")
    negative, positive = p[labels == 0].mean(0), p[labels == 1].mean(0)
    contrast = positive - negative
    counts = torch.bincount(2 * p.argmax(1) + labels, minlength=2 * p.shape[1]).view(-1, 2)
    purity, chance = (float(n / len(p)) for n in (counts.amax(1).sum(), counts.sum(0).max()))
    collision = bool(negative.argmax() == positive.argmax())
    ends = int(contrast.argmin()), int(contrast.argmax())
    return Vertices(*ends, purity, chance, collision, counts)


_SimplexDispersion = namedtuple("_SimplexDispersion", "spread entropy occupancy")


def simplex_dispersion(p: Tensor) -> _SimplexDispersion:
    """Of p (N, K): relative variance, entropy over log K, shares (K,) nearest to each vertex."""
    p, k = p.detach().to("cpu", torch.float64), p.shape[1]
    spread = (p - p.mean(0)).square().sum(1).mean() / (1 - 1 / k)
    entropy = -torch.special.xlogy(p, p).sum(1).mean() / math.log(k)
    occupancy = torch.bincount(p.argmax(1), minlength=k).double() / len(p)
    return _SimplexDispersion(spread, entropy, occupancy)


class BestDimension(NamedTuple):
    """The dimension of an ordinary VAE whose sign predicts the label best."""

    index: int
    sign: int  # +1: positive sentences lie above the mean
    accuracy: float


def best_sentiment_dimension(mu: Tensor, labels: Tensor) -> BestDimension:
    """The best classifier of labels (N,) by the sign of one centred coordinate of mu (N, D)."""
    mu, labels = mu.detach().to("cpu", torch.float64), labels.to("cpu")
    if mu.ndim != 2 or len(mu) != len(labels) or set(labels.tolist()) != {0, 1}:
        raise ValueError(f"want mu (N, D) and N labels 0 and 1, got {tuple(mu.shape)}")
    share = ((mu > mu.mean(0)) == (labels == 1)[:, None]).double().mean(0)
    index = int(torch.maximum(share, 1 - share).argmax())
    up = bool(share[index] >= 0.5)
    return BestDimension(index, 1 if up else -1, float(share[index] if up else 1 - share[index]))


def manipulate(
    z: Tensor, best: BestDimension, training_mu: Tensor, target: Tensor, amount: float | str
) -> Tensor:
    """Codes z (N, D) of an ordinary VAE, a value added to their sentiment dimension, as released.

    `amount` deviations of training means (M, D) from their mean to each target's side, or
    "extremum".
    """
    column = training_mu[:, best.index].to(z)
    direction = best.sign * (2 * target.to(z) - 1)
    if amount == "extremum":
        value = torch.where(direction > 0, column.max(), column.min())
    elif isinstance(amount, int | float):
        value = column.mean() + direction * amount * column.std()
    else:
        raise ValueError(f"amount must be a number or 'extremum', got {amount!r}")
    changed = z.clone()
    changed[:, best.index] = value + z[:, best.index]
    return changed


def aggregate_log_density(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Equation (7) for codes z (Z, D), means and log-variances (N, D): (Z,) nats, CPU float64."""
    z, scaled_mu, precision, constant = _gaussians(z, mu, logvar)
    constant = constant.sum(1)
    parts = []
    for codes in z.split(1024):
        squared = codes.square() @ precision.T - 2 * codes @ scaled_mu.T + constant
        parts.append(torch.logsumexp(-0.5 * squared, 1))
    return (torch.cat(parts) - math.log(len(mu))).cpu()


def mean_log_density(z: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Equation (8), with the shapes of `aggregate_log_density`. It sees distance, and no holes."""
    z, scaled_mu, precision, constant = _gaussians(z, mu, logvar)
    squared = z.square() @ precision.mean(0) - 2 * z @ scaled_mu.mean(0) + constant.mean(0).sum()
    return (-0.5 * squared).cpu()


def _gaussians(z: Tensor, mu: Tensor, logvar: Tensor) -> tuple[Tensor, ...]:
    """z, mu / sigma^2, 1 / sigma^2 and what is constant in z, about the mean of mu, in float64."""
    if z.ndim != 2 or mu.ndim != 2 or mu.shape != logvar.shape or z.shape[1] != mu.shape[1]:
        shapes = [tuple(x.shape) for x in (z, mu, logvar)]
        raise ValueError(f"want z (Z, D), mu (N, D) and logvar (N, D), got {shapes}")
    z, mu, logvar = (x.detach().double() for x in (z, mu, logvar))
    centre = mu.mean(0)
    z, mu, precision = z - centre, mu - centre, torch.exp(-logvar)
    constant = mu.square() * precision + logvar + math.log(2 * math.pi)
    return z, mu * precision, precision, constant
