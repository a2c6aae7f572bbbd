"""How fast sentences are rewritten, beside a plain loop: `make bench`.

`extra_info` holds sentences per second, those of the plain loop, and the ratio.
"""

import time

import pytest
import torch
from benches import DEVICES

from dgm.papers.controllable_text_vae import ControllableTextVAE, decode

V, F, HIDDEN, STEPS, WIDTH = 8000, 200, 256, 20, 5


def model(device):
    torch.manual_seed(0)
    sizes = {"embedding": 128, "hidden": HIDDEN, "decoder_embedding": 128, "dropout": 0.0}
    return ControllableTextVAE(V, F, **sizes).to(device)


def sentences(n, device):
    generator = torch.Generator(device).manual_seed(0)
    tokens = torch.randint(4, V, (n, 10), generator=generator, device=device)
    tokens[:, 0], tokens[:, -1] = 1, 2
    return tokens


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
    tokens = sentences(n, device)
    weights, count = torch.eye(3)[0], 10

    @torch.no_grad()
    def transfer():
        return decode(
            m.decoder, m.code(weights, m.residual(tokens)[0]), width=WIDTH, max_steps=STEPS
        )

    rewrites = benchmark.pedantic(transfer, rounds=1)
    with torch.no_grad():
        z = m.code(weights, m.residual(tokens[:count])[0])
    began = time.perf_counter()
    one_by_one = [plain_beam(m.decoder, z[i : i + 1]) for i in range(count)]
    plain = count / (time.perf_counter() - began)
    scores = torch.tensor([score for score, _, _ in one_by_one], dtype=torch.float64)
    torch.testing.assert_close(rewrites.log_prob[:count], scores, rtol=1e-4, atol=1e-3)
    if benchmark.stats:
        rate = n / benchmark.stats.stats.median
        benchmark.extra_info |= {
            "sentences_per_second": rate, "plain": plain, "ratio": rate / plain,
        }  # fmt: skip
        assert rate > 5 * plain
