"""What the regulariser costs, against a step without it and with its passes alone: `make bench`.

`extra_info` holds the ratios, medians over rounds in which the steps take turns, so that a machine
that slows down slows down all of them.
"""

import pytest
import torch
from benches import turns
from checks import DEVICES
from draws import rng

from dgm.nets.conv import dcgan_discriminator, dcgan_generator
from dgm.papers.bre_gan import (
    discriminator_objective,
    generator_objective,
    interpolate,
    pre_activations,
)

# A quarter of the released networks' widths on MNIST, as the small profile has.
CHANNELS, NOISE, BATCH, ROUNDS = (16, 32, 64, 128), 64, 64, 60
LAYERS = range(1, len(CHANNELS) - 1)


def with_bre(judge, real, fake, generator):
    return discriminator_objective(judge, real, fake, generator, weight=1.0, layers=LAYERS).value


def without(judge, real, fake, generator):
    return discriminator_objective(judge, real, fake, generator, weight=0.0).value


def passes_alone(judge, real, fake, generator):
    """The same three passes, there and back, with the same layers read; a sum for the terms."""
    value = without(judge, real, fake, generator)
    logits, inputs = pre_activations(judge, interpolate(real, fake, generator), LAYERS)
    return value + 1e-12 * (logits.float().sum() + sum(h.float().sum() for h in inputs))


def training_step(device, dtype, objective):
    """A step of the discriminator and one of the generator, as in the chapter's training."""
    torch.manual_seed(0)
    image = (1, 28)
    maker = dcgan_generator(NOISE, (64, 32), image, kernel=4, last_stride=2)
    judge = dcgan_discriminator(CHANNELS, image, first_stride=2)
    judge, maker = (net.to(device, memory_format=torch.channels_last) for net in (judge, maker))
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
        for net in (judge, maker)
    ]
    generator = rng(0, device)
    real = torch.rand(BATCH, *image, 28, generator=generator, device=device) * 2 - 1
    real = real.to(memory_format=torch.channels_last)

    def update(net, optimizer, loss):
        parameters = list(net.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()

    def step():
        z = torch.randn(2, BATCH, NOISE, generator=generator, device=device)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            with torch.no_grad():
                fake = maker(z[0]).float()
            loss = objective(judge, real, fake, generator)
        update(judge, optimizers[0], loss)
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss_maker = generator_objective(judge, maker(z[1]))
        update(maker, optimizers[1], loss_maker)
        return float(loss.detach())  # waits for the device

    return step


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_cost_of_the_regulariser(benchmark, dtype, device):
    steps = [training_step(device, dtype, o) for o in (with_bre, without, passes_alone)]
    first = [step() for step in steps]
    assert first[2] == pytest.approx(first[1], abs=1e-4)
    assert first[0] > first[1]
    assert benchmark.pedantic(steps[0], rounds=5, warmup_rounds=2) < first[0]
    if benchmark.stats:
        taken = turns(steps, ROUNDS, device)
        ratios = taken[:, :1] / taken[:, 1:]
        low, middle, high = ratios.quantile(torch.tensor([0.25, 0.5, 0.75]), 0)
        error = 1.25 * (high - low) / 1.35 / ROUNDS**0.5  # of the median
        for name, value, off in zip(("to_none", "to_same_passes"), middle, error, strict=True):
            benchmark.extra_info |= {name: float(value), f"{name}_error": float(off)}
        if device == "cpu":  # networks this small keep a GPU waiting for launches
            assert (middle < torch.tensor([1.4, 1.05]) + 4 * error).all()
