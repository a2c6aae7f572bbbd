"""Real series, each scaled by what a model may train on: stocks, exchange rates, gas sensors."""

import gzip

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
_RATES = "exchange_rate/exchange_rate.txt.gz"
_WINDOW = 100
_SENSORS = "ht-sensor/ht_sensor_1min.npz"


def load(name: str, split: str = "train") -> list[Tensor]:
    """Loads a split of a set of series; same call, same series in the same order.

    - "stocks": 31 large US companies, D = 5: the logs of a day's opening, highest, lowest and
      closing price and of its volume. "train" is January to June 2008, "test" July to December
      2008, "validation" July to December 2007. Each stock and column is scaled by its own "train".
      A lowest price under half of both the opening and the closing one is left out as a slip.
    - "exchange-rates": daily log-returns of eight currencies, 1990 to 2016, D = 8. In order of time
      the first 60 % of the days are "train", the next 20 % "validation", the rest "test"; each is
      cut into windows of 100 days. A third of the fifth currency's returns are exactly 0.
    - "gas-sensors": 97 of the 100 recordings of Huerta et al. 2016, means of a minute, D = 10: gas
      sensors, temperature, humidity. Of background, banana and wine each, in a fixed random order,
      60 % are "train", 20 % "validation" and the rest "test".

    A tensor per series, (T_i, D) float32, scaled by mean and standard deviation of "train"; NaN
    where nothing was read. ValueError for an unknown name or split, and errors as `registry.fetch`.
    """
    if name not in NAMES:
        raise ValueError(f"no series '{name}'; there are {', '.join(NAMES)}")
    if split not in SPLITS:
        raise ValueError(f"{name} has no split '{split}'; it has {', '.join(SPLITS)}")
    if name == "stocks":
        arrays = [_stock(file.path, split) for file in registry.DATASETS["djia30"].files]
    else:
        parts = _rates() if name == "exchange-rates" else _recordings()
        arrays = _scaled(parts[split], parts["train"])
    return [torch.from_numpy(x.astype(np.float32)) for x in arrays]


def _scaled(parts: list[np.ndarray], training: list[np.ndarray]) -> list[np.ndarray]:
    """Parts minus the training part's mean, over its deviation, per channel."""
    together = np.concatenate(training)
    mean, deviation = np.nanmean(together, 0), np.nanstd(together, 0)
    return [(part - mean) / deviation for part in parts]


def _stock(path: str, split: str) -> np.ndarray:
    """A stock's half year, (days, 5), scaled."""
    with gzip.open(registry.fetch(path), "rt", encoding="utf-8") as file:
        table = np.loadtxt(file, str, delimiter=",", skiprows=1)
    days, prices = table[:, 0], table[:, 1:6]
    with np.errstate(divide="ignore"):  # prices of 0 lie in other years
        logs = np.log(np.where(prices == "", "nan", prices).astype(float))
    opening, _, lowest, closing, _ = logs.T
    lowest[lowest < np.minimum(opening, closing) - np.log(2)] = np.nan
    half, training = (
        logs[(days >= first) & (days < end)] for first, end in (_HALVES[split], _HALVES["train"])
    )
    return _scaled([half], [training])[0]


def _rates() -> dict[str, list[np.ndarray]]:
    """The windows of log-returns of each split."""
    rates = np.loadtxt(registry.fetch(_RATES), delimiter=",")
    returns = np.diff(np.log(rates), axis=0)
    parts = np.split(returns, [len(returns) * 3 // 5, len(returns) * 4 // 5])
    return {
        split: [part[i : i + _WINDOW] for i in range(0, len(part), _WINDOW)]
        for split, part in zip(SPLITS, parts, strict=True)
    }


def _recordings() -> dict[str, list[np.ndarray]]:
    """The recordings of each split, in the file's order."""
    with np.load(registry.fetch(_SENSORS), allow_pickle=False) as file:
        values, lengths, labels = (file[key] for key in ("values", "lengths", "labels"))
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
