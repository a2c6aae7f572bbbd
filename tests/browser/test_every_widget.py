"""What every widget does in a page: it follows Python, and shows no text as HTML."""

import pytest
from small_widgets import (
    MAKERS,
    bound_race,
    curve,
    question,
    run,
    scope,
    sentences,
    target,
    text,
)

MARKUP = "<img src=x onerror='document.title=1'>"
TRAITS = {  # what a reader does, what Python then has, and what Python may set
    "RateDistortionExplorer": ([("slider", "End")], {"beta_index": 4}, {"model": "vae3"}),
    "LatentSpace": ([("slider", "Home")], {}, {"z": [0.5, 0.25]}),
    "DamageLab": ([("slider", "Home")], {"alpha": 0}, {"blur": 2}),
    "BoundRace": (
        [("slider:Dimensions", "End")],
        {"dimension": 20},
        {"dimension": 3, "batch": 32},
    ),
    "RamlLottery": ([("slider:Chance", "Home")], {"p": 0.05}, {"p": 0.5, "temperature": 0.5}),
    "Storyteller": ([("slider", "End")], {"temperature": 2}, {"opening": "the oven"}),
    "PatternBench": ([("slider:Units", "End")], {"units": 12}, {"margin": 2.0}),
    "LatentCliff": ([("slider", "Home")], {"places": [0, 1]}, {"measure": "mean_log"}),
    "PoolingRace": (
        [("slider", "Home"), ("radio:steps", "Space"), ("checkbox:plain!", "Space")],
        {"time": 0, "axis": "steps", "shown": ["max"]},
        {"shown": ["plain"], "time": 1},
    ),
    "DispersionMicroscope": (
        [("button:!", "Enter"), ("radio:Other", "Space")],
        {"set": "other", "frame": 1, "highlighted": "!"},
        {"frame": 0},
    ),
    "TemperatureSlider": ([("slider", "End")], {"position": 100}, {"kind": "max"}),
    "ParticleKalman": (
        [("slider:Particles", "End"), ("radio:every step", "Space")],
        {"particles": 64, "criterion": "always"},
        {"particles": 7, "criterion": "ess"},
    ),
    "Chorale": ([("slider:Temperature", "Home")], {"temperature": 0.3}, {"length": 12}),
}


@pytest.mark.parametrize("name", TRAITS)
def test_traits_follow_the_reader_and_the_page_follows_them(kernel_page, name):
    acts, chosen, given = TRAITS[name]
    widget = MAKERS[name]()
    view = kernel_page(widget)
    for control, key in acts:
        role, _, label = control.partition(":")
        view.page.get_by_role(role, name=label or None, exact=role != "slider").first.press(key)
    view.drawn()
    names = list(chosen)
    state = view.page.evaluate("names => names.map(name => kernel.state[name])", names)
    assert state == list(chosen.values())
    assert view.page.evaluate("kernel.saved") >= len(acts)
    widget.set_state(chosen)
    for trait, value in given.items():
        setattr(widget, trait, value)
        view.page.evaluate("pair => kernel.set(...pair)", [trait, value])
    view.settle()
    anew = kernel_page(widget)
    anew.settle()
    assert view.controls() == anew.controls()
    view.page.evaluate("stop()")
    assert view.page.evaluate("kernel.left()") == 0
    view.assert_clean()


def hostile():
    """Return widgets all of whose texts are markup."""
    words = {"badge": MARKUP, "title": MARKUP}
    alone = {"sequences": [{"name": "a", "label": MARKUP, "x": [0, 1]}]}
    sets = sentences(label=MARKUP, classes=[MARKUP, "b", "other"], texts=[MARKUP] * 12)
    options = {
        "RateDistortionExplorer": {"curves": [curve(label=MARKUP)]},
        "LatentSpace": {"label_names": [MARKUP, "b", "c"]},
        "RamlLottery": {"sets": [text(label=MARKUP, texts=[MARKUP] * 14)]},
        "NextSentenceQuiz": {"questions": [question(sentence=MARKUP, options=[MARKUP, "b"])]},
        "GANPlayground": {"targets": [target(label=MARKUP)]},
        "PoolingRace": {"runs": [run(label=MARKUP)]},
        "DispersionMicroscope": {"sets": [sets, sentences("other")]},
        "ParticleKalman": alone,
        "Chorale": {"openings": [{"name": "a", "label": MARKUP, "frames": [[60]]}]},
        "TemperatureSlider": {"examples": [MARKUP, "the pizza"]},
    }
    return [make(**words | options.get(name, {})) for name, make in MAKERS.items()]


def test_text_from_python_is_never_read_as_html(opened):
    view = opened(*hostile())
    assert set(view.page.locator(".dgm-badge").all_inner_texts()) == {MARKUP}
    assert set(view.page.locator(".dgm-title").all_inner_texts()) == {MARKUP}
    view.slider("Ring a sentence").press("ArrowRight")
    view.settle()
    assert view.page.locator(".dgm-sentence").inner_text() == f"{MARKUP} ({MARKUP})"
    assert view.page.locator(".dgm-lot tbody th").first.inner_text() == MARKUP
    assert view.page.locator(f'option:text-is("{MARKUP}")').count() >= 3
    assert view.page.locator(".dgm :is(img, script)").count() == 0
    assert view.page.title() == "Widgets"


TYPED = {  # what is typed, and what a note and the screen reader then say
    "SentenceSteering": [
        ("", "nothing to rewrite yet"),
        (" \u200b\n ", "nothing to rewrite yet"),
        ("zorp quux <b>", "knows none of these words"),
        ("the zorp was great", "Unknown to the model, which can only copy it: “zorp”."),
        ("the pizza 🍕 was ❤️", "can only copy them: “🍕”, “❤”"),
        ("a" * 2000 + " pizza", "…"),
        ("the pizza <script>alert(1)</script> was great", "“script”"),
        ("<img src=x onerror=document.title=1> the pizza", "can only copy"),
    ],
    "InfluenceRuler": [
        ("", "Type a sentence, or pick one"),
        (" \u200b\n ", "Type a sentence, or pick one"),
        ("zorp quux", "“zorp”, “quux”"),
        ("the pizza 🍕 was ❤️", "“🍕”, “❤”"),
        ("the pizza was great " * 100, "Only the first 30 words are read; 370 more are left out."),
        ("a" * 2000, "…"),
        ("the <script>alert(1)</script> was great", "“script”"),
        ("<img src=x onerror=document.title=1> the pizza", "“img”"),
    ],
}
TYPED["TemperatureSlider"] = TYPED["InfluenceRuler"]


@pytest.mark.parametrize("name", TYPED)
def test_whatever_is_typed_is_safe_and_explained(opened, name):
    view = opened(MAKERS[name]())
    box, notes = view.page.get_by_label("Your sentence"), view.page.locator(".dgm-note")
    for sentence, message in TYPED[name]:
        box.fill("the pizza was great")
        view.drawn()
        view.page.locator("[role=status]").evaluate("node => node.replaceChildren()")
        assert not any(message in note for note in notes.all_inner_texts())
        box.fill(sentence)
        view.drawn()
        assert any(message in note for note in notes.all_inner_texts())
        view.page.wait_for_function(
            "message => document.querySelector('[role=status]').textContent.includes(message)",
            arg=message,
        )
        assert view.page.locator(".dgm :is(script, img, b[onclick])").count() == 0
        assert view.page.title() == "Widgets"
        assert view.page.evaluate("document.documentElement.scrollWidth") <= 1280
    view.assert_clean()


@pytest.mark.timing
@pytest.mark.parametrize(
    "make",
    [
        lambda: MAKERS["BoundRace"](dimension=20, batch=256),
        lambda: MAKERS["ParticleKalman"](sequence="twenty", particles=64),
        lambda: bound_race(
            runs=[run(str(i)) for i in range(30)], shown=[str(i) for i in range(30)]
        ),
        lambda: scope(sets=[sentences(m=400, steps=range(12), texts=None)]),
    ],
    ids=["bounds", "particles", "runs", "sentences"],
)
def test_the_largest_that_a_page_may_hold_draw_within_a_frame(opened, make):
    assert opened(make()).p95(16) < 16
