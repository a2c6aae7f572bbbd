"""A decoder and images as a target for annealing: E(z) = d(x, f(z)), its forces and its checks.

Row = chain * N + image. Energies decide acceptance and weights, in the decoder's own precision,
summed in float64. Forces only propose.
"""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from dgm.precision import mixed_precision_dtype
from dgm.sampling import decoder_checks as checks
from dgm.sampling.annealing import AnnealingState, Kernel
from dgm.sampling.hmc import CompiledMetropolis, HMCState, Randomness, transition, vjp
from dgm.sampling.perceptron import (
    Affine,
    Perceptron,
    gains_from_bfloat16,
    plain_layers,
)
from dgm.sampling.priors import CodeSpace

Distortion = Callable[[Tensor, Tensor], Tensor]
FORCE_PRECISIONS = ("auto", "same", "bfloat16", "tf32")
# Floating-point operations of one call, about 20 ms on one core. Threads that share less wait for
# each other most of the time; beside any other load tens of times longer than they compute.
WORTH_SHARING = 1e9
LARGE_WORK = 1e10  # floating-point operations of a call, from which on "auto" takes bfloat16
WRAP_PRIOR = "; wrap it in torch.distributions.Independent(prior, 1)"
N_TRIED = 256  # codes that the decoder is tried on
N_MIXED = 64  # of these, codes on which rows are checked to depend on themselves alone
N_PROBES = 8  # codes at which a run is known again


class DecoderTarget:
    """Images (N, P), a decoder of codes (C, D) and a prior, as a target at positions (C, K)."""

    def __init__(
        self,
        decoder: nn.Module,
        x: Tensor,
        latent_dim: int,
        n_chains: int,
        prior: Any = None,
        distortion: str | Distortion = "squared_error",
        force_precision: str = "same",
    ) -> None:
        n_chains = checks.count(n_chains, "n_chains")
        latent_dim = checks.count(latent_dim, "latent_dim")
        if not (distortion == "squared_error" or callable(distortion)):
            allowed = '"squared_error" or a function'
            raise ValueError(f"distortion must be {allowed}, got {distortion!r}")
        if force_precision not in FORCE_PRECISIONS:
            allowed = ", ".join(FORCE_PRECISIONS)
            raise ValueError(f"force_precision must be one of {allowed}, got {force_precision!r}")
        if force_precision == "tf32" and x.device.type != "cuda":
            raise ValueError(f'"tf32" needs a CUDA device, not {x.device}: use "bfloat16"')
        x = x.clone() if x.is_inference() else x  # which autograd refuses
        self.decoder, self.x, self.distortion = decoder, x, distortion
        self.distance = distortion if callable(distortion) else None
        self.space = CodeSpace(prior, latent_dim, x.device, x.dtype)
        self.codes, self.prior_energy = self.space.codes, self.space.energy
        self.shape = (n_chains * len(x), self.space.dim)
        self.force_precision, self.low_precision_decoder = force_precision, decoder
        self.perceptron: Perceptron | None = None
        layers = plain_layers(decoder) if prior is None and self.distance is None else None
        if force_precision == "auto":
            self.force_precision = "bfloat16" if self._is_large(layers) else "same"
        if layers and x.device.type == "cpu" and layers[0].weight.dtype == x.dtype:
            n_threads = getattr(decoder, "n_threads", None) or torch.get_num_threads()
            self.perceptron = Perceptron(layers, x, self.force_precision == "bfloat16", n_threads)
        elif self.force_precision == "bfloat16":
            try:
                tried = self.codes(self._fixed_positions(2))
                self.low_precision_decoder = _low_precision_copy(decoder, tried)
            except ValueError:
                if force_precision == "bfloat16":
                    raise
                self.force_precision = "same"

    def _is_large(self, layers: Sequence[Affine] | None) -> bool:
        """Whether "auto" takes bfloat16: by the device and the size, on a CPU for perceptrons."""
        if self.x.dtype != torch.float32 or mixed_precision_dtype(self.x.device) is None:
            return False
        if not self.x.is_cuda:
            return layers is not None and gains_from_bfloat16(layers, self.shape[0])
        work = _flops(self.decoder, self.codes(self._fixed_positions(1))) * self.shape[0]
        return work >= LARGE_WORK

    def sample_prior(self, generator: Randomness) -> Tensor:
        """A position per chain, (C, K)."""
        return self.space.sample(self.shape[0], generator)

    def first_chains(
        self, generator: Randomness, image_shape: Sequence[int] = (), simulated: bool = False
    ) -> tuple[AnnealingState, float]:
        """Chains drawn from the prior, on which all is tried, and the scale of the temperatures.

        That is 1 / sd of the distortion under the prior: the beta at which data begin to matter.
        ValueError where decoder, prior or distortion do not fit, are not finite, have no finite
        gradient, live on another device, or are not fixed functions of each row.
        """
        position, n_images = self.sample_prior(generator), len(self.x)
        codes = self.codes(position)[: max(n_images, N_TRIED // n_images * n_images)]
        shape = n_images, *(image_shape or self.x.shape[1:])
        output = checks.decode(self.decoder, codes, shape)
        checks.check_rows("the decoder", self.decoder, codes[:N_MIXED])
        if self.space.prior is not None:
            hint = WRAP_PRIOR if isinstance(self.space.prior, Distribution) else ""
            checks.check_rows("prior.log_prob", self.space.log_prob, codes, hint=hint)
            self.space.check_tails(codes)
        if self.distance is not None:
            # a distortion may know its images by their places, so that these stay
            distance = partial(self.distance, self.x.repeat(len(output) // n_images, 1))
            images = output.flatten(1).to(self.x)
            checks.check_rows("the distortion", distance, images, anywhere=False, hint="")
        elif not simulated:  # where they may lie anywhere
            x, low, high = self.x, float(output.min()), float(output.max())
            n_far = int(((x < 2 * low - high) | (x > 2 * high - low)).any(1).sum())
            values = f"values from {float(x.min()):.3g} to {float(x.max()):.3g}"
            text = f"{n_far} of {n_images} images have {values}, far outside the decoder's range "
            text += f"{low:.3g} to {high:.3g}: are they scaled as its training images were?"
            if n_far:
                warnings.warn(text, stacklevel=3)
        state = self._checked(position)
        spread = state.energy.view(-1, n_images)
        sd = spread.std(0).mean() if len(spread) > 1 else spread.mean()
        zero = torch.zeros_like(state.energy)
        return AnnealingState(state, zero, zero, zero, 0.0), 1.0 / max(float(sd), 1e-12)

    def _checked(self, position: Tensor) -> HMCState:
        """The target at positions (C, K), whose forces are refused where they cannot be right."""
        advice = "where the prior is flat on a box, give Independent(Uniform(low, high), 1)."
        with checks.advised(f"prior.log_prob has no gradient in the codes: {advice}"):
            self.prior_energy(position)
        low = ', also in force_precision="bfloat16"' if self.force_precision == "bfloat16" else ""
        doubt = f"is every operation of the decoder and the distortion differentiable{low}?"
        with checks.advised(f"the forces need the gradient of the distortion: {doubt}"):
            state = self(position)
        names = "prior.log_prob", "the distortion"
        names = (*names, *(f"{name}'s gradient" for name in names))
        for name, values in zip(names, state[1:], strict=True):
            bad = int((~torch.isfinite(values)).view(len(values), -1).any(1).sum())
            if bad:
                codes = f"{bad} of {len(values)} codes drawn from the prior"
                raise ValueError(f"{name} is NaN or infinite at {codes}")
        energy = state.energy.view(-1, len(self.x))
        if not state.gradient.any() and bool((energy != energy[0]).any()):
            doubt = "does the decoder round or detach what it computes?"
            wrong = "the distortion changes with the codes, but its gradient is zero at each"
            raise ValueError(f"{wrong}: {doubt}")
        return state

    def probe(self) -> Tensor:
        """Energies of the prior and of the distortion at fixed positions, (2, C), CPU float64."""
        position = self._fixed_positions(len(self.x) * -(-N_PROBES // len(self.x)))
        with torch.no_grad():
            energy = self._energy(self.decoder(self.codes(position)))
        return torch.stack([self.prior_energy(position)[0], energy]).cpu()

    def _fixed_positions(self, n: int) -> Tensor:
        options = {"generator": torch.Generator("cpu").manual_seed(0), "dtype": torch.float64}
        return torch.randn(n, self.space.dim, device="cpu", **options).to(self.x)

    def __call__(self, position: Tensor) -> HMCState:
        """Energies in full precision, and the forces, at C positions."""
        prior, prior_gradient = self.prior_energy(position)
        if self.perceptron is not None:
            energy, gradient = self.perceptron.evaluate(position)
        elif self.force_precision == "same":
            value, gradient = self._vjp(self.decoder, position)
            energy = self._energy(value) if self.distance is None else value.double()
        else:
            with torch.no_grad():
                energy = self._energy(self.decoder(self.codes(position)))
            gradient = self._gradient(position)
        return HMCState(position, prior, energy, prior_gradient, gradient)

    def force(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients (C, D) of -log p and of the distortion, the latter in `force_precision`."""
        return self.prior_energy(position)[1], self._gradient(position)

    def kernel(self, n_leapfrog: int, jitter: float = 0.0, compile: bool = False) -> Kernel:
        """The transition with these forces; ValueError for "tf32" ones in one compiled graph."""
        if compile and self.force_precision == "tf32":
            raise ValueError('compile=True cannot have force_precision="tf32": use "bfloat16"')
        options = {"n_leapfrog": n_leapfrog, "force": self.force, "jitter": jitter}
        if self.perceptron is not None:
            metropolis = self.perceptron.metropolis
        else:
            metropolis = CompiledMetropolis(self.x.device) if compile else None
        return partial(transition, metropolis=metropolis, **options)

    def _gradient(self, position: Tensor) -> Tensor:
        if self.perceptron is not None:
            return self.perceptron.evaluate(position)[1]
        with tf32(allowed=True) if self.force_precision == "tf32" else contextlib.nullcontext():
            return self._vjp(self.low_precision_decoder, position)[1]

    def _vjp(self, decoder: Callable, position: Tensor) -> tuple[Tensor, Tensor]:
        """The distortion's gradient, with a given distortion's values or else with the images."""
        if self.distance is None:
            return vjp(lambda z: decoder(self.codes(z)), position, self._slope)
        return vjp(lambda z: self._distances(decoder(self.codes(z))), position, torch.ones_like)

    def _energy(self, output: Tensor) -> Tensor:
        if self.distance is None:
            residual = output.reshape(-1, *self.x.shape) - self.x
            return residual.square_().sum(-1, dtype=torch.float64).flatten()
        return self._distances(output).double()

    def _distances(self, output: Tensor) -> Tensor:
        images = self.x.repeat(len(output) // len(self.x), 1)
        assert self.distance is not None
        return self.distance(images, output.flatten(1).to(images.dtype))

    def _slope(self, output: Tensor) -> Tensor:
        """Of the squared error in the output, in the output's shape and dtype."""
        residual = output.reshape(-1, *self.x.shape) - self.x
        return (2 * residual).view_as(output).to(output.dtype)


def _low_precision_copy(decoder: nn.Module, codes: Tensor) -> nn.Module:
    """A bfloat16 copy but for the first layer: a posterior is narrow against bfloat16 codes."""
    if any(isinstance(module, torch.jit.ScriptModule) for module in decoder.modules()):
        raise ValueError('force_precision="bfloat16" cannot change TorchScript: use "same"')
    checks.decode(decoder, codes)  # old-style norms leave their weight behind, which gets copied
    low = checks.copied(decoder).requires_grad_(False)
    for module in list[Any](low.modules()):  # weights that norms compute become parameters
        if parametrize.is_parametrized(module):
            # not by remove_parametrizations, which takes the weight from the original's class, too
            weights = {name: getattr(module, name) for name in module.parametrizations}
            module.__class__ = parametrize.type_before_parametrizations(module)
            del module.parametrizations
            for name, weight in weights.items():
                module.register_parameter(name, nn.Parameter(weight, requires_grad=False))
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, WeightNorm | SpectralNorm):
                hook.remove(module)
                del module._forward_pre_hooks[key]
    layers = [m for m in low.modules() if next(m.parameters(recurse=False), None) is not None]
    if not layers:
        needs = "needs the decoder as a module: a function shows no weights"
        raise ValueError(f'force_precision="bfloat16" {needs}')
    order: list[nn.Module] = []
    hooks = [m.register_forward_hook(lambda m, _inputs, _out: order.append(m)) for m in layers]
    with torch.no_grad():
        low(codes)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        if order and layer is order[0]:
            layer.register_forward_hook(lambda _module, _inputs, out: _to_bfloat16(out))
            continue
        for tensor in (*layer.parameters(False), *layer.buffers(False)):
            tensor.data = _to_bfloat16(tensor.data)
        if order and order[0] not in layer.modules():
            layer.register_forward_pre_hook(lambda _, inputs: tuple(map(_to_bfloat16, inputs)))
    advice = 'the decoder does not run in bfloat16: use force_precision="same".'
    with torch.no_grad(), checks.advised(advice):
        low(codes)
    return low


def _to_bfloat16(value: Any) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(torch.bfloat16) if floating else value


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let float32 products be computed in TF32, or keep all narrower ones out; then as before."""
    backends: Any = torch.backends
    cuda, cudnn, cpu = backends.cuda.matmul, backends.cudnn, backends.mkldnn
    # From torch 2.9 on each operation has a setting of its own, or follows its backend's.
    newer: list[tuple[Any, Any]] = []
    if hasattr(cudnn, "fp32_precision"):
        newer = [(cuda, cudnn), (cudnn.conv, cudnn), (cudnn.rnn, cudnn)]
        newer += [(cpu.matmul, cpu), (cpu.conv, cpu), (cpu.rnn, cpu)]
    precisions, flags = [operation.fp32_precision for operation, _ in newer], []
    with contextlib.suppress(RuntimeError):  # it cannot be read where it contradicts the newer
        precision = torch.get_float32_matmul_precision()
        flags.append(partial(torch.set_float32_matmul_precision, precision))
    with contextlib.suppress(RuntimeError):
        flags.append(partial(setattr, cudnn, "allow_tf32", cudnn.allow_tf32))
    try:
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        cudnn.allow_tf32 = allowed
        for operation, _ in newer:
            operation.fp32_precision = "tf32" if allowed else "ieee"
        yield
    finally:
        for restore in flags:
            restore()
        for (operation, backend), precision in zip(newer, precisions, strict=True):
            follows = precision == backend.fp32_precision
            operation.fp32_precision = "none" if follows else precision


class _Flops(TorchDispatchMode):
    """Counts as PyTorch's own counter does, which imports the compiler: three seconds."""

    total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(self, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = operation(*args, **(kwargs or {}))
        if formula := flop_registry.get(operation.overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output


def _flops(decoder: nn.Module, codes: Tensor) -> float:
    """Of the products and convolutions for codes (C, D); infinite where the decoder fails."""
    try:
        with _Flops() as counter, torch.no_grad():
            decoder(codes)
    except Exception:  # what is wrong is for the sampler's own checks to say
        return math.inf
    return counter.total


@contextlib.contextmanager
def prepared(
    decoder: Callable[[Tensor], Any],
    device: str | torch.device | None = None,
    precision: str = "auto",
    latent_dim: int = 1,
    n_rows: float = math.inf,
) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """The decoder in eval mode, converted, and device and dtype of the run; then as it was.

    The caller's modes and the global random states stay outside. A decoder in half precision takes
    codes in float32. Calls on n_rows codes have one CPU thread while they are small.
    """
    names = {"auto": None, "float32": torch.float32, "float64": torch.float64}
    if precision not in names:
        raise ValueError(f"precision must be one of {', '.join(names)}, got {precision!r}")
    network = checks.Decoder(decoder)
    tensors = [t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
    first = tensors[0] if tensors else torch.zeros((), device="cpu", dtype=torch.float32)
    device = first.device if device is None else checks.named_device(device)
    dtype = names[precision] or first.dtype
    half = dtype if dtype in (torch.bfloat16, torch.float16) else None
    like = {"device": device, "dtype": torch.float32 if half else dtype}
    n_threads = torch.get_num_threads()
    with checks.own_context(**like), checks.own_random_state(device), tf32(allowed=False):
        changed = (device, dtype) != (first.device, first.dtype)
        if changed or any(t.is_inference() for t in tensors):  # which autograd refuses
            network = checks.copied(network).to(device, dtype)
        network.code_dtype, network.n_threads = half, n_threads
        modes = [(m, m.training) for m in network.modules() if hasattr(m, "training")]
        try:
            network.eval()
            if device.type == "cpu" and n_threads > 1 and n_rows < math.inf:
                work = _flops(network, torch.zeros(1, latent_dim, **like)) * n_rows
                torch.set_num_threads(n_threads if work >= WORTH_SHARING else 1)
            yield network, like
        finally:
            torch.set_num_threads(n_threads)
            for module, training in modes:
                module.training = training
