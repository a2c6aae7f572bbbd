"""Weights of variational recurrent networks, the switching system's widgets, their reference."""

import itertools
import math

import hyper_rnn_pages as pages
import numpy as np
import pytest
import torch
from ipywidgets import embed
from traitlets import TraitError

from dgm.data.dynamics import dynamics_matrices
from dgm.nets.variational_rnn import initialise_heads
from dgm.papers.variational_hyper_rnn import (
    VariationalHyperRNN,
    VariationalRNN,
    bound,
    oracle,
    trace,
)
from dgm_book.widgets.hyper_weights import HyperWeights, rounded
from dgm_book.widgets.scale_weather import ScaleWeather
from dgm_book.widgets.switch_now import SwitchNow

MATRICES = dynamics_matrices().numpy()
SCHEDULE = [[0, 0, 1.0], [7, 3, 1.0], [15, 3, 4.0]]


def shaken(kind, *sizes, seed=0, by=0.25, **options):
    """A model whose parameters, and input mean, are moved away from where they start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(*sizes, **options)
        with torch.no_grad():
            for parameter in [*model.parameters(), model.input_mean]:
                parameter.add_(by * torch.randn(parameter.shape))
    return model.eval().requires_grad_(False)


def arrays(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def described(model, **changes):
    is_hyper = isinstance(model, VariationalHyperRNN)
    options = {"hyper_input": model.hyper_input} if is_hyper else {}
    kind = {"kind": "vhrnn" if is_hyper else "vrnn", "emission": model.emission}
    return kind | options | {"state": arrays(model), "sigma_min": model.sigma_min} | changes


def small():
    return {
        "VHRNN": shaken(VariationalHyperRNN, 2, 4, 4, 12, "gaussian", 2),
        "VRNN": shaken(VariationalRNN, 2, 8, 8, "gaussian", 2, seed=1),
    }


def piano():
    return shaken(VariationalHyperRNN, 88, 28, 14, 18, "bernoulli", hyper_input="latent", by=0.1)


def weights(**changes):
    return HyperWeights({name: described(model) for name, model in small().items()} | changes)


def golden(steps=3, n=5, **changes):
    x, noise = torch.zeros(steps, 2), torch.zeros(steps, n, 4)
    return {"x": x, "noise": noise, **trace(small()["VHRNN"], x, noise)._asdict()} | changes


class TestWeights:
    def test_a_tiny_model_stays_and_a_larger_one_is_rounded_by_rows(self):
        models = {"tiny": described(small()["VHRNN"]), "large": described(piano())}
        widget, page = HyperWeights(models), rounded(models)
        for model in widget.header["models"]:
            state = models[model["name"]]["state"]
            assert model["tensors"].keys() == state.keys()
            for key, values in state.items():
                array = page[model["name"]][key]
                np.testing.assert_array_equal(widget.array(model["tensors"][key]), array)
                if model["name"] == "tiny" or values.ndim == 1:
                    np.testing.assert_array_equal(array, values)
                else:
                    step = np.abs(values).max(1, keepdims=True) / 127
                    assert (np.abs(array - values) <= 0.5001 * step).all()
                    assert (array != values).any()
        assert len(widget.data) < 80_000

    def test_what_it_describes(self):
        sizes = {"x": 88, "z": 28, "h": 14, "k": 14}
        options = {"kind": "vhrnn", "emission": "bernoulli", "hyper_input": "latent"}
        widget = HyperWeights({"piano": described(piano())}, golden=None)
        assert widget.describe("piano").items() >= (sizes | options).items()
        with pytest.raises(ValueError, match="no model 'that'"):
            widget.describe("that")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"kind": "gan"}, "kind='gan', want one of vrnn, vhrnn"),
            ({"emission": "poisson"}, "emission='poisson', want one of gaussian, bernoulli"),
            ({"hyper_input": "all"}, "hyper_input='all', want one of both, latent, hidden"),
            ({"cell": "gru"}, "cell='gru', want one of lstm"),
            ({"sigma_min": 0}, "sigma_min=0.0, want above 0"),
            ({"colour": 1}, "unknown \\['colour'\\]"),
            ({"kind": "vrnn"}, "no part of a vrnn"),
            ({"emission": "bernoulli"}, "decoder.4.weight has shape \\(4, 4\\)"),
            ({"hyper_input": "latent"}, "has shape \\(16, 8\\)"),
        ],
    )
    def test_a_wrong_description_is_refused(self, change, message):
        with pytest.raises(ValueError, match=message):
            HyperWeights({"it": described(small()["VHRNN"], **change)})

    @pytest.mark.parametrize(
        ("key", "array", "message"),
        [
            ("heads.bias", None, "lacks \\['heads.bias'\\]"),
            ("prior.2.bias", None, "lacks \\['prior.2.bias'\\]"),
            ("prior.0.weight", np.zeros((4, 3)), "prior.0.weight has shape \\(4, 3\\)"),
            ("hyper.bias", np.zeros(15), "hyper.bias has shape \\(15,\\)"),
            ("input_mean", np.array([0, np.nan]), "input_mean holds values that are not finite"),
            ("extra", np.zeros(2), "extra is no part of a vhrnn"),
        ],
    )
    def test_a_wrong_tensor_is_refused(self, key, array, message):
        state = arrays(small()["VHRNN"]) | {key: array}
        if array is None:
            del state[key]
        with pytest.raises(ValueError, match=message):
            HyperWeights({"it": described(small()["VHRNN"], state=state)})

    @pytest.mark.parametrize(
        ("models", "vectors", "message"),
        [
            ({}, {}, "at least one"),
            ({"it": {"kind": "vrnn"}}, {}, "lacks \\['emission', 'state'\\]"),
            (None, {"other": {}}, "golden names \\['other'\\]"),
            (None, {"it": {"x": np.zeros((3, 2))}}, "want x, noise and some of"),
            (None, {"it": golden(kl=np.zeros((3, 4)))}, "kl has shape \\(3, 4\\)"),
            (None, {"it": golden(h=np.full((3, 5, 4), np.nan))}, "h holds values that are not"),
        ],
    )
    def test_other_wrong_weights_are_refused(self, models, vectors, message):
        models = {"it": described(small()["VHRNN"])} if models is None else models
        with pytest.raises(ValueError, match=message):
            HyperWeights(models, golden=vectors)

    def test_a_model_that_is_too_large_is_refused(self):
        with pytest.raises(ValueError, match="a page holds at most 300000"):
            HyperWeights({"it": described(VariationalRNN(88, 160, 160, "bernoulli"))})


class TestReference:
    """What the browser's tests compare the page with is right itself."""

    def test_wholly_frozen_at_constant_scales_a_vhrnn_is_the_vrnn(self):
        plain = shaken(VariationalRNN, 2, 4, 4, "gaussian", 2, seed=3)
        hyper = shaken(VariationalHyperRNN, 2, 4, 4, 12, "gaussian", 2, seed=4)
        shared = {k: v for k, v in plain.state_dict().items() if k != "cell.bias"}
        hyper.load_state_dict(shared, strict=False)
        heads = torch.nn.Linear(4, 48)
        initialise_heads(heads)
        means = torch.cat([heads.bias.detach(), torch.ones(12), torch.zeros(12)]).double()
        means[32:48] = plain.cell.bias
        x, noise = torch.randn(9, 2), torch.randn(9, 5, 4).double()
        draws, prior = torch.rand(9, 5).double(), torch.randn(9, 5, 4).double()
        ours, theirs = (
            pages.filter_sequence(model, x, noise, draws, prior)
            for model in (pages.frozen(hyper, 1, means), plain)
        )
        for a, b in zip(ours[:-1], theirs[:-1], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)

    def test_the_filter_is_the_bound(self):
        model = small()["VHRNN"].double()
        x, n = torch.randn(30, 2).double(), 8
        generator = torch.Generator().manual_seed(0)
        noise, draws = [], []
        for _ in range(30):
            noise.append(torch.randn(n, 4, generator=generator, dtype=torch.float64))
            draws.append(torch.rand(1, n, generator=generator, dtype=torch.float64)[0])
        result = pages.filter_sequence(model, x, torch.stack(noise), torch.stack(draws))
        expected = bound(model, x[None], torch.tensor([30]), n, "ess", generator.manual_seed(0))
        assert float(result.increment.sum()) == pytest.approx(float(expected.log_likelihood))
        assert (expected.ess <= 4).any()

    def test_the_page_s_random_numbers(self):
        def by_hand(seed, stream, t, i):
            def mix(x):
                x = ((x ^ x >> 16) * 0x85EBCA6B) % 2**32
                x = ((x ^ x >> 13) * 0xC2B2AE35) % 2**32
                return x ^ x >> 16

            key = mix(seed + 1)
            for part in (stream, t):
                key = mix((key * 0x9E3779B1 + part + 1) % 2**32)
            return mix((key + (i + 1) * 0x9E3779B1) % 2**32) / 2**32

        values = pages.uniforms((3, 2), 7, 2, 900).ravel().tolist()
        assert values == [by_hand(7, 2, 900, i) for i in range(6)]
        places = itertools.product(range(20), range(5), range(20))
        normals = torch.stack([pages.normals((9,), *place) for place in places])
        assert abs(float(normals.mean())) < 0.02
        assert float(normals.std()) == pytest.approx(1, abs=0.02)
        assert len(normals.unique()) == normals.numel()

    def test_the_system_follows_its_schedule_and_what_grows_starts_anew(self):
        course = pages.simulate(MATRICES, SCHEDULE, 20, 5, 60.0)
        assert course.which == [0] * 7 + [3] * 13
        assert course.sigma == [1.0] * 15 + [4.0] * 5
        assert course.fresh == [True] + [False] * 19
        course = pages.simulate(1.5 * np.array([np.eye(2)] * 2), [[0, 0, 1.0]], 60, 0, 20.0)
        starts = [t for t, fresh in enumerate(course.fresh) if fresh]
        assert len(starts) > 3
        assert all(course.x[t - 1].abs().max() > 20 for t in starts[1:])
        assert (course.x[starts].abs() <= 1).all()

    def test_exact_bayes_is_the_sum_over_all_pasts(self):
        matrices, sigmas, hazard = torch.from_numpy(MATRICES[:3]), (0.5, 2.0), 0.1
        course = pages.simulate(matrices, [[0, 1, 0.5], [2, 2, 2.0]], 4, 3, 60.0)
        posterior, increments = pages.exact_bayes(course, matrices, sigmas, hazard)
        places = list(itertools.product(range(3), range(2)))
        for n_steps in (2, 3, 4):
            by_matrix = np.zeros(3)
            for path in itertools.product(places, repeat=n_steps):
                p = 1 / 6 / 4
                for t in range(1, n_steps):
                    (k, j), (k_before, j_before) = path[t], path[t - 1]
                    p *= 1 - hazard if k == k_before else hazard / 2
                    p *= 1 - hazard if j == j_before else hazard
                    residual = course.x[t] - matrices[k] @ course.x[t - 1]
                    p *= math.exp(-0.5 * residual @ residual / sigmas[j] ** 2)
                    p /= 2 * math.pi * sigmas[j] ** 2
                by_matrix[path[-1][0]] += p
            expected = math.log(by_matrix.sum())
            assert float(increments[:n_steps].sum()) == pytest.approx(expected, abs=1e-10)
            share = by_matrix / by_matrix.sum()
            np.testing.assert_allclose(posterior[n_steps - 1], share, atol=1e-10)

    def test_without_changes_exact_bayes_is_the_chapter_s_oracle(self):
        course = pages.simulate(MATRICES, [[0, 4, 1.0]], 25, 1, 1e6)
        exact = pages.exact_bayes(course, MATRICES, (0.25, 1.0, 4.0), 1e-300)
        expected = oracle(course.x[None], torch.from_numpy(MATRICES), switches=0)
        torch.testing.assert_close(exact[0], expected.posterior[0], rtol=0, atol=1e-8)
        torch.testing.assert_close(exact[1], expected.per_step[0], rtol=0, atol=1e-8)


class TestWidgets:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"matrices": np.zeros((3, 2))}, "matrices have shape"),
            ({"matrices": np.zeros((13, 2, 2))}, "K from 2 to 12"),
            ({"matrices": np.full((3, 2, 2), np.nan)}, "finite"),
            ({"models": ["VHRNN"]}, "want two names"),
            ({"models": ["VHRNN", "that"]}, "no model 'that'"),
            ({"deviations": [1.0, 0.25]}, "ascend"),
            ({"deviations": []}, "ascend"),
            ({"schedule": [[3, 0, 1.0]]}, "times that ascend from 0"),
            ({"schedule": [[0, 11, 1.0]]}, "a place below 10"),
            ({"schedule": [[0, 0, 2.0]]}, "one of 0.25, 1.0, 4.0"),
            ({"n_particles": 0}, "n_particles=0: want 1 to 256"),
            ({"window": 500}, "window=500"),
            ({"hazard": 1.0}, "hazard=1"),
            ({"bound": 0.5}, "bound=0.5"),
            ({"steps": 0}, "steps=0"),
            ({"speed": 90}, "speed=90"),
            ({"seed": -1}, "seed=-1"),
        ],
    )
    def test_a_wrong_switch_widget_is_refused(self, options, message):
        with pytest.raises((ValueError, TraitError), match=message):
            SwitchNow(**{"weights": weights(), "matrices": MATRICES} | options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"model": "VRNN"}, "want a vhrnn"),
            ({"steps": 5}, "steps=5: want 20 to 200"),
            ({"n_particles": 0}, "n_particles=0"),
            ({"freeze": 0.03}, "multiple of 0.05"),
            ({"freeze": 1.05}, "from 0 to 1"),
            ({"seed": 10_000}, "seed=10000"),
        ],
    )
    def test_a_wrong_weather_widget_is_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            ScaleWeather(**{"weights": weights(), "matrices": MATRICES} | options)

    def test_models_that_do_not_fit_a_widget_are_refused(self):
        alone = HyperWeights({"it": described(small()["VHRNN"])})
        with pytest.raises(ValueError, match="want a vrnn"):
            SwitchNow(alone, MATRICES)
        pianos = HyperWeights({"piano": described(piano()), "VRNN": described(small()["VRNN"])})
        for make in (SwitchNow, ScaleWeather):
            with pytest.raises(ValueError, match="has 88 bernoulli outputs: want 2 gaussian"):
                make(pianos, MATRICES)

    def test_what_it_opens_with(self):
        widget = SwitchNow(weights(), np.array([1.5 * np.eye(2), 0 * np.eye(2), 0.5 * np.eye(2)]))
        assert widget.models == ["VHRNN", "VRNN"]
        assert widget.schedule == [[0, 1, 1.0], [30, 2, 1.0]]  # the first two that do not grow
        weather = ScaleWeather(weights(), MATRICES, steps=30)
        assert [row[0] for row in weather.schedule] == [0, 10, 20]
        for i in range(21):
            weather.freeze = round(i / 20, 2)

    def test_one_object_serves_both_and_the_page_stays_small(self):
        shared = weights()
        widgets = [SwitchNow(shared, MATRICES), ScaleWeather(shared, MATRICES)]
        state = embed.dependency_state(widgets, drop_defaults=False)
        assert sum("header" in entry["state"] for entry in state.values()) == 1
        assert len(shared.data) < 20_000
