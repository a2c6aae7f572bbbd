"""The rate-distortion explorer: beta, its point on the curve, and what the samples look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib.figure import Figure

from . import frame
from .weights import PageWeights

MAX_IMAGES = 8  # as many as one frame of the page decodes with ease
_NEEDED = ("beta", "rate", "distortion", "log_z")
_ERRORS = ("rate_error", "distortion_error", "log_z_error")


class RateDistortionExplorer(anywidget.AnyWidget):
    """A slider over beta that moves a dot along a rate-distortion curve while samples morph.

    ``model`` (a name), ``beta_index`` (a whole number) and ``log_distortion`` (whether the axis of
    the distortion is logarithmic) follow the reader, and may be set.

    Args:
        weights: The page's decoders, shared with its other widgets.
        curves: One dict a model: ``model`` (a name), ``label``, ``beta`` (R,) ascending, ``rate``
            (R,) in nats, ``distortion`` (R,) in squared error, ``log_z`` (R,) in nats, and the
            standard errors ``rate_error``, ``distortion_error``, ``log_z_error`` (R,) where known.
            With ``codes`` (R, n_images, D) samples are shown, of the first 8 images, and ``weights``
            must hold the model; without, the curve alone. With ``family`` (a name) and
            ``latent_dim``, on all curves or on none, the reader chooses by these two.
        image_shape: Height and width of an image in pixels.
        badge: Which profile, data and seeds the curves come from.
        references: Images (n_images, P) in [0, 1] shown beneath the samples; None shows each code
            at the largest beta instead, for data that a page may not hold.
        title: What stands above the widget.
        beta_index: Where the slider starts; None is the middle.
        log_distortion: Whether the axis of the distortion starts out logarithmic.

    Raises:
        ValueError: For a curve that lacks something, has the wrong shape or values that are not
            finite, or does not fit its decoder.
    """

    _esm = frame.module("rate_distortion_explorer.js")
    _css = frame.style()

    weights = traitlets.Instance(PageWeights).tag(sync=True, **widget_serialization)
    curves = traitlets.List(read_only=True).tag(sync=True)
    codes = traitlets.Bytes(read_only=True).tag(sync=True)
    references = traitlets.Bytes(read_only=True).tag(sync=True)
    image_shape = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    model = traitlets.Unicode().tag(sync=True)
    beta_index = traitlets.Int().tag(sync=True)
    log_distortion = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        weights: PageWeights,
        curves: Sequence[Mapping],
        image_shape: tuple[int, int],
        badge: str = "",
        references=None,
        title: str = "Rate and distortion of a decoder",
        beta_index: int | None = None,
        log_distortion: bool = False,
    ) -> None:
        if not curves:
            raise ValueError("curves is empty: give at least one model's curve")
        packed, described, start = [], [], 0
        for curve in curves:
            described.append(_described(curve))
            if "codes" not in curve:
                continue
            codes = _checked_codes(curve, weights, image_shape)[:, :MAX_IMAGES]
            place = {"start": start, "images": codes.shape[1], "latent": codes.shape[2]}
            described[-1]["codes"] = place
            packed.append(codes.astype("<f4").tobytes())
            start += codes.size
        _check_families(described)
        names = [curve["model"] for curve in described]
        if len(set(names)) < len(names):
            raise ValueError(f"two curves have the same model: {names}")
        shown = max((c["codes"]["images"] for c in described if c["codes"]), default=0)
        pictures = _checked_references(references, shown, image_shape)
        self._names = {curve["model"]: curve["beta"] for curve in described}
        middle = len(described[0]["beta"]) // 2
        super().__init__(
            weights=weights,
            title=title,
            badge=badge,
            model=names[0],
            log_distortion=log_distortion,
        )
        self.set_trait("curves", described)
        self.set_trait("codes", b"".join(packed))
        self.set_trait("references", pictures)
        self.set_trait("image_shape", [int(side) for side in image_shape])
        self.beta_index = middle if beta_index is None else beta_index

    @property
    def beta(self) -> float:
        """The recorded beta at which the slider stands."""
        return self._names[self.model][self.beta_index]

    @traitlets.validate("model")
    def _known_model(self, proposal) -> str:
        if proposal["value"] not in self._names:
            raise ValueError(f"no model {proposal['value']!r}: there are {list(self._names)}")
        return proposal["value"]

    @traitlets.validate("beta_index")
    def _known_beta(self, proposal) -> int:
        last = len(self._names[self.model]) - 1
        if not 0 <= proposal["value"] <= last:
            raise ValueError(f"beta_index {proposal['value']} should lie in 0 ... {last}")
        return proposal["value"]

    @traitlets.observe("model")
    def _stay_inside(self, change) -> None:
        self.beta_index = min(self.beta_index, len(self._names[self.model]) - 1)

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(7.2, 3.1), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        lines = ("-", "--", ":", "-.") * len(self.curves)
        for curve, line in zip(self.curves, lines, strict=False):
            ours = curve["model"] == self.model
            colour = frame.BLUE if ours else frame.GREY
            places = curve["distortion"], curve["rate"]
            left.plot(*places, line, color=colour, label=curve["label"], zorder=2 + ours)
            if ours:
                point = [values[self.beta_index] for values in places]
                left.plot(*point, "o", color=frame.BLUE, markersize=8)
                shown = curve
        left.set(xlabel="distortion D, squared error", ylabel="rate R, nats")
        left.set_ylim(bottom=0)
        if self.log_distortion:
            left.set_xscale("log")
        else:
            left.set_xlim(left=0)
        left.legend(frameon=False, fontsize="small" if len(self.curves) < 5 else 6)
        if shown["codes"]:
            right.imshow(_tiled(self._decoded(shown)), cmap="gray_r", vmin=0, vmax=1)
            right.set_title(f"samples at β = {self.beta:.3g}", fontsize="medium")
        right.axis("off")
        return figure

    def _decoded(self, curve: dict) -> np.ndarray:
        shape = len(curve["beta"]), curve["codes"]["images"], curve["codes"]["latent"]
        start = curve["codes"]["start"]
        codes = np.frombuffer(self.codes, "<f4")[start : start + np.prod(shape)].reshape(shape)
        images = self.weights.decode(curve["model"], codes[self.beta_index])
        return images.reshape(-1, *self.image_shape)

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        betas = {name: len(beta) for name, beta in self._names.items()}
        return f"RateDistortionExplorer(betas={betas}, image_shape={tuple(self.image_shape)})"


def _described(curve: Mapping) -> dict:
    missing = [key for key in ("model", "label", *_NEEDED) if key not in curve]
    if missing:
        raise ValueError(f"a curve lacks {missing}")
    name = curve["model"]
    beta = np.asarray(curve["beta"], float)
    if beta.ndim != 1 or len(beta) < 2 or (np.diff(beta) <= 0).any() or beta[0] < 0:
        raise ValueError(f"beta of {name!r} should be two or more ascending values, none negative")
    columns = {}
    for key in (*_NEEDED, *_ERRORS):
        if key not in curve:
            continue
        values = np.asarray(curve[key], float)
        if values.shape != beta.shape or not np.isfinite(values).all():
            raise ValueError(
                f"{key} of {name!r} should be {len(beta)} finite values, one a beta, "
                f"got shape {values.shape}"
            )
        columns[key] = [float(f"{value:.7g}") for value in values]
    if min(columns["distortion"]) <= 0:
        raise ValueError(f"distortion of {name!r} should be above zero everywhere")
    latent = curve.get("latent_dim")
    return {
        "model": name,
        "label": curve["label"],
        "family": str(curve.get("family") or ""),
        "latent_dim": 0 if latent is None else int(latent),
        **columns,
        "codes": None,
    }


def _check_families(curves: list[dict]) -> None:
    pairs = [(curve["family"], curve["latent_dim"]) for curve in curves]
    if not any(family for family, _ in pairs):
        return
    if not all(family and latent > 0 for family, latent in pairs):
        raise ValueError(
            f"all curves need a family and a latent_dim above zero, or none has a family: {pairs}"
        )
    if len(set(pairs)) < len(pairs):
        raise ValueError(f"two curves have the same family and latent_dim: {pairs}")


def _checked_codes(curve: Mapping, weights: PageWeights, image_shape: tuple) -> np.ndarray:
    name, count = curve["model"], len(curve["beta"])
    codes, latent = np.asarray(curve["codes"], np.float32), weights.input_size(name)
    if codes.ndim != 3 or codes.shape[::2] != (count, latent) or codes.shape[1] == 0:
        raise ValueError(
            f"codes of {name!r} have shape {codes.shape}, should be ({count}, n_images, {latent})"
        )
    if not np.isfinite(codes).all():
        raise ValueError(f"codes of {name!r} hold values that are not finite")
    if curve.get("latent_dim", latent) != latent:
        raise ValueError(
            f"latent_dim of {name!r} is {curve['latent_dim']}, its decoder reads {latent}"
        )
    if weights.output_size(name) != np.prod(image_shape):
        raise ValueError(
            f"{name!r} decodes to {weights.output_size(name)} pixels, "
            f"image_shape {tuple(image_shape)} has {np.prod(image_shape)}"
        )
    return codes


def _checked_references(references, shown: int, image_shape: tuple) -> bytes:
    if references is None:
        return b""
    images = np.asarray(references, np.float32)[:shown]
    if images.shape != (shown, np.prod(image_shape)) or not np.isfinite(images).all():
        raise ValueError(
            f"references have shape {images.shape}, should be ({shown}, {np.prod(image_shape)}), "
            "and finite"
        )
    return images.astype("<f4").tobytes()


def _tiled(images: np.ndarray, columns: int = 4) -> np.ndarray:
    """Put images (N, H, W) side by side with a margin, as one picture."""
    count = -(-len(images) // columns)
    padded = np.zeros((count * columns, *(side + 2 for side in images.shape[1:])))
    padded[: len(images), 1:-1, 1:-1] = images
    grid = padded.reshape(count, columns, *padded.shape[1:]).swapaxes(1, 2)
    return grid.reshape(count * padded.shape[1], columns * padded.shape[2])
