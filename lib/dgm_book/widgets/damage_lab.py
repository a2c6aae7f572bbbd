"""The damage lab: a prior that is mostly junk, a blurred decoder, and what each costs along the curve."""

from __future__ import annotations

from collections.abc import Mapping

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

MAX_ALPHA = 0.99
VERMILION = "#D55E00"
_TERMS = ("narrow_log_z", "narrow_distortion", "wide_log_z", "wide_distortion")


class DamageLab(anywidget.AnyWidget):
    """Two sliders that damage a decoder, beside the rate-distortion curve that shows it.

    The bad prior is the mixture (1 - alpha) N(0, I) + alpha N(0, 100 I). Its normaliser is the
    mixture of the two normalisers, image by image, so that the page needs both ends alone:

        Z' = (1 - alpha) Z_narrow + alpha Z_wide
        D' = ((1 - alpha) Z_narrow D_narrow + alpha Z_wide D_wide) / Z'
        R' = -log Z' - beta D'

    Z' >= (1 - alpha) Z_narrow, hence the curve rises by at most -log(1 - alpha) nats: the cap
    (Huang et al. 2020).

    ``alpha`` (0 ... 0.99) and ``blur`` (a position in ``blurs``) follow the reader, and may be set.

    Args:
        curves: ``beta`` (R,) ascending; ``blurs`` (B,), standard deviations in pixels, ascending from
            0; ``likelihood_beta``, the beta at which log Z is the log-likelihood but for a constant;
            and ``narrow_log_z``, ``narrow_distortion``, ``wide_log_z``, ``wide_distortion`` (B, R, N):
            log Z in nats and distortion in squared error an image under N(0, I) and N(0, 100 I).
        badge: Which profile, data and seeds the curves come from.
        images: How many images travel with the page, the first ones.
        title: What stands above the widget.
        alpha: Where the first slider starts.
        blur: Where the second starts, a position in ``blurs``.

    Raises:
        ValueError: For curves that lack something, do not fit together or hold values that are not
            finite; for a ``likelihood_beta`` outside of ``beta``; for alpha or blur out of range.
    """

    _esm = frame.module("damage_lab.js")
    _css = frame.style()

    beta = traitlets.List(read_only=True).tag(sync=True)
    blurs = traitlets.List(read_only=True).tag(sync=True)
    likelihood_index = traitlets.Int(read_only=True).tag(sync=True)
    narrow_log_z = traitlets.Bytes(read_only=True).tag(sync=True)
    narrow_distortion = traitlets.Bytes(read_only=True).tag(sync=True)
    wide_log_z = traitlets.Bytes(read_only=True).tag(sync=True)
    wide_distortion = traitlets.Bytes(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    alpha = traitlets.Float(0.0).tag(sync=True)
    blur = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        curves: Mapping,
        badge: str = "",
        images: int = 24,
        title: str = "What a bad prior and a blur cost",
        alpha: float = 0.9,
        blur: int = 0,
    ) -> None:
        beta, blurs, terms = _checked(curves)
        if images < 1:
            raise ValueError(f"images is {images}: give one or more")
        wanted = float(curves["likelihood_beta"])
        if not beta[0] <= wanted <= beta[-1]:
            raise ValueError(
                f"likelihood_beta {wanted} should lie in {beta[0]:.3g} ... {beta[-1]:.3g}"
            )
        self._blurs = len(blurs)
        super().__init__(title=title, badge=badge)
        self.set_trait("beta", beta.tolist())
        self.set_trait("blurs", blurs.tolist())
        self.set_trait("likelihood_index", int(np.abs(beta - wanted).argmin()))
        for name, values in terms.items():
            self.set_trait(name, values[..., :images].astype("<f4").tobytes())
        self.alpha, self.blur = alpha, blur

    @traitlets.validate("alpha")
    def _known_alpha(self, proposal) -> float:
        if not 0 <= proposal["value"] <= MAX_ALPHA:
            raise ValueError(f"alpha {proposal['value']} should lie in 0 ... {MAX_ALPHA}")
        return proposal["value"]

    @traitlets.validate("blur")
    def _known_blur(self, proposal) -> int:
        if not 0 <= proposal["value"] < self._blurs:
            raise ValueError(f"blur {proposal['value']} should lie in 0 ... {self._blurs - 1}")
        return proposal["value"]

    def curve(self, alpha: float, blur: int) -> dict[str, np.ndarray]:
        """Return the mean curve under the mixture prior.

        Args:
            alpha: The weight of the wide prior.
            blur: A position in ``blurs``.

        Returns:
            ``log_z`` and ``rate`` in nats and ``distortion`` (R,), means over the images, float64.
        """
        beta = np.asarray(self.beta)
        narrow_z, narrow_d, wide_z, wide_d = (
            np.frombuffer(getattr(self, name), "<f4")
            .astype(float)
            .reshape(self._blurs, len(beta), -1)[blur]
            for name in _TERMS
        )
        with np.errstate(divide="ignore"):
            junk = np.log(alpha) + wide_z
        log_z = np.logaddexp(np.log1p(-alpha) + narrow_z, junk)
        share = np.exp(junk - log_z)
        distortion = ((1 - share) * narrow_d + share * wide_d).mean(1)
        log_z = log_z.mean(1)
        return {"log_z": log_z, "distortion": distortion, "rate": -log_z - beta * distortion}

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(6.0, 3.2), layout="constrained")
        axis = figure.subplots()
        sound, base = self.curve(0, 0), self.curve(0, self.blur)
        damaged, cap = self.curve(self.alpha, self.blur), -np.log1p(-self.alpha)
        axis.semilogy(sound["distortion"], sound["rate"], "--", color=frame.GREY, label="sound")
        label = f"damaged, α = {self.alpha:.2f}, blur {self.blurs[self.blur]:g} pixels"
        axis.semilogy(damaged["distortion"], damaged["rate"], color=frame.BLUE, label=label)
        label = f"cap: {cap:.2f} nats above α = 0"
        axis.semilogy(base["distortion"], base["rate"] + cap, ":", color=VERMILION, label=label)
        axis.set(xlabel="distortion D, squared error", ylabel="rate R, nats", xlim=(0, None))
        axis.set_ylim(bottom=0.1)
        axis.legend(frameon=False, fontsize="small")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"DamageLab(betas={len(self.beta)}, blurs={list(self.blurs)})"


def _checked(curves: Mapping) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    missing = [key for key in ("beta", "blurs", "likelihood_beta", *_TERMS) if key not in curves]
    if missing:
        raise ValueError(f"curves lack {missing}")
    beta, blurs = (np.asarray(curves[key], float) for key in ("beta", "blurs"))
    if beta.ndim != 1 or len(beta) < 2 or (np.diff(beta) <= 0).any() or beta[0] < 0:
        raise ValueError("beta should be two or more ascending values, none negative")
    if blurs.ndim != 1 or len(blurs) == 0 or blurs[0] != 0 or (np.diff(blurs) <= 0).any():
        raise ValueError(f"blurs should ascend from 0, got {blurs}")
    terms = {key: np.asarray(curves[key], float) for key in _TERMS}
    shape = terms[_TERMS[0]].shape
    for key, values in terms.items():
        if values.ndim != 3 or values.shape[:2] != (len(blurs), len(beta)) or values.shape != shape:
            raise ValueError(
                f"{key} has shape {values.shape}, should be ({len(blurs)}, {len(beta)}, n_images), "
                "with as many images as the others"
            )
        if values.size == 0 or not np.isfinite(values).all():
            raise ValueError(f"{key} should hold finite values, of one image or more")
    return beta, blurs, terms
