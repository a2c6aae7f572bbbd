"""Trajectories of plain perceptrons: autograd's, exact with low-precision forces, in any blocks."""

import math
from functools import partial
from unittest import mock

import pytest
import torch
from chains import curve
from checks import close, standard_errors
from draws import rng
from torch import nn

from dgm import precision
from dgm.papers.rate_distortion import linear_gaussian_curve
from dgm.sampling import perceptron
from dgm.sampling.annealing import annealed_run, start
from dgm.sampling.decoder_checks import Decoder
from dgm.sampling.decoder_target import DecoderTarget, prepared

ACTIVATIONS = (
    nn.Tanh(),
    nn.Sigmoid(),
    nn.ReLU(),
    nn.LeakyReLU(0.3),
    nn.Softplus(2.0, 3.0),
    nn.SiLU(),
    nn.GELU(),
    nn.GELU("tanh"),
)


class Wrapped(nn.Module):
    """The same decoder, but not a plain perceptron."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, z):
        return self.decoder(z)


def network(*parts, dtype=torch.float64, scale=2.0):
    torch.manual_seed(0)
    sizes = [*[3, 7, 6, 8][: len(parts)], 8]
    layers = [[nn.Linear(a, b), part] for a, b, part in zip(sizes, sizes[1:], parts)]  # noqa: B905
    modules = [part for layer in layers for part in layer if part is not None]
    decoder = nn.Sequential(*modules).to(dtype).requires_grad_(False)
    for layer in decoder:
        if isinstance(layer, nn.Linear):
            layer.weight.mul_(scale)
    return decoder


def run(decoder, n_images=4, n_chains=6, size=0.4, n_leapfrog=5, betas=(1.0, 3.0), **options):
    """The last state of chains, and their target."""
    x = torch.rand(n_images, 8, generator=rng(1), dtype=torch.float64)
    x = x.to(next(decoder.parameters()).dtype)
    target = DecoderTarget(decoder, x, 3, n_chains, **options)
    generator = rng()
    state = start(target, target.sample_prior(generator))
    schedule = [(beta, torch.full((n_images, 3), size).double()) for beta in betas]
    kernel = target.kernel(n_leapfrog, jitter=0.3)
    *_, state = annealed_run(target, schedule, kernel, generator, state)
    return state, target


@pytest.fixture
def blocks(monkeypatch):
    """Blocks of two rows or more, whatever they cost."""
    monkeypatch.setattr(perceptron, "BLOCK_ROWS", 2)
    monkeypatch.setattr(perceptron, "BLOCK_WORK", 1.0)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("output", [None, nn.Sigmoid()], ids=str)
def test_trajectories_are_those_of_autograd(activation, output):
    decoder = network(activation, activation, output)
    ours, target = run(decoder)
    plain, other = run(Wrapped(decoder))
    assert target.perceptron is not None
    assert other.perceptron is None
    assert 0.1 < float(plain.acceptance_sum.mean()) < 1.99
    for a, b in zip((*ours.chain, *ours[1:4]), (*plain.chain, *plain[1:4]), strict=True):
        close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("sizes", [(4, 9), (1, 7), (9, 1), (5, 2)])
@pytest.mark.parametrize("force", ["same", "bfloat16"])
def test_blocks_and_threads_change_nothing_but_rounding(sizes, force, monkeypatch):
    decoder, states = network(nn.Tanh(), nn.ReLU(), nn.Sigmoid()), []
    for n_threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda n=n_threads: n)
        state, target = run(decoder, *sizes, force_precision=force)
        states.append(state)
        blocks = target.perceptron._blocks(math.prod(sizes))
        rows = torch.cat([torch.arange(math.prod(sizes))[block] for block, _ in blocks])
        assert len(blocks) > 1
        assert rows.tolist() == list(range(math.prod(sizes)))
    assert torch.equal(states[0].chain.position, states[1].chain.position)
    monkeypatch.setattr(perceptron, "BLOCK_ROWS", 1000)
    whole, _ = run(decoder, *sizes, force_precision=force)
    if force == "same":
        close(states[0].chain, whole.chain, rtol=1e-10, atol=1e-10)


def test_acceptance_is_exact_with_low_precision_forces():
    """Chains from the exact law of a linear decoder keep it, where forces are off by a lot."""
    n, beta = 10_000, 40.0
    decoder = network(None, None, scale=1.0, dtype=torch.float32)
    weight = (decoder[1].weight @ decoder[0].weight).double()
    bias = (decoder[1].weight @ decoder[0].bias + decoder[1].bias).double()
    x = torch.rand(1, 8, generator=rng(1))
    precision_matrix = torch.eye(3).double() + 2 * beta * weight.T @ weight
    covariance = torch.linalg.inv(precision_matrix)
    mean = 2 * beta * covariance @ weight.T @ (x[0].double() - bias)
    factor = torch.linalg.cholesky(covariance)
    exact = mean + torch.randn(n, 3, generator=rng(2), dtype=torch.float64) @ factor.T
    target = DecoderTarget(decoder, x, 3, n, force_precision="bfloat16")
    # a force of another target altogether is still a force, and shows what acceptance corrects
    target.perceptron.low_x = target.perceptron.low_x + 0.1
    state, generator = start(target, exact.float(), beta), rng(3)
    schedule = [(beta, torch.tensor([0.15]))] * 4
    *_, state = annealed_run(target, schedule, target.kernel(4, jitter=0.3), generator, state)
    assert 0.4 < float(state.acceptance_sum.mean()) / 4 < 0.9
    white = torch.linalg.solve_triangular(factor, (state.chain.position - mean).T, upper=False)
    products = (white[:, None] * white).flatten(0, 1) - torch.eye(3).double().flatten()[:, None]
    assert standard_errors(torch.cat([white, products])).abs().max() < 4


def test_log_z_with_low_precision_forces():
    decoder = network(None, None, scale=1.0, dtype=torch.float32)
    x = torch.rand(40, 8, generator=rng(1))
    weight, bias = decoder[1].weight @ decoder[0].weight, decoder(torch.zeros(1, 3))[0]
    exact = linear_gaussian_curve(weight, bias, x, [1.0, 10.0]).log_z
    settings = {"n_chains": 20, "n_leapfrog": 5, "temperatures_per_beta": 20, "latent_dim": 3}
    ours = curve(decoder, x, betas=[1.0, 10.0], force_precision="bfloat16", **settings).log_z
    assert standard_errors((ours - exact).exp() - 1).abs().max() < 4


def test_a_trajectory_that_ends_in_nan_is_rejected():
    decoder = network(nn.ReLU(), nn.ReLU())
    state, target = run(decoder, size=1e30, betas=(1.0,))
    assert target.perceptron is not None
    assert not state.acceptance_sum.any()
    first = start(target, target.sample_prior(rng()))
    assert torch.equal(state.chain.position, first.chain.position)
    assert torch.isfinite(state.log_weight).all()


class Own(nn.Linear):
    """A layer that may compute something else."""


def hooked(decoder):
    decoder[0].register_forward_hook(lambda *_: None)
    return decoder


def patched(decoder):
    decoder[2].forward = lambda z: z
    return decoder


NOT_PLAIN = {
    "a function": lambda d: d.forward,
    "a hook": hooked,
    "another forward": patched,
    "a subclass": lambda d: nn.Sequential(Own(3, 7).double(), *d[1:]),
    "a norm": lambda d: nn.Sequential(*d[:2], nn.LayerNorm(7).double(), *d[2:]),
    "weights of a norm": lambda d: nn.Sequential(
        nn.utils.parametrizations.weight_norm(d[0]), *d[1:]
    ),
    "an activation of others": lambda d: nn.Sequential(*d, nn.PReLU().double()),
    "two dtypes": lambda d: nn.Sequential(d[0].float(), *d[1:]),
    "nothing": lambda _: nn.Identity(),
}


@pytest.mark.parametrize("change", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_any_other_module_is_left_to_autograd(change):
    decoder = Decoder(change(network(nn.Tanh(), nn.Tanh())))
    assert perceptron.plain_layers(decoder) is None


def test_prior_distortion_and_shape_decide_too():
    decoder = network(nn.Tanh(), nn.Tanh())
    picture = nn.Sequential(nn.Sequential(decoder, nn.Dropout(0.2).eval()), nn.Unflatten(1, (2, 4)))
    make = partial(DecoderTarget, picture, torch.rand(2, 8).double(), 3, 4)
    assert make().perceptron is not None
    prior = torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    for options in ({"prior": prior}, {"distortion": lambda x, y: (x - y).abs().sum(1)}):
        assert make(**options).perceptron is None
    half = Decoder(network(nn.Tanh(), nn.Tanh(), dtype=torch.bfloat16))
    half.code_dtype = torch.bfloat16
    assert DecoderTarget(half, torch.rand(2, 8), 3, 4).perceptron is None


FLAGS = {"old": {"avx2"}, "wide": {"avx512f"}, "zen": {"avx512_bf16"}, "amx": {"amx_bf16"}}


@pytest.mark.parametrize("machine", FLAGS)
def test_forces_follow_the_machine_and_the_size(machine, monkeypatch):
    monkeypatch.setattr(precision, "_cpu_flags", lambda: FLAGS[machine])
    torch.manual_seed(0)

    def chosen(hidden, n_pixels, n_chains, dtype=torch.float32):
        decoder = nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, n_pixels))
        x = torch.zeros(1, n_pixels, dtype=dtype)
        target = DecoderTarget(decoder.to(dtype), x, 2, n_chains, force_precision="auto")
        assert target.perceptron.low == (target.force_precision == "bfloat16")
        return target.force_precision

    fast = "bfloat16" if machine in ("zen", "amx") else "same"
    assert chosen(64, 784, 800) == chosen(64, 784, 128) == fast
    assert chosen(32, 9, 256) == chosen(32, 9, 10**5) == chosen(64, 784, 32) == "same"
    assert chosen(64, 784, 800, torch.float64) == "same"


def test_a_run_shares_rows_among_the_threads_of_its_caller():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with prepared(network(nn.Tanh(), nn.Tanh()), latent_dim=3, n_rows=100) as (decoder, _):
            assert torch.get_num_threads() == 1
            target = DecoderTarget(decoder, torch.rand(1, 8).double(), 3, 4)
        assert target.perceptron.n_threads == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_compiled_decoders_do_not_exhaust_the_compiler():
    """Each kernel has a code of its own, so that a limit on one code's compilations is not met."""
    limit = {"cache_size_limit": 1, "accumulated_cache_size_limit": 1}
    eager = partial(torch.compile, backend="eager")
    with torch._dynamo.config.patch(limit), mock.patch("torch.compile", eager):
        for n_hidden in (2, 3):
            decoder = Wrapped(
                nn.Sequential(nn.Linear(2, n_hidden), nn.ELU(), nn.Linear(n_hidden, 3))
            )
            target = DecoderTarget(decoder.double(), torch.rand(1, 3).double(), 2, 2)
            schedule = [(1.0, torch.tensor([0.1]).double())]
            list(annealed_run(target, schedule, target.kernel(1, compile=True), rng()))
