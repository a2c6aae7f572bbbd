"""Weights on their way to a page: what travels is what was given, rounded."""

import numpy as np
import pytest
import small_widgets as small
import torch
from page_hashes import box_muller, mulberry32, murmur_mix

from dgm.data.text import Vocabulary
from dgm_book.widgets import PageWeights
from dgm_book.widgets.hyper_weights import rounded as rounded_recurrent
from dgm_book.widgets.packing import pack, rounded, unpack
from dgm_book.widgets.weights import ACTIVATIONS


def assert_within_half_a_step(values, wide):
    step = np.abs(wide).max(axis=1, keepdims=True) / 127
    assert (np.abs(values - wide) <= 0.5001 * step).all()
    assert (values != wide).any()


def test_the_packer_rounds_matrices_and_returns_what_the_page_has():
    r, packed = np.random.default_rng(0), bytearray()
    given = [r.normal(size=shape) for shape in ((3,), (5, 3), (), (2, 2, 2), (5, 3))]
    descriptions = [pack(packed, array, wide=i == 4) for i, array in enumerate(given)]
    back = [unpack(packed, description) for description in descriptions]
    for array, description, copy in zip(given, descriptions, back, strict=True):
        assert description["start"] % 4 == 0
        if "scale" in description:
            assert_within_half_a_step(copy, array)
        else:
            np.testing.assert_allclose(copy, array, rtol=1e-6)
    assert ["scale" in description for description in descriptions] == [False, True, *[False] * 3]
    np.testing.assert_array_equal(rounded(given[1]), back[1])


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


def test_rounding_together_on_codes_halves_the_squared_error():
    layers, r = small.network(10, 784), np.random.default_rng(4)
    z = r.normal(size=(200, 10))
    together = PageWeights({"vae": layers}, calibration={"vae": r.normal(size=(1500, 10))})
    apart = [
        small.decode(weights.layers("vae"), z) - small.decode(layers, z)
        for weights in (PageWeights({"vae": layers}), together)
    ]
    assert 0 < np.abs(apart[0]).max() < 0.03
    assert np.square(apart[1]).mean() < 0.5 * np.square(apart[0]).mean()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_agrees_with_pytorch(name):
    x = np.linspace(-900, 900, 4001)
    expected = (getattr(torch, name) if name != "linear" else torch.clone)(torch.from_numpy(x))
    np.testing.assert_allclose(ACTIVATIONS[name](x), expected, atol=1e-7)


def test_a_text_model_is_off_by_at_most_half_a_step_of_a_row():
    given = small.tensors()
    given["lstm.weight_hh_l0"][3] = 0
    weights, coarse = small.text_weights(tensors=given), 0
    packed = weights.arrays(weights.header["tensors"])
    assert packed.keys() == given.keys() - {"simplex_logvar", "logvar.weight", "logvar.bias"}
    for name, values in packed.items():
        assert values.dtype == np.float32
        wide = given[name].astype(np.float32)
        if wide.ndim == 2 and wide.size >= 4096:
            assert_within_half_a_step(values, wide)
            coarse += 1
        else:
            np.testing.assert_array_equal(values, wide)
    assert coarse >= 2


def test_language_models_and_encoders_travel_as_they_are_rounded():
    given = {name: small.language_arrays(i) for i, name in enumerate(small.NAMES)}
    encoders = small.encoders()
    language = small.language_weights(golden=small.log_probs())
    pooling = small.pooling_weights(golden=small.means())
    page = rounded(given)
    for weights, models in ((language, given), (pooling, encoders)):
        assert weights.names == list(models)
        for name, model in zip(models, weights.header[f"{weights._model}s"], strict=True):
            for key, description in model["tensors"].items():
                full, values = weights._tensors[key][0], weights.arrays(description)
                np.testing.assert_array_equal(values, rounded(models[name][full]))
                if weights is language:
                    np.testing.assert_array_equal(values, page[name][full])
    assert language.header["words"].split() == Vocabulary(small.LANGUAGE_WORDS).words


def test_a_tiny_recurrent_model_stays_and_a_larger_one_is_rounded_by_rows():
    nets = {"tiny": small.recurrent()["VHRNN"], "large": small.piano()}
    models = {name: small.described(net) for name, net in nets.items()}
    widget, page = small.hyper_weights(models=models), rounded_recurrent(models)
    for model in widget.header["models"]:
        state = models[model["name"]]["state"]
        assert model["tensors"].keys() == state.keys()
        for key, values in state.items():
            array = page[model["name"]][key]
            np.testing.assert_array_equal(widget.arrays(model["tensors"][key]), array)
            if model["name"] == "tiny" or values.ndim == 1:
                np.testing.assert_array_equal(array, values)
            else:
                assert_within_half_a_step(array, values)
    assert len(widget.data) < 80_000
    description = {"x": 88, "z": 28, "h": 14, "k": 14, "kind": "vhrnn", "hyper_input": "latent"}
    assert widget.describe("large").items() >= description.items()


def test_the_hashes_are_those_of_their_authors():
    assert mulberry32([1, 2]).tolist() == [0.26642920868471265, 0.0003297457005828619]
    assert mulberry32(1, seed=1) == 0.6270739405881613
    mixed = [0, 0x514E28B7, 0x30F4C306, 0x81F16F39]
    assert murmur_mix([0, 1, 2, 2**32 - 1]).tolist() == mixed
    normals = box_muller(mulberry32(np.arange(1, 40_001)).reshape(-1, 2))
    assert np.abs(normals.mean(0)).max() < 0.03
    np.testing.assert_allclose(np.cov(normals.T), np.eye(2), atol=0.04)
