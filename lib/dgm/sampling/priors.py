"""Priors as the sampler needs them: a density on all of R^K, and codes in the decoder's own space.

A prior p on a part of R^D (a box, a half-space, a simplex) is sampled in free coordinates u, where
z = T(u) and

    log p(u) = log p(T(u)) + log |det dT/du|                                            (1)
"""

import copy
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, biject_to

from dgm.sampling.decoder_checks import advised, explained, own_random_state
from dgm.sampling.hmc import Randomness, density_energy, draw, standard_normal_energy

FAR = 1e6  # times a code: where any density on all of R^D is lower than at its own samples


class CodeSpace:
    """The coordinates that the chains move in: codes, or the free ones of a bounded prior's."""

    def __init__(
        self, prior: Any, latent_dim: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.prior, self.latent_dim = prior, latent_dim
        self.options = {"device": device, "dtype": dtype}
        self.transform: Any = None
        self.dim, self.energy = latent_dim, standard_normal_energy
        self.own = f"is latent_dim={latent_dim} the prior's?"
        if prior is not None:
            doubt = f": it needs sample((n,)) and log_prob(z); {self.own}"
            with explained("the prior", device, doubt):
                self.transform = self._bijection()
                self.log_prob = _without_validation(prior).log_prob
            self.energy = density_energy(self._log_density)
        if self.transform is not None:
            self.dim = self.transform.inverse_shape((latent_dim,))[-1]

    def codes(self, position: Tensor) -> Tensor:
        """Codes (..., D) of positions (..., K)."""
        return position if self.transform is None else self.transform(position).to(position)

    def sample(self, n: int, generator: Randomness) -> Tensor:
        """Positions (n, K) of n codes drawn from the prior."""
        return draw(self._sample, (n,), generator).detach()

    def check_tails(self, codes: Tensor) -> None:
        """Refuses a density on all of R^D, as on a circle, no smaller far from its codes."""
        if self.transform is not None:
            return
        with torch.no_grad():
            near, far = (self.log_prob(where).double() for where in (codes, FAR * codes))
        if float((far >= near.min()).double().mean()) > 0.25:
            advice = "give a density on all of R^D, or one of torch.distributions on a box, such as"
            wrong = f"prior.log_prob is as high far away as at its samples: {advice}"
            raise ValueError(f"{wrong} Independent(Uniform(low, high), 1)")

    def _sample(self, rows: tuple[int], generator: torch.Generator) -> Tensor:
        shape, device = (*rows, self.latent_dim), self.options["device"]
        if self.prior is None:
            return torch.randn(shape, generator=generator, **self.options)
        # torch.distributions draw from the global generator: seed a fork of it
        takes = f": it must take a shape such as {rows} and return one tensor of codes."
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        advice = explained("prior.sample", device, takes)
        with torch.no_grad(), own_random_state(device, seed), advice:
            codes = self.prior.sample(rows)
            if (theirs := getattr(codes, "shape", type(codes).__name__)) != shape:
                raise ValueError(f"prior.sample({rows}) must be {shape}, got {theirs}: {self.own}")
            codes = torch.as_tensor(codes, device=device)
            position = codes if self.transform is None else self.transform.inv(codes)
            return position.to(**self.options)

    def _log_density(self, position: Tensor) -> Tensor:
        """Equation (1), (C,)."""
        if self.transform is None:
            # A diverging trajectory is rejected by its energy, not stopped by a prior's own checks.
            finite = position.isfinite().all(-1)
            value = self.log_prob(torch.where(finite[:, None], position, 0))
            return value.masked_fill(~finite, torch.nan)
        codes = self.codes(position)
        volume = self.transform.log_abs_det_jacobian(position, codes)
        return self.log_prob(codes) + volume.view(len(position), -1).sum(1)

    def _bijection(self) -> Transform | None:
        """From R^K to the prior's support; None where that is R^D."""
        try:
            support = self.prior.support
        except (AttributeError, NotImplementedError):
            return None
        far = torch.tensor([-1e30, 0.0, 1e30], **self.options)
        if bool(support.check(far[:, None].expand(-1, self.latent_dim)).all()):
            return None
        advice = "give a continuous prior on R^D, a box, a half-line per axis, or a simplex."
        message = f"torch.distributions.biject_to has no map to the prior's support, {support}"
        with advised(f"{message}: {advice}", NotImplementedError):
            return biject_to(support)


def _without_validation(prior: Any) -> Any:
    """A shallow copy of a prior whose distributions do not check the arguments of log_prob."""
    own = getattr(prior, "__dict__", {}).items()
    parts = {k: _without_validation(v) for k, v in own if isinstance(v, Distribution)}
    if isinstance(prior, Distribution):
        parts["_validate_args"] = False
    if parts:
        prior = copy.copy(prior)
        vars(prior).update(parts)
    return prior
