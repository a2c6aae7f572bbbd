"""Each chapter at sizes of seconds, for tests on a GPU, real or pretended, without any data set."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from dgm import train
from dgm.data import music, series, text
from dgm.data.synthetic import topic_chain
from dgm.feature_distance import frechet_distance
from dgm.measure import mapper_graph
from dgm.nets.conv import generate
from dgm.nets.language_models import continue_text
from dgm.papers import bre_gan, mutual_information_lm, pooling_vae
from dgm.papers import controllable_text_vae as cp_vae
from dgm.papers import variational_hyper_rnn as hyper_rnn
from dgm.papers.rate_distortion import bdmc_gap, rate_distortion_curve
from dgm.sampling.schedules import log_spaced
from dgm.simplex_steering import rewrite, steering_objective
from dgm_book.chapters.bre_gan import recipe as gans
from dgm_book.chapters.bre_gan import run as images
from dgm_book.chapters.bre_gan.run import noise
from dgm_book.chapters.controllable_text_vae import codes, judges, steering
from dgm_book.chapters.controllable_text_vae import recipe as sentences
from dgm_book.chapters.controllable_text_vae import run as sentences_run
from dgm_book.chapters.controllable_text_vae.training import first_per_label, setup
from dgm_book.chapters.mutual_information_lm import measure as language
from dgm_book.chapters.mutual_information_lm import recipe as texts
from dgm_book.chapters.mutual_information_lm import run as language_run
from dgm_book.chapters.pooling_vae import recipe as pooling
from dgm_book.chapters.pooling_vae import run as pooling_run
from dgm_book.chapters.rate_distortion import models as curves
from dgm_book.chapters.rate_distortion import recipe as rate_distortion
from dgm_book.chapters.rate_distortion import run as rate_distortion_run
from dgm_book.chapters.variational_hyper_rnn import recipe as hyper
from dgm_book.chapters.variational_hyper_rnn import run as hyper_run
from dgm_book.profiles import Profile

STEPS = 4  # of training


class Setting(NamedTuple):
    profile: Profile
    mixed: bool  # whether products are in bfloat16 where those of the profile `small` are


# Data that stand in for those that no test may need


def replace_data(patch: pytest.MonkeyPatch) -> None:
    """Few sentences and series in place of the data sets, and nothing remembered of others."""
    forget()
    patch.setattr(os, "fsync", lambda _: None)  # hundreds of small files, none of them to last
    patch.setattr(text, "load", _texts(text.load))
    patch.setattr(series, "load", _series)
    tunes = music.synthetic_tunes
    patch.setattr(music, "synthetic_tunes", lambda n, seed: [x[:6] for x in tunes(17, seed)])
    sizes = (8, 10, 8, 2, 2, mutual_information_lm.Dropouts())
    patch.setitem(mutual_information_lm.BASES, "ptb", sizes)
    patch.setattr(language, "write_texts", _real_texts(language.write_texts))


def forget() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("dgm_book.chapters."):
            for value in vars(module).values():
                getattr(value, "cache_clear", lambda: None)()


def _texts(load: Callable) -> Callable:
    """Sentences of the reviews' grammar, and of topics in place of every set of real ones."""

    def load_some(name: str, split: str = "train") -> text.Sentences:
        if name != "reviews":
            lines = topic_chain(300, len(split), words=(5, 9)).texts
            return text.Sentences(lines, torch.arange(300) % 2, None)
        reviews = load(name, split)
        if split in ("train", "held_out"):
            return text.Sentences(reviews.texts[:600], reviews.labels[:600], None)
        return first_per_label(reviews, 52)

    return load_some


def _series(_name: str, split: str) -> list[Tensor]:
    """Series of two lengths; what is missing is NaN."""
    generator = torch.Generator().manual_seed(len(split))
    rows = [torch.randn(n, 3, generator=generator) for n in [6, 8] * 8]
    for row in rows:
        row[2, 1] = torch.nan
    return rows


def _real_texts(write_texts: Callable) -> Callable:
    """A model that has hardly learned ends no sentence: real text replaces what it writes."""

    def replaced(trained, settings, seed: int) -> list:
        assert len(write_texts(trained, settings, seed)) == settings.n_samples
        stream, end = trained.splits.streams[0].tolist(), trained.splits.vocabulary.end
        rows = list(language.split_sentences(stream, end))
        return [rows[14 * i : 14 * i + 14] for i in range(4)]

    return replaced


# Recipes


def _curve_recipe() -> rate_distortion.Recipe:
    betas = log_spaced(4, 0.02, 200.0)[1:]
    annealing = rate_distortion.Annealing(betas, 2, 3, 4, 2)
    coarse = annealing._replace(betas=betas[1:], temperatures_per_beta=4, n_images=2)
    colour = rate_distortion.Annealing(betas[:2], 1, 2, 2, 2)
    return rate_distortion.Recipe(
        rate_distortion.Digits("digits", (8,), 16, 2e-3, *[STEPS] * 3, short_steps=1),
        annealing=annealing,
        coarse=coarse,
        deep=coarse,
        comparison=rate_distortion.Comparison(2, 4, (48,), range(1), range(1, 2)),
        encoder=rate_distortion.Encoder(log_spaced(3, 0.1, 30.0)[1:], STEPS, 4),
        colour=rate_distortion.Colour("colour", (4, 4), (4, 4, 4, 4), STEPS, colour),
        perception=rate_distortion.Perception(coarse, 40, STEPS, 2),
        flow=rate_distortion.Flow((8,), 2, STEPS, coarse, (0.35,), 2),
        gap_betas=(0.35, 200.0),
        gap_images=2,
        quadrature_points=9,
        feature_steps=STEPS,
        several=("vae2", "gan10", "aae10", "dcgan10-gp", "dcgan10-vanilla"),
        single=(),
    )


def _text_recipe(mixed: bool) -> texts.Recipe:
    sizes = {"n_training": 200, "n_validation": 60, "n_test": 130, "width": 8, "rows": 4}
    sizes |= {"window": 8, "longest": 12, "n_anchors": 6, "critic_hidden": 8, "steps": STEPS}
    sizes |= {"measure_every": 2, "n_samples": 4, "sample_tokens": 12, "reverse_steps": 2}
    chain = texts.CHAIN._replace(**sizes, bf16=mixed)
    runs = [("chain", variant, 0) for variant in ("likelihood", "phase I", "shuffled pairs")]
    runs += [("ptb", variant, 0) for variant in ("padding read", "phase II")]
    settings = {"chain": chain, "ptb": chain._replace(source="ptb")}
    return texts.Recipe("chain", settings, runs, [("chain", 0), ("ptb", 0)])


def _gan_recipe(mixed: bool) -> gans.Recipe:
    usual = gans.Training(STEPS, 16, 1e-3, 2, discriminator_steps=2, bf16=mixed)
    networks = {
        "generator": gans.DIGITS.generator | {"channels": (8,)},
        "discriminator": gans.DIGITS.discriminator | {"channels": (4, 6, 6)},
    }
    sizes = {"noise_dim": 8, "n_samples": 30, "classifier_steps": STEPS}
    digits = gans.DIGITS._replace(regimes={"normal": usual}, **networks, **sizes)
    labelled = usual._replace(learning_rate=3e-3, discriminator_steps=1)
    toys = gans.ToyRecipe({"eight": (1, gans.Training(STEPS, 16, 2e-3, 2))}, 0, 9)
    return gans.Recipe({"digits": digits}, 1, labelled, 50, toys)


def _sentence_recipe(mixed: bool) -> sentences.Recipe:
    smoke = sentences.RECIPES["smoke"]
    judged = {"classifier_steps": STEPS, "language_steps": STEPS, "batch_size": 16}
    judged |= {"bleu_resamples": 9, "perplexity_resamples": 9}
    usual = {"n_sentences": 300, "batch_size": 16, "bf16": mixed}
    coded = {"hidden": 16, "steps": STEPS, "mapper_sentences": 20, "mapper_resolutions": (3,)}
    steered = {"labels": (100,), "steps": (STEPS,), "margins": (100.0, 0.5)}
    return smoke._replace(
        judges=smoke.judges._replace(**judged),
        codes=smoke.codes._replace(**usual, **coded),
        steering=smoke.steering._replace(**usual, **steered, thresholds=(0.1, 0.5)),
    )


POOLED = ("plain", "cyclical", "free bits each", "aggressive", "logsumexp", "absmax",
          "scaled last", "layer norm", "forget bias", "front", "mean annealing",
          "max adam")  # fmt: skip


def _pooling_recipe(mixed: bool) -> pooling.Recipe:
    smoke = pooling.RECIPES["smoke"]
    sizes = {"n_training": 96, "n_validation": 40, "n_test": 40, "embedding": 6, "hidden": 8}
    sizes |= {"latent_dim": 3, "steps": STEPS, "measure_every": 2, "ahead": 4, "most_ahead": 2}
    sizes |= {"n_likelihood": 5, "n_samples": 5, "bf16": mixed}
    settings = dict.fromkeys(("endings", "ptb"), smoke.settings["endings"]._replace(**sizes))
    runs = [*(("endings", name, 0) for name in POOLED), ("ptb", "plain", 0)]
    measured = {"n_timed": 1, "n_frames": 10, "n_watched": 4, "k_watched": 3, "n_influence": 3}
    return smoke._replace(settings=settings, runs=runs, **measured)


def _hyper_recipe(mixed: bool) -> hyper.Recipe:
    sizes = {"window": 4, "batch": 16, "epochs": 2, "measure_every": 1, "n_many_particles": 6}
    usual = hyper.RECIPES["small"].training
    names = ("switching", "tunes", "stocks")
    plans = {name: usual[name]._replace(n_steps=6, **sizes) for name in names}
    models = [("switching", "VHRNN 4"), ("switching", "HyperLSTM")]
    models += [("tunes", "VHRNN 28"), ("stocks", "VRNN 28")]
    return hyper.Recipe(plans, dict.fromkeys(models, 1), (200, 10, 30), (-2, 3), 2)


# Every result of a chapter, one after the other


def _curve_results(setting: Setting) -> Iterator:
    """One result of each kind and family of models."""
    last = {}
    experiments = rate_distortion_run.experiments(setting.profile, _curve_recipe())
    for (job, ending), compute in experiments.items():
        kind = compute.args[-1] if "schedules" in ending else ""
        # The others differ by sizes alone; files are sent on the CPU, by the published recipe.
        if kind in ("", "diagonal") and not ending.startswith("sent"):
            last[compute.func, job.model.family, job.model.colour, kind] = (job, ending, compute)
    for job, ending, compute in last.values():
        yield job.get(ending, compute)


def _sentence_results(setting: Setting) -> Iterator:
    yield from sentences_run.run(setting.profile, 0, 0, _sentence_recipe(setting.mixed))
    model = _steering(setting)
    device = model.vertices.device
    generator = torch.Generator(device).manual_seed(0)
    # A rewrite that changes its mind, and a model in eval mode that learns.
    source, first, last = ["the food was great ."], torch.eye(3)[:1], torch.eye(3)[2:]
    rewrite(model, source, first.to(device), switch_at=2, weights_after=last.to(device))
    model.eval().requires_grad_(True)
    words = torch.randint(8, 90, (6, 5), device=device, generator=generator)
    targets = torch.eye(3, device=device).repeat(2, 1)
    steering_objective(model, words, targets, generator).loss().backward()
    yield mapper_graph(torch.randn(60, 3, device=device, generator=generator), 3)


def _pooling_results(setting: Setting) -> Iterator:
    profile, recipes = setting.profile, {"smoke": _pooling_recipe(setting.mixed)}
    yield from pooling_run.run(profile, 0, 0, recipes)
    weight, bias = torch.randn(6, 2), torch.randn(6)
    exact = pooling_vae.LinearGaussianVAE(weight.to(profile.device), bias.to(profile.device), 0.5)
    x = torch.randn(5, 6).to(profile.device)
    yield exact.elbo(x, *exact.mean_field(x)) - exact.log_evidence(x)


def _hyper_results(setting: Setting) -> Iterator:
    yield from hyper_run.run(setting.profile, 0, 0, {"smoke": _hyper_recipe(setting.mixed)})
    for emission in ("gaussian", "bernoulli"):
        model = hyper_rnn.DeterministicHyperRNN(3, 4, emission, 1, 4, 2).to(setting.profile.device)
        model.calibrate(torch.full((3,), 0.5))
        model.calibrate(torch.full((3,), 0.5, device=setting.profile.device))
        yield model


CHAPTERS: dict[str, Callable[[Setting], Iterable]] = {
    "1": _curve_results,
    "2": lambda s: language_run.run(s.profile, 0, 0, {"smoke": _text_recipe(s.mixed)}),
    "3": lambda s: images.run(s.profile, 0, 0, {"smoke": _gan_recipe(s.mixed)}),
    "4": _sentence_results,
    "5": _pooling_results,
    "6": _hyper_results,
}


# What is trained


def _image_model(s: Setting, name: str) -> Any:
    return curves.train(curves.Job(name, 0, s.profile, _curve_recipe()))


def _language_model(s: Setting, variant: str = "phase II", **changes: Any) -> language.Trained:
    settings = _text_recipe(s.mixed).texts["chain"]._replace(**changes)
    return language_run.train(language_run.Job(s.profile, "chain", settings, variant, 0))


def _gan(s: Setting, norm: str, method: str) -> Any:
    run = images.ImageRun("digits", "normal", norm, method, 0)
    return images.dcgan(s.profile, _gan_recipe(s.mixed), run)


def _codes(s: Setting, kind: str) -> Any:
    return codes.trained_codes(kind, setup(s.profile, _sentence_recipe(s.mixed)), "reviews", 0)


def _steering(s: Setting) -> nn.Module:
    return steering.trained_steering(setup(s.profile, _sentence_recipe(s.mixed)), 100, 0)


def _judges(s: Setting) -> judges.Judges:
    return judges.trained_judges(setup(s.profile, _sentence_recipe(s.mixed)), "reviews")


def _pooled(s: Setting, name: str) -> pooling_run.Trained:
    return pooling_run.train(_pooling_recipe(s.mixed), s.profile, "endings", name, 0)


def _recurrent(s: Setting, dataset: str, model: str) -> Any:
    return hyper_run.trained(dataset, model, s.profile, 0, _hyper_recipe(s.mixed))


TRAININGS: dict[str, Callable[[Setting], Any]] = {
    "1 VAE": partial(_image_model, name="vae2"),
    "1 GAN": partial(_image_model, name="gan10"),
    "1 AAE": partial(_image_model, name="aae10"),
    "1 DCGAN": partial(_image_model, name="dcgan10-gp"),
    "1 features": lambda s: rate_distortion_run.features(
        curves.Job("vae10", 0, s.profile, _curve_recipe())
    ),
    "2 LSTM": _language_model,
    # On a device the padding is read with the rest, so that its dropout draws other numbers.
    "2 transformer": partial(_language_model, base="transformer", dropout=0.0),
    "2 as released": partial(_language_model, base="ptb", released=True),
    "3 classifier": lambda s: images.judge(s.profile, _gan_recipe(s.mixed), "digits"),
    "3 BRE": partial(_gan, norm="batch", method="bre"),
    "3 R1": partial(_gan, norm="r1", method="none"),
    "3 few labels": lambda s: images.semi_supervised(s.profile, _gan_recipe(s.mixed), "bre", 0),
    "4 simplex": partial(_codes, kind="simplex"),
    "4 ordinary": partial(_codes, kind="ordinary"),
    "4 steering": _steering,
    "4 judges": _judges,
    "5 last": partial(_pooled, name="plain"),
    "5 max": partial(_pooled, name="max"),
    "5 aggressive": partial(_pooled, name="aggressive"),
    "6 VRNN": partial(_recurrent, dataset="switching", model="VRNN 6"),
    "6 VHRNN": partial(_recurrent, dataset="tunes", model="VHRNN 28"),
    "6 HyperLSTM": partial(_recurrent, dataset="switching", model="HyperLSTM"),
}


# Samplers and evaluators: what is compared between devices, of models with the same weights


def _compared_curve(setting: Setting, weights: dict) -> dict[str, Tensor]:
    device = setting.profile.device
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 5)).to(device)
    options = {"latent_dim": 2, "n_chains": 4, "n_leapfrog": 3, "device": device}
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    sizes = {"betas": [0.1, 1.0], "temperatures_per_beta": 3, "precision": "float64"}
    curve = rate_distortion_curve(decoder, x, progress=False, **sizes, **options)
    gap = bdmc_gap(decoder.double(), beta=1.0, n_images=3, n_temperatures=4, seed=0, **options)
    terms = {key: getattr(curve, key) for key in ("rate", "distortion", "log_z", "acceptance")}
    return terms | {"lower": gap.lower, "upper": gap.upper}


def _compared_language(setting: Setting, weights: dict) -> dict[str, Tensor]:
    trained = _language_model(setting, "phase I")
    _share(weights, model=trained.model, critic=trained.critic)
    values = language.measure(trained)
    questions = language.make_questions(trained, 0, n=3)
    passages = language.make_passages(trained, starts=(0,))
    opening = torch.full((4, 2), trained.splits.vocabulary.end, device=setting.profile.device)
    generator = torch.Generator(setting.profile.device).manual_seed(0)
    written = continue_text(trained.model, opening, 9, generator)
    assert written.shape == (4, 9)
    return {key: torch.tensor(values[key]) for key in ("bound", "critic_loss", "nll")} | {
        "questions": torch.tensor([question["scores"] for question in questions]),
        "passages": torch.tensor(passages[0]["scores"]),
        "next": trained.model.step(written[:, 0], trained.model.start(4))[0],
    }


def _compared_images(setting: Setting, weights: dict) -> dict[str, Tensor]:
    profile, recipe = setting.profile, _gan_recipe(setting.mixed)
    gan = images.networks(profile, recipe.images["digits"], "digits", 0)
    fake = generate(gan.generator, noise(40, gan, 0, 0, profile.device))
    judge = images.classifier(profile, recipe, "digits")
    _share(weights, judge=judge)
    features, shares = judge.read(fake)
    real = images.pictures("digits", "test").x[:40]
    x, generator = real.to(profile.device), torch.Generator(profile.device).manual_seed(0)
    options = {"weight": 1.0, "layers": (0, 1), "penalty": "gradient"}
    sets = x, fake.to(profile.device), generator
    terms = bre_gan.discriminator_objective(gan.discriminator, *sets, **options)
    frechet = frechet_distance(judge.read(real)[0], features)
    return {"fake": fake, "shares": shares, "loss": terms.value, "frechet": frechet}


def _compared_sentences(setting: Setting, weights: dict) -> dict[str, Tensor]:
    trained, model, judge = _codes(setting, "simplex"), _steering(setting), _judges(setting)
    _share(weights, simplex=trained.model, steering=model)
    _share(weights, classifier=judge.classifier, language=judge.language_model)
    mu, logvar = codes.posterior(trained.model, trained.text, trained.text.corpus, 40)
    decoded = cp_vae.decode(trained.model.decoder, mu[:8].to(setting.profile.device), max_steps=6)
    vertices = torch.eye(3)[[0, 2]].to(setting.profile.device)
    rewrites = rewrite(model, ["the food was great .", "it was bad ."], vertices)
    texts = ["the food was great .", "bad"]
    judged = {"classes": judge.classify(texts), "nats": judge.negative_log_likelihood(texts)[0]}
    agreement = torch.tensor([rewrite.agreement for rewrite in rewrites])
    terms = {"mu": mu, "logvar": logvar, "log_prob": decoded.log_prob, "rewrites": agreement}
    return terms | judged


def _compared_pooling(setting: Setting, weights: dict) -> dict[str, Tensor]:
    recipe, trained = _pooling_recipe(setting.mixed), _pooled(setting, "max")
    _share(weights, model=trained.model)
    parts = (trained.model, trained.splits.test, recipe.settings["endings"], 0)
    values = pooling_run.measure_final(recipe, *parts)
    numbers = ("reconstruction", "kl", "log_likelihood", "hidden_log_likelihood", "influence")
    return {key: torch.tensor(values[key]) for key in numbers}


def _compared_particles(setting: Setting, weights: dict) -> dict[str, Tensor]:
    recipe = _hyper_recipe(setting.mixed)
    net, exact = (_recurrent(setting, "switching", name)[0] for name in ("VHRNN 4", "HyperLSTM"))
    _share(weights, net=net, exact=exact)
    test = hyper_run.splits("switching", recipe.training["switching"], recipe.sequences).test
    likelihoods = hyper_run.likelihoods
    bounds = {kind: likelihoods(net, test, 5, 0, kind) for kind in ("ess", "never", "always")}
    return bounds | {"exact": likelihoods(exact, test, 1, 0)}


def _share(weights: dict, **models: nn.Module) -> None:
    """Gives each model the weights that the first model of its name had."""
    for name, model in models.items():
        own = {key: value.cpu().clone() for key, value in model.state_dict().items()}
        model.load_state_dict(weights.setdefault(name, own))


EVALUATIONS: dict[str, Callable[[Setting, dict], dict[str, Tensor]]] = {
    "1": _compared_curve,
    "2": _compared_language,
    "3": _compared_images,
    "4": _compared_sentences,
    "5": _compared_pooling,
    "6": _compared_particles,
}


# What watches them


class Watched(NamedTuple):
    """What trainings did."""

    terms: list[dict[str, float]]  # of each step, of all fits one after the other
    parameters: dict[int, nn.Parameter]  # of all optimisers
    with_gradient: set[int]


class StoppedError(Exception):
    """Raised in the middle of a run, as a kill would end it."""


def watch(patch: pytest.MonkeyPatch, watched: Watched | None = None, kill_at=None) -> Watched:
    """Has every `fit` write down its terms and its parameters' gradients, or die at a step.

    A checkpoint is written at each step.
    """
    watched = watched or Watched([], {}, set())

    def note_gradient(parameter: torch.Tensor) -> None:
        watched.parameters[id(parameter)] = parameter
        if parameter.grad is not None and bool(parameter.grad.isfinite().all()):
            watched.with_gradient.add(id(parameter))

    def note_gradients(optimizer: torch.optim.Optimizer, *_) -> None:
        for parameter in (p for group in optimizer.param_groups for p in group["params"]):
            note_gradient(parameter)

    def fit(step, *arguments, **options):
        def watched_step(state, batch):
            if len(watched.terms) == kill_at:
                raise StoppedError
            handles = [register_optimizer_step_pre_hook(note_gradients)]
            if state.optimizer:  # a plain step may use a gradient up before the optimiser's own
                own = [p for group in state.optimizer.param_groups for p in group["params"]]
                handles += [p.register_post_accumulate_grad_hook(note_gradient) for p in own]
            try:
                terms = step(state, batch)
            finally:
                for handle in handles:
                    handle.remove()
            watched.terms.append({name: float(value) for name, value in terms.items()})
            return terms

        options |= {"checkpoint_seconds": 0, "progress": False}
        return train.fit(watched_step, *arguments, **options)

    for name, module in list(sys.modules.items()):
        if name.startswith("dgm_book.chapters.") and hasattr(module, "fit"):
            patch.setattr(module, "fit", fit)
    return watched


class NoiseFromCPU(TorchFunctionMode):
    """Draws what a CUDA generator would from a CPU generator of its seed, to compare devices."""

    def __init__(self) -> None:
        super().__init__()
        self.twins: dict[torch.Generator, torch.Generator] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        generator = kwargs.get("generator")
        if generator is None or generator.device.type == "cpu":
            return func(*args, **kwargs)
        if generator not in self.twins:
            self.twins[generator] = torch.Generator().manual_seed(generator.initial_seed())
        kwargs["generator"] = self.twins[generator]
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        drawn = func(*(a.cpu() if isinstance(a, Tensor) else a for a in args), **kwargs)
        if func.__name__.endswith("_"):
            return args[0].copy_(drawn)
        return drawn.to(generator.device)
