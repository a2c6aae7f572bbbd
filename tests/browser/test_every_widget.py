"""What every widget does in a page: it follows reader and Python, and shows no text as HTML."""

import re

import pytest
from small_widgets import (
    ACTS,
    EXAMPLES,
    MAKERS,
    SETTINGS,
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
NO_CONTROLS = ("LatentSpace", "NextSentenceQuiz", "PatternBench")
# What a widget says, but for the time that it took.
SHOWN = "() => document.querySelector('.dgm-body').innerText.replace(/[\\d.]+ ms/, '')"


def act(view, name):
    for control, key in ACTS[name][0]:
        role, _, label = control.partition(":")
        exact = role not in ("slider", "button")
        view.page.get_by_role(role, name=label or None, exact=exact).first.press(key)
    view.settle()


@pytest.mark.parametrize("name", MAKERS)
def test_python_follows_the_reader_and_the_page_follows_python(kernel_page, name):
    widget, chosen, given = MAKERS[name](), ACTS[name][1], SETTINGS[name]
    view = kernel_page(widget)
    view.settle()
    act(view, name)
    state = view.page.evaluate("names => names.map(name => kernel.state[name])", list(chosen))
    assert state == list(chosen.values())
    assert view.page.evaluate("kernel.saved") >= len(ACTS[name][0])
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


@pytest.mark.parametrize("name", MAKERS)
def test_nothing_moves_unasked_and_reset_takes_everything_back(opened, name):
    view = opened(MAKERS[name](), reduced_motion="reduce")
    for _ in range(10):  # what takes longer is computed in pauses
        drawn = len(view.frames())
        view.page.wait_for_timeout(200)
        if len(view.frames()) == drawn:
            break
    assert len(view.frames()) == drawn
    first = view.controls(), view.page.evaluate(SHOWN), view.pictures()
    act(view, name)
    assert (view.controls(), view.page.evaluate(SHOWN), view.pictures()) != first
    if name != "NextSentenceQuiz":  # which goes on to new questions
        view.button("Reset").press("Enter")
        for _ in range(40):
            if view.page.evaluate(SHOWN) == first[1]:
                break
            view.page.wait_for_timeout(100)
        # The empty axes of a drawing keep their last scale.
        assert view.page.evaluate(SHOWN) == first[1] or name == "DrawADigit"
        view.settle()
        assert view.controls() == first[0]
        assert view.pictures() == first[2]
    view.page.emulate_media(color_scheme="dark")
    view.page.evaluate("() => void (document.documentElement.dataset.theme = 'dark')")
    view.settle()
    for width in (1280, 390):
        view.page.set_viewport_size({"width": width, "height": 800})
        view.settle()
        assert view.page.evaluate("document.documentElement.scrollWidth") <= width
    view.assert_clean()


def link_to_the_view(view):
    """Return what the button for it gives where no clipboard may be written to."""
    view.button("Copy link to this view").press("Enter")
    field = view.page.get_by_label("Link to this view")
    field.wait_for()
    assert view.page.evaluate("getSelection().toString()") == field.input_value()
    return field.input_value()


def rest(view):
    """Waits for runs that a widget makes between its frames, then for its next frame."""
    view.settle()
    view.page.wait_for_function("!document.body.innerText.includes('still being made')")
    view.settle()


@pytest.mark.parametrize("name", MAKERS)
def test_a_view_travels_as_a_link(kernel_page, opened, visit, name):
    source = kernel_page(MAKERS[name]())
    for pair in SETTINGS[name].items():
        source.page.evaluate("pair => kernel.set(...pair)", pair)
    source.settle()
    expected = source.controls()
    address = link_to_the_view(source).removeprefix("about:blank")
    assert re.fullmatch(r"#[a-z]+=[\w:;,./%-]+", address)
    view = opened(MAKERS[name]())
    rest(view)
    first, shown = view.controls(), (view.page.evaluate(SHOWN), view.pictures())
    assert first != expected or name in NO_CONTROLS
    view.page.evaluate("address => { location.hash = address }", address)
    view.page.get_by_role("status").filter(has_text="Set by a link").wait_for()
    rest(view)
    assert view.controls() == expected
    assert (view.page.evaluate(SHOWN), view.pictures()) != shown
    view.page.evaluate("location.hash = '#-=,&:nothing'")
    fresh = visit(view.page.url.partition("#")[0] + address).ready(1)
    rest(fresh)
    assert fresh.controls() == expected
    view.page.go_back()
    rest(view)
    assert view.page.evaluate(SHOWN) == fresh.page.evaluate(SHOWN)
    if name != "NextSentenceQuiz":  # which goes on to new questions
        fresh.button("Reset").press("Enter")
        fresh.settle()
        assert fresh.controls() == first
    view.assert_clean()
    fresh.assert_clean()


PROSE = """<p style="margin-top:{}px">A long text.</p><p><a href="#damage=alpha:0.25,blur:2">set
the blur to 2</a>, <a href="#damage=alpha:7,blur:x,nothing:1,%">nonsense</a></p>"""


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_link_in_the_text_sets_the_widget_and_the_reader_stays_there(
    tmp_path, write_page, visit, serve, scheme
):
    path = write_page(tmp_path, MAKERS["DamageLab"]())
    text = path.read_text("utf-8")
    path.write_text(text.replace("</main>", f"{PROSE.format(900)}</main>"), "utf-8")
    url = path.as_uri() if scheme == "file" else f"{serve(tmp_path)}/{path.name}"
    view = visit(url).ready(1)
    blur, link = view.slider("Blur"), view.page.get_by_role("link", name="set the blur to 2")
    link.focus()
    view.drawn()
    place = view.page.evaluate("scrollY")
    for _ in range(2):  # also when the address says it already
        link.press("Enter")
        view.settle()
        assert (blur.input_value(), view.slider("Weight").input_value()) == ("2", "0.25")
        assert view.page.evaluate("scrollY") == place
        assert link.evaluate("node => node === document.activeElement")
        blur.evaluate("node => { node.value = 0; node.dispatchEvent(new Event('input')); }")
    note = view.page.get_by_role("status").filter(has_text="alpha 0.25, blur 2")
    assert note.evaluate("node => node.getAttribute('role')") == "status"
    view.page.get_by_role("link", name="nonsense").click()
    view.settle()
    assert (blur.input_value(), view.slider("Weight").input_value()) == ("0", "0.25")
    view.assert_clean()


def test_a_link_pressed_before_the_widget_is_there_is_followed_later(tmp_path, write_page, visit):
    path = write_page(tmp_path, MAKERS["DamageLab"]())
    text = path.read_text("utf-8").replace("<script src='widgets.js'></script>", "")
    path.write_text(text.replace("</main>", f"{PROSE.format(900)}</main>"), "utf-8")
    view = visit(path.as_uri())
    view.page.get_by_role("link", name="set the blur to 2").press("Enter")
    place = view.page.evaluate("scrollY")
    view.page.add_script_tag(path=str(tmp_path / "widgets.js"))
    view.ready(1).settle()
    assert view.slider("Blur").input_value() == "2"
    assert view.page.evaluate("document.activeElement.textContent").startswith("set")
    assert place > 0
    view.assert_clean()


def test_who_comes_by_a_link_to_a_view_sees_it(tmp_path, write_page, visit):
    path = write_page(tmp_path, MAKERS["DamageLab"]())
    text = path.read_text("utf-8")
    path.write_text(text.replace("<h1>", f"{PROSE.format(3000)}<h1>"), "utf-8")
    view = visit(f"{path.as_uri()}#damage=blur:2").ready(1)
    view.page.wait_for_function("scrollY > 2000")
    assert view.page.locator(".dgm").evaluate("node => node.getBoundingClientRect().top") < 450


PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True}
ROOM = "() => { document.body.style.padding = '800px 8px 2000px'; }"


@pytest.mark.parametrize("name", MAKERS)
def test_a_widget_on_a_phone_in_forced_colours_and_on_paper(
    tmp_path, write_page, visit, serve, no_storage, name
):
    """Where storage is forbidden, too; and its poster where there is no JavaScript."""
    path = write_page(tmp_path, MAKERS[name]())
    plain = visit(path.as_uri(), java_script_enabled=False)
    picture = plain.page.get_by_role("img")
    assert picture.is_visible()
    assert picture.evaluate("image => image.naturalWidth") > 99
    view = visit(f"{serve(tmp_path)}/{path.name}", no_storage, **PHONE).ready(1)
    view.settle()
    assert view.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert view.axe() == ""
    view.page.evaluate(ROOM)
    rest(view)
    before = view.controls(), view.page.evaluate(SHOWN)
    for drawing in view.page.locator(".dgm-body :is(svg, canvas):not(.dgm-draw-box *)").all()[:4]:
        box = drawing.bounding_box()
        if box is None or box["height"] < 60:
            continue
        drawing.evaluate("node => node.scrollIntoView({ block: 'center' })")
        start, box = view.page.evaluate("scrollY"), drawing.bounding_box()
        view.touch(box["x"] + 10, box["y"] + 0.8 * box["height"], *[(0, -30)] * 5)
        view.page.wait_for_function("start => scrollY > start + 50", arg=start)
    rest(view)
    assert (view.controls(), view.page.evaluate(SHOWN)) == before
    view.page.emulate_media(media="print")
    view.settle()
    assert view.page.locator(".dgm-body").is_visible()
    assert not view.page.locator(".dgm-foot").is_visible()
    assert view.page.evaluate("document.documentElement.scrollWidth") <= 390
    view.page.emulate_media(media="screen")
    assert view.faded_marks()[1] == []
    view.assert_clean()


@pytest.mark.parametrize(
    ("name", "handle"),
    [
        ("RateDistortionExplorer", ".dgm-rd-dot"),
        ("LatentSpace", ".dgm-ls-ring"),
        ("PatternBench", ".dgm-pb-dot"),
        ("SentenceSteering", ".dgm-pad .dgm-ring"),
    ],
)
def test_a_finger_moves_a_handle_and_taps(opened, name, handle):
    changes = {"attribute": "captions"} if name == "SentenceSteering" else {}
    view = opened(MAKERS[name](**changes), **PHONE)
    view.page.evaluate(ROOM)
    node = view.page.locator(handle).first
    node.evaluate("node => node.ownerSVGElement.scrollIntoView({ block: 'center' })")
    start, spot = view.page.evaluate("scrollY"), node.bounding_box()
    x, y = spot["x"] + spot["width"] / 2 + 9, spot["y"] + spot["height"] / 2 + 9
    view.touch(x, y, *[(-12, -8)] * 5)
    view.settle()
    assert view.page.evaluate("scrollY") == start
    dragged = node.bounding_box()
    assert (dragged["x"], dragged["y"]) != (spot["x"], spot["y"])
    if name != "PatternBench":  # whose points do not come to a finger
        view.touch(x, y)
        view.settle()
        assert node.bounding_box() != dragged
    view.assert_clean()


def test_controls_are_right_before_anything_is_drawn(kernel_page):
    # JupyterLab lays out no cell that is out of sight, yet its inputs can be focused.
    still = "globalThis.requestAnimationFrame = () => 1;"
    view = kernel_page(MAKERS["ParticleKalman"](sequence="twenty", criterion="always"), still)
    assert view.slider("Particles").input_value() == "16"
    assert view.radio("every step").is_checked()
    assert view.page.get_by_label("Data").input_value() == "twenty"
    view.slider("Particles").press("ArrowRight")
    assert view.page.evaluate("[kernel.state.particles, kernel.saved]") == [17, 1]


def hostile():
    """Return widgets all of whose texts are markup."""
    words = {"badge": MARKUP, "title": MARKUP}
    sets = sentences(label=MARKUP, classes=[MARKUP, "b", "other"], texts=[MARKUP] * 12)
    options = {
        "RateDistortionExplorer": {"curves": [curve(label=MARKUP)]},
        "RamlLottery": {"sets": [text(label=MARKUP, texts=[MARKUP] * 14)]},
        "NextSentenceQuiz": {"questions": [question(sentence=MARKUP, options=[MARKUP, "b"])]},
        "GANPlayground": {"targets": [target(label=MARKUP)]},
        "PoolingRace": {"runs": [run(label=MARKUP)]},
        "DispersionMicroscope": {"sets": [sets, sentences("other")]},
        "TemperatureSlider": {"examples": [MARKUP, *EXAMPLES]},
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
    assert view.page.locator(f'option:text-is("{MARKUP}")').count() >= 2
    assert view.page.locator(".dgm :is(img, script)").count() == 0
    assert view.page.title() == "Widgets"


TYPED = {  # what is typed, and what a note and the screen reader then say
    "SentenceSteering": [
        ("", "nothing to rewrite yet"),
        (" \u200b\n ", "nothing to rewrite yet"),
        ("zorp quux <b>", "I know none of these words"),
        ("the zorp was great", "words that I know, so left as they are: “zorp”."),
        ("the pizza 🍕 was ❤️", "“🍕”, “❤”"),
        ("הפיצה was great", "“הפיצה”"),
        ("a" * 1900 + " pizza", "…"),
        ("the pizza <script>alert(1)</script> was great", "“script”"),
        ("<img src=x onerror=document.title=1> the pizza", "“img”"),
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
        view.settle()
        view.page.locator(".dgm > .dgm-status").evaluate("node => node.replaceChildren()")
        assert not any(message in note for note in notes.all_inner_texts())
        box.fill(sentence)
        view.settle()
        assert any(message in note for note in notes.all_inner_texts())
        view.page.locator("[role=status]", has_text=message).wait_for(state="attached")
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
