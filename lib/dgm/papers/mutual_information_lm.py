"""Cao, Xu: Better Long-Range Dependency By Bootstrapping A Mutual Information Regularizer.

AISTATS 2020, PMLR 108, http://proceedings.mlr.press/v108/cao20a.html, arXiv:1905.11978. The paper's
body was unavailable: what follows stands on its abstract, its released code, and derivations that
tests check. X and Y are neighbouring sentences of a text; a critic gives a pair the score T(x, y).
Their mutual information I has for every T the bounds, of which only the third is a loss,

    I >= E_XY T - log E_X E_Y e^T                       Donsker and Varadhan                (1)
    I >= E_XY T - E_X E_Y e^(T - 1)                     Nguyen, Wainwright, Jordan          (2)
    L_D = E_XY softplus(-T) + E_X E_Y softplus(T) >= 2 log 2 - 2 JSD                        (3)
    I >= log N + E [T_ii - log sum_j e^(T_ij)]          InfoNCE, on N pairs at a time       (4)

(3) is next-sentence prediction; at its minimum T = log p(x, y) / p(x) p(y), and (1) is exactly I.
The critic reads the language model's states, each sentence from an empty one, and both orders:

    r(s) = [max_t h^1_t; ...; max_t h^L_t],   a = r(x), b = r(y)                            (5)
    T = (F(a, b) + G(b, a)) / 2,   F(a, b) = MLP [a; b; a - b; a b; |a - b|]                 (6)

Phase I trains both together, and phase II also makes the model likelier to write what the critic
says belongs, on real sentences y, k + 1 places after x:

    L = L_LM + lambda_1 L_D                                                                 (7)
    L_LM = -mean log p(s_t | s_<t) + alpha mean (drop h)^2 + beta mean (h_(t+1) - h_t)^2    (8)
    P(k) = p (1 - p)^k, k = 0, 1, ... to the text's end                                     (9)
    w_b = softmax_b [(T(x_b, y_b) - T(x_b, next of x_b)) / tau - log P(k_b)]                (10)
    L = L_LM + lambda_1 L_D + lambda_2 sum_b w_b NLL(y_b after x_b)                         (11)

with NLL the mean over the tokens of y_b after its first, and no gradient through w. In the released
code both (5) and the state after x_b include the padding; `leak=True` does as it does. In nats.
Other shapes and settings than those named are a ValueError.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import softplus

from dgm.nets.language_models import AWDLSTM, Dropouts, TransformerLM
from dgm.nets.lstm import dropout, without_padding
from dgm.nets.mixture_of_softmaxes import mixture_of_softmaxes_nll as mixture_of_softmaxes_nll
from dgm.nets.pooling import pool

LanguageModel = AWDLSTM | TransformerLM  # their methods are all that is used
BASES = {  # what `AWDLSTM` takes after the size of the vocabulary, as in the released recipes
    "ptb": (280, 960, 620, 3, 15, Dropouts()),
    "wikitext-2": (300, 1150, 650, 3, 15, Dropouts(0.4, 0.2, 0.55, 0.1, 0.29, 0.5)),
}


def donsker_varadhan(joint: Tensor, product: Tensor, *, validate: bool = True) -> Tensor:
    """Equation (1), nats, CPU float64, of scores (N,) of pairs and (M,) of independent ones.

    ValueError for other shapes, or, with `validate`, scores not finite (product may hold -inf).
    """
    joint, product = _detached(joint, product, validate)
    return joint.mean() - (torch.logsumexp(product, 0) - math.log(len(product)))


def nwj(joint: Tensor, product: Tensor, *, validate: bool = True) -> Tensor:
    """Equation (2), nats: at most (1), equal to it where E e^(T - 1) = 1; arguments as there."""
    joint, product = _detached(joint, product, validate)
    return joint.mean() - torch.exp(product - 1).mean()


def jensen_shannon_loss(joint: Tensor, product: Tensor) -> Tensor:
    """Equation (3), a scalar with gradient; joint is (N,), product (M,)."""
    _check_scores(joint, product)
    return softplus(-joint).mean() + softplus(product).mean()


def info_nce(scores: Tensor, *, validate: bool = True) -> Tensor:
    """Equation (4) of scores T_ij (N, N), nats: at most log N. Errors as in `donsker_varadhan`."""
    if scores.ndim != 2 or len(scores) == 0 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"scores must be (N, N) with N at least 1, got {(*scores.shape,)}")
    positives, flat = _detached(scores.diagonal(), scores.flatten(), validate)
    return math.log(len(scores)) + (positives - flat.view(scores.shape).logsumexp(1)).mean()


def _check_scores(joint: Tensor, product: Tensor) -> None:
    if joint.ndim != 1 or product.ndim != 1 or len(joint) == 0 or len(product) == 0:
        shapes = [(*x.shape,) for x in (joint, product)]
        raise ValueError(f"want scores (N,) and (M,), at least one each, got {shapes}")


def _detached(joint: Tensor, product: Tensor, validate: bool) -> tuple[Tensor, Tensor]:
    _check_scores(joint, product)
    joint, product = (x.detach().to("cpu", torch.float64) for x in (joint, product))
    if validate and not (torch.isfinite(joint).all() and (product < math.inf).all()):
        raise ValueError("a score is not finite: the critic has diverged")
    return joint, product


class SegmentCritic(nn.Module):
    """Equation (6), from features of width D; with a generator, `rates` are dropped."""

    def __init__(self, features: int, hidden: int = 300, rates: Sequence[float] = (0.1, 0.3)):
        super().__init__()
        self.rates = rates
        layers = [nn.Linear(*size) for size in ((5 * features, hidden), (hidden, 1)) * 2]
        for layer in layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.forwards, self.backwards = nn.ModuleList(layers[:2]), nn.ModuleList(layers[2:])

    def forward(self, first: Tensor, second: Tensor, generator: Generator | None = None) -> Tensor:
        """Features (..., D) of sentences and of what may follow each -> scores (...)."""
        first, second = torch.broadcast_tensors(first, second)
        forward = self._side(self.forwards, first, second, generator)
        return (forward + self._side(self.backwards, second, first, generator)) / 2

    def _side(self, layers: nn.ModuleList, a: Tensor, b: Tensor, generator: Generator | None):
        difference = a - b
        pair = torch.cat([a, b, difference, a * b, difference.abs()], -1)
        hidden = torch.relu(layers[0](dropout(pair, self.rates[0], generator)))
        return layers[1](dropout(hidden, self.rates[1], generator)).squeeze(-1)


class Segments(NamedTuple):
    """The M sentences of a text, in order."""

    tokens: Tensor  # (M, L) int64, each with the text's end marker if it was not cut, then padding
    lengths: Tensor  # (M,) int64, at least 2, the end marker counted


def make_segments(
    sentences: Sequence[Sequence[int]], end: int, padding: int, longest: int = 40
) -> Segments:
    """Sentences' ids, each with `end`, as a table of width `longest`; empty ones are left out."""
    rows = [[*ids[: longest - 1], end] for ids in sentences if len(ids)]
    if len(rows) < 3 or longest < 2:
        raise ValueError(f"{len(rows)} sentences with a word, longest={longest}: want >= 3, >= 2")
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.full((len(rows), longest), padding)
    words = torch.tensor([token for row in rows for token in row])
    tokens[torch.arange(longest) < lengths[:, None]] = words
    return Segments(tokens, lengths)


class Draw(NamedTuple):
    """B sentences and what is set beside each, as places in the text, (B,) each."""

    anchor: Tensor
    following: Tensor
    other: Tensor
    sampled: Tensor
    log_distance_prob: Tensor  # nats, float64


def draw_pairs(n_segments: int, n: int, generator: Generator, p: float = 0.3) -> Draw:
    """Draws n of the M sentences that have a next one, evenly, each with its company.

    p is that of (9), cut at the text's end. ValueError for M < 3, n < 1, or p outside of (0, 1).
    """
    if n_segments < 3 or n < 1 or not 0 < p < 1:
        want = "3 or more, 1 or more, 0 < p < 1"
        raise ValueError(f"n_segments={n_segments}, n={n}, p={p}: want {want}")
    options = {"generator": generator, "device": generator.device}
    anchor = torch.randint(n_segments - 1, (n,), **options)
    other = (torch.rand(n, dtype=torch.float64, **options) * (n_segments - 2)).long()
    other = other + 2 * (other >= anchor)
    left, rate = (n_segments - 1 - anchor).double(), math.log1p(-p)
    log_mass = torch.log(-torch.expm1(rate * left))
    u = torch.rand(n, dtype=torch.float64, **options)
    k = torch.floor(torch.log1p(-u * log_mass.exp()) / rate).clamp(max=left - 1)
    log_prob = k * rate + math.log(p) - log_mass
    return Draw(anchor, anchor + 1, other, anchor + 1 + k.long(), log_prob)


class LikelihoodTerms(NamedTuple):
    """Equation (8) and its parts before weighting, scalars, and the state after the window."""

    value: Tensor
    nll: Tensor  # nats per token
    activation: Tensor
    slowness: Tensor
    state: Any


def likelihood_objective(
    model: LanguageModel,
    tokens: Tensor,
    state: Any,
    generator: Generator | None,
    *,
    activation: float = 2.0,
    slowness: float = 1.0,
) -> LikelihoodTerms:
    """Equation (8) on a window (B, T + 1) after `state`; activation is alpha, slowness beta."""
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be (B, T + 1) with T at least 1, got {(*tokens.shape,)}")
    reading = model.read(tokens[:, :-1], state, generator)
    nll = model.loss(reading.output, tokens[:, 1:], None, generator).total
    size, states = reading.output.square().mean(), reading.layers[-1]
    steps = states[:, 1:] - states[:, :-1]
    step = steps.square().mean() if steps.numel() else steps.sum()
    value = nll + activation * size + slowness * step
    return LikelihoodTerms(value, nll, size, step, reading.state)


class BootstrapTerms(NamedTuple):
    """What equations (7) and (11) add to (8), and its parts before weighting, scalars."""

    value: Tensor
    critic: Tensor  # equation (3)
    accuracy: Tensor  # share of anchors whose next sentence scores above the other one
    augmented: Tensor  # the last sum of equation (11); 0 in phase I
    effective: Tensor  # 1 / sum_b w_b^2; 0 in phase I


def bootstrap_objective(
    model: LanguageModel,
    critic: SegmentCritic,
    segments: Segments,
    draw: Draw,
    generator: Generator | None,
    *,
    critic_weight: float = 0.1,
    augmented_weight: float = 0.0,
    temperature: float = 1.0,
    leak: bool = False,
    detach: bool = False,
) -> BootstrapTerms:
    """What equation (7), and (11) where augmented_weight is above 0, adds, with gradient.

    The weights are lambda_1 and lambda_2; `leak` reads the padding, as released; `detach` keeps the
    critic's gradient from the model. Clip the gradients of both apart: else weights confound.
    """
    places = [draw.anchor, draw.following, draw.other]
    second_phase = augmented_weight > 0
    places += [draw.sampled] * second_phase
    features = segment_features(model, segments, torch.cat(places), generator, leak=leak)
    features = features.detach() if detach else features
    first, following, other, *sampled = features.chunk(len(places))
    joint, product = critic(first, following, generator), critic(first, other, generator)
    loss = jensen_shannon_loss(joint, product)
    accuracy = (joint > product).to(loss.dtype).mean()
    value, zero = critic_weight * loss, loss.new_zeros(())
    if not second_phase:
        return BootstrapTerms(value, loss, accuracy, zero, zero)
    with torch.no_grad():
        score = critic(first, sampled[0], generator)
    weights = raml_weights(score, joint, draw.log_distance_prob, temperature, validate=False)
    # An anchor and its sampled sentence are one row.
    before, n_before = _padded(segments, draw.anchor, leak)
    after, n_after = _padded(segments, draw.sampled, False)
    pair = torch.cat([before, after], 1)
    place = torch.arange(pair.shape[1], device=pair.device)
    start, stop = n_before[:, None], (n_before + n_after)[:, None]
    skip = (place >= start) * (before.shape[1] - start)
    tokens = pair.gather(1, (place + skip).clamp(max=pair.shape[1] - 1))
    counted = (place > start) & (place < stop)
    token_weights = (weights.to(loss.dtype) / (n_after - 1))[:, None] * counted
    reading = model.read(tokens[:, :-1], None, generator)
    nll = model.loss(reading.output, tokens[:, 1:], token_weights[:, 1:], generator)
    augmented = nll.total
    value = value + augmented_weight * augmented
    return BootstrapTerms(value, loss, accuracy, augmented, 1 / weights.square().sum())


def segment_features(
    model: LanguageModel,
    segments: Segments,
    places: Tensor | slice = slice(None),
    generator: Generator | None = None,
    *,
    leak: bool = False,
) -> Tensor:
    """Equation (5) of the sentences at places (B,), or of all: (B, D), with gradient."""
    tokens, lengths = _padded(segments, places, leak)
    reading = model.read(tokens, None, generator)
    mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    return torch.cat([pool(h, mask, model.pooling, validate=False) for h in reading.layers], 1)


def raml_weights(
    sampled: Tensor,
    following: Tensor,
    log_distance_prob: Tensor,
    temperature: float = 1.0,
    *,
    validate: bool = True,
) -> Tensor:
    """Equation (10): the weight of each sampled sentence in a batch, (B,), without gradient.

    At least float32. ValueError for other shapes, tau, or, with `validate`, values not finite.
    """
    shapes = [(*x.shape,) for x in (sampled, following, log_distance_prob)]
    if sampled.ndim != 1 or len(sampled) == 0 or len(set(shapes)) > 1:
        raise ValueError(f"want three rows (B,) of one length, at least 1, got {shapes}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
    gain, log_prob = (sampled.double() - following.double()).detach(), log_distance_prob.double()
    if validate and not torch.isfinite(gain - log_prob).all():
        raise ValueError("a score or log_distance_prob is not finite: has the critic diverged?")
    # Only differences count; so no score over a small temperature overflows upwards.
    weights = torch.softmax((gain - gain.max()) / temperature - log_prob.detach(), 0)
    return weights if sampled.dtype == torch.float64 else weights.float()


def _padded(segments: Segments, places: Tensor | slice, leak: bool) -> tuple[Tensor, Tensor]:
    """Sentences and how much of them is read; on a CPU no longer than the longest."""
    tokens, lengths = segments.tokens[places], segments.lengths[places]
    if leak:
        return tokens, torch.full_like(lengths, tokens.shape[1])
    if tokens.device.type == "cpu":
        tokens = tokens[:, : int(lengths.max())]
    return without_padding(tokens, lengths), lengths
