"""The influence ruler and the temperature slider in a real browser, against PyTorch."""

import functools
import json
import math

import numpy as np
import pytest
import small_widgets as small
import torch

from dgm.data import text
from dgm.data.synthetic import review_grammar
from dgm.nets.pooling import pool
from dgm.nets.text_vae import TextVAE
from dgm.papers import pooling_vae as paper
from dgm_book.widgets import InfluenceRuler, PoolingWeights, TemperatureSlider
from dgm_book.widgets.packing import rounded

KINDS = ("last", "mean", "max", "absmax")
STATISTICS = ("cosine", "relative", "participation")
EXAMPLES = ["the pizza was great .", "sadly , the host was rude today .", "we loved the patio ."]

TYPE = """async ({ box, sentences }) => {
  performance.clearMeasures();
  for (const sentence of sentences) {
    box.value = sentence;
    box.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise(requestAnimationFrame);
  }
  await new Promise(requestAnimationFrame);
}"""


@functools.lru_cache
def vocabulary():
    return text.Vocabulary.build(review_grammar(2000, seed=3)[0], 100)


@functools.lru_cache
def models(kinds=KINDS, size=100, embedding=32, hidden=48, latent=8):
    """Return untrained models whose codes differ, with the weights that the page gets."""
    models_by_kind = {}
    for i, kind in enumerate(kinds):
        options = {"layers": 1, "bidirectional": False, "pooling": kind}
        model = TextVAE(size, embedding, hidden, latent, **options)
        generator = torch.Generator().manual_seed(i)
        paper.initialise_(model, generator, weights=0.3, embeddings=1.0)
        for parameter in model.posterior.parameters():  # as the page has them
            parameter.data = torch.tensor(rounded(parameter.detach().numpy()))
        models_by_kind[kind] = model.eval().requires_grad_(False)
    return models_by_kind


def arrays(models_by_kind):
    return {kind: small.arrays(model) for kind, model in models_by_kind.items()}


@functools.lru_cache
def golden():
    """PyTorch's means of sentences of many lengths, with unknown words and without any."""
    texts = review_grammar(30, seed=4)[0] + ["zorp", "the zorp was quux ."]
    values = vocabulary().encode(texts)
    tokens = torch.cat([values.tokens, torch.zeros_like(values.tokens[:1])])
    tokens[-1, :2] = torch.tensor([1, 2])
    lengths = torch.cat([values.lengths, torch.tensor([2])])
    means = {k: m.posterior(tokens, lengths)[0].numpy() for k, m in models().items()}
    return {"tokens": tokens, "means": means}


def pooling_weights(**options):
    return PoolingWeights(arrays(models()), vocabulary().words, **options)


def ruler(weights=None, **options):
    return InfluenceRuler(weights or pooling_weights(), EXAMPLES, **options)


@functools.lru_cache
def large():
    """Return weights as wide as the book's, and forty sentences of ten words."""
    words = [f"w{i}" for i in range(3996)]
    models_by_kind = models(KINDS[:3], 4000, 64, 128, 16)
    dice = np.random.default_rng(0)
    sentences = [" ".join(dice.choice(words, 10)) for _ in range(40)]
    return PoolingWeights(arrays(models_by_kind), words), sentences


def root(view):
    return view.page.locator(".dgm").first


def typed(view, sentence):
    view.page.get_by_label("Your sentence").first.fill(sentence)
    view.drawn()


def movements(view):
    """Return the ruler's numbers, (kinds, words)."""
    return np.array(json.loads(root(view).get_attribute("data-moved")))


def lengths(view):
    """Return the lengths of a widget's bars, in pixels."""
    widths = "all => all.map(one => one.getBoundingClientRect().width)"
    return np.array(root(view).locator(".dgm-enc-bar").evaluate_all(widths))


def data_values(view, name):
    return [float(x) for x in root(view).get_attribute(f"data-{name}").split()]


@pytest.mark.parametrize("script", ["", "delete globalThis.WebAssembly"])
@pytest.mark.parametrize("wrong", [0, 0.5])
def test_the_page_s_codes_are_those_of_pytorch_and_a_wrong_mean_shows(opened, script, wrong):
    means = {kind: mean.copy() for kind, mean in golden()["means"].items()}
    assert min(np.abs(mean).max() for mean in means.values()) > 0.1
    means["max"][3, 2] += wrong
    view = opened(ruler(pooling_weights(golden=golden() | {"means": means})), script=script)
    view.page.wait_for_function("document.querySelector('.dgm').dataset.goldenError !== undefined")
    assert float(root(view).get_attribute("data-golden-error")) == pytest.approx(wrong, abs=1e-5)
    view.assert_clean()


@pytest.mark.parametrize("script", ["", "delete globalThis.WebAssembly"])
def test_influence_is_that_of_pytorch(opened, script):
    view = opened(ruler(), script=script)
    sentences = review_grammar(12, seed=5)[0] + ["great", "zorp", "The zorp wasn't GREAT!"]
    for sentence in sentences:
        typed(view, sentence)
        corpus = vocabulary().encode([text.tokenise(sentence)])
        values = movements(view)
        for kind, row in zip(KINDS, values, strict=True):
            code, (tokens,) = models()[kind].posterior, corpus.tokens
            shorter = [torch.cat([tokens[:i], tokens[i + 1 :]]) for i in range(1, len(tokens) - 1)]
            without, whole = code(torch.stack(shorter))[0], code(tokens[None])[0]
            expected = (without - whole).norm(dim=1)
            np.testing.assert_allclose(row, expected, atol=1e-4)
        assert values.max() > 0.01
    view.assert_clean()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_dispersion_are_those_of_pytorch(opened, kind):
    examples = list(dict.fromkeys(review_grammar(20, seed=6)[0]))
    widget = TemperatureSlider(pooling_weights(), examples, kind=kind)
    view = opened(widget)
    root(view).locator("svg:not([data-waiting])").last.wait_for()
    view.drawn()
    encoder = models()[kind].posterior.encoder
    corpus = vocabulary().encode(examples)
    mask = torch.arange(corpus.tokens.shape[1]) < corpus.lengths[:, None]
    states = encoder.states(corpus.tokens, corpus.lengths).double()
    for position in (0, 1, 37, 60, 99, 100):
        root(view).get_by_role("slider").fill(str(position))
        view.drawn()
        h = states.clone().requires_grad_()
        tau = [math.inf, *widget.temperatures, 0.0][position]
        name = "max" if tau == 0 else "mean" if math.isinf(tau) else "logsumexp"
        pooled = pool(h, mask, name, temperature=tau if name == "logsumexp" else None)
        pooled[0].mean().backward()
        n = corpus.lengths[0]
        np.testing.assert_allclose(data_values(view, "shares"), h.grad[0, :n].sum(1), atol=1e-4)
        expected = paper.dispersion(pooled)
        expected = [getattr(expected, name) for name in STATISTICS]
        np.testing.assert_allclose(data_values(view, "dispersion"), expected, rtol=1e-4)
        bars = lengths(view)
        assert np.ptp(bars) < 0.5 if tau == math.inf else bars.max() > 0
        if position % 4 == 0:
            for i in range(3):  # the dot stands on its curve
                line = root(view).locator(".dgm-stem").nth(i).get_attribute("d")[1:]
                points = [[float(x) for x in pair.split()] for pair in line.split("L")]
                dot = root(view).locator("circle").nth(i)
                at = [float(dot.get_attribute(name)) for name in ("cx", "cy")]
                np.testing.assert_allclose(at, points[position // 4], atol=0.11)
    handle = root(view).get_by_role("slider")
    assert handle.get_attribute("aria-valuetext") == "0, the maximum"
    words = [t.split()[0] for t in root(view).locator("tbody th").all_inner_texts()]
    assert words == ["start", *text.tokenise(examples[0]).split(), "end"]


@pytest.mark.timing
def test_ten_words_are_measured_in_less_than_fifty_milliseconds(opened, record_testsuite_property):
    weights, sentences = large()
    view = opened(InfluenceRuler(weights, sentences))
    box = view.page.get_by_label("Your sentence").element_handle()

    def measure():
        view.page.evaluate(TYPE, {"box": box, "sentences": sentences * 2})
        return view.frames()

    p95 = view.p95(50, measure)
    record_testsuite_property("influence_p95_ms", p95)
    assert p95 < 50


def test_a_bar_is_as_long_as_its_number_says(opened):
    view = opened(ruler())
    values, bars = movements(view), lengths(view).reshape(-1, 4).T
    np.testing.assert_allclose(bars / bars.max(), values / values.max(), atol=0.02)
    view.page.get_by_label("Each encoder on its own scale").check()
    view.drawn()
    bars = lengths(view).reshape(-1, 4).T
    own = values / values.max(1, keepdims=True)
    np.testing.assert_allclose(bars / bars.max(), own, atol=0.02)
    shown = root(view).locator(".dgm-enc-value").all_inner_texts()
    np.testing.assert_allclose([float(x) for x in shown], values.T.ravel(), atol=0.0051)


def test_a_collapsed_encoder_does_not_divide_by_zero(opened):
    collapsed = {k: dict(a) for k, a in arrays(models()).items()}
    for state in collapsed.values():
        state["posterior.head.weight"] = np.zeros_like(state["posterior.head.weight"])
    weights = PoolingWeights(collapsed, vocabulary().words)
    view = opened(ruler(weights, own_scale=True))
    assert (movements(view) == 0).all()
    assert lengths(view).max() <= 1.5
    assert "NaN" not in root(view).inner_text()
    view.assert_clean()
