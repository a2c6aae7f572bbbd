"""The blocked loss against the naive one, and what a mixture can that a softmax cannot."""

import math

import pytest
import torch
from benches import Watch
from checks import close, refuses
from draws import normal, rng

from dgm.nets.mixture_of_softmaxes import mixture_log_probs, mixture_of_softmaxes_nll

N, K, E, V = 11, 3, 4, 13


def inputs(n=N, k=K, e=E, v=V, dtype=torch.float64):
    parts = [normal(n, k, e, seed=1), normal(n, k, seed=2).log_softmax(-1)]
    parts += [normal(v, e, seed=3), normal(v, seed=4)]
    targets = torch.randint(v, (n,), generator=rng(5))
    return [p.to(dtype).requires_grad_() for p in parts], targets


def naive(latent, log_prior, weight, bias, targets):
    each = torch.softmax(latent @ weight.T + bias, -1)
    mixture = (log_prior.exp()[..., None] * each).sum(1)
    return -mixture[torch.arange(len(targets)), targets].log()


@pytest.mark.parametrize(("block", "k"), [(1, K), (4, K), (11, 1), (100, K), (None, 1)])
def test_equals_the_naive_loss_with_its_gradients(block, k):
    parts, targets = inputs(k=k)
    weights = torch.rand(N, generator=rng(7)).double()
    result = mixture_of_softmaxes_nll(*parts, targets, weights=weights, block=block)
    expected = naive(*parts, targets)
    close(result.tokens, expected.detach())
    assert not result.tokens.requires_grad
    gradients = torch.autograd.grad(3 * result.total, parts)
    close(gradients, torch.autograd.grad(3 * (expected @ weights), parts))
    mean = mixture_of_softmaxes_nll(*parts, targets, block=block).total
    close(mean, expected.mean())


def test_probabilities_sum_to_one():
    parts, _ = inputs()
    log_p = mixture_log_probs(*parts)
    assert log_p.shape == (N, V)
    close(log_p.exp().sum(1), torch.ones(N).double(), rtol=0, atol=1e-12)


def test_extreme_logits_stay_finite():
    parts, targets = inputs()
    parts[0].data *= 1e4
    parts[1].data[:, 0] = -math.inf
    result = mixture_of_softmaxes_nll(*parts, targets)
    assert torch.isfinite(result.tokens).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(result.total, parts))


def test_narrow_inputs_are_computed_wide():
    parts, targets = inputs(dtype=torch.bfloat16)
    result = mixture_of_softmaxes_nll(*parts, targets)
    assert result.total.dtype == result.tokens.dtype == torch.float32
    expected = naive(*(p.float() for p in parts), targets)
    close(result.tokens, expected.detach(), rtol=1e-5, atol=1e-5)
    result.total.backward()
    assert parts[0].grad.dtype == torch.bfloat16


def test_autocast_narrows_the_products_alone():
    """bfloat16 has 8 bits: products are off by some 2^-8 of their size, sums are not."""
    parts, targets = inputs(n=200, e=8, v=50, dtype=torch.float32)
    wide = mixture_of_softmaxes_nll(*parts, targets)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = mixture_of_softmaxes_nll(*parts, targets)
    assert narrow.total.dtype == narrow.tokens.dtype == torch.float32
    assert 0 < float((wide.tokens - narrow.tokens).abs().max()) < 16 * 2**-8
    gradients = [torch.autograd.grad(result.total, parts) for result in (wide, narrow)]
    for a, b in zip(*gradients, strict=True):
        assert b.dtype == torch.float32
        assert 0 < float((a - b).norm() / a.norm()) < 2**-5


def test_no_block_is_larger_than_asked():
    """Logits of all tokens would be the largest tensor by far; nothing that large is output."""
    parts, targets = inputs(64, 4, 4, 500, torch.float32)
    with Watch() as watch:
        mixture_of_softmaxes_nll(*parts, targets, block=2).total.backward()
    assert max(watch.sizes) == 2 * 4 * 500
    assert watch.sizes.count(500 * 4) > 1  # a gradient of the weights, say


PARTS, TARGETS = inputs()
REFUSED = {
    "want": [
        {"latent": normal(N, E)},
        {"latent": normal(0, K, E)},
        {"log_prior": normal(N, K - 1)},
        {"weight": normal(V, E - 1)},
        {"targets": TARGETS[1:]},
        {"weights": torch.ones(2)},
    ],
    "block": {"block": 0},
}
test_arguments_are_checked = refuses(
    REFUSED,
    mixture_of_softmaxes_nll,
    **dict(zip(("latent", "log_prior", "weight", "bias"), PARTS, strict=True)),
    targets=TARGETS,
)
