"""The latent space: a pad over two latent dimensions, decoded live."""

from collections.abc import Sequence

import numpy as np
import traitlets
from ipywidgets import widget_serialization

from .frame import BookWidget
from .packing import check_arrays
from .weights import PageWeights

MAX_POINTS = 2000
MAX_CLASSES = 10  # as many as can be told apart by colour


class LatentSpace(BookWidget):
    """A pad over the plane of codes; the decoder answers where the reader points.

    ``z`` follows the reader, and may be set.

    Args:
        weights: The page's decoders, shared with its other widgets.
        model: Name of a decoder with two latent dimensions.
        means: Posterior means (N, 2) of the data, drawn as the aggregate posterior. Above 2000, an
            even selection is shown.
        labels: Whole numbers (N,): the class of each mean; at most ten classes.
        image_shape: Height and width of an image in pixels.
        label_names: What each class is called, by label; None takes the number.
        z: Where the reader starts.

    Raises:
        ValueError: For a decoder without two latent dimensions, or arrays that do not fit together
            or are not finite.
    """

    weights = traitlets.Instance(PageWeights).tag(sync=True, **widget_serialization)
    model = traitlets.Unicode(read_only=True).tag(sync=True)
    means = traitlets.Bytes(read_only=True).tag(sync=True)
    labels = traitlets.Bytes(read_only=True).tag(sync=True)
    classes = traitlets.List(read_only=True).tag(sync=True)
    image_shape = traitlets.List(read_only=True).tag(sync=True)
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
        if weights.input_size(model) != 2:
            raise ValueError(
                f"{model!r} has {weights.input_size(model)} latent dimensions, not two"
            )
        weights.check_images(model, image_shape)
        means = check_arrays("the plane", {"means": means}, {"means": "N 2"})["means"]
        labels = np.asarray(labels)
        if labels.shape != means.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"labels should be {len(means)} whole numbers, one per mean")
        values, number = np.unique(labels, return_inverse=True)
        if len(values) > MAX_CLASSES:
            raise ValueError(f"{len(values)} classes: at most {MAX_CLASSES} differ in colour")
        if label_names is not None and (values[0] < 0 or values[-1] >= len(label_names)):
            raise ValueError(
                f"label_names has {len(label_names)} names for labels {values.tolist()}"
            )
        names = values if label_names is None else np.asarray(label_names)[values]
        # An even selection keeps the proportions whatever the order.
        shown = np.unique(np.linspace(0, len(means) - 1, min(len(means), MAX_POINTS)).astype(int))
        super().__init__(
            {
                "model": model,
                "means": means[shown].astype("<f4").tobytes(),
                "labels": number[shown].astype(np.uint8).tobytes(),
                "classes": [str(name) for name in names],
                "image_shape": [int(side) for side in image_shape],
            },
            weights=weights,
            title=title,
            badge=badge,
            z=[float(v) for v in z],
        )

    @traitlets.validate("z")
    def _check_z(self, proposal) -> list[float]:
        if not np.isfinite(proposal["value"]).all():
            raise ValueError(f"z should be two finite numbers, got {proposal['value']}")
        return proposal["value"]
