"""What models of the switching system have identified: probes, likelihood by step, lines beside."""

import copy
import math
from typing import NamedTuple

import torch
from torch import Tensor

from dgm.data.dynamics import DEVIATIONS, Dynamics
from dgm.papers import variational_hyper_rnn as paper
from dgm.sampling.particles import normal, particle_bound

TREES = 100


class Mixture(NamedTuple):
    """A model without memory: K linear maps of the last point with three deviations each."""

    matrices: Tensor  # (K, 2, 2)
    deviations: Tensor  # (3,)
    shares: Tensor  # (K, 3), logs

    def log_joint(self, x: Tensor) -> Tensor:
        """Log-density of each map, deviation and point after the first, (B, T - 1, K, 3)."""
        miss = x[:, 1:, None] - torch.einsum("kij,btj->btki", self.matrices, x[:, :-1])
        squares = miss.square().sum(-1)[..., None] / self.deviations**2
        constant = 2 * self.deviations.log() + math.log(2 * math.pi)
        return self.shares - 0.5 * squares - constant

    def per_step(self, x: Tensor) -> Tensor:
        """Log-density of each point (B, T) given the one before, the first uniform; nats."""
        first = torch.full((len(x), 1), -math.log(4.0), dtype=x.dtype)
        return torch.cat([first, self.log_joint(x).logsumexp((-2, -1))], 1)


def fit_mixture(x: Tensor, components: int, iterations: int, seed: int) -> Mixture:
    """Expectation maximisation on sequences (B, T, 2) from random maps; float64."""
    generator = torch.Generator().manual_seed(seed)
    maps = 2 * torch.rand(components, 2, 2, generator=generator, dtype=torch.float64) - 1
    start = torch.full((components, 3), -math.log(3.0 * components), dtype=torch.float64)
    mixture = Mixture(maps, torch.tensor(DEVIATIONS, dtype=torch.float64), start)
    before, after = x[:, :-1].flatten(0, 1), x[:, 1:].flatten(0, 1)
    for _ in range(iterations):
        share = mixture.log_joint(x).flatten(2).softmax(-1).view(len(before), components, 3)
        weight = (share / mixture.deviations**2).sum(-1)  # (N, K)
        moments = torch.einsum("nk,ni,nj->kij", weight, before, before)
        products = torch.einsum("nk,ni,nj->kij", weight, after, before)
        ridge = 1e-6 * torch.eye(2, dtype=torch.float64)
        maps = torch.linalg.solve(moments + ridge, products, left=False)
        miss = after[:, None] - torch.einsum("kij,nj->nki", maps, before)
        squares = torch.einsum("nks,nk->s", share, miss.square().sum(-1))
        totals = share.sum((0, 1)).clamp(min=1e-9)  # of a deviation that no point takes
        deviations = (squares / (2 * totals)).sqrt().clamp(min=1e-6)
        mixture = Mixture(maps, deviations, share.mean(0).log())
    return mixture


def step_likelihoods(net: paper.VariationalRNN, x: Tensor, n: int, seed: int) -> Tensor:
    """Log-density of each point (B, T) given those before, by n particles always resampled."""
    double, rows = copy.deepcopy(net).double(), []
    weights, generator = double.weights(), torch.Generator().manual_seed(seed)

    def step(state, features, t, generator):
        noise = normal(features, double.z_dim, generator)
        output = double(state, features, noise, weights)
        rows.append(output.log_alpha.view(-1, n).logsumexp(1) - math.log(n))
        return output.state, output.log_alpha

    lengths = torch.full((len(x),), x.shape[1])
    features = double.features(x.double())
    particle_bound(lambda r, _: double.start(r), step, features, lengths, n, "always", generator)
    return torch.stack(rows, 1)


def features(net: paper.VariationalRNN, x: Tensor, seed: int) -> Tensor:
    """What a model carries along sequences (B, T, 2), (B, T, F): z, h, and scales if any."""
    double, generator = copy.deepcopy(net).double(), torch.Generator().manual_seed(seed)
    along = x.double().transpose(0, 1)
    noise = torch.randn(*along.shape[:2], double.z_dim, generator=generator, dtype=x.dtype)
    trace = paper.trace(double, along, noise)
    return torch.cat([trace.z, trace.h, trace.scales], -1).transpose(0, 1)


def last_two(x: Tensor) -> Tensor:
    """Each point of sequences (B, T, 2) and the one before, (B, T, 4); 0 before the first."""
    return torch.cat([x, torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)], -1)


def accuracies(
    train: tuple[Tensor, Dynamics], test: tuple[Tensor, Dynamics], steps: list[int]
) -> dict[str, list[float]]:
    """How often a forest and a logistic probe name the matrix from features (B, T, F) by step."""
    from sklearn.ensemble import RandomForestClassifier  # here, since it takes a second
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds = {
        "forest": lambda: RandomForestClassifier(TREES, random_state=0),
        "logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
    }
    parts = {name: [] for name in kinds}
    for step in steps:
        (x, y), (x_test, y_test) = (
            (values[:, step].float().numpy(), data.which[:, step].numpy())
            for values, data in (train, test)
        )
        for name, make in kinds.items():
            parts[name].append(float((make().fit(x, y).predict(x_test) == y_test).mean()))
    return parts
