"""Beam search against greedy decoding, exhaustive search and re-scoring."""

import itertools
import math
from functools import partial
from typing import NamedTuple

import pytest
import torch
from checks import close, refuses
from draws import normal
from torch import Tensor

from dgm.nets.lstm import LSTMDecoder
from dgm.sampling.beam import beam_search


def decoder(v=8, seed=0, sharpness=3.0):
    """A random LSTM decoder with clear preferences."""
    torch.manual_seed(seed)
    model = LSTMDecoder(v, 4, 6, 3).double()
    for p in model.parameters():
        p.data *= sharpness
    return model


def codes(n):
    return normal(n, 3, seed=1)


def search(model, z, **options):
    return beam_search(model.step, model.start(z), len(z), **options)


def rescored(model, z, tokens):
    """log p of one hypothesis, word by word."""
    words = [w for w in tokens.tolist() if w != 0]
    log_probs = model(torch.tensor([[1, *words]]), z[None])[0].detach().log_softmax(-1)
    return float(sum(log_probs[t, w] for t, w in enumerate(words)))


def test_width_one_is_greedy():
    model, z = decoder(), codes(20)
    beams = search(model, z, width=1, max_steps=9)
    for i in range(20):
        state, last, words = model.start(z[i : i + 1]), 1, []
        while last != 2 and len(words) < 9:
            log_probs, state = model.step(torch.tensor([last]), state)
            log_probs[:, [0, 1]] = -math.inf
            last = int(log_probs.argmax())
            words.append(last)
        assert [w for w in beams.tokens[i, 0].tolist() if w != 0] == words
        assert bool(beams.finished[i, 0]) == (last == 2)


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_large_width_is_exhaustive(steps):
    model, z = decoder(v=5), codes(3)
    sequences = []
    for length in range(1, steps + 1):
        for words in itertools.product((3, 4), repeat=length - 1):
            sequences.append((*words, 2))
            if length == steps:
                sequences += [(*words, 3), (*words, 4)]
    beams = search(model, z, width=40, max_steps=steps)
    for i in range(3):
        scored = ((rescored(model, z[i], torch.tensor(s)), s) for s in sequences)
        exact = sorted(scored, reverse=True)
        real = beams.log_prob[i] > -math.inf
        assert int(real.sum()) == len(sequences)
        got = [tuple(w for w in t.tolist() if w != 0) for t in beams.tokens[i][real]]
        assert got == [s for _, s in exact]
        assert beams.log_prob[i][real].tolist() == pytest.approx([p for p, _ in exact])


def test_scores_are_the_log_probabilities_of_what_is_returned():
    model, z = decoder(sharpness=2.0), codes(10)
    beams = search(model, z, width=4, max_steps=8)
    assert beams.finished.any()
    assert not beams.finished.all()
    for i, k in itertools.product(range(10), range(4)):
        expected = rescored(model, z[i], beams.tokens[i, k])
        assert float(beams.log_prob[i, k]) == pytest.approx(expected)
    assert (beams.log_prob.diff(dim=1) <= 0).all()


def test_sentences_do_not_disturb_each_other():
    model, z = decoder(), codes(12)
    together = search(model, z, width=3, max_steps=10)
    for i in range(12):
        alone = search(model, z[i : i + 1], width=3, max_steps=10)
        t = alone.tokens.shape[-1]
        assert torch.equal(together.tokens[i, :, :t], alone.tokens[0])
        assert (together.tokens[i, :, t:] == 0).all()
        close(together.log_prob[i], alone.log_prob[0])


class Counter(NamedTuple):
    """How many tokens a row has read."""

    read: Tensor


def counted(rows, n=1, **options):
    """The beams of a step whose log-probabilities depend on the position alone."""
    log_probs = torch.tensor(rows).log()

    def step(tokens, state):
        return log_probs[state.read], Counter(state.read + 1)

    return beam_search(step, Counter(torch.zeros(n, dtype=torch.int64)), n, **options)


class TestEnds:
    def test_finished_hypothesis_stays_and_is_padded(self):
        rows = [[0, 0, 0.6, 0.4], [0, 0, 0.1, 0.9], [0, 0, 0.9, 0.1]]
        beams = counted(rows, width=2, max_steps=3)
        assert beams.tokens.tolist() == [[[2, 0, 0], [3, 3, 2]]]
        assert beams.log_prob[0].exp().tolist() == pytest.approx([0.6, 0.4 * 0.9 * 0.9])

    def test_unfinished_hypothesis_keeps_its_last_word(self):
        beams = counted([[0, 0, 0.1, 0.9]] * 4, width=1, max_steps=4)
        assert beams.tokens.tolist() == [[[3, 3, 3, 3]]]
        assert not beams.finished.any()

    def test_forbidden_tokens_never_appear(self):
        rows = [[0.3, 0.3, 0.1, 0.1, 0.2]] * 5
        beams = counted(rows, 2, width=3, max_steps=5, forbidden=(0, 1, 4))
        assert set(beams.tokens.unique().tolist()) <= {0, 2, 3}
        assert beams.tokens[0, 0].tolist().index(2) == 0

    def test_where_nothing_is_possible_there_is_no_sequence(self):
        beams = counted([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0]], 2, width=3, max_steps=2)
        assert (beams.log_prob == -math.inf).all()
        assert not beams.tokens.any()
        assert not beams.finished.any()

    def test_a_dead_end_leaves_no_words(self):
        beams = counted([[0, 0, 0.3, 0.7], [1, 0, 0, 0]], width=2)
        assert beams.tokens[0].tolist() == [[2, 0], [0, 0]]
        assert beams.finished[0].tolist() == [True, False]

    def test_what_follows_the_end_may_be_anything(self):
        beams = counted([[0.0, 0.0, 1.0, 0.0], [math.nan] * 4], width=1)
        assert beams.tokens.tolist() == [[[2]]]


def test_state_may_have_layers():
    torch.manual_seed(0)
    model = LSTMDecoder(9, 4, 5, 0)
    beams = beam_search(model.step, model.start(3), 3, width=4, max_steps=6)
    assert beams.tokens.shape[:2] == (3, 4)
    close(beams.log_prob[0], beams.log_prob[1])


def call(**changes):
    model, z = decoder(), codes(3)
    return partial(beam_search, model.step, model.start(z), **({"n": 3} | changes))


REFUSED = {
    "want 1 or more": [call(width=0), call(max_steps=0), call(n=0)],
    "token 2 not forbidden": call(forbidden=(0, 2)),
    "4 rows": call(n=4),
    r"step 1 .*NaN.*\[0\]": [
        partial(counted, [[0.0, 0.0, 0.2, 0.8], [0.0, 0.0, 0.2, value]], width=1)
        for value in (math.nan, math.inf, math.exp(3))
    ],
}
test_what_makes_no_sense_is_refused = refuses(REFUSED)
