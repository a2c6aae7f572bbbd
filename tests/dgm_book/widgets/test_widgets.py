import base64
import json
import re

import numpy as np
import pytest
import torch
from anywidget import AnyWidget
from ipywidgets import embed
from traitlets import TraitError

from dgm_book import widgets
from dgm_book.widgets import DamageLab, DrawADigit, LatentSpace, PageWeights, RateDistortionExplorer
from dgm_book.widgets.frame import FOLDER, BookWidget
from dgm_book.widgets.hashing import box_muller, mulberry32, murmur_mix
from dgm_book.widgets.packing import check_arrays, pack, rounded, unpack
from dgm_book.widgets.weights import ACTIVATIONS


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
    for weight, bias, activation in layers:
        z = ACTIVATIONS[activation](z @ weight.T + bias)
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
    options = {
        "model": name,
        "label": f"model {name}",
        "beta": beta,
        "rate": rate,
        "rate_error": 0.1 * rate,
        "distortion": distortion,
        "log_z": -rate - beta * distortion,
        "codes": codes,
    }
    return options | changes


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
    layers, z = network(10, 784), np.random.default_rng(5).normal(size=(32, 10))
    weights = PageWeights({"vae10": layers}, {"vae10": (z, run(layers, z))})
    assert 0 < np.abs(run(weights.layers("vae10"), z) - run(layers, z)).max() < 0.03
    assert weights.header["vae10"]["golden"]["z"] <= 300_000


def test_rounding_together_on_codes_halves_the_squared_error():
    layers = network(10, 784)
    r = np.random.default_rng(4)
    z = r.normal(size=(200, 10))
    nearest = PageWeights({"vae": layers})
    together = PageWeights({"vae": layers}, calibration={"vae": r.normal(size=(1500, 10))})
    errors = [
        np.square(run(w.layers("vae"), z) - run(layers, z)).mean() for w in (nearest, together)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert len(nearest.data) == len(together.data)


def test_numbers_that_int8_holds_survive_the_round_trip():
    r = np.random.default_rng(6)
    exact = r.integers(-126, 127, size=(5, 3)).astype(float)
    exact[:, 0] = 127
    exact[4] = 0  # a row of zeros has no scale of its own
    bias = r.integers(-9, 9, size=5).astype(float)
    ((weight, offset, activation),) = PageWeights({"a": [(exact, bias, "linear")]}).layers("a")
    np.testing.assert_array_equal(weight, exact)
    np.testing.assert_array_equal(offset, bias)
    assert activation == "linear"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_agrees_with_pytorch(name):
    x = np.linspace(-900, 900, 4001)
    expected = (getattr(torch, name) if name != "linear" else torch.clone)(torch.from_numpy(x))
    np.testing.assert_allclose(ACTIVATIONS[name](x), expected, atol=1e-7)


def test_golden_vectors_lie_where_the_header_says():
    layers, z = network(2, 16, hidden=8), np.random.default_rng(1).normal(size=(4, 2))
    weights = PageWeights({"a": layers}, {"a": (z, run(layers, z))})
    golden = weights.header["a"]["golden"]
    assert golden["count"] == 4
    stored = [
        weights.array({"shape": (4, n), "start": golden[k]}) for k, n in (("z", 2), ("x", 16))
    ]
    np.testing.assert_allclose(stored[0], z, rtol=1e-6)
    np.testing.assert_allclose(stored[1], run(layers, z), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n[1][0].__setitem__((0, 0), np.nan), r"model 'a', layer 1: weight holds"),
        (lambda n: n.pop(1) and n.insert(1, network(3, 5)[0]), r"layer 1: .*\(256, 3\).*D = 8"),
        (lambda n: n.__setitem__(0, (n[0][0], n[0][1][:4], "tanh")), r"bias has shape \(4,\)"),
        (lambda n: n.__setitem__(0, (*n[0][:2], "gelu")), r"'gelu' should be one of"),
        (lambda n: n.clear(), "has no layers"),
        (lambda n: n.__setitem__(slice(None), network(10, 784, hidden=400)), "at most 300000"),
    ],
)
def test_broken_layers_are_named(change, message):
    layers = network(2, 16, hidden=8)
    change(layers)
    with pytest.raises(ValueError, match=message):
        PageWeights({"a": layers})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"golden": {"b": (np.zeros((1, 2)), np.zeros((1, 16)))}}, "golden or calibration names"),
        ({"golden": {"a": (np.zeros((1, 3)), np.zeros((1, 16)))}}, "golden of 'a': z has shape"),
        ({"golden": {"a": (np.zeros((2, 2)), np.zeros((1, 16)))}}, r"\(1, 16\).*G = 2"),
        ({"golden": {"a": (np.zeros((1, 2)), np.full((1, 16), np.nan))}}, "x holds .* not finite"),
        ({"calibration": {"a": np.zeros((4, 3))}}, "calibration of 'a'"),
        ({"calibration": {"a": np.zeros((0, 2))}}, "calibration of 'a'"),
        ({"calibration": {"a": np.full((4, 2), np.nan)}}, "calibration of 'a'"),
        ({"models": {}}, "models is empty"),
    ],
)
def test_bad_golden_vectors_and_calibration_codes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PageWeights(**{"models": {"a": network(2, 16, hidden=8)}} | options)


def test_the_packer_rounds_matrices_and_returns_what_the_page_has():
    r, packed = np.random.default_rng(0), bytearray()
    arrays = [r.normal(size=shape) for shape in ((3,), (5, 3), (), (2, 2, 2), (5, 3))]
    described = [pack(packed, array, wide=i == 4) for i, array in enumerate(arrays)]
    back = [unpack(packed, description) for description in described]
    for array, description, copy in zip(arrays, described, back, strict=True):
        assert description["start"] % 4 == 0
        error = (
            np.abs(array).max(-1) / 250 if "scale" in description else np.abs(array).max() * 1e-7
        )
        assert (np.abs(copy - array).max(-1, initial=0) <= error).all()
    assert ["scale" in description for description in described] == [False, True, *[False] * 3]
    np.testing.assert_array_equal(rounded(arrays[1]), back[1])


def test_shapes_are_checked_against_their_table():
    table = {"embedding": "V E", "gates": "4H E+D", "head": "2D H", "offset": "2R+1", "one": ()}
    arrays = {"embedding": (7, 3), "gates": (20, 5), "head": (4, 5), "offset": (9,), "one": ()}
    sizes = {}
    good = {name: np.ones(shape) for name, shape in arrays.items()}
    assert list(check_arrays("it", good | {"more": 1}, table, sizes)) == list(table)
    assert sizes == {"V": 7, "E": 3, "H": 5, "D": 2, "R": 4}
    bad = {"embedding": (0, 3), "gates": (21, 5), "head": (5, 5), "offset": (8,), "one": (1,)}
    for name, shape in bad.items():
        with pytest.raises(ValueError, match=f"it: {name} has shape"):
            check_arrays("it", good | {name: np.ones(shape)}, table)
    with pytest.raises(ValueError, match=r"it lacks \['head'\]"):
        check_arrays("it", {name: good[name] for name in good if name != "head"}, table)


# What the pages draw


def test_the_hashes_are_those_of_their_authors():
    # Mulberry32 from the seed 1, and MurmurHash3's finaliser, in plain whole numbers.
    def first(seed):
        t = (seed + 0x6D2B79F5) % 2**32
        t = (t ^ t >> 15) * (t | 1) % 2**32
        t ^= (t + (t ^ t >> 7) * (t | 61)) % 2**32
        return ((t ^ t >> 14) % 2**32) / 2**32

    def mixed(x):
        x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
        return x ^ x >> 16

    seeds = np.array([0, 1, 77, 2**32 - 1])
    assert [float(mulberry32(1, int(seed))) for seed in seeds] == [first(int(s)) for s in seeds]
    assert mulberry32([1, 2], 5)[1] == first(5 + 0x6D2B79F5)
    assert murmur_mix(seeds).tolist() == [mixed(int(seed)) for seed in seeds]
    normals = box_muller(mulberry32(np.arange(1, 40_001)).reshape(-1, 2))
    assert np.abs(normals.mean(0)).max() < 0.03
    np.testing.assert_allclose(np.cov(normals.T), np.eye(2), atol=0.04)


# What travels


@pytest.mark.parametrize(
    ("widget", "most"),
    [
        (RateDistortionExplorer, 32_000),
        (LatentSpace, 32_000),
        (DamageLab, 24_000),
        (DrawADigit, 65_000),
    ],
)
def test_each_module_stands_alone_and_is_small(widget, most):
    assert not re.search(
        r"^\s*import\b|\bimport\(|\bfetch\(|innerHTML|insertAdjacentHTML|https?://(?!www\.w3)",
        widget._esm,
        re.M,
    )
    assert re.findall(r"^export .*", widget._esm, re.M) == ["export default { render };"]
    assert len(widget._esm.encode()) < most


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
    mimebundle(make, 25_001)


def test_each_committed_poster_is_that_of_a_widget():
    names = {path.stem for path in FOLDER.glob("posters/*")}
    assert names
    assert all(issubclass(getattr(widgets, name), AnyWidget) for name in names)
    assert max(path.stat().st_size for path in FOLDER.glob("posters/*")) <= 25_000


def test_a_widget_without_a_poster_has_a_text():
    class Plain(BookWidget):
        _parts = ()

    data, _ = Plain(title="No picture")._repr_mimebundle_()
    assert data["text/plain"] == "Plain('No picture')"
    assert "image/png" not in data


# The rate-distortion explorer


def test_the_explorer_starts_in_the_middle_and_knows_its_beta():
    widget = explorer()
    assert (widget.model, widget.beta_index) == ("vae2", 2)
    assert widget.beta == pytest.approx(1.0)


def test_what_the_page_sets_arrives_in_python():
    widget = explorer()
    changes = []
    widget.observe(lambda change: changes.append((change["name"], change["new"])))
    widget.set_state({"model": "vae3", "beta_index": 1})
    assert ("model", "vae3") in changes
    assert widget.beta == pytest.approx(1.0)
    widget.set_state({"beta_index": 2})
    assert ("beta_index", 2) in changes
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
    with pytest.raises(ValueError, match="model='gan'"):
        widget.model = "gan"
    assert (widget.model, widget.beta_index) == ("vae2", 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beta": np.ones(5)}, "ascending"),
        ({"rate": np.ones(4)}, r"curve 'vae2': rate has shape \(4,\)"),
        ({"log_z": np.full(5, np.nan)}, "log_z holds values"),
        ({"codes": np.zeros((5, 3, 9))}, "R = 5, D = 2"),
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
    labels = np.frombuffer(widget.labels, np.uint8)
    assert len(labels) == 2000
    assert labels.mean() == pytest.approx(0.5, abs=0.001)


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
