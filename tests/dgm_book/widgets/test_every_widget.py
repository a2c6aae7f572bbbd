"""What each widget keeps, refuses and sends to its page."""

import base64
import json
import re

import numpy as np
import pytest
from ipywidgets import embed
from small_widgets import (
    EXAMPLES,
    MAKERS,
    OPENINGS,
    bound_race,
    explorer,
    hyper_weights,
    lottery,
    plane,
    pooling_weights,
    row,
    ruler,
    run,
    scope,
    sentences,
    temperature,
    text,
)

from dgm_book import widgets
from dgm_book.widgets.frame import FOLDER, BookWidget

CLASSES = [
    c
    for c in vars(widgets).values()
    if isinstance(c, type) and issubclass(c, BookWidget) and c is not BookWidget
]
KILOBYTES = {"GANPlayground": 38, "DrawADigit": 33}
KILOBYTES |= dict.fromkeys(("Chorale", "ScaleWeather", "SentenceSteering", "SwitchNow"), 26)


@pytest.mark.parametrize("widget", CLASSES)
def test_each_module_stands_alone_and_is_small(widget):
    assert not re.search(
        r"\bimport\s*[\"'{(*]|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
    )
    assert re.search(r";export\{\w+ as default\};$", widget._esm.strip())
    assert len(widget._esm.encode()) < 1000 * KILOBYTES.get(widget.__name__, 20)


def test_each_widget_has_a_small_committed_poster(pytestconfig):
    assert MAKERS.keys() == {widget.__name__ for widget in CLASSES}
    posters = {path.stem: path.stat().st_size for path in FOLDER.glob("posters/*")}
    assert posters.keys() == MAKERS.keys()
    assert max(posters.values()) <= 25_000
    assert (pytestconfig.rootpath / "book/_static/widgets.js").stat().st_size < 5000


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_where_there_is_no_page_a_poster_and_a_stable_text_show(make, mimebundle):
    mimebundle(make, 25_001)


def test_a_widget_without_a_poster_has_a_text():
    class Plain(BookWidget):
        pass

    data, _ = Plain(title="No picture")._repr_mimebundle_()
    assert data["text/plain"] == "Plain('No picture')"
    assert "image/png" not in data


def size(*output):
    state = embed.dependency_state(output, drop_defaults=False)
    text = json.dumps(state, allow_nan=False)
    return len(text) - sum(len(widget._css) for widget in output)


@pytest.mark.parametrize("name", MAKERS)
def test_a_small_widget_s_state_is_json_and_small(name):
    assert size(MAKERS[name]()) < 170_000


def test_the_largest_widgets_are_small():
    dice = np.random.default_rng(0)
    measures = ("kl", "information", "reconstruction", "log_likelihood", "active_units")
    rows = [row(s, **dict(zip(measures, dice.normal(size=5), strict=True))) for s in range(30)]
    assert size(bound_race(runs=[run(str(i), measured=rows) for i in range(30)])) < 200_000
    large = [sentences(name, range(20), 400, texts=["x" * 40] * 400) for name in ("a", "b")]
    assert size(scope(sets=large)) < 350_000
    scores = {name: dice.normal(size=(6, 12)) for name in ("phase I", "likelihood")}
    large = [text(a, texts=["x" * 60] * 40, anchors=range(6), scores=scores) for a in ("a", "b")]
    assert size(lottery(sets=large)) < 50_000


@pytest.mark.parametrize(
    ("weights", "makers"),
    [
        (MAKERS["DrawADigit"]().weights, [explorer, plane]),
        (pooling_weights(), [ruler, temperature]),
        (hyper_weights(), [MAKERS["SwitchNow"], MAKERS["ScaleWeather"]]),
    ],
)
def test_two_widgets_share_one_copy_of_the_weights(weights, makers):
    pair = [make(weights=weights) for make in makers]
    state = embed.dependency_state(pair, drop_defaults=False)
    reference = f"IPY_MODEL_{weights.model_id}"
    assert [state[w.model_id]["state"]["weights"] for w in pair] == [reference] * 2
    assert json.dumps(state).count(base64.b64encode(weights.data).decode()) == 1


SETTINGS = {  # a widget: what it opens with, and what its page may set
    "RateDistortionExplorer": (
        {"model": "vae2", "beta_index": 2},
        {"model": "vae3", "beta_index": 1},
    ),
    "LatentSpace": ({"classes": ["0", "1", "2"]}, {"z": [0.5, -1.25]}),
    "DamageLab": ({"alpha": 0.5, "blur": 0}, {"alpha": 0.25, "blur": 1}),
    "DrawADigit": (
        {"seed": 0},
        {
            "drawing": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5]],
            "seed": 7,
            "temperatures": 75,
            "curve": {"beta": [1.0], "rate": [2.0], "distortion": [3.0], "log_z": [-5.0]},
        },
    ),
    "BoundRace": (
        {"correlation": 0.9, "dimension": 1, "batch": 64, "seed": 0},
        {"correlation": 0.25, "dimension": 7, "batch": 2, "seed": 9999},
    ),
    "RamlLottery": (
        {"set": "chain", "anchor": 0, "critic": "phase I", "p": 0.3, "temperature": 1.0},
        {"anchor": 1, "critic": "", "p": 0.9, "temperature": 0.25},
    ),
    "Storyteller": (
        {"opening": OPENINGS[0], "temperature": 1.0, "seed": 0},
        {"opening": "the", "temperature": 1.5, "seed": 3, "written": {"phase I": ["the sea"]}},
    ),
    "NextSentenceQuiz": (
        {"rounds": 5, "critics": ["a", "b"], "answers": [], "first": 0},
        {"answers": [1, 0], "first": 3},
    ),
    "GANPlayground": (
        {"target": "eight", "seed": 0, "width": 10, "rate": 0.002, "decay": True},
        {"target": "single", "seed": 7, "weight": 0.5, "margin": 1.5, "decay": False},
    ),
    "PatternBench": (
        {"units": 10, "margin": 1.0, "seed": 0, "zeta": 1e-3},
        {"points": [[0.1 * k, -0.1 * k] for k in range(8)], "units": 3, "margin": 2.0},
    ),
    "SentenceSteering": (
        {"sentence": EXAMPLES[0], "target": [0, 0, 1], "effort": 5},
        {"sentence": "hello", "target": [0.25, 0.5, 0.25], "effort": 2},
    ),
    "AttributeSwitch": (
        {"example": 0, "place": 2, "backward": False},
        {"example": 1, "place": 5, "backward": True},
    ),
    "LatentCliff": (
        {"source": 0, "places": [1, 1], "measure": "log_mean"},
        {"source": 1, "places": [0, 2], "measure": "mean_log"},
    ),
    "PoolingRace": (
        {"time": 1.0, "highlighted": "", "shown": ["max", "plain"], "axis": "seconds"},
        {"time": 0.25, "highlighted": "max", "shown": [], "axis": "steps"},
    ),
    "DispersionMicroscope": (
        {"set": "yelp", "frame": 2, "highlighted": ""},
        {"set": "other", "frame": 1, "highlighted": "a"},
    ),
    "InfluenceRuler": (
        {"sentence": EXAMPLES[0], "own_scale": False, "influences": {}},
        {"sentence": "hello", "own_scale": True, "influences": {"max": [0.5]}},
    ),
    "TemperatureSlider": (
        {"sentence": EXAMPLES[0], "kind": "last", "position": 60},
        {"sentence": "hello", "kind": "mean", "position": 3},
    ),
    "ParticleKalman": (
        {"sequence": "five", "particles": 16},
        {"sequence": "twenty", "particles": 64, "criterion": "never", "seed": 9999},
    ),
    "Chorale": (
        {"model": "VRNN"},
        {
            "opening": [[], [60, 64]],
            "temperature": 0.5,
            "tempo": 60,
            "length": 8,
            "seed": 7,
            "piece": [[60]] * 10,
        },
    ),
    "SwitchNow": ({"models": ["VHRNN", "VRNN"], "seed": 0}, {"seed": 9, "steps": 70}),
    "ScaleWeather": ({"freeze": 0.0, "seed": 0}, {"freeze": 0.35, "seed": 9}),
}


@pytest.mark.parametrize("name", MAKERS)
def test_what_the_page_sets_arrives_in_python(name):
    before, after = SETTINGS[name]
    widget, changes = MAKERS[name](), {}
    assert {trait: getattr(widget, trait) for trait in before} == before
    widget.observe(lambda change: changes.update({change["name"]: change["new"]}))
    widget.set_state(after)
    assert {trait: getattr(widget, trait) for trait in after} == after
    assert changes.items() >= after.items()
