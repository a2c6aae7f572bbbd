"""What the tests of the samplers share."""

import contextlib
import math
from unittest import mock

import pytest
import torch
from checks import standard_errors
from draws import rng

from dgm.papers import rate_distortion
from dgm.papers.rate_distortion import SamplerOptions
from dgm.sampling.annealing import reweighted
from dgm.sampling.hmc import HMCState, density_energy, standard_normal_energy

QUICK = {"n_chains": 6, "n_leapfrog": 3, "temperatures_per_beta": 6, "progress": False}


# The correlated law at beta = 1 of the target below, and its log Z.
MEAN = torch.tensor([1.0, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.85], [0.85, 1.2]], dtype=torch.float64)
LOG_Z = 0.5 * math.log(float(torch.linalg.det(COVARIANCE)))


def correlated(z):
    """The energy that takes the standard normal law to N(MEAN, COVARIANCE)."""
    centred = z - MEAN.to(z.device)
    precision = torch.linalg.inv(COVARIANCE).to(z.device)
    return 0.5 * ((centred @ precision) * centred).sum(1) - 0.5 * z.square().sum(1)


def target_from_energy(energy, prior_energy=standard_normal_energy):
    """A target from an energy E(z (C, D)) -> (C,), by automatic differentiation."""
    evaluate = density_energy(lambda z: -energy(z))

    def target(position):
        prior, prior_gradient = prior_energy(position)
        value, gradient = evaluate(position)
        return HMCState(position, prior, value, prior_gradient, gradient)

    return target


def linear_problem(n_images=48, m=20, d=5, scale=0.5, offset=1.0, seed=0):
    """A random linear decoder and images near its range, float64."""
    generator = rng(seed)
    weight, bias, codes, noise = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((m, d), (m,), (n_images, d), (n_images, m))
    )
    decoder = torch.nn.Linear(d, m).double().requires_grad_(False)
    decoder.load_state_dict({"weight": scale * weight, "bias": offset * bias})
    return decoder, decoder(codes) + 0.3 * noise


def with_options(arguments):
    """Arguments of a curve, with those of SamplerOptions packed into options."""
    options = {key: arguments[key] for key in SamplerOptions._fields if key in arguments}
    rest = {key: value for key, value in arguments.items() if key not in options}
    return {**rest, "options": SamplerOptions(**options)} if options else rest


def curve(decoder, x, **arguments):
    """A short curve; options may be given flat."""
    return rate_distortion.rate_distortion_curve(decoder, x, **with_options({**QUICK, **arguments}))


def bdmc_gap(decoder, **arguments):
    """A quiet gap; options may be given flat."""
    return rate_distortion.bdmc_gap(decoder, **with_options({"progress": False, **arguments}))


def gaussian(mean, beta, generator):
    """Images with the noise of which the squared error is the energy."""
    like = {"dtype": mean.dtype, "device": mean.device}
    return mean + torch.randn(mean.shape, generator=generator, **like) / math.sqrt(2 * beta)


def bdmc_and_truth(decoder, exact, simulate=gaussian, **arguments):
    """A gap, and exact(images) -> log Z (N,) of the images that it simulates."""
    images = []

    def noisy(*given):
        images.append(simulate(*given))
        return images[-1]

    return bdmc_gap(decoder, simulate=noisy, **arguments), exact(images[0])


def assert_brackets(check, log_z, slack=math.inf):
    """A gap's bounds lie on both sides of the truth, by no more than some nats."""
    for side in (log_z - check.lower, check.upper - log_z):
        assert standard_errors(side) > -4
        assert side.mean() < slack


def assert_same(ours, theirs):
    """Two curves, bit for bit, in what both have."""
    for name, value in ours._asdict().items():
        expected = getattr(theirs, name)
        if isinstance(value, torch.Tensor) and isinstance(expected, torch.Tensor):
            assert torch.equal(value, expected), name


@contextlib.contextmanager
def interrupted(when):
    """Stops the annealing by a KeyboardInterrupt, which must come, once when() holds."""

    def weigh(*arguments):
        if when():
            raise KeyboardInterrupt
        return reweighted(*arguments)

    with mock.patch("dgm.sampling.annealing.reweighted", weigh), pytest.raises(KeyboardInterrupt):
        yield
