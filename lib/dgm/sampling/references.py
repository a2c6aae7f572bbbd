"""What any decoder is compared with: linear Gaussian codes, and the best prior for a decoder.

A Gaussian source of variances lambda along its axes has the rate-distortion function of Shannon,
by reverse water-filling (Cover and Thomas, 2006, theorem 10.3.3). At the slope -beta the water
stands at theta = 1 / (2 beta), and

    D(beta) = sum min(theta, lambda),    R(beta) = sum max(0, log(lambda / theta)) / 2      (1)

No source with these variances needs more. The prior that costs least for a decoder and N images is
a fixed point (Blahut, 1972; Arimoto, 1972), of which each step lowers the mean of -log Z_beta:

    p(z)  <-  p(z) c(z),    c(z) = mean_n exp(-beta d(x_n, f(z))) / Z_n                     (2)
    mean(-log Z) - max log c  <=  min_p mean(-log Z)  <=  mean(-log Z)                      (3)

Rates are nats per image, distortions summed squared errors per image.
"""

import math
from collections import namedtuple
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dgm.sampling.decoder_checks import check_betas, check_images, count

GaussianCurve = namedtuple("GaussianCurve", "beta rate distortion")  # each (R,)


def principal_components(x: Tensor, k: int | None = None) -> tuple[Tensor, Tensor]:
    """Weight (P, k) and bias (P,), float64, of the linear decoder of k principal components.

    Its code is N(0, I) on images (N, ...) like x, the squared norms of its columns are the largest
    variances, and `linear_gaussian_curve` has its exact curve. None gives as many as there are, at
    most N and P; ValueError for more, or for under two images.
    """
    x = check_images(x).flatten(1).cpu().double()
    most = min(len(x), x.shape[1])
    k = most if k is None else count(k, "k")
    if len(x) < 2 or k > most:
        raise ValueError(f"{len(x)} images of {x.shape[1]} values have no {k} components")
    rows = (x - (mean := x.mean(0))) / math.sqrt(len(x) - 1)
    if len(x) < x.shape[1]:
        return (rows.T @ torch.linalg.eigh(rows @ rows.T)[1]).flip(1)[:, :k], mean
    variances, axes = torch.linalg.eigh(rows.T @ rows)
    return (axes * variances.clamp(min=0.0).sqrt()).flip(1)[:, :k], mean


def gaussian_curve(variances: Tensor, betas: Sequence[float] | Tensor) -> GaussianCurve:
    """Equation (1) for a Gaussian source with variances (P,) along its axes, at R betas."""
    betas, variances = check_betas(betas), variances.detach().to("cpu", torch.float64)
    if variances.ndim != 1 or not bool((variances >= 0).all()):
        raise ValueError(f"want variances (P,) from 0 on, got {tuple(variances.shape)}")
    water = 1 / (2 * betas[:, None])
    rate = (variances / water).clamp(min=1.0).log().sum(1) / 2
    return GaussianCurve(betas, rate, torch.minimum(variances, water).sum(1))


class BestPrior(NamedTuple):
    """The cheapest prior over G codes for N images at one price, and how far it is from best."""

    log_prior: Tensor  # (G,) float64, sums to one
    log_z: Tensor  # (N,) nats
    gap: float  # nats: mean(-log Z) is at most so far above its least, equation (3)
    steps: int


def best_prior(
    energy: Tensor,
    beta: float,
    log_prior: Tensor | None = None,
    *,
    tolerance: float = 0.01,
    max_steps: int = 1000,
    unseen: Tensor | None = None,
) -> BestPrior:
    """Blahut and Arimoto's fixed point, equation (2), from a prior (G,), None: all codes alike.

    - energy: distortions (N, G) of N images at G codes, such as a grid's; it decides the precision.
    - tolerance: nats of the gap at which it stops, at the latest after max_steps.
    - unseen: distortions (M, G) of other images; it then stops before these would cost more, since
      with few images the best prior knows them by heart: its rate is at most log N.

    ValueError for shapes that do not fit, or values that are not finite.
    """
    n_codes, start = energy.shape[-1], log_prior
    given = [energy] if unseen is None else [energy, unseen]
    if any(e.ndim != 2 or e.shape[1] != n_codes or not e.isfinite().all() for e in given):
        raise ValueError(f"want finite distortions (N, G), got {[tuple(e.shape) for e in given]}")
    if start is None:
        start = energy.new_zeros(n_codes)
    if start.shape != (n_codes,):
        raise ValueError(f"log_prior must be ({n_codes},), got {tuple(start.shape)}")
    (beta,) = check_betas([beta]).tolist()
    lowest = [e.min(1, keepdim=True).values for e in given]
    likelihood = [torch.exp(-beta * (e - low)) for e, low in zip(given, lowest, strict=True)]
    prior = start.to(energy).softmax(0)
    z = [like @ prior for like in likelihood]
    for step in range(max_steps + 1):
        ratio = likelihood[0].T @ (1 / z[0]) / len(energy)  # c of equation (2)
        gap = math.log(max(1.0, float(ratio.max())))
        if gap <= tolerance or step == max_steps:
            break
        following = prior * ratio / (prior @ ratio)
        z_following = [like @ following for like in likelihood]
        if unseen is not None and _mean_log(z_following[1]) <= _mean_log(z[1]):
            break
        prior, z = following, z_following
    log_z = z[0].double().log() - beta * lowest[0][:, 0].double()
    return BestPrior(prior.double().log().cpu(), log_z.cpu(), gap, step)


def _mean_log(values: Tensor) -> float:
    return float(values.double().log().mean())
