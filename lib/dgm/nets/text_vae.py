"""A variational autoencoder of sentences: LSTM encoder, pooled Gaussian posterior, LSTM decoder.

    q(z | x) = N(mu, diag exp logvar),   [mu, logvar] = W pool(LSTM(x))                 (1)
    L = -log p(x | z) + beta KL(q(z | x) || N(0, I)),   one sample z of q               (2)

Equation (2) is `dgm.papers.pooling_vae.pooling_objective`.
"""

import math
from collections import namedtuple
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dgm.nets.lstm import LSTMDecoder, LSTMEncoder
from dgm.nets.pooling import pool

TextVAETerms = namedtuple("TextVAETerms", "value reconstruction kl")  # of (2), (B,) each, nats


class SentenceEncoder(nn.Module):
    """A sentence as one vector: `pool` of the states of an `LSTMEncoder`; takes what these take."""

    def __init__(
        self,
        vocabulary_size: int,
        embedding: int,
        hidden: int,
        *,
        layers: int = 2,
        bidirectional: bool = True,
        pooling: str = "max",
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.pooling, self.temperature = pooling, temperature
        self.states = LSTMEncoder(vocabulary_size, embedding, hidden, layers, bidirectional)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Tokens (B, T) -> (B, H)."""
        mask = None
        if lengths is not None:
            mask = torch.arange(tokens.shape[1], device=tokens.device) < lengths[:, None]
        states = self.states(tokens, lengths)
        return pool(states, mask, self.pooling, temperature=self.temperature, validate=False)


class SentencePosterior(nn.Module):
    """Equation (1); the linear layer has no bias, as published. Arguments of `SentenceEncoder`."""

    def __init__(
        self, vocabulary_size: int, embedding: int, hidden: int, latent_dim: int, **options
    ) -> None:
        super().__init__()
        self.encoder = SentenceEncoder(vocabulary_size, embedding, hidden, **options)
        self.head = nn.Linear(hidden, 2 * latent_dim, bias=False)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance (B, D), never narrower than the weights."""
        features = self.encoder(tokens, lengths)
        with torch.autocast(features.device.type, enabled=False):
            code = self.head(features.to(self.head.weight.dtype))
        mu, logvar = code.chunk(2, dim=-1)
        return mu, logvar


class TextVAE(nn.Module):
    """A sentence VAE: a `posterior` and a `decoder` of V words, whose dropout needs a generator."""

    def __init__(
        self,
        vocabulary_size: int,
        embedding: int,
        hidden: int,
        latent_dim: int,
        *,
        dropout: float = 0.5,
        **options,
    ) -> None:
        super().__init__()
        sizes = (vocabulary_size, embedding, hidden, latent_dim)
        self.posterior = SentencePosterior(*sizes, **options)
        self.decoder = LSTMDecoder(*sizes, dropout)


def aggressive_encoder_steps(
    loss: Callable[[int], Tensor], optimizer: Optimizer, *, most=100, window=15, max_norm=5.0
) -> int:
    """Trains the encoder alone until its loss(i) stops falling; returns the number of steps.

    Means over each `window` of at most `most` steps are compared. He et al., ICLR 2019.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    before, total = math.inf, 0.0
    for i in range(most):
        value = loss(i)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()
        total = total + value.detach()
        if (i + 1) % window == 0:
            mean = float(total) / window
            if mean >= before:
                return i + 1
            before, total = mean, 0.0
    return most
