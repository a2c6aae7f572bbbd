"""TF32 is let in and kept out by whichever interface the user has touched, and all is put back."""

import pytest
import torch
from chains import curve

from dgm.sampling.decoder_checks import Decoder
from dgm.sampling.decoder_target import DecoderTarget, tf32

BACKENDS = torch.backends
NEWER = hasattr(BACKENDS.cudnn, "fp32_precision")
SETTINGS = {
    "nothing": lambda: None,
    "high": lambda: torch.set_float32_matmul_precision("high"),
    "medium": lambda: torch.set_float32_matmul_precision("medium"),
    "flag": lambda: setattr(BACKENDS.cuda.matmul, "allow_tf32", True),
}
if NEWER:
    SETTINGS |= {
        "matmul": lambda: setattr(BACKENDS.cuda.matmul, "fp32_precision", "tf32"),
        "convolution": lambda: setattr(BACKENDS.cudnn.conv, "fp32_precision", "ieee"),
        "cuda": lambda: setattr(BACKENDS.cudnn, "fp32_precision", "tf32"),
        "everywhere": lambda: setattr(BACKENDS, "fp32_precision", "tf32"),
        "processor": lambda: setattr(BACKENDS.mkldnn.matmul, "fp32_precision", "bf16"),
    }


def leaves():
    cuda = BACKENDS.cuda.matmul, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn
    return [*cuda, BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv, BACKENDS.mkldnn.rnn]


def state():
    """All settings; None for one that cannot be read because it contradicts another."""
    readers = [
        lambda: BACKENDS.cuda.matmul.allow_tf32,
        torch.get_float32_matmul_precision,
        lambda: BACKENDS.cudnn.allow_tf32,
    ]
    values = []
    for read in readers:
        try:
            values.append(read())
        except RuntimeError:
            values.append(None)
    return values, [leaf.fp32_precision for leaf in leaves()] if NEWER else []


@pytest.fixture(autouse=True)
def _defaults():
    yield
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    if NEWER:
        BACKENDS.fp32_precision = BACKENDS.cudnn.fp32_precision = "none"
        for leaf, precision in zip(leaves(), ["none", "tf32", "tf32", *["none"] * 3], strict=True):
            leaf.fp32_precision = precision


def small_curve():
    decoder = torch.nn.Linear(2, 4).requires_grad_(False)
    decoder.load_state_dict({"weight": torch.ones(4, 2), "bias": torch.zeros(4)})
    x = torch.linspace(-1, 1, 8).view(2, 4)
    return curve(decoder, x, latent_dim=2, betas=[1.0], temperatures_per_beta=2)


@pytest.mark.parametrize("setting", SETTINGS)
def test_all_is_as_asked_inside_and_as_it_was_outside(setting):
    expected = small_curve()
    SETTINGS[setting]()
    before = state()
    with tf32(allowed=False):
        assert state()[0] == [False, "highest", False]
        assert set(state()[1]) <= {"ieee"}
        with tf32(allowed=True):
            assert state()[0] == [True, "high", True]
            assert set(state()[1]) <= {"tf32"}
        assert state()[0] == [False, "highest", False]
    assert torch.equal(small_curve().rate, expected.rate)
    after = state()
    assert all(b is None or a == b for a, b in zip(after[0], before[0], strict=True))
    assert after[1] == before[1]


@pytest.mark.skipif(not NEWER, reason="torch before 2.9")
def test_a_backends_setting_still_governs_afterwards():
    BACKENDS.fp32_precision = "tf32"
    with tf32(allowed=False):
        pass
    BACKENDS.fp32_precision = "ieee"
    assert BACKENDS.cuda.matmul.fp32_precision == "ieee"


def test_automatic_forces_follow_the_device_and_the_work_alone(monkeypatch):
    decoder, x = torch.nn.Linear(2, 4), torch.zeros(3, 4)
    target = DecoderTarget(decoder, x, 2, 1000, force_precision="auto")
    assert target.force_precision == "same"  # on a CPU always
    monkeypatch.setattr(DecoderTarget, "_is_large_on_a_gpu", lambda _: True)
    target = DecoderTarget(decoder, x, 2, 4, force_precision="auto")
    assert target.force_precision == "bfloat16"
    function = DecoderTarget(
        Decoder(lambda z: z @ torch.ones(2, 4)), x, 2, 4, None, "squared_error", "auto"
    )
    assert function.force_precision == "same"  # where no copy can be made
