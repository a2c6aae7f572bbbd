"""How many CPU threads a sampler is worth."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dgm.sampling.decoder_checks import own_random_state

# Additions and multiplications of one call, about 20 ms on one core. Threads that share less wait for each
# other most of the time; beside any other load they wait tens of times longer than they compute.
WORTH_SHARING = 1e9


@contextlib.contextmanager
def suitable_threads(
    decoder: nn.Module, latent_dim: int, n_rows: int, device: torch.device, dtype: torch.dtype
) -> Iterator[None]:
    """One thread on a CPU while a call of the decoder on n_rows codes is small; as it was afterwards."""
    before = torch.get_num_threads()
    if (
        device.type == "cpu"
        and before > 1
        and _flops(decoder, torch.zeros(1, latent_dim, dtype=dtype, device=device)) * n_rows
        < WORTH_SHARING
    ):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _flops(decoder: nn.Module, codes: Tensor) -> float:
    """Of the decoder's matrix products and convolutions for these codes; infinite where it fails."""
    try:
        with (
            FlopCounterMode(display=False) as counter,
            torch.no_grad(),
            own_random_state(codes.device),
        ):
            decoder(codes)
    except Exception:  # what is wrong is for the sampler's own checks to say
        return float("inf")
    return counter.get_total_flops()
