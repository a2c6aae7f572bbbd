"""What is checked before a run, without its generators: a tensor, rows by themselves, a device."""

import contextlib
import copy
import operator
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

Module = TypeVar("Module", bound=nn.Module)


class Decoder(nn.Module):
    """A module, a function, a method or a partial as a module that returns one tensor."""

    def __init__(self, given: Callable[[Tensor], Any]) -> None:
        super().__init__()
        given = given.given if isinstance(given, Decoder) else given
        if not callable(given):
            kind = type(given).__name__
            raise ValueError(f"the decoder must be a module or a function of codes, got {kind}")
        self.given = inner = given
        while isinstance(inner, partial):
            inner = inner.func
        owner = getattr(inner, "__self__", inner)
        if owner is not given and isinstance(owner, nn.Module):
            self.owner = owner  # so that its weights are seen, converted and copied
        self.code_dtype: torch.dtype | None = None  # of a decoder in half precision
        self.n_threads: int | None = None  # that a run may share its rows among

    def forward(self, codes: Tensor) -> Tensor:
        """Images (C, ...) of codes (C, D); ValueError unless one output is a tensor."""
        output = self.given(codes if self.code_dtype is None else codes.to(self.code_dtype))
        if isinstance(output, Distribution):
            output = output.mean
        elif not isinstance(output, Tensor):
            several = isinstance(output, list | tuple | Mapping)
            parts = output if several else getattr(output, "__dict__", {})
            values = parts.values() if isinstance(parts, Mapping) else parts
            tensors = [value for value in values if isinstance(value, Tensor)]
            if len(tensors) != 1:
                got = f"a {type(output).__name__} with {len(tensors)} tensors"
                advice = "give a function that computes one, such as lambda z: decoder(z)[0]"
                raise ValueError(f"the decoder returned {got} instead of one tensor: {advice}")
            (output,) = tensors
        return output if self.code_dtype is None else output.float()


def copied(decoder: Module) -> Module:
    """A deep copy, also where an old-style weight norm has left a computed weight behind."""
    values = [value for module in decoder.modules() for value in vars(module).values()]
    computed = [v for v in values if isinstance(v, Tensor) and not v.is_leaf]
    return copy.deepcopy(decoder, {id(value): value.detach().clone() for value in computed})


@contextlib.contextmanager
def own_context(device: torch.device, dtype: torch.dtype | None = None) -> Iterator[None]:
    """Neither the autocast, inference mode and grad mode of the caller, nor the default dtype."""
    before = torch.get_default_dtype()
    with contextlib.ExitStack() as stack, torch.inference_mode(False), torch.enable_grad():
        for kind in {"cpu", device.type}:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if dtype not in (None, before):
            torch.set_default_dtype(dtype)
            stack.callback(torch.set_default_dtype, before)
        yield


@contextlib.contextmanager
def own_random_state(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Global random states of the CPU and this device that are put back; seeded where asked for."""
    cuda = [device] if device.type == "cuda" and torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if cuda:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
        yield


def in_short(error: BaseException) -> str:
    """An error in one line, with its kind and place."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message} ({last.filename}, line {last.lineno})"


@contextlib.contextmanager
def explained(what: str, device: torch.device, otherwise: str = ".") -> Iterator[None]:
    """Turns an error in what the caller gave into a ValueError that names it, with advice."""
    kinds = RuntimeError, TypeError, LookupError, AttributeError, AssertionError
    with advised(lambda reason: f"{what} failed{_advice(reason, device) or otherwise}", *kinds):
        yield


def _advice(reason: str, device: torch.device) -> str:
    if any(part in reason for part in ("device", "meta tensor")):
        return f": build all of it on {device}, where the run is, or set device= to its own."
    if any(part in reason for part in ("dtype", "expected scalar type", "be the same")):
        return (
            ": it computes in another dtype than the run. Convert it, give a decoder as a module "
            'instead of a function around it, or precision="float64".'
        )
    return ": build it outside torch.inference_mode." if "nference tensor" in reason else ""


@contextlib.contextmanager
def advised(message: str | Callable[[str], str], *kinds: type[Exception]) -> Iterator[None]:
    """Turns a RuntimeError, or these kinds, unless memory is short, into a ValueError."""
    kinds = kinds or (RuntimeError,)
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise
    except kinds as error:
        text = message if isinstance(message, str) else message(str(error))
        raise ValueError(f"{text} It said: {in_short(error)}") from error


def named_device(device: str | torch.device) -> torch.device:
    """The device of a name, or a ValueError where there is none of that name."""
    message = f"device must be one that is here, such as cpu, got {str(device)!r}."
    with advised(message, RuntimeError, TypeError, AssertionError):
        torch.zeros(1, device=device).item()
    return torch.device(device)


def count(value: Any, name: str, least: int | None = 1) -> int:
    """A whole number as an int, NumPy's and torch's included; ValueError where it is none."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def counts(value: Any, name: str, least: int | None = 1) -> int | list[int]:
    """A whole number, or a sequence of them, as Python's own."""
    if hasattr(value, "__len__") and getattr(value, "ndim", 1):
        return [count(part, name, least) for part in value]
    return count(value, name, least)


def check_betas(betas: Sequence[float] | Tensor) -> Tensor:
    """The betas (R,) float64 on the CPU; ValueError unless finite, above 0 and ascending."""
    betas = torch.as_tensor(betas, dtype=torch.float64, device="cpu").detach()
    good = betas.ndim == 1 and len(betas) > 0 and bool(torch.isfinite(betas).all())
    if not good or betas[0] <= 0 or not bool((betas.diff() > 0).all()):
        raise ValueError(f"betas must be finite, above 0 and ascending, got {betas.tolist()}")
    return betas


def check_images(x: Tensor | np.ndarray) -> Tensor:
    """Images (N, ...), of PyTorch or NumPy, as a tensor; ValueError unless finite and real."""
    if isinstance(x, np.ma.MaskedArray) and x.mask.any():
        raise ValueError("x is a masked array: no distortion leaves out what it masks: fill it")
    if not isinstance(x, Tensor):
        with advised("x must be one tensor or array of numbers (N, ...).", TypeError):
            array = np.asarray(x)
            x = torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))
    x = x.detach()
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"x must be a batch of images (N, ...), got shape {tuple(x.shape)}")
    if x.is_complex():
        raise ValueError(f"x holds complex numbers ({x.dtype}): images must be real")
    if not x.is_floating_point():
        numbers = x.double()  # some kinds of whole numbers have no smallest value
        if numbers.min() < 0 or numbers.max() > 1:
            advice = "scale them to what the decoder draws, for example x / 255, as float32"
            raise ValueError(f"x holds whole numbers ({x.dtype}) beyond 0 and 1: {advice}")
    bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"x holds NaN or infinity in images {bad[:5]}: clean or drop them")
    return x


def decode(decoder: nn.Module, codes: Tensor, x_shape: Sequence[int] | None = None) -> Tensor:
    """Outputs for codes (C, D), with the axes of images (N, ...) where given; else ValueError."""
    what = f"the decoder on codes of shape {tuple(codes.shape)}, {codes.dtype},"
    doubt = f": does latent_dim={codes.shape[1]} fit it?"
    with torch.no_grad(), explained(what, codes.device, doubt):
        output = decoder(codes)
    if output.device != codes.device:
        where = f"images on {output.device} for codes on {codes.device}"
        raise ValueError(f"the decoder returned {where}: move all of it to one device")
    if not output.is_floating_point():
        raise ValueError(f"the decoder returned {output.dtype}: images must be floating-point")
    if not torch.isfinite(output).all():
        raise ValueError("the decoder returned NaN or infinity for codes drawn from the prior")
    if x_shape is None:
        return output
    n_values = torch.Size(x_shape[1:]).numel()
    if output.shape[:1] != codes.shape[:1] or output.shape[1:].numel() != n_values:
        got = f"the decoder returned {tuple(output.shape)} for {len(codes)} codes"
        advice = f"it should return ({len(codes)}, {n_values}), or as many in an image's shape"
        raise ValueError(f"{got}, but the images have {n_values} values each: {advice}")
    ours, theirs = ([n for n in shape[1:] if n != 1] for shape in (x_shape, output.shape))
    if min(len(x_shape), output.ndim) > 2 and ours != theirs:
        shapes = f"{tuple(x_shape[1:])} cannot be compared with the decoder's {theirs}"
        advice = "bring the axes of x into the decoder's order, such as by x.permute(0, 3, 1, 2)"
        raise ValueError(f"images of shape {shapes}: {advice}")
    return output


def check_rows(
    what: str, function: Callable, rows: Tensor, anywhere: bool = True, hint: str | None = None
) -> None:
    """Refuses a function of rows (C, ...) that is not a fixed function of each row by itself.

    Rows go in twice, then half of them in other company, then, if they may stand `anywhere`, in a
    smaller batch. Where a hint is given, there must be one number per row.
    """
    half = list(range(max(1, len(rows) // 2)))
    with torch.no_grad(), explained(what, rows.device):
        first, repeated = (function(rows) for _ in range(2))
        shape = tuple(getattr(first, "shape", ()))
        if hint is not None and (not isinstance(first, Tensor) or shape != (len(rows),)):
            got = f"got {type(first).__name__} {shape}{hint}"
            raise ValueError(f"{what} must return one number per code, ({len(rows)},), {got}")
        mixed = function(rows[half + [0] * (len(rows) - len(half))])[: len(half)]
        smaller = function(rows[[-1, *half]])[1:] if anywhere else mixed
    eps, size = torch.finfo(first.dtype).eps, float(first.nan_to_num(0, 0, 0).abs().max())

    def same(values: Tensor, tolerance: float) -> bool:
        expected = first[: len(values)].reshape(values.shape)
        return torch.allclose(values, expected, 0, tolerance * size, equal_nan=True)

    if not same(repeated, 64 * eps):
        advice = "it must be fixed. Switch off its noise and dropout, functional dropout included"
        raise ValueError(f"{what} gives other values for the same rows: {advice}")
    if not (same(mixed, 64 * eps) and same(smaller, eps**0.5)):
        advice = "Is it in eval mode, and does every BatchNorm have running statistics?"
        must = "each row must depend on itself alone"
        raise ValueError(f"{what} gives a row other values in other company: {must}. {advice}")
