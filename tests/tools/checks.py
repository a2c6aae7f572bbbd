"""What many tests assert."""

import math
from functools import partial

import pytest
import torch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
on_devices = pytest.mark.parametrize("device", DEVICES)
close = torch.testing.assert_close
exactly = partial(close, rtol=0, atol=0)


def near(value, expected, atol=1e-10):
    """Numbers, tensors or tuples of them agree in float64, to nine digits."""

    def wide(x):
        parts = x if isinstance(x, tuple) else (x,)
        return [torch.as_tensor(part, dtype=torch.float64) for part in parts]

    close(wide(value), wide(expected), rtol=1e-9, atol=atol)


def refuses(cases, call=None, **usual):
    """A test that each case raises a ValueError, by the pattern of its message.

    A case, or a list of them, is a function without arguments or what a `call` takes: its argument,
    or a dict of changes of its usual ones.
    """
    each = [
        (case, message)
        for message, some in cases.items()
        for case in (some if isinstance(some, list) else [some])
    ]

    @pytest.mark.parametrize(("case", "message"), each)
    def test(case, message):
        run = case if call is None else partial(call, case)
        if isinstance(case, dict):
            run = partial(call, **(usual | case))
        with pytest.raises(ValueError, match=message):
            run()

    return test


def gradient(value, *leaves):
    """One or a tuple, of zeros where there is none."""
    grads = torch.autograd.grad(value, leaves, materialize_grads=True, retain_graph=True)
    return grads[0] if len(grads) == 1 else grads


def standard_errors(missed):
    """The mean of independent values (..., N) in units of its standard error."""
    return missed.mean(-1) / (missed.std(-1) / math.sqrt(missed.shape[-1]))


def mean_is(values, expected, most=math.inf):
    """Whether a mean is as expected within four standard errors, which are at most so large."""
    error = float(values.std()) / math.sqrt(values.numel())
    return error < most and abs(float(values.mean()) - float(expected)) < 4 * error


def share_is(hits, expected, n=None):
    """Whether the shares of hits (n, ...), or of a number of n, are as expected, by four errors."""
    hits, p = (torch.as_tensor(x, dtype=torch.float64) for x in (hits, expected))
    share, n = (hits.mean(0), len(hits)) if n is None else (hits / n, n)
    return bool(((share - p).abs() <= 4 * (p * (1 - p) / n).sqrt() + 1e-12).all())
