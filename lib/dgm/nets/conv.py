"""Convolutional generators and discriminators of small images: DCGAN, Radford et al. 2016."""

import copy
import itertools
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

NORMS = ("batch", "spectral", "none")
Module = TypeVar("Module", bound=nn.Module)


def dcgan_generator(
    noise_dim: int = 100,
    channels: Sequence[int] = (512, 256, 128, 64),
    image: tuple[int, int] = (3, 32),
    *,
    kernel: int = 5,
    last_stride: int = 1,
) -> nn.Sequential:
    """Noise (B, noise_dim) -> images (B, *image, image[1]) from -1 to 1.

    A dense layer, transposed convolutions of stride 2, rectifiers before batch normalisation, at
    the end a convolution (last_stride 1) or a transposed one. ValueError for a side that does not
    fit.
    """
    doublings = len(channels) - 1 + (last_stride == 2)
    side, rest = divmod(image[1], 2**doublings)
    if rest or side < 1 or last_stride not in (1, 2):
        raise ValueError(f"{doublings} doublings do not lead to {image[1]} pixels")
    padding, first = (kernel - 1) // 2, (channels[0], side, side)
    dense = nn.Linear(noise_dim, channels[0] * side * side)
    modules = [dense, nn.Unflatten(1, first), nn.ReLU(), nn.BatchNorm2d(channels[0])]
    # kernel - 2 - 2 padding + output_padding = 0 makes the side exactly twice as long.
    doubling = (kernel, 2, padding, 2 * padding + 2 - kernel)
    for before, after in itertools.pairwise(channels):
        modules += [nn.ConvTranspose2d(before, after, *doubling), nn.ReLU(), nn.BatchNorm2d(after)]
    if last_stride == 2:
        modules.append(nn.ConvTranspose2d(channels[-1], image[0], *doubling))
    else:
        modules.append(nn.Conv2d(channels[-1], image[0], 3, padding=1))
    return _glorot(nn.Sequential(*modules, nn.Tanh()))


def dcgan_discriminator(
    channels: Sequence[int] = (64, 128, 256, 512),
    image: tuple[int, int] = (3, 32),
    *,
    kernel: int = 5,
    first_stride: int = 1,
    norm: str = "batch",
    outputs: int = 1,
) -> nn.Sequential:
    """Images (B, *image, image[1]) -> logits (B, outputs): one, or one per class.

    Convolutions of stride 2, the first of first_stride, each with a leaky rectifier of slope 0.2
    before its batch normalisation, of which the first has none; a linear layer at the end. norm is
    "batch", "spectral" (Miyato et al. 2018) or "none", else ValueError.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    constrained = spectral_norm if norm == "spectral" else lambda module: module
    modules: list[nn.Module] = []
    side, padding = image[1], (kernel - 1) // 2
    for i, (before, after) in enumerate(itertools.pairwise([image[0], *channels])):
        stride = 2 if i else first_stride
        side = (side + 2 * padding - kernel) // stride + 1
        conv = _glorot(nn.Conv2d(before, after, kernel, stride, padding))
        modules += [constrained(conv), nn.LeakyReLU(0.2)]
        if norm == "batch" and i:
            modules.append(nn.BatchNorm2d(after))
    head = _glorot(nn.Linear(channels[-1] * side * side, outputs))
    return nn.Sequential(*modules, nn.Flatten(), constrained(head))


@torch.no_grad()
def generate(network: nn.Module, noise: Tensor, batch_size: int = 500) -> Tensor:
    """Images (N, ...) on the CPU for noise (N, D), with each batch's own statistics."""
    trained = copy.deepcopy(network).train()
    return torch.cat([trained(part).cpu() for part in noise.split(batch_size)])


def _glorot(module: Module) -> Module:
    """Glorot's uniform weights and no bias, as the released code begins."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            weight, bias = part.parameters()
            nn.init.xavier_uniform_(weight)
            nn.init.zeros_(bias)
    return module
