"""Files that decode bit for bit, samples of the right law, and lengths that theory promises."""

import math
import subprocess
import sys
from functools import partial

import pytest
import torch
from checks import refuses
from torch import nn

from dgm import coding
from dgm.data import images
from dgm.papers.rate_distortion import linear_gaussian_curve
from dgm.sampling.references import principal_components

linear = nn.Linear(2, 3)
RECEIVER = """
import sys
import pathlib, torch
from dgm import coding
weight, bias = torch.load(sys.argv[1], weights_only=True)
decoder = lambda z: torch.sigmoid(4 * (z @ weight.T + bias) - 2)
files = sorted(pathlib.Path(sys.argv[2]).glob("*.digit"))
rows = [coding.decode(decoder, path.read_bytes(), latent_dim=2) for path in files]
torch.save(torch.stack(rows), sys.argv[3])
"""


def test_indices_come_back_and_are_short():
    for n in [*range(1, 3000), 2**20 - 1, 2**20, 2**40 + 7]:
        data, length = coding.write_index(n), n.bit_length() - 1
        assert coding.read_index(data) == n
        assert len(data) == math.ceil((length + length // 8 + 4) / 8)
    # A prefix code: no file is the beginning of another.
    files = {coding.write_index(n) for n in range(1, 3000)}
    assert not any(f[:i] in files for f in files for i in range(1, len(f)))


def test_a_sample_has_the_posterior_s_law():
    # z | x is Gaussian for a linear decoder: one code per seed, by its mean and variance.
    weight, beta = torch.tensor([[1.0], [0.5]], dtype=torch.float64), 2.0
    decoder, x = (lambda z: z @ weight.to(z).T), torch.tensor([[1.2, 0.1]])
    variance = 1 / (1 + 2 * beta * 1.25)
    mean = 2 * beta * variance * float(x.double() @ weight)
    codes, rates = [], []
    for seed in range(400):
        sent = coding.encode_all(decoder, x, beta, latent_dim=1, seed=seed, n_candidates=4096)
        codes.append(coding.candidates(seed, 0, 1)[int(sent.index) - 1, 0])
        rates.append(float(sent.rate))
    z = (torch.tensor(codes) - mean) / math.sqrt(variance)
    assert abs(float(z.mean())) < 4 / math.sqrt(len(z))
    assert abs(float(z.square().mean()) - 1) < 4 * math.sqrt(2 / len(z))
    exact = linear_gaussian_curve(weight, torch.zeros(2), x, [beta])
    rate = torch.tensor(rates)
    assert abs(float(rate.mean() - exact.rate)) < 4 * float(rate.std()) / math.sqrt(len(z)) + 1e-3


def test_a_hundred_digits_are_files_and_come_back_in_another_process(tmp_path):
    weight, bias = principal_components(images.load("digits", "train").x, 2)
    weight, bias = weight.float(), bias.float()
    x = images.load("digits", "test").x[:100]

    def decoder(z):
        return torch.sigmoid(4 * (z @ weight.T + bias) - 2)

    sent = coding.encode_all(decoder, x, 1.5, latent_dim=2, n_candidates=2**16)
    for i, data in enumerate(sent.files):
        (tmp_path / f"{i:03d}.digit").write_bytes(data)
    torch.save((weight, bias), tmp_path / "decoder")
    names = "decoder", "", "received"
    paths = [str(tmp_path / name) for name in names]
    subprocess.run([sys.executable, "-c", RECEIVER, *paths], check=True)
    received = torch.load(tmp_path / "received", weights_only=True)
    decoded = [coding.decode(decoder, data, latent_dim=2) for data in sent.files]
    assert torch.equal(received, torch.stack(decoded))
    rate = float(sent.rate.mean()) / math.log(2)
    bits = sum(8 * p.stat().st_size for p in tmp_path.glob("*.digit")) / 100
    assert bits == pytest.approx(rate + math.log2(rate + 1) + 5, rel=0.15)
    errors = (received - x).square().sum(1).double()
    torch.testing.assert_close(errors, sent.distortion, rtol=1e-4, atol=1e-4)
    missed = errors - sent.expected
    assert abs(float(missed.mean())) < 4 * float(missed.std()) / 10
    alone = coding.encode(decoder, x[0], 1.5, latent_dim=2, n_candidates=2**16)
    assert coding.decode(decoder, alone, latent_dim=2).shape == x[0].shape


def test_too_few_candidates_are_a_warning():
    with pytest.warns(UserWarning, match="2 of 2 images have fewer than 5 effective"):
        coding.encode_all(linear, torch.rand(2, 3), 1e7, latent_dim=2, n_candidates=4096)


USUAL = {"beta": 1.0, "latent_dim": 2, "n_candidates": 4096}
test_what_cannot_be_sent_is_named = refuses(
    {
        "multiple of 4096": {"n_candidates": 5000},
        "betas must be": {"beta": 0.0},
        "does latent_dim": {"latent_dim": 3},
    },
    partial(coding.encode_all, linear, torch.rand(2, 3)),
    **USUAL,
)
test_a_damaged_file_is_named = refuses(
    {"hold no index": [b"", b"\xff", b"\x01", b"\x10\x00", coding.write_index(99) + b"\0"]},
    partial(coding.decode, linear, latent_dim=2),
)
