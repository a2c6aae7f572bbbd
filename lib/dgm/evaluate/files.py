"""Decoders and images that lie in files: TorchScript, ONNX, NumPy, safetensors."""

import importlib.util
import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from dgm.nets.onnx_decoder import OnnxDecoder
from dgm.sampling.decoder_checks import Decoder, check_images, in_short

SUFFIXES = (".onnx", ".pt", ".pth", ".ts", ".torchscript")
MOST_DIMENSIONS = 1024  # that are tried where a decoder does not name its own
_POINTWISE = nn.Tanh, nn.Sigmoid, nn.ReLU, nn.LeakyReLU, nn.Softplus, nn.SiLU, nn.GELU
_OF_SHAPES = (
    "prim::Constant",
    "prim::ListConstruct",
    "prim::NumToTensor",
    "aten::size",
    "aten::Int",
)
_ACTIVATIONS: dict[str, Any] = {kind.__name__.lower(): kind for kind in _POINTWISE}


def load_decoder(path: str | PathLike) -> nn.Module:
    """The decoder of a TorchScript or ONNX file, on the CPU, in eval mode.

    A plain perceptron comes as nn.Sequential, which is sampled faster. An ONNX file needs the
    package onnx, and is compared with onnxruntime where that is installed.
    ValueError for another file, an operator that is not covered, or unequal images.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path} is no file of a decoder")
    if path.suffix == ".onnx":
        decoder = OnnxDecoder(path).eval()
        _check_against_runtime(path, decoder)
        return _plain(decoder) or decoder
    try:
        decoder = torch.jit.load(path, map_location="cpu").eval()
        return _plain(decoder) or decoder
    except (RuntimeError, ValueError) as error:
        advice = "save one by torch.jit.trace(decoder, codes).save(path), or export it to ONNX"
        raise ValueError(f"{path} is no TorchScript: {advice} ({in_short(error)})") from error


def _plain(decoder: nn.Module) -> nn.Sequential | None:
    """The same as affine layers and activations, of a module that is nothing else; else None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that shapes become constants
            return _perceptron(decoder)
    except Exception:  # of any kind, as modules are: several outputs, odd shapes
        return None


def _perceptron(decoder: Any) -> nn.Sequential | None:
    script = decoder
    if isinstance(decoder, OnnxDecoder):  # whose steps are the same for all codes
        script = torch.jit.trace(decoder, torch.zeros(2, decoder.latent_dim or 0))
    graph = torch.jit.freeze(script).graph
    (_, codes), (output,) = graph.inputs(), graph.outputs()
    layers, bias, n_steps = [], None, 0
    while output != codes:
        parts, n_steps = [*output.node().inputs()], n_steps + 1
        kind = output.node().kind().removeprefix("aten::").removesuffix("_").replace("_", "")
        given: list[Any] = [part.toIValue() for part in parts]  # None of what is no constant
        if kind == "addmm" and given[3:] == [1, 1] and given[0] is not None:
            kind, parts, given = "matmul", parts[1:], [None, given[2], given[0]]
        if kind == "add" and given[2:] == [1] and isinstance(given[1], Tensor) and bias is None:
            bias = given[1]  # of the product before it
        elif kind in ("linear", "matmul") and isinstance(given[1], Tensor):
            weight = given[1] if kind == "linear" else given[1].T
            layers.append(_affine(weight, *(b for b in (bias, *given[2:]) if b is not None)))
            bias = None
        elif kind in _ACTIVATIONS and bias is None:
            layers.append(_ACTIVATIONS[kind](*given[1:]))
        elif kind in ("view", "reshape", "unflatten") and not layers and bias is None:
            layers.append(None)
        else:
            return None
        output = parts[0]
    # What else is done, in place or for some codes alone, is no step on the way.
    if n_steps < sum(node.kind() not in _OF_SHAPES for node in graph.nodes()):
        return None
    affine = [layer for layer in layers if isinstance(layer, nn.Linear)]
    options = {"generator": torch.Generator().manual_seed(0), "dtype": affine[-1].weight.dtype}
    tried = 3 * torch.randn(7, affine[-1].in_features, **options)
    images = decoder(tried.clone())
    layers = [layer or nn.Unflatten(1, images.shape[1:]) for layer in layers]
    plain = nn.Sequential(*reversed(layers)).eval()
    same = torch.allclose(plain(tried), images, rtol=1e-5, atol=1e-5 * float(images.abs().max()))
    return plain if same and bias is None else None


def _affine(weight: Tensor, *bias: Tensor) -> nn.Linear:
    (n_out, n_in), options = weight.shape, {"bias": bool(bias), "dtype": weight.dtype}
    layer: Any = nn.utils.skip_init(nn.Linear, n_in, n_out, **options)  # without random numbers
    layer.load_state_dict(dict(zip(("weight", "bias"), (weight, *bias), strict=False)))
    return layer


def latent_dimension(decoder: Callable[[Tensor], Any]) -> int:
    """The only length of code that a decoder takes; ValueError unless there is one up to 1024."""
    if isinstance(decoder, OnnxDecoder) and decoder.latent_dim:
        return decoder.latent_dim
    first = next(iter(decoder), None) if isinstance(decoder, nn.Sequential) else None
    if isinstance(first, nn.Linear):
        return first.in_features
    decoder = Decoder(decoder)
    first = next(decoder.parameters(), torch.zeros(()))
    fits = []
    for dim in range(1, MOST_DIMENSIONS + 1):
        try:
            with torch.no_grad():
                decoder(torch.zeros(2, dim, dtype=first.dtype, device=first.device))
        except Exception:  # of any kind, as decoders are
            continue
        fits.append(dim)
        if len(fits) > 1:
            break
    if len(fits) != 1:
        which = f"it takes codes of {fits[0]} and of {fits[1]}" if fits else "it takes none"
        raise ValueError(f"the decoder does not show its latent_dim ({which}): give it")
    return fits[0]


def read_images(path: Path) -> Tensor:
    """Images of a .npy or .safetensors file that `check_images` takes, whole numbers as float32."""
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                images = np.lib.format.read_array(file, allow_pickle=False)
        elif path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
            if len(tensors) != 1 and "images" not in tensors:
                raise ValueError(f"of its tensors {sorted(tensors)} none is named 'images'")
            images = tensors.get("images", next(iter(tensors.values())))
        else:
            raise ValueError("it must be a .npy or .safetensors file")
        images = check_images(images)
    except (ValueError, OSError, MemoryError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return images if images.is_floating_point() else images.float()


def _check_against_runtime(path: Path, decoder: OnnxDecoder) -> None:
    if importlib.util.find_spec("onnxruntime") is None or decoder.latent_dim is None:
        return
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dtype = torch.float64 if "double" in session.get_inputs()[0].type else torch.float32
    shape = decoder.batch or 4, decoder.latent_dim
    codes = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    (theirs,) = session.run(None, {decoder.input: codes.numpy()})
    with torch.no_grad():
        ours = decoder(codes)
    missed = float((ours - torch.from_numpy(theirs)).abs().max())
    if not missed <= 1e-4 * max(1.0, float(ours.abs().max())):
        raise ValueError(f"{path} gives images that are off onnxruntime's by {missed:.3g}")
