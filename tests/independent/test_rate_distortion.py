"""Chapter 1's curve of a VAE: NumPy's own quadrature and annealed importance sampling.

With d(z) = |x - f(z)|^2 and prior N(0, I): Z = E exp(-beta d), D = E_q d, R = -beta D - log Z.
"""

import gzip

import numpy as np
import pytest
from scipy.special import expit, logsumexp

CHAPTER = "01_rate_distortion"


def layers(tensors):
    """Weights and biases of a decoder, float32."""
    return [
        (tensors[f"decoder.{i}.weight"].astype("f4"), tensors[f"decoder.{i}.bias"].astype("f4"))
        for i in (0, 2, 4)
    ]


def decode(decoder, z):
    """Hidden values and the image of codes (N, k)."""
    (w1, b1), (w2, b2), (w3, b3) = decoder
    h1 = np.tanh(z @ w1.T + b1)
    h2 = np.tanh(h1 @ w2.T + b2)
    return h1, h2, expit(h2 @ w3.T + b3)


def distortion(decoder, z, x):
    """Squared distance d (N,) and its gradient (N, k)."""
    (w1, _), (w2, _), (w3, _) = decoder
    h1, h2, image = decode(decoder, z)
    miss = image - x
    back = (2 * miss * image * (1 - image)) @ w3
    back = (back * (1 - h2**2)) @ w2
    return (miss.astype("f8") ** 2).sum(1), (back * (1 - h1**2)) @ w1


@pytest.fixture(scope="module")
def images(data):
    raw = gzip.decompress(data("mnist/t10k-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 784)[:50].astype("f4") / 255


def summaries(log_weight, d, beta):
    """log Z, D and R of each image, from log-weights and distortions along the last axis."""
    log_z = logsumexp(log_weight, axis=-1)
    mean = (np.exp(log_weight - log_z[..., None]) * d).sum(-1)
    return {"log_z": log_z, "distortion": mean, "rate": -beta * mean - log_z}


def compare(agree, what, curve, place, computed):
    for name, values in computed.items():
        expected = curve[name][place, : len(values)]
        error = (values - expected).std(ddof=1) / len(values) ** 0.5
        agree(f"{what}, {name}", expected.mean(), values.mean(), error)


def test_two_dimensions_by_quadrature(published, images, agree):
    curve = published(CHAPTER, "vae2-seed0-curve").tensors
    exact = published(CHAPTER, "vae2-seed0-truth").tensors
    decoder = layers(published(CHAPTER, "vae2-seed0-training").tensors)
    # Cell centres, so that no point is one of the book's own grid; beyond 5.5 lies 1e-7 of a prior.
    line = (np.arange(700) + 0.5) * (11 / 700) - 5.5
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    log_prior = -(grid**2).sum(1) / 2 - np.log(2 * np.pi) + 2 * np.log(11 / 700)
    d = np.empty((50, len(grid)), "f4")
    for rows in np.array_split(np.arange(len(grid)), 70):
        image = decode(decoder, grid[rows].astype("f4"))[2]
        squares = (image**2).sum(1) + (images**2).sum(1)[:, None]
        d[:, rows] = squares - 2 * images @ image.T
    for beta in (0.1, 1.0):
        place = np.abs(np.log(curve["beta"] / beta)).argmin()
        beta = curve["beta"][place]
        parts = [summaries(log_prior - beta * row, row, beta) for row in d]
        computed = {name: np.array([part[name] for part in parts]) for name in parts[0]}
        compare(agree, f"VAE2, beta {beta:.3g}, annealed", curve, place, computed)
        # Two grids may differ by 0.01 nat; an error of 0.0025 is four of them apart there.
        same = np.abs(exact["beta"] - beta).argmin()
        for name, values in computed.items():
            what = f"VAE2, beta {beta:.3g}, exact {name}"
            agree(what, exact[name][same].mean(), values.mean(), 0.0025)


def anneal(decoder, x, betas, recorded, rng, sizes=None, n_leapfrog=6):
    """Log-weights and d (recorded, rows) along ascending betas; sizes of steps, tuned or given."""
    z = rng.standard_normal((len(x), decoder[0][0].shape[1])).astype("f4")
    d, slope = distortion(decoder, z, x)
    log_weight, before, size, used, rows = np.zeros(len(x)), 0.0, 0.3, [], []
    for i, beta in enumerate(betas):
        log_weight = log_weight - (beta - before) * d
        before = beta
        if i in recorded:
            rows.append((log_weight.copy(), d.copy()))
        size = sizes[i] if sizes else size
        used.append(size)
        # Steps of one length could return a chain to where it began.
        step = np.float32(size * rng.uniform(0.8, 1.2))
        p = rng.standard_normal(z.shape).astype("f4")
        start = beta * d + (z.astype("f8") ** 2).sum(1) / 2 + (p.astype("f8") ** 2).sum(1) / 2
        new, new_d, new_slope = z, d, slope
        for _ in range(n_leapfrog):
            p = p - step / 2 * (new + np.float32(beta) * new_slope)
            new = new + step * p
            new_d, new_slope = distortion(decoder, new, x)
            p = p - step / 2 * (new + np.float32(beta) * new_slope)
        end = beta * new_d + (new.astype("f8") ** 2).sum(1) / 2 + (p.astype("f8") ** 2).sum(1) / 2
        take = np.log(rng.random(len(x))) < start - end
        z, slope = np.where(take[:, None], new, z), np.where(take[:, None], new_slope, slope)
        d = np.where(take, new_d, d)
        size = size * np.exp(0.3 * (take.mean() - 0.75))
    return rows, used


def test_ten_dimensions_by_annealed_importance_sampling(published, images, agree):
    curve = published(CHAPTER, "vae10-seed0-curve").tensors
    decoder = layers(published(CHAPTER, "vae10-seed0-training").tensors)
    places = [np.abs(np.log(curve["beta"] / beta)).argmin() for beta in (0.3, 3.0, 30.0)]
    targets = curve["beta"][places]
    betas = np.geomspace(1e-3, targets[-1], 700)
    betas = np.unique(np.concatenate([betas, targets]))
    recorded = set(np.searchsorted(betas, targets).tolist())
    n_images, n_chains, rng = 25, 8, np.random.default_rng(1)
    # The steps' sizes are tuned on other chains: weights by tuned transitions would be biased.
    _, sizes = anneal(decoder, images[:n_images], betas, recorded, rng)
    x = images[:n_images].repeat(n_chains, 0)
    rows, _ = anneal(decoder, x, betas, recorded, rng, sizes)
    for place, beta, (log_weight, d) in zip(places, targets, rows, strict=True):
        log_weight = log_weight.reshape(n_images, n_chains) - np.log(n_chains)
        computed = summaries(log_weight, d.reshape(n_images, n_chains), beta)
        compare(agree, f"VAE10, beta {beta:.3g}", curve, place, computed)
