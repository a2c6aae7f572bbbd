"""Chapter 1: the rate-distortion curves of VAEs with 2 and 10 latent dimensions."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm import profiles, results
from dgm.claims import Claim, judge
from dgm.data import images, minibatches
from dgm.fit import TrainingState, fit
from dgm.measure import active_units, bootstrap
from dgm.nets.mlp import Layer, mlp_layers
from dgm.papers.rate_distortion import (
    ImageVAE,
    RateDistortionCurve,
    bdmc_gap,
    quadrature_curve,
    rate_distortion_curve,
    vae_objective,
)
from dgm.results import Result
from dgm.sampling import schedules

CHAPTER = "01_rate_distortion"
MODELS = {"vae2": 2, "vae10": 10}
LABELS = {"vae2": "VAE, 2 latent dimensions", "vae10": "VAE, 10 latent dimensions"}
TITLE = "Rate and distortion"
N_PUBLISHED_CODES = 12  # images whose posterior samples the page shows
N_PUBLISHED_MEANS = 1500  # posterior means under the latent space
ABSTRACT = "Huang et al. 2020, abstract"
DERIVED = "follows from the definition"


class Settings(NamedTuple):
    """The sizes of one profile."""

    dataset: str
    hidden: tuple[int, ...]
    steps: int
    batch_size: int
    learning_rate: float
    betas: Tensor  # recorded
    temperatures_per_beta: int
    n_images: int
    n_chains: int
    n_leapfrog: int
    bdmc_betas: tuple[float, ...]
    bdmc_images: int
    quadrature_points: int


def settings(profile: profiles.Profile) -> Settings:
    """The chapter's sizes at a profile; the paper's own are in section 3 of its appendix and its code."""
    if profile.name == "smoke":
        betas = schedules.log_spaced(17, 0.02, 200.0)[1:]
        return Settings(
            "digits", (64,), 1200, 64, 2e-3, betas, 8, 12, 8, 6, (0.35, 1.1, 200.0), 8, 201
        )
    if profile.name == "small":
        betas = schedules.log_spaced(49, 0.01, 3000.0)[1:]
        return Settings(
            "mnist", (256, 256), 10_000, 100, 1e-3, betas, 41, 50, 16, 10,
            (0.38, 1.0, 3000.0), 16, 601,
        )  # fmt: skip
    betas = schedules.sigmoid(60_000, 36_000.0)[30::30]
    return Settings(
        "mnist", (1024, 1024, 1024), 500_000, 100, 1e-4, betas, 30, 50, 40, 20,
        (0.3819, 1.0334, 35_999.85), 50, 1201,
    )  # fmt: skip


def context(profile: profiles.Profile) -> results.Context:
    """What this chapter's results share."""
    dataset = settings(profile).dataset
    return results.Context(__name__, CHAPTER, profile, (dataset,))


def run(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Iterator[Result]:
    """Every result of one seed, one after the other: loaded, resumed or computed.

    Bounds and quadrature belong to the first seed alone.
    """
    for model in MODELS:
        yield trained(model, profile, seed)
        yield curve(model, profile, seed)
    if seed == first_seed:
        yield truth(profile, seed)
        for model in MODELS:
            for beta in settings(profile).bdmc_betas:
                yield gap(model, profile, seed, beta)


def names(profile: profiles.Profile) -> list[str]:
    """The results that make the chapter whole at a profile."""
    seeds = range(profile.n_seeds)
    bounds = [f"{m}-seed0-bdmc-{b:g}" for m in MODELS for b in settings(profile).bdmc_betas]
    runs = [f"{m}-seed{s}-{what}" for m in MODELS for s in seeds for what in ("training", "curve")]
    return [*runs, "vae2-seed0-truth", *bounds]


def trained(name: str, profile: profiles.Profile, seed: int) -> Result:
    """A trained VAE's test ELBO and posterior means, and for seed 0 its decoder."""

    def compute() -> tuple[dict, dict]:
        model = _model(name, profile, seed)
        test = images.load(settings(profile).dataset, "test")
        x = test.x.to(profile.device, profile.dtype)
        generator = torch.Generator(profile.device).manual_seed(seed)
        with torch.no_grad():
            bound = vae_objective(model, x, generator)
            mu, _ = model.posterior(x)
        values = {
            "elbo": bootstrap(bound.value)._asdict(),
            "log_likelihood": bootstrap(bound.log_likelihood)._asdict(),
            "kl": bootstrap(bound.kl)._asdict(),
            "pixel_variance": float(model.log_variance.detach().exp()),
            "active_units": int(active_units(mu)),
            "shape": list(test.shape),
        }
        tensors = {"means": mu[:N_PUBLISHED_MEANS], "labels": test.y[:N_PUBLISHED_MEANS]}
        if seed == 0:
            tensors |= {f"decoder.{k}": v for k, v in model.decoder.state_dict().items()}
        return values, tensors

    return results.get(f"{name}-seed{seed}-training", compute, context(profile), seed=seed)


def curve(name: str, profile: profiles.Profile, seed: int) -> Result:
    """The rate-distortion curve of one model and seed on the first test images."""
    s = settings(profile)

    def compute() -> tuple[dict, dict]:
        progress = _work(profile) / f"{name}-seed{seed}.curve.safetensors"
        found = _curve(name, profile, seed, run_seed=seed, checkpoint=progress)
        kept = ("beta", "rate", "distortion", "log_z", "ess", "acceptance")
        tensors = {key: getattr(found, key) for key in kept}
        if seed == 0:
            tensors["codes"] = found.codes[:, :N_PUBLISHED_CODES].float()
        temperatures = s.temperatures_per_beta * len(s.betas)
        return {"n_images": s.n_images, "n_temperatures": temperatures}, tensors

    return results.get(f"{name}-seed{seed}-curve", compute, context(profile), seed=seed)


def gap(name: str, profile: profiles.Profile, seed: int, beta: float) -> Result:
    """BDMC bounds of one model at one beta, on images simulated from it."""
    s = settings(profile)

    def compute() -> tuple[dict, dict]:
        found = bdmc_gap(
            decoder(name, profile, seed),
            latent_dim=MODELS[name],
            beta=beta,
            n_images=s.bdmc_images,
            n_chains=s.n_chains,
            n_temperatures=s.temperatures_per_beta * len(s.betas),
            n_leapfrog=s.n_leapfrog,
            seed=seed,
            device=profile.device,
        )
        values = {
            "beta": beta,
            "gap": found.gap,
            "standard_error": found.standard_error,
            "n_images": s.bdmc_images,
        }
        return values, {"lower": found.lower, "upper": found.upper}

    return results.get(f"{name}-seed{seed}-bdmc-{beta:g}", compute, context(profile), seed=seed)


def truth(profile: profiles.Profile, seed: int) -> Result:
    """The curve of VAE2 by quadrature, at the betas up to which two grids agree to 0.01 nat."""
    s = settings(profile)

    def compute() -> tuple[dict, dict]:
        x, betas = _test_images(profile), s.betas[s.betas < 10.0]
        coarse, fine = (
            quadrature_curve(
                decoder("vae2", profile, seed), x, latent_dim=2, betas=betas, n_points=n
            )
            for n in (s.quadrature_points, 2 * s.quadrature_points - 1)
        )
        agree = ((coarse.log_z - fine.log_z).abs().amax(1) < 0.01).long().cumprod(0).bool()
        kept = ("beta", "rate", "distortion", "log_z")
        return {}, {key: getattr(fine, key)[agree] for key in kept}

    return results.get(f"vae2-seed{seed}-truth", compute, context(profile), seed=seed)


def decoder(name: str, profile: profiles.Profile, seed: int) -> nn.Sequential:
    """The trained decoder: published (seed 0), kept in the work folder, or trained now."""
    found = trained(name, profile, seed)
    if "decoder.0.weight" not in found.tensors:
        return _model(name, profile, seed).decoder.requires_grad_(False)
    hidden, shape = settings(profile).hidden, found.values["shape"]
    model = ImageVAE(math.prod(shape), MODELS[name], hidden).decoder
    model.load_state_dict(
        {k.removeprefix("decoder."): v for k, v in found.tensors.items() if "decoder." in k}
    )
    return model.to(profile.device, profile.dtype).requires_grad_(False)


class Chapter(NamedTuple):
    """All results of the chapter at one profile, as the notebook and the page use them."""

    profile: profiles.Profile
    dataset: str
    shape: tuple[int, int]
    seeds: list[int]
    scale: str
    badge: str
    training: dict[str, list[Result]]
    curves: dict[str, list[Result]]
    gaps: dict[str, list[Result]]
    truth: Result


def chapter(profile_name: str = "auto", first_seed: int = 0) -> Chapter:
    """Load or compute the chapter; "auto" takes the largest profile that is published."""
    profile = results.resolve(profile_name, CHAPTER, names)
    if profile.threads:
        torch.set_num_threads(profile.threads)
    s = settings(profile)
    seeds = list(range(first_seed, first_seed + profile.n_seeds))
    found = {r.name: r for seed in seeds for r in run(profile, seed, first_seed)}
    training = {m: [found[f"{m}-seed{seed}-training"] for seed in seeds] for m in MODELS}
    curves = {m: [found[f"{m}-seed{seed}-curve"] for seed in seeds] for m in MODELS}
    gaps = {m: [found[f"{m}-seed{first_seed}-bdmc-{b:g}"] for b in s.bdmc_betas] for m in MODELS}
    shape = tuple(training["vae2"][0].values["shape"])
    scale = f"{s.n_images} test images, {len(seeds)} seed{'s' * (len(seeds) > 1)}"
    badge = results.badge(list(found.values()), scale)
    exact = found[f"vae2-seed{first_seed}-truth"]
    return Chapter(profile, s.dataset, shape, seeds, scale, badge, training, curves, gaps, exact)


class Summary(NamedTuple):
    """A model's curve over seeds and images, each (R,); errors join both sources of variation."""

    beta: Tensor
    rate: Tensor
    rate_error: Tensor
    distortion: Tensor
    distortion_error: Tensor
    log_z: Tensor
    log_z_error: Tensor
    legendre_rate: Tensor  # at the mean distortions, from log Z alone


def summary(curves: list[Result]) -> Summary:
    """Mean over images and seeds, with the standard error over images joined to that over seeds."""
    columns = [curves[0].tensors["beta"]]
    for term in ("rate", "distortion", "log_z"):
        values = torch.stack([c.tensors[term] for c in curves])  # (seeds, R, N)
        over_images = values.mean(0).var(1) / values.shape[2]
        over_seeds = values.mean(2).var(0) / len(values) if len(values) > 1 else 0.0
        columns += [values.mean((0, 2)), torch.sqrt(over_images + over_seeds)]
    mean_log_z, distortion = columns[5], columns[3]
    lines = -mean_log_z[:, None] - columns[0][:, None] * distortion
    return Summary(*columns, lines.amax(0))


def claims(found: Chapter) -> list[Claim]:
    """The chapter's claims with their verdicts, from the results."""
    small = found.curves["vae2"][0].tensors
    kept = len(found.truth.tensors["beta"])
    miss = small["log_z"][:kept] - found.truth.tensors["log_z"]
    error = miss.std(1) / math.sqrt(miss.shape[1])
    worst = int((miss.mean(1).abs() / error).argmax())
    gaps = [r.values for r in found.gaps["vae10"]]
    widest = max(gaps, key=lambda g: g["gap"])
    over = small["rate"][:kept] - found.truth.tensors["rate"]
    over_error = over.std(1) / math.sqrt(over.shape[1])
    lowest = int((over.mean(1) / over_error).argmin())
    first = float(small["beta"][0])
    floor = bootstrap(-_ten_less_two(found, "distortion", -1))
    start = bootstrap(-_ten_less_two(found, "log_z", 0) / first)
    end = bootstrap(_ten_less_two(found, "log_z", -1))
    return [
        _claim(
            found,
            "One annealing run passes through every inverse temperature and gives the whole curve",
            ABSTRACT,
            f"VAE2 against quadrature at {kept} betas up to {small['beta'][kept - 1]:.3g}: the mean "
            f"log Z misses by {miss.mean(1)[worst]:+.3f} ± {error[worst]:.3f} nats where it is worst "
            f"({small['log_z'].shape[1]} images); asked for: four standard errors",
            bool((miss.mean(1).abs() <= 4 * error).all()),
        ),
        _claim(
            found,
            "Its points lie on or above the true curve in expectation",
            DERIVED,
            f"VAE2, rate less the exact rate where it is lowest: {over.mean(1)[lowest]:+.3f} ± "
            f"{over_error[lowest]:.3f} nats at beta {small['beta'][lowest]:.3g}; asked for: not below by "
            "more than four standard errors",
            bool((over.mean(1) >= -4 * over_error).all()),
        ),
        _claim(
            found,
            "The annealing is accurate on data from the model: the bidirectional gap is small",
            "Huang et al. 2020, released code",
            f"VAE10, widest of {len(gaps)} gaps: {widest['gap']:.3f} ± {widest['standard_error']:.3f} "
            f"nats at beta {widest['beta']:g} (n = {widest['n_images']} images); asked for: two standard "
            "errors below 1",
            widest["gap"] + 2 * widest["standard_error"] < 1.0,
        ),
        _claim(
            found,
            "A small code meets a floor of distortion that a larger one goes below",
            DERIVED,
            f"at beta {small['beta'][-1]:g}, D of VAE2 less D of VAE10: {floor.mean:.2f} "
            f"[{floor.low:.2f}, {floor.high:.2f}] (95 %, {floor.n} images, mean of seeds)",
            floor.low > 0,
        ),
        _claim(
            found,
            "A curve tells apart what one likelihood mixes: the better code depends on the rate",
            ABSTRACT,
            f"free energy of VAE10 less VAE2, by beta: {start.mean:+.2f} [{start.low:+.2f}, "
            f"{start.high:+.2f}] at beta {first:g}; log Z of VAE10 less VAE2: {end.mean:+.0f} "
            f"[{end.low:+.0f}, {end.high:+.0f}] at beta {float(small['beta'][-1]):g}",
            start.low > 0 and end.low > 0,
        ),
        _claim(
            found,
            "The whole curve costs about as much as one likelihood estimate",
            ABSTRACT,
            "one run was made for each curve, but a run for one likelihood was not timed beside it",
            None,
        ),
        _claim(
            found,
            "GANs, adversarial autoencoders and CIFAR-10 generators are told apart by their curves",
            ABSTRACT,
            "not run yet",
            None,
        ),
    ]


def published_claims() -> list[Claim]:
    """The claims at the best published profile; none where nothing has been published."""
    name = results.published(CHAPTER, names)
    return claims(chapter(name)) if name else []


def verify(profile: profiles.Profile, n_images: int = 16) -> list[dict[str, Any]]:
    """Recompute the published curves of seed 0 on some of their images, with new random numbers.

    Each check compares means over those images at one beta; its standard error is that of the paired
    difference over images.
    """
    checks = []
    n_images = min(n_images, settings(profile).n_images)
    for name in MODELS:
        published = curve(name, profile, 0).tensors
        again = _curve(name, profile, 0, run_seed=1000, n_images=n_images)
        for r in torch.linspace(0, len(published["beta"]) - 1, 5).long().tolist():
            for term in ("log_z", "rate", "distortion"):
                old, new = published[term][r, :n_images], getattr(again, term)[r]
                error = float((new - old).std()) / math.sqrt(n_images)
                missed = abs(float((new - old).mean()))
                checks.append(
                    {
                        "what": f"{name} {term} at beta {float(published['beta'][r]):.4g}",
                        "published": float(old.mean()),
                        "recomputed": float(new.mean()),
                        "standard_error": error,
                        "ok": missed <= 4 * error,
                    }
                )
    return checks


def _ten_less_two(found: Chapter, term: str, r: int) -> Tensor:
    """VAE10 less VAE2 in a term at the r-th beta, mean of the seeds, for each image (N,)."""
    ten, two = (
        torch.stack([c.tensors[term][r] for c in found.curves[name]]).mean(0)
        for name in ("vae10", "vae2")
    )
    return ten - two


def _claim(found: Chapter, text: str, source: str, measured: str, holds: bool | None) -> Claim:
    scale = f"profile {found.profile.name}, {found.dataset}, {found.scale}"
    return Claim(CHAPTER, TITLE, text, source, measured, scale, judge(holds))


def _curve(
    name: str,
    profile: profiles.Profile,
    seed: int,
    *,
    run_seed: int,
    n_images: int | None = None,
    checkpoint: Path | None = None,
) -> RateDistortionCurve:
    s = settings(profile)
    return rate_distortion_curve(
        decoder(name, profile, seed),
        _test_images(profile)[:n_images],
        latent_dim=MODELS[name],
        betas=s.betas,
        n_chains=s.n_chains,
        n_leapfrog=s.n_leapfrog,
        temperatures_per_beta=s.temperatures_per_beta,
        seed=run_seed,
        device=profile.device,
        checkpoint=checkpoint,
    )


def _test_images(profile: profiles.Profile) -> Tensor:
    s = settings(profile)
    return images.load(s.dataset, "test").x[: s.n_images]


def _work(profile: profiles.Profile) -> Path:
    return results.work_folder() / CHAPTER / profile.name


def _model(name: str, profile: profiles.Profile, seed: int) -> ImageVAE:
    """A trained model, from its finished or interrupted run in the work folder."""
    s = settings(profile)
    data = images.load(s.dataset, "train")
    x = data.x.to(profile.device, profile.dtype)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ImageVAE(x.shape[1], MODELS[name], s.hidden).to(profile.device, profile.dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=s.learning_rate)
    generator = torch.Generator(profile.device).manual_seed(seed)
    state = TrainingState(model, optimizer, generator)
    picks = minibatches(len(x), s.batch_size, seed)
    fit(
        _training_step,
        lambda i: x[picks(i).to(x.device)],
        state,
        s.steps,
        checkpoint=_work(profile) / f"{name}-seed{seed}.training.safetensors",
        description=f"{name} seed {seed}",
    )
    return model.eval()


def _training_step(state: TrainingState, x: Tensor) -> dict[str, Tensor]:
    bound = vae_objective(state.model, x, state.generator)
    loss = -bound.value.mean()
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    state.optimizer.step()
    return {"loss": loss.detach(), "kl": bound.kl.detach().mean()}


def page_models(
    found: Chapter,
) -> tuple[dict[str, list[Layer]], dict[str, tuple], dict[str, Tensor]]:
    """The first seed's decoders for the page, golden vectors that tie them to PyTorch, calibration codes."""
    models, golden, calibration = {}, {}, {}
    for name, latent_dim in MODELS.items():
        network = decoder(name, found.profile, found.seeds[0]).cpu()
        codes = torch.randn(2008, latent_dim, generator=torch.Generator().manual_seed(0))
        models[name] = mlp_layers(network)
        golden[name] = codes[:8], network(codes[:8])
        calibration[name] = codes[8:]
    return models, golden, calibration


def page_curves(found: Chapter) -> list[dict[str, Any]]:
    """Each model's curve over seeds, with posterior samples of the first seed, for the explorer."""
    return [
        {
            "model": name,
            "label": LABELS[name],
            **summary(found.curves[name])._asdict(),
            "codes": found.curves[name][0].tensors["codes"],
        }
        for name in MODELS
    ]
