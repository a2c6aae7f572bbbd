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

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class HMCState(NamedTuple):
    """Positions of C chains in D dimensions, with all that the sampler needs at them.

    Energies are float64, because they decide acceptance; gradients keep the position's dtype.
    """

    position: Tensor  # (C, D)
    prior_energy: Tensor  # (C,) -log p(z), up to a constant that is the same everywhere
    energy: Tensor  # (C,) E(z)
    prior_gradient: Tensor  # (C, D) gradient of -log p(z)
    gradient: Tensor  # (C, D) gradient of E(z)


Target = Callable[[Tensor], HMCState]


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
        with torch.enable_grad():
            leaf = position.detach().requires_grad_(True)
            value = -log_prob(leaf)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach().double(), gradient

    return evaluate


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
    beta: float,
    step_size: Tensor,
    n_leapfrog: int,
) -> tuple[HMCState, Tensor]:
    """Follow Hamilton's equations for n_leapfrog steps; needs n_leapfrog new gradients.

    Args:
        target: evaluates a position.
        state: C chains in D dimensions.
        momentum: (C, D).
        beta: inverse temperature.
        step_size: (C, 1) or a number.
        n_leapfrog: number of position updates.

    Returns:
        The state and the momentum at the end. Negate the momentum and call again to come back.
    """
    momentum = momentum - 0.5 * step_size * (state.prior_gradient + beta * state.gradient)
    for i in range(n_leapfrog):
        state = target(state.position + step_size * momentum)
        kick = step_size if i + 1 < n_leapfrog else 0.5 * step_size
        momentum = momentum - kick * (state.prior_gradient + beta * state.gradient)
    return state, momentum


def hamiltonian(state: HMCState, momentum: Tensor, beta: float) -> Tensor:
    """Total energy of each chain, (C,) float64, nats."""
    kinetic = 0.5 * momentum.square().sum(-1, dtype=torch.float64)
    return state.prior_energy + beta * state.energy + kinetic


def transition(
    target: Target,
    state: HMCState,
    beta: float,
    step_size: Tensor,
    n_leapfrog: int,
    generator: torch.Generator,
) -> Transition:
    """One Metropolis-adjusted transition that leaves pi_beta of equation (1) invariant.

    Args:
        target: evaluates a position.
        state: C chains in D dimensions.
        beta: inverse temperature.
        step_size: (C,), must not depend on the chains' own history.
        n_leapfrog: leapfrog steps.
        generator: on the device of the state.

    Returns:
        The chains after the transition. A trajectory that ends in a non-finite energy is rejected.
    """
    position = state.position
    momentum = torch.randn(
        position.shape, generator=generator, dtype=position.dtype, device=position.device
    )
    uniform = torch.rand(
        position.shape[0], generator=generator, dtype=torch.float64, device=position.device
    )
    step = step_size.to(position.dtype)[:, None]
    proposal, final_momentum = leapfrog(target, state, momentum, beta, step, n_leapfrog)
    log_ratio = hamiltonian(state, momentum, beta) - hamiltonian(proposal, final_momentum, beta)
    acceptance = log_ratio.clamp(max=0.0).exp().nan_to_num(0.0)
    accepted = uniform < acceptance
    kept = (
        torch.where(accepted if new.ndim == 1 else accepted[:, None], new, old)
        for new, old in zip(proposal, state, strict=True)
    )
    return Transition(HMCState(*kept), accepted, acceptance)
