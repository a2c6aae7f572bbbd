"""Priors on a part of the space against sums over a grid; priors that check their arguments."""

import math
from functools import partial

import pytest
import torch
from chains import assert_brackets, bdmc_and_truth, bdmc_gap, curve
from checks import close, refuses, standard_errors
from draws import normal, rng
from torch import nn
from torch.distributions import (
    Beta,
    Categorical,
    Dirichlet,
    Gamma,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    TanhTransform,
    TransformedDistribution,
    Uniform,
    VonMises,
)

from dgm.sampling.priors import CodeSpace

BETAS = [0.5, 5.0, 50.0]
GAP = {"n_images": 40, "n_chains": 10, "n_temperatures": 60, "n_leapfrog": 6}
GAP |= {"latent_dim": 2, "beta": 5.0}


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def decoder_and_images(n_images=40):
    """Two codes to three pixels; the best codes lie inside and outside of the unit square."""
    decoder = nn.Linear(2, 3).double().requires_grad_(False)
    decoder.load_state_dict({"weight": normal(3, 2), "bias": vector(0.1, 0.0, -0.1)})
    codes = 1.5 * torch.rand(n_images, 2, generator=rng(), dtype=torch.float64) - 0.25
    return decoder, decoder(codes) + 0.1 * normal(n_images, 3, seed=1)


def midpoints(low, high, n):
    return low + (torch.arange(n, dtype=torch.float64) + 0.5) * (high - low) / n


def box(low, high, n=150):
    """Midpoints of a box's cells, (n^2, 2), and the log of a cell's area."""
    axes = [midpoints(a, b, n) for a, b in zip(low, high, strict=True)]
    area = math.prod((b - a) / n for a, b in zip(low, high, strict=True))
    return torch.cartesian_prod(*axes), math.log(area)


def simplex(n=2000):
    t = midpoints(0.0, 1.0, n)
    return torch.stack([t, 1 - t], 1), -math.log(n)


PRIORS = {
    "uniform": (Independent(Uniform(vector(-1, 0), vector(2, 1)), 1), box((-1, 0), (2, 1))),
    "beta": (Independent(Beta(vector(2, 3), vector(2, 1.5)), 1), box((0, 0), (1, 1))),
    "gamma": (Independent(Gamma(vector(2, 3), vector(2, 4)), 1), box((0, 0), (9, 5), 250)),
    "dirichlet": (Dirichlet(vector(2, 3)), simplex()),
    "tanh": (
        TransformedDistribution(Independent(Normal(vector(0, 0.3), 0.8), 1), [TanhTransform()]),
        box((-1, -1), (1, 1)),
    ),
}


def exact(prior, grid, decoder, x, betas, distance=lambda d: d.square().sum(-1)):
    """log Z and distortion (R, N) by a sum over the cells of a grid."""
    codes, log_cell = grid
    log_prior = prior.log_prob(codes) + log_cell
    assert abs(float(torch.logsumexp(log_prior, 0))) < 1e-3
    energy = torch.stack([distance(decoder(codes) - image) for image in x])
    terms = [log_prior - beta * energy for beta in betas]
    log_z = torch.stack([torch.logsumexp(term, 1) for term in terms])
    distortion = torch.stack([(term.softmax(1) * energy).sum(1) for term in terms])
    return log_z, distortion


@pytest.mark.parametrize("name", PRIORS)
class TestBounded:
    def test_against_quadrature(self, name):
        prior, grid = PRIORS[name]
        decoder, x = decoder_and_images()
        sizes = {"n_chains": 16, "n_leapfrog": 6, "temperatures_per_beta": 40}
        ours = curve(decoder, x, latent_dim=2, betas=BETAS, prior=prior, **sizes)
        log_z, distortion = exact(prior, grid, decoder, x, BETAS)
        rate = -log_z - ours.beta[:, None] * distortion
        energy = (decoder(ours.codes) - x).square().sum(-1)  # of one code per image
        missed = ours.log_z - log_z, ours.distortion - distortion, ours.rate - rate
        for difference in (*missed, energy - distortion):
            assert standard_errors(difference).abs().max() < 4
        assert (ours.log_z - log_z).std(1).max() / math.sqrt(len(x)) < 0.08  # the test is sharp
        assert ours.codes.shape == (3, len(x), 2)
        assert bool(prior.support.check(ours.codes).all())

    def test_free_coordinates_carry_the_density(self, name):
        """Minus the energy is the log density plus that of the volume, by autograd's Jacobian."""
        space = CodeSpace(PRIORS[name][0], 2, torch.device("cpu"), torch.float64)
        position = space.sample(5, rng())
        free = [torch.autograd.functional.jacobian(space.codes, p)[: space.dim] for p in position]
        volume = torch.stack([torch.linalg.slogdet(j).logabsdet for j in free])
        log_prob = PRIORS[name][0].log_prob(space.codes(position))
        close(-space.energy(position)[0], log_prob + volume)

    def test_bdmc_brackets_the_truth(self, name):
        prior, grid = PRIORS[name]
        decoder, _ = decoder_and_images()

        def truth(x):
            return exact(prior, grid, decoder, x, [5.0])[0][0]

        assert_brackets(*bdmc_and_truth(decoder, truth, prior=prior, **GAP), 0.35)


def test_bdmc_takes_a_distortion_whose_noise_is_given():
    """Absolute errors and Laplace noise; prior, schedule and precision are not the default."""
    prior = Independent(Normal(vector(0.5, 0.0), vector(1.5, 0.7)), 1)
    decoder, _ = decoder_and_images()
    decoder = decoder.float()

    def distance(a, b):
        return (a - b).abs().sum(-1)

    def laplace(mean, beta, generator):
        uniform = torch.rand(mean.shape, generator=generator, dtype=mean.dtype) - 0.5
        return mean - uniform.sign() * (1 - 2 * uniform.abs()).log() / beta

    def truth(x):
        given = box((-7.5, -5), (8.5, 5)), decoder.double(), x.double(), [5.0]
        return exact(prior, *given, lambda d: d.abs().sum(-1))[0][0]

    own = {"distortion": distance, "simulate": laplace, "n_temperatures": 80}
    other = {"prior": prior, "schedule": "adaptive", "precision": "float64"}
    check, log_z = bdmc_and_truth(decoder, truth, **{**GAP, **own, **other})
    assert_brackets(check, log_z)
    assert 0 < check.gap + 4 * check.standard_error < 1.0


LINEAR = decoder_and_images()[0]
REFUSED = {
    "give simulate=": {},
    "simulate must return": {"simulate": lambda mean, beta, generator: mean[0]},
}
test_a_distortion_needs_its_noise = refuses(
    REFUSED, partial(bdmc_gap, LINEAR, distortion=lambda a, b: (a - b).abs().sum(-1)), **GAP
)


def steep(z):
    """Unbounded: a step that is too long leaves for infinity, and NaN comes back."""
    return 20 * z**5


def checked(prior):
    """The same prior with all checks of its arguments on."""
    prior._validate_args = True
    return prior


def rows(prior):
    return checked(Independent(checked(prior), 1))


PLAIN = {
    "normal": lambda: rows(Normal(torch.zeros(2), torch.ones(2))),
    "multivariate": lambda: checked(MultivariateNormal(torch.zeros(2), torch.eye(2))),
    "mixture": lambda: checked(
        MixtureSameFamily(
            Categorical(torch.ones(2)), rows(Normal(torch.tensor([[-1.0] * 2, [1.0] * 2]), 1.0))
        )
    ),
    "gamma": lambda: rows(Gamma(torch.ones(2), 1.0)),
    "uniform": lambda: rows(Uniform(torch.zeros(2), torch.ones(2))),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_diverging_trajectory_is_rejected_and_not_an_error(name):
    prior = PLAIN[name]()
    sizes = {"n_chains": 8, "n_leapfrog": 12, "temperatures_per_beta": 8, "step_sizes": 3.0}
    arguments = {"latent_dim": 2, "betas": [1.0, 1e6], "prior": prior, **sizes}
    assert bool(torch.isfinite(curve(steep, torch.zeros(2, 2), **arguments).log_z).all())
    assert prior._validate_args  # as it was
    with pytest.raises(ValueError, match="Expected value argument"):
        prior.log_prob(torch.full((1, 2), math.nan))


class Flat:
    """A box that does not say so."""

    def sample(self, shape):
        return torch.rand(*shape, 2)

    def log_prob(self, z):
        return torch.zeros(len(z))


class Tupled(Flat):
    """Gives its density with each sample."""

    def sample(self, shape):
        return super().sample(shape), torch.zeros(shape)


UNUSABLE = {
    r"needs sample\(\(n,\)\) and log_prob": "normal",
    "as high far away": Independent(VonMises(torch.zeros(2), torch.ones(2)), 1),
    "must be .*got tuple": Tupled(),
    r"Independent\(Uniform": Flat(),
    r"Independent\(prior, 1\)": Uniform(torch.zeros(2), torch.ones(2)),
    "is latent_dim=2 the prior's": rows(Uniform(torch.zeros(3), 1.0)),
    "continuous prior": Independent(Poisson(torch.ones(2)), 1),
    "continuous prior|needs sample": MixtureSameFamily(
        Categorical(torch.ones(2)), rows(Uniform(torch.zeros(2, 2), 1.0))
    ),
}
test_a_prior_that_cannot_be_used_is_named = refuses(
    {message: {"prior": prior} for message, prior in UNUSABLE.items()},
    partial(curve, nn.Linear(2, 3), torch.zeros(2, 3), latent_dim=2, betas=[1.0], n_chains=40),
)
