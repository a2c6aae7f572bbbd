"""The simplex block and its losses against closed forms."""

import math
from functools import partial

import pytest
import torch
from checks import close, refuses
from draws import normal
from torch.autograd import gradcheck

from dgm.nets.simplex import (
    SimplexBlock,
    orthogonality_loss,
    simplex_mean,
    structured_reconstruction_loss,
)
from dgm.vae import gaussian_kl


def orthogonal_vertices(k, n, alpha):
    """K rows of N with Gram matrix alpha I."""
    return math.sqrt(alpha) * torch.linalg.qr(normal(n, k))[0].T


class TestMean:
    def test_barycentric_weights_come_back(self):
        vertices, p = normal(3, 16), torch.softmax(2 * normal(50, 3, seed=1), -1)
        mean = simplex_mean(p, vertices)
        ones = torch.ones(1, 50, dtype=torch.float64)
        system = torch.cat([vertices.T, ones[:, :3]])
        solved = torch.linalg.lstsq(system, torch.cat([mean.T, ones])).solution.T
        close(solved, p, rtol=0, atol=1e-10)

    def test_is_not_narrowed_by_autocast(self):
        p, vertices = torch.softmax(normal(5, 3), -1).float(), normal(3, 8, seed=1).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = simplex_mean(p, vertices), orthogonality_loss(vertices, 10.0)
        assert inside[0].dtype == torch.float32
        outside = simplex_mean(p, vertices), orthogonality_loss(vertices, 10.0)
        close(inside, outside, rtol=0, atol=0)


class TestOrthogonality:
    @pytest.mark.parametrize(
        ("vertices", "alpha", "value"),
        [
            (torch.zeros(3, 16), 100, 173.2051),
            (torch.zeros(10, 16), 100, 316.2278),
            (torch.diag(torch.tensor([3.0, 4.0])), 5.0, math.hypot(4, 11)),  # Gram diag(9, 16)
            (orthogonal_vertices(3, 16, 100.0), 100.0, 0.0),
        ],
    )
    def test_is_the_norm_and_not_its_square(self, vertices, alpha, value):
        assert float(orthogonality_loss(vertices, alpha)) == pytest.approx(value, abs=1e-4)

    def test_squares_beyond_float16_are_no_trouble(self):
        loss = orthogonality_loss(300 * torch.eye(2, dtype=torch.float16), 90_100.0)
        assert loss.dtype == torch.float16
        assert float(loss) == pytest.approx(100 * math.sqrt(2), rel=1e-3)

    @pytest.mark.parametrize("vertices", [torch.zeros(3, 16), 2 * torch.eye(3, 16)])
    def test_gradient_is_zero_at_the_origin_and_at_zero_loss(self, vertices):
        vertices = vertices.clone().requires_grad_(True)
        orthogonality_loss(vertices, 4.0).backward()
        assert torch.equal(vertices.grad, torch.zeros(3, 16))

    def test_gradient(self):
        vertices = normal(3, 5).requires_grad_(True)
        assert gradcheck(lambda v: orthogonality_loss(v, 10.0), vertices)


@pytest.mark.parametrize(
    ("k", "alpha", "centre", "vertex"),
    [(3, 100.0, 16.6667, 50.0), (3, 10.0, 1.6667, 5.0), (10, 100.0, 5.0, 50.0)],
)
def test_divergence_of_the_centroid_and_of_a_vertex(k, alpha, centre, vertex):
    p = torch.cat([torch.full((1, k), 1 / k, dtype=torch.float64), torch.eye(k).double()[:1]])
    mu = simplex_mean(p, orthogonal_vertices(k, 16, alpha))
    close(mu.square().sum(1), alpha * p.square().sum(1))
    nats = gaussian_kl(mu, torch.zeros_like(mu)).tolist()
    assert nats == pytest.approx([centre, vertex], abs=1e-4)


class TestStructuredReconstruction:
    def test_by_hand_and_with_gradients(self):
        mean, negatives = normal(4, 8, seed=1), normal(4, 5, 8, seed=2)
        inputs = [x.requires_grad_(True) for x in (2 * mean + normal(4, 8), mean, negatives)]
        query, cosine = inputs[0], torch.cosine_similarity
        hinges = 1 - cosine(query, mean)[:, None] + cosine(query[:, None], negatives, dim=-1)
        assert (hinges < 0).any(), "the hinge must be seen at work"
        loss = structured_reconstruction_loss(*inputs)
        close(loss, hinges.relu().mean())
        close(structured_reconstruction_loss(7 * query, 1e-3 * mean, 1e4 * negatives), loss)
        loss.backward()
        assert all(float(x.grad.norm()) > 1e-3 for x in inputs)
        assert gradcheck(structured_reconstruction_loss, inputs)

    def test_lengths_do_not_count_and_zero_vectors_are_no_trouble(self):
        query, mean = torch.zeros(2, 4, requires_grad=True), torch.ones(2, 4)
        loss = structured_reconstruction_loss(query, mean, torch.zeros(2, 3, 4))
        loss.backward()
        assert float(loss.detach()) == 1.0
        assert float(query.grad.abs().max()) <= 1
        # Vectors of float16 whose lengths are beyond float16.
        far = 60_000 * torch.eye(2, 4, dtype=torch.float16)
        assert float(structured_reconstruction_loss(far, far, far.flip(0)[:, None])) == 0
        assert float(structured_reconstruction_loss(far.flip(0), far, far.flip(0)[:, None])) == 2


class TestBlock:
    def test_mean_stays_on_the_simplex(self):
        torch.manual_seed(0)
        block = SimplexBlock(12, latent_dim=8, n_vertices=4).double()
        block.vertices.data = orthogonal_vertices(4, 8, 10.0)
        code = block(5 * normal(30, 12))
        assert code.query.shape == code.mu.shape == code.logvar.shape == (30, 8)
        close(code.p, torch.softmax(block.weights(code.query), -1))
        close(code.mu @ block.vertices.T / 10, code.p)
        assert float(code.p.detach().var(0).min()) > 1e-3

    @pytest.mark.parametrize(("alpha", "loss"), [(None, 173.2051), (100.0, 0.0)])
    def test_starts_near_zero_or_with_orthogonal_vertices(self, alpha, loss):
        torch.manual_seed(0)
        vertices = SimplexBlock(5, 16, 3, alpha).vertices.detach()
        assert float(orthogonality_loss(vertices, 100)) == pytest.approx(loss, abs=0.01)


POINTS = [[0.5, 0.6]], [[1.5, -0.5]], [[math.nan, 1.0]], [0.5, 0.5], [[0.5, 0.3, 0.2]]
SHAPES = (
    [(2, 3), (2, 3), (2, 3)],
    [(2, 3), (2, 4), (2, 1, 3)],
    [(2, 3), (2, 3), (3, 1, 3)],
    [(2, 3), (2, 3), (2, 0, 3)],
    [(3,), (3,), (1, 1, 3)],
)
REFUSED = {
    r"want p|each row": [partial(simplex_mean, torch.tensor(p), torch.eye(2)) for p in POINTS],
    "alpha": [partial(orthogonality_loss, torch.zeros(2, 3), a) for a in (0, -1, math.nan)],
    "negatives": [partial(structured_reconstruction_loss, *map(torch.ones, s)) for s in SHAPES],
    "n_vertices": [partial(SimplexBlock, 5, latent_dim=16, n_vertices=k) for k in (1, 17)],
}
test_what_makes_no_sense_is_refused = refuses(REFUSED)
