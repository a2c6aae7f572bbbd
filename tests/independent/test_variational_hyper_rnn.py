"""Chapter 6: bounds of published VHRNNs and VRNNs, and exact Bayes, by NumPy's own filters.

Exact Bayes adds up every pair of times at which the noise may change. Only the ten matrices, the
first numbers of seed 0, come from PyTorch.
"""

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from scipy.special import expit, logsumexp

CHAPTER = "06_variational_hyper_rnn"
DEVIATIONS = np.array([0.25, 1.0, 4.0])


def soft(x):
    return np.logaddexp(x, 0)


def lstm(gates, c):
    i, f, g, o = np.split(gates, 4, -1)
    c = expit(f) * c + expit(i) * np.tanh(g)
    return expit(o) * np.tanh(c), c


class Model:
    """A VHRNN, or a VRNN where there are no weights of hyper networks."""

    def __init__(self, tensors):
        self.t, self.hyper = tensors, "hyper.bias" in tensors
        self.h_dim = tensors["cell.weight_hidden"].shape[1]

    def layers(self, name):
        places = sorted({int(key.split(".")[1]) for key in self.t if key.startswith(f"{name}.")})
        return [(self.t[f"{name}.{i}.weight"], self.t[f"{name}.{i}.bias"]) for i in places]

    def network(self, name, x):
        *hidden, (weight, bias) = self.layers(name)
        for w, b in hidden:
            x = np.maximum(x @ w.T + b, 0)
        return x @ weight.T + bias

    def gaussian(self, raw):
        mean, width = np.split(raw, 2, -1)
        return mean, np.maximum(soft(width + 0.5), 1e-3)

    def emit(self, z, h):
        if not self.hyper:
            return self.network("decoder", np.concatenate([z, h], -1))
        layers = self.layers("decoder")
        places = np.cumsum([len(weight) for weight, _ in layers])[:-1]
        both = np.split(self.network("rescale", np.concatenate([z, h], -1)), 2, -1)
        x = np.concatenate([z, h], -1)
        parts = zip(layers, *(np.split(part, places, -1) for part in both), strict=True)
        for i, ((weight, bias), scale, shift) in enumerate(parts):
            x = scale * ((np.maximum(x, 0) if i else x) @ weight.T) + bias + shift
        return x

    def recur(self, x, z, state):
        h, c, hyper_h, hyper_c = state
        t, y = self.t, np.concatenate([x, self.network("encode_z", z)], -1)
        on_input, on_hidden = y @ t["cell.weight_input"].T, h @ t["cell.weight_hidden"].T
        if not self.hyper:
            h, c = lstm(on_input + on_hidden + t["cell.bias"], c)
            return h, c, hyper_h, hyper_c
        gates = np.concatenate([z, h], -1) @ t["hyper.weight_input"].T + t["hyper.bias"]
        hyper_h, hyper_c = lstm(gates + hyper_h @ t["hyper.weight_hidden"].T, hyper_c)
        first, second, bias = np.split(hyper_h @ t["heads.weight"].T + t["heads.bias"], 3, -1)
        h, c = lstm(first * on_input + second * on_hidden + bias, c)
        return h, c, hyper_h, hyper_c

    def bound(self, frames, n, rng, bernoulli):
        """The bound of one sequence (T, X) by n particles, resampled where half are left, nats."""
        encoded = self.network("encode_x", frames - self.t["input_mean"])
        state = tuple(np.zeros((n, self.h_dim)) for _ in range(4))
        total, log_weight = 0.0, np.zeros(n)
        for t, (frame, x) in enumerate(zip(frames, encoded, strict=True)):
            h, x = state[0], np.broadcast_to(x, (n, len(x)))
            mean, width = self.gaussian(self.network("prior", h))
            offset, own = self.gaussian(self.network("posterior", np.concatenate([h, x], -1)))
            noise = rng.standard_normal(mean.shape)
            z = mean + offset + own * noise
            ratio = np.log(own / width) + 0.5 * (noise**2 - ((z - mean) / width) ** 2)
            raw = self.emit(z, h)
            if bernoulli:
                density = frame * raw - soft(raw)
            else:
                centre, spread = self.gaussian(raw)
                density = -0.5 * ((frame - centre) / spread) ** 2 - np.log(
                    spread * (2 * np.pi) ** 0.5
                )
            log_weight = log_weight + ratio.sum(-1) + density.sum(-1)
            state = self.recur(x, z, state)
            share = np.exp(log_weight - logsumexp(log_weight))
            if t < len(frames) - 1 and 1 / (share**2).sum() <= n / 2:
                total += logsumexp(log_weight) - np.log(n)
                chosen, log_weight = rng.choice(n, n, p=share), np.zeros(n)
                state = tuple(part[chosen] for part in state)
        return total + logsumexp(log_weight) - np.log(n)


@pytest.fixture(scope="module")
def pieces(data):
    rolls = loadmat(data("poly_music/JSB_Chorales.mat"))["testdata"].ravel()
    return [roll.astype(float) for roll in rolls]


def test_chorales(published, pieces, agree):
    rng, lengths, gap = np.random.default_rng(1), np.array([len(piece) for piece in pieces]), []

    def compare(what, known, own):
        error = (own - known).std(ddof=1) * len(own) ** 0.5 / lengths.sum()
        agree(f"{what}, nats per step", *(x.sum() / lengths.sum() for x in (known, own)), error)

    for name in ("VHRNN-28", "VRNN-31-matched"):
        result = published(CHAPTER, f"jsb-{name}-seed0")
        model, final = Model(result.tensors), result.values["final"]
        for n, key in ((4, "by_sequence"), (128, "by_sequence_many")):
            own = np.array([model.bound(piece, n, rng, True) for piece in pieces])
            known = np.array(final[key]) * lengths
            compare(f"{name}, {n} particles", known, own)
        gap.append((known, own))
    compare("VHRNN minus VRNN", *np.subtract(*gap))


def simulate(matrices, n, rng, n_steps=50):
    """Sequences (n, T, 2): one matrix each, noise of three sizes that changes at two times."""
    x = np.empty((n, n_steps, 2))
    x[:, 0] = rng.uniform(-1, 1, (n, 2))
    for row in x:
        matrix, times = matrices[rng.integers(10)], set(rng.choice(49, 2, replace=False) + 1)
        size = rng.integers(3)
        for t in range(1, n_steps):
            if t in times:
                size = (size + rng.integers(1, 3)) % 3
            row[t] = matrix @ row[t - 1] + DEVIATIONS[size] * rng.standard_normal(2)
    return x


def exact(x, matrices):
    """log p of one sequence (T, 2), nats: the sum over matrices, sizes and pairs of times."""
    miss = ((x[1:] - x[:-1] @ matrices.transpose(0, 2, 1)) ** 2).sum(-1)[:, None]
    sizes = DEVIATIONS[:, None]
    log_p = -0.5 * miss / sizes**2 - np.log(2 * np.pi * sizes**2)
    before = np.concatenate([np.zeros((10, 3, 1)), log_p.cumsum(-1)], -1)
    # Steps number 1 to 49; with changes at a < b the pieces are 1..a-1, a..b-1, b..49.
    a, b = np.triu_indices(49, 1)
    terms = [
        before[:, i, a] + before[:, j, b] - before[:, j, a] + before[:, k, [-1]] - before[:, k, b]
        for i in range(3)
        for j in range(3)
        for k in range(3)
        if i != j != k
    ]
    return logsumexp(terms) - np.log(4 * 10 * 12 * len(a))


def test_switching_system(published, agree):
    generator = torch.Generator().manual_seed(0)
    matrices = 2 * torch.rand(10, 2, 2, dtype=torch.float64, generator=generator).numpy() - 1
    rng, n, result = (
        np.random.default_rng(2),
        300,
        published(CHAPTER, "switching-long-VHRNN-4-seed0"),
    )
    x, model = simulate(matrices, n, rng), Model(result.tensors)
    truth = np.array([exact(row, matrices) for row in x]) / 50
    known = np.array(published(CHAPTER, "switching-oracle").values["test"])
    error = (truth.var(ddof=1) / n + known.var(ddof=1) / len(known)) ** 0.5
    agree("exact Bayes, nats per step", known.mean(), truth.mean(), error)

    below = truth - np.array([model.bound(row, 4, rng, False) for row in x]) / 50
    known_below = known - np.array(result.values["final"]["by_sequence"])
    error = (below.var(ddof=1) / n + known_below.var(ddof=1) / len(known_below)) ** 0.5
    agree("exact Bayes minus VHRNN 4, nats per step", known_below.mean(), below.mean(), error)
