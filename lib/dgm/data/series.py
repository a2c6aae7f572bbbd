"""Real series, standardised: prices of stocks, exchange rates, gas sensors in a home.

Each is scaled with means and deviations of what a model may train on, and nothing else.
"""

import csv
import gzip
import io
import itertools
import zipfile
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dgm.data import registry

NAMES = ("stocks", "exchange-rates", "gas-sensors")
SPLITS = ("train", "validation", "test")

_HALVES = {  # first day and the day after the last
    "train": ("2008-01-01", "2008-07-01"),
    "validation": ("2007-07-01", "2008-01-01"),
    "test": ("2008-07-01", "2009-01-01"),
}
_COLUMNS = ("Open", "High", "Low", "Close", "Volume")
_RATES = "exchange_rate/exchange_rate.txt.gz"
_N_RATES = 8
_WINDOW = 100
_SENSORS = "ht-sensor/ht_sensor_1min.npz"
_N_CHANNELS = 10


def load(name: str, split: str = "train") -> list[Tensor]:
    """Loads a split of a set of series; same call, same series in the same order.

    - "stocks": 31 large US companies, a series each, D = 5: the logs of a day's opening, highest,
      lowest and closing price and of its volume. "train" is January to June 2008, "test" July to
      December 2008, "validation" July to December 2007. Each stock and column is scaled by its own
      "train". A lowest price under half of both the opening and the closing one is taken for a slip
      and left out: there are two, one of 0.01. The paper's set, 445 companies, is not public.
    - "exchange-rates": daily log-returns of eight currencies, 1990 to 2016, D = 8. In order of time
      the first 60 % of the days are "train", the next 20 % "validation", the rest "test"; each is
      cut into windows of 100 days, the last one shorter. A third of the fifth currency's returns
      are exactly 0, since it was pegged: a density without a least deviation has no bound on them.
      Slips of the source, up to 54 deviations, stay.
    - "gas-sensors": 97 of the 100 recordings of Huerta et al. 2016, means of a minute, D = 10:
      eight gas sensors, temperature, humidity. Of the recordings with background, banana and wine
      each, in a fixed random order, 60 % are "train" and 20 % "validation", rounded, and the rest
      "test". The paper's rate is one value per second.

    Returns:
        A tensor per series, (T_i, D) float32, minus the mean and over the standard deviation of
        "train", per channel (and stock); NaN where nothing was read (an empty cell, a slip in a
        price, a silent sensor), which means and deviations leave out.

    Raises:
        ValueError: an unknown name or split, and a file that is not what it should be.
        FileNotFoundError: the files are unavailable.
    """
    if name not in NAMES:
        raise ValueError(f"no series '{name}'; there are {', '.join(NAMES)}")
    if split not in SPLITS:
        raise ValueError(f"{name} has no split '{split}'; it has {', '.join(SPLITS)}")
    if name == "stocks":
        arrays = [_stock(file.path, split) for file in registry.DATASETS["djia30"].files]
    else:
        parts, path = (_rates(), _RATES) if name == "exchange-rates" else (_recordings(), _SENSORS)
        arrays = _scaled(parts[split], parts["train"], path)
    return [torch.from_numpy(x.astype(np.float32)) for x in arrays]


def padded(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """B sequences of (T_i, D) as one tensor (B, T, D) float32, and their lengths (B,) int64.

    T is the longest, with zeros behind each end; NaN stays NaN. ValueError for no sequence, an
    empty one, or shapes that do not go together.
    """
    if not len(sequences):
        raise ValueError("padded needs at least one sequence, got none")
    for i, sequence in enumerate(sequences):
        if sequence.ndim != 2 or not len(sequence) or sequence.shape[1:] != sequences[0].shape[1:]:
            problem = f"sequence {i} is of shape {tuple(sequence.shape)}"
            raise ValueError(f"{problem}; want (T, D) with T >= 1 and the same D for all")
    floats = [sequence.to(torch.float32) for sequence in sequences]
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(floats, batch_first=True), lengths


def _scaled(parts: list[np.ndarray], training: list[np.ndarray], path: str) -> list[np.ndarray]:
    """Parts minus the training part's mean, over its deviation, per channel."""
    together = np.concatenate(training)
    for channel, values in enumerate(together.T):
        if len(np.unique(values[~np.isnan(values)])) < 2:
            place = f"{path}: channel {channel}"
            raise ValueError(f"{place} has fewer than two values in training, nothing to scale by")
    mean, deviation = np.nanmean(together, 0), np.nanstd(together, 0)
    return [(part - mean) / deviation for part in parts]


def _stock(path: str, split: str) -> np.ndarray:
    """A stock's half year, (days, 5), scaled."""
    with gzip.open(registry.fetch(path), "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    missing = [name for name in ("Date", *_COLUMNS) if not rows or name not in rows[0]]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}, or no rows")
    dates = [row["Date"] for row in rows]
    if any(a >= b for a, b in itertools.pairwise(dates)):
        raise ValueError(f"{path}: its dates do not ascend")
    halves = {}
    for half in {"train", split}:
        first, end = _HALVES[half]
        days = [row for row in rows if first <= row["Date"] < end]
        if not days:
            raise ValueError(f"{path} has no day from {first} until {end}")
        halves[half] = np.array([_logs(row, path) for row in days])
    (scaled,) = _scaled([halves[split]], [halves["train"]], path)
    return scaled


def _logs(row: dict[str, str], path: str) -> list[float]:
    logs = []
    for name in _COLUMNS:
        cell = row[name]
        try:
            value = float(cell) if cell != "" else None
        except (TypeError, ValueError):
            value = np.nan
        if value is not None and not 0 < value < np.inf:
            place = f"{path}: {name} of {row['Date']}"
            raise ValueError(f"{place} is {cell!r}; want a number above 0, or nothing")
        logs.append(np.nan if value is None else np.log(value))
    opening, _, lowest, closing, _ = logs
    if lowest < min(opening, closing) - np.log(2):
        logs[2] = np.nan
    return logs


def _rates() -> dict[str, list[np.ndarray]]:
    """The windows of log-returns of each split."""
    with gzip.open(registry.fetch(_RATES), "rt", encoding="utf-8") as file:
        text = file.read()
    try:
        rates = np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)
    except ValueError as error:
        raise ValueError(f"{_RATES} is no table of numbers: {error}") from error
    if rates.shape[1] != _N_RATES or len(rates) < 6 or not (rates > 0).all():
        expected = f"want {_N_RATES} columns, 6 days or more, and every number above 0"
        raise ValueError(f"{_RATES} is a table of shape {rates.shape}; {expected}")
    returns = np.diff(np.log(rates), axis=0)
    parts = np.split(returns, [len(returns) * 3 // 5, len(returns) * 4 // 5])
    return {
        split: [part[i : i + _WINDOW] for i in range(0, len(part), _WINDOW)]
        for split, part in zip(SPLITS, parts, strict=True)
    }


def _recordings() -> dict[str, list[np.ndarray]]:
    """The recordings of each split, in the file's order."""
    where = registry.fetch(_SENSORS)
    try:
        with np.load(where, allow_pickle=False) as file:
            values, lengths, labels = (file[key] for key in ("values", "lengths", "labels"))
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{_SENSORS} is damaged, or no npz file of recordings: {error}") from error
    expected = (lengths.sum(), _N_CHANNELS)
    if values.shape != expected or lengths.shape != labels.shape or (lengths < 1).any():
        raise ValueError(
            f"{_SENSORS} has values of shape {values.shape} for {len(lengths)} recordings of "
            f"{lengths.sum()} minutes in all and {len(labels)} labels; want ({lengths.sum()}, "
            f"{_N_CHANNELS}), a label each, and no empty recording"
        )
    recordings = np.split(values.astype(np.float64), np.cumsum(lengths)[:-1])
    # RandomState's numbers are promised never to change.
    random = np.random.RandomState(0)
    chosen = {split: [] for split in SPLITS}
    for label in sorted(set(labels.tolist())):
        order = random.permutation(np.flatnonzero(labels == label))
        first, second = round(0.6 * len(order)), round(0.8 * len(order))
        for split, part in zip(SPLITS, np.split(order, [first, second]), strict=True):
            chosen[split].extend(part.tolist())
    return {split: [recordings[i] for i in sorted(places)] for split, places in chosen.items()}
