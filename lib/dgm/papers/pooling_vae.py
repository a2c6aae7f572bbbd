"""Long, Cao, Cheung: On Posterior Collapse and Encoder Feature Dispersion in Sequence VAEs.

arXiv:1911.03976, 2019; its first version is Preventing Posterior Collapse in Sequence VAEs with Pooling.
An encoder LSTM has states h_1, ..., h_T over a sentence x; the paper changes only how they become one
feature, from the last state to their mean or maximum over the tokens:

    s = pool(h_1, ..., h_T)                                                             (1)
    q(z | x) = N(mu, diag exp logvar),   [mu, logvar] = W s                             (2)
    L = -E_q log p(x | z) + beta KL,   KL = sum_d KL_d = KL(q(z | x) || N(0, I))         (3)

What it is compared with changes the KL term. Free bits (Kingma et al. 2016) put for KL

    max(lambda, KL)   or   sum_d max(lambda / D, KL_d)                                  (4)

and beta is a constant, or after k steps rises once, or (Fu et al. 2019) again in each period,

    beta_k = min(beta, b + k (beta - b) / K),   beta_k = beta min(1, (k mod K) / (r K))  (5)

Dispersion of features s_i of M sentences, with u_i = s_i / ||s_i|| and C the covariance of s:

    mean over i != j of u_i . u_j                                                       (6)
    tr C = mean over i != j of ||s_i - s_j||^2 / 2,   and   tr C / ||mean s||^2         (7)
    (tr C)^2 / tr C^2, from 1 to the number of directions in use                        (8)
    log mean over i != j of exp(-2 ||u_i - u_j||^2)                                     (9)

The statistic that the authors report was not to be found; these five stand in. Likelihood is bounded by

    log p(x) >= E log (1/K) sum_k p(x, z_k) / q(z_k | x)                                (10)

which the model x = W z + b + e, e ~ N(0, v I), where all is known in closed form, can check. In nats.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from dgm.measure import aggregate_mutual_information
from dgm.nets.lstm import sequence_nll, token_nll_in_blocks, without_padding
from dgm.nets.pooling import pool
from dgm.nets.text_vae import TextVAE, aggressive_encoder_steps
from dgm.vae import gaussian_kl, importance_bound, reparameterise

__all__ = [
    "KL_SCHEDULES",
    "ByPosition",
    "Dispersion",
    "LinearGaussianVAE",
    "MarginalLikelihood",
    "PoolingTerms",
    "aggressive_encoder_steps",
    "dispersion",
    "forget_gate_bias_",
    "influence",
    "initialise_",
    "kl_weight",
    "layer_norm_features_",
    "marginal_likelihood",
    "minibatch_mutual_information",
    "pool",
    "pooling_objective",
    "reconstruction_by_position",
    "scale_features_",
    "with_free_bits",
    "word_dropout",
]

KL_SCHEDULES = ("constant", "linear", "cyclical")
UNKNOWN = 3  # the token that word dropout writes


# Objective


class PoolingTerms(NamedTuple):
    """Equation (3) and its parts, each (B,), nats; penalty is what stands for KL under free bits."""

    value: Tensor
    reconstruction: Tensor
    kl: Tensor
    penalty: Tensor


def pooling_objective(
    model: TextVAE,
    tokens: Tensor,
    lengths: Tensor | None,
    generator: torch.Generator,
    *,
    beta: float = 1.0,
    free_bits: float | None = None,
    per_dimension: bool = False,
    batch_mean: bool = False,
    word_dropout_rate: float = 0.0,
    dropout: bool = True,
    validate: bool = True,
) -> PoolingTerms:
    """Equation (3) for each sentence, with one sample of z and with gradient.

    Args:
        model: its encoder's kind of pooling is that of equation (1).
        tokens: (B, T), T at least 2: a sentence without words is <s> </s>.
        lengths: (B,), <s> and </s> counted; None where all are T.
        generator: of the codes, of word dropout and of dropout, in this order.
        beta: weight of the KL term, 0 or more.
        free_bits: lambda of equation (4), nats; None leaves KL as it is.
        per_dimension: the second form of equation (4).
        batch_mean: whether the maximum is taken of the batch's mean KL, not of each sentence's.
        word_dropout_rate: share of the decoder's inputs that are hidden.
        dropout: whether the decoder's dropout is on.
        validate: look for lengths that do not fit, which waits for the device.

    Raises:
        ValueError: a sentence of fewer than two tokens, lengths beyond T, or options out of range.
    """
    _check_sentences(tokens, lengths, validate)
    tokens = without_padding(tokens, lengths)
    if not beta >= 0:
        raise ValueError(f"beta must be 0 or more, got {beta}")
    mu, logvar = model.posterior(tokens, lengths)
    z = reparameterise(mu, logvar, generator)
    inputs = word_dropout(tokens[:, :-1], word_dropout_rate, generator)
    logits = model.decoder(inputs, z, generator if dropout else None)
    reconstruction = sequence_nll(logits, tokens, lengths)
    each = gaussian_kl(mu.reshape(-1, 1), logvar.reshape(-1, 1), validate=False).view_as(mu)
    penalty = kl = each.sum(1)
    if free_bits is not None:
        penalty = with_free_bits(
            each, free_bits, per_dimension=per_dimension, batch_mean=batch_mean
        )
    return PoolingTerms(reconstruction + beta * penalty, reconstruction, kl, penalty)


def with_free_bits(
    kl: Tensor, floor: float, *, per_dimension: bool = False, batch_mean: bool = False
) -> Tensor:
    """Equation (4), with no gradient where the divergence is not above its floor.

    Args:
        kl: (B, D) nats, a dimension each.
        floor: lambda, nats a sentence, 0 or more.
        per_dimension: an equal share of the floor for each dimension, not one for their sum.
        batch_mean: the maximum of the means over the batch; the result is the same for all sentences.

    Returns:
        (B,) nats.
    """
    if kl.ndim != 2 or not floor >= 0:
        raise ValueError(f"want kl (B, D) and a floor of 0 or more, got {(*kl.shape,)} and {floor}")
    b, d = kl.shape
    if per_dimension:
        floor = floor / d
    else:
        kl = kl.sum(1, keepdim=True)
    if batch_mean:
        kl = kl.mean(0, keepdim=True)
    return torch.where(kl > floor, kl, floor).sum(1).expand(b)


def kl_weight(
    step: int,
    schedule: str = "constant",
    *,
    beta: float = 1.0,
    steps: int = 1,
    start: float = 0.1,
    rising: float = 0.5,
) -> float:
    """Equation (5).

    Args:
        step: k, steps done.
        schedule: one of `KL_SCHEDULES`.
        beta: the constant, or where the weight rises to.
        steps: K: those of the rise, or of one period.
        start: b, where a single rise begins.
        rising: r, the share of a period in which the weight rises.

    Raises:
        ValueError: an unknown schedule, a negative step, or no step to rise in.
    """
    if schedule not in KL_SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(KL_SCHEDULES)}, got {schedule!r}")
    if step < 0 or steps < 1 or not 0 < rising <= 1:
        raise ValueError(
            f"step={step}, steps={steps}, rising={rising}: want step >= 0, steps >= 1, 0 < rising <= 1"
        )
    if schedule == "linear":
        return min(beta, start + step * (beta - start) / steps)
    if schedule == "cyclical":
        return beta * min(1.0, (step % steps) / (rising * steps))
    return beta


def word_dropout(tokens: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Tokens (B, T) with a share of them, but never the first, replaced by <unk>: Bowman et al. 2016."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be from 0 to 1, got {rate}")
    if rate == 0:
        return tokens
    draws = torch.rand(tokens.shape, generator=generator, device=tokens.device)
    hidden = draws < rate
    hidden[:, 0] = False
    return tokens.masked_fill(hidden, UNKNOWN)


# Controls: what else could explain the gain. All act on a model that has been built.


@torch.no_grad()
def initialise_(
    model: nn.Module,
    generator: torch.Generator,
    *,
    weights: float = 0.01,
    embeddings: float = 0.1,
) -> None:
    """Draws every parameter anew: evenly from -weights to weights, embeddings from -embeddings.

    The defaults are those of He et al. 2019, in whose system the paper's comparison is set. At them a
    gate is half open, and what a state keeps of a token halves with every step.
    """
    tables = [m.weight for m in model.modules() if isinstance(m, nn.Embedding)]
    for parameter in model.parameters():
        width = embeddings if any(parameter is table for table in tables) else weights
        parameter.uniform_(-width, width, generator=generator)


@torch.no_grad()
def forget_gate_bias_(lstm: nn.LSTM, value: float) -> None:
    """Sets the forget gates' bias, in all layers and directions: at 1 a state keeps 73 % a step."""
    h = lstm.hidden_size
    for name, parameter in lstm.named_parameters():
        if name.startswith("bias_"):
            parameter[h : 2 * h] = value if name.startswith("bias_ih") else 0.0


def scale_features_(model: TextVAE, factor: float) -> RemovableHandle:
    """Multiplies the features of equation (1) from now on; `.remove()` of what is returned ends it."""
    return model.posterior.encoder.register_forward_hook(lambda _, inputs, s: factor * s)


def layer_norm_features_(model: TextVAE) -> RemovableHandle:
    """Brings each sentence's features to mean 0 and variance 1, without parameters; as above."""
    return model.posterior.encoder.register_forward_hook(
        lambda _, inputs, s: functional.layer_norm(s, s.shape[-1:])
    )


# Measures


class Dispersion(NamedTuple):
    """Equations (6) to (9), CPU float64 scalars."""

    cosine: Tensor
    variance: Tensor  # tr C
    relative: Tensor  # tr C over the squared length of the mean; infinite where only that is 0
    participation: Tensor  # 0 where all features are the same
    uniformity: Tensor  # 0 where all directions are the same, else below


def dispersion(features: Tensor) -> Dispersion:
    """How far features (M, H) of different sentences lie apart, five ways.

    A feature of length 0 has no direction: equations (6) and (9) take u = 0 for it.

    Raises:
        ValueError: fewer than two features, or values that are not finite.
    """
    s = features.detach().to("cpu", torch.float64)
    if s.ndim != 2 or len(s) < 2 or s.shape[1] == 0 or not torch.isfinite(s).all():
        raise ValueError(f"features must be finite, (M, H) with M >= 2, got {(*s.shape,)}")
    m = len(s)
    centre = s.mean(0)
    around = s - centre
    smaller = around if s.shape[1] <= m else around.T
    covariance = smaller.T @ smaller / (m - 1)
    variance = around.square().sum() / (m - 1)
    squared = covariance.square().sum()
    participation = variance.square() / squared if squared > 0 else torch.zeros_like(variance)
    length = centre.square().sum()
    relative = variance / length if variance > 0 else torch.zeros_like(variance)
    u = functional.normalize(s, dim=1, eps=torch.finfo(s.dtype).tiny)
    own = u.square().sum(1)
    cosine = (u.sum(0).square().sum() - own.sum()) / (m * (m - 1))
    total = s.new_zeros(())
    for rows, one in zip(u.split(1024), own.split(1024), strict=True):
        distance = (one[:, None] + own - 2 * rows @ u.T).clamp(min=0)
        total = total + torch.exp(-2 * distance).sum()
    uniformity = torch.log((total - m) / (m * (m - 1)))  # a feature lies at distance 0 from itself
    return Dispersion(cosine, variance, relative, participation, uniformity)


def minibatch_mutual_information(
    mu: Tensor, logvar: Tensor, batch_size: int = 32, seed: int = 0
) -> Tensor:
    """Mutual information as He et al. 2019 report it: the mean over batches, never above log batch_size.

    Args:
        mu: (N, D) posterior means; a last batch that is not full is left out.
        logvar: (N, D).
        batch_size: sentences in a batch.
        seed: of the samples.

    Returns:
        A scalar, nats, CPU float64; see `dgm.measure.aggregate_mutual_information` for all N at once.
    """
    if not 2 <= batch_size <= len(mu):
        raise ValueError(f"batch_size={batch_size} of {len(mu)} sentences: want 2 to {len(mu)}")
    n = len(mu) // batch_size * batch_size
    parts = zip(mu[:n].split(batch_size), logvar[:n].split(batch_size), strict=True)
    found = [aggregate_mutual_information(*p, seed=seed + i) for i, p in enumerate(parts)]
    return torch.stack(found).mean()


@torch.no_grad()
def influence(
    model: TextVAE,
    tokens: Tensor,
    lengths: Tensor | None = None,
    *,
    of: str = "mean",
    rows: int = 4096,
) -> Tensor:
    """How far each word moves a sentence's code: the distance when the word is left out.

    Args:
        model: the model.
        tokens: (B, T).
        lengths: (B,), <s> and </s> counted; None where all are T.
        of: "mean" of the posterior, in units of the prior's standard deviation, or "features" of
            equation (1).
        rows: sentences that are read at a time.

    Returns:
        (B, T) CPU float64; 0 at <s>, </s> and padding.

    Raises:
        ValueError: a sentence of fewer than two tokens, lengths beyond T, or another `of`.
    """
    _check_sentences(tokens, lengths, validate=True)
    if of not in ("mean", "features"):
        raise ValueError(f"of must be 'mean' or 'features', got {of!r}")

    def code(tokens: Tensor, lengths: Tensor) -> Tensor:
        parts = zip(tokens.split(rows), lengths.split(rows), strict=True)
        if of == "features":
            return torch.cat([model.posterior.encoder(*p) for p in parts])
        return torch.cat([model.posterior(*p)[0] for p in parts])

    b, t = tokens.shape
    device = tokens.device
    if lengths is None:
        lengths = torch.full((b,), t, device=device)
    place = torch.arange(t, device=device)
    moved = torch.zeros(b, t, dtype=torch.float64, device=device)
    row, word = ((place > 0) & (place < lengths[:, None] - 1)).nonzero(as_tuple=True)
    if len(row):
        kept = place[:-1] + (place[:-1] >= word[:, None])
        without = code(tokens[row].gather(1, kept), lengths[row] - 1)
        moved[row, word] = (without - code(tokens, lengths)[row]).double().norm(dim=1)
    return moved.cpu()


class ByPosition(NamedTuple):
    """Mean reconstruction of each token after the first, and of how many sentences it is the mean."""

    nll: Tensor  # (T - 1,) nats, CPU float64; 0 where no sentence reaches
    count: Tensor  # (T - 1,) int64


@torch.no_grad()
def reconstruction_by_position(
    model: TextVAE,
    tokens: Tensor,
    lengths: Tensor | None,
    generator: torch.Generator,
    *,
    word_dropout_rate: float = 0.0,
    rows: int = 512,
) -> ByPosition:
    """Where in sentences (N, T) the code helps: -log p(x_t | x_<t, z) at one sample z of each.

    The sum over positions of nll count is the reconstruction of all sentences together; words are hidden
    as in `pooling_objective`.
    """
    _check_sentences(tokens, lengths, validate=True)
    tokens = without_padding(tokens, lengths)
    n, t = tokens.shape
    if lengths is None:
        lengths = torch.full((n,), t, device=tokens.device)
    total = torch.zeros(t - 1, dtype=torch.float64, device=tokens.device)
    for x, some in zip(tokens.split(rows), lengths.split(rows), strict=True):
        z = reparameterise(*model.posterior(x, some), generator)
        inputs = word_dropout(x[:, :-1], word_dropout_rate, generator)
        states = model.decoder.states(inputs, z)
        nll = token_nll_in_blocks(model.decoder.output, states, x, some)
        total += nll.double().sum(0)
    count = (torch.arange(1, t, device=tokens.device) < lengths[:, None]).sum(0).cpu()
    return ByPosition(total.cpu() / count.clamp(min=1), count)


class MarginalLikelihood(NamedTuple):
    """Equation (10), and how many of the K samples count, each (N,), CPU float64."""

    log_likelihood: Tensor
    effective_samples: Tensor


@torch.no_grad()
def marginal_likelihood(
    model: TextVAE,
    tokens: Tensor,
    lengths: Tensor | None,
    generator: torch.Generator,
    *,
    n_samples: int = 500,
    word_dropout_rate: float = 0.0,
    rows: int = 512,
) -> MarginalLikelihood:
    """Equation (10) for each sentence, in memory that does not grow with their number.

    Above a word dropout rate of 0 it bounds the likelihood that training raises: of all words, where the
    decoder sees some of those before. Which it sees is drawn once a sentence.

    Args:
        model: the model.
        tokens: (N, T).
        lengths: (N,), <s> and </s> counted; None where all are T.
        generator: of the codes.
        n_samples: K, at least 1.
        word_dropout_rate: share of the decoder's inputs that are hidden.
        rows: pairs of a sentence and a code that are decoded at a time.

    Raises:
        ValueError: no sample, or sentences as in `pooling_objective`.
    """
    _check_sentences(tokens, lengths, validate=True)
    tokens = without_padding(tokens, lengths)
    if n_samples < 1 or rows < 1:
        raise ValueError(f"n_samples={n_samples}, rows={rows}: want 1 or more of both")
    n, t = tokens.shape
    if lengths is None:
        lengths = torch.full((n,), t, device=tokens.device)
    bound, effective = (torch.empty(n, dtype=torch.float64) for _ in range(2))
    # Sentences of about the same length together, so that little padding is decoded.
    for some in lengths.argsort().split(max(1, rows // n_samples)):
        width = int(lengths[some[-1]])
        x, own = tokens[some, :width], lengths[some]
        inputs = word_dropout(x[:, :-1], word_dropout_rate, generator)
        mu, logvar = model.posterior(x, own)
        parts = []
        for k in torch.arange(n_samples).split(max(1, rows // len(some))):
            shape = (len(k), *mu.shape)
            noise = torch.randn(shape, generator=generator, dtype=mu.dtype, device=mu.device)
            z = mu + torch.exp(0.5 * logvar) * noise
            states = model.decoder.states(inputs.repeat(len(k), 1), z.flatten(0, 1))
            words, ends = x.repeat(len(k), 1), own.repeat(len(k))
            nll = token_nll_in_blocks(model.decoder.output, states, words, ends).double().sum(1)
            ratio = noise.double().square() + logvar.double() - z.double().square()
            parts.append(0.5 * ratio.sum(-1) - nll.view(len(k), -1))
        log_w = torch.cat(parts)
        bound[some.cpu()] = importance_bound(log_w).cpu()
        share = log_w.softmax(0)
        effective[some.cpu()] = (1 / share.square().sum(0)).cpu()
    return MarginalLikelihood(bound, effective)


# The model whose likelihood is known


class LinearGaussianVAE(NamedTuple):
    """x = W z + b + e with z ~ N(0, I) and e ~ N(0, v I); all methods return float64.

    Attributes:
        weight: W (P, D).
        bias: b (P,).
        variance: v.
    """

    weight: Tensor
    bias: Tensor
    variance: float

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exact, for x (N, P): (N,)."""
        w = self.weight.double()
        covariance = w @ w.T + self.variance * torch.eye(len(w)).to(w)
        normal = torch.distributions.MultivariateNormal(self.bias.double(), covariance)
        return normal.log_prob(x.double())

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(z | x) for x (N, P): its mean (N, D), and the covariance (D, D) that all x share."""
        w = self.weight.double()
        precision = w.T @ w / self.variance + torch.eye(w.shape[1]).to(w)
        covariance = torch.linalg.inv(precision)
        return (x.double() - self.bias.double()) @ w @ covariance / self.variance, covariance

    def mean_field(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The best q(z | x) with a diagonal covariance: mean and log-variance (N, D)."""
        mean, covariance = self.posterior(x)
        return mean, -torch.linalg.inv(covariance).diagonal().log().expand_as(mean)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) for x (N, P) and z (..., N, D): (..., N)."""
        z = z.double()
        error = x.double() - self.bias.double() - z @ self.weight.double().T
        constant = error.shape[-1] * math.log(2 * math.pi * self.variance)
        constant += z.shape[-1] * math.log(2 * math.pi)
        return -0.5 * (error.square().sum(-1) / self.variance + z.square().sum(-1) + constant)

    def elbo(self, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        """Equation (3) at beta = 1 with the sign turned, exact, for q = N(mu, diag exp logvar): (N,)."""
        mu, logvar, w = mu.double(), logvar.double(), self.weight.double()
        error = (x.double() - self.bias.double() - mu @ w.T).square().sum(1)
        error = error + logvar.exp() @ w.square().sum(0)
        constant = len(w) * math.log(2 * math.pi * self.variance)
        return -0.5 * (error / self.variance + constant) - gaussian_kl(mu, logvar)


def _check_sentences(tokens: Tensor, lengths: Tensor | None, validate: bool) -> None:
    if tokens.ndim != 2 or len(tokens) == 0 or tokens.shape[1] < 2:
        raise ValueError(
            "tokens must be (B, T) with B >= 1 and T >= 2, <s> and </s> at least: "
            f"got {tuple(tokens.shape)}"
        )
    if lengths is None:
        return
    if lengths.shape != tokens.shape[:1]:
        raise ValueError(f"lengths must be ({len(tokens)},), got {tuple(lengths.shape)}")
    if validate and not ((lengths >= 2) & (lengths <= tokens.shape[1])).all():
        raise ValueError(
            f"lengths must be from 2 (<s> and </s>) to {tokens.shape[1]}, got "
            f"{int(lengths.min())} to {int(lengths.max())}"
        )
