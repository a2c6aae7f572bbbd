"""The objective of chapter 5's models and its measures, against closed forms and against loops."""

import math
from functools import partial

import pytest
import torch
from checks import close, refuses, share_is
from draws import normal, rng
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from dgm.nets.lstm import LSTMDecoder
from dgm.nets.pooling import KINDS
from dgm.nets.text_vae import TextVAE
from dgm.papers.pooling_vae import (
    LinearGaussianVAE,
    dispersion,
    influence,
    initialise_,
    kl_weight,
    marginal_likelihood,
    pooling_objective,
    reconstruction_by_position,
    with_free_bits,
    word_dropout,
)
from dgm.vae import gaussian_kl

V, H, D = 12, 8, 4


def vae(pooling="max", *, latent_dim=D, **options):
    sizes = {"layers": 1, "bidirectional": False, "dropout": 0.0}
    model = TextVAE(V, 6, H, latent_dim, pooling=pooling, **{**sizes, **options}).double()
    initialise_(model, rng(1), weights=0.8, embeddings=1.0)
    return model


def ignore_code(model):
    """The decoder reads no code, and the posterior is the prior."""
    weights = model.posterior.head.weight, model.decoder.initial.weight
    for weight in (*weights, model.decoder.lstm.weight_ih_l0[:, 6:]):
        weight.data.zero_()
    return model


def padded():
    """Four sentences: five words, two, one and none."""
    lengths = torch.tensor([7, 4, 3, 2])
    tokens = torch.randint(4, V, (4, 7), generator=rng())
    tokens[:, 0] = 1
    for row, n in zip(tokens, lengths.tolist(), strict=True):
        row[n - 1], row[n:] = 2, 0
    return tokens, lengths


class TestObjective:
    def test_is_the_sum_of_its_terms(self):
        model, (tokens, lengths) = vae(), padded()
        terms = pooling_objective(model, tokens, lengths, rng(3), beta=0.35)
        close(terms.value, terms.reconstruction + 0.35 * terms.kl)
        mu, logvar = model.posterior(tokens, lengths)
        close(terms.kl, gaussian_kl(mu, logvar))
        z = mu + (0.5 * logvar).exp() * normal(*mu.shape, seed=3)
        close(terms.reconstruction, model.decoder.nll(tokens, lengths, z))
        dropped = pooling_objective(vae(dropout=0.5), tokens, lengths, rng(3))
        assert not torch.allclose(dropped.reconstruction, terms.reconstruction)

    def test_posterior_is_not_narrowed_by_autocast(self):
        model, tokens = vae().float(), padded()[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior, features = model.posterior(tokens), model.posterior.encoder(tokens)
        whole = model.posterior.head(features.float())
        close(torch.cat(posterior, 1), whole, rtol=0, atol=1e-6)

    def test_free_bits_replace_the_kl_and_nothing_else(self):
        model, (tokens, lengths) = vae(), padded()
        plain = pooling_objective(model, tokens, lengths, rng(3))
        floor = float(plain.kl.detach().median())
        free = pooling_objective(model, tokens, lengths, rng(3), beta=0.5, free_bits=floor)
        assert torch.equal(free.kl, plain.kl)
        penalty = free.value - free.reconstruction
        close(penalty, 0.5 * plain.kl.clamp(min=floor))
        below = free.kl <= floor
        assert 0 < int(below.sum()) < 4
        for rows, has_gradient in ((below, False), (~below, True)):
            value = (free.value - free.reconstruction)[rows].sum()
            (g,) = torch.autograd.grad(value, model.posterior.head.weight, retain_graph=True)
            assert bool((g.abs() > 1e-9).any()) == has_gradient

    def test_free_bits_of_the_sum_and_of_each_dimension(self):
        kl = torch.tensor([[0.1, 3.0], [0.5, 0.2]], requires_grad=True)
        total, each = with_free_bits(kl, 2.0), with_free_bits(kl, 2.0, per_dimension=True)
        close(total, torch.tensor([3.1, 2.0]))
        close(each, torch.tensor([4.0, 2.0]))
        gradients = [torch.autograd.grad(x.mean(), kl)[0].tolist() for x in (total, each)]
        assert gradients == [[[0.5, 0.5], [0, 0]], [[0, 0.5], [0, 0]]]
        at = torch.tensor([[2.0]], requires_grad=True)
        assert torch.autograd.grad(with_free_bits(at, 2.0).sum(), at)[0].item() == 0

    def test_words_hidden_from_the_decoder_are_still_predicted(self):
        model, (tokens, lengths) = vae(), padded()
        hidden = pooling_objective(model, tokens, lengths, rng(3), word_dropout_rate=1.0)
        plain = pooling_objective(model, tokens, lengths, rng(3))
        assert torch.equal(hidden.kl, plain.kl)
        mu, logvar = model.posterior(tokens, lengths)
        z = mu + (0.5 * logvar).exp() * normal(*mu.shape, seed=3)
        inputs = torch.full_like(tokens[:, :-1], 3)
        inputs[:, 0] = 1
        log_p = model.decoder(inputs, z).log_softmax(-1)
        for i, n in enumerate(lengths.tolist()):
            expected = -sum(log_p[i, t - 1, tokens[i, t]] for t in range(1, n))
            close(hidden.reconstruction[i], expected)
        assert not torch.allclose(hidden.reconstruction, plain.reconstruction)

    def test_word_dropout_hides_its_share_and_never_the_first(self):
        tokens = torch.randint(4, V, (200, 50), generator=rng())
        dropped = word_dropout(tokens, 0.3, rng(1))
        hidden = dropped == 3
        assert not hidden[:, 0].any()
        assert share_is(hidden[:, 1:].flatten(), 0.3)
        assert torch.equal(dropped[~hidden], tokens[~hidden])
        assert (tokens != 3).all(), "the argument is left as it was"
        assert torch.equal(word_dropout(tokens, 0.0, rng()), tokens)


class TestWeights:
    def test_constant(self):
        assert [kl_weight(k, beta=0.4) for k in (0, 7, 10**6)] == [0.4] * 3

    def test_linear_is_that_of_the_base_system(self):
        n = 100_000
        steps = 10 * n // 32
        for k in (0, 1, 1000, steps - 1, steps, 10 * steps):
            expected = min(1, 0.1 + k * 0.9 / (10 * n / 32))
            assert kl_weight(k, "linear", steps=steps) == pytest.approx(expected, abs=1e-12)
        assert kl_weight(50, "linear", steps=100, beta=0.6) == pytest.approx(0.35)

    def test_cyclical_rises_in_half_of_each_period(self):
        weights = [kl_weight(k, "cyclical", steps=8) for k in range(16)]
        assert weights == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2
        assert kl_weight(1, "cyclical", steps=8, beta=0.4) == pytest.approx(0.1)


def test_initialisation_has_its_two_widths():
    model = TextVAE(V, 6, H, D)
    initialise_(model, rng(), weights=0.01, embeddings=2.0)
    tables = [model.posterior.encoder.states.embedding, model.decoder.embedding]
    for name, parameter in model.named_parameters():
        width = 2.0 if any(parameter is table.weight for table in tables) else 0.01
        assert 0.5 * width < float(parameter.detach().abs().max()) <= width, name
    before = [p.clone() for p in model.parameters()]
    initialise_(model, rng(), weights=0.01, embeddings=2.0)
    assert all(map(torch.equal, before, model.parameters()))


class TestDispersion:
    @pytest.mark.parametrize("shape", [(40, 6), (5, 30), (1100, 3)])
    def test_equals_the_loop_over_pairs(self, shape):
        s = normal(*shape) + 0.3
        u = s / s.norm(dim=1, keepdim=True)
        i, j = torch.triu_indices(len(s), len(s), 1)
        between = (s[i] - s[j]).square().sum(1).mean()
        eigenvalues = torch.linalg.eigvalsh(torch.cov(s.T))
        expected = [
            (u[i] * u[j]).sum(1).mean(),
            between / 2,
            between / 2 / s.mean(0).square().sum(),
            eigenvalues.sum().square() / eigenvalues.square().sum(),
            (-2 * (u[i] - u[j]).square().sum(1)).exp().mean().log(),
        ]
        for a, b in zip(dispersion(s.float()), expected, strict=True):
            assert a.dtype == torch.float64
            close(a, b, rtol=1e-5, atol=1e-6)

    def test_identical_features(self):
        same = dispersion(torch.full((9, 4), 0.5))
        assert same.cosine == pytest.approx(1)
        assert same.variance == same.relative == same.participation == 0
        assert same.uniformity == pytest.approx(0, abs=1e-12)
        assert all(torch.isfinite(x) for x in dispersion(torch.zeros(3, 2)))

    def test_participation_counts_directions(self):
        corners = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
        assert dispersion(corners).participation == pytest.approx(2)
        assert dispersion(corners[:2]).participation == pytest.approx(1)
        assert dispersion(corners[:2]).relative == math.inf
        assert dispersion(corners).cosine == pytest.approx(-1 / 3)

    def test_last_states_forget_what_pooled_states_keep(self):
        """At the base system's start, sentences with a shared ending differ only when pooled."""
        tokens = torch.randint(4, V, (60, 20), generator=rng())
        tokens[:, 0], tokens[:, -8:] = 1, torch.tensor([4, 5, 6, 7, 8, 9, 10, 2])
        variance, far = {}, {}
        for kind in ("last", "mean", "max"):
            model = TextVAE(V, 16, 32, D, layers=1, bidirectional=False, pooling=kind).double()
            initialise_(model, rng())
            variance[kind] = dispersion(model.posterior.encoder(tokens)).variance
            distance = influence(model, tokens).mean(0)
            far[kind] = float(distance[1] / distance[18])
        assert variance["mean"] > 20 * variance["last"]
        assert variance["max"] > 10 * variance["last"]
        assert far["last"] < 0.01
        assert far["mean"] > 0.3


class TestInfluence:
    @pytest.mark.parametrize(("kind", "bidirectional"), [("max", True), ("last", False)])
    def test_equals_the_loop(self, kind, bidirectional):
        model, (tokens, lengths) = vae(kind, bidirectional=bidirectional), padded()
        read = model.posterior.encoder
        expected = torch.zeros(4, 7, dtype=torch.float64)
        for i, n in enumerate(lengths.tolist()):
            whole = tokens[i : i + 1, :n]
            for t in range(1, n - 1):
                without = torch.cat([whole[:, :t], whole[:, t + 1 :]], 1)
                expected[i, t] = (read(without) - read(whole)).norm().detach()
        assert (expected[0, 1:6] > 0).all()
        for rows in (4096, 2):
            distance = influence(model, tokens, lengths, rows=rows)
            assert distance.dtype == torch.float64
            close(distance, expected)
        close(influence(model, tokens[:1]), expected[:1])


class TestByPosition:
    def test_sums_to_the_reconstruction(self):
        model, (tokens, lengths) = vae(), padded()
        nll, count = reconstruction_by_position(model, tokens, lengths, rng(3))
        assert count.tolist() == [4, 3, 2, 1, 1, 1]
        whole = pooling_objective(model, tokens, lengths, rng(3)).reconstruction
        close((nll * count).sum(), whole.sum().detach())
        model = ignore_code(model)
        parts = (reconstruction_by_position(model, tokens, lengths, rng(), rows=r) for r in (9, 1))
        close(*parts)


class TestMarginalLikelihood:
    def test_is_exact_in_one_dimension(self):
        model, tokens = vae(latent_dim=1), padded()[0][:1]
        z = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
        nll = model.decoder.nll(tokens.expand(4001, -1), None, z).detach()
        joint = -nll - 0.5 * z[:, 0].square() - 0.5 * math.log(2 * math.pi)
        exact = torch.logsumexp(joint, 0) + math.log(16 / 4000)
        bounds = {}
        for k, repeats in ((1, 400), (5, 80), (400, 1)):
            copies = tokens.expand(repeats, -1)
            values = marginal_likelihood(model, copies, None, rng(k), n_samples=k).log_likelihood
            bounds[k] = values.mean(), values.std() / math.sqrt(repeats) if repeats > 1 else 0
        assert abs(float(bounds[400][0] - exact)) < 0.1
        assert bounds[1][0] < bounds[5][0] < exact + 4 * bounds[5][1]
        assert exact - bounds[1][0] > 4 * bounds[1][1]

    def test_a_decoder_that_ignores_its_code_is_a_language_model(self):
        model, (tokens, lengths) = ignore_code(vae()), padded()
        language, decoder = LSTMDecoder(V, 6, H, 0).double(), model.decoder
        with torch.no_grad():
            language.embedding.weight.copy_(decoder.embedding.weight)
            language.output.load_state_dict(decoder.output.state_dict())
            for name, parameter in language.lstm.named_parameters():
                weight = getattr(decoder.lstm, name)
                parameter.copy_(weight[:, :6] if name == "weight_ih_l0" else weight)
        expected = -language.nll(tokens, lengths).detach()
        for k in (1, 7):
            bound = marginal_likelihood(model, tokens, lengths, rng(), n_samples=k)
            close(bound.log_likelihood, expected)
            close(bound.effective_samples, torch.full((4,), float(k)).double())

    @pytest.mark.parametrize("rows", [1, 10, 64])
    def test_is_the_bound_of_its_definition(self, rows):
        """With the same draws, one sentence at a time, all of it written out."""
        model, (tokens, lengths) = vae(), padded()
        for i, n in enumerate(lengths.tolist()):
            row, options = tokens[i : i + 1, :n], {"generator": rng(i), "dtype": torch.float64}
            bound = marginal_likelihood(model, row, None, rng(i), n_samples=30, rows=rows)
            mu, logvar = (x.detach() for x in model.posterior(row))
            parts = torch.arange(30).split(rows)
            noise = torch.cat([torch.randn(len(part), 1, D, **options) for part in parts])
            z = (mu + (0.5 * logvar).exp() * noise)[:, 0]
            q, p = Normal(mu, (0.5 * logvar).exp()), Normal(0, 1)
            log_p = -model.decoder.nll(row.expand(30, -1), None, z).detach()
            log_w = log_p + p.log_prob(z).sum(1) - q.log_prob(z).sum(1)
            close(bound.log_likelihood[0], log_w.logsumexp(0) - math.log(30))
            share = log_w.softmax(0)
            close(bound.effective_samples[0], 1 / share.square().sum())

    def test_hidden_words_are_those_of_the_objective(self):
        model, sentences = ignore_code(vae()), padded()
        options = {"word_dropout_rate": 1.0}
        hidden = marginal_likelihood(model, *sentences, rng(), n_samples=3, **options)
        expected = pooling_objective(model, *sentences, rng(), **options).reconstruction.detach()
        close(hidden.log_likelihood, -expected)
        plain = marginal_likelihood(model, *sentences, rng(), n_samples=3)
        assert not torch.allclose(hidden.log_likelihood, plain.log_likelihood, atol=0.01)


class TestLinearGaussian:
    x = torch.tensor([[0.7, -0.2, 0.5]], dtype=torch.float64)
    model = LinearGaussianVAE(
        torch.tensor([[1, 0.5], [-0.3, 0.8], [0.2, -1]], dtype=torch.float64),
        torch.zeros(3, dtype=torch.float64),
        0.4,
    )
    prior = torch.zeros(1, 2, dtype=torch.float64)

    def test_has_the_numbers_that_were_worked_out(self):
        assert float(self.model.log_evidence(self.x)) == pytest.approx(-3.2312604693, abs=1e-9)
        mu, logvar = self.model.mean_field(self.x)
        assert mu[0].tolist() == pytest.approx([0.567984, -0.150253], abs=1e-6)
        assert (0.5 * logvar).exp()[0].tolist() == pytest.approx([0.511310, 0.417938], abs=1e-6)
        assert float(self.model.elbo(self.x, mu, logvar)) == pytest.approx(-3.2317744760, abs=1e-9)
        assert float(gaussian_kl(mu, logvar)) == pytest.approx(0.9338464492, abs=1e-9)
        at_prior = self.model.elbo(self.x, self.prior, self.prior)
        assert float(at_prior) == pytest.approx(-6.1323795, abs=1e-7)

    def test_evidence_is_elbo_and_divergence(self):
        """Also with a bias; the posterior by conditioning of the joint Gaussian of x and z."""
        bias = torch.tensor([0.1, -0.4, 2.0], dtype=torch.float64)
        model, x, w = self.model._replace(bias=bias), self.x + bias, self.model.weight
        gain = w.T @ torch.linalg.inv(w @ w.T + 0.4 * torch.eye(3, dtype=torch.float64))
        identity = torch.eye(2, dtype=torch.float64)
        posterior = MultivariateNormal((x - bias) @ gain.T, identity - gain @ w)
        mu, logvar = model.mean_field(x)
        evidence = model.log_evidence(x)
        close(evidence, self.model.log_evidence(self.x))
        for m, v in ((mu, logvar), (mu + 0.3, logvar - 0.5), (self.prior, self.prior)):
            gap = kl_divergence(MultivariateNormal(m, v.exp().diag_embed()), posterior)
            close(model.elbo(x, m, v) + gap, evidence)
            assert gap >= 0.00051400669

    def log_w(self, k, repeats, mu, logvar, model=None, seed=0):
        q = Normal(mu, (0.5 * logvar).exp())
        z = q.mean + q.stddev * normal(k, repeats, 2, seed=seed)
        log_ratio = (Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)).sum(-1)
        return (model or self.model).log_likelihood(self.x.expand(repeats, -1), z) + log_ratio

    def test_weights_are_equal_only_at_the_true_posterior(self):
        diagonal = self.model._replace(weight=torch.tensor([[1.0, 0], [0, 2], [0, 0]]).double())
        log_w = self.log_w(50, 1, *diagonal.mean_field(self.x), diagonal)  # no covariance to miss
        close(log_w, diagonal.log_evidence(self.x).expand(50, 1))
        assert self.log_w(50, 1, *self.model.mean_field(self.x)).std() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [[], [5], [3, 3, 3]], ids=["none", "one", "unknowns"])
def test_short_and_strange_sentences_alone(kind, words):
    model, tokens = vae(kind), torch.tensor([[1, *words, 2]])
    n = torch.tensor([len(words) + 2])
    terms = pooling_objective(model, tokens, n, rng(), free_bits=1.0, word_dropout_rate=0.5)
    assert all(x.shape == (1,) and torch.isfinite(x).all() for x in terms)
    terms.value.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    distance = influence(model, tokens, n)
    assert distance.shape == tokens.shape
    assert (distance > 0).sum() == len(words)
    count = reconstruction_by_position(model, tokens, n, rng())[1]
    assert count.tolist() == [1] * (len(words) + 1)
    assert marginal_likelihood(model, tokens, n, rng(), n_samples=2).log_likelihood < 0


def test_temperature_reaches_the_encoder():
    warm = vae("logsumexp", temperature=1e6).posterior.encoder(*padded())
    close(warm, vae("mean").posterior.encoder(*padded()))


ONES = torch.ones(2, 4, dtype=torch.int64)
MEASURES = (
    pooling_objective,
    partial(marginal_likelihood, n_samples=2),
    reconstruction_by_position,
    lambda model, tokens, lengths, _: influence(model, tokens, lengths),
)
SENTENCES = [(ONES[:0], None), (ONES[0], None), (ONES[:, :1], None)]
SENTENCES += [(ONES, torch.tensor(lengths)) for lengths in ([4, 1], [2, 5], [4])]
OPTIONS = {"beta": -1.0, "free_bits": -1.0, "word_dropout_rate": 1.5}
REFUSED = {
    r"tokens must|lengths must": [
        partial(m, vae(), *s, rng()) for m in MEASURES for s in SENTENCES
    ],
    r"beta|floor|rate": [
        partial(pooling_objective, vae(), *padded(), rng(), **{name: value})
        for name, value in OPTIONS.items()
    ],
    "n_samples": [
        partial(marginal_likelihood, vae(), *padded(), rng(), **{name: 0})
        for name in ("n_samples", "rows")
    ],
    r"schedule|step": [
        partial(kl_weight, *a) for a in ((0, "square"), (0, "linear", 1.0, 0), (-1,))
    ],
    "features": [
        partial(dispersion, features)
        for features in (normal(1, 3), normal(3), normal(3, 0), normal(3, 3) * math.nan)
    ],
}
test_what_makes_no_sense_is_refused = refuses(REFUSED)
