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


class PageWeights(PackedWeights):
    """The weights that all widgets of a page share, stored once.

    A model is layers ``(weight (out, in), bias (out,), activation)``; `golden` has codes (G, D) and
    the network's images (G, P). With `calibration` codes (N, D) weights are rounded one input after
    the other, each taking up the errors of those before it (GPTQ, Frantar et al. 2023).
    """

    def __init__(
        self, models: Mapping, golden: Mapping | None = None, calibration: Mapping | None = None
    ) -> None:
        golden, calibration = dict(golden or {}), dict(calibration or {})
        if unknown := sorted((golden.keys() | calibration.keys()) - models.keys()):
            raise ValueError(f"golden or calibration names {unknown}, but there are {list(models)}")
        packed, header = bytearray(), {}
        for name, given in models.items():
            layers, sizes = _check_layers(f"model {name!r}", given)
            inputs = None
            if name in calibration:
                owner, codes = f"calibration of {name!r}", {"codes": calibration[name]}
                inputs = checks.arrays(owner, codes, {"codes": "N D"}, sizes)["codes"]
            start = len(packed)
            header[name] = {"layers": _pack_layers(packed, layers, inputs)}
            check_size(f"model {name!r}", len(packed) - start, BYTES_PER_MODEL)
            if name in golden:
                pair = dict(zip("zx", golden[name], strict=True))
                pair = checks.arrays(f"golden of {name!r}", pair, {"z": "G D", "x": "G P"}, sizes)
                places = {key: append(packed, values) for key, values in pair.items()}
                header[name]["golden"] = {"count": len(pair["z"]), **places}
        if not header:
            raise ValueError("models: want at least one, by name")
        super().__init__(packed, header)

    @property
    def names(self) -> list[str]:
        """The models' names, in their order."""
        return list(self.header)

    def layers(self, name: str) -> list[tuple[np.ndarray, np.ndarray, str]]:
        """A model's layers as the page has them: weight (out, in), bias (out,), activation."""
        layers = []
        for layer in self.header[checks.choice("model", name, self.names)]["layers"]:
            rows = layer["rows"]
            matrix = {"start": layer["weight"], "scale": layer["scale"]}
            weight = self.array({"shape": (rows, layer["columns"]), **matrix})
            bias = self.array({"shape": (rows,), "start": layer["bias"]})
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


def _check_layers(model: str, layers: Sequence[tuple]) -> tuple[list[tuple], dict[str, int]]:
    """Return the layers as float32, and their sizes D (inputs) and P (outputs)."""
    checked, sizes = [], {}
    for number, (weight, bias, activation) in enumerate(layers):
        owner, arrays = f"{model}, layer {number}", {"weight": weight, "bias": bias}
        sizes = {"D": sizes["P"]} if checked else {}
        arrays = checks.arrays(owner, arrays, {"weight": "P D", "bias": "P"}, sizes)
        checks.choice(f"{owner}: activation", activation, ACTIVATIONS)
        checked.append((*arrays.values(), activation))
    if not checked:
        raise ValueError(f"{model} has no layers")
    return checked, {"D": checked[0][0].shape[1], "P": sizes["P"]}


def _pack_layers(packed: bytearray, layers: list[tuple], inputs: np.ndarray | None) -> list[dict]:
    """Append int8 layers; inputs are the first layer's on the calibration codes, if any."""
    described, exact = [], inputs
    for weight, bias, activation in layers:
        whole, scale = round_rows(weight)
        if inputs is not None and exact is not None:
            whole = _round_together(weight, scale, inputs)
            outputs, rounded = exact @ weight.T, inputs @ (whole * scale[:, None]).T
            exact = ACTIVATIONS[activation](outputs + bias)
            bias = (bias + (outputs - rounded).mean(0)).astype(np.float32)
            inputs = ACTIVATIONS[activation](rounded + bias)
        size = {"rows": weight.shape[0], "columns": weight.shape[1], "activation": activation}
        parts = {"weight": whole, "scale": scale, "bias": bias}
        described.append(size | {key: append(packed, values) for key, values in parts.items()})
    return described


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
