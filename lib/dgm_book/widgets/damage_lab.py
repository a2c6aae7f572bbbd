"""The damage lab: what a prior that is mostly junk and a blurred decoder cost along the curve."""

from collections.abc import Mapping

import numpy as np
import traitlets

from .checks import in_range
from .frame import BookWidget
from .packing import check_arrays, check_ascending

MAX_ALPHA = 0.99
_TERMS = ("narrow_log_z", "narrow_distortion", "wide_log_z", "wide_distortion")


class DamageLab(BookWidget):
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
        curves: ``beta`` (R,) ascending; ``blurs`` (B,), standard deviations in pixels, from 0 on;
            ``likelihood_beta``, the beta at which log Z is the log-likelihood but for a constant;
            and ``narrow_log_z``, ``narrow_distortion``, ``wide_log_z``, ``wide_distortion``
            (B, R, N): log Z in nats, distortion in squared error per image, under N(0, I) and
            N(0, 100 I).
        images: How many images travel with the page, the first ones.
        alpha: Where the first slider starts.
        blur: Where the second starts, a position in ``blurs``.

    Raises:
        ValueError: For curves that lack something, do not fit together or hold values that are not
            finite; for a ``likelihood_beta`` outside of ``beta``; for alpha or blur out of range.
    """

    beta = traitlets.List(read_only=True).tag(sync=True)
    blurs = traitlets.List(read_only=True).tag(sync=True)
    likelihood_index = traitlets.Int(read_only=True).tag(sync=True)
    narrow_log_z = traitlets.Bytes(read_only=True).tag(sync=True)
    narrow_distortion = traitlets.Bytes(read_only=True).tag(sync=True)
    wide_log_z = traitlets.Bytes(read_only=True).tag(sync=True)
    wide_distortion = traitlets.Bytes(read_only=True).tag(sync=True)
    alpha = traitlets.Float(0.0).tag(sync=True)
    # The page's name; DOMWidget.blur, which takes the focus away, is not for this widget.
    blur = traitlets.Int(0).tag(sync=True)  # pyright: ignore[reportAssignmentType]

    def __init__(
        self,
        curves: Mapping,
        badge: str = "",
        images: int = 24,
        title: str = "What a bad prior and a blur cost",
        alpha: float = 0.9,
        blur: int = 0,
    ) -> None:
        if missing := [key for key in ("beta", "blurs", "likelihood_beta") if key not in curves]:
            raise ValueError(f"curves lack {missing}")
        beta = check_ascending("beta", curves["beta"])
        blurs = check_ascending("blurs", curves["blurs"], least=1)
        if blurs[0] != 0:
            raise ValueError(f"blurs should ascend from 0, got {blurs}")
        sizes = {"B": len(blurs), "R": len(beta)}
        terms = check_arrays("curves", curves, dict.fromkeys(_TERMS, "B R N"), sizes)
        if images < 1:
            raise ValueError(f"images is {images}: give one or more")
        likelihood_beta = float(curves["likelihood_beta"])
        if not beta[0] <= likelihood_beta <= beta[-1]:
            raise ValueError(
                f"likelihood_beta {likelihood_beta} should lie in {beta[0]:.3g} ... {beta[-1]:.3g}"
            )
        fixed = {key: term[..., :images].astype("<f4").tobytes() for key, term in terms.items()}
        nearest = int(np.abs(beta - likelihood_beta).argmin())
        fixed |= {"beta": beta.tolist(), "blurs": blurs.tolist(), "likelihood_index": nearest}
        super().__init__(fixed, title=title, badge=badge, alpha=alpha, blur=blur)

    _valid_alpha = in_range("alpha", 0, MAX_ALPHA)
    _valid_blur = in_range("blur", 0, lambda self: len(self.blurs) - 1)
