"""How fast the evaluator and the training are, beside blackjax and a plain loop: `make bench`.

`extra_info` holds the figure of merit: chain-leapfrogs per second (one chain, one gradient),
training steps per second, or ratios of times. Variants that are compared take turns; medians count
beside others, which use two cores that should be quiet, and least times where cost is a power.
"""

import math
import time
from typing import NamedTuple

import pytest
import torch
from benches import spread, turns
from chains import curve
from checks import on_devices
from draws import rng

from dgm.papers.rate_distortion import ImageVAE, vae_objective
from dgm.sampling.annealing import annealed_run, start
from dgm.sampling.decoder_target import DecoderTarget


class Case(NamedTuple):
    """A decoder's sizes, images and chains of each, and least speeds over blackjax's."""

    latent_dim: int
    hidden: tuple[int, ...]
    n_pixels: int
    n_images: int
    n_chains: int
    least: float


CASES = {
    "2-32-9": Case(2, (32,), 9, 16, 16, 0.25),
    "5-64-784": Case(5, (64,), 784, 4, 8, 0.5),
    "10-64-784": Case(10, (64,), 784, 50, 16, 1.0),
    "10-256x2-784": Case(10, (256, 256), 784, 50, 16, 1.0),
    "10-1024x3-784": Case(10, (1024,) * 3, 784, 5, 16, 1.0),
}
LARGE = CASES["10-256x2-784"]
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
BETA, STEP_SIZE, JITTER, N_LEAPFROG = 3.0, 0.02, 0.4, 20
SECONDS = 4.0  # of each comparison


def network(case, device="cpu"):
    torch.manual_seed(0)
    decoder = ImageVAE(case.n_pixels, case.latent_dim, case.hidden).decoder
    return decoder.to(device).requires_grad_(False).eval()


@pytest.fixture
def timed(benchmark):
    """A benchmark, where speed is compared at all."""
    if benchmark.disabled:
        pytest.skip("a comparison of speed: make bench")
    return benchmark


@on_devices
@pytest.mark.parametrize("case", [*CASES.values()][2:], ids=[*CASES][2:])
def test_chain_leapfrogs_per_second(benchmark, case, device):
    case = case if benchmark.enabled else case._replace(n_images=5)
    run = transitions(case, device)[2]["auto"]

    def total():
        return float(run().log_weight.sum())  # waits for the device

    assert benchmark.pedantic(total, rounds=5, warmup_rounds=1) == pytest.approx(total(), rel=0.5)
    if benchmark.stats:
        work = case.n_images * case.n_chains * N_LEAPFROG
        benchmark.extra_info["chain_leapfrogs_per_second"] = work / benchmark.stats.stats.median


@on_devices
@pytest.mark.parametrize("hidden", [(256, 256), (1024,) * 3], ids=str)
def test_training_steps_per_second(benchmark, hidden, device):
    torch.manual_seed(0)
    model = ImageVAE(784, 10, hidden).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    generator = torch.Generator(device).manual_seed(0)
    x = torch.rand(100, 784, generator=generator, device=device)
    first = float(vae_objective(model, x, generator).value.mean().detach())

    def run():
        for _ in range(10):
            loss = -vae_objective(model, x, generator).value.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return -float(loss.detach())

    assert benchmark.pedantic(run, rounds=5, warmup_rounds=1) > first
    if benchmark.stats:
        benchmark.extra_info["training_steps_per_second"] = 10 / benchmark.stats.stats.median


@pytest.fixture
def _two_threads():
    """As many as the machine that the figures are asked for has cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def transitions(case, device="cpu"):
    """A decoder, images, and for each kind of forces a function that makes one transition."""
    decoder = network(case, device)
    x = torch.rand(case.n_images, case.n_pixels, generator=rng()).to(device)
    return (
        decoder,
        x,
        {force: one_transition(decoder, x, case, force) for force in ("auto", "same")},
    )


def one_transition(decoder, x, case, force="auto", compile=False):
    """A function that makes one transition of all chains."""
    target = DecoderTarget(decoder, x, case.latent_dim, case.n_chains, force_precision=force)
    generator = torch.Generator(x.device).manual_seed(0)
    state = start(target, target.sample_prior(generator), beta=BETA)
    kernel = target.kernel(N_LEAPFROG, JITTER, compile)
    schedule = [(BETA, torch.full((1,), STEP_SIZE, device=x.device))]
    return lambda: next(annealed_run(target, schedule, kernel, generator, state))


def medians(variants, device="wall", seconds=SECONDS):
    """Each variant's median time and half the range of its quartiles, from turns, seconds."""
    for run in variants.values():
        run()
    ends, taken = time.monotonic() + seconds, []
    while len(taken) < 7 or time.monotonic() < ends:
        taken.append(turns(variants.values(), 1, device)[0])
    columns = torch.stack(taken, 1)
    return {name: spread(column) for name, column in zip(variants, columns, strict=True)}


def blackjax_transition(decoder, x, case):
    """One HMC transition of all chains by blackjax: vmap over the chains, then jit."""
    jax = pytest.importorskip("jax", reason="needs the extra `bench`: jax and blackjax")
    blackjax = pytest.importorskip("blackjax", reason="needs the extra `bench`: jax and blackjax")
    jnp = jax.numpy
    arrays = [(layer.weight.T, layer.bias) for layer in decoder[::2]]
    layers = [[jnp.asarray(array.numpy().copy()) for array in pair] for pair in arrays]

    def decode(z):
        for weight, bias in layers[:-1]:
            z = jnp.tanh(z @ weight + bias)
        return jax.nn.sigmoid(z @ layers[-1][0] + layers[-1][1])

    z_dim = case.latent_dim
    kernel = blackjax.mcmc.hmc.build_kernel()
    images = jnp.asarray(x.repeat(case.n_chains, 1).numpy())

    def log_density(image):
        return lambda z: -0.5 * jnp.sum(z**2) - BETA * jnp.sum((decode(z) - image) ** 2)

    def chain_step(key, state, image):
        return kernel(key, state, log_density(image), STEP_SIZE, jnp.ones(z_dim), N_LEAPFROG)

    def begin(z, image):
        return blackjax.mcmc.hmc.init(z, log_density(image))

    z = jax.random.normal(jax.random.PRNGKey(0), (len(images), z_dim))
    theirs, ours = decode(z), decoder(torch.tensor(jax.device_get(z).copy()))
    assert abs(theirs - ours.numpy()).max() < 1e-5
    keys = jax.random.split(jax.random.PRNGKey(1), len(images))
    state = jax.jit(jax.vmap(begin))(z, images)
    move = jax.jit(jax.vmap(chain_step))
    return lambda: jax.block_until_ready(move(keys, state, images))


@EACH
@pytest.mark.usefixtures("_two_threads")
def test_beside_blackjax(timed, case):
    decoder, x, variants = transitions(case)
    variants["blackjax"] = blackjax_transition(decoder, x, case)
    variants["compile"] = one_transition(decoder, x, case, compile=True)
    _, info = variants["blackjax"]()
    expected = float(variants["same"]().acceptance_sum.mean())
    assert float(info.acceptance_rate.mean()) == pytest.approx(expected, abs=0.05)
    timed.pedantic(variants["auto"], rounds=1)
    taken = medians(variants)
    theirs = taken["blackjax"][0]
    ratios = {name: theirs / median for name, (median, _) in taken.items()}
    timed.extra_info |= {"over_blackjax": ratios, "seconds": taken}
    assert ratios["auto"] >= case.least
    assert ratios["compile"] >= max(0.5, case.least)


def plain_transition(decoder, x, z, generator):
    """As one would write it down: no cache, a gradient at each step, energies when needed."""

    def energy(z):
        return (decoder(z) - x).square().sum(1)

    def potential(z):
        return 0.5 * z.square().sum(1) + BETA * energy(z)

    def gradient(z):
        z = z.detach().requires_grad_(True)
        return torch.autograd.grad(potential(z).sum(), z)[0]

    with torch.no_grad():
        log_weight = -0.01 * energy(z)
        momentum = torch.randn(z.shape, generator=generator)
        before = potential(z) + 0.5 * momentum.square().sum(1)
    end, kick = z, momentum - 0.5 * STEP_SIZE * gradient(z)
    for i in range(N_LEAPFROG):
        end = end + STEP_SIZE * kick
        kick = kick - (STEP_SIZE if i + 1 < N_LEAPFROG else 0.5 * STEP_SIZE) * gradient(end)
    with torch.no_grad():
        after = potential(end) + 0.5 * kick.square().sum(1)
        accepted = torch.rand(len(z), generator=generator) < (before - after).exp()
        z = torch.where(accepted[:, None], end, z)
        return z, log_weight, energy(z)


@EACH
@pytest.mark.usefixtures("_two_threads")
def test_beside_a_plain_loop(timed, case):
    decoder, x, variants = transitions(case)
    generator, rows = torch.Generator().manual_seed(0), x.repeat(case.n_chains, 1)
    z = torch.randn(len(rows), case.latent_dim, generator=generator)
    variants["plain"] = lambda: plain_transition(decoder, rows, z, generator)
    timed.pedantic(variants["auto"], rounds=1)
    taken = medians(variants)
    ratios = {name: taken["plain"][0] / taken[name][0] for name in ("auto", "same")}
    timed.extra_info |= {"over_plain": ratios, "seconds": taken}
    assert ratios["auto"] >= 2.5


@EACH
@pytest.mark.usefixtures("_two_threads")
def test_the_first_step_comes_at_once(timed, case):
    x = torch.rand(case.n_images, case.n_pixels, generator=rng())
    sizes = {"n_chains": case.n_chains, "n_leapfrog": 1, "temperatures_per_beta": 1}
    options = {"latent_dim": case.latent_dim, "betas": [0.1], "step_sizes": STEP_SIZE}
    timed.pedantic(lambda: curve(network(case), x, **sizes, **options), rounds=1)
    assert timed.stats.stats.max < 2.0


def exponent(sizes, seconds):
    """Slope of log time over log size."""
    x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (sizes, seconds))
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def curve_of(counts, betas):
    x = torch.rand(8, 784, generator=rng())
    settings = {"n_chains": 16, "n_leapfrog": 5, "temperatures_per_beta": counts}
    settings |= {"latent_dim": 10, "betas": betas, "step_sizes": STEP_SIZE}
    return curve(network(LARGE), x, **settings)


def least(variants, rounds):
    """The least time of each variant, seconds of this process, after one round of warming up."""
    taken = turns(variants.values(), rounds + 1)[1:].amin(0)
    return dict(zip(variants, taken.tolist(), strict=True))


def test_cost_is_linear_in_chains_and_temperatures(timed):
    chains = [8, 16, 32, 64, 128]
    variants = {m: transitions(LARGE._replace(n_chains=m))[2]["same"] for m in chains}
    timed.pedantic(variants[8], rounds=1)
    in_chains = exponent(chains, list(least(variants, 3).values()))
    temperatures = [10, 20, 40, 80, 160]
    variants = {t: lambda t=t: curve_of(t, [0.1]) for t in temperatures}
    in_temperatures = exponent(temperatures, list(least(variants, 3).values()))
    timed.extra_info |= {"chains": in_chains, "temperatures": in_temperatures}
    assert abs(in_chains - 1) < 0.1
    assert abs(in_temperatures - 1) < 0.1


def test_a_whole_curve_costs_as_much_as_one_likelihood(timed):
    betas = [math.exp(0.1 * i) for i in range(-40, 10)]
    total = 4 * len(betas)
    variants = {"curve": lambda: curve_of(4, betas)}
    variants["likelihood"] = lambda: curve_of(total, betas[-1:])
    timed.pedantic(variants["curve"], rounds=1)
    taken = least(variants, 5)
    ratio = taken["curve"] / taken["likelihood"]
    timed.extra_info |= {"curve_to_likelihood": ratio, "betas": len(betas)}
    assert ratio < 1.1
