"""Linear Gaussian codes and the best prior against closed forms and other people's code."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from checks import close, refuses
from sklearn.decomposition import PCA

from dgm.data import images
from dgm.papers.rate_distortion import linear_gaussian_curve, log_normaliser
from dgm.sampling.references import best_prior, gaussian_curve, principal_components

BETAS = [0.05, 0.5, 5.0, 500.0]


@pytest.fixture(scope="module")
def digits():
    return images.load("digits", "train").x


def test_components_reach_scikit_learn_s_error(digits):
    for k in (2, 10, 64):
        pca = PCA(k, svd_solver="full").fit(digits.double().numpy())
        expected = (pca.inverse_transform(pca.transform(digits.numpy())) - digits.numpy()) ** 2
        weight, bias = principal_components(digits, k)
        curve = linear_gaussian_curve(weight, bias, digits, [1e9])
        close(float(curve.distortion.mean()), float(expected.sum(1).mean()), rtol=1e-4, atol=1e-6)
        # Codes of the images have mean 0 and variance 1, as the prior has.
        codes = (digits.double() - bias) @ weight / weight.square().sum(0)
        used = weight.norm(dim=0) > 1e-6
        close(torch.cov(codes.T[used]), torch.eye(int(used.sum())).double(), rtol=0, atol=1e-6)


def test_few_images_have_the_components_of_their_covariance(digits):
    x = digits[:20].double()
    weight, _ = principal_components(x)
    assert weight.shape == (64, 20)
    close(weight @ weight.T, torch.cov(x.T), rtol=0, atol=1e-9)


def test_water_filling_is_numpy_s(digits):
    own = principal_components(digits)[0].square().sum(0)
    curve = gaussian_curve(own, BETAS)
    variances = np.linalg.eigvalsh(np.cov(digits.double().numpy().T))
    # Another road: for a distortion, the level is found by bisection.
    for rate, distortion in zip(curve.rate, curve.distortion, strict=True):
        low, high = 0.0, variances.max()
        for _ in range(200):
            level = (low + high) / 2
            below = np.minimum(level, variances).sum() < float(distortion)
            low, high = (level, high) if below else (low, level)
        wet = variances[variances > level]
        assert float(rate) == pytest.approx(0.5 * np.log(wet / level).sum(), rel=1e-6, abs=1e-9)
    step = 1e-4
    after = gaussian_curve(own, [b * (1 + step) for b in BETAS])
    slope = (after.rate - curve.rate) / (after.distortion - curve.distortion)
    close(slope[2:], -torch.tensor(BETAS[2:], dtype=torch.float64), rtol=1e-3, atol=0)


def test_a_gaussian_costs_its_own_linear_code_no_less():
    # For a Gaussian source no prior and decoder are below Shannon's curve, equation (1).
    x = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([3, 1, 0.2])
    for k in (1, 2, 3):
        mean = linear_gaussian_curve(*principal_components(x, k), x, BETAS).mean()
        own = principal_components(x)[0].square().sum(0)
        shannon = gaussian_curve(own, torch.logspace(-4, 4, 4000))
        lines = shannon.rate + mean.beta[:, None] * shannon.distortion
        assert bool((-mean.log_z > lines.amin(1) - 1e-3).all())


def binary_entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


class TestBestPrior:
    @pytest.mark.parametrize("ones", [3, 5])
    def test_a_coin_has_shannon_s_curve(self, ones):
        # R(D) = h(p) - h(D) under the Hamming distance, and beta = log((1 - D) / D).
        x = torch.tensor([1.0] * ones + [0.0] * (10 - ones), dtype=torch.float64)
        energy, start = (x[:, None] - torch.tensor([0.0, 1.0])).abs(), torch.tensor([0.9, 0.1])
        for d in (0.01, 0.1, 0.25):
            beta = math.log((1 - d) / d)
            best = best_prior(energy, beta, start.log(), tolerance=1e-10, max_steps=20_000)
            assert best.gap < 1e-10
            expected = binary_entropy(ones / 10) - binary_entropy(d) + beta * d
            assert -float(best.log_z.mean()) == pytest.approx(expected, abs=1e-8)
            odds = (ones / 10 - d) / (1 - 2 * d)
            close(best.log_prior.exp(), torch.tensor([1 - odds, odds]).double(), rtol=0, atol=1e-4)

    def test_a_gaussian_has_shannon_s_curve(self):
        normal = torch.distributions.Normal(0.0, 1.0)
        x = normal.icdf((torch.arange(1000) + 0.5) / 1000).double()
        grid = torch.linspace(-5, 5, 201, dtype=torch.float64)
        energy = (x[:, None] - grid).square()
        for d in (0.1, 0.5):
            beta = 1 / (2 * d)
            best = best_prior(energy, beta, tolerance=1e-4, max_steps=3000)
            expected = 0.5 * math.log(1 / d) + beta * d
            assert -float(best.log_z.mean()) == pytest.approx(expected, rel=0.01)

    def test_bounds_and_identities(self):
        generator = torch.Generator().manual_seed(1)
        x, codes = (torch.randn(n, 3, generator=generator).double() for n in (40, 200))
        energy, other = (torch.cdist(a, codes).square() for a in (x, 1.1 * x.flip(1) + 0.1))
        exact = {"tolerance": 1e-6, "max_steps": 20_000}
        start, before = torch.linspace(0, -3, 200).double().log_softmax(0), None
        for beta in (0.01, 0.3, 3.0, 300.0):
            best = best_prior(energy, beta, start, **exact)
            own = log_normaliser(start, energy, beta)
            close(best.log_z, log_normaliser(best.log_prior, energy, beta), rtol=0, atol=1e-8)
            cost, step = -float(best.log_z.mean()), 1e-3 * beta
            assert cost <= -float(own.mean()) + 1e-12
            weight = (best.log_prior - beta * energy).softmax(1)
            distortion = float((weight * energy).sum(1).mean())
            rate = cost - beta * distortion
            assert -1e-9 <= rate <= math.log(40) + 1e-9  # at most the images' own entropy
            ends = (best_prior(energy, beta + s, start, **exact) for s in (step, -step))
            up, down = (-float(end.log_z.mean()) for end in ends)
            assert (up - down) / (2 * step) == pytest.approx(distortion, rel=0.02)
            if before:  # a chord of the curve has a slope between both prices
                (beta_before, rate_before, d_before) = before
                slack = 1e-5
                assert rate - rate_before <= beta * (d_before - distortion) + slack
                assert rate - rate_before >= beta_before * (d_before - distortion) - slack
            before = beta, rate, distortion
            early = best_prior(energy, beta, start, unseen=other)
            costs = [-log_normaliser(p, other, beta).mean() for p in (early.log_prior, start)]
            assert costs[0] <= costs[1] + 1e-9
        assert rate > 0.9 * math.log(40)  # it knows all images by heart

    def test_the_gap_is_a_bound(self):
        energy = torch.rand(30, 50, generator=torch.Generator().manual_seed(2)).double() * 9
        least = -float(best_prior(energy, 1.0, tolerance=1e-9, max_steps=50_000).log_z.mean())
        for n in (0, 1, 5, 50):
            short = best_prior(energy, 1.0, max_steps=n)
            assert 0 <= -float(short.log_z.mean()) - least <= short.gap
            assert short.steps <= n


ENERGY = torch.rand(4, 5)
test_what_does_not_fit_is_named = refuses(
    {
        "have no 4 components": partial(principal_components, torch.rand(9, 3), 4),
        "1 images of 3": partial(principal_components, torch.rand(1, 3)),
        "variances": partial(gaussian_curve, -torch.ones(3), BETAS),
        "finite distortions": [
            partial(best_prior, ENERGY[0], 1.0),
            partial(best_prior, ENERGY / 0, 1.0),
            partial(best_prior, ENERGY, 1.0, unseen=ENERGY[:, 1:]),
        ],
        "log_prior must be": partial(best_prior, ENERGY, 1.0, torch.zeros(4)),
        "betas must be": partial(best_prior, ENERGY, -1.0),
    }
)
