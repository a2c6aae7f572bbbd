"""What widgets keep and send to their pages, and make of what they are given."""

import base64
import json
import re

import numpy as np
import pytest
import small_widgets as small
from ipywidgets import embed
from page_words import KNOWN_WORDS, split_words
from small_widgets import MAKERS, SETTINGS

from dgm.simplex_steering import MARGINS
from dgm_book import widgets
from dgm_book.widgets.frame import FOLDER, BookWidget
from dgm_book.widgets.rate_distortion import hand_drawn

CLASSES = {name: getattr(widgets, name) for name in MAKERS}


def test_every_widget_is_tested():
    classes = [value for value in vars(widgets).values() if isinstance(value, type)]
    names = {value.__name__ for value in classes if issubclass(value, BookWidget)}
    assert names == MAKERS.keys() == SETTINGS.keys()
    links = [make().address["name"] for make in MAKERS.values()]
    assert len({*links}) == len(links)
    assert all(re.fullmatch("[a-z]+", link) for link in links)


@pytest.mark.parametrize("name", MAKERS)
def test_each_module_stands_alone_and_is_small(name):
    script, html = CLASSES[name]._esm, "innerHTML|insertAdjacentHTML"
    assert not re.search(rf"\bimport\s*[\"'{{(*]|\bfetch\(|{html}|https?://(?!www\.w3)", script)
    assert re.search(r";export\{[\w$]+ as default\};$", script.strip())
    # The rewriter's code is in it twice, for a worker and for where none can be made.
    # One holds a transformer, the other a code that travels.
    large = {"SentenceSteering": 79_000, "DrawADigit": 48_000}
    assert len(script.encode()) <= large.get(name, 44_000)


def test_each_widget_has_a_small_committed_poster(pytestconfig):
    posters = {path.stem: path.stat().st_size for path in FOLDER.glob("posters/*")}
    assert posters.keys() == MAKERS.keys()
    assert max(posters.values()) <= 25_000
    assert (pytestconfig.rootpath / "book/_static/widgets.js").stat().st_size < 8000
    # What all scripts have now, and a tenth more.
    assert sum(len(widget._esm.encode()) for widget in CLASSES.values()) <= 545_000


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_where_there_is_no_page_a_poster_and_a_stable_text_show(make):
    first, second = (make()._repr_mimebundle_()[0] for _ in range(2))
    for kind in ("text/plain", "image/png"):
        assert first[kind] == second[kind]
    assert "object at" not in first["text/plain"]
    assert base64.b64decode(first["image/png"]).startswith(b"\x89PNG")
    assert "application/vnd.jupyter.widget-view+json" in first


def test_a_widget_without_a_poster_has_a_text():
    class Plain(BookWidget):
        pass

    data, _ = Plain(title="No picture")._repr_mimebundle_()
    assert data["text/plain"] == "Plain('No picture')"
    assert "image/png" not in data


def size(*output):
    text = json.dumps(embed.dependency_state(output, drop_defaults=False), allow_nan=False)
    return len(text) - sum(len(widget._css) for widget in output)


def test_the_largest_widgets_are_small():
    dice = np.random.default_rng(0)
    measures = ("kl", "information", "reconstruction", "log_likelihood", "active_units")
    rows = [small.row(s, **{name: dice.normal() for name in measures}) for s in range(30)]
    race = small.bound_race(runs=[small.run(str(i), measured=rows) for i in range(30)])
    large = [small.sentences(name, range(20), 400, texts=["x" * 40] * 400) for name in ("a", "b")]
    scores = {name: dice.normal(size=(6, 12)) for name in ("phase I", "likelihood")}
    options = {"texts": ["x" * 60] * 40, "anchors": range(6), "scores": scores}
    lottery = small.lottery(sets=[small.text(name, **options) for name in ("a", "b")])
    for widget, most in ((race, 200_000), (small.scope(sets=large), 350_000), (lottery, 50_000)):
        assert size(widget) < most


@pytest.mark.parametrize(
    ("weights", "makers"),
    [
        (MAKERS["DrawADigit"]().weights, [small.explorer, small.plane]),
        (small.pooling_weights(), [small.ruler, small.temperature]),
        (small.hyper_weights(), [small.switch_now, small.weather]),
    ],
)
def test_two_widgets_share_one_copy_of_the_weights(weights, makers):
    pair = [make(weights=weights) for make in makers]
    state = embed.dependency_state(pair, drop_defaults=False)
    reference = f"IPY_MODEL_{weights.model_id}"
    assert [state[w.model_id]["state"]["weights"] for w in pair] == [reference] * 2
    assert json.dumps(state).count(base64.b64encode(weights.data).decode()) == 1


@pytest.mark.parametrize("name", MAKERS)
def test_what_the_page_sets_arrives_in_python(name):
    widget, after, changes = MAKERS[name](), SETTINGS[name], {}
    widget.observe(lambda change: changes.update({change["name"]: change["new"]}))
    widget.set_state(after)
    assert {trait: getattr(widget, trait) for trait in after} == after
    assert changes.items() >= after.items()
    assert size(widget) < 170_000


# Chapter 1


def test_what_a_shorter_list_lacks_pulls_settings_inside():
    explorer = small.explorer()
    explorer.beta_index = 4
    explorer.model = "vae3"
    assert explorer.beta_index == 2
    rows = {name: values[:1] for name, values in small.SCORES.items()}
    lottery = small.lottery(sets=[small.text(), small.text("play", anchors=[5], scores=rows)])
    lottery.anchor = 1
    lottery.set = "play"
    assert lottery.anchor == 0
    scope = small.scope()
    scope.highlighted = "!"
    scope.set = "other"
    assert (scope.frame, scope.highlighted) == (1, "!")
    scope.highlighted = "a"
    scope.set = "yelp"
    assert (scope.frame, scope.highlighted) == (1, "")


def test_a_curve_without_pictures_is_no_choice_and_only_eight_images_travel():
    bare = {key: v for key, v in small.curve("gan", betas=7).items() if key != "codes"}
    targets = np.full((50, 4, 4), 0.2)
    widget = small.explorer(curves=[bare, small.curve(images=50)], targets=targets)
    assert widget.model == "vae2"
    with pytest.raises(ValueError, match="'gan'"):
        widget.model = "gan"
    assert widget.curves[0]["codes"] is None
    assert widget.curves[1]["codes"]["images"] == 8
    assert len(widget.codes) == 5 * 8 * 2 * 4
    assert widget.targets == bytes([51] * 8 * 16)
    assert small.explorer().targets == b""


def test_the_explorer_starts_halfway_and_thins_its_reference_lines():
    rate = np.geomspace(100, 1, 500)
    line = {"Gaussian": (1 / rate, rate)}
    widget = small.explorer(curves=[small.curve(distortion=[9, 8, 5, 2, 1])], references=line)
    assert widget.beta_index == 2
    thin, codec = widget.reference_lines
    assert (len(thin["rate"]), thin["marked"], codec["marked"]) == (40, False, True)
    assert (thin["rate"][0], thin["rate"][-1]) == (1, 100)
    assert np.multiply(thin["rate"], thin["distortion"]) == pytest.approx(1, rel=1e-3)


def test_many_points_are_thinned_evenly_and_classes_are_named():
    means, halves = np.arange(10_000, dtype=float).reshape(5000, 2), np.arange(5000) // 2500
    plane = small.plane(means=means, labels=halves)
    labels = np.frombuffer(plane.labels, np.uint8)
    assert len(labels) == 2000
    assert labels.mean() == pytest.approx(0.5, abs=0.01)
    assert small.plane().classes == ["0", "1", "2"]
    codes = small.cliff().models[0]["original"]["log_mean"]
    assert (len(codes), codes[0], codes[-1]) == (500, 0, 1999)
    assert np.mean(codes) == pytest.approx(999.5, abs=2)


def test_the_first_images_travel_to_the_damage_lab():
    many = small.damage()
    many |= {name: np.repeat(x, 9, 2) for name, x in many.items() if np.ndim(x) == 3}
    first = small.lab(curves=many)
    sent = np.frombuffer(first.wide_log_z, "<f4")
    expected = many["wide_log_z"][..., :24]
    np.testing.assert_allclose(sent.reshape(expected.shape), expected, rtol=1e-6)
    assert first.likelihood_index == np.abs(small.DAMAGE_BETA - 4).argmin()


def test_drawing_starts_with_a_preset_and_the_page_gives_an_image():
    pad = small.digit()
    assert pad.drawing == pad.presets["0"]
    pad.set_state({"pixels": memoryview(bytes(range(16)))})
    assert pad.pixels == bytes(range(16))
    assert [*hand_drawn()][:10] == [str(i) for i in range(10)]


# Chapters 2 to 4


def test_scores_travel_as_they_are():
    for critic, values in small.lottery().sets[0]["scores"].items():
        np.testing.assert_allclose(values, small.SCORES[critic], rtol=1e-5)


def test_a_tab_has_a_model_of_its_own_and_begins_with_its_first_example():
    widget = small.steering(attributes=[small.attribute("captions"), small.attribute()])
    assert (widget.attribute, widget.sentence) == ("captions", small.EXAMPLES[0])
    assert [len(a["vertices"]) for a in widget.attributes] == [3, 5]
    state = embed.dependency_state([widget], drop_defaults=False)
    assert state[widget.model_id]["state"]["others"] == [f"IPY_MODEL_{widget.others[0].model_id}"]
    example = {"text": "a b", "shows": "c", "position": 0.25, "target": [0, 1, 0]}
    widget = small.steering(attributes=[small.attribute(examples=[example])], locked=["a"])
    assert (widget.position, widget.target, widget.locked) == (0.25, [0, 1, 0], ["a"])


def test_what_is_typed_becomes_words():
    rows = {row["typed"]: row["words"] for row in KNOWN_WORDS}
    rows[" The judge\u2019s sea-boat, OLD... <b>!? _ "] = "the judge\u2019s sea-boat old b"
    for typed, words in rows.items():
        assert split_words(typed) == words.split()


def test_what_widgets_take_where_nothing_is_said():
    assert small.quiz(questions=[small.question(i) for i in range(30)]).rounds == 20
    assert small.quiz().rounds == 5
    assert tuple(small.switch().margins) == MARGINS
    assert small.switch().place == 2
    assert small.cliff(models=[small.walk(origin=2), small.walk()]).places == [2, 1]
    runs = [small.run(name) for name in ("beta 0.2", "max", "plain", "absmax")]
    assert small.bound_race(runs=runs).shown == ["max", "plain"]
    assert small.bound_race(runs=[small.run(str(i)) for i in range(8)]).shown == list("012345")
    assert small.scope().frame == 2
    assert (small.chorale().model, small.chorale().opening[0]) == ("VRNN", [48, 55, 64, 72])
    first, second = 0 * np.eye(2), 0.5 * np.eye(2)  # the first systems that do not grow
    widget = small.switch_now(matrices=np.array([1.5 * np.eye(2), first, second]))
    assert widget.schedule == [[0, 1, 1.0], [30, 2, 1.0]]
    assert [start for start, *_ in small.weather().schedule] == [0, 30, 60]


# Chapters 5 and 6


def test_what_was_not_measured_is_none():
    rows = [small.row(0, kl=np.nan), small.row(5, seconds=0.1234567, kl=1.23456789)]
    rows.append(small.row(7, kl=None))
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
    points = np.frombuffer(widget.points, "<i2")[start : start + 2 * m].reshape(m, 2)
    return points / 32767 * panel["half"] + panel["centre"]


def test_points_come_back_within_half_a_step_of_sixteen_bits():
    given = small.frames(last=small.moments(points=np.ones((3, 12, 2))))  # no division by zero
    given["max"]["points"] = 1e-6 + 1e-3 * given["max"]["points"]
    widget = small.scope(sets=[small.sentences("first"), small.sentences(frames=given)], set="yelp")
    for panel, (kind, values) in zip(widget.sets[1]["panels"], given.items(), strict=True):
        spans = np.ptp(values["points"], axis=(0, 1))
        assert panel["half"] == pytest.approx(spans.max() / 2 or 1)  # one scale for all of training
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


@pytest.mark.parametrize("texts", [None, ["open"] + [None] * 11])
def test_sentences_that_may_not_be_shown_do_not_travel(texts):
    widget = small.scope(sets=[small.sentences(texts=texts)])
    assert widget.sets[0]["texts"] == texts
    assert "sentence" not in json.dumps(widget.sets)


def test_openings_are_sorted_and_no_note_is_in_one_twice():
    given = [[64, 60, 64.0], np.array([72])]
    assert small.chorale(opening=given).opening == [[60, 64], [72]]
