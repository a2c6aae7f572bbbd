"""Convolutional networks: sizes as published, norms that hold, samples that disturb nothing."""

from functools import partial

import pytest
import torch
from checks import close, refuses
from draws import rng
from torch import nn

from dgm.nets.conv import dcgan_discriminator, dcgan_generator, generate

IMAGES = pytest.mark.parametrize("kernel", [3, 4, 5])


def normal(*shape):
    return torch.randn(*shape, generator=rng())


def count(network):
    return sum(p.numel() for p in network.parameters())


def kinds(network):
    return [type(module).__name__ for module in network]


def norms_of(network):
    weights = [m.weight.detach().flatten(1) for m in network if hasattr(m, "weight")]
    return [float(torch.linalg.matrix_norm(weight, 2)) for weight in weights]


def test_the_generator_has_the_published_size():
    network = dcgan_generator()
    assert network(normal(2, 100)).shape == (2, 3, 32, 32)
    dense = 100 * 512 * 16 + 512 * 16
    doubling = sum(a * b * 25 + b for a, b in ((512, 256), (256, 128), (128, 64)))
    norms = 2 * (512 + 256 + 128 + 64)
    assert count(network) == dense + doubling + norms + 64 * 3 * 9 + 3
    start = ["Linear", "Unflatten", "ReLU", "BatchNorm2d"]
    block = ["ConvTranspose2d", "ReLU", "BatchNorm2d"]
    assert kinds(network) == [*start, *(block * 3), "Conv2d", "Tanh"]


@IMAGES
@pytest.mark.parametrize(
    ("channels", "image", "last_stride"),
    [((8, 4), (1, 28), 2), ((8,), (1, 8), 1), ((8, 4, 4), (3, 32), 2), ((4, 4), (2, 6), 1)],
)
def test_generated_images_have_their_side_and_range(channels, image, last_stride, kernel):
    network = dcgan_generator(5, channels, image, kernel=kernel, last_stride=last_stride)
    images = network(9 * normal(3, 5))
    assert images.shape == (3, *image, image[1])
    assert images.abs().max() <= 1


REFUSED = {
    "2 doublings do not lead to 30 pixels": partial(dcgan_generator, 5, (8, 4, 4), (1, 30)),
    "2 doublings do not lead to 14 pixels": partial(
        dcgan_generator, 5, (8, 4), (1, 14), last_stride=2
    ),
    "do not lead to 28 pixels": partial(dcgan_generator, 5, (8, 4), (1, 28), last_stride=3),
    "one of batch, spectral, none, got 'layer'": partial(dcgan_discriminator, norm="layer"),
}
test_sides_and_norms_are_checked = refuses(REFUSED)


def test_the_discriminator_has_the_published_size():
    network, x, shapes = dcgan_discriminator(), normal(2, 3, 32, 32), []
    filters = sum(a * b * 25 + b for a, b in ((3, 64), (64, 128), (128, 256), (256, 512)))
    assert count(network) == filters + 2 * (128 + 256 + 512) + 512 * 16 + 1
    for module in network:
        if isinstance(module, nn.LeakyReLU):
            assert (module.negative_slope, module.inplace) == (0.2, False)
            shapes.append(x.shape[1:])
        x = module(x)
    assert x.shape == (2, 1)
    assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    # The layers that the released code regularises: 32,768 and 16,384 units.
    assert [shapes[i].numel() for i in (1, 2)] == [32_768, 16_384]
    block = ["Conv2d", "LeakyReLU"]  # rectifiers first, and no normalisation before the second
    assert kinds(network) == [*block, *([*block, "BatchNorm2d"] * 3), "Flatten", "Linear"]
    for norm in ("none", "spectral"):
        assert "BatchNorm2d" not in kinds(dcgan_discriminator((4, 4, 8), (1, 16), norm=norm))


@IMAGES
@pytest.mark.parametrize(("image", "first_stride"), [((1, 28), 2), ((1, 8), 1), ((3, 32), 1)])
def test_any_side_and_number_of_outputs(image, first_stride, kernel):
    options = {"kernel": kernel, "first_stride": first_stride, "outputs": 10}
    network = dcgan_discriminator((4, 4, 6), image, **options)
    assert network(torch.zeros(3, *image, image[1])).shape == (3, 10)


def test_spectral_norms_settle_at_one():
    torch.manual_seed(0)
    network = dcgan_discriminator((8, 8, 8), (1, 8), norm="spectral")
    for p in network.parameters():
        p.data *= 3.0
    for _ in range(200):  # each pass is a step of the power iteration
        network(normal(4, 1, 8, 8))
    network.eval().requires_grad_(False)
    assert norms_of(network) == pytest.approx([1.0] * 4, abs=0.01)
    assert max(norms_of(dcgan_discriminator((8, 8, 8), (1, 8), norm="none"))) > 1.1


def test_weights_begin_as_glorot_s_by_the_seed_and_biases_at_zero():
    torch.manual_seed(0)
    for network in (dcgan_generator(), dcgan_discriminator(), dcgan_discriminator(norm="spectral")):
        layers = [m for m in network if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
        assert len(layers) == 5
        for layer in layers:
            raw = getattr(layer, "parametrizations", None)
            weight = raw.weight.original if raw else layer.weight
            ways = (weight.shape[0] + weight.shape[1]) * weight[0, 0].numel()
            limit = (6 / ways) ** 0.5
            assert 0.95 * limit < weight.abs().max() <= limit
            assert (layer.bias == 0).all()


def test_generating_normalises_by_the_batch():
    network, noise = dcgan_generator(5, (8, 4), (1, 8)), normal(8, 5)
    whole, halves = (generate(network, noise, size) for size in (8, 4))
    close(halves[:4], generate(network, noise[:4], 4))
    assert not torch.allclose(whole, halves)
    close(whole, network(noise).detach())


@pytest.mark.parametrize("training", [True, False])
def test_generating_disturbs_nothing(training):
    network = dcgan_generator(5, (8, 4), (1, 8)).train(training)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    images = generate(network, normal(7, 5), 3)
    assert images.shape == (7, 1, 8, 8)
    assert not images.requires_grad
    assert network.training == training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
