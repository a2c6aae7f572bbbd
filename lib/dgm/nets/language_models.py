"""Language models that are read layer by layer and carry their state from window to window.

`AWDLSTM` is that of Merity, Keskar, Socher, ICLR 2018, arXiv:1708.02182, with the mixture of
softmaxes of arXiv:1711.03953; `TransformerLM` a small decoder with a memory (Dai et al. 2019,
arXiv:1901.02860) and attention that fades with distance (Press, Smith, Lewis 2022,
arXiv:2108.12409) instead of positions. Both have the same methods:

    read(tokens (B, T), state, generator) -> layers, output (B, T, H), of token t + 1 at t, state
    loss(output, targets (B, T), weights (B, T), generator) -> as `mixture_of_softmaxes_nll`
    start(n) -> state before the first token of n texts
    step(tokens (R,), state) -> log-probabilities (R, V) of the next tokens, state after them

The embedding is also the softmax's weight. No gradient goes back through a state.
Other shapes and settings than those named are a ValueError.
"""

import math
from collections import namedtuple
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from dgm.nets.lstm import dropout, token_embedding
from dgm.nets.mixture_of_softmaxes import mixture_log_probs, mixture_of_softmaxes_nll
from dgm.precision import run_lstm


class Dropouts(NamedTuple):
    """Shares that are set to zero; the defaults are those for Penn Treebank."""

    output: float = 0.4  # of the last layer's states
    hidden: float = 0.225  # of the other layers' states
    input: float = 0.4  # of the embedded tokens
    embedding: float = 0.1  # of the vocabulary, whole words
    latent: float = 0.29  # of the experts' vectors
    weight: float = 0.5  # of the weights from state to state


class _Reading(NamedTuple):
    """What a model makes of tokens (B, T)."""

    layers: tuple[Tensor, ...]  # (B, T, H_l) each, with dropout, but the last one without
    output: Tensor  # (B, T, H), the last one with dropout, which the softmax reads
    state: Any  # what the next window starts from, rows first


class _TiedHead(nn.Module):
    """From states of width H to words, by `experts` softmaxes, or one where H = E, of (V, E)."""

    def __init__(
        self, vocabulary_size: int, embedding: int, inputs: int, experts: int, latent_dropout: float
    ) -> None:
        super().__init__()
        if experts == 0 and inputs != embedding:
            raise ValueError(f"without experts inputs={inputs} must be as wide as the {embedding=}")
        self.dropout, self.n_experts = latent_dropout, experts
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        if experts:
            self.prior = nn.Linear(inputs, experts, bias=False)
            self.latent = nn.Linear(inputs, experts * embedding)

    def experts(self, states: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """States (B, T, H) -> the experts' vectors (B, T, K, E) and their log-shares (B, T, K)."""
        if not self.n_experts:
            return states[:, :, None], states.new_zeros(*states.shape[:2], 1)
        log_prior = torch.log_softmax(self.prior(states), -1)
        latent = _locked_dropout(torch.tanh(self.latent(states)), self.dropout, generator)
        return latent.unflatten(-1, (log_prior.shape[-1], -1)), log_prior

    def log_probs(self, embedding: Tensor, states: Tensor) -> Tensor:
        """States (R, H) -> log-probabilities (R, V)."""
        latent, log_prior = (x[:, 0] for x in self.experts(states[:, None]))
        return mixture_log_probs(latent, log_prior, embedding, self.bias)


def _loss(self, output: Tensor, targets: Tensor, weights=None, generator=None):
    shape = output.shape[:2]
    if targets.shape != shape or (weights is not None and weights.shape != shape):
        shapes = [(*x.shape,) for x in (targets, weights) if x is not None]
        raise ValueError(f"want targets and weights {(*shape,)} as the states, got {shapes}")
    table = self.embedding.weight, self.head.bias
    if weights is None:
        latent, log_prior = (x.flatten(0, 1) for x in self.head.experts(output, generator))
        result = mixture_of_softmaxes_nll(latent, log_prior, *table, targets.flatten())
        return result._replace(tokens=result.tokens.view_as(targets))
    inside = weights != 0
    # Leaving these positions out of the result alone would leave 0 * NaN in the gradient.
    output = output.masked_fill(~inside[..., None], 0)
    latent, log_prior = (x[inside] for x in self.head.experts(output, generator))
    parts = latent, log_prior, *table, targets[inside]
    result = mixture_of_softmaxes_nll(*parts, weights=weights[inside])
    tokens = result.tokens.new_zeros(shape)
    tokens[inside] = result.tokens
    return result._replace(tokens=tokens)


def _step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    _, output, state = self.read(tokens[:, None], state)
    return self.head.log_probs(self.embedding.weight, output[:, 0]), state


class AWDLSTM(nn.Module):
    """Stacked LSTMs with weight drop, locked dropout, a tied embedding, a mixture of softmaxes."""

    pooling = "max"
    loss, step = _loss, _step

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
        self.embedding = token_embedding(vocabulary_size, embedding)
        self.widths = [*[hidden] * (layers - 1), last]
        sizes = zip([embedding, *self.widths], self.widths, strict=False)
        self.lstms = nn.ModuleList(nn.LSTM(*size, batch_first=True) for size in sizes)
        self.feature_width = sum(self.widths)
        self.head = _TiedHead(vocabulary_size, embedding, last, experts, dropouts.latent)

    def read(self, tokens: Tensor, state: Any = None, generator: Generator | None = None):
        """Reads tokens (B, T) on from a state, None at a text's start -> layers, output, state."""
        state = self.start(len(tokens)) if state is None else state
        rates, x = self.dropouts, self.embedding(tokens)
        if generator is not None:
            words = dropout(x.new_ones(len(self.embedding.weight), 1), rates.embedding, generator)
            x = _locked_dropout(x * words[tokens], rates.input, generator)
        layers, states = [], []
        for i, (lstm, before) in enumerate(zip(self.lstms, state, strict=True)):
            last = i == len(self.lstms) - 1
            raw, after = _weight_dropped(lstm, x, before, rates.weight, generator)
            x = _locked_dropout(raw, rates.output if last else rates.hidden, generator)
            layers.append(raw if last else x)
            states.append(after)
        return _Reading(tuple(layers), x, tuple(states))

    def start(self, n: int) -> tuple[tuple[Tensor, ...], ...]:
        """The state (h, c), (n, H_l) each, of every layer before the first token."""
        weight = self.embedding.weight
        return tuple((weight.new_zeros(n, width),) * 2 for width in self.widths)


def plain_lstm(vocabulary_size: int, width: int, rate: float = 0.5, layers: int = 1) -> AWDLSTM:
    """A tied LSTM with one softmax, and locked dropout before, between and after its layers."""
    rates = Dropouts(rate, rate, rate, 0.0, 0.0, 0.0)
    return AWDLSTM(vocabulary_size, width, width, width, layers, 0, rates)


def _weight_dropped(
    lstm: nn.Module, x: Tensor, state: tuple, rate: float, generator: Generator | None
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """An LSTM with some weights from state to state zero, the same ones at all positions."""
    # Of the input, of the state, and both biases.
    weights: list[Tensor] = list(lstm.parameters())
    weights[1] = dropout(weights[1], rate, generator)

    # An assignment to the module's weight would not reach the copy that it computes with.
    def dropped(x: Tensor, state: tuple) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        gradient = torch.is_grad_enabled()
        output, h, c = torch.lstm(x, state, weights, True, 1, 0.0, gradient, False, True)
        return output, (h, c)

    h, c = (y.detach()[None] for y in state)
    output, (h, c) = run_lstm(dropped if generator is not None and rate else lstm, x, (h, c))
    return output, (h[0].detach(), c[0].detach())


class TransformerLM(nn.Module):
    """A small transformer decoder, whose positions attend to `context` tokens of both windows."""

    pooling = "mean"
    loss, step = _loss, _step

    def __init__(
        self, vocabulary_size: int, width: int, layers=2, heads=4, context=128, rate=0.1
    ) -> None:
        super().__init__()
        if min(layers, context, heads) < 1 or width % heads:
            sizes = f"{width=}, {layers=}, {heads=}, {context=}"
            raise ValueError(f"{sizes}: want all 1 or more, and a width that the heads can share")
        self.context, self.rate = context, rate
        self.embedding = token_embedding(vocabulary_size, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.feature_width = layers * width
        self.head = _TiedHead(vocabulary_size, width, width, 0, 0.0)

    def read(self, tokens: Tensor, state: Any = None, generator: Generator | None = None):
        """Reads tokens (B, T) on from a state, None at a text's start -> layers, output, state."""
        state = self.start(len(tokens)) if state is None else state
        scale = math.sqrt(self.embedding.embedding_dim)
        x = dropout(self.embedding(tokens) * scale, self.rate, generator)
        layers, states = [], []
        for block, before in zip(self.blocks, state, strict=True):
            past = torch.cat([before.detach(), x], 1)
            start = max(0, past.shape[1] - self.context + 1)
            states.append(past[:, start:].detach())
            x = block(x, past, self.context, self.rate, generator)
            layers.append(x)
        layers[-1] = self.norm(x)
        output = dropout(layers[-1], self.rate, generator)
        return _Reading(tuple(layers), output, tuple(states))

    def start(self, n: int) -> tuple[Tensor, ...]:
        """What each layer remembers before the first token: nothing, (n, 0, width)."""
        weight = self.embedding.weight
        return tuple(weight.new_zeros(n, 0, weight.shape[1]) for _ in self.blocks)


class _Block(nn.Module):
    """Attention over the past, then two layers, each added to what was there."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.query, self.mix = nn.Linear(width, width), nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, past: Tensor, context: int, rate: float, generator) -> Tensor:
        """X (B, T, width) attends to the past (B, M + T, width), whose last T are x itself."""

        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        place = torch.arange(past.shape[1], device=x.device)
        distance = place[past.shape[1] - x.shape[1] :, None] - place
        slope = 2.0 ** (-8.0 * torch.arange(1, self.heads + 1, device=x.device) / self.heads)
        fading = -slope[:, None, None] * distance
        fading = fading.masked_fill((distance < 0) | (distance >= context), -math.inf).to(x.dtype)
        key, value = (split(y) for y in self.key_value(self.norms[0](past)).chunk(2, -1))
        query = split(self.query(self.norms[0](x)))
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=fading)
        x = x + dropout(self.mix(attended.transpose(1, 2).flatten(2)), rate, generator)
        raised = functional.gelu(self.rise(self.norms[1](x)))
        return x + dropout(self.fall(raised), rate, generator)


def _locked_dropout(x: Tensor, rate: float, generator: Generator | None) -> Tensor:
    """Dropout of x (B, T, H), one mask per row for all positions: Gal and Ghahramani 2016."""
    if generator is None or rate == 0:
        return x
    return x * dropout(torch.ones_like(x[:, :1]), rate, generator)


def split_rows(stream: Tensor, rows: int) -> Tensor:
    """A stream (N,) as rows (rows, n + 1); a row's last token is the next one's first."""
    n = (len(stream) - 1) // rows if rows > 0 and stream.ndim == 1 else 0
    if n < 1:
        raise ValueError(f"a text {(*stream.shape,)} in {rows} rows: want (N,), N above the rows")
    return stream[: n * rows + 1].unfold(0, n + 1, n)


_Perplexity = namedtuple("_Perplexity", "perplexity nll tokens")


@torch.no_grad()
def perplexity(
    model: AWDLSTM | TransformerLM, stream: Tensor, *, window: int = 70, rows: int = 1
) -> _Perplexity:
    """exp of the mean loss of a stream's (N,) tokens but the first; that loss, nats; their number.

    `rows` texts side by side, `window` >= 1 tokens at a time; a row has two tokens at least.
    """
    if window < 1:
        raise ValueError(f"window must be 1 or more, got {window}")
    table, state = split_rows(stream, rows), None
    total, n = 0.0, table.shape[1] - 1
    for start in range(0, n, window):
        part = table[:, start : start + window + 1]
        _, output, state = model.read(part[:, :-1], state)
        total += float(model.loss(output, part[:, 1:]).tokens.double().sum())
    mean = total / (n * rows)
    return _Perplexity(math.exp(mean) if mean < 700 else math.inf, mean, n * rows)


@torch.no_grad()
def continue_text(
    model: AWDLSTM | TransformerLM, opening: Tensor, n_tokens: int, generator: Generator
) -> Tensor:
    """Draws n_tokens after each opening (R, T), not empty, without dropout -> (R, n_tokens)."""
    if opening.ndim != 2 or opening.numel() == 0:
        raise ValueError(f"the opening {(*opening.shape,)} is empty: begin with an end marker")
    if n_tokens < 1:
        raise ValueError(f"n_tokens={n_tokens}: want 1 or more")
    state, written = model.start(len(opening)), [opening[:, -1]]
    if opening.shape[1] > 1:
        state = model.read(opening[:, :-1], state).state
    for _ in range(n_tokens):
        log_probs, state = model.step(written[-1], state)
        probs = torch.softmax(log_probs, -1)
        written.append(torch.multinomial(probs, 1, generator=generator)[:, 0])
    return torch.stack(written[1:], 1)
