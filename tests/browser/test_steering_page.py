"""The text widgets in a real browser: the page's model is PyTorch's; what a reader may type."""

import functools

import numpy as np
import pytest
import rewriting_vectors
import small_widgets as small
import torch

from dgm import steering as steering_library
from dgm.data import text
from dgm.data.synthetic import review_grammar
from dgm.simplex_steering import SteeringModel, rewrite
from dgm.slider import rewrites_by_vertex
from dgm_book import widgets
from dgm_book.widgets import AttributeSwitch, TextWeights

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


def switch(golden=()):
    return AttributeSwitch(weights(golden), EXAMPLES, **OPTIONS)


def golden_wrong(view):
    checked = view.page.locator(".dgm[data-golden-wrong]")
    checked.wait_for()
    return int(checked.get_attribute("data-golden-wrong"))


def rewritten(view):
    """Return the sentence on the page, once the widget has drawn."""
    view.drawn()
    return view.page.locator(".dgm").first.get_attribute("data-rewritten")


# The switch in mid-sentence, by the older model


@pytest.mark.parametrize("script", ["", "delete globalThis.WebAssembly"])
def test_a_hundred_sentences_come_out_as_pytorch_says_and_a_wrong_one_is_counted(opened, script):
    answers = [dict(row) for row in golden()]
    assert len({row["rewrite"] for row in answers}) > 80
    view = opened(switch(answers), script=script)
    assert golden_wrong(view) == 0
    view.assert_clean()
    answers[2]["rewrite"] += " zorp"
    assert golden_wrong(opened(switch(answers[:4]), script=script)) == 1


@pytest.mark.parametrize("backward", [False, True])
def test_a_switch_in_mid_sentence_is_that_of_pytorch(opened, backward):
    view = opened(switch())
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


@pytest.mark.timing
def test_a_rewrite_at_full_size_takes_less_than_fifty_milliseconds(
    opened, record_testsuite_property
):
    words = [f"w{i}" for i in range(3992)]
    large = TextWeights(small.arrays(steering_model(words)), words)
    assert len(large.data) < 1_400_000
    sentence = " ".join(f"w{37 * i}" for i in range(10))
    view = opened(AttributeSwitch(large, [sentence], margins=OPTIONS["margins"], threshold=1.0))
    p95 = view.p95(50, lambda: view.sweep(0))
    record_testsuite_property("rewrite_p95_ms", p95)
    assert p95 < 50


# Steering a sentence by a rewriter

PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True}
TYPED = [
    "the pizza was great .",
    "Pizza was AWFUL! The great Zorp was great...",
    "the pizza 🍕 was é great, was it?",
    "הפיצה was great",
    "zorp quux",
    "the pizza was great, " * 9 + "the pizza was awful.",
]


def golden_rewrites(model):
    """PyTorch's rewrites of texts at both ends and between."""
    rows = []
    for i, typed in enumerate(TYPED):
        weights = [[1.0, 0, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 1.0]][i % 3]
        rewrites = [row.text for row in steering_library.candidates(model, typed, weights)]
        rows.append({"text": typed, "weights": weights, "rewrites": rewrites})
    return rows


def steered(view):
    """The rewrite, once all are there."""
    view.settle()
    return view.page.locator(".dgm-said").inner_text()


def words(view, kind):
    return view.page.locator(f".dgm-own .{kind}").all_inner_texts()


@pytest.mark.parametrize("script", ["", "delete globalThis.Worker"])
def test_it_rewrites_as_pytorch_does_in_a_worker_and_without(opened, script):
    rows = golden_rewrites(small.rewriting_model())
    weights = small.rewriter_weights(golden=rows)
    view = opened(small.steering(attributes=[small.attribute(weights=weights)]), script=script)
    assert golden_wrong(view) == 0
    view.page.get_by_label("Your sentence").fill(TYPED[2])
    last = steering_library.candidates(small.rewriting_model(), TYPED[2], [0, 0, 0, 0, 1.0])
    assert steered(view) == last[0].text
    assert view.page.locator(".dgm-other").all_inner_texts() == [row.text for row in last]
    assert not view.page.locator(".dgm-tabs").is_visible()  # there is one attribute only
    view.assert_clean()
    rows[2]["rewrites"][-1] += " zorp"
    weights = small.rewriter_weights(golden=rows)
    view = opened(small.steering(attributes=[small.attribute(weights=weights)]), script=script)
    assert golden_wrong(view) == 1


def test_new_words_are_marked_what_is_left_out_struck_through_and_one_may_choose(opened):
    view = opened(small.steering())
    first = steered(view)
    source = small.EXAMPLES[0].split()
    new = " ".join(view.page.locator(".dgm-said ins").all_inner_texts()).split()
    gone = words(view, "dgm-struck")
    assert set(first.split()) - set(source) <= set(new)
    assert {w for w in source if w.isalpha() and w not in first.lower().split()} <= set(gone)
    line = "n => getComputedStyle(n).textDecorationLine"
    assert view.page.locator(".dgm-own .dgm-struck").first.evaluate(line) == "line-through"
    others = view.page.locator(".dgm-other").all_inner_texts()
    assert 3 <= len(others) <= 5
    assert others[0] == first
    view.page.locator(".dgm-others").get_by_role("radio").nth(2).check()
    assert steered(view) == others[2] != first
    bars = "all => all.map(n => n.firstChild.getBoundingClientRect().width)"
    lengths = view.page.locator(".dgm-others .dgm-share").evaluate_all(bars)
    assert lengths == sorted(lengths, reverse=True)
    view.slider("How it shall sound").press("Home")  # another place begins with its best
    assert steered(view) == view.page.locator(".dgm-other").first.inner_text()
    view.assert_clean()


def test_a_word_is_locked_and_freed_by_click_and_enter_and_arrows_walk_the_words(opened):
    view = opened(small.steering())
    steered(view)
    gone = next(word.lower() for word in words(view, "dgm-struck") if word.isalpha())
    button = view.page.locator(".dgm-own button", has_text=gone)
    button.click()
    assert gone in steered(view).lower().split() or view.page.locator(".dgm-verdict").inner_text()
    assert button.get_attribute("aria-pressed") == "true"
    assert button.evaluate("n => parseFloat(getComputedStyle(n).borderTopWidth)") >= 1
    button.press("Enter")
    view.settle()
    assert button.get_attribute("aria-pressed") == "false"
    assert gone in words(view, "dgm-struck")
    places = view.page.locator(".dgm-own button[tabindex='0']")
    assert places.count() == 1
    view.page.locator(".dgm-own button").first.focus()
    view.page.keyboard.press("ArrowRight")
    focused = view.page.evaluate("document.activeElement.textContent")
    assert focused == small.EXAMPLES[0].split()[1]
    view.page.keyboard.press("Space")
    view.settle()
    assert view.page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    view.assert_clean()


def test_typing_is_answered_after_a_pause_and_a_drag_ends_where_it_was_let_go(opened):
    sent = """const post = Worker.prototype.postMessage; globalThis.sent = [];
      Worker.prototype.postMessage = function (message) {
        if (message.text) sent.push(message.text);
        post.call(this, message);
      };"""
    view = opened(small.steering(), script=sent)
    steered(view)
    view.page.evaluate("sent.length = 0")
    view.page.get_by_label("Your sentence").fill("")
    view.page.get_by_label("Your sentence").press_sequentially("great pizza", delay=15)
    assert "nothing" not in view.page.locator(".dgm-verdict").inner_text()
    typed = steered(view)
    # Other work may hold up a letter for as long as a pause.
    *earlier, last = view.page.evaluate("sent")
    assert last == "great pizza"
    assert len(earlier) <= 1
    model = small.rewriting_model()
    expected = steering_library.candidates(model, "great pizza", [0, 0, 0, 0, 1.0])
    assert typed == expected[0].text
    frames = view.sweep(0, 60)
    assert max(frames) < 100
    view.slider("How it shall sound").fill("0.25")
    assert steered(view) == rewrites_by_vertex(model, "great pizza")[1].text
    assert view.page.locator("output").first.inner_text() == "1"


def test_what_cannot_be_changed_is_declined_with_its_reason(opened):
    weights = small.rewriter_weights(least_nats=1e9)
    view = opened(small.steering(attributes=[small.attribute(weights=weights)]))
    assert steered(view) == small.EXAMPLES[0]
    verdict = view.page.locator(".dgm-verdict").inner_text()
    assert verdict.startswith("I cannot change this one: nothing that I can write")
    assert view.page.locator(".dgm-other").count() == 0
    view.page.locator("[role=status]", has_text="I cannot change").wait_for(state="attached")
    view.page.locator("summary").click()
    view.settle()
    assert view.page.locator(".dgm-ranks s").count() > 1  # what was not good enough


def test_the_fold_out_shows_the_words_the_candidates_and_the_parts_of_the_score(opened):
    view = opened(small.steering(sentence="the pizza was great. the pizza was awful."))
    steered(view)
    view.page.locator("summary").press("Enter")
    view.settle()
    assert view.page.locator(".dgm-ranks li").count() > 2
    sentence = small.rewriting_model()
    weights = torch.tensor([[0, 0, 0, 0, 1.0]])
    (ranked,) = steering_library.rank(sentence, ["the pizza was awful ."], weights)
    view.page.get_by_label("Which sentence").select_option("1")
    view.settle()
    assert view.page.locator(".dgm-ranks li").count() == len(ranked)
    rows = view.page.locator(".dgm-parts tbody tr").all_inner_texts()
    total = rows[-1].split()[2:4]
    shown = [f"{c.scores.total:+.2f}".replace("-", "−") for c in ranked[:2]]
    assert total == shown
    parts = [float(row.split()[-2].replace("−", "-")) for row in rows[:-1]]
    assert sum(parts) == pytest.approx(ranked[0].scores.total, abs=0.03)
    assert view.axe() == ""
    view.assert_clean()


def test_the_triangle_is_walked_by_keyboard_and_dragged(opened):
    view = opened(small.steering(attribute="captions"))
    pad = view.page.locator(".dgm-pad")

    def pressed(*keys):
        for key in keys:
            pad.press(key)
        view.settle()
        return view.page.locator(".dgm-controls .dgm-caption").inner_text().replace("\u2009", " ")

    assert pressed(*["Shift+ArrowLeft"] * 5) == "100 % plain"
    assert pressed(*["Shift+ArrowUp"] * 9) == "100 % romantic"
    assert "romantic" in pad.get_attribute("aria-label")
    model = small.rewriting_model(("plain", "romantic", "humorous"))
    expected = steering_library.candidates(model, small.EXAMPLES[0], [0, 1.0, 0])
    assert steered(view) == expected[0].text
    box = pad.bounding_box()
    view.drag((box["x"] + 150, box["y"] + 120), (box["x"] + 5, box["y"] + box["height"]), steps=60)
    assert pressed() == "100 % plain"
    view.assert_clean()


def test_a_tab_keeps_the_reader_s_own_sentence_and_else_takes_its_example(opened):
    captions = small.attribute("captions", examples=[{"text": "great pizza", "shows": "one"}])
    view = opened(small.steering(attributes=[small.attribute(), captions]))
    box, tabs = view.page.get_by_label("Your sentence"), view.page.get_by_role("radio")
    tabs.nth(1).check()
    assert steered(view)
    assert box.input_value() == "great pizza"
    tabs.nth(0).check()
    view.settle()
    box.fill("the awful pizza")
    tabs.nth(1).check()
    view.settle()
    assert box.input_value() == "the awful pizza"
    view.button("one").click()
    view.settle()
    assert box.input_value() == "great pizza"
    view.assert_clean()


def test_another_tab_s_model_comes_when_the_tab_is_opened(
    tmp_path, write_page, visit, extension, monkeypatch
):
    monkeypatch.setattr(extension, "MOST_BYTES", 1000)
    path = write_page(tmp_path, small.steering())
    pack = functools.partial(extension.packed_state, folder=tmp_path)
    path.write_text(extension.STATES.sub(pack, path.read_text("utf-8")), "utf-8")
    assert len([*tmp_path.glob("model-*.js")]) == 2

    def loaded():
        return view.page.locator("script[src^=model-]").count()

    view = visit(path.as_uri()).ready(1)
    assert steered(view)
    assert loaded() == 1
    view.page.get_by_role("radio", name="Captions").check()
    view.page.wait_for_function("document.querySelectorAll('script[src^=model-]').length === 2")
    assert steered(view)
    assert view.page.locator(".dgm-verdict").inner_text() == ""
    view.assert_clean()
    file = view.page.locator("script[src^=model-]").nth(1).get_attribute("src")
    (tmp_path / file).unlink()
    view = visit(path.as_uri()).ready(1)
    view.page.get_by_role("radio", name="Captions").check()
    view.page.get_by_text(f"could not be loaded: its model, the file {file}").wait_for()
    view.page.get_by_role("radio", name="Sentiment").check()
    assert steered(view)


@pytest.mark.parametrize("attribute", ["sentiment", "captions"])
def test_the_text_the_slider_and_the_rewrite_are_on_one_phone_screen(opened, attribute):
    view = opened(small.steering(attribute=attribute), **PHONE)
    steered(view)
    view.page.locator(".dgm-tabs").evaluate("n => n.scrollIntoView()")
    parts = ("textarea", ".dgm-controls")
    top, low = (view.page.locator(f".dgm {part}").bounding_box() for part in parts)
    assert top["y"] >= 0
    assert low["y"] + low["height"] <= PHONE["viewport"]["height"] - 100  # bars of a phone


def published_rewriter():
    model, form = rewriting_vectors.published_model()
    return model, widgets.RewriterWeights(*form)


HINT = "The food was good and the waiter was friendly."
# Notes when answers come, in ms: the first and all along the slider, after a sentence is asked for,
# which is once its typing pauses; then the answer of the slider's other end.
ANSWERS = """async ([sentences, patience]) => {
  const [said, stage, slider, box] = [".dgm-said", ".dgm-stage", "[type=range]", "textarea"]
    .map(selector => document.querySelector(selector));
  const times = [[], [], []];
  const until = ok => new Promise(done => { const look = () => ok() ? done() : setTimeout(look, 1);
    look(); });
  const busy = () => stage.getAttribute("aria-busy") === "true";
  for (const sentence of sentences) {
    const before = said.textContent, start = performance.now() + patience;
    box.value = sentence;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    await until(busy);
    await until(() => said.textContent !== before || !busy());
    const first = performance.now() - start;
    await until(() => !busy());
    times[1].push(performance.now() - start);
    if (!said.classList.contains("dgm-empty")) times[0].push(first); // else it declined
    const moved = performance.now(), shown = said.textContent;
    slider.value = slider.value === "0" ? 1 : 0;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    await until(() => said.textContent !== shown || performance.now() > moved + 300);
    if (said.textContent !== shown) times[2].push(performance.now() - moved);
  }
  return times;
}"""
PATIENCE = 250  # as in sentence_steering.js


@pytest.mark.timing
def test_the_published_rewriter_answers_at_once(opened, slowness, record_testsuite_property):
    limits = slowness * np.array([100, 600, 600, 50])
    attributes = [small.attribute(weights=published_rewriter()[1])]
    typed = [s for _, s in rewriting_vectors.typed_sentences()]
    lengths = {s: len(text.tokenise(s).split()) for s in typed}
    sentences = [s for s in typed if 9 <= lengths[s] <= 15][:20]
    sentences += [f"To be honest, {s}" for s in typed if lengths[s] == 11][:20]  # of 15 words
    assert len(sentences) == 40
    rounds = []
    # Other work may hold up four rounds, a slow rewriter all; a page remembers its answers.
    # Where only the choice along all stops has a rewrite, the first comes with it: half the
    # sentences' first within 100 ms, and all as soon as that choice.
    while not rounds or ((rounds[-1] >= limits).any() and len(rounds) < 4):
        view = opened(small.steering(attributes=attributes))
        steered(view)
        times = view.page.evaluate(ANSWERS, [sentences, PATIENCE])
        assert min(map(len, times)) >= 15
        middle = np.median(times[0])
        rounds.append(np.array([middle, *(np.percentile(part, 95) for part in times)]))
    middle, first, whole, moved = np.min(rounds, 0)
    record_testsuite_property("first_rewrite_median_ms", middle)
    record_testsuite_property("first_rewrite_p95_ms", first)
    record_testsuite_property("ranked_rewrites_at_all_stops_p95_ms", whole)
    record_testsuite_property("move_along_the_slider_p95_ms", moved)
    assert (np.min(rounds, 0) < limits).all(), rounds
    drag = view.p95(50)
    record_testsuite_property("steering_drag_p95_ms", drag)
    assert drag < 50


def test_the_hint_is_true_of_the_published_rewriter(opened):
    model, weights = published_rewriter()
    view = opened(small.steering(attributes=[small.attribute(weights=weights)], sentence=HINT))
    shown = {}
    for place in ("0", "0.25", "0.75", "1"):
        view.slider("How it shall sound").fill(place)
        shown[place] = steered(view)
    assert len(set(shown.values())) >= 3
    last = steering_library.candidates(model, HINT, [0, 0, 0, 0, 1.0])[0].text
    assert shown["1"] == last
    view.slider("How it shall sound").fill("0")
    view.settle()
    gone = next(word for word in words(view, "dgm-struck") if word.isalpha())
    view.page.locator(".dgm-own button", has_text=gone).click()
    assert gone.lower() in steered(view).lower()
    view.assert_clean()


def test_the_published_captions_are_the_library_s(opened):
    model = steering_library.load("captions")
    values = {"bank": model.bank.parts, "vertices": model.vertices}
    published = small.attribute(weights=widgets.RewriterWeights(values, {}))
    typed = "A man sits on a bench."
    view = opened(small.steering(attributes=[published], sentence=typed, target=[0, 1.0, 0]))
    assert steered(view) == steering_library.steer(model, typed, [0, 1.0, 0])
    view.assert_clean()


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
