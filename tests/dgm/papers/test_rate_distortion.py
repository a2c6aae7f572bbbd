"""Rate-distortion curves against closed forms, quadrature and invariances."""

import math
import warnings
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from chains import (
    assert_brackets,
    assert_same,
    bdmc_and_truth,
    bdmc_gap,
    gaussian,
    interrupted,
    linear_problem,
)
from chains import curve as short_curve
from checks import close, on_devices, refuses, standard_errors
from draws import normal, rng
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal

from dgm.papers.rate_distortion import (
    ImageVAE,
    RateDistortionCurve,
    linear_gaussian_curve,
    log_likelihood,
    quadrature_curve,
)
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.resume import check_same_run

BETAS = [0.05, 0.5, 5.0, 50.0, 500.0]
TERMS = ("log_z", "rate", "distortion")


def exact_curve(decoder, x, betas=BETAS):
    return linear_gaussian_curve(decoder.weight, decoder.bias, x, betas)


def curve(decoder, x, betas=BETAS, **arguments):
    latent_dim = arguments.pop("latent_dim", getattr(decoder, "in_features", 5))
    longer = {"n_chains": 24, "n_leapfrog": 8, "temperatures_per_beta": 120, **arguments}
    return short_curve(decoder, x, latent_dim=latent_dim, betas=betas, **longer)


def squared(a, b):
    return (a - b).square().sum(1)


def assert_near(ours, exact):
    for term in TERMS:
        z = standard_errors(getattr(ours, term) - getattr(exact, term))
        assert z.abs().max() < 4, f"{term}: {z.tolist()} standard errors"


def test_golden_linear_case():
    """Values of the specification; its first log Z is printed 4e-7 off its own R + beta D."""
    weight = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    exact = linear_gaussian_curve(weight, torch.zeros(3), torch.ones(1, 3), [0.05, 0.5, 5, 500])
    golden = [
        [0.0419158, 6.1028841, -0.3470600],
        [0.7062925, 2.59, -2.0012925],
        [2.6455833, 1.1973294, -8.6322303],
        [7.2260907, 1.0019998, -508.2259965],
    ]
    rows = torch.cat([exact.rate, exact.distortion, exact.log_z], 1)
    close(rows, torch.tensor(golden, dtype=torch.float64), rtol=0, atol=5e-8)


def test_closed_form_has_the_slope_minus_beta_and_the_limits():
    decoder, x = linear_problem()
    beta, step = 3.0, 1e-5
    near = exact_curve(decoder, x, [beta - step, beta, beta + step])
    slope = (near.rate[2] - near.rate[0]) / (near.distortion[2] - near.distortion[0])
    close(slope, torch.full_like(slope, -beta), rtol=1e-5, atol=0)
    derivative = (near.log_z[2] - near.log_z[0]) / (2 * step)
    close(derivative, -near.distortion[1], rtol=1e-6, atol=0)
    start = exact_curve(decoder, x, [1e-9])
    zero = (x - decoder.bias).square().sum(1) + decoder.weight.square().sum()
    close(start.distortion[0], zero, rtol=1e-6, atol=0)
    assert float(start.rate.abs().max()) < 1e-9
    # high rate: D - D_min is D / (2 beta), and the rate grows by (D / 2) log 10 per decade
    end = exact_curve(decoder, x, [1e5, 1e6])
    excess = (end.distortion[0] - end.distortion[1]).mean()
    assert float(excess) == pytest.approx(5 / 2 * (1e-5 - 1e-6), rel=1e-3)
    assert float((end.rate[1] - end.rate[0]).mean()) == pytest.approx(2.5 * math.log(10), rel=1e-3)


def test_matched_gaussian_source():
    """The 1-D Gaussian source of the specification: R_p and D at a = 1 and 10, averaged over x."""
    s = 1.7
    x = s * normal(400_000, 1)
    betas = [1 / (2 * s * s), 10 / (2 * s * s)]
    mean = linear_gaussian_curve(torch.tensor([[s]]), torch.zeros(1), x, betas).mean()
    for r, (rate, a) in enumerate([(0.2215736, 1), (1.1576253, 10)]):
        assert abs(float(mean.rate[r]) - rate) < 4 * float(mean.rate_error[r])
        missed = abs(float(mean.distortion[r]) - (2 + a) / (1 + a) ** 2 * s * s)
        assert missed < 4 * float(mean.distortion_error[r])


@on_devices
def test_annealing_against_the_linear_decoder(device):
    decoder, x = linear_problem()
    ours = curve(decoder, x, temperatures_per_beta=200, n_chains=32, device=device)
    exact = exact_curve(decoder, x)
    assert_near(ours, exact)
    assert (ours.rate + ours.beta[:, None] * ours.distortion + ours.log_z).abs().max() < 1e-6
    # the test is sharp
    assert (ours.log_z - exact.log_z).std(1).max() / math.sqrt(len(x)) < 0.08
    assert (ours.acceptance > 0.3).all()
    assert (ours.ess > 1).all()
    assert (ours.ess <= 32).all()


@on_devices
def test_rate_grows_and_distortion_falls_along_the_curve(device):
    decoder, x = linear_problem(n_images=8)
    betas = torch.logspace(-1.5, 2.5, 15, dtype=torch.float64)
    ours = curve(decoder, x, betas, temperatures_per_beta=40, device=device)
    # one set of chains carries the curve, so steps between neighbours have errors of their own
    assert (standard_errors(ours.rate.diff(dim=0)) > -4).all()
    assert (standard_errors(ours.distortion.diff(dim=0)) < 4).all()
    exact = exact_curve(decoder, x, betas)
    assert (exact.rate.diff(dim=0) >= 0).all()
    assert (exact.distortion.diff(dim=0) <= 0).all()


@pytest.mark.parametrize("seed", [2, list(range(20, 68))], ids=["one seed", "a seed per image"])
@pytest.mark.parametrize("schedule", ["adaptive", "sigmoid"])
def test_other_settings_against_the_linear_decoder(schedule, seed):
    decoder, x = linear_problem()
    betas = [0.05, 0.5, 5.0]
    ours = curve(decoder, x, betas, schedule=schedule, mass="diagonal", seed=seed)
    assert_near(ours, exact_curve(decoder, x, betas))


def test_forces_are_the_gradient_of_the_energy():
    decoder = ImageVAE(6, 3, (8,)).decoder.double()
    x = torch.rand(4, 6, dtype=torch.float64)
    target = DecoderTarget(decoder, x, 3, 2)
    z = normal(8, 3)
    state = target(z)
    energy = (decoder(z) - x.repeat(2, 1)).square().sum(1)
    close(state.energy, energy.detach())
    for axis, step in enumerate(1e-6 * torch.eye(3, dtype=torch.float64)):
        slope = (target(z + step).energy - target(z - step).energy) / 2e-6
        close(state.gradient[:, axis], slope, rtol=1e-6, atol=1e-8)
    given = DecoderTarget(decoder, x, 3, 2, None, squared)
    close(given(z).gradient, state.gradient)
    close(state.prior_gradient, z)


def code_posterior(decoder, x, beta):
    """Mean (5,) and covariance of the exact code of one image under a linear decoder."""
    precision = torch.eye(5).double() + 2 * beta * decoder.weight.T @ decoder.weight
    covariance = torch.linalg.inv(precision)
    return 2 * beta * covariance @ decoder.weight.T @ (x - decoder.bias), covariance


def test_a_crude_run_is_right_once_it_is_weighted():
    """Six steps leave the chains behind the target: only their weights make up for it."""
    decoder, x = linear_problem(n_images=1)
    beta, crude = 0.4, {"n_chains": 400, "temperatures_per_beta": 6, "n_leapfrog": 2}
    ours = curve(decoder, x.repeat(300, 1), [beta], step_sizes=0.1, **crude)  # 300 runs
    assert ours.ess.mean() < 200
    exact = exact_curve(decoder, x, [beta])
    unweighted = exact_curve(decoder, x, [beta / 2])
    apart = float(unweighted.distortion - exact.distortion)
    for term in ("rate", "distortion"):
        missed = getattr(ours, term)[0] - getattr(exact, term)[0]
        # the weighted mean of 400 chains has a bias of the order of 1 / ess
        slack = 4 * float(missed.std()) / math.sqrt(300) + apart / float(ours.ess.mean())
        assert abs(float(missed.mean())) < slack, term
    mean, covariance = code_posterior(decoder, x[0], beta)
    codes, variance = ours.codes[0], covariance.diagonal()
    assert ((codes.mean(0) - mean) / (variance / 300).sqrt()).abs().max() < 4
    assert (codes.var(0) / variance - 1).abs().max() < 4 * math.sqrt(2 / 299)


def curved_problem(n_images=48, latent_dim=3):
    """A strongly bent decoder with outputs in (0, 1), and images near its range, float32."""
    torch.manual_seed(0)
    decoder = ImageVAE(30, latent_dim, (32, 32)).decoder.requires_grad_(False)
    for layer in decoder[::2]:
        layer.weight.mul_(2.0)
    generator = rng()
    x = decoder(torch.randn(n_images, latent_dim, generator=generator))
    return decoder, x + 0.1 * torch.randn(x.shape, generator=generator)


@on_devices
def test_a_bent_decoder_against_quadrature(device):
    decoder, x = curved_problem(24, 2)
    betas = [0.5, 2.0, 10.0, 25.0]
    options = {"latent_dim": 2, "betas": betas}
    coarse, exact = (quadrature_curve(decoder, x, n_points=n, **options) for n in (301, 601))
    assert (coarse.log_z - exact.log_z).abs().max() < 1e-3  # the grid is fine enough
    settings = {"n_leapfrog": 10, "temperatures_per_beta": 80, "device": device}
    assert_near(curve(decoder, x, betas, latent_dim=2, **settings), exact)


def test_any_code_lies_above_the_optimum():
    """R + beta D of N(mu, s^2) is at least -log Z of the decoder, image by image."""
    decoder, x = curved_problem(24, 2)
    beta, s = 10.0, torch.tensor(0.2)
    exact = quadrature_curve(decoder, x, latent_dim=2, betas=[beta], n_points=801)
    mu, noise = normal(2001, 24, 2, seed=3, dtype=torch.float32).split([1, 2000])
    distortion = (decoder(mu + s * noise) - x).square().sum(-1).double()
    kl = 0.5 * (mu[0].square() + s**2 - 1 - 2 * s.log()).sum(1).double()
    error = beta * distortion.std(0) / math.sqrt(2000)
    assert (kl + beta * distortion.mean(0) + exact.log_z[0] > -4 * error).all()


def test_likelihood_of_the_linear_gaussian_model():
    """Equation (8) against the exact density N(x; b, W W^T + sigma^2 I)."""
    decoder, x = linear_problem(n_images=5)
    beta = 1.7
    covariance = decoder.weight @ decoder.weight.T + torch.eye(20).double() / (2 * beta)
    exact = MultivariateNormal(decoder.bias, covariance).log_prob(x)
    ours = log_likelihood(exact_curve(decoder, x, [beta]).log_z[0], beta, 20)
    close(ours, exact, rtol=1e-9, atol=0)


def linear_gap(decoder, beta, **arguments):
    sizes = {"latent_dim": decoder.in_features, "beta": beta, **arguments}
    return bdmc_and_truth(decoder, lambda x: exact_curve(decoder, x, [beta]).log_z[0], **sizes)


def test_bdmc_draws_the_noise_of_the_squared_error():
    decoder, _ = linear_problem()
    sizes = {"latent_dim": 5, "beta": 3.0, "n_temperatures": 4, "n_images": 4}
    own, given = bdmc_gap(decoder, **sizes), bdmc_gap(decoder, simulate=gaussian, **sizes)
    assert torch.equal(own.lower, given.lower)
    assert torch.equal(own.upper, given.upper)


@on_devices
def test_bdmc_brackets_the_exact_value_and_closes(device):
    decoder, _ = linear_problem()
    sizes = {"n_images": 48, "n_chains": 16, "n_leapfrog": 8, "device": device}
    gaps = []
    for n_temperatures in (15, 60, 240):
        check, log_z = linear_gap(decoder, 5.0, n_temperatures=n_temperatures, **sizes)
        assert_brackets(check, log_z)
        assert check.gap == pytest.approx(float((check.upper - check.lower).mean()))
        gaps.append((check.gap, check.standard_error))
    assert gaps[0][0] > 4 * gaps[0][1]
    for (wide, wide_error), (narrow, narrow_error) in pairwise(gaps):
        assert wide - narrow > -4 * math.hypot(wide_error, narrow_error)
    assert gaps[2][0] < 0.5 * gaps[0][0]


@on_devices
def test_bdmc_weights_are_unbiased_both_ways(device):
    """Six temperatures, so that the first code must be an exact sample for its image."""
    decoder, n = nn.Linear(2, 4).double(), 3000
    nn.init.normal_(decoder.weight, std=0.7, generator=rng())
    sizes = {"n_images": n, "n_chains": 1, "n_temperatures": 6, "n_leapfrog": 3, "device": device}
    check, log_z = linear_gap(decoder, 0.3, **sizes)
    for log_ratio in (check.lower - log_z, log_z - check.upper):
        assert standard_errors(log_ratio.exp() - 1).abs() < 4
        assert float(log_ratio.exp().std()) / math.sqrt(n) < 0.02


def test_low_precision_forces_leave_no_bias():
    """bfloat16 forces against full ones, at an acceptance near 0.65, from independent runs."""
    decoder, x = curved_problem()
    arguments = {"latent_dim": 3, "betas": [20.0, 60.0, 200.0], "temperatures_per_beta": 60}
    low, full = (
        curve(decoder, x, force_precision=force, seed=seed, n_chains=32, **arguments)
        for seed, force in enumerate(["bfloat16", "same"])
    )
    for run in (low, full):
        assert ((run.acceptance.mean(1)[1:] - 0.65).abs() < 0.05).all()
    for term, limit, most in (("log_z", 2, 0.05), ("rate", 4, 0.1)):
        missed = getattr(low, term) - getattr(full, term)
        assert standard_errors(missed).abs().max() < limit, term
        assert missed.std(1).max() / math.sqrt(len(x)) < most, term


@pytest.mark.parametrize("given", [False, True], ids=["own prior", "given prior"])
def test_an_image_with_its_own_seed_has_its_own_numbers(given):
    """Other images in the call, or another order, change nothing but the decoder's rounding."""
    decoder, x = linear_problem(n_images=6)
    prior = MultivariateNormal(torch.zeros(5).double(), torch.eye(5).double()) if given else None
    settings = {"temperatures_per_beta": 12, "n_chains": 6, "scale": 0.02, "prior": prior}
    seeds = [5, 6, 700, 8, 9, 10]
    whole = curve(decoder, x, seed=seeds, **settings)
    for picked in ([1, 2, 4], [3, 0, 5, 1, 4, 2]):
        part = curve(decoder, x[picked], seed=[seeds[i] for i in picked], **settings)
        for term in ("log_z", "rate", "ess", "acceptance", "codes"):
            close(getattr(part, term), getattr(whole, term)[:, picked], rtol=0, atol=1e-6)
    twins = curve(decoder, x[[0, 0, 0]], seed=[1, 2, 1], **settings).codes
    close(twins[:, 0], twins[:, 2], rtol=0, atol=1e-6)
    assert (twins[:, 0] - twins[:, 1]).abs().min() > 1e-6


def test_adaptive_temperatures_quiet_the_weights_at_equal_cost():
    decoder, x = linear_problem(n_images=32)
    betas, schedules = [0.1, 3.0, 100.0], ("adaptive", "sigmoid")
    adaptive, sigmoid = (
        curve(decoder, x, betas, schedule=s, temperatures_per_beta=50).log_weight_variance[-1]
        for s in schedules
    )
    assert standard_errors(adaptive - 0.5 * sigmoid) < -4


def test_the_pilot_measures_the_variance_of_the_distortion():
    """Against -dD/dbeta of the closed form, at its knots."""
    decoder, x = linear_problem(n_images=24)
    table = curve(decoder, x, [0.1, 3.0], temperatures_per_beta=160).step_sizes
    for k in range(4, len(table.beta), 8):
        beta = float(table.beta[k])
        near = exact_curve(decoder, x, [0.999 * beta, 1.001 * beta]).distortion.mean(1)
        expected = (near[0] - near[1]) / (0.002 * beta)
        assert abs(float(table.energy_variance[k] / expected) - 1) < 0.5


def test_variance_of_the_log_weights_after_one_jump():
    """One step from the prior to beta: log w = -beta d, and Var(d) = -dD/dbeta at 0."""
    decoder, x = linear_problem(n_images=3)
    jump = {"n_chains": 20_000, "temperatures_per_beta": 1, "step_sizes": 0.1, "n_leapfrog": 1}
    variance = curve(decoder, x, [0.01], **jump).log_weight_variance[0]
    near = exact_curve(decoder, x, [1e-7, 2e-7]).distortion
    ratio = variance / (0.01**2 * (near[0] - near[1]) / 1e-7)
    assert ((ratio - 1).abs() < 4 * math.sqrt(14 / 20_000)).all()  # the kurtosis of d is below 15


def test_a_diagonal_mass_follows_the_axes():
    """Axes of scales 1 and 1 / 12: step sizes differ as the posterior's deviations do, and grow."""
    decoder = nn.Linear(2, 2, bias=False).double()
    decoder.load_state_dict({"weight": torch.diag(torch.tensor([1.0, 12.0])).double()})
    x = normal(6, 2)
    arguments = {"betas": [0.1, 1.0, 10.0], "latent_dim": 2, "temperatures_per_beta": 60}
    unit = curve(decoder, x, **arguments)
    diagonal = curve(decoder, x, mass="diagonal", **arguments)
    assert unit.step_sizes.axis_scale is None
    scale = diagonal.step_sizes.axis_scale[-1]
    close(scale.prod(1), torch.ones(6).double())
    ratio = (scale[:, 0] / scale[:, 1]).log().mean().exp()
    assert abs(float(ratio) / 11.7 - 1) < 0.35  # sqrt(1 + 2 beta s^2): 53.7 / 4.58, from 24 chains
    assert diagonal.step_sizes.step_size[-1].mean() > 2 * unit.step_sizes.step_size[-1].mean()
    assert diagonal.step_sizes.at(torch.tensor([10.0]).double()).shape == (1, 6, 2)
    reused = curve(decoder, x, step_sizes=diagonal.step_sizes, **arguments)
    assert torch.equal(reused.rate, diagonal.rate)


def wide(s):
    return Independent(Normal(torch.zeros(5).double(), s), 1)


def power(p):
    return lambda a, b: (a - b).abs().pow(p).sum(-1)


class Bent(nn.Linear):
    """The same weights, another function."""

    bend = 0.0

    def forward(self, z):
        return super().forward(z) + self.bend * z[:, :1] ** 2


class TestResume:
    @pytest.fixture(autouse=True)
    def _at_every_beta(self, monkeypatch):
        monkeypatch.setattr("dgm.sampling.resume.CHECKPOINT_SECONDS", 0.0)

    @pytest.mark.parametrize(
        "settings",
        [{}, {"seed": [4, 9, 2, 7, 1, 3], "schedule": "adaptive", "mass": "diagonal"}],
        ids=["default", "every setting"],
    )
    def test_of_an_interrupted_run_is_the_whole_run(self, tmp_path, settings):
        decoder, x = linear_problem(n_images=6)
        settings = {"temperatures_per_beta": 10, "n_chains": 6, **settings}
        whole, path = curve(decoder, x, **settings), tmp_path / "run.safetensors"
        for steps in (56, 18, 12):
            left = iter(range(steps))
            with interrupted(lambda left=left: next(left, None) is None):
                curve(decoder, x, checkpoint=path, **settings)
            assert path.exists()
        # NumPy's numbers are the same settings
        numbers = np.array(settings.get("seed", 0))[()]
        settings |= {"temperatures_per_beta": np.int64(10), "seed": numbers}
        ours = curve(decoder, x, checkpoint=path, **settings)
        assert_same(ours, whole)
        for a, b in zip(ours.step_sizes, whole.step_sizes, strict=True):
            assert a is b is None or torch.equal(a, b)
        assert not path.exists()

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"seed": 0}, {"seed": 1}),
            ({"prior": wide(1.0)}, {"prior": wide(1.001)}),
            ({"prior": wide(1.0)}, {"prior": None}),
            ({"distortion": power(2)}, {"distortion": power(2.001)}),
            ({"step_sizes": 0.1}, {"step_sizes": 0.1001}),
            ({"step_sizes": 0.1}, {"step_sizes": None}),
            ({"bend": 0.1}, {"bend": 0.1001}),
        ],
        ids=range(7),
    )
    def test_as_another_run_is_refused(self, tmp_path, first, second):
        linear, x = linear_problem(n_images=2)
        decoder = Bent(5, 20).double()
        decoder.load_state_dict(linear.state_dict())
        path = tmp_path / "run.safetensors"
        sizes = {"temperatures_per_beta": 8, "n_chains": 4, "n_leapfrog": 2, "scale": 0.1}

        def run(bend=0.0, **arguments):
            decoder.bend = bend
            curve(decoder, x, checkpoint=path, **sizes, **arguments)

        with interrupted(path.exists):
            run(**first)
        with pytest.raises(ValueError, match="belongs to another run"):
            run(**second)
        run(**first)
        assert not path.exists()

    @pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
    @pytest.mark.parametrize("last", [1.1, math.inf])
    def test_knows_runs_apart_at_any_scale_of_the_images(self, scale, last):
        probe = scale * torch.tensor([[0.3, 2.0, last], [4.0, 5.0, 0.0]], dtype=torch.float64)
        check_same_run("run", {"probe": probe}, {}, probe * (1 + 1e-7))
        check_same_run("run", {"probe": 0 * probe[:, :2]}, {}, 0 * probe[:, :2])
        for other in (1.01 * probe, torch.zeros_like(probe)):
            with pytest.raises(ValueError, match="run belongs to another run"):
                check_same_run("run", {"probe": probe}, {}, other)

    def test_and_save_take_the_home_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        decoder, x = linear_problem(n_images=2)
        settings = {"betas": [0.5, 2.0], "temperatures_per_beta": 3}
        with interrupted((tmp_path / "run/part.safetensors").exists):
            curve(decoder, x, checkpoint="~/run/part.safetensors", **settings)
        ours = curve(decoder, x, checkpoint="~/run/part.safetensors", **settings)
        ours.save("~/mine.safetensors")
        loaded = RateDistortionCurve.load("~/mine.safetensors")
        assert_same(loaded, ours)
        reused = curve(decoder, x, step_sizes=loaded.step_sizes, **settings)
        assert torch.equal(reused.rate, ours.rate)
        assert not (tmp_path / "~").exists()
        exact_curve(decoder, x).save("exact.safetensors")
        assert RateDistortionCurve.load("exact.safetensors").codes is None


def test_the_decoder_is_left_as_it_was():
    decoder = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    decoder.train()
    decoder[2].eval()
    before = {k: v.clone() for k, v in decoder.state_dict().items()}
    options = {"betas": [1.0], "latent_dim": 2, "temperatures_per_beta": 3}
    once, again = (curve(decoder, torch.zeros(2, 4), **options) for _ in range(2))
    assert_same(once, again)  # dropout was off
    assert [m.training for m in decoder.modules()] == [True, True, True, False, True]
    assert all(torch.equal(v, before[k]) for k, v in decoder.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in decoder.parameters())


def test_mean_and_legendre():
    decoder, x = linear_problem(n_images=30)
    betas = torch.logspace(-2, 3, 200, dtype=torch.float64)
    exact = exact_curve(decoder, x, betas)
    mean, legendre = exact.mean(), exact.legendre()
    close(mean.rate, exact.rate.mean(1))
    close(mean.rate_error, exact.rate.std(1) / math.sqrt(30))
    close(legendre.rate, mean.rate, rtol=0, atol=1e-9)
    slopes = legendre.rate.diff() / legendre.distortion.diff()
    assert (slopes.diff() < 0).all()  # convex, and steeper at each beta


REFUSED = {
    "the decoder returned .* but the images have 7 values": {"x": torch.zeros(2, 7)},
    "NaN or infinity in images": {"x": torch.full((2, 20), math.nan)},
    "n_chains": {"n_chains": 0},
    "ascending": {"betas": [1.0, 0.5]},
    "does latent_dim=3 fit": {"latent_dim": 3},
    "schedule must be one of default": {"schedule": "linear"},
    "needs a pilot run": {"schedule": "adaptive", "step_sizes": 0.1},
    "at least two chains": {"schedule": "adaptive", "n_chains": 1},
    "mass must be one of unit": {"mass": "full"},
    "at least 4 chains": {"mass": "diagonal", "n_chains": 3},
    "scale": {"scale": 0.0},
    "jitter must lie in": {"jitter": 1.0},
    "options must be SamplerOptions": {"options": {"jitter": 0.1}},
    "seed must be a number or 2 of them": {"seed": [1, 2, 3]},
    "precision": {"precision": "half"},
    "force_precision must be one of auto": {"force_precision": "half"},
    "needs a CUDA device": {"force_precision": "tf32"},
    "distortion": {"distortion": "psnr"},
    "temperatures_per_beta": {"temperatures_per_beta": [1, 2]},
    "step_sizes": {"step_sizes": torch.ones(3)},
}
LINEAR, IMAGES = linear_problem(n_images=2)
USUAL = {"decoder": LINEAR, "x": IMAGES, "temperatures_per_beta": 2}
test_bad_arguments_are_refused = refuses(REFUSED, curve, **USUAL)


SMALL = {"decoder": nn.Linear(2, 3), "latent_dim": 2, "beta": 1.0}
test_gaps_that_do_not_fit_are_refused = refuses(
    {
        "does latent_dim=3 fit": {"latent_dim": 3},
        "at least 2": {"n_images": 1},
        "n_temperatures": {"n_temperatures": 0},
    },
    bdmc_gap,
    **SMALL,
)
ONES = torch.ones(1, 2)
test_exact_curves_that_do_not_fit_are_refused = refuses(
    {
        "do not fit": partial(linear_gaussian_curve, torch.ones(3, 2), torch.ones(2), ONES, [1.0]),
        "latent_dim 1 or 2": partial(
            quadrature_curve, nn.Linear(3, 2), ONES, latent_dim=3, betas=[1.0]
        ),
    }
)


def test_images_far_outside_the_range_are_warned_of():
    decoder, x = linear_problem(n_images=4)
    arguments = {"betas": [0.1], "temperatures_per_beta": 2, "step_sizes": 0.1}
    bright = torch.cat([x[:3], 255 * x[3:]])
    with pytest.warns(UserWarning, match="1 of 4 images have values .* far outside"):
        curve(decoder, bright, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve(decoder, x, **arguments)
        curve(decoder, bright, distortion=squared, **arguments)
