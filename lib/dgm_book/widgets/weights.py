"""Networks small enough to travel inside a page: int8 weights with one scale a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ipywidgets
import numpy as np
import traitlets

ACTIVATIONS = ("tanh", "relu", "sigmoid", "linear")
BYTES_PER_MODEL = 300_000  # what a page may hold for one image or series model


class PageWeights(ipywidgets.Widget):
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

    data = traitlets.Bytes(read_only=True).tag(sync=True)
    header = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self,
        models: Mapping[str, Sequence[tuple]],
        golden: Mapping[str, tuple] | None = None,
        calibration: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        if not models:
            raise ValueError("models is empty: give at least one name with its layers")
        golden, calibration = dict(golden or {}), dict(calibration or {})
        unknown = sorted((set(golden) | set(calibration)) - set(models))
        if unknown:
            raise ValueError(
                f"golden or calibration names {unknown}, but the models are {sorted(models)}"
            )
        packed = bytearray()
        header = {}
        for name, layers in models.items():
            layers = _checked(name, layers)
            start = len(packed)
            inputs = _checked_calibration(name, calibration.get(name), layers)
            header[name] = {"layers": _pack_layers(packed, layers, inputs)}
            size = len(packed) - start
            if size > BYTES_PER_MODEL:
                raise ValueError(
                    f"model {name!r} takes {size} bytes, a page holds at most {BYTES_PER_MODEL}: "
                    "use narrower layers"
                )
            if name in golden:
                z, x = _checked_golden(name, golden[name], layers)
                header[name]["golden"] = {
                    "count": len(z),
                    "z": _append(packed, z),
                    "x": _append(packed, x),
                }
        super().__init__()
        self.set_trait("data", bytes(packed))
        self.set_trait("header", header)

    def names(self) -> list[str]:
        """Return the names of the models."""
        return list(self.header)

    def input_size(self, name: str) -> int:
        """Return D, the number of inputs of model ``name``."""
        return self._model(name)["layers"][0]["columns"]

    def output_size(self, name: str) -> int:
        """Return P, the number of outputs of model ``name``."""
        return self._model(name)["layers"][-1]["rows"]

    def decode(self, name: str, z) -> np.ndarray:
        """Run codes through the int8 model as the page does.

        Args:
            name: Which model.
            z: Codes (N, D).

        Returns:
            Outputs (N, P), float32.

        Raises:
            ValueError: For an unknown name or codes of the wrong shape.
        """
        layers = self._model(name)["layers"]
        h = np.asarray(z, dtype=np.float32)
        if h.ndim != 2 or h.shape[1] != layers[0]["columns"]:
            raise ValueError(
                f"z has shape {h.shape}, model {name!r} reads (N, {self.input_size(name)})"
            )
        for layer in layers:
            rows, columns = layer["rows"], layer["columns"]
            weight = np.frombuffer(self.data, np.int8, rows * columns, layer["weight"])
            scale = np.frombuffer(self.data, "<f4", rows, layer["scale"])
            bias = np.frombuffer(self.data, "<f4", rows, layer["bias"])
            weight = weight.reshape(rows, columns) * scale[:, None]
            h = _activate(h @ weight.T + bias, layer["activation"])
        return h

    def error(self) -> dict[str, float]:
        """Return for each model with golden vectors the largest absolute error of an output."""
        errors = {}
        for name, model in self.header.items():
            if "golden" in model:
                count, rows = model["golden"]["count"], self.output_size(name)
                columns = self.input_size(name)
                z = np.frombuffer(self.data, "<f4", count * columns, model["golden"]["z"])
                x = np.frombuffer(self.data, "<f4", count * rows, model["golden"]["x"])
                difference = self.decode(name, z.reshape(count, columns)) - x.reshape(count, rows)
                errors[name] = float(np.abs(difference).max())
        return errors

    def _model(self, name: str) -> dict:
        if name not in self.header:
            raise ValueError(f"no model {name!r}: there are {self.names()}")
        return self.header[name]

    def __repr__(self) -> str:
        return f"PageWeights(models={self.names()}, bytes={len(self.data)})"


def _activate(x: np.ndarray, activation: str) -> np.ndarray:
    if activation == "tanh":
        return np.tanh(x)
    if activation == "relu":
        return np.maximum(x, 0)
    if activation == "sigmoid":
        return 0.5 + 0.5 * np.tanh(0.5 * x)  # the form that cannot overflow
    return x


def _append(packed: bytearray, values: np.ndarray) -> int:
    """Append values at the next multiple of four bytes and return where they start."""
    packed.extend(b"\0" * (-len(packed) % 4))
    start = len(packed)
    packed.extend(values.astype("<f4" if values.dtype != np.int8 else np.int8).tobytes())
    return start


def _pack_layers(packed: bytearray, layers: list[tuple], inputs: np.ndarray | None) -> list[dict]:
    """Append int8 layers; inputs are the first layer's on the calibration codes, if there are any."""
    described, exact = [], inputs
    for weight, bias, activation in layers:
        largest = np.abs(weight).max(axis=1)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        if inputs is None:
            quantised = np.clip(np.rint(weight / scale[:, None]), -127, 127).astype(np.int8)
        else:
            quantised = _round_together(weight, scale, inputs)
            wanted, got = exact @ weight.T, inputs @ (quantised * scale[:, None]).T
            exact = _activate(wanted + bias, activation)
            bias = (bias + (wanted - got).mean(0)).astype(np.float32)
            inputs = _activate(got + bias, activation)
        described.append(
            {
                "rows": weight.shape[0],
                "columns": weight.shape[1],
                "activation": activation,
                "weight": _append(packed, quantised),
                "scale": _append(packed, scale),
                "bias": _append(packed, bias),
            }
        )
    return described


def _round_together(weight: np.ndarray, scale: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """Round a layer (out, in) to int8 so that the errors cancel on inputs (N, in)."""
    second = inputs.T.astype(np.float64) @ inputs / len(inputs)
    damping = 1e-3 * np.trace(second) / len(second)
    inverse = np.linalg.inv(second + damping * np.eye(len(second)))
    factor = np.linalg.cholesky(inverse).T
    left = weight.astype(np.float64)
    quantised = np.empty(weight.shape, np.int8)
    for i in range(weight.shape[1]):
        quantised[:, i] = np.clip(np.rint(left[:, i] / scale), -127, 127)
        error = (left[:, i] - quantised[:, i] * scale) / factor[i, i]
        left[:, i:] -= error[:, None] * factor[i, i:]
    return quantised


def _checked(name: str, layers: Sequence[tuple]) -> list[tuple[np.ndarray, np.ndarray, str]]:
    if len(layers) == 0:
        raise ValueError(f"model {name!r} has no layers")
    checked = []
    for number, (weight, bias, activation) in enumerate(layers):
        where = f"model {name!r}, layer {number}"
        weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{where}: weight {weight.shape} and bias {bias.shape} "
                "should be (out, in) and (out,)"
            )
        if checked and weight.shape[1] != checked[-1][0].shape[0]:
            raise ValueError(
                f"{where} reads {weight.shape[1]} values, the layer before gives "
                f"{checked[-1][0].shape[0]}"
            )
        if activation not in ACTIVATIONS:
            raise ValueError(f"{where}: activation {activation!r} should be one of {ACTIVATIONS}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"{where} holds values that are not finite")
        checked.append((weight, bias, activation))
    return checked


def _checked_calibration(name: str, codes, layers: list[tuple]) -> np.ndarray | None:
    if codes is None:
        return None
    codes = np.asarray(codes, np.float32)
    inputs = layers[0][0].shape[1]
    if codes.ndim != 2 or codes.shape[1] != inputs or len(codes) == 0:
        raise ValueError(
            f"calibration codes of model {name!r} have shape {codes.shape}, should be (N, {inputs})"
        )
    if not np.isfinite(codes).all():
        raise ValueError(f"calibration codes of model {name!r} hold values that are not finite")
    return codes


def _checked_golden(name: str, pair: tuple, layers: list[tuple]) -> tuple[np.ndarray, np.ndarray]:
    z, x = (np.asarray(values, np.float32) for values in pair)
    inputs, outputs = layers[0][0].shape[1], layers[-1][0].shape[0]
    if z.ndim != 2 or len(z) == 0 or z.shape[1] != inputs or x.shape != (len(z), outputs):
        raise ValueError(
            f"golden vectors of model {name!r} have shapes {z.shape} and {x.shape}, "
            f"they should be (G, {inputs}) and (G, {outputs})"
        )
    if not (np.isfinite(z).all() and np.isfinite(x).all()):
        raise ValueError(f"golden vectors of model {name!r} hold values that are not finite")
    return z, x
