"""The flow is a density: it integrates to one, can be undone, and learns what it is shown."""

import math

import pytest
import torch
from checks import close
from torch import nn

from dgm.nets.coupling import CouplingFlow
from dgm.papers.rate_distortion import quadrature_curve, rate_distortion_curve


def flow(latent_dim, scale=1.0, **sizes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made_up = CouplingFlow(latent_dim, **sizes).double()
    for layer in made_up.layers:
        layer[-1].weight.data *= 5 * scale
    made_up.centre += 0.3
    made_up.spread *= 0.8
    return made_up.requires_grad_(False)


@pytest.mark.parametrize("latent_dim", [2, 3, 10])
def test_the_map_is_undone_and_its_volume_is_that_of_its_jacobian(latent_dim):
    own, z = flow(latent_dim), torch.randn(7, latent_dim, dtype=torch.float64)
    u, log_det = own(z)
    close(own.inverse(u), z)
    jacobians = [torch.autograd.functional.jacobian(lambda v: own(v[None])[0][0], row) for row in z]
    close(log_det, torch.stack([torch.linalg.slogdet(j).logabsdet for j in jacobians]))
    assert not torch.allclose(u, z)


def test_it_integrates_to_one_and_samples_what_it_scores():
    own, axis = flow(2, 0.4), torch.linspace(-9, 9, 301, dtype=torch.float64)
    density = own.log_prob(torch.cartesian_prod(axis, axis)).exp()
    assert float(density.sum()) * 0.06**2 == pytest.approx(1.0, abs=1e-4)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        z = own.sample((20_000,))
    first = density.view(301, 301).sum(1) * 0.06
    mean = float((first * axis).sum()) * 0.06
    assert abs(float(z[:, 0].mean()) - mean) < 4 * float(z[:, 0].std()) / math.sqrt(len(z))


def test_as_a_prior_it_has_the_curve_of_the_decoder_behind_it():
    # Codes u of N(0, I) through inverse and decoder cost what z of the flow cost the decoder.
    own, decoder = flow(2, 0.3, hidden=8), nn.Linear(2, 3).double()
    x = torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sizes = {"latent_dim": 2, "betas": [0.3, 3.0]}

    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.flow, self.decoder = own, decoder

        def forward(self, u):
            return self.decoder(self.flow.inverse(u))

    exact = quadrature_curve(Behind(), x, **sizes)
    options = {"n_chains": 64, "temperatures_per_beta": 20, "n_leapfrog": 6, "progress": False}
    curve = rate_distortion_curve(decoder, x, prior=own, **sizes, **options)
    error = (curve.log_weight_variance / curve.ess).sqrt()
    assert bool(((curve.log_z - exact.log_z).abs() < 4 * error + 0.02).all())


def test_one_dimension_is_refused():
    with pytest.raises(ValueError, match="latent_dim >= 2"):
        CouplingFlow(1)
