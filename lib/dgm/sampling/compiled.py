"""Whole transitions compiled by torch.compile; on a CUDA device captured in a CUDA graph as well."""

import torch
from torch import Tensor

from dgm.sampling.hmc import Force, HMCState, Target, Transition, metropolis


class CompiledMetropolis:
    """`metropolis` as one compiled graph: compiled at the first call, then never again for its shapes.

    beta goes in as a tensor on the device, so that a new one neither compiles anew nor waits for the
    device. The random numbers are drawn outside, so that they are those of the eager transition.
    """

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.beta = torch.zeros((), dtype=torch.float64, device=device)
        mode = "reduce-overhead" if self.cuda else None
        self.graph = torch.compile(metropolis, fullgraph=True, dynamic=False, mode=mode)

    @torch.no_grad()
    def __call__(
        self,
        target: Target,
        state: HMCState,
        beta: float,
        step_size: Tensor,
        n_leapfrog: int,
        momentum: Tensor,
        uniform: Tensor,
        force: Force | None = None,
    ) -> Transition:
        """As `metropolis`."""
        self.beta.fill_(beta)
        moved = self.graph(
            target, state, self.beta, step_size, n_leapfrog, momentum, uniform, force
        )
        if not self.cuda:
            return moved
        # the next replay of the CUDA graph writes where this one did
        chain = HMCState(*(part.clone() for part in moved.state))
        return Transition(chain, moved.accepted.clone(), moved.acceptance.clone())
