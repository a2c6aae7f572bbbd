"""Compiled transitions give the numbers of eager ones, and compile once."""

import contextlib
import shutil

import pytest
import torch
from torch import nn

from dgm.sampling.annealing import annealed_run
from dgm.sampling.decoder_target import DecoderTarget

needs_compiler = pytest.mark.skipif(
    not shutil.which("g++"), reason="torch.compile needs g++ on a CPU"
)


@pytest.mark.timeout(900)  # most of it is the C++ compiler, on a busy machine
@pytest.mark.parametrize(
    "device",
    [
        pytest.param("cpu", marks=needs_compiler),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ],
)
def test_compiled_transitions_are_the_eager_ones(device):
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double().to(device)
    x = torch.rand(2, 3, dtype=torch.float64, device=device)
    target, runs = DecoderTarget(decoder, x, 2, 4), []
    size = torch.full((2,), 0.3, dtype=torch.float64, device=device)
    for compile in (False, True):
        generator = torch.Generator(device).manual_seed(0)
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
    torch.testing.assert_close(compiled.log_weight, eager.log_weight, rtol=1e-9, atol=1e-9)
    for a, b in zip(compiled.chain, eager.chain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_tf32_forces_cannot_be_compiled_beside_exact_energies():
    target = DecoderTarget(nn.Linear(2, 3), torch.zeros(1, 3), 2, 1)
    target.force_precision = "tf32"  # which only a CUDA device accepts
    with pytest.raises(ValueError, match='use "bfloat16"'):
        target.kernel(1, compile=True)
