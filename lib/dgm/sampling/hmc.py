"""Hamiltonian Monte Carlo for thousands of chains at once, on a tempered target.

The target of a chain at inverse temperature beta is

    pi_beta(z)  proportional to  p(z) exp(-beta E(z)),                                  (1)

with potential U_beta(z) = -log p(z) + beta E(z) and kinetic energy |v|^2 / 2. A transition draws
v ~ N(0, I), follows L leapfrog steps and accepts the end point with probability

    min(1, exp(H(z, v) - H(z', v'))).                                                   (2)

Everything that depends on the position alone is cached in the state, and beta is kept out of it:
one cached state serves every temperature, and an accepted state is never evaluated twice.

References:
    Neal, MCMC using Hamiltonian dynamics, 2011 (leapfrog, acceptance).
    Huang, Makhzani, Cao, Grosse, Evaluating Lossy Compression Rates, ICML 2020.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dgm.sampling.decoder_checks import count, own_context

JITTER = 0.4  # of step sizes, where none is asked for


class HMCState(NamedTuple):
    """Positions of C chains in D dimensions, with all that the sampler needs at them.

    Energies are float64, because they decide acceptance; gradients keep the position's dtype.
    """

    position: Tensor  # (C, D)
    prior_energy: Tensor  # (C,) -log p(z), up to a constant that is the same everywhere
    energy: Tensor  # (C,) E(z)
    prior_gradient: Tensor  # (C, D) gradient of -log p(z)
    gradient: Tensor  # (C, D) gradient of E(z)


# One generator for all chains, or N: one a problem, with rows chain-major (row = chain * N + problem).
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


def density_energy(
    log_prob: Callable[[Tensor], Tensor],
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """-log p and its gradient by automatic differentiation, for a density log_prob(z (C, D)) -> (C,)."""

    def evaluate(position: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = pull_back(lambda z: -log_prob(z), position, torch.ones_like)
        return value.double(), gradient

    return evaluate


def pull_back(
    function: Callable[[Tensor], Tensor], position: Tensor, slope: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """function(position), detached, and the slope of its output pulled back to the position."""
    if torch.compiler.is_compiling():  # which traces torch.func, but not torch.autograd
        output, pull = torch.func.vjp(function, position)
        return output, pull(slope(output))[0]
    with torch.enable_grad():
        leaf = position.clone() if position.is_inference() else position
        leaf = leaf.detach().requires_grad_(True)
        output = function(leaf)
        (gradient,) = torch.autograd.grad(output, leaf, slope(output.detach()))
    return output.detach(), gradient


def target_from_energy(
    energy: Callable[[Tensor], Tensor],
    prior_energy: Callable[[Tensor], tuple[Tensor, Tensor]] = standard_normal_energy,
) -> Target:
    """A target for `transition` from an energy E(z (C, D)) -> (C,), by automatic differentiation."""
    evaluate_energy = density_energy(lambda z: -energy(z))

    def target(position: Tensor) -> HMCState:
        prior, prior_gradient = prior_energy(position)
        value, gradient = evaluate_energy(position)
        return HMCState(position, prior, value, prior_gradient, gradient)

    return target


def leapfrog(
    target: Target,
    state: HMCState,
    momentum: Tensor,
    beta: float | Tensor,
    step_size: Tensor | float,
    n_leapfrog: int,
    force: Force | None = None,
) -> tuple[HMCState, Tensor]:
    """Follow Hamilton's equations for n_leapfrog steps; needs n_leapfrog new gradients.

    Args:
        target: evaluates a position.
        state: C chains in D dimensions.
        momentum: (C, D).
        beta: inverse temperature.
        step_size: (C, 1), (C, D) or a number.
        n_leapfrog: number of position updates.
        force: the gradients alone, for all positions but the last, which the target evaluates. They
            must be those that the target returns, but need not be exact gradients of its energies: any
            function of the position keeps the map reversible and volume preserving.

    Returns:
        The state and the momentum at the end. Negate the momentum and call again to come back.
    """
    position = state.position
    momentum = momentum - 0.5 * step_size * (state.prior_gradient + beta * state.gradient)
    for _ in range(n_leapfrog - 1):
        position = position + step_size * momentum
        if force is None:
            _, _, _, prior_gradient, gradient = target(position)
        else:
            prior_gradient, gradient = force(position)
        momentum = momentum - step_size * (prior_gradient + beta * gradient)
    state = target(position + step_size * momentum)
    momentum = momentum - 0.5 * step_size * (state.prior_gradient + beta * state.gradient)
    return state, momentum


def hamiltonian(state: HMCState, momentum: Tensor, beta: float | Tensor) -> Tensor:
    """Total energy of each chain, (C,) float64, nats."""
    kinetic = 0.5 * momentum.square().sum(-1, dtype=torch.float64)
    return state.prior_energy + beta * state.energy + kinetic


def transition(
    target: Target,
    state: HMCState,
    beta: float | Tensor,
    step_size: Tensor,
    n_leapfrog: int,
    generator: Randomness,
    force: Force | None = None,
    jitter: float = 0.0,
    compiled: Callable[..., Transition] | None = None,
) -> Transition:
    """One Metropolis-adjusted transition that leaves pi_beta of equation (1) invariant.

    Args:
        target: evaluates a position.
        state: C chains in D dimensions.
        beta: inverse temperature.
        step_size: (C,) or (C, D), must not depend on the chains' own history. A step size an axis is a
            diagonal mass matrix in other words: the mass of axis i is 1 / step_i^2, up to a factor.
        n_leapfrog: leapfrog steps.
        generator: on the device of the state; or N of them, each for its own problem.
        force: as in `leapfrog`; the energies of the target decide acceptance.
        jitter: each chain's step size is multiplied by a number between 1 - jitter and 1 + jitter, so that
            no axis turns by a whole number of half periods each time and keeps its energy for ever.
        compiled: does what `metropolis` does, from `compiled.compiled_metropolis`.

    Returns:
        The chains after the transition. A trajectory that ends in a non-finite energy is rejected.
    """
    with own_context(state.position.device):
        momentum, uniform = draw_noise(state.position, generator)
        if jitter:
            factor = 1 + jitter * (2 * _uniform(state.position, generator) - 1)
            step_size = step_size * (factor if step_size.ndim == 1 else factor[:, None])
        move = compiled or metropolis
        return move(target, state, beta, step_size, n_leapfrog, momentum, uniform, force)


def draw_noise(position: Tensor, generator: Randomness) -> tuple[Tensor, Tensor]:
    """The randomness of one transition: momenta (C, D) and uniforms (C,) float64."""

    def normal(n: int, g: torch.Generator) -> Tensor:
        shape = (n, position.shape[1])
        return torch.randn(shape, generator=g, dtype=position.dtype, device=position.device)

    return draw(normal, len(position), generator), _uniform(position, generator)


def _uniform(position: Tensor, generator: Randomness) -> Tensor:
    def uniform(n: int, g: torch.Generator) -> Tensor:
        return torch.rand(n, generator=g, dtype=torch.float64, device=position.device)

    return draw(uniform, len(position), generator)


def draw(
    sample: Callable[[int, torch.Generator], Tensor], n_rows: int, generator: Randomness
) -> Tensor:
    """n_rows draws, all from one generator, or those of each problem from its own."""
    if isinstance(generator, torch.Generator):
        return sample(n_rows, generator)
    each = n_rows // len(generator)
    return torch.stack([sample(each, g) for g in generator], 1).flatten(0, 1)


def streams(
    seed: int | Sequence[int], n_problems: int, device: str | torch.device, part: int
) -> Randomness:
    """Generators of one of two independent parts (0 or 1) of a run: one, or one a problem.

    Raises:
        ValueError: not whole numbers, or seeds, but not one a problem.
    """
    seeds = whole_seeds(seed)
    if isinstance(seeds, int):
        return torch.Generator(device).manual_seed(2 * seeds + part)
    if len(seeds) != n_problems:
        raise ValueError(f"seed must be a number or {n_problems} of them, got {len(seeds)}")
    return [torch.Generator(device).manual_seed(2 * s + part) for s in seeds]


def whole_seeds(seed: int | Sequence[int]) -> int | list[int]:
    """A seed, or several, as Python's own numbers.

    Raises:
        ValueError: they are not whole numbers, or too large for a generator.
    """
    several = hasattr(seed, "__len__") and getattr(seed, "ndim", 1)
    seeds = [count(s, "seed", None) for s in (seed if several else [seed])]
    if any(not -(2**62) <= s < 2**63 for s in seeds):
        raise ValueError(f"seed must lie in [-2^62, 2^63), got {seed}")
    return seeds if several else seeds[0]


def metropolis(
    target: Target,
    state: HMCState,
    beta: float | Tensor,
    step_size: Tensor,
    n_leapfrog: int,
    momentum: Tensor,
    uniform: Tensor,
    force: Force | None = None,
) -> Transition:
    """The transition for given momenta (C, D) and uniforms (C,): no randomness of its own."""
    step = step_size.to(momentum.dtype)
    step = step[:, None] if step.ndim == 1 else step
    proposal, final_momentum = leapfrog(target, state, momentum, beta, step, n_leapfrog, force)
    log_ratio = hamiltonian(state, momentum, beta) - hamiltonian(proposal, final_momentum, beta)
    acceptance = log_ratio.clamp(max=0.0).exp().nan_to_num(0.0)
    accepted = uniform < acceptance
    kept = (
        torch.where(accepted if new.ndim == 1 else accepted[:, None], new, old)
        for new, old in zip(proposal, state, strict=True)
    )
    return Transition(HMCState(*kept), accepted, acceptance)
