"""Pooling against the loop, its gradients, and its temperature from the maximum to the mean."""

import math

import pytest
import torch
from draws import normal
from torch.nn.functional import one_hot

from dgm.nets.pooling import KINDS, pool

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]]).bool()


def states():
    return normal(4, 4, 5)


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
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type_and_does_not_overflow(kind, dtype):
    h = torch.full((2, 4, 3), 6e4, dtype=dtype)
    assert torch.equal(pool(h, None, kind), h[:, 0])
    assert pool(h, None, kind).dtype == dtype


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_exact(kind):
    mask = torch.tensor([[True, True, False, True], [True, False, False, False]])
    h = states()[:2, :, :3].requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: pool(x, mask, kind), h)
    (gradient,) = torch.autograd.grad(pool(h, mask, kind).sum(), h)
    assert not gradient[~mask].any()
    torch.testing.assert_close(gradient.sum(1), torch.ones(2, 3, dtype=torch.float64))
    shown = h.detach().masked_fill(~mask[..., None], -math.inf)
    expected = {
        "last": one_hot(torch.tensor([[3] * 3, [0] * 3]), 4).movedim(-1, 1),
        "max": one_hot(shown.argmax(1), 4).movedim(-1, 1),
        "absmax": one_hot((h * mask[..., None]).abs().argmax(1), 4).movedim(-1, 1),
        "mean": (mask / mask.sum(1, keepdim=True))[..., None].expand(-1, -1, 3),
        "logsumexp": shown.softmax(1),
    }
    torch.testing.assert_close(gradient, expected[kind].double())


def test_temperature_is_the_formula_and_its_gradient_is_exact():
    h = states().requires_grad_(True)
    pooled = pool(h, MASK, "logsumexp", temperature=0.7)
    for i in range(4):
        row = 0.7 * (h[i][MASK[i]] / 0.7).exp().mean(0).log()
        torch.testing.assert_close(pooled[i], row)
    assert torch.autograd.gradcheck(lambda x: pool(x, MASK, "logsumexp", temperature=0.7), h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperature_goes_from_max_to_mean(dtype):
    h, mask = states().to(dtype), MASK
    mean, top = (pool(h, mask, kind) for kind in ("mean", "max"))
    coldest, hottest = (pool(h, mask, "logsumexp", temperature=t) for t in (1e-6, 1e6))
    torch.testing.assert_close(coldest, top, rtol=0, atol=1e-4)
    torch.testing.assert_close(hottest, mean, rtol=0, atol=1e-5)
    steps = [0.01, 0.1, 0.5, 2.0, 10.0]
    between = torch.stack([pool(h, mask, "logsumexp", temperature=t)[:2] for t in steps])
    assert (between.diff(dim=0) < 0).all()
    assert (between > mean[:2]).all()
    assert (between[1:] < top[:2]).all()


@pytest.mark.parametrize(
    ("h", "mask", "kind", "temperature", "message"),
    [
        (states(), MASK, "median", None, "kind"),
        (states(), MASK & (torch.arange(4) != 1)[:, None], "mean", None, r"rows \[1\]"),
        (states(), MASK.float(), "mean", None, "bool"),
        (states(), MASK[:, :3], "mean", None, "bool"),
        (states()[0], MASK, "mean", None, "h must be"),
        (states(), MASK, "logsumexp", 0.0, "temperature"),
        (states(), MASK, "logsumexp", math.inf, "temperature"),
        (states(), MASK, "max", 1.0, "temperature"),
    ],
)
def test_refuses(h, mask, kind, temperature, message):
    with pytest.raises(ValueError, match=message):
        pool(h, mask, kind, temperature=temperature)
