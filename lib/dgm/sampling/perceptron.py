"""Trajectories through a plain perceptron by its own derivative: in place, without autograd.

For layers h_i = s_i(W_i h_{i-1} + b_i) from a code z = h_0 to an image, the squared error has the
gradient W_1^T delta_1 in z, with

    delta_n = 2 (h_n - x) s_n',    delta_{i-1} = (W_i^T delta_i) s_{i-1}',                  (1)

and for u = step size times velocity a leapfrog step under a standard normal prior is

    z <- z + u,    u <- u - step^2 (z + beta grad E(z)).                                    (2)

Rows are cut into blocks that stay in the cache, the same for any number of threads. A thread takes
whole trajectories of a block, so that threads wait for each other once a transition.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dgm.sampling.decoder_checks import Decoder
from dgm.sampling.hmc import HMCState, Target, Transition, accept, standard_normal_energy

# A block has about these rows, and no fewer floating-point operations of a forward pass; from some
# operations on there are two of any size.
BLOCK_ROWS, BLOCK_WORK, WORTH_SHARING = 256, 1e7, 4e8
# Products in bfloat16 pay from here on: weights, and floating-point operations of a forward pass.
NARROW = 32
LOW_PRECISION_WEIGHTS, LOW_PRECISION_WORK = 16_384, 1e7

_ATEN = torch.ops.aten
_MINUS_ONE = torch.tensor(-1.0, device="cpu")


def _tanh(h: Tensor, out: Tensor) -> None:
    """As 2 sigmoid(2 h) - 1: a third of the time, and right to a rounding of 1."""
    if h.dtype == torch.bfloat16:
        torch.tanh(h, out=out)
    else:
        torch.add(h, h, out=out).sigmoid_()
        torch.add(_MINUS_ONE, out, alpha=2, out=out)


# Forward and backward operations, whether the latter takes the output, and their further arguments.
_ACTIVATIONS: dict[type[nn.Module], tuple[Callable, Callable, bool, tuple[str, ...], dict]] = {
    nn.Tanh: (_tanh, _ATEN.tanh_backward.grad_input, True, (), {}),
    nn.Sigmoid: (torch.sigmoid, _ATEN.sigmoid_backward.grad_input, True, (), {}),
    nn.ReLU: (_ATEN.relu.out, _ATEN.threshold_backward.grad_input, True, (), {"threshold": 0}),
    nn.LeakyReLU: (
        _ATEN.leaky_relu.out,
        _ATEN.leaky_relu_backward.grad_input,
        False,
        ("negative_slope",),
        {"self_is_result": False},
    ),
    nn.Softplus: (
        _ATEN.softplus.out,
        _ATEN.softplus_backward.grad_input,
        False,
        ("beta", "threshold"),
        {},
    ),
    nn.SiLU: (_ATEN.silu.out, _ATEN.silu_backward.grad_input, False, (), {}),
    nn.GELU: (_ATEN.gelu.out, _ATEN.gelu_backward.grad_input, False, ("approximate",), {}),
}


class Affine(NamedTuple):
    """An affine layer and what follows it."""

    weight: Tensor  # (out, in)
    bias: Tensor  # (out,)
    activation: nn.Module | None


def plain_layers(decoder: nn.Module) -> list[Affine] | None:
    """The layers of a decoder that is a plain perceptron on a CPU, of one dtype; else None."""
    plain = isinstance(decoder, Decoder) and decoder.code_dtype is None
    network: Any = decoder.given if plain else decoder
    layers: list[Affine] = []
    shaped = False  # into an image, after the last affine layer
    for module in _modules(network):
        kind = type(module)
        if not isinstance(module, nn.Module) or _is_changed(module):
            return None
        if kind is nn.Linear and isinstance(module, nn.Linear) and not shaped:
            weight, bias = module.weight.detach(), module.bias
            bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
            layers.append(Affine(weight, bias, None))
        elif kind in _ACTIVATIONS and layers and layers[-1].activation is None:
            layers[-1] = layers[-1]._replace(activation=module)
        elif layers and kind is nn.Unflatten and module.dim == 1:
            shaped = True
        elif not (kind is nn.Identity or (kind is nn.Dropout and not module.training)):
            return None
    tensors = [tensor for layer in layers for tensor in layer[:2]]
    kinds = {(type(t), t.dtype, t.device.type) for t in tensors}
    known = [(Tensor, dtype, "cpu") for dtype in (torch.float32, torch.float64)]
    return layers if len(kinds) == 1 and kinds <= set(known) else None


def gains_from_bfloat16(layers: Sequence[Affine], n_rows: int) -> bool:
    """Whether products in bfloat16 on n_rows codes save more than their conversions cost."""
    n_weights = sum(layer.weight.numel() for layer in layers[1:])
    return n_weights >= LOW_PRECISION_WEIGHTS and 2 * n_weights * n_rows >= LOW_PRECISION_WORK


def _is_changed(module: Any) -> bool:
    """Whether hooks, or a method of its own, make a call other than its class's."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
    return any(hooks) or "forward" in vars(module)


def _modules(module: Any) -> Iterator[Any]:
    """The modules of nested sequences in order, or the module itself."""
    if type(module) is nn.Sequential and not _is_changed(module):
        for part in module:
            yield from _modules(part)
    else:
        yield module


def _buffer(like: Tensor, rows: int, width: int) -> Tensor:
    """(R, width), by columns where narrow, since products are faster there."""
    return like.new_empty(width, rows).t() if width <= NARROW else like.new_empty(rows, width)


class _Layer:
    """One layer's forward and backward pass of R rows, in buffers of its own."""

    def __init__(self, affine: Affine, rows: int, wide: torch.dtype | None = None) -> None:
        self.weight, self.bias, activation = affine
        self.transposed = self.weight.t()
        n_out, n_in = self.weight.shape
        self.hidden = self.output = _buffer(self.weight, rows, n_out)
        self.below = _buffer(self.weight, rows, n_in)
        self.cast = None if wide is None else torch.empty_like(self.below)
        self.wide = self.below if wide is None else self.below.to(wide)
        self.forward_step = self.backward_step = None
        if activation is not None:
            forward, backward, of_output, names, more = _ACTIVATIONS[type(activation)]
            options = {name: getattr(activation, name) for name in names}
            self.forward_step = partial(forward, **options)
            self.backward_step = partial(backward, **options, **more)
            if not of_output:
                self.output = torch.empty_like(self.hidden)

    def forward(self, h: Tensor) -> Tensor:
        """(R, in) -> (R, out)."""
        if self.cast is not None:
            h = self.cast.copy_(h)
        torch.addmm(self.bias, h, self.transposed, out=self.hidden)
        if self.forward_step is not None:
            self.forward_step(self.hidden, out=self.output)
        return self.output

    def backward(self, slope: Tensor) -> Tensor:
        """Slopes in the output (R, out), which are overwritten -> in the input (R, in)."""
        if self.backward_step is not None:
            self.backward_step(slope, self.hidden, grad_input=slope)
        torch.mm(slope, self.weight, out=self.below)
        return self.below if self.cast is None else self.wide.copy_(self.below)


class _Pass:
    """All layers on R rows; low: bfloat16 but for the first, as codes are narrow against it."""

    def __init__(self, layers: Sequence[Affine], rows: int, n_images: int, low: bool) -> None:
        self.layers = []
        for i, (weight, bias, activation) in enumerate(layers):
            wide = weight.dtype if low and i == 1 else None
            if low and i > 0:
                weight, bias = weight.bfloat16(), bias.bfloat16()
            self.layers.append(_Layer(Affine(weight, bias, activation), rows, wide))
        self.slope = torch.empty_like(self.layers[-1].output)
        self.difference = self.slope.unflatten(0, (-1, n_images))
        self.images = self.layers[-1].output.unflatten(0, (-1, n_images))

    def residual(self, z: Tensor, x: Tensor) -> Tensor:
        """Outputs of codes (R, D) minus images (N, P), (R, P)."""
        for layer in self.layers:
            z = layer.forward(z)
        torch.sub(self.images, x, out=self.difference)
        return self.slope

    def gradient(self, slope: Tensor) -> Tensor:
        """Half the gradient in the codes (R, D), equation (1), from what `residual` returned."""
        for layer in reversed(self.layers):
            slope = layer.backward(slope)
        return slope


class _Workspace(NamedTuple):
    """The passes of one block at a time; both are one where forces are not low."""

    full: _Pass
    force: _Pass


class Perceptron:
    """The squared error of a plain perceptron to images (N, P), at rows chain * N + image."""

    def __init__(
        self, layers: Sequence[Affine], x: Tensor, low_precision: bool, n_threads: int
    ) -> None:
        self.layers = layers
        self.low = low_precision and len(layers) > 1
        self.x = _buffer(x, *x.shape).copy_(x)
        self.low_x = self.x.bfloat16() if self.low else self.x
        self.n_threads, self.pool = n_threads, None
        self.spare: dict[tuple[int, int], list[_Workspace]] = defaultdict(list)

    def evaluate(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """The energy (C,), float64, and its gradient (C, D) at positions (C, D)."""
        energy = position.new_empty(len(position), dtype=torch.float64)
        gradient = torch.empty_like(position)

        def run(rows: slice, images: slice, work: _Workspace) -> None:
            self._finish(work, position[rows], images, energy[rows], gradient[rows])

        self._in_blocks(run, len(position))
        return energy, gradient

    def metropolis(
        self,
        target: Target,
        state: HMCState,
        beta: float,
        step_size: Tensor,
        n_leapfrog: int,
        momentum: Tensor,
        uniform: Tensor,
        force: Any = None,
    ) -> Transition:
        """`dgm.sampling.hmc.metropolis_step` with a standard normal prior, equation (2)."""
        step = step_size.to(momentum.dtype)
        step = step[:, None] if step.ndim == 1 else step
        position, gradient, final = (torch.empty_like(momentum) for _ in range(3))
        energy, start = torch.empty_like(state.energy), state.position
        with torch.no_grad():
            to_prior = -step.square()
            to_energy = to_prior * (2 * beta)
            kick = to_prior * (state.prior_gradient + beta * state.gradient)
            scaled = torch.addcmul(0.5 * kick, step, momentum)

        def run(rows: slice, images: slice, work: _Workspace) -> None:
            u, prior, likelihood = scaled[rows], to_prior[rows], to_energy[rows]
            z = torch.add(start[rows], u, out=position[rows])
            x, force = self.low_x[images], work.force
            for _ in range(n_leapfrog - 1):
                slope = force.gradient(force.residual(z, x))
                z.add_(u.addcmul_(prior, z).addcmul_(likelihood, slope))
            self._finish(work, z, images, energy[rows], gradient[rows])

        self._in_blocks(run, len(momentum))
        with torch.no_grad():
            half = position + beta * gradient
            torch.sub(scaled / step, half.mul_(step), alpha=0.5, out=final)
        prior_energy, prior_gradient = standard_normal_energy(position)
        end = HMCState(position, prior_energy, energy, prior_gradient, gradient)
        return accept(state, momentum, end, final, beta, uniform)

    def _finish(
        self, work: _Workspace, z: Tensor, images: slice, energy: Tensor, gradient: Tensor
    ) -> None:
        """Energy and gradient at the positions of a block, into the places given."""
        slope = work.full.residual(z, self.x[images])
        torch.sum(slope.square(), 1, dtype=torch.float64, out=energy)
        if self.low:
            slope = work.force.residual(z, self.low_x[images])
        torch.mul(work.force.gradient(slope), 2, out=gradient)

    def _in_blocks(self, run: Callable[[slice, slice, _Workspace], None], n_rows: int) -> None:
        """run(rows, their images, buffers) for all blocks of rows, shared among the threads."""
        n_threads, blocks = torch.get_num_threads(), self._blocks(n_rows)

        def run_block(block: tuple[slice, slice]) -> None:
            size = block[0].stop - block[0].start, block[1].stop - block[1].start
            try:
                work = self.spare[size].pop()
            except IndexError:
                full = _Pass(self.layers, *size, low=False)
                work = _Workspace(full, _Pass(self.layers, *size, low=True) if self.low else full)
            with torch.no_grad():
                run(*block, work)
            self.spare[size].append(work)

        try:
            torch.set_num_threads(1)  # also for the threads below
            if self.n_threads == 1 or len(blocks) == 1:
                for block in blocks:
                    run_block(block)
                return
            self.pool = self.pool or ThreadPoolExecutor(self.n_threads)
            deque(self.pool.map(run_block, blocks), maxlen=0)
        finally:
            torch.set_num_threads(n_threads)

    def _blocks(self, n_rows: int) -> list[tuple[slice, slice]]:
        """Rows and images of each block: whole chains of all images, or images of one chain."""
        n_images, n_chains = len(self.x), n_rows // len(self.x)
        work = n_rows * sum(2 * layer.weight.numel() for layer in self.layers)
        n_blocks = max(1, round(min(n_rows / BLOCK_ROWS, work / BLOCK_WORK)))
        n_blocks -= n_blocks % 2 if n_blocks > 1 else 0  # for two threads
        n_blocks = max(n_blocks, 1 + (work >= WORTH_SHARING and n_rows > 1))
        if n_blocks <= n_chains:
            ends = [i * n_chains // n_blocks * n_images for i in range(n_blocks + 1)]
            return [(slice(*ends), slice(0, n_images)) for ends in pairwise(ends)]
        n_parts = min(n_images, -(-n_blocks // n_chains))
        parts = list(pairwise(i * n_images // n_parts for i in range(n_parts + 1)))
        chains = range(0, n_rows, n_images)
        return [(slice(c + i, c + j), slice(i, j)) for c in chains for i, j in parts]
