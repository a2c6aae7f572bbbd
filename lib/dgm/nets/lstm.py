"""LSTMs over token ids: encoder, decoder with a latent code, language model.

Token ids: rows start with <s> and end with </s>, then padding. All use `nn.LSTM`, so cuDNN on a GPU;
batches of equal length run without packing. Dropout is drawn from the generator that is passed, and
there is none where none is passed.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dgm.precision import run_lstm
from dgm.vae import at_least_float32


class LSTMState(NamedTuple):
    """The state between two steps, rows first so that a beam can reorder it."""

    h: Tensor  # (R, layers, hidden)
    c: Tensor  # (R, layers, hidden)


class DecoderState(NamedTuple):
    """As `LSTMState`, with the code that enters every step; replace z to change it in mid-sentence."""

    h: Tensor  # (R, hidden)
    c: Tensor  # (R, hidden)
    z: Tensor  # (R, latent_dim)


class LSTMEncoder(nn.Module):
    """An LSTM over embedded tokens; with two directions, their average.

    Args:
        vocabulary_size: V.
        embedding: width of the token embedding.
        hidden: H, a direction.
        layers: stacked LSTMs.
        bidirectional: read backwards too.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding: int,
        hidden: int,
        layers: int = 1,
        bidirectional: bool = True,
    ) -> None:
        super().__init__()
        self.embedding = _embedding(vocabulary_size, embedding)
        self.lstm = nn.LSTM(
            embedding, hidden, layers, batch_first=True, bidirectional=bidirectional
        )

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """States of tokens (B, T); lengths (B,) where they differ, None where all are T.

        Returns:
            (B, T, H); what stands after a row's length is not meant to be read.
        """
        x = self.embedding(without_padding(tokens, lengths))
        if (
            lengths is None or not self.lstm.bidirectional
        ):  # forwards, padding comes too late to matter
            states, _ = run_lstm(self.lstm, x)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(
                run_lstm(self.lstm, packed)[0], batch_first=True, total_length=tokens.shape[1]
            )
        if self.lstm.bidirectional:
            states = states.unflatten(-1, (2, -1)).mean(-2)
        return states


class LSTMDecoder(nn.Module):
    """p(x_t | x_<t, z): the input is [embedding; z] at every step, c_0 = M z, h_0 = tanh(c_0).

    Args:
        vocabulary_size: V.
        embedding: width of the token embedding.
        hidden: H.
        latent_dim: D.
        dropout: share of inputs and of outputs set to zero where a generator is passed.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding: int,
        hidden: int,
        latent_dim: int,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = _embedding(vocabulary_size, embedding)
        self.initial = nn.Linear(latent_dim, hidden, bias=False)
        self.lstm = nn.LSTM(embedding + latent_dim, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary_size)

    def start(self, z: Tensor) -> DecoderState:
        """The state before the first token, for codes z (R, D)."""
        c = self.initial(z)
        return DecoderState(torch.tanh(c), c, z)

    def forward(
        self, tokens: Tensor, z: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits (B, T, V) of what follows each of the tokens (B, T), for codes z (B, D)."""
        return self.output(self.states(tokens, z, generator))

    def states(self, tokens: Tensor, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """What `forward` makes its logits of, (B, T, H)."""
        state = self.start(z)
        x = dropout(self.embedding(tokens), self.dropout, generator)
        x = torch.cat([x, z[:, None].expand(-1, x.shape[1], -1).to(x.dtype)], -1)
        states, _ = run_lstm(self.lstm, x, (state.h[None], state.c[None]))
        return dropout(states, self.dropout, generator)

    def nll(
        self,
        tokens: Tensor,
        lengths: Tensor | None,
        z: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """-log p(tokens (B, T) after the first | z), (B,) nats; see `sequence_nll`."""
        tokens = without_padding(tokens, lengths)
        return sequence_nll(self(tokens[:, :-1], z, generator), tokens, lengths)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """One token (R,) a row -> log-probabilities (R, V) of the next, and the state after it."""
        x = torch.cat([self.embedding(tokens), state.z], -1)[:, None]
        states, (h, c) = run_lstm(self.lstm, x, (state.h[None], state.c[None]))
        return torch.log_softmax(self.output(states[:, 0]), -1), DecoderState(h[0], c[0], state.z)


class LanguageModel(nn.Module):
    """An LSTM language model.

    Args:
        vocabulary_size: V.
        embedding: width of the token embedding.
        hidden: H.
        layers: stacked LSTMs.
        dropout: share of inputs and of outputs set to zero where a generator is passed.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding: int,
        hidden: int,
        layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding = _embedding(vocabulary_size, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary_size)

    def forward(self, tokens: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Logits (B, T, V) of what follows each of the tokens (B, T)."""
        x = dropout(self.embedding(tokens), self.dropout, generator)
        return self.output(dropout(run_lstm(self.lstm, x)[0], self.dropout, generator))

    def nll(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """-log p(tokens (B, T) after the first), (B,) nats; see `sequence_nll`."""
        tokens = without_padding(tokens, lengths)
        return sequence_nll(self(tokens[:, :-1], generator), tokens, lengths)

    def start(self, n: int) -> LSTMState:
        """The state of n rows before the first token."""
        zeros = self.output.weight.new_zeros(n, self.lstm.num_layers, self.lstm.hidden_size)
        return LSTMState(zeros, zeros)

    def step(self, tokens: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One token (R,) a row -> log-probabilities (R, V) of the next, and the state after it."""
        before = tuple(x.transpose(0, 1).contiguous() for x in state)
        states, after = run_lstm(self.lstm, self.embedding(tokens)[:, None], before)
        log_probs = torch.log_softmax(self.output(states[:, 0]), -1)
        return log_probs, LSTMState(*(x.transpose(0, 1) for x in after))


def token_nll(logits: Tensor, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Negative log-likelihood of each token after its row's first, with gradient.

    Args:
        logits: (B, T - 1, V); position t predicts token t + 1.
        tokens: (B, T).
        lengths: (B,) tokens of each row, the first counted; None where all are T.

    Returns:
        (B, T - 1) nats, at least float32; 0 at padding.
    """
    b, t = tokens.shape
    if logits.shape[:2] != (b, t - 1):
        raise ValueError(
            f"tokens {tuple(tokens.shape)} want logits (B, T - 1, V), got {tuple(logits.shape)}"
        )
    logits = at_least_float32(logits)
    outside = None
    if lengths is not None:
        outside = torch.arange(1, t, device=tokens.device) >= lengths[:, None]
        # Masking the result alone would leave 0 * NaN in the gradient.
        logits = logits.masked_fill(outside[..., None], 0)
    flat = functional.cross_entropy(
        logits.flatten(0, 1),
        without_padding(tokens, lengths)[:, 1:].flatten().long(),
        reduction="none",
    )
    nll = flat.view(b, t - 1)
    return nll if outside is None else nll.masked_fill(outside, 0)


def sequence_nll(logits: Tensor, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The sum of `token_nll` over each row's tokens after its first, (B,) nats; takes the same."""
    return token_nll(logits, tokens, lengths).sum(1)


@torch.no_grad()
def token_nll_in_blocks(
    output: nn.Linear, states: Tensor, tokens: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """`token_nll` of the logits output(states), which never exist all at once; without gradient.

    Every block of logits is written where the last one was, which at 4,000 words takes about half the
    time on a CPU, and none is made for padding.

    Args:
        output: (H -> V).
        states: (B, T - 1, H).
        tokens: (B, T).
        lengths: as there.

    Returns:
        (B, T - 1) nats, of the weights' type; 0 at padding.
    """
    b, t = tokens.shape
    if states.shape[:2] != (b, t - 1):
        raise ValueError(
            f"tokens {tuple(tokens.shape)} want states (B, T - 1, H), got {tuple(states.shape)}"
        )
    nll = output.weight.new_zeros(b, t - 1)
    inside = torch.ones_like(nll, dtype=torch.bool)
    if lengths is not None:
        inside = torch.arange(1, t, device=tokens.device) < lengths[:, None]
    states, following = states[inside].to(nll.dtype), tokens[:, 1:][inside].long()
    block_size = 2**20 if nll.device.type == "cpu" else 2**26  # a cache's, or a device's fill
    rows = max(128, block_size // output.out_features)
    logits = nll.new_empty(min(rows, len(states)), output.out_features)
    found = []
    for some, words in zip(states.split(rows), following.split(rows), strict=True):
        block = torch.addmm(output.bias, some, output.weight.T, out=logits[: len(some)])
        found.append(functional.cross_entropy(block, words, reduction="none"))
    nll[inside] = torch.cat(found)
    return nll


def without_padding(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """Tokens (B, T) with 0 behind each row's length (B,), whatever stands there."""
    if lengths is None:
        return tokens
    place = torch.arange(tokens.shape[1], device=tokens.device)
    return tokens.masked_fill(place >= lengths[:, None], 0)


def dropout(x: Tensor, rate: float, generator: torch.Generator | None) -> Tensor:
    """x with a share of its entries set to zero and the rest scaled up; x itself without a generator."""
    if generator is None or rate == 0:
        return x
    keep = torch.empty_like(x).bernoulli_(1 - rate, generator=generator)
    return x * keep.div_(1 - rate)


def _embedding(vocabulary_size: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(vocabulary_size, width)
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    return embedding
