"""How models of piano rolls sound, in numbers: what they write after a piece's first frames.

The same is measured of what a model wrote and of the piece itself.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from dgm.papers.variational_hyper_rnn import VariationalRNN

LOWEST = 21  # the MIDI note of the first key
OPENING = 8  # frames that a model reads first
# Pitch classes of the major and the minor triad on each of twelve notes, (24, 12).
_ROOTS = [functional.one_hot(torch.tensor(t), 12).sum(0) for t in ((0, 4, 7), (0, 3, 7))]
TRIADS = torch.stack([root.roll(i) for root in _ROOTS for i in range(12)]).bool()


@torch.no_grad()
def continuation(
    net: VariationalRNN, opening: Tensor, n_frames: int, generator: torch.Generator
) -> Tensor:
    """(n, 88) zeros and ones: what one particle writes after frames (T, 88), by the prior."""
    weights, state = net.weights(), net.start(1)
    for features in net.features(opening[:, None]):
        noise = torch.randn(1, net.z_dim, generator=generator)
        state = net(state, features, noise, weights).state
    frames = []
    for _ in range(n_frames):
        from_h = weights[0].read(state.h)
        mean, deviation = net.prior_gaussian(from_h)
        noise = torch.randn(mean.shape, generator=generator)
        from_z = weights[1].read(mean + deviation * noise)
        logits, *_ = net.emit(from_h, from_z)
        frames.append(torch.bernoulli(logits.sigmoid(), generator=generator))
        to_cell = net.features(frames[-1])[:, -4 * net.h_dim :]
        state, _ = net.recur(state, from_h, from_z, to_cell)
    return torch.cat(frames)


def opening_of(piece: Tensor) -> Tensor:
    """What a model reads of a piece (T, 88): at most half."""
    return piece[: min(OPENING, len(piece) // 2)]


def written(
    net: VariationalRNN, pieces: Iterable[Tensor], generator: torch.Generator
) -> list[Tensor]:
    """What is written after the opening of each piece, for as long as the piece goes on."""
    parts = [(opening, len(x) - len(opening)) for x in pieces for opening in (opening_of(x),)]
    return [continuation(net, opening, n, generator) for opening, n in parts]


def measures(roll: Tensor) -> dict[str, float]:
    """Of a roll (T, 88); pitches are MIDI notes, moves semitones. NaN where nothing sounds.

    `notes` a frame; `triads`, the share of sounding frames whose notes lie in one major or minor
    triad; `held`, the share of notes that sounded in the frame before; the mean of each sounding
    frame's lowest note and of its highest, and by how much the lowest moves.
    """
    roll = roll.bool()
    loud = roll[roll.any(1)]
    classes = torch.zeros(len(loud), 12, dtype=torch.bool)
    for key in range(loud.shape[1]):
        classes[:, (LOWEST + key) % 12] |= loud[:, key]
    lowest = LOWEST + loud.int().argmax(1).double()
    highest = LOWEST + loud.shape[1] - 1 - loud.flip(1).int().argmax(1).double()
    values = {
        "notes": roll.sum(1).double().mean(),
        "triads": (~classes[:, None] | TRIADS).all(-1).any(-1).double().mean(),
        "held": (roll[1:] & roll[:-1]).sum().double() / roll[1:].sum(),
        "lowest": lowest.mean(),
        "highest": highest.mean(),
        "moves": lowest.diff().abs().mean(),
    }
    return {name: float(value) for name, value in values.items()}


def summary(rolls: Iterable[Tensor]) -> dict[str, tuple[float, float]]:
    """Each measure's mean over rolls and its standard error, 0 where nothing can be measured."""
    rows = [measures(roll) for roll in rolls]
    columns = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
    heard = {
        k: x[x.isfinite()].double() if x.isfinite().any() else x.nan_to_num()
        for k, x in columns.items()
    }
    return {
        k: (float(x.mean()), float(x.std() / len(x) ** 0.5) if len(x) > 1 else 0.0)
        for k, x in heard.items()
    }
