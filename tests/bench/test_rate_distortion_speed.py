"""How fast the evaluator and the training are, beside blackjax and a plain loop: `make bench`.

`extra_info` holds the figure of merit: chain-leapfrogs per second (one chain, one gradient),
training steps per second, or ratios of times. Variants that are compared take turns, and the least
time of each counts, because other work on the machine only ever adds to it.
"""

import math
import shutil

import pytest
import torch
from benches import turns
from chains import curve
from checks import on_devices
from draws import rng

from dgm.papers.rate_distortion import ImageVAE, vae_objective
from dgm.sampling.annealing import annealed_run, start
from dgm.sampling.decoder_target import DecoderTarget

# 50 images with 16 chains each, as the small profile has
N_IMAGES, N_CHAINS, N_LEAPFROG = 50, 16, 10
EAGER = ("same", "same", False), ("bfloat16", "bfloat16", False)  # name, forces, compiled
COMPILED = "compiled bfloat16", "bfloat16", True
SIZES = pytest.mark.parametrize("hidden", [(256, 256), (1024,) * 3], ids=str)
ROUNDS, BETA, STEP_SIZE = 7, 3.0, 0.02


def network(hidden, device="cpu"):
    torch.manual_seed(0)
    return ImageVAE(784, 10, hidden).decoder.to(device).requires_grad_(False).eval()


@pytest.fixture
def timed(benchmark):
    """A benchmark, where speed is compared at all."""
    if benchmark.disabled:
        pytest.skip("a comparison of speed: make bench")
    return benchmark


@on_devices
@pytest.mark.parametrize("hidden", [(64,), (256, 256), (1024,) * 3], ids=str)
def test_chain_leapfrogs_per_second(benchmark, hidden, device):
    n_images = N_IMAGES if benchmark.enabled else 5
    run = transitions(hidden, n_images=n_images, device=device)[2]["same"]

    def total():
        return float(run().log_weight.sum())  # waits for the device

    assert benchmark.pedantic(total, rounds=5, warmup_rounds=1) == pytest.approx(total(), rel=0.5)
    if benchmark.stats:
        work = n_images * N_CHAINS * N_LEAPFROG
        benchmark.extra_info["chain_leapfrogs_per_second"] = work / benchmark.stats.stats.median


@on_devices
@SIZES
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


def transitions(hidden, n_chains=N_CHAINS, compiled=False, n_images=N_IMAGES, device="cpu"):
    """A decoder, images, and for each kind of forces a function that makes one transition."""
    decoder = network(hidden, device)
    x = torch.rand(n_images, 784, generator=rng()).to(device)
    variants = {}
    schedule = [(BETA, torch.full((1,), STEP_SIZE, device=device))]
    for name, force, compile in [*EAGER, *([COMPILED] if compiled else [])]:
        target = DecoderTarget(decoder, x, 10, n_chains, force_precision=force)
        generator = torch.Generator(device).manual_seed(0)
        state = start(target, target.sample_prior(generator), beta=BETA)
        kernel = target.kernel(N_LEAPFROG, compile=compile)

        def run(target=target, state=state, kernel=kernel, generator=generator):
            return next(annealed_run(target, schedule, kernel, generator, state))

        variants[name] = run
    return decoder, x, variants


def least(variants, rounds=ROUNDS, device="cpu"):
    """The least time of each variant, seconds, after one round of warming up."""
    taken = turns(variants.values(), rounds + 1, device)[1:].amin(0)
    return dict(zip(variants, taken.tolist(), strict=True))


def blackjax_transition(decoder, x):
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

    kernel = blackjax.mcmc.hmc.build_kernel()
    images = jnp.asarray(x.repeat(N_CHAINS, 1).numpy())

    def log_density(image):
        return lambda z: -0.5 * jnp.sum(z**2) - BETA * jnp.sum((decode(z) - image) ** 2)

    def chain_step(key, state, image):
        return kernel(key, state, log_density(image), STEP_SIZE, jnp.ones(10), N_LEAPFROG)

    def begin(z, image):
        return blackjax.mcmc.hmc.init(z, log_density(image))

    z = jax.random.normal(jax.random.PRNGKey(0), (len(images), 10))
    theirs, ours = decode(z), decoder(torch.tensor(jax.device_get(z).copy()))
    assert abs(theirs - ours.numpy()).max() < 1e-5
    keys = jax.random.split(jax.random.PRNGKey(1), len(images))
    state = jax.jit(jax.vmap(begin))(z, images)
    move = jax.jit(jax.vmap(chain_step))
    return lambda: jax.block_until_ready(move(keys, state, images))


@SIZES
@pytest.mark.usefixtures("_two_threads")
def test_beside_blackjax(timed, hidden):
    # compiling pays where fused element-wise work counts beside the matrix products
    decoder, x, variants = transitions(hidden, compiled=len(hidden) == 2 and shutil.which("g++"))
    variants["blackjax"] = blackjax_transition(decoder, x)
    _, info = variants["blackjax"]()
    expected = float(variants["same"]().acceptance_sum.mean())
    assert float(info.acceptance_rate.mean()) == pytest.approx(expected, abs=0.05)
    timed.pedantic(variants["bfloat16"], rounds=1)
    taken = least(variants, device="wall")
    work = N_IMAGES * N_CHAINS * N_LEAPFROG
    rates = {name: work / seconds for name, seconds in taken.items()}
    best = max(rate for name, rate in rates.items() if name != "blackjax") / rates["blackjax"]
    timed.extra_info |= {**rates, "ours_to_blackjax": best, "rounds": ROUNDS}
    assert best >= (1.0 if len(hidden) == 2 else 0.8)


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


@SIZES
def test_beside_a_plain_loop(timed, hidden):
    decoder, x, variants = transitions(hidden)
    generator, rows = torch.Generator().manual_seed(0), x.repeat(N_CHAINS, 1)
    z = torch.randn(len(rows), 10, generator=generator)
    variants["plain"] = lambda: plain_transition(decoder, rows, z, generator)
    timed.pedantic(variants["bfloat16"], rounds=1)
    taken = least(variants)
    ratios = {f"plain_to_{force}": taken["plain"] / taken[force] for force in ("same", "bfloat16")}
    timed.extra_info |= {**ratios, "rounds": ROUNDS}
    assert ratios["plain_to_bfloat16"] >= 1.5


def exponent(sizes, seconds):
    """Slope of log time over log size."""
    x, y = (torch.tensor(v, dtype=torch.float64).log() for v in (sizes, seconds))
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def curve_of(counts, betas):
    x = torch.rand(8, 784, generator=torch.Generator().manual_seed(0))
    settings = {"n_chains": 16, "n_leapfrog": 5, "temperatures_per_beta": counts}
    settings |= {"latent_dim": 10, "betas": betas, "step_sizes": STEP_SIZE}
    return curve(network((256, 256)), x, **settings)


def test_cost_is_linear_in_chains_and_temperatures(timed):
    chains = [8, 16, 32, 64, 128]
    variants = {m: transitions((256, 256), m)[2]["same"] for m in chains}
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
