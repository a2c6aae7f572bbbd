"""The mixture of softmaxes in blocks beside the naive one: `make bench`."""

from functools import partial

import pytest
import torch
from benches import seconds

from dgm.nets.mixture_of_softmaxes import mixture_of_softmaxes_nll

TOKENS, EXPERTS, WIDTH, WORDS, ROUNDS = 840, 15, 280, 10_000, 3


def naive(latent, log_prior, weight, bias, targets):
    """The mixture over the vocabulary as one tensor, and its logarithm."""
    each = torch.softmax(latent.flatten(0, 1) @ weight.T + bias, -1)
    mixture = (log_prior.exp()[..., None] * each.view(*latent.shape[:2], -1)).sum(1)
    return -mixture.gather(1, targets[:, None]).log().mean()


def blocked(*arguments):
    return mixture_of_softmaxes_nll(*arguments).total


def inputs(n=TOKENS):
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(n, EXPERTS, WIDTH, generator=generator).tanh()]
    parts += [torch.randn(n, EXPERTS, generator=generator).log_softmax(-1)]
    parts += [0.05 * torch.randn(WORDS, WIDTH, generator=generator), torch.zeros(WORDS)]
    return [p.requires_grad_() for p in parts], torch.randint(WORDS, (n,), generator=generator)


def there_and_back(loss, parts, targets):
    value = loss(*parts, targets)
    torch.autograd.grad(value, parts)
    return float(value.detach())


def test_seconds(benchmark):
    parts, targets = inputs(TOKENS // 10)
    values = [there_and_back(loss, parts, targets) for loss in (blocked, naive)]
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    benchmark.pedantic(there_and_back, (blocked, parts, targets), rounds=1)
    if benchmark.stats:
        parts, targets = inputs()
        runs = [partial(there_and_back, loss, parts, targets) for loss in (blocked, naive)]
        taken = torch.tensor([[seconds(run) for run in runs] for _ in range(ROUNDS)])
        ratio = float((taken[:, 0] / taken[:, 1]).median())
        benchmark.extra_info["to_naive"] = ratio
        assert ratio < 1.2
