"""The three sizes at which the book runs, and the machine; recipes of chapters hold the sizes."""

from typing import NamedTuple

import torch

NAMES = ("smoke", "small", "paper")


class Profile(NamedTuple):
    """Where and how a run computes."""

    name: str
    device: str
    dtype: torch.dtype  # of weights and images; log-weights and energies are float64 everywhere
    threads: int | None  # of PyTorch; None, on a GPU, leaves its own choice
    n_seeds: int


def get(name: str, device: str | None = None) -> Profile:
    """The profile of that name; device None takes a GPU where there is one, except for smoke."""
    if name not in NAMES:
        raise ValueError(f"profile must be one of {', '.join(NAMES)}, got {name!r}")
    if device is None:
        device = "cuda" if name != "smoke" and torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, but no GPU answers: use device='cpu'")
    # Most steps here are small: two threads beside any other load take many times as long as one.
    threads = None if device.startswith("cuda") else 1
    return Profile(name, device, torch.float32, threads, 1 if name == "smoke" else 3)


def describe(device: str) -> str:
    """The device in words, for provenance."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"
