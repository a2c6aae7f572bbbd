"""A decoder and images as a target for annealing: E(z) = d(x, f(z)), its forces and its checks.

Chains of N images run side by side, chain-major: row = chain * N + image. Energies decide acceptance
and weights, so they are always computed in the decoder's own precision and summed in float64. Forces
only propose: they may come from a copy of the decoder in low precision, as long as they are a function of
the position alone.
"""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dgm.sampling.compiled import CompiledMetropolis
from dgm.sampling.hmc import (
    HMCState,
    Randomness,
    Transition,
    density_energy,
    draw,
    pull_back,
    standard_normal_energy,
    transition,
)

Distortion = Callable[[Tensor, Tensor], Tensor]
FORCE_PRECISIONS = ("same", "bfloat16", "tf32")


N_TRIED = 256  # codes that the decoder is tried on


class DecoderTarget:
    """N images, a decoder and a prior, as a target and its forces.

    Args:
        decoder: maps codes (C, D) to images (C, ...); its weights need no gradient.
        x: images (N, P), of the decoder's dtype and on its device.
        latent_dim: D.
        n_chains: chains an image.
        prior: None for N(0, I), else anything with sample((n,)) and log_prob(z).
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
        if n_chains < 1 or latent_dim < 1:
            raise ValueError(
                f"n_chains and latent_dim must be at least 1, got {n_chains} and {latent_dim}"
            )
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
        self.decoder, self.x, self.prior, self.distortion = decoder, x, prior, distortion
        self.shape = (n_chains * len(x), latent_dim)
        self.prior_energy = (
            standard_normal_energy if prior is None else density_energy(prior.log_prob)
        )
        self.force_precision = force_precision
        self.cheap = low_precision_copy(decoder) if force_precision == "bfloat16" else decoder

    def sample_prior(self, generator: Randomness) -> Tensor:
        """One code a chain, (C, D)."""
        return draw(self._sample_prior, self.shape[0], generator)

    def _sample_prior(self, n: int, generator: torch.Generator) -> Tensor:
        options = {"dtype": self.x.dtype, "device": self.x.device}
        shape = (n, self.shape[1])
        if self.prior is None:
            return torch.randn(shape, generator=generator, **options)
        # torch.distributions draw from the global generator: seed a fork of it
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            position = self.prior.sample((n,)).to(**options)
        if position.shape != shape:
            raise ValueError(
                f"prior.sample(({n},)) must be {shape}, got {tuple(position.shape)}: is latent_dim="
                f"{shape[1]} the prior's?"
            )
        return position

    def check(self, position: Tensor, simulated: bool = False) -> None:
        """Try everything once on codes (C, D) drawn from the prior, before any long work starts.

        Images that were simulated may lie anywhere, and are not warned of.

        Raises:
            ValueError: the decoder or the prior does not fit, is not finite, or has no finite gradient.
        """
        output = decode(self.decoder, position[:N_TRIED])
        n_codes, n_values = min(len(position), N_TRIED), self.x.shape[1]
        if len(output) != n_codes or output.flatten(1).shape[1] != n_values:
            raise ValueError(
                f"the decoder returned {tuple(output.shape)} for {n_codes} codes, but the images "
                f"have {n_values} values each: it should return ({n_codes}, {n_values}) or the "
                "same number of values in an image's shape"
            )
        if self.prior is not None:
            log_prob = self.prior.log_prob(position)
            if log_prob.shape != position.shape[:1]:
                raise ValueError(
                    f"prior.log_prob must return one number a code, {tuple(position.shape[:1])}, got "
                    f"{tuple(log_prob.shape)}; wrap it in torch.distributions.Independent(prior, 1)"
                )
        try:
            state = self.target(position)
        except RuntimeError as error:
            raise ValueError(
                "the forces need the gradient of the distortion in the codes: is every operation of "
                f"the decoder, the distortion and the prior differentiable? It said: {error}"
            ) from error
        names = ("prior.log_prob", "the distortion", "prior.log_prob's", "the distortion's")
        for name, values in zip(names, state[1:], strict=True):
            bad = int((~torch.isfinite(values)).flatten(1 - values.ndim).any(-1).sum())
            if bad:
                what = "gradient is NaN or infinite" if name.endswith("s") else "is NaN or infinite"
                raise ValueError(
                    f"{name} {what} at {bad} of {len(position)} codes drawn from the prior"
                )
        if self.distortion == "squared_error" and not simulated:
            warn_of_range(self.x, output)

    def target(self, position: Tensor) -> HMCState:
        """Energies in full precision, and the forces, at C positions."""
        prior, prior_gradient = self.prior_energy(position)
        if self.force_precision == "same":
            energy, gradient = self._energy_and_gradient(position)
        else:
            with torch.no_grad():
                energy = self._energy(self.decoder(position))
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
                lambda z: self._distortion(self.decoder(z)), position, torch.ones_like
            )
            return energy.double(), gradient
        output, gradient = pull_back(self.decoder, position, self._slope)
        return self._energy(output), gradient

    def _gradient(self, position: Tensor) -> Tensor:
        with tf32(allowed=True) if self.force_precision == "tf32" else contextlib.nullcontext():
            if callable(self.distortion):
                return pull_back(
                    lambda z: self._distortion(self.cheap(z)), position, torch.ones_like
                )[1]
            return pull_back(self.cheap, position, self._slope)[1]

    def _distortion(self, output: Tensor) -> Tensor:
        images = self.x.repeat(len(output) // len(self.x), 1)
        return self.distortion(images, output.flatten(1).to(images.dtype))

    def _residual(self, output: Tensor) -> Tensor:
        return output.reshape(-1, *self.x.shape) - self.x

    def _slope(self, output: Tensor) -> Tensor:
        """Of the squared error in the output, in the output's shape and dtype."""
        return (2 * self._residual(output)).view_as(output).to(output.dtype)


def decode(decoder: nn.Module, codes: Tensor) -> Tensor:
    """A first look at the decoder's output for codes (C, D).

    Raises:
        ValueError: it fails or returns NaN or infinity.
    """
    with torch.no_grad():
        try:
            output = decoder(codes)
        except RuntimeError as error:
            raise ValueError(
                f"the decoder failed on codes of shape {tuple(codes.shape)}: does latent_dim="
                f"{codes.shape[1]} fit it? It said: {error}"
            ) from error
    if not torch.isfinite(output).all():
        raise ValueError("the decoder returned NaN or infinity for codes drawn from the prior")
    return output


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


def low_precision_copy(decoder: nn.Module) -> nn.Module:
    """A bfloat16 copy of a decoder that takes codes as they are.

    Its first layer keeps its precision: bfloat16 codes would lie further apart than a posterior is wide
    at high beta, and that layer is the cheapest.
    """
    low = copy.deepcopy(decoder)
    layers = [m for m in low.modules() if next(m.parameters(recurse=False), None) is not None]
    for layer in layers[1:]:
        layer.to(torch.bfloat16)
    if layers:
        layers[0].register_forward_hook(lambda _module, _inputs, out: out.to(torch.bfloat16))
    return low.requires_grad_(False)


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
    decoder: nn.Module, device: str | torch.device | None, precision: str
) -> Iterator[tuple[nn.Module, dict[str, Any]]]:
    """The decoder in eval mode on its device and in its precision, and as it was afterwards."""
    names = {"auto": None, "float32": torch.float32, "float64": torch.float64}
    if precision not in names:
        raise ValueError(f"precision must be one of {', '.join(names)}, got {precision!r}")
    parameter = next(decoder.parameters(), None)
    own_device = torch.device("cpu") if parameter is None else parameter.device
    own_dtype = torch.float32 if parameter is None else parameter.dtype
    wanted_device = own_device if device is None else torch.device(device)
    wanted_dtype = own_dtype if precision == "auto" else names[precision]
    if (wanted_device, wanted_dtype) != (own_device, own_dtype):
        decoder = copy.deepcopy(decoder).to(wanted_device, wanted_dtype)
    modes = [(module, module.training) for module in decoder.modules()]
    try:
        with tf32(allowed=False):
            yield decoder.eval(), {"device": wanted_device, "dtype": wanted_dtype}
    finally:
        for module, training in modes:
            module.training = training


def check_betas(betas: Sequence[float] | Tensor) -> Tensor:
    """The recorded betas (R,) float64 on the CPU.

    Raises:
        ValueError: they are not finite, above 0 and ascending.
    """
    recorded = torch.as_tensor(betas, dtype=torch.float64).detach().cpu()
    good = recorded.ndim == 1 and len(recorded) > 0 and bool(torch.isfinite(recorded).all())
    if not good or recorded[0] <= 0 or not bool((recorded.diff() > 0).all()):
        raise ValueError(f"betas must be finite, above 0 and ascending, got {recorded.tolist()}")
    return recorded


def check_images(x: Tensor) -> Tensor:
    """Images (N, ...) as (N, P).

    Raises:
        ValueError: not a batch, or not finite.
    """
    if x.ndim < 2 or len(x) == 0:
        raise ValueError(f"x must be a batch of images (N, ...), got shape {tuple(x.shape)}")
    x = x.detach().flatten(1)
    bad = (~torch.isfinite(x)).any(1).nonzero().flatten().tolist()
    if bad:
        raise ValueError(f"x holds NaN or infinity in images {bad[:5]}: clean or drop them")
    return x


def energy_scale(energy: Tensor, n_images: int) -> float:
    """1 / sd of the distortion under the prior: the beta at which the data begin to matter."""
    spread = energy.view(-1, n_images)
    sd = spread.std(0).mean() if len(spread) > 1 else spread.mean()
    return 1.0 / max(float(sd), 1e-12)
