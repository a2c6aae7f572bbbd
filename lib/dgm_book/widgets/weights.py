"""Networks small enough to travel inside a page: int8 weights with one scale a row."""

from collections.abc import Mapping, Sequence

import numpy as np

from .packing import PackedWeights, append, check_arrays, check_size, round_rows

BYTES_PER_MODEL = 300_000  # what a page may hold for one image or series model
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(x / 2),  # the form that cannot overflow
    "linear": lambda x: x,
}


class PageWeights(PackedWeights):
    """The weights that all widgets of a page share, stored once.

    Each layer keeps its weight as int8 with a float32 scale a row (a row is an output unit) and its
    bias in float32. The page widens the weights to float32 when it starts, runs the golden codes
    through them, and shows the largest error as ``data-golden-error``.

    Args:
        models: For each name the layers ``(weight (out, in), bias (out,), activation)``, first
            layer first; activation is "tanh", "relu", "sigmoid" or "linear".
        golden: For each name ``(z (G, D), x (G, P))``: codes and what the original network makes
            of them in float32. Names left out are not checked.
        calibration: For each name codes (N, D) like those that the page will meet. Weights are then
            rounded one input after the other, each taking up the errors of those before it on these
            codes (GPTQ, Frantar et al. 2023), instead of each to its nearest.

    Raises:
        ValueError: For layers that do not fit together, unknown activations, values that are not
            finite, golden vectors of the wrong shape, or a model above 300 kB.
    """

    def __init__(
        self,
        models: Mapping[str, Sequence[tuple]],
        golden: Mapping[str, tuple] | None = None,
        calibration: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        if not models:
            raise ValueError("models is empty: give at least one name with its layers")
        golden, calibration = dict(golden or {}), dict(calibration or {})
        if unknown := sorted((set(golden) | set(calibration)) - set(models)):
            raise ValueError(
                f"golden or calibration names {unknown}, but the models are {sorted(models)}"
            )
        packed, header = bytearray(), {}
        for name, given in models.items():
            layers, sizes = _check_layers(name, given)
            inputs = None
            if name in calibration:
                codes = {"codes": calibration[name]}
                codes = check_arrays(f"calibration of {name!r}", codes, {"codes": "N D"}, sizes)
                inputs = codes["codes"]
            start = len(packed)
            header[name] = {"layers": _pack_layers(packed, layers, inputs)}
            check_size(f"model {name!r}", len(packed) - start, BYTES_PER_MODEL)
            if name in golden:
                pair = dict(zip("zx", golden[name], strict=True))
                pair = check_arrays(f"golden of {name!r}", pair, {"z": "G D", "x": "G P"}, sizes)
                places = {key: append(packed, values) for key, values in pair.items()}
                header[name]["golden"] = {"count": len(pair["z"]), **places}
        super().__init__(packed, header)

    @property
    def names(self) -> list[str]:
        """The models' names, in their order."""
        return list(self.header)

    def layers(self, name: str) -> list[tuple[np.ndarray, np.ndarray, str]]:
        """Return a model's layers as the page has them: weight (out, in), bias (out,), activation.

        Raises:
            ValueError: For an unknown name.
        """
        if name not in self.header:
            raise ValueError(f"no model {name!r}: there are {self.names}")
        layers = []
        for layer in self.header[name]["layers"]:
            rows = layer["rows"]
            matrix = {"start": layer["weight"], "scale": layer["scale"]}
            weight = self.array({"shape": (rows, layer["columns"]), **matrix})
            bias = self.array({"shape": (rows,), "start": layer["bias"]})
            layers.append((weight, bias, layer["activation"]))
        return layers

    def input_size(self, name: str) -> int:
        """Return D, the number of inputs of model ``name``."""
        return self.layers(name)[0][0].shape[1]

    def check_images(self, name: str, image_shape: tuple[int, int]) -> None:
        """Raise ValueError where model ``name`` does not decode to images of that shape."""
        pixels = len(self.layers(name)[-1][1])
        if pixels != np.prod(image_shape):
            raise ValueError(
                f"{name!r} decodes to {pixels} pixels, "
                f"image_shape {tuple(image_shape)} has {np.prod(image_shape)}"
            )


def _check_layers(name: str, layers: Sequence[tuple]) -> tuple[list[tuple], dict[str, int]]:
    """Return the layers as float32, and their sizes D (inputs) and P (outputs)."""
    if len(layers) == 0:
        raise ValueError(f"model {name!r} has no layers")
    checked, sizes, outputs = [], {}, {}
    for number, (weight, bias, activation) in enumerate(layers):
        owner = f"model {name!r}, layer {number}"
        shapes = {"weight": "P D", "bias": "P"}
        sizes = dict(outputs)
        arrays = check_arrays(owner, {"weight": weight, "bias": bias}, shapes, sizes)
        outputs = {"D": sizes["P"]}
        if activation not in ACTIVATIONS:
            names = ", ".join(ACTIVATIONS)
            raise ValueError(f"{owner}: activation {activation!r} should be one of {names}")
        checked.append((*arrays.values(), activation))
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
        places = {key: append(packed, values) for key, values in parts.items()}
        described.append({**size, **places})
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
