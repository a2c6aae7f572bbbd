"""Networks small enough to travel inside a page: int8 weights with one scale a row."""

from collections.abc import Mapping, Sequence

import numpy as np

from . import checks
from .packing import BYTES_PER_MODEL, PackedWeights, append, check_size, round_rows

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(x / 2),  # the form that cannot overflow
    "linear": lambda x: x,
}

N_GOLDEN = 1  # of a model that travel with it: images as float32 are large


class PageWeights(PackedWeights):
    """The weights that all widgets of a page share, stored once.

    A model is layers ``(weight (out, in), bias (out,), activation)``; `golden` has codes (G, D) and
    the network's images (G, P), of which the first travel. With `calibration` codes (N, D) weights
    are rounded one input after the other, each taking up the errors of those before it (GPTQ,
    Frantar et al. 2023).
    """

    def __init__(
        self, models: Mapping, golden: Mapping | None = None, calibration: Mapping | None = None
    ) -> None:
        golden, calibration = golden or {}, calibration or {}
        checks.distinct("models", list(models))
        for what, given in {"golden": golden, "calibration": calibration}.items():
            checks.distinct(what, list(given), models)
        packed, header = bytearray(), {}
        for name, layers in models.items():
            start = len(packed)
            described, sizes = _pack_layers(packed, name, layers, calibration.get(name))
            header[name] = {"layers": described}
            check_size(f"model {name!r}", len(packed) - start, BYTES_PER_MODEL)
            if name in golden:
                pair = dict(zip("zx", golden[name], strict=True))
                pair = checks.arrays(f"golden of {name!r}", pair, {"z": "G D", "x": "G P"}, sizes)
                places = {key: append(packed, values[:N_GOLDEN]) for key, values in pair.items()}
                header[name]["golden"] = {"count": len(pair["z"][:N_GOLDEN]), **places}
        super().__init__(packed, header, models)

    def layers(self, name: str) -> list[tuple[np.ndarray, np.ndarray, str]]:
        """A model's layers as the page has them: weight (out, in), bias (out,), activation."""
        layers = []
        for layer in self.header[checks.choice("model", name, self.names)]["layers"]:
            rows = layer["rows"]
            matrix = {"start": layer["weight"], "scale": layer["scale"]}
            weight = self.arrays({"shape": (rows, layer["columns"]), **matrix})
            bias = self.arrays({"shape": (rows,), "start": layer["bias"]})
            layers.append((weight, bias, layer["activation"]))
        return layers

    def check_images(self, name: str, image_shape: Sequence[int]) -> tuple[int, list[int]]:
        """A model's inputs D, and an image's sides; ValueError where it decodes to others."""
        layers = self.layers(name)
        if (pixels := len(layers[-1][1])) != np.prod(image_shape):
            raise ValueError(
                f"{name!r} decodes to {pixels} pixels, "
                f"image_shape {tuple(image_shape)} has {np.prod(image_shape)}"
            )
        return layers[0][0].shape[1], [int(side) for side in image_shape]


def _pack_layers(
    packed: bytearray, name: str, layers: Sequence[tuple], codes: np.ndarray | None
) -> tuple[list[dict], dict[str, int]]:
    """Check and append int8 layers; return where they lie, and their sizes D (in) and P (out)."""
    described, sizes, exact, inputs = [], {}, None, None
    for number, (weight, bias, activation) in enumerate(layers):
        owner, own = f"model {name!r}, layer {number}", {"D": sizes["P"]} if described else {}
        shapes = {"weight": "P D", "bias": "P"}
        weight, bias = checks.arrays(owner, {"weight": weight, "bias": bias}, shapes, own).values()
        checks.choice(f"{owner}: activation", activation, ACTIVATIONS)
        sizes = {**own, **sizes, "P": own["P"]}
        if not described and codes is not None:
            owner, shapes = f"calibration of {name!r}", {"codes": "N D"}
            exact = inputs = checks.arrays(owner, {"codes": codes}, shapes, own)["codes"]
        whole, scale = round_rows(weight)
        if exact is not None and inputs is not None:
            whole = _round_together(weight, scale, inputs)
            outputs, rounded = exact @ weight.T, inputs @ (whole * scale[:, None]).T
            exact = ACTIVATIONS[activation](outputs + bias)
            bias = (bias + (outputs - rounded).mean(0)).astype(np.float32)
            inputs = ACTIVATIONS[activation](rounded + bias)
        size = {"rows": weight.shape[0], "columns": weight.shape[1], "activation": activation}
        parts = {"weight": whole, "scale": scale, "bias": bias}
        described.append(size | {key: append(packed, values) for key, values in parts.items()})
    if not described:
        raise ValueError(f"model {name!r} has no layers")
    return described, sizes


def _round_together(weight: np.ndarray, scale: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Round a layer (out, in) to int8 so that the errors cancel on inputs (N, in)."""
    second = inputs.T.astype(np.float64) @ inputs / len(inputs)
    damping = 1e-3 * np.trace(second) / len(second)
    inverse = np.linalg.inv(second + damping * np.eye(len(second)))
    factor = np.linalg.cholesky(inverse).T
    left = weight.astype(np.float64)
    whole = np.empty(weight.shape, np.int8)
    for i in range(weight.shape[1]):
        whole[:, i] = np.clip(np.rint(left[:, i] / scale), -127, 127)
        error = (left[:, i] - whole[:, i] * scale) / factor[i, i]
        left[:, i:] -= error[:, None] * factor[i, i:]
    return whole
