"""What chapter 6's opening says, on the built page: at its first seed and at ten others."""

import json

import numpy as np
import pytest

PAGE = "notebooks/06_variational_hyper_rnn.html"
FIRST = "0;0;0.25/20;1;0.25/40;1;4"
STATE = """([seed, schedule]) => {
  const { state } = document.querySelector(".dgm-switch-now").dataset;
  const now = JSON.parse(state ?? "null");
  const rows = now?.schedule.map(row => row.join(";")).join("/");
  return now?.seed === seed && now.steps >= 60 && rows === schedule ? state : null;
}"""


@pytest.fixture(scope="module")
def page(visit_once, serve, book):
    return visit_once(f"{serve(book)}/{PAGE}").ready(1).page


def read(page, seed, schedule):
    """Return the KL of both models (2, 60), and exact Bayes' first choice by step (60,)."""
    state = json.loads(page.wait_for_function(STATE, arg=[seed, schedule]).json_value())
    return np.array(state["kl"]), np.argmax(state["posterior"], 1)


def test_both_models_notice_the_noise_and_not_the_matrix(page):
    widget = page.locator(".dgm-switch-now")
    holds, bumps = [], []
    for seed in range(11):
        if seed:
            widget.get_by_role("button", name="Reset").press("Enter")
            read(page, 0, FIRST)
            box = widget.get_by_role("spinbutton", name="Seed")
            box.fill(str(seed))
            box.press("Enter")
        kl, belief = read(page, seed, FIRST)
        loud, quiet = kl[:, 40:45].max(1) > 1, kl[:, 20:25].max(1) < 0.5
        page.get_by_role("link", name="Noise 1 instead of 4").press("Enter")
        smaller, _ = read(page, seed, FIRST.replace(";4", ";1"))
        shrinks = smaller[:, 40:45].max(1) < kl[:, 40:45].max(1)
        holds.append(loud.all() and quiet.all() and shrinks.all() and belief[39] == 1)
        bumps.append((smaller[:, 40:45].max(1) < 1.5 * smaller[:, :40].max(1)).any())
    assert (holds[0], bumps[0]) == (True, True), "the first state"
    assert sum(holds[1:]) >= 9, holds
    assert 3 <= sum(bumps) <= 9, "some, not all"


def test_frozen_weights_predict_worse(page):
    script = """seed => {
      const state = JSON.parse(document.querySelector(".dgm-weather").dataset.state ?? "null");
      return state?.seed === seed && state.freeze === 1 ? state : null;
    }"""
    names = ["this freeze", "not frozen"]
    for seed in range(3):
        page.evaluate("seed => { location.hash = `weather=freeze:1,seed:${seed}`; }", seed)
        page.wait_for_function(script, arg=seed)
        rows = [page.locator(".dgm-weather tr", has_text=name) for name in names]
        nats = [row.locator("td").first.inner_text().replace("\u2212", "-") for row in rows]
        assert float(nats[0]) < float(nats[1]) - 0.1
