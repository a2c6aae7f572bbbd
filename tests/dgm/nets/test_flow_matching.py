"""The flow of Gaussian data, whose velocity and loss have a closed form."""

import math
from itertools import pairwise

import pytest
import torch
from checks import mean_is
from draws import normal, rng

from dgm.nets.flow_matching import FlowDecoder

MEAN, SD = 0.7, 0.4


class Exact(FlowDecoder):
    """The best velocity for data N(MEAN, SD^2 I): the expectation of x - z given x_t."""

    def velocity(self, x, t):
        slope = (t * SD**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * SD**2)
        return MEAN + slope * (x - t * MEAN)


def decoder(n_steps, dim=3, kind=Exact):
    zero, one = torch.zeros(dim).double(), torch.ones(()).double()
    return kind(zero, one, (8,), n_steps).double()


def test_many_steps_carry_noise_to_the_data_and_miss_half_as_much_when_doubled():
    z = normal(50, 3)
    missed = [(decoder(n)(z) - (MEAN + SD * z)).abs().max() for n in (50, 100, 200)]
    assert missed[2] < 0.02
    for wide, narrow in pairwise(missed):
        assert float(wide / narrow) == pytest.approx(2, rel=0.1)


def test_one_step_draws_the_mean_image_alone():
    # At t = 0 the expectation of x does not know z.
    torch.testing.assert_close(decoder(1)(normal(5, 3)), torch.full((5, 3), MEAN).double())


def test_loss_of_the_best_velocity_is_the_variance_that_is_left():
    x = MEAN + SD * normal(20_000, 3)
    t = (torch.arange(10_000).double() + 0.5) / 10_000
    left = (SD**2 / ((1 - t) ** 2 + t**2 * SD**2)).mean()
    assert float(left) == pytest.approx(SD * math.pi / 2, rel=1e-6)
    assert mean_is(decoder(4).loss(x, rng(5)), 3 * float(left), 0.1)


def test_scales_images_and_can_be_trained_and_exported():
    mean, scale = normal(4, 1)[:, 0].float(), torch.tensor(2.0)
    network = FlowDecoder(mean, scale, (8,), 3)
    images = network.mean + normal(6, 4).float()
    loss = network.loss(images, rng()).mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
    traced = torch.jit.trace(network.eval(), torch.zeros(2, 4))
    codes = normal(5, 4, seed=2).float()
    torch.testing.assert_close(traced(codes), network(codes))
    with pytest.raises(ValueError, match="want 1 or more"):
        FlowDecoder(mean, scale, (8,), 0)
