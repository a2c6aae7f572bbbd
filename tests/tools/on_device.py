"""Each chapter at sizes of seconds, for tests on a GPU, real or pretended, without any data set."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dgm import train as fit_module
from dgm.data import music, series, text
from dgm.data.synthetic import topic_chain
from dgm.feature_distance import kernel_distance
from dgm.measure import mapper_graph
from dgm.nets.conv import generate
from dgm.nets.language_models import continue_text
from dgm.papers import bre_gan, mutual_information_lm, pooling_vae
from dgm.papers import controllable_text_vae as cp_vae
from dgm.papers import variational_hyper_rnn as hyper_rnn
from dgm.papers.rate_distortion import bdmc_gap, rate_distortion_curve
from dgm.sampling import schedules
from dgm.steering import rewrite, steering_objective
from dgm_book import profiles
from dgm_book.chapters.bre_gan import images as gan_images
from dgm_book.chapters.bre_gan import recipe as gan_recipes
from dgm_book.chapters.bre_gan import training as gan_training
from dgm_book.chapters.controllable_text_vae import codes as sentence_codes
from dgm_book.chapters.controllable_text_vae import judges as text_judges
from dgm_book.chapters.controllable_text_vae import recipe as text_recipe
from dgm_book.chapters.controllable_text_vae import run as chapter_4
from dgm_book.chapters.controllable_text_vae import steering as sentence_steering
from dgm_book.chapters.controllable_text_vae import training as text_training
from dgm_book.chapters.mutual_information_lm import measure as bootstrap_measures
from dgm_book.chapters.mutual_information_lm import run as bootstrap_runs
from dgm_book.chapters.pooling_vae import run as pooling_training
from dgm_book.chapters.pooling_vae.recipe import RECIPES as POOLING
from dgm_book.chapters.rate_distortion import models as rate_distortion_models
from dgm_book.chapters.rate_distortion import recipe as rate_distortion_recipes
from dgm_book.chapters.rate_distortion import run as rate_distortion_runs
from dgm_book.chapters.variational_hyper_rnn import recipe as hyper_rnn_recipe
from dgm_book.chapters.variational_hyper_rnn import run as hyper_rnn_run

STEPS = 4  # of training
TRAINERS = (
    bootstrap_runs,
    gan_images,
    gan_training,
    hyper_rnn_run,
    pooling_training,
    rate_distortion_models,
    rate_distortion_runs,
    text_training,
)
CACHES = (
    bootstrap_measures._load_splits,
    hyper_rnn_run.splits,
    pooling_training.load_splits,
    rate_distortion_runs.features,
    rate_distortion_runs._pilot,
    sentence_codes.training_text,
    sentence_steering.training_text,
)


def forget() -> None:
    """Empties the experiments' caches, whose models are of other sizes."""
    for cache in CACHES:
        cache.cache_clear()


def shrink(patch: pytest.MonkeyPatch, mixed: bool) -> None:
    """Makes every chapter small.

    Args:
        patch: undoes it.
        mixed: whether products are in bfloat16 where those of the profile `small` are.
    """
    smoke = profiles.get("smoke", "cpu")
    forget()

    def sizes(modules: tuple, s: NamedTuple, **changes) -> None:
        for module in modules:
            patch.setattr(module, "settings", lambda *_: s._replace(**changes))

    patch.setattr(os, "fsync", lambda _: None)  # hundreds of small files, none of them to last
    patch.setattr(text, "load", _load(text.load))
    patch.setattr(series, "load", _series)

    recipe = bootstrap_runs.RECIPES["smoke"]
    chain = recipe.texts["chain"]._replace(
        n_training=200, n_validation=60, n_test=130, width=8, rows=4, window=8, longest=12,
        n_anchors=6, critic_hidden=8, steps=STEPS, measure_every=2, n_samples=4, sample_tokens=12,
        reverse_steps=2, bf16=mixed,
    )  # fmt: skip
    texts = {"chain": chain} | {x: chain._replace(source=x) for x in ("ptb", "shakespeare")}
    patch.setitem(bootstrap_runs.RECIPES, "smoke", recipe._replace(texts=texts))
    patch.setitem(
        mutual_information_lm.BASES, "ptb", (8, 10, 8, 2, 2, mutual_information_lm.Dropouts())
    )
    patch.setattr(bootstrap_measures, "write_texts", _samples(bootstrap_measures.write_texts))

    training = gan_recipes.Training(STEPS, 16, 1e-3, 2, discriminator_steps=2, bf16=mixed)
    digits = gan_recipes.DIGITS._replace(
        noise_dim=8,
        generator=gan_recipes.DIGITS.generator | {"channels": (8,)},
        discriminator=gan_recipes.DIGITS.discriminator | {"channels": (4, 6, 6)},
        regimes={"normal": training},
        n_samples=30,
        classifier_steps=STEPS,
        bf16=mixed,
    )
    labelled = training._replace(learning_rate=3e-3, discriminator_steps=1)
    recipe = gan_recipes.RECIPES["smoke"]._replace(images={"digits": digits}, labelled=labelled)
    patch.setitem(gan_recipes.RECIPES, "smoke", recipe)

    recipe = text_recipe.RECIPES["smoke"]
    small = recipe._replace(
        judges=recipe.judges._replace(
            classifier_steps=STEPS, language_steps=STEPS, batch_size=16, bleu_resamples=9,
            perplexity_resamples=9,
        ),
        codes=recipe.codes._replace(
            n_sentences=300, hidden=16, steps=STEPS, batch_size=16, bf16=mixed,
            mapper_sentences=20, mapper_resolutions=(3,),
        ),
        steering=recipe.steering._replace(
            n_sentences=300, labels=(100,), steps=(STEPS,), batch_size=16, bf16=mixed,
            margins=(100.0, 0.5), thresholds=(0.1, 0.5),
        ),
    )  # fmt: skip
    patch.setitem(text_recipe.RECIPES, "smoke", small)

    settings = POOLING["smoke"].settings["endings"]._replace(
        n_training=96, n_validation=40, n_test=40, embedding=6, hidden=8, latent_dim=3, steps=STEPS,
        measure_every=2, ahead=4, most_ahead=2, n_likelihood=5, n_samples=5, bf16=mixed,
    )  # fmt: skip
    for name, recipe in POOLING.items():
        every = dict.fromkeys(recipe.settings, settings)
        small = recipe._replace(settings=every, n_frames=10, n_watched=4, k_watched=3)
        patch.setitem(POOLING, name, small._replace(n_influence=3))

    tunes = music.synthetic_tunes
    patch.setattr(music, "synthetic_tunes", lambda _, seed: [x[:12] for x in tunes(17, seed)])


def _hyper_rnn_recipe() -> hyper_rnn_recipe.Recipe:
    recipe = hyper_rnn_recipe.RECIPES["smoke"]
    training = {
        name: t._replace(
            n_steps=10, window=10, batch=16, epochs=2, measure_every=1, n_many_particles=6,
            compiled=True,
        )
        for name, t in recipe.training.items()
    }  # fmt: skip
    return recipe._replace(training=training, sequences=(32, 10, 10), around=(-2, 3))


_BETAS = schedules.log_spaced(4, 0.02, 200.0)[1:]
_ANNEALING = rate_distortion_recipes.Annealing(_BETAS, 2, 3, 4, 2)
RATE_DISTORTION = rate_distortion_recipes.Recipe(
    rate_distortion_recipes.Digits("digits", (8,), 16, 2e-3, STEPS, STEPS, 2, 1),
    annealing=_ANNEALING,
    coarse=_ANNEALING._replace(n_images=2),
    deep=_ANNEALING,
    comparison=rate_distortion_recipes.Comparison(2, 4, (48,), range(1), range(1, 2)),
    encoder=rate_distortion_recipes.Encoder(_BETAS, 60, 16),
    colour=rate_distortion_recipes.Colour(
        "colour", (4, 4), (4, 4, 4, 4), STEPS, _ANNEALING._replace(betas=_BETAS[:2], n_images=2)
    ),
    gap_betas=(0.35, 200.0),
    gap_images=2,
    quadrature_points=9,
    feature_steps=100,
    several=("vae2", "vae10", "gan10", "aae10", "dcgan10-gp", "dcgan10-bre"),
    single=("gan2", "vae100"),
)


def _load(load: Callable) -> Callable:
    """Few sentences: of the reviews' grammar, and of topics in place of every set of real ones."""

    def few(name: str, split: str = "train") -> text.Sentences:
        if name != "reviews":
            texts = topic_chain(300, len(split), words=(5, 9)).texts
            return text.Sentences(texts, torch.arange(300) % 2, None)
        found = load(name, split)
        if split in ("train", "held_out"):
            return text.Sentences(found.texts[:600], found.labels[:600], None)
        return text_training.first_per_label(found, 52)

    return few


def _series(_name: str, split: str) -> list[Tensor]:
    """Series of two lengths; what is missing is NaN."""
    generator = torch.Generator().manual_seed(len(split))
    found = [torch.randn(n, 3, generator=generator) for n in [6, 8] * 8]
    for x in found:
        x[2, 1] = torch.nan
    return found


def _samples(samples: Callable) -> Callable:
    """A model that has hardly learned ends no sentence: what it writes is replaced by real text."""

    def replaced(trained, settings, seed: int) -> list:
        assert len(samples(trained, settings, seed)) == settings.n_samples
        stream, end = trained.splits.streams[0].tolist(), trained.splits.vocabulary.end
        rows = list(bootstrap_measures.split_sentences(stream, end))
        return [rows[14 * i : 14 * i + 14] for i in range(4)]

    return replaced


# What is trained: (profile) -> anything


def _gan(norm: str, method: str) -> Callable:
    run = gan_images.Run("digits", "normal", norm, method, 0)
    return lambda profile: gan_images.dcgan(profile, gan_recipes.RECIPES[profile.name], run)


def _chain(dataset: str, **changes) -> Callable:
    def train(profile: profiles.Profile):
        settings = bootstrap_runs.RECIPES["smoke"].texts[dataset]._replace(**changes)
        return bootstrap_runs.train(bootstrap_runs.Job(profile, dataset, settings, "phase II", 0))

    return train


def _job(name: str, profile: profiles.Profile) -> rate_distortion_models.Job:
    return rate_distortion_models.Job(name, 0, profile, RATE_DISTORTION)


def _train_pooling(variant: str, profile: profiles.Profile) -> object:
    return pooling_training.train(POOLING[profile.name], profile, "endings", variant, 0)


TRAININGS: dict[str, Callable] = {
    "1 VAE": lambda p: rate_distortion_models.train(_job("vae2", p)),
    "1 GAN": lambda p: rate_distortion_models.train(_job("gan10", p)),
    "1 AAE": lambda p: rate_distortion_models.train(_job("aae10", p)),
    "1 DCGAN": lambda p: rate_distortion_models.train(_job("dcgan10-bre", p)),
    "1 features": lambda p: rate_distortion_runs.features(_job("vae10", p)),
    "2 LSTM": _chain("chain"),
    # On a device the padding is read with the rest, so that its dropout draws other numbers.
    "2 transformer": _chain("chain", base="transformer", dropout=0.0),
    "2 as released": _chain("chain", base="ptb", released=True),
    "3 classifier": lambda p: gan_images.judge(p, gan_recipes.RECIPES[p.name], "digits"),
    "3 BRE": _gan("batch", "bre"),
    "3 R1": _gan("r1", "none"),
    "3 few labels": lambda p: gan_images.semi_supervised(p, gan_recipes.RECIPES[p.name], "bre", 0),
    "4 simplex": lambda p: _trained_codes("simplex", p),
    "4 ordinary": lambda p: _trained_codes("ordinary", p),
    "4 steering": lambda p: _trained_steering(p),
    "4 judges": lambda p: text_judges.trained_judges(text_training.setup(p), "reviews"),
    **{f"5 {name}": partial(_train_pooling, name) for name in ("plain", "max", "aggressive")},
    "6 VRNN": lambda p: _hyper_rnn("switching", "VRNN 6", p),
    "6 VHRNN": lambda p: _hyper_rnn("tunes", "VHRNN 28", p),
    "6 HyperLSTM": lambda p: _hyper_rnn("switching", "HyperLSTM", p),
}


def _hyper_rnn(dataset: str, model: str, profile: profiles.Profile) -> tuple:
    return hyper_rnn_run.trained(dataset, model, profile, 0, _hyper_rnn_recipe())


class Watched(NamedTuple):
    """What a training did."""

    terms: list[dict[str, float]]  # of each step, of all fits one after the other
    parameters: dict[int, nn.Parameter]  # of all optimisers
    with_gradient: set[int]


class StoppedError(Exception):
    """Raised in the middle of a run, as a kill would end it."""


def watch(
    patch: pytest.MonkeyPatch, seen: Watched | None = None, kill_at: int | None = None
) -> Watched:
    """Has every `fit` write down its terms and its parameters' gradients, or die at a step.

    A checkpoint is written at each step.
    """
    seen = seen or Watched([], {}, set())

    def look(optimizer: torch.optim.Optimizer, *_) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                seen.parameters[id(parameter)] = parameter
                if parameter.grad is not None and bool(parameter.grad.isfinite().all()):
                    seen.with_gradient.add(id(parameter))

    def fit(step, batches, state, steps, **options):
        def watched(state, batch):
            if len(seen.terms) == kill_at:
                raise StoppedError
            handle = register_optimizer_step_pre_hook(look)
            try:
                terms = step(state, batch)
            finally:
                handle.remove()
            seen.terms.append({name: float(value) for name, value in terms.items()})
            return terms

        options |= {"checkpoint_seconds": 0, "progress": False}
        return fit_module.fit(watched, batches, state, min(steps, STEPS), **options)

    for module in TRAINERS:
        if hasattr(module, "fit"):
            patch.setattr(module, "fit", fit)
    return seen


class NoiseOfTheCPU(TorchFunctionMode):
    """What a CUDA generator draws comes from a CPU generator of its seed: devices can be compared."""

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


class Types(TorchDispatchMode):
    """Writes down the types of all that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (list, tuple)) else (out,):
            if isinstance(x, Tensor):
                self.seen.add(x.dtype)
        return out


# Every result of a chapter: (profile) -> one after the other


def _first(profile: profiles.Profile) -> Iterator:
    jobs = rate_distortion_runs.experiments(profile, RATE_DISTORTION)
    for (job, ending), compute in jobs.items():
        yield job.get(ending, compute)


def _second(profile: profiles.Profile) -> Iterator:
    recipe = bootstrap_runs.RECIPES["smoke"]
    for dataset, method in (
        ("chain", "likelihood"),
        ("chain", "phase I"),
        ("chain", "shuffled pairs"),
        ("ptb", "likelihood"),
        ("ptb", "padding read"),
        ("shakespeare", "likelihood"),
        ("shakespeare", "phase II"),
    ):
        yield bootstrap_runs.result(
            bootstrap_runs.Job(profile, dataset, recipe.texts[dataset], method, 0)
        )
    for dataset in ("chain", "ptb"):
        yield bootstrap_runs.real_text(
            bootstrap_runs.Job(profile, dataset, recipe.texts[dataset], "real", 0)
        )


def _third(profile: profiles.Profile) -> Iterator:
    recipe = gan_recipes.RECIPES[profile.name]
    for run in gan_images.runs(recipe):
        yield gan_images.dcgan(profile, recipe, run)
    yield gan_images.judge(profile, recipe, "digits")
    for method in ("none", "bre"):
        yield gan_images.semi_supervised(profile, recipe, method, 0)


def _trained_codes(kind: str, profile: profiles.Profile) -> sentence_codes.Trained:
    return sentence_codes.trained_codes(kind, text_training.setup(profile), "reviews", 0)


def _trained_steering(profile: profiles.Profile) -> nn.Module:
    return sentence_steering.trained_steering(text_training.setup(profile), 100, 0)


def _fourth(profile: profiles.Profile) -> Iterator:
    yield from chapter_4.run(profile, 0)
    steering = _trained_steering(profile)
    device = steering.vertices.device
    generator = torch.Generator(device).manual_seed(0)
    # A rewrite that changes its mind, and a model in eval mode that learns.
    source, first, last = ["the food was great ."], torch.eye(3)[:1], torch.eye(3)[2:]
    rewrite(steering, source, first.to(device), switch_at=2, weights_after=last.to(device))
    steering.eval().requires_grad_(True)
    words = torch.randint(8, 90, (6, 5), device=device, generator=generator)
    targets = torch.eye(3, device=device).repeat(2, 1)
    steering_objective(steering, words, targets, generator).loss().backward()
    # The variant that needs no features.
    model = cp_vae.ControllableTextVAE(
        50, None, embedding=8, hidden=8, structured_dim=4, residual_dim=4, decoder_embedding=8,
        layers=1,
    ).to(device)  # fmt: skip
    tokens = torch.randint(4, 50, (5, 9), device=device, generator=generator)
    features = model.features(tokens, torch.tensor([9, 8, 7, 9, 5], device=device))
    window = cp_vae.crop(tokens, generator, 5)
    cp_vae.controllable_objective(model, window, features, generator, negatives=2).value.backward()
    points = torch.randn(60, 3, device=device, generator=generator)
    yield mapper_graph(points, 3)


def _fifth(profile: profiles.Profile) -> Iterator:
    t, recipe = pooling_training, POOLING[profile.name]
    for dataset, kind in (
        ("endings", "plain"),
        ("endings", "cyclical"),
        ("endings", "free bits each"),
        ("endings", "aggressive"),
        ("endings", "logsumexp"),
        ("endings", "absmax"),
        ("endings", "scaled last"),
        ("endings", "layer norm"),
        ("endings", "forget bias"),
        ("endings", "front"),
        ("ptb", "mean annealing"),
        ("captions", "max adam"),
    ):
        yield t.result(recipe, profile, dataset, kind, 0)
    yield t.vocabulary(recipe._replace(main="ptb"), profile)
    weight, bias = torch.randn(6, 2), torch.randn(6)
    exact = pooling_vae.LinearGaussianVAE(weight.to(profile.device), bias.to(profile.device), 0.5)
    x = torch.randn(5, 6).to(profile.device)
    yield exact.elbo(x, *exact.mean_field(x)) - exact.log_evidence(x)


def _sixth(profile: profiles.Profile) -> Iterator:
    recipe = _hyper_rnn_recipe()
    for dataset, model in (
        ("switching", "VRNN 6"),
        ("switching", "VHRNN 4"),
        ("switching", "HyperLSTM"),
        ("tunes", "VHRNN 28"),
        ("stocks", "VHRNN 16"),
    ):
        yield hyper_rnn_run.result(profile, dataset, model, 0, recipe)
    yield hyper_rnn_run.truth(profile, recipe)
    for emission in ("gaussian", "bernoulli"):
        model = hyper_rnn.DeterministicHyperRNN(3, 4, 4, emission).to(profile.device)
        model.calibrate(torch.full((3,), 0.5))
        model.calibrate(torch.full((3,), 0.5, device=profile.device))
        yield model


CHAPTERS: dict[str, Callable] = {
    "1": _first,
    "2": _second,
    "3": _third,
    "4": _fourth,
    "5": _fifth,
    "6": _sixth,
}


# Samplers and evaluators: (profile, weights by model's name) -> what is compared between devices


def _curve(profile: profiles.Profile, weights: dict) -> dict[str, Tensor]:
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 5)).to(profile.device)
    options = {"latent_dim": 2, "n_chains": 4, "n_leapfrog": 3, "device": profile.device}
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    found = rate_distortion_curve(
        decoder, x, betas=[0.1, 1.0], temperatures_per_beta=3, precision="float64",
        progress=False, **options,
    )  # fmt: skip
    gap = bdmc_gap(decoder.double(), beta=1.0, n_images=3, n_temperatures=4, seed=0, **options)
    curve = {key: getattr(found, key) for key in ("rate", "distortion", "log_z", "acceptance")}
    return curve | {"lower": gap.lower, "upper": gap.upper}


def _language(profile: profiles.Profile, weights: dict) -> dict[str, Tensor]:
    settings = bootstrap_runs.RECIPES["smoke"].texts["chain"]
    trained = bootstrap_runs.train(bootstrap_runs.Job(profile, "chain", settings, "phase I", 0))
    _shared(weights, "model", trained.model)
    _shared(weights, "critic", trained.critic)
    values = bootstrap_measures.measure(trained, settings)
    questions = bootstrap_measures.make_questions(trained, 0, n=3)
    passages = bootstrap_measures.make_passages(trained, starts=(0,))
    opening = torch.full((4, 2), trained.splits.vocabulary.end, device=profile.device)
    generator = torch.Generator(profile.device).manual_seed(0)
    written = continue_text(trained.model, opening, 9, generator)
    assert written.shape == (4, 9)
    return {key: torch.tensor(values[key]) for key in ("bound", "critic_loss", "nll")} | {
        "questions": torch.tensor([question["scores"] for question in questions]),
        "passages": torch.tensor(passages[0]["scores"]),
        "next": trained.model.step(written[:, 0], trained.model.start(4))[0],
    }


def _images(profile: profiles.Profile, weights: dict) -> dict[str, Tensor]:
    recipe = gan_recipes.RECIPES[profile.name]
    gan = gan_images.networks(profile, recipe.images["digits"], "digits", 0)
    made = generate(gan.generator, gan_training.noise(40, gan, 0, 0, profile.device))
    judge = gan_images.classifier(profile, recipe, "digits")
    _shared(weights, "judge", judge)
    features, shares = judge.read(made)
    real = gan_images.pictures("digits", "test").x[:40]
    other, _ = judge.read(real)
    x = made.to(profile.device)
    generator = torch.Generator(profile.device).manual_seed(0)
    terms = bre_gan.discriminator_objective(
        gan.discriminator, real.to(profile.device), x, generator, weight=1.0, layers=(0, 1),
        penalty="gradient",
    )  # fmt: skip
    kernel = torch.as_tensor(kernel_distance(other, features).value)
    return {"made": made, "shares": shares, "loss": terms.value, "kernel": kernel}


def _sentences(profile: profiles.Profile, weights: dict) -> dict[str, Tensor]:
    found = _trained_codes("simplex", profile)
    _shared(weights, "simplex", found.model)
    mu, logvar = sentence_codes.posterior(found.model, found.text, found.text.corpus, 40)
    made = cp_vae.decode(found.model.decoder, mu[:8].to(profile.device), max_steps=6)
    steering = _trained_steering(profile)
    _shared(weights, "steering", steering)
    vertices = torch.eye(3)[[0, 2]].to(profile.device)
    rewrites = rewrite(steering, ["the food was great .", "it was bad ."], vertices)
    judge = text_judges.trained_judges(text_training.setup(profile), "reviews")
    _shared(weights, "classifier", judge.classifier)
    _shared(weights, "language", judge.language_model)
    return {
        "mu": mu,
        "logvar": logvar,
        "log_prob": made.log_prob,
        "rewrites": torch.tensor([r.agreement for r in rewrites]),
        "classes": judge.classify(["the food was great .", "bad"]),
        "nats": judge.negative_log_likelihood(["the food was great .", "bad"])[0],
    }


def _pooled(profile: profiles.Profile, weights: dict) -> dict[str, Tensor]:
    recipe = POOLING[profile.name]
    trained = pooling_training.train(recipe, profile, "endings", "max", 0)
    _shared(weights, "model", trained.model)
    corpus, s = trained.splits.test, recipe.settings["endings"]
    final, tensors = pooling_training.measure_final(recipe, trained.model, corpus, s, 0)
    numbers = ("reconstruction", "kl", "log_likelihood", "influence")
    return tensors | {key: torch.tensor(final[key]) for key in numbers}


def _particles(profile: profiles.Profile, weights: dict) -> dict[str, Tensor]:
    recipe = _hyper_rnn_recipe()
    model = _hyper_rnn("switching", "VHRNN 4", profile)[0]
    other = _hyper_rnn("switching", "HyperLSTM", profile)[0]
    _shared(weights, "VHRNN", model)
    _shared(weights, "HyperLSTM", other)
    splits = hyper_rnn_run.splits("switching", recipe.training["switching"], recipe.sequences)
    generator = torch.Generator(profile.device).manual_seed(0)
    written = hyper_rnn.generate(model, 6, 3, generator)
    bounds = {
        resample: hyper_rnn_run.likelihoods(model, splits.test, 5, 0, resample)
        for resample in ("ess", "never", "always")
    }
    exact = hyper_rnn_run.likelihoods(other, splits.test, 1, 0)
    return bounds | {"exact": exact, "written": written}


def _shared(weights: dict, name: str, model: nn.Module) -> None:
    """Gives a model the weights that the first model of that name had."""
    own = {key: value.cpu().clone() for key, value in model.state_dict().items()}
    model.load_state_dict(weights.setdefault(name, own))


EVALUATIONS: dict[str, Callable] = {
    "1": _curve,
    "2": _language,
    "3": _images,
    "4": _sentences,
    "5": _pooled,
    "6": _particles,
}
