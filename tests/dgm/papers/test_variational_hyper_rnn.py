"""VRNN and VHRNN against loops with explicit matrices, published counts, exact sums."""

import itertools
import math
from functools import partial

import pytest
import torch
from benches import gates
from checks import DEVICES, close, mean_is, refuses
from draws import normal, rng
from torch import nn
from torch.distributions import Normal, StudentT, kl_divergence
from torch.nn import functional

from dgm.data import synthetic
from dgm.nets.variational_rnn import student_t_log_density
from dgm.papers.variational_hyper_rnn import (
    DeterministicHyperRNN,
    Trace,
    VariationalHyperRNN,
    VariationalRNN,
    bound,
    oracle,
    oracle_log_likelihood,
    parameter_count,
    trace,
)
from dgm.sampling import particles

EMISSIONS, INPUTS = ("gaussian", "bernoulli"), ("both", "latent", "hidden")
RULES = ("never", "ess", "always")
# No two alike, so that no slice of one is mistaken for another's.
X, Z, H, W = 3, 6, 5, 7


def shaken(model, size=0.4, seed=0):
    """Parameters and the input's mean moved off their first values, ReLUs mostly on; float64."""
    model, generator = model.double(), rng(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data += size * (noise.abs() if parameter.ndim == 1 else noise)
    model.input_mean.copy_(0.1 + torch.arange(model.x_dim) / 10)
    return model


def plain(emission="gaussian", layers=2, x=X, z=Z, linear=False):
    return shaken(VariationalRNN(x, z, H, emission, layers, linear=linear))


def hyper(emission="gaussian", layers=2, hyper_input="both", x=X, z=Z):
    return shaken(VariationalHyperRNN(x, z, H, W, emission, layers, hyper_input))


def deterministic(emission="gaussian", layers=1, x=X):
    return shaken(DeterministicHyperRNN(x, H, emission, layers, width=6, components=3))


def cases(*makes):
    """Each for both emissions of the paper."""
    pairs = itertools.product(makes, EMISSIONS)
    return [pytest.param(partial(make, e), id=f"{i}") for i, (make, e) in enumerate(pairs)]


INPUTS_READ = [partial(hyper, hyper_input=read) for read in INPUTS]
HEAVY = [partial(plain, "student_t", linear=True), partial(hyper, "student_t")]
MODELS, FOUR = [*cases(plain, *INPUTS_READ), *HEAVY], cases(plain, hyper)


def log_likelihood(model, x, lengths):
    if isinstance(model, DeterministicHyperRNN):
        return model(x, lengths)
    return bound(model, x, lengths, 1, "never", rng()).log_likelihood


def broad(model):
    """A proposal near the prior and wider, so that weights are bounded and noise is small."""
    last = model.posterior[-1]
    last.weight.data *= 0.3
    last.weight.data[model.z_dim :] = 0
    last.bias.data[model.z_dim :] = 1.5
    return model


def frames(model, *shape, seed=0):
    """Frames (*shape, X) that the model may see."""
    x = normal(*shape, model.x_dim, seed=seed)
    return x if model.emission != "bernoulli" else (x > 0).double()


def per_step_noise(steps, rows, z_dim, seed=0):
    """The noise (T, R, D) that `bound` draws where it draws nothing else."""
    options = {"generator": rng(seed), "dtype": torch.float64}
    return torch.stack([torch.randn(rows, z_dim, **options) for _ in range(steps)])


def perceptron(network, v, scales=None, biases=None):
    """A perceptron whose layers have explicitly scaled matrices diag(s_l) W_l and more biases."""
    layers = [module for module in network if isinstance(module, nn.Linear)]
    for i, layer in enumerate(layers):
        weight, bias = layer.weight, layer.bias
        if scales is not None:
            weight, bias = torch.diag(scales[i]) @ weight, bias + biases[i]
        v = weight @ v + bias
        v = v.relu() if i + 1 < len(layers) else v
    return v


def halves(model, raw):
    mean, deviation = raw.chunk(2)
    return mean, functional.softplus(deviation + 0.5).clamp(min=model.sigma_min)


def by_hand(model, x, noise, observed=None):
    """The specification's equations for one sequence (T, X) and one particle's noise (T, D).

    torch's softplus is its argument above 20, which is 2e-9 off: log-probabilities agree to 1e-8.
    """
    h = c = torch.zeros(model.h_dim, dtype=torch.float64)
    is_hyper = hasattr(model, "heads")
    k = k_c = torch.zeros_like(h)
    last = model.input_mean
    rows = []
    for t in range(len(x)):
        here = torch.ones(len(x[t]), dtype=torch.bool) if observed is None else observed[t]
        frame = torch.where(here, x[t], model.input_mean)
        encoded = perceptron(model.encode_x, frame - model.input_mean)
        prior_mean, prior_deviation = halves(model, perceptron(model.prior, h))
        raw = perceptron(model.posterior, torch.cat([h, encoded]))
        residual, deviation = halves(model, raw)
        prior, posterior = (
            Normal(prior_mean, prior_deviation),
            Normal(prior_mean + residual, deviation),
        )
        z = posterior.mean + deviation * noise[t]
        joined, scales, biases = torch.cat([z, h]), None, None
        if is_hyper:
            read = {INPUTS[0]: joined, INPUTS[1]: z, INPUTS[2]: h}[model.hyper_input]
            sizes = [len(layer.weight) for layer in model.decoder if isinstance(layer, nn.Linear)]
            parts = perceptron(model.rescale, read).split(2 * sizes)
            scales, biases = parts[: len(sizes)], parts[len(sizes) :]
        raw = perceptron(model.decoder, joined, scales, biases)
        if model.emission != "bernoulli":
            freedom = None
            if model.emission == "student_t":
                raw, freedom = raw.split([2 * len(frame), len(frame)])
                freedom = functional.softplus(freedom + 4).clamp(min=0.1)
            mean_x, deviation_x = halves(model, raw)
            if model.linear_path is not None:
                mean_x = mean_x + model.linear_path @ (last - model.input_mean)
            law = Normal(mean_x, deviation_x)
            if freedom is not None:
                law = StudentT(freedom, mean_x, deviation_x)
            log_x = law.log_prob(frame)[here].sum()
        else:
            mean_x, deviation_x = raw.sigmoid(), raw[:0]
            on, off = functional.logsigmoid(raw), functional.logsigmoid(-raw)
            log_x = (frame * on + (1 - frame) * off)[here].sum()
        log_alpha = (prior.log_prob(z) - posterior.log_prob(z)).sum() + log_x
        kl = kl_divergence(posterior, prior).sum()
        y = torch.cat([encoded, perceptron(model.encode_z, z)])
        on_input, on_hidden = model.cell.weight_input, model.cell.weight_hidden
        if is_hyper:
            a = model.hyper.weight_input @ read + model.hyper.weight_hidden @ k + model.hyper.bias
            k, k_c = gates(a, k_c)
            written = model.heads.weight @ k + model.heads.bias
            d_input, d_hidden, bias = written.chunk(3)
            on_input, on_hidden = torch.diag(d_input) @ on_input, torch.diag(d_hidden) @ on_hidden
        else:
            written, bias = h[:0], model.cell.bias
        h, c = gates(on_input @ y + on_hidden @ h + bias, c)
        last = frame
        here = (z, log_alpha, kl, prior_mean, prior_deviation, mean_x, deviation_x, written, h)
        rows.append(here)
    return Trace(*map(torch.stack, zip(*rows, strict=True)))


@pytest.fixture(autouse=True)
def _seeded():
    """First weights come from the global generator."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def gradients(model, value):
    outcome = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    return dict(zip(dict(model.named_parameters()), outcome, strict=True))


def full(x):
    return torch.full((x.shape[0],), x.shape[1])


class TestCounts:
    @pytest.mark.parametrize(
        ("sizes", "published", "trainable"),
        [
            ((2, 6, 6, "gaussian", 2), 1516, 1204),
            ((2, 8, 8, "gaussian", 2), 2612, 2068),
            ((88, 24, 24, "bernoulli", 1), 23200, 18496),
            ((88, 28, 28, "bernoulli", 1), 30636, 24252),
            ((88, 32, 32, "bernoulli", 1), 39096, 30776),
            ((10, 28, 28, "gaussian", 1), 26480, 20096),
            ((10, 32, 32, "gaussian", 1), 34356, 26036),
            ((2, 4, 4, 12, "gaussian", 2), 1568, 1424),
            ((88, 24, 12, 16, "bernoulli", 1), 23904, 22128),
            ((88, 28, 14, 18, "bernoulli", 1), 30778, 28370),
            ((88, 32, 16, 20, "bernoulli", 1), 38524, 35388),
            ((88, 14, 14, 64, "bernoulli", 1), 29078, 27454),
            ((10, 16, 16, 64, "gaussian", 1), 22124, 20012),
        ],
    )
    def test_are_the_published_ones(self, sizes, published, trainable):
        model = (VariationalRNN if len(sizes) == 5 else VariationalHyperRNN)(*sizes)
        assert parameter_count(model, as_published=True) == published
        assert parameter_count(model) == trainable == sum(p.numel() for p in model.parameters())

    @pytest.mark.parametrize("make", MODELS)
    def test_no_parameter_is_dead(self, make):
        """Each tensor learns, and each number in it but for what a ReLU has switched off."""
        model = make()
        x = frames(model, 40, 5)
        value = bound(model, x, full(x), 3, "ess", rng()).log_likelihood.sum()
        for name, gradient in gradients(model, value).items():
            assert gradient is not None, name
            assert gradient.abs().max() > 0, name
            behind_relu = name.startswith(("encode", "prior", "posterior", "decoder", "rescale"))
            share = float((gradient != 0).double().mean())
            assert share > (0.4 if behind_relu else 0.999), name

    def test_first_values(self):
        """A fresh VHRNN is nearly a VRNN: scales 1, biases 0 but for the forget gate's."""
        model = VariationalHyperRNN(X, Z, H, W, "gaussian")
        d_input, d_hidden, bias = model.heads.bias.detach().chunk(3)
        assert (d_input == 1).all()
        assert (d_hidden == 1).all()
        assert (bias[H : 2 * H] == 1).all()
        assert bias[:H].abs().max() == bias[2 * H :].abs().max() == 0
        assert model.heads.weight.abs().max() <= 1e-2

    @pytest.mark.parametrize("make", [plain, deterministic])
    def test_bernoulli_frames_start_from_the_mean_which_may_be_elsewhere(self, make):
        model, mean = make("bernoulli"), torch.tensor([0.5, 0.9, 0.0])
        before = model.decoder[-1].bias.detach().clone()
        model.calibrate(mean)
        close(model.input_mean, mean.double())
        shift = (model.decoder[-1].bias.detach() - before)[model.components :].view(-1, X)
        goal = mean.double().clamp(1e-4, 1 - 1e-4).logit()
        close(shift, goal.expand_as(shift))
        make("bernoulli").to("meta").calibrate(mean)


class TestEquations:
    def test_student_s_t_is_torch_s_and_tends_to_the_normal(self):
        x, centre, scale = normal(50), normal(50, seed=1), normal(50, seed=2).exp()
        for freedom in (0.3 + normal(50, seed=3).exp(), torch.full((50,), 30.0).double()):
            law = StudentT(freedom, centre, scale)
            close(student_t_log_density(x, centre, scale, freedom), law.log_prob(x))
        far = torch.tensor(1e6, dtype=torch.float64)
        miss = [
            (student_t_log_density(x, centre, scale, k * far) - Normal(centre, scale).log_prob(x))
            for k in (1, 10)
        ]
        assert miss[0].abs().max() > 1e-5  # of order 1 / freedom
        close(10 * miss[1], miss[0], rtol=1e-2, atol=1e-7)

    @pytest.mark.parametrize("make", MODELS)
    def test_trace_is_the_specification_in_loops(self, make):
        model = make()
        x, noise = frames(model, 4), normal(4, 2, Z, seed=1)
        outcome = trace(model, x, noise)
        for n in range(2):
            outcome_of_n = Trace(*(value[:, n] for value in outcome))
            close(outcome_of_n, by_hand(model, x, noise[:, n]), rtol=1e-8, atol=1e-8)

    @pytest.mark.parametrize("make", MODELS)
    def test_scaled_rows_have_the_gradients_of_scaled_matrices(self, make):
        """d * (W y) = (diag(d) W) y, also for the gradients of d, W and all that lies before."""
        model = make()
        x, noise = frames(model, 1, 4), per_step_noise(4, 1, Z)
        by_rows = bound(model, x, full(x), 1, "never", rng()).log_likelihood.sum()
        by_matrices = by_hand(model, x[0], noise[:, 0]).log_alpha.sum()
        close(by_rows, by_matrices, rtol=1e-9, atol=0)
        by_rows, by_matrices = (gradients(model, value) for value in (by_rows, by_matrices))
        close(by_rows, by_matrices, rtol=1e-7, atol=1e-7)

    def test_deviations_have_a_floor(self):
        model = plain()
        for network in (model.prior, model.decoder):
            network[-1].bias.data.fill_(-100.0)
        outcome = trace(model, frames(model, 3), normal(3, 2, Z))
        assert (outcome.prior_deviation == model.sigma_min).all()
        assert (outcome.deviation_x == model.sigma_min).all()

    @pytest.mark.parametrize("make", [plain, hyper])
    def test_all_bernoulli_sequences_together_have_probability_one(self, make):
        """The estimate is unbiased for each of 2^4 sequences, so that their sum is 1 on average."""
        model = broad(make("bernoulli", x=2, z=2))
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4))).double().view(16, 2, 2)
        x = every.repeat(400, 1, 1)
        with torch.no_grad():
            outcome = bound(model, x, full(x), 4, "always", rng()).log_likelihood
        assert mean_is(outcome.exp().view(400, 16).sum(1), 1, 0.05)


class TestReduction:
    def pair(self, emission, on_input=1.0, on_hidden=1.0):
        """A VRNN with weights c W, c' U, and the VHRNN with W, U whose hyper networks say c, c'."""
        small, large = plain(emission), hyper(emission)
        shared = {k: v.clone() for k, v in small.state_dict().items() if k != "cell.bias"}
        missing, unexpected = large.load_state_dict(shared, strict=False)
        assert not unexpected
        assert all(name.startswith(("hyper.", "heads.", "rescale.")) for name in missing)
        gates = len(small.cell.bias)
        with torch.no_grad():
            large.heads.weight.zero_()
            large.heads.bias[:gates] = on_input
            large.heads.bias[gates : 2 * gates] = on_hidden
            large.heads.bias[2 * gates :] = small.cell.bias
            for parameter in large.rescale.parameters():
                parameter.zero_()
            large.rescale[-1].bias[: len(large.rescale[-1].bias) // 2] = 1
            small.cell.weight_input.mul_(on_input)
            small.cell.weight_hidden.mul_(on_hidden)
        return small, large

    @pytest.mark.parametrize("emission", EMISSIONS)
    @pytest.mark.parametrize("constants", [(1.0, 1.0), (0.7, 0.7), (-1.5, 0.4)])
    def test_a_vhrnn_of_constant_scales_is_a_vrnn(self, emission, constants):
        small, large = self.pair(emission, *constants)
        x, noise = frames(small, 5, 6), normal(6, 3, Z, seed=1)
        pair = (trace(m, x[0], noise)._replace(scales=noise) for m in (small, large))
        close(*pair, rtol=1e-12, atol=1e-12)
        lengths = torch.tensor([6, 1, 3, 6, 5])
        for rule in RULES:
            first, second = (bound(m, x, lengths, 4, rule, rng()) for m in (small, large))
            close(first.log_likelihood, second.log_likelihood, rtol=1e-12, atol=0)
            close(first.ess, second.ess, rtol=1e-10, atol=0)
            expected = gradients(small, first.log_likelihood.sum())
            outcome = gradients(large, second.log_likelihood.sum())
            expected["cell.weight_input"] = expected["cell.weight_input"] * constants[0]
            expected["cell.weight_hidden"] = expected["cell.weight_hidden"] * constants[1]
            outcome["cell.bias"] = outcome["heads.bias"].chunk(3)[2]
            for name, gradient in expected.items():
                close(outcome[name], gradient, rtol=1e-11, atol=1e-11 * float(gradient.abs().max()))


class TestBound:
    @pytest.mark.parametrize("make", MODELS)
    def test_it_is_what_the_traces_say(self, make):
        """Each sequence of a padded batch alone, and ELBO, IWAE from its increments."""
        model, lengths = make(), torch.tensor([5, 1, 3])
        x = frames(model, 3, 5)
        for n_particles in (1, 4):
            noise = per_step_noise(5, 3 * n_particles, Z).unflatten(1, (3, n_particles))
            outcome = bound(model, x, lengths, n_particles, "never", rng()).log_likelihood
            for b, n in enumerate(lengths.tolist()):
                log_w = trace(model, x[b, :n], noise[:n, b]).log_alpha.sum(0)
                alone = torch.logsumexp(log_w, 0) - math.log(n_particles)
                close(outcome[b].detach(), alone, rtol=1e-11, atol=0)

    @pytest.mark.parametrize("n_steps", [8, 9])  # as many as are compiled as one, and one more
    @pytest.mark.parametrize("rule", ["ess", "never"])
    def test_several_steps_per_call_are_what_single_ones_are(self, monkeypatch, n_steps, rule):
        """What is handed to the compiler, not compiled here: `make bench` does that."""
        calls, values = [], []

        def steps(*arguments):
            calls.append(arguments)
            return particles._several_steps(*arguments)

        monkeypatch.setattr(particles, "_compiled_steps", lambda: steps)
        model, lengths = hyper(), n_steps - torch.arange(6) % 3
        x = frames(model, 6, n_steps)
        for compiled in (False, True):
            result = bound(model, x, lengths, 4, rule, rng(), compiled=compiled)
            slopes = gradients(model, result.log_likelihood.sum())
            values.append([result.log_likelihood, result.ess, *slopes.values()])
        close(*values, rtol=1e-10, atol=1e-10)
        assert len(calls) == math.ceil(n_steps / particles.STEPS_PER_CALL)
        strides = {tuple(v.stride() for v in arguments[3:5]) for arguments in calls}
        assert len(strides) == 1

    @pytest.mark.parametrize("make", [*MODELS, *cases(deterministic)])
    def test_each_step_has_gradients_from_all_before_and_none_after(self, make):
        model = make()
        x = frames(model, 1, 4).requires_grad_()
        up_to = [log_likelihood(model, x, torch.tensor([t])) for t in range(1, 5)]
        for t in range(4):
            log_p = up_to[t] - (up_to[t - 1] if t else 0)
            (slope,) = torch.autograd.grad(log_p.sum(), x, retain_graph=True)
            assert (slope[0, t + 1 :] == 0).all()
            assert (slope[0, : t + 1].abs().max(1).values > 0).all()

    @pytest.mark.parametrize("make", [plain, hyper])
    def test_sequences_that_explode_stay_finite(self, make):
        model = make("gaussian")
        growing = 10.0 ** torch.arange(15, dtype=torch.float64)[:, None]
        x = (growing * torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)).repeat(3, 1, 1)
        assert float(x.max()) == 1e14
        outcome = bound(model, x, full(x), 4, "ess", rng())
        assert torch.isfinite(outcome.log_likelihood).all()
        assert torch.isfinite(outcome.ess).all()
        slopes = gradients(model, outcome.log_likelihood.sum())
        assert all(slope.isfinite().all() for slope in slopes.values())

    @pytest.mark.parametrize("device", DEVICES)
    @pytest.mark.parametrize("rule", RULES)
    def test_more_particles_help(self, rule, device):
        """ELBO below IWAE and FIVO of 16 particles, by a paired difference; also on a GPU."""
        model = VariationalHyperRNN(X, Z, H, W, "gaussian").double()
        x = frames(model, 600, 6).to(device)
        model = model.to(device)
        lengths = full(x).to(device)
        with torch.no_grad():
            one, sixteen = (bound(model, x, lengths, n, rule, rng(0, device)) for n in (1, 16))
        gain = (sixteen.log_likelihood - one.log_likelihood).cpu()
        assert gain.mean() > 4 * gain.std() / math.sqrt(len(gain))


class TestMissing:
    @pytest.mark.parametrize("make", FOUR)
    def test_what_was_not_seen_is_left_out(self, make):
        model = make()
        x, noise = frames(model, 1, 5), per_step_noise(5, 1, Z)
        observed = torch.rand(1, 5, X, generator=rng(3)) > 0.4
        observed[0, 2] = False  # a step without any reading
        holes = x.masked_fill(~observed, math.nan)
        outcome = bound(model, holes, full(x), 1, "never", rng(), observed_mask=~holes.isnan())
        expected = by_hand(model, x[0], noise[:, 0], observed[0]).log_alpha.sum()
        close(outcome.log_likelihood[0], expected, rtol=1e-9, atol=0)
        for name, gradient in gradients(model, outcome.log_likelihood.sum()).items():
            assert torch.isfinite(gradient).all(), name
        values = [
            bound(model, part, full(x), 3, "ess", rng(), observed_mask=mask).log_likelihood
            for part, mask in (
                (x, observed),
                (torch.where(observed, x, 1 - x), observed),  # what is not seen changes nothing
                (x, torch.ones_like(observed)),
                (x, None),
            )
        ]
        assert torch.equal(values[0], values[1])
        assert torch.equal(values[2], values[3])
        assert not torch.allclose(values[0], values[2])

    @pytest.mark.parametrize("observed", [None, torch.ones(2, 4, X, dtype=torch.bool)])
    def test_nan_where_a_value_was_seen_says_how_to_leave_it_out(self, observed):
        model = hyper()
        x = frames(model, 2, 4)
        x[1, 2, 0] = math.nan
        with pytest.raises(ValueError, match=r"observed_mask=~isnan\(x\)"):
            bound(model, x, full(x), 2, "ess", rng(), observed_mask=observed)
        with pytest.raises(ValueError, match="NaN"):
            trace(model, x[1], normal(4, 1, Z))


SEQUENCES = normal(2, 4, X)
REFUSED = {
    "3": {"x": normal(2, 4, X + 1)},
    "x must be": {"x": normal(4, X)},
    "length": [{"lengths": torch.tensor(values)} for values in ([4, 0], [5, 4], [4])],
    "n_particles": {"n_particles": 0},
    "never.*ess.*always": {"resample": "sometimes"},
    "observed_mask": [
        {"observed_mask": torch.ones(2, 4, dtype=torch.bool)},
        {"observed_mask": torch.ones(2, 4, X)},
    ],
    r"\[0, 1\]": {"model": hyper("bernoulli"), "x": 2 * torch.ones(2, 4, X).double()},
}
test_bound_says_what_does_not_fit = refuses(
    REFUSED, bound, model=hyper(), x=SEQUENCES, lengths=full(SEQUENCES), n_particles=2,
    resample="ess", generator=rng(),
)  # fmt: skip
test_trace_says_what_does_not_fit = refuses(
    {
        "noise": [
            {"noise": noise} for noise in (normal(3, 2, Z), normal(4, 2, Z + 1), normal(4, Z))
        ],
        "x must be": {"x": normal(4, X + 1)},
    },
    trace,
    model=hyper(),
    x=normal(4, X),
    noise=normal(4, 2, Z),
)
PLAIN, HYPER = partial(VariationalRNN, X, Z, H), partial(VariationalHyperRNN, X, Z, H, W)
FIXED = partial(DeterministicHyperRNN, X, H, layers=1, width=2)
test_unknown_parts_are_answered_with_those_there_are = refuses(
    {
        "gaussian.*bernoulli.*poisson": [
            partial(kind, emission="poisson")
            for kind in (PLAIN, HYPER, partial(FIXED, components=2))
        ],
        "both.*latent.*hidden.*weather": partial(HYPER, "gaussian", hyper_input="weather"),
        "at least 1": [
            partial(FIXED, emission="gaussian", components=0),
            *(
                partial(VariationalHyperRNN, *sizes, "gaussian")
                for sizes in ((0, Z, H, W), (X, 0, H, W), (X, Z, 0, W), (X, Z, H, 0))
            ),
        ],
    }
)


DEVIATIONS = (0.25, 1.0, 4.0)


def log_path(x, matrix, deviations):
    """log p(x_t | x_{t-1}) (T - 1,) for one W and one sigma a step."""
    error = x[1:] - x[:-1] @ matrix.T
    sigma = torch.as_tensor(deviations, dtype=torch.float64)
    return -0.5 * error.square().sum(-1) / sigma**2 - 2 * sigma.log() - math.log(2 * math.pi)


def schedules(steps, n_deviations=3, switches=2):
    """All (T - 1,) lists of places among the deviations, for steps 1..T-1; each is as likely."""
    for when in itertools.combinations(range(1, steps), switches):
        for path in itertools.product(range(n_deviations), repeat=switches + 1):
            if all(a != b for a, b in itertools.pairwise(path)):
                yield [path[sum(w <= t for w in when)] for t in range(1, steps)]


@pytest.fixture(scope="module")
def system():
    return synthetic.switching_dynamics(400, seed=0, suite="test", n_steps=50)


class TestOracle:
    def test_it_is_the_sum_over_all_schedules(self):
        matrices, x = normal(2, 2, 2), normal(4, 5, 2, seed=1)
        every = list(schedules(5))
        assert len(every) == 6 * 12
        outcome = oracle(x, matrices)
        for b in range(4):
            paths = torch.stack(
                [
                    torch.stack([log_path(x[b], w, [DEVIATIONS[i] for i in s]) for s in every])
                    for w in matrices
                ]
            )  # (K, schedules, T - 1)
            joint = paths.cumsum(-1).logsumexp(1) - math.log(2 * len(every) * 4)  # (K, T - 1)
            total = joint.logsumexp(0)
            assert abs(float(outcome.log_likelihood[b] - total[-1])) < 1e-10
            expected = torch.cat([total.new_full((1,), -math.log(4)), total])
            steps = outcome.per_step[b]
            close(steps.cumsum(0), expected, rtol=0, atol=1e-10)
            posterior = (joint - total).exp().T
            close(outcome.posterior[b, 1:], posterior, rtol=0, atol=1e-10)
        assert (outcome.posterior[:, 0] - 0.5).abs().max() < 1e-12

    @pytest.mark.parametrize("switches", [0, 1, 3])
    def test_any_number_of_switches(self, switches):
        matrices, x = normal(3, 2, 2), normal(1, 6, 2, seed=1)
        deviations = (0.5, 2.0)
        every = list(schedules(6, 2, switches))
        paths = torch.stack(
            [log_path(x[0], w, [deviations[i] for i in s]).sum() for w in matrices for s in every]
        )
        expected = paths.logsumexp(0) - math.log(len(paths) * 4)
        outcome = oracle_log_likelihood(x, matrices, deviations, switches)
        assert abs(float(outcome - expected)) < 1e-10

    def test_value_of_the_specification(self, system):
        """-3.10 nats per step at T = 50, over 400 sequences; no more than what the truth says."""
        x, matrices = system.observations, system.matrices
        outcome = oracle(x, matrices)
        per_step = outcome.log_likelihood / 50
        error = float(per_step.std()) / math.sqrt(400)
        assert abs(float(per_step.mean()) + 3.10) < 0.07 + 4 * error
        close(outcome.per_step.sum(1), outcome.log_likelihood)
        paths = [
            log_path(x[b], matrices[int(system.which[b, 1])], system.deviation[b, 1:]).sum()
            for b in range(len(x))
        ]
        cost = torch.stack(paths) - math.log(4) - outcome.log_likelihood
        assert cost.mean() > 4 * cost.std() / math.sqrt(400)
        # One past among K C(49, 2) 12 can cost no more than its prior probability.
        n_pasts = len(matrices) * math.comb(49, 2) * 12
        assert (cost <= math.log(n_pasts) + 1e-9).all()

    def test_posterior_sums_to_one_and_finds_the_matrix(self, system):
        outcome = oracle(system.observations, system.matrices).posterior
        assert outcome.shape == (400, 50, len(system.matrices))
        assert (outcome.sum(-1) - 1).abs().max() < 1e-12
        right = outcome.gather(-1, system.which[:, 1:2, None].expand(-1, 50, -1))[..., 0]
        assert right[:, -1].mean() > 0.8
        # A calibrated posterior: what it gives the truth is on average what it gives itself.
        gap = right[:, -1] - outcome[:, -1].square().sum(-1)
        assert abs(float(gap.mean())) < 4 * float(gap.std()) / 20 + 1e-9

    def test_far_values_stay_finite(self):
        x = torch.tensor([[0.5, 0.5], [1e14, 1e14], [1e14, 0.0], [1.0, 1e14]]).double()[None]
        outcome = oracle(x, normal(3, 2, 2))
        assert torch.isfinite(outcome.per_step).all()
        assert (outcome.posterior.sum(-1) - 1).abs().max() < 1e-12


MATRICES = normal(2, 2, 2)
test_oracle_says_what_does_not_fit = refuses(
    {
        "x": [partial(oracle, x, MATRICES) for x in (normal(4, 5, 3), normal(5, 2))],
        "matrices": partial(oracle, normal(4, 5, 2), normal(2, 2, 3)),
        "switches": partial(oracle, normal(4, 2, 2), MATRICES),
    }
)


class TestDeterministic:
    def test_all_bernoulli_sequences_together_have_probability_one(self):
        every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6))).double().view(64, 3, 2)
        total = deterministic("bernoulli", x=2)(every, full(every)).exp().sum()
        assert abs(float(total) - 1) < 1e-12

    def test_the_density_integrates_to_one(self):
        """Two steps of one number, by the trapezium rule; a first step alone, too."""
        model, grid = deterministic(x=1), torch.linspace(-24, 24, 241, dtype=torch.float64)
        pairs = torch.cartesian_prod(grid, grid)[..., None]
        with torch.no_grad():
            joined = model(pairs, full(pairs)).exp().sum() * 0.2**2
            first = model(grid[:, None, None], full(grid[:, None])).exp().sum() * 0.2
        assert abs(float(first) - 1) < 1e-3
        assert abs(float(joined) - 1) < 1e-3

    def test_missing_values(self):
        model, lengths = deterministic(), torch.tensor([4, 1, 2])
        x, observed = frames(model, 3, 4), torch.rand(3, 4, X, generator=rng(2)) > 0.4
        holes = x.masked_fill(~observed, math.nan)
        some = model(holes, lengths, observed)
        assert torch.equal(some, model(torch.where(observed, x, 1 - x), lengths, observed))
        with pytest.raises(ValueError, match=r"observed_mask=~isnan\(x\)"):
            model(holes, lengths)
