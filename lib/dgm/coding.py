"""Images as files of a few bytes: ordered random coding (Theis and Yosri, ICML 2022).

Both sides draw the same candidates z_1, ..., z_N from the prior N(0, I). The sender picks one,

    n = argmin_n S_n / w_n,    w_n = exp(-beta d(x, f(z_n))),                               (1)

where S_1 < ... < S_N are N sorted exponential numbers, and sends n alone. Then z_n is a sample of
q_beta(z | x), up to what N candidates can show of it, and n is small: about R bits are enough,

    E[bits]  <=  R + log2(R + 1) + 5,    R = KL(q_beta || p) in bits.                       (2)

A file holds n in a prefix code and nothing else. The decoder, its latent_dim and the seed of the
candidates are agreed on beforehand, and are not counted; the price beta is the sender's own affair.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from dgm.sampling.decoder_checks import check_betas, check_images, count
from dgm.sampling.decoder_checks import decode as decode_images
from dgm.sampling.decoder_target import prepared

BLOCK = 4096  # candidates that are drawn at a time
RICE = 3  # bits of the index's length that are written plainly, the rest in unary
LEAST = 5.0  # effective candidates, with fewer of which a sample is hardly one of q_beta


class Encoded(NamedTuple):
    """The files of N images, and what was promised and sent; CPU float64, nats."""

    files: list[bytes]
    index: Tensor  # (N,) int64, from 1
    rate: Tensor  # (N,) KL(q_beta || p), estimated from the candidates
    expected: Tensor  # (N,) distortion under q_beta
    distortion: Tensor  # (N,) of the image that was sent
    ess: Tensor  # (N,) effective number of candidates


def encode(
    decoder: Callable[[Tensor], Any], image: Tensor | np.ndarray, beta: float, **options: Any
) -> bytes:
    """The file of one image, with the options of `encode_all`; it raises what that raises."""
    return encode_all(decoder, torch.as_tensor(image)[None], beta, **options).files[0]


def encode_all(
    decoder: Callable[[Tensor], Any],
    x: Tensor | np.ndarray,
    beta: float,
    *,
    latent_dim: int,
    seed: int = 0,
    n_candidates: int = 2**18,
) -> Encoded:
    """Files of images (N, ...), each with a sample of q_beta at one price by equation (1).

    - decoder: codes (C, D) -> images (C, ...) as in `rate_distortion_curve`; latent_dim is D.
    - seed: of the candidates, which all images share, from 0 to 2^32 - 1.
    - n_candidates: a multiple of 4,096, several times exp(R) for the largest R.

    ValueError for what does not fit; a warning where too few candidates matter for some image to
    show its q_beta: the image sent is then about the best of them.
    """
    (beta,), images = check_betas([beta]).tolist(), check_images(x)
    latent_dim = count(latent_dim, "latent_dim")
    n_blocks, rest = divmod(count(n_candidates, "n_candidates"), BLOCK)
    if rest:
        raise ValueError(f"n_candidates must be a multiple of {BLOCK}, got {n_candidates}")
    with prepared(decoder, None, "auto", latent_dim, BLOCK) as (network, like), torch.no_grad():
        targets = images.flatten(1).to(device=like["device"], dtype=torch.float64)
        generator = torch.Generator(like["device"]).manual_seed(seed)
        passed, chosen = targets.new_zeros(2, len(targets))
        columns = targets.new_full((3, len(targets)), -math.inf)
        best, index = targets.new_full((len(targets),), math.inf), passed.long()
        for block in range(n_blocks):
            codes = torch.from_numpy(candidates(seed, block, latent_dim)).to(**like)
            energy = _squared_errors(decode_images(network, codes, images.shape), targets)
            columns = torch.logaddexp(columns, _sums(energy, beta))
            # Renyi: sorted exponentials have independent gaps, of rates N, N - 1, ..., 1.
            gaps = torch.empty_like(energy).exponential_(generator=generator)
            left = n_candidates - block * BLOCK - torch.arange(BLOCK, device=gaps.device)
            arrival = passed[:, None] + (gaps / left).cumsum(1)
            score, at = (arrival.log() + beta * energy).min(1)
            better = score < best
            best, passed = torch.where(better, score, best), arrival[:, -1]
            index = torch.where(better, block * BLOCK + at + 1, index)
            chosen = torch.where(better, energy.gather(1, at[:, None])[:, 0], chosen)
    weight, squared, moment = columns.cpu()
    expected, ess = torch.exp(moment - weight), torch.exp(2 * weight - squared)
    rate = math.log(n_candidates) - weight - beta * expected
    if (scarce := int((ess < LEAST).sum())) > 0:
        text = f"{scarce} of {len(ess)} images have fewer than {LEAST:g} effective candidates"
        advice = f"give more than {n_candidates}, or a lower price than {beta:g}"
        warnings.warn(f"{text}: {advice}", stacklevel=2)
    files = [write_index(n) for n in index.tolist()]
    return Encoded(files, index.cpu(), rate, expected, chosen.cpu(), ess)


def decode(
    decoder: Callable[[Tensor], Any], data: bytes, *, latent_dim: int, seed: int = 0
) -> Tensor:
    """The image that a file holds, as the decoder gives it for its one code, without batch axis.

    Decoder, latent_dim and seed are the sender's. ValueError for a file that is damaged.
    """
    latent_dim, n = count(latent_dim, "latent_dim"), read_index(data) - 1
    code = candidates(seed, n // BLOCK, latent_dim)[n % BLOCK]
    with prepared(decoder, None, "auto", latent_dim, 1) as (network, like), torch.no_grad():
        return decode_images(network, torch.from_numpy(code)[None].to(**like))[0].cpu()


def candidates(seed: int, block: int, latent_dim: int) -> np.ndarray:
    """Candidates (4096, D) number 4096 block + 1 and following; float64, the same everywhere."""
    # RandomState, since its stream stays what it is in all versions of NumPy.
    return np.random.RandomState([seed, block]).standard_normal((BLOCK, latent_dim))


def write_index(n: int) -> bytes:
    """A whole number from 1 on in whole bytes: its length in a Rice code, then its binary digits.

    With k = floor(log2 n) that is k + floor(k / 8) + 4 bits, and zeros to the end of a byte.
    """
    length = count(n, "n").bit_length() - 1
    unary, rest = divmod(length, 2**RICE)
    bits = "1" * unary + "0" + format(rest, f"0{RICE}b") + format(n, "b")[1:]
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def read_index(data: bytes) -> int:
    """The number that `write_index` wrote; ValueError for other bytes."""
    bits = "".join(format(byte, "08b") for byte in data)
    unary = bits.find("0")
    length = unary * 2**RICE + int(bits[unary + 1 :][:RICE] or "0", 2)
    n = int("1" + bits[unary + 1 + RICE :][:length], 2)
    if unary < 0 or write_index(n) != data:
        raise ValueError(f"these {len(data)} bytes hold no index: {data[:16].hex()}")
    return n


def _squared_errors(images: Tensor, targets: Tensor) -> Tensor:
    """(N, C) of images (C, ...) and targets (N, P), in float64."""
    images = images.flatten(1).double()
    squares = targets.square().sum(1)[:, None] + images.square().sum(1)
    return (squares - 2 * targets @ images.T).clamp(min=0.0)


def _sums(energy: Tensor, beta: float) -> Tensor:
    """Logarithms of the sums of w, w squared and w d over C candidates, (3, N)."""
    log_weight = -beta * energy
    terms = torch.stack([log_weight, 2 * log_weight, log_weight + energy.log()])
    return terms.logsumexp(2)
