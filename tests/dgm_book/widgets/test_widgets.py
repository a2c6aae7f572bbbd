import base64
import json
import re

import numpy as np
import pytest
from ipywidgets import embed
from traitlets import TraitError

from dgm_book.widgets import LatentSpace, PageWeights, RateDistortionExplorer


def network(inputs, outputs, hidden=256, seed=0):
    r = np.random.default_rng(seed)

    def layer(n, m, gain):
        return r.normal(size=(n, m)) * gain / np.sqrt(m), 0.1 * r.normal(size=n)

    return [
        (*layer(hidden, inputs, 1), "tanh"),
        (*layer(hidden, hidden, 1), "tanh"),
        (*layer(outputs, hidden, 3), "sigmoid"),
    ]


def run(layers, z):
    functions = {
        "tanh": np.tanh,
        "relu": lambda a: np.maximum(a, 0),
        "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
        "linear": lambda a: a,
    }
    for weight, bias, activation in layers:
        z = functions[activation](z @ weight.T + bias)
    return z


def small_weights():
    z = np.random.default_rng(1).normal(size=(4, 2))
    models = {"vae2": network(2, 16, hidden=8), "vae3": network(3, 16, hidden=8, seed=2)}
    return PageWeights(models, {"vae2": (z, run(models["vae2"], z))})


def curve(name="vae2", latent=2, betas=5, images=3, **changes):
    beta = np.geomspace(0.1, 10, betas)
    distortion = 8 / (1 + beta)
    rate = np.log1p(beta)
    codes = np.random.default_rng(3).normal(size=(betas, images, latent))
    made = {
        "model": name,
        "label": f"model {name}",
        "beta": beta,
        "rate": rate,
        "rate_error": 0.1 * rate,
        "distortion": distortion,
        "log_z": -rate - beta * distortion,
        "codes": codes,
    }
    return made | changes


def explorer(**changes):
    options = {
        "weights": small_weights(),
        "curves": [curve(), curve("vae3", 3, betas=3)],
        "image_shape": (4, 4),
    }
    return RateDistortionExplorer(**options | changes)


def plane(**changes):
    means = np.random.default_rng(4).normal(size=(30, 2))
    options = {
        "weights": small_weights(),
        "model": "vae2",
        "means": means,
        "labels": np.arange(30) % 3,
        "image_shape": (4, 4),
    }
    return LatentSpace(**options | changes)


# The weights


def test_a_quantised_network_stays_within_three_hundredths():
    layers = network(10, 784)
    z = np.random.default_rng(5).normal(size=(32, 10))
    weights = PageWeights({"vae10": layers}, {"vae10": (z, run(layers, z))})
    assert 0 < weights.error()["vae10"] < 0.03
    assert weights.header["vae10"]["golden"]["z"] <= 300_000


def test_rounding_together_on_codes_halves_the_squared_error():
    layers = network(10, 784)
    r = np.random.default_rng(4)
    z = r.normal(size=(200, 10))
    wanted = run(layers, z)
    one = PageWeights({"vae": layers})
    together = PageWeights({"vae": layers}, calibration={"vae": r.normal(size=(1500, 10))})
    errors = [np.square(w.decode("vae", z) - wanted).mean() for w in (one, together)]
    assert errors[1] < 0.5 * errors[0]
    assert len(one.data) == len(together.data)


@pytest.mark.parametrize("codes", [np.zeros((4, 3)), np.zeros((0, 2)), np.full((4, 2), np.nan)])
def test_bad_calibration_codes_are_refused(codes):
    with pytest.raises(ValueError, match="calibration codes of model 'vae'"):
        PageWeights({"vae": network(2, 16, hidden=8)}, calibration={"vae": codes})


def test_numbers_that_int8_holds_survive_the_round_trip():
    r = np.random.default_rng(6)
    exact = r.integers(-126, 127, size=(5, 3)).astype(float)
    exact[:, 0] = 127
    exact[4] = 0  # a row of zeros has no scale of its own
    bias = r.integers(-9, 9, size=5).astype(float)
    weights = PageWeights({"a": [(exact, bias, "linear")]})
    z = np.eye(3)
    np.testing.assert_allclose(weights.decode("a", z), z @ exact.T + bias)


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "linear"])
def test_each_activation_agrees_with_its_definition(activation):
    weight = np.array([[127.0], [-64.0]]) / 16
    z = np.linspace(-9, 9, 7)[:, None]
    weights = PageWeights({"a": [(weight, np.zeros(2), activation)]})
    expected = run([(weight, np.zeros(2), activation)], z)
    np.testing.assert_allclose(weights.decode("a", z), expected, atol=1e-5)


def test_the_error_sees_a_wrong_golden_vector():
    layers = network(2, 16, hidden=8)
    z = np.zeros((1, 2))
    x = run(layers, z)
    x[0, 3] += 0.5
    assert PageWeights({"a": layers}, {"a": (z, x)}).error()["a"] == pytest.approx(0.5, abs=0.03)


def broken(change):
    layers = network(2, 16, hidden=8)
    change(layers)
    return layers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n[1][0].__setitem__((0, 0), np.nan), r"model 'a', layer 1 holds values"),
        (lambda n: n.pop(1) and n.insert(1, network(3, 5)[0]), r"layer 1 reads 3 values.* gives 8"),
        (lambda n: n.__setitem__(0, (n[0][0], n[0][1][:4], "tanh")), r"\(8, 2\) and bias \(4,\)"),
        (lambda n: n.__setitem__(0, (*n[0][:2], "gelu")), r"'gelu' should be one of"),
        (lambda n: n.clear(), "has no layers"),
    ],
)
def test_broken_layers_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PageWeights({"a": broken(change)})


def test_a_model_too_large_for_a_page_is_refused():
    with pytest.raises(ValueError, match="at most 300000"):
        PageWeights({"a": network(10, 784, hidden=400)})


@pytest.mark.parametrize(
    ("golden", "message"),
    [
        ({"b": (np.zeros((1, 2)), np.zeros((1, 16)))}, "golden or calibration names"),
        ({"a": (np.zeros((1, 3)), np.zeros((1, 16)))}, r"\(G, 2\) and \(G, 16\)"),
        ({"a": (np.zeros((1, 2)), np.full((1, 16), np.nan))}, "not finite"),
    ],
)
def test_bad_golden_vectors_are_refused(golden, message):
    with pytest.raises(ValueError, match=message):
        PageWeights({"a": network(2, 16, hidden=8)}, golden)


def test_codes_of_the_wrong_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(5,\), model 'vae2' reads \(N, 2\)"):
        small_weights().decode("vae2", np.zeros(5))
    with pytest.raises(ValueError, match="no model 'vae9'"):
        small_weights().decode("vae9", np.zeros((1, 2)))


# What travels


@pytest.mark.parametrize("widget", [RateDistortionExplorer, LatentSpace])
def test_each_module_stands_alone_and_is_small(widget):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|https?://(?!www\.w3)", widget._esm, re.M
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]
    assert len(widget._esm.encode()) < 32_000


def test_the_loader_stays_under_five_kilobytes(pytestconfig):
    assert (pytestconfig.rootpath / "book/_static/widgets.js").stat().st_size < 5000


def test_two_widgets_share_one_copy_of_the_weights():
    weights = small_weights()
    widgets = [explorer(weights=weights), plane(weights=weights)]
    state = embed.dependency_state(widgets, drop_defaults=False)
    reference = f"IPY_MODEL_{weights.model_id}"
    assert [state[w.model_id]["state"]["weights"] for w in widgets] == [reference] * 2
    text = json.dumps(state, allow_nan=False)
    assert text.count(base64.b64encode(weights.data).decode()) == 1


@pytest.mark.parametrize("make", [explorer, plane])
def test_the_mimebundle_has_a_small_poster_and_a_stable_text(make, mimebundle):
    mimebundle(make, 40_000)


# The rate-distortion explorer


def test_the_explorer_starts_in_the_middle_and_knows_its_beta():
    widget = explorer()
    assert (widget.model, widget.beta_index) == ("vae2", 2)
    assert widget.beta == pytest.approx(1.0)


def test_what_the_page_sets_arrives_in_python():
    widget = explorer()
    seen = []
    widget.observe(lambda change: seen.append((change["name"], change["new"])))
    widget.set_state({"model": "vae3", "beta_index": 1})
    assert ("model", "vae3") in seen
    assert widget.beta == pytest.approx(1.0)
    widget.set_state({"beta_index": 2})
    assert ("beta_index", 2) in seen
    assert widget.beta == pytest.approx(10.0)


def test_a_shorter_curve_pulls_the_slider_back_inside():
    widget = explorer()
    widget.beta_index = 4
    widget.model = "vae3"
    assert widget.beta_index == 2


def test_values_out_of_range_are_refused():
    widget = explorer()
    with pytest.raises(ValueError, match=r"0 \.\.\. 4"):
        widget.beta_index = 5
    with pytest.raises(ValueError, match="no model 'gan'"):
        widget.model = "gan"
    assert (widget.model, widget.beta_index) == ("vae2", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": np.ones(5)}, "ascending"),
        ({"rate": np.ones(4)}, r"rate of 'vae2' should be 5 finite values"),
        ({"log_z": np.full(5, np.nan)}, r"log_z of 'vae2'"),
        ({"codes": np.zeros((5, 3, 9))}, r"should be \(5, n_images, 2\)"),
        ({"codes": np.full((5, 3, 2), np.inf)}, "not finite"),
        ({"model": "vae9"}, "no model 'vae9'"),
    ],
)
def test_a_bad_curve_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        explorer(curves=[curve(**changes)])


def without_codes(name="gan", **changes):
    return {key: value for key, value in curve(name, **changes).items() if key != "codes"}


def test_a_curve_may_come_without_its_decoder():
    widget = explorer(curves=[curve(), without_codes(betas=7)], references=np.ones((3, 16)))
    widget.model = "gan"
    assert widget.curves[1]["codes"] is None
    assert [len(axis.images) for axis in widget.poster().axes] == [0, 0]
    widget.model = "vae2"
    assert [len(axis.images) for axis in widget.poster().axes] == [0, 1]
    assert explorer(curves=[without_codes()]).codes == b""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"family": "VAE", "latent_dim": 2}, {}], "none has a family"),
        ([{"family": "VAE", "latent_dim": 2}, {"family": "GAN"}], "none has a family"),
        ([{"family": "VAE", "latent_dim": 2}] * 2, "two curves have the same family"),
        ([{"family": "VAE", "latent_dim": 3}, {"family": "GAN", "latent_dim": 3}], "reads 2"),
        ([{}, {"distortion": np.zeros(5)}], "above zero"),
    ],
)
def test_families_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        explorer(curves=[curve() | changes[0], without_codes() | changes[1]])


def test_a_curve_that_lacks_something_says_what():
    lacking = curve()
    del lacking["log_z"]
    with pytest.raises(ValueError, match=r"lacks \['log_z'\]"):
        explorer(curves=[lacking])


def test_a_wrong_image_shape_is_refused():
    with pytest.raises(ValueError, match=r"decodes to 16 pixels, image_shape \(5, 5\) has 25"):
        explorer(image_shape=(5, 5))
    with pytest.raises(ValueError, match=r"decodes to 16 pixels, image_shape \(5, 5\) has 25"):
        plane(image_shape=(5, 5))


def test_references_must_fit_the_images():
    assert len(explorer(references=np.ones((3, 16))).references) == 3 * 16 * 4
    with pytest.raises(ValueError, match=r"should be \(3, 16\)"):
        explorer(references=np.ones((2, 16)))


def test_only_the_first_eight_images_travel():
    widget = explorer(curves=[curve(images=50)])
    assert widget.curves[0]["codes"]["images"] == 8
    assert len(widget.codes) == 5 * 8 * 2 * 4


# The latent space


def test_the_plane_keeps_what_the_page_sets():
    widget = plane()
    widget.set_state({"z": [0.5, -1.25]})
    assert widget.z == [0.5, -1.25]


def test_the_plane_thins_many_points_evenly():
    means = np.arange(10_000, dtype=float).reshape(5000, 2)
    widget = plane(means=means, labels=np.arange(5000) // 2500)
    kept = np.frombuffer(widget.labels, np.uint8)
    assert len(kept) == 2000
    assert kept.mean() == pytest.approx(0.5, abs=0.001)


def test_classes_take_their_names():
    assert plane().classes == ["0", "1", "2"]
    assert plane(label_names=["ant", "bee", "cat"]).classes == ["ant", "bee", "cat"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "vae3"}, "3 latent dimensions, not two"),
        ({"means": np.zeros((30, 3))}, r"should be \(N, 2\)"),
        ({"means": np.full((30, 2), np.nan)}, "not finite"),
        ({"labels": np.zeros(29, int)}, "30 whole numbers"),
        ({"labels": np.zeros(30)}, "30 whole numbers"),
        ({"labels": np.arange(30)}, "at most 10"),
        ({"label_names": ["ant"]}, "1 names for labels"),
        ({"z": (np.nan, 0)}, "two finite numbers"),
    ],
)
def test_a_bad_plane_is_refused(changes, message):
    with pytest.raises((ValueError, TraitError), match=message):
        plane(**changes)
