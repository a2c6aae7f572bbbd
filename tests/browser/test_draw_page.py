"""Draw a digit in a real browser: its curve against the closed form, and each pen."""

import json

import numpy as np
import pytest
import torch

from dgm.papers.rate_distortion import linear_gaussian_curve
from dgm_book.widgets import DrawADigit, PageWeights

INKED = """([strokes, height, width]) => Array.from(inked(strokes, height, width))"""
GAPS = """() => {
  globalThis.gaps = [];
  let last = performance.now();
  const look = now => { gaps.push(now - last); last = now; requestAnimationFrame(look); };
  requestAnimationFrame(look);
}"""


@pytest.fixture(scope="module")
def library(page_of):
    """A page that holds what makes images of drawings."""
    return page_of("models/drawing.js")


def network(sizes, activations, seed=0, gain=1.0):
    """A perceptron as a module, and its layers as `PageWeights` takes them."""
    dice = torch.Generator().manual_seed(seed)
    parts, layers = [], []
    kinds = {"tanh": torch.nn.Tanh, "sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}
    for inputs, outputs, activation in zip(sizes, sizes[1:], activations, strict=False):
        layer = torch.nn.Linear(inputs, outputs).requires_grad_(False)
        layer.weight.copy_(gain * torch.randn(outputs, inputs, generator=dice))
        layer.bias.copy_(0.3 * torch.randn(outputs, generator=dice))
        parts += [layer.double(), *([kinds[activation]()] if activation in kinds else [])]
        layers.append((layer.weight, layer.bias, activation))
    return torch.nn.Sequential(*parts), layers


def errors(values, expected):
    """Mean difference in standard errors over the first axis."""
    apart = np.asarray(values) - np.asarray(expected)
    return apart.mean(0) / (apart.std(0, ddof=1) / np.sqrt(len(apart)))


BETAS = np.geomspace(0.05, 5, 6).tolist()


def assert_closed_form(log_z, distortion, rate, exact):
    """Runs (S, R) agree with the closed form, and with one another."""
    # The mean of w itself is unbiased: log Z is below, by less than its variance.
    assert np.abs(errors(np.exp(log_z - exact.log_z[:, 0].numpy()), 1)).max() < 4
    assert np.abs(errors(distortion, exact.distortion[:, 0])).max() < 4
    assert np.abs(errors(rate, exact.rate[:, 0])).max() < 4
    np.testing.assert_allclose(rate + exact.beta.numpy() * distortion + log_z, 0, atol=1e-9)


def ink(page, strokes, height=28, width=28):
    return np.reshape(page.evaluate(INKED, [strokes, height, width]), (height, width))


# The widget


def toy(**options):
    layers = network([2, 16, 64], ["tanh", "sigmoid"], seed=1)[1]
    options = {"temperatures": (10, 40), **options}
    return DrawADigit(PageWeights({"toy": layers}), "toy", (8, 8), **options)


def slow(**options):
    """A decoder as large as the published one, which takes many times longer than a test waits."""
    layers = network([5, 64, 784], ["tanh", "sigmoid"], seed=1, gain=0.4)[1]
    return DrawADigit(PageWeights({"slow": layers}), "slow", (28, 28), **options)


def state(tab, name):
    return tab.page.locator(".dgm").get_attribute(f"data-{name}")


def at_run(tab, expected):
    tab.page.wait_for_function(
        "wanted => document.querySelector('.dgm').dataset.run === wanted", arg=expected
    )
    tab.settle()


def result(tab):
    at_run(tab, "done")
    return json.loads(state(tab, "result"))


def presets(tab):
    return tab.page.locator("select[id$=-preset]")


def pad(tab):
    return tab.page.locator("canvas").first


def corners(tab):
    box = pad(tab).bounding_box()
    return [
        (box["x"] + share * box["width"], box["y"] + high * box["height"])
        for share, high in ((0.3, 0.2), (0.7, 0.2), (0.45, 0.8))
    ]


def draw_by_mouse(tab):
    places = corners(tab)
    tab.page.mouse.move(*places[0])
    tab.page.mouse.down()
    for place in places[1:]:
        tab.page.mouse.move(*place, steps=6)
    tab.page.mouse.up()


TOUCH = """([pad, places]) => {
  const tell = (type, [x, y]) => pad.dispatchEvent(new PointerEvent(type, {
    pointerId: 7, pointerType: "touch", isPrimary: true, bubbles: true, cancelable: true,
    clientX: x, clientY: y, buttons: type === "pointerup" ? 0 : 1,
  }));
  pad.setPointerCapture = () => {};
  tell("pointerdown", places[0]);
  places.slice(1).forEach(place => tell("pointermove", place));
  tell("pointerup", places.at(-1));
}"""


def draw_by_touch(tab):
    tab.page.evaluate(TOUCH, [pad(tab).element_handle(), corners(tab)])


def draw_by_keys(tab):
    pad(tab).press("Shift+ArrowUp")
    pad(tab).press("Space")
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowDown", "Shift+ArrowDown"):
        pad(tab).press(key)
    pad(tab).press("Space")


@pytest.mark.parametrize("draw", [draw_by_mouse, draw_by_touch, draw_by_keys])
def test_what_is_drawn_is_annealed(opened, draw):
    touch = {"has_touch": True} if draw is draw_by_touch else {}
    tab = opened(toy(), **touch)
    tab.button("Clear").click()
    tab.settle()
    empty = tab.pictures()
    before = int(state(tab, "moved"))
    draw(tab)
    curve = result(tab)  # no button: it starts when the pen has rested
    assert int(state(tab, "moved")) > before
    assert tab.pictures()[:2] != empty[:2]
    assert presets(tab).input_value() == ""
    assert len(curve["log_z"]) == 25
    assert np.isfinite(curve["rate"]).all()
    assert curve["check"]["lower"] < curve["check"]["upper"] + 30
    tab.assert_clean()


@pytest.mark.parametrize(("upper", "clear"), [(-10.4, False), (-9.0, True)])
def test_a_gap_within_its_error_is_not_told_from_nothing(opened, upper, clear):
    drawn = toy()
    points = {name: [1.0] * 25 for name in ("rate", "distortion", "ess", "acceptance")}
    check = {"beta": 1.0, "lower": -10.0, "upper": upper, "error": 0.3}
    drawn.curve = {
        "beta": list(drawn.betas), "log_z": [-1.0] * 25, "codes": [[0.0, 0.0]] * 25, **points,
        "seconds": 2.0, "check": check,
    }  # fmt: skip
    tab = opened(drawn)
    text = tab.page.locator(".dgm-draw-check .dgm-caption").inner_text()
    assert f"{upper + 10:.2f} ± 0.30 nats".replace("-", "−") in text
    assert ("told from 0" in text) != clear


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_a_preset_is_chosen_and_annealed_by_keyboard(opened, scheme):
    tab = opened(toy(), scheme=scheme)
    assert state(tab, "run") == "idle"
    before = tab.pictures()
    choice = presets(tab)
    assert choice.input_value() == "0"
    choice.select_option("4")
    curve = result(tab)
    after = tab.pictures()
    assert after[0] != before[0]
    # The pad, the image, nine reconstructions and the model's own image.
    assert len(set(after)) == len(after) == 12
    shown = tab.page.locator(".dgm-note").inner_text()
    assert shown == f"Done in {curve['seconds']:.1f} s: 40 temperatures, 16 chains."
    assert tab.button("Anneal").is_visible()
    tab.assert_clean()


def test_a_linear_decoder_s_curve_on_the_page_is_the_closed_form(opened, library):
    r = np.random.default_rng(2)
    layer = (0.5 * r.normal(size=(64, 3)), 0.1 * r.normal(size=64), "linear")
    weights = PageWeights({"line": [layer]})
    widget = DrawADigit(weights, "line", (8, 8), betas=BETAS, temperatures=[100], preset="2")
    tab = opened(widget)
    runs = []
    tab.button("Anneal").click()
    for seed in range(16):
        runs.append(result(tab))
        assert runs[-1]["seed"] == seed
        tab.button("New seed").click()
    ((weight, bias, _),) = weights.layers("line")
    image = ink(library, widget.drawing, 8, 8).reshape(1, 64)
    exact = linear_gaussian_curve(*map(torch.tensor, (weight, bias, image)), widget.betas)
    names = ("log_z", "distortion", "rate")
    assert_closed_form(*(np.array([run[name] for run in runs]) for name in names), exact)


def running(tab):
    tab.page.wait_for_function("document.querySelector('.dgm').dataset.run === 'running'")
    tab.page.wait_for_function("document.querySelector('.dgm progress').value > 0")


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


@pytest.mark.parametrize("draw", [draw_by_mouse, draw_by_keys])
def test_a_new_stroke_cancels_the_run_that_is_under_way(opened, draw):
    tab = opened(slow(temperatures=[20_000, 2]))
    tab.page.get_by_label("Temperatures").select_option("20000")
    running(tab)
    before = int(state(tab, "moved"))
    draw(tab)
    assert state(tab, "run") in ("idle", "running")
    assert int(state(tab, "moved")) > before
    running(tab)  # the one with the new stroke
    tab.button("Clear").click()
    at_run(tab, "idle")
    tab.assert_clean()


def test_a_run_after_a_cancelled_one_is_the_run_alone(opened):
    tab = opened(toy(temperatures=(3000, 40)))
    choice = presets(tab)
    choice.select_option("5")
    alone = result(tab)
    tab.page.get_by_label("Temperatures").select_option("3000")
    running(tab)
    tab.page.get_by_label("Temperatures").select_option("40")
    choice.select_option("6")
    choice.select_option("5")
    repeated = result(tab)
    assert {**repeated, "seconds": 0} == {**alone, "seconds": 0}


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


def test_clear_undo_and_reset(opened):
    tab = opened(toy(preset="8"))
    first = tab.pictures()
    pad(tab).press("Backspace")
    tab.settle()
    assert tab.pictures()[0] != first[0]
    tab.button("Clear").click()
    tab.button("Anneal").click()
    tab.settle()
    assert tab.page.locator(".dgm-note").inner_text() == "There is nothing drawn yet."
    tab.page.get_by_label("Temperatures").select_option("10")
    tab.button("Reset").click()
    tab.settle()
    assert tab.pictures()[1:] == first[1:]
    assert presets(tab).input_value() == "8"
    assert tab.page.get_by_label("Temperatures").input_value() == "40"


def test_a_curve_from_python_is_shown(opened):
    tab = opened(toy())
    tab.button("Anneal").click()
    given = toy()
    given.curve = result(tab)
    shown = opened(given)
    shown.settle()
    chart = "svg[role=img]"
    labels = [s.page.locator(chart).first.get_attribute("aria-label") for s in (tab, shown)]
    assert labels[0] == labels[1]
    assert "25 points" in labels[0]
    assert shown.pictures()[1:11] == tab.pictures()[1:11]


@pytest.mark.timing
def test_the_whole_takes_at_most_three_seconds_and_the_page_stays_awake(
    opened, record_testsuite_property
):
    tab = opened(slow())
    for _ in range(3):  # other work on this machine may hold up one
        tab.page.evaluate("performance.clearMeasures()")
        tab.page.evaluate(GAPS)
        tab.button("New seed").click()
        seconds = result(tab)["seconds"]
        gaps, frames = tab.page.evaluate("gaps"), tab.frames()
        if seconds <= 3 and np.percentile(gaps, 95) < 50 and np.percentile(frames, 95) < 16:
            break
    record_testsuite_property("draw_seconds", seconds)
    record_testsuite_property("draw_frame_p95_ms", float(np.percentile(frames, 95)))
    assert seconds <= 3
    assert np.percentile(gaps, 95) < 50
    assert np.percentile(frames, 95) < 16
