"""Numbers that the pages draw, for tests and golden vectors: two hashes of 32 bits."""

import numpy as np

ODD = 0x9E3779B1  # times a counter, sets neighbours apart before `murmur_mix`
_LOW = np.uint64(2**32 - 1)


def murmur_mix(values) -> np.ndarray:
    """Return Appleby's MurmurHash3 finaliser, a bijection of 32 bits, as uint64."""
    x = np.asarray(values).astype(np.uint64) & _LOW
    x = ((x ^ x >> np.uint64(16)) * np.uint64(0x85EBCA6B)) & _LOW
    x = ((x ^ x >> np.uint64(13)) * np.uint64(0xC2B2AE35)) & _LOW
    return x ^ x >> np.uint64(16)


@np.errstate(over="ignore")  # products of uint32 are modulo 2^32
def mulberry32(counter, seed: int = 0) -> np.ndarray:
    """Return numbers in [0, 1) of Ettinger's Mulberry32, which starts at the state ``seed``.

    ``counter`` holds whole numbers of any shape: the places in the sequence, from 1 on.
    """
    state = np.asarray(counter).astype(np.uint64) * np.uint64(0x6D2B79F5) + np.uint64(seed)
    state = state.astype(np.uint32)
    t = (state ^ state >> np.uint32(15)) * (state | np.uint32(1))
    t ^= t + (t ^ t >> np.uint32(7)) * (t | np.uint32(61))
    return (t ^ t >> np.uint32(14)) / 2**32


def box_muller(uniforms: np.ndarray) -> np.ndarray:
    """Return pairs of standard normals (..., 2) from pairs of numbers (..., 2) in [0, 1)."""
    radius, angle = np.sqrt(-2 * np.log(1 - uniforms[..., 0])), 2 * np.pi * uniforms[..., 1]
    return radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
