"""From the states of a sentence to one vector: Long, Cao, Cheung, arXiv:1911.03976."""

import math

import torch
from torch import Tensor

from dgm.vae import at_least_float32

KINDS = ("last", "mean", "max", "absmax", "logsumexp")


def pool(
    h: Tensor, mask: Tensor | None, kind: str, *, temperature: float | None = None, validate=True
) -> Tensor:
    """One vector per sentence, (B, H), with gradient; what the mask hides is never read.

    Takes states (B, T, H) and a mask (B, T) bool, True at tokens, or None where all are. The kind
    is "last", "mean", "max", "absmax" (the entry farthest from 0, with its sign) or "logsumexp"
    (the log of the sum of exponentials; with a temperature tau > 0 it is tau log mean exp(h /
    tau)). ValueError for another kind, shapes that do not fit, a bad temperature, or, where
    `validate` (which waits for the device), an empty row.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if temperature is not None and (kind != "logsumexp" or not 0 < temperature < math.inf):
        raise ValueError(f"temperature {temperature} for {kind!r}: want > 0, for logsumexp only")
    if h.ndim != 3 or h.shape[1] == 0:
        raise ValueError(f"h must be (B, T, H) with T at least 1, got {tuple(h.shape)}")
    if mask is None:
        mask = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
    if mask.shape != h.shape[:2] or mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool {(*h.shape[:2],)}, got {mask.dtype} {(*mask.shape,)}")
    if validate and not mask.any(1).all():
        raise ValueError(f"rows {(~mask.any(1)).nonzero().flatten().tolist()[:8]} have no token")
    outside = ~mask[..., None]
    if kind == "mean":
        total = at_least_float32(h.masked_fill(outside, 0)).sum(1)
        return (total / mask.sum(1, keepdim=True)).to(h.dtype)
    if kind == "max":
        return h.masked_fill(outside, -torch.inf).amax(1)
    if kind == "logsumexp":
        if temperature is None:
            return h.masked_fill(outside, -torch.inf).logsumexp(1)
        # About the maximum, and by expm1: exact to rounding at both ends; no gradient of the shift.
        top = h.detach().masked_fill(outside, -torch.inf).amax(1, keepdim=True)
        below = ((h - top) / temperature).masked_fill(outside, 0)
        mean = below.expm1().sum(1) / mask.sum(1, keepdim=True)
        return top.squeeze(1) + temperature * mean.log1p()
    if kind == "last":
        index = (torch.arange(h.shape[1], device=h.device) * mask).amax(1)
        index = index[:, None, None].expand(-1, 1, h.shape[2])
    else:
        index = h.detach().abs().masked_fill(outside, -1).argmax(1, keepdim=True)
    return h.gather(1, index).squeeze(1)
