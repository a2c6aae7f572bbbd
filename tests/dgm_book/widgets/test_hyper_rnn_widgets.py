"""The weights of variational recurrent networks, and the widgets that follow a switching system."""

import itertools
import math

import numpy as np
import pytest
import torch
from ipywidgets import embed
from traitlets import TraitError

from dgm.data.dynamics import dynamics_matrices
from dgm.papers.variational_hyper_rnn import (
    VariationalHyperRNN,
    VariationalRNN,
    first_scales,
    oracle,
    trace,
)
from dgm_book.widgets import switching
from dgm_book.widgets.hyper_weights import GOLDEN, HyperWeights, normals, uniforms
from dgm_book.widgets.scale_weather import ScaleWeather
from dgm_book.widgets.switch_now import SwitchNow

MATRICES = dynamics_matrices().numpy()
SCHEDULE = [[0, 0, 1.0], [7, 3, 1.0], [15, 3, 4.0]]


def shaken(kind, *sizes, seed=0, by=0.25, **options):
    """Return a model whose parameters, and input mean, are moved away from where they start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(*sizes, **options)
        with torch.no_grad():
            for parameter in [*model.parameters(), model.input_mean]:
                parameter.add_(by * torch.randn(parameter.shape))
    return model.eval().requires_grad_(False)


def arrays(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def given(model, **changes):
    made = {"kind": "vrnn", "emission": model.emission, "state": arrays(model)}
    if isinstance(model, VariationalHyperRNN):
        reads = (model.reads_z > 0, model.reads_h > 0)
        made["hyper_input"] = {(1, 1): "both", (1, 0): "latent", (0, 1): "hidden"}[reads]
        made["kind"] = "vhrnn"
    return made | {"sigma_min": model.sigma_min} | changes


def small():
    hyper = shaken(VariationalHyperRNN, 2, 4, 4, 12, "gaussian", 2)
    plain = shaken(VariationalRNN, 2, 8, 8, "gaussian", 2, seed=1)
    return {"VHRNN": hyper, "VRNN": plain}


def weights(**changes):
    return HyperWeights({name: given(model) for name, model in small().items()} | changes)


def piano():
    return shaken(VariationalHyperRNN, 88, 28, 14, 18, "bernoulli", hyper_input="latent", by=0.1)


MODELS = {
    "both": lambda: small()["VHRNN"],
    "VRNN": lambda: small()["VRNN"],
    "hidden": lambda: shaken(
        VariationalHyperRNN, 3, 4, 5, 7, "gaussian", hyper_input="hidden", hyper_dim=3
    ),
    "latent": lambda: shaken(VariationalHyperRNN, 3, 4, 4, 7, "bernoulli", 2, hyper_input="latent"),
    "piano": piano,
}


# The weights


@pytest.mark.parametrize("name", MODELS)
def test_the_twin_of_the_page_is_pytorch(name):
    model = MODELS[name]()
    made = HyperWeights({"it": given(model)})
    kept = {key: torch.from_numpy(value) for key, value in made.rounded("it").items()}
    model.load_state_dict(kept)
    model = model.double()
    dice = np.random.default_rng(0)
    x = dice.normal(size=(12, model.x_dim))
    if model.emission == "bernoulli":
        x = (x > 0).astype(float)
    noise = dice.normal(size=(12, 6, model.z_dim))
    told = trace(model, torch.from_numpy(x), torch.from_numpy(noise))
    found = made.trace("it", x, noise)
    for key in GOLDEN:
        # PyTorch's softplus is the identity above 20.
        np.testing.assert_allclose(getattr(found, key), getattr(told, key), rtol=0, atol=1e-7)
    if name == "piano":
        assert made.header["models"][0]["tensors"]["heads.weight"].keys() >= {"scale"}
        assert len(made.data) < 60_000


def test_a_tiny_model_is_kept_and_a_larger_one_rounded_by_rows():
    tiny, large = small()["VHRNN"], piano()
    made = HyperWeights({"tiny": given(tiny), "large": given(large)})
    for key, values in arrays(tiny).items():
        np.testing.assert_array_equal(made.rounded("tiny")[key], values)
    for key, values in arrays(large).items():
        kept = made.rounded("large")[key]
        if values.ndim == 1:
            np.testing.assert_array_equal(kept, values)
            continue
        step = np.abs(values).max(1, keepdims=True) / 127
        assert (np.abs(kept - values) <= 0.5001 * step).all()
        assert (kept != values).any()


def test_what_travels_is_what_the_twin_computes_with():
    made = HyperWeights({"tiny": given(small()["VRNN"]), "large": given(piano())})
    for described in made.header["models"]:
        for key, t in described["tensors"].items():
            kind = np.int8 if "scale" in t else "<f4"
            found = np.frombuffer(made.data, kind, math.prod(t["shape"]), t["start"])
            if "scale" in t:
                scale = np.frombuffer(made.data, "<f4", t["shape"][0], t["scale"])
                found = found.reshape(t["shape"]) * scale[:, None]
            wanted = made.rounded(described["name"])[key]
            np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)


def test_wholly_frozen_at_constant_scales_a_vhrnn_is_the_vrnn():
    plain = shaken(VariationalRNN, 2, 4, 4, "gaussian", 2, seed=3)
    hyper = shaken(VariationalHyperRNN, 2, 4, 4, 12, "gaussian", 2, seed=4)
    shared = {k: v for k, v in arrays(plain).items() if k != "cell.bias"}
    state = arrays(hyper) | shared
    made = HyperWeights({"hyper": given(hyper, state=state), "plain": given(plain)})
    means = first_scales("lstm", 4).double().numpy()
    means[32:] = arrays(plain)["cell.bias"]
    decoder = np.repeat([1.0, 0.0], 2 * 4 + 4)
    frozen = {"freeze": 1, "means": np.concatenate([means, decoder])}
    dice = np.random.default_rng(0)
    x, noise = dice.normal(size=(9, 2)), dice.normal(size=(9, 5, 4))
    draws = {"draws": dice.uniform(size=(9, 5)), "prior_noise": dice.normal(size=noise.shape)}
    one = made.trace("hyper", x, noise, **draws, **frozen)
    other = made.trace("plain", x, noise, **draws)
    for key in ("z", "log_alpha", "kl", "h", "increment", "predicted_mean", "predicted_deviation"):
        np.testing.assert_allclose(getattr(one, key), getattr(other, key), rtol=0, atol=1e-12)
    half = made.trace("hyper", x[:1], noise[:1], freeze=0.5, means=frozen["means"])
    free = made.trace("hyper", x[:1], noise[:1])
    np.testing.assert_allclose(half.made, (free.made + frozen["means"]) / 2, atol=1e-12)


def test_the_filter_keeps_its_books():
    made, dice = weights(), np.random.default_rng(0)
    x, noise = 0.5 * dice.normal(size=(30, 2)), dice.normal(size=(30, 8, 4))
    free = made.trace("VHRNN", x, noise)
    total = np.logaddexp.reduce(free.log_alpha.cumsum(0), axis=1) - math.log(8)
    np.testing.assert_allclose(free.increment.cumsum(), total)
    alone = made.trace("VHRNN", x, noise[:, :1])
    np.testing.assert_allclose(alone.increment, alone.log_alpha[:, 0])
    found = made.trace("VHRNN", x, noise, draws=dice.uniform(size=(30, 8)))
    np.testing.assert_allclose(found.weights.sum(1), 1)
    np.testing.assert_allclose(found.ess, 1 / (found.weights**2).sum(1))
    renewed = found.ess <= 4
    assert 3 < renewed.sum() < 30
    # After resampling all weights were equal, so the next are its alone.
    for t in np.flatnonzero(renewed[:-1]):
        alpha = found.log_alpha[t + 1]
        assert found.increment[t + 1] == pytest.approx(np.logaddexp.reduce(alpha) - math.log(8))
        assert found.mean_kl[t + 1] == pytest.approx(found.kl[t + 1].mean())


def test_resampling_takes_all_of_a_state_along():
    made, dice = weights(), np.random.default_rng(0)
    x, noise = 0.5 * dice.normal(size=(12, 2)), dice.normal(size=(12, 8, 4))
    draws = np.ones((12, 8))
    draws[5] = 0  # all from the first particle, from here on with the same noise
    noise[6:] = noise[6:, :1]
    found = made.trace("VHRNN", x, noise, draws=draws)
    assert found.ess[5] <= 4
    assert np.ptp(found.h[5], axis=0).max() > 0.01
    for values in (found.h, found.made, found.log_alpha, found.kl):
        assert np.ptp(values[6:], axis=1).max() == 0


def test_the_page_s_random_numbers():
    def by_hand(seed, stream, t, i):
        def mix(x):
            x = ((x ^ x >> 16) * 0x85EBCA6B) % 2**32
            x = ((x ^ x >> 13) * 0xC2B2AE35) % 2**32
            return x ^ x >> 16

        key = mix(seed + 1)
        for part in (stream, t):
            key = mix((key * 0x9E3779B1 + part + 1) % 2**32)
        return mix((key + (i + 1) * 0x9E3779B1) % 2**32) / 2**32

    found = uniforms((3, 2), 7, 2, 900)
    assert found.ravel().tolist() == [by_hand(7, 2, 900, i) for i in range(6)]
    many = np.stack(
        [normals((9,), seed, s, t) for seed in range(20) for s in range(5) for t in range(20)]
    )
    assert abs(many.mean()) < 0.02
    assert many.std() == pytest.approx(1, abs=0.02)
    assert len(np.unique(many)) == many.size


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "gan"}, "kind='gan', want one of vrnn, vhrnn"),
        ({"emission": "poisson"}, "emission='poisson', want one of gaussian, bernoulli"),
        ({"hyper_input": "all"}, "hyper_input='all', want one of both, latent, hidden"),
        ({"cell": "gru"}, "cell='gru', but the page computes 'lstm' only"),
        ({"sigma_min": 0}, "sigma_min=0.0, want above 0"),
        ({"layers": 3}, "layers=3, but its decoder has 2"),
        ({"colour": 1}, "unknown \\['colour'\\]"),
        ({"kind": "vrnn"}, "no part of a vrnn|lacks cell.bias"),
        ({"emission": "bernoulli"}, "decoder.4.weight has shape \\(4, 4\\), want \\(2, 4\\)"),
        ({"hyper_input": "latent"}, "want \\(16, 4\\)|want \\(12, 4\\)"),
    ],
)
def test_a_wrong_description_is_told(change, said):
    with pytest.raises(ValueError, match=said):
        HyperWeights({"it": given(small()["VHRNN"], **change)})


@pytest.mark.parametrize(
    ("key", "array", "said"),
    [
        ("heads.bias", None, "lacks heads.bias"),
        ("cell.weight_hidden", None, "lacks cell.weight_hidden"),
        ("prior.0.weight", None, "prior"),
        ("prior.2.bias", None, "lacks prior.2.bias"),
        (
            "prior.0.weight",
            np.zeros((4, 3)),
            "prior.0.weight has shape \\(4, 3\\), want \\(4, 4\\)",
        ),
        ("hyper.bias", np.zeros(15), "hyper.bias has shape \\(15,\\), want \\(16,\\)"),
        ("input_mean", np.array([0, np.nan]), "input_mean holds values that are not finite"),
        ("extra", np.zeros(2), "extra is no part of a vhrnn"),
    ],
)
def test_a_wrong_tensor_is_told(key, array, said):
    state = arrays(small()["VHRNN"]) | {key: array}
    if array is None:
        del state[key]
    with pytest.raises(ValueError, match=said):
        HyperWeights({"it": given(small()["VHRNN"], state=state)})


def test_other_wrong_weights_are_told():
    with pytest.raises(ValueError, match="at least one"):
        HyperWeights({})
    with pytest.raises(ValueError, match="lacks \\['emission', 'state'\\]"):
        HyperWeights({"it": {"kind": "vrnn"}})
    with pytest.raises(ValueError, match="a page holds at most 300000"):
        HyperWeights({"it": given(VariationalRNN(88, 160, 160, "bernoulli"))})
    one = {"it": given(small()["VHRNN"])}
    with pytest.raises(ValueError, match="golden names \\['other'\\]"):
        HyperWeights(one, golden={"other": {}})
    with pytest.raises(ValueError, match="want x, noise and some of"):
        HyperWeights(one, golden={"it": {"x": np.zeros((3, 2))}})
    golden = {"x": np.zeros((3, 2)), "noise": np.zeros((3, 5, 4)), "kl": np.zeros((3, 4))}
    with pytest.raises(ValueError, match="golden kl of 'it' has shape \\(3, 4\\), want \\(3, 5\\)"):
        HyperWeights(one, golden={"it": golden})
    made = HyperWeights(one)
    x, noise = np.zeros((3, 2)), np.zeros((3, 5, 4))
    for arguments, options, said in [
        (("that", x, noise), {}, "no model 'that'"),
        (("it", x[:, :1], noise), {}, "x has shape \\(3, 1\\), want \\(T, 2\\)"),
        (("it", x, noise[:2]), {}, "want \\(3, N, 4\\)"),
        (("it", x, noise), {"prior_noise": noise[:, :2]}, "prior_noise has shape"),
        (("it", x, noise), {"draws": np.zeros((3, 4))}, "want \\(3, 5\\)"),
        (("it", x, noise), {"freeze": 1.5}, "want a share from 0 to 1"),
        (("it", x, noise), {"freeze": 1.0}, "means have shape"),
    ]:
        with pytest.raises(ValueError, match=said):
            made.trace(*arguments, **options)


# The system and exact Bayes


def test_the_system_does_as_its_schedule_says():
    course = switching.simulate(MATRICES, SCHEDULE, 20, 5, 60.0)
    assert course.which.tolist() == [0] * 7 + [3] * 13
    assert course.sigma.tolist() == [1.0] * 15 + [4.0] * 5
    assert course.fresh.tolist() == [True] + [False] * 19
    assert (np.abs(course.x[0]) <= 1).all()
    for t in range(1, 20):
        noise = course.x[t] - MATRICES[course.which[t]] @ course.x[t - 1]
        np.testing.assert_allclose(noise, course.sigma[t] * normals((2,), 5, 0, t), atol=1e-12)


def test_what_grows_without_end_starts_anew():
    course = switching.simulate(1.5 * np.array([np.eye(2)] * 2), [[0, 0, 1.0]], 60, 0, 20.0)
    anew = np.flatnonzero(course.fresh)
    assert len(anew) > 3
    for t in anew[1:]:
        assert np.abs(course.x[t - 1]).max() > 20
        assert np.abs(course.x[t]).max() <= 1
    assert np.isfinite(course.x).all()


def test_exact_bayes_is_the_sum_over_all_pasts():
    matrices, sigmas, hazard = MATRICES[:3], [0.5, 2.0], 0.1
    course = switching.simulate(matrices, [[0, 1, 0.5], [2, 2, 2.0]], 4, 3, 60.0)
    posterior, increments = switching.exact_bayes(course, matrices, sigmas, hazard)
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
                p *= np.exp(-0.5 * residual @ residual / sigmas[j] ** 2)
                p /= 2 * np.pi * sigmas[j] ** 2
            by_matrix[path[-1][0]] += p
        assert increments[:n_steps].sum() == pytest.approx(math.log(by_matrix.sum()), abs=1e-10)
        np.testing.assert_allclose(posterior[n_steps - 1], by_matrix / by_matrix.sum(), atol=1e-10)


def test_without_changes_exact_bayes_is_the_chapter_s_oracle():
    course = switching.simulate(MATRICES, [[0, 4, 1.0]], 25, 1, 1e6)
    posterior, increments = switching.exact_bayes(course, MATRICES, [0.25, 1.0, 4.0], 1e-300)
    told = oracle(torch.from_numpy(course.x)[None], torch.from_numpy(MATRICES), switches=0)
    np.testing.assert_allclose(increments, told.per_step[0], atol=1e-8)
    np.testing.assert_allclose(posterior, told.posterior[0], atol=1e-8)


def test_a_model_follows_each_piece_from_a_zero_state():
    matrices = np.array([1.5 * np.eye(2), np.eye(2)])
    course = switching.simulate(matrices, [[0, 0, 1.0]], 30, 0, 20.0)
    whole = switching.follow(weights(), "VHRNN", course, 6, 2)
    start = int(np.flatnonzero(course.fresh)[1])
    noise = np.stack([normals((6, 4), 2, switching.POSTERIOR, start)])
    first = weights().trace("VHRNN", course.x[start : start + 1], noise)
    np.testing.assert_allclose(whole.z[start], first.z[0], atol=1e-12)
    assert len(whole.z) == 30


# The widgets


def test_what_a_switch_widget_replays():
    made = SwitchNow(weights(), MATRICES, n_particles=8)
    assert made.models == ["VHRNN", "VRNN"]
    assert made.schedule[1][0] == 30
    assert made.schedule[0][1] != made.schedule[1][1]
    radius = np.abs(np.linalg.eigvals(MATRICES)).max(1)
    assert all(radius[which] < 1 for _, which, _ in made.schedule)
    before = made.replay()
    made.steps = 70
    made.schedule = [*made.schedule, [60, 5, 4.0]]
    after = made.replay()
    assert after["posterior"].shape == (70, 10)
    for name in made.models:
        old, new = before["traces"][name], after["traces"][name]
        np.testing.assert_array_equal(old.increment, new.increment[:60])
    np.testing.assert_array_equal(before["exact"], after["exact"][:60])
    made.seed = 1
    assert (made.replay()["course"].x != after["course"].x).all()


def test_what_a_weather_widget_replays():
    made = ScaleWeather(weights(), MATRICES, steps=40)
    free, half, whole = made.replay(), made.replay(0.5), made.replay(1)
    assert free.made.shape == (40, 16, 48 + 2 * 12)
    assert np.ptp(free.scales, axis=(0, 1)).max() > 0.01
    assert np.ptp(whole.made, axis=(0, 1)).max() < 1e-12
    found = [run.increment.mean() for run in (free, half, whole)]
    assert len({round(v, 6) for v in found}) == 3
    made.freeze = 0.5
    np.testing.assert_array_equal(made.replay().increment, half.increment)


@pytest.mark.parametrize(
    ("options", "said"),
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
        ({"steps": 0}, "steps=0: want 1 to 10000"),
        ({"speed": 90}, "speed=90: want 1 to 30"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_a_wrong_switch_widget_is_told(options, said):
    with pytest.raises((ValueError, TraitError), match=said):
        SwitchNow(**{"weights": weights(), "matrices": MATRICES} | options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "VRNN"}, "want a vhrnn"),
        ({"steps": 5}, "steps=5: want 20 to 200"),
        ({"n_particles": 0}, "n_particles=0"),
        ({"freeze": 0.03}, "multiple of 0.05"),
        ({"freeze": 1.05}, "from 0 to 1"),
        ({"seed": 10_000}, "seed=10000"),
    ],
)
def test_a_wrong_weather_widget_is_told(options, said):
    with pytest.raises(ValueError, match=said):
        ScaleWeather(**{"weights": weights(), "matrices": MATRICES} | options)


def test_models_that_do_not_fit_a_widget_are_told():
    alone = HyperWeights({"it": given(small()["VHRNN"])})
    with pytest.raises(ValueError, match="want a vhrnn and a vrnn"):
        SwitchNow(alone, MATRICES)
    pianos = HyperWeights({"piano": given(piano()), "VRNN": given(small()["VRNN"])})
    for make in (SwitchNow, ScaleWeather):
        with pytest.raises(ValueError, match="reads 88 numbers, bernoulli: want 2, gaussian"):
            make(pianos, MATRICES)


def test_the_freeze_takes_every_step_of_its_slider():
    made = ScaleWeather(weights(), MATRICES)
    for i in range(21):
        made.freeze = round(i / 20, 2)


def test_both_show_a_picture_where_there_is_no_page(mimebundle):
    mimebundle(lambda: SwitchNow(weights(), MATRICES, n_particles=4), 120_000)
    mimebundle(lambda: ScaleWeather(weights(), MATRICES, n_particles=4, freeze=0.5), 120_000)


def test_one_object_serves_both_and_the_page_stays_small():
    shared = weights()
    both = [SwitchNow(shared, MATRICES), ScaleWeather(shared, MATRICES)]
    state = embed.dependency_state(both, drop_defaults=False)
    held = [one["state"] for one in state.values() if "header" in one["state"]]
    assert len(held) == 1
    assert len(shared.data) < 20_000
