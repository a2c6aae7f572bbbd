"""How large the work of a decoder's call is, and how many CPU threads that is worth."""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dgm.sampling.decoder_checks import own_random_state

# Floating-point operations of one call, about 20 ms on one core. Threads that share less wait for
# each other most of the time; beside any other load tens of times longer than they compute.
WORTH_SHARING = 1e9


@contextlib.contextmanager
def suitable_threads(decoder: nn.Module, codes: Tensor, n_rows: int) -> Iterator[None]:
    """One CPU thread while a call on n_rows rows like codes (1, D) is small; then as before."""
    before = torch.get_num_threads()
    if codes.device.type == "cpu" and before > 1 and flops(decoder, codes) * n_rows < WORTH_SHARING:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def flops(decoder: nn.Module, codes: Tensor) -> float:
    """Of the products and convolutions for codes (C, D); infinite where the decoder fails."""
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.no_grad(), own_random_state(codes.device):
            decoder(codes)
    except Exception:  # what is wrong is for the sampler's own checks to say
        return math.inf
    return counter.get_total_flops()
