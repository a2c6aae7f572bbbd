"""What all papers' objectives have in common."""

import math
from functools import partial
from typing import NamedTuple

import pytest
import torch

from dgm import steering
from dgm.data.text import Vocabulary, sentence_features
from dgm.nets.language_models import AWDLSTM, TiedHead, TransformerLM
from dgm.nets.lstm import LanguageModel, sequence_nll, token_nll_in_blocks
from dgm.nets.pooling import KINDS, pool
from dgm.nets.text_cnn import TextCNN
from dgm.nets.text_vae import TextVAE, text_vae_objective
from dgm.papers import (
    bre_gan,
    controllable_text_vae,
    mutual_information_lm,
    pooling_vae,
    rate_distortion,
)
from dgm.papers import variational_hyper_rnn as hyper
from dgm.sampling.particles import particle_bound

LENGTHS = torch.tensor([3, 6, 4, 5])
WIDTH, WORDS = 6, 20
INSIDE = torch.arange(WIDTH) < LENGTHS[:, None]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def gradients(value, leaves):
    """Of a sum of float values, zeros where there is none."""
    if not value.requires_grad:
        return []
    return torch.autograd.grad(value.sum(), leaves, allow_unused=True, materialize_grads=True)


# Cases: padding (any number, or a token) -> a value, and the leaves of its gradient


def frames(padding):
    x = torch.rand(4, WIDTH, 3, generator=rng())
    return torch.where(INSIDE[..., None], x, padding)


def tokens(padding):
    words = torch.randint(4, WORDS, (4, WIDTH), generator=rng())
    words[:, 0] = 1
    return torch.where(INSIDE, words, padding)


class Total(NamedTuple):
    value: torch.Tensor


def of_particles(padding, resample="always"):
    weight = torch.full((3,), 0.3, requires_grad=True)

    def step(state, x, t, generator):
        total = state.value + x @ weight + torch.randn(len(x), generator=generator)
        return Total(total), -total.square() + x.log() @ weight

    def start(rows, generator):
        return Total(torch.zeros(rows))

    result = particle_bound(start, step, frames(padding), LENGTHS, 5, resample, rng())
    return torch.cat([result.log_likelihood, result.ess.flatten()]), [weight]


def of_sequence_model(padding, kind, emission="gaussian", compiled=False):
    torch.manual_seed(0)
    if kind == "deterministic":
        model = hyper.DeterministicHyperRNN(3, 8, 4, emission)
        return model(frames(padding), LENGTHS), list(model.parameters())
    model = (
        hyper.VariationalRNN(3, 4, 8, emission)
        if kind == "plain"
        else hyper.VariationalHyperRNN(3, 4, 8, 5, emission)
    )
    if kind == "evaluated":
        return hyper.evaluate(model, frames(padding), LENGTHS, 4, "ess", rng()), []
    result = hyper.bound(model, frames(padding), LENGTHS, 4, "ess", rng())
    return result.log_likelihood, list(model.parameters())


def of_pool(padding, kind, temperature=None):
    h = frames(padding).requires_grad_()
    return pool(h, INSIDE, kind, temperature=temperature), [h]


def of_logits(padding):
    logits = torch.randn(4, WIDTH - 1, WORDS, generator=rng())
    logits = torch.where(INSIDE[:, 1:, None], logits, padding).requires_grad_()
    return sequence_nll(logits, tokens(0), LENGTHS), [logits]


def of_blocks(padding):
    torch.manual_seed(0)
    head = torch.nn.Linear(3, WORDS)
    return token_nll_in_blocks(head, frames(padding)[:, 1:], tokens(0), LENGTHS), []


def of_tied_head(padding, experts):
    torch.manual_seed(0)
    head = TiedHead(WORDS, 3, 3, experts, 0.2)
    table = torch.randn(WORDS, 3, generator=rng(), requires_grad=True)
    result = head.loss(table, frames(padding), tokens(0), INSIDE.float(), rng())
    return torch.cat([result.total[None], result.tokens.flatten()]), [table, *head.parameters()]


def of_text_vae(padding, objective, **options):
    torch.manual_seed(0)
    model = TextVAE(WORDS, 5, 6, 3, **options)
    value = objective(model, tokens(padding), LENGTHS)
    return value, list(model.parameters())


def of_language_model(padding):
    torch.manual_seed(0)
    model = LanguageModel(WORDS, 5, 6)
    return model.nll(tokens(padding), LENGTHS, rng()), list(model.parameters())


def of_text_cnn(padding):
    torch.manual_seed(0)
    model = TextCNN(WORDS, 5, 4)
    return model(tokens(padding), LENGTHS, rng()), list(model.parameters())


def controllable():
    torch.manual_seed(0)
    return controllable_text_vae.ControllableTextVAE(
        WORDS, None, embedding=5, hidden=6, structured_dim=4, residual_dim=3, decoder_embedding=5
    )


def of_controllable(padding):
    model, words = controllable(), tokens(padding)
    terms = controllable_text_vae.controllable_objective(
        model, words, model.features(words, LENGTHS), rng(), lengths=LENGTHS, negatives=2
    )
    return terms.value, list(model.parameters())


def of_transfer(padding):
    result = controllable_text_vae.transfer(
        controllable(), tokens(padding), LENGTHS, torch.tensor([1.0, 0.0, 0.0]), width=2
    )
    return torch.cat([result.tokens.flatten().double(), result.log_prob]), []


def language_models(kind):
    torch.manual_seed(0)
    if kind == "lstm":
        return AWDLSTM(WORDS, 6, 7, 8, layers=2, experts=2)
    return TransformerLM(WORDS, 8, layers=1, heads=2)


def of_bootstrap(padding, kind):
    model = language_models(kind)
    critic = mutual_information_lm.SegmentCritic(model.feature_width, hidden=6)
    segments = mutual_information_lm.Segments(tokens(padding), LENGTHS)
    draw = mutual_information_lm.draw_pairs(4, 4, rng())
    terms = mutual_information_lm.bootstrap_objective(
        model, critic, segments, draw, rng(), augmented_weight=0.3
    )
    return terms.value, [*model.parameters(), *critic.parameters()]


def of_segment_features(padding):
    segments = mutual_information_lm.Segments(tokens(padding), LENGTHS)
    model = language_models("lstm")
    return mutual_information_lm.segment_features(model, segments), [model.embedding.weight]


def of_sentence_features(padding):
    vectors = torch.randn(WORDS, 3, generator=rng(), requires_grad=True)
    words = tokens(padding)
    words[0, :3] = 0  # a sentence of markers alone
    weights = torch.rand(WORDS, generator=rng()) * (torch.arange(WORDS) > 3)
    return sentence_features(words, LENGTHS, vectors, weights), [vectors]


def pooled(model, words, lengths):
    return pooling_vae.pooling_objective(model, words, lengths, rng(), word_dropout_rate=0.3).value


FLOATS = {
    **{f"particles-{r}": partial(of_particles, resample=r) for r in ("never", "ess", "always")},
    **{
        f"hyper-{kind}-{emission}": partial(of_sequence_model, kind=kind, emission=emission)
        for kind in ("plain", "hyper", "deterministic", "evaluated")
        for emission in ("gaussian", "bernoulli")
    },
    **{f"pool-{kind}": partial(of_pool, kind=kind) for kind in KINDS},
    "pool-tau": partial(of_pool, kind="logsumexp", temperature=0.5),
    "logits": of_logits,
    "blocks": of_blocks,
    **{f"tied-head-{k}": partial(of_tied_head, experts=k) for k in (0, 2)},
}
TOKENS = {
    "text-vae": partial(
        of_text_vae, objective=lambda m, x, n: text_vae_objective(m, x, n, 1.0, rng()).value
    ),
    "text-vae-forwards": partial(
        of_text_vae,
        objective=lambda m, x, n: text_vae_objective(m, x, n, 1.0, rng()).value,
        bidirectional=False,
        pooling="last",
    ),
    "pooling": partial(of_text_vae, objective=pooled),
    "influence": partial(of_text_vae, objective=pooling_vae.influence),
    "by-position": partial(
        of_text_vae,
        objective=lambda m, x, n: pooling_vae.reconstruction_by_position(m, x, n, rng())[0],
    ),
    "marginal": partial(
        of_text_vae,
        objective=lambda m, x, n: (
            pooling_vae.marginal_likelihood(m, x, n, rng(), n_samples=3).log_likelihood
        ),
    ),
    "language-model": of_language_model,
    "text-cnn": of_text_cnn,
    "controllable": of_controllable,
    "transfer": of_transfer,
    "bootstrap-lstm": partial(of_bootstrap, kind="lstm"),
    "bootstrap-transformer": partial(of_bootstrap, kind="transformer"),
    "segment-features": of_segment_features,
    "sentence-features": of_sentence_features,
}
CASES = [(name, case, 0.5, bad) for name, case in FLOATS.items() for bad in (math.nan, math.inf)]
CASES += [(name, case, 0, bad) for name, case in TOKENS.items() for bad in (-100, 5, 10**6)]


@pytest.mark.parametrize(
    ("case", "clean", "bad"), [c[1:] for c in CASES], ids=[f"{c[0]}-{c[3]}" for c in CASES]
)
def test_what_stands_behind_an_end_changes_neither_value_nor_gradient(case, clean, bad):
    expected, leaves = case(clean)
    value, others = case(bad)
    assert torch.isfinite(expected).all()
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    dirty, clean_gradients = gradients(value, others), gradients(expected, leaves)
    for given, expected_gradient in zip(dirty, clean_gradients, strict=True):
        assert torch.isfinite(expected_gradient).all()
        torch.testing.assert_close(given, expected_gradient, rtol=0, atol=0)
    assert not clean_gradients or any(g.abs().sum() > 0 for g in clean_gradients)


# Objectives: -> a loss, and the parameters that it trains


def images(autocast):
    model = rate_distortion.ImageVAE(3, 2, [6, 6])
    return rate_distortion.vae_objective(model, frames(0.5)[:, 0], rng()).value.mean(), model


def networks(autocast, objective):
    judge, maker = bre_gan.toy_discriminator(), bre_gan.toy_generator()
    real = torch.randn(32, 2, generator=rng())
    with autocast():
        fake = maker(torch.randn(32, 2, generator=rng(1)))
        if objective == "generator":
            return bre_gan.generator_objective(judge, fake), maker
        if objective == "features":
            # The real points go through the discriminator without gradient first.
            loss = bre_gan.feature_matching_objective(judge, real, fake)
            return loss, [*maker.parameters(), *judge[:-1].parameters()]
        penalty = objective if objective != "bre" else None
        terms = bre_gan.discriminator_objective(judge, real, fake.float(), rng(), penalty=penalty)
        return terms.value, judge


def bootstrap(autocast, kind, phase):
    model = language_models(kind)
    critic = mutual_information_lm.SegmentCritic(model.feature_width, hidden=6)
    segments = mutual_information_lm.Segments(tokens(0), LENGTHS)
    draw = mutual_information_lm.draw_pairs(4, 4, rng())
    with autocast():
        likelihood = mutual_information_lm.likelihood_objective(model, tokens(0), None, rng())
        terms = mutual_information_lm.bootstrap_objective(
            model, critic, segments, draw, rng(), augmented_weight=0.3 * (phase - 1)
        )
        return likelihood.value + terms.value, [*model.parameters(), *critic.parameters()]


def controlled(autocast):
    model, words = controllable(), tokens(0)
    with autocast():
        features = model.features(words, LENGTHS)
        terms = controllable_text_vae.controllable_objective(
            model, words, features, rng(), lengths=LENGTHS, negatives=2
        )
    return terms.value, model


def steered(autocast, back_translated):
    words = [f"w{i}" for i in range(12)]
    vocabulary = Vocabulary(words, 2, mask=True)
    model = steering.SteeringModel(
        vocabulary, embedding=12, hidden=20, context=16, voters=14, latent_dim=6
    )
    sentences = [" ".join(words[i : i + 5]) for i in range(6)]
    read = vocabulary.encode(sentences).tokens[:, 1:-1]
    targets = torch.eye(3).repeat(2, 1)
    with autocast():
        terms = steering.steering_objective(
            model, read, targets, rng(), back_translated=back_translated
        )
    return terms.loss(), model


def sentences(autocast, objective):
    model = TextVAE(WORDS, 5, 6, 3)
    with autocast():
        return objective(model, tokens(0), LENGTHS).mean(), model


def sequences(autocast, kind, emission):
    value, parameters = of_sequence_model(0.5, kind, emission)
    return -value.mean(), parameters


BF16 = partial(torch.autocast, "cpu", torch.bfloat16)
FULL = partial(torch.autocast, "cpu", enabled=False)
OBJECTIVES = {
    "rate-distortion": (images, False),
    **{
        f"bre-{name}": (partial(networks, objective=name), True)
        for name in ("bre", "gradient", "r1", "generator", "features")
    },
    **{
        f"bootstrap-{kind}-{phase}": (partial(bootstrap, kind=kind, phase=phase), True)
        for kind in ("lstm", "transformer")
        for phase in (1, 2)
    },
    "controllable": (controlled, True),
    **{
        f"steering-{share}": (partial(steered, back_translated=share), True) for share in (0.0, 0.5)
    },
    "text-vae": (
        partial(sentences, objective=lambda m, x, n: text_vae_objective(m, x, n, 1.0, rng()).value),
        True,
    ),
    "pooling": (partial(sentences, objective=pooled), True),
    **{
        f"hyper-{kind}-{emission}": (partial(sequences, kind=kind, emission=emission), False)
        for kind in ("plain", "hyper", "deterministic")
        for emission in ("gaussian", "bernoulli")
    },
}


@pytest.mark.parametrize(
    ("objective", "autocast"),
    [(o, a) for o, narrow in OBJECTIVES.values() for a in ([FULL, BF16] if narrow else [FULL])],
    ids=[
        f"{name}-{precision}"
        for name, (_, narrow) in OBJECTIVES.items()
        for precision in (["float32", "bfloat16"] if narrow else ["float32"])
    ],
)
def test_every_parameter_of_an_objective_has_a_gradient(objective, autocast):
    torch.manual_seed(0)
    loss, trained = objective(autocast)
    parameters = trained if isinstance(trained, list) else list(trained.parameters())
    given = torch.autograd.grad(loss, parameters, allow_unused=True)
    missing = [i for i, g in enumerate(given) if g is None or not g.isfinite().all() or not g.any()]
    assert not missing
