"""Rate-distortion curves: their points, their means, their file and their picture."""

import base64
import io
import math
from collections import namedtuple
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dgm import checkpoint
from dgm.sampling.schedules import StepSizes

LINES = {
    "color": ["#0072B2", "#E69F00", "#009E73", "#CC79A7"],
    "linestyle": ["-", "--", "-.", (0, (6, 1))],
    "marker": ["o", "s", "^", "D"],
}


# Averages over images, each (R,), with standard errors over images.
MeanCurve = namedtuple(
    "MeanCurve", "beta rate rate_error distortion distortion_error log_z log_z_error"
)
# R(D) = max_beta [mean(-log Z_beta) - beta D]: convex and non-increasing by construction.
LegendreCurve = namedtuple("LegendreCurve", "distortion rate")
# Distances of f(z), z from q_beta, to real images, each (R,): kernel with its standard error.
PerceptionCurve = namedtuple("PerceptionCurve", "kernel kernel_error frechet")
_PARTS = {"step_sizes": StepSizes, "perception": PerceptionCurve}  # of a curve, in its file


class RateDistortionCurve(NamedTuple):
    """The rate-distortion points of N images at R inverse temperatures; CPU float64, nats."""

    beta: Tensor  # (R,)
    rate: Tensor  # (R, N)
    distortion: Tensor  # (R, N)
    log_z: Tensor  # (R, N)
    ess: Tensor  # (R, N) effective sample size of the chains
    acceptance: Tensor  # (R, N) mean acceptance since the previous recorded beta
    codes: Tensor | None = None  # (R, N, D)
    step_sizes: StepSizes | None = None
    log_weight_variance: Tensor | None = None  # (R, N)
    draws: Tensor | None = None  # (R, N, K, D) codes of q_beta, where perception was asked for
    perception: PerceptionCurve | None = None

    def mean(self) -> MeanCurve:
        """Average over images, with standard errors (NaN for one image)."""
        n = self.rate.shape[1]
        terms = []
        for values in (self.rate, self.distortion, self.log_z):
            spread = values.std(1) if n > 1 else values[:, 0] * math.nan
            terms += [values.mean(1), spread / math.sqrt(n)]
        return MeanCurve(self.beta, *terms)

    def legendre(self) -> LegendreCurve:
        """The curve from log Z alone, less noisy than the rate, at the mean distortions."""
        where = self.distortion.mean(1)
        lines = -self.log_z.mean(1)[:, None] - self.beta[:, None] * where
        return LegendreCurve(where, lines.amax(0))

    def __repr__(self) -> str:
        ends = (self.beta, self.rate.mean(1), self.distortion.mean(1))
        beta, rate, distortion = (f"{float(v[0]):.4g} to {float(v[-1]):.4g}" for v in ends)
        size = f"{self.rate.shape[1]} images at {len(self.beta)} betas, {beta}"
        points = f"rate {rate} nats per image, distortion {distortion}"
        return f"RateDistortionCurve of {size}: {points}"

    def plot(self, axes: Any = None, label: str | None = None) -> Any:
        """A Matplotlib figure, or axes: mean rate against distortion, +- two standard errors."""
        import matplotlib.figure

        if axes is None:
            look = {"dpi": 110, "facecolor": "white", "layout": "constrained"}
            axes = matplotlib.figure.Figure((5.6, 3.9), **look).subplots()
            axes.set_prop_cycle(**LINES)
            axes.grid(alpha=0.22)
            axes.spines[["top", "right"]].set_visible(False)
        mean, own = self.mean(), label is None
        name = f"mean of {self.rate.shape[1]} images" if own else label
        (line,) = axes.plot(mean.distortion, mean.rate, label=name, markersize=4.5)
        band = 2 * mean.rate_error.nan_to_num()
        low, high = mean.rate - band, mean.rate + band
        axes.fill_between(mean.distortion, low, high, alpha=0.2, color=line.get_color(), lw=0)
        name = "Legendre estimate, from log Z alone" if own else None
        dotted = {"color": "black", "linestyle": ":", "marker": "", "linewidth": 1.2}
        axes.plot(*self.legendre(), label=name, **dotted)
        axes.set_xlabel("distortion D (per image, in units of d)")
        axes.set_ylabel("rate R (nats per image)")
        axes.legend(frameon=False)
        return axes.get_figure()

    def _repr_html_(self) -> str:
        picture = base64.b64encode(self.png()).decode()
        return f'<img alt="{self!r}" width="616" src="data:image/png;base64,{picture}">'

    def png(self) -> bytes:
        """The plot as the bytes of a file."""
        stream = io.BytesIO()
        self.plot().savefig(stream, format="png", dpi=150)
        return stream.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the curve to one safetensors file, whole or not at all; ~ is the home folder."""
        parts = {name: getattr(self, name) for name in _PARTS}
        parts = {name: part and part._asdict() for name, part in parts.items()}
        checkpoint.save(Path(path).expanduser(), {**self._asdict(), **parts})

    @classmethod
    def load(cls, path: str | Path) -> "RateDistortionCurve":
        """Read a curve that `save` wrote."""
        fields = checkpoint.load(Path(path).expanduser())
        for name, kind in _PARTS.items():
            if fields.get(name) is not None:
                fields[name] = kind(**fields[name])
        return cls(**fields)
