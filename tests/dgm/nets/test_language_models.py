"""Sizes, states and dropout of the language models, and the rules of their training."""

import math
from functools import partial

import pytest
import torch
from checks import close, refuses, share_is
from draws import rng
from torch.utils._pytree import tree_leaves

from dgm.nets.language_models import (
    AWDLSTM,
    Dropouts,
    TransformerLM,
    continue_text,
    perplexity,
    plain_lstm,
    split_rows,
)

V = 17
NONE = Dropouts(*[0.0] * 6)
KINDS = ("mixture", "plain", "transformer")


def make(kind, dropouts=Dropouts(), seed=0):  # noqa: B008
    torch.manual_seed(seed)
    if kind == "mixture":
        return AWDLSTM(V, 5, 8, 6, 3, 4, dropouts).double()
    if kind == "plain":
        return plain_lstm(V, 6, dropouts.input).double()
    return TransformerLM(V, 8, layers=2, heads=2, context=5, rate=dropouts.input).double()


def tokens(rows=3, length=12, seed=0):
    return torch.randint(V, (rows, length), generator=rng(seed))


def log_probs(model, output):
    vectors, log_prior = model.head.experts(output)
    logits = vectors @ model.embedding.weight.T + model.head.bias
    return (logits.log_softmax(-1) + log_prior[..., None]).logsumexp(-2)


@pytest.mark.parametrize("kind", KINDS)
class TestEveryModel:
    def test_logits_know_nothing_of_what_comes_later(self, kind):
        model, x = make(kind), tokens()
        changed = x.clone()
        changed[:, 5] = (x[:, 5] + 1) % V
        first, other = (model.read(y).output for y in (x, changed))
        close(first[:, :5], other[:, :5], rtol=0, atol=0)
        assert (first[:, 5:8] - other[:, 5:8]).abs().amax(-1).min() > 1e-6

    @pytest.mark.parametrize("window", [1, 3, 4, 12])
    def test_windows_equal_one_pass(self, kind, window):
        model, x = make(kind), tokens()
        whole = model.read(x)
        state, outputs = None, []
        for part in x.split(window, 1):
            reading = model.read(part, state)
            state = reading.state
            outputs.append(reading.output)
        close(torch.cat(outputs, 1), whole.output, rtol=0, atol=1e-12)
        close(state, whole.state, rtol=0, atol=1e-12)

    def test_steps_equal_one_pass(self, kind):
        model, x = make(kind), tokens()
        expected = log_probs(model, model.read(x).output)
        state = model.start(3)
        for t in range(x.shape[1]):
            result, state = model.step(x[:, t], state)
            close(result, expected[:, t])

    def test_loss_is_that_of_the_log_probabilities(self, kind):
        model, x = make(kind), tokens()
        output = model.read(x[:, :-1]).output
        loss = model.loss(output, x[:, 1:])
        expected = -log_probs(model, output).gather(-1, x[:, 1:, None]).squeeze(-1)
        close(loss.tokens, expected.detach())
        close(loss.total, expected.mean())
        weights = torch.rand(expected.shape, generator=rng(1)).double()
        weights[1, 4:] = 0
        some = model.loss(output, x[:, 1:], weights)
        close(some.total, (expected * weights).sum())
        close(some.tokens, expected.detach() * (weights != 0))

    def test_gradient_stops_where_a_window_starts(self, kind):
        model, x = make(kind), tokens()
        state = model.read(x[:, :6]).state
        assert not any(y.requires_grad for y in tree_leaves(state))
        model.loss(model.read(x[:, 6:-1], state).output, x[:, 7:]).total.backward()
        assert all(p.grad is not None for p in model.parameters())

    def test_layers_are_what_the_critic_reads(self, kind):
        model, x = make(kind), tokens()
        reading = model.read(x, None, rng(1))
        assert sum(h.shape[-1] for h in reading.layers) == model.feature_width
        assert (reading.layers[-1] != 0).all()  # whole, unlike what the softmax reads
        assert (reading.output == 0).any()


class TestAWDLSTM:
    def test_dropped_weights_are_those_of_one_mask_a_reading(self):
        model, x = make("mixture", NONE._replace(weight=0.5)), tokens()
        result = model.read(x, None, rng(3)).layers[0]
        lstm, generator = model.lstms[0], rng(3)
        w = lstm.weight_hh_l0.data
        w *= torch.empty_like(w).bernoulli_(0.5, generator=generator) / 0.5
        close(result, lstm(model.embedding(x))[0])

    @pytest.mark.parametrize("rate", [0.2, 0.5])
    def test_masks_are_locked_and_drop_their_share(self, rate):
        model = make("mixture", NONE._replace(output=rate))
        off = model.read(tokens(3000, 3), None, rng(1)).output == 0
        assert (off == off[:, :1]).all()
        assert share_is(off[:, 0].flatten(), rate)
        assert not (off == off[:1]).all()

    def test_embedding_dropout_hides_a_word_everywhere(self):
        model = make("mixture", NONE._replace(embedding=0.5))
        with torch.no_grad():
            for lstm in model.lstms:  # without biases a state of 0 shows an input of 0
                lstm.bias_ih_l0.zero_()
                lstm.bias_hh_l0.zero_()
            words = torch.arange(V)[:, None]
            first = model.read(words, None, rng(1)).layers[0][:, 0]
            twice = model.read(words.repeat(1, 2), None, rng(1)).layers[0]
        gone = (first == 0).all(1)
        assert 0.2 < gone.double().mean() < 0.8
        assert torch.equal((twice == 0).all(2).all(1), gone)


class TestTransformer:
    def test_attends_no_farther_than_its_context(self):
        torch.manual_seed(0)
        model = TransformerLM(V, 8, layers=1, heads=2, context=4).double()
        x = tokens()
        changed = x.clone()
        changed[:, 2] = (x[:, 2] + 1) % V
        difference = (model.read(x).output - model.read(changed).output).abs().amax((0, 2))
        assert (difference > 1e-9).nonzero().flatten().tolist() == [2, 3, 4, 5]


def test_rows_are_consecutive_and_share_their_ends():
    stream = torch.tensor([2, 5, 6, 2, 2, 7, 2])
    assert split_rows(stream, 2).tolist() == [[2, 5, 6, 2], [2, 2, 7, 2]]
    assert split_rows(stream, 4).tolist() == [[2, 5], [5, 6], [6, 2], [2, 2]]


class TestPerplexity:
    def test_of_a_uniform_model_is_the_vocabulary(self):
        model = plain_lstm(V, 4)
        model.embedding.weight.data.zero_()
        value = perplexity(model, tokens(1, 60)[0], window=7)
        assert value.perplexity == pytest.approx(V, rel=1e-5)
        assert value.nll == pytest.approx(math.log(V), abs=1e-6)

    @pytest.mark.parametrize("window", [1, 10, 53, 54, 1000])
    def test_is_that_of_one_pass(self, window):
        model, stream = make("mixture"), tokens(1, 54)[0]
        whole = model.loss(model.read(stream[None, :-1]).output, stream[None, 1:]).tokens
        value = perplexity(model, stream, window=window).nll
        assert value == pytest.approx(float(whole.mean()), abs=1e-10)

    def test_rows_are_texts_side_by_side(self):
        model, stream = make("mixture"), tokens(1, 33)[0]
        parts = [stream[:11], stream[10:21], stream[20:31]]
        expected = sum(perplexity(model, part).nll for part in parts) / 3
        assert perplexity(model, stream, window=5, rows=3).nll == pytest.approx(expected, abs=1e-10)


class TestContinuedText:
    def test_is_drawn_from_the_model_s_own_law(self):
        model, n = plain_lstm(5, 4).double(), 20_000
        model.head.bias.data = torch.randn(5, generator=rng(), dtype=torch.float64)
        text = continue_text(model, torch.tensor([[1, 2]]).repeat(n, 1), 2, rng())
        assert text.shape == (n, 2)
        log_p, _ = model.step(torch.tensor([2]), model.read(torch.tensor([[1]])).state)
        expected = log_p[0].detach().softmax(0)
        assert share_is(torch.bincount(text[:, 0], minlength=5), expected, n)


PLAIN, NOTHING = make("plain"), torch.zeros(1, 0, dtype=torch.int64)
REFUSED = {
    "want targets and weights": lambda: PLAIN.loss(PLAIN.read(tokens()).output, tokens()[:, 1:]),
    "must be as wide": lambda: AWDLSTM(V, 5, 8, 6, experts=0),
    "layers": lambda: AWDLSTM(V, 5, 8, 6, layers=0),
    "a width that the heads can share": [
        partial(TransformerLM, V, *sizes) for sizes in ((8, 0), (9, 2, 2), (8, 2, 2, 0))
    ],
    "a text": [
        *(partial(split_rows, torch.arange(7), rows) for rows in (7, 0)),
        partial(perplexity, PLAIN, torch.arange(1), window=5),
        partial(perplexity, PLAIN, torch.arange(5), window=5, rows=5),
    ],
    "window must": partial(perplexity, PLAIN, torch.arange(5), window=0),
    "begin with an end marker": [
        partial(continue_text, PLAIN, opening, 5, rng()) for opening in (NOTHING, NOTHING.T)
    ],
    "want 1 or more": partial(continue_text, PLAIN, torch.tensor([[1]]), 0, rng()),
}
test_what_makes_no_sense_is_refused = refuses(REFUSED)
