"""Variational recurrent networks small enough to travel inside a page."""

from collections.abc import Mapping

import numpy as np

from . import checks, packing
from .packing import BYTES_PER_MODEL, PackedWeights, check_size, pack

CHOICES = {
    "kind": ("vrnn", "vhrnn"),
    "emission": ("gaussian", "bernoulli"),
    "hyper_input": ("both", "latent", "hidden"),
    "cell": ("lstm",),  # all that the page computes
}
TINY = 8000  # numbers up to which a model keeps its float32
GOLDEN = {  # what a golden sequence may hold beside its x and noise
    "z": "T N Z",
    "log_alpha": "T N",
    "kl": "T N",
    "mean_x": "T N X",
    "deviation_x": "T N X",
    "scales": "T N 12H",
    "h": "T N H",
}


class HyperWeights(PackedWeights):
    """Variational recurrent networks, with generated weights (VHRNN) or without, once per page.

    A model has ``kind``, ``emission``, ``state``, the arrays of a state dict, and perhaps
    ``hyper_input`` and ``sigma_min``. A golden sequence has ``x`` (T, X), ``noise`` (T, N, Z), and
    what PyTorch computes of them with the weights of `rounded`, without resampling.
    """

    def __init__(
        self, models: Mapping[str, Mapping], *, golden: Mapping[str, Mapping] | None = None
    ) -> None:
        golden, packed, described = golden or {}, bytearray(), []
        checks.distinct("models", list(models))
        checks.distinct("golden", list(golden), models)
        for name, model in models.items():
            options, arrays, sizes = _check_model(f"model {name!r}", model)
            start = len(packed)
            tensors = pack(packed, arrays, _is_tiny(arrays))
            check_size(f"model {name!r}", len(packed) - start, BYTES_PER_MODEL)
            described.append({"name": name, "tensors": tensors, "sizes": sizes, **options})
            if name in golden:
                vectors = _check_golden(f"golden of {name!r}", golden[name], sizes)
                described[-1]["golden"] = pack(packed, vectors, True)
        super().__init__(packed, {"models": described}, models)

    def describe(self, name: str) -> dict:
        """Return a model's kind, emission, hyper_input, sigma_min, and sizes x, z, h, k."""
        checks.choice("model", name, self.names)
        model = self.header["models"][self.names.index(name)]
        return model["sizes"] | {key: model[key] for key in (*CHOICES, "sigma_min")}

    def first(self, kind: str) -> str:
        """Return the name of the first model of a kind, or raise ValueError."""
        kinds = {name: self.describe(name)["kind"] for name in self.names}
        checks.choice("kind", kind, list(kinds.values()))
        return next(name for name, other in kinds.items() if other == kind)

    def check_frames(self, name: str, x: int, emission: str) -> str:
        """Return the name of a model of such frames, or raise ValueError."""
        model = self.describe(name)
        if (model["x"], model["emission"]) != (x, emission):
            raise ValueError(
                f"model {name!r} has {model['x']} {model['emission']} outputs: want {x} {emission}"
            )
        return name


def rounded(models: Mapping[str, Mapping]) -> dict[str, dict[str, np.ndarray]]:
    """Return the float32 arrays that a page has of models that `HyperWeights` takes."""
    states = {name: model["state"] for name, model in models.items()}
    return {name: packing.rounded(state, _is_tiny(state)) for name, state in states.items()}


def _is_tiny(arrays: Mapping[str, np.ndarray]) -> bool:
    return sum(array.size for array in arrays.values()) <= TINY


def _check_model(owner: str, model: Mapping) -> tuple[dict, dict[str, np.ndarray], dict[str, int]]:
    """Return a model's options, its arrays, and the sizes x, z, h, k."""
    checks.keys(owner, model, ("kind", "emission", "state"))
    options = {"hyper_input": "both", "sigma_min": 1e-3, "cell": "lstm", **model}
    state = options.pop("state")
    for key, value in options.items():
        checks.choice(f"{owner}: option", key, (*CHOICES, "sigma_min"))
        if key in CHOICES:
            checks.choice(f"{owner}: {key}", value, CHOICES[key])
    options["sigma_min"] = float(options["sigma_min"])
    if not 0 < options["sigma_min"] < 1:
        raise ValueError(f"{owner}: sigma_min={options['sigma_min']}, want above 0 and below 1")
    shapes = _shapes(options, sum(key.startswith("decoder.") for key in state) // 2 - 1)
    if more := sorted(state.keys() - shapes.keys()):
        raise ValueError(f"{owner}: {more[0]} is no part of a {options['kind']}")
    letters: dict[str, int] = {}
    arrays = checks.arrays(owner, state, shapes, letters)
    return options, arrays, {key.lower(): letters.get(key, 0) for key in "XZHK"}


def _shapes(options: Mapping[str, str], layers: int) -> dict[str, str]:
    """The shapes of a network whose perceptrons have so many hidden layers, for `checks.arrays`."""
    numbers = 2 if options["emission"] == "gaussian" else 1
    nets = {
        "encode_x": ("X", "Z"),
        "encode_z": ("Z", "Z"),
        "prior": ("H", "2Z"),
        "posterior": ("H+Z", "2Z"),
        "decoder": ("Z+H", f"{numbers}X"),
    }
    shapes = {"input_mean": "X", "cell.weight_hidden": "4H H", "cell.weight_input": "4H 2Z"}
    for net, (first, last) in nets.items():
        for i in range(layers + 1):
            n_in, n_out = "Z" if i else first, "Z" if i < layers else last
            shapes |= {f"{net}.{2 * i}.weight": f"{n_out} {n_in}", f"{net}.{2 * i}.bias": n_out}
    if options["kind"] == "vrnn":
        return shapes | {"cell.bias": "4H"}
    read = {"both": "Z+H", "latent": "Z", "hidden": "H"}[options["hyper_input"]]
    written = f"{2 * layers}Z+{2 * numbers}X"
    shapes |= {"hyper.weight_hidden": "4K K", "hyper.weight_input": f"4K {read}"}
    shapes |= {"hyper.bias": "4K", "heads.weight": "12H K", "heads.bias": "12H"}
    shapes |= {"rescale.0.weight": f"W {read}", "rescale.0.bias": "W"}
    return shapes | {"rescale.2.weight": f"{written} W", "rescale.2.bias": written}


def _check_golden(owner: str, golden: Mapping, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    names = [key for key in GOLDEN if key in golden and np.asarray(golden[key]).size]
    if not names or not {"x", "noise"} <= golden.keys():
        raise ValueError(f"{owner}: want x, noise and some of {', '.join(GOLDEN)}")
    shapes = {"x": "T X", "noise": "T N Z"} | {key: GOLDEN[key] for key in names}
    letters = {key.upper(): size for key, size in sizes.items()}
    return checks.arrays(owner, golden, shapes, letters)
