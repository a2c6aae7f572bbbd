"""Chapter 5's opening, played: which end of a sentence moves the code, for each encoder."""

import json
from urllib.parse import quote

import pytest

PAGE = "notebooks/05_pooling_vae.html"
LINK = "#ruler=own_scale:on"
# The lengths of the bars that the widget draws: a list of words for each encoder.
BARS = """widget => [2, 3, 4].map(column =>
  [...widget.querySelectorAll(`tbody tr > :nth-child(${column}) .dgm-enc-bar`)]
    .map(bar => parseFloat(bar.style.width)))"""


@pytest.fixture
def view(visit, serve, book):
    return visit(f"{serve(book)}/{PAGE}")


def test_a_last_state_leans_to_the_end_and_a_maximum_to_the_beginning(view):
    view.page.locator(f"main p a[href='{LINK}']", has_text="own scale").first.click()
    widget = view.page.locator(".dgm", has_text="Which words move the code?")
    widget.locator("tbody tr").first.wait_for()
    examples = widget.locator("select option").evaluate_all("all => all.map(one => one.value)")
    sentences = [text for text in examples if len(text.split()) > 5]
    default = widget.get_by_role("textbox").input_value()
    others = [text for text in sentences if text != default][:10]
    assert len(others) == 10
    holding = {}
    for sentence in [default, *others]:
        address = f"{LINK},sentence:{quote(sentence, safe='')}"
        view.page.evaluate("address => { location.hash = address }", address)
        view.page.wait_for_function(
            "([node, text]) => node.value === text",
            arg=[widget.get_by_role("textbox").element_handle(), sentence],
        )
        view.settle()
        last, _, maximum = widget.evaluate(BARS)
        assert len(last) == len(sentence.split())
        assert max(last) == max(maximum) == 100  # each on its own scale
        leans = sum(last[:3]) < sum(last[-3:]) and sum(maximum[:3]) > sum(maximum[-3:])
        *still, moves = map(max, json.loads(widget.get_attribute("data-moved")))
        holding[sentence] = leans and moves > 3 * max(still)  # several times as far
    assert holding.pop(default)
    assert sum(holding.values()) >= 9, [text for text, holds in holding.items() if not holds]
    view.assert_clean()
