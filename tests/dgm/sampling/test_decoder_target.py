"""Decoders as targets: TF32 and threads are put back, compiled transitions are the eager ones."""

import contextlib
import shutil
import subprocess
import sys

import pytest
import torch
from chains import bdmc_gap, curve
from checks import close, on_devices
from draws import rng
from torch import nn

from dgm.sampling.annealing import annealed_run
from dgm.sampling.decoder_checks import Decoder
from dgm.sampling.decoder_target import DecoderTarget, prepared, tf32

BACKENDS = torch.backends
NEWER = hasattr(BACKENDS.cudnn, "fp32_precision")
SETTINGS = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "flag": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
}
if NEWER:
    SETTINGS |= {
        "matmul": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
        "convolution": lambda: setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
        "cuda": lambda: setattr(BACKENDS.cudnn, "fp32_precision", "tf32"),
        "everywhere": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
        "processor": lambda: setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"),
    }


def leaves():
    cuda = BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn
    return [*cuda, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.rnn]


def state():
    """All settings; None for one that cannot be read because it contradicts another."""
    values = [None, None, None]
    with contextlib.suppress(RuntimeError):
        values[0] = BACKENDS.cuda.matmul.allow_tf32
    with contextlib.suppress(RuntimeError):
        values[1] = torch.get_float32_matmul_precision()
    with contextlib.suppress(RuntimeError):
        values[2] = BACKENDS.cudnn.allow_tf32
    return values, [leaf.fp32_precision for leaf in leaves()] if NEWER else []


@pytest.fixture(autouse=True)
def _defaults():
    yield
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    if NEWER:
        BACKENDS.fp32_precision = BACKENDS.cudnn.fp32_precision = "none"
        for leaf, precision in zip(leaves(), ["none", "tf32", "tf32", *["none"] * 3], strict=True):
            leaf.fp32_precision = precision


def small_curve():
    decoder = torch.nn.Linear(2, 4).requires_grad_(False)
    decoder.load_state_dict({"weight": torch.ones(4, 2), "bias": torch.zeros(4)})
    x = torch.linspace(-1, 1, 8).view(2, 4)
    return curve(decoder, x, latent_dim=2, betas=[1.0], temperatures_per_beta=2)


@pytest.mark.parametrize("setting", SETTINGS)
def test_all_is_as_asked_inside_and_as_it_was_outside(setting):
    expected = small_curve()
    SETTINGS[setting]()
    before = state()
    with tf32(allowed=False):
        assert state()[0] == [False, "highest", False]
        assert set(state()[1]) <= {"ieee"}
        with tf32(allowed=True):
            assert state()[0] == [True, "high", True]
            assert set(state()[1]) <= {"tf32"}
        assert state()[0] == [False, "highest", False]
    assert torch.equal(small_curve().rate, expected.rate)
    after = state()
    assert all(b is None or a == b for a, b in zip(after[0], before[0], strict=True))
    assert after[1] == before[1]


@pytest.mark.skipif(not NEWER, reason="torch before 2.9")
def test_a_backends_setting_still_governs_afterwards():
    BACKENDS.fp32_precision = "tf32"
    with tf32(allowed=False):
        pass
    BACKENDS.fp32_precision = "ieee"
    assert BACKENDS.cuda.matmul.fp32_precision == "ieee"


def test_automatic_forces_follow_the_device_and_the_work_alone(monkeypatch):
    decoder, x = torch.nn.Linear(2, 4), torch.zeros(3, 4)
    target = DecoderTarget(decoder, x, 2, 1000, force_precision="auto")
    assert target.force_precision == "same"  # small
    monkeypatch.setattr(DecoderTarget, "_is_large", lambda *_: True)
    target = DecoderTarget(decoder, x, 2, 4, force_precision="auto")
    assert target.force_precision == "bfloat16"
    decoder = Decoder(lambda z: z @ torch.ones(2, 4))
    function = DecoderTarget(decoder, x, 2, 4, force_precision="auto")
    assert function.force_precision == "same"  # where no copy can be made


LINEAR = {"latent_dim": 2, "n_chains": 4, "n_leapfrog": 2}


class Watched(nn.Linear):
    """Notes how many threads its calls have."""

    def __init__(self):
        super().__init__(2, 6)
        self.threads = []

    def forward(self, z):
        self.threads.append(torch.get_num_threads())
        return super().forward(z)


@pytest.fixture
def watched():
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Watched().requires_grad_(False)
    torch.set_num_threads(before)


def test_a_small_run_has_one_thread(watched):
    curve(watched, torch.zeros(3, 6), betas=[1.0], **LINEAR)
    bdmc_gap(watched, beta=1.0, n_images=2, n_temperatures=2, **LINEAR)
    assert watched.threads.count(2) == 2  # the first call of each counts the work
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="latent_dim"):
        curve(watched, torch.zeros(3, 6), betas=[1.0], **{**LINEAR, "latent_dim": 3})
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("n_rows", "expected"), [(1000, 1), (10**9, 2)])
def test_threads_follow_the_work(watched, n_rows, expected):
    with prepared(watched, latent_dim=2, n_rows=n_rows):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 2


@pytest.mark.timeout(900)  # most of it is the C++ compiler, on a busy machine
@on_devices
def test_compiled_transitions_are_the_eager_ones(device):
    if device == "cpu" and not shutil.which("g++"):
        pytest.skip("torch.compile needs g++ on a CPU")
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 4), nn.ELU(), nn.Linear(4, 3)).double().to(device)
    x = torch.rand(2, 3, dtype=torch.float64, device=device)
    target, runs = DecoderTarget(decoder, x, 2, 4), []
    size = torch.full((2,), 0.3, dtype=torch.float64, device=device)
    for compile in (False, True):
        generator = rng(0, device)
        kernel = target.kernel(2, jitter=0.2, compile=compile)
        schedule = [(beta, size) for beta in (0.5, 1.0)]
        *_, state = annealed_run(target, schedule, kernel, generator)
        # Other betas do not compile anew; torch before 2.6 cannot say.
        watch = getattr(torch.compiler, "set_stance", contextlib.nullcontext)
        with watch("fail_on_recompile" if compile else "default"):
            schedule = [(beta, size) for beta in (2.5, 3.0)]
            *_, state = annealed_run(target, schedule, kernel, generator, state)
        runs.append(state)
    eager, compiled = runs
    assert 0 < float(eager.acceptance_sum.mean()) < 4
    close(compiled.log_weight, eager.log_weight, rtol=1e-9, atol=1e-9)
    close(compiled.chain, eager.chain, rtol=1e-8, atol=1e-8)


def test_tf32_forces_cannot_be_compiled_beside_exact_energies():
    target = DecoderTarget(nn.Linear(2, 3), torch.zeros(1, 3), 2, 1)
    target.force_precision = "tf32"  # which only a CUDA device accepts
    with pytest.raises(ValueError, match='use "bfloat16"'):
        target.kernel(1, compile=True)


# Counts as PyTorch's own counter does; then what that would have imported is not there.
FIRST_STEP = """
import sys, torch
from torch import nn
from dgm.sampling.decoder_target import _flops
net = nn.Sequential(nn.Linear(4, 16), nn.Unflatten(1, (1, 4, 4)), nn.ConvTranspose2d(1, 3, 2, 2))
torch.set_num_threads(2)
count, codes = _flops(net, torch.zeros(5, 4)), torch.zeros(5, 4)
assert "torch._dynamo" not in sys.modules
with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
    net(codes)
assert count == counter.get_total_flops() > 0, count
"""


def test_counting_the_work_of_a_convolution_imports_no_compiler():
    subprocess.run([sys.executable, "-c", FIRST_STEP], check=True)
