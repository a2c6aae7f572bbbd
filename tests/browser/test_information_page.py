"""The bound race and the lottery in a real browser: what they show is what PyTorch computes."""

import json
import math

import numpy as np
import pytest
import small_widgets as small
import torch
from page_hashes import box_muller, mulberry32

from dgm.papers.mutual_information_lm import (
    donsker_varadhan,
    info_nce,
    jensen_shannon_loss,
    nwj,
    raml_weights,
)
from dgm_book.chapters.mutual_information_lm.page import best_critic
from dgm_book.widgets import BoundRace


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
    view, widget = opened(BoundRace()), BoundRace()
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
        expected = estimates(widget)
        np.testing.assert_allclose(shown(view, "estimates"), expected, rtol=1e-8, atol=1e-9)
        table = rows(view)
        assert table.pop("Exact value") == [f"{exact(widget):.3f}", "none"]
        for cells, values in zip(table.values(), expected.T, strict=True):
            mean, error = (float(v.replace("\u2212", "-")) for v in cells[0].split(" ± "))
            assert mean == pytest.approx(values.mean(), rel=0.05, abs=1e-4)
            assert error == pytest.approx(values.std(ddof=1) / 24**0.5, rel=0.06, abs=1e-4)
        ceilings = [cells[1] for cells in table.values()]
        assert ceilings == ["none", "none", f"{np.log(widget.batch):.3f}", "0.693"]
        assert circles(view, 2) == circles(view, 3) == 24
        if state == {"batch": 32}:
            note = view.page.locator(".dgm-bounds .dgm-side .dgm-note").inner_text()
            assert "past InfoNCE's ceiling: with 32 pairs" in note
            assert "comes out too high" in note
    view.assert_clean()


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
        weights, shares = lottery_weights(lottery)
        np.testing.assert_allclose(shown(view, "weights"), weights, rtol=1e-6, atol=1e-15)
        np.testing.assert_allclose(shown(view, "shares"), shares, rtol=1e-6, atol=1e-15)
        heads = view.page.locator(".dgm-lot tbody th").all_inner_texts()
        first = chosen_set(lottery)["anchors"][lottery.anchor] + 1
        assert heads == chosen_set(lottery)["texts"][first : first + 7]
        best = view.page.locator(".dgm-lot-most td").first.inner_text()
        assert best == str(weights.argmax())
        effective = view.page.locator(".dgm-lot dd").first.inner_text()
        assert effective.startswith(f"{1 / (weights**2).sum():.2f} of 7")
    view.assert_clean()
