"""Hamiltonian Monte Carlo: order, reversibility, invariance, a joint test of the kernel."""

import math

import pytest
import torch
from chains import COVARIANCE, MEAN, correlated, target_from_energy
from checks import close, on_devices, standard_errors
from draws import rng

from dgm.sampling.hmc import hamiltonian, leapfrog, transition


def banana(z):
    bent = z[:, 1] + 0.5 * z[:, 0].square() - 0.4
    return 0.5 * (z[:, 0] - 0.7).square() + 1.5 * bent.square() + 0.3 * z[:, 2] * z[:, 0]


def chains(n, dim, seed=0, device="cpu"):
    generator = rng(seed, device)
    shape = {"dtype": torch.float64, "device": device}
    return torch.randn(n, dim, generator=generator, **shape), generator


def steps(n, size, device="cpu"):
    return torch.full((n,), size, dtype=torch.float64, device=device)


@on_devices
def test_energy_error_falls_with_the_square_of_the_step_size(device):
    position, generator = chains(512, 3, device=device)
    target = target_from_energy(banana)
    state = target(position)
    momentum = torch.randn(position.shape, generator=generator, dtype=torch.float64, device=device)
    before = hamiltonian(state, momentum, 0.8)
    sizes = torch.tensor([0.08, 0.04, 0.02, 0.01], dtype=torch.float64)
    errors = []
    for size in sizes.tolist():  # trajectories of one length
        end, final = leapfrog(target, state, momentum, 0.8, size, round(0.8 / size))
        errors.append((hamiltonian(end, final, 0.8) - before).abs().mean())
    x, y = sizes.log(), torch.stack(errors).cpu().log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert abs(float(slope) - 2.0) < 0.2


@on_devices
def test_leapfrog_comes_back_when_the_momentum_is_reversed(device):
    position, generator = chains(64, 3, device=device)
    target = target_from_energy(banana)
    momentum = torch.randn(position.shape, generator=generator, dtype=torch.float64, device=device)
    there, turned = leapfrog(target, target(position), momentum, 0.8, 0.05, 30)
    assert (there.position - position).abs().mean() > 0.1
    back, final = leapfrog(target, there, -turned, 0.8, 0.05, 30)
    close(back.position, position, rtol=0, atol=1e-10)
    close(final, -momentum, rtol=0, atol=1e-10)


@on_devices
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_chains_reach_the_gaussian_between_the_prior_and_the_target(beta, device):
    """Its precision is (1 - beta) I + beta times the target's: the prior itself at beta = 0."""
    n, target = 20_000, target_from_energy(correlated)
    position, generator = chains(n, 2, device=device)
    state, accepted = target(0.3 * position - 1), []
    for _ in range(30):
        step = transition(target, state, beta, steps(n, 0.4, device), 3, generator)
        state = step.state
        accepted.append(step.acceptance.mean())
    assert 0.5 < float(torch.stack(accepted).mean()) < 0.99  # rejections are part of the test
    of_target, eye = torch.linalg.inv(COVARIANCE), torch.eye(2, dtype=torch.float64)
    covariance = torch.linalg.inv((1 - beta) * eye + beta * of_target)
    centred = (state.position.cpu() - covariance @ (beta * of_target @ MEAN)).T
    products = (centred[:, None] * centred).flatten(0, 1) - covariance.flatten()[:, None]
    assert standard_errors(torch.cat([centred, products])).abs().max() < 4


def test_jitter_lets_energies_relax():
    """A step size of half a period in five steps: without jitter no energy would ever change."""
    generator = rng()
    target = target_from_energy(lambda z: 0 * z.sum(1))
    step = steps(4000, 2 * math.sin(math.pi / 10))
    squares = {}
    for jitter in (0.0, 0.4):
        chain = target(torch.full((4000, 1), 3.0, dtype=torch.float64))
        for _ in range(20):
            chain = transition(target, chain, 1.0, step, 5, generator, jitter=jitter).state
        squares[jitter] = chain.position.square()
    assert (squares[0.0] - 9).abs().max() < 1e-9
    assert abs(float(squares[0.4].mean() - 1) / math.sqrt(2 / 4000)) < 4


def test_geweke_joint_distribution():
    """Drawing (theta, data) directly, or by alternating the kernel with new data, agrees.

    theta ~ N(0, 1), y | theta ~ N(theta + theta^2 / 2, 1): a wrong gradient, energy or acceptance
    changes the joint distribution of the successive draws.
    """
    n = 20_000
    generator = rng(3)

    def draw(theta):
        noise = torch.randn(n, generator=generator, dtype=torch.float64)
        return theta + 0.5 * theta.square() + noise

    theta = torch.randn(n, generator=generator, dtype=torch.float64)
    for _ in range(12):
        y = draw(theta)
        target = target_from_energy(
            lambda z, y=y: 0.5 * (y - z[:, 0] - 0.5 * z[:, 0].square()).square()
        )
        state = target(theta[:, None])
        theta = transition(target, state, 1.0, steps(n, 0.6), 3, generator).state.position[:, 0]
    y = draw(theta)
    squares = theta.square()
    values = torch.stack([theta, squares, theta.pow(3), y, theta * y, squares * y])
    means = torch.tensor([0, 1, 0, 0.5, 1, 1.5])  # under the direct draw
    assert standard_errors(values - means[:, None]).abs().max() < 4


def test_a_step_size_per_axis_is_a_mass():
    """Deviations 1 and 0.05, steps in proportion: moves as freely as a round target, and stays."""
    n = 20_000
    deviation = torch.tensor([1.0, 0.05], dtype=torch.float64)
    position, generator = chains(n, 2)
    target = target_from_energy(
        lambda z: 0.5 * (z / deviation).square().sum(1) - 0.5 * z.square().sum(1)
    )
    state = target(position * deviation)
    for _ in range(5):
        step = transition(target, state, 1.0, (0.7 * deviation).expand(n, 2), 3, generator)
        state = step.state
    assert 0.85 < float(step.acceptance.mean()) < 0.999
    ratio = (state.position / deviation).square().mean(0)
    assert ((ratio - 1) / math.sqrt(2 / n)).abs().max() < 4
    correlation = (state.position[:, 1] * position[:, 1]).mean() / 0.05
    assert abs(float(correlation)) < 4 / math.sqrt(n) + 0.05


def test_what_is_cached_is_that_of_the_positions():
    target = target_from_energy(banana)
    position, generator = chains(32, 3)
    step = transition(target, target(position), 1.0, steps(32, 0.4), 5, generator)
    assert 0 < int(step.accepted.sum()) < 32
    close(step.state, target(step.state.position))
    assert torch.equal(step.state.position[~step.accepted], position[~step.accepted])


def test_a_trajectory_that_ends_in_nan_is_rejected():
    position, generator = chains(8, 2)
    target = target_from_energy(lambda z: z.sum(1) * math.nan)
    start = target_from_energy(lambda z: 0 * z.sum(1))(position)
    step = transition(target, start, 1.0, steps(8, 0.1), 3, generator)
    assert not step.accepted.any()
    assert torch.equal(step.state.position, position)
    assert torch.equal(step.acceptance, torch.zeros(8, dtype=torch.float64))
