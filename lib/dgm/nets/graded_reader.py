"""A small transformer that reads how favourable a sentence is: one number from 0 to 4."""

from typing import Any

import torch
from torch import Generator, Tensor, nn

from dgm.nets.copying import IMPOSSIBLE, PAD, Layer, Sizes
from dgm.nets.lstm import dropout

READER = Sizes(width=128, heads=4, encoder_layers=2, inner=256)


class GradedReader(nn.Module):
    """value = 2 + w . mean over heads' attention of the encoder's states.

    Args:
        vocabulary_size: V, markers included.
        sizes: of the encoder's layers.
        dropout: share of the embedding and of each layer's output set to zero where a generator is
            passed.
    """

    def __init__(self, vocabulary_size: int, sizes: Sizes = READER, dropout: float = 0.1) -> None:
        super().__init__()
        self.sizes, self.dropout, width = sizes, dropout, sizes.width
        self.embedding = nn.Embedding(vocabulary_size, width, padding_idx=PAD)
        self.places = nn.Embedding(sizes.places, width)
        self.layers: Any = nn.ModuleList(Layer(sizes, False) for _ in range(sizes.encoder_layers))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, sizes.heads)
        self.output = nn.Linear(width * sizes.heads, 1)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.places.weight, std=0.1)

    def forward(self, tokens: Tensor, generator: Generator | None = None) -> Tensor:
        """Values (B,), float32, of tokens (B, S), cut to the places that there are.

        About 0 is very negative and 4 very positive; 2 (value - 2) serves as log-odds.
        """
        tokens = tokens[:, : self.sizes.places]
        hidden = (tokens == PAD) * IMPOSSIBLE
        x = self.embedding(tokens) + self.places.weight[: tokens.shape[1]]
        x = dropout(x, self.dropout, generator)
        for layer in self.layers:
            y = layer.own_norm(x)
            y = layer.own(y, *layer.own.remember(y), hidden[:, None, None])
            x = x + dropout(y, self.dropout, generator)
            x = x + dropout(layer.dense(x), self.dropout, generator)
        x = self.norm(x)
        weights = torch.softmax((self.attention(x) + hidden[..., None].to(x)).float(), 1)
        pooled = (weights.transpose(1, 2).to(x) @ x).flatten(1)
        return 2 + self.output(pooled)[:, 0].float()
