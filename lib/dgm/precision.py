"""Which precision a device gets: bfloat16 products where it computes in them, float32 elsewhere."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Device = str | torch.device
Steps = TypeVar("Steps", Tensor, PackedSequence)
_BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16"}


def mixed_precision_dtype(device: Device) -> torch.dtype | None:
    """bfloat16 where a device has units for it, or None for float32.

    A GPU has them from compute capability 8.0 on, a CPU with AVX-512 BF16 or AMX. Elsewhere such
    products are slow, and an LSTM fails.
    """
    device = torch.device(device)
    if device.type == "cpu":
        units = torch.backends.mkldnn.is_available() and _BFLOAT16_UNITS & _cpu_flags()
    else:
        units = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if units else None


@cache
def _cpu_flags() -> set[str]:
    try:
        return set(Path("/proc/cpuinfo").read_text(errors="replace").split())
    except OSError:
        return set()


def autocast(device: Device, enabled: bool = True) -> torch.autocast:
    """A training step's context in `mixed_precision_dtype`; no effect where that is None."""
    dtype = mixed_precision_dtype(device) if enabled else None
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype is not None)


def run_lstm(
    lstm: Callable, x: Steps, state: tuple[Tensor, Tensor] | None = None
) -> tuple[Steps, tuple[Tensor, Tensor]]:
    """lstm(x, state), on CUDA with a gradient in any mode, and under autocast on few CPUs alone.

    Under autocast cuDNN would compute in float16, and a CPU without units for bfloat16 fails; the
    backward pass of cuDNN needs training mode. x is (B, T, E), or packed; the state is h and c,
    (layers, B, H) each, or None for zeros.
    """
    device = x.data.device
    stays_out = x.is_cuda or mixed_precision_dtype(device) is None
    if stays_out and torch.is_autocast_enabled(device.type):
        with torch.autocast(device.type, enabled=False):
            wide = None if state is None else (_widened(state[0]), _widened(state[1]))
            return run_lstm(lstm, _widened(x), wide)
    if not x.is_cuda:
        return lstm(x, state)
    if not (isinstance(lstm, nn.LSTM) and torch.is_grad_enabled()) or lstm.training or lstm.dropout:
        return lstm(x, state)
    try:  # without dropout the mode changes nothing else
        return lstm.train()(x, state)
    finally:
        lstm.eval()


def _widened(x: Any) -> Any:
    return x.to(torch.promote_types(x.data.dtype, torch.float32))
