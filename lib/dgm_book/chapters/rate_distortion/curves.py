"""Chapter 1's measurements: the curves of every model, and what each experiment adds to them.

`run` makes them one after the other; each is loaded where it is published.
"""

import functools
import math
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional

from dgm.data import minibatches
from dgm.nets.mlp import mlp
from dgm.papers.rate_distortion import (
    RateDistortionCurve,
    SamplerOptions,
    bdmc_gap,
    quadrature_curve,
    rate_distortion_curve,
)
from dgm.precision import mixed_precision_dtype
from dgm.sampling import schedules
from dgm.train import TrainingState, fit
from dgm.vae import gaussian_kl, reparameterise
from dgm_book import profiles, results
from dgm_book.chapters.rate_distortion.training import (
    DROPPED,
    MODELS,
    Settings,
    context,
    dataset,
    decoder,
    pictures,
    settings,
    trained,
    training_images,
    work,
)
from dgm_book.results import Result

FINE = ("vae2", "vae10", "aae10")  # have twice the temperatures
N_PUBLISHED_CODES = 8  # images whose posterior samples the page shows
WITH_CODES = ("vae2", "vae10", "gan10")
WITH_TRUTH = ("vae2", "gan2")
WITH_GAPS = ("vae2", "vae10", "vae100", "gan10", "aae10")
ONE_SEED = ("vae100", "gan2")  # at the small profile
COLOUR = ("dcgan10-gp", "dcgan10-vanilla")  # on CIFAR-10, as many seeds as the others
ALPHAS = (0.5, 0.9, 0.99)  # weights of the bad prior
WIDE = 10.0  # deviation of the bad prior
BLURS = (0.0, 0.5, 1.0, 2.0)  # deviations in pixels
DAMAGED = ("few", "dropped", "short")
ANNEALING_SEEDS = range(11, 17)
SCHEDULES = ("sigmoid", "default", "adaptive")
LONG, PAPER_BETA = {"n_leapfrog": 20}, 36_000.0  # the paper's own trajectories and largest beta
WAYS = {  # of helping the adaptive schedule in the race
    "steady": {"jitter": 0.0},
    "diagonal": {"mass": "diagonal"},
    "long": LONG,
}
ENCODED = ("vae10", "gan10")
FELT = ("vae10", "gan10")  # under the deep distortion
TERMS = ("beta", "rate", "distortion", "log_z")


def main_models(profile: profiles.Profile) -> dict[str, int]:
    """The models that the profile compares, with the number of seeds of each."""
    if profile.name == "paper":
        apart = [n for n, m in MODELS.items() if not (m.damage or m.narrow)]
        return dict.fromkeys(apart, profile.n_seeds)
    several = ("vae2", "vae10", "gan10", "gan10-shallow", "aae10", *COLOUR)
    return dict.fromkeys(several, profile.n_seeds) | dict.fromkeys(ONE_SEED, 1)


def run(profile: profiles.Profile, seed: int, first_seed: int = 0) -> Iterator[Result]:
    """Every result of one seed, loaded, resumed or computed; with the first, those of seeds not asked for."""
    asked = range(first_seed, first_seed + profile.n_seeds)
    for name, make in jobs(profile, first_seed):
        own = int(re.search(r"-seed(\d+)-", name)[1])
        if own == seed or (seed == first_seed and own not in asked):
            yield make()


def jobs(profile: profiles.Profile, first_seed: int = 0) -> list[tuple[str, Callable[[], Result]]]:
    """All results by name, with what makes them.

    The compared models take their seeds from `first_seed` on; the further experiments look at the
    models of seed 0 and those after it.
    """
    s, found = settings(profile), []

    def add(name: str, make: Callable, *arguments: Any) -> None:
        found.append((name, functools.partial(make, *arguments)))

    for model, n_seeds in main_models(profile).items():
        for seed in range(first_seed, first_seed + n_seeds):
            add(f"{model}-seed{seed}-training", trained, model, profile, seed)
            add(f"{model}-seed{seed}-curve", curve, model, profile, seed)
    add("vae5-narrow-seed0-training", trained, "vae5-narrow", profile, 0)
    for model in WITH_TRUTH:
        add(f"{model}-seed{first_seed}-truth", truth, profile, first_seed, model)
    for model in WITH_GAPS:
        for beta in gap_betas(model, s):
            name = f"{model}-seed{first_seed}-bdmc-{beta:g}"
            add(name, gap, model, profile, first_seed, beta)
    for blur in BLURS:
        for prior in ("narrow", "wide"):
            add(f"vae10-seed0-blur{blur:g}-{prior}", blurred, profile, blur, prior)
    for alpha in ALPHAS:
        add(f"vae10-seed0-mixture{alpha:g}", mixed, profile, alpha)
    for seed in range(profile.n_seeds):
        add(f"vae10-seed{seed}-seen", seen, profile, "vae10", seed, "train")
        add(f"vae10-seed{seed}-unseen", seen, profile, "vae10", seed, "test")
        for damage in DAMAGED:
            model = f"vae10-{damage}"
            add(f"{model}-seed{seed}-training", trained, model, profile, seed)
            add(f"{model}-seed{seed}-unseen", seen, profile, model, seed, "test")
        add(f"vae10-few-seed{seed}-seen", seen, profile, "vae10-few", seed, "train")
        for model in FELT:
            add(f"{model}-seed{seed}-features", felt, profile, model, seed)
        for model in ENCODED:
            add(f"{model}-seed{seed}-encoder", encoded, profile, model, seed)
    for model in ENCODED:
        add(f"{model}-seed0-annealed", annealed, profile, model)
    for k in ANNEALING_SEEDS:
        add(f"vae10-seed0-again{k}", again, profile, k)
    budgets = race_size(profile).budgets
    for budget in budgets:
        add(f"vae10-seed0-schedules{budget}", race, profile, budget)
        for way in ("fresh", "far"):
            add(f"vae10-seed0-schedules{budget}-{way}", race, profile, budget, way)
    for way in WAYS:
        add(f"vae10-seed0-schedules{budgets[0]}-{way}", race, profile, budgets[0], way)
    add("vae10-seed0-schedule-limits", limits, profile)
    add("vae10-seed0-cost", cost, profile)
    return found


# The curves of the models.


def temperatures(name: str, s: Settings) -> int:
    """Annealing steps between two recorded betas."""
    if MODELS[name].colour:
        return s.colour.temperatures_per_beta
    return s.temperatures_per_beta if name in FINE else max(1, s.temperatures_per_beta // 2)


def gap_betas(name: str, s: Settings) -> tuple[float, ...]:
    """Where a model's two bounds are measured; with 100 dimensions at the largest beta alone."""
    return s.bdmc_betas[-1:] if name == "vae100" else s.bdmc_betas


def betas_of(name: str, s: Settings) -> Tensor:
    """The recorded betas of a model."""
    return s.colour.betas if MODELS[name].colour else s.betas


def test_images(name: str, profile: profiles.Profile) -> Tensor:
    """The first test images (N, P), as the paper takes them."""
    s = settings(profile)
    n = s.colour.n_images if MODELS[name].colour else s.n_images
    return pictures(dataset(profile, name), "test").x[:n]


def measure(
    name: str,
    profile: profiles.Profile,
    seed: int,
    *,
    run_seed: int,
    n_images: int | None = None,
    checkpoint: Path | None = None,
) -> RateDistortionCurve:
    """A model's curve on the first test images."""
    s = settings(profile)
    return rate_distortion_curve(
        decoder(name, profile, seed),
        test_images(name, profile)[:n_images],
        latent_dim=MODELS[name].latent_dim,
        betas=betas_of(name, s),
        n_chains=s.colour.n_chains if MODELS[name].colour else s.n_chains,
        n_leapfrog=s.n_leapfrog,
        temperatures_per_beta=temperatures(name, s),
        seed=run_seed,
        device=profile.device,
        options=SamplerOptions(forces(profile)),
        checkpoint=checkpoint,
        progress=False,
    )


def forces(profile: profiles.Profile) -> str:
    """The precision of the leapfrog forces: low where it pays; acceptance is never low."""
    if profile.name == "smoke":
        return "same"
    if not profile.device.startswith("cuda"):
        return "bfloat16"
    return "tf32" if mixed_precision_dtype(profile.device) else "same"  # both since the same card


def curve(name: str, profile: profiles.Profile, seed: int) -> Result:
    """The rate-distortion curve of one model and seed on the first test images."""
    s = settings(profile)

    def compute() -> tuple[dict, dict]:
        progress = work(profile, f"{name}-seed{seed}.curve.safetensors")
        found = measure(name, profile, seed, run_seed=seed, checkpoint=progress)
        tensors = {key: getattr(found, key) for key in (*TERMS, "ess", "acceptance")}
        if seed == 0 and name in WITH_CODES:
            tensors["codes"] = found.codes[:, :N_PUBLISHED_CODES].float()
        total = temperatures(name, s) * len(found.beta)
        return {"n_images": found.rate.shape[1], "n_temperatures": total}, tensors

    return results.get(f"{name}-seed{seed}-curve", compute, context(profile, name), seed=seed)


def gap(name: str, profile: profiles.Profile, seed: int, beta: float) -> Result:
    """BDMC bounds of one model at one beta, on images simulated from it."""
    s = settings(profile)

    def compute() -> tuple[dict, dict]:
        found = bdmc_gap(
            decoder(name, profile, seed),
            latent_dim=MODELS[name].latent_dim,
            beta=beta,
            n_images=s.bdmc_images,
            n_chains=s.n_chains,
            n_temperatures=temperatures(name, s) * len(s.betas),
            n_leapfrog=s.n_leapfrog,
            seed=seed,
            device=profile.device,
            options=SamplerOptions(forces(profile)),
            progress=False,
        )
        values = {
            "beta": beta,
            "gap": found.gap,
            "standard_error": found.standard_error,
            "n_images": s.bdmc_images,
        }
        return values, {"lower": found.lower, "upper": found.upper}

    return results.get(f"{name}-seed{seed}-bdmc-{beta:g}", compute, context(profile), seed=seed)


def truth(profile: profiles.Profile, seed: int, name: str = "vae2") -> Result:
    """A curve in two dimensions by quadrature, at the betas up to which two grids agree to 0.01 nat."""
    s = settings(profile)

    def compute() -> tuple[dict, dict]:
        x, betas = test_images(name, profile), s.betas[s.betas < 10.0]
        coarse, fine = (
            quadrature_curve(decoder(name, profile, seed), x, latent_dim=2, betas=betas, n_points=n)
            for n in (s.quadrature_points, 2 * s.quadrature_points - 1)
        )
        agree = ((coarse.log_z - fine.log_z).abs().amax(1) < 0.01).long().cumprod(0).bool()
        return {}, {key: getattr(fine, key)[agree] for key in TERMS}

    return results.get(f"{name}-seed{seed}-truth", compute, context(profile), seed=seed)


# The experiments, on a coarser grid of betas.


def _quick(
    profile: profiles.Profile,
    name: str,
    model_seed: int,
    *,
    network: nn.Module | None = None,
    x: Tensor | None = None,
    keep: tuple[str, ...] = TERMS,
    **options: Any,
) -> dict[str, Tensor]:
    s = settings(profile)
    n_betas, per_beta, n_images = s.quick
    asked = {
        "betas": schedules.log_spaced(n_betas, float(s.betas[0]), float(s.betas[-1]))[1:],
        "n_chains": s.n_chains,
        "n_leapfrog": s.n_leapfrog,
        "temperatures_per_beta": per_beta,
        "seed": 1000 + model_seed,
        "force_precision": forces(profile),
        "progress": False,
        **options,
    }
    sampler = {key: asked.pop(key) for key in SamplerOptions._fields if key in asked}
    found = rate_distortion_curve(
        decoder(name, profile, model_seed) if network is None else network,
        test_images(name, profile)[:n_images] if x is None else x,
        latent_dim=MODELS[name].latent_dim,
        device=profile.device,
        options=SamplerOptions(**sampler),
        **asked,
    )
    return {key: getattr(found, key) for key in keep}


class Blurred(nn.Module):
    """A decoder (C, D) -> (C, P) whose pictures are blurred: 5 x 5 Gaussian, mirrored at the border.

    The Gaussian is the product of two lines, so rows and columns are blurred one after the other.

    Args:
        decoder: of flat pictures.
        deviation: of the Gaussian, pixels.
        shape: height and width.
    """

    def __init__(self, decoder: nn.Module, deviation: float, shape: tuple[int, int]) -> None:
        super().__init__()
        self.decoder, self.shape = decoder, shape
        for name, size in zip(("rows", "columns"), shape, strict=True):
            self.register_buffer(name, _blur_matrix(size, deviation))

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (C, D) -> blurred pictures (C, P)."""
        pictures = self.decoder(codes)
        rows, columns = self.rows.to(pictures.dtype), self.columns.to(pictures.dtype)
        return (rows @ pictures.view(-1, *self.shape) @ columns.T).flatten(1)


def _blur_matrix(size: int, deviation: float) -> Tensor:
    """A line's Gaussian of 5 pixels, mirrored at the ends, as a matrix (size, size)."""
    offset = torch.arange(-2.0, 3.0)
    line = torch.exp(-0.5 * (offset / deviation).square())
    eye = functional.pad(torch.eye(size)[:, None], (2, 2), mode="reflect")
    return functional.conv1d(eye, (line / line.sum()).view(1, 1, 5))[:, 0].T


def bad_prior(dim: int, alpha: float, device: str = "cpu") -> MixtureSameFamily:
    """(1 - alpha) N(0, I) + alpha N(0, 10^2 I): one component for the whole vector, scored as it is drawn."""
    scale = torch.tensor([[1.0], [WIDE]], device=device).expand(2, dim)
    parts = Independent(Normal(torch.zeros_like(scale), scale), 1)
    return MixtureSameFamily(Categorical(torch.tensor([1 - alpha, alpha], device=device)), parts)


def blurred(profile: profiles.Profile, blur: float, prior: str) -> Result:
    """VAE10 with a blurred decoder, under its own prior or under the bad one alone.

    A mixture of the two priors has the mixture of the two normalisers: from these runs the page draws
    the curve at every weight.
    """

    def compute() -> tuple[dict, dict]:
        network = decoder("vae10", profile, 0)
        shape = pictures(settings(profile).dataset, "test").shape
        if blur:
            network = Blurred(network, blur, shape).to(profile.device)
        zero = torch.zeros(MODELS["vae10"].latent_dim, device=profile.device)
        wide = Independent(Normal(zero, torch.full_like(zero, WIDE)), 1)
        found = _quick(
            profile, "vae10", 0, network=network, prior=wide if prior == "wide" else None
        )
        return {}, found

    return results.get(f"vae10-seed0-blur{blur:g}-{prior}", compute, context(profile), seed=0)


def mixed(profile: profiles.Profile, alpha: float) -> Result:
    """VAE10 under the mixture of its prior and the bad one, sampled and scored as one density."""

    def compute() -> tuple[dict, dict]:
        prior = bad_prior(MODELS["vae10"].latent_dim, alpha, profile.device)
        return {"alpha": alpha}, _quick(profile, "vae10", 0, prior=prior)

    return results.get(f"vae10-seed0-mixture{alpha:g}", compute, context(profile), seed=0)


def seen(profile: profiles.Profile, name: str, seed: int, split: str) -> Result:
    """A model's curve on its own first training images, or on the test images with their labels."""

    def compute() -> tuple[dict, dict]:
        s = settings(profile)
        if split == "train":
            x = training_images(profile, name)[: s.quick[2]]
            return {}, _quick(profile, name, seed, x=x)
        labels = pictures(s.dataset, "test").y[: s.quick[2]]
        dropped = torch.isin(labels, torch.tensor(DROPPED))
        return {"dropped": dropped.tolist()}, _quick(profile, name, seed)

    ending = {"train": "seen", "test": "unseen"}[split]
    return results.get(f"{name}-seed{seed}-{ending}", compute, context(profile), seed=seed)


def again(profile: profiles.Profile, run_seed: int) -> Result:
    """VAE10's curve with another seed of the annealing, its step sizes tuned by that of seed 6."""

    def compute() -> tuple[dict, dict]:
        steps = _tuned(profile)
        return {"seed": run_seed}, _quick(profile, "vae10", 0, seed=run_seed, step_sizes=steps)

    return results.get(f"vae10-seed0-again{run_seed}", compute, context(profile), seed=0)


@functools.lru_cache(maxsize=1)
def _tuned(profile: profiles.Profile) -> Any:
    return _quick(profile, "vae10", 0, seed=6, keep=("step_sizes",))["step_sizes"]


class Race(NamedTuple):
    """How schedules of equal cost are compared."""

    n_images: int
    n_chains: int
    budgets: tuple[int, ...]  # temperatures
    seeds: range
    fresh: range  # other seeds, on which the way that helped is judged


def race_size(profile: profiles.Profile) -> Race:
    """The race of a profile: with few temperatures, and with twice as many."""
    sizes = {
        "smoke": Race(4, 8, (50,), range(1), range(1, 2)),
        "small": Race(16, 16, (500, 1000), range(6), range(6, 10)),
    }
    return sizes.get(profile.name, Race(50, 40, (3000, 6000), range(6), range(6, 12)))


def race(profile: profiles.Profile, budget: int, way: str | None = None) -> Result:
    """The variance of the log-weights of VAE10 along beta, by schedule, with `budget` temperatures each.

    One of `WAYS` is tried on at most three seeds, without the chapter's own schedule; "fresh" takes the
    long trajectories on seeds that no choice was made on, and "far" goes to the paper's largest beta.
    """
    size, top = race_size(profile), float(settings(profile).betas[-1])
    names, seeds, options = SCHEDULES[::2], size.seeds[:3], WAYS.get(way, {})
    if way is None:
        names, seeds = SCHEDULES, size.seeds
    elif way == "fresh":
        seeds, options = size.fresh, LONG
    elif way == "far":
        seeds, top = size.seeds, PAPER_BETA

    def compute() -> tuple[dict, dict]:
        betas = schedules.log_spaced(25, float(settings(profile).betas[0]), top)[1:]
        found = {}
        for schedule in names:
            runs = [
                _quick(
                    profile,
                    "vae10",
                    0,
                    x=test_images("vae10", profile)[: size.n_images],
                    betas=betas,
                    n_chains=size.n_chains,
                    temperatures_per_beta=budget // len(betas),
                    schedule=schedule,
                    seed=seed,
                    keep=("log_weight_variance", "log_z"),
                    **options,
                )
                for seed in seeds
            ]
            for key in ("log_weight_variance", "log_z"):
                found[f"{schedule}.{key}"] = torch.stack([r[key] for r in runs])  # (seeds, R, N)
        return {"n_temperatures": budget, "n_chains": size.n_chains}, {"beta": betas, **found}

    name = f"vae10-seed0-schedules{budget}" + (f"-{way}" if way else "")
    return results.get(name, compute, context(profile), seed=0)


def limits(profile: profiles.Profile) -> Result:
    """What chains that mix at once would have in the race, by its largest beta, from pilots' Var(E).

    The pilot of a run to the paper's largest beta measures the variance of the energy along the way;
    from it the schedules of the race are laid to three ends.
    """
    size = race_size(profile)
    ends = (100.0, float(settings(profile).betas[-1]), PAPER_BETA)

    def compute() -> tuple[dict, dict]:
        lowest, total = float(settings(profile).betas[0]), size.budgets[-1]
        x = test_images("vae10", profile)[: size.n_images]
        rows: dict[str, list[list[float]]] = {"adaptive": [], "sigmoid": []}
        for seed in size.seeds[:3]:
            betas = schedules.log_spaced(25, lowest, PAPER_BETA)[1:]
            table = _quick(
                profile,
                "vae10",
                0,
                x=x,
                betas=betas,
                n_chains=size.n_chains,
                temperatures_per_beta=total // len(betas),
                seed=seed,
                keep=("step_sizes",),
            )["step_sizes"]
            of = table.beta, table.energy_variance
            for name, row in rows.items():
                row.append([])
                for end in ends:
                    recorded = schedules.log_spaced(25, lowest, end)[1:]
                    laid = (
                        schedules.equal_length(recorded, total, *of)
                        if name == "adaptive"
                        else schedules.sigmoid_through(recorded, total)
                    )
                    row[-1].append(schedules.log_weight_variance(laid, *of))
        tensors = {f"{name}.log_weight_variance": torch.tensor(row) for name, row in rows.items()}
        return {"n_temperatures": total, "n_chains": size.n_chains}, {
            "beta": torch.tensor(ends, dtype=torch.float64),
            **tensors,  # (seeds, largest betas)
        }

    return results.get("vae10-seed0-schedule-limits", compute, context(profile), seed=0)


def cost(profile: profiles.Profile) -> Result:
    """Seconds of the whole curve, and of a run that records the last beta alone, in turns."""

    def compute() -> tuple[dict, dict]:
        n_betas, per_beta, _ = settings(profile).quick
        x = test_images("vae10", profile)[:10]
        last = settings(profile).betas[-1:]
        seconds: dict[str, list[float]] = {"curve": [], "likelihood": []}
        for _ in range(5):
            for what, options in (
                ("curve", {}),
                ("likelihood", {"betas": last, "temperatures_per_beta": n_betas * per_beta}),
            ):
                began = time.perf_counter()
                _quick(profile, "vae10", 0, x=x, step_sizes=0.02, **options)
                seconds[what].append(time.perf_counter() - began)
        return seconds, {}

    return results.get("vae10-seed0-cost", compute, context(profile), seed=0)


# A deep distortion, from features of a small classifier.


class Features(nn.Module):
    """Two convolutions, as in the paper's released code; their rectified output measures distance."""

    def __init__(self, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        kernel = 5 if shape[0] > 8 else 3
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 20, kernel),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, kernel if kernel == 5 else 2),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.LazyLinear(10))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Pictures (B, P) -> scaled features (B, F)."""
        return self.scale * self.convolutions(x.view(-1, 1, *self.shape)).flatten(1)


@functools.lru_cache(maxsize=1)
def features(profile: profiles.Profile) -> Features:
    """The trained features, scaled so that test images lie as far apart as in pixels."""
    s = settings(profile)
    data = pictures(s.dataset, "train")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Features(data.shape)
        model.head(model.convolutions(data.x[:2].view(-1, 1, *data.shape)))  # finds its width
    model = model.to(profile.device)
    picks = minibatches(len(data.x), 128, 0)

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        x, y = (part[picks(i)].to(profile.device) for part in data[:2])
        said = state.model.head(state.model.convolutions(x.view(-1, 1, *data.shape)))
        loss = functional.cross_entropy(said, y)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        state.optimizer.step()
        return {"loss": loss.detach()}

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    fit(
        step,
        lambda i: i,
        TrainingState(model, optimizer, torch.Generator().manual_seed(0)),
        100 if profile.name == "smoke" else 1000,
        checkpoint=work(profile, "features.training.safetensors"),
        description="features",
        progress=False,
    )
    model.eval().requires_grad_(False)
    x = pictures(s.dataset, "test").x[:200].to(profile.device)
    far, felt_far = (float(torch.cdist(v, v).square().mean()) for v in (x, model(x)))
    model.scale.fill_(math.sqrt(far / felt_far))
    return model


def accuracy(profile: profiles.Profile) -> float:
    """The share of test images that the classifier behind the features names rightly."""
    model, data = features(profile), pictures(settings(profile).dataset, "test")
    with torch.no_grad():
        x = data.x.to(profile.device).view(-1, 1, *data.shape)
        said = torch.cat([model.head(model.convolutions(part)) for part in x.split(1000)])
    return float((said.argmax(1).cpu() == data.y).double().mean())


def felt(profile: profiles.Profile, name: str, seed: int) -> Result:
    """A curve under the distance of deep features, on few images with few chains."""
    sizes = {"smoke": (3, 4, 4), "small": (8, 8, 10)}
    n_images, n_chains, per_beta = sizes.get(profile.name, (50, 40, 60))

    def compute() -> tuple[dict, dict]:
        model, x = features(profile), test_images(name, profile)[:n_images]
        wanted = model(x.to(profile.device))

        def distance(images: Tensor, reconstructions: Tensor) -> Tensor:
            rows = wanted.repeat(len(reconstructions) // len(wanted), 1)
            return (rows - model(reconstructions)).square().sum(1)

        found = _quick(
            profile,
            name,
            seed,
            x=x,
            n_chains=n_chains,
            temperatures_per_beta=per_beta,
            distortion=distance,
            force_precision="same",
        )
        return {"accuracy": accuracy(profile)}, found

    return results.get(f"{name}-seed{seed}-features", compute, context(profile), seed=seed)


# The variational upper bound: an amortised encoder for a frozen decoder, one beta after the other.


def encoded(profile: profiles.Profile, name: str, seed: int) -> Result:
    """Rate and distortion of a Gaussian encoder, trained for each beta, on the test images."""
    steps, n_samples = {"smoke": (60, 16), "small": (1000, 100)}.get(profile.name, (25_000, 100))

    def compute() -> tuple[dict, dict]:
        s = settings(profile)
        network = decoder(name, profile, seed)
        x = training_images(profile, name).to(profile.device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            encoder = mlp([x.shape[1], *s.hidden, 2 * MODELS[name].latent_dim]).to(profile.device)
        generator = torch.Generator(profile.device).manual_seed(seed)
        optimizer = torch.optim.Adam(encoder.parameters(), lr=s.learning_rate)
        picks = minibatches(len(x), s.batch_size, seed)
        test = test_images(name, profile)[: s.quick[2]].to(profile.device)
        rows = []
        for b, beta in enumerate(encoder_betas(profile).tolist()):
            # Warm start from the beta before.
            for i in range(b * steps, (b + 1) * steps):
                rate, distortion = _sent(encoder, network, x[picks(i)], 1, generator)
                optimizer.zero_grad(set_to_none=True)
                (rate + beta * distortion).mean().backward()
                optimizer.step()
            with torch.no_grad():
                rows.append(_sent(encoder, network, test, n_samples, generator))
        rate, distortion = (torch.stack(column).double() for column in zip(*rows, strict=True))
        tensors = {"beta": encoder_betas(profile), "rate": rate, "distortion": distortion}
        return {"steps": steps, "n_samples": n_samples}, tensors

    return results.get(f"{name}-seed{seed}-encoder", compute, context(profile), seed=seed)


def encoder_betas(profile: profiles.Profile) -> Tensor:
    """Where the encoder is trained, from low to high."""
    top = 30.0 if profile.name == "smoke" else 100.0
    return schedules.log_spaced(7, 0.1, top)[1:]


def annealed(profile: profiles.Profile, name: str) -> Result:
    """The annealed points at the encoder's betas."""

    def compute() -> tuple[dict, dict]:
        per_beta = settings(profile).quick[0] * settings(profile).quick[1] // 7
        betas = encoder_betas(profile)
        return {}, _quick(profile, name, 0, betas=betas, temperatures_per_beta=per_beta)

    return results.get(f"{name}-seed0-annealed", compute, context(profile), seed=0)


def _sent(
    encoder: nn.Module, network: nn.Module, x: Tensor, n_samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """KL divergence and mean squared error of each image, both (N,)."""
    mu, logvar = encoder(x).chunk(2, 1)
    rate = gaussian_kl(mu, logvar, validate=False)
    spread = [t.repeat(n_samples, 1) for t in (mu, logvar)]
    made = network(reparameterise(*spread, generator)).view(n_samples, *x.shape)
    return rate, (made - x).square().sum(2).mean(0)
