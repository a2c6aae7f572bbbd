"""Language models that are read layer by layer and carry their state from window to window.

Two bases with the same methods. `AWDLSTM` is that of Merity, Keskar, Socher, Regularizing and Optimizing
LSTM Language Models, ICLR 2018, arXiv:1708.02182, with the mixture of softmaxes of arXiv:1711.03953; with
one layer and no experts it is a plain LSTM (`plain_lstm`). `TransformerLM` is a small decoder with a
memory (Dai et al. 2019, arXiv:1901.02860) and attention that fades with distance (Press, Smith, Lewis
2022, arXiv:2108.12409), so that it needs no positions.

    read(tokens (B, T), state, generator) -> Reading      what stands before position t tells token t + 1
    loss(output (B, T, H), targets (B, T)) -> MixtureLoss
    start(n) -> state, step(tokens (R,), state) -> log-probabilities (R, V), state
    pooling, feature_width                                how a sentence's layers are best summed up

The embedding is also the softmax's weight. Dropout is drawn from the generator that is passed, and there
is none where none is passed.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.nets.lstm import dropout
from dgm.nets.mixture_of_softmaxes import MixtureLoss, mixture_log_probs, mixture_of_softmaxes_nll
from dgm.precision import run_lstm


class Dropouts(NamedTuple):
    """Shares that are set to zero; the defaults are those for Penn Treebank."""

    output: float = 0.4  # of the last layer's states
    hidden: float = 0.225  # of the other layers' states
    input: float = 0.4  # of the embedded tokens
    embedding: float = 0.1  # of the vocabulary, whole words
    latent: float = 0.29  # of the experts' vectors
    weight: float = 0.5  # of the weights from state to state


class Reading(NamedTuple):
    """What a model makes of tokens (B, T).

    Attributes:
        layers: the layers' states (B, T, H_l) with dropout, but the last one without.
        output: (B, T, H), the last one with dropout, which the softmax reads.
        state: what the next window starts from, rows first; no gradient goes back through it.
    """

    layers: tuple[Tensor, ...]
    output: Tensor
    state: Any


class TiedHead(nn.Module):
    """From states to words, over the rows of an embedding that the model owns.

    Args:
        vocabulary_size: V.
        embedding: E.
        inputs: H, width of the states.
        experts: K; 0 is a plain softmax of the states, whose width must then be E.
        latent_dropout: share of the experts' vectors that is dropped, the same at all positions.
    """

    def __init__(
        self, vocabulary_size: int, embedding: int, inputs: int, experts: int, latent_dropout: float
    ) -> None:
        super().__init__()
        if experts == 0 and inputs != embedding:
            raise ValueError(
                f"without experts the states ({inputs}) must be as wide as the embedding ({embedding})"
            )
        self.dropout = latent_dropout
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        if experts:
            self.prior = nn.Linear(inputs, experts, bias=False)
            self.latent = nn.Linear(inputs, experts * embedding)

    def experts(
        self, states: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """States (B, T, H) -> the experts' vectors (B, T, K, E) and their log-shares (B, T, K)."""
        if not hasattr(self, "prior"):
            return states[:, :, None], states.new_zeros(*states.shape[:2], 1)
        log_prior = torch.log_softmax(self.prior(states), -1)
        latent = locked_dropout(torch.tanh(self.latent(states)), self.dropout, generator)
        return latent.unflatten(-1, (log_prior.shape[-1], -1)), log_prior

    def loss(
        self,
        embedding: Tensor,
        states: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> MixtureLoss:
        """As `mixture_of_softmaxes_nll`, for states (B, T, H), targets and weights (B, T)."""
        if states.shape[:2] != targets.shape or (
            weights is not None and weights.shape != targets.shape
        ):
            raise ValueError(
                f"states {(*states.shape,)} want targets and weights {(*states.shape[:2],)}, got "
                f"{(*targets.shape,)}" + ("" if weights is None else f" and {(*weights.shape,)}")
            )
        if weights is not None:
            inside = weights != 0
            # Leaving these positions out of the result alone would leave 0 * NaN in the gradient.
            states = states.masked_fill(~inside[..., None], 0)
        latent, log_prior = self.experts(states, generator)
        if weights is None:
            parts = latent.flatten(0, 1), log_prior.flatten(0, 1), embedding, self.bias
            total, tokens = mixture_of_softmaxes_nll(*parts, targets.flatten())
            return MixtureLoss(total, tokens.view_as(targets))
        total, nll = mixture_of_softmaxes_nll(
            latent[inside],
            log_prior[inside],
            embedding,
            self.bias,
            targets[inside],
            weights=weights[inside],
        )
        tokens = nll.new_zeros(targets.shape)
        tokens[inside] = nll
        return MixtureLoss(total, tokens)

    def log_probs(self, embedding: Tensor, states: Tensor) -> Tensor:
        """States (R, H) -> log-probabilities (R, V)."""
        latent, log_prior = self.experts(states[:, None])
        return mixture_log_probs(latent[:, 0], log_prior[:, 0], embedding, self.bias)


class AWDLSTM(nn.Module):
    """Stacked LSTMs with weight drop, variational dropout, a tied embedding and a mixture of softmaxes.

    Args:
        vocabulary_size: V.
        embedding: E.
        hidden: width of all layers but the last.
        last: width of the last layer.
        layers: how many.
        experts: K of the mixture; 0 is a plain softmax, which wants last = embedding.
        dropouts: shares.

    Raises:
        ValueError: no layer, or a plain softmax of states of another width.
    """

    pooling = "max"

    def __init__(
        self,
        vocabulary_size: int,
        embedding: int,
        hidden: int,
        last: int,
        layers: int = 3,
        experts: int = 15,
        dropouts: Dropouts = Dropouts(),  # noqa: B008
    ) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be 1 or more, got {layers}")
        self.dropouts = dropouts
        self.embedding = _embedding(vocabulary_size, embedding)
        widths = [embedding, *[hidden] * (layers - 1), last]
        self.lstms = nn.ModuleList(
            nn.LSTM(a, b, batch_first=True) for a, b in itertools.pairwise(widths)
        )
        self.feature_width = sum(widths[1:])
        self.head = TiedHead(vocabulary_size, embedding, last, experts, dropouts.latent)

    def read(
        self, tokens: Tensor, state: Any = None, generator: torch.Generator | None = None
    ) -> Reading:
        """Reads tokens (B, T) on from a state; None is the start of a text."""
        state = self.start(len(tokens)) if state is None else state
        rates, x = self.dropouts, self.embedding(tokens)
        if generator is not None:
            kept = dropout(x.new_ones(len(self.embedding.weight), 1), rates.embedding, generator)
            x = locked_dropout(x * kept[tokens], rates.input, generator)
        layers, states = [], []
        for i, (lstm, before) in enumerate(zip(self.lstms, state, strict=True)):
            last = i == len(self.lstms) - 1
            raw, after = _weight_dropped(lstm, x, before, rates.weight, generator)
            x = locked_dropout(raw, rates.output if last else rates.hidden, generator)
            layers.append(raw if last else x)
            states.append(after)
        return Reading(tuple(layers), x, tuple(states))

    def loss(
        self,
        output: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> MixtureLoss:
        """See `TiedHead.loss`."""
        return self.head.loss(self.embedding.weight, output, targets, weights, generator)

    def start(self, n: int) -> tuple[tuple[Tensor, Tensor], ...]:
        """The state (h, c), (n, H_l) each, of every layer before the first token."""
        weight = self.embedding.weight
        return tuple((weight.new_zeros(n, lstm.hidden_size),) * 2 for lstm in self.lstms)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token (R,) a row -> log-probabilities (R, V) of the next, and the state after it."""
        reading = self.read(tokens[:, None], state)
        return self.head.log_probs(self.embedding.weight, reading.output[:, 0]), reading.state


def plain_lstm(vocabulary_size: int, width: int, rate: float = 0.5, layers: int = 1) -> AWDLSTM:
    """A tied LSTM with one softmax, and locked dropout before, between and after its layers."""
    rates = Dropouts(rate, rate, rate, 0.0, 0.0, 0.0)
    return AWDLSTM(vocabulary_size, width, width, width, layers, 0, rates)


class TransformerLM(nn.Module):
    """A small transformer decoder, normalised first, that remembers a window's layers for the next.

    Args:
        vocabulary_size: V.
        width: of tokens and states.
        layers: blocks.
        heads: of attention; they share the width.
        context: how many tokens a position attends to, itself counted; what lies farther back comes
            through the layers only.
        rate: of dropout.

    Raises:
        ValueError: sizes that do not fit.
    """

    pooling = "mean"

    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        layers: int = 2,
        heads: int = 4,
        context: int = 128,
        rate: float = 0.1,
    ) -> None:
        super().__init__()
        if layers < 1 or context < 1 or heads < 1 or width % heads:
            raise ValueError(
                f"width={width}, layers={layers}, heads={heads}, context={context}: want all 1 or more, and "
                "a width that the heads can share"
            )
        self.context, self.rate = context, rate
        self.embedding = _embedding(vocabulary_size, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.feature_width = layers * width
        self.head = TiedHead(vocabulary_size, width, width, 0, 0.0)

    def read(
        self, tokens: Tensor, state: Any = None, generator: torch.Generator | None = None
    ) -> Reading:
        """Reads tokens (B, T) on from a state; None is the start of a text."""
        state = self.start(len(tokens)) if state is None else state
        scale = math.sqrt(self.embedding.embedding_dim)
        x = dropout(self.embedding(tokens) * scale, self.rate, generator)
        layers, states = [], []
        for block, before in zip(self.blocks, state, strict=True):
            seen = torch.cat([before.detach(), x], 1)
            start = max(0, seen.shape[1] - self.context + 1)
            states.append(seen[:, start:].detach())
            x = block(x, seen, self.context, self.rate, generator)
            layers.append(x)
        layers[-1] = self.norm(x)
        output = dropout(layers[-1], self.rate, generator)
        return Reading(tuple(layers), output, tuple(states))

    def loss(
        self,
        output: Tensor,
        targets: Tensor,
        weights: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> MixtureLoss:
        """See `TiedHead.loss`."""
        return self.head.loss(self.embedding.weight, output, targets, weights, generator)

    def start(self, n: int) -> tuple[Tensor, ...]:
        """What each layer has seen before the first token: nothing, (n, 0, width)."""
        weight = self.embedding.weight
        return tuple(weight.new_zeros(n, 0, weight.shape[1]) for _ in self.blocks)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token (R,) a row -> log-probabilities (R, V) of the next, and the state after it."""
        reading = self.read(tokens[:, None], state)
        return self.head.log_probs(self.embedding.weight, reading.output[:, 0]), reading.state


class _Block(nn.Module):
    """Attention over what is seen, then two layers, each added to what was there."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.query, self.mix = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(
        self,
        x: Tensor,
        seen: Tensor,
        context: int,
        rate: float,
        generator: torch.Generator | None,
    ) -> Tensor:
        """X (B, T, width) attends to the seen (B, M + T, width), whose last T are x itself."""

        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        t, all_seen = x.shape[1], seen.shape[1]
        place = torch.arange(all_seen, device=x.device)
        distance = place[all_seen - t :, None] - place
        slope = 2.0 ** (-8.0 * torch.arange(1, self.heads + 1, device=x.device) / self.heads)
        fading = -slope[:, None, None] * distance
        fading = fading.masked_fill((distance < 0) | (distance >= context), -math.inf).to(x.dtype)
        key, value = (split(y) for y in self.key_value(self.norms[0](seen)).chunk(2, -1))
        query = split(self.query(self.norms[0](x)))
        found = functional.scaled_dot_product_attention(query, key, value, attn_mask=fading)
        x = x + dropout(self.mix(found.transpose(1, 2).flatten(2)), rate, generator)
        risen = functional.gelu(self.rise(self.norms[1](x)))
        return x + dropout(self.fall(risen), rate, generator)


def locked_dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """Dropout of x (B, T, H) with one mask a row for all positions: Gal and Ghahramani 2016."""
    if generator is None or rate == 0:
        return x
    return x * dropout(torch.ones_like(x[:, :1]), rate, generator)


def window_length(
    generator: torch.Generator, base: int = 70, most: int | None = None, least: int = 5
) -> int:
    """The length of the next window of training: about base, one time in twenty about half of it.

    Windows that end at ever other places show every token with ever other pasts. Merity et al. 2018
    also scale the learning rate with length / base.

    Args:
        generator: on the CPU.
        base: the mean, whose spread is 5.
        most: the longest; None is base + 40.
        least: the shortest.
    """
    most = base + 40 if most is None else most
    if not 1 <= least <= most:
        raise ValueError(f"least={least}, most={most}: want 1 <= least <= most")
    half = float(torch.rand((), generator=generator)) >= 0.95
    mean = base / 2 if half else float(base)
    drawn = round(mean + 5 * float(torch.randn((), generator=generator)))
    return min(max(drawn, least), most)


def no_gain(losses: Sequence[float], patience: int) -> bool:
    """Whether the newest validation loss is above the best of all but the `patience` before it.

    The non-monotone trigger of Merity et al. 2018: with 10, when to begin averaging; with 5, when to stop.

    Args:
        losses: one a measurement, oldest first.
        patience: 1 or more; before patience + 2 losses the answer is no.

    Raises:
        ValueError: a patience below 1, or losses that are not finite.
    """
    if patience < 1 or not all(math.isfinite(loss) for loss in losses):
        raise ValueError(f"want patience >= 1 and finite losses, got {patience} and {losses}")
    return len(losses) > patience + 1 and losses[-1] > min(losses[: -1 - patience])


def _weight_dropped(
    lstm: nn.LSTM,
    x: Tensor,
    state: tuple[Tensor, Tensor],
    rate: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """An LSTM some of whose weights from state to state are gone, the same ones at all positions."""
    before = tuple(y.detach()[None] for y in state)
    if generator is None or rate == 0:
        found, after = run_lstm(lstm, x, before)
    else:
        # An assignment to the module's weight would not reach the copy that it computes with.
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = [getattr(lstm, name) for name in names]
        weights[1] = dropout(weights[1], rate, generator)
        options = True, 1, 0.0, torch.is_grad_enabled(), False, True
        found, *after = run_lstm(
            lambda x, state: torch.lstm(x, state, weights, *options), x, before
        )
    return found, tuple(y[0].detach() for y in after)


def _embedding(vocabulary_size: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(vocabulary_size, width)
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    return embedding
