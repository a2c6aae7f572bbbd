"""LSTM encoder, decoder and language model against hand-rolled ones."""

from functools import partial

import pytest
import torch
from benches import gates
from checks import close, refuses, share_is
from draws import rng

from dgm.nets.lstm import (
    LSTMDecoder,
    LSTMEncoder,
    dropout,
    sequence_nll,
    token_nll_in_blocks,
)

V, E, H, D = 11, 5, 7, 3
NO_CODE = (V, E, H, 0)  # of a language model


def drawn(kind, *arguments, **options):
    torch.manual_seed(0)
    return kind(*arguments, **options).double()


def batch(lengths=(6, 4, 2, 5)):
    """Random sentences with <s>=1 and </s>=2, padded with 0."""
    lengths = torch.tensor(lengths)
    tokens = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.int64)
    for i, n in enumerate(lengths.tolist()):
        tokens[i, :n] = torch.randint(3, V, (n,), generator=rng(i))
        tokens[i, 0], tokens[i, n - 1] = 1, 2
    return tokens, lengths


def cell(x, h, c, weight_ih, weight_hh, bias):
    return gates(weight_ih @ x + weight_hh @ h + bias, c)


def parameters(lstm, suffix="l0"):
    names = [f"{name}_{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    ih, hh, b1, b2 = (getattr(lstm, name).detach() for name in names)
    return ih, hh, b1 + b2


@pytest.mark.parametrize("latent_dim", [D, 0])
def test_likelihood_equals_a_hand_rolled_forward(latent_dim):
    model = drawn(LSTMDecoder, V, E, H, latent_dim).requires_grad_(False)
    tokens, lengths = batch()
    z = torch.randn(4, D, generator=rng(9), dtype=torch.float64)[:, :latent_dim]
    values = model.nll(tokens, lengths, z if latent_dim else None)
    for i, n in enumerate(lengths.tolist()):
        c = model.initial.weight @ z[i] if latent_dim else torch.zeros(H).double()
        state, total = (c.tanh(), c), 0.0
        for t in range(n - 1):
            x = torch.cat([model.embedding.weight[tokens[i, t]], z[i]])
            state = cell(x, *state, *parameters(model.lstm))
            x = state[0]
            logits = model.output.weight @ x + model.output.bias
            total -= float((logits - logits.logsumexp(0))[tokens[i, t + 1]])
        assert float(values[i]) == pytest.approx(total, abs=1e-10)


def test_steps_equal_the_whole_sequence():
    tokens, _ = batch((6, 6, 6))
    z = torch.randn(3, D, generator=rng(), dtype=torch.float64)
    decoder, model = drawn(LSTMDecoder, V, E, H, D), drawn(LSTMDecoder, *NO_CODE)
    for module, state, logits in (
        (decoder, decoder.start(z), decoder(tokens, z)),
        (model, model.start(3), model(tokens)),
    ):
        for t in range(6):
            log_probs, state = module.step(tokens[:, t], state)
            assert all(len(x) == 3 for x in state)
            close(log_probs, logits[:, t].log_softmax(-1))


def test_encoder_averages_its_directions():
    encoder = drawn(LSTMEncoder, V, E, H, 1, True)
    tokens, _ = batch((5,))
    x = encoder.embedding(tokens)[0].detach()
    forward, backward = [], []
    for result, suffix in ((forward, "l0"), (backward, "l0_reverse")):
        h = c = torch.zeros(H).double()
        for row in x if result is forward else x.flip(0):
            h, c = cell(row, h, c, *parameters(encoder.lstm, suffix))
            result.append(h)
    expected = (torch.stack(forward) + torch.stack(backward[::-1])) / 2
    close(encoder(tokens)[0], expected)


def each_nll(logits, tokens, lengths):
    """Of each token after the first, (B, T - 1), 0 at padding."""
    ends = torch.full((len(tokens),), tokens.shape[1]) if lengths is None else lengths
    log_p = logits.log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    inside = torch.arange(1, tokens.shape[1]) < ends[:, None]
    return torch.where(inside, -log_p, 0.0)


def test_loss_is_wide_for_narrow_logits():
    tokens, _ = batch((6, 6))
    logits = torch.randn(2, 5, V, generator=rng()).bfloat16()
    loss = sequence_nll(logits, tokens)
    assert loss.dtype == torch.float32
    close(loss, sequence_nll(logits.float(), tokens))
    states, output = torch.randn(2, 5, H).bfloat16(), drawn(torch.nn.Linear, H, V)
    assert token_nll_in_blocks(output, states, tokens).dtype == torch.float64


test_other_widths_are_refused = refuses(
    {
        name: partial(call, torch.zeros(2, 6, V), batch((6, 6))[0])
        for name, call in (
            ("logits", sequence_nll),
            ("states", partial(token_nll_in_blocks, torch.nn.Linear(H, V))),
        )
    }
)


class TestLossInBlocks:
    @pytest.mark.parametrize("ends", [(6, 4, 1, 5), (1, 1), (6, 6), None])
    def test_is_the_loss_of_the_logits(self, ends):
        tokens, lengths = batch(ends or (6, 6))
        states = torch.randn(*tokens[:, 1:].shape, H, generator=rng(), dtype=torch.float64)
        output = drawn(torch.nn.Linear, H, V)
        lengths = None if ends is None else lengths
        logits = output(states)
        expected = each_nll(logits, tokens, lengths)
        close(sequence_nll(logits, tokens, lengths), expected.sum(1))
        in_blocks = token_nll_in_blocks(output, states, tokens, lengths)
        close(in_blocks, expected.detach())
        assert not in_blocks.requires_grad

    def test_many_blocks_are_one(self):
        large = 9000  # words, at which a block has 128 rows
        tokens = torch.randint(large, (6, 51), generator=rng())
        lengths = torch.tensor([51, 20, 51, 2, 40, 51])
        states = torch.randn(6, 50, H, generator=rng())
        torch.manual_seed(0)
        output = torch.nn.Linear(H, large)
        states[3, 1:] = torch.nan  # padding, which is not to be read
        result = token_nll_in_blocks(output, states, tokens, lengths)
        expected = each_nll(output(states), tokens, lengths).detach()
        close(result, expected, rtol=1e-5, atol=1e-5)


def test_dropout_has_its_share_and_scale():
    x = torch.ones(400, 100)
    y = dropout(x, 0.3, rng())
    assert share_is((y == 0).flatten(), 0.3)
    close(y[y > 0], torch.full_like(y[y > 0], 1 / 0.7))
