"""Draw a digit in a real browser: the page's annealing against the library's, and each pen."""

import json

import numpy as np
import pytest
import torch

from dgm.papers.rate_distortion import linear_gaussian_curve, rate_distortion_curve
from dgm_book.widgets import DrawADigit, PageWeights

UNPACK = """() => {
  globalThis.finish = job => {
    let r = job.next();
    while (!r.done) r = job.next();
    return r.value;
  };
  globalThis.floats = layers => layers.map(layer => ({
    ...layer, weight: Float32Array.from(layer.weight), bias: Float32Array.from(layer.bias),
  }));
}"""
GRADIENT = """({ layers, x, z }) => {
  const decoder = makeDecoder(floats(layers));
  const state = { z: Float64Array.from(z), energy: 0, gradient: new Float64Array(z.length) };
  decoder.evaluate(Float64Array.from(x), state);
  const [gradient, made] = [state.gradient, decoder.forward(z)].map(v => Array.from(v));
  return { energy: state.energy, gradient, made };
}"""
WORK = """({ layers, x, seeds, ...settings }) => seeds.map(seed => {
  const told = [];
  const request = { layers: floats(layers), x: Float64Array.from(x), seed, ...settings };
  finish(work(request, message => told.push(message)));
  const [{ check }] = told.filter(message => message.check);
  return { points: told.filter(message => message.index !== undefined), check };
})"""
SIMULATE = """({ layers, seeds, beta }) => seeds.map(seed => {
  const decoder = makeDecoder(floats(layers));
  return Array.from(simulate(decoder, beta, makeDice(8 * seed + 2)).x);
})"""
BETAS = np.geomspace(0.05, 5, 6).tolist()


@pytest.fixture(scope="module")
def library(page_of):
    """A page that holds the sampler."""
    page = page_of("models/annealing.js", "models/drawing.js")
    page.evaluate(UNPACK)
    return page


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


def as_json(layers):
    """Layers as the page's sampler takes them."""
    keys = ("rows", "columns", "weight", "bias", "activation")
    rows = [(*w.shape, w.flatten().tolist(), b.tolist(), name) for w, b, name in layers]
    return [dict(zip(keys, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    ("sizes", "activations"),
    [
        ([5, 64, 784], ["tanh", "sigmoid"]),
        ([3, 7, 6, 10], ["relu", "tanh", "sigmoid"]),
        ([2, 9], ["linear"]),
    ],
)
def test_the_page_s_gradient_is_pytorch_s(library, sizes, activations):
    decoder, layers = network(sizes, activations, gain=0.7)
    dice = torch.Generator().manual_seed(3)
    z = torch.randn(sizes[0], generator=dice, dtype=torch.float64).requires_grad_()
    x = torch.rand(sizes[-1], generator=dice, dtype=torch.float64)
    image = decoder(z)
    energy = (image - x).square().sum()
    (expected,) = torch.autograd.grad(energy, z)
    got = library.evaluate(GRADIENT, {"layers": as_json(layers), "x": x.tolist(), "z": z.tolist()})
    assert got["made"] == pytest.approx(image.tolist(), abs=1e-5)
    assert got["energy"] == pytest.approx(float(energy.detach()), rel=1e-5)
    scale = float(expected.abs().max())
    assert got["gradient"] == pytest.approx(expected.tolist(), abs=1e-5 * scale)


def anneal(page, layers, x, **settings):
    sent = {"temperatures": 200, "chains": 16, "leapfrogs": 5, "betas": BETAS, **settings}
    return page.evaluate(WORK, {"layers": as_json(layers), "x": x, **sent})


def column(runs, name):
    return np.array([[point[name] for point in run["points"]] for run in runs])


def errors(values, expected):
    """Mean difference in standard errors over the first axis."""
    apart = np.asarray(values) - np.asarray(expected)
    return apart.mean(0) / (apart.std(0, ddof=1) / np.sqrt(len(apart)))


def test_the_curve_of_a_linear_decoder_is_the_closed_form(library):
    decoder, layers = network([3, 12], ["linear"], seed=4, gain=0.6)
    x = torch.randn(12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    runs = anneal(library, layers, x.tolist(), seeds=[*range(48), 0])
    assert runs.pop() == runs[0] != runs[1]  # one seed is one run
    exact = linear_gaussian_curve(decoder[0].weight, decoder[0].bias, x[None], BETAS)
    log_z, distortion, rate = (column(runs, name) for name in ("logZ", "distortion", "rate"))
    # The mean of w itself is unbiased: log Z is below, by less than its variance.
    assert np.abs(errors(np.exp(log_z - exact.log_z[:, 0].numpy()), 1)).max() < 4
    assert np.abs(errors(distortion, exact.distortion[:, 0])).max() < 4
    assert np.abs(errors(rate, exact.rate[:, 0])).max() < 4
    np.testing.assert_allclose(rate + exact.beta.numpy() * distortion + log_z, 0, atol=1e-9)
    assert log_z.std(0).max() < 0.25
    assert (column(runs, "acceptance") > 0.4).all()
    assert (column(runs, "ess") > 5).all()


def test_the_bounds_of_the_model_s_own_image_hold_its_log_z(library):
    decoder, layers = network([3, 12], ["linear"], seed=4, gain=0.6)
    given = {"layers": as_json(layers), "seeds": list(range(48)), "beta": BETAS[-1]}
    images = torch.tensor(library.evaluate(SIMULATE, given), dtype=torch.float64)
    exact = linear_gaussian_curve(decoder[0].weight, decoder[0].bias, images, BETAS)
    exact, gaps = exact.log_z[-1].numpy(), {}
    for temperatures in (12, 200):
        options = {"seeds": given["seeds"], "temperatures": temperatures}
        runs = [run["check"] for run in anneal(library, layers, [0.0] * 12, **options)]
        lower, upper, stated = (
            np.array([run[name] for run in runs]) for name in ("lower", "upper", "error")
        )
        assert errors(lower, exact).item() < 4
        assert errors(upper, exact).item() > -4
        gaps[temperatures] = (upper - lower).mean()
    assert np.abs(errors(np.exp(lower - exact), 1)).item() < 4
    assert np.abs(errors(np.exp(exact - upper), 1)).item() < 4
    assert abs(gaps[200]) < 0.1 < gaps[12]
    # With many temperatures the bounds miss by what the chains' scatter says.
    off = np.hypot(lower - exact, upper - exact) / stated
    assert 0.6 < np.sqrt((off**2).mean()) < 1.5


def test_a_network_s_curve_is_the_library_s(library):
    decoder, layers = network([2, 16, 32], ["tanh", "sigmoid"], seed=7)
    x = torch.rand(32, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    runs = anneal(library, layers, x.tolist(), seeds=list(range(24)))
    options = {"latent_dim": 2, "betas": BETAS, "n_chains": 100, "n_leapfrog": 5}
    options |= {"temperatures_per_beta": 20, "progress": False}
    expected = rate_distortion_curve(decoder, x.repeat(8, 1), **options)
    for name, other in (("logZ", expected.log_z), ("distortion", expected.distortion)):
        ours, theirs = column(runs, name), other.T.numpy()
        spread = np.hypot(ours.std(0, ddof=1) / 24**0.5, theirs.std(0, ddof=1) / 8**0.5)
        assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * spread).all()


def ink(page, strokes):
    script = "strokes => Array.from(inked(strokes, 28, 28))"
    return np.reshape(page.evaluate(script, strokes), (28, 28))


@pytest.mark.parametrize("name", [*"0123456789", "a star, no digit"])
def test_a_drawing_becomes_an_image_like_mnist_s(library, name):
    strokes = toy().presets[name]
    image = ink(library, strokes)
    assert (image.min(), image.max()) == (0, 1)
    rows, columns = np.indices(image.shape) + 0.5
    middle = np.array([(image * rows).sum(), (image * columns).sum()]) / image.sum()
    np.testing.assert_allclose(middle, 14, atol=0.1)
    rows, columns = (np.flatnonzero(image.max(axis) > 0.2) for axis in (1, 0))
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20, 21)
    np.testing.assert_allclose(image * 255, np.round(image * 255), atol=1e-9)
    # Larger, smaller and elsewhere it is the same drawing.
    shifted = [[0.4 * v + (0.1 if i % 2 else 0.5) for i, v in enumerate(s)] for s in strokes]
    np.testing.assert_allclose(ink(library, shifted), image, atol=1.5 / 255)


def test_a_dot_stays_a_dot_and_a_line_keeps_its_width(library):
    assert ink(library, [[0.2, 0.9]]).sum() == pytest.approx(np.pi * 1.15**2, rel=0.15)
    line = ink(library, [[0.1, 0.5, 0.9, 0.5]])
    assert line[:, 14].sum() == pytest.approx(2.3, abs=0.1)
    assert line[14].sum() == pytest.approx(20, abs=0.8)
    np.testing.assert_allclose(line, line[::-1], atol=1 / 255)


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
    opened, record_testsuite_property
):
    tab = opened(slow())
    for _ in range(3):  # other work on this machine may hold up one
        tab.page.evaluate("performance.clearMeasures()")
        tab.page.evaluate(GAPS)
        tab.button("New seed").click()
        seconds = result(tab)["seconds"]
        gaps, frames = (np.percentile(v, 95) for v in (tab.page.evaluate("gaps"), tab.frames()))
        if seconds <= 3 and gaps < 50 and frames < 16:
            break
    record_testsuite_property("draw_seconds", seconds)
    record_testsuite_property("draw_frame_p95_ms", float(frames))
    assert seconds <= 3
    assert gaps < 50
    assert frames < 16
