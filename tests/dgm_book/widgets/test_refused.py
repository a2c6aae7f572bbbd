"""What is refused: settings out of range, and what a widget or weights cannot be made of."""

import numpy as np
import pytest
import small_widgets as small
from traitlets import TraitError

from dgm.nets.language_models import AWDLSTM
from dgm.papers.variational_hyper_rnn import VariationalRNN
from dgm_book.widgets import checks
from dgm_book.widgets.text_weights import LanguageWeights, PoolingWeights

REFUSED = (ValueError, TraitError, TypeError)
NAN, INF = np.nan, np.inf
OUT_OF_RANGE = {
    "RateDistortionExplorer": {"beta_index": [5, -1], "model": ["gan"]},
    "LatentSpace": {"z": [[NAN, 0.0], [0.0]]},
    "DamageLab": {"alpha": [1.0, -0.1], "blur": [4, -1]},
    "DrawADigit": {
        "drawing": [[[0.1]], [[]], [[0.1, 0.2, 0.3]], [[0.1, 1.2]], [[0.1, NAN]], [[0.5] * 8002]],
        "temperatures": [31],
        "seed": [-1, 10_000],
    },
    "BoundRace": {
        "correlation": [-0.1, 1.0, NAN],
        "dimension": [0, 21],
        "batch": [1, 48, 512],
        "seed": [-1, 10_000],
    },
    "RamlLottery": {
        "set": ["none"],
        "anchor": [-1, 2],
        "critic": ["none"],
        "p": [0.01, 1.0, NAN],
        "temperature": [0.0, INF],
    },
    "Storyteller": {"opening": ["a" * 201], "temperature": [0.1, NAN], "seed": [-1]},
    "NextSentenceQuiz": {"answers": [[2], [0] * 6], "first": [5, -1]},
    "GANPlayground": {
        "target": ["two"],
        "seed": [-1],
        "width": [1, 33],
        "weight": [2.5, NAN],
        "margin": [-0.1, NAN],
        "rate": [0.0, INF],
    },
    "PatternBench": {
        "points": [[[0.0, 2.0]] * 8, [[NAN, 0.0]] * 8, [0.0] * 8],
        "units": [1, 13],
        "margin": [3.1],
        "seed": [10_000],
    },
    "SentenceSteering": {
        "target": [[0.5, 0.5, 0.5], [-0.5, 0.5, 1], [1.0, 0.0], [NAN, 0, 1]],
        "attribute": ["tense"],
        "position": [-0.1, 1.1, NAN],
        "locked": [[""], ["a" * 101], ["a"] * 201],
        "alternative": [-1, 5],
        "sentence": ["a" * 2001],
    },
    "AttributeSwitch": {"example": [3], "place": [-1]},
    "LatentCliff": {"source": [2], "measure": ["mean"], "places": [[0], [0, 3]]},
    "PoolingRace": {
        "time": [-0.1, 1.1, NAN],
        "highlighted": ["none"],
        "shown": [["none"], ["max", "max"]],
        "axis": ["hours"],
    },
    "DispersionMicroscope": {"set": ["none"], "frame": [-1, 3], "highlighted": ["none"]},
    "InfluenceRuler": {"sentence": ["a" * 2001]},
    "TemperatureSlider": {"kind": ["median"], "position": [-1, 101], "sentence": ["a" * 2001]},
    "ParticleKalman": {
        "sequence": ["six"],
        "particles": [0, 65],
        "criterion": ["sometimes"],
        "seed": [-1],
    },
    "Chorale": {
        "model": ["GRU"],
        "temperature": [0.1, NAN],
        "tempo": [300],
        "length": [97],
        "seed": [-1],
        "opening": [[], [[20]], [[60]] * 17],
        "piece": [[[60]] * 113],
    },
    "SwitchNow": {"steps": [0], "speed": [90], "seed": [-1], "schedule": [[[3, 0, 1.0]]]},
    "ScaleWeather": {"freeze": [0.03, 1.05], "seed": [10_000]},
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_setting_out_of_range_is_refused_and_changes_nothing(name):
    for trait, values in OUT_OF_RANGE[name].items():
        widget = small.MAKERS[name]()
        before = getattr(widget, trait)
        for value in values:
            with pytest.raises(REFUSED, match=trait.removesuffix("s")):
                setattr(widget, trait, value)
            assert getattr(widget, trait) == before
            with pytest.raises(REFUSED):
                small.MAKERS[name](**{trait: value})


def lacking(item, *names):
    return {name: value for name, value in item.items() if name not in names}


def kinds(**changes):
    return {"sets": [small.sentences(frames=small.frames(**changes))]}


def curves(first, second):
    return {"curves": [small.curve() | first, lacking(small.curve("gan"), "codes") | second]}


VAE = {"family": "VAE", "latent_dim": 2}
EXAMPLES = [
    ({"examples": []}, "number of examples=0|at least one"),
    ({"examples": "the pizza"}, "list of texts"),
    ({"examples": ["  ", "a"]}, "none empty"),
]
WHOLE = [("curves", small.damage), ("curves", small.information)]
BAD = {  # of a widget, or of an item of one of its arguments, which is a list unless it is in WHOLE
    ("RateDistortionExplorer",): [
        ({"image_shape": (5, 5)}, r"decodes to 16 pixels, image_shape \(5, 5\) has 25"),
        ({"curves": [lacking(small.curve(), "log_z")]}, r"lacks \['log_z'\]"),
        (curves(VAE, {}), "none has a family"),
        (curves(VAE, {"family": "GAN"}), "none has a family"),
        (curves(VAE, VAE), "family and latent_dim .* once"),
        (curves({"family": "A", "latent_dim": 3}, {"family": "B", "latent_dim": 3}), "reads 2"),
        (curves({}, {"distortion": np.zeros(5)}), "distortion of 'gan'=0.0.* above 0"),
        ({"curves": [lacking(small.curve(), "codes")]}, "at least one of the curves needs codes"),
        ({"references": {"a": ([1, 2], [1, 2, 3])}}, "a: rate has shape"),
        ({"marks": {"a": ([0, 2], [1, 2])}}, "least distortion of 'a'=0.0"),
        ({"targets": np.zeros((2, 4, 4))}, "number of targets=2: want 3"),
        ({"targets": np.full((3, 4, 4), 9)}, "of targets=9.0: want 0 to 1"),
    ],
    ("RateDistortionExplorer", "curves", small.curve): [
        ({"beta": np.ones(5)}, "ascending"),
        ({"codes": np.zeros((5, 3, 9))}, "R = 5, D = 2"),
        ({"codes": np.full((5, 3, 2), INF)}, "not finite"),
        ({"model": "vae9"}, "model='vae9': want one of"),
    ],
    ("LatentSpace",): [
        ({"model": "vae3"}, "latent dimensions of 'vae3'=3: want 2"),
        ({"means": np.zeros((30, 3))}, r"should be \(N, 2\)"),
        ({"labels": np.zeros(30)}, "30 whole numbers"),
        ({"labels": np.arange(30)}, "classes=30: want 1 to 10"),
    ],
    ("DamageLab", "curves", small.damage): [
        ({"beta": small.DAMAGE_BETA[::-1]}, "ascending"),
        ({"blurs": (0.5, 1, 2, 3)}, "first of blurs=0.5: want 0"),
        ({"likelihood_beta": 500.0}, "likelihood_beta=500.0: want 0.01 to 100"),
        ({"narrow_log_z": np.zeros((4, 12, 6))}, r"\(4, 12, 6\), should be .* R = 13"),
    ],
    ("DrawADigit",): [
        ({"image_shape": (5, 4)}, r"decodes to 16 pixels, image_shape \(5, 4\) has 20"),
        ({"temperatures": [0]}, "temperatures=0: want 1 or more"),
    ],
    ("RamlLottery",): [
        ({"sets": []}, "at least one"),
        ({"sets": [{"name": "a"}]}, r"'a' lacks \['anchors', 'label', 'scores', 'texts'\]"),
        ({"sets": [small.text(), small.text("b", scores={"c": [[0, 1]] * 2})]}, "same critics"),
    ],
    ("RamlLottery", "sets", small.text): [
        ({"anchors": [], "scores": {"c": []}}, "at least one anchor"),
        ({"scores": {}}, "one critic with a name"),
        ({"scores": {"c": [[0, 1]] * 2, "d": [[0, 1, 2]] * 2}}, "d has shape"),
        ({"scores": {"c": [[0], [0]]}}, "want 2 to 40"),
        ({"anchors": [0, 7]}, "anchor of set 'chain'=7: want 0 to 6"),
        ({"texts": ["x"] * 401}, "=401: want 1 to 400"),
        ({"texts": ["x" * 20_000] * 14}, "at most 200000"),
    ],
    ("Storyteller",): [
        ({"openings": ["the", " "]}, "none empty"),
        ({"openings": ["a" * 201]}, "characters of an opening=201"),
        ({"n_sentences": 1}, "n_sentences=1: want 2 to 40"),
        ({"themes": {}}, "themes=0: want 1 to 8"),
        ({"themes": {"a": ["sea"], "b": []}}, "at least one word each"),
        ({"weights": small.language_weights(models=dict.fromkeys("abc", small.ARRAYS))}, "1 to 2"),
        ({"curves": {"exact": [1, 2]}}, r"curves lacks \['distances', 'models', 'stay'\]"),
    ],
    ("Storyteller", "curves", small.information): [
        ({"models": {n: {"mean": [1, 2]} for n in small.NAMES}}, "lacks .*'high', 'low'"),
        ({"distances": [0, 1]}, "above 0"),
        ({"exact": [1, NAN]}, "exact holds values that are not finite"),
        ({"stay": 1.1}, "stay=1.1: want 0 to 1"),
    ],
    ("NextSentenceQuiz",): [
        ({"rounds": 6}, "rounds=6: want 1 to 5"),
        ({"questions": [small.question()] * 501}, "questions=501"),
        ({"questions": [lacking(small.question(), "options")]}, r"question 0 lacks \['options'\]"),
        ({"questions": [small.question(), small.question(answer=2)]}, "question 1: answer=2"),
        ({"questions": [small.question(), small.question(scores={"a": [1, 2]})]}, r"\['a'\], want"),
    ],
    ("NextSentenceQuiz", "questions", small.question): [
        ({"options": ["a"]}, "options=1: want 2"),
        ({"scores": {"a": [1, 2, 3]}}, r"should be \(2\)"),
        ({"scores": {name: [1, 2] for name in "abcd"}}, "at most 3"),
        ({"scores": {"you": [1, 2]}}, "none named 'you'"),
    ],
    ("GANPlayground",): [
        ({"speed": 1}, "no speed"),
        ({"targets": [lacking(small.target(name="a"), "sigma")]}, r"'a' lacks \['sigma'\]"),
    ],
    ("GANPlayground", "targets", small.target): [
        ({"centres": np.zeros((3, 3))}, r"\(3, 3\), should be \(M, 2\)"),
        ({"centres": np.zeros((65, 2))}, "want 1 to 64"),
        ({"sigma": 0}, "sigma of .*above 0"),
    ],
    ("PatternBench",): [
        ({"points": [[0.0, 0.0]] * 7}, r"points has shape \(7, 2\), should be \(8, 2\)"),
        ({"points": [[1.6, 0.0]] * 8}, "largest of points=1.6: want 0 to 1.5"),
        ({"lines": 3}, "no lines"),
    ],
    ("SentenceSteering",): [
        ({"attributes": []}, "attributes: want at least one"),
        ({"attributes": [small.attribute(), small.attribute()]}, "each name once"),
        ({"attributes": [lacking(small.attribute("a"), "weights")]}, r"'a' lacks \['weights'\]"),
        ({"points": []}, "no points"),
    ],
    ("SentenceSteering", "attributes", small.attribute): [
        ({"examples": []}, "examples of attribute 'sentiment'=0: want 1 to 20"),
        ({"examples": [{"text": "a"}]}, r"lacks \['shows'\]"),
        ({"examples": [{"text": "a" * 2001, "shows": "b"}]}, "=2001: want 1 to 2000"),
        ({"examples": [{"text": "a", "shows": "b", "position": 2}]}, "position .*=2: want 0 to 1"),
        ({"examples": [{"text": "a", "shows": "b", "target": [1, 1, 0]}]}, "sum to 1"),
    ],
    ("AttributeSwitch",): [
        *EXAMPLES,
        ({"margins": (0.1, 0.5)}, "fall from large"),
        ({"threshold": 0.0}, "threshold=0.0"),
    ],
    ("LatentCliff",): [
        ({"models": []}, "at least one"),
        ({"models": [lacking(small.walk(), "axis")]}, r"lacks \['axis'\]"),
    ],
    ("LatentCliff", "models", small.walk): [
        ({"steps": [0, 0, 1]}, "ascending"),
        ({"sentences": [["a", "b", "c"]]}, "2 lists of 3"),
        ({"log_mean": np.zeros((2, 2))}, "'VAE': log_mean has shape"),
        ({"original": {"log_mean": [], "mean_log": [1]}}, "of 'VAE': log_mean"),
        ({"origin": 3}, "origin of 'VAE'=3: want 0 to 2"),
    ],
    ("PoolingRace",): [
        ({"runs": [small.run(), small.run()]}, "each name once"),
        ({"runs": [lacking(small.run("a"), "group")]}, r"'a' lacks \['group'\]"),
    ],
    ("PoolingRace", "runs", small.run): [
        ({"group": "cure"}, "group of run 'max'='cure'"),
        ({"measured": []}, "seconds of run 'max'=.*1 or more"),
        ({"measured": [{"step": 1}]}, r"a row of run 'max' lacks \['seconds'\]"),
        ({"measured": [small.row(2), small.row(1)]}, "seconds of run 'max'.*ascending"),
        ({"measured": [small.row(1), small.row(2, kl=INF)]}, "kl .* is infinite in row 1"),
    ],
    ("DispersionMicroscope",): [
        (kinds(max={"steps": [0]}), "'max' of set 'yelp' lacks"),
        (kinds(max=small.moments(steps=(0, 1, 2))), "those of 'last'"),
        (kinds(mean=small.moments(m=5)), r"should be \(E, 12, 2\)"),
        ({"sets": [lacking(small.sentences("a"), "label")]}, r"'a' lacks \['label'\]"),
    ],
    ("DispersionMicroscope", "sets", small.sentences): [
        ({"classes": list("abcdefghij")}, "1 to 9 names"),
        ({"classes": ["a", "a", "other"]}, "each once"),
        ({"class_of": np.zeros((3, 2), int)}, r"\(M,\) whole numbers"),
        ({"class_of": np.arange(12)}, r"in 0 ... 2"),
        ({"texts": ["a"]}, "None or 12"),
        ({"frames": {"last": small.moments()}}, r"want \['last', 'mean', 'max'\]"),
        ({"steps": (0, 0, 1)}, "ascending"),
        ({"m": 4000, "steps": range(20)}, "at most 280000"),
    ],
    ("InfluenceRuler",): [*EXAMPLES, ({"examples": ["the pizza"] * 101}, "at most 100")],
    ("TemperatureSlider",): [*EXAMPLES, ({"examples": small.EXAMPLES[:1]}, "examples=1: want 2")],
    ("Chorale",): [
        ({"weights": small.piano_weights(87)}, "has 87 bernoulli outputs: want 88 bernoulli"),
        ({"opening": [[60]] * 17}, "frames of opening=17: want 1 to 16"),
        ({"opening": [[60], [20]]}, "frame 1 .* 21 to 108"),
        ({"opening": [60]}, "want a list of MIDI numbers, got 60"),
    ],
    ("SwitchNow",): [
        ({"matrices": np.zeros((3, 2))}, "matrices has shape"),
        ({"matrices": np.zeros((13, 2, 2))}, "matrices=13: want 2 to 12"),
        ({"schedule": [[0, 11, 1.0]]}, "matrix of the schedule=11: want 0 to 9"),
        ({"schedule": [[0, 0, 2.0]]}, r"one of \[0.25, 1.0, 4.0\]"),
        ({"weights": small.hyper_weights(models={"a": small.described(small.piano())})}, "'vrnn'"),
    ],
    ("ScaleWeather",): [
        ({"weights": small.hyper_weights(models={"a": small.described(small.piano())})}, "has 88"),
    ],
}


@pytest.mark.parametrize("key", BAD, ids=lambda key: " ".join(key[:2]))
def test_what_is_wrong_with_a_widget_s_arguments_is_named(key):
    for changes, message in BAD[key]:
        given = changes
        if key[1:]:
            item = key[2](**changes)
            given = {key[1]: item if key[1:] in WHOLE else [item]}
        with pytest.raises(REFUSED, match=message):
            small.MAKERS[key[0]](**given)


# Weights


def layer(place, *new):
    layers = small.network(2, 16, hidden=8)
    layers[place] = tuple(a if b is None else b for a, b in zip(layers[place], new, strict=True))
    return {"models": {"a": layers}, "golden": {}}


def of_a(**options):
    return {"models": {"a": small.network(2, 16, hidden=8)}, "golden": {}} | options


def golden(z, x):
    return of_a(golden={"a": (z, x)})


def language(name, value):
    full = LanguageWeights._tensors[name][0]
    return {"models": {"a": small.language_arrays(), "b": small.language_arrays() | {full: value}}}


def deep(**options):
    sizes = (small.LANGUAGE_SIZE, small.LANGUAGE_WIDTH, small.LANGUAGE_WIDTH, small.LANGUAGE_WIDTH)
    return {"models": {"a": small.language_arrays(model=AWDLSTM(*sizes, **options))}}


def pooling(name, value):
    given = small.encoders()
    given["max"][PoolingWeights._tensors[name][0]] = value
    return {"encoders": given}


def single(**changes):
    return {"models": {"it": small.described(small.recurrent()["VHRNN"], **changes)}}


def state(key, value=None):
    given = small.arrays(small.recurrent()["VHRNN"]) | {key: value}
    return single(state={name: v for name, v in given.items() if v is not None})


def wide(kind, size, width, names):
    shapes = {"V E": (size, 64), "4H E": (4 * width, 64), "4H H": (4 * width, width)}
    shapes |= {"4H": (4 * width,), "2D H": (32, width), "4E E": (4 * width, width)}
    shapes |= {"4E": (4 * width,), "V": (size,)}
    if kind is LanguageWeights:
        shapes["V E"] = (size, width)
    model = {full: np.ones(shapes[shape]) for full, shape in kind._tensors.values()}
    words = [f"w{i}" for i in range(size - 4)]
    return {f"{kind._model}s": dict.fromkeys(names, model), "words": words}


V, E, H, _ = small.POOLING_SIZES
ROWS, SENTENCES = small.means()["tokens"], small.log_probs()["tokens"]
LACK = "5 words, but the embedding has rows for 6"
MANY = [f"w{i}" for i in range(36_000)]
LARGE = small.described(VariationalRNN(88, 160, 160, "bernoulli"))
BAD_WEIGHTS = {
    small.page_weights: [
        (layer(1, np.full((8, 8), NAN), None, None), "model 'a', layer 1: weight holds"),
        (layer(1, *small.network(3, 5)[0][:2], None), r"layer 1: .*\(256, 3\).*D = 8"),
        (layer(0, None, None, "gelu"), "activation='gelu': want one of"),
        (of_a(models={"a": []}), "has no layers"),
        (of_a(models={"a": small.network(10, 784, hidden=400)}), "at most 300000"),
        (
            of_a(golden={"b": (np.zeros((1, 2)), np.zeros((1, 16)))}),
            r"want of \['a'\], .* got \['b'\]",
        ),
        (golden(np.zeros((2, 2)), np.zeros((1, 16))), r"\(1, 16\).*G = 2"),
        (of_a(calibration={"a": np.zeros((4, 3))}), "calibration of 'a'"),
    ],
    small.text_weights: [
        ({"tensors": small.tensors(vertices=np.zeros((3, 5)))}, "vertices has shape"),
        ({"tensors": small.tensors(word_bias=np.full(14, NAN))}, "word_bias holds values"),
        ({"tensors": {}}, "lacks"),
        ({"words": small.WORDS[:-1]}, LACK),
        ({"words": [*small.WORDS[:-1], "the"]}, "comes twice"),
        ({"golden": [{"sentence": "a"}]}, "a golden sentence lacks"),
        ({"golden": [small.GOLDEN | {"weights": [1.0, 1.0, 0.0]}]}, "that sum to 1"),
        ({"tensors": small.tensors(36_000), "words": MANY}, "at most 1500000"),
    ],
    small.rewriter_weights: [
        ({"words": small.WORDS[:-1]}, LACK),
        ({"words": [*small.WORDS[:-1], "the"]}, "comes twice"),
        ({"golden": [{"text": "a"}]}, "a golden text lacks"),
    ],
    small.language_weights: [
        (language("weight_ih", np.zeros((64, 17))), r"weight_ih_l0 has shape \(64, 17\), .*4E, E"),
        (language("bias", np.full(small.LANGUAGE_SIZE, INF)), "values that are not finite"),
        ({"models": {}}, "want at least one"),
        ({"models": {"a": {}}}, "model 'a' lacks"),
        (deep(layers=2, experts=0), "lstms.1.*want one LSTM layer"),
        (deep(layers=1, experts=2), "head.*a plain softmax"),
        (language("embedding", np.zeros((31, 16))), f"V = {small.LANGUAGE_SIZE}"),
        ({"words": small.LANGUAGE_WORDS[:-1]}, "25 words, but the embedding has rows for 26"),
        ({"words": [*small.LANGUAGE_WORDS[:-1], "the"]}, "comes twice"),
        ({"golden": small.log_probs() | {"log_probs": {}}}, "golden log_probs lacks"),
        ({"golden": small.log_probs() | {"tokens": [[], *SENTENCES[1:]]}}, "at least one"),
        ({"golden": small.log_probs() | {"tokens": [[30], *SENTENCES[1:]]}}, "below 30"),
        (wide(LanguageWeights, 6000, 120, "ab"), "a page holds at most 1500000"),
    ],
    small.pooling_weights: [
        (pooling("weight_hh", np.zeros((4 * H, H + 1))), r"'max': .*weight_hh_l0 has shape"),
        (pooling("embedding", np.zeros((V + 1, E))), r"has shape \(11, 16\).*V = 10"),
        ({"encoders": {"median": small.encoder()}}, "median"),
        ({"encoders": {"max": small.encoder(bidirectional=True)}}, "one layer, forwards only"),
        ({"golden": {"tokens": ROWS}}, r"golden lacks \['means'\]"),
        ({"golden": small.means() | {"tokens": [[1, 4], *ROWS[1:]]}}, r"golden tokens \[1, 4\]"),
    ],
    small.hyper_weights: [
        (single(kind="gan"), r"kind='gan': want one of \['vrnn', 'vhrnn'\]"),
        (single(emission="poisson"), "emission='poisson': want one of"),
        (single(hyper_input="all"), "hyper_input='all': want one of"),
        (single(cell="gru"), "cell='gru': want one of"),
        (single(sigma_min=0), "sigma_min=0.0, want above 0"),
        (single(colour=1), "option='colour'"),
        (single(kind="vrnn"), "no part of a vrnn"),
        (single(emission="bernoulli"), r"decoder.4.weight has shape \(4, 4\)"),
        (single(hyper_input="latent"), r"has shape \(16, 8\)"),
        (state("heads.bias"), r"lacks \['heads.bias'\]"),
        (state("prior.0.weight", np.zeros((4, 3))), r"prior.0.weight has shape \(4, 3\)"),
        (state("input_mean", np.array([0, NAN])), "input_mean holds values that are not finite"),
        (state("extra", np.zeros(2)), "extra is no part of a vhrnn"),
        ({"models": {}}, "at least one"),
        ({"models": {"it": {"kind": "vrnn"}}}, r"lacks \['emission', 'state'\]"),
        ({"golden": {"other": {}}}, r"golden: want of .* got \['other'\]"),
        ({"golden": {"VHRNN": {"x": np.zeros((3, 2))}}}, "want x, noise and some of"),
        ({"golden": {"VHRNN": small.hyper_golden(kl=np.zeros((3, 4)))}}, r"kl has shape \(3, 4\)"),
        ({"models": {"it": LARGE}}, "a page holds at most 300000"),
    ],
}


@pytest.mark.parametrize("make", BAD_WEIGHTS)
def test_what_is_wrong_with_weights_is_named(make):
    """What `WordWeights` checks of all models with words stands among the language models' rows."""
    for changes, message in BAD_WEIGHTS[make]:
        with pytest.raises(ValueError, match=message):
            make(**changes)


def test_the_book_s_models_fit_a_page():
    assert len(LanguageWeights(**wide(LanguageWeights, 264, 64, small.NAMES)).data) < 120_000
    assert len(PoolingWeights(**wide(PoolingWeights, 4000, 128, ("last", "max"))).data) < 800_000
    assert len(small.hyper_weights().data) < 20_000


# The checks


def test_shapes_are_checked_against_their_table():
    table = {"embedding": "V E", "gates": "4H E+D", "head": "2D H", "offset": "2R+1", "one": ()}
    shapes = {"embedding": (7, 3), "gates": (20, 5), "head": (4, 5), "offset": (9,), "one": ()}
    sizes = {}
    good = {name: np.ones(shape) for name, shape in shapes.items()}
    assert list(checks.arrays("it", good | {"more": 1}, table, sizes)) == list(table)
    assert sizes == {"V": 7, "E": 3, "H": 5, "D": 2, "R": 4}
    bad = {"embedding": (0, 3), "gates": (21, 5), "head": (5, 5), "offset": (8,), "one": (1,)}
    for name, shape in bad.items():
        with pytest.raises(ValueError, match=f"it: {name} has shape"):
            checks.arrays("it", good | {name: np.ones(shape)}, table)
    with pytest.raises(ValueError, match=r"it lacks \['head'\]"):
        checks.arrays("it", lacking(good, "head"), table)
