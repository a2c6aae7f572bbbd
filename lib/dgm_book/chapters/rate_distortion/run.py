"""Chapter 1's results: the curve of every model, and what the further experiments add to them.

`run` yields them one after the other; each is loaded where it is published.
"""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal
from torch.nn import functional

from dgm.data import minibatches
from dgm.feature_distance import frechet_distance
from dgm.kernel_distance import kernel_distance
from dgm.nets.mlp import mlp
from dgm.papers import rate_distortion as paper
from dgm.precision import mixed_precision_dtype
from dgm.sampling import schedules
from dgm.sampling.perception import Perception
from dgm.train import TrainingState, fit
from dgm.vae import gaussian_kl, reparameterise
from dgm_book.chapters.rate_distortion import flow, models, rivals
from dgm_book.chapters.rate_distortion import recipe as recipes
from dgm_book.chapters.rate_distortion.models import Computed, Job, decoder, pictures
from dgm_book.chapters.rate_distortion.models import context as context
from dgm_book.chapters.rate_distortion.recipe import RECIPES, Annealing, Recipe, main_annealing
from dgm_book.profiles import Profile
from dgm_book.results import Result

TERMS = ("beta", "rate", "distortion", "log_z")


def run(
    profile: Profile, seed: int, first_seed: int = 0, recipe: Recipe | None = None
) -> Iterator[Result]:
    """Every result of one seed; with the first, those of other seeds."""
    in_profile = range(first_seed, first_seed + profile.n_seeds)
    for (job, ending), compute in experiments(profile, recipe, first_seed).items():
        if job.seed == seed or (seed == first_seed and job.seed not in in_profile):
            yield job.get(ending, compute)


def experiments(
    profile: Profile, recipe: Recipe | None = None, first_seed: int = 0
) -> dict[tuple[Job, str], Callable[[], Computed]]:
    """What computes each result, by its model, seed and the ending of its name."""
    recipe = recipe or RECIPES[profile.name]
    first, zero, own = [first_seed], [0], range(profile.n_seeds)
    budgets, damaged = recipe.comparison.budgets, ("vae10-few", "vae10-dropped", "vae10-short")
    variants = {"": "", "-fresh": "fresh", "-far": "far"}
    train, models_and_seeds = models.measure_model, compared(profile, recipe).items()
    plan = [
        *((m, range(first_seed, first_seed + n), "training", train) for m, n in models_and_seeds),
        *((m, range(first_seed, first_seed + n), "curve", curve) for m, n in models_and_seeds),
        *((m, own, "training", train) for m in damaged),
        (recipes.DRAWING, zero, "training", train),
        *((m, first, "truth", exact_curve) for m in recipes.QUADRATURE),
        *(
            (m, first, f"bdmc-{beta:g}", gap, beta)
            for m in recipes.GAPS
            for beta in recipes.gap_betas(m, recipe)
        ),
        *(
            ("vae10", zero, f"blur{blur:g}-{prior}", damaged_curve, blur, alpha)
            for blur in recipes.BLURS
            for prior, alpha in {"narrow": 0.0, "wide": 1.0}.items()
        ),
        *(("vae10", zero, f"mixture{a:g}", damaged_curve, 0.0, a) for a in recipes.ALPHAS),
        *((m, own, "unseen", test_curve) for m in ("vae10", *damaged)),
        *((m, own, "seen", training_curve) for m in ("vae10", "vae10-few")),
        *((m, own, "features", deep_curve) for m in recipes.DEEP),
        *((m, own, "encoder", encoder_curve) for m in recipes.ENCODED),
        *((m, zero, "annealed", curve_at_encoder_betas) for m in recipes.ENCODED),
        *(("vae10", zero, f"again{k}", repeated_curve, k) for k in recipes.ANNEALING_SEEDS),
        *(
            ("vae10", zero, f"schedules{budget}{ending}", compare_schedules, budget, variant)
            for budget in budgets
            for ending, variant in variants.items()
        ),
        *(
            ("vae10", zero, f"schedules{budgets[0]}-{v}", compare_schedules, budgets[0], v)
            for v in recipes.SAMPLERS
        ),
        ("vae10", zero, "schedule-limits", schedule_limits),
        ("vae10", zero, "cost", cost),
        *((m, zero, "perception", perceived_curve) for m in recipes.PERCEIVED),
        ("flow", zero, "curve", flow.flow_curve),
        *((m, zero, "references", rivals.linear_codes_and_codecs) for m in recipes.REFERRED),
        ("vae2", zero, "best-prior", rivals.best_prior_curve),
        ("vae10", zero, "flow", flow_curve),
        *(
            (m, zero, f"sent{beta:g}", rivals.sent_files, beta)
            for m, betas in recipes.SENT.items()
            for beta in betas
        ),
    ]
    return {
        (job := Job(model, seed, profile, recipe), ending): functools.partial(compute, job, *more)
        for model, seeds, ending, compute, *more in plan
        for seed in seeds
    }


def compared(profile: Profile, recipe: Recipe) -> dict[str, int]:
    """The models that a profile compares, with the number of seeds of each."""
    return dict.fromkeys(recipe.several, profile.n_seeds) | dict.fromkeys(recipe.single, 1)


def anneal(
    job: Job,
    sizes: Annealing,
    *,
    network: nn.Module | None = None,
    x: Tensor | None = None,
    sampler: Mapping[str, Any] = {},
    **options: Any,
) -> paper.RateDistortionCurve:
    """A curve of a model (or of a network in its place), on its test images unless `x` is given."""
    return paper.rate_distortion_curve(
        decoder(job) if network is None else network,
        test_images(job)[: sizes.n_images] if x is None else x,
        latent_dim=job.model.latent_dim,
        betas=sizes.betas,
        n_chains=sizes.n_chains,
        n_leapfrog=sizes.n_leapfrog,
        temperatures_per_beta=sizes.temperatures_per_beta,
        device=job.profile.device,
        progress=False,
        options=paper.SamplerOptions(**{"force_precision": forces(job), **sampler}),
        **{"seed": 1000 + job.seed, **options},
    )


def terms(curve: paper.RateDistortionCurve, *more: str) -> dict[str, Tensor]:
    """The tensors of a curve that are published."""
    return {key: getattr(curve, key) for key in (*TERMS, *more)}


def forces(job: Job) -> str:
    """The precision of the leapfrog forces: low where it pays; acceptance is never low."""
    if not job.recipe.low_precision_forces:
        return "same"
    device = job.profile.device
    low = "tf32" if device.startswith("cuda") else "bfloat16"  # tf32 is on the same cards
    return low if mixed_precision_dtype(device) else "same"


def test_images(job: Job) -> Tensor:
    """The first test images (N, P), as the paper takes them."""
    return pictures(job.dataset, "test").x[: main_annealing(job.name, job.recipe).n_images]


def curve(job: Job) -> Computed:
    """The curve of one model and seed on the first test images."""
    sizes = main_annealing(job.name, job.recipe)
    measured = anneal(job, sizes, seed=job.seed, checkpoint=job.checkpoint("curve"))
    tensors = terms(measured, "ess", "acceptance")
    if job.seed == 0 and job.name in recipes.CODES and measured.codes is not None:
        tensors["codes"] = measured.codes[:, : recipes.N_CODES].float()
    return {}, tensors


def gap(job: Job, beta: float) -> Computed:
    """Both bounds of log Z at one beta, on images simulated from the model."""
    sizes, n_images = main_annealing(job.name, job.recipe), job.recipe.gap_images
    options: dict[str, Any] = {"n_images": n_images, "n_chains": sizes.n_chains}
    n_temperatures = sizes.temperatures_per_beta * len(sizes.betas)
    options |= {"n_temperatures": n_temperatures, "n_leapfrog": sizes.n_leapfrog}
    options |= {"seed": job.seed, "device": job.profile.device, "progress": False}
    options |= {"latent_dim": job.model.latent_dim, "options": paper.SamplerOptions(forces(job))}
    bounds = paper.bdmc_gap(decoder(job), beta=beta, **options)
    values = {"beta": beta, "gap": bounds.gap, "standard_error": bounds.standard_error}
    return values | {"n_images": n_images}, {"lower": bounds.lower, "upper": bounds.upper}


def exact_curve(job: Job) -> Computed:
    """A curve in two dimensions by quadrature, up to where two grids differ by 0.01 nat."""
    x, network, betas = test_images(job), decoder(job), job.recipe.annealing.betas
    n_points = job.recipe.quadrature_points
    coarse, fine = (
        paper.quadrature_curve(network, x, latent_dim=2, betas=betas[betas < 10.0], n_points=n)
        for n in (n_points, 2 * n_points - 1)
    )
    agree = ((coarse.log_z - fine.log_z).abs().amax(1) < 0.01).long().cumprod(0).bool()
    return {}, {key: values[agree] for key, values in terms(fine).items()}


class Blurred(nn.Module):
    """A decoder (C, D) -> (C, P) with blurred pictures: 5 x 5 Gaussian, mirrored at the border."""

    rows: Tensor
    columns: Tensor

    def __init__(self, decoder: nn.Module, deviation: float, shape: tuple[int, int]) -> None:
        super().__init__()
        self.decoder, self.shape = decoder, shape
        line = torch.exp(-0.5 * (torch.arange(-2.0, 3.0) / deviation).square())
        for name, size in zip(("rows", "columns"), shape, strict=True):
            eye = functional.pad(torch.eye(size)[:, None], (2, 2), mode="reflect")
            matrix = functional.conv1d(eye, (line / line.sum()).view(1, 1, 5))[:, 0].T
            self.register_buffer(name, matrix)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (C, D) -> blurred pictures (C, P)."""
        images = self.decoder(codes)
        rows, columns = self.rows.to(images.dtype), self.columns.to(images.dtype)
        return (rows @ images.view(-1, *self.shape) @ columns.T).flatten(1)


def bad_prior(dim: int, alpha: float, device: str = "cpu") -> Distribution | None:
    """(1 - alpha) N(0, I) + alpha N(0, 10^2 I): one component per vector, scored as it is drawn."""
    scale = torch.tensor([[1.0], [recipes.WIDE]], device=device).expand(2, dim)
    parts = Independent(Normal(torch.zeros_like(scale), scale), 1)
    if alpha in (0.0, 1.0):
        return Independent(Normal(torch.zeros_like(scale[1]), scale[1]), 1) if alpha else None
    return MixtureSameFamily(Categorical(torch.tensor([1 - alpha, alpha], device=device)), parts)


def damaged_curve(job: Job, blur: float, alpha: float) -> Computed:
    """A model with a blurred decoder, under its own prior with the bad one of a weight mixed in."""
    network, device = decoder(job), job.profile.device
    if blur:
        height, width = pictures(job.dataset, "test").shape
        network = Blurred(network, blur, (height, width)).to(device)
    prior = bad_prior(job.model.latent_dim, alpha, device)
    return {}, terms(anneal(job, job.recipe.coarse, network=network, prior=prior))


def training_curve(job: Job) -> Computed:
    """A model's curve on its own first training images."""
    x = models.training_images(job)[: job.recipe.coarse.n_images]
    return {}, terms(anneal(job, job.recipe.coarse, x=x))


def test_curve(job: Job) -> Computed:
    """A model's curve on test images, and which of them are of the dropped classes."""
    labels = pictures(job.dataset, "test").y[: job.recipe.coarse.n_images]
    dropped = torch.isin(labels, torch.tensor(recipes.DROPPED))
    return {"dropped": dropped.tolist()}, terms(anneal(job, job.recipe.coarse))


@functools.lru_cache(maxsize=1)
def _pilot(job: Job) -> paper.RateDistortionCurve:
    return anneal(job, job.recipe.coarse, seed=recipes.PILOT_SEED)


def repeated_curve(job: Job, annealing_seed: int) -> Computed:
    """A curve with another seed of the annealing and the step sizes of the pilot's seed."""
    options = {"seed": annealing_seed, "step_sizes": _pilot(job).step_sizes}
    return {}, terms(anneal(job, job.recipe.coarse, **options))


def compare_schedules(job: Job, budget: int, variant: str) -> Computed:
    """The variance of the log-weights along beta, by schedule, with `budget` temperatures each."""
    sizes, betas = job.recipe.comparison, job.recipe.annealing.betas
    seeds = {"": sizes.seeds, "far": sizes.seeds, "fresh": sizes.fresh}
    top = recipes.PAPER_BETA if variant == "far" else float(betas[-1])
    tensors = {"beta": schedules.log_spaced(25, float(betas[0]), top)[1:]}
    for schedule in recipes.SCHEDULES if variant == "" else recipes.SCHEDULES[::2]:
        curves = [
            _comparison_curve(job, tensors["beta"], budget, seed, schedule, variant)
            for seed in seeds.get(variant, sizes.seeds[:3])
        ]
        variances = [c.log_weight_variance for c in curves if c.log_weight_variance is not None]
        tensors[f"{schedule}.log_weight_variance"] = torch.stack(variances)  # (seeds, R, N)
    return {"n_temperatures": budget}, tensors


def _comparison_curve(
    job: Job, betas: Tensor, budget: int, seed: int, schedule: str = "default", variant: str = ""
) -> paper.RateDistortionCurve:
    n_images, n_chains, *_ = job.recipe.comparison
    usual = job.recipe.annealing.n_leapfrog
    n_leapfrog = recipes.PAPER_LEAPFROG if variant in ("long", "fresh") else usual
    sizes = Annealing(betas, budget // len(betas), n_images, n_chains, n_leapfrog)
    sampler = {"schedule": schedule, **recipes.SAMPLERS.get(variant, {})}
    return anneal(job, sizes, seed=seed, sampler=sampler)


def schedule_limits(job: Job) -> Computed:
    """What chains that mix at once would have in the comparison, by its largest beta."""
    lowest, *_, top = job.recipe.annealing.betas.tolist()
    sizes, ends = job.recipe.comparison, (100.0, top, recipes.PAPER_BETA)
    total, recorded = sizes.budgets[-1], [schedules.log_spaced(25, lowest, b)[1:] for b in ends]
    rows: dict[str, list[list[float]]] = {"adaptive": [], "sigmoid": []}
    for seed in sizes.seeds[:3]:
        pilot = _comparison_curve(job, recorded[-1], total, seed).step_sizes
        assert pilot is not None
        assert pilot.energy_variance is not None
        energy = pilot.beta, pilot.energy_variance
        laid = {
            "adaptive": [schedules.equal_length(betas, total, *energy) for betas in recorded],
            "sigmoid": [schedules.sigmoid_through(betas, total) for betas in recorded],
        }
        for name, row in rows.items():
            row.append([schedules.log_weight_variance(s, *energy) for s in laid[name]])
    # (seeds, largest betas)
    tensors = {f"{name}.log_weight_variance": torch.tensor(row) for name, row in rows.items()}
    tensors["beta"] = torch.tensor(ends, dtype=torch.float64)
    return {}, tensors


def cost(job: Job) -> Computed:
    """Seconds of the whole curve, and of a run that records the last beta alone, in turns."""
    whole, x = job.recipe.coarse, test_images(job)[:10]
    total = len(whole.betas) * whole.temperatures_per_beta
    last = whole._replace(betas=job.recipe.annealing.betas[-1:], temperatures_per_beta=total)
    seconds: dict[str, list[float]] = {"curve": [], "likelihood": []}
    for _ in range(5):
        for key, sizes in (("curve", whole), ("likelihood", last)):
            began = time.perf_counter()
            anneal(job, sizes, x=x, step_sizes=0.02)
            seconds[key].append(time.perf_counter() - began)
    return seconds, {}


@functools.lru_cache(maxsize=1)
def features(job: Job) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Log-probabilities of classes but for a constant, and the released code's features (B, F).

    Features are two convolutions, scaled so that test images lie as far apart as in pixels.
    """
    data, device = pictures(job.dataset, "train"), job.profile.device
    kernels = (5, 5) if data.shape[0] > 8 else (3, 2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = nn.Conv2d(1, 20, kernels[0]), nn.Conv2d(20, 50, kernels[1])
        parts = [first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.Flatten()]
        convolutions = nn.Sequential(nn.Unflatten(1, (1, *data.shape)), *parts)
        logits = nn.Sequential(convolutions, nn.LazyLinear(10))
        logits(data.x[:2])  # the lazy layer finds its width
    logits = logits.to(device)
    picks = minibatches(len(data.x), 128, 0)

    def step(state: TrainingState, i: int) -> dict[str, Tensor]:
        x, y = (part[picks(i)].to(device) for part in data[:2])
        loss = functional.cross_entropy(logits(x), y)
        models.descend(state, loss)
        return {"loss": loss.detach()}

    optimizer = torch.optim.Adam(logits.parameters(), lr=1e-3)
    state = TrainingState(logits, optimizer, torch.Generator().manual_seed(0))
    options = {"checkpoint": job.checkpoint("features"), "progress": False}
    fit(step, lambda i: i, state, job.recipe.feature_steps, **options)
    logits.eval().requires_grad_(False)
    x = pictures(job.dataset, "test").x[:200].to(device)
    pixels, deep = (float(torch.cdist(v, v).square().mean()) for v in (x, convolutions(x)))
    scale = math.sqrt(pixels / deep)
    return logits, lambda x: scale * convolutions(x)


def deep_curve(job: Job) -> Computed:
    """A curve under the distance of deep features, on few images with few chains."""
    (network, read), sizes = features(job._replace(name="vae10", seed=0)), job.recipe.deep
    x, data = test_images(job)[: sizes.n_images], pictures(job.dataset, "test")
    targets = read(x.to(job.profile.device))

    def distance(images: Tensor, reconstructions: Tensor) -> Tensor:
        rows = targets.repeat(len(reconstructions) // len(targets), 1)
        return (rows - read(reconstructions)).square().sum(1)

    options = {"distortion": distance, "sampler": {"force_precision": "same"}}
    measured = anneal(job, sizes, x=x, **options)
    with torch.no_grad():
        logits = [network(part) for part in data.x.to(job.profile.device).split(1000)]
    right = (torch.cat(logits).argmax(1).cpu() == data.y).double()
    return {"accuracy": float(right.mean())}, terms(measured)


@functools.lru_cache(maxsize=1)
def perceived(job: Job) -> Callable[[Tensor], Tensor]:
    """The last hidden layer of a small classifier, (B, P) -> (B, 64), with a mean spread of 1."""
    data = pictures(job.dataset, "train")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        parts = [nn.Unflatten(1, (1, *data.shape)), nn.Conv2d(1, 20, 5, 2, 2), nn.ReLU()]
        parts += [nn.Conv2d(20, 50, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(64), nn.ReLU()]
        hidden = nn.Sequential(*parts)
        logits = nn.Sequential(hidden, nn.Linear(64, 10))
        logits(data.x[:2])  # the lazy layer finds its width
    optimizer = torch.optim.Adam(logits.parameters(), lr=2e-3)
    picks = minibatches(len(data.x), 128, 0)
    for i in range(job.recipe.perception.feature_steps):
        loss = functional.cross_entropy(logits(data.x[picks(i)]), data.y[picks(i)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    logits.eval().requires_grad_(False).to(job.profile.device)
    spread = hidden(data.x[:2000].to(job.profile.device)).std(0).mean()
    return lambda x: hidden(x) / spread


def perceived_curve(job: Job) -> Computed:
    """Distances of many samples, at rate 0, and along the curve of reconstructions to its images.

    Of VAE 10 also those of other real images and of their mean, which stand for a perfect sampler
    and for the best constant. At rate 0 kernel distances in plain and centred pixels, too.
    """
    sizes, read, n_coded = job.recipe.perception, perceived(job._replace(name="vae10")), 50
    test = pictures(job.dataset, "test").x[n_coded:].to(job.profile.device)
    # In MNIST the first half is of cleaner hands than the second.
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
    n = min(sizes.n_real, len(test) // 2)
    real, coded = test[:n], test_images(job).to(job.profile.device)
    codes = torch.randn(n, job.model.latent_dim, generator=torch.Generator().manual_seed(0))
    samples = {"rate 0": decoder(job)(codes.to(job.profile.device))}
    if job.name == "vae10":
        samples |= {"real images": test[n : 2 * n], "mean image": test[n:].mean(0).expand(n, -1)}
    values: dict[str, Any] = {"n": n}
    for name, x in samples.items():
        compared = read(real), read(x)
        row = [*kernel_distance(*compared), frechet_distance(*compared)]
        row.append(torch.cdist(coded, x.contiguous()).square().mean())
        row += [*kernel_distance(real, x), *kernel_distance(real - real.mean(0), x - real.mean(0))]
        keys = "kernel", "error", "frechet", "distortion", "pixels", "pixels_error"
        keys += "centred", "centred_error"
        values[name] = dict(zip(keys, map(float, row), strict=True))
    options: dict[str, Any] = {"perception": Perception(None, read, sizes.draws)}
    measured = anneal(job, sizes.annealing, **options)
    assert measured.perception is not None
    return values, terms(measured) | measured.perception._asdict()


def encoders(job: Job) -> Iterator[tuple[nn.Module, torch.Generator]]:
    """A Gaussian encoder at each beta, the same one trained further, with the noise's generator."""
    network, digits, device = decoder(job), job.recipe.digits, job.profile.device
    x = models.training_images(job).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        encoder = mlp([x.shape[1], *digits.hidden, 2 * job.model.latent_dim]).to(device)
    generator = torch.Generator(device).manual_seed(job.seed)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=digits.learning_rate)
    picks, steps = minibatches(len(x), digits.batch_size, job.seed), job.recipe.encoder.steps
    for b, beta in enumerate(job.recipe.encoder.betas.tolist()):
        # Warm start from the beta before.
        for i in range(b * steps, (b + 1) * steps):
            rate, distortion = encoder_terms(encoder, network, x[picks(i)], 1, generator)
            optimizer.zero_grad(set_to_none=True)
            (rate + beta * distortion).mean().backward()
            optimizer.step()
        yield encoder, generator


def encoder_curve(job: Job) -> Computed:
    """The variational upper bound: a Gaussian encoder for each beta, on the test images."""
    betas, _, n_samples = job.recipe.encoder
    network, test = decoder(job), test_images(job)[: job.recipe.coarse.n_images]
    test, rows = test.to(job.profile.device), []
    for encoder, generator in encoders(job):
        with torch.no_grad():
            rows.append(encoder_terms(encoder, network, test, n_samples, generator))
    rate, distortion = (torch.stack(column).double() for column in zip(*rows, strict=True))
    return {}, {"beta": betas, "rate": rate, "distortion": distortion}


def flow_curve(job: Job) -> Computed:
    """A curve under a flow as the prior, which learned encodings of the training images."""
    nearest = int((job.recipe.encoder.betas / recipes.PRIOR_BETA).log().abs().argmin())
    encoder, generator = next(itertools.islice(encoders(job), nearest, None))
    with torch.no_grad():
        x = models.training_images(job).to(job.profile.device)
        mu, logvar = encoder(x).chunk(2, 1)
        codes = reparameterise(mu, logvar, generator)
    flow = rivals.fit_flow(codes, job.recipe.flow_steps, job.seed)
    values = {"encoder_beta": float(job.recipe.encoder.betas[nearest])}
    betas = job.recipe.coarse.betas
    sizes = job.recipe.coarse._replace(betas=betas[betas < 100.0])
    return values, terms(anneal(job, sizes, prior=flow), "ess")


def curve_at_encoder_betas(job: Job) -> Computed:
    """The annealed points at the encoder's betas."""
    sizes = job.recipe.coarse
    per_beta = len(sizes.betas) * sizes.temperatures_per_beta // 7
    sizes = sizes._replace(betas=job.recipe.encoder.betas, temperatures_per_beta=per_beta)
    return {}, terms(anneal(job, sizes))


def encoder_terms(
    encoder: nn.Module, network: nn.Module, x: Tensor, n_samples: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """KL divergence and mean squared error of each image, both (N,)."""
    mu, logvar = encoder(x).chunk(2, 1)
    rate = gaussian_kl(mu, logvar, validate=False)
    codes = reparameterise(mu.repeat(n_samples, 1), logvar.repeat(n_samples, 1), generator)
    images = network(codes).view(n_samples, *x.shape)
    return rate, (images - x).square().sum(2).mean(0)


def verify(profile: Profile, n_images: int = 16) -> list[dict[str, Any]]:
    """Recompute published curves of seed 0 on some of their images, with new random numbers.

    What has no noise, linear codes and codecs and files, is recomputed as it was.
    """
    checks = rivals.verify(profile)
    for name in ("vae2", "vae10", "gan10", "aae10"):
        job = Job(name, 0, profile, RECIPES[profile.name])
        published = job.get("curve", functools.partial(curve, job)).tensors
        sizes = main_annealing(name, job.recipe)
        sizes = sizes._replace(n_images=min(n_images, sizes.n_images))
        repeated = anneal(job, sizes, seed=1000)
        for r in torch.linspace(0, len(published["beta"]) - 1, 5).long().tolist():
            for term in TERMS[1:]:
                old, new = published[term][r, : sizes.n_images], getattr(repeated, term)[r]
                error = float((new - old).std()) / math.sqrt(sizes.n_images)
                ok = float((new - old).mean().abs()) <= 4 * error
                check = {"what": f"{name} {term} at beta {float(published['beta'][r]):.4g}"}
                check |= {"published": float(old.mean()), "recomputed": float(new.mean())}
                checks.append({**check, "standard_error": error, "ok": ok})
    return checks
