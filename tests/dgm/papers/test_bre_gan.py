"""Binarised representation entropy: closed forms, bounds, gradients, what it does to a network."""

import itertools
import math
from functools import partial

import pytest
import torch
from checks import gradient, mean_is, refuses, share_is
from checks import near as close
from draws import normal, rng
from scipy.linalg import hadamard
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, leaky_relu, logsigmoid

from dgm.papers.bre_gan import (
    activation_patterns,
    bre_penalty,
    bre_terms,
    discriminator_objective,
    feature_matching_objective,
    generator_objective,
    gradient_spread,
    interpolate,
    mode_coverage,
    pattern_entropy,
    pre_activations,
    regions,
    softsign_code,
    toy_discriminator,
    toy_generator,
)

HARD = 1e-13  # a zeta at which codes are signs to twelve digits


def signs(*shape, seed=0):
    return torch.randint(0, 2, shape, generator=rng(seed)).double() * 2 - 1


def code_of_words(d):
    """Rows of a Hadamard matrix (Sylvester's), d a power of two: the first column is constant."""
    return torch.from_numpy(hadamard(d)).double()


def gram(code):
    return code @ code.T / code.shape[1]


def off_diagonal(matrix):
    return matrix[~torch.eye(len(matrix), dtype=torch.bool)]


def network(hidden=10, seed=0):
    torch.manual_seed(seed)
    return toy_discriminator(hidden).double()


def generator(seed=3):
    torch.manual_seed(seed)
    return toy_generator().double()


def has_gradient(value, module):
    return [bool(g.any()) for g in gradient(value, *module.parameters())]


def minimise_bre(net, points, steps):
    optimizer = torch.optim.Adam(net.parameters())
    for i in range(steps):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - i / steps)
        optimizer.zero_grad()
        bre_penalty(net, points, [1]).total.backward()
        optimizer.step()


class TestSoftsign:
    def test_is_the_formula_with_one_eps_for_the_whole_batch_which_is_constant(self):
        h = (normal(5, 3, 2) * torch.tensor([1.0, 10.0]).double()).requires_grad_()
        eps = 0.01 * h.detach().abs().mean()
        close(softsign_code(h, 0.01), h / (h.abs() + eps))
        slope = gradient(softsign_code(h, 0.01).sum(), h)
        close(slope, eps / (h.detach().abs() + eps).square())

    def test_share_of_sure_codes_for_gaussian_inputs(self):
        n = 400_000
        expected = 1 - math.erf(0.009 / math.sqrt(math.pi))
        assert expected == pytest.approx(0.99427, abs=1e-5)
        assert share_is(softsign_code(normal(n)).abs() >= 0.9, expected)

    def test_limits_of_zeta(self):
        h = normal(16, 32)
        close(softsign_code(h, HARD), h.sign())
        close(bre_terms(h, HARD, margin=0.0), bre_terms(h.sign(), HARD, margin=0.0))
        close(softsign_code(h, 1e6) * 1e6, h / h.abs().mean(), atol=1e-4)
        assert bre_terms(h, 1e6, margin=0.0).total < 1e-11
        sizes = [float(softsign_code(h, zeta).abs().mean()) for zeta in (1e-4, 1e-2, 1, 100)]
        assert sizes == sorted(sizes, reverse=True)

    def test_precision_is_never_lowered_and_at_least_single(self):
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            h, expected = normal(4, 20).to(dtype), torch.promote_types(dtype, torch.float32)
            assert {x.dtype for x in (softsign_code(h), *bre_terms(h))} == {expected}
        h = normal(8, 500, dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = bre_terms(h, margin=0.0)
        assert inside == bre_terms(h, margin=0.0)

    def test_zeros_have_code_zero_and_a_finite_gradient(self):
        h = torch.zeros(3, 12, requires_grad=True)
        assert (softsign_code(h) == 0).all()
        assert bre_terms(h) == (0.0, 0.0)
        assert torch.isfinite(gradient(bre_terms(h).total, h)).all()


class TestTerms:
    def test_are_their_formulas_pair_by_pair(self):
        h, margin = normal(6, 3, 4), 0.7
        terms = bre_terms(h, 0.05, margin)
        a = softsign_code(h, 0.05).flatten(1)
        k, d = a.shape
        close(terms.marginal_entropy, sum(float(a[:, t].mean()) ** 2 for t in range(d)) / d)
        pairs = itertools.permutations(range(k), 2)
        excess = [max(0.0, abs(float(a[i] @ a[j])) / d - margin / math.sqrt(d)) for i, j in pairs]
        assert sum(excess) > 0
        close(terms.activation_correlation, sum(excess) / (k * (k - 1)))
        assert terms.total == terms.marginal_entropy + terms.activation_correlation
        assert bre_terms(h) == bre_terms(h, 1e-3, 3.0)  # the paper's

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("d", [10, 64, 1000])
    def test_range(self, d, dtype):
        eta = 3 / math.sqrt(d)
        batches = [normal(k, d, seed=k) + shift for k in (2, 3, 37) for shift in (0, 1)]
        batches += [torch.ones(5, d), -torch.ones(5, d)]
        # Two patterns only, one the negative of the other: the pair term at its largest.
        batches.append(torch.cat([torch.ones(4, d), -torch.ones(4, d)]))
        terms = [bre_terms(h.to(dtype)) for h in batches]
        assert all(0 <= t.marginal_entropy <= 1 for t in terms)
        assert all(0 <= t.activation_correlation <= 1 - eta for t in terms)
        assert max(t.activation_correlation for t in terms) > 0.95 * (1 - eta)

    def test_pair_term_is_zero_not_almost_zero_when_no_pair_exceeds_the_margin(self):
        for seed in range(40):
            h = normal(37, 4096, seed=seed, dtype=torch.float32)
            exceeding = off_diagonal(gram(softsign_code(h)).abs()) > 3 / 64
            correlation = bre_terms(h).activation_correlation
            assert correlation >= 0
            assert (correlation == 0) == (not exceeding.any())

    def test_collapse_to_one_pattern_and_to_one_and_its_negative(self):
        d, k = 100, 7
        row = signs(1, d)
        close(bre_terms(row.expand(k, d), HARD), (1, 0.7))
        close(bre_terms(row.expand(k, d)), (1 / 1.001**2, 1 / 1.001**2 - 0.3))
        # Balance alone does not part the two.
        close(bre_terms(torch.cat([row, -row]), HARD), (0, 0.7))

    def test_random_fair_patterns_have_the_expected_terms(self):
        """Exactly: a sum of d fair signs is 2 B - d with B binomial."""
        k, d, batches = 48, 400, 150
        heads = torch.arange(d + 1).double()
        size = (2 * heads - d).abs() / d
        log_share = math.lgamma(d + 1) - torch.lgamma(heads + 1) - torch.lgamma(d - heads + 1)
        share = (log_share - d * math.log(2)).exp()
        for column, margin in ((0, 3.0), (1, 0.0), (1, 3.0)):
            excess = (size - margin / math.sqrt(d)).clamp(min=0)
            expected = (share * excess).sum() if column else torch.tensor(1 / k)
            terms = [bre_terms(signs(k, d, seed=i), HARD, margin)[column] for i in range(batches)]
            assert mean_is(torch.stack(terms), expected, 0.1 * expected)

    @pytest.mark.parametrize("k", [2, 16, 64])
    def test_hadamard_patterns_have_no_pair_term_and_the_floor_of_the_other(self, k):
        h = code_of_words(64)[:k]
        for margin in (0.0, 3.0):
            terms = bre_terms(h, HARD, margin)
            close(terms.marginal_entropy, 1 / k)
            close(terms.activation_correlation, 0.0, atol=1e-15)
        assert terms.activation_correlation == 0
        close(bre_terms(h).marginal_entropy, 1 / k / 1.001**2)

    def test_balanced_units_need_negative_pairs(self):
        k = 32
        h = code_of_words(k)[:, 1:]  # each unit is on half the time
        terms = bre_terms(h, HARD, margin=0.0)
        close(terms.marginal_entropy, 0.0)
        close(gram(h), torch.eye(k).double() * (1 + 1 / (k - 1)) - 1 / (k - 1))
        close(terms.activation_correlation, 1 / (k - 1))

    def test_welch_bound_leaves_ten_units_almost_no_pair_term(self):
        k, d = 256, 10
        for seed in range(5):
            h = signs(k, d, seed=seed)
            pairs = off_diagonal(gram(h))
            assert pairs.square().mean() >= (k - d) / (d * (k - 1)) - 1e-12
            # Only equal or opposite patterns exceed the margin: 2 in 1024 pairs when they are fair.
            same = (pairs.abs() > 1 - 1e-9).double().mean()
            correlation = bre_terms(h, HARD).activation_correlation
            close(correlation, same * (1 - 3 / math.sqrt(d)))
            assert correlation < 0.1 / k
        tight = code_of_words(8).repeat(4, 1)
        close(off_diagonal(gram(tight)).square().mean(), (32 - 8) / (8 * 31))
        assert bre_terms(torch.ones(5, 9)).activation_correlation == 0
        assert bre_terms(torch.ones(5, 10)).activation_correlation > 0.04

    @pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
    def test_what_leaves_the_terms_unchanged(self, margin):
        h = normal(20, 50) + 0.3
        terms = bre_terms(h, margin=margin)
        order = torch.randperm(20, generator=rng())
        units = torch.randperm(50, generator=rng())
        for other in (7.3 * h, 1e-4 * h, -h, h[order], h[:, units], h.view(20, 5, 2, 5)):
            close(bre_terms(other, margin=margin), terms)
        flipped = h * torch.where(torch.arange(50) < 25, 1.0, -1.0)
        close(bre_terms(flipped, margin=margin), terms)
        assert bre_terms(h * torch.linspace(0.01, 5, 50), margin=margin) != terms


class TestGradient:
    def frozen(self, h, eps, margin):
        """The total with eps as a given number."""
        a = h / (h.abs() + eps)
        pairs = off_diagonal(gram(a)).abs()
        return a.mean(0).square().mean() + (pairs - margin / math.sqrt(h.shape[1])).clamp(0).mean()

    def test_numerically_with_eps_frozen_and_not_so_when_it_moves(self):
        h = (normal(4, 12, seed=5) + 0.7).requires_grad_()
        total, eps = bre_terms(h, 0.3, 1.0).total, 0.3 * h.detach().abs().mean()
        assert torch.autograd.gradcheck(lambda x: self.frozen(x, eps, 1.0), h)
        close(gradient(total, h), gradient(self.frozen(h, eps, 1.0), h))
        moving = self.frozen(h, 0.3 * h.abs().mean(), 1.0)
        close(moving, total)
        assert (gradient(moving, h) - gradient(total, h)).abs().max() > 1e-4

    def test_is_zero_within_the_margin_and_at_balance(self):
        h = code_of_words(16)[:8].clone().requires_grad_()
        assert not gradient(bre_terms(h).activation_correlation, h).any()
        # A point exactly at the margin: |G| = 12 / 16 = margin / sqrt(16).
        pair = torch.ones(2, 16, dtype=torch.float64)
        pair[1, :2] = -1
        pair.requires_grad_()
        at_margin = 0.75 * 4 / 1.001**2
        assert not gradient(bre_terms(pair, margin=at_margin + 1e-9)[1], pair).any()
        assert gradient(bre_terms(pair, margin=at_margin - 1e-3)[1], pair).all()
        row = normal(1, 20)
        balanced = torch.cat([row, -row]).requires_grad_()
        assert not gradient(bre_terms(balanced).marginal_entropy, balanced).any()


class TestTheory:
    @pytest.mark.parametrize("rho", [0.0, 0.6])
    def test_squared_overlap_of_two_patterns_is_units_plus_squared_covariances(self, rho):
        """E (U.U')^2 = d + sum over pairs of Cov^2; Cov = 2 asin(rho) / pi for Gaussians."""
        d, n = 6, 40_000
        shared = math.sqrt(rho) * normal(2, n, 1) + math.sqrt(1 - rho) * normal(2, n, d, seed=1)
        u, other = softsign_code(shared, HARD)
        squared = (u * other).sum(1).square()
        expected = d + d * (d - 1) * (2 / math.pi * math.asin(rho)) ** 2
        assert mean_is(squared, expected)

    def test_entropy_is_at_most_that_of_the_units_with_equality_when_independent(self):
        def of_units(patterns):
            p = patterns.double().mean(0)
            return float((torch.special.entr(p) + torch.special.entr(1 - p)).sum())

        patterns = (normal(5000, 10) + normal(5000, 1, seed=1)) > 0.2
        assert float(pattern_entropy(patterns)) < of_units(patterns) - 0.5
        # Independent units with shares 1/4, 1/2 and 1: the product of their tables.
        a = torch.tensor([True, False, False, False]).repeat_interleave(2)
        table = torch.stack([a, torch.tensor([True, False]).repeat(4), torch.ones(8).bool()], 1)
        assert float(pattern_entropy(table)) == pytest.approx(of_units(table), abs=1e-12)

    @pytest.mark.parametrize("m", [2, 3])
    def test_pairwise_independent_code_has_the_least_entropy(self, m):
        d = 2**m - 1
        code = code_of_words(d + 1)[:, 1:]
        close(code.T @ code / len(code), torch.eye(d))
        assert float(pattern_entropy(code > 0)) == pytest.approx(math.log(d + 1))

    def test_entropy_is_that_of_the_shares(self):
        patterns = torch.tensor([[1, 0], [1, 0], [0, 1], [1, 0]]).bool()
        value = pattern_entropy(patterns)
        assert float(value) == pytest.approx(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
        assert value.dtype == torch.float64
        assert float(pattern_entropy(torch.ones(9, 3).bool())) == 0.0
        words = torch.arange(2**8)[:, None].bitwise_right_shift(torch.arange(8)) & 1
        assert float(pattern_entropy(words.bool())) == pytest.approx(8 * math.log(2))


def lines(n):
    """A network whose units are zero on lines in general position that cross near the origin."""
    angle = torch.arange(n).double() * math.pi / n + 0.1
    net = nn.Sequential(nn.Linear(2, n), nn.ReLU(), nn.Linear(n, 1)).double()
    net[0].weight.data = torch.stack([angle.cos(), angle.sin()], 1)
    net[0].bias.data = torch.linspace(-0.3, 0.35, n).double().square() + 0.02 * torch.arange(n)
    return net


def grid(n=200, half=1.0):
    steps = torch.linspace(-half, half, n, dtype=torch.float64)
    return torch.cartesian_prod(steps, steps)


def signs_by_layer(net, h):
    """Whether each rectifier's inputs are above 0."""
    by_layer = []
    for module in net:
        by_layer += [h > 0] if isinstance(module, nn.LeakyReLU) else []
        h = module(h)
    return by_layer


def distinct(patterns):
    return len({tuple(row) for row in patterns.tolist()})


class TestRegions:
    @pytest.mark.parametrize("n", [1, 2, 3, 5])
    def test_lines_cut_the_plane_into_a_known_number_of_cells(self, n):
        assert regions(lines(n), grid(600, 4.0)) == 1 + n + n * (n - 1) // 2

    def test_patterns_are_the_signs_of_all_rectifiers_inputs(self):
        net, points = network(), normal(40, 2)
        patterns = activation_patterns(net, points)
        assert patterns.dtype == torch.bool
        by_layer = signs_by_layer(net, points)
        assert torch.equal(patterns, torch.cat(by_layer, 1))
        assert torch.equal(activation_patterns(net, points, [2, 0]), torch.cat(by_layer[2::-2], 1))
        for layers, expected in ((None, patterns), ([1], by_layer[1])):
            assert 1 < regions(net, points, layers) == distinct(expected)

    def test_bre_alone_gives_more_regions_around_fixed_points(self):
        before, after = [], []
        for seed in range(4):
            net = network(seed=seed)
            before.append(distinct(torch.cat(signs_by_layer(net, grid(100)), 1)))
            minimise_bre(net, 0.7 * normal(128, 2, seed=seed), 150)
            after.append(distinct(torch.cat(signs_by_layer(net, grid(100)), 1)))
            assert regions(net, grid(100)) == after[-1] > before[-1]
        assert sum(after) > 1.5 * sum(before)

    def test_bre_alone_reaches_its_floor(self):
        k, d = 24, 64
        torch.manual_seed(1)
        layers = [nn.Linear(16, d), nn.ReLU(), nn.Linear(d, d), nn.ReLU(), nn.Linear(d, 1)]
        net = nn.Sequential(*layers).double()
        points = normal(k, 16, seed=1) + 1.0  # off centre, so that units begin with a bias
        first = bre_penalty(net, points, [1])
        assert first.marginal_entropy > 0.3
        minimise_bre(net, points, 800)
        last = bre_penalty(net, points, [1])
        assert last.marginal_entropy <= 1 / k
        assert last.activation_correlation < 0.05 * first.activation_correlation


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.forward = function


class Reused(nn.Module):
    """Rectifiers out of order: a module called twice, another never, perhaps a function between."""

    def __init__(self, middle="module"):
        super().__init__()
        self.unused, self.last, self.act = nn.ReLU(), nn.LeakyReLU(0.2), nn.ReLU()
        kinds = {"module": self.act, "function": nn.functional.relu, "method": Tensor.relu}
        self.middle = kinds[middle]
        torch.manual_seed(0)
        self.body = nn.ModuleList([nn.Linear(a, 12) for a in (2, 12, 12)])
        self.head = nn.Linear(12, 1)
        self.double()

    def forward(self, x):
        h = self.act(self.body[0](x))
        h = self.body[1](h)
        return self.head(self.last(self.body[2](self.middle(h))))

    def by_hand(self, x):
        """The inputs of the three rectifiers, written out."""
        first = x @ self.body[0].weight.T + self.body[0].bias
        second = first.clamp(min=0) @ self.body[1].weight.T + self.body[1].bias
        return first, second, second.clamp(min=0) @ self.body[2].weight.T + self.body[2].bias


class TestPreActivations:
    @pytest.mark.parametrize("middle", ["module", "function", "method"])
    def test_each_call_is_a_layer_in_the_order_of_use(self, middle):
        net, points = Reused(middle), normal(50, 2)
        expected = net.by_hand(points)
        output, inputs = pre_activations(net, points)
        close(output, net(points))
        _, (third, first) = pre_activations(net, points, [2, 0])
        close((*inputs, first, third), (*expected, *expected[::2]))
        close(bre_penalty(net, points).total, sum(bre_terms(h).total for h in expected) / 3)
        codes = torch.cat([h > 0 for h in net.by_hand(grid(60))], 1)
        assert regions(net, grid(60)) == distinct(codes)
        # What the last call of each module would give.
        assert distinct(codes[:, 12:]) < distinct(codes)

    def test_keep_their_gradient_and_leave_no_hook(self):
        net = network()
        _, (h,) = pre_activations(net, normal(7, 2), [1])
        assert has_gradient(h.square().sum(), net) == [True] * 4 + [False] * 6
        with pytest.raises(RuntimeError):
            pre_activations(net, normal(7, 3))
        assert all(not m._forward_pre_hooks and not m._forward_hooks for m in net.modules())

    def test_of_maps_of_learned_slopes_and_of_functions(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 1))
        points = normal(5, 1, 8, 8, dtype=torch.float32)
        _, (h,) = pre_activations(net, points)
        assert h.shape == (5, 4, 6, 6)
        close(bre_penalty(net, points), bre_terms(h.flatten(1)))
        last = points.to(memory_format=torch.channels_last)
        close(bre_penalty(net.to(memory_format=torch.channels_last), last), bre_terms(h), 1e-6)
        net = nn.Sequential(nn.Linear(2, 5), nn.PReLU(), nn.Linear(5, 4), nn.ReLU()).double()
        function, points = Function(lambda x: leaky_relu(net[0](x), 0.2).sum(1)), normal(6, 2)
        _, inputs = pre_activations(net, points)
        assert [h.shape for h in inputs] == [(6, 5), (6, 4)]
        close(inputs[0], net[0](points))
        close(pre_activations(function, points)[1][0], inputs[0])

    def test_a_compiled_network_that_has_run_before(self):
        net, points, other = network(), normal(9, 2), normal(9, 2, seed=1)
        compiled = torch.compile(net, backend="eager")
        compiled(points)
        (output, inputs), (expected, plain) = (pre_activations(x, points) for x in (compiled, net))
        close((output, *inputs), (expected, *plain))
        assert regions(compiled, grid(20)) == regions(net, grid(20))
        close(*(discriminator_objective(d, points, -points, rng()) for d in (net, compiled)))
        close(*(feature_matching_objective(d, points, other) for d in (net, compiled)))


class Spread(nn.Module):
    """A minibatch-spread layer: how much each unit varies over the batch, added to every row."""

    def forward(self, x):
        return x + x.std(0)


def test_points_between_lie_on_the_segment():
    real, fake = normal(4000, 3, 2), normal(4000, 3, 2, seed=1)
    alpha = (interpolate(real, fake, rng(2)) - fake) / (real - fake)
    close(alpha, alpha[:, :1, :1].expand_as(alpha), atol=1e-6)  # one for each sample
    alpha = alpha[:, 0, 0]
    assert ((alpha >= -1e-9) & (alpha <= 1 + 1e-9)).all()
    assert mean_is(alpha, 0.5, 0.005)
    assert mean_is((alpha - 0.5).square(), 1 / 12, 0.0013)


class TestObjective:
    real, fake = normal(32, 2), 0.5 * normal(32, 2, seed=1) + 1

    def terms(self, net, **options):
        return discriminator_objective(net, self.real, self.fake, rng(5), **options)

    def assert_parts(self, terms, net, *options):
        """Real and fake logits, and BRE on fakes and between; nothing of it on the data."""
        close(terms.real, -logsigmoid(net(self.real)).mean())
        close(terms.fake, -logsigmoid(-net(self.fake)).mean())
        middle = interpolate(self.real, self.fake, rng(5))
        parts = [bre_penalty(net, x, *options) for x in (self.fake, middle)]
        close(terms[3:5], tuple(a + b for a, b in zip(*parts, strict=True)))

    def test_is_the_weighted_sum_of_its_parts(self):
        net = network(hidden=20)
        terms = self.terms(net, weight=0.7, layers=[1, 2], margin=1.0)
        self.assert_parts(terms, net, [1, 2], 1e-3, 1.0)
        assert terms.penalty == 0
        bre = terms.marginal_entropy + terms.activation_correlation
        assert terms.activation_correlation > 0
        close(terms.value, terms.real + terms.fake + 0.7 * bre)
        paper = {"weight": 1.0, "layers": [0, 1, 2, 3], "margin": 3.0, "penalty": None}
        assert self.terms(net) == self.terms(net, **paper)

    def test_at_weight_zero_there_is_no_third_pass(self):
        net, sizes = network(), []
        net.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
        terms = self.terms(net, weight=0.0)
        assert terms.marginal_entropy == terms.activation_correlation == 0
        assert terms.value == terms.real + terms.fake
        self.terms(net)
        assert sizes == [64, 96]  # rows that do not mix share a pass

    @pytest.mark.parametrize("kind", ["gradient", "r1"])
    def test_penalties_join_with_their_weight(self, kind):
        net = network()
        alone = self.terms(net, weight=0.0, penalty=kind, penalty_weight=3.0)
        where = self.real if kind == "r1" else interpolate(self.real, self.fake, rng(5))
        norms = slopes(net, where).norm(dim=1)
        assert norms.std() > 0
        by_hand = 0.5 * norms.square() if kind == "r1" else (norms - 1).square()
        close(alone.penalty, by_hand.mean())
        close(alone.value, alone.real + alone.fake + 3 * alone.penalty)
        joint = self.terms(net, penalty=kind, penalty_weight=3.0)
        close(joint.value - self.terms(net).value, 3 * alone.penalty)
        plane = self.terms(Plane(), weight=0.0, penalty=kind)  # its slope is (3, 4)
        close(plane.penalty, 0.5 * 25 if kind == "r1" else (5 - 1) ** 2)

    def test_nothing_leaks_to_the_generator_or_behind_the_last_regularised_layer(self):
        maker, net = generator(), network(hidden=20)
        fake = maker(normal(32, 2, seed=9))
        terms = discriminator_objective(net, self.real, fake, rng(5), layers=[0, 1], margin=0.0)
        assert not any(has_gradient(terms.value, maker))
        assert all(has_gradient(terms.value, net))
        bre = terms.marginal_entropy + terms.activation_correlation
        # Weights and biases of the two layers before rectifiers 0 and 1; none of the three behind.
        assert has_gradient(bre, net) == [True] * 4 + [False] * 6

    def test_the_generator_s_loss_is_the_one_that_does_not_saturate(self):
        net, fake = network(), generator()(normal(32, 2, seed=9))
        close(generator_objective(net, fake), -logsigmoid(net(fake)).mean())
        far = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double()
        nn.init.constant_(far[2].bias, -80.0)
        expected = 80.0 - far[2].weight.item() * far[1](far[0](fake)).mean()
        close(generator_objective(far, fake), expected)

    def test_logits_of_any_size_and_shape(self):
        net = network()
        flat = nn.Sequential(net, nn.Flatten(0))
        assert flat(self.real).shape == (32,)
        close(self.terms(flat, layers=[1]), self.terms(net, layers=[1]))
        close(generator_objective(flat, self.fake), generator_objective(net, self.fake))
        net[-1].weight.data *= 1e6
        value = self.terms(net).value
        assert torch.isfinite(value)
        assert all(g.isfinite().all() for g in gradient(value, *net.parameters()))

    def test_several_logits_stand_for_one(self):
        net = network()
        net[-1] = nn.Linear(10, 5).double()
        terms = self.terms(net, weight=0.0)
        # Salimans et al. 2016: real against the sum over classes, D = Z / (Z + 1).
        real, fake = (net(x).exp().sum(1) for x in (self.real, self.fake))
        close(terms.real, -(real / (real + 1)).log().mean())
        close(terms.fake, -(1 / (fake + 1)).log().mean())
        close(generator_objective(net, self.fake), -(fake / (fake + 1)).log().mean())

    def test_features_are_matched_in_their_means(self):
        net, fake = network(), self.fake.clone().requires_grad_()
        means = [net[:-1](x).mean(0) for x in (self.real, fake)]
        loss = feature_matching_objective(net, self.real, fake)
        close(loss, (means[0] - means[1]).square().sum())
        assert gradient(loss, fake).any()
        assert feature_matching_objective(net, self.real, self.real.flip(0)) < 1e-25

    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("mixing", [Spread, lambda: nn.BatchNorm1d(20)])
    def test_a_layer_that_mixes_rows_sees_the_sets_one_by_one(self, mixing, compiled):
        net = network(hidden=20)
        net.insert(4, mixing().double())
        judge = torch.compile(net, backend="eager") if compiled else net
        terms = discriminator_objective(judge, self.real, self.fake, rng(5))
        assert getattr(net[4], "num_batches_tracked", 3) == 3
        self.assert_parts(terms, net)


class Plane(nn.Module):
    """A logit with the slope (3, 4)."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([3.0, 4.0]).double())

    def forward(self, x):
        return torch.relu(x @ self.slope + 1e3)


def slopes(net, points):
    points = points.clone().requires_grad_()
    return gradient(net(points).sum(), points)


class TestGradientSpread:
    def test_is_one_minus_the_mean_cosine_of_pairs(self):
        net, points = network(seed=2), normal(30, 2)
        spread, given = gradient_spread(net, points), slopes(net, points)
        cosines = cosine_similarity(given[:, None], given, dim=-1)
        close(spread, 1 - off_diagonal(cosines).mean())
        assert 0 < spread < 1.1
        assert spread.dtype == torch.float64
        net[-1].weight.data *= 100  # how steep the logit is does not matter
        close(gradient_spread(net, points), spread)
        close(gradient_spread(Plane(), points), 0.0)

    def test_points_without_slope_count_as_perpendicular(self):
        net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
        net[0].weight.data.fill_(1.0)
        net[0].bias.data.zero_()
        points = torch.tensor([[1.0], [2.0], [-1.0]]).double()
        assert float(gradient_spread(net, points)) == pytest.approx(1 - 2 / 6)
        assert float(gradient_spread(net, -points.abs())) == 1.0


def test_modes_count_what_lies_within_three_deviations():
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    samples = [[0.0, 0.0], [0.29, 0.0], [0.31, 0.0], [1.0, 0.2], [1.0, -0.2], [5.0, 5.0]]
    coverage = mode_coverage(torch.tensor([*samples, [0.2, 0.23]]), centres, 0.1)
    assert coverage.covered == 2
    assert coverage.high_quality == pytest.approx(4 / 7)
    assert coverage.counts.tolist() == [2, 2, 0]


@pytest.mark.parametrize(
    ("net", "widths"),
    [
        (toy_generator(), [2, 10, 10, 10, 2]),
        (toy_discriminator(), [2, 10, 10, 10, 10, 1]),
        (toy_generator(5, 32), [5, 32, 32, 32, 2]),
        (toy_discriminator(16), [2, 16, 16, 16, 16, 1]),
    ],
)
def test_toy_networks_have_the_paper_s_layers(net, widths):
    sizes = [(m.in_features, m.out_features) for m in net if isinstance(m, nn.Linear)]
    assert sizes == list(itertools.pairwise(widths))
    rectifiers = [m for m in net if isinstance(m, nn.LeakyReLU | nn.ReLU)]
    assert len(rectifiers) == len(sizes) - 1
    assert {getattr(m, "negative_slope", None) for m in rectifiers} <= {0.2, None}
    assert isinstance(net[-1], nn.Tanh) == (widths[-1] == 2)


ONES, POINTS, LINEAR = torch.ones(4, 2), normal(4, 2), nn.Linear(2, 2).double()
SETS = ONES.double(), ONES.double(), rng()
SCRIPT = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.ReLU())).double()
COMPILED = network()
COMPILED.compile(backend="eager")
UNREADABLE = {
    "no rectifier was called": LINEAR,
    "in place": [
        nn.Sequential(LINEAR, last)
        for last in (nn.ReLU(True), nn.LeakyReLU(inplace=True), Function(torch.relu_))
    ],
    "TorchScript": nn.Sequential(SCRIPT, nn.ReLU()),
    r"each of 4 points.*\(8,\)": nn.Sequential(LINEAR, nn.Flatten(0), nn.ReLU()),
    "1 is compiled": nn.Sequential(LINEAR, torch.compile(network(), backend="eager")),
    "the network is compiled": COMPILED,
}
test_what_has_no_inputs_is_refused = refuses(UNREADABLE, lambda net: pre_activations(net, POINTS))
REFUSED = {
    "layers must be .*0 to 3": [
        partial(pre_activations, network(), POINTS, layers) for layers in ([4], [-1], [0, 9])
    ],
    "no layer was chosen": partial(bre_penalty, network(), POINTS, []),
    "K >= 2": [partial(bre_terms, torch.ones(s)) for s in ((1, 20), (20,), (0, 20), (4, 0), ())],
    "not finite": [
        partial(bre_terms, torch.cat([ONES, bad * ONES])) for bad in (math.nan, math.inf, -math.inf)
    ],
    "zeta must be above 0": [partial(softsign_code, ONES, zeta) for zeta in (0.0, -1.0, math.nan)],
    "margin must be 0 or more": partial(bre_terms, ONES, margin=-1.0),
    r"real is \(3, 2\) but fake is \(4, 2\)": partial(interpolate, ONES[1:], ONES, rng()),
    "penalty must be None": partial(discriminator_objective, network(), *SETS, penalty="r2"),
    r"patterns must be \(N, d\) bool": [
        partial(pattern_entropy, patterns) for patterns in (ONES, ONES[0].bool(), ONES[:0].bool())
    ],
    "at least two points": partial(gradient_spread, network(), normal(1, 2)),
    r"want samples \(N, D\)": partial(mode_coverage, torch.ones(5, 3), ONES, 0.1),
}
test_what_makes_no_sense_is_refused = refuses(REFUSED)


def test_checks_can_be_turned_off():
    assert not torch.isfinite(bre_terms(ONES * math.nan, validate=False).total)
