"""Hamiltonian Monte Carlo for thousands of chains at once, on a tempered target (Neal, 2011).

The target of a chain at inverse temperature beta is

    pi_beta(z)  proportional to  p(z) exp(-beta E(z)),                                  (1)

with potential U_beta(z) = -log p(z) + beta E(z) and kinetic energy |v|^2 / 2. A transition draws
v ~ N(0, I), follows L leapfrog steps and accepts the end point with probability

    min(1, exp(H(z, v) - H(z', v'))).                                                   (2)

What depends on the position alone is cached in the state, beta is not: an accepted state serves
every temperature, and is never evaluated twice.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dgm.sampling.decoder_checks import counts, own_context


class HMCState(NamedTuple):
    """C chains in D dimensions. Energies are float64, gradients of the position's dtype."""

    position: Tensor  # (C, D)
    prior_energy: Tensor  # (C,) -log p(z), up to a constant that is the same everywhere
    energy: Tensor  # (C,) E(z)
    prior_gradient: Tensor  # (C, D) gradient of -log p(z)
    gradient: Tensor  # (C, D) gradient of E(z)


# A generator for all chains, or N of them: each its own problem's rows (row = chain * N + problem).
Randomness = torch.Generator | Sequence[torch.Generator]
Target = Callable[[Tensor], HMCState]
Force = Callable[[Tensor], tuple[Tensor, Tensor]]  # gradients of -log p and of E, each (C, D)


class Transition(NamedTuple):
    """The chains after one transition, and how it went."""

    state: HMCState
    accepted: Tensor  # (C,) bool
    acceptance: Tensor  # (C,) float64, the probability of equation (2)


def standard_normal_energy(position: Tensor) -> tuple[Tensor, Tensor]:
    """-log N(z; 0, I) without its constant, shape (C,) float64, and its gradient (C, D)."""
    return 0.5 * position.square().sum(-1, dtype=torch.float64), position


def density_energy(log_prob: Callable[[Tensor], Tensor]) -> Callable:
    """z (C, D) -> -log p (C,) and its gradient (C, D), from a density log_prob(z) -> (C,)."""

    def evaluate(position: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = vjp(lambda z: -log_prob(z), position, torch.ones_like)
        return value.double(), gradient

    return evaluate


def vjp(
    function: Callable[[Tensor], Tensor], position: Tensor, slope: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """function(position), detached, and slope(output) pulled back to the position (C, D)."""
    if torch.compiler.is_compiling():  # which traces torch.func, but not torch.autograd
        output, pull_back = torch.func.vjp(function, position)[:2]
        return output, pull_back(slope(output))[0]
    with torch.enable_grad():
        leaf = position.clone() if position.is_inference() else position
        leaf = leaf.detach().requires_grad_(True)
        output = function(leaf)
        (gradient,) = torch.autograd.grad(output, leaf, slope(output.detach()))
    return output.detach(), gradient


def potential(state: HMCState, beta: float | Tensor) -> Tensor:
    """-log of the right side of equation (1), up to the prior's constant; (C,) float64, nats."""
    return state.prior_energy + beta * state.energy


def hamiltonian(state: HMCState, momentum: Tensor, beta: float | Tensor) -> Tensor:
    """Potential plus kinetic energy of each chain, (C,) float64, nats."""
    return potential(state, beta) + standard_normal_energy(momentum)[0]


def leapfrog(
    target: Target,
    state: HMCState,
    momentum: Tensor,
    beta: float | Tensor,
    step_size: Tensor | float,
    n_leapfrog: int,
    force: Force | None = None,
) -> tuple[HMCState, Tensor]:
    """State and momentum (C, D) after n_leapfrog steps (C, 1) or (C, D); force may be inexact."""
    position = state.position
    momentum = momentum - 0.5 * step_size * (state.prior_gradient + beta * state.gradient)
    for _ in range(n_leapfrog - 1):
        position = position + step_size * momentum
        prior_gradient, gradient = force(position) if force else target(position)[3:]
        momentum = momentum - step_size * (prior_gradient + beta * gradient)
    state = target(position + step_size * momentum)
    momentum = momentum - 0.5 * step_size * (state.prior_gradient + beta * state.gradient)
    return state, momentum


def transition(
    target: Target,
    state: HMCState,
    beta: float | Tensor,
    step_size: Tensor,
    n_leapfrog: int,
    generator: Randomness,
    force: Force | None = None,
    jitter: float = 0.0,
    metropolis: Callable[..., Transition] | None = None,
) -> Transition:
    """The kernel: one transition that leaves pi_beta of equation (1) invariant.

    A trajectory that ends in a non-finite energy is rejected. The step sizes (C,), or (C, D) for a
    diagonal mass matrix of 1 / step^2, must not depend on the chains' own history; those of each
    chain are multiplied by a random factor from 1 - jitter to 1 + jitter. force is as in
    `leapfrog`.
    """
    with own_context(state.position.device):
        like = {"dtype": state.position.dtype, "device": state.position.device}
        momentum = draw(torch.randn, state.position.shape, generator, **like)
        like["dtype"] = torch.float64
        uniform = draw(torch.rand, state.position.shape[:1], generator, **like)
        if jitter:
            factor = 1 + jitter * (2 * draw(torch.rand, uniform.shape, generator, **like) - 1)
            step_size = step_size * (factor if step_size.ndim == 1 else factor[:, None])
        step = metropolis or _metropolis_step
        return step(target, state, beta, step_size, n_leapfrog, momentum, uniform, force)


def _metropolis_step(
    target, state, beta, step_size, n_leapfrog, momentum, uniform, force=None
) -> Transition:
    """The transition for given momenta (C, D) and uniforms (C,)."""
    step = step_size.to(momentum.dtype)
    step = step[:, None] if step.ndim == 1 else step
    proposal, final_momentum = leapfrog(target, state, momentum, beta, step, n_leapfrog, force)
    return accept(state, momentum, proposal, final_momentum, beta, uniform)


def accept(
    state: HMCState,
    momentum: Tensor,
    proposal: HMCState,
    final_momentum: Tensor,
    beta: float | Tensor,
    uniform: Tensor,
) -> Transition:
    """Equation (2): the proposal where a uniform number (C,) is below its probability."""
    log_ratio = hamiltonian(state, momentum, beta) - hamiltonian(proposal, final_momentum, beta)
    acceptance = log_ratio.clamp(max=0.0).exp().nan_to_num(0.0)
    accepted = uniform < acceptance
    chosen = (
        torch.where(accepted if new.ndim == 1 else accepted[:, None], new, old)
        for new, old in zip(proposal, state, strict=True)
    )
    return Transition(HMCState(*chosen), accepted, acceptance)


class CompiledMetropolis:
    """`_metropolis_step` as one graph, compiled once; on a CUDA device a CUDA graph as well."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.beta = torch.zeros((), dtype=torch.float64, device=device)
        mode = "reduce-overhead" if self.cuda else None
        # A code of its own, since torch.compile counts what it compiles of each and stops at eight.
        step = FunctionType(_metropolis_step.__code__.replace(), globals(), "step")
        step.__defaults__ = _metropolis_step.__defaults__
        self.graph = torch.compile(step, fullgraph=True, dynamic=False, mode=mode)

    @torch.no_grad()
    def __call__(self, target: Target, state: HMCState, beta: float, *arguments: Any) -> Transition:
        """As `_metropolis_step`."""
        self.beta.fill_(beta)
        output = self.graph(target, state, self.beta, *arguments)
        if not self.cuda:
            return output
        # the next replay of the CUDA graph writes where this one did
        chain = HMCState(*(part.clone() for part in output.state))
        return Transition(chain, output.accepted.clone(), output.acceptance.clone())


def draw(
    sample: Callable[..., Tensor], shape: Sequence[int], generator: Randomness, **like: Any
) -> Tensor:
    """sample(shape, generator=...), (C, ...), each problem's rows from its own generator."""
    if isinstance(generator, torch.Generator):
        return sample(tuple(shape), generator=generator, **like)
    rows = shape[0] // len(generator), *shape[1:]
    return torch.stack([sample(rows, generator=g, **like) for g in generator], 1).flatten(0, 1)


def make_generators(
    seed: int | Sequence[int], n_problems: int, device: str | torch.device
) -> tuple[Randomness, Randomness]:
    """Generators of a run and its pilot: one, or one per seed of N problems; else ValueError."""
    seeds = counts(seed, "seed", None)
    if isinstance(seeds, int):
        if not -(2**62) <= seeds < 2**63:
            raise ValueError(f"seed must lie in [-2^62, 2^63), got {seed}")
        run, pilot = (torch.Generator(device).manual_seed(2 * seeds + part) for part in (0, 1))
        return run, pilot
    if len(seeds) != n_problems:
        raise ValueError(f"seed must be a number or {n_problems} of them, got {len(seeds)}")
    run, pilot = zip(*(make_generators(s, 1, device) for s in seeds), strict=True)
    return run, pilot
