"""The race and the microscope in a real browser: what they show is what they were given."""

import math
import re

import numpy as np
import pytest
from page_words import number
from small_widgets import row, run, sentences

from dgm_book.widgets import DispersionMicroscope, PoolingRace

MEASURES = ("log_likelihood", "kl", "information")
RUNS = {"plain": (0.1, 20), "annealing": (0.5, 21), "aggressive": (0.9, 80), "mean": (0.7, 22)}
RUNS |= {"max": (0.8, 22), "front": (1.2, 20)}


def runs():
    """Runs of twelve rows, in one of which a measure is missing from two of three rows."""
    given = []
    for name, (scale, seconds) in RUNS.items():
        rows = []
        for i, share in enumerate(np.linspace(0, 1, 12)):
            measures = {"kl": 3 * scale * share, "information": 2 * scale * share**2}
            likelihood = -34 + scale - 20 * math.exp(-5 * share)
            measures["log_likelihood"] = None if name == "annealing" and i % 3 else likelihood
            measures |= {"reconstruction": 33 - scale, "active_units": 4}
            rows.append(row(2000 * share, seconds * share, **measures))
        given.append(run(name, "fix", label=f"{name} run", measured=rows))
    return given


def sets():
    classes, steps = [".", "!", "food", "other"], (0, 10, 100, 400)
    first = sentences("yelp", steps, 60, classes=classes, class_of=np.arange(60) % 4)
    other = {"classes": ["a", "b"], "class_of": np.arange(60) % 2, "texts": None}
    return [first, sentences("made", (0, 50), 60, **other)]


def table(view):
    """Return the rows of the race's table: label to what its three cells say."""
    script = """all => all.map(row => [row.querySelector("th").childNodes[1].textContent,
      ...[...row.querySelectorAll("td")].map(cell => cell.textContent)])"""
    texts = view.page.locator(".dgm-race tbody tr").evaluate_all(script)
    return {name: values for name, *values in texts}


def expected_table(time, shown, axis="seconds"):
    """The last measurements by a share of the longest shown run, best likelihood first."""
    given = {item["label"]: item["measured"] for item in runs() if item["name"] in shown}
    limit = max(row[axis] for rows in given.values() for row in rows)
    match = {}
    for label, rows in given.items():
        past = [row for row in rows if row[axis] <= time * limit + 1e-9]
        match[label] = [[r[key] for r in past if r[key] is not None][-1] for key in MEASURES]
    return dict(sorted(match.items(), key=lambda item: -item[1][0]))


def test_the_table_holds_what_was_measured_by_then(opened):
    view = opened(PoolingRace(runs()))
    shown, slider = ["plain", "annealing", "aggressive", "mean", "max"], view.slider("Training")
    for node, key, time, axis in [
        (slider, "Shift", 1, "seconds"),
        (slider, "Home", 0, "seconds"),
        (slider, "ArrowRight", 0.005, "seconds"),
        (slider, "PageUp", None, "seconds"),
        (view.radio("steps"), "Space", None, "step"),
    ]:
        node.press(key)
        view.settle()
        now = float(slider.input_value())
        assert time in (None, now)
        expected, shown_rows = expected_table(now, shown, axis), table(view)
        assert list(shown_rows) == list(expected)
        for name, values in expected.items():
            assert [number(v) for v in shown_rows[name]] == pytest.approx(values, abs=0.00501)
    assert view.slider("Training steps").get_attribute("aria-valuetext").startswith("step ")
    view.assert_clean()


def places(path):
    """The corners of a path of straight lines."""
    return np.array([[float(v) for v in p.split()] for p in re.split("[ML]", path) if p])


@pytest.mark.parametrize("time", [1.0, 0.6, 0.13])
def test_heads_ride_on_their_lines_up_to_the_scrubber(opened, time):
    view = opened(PoolingRace(runs(), time=time, highlighted="mean"))
    for chart in range(3):
        svg = view.page.locator(".dgm-race .dgm-drag").nth(chart)
        now = float(re.match(r"M([\d.]+)", svg.locator(".dgm-now").get_attribute("d"))[1])
        clip = svg.locator("clipPath rect").nth(1)
        edge = float(clip.get_attribute("x")) + float(clip.get_attribute("width"))
        assert edge == pytest.approx(now)
        bottom = float(clip.get_attribute("y")) + float(clip.get_attribute("height"))
        lines, heads = svg.locator(".dgm-done .dgm-line").all(), svg.locator(".dgm-head").all()
        assert len(lines) == len(heads) == 5
        for line, head in zip(lines, heads, strict=True):
            at, transform = places(line.get_attribute("d")), head.get_attribute("transform")
            x, y = (float(v) for v in re.findall(r"-?[\d.]+", transform))
            assert x == pytest.approx(min(now, at[-1, 0]), abs=0.11)
            assert y == pytest.approx(np.interp(x, *at.T), abs=1.5)
            assert (head.evaluate("n => n.style.display") == "none") == (y > bottom - 2.5)


def test_runs_are_ticked_and_one_is_brought_forward(opened):
    view = opened(PoolingRace(runs(), shown=["plain", "max"]))

    def shows():
        return set(table(view)), view.slider("Training").get_attribute("aria-valuetext")

    assert shows() == ({"plain run", "max run"}, "22.0 s")
    view.page.get_by_role("checkbox", name="aggressive run").press("Space")
    view.settle()
    assert shows() == ({"plain run", "max run", "aggressive run"}, "80.0 s")
    view.page.get_by_label("Bring forward").select_option("front")
    view.settle()
    assert next(iter(table(view))) == "front run"
    assert view.page.locator("tbody tr.dgm-forward").inner_text().startswith("front run")
    assert "4 active units" in view.page.locator(".dgm-race .dgm-side").inner_text()
    assert view.page.locator(".dgm-done .dgm-forward").count() == 3
    for name in ("front", "plain", "max", "aggressive"):
        view.page.get_by_role("checkbox", name=f"{name} run").press("Space")
    view.settle()
    assert table(view) == {}
    assert "tick one" in view.page.locator(".dgm-race caption").inner_text()


def test_a_chart_is_dragged_and_a_row_is_clicked(opened):
    view = opened(PoolingRace(runs()))
    box = view.page.locator(".dgm-drag").nth(1).bounding_box()
    places = [(box["x"] + x, box["y"] + 50) for x in (box["width"] - 5, box["width"] / 2)]
    view.drag(*places)
    view.page.mouse.move(box["x"] + 50, box["y"] + 50)
    view.settle()
    now = view.page.locator(".dgm-drag").nth(1).locator(".dgm-now").get_attribute("d")
    assert float(re.match(r"M([\d.]+)", now)[1]) == pytest.approx(box["width"] / 2, abs=1)
    row = view.page.locator("tbody tr", has_text="max run")
    row.click()
    view.settle()
    assert "dgm-forward" in row.get_attribute("class")
    row.click()
    view.settle()
    assert view.page.locator(".dgm-race .dgm-forward").count() == 0


def first_dots(view, panel):
    """The middle of the first dot, a circle, and the panel's size."""
    svg = view.page.locator(".dgm-scope .dgm-panel svg").nth(panel)
    match = re.match(r"M(-?[\d.]+) (-?[\d.]+)a([\d.]+)", svg.locator(".dgm-c0").get_attribute("d"))
    x, y, r = (float(v) for v in match.groups())
    return np.array([x + r, y]), float(svg.get_attribute("height"))


def test_dots_and_statistics_are_those_of_the_step(opened):
    widget = DispersionMicroscope(sets(), frame=3)
    view = opened(widget)
    for key, frame in [(None, 3), ("ArrowLeft", 2), ("Home", 0)]:
        if key:
            view.slider("Training step").press(key)
        view.settle()
        for p, (kind, given) in enumerate(sets()[0]["frames"].items()):
            at, size = first_dots(view, p)
            scale = widget.sets[0]["panels"][p]
            relative = (given["points"][frame, 0] - scale["centre"]) / scale["half"]
            assert at == pytest.approx(size / 2 + 0.47 * size * relative * [1, -1], abs=0.11)
            texts = view.page.locator(".dgm-panel").nth(p).locator("dd").all_inner_texts()
            names = ("cosine", "relative", "participation")
            expected = [given[name][frame] for name in names]
            assert [number(v) for v in texts] == pytest.approx(expected, rel=0.006), kind
    assert view.slider("Training step").get_attribute("aria-valuetext") == "step 0"
    view.assert_clean()


def forward(view):
    """Which classes are not set aside, a panel."""
    script = "all => all.map(n => [...n.querySelectorAll('.dgm-dots:not(.dgm-aside)')].length)"
    return view.page.locator(".dgm-scope .dgm-panel svg").evaluate_all(script)


def rings(view):
    script = """all => all.map(({ style, cx, cy }) =>
        style.display === "none" ? null : [cx.baseVal.value, cy.baseVal.value])"""
    return view.page.locator(".dgm-found").evaluate_all(script)


def test_a_dot_under_the_pointer_is_ringed_in_all_panels(opened):
    widget = DispersionMicroscope(sets())
    view = opened(widget)
    assert rings(view) == [None] * 3
    at, _ = first_dots(view, 1)
    box = view.page.locator(".dgm-panel svg").nth(1).bounding_box()
    words, which = view.page.locator(".dgm-sentence"), view.slider("Ring a sentence")
    view.page.mouse.move(box["x"] + at[0], box["y"] + at[1])
    view.settle()
    assert words.inner_text() == "sentence 0 (.)"
    for p in range(3):
        assert rings(view)[p] == pytest.approx(first_dots(view, p)[0], abs=0.11)
    view.page.mouse.move(5, 5)
    view.settle()
    assert rings(view) == [None] * 3
    which.press("ArrowRight")
    which.press("ArrowRight")
    view.settle()
    assert words.inner_text() == which.get_attribute("aria-valuetext") == "sentence 1 (!)"
    assert None not in rings(view)
    view.page.get_by_role("radio", name="Made").press("Space")
    view.settle()
    assert rings(view) == [None] * 3
    assert view.slider("Training step").get_attribute("max") == "1"
    assert forward(view) == [2, 2, 2]
    which.press("ArrowRight")
    view.settle()
    assert words.inner_text() == "Sentence 1 (a)"
    view.assert_clean()


def test_the_live_region_speaks_once_a_pause(opened):
    view = opened(PoolingRace(runs(), highlighted="max"))
    view.page.wait_for_timeout(800)  # for the first words
    view.page.evaluate(
        """() => {
            globalThis.spoken = 0;
            const count = changes => (spoken += changes.length > 0);
            for (const node of document.querySelectorAll("[aria-live]"))
                new MutationObserver(count).observe(node, { childList: true, subtree: true });
        }"""
    )
    for _ in range(10):
        view.slider("Training time").press("ArrowLeft")
    view.page.wait_for_timeout(1000)
    assert view.page.evaluate("spoken") == 1
    assert "aggressive run: log-likelihood" in view.page.locator(".dgm-status").first.inner_text()
