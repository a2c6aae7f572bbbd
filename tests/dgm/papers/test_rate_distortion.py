"""Rate-distortion curves against closed forms, quadrature and invariances."""

import math
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dgm import checkpoint
from dgm.data import images, minibatches
from dgm.papers.rate_distortion import (
    ImageVAE,
    RateDistortionCurve,
    SamplerOptions,
    StepSizes,
    bdmc_gap,
    linear_gaussian_curve,
    quadrature_curve,
    rate_distortion_curve,
    vae_objective,
)
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.resume import same_probe
from dgm.train import TrainingState, fit

BETAS = [0.05, 0.5, 5.0, 50.0, 500.0]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def linear_problem(n_images=48, m=20, d=5, seed=0):
    """A random linear decoder and images near its range, float64."""
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    weight = 0.5 * torch.randn(m, d, **options)
    bias = torch.randn(m, **options)
    decoder = nn.Linear(d, m).double()
    decoder.load_state_dict({"weight": weight, "bias": bias})
    codes = torch.randn(n_images, d, **options)
    x = codes @ weight.T + bias + 0.3 * torch.randn(n_images, m, **options)
    return decoder, x


def exact_curve(decoder, x, betas=BETAS):
    return linear_gaussian_curve(decoder.weight, decoder.bias, x, betas)


def curve(decoder, x, betas=BETAS, **arguments):
    latent_dim = arguments.pop("latent_dim", getattr(decoder, "in_features", 5))
    defaults = {
        "n_chains": 24, "n_leapfrog": 8, "temperatures_per_beta": 120, "progress": False,
    }  # fmt: skip
    sampler = {k: arguments.pop(k) for k in SamplerOptions._fields if k in arguments}
    return rate_distortion_curve(
        decoder, x, latent_dim=latent_dim, betas=betas, options=SamplerOptions(**sampler),
        **{**defaults, **arguments},
    )  # fmt: skip


@pytest.fixture(scope="module")
def vae2():
    """A VAE with two latent dimensions, trained for a few seconds on real digits."""
    data = images.load("digits", "train").x
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ImageVAE(64, 2, (32,))
    state = TrainingState(
        model, torch.optim.Adam(model.parameters(), lr=3e-3), torch.Generator().manual_seed(0)
    )
    picks = minibatches(len(data), 64, 0)

    def step(state, x):
        loss = -vae_objective(state.model, x, state.generator).value.mean()
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach()}

    history = fit(step, lambda i: data[picks(i)], state, 600, progress=False)
    assert history.terms["loss"][-1] < history.terms["loss"][0]
    return model, images.load("digits", "test").x[:24]


def test_golden_linear_case():
    """Values of the specification; its first log Z is printed 4e-7 off its own R + beta D."""
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    found = linear_gaussian_curve(weight, torch.zeros(3), torch.ones(1, 3), [0.05, 0.5, 5, 500])
    golden = torch.tensor(
        [
            [0.0419158, 6.1028841, -0.3470600],
            [0.7062925, 2.59, -2.0012925],
            [2.6455833, 1.1973294, -8.6322303],
            [7.2260907, 1.0019998, -508.2259965],
        ],
        dtype=torch.float64,
    )
    rows = torch.cat([found.rate, found.distortion, found.log_z], 1)
    torch.testing.assert_close(rows, golden, rtol=0, atol=5e-8)


def test_closed_form_has_the_slope_minus_beta_and_the_limits():
    decoder, x = linear_problem()
    beta, step = 3.0, 1e-5
    near = exact_curve(decoder, x, [beta - step, beta, beta + step])
    slope = (near.rate[2] - near.rate[0]) / (near.distortion[2] - near.distortion[0])
    torch.testing.assert_close(slope, torch.full_like(slope, -beta), rtol=1e-5, atol=0)
    derivative = (near.log_z[2] - near.log_z[0]) / (2 * step)
    torch.testing.assert_close(derivative, -near.distortion[1], rtol=1e-6, atol=0)
    start = exact_curve(decoder, x, [1e-9])
    zero = (x - decoder.bias).square().sum(1) + decoder.weight.square().sum()
    torch.testing.assert_close(start.distortion[0], zero.detach(), rtol=1e-6, atol=0)
    assert float(start.rate.detach().abs().max()) < 1e-9
    # high rate: D - D_min is D / (2 beta), and the rate grows by (D / 2) log 10 a decade
    end = exact_curve(decoder, x, [1e5, 1e6])
    excess = (end.distortion[0] - end.distortion[1]).mean()
    assert float(excess) == pytest.approx(5 / 2 * (1e-5 - 1e-6), rel=1e-3)
    assert float((end.rate[1] - end.rate[0]).mean()) == pytest.approx(2.5 * math.log(10), rel=1e-3)


def test_matched_gaussian_source():
    """The 1-D Gaussian source of the specification: R_p and D at a = 1 and 10, averaged over x."""
    s, generator = 1.7, torch.Generator().manual_seed(0)
    x = s * torch.randn(400_000, 1, generator=generator, dtype=torch.float64)
    betas = [1 / (2 * s * s), 10 / (2 * s * s)]
    mean = linear_gaussian_curve(torch.tensor([[s]]), torch.zeros(1), x, betas).mean()
    for r, expected in enumerate([0.2215736, 1.1576253]):
        assert abs(float(mean.rate[r]) - expected) < 4 * float(mean.rate_error[r])
    expected = [(2 + a) / (1 + a) ** 2 * s * s for a in (1, 10)]
    for r in (0, 1):
        missed = abs(float(mean.distortion[r]) - expected[r])
        assert missed < 4 * float(mean.distortion_error[r])


@pytest.mark.parametrize("device", DEVICES)
def test_annealing_against_the_linear_decoder(device):
    decoder, x = linear_problem()
    found = curve(decoder, x, temperatures_per_beta=200, n_chains=32, device=device)
    exact = exact_curve(decoder, x)
    n = x.shape[0]
    for term in ("log_z", "rate", "distortion"):
        missed = getattr(found, term) - getattr(exact, term)
        z = missed.mean(1) / (missed.std(1) / math.sqrt(n))
        assert z.abs().max() < 4, f"{term}: {z.tolist()} standard errors"
    # the tolerance is worth something: log Z is known to less than a tenth of a nat
    assert (found.log_z - exact.log_z).std(1).max() / math.sqrt(n) < 0.08
    assert (found.acceptance > 0.3).all()
    assert (found.ess > 1).all()
    assert (found.ess <= 32).all()


def test_forces_are_the_gradient_of_the_energy():
    decoder = ImageVAE(6, 3, (8,)).decoder.double()
    x = torch.rand(4, 6, dtype=torch.float64)
    plain, given = (
        DecoderTarget(decoder, x, 3, 2, None, distortion)
        for distortion in ("squared_error", lambda a, b: (a - b).square().sum(1))
    )
    z = torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    state = plain(z)
    energy = (decoder(z) - x.repeat(2, 1)).square().sum(1)
    torch.testing.assert_close(state.energy, energy.detach())
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-6
        slope = (plain(z + step).energy - plain(z - step).energy) / 2e-6
        torch.testing.assert_close(state.gradient[:, axis], slope, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(given(z).gradient, state.gradient)
    torch.testing.assert_close(state.prior_gradient, z)


def test_a_crude_run_is_right_once_it_is_weighted():
    """A handful of steps leaves the chains behind the target: only their weights make up for it."""
    decoder, x = linear_problem(n_images=1)
    x = x.repeat(300, 1)  # 300 runs on one image
    beta = 0.4
    found = curve(
        decoder, x, [beta], n_chains=400, temperatures_per_beta=6, step_sizes=0.1, n_leapfrog=2
    )
    assert found.ess.mean() < 200
    exact = exact_curve(decoder, x[:1], [beta])
    unweighted = exact_curve(decoder, x[:1], [beta / 2])
    apart = float((unweighted.distortion - exact.distortion).detach())
    for term in ("rate", "distortion"):
        missed = getattr(found, term)[0] - getattr(exact, term)[0].detach()
        # the weighted mean of 400 chains has a bias of the order of 1 / ess
        slack = 4 * float(missed.std()) / math.sqrt(300) + apart / float(found.ess.mean())
        assert abs(float(missed.mean())) < slack, term
    weight = decoder.weight.detach()
    covariance = torch.linalg.inv(torch.eye(5).double() + 2 * beta * weight.T @ weight)
    mean = 2 * beta * covariance @ weight.T @ (x[0] - decoder.bias.detach())
    z = (found.codes[0].mean(0) - mean) / (covariance.diagonal() / 300).sqrt()
    assert z.abs().max() < 4


@pytest.mark.parametrize("device", DEVICES)
def test_identity_and_monotonicity(device):
    decoder, x = linear_problem(n_images=8)
    betas = torch.logspace(-1.5, 2.5, 15, dtype=torch.float64)
    found = curve(decoder, x, betas, temperatures_per_beta=40, device=device)
    total = found.rate + betas[:, None] * found.distortion + found.log_z
    assert total.abs().max() < 1e-6
    # one set of chains carries the curve, so steps between neighbours have errors of their own
    steps = found.rate.diff(dim=0)
    assert (steps.mean(1) > -4 * steps.std(1) / math.sqrt(8)).all()
    falls = found.distortion.diff(dim=0)
    assert (falls.mean(1) < 4 * falls.std(1) / math.sqrt(8)).all()
    exact = exact_curve(decoder, x, betas)
    assert (exact.rate.diff(dim=0) >= 0).all()
    assert (exact.distortion.diff(dim=0) <= 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_trained_vae_against_quadrature(vae2, device):
    model, x = vae2
    betas = [0.1, 0.5, 2.0, 5.0]
    coarse, exact = (
        quadrature_curve(model.decoder, x, latent_dim=2, betas=betas, n_points=n)
        for n in (301, 601)
    )
    assert (coarse.log_z - exact.log_z).abs().max() < 1e-3  # the grid is fine enough
    found = curve(
        model.decoder,
        x,
        betas,
        latent_dim=2,
        n_chains=24,
        n_leapfrog=10,
        temperatures_per_beta=80,
        device=device,
    )
    for term in ("log_z", "rate", "distortion"):
        missed = getattr(found, term) - getattr(exact, term)
        z = missed.mean(1) / (missed.std(1) / math.sqrt(len(x)))
        assert z.abs().max() < 4, f"{term}: {z.tolist()} standard errors"


def test_any_encoder_lies_above_the_optimum(vae2):
    """R + beta D of the encoder's posterior is at least -log Z of the decoder, image by image."""
    model, x = vae2
    beta = 0.5 / float(model.log_variance.detach().exp())
    exact = quadrature_curve(model.decoder, x, latent_dim=2, betas=[beta], n_points=801)
    with torch.no_grad():
        mu, logvar = model.posterior(x)
        noise = torch.randn(2000, *mu.shape, generator=torch.Generator().manual_seed(0))
        output = model.decoder(mu + (0.5 * logvar).exp() * noise)
    distortion = (output - x).square().sum(-1).double()
    kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).double()
    free_energy = kl + beta * distortion.mean(0)
    error = beta * distortion.std(0) / math.sqrt(2000)
    assert (free_energy + exact.log_z[0] > -4 * error).all()


def test_likelihood_of_the_linear_gaussian_model():
    """Equation (8) against the exact density N(x; b, W W^T + sigma^2 I)."""
    decoder, x = linear_problem(n_images=5)
    beta = 1.7
    covariance = decoder.weight @ decoder.weight.T + torch.eye(20).double() / (2 * beta)
    exact = torch.distributions.MultivariateNormal(decoder.bias, covariance).log_prob(x)
    log_z = exact_curve(decoder, x, [beta]).log_z[0]
    found = log_z + 10 * math.log(beta / math.pi)
    torch.testing.assert_close(found, exact.detach(), rtol=1e-9, atol=0)


def test_rescaled_images_shift_beta():
    """x, f -> c x, c f maps beta -> beta / c^2 and D -> c^2 D, and leaves the rate."""
    decoder, x = linear_problem(n_images=4)
    c = 4.0  # a power of two: the floating-point numbers scale exactly
    scaled = nn.Linear(5, 20).double()
    scaled.load_state_dict({"weight": c * decoder.weight, "bias": c * decoder.bias})
    betas = torch.tensor([0.1, 2.0, 10.0], dtype=torch.float64)
    one = curve(decoder, x, betas, temperatures_per_beta=15, seed=3)
    other = curve(scaled, c * x, betas / c**2, temperatures_per_beta=15, seed=3)
    torch.testing.assert_close(other.rate, one.rate, rtol=0, atol=1e-6)
    torch.testing.assert_close(other.distortion, c**2 * one.distortion, rtol=1e-6, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_bdmc_brackets_the_exact_value_and_closes(device):
    decoder, _ = linear_problem()
    beta, gaps = 5.0, []
    for n_temperatures in (15, 60, 240):
        found = bdmc_gap(
            decoder,
            latent_dim=5,
            beta=beta,
            n_images=48,
            n_chains=16,
            n_temperatures=n_temperatures,
            n_leapfrog=8,
            device=device,
            exact=lambda x: linear_gaussian_curve(decoder.weight, decoder.bias, x, [beta]).log_z[0],
            progress=False,
        )
        below, above = found.log_z - found.lower, found.upper - found.log_z
        for side in (below, above):
            assert side.mean() > -4 * side.std() / math.sqrt(48)
        assert found.gap == pytest.approx(float((found.upper - found.lower).mean()))
        gaps.append((found.gap, found.standard_error))
    assert gaps[0][0] > 4 * gaps[0][1]
    for (wide, wide_error), (narrow, narrow_error) in pairwise(gaps):
        assert wide - narrow > -4 * math.hypot(wide_error, narrow_error)
    assert gaps[2][0] < 0.5 * gaps[0][0]


@pytest.mark.parametrize("device", DEVICES)
def test_bdmc_weights_are_unbiased_both_ways(device):
    """Six temperatures, so that the first code must be an exact sample for its image."""
    generator = torch.Generator().manual_seed(0)
    decoder = nn.Linear(2, 4).double()
    nn.init.normal_(decoder.weight, std=0.7, generator=generator)
    beta, n = 0.3, 3000
    found = bdmc_gap(
        decoder,
        latent_dim=2,
        beta=beta,
        n_images=n,
        n_chains=1,
        n_temperatures=6,
        n_leapfrog=3,
        device=device,
        exact=lambda x: linear_gaussian_curve(decoder.weight, decoder.bias, x, [beta]).log_z[0],
        progress=False,
    )
    for log_ratio in (found.lower - found.log_z, found.log_z - found.upper):
        ratio = log_ratio.exp()
        assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(n)
        assert float(ratio.std()) / math.sqrt(n) < 0.02


def test_likelihood_estimate_is_unbiased_at_low_beta():
    decoder, x = linear_problem(n_images=1)
    x = x.repeat(600, 1)  # 600 runs of 4 chains on one image
    found = curve(decoder, x, [0.1], n_chains=4, temperatures_per_beta=4, step_sizes=0.3)
    ratio = (found.log_z[0] - exact_curve(decoder, x[:1], [0.1]).log_z[0]).exp()
    assert abs(float(ratio.mean() - 1)) < 4 * float(ratio.std()) / math.sqrt(600)


def curved_problem(n_images=48):
    """A strongly bent decoder with outputs in (0, 1), and images near its range, float32."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        decoder = ImageVAE(30, 3, (32, 32)).decoder.requires_grad_(False)
    for layer in decoder[::2]:
        layer.weight.mul_(2.0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        x = decoder(torch.randn(n_images, 3, generator=generator))
    return decoder, x + 0.1 * torch.randn(x.shape, generator=generator)


def test_low_precision_forces_leave_no_bias():
    """bfloat16 forces against full ones, at an acceptance near 0.65, from independent random numbers."""
    decoder, x = curved_problem()
    arguments = {
        "latent_dim": 3, "betas": [20.0, 60.0, 200.0], "n_chains": 32, "temperatures_per_beta": 60,
    }  # fmt: skip
    low = curve(decoder, x, force_precision="bfloat16", seed=0, **arguments)
    full = curve(decoder, x, seed=1, **arguments)
    for found in (low, full):
        assert ((found.acceptance.mean(1)[1:] - 0.65).abs() < 0.05).all()
    for term in ("log_z", "rate"):
        missed = getattr(low, term) - getattr(full, term)
        error = missed.std(1) / math.sqrt(len(x))
        assert (missed.mean(1).abs() < (2 if term == "log_z" else 4) * error).all(), term
        assert (error < (0.05 if term == "log_z" else 0.1)).all(), term


def test_low_precision_forces_are_near_the_gradient_and_the_energies_exact():
    decoder, x = curved_problem(4)
    z = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    full = DecoderTarget(decoder, x, 3, 2)
    low = DecoderTarget(decoder, x, 3, 2, force_precision="bfloat16")
    state = low(z)
    assert torch.equal(state.energy, full(z).energy)
    assert torch.equal(state.gradient, low.force(z)[1])  # a function of the position
    missed = (state.gradient - full.force(z)[1]).norm() / state.gradient.norm()
    assert 1e-4 < float(missed) < 0.02
    assert all(p.dtype == torch.float32 for p in decoder.parameters())
    given = DecoderTarget(decoder, x, 3, 2, None, lambda a, b: (a - b).square().sum(1), "bfloat16")(
        z
    )
    torch.testing.assert_close(given.energy, state.energy, rtol=1e-6, atol=0)
    torch.testing.assert_close(given.gradient, state.gradient, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 4},
        {"seed": [4, 9, 2, 7, 1, 3], "schedule": "adaptive", "mass": "diagonal", "jitter": 0.3},
    ],
    ids=["default", "every setting"],
)
def test_interrupted_and_resumed_equals_the_whole_run(tmp_path, monkeypatch, settings):
    decoder, x = linear_problem(n_images=6)
    arguments = {"temperatures_per_beta": 10, "n_chains": 6, **settings}
    whole = curve(decoder, x, **arguments)
    monkeypatch.setattr("dgm.papers.rate_distortion.CHECKPOINT_SECONDS", 0.0)

    class Power(nn.Module):
        """Fails after some calls, as a machine does."""

        def __init__(self):
            super().__init__()
            self.inner, self.left = decoder, 0

        def forward(self, z):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return self.inner(z)

    fragile, path = Power(), tmp_path / "run.safetensors"
    stops = 0
    for calls in (450, 150, 100, 100_000):
        fragile.left = calls
        try:
            found = curve(fragile, x, latent_dim=5, checkpoint=path, **arguments)
        except KeyboardInterrupt:
            stops += 1
            assert path.exists()
    assert stops == 3
    terms = ("rate", "distortion", "log_z", "ess", "acceptance", "codes", "log_weight_variance")
    for term in terms:
        assert torch.equal(getattr(found, term), getattr(whole, term)), term
    for kept, again in zip(found.step_sizes, whole.step_sizes, strict=True):
        assert kept is again is None or torch.equal(kept, again)
    assert not path.exists()


@pytest.mark.parametrize("given", [False, True], ids=["own prior", "given prior"])
def test_an_image_with_its_own_seed_has_its_own_numbers(given):
    """Other images in the call, or another order, change nothing but the decoder's rounding."""
    decoder, x = linear_problem(n_images=6)
    prior = torch.distributions.MultivariateNormal(torch.zeros(5).double(), torch.eye(5).double())
    arguments = {"temperatures_per_beta": 12, "n_chains": 6, "scale": 0.02}
    arguments["prior"] = prior if given else None
    seeds = [5, 6, 700, 8, 9, 10]
    whole = curve(decoder, x, seed=seeds, **arguments)
    part, order = [1, 2, 4], [3, 0, 5, 1, 4, 2]
    for picked in (part, order):
        other = curve(decoder, x[picked], seed=[seeds[i] for i in picked], **arguments)
        for term in ("log_z", "rate", "ess", "acceptance"):
            found, expected = getattr(other, term), getattr(whole, term)[:, picked]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        torch.testing.assert_close(other.codes, whole.codes[:, picked], rtol=0, atol=1e-6)
    twins = curve(decoder, x[[0, 0, 0]], seed=[1, 2, 1], **arguments)
    torch.testing.assert_close(twins.codes[:, 0], twins.codes[:, 2], rtol=0, atol=1e-6)
    assert (twins.codes[:, 0] - twins.codes[:, 1]).abs().min() > 1e-6


@pytest.mark.parametrize("seed", [2, list(range(20, 68))], ids=["one seed", "a seed an image"])
@pytest.mark.parametrize("schedule", ["adaptive", "sigmoid"])
def test_other_settings_against_the_linear_decoder(schedule, seed):
    decoder, x = linear_problem()
    betas = [0.05, 0.5, 5.0]
    found = curve(decoder, x, betas, schedule=schedule, mass="diagonal", jitter=0.4, seed=seed)
    for term in ("log_z", "rate", "distortion"):
        missed = getattr(found, term) - getattr(exact_curve(decoder, x, betas), term)
        z = missed.mean(1) / (missed.std(1) / math.sqrt(len(x)))
        assert z.abs().max() < 4, f"{term}: {z.tolist()} standard errors"


def test_adaptive_temperatures_quiet_the_weights_at_equal_cost():
    decoder, x = linear_problem(n_images=32)
    arguments = {"temperatures_per_beta": 50, "betas": [0.1, 3.0, 100.0], "jitter": 0.4}
    variance = {
        schedule: curve(decoder, x, schedule=schedule, **arguments).log_weight_variance[-1]
        for schedule in ("adaptive", "sigmoid")
    }
    less = variance["adaptive"] - 0.5 * variance["sigmoid"]
    assert less.mean() < -4 * less.std() / math.sqrt(len(x))


def test_the_pilot_measures_the_variance_of_the_distortion():
    """Against -dD/dbeta of the closed form, at its knots."""
    decoder, x = linear_problem(n_images=24)
    table = curve(decoder, x, [0.1, 3.0], jitter=0.4, temperatures_per_beta=160).step_sizes
    for k in range(4, len(table.beta), 8):
        beta = float(table.beta[k])
        near = exact_curve(decoder, x, [0.999 * beta, 1.001 * beta]).distortion.mean(1)
        expected = (near[0] - near[1]) / (0.002 * beta)
        assert abs(float(table.energy_variance[k] / expected) - 1) < 0.5


def test_variance_of_the_log_weights_after_one_jump():
    """One step from the prior to beta: log w = -beta d, and Var(d) = -dD/dbeta at 0."""
    decoder, x = linear_problem(n_images=3)
    found = curve(
        decoder, x, [0.01], n_chains=20_000, temperatures_per_beta=1, step_sizes=0.1, n_leapfrog=1
    ).log_weight_variance[0]
    near = exact_curve(decoder, x, [1e-7, 2e-7]).distortion
    expected = 0.01**2 * ((near[0] - near[1]) / 1e-7).detach()
    ratio = found / expected
    assert ((ratio - 1).abs() < 4 * math.sqrt(14 / 20_000)).all()  # the kurtosis of d is below 15


def test_a_diagonal_mass_follows_the_axes():
    """Axes of scales 1 and 1 / 12: the step sizes differ as the posterior's deviations do, and grow."""
    decoder = nn.Linear(2, 2, bias=False).double()
    decoder.load_state_dict({"weight": torch.diag(torch.tensor([1.0, 12.0])).double()})
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    arguments = {"betas": [0.1, 1.0, 10.0], "latent_dim": 2, "temperatures_per_beta": 60}
    unit = curve(decoder, x, **arguments)
    diagonal = curve(decoder, x, mass="diagonal", **arguments)
    assert unit.step_sizes.axis_scale is None
    scale = diagonal.step_sizes.axis_scale[-1]
    torch.testing.assert_close(scale.prod(1), torch.ones(6).double())
    ratio = (scale[:, 0] / scale[:, 1]).log().mean().exp()
    assert abs(float(ratio) / 11.7 - 1) < 0.35  # sqrt(1 + 2 beta s^2): 53.7 / 4.58, from 24 chains
    steps = [c.step_sizes.step_size[-1].mean() for c in (unit, diagonal)]
    assert steps[1] > 2 * steps[0]
    table = diagonal.step_sizes.at(torch.tensor([10.0], dtype=torch.float64))
    assert table.shape == (1, 6, 2)
    again = curve(decoder, x, step_sizes=diagonal.step_sizes, **arguments)
    assert torch.equal(again.rate, diagonal.rate)


def test_memory_does_not_grow_with_the_temperatures(monkeypatch):
    rows = []

    at = StepSizes.at

    def spy(table, betas):
        rows.append(len(betas))
        return at(table, betas)

    monkeypatch.setattr(StepSizes, "at", spy)
    decoder, x = linear_problem(n_images=2, m=2, d=1)
    found = curve(
        decoder, x, [1.0, 2.0], temperatures_per_beta=[2200, 30], n_chains=2, n_leapfrog=1
    )
    assert sum(rows) == 2230
    assert max(rows) <= 1024
    assert len(found.step_sizes.beta) <= 512


def test_a_checkpoint_of_another_run_is_refused(tmp_path, monkeypatch):
    decoder, x = linear_problem(n_images=2)
    monkeypatch.setattr("dgm.papers.rate_distortion.CHECKPOINT_SECONDS", 0.0)
    path = tmp_path / "run.safetensors"
    calls = {"left": 400}

    def failing(_module, _inputs):
        calls["left"] -= 1
        if calls["left"] == 0:
            raise KeyboardInterrupt

    handle = decoder.register_forward_pre_hook(failing)
    with pytest.raises(KeyboardInterrupt):
        curve(decoder, x, temperatures_per_beta=8, checkpoint=path, seed=0)
    handle.remove()
    with pytest.raises(ValueError, match="other settings, images, weights or seed"):
        curve(decoder, x, temperatures_per_beta=8, checkpoint=path, seed=1)


class Wide:
    """A prior N(0, s^2 I)."""

    def __init__(self, s):
        self.s = s

    def sample(self, shape):
        return self.s * torch.randn(*shape, 5, dtype=torch.float64)

    def log_prob(self, z):
        return -0.5 * (z / self.s).square().sum(-1)


def lasting(power):
    return lambda a, b: (a - b).abs().pow(power).sum(-1)


class Bent(nn.Module):
    """The same weights, another function."""

    def __init__(self, inner, bend):
        super().__init__()
        self.inner, self.bend = inner, bend

    def forward(self, z):
        return self.inner(z) + self.bend * z[:, :1] ** 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"prior": Wide(1.0)}, {"prior": Wide(1.001)}),
        ({"prior": Wide(1.0)}, {"prior": None}),
        ({"distortion": lasting(2.0)}, {"distortion": lasting(2.001)}),
        ({"step_sizes": 0.1}, {"step_sizes": 0.1001}),
        ({"step_sizes": 0.1}, {"step_sizes": None}),
        ({"bend": 0.1}, {"bend": 0.1001}),
    ],
    ids=["prior", "no prior", "distortion", "step size", "own step sizes", "function"],
)
def test_a_run_is_not_resumed_as_another(tmp_path, monkeypatch, first, second):
    monkeypatch.setattr("dgm.papers.rate_distortion.CHECKPOINT_SECONDS", 0.0)
    inner, x = linear_problem(n_images=2)
    path, calls = tmp_path / "run.safetensors", []

    def run(bend=0.0, **arguments):
        return curve(
            Bent(inner, bend), x, latent_dim=5, temperatures_per_beta=8, checkpoint=path, scale=0.1,
            n_chains=4, n_leapfrog=2, **arguments,
        )  # fmt: skip

    def failing(_module, _inputs):
        calls.append(1)
        if path.exists():
            raise KeyboardInterrupt

    handle = inner.register_forward_pre_hook(failing)
    with pytest.raises(KeyboardInterrupt):
        run(**first)
    handle.remove()
    with pytest.raises(ValueError, match="another prior or distortion"):
        run(**second)
    run(**first)
    assert not path.exists()


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_runs_are_known_apart_at_any_scale_of_the_images(scale):
    probe = scale * torch.tensor([[0.3, 2.0, 1.1], [4.0, 5.0, 0.0]], dtype=torch.float64)
    assert same_probe(probe, probe * (1 + 1e-7))
    assert same_probe(torch.zeros(2, 3), torch.zeros(2, 3))
    assert not same_probe(probe, 1.01 * probe)
    assert not same_probe(probe, torch.zeros(2, 3, dtype=torch.float64))
    endless = probe.index_fill(1, torch.tensor([2]), math.inf)
    assert same_probe(endless, endless)
    assert not same_probe(endless, 1.01 * endless)


def test_a_seed_and_counts_of_numpy_are_the_same_run(tmp_path, monkeypatch):
    monkeypatch.setattr("dgm.papers.rate_distortion.CHECKPOINT_SECONDS", 0.0)
    decoder, x = linear_problem(n_images=2)
    arguments = {"checkpoint": tmp_path / "run", "temperatures_per_beta": 8, "n_chains": 4}
    whole = curve(decoder, x, **{**arguments, "checkpoint": None})

    def failing(_module, _inputs):
        if arguments["checkpoint"].exists():
            raise KeyboardInterrupt

    handle = decoder.register_forward_pre_hook(failing)
    with pytest.raises(KeyboardInterrupt):
        curve(decoder, x, **arguments)
    handle.remove()
    counts = {"temperatures_per_beta": np.int64(8), "n_chains": np.int64(4), "seed": np.int64(0)}
    assert torch.equal(curve(decoder, x, **{**arguments, **counts}).rate, whole.rate)


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    decoder, x = linear_problem(n_images=2)
    monkeypatch.setattr("dgm.papers.rate_distortion.CHECKPOINT_SECONDS", 0.0)
    written = []
    save = checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda path, tree: (written.append(Path(path)), save(path, tree))
    )
    found = curve(decoder, x, temperatures_per_beta=3, checkpoint="~/run/part.safetensors")
    found.save("~/mine.safetensors")
    assert torch.equal(RateDistortionCurve.load("~/mine.safetensors").rate, found.rate)
    assert set(written) == {tmp_path / "run/part.safetensors", tmp_path / "mine.safetensors"}
    assert not (tmp_path / "~").exists()


def test_the_decoder_is_left_as_it_was():
    decoder = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    decoder.train()
    decoder[2].eval()
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    found = curve(decoder, torch.zeros(2, 4), [1.0], latent_dim=2, temperatures_per_beta=3)
    again = curve(decoder, torch.zeros(2, 4), [1.0], latent_dim=2, temperatures_per_beta=3)
    assert torch.equal(found.rate, again.rate)  # dropout was off
    assert [m.training for m in decoder.modules()] == [True, True, True, False, True]
    for key, value in decoder.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(p.requires_grad and p.grad is None for p in decoder.parameters())


def test_an_image_shaped_decoder_and_a_given_prior():
    decoder, x = linear_problem(n_images=3)

    class Picture(nn.Module):
        def forward(self, z):
            return decoder(z).view(-1, 1, 4, 5)

    prior = torch.distributions.MultivariateNormal(torch.zeros(5).double(), torch.eye(5).double())
    found = curve(
        Picture(), x.view(3, 1, 4, 5), [0.05, 0.5], latent_dim=5, prior=prior,
        precision="float64", temperatures_per_beta=60,
    )  # fmt: skip
    missed = (found.log_z - exact_curve(decoder, x).log_z[:2]).abs()
    assert (missed < 4 * (1 / found.ess).sqrt()).all()
    short = {"temperatures_per_beta": 10, "seed": 2}
    same = curve(decoder, x, distortion=lambda a, b: (a - b).square().sum(1), **short)
    plain = curve(decoder, x, **short)
    torch.testing.assert_close(same.rate, plain.rate, rtol=0, atol=1e-5)


def test_save_and_load(tmp_path):
    decoder, x = linear_problem(n_images=2)
    found = curve(decoder, x, [0.5, 2.0], temperatures_per_beta=5)
    found.save(tmp_path / "curve.safetensors")
    again = RateDistortionCurve.load(tmp_path / "curve.safetensors")
    for a, b in zip(found[:7], again[:7], strict=True):
        assert torch.equal(a, b)
    reused = curve(decoder, x, [0.5, 2.0], temperatures_per_beta=5, step_sizes=again.step_sizes)
    assert torch.equal(reused.rate, found.rate)
    exact = exact_curve(decoder, x)
    exact.save(tmp_path / "exact.safetensors")
    assert RateDistortionCurve.load(tmp_path / "exact.safetensors").codes is None


def test_mean_and_legendre():
    decoder, x = linear_problem(n_images=30)
    betas = torch.logspace(-2, 3, 200, dtype=torch.float64)
    exact = exact_curve(decoder, x, betas)
    mean, legendre = exact.mean(), exact.legendre()
    torch.testing.assert_close(mean.rate, exact.rate.mean(1))
    torch.testing.assert_close(mean.rate_error, exact.rate.std(1) / math.sqrt(30))
    torch.testing.assert_close(legendre.rate, mean.rate, rtol=0, atol=1e-9)
    between = exact.legendre((mean.distortion[1:] + mean.distortion[:-1]) / 2).rate
    assert (between < (mean.rate[1:] + mean.rate[:-1]) / 2).all()  # convex


def test_codes_are_draws_of_the_posterior():
    decoder, x = linear_problem(n_images=1)
    x = x.repeat(400, 1)
    # Slow enough for weights that hardly differ: a draw among few unequal chains is biased.
    found = curve(decoder, x, [2.0], n_chains=8, temperatures_per_beta=400)
    weight = decoder.weight.detach()
    covariance = torch.linalg.inv(torch.eye(5).double() + 4.0 * weight.T @ weight)
    mean = 4.0 * covariance @ weight.T @ (x[0] - decoder.bias.detach())
    z = (found.codes[0].mean(0) - mean) / (covariance.diagonal() / 400).sqrt()
    assert z.abs().max() < 4
    ratio = found.codes[0].var(0) / covariance.diagonal()
    assert (ratio - 1).abs().max() < 4 * math.sqrt(2 / 399)


def broken(x, **arguments):
    decoder, images_ = linear_problem(n_images=2)
    return lambda: curve(decoder, x(images_), **{"temperatures_per_beta": 2, **arguments})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (broken(lambda x: x[:, :7]), "the decoder returned .* but the images have 7 values"),
        (broken(lambda x: x * float("nan")), "NaN or infinity in images"),
        (broken(lambda x: x[0]), "batch of images"),
        (broken(lambda x: x, betas=[1.0, 0.5]), "ascending"),
        (broken(lambda x: x, betas=[0.0, 0.5]), "above 0"),
        (broken(lambda x: x, n_chains=0), "n_chains"),
        (broken(lambda x: x, latent_dim=3), "does latent_dim=3 fit"),
        (broken(lambda x: x, n_leapfrog=0), "n_leapfrog"),
        (broken(lambda x: x, schedule="linear"), "schedule must be one of default"),
        (broken(lambda x: x, schedule="adaptive", step_sizes=0.1), "needs a pilot run"),
        (broken(lambda x: x, schedule="adaptive", n_chains=1), "at least two chains"),
        (broken(lambda x: x, mass="full"), "mass must be one of unit"),
        (broken(lambda x: x, mass="diagonal", n_chains=3), "at least 4 chains"),
        (broken(lambda x: x, scale=0.0), "scale"),
        (broken(lambda x: x, jitter=1.0), "jitter must lie in"),
        (broken(lambda x: x, seed=[1, 2, 3]), "seed must be a number or 2 of them"),
        (
            broken(
                lambda x: x,
                prior=torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3)),
            ),
            "is latent_dim=5 the prior's",
        ),
        (
            lambda: bdmc_gap(nn.Linear(2, 3), latent_dim=3, beta=1.0),
            "does latent_dim=3 fit",
        ),
        (
            lambda: bdmc_gap(nn.Linear(2, 3), latent_dim=2, beta=1.0, n_temperatures=0),
            "n_temperatures",
        ),
        (broken(lambda x: x, precision="half"), "precision"),
        (broken(lambda x: x, force_precision="half"), "force_precision must be one of auto"),
        (broken(lambda x: x, force_precision="tf32"), "needs a CUDA device"),
        (broken(lambda x: x, distortion="psnr"), "distortion"),
        (broken(lambda x: x, temperatures_per_beta=[1, 2]), "temperatures_per_beta"),
        (broken(lambda x: x, step_sizes=torch.ones(3)), "step_sizes"),
        (broken(lambda x: x, step_sizes=-1.0), "step_sizes"),
        (
            broken(lambda x: x, prior=torch.distributions.Normal(torch.zeros(5), torch.ones(5))),
            "Independent",
        ),
        (lambda: bdmc_gap(nn.Linear(2, 3), latent_dim=2, beta=1.0, n_images=1), "two images"),
        (
            lambda: linear_gaussian_curve(torch.ones(3, 2), torch.ones(2), torch.ones(1, 3), [1.0]),
            "fit",
        ),
        (
            lambda: quadrature_curve(nn.Linear(3, 2), torch.ones(1, 2), latent_dim=3, betas=[1.0]),
            "latent_dim 1 or 2",
        ),
    ],
)
def test_bad_arguments_are_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Odd(nn.Module):
    """A decoder of two codes that counts its calls, and fails in a way that is asked for."""

    def __init__(self, output):
        super().__init__()
        self.weight, self.output, self.calls = nn.Parameter(torch.ones(1)), output, 0

    def forward(self, z):
        self.calls += 1
        return self.output(z)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda z: z.sum(1, keepdim=True).expand(-1, 3) * math.nan, "decoder returned NaN"),
        # where() gives the root's slope at 0, which is infinite, times 0
        (lambda z: torch.where(z > 0, z, (0 * z).sqrt())[:, [0, 1, 0]], "gradient is NaN"),
        (lambda z: (z[:, [0, 1, 0]] > 0).float(), "differentiable"),
        (lambda z: torch.where(z[:, [0, 1, 0]] > 3.2, math.inf, z[:, [0, 1, 0]]), "NaN or infin"),
    ],
    ids=["NaN", "gradient", "no gradient", "infinite for some"],
)
def test_a_decoder_that_fails_is_told_before_any_long_work(output, message):
    decoder = Odd(output)
    with pytest.raises(ValueError, match=message):
        curve(decoder, torch.zeros(2, 3), [1.0], latent_dim=2, n_chains=2000)
    assert decoder.calls < 5


def test_images_far_outside_the_range_are_warned_of():
    decoder, x = linear_problem(n_images=4)
    arguments = {"betas": [0.1], "temperatures_per_beta": 2, "step_sizes": 0.1}
    bright = torch.cat([x[:3], 255 * x[3:]])
    with pytest.warns(UserWarning, match="1 of 4 images have values .* far outside"):
        curve(decoder, bright, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve(decoder, x, **arguments)
        curve(decoder, bright, distortion=lambda a, b: (a - b).square().sum(1), **arguments)
