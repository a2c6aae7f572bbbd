"""Annealed importance sampling against exact normalising constants, forward and in reverse."""

import math
from functools import partial

import pytest
import torch
from benches import Watch
from chains import LOG_Z, MEAN, correlated, target_from_energy
from checks import on_devices, refuses, standard_errors
from draws import rng

from dgm.sampling.annealing import anneal, annealed_run, reverse_anneal, start
from dgm.sampling.decoder_target import DecoderTarget


def log_gamma(shape):
    """The target at beta = 1 is exp(shape z - e^z): log Z = log Gamma(shape), asymmetric."""

    def energy(z):
        log_prior = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        return (log_prior - shape * z + z.exp()).sum(1)

    return target_from_energy(energy)


def run(target, dim, n_chains, n_temperatures, seed, device="cpu"):
    generator = rng(seed, device)
    options = {"dtype": torch.float64, "device": device}
    betas = torch.linspace(0, 1, n_temperatures + 1, dtype=torch.float64)
    first = start(target, torch.randn(n_chains, dim, generator=generator, **options))
    steps = torch.full((n_temperatures, 1), 0.3, **options)
    return anneal(target, first, betas, steps, 4, generator)


def weight_error(log_weight, log_z):
    """Mean of w / Z minus 1, in standard errors: AIS is unbiased on this scale."""
    return abs(float(standard_errors((log_weight.cpu() - log_z).exp() - 1)))


@on_devices
@pytest.mark.parametrize(
    ("shape", "dim", "n_chains", "n_temperatures", "seed"),
    [(2.5, 2, 4000, 60, 0), (1.5, 1, 40_000, 3, 2)],
    ids=["fine", "three crude steps"],
)
def test_asymmetric_log_gamma(shape, dim, n_chains, n_temperatures, seed, device):
    state = run(log_gamma(shape), dim, n_chains, n_temperatures, seed, device)
    assert weight_error(state.log_weight, dim * math.lgamma(shape)) < 4


@on_devices
def test_correlated_gaussian(device):
    state = run(target_from_energy(correlated), 2, 4000, 60, 1, device)
    assert weight_error(state.log_weight, LOG_Z) < 4
    weight = state.log_weight.softmax(0)  # the weighted chains are samples of the target
    mean = (weight[:, None] * state.chain.position).sum(0).cpu()
    assert (mean - MEAN).abs().max() < 4 * math.sqrt(1.2 * float(weight.square().sum()))


@pytest.mark.parametrize("n_steps", [4, 40])
def test_reverse_annealing_is_unbiased_for_the_inverse(n_steps):
    generator = rng(4)
    uniform = torch.rand(8000, 3, generator=generator, dtype=torch.float64)
    exact = (-uniform.log()).sum(1).log()[:, None]  # log Gamma(3): an exact sample at beta = 1
    betas = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    steps = torch.full((n_steps, 1), 0.3, dtype=torch.float64)
    target = log_gamma(3.0)
    state = reverse_anneal(target, start(target, exact), betas, steps, 4, generator)
    assert weight_error(state.log_weight, -math.lgamma(3.0)) < 4


# Where the host reads a number from the device.
READS = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal"}


@pytest.mark.parametrize("force", ["same", "bfloat16"])
def test_annealing_never_waits_for_the_device(force):
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    target = DecoderTarget(decoder, torch.rand(2, 3), 2, 4, force_precision=force)
    generators = [rng(i) for i in range(2)]
    first = start(target, target.sample_prior(generators))
    schedule = [(beta, torch.full((2, 2), 0.1)) for beta in (0.5, 1.0)]
    with Watch() as watch:
        run = annealed_run(target, schedule, target.kernel(3, jitter=0.2), generators, first)
        *_, state = run
    assert not watch.operations & READS
    assert not torch.equal(state.chain.position, first.chain.position)
    with Watch() as watch:
        float(state.log_weight[0])
    assert watch.operations & READS


SQUARES = target_from_energy(lambda z: z.square().sum(1))
ZEROS = start(SQUARES, torch.zeros(4, 1, dtype=torch.float64))
REFUSED = {
    "ascend": [
        {"betas": [0.0], "step_sizes": torch.ones(0, 1)},
        {"betas": [0.0, 1.0, 0.5], "step_sizes": torch.ones(2, 1)},
    ],
    "step_sizes must be": {"betas": [0.0, 1.0], "step_sizes": torch.ones(1, 3)},
}
test_what_does_not_fit_is_refused = refuses(
    REFUSED, partial(anneal, SQUARES, ZEROS, n_leapfrog=2, generator=rng())
)
