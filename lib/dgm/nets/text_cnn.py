"""A classifier of sentences: convolutions over words, and the largest answer of each (Kim 2014)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from dgm.nets.lstm import dropout, without_padding


class TextCNN(nn.Module):
    """One logit per sentence of V words, of which id 0 is padding and has no vector.

    There are so many `filters` of each of the `widths`, the numbers of neighbouring tokens that
    they see; `dropout` is the share of the pooled answers set to zero where a generator is passed.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding: int,
        filters: int,
        widths: Sequence[int] = (1, 2, 3, 4, 5),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.widths, self.dropout = tuple(widths), dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding, padding_idx=0)
        self.convolutions = nn.ModuleList(nn.Conv1d(embedding, filters, w) for w in widths)
        self.output = nn.Linear(filters * len(widths), 1)

    def forward(
        self, tokens: Tensor, lengths: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits (B,) of tokens (B, T) with lengths (B,); what is behind is not looked at.

        A filter sees a sentence that is shorter once, with zeros behind. Dropout needs a generator.
        """
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
