"""Pooling against the loop, its gradients, and its temperature from the maximum to the mean."""

import math

import pytest
import torch
from checks import close, refuses
from draws import normal
from torch.nn.functional import one_hot

from dgm.nets.pooling import KINDS, pool

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]]).bool()


STATES = normal(4, 4, 5)


REFERENCE = {
    "last": lambda h: h[-1],
    "mean": lambda h: h.sum(0) / len(h),
    "max": lambda h: torch.stack([max(column) for column in h.T]),
    "absmax": lambda h: torch.stack([max(column, key=abs) for column in h.T]),
    "logsumexp": lambda h: torch.stack([column.exp().sum().log() for column in h.T]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_loop(kind):
    h = STATES
    pooled = pool(h, MASK, kind)
    for i in range(4):
        close(pooled[i], REFERENCE[kind](h[i][MASK[i]]))
    whole = pool(h, None, kind)
    close(whole, torch.stack([REFERENCE[kind](x) for x in h]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_its_type_and_does_not_overflow(kind, dtype):
    h = torch.full((2, 4, 3), 6e4, dtype=dtype)
    assert torch.equal(pool(h, None, kind), h[:, 0])
    assert pool(h, None, kind).dtype == dtype


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_exact(kind):
    mask = torch.tensor([[True, True, False, True], [True, False, False, False]])
    h = STATES[:2, :, :3].requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: pool(x, mask, kind), h)
    (gradient,) = torch.autograd.grad(pool(h, mask, kind).sum(), h)
    assert not gradient[~mask].any()
    close(gradient.sum(1), torch.ones(2, 3, dtype=torch.float64))
    shown = h.detach().masked_fill(~mask[..., None], -math.inf)
    expected = {
        "last": one_hot(torch.tensor([[3] * 3, [0] * 3]), 4).movedim(-1, 1),
        "max": one_hot(shown.argmax(1), 4).movedim(-1, 1),
        "absmax": one_hot((h * mask[..., None]).abs().argmax(1), 4).movedim(-1, 1),
        "mean": (mask / mask.sum(1, keepdim=True))[..., None].expand(-1, -1, 3),
        "logsumexp": shown.softmax(1),
    }
    close(gradient, expected[kind].double())


def test_temperature_is_the_formula_and_its_gradient_is_exact():
    h = STATES.clone().requires_grad_(True)
    pooled = pool(h, MASK, "logsumexp", temperature=0.7)
    for i in range(4):
        row = 0.7 * (h[i][MASK[i]] / 0.7).exp().mean(0).log()
        close(pooled[i], row)
    assert torch.autograd.gradcheck(lambda x: pool(x, MASK, "logsumexp", temperature=0.7), h)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_temperature_goes_from_max_to_mean(dtype):
    h, mask = STATES.to(dtype), MASK
    mean, top = (pool(h, mask, kind) for kind in ("mean", "max"))
    coldest, hottest = (pool(h, mask, "logsumexp", temperature=t) for t in (1e-6, 1e6))
    close(coldest, top, rtol=0, atol=1e-4)
    close(hottest, mean, rtol=0, atol=1e-5)
    steps = [0.01, 0.1, 0.5, 2.0, 10.0]
    between = torch.stack([pool(h, mask, "logsumexp", temperature=t)[:2] for t in steps])
    assert (between.diff(dim=0) < 0).all()
    assert (between > mean[:2]).all()
    assert (between[1:] < top[:2]).all()


REFUSED = {
    "kind": {"kind": "median"},
    r"rows \[1\]": {"mask": MASK & (torch.arange(4) != 1)[:, None]},
    "bool": [{"mask": MASK.float()}, {"mask": MASK[:, :3]}],
    "h must be": {"h": STATES[0]},
    "temperature": [
        {"kind": "logsumexp", "temperature": 0.0},
        {"kind": "logsumexp", "temperature": math.inf},
        {"kind": "max", "temperature": 1.0},
    ],
}
test_what_cannot_be_pooled_is_refused = refuses(
    REFUSED, call=pool, h=STATES, mask=MASK, kind="mean"
)
