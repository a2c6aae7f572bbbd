import json
import re

import numpy as np
import pytest
from ipywidgets import embed
from traitlets import TraitError

from dgm_book.widgets import DispersionMicroscope, PoolingRace


def row(step, seconds=None, **measures):
    return {"seconds": step / 50 if seconds is None else seconds, "step": step} | measures


def run(name="max", group="pooling", **changes):
    rows = [row(s, kl=0.01 * s, log_likelihood=-40 + 0.01 * s) for s in (0, 100, 200)]
    return {"name": name, "label": f"{name}!", "group": group, "measured": rows} | changes


def race(runs=None, **changes):
    return PoolingRace([run(), run("plain", "plain")] if runs is None else runs, **changes)


def moments(seed=0, steps=(0, 10, 100), m=12, **changes):
    dice = np.random.default_rng(seed)
    made = {"steps": list(steps), "points": dice.normal(size=(len(steps), m, 2))}
    made |= {name: dice.uniform(size=len(steps)) for name in ("cosine", "relative")}
    return made | {"participation": 1 + 9 * dice.uniform(size=len(steps))} | changes


def sentences(name="yelp", steps=(0, 10, 100), m=12, **changes):
    kinds = {kind: moments(i, steps, m) for i, kind in enumerate(("last", "mean", "max"))}
    made = {"name": name, "label": name.title(), "classes": [".", "!", "other"]}
    made |= {"class_of": np.arange(m) % 3, "texts": [f"sentence {i}" for i in range(m)]}
    return made | {"frames": kinds} | changes


def frames(**changes):
    return sentences()["frames"] | changes


def scope(sets=None, **changes):
    return DispersionMicroscope([sentences()] if sets is None else sets, **changes)


# What travels


@pytest.mark.parametrize("widget", [PoolingRace, DispersionMicroscope])
def test_each_module_stands_alone(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.MULTILINE,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]


def size(widget):
    state = embed.dependency_state([widget], drop_defaults=False)
    return len(json.dumps(state, allow_nan=False)) - len(widget._esm) - len(widget._css)


def test_thirty_runs_and_the_largest_sets_are_small():
    measures = ("kl", "information", "reconstruction", "log_likelihood", "active_units")
    dice = np.random.default_rng(0)
    rows = [row(s, **dict(zip(measures, dice.normal(size=5), strict=True))) for s in range(30)]
    runs = [run(str(i), measured=rows) for i in range(30)]
    assert size(race(runs)) < 150_000
    many = [sentences(name, range(20), 400, texts=["x" * 40] * 400) for name in ("a", "b")]
    assert 220_000 < size(scope(many)) < 300_000


@pytest.mark.parametrize("make", [race, scope])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 60_000)


# The race


def test_the_race_keeps_what_the_page_sets():
    widget = race()
    assert (widget.time, widget.highlighted, widget.axis) == (1.0, "", "seconds")
    chosen = {"time": 0.25, "highlighted": "max", "shown": ["max"], "axis": "steps"}
    widget.set_state(chosen)
    assert {name: getattr(widget, name) for name in chosen} == chosen
    widget.shown = []
    assert widget.poster().axes[0].lines[:] == []


def test_the_usual_runs_are_shown_first_or_else_the_first_six():
    names = ["beta 0.2", "max", "plain", "absmax"]
    assert race([run(name) for name in names]).shown == ["max", "plain"]
    assert race([run(str(i)) for i in range(8)]).shown == list("012345")
    assert race([run(name) for name in names], shown=["absmax"]).shown == ["absmax"]


def test_what_was_not_measured_is_none_and_what_was_is_kept():
    rows = [row(0, kl=float("nan")), row(5, seconds=0.1234567, kl=1.23456789), row(7, kl=None)]
    made = race([run(measured=rows)]).runs[0]
    assert made["kl"] == [None, 1.234568, None]
    assert made["step"] == [0, 5, 7]
    assert made["seconds"] == [0, 0.123457, 0.14]
    assert made["information"] == [None] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time", -0.1),
        ("time", 1.1),
        ("time", np.nan),
        ("highlighted", "none"),
        ("shown", ["none"]),
        ("shown", ["max", "max"]),
        ("axis", "hours"),
    ],
)
def test_a_race_out_of_range_is_refused(name, value):
    widget = race()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError)):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    with pytest.raises((ValueError, TraitError)):
        race(**{name: value})


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "at least one"),
        ([run(), run()], "each name once"),
        ([{"name": "a", "label": "A"}], r"'a' lacks \['group', 'measured'\]"),
        ([run(group="cure")], "group in .*, got 'cure'"),
        ([run("")], "want a name"),
        ([run(measured=[])], "no measured rows"),
        ([run(measured=[{"step": 1}])], "needs 'seconds' and 'step'"),
        ([run(measured=[row(2), row(1)])], "seconds of run 'max' should ascend"),
        ([run(measured=[row(1, 0), row(1, 1)])], "step of run 'max' should ascend"),
        ([run(measured=[row(1, np.nan)])], "should ascend"),
        ([run(measured=[row(1), row(2, kl=np.inf)])], "kl of run 'max' is infinite in row 1"),
    ],
)
def test_a_bad_run_is_refused(runs, message):
    with pytest.raises(ValueError, match=message):
        race(runs)


def test_the_poster_draws_what_was_measured_of_the_shown_runs():
    rows = [row(0, log_likelihood=-60.0), row(50, kl=2.0), row(100, log_likelihood=-30.0)]
    widget = race([run(measured=rows), run("plain", "plain")], shown=["max"], axis="steps")
    likelihood, kl, information = widget.poster().axes
    np.testing.assert_array_equal(likelihood.lines[0].get_xydata(), [[0, -60], [100, -30]])
    np.testing.assert_array_equal(kl.lines[0].get_xydata(), [[50, 2]])
    assert len(information.lines[0].get_xydata()) == 0
    assert likelihood.get_ylim()[0] > -35


# The microscope


def test_the_microscope_keeps_what_the_page_sets():
    widget = scope([sentences(), sentences("other", (0, 5), classes=["a", "b", "c"])])
    assert (widget.set, widget.frame, widget.highlighted) == ("yelp", 2, "")
    widget.set_state({"set": "other", "frame": 1, "highlighted": "a"})
    assert (widget.set, widget.frame, widget.highlighted) == ("other", 1, "a")
    assert scope(frame=0, highlighted="!").highlighted == "!"


def test_another_set_takes_the_reader_to_a_place_that_it_has():
    widget = scope([sentences(), sentences("short", (0, 5), classes=["a", "!", "c"])])
    widget.highlighted = "!"
    widget.set = "short"
    assert (widget.frame, widget.highlighted) == (1, "!")
    widget.highlighted = "a"
    widget.set = "yelp"
    assert (widget.frame, widget.highlighted) == (1, "")


def test_points_come_back_within_half_a_step_of_sixteen_bits():
    given = frames()
    given["max"]["points"] = 1e-6 + 1e-3 * given["max"]["points"]
    widget = scope([sentences("first"), sentences(frames=given)], set="yelp")
    for panel, (kind, made) in zip(widget.sets[1]["panels"], given.items(), strict=True):
        spans = np.ptp(made["points"], axis=(0, 1))
        assert panel["half"] == pytest.approx(spans.max() / 2)
        for e in range(3):
            far = np.abs(widget.at(kind, e) - made["points"][e])
            assert far.max() <= 0.501 * panel["half"] / 32767


def test_one_scale_holds_for_all_of_training():
    wide = np.random.default_rng(0).normal(size=(12, 2))
    points = np.stack([0.01 * wide, 0.1 * wide, wide])
    widget = scope([sentences(frames=frames(mean=moments(points=points)))])
    reach = [np.ptp(widget.at("mean", e)) for e in range(3)]
    np.testing.assert_allclose(reach, np.ptp(wide) * np.array([0.01, 0.1, 1]), rtol=0.01)
    made = sentences(frames=frames(mean=moments(points=points)))
    limits = {scope([made], frame=e).poster().axes[1].get_xlim() for e in range(3)}
    assert len(limits) == 1


def test_of_many_moments_an_even_selection_is_shown_with_both_ends():
    given = sentences(steps=range(0, 80, 2))
    widget = scope([given])
    steps = widget.sets[0]["steps"]
    assert len(steps) == 16
    assert (steps[0], steps[-1], widget.frame) == (0, 78, 15)
    assert set(np.diff(steps)) <= {4, 6}
    for kind, panel in zip(("last", "mean", "max"), widget.sets[0]["panels"], strict=True):
        for e, step in enumerate(steps):
            wanted = given["frames"][kind]
            assert panel["cosine"][e] == pytest.approx(wanted["cosine"][step // 2], rel=1e-3)
            np.testing.assert_allclose(widget.at(kind, e), wanted["points"][step // 2], atol=1e-3)


def test_points_that_all_agree_are_no_division_by_zero():
    widget = scope([sentences(frames=frames(last=moments(points=np.ones((3, 12, 2)))))])
    np.testing.assert_array_equal(widget.at("last"), np.ones((12, 2)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("set", "none"), ("frame", -1), ("frame", 3), ("highlighted", "none")],
)
def test_a_microscope_out_of_range_is_refused(name, value):
    widget = scope()
    before = getattr(widget, name)
    with pytest.raises((ValueError, TraitError)):
        setattr(widget, name, value)
    assert getattr(widget, name) == before
    with pytest.raises((ValueError, TraitError)):
        scope(**{name: value})


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "at least one"),
        ([sentences(), sentences()], "each name once"),
        ([{"name": "a"}], r"'a' lacks \['class_of', 'classes', 'frames', 'label'\]"),
        ([sentences(classes=list("abcdefghij"))], "1 to 9 names"),
        ([sentences(classes=["a", "a", "other"])], "each once"),
        ([sentences(class_of=np.zeros((3, 2), int))], r"\(M,\) whole numbers"),
        ([sentences(class_of=np.zeros(12))], r"\(M,\) whole numbers"),
        ([sentences(class_of=np.arange(12))], r"in 0 ... 2"),
        ([sentences(texts=["a"])], "None or 12"),
        ([sentences(frames={"last": moments()})], r"want \['last', 'mean', 'max'\]"),
        ([sentences(frames=frames(max={"steps": [0]}))], "'max' of set 'yelp' lacks"),
        ([sentences(frames=frames(max=moments(steps=(0, 1, 2))))], "those of 'last'"),
        ([sentences(steps=(0, 0, 1))], "should ascend"),
        ([sentences(frames=frames(mean=moments(m=5)))], r"should be \(3, 12, 2\)"),
        ([sentences(frames=frames(mean=moments(points=np.full((3, 12, 2), np.nan))))], "finite"),
        ([sentences(frames=frames(mean=moments(cosine=[0, np.inf, 1])))], "3 finite values"),
        ([sentences(m=4000, steps=range(20))], "fewer sentences"),
    ],
)
def test_a_bad_set_is_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        scope(sets)


def test_sentences_that_may_not_be_shown_do_not_travel():
    texts = ["open"] + [None] * 11
    for one in (sentences(texts=None), sentences(texts=texts)):
        widget = scope([one])
        assert widget.sets[0]["texts"] == one["texts"]
        assert "sentence" not in json.dumps(widget.sets)
