"""Piano rolls: the published splits and counts, and files that are not what their names say."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dgm.data import registry
from dgm.data.music import NAMES, load

PATH = "poly_music/JSB_Chorales.mat"
PUBLISHED = {  # sequences to train on, for validation, for test; all their frames
    "jsb": (229, 76, 77, 23134),
    "nottingham": (694, 173, 170, 266537),
    "piano-midi": (87, 12, 25, 103487),
    "musedata": (524, 135, 124, 392296),
}


def cell(*pieces):
    output = np.empty((1, len(pieces)), object)
    for i, piece in enumerate(pieces):
        output[0, i] = piece
    return output


def roll(*keys):
    """A frame a key, which alone sounds in it."""
    return np.eye(88, dtype=np.uint8)[list(keys)]


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Puts bytes or variables in DGM_DATA, and into the registry, in place of the chorales."""
    monkeypatch.setenv("DGM_DATA", str(tmp_path))
    (tmp_path / "poly_music").mkdir()
    counts = {"JSB_Chorales": {"train": 2, "valid": 1, "test": 1}}
    entry = registry.DATASETS["poly_music"]._replace(counts=counts)
    monkeypatch.setitem(registry.DATASETS, "poly_music", entry)

    def put(content):
        where = tmp_path / PATH
        if isinstance(content, bytes):
            where.write_bytes(content)
        else:
            savemat(where, content, do_compression=True)
        data = where.read_bytes()
        result = registry.DataFile(PATH, len(data), hashlib.sha256(data).hexdigest())
        monkeypatch.setitem(registry.FILES, PATH, result)
        return data

    return put


@pytest.fixture
def tiny(put):
    content = {
        "traindata": cell(roll(0, 1, 87), roll(5)),
        "validdata": cell(roll(2, 2) | roll(30, 40)),
        "testdata": cell(roll(3, 4).astype(float)),
    }
    put(content)
    return lambda **changed: put(content | changed)


def test_pieces_come_by_split_in_their_order(tiny):
    train, validation, test = (load("jsb", s) for s in ("train", "validation", "test"))
    assert [tuple(piece.shape) for piece in train] == [(3, 88), (1, 88)]
    assert [piece.argmax(1).tolist() for piece in train] == [[0, 1, 87], [5]]
    assert validation[0].nonzero().tolist() == [[0, 2], [0, 30], [1, 2], [1, 40]]
    assert test[0].argmax(1).tolist() == [3, 4]
    assert all(piece.dtype == torch.uint8 for piece in (*train, *validation, *test))


def test_a_split_can_be_changed_without_changing_the_next_load(tiny):
    load("jsb")[0].zero_()
    assert load("jsb")[0].sum() == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"traindata": cell(roll(0))}, "has 1 pieces in train; want 2"),
        (
            {"traindata": cell(roll(0), roll(0)[:, :87])},
            r"piece 1 of train is of shape \(1, 87\); want \(frames, 88\)",
        ),
        ({"traindata": cell(roll(0)[:0], roll(0))}, r"piece 0 of train is of shape \(0, 88\)"),
        (
            {"traindata": cell(roll(0), 2 * roll(0))},
            "piece 1 of train has values other than 0 and 1",
        ),
        ({"traindata": cell(roll(0), np.full((1, 88), np.nan))}, "values other than 0 and 1"),
        ({"traindata": roll(0, 1)}, "has no cell 'traindata'"),
    ],
)
def test_a_file_with_other_content_is_refused(tiny, changed, message):
    tiny(**changed)
    with pytest.raises(ValueError, match=f"{PATH}.*{message}"):
        load("jsb")


def test_a_file_without_the_split_is_refused(put):
    put({"traindata": cell(roll(0), roll(1))})
    with pytest.raises(ValueError, match=f"{PATH} has no cell 'testdata'"):
        load("jsb", "test")


@pytest.mark.parametrize("damage", ["empty", "text", "half", "altered"])
def test_a_damaged_file_is_named(tiny, put, damage):
    data = tiny()
    half = len(data) // 2
    put(
        {
            "empty": b"",
            "text": b"<html>please log in</html>" * 9,
            "half": data[:half],
            "altered": data[:half] + bytes(40) + data[half + 40 :],
        }[damage]
    )
    with pytest.raises(ValueError, match=f"{PATH} (is no MATLAB 5 file|has no cell)"):
        load("jsb", "test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("bach",), "no music 'bach'; there are jsb, nottingham, piano-midi, musedata"),
        (("jsb", "valid"), "jsb has no split 'valid'; it has train, validation, test"),
    ],
)
def test_names_and_splits_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(*arguments)


def test_the_registry_has_the_published_counts():
    counts = registry.DATASETS["poly_music"].counts
    stems = ("JSB_Chorales", "Nottingham", "Piano_midi", "MuseData")
    for stem, expected in zip(stems, PUBLISHED.values(), strict=True):
        result = counts[stem]
        assert (result["train"], result["valid"], result["test"]) == expected[:3]
        assert sum(result["frames"]) == expected[3]
    assert tuple(PUBLISHED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_real_pieces(name):
    own = Path(os.environ.get("DGM_DATA", "absent"))
    if not all((own / path).exists() for path in registry.checksums("poly_music")):
        pytest.skip("no poly_music in DGM_DATA")
    splits = [load(name, split) for split in ("train", "validation", "test")]
    assert tuple(len(split) for split in splits) == PUBLISHED[name][:3]
    pieces = [piece for split in splits for piece in split]
    assert sum(len(piece) for piece in pieces) == PUBLISHED[name][3]
    assert max(int(piece.max()) for piece in pieces) == 1
    assert 2 < torch.cat(pieces).sum(1, dtype=torch.float64).mean() < 5  # notes at a time
