"""How fast sentences are rewritten and models trained, beside plain loops: `make bench`.

`extra_info` holds sentences or tokens a second, those of the plain loop, and the ratio.
"""

import time

import pytest
import torch
from benches import gates
from checks import DEVICES, close
from draws import rng

from dgm.papers.controllable_text_vae import ControllableTextVAE, controllable_objective, decode

V, F, HIDDEN, STEPS, WIDTH = 8000, 200, 256, 20, 5


def model(device):
    torch.manual_seed(0)
    sizes = {"embedding": 128, "hidden": HIDDEN, "decoder_embedding": 128, "dropout": 0.0}
    return ControllableTextVAE(V, F, **sizes).to(device)


def sentences(n, device):
    generator = rng(0, device)
    tokens = torch.randint(4, V, (n, 10), generator=generator, device=device)
    tokens[:, 0], tokens[:, -1] = 1, 2
    return tokens, generator


@torch.no_grad()
def plain_beam(decoder, z):
    """One sentence, one hypothesis at a time, as a list of nodes."""
    beam = [(0.0, [1], decoder.start(z))]
    for _ in range(STEPS):
        grown = []
        for score, words, state in beam:
            if words[-1] == 2:
                grown.append((score, words, state))
                continue
            log_probs, after = decoder.step(torch.tensor(words[-1:], device=z.device), state)
            log_probs[:, :2] = -torch.inf
            gain, best = log_probs[0].topk(WIDTH)
            for g, w in zip(gain.tolist(), best.tolist(), strict=True):
                grown.append((score + g, [*words, w], after))
        beam = sorted(grown, key=lambda node: node[0], reverse=True)[:WIDTH]
    return beam[0]


@pytest.mark.parametrize("device", DEVICES)
def test_transfer_of_a_thousand_sentences(benchmark, device):
    m, n = model(device), 1000 if benchmark.enabled else 50
    tokens, _ = sentences(n, device)
    weights, count = torch.eye(3)[0], 10

    @torch.no_grad()
    def transfer():
        z = m.code(weights, m.residual(tokens)[0])
        return decode(m.decoder, z, width=WIDTH, max_steps=STEPS)

    rewrites = benchmark.pedantic(transfer, rounds=1)
    with torch.no_grad():
        z = m.code(weights, m.residual(tokens[:count])[0])
    began = time.perf_counter()
    one_by_one = [plain_beam(m.decoder, z[i : i + 1]) for i in range(count)]
    plain = count / (time.perf_counter() - began)
    scores = torch.tensor([score for score, _, _ in one_by_one], dtype=torch.float64)
    close(rewrites.log_prob[:count], scores, rtol=1e-4, atol=1e-3)
    if benchmark.stats:
        rate = n / benchmark.stats.stats.median
        benchmark.extra_info |= {
            "sentences_per_second": rate, "plain": plain, "ratio": rate / plain,
        }  # fmt: skip
        assert rate > 5 * plain


def walk(lstm, suffix, x, h, c):
    """An LSTM, one position and one gate product at a time."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ih, hh, b1, b2 = (getattr(lstm, f"{name}_{suffix}") for name in names)
    out = []
    for t in range(x.shape[1]):
        h, c = gates(x[:, t] @ ih.T + h @ hh.T + b1 + b2, c)
        out.append(h)
    return torch.stack(out, 1)


def plain_step(m, tokens, features, negatives, generator):
    """The same objective, one position at a time, with a synchronisation for each term."""
    encoder = m.residual.encoder.states
    x = encoder.embedding(tokens)
    zero = x.new_zeros(len(x), HIDDEN)
    for layer in range(2):
        ahead = walk(encoder.lstm, f"l{layer}", x, zero, zero)
        back = walk(encoder.lstm, f"l{layer}_reverse", x.flip(1), zero, zero).flip(1)
        x = torch.cat([ahead, back], -1)
    mu, logvar = m.residual.head(((ahead + back) / 2).amax(1)).chunk(2, -1)
    code = m.simplex(features)
    others = torch.stack([m.simplex(negatives[:, j]).mu for j in range(negatives.shape[1])], 1)
    mean, variance = torch.cat([code.mu, mu], 1), torch.cat([code.logvar, logvar], 1)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    z = mean + (0.5 * variance).exp() * noise
    c = m.decoder.initial(z)
    embedded = m.decoder.embedding(tokens[:, :-1])
    inputs = torch.cat([embedded, z[:, None].expand(-1, embedded.shape[1], -1)], -1)
    states = walk(m.decoder.lstm, "l0", inputs, c.tanh(), c)
    loss = 0.0
    for t in range(states.shape[1]):
        log_probs = m.decoder.output(states[:, t]).log_softmax(-1)
        loss = loss - log_probs.gather(1, tokens[:, t + 1, None]).mean()
    kl = 0.5 * (mean.square() + variance.exp() - variance - 1)
    cosine = torch.nn.functional.cosine_similarity
    own, other = cosine(code.mu, code.query), cosine(others, code.query[:, None], dim=-1)
    gram = m.simplex.vertices @ m.simplex.vertices.T
    terms = (
        loss,
        0.2 * kl[:, :16].sum(1).mean(),
        0.35 * kl[:, 16:].sum(1).mean(),
        (1 - own[:, None] + other).relu().mean(),
        (gram - 100 * torch.eye(3, device=gram.device)).norm(),
    )
    return sum(terms), [term.item() for term in terms]


@pytest.mark.parametrize("device", DEVICES)
def test_training_tokens_per_second(benchmark, device):
    m = model(device)
    optimizer = torch.optim.Adam(m.parameters(), lr=1e-3, fused=True)
    tokens, generator = sentences(256, device)
    features = torch.randn(256, F, generator=generator, device=device)
    negatives = torch.randn(256, 10, F, generator=generator, device=device)

    def update(value):
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(m.parameters(), 5.0)
        optimizer.step()

    def ours():
        with torch.autocast(device, dtype=torch.bfloat16):
            terms = controllable_objective(m, tokens, features, generator, negatives=negatives)
        update(terms.value)
        return float(terms.value.detach())  # waits for the device

    def plain():
        value, _ = plain_step(m, tokens[:32], features[:32], negatives[:32], generator)
        update(value)

    with torch.no_grad():
        seed = torch.Generator(device).manual_seed(1)
        part = controllable_objective(m, tokens[:32], features[:32], seed, negatives=negatives[:32])
        seed = torch.Generator(device).manual_seed(1)
        value, _ = plain_step(m, tokens[:32], features[:32], negatives[:32], seed)
    torch.testing.assert_close(value, part.value, rtol=1e-4, atol=1e-3)

    first = ours()
    assert benchmark.pedantic(ours, rounds=4, warmup_rounds=1) < first
    plain()
    if benchmark.stats:
        began = time.perf_counter()
        for _ in range(4):
            plain()
        rate = 4 * 32 * 9 / (time.perf_counter() - began)
        fast = 256 * 9 / benchmark.stats.stats.median
        benchmark.extra_info |= {"tokens_per_second": fast, "plain": rate, "ratio": fast / rate}
        assert fast > 2 * rate
