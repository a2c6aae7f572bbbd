"""Distances along a curve against decoders whose images have a law in closed form."""

from functools import partial

import pytest
import torch
from chains import curve, linear_problem
from checks import close, exactly, refuses
from draws import normal

from dgm.evaluate import evaluate
from dgm.feature_distance import frechet_distance
from dgm.kernel_distance import kernel_distance
from dgm.papers.rate_distortion import RateDistortionCurve
from dgm.sampling.perception import Perception

BETAS = [1e-5, 0.5, 20.0]
SETTINGS = {"latent_dim": 5, "betas": BETAS, "temperatures_per_beta": 4, "n_chains": 12}


@pytest.mark.filterwarnings("ignore:.*far outside")
def test_a_perfect_sampler_is_at_zero_at_rate_zero_where_the_mean_image_is_nearer():
    decoder, _ = linear_problem(m=8, offset=0.0)
    x, other = (decoder(normal(400, 5, seed=s)) for s in (1, 2))
    blurred = torch.nn.Linear(5, 8).double().requires_grad_(False)
    blurred.load_state_dict({"weight": 0.0 * decoder.weight, "bias": decoder.bias})
    ours = curve(decoder, x, perception=Perception(other, draws=4), **SETTINGS)
    mean = curve(blurred, x, perception=Perception(other), step_sizes=0.1, **SETTINGS)
    assert ours.distortion[0].mean() > 1.5 * mean.distortion[0].mean()
    assert abs(ours.perception.kernel[0]) < 4 * ours.perception.kernel_error[0]
    assert mean.perception.kernel[0] > 4 * mean.perception.kernel_error[0]
    assert mean.perception.frechet[0] > 3 * ours.perception.frechet[0]
    # Against the coded images, an image and its own reconstruction do not count as a pair.
    own = curve(decoder, x, perception=Perception(draws=4), **SETTINGS).perception
    assert (own.kernel.abs() < 4 * own.kernel_error)[[0, 2]].all()


def test_draws_are_of_the_posterior():
    decoder, x = linear_problem(n_images=60)
    settings = {**SETTINGS, "n_leapfrog": 8, "temperatures_per_beta": 30}
    run = curve(decoder, x, perception=6, **settings)
    assert run.draws.shape == (3, 60, 6, 5)
    assert run.perception is None
    for beta, draws in zip(BETAS, run.draws, strict=True):
        weight = decoder.weight
        covariance = torch.linalg.inv(torch.eye(5) + 2 * beta * weight.T @ weight)
        mean = 2 * beta * (x - decoder.bias) @ weight @ covariance
        white = torch.linalg.solve(torch.linalg.cholesky(covariance), (draws[:, 0] - mean).T)
        assert float(white.mean(1).abs().max()) < 4 / 60**0.5
        assert float((white.square().mean(1) - 1).abs().max()) < 4 * (2 / 60) ** 0.5
    exactly(curve(decoder, x, perception=1, **settings).draws[:, :, 0], run.codes)


def test_features_read_pixels_and_shards_are_joined(tmp_path):
    decoder, x = linear_problem(n_images=9)
    matrix = normal(20, 4, seed=5)
    perception = Perception(x + 0.1, lambda pixels: pixels @ matrix, draws=3)
    joined = evaluate(
        decoder, x, output=tmp_path, shard_size=2, perception=perception, n_leapfrog=3,
        progress=False, **SETTINGS,
    )  # fmt: skip
    images = [decoder(codes) @ matrix for codes in joined.draws]
    real = (x + 0.1) @ matrix
    close(joined.perception.frechet[1], frechet_distance(real, images[1].flatten(0, 1)))
    close(joined.perception.kernel[1], kernel_distance(real, images[1]).value)
    joined.save(tmp_path / "curve")
    exactly(RateDistortionCurve.load(tmp_path / "curve").perception, joined.perception)
    with pytest.raises(ValueError, match=r"another run: .*draws"):
        evaluate(
            decoder, x, output=tmp_path, shard_size=2, perception=2, n_leapfrog=3,
            progress=False, **SETTINGS,
        )  # fmt: skip


PROBLEM = linear_problem(n_images=4)
CASES = {
    "a number of draws, got str": {"perception": "pixels"},
    "at least 1, got 0": {"perception": 0},
    "have 7 values each, those coded 20": {"perception": Perception(torch.zeros(4, 7))},
    r"must be \(C, F\)": {"perception": Perception(features=lambda x: x.sum(1))},
}
test_what_does_not_fit_is_refused = refuses(CASES, partial(curve, *PROBLEM), **SETTINGS)
