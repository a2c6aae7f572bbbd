"""How fast likelihoods are estimated with many samples, beside two plain loops: `make bench`.

`extra_info` holds pairs of a sentence and a sample per second, those of a loop over samples one
sentence at a time and in batches of 32, and the ratios: medians over rounds in which the three take
turns, each with half the range between its quartiles.
"""

import math
import time

import pytest
import torch
from benches import Watch, spread
from checks import DEVICES, close
from draws import rng

from dgm.nets.text_vae import TextVAE
from dgm.papers.pooling_vae import initialise_, marginal_likelihood

V, ROWS, K, ROUNDS = 4000, 512, 500, 9
# The chapter asks for 1,000 sentences; a CPU does as many pairs per second with 8.
SENTENCES = {"cpu": 8, "cuda": 1000}


def model(device, words=V):
    vae = TextVAE(words, 64, 128, 16, layers=1, bidirectional=False)
    initialise_(vae, rng(), weights=0.1, embeddings=1.0)
    return vae.to(device)


def sentences(n, device, words=V):
    """(n, 16) tokens and their lengths, 6 to 16 with <s> and </s>."""
    generator = rng(1)
    tokens = torch.randint(4, words, (n, 16), generator=generator)
    lengths = torch.randint(6, 17, (n,), generator=generator)
    tokens[:, 0] = 1
    for row, end in zip(tokens, lengths.tolist(), strict=True):
        row[end - 1], row[end:] = 2, 0
    return tokens.to(device), lengths.to(device)


@torch.no_grad()
def plain(vae, tokens, lengths, generator, n_samples, batch):
    """For each batch the posterior once, then one sample after another, added in logarithms."""
    bounds = []
    for x, n in zip(tokens.split(batch), lengths.split(batch), strict=True):
        x = x[:, : int(n.max())]
        mu, logvar = vae.posterior(x, n)
        total = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
        for _ in range(n_samples):
            noise = torch.randn(mu.shape, generator=generator, device=mu.device)
            z = mu + (0.5 * logvar).exp() * noise
            log_ratio = 0.5 * (noise.square() + logvar - z.square()).double().sum(1)
            total = torch.logaddexp(total, log_ratio - vae.decoder.nll(x, n, z).double())
        bounds.append(total - math.log(n_samples))
    return torch.cat(bounds).cpu()


@pytest.mark.parametrize("device", DEVICES)
def test_likelihood_with_many_samples(benchmark, device):
    vae, n = model(device), SENTENCES[device]
    tokens, lengths = sentences(max(n, 32), device)
    generator = rng(2, device)
    n_alone, k_batches = 2, 16  # sentences of the first loop, samples of the second
    rates = {"ours": [], "one": [], "batches": []}

    def timed(name, pairs, run):
        began = time.perf_counter()
        value = run()  # which ends on the CPU, so that nothing is under way
        rates[name].append(pairs / (time.perf_counter() - began))
        return value

    def one_round():
        inputs = tokens[:n], lengths[:n], generator
        few = tokens[:n_alone], lengths[:n_alone], generator
        batch = tokens[:32], lengths[:32], generator
        sizes = {"n_samples": K, "rows": ROWS}
        ours = timed(
            "ours", n * K, lambda: marginal_likelihood(vae, *inputs, **sizes).log_likelihood
        )
        single = timed("one", n_alone * K, lambda: plain(vae, *few, K, 1))
        timed("batches", 32 * k_batches, lambda: plain(vae, *batch, k_batches, 32))
        return ours, single

    ours, single = benchmark.pedantic(
        one_round, rounds=ROUNDS if benchmark.enabled else 1, warmup_rounds=int(benchmark.enabled)
    )
    close(ours[:n_alone], single, rtol=0, atol=0.5)
    if benchmark.stats:
        rates = {name: values[1:] for name, values in rates.items()}  # less the round of warming up
        benchmark.extra_info |= {"sentences": n, "samples": K, "rows": ROWS, "rounds": ROUNDS}
        for name, values in rates.items():
            benchmark.extra_info[f"pairs_per_second_{name}"] = spread(values)
        ratio = {}
        for name in ("one", "batches"):
            pairs = zip(rates["ours"], rates[name], strict=True)
            ratio[name] = benchmark.extra_info[f"ratio_{name}"] = spread([a / b for a, b in pairs])
        assert ratio["one"][0] > 3
        assert ratio["batches"][0] > 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("words", [50, V])
def test_memory_is_bounded_by_rows_alone(device, words):
    vae, largest = model(device, words), []
    for n, k in ((4, 32), (40, 32), (4, 320)):
        tokens, lengths = sentences(n, device, words)
        with Watch() as watch:
            marginal_likelihood(vae, tokens, lengths, rng(0, device), n_samples=k, rows=64)
        largest.append(max(watch.sizes))
    gates = 64 * 15 * 4 * 128
    block = max(128 * words, 2**20 if device == "cpu" else 2**26)  # of logits
    assert max(largest) <= max(min(block, 64 * 15 * words), gates)
    assert max(largest) < 1.2 * largest[0]
