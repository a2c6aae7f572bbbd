"""The pretended device refuses what a CUDA device refuses, and nothing else."""

import copy

import pytest
import torch
from pretended_device import pretended_device
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence


@pytest.fixture
def device():
    with pretended_device() as device:
        yield device


def in_autocast(function, *dtype):
    with torch.autocast("cuda", *dtype):
        return function()


def lstm(x, training=True):
    return nn.LSTM(2, 3).to(x.device).train(training)(x[:, None])[0]


def fused_steps(*_):
    layer = nn.Linear(2, 3)
    layer(torch.ones(1, 2)).sum().backward()
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    optimizer.step()
    layer.to("cuda")
    optimizer.step()


# What each does with a (2, 2) tensor on the device and one on the CPU.
MISTAKES = {
    "sum": lambda here, there: here + there,
    "in place": lambda here, there: there.add_(here),
    "number there": lambda here, there: there + here.sum(),
    "cat": lambda here, there: torch.cat([here, there]),
    "where": lambda here, there: torch.where(here > 0, here, there),
    "index": lambda here, there: there[here.long() * 0],
    "mask": lambda here, there: there[here > 0],
    "value": lambda here, there: there.index_put_((there > 0,), here.sum()),
    "foreach": lambda here, there: torch._foreach_add([here, here], [here, there]),
    "backward": lambda here, _: here.requires_grad_().cos().backward(torch.ones(2, 2)),
    "numpy": lambda here, _: here.numpy(),
    "missing operation": lambda here, _: torch.histogram(here, 3),
    "packed lengths": lambda here, _: pack_padded_sequence(
        here.view(2, 2, 1), torch.tensor([2, 1], device=here.device), batch_first=True
    ),
    "RNN in eval mode": lambda here, _: lstm(here, training=False).sum().backward(),
}
# What names the device itself, and is tried only there.
MISTAKES_THERE = {
    "generator": lambda here, _: torch.randn(2, device=here.device, generator=torch.Generator()),
    "generator in place": lambda _, there: there.bernoulli_(generator=torch.Generator("cuda")),
    "generator's state": lambda *_: torch.Generator("cuda").set_state(
        torch.Generator().get_state()
    ),
    "fused optimiser": fused_steps,
    "RNN under autocast": lambda here, _: in_autocast(lambda: lstm(here), torch.bfloat16),
    "float16": lambda here, _: in_autocast(lambda: here @ here.T),
}


@pytest.mark.parametrize("name", [*MISTAKES, *MISTAKES_THERE])
def test_each_mistake_is_refused_there_and_fine_on_the_cpu(name):
    mistake = (MISTAKES | MISTAKES_THERE)[name]
    if name in MISTAKES:
        mistake(torch.ones(2, 2), torch.ones(2, 2))
    error = TypeError if name == "numpy" else RuntimeError
    with pretended_device() as device, pytest.raises(error):
        mistake(torch.ones(2, 2, device=device), torch.ones(2, 2))


def test_autocast_there_is_bfloat16_where_the_card_has_it():
    with pretended_device() as device:
        layer, x = nn.Linear(2, 3).to(device), torch.ones(1, 2, device=device)
        assert in_autocast(lambda: layer(x), torch.bfloat16).dtype == torch.bfloat16
    with pretended_device((7, 5)), pytest.raises(RuntimeError, match="bfloat16"):
        torch.autocast("cuda", torch.bfloat16)


def test_nothing_is_left_behind():
    before = torch.Tensor.to, torch.Generator, torch.autocast, torch.cuda.is_available
    x = torch.ones(2)
    with pretended_device() as device:
        y = x.to(device)
        with torch.cuda.device(device), torch.random.fork_rng(devices=[device]):
            assert torch.ones(2, device="cuda").device == device
        assert torch.equal((y + 1).cpu(), x + 1)
    assert before == (torch.Tensor.to, torch.Generator, torch.autocast, torch.cuda.is_available)
    assert torch.equal(torch.ones(2) + 1, x + 1)


def test_what_is_made_lies_where_it_was_asked_for(device):
    x = torch.ones(2, 3, device=device, requires_grad=True)
    here = [
        x * 2,
        x * torch.tensor(2.0),  # a number may come from the CPU
        x[torch.tensor([0])],  # and so may an index
        torch.zeros(3, device=x.device),
        torch.tensor([1.0], device="cuda"),
        torch.as_tensor(torch.ones(2), device="cuda"),
        torch.randn(2, device=0),
        nn.functional.one_hot(torch.tensor([1], device=device), 3),
        torch.randperm(4, device=device, generator=torch.Generator(device)),
        copy.deepcopy(x.detach()),
        torch.ones(2).to(x),
        torch.distributions.Normal(x.detach(), 1.0).sample(),
    ]
    assert all(y.device == device and y.is_cuda and not y.is_cpu for y in here)
    there = [
        torch.zeros(3),
        x.cpu(),
        torch.zeros_like(x, device="cpu"),
        torch.tensor(x.tolist()),
        torch.empty(2, 3).copy_(x.detach()),
    ]
    assert all(y.device.type == "cpu" and y.is_cpu and not y.is_cuda for y in there)
