"""Music in numbers: rolls whose measures are known, and a model whose keys are."""

import math

import pytest
import torch

from dgm.nets.mlp import affine_layers
from dgm.papers.variational_hyper_rnn import VariationalHyperRNN, VariationalRNN
from dgm_book.chapters.variational_hyper_rnn import listening


def roll(*frames):
    x = torch.zeros(len(frames), 88)
    for t, pitches in enumerate(frames):
        x[t, [pitch - listening.LOWEST for pitch in pitches]] = 1
    return x


def test_measures_of_a_known_roll():
    major, third, cluster = [48, 64, 67, 72], [50, 53], [60, 61, 62]
    measured = listening.measures(roll(major, major, third, [], cluster))
    assert measured == pytest.approx(
        {
            "notes": 13 / 5,
            "triads": 3 / 4,
            "held": 4 / 9,
            "lowest": (48 + 48 + 50 + 60) / 4,
            "highest": (72 + 72 + 53 + 62) / 4,
            "moves": (0 + 2 + 10) / 3,
        }
    )


def test_every_triad_is_one_and_no_seventh():
    for root in range(36, 48):
        for third in (3, 4):
            assert listening.measures(roll([root, root + third, root + 7]))["triads"] == 1
            assert (
                listening.measures(roll([root, root + third, root + 7, root + 10]))["triads"] == 0
            )


def test_silence_has_no_lowest_note_and_counts_for_no_mean():
    loud, silent = roll([60], [62]), roll([], [])
    assert math.isnan(listening.measures(silent)["lowest"])
    summary = listening.summary([loud, silent, roll([64], [64])])
    assert summary["lowest"] == pytest.approx((62.5, 1.5))
    assert summary["notes"] == pytest.approx((2 / 3, 1 / 3))


@pytest.mark.parametrize("kind", [VariationalRNN, VariationalHyperRNN])
def test_keys_sound_as_often_as_the_model_says(kind):
    torch.manual_seed(0)
    more = (5,) if kind is VariationalHyperRNN else ()
    net = kind(88, 3, 4, *more, emission="bernoulli")
    for part in (net.decoder, getattr(net, "rescale", net.decoder)):  # scales stay one
        torch.nn.init.zeros_(affine_layers(part)[-1].weight)
    share = torch.linspace(0.05, 0.95, 88)
    net.calibrate(share)
    opening, generator = torch.zeros(8, 88), torch.Generator().manual_seed(0)
    frames = listening.continuation(net, opening, 1500, generator)
    assert frames.unique().tolist() == [0, 1]
    error = (share * (1 - share) / len(frames)).sqrt()
    assert ((frames.mean(0) - share).abs() < 4 * error).all()
    repeated = listening.continuation(net, opening, 20, torch.Generator().manual_seed(0))
    torch.testing.assert_close(repeated, frames[:20])
