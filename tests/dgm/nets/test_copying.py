"""The copying rewriter: training and decoding agree, it learns to copy, it writes no markers."""

import math

import pytest
import torch

from dgm.nets.copying import END, START, CopyingTransformer, Sizes
from dgm.sampling.beam import beam_search

SMALL = Sizes(16, 2, 1, 2, 24, 3, 12)
FIRST_WORD, SIZE = 6, 30
SOURCE = torch.tensor([[START, 7, 8, 4, 9, END], [START, 10, 11, END, 0, 0]])
TARGET = torch.tensor([[START, 7, 12, 4, END], [START, 10, END, 0, 0]])
GRADE = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    return CopyingTransformer(SIZE, FIRST_WORD, SMALL, dropout=0.0)


@torch.no_grad()
def test_reading_at_once_and_step_by_step_give_the_same(model):
    log_p = model.log_likelihood(SOURCE, GRADE, TARGET)
    state = model.start(model.encode(SOURCE, GRADE))
    for t in range(TARGET.shape[1] - 1):
        step, state = model.step(TARGET[:, t], state)
        torch.testing.assert_close(step.exp().sum(1), torch.ones(2), atol=1e-4, rtol=0)
        inside = TARGET[:, t + 1] != 0
        expected = step.gather(1, TARGET[:, t + 1, None])[:, 0]
        torch.testing.assert_close(log_p[inside, t], expected[inside], atol=1e-4, rtol=1e-4)
    assert (log_p[1, 2:] == 0).all()


@torch.no_grad()
def test_a_gate_near_its_end_loses_no_digits(model):
    model.gate.weight.zero_()
    written = []
    for gate in (-16.0, 16.0):
        model.gate.bias.fill_(gate)
        step, _ = model.step(torch.tensor([START] * 2), model.start(model.encode(SOURCE, GRADE)))
        written.append(step[:, 12:15])  # which no source has
    torch.testing.assert_close(written[1], (written[0] - 16).clamp(min=math.log(1e-9)))
    assert written[1].max() > -20


@torch.no_grad()
def test_padding_changes_nothing(model):
    alone = model.log_likelihood(SOURCE[1:, :4], GRADE[1:], TARGET[1:, :3])
    together = model.log_likelihood(SOURCE, GRADE, TARGET)[1:, :2]
    torch.testing.assert_close(alone, together)


@torch.no_grad()
def test_unknown_words_come_from_their_own_source_alone(model):
    step, _ = model.step(torch.tensor([START, START]), model.start(model.encode(SOURCE, GRADE)))
    assert step[0, 4] > -10  # its third word
    assert step[1, 3:FIRST_WORD].max() < -20
    assert step[0, [0, START, 3, 5]].max() < -20


@torch.no_grad()
def test_drawn_rivals_estimate_the_softmax(model):
    generator = torch.Generator().manual_seed(0)
    exact = model.log_likelihood(SOURCE, GRADE, TARGET)
    everyone = model.log_likelihood(SOURCE, GRADE, TARGET, generator, rivals=SIZE)
    inside = TARGET[:, 1:] >= FIRST_WORD
    torch.testing.assert_close(everyone[inside], exact[inside])
    drawn = [model.log_likelihood(SOURCE, GRADE, TARGET, generator, rivals=10) for _ in range(200)]
    assert (torch.stack(drawn)[:, inside].mean(0) - exact[inside]).abs().max() < 0.05
    assert torch.stack(drawn)[:, inside].std(0).max() > 0


def test_it_learns_to_copy_what_it_never_saw():
    torch.manual_seed(0)
    model = CopyingTransformer(60, FIRST_WORD, SMALL, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)

    def sentences(n, low, high):
        words = torch.randint(low, high, (n, 6), generator=generator)
        ends = torch.full((n, 1), START), torch.full((n, 1), END)
        return torch.cat([ends[0], words, ends[1]], 1)

    for _ in range(120):
        x = sentences(32, FIRST_WORD, 40)
        loss = -model.log_likelihood(x, torch.eye(3)[[0] * 32], x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = sentences(20, 40, 60)  # words without one training example
    memory = model.encode(x, torch.eye(3)[[0] * 20])
    beams = beam_search(model.step, model.start(memory), 20, width=2, max_steps=8)
    assert (beams.tokens[:, 0, :7] == x[:, 1:]).all(1).float().mean() > 0.8


def test_bad_sizes_are_refused(model):
    with pytest.raises(ValueError, match="at most 12"):
        model.encode(torch.ones(1, 13, dtype=torch.int64), GRADE[:1])
    with pytest.raises(ValueError, match="first_word"):
        CopyingTransformer(5, 5)
