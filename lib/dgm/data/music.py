"""Piano rolls: which of 88 keys sound in each frame of a piece; Boulanger-Lewandowski, 2012."""

import numpy as np
import torch
from torch import Tensor

from dgm.data import registry

NAMES = ("jsb", "nottingham", "piano-midi", "musedata")

_STEMS = dict(zip(NAMES, ("JSB_Chorales", "Nottingham", "Piano_midi", "MuseData"), strict=True))
_SPLITS = {"train": "train", "validation": "valid", "test": "test"}


def load(name: str, split: str = "train") -> list[Tensor]:
    """Loads a split of a set of piano rolls; same call, same pieces in the same order.

    The sets are "jsb" (Bach's chorales), "nottingham" (folk tunes), "piano-midi" and "musedata",
    split into "train", "validation" and "test" as published. A tensor per piece, (T_i, 88) uint8: 1
    where a key sounds, from MIDI note 21 to 108. ValueError for an unknown name or split, and
    errors as `registry.fetch`.
    """
    from scipy.io import loadmat  # here, since only this data set needs it

    if name not in NAMES:
        raise ValueError(f"no music '{name}'; there are {', '.join(NAMES)}")
    if split not in _SPLITS:
        raise ValueError(f"{name} has no split '{split}'; it has {', '.join(_SPLITS)}")
    variable = f"{_SPLITS[split]}data"
    file = registry.fetch(f"poly_music/{_STEMS[name]}.mat")
    pieces = loadmat(file, variable_names=[variable])[variable].ravel()
    return [torch.from_numpy(piece.astype(np.uint8)) for piece in pieces]


def synthetic_tunes(n: int, seed: int = 0, n_bars: int = 8) -> list[Tensor]:
    """Tunes by rule, n tensors (4 n_bars, 88) uint8: a triad of a scale under a moving voice."""
    if n < 1 or n_bars < 1:
        raise ValueError(f"n={n}, n_bars={n_bars}: want at least 1 of each")
    scale, fifth = np.array([0, 2, 4, 5, 7, 9, 11]), np.array([0, 3, 4, 0, 5, 1, 4])
    generator = np.random.default_rng(seed)
    tunes = []
    for _ in range(n):
        tonic = int(generator.integers(24, 36))  # keys above the lowest
        roll = np.zeros((4 * n_bars, 88), np.uint8)
        start = int(generator.integers(len(fifth)))
        for bar in range(n_bars):
            degrees = (fifth[(start + bar) % len(fifth)] + np.array([0, 2, 4])) % 7
            roll[4 * bar : 4 * bar + 4, tonic + scale[degrees]] = 1
            voice = tonic + 12 + scale[generator.choice(degrees, 4)]
            roll[4 * bar + np.arange(4), voice] = 1
        tunes.append(torch.from_numpy(roll))
    return tunes
