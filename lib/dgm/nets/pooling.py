"""From the states of a sentence to one vector.

Reference: Long, Cao, Cheung, On Posterior Collapse and Encoder Feature Dispersion in Sequence VAEs,
arXiv:1911.03976 (mean and max; the signed absolute maximum and log-sum-exp are extras).
"""

import math

import torch
from torch import Tensor

from dgm.vae import at_least_float32

KINDS = ("last", "mean", "max", "absmax", "logsumexp")


def pool(
    h: Tensor,
    mask: Tensor | None,
    kind: str,
    *,
    temperature: float | None = None,
    validate: bool = True,
) -> Tensor:
    """One vector for each sentence, with gradient; what the mask hides is never read.

    Args:
        h: (B, T, H) states.
        mask: (B, T) bool, True at tokens; None where all are tokens.
        kind: "last" (state of the last token), "mean", "max", "absmax" (the entry farthest from zero,
            with its sign) or "logsumexp" (the log of the sum of exponentials over tokens).
        temperature: tau above 0, for "logsumexp" only: tau log mean exp(h / tau), which goes from max (tau
            to 0) to mean (tau to infinity). None is the plain sum.
        validate: check that no row is empty (waits for the device).

    Returns:
        (B, H).

    Raises:
        ValueError: an unknown kind, shapes that do not fit, a row without tokens, a temperature that is
            not a positive number, or one for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if temperature is not None and (kind != "logsumexp" or not 0 < temperature < math.inf):
        raise ValueError(
            f"temperature must be above 0, and only with logsumexp: got {temperature} for {kind!r}"
        )
    if h.ndim != 3 or h.shape[1] == 0:
        raise ValueError(f"h must be (B, T, H) with T at least 1, got {tuple(h.shape)}")
    if mask is None:
        mask = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
    if mask.shape != h.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(
            f"mask must be bool {tuple(h.shape[:2])}, got {mask.dtype} {tuple(mask.shape)}"
        )
    if validate and not mask.any(1).all():
        empty = (~mask.any(1)).nonzero().flatten().tolist()
        raise ValueError(f"rows {empty[:8]} have no token")
    outside = ~mask[..., None]
    if kind == "mean":
        total = at_least_float32(h.masked_fill(outside, 0)).sum(1)
        return (total / mask.sum(1, keepdim=True)).to(h.dtype)
    if kind == "max":
        return h.masked_fill(outside, -torch.inf).amax(1)
    if kind == "logsumexp" and temperature is None:
        return h.masked_fill(outside, -torch.inf).logsumexp(1)
    if kind == "logsumexp":
        # About the maximum, and by expm1: exact to rounding at both ends. The shift has no gradient.
        top = h.detach().masked_fill(outside, -torch.inf).amax(1, keepdim=True)
        below = ((h - top) / temperature).masked_fill(outside, 0)
        mean = below.expm1().sum(1) / mask.sum(1, keepdim=True)
        return top.squeeze(1) + temperature * mean.log1p()
    if kind == "last":
        position = torch.arange(h.shape[1], device=h.device)
        where = (position * mask).amax(1)[:, None, None].expand(-1, 1, h.shape[2])
    else:
        where = h.detach().abs().masked_fill(outside, -1).argmax(1, keepdim=True)
    return h.gather(1, where).squeeze(1)
