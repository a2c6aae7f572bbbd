"""TF32 is let in and kept out by whichever interface the user has touched, and all is put back."""

import pytest
import torch

from dgm.papers.rate_distortion import rate_distortion_curve
from dgm.sampling.decoder_target import tf32

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
    seen = []
    for read in readers:
        try:
            seen.append(read())
        except RuntimeError:
            seen.append(None)
    return seen, [leaf.fp32_precision for leaf in leaves()] if NEWER else []


@pytest.fixture(autouse=True)
def _defaults():
    yield
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    if NEWER:
        BACKENDS.fp32_precision = BACKENDS.cudnn.fp32_precision = "none"
        for leaf, precision in zip(leaves(), ["none", "tf32", "tf32", *["none"] * 3], strict=True):
            leaf.fp32_precision = precision


@pytest.mark.parametrize("setting", SETTINGS)
def test_all_is_as_asked_inside_and_as_it_was_outside(setting):
    SETTINGS[setting]()
    before = state()
    with tf32(allowed=False):
        assert state()[0] == [False, "highest", False]
        assert set(state()[1]) <= {"ieee"}
        with tf32(allowed=True):
            assert state()[0] == [True, "high", True]
            assert set(state()[1]) <= {"tf32"}
        assert state()[0] == [False, "highest", False]
    readable = [i for i, value in enumerate(before[0]) if value is not None]
    after = state()
    assert [after[0][i] for i in readable] == [before[0][i] for i in readable]
    assert after[1] == before[1]


@pytest.mark.skipif(not NEWER, reason="torch before 2.9")
def test_a_backends_setting_still_governs_afterwards():
    BACKENDS.fp32_precision = "tf32"
    with tf32(allowed=False):
        pass
    BACKENDS.fp32_precision = "ieee"
    assert BACKENDS.cuda.matmul.fp32_precision == "ieee"


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_curve_is_the_same_whatever_was_set(setting):
    torch.manual_seed(0)
    decoder, x = torch.nn.Linear(2, 4).requires_grad_(False), torch.randn(2, 4)
    options = {"latent_dim": 2, "betas": [1.0], "n_chains": 4, "progress": False}
    options |= {"temperatures_per_beta": 2, "n_leapfrog": 2}
    expected = rate_distortion_curve(decoder, x, **options)
    SETTINGS[setting]()
    assert torch.equal(rate_distortion_curve(decoder, x, **options).rate, expected.rate)
