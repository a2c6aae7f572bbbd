"""Chapter 4's opening, played: a sentence at both ends of the slider, and what of it stays."""

import re
from urllib.parse import quote

import pytest

PAGE = "notebooks/04_controllable_text_vae.html"
# Sentences and what has to stay of them, beside half of their words.
OTHERS = {
    "Dr. Patel was rude and never explained the results.": "Patel",
    "The room on the 3rd floor was dirty and loud.": "3rd",
    "The pizza at Luigi's was delicious.": "Luigi's",
    "The 2 pm tour was boring and far too long.": "2",
    "Maria was friendly and helped us with our bags.": "Maria",
    "The burger cost 15 dollars and it was terrible.": "15",
    "The coffee at Blue Bottle is great.": "Bottle",
    "Room 212 was clean and quiet.": "212",
    "The parking is fine, but the food is awful.": "",
    "The staff were rude and the lobby smelled of smoke.": "",
}


def words(text):
    return re.findall(r"[\w']+", text.lower())


@pytest.fixture
def view(visit, serve, book):
    return visit(f"{serve(book)}/{PAGE}")


def test_both_ends_keep_half_of_the_words_and_all_numbers_and_names(view):
    opening = view.page.locator("p", has_text="Try it.").first
    promise = "numbers, names and at least half of your words are in both"
    assert promise in " ".join(opening.inner_text().split())
    opening.get_by_role("link", name="left end").click()
    widget = view.page.locator(".dgm-steer")
    rewrite = widget.locator(".dgm-stage .dgm-said")
    rewrite.filter(has_text=re.compile(r"\w")).wait_for()

    def at(link):
        link.click()
        view.settle()
        view.page.wait_for_function("!document.querySelector('.dgm-steer [aria-busy=true]')")
        return rewrite.inner_text()

    def holds(sentence, stays):
        ends = [at(opening.get_by_role("link", name=f"{side} end")) for side in ("left", "right")]
        in_both = [sum(word in words(end) for word in words(sentence)) for end in ends]
        half = len(words(sentence)) / 2
        return ends[0] != ends[1] and min(in_both) >= half and all(stays in end for end in ends)

    box = widget.get_by_role("textbox")
    assert holds(box.input_value(), "")
    failed = []
    for sentence, stays in OTHERS.items():
        address = f"#steering=sentence:{quote(sentence, safe='')}"
        view.page.evaluate("address => { location.hash = address }", address)
        view.page.wait_for_function(
            "([node, text]) => node.value === text", arg=[box.element_handle(), sentence]
        )
        failed += [] if holds(sentence, stays) else [sentence]
    assert len(failed) <= len(OTHERS) - 9, failed
    view.assert_clean()
