"""One function decides the precision of a device, and nothing in the library goes around it."""

import re
from pathlib import Path

import pytest
import torch
from checks import close
from pretended_device import pretended_device
from torch import nn

import dgm
from dgm import precision
from dgm.precision import autocast, mixed_precision_dtype, run_lstm

UNITS = {"avx2": False, "avx512f": False, "avx512_bf16": True, "amx_bf16": True}
CARDS = {"V100": (7, 0), "T4": (7, 5), "A100": (8, 0), "L4": (8, 9), "H100": (9, 0)}


@pytest.mark.parametrize("card", CARDS)
def test_bfloat16_needs_compute_capability_8(monkeypatch, card):
    capability = lambda device: CARDS[card] if device.index else (7, 5)  # noqa: E731
    monkeypatch.setattr(torch.cuda, "get_device_capability", capability)
    kinds = [mixed_precision_dtype(device) for device in ("cuda:0", "cuda:1", "mps")]
    expected = None if card in ("V100", "T4") else torch.bfloat16
    assert kinds == [None, expected, None]


@pytest.fixture(params=UNITS)
def flag(request, monkeypatch):
    """A CPU's instructions: all that it has beside the oldest."""
    monkeypatch.setattr(precision, "_cpu_flags", lambda: {"sse2", request.param})
    return request.param


def test_a_cpu_computes_in_bfloat16_where_it_has_units_for_it(flag):
    """Elsewhere an LSTM is not even tried in it, since that fails, whoever turned autocast on."""
    layer, x = nn.Linear(3, 2), torch.randn(4, 5, 3)
    for enabled in (True, False):
        with autocast("cpu", enabled):
            narrow = UNITS[flag] and enabled
            assert layer(x).dtype == (torch.bfloat16 if narrow else torch.float32)
    if not UNITS[flag]:
        lstm = nn.LSTM(3, 2, batch_first=True)
        with torch.autocast("cpu", torch.bfloat16):
            states, _ = run_lstm(lstm, x.bfloat16(), (torch.zeros(1, 4, 2).bfloat16(),) * 2)
        close(states, lstm(x.bfloat16().float())[0])


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)]
)
def test_autocast_on_a_card(capability, expected):
    with pretended_device(capability) as device:
        layer, x = nn.Linear(3, 2).to(device), torch.randn(4, 3, device=device)
        with autocast(device):
            assert layer(x).dtype == expected
        with autocast(device, False):
            assert layer(x).dtype == torch.float32


@pytest.mark.parametrize("packed", [False, True])
def test_an_lstm_stays_out_of_autocast_on_a_card(packed):
    """And its inputs may be narrower than its weights, as products under autocast are."""
    lstm, x = nn.LSTM(3, 2, batch_first=True), torch.randn(4, 5, 3).bfloat16()
    state = torch.zeros(1, 4, 2).bfloat16(), torch.zeros(1, 4, 2)
    expected = lstm(x.float(), tuple(part.float() for part in state))[0]
    with pretended_device() as device:
        x, state = x.to(device), tuple(part.to(device) for part in state)
        if packed:
            x = nn.utils.rnn.pack_padded_sequence(x, torch.full((4,), 5), batch_first=True)
        with autocast(device):
            states, _ = run_lstm(lstm.to(device), x, state)
        if packed:
            states, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        assert states.dtype == torch.float32
        lstm.cpu()
    close(states, expected)


def test_a_gradient_flows_through_an_lstm_in_eval_mode_on_a_card():
    with pretended_device() as device:
        lstm = nn.LSTM(3, 2).to(device).eval()
        run_lstm(lstm, torch.randn(4, 5, 3, device=device))[0].sum().backward()
        assert not lstm.training
        assert all(p.grad.isfinite().all() for p in lstm.parameters())


SOURCES = {path: path.read_text("utf-8") for path in Path(dgm.__file__).parent.rglob("*.py")}


def test_nothing_turns_autocast_on_by_itself():
    """Outside of `precision`, autocast is only ever turned off."""
    others = "\n".join(text for path, text in SOURCES.items() if path.name != "precision.py")
    calls = re.findall(r"torch\.(?:amp\.)?autocast\(.*", others)
    assert calls
    assert all("enabled=False" in call for call in calls), calls
