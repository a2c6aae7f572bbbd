"""The latent space: a pad over two latent dimensions, decoded live."""

from __future__ import annotations

from collections.abc import Sequence

import anywidget
import numpy as np
import traitlets
from ipywidgets import widget_serialization
from matplotlib import patheffects
from matplotlib.figure import Figure

from . import frame
from .weights import PageWeights

MAX_POINTS = 2000
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7",
    "#56B4E9", "#7f7f7f", "#B8A800", "#000000", "#8B5A2B",
)  # fmt: skip


class LatentSpace(anywidget.AnyWidget):
    """A pad over the plane of codes; the decoder answers where the reader points.

    ``z`` follows the reader, and may be set.

    Args:
        weights: The page's decoders, shared with its other widgets.
        model: Name of a decoder with two latent dimensions.
        means: Posterior means (N, 2) of the data, drawn as the aggregate posterior. Above 2000, an
            even selection is shown.
        labels: Whole numbers (N,): the class of each mean; at most ten classes.
        image_shape: Height and width of an image in pixels.
        badge: Which profile, data and seeds the decoder comes from.
        label_names: What each class is called, by label; None takes the number.
        title: What stands above the widget.
        z: Where the reader starts.

    Raises:
        ValueError: For a decoder without two latent dimensions, or arrays that do not fit together
            or are not finite.
    """

    _esm = frame.module("latent_space.js")
    _css = frame.style()

    weights = traitlets.Instance(PageWeights).tag(sync=True, **widget_serialization)
    model = traitlets.Unicode(read_only=True).tag(sync=True)
    means = traitlets.Bytes(read_only=True).tag(sync=True)
    labels = traitlets.Bytes(read_only=True).tag(sync=True)
    classes = traitlets.List(read_only=True).tag(sync=True)
    image_shape = traitlets.List(read_only=True).tag(sync=True)
    title = traitlets.Unicode().tag(sync=True)
    badge = traitlets.Unicode().tag(sync=True)
    z = traitlets.List(traitlets.Float(), [0.0, 0.0], minlen=2, maxlen=2).tag(sync=True)

    def __init__(
        self,
        weights: PageWeights,
        model: str,
        means,
        labels,
        image_shape: tuple[int, int],
        badge: str = "",
        label_names: Sequence[str] | None = None,
        title: str = "A plane of codes",
        z: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        means, labels = np.asarray(means, np.float32), np.asarray(labels)
        if weights.input_size(model) != 2:
            raise ValueError(
                f"{model!r} has {weights.input_size(model)} latent dimensions, not two"
            )
        if weights.output_size(model) != np.prod(image_shape):
            raise ValueError(
                f"{model!r} decodes to {weights.output_size(model)} pixels, "
                f"image_shape {tuple(image_shape)} has {np.prod(image_shape)}"
            )
        if means.ndim != 2 or means.shape[1] != 2 or len(means) == 0:
            raise ValueError(f"means have shape {means.shape}, should be (N, 2)")
        if labels.shape != means.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"labels should be {len(means)} whole numbers, one a mean")
        if not np.isfinite(means).all():
            raise ValueError("means hold values that are not finite")
        found, which = np.unique(labels, return_inverse=True)
        if len(found) > len(COLOURS):
            raise ValueError(f"{len(found)} classes, at most {len(COLOURS)} can be told apart")
        if label_names is not None and (found[0] < 0 or found[-1] >= len(label_names)):
            raise ValueError(
                f"label_names has {len(label_names)} names for labels {found.tolist()}"
            )
        # An even selection keeps the proportions whatever the order.
        kept = np.unique(np.linspace(0, len(means) - 1, min(len(means), MAX_POINTS)).astype(int))
        super().__init__(weights=weights, title=title, badge=badge, z=[float(v) for v in z])
        self.set_trait("model", model)
        self.set_trait("means", means[kept].astype("<f4").tobytes())
        self.set_trait("labels", which[kept].astype(np.uint8).tobytes())
        named = [str(v) if label_names is None else str(label_names[v]) for v in found.tolist()]
        self.set_trait("classes", named)
        self.set_trait("image_shape", [int(side) for side in image_shape])

    @traitlets.validate("z")
    def _finite(self, proposal) -> list[float]:
        if not np.isfinite(proposal["value"]).all():
            raise ValueError(f"z should be two finite numbers, got {proposal['value']}")
        return proposal["value"]

    def poster(self) -> Figure:
        """Draw what the widget shows at this moment, for pages that cannot run it."""
        figure = Figure(figsize=(6.2, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        means = np.frombuffer(self.means, "<f4").reshape(-1, 2)
        labels = np.frombuffer(self.labels, np.uint8)
        for number, name in enumerate(self.classes):
            points = means[labels == number]
            left.plot(*points.T, ".", color=COLOURS[number], markersize=2)
            middle = np.median(points, axis=0)
            halo = [patheffects.withStroke(linewidth=3, foreground="white")]
            left.text(*middle, name, fontweight="bold", ha="center", path_effects=halo, zorder=4)
        left.plot(*self.z, "+", color="black", markersize=14)
        left.set(xlabel="z₁", ylabel="z₂", aspect="equal")
        image = self.weights.decode(self.model, [self.z])
        right.imshow(image.reshape(self.image_shape), cmap="gray_r", vmin=0, vmax=1)
        right.set_title(f"f(z) at z = ({self.z[0]:.2f}, {self.z[1]:.2f})", fontsize="medium")
        right.axis("off")
        return figure

    def _repr_mimebundle_(self, **kwargs):
        return frame.with_poster(super()._repr_mimebundle_(**kwargs), frame.png(self.poster()))

    def __repr__(self) -> str:
        return f"LatentSpace(model={self.model!r}, classes={self.classes})"
