"""What chapter 2's opening says, on the built page: for its first story and for ten others."""

from itertools import pairwise
from urllib.parse import quote

import pytest

PAGE = "notebooks/02_mutual_information_lm.html"
TALES = """widget => [...widget.querySelectorAll(".dgm-tale")].map(tale =>
  [...tale.querySelectorAll(".dgm-topic")].map(one => one.textContent))"""
SHARED = """widget => [...widget.querySelectorAll("tbody tr")].slice(0, 2)
  .map(row => row.children[1].textContent)"""


@pytest.fixture
def view(visit, serve, book):
    return visit(f"{serve(book)}/{PAGE}").ready(1)


def shared(widget):
    """Return how many of the 11 neighbours of each story share a topic, as the table has it."""
    counts = [
        sum(a == b != "no topic" for a, b in pairwise(tale)) for tale in widget.evaluate(TALES)
    ]
    assert widget.evaluate(SHARED) == [f"{count} of 11" for count in counts]
    return counts


def test_cool_stories_keep_their_topic_and_hot_ones_do_not(view):
    widget = view.page.locator(".dgm-lang:not(.dgm-quiz)")
    first, *openings = [
        option
        for option in widget.locator("select option").evaluate_all("all => all.map(o => o.value)")
        if option.strip() and option != "own"
    ]
    states = [(opening.strip(), 0) for opening in openings]
    states += [(first.strip(), seed) for seed in range(1, 11 - len(states))]
    holds = []
    for opening, seed in [("", 0), *states]:
        if opening:
            address = f"#stories=opening:{quote(opening)},seed:{seed}"
            view.page.evaluate("address => { location.hash = address; }", address)
            view.page.get_by_text(f"Set by a link: opening {opening}, seed {seed}.").wait_for(
                state="attached"
            )
        view.page.get_by_role("link", name="At 0.3", exact=True).press("Enter")
        view.settle()
        cool = shared(widget)
        view.page.get_by_role("link", name="At temperature 2", exact=True).press("Enter")
        view.settle()
        holds.append(min(cool) >= 8 and max(shared(widget)) <= 6)
    assert len(holds) == 11
    assert holds[0], "the first state"
    assert sum(holds[1:]) >= 9, holds
    view.assert_clean()
