"""How `verify` compares a published number with recomputed ones."""

import math
from collections.abc import Sequence
from typing import Any

import torch


def check(
    what: str, published: float, recomputed: Sequence[float], rounding: float = 1e-9
) -> dict[str, Any]:
    """Whether a published value is within four standard errors of the mean of n others.

    `rounding` is how far they may be apart besides, for weights stored in fewer decimals.
    """
    values = torch.tensor(recomputed, dtype=torch.float64)
    n = len(values)
    error = float(values.std()) * math.sqrt(1 + 1 / n) if n > 1 else 0.0
    missed = abs(float(values.mean()) - published)
    return {
        "what": what,
        "published": published,
        "recomputed": float(values.mean()),
        "standard_error": error,
        "ok": missed <= 4 * error + rounding,
    }
