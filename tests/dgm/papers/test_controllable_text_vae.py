"""The controllable text VAE: objective, densities, vertices, manipulation, Mapper, a toy end to end."""

import math
from typing import NamedTuple

import pytest
import torch
from torch import nn

from dgm.data.text import Vocabulary
from dgm.measure import aggregate_mutual_information
from dgm.nets.simplex import orthogonality_loss, structured_reconstruction_loss
from dgm.papers.controllable_text_vae import (
    BestDimension,
    ControllableTextVAE,
    LossWeights,
    Rewriter,
    aggregate_log_density,
    aggressive_encoder_steps,
    best_sentiment_dimension,
    controllable_objective,
    crop,
    decode,
    identify_vertices,
    manipulate,
    mapper_graph,
    mean_log_density,
    simplex_dispersion,
    steer,
    transfer,
)
from dgm.vae import gaussian_kl

V, F = 14, 5


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def model(feature_dim=F, seed=0, **options):
    torch.manual_seed(seed)
    sizes = {
        "embedding": 6, "hidden": 8, "structured_dim": 4, "residual_dim": 3, "decoder_embedding": 5,
    }  # fmt: skip
    made = ControllableTextVAE(V, feature_dim, **{**sizes, **options}).double()
    nn.init.normal_(made.simplex.vertices)
    return made


def sentences(b=6, length=12):
    tokens = torch.randint(3, V, (b, length), generator=rng())
    tokens[:, 0], tokens[:, -1] = 1, 2
    return tokens


class TestObjective:
    def test_value_is_the_weighted_sum(self):
        m, tokens, h = model(), sentences(), normal(6, F)
        negatives = normal(6, 10, F, seed=1)
        weights = LossWeights(0.3, 0.7, 2.0, 0.5, 10.0)
        arguments = {"negatives": negatives, "weights": weights, "dropout": False}
        terms = controllable_objective(m, tokens, h, rng(3), **arguments)
        torch.testing.assert_close(
            terms.value,
            terms.reconstruction + 0.3 * terms.kl_residual + 0.7 * terms.kl_structured
            + 2 * terms.structured_reconstruction + 0.5 * terms.orthogonality,
        )  # fmt: skip
        code = m.simplex(h)
        mu, logvar = m.residual(tokens)
        torch.testing.assert_close(terms.kl_structured, gaussian_kl(code.mu, code.logvar).mean())
        torch.testing.assert_close(terms.kl_residual, gaussian_kl(mu, logvar).mean())
        torch.testing.assert_close(
            terms.orthogonality, orthogonality_loss(m.simplex.vertices, 10.0)
        )
        others = torch.stack([m.simplex(negatives[:, j]).mu for j in range(10)], 1)
        torch.testing.assert_close(
            terms.structured_reconstruction,
            structured_reconstruction_loss(code.query, code.mu, others),
        )
        mean, variance = m.posterior(tokens, None, h)
        z = mean + (0.5 * variance).exp() * torch.randn(
            mean.shape, generator=rng(3), dtype=mean.dtype
        )
        torch.testing.assert_close(terms.reconstruction, m.decoder.nll(tokens, None, z).mean())

    def test_structured_divergence_has_its_closed_form(self):
        m, h = model(), normal(6, F)
        p, _, _, logvar = m.simplex(h)
        e = m.simplex.vertices
        form = 0.5 * ((p @ e @ e.T * p).sum(1) + (logvar.exp() - logvar).sum(1) - 4)
        terms = controllable_objective(m, sentences(), h, rng())
        torch.testing.assert_close(terms.kl_structured, form.mean())

    def test_negatives_of_the_batch_are_other_sentences(self):
        m, h = model(), normal(6, F)
        code = m.simplex(h)
        others = torch.stack([code.mu.roll(-j, 0) for j in (1, 2, 3)], 1)
        terms = controllable_objective(m, sentences(), h, rng(), negatives=3)
        torch.testing.assert_close(
            terms.structured_reconstruction,
            structured_reconstruction_loss(code.query, code.mu, others),
        )
        all_others = controllable_objective(m, sentences(), h, rng(), negatives=10)
        others = torch.stack([code.mu.roll(-j, 0) for j in range(1, 6)], 1)
        torch.testing.assert_close(
            all_others.structured_reconstruction,
            structured_reconstruction_loss(code.query, code.mu, others),
        )

    def test_every_parameter_learns(self):
        for feature_dim in (F, None):
            m, tokens = model(feature_dim), sentences()
            h = normal(6, F) if feature_dim else m.features(tokens)
            controllable_objective(m, tokens, h, rng()).value.backward()
            for name, p in m.named_parameters():
                assert p.grad is not None, name
                assert float(p.grad.norm()) > 0, name

    def test_noise_comes_from_the_generator(self):
        m, tokens, h = model(), sentences(), normal(6, F)
        one, again, other = (controllable_objective(m, tokens, h, rng(s)).value for s in (1, 1, 2))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    def test_features_are_refused_where_they_come_from_elsewhere(self):
        with pytest.raises(ValueError, match="feature_dim"):
            model().features(sentences())

    def test_sizes_are_the_published_ones(self):
        with torch.device("meta"):
            m = ControllableTextVAE(1000, 300)
        count = {name: p.numel() for name, p in m.named_parameters()}
        assert sum(n for k, n in count.items() if k.startswith("simplex")) == 9_731
        assert (
            sum(n for k, n in count.items() if k.startswith("residual") and "lstm" in k)
            == 35_684_352
        )
        assert count["residual.head.weight"] == 131_072
        assert count["decoder.initial.weight"] == 81_920
        assert sum(n for k, n in count.items() if k.startswith("decoder.lstm")) == 5_054_464


class TestCrop:
    def test_windows_are_windows_and_all_come(self):
        tokens = torch.arange(13).expand(600, 13)
        windows = crop(tokens, rng(), 10)
        assert windows.shape == (600, 10)
        assert (windows.diff(dim=1) == 1).all()
        counts = torch.bincount(windows[:, 0], minlength=13)
        assert (counts[:4] - 150).abs().max() < 4 * math.sqrt(600 * 3 / 16)
        assert counts[4:].sum() == 0

    @pytest.mark.parametrize("length", [3, 10])
    def test_short_sentences_stay_whole(self, length):
        tokens = torch.arange(length).expand(4, length)
        assert torch.equal(crop(tokens, rng(), 10), tokens)


class TestDensity:
    def test_one_gaussian(self):
        z, mu = normal(5, 7), normal(1, 7, seed=1)
        exact = -0.5 * (z - mu).square().sum(1) - 3.5 * math.log(2 * math.pi)
        zero = torch.zeros_like(mu)
        torch.testing.assert_close(aggregate_log_density(z, mu, zero), exact)
        torch.testing.assert_close(mean_log_density(z, mu, zero), exact)

    @pytest.mark.parametrize("offset", [0.0, 1e4])
    def test_equals_the_components_one_by_one(self, offset):
        z, mu = normal(9, 4) + offset, normal(30, 4, seed=1) + offset
        logvar = normal(30, 4, seed=2) - 2
        each = torch.distributions.Normal(mu, (0.5 * logvar).exp()).log_prob(z[:, None]).sum(-1)
        torch.testing.assert_close(
            aggregate_log_density(z, mu, logvar, chunk=4), each.logsumexp(1) - math.log(30)
        )
        torch.testing.assert_close(mean_log_density(z, mu, logvar), each.mean(1))

    def test_narrow_codes_are_computed_wide(self):
        z, mu = (normal(5, 4) + 100).float(), (normal(30, 4, seed=1) + 100).float()
        logvar = torch.full((30, 4), -8.0)
        wide = torch.distributions.Normal(mu.double(), (0.5 * logvar).exp().double())
        each = wide.log_prob(z.double()[:, None]).sum(-1)
        torch.testing.assert_close(
            aggregate_log_density(z, mu, logvar), each.logsumexp(1) - math.log(30)
        )
        torch.testing.assert_close(mean_log_density(z, mu, logvar), each.mean(1))

    def test_mean_of_logs_is_below_log_of_mean(self):
        z, mu, logvar = normal(50, 6), normal(40, 6, seed=1), normal(40, 6, seed=2)
        below, above = mean_log_density(z, mu, logvar), aggregate_log_density(z, mu, logvar)
        assert (below < above).all()

    def test_results_are_float64_without_gradient(self):
        arguments = [normal(3, 2).float().requires_grad_(True) for _ in range(3)]
        for density in (aggregate_log_density, mean_log_density):
            value = density(*arguments)
            assert value.dtype == torch.float64
            assert not value.requires_grad

    @pytest.mark.parametrize("shapes", [[(3,), (4, 2), (4, 2)], [(3, 3), (4, 2), (4, 2)],
                                        [(3, 2), (4, 2), (5, 2)]])  # fmt: skip
    def test_refuses_shapes_that_do_not_fit(self, shapes):
        with pytest.raises(ValueError, match="want z"):
            aggregate_log_density(*(torch.zeros(shape) for shape in shapes))


def test_information_is_capped_by_the_number_of_sentences():
    mu, logvar = 50 * normal(40, 6), torch.full((40, 6), -4.0)
    information = float(aggregate_mutual_information(mu, logvar))
    assert information <= math.log(40) + 1e-9
    assert information == pytest.approx(math.log(40))


class TestVertices:
    def simplex(self, negative, positive, n=100, noise=0.0):
        logits = torch.cat(
            [torch.tensor(negative).expand(n, -1), torch.tensor(positive).expand(n, -1)]
        )
        labels = torch.arange(2).repeat_interleave(n)
        return torch.softmax(logits + noise * normal(2 * n, logits.shape[1]), 1), labels

    def test_pure(self):
        found = identify_vertices(*self.simplex([0.0, 0.0, 4.0], [4.0, 0.0, 0.0]))
        assert (found.negative, found.positive, found.purity, found.collision) == (2, 0, 1.0, False)
        assert found.counts.tolist() == [[0, 100], [0, 0], [100, 0]]

    def test_collision_is_told_and_vertices_still_differ(self):
        found = identify_vertices(*self.simplex([0.0, 3.0, 1.0], [1.0, 3.0, 0.0]))
        assert found.collision
        assert (found.negative, found.positive) == (2, 0)
        assert found.purity == found.chance == 0.5

    def test_mixed(self):
        p, labels = self.simplex([1.0, 0.0], [0.0, 1.0], n=4000, noise=1.0)
        found = identify_vertices(p, labels)
        # P(N(1, sqrt 2) > 0)
        exact = 0.5 * (1 + math.erf(0.5))
        assert abs(found.purity - exact) < 4 * math.sqrt(exact * (1 - exact) / 8000)

    def test_chance_is_the_commoner_label(self):
        p, labels = torch.full((200, 3), 1 / 3), (torch.arange(200) < 150).long()
        assert identify_vertices(p, labels).chance == identify_vertices(p, labels).purity == 0.75

    @pytest.mark.parametrize("labels", [[0, 1] * 49, [0] * 100, [0, 1, 2, 1] * 25])
    def test_refuses(self, labels):
        with pytest.raises(ValueError, match=r"want p|labels must"):
            identify_vertices(torch.ones(len(labels), 2) / 2, torch.tensor(labels))

    def test_dispersion(self):
        even = simplex_dispersion(torch.eye(3).repeat(10, 1))
        assert float(even.spread) == pytest.approx(1)
        assert float(even.entropy) == 0
        assert even.occupancy.tolist() == pytest.approx([1 / 3] * 3)
        point = simplex_dispersion(torch.full((10, 4), 0.25))
        assert float(point.spread) == pytest.approx(0)
        assert float(point.entropy) == pytest.approx(1)


class TestManipulation:
    def test_best_dimension_in_either_direction(self):
        labels = torch.arange(2).repeat(500)
        mu = normal(1000, 6) + 3.0
        for sign in (1, -1):
            moved = mu.clone()
            moved[:, 4] += sign * 2.0 * labels
            best = best_sentiment_dimension(moved, labels)
            exact = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
            assert (best.index, best.sign) == (4, sign)
            assert abs(best.accuracy - exact) < 4 * math.sqrt(exact * (1 - exact) / 1000)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_moves_one_coordinate_as_asked(self, sign):
        z, training = (
            normal(2, 3),
            torch.tensor([[0.0, 1.0, 0.0], [0.0, 3.0, 0.0], [0.0, 8.0, 0.0]]),
        )
        best, target = BestDimension(1, sign, 0.9), torch.tensor([1, 0])
        mean, deviation = 4.0, math.sqrt(13)
        for amount, value in (
            (2.0, [mean + 2 * sign * deviation, mean - 2 * sign * deviation]),
            ("extremum", [8.0, 1.0] if sign > 0 else [1.0, 8.0]),
        ):
            fixed = manipulate(z, best, training, target, amount, mode="set")
            assert fixed[:, 1].tolist() == pytest.approx(value)
            added = manipulate(z, best, training, target, amount)
            torch.testing.assert_close(added[:, 1], fixed[:, 1] + z[:, 1])
            assert torch.equal(added[:, [0, 2]], z[:, [0, 2]])
        assert torch.equal(z, normal(2, 3))

    @pytest.mark.parametrize(("amount", "mode"), [("most", "add"), (1, "scale")])
    def test_refuses(self, amount, mode):
        best, target = BestDimension(0, 1, 0.9), torch.ones(2)
        with pytest.raises(ValueError, match=r"amount|mode"):
            manipulate(torch.zeros(2, 2), best, torch.zeros(3, 2), target, amount, mode)


class TestMapper:
    def test_two_directions_are_two_components(self):
        points = 0.02 * normal(400, 3)
        points[:200, 0] += 1
        points[200:, 1] += 1
        graph = mapper_graph(points * (1 + normal(400, 1, seed=1).abs()), 6)
        assert graph.n_components == 2
        assert graph.n_nodes > 2
        assert graph.n_edges >= graph.n_nodes - 2

    def test_filled_patch_is_one_component(self):
        p = torch.distributions.Dirichlet(torch.ones(3, dtype=torch.float64))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            weights = p.sample((2000,))
        points = weights @ torch.diag(torch.tensor([1.0, 2.0, 3.0])).double()
        assert mapper_graph(points, 5).n_components == 1

    def test_scattered_points_have_no_graph(self):
        assert mapper_graph(torch.eye(6), 3) == (0, 0, 0)

    @pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
    def test_points_may_come_from_a_network(self, device):
        points = normal(100, 2).abs()
        graph = mapper_graph(points.numpy())
        assert graph.n_nodes > 0
        assert mapper_graph(points.to(device).requires_grad_()) == graph


class TestAggressiveSteps:
    def test_stops_when_the_loss_stops_falling(self):
        p = nn.Parameter(torch.tensor(5.0))
        optimizer = torch.optim.SGD([p], lr=0.3)
        steps = aggressive_encoder_steps(lambda i: p.square(), optimizer, window=5)
        assert 10 <= steps < 100
        assert steps % 5 == 0
        assert abs(float(p.detach())) < 1e-3

    def test_has_a_limit_and_leaves_the_decoder(self):
        m, tokens, h = model(), sentences(), normal(6, F)
        before = {k: v.clone() for k, v in m.state_dict().items()}
        encoder = [*m.simplex.parameters(), *m.residual.parameters()]
        optimizer = torch.optim.Adam(encoder, lr=1e-4)
        seen = []

        def loss(i):
            seen.append(i)
            return controllable_objective(m, tokens, h, rng(i)).value

        assert aggressive_encoder_steps(loss, optimizer, most=7, window=3) <= 7
        assert seen == list(range(len(seen)))
        for name, value in m.state_dict().items():
            assert torch.equal(value, before[name]) == name.startswith("decoder"), name


class Corpus(NamedTuple):
    tokens: torch.Tensor
    lengths: torch.Tensor
    unknown: list


class Words:
    """A vocabulary that spells numbers."""

    def encode(self, texts):
        rows = [[1, *map(int, text.split()), 2] for text in texts]
        return Corpus(torch.tensor(rows), torch.tensor([len(rows[0])]), [["?"]])

    def decode(self, ids, unknown):
        return " ".join(str(i) for i in ids if i > 2) + unknown[0]


class TestTransfer:
    def test_reads_the_first_window_and_the_weights(self):
        m, tokens = model(), sentences()
        lengths = torch.full((6,), 12)
        found = transfer(m, tokens, lengths, torch.tensor([0.2, 0.3, 0.5]), max_steps=7)
        assert found.tokens.shape == (6, 7)
        changed = tokens.clone()
        changed[:, 10] = 3 + (tokens[:, 10] - 2) % (V - 3)
        behind = transfer(m, changed, lengths, torch.tensor([0.2, 0.3, 0.5]), max_steps=7)
        assert torch.equal(found.log_prob, behind.log_prob)
        moved = transfer(m, tokens, lengths, torch.eye(3)[0], max_steps=7)
        assert not torch.equal(found.log_prob, moved.log_prob)
        rows = transfer(m, tokens, lengths, torch.eye(3)[[0, 0, 0, 1, 1, 1]], max_steps=7)
        torch.testing.assert_close(rows.log_prob[:3], moved.log_prob[:3])

    def test_padding_and_batches_change_nothing(self):
        m, tokens = model(), sentences(7, 9)
        lengths = torch.tensor([9, 4, 5, 9, 6, 3, 9])
        for row, n in zip(tokens, lengths.tolist(), strict=True):
            row[n - 1], row[n:] = 2, 0
        whole = transfer(m, tokens, lengths, torch.eye(3)[1])
        split = transfer(m, tokens, lengths, torch.eye(3)[1], batch_size=2)
        assert torch.equal(whole.tokens, split.tokens)
        alone = transfer(m, tokens[1:2, :4], lengths[1:2], torch.eye(3)[1])
        assert torch.equal(whole.tokens[1], alone.tokens[0])

    def test_score_is_the_likelihood_at_the_code(self):
        m = model()
        z = m.code(torch.tensor([0.0, 1.0, 0.0]), normal(5, 3))
        torch.testing.assert_close(z[:, :4], m.simplex.vertices[1].expand(5, -1))
        found = decode(m.decoder, z, max_steps=6)
        for i in range(5):
            words = found.tokens[i][found.tokens[i] != 0]
            row = torch.cat([torch.ones(1, dtype=torch.int64), words])[None]
            nll = m.decoder.nll(row, None, z[i : i + 1])
            assert float(found.log_prob[i]) == pytest.approx(-float(nll.detach()))

    def test_steer_from_text_to_text(self):
        rewriter = Rewriter(model(), Words(), options={"max_steps": 5})
        text = steer(rewriter, "3 4 5", [1, 0, 0])
        assert text.endswith("?")
        assert text == steer(rewriter, "3 4 5", torch.tensor([7.0, 0.0, 0.0]))

    def test_steer_writes_every_sentence_and_no_marker_that_was_not_read(self):
        vocabulary = Vocabulary([str(i) for i in range(V - 5)] + ["_num_"])
        m = model()
        with torch.no_grad():
            m.decoder.output.bias[[vocabulary.unknown, vocabulary.id("_num_")]] += 3.0
            m.decoder.output.bias[vocabulary.end] -= 2.0
        rewriter = Rewriter(m, vocabulary, options={"max_steps": 5})
        sentences = ["3 4 zorp .", "5 6 !", "1 2 3 4 5 6 7 8 9", "0 1 2"]
        rewritten = steer(rewriter, " ".join(sentences), [1, 0, 0])
        assert rewritten == " ".join(steer(rewriter, s, [1, 0, 0]) for s in sentences)
        assert not {"<unk>", "_num_"} & set(rewritten.split())
        assert "zorp" in rewritten
        assert "_num_" in steer(rewriter, "_num_ 4", [1, 0, 0])

    @pytest.mark.parametrize("sentence", ["", "  \n", None, 3])
    def test_steer_wants_a_word(self, sentence):
        with pytest.raises(ValueError, match="sentence"):
            steer(Rewriter(model(), Words()), sentence, [1, 0, 0])

    @pytest.mark.parametrize(
        "weights",
        [[1, 0], [1, 0, 0, 0], [-1, 1, 1], [0, 0, 0], [math.nan, 0, 1], 1.0, [math.inf, 1, 0]],
    )
    def test_steer_wants_a_place_on_the_simplex(self, weights):
        with pytest.raises(ValueError, match="weights"):
            steer(Rewriter(model(), Words()), "3 4", weights)


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
    m = ControllableTextVAE(
        15, topics, embedding=16, hidden=32, structured_dim=4, residual_dim=6, decoder_embedding=16,
        layers=1, dropout=0.0,
    )  # fmt: skip
    optimizer = torch.optim.Adam(m.parameters(), lr=1e-2)
    weights = LossWeights(0.005, 0.02, 1.0, 1.0, 10.0)
    for _ in range(250):
        rows = torch.randint(n, (128,), generator=generator)
        terms = controllable_objective(m, tokens[rows], h[rows], generator, weights=weights)
        optimizer.zero_grad()
        terms.value.backward()
        optimizer.step()
    with torch.no_grad():
        p = m.simplex(h).p
    nearest = p.argmax(1)
    names = torch.stack([topic[nearest == k].mode().values for k in range(topics)])
    assert sorted(names.tolist()) == [0, 1, 2], "each vertex has its own topic"
    assert (names[nearest] == topic).double().mean() > 0.95
    some = torch.arange(100)
    flipped, kept = [], []
    for k in range(topics):
        found = transfer(
            m, tokens[some], torch.full((100,), 6), torch.eye(topics)[k], max_steps=8
        ).tokens
        flipped.append((found == 3 + names[k]).any(1))
        kept.append(torch.stack([(found == w[:, None]).any(1) for w in free[some].T]))
    assert torch.stack(flipped).double().mean() >= 0.9
    assert torch.stack(kept).double().mean() >= 0.8
