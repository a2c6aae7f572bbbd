"""The bound race and the lottery in a real browser: what they show is what PyTorch computes."""

import json
import math

import numpy as np
import pytest
import torch

from dgm.papers.mutual_information_lm import (
    donsker_varadhan,
    info_nce,
    jensen_shannon_loss,
    nwj,
    raml_weights,
)
from dgm_book.chapters.mutual_information_lm.rules import best_critic
from dgm_book.widgets import BoundRace, RamlLottery
from dgm_book.widgets.hashing import box_muller, mulberry32

# A kernel's side of a widget, with no server between.
STUB = """async ([source, state]) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: widget } = await import(url);
  const listeners = [];
  globalThis.kernel = {
    state, saved: 0,
    get: name => state[name],
    set(name, value) {
      state[name] = value;
      for (const l of [...listeners]) if (l[0] === `change:${name}`) l[1]();
    },
    save_changes() { this.saved++; },
    on: (...pair) => listeners.push(pair),
    off: (name, f) => listeners.splice(listeners.findIndex(l => l[0] === name && l[1] === f), 1),
    left: () => listeners.length,
  };
  globalThis.stop = await widget.render({ model: kernel, el: document.body });
}"""


def texts(k=12, **changes):
    dice = np.random.default_rng(1)
    scores = {name: 2 * dice.normal(size=(2, k)) for name in ("phase I", "likelihood")}
    words = [f"and this is sentence {i}, in which little is said" for i in range(2 * k)]
    first = {"name": "chain", "label": "Chain", "texts": words, "anchors": [0, 3], "scores": scores}
    second = first | {"name": "a play", "label": "A play", "anchors": [5, 1]}
    return [first | changes, second]


@pytest.fixture
def opened(tmp_path, write_page, visit):
    """Return ``opened(*widgets, theme=, **context options)``: a page of them, from a file."""

    def start(*widgets, theme="light", **options):
        seen = visit(write_page(tmp_path, *widgets, theme=theme).as_uri(), **options)
        seen.ready(len(widgets)).settle()
        return seen

    return start


def slider(seen, name):
    return seen.page.get_by_role("slider", name=name)


def button(seen, name):
    return seen.page.get_by_role("button", name=name, exact=True)


def shown(seen, name):
    text = seen.page.locator(f".dgm[data-{name}]").get_attribute(f"data-{name}")
    return np.array(json.loads(text))


def rows(seen):
    """The race's table: a row's name to what its cells say."""
    script = "all => all.map(row => [...row.children].map(cell => cell.textContent))"
    table = seen.page.locator(".dgm-bounds tbody tr").evaluate_all(script)
    return {name: cells for name, *cells in table}


def finished(seen):
    """Wait until the race has the estimates of all its batches."""
    seen.settle()
    seen.page.get_by_text("a bar the mean of 24;").wait_for()


def circles(seen, row):
    return seen.page.locator(".dgm-info-dots").nth(row).get_attribute("d").count("Z")


def exact(widget):
    return -widget.dimension / 2 * math.log1p(-(widget.correlation**2)) + 0.0


def estimates(widget):
    """What each bound says of each of the 24 batches, (24, 4) nats, by the paper's functions."""
    rho, n, d = widget.correlation, widget.batch, widget.dimension
    size, rows = 2 * 256 * 20, []
    for number in range(24 * widget.seed, 24 * widget.seed + 24):
        uniforms = mulberry32(np.arange(size) + number * size + 1).reshape(-1, 2)
        normals = torch.from_numpy(box_muller(uniforms).reshape(2, 256, 20))
        x, noise = normals[:, :n, :d]
        y = rho * x + math.sqrt(1 - rho**2) * noise
        scores = best_critic(x[:, None], y, rho).sum(-1)
        joint, product = scores.diagonal(), scores[~torch.eye(n, dtype=torch.bool)]
        classifier = math.log(2) - jensen_shannon_loss(joint, product) / 2
        bounds = donsker_varadhan(joint, product), nwj(joint + 1, product + 1), info_nce(scores)
        rows.append([float(value) for value in (*bounds, classifier)])
    return np.array(rows)


def test_the_race_estimates_what_pytorch_estimates(opened):
    seen, widget = opened(BoundRace()), BoundRace()
    moves = [
        (None, {}),
        ((slider(seen, "Dimensions"), "End"), {"dimension": 20}),
        ((slider(seen, "Pairs"), "ArrowLeft"), {"batch": 32}),
        ((slider(seen, "Correlation"), "ArrowRight"), {"correlation": 0.91}),
        ((button(seen, "Draw again"), "Enter"), {"seed": 1}),
        ((slider(seen, "Correlation"), "Home"), {"correlation": 0.0}),
    ]
    for move, state in moves:
        if move:
            move[0].press(move[1])
        widget.set_state(state)
        finished(seen)
        expected = estimates(widget)
        np.testing.assert_allclose(shown(seen, "estimates"), expected, rtol=1e-8, atol=1e-9)
        table = rows(seen)
        assert table.pop("Exact value") == [f"{exact(widget):.3f}", "none"]
        for cells, values in zip(table.values(), expected.T, strict=True):
            mean, error = (float(v.replace("\u2212", "-")) for v in cells[0].split(" ± "))
            assert mean == pytest.approx(values.mean(), rel=0.05, abs=1e-4)
            assert error == pytest.approx(values.std(ddof=1) / 24**0.5, rel=0.06, abs=1e-4)
        ceilings = [cells[1] for cells in table.values()]
        assert ceilings == ["none", "none", f"{np.log(widget.batch):.3f}", "0.693"]
        assert circles(seen, 2) == circles(seen, 3) == 24
        if state == {"batch": 32}:
            note = seen.page.locator(".dgm-bounds .dgm-side .dgm-note").inner_text()
            assert "past InfoNCE's ceiling: with 32 pairs" in note
            assert "comes out too high" in note
    button(seen, "Reset").press("Enter")
    finished(seen)
    np.testing.assert_allclose(shown(seen, "estimates"), estimates(BoundRace()), atol=1e-9)
    seen.assert_clean()


def chosen_set(lottery):
    return next(given for given in lottery.sets if given["name"] == lottery.set)


def lottery_weights(lottery):
    """The weights of equation (10), and the shares after drawing and weighing, (K,) each."""
    given = chosen_set(lottery)["scores"]
    scores = torch.tensor(given[lottery.critic or "phase I"][lottery.anchor], dtype=torch.float64)
    scores = scores if lottery.critic else torch.zeros_like(scores)
    log_prob = torch.log(lottery.p * (1 - lottery.p) ** torch.arange(len(scores)).double())
    weights = raml_weights(scores, scores[:1].expand_as(scores), log_prob, lottery.temperature)
    return weights.numpy(), torch.softmax(scores / lottery.temperature, 0).numpy()


def test_the_lottery_weighs_as_pytorch_weighs(opened):
    lottery = RamlLottery(texts())
    seen = opened(RamlLottery(texts()))

    def choose(name, value):
        seen.page.get_by_label(name, exact=True).select_option(value)

    moves = [
        (lambda: None, {}),
        (lambda: slider(seen, "Chance").press("ArrowRight"), {"p": 0.31}),
        (lambda: slider(seen, "Temperature").press("Home"), {"temperature": 0.1}),
        (lambda: choose("Sentence", "1"), {"anchor": 1}),
        (lambda: choose("Text", "a play"), {"set": "a play", "anchor": 0}),
        (lambda: choose("Critic", "likelihood"), {"critic": "likelihood"}),
        (lambda: choose("Critic", ""), {"critic": ""}),
    ]
    for move, state in moves:
        move()
        lottery.set_state(state)
        seen.settle()
        weights, shares = lottery_weights(lottery)
        np.testing.assert_allclose(shown(seen, "weights"), weights, rtol=1e-6, atol=1e-15)
        np.testing.assert_allclose(shown(seen, "shares"), shares, rtol=1e-6, atol=1e-15)
        heads = seen.page.locator(".dgm-lot tbody th").all_inner_texts()
        first = chosen_set(lottery)["anchors"][lottery.anchor] + 1
        assert heads == texts()[0]["texts"][first : first + 12]
        best = seen.page.locator(".dgm-lot-most td").first.inner_text()
        assert best == str(weights.argmax())
        effective = seen.page.locator(".dgm-lot dd").first.inner_text()
        assert effective.startswith(f"{1 / (weights**2).sum():.2f} of 12")
    button(seen, "Reset").press("Enter")
    seen.settle()
    weights, _ = lottery_weights(RamlLottery(texts()))
    np.testing.assert_allclose(shown(seen, "weights"), weights, rtol=1e-6)
    seen.assert_clean()


@pytest.mark.parametrize(
    ("make", "name", "key", "chosen", "back"),
    [
        (BoundRace, "Dimensions", "End", {"dimension": 20}, {"dimension": 3}),
        (lambda: RamlLottery(texts()), "Chance", "Home", {"p": 0.05}, {"p": 0.5}),
    ],
)
def test_traits_follow_the_reader_and_the_page_follows_them(visit, make, name, key, chosen, back):
    widget = make()
    state = {name: getattr(widget, name) for name in widget.keys if not name.startswith("_")}
    for extra in ("layout", "tabbable", "tooltip"):
        state.pop(extra)
    seen = visit("about:blank")
    seen.page.evaluate(STUB, [widget._esm, state])
    slider(seen, name).press(key)
    (trait, value), (_, other) = *chosen.items(), *back.items()
    assert seen.page.evaluate(f"[kernel.state.{trait}, kernel.saved]") == [value, 1]
    widget.set_state(chosen)
    seen.page.evaluate(f"kernel.set('{trait}', {other})")
    seen.settle()
    assert float(slider(seen, name).input_value()) == other
    seen.page.evaluate("stop()")
    assert seen.page.evaluate("kernel.left()") == 0
    seen.assert_clean()


@pytest.mark.timing
@pytest.mark.parametrize(
    "make", [lambda: BoundRace(dimension=20, batch=256), lambda: RamlLottery(texts(40))]
)
def test_a_frame_takes_less_than_sixteen_milliseconds(opened, make, record_testsuite_property):
    widget = make()
    p95 = opened(widget).p95(16)
    record_testsuite_property(f"{type(widget).__name__}_frame_p95_ms", p95)
    assert p95 < 16


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(opened, theme):
    seen = opened(BoundRace("badge", dimension=4), RamlLottery(texts(), "badge"), theme=theme)
    assert seen.axe() == ""


def test_a_narrow_page_needs_no_scroll_and_text_is_never_html(opened):
    bad = "<img src=x onerror='document.title=1'>"
    sets = texts(label=bad, texts=[bad + "long" * 20] * 24)
    widgets = BoundRace(bad, title=bad), RamlLottery(sets, bad, title=bad)
    seen = opened(*widgets, viewport={"width": 360, "height": 740})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
    right = "all => Math.max(...all.map(one => one.getBoundingClientRect().right))"
    assert seen.page.locator(".dgm *:not(.dgm-status, svg *)").evaluate_all(right) <= 360
    assert seen.page.locator(".dgm-lot tbody th").first.inner_text().startswith(bad)
    assert seen.page.locator(".dgm img").count() == 0
    assert seen.page.title() == "Widgets"


def test_bars_stay_in_forced_colours_and_in_print(opened):
    seen = opened(RamlLottery(texts()))
    seen.settle()
    count, faded = seen.faded_marks()
    assert count > 2
    assert faded == []
