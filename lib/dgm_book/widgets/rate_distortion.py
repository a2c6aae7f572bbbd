"""Widgets of rate and distortion: the explorer, the plane of codes, the damage lab and the pad."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
import traitlets

from . import checks
from .frame import FOLDER, BookWidget
from .packing import digits, evenly, shared
from .settings import choice, items, number, sent, setting, switch, text, whole, within
from .weights import PageWeights

MAX_IMAGES = 8  # as many as one frame of the page decodes with ease
MAX_REFERENCE = 40  # points of a reference line
TERMS = ("rate", "distortion", "log_z")


class RateDistortionExplorer(BookWidget):
    """A slider over beta that moves a dot along a rate-distortion curve while samples morph.

    A curve has ``model``, ``label``, ``beta`` (R,) ascending, `TERMS` (R,) in nats and squared
    error, and perhaps their errors, ``codes`` (R, n_images, D) of a model that `weights` has, and
    ``family`` with ``latent_dim``, on all curves or on none. Curves without codes are drawn and
    cannot be chosen. `references` and `marks` are names with distortions and rates, for lines and
    for lines with points; `targets` (n_images, H, W), from 0 to 1, the images that were coded.
    Without targets the best decoder's images at its largest beta stand in their place.
    """

    _bundle, _link = "rate_distortion_explorer", "explorer"
    title = text("Rate and distortion of a decoder")
    weights = shared(PageWeights)
    curves = sent()
    codes = sent(traitlets.Bytes)
    reference_lines = sent()
    targets = sent(traitlets.Bytes)  # empty where the page may hold no image of the data
    image_shape = sent()
    model = choice(lambda self: [curve["model"] for curve in self.curves if curve["codes"]])
    beta_index = whole(0, 0, lambda self: self._last)
    log_distortion = switch()
    log_rate = switch()
    show_references = switch(True)

    def __init__(
        self,
        weights: PageWeights,
        curves: Sequence[Mapping],
        image_shape: tuple,
        *,
        references: Mapping | None = None,
        marks: Mapping | None = None,
        targets=None,
        **chosen,
    ) -> None:
        packed = bytearray()
        described = [_describe(packed, curve, weights, image_shape) for curve in curves]
        checks.distinct("models of the curves", [curve["model"] for curve in described])
        pictured = {curve["model"]: curve for curve in described if curve["codes"]}
        if not pictured:
            raise ValueError("at least one of the curves needs codes")
        pairs = [(curve["family"], curve["latent_dim"]) for curve in described]
        if any(family for family, _ in pairs):
            if not all(family and latent > 0 for family, latent in pairs):
                need = "all curves need a family and a latent_dim above zero, or none has a family"
                raise ValueError(f"{need}: {pairs}")
            checks.distinct("family and latent_dim of the curves", pairs)
        fixed = {
            "curves": described,
            "codes": bytes(packed),
            "reference_lines": [
                _reference(name, line, marked)
                for marked, lines in enumerate((references or {}, marks or {}))
                for name, line in lines.items()
            ],
            "targets": _targets(targets, pictured, image_shape),
            "image_shape": [int(side) for side in image_shape],
        }
        model = checks.choice("model", chosen.get("model", next(iter(pictured))), pictured)
        # Where half of the way from samples to reconstructions is done, pictures change the most.
        distortion = np.array(pictured[model]["distortion"])
        halfway = int(np.abs(distortion - (distortion[0] + distortion[-1]) / 2).argmin())
        super().__init__(fixed, weights=weights, **{"model": model, "beta_index": halfway} | chosen)

    @property
    def _last(self) -> float:
        return next((len(c["beta"]) - 1 for c in self.curves if c["model"] == self.model), np.inf)

    @traitlets.observe("model")
    def _stay_inside(self, change) -> None:
        self.beta_index = int(min(self.beta_index, self._last))


def _reference(name: str, line: Sequence, marked: int) -> dict:
    """Return what the page draws of a reference, in ascending rate, thinned and checked."""
    shapes = {"distortion": "R", "rate": "R"}
    columns = checks.arrays(name, dict(zip(shapes, line, strict=True)), shapes, dtype=float)
    for term, values in columns.items():
        checks.positive(f"the least {term} of {name!r}", values.min())
    order = np.argsort(columns["rate"])[evenly(len(columns["rate"]), MAX_REFERENCE)]
    points = {term: digits(values[order], 4) for term, values in columns.items()}
    return {"label": name, "marked": bool(marked), **points}


def _targets(targets, pictured: Mapping, image_shape: Sequence[int]) -> bytes:
    """Return the coded images as bytes, as many as each curve has; none for None."""
    if targets is None:
        return b""
    images = checks.array("targets", targets, ("N", *image_shape))[:MAX_IMAGES]
    checks.span("the least of targets", images.min(), 0, 1)
    checks.span("the largest of targets", images.max(), 0, 1)
    for curve in pictured.values():
        checks.span("the number of targets", len(images), *[curve["codes"]["images"]] * 2)
    return np.rint(255 * images).astype(np.uint8).tobytes()


def _describe(
    packed: bytearray, curve: Mapping, weights: PageWeights, image_shape: Sequence[int]
) -> dict:
    """Return what the page reads of a curve, checked; codes of the first images are appended."""
    name, latent, codes = curve.get("model", ""), int(curve.get("latent_dim") or 0), None
    owner = f"curve {name!r}"
    checks.keys(owner, curve, ("model", "label", "beta", *TERMS))
    errors = [f"{key}_error" for key in TERMS if f"{key}_error" in curve]
    beta = checks.ascending(f"beta of {name!r}", curve["beta"])
    shapes = dict.fromkeys(("beta", *TERMS, *errors), (len(beta),))
    columns = checks.arrays(owner, curve, shapes, dtype=float)
    checks.positive(f"the least distortion of {name!r}", columns["distortion"].min())
    if "codes" in curve:
        own, _ = weights.check_images(name, image_shape)
        if latent not in (0, own):
            raise ValueError(f"latent_dim of {name!r} is {latent}, its decoder reads {own}")
        given = checks.arrays(owner, curve, {"codes": "R N D"}, {"R": len(beta), "D": own})["codes"]
        shown = given[:, :MAX_IMAGES]
        codes = {"start": len(packed) // 4, "images": shown.shape[1], "latent": own}
        # Half precision is enough for a picture, and its zeros compress.
        packed += shown.astype("<f2").astype("<f4").tobytes()
    return {
        "model": name,
        "label": curve["label"],
        "family": str(curve.get("family") or ""),
        "latent_dim": latent,
        **{key: digits(values, 7) for key, values in columns.items()},
        "codes": codes,
    }


MAX_POINTS = 2000
MAX_CLASSES = 10  # as many as can be told apart by colour


class LatentSpace(BookWidget):
    """A pad over the plane of codes; the decoder answers where the reader points.

    `means` (N, 2) of posteriors, with whole `labels` (N,) of at most ten classes.
    """

    _bundle, _link = "latent_space", "codes"
    title = text("A plane of codes")
    weights = shared(PageWeights)
    model = sent(traitlets.Unicode)
    means = sent(traitlets.Bytes)
    labels = sent(traitlets.Bytes)
    classes = sent()
    image_shape = sent()
    z = setting(
        traitlets.List(default_value=[0.0, 0.0]),
        lambda widget, name, value: checks.array(name, value, "2").tolist(),
        items(within("number", -10, 10), 2, 2),
    )

    def __init__(
        self, weights: PageWeights, model: str, means, labels, image_shape: tuple, **chosen
    ) -> None:
        dimensions, shape = weights.check_images(model, image_shape)
        checks.span(f"latent dimensions of {model!r}", dimensions, 2, 2)
        means, labels = checks.array("means", means, "N 2", np.float32), np.asarray(labels)
        if labels.shape != means.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"labels should be {len(means)} whole numbers, one per mean")
        values, number = np.unique(labels, return_inverse=True)
        checks.span("the number of classes", len(values), 1, MAX_CLASSES)
        shown = evenly(len(means), MAX_POINTS)
        fixed = {
            "model": model,
            "means": means[shown].astype("<f4").tobytes(),
            "labels": number[shown].astype(np.uint8).tobytes(),
            "classes": [str(value) for value in values],
            "image_shape": shape,
        }
        super().__init__(fixed, weights=weights, **chosen)


DAMAGED = ("narrow_log_z", "narrow_distortion", "wide_log_z", "wide_distortion")


class DamageLab(BookWidget):
    """Two sliders that damage a decoder, beside the rate-distortion curve that shows it.

    The bad prior is (1 - alpha) N(0, I) + alpha N(0, 100 I); image by image, from both ends,

        Z' = (1 - alpha) Z_narrow + alpha Z_wide
        D' = ((1 - alpha) Z_narrow D_narrow + alpha Z_wide D_wide) / Z',   R' = -log Z' - beta D'

    so that the curve rises by at most -log(1 - alpha) nats (Huang et al. 2020). `curves` has
    ``beta`` (R,), ``blurs`` (B,) in pixels, ``likelihood_beta``, and `DAMAGED` (B, R, N).
    """

    _bundle, _link = "damage_lab", "damage"
    title = text("What a bad prior and a blur cost")
    beta = sent()
    blurs = sent()
    likelihood_index = sent(traitlets.Int)
    narrow_log_z = sent(traitlets.Bytes)
    narrow_distortion = sent(traitlets.Bytes)
    wide_log_z = sent(traitlets.Bytes)
    wide_distortion = sent(traitlets.Bytes)
    alpha = number(0.9, 0, 0.99)
    # The page's name; DOMWidget.blur, which takes the focus away, is not for this widget.
    blur = whole(0, 0, lambda self: len(self.blurs) - 1)

    def __init__(self, curves: Mapping, badge: str = "", **chosen) -> None:
        checks.keys("curves", curves, ("beta", "blurs", "likelihood_beta"))
        beta = checks.ascending("beta", curves["beta"])
        blurs = checks.ascending("blurs", curves["blurs"], least=1)
        checks.span("the first of blurs", blurs[0], 0, 0)
        sizes = {"B": len(blurs), "R": len(beta)}
        terms = checks.arrays("curves", curves, dict.fromkeys(DAMAGED, "B R N"), sizes)
        likelihood = float(curves["likelihood_beta"])
        checks.span("likelihood_beta", likelihood, beta[0], beta[-1])
        fixed = {key: term[..., :24].astype("<f4").tobytes() for key, term in terms.items()}
        nearest = int(np.abs(beta - likelihood).argmin())
        fixed |= {"beta": beta.tolist(), "blurs": blurs.tolist(), "likelihood_index": nearest}
        super().__init__(fixed, badge=badge, **chosen)


MAX_NUMBERS = 8000  # coordinates of a drawing
STEPS = (30, 75, 150, 300)  # of the annealing
BETAS = np.geomspace(0.01, 100, 25)


def _strokes(name: str, strokes) -> list[list[float]]:
    rounded = [[round(float(value), 3) for value in stroke] for stroke in strokes]
    for stroke in rounded:
        if len(stroke) < 2 or len(stroke) % 2 or not all(0 <= value <= 1 for value in stroke):
            raise ValueError(
                f"a stroke of {name!r} should be x0, y0, x1, y1, ... from 0 to 1, got {stroke[:6]}"
            )
    checks.span(f"coordinates of {name!r}", sum(map(len, rounded)), 0, MAX_NUMBERS)
    return rounded


class DrawADigit(BookWidget):
    """A pad on which the reader draws; the page computes the rate-distortion curve of the drawing.

    The drawing is scaled and centred as MNIST's images are; chains of HMC anneal from the prior in
    a worker of the page, with step sizes tuned in a pilot and frozen, and log Z is a lower bound.
    Last comes an image that the model itself makes, with an upper bound. ``curve`` is empty until a
    run is over; `temperatures` are the annealing steps to choose from, the last of them first;
    ``pixels`` (H, W) are the page's image of the drawing, 0 to 255, empty before there is one.
    """

    _bundle, _link = "draw_a_digit", "draw"
    title = text("Draw a digit")
    weights = shared(PageWeights)
    model = sent(traitlets.Unicode)
    image_shape = sent()
    presets = sent(traitlets.Dict)
    betas = sent()
    choices = sent()
    chains = traitlets.Int(16, read_only=True).tag(sync=True)
    leapfrogs = traitlets.Int(5, read_only=True).tag(sync=True)
    drawing = setting(
        traitlets.List(),
        lambda widget, *given: _strokes(*given),
        items(items(within("number", 0, 1), 2, MAX_NUMBERS, multiple=2), 0, MAX_NUMBERS // 2),
    )
    # A kernel is sent a view of a buffer.
    pixels = traitlets.Bytes().tag(sync=True, from_json=lambda value, _: bytes(value))
    seed = whole(0, 0, 9999)
    temperatures = choice(lambda self: self.choices)
    curve = setting(traitlets.Dict())

    def __init__(
        self, weights: PageWeights, model: str, image_shape: tuple, temperatures=STEPS, **chosen
    ) -> None:
        _, shape = weights.check_images(model, image_shape)
        presets = {name: _strokes(name, strokes) for name, strokes in hand_drawn().items()}
        choices = [int(count) for count in temperatures]
        checks.span("the least of temperatures", min(choices, default=0), 1, np.inf)
        fixed = {"model": model, "image_shape": shape, "presets": presets, "choices": choices}
        fixed["betas"] = digits(BETAS, 7)
        start = {"drawing": presets["0"], "temperatures": choices[-1]}
        super().__init__(fixed, weights=weights, **start | chosen)


def hand_drawn() -> dict[str, list[list[float]]]:
    """Strokes of ten digits, and of a star, which is none."""
    return json.loads((FOLDER / "drawings.json").read_text("utf-8"))
