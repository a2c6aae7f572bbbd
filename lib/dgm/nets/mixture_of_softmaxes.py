"""A mixture of softmaxes whose loss never holds a mixture over the vocabulary.

Reference: Yang, Dai, Salakhutdinov, Cohen, Breaking the Softmax Bottleneck, ICLR 2018,
arXiv:1711.03953. With K experts, each a latent vector l_k with a share pi_k, and the rows W_v of an
embedding,

    p(v) = sum_k pi_k softmax_v(W_v . l_k + c_v)                                                 (1)
    log p(y) = logsumexp_k [log pi_k + z_k[y] - logsumexp_v z_k[v]],  z_k[v] = W_v . l_k + c_v   (2)
    d(-log p(y)) / d z_k[v] = r_k (softmax_v(z_k) - [v = y]),   r_k = pi_k p_k(y) / p(y)         (3)

so that a block of logits can be turned into its own gradient where it stands, and forgotten.
"""

from collections import namedtuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dgm.vae import at_least_float32

_MixtureLoss = namedtuple("_MixtureLoss", "total tokens")


def mixture_of_softmaxes_nll(
    latent: Tensor,
    log_prior: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    block: int | None = None,
) -> _MixtureLoss:
    """Equation (2) in blocks, with the gradient (3) made in the same pass, nats.

    The weighted sum, with gradient, and each token's (N,), without, from the experts' vectors (N,
    K, E), their log pi (N, K), or zeros for one expert, an embedding (V, E) and a bias (V,),
    targets (N,) from 0 to V - 1, and constant weights (N,) in the sum, None for 1 / N each. No more
    than one `block` of (tokens, K, V) logits exists at a time; None fits it to the device. Under
    autocast the products alone are in its precision. ValueError for shapes that do not fit, no
    token, or a block below 1.
    """
    n, k, e = latent.shape if latent.ndim == 3 else (0, 0, 0)
    v = len(weight)
    weights = latent.new_full((n,), 1 / max(n, 1)) if weights is None else weights
    shapes = [(*x.shape,) for x in (latent, log_prior, weight, bias, targets, weights)]
    if n * k == 0 or shapes[1:] != [(n, k), (v, e), (v,), (n,), (n,)]:
        expected = "(N, K, E), (N, K), (V, E), (V,), (N,) and (N,) with N and K at least 1"
        raise ValueError(f"want {expected}, got {shapes}")
    if block is None:  # what a cache holds, or what keeps a device busy
        block = max(1, (2**22 if latent.device.type == "cpu" else 2**27) // (k * v))
    if block < 1:
        raise ValueError(f"block must be 1 or more, got {block}")
    device = latent.device.type
    products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    with torch.autocast(device, enabled=False):
        floats = [at_least_float32(x) for x in (latent, log_prior, weight, bias)]
        weights = weights.detach().to(floats[0].dtype)
        learning = torch.is_grad_enabled() and any(x.requires_grad for x in floats)
        others = targets.long(), weights, block, products or floats[0].dtype, learning
        return _MixtureLoss(*_MixtureNLL.apply(*floats, *others))


def mixture_log_probs(latent: Tensor, log_prior: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Equation (1), (N, V) log-probabilities, for a small N; shapes as above, with gradient."""
    each = torch.log_softmax(latent @ weight.T + bias, -1)
    return torch.logsumexp(log_prior[..., None] + each, 1)


class _MixtureNLL(torch.autograd.Function):
    """Equations (2) and (3)."""

    @staticmethod
    def forward(ctx, latent, log_prior, weight, bias, targets, weights, block, products, learning):
        n, k, e = latent.shape
        table = weight.to(products)
        rows = torch.empty(min(n, block) * k, len(weight), dtype=latent.dtype, device=latent.device)
        nll = latent.new_empty(n)
        if learning:
            d_latent, d_prior = torch.empty_like(latent), torch.empty_like(log_prior)
            d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for start in range(0, n, block):
            part = slice(start, start + block)
            inputs = latent[part].reshape(-1, e).to(products)
            z = rows[: len(inputs)]
            if products == z.dtype:
                torch.addmm(bias, inputs, table.T, out=z)
            else:
                torch.add(inputs @ table.T, bias, out=z)
            # A shift by the maximum leaves (2) as it is; exponentials then replace the logits.
            z -= z.amax(1, keepdim=True)
            target = targets[part].repeat_interleave(k)[:, None]
            chosen = z.gather(1, target)
            mass = z.exp_().sum(1, keepdim=True)
            joint = log_prior[part] + (chosen - mass.log()).view(-1, k)
            log_p = torch.logsumexp(joint, 1)
            nll[part] = -log_p
            if not learning:
                continue
            blame = torch.exp(joint - log_p[:, None]) * weights[part, None]
            d_prior[part] = -blame
            blame = blame.reshape(-1, 1)
            z *= blame / mass
            z.scatter_add_(1, target, -blame)
            d_bias += z.sum(0)
            z = z.to(products)
            d_latent[part] = (z @ table).view(-1, k, e)
            d_weight += z.T @ inputs
        if learning:
            ctx.save_for_backward(d_latent, d_prior, d_weight, d_bias)
        ctx.mark_non_differentiable(nll)
        return nll @ weights, nll

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):
        return (*(grad * saved for saved in ctx.saved_tensors), *[None] * 5)
