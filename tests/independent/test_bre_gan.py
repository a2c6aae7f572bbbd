"""Chapter 3: pieces of the plane, modes of toys, and scores of published generators, in NumPy."""

import gzip

import numpy as np
import pytest
from scipy.linalg import eigvals
from scipy.special import softmax, xlogy

CHAPTER, SEEDS, METHODS = "03_bre_gan", range(10), ("none", "bre")
CENTRES = np.stack([np.cos(np.arange(8) * np.pi / 4), np.sin(np.arange(8) * np.pi / 4)], 1)
DEVIATION = 0.05


def affine(tensors, name, x):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def pieces(tensors, points):
    """How many patterns of signs the second to fourth hidden layers have at points (N, 2)."""
    counts, x = [], points
    for layer in (0, 2, 4, 6):
        h = affine(tensors, f"discriminator.{layer}", x)
        counts.append(len({row.tobytes() for row in np.packbits(h > 0, axis=1)}))
        x = np.where(h > 0, h, 0.2 * h)
    return np.array(counts[1:])


@pytest.fixture(scope="module")
def toys(published):
    return {
        method: [published(CHAPTER, f"toy-eight-{method}-seed{seed}") for seed in SEEDS]
        for method in METHODS
    }


def test_pieces_of_the_plane(toys, agree):
    line = np.linspace(-1.5, 1.5, 150)
    points = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    own, known = {}, {}
    for method, runs in toys.items():
        own[method] = np.array([pieces(run.tensors, points) for run in runs])
        last = [run.values["measured"][-1] for run in runs]
        known[method] = np.array([[row[f"pieces_h{i}"] for i in (2, 3, 4)] for row in last])
        # float32 may put a point of the grid on the other side of an edge.
        assert abs(own[method] - known[method]).max() <= 2
    gains = own["bre"] - own["none"]
    for i, gain in enumerate(gains.T):
        published = (known["bre"] - known["none"])[:, i].mean()
        error = gain.std(ddof=1) / len(gain) ** 0.5
        agree(f"pieces in h{i + 2}, with minus without BRE", published, gain.mean(), error)


def test_share_of_good_points(toys, agree):
    rng, n = np.random.default_rng(1), 50_000
    for method, runs in toys.items():
        shares = []
        for run in runs:
            x = rng.standard_normal((n, 2))
            for layer in (0, 2, 4):
                x = np.maximum(affine(run.tensors, f"generator.{layer}", x), 0)
            x = np.tanh(affine(run.tensors, "generator.6", x))
            distance = np.linalg.norm(x[:, None] - CENTRES, axis=-1).min(1)
            shares.append((distance <= 3 * DEVIATION).mean())
        known = np.mean([run.values["measured"][-1]["high_quality"] for run in runs])
        share = np.array(shares)
        # The published share rests on 2,500 points a seed, the same noise for all seeds.
        deviation = np.mean(np.sqrt(share * (1 - share)))
        error = deviation * (1 / 2500 + 1 / (n * len(runs))) ** 0.5
        agree(f"share of good points, {method}", known, share.mean(), error)


def convolve(x, weight, bias):
    """A 5 x 5 convolution of stride 2, padding 2: (N, S, S, C) -> (N, S / 2, S / 2, O)."""
    side = x.shape[1]
    x = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)))
    parts = (
        x[:, i : i + side : 2, j : j + side : 2] @ weight[:, :, i, j].T
        for i in range(5)
        for j in range(5)
    )
    return sum(parts) + bias


def spread_out(x, weight, bias):
    """A transposed 4 x 4 convolution of stride 2, padding 1: (N, S, S, C) -> (N, 2S, 2S, O)."""
    n, side = x.shape[:2]
    image = np.zeros((n, 2 * side + 2, 2 * side + 2, weight.shape[1]), x.dtype)
    for i in range(4):
        for j in range(4):
            image[:, i : i + 2 * side : 2, j : j + 2 * side : 2] += x @ weight[:, :, i, j]
    return image[:, 1:-1, 1:-1] + bias


def normalise(x, tensors, name, own):
    """Batch normalisation, by the batch's own moments or by those that were stored."""
    mean, variance = (tensors[f"{name}.running_{part}"] for part in ("mean", "var"))
    if own:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    factor = tensors[f"{name}.weight"] / np.sqrt(variance + np.float32(1e-5))
    return (x - mean) * factor + tensors[f"{name}.bias"]


def generate(t, rng, n):
    """Images (n, 28, 28, 1), in batches of 500 with their own moments."""
    images = []
    for _ in range(n // 500):
        x = affine(t, "0", rng.standard_normal((500, 64)).astype("f4"))
        x = x.reshape(500, 64, 7, 7).transpose(0, 2, 3, 1)
        x = normalise(np.maximum(x, 0), t, "3", own=True)
        x = normalise(np.maximum(spread_out(x, t["4.weight"], t["4.bias"]), 0), t, "6", own=True)
        images.append(np.tanh(spread_out(x, t["7.weight"], t["7.bias"])))
    return np.concatenate(images)


def read(t, images):
    """Scaled features (N, 64) and probabilities (N, 10) by the published classifier."""
    rows = []
    for x in np.array_split(images, -(-len(images) // 500)):
        for conv, norm in (("features.0", "features.2"), ("features.3", "features.5")):
            x = np.maximum(convolve(x, t[f"{conv}.weight"], t[f"{conv}.bias"]), 0)
            x = normalise(x, t, norm, own=False)
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        rows.append(np.maximum(affine(t, "features.7", x), 0))
    features = np.concatenate(rows)
    return (features / t["scale"]).astype("f8"), softmax(affine(t, "head", features), -1)


def frechet(a, b):
    offset = ((a.mean(0) - b.mean(0)) ** 2).sum()
    # The product of two covariances has the eigenvalues of a symmetric matrix: none is negative.
    values = eigvals(np.cov(a.T) @ np.cov(b.T)).real.clip(0)
    return offset + np.trace(np.cov(a.T) + np.cov(b.T)) - 2 * np.sqrt(values).sum()


def single(tensors):
    return {name: value.astype("f4") for name, value in tensors.items()}


def test_scores_of_generators(published, data, agree):
    labels, images = (
        np.frombuffer(gzip.decompress(data(f"mnist/{name}-ubyte.gz").read_bytes()), np.uint8)
        for name in ("t10k-labels-idx1", "t10k-images-idx3")
    )
    known = published(CHAPTER, "mnist-classifier")
    judge = single(known.tensors)
    test = images[16:].reshape(-1, 28, 28, 1).astype("f4") / np.float32(127.5) - 1
    features, probabilities = read(judge, test)
    right = probabilities.argmax(1) == labels[8:]
    agree("accuracy of the classifier", known.values["accuracy"], right.mean(), 1e-4)
    rng, batch = np.random.default_rng(2), np.arange(5000) // 500

    def scores(fake, p):
        score = np.exp(xlogy(p, p).sum(1).mean() - xlogy(p.mean(0), p.mean(0)).sum())
        return np.array([frechet(features, fake), score])

    for method in METHODS:
        run = published(CHAPTER, f"mnist-normal-batch-{method}-seed0")
        fake, p = read(judge, generate(single(run.tensors), rng, len(batch)))
        left_out = [scores(fake[batch != i], p[batch != i]) for i in range(10)]
        # Both numbers rest on as many images; the error is that of leaving out a batch.
        errors = (2 * 9) ** 0.5 * np.std(left_out, axis=0)
        for name, *numbers in zip(("frechet", "class_score"), scores(fake, p), errors, strict=True):
            agree(f"MNIST {method}, {name}", run.values["final"][name], *numbers)
