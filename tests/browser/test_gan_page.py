"""The GAN widgets in a real browser: what a reader may do, and the bench against the library."""

import math

import numpy as np
import pytest
import torch
from page_hashes import mulberry32
from small_widgets import playground

from dgm.papers import bre_gan
from dgm_book.widgets import PatternBench

LONG_TASKS = """() => {
  globalThis.longTasks = [];
  const view = list => longTasks.push(...list.getEntries().map(e => e.duration));
  new PerformanceObserver(view).observe({ entryTypes: ["longtask"] });
}"""


@pytest.fixture
def opened(opened):
    """Return the fixture's function, which waits for the first step of each playground too."""

    def start(*widgets, **options):
        view = opened(*widgets, **options)
        view.page.wait_for_function("() => !document.querySelector('.dgm-gan:not([data-step])')")
        return view

    return start


def step(view):
    return int(view.page.locator(".dgm-gan").get_attribute("data-step"))


def at_step(view, expected):
    script = "n => Number(document.querySelector('.dgm-gan').dataset.step) >= n"
    view.page.wait_for_function(script, arg=expected)
    view.settle()


def until(view, holds):
    """Wait until it holds: a worker may take longer to answer than `settle` waits."""
    for _ in range(200):
        if holds():
            return
        view.page.wait_for_timeout(50)
    pytest.fail("it did not come to hold")


# All in one task of the page, so that the restart is surely under way when the clicks come.
HASTY = """() => {
  const change = (node, value) => {
    node.value = value;
    node.dispatchEvent(new Event("change"));
  };
  change(document.querySelector(".dgm-gan input[type=number]"), 3);
  for (const node of document.querySelectorAll(".dgm-gan-buttons button")) {
    if (node.textContent === "100 steps") [1, 2, 3].forEach(() => node.click());
  }
  change([...document.querySelectorAll(".dgm-gan select")].find(n => n.id.endsWith("-layer")), "1");
}"""


@pytest.mark.parametrize("script", ["", "delete globalThis.Worker"])
def test_what_is_asked_during_a_restart_is_done_after_it(opened, script):
    calm = opened(playground(seed=3), script=script)
    for steps in (100, 200, 300):
        calm.button("100 steps").click()
        at_step(calm, steps)
    before = calm.pictures()
    calm.page.get_by_label("Cells of").select_option("1")
    until(calm, lambda: calm.pictures() != before)
    hasty = opened(playground(), script=script)
    hasty.page.evaluate(HASTY)
    at_step(hasty, 300)
    assert step(hasty) == 300
    until(hasty, lambda: hasty.pictures() == calm.pictures())


def test_each_choice_shows_at_once(opened):
    view = opened(playground())
    for name, value in [("Target", "single"), ("Cells of", "1"), ("Hidden units", "16")]:
        before = view.pictures()
        view.page.get_by_label(name).select_option(value)
        view.settle()
        until(view, lambda before=before: view.pictures() != before)
    for name, key, value in [("Weight", "ArrowLeft", "0.95"), ("Margin", "Home", "0")]:
        view.slider(name).press(key)
        view.settle()
        shown = view.slider(name).evaluate("one => one.labels[0].querySelector('output').innerText")
        assert float(shown) == float(value)
    spreads = view.page.locator("tr", has_text="Spread of gradients").locator("td")
    assert spreads.count() == 2
    assert all(0 < float(text) <= 1 for text in spreads.all_inner_texts())


NO_WORKER = [
    "delete globalThis.Worker",
    "globalThis.Worker = class { constructor() { throw new Error('no') } }",
    """globalThis.Worker = class {
        constructor() { setTimeout(() => this.onerror({ preventDefault() {} })) }
        postMessage() {} terminate() {} }""",
]


def test_without_a_worker_the_page_trains_itself_and_says_so(opened):
    shown = []
    for script in ("", *NO_WORKER):
        view = opened(playground(), script=script)
        view.button("100 steps").click()
        at_step(view, 100)
        message = view.page.locator(".dgm-gan .dgm-side").inner_text()
        assert ("No worker could be started here" in message) == bool(script), script
        shown.append(view.pictures())
        assert shown[-1] == shown[0], script


def test_a_run_that_breaks_says_so_and_can_be_restarted(opened):
    view = opened(playground(rate=1e300))
    view.button("100 steps").click()
    note = view.page.get_by_role("group", name="Without BRE")
    note.get_by_text("no longer a number at step").wait_for()
    assert view.page.get_by_text("no longer a number").count() >= 2
    view.page.get_by_label("Learning rate").select_option("0.002")
    note.get_by_role("button", name="Restart").click()
    view.page.wait_for_function("document.querySelector('.dgm-gan').dataset.step === '0'")
    view.button("100 steps").click()
    at_step(view, 100)
    assert not note.get_by_text("no longer a number").is_visible()
    view.assert_clean()


@pytest.mark.timing
def test_a_step_is_quick_and_the_page_stays_awake(opened, record_testsuite_property):
    view = opened(playground())
    view.page.evaluate(LONG_TASKS)
    view.button("Play").click()
    # Other work on this machine may hold up many rounds, a slow page all.
    best, entries = np.full(3, np.inf), "performance.getEntriesByName('dgm-step:gan')"
    for _ in range(20):
        view.page.evaluate("() => { performance.clearMeasures(); longTasks.length = 0; }")
        view.page.wait_for_function(f"() => {entries}.length >= 200")
        steps = view.page.evaluate(f"{entries}.map(e => e.duration)")
        longest = view.page.evaluate("Math.max(0, ...longTasks)")
        frames = np.percentile(view.frames(), 95)
        best = np.minimum(best, [np.percentile(steps, 95), frames, longest])
        if (best[:2] < 16).all() and best[2] <= 50:
            break
    for name, value in zip(("step_p95", "frame_p95", "longest_task"), best, strict=True):
        record_testsuite_property(f"gan_{name}_ms", value)
    assert (best[:2] < 16).all()
    assert best[2] <= 50


def pre_activations(bench, units):
    """x cos t + y sin t + b of each point (x, y) for each line, in the page's random numbers."""
    uniform = torch.from_numpy(mulberry32(np.arange(1, 2 * units + 1), bench.seed)).view(units, 2)
    turn, offset = 2 * math.pi * uniform[:, 0], 1.4 * uniform[:, 1] - 0.7
    points = torch.tensor(bench.points, dtype=torch.float64)
    return points @ torch.stack([turn.cos(), turn.sin()]) + offset


def terms(view):
    return [float(v) for v in view.page.locator(".dgm-bench").get_attribute("data-terms").split()]


def test_the_bench_shows_the_terms_of_its_points(opened):
    bench = PatternBench()
    view = opened(bench)
    for units, margin in [("12", "3"), ("5", "0.5"), ("2", "0")]:
        view.page.get_by_role("slider", name="Units").fill(units)
        view.page.get_by_role("slider", name="Margin").fill(margin)
        view.settle()
        h = pre_activations(bench, int(units))
        expected = [float(t) for t in bre_gan.bre_terms(h, margin=float(margin))]
        assert terms(view) == pytest.approx(expected, abs=1e-6)
        joint = float(bre_gan.pattern_entropy(h > 0))
        assert f"{joint:.3f} nats" in view.page.locator(".dgm-bench dl").inner_text()
        bits = view.page.locator(".dgm-pb-bit:not(.dgm-pb-none)")
        signs = bits.evaluate_all("all => all.map(n => n.classList.contains('dgm-pb-on'))")
        assert signs == (h > 0).flatten().tolist()


def test_a_point_is_chosen_and_moved_by_keyboard_or_dragged(opened):
    view = opened(PatternBench())
    pad, dots = view.page.locator(".dgm-pad"), view.page.locator(".dgm-pb-dot")
    script = "all => all.map(dot => [dot.textContent, dot.getAttribute('transform')])"

    def where():
        view.settle()
        return dict(dots.evaluate_all(script))

    before = where()
    pad.press("4")
    pad.press("Shift+ArrowRight")
    after = where()
    assert dict(before.items() - after.items()).keys() == {"4"}
    assert view.page.get_by_role("combobox", name="Arrow keys move").input_value() == "3"
    box = dots.filter(has_text="2").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    view.drag(middle, (box["x"] + 60, box["y"] - 40))
    assert dict(after.items() - where().items()).keys() == {"2"}
    view.button("Reset").click()
    assert where() == before


def test_the_presets_show_what_each_term_sees(opened):
    view = opened(PatternBench(margin=1.0))

    def pressed(name):
        view.button(name).click()
        view.settle()
        return terms(view)

    eta = 1 / math.sqrt(10)
    assert pressed("Collapse") == pytest.approx([1, 1 - eta], abs=0.05)
    balanced, correlated = pressed("Two camps")
    assert balanced < 0.1
    assert correlated > 0.4
    assert "2 of 8 differ" in view.page.locator(".dgm-bench dl").inner_text()
    spread = sum(pressed("Spread"))
    assert sum(pressed("Lower BRE")) < spread
    lines = view.page.locator(".dgm-pb-line").first
    before = lines.get_attribute("d")
    view.button("Other lines").click()
    view.settle()
    assert lines.get_attribute("d") != before
    view.assert_clean()
