"""A small widget of each kind, and small weights of each kind, with what a test changes."""

import functools

import numpy as np
import torch

from dgm import steering as steering_library
from dgm.data.dynamics import dynamics_matrices
from dgm.data.synthetic import THEMES
from dgm.data.text import Vocabulary
from dgm.nets.copying import END, CopyingTransformer, Sizes
from dgm.nets.language_models import plain_lstm
from dgm.nets.text_vae import TextVAE
from dgm.papers.variational_hyper_rnn import VariationalHyperRNN, VariationalRNN, trace
from dgm.simplex_steering import SteeringModel
from dgm_book import widgets
from dgm_book.chapters.controllable_text_vae.rewriter_results import narrowed, plain_values
from dgm_book.chapters.controllable_text_vae.steering import page_tensors
from dgm_book.widgets.text_weights import KINDS
from dgm_book.widgets.weights import ACTIVATIONS

MATRICES = dynamics_matrices().numpy()


def arrays(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def maker(kind, **options):
    """Return ``make(**changes)`` of a widget or weights; an option may be a function of nothing."""

    def make(**changes):
        given = {k: v() if callable(v) else v for k, v in options.items() if k not in changes}
        return kind(**given | changes)

    make.__name__ = kind.__name__
    return make


# Chapter 1

BLURS = (0, 0.5, 1, 2)
DAMAGE_BETA = np.geomspace(0.01, 100, 13)


def network(inputs, outputs, hidden=256, seed=0):
    r = np.random.default_rng(seed)

    def layer(n, m, gain):
        return r.normal(size=(n, m)) * gain / np.sqrt(m), 0.1 * r.normal(size=n)

    sizes = [(hidden, inputs, 1, "tanh"), (hidden, hidden, 1, "tanh")]
    sizes.append((outputs, hidden, 3, "sigmoid"))
    return [(*layer(*size), name) for *size, name in sizes]


def decode(layers, z):
    for weight, bias, activation in layers:
        z = ACTIVATIONS[activation](z @ weight.T + bias)
    return z


def page_weights(**changes):
    models = {"vae2": network(2, 16, hidden=8), "vae3": network(3, 16, hidden=8, seed=2)}
    z = np.random.default_rng(1).normal(size=(4, 2))
    golden = {"vae2": (z, decode(models["vae2"], z))}
    return widgets.PageWeights(**{"models": models, "golden": golden} | changes)


def curve(name="vae2", latent=2, betas=5, images=3, **changes):
    beta = np.geomspace(0.1, 10, betas)
    rate, distortion = np.log1p(beta), 8 / (1 + beta)
    codes = np.random.default_rng(3).normal(size=(betas, images, latent))
    options = {"model": name, "label": f"model {name}", "beta": beta, "rate": rate}
    options |= {"rate_error": 0.1 * rate, "distortion": distortion, "codes": codes}
    return options | {"log_z": -rate - beta * distortion} | changes


SQUARE = {"weights": page_weights, "image_shape": (4, 4)}
TWO_CURVES = [curve(), curve("vae3", 3, betas=3)]
MEANS = {"means": np.random.default_rng(4).normal(size=(30, 2)), "labels": np.arange(30) % 3}
RIVALS = {"references": {"Gaussian": ([8, 1, 0.1], [0.1, 2, 30])}}
RIVALS |= {"marks": {"codec": ([2, 1], [9, 20])}}
explorer = maker(widgets.RateDistortionExplorer, curves=TWO_CURVES, **RIVALS, **SQUARE)
plane = maker(widgets.LatentSpace, model="vae2", **MEANS, **SQUARE)
digit = maker(widgets.DrawADigit, model="vae2", **SQUARE)


def damage(**changes):
    """Return the closed form of f(z) = s z under N(0, v I); blur adds to the distance."""
    r = np.random.default_rng(0)
    gain, code = np.linspace(2, 1, 3), r.normal(size=(6, 3))
    beyond = r.uniform(1, 4, size=6)
    curves = {f"{a}_{b}": [] for a in ("narrow", "wide") for b in ("log_z", "distortion")}
    for blur in BLURS:
        s, apart = gain / (1 + 0.2 * blur), beyond + blur
        for name, variance in (("narrow", 1), ("wide", 100)):
            a = 2 * DAMAGE_BETA[:, None, None] * variance * s**2
            far = (gain * code) ** 2
            log_z = -0.5 * np.log1p(a) - DAMAGE_BETA[:, None, None] * far / (1 + a)
            distortion = variance * s**2 / (1 + a) + far / (1 + a) ** 2
            curves[f"{name}_log_z"].append(log_z.sum(2) - DAMAGE_BETA[:, None] * apart)
            curves[f"{name}_distortion"].append(distortion.sum(2) + apart)
    return {"beta": DAMAGE_BETA, "blurs": BLURS, "likelihood_beta": 4.0} | curves | changes


lab = maker(widgets.DamageLab, curves=damage, alpha=0.5)

# Chapters 2 and 3

SCORES = {
    name: np.random.default_rng(i).normal(0, 2, (2, 7))
    for i, name in enumerate(("phase I", "likelihood"))
}


def text(name="chain", **changes):
    base = {"name": name, "label": name.title(), "anchors": [0, 4], "scores": SCORES}
    return base | {"texts": [f"sentence {i} of {name}" for i in range(14)]} | changes


lottery = maker(widgets.RamlLottery, sets=[text(), text("play")])


TURN = np.arange(8) * np.pi / 4
CENTRES = np.stack([np.cos(TURN), np.sin(TURN)], 1)
target = maker(dict, name="eight", label="8 Gaussians", centres=CENTRES, sigma=0.05)
TARGETS = [target(), target(name="single", centres=[[0, 0]])]
playground = maker(widgets.GANPlayground, targets=TARGETS)
LANGUAGE_WORDS = [word for words in THEMES.values() for word in words[:3]] + ["the", "of"]
LANGUAGE_SIZE, LANGUAGE_WIDTH = 4 + len(LANGUAGE_WORDS), 16
NAMES = ("likelihood", "phase I")
OPENINGS = ["the sea boat", "the oven"]


def language_arrays(seed=0, model=None):
    torch.manual_seed(seed)
    state = (model or plain_lstm(LANGUAGE_SIZE, LANGUAGE_WIDTH)).state_dict()
    return {name: torch.randn(value.shape).numpy() / 2 for name, value in state.items()}


ARRAYS = language_arrays()


def log_probs():
    dice, tokens = np.random.default_rng(0), [[2], [2, 4, 9, 3], [7, 7, 2, 12, 29]]
    rows = {name: dice.normal(size=(3, LANGUAGE_SIZE)).astype("<f4") for name in NAMES}
    return {"tokens": tokens, "log_probs": rows}


MODELS = {name: language_arrays(i) for i, name in enumerate(NAMES)}
language_weights = maker(widgets.LanguageWeights, models=MODELS, words=LANGUAGE_WORDS)


LINE = {"mean": [1.3, 1.0], "low": [1.2, 0.9], "high": [1.4, 1.1]}
EXACT = {"distances": [1, 2], "exact": [1.56, 1.2], "stay": 0.9}
information = maker(dict, models=dict.fromkeys(NAMES, LINE), **EXACT)
STORY = {"weights": language_weights, "themes": THEMES, "openings": OPENINGS}
teller = maker(widgets.Storyteller, curves=information, **STORY)


def question(i=0, answer=None, **changes):
    answer = i % 2 if answer is None else answer
    base = {"sentence": f"sentence {i}", "options": [f"one {i}", f"two {i}"], "answer": answer}
    return base | {"scores": {"a": [1.0, 0.0], "b": [0.5, 0.5]}} | changes


quiz = maker(widgets.NextSentenceQuiz, questions=[question(i) for i in range(5)])

# Chapters 4 and 5

WORDS = ["the", "pizza", "was", "great", "awful", "."]
EXAMPLES = ["the pizza was great .", "the pizza was awful .", "great zorp pizza"]
POOLING_SIZES = (4 + len(WORDS), 16, 32, 4)


def tensors(words=6, **changes):
    """Return the random arrays of an untrained model."""
    torch.manual_seed(0)
    vocabulary = Vocabulary([f"w{i}" for i in range(words)], 4, mask=True)
    model = SteeringModel(vocabulary, embedding=32, hidden=48, context=24, voters=16)
    return arrays(model) | changes


GOLDEN = {"sentence": EXAMPLES[0], "weights": [0.0, 0.0, 1.0], "margins": [0.5]}
GOLDEN |= {"threshold": 0.9, "rewrite": EXAMPLES[1]}


text_weights = maker(widgets.TextWeights, tensors=tensors, words=WORDS, golden=[GOLDEN])


@functools.cache
def rewriting_model(vertices="01234", words=tuple(WORDS), seed=1):
    """A random rewriter whose candidates vary; its weights are those of the page."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vocabulary = Vocabulary(list(words), steering_library.SLOTS)
        sizes = Sizes(16, 2, 1, 1, 24, len(vertices), 48)
        rewriter = CopyingTransformer(len(vocabulary), vocabulary.first_word, sizes, dropout=0.0)
        for parameter in rewriter.parameters():
            parameter.data *= 5 if parameter.ndim > 1 else 1
        rewriter.bias.data[END] = 1.0
        return narrowed(steering_library.RewritingModel(vocabulary, vertices, rewriter))


def rewriter_weights(model=None, golden=(), **changes):
    model = model or rewriting_model()
    values = plain_values(model) | changes
    arrays = {name: value.numpy() for name, value in page_tensors(model).items()}
    return widgets.RewriterWeights(values, arrays, golden)


def attribute(name="sentiment", **changes):
    vertices = ("plain", "romantic", "humorous") if name == "captions" else "01234"
    shown = [{"text": x, "shows": f"example {i}"} for i, x in enumerate(EXAMPLES)]
    base = {"name": name, "label": name.title(), "examples": shown}
    return base | {"weights": rewriter_weights(rewriting_model(vertices))} | changes


def attributes():
    return [attribute(), attribute("captions")]


steering = maker(widgets.SentenceSteering, attributes=attributes)
switch = maker(widgets.AttributeSwitch, weights=text_weights, examples=EXAMPLES)


walk = maker(
    dict,
    label="VAE",
    axis="standard deviations",
    steps=[-1, 0, 2],
    sentences=[["a b", "c", "d"], ["e", "f", "g"]],
    log_mean=[[3, 1, 4], [2, 1, 5]],
    mean_log=[[30, 10, 40], [20, 10, 50]],
    original={"log_mean": np.arange(2000.0), "mean_log": [1, 2]},
)
WALKS = [walk(), walk(label="Simplex")]
cliff = maker(widgets.LatentCliff, sources=EXAMPLES[:2], models=WALKS)


def row(step, seconds=None, **measures):
    return {"seconds": step / 50 if seconds is None else seconds, "step": step} | measures


def run(name="max", group="pooling", **changes):
    rows = [row(s, kl=0.01 * s, log_likelihood=-40 + 0.01 * s) for s in (0, 100, 200)]
    return {"name": name, "label": f"{name}!", "group": group, "measured": rows} | changes


bound_race = maker(widgets.PoolingRace, runs=[run(), run("plain", "plain")])


def moments(seed=0, steps=(0, 10, 100), m=12, **changes):
    dice = np.random.default_rng(seed)
    values = {"steps": list(steps), "points": dice.normal(size=(len(steps), m, 2))}
    values |= {name: dice.uniform(size=len(steps)) for name in ("cosine", "relative")}
    return values | {"participation": 1 + 9 * dice.uniform(size=len(steps))} | changes


def frames(steps=(0, 10, 100), m=12, **changes):
    kinds = ("last", "mean", "max")
    return {kind: moments(i, steps, m) for i, kind in enumerate(kinds)} | changes


def sentences(name="yelp", steps=(0, 10, 100), m=12, **changes):
    data = {"name": name, "label": name.title(), "classes": [".", "!", "other"]}
    data |= {"class_of": np.arange(m) % 3, "texts": [f"sentence {i}" for i in range(m)]}
    return data | {"frames": frames(steps, m)} | changes


SETS = [sentences(), sentences("other", (0, 5), classes=["a", "!", "c"])]
scope = maker(widgets.DispersionMicroscope, sets=SETS)


def encoder(kind="max", seed=0, **options):
    torch.manual_seed(seed)
    options = {"layers": 1, "bidirectional": False, "pooling": kind} | options
    return arrays(TextVAE(*POOLING_SIZES, **options))


def encoders():
    return {kind: encoder(kind, seed) for seed, kind in enumerate(KINDS)}


def means():
    rows = [[1, 4, 5, 6, 7, 9, 2], [1, 3, 8, 2, 0, 0, 0], [1, 2, 0, 0, 0, 0, 0]]
    dice = np.random.default_rng(0)
    return {"tokens": rows, "means": {kind: dice.normal(size=(3, 4)) for kind in KINDS}}


pooling_weights = maker(widgets.PoolingWeights, encoders=encoders, words=WORDS)
ruler = maker(widgets.InfluenceRuler, weights=pooling_weights, examples=EXAMPLES)
temperature = maker(widgets.TemperatureSlider, weights=pooling_weights, examples=EXAMPLES)

# Chapter 6


def shaken(kind, *sizes, seed=0, by=0.25, **options):
    """Return a model whose parameters, and input mean, are away from where they start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(*sizes, **options)
        with torch.no_grad():
            for parameter in [*model.parameters(), model.input_mean]:
                parameter.add_(by * torch.randn(parameter.shape))
    return model.eval().requires_grad_(False)


def described(model, **changes):
    is_hyper = isinstance(model, VariationalHyperRNN)
    options = {"hyper_input": model.hyper_input} if is_hyper else {}
    kind = {"kind": "vhrnn" if is_hyper else "vrnn", "emission": model.emission}
    return kind | options | {"state": arrays(model), "sigma_min": model.sigma_min} | changes


def recurrent():
    return {
        "VHRNN": shaken(VariationalHyperRNN, 2, 4, 4, 12, "gaussian", 2),
        "VRNN": shaken(VariationalRNN, 2, 8, 8, "gaussian", 2, seed=1),
    }


def piano():
    return shaken(VariationalHyperRNN, 88, 28, 14, 18, "bernoulli", hyper_input="latent", by=0.1)


def two_recurrent():
    return {name: described(model) for name, model in recurrent().items()}


hyper_weights = maker(widgets.HyperWeights, models=two_recurrent)


def hyper_golden(**changes):
    x, noise = torch.zeros(3, 2), torch.zeros(3, 5, 4)
    return {"x": x, "noise": noise, **trace(recurrent()["VHRNN"], x, noise)._asdict()} | changes


def piano_weights(keys=88):
    return widgets.HyperWeights({"VRNN": described(VariationalRNN(keys, 3, 3, "bernoulli"))})


switch_now = maker(widgets.SwitchNow, weights=hyper_weights, matrices=MATRICES)
weather = maker(widgets.ScaleWeather, weights=hyper_weights, matrices=MATRICES)
chorale = maker(widgets.Chorale, weights=piano_weights)
ALL = [explorer, plane, lab, digit, widgets.BoundRace, lottery, teller, quiz, playground]
ALL += [widgets.PatternBench, steering, switch, cliff, bound_race, scope, ruler, temperature]
ALL += [widgets.ParticleKalman, chorale, switch_now, weather]
MAKERS = {make.__name__: make for make in ALL}

SETTINGS = {  # what a page, or Python, sets of each
    "RateDistortionExplorer": {
        "model": "vae3",
        "beta_index": 1,
        **dict.fromkeys(("log_distortion", "log_rate"), True),
        "show_references": False,
    },
    "LatentSpace": {"z": [0.5, -1.25]},
    "DamageLab": {"alpha": 0.25, "blur": 1},
    "DrawADigit": {"drawing": [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5]], "seed": 7, "temperatures": 75},
    "BoundRace": {"correlation": 0.25, "dimension": 7, "batch": 2, "seed": 9999},
    "RamlLottery": {"set": "play", "anchor": 1, "critic": "", "p": 0.9, "temperature": 0.25},
    "Storyteller": {"opening": "the", "temperature": 1.5, "seed": 3},
    "NextSentenceQuiz": {"first": 3, "answers": [1, 0]},
    "GANPlayground": {"target": "single", "seed": 7, "weight": 0.5, "margin": 1.5, "decay": False},
    "PatternBench": {"points": [[0.1 * k, -0.1 * k] for k in range(8)], "units": 3, "margin": 2.0},
    "SentenceSteering": {
        "attribute": "captions",
        "sentence": "great pizza .",
        "target": [0.25, 0.5, 0.25],
        "position": 0.5,
        "locked": ["pizza", "\u00e9tude"],
        "alternative": 1,
    },
    "AttributeSwitch": {"example": 1, "place": 5, "backward": True},
    "LatentCliff": {"source": 1, "places": [0, 2], "measure": "mean_log"},
    "PoolingRace": {"time": 0.25, "highlighted": "max", "shown": ["max"], "axis": "steps"},
    "DispersionMicroscope": {"set": "other", "frame": 0, "highlighted": "a"},
    "InfluenceRuler": {"sentence": "hello", "own_scale": True},
    "TemperatureSlider": {"sentence": "hello", "kind": "mean", "position": 3},
    "ParticleKalman": {"sequence": "twenty", "particles": 9, "criterion": "never", "seed": 9999},
    "Chorale": {"opening": [[], [60, 64]], "temperature": 0.5, "length": 8, "seed": 7},
    "SwitchNow": {"schedule": [[0, 1, 1.0], [9, 2, 4.0]], "steps": 70, "seed": 9},
    "ScaleWeather": {"freeze": 0.35, "seed": 9},
}

ACTS = {  # what a reader does, a control and a key each, and what Python then has
    "RateDistortionExplorer": (
        [("slider", "End"), ("checkbox:reference lines", "Space")],
        {"beta_index": 4, "show_references": False},
    ),
    "LatentSpace": ([("slider", "Home")], {}),
    "DamageLab": ([("slider", "Home"), ("slider:blur", "ArrowRight")], {"alpha": 0, "blur": 1}),
    "DrawADigit": ([("combobox:Temperatures", "ArrowUp")], {"temperatures": 150}),
    "BoundRace": ([("slider:Dimensions", "End")], {"dimension": 20}),
    "RamlLottery": ([("slider:Chance", "Home")], {"p": 0.05}),
    "Storyteller": ([("slider", "End")], {"temperature": 2}),
    "NextSentenceQuiz": ([("button:one 0", "Enter")], {"answers": [0]}),
    "GANPlayground": ([("slider:Weight", "Home"), ("slider:Margin", "ArrowLeft")], {"weight": 0}),
    "PatternBench": ([("slider:Units", "End")], {"units": 12}),
    "SentenceSteering": (
        [("slider:How", "Home"), ("button:pizza", "Enter")],
        {"position": 0, "locked": ["pizza"]},
    ),
    "AttributeSwitch": ([("slider:Switch", "Home")], {"place": 0}),
    "LatentCliff": ([("slider", "Home")], {"places": [0, 1]}),
    "PoolingRace": (
        [("slider", "Home"), ("radio:steps", "Space"), ("checkbox:plain!", "Space")],
        {"time": 0, "axis": "steps", "shown": ["max"]},
    ),
    "DispersionMicroscope": (
        [("button:!", "Enter"), ("radio:Other", "Space")],
        {"set": "other", "frame": 1, "highlighted": "!"},
    ),
    "InfluenceRuler": ([("checkbox", "Space")], {"own_scale": True}),
    "TemperatureSlider": ([("slider", "End")], {"position": 100}),
    "ParticleKalman": (
        [("slider:Particles", "End"), ("radio:every step", "Space")],
        {"particles": 64, "criterion": "always"},
    ),
    "Chorale": ([("slider:Temperature", "Home")], {"temperature": 0.3}),
    "SwitchNow": ([("button:One step", "Enter")], {"steps": 61}),
    "ScaleWeather": ([("slider", "End")], {"freeze": 1}),
}
