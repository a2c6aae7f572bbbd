"""What chapter 1's page shows: numbers of its widgets, lines of its figures, their evidence."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgm.nets.mlp import Layer, mlp_layers
from dgm_book import results, statistics
from dgm_book.chapters.rate_distortion import chapter as summaries
from dgm_book.chapters.rate_distortion import recipe as recipes
from dgm_book.chapters.rate_distortion.chapter import Chapter, chapter, claims, stacked, summary
from dgm_book.chapters.rate_distortion.models import decoder, pictures
from dgm_book.chapters.rate_distortion.recipe import DRAWING, MODELS, label
from dgm_book.chapters.rate_distortion.rivals import length_bound
from dgm_book.claims import fill
from dgm_book.results import Result

__all__ = ["chapter", "claims", "label"]

PANELS = {
    "ten dimensions": ("vae10", "gan10", "aae10", "gan10-shallow"),
    "latent sizes": ("vae10", "vae2", "vae100", "gan2"),
}
SAMPLED = ("vae10", "gan10", "aae10")
COMPONENTS = {"ten dimensions": (10,), "latent sizes": (2, 10)}  # lines beside the panels
RIVALS = ("vae10", "vae2", "gan10")
SLOPES = ("vae10", "vae2", "gan10", "vae100")
HEALTH = ("vae10", "gan10")
GAPS = ("vae2", "vae10", "gan10", "aae10")
SHOWABLE = ("digits",)  # data whose own images the page may hold; MNIST states no licence
EXPLORED = ("JPEG", "WebP")  # codecs in the explorer
N_DAMAGED = 16  # images that travel with the damage lab
BETA = {"x": "inverse temperature beta", "log": "x"}
RATE = {"y": "rate R (nats an image)"}


def badge(chapter: Chapter, key: str) -> str:
    """The badge of one figure, table or widget, by its key in `evidence`."""
    own = dict.fromkeys(("samples", "colour samples", "flow samples", "draw"), lambda r: "") | {
        "damage": lambda r: f"{r.tensors['log_z'][:, :N_DAMAGED].shape[1]} test images",
        "plane": lambda r: f"{len(r.tensors['means']):,} test images",
        "low end": lambda r: f"{r.values['n']:,} samples, {summaries.size(r)}",
    }
    return results.badge(evidence(chapter)[key], own.get(key, summaries.size))


def evidence(chapter: Chapter) -> dict[str, dict[str, list[Result]]]:
    """The results behind each thing that the page shows: for each of its parts one per seed."""

    def runs(ending: str, models: Iterable[str], seeds: int | None = None) -> dict:
        return {label(m): chapter.runs[m, ending][:seeds] for m in models}

    digits = [m for m in chapter.compared("curve") if not MODELS[m].colour]
    most = chapter.recipe.comparison.budgets[-1]
    linear = {"linear codes and codecs": [chapter.first("references")]}
    damaged = [f"blur{b:g}-{prior}" for b in recipes.BLURS for prior in ("narrow", "wide")]
    return {
        "explorer": runs("curve", digits) | linear,
        "elbo": runs("training", [m for m in digits if MODELS[m].family == "VAE"]),
        "samples": runs("training", SAMPLED, 1),
        "panels": runs("curve", dict.fromkeys(m for models in PANELS.values() for m in models))
        | linear,
        "rivals": runs("curve", RIVALS) | linear,
        "priors": {
            label("vae2"): [chapter.first("best-prior", "vae2")],
            label("vae10"): [chapter.first("flow"), chapter.first("unseen")],
        },
        "files": {name: [result] for name, result in summaries.sent(chapter)},
        "slopes": runs("curve", SLOPES) | {"schedules": [chapter.first(f"schedules{most}")]},
        "low end": runs("perception", recipes.PERCEIVED),
        "flow": runs("curve", ["flow"]),
        "flow samples": runs("curve", ["flow"]),
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
        "other bounds": linear
        | {"encoders": [chapter.first("encoder", m) for m in recipes.ENCODED]}
        | {"deep distortion": [r for m in recipes.DEEP for r in chapter.runs[m, "features"]]},
        "colour samples": runs("training", recipes.COLOUR, 1),
        "colour": runs("curve", recipes.COLOUR)
        | {"linear codes": [chapter.first("references", recipes.COLOUR[0])]},
        "draw": runs("training", [DRAWING]),
        "plane": runs("training", ["vae2"], 1),
    }


def models(chapter: Chapter) -> tuple[dict[str, list[Layer]], dict, dict[str, Tensor]]:
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
    """The largest error of a pixel of each model's golden codes and images, in float32."""
    errors = []
    for name, (x, images) in golden.items():
        for weight, bias, activation in rounded(name):
            x = getattr(torch, activation)(x @ torch.tensor(weight).T + torch.tensor(bias))
        errors.append(float((x - images).abs().max()))
    return max(errors)


def explorer(chapter: Chapter) -> list[dict[str, Any]]:
    """Each digit model's curve over seeds, with codes if the page has its decoder."""
    curves = []
    for name, runs in chapter.compared("curve").items():
        model = MODELS[name]
        if model.colour:
            continue
        chains = stacked(runs, "ess").mean((0, 2))
        columns = summary(runs)._asdict()
        if name in recipes.CODES:
            columns["codes"] = runs[0].tensors["codes"]
        n_betas = max(2, int((chains >= 2).long().cumprod(0).sum()))
        family = {"family": model.family + " shallow" * model.shallow}
        words = {"model": name, "label": label(name), "latent_dim": model.latent_dim, **family}
        curves.append(words | {key: column[:n_betas] for key, column in columns.items()})
    return curves


def rivals_of_explorer(chapter: Chapter) -> dict[str, dict[str, tuple[Tensor, Tensor]]]:
    """The explorer's reference lines: linear codes, and codecs as marks."""
    marks = {name: line for name, line in codecs(chapter).items() if name in EXPLORED}
    return {"references": linear_codes(chapter, 10), "marks": marks}


def targets(chapter: Chapter) -> Tensor | None:
    """The coded test images (N, H, W) of the explorer; None where the page may not hold them."""
    dataset = chapter.job("vae10").dataset
    if dataset not in SHOWABLE:
        return None
    return pictures(dataset, "test").x[: recipes.N_CODES].view(-1, *chapter.shape)


def damage(chapter: Chapter) -> dict[str, Any]:
    """VAE10 under both priors at each blur, for each image; the page mixes them."""
    curves = {
        f"{prior}_{term}": stacked(
            [chapter.first(f"blur{b:g}-{prior}") for b in recipes.BLURS], term
        )[:, :, :N_DAMAGED]
        for prior in ("narrow", "wide")
        for term in ("log_z", "distortion")
    }
    likelihood_beta = 1 / (2 * chapter.first("training").values["pixel_variance"])
    beta = chapter.first("blur0-narrow").tensors["beta"]
    return {"beta": beta, "blurs": recipes.BLURS, "likelihood_beta": likelihood_beta, **curves}


def _line(runs: list[Result]) -> tuple[Tensor, Tensor, Tensor]:
    """One curve, a mean over images and seeds, with two standard errors of its rate."""
    means = summary(runs)
    return means.distortion, means.rate, 2 * means.rate_error


def _panel(lines: dict[str, Any], title: str, unit: str = "squared error an image") -> dict:
    return {"title": title, "lines": lines, "x": f"distortion D ({unit})", "log": "x"}


def _curves(chapter: Chapter, models: Iterable[str], ending: str = "curve") -> dict[str, Any]:
    return {label(m): _line(chapter.runs[m, ending]) for m in models}


def linear_codes(chapter: Chapter, *components: int, model: str = "vae10") -> dict[str, tuple]:
    """Distortions and rates of the Gaussian and of principal components, for a model's images."""
    tensors = chapter.first("references", model).tensors
    names = {"Gaussian": ""} | {f"PCA {k}": f"pca{k}." for k in components}
    lines = {n: (tensors[f"{x}distortion"], tensors[f"{x}rate"]) for n, x in names.items()}
    return {n: (x[y > 1e-3], y[y > 1e-3]) for n, (x, y) in lines.items()}


def codecs(chapter: Chapter, model: str = "vae10") -> dict[str, tuple[Tensor, Tensor]]:
    """Distortions and rates, nats per image, of real codecs on a mosaic of the test images."""
    result = chapter.first("references", model)
    nats = 8 * math.log(2) / result.values["n_images"]
    return {
        name: (result.tensors[f"{name}.distortion"].mean(1), nats * result.tensors[f"{name}.bytes"])
        for name in result.values["headers"]
    }


def _beside(panel: dict, lines: dict[str, tuple]) -> dict:
    """A panel with reference lines, no higher than its own."""
    top = max(float(rate.max()) for _, rate, *_ in panel["lines"].values())
    near = {name: (x[y < 1.5 * top], y[y < 1.5 * top]) for name, (x, y) in lines.items()}
    return panel | {"references": near, "ylim": (0, 1.05 * top)}


def panels(chapter: Chapter) -> list[dict[str, Any]]:
    """The families at ten dimensions, and the latent sizes of VAEs and GANs."""
    first, *others = (
        _beside(_panel(_curves(chapter, x), title), linear_codes(chapter, *COMPONENTS[title]))
        for title, x in PANELS.items()
    )
    return [first | RATE, *others]


def rivals(chapter: Chapter) -> list[dict[str, Any]]:
    """Decoders beside linear codes and real codecs, both axes logarithmic."""
    panel = _panel(_curves(chapter, RIVALS), "") | RATE | {"log": "xy", "ylim": (1, 1000)}
    return [panel | {"references": linear_codes(chapter, 10), "marks": codecs(chapter)}]


def priors(chapter: Chapter) -> list[dict[str, Any]]:
    """Two decoders under N(0, I) and under a better prior; and what that saves at each price."""
    best, flow = chapter.first("best-prior", "vae2").tensors, chapter.first("flow").tensors
    n = int((flow["ess"].mean(1) >= 2).long().cumprod(0).sum())  # as far as chains carry it
    flow = {k: v[:n] for k, v in flow.items()}
    own = {k: v[:n] for k, v in chapter.first("unseen").tensors.items()}
    pairs = {
        "vae2": ({k: best[f"own.{k}"] for k in summaries.TERMS}, best, "best prior"),
        "vae10": (own, flow, "flow"),
    }
    lines, saved = {}, {}
    for name, (before, after, words) in pairs.items():
        for tensors, prior in ((before, "N(0, I)"), (after, words)):
            rate, error = summaries.mean_and_error(tensors["rate"])
            lines[f"{label(name)}, {prior}"] = tensors["distortion"].mean(1), rate, 2 * error
        mean, error = summaries.mean_and_error(after["log_z"] - before["log_z"])
        saved[label(name)] = after["beta"], mean, 2 * error
    right = {"title": "Saved by the better prior", "lines": saved, "levels": [0]}
    right |= {"y": "fall of \N{MINUS SIGN}log Z (nats)", **BETA}
    return [_panel(lines, "Two decoders, four priors") | RATE, right]


def files(chapter: Chapter) -> list[list[str]]:
    """Rows of a table: what theory asks for, and how long the files are and what they bring."""
    rows = []
    for name, prices in recipes.SENT.items():
        for beta in prices:
            sent = chapter.first(f"sent{beta:g}", name).tensors
            rate, size = float(sent["rate"].mean()), float(sent["bytes"].double().mean())
            by_seed = statistics.mean_over_seeds(sent["distortion"].mean(1))
            cells = f"{rate:.1f} nats, {rate / math.log(2):.1f} bits", f"{length_bound(rate):.1f}"
            cells = *cells, f"{8 * size:.1f}, {size:.2f} bytes", f"{sent['expected'].mean():.1f}"
            rows.append([f"{label(name)}, {beta:g}", *cells, statistics.format_mean(by_seed, 1)])
    return rows


def in_colour(chapter: Chapter) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples of the DCGANs on CIFAR-10, one panel each, and the panel of their curves."""
    samples = _tiles(chapter, recipes.COLOUR, (6, 3, 32, 32))
    words = "Colour images, ten dimensions", "squared error an image, pixels from -1 to 1"
    linear = linear_codes(chapter, 10, model=recipes.COLOUR[0])
    return samples, [_beside(_panel(_curves(chapter, recipes.COLOUR), *words), linear) | RATE]


def other_bounds(chapter: Chapter) -> list[dict[str, Any]]:
    """The amortised encoder beside the annealing, and the deep distortion."""
    pairs = {}
    for name in recipes.ENCODED:
        sent = chapter.first("encoder", name).tensors
        rate, error = summaries.mean_and_error(sent["rate"])
        pairs[f"{label(name)}, annealed"] = _line(chapter.runs[name, "annealed"])
        pairs[f"{label(name)}, encoder"] = sent["distortion"].mean(1), rate, 2 * error
    deep = _curves(chapter, recipes.DEEP, "features")
    deep_panel = _panel(deep, "A deep distortion", "squared distance of features")
    panel = _beside(_panel(pairs, "An encoder for each beta"), linear_codes(chapter, 10))
    return [panel | RATE, deep_panel]


def low_end(chapter: Chapter) -> list[dict[str, Any]]:
    """Kernel distance to real images against D along each curve, from its exact point at rate 0."""
    lines, marks = {}, {}
    for name in recipes.PERCEIVED:
        result = chapter.first("perception", name)
        zero, along = result.values["rate 0"], result.tensors
        columns = along["distortion"].mean(1), along["kernel"], 2 * along["kernel_error"]
        ends = zero["distortion"], zero["kernel"], 2 * zero["error"]
        pairs = zip(ends, columns, strict=True)
        lines[label(name)] = tuple(torch.cat([x.new_tensor([end]), x]) for end, x in pairs)
    values = chapter.first("perception").values
    for name in ("real images", "mean image"):
        point = [values[name][key] for key in ("distortion", "kernel", "error")]
        x, y, error = torch.tensor(point, dtype=torch.float64)[:, None]
        marks[name] = x, y, 2 * error
    panel = _panel(lines, "", "squared error an image")
    return [panel | {"marks": marks, "levels": [0], "y": "kernel distance to real images"}]


def few_step_flow(chapter: Chapter) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples of the flow, and its curve beside that of the Gaussian with the digits' moments."""
    result = chapter.first("curve", "flow")
    tensors, side = result.tensors, math.isqrt(result.values["latent_dim"])
    tiles = tensors["tiles"].view(-1, 1, side, side)
    lines = {}
    for name, key in ((f"flow, {result.values['n_steps']} steps", ""), ("Gaussian", "gaussian.")):
        rate, error = summaries.mean_and_error(tensors[f"{key}rate"])
        lines[name] = tensors[f"{key}distortion"].mean(1), rate, 2 * error
    return [{"title": label("flow"), "images": tiles}], [_panel(lines, "") | RATE]


def slopes(chapter: Chapter) -> list[dict[str, Any]]:
    """Twice the slope of the rate in log beta, by latent size; variance of log w, by schedule."""
    lines, variances = {}, {}
    for name in SLOPES:
        means = summary(chapter.runs[name, "curve"])
        # Over steps of several recorded betas, since a slope of neighbours is noise.
        step = max(1, len(means.beta) // 12)
        log_beta, rate = means.beta.log()[::step], means.rate[::step]
        slope = 2 * rate.diff() / log_beta.diff()
        lines[label(name)] = ((log_beta[1:] + log_beta[:-1]).div(2).exp(), slope)
    panel = {"title": "Dimensions in use", "y": "2 dR / d log beta", "levels": (2, 10)}
    result = evidence(chapter)["slopes"]["schedules"][0]
    for name in ("adaptive", "sigmoid", "default"):  # the paper's sigmoid is the baseline
        variance = result.tensors[f"{name}.log_weight_variance"].transpose(0, 1).flatten(1)
        variances[name] = (result.tensors["beta"], variance.quantile(0.5, 1))
    title = f"Schedules of {result.values['n_temperatures']} temperatures"
    other = {"title": title, "y": "variance of log w (nats²)", "lines": variances}
    return [{**panel, **BETA, "lines": lines}, {**other, **BETA, "log": "xy"}]


def failures(chapter: Chapter) -> list[dict[str, Any]]:
    """By how much a damaged model's free energy, -log Z / beta, is above the sound one's."""
    beta = chapter.first("seen").tensors["beta"]
    dropped = torch.tensor(chapter.first("unseen", "vae10-dropped").values["dropped"])

    def over(damage: str, split: str = "unseen", images: Any = slice(None)) -> tuple:
        damaged, sound = (chapter.runs[m, split] for m in (f"vae10-{damage}", "vae10"))
        n = min(len(damaged), len(sound))
        more = stacked(sound[:n], "log_z") - stacked(damaged[:n], "log_z")
        return beta, more[..., images].mean(2).mean(0) / beta

    shown = {
        "memorisation": {f"{s} images": over("few", s) for s in ("unseen", "seen")},
        "dropped modes": {
            "4 and 9": over("dropped", images=dropped),
            "the others": over("dropped", images=~dropped),
        },
        "under-fitting": {"all digits": over("short")},
    }
    panels = [{"title": title, "lines": lines, **BETA} for title, lines in shown.items()]
    panels[0]["y"] = "extra \N{MINUS SIGN}log Z / beta"
    return panels


def missed(chapter: Chapter, name: str) -> list[dict[str, Any]]:
    """What the annealing of a model in two dimensions missed, with two standard errors."""
    panels = []
    for title, term in (("log Z (nats)", "log_z"), ("rate R (nats)", "rate")):
        beta, mean, error = summaries.missed(chapter, name, term)
        lines = {"": (beta, mean, 2 * error)}
        panels.append({"title": title, "lines": lines, "levels": [0], "bars": "points", **BETA})
    panels[0]["y"] = "estimate minus truth (nats)"
    return panels


def gaps(chapter: Chapter) -> list[dict[str, Any]]:
    """The gap of both bounds by model and beta, two standard errors; marks stand side by side."""
    lines = {}
    for i, model in enumerate(GAPS):
        keys = ("beta", "gap", "standard_error")
        rows = [[r.values[key] for key in keys] for r in chapter.gaps[model]]
        beta, gap, error = torch.tensor(rows, dtype=torch.float64).T
        lines[label(model)] = (beta * 1.12**i, gap, 2 * error)
    panel = {"lines": lines, "levels": [0], "limit": (1.0, "1 nat"), "bars": "points"}
    return [{**panel, "y": "upper minus lower bound (nats)", **BETA}]


def health(chapter: Chapter) -> list[dict[str, Any]]:
    """Acceptance and effective sample size along the annealing."""
    curves = {label(name): chapter.first("curve", name).tensors for name in HEALTH}
    n_chains = chapter.recipe.annealing.n_chains
    acceptance, chains = (
        {name: (t["beta"], t[key].mean(1)) for name, t in curves.items()}
        for key in ("acceptance", "ess")
    )
    left = {"lines": acceptance, "levels": [0.65], "ylim": (0, 1.03), "y": "acceptance"}
    right = {"lines": chains, "ylim": (0, 1.05 * n_chains), "y": f"effective chains of {n_chains}"}
    return [left | BETA, right | BETA]


def tiles(chapter: Chapter) -> list[dict[str, Any]]:
    """Samples of the prior, one panel per model."""
    return _tiles(chapter, SAMPLED, (recipes.N_TILES, 1, *chapter.shape))


def _tiles(chapter: Chapter, models: Iterable[str], shape: tuple[int, ...]) -> list[dict]:
    images = {m: chapter.first("training", m).tensors["tiles"][: shape[0]] for m in models}
    return [{"title": label(m), "images": rows.view(shape)} for m, rows in images.items()]


def prose_values(chapter: Chapter) -> dict[str, str]:
    """The numbers that the prose names: the templates of texts.yaml, filled in."""
    curves = chapter.compared("curve")
    small, large = (stacked(curves[m], "log_z")[:, 0].mean(0) for m in ("vae2", "vae10"))
    gain = (small - large) / curves["vae2"][0].tensors["beta"][0]
    names = ("vae2", "vae10", "aae10", "gan10", *recipes.COLOUR)
    means = {name: summary(curves[name]) for name in names}
    low, floor = (
        {m: (float(x.distortion[r]), float(x.distortion_error[r])) for m, x in means.items()}
        for r in (0, -1)
    )
    perceived = {m: chapter.first("perception", m).values["rate 0"] for m in recipes.PERCEIVED}
    own = chapter.first("perception").values
    values = {
        "low": low,
        "floor": floor,
        "hundred": chapter.gaps["vae100"][-1].values,
        "widest": max((r.values for m in GAPS for r in chapter.gaps[m]), key=lambda v: v["gap"]),
        "gain": (float(gain.mean()), float(gain.std() / len(gain) ** 0.5)),
        "chains": [float(r.tensors["ess"][-1].mean()) for m in recipes.COLOUR for r in curves[m]],
        "colour": chapter.recipe.colour,
        "limits": summaries.limit_ratios(chapter).mean(1).tolist(),
        "flow": chapter.first("curve", "flow").values,
        "perceived": perceived | {x: own[x] for x in ("real images", "mean image")},
        "names": {m: label(m) for m in recipes.PERCEIVED},
        "components": float(chapter.first("references").tensors["pca10.distortion"][-1]),
        "accuracy": chapter.first("features").values["accuracy"],
    }
    return fill(Path(__file__).with_name("texts.yaml"), values)
