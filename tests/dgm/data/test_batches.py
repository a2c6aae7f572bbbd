"""Batches are a pure function of the step."""

import pytest
import torch

from dgm.data.batches import length_batches, minibatches

LENGTHS = torch.tensor([5, 3, 3, 5, 3, 9, 5, 5, 5, 3])


@pytest.mark.parametrize(
    ("make", "steps"), [(lambda seed: minibatches(10, 5, seed), 2),
                        (lambda seed: length_batches(LENGTHS, 2, seed), 6)]
)  # fmt: skip
def test_an_epoch_has_each_item_once_and_a_batch_depends_on_its_step_alone(make, steps):
    forward, backward = make(0), make(0)
    assert forward.steps_per_epoch == steps
    batches = [forward(i) for i in range(3 * steps)]
    epochs = [batches[steps * e : steps * (e + 1)] for e in range(3)]
    for epoch in epochs:
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))
    orders = [torch.cat(epoch).tolist() for epoch in epochs]
    orders.append(torch.cat([make(1)(i) for i in range(steps)]).tolist())
    assert len(set(map(tuple, orders))) == 4  # epochs and seeds differ
    for i in reversed(range(3 * steps)):
        assert torch.equal(backward(i), batches[i])
        backward(i)[:] = -1  # whatever a caller does to it
        assert torch.equal(backward(i), batches[i])
    with pytest.raises(ValueError, match="step -1: steps are counted from 0"):
        forward(-1)


def test_an_incomplete_minibatch_is_dropped():
    batch = minibatches(10, 4, seed=1)
    assert batch.steps_per_epoch == 2
    assert len(set(torch.cat([batch(0), batch(1)]).tolist())) == 8


def test_sentences_of_a_batch_have_one_length_and_lengths_are_mixed():
    batch = length_batches(LENGTHS, 2, 0)
    lengths = [[LENGTHS[batch(6 * e + k)].tolist() for k in range(6)] for e in range(3)]
    assert all(len(set(values)) == 1 for epoch in lengths for values in epoch)
    assert len({tuple(values[0] for values in epoch) for epoch in lengths}) > 1


def test_the_order_is_the_published_order():
    # A change here would make every checkpoint and published result irreproducible.
    assert minibatches(10, 5, seed=0)(0).tolist() == [4, 6, 2, 7, 3]
    assert minibatches(10, 5, seed=0)(2).tolist() == [9, 1, 3, 8, 7]
    assert length_batches(torch.arange(50) % 4, 7, 3)(0).tolist() == [28, 32, 4, 40, 48, 12, 20]


REFUSED = [(minibatches, (3, size, seed)) for size, seed in ((4, 0), (0, 0), (2, -1))]
REFUSED += [(length_batches, (torch.ones(3), size, seed)) for size, seed in ((0, 0), (2, -1))]


@pytest.mark.parametrize(("make", "arguments"), [*REFUSED, (length_batches, (torch.ones(0), 2, 0))])
def test_arguments_are_checked(make, arguments):
    with pytest.raises(ValueError, match="want"):
        make(*arguments)
