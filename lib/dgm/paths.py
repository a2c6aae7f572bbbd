"""Folders that the environment names."""

import os
from pathlib import Path

import pooch


def expanded(path: str | os.PathLike) -> Path:
    """A path with ~ as the home folder."""
    return Path(path).expanduser()


def from_environment(name: str) -> Path | None:
    """The folder that a variable names; None where it is unset or empty."""
    value = os.environ.get(name)
    return expanded(value) if value else None


def cache() -> Path:
    """The folder of `DGM_CACHE`, else the system's usual place for caches."""
    return from_environment("DGM_CACHE") or Path(pooch.os_cache("dgm"))
