"""Measures of trained models: detached CPU float64 tensors, nats."""

import math
from collections import namedtuple

import torch
from torch import Tensor

Interval = namedtuple("Interval", "mean standard_error low high n")  # low, high by bootstrap


def active_units(mu: Tensor, threshold: float = 0.01) -> Tensor:
    """Number of latent dimensions whose posterior mean, (N, D), has a variance > threshold."""
    mu = checked_rows("mu", mu, 2)
    return (mu.var(0) > threshold).sum().double()


def aggregate_mutual_information(
    mu: Tensor, logvar: Tensor, *, n_samples: int = 1, seed: int = 0, chunk: int = 1024
) -> Tensor:
    """I = E log q(z | x) - E log (1/N) sum_n q(z | x_n), for x drawn uniformly from N examples.

    The same n_samples per example serve both terms, so their noise cancels. mu, logvar (N, D).
    ValueError for shapes that differ or values that are not finite.
    """
    mu, logvar = checked_rows("mu", mu), checked_rows("logvar", logvar)
    if mu.shape != logvar.shape:
        raise ValueError(f"mu is {tuple(mu.shape)} but logvar is {tuple(logvar.shape)}")
    generator = torch.Generator().manual_seed(seed)
    n = len(mu)
    rows = torch.arange(n).repeat(n_samples)
    noise = torch.randn(len(rows), mu.shape[1], generator=generator, dtype=torch.float64)
    total = mu.new_zeros(())
    for part, draw in zip(rows.split(chunk), noise.split(chunk), strict=True):
        z = mu[part] + torch.exp(0.5 * logvar[part]) * draw
        scaled = (z[:, None, :] - mu).square() * torch.exp(-logvar)
        log_q = -0.5 * (scaled + logvar).sum(-1)
        own = log_q[torch.arange(len(part)), part]
        total = total + (own - torch.logsumexp(log_q, 1) + math.log(n)).sum()
    return total / len(rows)


def effective_sample_size(log_w: Tensor, dim: int = 0) -> Tensor:
    """(sum w)^2 / sum w^2 of log_w (..., K, ...) along dim: from 1 (one weight, or all 0) to K."""
    log_w = log_w.detach().to("cpu", torch.float64)
    log_ess = 2 * torch.logsumexp(log_w, dim) - torch.logsumexp(2 * log_w, dim)
    return log_ess.masked_fill(log_w.amax(dim) == -math.inf, 0.0).exp()


def bootstrap(
    values: Tensor, *, level: float = 0.95, n_resamples: int = 2000, seed: int = 0
) -> Interval:
    """Mean, standard error, percentile interval of finite values (N >= 2,), else ValueError."""
    values = values.detach().to("cpu", torch.float64)
    if values.ndim != 1 or len(values) < 2 or not torch.isfinite(values).all():
        raise ValueError("bootstrap needs at least two finite values in one dimension")
    generator = torch.Generator().manual_seed(seed)
    picks = torch.randint(len(values), (n_resamples, len(values)), generator=generator)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.quantile(values[picks].mean(1), tails).tolist()
    n = len(values)
    return Interval(float(values.mean()), float(values.std()) / math.sqrt(n), low, high, n)


_MapperGraph = namedtuple("_MapperGraph", "n_nodes n_edges n_components")


def mapper_graph(points: Tensor, resolution: int = 5) -> _MapperGraph:
    """The Mapper graph of points (P, D): space with vacancy falls apart as resolution rises."""
    import kmapper  # here, since these are slow to import
    from scipy.cluster.hierarchy import DisjointSet
    from sklearn.cluster import DBSCAN

    values = torch.as_tensor(points).detach().to("cpu", torch.float64).numpy()
    mapper = kmapper.KeplerMapper(verbose=0)
    lens = mapper.fit_transform(values, projection="sum")
    cover = kmapper.Cover(n_cubes=resolution, perc_overlap=0.4)
    clusterer = DBSCAN(eps=0.1, min_samples=3, metric="cosine")
    graph = mapper.map(lens, values, cover=cover, clusterer=clusterer)
    edges = [(a, b) for a, linked in graph["links"].items() for b in linked]
    components = DisjointSet(graph["nodes"])
    for a, b in edges:
        components.merge(a, b)
    return _MapperGraph(len(graph["nodes"]), len(edges), components.n_subsets)


def checked_rows(name: str, value: Tensor, at_least: int = 1) -> Tensor:
    """Finite rows (rows, F), so many at least, as CPU float64; ValueError for others."""
    value = value.detach().to("cpu", torch.float64)
    if value.ndim != 2 or value.shape[1] < 1 or not torch.isfinite(value).all():
        raise ValueError(f"{name} must be (rows, F) and finite, got shape {tuple(value.shape)}")
    if len(value) < at_least:
        raise ValueError(f"{name} has {len(value)} rows; this needs at least {at_least}")
    return value
