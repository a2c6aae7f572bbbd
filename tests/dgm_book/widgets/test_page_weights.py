"""Weights on their way to a page: what travels is what was given, rounded, or is refused."""

import numpy as np
import pytest
import small_widgets as small
import torch
from page_hashes import box_muller, mulberry32, murmur_mix

from dgm.data.text import Vocabulary
from dgm.nets.language_models import AWDLSTM, plain_lstm
from dgm.papers.variational_hyper_rnn import VariationalRNN
from dgm_book.widgets import LanguageWeights, PageWeights, PoolingWeights, TextWeights
from dgm_book.widgets.hyper_weights import rounded as rounded_recurrent
from dgm_book.widgets.language_weights import TENSORS as LANGUAGE
from dgm_book.widgets.language_weights import rounded as rounded_language
from dgm_book.widgets.packing import check_arrays, pack, rounded, unpack
from dgm_book.widgets.pooling_weights import KINDS, TENSORS
from dgm_book.widgets.weights import ACTIVATIONS

POOLING = {name: full for name, (full, _) in TENSORS.items()}
V, E, H, D = small.POOLING_SIZES
ROWS = [[1, 4, 5, 6, 7, 9, 2], [1, 3, 8, 2, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0]]
SENTENCES = [[2], [2, 4, 9, 3], [7, 7, 2, 12, 29]]


def means():
    dice = np.random.default_rng(0)
    return {"tokens": ROWS, "means": {kind: dice.normal(size=(3, D)) for kind in KINDS}}


def log_probs():
    dice = np.random.default_rng(0)
    rows = {name: dice.normal(size=(3, small.LANGUAGE_SIZE)).astype("<f4") for name in small.NAMES}
    return {"tokens": SENTENCES, "log_probs": rows}


def assert_within_half_a_step(values, wide):
    step = np.abs(wide).max(axis=1, keepdims=True) / 127
    assert (np.abs(values - wide) <= 0.5001 * step).all()
    assert (values != wide).any()


def test_a_quantised_network_stays_within_three_hundredths():
    layers, z = small.network(10, 784), np.random.default_rng(5).normal(size=(32, 10))
    weights = PageWeights({"vae10": layers}, {"vae10": (z, small.decode(layers, z))})
    apart = np.abs(small.decode(weights.layers("vae10"), z) - small.decode(layers, z)).max()
    assert 0 < apart < 0.03
    assert weights.header["vae10"]["golden"]["z"] <= 300_000


def test_rounding_together_on_codes_halves_the_squared_error():
    layers, r = small.network(10, 784), np.random.default_rng(4)
    z = r.normal(size=(200, 10))
    nearest = PageWeights({"vae": layers})
    together = PageWeights({"vae": layers}, calibration={"vae": r.normal(size=(1500, 10))})
    errors = [
        np.square(small.decode(w.layers("vae"), z) - small.decode(layers, z)).mean()
        for w in (nearest, together)
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


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_text_model_is_off_by_at_most_half_a_step_of_a_row(precision):
    given = small.tensors()
    given["lstm.weight_hh_l0"][3] = 0
    packed = small.text_weights(tensors=given, precision=precision).dequantised()
    assert packed.keys() == given.keys() - {"simplex_logvar", "logvar.weight", "logvar.bias"}
    coarse = 0
    for name, values in packed.items():
        assert values.dtype == np.float32
        wide = given[name].astype(np.float32)
        if precision == "int8" and wide.ndim == 2 and wide.size >= 4096:
            assert_within_half_a_step(values, wide)
            coarse += 1
        else:
            np.testing.assert_array_equal(values, wide)
    assert (coarse >= 2) == (precision == "int8")


def test_a_language_model_travels_as_it_is_rounded():
    given = {name: small.language_arrays(i) for i, name in enumerate(small.NAMES)}
    packed = small.language_weights(golden=log_probs())
    assert packed.names == list(small.NAMES)
    for model, (name, expected) in zip(
        packed.header["models"], rounded_language(given).items(), strict=True
    ):
        for key, description in model["tensors"].items():
            values, wide = packed.array(description), given[name][LANGUAGE[key]]
            np.testing.assert_array_equal(values, expected[LANGUAGE[key]])
            if wide.ndim == 1:
                np.testing.assert_array_equal(values, wide)
            else:
                assert_within_half_a_step(values, wide)
    assert packed.header["golden"]["tokens"] == SENTENCES
    for name, start in packed.header["golden"]["log_probs"].items():
        table = packed.array({"shape": (3, small.LANGUAGE_SIZE), "start": start})
        np.testing.assert_array_equal(table, log_probs()["log_probs"][name])
    assert packed.header["words"].split() == Vocabulary(small.LANGUAGE_WORDS).words


def test_an_encoder_travels_as_it_is_rounded_and_golden_means_unpadded():
    expected, given = means(), small.encoders()
    weights = small.pooling_weights(golden=expected)
    assert weights.kinds == list(KINDS)
    for item in weights.header["encoders"]:
        for name, description in item["tensors"].items():
            values = rounded(given[item["kind"]][POOLING[name]])
            np.testing.assert_array_equal(weights.array(description), values)
    assert weights.header["golden"]["tokens"] == [ROWS[0], ROWS[1][:4], ROWS[2][:2]]
    for kind, start in weights.header["golden"]["means"].items():
        values = weights.array({"shape": (3, D), "start": start})
        np.testing.assert_allclose(values, expected["means"][kind], rtol=1e-6)


def test_a_tiny_recurrent_model_stays_and_a_larger_one_is_rounded_by_rows():
    models = {
        "tiny": small.described(small.recurrent()["VHRNN"]),
        "large": small.described(small.piano()),
    }
    widget, page = small.hyper_weights(models=models), rounded_recurrent(models)
    for model in widget.header["models"]:
        state = models[model["name"]]["state"]
        assert model["tensors"].keys() == state.keys()
        for key, values in state.items():
            array = page[model["name"]][key]
            np.testing.assert_array_equal(widget.array(model["tensors"][key]), array)
            if model["name"] == "tiny" or values.ndim == 1:
                np.testing.assert_array_equal(array, values)
            else:
                assert_within_half_a_step(array, values)
    assert len(widget.data) < 80_000
    description = {"x": 88, "z": 28, "h": 14, "k": 14, "kind": "vhrnn", "hyper_input": "latent"}
    assert widget.describe("large").items() >= description.items()
    with pytest.raises(ValueError, match="no model 'that'"):
        widget.describe("that")


def test_golden_vectors_lie_where_the_header_says():
    layers, z = small.network(2, 16, hidden=8), np.random.default_rng(1).normal(size=(4, 2))
    weights = PageWeights({"a": layers}, {"a": (z, small.decode(layers, z))})
    golden = weights.header["a"]["golden"]
    assert golden["count"] == 4
    stored = [
        weights.array({"shape": (4, n), "start": golden[k]}) for k, n in (("z", 2), ("x", 16))
    ]
    np.testing.assert_allclose(stored[0], z, rtol=1e-6)
    np.testing.assert_allclose(stored[1], small.decode(layers, z), rtol=1e-5)


# The sizes that a page can hold


def wide_language(size, width):
    shapes = [(size, width), *[(4 * width, width)] * 2, *[(4 * width,)] * 2, (size,)]
    model = {n: np.ones(shape) for n, shape in zip(LANGUAGE.values(), shapes, strict=True)}
    return dict.fromkeys(small.NAMES, model), [f"w{i}" for i in range(size - 4)]


def wide_pooling(hidden):
    shapes = [(4000, 64), (4 * hidden, 64), (4 * hidden, hidden), (4 * hidden,)]
    shapes += [shapes[-1], (32, hidden)]
    state = {n: np.ones(shape) for n, shape in zip(POOLING.values(), shapes, strict=True)}
    return dict.fromkeys(("last", "mean", "max"), state), [f"w{i}" for i in range(3996)]


def test_the_book_s_models_fit_a_page_and_wider_ones_do_not():
    assert len(LanguageWeights(*wide_language(264, 64)).data) < 120_000
    assert len(PoolingWeights(*wide_pooling(128)).data) < 1_200_000
    words = [f"w{i}" for i in range(3992)]
    assert len(TextWeights(small.tensors(3992), words).data) < 1_500_000
    assert len(small.hyper_weights().data) < 20_000
    with pytest.raises(ValueError, match="a page holds at most 1500000"):
        LanguageWeights(*wide_language(6000, 120))
    with pytest.raises(ValueError, match="a page holds at most 1500000"):
        PoolingWeights(*wide_pooling(256))
    with pytest.raises(ValueError, match="a page holds at most 100000"):
        TextWeights(small.tensors(3992), words, limit=100_000)
    with pytest.raises(ValueError, match="a page holds at most 300000"):
        small.hyper_weights(
            models={"it": small.described(VariationalRNN(88, 160, 160, "bernoulli"))}
        )


# What is refused


def changed_layer(place, weight=None, bias=None, activation=None):
    layers = small.network(2, 16, hidden=8)
    old = layers[place]
    new = (weight, bias, activation)
    layers[place] = tuple(a if b is None else b for a, b in zip(old, new, strict=True))
    return {"models": {"a": layers}, "golden": {}}


def of_a(**options):
    return {"models": {"a": small.network(2, 16, hidden=8)}, "golden": {}} | options


def language(name, value):
    models = {name: small.language_arrays(i) for i, name in enumerate(small.NAMES)}
    models["phase I"][LANGUAGE[name]] = value
    return {"models": models}


def deep(**options):
    sizes = (small.LANGUAGE_SIZE, small.LANGUAGE_WIDTH, small.LANGUAGE_WIDTH, small.LANGUAGE_WIDTH)
    return {"models": {"a": small.language_arrays(model=AWDLSTM(*sizes, **options))}}


def pooling(name, value):
    given = small.encoders()
    given["max"][POOLING[name]] = value
    return {"encoders": given}


def single(**changes):
    return {"models": {"it": small.described(small.recurrent()["VHRNN"], **changes)}}


def state(key, value=None):
    given = small.arrays(small.recurrent()["VHRNN"]) | {key: value}
    return single(state={name: v for name, v in given.items() if v is not None})


BAD = {
    small.page_weights: [
        (changed_layer(1, weight=np.full((8, 8), np.nan)), r"model 'a', layer 1: weight holds"),
        (changed_layer(1, *small.network(3, 5)[0][:2]), r"layer 1: .*\(256, 3\).*D = 8"),
        (changed_layer(0, bias=np.zeros(4)), r"bias has shape \(4,\)"),
        (changed_layer(0, activation="gelu"), r"'gelu' should be one of"),
        (of_a(models={"a": []}), "has no layers"),
        (of_a(models={"a": small.network(10, 784, hidden=400)}), "at most 300000"),
        (of_a(models={}), "models is empty"),
        (of_a(golden={"b": (np.zeros((1, 2)), np.zeros((1, 16)))}), "golden or calibration names"),
        (of_a(golden={"a": (np.zeros((1, 3)), np.zeros((1, 16)))}), "golden of 'a': z has shape"),
        (of_a(golden={"a": (np.zeros((2, 2)), np.zeros((1, 16)))}), r"\(1, 16\).*G = 2"),
        (of_a(golden={"a": (np.zeros((1, 2)), np.full((1, 16), np.nan))}), "x holds .* not finite"),
        (of_a(calibration={"a": np.zeros((4, 3))}), "calibration of 'a'"),
        (of_a(calibration={"a": np.zeros((0, 2))}), "calibration of 'a'"),
        (of_a(calibration={"a": np.full((4, 2), np.nan)}), "calibration of 'a'"),
    ],
    small.text_weights: [
        ({"tensors": small.tensors(vertices=np.zeros((3, 5)))}, "vertices has shape"),
        (
            {"tensors": small.tensors(**{"near.weight": np.zeros((24, 128))})},
            r"near.weight has shape",
        ),
        ({"tensors": small.tensors(**{"far.bias": np.zeros(3)})}, r"far.bias has shape \(3,\)"),
        ({"tensors": small.tensors(by_distance=np.zeros(16))}, "by_distance has shape"),
        (
            {"tensors": small.tensors(word_bias=np.full(14, np.nan))},
            "word_bias holds values that are",
        ),
        ({"tensors": {}}, "lacks"),
        ({"words": small.WORDS[:-1]}, "5 words, but the embedding has rows for 6"),
        ({"words": [*small.WORDS[:-1], "the"]}, "comes twice"),
        ({"unknown_slots": 3}, "rows for 7"),
        ({"precision": "int4"}, "int4"),
        ({"golden": [{"sentence": "a"}]}, "a golden sentence has"),
        (
            {"golden": [small.text_weights().header["golden"][0] | {"weights": [1.0, 1.0, 0.0]}]},
            "that sum to 1",
        ),
    ],
    small.language_weights: [
        (language("weight_ih", np.zeros((64, 17))), r"weight_ih_l0 has shape \(64, 17\), .*4E, E"),
        (language("bias_hh", np.zeros(16)), r"shape \(16,\), should be \(4E\)"),
        (language("bias", np.zeros(31)), r"head.bias has shape \(31,\), should be \(V\)"),
        (language("bias", np.full(small.LANGUAGE_SIZE, np.inf)), "values that are not finite"),
        (language("embedding", np.zeros(small.LANGUAGE_SIZE)), r"should be \(V, E\)"),
        ({"models": {}}, "want at least one"),
        ({"models": {"a": {}}}, "model 'a' lacks"),
        (deep(layers=2, experts=0), "lstms.1.*want one LSTM layer"),
        (deep(layers=1, experts=2), "head.latent.*a plain softmax"),
        (
            {
                "models": {
                    "a": small.language_arrays(),
                    "b": small.language_arrays(model=plain_lstm(31, 16)),
                }
            },
            f"V = {small.LANGUAGE_SIZE}",
        ),
        ({"words": small.LANGUAGE_WORDS[:-1]}, "25 words, but the embedding has rows for 26"),
        ({"words": [*small.LANGUAGE_WORDS[:-1], "the"]}, "comes twice"),
        ({"golden": log_probs() | {"log_probs": {}}}, "golden log_probs lacks"),
        (
            {"golden": log_probs() | {"tokens": SENTENCES[:2]}},
            r"shape \(3, 30\), should be \(2, 30",
        ),
        ({"golden": log_probs() | {"tokens": [[], *SENTENCES[1:]]}}, "at least one"),
        ({"golden": log_probs() | {"tokens": [[30], *SENTENCES[1:]]}}, "below 30"),
        ({"limit": 100}, "a page holds at most 100"),
    ],
    small.pooling_weights: [
        (pooling("weight_hh", np.zeros((4 * H, H + 1))), r"'max': .*weight_hh_l0 has shape"),
        (pooling("weight_ih", np.zeros((4 * H, E + 1))), r"weight_ih_l0 has shape \(128, 17\)"),
        (pooling("bias_ih", np.zeros(H)), r"bias_ih_l0 has shape \(32,\)"),
        (pooling("linear", np.zeros((2 * D + 1, H))), r"head.weight has shape \(9, 32\)"),
        (pooling("linear", np.zeros(H)), r"head.weight has shape \(32,\)"),
        (pooling("embedding", np.full((V, E), np.nan)), "values that are not finite"),
        (pooling("embedding", np.zeros((V + 1, E))), r"has shape \(11, 16\).*V = 10"),
        ({"encoders": {}}, "want at least one of"),
        ({"encoders": {"median": small.encoder()}}, "median"),
        ({"encoders": {"max": {}}}, "encoder 'max' lacks"),
        ({"encoders": {"max": small.encoder(layers=2)}}, "one layer, forwards only"),
        ({"encoders": {"max": small.encoder(bidirectional=True)}}, "one layer, forwards only"),
        ({"words": small.WORDS[:-1]}, "5 words, but the embedding has rows for 6"),
        ({"words": [*small.WORDS[:-1], "the"]}, "comes twice"),
        ({"words": [*small.WORDS[:-1], "a b"]}, "white space"),
        ({"golden": {"tokens": ROWS}}, "want tokens, and means for each"),
        ({"golden": {"tokens": ROWS, "means": {}}}, "want tokens, and means for each"),
        ({"golden": means() | {"tokens": ROWS[:2]}}, r"shape \(3, 4\), should be \(2, 4\)"),
        ({"golden": means() | {"tokens": [[1, 4], *ROWS[1:]]}}, r"golden tokens \[1, 4\]"),
        ({"golden": means() | {"tokens": [[1, 10, 2], *ROWS[1:]]}}, "ids below 10"),
        ({"limit": 1000}, "a page holds at most 1000"),
    ],
    small.hyper_weights: [
        (single(kind="gan"), "kind='gan', want one of vrnn, vhrnn"),
        (single(emission="poisson"), "emission='poisson', want one of gaussian, bernoulli"),
        (single(hyper_input="all"), "hyper_input='all', want one of both, latent, hidden"),
        (single(cell="gru"), "cell='gru', want one of lstm"),
        (single(sigma_min=0), "sigma_min=0.0, want above 0"),
        (single(colour=1), "unknown \\['colour'\\]"),
        (single(kind="vrnn"), "no part of a vrnn"),
        (single(emission="bernoulli"), "decoder.4.weight has shape \\(4, 4\\)"),
        (single(hyper_input="latent"), "has shape \\(16, 8\\)"),
        (state("heads.bias"), "lacks \\['heads.bias'\\]"),
        (state("prior.2.bias"), "lacks \\['prior.2.bias'\\]"),
        (state("prior.0.weight", np.zeros((4, 3))), "prior.0.weight has shape \\(4, 3\\)"),
        (state("hyper.bias", np.zeros(15)), "hyper.bias has shape \\(15,\\)"),
        (state("input_mean", np.array([0, np.nan])), "input_mean holds values that are not finite"),
        (state("extra", np.zeros(2)), "extra is no part of a vhrnn"),
        ({"models": {}}, "at least one"),
        ({"models": {"it": {"kind": "vrnn"}}}, "lacks \\['emission', 'state'\\]"),
        ({"golden": {"other": {}}}, "golden names \\['other'\\]"),
        ({"golden": {"VHRNN": {"x": np.zeros((3, 2))}}}, "want x, noise and some of"),
        ({"golden": {"VHRNN": small.hyper_golden(kl=np.zeros((3, 4)))}}, "kl has shape \\(3, 4\\)"),
        ({"golden": {"VHRNN": small.hyper_golden(h=np.full((3, 5, 4), np.nan))}}, "h holds values"),
    ],
}


@pytest.mark.parametrize("make", BAD)
def test_what_is_wrong_with_weights_is_named(make):
    for changes, message in BAD[make]:
        with pytest.raises(ValueError, match=message):
            make(**changes)


# How numbers are packed and drawn


def test_the_packer_rounds_matrices_and_returns_what_the_page_has():
    r, packed = np.random.default_rng(0), bytearray()
    given = [r.normal(size=shape) for shape in ((3,), (5, 3), (), (2, 2, 2), (5, 3))]
    descriptions = [pack(packed, array, wide=i == 4) for i, array in enumerate(given)]
    back = [unpack(packed, description) for description in descriptions]
    for array, description, copy in zip(given, descriptions, back, strict=True):
        assert description["start"] % 4 == 0
        largest = np.abs(array).max(-1) / 250
        error = largest if "scale" in description else np.abs(array).max() * 1e-7
        assert (np.abs(copy - array).max(-1, initial=0) <= error).all()
    assert ["scale" in description for description in descriptions] == [False, True, *[False] * 3]
    np.testing.assert_array_equal(rounded(given[1]), back[1])


def test_shapes_are_checked_against_their_table():
    table = {"embedding": "V E", "gates": "4H E+D", "head": "2D H", "offset": "2R+1", "one": ()}
    shapes = {"embedding": (7, 3), "gates": (20, 5), "head": (4, 5), "offset": (9,), "one": ()}
    sizes = {}
    good = {name: np.ones(shape) for name, shape in shapes.items()}
    assert list(check_arrays("it", good | {"more": 1}, table, sizes)) == list(table)
    assert sizes == {"V": 7, "E": 3, "H": 5, "D": 2, "R": 4}
    bad = {"embedding": (0, 3), "gates": (21, 5), "head": (5, 5), "offset": (8,), "one": (1,)}
    for name, shape in bad.items():
        with pytest.raises(ValueError, match=f"it: {name} has shape"):
            check_arrays("it", good | {name: np.ones(shape)}, table)
    with pytest.raises(ValueError, match=r"it lacks \['head'\]"):
        check_arrays("it", {name: good[name] for name in good if name != "head"}, table)


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
