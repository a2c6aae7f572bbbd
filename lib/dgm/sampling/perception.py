"""Perception beside rate and distortion: how far f(z), z from q_beta, is from real images.

At rate 0 the distortion of a draw from the prior is E|x - f(z)|^2, the spread of the images plus
that of the draws plus the squared distance of their means: it is smallest for the mean image, and
twice the spread for a perfect sampler. A distance of distributions tells them apart.
Blau and Michaeli, ICML 2019, eq. 4; the distances are those of `dgm.feature_distance`
and `dgm.kernel_distance`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dgm.feature_distance import frechet_distance
from dgm.kernel_distance import kernel_distance
from dgm.sampling.curves import PerceptionCurve
from dgm.sampling.decoder_checks import check_images, count

CHUNK = 1024  # codes decoded at once


class Perception(NamedTuple):
    """What the reconstructions of a curve are compared with, in which features."""

    images: Tensor | None = None  # real ones (M, ...), not coded themselves; None: those coded
    features: Callable[[Tensor], Tensor] | None = None  # of pixels (C, P) -> (C, F); None: pixels
    draws: int = 8  # K codes per image and beta, from its chains by their weights


def n_draws(perception: Perception | int | None) -> int:
    """Codes per image that a curve keeps; ValueError for what is neither."""
    if not isinstance(perception, Perception | int | None):
        kind = type(perception).__name__
        raise ValueError(f"perception must be Perception(...) or a number of draws, got {kind}")
    if perception is None:
        return 0
    given = perception.draws if isinstance(perception, Perception) else perception
    return count(given, "draws of perception")


def perception_curve(
    decoder: nn.Module, draws: Tensor, x: Tensor, perception: Perception
) -> PerceptionCurve:
    """Kernel and Frechet distance at each beta, (R,), of the images of codes (R, N, K, D).

    x (N, P) are the coded images on the decoder's device; against them an image's own pair counts
    not. N and M of at least 3 images, else NaN. ValueError where features are not (C, F), finite.
    """
    paired, read = perception.images is None, perception.features or (lambda images: images)
    real = x if perception.images is None else check_images(perception.images).flatten(1).to(x)
    if real.shape[1] != x.shape[1]:
        sizes = f"{real.shape[1]} values each, those coded {x.shape[1]}"
        raise ValueError(f"the images of perception have {sizes}")
    rows = []
    with torch.no_grad():
        real = read(real)
        for codes in draws:
            parts = codes.flatten(0, 1).to(x).split(CHUNK)
            features = torch.cat([read(decoder(part).flatten(1).to(x)) for part in parts])
            if features.ndim != 2 or real.ndim != 2:
                shape = tuple(features.shape)
                raise ValueError(f"features of perception must be (C, F), got {shape}")
            if min(len(x), len(real)) < 3:
                rows.append(torch.full((3,), torch.nan, dtype=torch.float64))
                continue
            groups = features.view(len(x), -1, features.shape[1])
            kernel = kernel_distance(real, groups, paired)
            rows.append(torch.stack([*kernel, frechet_distance(real, features)]).cpu())
    return PerceptionCurve(*torch.stack(rows, 1))
