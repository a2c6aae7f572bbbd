"""Convolutional networks: shapes and sizes as published, norms that hold, samples that disturb nothing."""

import pytest
import torch
from torch import nn

from dgm.nets.conv import dcgan_discriminator, dcgan_generator, generate, inner_layers


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def count(network):
    return sum(p.numel() for p in network.parameters())


def kinds(network):
    return [type(module).__name__ for module in network]


def rectifier_inputs(network, x):
    shapes = []
    for module in network:
        if isinstance(module, nn.LeakyReLU):
            shapes.append(tuple(x.shape[1:]))
        x = module(x)
    return shapes


def norms_of(network):
    weights = [m.weight.detach().flatten(1) for m in network if hasattr(m, "weight")]
    return [float(torch.linalg.matrix_norm(weight, 2)) for weight in weights]


class TestGenerator:
    def test_published_sizes(self):
        network = dcgan_generator()
        assert network(torch.randn(2, 100, generator=rng())).shape == (2, 3, 32, 32)
        dense = 100 * 512 * 16 + 512 * 16
        doubling = sum(a * b * 25 + b for a, b in ((512, 256), (256, 128), (128, 64)))
        norms = 2 * (512 + 256 + 128 + 64)
        assert count(network) == dense + doubling + norms + 64 * 3 * 9 + 3
        block = ["ConvTranspose2d", "ReLU", "BatchNorm2d"]
        start = ["Linear", "Unflatten", "ReLU", "BatchNorm2d"]
        assert kinds(network) == [*start, *(block * 3), "Conv2d", "Tanh"]

    @pytest.mark.parametrize("kernel", [3, 4, 5])
    @pytest.mark.parametrize(
        ("channels", "image", "last_stride"),
        [((8, 4), (1, 28), 2), ((8,), (1, 8), 1), ((8, 4, 4), (3, 32), 2), ((4, 4), (2, 6), 1)],
    )
    def test_images_have_the_wanted_side_and_range(self, channels, image, last_stride, kernel):
        network = dcgan_generator(5, channels, image, kernel=kernel, last_stride=last_stride)
        made = network(9 * torch.randn(3, 5, generator=rng()))
        assert made.shape == (3, *image, image[1])
        assert made.abs().max() <= 1

    @pytest.mark.parametrize(
        ("channels", "side", "last_stride", "message"),
        [
            ((8, 4, 4), 30, 1, "2 doublings do not lead to 30 pixels"),
            ((8, 4), 14, 2, "2 doublings do not lead to 14 pixels"),
            ((8, 4), 28, 3, "do not lead to 28 pixels"),
        ],
    )
    def test_sides_are_checked(self, channels, side, last_stride, message):
        with pytest.raises(ValueError, match=message):
            dcgan_generator(5, channels, (1, side), last_stride=last_stride)


class TestDiscriminator:
    def test_published_sizes(self):
        network = dcgan_discriminator()
        x = torch.randn(2, 3, 32, 32, generator=rng())
        assert network(x).shape == (2, 1)
        filters = sum(a * b * 25 + b for a, b in ((3, 64), (64, 128), (128, 256), (256, 512)))
        assert count(network) == filters + 2 * (128 + 256 + 512) + 512 * 16 + 1
        shapes = rectifier_inputs(network, x)
        assert shapes == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
        # The layers that the released code regularises: 32,768 and 16,384 units.
        units = [torch.Size(shapes[i]).numel() for i in inner_layers(len(shapes))]
        assert units == [32_768, 16_384]

    def test_no_normalisation_before_the_second_layer_and_rectifiers_first(self):
        block = ["Conv2d", "LeakyReLU"]
        rest = [*block, "BatchNorm2d"]
        network = dcgan_discriminator((4, 4, 8), (1, 16))
        assert kinds(network) == [*block, *(rest * 2), "Flatten", "Linear"]
        for norm in ("none", "spectral"):
            assert "BatchNorm2d" not in kinds(dcgan_discriminator((4, 4, 8), (1, 16), norm=norm))
        slopes = {m.negative_slope for m in network if isinstance(m, nn.LeakyReLU)}
        assert slopes == {0.2}
        assert not any(m.inplace for m in network if isinstance(m, nn.LeakyReLU))

    @pytest.mark.parametrize("kernel", [3, 4, 5])
    @pytest.mark.parametrize(("image", "first_stride"), [((1, 28), 2), ((1, 8), 1), ((3, 32), 1)])
    def test_any_side_and_number_of_outputs(self, image, first_stride, kernel):
        network = dcgan_discriminator(
            (4, 4, 6), image, kernel=kernel, first_stride=first_stride, outputs=10
        )
        assert network(torch.zeros(3, *image, image[1])).shape == (3, 10)

    def test_spectral_norms_settle_at_one(self):
        torch.manual_seed(0)
        network = dcgan_discriminator((8, 8, 8), (1, 8), norm="spectral")
        with torch.no_grad():
            for p in network.parameters():
                p.mul_(3.0)
        x = torch.randn(4, 1, 8, 8, generator=rng())
        for _ in range(200):  # each pass is a step of the power iteration
            network(x)
        network.eval().requires_grad_(False)
        assert norms_of(network) == pytest.approx([1.0] * 4, abs=0.01)
        assert max(norms_of(dcgan_discriminator((8, 8, 8), (1, 8), norm="none"))) > 1.1

    def test_norms_are_checked(self):
        with pytest.raises(ValueError, match="one of batch, spectral, none, got 'layer'"):
            dcgan_discriminator(norm="layer")


def test_weights_begin_as_glorot_s_and_biases_at_zero():
    torch.manual_seed(0)
    networks = [dcgan_generator(), dcgan_discriminator(), dcgan_discriminator(norm="spectral")]
    for network in networks:
        layers = [
            m
            for m in network.modules()
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        ]
        assert len(layers) == 5
        for layer in layers:
            raw = getattr(layer, "parametrizations", None)
            weight = raw.weight.original if raw else layer.weight
            ways = weight.shape[0] + weight.shape[1]
            limit = (6 / (ways * weight[0, 0].numel())) ** 0.5
            assert 0.95 * limit < weight.abs().max() <= limit
            assert (layer.bias == 0).all()


def test_same_seed_same_networks():
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(dcgan_discriminator((4, 4, 4), (1, 8))[0].weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_inner_layers_leave_out_the_first_and_the_last():
    assert inner_layers(4) == [1, 2]
    assert inner_layers(3) == [1]
    with pytest.raises(ValueError, match="2 rectifiers have none between"):
        inner_layers(2)


class TestGenerate:
    def network(self):
        torch.manual_seed(0)
        return dcgan_generator(5, (8, 4), (1, 8))

    @pytest.mark.parametrize("training", [True, False])
    def test_disturbs_nothing(self, training):
        network = self.network().train(training)
        before = {k: v.clone() for k, v in network.state_dict().items()}
        made = generate(network, torch.randn(7, 5, generator=rng()), 3)
        assert made.shape == (7, 1, 8, 8)
        assert not made.requires_grad
        assert network.training == training
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_normalises_by_the_batch_or_by_the_running_statistics(self):
        network, noise = self.network(), torch.randn(8, 5, generator=rng())
        whole = generate(network, noise, 8)
        torch.testing.assert_close(whole, self.network()(noise).detach())
        halves = generate(network, noise, 4)
        torch.testing.assert_close(halves[:4], generate(network, noise[:4], 4))
        assert not torch.allclose(whole, halves)
        running = [generate(network, noise, size, batch_statistics=False) for size in (8, 3)]
        torch.testing.assert_close(*running)
        torch.testing.assert_close(running[0], network.eval()(noise).detach())
        assert not torch.allclose(running[0], whole)
