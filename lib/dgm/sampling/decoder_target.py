"""A decoder and images as a target for annealing: E(z) = d(x, f(z)), its forces and its checks.

Chains of N images run side by side, chain-major: row = chain * N + image. Energies decide acceptance
and weights, so they are always computed in the decoder's own precision and summed in float64. Forces
only propose: they may come from a copy of the decoder in low precision, as long as they are a function of
the position alone.
"""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from dgm.sampling.compiled import CompiledMetropolis
from dgm.sampling.decoder_checks import (
    HALF,
    Decoder,
    check_rows,
    check_shapes,
    copied,
    count,
    decode,
    explained,
    named_device,
    own_context,
    own_random_state,
)
from dgm.sampling.hmc import HMCState, Randomness, Transition, pull_back, transition
from dgm.sampling.priors import CodeSpace

Distortion = Callable[[Tensor, Tensor], Tensor]
FORCE_PRECISIONS = ("same", "bfloat16", "tf32")
WRAP_PRIOR = "; wrap it in torch.distributions.Independent(prior, 1)"
N_TRIED = 256  # codes that the decoder is tried on
N_MIXED = 64  # of these, codes on which rows are seen to keep to themselves
N_PROBES = 8  # codes at which a run is known again


class DecoderTarget:
    """N images, a decoder and a prior, as a target and its forces.

    Args:
        decoder: maps codes (C, D) to images (C, ...); its weights need no gradient.
        x: images (N, P), of the decoder's dtype and on its device.
        latent_dim: D.
        n_chains: chains an image.
        prior: None for N(0, I), else anything with sample((n,)) and log_prob(z). Where it has a bounded
            support, positions are free coordinates, and `codes` gives the decoder's own.
        distortion: "squared_error", or a function of images (C, P) and reconstructions (C, P) -> (C,).
        force_precision: "same", "bfloat16" (a copy of the decoder) or "tf32" (CUDA only).

    Raises:
        ValueError: no chains or dimensions, or an unknown distortion or precision.
    """

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
        n_chains, latent_dim = count(n_chains, "n_chains"), count(latent_dim, "latent_dim")
        if not (distortion == "squared_error" or callable(distortion)):
            raise ValueError(
                f'distortion must be "squared_error" or a function, got {distortion!r}'
            )
        if force_precision not in FORCE_PRECISIONS:
            raise ValueError(
                f"force_precision must be one of {', '.join(FORCE_PRECISIONS)}, "
                f"got {force_precision!r}"
            )
        if force_precision == "tf32" and x.device.type != "cuda":
            raise ValueError(
                f'force_precision="tf32" needs a CUDA device, not {x.device}: use "bfloat16"'
            )
        x = x.clone() if x.is_inference() else x  # which autograd refuses
        self.decoder, self.x, self.distortion = decoder, x, distortion
        self.space = CodeSpace(prior, latent_dim, x.device, x.dtype)
        self.codes, self.prior_energy = self.space.codes, self.space.energy
        self.shape = (n_chains * len(x), self.space.dim)
        self.force_precision, self.cheap = force_precision, decoder
        if force_precision == "bfloat16":
            self.cheap = low_precision_copy(decoder, self.codes(self._fixed_positions(2)))

    def sample_prior(self, generator: Randomness) -> Tensor:
        """One position a chain, (C, K)."""
        return self.space.sample(self.shape[0], generator)

    def check(
        self, position: Tensor, image_shape: Sequence[int] = (), simulated: bool = False
    ) -> None:
        """Try everything once on positions (C, K) drawn from the prior, before any long work starts.

        Images that were simulated may lie anywhere, and are not warned of.

        Raises:
            ValueError: the decoder, the prior or the distortion does not fit, is not finite, has no finite
                gradient, lives on another device, or is not a fixed function of each row.
        """
        device, n_images = position.device, len(self.x)
        codes = self.codes(position)[: max(n_images, N_TRIED // n_images * n_images)]
        output = decode(self.decoder, codes)
        check_shapes(torch.Size([n_images, *(image_shape or self.x.shape[1:])]), len(codes), output)
        rows = [("the decoder", self.decoder, codes[:N_MIXED])]
        if self.space.prior is not None:
            rows.append(("prior.log_prob", self.space.log_prob, codes))
        if callable(self.distortion):
            images = self.x.repeat(len(output) // n_images, 1)
            # which may know its images by their places, so that these stay
            distortion = partial(self.distortion, images)
            rows.append(("the distortion", distortion, output.flatten(1).to(images)))
        for name, function, values in rows[1:]:
            with torch.no_grad(), own_random_state(device), explained(name, device):
                values = function(values)
            if not isinstance(values, Tensor) or values.shape != codes.shape[:1]:
                raise ValueError(
                    f"{name} must return one number a code, a tensor {tuple(codes.shape[:1])}, got "
                    f"{type(values).__name__} {tuple(getattr(values, 'shape', ()))}"
                    f"{WRAP_PRIOR * isinstance(self.space.prior, Distribution) * (name == 'prior.log_prob')}"
                )
        if self.space.prior is not None:
            self.space.check_tails(codes)
        with own_random_state(device):
            self._check_state(self._try_target(position))
        for name, function, values in rows:
            check_rows(name, function, values, anywhere=name != "the distortion")
        if self.distortion == "squared_error" and not simulated:
            warn_of_range(self.x, output)

    def _try_target(self, position: Tensor) -> HMCState:
        try:
            self.prior_energy(position)
        except RuntimeError as error:
            raise ValueError(
                "prior.log_prob has no gradient in the codes: where the prior is flat on a box, give "
                "it as Independent(Uniform(low, high), 1) of torch.distributions, whose support is "
                f"known. It said: {error}"
            ) from error
        try:
            return self.target(position)
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:
            with torch.no_grad():  # what fails without gradients, too, fails here by itself
                self._energy(self._images(position))
            raise ValueError(
                "the forces need the gradient of the distortion in the codes: is every operation of "
                "the decoder and the distortion differentiable"
                + ', also in force_precision="bfloat16"' * (self.cheap is not self.decoder)
                + f"? It said: {error}"
            ) from error

    def _check_state(self, state: HMCState) -> None:
        names = ("prior.log_prob", "the distortion", "prior.log_prob's", "the distortion's")
        for name, values in zip(names, state[1:], strict=True):
            bad = int((~torch.isfinite(values)).view(len(values), -1).any(1).sum())
            if bad:
                what = "gradient is NaN or infinite" if name.endswith("s") else "is NaN or infinite"
                raise ValueError(
                    f"{name} {what} at {bad} of {len(values)} codes drawn from the prior"
                )
        energy = state.energy.view(-1, len(self.x))
        if not state.gradient.any() and bool((energy != energy[0]).any()):
            raise ValueError(
                "the distortion changes with the codes, but its gradient is zero at each of them: does "
                "the decoder round or detach what it computes?"
            )

    def probe(self) -> Tensor:
        """Energies of the prior and of the distortion at fixed positions, (2, C), CPU float64."""
        n_rows = len(self.x) * -(-N_PROBES // len(self.x))
        position = self._fixed_positions(n_rows)
        with torch.no_grad():
            energy = self._energy(self._images(position))
        return torch.stack([self.prior_energy(position)[0], energy]).cpu()

    def _fixed_positions(self, n: int) -> Tensor:
        fixed = torch.Generator("cpu").manual_seed(0)
        return torch.randn(
            n, self.space.dim, generator=fixed, dtype=torch.float64, device="cpu"
        ).to(self.x)

    def target(self, position: Tensor) -> HMCState:
        """Energies in full precision, and the forces, at C positions."""
        prior, prior_gradient = self.prior_energy(position)
        if self.force_precision == "same":
            energy, gradient = self._energy_and_gradient(position)
        else:
            with torch.no_grad():
                energy = self._energy(self._images(position))
            gradient = self._gradient(position)
        return HMCState(position, prior, energy, prior_gradient, gradient)

    def force(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients (C, D) of -log p and of the distortion, the latter in `force_precision`."""
        return self.prior_energy(position)[1], self._gradient(position)

    def move(self, jitter: float = 0.0, compile: bool = False) -> Callable[..., Transition]:
        """The transition with these forces.

        Raises:
            ValueError: compile with "tf32" forces, which one compiled graph cannot mix with exact energies.
        """
        if compile and self.force_precision == "tf32":
            raise ValueError('compile=True cannot have force_precision="tf32": use "bfloat16"')
        compiled = CompiledMetropolis(self.x.device) if compile else None
        return partial(transition, force=self.force, jitter=jitter, compiled=compiled)

    def _energy(self, output: Tensor) -> Tensor:
        if callable(self.distortion):
            return self._distortion(output).double()
        return self._residual(output).square_().sum(-1, dtype=torch.float64).flatten()

    def _energy_and_gradient(self, position: Tensor) -> tuple[Tensor, Tensor]:
        if callable(self.distortion):
            energy, gradient = pull_back(
                lambda z: self._distortion(self._images(z)), position, torch.ones_like
            )
            return energy.double(), gradient
        output, gradient = pull_back(self._images, position, self._slope)
        return self._energy(output), gradient

    def _gradient(self, position: Tensor) -> Tensor:
        with tf32(allowed=True) if self.force_precision == "tf32" else contextlib.nullcontext():
            if callable(self.distortion):
                return pull_back(
                    lambda z: self._distortion(self.cheap(self.codes(z))), position, torch.ones_like
                )[1]
            return pull_back(lambda z: self.cheap(self.codes(z)), position, self._slope)[1]

    def _images(self, position: Tensor) -> Tensor:
        return self.decoder(self.codes(position))

    def _distortion(self, output: Tensor) -> Tensor:
        images = self.x.repeat(len(output) // len(self.x), 1)
        return self.distortion(images, output.flatten(1).to(images.dtype))

    def _residual(self, output: Tensor) -> Tensor:
        return output.reshape(-1, *self.x.shape) - self.x

    def _slope(self, output: Tensor) -> Tensor:
        """Of the squared error in the output, in the output's shape and dtype."""
        return (2 * self._residual(output)).view_as(output).to(output.dtype)


def warn_of_range(x: Tensor, output: Tensor) -> None:
    """Warn of images (N, P) that leave the range of the decoder's outputs by more than its width."""
    low, high = float(output.min()), float(output.max())
    outside = (x < 2 * low - high) | (x > 2 * high - low)
    n_far = int(outside.any(1).sum())
    if n_far:
        warnings.warn(
            f"{n_far} of {len(x)} images have values from {float(x.min()):.3g} to "
            f"{float(x.max()):.3g}, far outside the decoder's range {low:.3g} to {high:.3g}: are they "
            "scaled as the decoder's training images were?",
            stacklevel=4,
        )


def low_precision_copy(decoder: nn.Module, codes: Tensor) -> nn.Module:
    """A bfloat16 copy of a decoder that takes codes (C, D) as they are.

    Its first layer keeps its precision: bfloat16 codes would lie further apart than a posterior is wide
    at high beta, and that layer is the cheapest. The first layer is the one that is done first when
    the decoder runs. Weight and spectral norms are computed once.

    Raises:
        ValueError: the decoder cannot run in bfloat16.
    """
    if any(isinstance(module, torch.jit.ScriptModule) for module in decoder.modules()):
        raise ValueError('force_precision="bfloat16" cannot change TorchScript: use "same"')
    decode(decoder, codes)  # old-style norms leave their weight behind, which is what gets copied
    low = copied(decoder).requires_grad_(False)
    for module in list(low.modules()):
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
        raise ValueError(
            'force_precision="bfloat16" needs the decoder as a module: a function shows no weights'
        )
    order: list[nn.Module] = []
    hooks = [m.register_forward_hook(lambda m, _inputs, _out: order.append(m)) for m in layers]
    with torch.no_grad(), own_random_state(codes.device):
        low(codes)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        if order and layer is order[0]:
            layer.register_forward_hook(lambda _module, _inputs, out: _to_bfloat16(out))
            continue
        for tensor in itertools.chain(
            layer.parameters(recurse=False), layer.buffers(recurse=False)
        ):
            tensor.data = _to_bfloat16(tensor.data)
        if order and order[0] not in layer.modules():
            layer.register_forward_pre_hook(
                lambda _module, inputs: tuple(_to_bfloat16(value) for value in inputs)
            )
    try:
        with torch.no_grad(), own_random_state(codes.device):
            low(codes)
    except RuntimeError as error:
        raise ValueError(
            f'the decoder does not run in bfloat16: use force_precision="same". It said: {error}'
        ) from error
    return low


def _to_bfloat16(value: Any) -> Any:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.to(torch.bfloat16) if floating else value


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let float32 products be computed in TF32, or keep all that is narrower out; as it was afterwards."""
    cuda, cudnn, cpu = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.mkldnn
    older: list[tuple[Callable[[], Any], Callable[[Any], None]]] = [
        (lambda: cuda.allow_tf32, partial(setattr, cuda, "allow_tf32")),
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
        (lambda: cudnn.allow_tf32, partial(setattr, cudnn, "allow_tf32")),
    ]
    # From torch 2.9 on each operation has a setting of its own, or follows its backend's.
    newer: list[tuple[Any, Any]] = []
    if hasattr(cudnn, "fp32_precision"):
        newer = [(cuda, cudnn), (cudnn.conv, cudnn), (cudnn.rnn, cudnn)]
        newer += [(cpu.matmul, cpu), (cpu.conv, cpu), (cpu.rnn, cpu)]
    precisions = [operation.fp32_precision for operation, _ in newer]
    flags = []
    for read, write in older:
        with contextlib.suppress(RuntimeError):  # it cannot be read where it contradicts the newer
            flags.append((write, read()))
    try:
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        cudnn.allow_tf32 = allowed
        for operation, _ in newer:
            operation.fp32_precision = "tf32" if allowed else "ieee"
        yield
    finally:
        for write, value in flags:
            write(value)
        for (operation, backend), precision in zip(newer, precisions, strict=True):
            follows = precision == backend.fp32_precision
            operation.fp32_precision = "none" if follows else precision


@contextlib.contextmanager
def prepared(
    decoder: Callable[[Tensor], Any], device: str | torch.device | None, precision: str
) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """The decoder in eval mode on its device and in its precision, and as it was afterwards.

    What runs inside runs without the caller's autocast, inference mode, grad mode and default dtype.
    A decoder in half precision takes codes in float32, which are rounded at its door.
    """
    names = {"auto": None, "float32": torch.float32, "float64": torch.float64}
    if precision not in names:
        raise ValueError(f"precision must be one of {', '.join(names)}, got {precision!r}")
    decoder = Decoder(decoder)
    tensors = [t for t in (*decoder.parameters(), *decoder.buffers()) if t.is_floating_point()]
    own_device = tensors[0].device if tensors else torch.device("cpu")
    own_dtype = tensors[0].dtype if tensors else torch.float32
    wanted_device = own_device if device is None else named_device(device)
    wanted_dtype = names[precision] or own_dtype
    half = wanted_dtype in HALF
    options = {"device": wanted_device, "dtype": torch.float32 if half else wanted_dtype}
    with own_context(**options), tf32(allowed=False):
        changed = (wanted_device, wanted_dtype) != (own_device, own_dtype)
        if changed or any(t.is_inference() for t in tensors):  # which autograd refuses
            decoder = copied(decoder).to(wanted_device, wanted_dtype)
        decoder.code_dtype = wanted_dtype if half else None
        modes = [(m, m.training) for m in decoder.modules() if hasattr(m, "training")]
        try:
            yield decoder.eval(), options
        finally:
            for module, training in modes:
                module.training = training


def check_betas(betas: Sequence[float] | Tensor) -> Tensor:
    """The recorded betas (R,) float64 on the CPU.

    Raises:
        ValueError: they are not finite, above 0 and ascending.
    """
    recorded = torch.as_tensor(betas, dtype=torch.float64, device="cpu").detach()
    good = recorded.ndim == 1 and len(recorded) > 0 and bool(torch.isfinite(recorded).all())
    if not good or recorded[0] <= 0 or not bool((recorded.diff() > 0).all()):
        raise ValueError(f"betas must be finite, above 0 and ascending, got {recorded.tolist()}")
    return recorded


def check_images(x: Tensor | np.ndarray) -> Tensor:
    """Images (N, ...), of PyTorch or NumPy, as a tensor of real numbers in the same shape.

    Raises:
        ValueError: not a batch, not finite, or whole numbers beyond 0 and 1.
    """
    if isinstance(x, np.ma.MaskedArray) and x.mask.any():
        raise ValueError(
            "x is a masked array: no distortion leaves out what it masks. Fill it first"
        )
    if not isinstance(x, Tensor):
        try:
            x = torch.from_numpy(np.array(x, order="C"))
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"x must be one tensor or array of numbers (N, ...), got {type(x).__name__}: {error}"
            ) from error
    x = x.detach()
    if x.ndim < 2 or x.numel() == 0:
        raise ValueError(f"x must be a batch of images (N, ...), got shape {tuple(x.shape)}")
    if x.is_complex():
        raise ValueError(f"x holds complex numbers ({x.dtype}): images must be real")
    if not x.is_floating_point() and (x.min() < 0 or x.max() > 1):
        raise ValueError(
            f"x holds whole numbers ({x.dtype}) beyond 0 and 1: scale them to what the decoder draws, for "
            "example x / 255"
        )
    bad = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"x holds NaN or infinity in images {bad[:5]}: clean or drop them")
    return x


def energy_scale(energy: Tensor, n_images: int) -> float:
    """1 / sd of the distortion under the prior: the beta at which the data begin to matter."""
    spread = energy.view(-1, n_images)
    sd = spread.std(0).mean() if len(spread) > 1 else spread.mean()
    return 1.0 / max(float(sd), 1e-12)
