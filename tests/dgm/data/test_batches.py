"""Minibatches are a pure function of the step."""

import pytest
import torch

from dgm.data import minibatches


def test_an_epoch_has_each_item_once_and_epochs_and_seeds_differ():
    batch = minibatches(12, 4, seed=0)
    epochs = [torch.cat([batch(3 * e + k) for k in range(3)]) for e in range(3)]
    assert all(e.dtype == torch.int64 and sorted(e.tolist()) == list(range(12)) for e in epochs)
    others = [*epochs[1:], torch.cat([minibatches(12, 4, seed=1)(k) for k in range(3)])]
    assert not any(torch.equal(epochs[0], other) for other in others)
    batch = minibatches(10, 4, seed=1)  # the incomplete batch is dropped
    assert len(set(torch.cat([batch(0), batch(1)]).tolist())) == 8
    assert len(batch(2)) == 4


def test_any_step_in_any_order_gives_the_same_batch_whatever_a_caller_does_to_it():
    forward, backward = minibatches(50, 7, seed=3), minibatches(50, 7, seed=3)
    expected = [forward(i).clone() for i in range(60)]
    for i in reversed(range(60)):
        assert torch.equal(backward(i), expected[i])
        backward(i)[:] = -1
        assert torch.equal(backward(i), expected[i])


def test_the_order_is_the_published_order():
    # A change here would make every checkpoint and published result irreproducible.
    assert minibatches(10, 5, seed=0)(0).tolist() == [4, 6, 2, 7, 3]
    assert minibatches(10, 5, seed=0)(2).tolist() == [9, 1, 3, 8, 7]


@pytest.mark.parametrize("arguments", [(3, 4, 0), (3, 0, 0), (3, 2, -1)])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match="want"):
        minibatches(*arguments)
    with pytest.raises(ValueError, match="step -1: steps are counted from 0"):
        minibatches(3, 2, 0)(-1)
