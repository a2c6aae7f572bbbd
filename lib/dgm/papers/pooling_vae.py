"""Long, Cao, Cheung: On Posterior Collapse and Encoder Feature Dispersion in Sequence VAEs.

arXiv:1911.03976, 2019; first version: Preventing Posterior Collapse in Sequence VAEs with Pooling.
An encoder LSTM has states h_1, ..., h_T over a sentence x. The paper changes only the feature that
is made of them, from the last state to their mean or maximum. All is in nats.

    s = pool(h_1, ..., h_T)                                              pool              (1)
    q(z | x) = N(mu, diag exp logvar),   [mu, logvar] = W s              TextVAE           (2)
    L = -E_q log p(x | z) + beta KL,   KL = sum_d KL(q(z_d | x) || p)    pooling_objective (3)

Other remedies: free bits (Kingma et al. 2016) replace KL by the first or second form of (4); beta
is a constant, or rises over K steps, once or in each period of K (Fu et al. 2019).

    max(lambda, KL)   or   sum_d max(lambda / D, KL_d)                   with_free_bits    (4)
    min(beta, b + k (beta - b) / K)   or   beta min(1, 2 (k mod K) / K)      kl_weight     (5)

`dispersion` of features s_i of M sentences, with u_i = s_i / ||s_i|| and C the covariance of s; the
statistic that the authors report is unavailable, and these five stand in:

    mean over i != j of u_i . u_j                                                          (6)
    tr C = mean over i != j of ||s_i - s_j||^2 / 2,   and   tr C / ||mean s||^2            (7)
    (tr C)^2 / tr C^2, from 1 to the number of directions in use                           (8)
    log mean over i != j of exp(-2 ||u_i - u_j||^2)                                        (9)

The likelihood has a bound, which `LinearGaussianVAE`, known in closed form, can check:

    log p(x) >= E log (1/K) sum_k p(x, z_k) / q(z_k | x)             marginal_likelihood  (10)
"""

from collections import namedtuple
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dgm.measure import checked_rows, effective_sample_size
from dgm.nets.lstm import sequence_nll, token_nll_in_blocks, without_padding
from dgm.nets.pooling import pool as pool
from dgm.nets.text_vae import TextVAE, TextVAETerms
from dgm.vae import gaussian_kl, gaussian_log_likelihood, importance_bound, reparameterise

KL_SCHEDULES = ("constant", "linear", "cyclical")
UNKNOWN = 3  # the token that word dropout writes


def pooling_objective(
    model: TextVAE,
    tokens: Tensor,
    lengths: Tensor | None,
    generator: Generator,
    *,
    beta: float = 1.0,
    free_bits: float | None = None,
    per_dimension: bool = False,
    word_dropout_rate: float = 0.0,
) -> TextVAETerms:
    """Equation (3) for each sentence, (B,) nats, with one sample of z and with gradient.

    Tokens are (B, T), lengths (B,) or None where all are T. The generator draws the codes, word
    dropout and dropout, in this order. free_bits is lambda of equation (4), nats, whose second form
    per_dimension takes, and word_dropout_rate the share of the decoder's inputs that are hidden.
    ValueError for a sentence of fewer than two tokens, lengths beyond T, or options out of range.
    """
    tokens, _ = _checked_sentences(tokens, lengths)
    if not beta >= 0:
        raise ValueError(f"beta must be 0 or more, got {beta}")
    mu, logvar = model.posterior(tokens, lengths)
    z = reparameterise(mu, logvar, generator)
    inputs = word_dropout(tokens[:, :-1], word_dropout_rate, generator)
    reconstruction = sequence_nll(model.decoder(inputs, z, generator), tokens, lengths)
    each = gaussian_kl(mu.reshape(-1, 1), logvar.reshape(-1, 1), validate=False).view_as(mu)
    penalty = kl = each.sum(1)
    if free_bits is not None:
        penalty = with_free_bits(each, free_bits, per_dimension)
    return TextVAETerms(reconstruction + beta * penalty, reconstruction, kl)


def with_free_bits(kl: Tensor, floor: float, per_dimension: bool = False) -> Tensor:
    """Equation (4), (B,) nats, for kl (B, D), lambda = floor; its second form per_dimension."""
    if kl.ndim != 2 or not floor >= 0:
        raise ValueError(f"want kl (B, D) and a floor of 0 or more, got {(*kl.shape,)} and {floor}")
    kl = kl if per_dimension else kl.sum(1, keepdim=True)
    floor = floor / kl.shape[1]
    return torch.where(kl > floor, kl, floor).sum(1)


def kl_weight(step: int, schedule: str = "constant", beta: float = 1.0, steps: int = 1) -> float:
    """Equation (5) after k = `step` steps for one of `KL_SCHEDULES`, with K = `steps`."""
    if schedule not in KL_SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(KL_SCHEDULES)}, got {schedule!r}")
    if step < 0 or steps < 1:
        raise ValueError(f"step={step}, steps={steps}: want step >= 0 and steps >= 1")
    if schedule == "linear":
        return min(beta, 0.1 + step * (beta - 0.1) / steps)
    if schedule == "cyclical":
        return beta * min(1.0, (step % steps) / (0.5 * steps))
    return beta


def word_dropout(tokens: Tensor, rate: float, generator: Generator) -> Tensor:
    """Tokens (B, T), a share of them, never the first, replaced by <unk>: Bowman et al. 2016."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1, got {rate}")
    if rate == 0:
        return tokens
    hidden = torch.rand(tokens.shape, generator=generator, device=tokens.device) < rate
    hidden[:, 0] = False
    return tokens.masked_fill(hidden, UNKNOWN)


@torch.no_grad()
def initialise_(
    model: nn.Module, generator: Generator, *, weights: float = 0.01, embeddings: float = 0.1
) -> None:
    """Draws all parameters from U[-weights, weights], embeddings' own: He et al. 2019."""
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for parameter in model.parameters():
        width = embeddings if id(parameter) in tables else weights
        parameter.uniform_(-width, width, generator=generator)


class _Dispersion(NamedTuple):
    """Equations (6) to (9), CPU float64 scalars."""

    cosine: Tensor
    variance: Tensor  # tr C
    relative: Tensor  # tr C over the squared length of the mean; infinite where only that is 0
    participation: Tensor  # 0 where all features are the same
    uniformity: Tensor  # 0 where all directions are the same, else below


def dispersion(features: Tensor) -> _Dispersion:
    """Equations (6) to (9) of M >= 2 finite features (M, H); in (6), (9) u = 0 for a feature 0."""
    s = checked_rows("features", features, 2)
    m, centre = len(s), s.mean(0)
    centred = s - centre
    smaller = centred if s.shape[1] <= m else centred.T
    variance = centred.square().sum() / (m - 1)
    relative = variance / centre.square().sum() if variance > 0 else variance
    squared = (smaller.T @ smaller / (m - 1)).square().sum()
    participation = variance.square() / squared if squared > 0 else squared
    u = functional.normalize(s, dim=1, eps=torch.finfo(s.dtype).tiny)
    squares = u.square().sum(1)
    cosine = (u.sum(0).square().sum() - squares.sum()) / (m * (m - 1))
    total = s.new_zeros(())
    for rows, square in zip(u.split(1024), squares.split(1024), strict=True):
        distance = (square[:, None] + squares - 2 * rows @ u.T).clamp(min=0)
        total = total + torch.exp(-2 * distance).sum()
    uniformity = torch.log((total - m) / (m * (m - 1)))  # a feature lies at distance 0 from itself
    return _Dispersion(cosine, variance, relative, participation, uniformity)


@torch.no_grad()
def influence(
    model: TextVAE, tokens: Tensor, lengths: Tensor | None = None, *, rows: int = 4096
) -> Tensor:
    """How far each word moves the features (1) of sentences (B, T), float64; 0 at <s>, </s>."""
    _, lengths = _checked_sentences(tokens, lengths)

    def features(tokens: Tensor, lengths: Tensor) -> Tensor:
        parts = zip(tokens.split(rows), lengths.split(rows), strict=True)
        return torch.cat([model.posterior.encoder(*part) for part in parts])

    position = torch.arange(tokens.shape[1], device=tokens.device)
    distance = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
    row, word = ((position > 0) & (position < lengths[:, None] - 1)).nonzero(as_tuple=True)
    if len(row):
        remaining = position[:-1] + (position[:-1] >= word[:, None])
        without = features(tokens[row].gather(1, remaining), lengths[row] - 1)
        distance[row, word] = (without - features(tokens, lengths)[row]).double().norm(dim=1)
    return distance.cpu()


@torch.no_grad()
def reconstruction_by_position(
    model: TextVAE, tokens: Tensor, lengths: Tensor | None, generator: Generator, *, rows: int = 512
) -> tuple[Tensor, Tensor]:
    """Means (T - 1,) of -log p(x_t | x_<t, z) for sentences (N, T), and how many reach t."""
    tokens, lengths = _checked_sentences(tokens, lengths)
    t = tokens.shape[1]
    total = torch.zeros(t - 1, dtype=torch.float64, device=tokens.device)
    for x, n in zip(tokens.split(rows), lengths.split(rows), strict=True):
        mu, logvar = model.posterior(x, n)
        z = reparameterise(mu, logvar, generator)
        states = model.decoder.states(x[:, :-1], z)
        total += token_nll_in_blocks(model.decoder.output, states, x, n).double().sum(0)
    count = (torch.arange(1, t, device=tokens.device) < lengths[:, None]).sum(0).cpu()
    return total.cpu() / count.clamp(min=1), count


_MarginalLikelihood = namedtuple("_MarginalLikelihood", "log_likelihood effective_samples")


@torch.no_grad()
def marginal_likelihood(
    model: TextVAE,
    tokens: Tensor,
    lengths: Tensor | None,
    generator: Generator,
    *,
    n_samples: int = 500,
    word_dropout_rate: float = 0.0,
    rows: int = 512,
) -> _MarginalLikelihood:
    """Equation (10) with K = n_samples for sentences (N, T), and how many of the K samples count.

    Both (N,), CPU float64. With word dropout it bounds the likelihood that training raises: the
    hidden words are drawn once per sentence. Decodes so many rows, pairs of a sentence and a code,
    at a time.
    """
    tokens, lengths = _checked_sentences(tokens, lengths)
    if n_samples < 1 or rows < 1:
        raise ValueError(f"{n_samples=}, {rows=}: want 1 or more of both")
    bound, effective = (torch.empty(len(tokens), dtype=torch.float64) for _ in range(2))
    # Sentences of about the same length together, so that little padding is decoded.
    for index in lengths.argsort().split(max(1, rows // n_samples)):
        x, n = tokens[index, : int(lengths[index[-1]])], lengths[index]
        inputs = word_dropout(x[:, :-1], word_dropout_rate, generator)
        mu, logvar = model.posterior(x, n)
        parts = []
        for k in torch.arange(n_samples).split(max(1, rows // len(index))):
            shape = (len(k), *mu.shape)
            noise = torch.randn(shape, generator=generator, dtype=mu.dtype, device=mu.device)
            z = mu + torch.exp(0.5 * logvar) * noise
            states = model.decoder.states(inputs.repeat(len(k), 1), z.flatten(0, 1))
            words, ends = x.repeat(len(k), 1), n.repeat(len(k))
            nll = token_nll_in_blocks(model.decoder.output, states, words, ends).double().sum(1)
            ratio = noise.double().square() + logvar.double() - z.double().square()
            parts.append(0.5 * ratio.sum(-1) - nll.view(len(k), -1))
        log_w = torch.cat(parts)
        bound[index.cpu()] = importance_bound(log_w).cpu()
        effective[index.cpu()] = effective_sample_size(log_w)
    return _MarginalLikelihood(bound, effective)


class LinearGaussianVAE(NamedTuple):
    """x = W z + b + e with z ~ N(0, I) and e ~ N(0, v I); for x (N, P), in float64 and nats."""

    weight: Tensor  # W (P, D)
    bias: Tensor  # b (P,)
    variance: float  # v

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) for z (..., N, D): (..., N)."""
        mean = z.double() @ self.weight.double().T + self.bias.double()
        return gaussian_log_likelihood(x.double(), mean, mean.new_tensor(self.variance).log())

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exact: (N,)."""
        w = self.weight.double()
        covariance = w @ w.T + self.variance * torch.eye(len(w)).to(w)
        normal = torch.distributions.MultivariateNormal(self.bias.double(), covariance)
        return normal.log_prob(x.double())

    def mean_field(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The best q(z | x) with a diagonal covariance: mean and log-variance (N, D)."""
        w = self.weight.double()
        precision = w.T @ w / self.variance + torch.eye(w.shape[1]).to(w)
        mean = (x.double() - self.bias.double()) @ w @ torch.linalg.inv(precision) / self.variance
        return mean, -precision.diagonal().log().expand_as(mean)

    def elbo(self, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        """Minus equation (3) at beta = 1, exact, for q = N(mu, diag exp logvar): (N,)."""
        mu, logvar = mu.double(), logvar.double()
        spread = logvar.exp() @ self.weight.double().square().sum(0) / self.variance
        return self.log_likelihood(x, mu) - 0.5 * spread - gaussian_kl(mu, logvar)


def _checked_sentences(tokens: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens (B, T) with 0 as padding, and lengths (B,)."""
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be (B, T), B >= 1 and T >= 2, got {tuple(tokens.shape)}")
    b, t = tokens.shape
    if lengths is None:
        return tokens, torch.full((b,), t, device=tokens.device)
    if lengths.shape != (b,) or not ((lengths >= 2) & (lengths <= t)).all():
        raise ValueError(f"lengths must be ({b},), from 2 (<s> and </s>) to {t}, got {lengths}")
    return without_padding(tokens, lengths), lengths
