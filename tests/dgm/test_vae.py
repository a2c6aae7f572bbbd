"""Closed forms and inequalities of the Gaussian VAE bounds."""

import math

import pytest
import torch
from checks import close, refuses
from draws import normal, rng
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from dgm.vae import elbo, gaussian_kl, gaussian_log_likelihood, importance_bound, reparameterise


def test_kl_against_torch_distributions():
    mu, logvar = normal(7, 3), normal(7, 3, seed=1)
    q = Independent(Normal(mu, (0.5 * logvar).exp()), 1)
    p = Independent(Normal(torch.zeros_like(mu), torch.ones_like(mu)), 1)
    close(gaussian_kl(mu, logvar), kl_divergence(q, p))


def test_kl_keeps_gradient_and_dtype_and_is_exact_near_zero():
    mu = torch.zeros(2, 3, requires_grad=True)
    logvar = torch.full((2, 3), 1e-4, requires_grad=True)
    kl = gaussian_kl(mu, logvar)
    assert kl.dtype == torch.float32
    # 0.5 (e^v - 1 - v) = v^2 / 4 for small v, which exp(v) - 1 would lose in float32
    close(kl, torch.full((2,), 3 * 1e-8 / 4), rtol=0.1, atol=0)
    kl.sum().backward()
    assert mu.grad is not None
    assert torch.isfinite(logvar.grad).all()


def test_half_precision_does_not_overflow():
    mu = torch.full((1, 1), 300.0, dtype=torch.float16)
    assert float(gaussian_kl(mu, torch.zeros_like(mu))) == pytest.approx(45_000)
    x = torch.full((1, 100), 10.0, dtype=torch.float16)
    far = gaussian_log_likelihood(300 * x / 10, 0 * x, torch.tensor(20.0, dtype=torch.float16))
    assert float(far) == pytest.approx(
        -0.5 * (9e6 * math.exp(-20) + 100 * (math.log(2 * math.pi) + 20))
    )


def test_likelihood_against_torch_distributions():
    x, mean = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    log_variance = torch.tensor(-1.3, dtype=torch.float64)
    exact = Normal(mean, (0.5 * log_variance).exp()).log_prob(x).sum(1)
    close(gaussian_log_likelihood(x, mean, log_variance), exact)


def linear_gaussian(k, seed):
    """x = W z + noise: importance weights of a poor posterior, and the exact log p(x)."""
    weight, x = normal(4, 2, seed=seed), normal(300, 4, seed=seed + 1)
    law = MultivariateNormal(torch.zeros(4).double(), weight @ weight.T + torch.eye(4))
    q = Normal(torch.zeros(300, 2).double(), math.exp(-0.25))
    z = q.mean + normal(k, 300, 2, seed=seed + 2) * q.stddev
    log_ratio = Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
    return Normal(z @ weight.T, 1.0).log_prob(x).sum(-1) + log_ratio.sum(-1), law.log_prob(x)


def test_bounds_rise_towards_the_exact_likelihood():
    log_w, exact = linear_gaussian(256, seed=0)
    assert torch.equal(importance_bound(log_w[:1]), log_w[0])  # the ELBO
    slack = []
    for k in (1, 16, 256):
        bound = importance_bound(log_w[:k])
        missed = exact - bound
        assert missed.mean() > -4 * missed.std() / math.sqrt(300)
        slack.append(float(missed.mean()))
    assert slack[0] > 3 * slack[1] > 9 * slack[2] > 0


def test_elbo_terms_add_up():
    log_likelihood = torch.tensor([-3.0, -5.0])
    mu, logvar = torch.ones(2, 3), torch.zeros(2, 3)
    bound = elbo(log_likelihood, mu, logvar, beta=2.0)
    close(bound.kl, torch.tensor([1.5, 1.5]))
    close(bound.value, log_likelihood - 2.0 * bound.kl)


def test_reparameterised_samples_have_the_moments():
    mu, logvar = torch.tensor([[0.5, -2.0]]), torch.tensor([[0.7, -1.0]])
    z = reparameterise(mu.expand(40_000, 2), logvar.expand(40_000, 2), rng())
    error = (0.5 * logvar[0]).exp() / math.sqrt(40_000)
    assert ((z.mean(0) - mu[0]).abs() < 4 * error).all()
    assert ((z.var(0) / logvar[0].exp() - 1).abs() < 4 * math.sqrt(2 / 40_000)).all()


REFUSED = {
    "must both be": [
        lambda: gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 2)),
        lambda: gaussian_kl(torch.zeros(3), torch.zeros(3)),
    ],
    "finite": lambda: gaussian_kl(torch.full((2, 3), math.nan), torch.zeros(2, 3)),
    "must be": lambda: importance_bound(torch.zeros(3)),
    "at least 1": lambda: importance_bound(torch.zeros(0, 3)),
    "log_likelihood": lambda: elbo(torch.zeros(3), torch.zeros(2, 1), torch.zeros(2, 1)),
}
test_bad_arguments_are_told = refuses(REFUSED)


def test_validation_can_be_turned_off():
    kl = gaussian_kl(torch.full((1, 2), math.nan), torch.zeros(1, 2), validate=False)
    assert torch.isnan(kl).all()
