"""The simplex block and its losses against closed forms."""

import math

import pytest
import torch
from torch.autograd import gradcheck

from dgm.nets.simplex import (
    SimplexBlock,
    orthogonality_loss,
    simplex_mean,
    structured_reconstruction_loss,
)
from dgm.vae import gaussian_kl


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=rng(seed), dtype=torch.float64)


def orthogonal_vertices(k, n, alpha, seed=0):
    """K rows of N with Gram matrix alpha I."""
    q, _ = torch.linalg.qr(normal(n, k, seed=seed))
    return math.sqrt(alpha) * q.T


def weights(b, k, seed=0):
    return torch.softmax(2 * normal(b, k, seed=seed), -1)


class TestMean:
    def test_barycentric_weights_come_back(self):
        vertices, p = normal(3, 16), weights(50, 3, seed=1)
        mean = simplex_mean(p, vertices)
        ones = torch.ones(1, 50, dtype=torch.float64)
        system = torch.cat([vertices.T, torch.ones(1, 3, dtype=torch.float64)])
        solved = torch.linalg.lstsq(system, torch.cat([mean.T, ones])).solution.T
        torch.testing.assert_close(solved, p, rtol=0, atol=1e-10)

    def test_vertices_and_centroid(self):
        vertices = normal(4, 6)
        torch.testing.assert_close(
            simplex_mean(torch.eye(4, dtype=torch.float64), vertices), vertices
        )
        centre = simplex_mean(torch.full((1, 4), 0.25, dtype=torch.float64), vertices)
        torch.testing.assert_close(centre[0], vertices.mean(0))

    @pytest.mark.parametrize(
        ("p", "vertices"),
        [
            (torch.tensor([[0.5, 0.6]]), torch.eye(2)),
            (torch.tensor([[1.5, -0.5]]), torch.eye(2)),
            (torch.tensor([[math.nan, 1.0]]), torch.eye(2)),
            (torch.tensor([[0.5, 0.5]]), torch.eye(3)),
            (torch.tensor([0.5, 0.5]), torch.eye(2)),
        ],
    )
    def test_refuses_what_is_no_point_of_the_simplex(self, p, vertices):
        with pytest.raises(ValueError, match=r"want p|each row of p"):
            simplex_mean(p, vertices)

    def test_is_not_narrowed_by_autocast(self):
        p, vertices = weights(5, 3).float(), normal(3, 8, seed=1).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = simplex_mean(p, vertices), orthogonality_loss(vertices, 10.0)
        assert inside[0].dtype == torch.float32
        torch.testing.assert_close(inside[0], simplex_mean(p, vertices), rtol=0, atol=0)
        torch.testing.assert_close(inside[1], orthogonality_loss(vertices, 10.0), rtol=0, atol=0)


class TestOrthogonality:
    @pytest.mark.parametrize(
        ("k", "alpha", "value"), [(3, 100, 173.2051), (3, 10, 17.3205), (10, 100, 316.2278)]
    )
    def test_at_the_origin(self, k, alpha, value):
        assert float(orthogonality_loss(torch.zeros(k, 16), alpha)) == pytest.approx(
            value, abs=1e-4
        )

    @pytest.mark.parametrize(("k", "n", "alpha"), [(3, 16, 100.0), (4, 4, 10.0)])
    def test_zero_for_orthogonal_vertices_only(self, k, n, alpha):
        vertices = orthogonal_vertices(k, n, alpha)
        assert float(orthogonality_loss(vertices, alpha)) < 1e-10
        moved = vertices.clone()
        moved[0] += 0.01
        assert float(orthogonality_loss(moved, alpha)) > 1e-3

    def test_more_vertices_than_dimensions_cannot_reach_zero(self):
        assert float(orthogonality_loss(orthogonal_vertices(3, 3, 10.0)[:, :2], 10.0)) > 1

    def test_is_the_norm_and_not_its_square(self):
        vertices = torch.diag(torch.tensor([3.0, 4.0]))  # Gram matrix diag(9, 16)
        assert float(orthogonality_loss(vertices, 5.0)) == pytest.approx(math.hypot(4, 11))

    def test_squares_beyond_float16_are_no_trouble(self):
        vertices = 300 * torch.eye(2, dtype=torch.float16)
        loss = orthogonality_loss(vertices, 90_100.0)
        assert loss.dtype == torch.float16
        assert float(loss) == pytest.approx(100 * math.sqrt(2), rel=1e-3)

    def test_rotation_changes_nothing(self):
        vertices, rotation = normal(3, 16), torch.linalg.qr(normal(16, 16, seed=1))[0]
        torch.testing.assert_close(
            orthogonality_loss(vertices @ rotation, 100.0), orthogonality_loss(vertices, 100.0)
        )

    @pytest.mark.parametrize("vertices", [torch.zeros(3, 16), 2 * torch.eye(3, 16)])
    def test_gradient_is_finite_at_the_origin_and_at_zero_loss(self, vertices):
        vertices = vertices.clone().requires_grad_(True)
        orthogonality_loss(vertices, 4.0).backward()
        assert torch.equal(vertices.grad, torch.zeros(3, 16))

    def test_gradient(self):
        vertices = normal(3, 5).requires_grad_(True)
        assert gradcheck(lambda v: orthogonality_loss(v, 10.0), vertices)

    @pytest.mark.parametrize("alpha", [0, -1, math.nan])
    def test_refuses_an_impossible_length(self, alpha):
        with pytest.raises(ValueError, match="alpha"):
            orthogonality_loss(torch.zeros(2, 3), alpha)


@pytest.mark.parametrize(
    ("k", "alpha", "centre", "vertex"),
    [(3, 100.0, 16.6667, 50.0), (3, 10.0, 1.6667, 5.0), (10, 100.0, 5.0, 50.0)],
)
def test_divergence_of_the_centroid_and_of_a_vertex(k, alpha, centre, vertex):
    vertices = orthogonal_vertices(k, 16, alpha)
    p = torch.cat([torch.full((1, k), 1 / k, dtype=torch.float64), torch.eye(k).double()[:1]])
    mu = simplex_mean(p, vertices)
    torch.testing.assert_close(mu.square().sum(1), alpha * p.square().sum(1))
    assert gaussian_kl(mu, torch.zeros_like(mu)).tolist() == pytest.approx(
        [centre, vertex], abs=1e-4
    )


class TestStructuredReconstruction:
    def test_one_where_all_are_the_same(self):
        mean = normal(6, 8)
        loss = structured_reconstruction_loss(
            normal(6, 8, seed=1), mean, mean[:, None].expand(-1, 10, -1)
        )
        assert float(loss) == pytest.approx(1.0)

    def test_zero_where_each_points_to_its_own_vertex(self):
        vertices = orthogonal_vertices(3, 16, 100.0)
        negatives = torch.stack([vertices[[1, 2]], vertices[[0, 2]], vertices[[0, 1]]])
        assert float(structured_reconstruction_loss(0.3 * vertices, vertices, negatives)) < 1e-12

    def test_three_at_worst(self):
        query = normal(4, 8)
        worst = structured_reconstruction_loss(query, -query, query[:, None].expand(-1, 2, -1))
        assert float(worst) == pytest.approx(3.0)
        for seed in range(20):
            loss = structured_reconstruction_loss(
                normal(4, 3, seed=seed),
                normal(4, 3, seed=99 - seed),
                normal(4, 5, 3, seed=seed + 200),
            )
            assert 0 <= float(loss) <= 3

    def test_equals_the_loop(self):
        mean, negatives = normal(4, 8, seed=1), normal(4, 10, 8, seed=2)
        query = 2 * mean + normal(4, 8)

        def cos(a, b):
            return float(a @ b / (a.norm() * b.norm()))

        terms = [
            max(0.0, 1 - cos(mean[i], query[i]) + cos(negatives[i, j], query[i]))
            for i in range(4)
            for j in range(10)
        ]
        loss = structured_reconstruction_loss(query, mean, negatives)
        assert float(loss) == pytest.approx(sum(terms) / 40, abs=1e-12)
        assert 0.0 in terms, "the hinge must be seen at work"

    def test_positive_scaling_changes_nothing(self):
        query, mean, negatives = normal(4, 8), normal(4, 8, seed=1), normal(4, 3, 8, seed=2)
        value = structured_reconstruction_loss(query, mean, negatives)
        for scale in (1e-3, 7.0, 1e4):
            torch.testing.assert_close(
                structured_reconstruction_loss(
                    scale * query, 2 * scale * mean, 3 * scale * negatives
                ),
                value,
            )

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
    def test_large_values_keep_their_direction(self, dtype):
        far = 6e4 * torch.eye(2, dtype=dtype)
        query = (0.9 * far).requires_grad_(True)
        loss = structured_reconstruction_loss(query, far, far.flip(0)[:, None])
        loss.backward()
        assert loss.dtype == dtype
        assert float(loss.detach()) == 0
        assert torch.isfinite(query.grad).all()
        turned = structured_reconstruction_loss(far.flip(0), far, far.flip(0)[:, None])
        assert float(turned) == 2

    def test_gradient_reaches_all_three(self):
        inputs = [normal(3, 4), normal(3, 4, seed=1), normal(3, 2, 4, seed=2)]
        inputs = [x.requires_grad_(True) for x in inputs]
        structured_reconstruction_loss(*inputs).backward()
        assert all(float(x.grad.norm()) > 1e-3 for x in inputs)
        assert gradcheck(structured_reconstruction_loss, inputs)

    def test_zero_vectors_are_no_trouble(self):
        query = torch.zeros(2, 4, requires_grad=True)
        mean = torch.ones(2, 4, requires_grad=True)
        loss = structured_reconstruction_loss(query, mean, torch.zeros(2, 3, 4))
        loss.backward()
        assert float(loss.detach()) == 1.0
        assert float(query.grad.abs().max()) <= 1

    @pytest.mark.parametrize(
        "shapes",
        [[(2, 3), (2, 3), (2, 3)], [(2, 3), (2, 4), (2, 1, 3)], [(2, 3), (2, 3), (3, 1, 3)],
         [(2, 3), (2, 3), (2, 0, 3)], [(3,), (3,), (1, 1, 3)]],
    )  # fmt: skip
    def test_refuses_shapes_that_do_not_fit(self, shapes):
        with pytest.raises(ValueError, match="negatives"):
            structured_reconstruction_loss(*(torch.ones(shape) for shape in shapes))


class TestBlock:
    def test_mean_stays_on_the_simplex(self):
        torch.manual_seed(0)
        block = SimplexBlock(12, latent_dim=8, n_vertices=4).double()
        with torch.no_grad():
            block.vertices.copy_(orthogonal_vertices(4, 8, 10.0))
        code = block(5 * normal(30, 12))
        assert code.query.shape == code.mu.shape == code.logvar.shape == (30, 8)
        torch.testing.assert_close(code.p.sum(1), torch.ones(30, dtype=torch.float64))
        torch.testing.assert_close(code.mu @ block.vertices.T / 10, code.p)
        assert float(code.p.detach().var(0).min()) > 1e-3
        torch.testing.assert_close(code.p, torch.softmax(block.weights(code.query), -1))

    def test_starts_with_vertices_near_zero(self):
        torch.manual_seed(0)
        assert float(orthogonality_loss(SimplexBlock(5).vertices.detach(), 100)) == pytest.approx(
            173.2051, abs=0.01
        )

    def test_may_start_with_orthogonal_vertices(self):
        torch.manual_seed(0)
        block = SimplexBlock(5, n_vertices=4, alpha=100.0)
        assert float(orthogonality_loss(block.vertices.detach(), 100.0)) < 1e-3

    def test_is_not_narrowed_by_autocast(self):
        torch.manual_seed(0)
        block, h = SimplexBlock(5, alpha=10.0), normal(7, 5).float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = block(h.bfloat16().float())
        for a, b in zip(inside, block(h.bfloat16().float()), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)

    @pytest.mark.parametrize("k", [1, 17])
    def test_refuses_a_simplex_that_does_not_fit(self, k):
        with pytest.raises(ValueError, match="n_vertices"):
            SimplexBlock(5, latent_dim=16, n_vertices=k)
