"""Which precision a device gets: bfloat16 products where it computes in them, float32 elsewhere."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Device = str | torch.device
Steps = TypeVar("Steps", Tensor, PackedSequence)


def mixed_precision_dtype(device: Device) -> torch.dtype | None:
    """bfloat16 where a device has it, from compute capability 8.0 on, or None for float32."""
    device = torch.device(device)
    cuda = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if cuda or device.type == "cpu" else None


def autocast(device: Device, enabled: bool = True) -> torch.autocast:
    """A training step's context in `mixed_precision_dtype`; no effect where that is None."""
    dtype = mixed_precision_dtype(device) if enabled else None
    return torch.autocast(torch.device(device).type, dtype, enabled=dtype is not None)


def run_lstm(
    lstm: Callable, x: Steps, state: tuple[Tensor, Tensor] | None = None
) -> tuple[Steps, tuple[Tensor, Tensor]]:
    """lstm(x, state), on CUDA with a gradient in any mode, and never under autocast.

    There cuDNN would compute in float16, and its backward pass wants training mode. x is (B, T, E),
    or packed; the state is h and c, (layers, B, H) each, or None for zeros.
    """
    if not x.is_cuda:
        return lstm(x, state)
    if torch.is_autocast_enabled("cuda"):
        with torch.autocast("cuda", enabled=False):
            wide = None if state is None else (_widened(state[0]), _widened(state[1]))
            return run_lstm(lstm, _widened(x), wide)
    if not (isinstance(lstm, nn.LSTM) and torch.is_grad_enabled()) or lstm.training or lstm.dropout:
        return lstm(x, state)
    try:  # without dropout the mode changes nothing else
        return lstm.train()(x, state)
    finally:
        lstm.eval()


def _widened(x: Any) -> Any:
    return x.to(torch.promote_types(x.data.dtype, torch.float32))
