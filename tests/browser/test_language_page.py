"""The storyteller and the next-sentence quiz in a real browser, against PyTorch and Python."""

import functools
import itertools
import json

import numpy as np
import pytest
import small_widgets as small
import torch
from page_hashes import ODD, murmur_mix
from page_words import split_words
from quiz import information_at_least, wilson

from dgm.data.synthetic import THEMES, find_theme
from dgm.data.text import Vocabulary
from dgm.nets.language_models import plain_lstm
from dgm_book.widgets import LanguageWeights
from dgm_book.widgets.packing import rounded
from dgm_book.widgets.text_weights import MOST_WORDS

WORDS = [word for words in THEMES.values() for word in words] + ["the", "of", "and", "to"]
OPENINGS = ["the sea boat", "to the oven"]
SHOWS = """wanted => {
  const lines = [...document.querySelectorAll(".dgm-line")].map(line => line.textContent);
  const shown = lines.map(line => line.replace(/ ?\\u2026$/, ""));
  return JSON.stringify(shown) === JSON.stringify(wanted);
}"""
MARKUP = "<img src=x onerror='document.title=1'>"


@functools.lru_cache
def models():
    """Return untrained models as wide as the book's, that end a sentence now and then.

    The first have the weights that the page computes with, the others travel.
    """
    given = {}
    for i, name in enumerate(small.NAMES):
        model, generator = plain_lstm(4 + len(WORDS), 64), torch.Generator().manual_seed(i)
        state = model.state_dict()
        for value in state.values():
            value.normal_(0, 0.3, generator=generator)
        state["head.bias"][2] += 3
        given[name] = {key: value.numpy() for key, value in state.items()}
    page = {}
    for name, arrays in rounded(given).items():
        page[name] = plain_lstm(4 + len(WORDS), 64).requires_grad_(False)
        page[name].load_state_dict({key: torch.from_numpy(x) for key, x in arrays.items()})
    return page, given


@functools.lru_cache
def golden():
    """Return what PyTorch says after rows of ids with the weights of the page."""
    dice = np.random.default_rng(0)
    rows = [[2], [2, 3, 3], *dice.integers(0, 4 + len(WORDS), (6, 12)).tolist()]
    log_probs = {}
    for name, model in models()[0].items():
        outputs = [model.read(torch.tensor([row])).output[:, -1] for row in rows]
        log_probs[name] = model.head.log_probs(model.embedding.weight, torch.cat(outputs)).numpy()
    return {"tokens": rows, "log_probs": log_probs}


def write(name, opening, n, seed, temperature):
    """Return n sentences of ids, each word drawn with the number of its place."""
    model, story = models()[0][name], []
    state = model.start(1)
    for token in opening:
        log_probs, state = model.step(torch.tensor([token]), state)
    for i in range(n):
        sentence = []
        while len(sentence) < MOST_WORDS:
            place = (seed * 64 + i) * 64 + len(sentence) + 1
            heights = torch.softmax(log_probs[0].double() / temperature, 0).cumsum(0)
            point = float(murmur_mix(place * ODD % 2**32)) / 2**32 * heights[-1]
            token = int(torch.searchsorted(heights, point, right=True))
            log_probs, state = model.step(torch.tensor([token]), state)
            if token == Vocabulary.end:
                break
            sentence.append(token)
        story.append(sentence)
    return story


def story(widget):
    """Return the lines that each model writes now; the first starts with the opening."""
    vocabulary, words = Vocabulary(WORDS), split_words(widget.opening)
    opening = [vocabulary.end, *(vocabulary.id(word) for word in words)]
    tales = {}
    for name in small.NAMES:
        ids = write(name, opening, widget.n_sentences, widget.seed, widget.temperature)
        lines = [[vocabulary.tokens[token] for token in sentence] for sentence in ids]
        tales[name] = [" ".join(line) for line in (words + lines[0], *lines[1:])]
    return tales


def teller(golden=None, weights=None, **options):
    weights = weights or LanguageWeights(models()[1], WORDS, golden=golden)
    return small.teller(weights=weights, openings=OPENINGS, **options)


def written(view, widget):
    """Wait until the page shows the story that PyTorch writes; check its topics and its tally."""
    tales = story(widget).values()
    view.page.wait_for_function(SHOWS, arg=[line for tale in tales for line in tale])
    names = [*THEMES, "no topic"]
    topics = [[find_theme(line) for line in tale] for tale in tales]
    shown = view.page.locator(".dgm-topic").all_inner_texts()
    assert shown == [names[k] for tale in topics for k in tale]
    same = [sum(a == b >= 0 for a, b in itertools.pairwise(t)) for t in topics]
    n = widget.n_sentences - 1
    cells = view.page.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert cells[:2] == [f"{k} of {n}" for k in same]
    return same


def checked(view):
    view.page.wait_for_function("document.querySelector('.dgm').dataset.goldenError !== undefined")
    return float(view.page.locator(".dgm").get_attribute("data-golden-error"))


@pytest.mark.parametrize("script", ["", "delete globalThis.WebAssembly"])
def test_the_page_writes_what_python_writes(opened, script):
    widget = teller(golden(), n_sentences=8)
    view = opened(widget, script=script)
    box, picks = view.page.get_by_label("Opening", exact=True), view.page.get_by_label("Openings")

    def then(_, **changes):
        widget.set_state(changes)
        return written(view, widget)

    first = written(view, widget)
    assert checked(view) < 1e-4
    second = then(box.press("Enter"), seed=1)
    # The tally holds both stories.
    so_far = view.page.locator("tbody tr td:nth-child(3)").all_inner_texts()
    expected = [f"{100 * (a + b) / 14:.0f}\u2009%of 14" for a, b in zip(first, second, strict=True)]
    assert ["".join(text.split("\n")) for text in so_far] == expected
    then(view.slider("Temperature").press("ArrowRight"), temperature=1.05)
    assert view.page.locator("output").inner_text() == "1.05"
    strange = f"The Zorp sea, {MARKUP}"
    then(box.fill(strange), opening=strange)
    unknown = ["zorp", "img", "src", "x", "onerror", "document", "title", "1"]
    assert view.page.locator("li:first-child .dgm-strange").all_inner_texts() == unknown * 2
    note = view.page.locator(".dgm-note").first.inner_text()
    assert "read as <unk>: \u201czorp\u201d, \u201cimg\u201d" in note
    then(box.fill(""), opening="")
    then(picks.select_option(label=OPENINGS[1]), opening=OPENINGS[1])
    assert box.input_value() == OPENINGS[1]
    then(view.button("Reset").press("Space"), opening=OPENINGS[0], temperature=1.0, seed=0)
    assert view.page.locator(".dgm img").count() == 0
    view.assert_clean()


@pytest.mark.timing
def test_a_wrong_golden_row_shows_and_a_frame_is_quick(opened, record_testsuite_property):
    wrong = {name: rows.copy() for name, rows in golden()["log_probs"].items()}
    wrong["phase I"][5, 17] -= 0.5
    view = opened(teller(golden() | {"log_probs": wrong}))
    assert checked(view) == pytest.approx(0.5, abs=1e-3)
    p95 = view.p95(16)
    record_testsuite_property("story_p95_ms", p95)
    assert p95 < 16


def table(view):
    return [row.split("\t") for row in view.page.locator(".dgm-side tbody tr").all_inner_texts()]


# Right answers so far of the reader, of a critic that always takes the first, and of one that ties.
RIGHT = [(1, 1, 2, 3), (1, 1, 2, 2), (0.5, 1, 1.5, 2)]


def test_the_quiz_by_keyboard(opened):
    view = opened(small.quiz(questions=[small.question(i) for i in range(6)], rounds=4))
    page, press, said = view.page, view.page.keyboard.press, ".dgm-first-said:visible"
    assert table(view)[0][1:] == ["0 of 0", "\u2013", "\u2013"]
    page.locator(".dgm-option").first.focus()
    for i, place in enumerate((0, 0, 0, 1)):
        assert page.locator(said).inner_text() == f"sentence {i}"
        assert page.locator(".dgm-option small").all_inner_texts() == ["", ""]
        assert page.locator(".dgm-controls td").all_inner_texts() == ["?"] * 4
        press(str(place + 1))
        press("2")  # too late
        verdicts = page.locator(".dgm-option small").all_inner_texts()
        assert ["this one follows" in text for text in verdicts] == [i % 2 == 0, i % 2 == 1]
        assert "your choice" in verdicts[place]
        for row, counts in zip(table(view), RIGHT, strict=True):
            low, high = wilson(counts[i], i + 1)
            least = information_at_least(float(np.clip(0.5, low, high)))
            interval = f"{low:.2f}\u2013{high:.2f}"
            assert row[1:] == [f"{counts[i]:g} of {i + 1}", interval, f"{least:.2f}"]
        press("Enter")  # the focus is on the next question
    assert "you have 3 right" in page.locator(said).inner_text()
    assert not page.locator(".dgm-option").first.is_visible()
    state = json.loads(page.locator(".dgm").get_attribute("data-moved"))
    assert state["answers"] == [0, 0, 0, 1]
    assert state["right"] == [counts[-1] for counts in RIGHT]
    view.button("Reset").press("Enter")
    # New questions, which begin again when there are no more.
    assert page.locator(said).inner_text() == "sentence 4"
    for _ in range(2):
        page.locator(".dgm-option").first.click()
        view.button("Next question").click()
    assert page.locator(said).inner_text() == "sentence 0"
    view.assert_clean()


def test_two_stories_of_one_model_do_not_mix(opened):
    first = teller(golden(), n_sentences=40)
    other = teller(weights=first.weights, opening="judge", n_sentences=40)
    view = opened(first, other)
    tales = [*story(first).values(), *story(other).values()]
    view.page.wait_for_function(SHOWS, arg=[line for tale in tales for line in tale])
