"""What chapter 1's page shows: its widgets' numbers and its figures' lines, from the chapter's results."""

import math
from typing import Any

import torch
from torch import Tensor

from dgm.nets.mlp import Layer, mlp_layers
from dgm_book import results
from dgm_book.chapters.rate_distortion import curves
from dgm_book.chapters.rate_distortion.page import Chapter, label, schedule_limits, size, summary
from dgm_book.chapters.rate_distortion.training import MODELS, decoder, settings
from dgm_book.results import Result
from dgm_book.widgets import PageWeights

IN_PAGE = ("vae2", "vae10", "gan10")  # decoders that travel with the page
DRAWING = "vae5-narrow"
PANELS = {
    "ten dimensions": ("vae10", "gan10", "aae10", "gan10-shallow"),
    "latent sizes": ("vae10", "vae2", "vae100", "gan2"),
}
SAMPLED = ("vae10", "gan10", "aae10")
SLOPES = ("vae10", "vae2", "gan10", "vae100")
HEALTH = ("vae10", "gan10")
GAPS = ("vae2", "vae10", "gan10", "aae10")
N_DAMAGED = 16  # images that travel with the damage lab


def badge(found: Chapter, shown: str) -> str:
    """The badge of one figure, table or widget, from the results that it shows.

    Args:
        found: the chapter.
        shown: a key of `evidence`.
    """
    parts = evidence(found)[shown]
    own = dict.fromkeys(("samples", "colour samples", "draw"), lambda r: "") | {
        "damage": lambda r: f"{r.tensors['log_z'][:, :N_DAMAGED].shape[1]} test images",
        "plane": lambda r: f"{len(r.tensors['means']):,} test images",
    }
    return results.badge(parts, own.get(shown, size))


def evidence(found: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each thing that the page shows: for each of its parts one a seed."""

    def of(runs: dict[str, list[Result]], models: Any, seeds: int | None = None) -> dict:
        return {label(m): runs[m][:seeds] for m in models}

    damaged = [f"blur{b:g}-{prior}" for b in curves.BLURS for prior in ("narrow", "wide")]
    first = found.seeds[0]
    return {
        "explorer": of(found.curves, [m for m in found.curves if not MODELS[m].colour]),
        "elbo": of(found.training, [m for m, r in found.training.items() if "elbo" in r[0].values]),
        "samples": of(found.training, SAMPLED, 1),
        "panels": of(found.curves, dict.fromkeys(m for of in PANELS.values() for m in of)),
        "slopes": of(found.curves, SLOPES) | {"schedules": [_of_schedules(found)]},
        "missed": {label("vae2"): [found.more[f"vae2-seed{first}-truth"]]},
        "gaps": of(found.gaps, GAPS),
        "health": of(found.curves, HEALTH, 1),
        "damage": {label("vae10"): [found.more[f"vae10-seed0-{ending}"] for ending in damaged]},
        "failures": {
            f"{label(m)}, {split}": found.several(m, split)
            for m in ("vae10", "vae10-few", "vae10-dropped", "vae10-short")
            for split in ("unseen", "seen")
            if f"{m}-seed0-{split}" in found.more
        },
        "other bounds": {"encoders": [found.more[f"{m}-seed0-encoder"] for m in curves.ENCODED]}
        | {"deep distortion": [r for m in curves.FELT for r in found.several(m, "features")]},
        "colour samples": of(found.training, curves.COLOUR, 1),
        "colour": of(found.curves, curves.COLOUR),
        "draw": {label(DRAWING): [found.more[f"{DRAWING}-seed0-training"]]},
        "plane": of(found.training, ["vae2"], 1),
    }


def models(
    found: Chapter,
) -> tuple[dict[str, list[Layer]], dict[str, tuple], dict[str, Tensor]]:
    """The first seed's decoders for the page, golden vectors that tie them to PyTorch, calibration codes."""
    models, golden, calibration = {}, {}, {}
    for name in (*IN_PAGE, DRAWING):
        latent_dim = MODELS[name].latent_dim
        seed = 0 if name == DRAWING else found.seeds[0]
        network = decoder(name, found.profile, seed).cpu()
        codes = torch.randn(2008, latent_dim, generator=torch.Generator().manual_seed(0))
        models[name] = mlp_layers(network)
        golden[name] = codes[:8], network(codes[:8])
        calibration[name] = codes[8:]
    return models, golden, calibration


def int8_error(weights: PageWeights, golden: dict[str, tuple]) -> float:
    """The largest error of a pixel of the golden images, by the page's rounded decoders in float32."""
    activations = {"linear": torch.clone, "tanh": torch.tanh, "relu": torch.relu}
    activations["sigmoid"] = torch.sigmoid
    errors = []
    for name, (codes, images) in golden.items():
        x = codes
        for weight, bias, activation in weights.layers(name):
            x = activations[activation](x @ torch.tensor(weight).T + torch.tensor(bias))
        errors.append(float((x - images).abs().max()))
    return max(errors)


def explorer(found: Chapter) -> list[dict[str, Any]]:
    """Each digit model's curve over seeds, with codes of the first seed where the page has its decoder."""
    shown = []
    for name, runs in found.curves.items():
        model = MODELS[name]
        if model.colour:
            continue
        kept = _trusted(runs)
        curve = {
            "model": name,
            "label": label(name),
            "family": model.family + (" shallow" if model.shallow else ""),
            "latent_dim": model.latent_dim,
            **{key: column[:kept] for key, column in summary(runs)._asdict().items()},
        }
        if name in IN_PAGE:
            curve["codes"] = runs[0].tensors["codes"][:kept]
        shown.append(curve)
    return shown


def _trusted(runs: list[Result]) -> int:
    """How many betas a curve has before fewer than two chains carry an image's weight; two at least."""
    chains = torch.stack([r.tensors["ess"].mean(1) for r in runs]).mean(0)
    return max(2, int((chains >= 2).long().cumprod(0).sum()))


def damage(found: Chapter) -> dict[str, Any]:
    """VAE10 under both priors at each blur, for each image; the page mixes them."""
    stacks: dict[str, list[Tensor]] = {}
    for prior in ("narrow", "wide"):
        for term in ("log_z", "distortion"):
            stacks[f"{prior}_{term}"] = [
                found.more[f"vae10-seed0-blur{b:g}-{prior}"].tensors[term][:, :N_DAMAGED]
                for b in curves.BLURS
            ]
    variance = found.training["vae10"][0].values["pixel_variance"]
    return {
        "beta": found.more["vae10-seed0-blur0-narrow"].tensors["beta"],
        "blurs": curves.BLURS,
        "likelihood_beta": 1 / (2 * variance),
        **{key: torch.stack(of) for key, of in stacks.items()},
    }


def _line(label: str, runs: list[Result]) -> dict[str, Any]:
    """One curve of a figure: a mean over images and seeds."""
    means = summary(runs)
    return {
        "label": label,
        "distortion": means.distortion,
        "rate": means.rate,
        "rate_error": means.rate_error,
    }


def panels(found: Chapter) -> list[dict[str, Any]]:
    """The families at ten dimensions, and the latent sizes of VAEs and GANs."""
    unit = "squared error an image"
    return [
        {
            "title": title,
            "unit": unit,
            "curves": [_line(label(m), found.curves[m]) for m in models],
        }
        for title, models in PANELS.items()
    ]


def in_colour(found: Chapter) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples of the DCGANs on CIFAR-10, a panel each, and the panel of their curves."""
    samples = [
        {"title": label(m), "images": found.training[m][0].tensors["tiles"][:6].view(6, 3, 32, 32)}
        for m in curves.COLOUR
    ]
    unit = "squared error an image, pixels from -1 to 1"
    lines = [_line(label(m), found.curves[m]) for m in curves.COLOUR]
    return samples, [{"title": "Colour images, ten dimensions", "unit": unit, "curves": lines}]


def dimensions(found: Chapter) -> list[dict[str, Any]]:
    """Twice the slope of the rate in log beta along the way, for each latent size."""
    lines = {}
    for name in SLOPES:
        means = summary(found.curves[name])
        # Over steps of several recorded betas, since a slope of neighbours is noise.
        step = max(1, len(means.beta) // 12)
        log_beta, rate = means.beta.log()[::step], means.rate[::step]
        slope = 2 * rate.diff() / log_beta.diff()
        lines[label(name)] = ((log_beta[1:] + log_beta[:-1]).div(2).exp(), slope)
    panel = {"title": "Dimensions in use", "y": "2 dR / d log beta", "lines": lines}
    return [{**panel, "levels": (2, 10)}]


def other_bounds(found: Chapter) -> list[dict[str, Any]]:
    """The amortised encoder beside the annealing, and the deep distortion."""
    pairs = []
    for name in curves.ENCODED:
        pairs += [
            _line(f"{label(name)}, annealed", [found.more[f"{name}-seed0-annealed"]]),
            _encoder_line(found, name),
        ]
    felt = [_line(label(m), found.several(m, "features")) for m in curves.FELT]
    return [
        {
            "title": "An encoder for each beta",
            "unit": "squared error an image",
            "curves": pairs,
        },
        {"title": "A deep distortion", "unit": "squared distance of features", "curves": felt},
    ]


def _encoder_line(found: Chapter, name: str) -> dict[str, Any]:
    sent = found.more[f"{name}-seed0-encoder"].tensors
    n = sent["rate"].shape[1]
    return {
        "label": f"{label(name)}, encoder",
        "distortion": sent["distortion"].mean(1),
        "rate": sent["rate"].mean(1),
        "rate_error": sent["rate"].std(1) / math.sqrt(n),
    }


def schedules(found: Chapter) -> list[dict[str, Any]]:
    """The variance of the log-weights along beta, by schedule at equal cost, of the median image."""
    compared = _of_schedules(found)
    lines = {}
    for name in ("adaptive", "sigmoid", "default"):  # the paper's sigmoid is the baseline
        variance = compared.tensors[f"{name}.log_weight_variance"].transpose(0, 1).flatten(1)
        lines[name] = (compared.tensors["beta"], variance.quantile(0.5, 1))
    title = f"Schedules of {compared.values['n_temperatures']} temperatures"
    return [{"title": title, "y": "variance of log w (nats²)", "lines": lines, "log": True}]


def _of_schedules(found: Chapter) -> Result:
    return found.more[f"vae10-seed0-schedules{curves.race_size(found.profile).budgets[-1]}"]


def failures(found: Chapter) -> list[dict[str, Any]]:
    """What the damaged models' free energy, -log Z / beta, is above the sound one's: units of distortion."""

    def over(one: list[Result], other: list[Result], rows: slice | Tensor = slice(None)) -> tuple:
        pairs = zip(one, other, strict=True)
        more = [(b.tensors["log_z"] - a.tensors["log_z"])[:, rows].mean(1) for a, b in pairs]
        beta = one[0].tensors["beta"]
        return beta, torch.stack(more).mean(0) / beta

    sound = found.several("vae10", "unseen")
    n = len(found.several("vae10-few", "unseen"))
    dropped = torch.tensor(found.more["vae10-dropped-seed0-unseen"].values["dropped"])
    without = found.several("vae10-dropped", "unseen")
    few = {split: found.several("vae10-few", split) for split in ("seen", "unseen")}
    sound_seen = found.several("vae10", "seen")
    shown = {
        "memorisation": {
            "unseen images": over(few["unseen"], sound[:n]),
            "seen images": over(few["seen"], sound_seen[:n]),
        },
        "dropped modes": {
            "4 and 9": over(without, sound[:n], dropped),
            "the others": over(without, sound[:n], ~dropped),
        },
        "under-fitting": {"all digits": over(found.several("vae10-short", "unseen"), sound[:n])},
    }
    return [
        {"title": title, "y": "extra \N{MINUS SIGN}log Z / beta" * (i == 0), "lines": lines}
        for i, (title, lines) in enumerate(shown.items())
    ]


def tiles(found: Chapter) -> list[dict[str, Any]]:
    """Samples of the prior, a panel a model."""
    panels = []
    for name in SAMPLED:
        kept = found.training[name][0].tensors.get("tiles")
        if kept is None:  # made before samples were kept
            codes = torch.randn(24, 10, generator=torch.Generator().manual_seed(0))
            made = decoder(name, found.profile, found.seeds[0]).cpu()(codes)
            kept = (made * 255).round().clamp(0, 255).to(torch.uint8)
        panels.append({"title": label(name), "images": kept.view(-1, 1, *found.shape)})
    return panels


def told(found: Chapter) -> dict[str, str]:
    """The numbers that the prose names."""
    means = {m: summary(found.curves[m]) for m in ("vae2", "vae10", "aae10", "gan10")}
    ends = {
        f"{end}_{m}": f"{v.distortion[r]:.1f} ± {v.distortion_error[r]:.1f}"
        for m, v in means.items()
        for end, r in (("low", 0), ("floor", -1))
    }
    colour = [r for m in curves.COLOUR for r in found.curves[m]]
    chains = [float(r.tensors["ess"][-1].mean()) for r in colour]
    gp, vanilla = (summary(found.curves[m]) for m in curves.COLOUR)
    small, large = (
        torch.stack([c.tensors["log_z"][0] for c in found.curves[m]]).mean(0)
        for m in ("vae2", "vae10")
    )
    gain = (small - large) / means["vae2"].beta[0]
    hundred = found.gaps["vae100"][-1].values
    _, here, far = schedule_limits(found).mean(1).tolist()
    return {
        **ends,
        "gap_vae100": f"{hundred['gap']:.1f} ± {hundred['standard_error']:.1f}",
        "low_rate_gain": f"{gain.mean():.2f} ± {gain.std() / len(gain) ** 0.5:.2f}",
        "floor_gp": f"{gp.distortion[-1]:.0f} ± {gp.distortion_error[-1]:.0f}",
        "floor_vanilla": f"{vanilla.distortion[-1]:.0f} ± {vanilla.distortion_error[-1]:.0f}",
        "chains_colour": f"{min(chains):.1f} to {max(chains):.1f}",
        "all_chains_colour": f"{settings(found.profile).colour.n_chains}",
        "colour_steps": f"{settings(found.profile).colour.steps}",
        "schedule_limit": f"{here:.2f}",
        "schedule_limit_far": f"{far:.2f}",
        "feature_accuracy": f"{100 * found.more['vae10-seed0-features'].values['accuracy']:.1f} %",
    }


def missed(found: Chapter, name: str) -> tuple[dict[str, Tensor], dict[str, tuple]]:
    """The exact curve of a model in two dimensions, and what the annealing missed, with errors."""
    exact = found.more[f"{name}-seed{found.seeds[0]}-truth"].tensors
    run, k = found.curves[name][0].tensors, len(exact["beta"])
    off = {}
    for title, key in (("log Z (nats)", "log_z"), ("rate R (nats)", "rate")):
        difference = run[key][:k] - exact[key]
        off[title] = difference.mean(1), difference.std(1) / difference.shape[1] ** 0.5
    return exact, off


def gaps(found: Chapter) -> list[dict[str, Any]]:
    """The gap of both bounds, by model and beta."""
    keys = ("beta", "gap", "standard_error")
    return [
        {"label": label(m), **{key: [r.values[key] for r in runs] for key in keys}}
        for m, runs in found.gaps.items()
        if m in GAPS
    ]


def health(found: Chapter) -> list[dict[str, Any]]:
    """Acceptance and effective sample size along the annealing."""
    lines = []
    for name in HEALTH:
        run = found.curves[name][0].tensors
        means = {key: run[key].mean(1).tolist() for key in ("acceptance", "ess")}
        lines.append({"label": label(name), "beta": run["beta"], **means})
    return lines
