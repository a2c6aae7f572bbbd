"""The rate-distortion explorer: beta, its point on the curve, and what the samples look like."""

from collections.abc import Mapping, Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from .checks import in_range, one_of
from .frame import BookWidget
from .packing import check_arrays, check_ascending
from .weights import PageWeights

MAX_IMAGES = 8  # as many as one frame of the page decodes with ease
_TERMS = ("rate", "distortion", "log_z")


class RateDistortionExplorer(BookWidget):
    """A slider over beta that moves a dot along a rate-distortion curve while samples morph.

    ``model`` (a name), ``beta_index`` (a whole number) and ``log_distortion`` (whether the axis of
    the distortion is logarithmic) follow the reader, and may be set.

    Args:
        weights: The page's decoders, shared with its other widgets.
        curves: One dict a model: ``model`` (a name), ``label``, ``beta`` (R,) ascending, ``rate``
            (R,) in nats, ``distortion`` (R,) in squared error, ``log_z`` (R,) in nats, and the
            standard errors ``rate_error``, ``distortion_error``, ``log_z_error`` (R,) where known.
            With ``codes`` (R, n_images, D) samples of the first 8 images are shown, and
            ``weights`` must hold the model; without, the curve alone. With ``family`` (a name) and
            ``latent_dim``, on all curves or on none, the reader chooses by these two.
        image_shape: Height and width of an image in pixels.
        references: Images (n_images, P) in [0, 1] shown beneath the samples; None shows each code
            at the largest beta instead, for data that a page may not hold.
        beta_index: Where the slider starts; None is the middle.
        log_distortion: Whether the axis of the distortion starts out logarithmic.

    Raises:
        ValueError: For a curve that lacks something, has the wrong shape or values that are not
            finite, or does not fit its decoder.
    """

    weights = traitlets.Instance(PageWeights).tag(sync=True, **widget_serialization)
    curves = traitlets.List(read_only=True).tag(sync=True)
    codes = traitlets.Bytes(read_only=True).tag(sync=True)
    references = traitlets.Bytes(read_only=True).tag(sync=True)
    image_shape = traitlets.List(read_only=True).tag(sync=True)
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
        described, codes = [_describe(curve) for curve in curves], b""
        for curve, description in zip(curves, described, strict=True):
            if "codes" in curve:
                packed = _check_codes(curve, weights, image_shape)
                place = {"start": len(codes) // 4, "images": packed.shape[1]}
                description["codes"] = place | {"latent": packed.shape[2]}
                codes += packed.astype("<f4").tobytes()
        _check_families(described)
        names = [curve["model"] for curve in described]
        if len(set(names)) < len(names):
            raise ValueError(f"two curves have the same model: {names}")
        images = np.zeros(0)
        if references is not None:
            most = max((c["codes"]["images"] for c in described if c["codes"]), default=0)
            first = {"references": np.asarray(references)[:most]}
            shapes = {"references": (most, np.prod(image_shape))}
            images = check_arrays("the explorer", first, shapes)["references"]
        middle = len(described[0]["beta"]) // 2
        super().__init__(
            {
                "curves": described,
                "codes": codes,
                "references": images.astype("<f4").tobytes(),
                "image_shape": [int(side) for side in image_shape],
            },
            weights=weights,
            title=title,
            badge=badge,
            model=names[0],
            beta_index=middle if beta_index is None else beta_index,
            log_distortion=log_distortion,
        )

    @property
    def _betas(self) -> dict[str, list[float]]:
        return {curve["model"]: curve["beta"] for curve in self.curves}

    @property
    def beta(self) -> float:
        """The recorded beta at which the slider stands."""
        return self._betas[self.model][self.beta_index]

    _valid_model = one_of("model", lambda self: self._betas)
    _valid_beta_index = in_range("beta_index", 0, lambda self: len(self._betas[self.model]) - 1)

    @traitlets.observe("model")
    def _stay_inside(self, change) -> None:
        self.beta_index = min(self.beta_index, len(self._betas[self.model]) - 1)


def _describe(curve: Mapping) -> dict:
    """Return what the page reads of a curve, checked; its codes come later."""
    if missing := [key for key in ("model", "label", "beta", *_TERMS) if key not in curve]:
        raise ValueError(f"a curve lacks {missing}")
    name, latent = curve["model"], curve.get("latent_dim")
    errors = [f"{key}_error" for key in _TERMS if f"{key}_error" in curve]
    beta = check_ascending(f"beta of {name!r}", curve["beta"])
    shapes = dict.fromkeys(("beta", *_TERMS, *errors), (len(beta),))
    columns = check_arrays(f"curve {name!r}", curve, shapes, dtype=float)
    if columns["distortion"].min() <= 0:
        raise ValueError(f"distortion of {name!r} should be above zero everywhere")
    return {
        "model": name,
        "label": curve["label"],
        "family": str(curve.get("family") or ""),
        "latent_dim": 0 if latent is None else int(latent),
        **{key: [float(f"{v:.7g}") for v in values] for key, values in columns.items()},
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


def _check_codes(curve: Mapping, weights: PageWeights, image_shape: tuple) -> np.ndarray:
    """Return the codes (R, n_images, D) of the first images, float32."""
    name, latent = curve["model"], weights.input_size(curve["model"])
    sizes = {"R": len(curve["beta"]), "D": latent}
    codes = check_arrays(f"curve {name!r}", curve, {"codes": "R N D"}, sizes)["codes"]
    if curve.get("latent_dim", latent) != latent:
        raise ValueError(
            f"latent_dim of {name!r} is {curve['latent_dim']}, its decoder reads {latent}"
        )
    weights.check_images(name, image_shape)
    return codes[:, :MAX_IMAGES]
