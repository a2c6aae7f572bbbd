"""The GAN playground: two small GANs that train in the page, with and without BRE, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anywidget
import numpy as np
import traitlets
from matplotlib.figure import Figure

from . import frame

MAX_MODES = 64
MAX_WIDTH = 32  # the page keeps a layer's signs in one 32-bit word


class GANPlayground(anywidget.AnyWidget):
    """Two GANs with the same first weights, noise and data, which the reader trains in the page.

    Generators 2-h-h-h-2 (ReLU, tanh), discriminators 2-h-h-h-h-1 (LeakyReLU 0.2), Adam (0.5, 0.999),
    batch 128; the learning rate falls linearly to 1e-6. One discriminator is regularised by BRE on its
    second hidden layer. What the reader chooses (``target``, ``seed``, ``width``, ``weight``,
    ``margin``, ``rate``, ``decay``) comes back, and may be set.

    Args:
        targets: One dict a target: ``name``, ``label``, ``centres`` (M, 2), at most 64, and ``sigma``,
            the standard deviation of each component; all components weigh the same. The generator's
            tanh reaches no farther than (-1, 1).
        badge: What stands beside the title.
        title: What stands above the widget.
        target: Name of the first target; None takes the first.
        seed: Of first weights, noise and data, 0 to 9999.
        width: Hidden units a layer, 2 to 32.
        weight: w, the weight of BRE, 0 to 2.
        margin: c of eta = c / sqrt(width), 0 to 3.
        rate: Learning rate of both networks, above 0.
        decay: Whether w falls linearly to 0 over the run.
        steps: Length of a run, at least 100.
        samples: Fakes ``{"without": (N, 2), "with": (N, 2)}`` for the poster, from a run elsewhere.

    Raises:
        ValueError: For a target that lacks something, has values that are not finite or the wrong
            shape, for a name that comes twice, or for a setting out of range.
    """

    _esm = frame.module("gan.js", "gan_playground.js")
    _css = frame.style() + (frame.FOLDER / "gan.css").read_text("utf-8")

    targets = traitlets.List(read_only=True).tag(sync=True)
    steps = traitlets.Int(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    target = traitlets.Unicode().tag(sync=True)
    seed = traitlets.Int(min=0, max=9999).tag(sync=True)
    width = traitlets.Int(10, min=2, max=MAX_WIDTH).tag(sync=True)
    weight = traitlets.Float(min=0, max=2).tag(sync=True)
    margin = traitlets.Float(min=0, max=3).tag(sync=True)
    rate = traitlets.Float(0.002).tag(sync=True)
    decay = traitlets.Bool().tag(sync=True)

    def __init__(
        self,
        targets: Sequence[Mapping],
        badge: str = "",
        *,
        title: str = "Two GANs, one with BRE",
        target: str | None = None,
        seed: int = 0,
        width: int = 10,
        weight: float = 1.0,
        margin: float = 3.0,
        rate: float = 0.002,
        decay: bool = True,
        steps: int = 10_000,
        samples: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        made = [_checked(one) for one in targets]
        self._names = [one["name"] for one in made]
        if not made or len(set(self._names)) < len(made):
            raise ValueError(f"targets: want at least one, each name once, got {self._names}")
        if steps < 100:
            raise ValueError(f"steps={steps}: a run has at least 100")
        self._samples = _checked_samples(samples)
        super().__init__(
            title=title,
            badge=badge,
            target=self._names[0] if target is None else target,
            seed=seed,
            width=width,
            weight=float(weight),
            margin=float(margin),
            rate=float(rate),
            decay=decay,
        )
        self.set_trait("targets", made)
        self.set_trait("steps", int(steps))

    @traitlets.validate("target")
    def _known(self, proposal) -> str:
        if proposal["value"] not in self._names:
            raise ValueError(f"no target {proposal['value']!r}: there are {self._names}")
        return proposal["value"]

    @traitlets.validate("rate", "weight", "margin")
    def _sensible(self, proposal) -> float:
        name, value = proposal["trait"].name, proposal["value"]
        if not np.isfinite(value) or (name == "rate" and value <= 0):
            raise ValueError(f"{name}={value}: want a finite number{' above 0' * (name == 'rate')}")
        return value

    def poster(self) -> Figure:
        """Draw the target, and the fakes that were handed over, for pages that cannot train."""
        chosen = self.targets[self._names.index(self.target)]
        centres, sigma = np.array(chosen["centres"]), chosen["sigma"]
        dice = np.random.default_rng(self.seed)
        real = centres[dice.integers(len(centres), size=400)] + sigma * dice.normal(size=(400, 2))
        figure = Figure(figsize=(6.6, 3.4), layout="constrained")
        parts = [
            ("without", "Without BRE", frame.ORANGE, "^"),
            ("with", "With BRE", frame.BLUE, "o"),
        ]
        for axes, (name, title, colour, mark) in zip(figure.subplots(1, 2), parts, strict=True):
            axes.plot(*real.T, ".", color=frame.GREY, markersize=2, label="data")
            if name in self._samples:
                points = self._samples[name]
                axes.plot(*points.T, mark, color=colour, markersize=2.5, label="fakes")
            else:
                axes.set_xlabel("(trains in the interactive page)", color="#555555")
            axes.set(aspect="equal", xticks=[], yticks=[])
            axes.set_title(title, fontsize="medium")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"GANPlayground(targets={self._names}, target={self.target!r}, seed={self.seed})"


def _checked(target: Mapping) -> dict:
    lacks = sorted({"name", "label", "centres", "sigma"} - set(target))
    if lacks:
        raise ValueError(f"target {target.get('name')!r} lacks {lacks}")
    centres, sigma = np.asarray(target["centres"], float), float(target["sigma"])
    if centres.ndim != 2 or centres.shape[1] != 2 or not 1 <= len(centres) <= MAX_MODES:
        raise ValueError(
            f"centres of {target['name']!r} have shape {centres.shape}, "
            f"should be (M, 2) with M from 1 to {MAX_MODES}"
        )
    if not np.isfinite(centres).all() or not (np.isfinite(sigma) and sigma > 0):
        raise ValueError(f"{target['name']!r}: centres and sigma should be finite, sigma above 0")
    rounded = [[float(v) for v in row] for row in centres.round(5)]
    return {
        "name": str(target["name"]),
        "label": str(target["label"]),
        "centres": rounded,
        "sigma": sigma,
    }


def _checked_samples(samples: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    made = {name: np.asarray(points, float) for name, points in (samples or {}).items()}
    unknown = sorted(set(made) - {"without", "with"})
    if unknown:
        raise ValueError(f"samples has {unknown}: want 'without' and 'with'")
    for name, points in made.items():
        if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise ValueError(f"samples {name!r} has shape {points.shape}: want (N, 2), all finite")
    return made
