"""Pooling, its objective and its measures, against closed forms and against loops."""

import math

import pytest
import torch
from torch import nn

from dgm.measure import active_units, aggregate_mutual_information
from dgm.nets.lstm import LanguageModel
from dgm.nets.text_vae import TextVAE, text_vae_objective
from dgm.papers import pooling_vae as paper
from dgm.papers.pooling_vae import (
    LinearGaussianVAE,
    aggressive_encoder_steps,
    dispersion,
    forget_gate_bias_,
    influence,
    initialise_,
    kl_weight,
    layer_norm_features_,
    marginal_likelihood,
    minibatch_mutual_information,
    pool,
    pooling_objective,
    reconstruction_by_position,
    scale_features_,
    with_free_bits,
    word_dropout,
)
from dgm.vae import gaussian_kl, importance_bound

V, H, D = 12, 8, 4
KINDS = ("last", "mean", "max", "absmax", "logsumexp")


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def vae(pooling="max", *, latent_dim=D, **options):
    sizes = {"layers": 1, "bidirectional": False, "dropout": 0.0}
    model = TextVAE(V, 6, H, latent_dim, pooling=pooling, **{**sizes, **options}).double()
    initialise_(model, rng(1), weights=0.8, embeddings=1.0)
    return model


def padded():
    """Four sentences: five words, two, one and none."""
    lengths = torch.tensor([7, 4, 3, 2])
    tokens = torch.randint(4, V, (4, 7), generator=rng())
    tokens[:, 0] = 1
    for row, n in zip(tokens, lengths.tolist(), strict=True):
        row[n - 1], row[n:] = 2, 0
    return tokens, lengths


class TestPooling:
    @pytest.mark.parametrize("kind", KINDS)
    def test_padding_changes_no_bit_even_where_all_states_are_negative(self, kind):
        h = -normal(3, 5, H).abs().float() - 0.1
        mask = torch.tensor([5, 3, 1])[:, None] > torch.arange(5)
        found = pool(h, mask, kind)
        for i, n in enumerate((5, 3, 1)):
            alone = pool(h[i : i + 1, :n], None, kind)[0]
            exact = 0 if kind in ("last", "max", "absmax") else 1e-6
            torch.testing.assert_close(found[i], alone, rtol=0, atol=exact)
        if kind != "logsumexp":
            assert (found < 0).all()

    @pytest.mark.parametrize("kind", KINDS[1:])
    def test_order_of_states_does_not_matter_but_order_of_words_does(self, kind):
        h, mixed = normal(2, 6, H), torch.tensor([3, 0, 5, 1, 4, 2])
        torch.testing.assert_close(pool(h[:, mixed], None, kind), pool(h, None, kind))
        model, (tokens, _) = vae(kind), padded()
        words = nn.Embedding(V, H).double()(tokens[:1])
        bag = pool(words, None, kind)
        turned = tokens[:1, [0, 5, 4, 3, 2, 1, 6]]
        torch.testing.assert_close(pool(words[:, [0, 5, 4, 3, 2, 1, 6]], None, kind), bag)
        encoder = model.posterior.encoder
        assert not torch.allclose(encoder(turned), encoder(tokens[:1]), atol=1e-3)

    def test_a_new_token_never_lowers_a_maximum(self):
        h = normal(2, 6, H)
        tops = torch.stack([pool(h[:, :t], None, "max") for t in range(1, 7)])
        assert (tops.diff(dim=0) >= 0).all()
        assert (tops.diff(dim=0) > 0).any()

    @pytest.mark.parametrize("kind", KINDS[:4])
    def test_features_of_an_lstm_are_below_one(self, kind):
        model, (tokens, lengths) = vae(kind), padded()
        initialise_(model, rng(), weights=20.0, embeddings=20.0)
        features = model.posterior.encoder(tokens, lengths).abs()
        assert features.max() <= 1
        assert features.max() > 0.5

    def test_constant_states_are_all_their_summaries(self):
        h = normal(2, 1, H).expand(-1, 4, -1)
        for kind in KINDS[:-1]:
            torch.testing.assert_close(pool(h, None, kind), h[:, 0])
        torch.testing.assert_close(pool(h, None, "logsumexp", temperature=0.3), h[:, 0])

    @pytest.mark.parametrize("kind", KINDS)
    def test_gradients_are_exact(self, kind):
        mask = torch.tensor([[True, True, False, True], [True, False, False, False]])
        h = normal(2, 4, 3).requires_grad_(True)
        assert torch.autograd.gradcheck(lambda x: pool(x, mask, kind), h)
        if kind == "logsumexp":
            assert torch.autograd.gradcheck(lambda x: pool(x, mask, kind, temperature=0.5), h)
        (gradient,) = torch.autograd.grad(pool(h, mask, kind).sum(), h)
        assert not gradient[~mask].any()
        torch.testing.assert_close(gradient.sum(1), torch.ones(2, 3, dtype=torch.float64))
        top = {
            "last": torch.tensor([[3] * 3, [0] * 3]),
            "max": h.masked_fill(~mask[..., None], -math.inf).argmax(1),
            "absmax": h.masked_fill(~mask[..., None], 0).abs().argmax(1),
        }
        if kind in top:
            one_hot = nn.functional.one_hot(top[kind], 4).movedim(-1, 1)
            torch.testing.assert_close(gradient, one_hot.double())
        if kind == "mean":
            each = mask / mask.sum(1, keepdim=True)
            torch.testing.assert_close(gradient, each.double()[..., None].expand(-1, -1, 3))


class TestTemperature:
    mask = torch.tensor([6, 4, 1])[:, None] > torch.arange(6)

    def test_is_the_formula(self):
        h = normal(3, 6, H)
        found = pool(h, self.mask, "logsumexp", temperature=0.7)
        for i, n in enumerate((6, 4, 1)):
            row = 0.7 * (h[i, :n] / 0.7).exp().mean(0).log()
            torch.testing.assert_close(found[i], row)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_goes_from_max_to_mean(self, dtype):
        h = normal(3, 6, H).to(dtype)
        mean, top = (pool(h, self.mask, kind) for kind in ("mean", "max"))
        ends = [pool(h, self.mask, "logsumexp", temperature=t) for t in (1e-6, 1e6)]
        torch.testing.assert_close(ends[0], top, rtol=0, atol=1e-4)
        torch.testing.assert_close(ends[1], mean, rtol=0, atol=1e-5)
        steps = [0.01, 0.1, 0.5, 2.0, 10.0]
        between = torch.stack([pool(h, self.mask, "logsumexp", temperature=t) for t in steps])
        assert (between.diff(dim=0)[:, :2] < 0).all()
        assert (between[:, :2] > mean[:2]).all()
        assert (between[1:, :2] < top[:2]).all()

    def test_masked_states_are_never_read(self):
        h = normal(3, 6, H)
        for hidden in (math.nan, math.inf, -math.inf, 1e300):
            x = h.masked_fill(~self.mask[..., None], hidden).requires_grad_(True)
            found = pool(x, self.mask, "logsumexp", temperature=1e-3)
            torch.testing.assert_close(found, pool(h, self.mask, "logsumexp", temperature=1e-3))
            found.sum().backward()
            assert torch.isfinite(x.grad).all()

    def test_reaches_the_encoder(self):
        tokens, lengths = padded()
        warm = vae("logsumexp", temperature=1e6).posterior.encoder(tokens, lengths)
        torch.testing.assert_close(warm, vae("mean").posterior.encoder(tokens, lengths))

    @pytest.mark.parametrize(
        ("kind", "temperature"), [("logsumexp", 0.0), ("logsumexp", math.inf), ("max", 1.0)]
    )
    def test_refuses(self, kind, temperature):
        with pytest.raises(ValueError, match="temperature"):
            pool(normal(1, 2, 3), None, kind, temperature=temperature)


class TestObjective:
    def test_is_the_plain_one_without_fixes(self):
        model, (tokens, lengths) = vae(), padded()
        mine = pooling_objective(model, tokens, lengths, rng(3), beta=0.4)
        theirs = text_vae_objective(model, tokens, lengths, 0.4, rng(3))
        for a, b in zip(mine[:3], theirs, strict=True):
            torch.testing.assert_close(a, b)
        assert torch.equal(mine.penalty, mine.kl)

    def test_kl_of_a_known_posterior(self):
        mu = torch.tensor([[1.0, -0.5]], dtype=torch.float64)
        logvar = torch.tensor([[1.0, 0.25]], dtype=torch.float64).log()
        assert float(gaussian_kl(mu, logvar)) == pytest.approx(0.9431471806, abs=1e-10)

    def test_free_bits_replace_the_kl_and_nothing_else(self):
        model, (tokens, lengths) = vae(), padded()
        plain = pooling_objective(model, tokens, lengths, rng(3))
        floor = float(plain.kl.detach().median())
        free = pooling_objective(model, tokens, lengths, rng(3), beta=0.5, free_bits=floor)
        assert torch.equal(free.kl, plain.kl)
        torch.testing.assert_close(free.penalty, plain.kl.clamp(min=floor))
        torch.testing.assert_close(free.value, free.reconstruction + 0.5 * free.penalty)
        below = free.kl <= floor
        assert 0 < int(below.sum()) < 4
        head = model.posterior.head.weight
        (none,) = torch.autograd.grad(free.penalty[below].sum(), head, retain_graph=True)
        assert not none.any()
        (some,) = torch.autograd.grad(free.penalty[~below].sum(), head)
        assert some.any()

    def test_free_bits_of_each_dimension_and_of_the_batch(self):
        kl = torch.tensor([[0.1, 3.0], [0.5, 0.2]], requires_grad=True)
        total = with_free_bits(kl, 2.0)
        each = with_free_bits(kl, 2.0, per_dimension=True)
        batch = with_free_bits(kl, 2.0, batch_mean=True)
        both = with_free_bits(kl, 2.0, per_dimension=True, batch_mean=True)
        torch.testing.assert_close(total, torch.tensor([3.1, 2.0]))
        torch.testing.assert_close(each, torch.tensor([4.0, 2.0]))
        torch.testing.assert_close(batch, torch.tensor([2.0, 2.0]))  # of a mean of 1.9
        torch.testing.assert_close(both, torch.tensor([2.6, 2.6]))
        gradients = [
            torch.autograd.grad(x.mean(), kl)[0].tolist() for x in (total, each, batch, both)
        ]
        assert gradients[0] == [[0.5, 0.5], [0, 0]]
        assert gradients[1] == [[0, 0.5], [0, 0]]
        assert gradients[2] == [[0, 0], [0, 0]]
        assert gradients[3] == [[0, 0.5], [0, 0.5]]
        at = torch.tensor([[2.0]], requires_grad=True)
        assert torch.autograd.grad(with_free_bits(at, 2.0).sum(), at)[0].item() == 0

    def test_words_hidden_from_the_decoder_are_still_asked_for(self):
        model, (tokens, lengths) = vae(), padded()
        hidden = pooling_objective(model, tokens, lengths, rng(3), word_dropout_rate=1.0)
        plain = pooling_objective(model, tokens, lengths, rng(3))
        assert torch.equal(hidden.kl, plain.kl)
        mu, logvar = model.posterior(tokens, lengths)
        z = mu + (0.5 * logvar).exp() * torch.randn(mu.shape, generator=rng(3), dtype=mu.dtype)
        inputs = torch.full_like(tokens[:, :-1], 3)
        inputs[:, 0] = 1
        log_p = model.decoder(inputs, z).log_softmax(-1)
        for i, n in enumerate(lengths.tolist()):
            expected = -sum(log_p[i, t - 1, tokens[i, t]] for t in range(1, n))
            torch.testing.assert_close(hidden.reconstruction[i], expected)
        assert not torch.allclose(hidden.reconstruction, plain.reconstruction)

    def test_noise_comes_from_the_generator_alone(self):
        model, (tokens, lengths) = vae(dropout=0.5), padded()
        options = {"word_dropout_rate": 0.5}
        one, again, other = (
            pooling_objective(model, tokens, lengths, rng(s), **options).value for s in (1, 1, 2)
        )
        assert torch.equal(one, again)
        assert not torch.equal(one, other)

    @pytest.mark.parametrize(
        ("tokens", "lengths", "options"),
        [
            (torch.ones(2, 1, dtype=torch.int64), None, {}),
            (torch.ones(0, 4, dtype=torch.int64), None, {}),
            (torch.ones(4, dtype=torch.int64), None, {}),
            (torch.ones(2, 4, dtype=torch.int64), torch.tensor([4, 1]), {}),
            (torch.ones(2, 4, dtype=torch.int64), torch.tensor([4, 5]), {}),
            (torch.ones(2, 4, dtype=torch.int64), torch.tensor([4]), {}),
            (torch.ones(2, 4, dtype=torch.int64), None, {"beta": -1.0}),
            (torch.ones(2, 4, dtype=torch.int64), None, {"free_bits": -1.0}),
            (torch.ones(2, 4, dtype=torch.int64), None, {"word_dropout_rate": 1.5}),
        ],
    )
    def test_refuses(self, tokens, lengths, options):
        with pytest.raises(ValueError, match=r"tokens|lengths|beta|floor|rate"):
            pooling_objective(vae(), tokens, lengths, rng(), **options)


class TestWordDropout:
    def test_hides_its_share_and_never_the_first(self):
        tokens = torch.randint(4, V, (200, 50), generator=rng())
        found = word_dropout(tokens, 0.3, rng(1))
        hidden = found == 3
        assert not hidden[:, 0].any()
        n = 200 * 49
        assert abs(int(hidden.sum()) - 0.3 * n) < 4 * math.sqrt(0.21 * n)
        assert torch.equal(found[~hidden], tokens[~hidden])
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
        assert kl_weight(steps, "linear", steps=steps) == pytest.approx(1)
        assert kl_weight(50, "linear", steps=100, start=0.0, beta=0.6) == pytest.approx(0.3)

    def test_cyclical_rises_in_half_of_each_period(self):
        found = [kl_weight(k, "cyclical", steps=8) for k in range(16)]
        assert found == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1] * 2
        assert kl_weight(1, "cyclical", steps=8, rising=0.25, beta=0.4) == pytest.approx(0.2)

    @pytest.mark.parametrize(
        ("schedule", "options"),
        [("square", {}), ("linear", {"steps": 0}), ("cyclical", {"rising": 0.0})],
    )
    def test_refuses(self, schedule, options):
        with pytest.raises(ValueError, match=r"schedule|steps"):
            kl_weight(0, schedule, **options)
        with pytest.raises(ValueError, match="step"):
            kl_weight(-1)


class TestControls:
    def test_initialisation_has_its_two_widths(self):
        model = TextVAE(V, 6, H, D)
        initialise_(model, rng(), weights=0.01, embeddings=2.0)
        tables = [model.posterior.encoder.states.embedding, model.decoder.embedding]
        for name, parameter in model.named_parameters():
            table = any(parameter is m.weight for m in tables)
            width = 2.0 if table else 0.01
            assert 0.5 * width < float(parameter.detach().abs().max()) <= width, name
        before = [p.clone() for p in model.parameters()]
        initialise_(model, rng(), weights=0.01, embeddings=2.0)
        assert all(map(torch.equal, before, model.parameters()))

    @pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
    def test_forget_gate_bias_sets_how_fast_a_state_is_forgotten(self, value):
        lstm = nn.LSTM(3, H, 2, bidirectional=True).double()
        forget_gate_bias_(lstm, value)
        keep = torch.sigmoid(torch.tensor(value, dtype=torch.float64))
        with torch.no_grad():
            for name, parameter in lstm.named_parameters():
                if name.startswith("weight"):
                    parameter.zero_()
                else:
                    parameter.view(4, H)[2] = 0  # nothing new is written
            c = normal(4, 1, H)
            _, (_, after) = lstm(normal(5, 1, 3), (torch.zeros_like(c), c))
        torch.testing.assert_close(after, c * keep**5)

    def test_scale_and_layer_norm_act_on_features_until_removed(self):
        model, (tokens, lengths) = vae("last"), padded()
        plain = model.posterior.encoder(tokens, lengths)
        handle = scale_features_(model, 3.0)
        torch.testing.assert_close(model.posterior.encoder(tokens, lengths), 3 * plain)
        mu, _ = model.posterior(tokens, lengths)
        torch.testing.assert_close(mu, 3 * plain @ model.posterior.head.weight[:D].T)
        handle.remove()
        handle = layer_norm_features_(model)
        normed = model.posterior.encoder(tokens, lengths)
        torch.testing.assert_close(normed.mean(1), torch.zeros(4).double())
        torch.testing.assert_close(
            normed.var(1, correction=0), torch.ones(4).double(), rtol=0.01, atol=0
        )
        handle.remove()
        assert torch.equal(model.posterior.encoder(tokens, lengths), plain)

    def test_aggressive_steps_leave_every_bit_of_the_decoder(self):
        model, (tokens, lengths) = vae().float(), padded()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        optimizer = torch.optim.SGD(model.posterior.parameters(), lr=0.1)

        def loss(i):
            return pooling_objective(model, tokens, lengths, rng(i)).value.mean()

        assert aggressive_encoder_steps(loss, optimizer, most=7, window=3) >= 3
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]) == name.startswith("decoder"), name


class TestDispersion:
    def test_equals_the_loop_over_pairs(self):
        s = normal(40, 6) + 0.3
        found = dispersion(s.float())
        pairs = [(i, j) for i in range(40) for j in range(40) if i != j]
        u = s / s.norm(dim=1, keepdim=True)
        i, j = torch.tensor(pairs).T
        between = (s[i] - s[j]).square().sum(1).mean()
        directions = (u[i] - u[j]).square().sum(1)
        eigenvalues = torch.linalg.eigvalsh(torch.cov(s.T))
        expected = [
            (u[i] * u[j]).sum(1).mean(),
            between / 2,
            between / 2 / s.mean(0).square().sum(),
            eigenvalues.sum().square() / eigenvalues.square().sum(),
            (-2 * directions).exp().mean().log(),
        ]
        for a, b in zip(found, expected, strict=True):
            assert a.dtype == torch.float64
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)

    def test_more_units_than_sentences_and_many_sentences(self):
        few = normal(5, 30)
        eigenvalues = torch.linalg.eigvalsh(torch.cov(few.T))
        expected = eigenvalues.sum().square() / eigenvalues.square().sum()
        torch.testing.assert_close(dispersion(few).participation, expected)
        many = normal(1500, 3)  # more than are compared at a time
        doubled = torch.pdist(many / many.norm(dim=1, keepdim=True)).square()
        torch.testing.assert_close(dispersion(many).uniformity, (-2 * doubled).exp().mean().log())

    def test_identical_features(self):
        found = dispersion(torch.full((9, 4), 0.5))
        assert found.cosine == pytest.approx(1)
        assert found.variance == found.relative == found.participation == 0
        assert found.uniformity == pytest.approx(0, abs=1e-12)
        assert all(torch.isfinite(x) for x in dispersion(torch.zeros(3, 2)))

    def test_what_changes_which(self):
        s = normal(30, 5) + 1
        found, moved = dispersion(s), dispersion(s + 7)
        longer = dispersion(s * (1 + normal(30, 1, seed=1).abs()))
        torch.testing.assert_close(found.cosine, longer.cosine)
        torch.testing.assert_close(found.uniformity, longer.uniformity)
        torch.testing.assert_close(found.variance, moved.variance)
        torch.testing.assert_close(found.participation, moved.participation)
        assert moved.relative < 0.1 * found.relative
        assert moved.cosine > found.cosine + 0.1
        assert longer.variance > found.variance
        scaled = dispersion(3 * s)
        torch.testing.assert_close(scaled.variance, 9 * found.variance)
        torch.testing.assert_close(scaled.relative, found.relative)

    def test_participation_counts_directions(self):
        corners = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
        assert dispersion(corners).participation == pytest.approx(2)
        assert dispersion(corners[:2]).participation == pytest.approx(1)
        assert dispersion(corners[:2]).relative == math.inf
        assert dispersion(corners).cosine == pytest.approx(-1 / 3)

    @pytest.mark.parametrize("s", [normal(1, 3), normal(3), normal(3, 0), normal(3, 3) * math.nan])
    def test_refuses(self, s):
        with pytest.raises(ValueError, match="features"):
            dispersion(s)

    def test_last_states_forget_what_pooled_states_keep(self):
        """At the base system's beginning, sentences with a shared ending differ only when pooled."""
        tokens = torch.randint(4, V, (60, 20), generator=rng())
        tokens[:, 0], tokens[:, -8:] = 1, torch.tensor([4, 5, 6, 7, 8, 9, 10, 2])
        variance = {}
        for kind in ("last", "mean", "max"):
            model = TextVAE(V, 16, 32, D, layers=1, bidirectional=False, pooling=kind).double()
            initialise_(model, rng())
            variance[kind] = dispersion(model.posterior.encoder(tokens)).variance
        assert variance["mean"] > 20 * variance["last"]
        assert variance["max"] > 10 * variance["last"]


class TestInformation:
    @pytest.mark.parametrize(("batch", "cap"), [(8, 2.079442), (32, 3.465736), (128, 4.852030)])
    def test_is_capped_by_the_batch(self, batch, cap):
        mu = 100.0 * torch.arange(256.0)[:, None]
        found = minibatch_mutual_information(mu, torch.zeros(256, 1), batch)
        assert float(found) == pytest.approx(cap, abs=1e-6)
        whole = aggregate_mutual_information(mu, torch.zeros(256, 1))
        assert float(whole) == pytest.approx(math.log(256), abs=1e-9)

    def test_is_the_mean_of_its_batches(self):
        mu, logvar = normal(70, 2), 0.3 * normal(70, 2, seed=1)
        parts = [
            aggregate_mutual_information(mu[i : i + 32], logvar[i : i + 32], seed=5 + k)
            for k, i in enumerate((0, 32))
        ]
        found = minibatch_mutual_information(mu, logvar, 32, seed=5)
        torch.testing.assert_close(found, torch.stack(parts).mean())

    def test_kl_is_information_and_the_aggregate_divergence(self):
        """E KL(q(z | x) || p) = I + KL(q(z) || p), the last by quadrature of the mixture."""
        mu, logvar = 1.5 * normal(40, 1), 0.4 * normal(40, 1, seed=1) - 1
        z = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
        log_q = torch.distributions.Normal(mu, (0.5 * logvar).exp()).log_prob(z)
        mixture = torch.logsumexp(log_q, 0) - math.log(40)
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z)
        aggregate = torch.trapezoid(mixture.exp() * (mixture - prior), z)
        kl = gaussian_kl(mu, logvar).mean()
        found = torch.stack(
            [aggregate_mutual_information(mu, logvar, n_samples=50, seed=s) for s in range(8)]
        )
        error = float(found.std()) / math.sqrt(8)
        assert error < 0.02
        assert abs(float(found.mean() - (kl - aggregate))) < 4 * error
        assert 0 < float(found.mean()) < min(float(kl), math.log(40))

    def test_a_collapsed_posterior_has_nothing(self):
        mu = torch.zeros(64, D)
        assert float(minibatch_mutual_information(mu, mu)) == pytest.approx(0, abs=1e-9)
        assert active_units(mu) == 0
        assert float(gaussian_kl(mu, mu).sum()) == 0

    def test_active_units_at_the_threshold(self):
        pattern = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(50)[:, None]
        unit = pattern * math.sqrt(99 / 100)  # of variance one
        mu = unit * torch.tensor([0.0101, 0.0099]).double().sqrt()
        assert active_units(mu) == 1
        assert active_units(mu + 5) == 1
        assert active_units(1.1 * mu) == 2

    @pytest.mark.parametrize("batch", [1, 9])
    def test_refuses(self, batch):
        with pytest.raises(ValueError, match="batch_size"):
            minibatch_mutual_information(normal(8, 2), normal(8, 2), batch)


class TestInfluence:
    @pytest.mark.parametrize("of", ["mean", "features"])
    @pytest.mark.parametrize("kind", ["last", "mean", "max"])
    def test_equals_the_loop(self, kind, of):
        model, (tokens, lengths) = vae(kind), padded()
        read = model.posterior.encoder if of == "features" else (lambda x: model.posterior(x)[0])
        expected = torch.zeros(4, 7, dtype=torch.float64)
        for i, n in enumerate(lengths.tolist()):
            whole = tokens[i : i + 1, :n]
            for t in range(1, n - 1):
                without = torch.cat([whole[:, :t], whole[:, t + 1 :]], 1)
                expected[i, t] = (read(without) - read(whole)).norm().detach()
        assert (expected[0, 1:6] > 0).all()
        for rows in (4096, 2):
            found = influence(model, tokens, lengths, of=of, rows=rows)
            assert found.dtype == torch.float64
            torch.testing.assert_close(found, expected)
        torch.testing.assert_close(influence(model, tokens[:1], of=of), expected[:1])

    def test_both_directions_and_no_word_at_all(self):
        model, (tokens, lengths) = vae("max", bidirectional=True), padded()
        found = influence(model, tokens, lengths)
        torch.testing.assert_close(found[1, :4], influence(model, tokens[1:2, :4])[0])
        assert not influence(model, torch.tensor([[1, 2]])).any()

    def test_far_words_are_lost_to_the_last_state_alone(self):
        tokens = torch.randint(4, V, (20, 16), generator=rng())
        tokens[:, 0], tokens[:, -1] = 1, 2
        ratio = {}
        for kind in ("last", "mean"):
            model = TextVAE(V, 16, 32, D, layers=1, bidirectional=False, pooling=kind).double()
            initialise_(model, rng())
            found = influence(model, tokens, of="features").mean(0)
            ratio[kind] = float(found[1] / found[14])
        assert ratio["last"] < 0.01
        assert ratio["mean"] > 0.3

    def test_refuses(self):
        with pytest.raises(ValueError, match="of must"):
            influence(vae(), padded()[0], of="code")


class TestByPosition:
    def test_sums_to_the_reconstruction(self):
        model, (tokens, lengths) = vae(), padded()
        found = reconstruction_by_position(model, tokens, lengths, rng(3))
        assert found.count.tolist() == [4, 3, 2, 1, 1, 1]
        whole = pooling_objective(model, tokens, lengths, rng(3)).reconstruction
        torch.testing.assert_close((found.nll * found.count).sum(), whole.sum().detach())
        one, full = tokens[:1], lengths[:1]
        alone, same = (reconstruction_by_position(model, one, n, rng(3)) for n in (None, full))
        assert torch.equal(alone.nll, same.nll)

    def test_chunks_cover_all_sentences(self):
        model, (tokens, lengths) = vae(), padded()
        nn.init.zeros_(model.decoder.initial.weight)
        model.decoder.lstm.weight_ih_l0.data[:, 6:] = 0  # the code is not read
        one, many = (
            reconstruction_by_position(model, tokens, lengths, rng(), rows=r) for r in (9, 1)
        )
        torch.testing.assert_close(one.nll, many.nll)


def exact_likelihood(model, tokens, n=4001):
    """log p(x) of a model with one latent dimension, by quadrature."""
    z = torch.linspace(-8, 8, n, dtype=torch.float64)[:, None]
    found = []
    for row in tokens:
        log_p = model.log_likelihood(row.expand(n, -1), None, z).detach()
        joint = log_p - 0.5 * z[:, 0].square() - 0.5 * math.log(2 * math.pi)
        found.append(torch.logsumexp(joint, 0) + math.log(16 / (n - 1)))
    return torch.stack(found)


class TestMarginalLikelihood:
    def test_is_exact_in_one_dimension(self):
        model, (tokens, _) = vae(latent_dim=1), padded()
        tokens = tokens[:1]
        exact = exact_likelihood(model, tokens)
        bounds = {}
        for k, repeats in ((1, 400), (5, 80), (400, 1)):
            many = tokens.expand(repeats, -1)
            found = marginal_likelihood(model, many, None, rng(k), n_samples=k).log_likelihood
            bounds[k] = found.mean(), found.std() / math.sqrt(repeats) if repeats > 1 else 0
        assert abs(float(bounds[400][0] - exact)) < 0.1
        assert bounds[1][0] < bounds[5][0] < exact + 4 * bounds[5][1]
        assert exact - bounds[1][0] > 4 * bounds[1][1]

    def test_a_decoder_that_ignores_its_code_is_a_language_model(self):
        model, (tokens, lengths) = vae(), padded()
        language = LanguageModel(V, 6, H).double()
        decoder = model.decoder
        with torch.no_grad():
            model.posterior.head.weight.zero_()  # the posterior is the prior
            decoder.initial.weight.zero_()
            decoder.lstm.weight_ih_l0[:, 6:] = 0
            language.embedding.weight.copy_(decoder.embedding.weight)
            language.output.load_state_dict(decoder.output.state_dict())
            for name, parameter in language.lstm.named_parameters():
                parameter.copy_(
                    getattr(decoder.lstm, name)[:, :6]
                    if name == "weight_ih_l0"
                    else getattr(decoder.lstm, name)
                )
        expected = -language.nll(tokens, lengths).detach()
        for k in (1, 7):
            found = marginal_likelihood(model, tokens, lengths, rng(), n_samples=k)
            torch.testing.assert_close(found.log_likelihood, expected)
            torch.testing.assert_close(found.effective_samples, torch.full((4,), float(k)).double())

    @pytest.mark.parametrize("rows", [1, 3, 10, 64])
    def test_any_number_of_rows_gives_every_sentence_its_own(self, rows):
        model, (tokens, lengths) = vae(), padded()
        many = marginal_likelihood(model, tokens, lengths, rng(), n_samples=40, rows=rows)
        for i, n in enumerate(lengths.tolist()):
            alone = marginal_likelihood(model, tokens[i : i + 1, :n], None, rng(9), n_samples=300)
            tolerance = 4 * math.sqrt(2 / float(alone.effective_samples))
            assert abs(float(many.log_likelihood[i] - alone.log_likelihood)) < tolerance
        assert many.log_likelihood.dtype == torch.float64

    def test_memory_is_bounded(self):
        model, (tokens, lengths) = vae(), padded()
        seen = []
        model.decoder.lstm.register_forward_hook(lambda _, x, y: seen.append(len(y[0])))
        marginal_likelihood(model, tokens, lengths, rng(), n_samples=25, rows=10)
        assert max(seen) <= 10
        assert sum(seen) == 100

    def test_is_the_bound_of_its_definition(self):
        """With the same draws, one sentence at a time, all of it written out."""
        model, (tokens, lengths) = vae(), padded()
        for i, n in enumerate(lengths.tolist()):
            row = tokens[i : i + 1, :n]
            found = marginal_likelihood(model, row, None, rng(i), n_samples=30)
            mu, logvar = (x.detach() for x in model.posterior(row))
            noise = torch.randn(30, 1, D, generator=rng(i), dtype=torch.float64)
            z = (mu + (0.5 * logvar).exp() * noise)[:, 0]
            q, p = (
                torch.distributions.Normal(mu, (0.5 * logvar).exp()),
                torch.distributions.Normal(0, 1),
            )
            log_p = model.log_likelihood(row.expand(30, -1), None, z).detach()
            log_w = log_p + p.log_prob(z).sum(1) - q.log_prob(z).sum(1)
            share = log_w.softmax(0)
            torch.testing.assert_close(found.log_likelihood[0], log_w.logsumexp(0) - math.log(30))
            torch.testing.assert_close(found.effective_samples[0], 1 / share.square().sum())

    def test_hidden_words_are_those_of_the_objective(self):
        model, (tokens, lengths) = vae(), padded()
        with torch.no_grad():
            model.posterior.head.weight.zero_()
            model.decoder.initial.weight.zero_()
            model.decoder.lstm.weight_ih_l0[:, 6:] = 0
        options = {"word_dropout_rate": 1.0}
        hidden = marginal_likelihood(model, tokens, lengths, rng(), n_samples=3, **options)
        expected = pooling_objective(model, tokens, lengths, rng(), **options).reconstruction
        torch.testing.assert_close(hidden.log_likelihood, -expected.detach())
        where = reconstruction_by_position(model, tokens, lengths, rng(), **options)
        torch.testing.assert_close((where.nll * where.count).sum(), expected.sum().detach())
        plain = marginal_likelihood(model, tokens, lengths, rng(), n_samples=3)
        assert not torch.allclose(hidden.log_likelihood, plain.log_likelihood, atol=0.01)

    @pytest.mark.parametrize("options", [{"n_samples": 0}, {"rows": 0}])
    def test_refuses(self, options):
        with pytest.raises(ValueError, match="n_samples"):
            marginal_likelihood(vae(), *padded(), rng(), **options)


class TestLinearGaussian:
    x = torch.tensor([[0.7, -0.2, 0.5]], dtype=torch.float64)
    model = LinearGaussianVAE(
        torch.tensor([[1, 0.5], [-0.3, 0.8], [0.2, -1]], dtype=torch.float64),
        torch.zeros(3, dtype=torch.float64),
        0.4,
    )
    prior = torch.zeros(1, 2, dtype=torch.float64)

    def test_works_where_its_tensors_are(self):
        with torch.device("meta"):
            model = LinearGaussianVAE(torch.empty(3, 2), torch.empty(3), 0.4)
            x = torch.empty(5, 3)
        assert all(part.device.type == "meta" for part in model.posterior(x))
        assert model.mean_field(x)[1].shape == (5, 2)

    @pytest.mark.gpu
    def test_on_a_gpu(self):
        model = LinearGaussianVAE(*(part.cuda() for part in self.model[:2]), 0.4)
        evidence = model.log_evidence(self.x.cuda())
        assert float(evidence) == pytest.approx(float(self.model.log_evidence(self.x)))

    def test_has_the_numbers_that_were_worked_out(self):
        assert float(self.model.log_evidence(self.x)) == pytest.approx(-3.2312604693, abs=1e-9)
        mean, covariance = self.model.posterior(self.x)
        assert mean[0].tolist() == pytest.approx([0.567984, -0.150253], abs=1e-6)
        assert covariance.flatten().tolist() == pytest.approx(
            [0.261707, -0.006857, -0.006857, 0.174852], abs=1e-6
        )
        mu, logvar = self.model.mean_field(self.x)
        assert (0.5 * logvar).exp()[0].tolist() == pytest.approx([0.511310, 0.417938], abs=1e-6)
        assert float(self.model.elbo(self.x, mu, logvar)) == pytest.approx(-3.2317744760, abs=1e-9)
        assert float(gaussian_kl(mu, logvar)) == pytest.approx(0.9338464492, abs=1e-9)
        at_prior = self.model.elbo(self.x, self.prior, self.prior)
        assert float(at_prior) == pytest.approx(-6.1323795, abs=1e-7)

    def test_evidence_is_elbo_and_divergence(self):
        mean, covariance = self.model.posterior(self.x)
        mu, logvar = self.model.mean_field(self.x)
        for m, v in ((mu, logvar), (mu + 0.3, logvar - 0.5), (self.prior, self.prior)):
            q = torch.distributions.MultivariateNormal(m, v.exp().diag_embed())
            true = torch.distributions.MultivariateNormal(mean, covariance)
            gap = torch.distributions.kl_divergence(q, true)
            torch.testing.assert_close(
                self.model.elbo(self.x, m, v) + gap, self.model.log_evidence(self.x)
            )
        assert float(torch.distributions.kl_divergence(
            torch.distributions.MultivariateNormal(mu, logvar.exp().diag_embed()), true
        )) == pytest.approx(0.0005140067, abs=1e-9)  # fmt: skip

    def test_joint_is_prior_and_likelihood(self):
        model = self.model._replace(bias=torch.tensor([0.1, -0.4, 2.0], dtype=torch.float64))
        z = normal(6, 1, 2)
        noise = torch.distributions.Normal(model.bias + z @ model.weight.T, math.sqrt(0.4))
        expected = noise.log_prob(self.x).sum(-1)
        expected += torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        torch.testing.assert_close(model.log_joint(self.x, z), expected)
        torch.testing.assert_close(
            model.log_evidence(self.x + model.bias), self.model.log_evidence(self.x)
        )

    def log_w(self, k, repeats, mu, logvar, seed=0):
        x = self.x.expand(repeats, -1)
        eps = normal(k, repeats, 2, seed=seed)
        z = mu + (0.5 * logvar).exp() * eps
        log_q = -0.5 * (eps.square() + logvar + math.log(2 * math.pi)).sum(-1)
        return self.model.log_joint(x, z) - log_q

    def test_bounds_rise_to_the_evidence(self):
        published = {1: (-6.1323795, 0.0), 5: (-3.566, 0.007), 50: (-3.253, 0.002)}
        published[500] = (-3.234, 0.001)
        means = []
        for k, (expected, its_error) in published.items():
            n = 8000 if k < 500 else 1000
            bound = importance_bound(self.log_w(k, n, self.prior, self.prior, seed=k))
            error = math.hypot(float(bound.std()) / math.sqrt(n), its_error)
            means.append(float(bound.mean()))
            assert abs(means[-1] - expected) < 4 * error
        assert means == sorted(means)
        assert means[-1] < float(self.model.log_evidence(self.x)) + 4 * error

    def test_weights_are_equal_only_at_the_true_posterior(self):
        diagonal = self.model._replace(weight=torch.tensor([[1.0, 0], [0, 2], [0, 0]]).double())
        mu, logvar = diagonal.mean_field(self.x)  # which has no covariance to miss
        eps = normal(50, 1, 2)
        log_q = -0.5 * (eps.square() + logvar + math.log(2 * math.pi)).sum(-1)
        log_w = diagonal.log_joint(self.x, mu + (0.5 * logvar).exp() * eps) - log_q
        torch.testing.assert_close(log_w, diagonal.log_evidence(self.x).expand(50, 1))
        assert self.log_w(50, 1, *self.model.mean_field(self.x)).std() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "words", [[], [5], [3], [3, 3, 3]], ids=["none", "one", "unknown", "unknowns"]
)
def test_short_and_strange_sentences_alone(kind, words):
    model, tokens = vae(kind), torch.tensor([[1, *words, 2]])
    n = torch.tensor([len(words) + 2])
    terms = pooling_objective(model, tokens, n, rng(), free_bits=1.0, word_dropout_rate=0.5)
    assert all(x.shape == (1,) and torch.isfinite(x).all() for x in terms)
    terms.value.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    moved = influence(model, tokens, n)
    assert moved.shape == tokens.shape
    assert (moved > 0).sum() == len(words)
    assert reconstruction_by_position(model, tokens, n, rng()).count.tolist() == [1] * (
        len(words) + 1
    )
    assert marginal_likelihood(model, tokens, n, rng(), n_samples=2).log_likelihood < 0


@pytest.mark.parametrize(
    ("tokens", "lengths"),
    [
        (torch.ones(0, 4, dtype=torch.int64), None),
        (torch.ones(2, 1, dtype=torch.int64), None),
        (torch.ones(2, 4, dtype=torch.int64), torch.tensor([4, 1])),
        (torch.ones(2, 4, dtype=torch.int64), torch.tensor([2, 5])),
        (torch.ones(2, 4, dtype=torch.int64), torch.tensor([4])),
    ],
    ids=["no sentence", "no end", "too short", "too long", "too few"],
)
def test_measures_refuse_what_is_no_sentence(tokens, lengths):
    for measure in (
        lambda: marginal_likelihood(vae(), tokens, lengths, rng(), n_samples=2),
        lambda: reconstruction_by_position(vae(), tokens, lengths, rng()),
        lambda: influence(vae(), tokens, lengths),
    ):
        with pytest.raises(ValueError, match=r"<s> and </s>|lengths must be"):
            measure()


def test_unknown_words_are_words_like_others():
    """<unk> has an embedding and a probability of its own, and none is dropped or replaced."""
    model = vae()
    tokens, lengths = torch.tensor([[1, 3, 2]]), torch.tensor([3])
    nll = reconstruction_by_position(model, tokens, lengths, rng()).nll
    mu, logvar = (x.detach() for x in model.posterior(tokens))
    z = mu + (0.5 * logvar).exp() * torch.randn(1, D, generator=rng(), dtype=torch.float64)
    expected = -model.decoder(tokens[:, :-1], z).log_softmax(-1)[0, [0, 1], [3, 2]]
    torch.testing.assert_close(nll, expected.detach())


def test_everything_that_is_offered_is_there():
    assert all(hasattr(paper, name) for name in paper.__all__)
    assert paper.pool is pool
