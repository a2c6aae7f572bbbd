"""Whatever researchers have as a decoder: taken where it is clear, else refused by name."""

import contextlib
import math
import tempfile
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chains import assert_same, bdmc_gap
from chains import curve as short_curve
from checks import close, refuses
from draws import rng
from torch import nn
from torch.distributions import Independent, Normal
from torch.nn.functional import dropout
from torch.nn.utils import parametrizations

from dgm.evaluate import evaluate
from dgm.papers.rate_distortion import quadrature_curve
from dgm.sampling.decoder_target import DecoderTarget

SETTINGS = {"latent_dim": 2, "betas": [0.5, 20.0]}
SHARDS = {**SETTINGS, "n_chains": 6, "n_leapfrog": 3, "temperatures_per_beta": 6, "progress": False}
X = torch.rand(3, 12, generator=rng(1))


def network(*extra, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(2, 16), *extra, nn.Tanh(), nn.Linear(16, 12))


class Through(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.network, self.function = network(), function

    def forward(self, z):
        return self.function(self.network, z)


class VAE(nn.Module):
    """Its decoder is a method, beside other weights and a dropout layer."""

    def __init__(self):
        super().__init__()
        self.decoder, self.dropout, self.encoder = network(), nn.Dropout(0.5), nn.Linear(12, 2)

    def decode(self, z, scale=1.0):
        return scale * self.dropout(self.decoder(z))


def curve(decoder, x=X, **arguments):
    return short_curve(decoder, x, **{**SETTINGS, **arguments})


def gap(decoder, **arguments):
    sizes = {"n_images": 3, "n_chains": 3, "n_temperatures": 8, "n_leapfrog": 2}
    return bdmc_gap(decoder, latent_dim=2, beta=5.0, **{**sizes, **arguments})


def quadrature(decoder, x=X):
    return quadrature_curve(decoder, x, latent_dim=2, betas=[0.5, 5.0], n_points=21)


def seeded_noise(module, z):
    """The same at each call, but bound to the place in the batch."""
    noise = torch.randn(len(z), 12, generator=rng())
    return module(z) + 0.1 * noise


class TestRows:
    """A decoder is a fixed function of each row."""

    @pytest.mark.parametrize("run", [curve, gap, quadrature])
    @pytest.mark.parametrize(
        ("decoder", "word"),
        [
            (Through(lambda f, z: f(z) + 0.1 * torch.randn(len(z), 12)), "noise"),
            (Through(lambda f, z: dropout(f(z), 0.1)), "functional dropout"),
            (Through(lambda f, z: f(z) + 1e-3 * torch.rand(())), "noise"),
            (network(nn.BatchNorm1d(16, track_running_stats=False)), "BatchNorm"),
            (Through(lambda f, z: f(z) + 1e-3 * f(z).mean(0)), "itself alone"),
            (Through(lambda f, z: f(z) + 1 / len(z)), "itself alone"),
            (Through(seeded_noise), "itself alone"),
        ],
        ids=["noise", "dropout", "little noise", "batch norm", "mean", "size", "place"],
    )
    def test_that_are_not_are_refused(self, decoder, word, run):
        torch.manual_seed(0)  # two draws of the little noise may be nearly equal
        before = torch.get_rng_state()
        with pytest.raises(ValueError, match=rf"the decoder gives .*{word}"):
            run(decoder)
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_distortion_may_know_its_images_by_their_places(self):
        def distance(a, b):
            return (X.repeat(len(b) // len(X), 1) - b).square().sum(1)

        assert bool(torch.isfinite(curve(network(), distortion=distance).log_z).all())


def sharded(decoder, x):
    with tempfile.TemporaryDirectory() as folder:
        return evaluate(decoder, x, output=folder, **SHARDS)


@pytest.mark.parametrize("run", [curve, quadrature, sharded])
class TestShapes:
    def test_equal_in_count_only_are_refused(self, run):
        decoder = nn.Sequential(network(), nn.Unflatten(1, (3, 2, 2)))
        with pytest.raises(ValueError, match=r"\(2, 2, 3\).*permute"):
            run(decoder, X.view(3, 2, 2, 3))

    def test_that_agree_or_are_flat_pass(self, run):
        picture = nn.Sequential(network(), nn.Unflatten(1, (1, 4, 3)))
        for decoder, shape in ((picture, X.shape), (network(), (3, 3, 2, 2)), (picture, (3, 4, 3))):
            x = X.view(shape)
            assert torch.equal(run(decoder, x).log_z, run(network(), X).log_z)


@contextlib.contextmanager
def defaults(dtype=torch.float32, device="cpu"):
    torch.set_default_dtype(dtype)
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


CONTEXTS = {
    "autocast": partial(torch.autocast, "cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "float64 by default": partial(defaults, torch.float64),
    "another device by default": partial(defaults, device="meta"),
}


class Ones(nn.Module):
    """Asks for the default dtype while it runs."""

    def forward(self, z):
        return z @ torch.ones(2, 12, device=z.device) + 1e-3


NETWORK = network()
CALLS = {  # whatever computes a number, of a decoder
    "curve": lambda: curve(NETWORK).log_z,
    "bfloat16": lambda: curve(NETWORK, force_precision="bfloat16").log_z,
    "gap": lambda: gap(NETWORK).upper,
    "quadrature": lambda: quadrature(NETWORK).log_z,
    "shards": lambda: sharded(NETWORK, X).log_z,
    "default dtype": lambda: curve(Ones()).log_z,
}


@pytest.fixture(scope="module")
def plain():
    return {name: call() for name, call in CALLS.items()}


class TestContext:
    """The numbers are those of a plain call, whatever surrounds it."""

    @pytest.mark.parametrize("context", CONTEXTS)
    def test_of_the_caller_does_not_leak_in(self, context, plain):
        for name, call in CALLS.items():
            if name == "default dtype" and context == "another device by default":
                continue  # which asks for that device
            with CONTEXTS[context]():
                values = call()
            assert torch.equal(values, plain[name]), name
            assert not values.is_inference(), name

    def test_weights_and_images_made_in_inference_mode_are_taken(self):
        with torch.inference_mode():
            decoder, x = network(), X.clone()
            ours = curve(decoder, x)
        assert_same(ours, curve(network()))

    def test_is_the_callers_again_afterwards(self):
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            curve(network())
            assert torch.is_autocast_enabled("cpu")
            assert torch.is_inference_mode_enabled()
        assert torch.get_default_dtype() == torch.float32


class TestTaken:
    """The same curve, to the last bit."""

    @pytest.mark.parametrize(
        "decoder",
        [
            VAE().decode,
            partial(VAE().decode, scale=1.0),
            partial(network()),
            lambda z: network()(z),
            Through(lambda f, z: (f(z), None)),
            Through(lambda f, z: [f(z)]),
            Through(lambda f, z: {"images": f(z)}),
            Through(lambda f, z: SimpleNamespace(sample=f(z), name="images")),
            Through(lambda f, z: Independent(Normal(f(z), 0.1), 1)),
        ],
        ids=range(9),
    )
    def test_forms_of_a_decoder(self, decoder):
        assert_same(curve(decoder), curve(Through(lambda f, z: f(z))))

    def test_images_of_zeros_and_ones(self):
        x = X > 0.5
        swapped = x.float().numpy().astype(">f4")
        for other in (x, x.long(), x.numpy(), x.half(), swapped, x.numpy().astype("u2")):
            assert_same(curve(network(), other), curve(network(), x.float()))

    @pytest.mark.parametrize("kind", ["scripted", "traced", "frozen"])
    def test_torchscript(self, kind):
        module = network(nn.Dropout(0.5))
        if kind == "traced":
            decoder = torch.jit.trace(module.eval(), torch.zeros(2, 2))
        else:
            decoder = torch.jit.script(module.train(kind == "scripted"))
            decoder = decoder if kind == "scripted" else torch.jit.freeze(decoder)
        ours, plain = curve(decoder), curve(module.forward)
        for name in ("rate", "distortion", "log_z", "codes"):
            close(getattr(ours, name), getattr(plain, name), rtol=1e-6, atol=1e-6)
        if kind == "scripted":
            assert all(module.training for module in decoder.modules())
            ours, plain = (curve(d, precision="float64").log_z for d in (decoder, module))
            close(ours, plain, rtol=1e-9, atol=0)
        with pytest.raises(ValueError, match="TorchScript"):
            curve(decoder, force_precision="bfloat16")


def failing_assertion(f, z):
    assert z.shape[1] == 7, "seven codes"


RETURNED = {
    "dict": (lambda f, z: {"mean": f(z), "scale": f(z)}, "2 tensors"),
    "numpy": (lambda f, z: f(z).detach().numpy(), "ndarray with 0 tensors"),
    "flat": (lambda f, z: f(z).flatten(), "it should return"),
    "complex": (lambda f, z: f(z) + 0j, "complex64"),
    "detached": (lambda f, z: f(z).detach(), "differentiable"),
    "nan": (lambda f, z: f(z) * math.nan, "decoder returned NaN"),
    # the root's slope at 0, which is infinite, times 0
    "slope": (lambda f, z: f(z) + (0 * z[:, :1]).sqrt(), "gradient is NaN"),
    "rounded": (lambda f, z: (8 * f(z)).round(), "gradient is zero"),
    "device": (lambda f, z: f(z) + torch.zeros(12, device="meta"), "build all of it on cpu"),
    "dtype": (lambda f, z: f.double()(z), "another dtype .* module"),
    "assertion": (failing_assertion, "does latent_dim=2 fit"),
    "too large": (lambda f, z: 1e25 * f(z), "the distortion is NaN or infinite at 18 of 18 codes"),
}
IMAGES = {
    "whole numbers .*x / 255": (255 * X).byte(),
    "complex": X + 0j,
    "array of numbers": np.array([["a", "b"]]),
    "one tensor or array": None,
    "batch of images": X[:0],
    "masked array": np.ma.masked_less(X.numpy(), 0.2),
}
test_images_that_cannot_be_used_are_named = pytest.mark.filterwarnings("ignore")(
    refuses(IMAGES, partial(curve, network()))
)
FAR = torch.zeros(2, device="meta")


class Mixing(Normal):
    def log_prob(self, z):
        return super().log_prob(z - z.mean(0)).sum(-1)


ELSEWHERE = SimpleNamespace(  # a prior whose density lives on another device
    sample=lambda shape: torch.randn(*shape, 2), log_prob=lambda z: -(z - FAR).square().sum(1)
)


ARGUMENTS = {
    "n_chains must be a whole number": {"n_chains": 2.5},
    "seed must be a whole number": {"seed": 0.5},
    "seed must lie in": {"seed": 2**70},
    "device must be one that": {"device": "meta"},
    r"the distortion must return .* got ndarray": {
        "distortion": lambda a, b: (a - b).square().sum(1).detach().numpy()
    },
    "the distortion failed: build all of it on cpu": {
        "distortion": lambda a, b: (a - b - FAR[0]).square().sum(1) + FAR.sum()
    },
    r"prior\..* build all of it on cpu": [
        {"prior": ELSEWHERE},
        {"prior": Independent(Normal(FAR, 1.0, validate_args=False), 1, validate_args=False)},
    ],
    "module or a function": {"decoder": network().state_dict()},
    "as a module": {"decoder": lambda z: network()(z), "force_precision": "bfloat16"},
    "the decoder .*build all of it on cpu": {
        "decoder": nn.Sequential(nn.Linear(2, 16), nn.Linear(16, 12).to("meta"))
    },
    r"the distortion .*noise": {"distortion": lambda a, b: dropout(a - b).square().sum(1)},
    r"the distortion .*itself alone": {
        "distortion": lambda a, b: (a - b - 0.1 * b.mean(0)).square().sum(1)
    },
    r"the distortion .*one number per code": {"distortion": lambda a, b: (a - b).square().sum()},
    r"prior\.log_prob gives .*itself alone": {"prior": Mixing(torch.zeros(2), 1.0)},
}
test_arguments_that_cannot_be_used_are_named = refuses(ARGUMENTS, curve, decoder=network())


class TestNamed:
    @pytest.mark.parametrize("case", RETURNED)
    def test_what_a_decoder_returns(self, case):
        output, message = RETURNED[case]
        decoder, calls = Through(output), []
        decoder.register_forward_pre_hook(lambda *_: calls.append(1))
        with pytest.raises(ValueError, match=message):
            curve(decoder, n_chains=6)
        assert len(calls) <= 6  # before any long work


def squared(a, b):
    return (a - b).square().sum(1)


def normed(norm):
    decoder = network()
    for layer in (decoder[0], decoder[2]):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            norm(layer)
    return decoder


class Root(nn.Module):
    """Layers registered in another order than used, a skip, and parameters of the root."""

    def __init__(self):
        super().__init__()
        base = network()
        self.last, self.scale = nn.Linear(18, 12), nn.Parameter(torch.full((12,), 1.5))
        self.last.weight.data[:, :16] = base[2].weight.data
        self.first = base[0]

    def forward(self, z):
        return self.scale * self.last(torch.cat([self.first(z).tanh(), z], 1))


@pytest.mark.filterwarnings("ignore::FutureWarning")
class TestPrecision:
    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_a_decoder_in_half_precision(self, dtype, tmp_path):
        decoder = network().to(dtype)
        ours, full = curve(decoder), curve(network())
        assert not torch.equal(ours.log_z, full.log_z)
        close(ours.log_z, full.log_z, rtol=0.02, atol=0.02)
        assert torch.equal(evaluate(decoder, X, output=tmp_path, **SHARDS).beta, ours.beta)
        single = curve(decoder, precision="float32").log_z
        close(single, full.log_z, rtol=0.02, atol=0.02)
        assert next(decoder.parameters()).dtype == dtype

    @pytest.mark.parametrize(
        "make",
        [
            partial(normed, parametrizations.weight_norm),
            partial(normed, parametrizations.spectral_norm),
            partial(normed, nn.utils.weight_norm),
            partial(normed, nn.utils.spectral_norm),
            Root,
        ],
        ids=range(5),
    )
    def test_of_any_layers(self, make):
        decoder = make()
        with torch.no_grad():
            for _ in range(20):
                decoder(torch.ones(2, 2))  # spectral norms settle
        decoder.eval()
        z = torch.randn(6, 2, generator=rng(1))
        target = partial(DecoderTarget, decoder, X, 2, 2)
        full, low = (target(force_precision=force) for force in ("same", "bfloat16"))
        state, exact = low(z), full(z)
        assert torch.equal(state.energy, exact.energy)
        missed = (state.gradient - exact.gradient).norm() / state.gradient.norm()
        assert 1e-5 < float(missed) < 0.02
        assert torch.equal(state.gradient, low.force(z)[1])  # a function of the position
        given = DecoderTarget(decoder, X, 2, 2, None, squared, "bfloat16")(z)
        close(given.energy, state.energy, rtol=1e-6, atol=0)
        close(given.gradient, state.gradient, rtol=0.05, atol=0.05)
        before = decoder(z).detach()
        double = curve(decoder, precision="float64").log_z  # of a copy
        close(double.float(), curve(decoder).log_z.float(), rtol=0.1, atol=0.5)
        assert torch.equal(decoder(z), before)

    def test_a_copy_that_cannot_run_is_named(self):
        class Mixed(nn.Module):
            def __init__(self):
                super().__init__()
                self.turn, self.network = nn.Parameter(torch.eye(2)), network()

            def forward(self, z):
                return self.network(z @ self.turn)

        with pytest.raises(ValueError, match="does not run in bfloat16: use force_precision"):
            curve(Mixed(), force_precision="bfloat16")
