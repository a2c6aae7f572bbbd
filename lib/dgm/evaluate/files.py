"""Decoders and images that lie in files: TorchScript, ONNX, NumPy, safetensors."""

import importlib.util
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


def load_decoder(path: str | PathLike) -> nn.Module:
    """The decoder of a TorchScript or ONNX file, on the CPU, in eval mode.

    An ONNX file needs the package onnx, and is compared with onnxruntime where that is installed.
    ValueError for another file, an operator that is not covered, or unequal images.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ValueError(f"{path} is no file of a decoder")
    if path.suffix == ".onnx":
        decoder = OnnxDecoder(path).eval()
        _check_against_runtime(path, decoder)
        return decoder
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        advice = "save one by torch.jit.trace(decoder, codes).save(path), or export it to ONNX"
        raise ValueError(f"{path} is no TorchScript: {advice} ({in_short(error)})") from error


def latent_dimension(decoder: Callable[[Tensor], Any]) -> int:
    """The only length of code that a decoder takes; ValueError unless there is one up to 1024."""
    if isinstance(decoder, OnnxDecoder) and decoder.latent_dim:
        return decoder.latent_dim
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
