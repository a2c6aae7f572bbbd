"""The reader of grades: padding is not seen, and it learns what a negator does."""

import torch

from dgm.nets.copying import Sizes
from dgm.nets.graded_reader import GradedReader

SMALL = Sizes(32, 2, 2, 0, 48, 0, 12)


@torch.no_grad()
def test_padding_and_order():
    torch.manual_seed(0)
    reader = GradedReader(20, SMALL)
    tokens = torch.tensor([[1, 5, 6, 7, 2, 0, 0], [1, 7, 6, 5, 2, 0, 0]])
    torch.testing.assert_close(reader(tokens), reader(tokens[:, :5]))
    assert reader(tokens)[0] != reader(tokens)[1]
    assert reader(torch.ones(1, 40, dtype=torch.int64)).shape == (1,)


def test_it_learns_that_a_negator_turns_the_next_word():
    torch.manual_seed(0)
    reader = GradedReader(20, SMALL, dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    negator, good = 5, torch.arange(20) >= 13  # words 6 to 12 are bad, 13 to 19 good

    def batch(n):
        word = torch.randint(6, 20, (n, 1), generator=generator)
        negated = torch.rand(n, 1, generator=generator) < 0.5
        before = torch.where(negated, negator, 3)
        ends = torch.full((n, 1), 1), torch.full((n, 1), 2)
        value = (good[word] ^ negated)[:, 0].float() * 4
        return torch.cat([ends[0], before, word, ends[1]], 1), value

    optimizer = torch.optim.Adam(reader.parameters(), lr=3e-3)
    for _ in range(150):
        tokens, value = batch(64)
        loss = (reader(tokens) - value).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    tokens, value = batch(200)
    assert ((reader(tokens) > 2) == (value > 2)).float().mean() > 0.97
