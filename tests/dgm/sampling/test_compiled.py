"""Compiled transitions give the numbers of eager ones, and compile once."""

import contextlib
import shutil

import pytest
import torch
from torch import nn

from dgm.sampling.annealing import anneal, start
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
    problem = DecoderTarget(decoder, x, 2, 4)
    steps = torch.full((2, 2), 0.3, dtype=torch.float64, device=device)
    runs = []
    for compile in (False, True):
        generator = torch.Generator(device).manual_seed(0)
        move = problem.kernel(2, jitter=0.2, compile=compile)
        state = start(problem, problem.sample_prior(generator))
        state = anneal(problem, state, [0.0, 0.5, 1.0], steps, 2, generator, move)
        stance = "fail_on_recompile" if compile else "default"
        # Other betas do not compile anew; torch before 2.6 cannot say.
        watch = getattr(torch.compiler, "set_stance", contextlib.nullcontext)
        with watch(stance):
            state = anneal(problem, state, [1.0, 2.5, 3.0], steps, 2, generator, move)
        runs.append(state)
    eager, compiled = runs
    assert 0 < float(eager.acceptance_sum.mean()) < 4
    torch.testing.assert_close(compiled.log_weight, eager.log_weight, rtol=1e-9, atol=1e-9)
    for one, other in zip(compiled.chain, eager.chain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def test_tf32_forces_cannot_be_compiled_beside_exact_energies():
    problem = DecoderTarget(nn.Linear(2, 3), torch.zeros(1, 3), 2, 1)
    problem.force_precision = "tf32"  # which only a CUDA device accepts
    with pytest.raises(ValueError, match='use "bfloat16"'):
        problem.kernel(1, compile=True)
