"""Pooling against the loop, and its gradients."""

import math

import pytest
import torch

from dgm.nets.pooling import KINDS, pool

MASK = torch.tensor(
    [[True, True, True, True], [True, True, False, False], [True, False, False, False],
     [False, True, True, False]]
)  # fmt: skip


def states(seed=0):
    return torch.randn(4, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


REFERENCE = {
    "last": lambda h: h[-1],
    "mean": lambda h: h.sum(0) / len(h),
    "max": lambda h: torch.stack([max(column) for column in h.T]),
    "absmax": lambda h: torch.stack([max(column, key=abs) for column in h.T]),
    "logsumexp": lambda h: torch.stack([column.exp().sum().log() for column in h.T]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_loop(kind):
    h = states()
    pooled = pool(h, MASK, kind)
    for i in range(4):
        torch.testing.assert_close(pooled[i], REFERENCE[kind](h[i][MASK[i]]))
    whole = pool(h, None, kind)
    torch.testing.assert_close(whole, torch.stack([REFERENCE[kind](x) for x in h]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hidden", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_masked_is_never_read(kind, hidden):
    h = states().masked_fill(~MASK[..., None], hidden).requires_grad_(True)
    pooled = pool(h, MASK, kind)
    torch.testing.assert_close(pooled, pool(states(), MASK, kind))
    pooled.sum().backward()
    assert torch.isfinite(h.grad).all()
    assert not h.grad[~MASK].any()


@pytest.mark.parametrize("kind", KINDS)
def test_large_values_do_not_overflow(kind):
    h = torch.full((2, 4, 3), 6e4, dtype=torch.float16)
    pooled = pool(h, None, kind)
    assert pooled.dtype == torch.float16
    assert torch.equal(pooled, h[:, 0])


def test_one_token_is_the_same_for_all_kinds():
    h = states()
    for kind in KINDS:
        torch.testing.assert_close(pool(h, MASK, kind)[2], h[2, 0])


def test_order_of_minimum_mean_and_maximum():
    h = states()
    low, mean, high = -pool(-h, MASK, "max"), pool(h, MASK, "mean"), pool(h, MASK, "max")
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert (mean < high)[0].all()


@pytest.mark.parametrize(
    ("kind", "share"), [("mean", [0.5, 0.5]), ("max", [0, 1]), ("last", [0, 1]), ("absmax", [1, 0])]
)
def test_gradients(kind, share):
    h = torch.tensor([[[-3.0], [2.0], [9.0]]], requires_grad=True)
    pool(h, torch.tensor([[True, True, False]]), kind).sum().backward()
    assert h.grad.flatten().tolist() == [*share, 0]


def test_half_precision_stays_finite():
    h = states().bfloat16().masked_fill(~MASK[..., None], math.nan)
    for kind in KINDS:
        pooled = pool(h, MASK, kind)
        assert pooled.dtype == torch.bfloat16
        assert torch.isfinite(pooled).all()


@pytest.mark.parametrize(
    ("h", "mask", "kind", "message"),
    [
        (states(), MASK, "median", "kind"),
        (states(), MASK.clone().index_fill_(0, torch.tensor([1]), False), "mean", "rows \\[1\\]"),
        (states(), MASK.float(), "mean", "bool"),
        (states(), MASK[:, :3], "mean", "bool"),
        (states()[0], MASK, "mean", "h must be"),
    ],
)
def test_refuses(h, mask, kind, message):
    with pytest.raises(ValueError, match=message):
        pool(h, mask, kind)
