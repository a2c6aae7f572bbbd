"""What single widgets make of what they are given."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import small_widgets as small
from ipywidgets import embed
from page_words import split_words

from dgm.steering import MARGINS
from dgm_book.widgets.draw_a_digit import hand_drawn

KNOWN_WORDS = Path(__file__).parents[2] / "dgm" / "data" / "words.json"


# Chapter 1


def test_a_shorter_curve_pulls_the_slider_back_inside():
    widget = small.explorer()
    assert widget.beta == pytest.approx(1.0)
    widget.beta_index = 4
    widget.model = "vae3"
    assert widget.beta_index == 2
    assert widget.beta == pytest.approx(10.0)


def test_a_curve_may_come_without_its_decoder_and_only_eight_images_travel():
    bare = {key: v for key, v in small.curve("gan", betas=7).items() if key != "codes"}
    widget = small.explorer(curves=[small.curve(images=50), bare], references=np.ones((8, 16)))
    widget.model = "gan"
    assert widget.curves[1]["codes"] is None
    assert widget.curves[0]["codes"]["images"] == 8
    assert len(widget.codes) == 5 * 8 * 2 * 4
    assert len(widget.references) == 8 * 16 * 4
    assert small.explorer(curves=[bare]).codes == b""


def test_the_plane_thins_many_points_evenly_and_classes_take_their_names():
    means = np.arange(10_000, dtype=float).reshape(5000, 2)
    widget = small.plane(means=means, labels=np.arange(5000) // 2500)
    labels = np.frombuffer(widget.labels, np.uint8)
    assert len(labels) == 2000
    assert labels.mean() == pytest.approx(0.5, abs=0.001)
    assert small.plane(label_names=["ant", "bee", "cat"]).classes == ["ant", "bee", "cat"]


def test_the_first_images_travel_to_the_damage_lab():
    first, every_image = small.lab(images=2), small.lab()
    assert len(first.narrow_log_z) == len(small.BLURS) * len(small.DAMAGE_BETA) * 2 * 4
    assert 3 * len(first.wide_distortion) == len(every_image.wide_distortion)
    sent = np.frombuffer(first.wide_log_z, "<f4").reshape(
        len(small.BLURS), len(small.DAMAGE_BETA), 2
    )
    np.testing.assert_allclose(sent, np.array(small.damage()["wide_log_z"])[..., :2], rtol=1e-6)
    state = embed.dependency_state([first], drop_defaults=False)[first.model_id]["state"]
    assert state["likelihood_index"] == np.abs(small.DAMAGE_BETA - 4).argmin()


def test_drawing_starts_with_a_preset_and_the_page_gives_an_image():
    pad = small.digit(preset="7")
    assert pad.drawing == pad.presets["7"]
    assert small.digit().drawing == [[round(v, 3) for v in stroke] for stroke in hand_drawn()["0"]]
    assert pad.image() is None
    pad.set_state({"pixels": memoryview(bytes(range(16)))})
    np.testing.assert_allclose(pad.image() * 255, np.arange(16).reshape(4, 4))


def test_the_presets_are_the_ten_digits_and_one_thing_more():
    names = list(hand_drawn())
    assert names[:10] == [str(i) for i in range(10)]
    assert len(names) == 11
    for strokes in hand_drawn().values():
        points = np.concatenate([np.reshape(stroke, (-1, 2)) for stroke in strokes])
        assert (points.max(0) - points.min(0)).max() > 0.55
        assert points.min() > 0.05
        assert points.max() < 0.95
        assert np.abs((points.max(0) + points.min(0)) / 2 - 0.5).max() < 0.06


# Chapter 2


def test_scores_travel_as_they_are_and_an_anchor_stays_inside_a_shorter_set():
    rows = {name: values[:1] for name, values in small.SCORES.items()}
    widget = small.lottery(sets=[small.text(), small.text("play", anchors=[5], scores=rows)])
    for critic, values in small.SCORES.items():
        np.testing.assert_allclose(widget.sets[0]["scores"][critic], values, rtol=1e-5)
    widget.anchor = 1
    widget.set = "play"
    assert widget.anchor == 0


def test_what_is_typed_becomes_words():
    typed = " The judge\u2019s sea-boat, (was) OLD... "
    assert split_words(typed) == ["the", "judge\u2019s", "sea-boat", "was", "old"]
    assert split_words(" <b>!? _ ") == ["b"]
    for words in json.loads(KNOWN_WORDS.read_text("utf-8")):
        assert split_words(words["typed"]) == words["words"].split()


def test_a_quiz_asks_at_most_twenty_questions_unless_told():
    assert small.quiz(questions=[small.question(i) for i in range(30)]).rounds == 20
    assert small.quiz(rounds=2).rounds == 2


# Chapter 4


def test_the_margins_are_the_model_s_own():
    for name in ("SentenceSteering", "AttributeSwitch"):
        assert tuple(small.MAKERS[name]().margins) == MARGINS


def test_points_are_thinned_evenly_and_labels_become_marks():
    points = np.tile([[0.2, 0.3, 0.5]], (5000, 1))
    widget = small.steering(points=points, point_labels=np.arange(5000) // 2500)
    labels = np.frombuffer(widget.point_labels, np.uint8)
    assert len(labels) == 600 == len(widget.points) // 12
    assert labels.mean() == pytest.approx(0.5, abs=0.01)
    assert set(small.steering(point_labels=np.full(30, -1)).point_labels) == {2}
    assert small.steering(points=None, point_labels=None).points == b""


def test_the_cliff_starts_where_asked_and_thins_the_codes_evenly():
    assert small.cliff(models=[small.walk(origin=2)]).places == [2]
    codes = small.cliff().models[0]["original"]["log_mean"]
    assert len(codes) == 500
    assert (codes[0], codes[-1]) == (0, 1999)
    assert np.mean(codes) == pytest.approx(999.5, abs=2)


# Chapter 5


def test_the_usual_runs_are_shown_first_or_else_the_first_six():
    runs = [small.run(name) for name in ("beta 0.2", "max", "plain", "absmax")]
    assert small.bound_race(runs=runs).shown == ["max", "plain"]
    assert small.bound_race(runs=[small.run(str(i)) for i in range(8)]).shown == list("012345")
    assert small.bound_race(runs=runs, shown=["absmax"]).shown == ["absmax"]


def test_what_was_not_measured_is_none():
    rows = [
        small.row(0, kl=float("nan")),
        small.row(5, seconds=0.1234567, kl=1.23456789),
        small.row(7, kl=None),
    ]
    columns = small.bound_race(runs=[small.run(measured=rows)]).runs[0]
    assert columns["kl"] == [None, 1.234568, None]
    assert columns["step"] == [0, 5, 7]
    assert columns["seconds"] == [0, 0.123457, 0.14]
    assert columns["information"] == [None] * 3


def points_in_the_page(widget, number, kind, e):
    """The points (M, 2) of one panel, as the page widens them."""
    data = widget.sets[number]
    panel = data["panels"][("last", "mean", "max").index(kind)]
    m = len(data["class_of"])
    start = panel["start"] + 2 * m * e
    small = np.frombuffer(widget.points, "<i2")[start : start + 2 * m].reshape(m, 2)
    return small / 32767 * panel["half"] + panel["centre"]


def test_another_set_takes_the_reader_to_a_place_that_it_has():
    widget = small.scope()
    widget.highlighted = "!"
    widget.set = "other"
    assert (widget.frame, widget.highlighted) == (1, "!")
    widget.highlighted = "a"
    widget.set = "yelp"
    assert (widget.frame, widget.highlighted) == (1, "")


def test_points_come_back_within_half_a_step_of_sixteen_bits():
    given = small.frames()
    given["max"]["points"] = 1e-6 + 1e-3 * given["max"]["points"]
    widget = small.scope(sets=[small.sentences("first"), small.sentences(frames=given)], set="yelp")
    for panel, (kind, values) in zip(widget.sets[1]["panels"], given.items(), strict=True):
        spans = np.ptp(values["points"], axis=(0, 1))
        assert panel["half"] == pytest.approx(spans.max() / 2)  # one scale for all of training
        for e in range(3):
            far = np.abs(points_in_the_page(widget, 1, kind, e) - values["points"][e])
            assert far.max() <= 0.501 * panel["half"] / 32767


def test_a_long_training_is_thinned_to_sixteen_moments_with_its_ends():
    data = small.sentences(steps=range(0, 82, 2))
    widget = small.scope(sets=[data])
    steps = widget.sets[0]["steps"]
    assert (len(steps), steps[0], steps[-1], widget.frame) == (16, 0, 80, 15)
    for kind, values in data["frames"].items():
        for e, step in enumerate(steps):
            near = points_in_the_page(widget, 0, kind, e)
            np.testing.assert_allclose(near, values["points"][step // 2], atol=1e-3)


def test_points_that_all_agree_are_no_division_by_zero():
    given = small.frames(last=small.moments(points=np.ones((3, 12, 2))))
    widget = small.scope(sets=[small.sentences(frames=given)])
    np.testing.assert_array_equal(points_in_the_page(widget, 0, "last", 2), np.ones((12, 2)))


@pytest.mark.parametrize("texts", [None, ["open"] + [None] * 11])
def test_sentences_that_may_not_be_shown_do_not_travel(texts):
    widget = small.scope(sets=[small.sentences(texts=texts)])
    assert widget.sets[0]["texts"] == texts
    assert "sentence" not in json.dumps(widget.sets)


def test_the_slider_s_ends_are_mean_and_maximum():
    widget = small.temperature(position=0, kind="max")
    assert widget.temperature == math.inf
    falling = []
    for position in range(1, 100):
        widget.position = position
        falling.append(widget.temperature)
    assert falling == sorted(falling, reverse=True)
    assert (falling[0], falling[-1]) == (10, 0.001)
    widget.position = 100
    assert widget.temperature == 0


# Chapter 6


def test_openings_are_sorted_and_no_note_is_in_one_twice():
    given = [[64, 60, 64.0], np.array([72])]
    widget = small.chorale(openings=[{"name": "a", "label": "A", "frames": given}])
    assert widget.opening == [[60, 64], [72]]
    assert small.chorale(opening="minor").opening[2] == [50, 57, 62, 65]


def test_the_first_schedules_change_between_systems_that_do_not_grow():
    widget = small.switch_now(matrices=np.array([1.5 * np.eye(2), 0 * np.eye(2), 0.5 * np.eye(2)]))
    assert widget.schedule == [[0, 1, 1.0], [30, 2, 1.0]]
    scenery = small.weather(steps=30)
    assert [start for start, *_ in scenery.schedule] == [0, 10, 20]
    for i in range(21):
        scenery.freeze = round(i / 20, 2)
