"""VHRNN's training step beside a plain loop over time, and an evaluation's memory: `make bench`.

`extra_info` holds by how much a step is faster than the plain one: medians over rounds in which the
ways take turns, each with half the range between its quartiles.
"""

import copy
import math
import sys

import pytest
import torch
from benches import Watch, gates, peak, resident_peak, spread, turns
from checks import DEVICES, close
from draws import rng
from torch.nn import functional

from dgm.papers.variational_hyper_rnn import VariationalHyperRNN, bound, evaluate
from dgm_book.chapters.variational_hyper_rnn.run import can_compile

N, ROUNDS, LEAST = 4, 15, {"cpu": 1.5, "cuda": 4.0}
CASES = {  # sizes of the model, sequences, steps
    "chorales": ((88, 28, 14, 18, "bernoulli", 1), 4, 60),
    "switching": ((2, 4, 4, 12, "gaussian", 2), 16, 50),
}
SEQUENCES, STEPS, MANY = 77, 100, 128  # of JSB Chorales' test set, about


def model(case):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = VariationalHyperRNN(*CASES[case][0])
    for layer in (net.heads, net.rescale[-1]):
        layer.weight.data *= 30  # so that scales and biases hang on z and h, as after training
    return net


def sequences(x_dim, n, n_steps):
    """Frames (n, T, X), and lengths that differ."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, n_steps, x_dim, generator=generator)
    return (x > 1.6).float() if x_dim == 88 else x, n_steps - torch.arange(n) % min(4, n_steps)


def plain_gaussian(net, raw):
    mean, deviation = raw.chunk(2, -1)
    return mean, functional.softplus(deviation + 0.5).clamp(min=net.sigma_min)


def plain_log_normal(x, mean, deviation):
    return -0.5 * ((x - mean) / deviation) ** 2 - deviation.log() - 0.5 * math.log(2 * math.pi)


def plain(net, x, lengths, generator):
    """FIVO from the equations, step by step, each layer and each particle's frame by itself."""
    n, n_steps, _ = x.shape
    rows = {"dtype": x.dtype, "device": x.device}
    h, c = torch.zeros(2, n * N, net.h_dim, **rows)
    k, k_c = torch.zeros(2, n * N, net.k_dim, **rows)
    log_weight, total = torch.zeros(n, N, **rows), torch.zeros(n, **rows)
    for t in range(n_steps):
        x_t = x[:, t].repeat_interleave(N, 0)
        encoded = net.encode_x(x_t - net.input_mean)
        prior = plain_gaussian(net, net.prior(h))
        residual, deviation = plain_gaussian(net, net.posterior(torch.cat([h, encoded], -1)))
        posterior = prior[0] + residual, deviation
        noise = torch.randn(n * N, net.z_dim, generator=generator, **rows)
        z = posterior[0] + posterior[1] * noise
        z_and_h = torch.cat([z, h], -1)
        layers = list(net.decoder[::2])
        sizes = 2 * [len(layer.weight) for layer in layers]
        output = net.rescale(z_and_h).split(sizes, -1)
        v = z_and_h
        for i, layer in enumerate(layers):
            v = output[i] * functional.linear(v.relu() if i else v, layer.weight)
            v = v + layer.bias + output[i + len(layers)]
        if net.emission == "gaussian":
            log_x = plain_log_normal(x_t, *plain_gaussian(net, v))
        else:
            log_x = -functional.binary_cross_entropy_with_logits(v, x_t, reduction="none")
        log_ratio = plain_log_normal(z, *prior) - plain_log_normal(z, *posterior)
        log_alpha = (log_ratio.sum(-1) + log_x.sum(-1)).view(n, N)
        a = functional.linear(z_and_h, net.hyper.weight_input, net.hyper.bias)
        k, k_c = gates(a + functional.linear(k, net.hyper.weight_hidden), k_c)
        on_input, on_hidden, bias = net.heads(k).chunk(3, -1)
        y = torch.cat([encoded, net.encode_z(z)], -1)
        a = on_input * functional.linear(y, net.cell.weight_input)
        a = a + on_hidden * functional.linear(h, net.cell.weight_hidden) + bias
        h, c = gates(a, c)

        log_weight = log_weight + torch.where((t < lengths)[:, None], log_alpha, 0.0)
        share = log_weight.detach().softmax(1)
        repeated = (1 / share.square().sum(1) <= N / 2) & (t < lengths - 1)
        uniform = torch.rand(n, N, generator=generator, **rows)
        chosen = torch.searchsorted(share.cumsum(1), uniform).clamp(max=N - 1)
        chosen = torch.where(repeated[:, None], chosen, torch.arange(N, device=x.device))
        chosen = (chosen + N * torch.arange(n, device=x.device)[:, None]).flatten()
        h, c, k, k_c = (source[chosen] for source in (h, c, k, k_c))
        total = total + torch.where(repeated, log_weight.logsumexp(1) - math.log(N), 0.0)
        log_weight = torch.where(repeated[:, None], 0.0, log_weight)
    return total + log_weight.logsumexp(1) - math.log(N)


def ours(compiled):
    return lambda net, x, lengths, generator: (
        bound(
            net, x, lengths, N, generator=generator, validate=False, compiled=compiled
        ).log_likelihood
    )


def training_step(variant, net, x, lengths):
    """A step as the chapter's training makes it; returns its loss."""
    net = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    generator = rng(0, x.device)

    def step():
        loss = -(variant(net, x, lengths, generator) / lengths).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())  # waits for the device

    return step


@pytest.mark.parametrize("case", CASES)
def test_the_peer_is_fair(case):
    """It gives the same bounds and gradients, with resampling on the way."""
    net = model(case).double()
    x, lengths = sequences(net.x_dim, 6, 10)
    x, readout = x.double(), []
    for variant in (plain, ours(False)):
        values = variant(net, x, lengths, rng())
        readout.append([values, *torch.autograd.grad(values.sum(), list(net.parameters()))])
    close(*readout, rtol=1e-8, atol=1e-9)
    source = bound(net, x, lengths, N, generator=rng())
    assert (source.ess <= N / 2).any()
    assert (source.ess > N / 2).any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(1800)  # compiling on a busy machine
def test_training_step(benchmark, case, device):
    net = model(case).to(device)
    x, lengths = (source.to(device) for source in sequences(net.x_dim, *CASES[case][1:]))
    ways = {"plain": plain, "not compiled": ours(False)}
    if benchmark.enabled and can_compile(device):  # which takes a minute, so not in `make test`
        ways["compiled"] = ours(True)
    steps = {name: training_step(variant, net, x, lengths) for name, variant in ways.items()}
    first = {name: step() for name, step in steps.items()}
    assert first == pytest.approx(dict.fromkeys(first, first["plain"]), rel=1e-4)
    benchmark.pedantic(steps["compiled" if "compiled" in steps else "not compiled"], rounds=1)
    if benchmark.stats:
        taken = dict(zip(steps, turns(steps.values(), ROUNDS, device).T, strict=True))
        benchmark.extra_info["plain_seconds"] = spread(taken["plain"])
        for name in ways.keys() - {"plain"}:
            benchmark.extra_info[f"{name}, times as fast"] = spread(taken["plain"] / taken[name])
        if "compiled" not in ways:
            pytest.skip("no C++ compiler")
        assert benchmark.extra_info["compiled, times as fast"][0] > LEAST[device]


def evaluated(n, n_steps, max_rows):
    net = model("chorales")
    x, lengths = sequences(net.x_dim, n, n_steps)
    return evaluate(net, x, lengths, MANY, generator=rng(), max_rows=max_rows)


def test_no_tensor_grows_with_the_number_of_sequences():
    largest = []
    for n, max_rows in ((4, 512), (24, 512), (24, 1024)):
        with Watch() as observed:
            evaluated(n, 3, max_rows)
        largest.append(max(observed.sizes))
    assert largest[0] == largest[1]
    assert largest[2] == 2 * largest[0]


def test_peak_memory_of_evaluation(benchmark):
    if not benchmark.enabled:
        pytest.skip("takes half a minute")
    sizes = {"few": (16, STEPS, 1024), "all": (SEQUENCES, STEPS, 1024)}
    result = {name: peak(__file__, *size) for name, size in sizes.items()}
    result["wide"] = benchmark.pedantic(peak, (__file__, SEQUENCES, STEPS, 8192), rounds=1)
    benchmark.extra_info["mebibytes"] = {name: size / 2**20 for name, size in result.items()}
    # The frames themselves, and the bounds, are all there from the start.
    frames = 4 * SEQUENCES * STEPS * 88
    assert result["all"] < 1.25 * result["few"] + frames
    assert result["all"] < result["wide"] / 2 < 2**29


if __name__ == "__main__":
    torch.set_num_threads(1)
    evaluated(1, 2, MANY)  # what a first call loads
    before = resident_peak()
    evaluated(*map(int, sys.argv[1:]))
    print(resident_peak() - before)
