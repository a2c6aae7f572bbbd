"""The sentence VAE: its terms, its noise, and that it learns to use its code."""

import torch
from draws import rng

from dgm.nets.text_vae import TextVAE
from dgm.papers.pooling_vae import pooling_objective
from dgm.vae import gaussian_kl

V = 12


def vae(**options):
    torch.manual_seed(0)
    return TextVAE(V, 6, 8, 4, **options).double()


def batch(b=6, t=7):
    tokens = torch.randint(3, V, (b, t), generator=rng())
    tokens[:, 0], tokens[:, -1] = 1, 2
    return tokens


def test_objective_is_the_sum_of_its_terms():
    model, tokens = vae(dropout=0.0), batch()
    terms = pooling_objective(model, tokens, None, rng(3), beta=0.35)
    torch.testing.assert_close(terms.value, terms.reconstruction + 0.35 * terms.kl)
    mu, logvar = model.posterior(tokens)
    torch.testing.assert_close(terms.kl, gaussian_kl(mu, logvar))
    noise = torch.randn(mu.shape, generator=rng(3), dtype=mu.dtype)
    z = mu + (0.5 * logvar).exp() * noise
    torch.testing.assert_close(terms.reconstruction, model.decoder.nll(tokens, None, z))
    first, same, other = (pooling_objective(vae(), tokens, None, rng(s)).value for s in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert not torch.allclose(first, terms.reconstruction + terms.kl)  # which has no dropout


def test_posterior_is_not_narrowed_by_autocast():
    torch.manual_seed(0)
    model, tokens = TextVAE(V, 6, 8, 4), batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mu, logvar = model.posterior(tokens)
        features = model.posterior.encoder(tokens)
        loss = pooling_objective(model, tokens, None, rng(), beta=1.0).value
    assert mu.dtype == logvar.dtype == loss.dtype == torch.float32
    torch.testing.assert_close(
        torch.cat([mu, logvar], 1), model.posterior.head(features.float()), rtol=0, atol=1e-6
    )
