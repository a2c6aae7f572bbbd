"""LSTMs over token ids: encoder, decoder with a latent code, language model.

Rows start with <s> and end with </s>, then padding. `lengths` (B,) count rows' tokens, None where
all are T. Dropout needs a generator, and is of inputs and of outputs.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dgm.precision import run_lstm
from dgm.vae import at_least_float32

Generator = torch.Generator | None
Code = Tensor | None


class _State(NamedTuple):
    """The state between two steps, rows first so that a beam can reorder it."""

    h: Tensor  # (R, layers, H)
    c: Tensor  # (R, layers, H)
    z: Tensor  # (R, latent_dim)


class LSTMEncoder(nn.Module):
    """An LSTM (H = hidden per direction) over embedded tokens; of two directions the average."""

    def __init__(
        self, vocabulary_size: int, embedding: int, hidden: int, layers: int, bidirectional: bool
    ) -> None:
        super().__init__()
        self.embedding = token_embedding(vocabulary_size, embedding)
        options: Any = {"batch_first": True, "bidirectional": bidirectional}
        self.lstm = nn.LSTM(embedding, hidden, layers, **options)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """States (B, T, H) of tokens (B, T); those behind a row's length are not to be read."""
        x = self.embedding(without_padding(tokens, lengths))
        if lengths is None or not self.lstm.bidirectional:  # forwards, padding comes too late
            states, _ = run_lstm(self.lstm, x)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            states, _ = run_lstm(self.lstm, packed)
            states, _ = pad_packed_sequence(states, True, total_length=tokens.shape[1])
        return states.unflatten(-1, (2, -1)).mean(-2) if self.lstm.bidirectional else states


class LSTMDecoder(nn.Module):
    """p(x_t | x_<t, z): the input is [embedding; z] at every step, c_0 = M z, h_0 = tanh(c_0)."""

    def __init__(
        self, vocabulary_size: int, embedding: int, hidden: int, latent_dim: int, dropout=0.5
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = token_embedding(vocabulary_size, embedding)
        if latent_dim:
            self.initial = nn.Linear(latent_dim, hidden, bias=False)
        self.lstm = nn.LSTM(embedding + latent_dim, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary_size)

    def start(self, z: Tensor | int) -> _State:
        """The state before the first token, for codes z (R, D), or R rows that have none."""
        if isinstance(z, int):
            zeros = self.output.weight.new_zeros(z, self.lstm.num_layers, self.lstm.hidden_size)
            return _State(zeros, zeros, zeros[:, 0, :0])
        c = self.initial(z)[:, None]
        return _State(torch.tanh(c), c, z)

    def forward(self, tokens: Tensor, z: Code = None, generator: Generator = None) -> Tensor:
        """Logits (B, T, V) of what follows each of the tokens (B, T), for codes z (B, D)."""
        return self.output(self.states(tokens, z, generator))

    def states(self, tokens: Tensor, z: Code = None, generator: Generator = None) -> Tensor:
        """What `forward` computes its logits from, (B, T, H)."""
        state = self.start(len(tokens) if z is None else z)
        states, _ = self._read(dropout(self.embedding(tokens), self.dropout, generator), state)
        return dropout(states, self.dropout, generator)

    def nll(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        z: Code = None,
        generator: Generator = None,
    ) -> Tensor:
        """-log p(tokens (B, T) after the first | z), (B,) nats; see `sequence_nll`."""
        tokens = without_padding(tokens, lengths)
        return sequence_nll(self(tokens[:, :-1], z, generator), tokens, lengths)

    def step(self, tokens: Tensor, state: _State) -> tuple[Tensor, _State]:
        """Tokens (R,), one per row -> log-probabilities (R, V) of the next, and the next state."""
        states, state = self._read(self.embedding(tokens)[:, None], state)
        return torch.log_softmax(self.output(states[:, 0]), -1), state

    def _read(self, x: Tensor, state: _State) -> tuple[Tensor, _State]:
        x = torch.cat([x, state.z[:, None].expand(-1, x.shape[1], -1).to(x.dtype)], -1)
        h, c = (y.transpose(0, 1).contiguous() for y in state[:2])
        states, (h, c) = run_lstm(self.lstm, x, (h, c))
        return states, _State(h.transpose(0, 1), c.transpose(0, 1), state.z)


def sequence_nll(logits: Tensor, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
    """-log p of each row's tokens (B, T) after its first, (B,) nats, from logits (B, T - 1, V)."""
    _check_steps(logits, tokens, "logits (B, T - 1, V)")
    logits, outside = at_least_float32(logits), None
    if lengths is not None:
        outside = ~_inside(tokens, lengths)[:, 1:]
        # Masking the result alone would leave 0 * NaN in the gradient.
        logits = logits.masked_fill(outside[..., None], 0)
    following = without_padding(tokens, lengths)[:, 1:].flatten().long()
    flat = functional.cross_entropy(logits.flatten(0, 1), following, reduction="none")
    nll = flat.view(len(tokens), -1)
    return (nll if outside is None else nll.masked_fill(outside, 0)).sum(1)


@torch.no_grad()
def token_nll_in_blocks(
    output: nn.Linear, states: Tensor, tokens: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """`sequence_nll`'s terms (B, T - 1) for output(states (B, T - 1, H)), in half the time."""
    _check_steps(states, tokens, "states (B, T - 1, H)")
    nll = output.weight.new_zeros(states.shape[:2])
    inside = torch.ones_like(nll) > 0 if lengths is None else _inside(tokens, lengths)[:, 1:]
    states, following = states[inside].to(nll.dtype), tokens[:, 1:][inside].long()
    block_size = 2**20 if nll.device.type == "cpu" else 2**26  # a cache's, or a device's fill
    rows = max(128, block_size // output.out_features)
    logits, blocks = nll.new_empty(min(rows, len(states)), output.out_features), []
    for part, words in zip(states.split(rows), following.split(rows), strict=True):
        block = torch.addmm(output.bias, part, output.weight.T, out=logits[: len(part)])
        blocks.append(functional.cross_entropy(block, words, reduction="none"))
    nll[inside] = torch.cat(blocks)
    return nll


def _check_steps(values: Tensor, tokens: Tensor, expected: str) -> None:
    if values.shape[:2] != (len(tokens), tokens.shape[1] - 1):
        raise ValueError(f"tokens {tuple(tokens.shape)} want {expected}, got {tuple(values.shape)}")


def _inside(tokens: Tensor, lengths: Tensor) -> Tensor:
    return torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]


def without_padding(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """Tokens (B, T) with 0 behind each row's length (B,), whatever stands there."""
    return tokens if lengths is None else tokens.masked_fill(~_inside(tokens, lengths), 0)


def dropout(x: Tensor, rate: float, generator: Generator) -> Tensor:
    """x (any shape) with a share of entries 0, the rest scaled up; x itself without generator."""
    if generator is None or rate == 0:
        return x
    mask = torch.empty_like(x).bernoulli_(1 - rate, generator=generator)
    return x * mask.div_(1 - rate)


def token_embedding(vocabulary_size: int, width: int) -> nn.Embedding:
    """An embedding that starts uniform in -0.1..0.1."""
    embedding = nn.Embedding(vocabulary_size, width)
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    return embedding
