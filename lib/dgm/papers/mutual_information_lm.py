"""Cao, Xu: Better Long-Range Dependency By Bootstrapping A Mutual Information Regularizer.

AISTATS 2020, PMLR 108, http://proceedings.mlr.press/v108/cao20a.html, arXiv:1905.11978. The paper's body
was not to be had: what follows stands on its abstract, its released code, and derivations that the tests
check. X and Y are neighbouring sentences of a text, and a critic gives a pair the score T(x, y). Their
mutual information I has for every T the bounds, of which only the third is a loss,

    I >= E_XY T - log E_X E_Y e^T                       Donsker and Varadhan                (1)
    I >= E_XY T - E_X E_Y e^(T - 1)                     Nguyen, Wainwright, Jordan          (2)
    L_D = E_XY softplus(-T) + E_X E_Y softplus(T) >= 2 log 2 - 2 JSD                        (3)
    I >= log N + E [T_ii - log sum_j e^(T_ij)]          InfoNCE, on N pairs at a time       (4)

(3) is next-sentence prediction; at its least T = log p(x, y) / p(x) p(y), which makes (1) equal I. The
critic reads the language model's own states, each sentence from an empty one, and both orders of a pair:

    r(s) = [max_t h^1_t; ...; max_t h^L_t],   a = r(x), b = r(y)                            (5)
    T = (F(a, b) + G(b, a)) / 2,   F(a, b) = MLP [a; b; a - b; a b; |a - b|]                 (6)

Phase I trains both together, and phase II also makes the model likelier to write what the critic says
belongs, at no generated but real sentences y, k + 1 places after x:

    L = L_LM + lambda_1 L_D                                                                 (7)
    L_LM = -mean log p(s_t | s_<t) + alpha mean (drop h)^2 + beta mean (h_(t+1) - h_t)^2    (8)
    P(k) = p (1 - p)^k, k = 0, 1, ... to the text's end                                     (9)
    w_b = softmax_b [(T(x_b, y_b) - T(x_b, next of x_b)) / tau - log P(k_b)]                (10)
    L = L_LM + lambda_1 L_D + lambda_2 sum_b w_b NLL(y_b after x_b)                         (11)

with NLL the mean over the tokens of y_b after its first, and no gradient through w. In the released code
both (5) and the state after x_b include the padding; `leak=True` does as it does. In nats.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from dgm.nets.language_models import AWDLSTM, Dropouts, TransformerLM
from dgm.nets.lstm import dropout, without_padding
from dgm.nets.mixture_of_softmaxes import mixture_of_softmaxes_nll
from dgm.nets.pooling import pool

__all__ = [
    "BASES",
    "BootstrapTerms",
    "Draw",
    "LikelihoodTerms",
    "Perplexity",
    "Retrieval",
    "SegmentCritic",
    "Segments",
    "activation_penalties",
    "bootstrap_objective",
    "critic_scores",
    "discrete_information",
    "distractors",
    "donsker_varadhan",
    "draw_pairs",
    "geometric_successors",
    "info_nce",
    "information_by_distance",
    "jensen_shannon_loss",
    "likelihood_objective",
    "mixture_of_softmaxes_nll",
    "nwj",
    "perplexity",
    "raml_weights",
    "retrieval",
    "rows_of",
    "segment_features",
    "segments_of",
    "stream_of",
    "write_on",
]

LanguageModel = AWDLSTM | TransformerLM  # their methods are all that is used
BASES = {
    "ptb": (280, 960, 620, 3, 15, Dropouts()),
    "wikitext-2": (300, 1150, 650, 3, 15, Dropouts(0.4, 0.2, 0.55, 0.1, 0.29, 0.5)),
}
"""What `AWDLSTM` takes after the size of the vocabulary, as in the released recipes."""


# Bounds


def donsker_varadhan(joint: Tensor, product: Tensor, *, validate: bool = True) -> Tensor:
    """Equation (1), nats: of a large sample, since that of a small one is too high on average.

    Args:
        joint: (N,) scores of pairs that belong together.
        product: (M,) scores of independent pairs.
        validate: look for scores that are not finite.

    Returns:
        A scalar, CPU float64.

    Raises:
        ValueError: no score, another shape, or scores that are not finite (-inf is allowed in product).
    """
    joint, product = _scores(joint, product, validate)
    return joint.mean() - (torch.logsumexp(product, 0) - math.log(len(product)))


def nwj(joint: Tensor, product: Tensor, *, validate: bool = True) -> Tensor:
    """Equation (2), nats: never above (1), and equal to it where E e^(T - 1) = 1; takes the same."""
    joint, product = _scores(joint, product, validate)
    return joint.mean() - torch.exp(product - 1).mean()


def jensen_shannon_loss(joint: Tensor, product: Tensor) -> Tensor:
    """Equation (3), a scalar with gradient; joint is (N,), product (M,)."""
    _check_scores(joint, product)
    return softplus(-joint).mean() + softplus(product).mean()


def info_nce(scores: Tensor, *, validate: bool = True) -> Tensor:
    """Equation (4), nats: at most log N whatever the scores.

    Args:
        scores: (N, N), row i the scores of x_i with every y_j; its own is on the diagonal.
        validate: look for scores that are not finite.

    Returns:
        A scalar, CPU float64.

    Raises:
        ValueError: another shape, or scores that are not finite (-inf is allowed off the diagonal).
    """
    if scores.ndim != 2 or len(scores) == 0 or scores.shape[0] != scores.shape[1]:
        raise ValueError(f"scores must be (N, N) with N at least 1, got {(*scores.shape,)}")
    _scores(scores.diagonal(), scores.flatten(), validate)
    scores = scores.detach().to("cpu", torch.float64)
    own = scores.diagonal() - torch.logsumexp(scores, 1)
    return math.log(len(scores)) + own.mean()


# Critic


class SegmentCritic(nn.Module):
    """Equation (6): how well one sentence follows another.

    Args:
        features: D, width of a sentence's features.
        hidden: width of the hidden layer of both networks.
        hidden_dropout: share of it that is dropped where a generator is passed.
        input_dropout: share of the five-fold input that is dropped.
    """

    def __init__(
        self,
        features: int,
        hidden: int = 300,
        hidden_dropout: float = 0.3,
        input_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.rates = input_dropout, hidden_dropout
        self.forwards, self.backwards = (
            nn.ModuleList([nn.Linear(5 * features, hidden), nn.Linear(hidden, 1)]) for _ in range(2)
        )
        for layer in (*self.forwards, *self.backwards):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, first: Tensor, second: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Features (..., D) of sentences and of what may follow each -> scores (...)."""
        first, second = torch.broadcast_tensors(first, second)
        there = self._side(self.forwards, first, second, generator)
        return (there + self._side(self.backwards, second, first, generator)) / 2

    def _side(
        self, layers: nn.ModuleList, a: Tensor, b: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        difference = a - b
        pair = torch.cat([a, b, difference, a * b, difference.abs()], -1)
        hidden = torch.relu(layers[0](dropout(pair, self.rates[0], generator)))
        return layers[1](dropout(hidden, self.rates[1], generator)).squeeze(-1)


# Sentences and pairs of them


class Segments(NamedTuple):
    """The M sentences of a text, in order.

    Attributes:
        tokens: (M, L) int64, each ends in the text's end marker if it was not cut, then padding.
        lengths: (M,) int64, at least 2, the end marker counted.
    """

    tokens: Tensor
    lengths: Tensor


def segments_of(
    sentences: Sequence[Sequence[int]], end: int, padding: int, longest: int = 40
) -> Segments:
    """Sentences' ids as one table; what is beyond `longest` tokens, the end marker counted, is cut off.

    Args:
        sentences: ids without a marker; empty ones are left out.
        end: the marker that ends each.
        padding: what stands behind; the released code has the unknown word there.
        longest: L, at least 2, and the table's width whatever its rows need.

    Raises:
        ValueError: fewer than three sentences with a word, or `longest` below 2.
    """
    rows = [[*ids[: longest - 1], end] for ids in sentences if len(ids)]
    if len(rows) < 3 or longest < 2:
        raise ValueError(
            f"{len(rows)} sentences with a word, longest={longest}: want 3 or more, and 2 or more"
        )
    lengths = torch.tensor([len(row) for row in rows])
    tokens = torch.full((len(rows), longest), padding)
    inside = torch.arange(longest) < lengths[:, None]
    tokens[inside] = torch.tensor([t for row in rows for t in row])
    return Segments(tokens, lengths)


def stream_of(sentences: Sequence[Sequence[int]], end: int) -> Tensor:
    """The text as one row of ids, (N,): an end marker, then each sentence with its own."""
    return torch.tensor([end, *(t for ids in sentences for t in (*ids, end))])


def rows_of(stream: Tensor, rows: int) -> Tensor:
    """A stream (N,) as consecutive rows (rows, n + 1); a row's last token is the next one's first.

    What does not fill a row, less than `rows` tokens, is left out.

    Raises:
        ValueError: a stream that is too short for two tokens a row.
    """
    n = (len(stream) - 1) // rows if rows > 0 and stream.ndim == 1 else 0
    if n < 1:
        raise ValueError(
            f"a text {(*stream.shape,)} in {rows} rows: want (N,) with N above the rows"
        )
    return stream[: n * rows + 1].unfold(0, n + 1, n)


class Draw(NamedTuple):
    """B sentences and what is set beside each, as places in the text, (B,) each."""

    anchor: Tensor
    following: Tensor
    other: Tensor
    sampled: Tensor
    log_distance_prob: Tensor  # nats, float64


def draw_pairs(n_segments: int, n: int, generator: torch.Generator, p: float = 0.3) -> Draw:
    """Draws anchors evenly among the sentences that have a next one, with their company.

    Args:
        n_segments: M, at least 3.
        n: B.
        generator: also says on which device.
        p: of equation (9).
    """
    if n_segments < 3 or n < 1:
        raise ValueError(f"n_segments={n_segments}, n={n}: want 3 or more, and 1 or more")
    device = generator.device
    anchor = torch.randint(n_segments - 1, (n,), generator=generator, device=device)
    other = distractors(anchor, n_segments, 1, generator)[:, 0]
    sampled, log_prob = geometric_successors(anchor, n_segments, p, generator)
    return Draw(anchor, anchor + 1, other, sampled, log_prob)


def distractors(
    anchor: Tensor, n_segments: int, n: int, generator: torch.Generator, *, near: int | None = None
) -> Tensor:
    """Places (B, n) of sentences that are neither the anchors (B,) nor what follows them, evenly drawn.

    Args:
        anchor: (B,) places below M - 1.
        n_segments: M, at least 3.
        n: for each anchor; one sentence may come twice.
        generator: on the anchors' device.
        near: None draws from the whole text; a number, for hard ones, at most that many places before the
            anchor or behind what follows it.
    """
    if n_segments < 3 or n < 1 or (near is not None and near < 1):
        raise ValueError(
            f"n_segments={n_segments}, n={n}, near={near}: want at least 3, 1 and 1 (or None)"
        )
    reach = n_segments if near is None else near
    low = (anchor - reach).clamp(min=0)
    high = (anchor + 1 + reach).clamp(max=n_segments - 1)
    shape = (len(anchor), n)
    u = torch.rand(shape, generator=generator, device=anchor.device, dtype=torch.float64)
    place = low[:, None] + (u * (high - low - 1)[:, None]).long()
    return place + 2 * (place >= anchor[:, None])


def geometric_successors(
    anchor: Tensor, n_segments: int, p: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Equation (9): places (B,) k + 1 after the anchors (B,), and log P(k), float64 nats.

    Near the text's end P is what is left of the geometric law, brought to sum to one.
    """
    if not 0 < p < 1:
        raise ValueError(f"p must be between 0 and 1, got {p}")
    left = (n_segments - 1 - anchor).double()
    if len(anchor) == 0 or n_segments < 2:
        raise ValueError(f"{len(anchor)} anchors of {n_segments} sentences: want 1 and 2 or more")
    u = torch.rand(left.shape, generator=generator, device=left.device, dtype=torch.float64)
    rate = math.log1p(-p)
    log_mass = torch.log(-torch.expm1(rate * left))
    k = torch.floor(torch.log1p(-u * log_mass.exp()) / rate).clamp(max=left - 1)
    return anchor + 1 + k.long(), k * rate + math.log(p) - log_mass


# Objectives


class LikelihoodTerms(NamedTuple):
    """Equation (8) and its parts before weighting, scalars, and the state after the window."""

    value: Tensor
    nll: Tensor  # nats a token
    activation: Tensor
    slowness: Tensor
    state: Any


def activation_penalties(output: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
    """The penalties of equation (8): output (B, T, H) is with dropout, states (B, T, H) are without."""
    steps = states[:, 1:] - states[:, :-1]
    return output.square().mean(), steps.square().mean() if steps.numel() else steps.sum()


def likelihood_objective(
    model: LanguageModel,
    tokens: Tensor,
    state: Any,
    generator: torch.Generator | None,
    *,
    activation: float = 2.0,
    slowness: float = 1.0,
) -> LikelihoodTerms:
    """Equation (8) on a window of a text, with gradient.

    Args:
        model: the language model.
        tokens: (B, T + 1), T at least 1: the window, and the token after it.
        state: what the last window left; None at the start.
        generator: of dropout; None for none.
        activation: alpha.
        slowness: beta.
    """
    if tokens.ndim != 2 or tokens.shape[1] < 2:
        raise ValueError(f"tokens must be (B, T + 1) with T at least 1, got {(*tokens.shape,)}")
    reading = model.read(tokens[:, :-1], state, generator)
    nll = model.loss(reading.output, tokens[:, 1:], None, generator).total
    size, step = activation_penalties(reading.output, reading.layers[-1])
    value = nll + activation * size + slowness * step
    return LikelihoodTerms(value, nll, size, step, reading.state)


class BootstrapTerms(NamedTuple):
    """What equations (7) and (11) add to the likelihood, and its parts before weighting, scalars."""

    value: Tensor
    critic: Tensor  # equation (3)
    accuracy: Tensor  # share of anchors whose next sentence scores above the other one
    augmented: Tensor  # the last sum of equation (11); 0 in phase I
    effective: Tensor  # 1 / sum_b w_b^2, of B; 0 in phase I


def bootstrap_objective(
    model: LanguageModel,
    critic: SegmentCritic,
    segments: Segments,
    draw: Draw,
    generator: torch.Generator | None,
    *,
    critic_weight: float = 0.1,
    augmented_weight: float = 0.0,
    temperature: float = 1.0,
    leak: bool = False,
    detach: bool = False,
) -> BootstrapTerms:
    """The regulariser of phase I, and of phase II where augmented_weight is above 0, with gradient.

    All sentences that the critic compares go through the model together; those of phase II go through
    once more, each behind its anchor. Clip the model's gradient and the critic's apart, or the weight of
    one is confounded with the other's.

    Args:
        model: the language model.
        critic: of the model's `feature_width`.
        segments: the text's sentences.
        draw: from `draw_pairs`.
        generator: of dropout, the model's and the critic's; None for none.
        critic_weight: lambda_1.
        augmented_weight: lambda_2; at 0 the second pass is left out.
        temperature: tau.
        leak: read the padding as if it were words, as the released code does.
        detach: keep the critic's gradient from the model, as a control.
    """
    places = [draw.anchor, draw.following, draw.other]
    phase_two = augmented_weight > 0
    places += [draw.sampled] * phase_two
    read = _features(model, segments, torch.cat(places), generator, leak)
    if detach:
        read = read.detach()
    first, following, other, *sampled = read.chunk(len(places))
    joint, product = critic(first, following, generator), critic(first, other, generator)
    loss = jensen_shannon_loss(joint, product)
    accuracy = (joint > product).to(loss.dtype).mean()
    value, zero = critic_weight * loss, loss.new_zeros(())
    if not phase_two:
        return BootstrapTerms(value, loss, accuracy, zero, zero)
    with torch.no_grad():
        score = critic(first, sampled[0], generator)
        weights = raml_weights(
            score, joint, draw.log_distance_prob, temperature, validate=False
        ).to(loss.dtype)
    augmented = _continuation(model, segments, draw, weights, generator, leak)
    effective = 1 / weights.square().sum()
    return BootstrapTerms(
        value + augmented_weight * augmented, loss, accuracy, augmented, effective
    )


def raml_weights(
    sampled: Tensor,
    following: Tensor,
    log_distance_prob: Tensor,
    temperature: float = 1.0,
    *,
    validate: bool = True,
) -> Tensor:
    """Equation (10): what each sampled sentence counts in a batch.

    Args:
        sampled: (B,) scores T of anchors with what was sampled for them.
        following: (B,) scores with what really follows.
        log_distance_prob: (B,) log P(k), any real numbers.
        temperature: tau, above 0.
        validate: look for values that are not finite, which waits for the device.

    Returns:
        (B,) summing to one, without gradient, at least float32.

    Raises:
        ValueError: shapes that differ, no sentence, a temperature that is not above 0, or values that are
            not finite, as those of a critic that has diverged.
    """
    shapes = [(*x.shape,) for x in (sampled, following, log_distance_prob)]
    if sampled.ndim != 1 or len(sampled) == 0 or len(set(shapes)) > 1:
        raise ValueError(f"want three rows (B,) of one length, at least 1, got {shapes}")
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
    with torch.no_grad():
        gain = sampled.double() - following.double()
        log_prob = log_distance_prob.double()
        if validate and not (torch.isfinite(gain).all() and torch.isfinite(log_prob).all()):
            raise ValueError(
                "a score is not finite: the critic has diverged (or log_distance_prob)"
            )
        # Only differences count; so no score over a small temperature overflows upwards.
        weights = torch.softmax((gain - gain.max()) / temperature - log_prob, 0)
    return weights if sampled.dtype == torch.float64 else weights.float()


def _features(
    model: LanguageModel,
    segments: Segments,
    places: Tensor,
    generator: torch.Generator | None,
    leak: bool,
) -> Tensor:
    """Equation (5) of the sentences at places (B,): (B, D)."""
    tokens, lengths = _padded(segments, places, leak)
    reading = model.read(tokens, None, generator)
    mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
    pooled = [pool(h, mask, model.pooling, validate=False) for h in reading.layers]
    return torch.cat(pooled, 1)


def _padded(segments: Segments, places: Tensor, leak: bool) -> tuple[Tensor, Tensor]:
    """Sentences and how much of them is read; on a CPU no longer than the longest."""
    tokens, lengths = segments.tokens[places], segments.lengths[places]
    if leak:
        return tokens, torch.full_like(lengths, tokens.shape[1])
    if tokens.device.type == "cpu":
        tokens = tokens[:, : int(lengths.max())]
    return without_padding(tokens, lengths), lengths


def _continuation(
    model: LanguageModel,
    segments: Segments,
    draw: Draw,
    weights: Tensor,
    generator: torch.Generator | None,
    leak: bool,
) -> Tensor:
    """The sum of equation (11); an anchor and what was sampled for it are read as one row."""
    first, n_first = _padded(segments, draw.anchor, leak)
    second, n_second = _padded(segments, draw.sampled, False)
    both = torch.cat([first, second], 1)
    place = torch.arange(both.shape[1], device=both.device)
    skip = (place >= n_first[:, None]) * (first.shape[1] - n_first)[:, None]
    tokens = both.gather(1, (place + skip).clamp(max=both.shape[1] - 1))
    start, stop = n_first[:, None], (n_first + n_second)[:, None]
    counted = (place > start) & (place < stop)
    each = (weights / (n_second - 1))[:, None] * counted
    reading = model.read(tokens[:, :-1], None, generator)
    return model.loss(reading.output, tokens[:, 1:], each[:, 1:], generator).total


# Measures


class Perplexity(NamedTuple):
    """How well a model predicts a text."""

    perplexity: float
    nll: float  # nats a token
    tokens: int  # of which it is the mean


@torch.no_grad()
def perplexity(
    model: LanguageModel, stream: Tensor, *, window: int = 70, rows: int = 1
) -> Perplexity:
    """exp of the loss summed over all tokens but the first, over their number; dropout is off.

    Args:
        model: its state is carried from window to window, so that for a model with state the window
            changes nothing; one longer than the text reads it at once.
        stream: (N,) ids.
        window: tokens that are read at a time.
        rows: the text is read as that many texts side by side, which is faster, and worse at their starts.

    Raises:
        ValueError: a text of fewer than two tokens a row, or a window below 1.
    """
    if window < 1:
        raise ValueError(f"window must be 1 or more, got {window}")
    table, state = rows_of(stream, rows), None
    total, n = 0.0, table.shape[1] - 1
    for start in range(0, n, window):
        part = table[:, start : min(start + window, n) + 1]
        reading = model.read(part[:, :-1], state)
        state = reading.state
        total += float(model.loss(reading.output, part[:, 1:]).tokens.double().sum())
    mean = total / (n * rows)
    return Perplexity(math.exp(mean) if mean < 700 else math.inf, mean, n * rows)


@torch.no_grad()
def segment_features(
    model: LanguageModel, segments: Segments, *, leak: bool = False, rows: int = 256
) -> Tensor:
    """Equation (5) of all sentences, (M, D), without dropout, in the model's precision."""
    places = torch.arange(len(segments.lengths), device=segments.lengths.device)
    return torch.cat([_features(model, segments, p, None, leak) for p in places.split(rows)])


@torch.no_grad()
def critic_scores(
    critic: SegmentCritic, features: Tensor, first: Tensor, second: Tensor, rows: int = 1024
) -> Tensor:
    """Scores of pairs of places, without dropout.

    Args:
        critic: the critic.
        features: (M, D) from `segment_features`.
        first: (N,) places.
        second: (N,), or (N, C) with several for each.
        rows: pairs at a time.

    Returns:
        As second, CPU float64.
    """
    if first.ndim != 1 or second.shape[:1] != first.shape or second.ndim > 2:
        raise ValueError(
            f"want places (N,) and (N,) or (N, C), got {(*first.shape,)}, {(*second.shape,)}"
        )
    left = first.reshape(-1, *[1] * (second.ndim - 1)).expand_as(second).flatten()
    pairs = zip(left.split(rows), second.flatten().split(rows), strict=True)
    found = torch.cat([critic(features[a], features[b]) for a, b in pairs])
    return found.view(second.shape).to("cpu", torch.float64)


class Retrieval(NamedTuple):
    """How the next sentence fares among others, (N,) CPU float64 each; ties count by halves or shares."""

    first: Tensor  # 1 where it scores highest; 1 / (ties + 1) where it ties
    above: Tensor  # share of the others that it scores above
    reciprocal_rank: Tensor


def retrieval(following: Tensor, others: Tensor) -> Retrieval:
    """Ranks the scores (N,) of what really follows among the scores (N, C) of what does not."""
    if (
        following.ndim != 1
        or others.ndim != 2
        or len(others) != len(following)
        or not others.numel()
    ):
        raise ValueError(
            f"want scores (N,) and (N, C) with N and C at least 1, got {(*following.shape,)} and "
            f"{(*others.shape,)}"
        )
    _scores(following, others.flatten(), True)
    following, others = (x.detach().to("cpu", torch.float64) for x in (following, others))
    more = (others > following[:, None]).double().sum(1)
    ties = (others == following[:, None]).double().sum(1)
    first = torch.where(more == 0, 1 / (1 + ties), 0.0)
    above = 1 - (more + ties / 2) / others.shape[1]
    return Retrieval(first, above, 1 / (1 + more + ties / 2))


def discrete_information(
    first: Tensor, second: Tensor, n_values: int, *, corrected: bool = True
) -> Tensor:
    """Mutual information of two rows of labels (N,) from 0 to n_values - 1, from their counts.

    Args:
        first: (N,).
        second: (N,).
        n_values: how many labels there may be.
        corrected: take off the estimate's bias to the first order (Miller 1955), after which it may be
            below 0; without it, it is the exact value of the table of counts.

    Returns:
        A scalar, nats, CPU float64.
    """
    if first.ndim != 1 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            f"want two rows of labels (N,), got {(*first.shape,)} and {(*second.shape,)}"
        )
    both = torch.stack([first, second]).cpu().long()
    if both.min() < 0 or both.max() >= n_values:
        raise ValueError(f"labels must be from 0 to {n_values - 1}")
    n = both.shape[1]
    counts = torch.bincount(both[0] * n_values + both[1], minlength=n_values**2)
    joint = counts.view(n_values, n_values).double() / n
    product = joint.sum(1, keepdim=True) * joint.sum(0)
    value = torch.xlogy(joint, joint / torch.where(joint > 0, product, 1.0)).sum()
    seen = [(p > 0).sum() for p in (joint, joint.sum(1), joint.sum(0))]
    return value - (seen[0] - seen[1] - seen[2] + 1) / (2 * n) * corrected


def information_by_distance(labels: Tensor, distances: Sequence[int], n_values: int) -> Tensor:
    """`discrete_information` of labels (N,), or (R, N) of R texts, with those some places later, (K,)."""
    labels = labels[None] if labels.ndim == 1 else labels
    if not all(1 <= k < labels.shape[1] for k in distances):
        raise ValueError(f"distances must be 1 to {labels.shape[1] - 1}, got {list(distances)}")
    pairs = [(labels[:, :-k].flatten(), labels[:, k:].flatten()) for k in distances]
    return torch.stack([discrete_information(*pair, n_values) for pair in pairs])


@torch.no_grad()
def write_on(
    model: LanguageModel,
    opening: Tensor,
    n_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Tensor:
    """Draws n_tokens after each opening (R, T), without dropout -> (R, n_tokens).

    Raises:
        ValueError: an empty opening, no token to write, or a temperature that is not above 0.
    """
    if opening.ndim != 2 or opening.numel() == 0:
        raise ValueError(
            f"the opening {(*opening.shape,)} is empty: for a text from its start give the marker that "
            "ends a sentence, which stands before every other one"
        )
    if n_tokens < 1 or not temperature > 0:
        raise ValueError(f"n_tokens={n_tokens}, temperature={temperature}: want >= 1 and > 0")
    state = model.start(len(opening))
    if opening.shape[1] > 1:
        state = model.read(opening[:, :-1], state).state
    written = [opening[:, -1]]
    for _ in range(n_tokens):
        log_probs, state = model.step(written[-1], state)
        shares = torch.softmax(log_probs / temperature, -1)
        written.append(torch.multinomial(shares, 1, generator=generator)[:, 0])
    return torch.stack(written[1:], 1)


def _check_scores(joint: Tensor, product: Tensor) -> None:
    if joint.ndim != 1 or product.ndim != 1 or len(joint) == 0 or len(product) == 0:
        raise ValueError(
            f"want scores (N,) and (M,), at least one each, got {(*joint.shape,)} and {(*product.shape,)}"
        )


def _scores(joint: Tensor, product: Tensor, validate: bool) -> tuple[Tensor, Tensor]:
    _check_scores(joint, product)
    joint, product = (x.detach().to("cpu", torch.float64) for x in (joint, product))
    if validate and not (torch.isfinite(joint).all() and (product < math.inf).all()):
        raise ValueError("a score is not finite: the critic has diverged")
    return joint, product
