"""Variational recurrent networks small enough to travel inside a page, and what it makes of sequences."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import ipywidgets
import numpy as np
import traitlets

from .packing import append, round_rows, sigmoid, widen
from .weights import BYTES_PER_MODEL

KINDS = ("vrnn", "vhrnn")
EMISSIONS = ("gaussian", "bernoulli")
HYPER_INPUTS = ("both", "latent", "hidden")
TINY = 8000  # numbers up to which a model keeps its float32
MLPS = ("encode_x", "encode_z", "prior", "posterior", "decoder")
# What a golden sequence may hold beside its x (T, X) and noise (T, N, Z), each (T, N, ...).
GOLDEN = ("z", "log_alpha", "kl", "mean_x", "deviation_x", "scales", "h")


class Trace(NamedTuple):
    """What a model makes of a sequence, for T steps, N particles and X, Z, H dimensions.

    ``mean_x`` and ``deviation_x`` are the emission's at the posterior's z, before x is read;
    ``predicted_mean`` and ``predicted_deviation`` (T, X) are the weighted particles', at the prior's z.
    ``made`` holds all that the hypernetworks generate: d_input, d_hidden and bias of the gates i, f, g, o,
    (4 H each), then scales and biases of the decoder; ``scales`` are the first 12 H. A step's particles
    are told as they were before they were resampled. Nats.
    """

    z: np.ndarray  # (T, N, Z)
    log_alpha: np.ndarray  # (T, N)
    kl: np.ndarray  # (T, N), of posterior and prior
    mean_x: np.ndarray  # (T, N, X)
    deviation_x: np.ndarray  # (T, N, X), or (T, N, 0) for Bernoulli emissions
    scales: np.ndarray  # (T, N, 12 H), or (T, N, 0) for a VRNN
    h: np.ndarray  # (T, N, H), after the step, before resampling
    made: np.ndarray  # (T, N, S)
    weights: np.ndarray  # (T, N), after the step, they sum to one
    mean_kl: np.ndarray  # (T,), by the weights before the step
    increment: np.ndarray  # (T,), of the log-likelihood
    ess: np.ndarray  # (T,)
    predicted_mean: np.ndarray  # (T, X)
    predicted_deviation: np.ndarray  # (T, X), or (T, 0) for Bernoulli emissions


class HyperWeights(ipywidgets.Widget):
    """Variational recurrent networks, with generated weights (VHRNN) or without, stored once a page.

    A model of up to 8000 numbers keeps its float32; the matrices of a larger one become int8 with one
    scale a row. The page compares with the golden sequences, and shows how far it is off at most as
    ``data-golden-error``, relative to 1 + the number's size.

    Args:
        models: For each name ``kind`` ("vrnn" or "vhrnn"), ``emission`` ("gaussian" or "bernoulli"), and
            ``state``, the arrays of the state dict; if need be ``hyper_input`` ("both", "latent" or
            "hidden"), ``sigma_min`` (1e-3) and ``cell`` ("lstm", all that the page computes).
        golden: For some of the names ``x`` (T, X), ``noise`` (T, N, Z) and, of ``z``, ``log_alpha``,
            ``kl``, ``mean_x``, ``deviation_x``, ``scales`` and ``h``, those to be compared, (T, N, ...):
            what PyTorch makes of x with the weights of `rounded`, without resampling.

    Raises:
        ValueError: For no model, unknown options, a GRU, tensors that are missing, do not fit together
            or are not finite, golden sequences that do not fit, or a model above 300 kB.
    """

    data = traitlets.Bytes(read_only=True).tag(sync=True)
    header = traitlets.Dict(read_only=True).tag(sync=True)

    def __init__(
        self, models: Mapping[str, Mapping], *, golden: Mapping[str, Mapping] | None = None
    ) -> None:
        golden = dict(golden or {})
        if not models:
            raise ValueError("models: want at least one, by name")
        if unknown := sorted(set(golden) - set(models)):
            raise ValueError(f"golden names {unknown}, but the models are {sorted(models)}")
        self._nets = {name: _checked_model(name, given) for name, given in models.items()}
        packed, described = bytearray(), []
        for name, net in self._nets.items():
            start = len(packed)
            tensors = {key: _pack(packed, a, net.tiny) for key, a in net.given.items()}
            if len(packed) - start > BYTES_PER_MODEL:
                raise ValueError(
                    f"model {name!r} takes {len(packed) - start} bytes, a page holds at most "
                    f"{BYTES_PER_MODEL}: use narrower layers"
                )
            one = {"name": name, "tensors": tensors, "sizes": net.sizes, **net.options}
            if name in golden:
                checked = _checked_golden(name, golden[name], net)
                one["golden"] = {key: _pack(packed, a, True) for key, a in checked.items()}
            described.append(one)
        super().__init__()
        self.set_trait("data", bytes(packed))
        self.set_trait("header", {"models": described})

    @property
    def names(self) -> list[str]:
        """The models' names, in their order."""
        return list(self._nets)

    def describe(self, name: str) -> dict:
        """Return a model's ``kind``, ``emission``, ``hyper_input``, ``sigma_min``, and sizes x, z, h, k."""
        return self._net(name).options | self._net(name).sizes

    def rounded(self, name: str) -> dict[str, np.ndarray]:
        """Return the float32 arrays that the page has, under the names of the state dict."""
        return dict(self._net(name).arrays)

    def trace(
        self,
        name: str,
        x: np.ndarray,
        noise: np.ndarray,
        *,
        prior_noise: np.ndarray | None = None,
        draws: np.ndarray | None = None,
        freeze: float = 0.0,
        means: np.ndarray | None = None,
    ) -> Trace:
        """Compute in float64 what the page does with a sequence.

        Args:
            name: Of the model.
            x: Observations (T, X).
            noise: Normals (T, N, Z) for the posterior.
            prior_noise: Normals (T, N, Z) for the prior, in predictions; None takes zeros.
            draws: Uniforms (T, N): resample where the effective sample size is at most N / 2; None never
                resamples.
            freeze: Share of the means, 0 to 1, in all that is generated.
            means: (S,), what a frozen model has in place of what it generates, as in `Trace.made`.

        Returns:
            What came of it, step by step.

        Raises:
            ValueError: Where shapes or the share do not fit.
        """
        net = self._net(name)
        x, noise = np.asarray(x, float), np.asarray(noise, float)
        if x.ndim != 2 or x.shape[1] != net.sizes["x"] or not len(x):
            raise ValueError(f"x has shape {x.shape}, want (T, {net.sizes['x']})")
        if noise.ndim != 3 or (len(noise), noise.shape[2]) != (len(x), net.sizes["z"]):
            raise ValueError(f"noise has shape {noise.shape}, want ({len(x)}, N, {net.sizes['z']})")
        prior_noise = np.zeros_like(noise) if prior_noise is None else np.asarray(prior_noise)
        if prior_noise.shape != noise.shape:
            raise ValueError(f"prior_noise has shape {prior_noise.shape}, want {noise.shape}")
        if draws is not None and np.shape(draws) != noise.shape[:2]:
            raise ValueError(f"draws have shape {np.shape(draws)}, want {noise.shape[:2]}")
        if not 0 <= freeze <= 1:
            raise ValueError(f"freeze={freeze}: want a share from 0 to 1")
        if freeze and net.scales and np.shape(means) != (net.scales,):
            raise ValueError(f"means have shape {np.shape(means)}, want ({net.scales},)")
        mix = (lambda at, v: v) if not freeze else _frozen(freeze, np.asarray(means))
        return _filtered(net, x, noise, prior_noise, draws, mix)

    def _net(self, name: str) -> _Net:
        if name not in self._nets:
            raise ValueError(f"no model {name!r}: there are {self.names}")
        return self._nets[name]

    def __repr__(self) -> str:
        return f"HyperWeights({', '.join(self.names)}; bytes={len(self.data)})"


def rounded(models: Mapping[str, Mapping]) -> dict[str, dict[str, np.ndarray]]:
    """Return what a page has of models that `HyperWeights` takes, as `HyperWeights.rounded` tells each."""
    return {name: dict(_checked_model(name, given).arrays) for name, given in models.items()}


def uniforms(shape: tuple[int, ...], seed: int, stream: int, t: int) -> np.ndarray:
    """Return the page's own numbers in [0, 1) for one step: its seed, a stream's number and the step.

    A bijective mix of 32 bits (Appleby's MurmurHash3 finaliser) of a count that starts at a mix of the three.
    """
    odd, low = 0x9E3779B1, 2**32 - 1
    key = _mix(np.uint64(seed + 1))
    for part in (stream, t):
        key = _mix((key * np.uint64(odd) + np.uint64(part + 1)) & np.uint64(low))
    count = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    return (_mix((key + count * np.uint64(odd)) & np.uint64(low)) / 2**32).reshape(shape)


def normals(shape: tuple[int, ...], seed: int, stream: int, t: int) -> np.ndarray:
    """Return standard normals by Box and Muller from `uniforms`; an odd count drops the last."""
    size = int(np.prod(shape))
    pairs = uniforms((-(-size // 2), 2), seed, stream, t)
    radius, angle = np.sqrt(-2 * np.log(1 - pairs[:, 0])), 2 * np.pi * pairs[:, 1]
    both = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    return both.ravel()[:size].reshape(shape)


def _mix(x: np.ndarray) -> np.ndarray:
    low = np.uint64(2**32 - 1)
    x = ((x ^ x >> np.uint64(16)) * np.uint64(0x85EBCA6B)) & low
    x = ((x ^ x >> np.uint64(13)) * np.uint64(0xC2B2AE35)) & low
    return x ^ x >> np.uint64(16)


class _Net(NamedTuple):
    given: dict[str, np.ndarray]  # as they came
    arrays: dict[str, np.ndarray]  # as the page has them
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]]  # (weight, bias) of each layer, float64
    options: dict
    sizes: dict[str, int]
    tiny: bool
    scales: int

    def read(self, part: str, v: np.ndarray) -> np.ndarray:
        """Return a perceptron's output for inputs (N, in)."""
        *inner, (weight, bias) = self.parts[part]
        for w, b in inner:
            v = np.maximum(v @ w.T + b, 0)
        return v @ weight.T + bias

    def fed(self, z: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Return what the hypernetworks read of [z; h]."""
        both = {"both": (z, h), "latent": (z,), "hidden": (h,)}
        return np.concatenate(both[self.options["hyper_input"]], 1)


def _frozen(share: float, means: np.ndarray):
    return lambda at, v: (1 - share) * v + share * means[at : at + v.shape[-1]]


def _width(raw: np.ndarray, least: float) -> np.ndarray:
    return np.maximum(np.logaddexp(0, raw + 0.5), least)


def _decode(net: _Net, z: np.ndarray, h: np.ndarray, mix) -> tuple[np.ndarray, np.ndarray]:
    """Return the decoder's output (N, o) and what was generated for it (N, 2 M)."""
    layers, v = net.parts["decoder"], np.concatenate([z, h], 1)
    made = np.empty((len(z), 0))
    if net.scales:
        made = mix(12 * h.shape[1], net.read("rescale", net.fed(z, h)))
    scales, biases = np.split(made, 2, axis=1)
    at = 0
    for i, (weight, bias) in enumerate(layers):
        v = v @ weight.T
        if net.scales:
            end = at + len(bias)
            v, at = scales[:, at:end] * v + biases[:, at:end], end
        v = v + bias
        if i + 1 < len(layers):
            v = np.maximum(v, 0)
    return v, made


def _lstm(a: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    enter, keep, new, tell = np.split(a, 4, axis=1)
    c = sigmoid(keep) * c + sigmoid(enter) * np.tanh(new)
    return sigmoid(tell) * np.tanh(c), c


def _filtered(net: _Net, x, noise, prior_noise, draws, mix) -> Trace:
    least, gaussian = net.options["sigma_min"], net.options["emission"] == "gaussian"
    n, width, hidden = noise.shape[1], net.sizes["z"], net.sizes["h"]
    h, c = np.zeros((2, n, hidden))
    k, kc = np.zeros((2, n, net.sizes["k"]))
    cell = {key: net.arrays[key].astype(float) for key in net.arrays if key.startswith(_CELLS)}
    log_weights, before, closed, total = np.zeros(n), np.full(n, 1 / n), 0.0, 0.0
    rows = []
    for t, x_t in enumerate(x):
        prior = net.read("prior", h)
        mean_p, deviation_p = prior[:, :width], _width(prior[:, width:], least)

        # What it expects before it has seen x.
        out, _ = _decode(net, mean_p + deviation_p * prior_noise[t], h, mix)
        mean, deviation = _emission(out, gaussian, least)
        predicted = before @ mean
        spread = (
            np.sqrt(np.maximum(before @ (deviation**2 + mean**2) - predicted**2, 0))
            if gaussian
            else []
        )

        code = np.repeat(net.read("encode_x", (x_t - net.arrays["input_mean"])[None]), n, 0)
        posterior = net.read("posterior", np.concatenate([h, code], 1))
        shift, deviation_q = posterior[:, :width], _width(posterior[:, width:], least)
        z = mean_p + shift + deviation_q * noise[t]
        ratio = deviation_q / deviation_p
        kl = (0.5 * (ratio**2 + (shift / deviation_p) ** 2 - 1) - np.log(ratio)).sum(1)
        log_alpha = (np.log(ratio) + 0.5 * (noise[t] ** 2 - ((z - mean_p) / deviation_p) ** 2)).sum(
            1
        )
        out, for_decoder = _decode(net, z, h, mix)
        mean, deviation = _emission(out, gaussian, least)
        if gaussian:
            far = (x_t - mean) / deviation
            log_alpha -= (0.5 * far**2 + np.log(deviation) + 0.5 * np.log(2 * np.pi)).sum(1)
        else:
            log_alpha += (x_t * out - np.logaddexp(0, out)).sum(1)

        made = np.empty((n, 0))
        from_input = (
            np.concatenate([code, net.read("encode_z", z)], 1) @ cell["cell.weight_input"].T
        )
        from_hidden = h @ cell["cell.weight_hidden"].T
        if net.scales:
            a = net.fed(z, h) @ cell["hyper.weight_input"].T
            k, kc = _lstm(a + k @ cell["hyper.weight_hidden"].T + cell["hyper.bias"], kc)
            made = mix(0, net.read("heads", k))
            d_input, d_hidden, bias = np.split(made, 3, axis=1)
            a = d_input * from_input + d_hidden * from_hidden + bias
        else:
            a = from_input + from_hidden + cell["cell.bias"]
        h, c = _lstm(a, c)

        log_weights = log_weights + log_alpha
        top = log_weights.max()
        weights = np.exp(log_weights - top)
        reached = closed + top + np.log(weights.mean())
        weights = weights / weights.sum()
        ess = 1 / (weights**2).sum()
        everything = np.concatenate([made, for_decoder], 1)
        row = (z, log_alpha, kl, mean, deviation, made, h, everything, weights, before @ kl)
        rows.append((*row, reached - total, ess, predicted, spread))
        total, before = reached, weights
        if draws is not None and ess <= n / 2:
            heights = np.cumsum(weights)
            chosen = np.minimum(np.searchsorted(heights, draws[t], side="right"), n - 1)
            h, c, k, kc = h[chosen], c[chosen], k[chosen], kc[chosen]
            log_weights, before, closed = np.zeros(n), np.full(n, 1 / n), total
    return Trace(*(np.array(column) for column in zip(*rows, strict=True)))


def _emission(out: np.ndarray, gaussian: bool, least: float) -> tuple[np.ndarray, np.ndarray]:
    if not gaussian:
        return sigmoid(out), out[:, :0]
    mean, raw = np.split(out, 2, axis=1)
    return mean, _width(raw, least)


def _pack(packed: bytearray, array: np.ndarray, tiny: bool) -> dict:
    shape = list(array.shape)
    if array.ndim != 2 or tiny:
        return {"shape": shape, "start": append(packed, array.astype("<f4"))}
    whole, scale = round_rows(array)
    return {"shape": shape, "start": append(packed, whole), "scale": append(packed, scale)}


_CELLS = ("cell.", "hyper.")


def _checked_model(name: str, given: Mapping) -> _Net:
    model = f"model {name!r}"
    options = {"hyper_input": "both", "sigma_min": 1e-3, "cell": "lstm", **given}
    options = {key: value for key, value in options.items() if key not in ("state", "layers")}
    if missing := sorted({"kind", "emission", "state"} - set(given)):
        raise ValueError(f"{model} lacks {missing}")
    known = {"kind": KINDS, "emission": EMISSIONS, "hyper_input": HYPER_INPUTS}
    if more := sorted(set(options) - {*known, "sigma_min", "cell"}):
        raise ValueError(f"{model}: unknown {more}")
    for key, wanted in known.items():
        if options[key] not in wanted:
            raise ValueError(f"{model}: {key}={options[key]!r}, want one of {', '.join(wanted)}")
    if options["cell"] != "lstm":
        raise ValueError(f"{model}: cell={options['cell']!r}, but the page computes 'lstm' only")
    options["sigma_min"] = float(options["sigma_min"])
    if not 0 < options["sigma_min"] < 1:
        raise ValueError(f"{model}: sigma_min={options['sigma_min']}, want above 0 and below 1")
    arrays = {key: np.asarray(array, np.float32) for key, array in given["state"].items()}
    for key, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{model}: {key} holds values that are not finite")
    hyper = options["kind"] == "vhrnn"
    shapes, layers, sizes = _wanted(model, arrays, hyper, options)
    if more := sorted(set(arrays) - set(shapes)):
        raise ValueError(f"{model}: {more[0]} is no part of a {options['kind']}")
    for key, shape in shapes.items():
        if arrays[key].shape != shape:
            raise ValueError(f"{model}: {key} has shape {arrays[key].shape}, want {shape}")
    found = len(layers["decoder"]) - 1
    if given.get("layers", found) != found:
        raise ValueError(f"{model}: layers={given['layers']}, but its decoder has {found}")
    tiny = sum(array.size for array in arrays.values()) <= TINY
    kept = {k: a if a.ndim < 2 or tiny else widen(*round_rows(a)) for k, a in arrays.items()}
    parts = {
        part: [tuple(kept[key].astype(float) for key in keys) for keys in keys_of]
        for part, keys_of in layers.items()
    }
    scales = len(kept["heads.bias"]) + len(parts["rescale"][-1][1]) if hyper else 0
    return _Net(arrays, kept, parts, options, sizes, tiny, scales)


def _wanted(model: str, arrays: Mapping, hyper: bool, options: Mapping):
    """Return the shape that each tensor should have, the keys of each perceptron's layers, and the sizes."""

    def shape(key: str, n: int) -> tuple[int, ...]:
        if key not in arrays:
            raise ValueError(f"{model} lacks {key}")
        if arrays[key].ndim != n:
            raise ValueError(f"{model}: {key} has shape {arrays[key].shape}, want {n} dimensions")
        return arrays[key].shape

    (x,), h = shape("input_mean", 1), shape("cell.weight_hidden", 2)[1]
    z = shape("cell.weight_input", 2)[1] // 2
    k = shape("hyper.weight_hidden", 2)[1] if hyper else 0
    fed = {"both": z + h, "latent": z, "hidden": h}[options["hyper_input"]]
    out = 2 * x if options["emission"] == "gaussian" else x
    ends = {
        "encode_x": (x, z),
        "encode_z": (z, z),
        "prior": (h, 2 * z),
        "posterior": (h + z, 2 * z),
        "decoder": (z + h, out),
    }
    shapes = {"input_mean": (x,), "cell.weight_hidden": (4 * h, h)}
    shapes["cell.weight_input"] = (4 * h, 2 * z)
    layers = {part: _layers(model, part, arrays) for part in ends}
    if hyper:
        shapes |= {"hyper.weight_input": (4 * k, fed), "hyper.weight_hidden": (4 * k, k)}
        shapes["hyper.bias"] = (4 * k,)
        ends["heads"] = (k, 12 * h)
        layers["heads"] = [("heads.weight", "heads.bias")]
        layers["rescale"] = _layers(model, "rescale", arrays)
        m = sum(len(arrays[bias]) for _, bias in layers["decoder"])
        ends["rescale"] = (fed, 2 * m)
    else:
        shapes["cell.bias"] = (4 * h,)
    for part, (first, last) in ends.items():
        sizes = [first, *(len(arrays[bias]) if bias in arrays else 0 for _, bias in layers[part])]
        sizes[-1] = last
        for (weight, bias), n_in, n_out in zip(layers[part], sizes, sizes[1:], strict=False):
            shapes |= {weight: (n_out, n_in), bias: (n_out,)}
    if missing := sorted(set(shapes) - set(arrays)):
        raise ValueError(f"{model} lacks {', '.join(missing)}")
    return shapes, layers, {"x": x, "z": z, "h": h, "k": k}


def _layers(model: str, part: str, arrays: Mapping) -> list[tuple[str, str]]:
    """Return the keys of a perceptron's weights and biases, first layer first."""
    places = sorted(
        int(m[1]) for key in arrays if (m := re.fullmatch(rf"{part}\.(\d+)\.weight", key))
    )
    if not places:
        raise ValueError(f"{model} lacks {part}.0.weight")
    keys = [(f"{part}.{i}.weight", f"{part}.{i}.bias") for i in places]
    if missing := [bias for _, bias in keys if bias not in arrays]:
        raise ValueError(f"{model} lacks {', '.join(missing)}")
    return keys


def _checked_golden(name: str, golden: Mapping, net: _Net) -> dict[str, np.ndarray]:
    known = ("x", "noise", *GOLDEN)
    kept = {k: np.asarray(golden[k], np.float32) for k in known if k in golden}
    if {"x", "noise"} - set(kept) or len(kept) < 3:
        raise ValueError(f"golden of {name!r}: want x, noise and some of {', '.join(GOLDEN)}")
    shape = kept["noise"].shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"golden noise of {name!r} has shape {shape}, want (T, N, Z)")
    steps, n, _ = shape
    x, z, h = (net.sizes[key] for key in "xzh")
    spread = x if net.options["emission"] == "gaussian" else 0
    wanted = {"x": (steps, x), "noise": (steps, n, z), "z": (steps, n, z), "log_alpha": (steps, n)}
    wanted |= {"kl": (steps, n), "mean_x": (steps, n, x), "deviation_x": (steps, n, spread)}
    wanted |= {"scales": (steps, n, 12 * h if net.scales else 0), "h": (steps, n, h)}
    for key, array in kept.items():
        if array.shape != wanted[key] or not np.isfinite(array).all():
            raise ValueError(
                f"golden {key} of {name!r} has shape {array.shape}, want {wanted[key]}, finite"
            )
    return {key: array for key, array in kept.items() if array.size}
