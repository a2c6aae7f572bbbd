"""What all models and all papers' objectives have in common."""

import importlib
import math
import pkgutil
from collections import namedtuple
from functools import partial

import pytest
import torch
from checks import close, exactly
from draws import rng
from torch import nn

from dgm import checkpoint, nets, papers
from dgm import simplex_steering as steering
from dgm.data.text import Vocabulary, sentence_features
from dgm.nets.conv import dcgan_discriminator, dcgan_generator
from dgm.nets.language_models import AWDLSTM, Dropouts, TransformerLM, plain_lstm
from dgm.nets.lstm import LSTMDecoder, sequence_nll, token_nll_in_blocks
from dgm.nets.pooling import KINDS, pool
from dgm.nets.text_cnn import TextCNN
from dgm.nets.text_vae import TextVAE
from dgm.papers import bre_gan, controllable_text_vae, rate_distortion
from dgm.papers import mutual_information_lm as information
from dgm.papers import pooling_vae as pooling
from dgm.papers import variational_hyper_rnn as hyper
from dgm.sampling.particles import particle_bound

LENGTHS = torch.tensor([3, 6, 4, 5])
WIDTH, WORDS = 6, 20
Total = namedtuple("Total", ["value"])  # the state of some particles
INSIDE = torch.arange(WIDTH) < LENGTHS[:, None]
EMISSIONS = ("gaussian", "bernoulli")
VOCABULARY = Vocabulary([f"w{i}" for i in range(12)], 2, mask=True)
SENTENCES = [" ".join(f"w{i + k}" for k in range(5)) for i in range(6)]


def frames(padding=0.5):
    x = torch.rand(4, WIDTH, 3, generator=rng())
    return torch.where(INSIDE[..., None], x, padding)


def tokens(padding=0):
    words = torch.randint(4, WORDS, (4, WIDTH), generator=rng())
    words[:, 0] = 1
    return torch.where(INSIDE, words, padding)


# Models, by name; `outputs` are those of some rows, without noise except that of particles
MODELS = {
    "image-vae": lambda: rate_distortion.ImageVAE(3, 2, [6, 6]),
    "text-vae": lambda: TextVAE(WORDS, 5, 6, 3),
    "text-vae-last": lambda: TextVAE(WORDS, 5, 6, 3, bidirectional=False, pooling="last"),
    "language-model": lambda: LSTMDecoder(WORDS, 5, 6, 0),
    "text-cnn": lambda: TextCNN(WORDS, 5, 4),
    "controllable": lambda: controllable_text_vae.ControllableTextVAE(
        WORDS, 3, embedding=5, hidden=6, structured_dim=4, residual_dim=3, decoder_embedding=5
    ),
    "lstm": lambda: AWDLSTM(WORDS, 6, 7, 8, layers=2, experts=2),
    "lstm-plain": lambda: plain_lstm(WORDS, 6),
    "transformer": lambda: TransformerLM(WORDS, 8, layers=1, heads=2),
    "critic": lambda: information.SegmentCritic(3, hidden=6),
    "steering": lambda: steering.SteeringModel(
        VOCABULARY, embedding=12, hidden=20, context=16, voters=14, latent_dim=6
    ),
    "toy-generator": bre_gan.toy_generator,
    "toy-discriminator": bre_gan.toy_discriminator,
    "dcgan-generator": lambda: dcgan_generator(3, (4, 4), (1, 8)),
    "dcgan-discriminator": lambda: dcgan_discriminator((4, 4, 4), (1, 8)),
    "dcgan-spectral": lambda: dcgan_discriminator((4, 4, 4), (1, 8), norm="spectral"),
    **{f"hyper-plain-{e}": partial(hyper.VariationalRNN, 3, 4, 8, e) for e in EMISSIONS},
    **{f"hyper-hyper-{e}": partial(hyper.VariationalHyperRNN, 3, 4, 8, 5, e) for e in EMISSIONS},
    **{
        f"hyper-fixed-{e}": partial(hyper.DeterministicHyperRNN, 3, 8, e, 1, 8, 4)
        for e in EMISSIONS
    },
}


def build(name, seed=0):
    torch.manual_seed(seed)
    return MODELS[name]()


def outputs(name, model, rows):
    words, lengths, x = tokens()[rows], LENGTHS[rows], frames()[rows]
    kind, short = name.partition("-")[0], words % 14
    model.eval()
    if kind in ("text", "controllable") and name != "text-cnn":
        features = [x[:, 0]] if kind == "controllable" else []
        mu, logvar = model.posterior(words, lengths, *features)
        return torch.cat([logvar, model.decoder.nll(words, lengths, mu)[:, None]], 1)
    if kind == "steering":
        read, memory = model.read(short[:, 1:]), model.remember(short[:, 1:])
        logits, _ = model.decode(short, read.query, memory, model.start(read.query, memory))
        return torch.cat([read.p, logits.flatten(1)], 1)
    if kind == "image":
        mu, logvar = model.posterior(x[:, 0])
        return torch.cat([logvar, model.decoder(mu), model.log_variance.expand(len(x), 1)], 1)
    if kind in ("lstm", "transformer"):
        return model.step(words[:, 1], model.start(len(words)))[0]
    if kind == "hyper":
        return of_sequences(model, x, lengths)
    if name == "language-model":
        return model.nll(words, lengths)
    inputs = {
        "text-cnn": [words, lengths],
        "critic": [x[:, 0], x[:, 1]],
        "dcgan-generator": [x[:, 0]],
        "toy-generator": [x[:, 0, :2]],
        "toy-discriminator": [x[:, 0, :2]],
    }
    return model(*inputs.get(name, [torch.rand(4, 1, 8, 8, generator=rng())[rows]]))


def of_sequences(model, x, lengths=LENGTHS):
    if isinstance(model, hyper.DeterministicHyperRNN):
        return model(x, lengths)
    return hyper.bound(model, x, lengths, 4, "ess", rng()).log_likelihood


# Rewriters, flows and others' decoders have tests of their own.
OWN_TESTS = ("copying", "graded_reader", "coupling", "flow_matching", "onnx_decoder")


def test_every_module_of_the_library_is_among_the_models():
    built = {type(part) for name in MODELS for part in build(name).modules()}
    packages = ((nets, "dgm.nets."), (papers, "dgm.papers."))
    names = {m.name for p, name in packages for m in pkgutil.iter_modules(p.__path__, name)}
    names -= {f"dgm.nets.{name}" for name in OWN_TESTS}
    modules = [steering, *map(importlib.import_module, names)]
    members = [kind for m in modules for kind in vars(m).values() if isinstance(kind, type)]
    classes = {k for k in members if issubclass(k, nn.Module) and k.__module__[:4] == "dgm."}
    bases = {base for kind in classes for base in kind.__mro__[1:]}
    assert len(classes) > 12
    assert classes - built - bases == set()


@pytest.mark.parametrize("name", MODELS)
def test_what_is_saved_and_loaded_computes_the_same(name, tmp_path):
    model, other = build(name), build(name, seed=1)
    expected = outputs(name, model, slice(0, 4))
    assert not torch.equal(outputs(name, other, slice(0, 4)), expected)
    checkpoint.save(tmp_path / "model.safetensors", dict(model.state_dict()))
    other.load_state_dict(checkpoint.load(tmp_path / "model.safetensors"))
    assert torch.equal(outputs(name, other, slice(0, 4)), expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_row_alone_is_what_it_is_in_a_batch(name):
    model = build(name)
    batch = outputs(name, model, slice(0, 4))
    for row in range(4):
        alone = outputs(name, model, slice(row, row + 1))
        assert alone.isfinite().all()
        if name.startswith(("hyper-plain", "hyper-hyper")):
            assert alone.shape == batch[:1].shape  # its particles draw other noise
        else:
            close(alone, batch[row : row + 1], rtol=1e-5, atol=1e-5)


LANGUAGE_MODELS = ("lstm", "lstm-plain", "transformer")
READ = {
    **{name: lambda m, x, g: m.read(x, None, g).output for name in LANGUAGE_MODELS},
    "language-model": lambda m, x, g: m.nll(x, LENGTHS, generator=g),
    "text-vae": lambda m, x, g: m.decoder.nll(x, LENGTHS, frames()[:, 0], generator=g),
    "text-cnn": lambda m, x, g: m(x, LENGTHS, g),
}


@pytest.mark.parametrize("name", READ)
def test_dropout_comes_from_the_generator_alone(name):
    model = build(name)
    once, plain = (READ[name](model, tokens(), generator) for generator in (rng(1), None))
    torch.manual_seed(77)
    assert torch.equal(READ[name](model, tokens(), rng(1)), once)
    for generator in (rng(2), None):
        assert not torch.equal(READ[name](model, tokens(), generator), once)
    assert torch.equal(READ[name](model.eval(), tokens(), None), plain)


# Cases: padding (any number, or a token) -> a value, and the leaves of its gradient


def of_particles(padding, resample):
    weight = torch.full((3,), 0.3, requires_grad=True)

    def step(state, x, t, generator):
        total = state.value + x @ weight + torch.randn(len(x), generator=generator)
        return Total(total), -total.square() + x.log() @ weight

    start = lambda rows, _: Total(torch.zeros(rows))  # noqa: E731
    result = particle_bound(start, step, frames(padding), LENGTHS, 5, resample, rng())
    return torch.cat([result.log_likelihood, result.ess.flatten()]), [weight]


def of_pool(padding, kind, temperature=None):
    h = frames(padding).requires_grad_()
    return pool(h, INSIDE, kind, temperature=temperature), [h]


def of_logits(padding):
    logits = torch.randn(4, WIDTH - 1, WORDS, generator=rng())
    logits = torch.where(INSIDE[:, 1:, None], logits, padding).requires_grad_()
    return sequence_nll(logits, tokens(), LENGTHS), [logits]


def of_blocks(padding):
    torch.manual_seed(0)
    head = nn.Linear(3, WORDS)
    return token_nll_in_blocks(head, frames(padding)[:, 1:], tokens(), LENGTHS), []


def of_tied_head(padding, experts):
    torch.manual_seed(0)
    model = AWDLSTM(WORDS, 3, 3, 3, 1, experts, Dropouts(latent=0.2))
    result = model.loss(frames(padding), tokens(), INSIDE.float(), rng())
    leaves = [model.embedding.weight, *model.head.parameters()]
    return torch.cat([result.total[None], result.tokens.flatten()]), leaves


def of_sentence_features(padding):
    vectors = torch.randn(WORDS, 3, generator=rng(), requires_grad=True)
    words = tokens(padding)
    words[0, :3] = 0  # a sentence of markers alone
    weights = torch.rand(WORDS, generator=rng()) * (torch.arange(WORDS) > 3)
    return sentence_features(words, LENGTHS, vectors, weights), [vectors]


def of_model(padding, name, value, read):
    model = build(name)
    return value(model, read(padding)), list(model.parameters())


def controlled(model, words):
    features = frames()[:, 0]
    return controllable_text_vae.controllable_objective(
        model, words, features, rng(), negatives=features.roll(1, 0)[:, None]
    ).value


def bootstrapped(model, words, critic=None, augmented_weight=0.3):
    torch.manual_seed(0)
    critic = critic or information.SegmentCritic(model.feature_width, hidden=6)
    segments = information.Segments(words, LENGTHS)
    draw = information.draw_pairs(4, 4, rng())
    return information.bootstrap_objective(
        model, critic, segments, draw, rng(), augmented_weight=augmented_weight
    ).value


def steered(model, sentences, share):
    words, targets = VOCABULARY.encode(sentences).tokens[:, 1:-1], torch.eye(3).repeat(2, 1)
    return steering.steering_objective(model, words, targets, rng(), back_translated=share).loss()


def elbo(model, words):
    return pooling.pooling_objective(model, words, LENGTHS, rng(), word_dropout_rate=0.3).value


OF_FRAMES = {
    "image-vae": {"image-vae": lambda m, x: rate_distortion.vae_objective(m, x[:, 0], rng()).value},
    **{name: {name: of_sequences} for name in MODELS if name.startswith("hyper")},
}
for e in EMISSIONS:
    evaluated = lambda m, x: hyper.evaluate(m, x, LENGTHS, 4, "ess", rng())  # noqa: E731
    OF_FRAMES[f"hyper-plain-{e}"][f"evaluated-{e}"] = evaluated
OF_WORDS = {
    "text-vae": {
        "elbo": elbo,
        "influence": lambda m, x: pooling.influence(m, x, LENGTHS),
        "by-position": lambda m, x: pooling.reconstruction_by_position(m, x, LENGTHS, rng())[0],
        "marginal": lambda m, x: pooling.marginal_likelihood(m, x, LENGTHS, rng(), n_samples=3)[0],
    },
    "text-vae-last": {"elbo-last": elbo},
    "language-model": {"language-model": lambda m, x: m.nll(x, LENGTHS, generator=rng())},
    "text-cnn": {"text-cnn": lambda m, x: m(x, LENGTHS, rng())},
    "transformer": {"bootstrap-transformer": bootstrapped},
    "lstm": {
        "bootstrap-lstm": bootstrapped,
        "features": lambda m, x: information.segment_features(m, information.Segments(x, LENGTHS)),
    },
}
OF_MODELS = {
    name: partial(of_model, name=model, value=value, read=read)
    for table, read in ((OF_FRAMES, frames), (OF_WORDS, tokens))
    for model, values in table.items()
    for name, value in values.items()
}
FLOATS = {
    **{f"particles-{r}": partial(of_particles, resample=r) for r in ("never", "ess", "always")},
    **{f"pool-{kind}": partial(of_pool, kind=kind) for kind in KINDS},
    "pool-tau": partial(of_pool, kind="logsumexp", temperature=0.5),
    "logits": of_logits,
    "blocks": of_blocks,
    **{f"tied-head-{k}": partial(of_tied_head, experts=k) for k in (0, 2)},
    **{name: case for name, case in OF_MODELS.items() if case.keywords["read"] is frames},
}
TOKENS = {name: case for name, case in OF_MODELS.items() if name not in FLOATS}
TOKENS["sentence-features"] = of_sentence_features
CASES = [(name, case, 0.5, bad) for name, case in FLOATS.items() for bad in (math.nan, math.inf)]
CASES += [(name, case, 0, bad) for name, case in TOKENS.items() for bad in (-100, 5, 10**6)]


def gradients(value, leaves):
    """Of a sum of float values, zeros where there is none."""
    options = {"allow_unused": True, "materialize_grads": True}
    return torch.autograd.grad(value.sum(), leaves, **options) if value.requires_grad else ()


@pytest.mark.parametrize(
    ("case", "clean", "bad"), [c[1:] for c in CASES], ids=[f"{c[0]}-{c[3]}" for c in CASES]
)
def test_what_stands_behind_an_end_changes_neither_value_nor_gradient(case, clean, bad):
    expected, leaves = case(clean)
    value, others = case(bad)
    assert torch.isfinite(expected).all()
    exactly(value, expected)
    dirty, clean = gradients(value, others), gradients(expected, leaves)
    assert all(g.isfinite().all() for g in clean)
    exactly(dirty, clean)
    assert not clean or any(g.any() for g in clean)


# Objectives: -> a loss, and the parameters that it trains


def of_gan(autocast, objective):
    judge, generator = build("toy-discriminator"), build("toy-generator")
    real = torch.randn(32, 2, generator=rng())
    with autocast():
        fake = generator(torch.randn(32, 2, generator=rng(1)))
        if objective == "generator":
            return bre_gan.generator_objective(judge, fake), [*generator.parameters()]
        if objective == "features":
            # The real points go through the discriminator without gradient first.
            loss = bre_gan.feature_matching_objective(judge, real, fake)
            return loss, [*generator.parameters(), *judge[:-1].parameters()]
        options = {"penalty": objective} if objective != "bre" else {}
        terms = bre_gan.discriminator_objective(judge, real, fake.float(), rng(), **options)
        return terms.value, [*judge.parameters()]


def of_bootstrap(autocast, kind, phase):
    model = build(kind)
    critic = information.SegmentCritic(model.feature_width, hidden=6)
    with autocast():
        likelihood = information.likelihood_objective(model, tokens(), None, rng())
        loss = bootstrapped(model, tokens(), critic, 0.3 * (phase - 1))
        return likelihood.value + loss, [*model.parameters(), *critic.parameters()]


def of_value(autocast, name, value, read):
    model = build(name)
    with autocast():
        return value(model, read()).mean(), [*model.parameters()]


BF16 = partial(torch.autocast, "cpu", torch.bfloat16)
FULL = partial(torch.autocast, "cpu", enabled=False)
IN_FLOAT32 = {name: partial(of_value, **OF_MODELS[name].keywords) for name in OF_FRAMES}
IN_BOTH = {
    **{
        f"bre-{name}": partial(of_gan, objective=name)
        for name in ("bre", "gradient", "r1", "generator", "features")
    },
    **{
        f"bootstrap-{kind}-{phase}": partial(of_bootstrap, kind=kind, phase=phase)
        for kind in ("lstm", "transformer")
        for phase in (1, 2)
    },
    "controllable": partial(of_value, name="controllable", value=controlled, read=tokens),
    **{
        f"steering-{share}": partial(
            of_value, name="steering", value=partial(steered, share=share), read=lambda: SENTENCES
        )
        for share in (0.0, 0.5)
    },
    **{
        name: partial(of_value, **TOKENS[name].keywords)
        for name in ("elbo", "language-model", "text-cnn")
    },
}


OBJECTIVES = {(name, "float32"): (case, FULL) for name, case in (IN_FLOAT32 | IN_BOTH).items()}
OBJECTIVES |= {(name, "bfloat16"): (case, BF16) for name, case in IN_BOTH.items()}


@pytest.mark.parametrize(
    ("objective", "autocast"), OBJECTIVES.values(), ids=map("-".join, OBJECTIVES)
)
def test_every_parameter_of_an_objective_has_a_gradient(objective, autocast):
    torch.manual_seed(0)
    loss, parameters = objective(autocast)
    given = torch.autograd.grad(loss, parameters, allow_unused=True)
    missing = [i for i, g in enumerate(given) if g is None or not g.isfinite().all() or not g.any()]
    assert not missing
