"""Bounds against exact information, the critic, and both phases without their padding."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from checks import gradient, refuses, share_is
from checks import near as close
from draws import normal, rng
from torch.nn.functional import binary_cross_entropy_with_logits

from dgm.data.synthetic import topic_chain_information
from dgm.nets.language_models import AWDLSTM, Dropouts, TransformerLM
from dgm.papers.mutual_information_lm import (
    BASES,
    SegmentCritic,
    bootstrap_objective,
    donsker_varadhan,
    draw_pairs,
    info_nce,
    jensen_shannon_loss,
    likelihood_objective,
    make_segments,
    nwj,
    raml_weights,
    segment_features,
)

V, END = 14, 2
LOG2 = math.log(2)


def best_critic(x, y, rho):
    """log p(x, y) / p(x) p(y) of two unit normals with correlation rho."""
    quadratic = (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))
    return -0.5 * math.log(1 - rho**2) - quadratic


def quadrature(rho, nodes=240):
    """The best critic's scores on both laws, with the weights of the nodes."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    x, w = torch.from_numpy(x), torch.from_numpy(w / w.sum())
    a, b = (grid.flatten() for grid in torch.meshgrid(x, x, indexing="ij"))
    joint = best_critic(a, rho * a + math.sqrt(1 - rho**2) * b, rho)
    return joint, best_critic(a, b, rho), torch.outer(w, w).flatten()


def each(objective, joint, product):
    """A mean over pairs, before the mean: equation (2) or (3) of one pair each."""
    return torch.func.vmap(objective)(joint[:, None], product[:, None])


def topics(n_topics, away, total):
    """The pairs of a chain, each as often as it is likely: exact laws as equal samples."""
    stay = total - away * (n_topics - 1)
    counts = torch.full((n_topics, n_topics), away) + torch.eye(n_topics).long() * (stay - away)
    pairs = torch.cartesian_prod(*[torch.arange(n_topics)] * 2)
    joint = pairs.repeat_interleave(counts.flatten(), 0)
    score = torch.log(counts.double() / total * n_topics)
    return score[joint[:, 0], joint[:, 1]], score.flatten(), joint


class TestBounds:
    @pytest.mark.parametrize(
        ("rho", "information", "loss", "jsd"),
        [
            (0.0, 0.0, 1.38629, 0.0),
            (0.3, 0.04716, 1.36247, 0.01191),
            (0.5, 0.14384, 1.31245, 0.03692),
            (0.8, 0.51083, 1.11901, 0.13364),
            (0.9, 0.83037, 0.95719, 0.21455),
            (0.95, 1.16395, 0.80217, 0.29206),
            (0.99, 1.95852, 0.50366, 0.44132),
        ],
    )
    def test_table_of_correlated_gaussians(self, rho, information, loss, jsd):
        joint, product, w = quadrature(rho)
        atol = 1e-3 if rho == 0.99 else 1e-4
        close(w @ joint, information, atol)
        close(-0.5 * math.log(1 - rho**2), information, 1e-5)
        close(w @ product.exp(), 1, atol)
        result = w @ each(jensen_shannon_loss, joint, product)
        close(result, loss, atol)
        close(result, 2 * LOG2 - 2 * jsd, atol)
        if rho < 0.95:  # e^T is too steep for the nodes beyond
            bound = w @ each(lambda a, b: nwj(a, b, validate=False), joint + 1, product + 1)
            close(bound, information, atol)

    @pytest.mark.parametrize(
        ("n_topics", "away", "total", "nats"),
        [(4, 1, 30, 0.95135), (8, 1, 35, 1.18986), (2, 1, 10, 0.36806)],
    )
    def test_best_critic_gives_the_chain_s_information_exactly(self, n_topics, away, total, nats):
        joint, product, _ = topics(n_topics, away, total)
        exact = topic_chain_information(n_topics, away * (n_topics - 1) / total)
        close(exact, nats, 5e-6)
        close(donsker_varadhan(joint, product), exact)
        close(nwj(joint + 1, product + 1), exact)
        assert jensen_shannon_loss(joint, product) > 0

    def test_critic_that_says_nothing(self):
        zeros = torch.zeros(5)
        close(jensen_shannon_loss(zeros, zeros), 2 * LOG2, 1e-6)
        close(donsker_varadhan(zeros, zeros), 0)
        close(nwj(zeros, zeros), -math.exp(-1))
        close(nwj(zeros + 1, zeros + 1), 0)
        close(info_nce(torch.zeros(5, 5)), 0)

    def test_what_a_constant_changes(self):
        joint, product, _ = topics(4, 1, 30)
        close(donsker_varadhan(joint + 7, product + 7), donsker_varadhan(joint, product))
        assert nwj(joint + 8, product + 8) < nwj(joint + 1, product + 1)
        assert jensen_shannon_loss(joint + 1, product + 1) > jensen_shannon_loss(joint, product)

    @pytest.mark.parametrize("seed", range(6))
    def test_no_critic_beats_the_best(self, seed):
        joint, product, pairs = topics(4, 1, 30)
        score = 2 * normal(4, 4, seed=seed)
        result = [score[pairs[:, 0], pairs[:, 1]], score.flatten()]
        exact = topic_chain_information(4, 0.1)
        assert nwj(*result) <= donsker_varadhan(*result) <= exact
        assert jensen_shannon_loss(*result) >= jensen_shannon_loss(joint, product)

    def test_loss_is_binary_cross_entropy_of_both_classes(self):
        joint, product = normal(6, seed=1).requires_grad_(), normal(9, seed=2)
        expected = binary_cross_entropy_with_logits(joint, torch.ones_like(joint))
        expected = expected + binary_cross_entropy_with_logits(product, torch.zeros_like(product))
        close(jensen_shannon_loss(joint, product), expected)
        assert jensen_shannon_loss(joint, product).requires_grad

    def test_bounds_are_measures(self):
        joint = normal(6).float().requires_grad_()
        bounds = donsker_varadhan(joint, joint), nwj(joint, joint), info_nce(joint.outer(joint))
        for bound in bounds:
            assert bound.dtype == torch.float64
            assert not bound.requires_grad
            assert bound.shape == ()

    @pytest.mark.parametrize("n", [2, 7, 30])
    def test_contrast_is_capped_by_log_n(self, n):
        for seed in range(20):
            assert info_nce(5 * normal(n, n, seed=seed)) <= math.log(n)
        close(info_nce(1000 * torch.eye(n)), math.log(n))

    @pytest.mark.parametrize(
        ("n", "means"),
        [(4, (0.55, 1.314)), (16, (0.758, 2.451)), (64, (0.809, 3.272)), (256, (0.823, 3.767))],
    )
    @pytest.mark.parametrize("d", [1, 5])
    def test_contrast_of_the_best_critic(self, d, n, means):
        rho, batches = 0.9, 150 if n < 256 else 40
        x = normal(batches, n, d, seed=n)
        y = rho * x + math.sqrt(1 - rho**2) * normal(batches, n, d, seed=n + 1)
        scores = (best_critic(a[:, None], b, rho).sum(-1) for a, b in zip(x, y, strict=True))
        result = torch.stack([*map(info_nce, scores)])
        error = math.hypot(float(result.std()) / math.sqrt(batches), 0.018)
        assert abs(float(result.mean()) - means[d == 5]) < 3 * error

    @pytest.mark.parametrize("n", [4, 16, 64, 256])
    def test_contrast_at_its_ceiling(self, n):
        """In 20 dimensions the information is far above log N."""
        x = normal(n, 20, seed=n)
        y = 0.9 * x + math.sqrt(0.19) * normal(n, 20, seed=n + 1)
        close(info_nce(best_critic(x[:, None], y, 0.9).sum(-1)), math.log(n), 1e-3)

    def test_shuffled_pairs_have_no_information(self):
        n, rho = 100_000, 0.6
        x, noise = normal(n, seed=1), normal(n, seed=2)
        for y, information in ((noise, 0.0), (rho * x + 0.8 * noise, -math.log(0.8))):
            joint, product = best_critic(x, y, rho), best_critic(x, y.roll(1), rho)
            error = float(joint.std() + product.exp().std()) / math.sqrt(n)
            bound = float(donsker_varadhan(joint, product))
            assert bound < information + 4 * error
            assert information == 0 or bound > information - 4 * error

    def test_scores_may_be_extreme(self):
        joint, product = torch.tensor([800.0, 900.0]), torch.tensor([-math.inf, 1000.0])
        close(donsker_varadhan(joint, product), 850 - 1000 + LOG2)
        assert torch.isfinite(jensen_shannon_loss(joint, torch.tensor([1000.0])))


class TestCritic:
    @pytest.mark.parametrize(
        ("base", "v", "hidden", "counts"),
        [
            ("ptb", 10_000, 300, (21_500_620, 7_621_202)),
            ("wikitext-2", 33_278, 100, (34_909_528, 2_950_402)),
        ],
    )
    def test_published_sizes(self, base, v, hidden, counts):
        with torch.device("meta"):
            model = AWDLSTM(v, *BASES[base])
            critic = SegmentCritic(model.feature_width, hidden)
        assert counts == tuple(sum(p.numel() for p in m.parameters()) for m in (model, critic))

    def test_is_its_equation(self):
        critic = make_critic(5)
        a, b = normal(4, 5, seed=1), normal(4, 5, seed=2)

        def side(layers, a, b):
            u = torch.cat([a, b, a - b, a * b, (a - b).abs()], 1)
            return layers[1](torch.relu(layers[0](u)))[:, 0]

        expected = (side(critic.forwards, a, b) + side(critic.backwards, b, a)) / 2
        close(critic(a, b), expected)

    def test_all_pairs_at_once(self):
        critic, a, b = make_critic(5), normal(3, 5, seed=1), normal(4, 5, seed=2)
        table = critic(a[:, None], b)
        assert table.shape == (3, 4)
        close(table[1, 2], critic(a[1], b[2]))


def make_critic(width, seed=0):
    torch.manual_seed(seed)
    return SegmentCritic(width, 16).double()


def make_model(kind="lstm", seed=0):
    torch.manual_seed(seed)
    if kind == "transformer":
        return TransformerLM(V, 8, 2, 2, context=30).double()
    return AWDLSTM(V, 5, 7, 6, 2, 3, Dropouts()).double()


def some_segments(longest=9, padding=3, seed=0):
    lengths = torch.randint(1, 8, (12,), generator=rng(seed))
    words = torch.randint(4, V, (12, 7), generator=rng(seed + 1)).tolist()
    rows = [row[:n] for row, n in zip(words, lengths.tolist(), strict=True)]
    return make_segments(rows, END, padding, longest)


class TestPairs:
    def test_segments_are_cut_and_padded(self):
        segments = make_segments([[5, 6], [], [7], [8, 9, 10, 11]], END, 3, longest=4)
        assert segments.tokens.tolist() == [[5, 6, 2, 3], [7, 2, 3, 3], [8, 9, 10, 2]]
        assert segments.lengths.tolist() == [3, 2, 4]

    def test_draws_are_of_different_sentences(self):
        m, n = 7, 30_000
        draw = draw_pairs(m, n, rng())
        assert (draw.following == draw.anchor + 1).all()
        assert not ((draw.other == draw.anchor) | (draw.other == draw.following)).any()
        counts = torch.bincount(draw.anchor * m + draw.other, minlength=m * m).view(m, m)[:-1]
        assert ((counts > 0).sum(1) == m - 2).all()
        assert share_is(counts[counts > 0], 1 / (m - 1) / (m - 2), n)

    @pytest.mark.parametrize("p", [0.3, 0.7])
    def test_successors_follow_the_geometric_law_up_to_the_end(self, p):
        m = 7
        draw = draw_pairs(m, 60_000, rng(), p)
        for anchor in range(m - 1):
            here = draw.anchor == anchor
            sampled, log_prob = draw.sampled[here], draw.log_distance_prob[here]
            k = torch.arange(m - 1 - anchor).double()
            law = p * (1 - p) ** k / (1 - (1 - p) ** len(k))
            close(law.sum(), 1)
            close(log_prob.exp(), law[sampled - anchor - 1])
            assert share_is(torch.bincount(sampled, minlength=m)[anchor + 1 :], law, len(sampled))
            assert sampled.min() > anchor


class TestWeights:
    sampled, following, log_p = (normal(6, seed=seed) for seed in (1, 2, 3))

    def test_sum_to_one_and_follow_the_formula(self):
        w = raml_weights(self.sampled, self.following, self.log_p, 0.7)
        expected = torch.exp((self.sampled - self.following) / 0.7) / self.log_p.exp()
        close(w, expected / expected.sum())
        same = torch.full((5,), 2.0).double()
        close(raml_weights(same, same * 0, same), [0.2] * 5)

    @pytest.mark.parametrize("shifts", [(9, 0, 0), (4, 4, 0), (0, 0, 3)])
    def test_constants_change_nothing(self, shifts):
        rows = self.sampled, self.following, self.log_p
        shifted = [row + shift for row, shift in zip(rows, shifts, strict=True)]
        close(raml_weights(*shifted, 0.5), raml_weights(*rows, 0.5))

    def test_limits_of_the_temperature(self):
        rows = self.sampled, self.following, self.log_p
        close(raml_weights(*rows, 1e12), (-self.log_p).softmax(0), 1e-9)
        for temperature in (1e-6, 1e-300):
            w = raml_weights(*rows, temperature)
            assert w.argmax() == (self.sampled - self.following).argmax()
            close(w.max(), 1)

    def test_no_gradient_reaches_the_critic(self):
        sampled = normal(4).requires_grad_()
        assert not raml_weights(sampled, sampled, normal(4)).requires_grad

    def test_precision(self):
        for dtype in (torch.float64, torch.float32, torch.bfloat16):
            weights = raml_weights(*(normal(4, seed=i).to(dtype) for i in range(3)))
            assert weights.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("n_steps", [1, 7])
def test_likelihood_is_its_formula(n_steps):
    model, x = make_model(), torch.randint(V, (3, n_steps + 1), generator=rng())
    terms = likelihood_objective(model, x, None, None, activation=3.0, slowness=0.5)
    reading = model.read(x[:, :-1])
    h, nll = reading.layers[-1], model.loss(reading.output, x[:, 1:]).total
    steps = [(h[:, t + 1] - h[:, t]).square().sum() for t in range(n_steps - 1)]
    slowness = sum(steps) / max(1, len(steps) * h[:, 0].numel())
    expected = nll, reading.output.square().mean(), torch.as_tensor(slowness).double()
    close(terms[1:4], expected)
    close(terms.value, nll + 3 * expected[1] + 0.5 * expected[2])


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
class TestPadding:
    def test_the_released_way_does(self, kind):
        model = make_model(kind)
        short, long = (segment_features(model, some_segments(n), leak=True) for n in (9, 20))
        assert (short - long).abs().amax(1).min() > 1e-4

    def test_features_are_pooled_layers(self, kind):
        model, segments = make_model(kind), some_segments()
        result = segment_features(model, segments)
        for i, n in enumerate(segments.lengths.tolist()):
            layers = model.read(segments.tokens[i : i + 1, :n]).layers
            pooled = [(h.amax(1) if kind == "lstm" else h.mean(1))[0] for h in layers]
            close(result[i], torch.cat(pooled), 1e-12)

    @pytest.mark.parametrize("leak", [False, True])
    def test_objective_does_not_know_it(self, kind, leak):
        model, critic = make_model(kind), make_critic(make_model(kind).feature_width)
        values = []
        for longest in (9, 14):
            draw = draw_pairs(12, 6, rng(4))
            terms = bootstrap_objective(
                model, critic, some_segments(longest), draw, None, augmented_weight=1.0, leak=leak
            )
            values.append(torch.stack(terms).detach())
        same = (values[0] - values[1]).abs() < 1e-10
        assert same.all() != leak


class TestPhases:
    def parts(self, kind="lstm"):
        model = make_model(kind)
        return model, make_critic(model.feature_width), some_segments(), draw_pairs(12, 6, rng(4))

    @pytest.mark.parametrize("kind", ["lstm", "transformer"])
    def test_phase_two_is_its_formula(self, kind):
        model, critic, segments, draw = self.parts(kind)
        options = {"augmented_weight": 0.5, "temperature": 0.7}
        terms = bootstrap_objective(model, critic, segments, draw, None, **options)
        features = segment_features(model, segments)
        places = draw.anchor, draw.following, draw.sampled, draw.other
        a, b, c, other = (features[i] for i in places)
        joint, product = critic(a, b), critic(a, other)
        close(terms.critic, jensen_shannon_loss(joint, product))
        close(terms.accuracy, (joint > product).double().mean())
        w = raml_weights(critic(a, c), critic(a, b), draw.log_distance_prob, 0.7)
        losses = []
        for i, j in zip(draw.anchor.tolist(), draw.sampled.tolist(), strict=True):
            x, y = (segments.tokens[k, : segments.lengths[k]][None] for k in (i, j))
            after = model.read(x).state  # the model has read x, then reads y
            output = model.read(y[:, :-1], after).output
            losses.append(model.loss(output, y[:, 1:]).total)
        close(terms.augmented, w @ torch.stack(losses))
        close(terms.effective, 1 / (w**2).sum())
        close(terms.value, 0.1 * terms.critic + 0.5 * terms.augmented)
        first = bootstrap_objective(model, critic, segments, draw, None, critic_weight=0.3)
        close(first.value, 0.3 * terms.critic)
        assert float(first.augmented) == float(first.effective) == 0

    def test_who_learns_from_what(self):
        model, critic, segments, draw = self.parts()

        def learn(value):
            return [any(g.any() for g in gradient(value, *m.parameters())) for m in (model, critic)]

        terms = bootstrap_objective(model, critic, segments, draw, rng(), augmented_weight=1.0)
        assert learn(terms.critic) == [True, True]
        assert learn(terms.augmented) == [True, False]
        apart = bootstrap_objective(model, critic, segments, draw, rng(), detach=True)
        assert learn(apart.value) == [False, True]

    def test_gradient_of_phase_two_goes_through_the_anchor(self):
        """The state after x is not cut off: a difference quotient sees what the gradient does."""
        model, critic, segments, draw = self.parts()
        for p in critic.parameters():  # or the weights, which have no gradient, would change
            p.data.zero_()
        weight, h = model.lstms[0].weight_ih_l0, 1e-6

        def value(shift=0.0):
            weight.data[0, 0] += shift
            terms = bootstrap_objective(model, critic, segments, draw, None, augmented_weight=1.0)
            return terms.augmented

        gradient = torch.autograd.grad(value(), weight)[0][0, 0]
        above, below = value(h), value(-2 * h)
        close(gradient, (above - below) / (2 * h), 1e-8)


ROW, NONE = torch.zeros(3), torch.zeros(0)
BOUNDS = (donsker_varadhan, nwj, jensen_shannon_loss)
DIVERGED = [torch.tensor([0.0, 0.0, wrong]) for wrong in (math.nan, math.inf)]
REFUSED = {
    "want scores": [
        partial(b, *s) for b in BOUNDS for s in ((NONE, ROW), (ROW, NONE), (ROW[None], ROW))
    ],
    r"\(N, N\)": [partial(info_nce, torch.zeros(shape)) for shape in ((3,), (3, 4), (0, 0))],
    "diverged": [
        *[partial(b, *s) for b in BOUNDS[:2] for d in DIVERGED for s in ((d, ROW), (ROW, d))],
        *[partial(info_nce, d.repeat(3, 1)) for d in DIVERGED],
        partial(raml_weights, ROW, ROW + math.nan, ROW),
    ],
    "0 < p < 1": [partial(draw_pairs, 9, 4, rng(), p) for p in (0.0, 1.0, 1.5)],
    "want 3 or more": [partial(draw_pairs, *sizes, rng()) for sizes in ((2, 4), (9, 0))],
    "temperature": [
        partial(raml_weights, ROW, ROW, ROW, t) for t in (0.0, -1.0, math.inf, math.nan)
    ],
    "one length": [
        partial(raml_weights, *rows)
        for rows in ((ROW, ROW, ROW[1:]), (NONE,) * 3, (ROW[None],) * 3)
    ],
    "2 sentences with a word": partial(make_segments, [[5], [], [6]], END, 3),
    r"T \+ 1": partial(likelihood_objective, make_model(), torch.ones(3, 1).long(), None, None),
}
test_what_makes_no_sense_is_refused = refuses(REFUSED)
