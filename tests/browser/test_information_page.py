"""The bound race and the lottery in a real browser: they show what their models compute.

That those compute what PyTorch does is a test of golden vectors.
"""

import json

import numpy as np
import pytest
import small_widgets as small
from page_words import number

from dgm_book.widgets import BoundRace

ESTIMATES = """({ correlation: rho, dimension: d, batch: n, seed }) =>
  Array.from({ length: 24 }, (_, k) => {
    const scores = new Float64Array(n * n);
    criticScores(normalsOf(24 * seed + k), { rho, d, n }, scores);
    return boundsOf(scores, n);
  })"""
LOTTERY = "({ scores, p, temperature }) => lottery(scores, p, temperature)"


@pytest.fixture(scope="module")
def models(page_of):
    return page_of("models/bounds.js", "models/lottery.js")


def shown(view, name):
    text = view.page.locator(f".dgm[data-{name}]").get_attribute(f"data-{name}")
    return np.array(json.loads(text))


def rows(view):
    """The race's table: a row's name to what its cells say."""
    script = "all => all.map(row => [...row.children].map(cell => cell.textContent))"
    table = view.page.locator(".dgm-bounds tbody tr").evaluate_all(script)
    return {name: cells for name, *cells in table}


def finished(view):
    view.settle()
    view.page.get_by_text("a bar the mean of 24;").wait_for()


def circles(view, row):
    return view.page.locator(".dgm-info-dots").nth(row).get_attribute("d").count("Z")


def test_the_race_shows_its_estimates_and_what_they_say(opened, models):
    view, widget = opened(BoundRace()), BoundRace()
    names = ("correlation", "dimension", "batch", "seed")
    moves = [
        (None, {}),
        ((view.slider("Dimensions"), "End"), {"dimension": 20}),
        ((view.slider("Pairs"), "ArrowLeft"), {"batch": 32}),
        ((view.slider("Correlation"), "ArrowRight"), {"correlation": 0.91}),
        ((view.button("Draw again"), "Enter"), {"seed": 1}),
        ((view.slider("Correlation"), "Home"), {"correlation": 0.0}),
    ]
    for move, state in moves:
        if move:
            move[0].press(move[1])
        widget.set_state(state)
        finished(view)
        expected = np.array(models.evaluate(ESTIMATES, {n: getattr(widget, n) for n in names}))
        np.testing.assert_allclose(shown(view, "estimates"), expected, rtol=1e-8, atol=1e-9)
        table, exact = rows(view), -widget.dimension / 2 * np.log1p(-(widget.correlation**2))
        assert table.pop("Exact value") == [f"{exact + 0:.3f}", "none"]
        for cells, values in zip(table.values(), expected.T, strict=True):
            mean, error = map(number, cells[0].split(" ± "))
            assert mean == pytest.approx(values.mean(), rel=0.05, abs=6e-4)
            assert error == pytest.approx(values.std(ddof=1) / 24**0.5, rel=0.06, abs=6e-4)
        ceilings = [cells[1] for cells in table.values()]
        assert ceilings == ["none", "none", f"{np.log(widget.batch):.3f}", "0.693"]
        assert circles(view, 2) == circles(view, 3) == 24
        if state == {"batch": 32}:
            note = view.page.locator(".dgm-bounds .dgm-side .dgm-note").inner_text()
            assert "past InfoNCE's ceiling: with 32 pairs" in note
            assert "comes out too high" in note
    view.assert_clean()


def test_the_lottery_shows_its_weights_and_what_they_say(opened, models):
    lottery = small.lottery()
    view = opened(small.lottery())

    def choose(name, value):
        view.page.get_by_label(name, exact=True).select_option(value)

    moves = [
        (lambda: None, {}),
        (lambda: view.slider("Chance").press("ArrowRight"), {"p": 0.31}),
        (lambda: view.slider("Temperature").press("Home"), {"temperature": 0.1}),
        (lambda: choose("Sentence", "1"), {"anchor": 1}),
        (lambda: choose("Text", "play"), {"set": "play", "anchor": 0}),
        (lambda: choose("Critic", "likelihood"), {"critic": "likelihood"}),
        (lambda: choose("Critic", ""), {"critic": ""}),
    ]
    for move, state in moves:
        move()
        lottery.set_state(state)
        view.settle()
        chosen = next(given for given in lottery.sets if given["name"] == lottery.set)
        given = {"p": lottery.p, "temperature": lottery.temperature, "scores": [0] * 7}
        if lottery.critic:
            given["scores"] = chosen["scores"][lottery.critic][lottery.anchor]
        expected = models.evaluate(LOTTERY, given)
        weights = np.array(expected["weight"])
        np.testing.assert_allclose(shown(view, "weights"), weights, rtol=1e-6, atol=1e-15)
        np.testing.assert_allclose(shown(view, "shares"), expected["share"], rtol=1e-6, atol=1e-15)
        heads = view.page.locator(".dgm-lot tbody th").all_inner_texts()
        first = chosen["anchors"][lottery.anchor] + 1
        assert heads == chosen["texts"][first : first + 7]
        best = view.page.locator(".dgm-lot-most td").first.inner_text()
        assert best == str(weights.argmax())
        effective = view.page.locator(".dgm-lot dd").first.inner_text()
        assert effective.startswith(f"{1 / (weights**2).sum():.2f} of 7")
    view.assert_clean()
