import json

import numpy as np
import pytest
from ipywidgets import embed
from traitlets import TraitError

from dgm_book.widgets import DrawADigit, PageWeights
from dgm_book.widgets.draw_a_digit import hand_drawn


def small_weights():
    r = np.random.default_rng(0)
    layers = [
        (r.normal(size=(8, 2)), np.zeros(8), "tanh"),
        (r.normal(size=(16, 8)), np.zeros(16), "sigmoid"),
    ]
    return PageWeights({"vae2": layers})


def widget(**changes):
    options = {"weights": small_weights(), "model": "vae2", "image_shape": (4, 4)}
    return DrawADigit(**options | changes)


def test_it_is_small():
    pad = widget()
    state = embed.dependency_state([pad], drop_defaults=False)[pad.model_id]
    assert len(json.dumps(state, allow_nan=False)) - len(DrawADigit._css) < 65_000


def test_it_starts_with_a_preset_and_keeps_what_the_page_sets():
    pad = widget(preset="7")
    assert pad.drawing == pad.presets["7"]
    assert widget().drawing == [[round(v, 3) for v in stroke] for stroke in hand_drawn()["0"]]
    chosen = {
        "drawing": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5]],
        "seed": 7,
        "temperatures": 75,
        "curve": {"beta": [1.0], "rate": [2.0], "distortion": [3.0], "log_z": [-5.0]},
    }
    pad.set_state(chosen)
    assert {name: getattr(pad, name) for name in chosen} == chosen
    assert pad.image() is None
    pad.set_state({"pixels": memoryview(bytes(range(16)))})
    np.testing.assert_allclose(pad.image() * 255, np.arange(16).reshape(4, 4))


def test_the_presets_are_the_ten_digits_and_one_thing_more():
    names = list(hand_drawn())
    assert names[:10] == [str(digit) for digit in range(10)]
    assert len(names) == 11
    for strokes in hand_drawn().values():
        points = np.concatenate([np.reshape(stroke, (-1, 2)) for stroke in strokes])
        assert (points.max(0) - points.min(0)).max() > 0.55
        assert points.min() > 0.05
        assert points.max() < 0.95
        assert np.abs((points.max(0) + points.min(0)) / 2 - 0.5).max() < 0.06


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("drawing", [[0.1]]),
        ("drawing", [[]]),
        ("drawing", [[0.1, 0.2, 0.3]]),
        ("drawing", [[0.1, 1.2]]),
        ("drawing", [[0.1, np.nan]]),
        ("drawing", [[0.5] * 8002]),
        ("temperatures", 31),
        ("seed", -1),
        ("seed", 10_000),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    pad = widget()
    before = getattr(pad, name)
    with pytest.raises((ValueError, TraitError)):
        setattr(pad, name, value)
    assert getattr(pad, name) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vae3"}, "no model 'vae3'"),
        ({"image_shape": (5, 4)}, r"decodes to 16 pixels, image_shape \(5, 4\) has 20"),
        ({"presets": {}}, "no preset None"),
        ({"preset": "ten"}, "no preset 'ten'"),
        ({"presets": {"a": [[0, 0, 2, 0]]}}, "a stroke of 'a' should be x0, y0"),
        ({"betas": [1.0]}, "2 or more, ascending"),
        ({"betas": [1.0, 1.0]}, "2 or more, ascending"),
        ({"betas": [0.0, 1.0]}, "above 0"),
        ({"betas": [1.0, np.nan]}, "2 or more"),
        ({"temperatures": []}, "should be at least 1, 2 and 1"),
        ({"temperatures": [0]}, "should be at least 1, 2 and 1"),
        ({"chains": 1}, "should be at least 1, 2 and 1"),
        ({"leapfrogs": 0}, "should be at least 1, 2 and 1"),
        ({"seed": 10_000}, "seed"),
    ],
)
def test_a_bad_widget_is_refused(changes, message):
    with pytest.raises((ValueError, TraitError), match=message):
        widget(**changes)
