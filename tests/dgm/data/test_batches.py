"""Minibatches are a pure function of the step."""

import pytest
import torch

from dgm.data import minibatches


def test_an_epoch_has_each_item_once_and_epochs_differ():
    batch = minibatches(12, 4, seed=0)
    epochs = [torch.cat([batch(3 * e + k) for k in range(3)]) for e in range(3)]
    for epoch in epochs:
        assert epoch.dtype == torch.int64
        assert sorted(epoch.tolist()) == list(range(12))
    assert not torch.equal(epochs[0], epochs[1])
    assert not torch.equal(epochs[1], epochs[2])


def test_any_step_in_any_order_gives_the_same_batch():
    forward, backward = minibatches(50, 7, seed=3), minibatches(50, 7, seed=3)
    expected = [forward(i) for i in range(60)]
    for i in reversed(range(60)):
        assert torch.equal(backward(i), expected[i])


def test_what_a_caller_does_to_a_batch_changes_no_other():
    batch = minibatches(50, 7, seed=3)
    batch(0)[:] = -1
    assert (batch(0) >= 0).all()


def test_the_order_is_the_published_one():
    # A change here would make every checkpoint and published result irreproducible.
    assert minibatches(10, 5, seed=0)(0).tolist() == FIRST
    assert minibatches(10, 5, seed=0)(2).tolist() == THIRD


FIRST, THIRD = [4, 6, 2, 7, 3], [9, 1, 3, 8, 7]


def test_seeds_differ_and_the_incomplete_batch_is_dropped():
    a, b = minibatches(10, 4, seed=0), minibatches(10, 4, seed=1)
    assert not torch.equal(a(0), b(0))
    first = torch.cat([a(0), a(1)])
    assert len(set(first.tolist())) == 8
    assert len(a(1)) == len(a(2)) == 4


@pytest.mark.parametrize("arguments", [(3, 4, 0), (3, 0, 0), (3, 2, -1)])
def test_arguments_are_checked(arguments):
    with pytest.raises(ValueError, match="want"):
        minibatches(*arguments)


def test_a_negative_step_is_refused():
    with pytest.raises(ValueError, match="step -1: steps are counted from 0"):
        minibatches(3, 2, 0)(-1)
