"""What chapter 1's page shows: numbers of its widgets, lines of its figures, their evidence."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dgm.nets.mlp import Layer, mlp_layers
from dgm_book import results
from dgm_book.chapters.rate_distortion import chapter as summaries
from dgm_book.chapters.rate_distortion import recipe as recipes
from dgm_book.chapters.rate_distortion.chapter import Chapter, chapter, summary
from dgm_book.chapters.rate_distortion.claims import claims
from dgm_book.chapters.rate_distortion.models import CHAPTER, context, decoder
from dgm_book.chapters.rate_distortion.recipe import DRAWING, MODELS, label
from dgm_book.chapters.rate_distortion.run import run, verify
from dgm_book.results import Result

__all__ = ["CHAPTER", "chapter", "claims", "context", "label", "run", "verify"]

PANELS = {
    "ten dimensions": ("vae10", "gan10", "aae10", "gan10-shallow"),
    "latent sizes": ("vae10", "vae2", "vae100", "gan2"),
}
SAMPLED = ("vae10", "gan10", "aae10")
SLOPES = ("vae10", "vae2", "gan10", "vae100")
HEALTH = ("vae10", "gan10")
GAPS = ("vae2", "vae10", "gan10", "aae10")
N_DAMAGED = 16  # images that travel with the damage lab


def badge(chapter: Chapter, key: str) -> str:
    """The badge of one figure, table or widget, by its key in `evidence`."""
    own = dict.fromkeys(("samples", "colour samples", "draw"), lambda r: "") | {
        "damage": lambda r: f"{r.tensors['log_z'][:, :N_DAMAGED].shape[1]} test images",
        "plane": lambda r: f"{len(r.tensors['means']):,} test images",
    }
    return results.badge(evidence(chapter)[key], own.get(key, summaries.size))


def evidence(chapter: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each thing that the page shows: for each of its parts one per seed."""

    def runs(ending: str, models: Iterable[str], seeds: int | None = None) -> dict:
        return {label(m): chapter.runs[m, ending][:seeds] for m in models}

    digits = [m for m in chapter.compared("curve") if not MODELS[m].colour]
    damaged = [f"blur{b:g}-{prior}" for b in recipes.BLURS for prior in ("narrow", "wide")]
    return {
        "explorer": runs("curve", digits),
        "elbo": runs("training", [m for m in digits if MODELS[m].family == "VAE"]),
        "samples": runs("training", SAMPLED, 1),
        "panels": runs("curve", dict.fromkeys(m for models in PANELS.values() for m in models)),
        "slopes": runs("curve", SLOPES) | {"schedules": [_comparison(chapter)]},
        "missed": runs("truth", ["vae2"]),
        "gaps": {label(m): chapter.gaps[m] for m in GAPS},
        "health": runs("curve", HEALTH, 1),
        "damage": {label("vae10"): [chapter.first(ending) for ending in damaged]},
        "failures": {
            f"{label(m)}, {split}": chapter.runs[m, split]
            for m in ("vae10", "vae10-few", "vae10-dropped", "vae10-short")
            for split in ("unseen", "seen")
            if (m, split) in chapter.runs
        },
        "other bounds": {"encoders": [chapter.first("encoder", m) for m in recipes.ENCODED]}
        | {"deep distortion": [r for m in recipes.DEEP for r in chapter.runs[m, "features"]]},
        "colour samples": runs("training", recipes.COLOUR, 1),
        "colour": runs("curve", recipes.COLOUR),
        "draw": runs("training", [DRAWING]),
        "plane": runs("training", ["vae2"], 1),
    }


def models(
    chapter: Chapter,
) -> tuple[dict[str, list[Layer]], dict[str, tuple[Tensor, Tensor]], dict[str, Tensor]]:
    """The first seed's decoders for the page, golden vectors from PyTorch, calibration codes."""
    models, golden, calibration = {}, {}, {}
    for name in (*recipes.CODES, DRAWING):
        network = decoder(chapter.job(name, 0 if name == DRAWING else None)).cpu()
        shape = (2008, MODELS[name].latent_dim)
        codes = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        models[name] = mlp_layers(network)
        golden[name] = codes[:8], network(codes[:8])
        calibration[name] = codes[8:]
    return models, golden, calibration


def int8_error(
    rounded: Callable[[str], Sequence[tuple]], golden: dict[str, tuple[Tensor, Tensor]]
) -> float:
    """The largest error of a pixel of each model's golden codes and images, in float32.

    `rounded` gives a model's layers by its name, as `PageWeights.layers`.
    """
    functions = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid}
    errors = []
    for name, (x, images) in golden.items():
        for weight, bias, activation in rounded(name):
            x = functions[activation](x @ torch.tensor(weight).T + torch.tensor(bias))
        errors.append(float((x - images).abs().max()))
    return max(errors)


def explorer(chapter: Chapter) -> list[dict[str, Any]]:
    """Each digit model's curve over seeds, with the first seed's codes if the page has its decoder.

    A curve ends before fewer than two chains carry an image's weight.
    """
    curves = []
    for name, runs in chapter.compared("curve").items():
        if MODELS[name].colour:
            continue
        chains = torch.stack([r.tensors["ess"].mean(1) for r in runs]).mean(0)
        n_betas = max(2, int((chains >= 2).long().cumprod(0).sum()))
        curve = {
            "model": name,
            "label": label(name),
            "family": MODELS[name].family + " shallow" * MODELS[name].shallow,
            "latent_dim": MODELS[name].latent_dim,
            **{key: column[:n_betas] for key, column in summary(runs)._asdict().items()},
        }
        if name in recipes.CODES:
            curve["codes"] = runs[0].tensors["codes"][:n_betas]
        curves.append(curve)
    return curves


def damage(chapter: Chapter) -> dict[str, Any]:
    """VAE10 under both priors at each blur, for each image; the page mixes them."""
    curves = {
        f"{prior}_{term}": torch.stack(
            [
                chapter.first(f"blur{b:g}-{prior}").tensors[term][:, :N_DAMAGED]
                for b in recipes.BLURS
            ]
        )
        for prior in ("narrow", "wide")
        for term in ("log_z", "distortion")
    }
    likelihood_beta = 1 / (2 * chapter.first("training").values["pixel_variance"])
    beta = chapter.first("blur0-narrow").tensors["beta"]
    return {"beta": beta, "blurs": recipes.BLURS, "likelihood_beta": likelihood_beta, **curves}


def _line(label: str, runs: list[Result]) -> dict[str, Any]:
    """One curve of a figure: a mean over images and seeds."""
    means = summary(runs)._asdict()
    return {"label": label, **{key: means[key] for key in ("distortion", "rate", "rate_error")}}


def panels(chapter: Chapter) -> list[dict[str, Any]]:
    """The families at ten dimensions, and the latent sizes of VAEs and GANs."""
    return [
        {
            "title": title,
            "unit": "squared error an image",
            "curves": [_line(label(m), chapter.runs[m, "curve"]) for m in models],
        }
        for title, models in PANELS.items()
    ]


def in_colour(chapter: Chapter) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples of the DCGANs on CIFAR-10, one panel each, and the panel of their curves."""
    tiles = {m: chapter.first("training", m).tensors["tiles"][:6] for m in recipes.COLOUR}
    samples = [{"title": label(m), "images": t.view(6, 3, 32, 32)} for m, t in tiles.items()]
    unit = "squared error an image, pixels from -1 to 1"
    curves = [_line(label(m), chapter.runs[m, "curve"]) for m in recipes.COLOUR]
    return samples, [{"title": "Colour images, ten dimensions", "unit": unit, "curves": curves}]


def dimensions(chapter: Chapter) -> list[dict[str, Any]]:
    """Twice the slope of the rate in log beta along the curve, for each latent size."""
    lines = {}
    for name in SLOPES:
        means = summary(chapter.runs[name, "curve"])
        # Over steps of several recorded betas, since a slope of neighbours is noise.
        step = max(1, len(means.beta) // 12)
        log_beta, rate = means.beta.log()[::step], means.rate[::step]
        slope = 2 * rate.diff() / log_beta.diff()
        lines[label(name)] = ((log_beta[1:] + log_beta[:-1]).div(2).exp(), slope)
    panel = {"title": "Dimensions in use", "y": "2 dR / d log beta", "lines": lines}
    return [{**panel, "levels": (2, 10)}]


def other_bounds(chapter: Chapter) -> list[dict[str, Any]]:
    """The amortised encoder beside the annealing, and the deep distortion."""
    pairs = []
    for name in recipes.ENCODED:
        sent = chapter.first("encoder", name).tensors
        rate, error = summaries.mean_and_error(sent["rate"])
        line = {"distortion": sent["distortion"].mean(1), "rate": rate, "rate_error": error}
        pairs += [
            _line(f"{label(name)}, annealed", chapter.runs[name, "annealed"]),
            {"label": f"{label(name)}, encoder", **line},
        ]
    deep = [_line(label(m), chapter.runs[m, "features"]) for m in recipes.DEEP]
    return [
        {"title": "An encoder for each beta", "unit": "squared error an image", "curves": pairs},
        {"title": "A deep distortion", "unit": "squared distance of features", "curves": deep},
    ]


def schedules(chapter: Chapter) -> list[dict[str, Any]]:
    """The variance of the log-weights along beta, by schedule, of the median image."""
    result, lines = _comparison(chapter), {}
    for name in ("adaptive", "sigmoid", "default"):  # the paper's sigmoid is the baseline
        variance = result.tensors[f"{name}.log_weight_variance"].transpose(0, 1).flatten(1)
        lines[name] = (result.tensors["beta"], variance.quantile(0.5, 1))
    title = f"Schedules of {result.values['n_temperatures']} temperatures"
    return [{"title": title, "y": "variance of log w (nats²)", "lines": lines, "log": True}]


def _comparison(chapter: Chapter) -> Result:
    return chapter.first(f"schedules{chapter.recipe.comparison.budgets[-1]}")


def failures(chapter: Chapter) -> list[dict[str, Any]]:
    """By how much a damaged model's free energy, -log Z / beta, is above the sound one's."""
    beta = chapter.first("seen").tensors["beta"]
    dropped = torch.tensor(chapter.first("unseen", "vae10-dropped").values["dropped"])

    def over(damage: str, split: str = "unseen", images: Any = slice(None)) -> tuple:
        pairs = zip(
            chapter.runs[f"vae10-{damage}", split], chapter.runs["vae10", split], strict=False
        )
        more = [b.tensors["log_z"] - a.tensors["log_z"] for a, b in pairs]
        return beta, torch.stack([v[:, images].mean(1) for v in more]).mean(0) / beta

    shown = {
        "memorisation": {f"{s} images": over("few", s) for s in ("unseen", "seen")},
        "dropped modes": {
            "4 and 9": over("dropped", images=dropped),
            "the others": over("dropped", images=~dropped),
        },
        "under-fitting": {"all digits": over("short")},
    }
    return [
        {"title": title, "y": "extra \N{MINUS SIGN}log Z / beta" * (i == 0), "lines": lines}
        for i, (title, lines) in enumerate(shown.items())
    ]


def tiles(chapter: Chapter) -> list[dict[str, Any]]:
    """Samples of the prior, one panel per model."""
    samples = {m: chapter.first("training", m).tensors["tiles"] for m in SAMPLED}
    shape = (-1, 1, *chapter.shape)
    return [{"title": label(m), "images": images.view(shape)} for m, images in samples.items()]


def prose_values(chapter: Chapter) -> dict[str, str]:
    """The numbers that the prose names."""
    values, curves = {}, chapter.compared("curve")
    for name in ("vae2", "vae10", "aae10", "gan10"):
        means = summary(curves[name])
        for end, r in (("low", 0), ("floor", -1)):
            mean, error = float(means.distortion[r]), float(means.distortion_error[r])
            values[f"{end}_{name}"] = f"{mean:.1f} ± {error:.1f}"
    for name, recipe in zip(recipes.COLOUR, ("gp", "vanilla"), strict=True):
        means = summary(curves[name])
        mean, error = float(means.distortion[-1]), float(means.distortion_error[-1])
        values[f"floor_{recipe}"] = f"{mean:.0f} ± {error:.0f}"
    chains = [float(r.tensors["ess"][-1].mean()) for m in recipes.COLOUR for r in curves[m]]
    small, large = (
        torch.stack([c.tensors["log_z"][0] for c in curves[m]]).mean(0) for m in ("vae2", "vae10")
    )
    gain = (small - large) / curves["vae2"][0].tensors["beta"][0]
    hundred = chapter.gaps["vae100"][-1].values
    _, here, far = summaries.limit_ratios(chapter).mean(1).tolist()
    accuracy = chapter.first("features").values["accuracy"]
    return values | {
        "gap_vae100": f"{hundred['gap']:.1f} ± {hundred['standard_error']:.1f}",
        "low_rate_gain": f"{gain.mean():.2f} ± {gain.std() / len(gain) ** 0.5:.2f}",
        "chains_colour": f"{min(chains):.1f} to {max(chains):.1f}",
        "all_chains_colour": str(chapter.recipe.colour.annealing.n_chains),
        "colour_steps": str(chapter.recipe.colour.steps),
        "schedule_limit": f"{here:.2f}",
        "schedule_limit_far": f"{far:.2f}",
        "feature_accuracy": f"{100 * accuracy:.1f} %",
    }


def missed(chapter: Chapter, name: str) -> tuple[dict[str, Tensor], dict[str, tuple]]:
    """The exact curve of a model in two dimensions, and what the annealing missed, with errors."""
    exact, curve = (chapter.first(ending, name).tensors for ending in ("truth", "curve"))
    n_betas, off = len(exact["beta"]), {}
    for title, key in (("log Z (nats)", "log_z"), ("rate R (nats)", "rate")):
        off[title] = summaries.mean_and_error(curve[key][:n_betas] - exact[key])
    return exact, off


def gaps(chapter: Chapter) -> list[dict[str, Any]]:
    """The gap of both bounds, by model and beta."""
    keys = ("beta", "gap", "standard_error")
    return [
        {"label": label(m), **{key: [r.values[key] for r in chapter.gaps[m]] for key in keys}}
        for m in GAPS
    ]


def health(chapter: Chapter) -> list[dict[str, Any]]:
    """Acceptance and effective sample size along the annealing."""
    lines = []
    for name in HEALTH:
        curve = chapter.first("curve", name).tensors
        means = {key: curve[key].mean(1).tolist() for key in ("acceptance", "ess")}
        lines.append({"label": label(name), "beta": curve["beta"], **means})
    return lines
