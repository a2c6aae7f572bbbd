"""A CUDA device that is not there, so that code for one can be tested without.

Everything runs on the CPU, but each storage knows whether it would lie on the device, and what a
real device refuses is refused: operations across devices, a generator of another device, NumPy on
the device, lengths of a packed sequence on it, an operation that it lacks, the backward pass of a
cuDNN RNN in eval mode, an RNN under autocast (cuDNN would compute in float16), bfloat16 on a card
without it.

It cannot see kernels, cuDNN's algorithms, torch.compile, CUDA graphs, determinism, memory or speed:
those are left to tests on a real device.
"""

import contextlib
from collections.abc import Iterable, Iterator

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("cuda", 0)
COPIES = {"copy_", "_to_copy", "_foreach_copy_"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
STRICT = {"cat", "stack"}  # which take no number from the CPU either
MISSING = {"histogram", "_histogramdd_bin_edges"}  # on CUDA
RNNS = {"lstm", "gru", "rnn_tanh", "rnn_relu"}

_real = {name: getattr(torch.Tensor, name) for name in ("to", "numpy", "__array__", "__deepcopy__")}
_real_autocast = torch.autocast


def on_device(x: Tensor) -> bool:
    storage = _storage(x)
    return storage is not None and hasattr(storage, "pretended")


def _storage(x: Tensor) -> torch.UntypedStorage | None:
    with torch._C.DisableTorchFunction():
        try:
            return x.untyped_storage()
        except (NotImplementedError, RuntimeError):  # sparse tensors have none
            return None


def _place(x: Tensor, device: bool) -> Tensor:
    storage = _storage(x)
    if device:
        storage.pretended = True
    elif hasattr(storage, "pretended"):
        del storage.pretended
    return x


def _tensors(values: Iterable) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _is_cuda(device) -> bool:
    return isinstance(device, int) or torch.device(device).type == "cuda"


class _Context:
    """Where what is made now belongs: what the caller asked for, and where the arguments are."""

    asked: bool | None = None
    around: bool = False

    @contextlib.contextmanager
    def inside(self, asked: bool | None, around: bool) -> Iterator[None]:
        before = self.asked, self.around
        self.asked, self.around = asked, around
        try:
            yield
        finally:
            self.asked, self.around = before


class _Operations(TorchDispatchMode):
    """Checks each operation below autograd, and places what it makes."""

    def __init__(self, context: _Context) -> None:
        super().__init__()
        self.context = context

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        asked = self.context.asked
        if kwargs.get("device") is not None and _is_cuda(kwargs["device"]):
            kwargs["device"], asked = torch.device("cpu"), True
        inputs = list(_tensors((*args, *kwargs.values())))
        place = _checked(name, args, inputs) if inputs else self.context.around
        out = func(*args, **kwargs)
        if name == "_pack_padded_sequence":
            _place(out[0], place)  # the batch sizes stay on the CPU
        elif place if asked is None else asked:
            _place_fresh(out, inputs)
        return out


def _place_fresh(out, inputs: list[Tensor]) -> None:
    """Puts results on the device, views and what was changed in place excepted."""
    old = {storage._cdata for storage in map(_storage, inputs) if storage is not None}
    for x in _tensors([out]):
        storage = _storage(x)
        if storage is not None and storage._cdata not in old:
            storage.pretended = True


def _checked(name: str, args: tuple, inputs: list[Tensor]) -> bool:
    """Whether the result belongs on the device.

    Raises:
        RuntimeError: what the device would refuse.
    """
    places = [on_device(x) for x in inputs]
    if not any(places):
        return False
    if name in MISSING:
        raise RuntimeError(f"{name} is not implemented for CUDA")
    if name in COPIES:
        return places[0]
    if name == "_pack_padded_sequence":
        if places[1]:
            raise RuntimeError("the lengths of a packed sequence must be on the CPU")
        return places[0]
    if name in INDEXING:
        if not places[0] and any(on_device(i) for i in args[1] if i is not None):
            raise RuntimeError(f"{name}: a CPU tensor is indexed by one on the device")
        if len(args) > 2 and on_device(args[2]) != places[0] and (args[2].ndim or not places[0]):
            raise RuntimeError(f"{name}: the value is on another device than the tensor")
        return places[0]
    if name.startswith(("_foreach", "_fused")):
        lists = [a for a in args if isinstance(a, (list, tuple)) and len(a)]
        rows = zip(*(a for a in lists if isinstance(a[0], Tensor)), strict=True)
        outcomes = [_common_device(name, list(row), strict="_fused" in name) for row in rows]
        return outcomes[0]
    return _common_device(name, inputs, name in STRICT)


def _common_device(name: str, inputs: list[Tensor], strict: bool) -> bool:
    """As `_checked`; a number (0-d) from the CPU goes with the device, not the other way round."""
    places = {on_device(x) for x in inputs}
    large = {on_device(x) for x in inputs if x.ndim or strict}
    if len(large) > 1 or (large == {False} and True in places):
        described = [f"{tuple(x.shape)} on {'cuda' if on_device(x) else 'cpu'}" for x in inputs]
        raise RuntimeError(f"{name}: tensors on two devices: {', '.join(described)}")
    return True in places


class _Calls(TorchFunctionMode):
    """Sees what the caller asked for, and what only the Python side knows."""

    def __init__(self, context: _Context) -> None:
        super().__init__()
        self.context = context

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        device = kwargs.get("device")
        if name in ("as_tensor", "asarray") and isinstance(args[0], Tensor):
            return _to(args[0], **{k: v for k, v in kwargs.items() if k in ("device", "dtype")})
        inputs = list(_tensors((*args, *kwargs.values())))
        asked = None if device is None else _is_cuda(device)
        around = any(map(on_device, inputs)) if asked is None else asked
        if asked:
            kwargs["device"] = "cpu"
        generators = [g for g in (*args, *kwargs.values()) if isinstance(g, torch._C.Generator)]
        if any((g.device.type == "cuda") != around for g in generators):
            raise RuntimeError(f"{name}: the generator is of another device than the tensor")
        if name in RNNS and around and torch.is_autocast_enabled("cpu"):
            raise RuntimeError(f"{name} under autocast: cuDNN would compute in float16")
        with self.context.inside(asked, around):
            out = func(*args, **kwargs)
        if asked:
            _place_fresh(out, inputs)
        if name in RNNS and around and out[0].requires_grad:
            _has_biases, training, *_ = (a for a in args if isinstance(a, bool))
            if not training:
                out[0].register_hook(_refuse_backward)
        return out


def _refuse_backward(_gradient: Tensor) -> None:
    raise RuntimeError("cudnn RNN backward can only be called in training mode")


class _Move(torch.autograd.Function):
    """A copy on the other device; its gradient goes back to where the input was."""

    @staticmethod
    def forward(ctx, x: Tensor, device: bool) -> Tensor:
        return _place(x.clone(), device)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _Move.apply(gradient, not on_device(gradient)), None


def _to(x: Tensor, *args, copy: bool = False, **kwargs) -> Tensor:
    other = kwargs.pop("other", args[0] if args else None)
    if isinstance(other, Tensor):
        args = (other.device, other.dtype, *args[1:])
    with torch._C.DisableTorchFunction():
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
    if device is not None and device.type == "meta":
        return _real["to"](x, device, dtype)
    there = on_device(x) if device is None else device.type == "cuda"
    if there != on_device(x):
        x, copy = _Move.apply(x, there), False
    options = {} if memory_format is None else {"memory_format": memory_format}
    return _real["to"](x, dtype or x.dtype, copy=copy, **options)


def _refused_by_numpy(name: str):
    def method(x: Tensor, *args, **kwargs):
        if on_device(x):
            raise TypeError("can't convert a tensor on the device to numpy: use .cpu() first")
        return _real[name](x, *args, **kwargs)

    return method


def _deepcopy(x: Tensor, memo: dict) -> Tensor:
    return _place(_real["__deepcopy__"](x, memo), on_device(x))


class _Generator(torch._C.Generator):
    """A generator that knows its device; states of one device do not fit the other."""

    def __new__(cls, device="cpu"):
        self = super().__new__(cls)
        self.pretended = DEVICE if _is_cuda(device) else torch.device("cpu")
        return self

    @property
    def device(self) -> torch.device:
        return self.pretended

    def get_state(self) -> Tensor:
        state = super().get_state()
        return state if self.pretended.type == "cpu" else torch.cat([state, state.new_zeros(1)])

    def set_state(self, state: Tensor) -> "_Generator":
        if state.shape != self.get_state().shape:
            raise RuntimeError("RNG state is wrong size")
        return super().set_state(state if self.pretended.type == "cpu" else state[:-1].clone())


class _Autocast(_real_autocast):
    """On the device, that of the CPU."""

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None) -> None:
        if device_type == "cuda" and enabled:
            if dtype is not torch.bfloat16:
                raise RuntimeError(f"autocast to {dtype} without a gradient scaler")
            if torch.cuda.get_device_capability() < (8, 0):
                raise RuntimeError("autocast to bfloat16 on a card without it")
        kind = "cpu" if device_type == "cuda" else device_type
        super().__init__(kind, dtype or torch.bfloat16, enabled, cache_enabled)


@contextlib.contextmanager
def pretended_device(capability: tuple[int, int] = (8, 0)) -> Iterator[torch.device]:
    """Inside, "cuda" is a pretended device of that compute capability."""
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13):
        pytest.skip("the pretended device is made for torch 2.13 and later")
    context = _Context()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "device": property(lambda x: DEVICE if on_device(x) else _real_device(x)),
            "is_cuda": property(on_device),
            "is_cpu": property(lambda x: not on_device(x)),
            "get_device": lambda x: 0 if on_device(x) else -1,
            "to": _to,
            "cuda": lambda x, *_, **__: _to(x, DEVICE),
            "cpu": lambda x, *_, **__: _to(x, "cpu"),
            "numpy": _refused_by_numpy("numpy"),
            "__array__": _refused_by_numpy("__array__"),
            "__deepcopy__": _deepcopy,
        }.items():
            patch.setattr(torch.Tensor, name, value)
        for name, value in {
            **dict.fromkeys(("current_device", "_exchange_device", "_maybe_exchange_device"), 0),
            **dict.fromkeys(("synchronize", "manual_seed_all", "set_rng_state", "_lazy_init")),
            "is_available": True,
            "device_count": 1,
            "get_device_name": "pretended device",
            "get_device_capability": capability,
            "get_rng_state": torch.zeros(16, dtype=torch.uint8),
        }.items():
            patch.setattr(torch.cuda, name, lambda *_, value=value: value)
        for name in ("is_autocast_enabled", "get_autocast_dtype"):
            real = getattr(torch, name)
            patch.setattr(torch, name, lambda kind="cuda", real=real: real(_on_cpu(kind)))
        patch.setattr(torch.backends.cudnn, "is_acceptable", lambda _: False)  # it warns otherwise
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "compile", lambda f=None, **_: f if f else lambda g: g)
        with _Operations(context), _Calls(context):
            yield DEVICE


def _real_device(x: Tensor) -> torch.device:
    with torch._C.DisableTorchFunction():
        return torch._C.TensorBase.device.__get__(x)


def _on_cpu(kind: str) -> str:
    return "cpu" if kind == "cuda" else kind
