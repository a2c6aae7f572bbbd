"""What chapter 1's decoders are compared with: linear codes, real codecs, better priors, files."""

import functools
import io
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, features
from torch import Tensor

from dgm import checkpoint, coding
from dgm.data import minibatches
from dgm.nets.coupling import CouplingFlow
from dgm.papers import rate_distortion as paper
from dgm.sampling import references
from dgm.train import TrainingState, fit
from dgm_book import profiles
from dgm_book.chapters.rate_distortion import models
from dgm_book.chapters.rate_distortion import recipe as recipes
from dgm_book.chapters.rate_distortion.models import Computed, Job
from dgm_book.chapters.rate_distortion.recipe import N_COMPONENTS, RECIPES, main_annealing
from dgm_book.verification import check

# Pillow's name, the part of it that writes the format, and its settings from coarse to fine.
CODECS = {
    "JPEG": ("JPEG", "jpg", [{"quality": q, "optimize": True} for q in (1, 5, 15, 30, 50, 75)]),
    "WebP": ("WEBP", "webp", [{"quality": q, "method": 6} for q in (0, 5, 15, 30, 60, 80)]),
    "AVIF": ("AVIF", "avif", [{"quality": q, "speed": 2} for q in (1, 5, 10, 25, 40, 60)]),
    "JPEG 2000": (
        "JPEG2000",
        "jpg_2000",
        [{"quality_layers": [r], "irreversible": True} for r in (60, 35, 20, 12, 8, 5)],
    ),
}
COLUMNS = 10  # of a mosaic
EXTENT, FINEST = 5.0, 5.0  # of the grid of codes, and the largest price that it resolves


def linear_codes_and_codecs(job: Job) -> Computed:
    """Gaussian and principal components of the training images, and codecs, on test images."""
    data, betas = models.pictures(job.dataset, "test"), main_annealing(job.name, job.recipe).betas
    train = models.pictures(job.dataset, "train").x[: job.recipe.covariance_images]
    x = data.x[: main_annealing(job.name, job.recipe).n_images]
    weight, bias = references.principal_components(train)
    tensors = dict(references.gaussian_curve(weight.square().sum(0), betas)._asdict())
    for k in (k for k in N_COMPONENTS if k <= len(bias)):
        mean = paper.linear_gaussian_curve(weight[:, :k], bias, x, betas).mean()
        for term in ("rate", "rate_error", "distortion"):
            tensors[f"pca{k}.{term}"] = getattr(mean, term)
    unit = (x + 1) / 2 if job.model.colour else x
    headers = {}
    for name, (format_, part, settings) in CODECS.items():
        if not features.check(part):
            continue
        rows = [through_codec(unit, data.shape, format_, each) for each in settings]
        scale = 4.0 if job.model.colour else 1.0  # pixels from -1 to 1
        tensors[f"{name}.bytes"] = torch.tensor([len(file) for file, _ in rows])
        tensors[f"{name}.distortion"] = scale * torch.stack([d for _, d in rows]).float()
        empty = through_codec(torch.zeros_like(unit), data.shape, format_, settings[2])
        headers[name] = len(empty[0])
    return {"headers": headers, "n_images": len(x)}, tensors


def through_codec(
    x: Tensor, shape: Sequence[int], format_: str, settings: dict[str, Any]
) -> tuple[bytes, Tensor]:
    """The file of a mosaic of images (N, P) from 0 to 1, and their squared errors (N,) in it."""
    image, rows = _mosaic(x, shape), -(-len(x) // COLUMNS)
    stream = io.BytesIO()
    image.save(stream, format_, **settings)
    decoded = Image.open(io.BytesIO(stream.getvalue())).convert(image.mode)
    pixels = torch.frombuffer(bytearray(decoded.tobytes()), dtype=torch.uint8).double() / 255
    *channels, height, width = shape
    grid = pixels.view(rows, height, COLUMNS, width, *channels)
    grid = grid.movedim(2, 1) if not channels else grid.movedim((2, 4), (1, 2))
    error = grid.reshape(rows * COLUMNS, -1)[: len(x)] - x.double()
    return stream.getvalue(), error.square().sum(1)


def _mosaic(x: Tensor, shape: Sequence[int]) -> Image.Image:
    """Images (N, P) side by side in rows of `COLUMNS`, the last filled with black."""
    *channels, height, width = shape
    rows = -(-len(x) // COLUMNS)
    grid = x.new_zeros(rows * COLUMNS, x.shape[1])
    grid[: len(x)] = x
    grid = (grid * 255).round().clamp(0, 255).to(torch.uint8)
    grid = grid.view(rows, COLUMNS, *channels, height, width)
    grid = grid.movedim(1, 2) if not channels else grid.permute(0, 3, 1, 4, 2)
    return Image.fromarray(grid.reshape(rows * height, COLUMNS * width, *channels).numpy())


def best_prior_curve(job: Job) -> Computed:
    """The best prior over a grid of codes for training images, on test images; and N(0, I) there.

    Other training images say when to stop, so that the prior does not know its images by heart.
    """
    network, sizes = models.decoder(job), job.recipe.grid
    axis = torch.linspace(-EXTENT, EXTENT, sizes.n_points, dtype=torch.float64)
    codes = torch.cartesian_prod(axis, axis)
    own = (-0.5 * codes.square().sum(1)).log_softmax(0)
    train = models.pictures(job.dataset, "train").x
    test = models.pictures(job.dataset, "test").x[: job.recipe.annealing.n_images]
    with torch.no_grad():
        images = network(codes.to(job.profile.device, job.profile.dtype)).cpu()
    fitted, others, shown = (
        (x.square().sum(1)[:, None] + images.square().sum(1) - 2 * x @ images.T).clamp(min=0.0)
        for x in (train[: sizes.fitted], train[-sizes.others :], test)
    )
    betas = job.recipe.coarse.betas[job.recipe.coarse.betas < FINEST]
    columns, steps, gaps = [], [], []
    for beta in betas.tolist():
        best = references.best_prior(fitted, beta, own, unseen=others, max_steps=40)
        row = []
        for prior in (best.log_prior, own):
            log_z = paper.log_normaliser(prior, shown.double(), beta)
            distortion = paper.expected_distortion(prior, shown.double(), beta)
            row += [log_z, distortion, paper.code_rate(log_z, distortion, beta)]
        before = paper.log_normaliser(own, fitted.double(), beta)
        columns.append(torch.stack(row))
        steps.append(best.steps)
        gaps.append([float((best.log_z - before).mean()), best.gap])
    names = [f"{owner}{term}" for owner in ("", "own.") for term in ("log_z", "distortion", "rate")]
    tensors = dict(zip(names, torch.stack(columns, 1).float(), strict=True))
    values = {"steps": steps, "saved_and_gap": gaps, "fitted": sizes.fitted}
    return values, {"beta": betas, **tensors}


def fit_flow(codes: Tensor, steps: int, seed: int) -> CouplingFlow:
    """A flow trained on codes (N, D) by its likelihood."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        flow = CouplingFlow(codes.shape[1]).to(codes.device, codes.dtype)
    flow.centre, flow.spread = codes.mean(0), codes.std(0)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    picks = minibatches(len(codes), min(256, len(codes)), seed)

    def step(state: TrainingState, batch: Tensor) -> dict[str, Tensor]:
        loss = -flow.log_prob(batch).mean()
        models.descend(state, loss)
        schedule.step()
        return {"loss": loss.detach()}

    state = TrainingState(flow, optimizer, torch.Generator().manual_seed(seed))
    fit(step, lambda i: codes[picks(i).to(codes.device)], state, steps, progress=False)
    return flow.eval().requires_grad_(False)


def sent_files(job: Job, beta: float) -> Computed:
    """The first test digits as files at one price, and how many another process decodes alike."""
    # On the CPU whatever the device, since two devices do not agree bit for bit.
    job = job._replace(profile=profiles.get(job.profile.name, "cpu"))
    sizes, network = job.recipe.sending, models.decoder(job).cpu()
    x = models.pictures(job.dataset, "test").x[: sizes.n_images]
    options = {"latent_dim": job.model.latent_dim}
    with warnings.catch_warnings():  # the result says how many
        warnings.simplefilter("ignore", UserWarning)
        runs = [
            coding.encode_all(network, x, beta, seed=s, n_candidates=sizes.n_candidates, **options)
            for s in range(sizes.n_seeds)
        ]
    files = runs[0].files
    decoded = torch.stack([coding.decode(network, file, **options) for file in files])
    with tempfile.TemporaryDirectory() as folder:
        for i, file in enumerate(files):
            (Path(folder) / f"{i:04d}.code").write_bytes(file)
        words = job.name, job.profile.name, folder
        subprocess.run([sys.executable, "-c", RECEIVER, *words], check=True)
        received = checkpoint.load(Path(folder) / "received")
        on_disk = [path.stat().st_size for path in sorted(Path(folder).glob("*.code"))]
    alike = int((received["images"] == decoded.flatten(1)).all(1).sum())
    columns = ("index", "rate", "expected", "distortion", "ess")
    tensors = {name: torch.stack([getattr(run, name) for run in runs]) for name in columns}
    tensors = {k: v if k == "index" else v.float() for k, v in tensors.items()}  # (seeds, N)
    tensors["bytes"] = torch.tensor([[len(file) for file in run.files] for run in runs])
    scarce = int((tensors["ess"] < coding.LEAST).sum())
    values = {"beta": beta, "decoded_alike": alike, "bytes_on_disk": sum(on_disk)}
    return values | {"scarce": scarce, "n_candidates": sizes.n_candidates}, tensors


RECEIVER = f"""
import sys
from {__name__} import receive
receive(*sys.argv[1:])
"""


def receive(model: str, profile: str, folder: str) -> None:
    """Decodes the files of a folder with the published decoder of a model alone."""
    job = Job(model, 0, profiles.get(profile, "cpu"), RECIPES[profile])
    network, dim = models.decoder(job), job.model.latent_dim
    files = [path.read_bytes() for path in sorted(Path(folder).glob("*.code"))]
    images = [coding.decode(network, file, latent_dim=dim).flatten() for file in files]
    checkpoint.save(Path(folder) / "received", {"images": torch.stack(images)})


def verify(profile: profiles.Profile) -> list[dict[str, Any]]:
    """Recomputes published linear codes, codecs and files; they have no noise but rounding."""
    digits = Job("vae10", 0, profile, RECIPES[profile.name])
    beta = recipes.SENT["vae2"][0]
    linear = digits.get("references", functools.partial(linear_codes_and_codecs, digits)).tensors
    small = digits._replace(name="vae2")
    sent = small.get(f"sent{beta:g}", functools.partial(sent_files, small, beta)).tensors
    repeated = linear_codes_and_codecs(digits)[1]
    sizes, x = digits.recipe.sending, models.pictures(digits.dataset, "test").x
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        options = {"latent_dim": 2, "n_candidates": sizes.n_candidates}
        run = coding.encode_all(models.decoder(small), x[: sizes.n_images], beta, **options)
    bits = torch.tensor([8.0 * len(file) for file in run.files])
    pairs = {
        "Gaussian, rate": (linear["rate"], repeated["rate"]),
        "PCA 10, distortion": (linear["pca10.distortion"], repeated["pca10.distortion"]),
        "JPEG, bytes": (linear["JPEG.bytes"], repeated["JPEG.bytes"]),
        "files of vae2, bits": (8 * sent["bytes"][0], bits),
        "files of vae2, distortion": (sent["distortion"][0], run.distortion),
    }
    means = {what: [float(v.double().mean()) for v in pair] for what, pair in pairs.items()}
    return [check(what, old, [new], 0.01 * abs(old)) for what, (old, new) in means.items()]


def length_bound(rate: float) -> float:
    """Bits of a file, at most, for a rate in nats: R + log2(R + 1) + 5 with R in bits."""
    bits = rate / math.log(2)
    return bits + math.log2(bits + 1) + 5
