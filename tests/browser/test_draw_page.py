"""Draw a digit in a real browser: each pen, and what a run does."""

import json

import numpy as np
import pytest
import small_widgets as small

from dgm import coding
from dgm_book.widgets import DrawADigit, PageWeights


def toy(**options):
    layers = small.network(2, 64, hidden=16, seed=1)
    options = {"temperatures": (10, 40), **options}
    return DrawADigit(PageWeights({"toy": layers}), "toy", (8, 8), **options)


def slow(**options):
    """A decoder as large as the published one, which takes many times longer than a test waits."""
    layers = [small.network(5, 64, hidden=64)[0], small.network(64, 784, hidden=64)[2]]
    return DrawADigit(PageWeights({"slow": layers}), "slow", (28, 28), **options)


def state(tab, name):
    return tab.page.locator(".dgm").get_attribute(f"data-{name}")


def at_run(tab, expected):
    script = "expected => document.querySelector('.dgm').dataset.run === expected"
    tab.page.wait_for_function(script, arg=expected)
    tab.settle()


def running(tab):
    tab.page.wait_for_function("document.querySelector('.dgm').dataset.run === 'running'")
    tab.page.wait_for_function("document.querySelector('.dgm progress').value > 0")


def result(tab):
    at_run(tab, "done")
    return json.loads(state(tab, "result"))


def presets(tab):
    return tab.page.locator("select[id$=-preset]")


def temperatures(tab, count):
    tab.page.get_by_label("Temperatures").select_option(str(count))


def pad(tab):
    return tab.page.locator("canvas").first


def corners(tab):
    box = pad(tab).bounding_box()
    shares = ((0.3, 0.2), (0.7, 0.2), (0.45, 0.8))
    return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in shares]


def draw_by_mouse(tab):
    tab.drag(*corners(tab), steps=6)


def draw_by_touch(tab):
    session = tab.page.context.new_cdp_session(tab.page)
    kinds = ("touchStart", "touchMove", "touchMove", "touchEnd")
    for kind, place in zip(kinds, [*corners(tab), None], strict=True):
        points = [{"x": place[0], "y": place[1]}] if place else []
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def draw_by_keys(tab):
    keys = "Shift+ArrowUp Space ArrowRight ArrowRight Shift+ArrowDown Shift+ArrowDown Space"
    for key in keys.split():
        pad(tab).press(key)


@pytest.mark.parametrize("draw", [draw_by_mouse, draw_by_touch, draw_by_keys])
def test_what_is_drawn_is_annealed(opened, draw):
    touch = {"has_touch": True} if draw is draw_by_touch else {}
    tab = opened(toy(), **touch)
    tab.button("Clear").click()
    tab.settle()
    empty, before = tab.pictures(), int(state(tab, "moved"))
    draw(tab)
    curve = result(tab)  # no button: it starts when the pen has rested
    assert int(state(tab, "moved")) > before
    assert tab.pictures()[:2] != empty[:2]
    assert presets(tab).input_value() == ""
    assert len(curve["log_z"]) == 25
    assert np.isfinite(curve["rate"]).all()
    assert curve["check"]["lower"] < curve["check"]["upper"] + 30
    given = toy()
    given.curve = curve
    shown = opened(given)
    assert shown.pictures()[2:11] == tab.pictures()[2:11]  # a curve from Python is shown alike
    tab.assert_clean()


@pytest.mark.parametrize(("upper", "clear"), [(-10.4, False), (-9.0, True)])
def test_a_gap_within_its_error_is_not_told_from_nothing(opened, upper, clear):
    drawn, names = toy(), ("rate", "distortion", "ess", "acceptance", "log_z")
    check = {"beta": 1.0, "lower": -10.0, "upper": upper, "error": 0.3}
    curve = {"beta": list(drawn.betas), "codes": [[0.0, 0.0]] * 25, "seconds": 2.0, "check": check}
    drawn.curve = curve | {name: [1.0] * 25 for name in names}
    text = opened(drawn).page.locator(".dgm-draw-check .dgm-caption").inner_text()
    assert f"{upper + 10:.2f} ± 0.30 nats".replace("-", "−") in text
    assert ("told from 0" in text) != clear


@pytest.mark.parametrize("script", ["", "delete globalThis.Worker"])
def test_a_drawing_is_sent_as_bytes_and_received_from_them_alone(opened, script):
    tab = opened(toy(), script=script)
    tab.button("Anneal").click()
    result(tab)
    tab.button("Send as a file").click()
    tab.page.wait_for_function("document.querySelector('.dgm').dataset.sent")
    tab.settle()
    sent, field = json.loads(state(tab, "sent")), tab.page.get_by_label("The file")
    data = bytes.fromhex(field.input_value())
    assert coding.read_index(data) == sent["index"] <= sent["count"]
    assert 0 <= sent["rate"] < 8
    own = tab.page.locator(".dgm-draw-file")
    assert f"{len(data)} bytes" in own.inner_text()
    picture = tab.pictures()[-1]
    for typed, valid in (
        ("", False),
        ("ff", False),
        ("zz", False),
        ("00", True),
        (data.hex(), True),
    ):
        field.fill(typed)
        tab.settle()
        assert (field.get_attribute("aria-invalid") == "true") == (not valid and typed != "")
        assert ("no such file" in own.inner_text()) == (not valid and typed != "")
        assert (tab.pictures()[-1] == picture) == (typed == data.hex())
    tab.assert_clean()


@pytest.mark.parametrize("script", ["", "delete globalThis.Worker"])
def test_a_run_can_be_stopped_at_any_moment(opened, script):
    tab = opened(slow(temperatures=[20_000]), script=script)
    tab.button("Anneal").click()
    running(tab)
    tab.button("Stop").click()
    at_run(tab, "stopped")
    before = tab.pictures()
    tab.page.wait_for_timeout(400)
    assert tab.pictures() == before
    assert tab.page.locator(".dgm-note").inner_text() == "Stopped."
    assert tab.button("Anneal").is_visible()
    assert state(tab, "result") is None
    tab.assert_clean()


def test_a_new_stroke_cancels_the_run_and_the_next_is_the_run_alone(opened):
    tab = opened(slow(temperatures=[20_000, 2]))
    temperatures(tab, 20_000)
    running(tab)
    before = int(state(tab, "moved"))
    draw_by_mouse(tab)
    assert int(state(tab, "moved")) > before
    running(tab)  # the one with the new stroke
    tab.button("Clear").click()
    at_run(tab, "idle")
    tab = opened(toy(temperatures=(3000, 40)))
    presets(tab).select_option("5")
    alone = result(tab)
    temperatures(tab, 3000)
    running(tab)
    temperatures(tab, 40)
    presets(tab).select_option("6")
    presets(tab).select_option("5")
    assert {**result(tab), "seconds": 0} == {**alone, "seconds": 0}


BROKEN = """globalThis.Worker = class {
  constructor() { setTimeout(() => this.onerror(new Event("error"))); }
  postMessage() {}
  terminate() {}
};"""


def test_without_a_worker_the_page_anneals_itself(opened):
    runs = []
    for script in ("", "delete globalThis.Worker", BROKEN, "delete globalThis.WebAssembly"):
        tab = opened(toy(), script=script)
        tab.button("Anneal").click()
        runs.append(result(tab))
        tab.assert_clean()
    for other in runs[1:3]:
        assert other["log_z"] == runs[0]["log_z"]
    # Without WebAssembly sums are made in another order, which chaos enlarges.
    assert runs[3]["log_z"][0] == pytest.approx(runs[0]["log_z"][0], rel=0.01)


GAPS = """() => {
  globalThis.gaps = [];
  let last = performance.now();
  const look = now => { gaps.push(now - last); last = now; requestAnimationFrame(look); };
  requestAnimationFrame(look);
}"""


@pytest.mark.timing
def test_the_whole_takes_at_most_three_seconds_and_the_page_stays_awake(
    opened, slowness, record_testsuite_property
):
    tab = opened(slow())
    for _ in range(3):  # other work on this machine may hold up one
        tab.page.evaluate("performance.clearMeasures()")
        tab.page.evaluate(GAPS)
        tab.button("New seed").click()
        seconds = result(tab)["seconds"]
        gaps, frames = (np.percentile(v, 95) for v in (tab.page.evaluate("gaps"), tab.frames()))
        if seconds <= 3 * slowness and gaps < 50 and frames < 16:
            break
    record_testsuite_property("draw_seconds", seconds)
    record_testsuite_property("draw_frame_p95_ms", float(frames))
    assert seconds <= 3 * slowness
    assert gaps < 50
    assert frames < 16
