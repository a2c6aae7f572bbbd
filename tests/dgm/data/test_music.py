"""Piano rolls: the published splits and counts."""

import io

import numpy as np
import pytest
import torch
from scipy.io import savemat

from dgm.data.music import NAMES, load

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
def tiny(put):
    content = {
        "traindata": cell(roll(0, 1, 87), roll(5)),
        "validdata": cell(roll(2, 2) | roll(30, 40)),
        "testdata": cell(roll(3, 4).astype(float)),
    }
    file = io.BytesIO()
    savemat(file, content, do_compression=True)
    put("poly_music/JSB_Chorales.mat", file.getvalue())


def test_pieces_come_by_split_in_their_order(tiny):
    train, validation, test = (load("jsb", s) for s in ("train", "validation", "test"))
    assert [tuple(piece.shape) for piece in train] == [(3, 88), (1, 88)]
    assert [piece.argmax(1).tolist() for piece in train] == [[0, 1, 87], [5]]
    assert validation[0].nonzero().tolist() == [[0, 2], [0, 30], [1, 2], [1, 40]]
    assert test[0].argmax(1).tolist() == [3, 4]
    assert all(piece.dtype == torch.uint8 for piece in (*train, *validation, *test))
    train[0].zero_()  # which changes no other load
    assert load("jsb")[0].sum() == 3


@pytest.mark.parametrize("name", NAMES)
def test_the_real_pieces(name, need):
    need("poly_music")
    splits = [load(name, split) for split in ("train", "validation", "test")]
    assert tuple(len(split) for split in splits) == PUBLISHED[name][:3]
    pieces = [piece for split in splits for piece in split]
    assert sum(len(piece) for piece in pieces) == PUBLISHED[name][3]
    assert max(int(piece.max()) for piece in pieces) == 1
    assert 2 < torch.cat(pieces).sum(1, dtype=torch.float64).mean() < 5  # notes at a time
