"""A classifier of sentences: convolutions over words, and the largest answer of each (Kim 2014)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.nets.lstm import dropout, without_padding


class TextCNN(nn.Module):
    """One logit per sentence, by `filters` of each of the `widths`; id 0 is padding."""

    widths, dropout = (1, 2, 3, 4, 5), 0.5  # of filters in tokens; of their largest answers

    def __init__(self, vocabulary_size: int, embedding: int, filters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, w) for w in self.widths)
        self.output = nn.Linear(filters * len(self.widths), 1)

    def forward(
        self, tokens: Tensor, lengths: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits (B,) of tokens (B, T) with lengths (B,), short ones with zeros behind."""
        tokens = functional.pad(tokens, (0, max(0, max(self.widths) - tokens.shape[1])))
        place = torch.arange(tokens.shape[1], device=tokens.device)
        inside = place < lengths[:, None]
        tokens = without_padding(tokens, lengths)
        x = (self.embedding(tokens) * inside[..., None]).transpose(1, 2)
        pooled = []
        for width, convolution in zip(self.widths, self.convolutions, strict=True):
            answers = functional.leaky_relu(convolution(x))
            starts = place[: answers.shape[2]]
            beyond = (starts + width > lengths[:, None]) & (starts > 0)
            pooled.append(answers.masked_fill(beyond[:, None], -torch.inf).amax(2))
        return self.output(dropout(torch.cat(pooled, 1), self.dropout, generator))[:, 0]
