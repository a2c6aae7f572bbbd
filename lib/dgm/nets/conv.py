"""Convolutional generators and discriminators of small images, after Radford et al. 2016 (DCGAN)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

NORMS = ("batch", "spectral", "none")


def dcgan_generator(
    noise_dim: int = 100,
    channels: Sequence[int] = (512, 256, 128, 64),
    image: tuple[int, int] = (3, 32),
    *,
    kernel: int = 5,
    last_stride: int = 1,
) -> nn.Sequential:
    """Noise (B, noise_dim) -> images (B, *image, image[1]) from -1 to 1.

    A dense layer, then transposed convolutions of stride 2, each with a rectifier and then batch
    normalisation; at the end a convolution (last_stride 1) or one more transposed one (2), and tanh.

    Args:
        noise_dim: of the noise.
        channels: of the dense layer's maps and of each further layer.
        image: channels and side.
        kernel: side of the filters with stride 2.
        last_stride: of the last layer, whose filter is 3 wide at 1.

    Raises:
        ValueError: doublings that do not lead to the side.
    """
    doublings = len(channels) - 1 + (last_stride == 2)
    side, rest = divmod(image[1], 2**doublings)
    if rest or side < 1 or last_stride not in (1, 2):
        raise ValueError(f"{doublings} doublings do not lead to {image[1]} pixels")
    modules: list[nn.Module] = [
        nn.Linear(noise_dim, channels[0] * side * side),
        nn.Unflatten(1, (channels[0], side, side)),
        nn.ReLU(),
        nn.BatchNorm2d(channels[0]),
    ]
    for before, after in itertools.pairwise(channels):
        modules += [_doubling(before, after, kernel), nn.ReLU(), nn.BatchNorm2d(after)]
    if last_stride == 2:
        modules.append(_doubling(channels[-1], image[0], kernel))
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
    """Images (B, *image, image[1]) -> logits (B, outputs).

    Convolutions of stride 2, each with a leaky rectifier of slope 0.2 on its direct output, so that the
    rectifiers see the layer before its batch normalisation; a linear layer at the end.

    Args:
        channels: of each convolution.
        image: channels and side.
        kernel: side of the filters.
        first_stride: of the first convolution, which has no batch normalisation.
        norm: "batch", "spectral" (Miyato et al. 2018) or "none".
        outputs: 1 for a real-or-fake logit, or one a class.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    constrained = spectral_norm if norm == "spectral" else lambda module: module
    modules: list[nn.Module] = []
    side, before = image[1], image[0]
    for i, after in enumerate(channels):
        stride, padding = (first_stride if i == 0 else 2), (kernel - 1) // 2
        side = (side + 2 * padding - kernel) // stride + 1
        conv = _glorot(nn.Conv2d(before, after, kernel, stride, padding))
        modules += [constrained(conv), nn.LeakyReLU(0.2)]
        if norm == "batch" and i:
            modules.append(nn.BatchNorm2d(after))
        before = after
    head = _glorot(nn.Linear(before * side * side, outputs))
    return nn.Sequential(*modules, nn.Flatten(), constrained(head))


def inner_layers(n: int) -> list[int]:
    """Rectifiers without the first and the last of n, which the released code regularises."""
    if n < 3:
        raise ValueError(f"{n} rectifiers have none between the first and the last")
    return list(range(1, n - 1))


@torch.no_grad()
def generate(
    network: nn.Module, noise: Tensor, batch_size: int = 500, batch_statistics: bool = True
) -> Tensor:
    """Images (N, ...) for noise (N, D), some at a time, on the CPU; the module's mode is left as it was.

    Args:
        network: the generator.
        noise: on its device.
        batch_size: at a time.
        batch_statistics: batch normalisation by the statistics of each batch, as in training; the running
            ones are not touched.
    """
    was_training = network.training
    kept = {k: v.clone() for k, v in network.named_buffers()}
    network.train(batch_statistics)
    made = torch.cat([network(part).cpu() for part in noise.split(batch_size)])
    for name, buffer in network.named_buffers():
        buffer.copy_(kept[name])
    network.train(was_training)
    return made


def _doubling(before: int, after: int, kernel: int) -> nn.ConvTranspose2d:
    padding = (kernel - 1) // 2
    # kernel - 2 - 2 padding + output_padding = 0 makes the side exactly twice as long
    return nn.ConvTranspose2d(
        before, after, kernel, 2, padding, output_padding=2 * padding + 2 - kernel
    )


def _glorot(module: nn.Module) -> nn.Module:
    """Glorot's uniform weights and no bias, as the released code begins."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)
    return module
