"""A page that reports a curve: one HTML file, which asks no other host or file for anything."""

import base64
import io
import math
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

import torch
from torch import Tensor

from dgm.sampling import decoder_checks, decoder_target
from dgm.sampling.curves import RateDistortionCurve

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 360, 240, 44, 16, 10, 36  # of a chart, in its own units
INNER = HEIGHT - TOP - BOTTOM
N_PRICES, N_PICTURES = 5, 8
References = Mapping[str, tuple[Tensor, Tensor]]
# What a report points out: fewer chains than this, less acceptance, so many nats apart.
FEWEST_CHAINS, ACCEPTANCE, APART = 2.0, 0.4, 1.0


def report_page(
    curve: RateDistortionCurve,
    decoder: Callable[[Tensor], Any],
    x: Tensor,
    *,
    title: str = "decoder",
    references: References = {},  # noqa: B006 (never changed)
) -> str:
    """The page of a curve of images x (N, ...): rate, health of the chains, pictures, numbers.

    references are further lines by name, distortions and rates (K,) each. Needs jinja2 and pillow.
    ValueError for a curve without codes.
    """
    import jinja2

    if curve.codes is None:
        raise ValueError("the report shows codes: give a curve of rate_distortion_curve")
    mean = curve.mean()
    options = {"autoescape": True, "undefined": jinja2.StrictUndefined, "trim_blocks": True}
    source = resources.files("dgm.evaluate").joinpath("report.html").read_text("utf-8")
    template = jinja2.Environment(**options, lstrip_blocks=True).from_string(source)
    return template.render(
        title=title,
        n_images=curve.rate.shape[1],
        shape=" x ".join(map(str, x.shape[1:])),
        latent_dim=curve.codes.shape[2],
        charts=_charts(curve, references),
        notes=_notes(curve),
        rows=_rows(curve),
        pictures=_pictures(curve, decoder, x),
        ends=[
            *(_rounded(float(mean.rate[r]), 1) for r in (0, -1)),
            *(f"{float(mean.distortion[r]):.3g}" for r in (0, -1)),
        ],
        has_references=bool(references),
    )


def _rows(curve: RateDistortionCurve) -> list[list[str]]:
    mean, (chains, accepted) = curve.mean(), (v.mean(1) for v in (curve.ess, curve.acceptance))
    rows = []
    for r, beta in enumerate(mean.beta.tolist()):
        rate, error = float(mean.rate[r]), float(mean.rate_error[r])
        numbers = f"{_rounded(rate, 2)} ± {error:.2f}", _rounded(rate / math.log(2), 1)
        distortion = f"{float(mean.distortion[r]):.4g} ± {float(mean.distortion_error[r]):.2g}"
        health = f"{float(chains[r]):.1f}", f"{float(accepted[r]):.2f}"
        rows.append([f"{beta:.4g}", *numbers, distortion, *health])
        if curve.perception is not None:
            kernel, error, frechet = (float(v[r]) for v in curve.perception)
            decimals = 3 if not error > 0 else max(0, 1 - math.floor(math.log10(error)))
            rows[-1] += [f"{kernel:.{decimals}f} ± {error:.{decimals}f}", f"{frechet:.4g}"]
    return rows


def _rounded(value: float, decimals: int) -> str:
    """Without the sign of a number that rounds to zero."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _notes(curve: RateDistortionCurve) -> list[str]:
    """What of the run gives reason for doubt, in sentences."""
    notes, beta = [], curve.beta.tolist()
    chains, accepted = curve.ess.mean(1), curve.acceptance.mean(1)
    if bool((low := chains < FEWEST_CHAINS).any()):
        where = beta[int(low.long().argmax())]
        advice = "raise --temperatures, then --chains"
        notes.append(f"From the price {where:.3g} on fewer than two chains carry weight: {advice}.")
    if float(accepted.min()) < ACCEPTANCE:
        least = f"{float(accepted.min()):.2f} at the price {beta[int(accepted.argmin())]:.3g}"
        notes.append(f"Acceptance falls to {least}: the step sizes are too large there.")
    apart = (curve.legendre().rate - curve.rate.mean(1)).abs()
    if float(apart.max()) > APART:
        words = f"The estimate from log Z alone is up to {float(apart.max()):.1f} nats off the line"
        notes.append(f"{words}: run longer before you trust either.")
    return notes


def _charts(curve: RateDistortionCurve, references: References) -> dict[str, dict]:
    mean, legendre = curve.mean(), curve.legendre()
    band = 2 * mean.rate_error.nan_to_num()
    lines = [("this decoder", mean.distortion, mean.rate), ("from log Z alone", *legendre)]
    lines += [(name, *map(torch.as_tensor, line)) for name, line in references.items()]
    edges = torch.stack([mean.rate - band, mean.rate + band])
    axes = "distortion D", "rate R (nats per image)"
    charts = {"curve": _chart(lines, axes, band=(mean.distortion, *edges), n_own=2)}
    beta, price = curve.beta, "price (nats per unit of distortion)"
    for key, values, words, top in (
        ("chains", curve.ess, "effective chains per image", None),
        ("acceptance", curve.acceptance, "acceptance", 1.0),
    ):
        charts[key] = _chart([(words, beta, values.mean(1))], (price, words), ylim=(0.0, top))
    if (seen_by := curve.perception) is not None:
        edges = [seen_by.kernel + sign * 2 * seen_by.kernel_error for sign in (-1, 1)]
        lines = [("kernel distance", beta, seen_by.kernel)]
        axes = price, "kernel distance to real images"
        charts["perception"] = _chart(lines, axes, band=(beta, *edges))
    return charts


def _chart(
    lines: list[tuple[str, Tensor, Tensor]],
    axes: tuple[str, str],
    band: tuple[Tensor, ...] = (),
    ylim: tuple[float | None, float | None] = (None, None),
    n_own: int = 1,
) -> dict[str, Any]:
    """Points in a chart's own units, and its ticks; x is logarithmic, lines of others are cut."""
    x = torch.cat([line[1] for line in lines[:n_own]]).clamp(min=1e-300)
    y = torch.cat([*(line[2] for line in lines[:n_own]), *band[1:]])
    low, high = (float(end) for end in (y.min(), y.max()))
    low, high = (
        old if new is None else new for old, new in zip((min(low, 0.0), high), ylim, strict=True)
    )
    high = high if high > low else low + 1
    left, right = math.log10(float(x.min())), math.log10(float(x.max()))
    right = right if right - left > 1e-9 else left + 1

    def place(x: Tensor, y: Tensor) -> str:
        across = (x.clamp(min=1e-300).log10() - left) / (right - left)
        up = (y - low) / (high - low)
        points = LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * INNER
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(*points, strict=True))

    edge, floor = torch.tensor([10.0**left]), torch.tensor([low])
    box = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "top": TOP, "bottom": HEIGHT - BOTTOM}
    return box | {
        "right": WIDTH - RIGHT,
        "lines": [{"name": name, "points": place(x, y)} for name, x, y in lines],
        "band": place(*_around(*band)) if band else "",
        "axes": axes,
        "xticks": [
            (words, place(torch.tensor([10.0**power]), floor).split(",")[0])
            for power, words in _log_ticks(left, right)
        ],
        "yticks": [
            (f"{level:g}", place(edge, torch.tensor([level])).split(",")[1])
            for level in _linear_ticks(low, high)
        ],
    }


def _around(x: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([x, x.flip(0)]), torch.cat([low, high.flip(0)])


def _log_ticks(left: float, right: float) -> list[tuple[float, str]]:
    """Exponents of ten and words; 1, 2, 5 of each if few; equally spaced in a part of one."""
    decades = right - left
    if decades < 0.5:
        return [(math.log10(v), f"{v:g}") for v in _linear_ticks(10.0**left, 10.0**right)]
    factors = (1, 2, 5) if decades < 2.5 else (1,)
    step = max(1, math.ceil(decades / 6))
    powers = range(math.floor(left), math.ceil(right) + 1, step)
    ticks = [(p + math.log10(f), f"{f * 10.0**p:g}") for p in powers for f in factors]
    return [(p, words) for p, words in ticks if left - 1e-9 <= p <= right + 1e-9]


def _linear_ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 4
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(f * base for f in (1, 2, 5, 10) if f * base >= raw * (1 - 1e-9))
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _pictures(
    curve: RateDistortionCurve, decoder: Callable[[Tensor], Any], x: Tensor
) -> list[dict[str, Any]]:
    """The targets, then what the decoder draws of a code at each of five prices."""
    shown, places = x[:N_PICTURES], torch.linspace(0, len(curve.beta) - 1, N_PRICES).round().long()
    shape = _picture_shape(tuple(x.shape[1:]))
    if shape is None or curve.codes is None:
        return []
    low, high = float(x.min()), float(x.max())

    def row(words: str, images: Tensor) -> dict[str, Any]:
        levels = (images.detach().cpu().float() - low) / max(high - low, 1e-12) * 255
        levels = levels.round().clamp(0, 255).byte().reshape(-1, *shape)
        return {"words": words, "images": [_png(image) for image in levels]}

    rows = [row("target", shown)]
    with decoder_target.prepared(decoder) as (network, like):
        for r in dict.fromkeys(places.tolist()):
            images = decoder_checks.decode(network, curve.codes[r, :N_PICTURES].to(**like))
            rate, error = (float(v[r].mean()) for v in (curve.rate, curve.distortion))
            price = f"price {float(curve.beta[r]):.4g}"
            rows.append(row(f"{price}: R = {_rounded(rate, 1)} nats, D = {error:.3g}", images))
    return rows


def _picture_shape(shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Rows and columns, with colours before or behind; a flat image is a square, or none."""
    sizes = tuple(n for n in shape if n != 1) or shape
    if len(sizes) == 1 and math.isqrt(sizes[0]) ** 2 == sizes[0]:
        return math.isqrt(sizes[0]), math.isqrt(sizes[0])
    colour = len(sizes) == 3 and 3 in (sizes[0], sizes[2])
    return sizes if len(sizes) == 2 or colour else None


def _png(image: Tensor) -> str:
    """Grey levels (H, W), or three colours before or behind, as the text of a PNG."""
    from PIL import Image

    if image.ndim == 3 and image.shape[0] == 3:
        image = image.permute(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(image.contiguous().numpy()).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()
