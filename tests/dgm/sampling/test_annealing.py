"""Annealed importance sampling against exact normalising constants, forward and in reverse."""

import math
from functools import partial

import pytest
import torch
from chains import target_from_energy
from torch.utils._python_dispatch import TorchDispatchMode

from dgm.sampling import schedules
from dgm.sampling.annealing import anneal, log_mean_weight, reverse_anneal, start
from dgm.sampling.decoder_target import DecoderTarget
from dgm.sampling.hmc import transition
from dgm.sampling.pilot import adapt_step_sizes

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def log_gamma_energy(shape):
    """E(z) such that the target at beta = 1 is exp(shape z - e^z): log Z = log Gamma(shape)."""

    def energy(z):
        log_prior = -0.5 * z.square() - 0.5 * math.log(2 * math.pi)
        return (log_prior - shape * z + z.exp()).sum(1)

    return energy


def correlated_gaussian_energy(device):
    mean = torch.tensor([1.0, -0.5], dtype=torch.float64, device=device)
    covariance = torch.tensor([[1.0, 0.85], [0.85, 1.2]], dtype=torch.float64, device=device)
    precision = torch.linalg.inv(covariance)

    def energy(z):
        centred = z - mean
        return 0.5 * ((centred @ precision) * centred).sum(1) - 0.5 * z.square().sum(1)

    return energy, 0.5 * math.log(float(torch.linalg.det(covariance)))


def run(target, dim, n_chains, n_temperatures, seed, device="cpu", beta_max=1.0):
    generator = torch.Generator(device).manual_seed(seed)
    options = {"dtype": torch.float64, "device": device}
    betas = torch.linspace(0, beta_max, n_temperatures + 1, dtype=torch.float64)
    first = start(target, torch.randn(n_chains, dim, generator=generator, **options))
    steps = torch.full((n_temperatures, 1), 0.3, **options)
    return anneal(target, first, betas, steps, 4, generator)


def weight_error(log_weight, log_z):
    """Mean of w / Z less 1, in standard errors: AIS is unbiased on this scale."""
    ratio = (log_weight - log_z).exp()
    return float((ratio.mean() - 1) / (ratio.std() / math.sqrt(len(ratio))))


@pytest.mark.parametrize("device", DEVICES)
def test_asymmetric_log_gamma(device):
    log_z = 2 * math.lgamma(2.5)  # two independent dimensions
    state = run(target_from_energy(log_gamma_energy(2.5)), 2, 4000, 60, seed=0, device=device)
    assert abs(weight_error(state.log_weight.cpu(), log_z)) < 4


@pytest.mark.parametrize("device", DEVICES)
def test_correlated_gaussian(device):
    energy, log_z = correlated_gaussian_energy(device)
    state = run(target_from_energy(energy), 2, 4000, 60, seed=1, device=device)
    assert abs(weight_error(state.log_weight.cpu(), log_z)) < 4
    # the weighted chains are samples of the target
    weight = state.log_weight.softmax(0)
    mean = (weight[:, None] * state.chain.position).sum(0).cpu()
    error = 4 * math.sqrt(1.2 * float(weight.square().sum()))
    assert (mean - torch.tensor([1.0, -0.5])).abs().max() < error


def test_weights_are_unbiased_for_few_crude_steps():
    """Three temperatures and a poor kernel: the mean weight is still Z."""
    state = run(target_from_energy(log_gamma_energy(1.5)), 1, 40_000, 3, seed=2)
    assert abs(weight_error(state.log_weight, math.lgamma(1.5))) < 4


@pytest.mark.parametrize("n_steps", [4, 40])
def test_reverse_annealing_is_unbiased_for_the_inverse(n_steps):
    shape, n = 3.0, 8000
    generator = torch.Generator().manual_seed(4)
    uniform = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    exact = (-uniform.log()).sum(1).log()[:, None]  # log Gamma(3): an exact sample at beta = 1
    target = target_from_energy(log_gamma_energy(shape))
    betas = torch.linspace(0, 1, n_steps + 1, dtype=torch.float64)
    steps = torch.full((n_steps, 1), 0.3, dtype=torch.float64)
    state = reverse_anneal(target, start(target, exact), betas, steps, 4, generator)
    assert abs(weight_error(state.log_weight, -math.lgamma(shape))) < 4


def test_bounds_bracket_the_truth_and_close_with_more_temperatures():
    energy, log_z = correlated_gaussian_energy("cpu")
    target = target_from_energy(energy)
    n, m = 200, 4  # problems, chains each
    gaps = []
    for n_temperatures in (2, 8, 32):
        generator = torch.Generator().manual_seed(n_temperatures)
        options = {"generator": generator, "dtype": torch.float64}
        betas = torch.linspace(0, 1, n_temperatures + 1, dtype=torch.float64)
        steps = torch.full((n_temperatures, n), 0.3, dtype=torch.float64)
        first = start(target, torch.randn(n * m, 2, **options))
        forward = anneal(target, first, betas, steps, 4, generator)
        root = torch.linalg.cholesky(torch.tensor([[1.0, 0.85], [0.85, 1.2]], dtype=torch.float64))
        exact = torch.randn(n, 2, **options) @ root.T + torch.tensor([1.0, -0.5])
        last = start(target, exact.repeat(m, 1))
        backward = reverse_anneal(target, last, betas, steps, 4, generator)
        lower = log_mean_weight(forward.log_weight, n)
        upper = -log_mean_weight(backward.log_weight, n)
        assert (lower.mean() - log_z) < 4 * lower.std() / math.sqrt(n)
        assert (log_z - upper.mean()) < 4 * upper.std() / math.sqrt(n)
        gaps.append(float((upper - lower).mean()))
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


def test_cut_and_carried_on_equals_the_whole_run_bit_for_bit():
    energy, _ = correlated_gaussian_energy("cpu")
    target = target_from_energy(energy)
    betas = torch.linspace(0, 1, 21, dtype=torch.float64)
    steps = torch.linspace(0.5, 0.1, 20, dtype=torch.float64)[:, None].expand(-1, 3)

    def begin():
        generator = torch.Generator().manual_seed(9)
        position = torch.randn(12, 2, generator=generator, dtype=torch.float64)
        return start(target, position), generator

    first, generator = begin()
    whole = anneal(target, first, betas, steps, 3, generator)
    first, generator = begin()
    half = anneal(target, first, betas[:8], steps[:7], 3, generator)
    resumed = torch.Generator()
    resumed.set_state(generator.get_state())
    rest = anneal(target, half, betas[7:], steps[7:], 3, resumed)
    assert torch.equal(whole.log_weight, rest.log_weight)
    for a, b in zip(whole.chain, rest.chain, strict=True):
        assert torch.equal(a, b)


class NoWaiting(TorchDispatchMode):
    """Fails where the host reads a number from the device."""

    READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.READS, f"{name} waits for the device"
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("force", ["same", "bfloat16"])
def test_annealing_never_waits_for_the_device(force):
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 3))
    problem = DecoderTarget(decoder, torch.rand(2, 3), 2, 4, force_precision=force)
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    first = start(problem, problem.sample_prior(generators))
    steps = torch.full((2, 2, 2), 0.1)
    with NoWaiting():
        state = anneal(
            problem, first, [0.0, 0.5, 1.0], steps, 3, generators, problem.kernel(3, jitter=0.2)
        )
    assert not torch.equal(state.chain.position, first.chain.position)
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        float(state.log_weight[0])


def test_step_sizes_reach_the_acceptance_that_was_asked_for():
    """Two problems of different stiffness get different step sizes and the same acceptance."""
    stiffness = torch.tensor([1.0, 30.0], dtype=torch.float64).repeat(64)
    target = target_from_energy(lambda z: 0.5 * stiffness * z.square().sum(1))
    generator = torch.Generator().manual_seed(0)
    position = torch.randn(128, 6, generator=generator, dtype=torch.float64)
    betas = torch.cat([torch.zeros(1), torch.linspace(0.1, 20.0, 400)]).double()
    first = torch.full((2,), 0.1, dtype=torch.float64)
    kernel = partial(transition, n_leapfrog=5)
    tuned = betas[1:].tolist(), first, kernel, generator
    _, table = adapt_step_sizes(target, start(target, position), *tuned)
    assert table.shape == (400, 2)
    ratio = float((table[-50:, 0] / table[-50:, 1]).mean())
    assert 4.0 < ratio < 7.5  # sqrt(30) = 5.5
    generator = torch.Generator().manual_seed(1)
    again = start(target, torch.randn(128, 6, generator=generator, dtype=torch.float64))
    again = anneal(target, again, betas[:201], table[:200], 5, generator)
    before = again.acceptance_sum
    again = anneal(target, again, betas[200:], table[200:], 5, generator)
    acceptance = (again.acceptance_sum - before).view(-1, 2).mean(0) / 200
    assert (acceptance - 0.65).abs().max() < 0.05


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.sigmoid(100, 50.0),
        schedules.log_spaced(100, 0.01, 50.0),
        schedules.through(torch.tensor([0.1, 50.0]), [30, 70], 0.2),
    ],
)
def test_schedules_ascend_from_zero_to_the_end(schedule):
    assert schedule.shape == (101,)
    assert schedule.dtype == torch.float64
    assert schedule[0] == 0
    assert schedule[-1] == 50.0
    assert (schedule.diff() > 0).all()


def test_through_passes_exactly_through_the_recorded_betas():
    recorded = torch.tensor([0.05, 0.7, 33.3], dtype=torch.float64)
    schedule = schedules.through(recorded, [4, 5, 6], 0.3)
    assert torch.equal(schedule[[4, 9, 15]], recorded)


def test_sigmoid_is_the_published_schedule():
    """Values that the specification derives from the released code: 60,000 steps to 36,000."""
    recorded = schedules.sigmoid(60_000, 36_000.0)[30::30]
    assert len(recorded) == 2000
    assert int((recorded < 1).sum()) == 47
    values = recorded[[20, 48, 1990]].tolist()
    assert values == pytest.approx([0.3819, 1.0334, 35_999.85], abs=1e-4, rel=1e-6)


@pytest.mark.parametrize("betas", [[0.0], [0.0, 1.0, 0.5]], ids=["too short", "out of order"])
def test_betas_that_do_not_ascend_are_refused(betas):
    target = target_from_energy(lambda z: z.square().sum(1))
    state = start(target, torch.zeros(2, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="ascend"):
        anneal(target, state, betas, torch.ones(len(betas) - 1, 1), 2, torch.Generator())


def test_step_sizes_of_the_wrong_shape_are_refused():
    target = target_from_energy(lambda z: z.square().sum(1))
    state = start(target, torch.zeros(4, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="step_sizes must be"):
        anneal(target, state, [0.0, 1.0], torch.ones(1, 3), 2, torch.Generator())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.sigmoid(0, 1.0), "at least one"),
        (lambda: schedules.sigmoid(5, math.inf), "beta_max"),
        (lambda: schedules.log_spaced(5, 2.0, 1.0), "beta_min"),
    ],
)
def test_bad_schedules_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
