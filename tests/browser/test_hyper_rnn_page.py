"""Switch now and the weather of the weights in a real browser, against PyTorch."""

import functools
import json

import hyper_rnn_pages as pages
import numpy as np
import pytest
from small_widgets import MATRICES, hyper_weights, recurrent

from dgm_book.widgets import ScaleWeather, SwitchNow

# The most opaque pixel of each canvas.
OPAQUE = """all => all.map(one => {
  const { data } = one.getContext("2d").getImageData(0, 0, one.width, one.height);
  return data.filter((_, at) => at % 4 === 3).reduce((a, b) => Math.max(a, b));
})"""


def replay(widget, freeze=0.0):
    """The course of a widget, and what each of its models makes of it."""
    is_weather = isinstance(widget, ScaleWeather)
    options, steps = widget.options, widget.options["steps"] if is_weather else widget.steps
    course = pages.simulate(widget.matrices, widget.schedule, steps, widget.seed, options["bound"])
    traces = {}
    for name in [widget.network] if is_weather else widget.models:
        net = recurrent()[name]
        if freeze:
            free = pages.follow(net, course, options["n_particles"], widget.seed)
            net = pages.frozen(net, freeze, free.generated.mean(0))
        traces[name] = pages.follow(net, course, options["n_particles"], widget.seed)
    return course, traces


close = functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-7)


def arrived(view, condition="true"):
    """Wait until the widget stands still in a state that fulfils the condition, and return it."""
    script = f"""() => {{
      const told = document.querySelector(".dgm").dataset.state;
      if (!told) return false;
      const state = JSON.parse(told);
      return {condition} ? told : false;
    }}"""
    return json.loads(view.page.wait_for_function(script).json_value())


def same_as_pytorch(state, widget):
    """Check all that the page shows against PyTorch's replay of the same schedule."""
    for name in ("seed", "steps", "schedule"):
        setattr(widget, name, state[name])
    course, traces = replay(widget)
    hazard = widget.options["hazard"]
    posterior, exact = pages.exact_bayes(course, widget.matrices, tuple(widget.deviations), hazard)
    shown = slice(-len(state["x"]), None)
    close(state["x"], course.x[shown])
    close(state["posterior"], posterior[shown])
    for m, trace_ in enumerate(traces.values()):
        close(state["kl"][m], trace_.mean_kl[shown])
        close(state["mean"][m], trace_.predicted_mean[shown])
        close(state["deviation"][m], trace_.predicted_deviation[shown])
        close(state["nats"][m], trace_.increment[shown].mean())
    close(state["nats"][2], exact[shown].mean())


def test_the_page_filters_what_python_filters(opened):
    widget = SwitchNow(hyper_weights(), MATRICES, speed=30)
    view = opened(widget)
    page = view.page
    first = arrived(view, "state.steps === 60")
    same_as_pytorch(first, widget)
    view.button("Switch the matrix now").press("Enter")
    switched = arrived(view, "state.steps === 85")
    (_, before, sigma), (t, after, same_sigma) = switched["schedule"][-2:]
    assert (t, same_sigma) == (60, sigma)
    assert after != before
    same_as_pytorch(switched, widget)
    view.radio("4").press("Space")
    arrived(view, "state.steps === 110")
    view.button("One step").press("Space")
    stepped = arrived(view, "state.steps === 111")
    assert stepped["schedule"][-1] == [85, after, 4]
    same_as_pytorch(stepped, widget)
    assert page.locator("dd").first.inner_text() == "110"
    assert f"matrix {after + 1}, \u03c3 = 4" in page.locator("dd").nth(1).inner_text()
    page.get_by_label("Seed").fill("7")
    page.get_by_label("Seed").press("Enter")
    other = arrived(view, "state.seed === 7")
    assert (other["steps"], other["schedule"]) == (111, stepped["schedule"])
    same_as_pytorch(other, widget)
    view.button("Reset").press("Enter")
    assert arrived(view, "state.seed === 0 && state.steps === 60") == first
    view.assert_clean()


def test_what_the_table_tells_of_a_change(opened):
    widget = SwitchNow(hyper_weights(), MATRICES)
    view = opened(widget)
    arrived(view)
    rows = [row.split("\t") for row in view.page.locator("tbody tr").all_inner_texts()]
    course, traces = replay(widget)
    _, exact = pages.exact_bayes(course, MATRICES, (0.25, 1.0, 4.0), widget.options["hazard"])

    def text(value):
        return f"{float(value):.2f}".replace("-", "\u2212")

    for row, name in zip(rows, widget.models, strict=False):
        kl, increment = traces[name].mean_kl, traces[name].increment
        assert row[1:] == [text(v.mean()) for v in (kl[25:30], kl[30:35], increment)]
    assert rows[2][3] == text(exact.mean())
    assert "change at step 30" in view.page.locator("caption").inner_text()


@pytest.mark.timing
def test_a_step_of_both_models_is_quick(opened, record_testsuite_property):
    view = opened(SwitchNow(hyper_weights(), MATRICES, speed=30))
    page = view.page
    arrived(view)

    def play():
        page.evaluate("performance.clearMeasures()")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("() => performance.getEntriesByType('measure').length > 90")
        page.get_by_role("button", name="Pause").click()
        return view.frames()

    play()  # warm
    p95 = view.p95(16, play)
    record_testsuite_property("switch_now_p95_ms", p95)
    assert p95 < 16


def test_what_grows_without_end_is_told(opened):
    grows = np.array([np.eye(2) * 1.5, np.eye(2) * 0.5])
    widget = SwitchNow(hyper_weights(), grows, schedule=[[0, 0, 1.0]])
    view = opened(widget)
    same_as_pytorch(arrived(view), widget)
    anew = np.flatnonzero(replay(widget)[0].fresh)[-1]
    note = view.page.locator(".dgm-picture .dgm-note").inner_text()
    assert f"At step {anew} a coordinate had passed 60" in note
    view.assert_clean()


def test_the_weather_freezes_step_by_step(opened):
    widget = ScaleWeather(hyper_weights(), MATRICES)
    view = opened(widget)
    page = view.page
    free = arrived(view)
    page.wait_for_function("() => document.querySelector('.dgm').dataset.curve")
    curve = json.loads(page.locator(".dgm").get_attribute("data-curve"))
    slider = page.get_by_role("slider", name="Freeze")
    before, pictures = view.pictures(), set()
    shown = []
    for i in range(1, 21):
        slider.press("ArrowRight")
        state = arrived(view, f"state.freeze === {round(i / 20, 2)}")
        assert page.locator("output").inner_text() == f"{i / 20:.2f}"
        shown.append(page.locator("tbody td").first.inner_text())
        pictures.add(tuple(view.pictures()))
        assert state["nats"] == curve[i]
        if i in (7, 20):
            expected = replay(widget, round(i / 20, 2))[1]["VHRNN"]
            close(state["increment"], expected.increment)
            close(state["mean"], expected.predicted_mean)
            close(state["deviation"], expected.predicted_deviation)
    assert len(set(shown)) > 17  # of three decimals
    assert len(set(curve)) == 21
    assert len(pictures) == 20
    mean = float(replay(widget)[1]["VHRNN"].increment.mean())
    assert free["nats"] == curve[0] == pytest.approx(mean, abs=1e-9)
    # All constant: no row is off its mean.
    assert max(page.locator("canvas").evaluate_all(OPAQUE)) <= 1
    page.get_by_role("button", name="Reset").press("Enter")
    assert arrived(view, "state.freeze === 0") == free
    assert view.pictures() == before
    page.get_by_role("button", name="Another sequence").click()
    other = arrived(view, "state.seed === 1")
    widget.seed = 1
    close(other["increment"], replay(widget)[1]["VHRNN"].increment)
    view.assert_clean()
