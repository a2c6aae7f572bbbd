"""Series: splits by time and recording, scales from the training part alone, what was not read."""

import datetime
import gzip
import io

import numpy as np
import pytest
import torch

from dgm.data import registry
from dgm.data.series import NAMES, SPLITS, load

STOCKS = ("djia30/A.csv.gz", "djia30/B.csv.gz")


def market(seed, cells=()):
    """A stock's rows, one every twenty days from 2006 to 2010, with cells put into days."""
    random = np.random.RandomState(seed)
    rows = {}
    for i in range(80):
        date = str(datetime.date(2006, 1, 10) + datetime.timedelta(days=20 * i))
        low, opening, closing, high = np.sort(20 + random.random_sample(4)) * (seed + 1)
        rows[date] = [opening, high, low, closing, float(random.randint(10**6, 10**7))]
    for date, column, value in cells:
        rows[date][column] = value
    lines = ["Date,Open,High,Low,Close,Volume,Name"]
    lines += [",".join(map(str, [d, *row, "A"])) for d, row in rows.items()]
    data = gzip.compress("\n".join(lines).encode())
    return data, {d: np.array(row) for d, row in rows.items() if not cells}


@pytest.fixture
def stocks(put, monkeypatch):
    def stocks(*cells):
        """Puts two stocks, with cells in the second."""
        parts = market(0), market(1, cells)
        for path, part in zip(STOCKS, parts, strict=True):
            put(path, part[0])
        files = tuple(registry.FILES[path] for path in STOCKS)
        entry = registry.DATASETS["djia30"]._replace(files=files)
        monkeypatch.setitem(registry.DATASETS, "djia30", entry)
        return [part[1] for part in parts]

    return stocks


def between(rows, first, end):
    return np.log([row for date, row in rows.items() if first <= date < end])


def test_stocks_are_logs_scaled_by_each_stock_s_training_half(stocks):
    rows = stocks()
    halves = {
        "train": ("2008-01", "2008-07"),
        "validation": ("2007-07", "2008-01"),
        "test": ("2008-07", "2009-01"),
    }
    for split, half in halves.items():
        result = load("stocks", split)
        assert len(result) == 2
        for mine, its in zip(result, rows, strict=True):
            training = between(its, *halves["train"])
            expected = (between(its, *half) - training.mean(0)) / training.std(0)
            assert 8 <= len(mine) == len(expected) <= 10
            assert mine.dtype == torch.float32
            assert np.allclose(mine, expected, atol=1e-4)
    for stock in load("stocks"):
        assert stock.mean(0).abs().max() < 1e-4
        assert torch.allclose(stock.std(0, correction=0), torch.ones(5), atol=1e-4)


def test_an_empty_cell_and_a_lowest_price_far_below_the_others_are_left_out(stocks):
    stocks(("2008-03-20", 2, 0.01), ("2008-04-09", 2, 21.0), ("2008-03-20", 1, ""))
    full, holed = load("stocks")
    assert full.isfinite().all()
    assert holed.isnan().nonzero().tolist() == [[3, 1], [3, 2]]
    assert holed[:, 1].nanmean().abs() < 1e-4
    assert (holed[:, 1] ** 2).nanmean() == pytest.approx(1.0, abs=1e-4)


@pytest.fixture
def returns(put):
    output = np.random.RandomState(0).standard_normal((612, 8)) * np.arange(1, 9) / 1000
    output[367:] += 0.01
    rates = np.exp(np.cumsum(np.vstack([np.zeros(8), output]), 0))
    buffer = io.StringIO()
    np.savetxt(buffer, rates, delimiter=",", fmt="%.17g")
    put("exchange_rate/exchange_rate.txt.gz", gzip.compress(buffer.getvalue().encode()))
    return output


def test_returns_are_cut_in_time_and_windows_and_no_day_is_lost(returns):
    result = [load("exchange-rates", split) for split in SPLITS]
    lengths = [[len(x) for x in part] for part in result]
    assert lengths == [[100, 100, 100, 67], [100, 22], [100, 23]]
    training = returns[:367]
    together = torch.cat([x for part in result for x in part])
    expected = (returns - training.mean(0)) / training.std(0)
    assert np.allclose(together, expected, atol=1e-4)
    assert torch.cat(result[0]).mean(0).abs().max() < 1e-4
    assert torch.cat(result[2]).mean(0).min() > 0.5  # the later rise is not taken away
    assert together.dtype == torch.float32


def recordings():
    """Thirty recordings whose first channel tells their number, five of them banana."""
    lengths = np.arange(3, 33)
    values = np.random.RandomState(1).standard_normal((lengths.sum(), 10)).astype(np.float32)
    values[:, 0] = np.repeat(np.arange(30), lengths)
    values[2] = np.nan  # the last minute of the first recording
    labels = np.array(["wine", "banana"])[(np.arange(30) % 6 == 0).astype(int)]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, values=values, lengths=lengths, labels=labels)
    return np.split(values.astype(float), np.cumsum(lengths)[:-1]), buffer.getvalue()


def test_recordings_are_split_whole_within_each_label(put):
    parts, data = recordings()
    put("ht-sensor/ht_sensor_1min.npz", data)
    result = {split: load("gas-sensors", split) for split in SPLITS}
    assert [len(result[split]) for split in SPLITS] == [18, 6, 6]
    # A recording's length tells its number.
    numbers = {split: [len(x) - 3 for x in part] for split, part in result.items()}
    assert sorted(i for part in numbers.values() for i in part) == list(range(30))
    assert all(part == sorted(part) for part in numbers.values())
    banana = {split: sum(i % 6 == 0 for i in part) for split, part in numbers.items()}
    assert banana == {"train": 3, "validation": 1, "test": 1}
    training = np.concatenate([parts[i] for i in numbers["train"]])
    for split, part in result.items():
        for i, x in zip(numbers[split], part, strict=True):
            expected = (parts[i] - np.nanmean(training, 0)) / np.nanstd(training, 0)
            assert np.allclose(x, expected, atol=1e-4, equal_nan=True)
            assert x.isnan().any(1).tolist() == [False] * (i + 2) + [i == 0]
    assert numbers == {split: [len(x) - 3 for x in load("gas-sensors", split)] for split in SPLITS}
    assert numbers["test"] == TEST  # a change would make every published result stale


TEST = [4, 9, 11, 23, 24, 29]


REAL = {  # series, steps and NaN steps of each split
    "stocks": ((31, 3875, 1), (31, 3937, 0), (31, 3968, 1)),
    "exchange-rates": ((46, 4552, 0), (16, 1517, 0), (16, 1518, 0)),
    "gas-sensors": ((58, 2554, 124), (20, 746, 2), (19, 974, 17)),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_real_series(name, need):
    need({"stocks": "djia30", "exchange-rates": "exchange_rate", "gas-sensors": "ht-sensor"}[name])
    for split, expected in zip(SPLITS, REAL[name], strict=True):
        result = load(name, split)
        together = torch.cat(result)
        missing = together.isnan().any(1).sum().item()
        assert (len(result), len(together), missing) == expected
        if split == "train":
            assert together.double().nanmean(0).abs().max() < 1e-5
            assert ((together.double() ** 2).nanmean(0) - 1).abs().max() < 1e-4
