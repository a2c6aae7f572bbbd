"""The controllable text VAE: objective, densities, vertices, manipulation, a toy end to end."""

import math
from functools import partial

import pytest
import torch
from checks import close, refuses, share_is
from draws import normal, rng
from torch import nn

from dgm.nets.simplex import orthogonality_loss, structured_reconstruction_loss
from dgm.nets.text_vae import aggressive_encoder_steps
from dgm.papers.controllable_text_vae import (
    BestDimension,
    ControllableTextVAE,
    LossWeights,
    aggregate_log_density,
    best_sentiment_dimension,
    controllable_objective,
    crop,
    decode,
    identify_vertices,
    manipulate,
    mean_log_density,
    simplex_dispersion,
)
from dgm.vae import gaussian_kl

V, F = 14, 5


@pytest.fixture
def model():
    torch.manual_seed(0)
    sizes = {"embedding": 6, "hidden": 8, "structured_dim": 4, "residual_dim": 3}
    model = ControllableTextVAE(V, F, **sizes, decoder_embedding=5, dropout=0.0)
    nn.init.normal_(model.double().simplex.vertices)
    return model


@pytest.fixture
def features():
    return normal(6, F)


def sentences(b=6, length=12):
    tokens = torch.randint(3, V, (b, length), generator=rng())
    tokens[:, 0], tokens[:, -1] = 1, 2
    return tokens


class TestObjective:
    def test_value_is_the_weighted_sum(self, model, features):
        tokens, negatives = sentences(), normal(6, 10, F, seed=1)
        weights = LossWeights(0.3, 0.7, 2.0, 0.5, 10.0)
        options = {"negatives": negatives, "weights": weights}
        terms = controllable_objective(model, tokens, features, rng(3), **options)
        weighted = zip((1, 0.3, 0.7, 2, 0.5), terms[1:], strict=True)
        close(terms.value, sum(w * term for w, term in weighted))
        code = model.simplex(features)
        mu, logvar = model.residual(tokens)
        close(terms.kl_structured, gaussian_kl(code.mu, code.logvar).mean())
        close(terms.kl_residual, gaussian_kl(mu, logvar).mean())
        close(terms.orthogonality, orthogonality_loss(model.simplex.vertices, 10.0))
        others = torch.stack([model.simplex(negatives[:, j]).mu for j in range(10)], 1)
        hinge = structured_reconstruction_loss(code.query, code.mu, others)
        close(terms.structured_reconstruction, hinge)
        mean, logvar = model.posterior(tokens, None, features)
        noise = normal(*mean.shape, seed=3)
        z = mean + (0.5 * logvar).exp() * noise
        close(terms.reconstruction, model.decoder.nll(tokens, None, z).mean())

    def test_structured_divergence_has_its_closed_form(self, model, features):
        p, _, _, logvar = model.simplex(features)
        e, negatives = model.simplex.vertices, normal(6, 2, F)
        form = 0.5 * ((p @ e @ e.T * p).sum(1) + (logvar.exp() - logvar).sum(1) - 4)
        terms = controllable_objective(model, sentences(), features, rng(), negatives=negatives)
        close(terms.kl_structured, form.mean())

    def test_sizes_are_the_published_ones(self):
        with torch.device("meta"):
            model = ControllableTextVAE(1000, 300)
        for part, published in {
            "simplex": 9_731,
            "residual.encoder.states.lstm": 35_684_352,
            "residual.head.weight": 131_072,
            "decoder.initial.weight": 81_920,
            "decoder.lstm": 5_054_464,
        }.items():
            named = model.named_parameters()
            assert sum(p.numel() for name, p in named if name.startswith(part)) == published, part


@pytest.mark.parametrize("length", [3, 10, 13])
def test_windows_are_windows_and_all_come(length):
    windows = crop(torch.arange(length).expand(600, length), rng())
    assert windows.shape == (600, min(length, 10))
    assert (windows.diff(dim=1) == 1).all()
    n = length - windows.shape[1] + 1
    assert share_is(torch.bincount(windows[:, 0], minlength=n), torch.full((n,), 1 / n), 600)


class TestDensity:
    @pytest.mark.parametrize("offset", [0.0, 1e4])
    @pytest.mark.parametrize("n", [1, 30])
    def test_equals_the_components_one_by_one(self, offset, n):
        z, mu = normal(1100, 4) + offset, normal(n, 4, seed=1) + offset
        logvar = normal(n, 4, seed=2) - 2
        each = torch.distributions.Normal(mu, (0.5 * logvar).exp()).log_prob(z[:, None]).sum(-1)
        mu.requires_grad_()  # which is not passed on
        close(aggregate_log_density(z, mu, logvar), each.logsumexp(1) - math.log(n))
        close(mean_log_density(z, mu, logvar), each.mean(1))


class TestVertices:
    def simplex(self, negative, positive):
        p = torch.tensor([negative, positive]).softmax(1).repeat_interleave(100, 0)
        return p, torch.arange(2).repeat_interleave(100)

    def test_pure(self):
        v = identify_vertices(*self.simplex([0.0, 0.0, 4.0], [4.0, 0.0, 0.0]))
        assert (v.negative, v.positive, v.purity, v.collision) == (2, 0, 1.0, False)
        assert v.counts.tolist() == [[0, 100], [0, 0], [100, 0]]

    def test_a_collision_is_reported_and_vertices_still_differ(self):
        v = identify_vertices(*self.simplex([0.0, 3.0, 1.0], [1.0, 3.0, 0.0]))
        assert (v.negative, v.positive, v.collision) == (2, 0, True)
        assert v.purity == v.chance == 0.5

    @pytest.mark.parametrize(
        ("p", "spread", "entropy"),
        [(torch.eye(3).repeat(10, 1), 1, 0), (torch.full((10, 3), 1 / 3), 0, 1)],
    )
    def test_dispersion(self, p, spread, entropy):
        dispersion = simplex_dispersion(p)
        assert dispersion[:2] == pytest.approx((spread, entropy), abs=1e-6)
        if spread:
            assert dispersion.occupancy.tolist() == pytest.approx([1 / 3] * 3)


class TestManipulation:
    @pytest.mark.parametrize("sign", [1, -1])
    def test_best_dimension_in_either_direction(self, sign):
        labels = torch.arange(2).repeat(500)
        mu = normal(1000, 6) + 3.0
        mu[:, 4] += sign * 2.0 * labels
        best = best_sentiment_dimension(mu, labels)
        exact = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
        assert (best.index, best.sign) == (4, sign)
        assert share_is(1000 * best.accuracy, exact, 1000)

    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("amount", [2.0, "extremum"])
    def test_adds_to_one_coordinate_as_asked(self, sign, amount):
        z, training = normal(2, 3), torch.zeros(3, 3)
        training[:, 1] = torch.tensor([1.0, 3.0, 8.0])
        best, target = BestDimension(1, sign, 0.9), torch.tensor([1, 0])
        changed = manipulate(z, best, training, target, amount)
        high, low = (8.0, 1.0) if amount == "extremum" else (4 + 2 * 13**0.5, 4 - 2 * 13**0.5)
        added = [high, low] if sign > 0 else [low, high]
        assert (changed - z)[:, 1].tolist() == pytest.approx(added)
        assert torch.equal(changed[:, [0, 2]], z[:, [0, 2]])
        assert torch.equal(z, normal(2, 3))


def test_aggressive_steps_stop_when_the_loss_stops_falling():
    p = nn.Parameter(torch.tensor(5.0))
    optimizer = torch.optim.SGD([p], lr=0.3)
    steps = aggressive_encoder_steps(lambda i: p.square(), optimizer, window=5)
    assert steps % 5 == 0
    assert 10 <= steps < 100
    assert abs(float(p.detach())) < 1e-3


def test_aggressive_steps_have_a_limit_and_leave_the_decoder(model, features):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    encoder = [*model.simplex.parameters(), *model.residual.parameters()]
    steps = []

    def loss(i):
        steps.append(i)
        negatives = features[torch.arange(6)[:, None] - torch.arange(1, 3)]
        data = sentences(), features, rng(i)
        return controllable_objective(model, *data, negatives=negatives).value

    optimizer = torch.optim.Adam(encoder, lr=1e-4)
    assert aggressive_encoder_steps(loss, optimizer, most=7, window=3) <= 7
    assert steps == list(range(len(steps)))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("decoder"), name


def test_the_score_of_a_rewrite_is_the_likelihood_at_its_code(model):
    z = model.code(torch.tensor([0.0, 1.0, 0.0]), normal(5, 3))
    close(z[:, :4], model.simplex.vertices[1].expand(5, -1))
    rewrites = decode(model.decoder, z, max_steps=6)
    assert torch.equal(decode(model.decoder, z, max_steps=6, batch_size=2)[0], rewrites.tokens)
    for i in range(5):
        words = rewrites.tokens[i][rewrites.tokens[i] != 0]
        row = torch.cat([torch.ones(1, dtype=torch.int64), words])[None]
        nll = model.decoder.nll(row, None, z[i : i + 1]).detach()
        assert float(rewrites.log_prob[i]) == pytest.approx(-float(nll))


def test_toy_end_to_end():
    """Sentences of one topic word and three free words; the feature knows the topic."""
    n, topics, generator = 600, 3, rng()
    topic = torch.randint(topics, (n,), generator=generator)
    free = torch.randint(0, 3, (n, 3), generator=generator)
    edges = torch.ones(n, 1, dtype=torch.int64)
    free = 6 + free + torch.tensor([0, 3, 6])
    tokens = torch.cat([edges, free[:, :2], 3 + topic[:, None], free[:, 2:], 2 * edges], 1)
    h = nn.functional.one_hot(topic, topics) + 0.1 * torch.randn(n, topics, generator=generator)
    torch.manual_seed(0)
    sizes = {"embedding": 16, "hidden": 32, "structured_dim": 4, "residual_dim": 6, "layers": 1}
    model = ControllableTextVAE(15, topics, decoder_embedding=16, dropout=0.0, **sizes)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    weights = LossWeights(0.005, 0.02, 1.0, 1.0, 10.0)
    for _ in range(250):
        rows = torch.randint(n, (128,), generator=generator)
        others = h[rows][(torch.arange(128)[:, None] + torch.arange(1, 11)) % 128]
        options = {"negatives": others, "weights": weights}
        terms = controllable_objective(model, tokens[rows], h[rows], generator, **options)
        optimizer.zero_grad()
        terms.value.backward()
        optimizer.step()
    nearest = model.simplex(h).p.argmax(1)
    names = torch.stack([topic[nearest == k].mode().values for k in range(topics)])
    assert sorted(names.tolist()) == [0, 1, 2], "each vertex has its own topic"
    assert (names[nearest] == topic).double().mean() > 0.95
    flipped, same = [], []
    for k in range(topics):
        code = model.code(torch.eye(topics)[k], model.residual(tokens[:100])[0].detach())
        words = decode(model.decoder, code, max_steps=8).tokens
        flipped.append((words == 3 + names[k]).any(1))
        same.append(torch.stack([(words == w[:, None]).any(1) for w in free[:100].T]))
    assert torch.stack(flipped).double().mean() >= 0.9
    assert torch.stack(same).double().mean() >= 0.8


BEST, HALVES, ZEROS = BestDimension(0, 1, 0.9), torch.ones(100, 2) / 2, torch.zeros(4, 2)
REFUSED = {
    "want z": [
        partial(aggregate_log_density, *map(torch.zeros, shapes))
        for shapes in (
            [(3,), (4, 2), (4, 2)],
            [(3, 3), (4, 2), (4, 2)],
            [(3, 2), (4, 2), (5, 2)],
        )
    ],
    r"want p|labels must": [
        partial(identify_vertices, HALVES, torch.tensor(labels))
        for labels in ([0, 1] * 49, [0] * 100, [0, 1, 2, 1] * 25)
    ],
    "amount": partial(manipulate, ZEROS[:2], BEST, ZEROS, torch.ones(2), "most"),
    "want mu": partial(best_sentiment_dimension, ZEROS[:2], torch.ones(2)),
}
test_what_makes_no_sense_is_refused = refuses(REFUSED)
