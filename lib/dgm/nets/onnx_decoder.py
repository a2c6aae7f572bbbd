"""An ONNX graph as a PyTorch module, so that a decoder from any framework has gradients.

Covered are the operators of decoders of images, `OPERATORS` below, by the semantics of
https://onnx.ai/onnx/operators; a graph with another is refused by name before it runs.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

INSTALL = "needs the package onnx: pip install 'dgm[onnx]'"


class OnnxDecoder(nn.Module):
    """A graph of one input, codes (C, D), and one output; its weights are buffers.

    The batch that an export has fixed is freed: a reshape to it follows the codes. `latent_dim` is
    the graph's D, None where it leaves D open. ValueError names what is not covered.
    """

    def __init__(self, path: str | PathLike) -> None:
        super().__init__()
        try:
            import onnx
        except ImportError as error:
            raise ValueError(f"{path} {INSTALL}") from error
        try:
            graph = onnx.load(path).graph
        except Exception as error:  # of protobuf, of files, of external data
            raise ValueError(f"{path} is no ONNX file: {error}") from error
        self.names: dict[str, str] = {}  # of buffers, by the graph's
        for weight in graph.initializer:
            self._keep(weight.name, _tensor(onnx.numpy_helper.to_array(weight)))
        inputs = [i for i in graph.input if i.name not in self.names]
        if len(inputs) != 1 or len(graph.output) != 1:
            sides = [[i.name for i in side] for side in (inputs, graph.output)]
            want = "want one of codes and one of images"
            raise ValueError(f"{path} has the inputs {sides[0]} and outputs {sides[1]}: {want}")
        self.input, self.output = inputs[0].name, graph.output[0].name
        sizes = [d.dim_value or None for d in inputs[0].type.tensor_type.shape.dim]
        self.batch, self.latent_dim = sizes if len(sizes) == 2 else (None, None)
        unknown = sorted({_name(node) for node in graph.node} - OPERATORS.keys() - {"Constant"})
        if unknown:
            covered = "export the decoder without them, or as TorchScript"
            raise ValueError(f"{path} has operators that are not covered, {unknown}: {covered}")
        self.steps: list[tuple[str, list[str], list[str], dict[str, Any]]] = []
        for node in graph.node:
            given = {a.name: _attribute(onnx.helper.get_attribute_value(a)) for a in node.attribute}
            if node.op_type == "Constant":
                self._keep(node.output[0], torch.as_tensor(next(iter(given.values()))))
            else:
                self.steps.append((node.op_type, [*node.input], [*node.output], given))

    def _keep(self, name: str, value: Tensor) -> None:
        self.names[name] = f"tensor{len(self.names)}"
        self.register_buffer(self.names[name], value)

    def forward(self, codes: Tensor) -> Tensor:
        """Images of codes (C, D), in the graph's own shape; ValueError names a failing operator."""
        values: dict[str, Any] = {name: getattr(self, own) for name, own in self.names.items()}
        values |= {self.input: codes, "": None}  # an empty name is an input left out
        for kind, inputs, outputs, given in self.steps:
            parts = [values[name] for name in inputs]
            if kind == "Reshape":
                parts[1] = self._freed(parts, len(codes))
            try:
                result = OPERATORS[kind](*parts, **given)
            except (TypeError, ValueError, LookupError, AssertionError, RuntimeError) as error:
                where = f"the ONNX operator {kind} of {outputs[0]}"
                raise ValueError(f"{where} with {given} is not covered: {error}") from error
            results = result if isinstance(result, tuple) else (result,)
            values.update(zip(outputs, results, strict=False))
        return values[self.output]

    def _freed(self, parts: Sequence[Tensor], n_codes: int) -> Tensor:
        """The shape of a reshape, where the exported batch stands for this one."""
        x, shape = parts
        if self.batch and len(x) == n_codes and x.ndim and shape[0] == self.batch:
            return torch.cat([shape.new_tensor([n_codes]), shape[1:]])
        return shape


def _name(node: Any) -> str:
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    return domain + node.op_type


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(array.copy())


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "SerializeToString"):
        import onnx

        return _tensor(onnx.numpy_helper.to_array(value))
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    a, b = a.T if transA else a, b.T if transB else b
    if c is None or (alpha, beta) != (1.0, 1.0):
        product = alpha * (a @ b)
        return product if c is None else product + beta * c
    return torch.addmm(c, a, b)


def _convolution(
    transposed: bool,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    auto_pad: str = "NOTSET",
    dilations: list[int] | None = None,
    group: int = 1,
    kernel_shape: list[int] | None = None,
    output_padding: list[int] | None = None,
    pads: list[int] | None = None,
    strides: list[int] | None = None,
) -> Tensor:
    n = x.ndim - 2
    pads = pads or [0] * 2 * n
    if auto_pad not in ("NOTSET", "VALID") or pads[:n] != pads[n:]:
        raise NotImplementedError(f"auto_pad={auto_pad} or unlike pads {pads}")
    options = {"stride": strides or 1, "padding": pads[:n], "groups": group}
    options |= {"dilation": dilations or 1}
    name = f"conv{'_transpose' * transposed}{n}d"
    if transposed:
        options["output_padding"] = output_padding or 0
    return getattr(functional, name)(x, weight, bias, **options)


def _reshape(x: Tensor, shape: Tensor, allowzero: int = 0) -> Tensor:
    sizes = shape.tolist()
    return x.reshape([x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(sizes)])


def _axes(axes: Tensor | list[int]) -> list[int]:
    return axes.tolist() if isinstance(axes, Tensor) else axes


def _unsqueeze(x: Tensor, axes: Tensor | list[int]) -> Tensor:
    axes = _axes(axes)
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _squeeze(x: Tensor, axes: Tensor | list[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(_axes(axes)))


def _slice(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    places = range(len(starts)) if axes is None else axes.tolist()
    every = [1] * len(starts) if steps is None else steps.tolist()
    for axis, *part in zip(places, starts.tolist(), ends.tolist(), every, strict=True):
        picked = range(x.shape[axis])[slice(*part)]
        if picked.step == 1:
            x = x.narrow(axis, picked.start, len(picked))
        else:
            x = x.index_select(axis, torch.tensor([*picked], device=x.device))
    return x


def _gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    axis, size = axis % x.ndim, x.shape[axis]
    flat = x.index_select(axis, indices.flatten() % size)
    return flat.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _split(
    x: Tensor, sizes: Tensor | None = None, axis: int = 0, num_outputs: int = 0, split: Any = None
) -> tuple[Tensor, ...]:
    parts = split or (None if sizes is None else sizes.tolist())
    return x.split(parts or math.ceil(x.shape[axis] / num_outputs), axis)


def _cast(x: Tensor, to: int, saturate: int = 1) -> Tensor:
    if to in (1, 10, 11, 16):  # floats stay in the precision of the run
        return x if x.is_floating_point() else x.to(torch.get_default_dtype())
    return x.bool() if to == 9 else x.long()


def _pad(
    x: Tensor, pads: Tensor, value: Any = None, axes: Any = None, mode: str = "constant"
) -> Tensor:
    if mode != "constant" or axes is not None:
        raise NotImplementedError(f"mode {mode}, axes {axes}")
    starts, ends = pads.view(2, -1).tolist()
    sides = [n for pair in zip(starts[::-1], ends[::-1], strict=True) for n in pair]
    return functional.pad(x, sides, value=0.0 if value is None else float(value))


def _clip(x: Tensor, low: Any = None, high: Any = None, **given: float) -> Tensor:
    return x.clamp(given.get("min", low), given.get("max", high))


def _batch_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    epsilon: float = 1e-5,
    **_: Any,
) -> Tensor:
    return functional.batch_norm(x, mean, var, scale, bias, eps=epsilon)


def _layer_norm(
    x: Tensor,
    scale: Tensor,
    bias: Tensor | None = None,
    axis: int = -1,
    epsilon: float = 1e-5,
    **_: Any,
) -> Tensor:
    return functional.layer_norm(x, x.shape[axis:], scale, bias, epsilon)


def _resize(
    x: Tensor,
    _roi: Any = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    **_: Any,
) -> Tensor:
    size = sizes.tolist()[2:] if sizes is not None else None
    if size is None and scales is not None:
        size = [math.floor(n * s) for n, s in zip(x.shape[2:], scales.tolist()[2:], strict=True)]
    assert size is not None
    if mode == "nearest" and not any(n % m for n, m in zip(size, x.shape[2:], strict=True)):
        return functional.interpolate(x, size)
    corners = coordinate_transformation_mode == "align_corners"
    if mode != "linear" or not (corners or "half_pixel" in coordinate_transformation_mode):
        raise NotImplementedError(f"{mode}, {coordinate_transformation_mode} to {size}")
    kind = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return functional.interpolate(x, size, mode=kind, align_corners=corners)


def _depth_to_space(x: Tensor, blocksize: int, mode: str = "DCR") -> Tensor:
    if mode == "DCR":
        n, c, h, w = x.shape
        x = x.view(n, blocksize**2, -1, h, w).transpose(1, 2).reshape(n, c, h, w)
    return functional.pixel_shuffle(x, blocksize)


def _reduced(
    function: Callable,
    x: Tensor,
    axes: Any = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Tensor:
    over = tuple(range(x.ndim)) if axes is None else tuple(_axes(axes))
    return function(x, over, bool(keepdims)) if over else x


def _divided(a: Tensor, b: Tensor) -> Tensor:
    whole = not (a.is_floating_point() or b.is_floating_point())
    return torch.div(a, b, rounding_mode="trunc") if whole else a / b


def _shape(x: Tensor, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64, device=x.device)


def _filled(shape: Tensor, value: Tensor | None = None) -> Tensor:
    value = torch.zeros(1, device=shape.device) if value is None else value.to(shape.device)
    return value.expand(shape.tolist() or [1]).reshape(shape.tolist())


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda *parts, axis: torch.cat(parts, axis),
    "ConstantOfShape": _filled,
    "Conv": partial(_convolution, False),
    "ConvTranspose": partial(_convolution, True),
    "Cos": torch.cos,
    "DepthToSpace": _depth_to_space,
    "Div": _divided,
    "Dropout": lambda x, *_, **__: x,
    "Elu": functional.elu,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Expand": _expand,
    "Flatten": lambda x, axis=1: x.reshape(math.prod(x.shape[:axis]), -1),
    "Gather": _gather,
    "Gelu": functional.gelu,
    "Gemm": _gemm,
    "Greater": torch.gt,
    "Identity": lambda x: x,
    "InstanceNormalization": lambda x, scale, bias, epsilon=1e-5: functional.instance_norm(
        x, weight=scale, bias=bias, eps=epsilon
    ),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda x, alpha=0.01: functional.leaky_relu(x, alpha),
    "Less": torch.lt,
    "Log": torch.log,
    "MatMul": torch.matmul,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mod": lambda a, b, fmod=0: torch.fmod(a, b) if fmod else torch.remainder(a, b),
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Pad": _pad,
    "Pow": torch.pow,
    "PRelu": lambda x, slope: torch.where(x < 0, slope * x, x),
    "Reciprocal": torch.reciprocal,
    "ReduceMean": partial(_reduced, torch.mean),
    "ReduceSum": partial(_reduced, torch.sum),
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Slice": _slice,
    "Softmax": lambda x, axis=-1: x.softmax(axis),
    "Softplus": functional.softplus,
    "Split": _split,
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Transpose": lambda x, perm=None: x.permute(perm or [*reversed(range(x.ndim))]),
    "Unsqueeze": _unsqueeze,
    "Where": torch.where,
}
