"""The text widgets in a real browser: the page's model is PyTorch's; what a reader may type."""

import functools

import numpy as np
import pytest
import small_widgets as small
import torch

from dgm.data import text
from dgm.data.synthetic import review_grammar
from dgm.simplex_steering import SteeringModel, rewrite
from dgm_book.widgets import AttributeSwitch, SentenceSteering, TextWeights

OPTIONS = {"margins": (1.5, 0.7, 0.3, 0.1), "threshold": 0.6}
SMALL = {"embedding": 32, "hidden": 64, "context": 48, "voters": 32}
EXAMPLES = ["the pizza was great .", "sadly , the host was rude today .", "we loved the patio ."]
ENDS = ["", " . 12 zorp . nice !", " zorp .", " zorp 3.50 zorp", " a1 b2 c3 d4 a1 e5 f6 ?"]


def steering_model(words, **sizes):
    """Return an untrained model whose rewrites vary: its random weights are large."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SteeringModel(text.Vocabulary(words, 4, mask=True), **sizes)
        for name, parameter in model.named_parameters():
            # What reads stays soft: at a corner agreements are equal but for rounding.
            if name.endswith("weight") and name not in ("voters.weight", "weights.weight"):
                parameter.data *= 6 if name == "embedding.weight" else 2.5
        model.by_match.data.fill_(0.2)
        model.word_bias.data.normal_()
        # What may never be written is most probable, and many a sentence ends early.
        model.word_bias.data[2] = 6.0
        model.word_bias.data[[0, 1, model.vocabulary.mask]] = 9.0
    return model.eval().requires_grad_(False)


@functools.lru_cache
def vocabulary():
    words = text.Vocabulary.build(review_grammar(2000, seed=3)[0], 200, 4, mask=True).words
    return [*words[:-1], "_num_"]


def weights(golden=()):
    model = steering_model(vocabulary(), **SMALL)
    return TextWeights(small.arrays(model), vocabulary(), golden)


@functools.lru_cache
def page_model():
    """Return a model with the weights that the page has."""
    model, page = steering_model(vocabulary(), **SMALL), weights()
    page = page.arrays(page.header["tensors"])
    tensors = {name: torch.from_numpy(value.copy()) for name, value in page.items()}
    model.load_state_dict(tensors, strict=False)
    return model


@functools.lru_cache
def golden(count=100):
    """Return PyTorch's rewrites of texts with unknown and repeated words, long and short."""
    dice, rewrites = np.random.default_rng(0), []
    for i, sentence in enumerate(review_grammar(count, seed=4)[0]):
        sentence = sentence.removesuffix(" .") + ENDS[i % 5]
        if i % 20 == 7:
            sentence = " ".join([sentence] * 5)
        elif i % 20 == 8:
            sentence = sentence.split()[0]
        first, second, _ = dice.dirichlet([0.4] * 3).round(4).tolist()
        weights = [first, second, max(0.0, 1 - first - second)]
        answer = page_model().rewrite(sentence, torch.tensor(weights), **OPTIONS)
        rewrites.append({"sentence": sentence, "weights": weights, "rewrite": answer} | OPTIONS)
    return rewrites


def steering(golden=()):
    return SentenceSteering(weights(golden), EXAMPLES, **OPTIONS)


def golden_wrong(view):
    checked = view.page.locator(".dgm[data-golden-wrong]")
    checked.wait_for()
    return int(checked.get_attribute("data-golden-wrong"))


def rewritten(view):
    """Return the sentence on the page, once the widget has drawn."""
    view.drawn()
    return view.page.locator(".dgm").first.get_attribute("data-rewritten")


def percentages(view):
    """Return where the three sliders stand."""
    return [int(view.slider(name).input_value()) for name in ("negative", "neither", "positive")]


# The model


@pytest.mark.parametrize("script", ["", "delete globalThis.WebAssembly"])
def test_a_hundred_sentences_come_out_as_pytorch_says_and_a_wrong_one_is_counted(opened, script):
    answers = [dict(row) for row in golden()]
    assert len({row["rewrite"] for row in answers}) > 80
    view = opened(steering(answers), script=script)
    assert golden_wrong(view) == 0
    view.assert_clean()
    answers[2]["rewrite"] += " zorp"
    assert golden_wrong(opened(steering(answers[:4]), script=script)) == 1


@pytest.mark.parametrize("backward", [False, True])
def test_a_switch_in_mid_sentence_is_that_of_pytorch(opened, backward):
    view = opened(AttributeSwitch(weights(), EXAMPLES, **OPTIONS))
    before, after = torch.eye(3)[[2, 0] if backward else [0, 2]].split(1)
    if backward:
        view.page.get_by_role("radio", name="positive, then negative").check()
    view.page.get_by_role("combobox", name="Sentence").select_option("1")
    rewrites = []
    for place in range(len(EXAMPLES[1].split()) + 1):
        view.slider("Switch").fill(str(place))
        options = {**OPTIONS, "switch_at": place, "weights_after": after}
        (expected,) = rewrite(page_model(), EXAMPLES[1:2], before, **options)
        rewrites.append(rewritten(view))
        assert rewrites[-1] == expected.text
    assert len(set(rewrites)) > 2


@pytest.mark.parametrize(
    "sentence",
    [
        "We paid $12.50 for 2 Zorps! The host was rude... today. Quux zorp. The pizza was great.",
        "Zorp, quux, blarg, frob, quandle and plugh loved the patio.",
        "the pizza was great, " * 20 + "but the host was rude today and " * 6 + "we left.",
    ],
)
def test_a_text_of_several_sentences_comes_out_as_python_says(opened, sentence):
    view = opened(steering())
    words = text.tokenise(sentence, keep_numbers=True)
    expected = page_model().rewrite(words, [0.0, 0.0, 1.0], **OPTIONS)
    view.page.get_by_label("Your sentence").fill(sentence)
    assert rewritten(view) == expected
    assert "<unk>" not in expected
    assert "_num_" not in expected
    view.assert_clean()


@pytest.mark.timing
def test_a_rewrite_at_full_size_takes_less_than_fifty_milliseconds(
    opened, record_testsuite_property
):
    words = [f"w{i}" for i in range(3992)]
    large = TextWeights(small.arrays(steering_model(words)), words)
    assert len(large.data) < 1_400_000
    sentence = " ".join(f"w{37 * i}" for i in range(10))
    view = opened(SentenceSteering(large, [sentence], margins=OPTIONS["margins"], threshold=1.0))
    p95 = view.p95(50, lambda: view.sweep(0, place=2))
    record_testsuite_property("rewrite_p95_ms", p95)
    assert p95 < 50


# Steering


def test_a_drag_of_sixty_events_ends_where_it_was_let_go(opened):
    view = opened(steering())
    pad = view.page.locator(".dgm-pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    start, end = (box["x"] + 40, box["y"] + 200), (box["x"] + 190, box["y"] + 120)
    view.drag(start, end, steps=60)
    dragged = rewritten(view), percentages(view)
    assert sum(dragged[1]) == 100
    view.button("Reset").click()
    assert rewritten(view) != dragged[0]
    view.page.mouse.click(*end)
    assert (rewritten(view), percentages(view)) == dragged


def test_the_triangle_is_walked_by_keyboard_and_a_frame_is_one_rewrite(opened):
    view = opened(steering())

    def pressed(node, *keys):
        for key in keys:
            node.press(key)
        view.drawn()
        return percentages(view)

    pad, positive = view.page.locator(".dgm-pad"), view.slider("positive")
    assert pressed(pad, *["Shift+ArrowLeft"] * 5) == [100, 0, 0]
    assert pressed(pad, "ArrowUp") in ([98, 2, 0], [96, 4, 0])
    assert pressed(positive, "End") == [0, 0, 100]
    assert pressed(positive, "Home") == [50, 50, 0]
    view.page.evaluate("performance.clearMeasures()")
    hasty = """slider => { for (let i = 0; i <= 60; i++) {
      slider.value = i; slider.dispatchEvent(new Event("input", { bubbles: true })); } }"""
    view.slider("negative").evaluate(hasty)
    view.drawn()
    assert len(view.frames()) == 1
    assert (percentages(view)[0], sum(percentages(view))) == (60, 100)


def test_new_words_are_marked_lost_words_told_and_the_sentence_is_the_largest_text(opened):
    view = opened(steering())
    words, source = rewritten(view).split(), EXAMPLES[0].split()
    marked = " ".join(view.page.locator("ins").all_inner_texts())
    new = [word for word in words if word not in source]
    assert new
    assert all(word in marked for word in new)
    line = view.page.locator("ins").first.evaluate("n => getComputedStyle(n).textDecorationLine")
    assert line == "underline"
    gone = view.page.locator(".dgm-gone").inner_text()
    assert all(word in gone for word in source if word not in words)
    sizes = "all => all.map(n => parseFloat(getComputedStyle(n).fontSize))"
    sentence = min(view.page.locator(".dgm-said").evaluate_all(sizes))
    others = view.page.locator(".dgm *:not(.dgm-said, .dgm-said *)").evaluate_all(sizes)
    assert sentence > 1.15 * max(others)


# The cliff


def test_the_cliff_answers_the_keyboard_and_its_mark_stands_at_its_density(opened):
    steps = np.linspace(-4, 4, 9)
    codes, density = 50 + 3 * np.random.default_rng(2).normal(size=900), 50 + 9 * np.abs(steps)
    options = {"steps": steps, "sentences": [[f"{x} {i}" for i in range(9)] for x in EXAMPLES[:2]]}
    options |= {"log_mean": [density] * 2, "mean_log": [10 * density] * 2, "axis": "VAE steps"}
    model = small.walk(**options, original={"log_mean": codes, "mean_log": 10 * codes})
    view = opened(small.cliff(sources=EXAMPLES[:2], models=[model, small.walk(label="Simplex")]))
    page, walk = view.page, view.slider("VAE steps")
    nodes = (".dgm-said", ".dgm-note", ".dgm-panel text.dgm-halo")
    sentence, note, halo = (page.locator(node).first for node in nodes)
    assert sentence.inner_text().endswith(" 4")  # the step that changes nothing
    assert "Farther out than every" not in note.inner_text()
    walk.press("End")
    view.drawn()
    assert sentence.inner_text().endswith(" 8")
    assert "Farther out than every code of a real sentence" in note.inner_text()
    assert halo.text_content() == "86.0"
    assert walk.get_attribute("aria-valuetext").startswith("4: ")
    svg = page.locator(".dgm-panel svg").first
    x = float(svg.locator(".dgm-stem").get_attribute("d")[1:].split()[0])
    marks = "all => all.map(t => [Number(t.textContent), Number(t.getAttribute('x'))])"
    (a, left), *_, (b, right) = svg.locator("text:not([class])").evaluate_all(marks)
    assert x == pytest.approx(left + (86 - a) / (b - a) * (right - left), abs=0.5)
    page.get_by_role("radio", name="mean of the log densities").check()
    view.drawn()
    assert halo.text_content() == "860.0"
    page.get_by_label("The sentence it starts from").select_option("1")
    view.drawn()
    assert sentence.inner_text().startswith("sadly, the host")
